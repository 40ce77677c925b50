/* SCAN and RANDOMKEY.
 *
 *      cursor   52 ......... 14 | 13 ...... 0
 *               place in table  | slot            table_dir.c
 *
 * Slots are visited in ascending order, each by table_scan(). 0 means both "start"
 * and "done": slot 0 at its beginning is what every scan begins with. Empty slots
 * cost a look at their header, empty shards one at a counter. */
#include "base/err.h"
#include "store/shard.h"
#include "store/store.h"

enum {
    CURSOR_SLOT_BITS = 14,
    PARTS_PER_KEY = 10,  /* a scan gives up after so many parts for each key asked for ... */
    PARTS_MIN = 64,      /* ... but not before this many */
    RANDOM_SHARDS = 16,  /* RANDOMKEY: shards tried at random, before all in order */
    RANDOM_PLACES = 200, /* places tried in a shard before it is searched */
};
_Static_assert(STORE_SLOTS == 1 << CURSOR_SLOT_BITS, "a slot fits the cursor");

struct scan {
    const struct access *a;
    uint32_t id;
    uint32_t seen; /* keys of the database, expired ones included */
    store_visit_fn *visit;
    void *arg;
    bool stopped;
};

static bool scan_entry(void *arg, struct entry *e)
{
    struct scan *sc = arg;
    if (entry_db(e) != sc->id)
        return true;
    sc->seen++;
    if (deadline_passed(entry_expire(e), sc->a->now_ms) || entry_is_hidden(sc->a, e))
        return true;
    sc->stopped = !sc->visit(sc->arg, e);
    return !sc->stopped;
}

static uint32_t keys_in_shard(const struct store *s, uint32_t shard, uint32_t id)
{
    return atomic_load_explicit(&count_of(s, shard * STORE_SLOTS_PER_SHARD, id)->keys, memory_order_relaxed);
}

/* From *cursor to the end of the shard, or until enough was seen. Shard locked. */
static void scan_shard(struct scan *sc, uint32_t shard, uint64_t *cursor, uint32_t count, uint32_t *parts)
{
    struct store *s = sc->a->store;
    uint32_t end = (shard + 1) * STORE_SLOTS_PER_SHARD;
    uint32_t slot = (uint32_t)(*cursor % STORE_SLOTS);
    uint64_t at = *cursor >> CURSOR_SLOT_BITS;
    while (slot < end && sc->seen<count && * parts> 0) {
        bool more =
            !slot_is_veiled(s, slot) && table_scan(&sc->a->app->tm, &s->slots[slot], &at, scan_entry, sc);
        if (sc->stopped)
            break;
        if (s->slots[slot].nkeys != 0)
            --*parts;
        if (!more) {
            slot++;
            at = 0;
        }
    }
    *cursor = at << CURSOR_SLOT_BITS | slot;
}

int store_scan(const struct access *a, uint32_t db, uint64_t cursor, uint32_t count, store_visit_fn *visit,
               void *arg, uint64_t *next, uint32_t *busy_shard)
{
    struct store *s = a->store;
    struct scan sc = {.a = a, .id = s->id_of[db], .visit = visit, .arg = arg};
    uint32_t parts = count > UINT32_MAX / PARTS_PER_KEY ? UINT32_MAX : count * PARTS_PER_KEY;
    if (parts < PARTS_MIN)
        parts = PARTS_MIN;
    for (;;) {
        /* slot 16384 does not fit: it is the end */
        uint32_t shard = (uint32_t)(cursor % STORE_SLOTS) / STORE_SLOTS_PER_SHARD;
        bool locked, last = shard == STORE_SHARDS - 1;
        uint64_t end = (uint64_t)(shard + 1) * STORE_SLOTS_PER_SHARD;
        if (keys_in_shard(s, shard, sc.id) == 0) {
            cursor = end;
        } else if (!store_shard_enter(a, shard, &locked)) {
            *next = cursor;
            *busy_shard = shard;
            return ERR_AGAIN;
        } else {
            scan_shard(&sc, shard, &cursor, count, &parts);
            store_shard_leave(a, shard, locked);
        }
        if (cursor == end && last)
            cursor = 0;
        *next = cursor;
        if (cursor == 0 || sc.stopped || sc.seen >= count || parts == 0)
            return 0;
    }
}

/* ---- RANDOMKEY ---- */

struct pick {
    const struct access *a;
    uint32_t id;
    struct entry *e;
};

static bool fits_pick(const struct pick *p, const struct entry *e)
{
    return e != NULL && entry_db(e) == p->id && !deadline_passed(entry_expire(e), p->a->now_ms) &&
           !entry_is_hidden(p->a, e);
}

