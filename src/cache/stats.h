/* What the cache has done to leases and entries, counted beside each shard under its lock and added up when
 * somebody asks. What reads were told their threads count (cmd/cmd.h), so that a hit touches no line for it.
 */
#ifndef LARDER_CACHE_STATS_H
#define LARDER_CACHE_STATS_H

#include "cache/budget.h"
#include "cache/cache.h"

enum cache_counter {
    COUNT_GRANTED, /* leases */
    COUNT_EARLY,   /* ... of them to refresh what is fresh */
    COUNT_ENDED,   /* leases that were filled, failed, void or have run out */
    COUNT_FILLED,
    COUNT_LEASE_LOST,
    COUNT_OLD_VERSION,
    COUNT_FAILED,      /* CACHE.FAIL */
    COUNT_INVALIDATED, /* there was something to invalidate */
    CACHE_COUNTERS,
};

struct cache_stats {
    uint64_t n[CACHE_COUNTERS];
    uint64_t leases; /* live, or run out and not swept yet */
    uint64_t purges, negative_bytes;
};

/* Any thread in a round; as it was a moment ago. */
void cache_sum(const struct cache *c, struct cache_stats *out);
const struct budgets *cache_budgets(const struct cache *c);

#endif
