/* Emptying databases in no time: nothing is walked while the world stands still.
 *
 * Everything at once (FLUSHALL, or FLUSHDB of the only database with keys): the tables
 * are put into a grave, the segments of this epoch are doomed, all counters start at
 * zero. store_maintain() digs: tables go back to the pool, doomed segments are walked
 * only if they held blocks.
 *
 * One database among others: it gets a fresh id. Keys of the old id can no longer be
 * named; a sweep takes them out (SWEEP_PURGE), and the id is used again when its
 * counters say that none is left.
 *
 * A mapping with the slots of a flush also holds its struct grave, behind the slots. */
#include "base/err.h"
#include "os/clock.h"
#include "store/shard.h"
#include "store/store.h"

#include <string.h>
#include <sys/mman.h>

enum {
    DIG_PAGES = 32, /* freed between two looks at the clock */
    DIG_SLOTS = 16,
    DIG_ENTRIES = 256,
};

/* What of the account goes at once; the reaper sees to the rest. */
static int64_t drop_heap(struct store *s, const struct entry *e)
{
    int64_t later = 0;
    if (entry_kind(e) == ENTRY_OBJECT)
        return store_drop_object(s, entry_object(e), &later);
    struct block *b = entry_block(e);
    int64_t bytes = (int64_t)mem_usable(b);
    block_put(b);
    return bytes;
}

bool segment_release_heap(struct store *s, struct segment *seg, uint32_t *at, int64_t until_ns,
                          _Atomic int64_t *account)
{
    if (atomic_load_explicit(&seg->live, memory_order_acquire) == 0)
        return true;
    uint32_t used = atomic_load_explicit(&seg->used, memory_order_acquire), n = 0;
    if (!atomic_load_explicit(&seg->heap, memory_order_relaxed))
        return true;
    int64_t bytes = 0;
    while (*at < used && (++n % DIG_ENTRIES != 0 || os_work_ns() < until_ns)) {
        struct entry *e = (struct entry *)(segment_start(&s->segs, seg) + (size_t)*at * ENTRY_UNIT);
        uint32_t word = entry_word(e);
        *at += entry_extent(e);
        if ((word & ENTRY_DEAD) || (entry_kind(e) != ENTRY_BLOCK && entry_kind(e) != ENTRY_OBJECT))
            continue;
        bytes += drop_heap(s, e);
        atomic_store_explicit(&e->word, word | ENTRY_DEAD, memory_order_relaxed);
    }
    atomic_fetch_sub_explicit(account, bytes, memory_order_relaxed);
    return *at >= used;
}

/* ---- everything ---- */

static void stop_threads_work(struct store *s)
{
    for (uint32_t i = 0; i < s->nthreads; i++) {
        struct appender *app = s->appenders[i];
        sweep_abort(s, app);
        segment_seal_all(&s->segs, &app->writer);
        atomic_fetch_add_explicit(&s->heap, app->heap_unseen, memory_order_relaxed);
        app->heap_unseen = 0;
        for (unsigned list = 0; list < SEGMENT_LISTS; list++)
            atomic_store_explicit(&app->list_heap[list], 0, memory_order_relaxed);
    }
}

static void release_tables_now(const struct access *a)
{
    for (uint32_t i = 0; i < STORE_SLOTS; i++) {
        uint32_t page = 0;
        (void)table_release(&a->app->tm, &a->store->slots[i], &page, UINT32_MAX);
    }
}

static void bury_tables(const struct access *a)
{
    struct store *s = a->store;
    struct table *fresh = region_map(STORE_SLOTS_BYTES);
    if (fresh == NULL) { /* no address space for half a megabyte: slow, but done */
        release_tables_now(a);
        return;
    }
    struct grave *g = (struct grave *)(void *)(s->slots + STORE_SLOTS);
    *g = (struct grave){.next = atomic_load_explicit(&s->graves, memory_order_relaxed), .slots = s->slots};
    atomic_store_explicit(&s->graves, g, memory_order_relaxed);
    s->slots = fresh;
}

static void reset_databases(struct store *s)
{
    for (uint32_t i = 0; i < STORE_SHARDS; i++)
        memset(&s->shards[i].zero, 0, sizeof s->shards[i].zero);
    madvise(s->dbs, sizeof(struct db_line) * STORE_SHARDS * s->ids_used, MADV_DONTNEED);
    store_init_ids(s);
}

/* What was under a veil is gone; who has put it there is to find out. */
static void note_flush(struct store *s)
{
    atomic_fetch_add_explicit(&s->flushes, 1, memory_order_relaxed);
    atomic_store_explicit(&s->veiled_keys, 0, memory_order_relaxed);
}

uint64_t store_flushes(const struct store *s)
{
    return atomic_load_explicit(&s->flushes, memory_order_relaxed);
}

