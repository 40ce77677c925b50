/* What is sent: templates and sizes, made once from the options. Read-only then,
 * and shared by all workers and phases. */
#ifndef LARDER_TOOL_BENCH_PLAN_H
#define LARDER_TOOL_BENCH_PLAN_H

#include "base/annotate.h"
#include "tool/bench/options.h"
#include "tool/bench/template.h"

#include <stddef.h>
#include <stdint.h>

enum plan_limits {
    PLAN_LOAD_BATCH = 64,          /* pipeline of the loading phase ... */
    PLAN_LOAD_BYTES = 1024 * 1024, /* ... unless so many bytes are reached before */
};

struct plan {
    const struct options *options;
    struct template_fill fill;
    struct template *read;  /* GET, or --command */
    struct template *write; /* SET */
    char *bytes;            /* what values are made of */
    uint32_t load_batch;
    size_t batch_bytes; /* the longest batch */
};

/* Borrows the options. Returns 0 or ERR_OOM. */
int plan_init(struct plan *p, const struct options *o) MUST_CHECK;
void plan_release(struct plan *p);

#endif
