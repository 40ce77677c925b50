/* Which key comes next: numbers in [0, n).
 *
 * Pure arithmetic on the caller's generator, so one seed gives one sequence. A
 * struct keydist belongs to one thread. */
#ifndef LARDER_TOOL_BENCH_KEYDIST_H
#define LARDER_TOOL_BENCH_KEYDIST_H

#include "base/rng.h"

#include <stdint.h>

#define KEYDIST_THETA_MAX 4.0

enum keydist_kind { KEYDIST_UNIFORM, KEYDIST_ZIPF, KEYDIST_SEQUENTIAL };

struct keydist {
    enum keydist_kind kind;
    uint64_t n;
    uint64_t next; /* sequential: the next number */
    /* Zipf, see keydist.c. */
    double theta;
    double area_low, area_high, quick;
    unsigned bits;
};

void keydist_uniform(struct keydist *d, uint64_t n);

/* start, start + 1, ... n - 1, 0, 1, ... */
void keydist_sequential(struct keydist *d, uint64_t n, uint64_t start);

/* The k-th most popular key (k = 1..n) is drawn with probability k^-theta / sum.
 * 0 < theta <= KEYDIST_THETA_MAX. Which number is the k-th most popular looks
 * random, but is the same for every run with the same n. */
void keydist_zipf(struct keydist *d, uint64_t n, double theta);

uint64_t keydist_next(struct keydist *d, struct rng *r);

/* Zipf's rank, 1..n, and the number that stands at a rank: a bijection on [0, n). */
uint64_t keydist_zipf_rank(const struct keydist *d, struct rng *r);
uint64_t keydist_at_rank(const struct keydist *d, uint64_t rank);

#endif
