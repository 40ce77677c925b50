/* The accounts: how much memory the data takes, how many keys there are.
 *
 * What maxmemory bounds is what is committed: whole segments, open ones included, the
 * pages that buckets lie in, and heap values as jemalloc rounds them. Nothing here is
 * on the path of a command but one load of over_memory, which is brought up to date
 * whenever a thread opens a segment or has allocated HEAP_UNSEEN bytes of blocks: that
 * is by how much maxmemory can be overrun, once for each thread. */
#include "base/err.h"
#include "os/clock.h"
#include "store/shard.h"
#include "store/store.h"

enum { HEADERS = STORE_SLOTS * sizeof(struct table) };

static uint64_t not_negative(int64_t v)
{
    return v > 0 ? (uint64_t)v : 0;
}

uint64_t store_used(struct store *s)
{
    return store_outside_heap(s) + not_negative(atomic_load_explicit(&s->heap, memory_order_relaxed));
}

uint64_t store_outside_heap(const struct store *cs)
{
    struct store *s = (struct store *)cs; /* the pool's leaf lock is taken, nothing else changes */
    return atomic_load_explicit(&s->segs.bytes, memory_order_relaxed) + pool_bytes(&s->pool) + HEADERS;
}

uint64_t store_buckets(const struct store *cs)
{
    struct store *s = (struct store *)cs;
    return pool_bytes(&s->pool) / sizeof(struct bucket);
}

void store_update_pressure(struct store *s)
{
    bool over = s->maxmemory != 0 && store_used(s) > s->maxmemory;
    if (over != atomic_load_explicit(&s->over_memory, memory_order_relaxed))
        atomic_store_explicit(&s->over_memory, over, memory_order_relaxed);
}

bool store_over_memory(const struct store *s)
{
    return atomic_load_explicit(&s->over_memory, memory_order_relaxed);
}

void store_set_maxmemory(struct store *s, uint64_t bytes)
{
    s->maxmemory = bytes;
    store_update_pressure(s);
}

void store_set_active_expire(struct store *s, bool on)
{
    s->active_expire = on;
}

static void end_promise(struct store *s, struct appender *app)
{
    pool_promise_end(&s->pool, &app->cache);
    if (unlikely(app->ballast != NULL)) {
        mem_free(app->ballast);
        app->ballast = NULL;
    }
}

void store_round_begin(struct store *s, struct appender *app)
{
    segment_refill(&s->segs, &app->writer);
    end_promise(s, app);
    if (unlikely(atomic_load_explicit(&s->cuts_open, memory_order_relaxed) != 0))
        store_cut_relieve(s);
}

/* Three things a put can want for: room in segments, buckets, and a block for a large value. A page
 * grows before it is full, so an insertion that must have buckets needs two units at the most on average.
 * Of blocks only the sum is known: that much is allocated, and freed when one of them cannot be had. */
int store_reserve(const struct access *a, uint32_t entries, size_t bytes)
{
    enum { HEAD_MAX = 36, UNITS_EACH = 2, BLOCK_EACH = 64 };
    struct store *s = a->store;
    struct appender *app = a->app;
    end_promise(s, app);
    uint32_t pages = (uint32_t)((uint64_t)entries * UNITS_EACH / POOL_PAGE_UNITS) + POOL_CLASSES;
    int err = segment_promise(&s->segs, &app->writer, bytes + (uint64_t)entries * HEAD_MAX);
    if (err == 0)
        err = pool_promise(&s->pool, &app->cache, pages);
    if (err == 0 && bytes > s->inline_max) {
        app->ballast = mem_alloc(bytes + bytes / 4 + (size_t)entries * BLOCK_EACH);
        err = app->ballast == NULL ? ERR_OOM : 0;
    }
    if (err != 0)
        store_round_begin(s, app);
    return err;
}

