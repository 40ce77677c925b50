/* One pipelined connection to a cache, in the cache's own protocol. No I/O: bytes to send
 * gather in `out`, bytes received are given to wire_read().
 *
 *      RESP         GET key            SET key value [PX ms]
 *      memcached    get key key ...    set key 0 seconds bytes
 *
 * memcached is asked for many keys with one command, as its clients do: its replies leave in one
 * piece then, and a server of Debian's age sends each reply to a pipeline by itself. Replies
 * come in the order of the requests, so a queue of what is awaited is all that is remembered. */
#ifndef LARDER_BENCH_REPLAY_WIRE_H
#define LARDER_BENCH_REPLAY_WIRE_H

#include "base/buf.h"
#include "tool/bench/scan.h"

#include <stdbool.h>
#include <stdint.h>

enum wire_limits {
    WIRE_GETS_MAX = 4096, /* unanswered */
    WIRE_QUEUE = 1 << 15, /* GETs, SETs and ends of commands that are awaited */
    WIRE_LINE_MAX = 512,  /* of memcached's replies */
    WIRE_MULTI_MAX = 64,  /* keys in one `get` */
    WIRE_ERR_MAX = 200,
    WIRE_MEMCACHED_TTL_MAX = 30 * 24 * 3600, /* larger ones are dates */
};

struct wire_awaited {
    uint32_t kind, tag, key;
};

struct wire {
    enum scan_protocol protocol;
    uint32_t key_bytes;
    struct buf out;
    struct wire_awaited queue[WIRE_QUEUE];
    uint32_t head, tail; /* modulo 2^32; tail is where the next goes */
    uint32_t open;       /* memcached: keys in the `get` that is being written */
    struct scan scan;    /* RESP */
    char line[WIRE_LINE_MAX];
    uint32_t nline;
    uint64_t skip;            /* memcached: bytes of a value still to come */
    char error[WIRE_ERR_MAX]; /* the first error reply, or what was not understood */
};

/* What replies mean. `tag` is the one given with the GET. */
struct wire_events {
    void (*answered)(void *arg, uint32_t tag, bool hit);
    void (*stored)(void *arg, bool ok);
    void *arg;
};

void wire_init(struct wire *w, enum scan_protocol protocol, uint32_t key_bytes);
void wire_release(struct wire *w);

/* Append a request. Out of memory shows as w->out.oom. ttl_ms 0: none; memcached gets whole
 * seconds, rounded up. */
void wire_get(struct wire *w, uint32_t key, uint32_t tag);
void wire_set(struct wire *w, uint32_t key, const char *value, uint32_t bytes, uint64_t ttl_ms);
/* End what is unfinished, before sending. */
void wire_flush(struct wire *w);

/* Replies are awaited. */
static inline bool wire_busy(const struct wire *w)
{
    return w->head != w->tail;
}

/* Take bytes; events are told on the way, and may append requests. Returns 0, or ERR_PROTO with w->error. */
int wire_read(struct wire *w, const char *p, size_t n, const struct wire_events *events);

#endif
