/* A number that varies: sizes of values, times to live.
 *
 *      100                     always 100
 *      64-4kb                  uniform, both ends included
 *      lognormal:300:1.2       median 300, sigma 1.2 of the logarithm: many small,
 *                              few huge, as measured cache values are
 */
#ifndef LARDER_TOOL_BENCH_SPREAD_H
#define LARDER_TOOL_BENCH_SPREAD_H

#include "base/annotate.h"
#include "base/rng.h"

#include <stdint.h>

#define SPREAD_SIGMA_MAX 5.0

enum spread_kind { SPREAD_FIXED, SPREAD_RANGE, SPREAD_LOGNORMAL };

struct spread {
    enum spread_kind kind;
    uint64_t low, high; /* draws lie within, both included; equal when fixed */
    double median, sigma;
};

/* Numbers may carry redis.conf's units (4kb). Returns 0, ERR_SYNTAX, or ERR_RANGE if
 * something lies outside [min, max]; lognormal draws are cut to these. */
int spread_parse(const char *text, uint64_t min, uint64_t max, struct spread *out) MUST_CHECK;

uint64_t spread_draw(const struct spread *s, struct rng *r);

#endif
