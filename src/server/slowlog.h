/* SLOWLOG: the last commands that took longer than slowlog-log-slower-than.
 *
 * A ring of slowlog-max-len entries behind a mutex that is only taken for commands that were slow
 * anyway. Times are execution times, without waiting and sending. */
#ifndef LARDER_SERVER_SLOWLOG_H
#define LARDER_SERVER_SLOWLOG_H

#include "base/str.h"

#include <pthread.h>
#include <stdint.h>

enum slowlog_limits { SLOWLOG_ARGS_MAX = 32, SLOWLOG_ARG_BYTES_MAX = 128 };

struct slowlog_entry {
    struct slowlog_entry *older;
    uint64_t id, us;
    int64_t at_s;
    uint32_t argc;
    struct str argv[SLOWLOG_ARGS_MAX]; /* into bytes */
    char peer[128], name[64];
    char bytes[];
};

struct slowlog {
    pthread_mutex_t mutex; /* leaf */
    struct slowlog_entry *newest;
    uint64_t next_id, n;
};

void slowlog_init(struct slowlog *s);
void slowlog_release(struct slowlog *s);
void slowlog_reset(struct slowlog *s);
/* Copies what it keeps; drops the entry when memory is short. max_len 0 keeps none. */
void slowlog_add(struct slowlog *s, int64_t wall_s, uint64_t us, const struct str *argv, uint32_t argc,
                 const char *peer, const char *name, uint64_t max_len);

#endif
