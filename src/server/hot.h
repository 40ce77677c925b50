/* Which keys are hot, and which are big: a sample of all commands with keys, always on.
 *
 *      dispatch ── every HOT_EVERY-th key or so ──> the worker's sketch (ds/topk.h)
 *      CACHE.HOT ──> one view of all workers' sketches
 *
 * Between samples a key costs one subtraction. The distance is random, so that no rhythm of the clients hides
 * a key. Counts are halved every HOT_HALVE_MS: what is shown is the last 20 seconds or so. Arguments so long
 * that they are copied before the lock (DISPATCH_BIG_ARG) are always noted as big. */
#ifndef LARDER_SERVER_HOT_H
#define LARDER_SERVER_HOT_H

#include "base/annotate.h"
#include "base/lock.h"
#include "ds/topk.h"

#include <stdint.h>

struct cmd_ctx;

enum hot_limits { HOT_EVERY = 64, HOT_HALVE_MS = 10 * 1000, HOT_SHOWN = 10 };

/* A worker's. */
struct hot {
    struct lock lock; /* leaf; guards top, taken by the owner once a sample and by who looks */
    struct topk top;
    int64_t halve_ms; /* when due; the owner's */
};

int hot_new(struct hot **out); /* ERR_OOM */
void hot_free(struct hot *h);

/* A worker, c's shards locked, after the command. */
void hot_sample(struct cmd_ctx *c);

#endif
