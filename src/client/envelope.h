/* What stands in front of a value on plain Redis (larder/cache.h shows it): fixed-width text, so that
 * scripts cut and compare it without turning versions into doubles; then the tags, if there are any. Pure. */
#ifndef LARDER_CLIENT_ENVELOPE_H
#define LARDER_CLIENT_ENVELOPE_H

#include "base/buf.h"
#include "base/str.h"
#include "larder/cache.h"

enum envelope_layout { ENVELOPE_TOKEN = 16 };

enum envelope_kind {
    ENVELOPE_VALUE = 'v',
    ENVELOPE_NEGATIVE = 'n',
    ENVELOPE_LOADING = 'l',
    ENVELOPE_HELD = 't'
};

struct envelope {
    enum envelope_kind kind;
    uint64_t version;
    int64_t grace_ms, extra_ms, delta_ms;
    struct str tags; /* the whole block behind the envelope; empty: none */
};

/* A tag and the token that it had when the value's load began. */
struct envelope_tag {
    struct str name;
    char token[ENVELOPE_TOKEN + 1]; /* empty: it has none */
};

/* Exactly LARDER_ENVELOPE_BYTES and a NUL, without a lease; says whether tags follow, which the caller then
 * puts there. Numbers beyond the width are cut to it. */
void envelope_put(char out[LARDER_ENVELOPE_BYTES + 1], const struct envelope *e);
/* A version as scripts compare it: 20 digits and a NUL. */
void envelope_put_version(char out[21], uint64_t version);

/* Appends the block of tags. Names have at most LARDER_TAG_BYTES. 0 or ERR_OOM. */
int envelope_put_tags(struct buf *b, const struct envelope_tag *tags, size_t n) MUST_CHECK;
/* Takes the first tag off the entries of a block, which *left becomes on the first call. False: there is
 * none. */
bool envelope_next_tag(struct str *left, struct envelope_tag *out);
struct str envelope_tag_entries(struct str block);

/* False: it is no envelope, but a plain value. *rest is what follows envelope and tags. */
bool envelope_read(struct str bytes, struct envelope *out, struct str *rest);

/* Still usable at all, and fresh, when PTTL says so. -1: without an end. */
bool envelope_is_usable(const struct envelope *e, int64_t pttl_ms);
bool envelope_is_fresh(const struct envelope *e, int64_t pttl_ms, uint64_t min_version);
/* XFetch: is -delta * beta * ln(u) >= what is left of freshness? u in (0, 1]. */
bool envelope_is_early(const struct envelope *e, int64_t pttl_ms, double beta, double u);

#endif
