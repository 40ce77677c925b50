/* A histogram of durations: log-linear buckets, fixed size, never allocating.
 *
 * One writer at a time; any thread may read while it writes and sees each count
 * at most a moment late (a total may then differ from the sum of its buckets by
 * what is being added). Values are nanoseconds here, but any number will do. */
#ifndef LARDER_TOOL_BENCH_HIST_H
#define LARDER_TOOL_BENCH_HIST_H

#include "base/counter.h"

#include <stdint.h>

enum hist_limits {
    HIST_HALF_BITS = 7, /* buckets are at most 1/128 of their value wide */
    HIST_TOP_BIT = 40,  /* larger values (18 minutes) count as the largest */
    HIST_BUCKETS = ((HIST_TOP_BIT - HIST_HALF_BITS) << HIST_HALF_BITS) + (2 << HIST_HALF_BITS),
};

struct hist {
    struct counter counts[HIST_BUCKETS];
    struct counter total, sum, max;
};

/* All zero bytes is an empty histogram. */
void hist_clear(struct hist *h);

/* Count `times` values of v. Writer only. */
void hist_add(struct hist *h, uint64_t v, uint64_t times);

/* dst += src. The caller is dst's writer. */
void hist_merge(struct hist *dst, const struct hist *src);

/* dst -= src, an earlier state of dst: what came in between. The maximum is then
 * the upper edge of the highest bucket left. The caller is dst's writer. */
void hist_subtract(struct hist *dst, const struct hist *src);

/* The value that a share q (0..1) of all values does not exceed: the upper edge of
 * its bucket, so never flattering, but not above the maximum. 0 when empty. */
uint64_t hist_quantile(const struct hist *h, double q);

double hist_mean(const struct hist *h);

static inline uint64_t hist_total(const struct hist *h)
{
    return counter_read(&h->total);
}

static inline uint64_t hist_max(const struct hist *h)
{
    return counter_read(&h->max);
}

/* The bucket of a value, and the largest value of a bucket. */
unsigned hist_bucket(uint64_t v);
uint64_t hist_bucket_top(unsigned bucket);

#endif
