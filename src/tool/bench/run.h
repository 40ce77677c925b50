/* The conductor: connects, loads, warms up, measures, and listens for Ctrl-C.
 *
 * Runs on the caller's thread, which should have no other. Prints nothing but the
 * progress line (on stderr, when that is a terminal). */
#ifndef LARDER_TOOL_BENCH_RUN_H
#define LARDER_TOOL_BENCH_RUN_H

#include "base/annotate.h"
#include "tool/bench/hist.h"
#include "tool/bench/options.h"
#include "tool/bench/worker.h"

struct outcome {
    bool measured;    /* there is something to report */
    bool interrupted; /* by SIGINT or SIGTERM */
    double seconds;   /* first worker's start to last worker's end */
    uint64_t hits, misses, errors, bytes_in, bytes_out;
    uint64_t unsent, unanswered;
    struct hist all, reads, writes;
    char first_error[SCAN_LINE_MAX + 1];
    char failure[WORKER_ERROR_MAX]; /* "" or why the run ended early, a sentence */
    double own_cpu_s;
    bool server_cpu_known;
    double server_cpu_s, server_user_share; /* of the measured window; of its total */
};

/* Fills out (of several 10 KB, so not on the stack). Returns 0, or a negative error with
 * out->failure filled; what had been measured until then is in out all the same. */
int run(const struct options *o, struct outcome *out) MUST_CHECK;

#endif