void store_flush_all(const struct access *a)
{
    struct store *s = a->store;
    bump(&a->app->changes);
    note_flush(s);
    store_cut_flushed(s);
    store_touch_db(a, -1, -1);
    ext_tell_flushed(a, true);
    stop_threads_work(s);
    lock_hold(&s->graves_lock);
    bury_tables(a);
    lock_release(&s->graves_lock);
    store_cut_fresh_tables(s);
    segments_doom(&s->segs);
    int64_t heap = atomic_exchange_explicit(&s->heap, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->heap_doomed, heap, memory_order_relaxed);
    reset_databases(s);
    s->sweep.active = false;
    s->sweep.next_pass_ms = 0;
    store_update_pressure(s);
}

/* One grave at a time, one digger at a time; the others have sweeping to do. */
bool store_dig(const struct access *a, int64_t until_ns)
{
    struct store *s = a->store;
    if (likely(atomic_load_explicit(&s->graves, memory_order_relaxed) == NULL) || !lock_try(&s->graves_lock))
        return false;
    struct grave *g = atomic_load_explicit(&s->graves, memory_order_relaxed);
    bool in_time = true;
    while (g != NULL && in_time) {
        if (g->slot == STORE_SLOTS) {
            atomic_store_explicit(&s->graves, g->next, memory_order_relaxed);
            region_unmap(g->slots, STORE_SLOTS_BYTES);
            g = atomic_load_explicit(&s->graves, memory_order_relaxed);
            continue;
        }
        struct table *t = &g->slots[g->slot];
        if (table_pages(t) == 0 || table_release(&a->app->tm, t, &g->page, DIG_PAGES)) {
            g->slot++;
            g->page = 0;
        }
        if (g->slot % DIG_SLOTS == 0 || g->page != 0)
            in_time = os_work_ns() < until_ns;
    }
    lock_release(&s->graves_lock);
    return g != NULL;
}

/* ---- one database ---- */

static uint64_t keys_of_id(const struct store *s, uint32_t id)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < STORE_SHARDS; i++)
        n += atomic_load_explicit(&count_of(s, i * STORE_SLOTS_PER_SHARD, id)->keys, memory_order_relaxed);
    return n;
}

void store_recycle_id(struct store *s, uint32_t id)
{
    if (id_state(s, id) != ID_DEAD || keys_of_id(s, id) != 0)
        return;
    atomic_store_explicit(&s->id_state[id], ID_FREE, memory_order_relaxed);
    atomic_fetch_sub_explicit(&s->ids_dead, 1, memory_order_relaxed);
}

static uint32_t free_id(const struct store *s)
{
    uint32_t id = 0;
    while (id < IDS_MAX && id_state(s, id) != ID_FREE)
        id++;
    return id;
}

/* IDS_MAX is far more than databases, so there is one unless flushes come much faster than sweeps. */
static uint32_t fresh_id(const struct access *a)
{
    struct store *s = a->store;
    uint32_t id = free_id(s);
    if (id == IDS_MAX) {
        sweep_purge_now(a);
        for (uint32_t i = 0; i < IDS_MAX; i++)
            store_recycle_id(s, i);
        id = free_id(s);
        ASSERT(id < IDS_MAX);
    }
    if (id >= s->ids_used)
        s->ids_used = id + 1;
    return id;
}

static bool others_are_empty(const struct store *s, uint32_t db)
{
    for (uint32_t i = 0; i < s->databases; i++)
        if (i != db && keys_of_id(s, s->id_of[i]) != 0)
            return false;
    return true;
}

void store_flush_db(const struct access *a, uint32_t db)
{
    struct store *s = a->store;
    ext_tell_flushed(a, false);
    int64_t veiled = db == 0 ? atomic_load_explicit(&s->veiled_keys, memory_order_relaxed) : 0;
    if (keys_of_id(s, s->id_of[db]) == 0 && veiled == 0)
        return;
    if (others_are_empty(s, db)) {
        store_flush_all(a);
        return;
    }
    bump(&a->app->changes);
    note_flush(s);
    store_cut_flushed(s); /* a sweep will take out what they have not saved */
    store_touch_db(a, db, -1);
    uint32_t old = s->id_of[db], id = fresh_id(a);
    atomic_store_explicit(&s->id_state[id], ID_LIVE, memory_order_relaxed);
    atomic_store_explicit(&s->id_state[old], ID_DEAD, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->ids_dead, 1, memory_order_relaxed);
    s->id_of[db] = (uint16_t)id;
    s->segs.purge++;
    s->sweep.next_pass_ms = 0;
}

void store_swap_db(const struct access *a, uint32_t x, uint32_t y)
{
    struct store *s = a->store;
    if (x == y)
        return;
    bump(&a->app->changes);
    store_touch_db(a, x, y);
    store_touch_db(a, y, x);
    ext_tell_flushed(a, false);
    uint16_t id = s->id_of[x];
    s->id_of[x] = s->id_of[y];
    s->id_of[y] = id;
}
