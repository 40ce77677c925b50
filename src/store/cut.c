#include "store/cut.h"

#include "base/alloc.h"
#include "base/err.h"
#include "store/ban_internal.h"
#include "store/cut_internal.h"
#include "store/evict.h"
#include "store/table_internal.h"

#include <string.h>
#include <time.h>

enum { CLOSE_NAP_NS = 200 * 1000 };

/* ---- saving a page ---- */

static bool is_wanted(const struct cut *c, uint32_t slot)
{
    return c->slots == NULL || (c->slots[slot / 64] >> (slot % 64) & 1) != 0;
}

static int32_t number_at_cut(const struct cut *c, const struct entry *e)
{
    return c->number[entry_db(e)];
}

static bool is_saved_with(const struct cut *c, const struct entry *e)
{
    return number_at_cut(c, e) >= 0 && !deadline_passed(entry_expire(e), c->now_ms) &&
           store_ban_effect(c->store, e) == BAN_NONE &&
           (likely(!(entry_word(e) & ENTRY_EXT)) || !ext_is_dead(c->store, e));
}

static bool is_hidden_from(const struct cut *c, const struct entry *e)
{
    return unlikely(entry_word(e) & ENTRY_EXT) && ext_hides(c->store, e, c->now_ms);
}

/* The extension, and the entry's real end behind it. */
static uint32_t extra_room(struct str extra)
{
    return extra.p != NULL ? (uint32_t)(extra.n + sizeof(int64_t)) : RECORD_NO_EXTRA;
}

static size_t record_room(const struct entry *e)
{
    struct entry_parts p = entry_parts(e);
    return record_size(p.klen, p.vlen, extra_room(entry_extension(e)));
}

static void put_record(const struct cut *c, struct record *r, const struct entry *e)
{
    struct entry_parts p = entry_parts(e);
    struct str extra = entry_extension(e);
    struct access_use use = {USE_UNKNOWN, 0};
    if (c->clock_ms != 0)
        use = access_use_of(c->store, e, c->clock_ms);
    *r = (struct record){.klen = p.klen,
                         .vlen = p.vlen,
                         .xlen = extra_room(extra),
                         .expire_ms = entry_deadline(e), /* peers that know no extension see it as long */
                         .kind = (uint8_t)entry_kind(e),
                         .use_kind = (uint8_t)use.kind,
                         .use = use.n,
                         .hidden = is_hidden_from(c, e),
                         .db = (uint16_t)number_at_cut(c, e)};
    memcpy(r->bytes, p.key, p.klen);
    memcpy(r->bytes + p.klen, p.value, p.vlen);
    if (extra.p != NULL) {
        int64_t end_ms = entry_expire(e);
        memcpy(r->bytes + p.klen + p.vlen, extra.p, extra.n);
        memcpy(r->bytes + p.klen + p.vlen + extra.n, &end_ms, sizeof end_ms);
    }
    if (r->kind == ENTRY_BLOCK)
        block_get(entry_block(e));
    else if (r->kind == ENTRY_OBJECT)
        object_get(entry_object(e));
}

/* The entries come from all over memory: ask for all of them before looking at the first. */
static struct cut_chunk *copy_page(const struct cut *c, const struct table_mem *tm, uint32_t shard,
                                   const struct page *p)
{
    struct ref refs[TABLE_PAGE_REFS];
    const struct entry *saved[TABLE_PAGE_REFS];
    unsigned n = page_gather(tm, p, refs), nsaved = 0;
    size_t bytes = 0;
    bool notes = c->noted[shard] != NULL;
    for (unsigned i = 0; i < n; i++)
        __builtin_prefetch(ref_entry(tm, refs[i].th, refs[i].lo));
    for (unsigned i = 0; i < n; i++) { /* asked once: a tag may be purged, a ban end at any moment */
        const struct entry *e = ref_entry(tm, refs[i].th, refs[i].lo);
        if (!is_saved_with(c, e) || (notes && cut_is_noted(c, shard, table_entry_hash(tm->seed, e))))
            continue;
        saved[nsaved++] = e;
        bytes += record_room(e);
    }
    struct cut_chunk *ch = mem_alloc(sizeof *ch + bytes);
    if (ch == NULL)
        return NULL;
    *ch = (struct cut_chunk){.room = bytes};
    for (unsigned i = 0; i < nsaved; i++) {
        put_record(c, (struct record *)(void *)(ch->data + ch->n), saved[i]);
        ch->n += record_room(saved[i]);
    }
    DEBUG_ASSERT(ch->n == bytes);
    return ch;
}

