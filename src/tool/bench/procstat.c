/* The total comes from the process's CPU clock, which counts nanoseconds; /proc only
 * has ticks of 10 ms, a percent of a one-second run. The ticks serve to divide the
 * total into user and system. */
#include "tool/bench/procstat.h"

#include "base/err.h"
#include "base/num.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Of the fields behind the name, counted from 0. */
enum { FIELD_USER = 11, FIELD_SYSTEM = 12 };

static bool read_cpu_clock(int pid, int64_t *ns)
{
    clockid_t clock;
    struct timespec ts;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ts) != 0)
        return false;
    *ns = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
    return true;
}

static bool field(const char *p, int index, uint64_t *out)
{
    for (; index > 0 && p != NULL; index--) {
        p = strchr(p, ' ');
        p = p ? p + 1 : NULL;
    }
    return p != NULL && num_parse_u64((struct str){p, strcspn(p, " ")}, out);
}

int procstat_read(int pid, struct procstat *out)
{
    char path[64], line[1024];
    if (!read_cpu_clock(pid, &out->cpu_ns))
        return ERR_NOTFOUND;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return ERR_NOTFOUND;
    size_t n = fread(line, 1, sizeof line - 1, f);
    fclose(f);
    line[n] = '\0';
    /* pid (name, which may hold anything) state ppid pgrp ... */
    const char *name_end = strrchr(line, ')');
    if (name_end == NULL || name_end[1] != ' ' || !field(name_end + 2, FIELD_USER, &out->user_ticks) ||
        !field(name_end + 2, FIELD_SYSTEM, &out->system_ticks))
        return ERR_NOTFOUND;
    return 0;
}
