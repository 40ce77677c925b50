/* One connection, ready for requests: connected, authenticated, non-blocking. */
#ifndef LARDER_TOOL_BENCH_DIAL_H
#define LARDER_TOOL_BENCH_DIAL_H

#include "base/annotate.h"
#include "tool/bench/options.h"

enum dial_limits { DIAL_TIMEOUT_MS = 5000, DIAL_ERR_MAX = 512 };

/* Cause, and what to do about it. */
struct dial_err {
    char text[DIAL_ERR_MAX];
};

/* Blocks for at most DIAL_TIMEOUT_MS for each step. `probe` also asks for a sign of life
 * (PING; memcached: version), which tells a wrong protocol or a missing password
 * before the load begins. Returns a descriptor, the caller's, or ERR_IO with err filled. */
int dial(const struct options *o, bool probe, struct dial_err *err) MUST_CHECK;

#endif
