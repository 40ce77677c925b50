#include "client/envelope.h"

#include "base/annotate.h"
#include "base/assert.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static const char magic[] = "larder1:";

/* Where fields begin. */
enum {
    AT_KIND = 8,
    AT_VERSION = 10,
    AT_GRACE = 31,
    AT_EXTRA = 48,
    AT_DELTA = 65,
    AT_UNTIL = 82,
    AT_TOKEN = 99,
    AT_END = 115,
    VERSION_DIGITS = 20,
    NUMBER_DIGITS = 16,
};
_Static_assert(AT_TOKEN + ENVELOPE_TOKEN == AT_END && AT_END + 1 == LARDER_ENVELOPE_BYTES, "the layout");
#define NUMBER_MAX INT64_C(9999999999999999)

static int64_t fit(int64_t v)
{
    return v < 0 ? 0 : v > NUMBER_MAX ? NUMBER_MAX : v;
}

void envelope_put(char out[LARDER_ENVELOPE_BYTES + 1], const struct envelope *e)
{
    int n = snprintf(out, LARDER_ENVELOPE_BYTES + 1,
                     "%s%c:%020" PRIu64 ":%016" PRId64 ":%016" PRId64 ":%016" PRId64 ":%016d:%016d\n", magic,
                     (char)e->kind, e->version, fit(e->grace_ms), fit(e->extra_ms), fit(e->delta_ms), 0, 0);
    ASSERT(n == LARDER_ENVELOPE_BYTES);
    (void)n;
}

void envelope_put_version(char out[21], uint64_t version)
{
    snprintf(out, VERSION_DIGITS + 1, "%020" PRIu64, version);
}

static bool read_digits(const char *p, unsigned n, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9' || __builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(p[i] - '0'), &v))
            return false;
    }
    *out = v;
    return true;
}

bool envelope_read(struct str bytes, struct envelope *out, struct str *rest)
{
    static const unsigned char colons[] = {AT_KIND + 1,  AT_GRACE - 1, AT_EXTRA - 1,
                                           AT_DELTA - 1, AT_UNTIL - 1, AT_TOKEN - 1};
    uint64_t grace, extra, delta;
    if (bytes.n < LARDER_ENVELOPE_BYTES || memcmp(bytes.p, magic, sizeof magic - 1) != 0 ||
        bytes.p[AT_END] != '\n')
        return false;
    for (size_t i = 0; i < ARRAY_LEN(colons); i++)
        if (bytes.p[colons[i]] != ':')
            return false;
    char kind = bytes.p[AT_KIND];
    if ((kind != ENVELOPE_VALUE && kind != ENVELOPE_NEGATIVE && kind != ENVELOPE_LOADING &&
         kind != ENVELOPE_HELD) ||
        !read_digits(bytes.p + AT_VERSION, VERSION_DIGITS, &out->version) ||
        !read_digits(bytes.p + AT_GRACE, NUMBER_DIGITS, &grace) ||
        !read_digits(bytes.p + AT_EXTRA, NUMBER_DIGITS, &extra) ||
        !read_digits(bytes.p + AT_DELTA, NUMBER_DIGITS, &delta))
        return false;
    out->kind = (enum envelope_kind)kind;
    out->grace_ms = (int64_t)grace;
    out->extra_ms = (int64_t)extra;
    out->delta_ms = (int64_t)delta;
    *rest = (struct str){bytes.p + LARDER_ENVELOPE_BYTES, bytes.n - LARDER_ENVELOPE_BYTES};
    return true;
}

bool envelope_is_usable(const struct envelope *e, int64_t pttl_ms)
{
    return (e->kind == ENVELOPE_VALUE || e->kind == ENVELOPE_NEGATIVE) &&
           (pttl_ms == -1 || pttl_ms > e->extra_ms);
}

bool envelope_is_fresh(const struct envelope *e, int64_t pttl_ms, uint64_t min_version)
{
    return envelope_is_usable(e, pttl_ms) && e->version >= min_version &&
           (pttl_ms == -1 || pttl_ms > e->grace_ms);
}

bool envelope_is_early(const struct envelope *e, int64_t pttl_ms, double beta, double u)
{
    ASSERT(u > 0 && u <= 1);
    if (beta <= 0 || pttl_ms == -1 || e->kind != ENVELOPE_VALUE)
        return false;
    return -(double)e->delta_ms * beta * log(u) >= (double)(pttl_ms - e->grace_ms);
}
