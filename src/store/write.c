/* Everything that changes one key.
 *
 * The order is always the same: find, allocate and fill what is new, enter it into the
 * table, and only then let go of the old. So a failure at any point leaves the key as
 * it was. In place where the value fits: same header, same extent. */
#include "base/alloc.h"
#include "base/err.h"
#include "base/num.h"
#include "store/ban_internal.h"
#include "store/evict.h"
#include "store/shard.h"
#include "store/store.h"
#include "store/write_internal.h"

#include <string.h>

enum {
    LATENESS_SHARE = 16,   /* a key that lives t may lie around expired for t/16 ... */
    LATENESS_MIN_MS = 100, /* ... but this is always allowed */
};

int64_t store_sweep_time(const struct access *a, int64_t expire_ms)
{
    if (expire_ms == 0)
        return SEGMENT_NEVER;
    int64_t late = expire_ms > a->now_ms ? (expire_ms - a->now_ms) / LATENESS_SHARE : 0;
    int64_t max = atomic_load_explicit(&a->store->lateness_ms, memory_order_relaxed);
    late = late > max ? max : late < LATENESS_MIN_MS ? LATENESS_MIN_MS : late;
    return expire_ms > INT64_MAX - late ? INT64_MAX : expire_ms + late;
}

/* ---- entries come and go ---- */

/* Room filled with f; not in its segment before commit(). */
struct room {
    struct entry *e;
    uint32_t units;
    unsigned lane;
};

static uint64_t heap_bytes(const struct shape *f)
{
    void *p;
    if (likely(f->kind == ENTRY_INLINE))
        return 0;
    memcpy(&p, f->value.p, sizeof p);
    if (f->kind == ENTRY_BLOCK)
        return mem_usable(p);
    return object_type(p)->bytes(p);
}

static unsigned choose_lane(const struct access *a, const struct shape *f, uint64_t units)
{
    const struct store *s = a->store;
    const struct store_eviction *how = &s->evict.how;
    unsigned group = 0;
    if (f->expire_ms != 0)
        group = segment_group(&s->segs, f->expire_ms > a->now_ms ? f->expire_ms - a->now_ms : 1);
    else if (how->volatile_only)
        return segment_lane_kept(&s->segs);
    if (likely(how->policy != STORE_AUTO))
        return group;
    return segment_lane(&s->segs, units * ENTRY_UNIT + heap_bytes(f), f->queue, group);
}

/* slack: bytes of room behind the entry, for it to grow into. */
static bool room_take(const struct access *a, struct room *r, const struct shape *f, uint64_t slack)
{
    struct store *s = a->store;
    uint64_t need = shape_units(f), n = need + slack / ENTRY_UNIT;
    if (n > s->segs.units_max)
        n = need; /* no slack for what is large already */
    if (n > SEGMENT_COUNT)
        return false;
    r->units = (uint32_t)n;
    r->lane = choose_lane(a, f, n);
    struct segment **open = &a->app->writer.open[r->lane].seg, *before = *open;
    a->app->writer.now_ms = a->now_ms;
    r->e = segment_alloc(&s->segs, &a->app->writer, r->units, r->lane);
    if (unlikely(*open != before))
        store_update_pressure(s);
    if (r->e == NULL)
        return false;
    entry_write(r->e, f);
    if (r->units > need)
        entry_resize(r->e, (uint32_t)f->value.n, f->marks, r->units);
    return true;
}

void write_count_heap(const struct access *a, const struct entry *e, int64_t bytes)
{
    _Atomic int64_t *sum = &a->app->list_heap[segment_of(&a->store->segs, e)->list];
    atomic_store_explicit(sum, atomic_load_explicit(sum, memory_order_relaxed) + bytes, memory_order_relaxed);
}

static void room_commit(const struct access *a, const struct room *r, const struct shape *f)
{
    struct segments *segs = &a->store->segs;
    segment_commit(segs, &a->app->writer, r->e, r->units, r->lane, store_sweep_time(a, f->expire_ms));
    struct segment *seg = segment_of(segs, r->e);
    if (f->kind != ENTRY_INLINE) {
        atomic_store_explicit(&seg->heap, true, memory_order_relaxed);
        write_count_heap(a, r->e, (int64_t)entry_heap_bytes(r->e)); /* f may lie in an entry that is gone */
    }
    uint32_t slack = r->units - (uint32_t)shape_units(f);
    if (slack > 0)
        segment_resized(seg, -(int64_t)slack);
}

