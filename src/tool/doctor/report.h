/* From INFO to sentences. Pure: no socket, no clock. */
#ifndef LARDER_TOOL_DOCTOR_REPORT_H
#define LARDER_TOOL_DOCTOR_REPORT_H

#include "base/buf.h"
#include "base/str.h"

#include <stdint.h>

enum report_limits {
    REPORT_LAG_S = 10,        /* a replica not heard for longer is in trouble */
    REPORT_BEHIND = 16 << 20, /* bytes: more is no longer "in step" */
    REPORT_FULL_PERCENT = 95,
    REPORT_REPLICAS_MAX = 64, /* described one by one */
};

struct report {
    struct buf *out;
    uint32_t warnings, troubles;
};

/* info: all sections of INFO, from larder or Redis; fields that are not there are not judged. Each sentence
 * is a line that begins with "ok", "look" or "BAD". out->oom is the caller's to see. */
void report_write(struct report *r, struct str info);

/* The value of a field, p NULL: it is not there. */
struct str report_field(struct str info, const char *name);

#endif
