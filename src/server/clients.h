/* What connections cost: the sum, the recent largest, and who goes when it is too much.
 *
 *      conn ──clients_note()──> its worker's sum ──┬── INFO: mem_clients_normal
 *                                                  └── all workers' sums > maxmemory-clients:
 *                                                      the biggest connection is closed
 *
 * The sum of a worker is written by that worker only, when buffers of a connection have
 * changed. At the end of each round a worker adds up all sums. Over the limit, it
 * publishes the size of its biggest connection and, under one mutex so that nobody
 * evicts for the same bytes, closes it if no other worker has published a bigger one;
 * else it wakes that worker, who does the same. What was published may be stale, but
 * whoever is woken looks anew, so the chase ends at the true biggest.
 *
 * Rejected: lists by size kept up to date on every change, as Redis has; finding the
 * biggest takes a walk here, but only when memory is short. */
#ifndef LARDER_SERVER_CLIENTS_H
#define LARDER_SERVER_CLIENTS_H

#include "base/counter.h"

#include <stddef.h>
#include <stdint.h>

struct config;
struct conn;
struct server;
struct worker;

enum clients_limits {
    CLIENTS_LIMIT_MIN = 128 * 1024, /* bytes: less would lock everybody out */
    CLIENTS_RECENT_S = 8,           /* "recent" is so many seconds */
    CLIENTS_EVICT_A_ROUND = 8,      /* each costs a walk through the worker's connections */
};

/* One worker's figures. Owner writes, anybody reads. */
struct clients {
    struct counter bytes;   /* of all its connections */
    struct counter biggest; /* of those that may be evicted, when last looked */
    struct counter recent_in[CLIENTS_RECENT_S], recent_out[CLIENTS_RECENT_S]; /* largest buffers, by second */
};

/* Owner. c's buffers, queue or names may have changed. */
void clients_note(struct conn *c);
/* Owner. c is being closed. */
void clients_forget(struct conn *c);
/* Owner, now and then: seconds without a buffer count too. */
void clients_tick(struct worker *w, int64_t now_ms);

/* Owner, at the end of a round: evict if there is a limit and it is exceeded. */
void clients_relieve(struct worker *w);

/* maxmemory-clients in bytes, 0 = no limit. */
uint64_t clients_memory_limit(const struct config *cfg);

/* Any thread. */
uint64_t clients_memory(const struct server *s);
void clients_recent(const struct server *s, uint64_t *in, uint64_t *out);

#endif
