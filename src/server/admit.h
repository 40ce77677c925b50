/* May a command run: well formed, permitted, in time, here?
 *
 * Most commands are asked nothing at all: dispatch looks at one word (enum care, and the session's own
 * wants_care()) and comes here only when something is unusual. Whoever is refused has got its reply, and a
 * transaction that it would have been part of is void; whoever must wait for the end of a pause is parked.
 * Nothing has had an effect yet. */
#ifndef LARDER_SERVER_ADMIT_H
#define LARDER_SERVER_ADMIT_H

#include "server/batch.h"
#include "server/conn.h"

/* A known command with a number of arguments that it takes. False: the reply says what is wrong. */
bool admit_well_formed(struct cmd_ctx *c, const struct pending *p);

/* Everything that is usually not so. False: refused, or parked (conn->state). */
/* Does it write, or does a command of the transaction that it is to execute? */
bool admit_writes(const struct cmd_ctx *c);
bool admit(struct cmd_ctx *c, struct conn *conn, uint32_t care);

/* In a cluster: may this node execute it? False: refused, the reply says who may. `locked`: its shards are,
 * so this is the last word. */
bool admit_is_ours(struct cmd_ctx *c, const struct server *s, bool locked);

/* After that has said no: because the slot changes hands, and then conn is parked until it has. */
bool admit_waits(struct cmd_ctx *c, struct conn *conn);

/* On the lane, where it has waited for its turn: a write that was admitted before writes were paused, and
 * would change what is said to be final, waits for the end of the pause. */
bool admit_pauses(const struct cmd_ctx *c, const struct server *s);
/* The same: what a primary has accepted a replica must not do. */
bool admit_late(struct cmd_ctx *c, struct server *s);

/* It is not run, and neither is the transaction that it would have been part of. */
void admit_note_rejected(struct cmd_ctx *c);

#endif
