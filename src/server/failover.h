/* FAILOVER: this primary hands its role to a replica, and nothing that was acknowledged is lost.
 *
 *      FAILOVER ──> WAIT: writes are held back ── a replica has it all ──> GOING: PSYNC id offset FAILOVER
 *                     │                              (or FORCE: time is over)      │
 *                     └── ABORT, TIMEOUT: writes go on                             ├── it accepts: over
 *                                                                                  └── it refuses, ABORT:
 * primary again
 *
 * While it goes this node is the target's replica already, so no two nodes take writes. A target that cannot
 * be reached is tried until it can, or until ABORT: it may have taken over without our having heard of it.
 *
 * The other side: PSYNC ... FAILOVER makes a replica a primary, if it has the history that it is asked for.
 *
 * State: written under the gate, or by the replication thread; read by anybody. The rest: gate. */
#ifndef LARDER_SERVER_FAILOVER_H
#define LARDER_SERVER_FAILOVER_H

#include "base/str.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct feed;
struct repl;
struct repl_todo;

enum failover_limits { FAILOVER_HOST_MAX = 256 };

enum failover_state { FAILOVER_NONE, FAILOVER_WAIT, FAILOVER_GOING };

struct failover {
    _Atomic int state; /* enum failover_state */
    bool force;
    int64_t until_ms;             /* 0: no end */
    char host[FAILOVER_HOST_MAX]; /* "": whoever has everything first */
    int port;
    /* The replication thread's. */
    bool refused;          /* the target has said no */
    bool taken;            /* it is a primary already: follow it like any other */
    struct feed *claimant; /* asks that we take over from it */
};

static inline enum failover_state failover_state(const struct failover *f)
{
    return (enum failover_state)atomic_load_explicit(&f->state, memory_order_acquire);
}

const char *failover_state_name(const struct failover *f);

/* What PSYNC FAILOVER for `id` is answered, NULL: it may be. In a round or under the gate. */
const char *failover_refusal(const struct repl *r, struct str id);

/* ---- the replication thread, in a round ---- */

/* Takes f: it goes on as any other replica once this node is a primary. */
void failover_claimed(struct repl *r, struct feed *f);
/* The target's answer to PSYNC. why NULL: it accepts. */
void failover_answered(struct repl *r, const char *why);
void failover_plan(struct repl *r, struct repl_todo *t);
/* After it. */
void failover_outside(struct repl *r);
void failover_release(struct repl *r);

#endif