static void release_heap(const struct access *a, const struct entry *e)
{
    enum entry_kind kind = entry_kind(e);
    if (likely(kind == ENTRY_INLINE))
        return;
    store_count_heap(a, -(int64_t)entry_heap_bytes(e));
    if (kind == ENTRY_OBJECT)
        store_release_object(a->store, entry_object(e));
    else
        block_put(entry_block(e));
}

void store_kill(const struct access *a, struct entry *e, bool drop)
{
    struct segments *segs = &a->store->segs;
    uint32_t n = entry_units(e), word = entry_word(e);
    DEBUG_ASSERT(!(word & ENTRY_DEAD));
    if (entry_kind_of(word) != ENTRY_INLINE)
        write_count_heap(a, e, -(int64_t)entry_heap_bytes(e));
    if (drop) {
        if (unlikely(word & ENTRY_EXT))
            ext_tell_dying(a, e);
        release_heap(a, e);
    }
    struct entry_parts p = entry_parts(e);
    /* The key may still be read by a sweep that is on its way here. ASan keeps one mark for 8 bytes: only
     * whole ones, since another thread may be marking what lies beside. */
    uintptr_t from = ((uintptr_t)p.value + 7) & ~(uintptr_t)7,
              end = ((uintptr_t)p.value + p.vlen) & ~(uintptr_t)7;
    if (from < end)
        MEM_POISON((void *)from, end - from);
    atomic_store_explicit(&e->word, word | ENTRY_DEAD, memory_order_release);
    segment_dead(segs, segment_of(segs, e), n);
}

void store_remove(const struct access *a, uint32_t slot, const struct table_pos *pos, struct entry *e)
{
    struct store *s = a->store;
    store_count_key(s, slot, entry_db(e), entry_expire(e), -1);
    store_count_name(s, slot, entry_db(e), -(int64_t)entry_key(e).n);
    table_remove(&a->app->tm, &s->slots[slot], pos);
    store_kill(a, e, true);
}

void store_remove_expired(const struct access *a, const struct key *k, const struct table_pos *pos,
                          struct entry *e)
{
    store_flag_watches(a, k);
    bump(&a->app->expired);
    store_note_removed(a, k->db, (struct str){k->p, k->n}, CHANGE_EXPIRED); /* k may lie in e */
    store_remove(a, k->slot, pos, e);
}

void store_remove_dead(const struct access *a, const struct key *k, const struct table_pos *pos,
                       struct entry *e)
{
    store_flag_watches(a, k);
    store_note_removed(a, k->db, (struct str){k->p, k->n}, CHANGE_PURGED); /* k may lie in e */
    store_remove(a, k->slot, pos, e);
}

void store_remove_evicted(const struct access *a, const struct key *k, const struct table_pos *pos,
                          struct entry *e)
{
    store_tell_watches(a, k);
    store_note_removed(a, k->db, (struct str){k->p, k->n}, CHANGE_EVICTED); /* k may lie in e */
    store_remove(a, k->slot, pos, e);
}

/* ---- putting ---- */

static struct entry *lookup(const struct access *a, const struct key *k, struct table_pos *pos)
{
    return table_find(&a->app->tm, table_of(a->store, k), k->hash, (struct str){k->p, k->n}, k->db, pos);
}

struct entry *write_lookup(const struct access *a, const struct key *k, struct table_pos *pos)
{
    struct entry *e = lookup(a, k, pos);
    if (e != NULL && a->expired == EXPIRED_REMOVE && is_expired(a, entry_expire(e))) {
        store_remove_expired(a, k, pos, e);
        return NULL;
    }
    if (e != NULL && unlikely(entry_is_banned(a->store, e))) {
        ban_remove(a, k, pos, e);
        return NULL;
    }
    return e;
}

int64_t write_inherited(const struct access *a, const struct entry *e)
{
    if (e == NULL || is_expired(a, entry_expire(e)) || entry_is_hidden(a, e))
        return 0;
    return entry_deadline(e);
}