static bool pick_first(void *arg, struct entry *e)
{
    struct pick *p = arg;
    if (fits_pick(p, e))
        p->e = e;
    return p->e == NULL;
}

static uint64_t keys_to_draw(const struct store *s, uint32_t slot)
{
    return slot_is_veiled(s, slot) ? 0 : s->slots[slot].nkeys;
}

static struct table *random_slot(struct store *s, uint32_t shard, struct rng *rng)
{
    uint32_t first = shard * STORE_SLOTS_PER_SHARD;
    uint64_t total = 0;
    for (uint32_t i = 0; i < STORE_SLOTS_PER_SHARD; i++)
        total += keys_to_draw(s, first + i);
    if (total == 0)
        return NULL;
    uint64_t left = rng_below(rng, total);
    uint32_t slot = first;
    while (left >= keys_to_draw(s, slot))
        left -= keys_to_draw(s, slot++);
    return &s->slots[slot];
}

/* A place in the table, each as likely as any other: pages have different numbers of buckets, so a
 * bucket is drawn from as many as there could be. NULL when nothing is there. */
static struct entry *random_place(const struct table_mem *tm, const struct table *t, struct rng *rng)
{
    uint32_t npages = table_pages(t);
    const struct page *page = table_page(tm, t, (uint32_t)rng_below(rng, npages));
    uint32_t m = atomic_load_explicit(&page->m, memory_order_relaxed);
    uint32_t b = (uint32_t)rng_below(rng, npages > 1 ? TABLE_PAGE_BUCKETS : m);
    return b < m ? table_at(tm, page, b, (uint32_t)rng_below(rng, TABLE_BUCKET_REFS)) : NULL;
}

/* Darts are thrown at places until one hits a key of the database. When none does, the lane takes the
 * first in order. */
static struct entry *pick_in_shard(struct pick *p, uint32_t shard, struct rng *rng)
{
    struct store *s = p->a->store;
    const struct table_mem *tm = &p->a->app->tm;
    for (uint32_t i = 0; i < RANDOM_PLACES; i++) {
        struct table *t = random_slot(s, shard, rng);
        struct entry *e = t != NULL ? random_place(tm, t, rng) : NULL;
        if (fits_pick(p, e))
            return e;
    }
    for (uint32_t i = 0; p->a->lane && i < STORE_SLOTS_PER_SHARD && p->e == NULL; i++) {
        uint64_t at = 0;
        uint32_t slot = shard * STORE_SLOTS_PER_SHARD + i;
        while (!slot_is_veiled(s, slot) && table_scan(tm, &s->slots[slot], &at, pick_first, p) &&
               p->e == NULL)
            ;
    }
    return p->e;
}

/* The shard of the n-th key of the database, counted shard by shard. */
static uint32_t shard_of_nth(const struct store *s, uint32_t id, uint64_t n)
{
    for (uint32_t i = 0; i < STORE_SHARDS; i++) {
        uint32_t keys = keys_in_shard(s, i, id);
        if (n < keys)
            return i;
        n -= keys;
    }
    return STORE_SHARDS - 1;
}

/* 1: found and copied, 0: nothing there, or an error. */
static int try_shard(struct pick *p, uint32_t shard, struct rng *rng, struct arena *arena, struct str *out)
{
    bool locked;
    int found = 0;
    if (keys_in_shard(p->a->store, shard, p->id) == 0)
        return 0;
    if (!store_shard_enter(p->a, shard, &locked))
        return ERR_AGAIN;
    const struct entry *e = pick_in_shard(p, shard, rng);
    if (e != NULL) {
        *out = arena_copy(arena, entry_key(e));
        found = out->p != NULL ? 1 : ERR_OOM;
    }
    store_shard_leave(p->a, shard, locked);
    return found;
}

int store_random_key(const struct access *a, uint32_t db, struct rng *rng, struct arena *arena,
                     struct str *out)
{
    struct store *s = a->store;
    struct pick p = {.a = a, .id = s->id_of[db]};
    int found = 0;
    *out = (struct str){NULL, 0};
    for (uint32_t i = 0; i < RANDOM_SHARDS && found == 0; i++) {
        uint64_t keys = store_db_keys(s, db);
        if (keys == 0)
            return 0;
        found = try_shard(&p, shard_of_nth(s, p.id, rng_below(rng, keys)), rng, arena, out);
    }
    if (found == 0 && !a->lane)
        return ERR_FULL;
    for (uint32_t i = 0; i < STORE_SHARDS && found == 0; i++) /* nearly all of them are expired */
        found = try_shard(&p, i, rng, arena, out);
    return found < 0 ? found : 0;
}
