/* What conn.c and conn_out.c share. Owner: the connection's worker. */
#ifndef LARDER_SERVER_CONN_INTERNAL_H
#define LARDER_SERVER_CONN_INTERNAL_H

#include "server/conn.h"

/* Tell the loop what this connection waits for now. */
void conn_set_interest(struct conn *c);

/* Forget what is unsent. */
void conn_out_drop(struct conn *c);

/* The end of a turn: its replies go, or wait for replicas. */
void conn_finish(struct conn *c);
/* If they are to wait, until others of the round have written, too. */
bool conn_hold(struct conn *c);
void conn_unhold(struct conn *c); /* it goes */

#endif
