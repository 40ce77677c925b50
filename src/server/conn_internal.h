/* What conn.c and conn_out.c share. Owner: the connection's worker. */
#ifndef LARDER_SERVER_CONN_INTERNAL_H
#define LARDER_SERVER_CONN_INTERNAL_H

#include "server/conn.h"

/* Tell the loop what this connection waits for now. */
void conn_set_interest(struct conn *c);

/* Forget what is unsent. */
void conn_out_drop(struct conn *c);

#endif
