/* WAIT: clients that want to know how many replicas have what they have written. Each is a letter to the
 * replication thread, which keeps it until enough have acknowledged or its time is over, and then sends it
 * home. */
#ifndef LARDER_SERVER_REPL_WAIT_H
#define LARDER_SERVER_REPL_WAIT_H

#include "server/repl_feed.h"

/* In a round of the replication thread. */
void repl_waiter_arrives(struct repl *r, struct repl_letter *l);
void repl_waiters_check(struct repl *r);
void repl_waiter_free(struct repl_letter *l); /* its client is gone with all others */
/* The thread has ended: all go home. */
void repl_waiters_release(struct repl *r);

#endif
