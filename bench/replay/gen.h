/* Invented traces that have the statistics of measured ones.
 *
 * Given are how often a key is asked for, how many are asked for once, sizes and TTLs. What
 * published tables do not say is chosen here, and told in the summary of the benchmark:
 *
 *  - counts: one-hit keys apart, the k-th most popular key is asked for in proportion to k^-theta,
 *    at least twice;
 *  - churn: a key lives for a while, most of its requests soon after its birth. How long goes with its
 *    TTL (a tenth to three times as long). A tenth of the keys, and all of the most popular, live
 *    throughout;
 *  - values: log-normal around the mean, one size a key; one TTL a key. */
#ifndef LARDER_BENCH_REPLAY_GEN_H
#define LARDER_BENCH_REPLAY_GEN_H

#include "bench/replay/trace.h"

#include <stdbool.h>

enum gen_limits { GEN_TTLS_MAX = 16 };

struct gen_ttl {
    uint32_t low_s, high_s; /* drawn evenly, both included; 0: none */
    double share;           /* relative to the others' */
};

struct gen_shape {
    uint64_t requests, seed;
    uint32_t key_bytes;
    double value_mean, value_sigma; /* bytes; of the logarithm */
    double accesses;                /* requests a key, at least 2 */
    double one_hit;                 /* share of keys */
    double theta;                   /* Zipf's exponent */
    double seconds;                 /* from the first request to the last, about */
    struct gen_ttl ttl[GEN_TTLS_MAX];
    unsigned nttls;
};

/* "60:0.39,3960-6840:0.21,0:0.4": seconds, or a range of them, and the share. Returns 0 or ERR_SYNTAX. */
int gen_parse_ttls(const char *text, struct gen_shape *out) MUST_CHECK;

/* Returns 0, or ERR_RANGE with err filled when no trace can be like this. */
int gen_make(const struct gen_shape *shape, struct trace *out, struct trace_err *err) MUST_CHECK;

#endif