static void add_clock(const struct access *a, struct shape *f)
{
    if (f->marks & ENTRY_CLOCK)
        return;
    f->marks |= ENTRY_CLOCK;
    f->clock = access_clock_new(a);
}

/* What the eviction policy knows of the key goes on with its new entry. */
static void inherit(const struct access *a, const struct key *k, const struct entry *old, struct shape *f)
{
    struct store *s = a->store;
    if (old != NULL) {
        uint32_t word = entry_word(old);
        f->freq = word & ENTRY_FREQ_MASK;
        f->queue = segment_of(&s->segs, old)->list % 2;
        if (s->evict.clocked && (word & ENTRY_CLOCK) && !(f->marks & ENTRY_CLOCK)) {
            f->marks |= ENTRY_CLOCK;
            f->clock = entry_clock(old);
        }
    } else if (s->evict.how.policy == STORE_AUTO && ghosts_take(&s->evict.ghosts, k->hash)) {
        bump(&a->app->ghost_hits);
        f->queue = 1;
    }
    if (s->evict.clocked)
        add_clock(a, f);
}

struct entry *write_enter(const struct access *a, const struct key *k, struct shape *f, uint64_t slack,
                          struct entry *old, const struct table_pos *pos)
{
    struct store *s = a->store;
    struct room r;
    inherit(a, k, old, f);
    if (!room_take(a, &r, f, slack))
        return NULL;
    if (old != NULL) {
        table_replace(&a->app->tm, pos, r.e);
        store_count_key(s, k->slot, k->db, entry_expire(old), -1);
    } else if (table_insert(&a->app->tm, table_of(s, k), k->hash, r.e) != 0) {
        segment_abandon(&s->segs, r.e, r.units);
        return NULL;
    } else {
        store_count_name(s, k->slot, k->db, k->n);
    }
    store_count_key(s, k->slot, k->db, f->expire_ms, 1);
    room_commit(a, &r, f);
    if (unlikely(shadows_want(&s->evict.shadows, k->hash)))
        evict_witness(a, k, r.e, true);
    return r.e;
}

struct entry *write_put_entry(const struct access *a, const struct key *k, struct shape *f, uint64_t slack,
                              struct entry *old, const struct table_pos *pos, bool drop)
{
    struct entry *e = write_enter(a, k, f, slack, old, pos);
    if (e != NULL && old != NULL)
        store_kill(a, old, drop);
    return e;
}

struct shape write_shape_of(const struct segments *segs, const struct entry *e)
{
    struct entry_parts p = entry_parts(e);
    return (struct shape){
        .key = {p.key, p.klen},
        .kind = entry_kind(e),
        .value = {p.value, p.vlen},
        .expire_ms = entry_expire(e),
        .db = entry_db(e),
        .marks = entry_word(e) & (ENTRY_MARKS | ENTRY_CLOCK),
        .clock = entry_word(e) & ENTRY_CLOCK ? entry_clock(e) : 0,
        .freq = entry_word(e) & ENTRY_FREQ_MASK,
        .queue = segment_of(segs, e)->list % 2,
        .ext = entry_extension(e),
    };
}

struct entry *store_move(const struct access *a, const struct table_pos *pos, struct entry *e,
                         const struct move *how)
{
    struct shape f = write_shape_of(&a->store->segs, e);
    struct room r;
    DEBUG_ASSERT(store_ban_effect(a->store, e) == BAN_NONE ||
                 (entry_word(e) & ENTRY_EXT)); /* it would be clean where it goes */
    if (how->queue != STORE_MOVE_SAME)
        f.queue = (uint8_t)how->queue;
    if (how->freq != STORE_MOVE_SAME)
        f.freq = (uint8_t)how->freq;
    if (a->store->evict.clocked || how->clock)
        add_clock(a, &f);
    else
        f.marks &= ~(uint32_t)ENTRY_CLOCK;
    if (!room_take(a, &r, &f, 0))
        return NULL;
    table_replace(&a->app->tm, pos, r.e);
    room_commit(a, &r, &f);
    store_kill(a, e, false);
    return r.e;
}

