/* What is said on a new connection before any command: protocol, password, name, database. */
#ifndef LARDER_CLIENT_GREET_H
#define LARDER_CLIENT_GREET_H

#include "client/conn.h"

/* Write the greeting and count the replies it will get (none when there is nothing to say). 0 or
 * ERR_OOM. */
int greet_begin(struct conn *c) MUST_CHECK;
/* One of them. 0, or an error with c->why; after the last the connection is CONN_READY. */
int greet_reply(struct conn *c, const struct reader_value *v) MUST_CHECK;

/* One request in RESP, appended. 0 or ERR_OOM. */
int put_request(struct buf *b, const struct str *argv, size_t argc) MUST_CHECK;
int put_header(struct buf *b, char type, uint64_t n) MUST_CHECK;
int put_bulk(struct buf *b, struct str s) MUST_CHECK;

#endif
