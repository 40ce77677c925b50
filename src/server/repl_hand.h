/* Replicas that keep up are handed what is written before the client hears that it is.
 *
 *      worker's round   serve: execute, publish, keep the replies ──> hand ──> send the replies ──> upkeep
 *                                                                      │
 *                                                     send() to each replica that keeps up
 *
 * The promise: when the reply to a write reaches a socket, everything in the change log up to the end of that
 * write has been given to the kernel for every replica whose link kept up, whichever thread wrote it. So it
 * outlives the process. It does not outlive the machine or the network, which is WAIT's matter.
 *
 * A link keeps up while it streams and its socket has taken all that there was. Then it is in this list, and
 * belongs to whoever holds the lock: any worker, the lane, the replication thread. The first time that its
 * socket does not take everything it leaves the list, is the replication thread's alone, who sends when there
 * is room (repl_feed.c) and puts it back when it has caught up; for what is written meanwhile nothing is
 * promised.
 *
 * A worker with much to do does not have its bytes sent at once: the kernel has them, which is the promise,
 * and sends them with those of the next rounds (MSG_MORE), since a packet costs several times what it
 * costs to give it some bytes more. It is a few rounds late at most: after HAND_HOLDS_MAX of them, or when a
 * worker has nothing more to hand, the sockets are told to send (repl_push). A process that dies sends what
 * is held back with the end of the connection, unless a replica's acknowledgement lies unread there: then
 * nothing is held back. (One that comes in those rounds, and is not read in the microseconds that takes, is a
 * gap.)
 *
 * Nobody waits: the lock is only tried, send() never blocks, and where a place in the log is still being
 * filled by another thread, or that thread is sending just now, a worker looks a few times, keeps the
 * replies, and comes back in its next round. Whoever gets the lock sends what all have published, so that of
 * many workers one sends for all. (Rejected: to wait for the replication thread, which costs two wake-ups a
 * write; to send for each connection, which costs a system call a write where a round has many.) */
#ifndef LARDER_SERVER_REPL_HAND_H
#define LARDER_SERVER_REPL_HAND_H

#include "base/annotate.h"
#include "base/lock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct feed;
struct repl;

struct hand {
    /* Then the change log's mutex. Guards the list, and `reader`, `out` and `sent` of the feeds in it. */
    struct lock lock;
    struct feed *feeds;               /* that keep up: feed.hand_next */
    CACHE_ALIGNED _Atomic uint32_t n; /* how many; written under the lock */
    _Atomic uint64_t upto;            /* all of them have been handed what lies before ... */
    _Atomic uint32_t holds; /* ... the last so many times to be sent with more; written under the lock */
};

/* Any thread: must nobody wait for what lies before `end`? */
static inline bool hand_is_done(const struct hand *h, uint64_t end)
{
    return atomic_load_explicit(&h->n, memory_order_seq_cst) == 0 ||
           atomic_load_explicit(&h->upto, memory_order_acquire) >= end;
}

/* Any thread: do the sockets hold something back? Whoever has handed sees to it that they send it soon. */
static inline bool hand_holds(const struct hand *h)
{
    return atomic_load_explicit(&h->holds, memory_order_relaxed) != 0;
}

/* Any thread that has published up to `end`: hand it. more: to be sent with more that comes soon. False: it
 * cannot be done just now; try again soon. */
bool repl_hand(struct repl *r, uint64_t end, bool more);
/* Any thread: what is held back is sent. False: as above. */
bool repl_push(struct repl *r);

/* The replication thread, or gate. */
void repl_hand_add(struct repl *r, struct feed *f); /* it has caught up */
void repl_hand_remove(struct repl *r, struct feed *f);

#endif
