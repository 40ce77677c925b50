/* MULTI, EXEC, DISCARD, WATCH, UNWATCH: the part that runs commands.
 *
 * EXEC takes, in one step, the shards of every queued command and every watch; so it is
 * atomic for everybody else, and a watch cannot be overtaken between check and
 * effect. What one lock set cannot cover (FLUSHALL, SCAN, more than
 * STORE_LOCKSET_MAX shards, CLIENT KILL) makes the whole transaction an
 * exclusive job of the lane. */
#ifndef LARDER_SERVER_EXEC_H
#define LARDER_SERVER_EXEC_H

#include "cmd/handlers.h"
#include "server/lane.h"
#include "server/route.h"

/* What a transaction needs. */
struct exec_plan {
    struct lockset locks;
    bool gate;      /* must be exclusive */
    bool all_keyed; /* every command names keys: LANE_BUSY is enough when it is long */
};

/* False after replying why there is nothing to execute. */
bool exec_begin(struct cmd_ctx *c);
void exec_plan(const struct session *s, const struct store *store, struct exec_plan *plan);
/* For a queue that others run: has a watched key changed? False: a shard is busy, c is parked. */
bool exec_looks_at_watched(struct cmd_ctx *c, bool *broken);
/* In a cluster: may this node run the queue? False: refused, the reply is written. `locked`: by the plan. */
bool exec_route(struct cmd_ctx *c, const struct cluster_view *v, bool locked);
/* Estimated ns, asked with the plan's locks held. */
uint64_t exec_cost(struct cmd_ctx *c);
/* Check the watches, run the queue, write the reply. Locks held, or the gate up; when they are gone,
 * effect_publish(). */
void exec_run(struct cmd_ctx *c, struct metrics *m);
/* Forget queue and watches. On the connection's worker. */
void exec_end(struct session *s, struct store *store);

/* Does any queued command have one of these flags? */
bool exec_any(const struct session *s, uint64_t flags);
/* Do all of them? */
bool exec_all(const struct session *s, uint64_t flags);

#endif