/* The deadline of an entry that has room for one. */
static void change_expire(const struct access *a, const struct key *k, struct entry *e, int64_t expire_ms)
{
    struct store *s = a->store;
    int64_t old = entry_expire(e);
    if (old == expire_ms)
        return;
    store_count_deadline(s, k->slot, k->db, old, expire_ms);
    entry_set_expire(e, expire_ms);
    if (expire_ms != 0)
        segment_sweep_before(segment_of(&s->segs, e), store_sweep_time(a, expire_ms));
}

bool write_fits(const struct entry *e, uint64_t n, int64_t expire_ms, uint32_t *extent)
{
    uint32_t word = entry_word(e);
    if ((expire_ms != 0 && !(word & ENTRY_TTL)) || (word & ENTRY_EXT))
        return false;
    if (!(word & ENTRY_LONG) && n > ENTRY_VLEN_MAX)
        return false;
    struct entry_parts p = entry_parts(e);
    *extent = entry_extent(e);
    return (uint64_t)(p.value - (const char *)e) + n <= (uint64_t)*extent * ENTRY_UNIT;
}

char *write_resize(const struct access *a, struct entry *e, uint32_t n, uint32_t marks, uint32_t extent)
{
    uint32_t before = entry_units(e);
    entry_resize(e, n, marks, extent);
    uint32_t after = entry_units(e);
    if (after != before)
        segment_resized(segment_of(&a->store->segs, e), (int64_t)after - before);
    return entry_parts(e).value;
}

static void overwrite_expire(const struct access *a, const struct key *k, struct entry *e, int64_t expire_ms)
{
    if (entry_word(e) & ENTRY_TTL)
        change_expire(a, k, e, expire_ms);
}

/* The header word stays as it is: a short inline value gives way to one of the same length and marks. */
static bool overwrite_same(const struct access *a, const struct key *k, struct entry *old, struct str bytes,
                           int64_t expire_ms, uint32_t marks)
{
    const uint32_t mask = ENTRY_KIND_MASK | ENTRY_LONG | ENTRY_MARKS | ENTRY_EXT;
    uint32_t word = entry_word(old);
    if ((word & mask) != ((uint32_t)ENTRY_INLINE << ENTRY_KIND_SHIFT | marks) ||
        bytes.n != word >> ENTRY_VLEN_SHIFT || (expire_ms != 0 && !(word & ENTRY_TTL)))
        return false;
    memmove(entry_parts(old).value, bytes.p, bytes.n);
    overwrite_expire(a, k, old, expire_ms);
    return true;
}

bool write_in_place(const struct access *a, const struct key *k, struct entry *old, struct str bytes,
                    int64_t expire_ms, uint32_t marks)
{
    uint32_t extent;
    if (old == NULL)
        return false;
    if (likely(overwrite_same(a, k, old, bytes, expire_ms, marks)))
        return true;
    if (entry_kind(old) != ENTRY_INLINE || !write_fits(old, bytes.n, expire_ms, &extent))
        return false;
    /* The bytes may be part of this very value: move them before a filler is written over their end. */
    char *value = entry_parts(old).value;
    if (bytes.n <= entry_parts(old).vlen) {
        memmove(value, bytes.p, bytes.n);
        write_resize(a, old, (uint32_t)bytes.n, marks, extent);
    } else {
        write_resize(a, old, (uint32_t)bytes.n, marks, extent);
        memmove(value, bytes.p, bytes.n);
    }
    overwrite_expire(a, k, old, expire_ms);
    return true;
}

void write_swap_heap(const struct access *a, struct entry *e, struct heap_value v, uint32_t marks)
{
    uint32_t word = entry_word(e) & ~(uint32_t)(ENTRY_MARKS | ENTRY_KIND_MASK);
    write_count_heap(a, e, (int64_t)v.bytes - (int64_t)entry_heap_bytes(e));
    release_heap(a, e);
    entry_set_heap(e, v.p);
    store_count_heap(a, (int64_t)v.bytes);
    atomic_store_explicit(&e->word, word | (uint32_t)v.kind << ENTRY_KIND_SHIFT | marks,
                          memory_order_release);
}

