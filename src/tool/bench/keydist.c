/* Zipf by rejection-inversion: W. Hörmann and G. Derflinger, "Rejection-inversion
 * to generate variates from monotone discrete distributions", ACM TOMACS 6(3), 1996.
 *
 * The probabilities k^-theta are bars of width 1 around k = 1, 2, .. n. Lay the
 * curve x^-theta over them and draw a point uniformly under the curve by inverting
 * its area A(x); round x to the nearest k. Since the curve is convex, each bar's
 * share of the curve is a little more than the bar itself, and the point is
 * rejected if it fell into the excess:
 *
 *      |\                  A(x) = (x^(1-theta) - 1) / (1 - theta),  ln x for theta = 1
 *      | \                 accept k if  u >= A(k + 1/2) - k^-theta
 *      |##\_               the first bar is cut to its exact size by starting at
 *      |####\__            A(3/2) - 1, so that k = 1 is never rejected
 *      |#######\____
 *      1  2  3  4  ..      `quick`: k - x below this is always inside the bar
 *
 * No table, no sum over n to begin with, any theta (YCSB's method, Gray et al. 1994,
 * stops below 1); about one pow() a draw.
 *
 * Popular keys must not be neighbours, or loading in order would put all hot entries
 * into one place of the server's memory. So ranks go through a bijection: an
 * odd multiplication and an xor-shift, twice, on the smallest power of two that
 * holds n, walking on until the result is below n (at most two steps on average).
 * Rejected: hashing the rank modulo n as YCSB does, since two ranks then share a key
 * and a third of the keys is never asked for. */
#include "tool/bench/keydist.h"

#include "base/assert.h"

#include <math.h>

static double bar(double k, double theta)
{
    return pow(k, -theta);
}

static double area(double x, double theta)
{
    double flat = 1 - theta;
    return fabs(flat) < 1e-9 ? log(x) : (pow(x, flat) - 1) / flat;
}

static double area_inverse(double u, double theta)
{
    double flat = 1 - theta;
    return fabs(flat) < 1e-9 ? exp(u) : pow(1 + u * flat, 1 / flat);
}

void keydist_uniform(struct keydist *d, uint64_t n)
{
    ASSERT(n > 0);
    *d = (struct keydist){.kind = KEYDIST_UNIFORM, .n = n};
}

void keydist_sequential(struct keydist *d, uint64_t n, uint64_t start)
{
    ASSERT(start < n);
    *d = (struct keydist){.kind = KEYDIST_SEQUENTIAL, .n = n, .next = start};
}

void keydist_zipf(struct keydist *d, uint64_t n, double theta)
{
    ASSERT(n > 0 && theta > 0 && theta <= KEYDIST_THETA_MAX);
    *d = (struct keydist){.kind = KEYDIST_ZIPF, .n = n, .theta = theta};
    d->area_low = area(1.5, theta) - 1;
    d->area_high = area((double)n + 0.5, theta);
    d->quick = 2 - area_inverse(area(2.5, theta) - bar(2, theta), theta);
    d->bits = n > 2 ? 64u - (unsigned)__builtin_clzll(n - 1) : 1;
}

uint64_t keydist_zipf_rank(const struct keydist *d, struct rng *r)
{
    for (;;) {
        double u = d->area_high + rng_unit(r) * (d->area_low - d->area_high);
        double x = area_inverse(u, d->theta);
        double k = floor(x + 0.5);
        if (!(k >= 1))
            k = 1;
        if (k > (double)d->n)
            k = (double)d->n;
        if (k - x <= d->quick || u >= area(k + 0.5, d->theta) - bar(k, d->theta))
            return (uint64_t)k;
    }
}

uint64_t keydist_at_rank(const struct keydist *d, uint64_t rank)
{
    ASSERT(rank >= 1 && rank <= d->n);
    const uint64_t mask = (1ULL << d->bits) - 1;
    const unsigned shift = d->bits / 2 + 1;
    uint64_t x = rank - 1;
    do {
        for (int round = 0; round < 2; round++) {
            x = (x * 0x9e3779b97f4a7c15ULL + 0x632be5ab) & mask;
            x ^= x >> shift;
        }
    } while (x >= d->n);
    return x;
}

uint64_t keydist_next(struct keydist *d, struct rng *r)
{
    switch (d->kind) {
    case KEYDIST_UNIFORM: return rng_below(r, d->n);
    case KEYDIST_ZIPF: return keydist_at_rank(d, keydist_zipf_rank(d, r));
    case KEYDIST_SEQUENTIAL: break;
    }
    uint64_t k = d->next++;
    if (d->next == d->n)
        d->next = 0;
    return k;
}
