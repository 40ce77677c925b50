#include "client/envelope.h"

#include "base/annotate.h"
#include "base/assert.h"
#include "base/err.h"

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
    BLOCK_DIGITS = 8, /* "NNNNNNNN:", then entries of "TTTTTTTTTTTTTTTTNNN:tag" */
    BLOCK_HEAD = BLOCK_DIGITS + 1,
    LENGTH_DIGITS = 3,
    ENTRY_HEAD = ENVELOPE_TOKEN + LENGTH_DIGITS + 1,
};
_Static_assert(LARDER_TAG_BYTES < 1000, "LENGTH_DIGITS");
_Static_assert(AT_TOKEN + ENVELOPE_TOKEN == AT_END && AT_END + 1 == LARDER_ENVELOPE_BYTES, "the layout");
#define NUMBER_MAX INT64_C(9999999999999999)

static int64_t fit(int64_t v)
{
    return v < 0 ? 0 : v > NUMBER_MAX ? NUMBER_MAX : v;
}

void envelope_put(char out[LARDER_ENVELOPE_BYTES + 1], const struct envelope *e)
{
    int n = snprintf(out, LARDER_ENVELOPE_BYTES + 1,
                     "%s%c%c%020" PRIu64 ":%016" PRId64 ":%016" PRId64 ":%016" PRId64 ":%016d:%016d\n", magic,
                     (char)e->kind, e->tags.n > 0 ? '+' : ':', e->version, fit(e->grace_ms), fit(e->extra_ms),
                     fit(e->delta_ms), 0, 0);
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

/* ---- tags ---- */

int envelope_put_tags(struct buf *b, const struct envelope_tag *tags, size_t n)
{
    size_t before = b->n, bytes = 0;
    int err = 0;
    for (size_t i = 0; i < n; i++)
        bytes += ENTRY_HEAD + tags[i].name.n;
    err = buf_printf(b, "%0*zu:", BLOCK_DIGITS, bytes);
    for (size_t i = 0; i < n && err == 0; i++) {
        ASSERT(tags[i].name.n <= LARDER_TAG_BYTES && tags[i].token[0] != '\0');
        err = buf_printf(b, "%s%0*zu:", tags[i].token, LENGTH_DIGITS, tags[i].name.n);
        if (err == 0)
            err = buf_puts(b, tags[i].name);
    }
    if (err < 0)
        b->n = before;
    return err;
}

struct str envelope_tag_entries(struct str block)
{
    return block.n > BLOCK_HEAD ? (struct str){block.p + BLOCK_HEAD, block.n - BLOCK_HEAD}
                                : (struct str){"", 0};
}

bool envelope_next_tag(struct str *left, struct envelope_tag *out)
{
    uint64_t n;
    if (left->n < ENTRY_HEAD || left->p[ENTRY_HEAD - 1] != ':' ||
        !read_digits(left->p + ENVELOPE_TOKEN, LENGTH_DIGITS, &n) || n > left->n - ENTRY_HEAD ||
        n > LARDER_TAG_BYTES)
        return false;
    memcpy(out->token, left->p, ENVELOPE_TOKEN);
    out->token[ENVELOPE_TOKEN] = '\0';
    out->name = (struct str){left->p + ENTRY_HEAD, n};
    *left = (struct str){out->name.p + n, left->n - ENTRY_HEAD - n};
    return true;
}

/* The block at the beginning of `rest`, which is cut off it. */
static bool read_tags(struct str *rest, struct str *out)
{
    uint64_t n;
    struct envelope_tag tag;
    if (rest->n < BLOCK_HEAD || rest->p[BLOCK_DIGITS] != ':' || !read_digits(rest->p, BLOCK_DIGITS, &n) ||
        n > rest->n - BLOCK_HEAD || n == 0)
        return false;
    *out = (struct str){rest->p, BLOCK_HEAD + n};
    *rest = (struct str){rest->p + BLOCK_HEAD + n, rest->n - BLOCK_HEAD - n};
    struct str left = envelope_tag_entries(*out);
    while (envelope_next_tag(&left, &tag))
        continue;
    return left.n == 0;
}

/* ---- reading ---- */

bool envelope_read(struct str bytes, struct envelope *out, struct str *rest)
{
    static const unsigned char colons[] = {AT_GRACE - 1, AT_EXTRA - 1, AT_DELTA - 1, AT_UNTIL - 1,
                                           AT_TOKEN - 1};
    uint64_t grace, extra, delta;
    if (bytes.n < LARDER_ENVELOPE_BYTES || memcmp(bytes.p, magic, sizeof magic - 1) != 0 ||
        bytes.p[AT_END] != '\n')
        return false;
    for (size_t i = 0; i < ARRAY_LEN(colons); i++)
        if (bytes.p[colons[i]] != ':')
            return false;
    char kind = bytes.p[AT_KIND], then = bytes.p[AT_KIND + 1];
    if ((then != ':' && then != '+') ||
        (kind != ENVELOPE_VALUE && kind != ENVELOPE_NEGATIVE && kind != ENVELOPE_LOADING &&
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
    out->tags = (struct str){"", 0};
    *rest = (struct str){bytes.p + LARDER_ENVELOPE_BYTES, bytes.n - LARDER_ENVELOPE_BYTES};
    return then == ':' || read_tags(rest, &out->tags);
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