bool write_heap_in_place(const struct access *a, const struct key *k, struct entry *old, struct heap_value v,
                         int64_t expire_ms, uint32_t marks)
{
    uint32_t extent;
    if (old == NULL || entry_kind(old) == ENTRY_INLINE || !write_fits(old, sizeof v.p, expire_ms, &extent))
        return false;
    write_swap_heap(a, old, v, marks);
    overwrite_expire(a, k, old, expire_ms);
    return true;
}

int write_put_heap(const struct access *a, const struct key *k, struct entry *old,
                   const struct table_pos *pos, struct heap_value v, int64_t expire_ms, uint32_t marks,
                   struct str ext)
{
    if (ext.n == 0 && write_heap_in_place(a, k, old, v, expire_ms, marks))
        return 0;
    struct shape f = {{k->p, k->n}, v.kind, write_heap_pointer(&v.p), expire_ms, k->db, marks, 0, 0, 0, ext};
    if (write_put_entry(a, k, &f, 0, old, pos, true) == NULL)
        return ERR_OOM;
    store_count_heap(a, (int64_t)v.bytes);
    return 0;
}

void write_note(const struct access *a, struct entry *old)
{
    if (old != NULL && (entry_word(old) & (ENTRY_CLOCK | ENTRY_FREQ_MASK)) != ENTRY_FREQ_MASK)
        access_note(a, old);
}

struct block *write_block(struct str bytes, struct block *block)
{
    if (block != NULL) {
        block_get(block);
    } else if ((block = block_new(bytes.n)) != NULL) {
        memcpy(block->data, bytes.p, bytes.n);
        block->n = bytes.n;
    }
    return block;
}

static int put_string(const struct access *a, const struct key *k, struct str bytes, struct block *block,
                      int64_t expire_ms, unsigned flags, struct str ext)
{
    struct table_pos pos;
    store_save_first(a, k);
    uint32_t marks = ((flags & PUT_RAW) ? ENTRY_RAW : 0) | ((flags & PUT_TEXT) ? ENTRY_TEXT : 0);
    struct entry *old = write_lookup(a, k, &pos);
    write_note(a, old);
    if (flags & PUT_KEEP_TTL)
        expire_ms = write_inherited(a, old);
    if (bytes.n <= a->store->inline_max) {
        if (ext.n == 0 && write_in_place(a, k, old, bytes, expire_ms, marks))
            return 0;
        struct shape f = {{k->p, k->n}, ENTRY_INLINE, bytes, expire_ms, k->db, marks, 0, 0, 0, ext};
        if (bytes.p == NULL)
            f.value.p = "";
        return write_put_entry(a, k, &f, 0, old, &pos, true) != NULL ? 0 : ERR_OOM;
    }
    block = write_block(bytes, block);
    if (block == NULL)
        return ERR_OOM;
    int err = write_put_heap(a, k, old, &pos, write_block_value(block), expire_ms, marks, ext);
    if (err != 0)
        block_put(block);
    return err;
}

int store_put_string(const struct access *a, const struct key *k, struct str bytes, struct block *block,
                     int64_t expire_ms, unsigned flags)
{
    int err = put_string(a, k, bytes, block, expire_ms, flags, (struct str){NULL, 0});
    if (err == 0)
        store_touch(a, k);
    return err;
}

int store_put_extended(const struct access *a, const struct key *k, struct str bytes, struct block *block,
                       int64_t expire_ms, struct str ext)
{
    ASSERT(ext.n >= EXT_MIN);
    int err = put_string(a, k, bytes, block, expire_ms, 0, ext);
    if (err == 0)
        store_touch(a, k);
    return err;
}

int store_put_object(const struct access *a, const struct key *k, struct object *o, int64_t expire_ms,
                     unsigned flags)
{
    struct table_pos pos;
    DEBUG_ASSERT(object_type(o)->count(o) > 0);
    store_save_first(a, k);
    struct entry *old = write_lookup(a, k, &pos);
    if (flags & PUT_KEEP_TTL)
        expire_ms = write_inherited(a, old);
    write_note(a, old);
    struct heap_value v = {ENTRY_OBJECT, o, object_type(o)->bytes(o)};
    int err = write_put_heap(a, k, old, &pos, v, expire_ms, 0, (struct str){NULL, 0});
    if (err == 0)
        store_touch(a, k);
    return err;
}