/* Shard locked. Whatever happens the page counts as saved; a failure breaks the cut, not the writer. */
static size_t save_page(struct cut *c, const struct table_mem *tm, uint32_t slot, struct page *p)
{
    p->version ^= (uint8_t)(1u << c->index);
    if (p->count == 0 || !is_wanted(c, slot) || cut_broken(c) != 0)
        return 0;
    struct cut_chunk *ch = copy_page(c, tm, slot / STORE_SLOTS_PER_SHARD, p);
    if (ch == NULL) {
        cut_break(c, ERR_OOM);
        return 0;
    }
    size_t n = ch->n;
    if (n == 0)
        mem_free(ch);
    else
        cut_push(c, ch);
    return n;
}

static bool is_unsaved(const struct store *s, const struct page *p, unsigned index)
{
    return ((p->version ^ s->cut_sense) >> index & 1) != 0;
}

static void save_entry(struct cut *c, const struct entry *e)
{
    if (!is_saved_with(c, e))
        return;
    struct record *r = cut_fill_begin(c, record_room(e));
    if (r == NULL) {
        cut_break(c, ERR_OOM);
        return;
    }
    put_record(c, r, e);
    cut_fill_end(c);
}

/* The key alone, once; or its page, which is not saved yet. Shard locked. */
static void save_key(struct cut *c, const struct table_mem *tm, const struct key *k, struct page *p)
{
    struct table_pos pos;
    uint32_t shard = key_shard(k);
    bool page = p->count <= CUT_PAGE_SMALL || !is_wanted(c, k->slot) || cut_broken(c) != 0;
    if (!page && cut_is_noted(c, shard, k->hash))
        return;
    if (page || cut_note(c, shard, k->hash) != 0) {
        save_page(c, tm, k->slot, p);
        return;
    }
    struct entry *e =
        table_find(tm, &c->store->slots[k->slot], k->hash, (struct str){k->p, k->n}, k->db, &pos);
    if (e != NULL)
        save_entry(c, e);
}

void store_cut_save(const struct access *a, const struct key *k)
{
    struct store *s = a->store;
    const struct table_mem *tm = &a->app->tm;
    struct table *t = &s->slots[k->slot];
    struct page *p = table_page(tm, t, page_number(table_pages(t), k->hash));
    uint32_t open = atomic_load_explicit(&s->cuts_open, memory_order_acquire);
    for (unsigned i = 0; i < STORE_CUTS_MAX; i++)
        if ((open >> i & 1) != 0 && is_unsaved(s, p, i))
            save_key(s->cuts[i], tm, k, p);
}

void store_save_keys_first(const struct access *a, const struct key *keys, uint32_t n)
{
    if (likely(atomic_load_explicit(&a->store->cuts_open, memory_order_relaxed) == 0))
        return;
    for (uint32_t i = 0; i < n; i++)
        store_save_first(a, &keys[i]);
}

void store_save_entry_first(const struct access *a, const struct entry *e)
{
    struct store *s = a->store;
    if (likely(atomic_load_explicit(&s->cuts_open, memory_order_relaxed) == 0))
        return;
    struct key k;
    store_key_of(s, e, &k);
    store_cut_save(a, &k);
}

/* ---- open, walk, close ---- */

static void note_numbers(struct cut *c, const struct store *s)
{
    for (uint32_t id = 0; id < IDS_MAX; id++)
        c->number[id] = -1;
    for (uint32_t n = 0; n < s->databases; n++)
        c->number[s->id_of[n]] = (int16_t)n;
}

/* What writers change meanwhile shall not be much of what there is. */
static uint64_t queue_max(struct store *s)
{
    uint64_t share = store_used(s) / CUT_QUEUE_SHARE;
    return share < CUT_QUEUE_MIN ? CUT_QUEUE_MIN : share > CUT_QUEUE_MAX ? CUT_QUEUE_MAX : share;
}

int cut_open(struct cut **out, struct store *s, const struct cut_options *o)
{
    uint32_t open = atomic_load_explicit(&s->cuts_open, memory_order_acquire);
    unsigned index = 0;
    while (index < STORE_CUTS_MAX && (open >> index & 1) != 0)
        index++;
    if (index == STORE_CUTS_MAX)
        return ERR_FULL;
    struct cut *c = mem_zalloc(sizeof *c + (o->slots != NULL ? STORE_SLOTS / 8 : 0));
    if (c == NULL)
        return ERR_OOM;
    c->store = s;
    c->index = index;
    c->now_ms = o->now_ms;
    c->clock_ms = o->clock_ms;
    c->spill_dir = o->spill_dir != NULL ? o->spill_dir : ".";
    c->queue_max = o->queue_max != 0 ? o->queue_max : queue_max(s);
    c->lane = o->lane;
    c->whole = o->whole;
    c->gate = o->gate;
    c->round = o->round;
    c->spill_fd = -1;
    c->tail = &c->head;
    if (o->slots != NULL)
        c->slots = memcpy(c->bitmap, o->slots, STORE_SLOTS / 8);
    note_numbers(c, s);
    s->cut_sense ^= (uint8_t)(1u << index);
    lock_hold(&s->cuts_lock);
    s->cuts[index] = c;
    lock_release(&s->cuts_lock);
    atomic_fetch_or_explicit(&s->cuts_open, 1u << index, memory_order_release);
    *out = c;
    return 0;
}

