/* Requests as clients send them: RESP arrays of bulk strings, or inline text.
 *
 *      *3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello\r\n          SET k hello\r\n
 *
 * The parser looks at a whole read buffer at a time and copies nothing: the
 * arguments of a parsed request point into the buffer and live as long as it.
 * It is a pure function of the bytes; a request cut anywhere is simply not there
 * yet, and `need` says how many bytes are known to be missing, so that a large
 * argument can be read straight to where it will live.
 *
 * Rejected: a state machine that stops and goes on inside a request. A whole request
 * is the usual case and pays nothing for the cut one here. What a connection may keep
 * is how far a cut request has been looked at (struct request_progress), so that many
 * arguments arriving in many pieces are walked twice in all and not once a piece. */
#ifndef LARDER_PROTO_REQUEST_H
#define LARDER_PROTO_REQUEST_H

#include "base/annotate.h"
#include "base/arena.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum request_limits {
    REQUEST_INLINE_MAX = 64 * 1024, /* bytes of an inline request or of a header line */
    REQUEST_ARGS_MAX = 1024 * 1024, /* arguments of a request, as in Redis (INT_MAX) but bounded */
    REQUEST_UNAUTH_ARGS_MAX = 10,   /* before authentication */
    REQUEST_UNAUTH_BULK_MAX = 16 * 1024,
    REQUEST_PEEK = 8,
};
_Static_assert(REQUEST_PEEK <= sizeof("G\r\n$0\r\n\r\n") - 1, "what follows a name of one byte is as long");

/* The arguments are borrowed from the buffer they were parsed from. REQUEST_PEEK bytes may be read from
 * where the first one begins, if it is not empty and another follows: a name is looked up as one word. */
struct request {
    struct str *argv; /* in the arena */
    uint32_t argc;    /* 0 for an empty line or "*0": nothing to do, no reply */
    size_t bytes;     /* the request's length in the buffer */
};

/* What a connection remembers of a request that was cut; all zero when nothing is.
 * It belongs to the bytes: zero it if they are dropped, and after ERR_AGAIN pass the
 * same bytes with more behind them (they may have been moved). */
struct request_progress {
    size_t bytes;  /* seen and found correct */
    uint32_t args; /* arguments in them */
    uint32_t argc; /* arguments announced; 0 = nothing remembered */
};

/* May be shared by all connections of a worker, unlike the progress. */
struct request_parser {
    size_t bulk_max;                   /* proto-max-bulk-len */
    bool authenticated;                /* otherwise the REQUEST_UNAUTH limits hold */
    struct request_progress *progress; /* the connection's; NULL starts at the front each time */
    size_t need; /* out, after ERR_AGAIN: the argument that is cut lacks so many bytes; 1 within a header */
    const char *error; /* out, after ERR_PROTO: Redis's text, e.g. "Protocol error: invalid bulk length" */
    char error_buf[64];
};

/* Parse one request from the front of `in`.
 * Returns 0 with *out filled; ERR_AGAIN when it is cut; ERR_PROTO with p->error
 * set (reply "-ERR " and the text, then close); ERR_OOM. */
int request_parse(struct request_parser *p, struct str in, struct arena *arena, struct request *out);

/* Split a line as redis-cli and redis.conf do ("a b" with \n \r \t \b \a \xHH, 'a b'
 * with \'). Returns 0, ERR_SYNTAX for unbalanced quotes, ERR_FULL beyond `max`, ERR_OOM. */
int request_split_line(struct str line, struct arena *arena, struct str **argv, uint32_t *argc, uint32_t max);

#endif
