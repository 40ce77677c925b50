/* What stands in front of a value on plain Redis (larder/cache.h shows it): fixed-width text, so that
 * scripts cut and compare it without turning versions into doubles. Pure. */
#ifndef LARDER_CLIENT_ENVELOPE_H
#define LARDER_CLIENT_ENVELOPE_H

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
};

/* Exactly LARDER_ENVELOPE_BYTES and a NUL, without a lease. Numbers beyond the width are cut to it. */
void envelope_put(char out[LARDER_ENVELOPE_BYTES + 1], const struct envelope *e);
/* A version as scripts compare it: 20 digits and a NUL. */
void envelope_put_version(char out[21], uint64_t version);

/* False: it is no envelope, but a plain value. *rest is what follows. */
bool envelope_read(struct str bytes, struct envelope *out, struct str *rest);

/* Still usable at all, and fresh, when PTTL says so. -1: without an end. */
bool envelope_is_usable(const struct envelope *e, int64_t pttl_ms);
bool envelope_is_fresh(const struct envelope *e, int64_t pttl_ms, uint64_t min_version);
/* XFetch: is -delta * beta * ln(u) >= what is left of freshness? u in (0, 1]. */
bool envelope_is_early(const struct envelope *e, int64_t pttl_ms, double beta, double u);

#endif
