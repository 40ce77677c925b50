/* One thread of the load: its connections, its random numbers, its tally.
 *
 * The conductor (run.c) makes workers, and then for each phase fills their `phase`,
 * starts a thread for each and joins it. Between phases no request is under way. While a
 * thread runs, the worker is its own; others may only read the tally's counters and
 * histograms, and set phase->stop. */
#ifndef LARDER_TOOL_BENCH_WORKER_H
#define LARDER_TOOL_BENCH_WORKER_H

#include "base/annotate.h"
#include "base/counter.h"
#include "tool/bench/dial.h"
#include "tool/bench/hist.h"
#include "tool/bench/plan.h"

#include <pthread.h>
#include <stdatomic.h>

enum worker_limits {
    WORKER_IN_SIZE = 256 * 1024, /* one read */
    WORKER_EVENTS_MAX = 256,
    WORKER_ERROR_MAX = 512,
    WORKER_DRAIN_MS = 2000, /* after the end, give up when so long nothing arrives */
};

/* What all workers do together. */
struct phase {
    bool loading;
    int64_t end_ns; /* on CLOCK_MONOTONIC; 0: the quotas end it */
    atomic_bool stop;
    int done_fd; /* an eventfd: each worker adds 1 when it has ended */
};

struct tally {
    struct counter hits, misses, errors, bytes_in, bytes_out;
    struct hist reads, writes; /* nanoseconds, of every reply */
    /* The rest is for the conductor, after the thread has been joined. */
    uint64_t unsent;     /* open loop: due before the end, but no connection was free */
    uint64_t unanswered; /* sent, and no reply by WORKER_DRAIN_MS of silence after the end */
    int64_t started_ns, ended_ns;
    char first_error[SCAN_LINE_MAX + 1];
    char failure[WORKER_ERROR_MAX]; /* why the worker gave up, or "" */
};

struct worker;

/* Connects: worker `index` of `of` takes its share of clients, keys and requests.
 * Returned owned; ERR_OOM, or ERR_IO with err filled. */
int worker_new(const struct plan *plan, unsigned index, unsigned of, struct worker **out,
               struct dial_err *err) MUST_CHECK;
void worker_free(struct worker *w);

/* Start the thread. Requests are this worker's share of `requests` (UINT64_MAX: no
 * limit) or, when loading, its share of the keys. Returns 0 or ERR_OOM (no thread). */
int worker_start(struct worker *w, struct phase *phase, uint64_t requests) MUST_CHECK;
void worker_join(struct worker *w);

const struct tally *worker_tally(const struct worker *w);

#endif
