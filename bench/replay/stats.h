/* What a trace is like: the figures that published ones are told in. */
#ifndef LARDER_BENCH_REPLAY_STATS_H
#define LARDER_BENCH_REPLAY_STATS_H

#include "bench/replay/trace.h"

enum stats_limits { STATS_TTLS = 12 };

struct stats {
    uint64_t requests, keys, one_hit_keys;
    uint64_t footprint; /* bytes of all keys with the largest value each has had */
    double value_mean;  /* over keys */
    double seconds;
    /* Misses of a cache without limits: `first` requests of a key, and those that come after
     * what was stored has expired. No cache can have fewer. */
    uint64_t first, expired;
    uint32_t ttl[STATS_TTLS]; /* the commonest, 0 is none; by share of keys, falling */
    double ttl_share[STATS_TTLS];
    unsigned nttls;
};

void stats_of(const struct trace *t, struct stats *out);

/* Misses that no cache can avoid. */
static inline uint64_t stats_unavoidable(const struct stats *s)
{
    return s->first + s->expired;
}

#endif
