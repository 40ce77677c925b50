/* CPU time of another process, all its threads together, dead ones included. */
#ifndef LARDER_TOOL_BENCH_PROCSTAT_H
#define LARDER_TOOL_BENCH_PROCSTAT_H

#include "base/annotate.h"

#include <stdint.h>

struct procstat {
    int64_t cpu_ns;                    /* exact */
    uint64_t user_ticks, system_ticks; /* the kernel's division of it, in 10 ms steps */
};

/* Returns 0, or ERR_NOTFOUND when there is no such process. */
int procstat_read(int pid, struct procstat *out) MUST_CHECK;

#endif