/* Some pages of one slot. Shard locked. True when the slot is done. */
static bool walk_slot(struct cut *c, uint32_t *pages, size_t *bytes)
{
    struct store *s = c->store;
    const struct table_mem *tm = &s->appenders[0]->tm; /* what all of them have in common is read only */
    struct table *t = &s->slots[c->slot];
    uint32_t npages = table_pages(t);
    if (npages == 0 && is_unsaved(s, &t->one, c->index))
        save_page(c, tm, c->slot, &t->one);
    for (; c->page < npages; c->page++) {
        struct page *p = table_page(tm, t, c->page);
        if (!is_unsaved(s, p, c->index))
            continue;
        if (*pages == CUT_SLICE_PAGES || *bytes >= CUT_SLICE_BYTES)
            return false;
        *bytes += save_page(c, tm, c->slot, p);
        ++*pages;
    }
    return true;
}

/* Some pages of one shard. 0, ERR_AGAIN. */
static int walk_shard(struct cut *c)
{
    struct store *s = c->store;
    uint32_t shard = c->slot / STORE_SLOTS_PER_SHARD, end = (shard + 1) * STORE_SLOTS_PER_SHARD, pages = 0;
    size_t bytes = 0;
    bool locked = lock_acquire(&s->shards[shard].lock);
    if (!locked && !c->lane)
        return ERR_AGAIN;
    while (c->slot < end && walk_slot(c, &pages, &bytes)) {
        c->slot++;
        c->page = 0;
    }
    if (c->slot == end)
        cut_forget_notes(c, shard);
    if (locked)
        lock_release(&s->shards[shard].lock);
    return 0;
}

/* A slice of the walk. A flush takes the tables away under the gate: so only in a round. */
static int walk(struct cut *c)
{
    if (c->gate != NULL)
        gate_enter(c->gate, c->round);
    int err = walk_shard(c);
    if (c->gate != NULL)
        gate_leave(c->gate, c->round);
    return err;
}

int cut_next(struct cut *c, struct cut_chunk **out)
{
    for (;;) {
        int err = cut_pop(c, out);
        if (err != ERR_NOTFOUND)
            return err;
        if (c->slot == STORE_SLOTS)
            return ERR_NOTFOUND;
        err = walk(c);
        if (err != 0)
            return err;
    }
}

void cut_close(struct cut *c)
{
    static const struct timespec nap = {0, CLOSE_NAP_NS};
    struct store *s = c->store;
    cut_break(c, ERR_NOTFOUND); /* nothing is copied any more */
    while (c->slot < STORE_SLOTS)
        if (walk(c) != 0)
            nanosleep(&nap, NULL);
    /* Nobody looks for it any more but a spiller, and flushes, which have the gate. */
    lock_hold(&s->cuts_lock);
    atomic_fetch_and_explicit(&s->cuts_open, ~(1u << c->index), memory_order_release);
    s->cuts[c->index] = NULL;
    lock_release(&s->cuts_lock);
    cut_drop_all(c);
    mem_free(c);
}

/* ---- flushes (gate) ---- */

void store_cut_flushed(struct store *s)
{
    lock_hold(&s->cuts_lock);
    for (unsigned i = 0; i < STORE_CUTS_MAX; i++)
        if (s->cuts[i] != NULL && s->cuts[i]->whole)
            cut_break(s->cuts[i], ERR_EXISTS);
    lock_release(&s->cuts_lock);
}

void store_cut_fresh_tables(struct store *s)
{
    if (s->cut_sense == 0)
        return;
    for (uint32_t i = 0; i < STORE_SLOTS; i++)
        s->slots[i].one.version = s->cut_sense;
}

#ifdef LARDER_DEBUG

void store_cut_check(const struct store *s)
{
    const struct table_mem *tm = &s->appenders[0]->tm;
    uint32_t closed = ~atomic_load_explicit(&s->cuts_open, memory_order_relaxed);
    for (uint32_t slot = 0; slot < STORE_SLOTS; slot++) {
        const struct table *t = &s->slots[slot];
        uint32_t npages = table_pages(t);
        for (uint32_t i = 0; i < (npages == 0 ? 1 : npages); i++) {
            const struct page *p = npages == 0 ? &t->one : table_page(tm, t, i);
            ASSERT(((p->version ^ s->cut_sense) & closed) == 0);
        }
    }
}

#endif
