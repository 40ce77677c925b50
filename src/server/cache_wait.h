/* Clients that wait for a value that somebody else is loading (CACHE.GET ... WAIT).
 *
 *      handler ── cache_park() ──> PARK_LEASE, a copy of the request ──> record of the key (cache/lease.h)
 *      a fill, a write, a lease that runs out ──> wake(): mail to the client's worker ──> the request runs
 * again the worker's timer ──> cache_look(): its time is over, or nobody loads any more
 *
 * The request runs again with the shard's lock, as it did the first time; it replies, or waits again.
 *
 * Owner: the client's worker, but for what cache/lease.h guards by the shard's lock. */
#ifndef LARDER_SERVER_CACHE_WAIT_H
#define LARDER_SERVER_CACHE_WAIT_H

#include <stdbool.h>
#include <stdint.h>

struct cmd_ctx;
struct conn;
struct waiter;
struct worker;

/* cmd_ctx.cache_park of workers. */
struct waiter *cache_wait_park(struct cmd_ctx *c, int64_t wait_ms);

/* When due: look after those of w's clients whose time has come. In a round, no lock held. */
void cache_wait_look(struct worker *w);

/* The client is being closed. True: it waits for nobody any more and may be freed. */
bool cache_wait_cancel(struct conn *c);

/* The client's wait is over, as if by its time or with an error. False: it is about to be answered, or its
 * shard is busy. */
bool cache_wait_end(struct conn *c, bool by_error);

/* The end: nobody will be woken any more. */
void cache_wait_drop(struct worker *w);

#endif
