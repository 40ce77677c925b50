/* A connection: a socket, a session, and what is on its way in and out.
 *
 *      socket ──recv──> worker's read buffer ──parse, execute──> worker's reply ──send──> socket
 *                         │ a cut request                           │ what the socket did not take
 *                         └──> conn.in (own)                        └──> conn.out (own)
 *
 * With io_uring the bytes come in a buffer of the loop's instead; the rest is the same.
 *
 * An idle connection owns neither buffer: both belong to the worker, and only what
 * is left over at the end of a turn moves to the connection. So do replies to writes where there are
 * replicas, until the worker has handed them what was written (repl_hand.h): the connection is `held`.
 *
 * States. OPEN executes what arrives. PARKED waits for something else (the lane's
 * answer, a busy shard, the end of a pause) and reads nothing meanwhile; whoever
 * parks a connection keeps the only way to unpark it. A parked connection that dies
 * becomes a zombie: the socket is closed, the memory waits for its unparker. A peer that only closes its
 * sending half still gets what it has asked for, but not at the end of a pause: it has gone then.
 *
 * Owner: its worker. Others reach it by mail only (worker.h), or under the gate. */
#ifndef LARDER_SERVER_CONN_H
#define LARDER_SERVER_CONN_H

#include "cmd/session.h"
#include "proto/reply.h"
#include "proto/request.h"
#include "server/address.h"
#include "server/mail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cache_parked; /* server/cache_wait.c */
struct command;
struct joiner; /* repl/joiner.h */
struct worker;

enum conn_limits {
    CONN_READ_SIZE = 64 * 1024,       /* one recv */
    CONN_FLUSH_SIZE = 256 * 1024,     /* send in mid-turn beyond this */
    CONN_SEND_MAX = 4 * 1024 * 1024,  /* sent to one client at a time, then others have their turn */
    CONN_KEEP_SIZE = 1024 * 1024,     /* of the worker's reply buffer between turns */
    CONN_UNAUTH_READ_SIZE = 4 * 1024, /* behind a cut request of a client that has not authenticated */
    CONN_UNAUTH_OUT_MAX = 64 * 1024,  /* unsent replies of a client that has not authenticated */
    CONN_IOV_MAX = 64,
    CONN_PART_READS = 16,       /* recvs that drop input at the end */
    CONN_SPARE_SIZE = 4 * 1024, /* replies of a connection that are copied; what they lie in is kept ... */
    CONN_SPARES = 32,           /* ... by a worker for so many */
};

enum conn_state { CONN_OPEN, CONN_PARKED, CONN_ZOMBIE };

enum park_reason {
    PARK_NONE,
    PARK_LANE,  /* its command runs on the lane; unparked by the job's return */
    PARK_BUSY,  /* needs a shard that the lane keeps busy; unparked after each lane job */
    PARK_PAUSE, /* CLIENT PAUSE; unparked by the worker */
    PARK_LEASE, /* waits for a value that somebody else loads (cache_wait.h) */
    PARK_RELAY, /* its command travels through all workers; unparked by its return */
};

/* Replies that the socket has not taken yet, or was not given. */
struct conn_out {
    struct conn_out *next; /* the worker's spare ones */
    struct reply reply;
    size_t sent; /* of reply_size(&reply) */
};

struct conn {
    struct session session;
    struct worker *worker;
    struct conn *next, *prev; /* the worker's list */
    struct conn *park_next;   /* in a list of parked ones: lane's waiters, worker's paused */
    struct conn *held_next;
    struct mail wake; /* the lane's letter to a PARK_BUSY connection */
    int fd;
    uint8_t state;    /* enum conn_state */
    uint8_t parked;   /* enum park_reason */
    uint8_t interest; /* what the loop waits for */
    bool wants_write; /* there is something to send */
    bool in_turn;     /* conn_turn() is on the stack: unparking must not start another */
    bool saw_eof;     /* the peer will send no more; close when all it asked for is answered */
    bool close_asap;  /* close at the end of the turn, without sending more */
    bool wrote;       /* in a cluster: what waits to be sent may acknowledge a write */
    bool held;        /* in the worker's list of those whose replies wait for replicas */
    uint32_t handing; /* its SHUTDOWN waits for this handover (cluster_hands_over()); 0: for none */
    struct buf in;
    struct request_progress progress; /* in the cut request at the front of `in` */
    size_t in_need;                   /* bytes known to be missing from the request at the front of `in` */
    struct conn_out *out;
    size_t mem_noted; /* conn_memory() as its worker's sum has it (clients.h) */
    int64_t created_ms, active_ms;
    int64_t soft_limit_since_ms; /* output beyond the soft limit since, 0 = not */
    const struct command *last_cmd;
    uint64_t net_in, net_out, commands;
    struct address peer, local;
    uint64_t written; /* of the change log: nothing that this client has written lies behind it */
    uint64_t
        owed; /* of the change log: replicas get what lies before, then this client its replies; 0: done */
    struct joiner *hello;           /* what it said with REPLCONF; NULL: nothing */
    struct cache_parked *parked_on; /* PARK_LEASE: what waits for it */
};

/* A new connection on `w` for an accepted socket. Takes fd (closed on error). */
void conn_accept(struct worker *w, int fd);

/* The loop says so. */
void conn_readable(struct conn *c);
void conn_received(struct conn *c, const char *data, int n); /* as in a loop_event */
void conn_writable(struct conn *c);

/* Back to OPEN: execute what has piled up, send, listen again. Frees a zombie. */
void conn_unpark(struct conn *c);
/* Only inside the turn, before anything of the request took effect. */
void conn_park(struct conn *c, enum park_reason why);

/* Where replies to c go now: its own backlog, or the worker's buffer in a turn. */
struct reply *conn_reply(struct conn *c);
/* Send what conn_reply() holds, once replicas have what it acknowledges; keeps the rest and waits for room.
 * False when it had to close, and c is gone. */
bool conn_flush(struct conn *c);
/* What a worker has published is handed to replicas; then those who are held get their replies. Until then
 * worker.owed is not 0, and it is to be called again soon. */
void conns_settle(struct worker *w);
void conns_release(struct worker *w); /* spare memory */

/* The end of the server: wait for room to send only, then let go of a peer that has got all it will get. */
void conn_stop_reading(struct conn *c);
void conn_part(struct conn *c);

/* Close the socket now and free, or leave a zombie when parked. `why` goes to the log at verbose. */
void conn_close(struct conn *c, const char *why);

size_t conn_unsent(const struct conn *c);
size_t conn_memory(const struct conn *c); /* bytes it costs, buffers included */
bool conn_is_local(const struct conn *c); /* loopback or Unix socket */
/* "1.2.3.4:5", "[::1]:5", or the Unix socket's "path:0". */
void conn_peer_text(const struct conn *c, char out[ADDRESS_TEXT]);
void conn_local_text(const struct conn *c, char out[ADDRESS_TEXT]);

#endif
