/* What is counted of a slot's keys, and of the memory beyond the segments.
 *
 * The counters of a slot are written under its shard's lock and read by anybody, so they are relaxed atomics
 * without a locked instruction. Sums of deadlines count from the store's start and are clamped: one absurd
 * TTL must not make the average meaningless. Heap bytes are gathered in each thread and handed on in lots. */
#include "store/shard.h"

enum { TTL_CLAMP_BITS = 41 }; /* 69 years: what a deadline counts for in sums */

static int64_t ttl_share(const struct store *s, int64_t expire_ms)
{
    const int64_t max = (int64_t)1 << TTL_CLAMP_BITS;
    if (expire_ms > s->origin_ms + max)
        return max;
    if (expire_ms < s->origin_ms - max)
        return -max;
    return expire_ms - s->origin_ms;
}

static void add_u32(_Atomic uint32_t *n, int d)
{
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + (uint32_t)d,
                          memory_order_relaxed);
}

static void count_expire(struct store *s, struct db_count *c, int64_t expire_ms, int sign)
{
    if (expire_ms == 0)
        return;
    add_u32(&c->expires, sign);
    int64_t sum = atomic_load_explicit(&c->ttl_sum, memory_order_relaxed) + sign * ttl_share(s, expire_ms);
    atomic_store_explicit(&c->ttl_sum, sum, memory_order_relaxed);
}

void store_count_key(struct store *s, uint32_t slot, uint32_t db, int64_t expire_ms, int sign)
{
    struct db_count *c = count_of(s, slot, db);
    if (slot_is_veiled(s, slot) && db == s->id_of[0])
        atomic_fetch_add_explicit(&s->veiled_keys, sign, memory_order_relaxed);
    else
        add_u32(&c->keys, sign);
    count_expire(s, c, expire_ms, sign);
}

void store_count_veil(struct store *s, uint32_t slot, bool on)
{
    int keys = (int)s->slots[slot].nkeys;
    add_u32(&count_of(s, slot, s->id_of[0])->keys, on ? -keys : keys);
    atomic_fetch_add_explicit(&s->veiled_keys, on ? keys : -keys, memory_order_relaxed);
}

void store_count_deadline(struct store *s, uint32_t slot, uint32_t db, int64_t old_ms, int64_t new_ms)
{
    struct db_count *c = count_of(s, slot, db);
    count_expire(s, c, old_ms, -1);
    count_expire(s, c, new_ms, 1);
}

void store_count_name(struct store *s, uint32_t slot, uint32_t db, int64_t bytes)
{
    struct db_count *c = count_of(s, slot, db);
    uint64_t sum = atomic_load_explicit(&c->key_bytes, memory_order_relaxed) + (uint64_t)bytes;
    atomic_store_explicit(&c->key_bytes, sum, memory_order_relaxed);
}

void store_count_heap(const struct access *a, int64_t bytes)
{
    struct appender *app = a->app;
    app->heap_unseen += bytes;
    app->heap_moved += (uint64_t)(bytes < 0 ? -bytes : bytes);
    if (app->heap_unseen < HEAP_UNSEEN && app->heap_unseen > -HEAP_UNSEEN)
        return;
    int64_t sum = app->heap_unseen;
    sum += atomic_fetch_add_explicit(&a->store->heap, sum, memory_order_relaxed);
    app->heap_unseen = 0;
    if (sum > (int64_t)atomic_load_explicit(&a->store->heap_peak, memory_order_relaxed))
        atomic_store_explicit(&a->store->heap_peak, (uint64_t)sum, memory_order_relaxed);
    if (bytes > 0)
        store_update_pressure(a->store);
}
