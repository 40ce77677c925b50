/* Numbers that vary. A lognormal draw costs four transcendental functions (Box and
 * Muller's two uniforms to one normal); it is paid by writes only. */
#include "tool/bench/spread.h"

#include "base/assert.h"
#include "base/err.h"
#include "base/num.h"
#include "base/str.h"

#include <math.h>
#include <string.h>

static bool is_lognormal(struct str s, struct str *rest)
{
    const struct str word = STR("lognormal:");
    if (s.n <= word.n || memcmp(s.p, word.p, word.n) != 0)
        return false;
    *rest = (struct str){s.p + word.n, s.n - word.n};
    return true;
}

/* Split at the first `mark`. */
static bool halves(struct str s, char mark, struct str *left, struct str *right)
{
    const char *at = memchr(s.p, mark, s.n);
    if (at == NULL)
        return false;
    *left = (struct str){s.p, (size_t)(at - s.p)};
    *right = (struct str){at + 1, s.n - left->n - 1};
    return true;
}

int spread_parse(const char *text, uint64_t min, uint64_t max, struct spread *out)
{
    struct str s = str_of(text), left, right;
    struct spread d = {.kind = SPREAD_FIXED};
    uint64_t median;
    if (is_lognormal(s, &s)) {
        d = (struct spread){.kind = SPREAD_LOGNORMAL, .low = min, .high = max};
        if (!halves(s, ':', &left, &right) || !num_parse_bytes(left, &median) ||
            !num_parse_double(right, &d.sigma))
            return ERR_SYNTAX;
        if (median < min || median > max || median == 0 || !(d.sigma >= 0 && d.sigma <= SPREAD_SIGMA_MAX))
            return ERR_RANGE;
        d.median = (double)median;
    } else if (halves(s, '-', &left, &right)) {
        d.kind = SPREAD_RANGE;
        if (!num_parse_bytes(left, &d.low) || !num_parse_bytes(right, &d.high))
            return ERR_SYNTAX;
    } else {
        if (!num_parse_bytes(s, &d.low))
            return ERR_SYNTAX;
        d.high = d.low;
    }
    if (d.low < min || d.high > max || d.low > d.high)
        return ERR_RANGE;
    *out = d;
    return 0;
}

static double normal(struct rng *r)
{
    double u = 1 - rng_unit(r), v = rng_unit(r); /* u in (0, 1]: its logarithm exists */
    return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

uint64_t spread_draw(const struct spread *s, struct rng *r)
{
    DEBUG_ASSERT(s->low <= s->high);
    if (s->kind == SPREAD_FIXED)
        return s->low;
    if (s->kind == SPREAD_RANGE)
        return s->low + rng_below(r, s->high - s->low + 1);
    double v = s->median * exp(s->sigma * normal(r));
    if (v <= (double)s->low)
        return s->low;
    return v >= (double)s->high ? s->high : (uint64_t)v;
}
