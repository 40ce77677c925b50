/* The handle: settings, topo, and the pool of engines that synchronous calls borrow from. */
#ifndef LARDER_CLIENT_HANDLE_H
#define LARDER_CLIENT_HANDLE_H

#include "client/engine.h"
#include "client/flight.h"

struct larder {
    struct settings set;
    struct topo topo;
    /* The pool. Its mutex is a leaf and guards what follows; the condition is rung when an engine
     * comes back. */
    pthread_mutex_t pool_lock;
    pthread_cond_t pool_free;
    struct engine *idle; /* the last one used first: its connections are warm */
    unsigned engines;    /* that exist */
    struct flights flights;
};

/* An engine of the pool, whose `calls` is the borrower's; *deadline_ns: when to give up. 0, or an error after
 * having waited so long. */
int handle_borrow(larder *l, struct engine **out, int64_t *deadline_ns, struct larder_error *err) MUST_CHECK;
/* Run commands, chained by `next`, to their ends: those without a deadline of their own get this one. */
void handle_drive(struct engine *e, struct cmd *first, int64_t deadline_ns);
void handle_give_back(larder *l, struct engine *e);
/* All three. Run commands, chained by `next`, to their ends on a borrowed engine; every done() has been
 * called on return. They get one deadline, where they have none of their own. At most ENGINE_LIVE_MAX.
 * Returns 0, or an error with nothing sent and no done() called. */
int handle_run(larder *l, struct cmd *first, struct larder_error *err);

static inline struct str str_from(struct larder_bytes b)
{
    return (struct str){b.p, b.n};
}

#endif