static uint64_t live_bytes(const struct store *s)
{
    uint64_t units = 0;
    uint32_t end = atomic_load_explicit(&s->segs.frontier, memory_order_acquire);
    for (uint32_t i = 0; i < end; i++) {
        const struct segment *seg = &s->segs.meta[i];
        if (atomic_load_explicit(&seg->live, memory_order_acquire) != 0 &&
            segment_epoch(seg) == s->segs.epoch)
            units += segment_live_units(&s->segs, seg);
    }
    return units * ENTRY_UNIT;
}

void store_memory(const struct store *cs, struct store_memory *out)
{
    struct store *s = (struct store *)cs; /* its leaf locks are taken, nothing else changes */
    out->used = store_used(s);
    out->segments = atomic_load_explicit(&s->segs.bytes, memory_order_relaxed);
    out->live = live_bytes(s);
    out->dead = out->segments > out->live ? out->segments - out->live : 0;
    out->tables = pool_bytes(&s->pool) + HEADERS;
    out->blocks = not_negative(atomic_load_explicit(&s->heap, memory_order_relaxed));
    out->free_segments = segments_free_bytes(&s->segs);
    out->keys = 0;
    for (uint32_t db = 0; db < s->databases; db++)
        out->keys += store_db_keys(s, db);
}

/* ---- keys ---- */

uint64_t store_db_keys(const struct store *s, uint32_t db)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < STORE_SHARDS; i++) {
        const struct db_count *c = count_of(s, i * STORE_SLOTS_PER_SHARD, s->id_of[db]);
        n += atomic_load_explicit(&c->keys, memory_order_relaxed);
    }
    return n;
}

uint32_t store_databases(const struct store *s)
{
    return s->databases;
}

uint64_t store_db_expires(const struct store *s, uint32_t db)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < STORE_SHARDS; i++) {
        const struct db_count *c = count_of(s, i * STORE_SLOTS_PER_SHARD, s->id_of[db]);
        n += atomic_load_explicit(&c->expires, memory_order_relaxed);
    }
    return n;
}

int64_t store_db_avg_ttl_ms(const struct store *s, uint32_t db)
{
    __int128 sum = 0;
    uint64_t n = store_db_expires(s, db);
    if (n == 0)
        return 0;
    for (uint32_t i = 0; i < STORE_SHARDS; i++) {
        const struct db_count *c = count_of(s, i * STORE_SLOTS_PER_SHARD, s->id_of[db]);
        sum += atomic_load_explicit(&c->ttl_sum, memory_order_relaxed);
    }
    int64_t avg = (int64_t)(sum / n) + s->origin_ms - os_wall_ms();
    return avg > 0 ? avg : 0;
}

/* ---- statistics ---- */

void store_stats(const struct store *s, struct store_stats *out)
{
    *out = (struct store_stats){.segments_freed = atomic_load_explicit(&s->segs.freed, memory_order_relaxed)};
    for (uint32_t i = 0; i < s->nthreads; i++) {
        const struct appender *app = s->appenders[i];
        out->expired += atomic_load_explicit(&app->expired, memory_order_relaxed);
        out->evicted += atomic_load_explicit(&app->evicted, memory_order_relaxed);
        out->compacted += atomic_load_explicit(&app->compacted, memory_order_relaxed);
        out->splits += atomic_load_explicit(&app->tm.splits, memory_order_relaxed);
        out->merges += atomic_load_explicit(&app->tm.merges, memory_order_relaxed);
    }
}

void store_stats_reset(struct store *s)
{
    atomic_store_explicit(&s->segs.freed, 0, memory_order_relaxed);
    for (uint32_t i = 0; i < s->nthreads; i++) {
        struct appender *app = s->appenders[i];
        atomic_store_explicit(&app->expired, 0, memory_order_relaxed);
        atomic_store_explicit(&app->evicted, 0, memory_order_relaxed);
        atomic_store_explicit(&app->compacted, 0, memory_order_relaxed);
        atomic_store_explicit(&app->tm.splits, 0, memory_order_relaxed);
        atomic_store_explicit(&app->tm.merges, 0, memory_order_relaxed);
    }
}
