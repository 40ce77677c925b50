#include "cache/stats.h"

#include "cache/cache_internal.h"

#include <string.h>

const struct budgets *cache_budgets(const struct cache *c)
{
    return &c->budgets;
}

void cache_sum(const struct cache *c, struct cache_stats *out)
{
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < STORE_SHARDS; i++) {
        const struct cache_shard *cs = &c->shards[i];
        for (unsigned k = 0; k < CACHE_COUNTERS; k++)
            out->n[k] += counter_read(&cs->count[k]);
    }
    out->leases =
        out->n[COUNT_GRANTED] > out->n[COUNT_ENDED] ? out->n[COUNT_GRANTED] - out->n[COUNT_ENDED] : 0;
    int64_t negative = atomic_load_explicit(&c->negative_bytes, memory_order_relaxed);
    out->negative_bytes = negative > 0 ? (uint64_t)negative : 0;
    out->purges = atomic_load_explicit(&c->seq, memory_order_relaxed);
}