void store_object_changed(const struct access *a, const struct key *k, struct entry *e, struct object *o,
                          size_t before)
{
    DEBUG_ASSERT(entry_kind(e) == ENTRY_OBJECT);
    entry_set_heap(e, o);
    int64_t grown = (int64_t)object_type(o)->bytes(o) - (int64_t)before;
    store_count_heap(a, grown);
    write_count_heap(a, e, grown);
    if (object_type(o)->count(o) == 0)
        (void)store_delete(a, k);
    else
        store_touch(a, k);
}

/* ---- deadlines, deleting, copying ---- */

/* The end of an extended entry's freshness. Its grace follows; all else stays, for purges to find it. */
static int set_fresh(const struct access *a, const struct key *k, struct entry *e,
                     const struct table_pos *pos, int64_t fresh_ms)
{
    struct shape f = write_shape_of(&a->store->segs, e);
    int64_t grace_ms = f.expire_ms != 0 ? f.expire_ms - entry_deadline(e) : 0;
    if (fresh_ms == 0 || num_add_overflows(fresh_ms, grace_ms, &f.expire_ms))
        f.expire_ms = fresh_ms;
    e = write_put_entry(a, k, &f, 0, e, pos, false);
    if (e == NULL)
        return ERR_OOM;
    memcpy(entry_ext(e).p + EXT_FRESH_AT, &fresh_ms, sizeof fresh_ms);
    return 0;
}

int store_set_expire(const struct access *a, const struct key *k, int64_t expire_ms)
{
    struct table_pos pos;
    store_save_first(a, k);
    struct entry *e = write_lookup(a, k, &pos);
    if (e == NULL || is_expired(a, entry_expire(e)) || entry_is_hidden(a, e))
        return ERR_NOTFOUND;
    if (unlikely(entry_word(e) & ENTRY_EXT)) {
        if (set_fresh(a, k, e, &pos, expire_ms) != 0)
            return ERR_OOM;
    } else if (entry_word(e) & ENTRY_TTL) {
        change_expire(a, k, e, expire_ms);
    } else if (expire_ms != 0) {
        struct shape f = write_shape_of(&a->store->segs, e);
        f.expire_ms = expire_ms;
        if (write_put_entry(a, k, &f, 0, e, &pos, false) == NULL)
            return ERR_OOM;
    }
    store_touch(a, k);
    return 0;
}

void store_set_end(const struct access *a, const struct key *k, struct entry *e, int64_t expire_ms)
{
    ASSERT((entry_word(e) & ENTRY_EXT) && (entry_word(e) & ENTRY_TTL) && expire_ms != 0);
    change_expire(a, k, e, expire_ms);
}

bool store_delete(const struct access *a, const struct key *k)
{
    struct table_pos pos;
    store_save_first(a, k);
    struct entry *e = write_lookup(a, k, &pos);
    if (e == NULL) {
        ext_tell_touched(a, k);
        return false;
    }
    bool live = !is_expired(a, entry_expire(e)) && !entry_is_hidden(a, e);
    store_touch(a, k);
    store_remove(a, k->slot, &pos, e);
    return live;
}

int store_copy(const struct access *a, const struct key *from, const struct key *to)
{
    struct entry *e = store_peek(a, from);
    if (e == NULL)
        return ERR_NOTFOUND;
    if (from->hash == to->hash && from->db == to->db && from->n == to->n &&
        memcmp(from->p, to->p, to->n) == 0)
        return 0;
    store_save_first(a, from); /* it may be evicted before the cut comes to it, and the COPY be replayed */
    struct object *o = entry_object(e);
    if (o != NULL) {
        object_get(o);
        int err = store_put_object(a, to, o, entry_deadline(e), 0);
        bool last = err != 0 && object_drop(o);
        ASSERT(!last); /* `from` has it */
        return err;
    }
    struct block *b;
    struct str bytes = entry_string(e, &b);
    uint32_t marks = entry_word(e);
    unsigned flags = ((marks & ENTRY_RAW) ? PUT_RAW : 0) | ((marks & ENTRY_TEXT) ? PUT_TEXT : 0);
    int err = put_string(a, to, bytes, b, entry_expire(e), flags, entry_extension(e));
    if (err == 0)
        store_touch(a, to);
    return err;
}
