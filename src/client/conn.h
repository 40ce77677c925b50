/* One connection to one node: resolve, connect, secure, greet, then requests out and replies in.
 * Never blocks, except in conn_wait_reply(); whoever owns it waits for what conn_wants() says and
 * calls conn_step(). One owner thread at a time. It knows bytes and replies; which command a reply
 * belongs to is the engine's business. */
#ifndef LARDER_CLIENT_CONN_H
#define LARDER_CLIENT_CONN_H

#include "base/arena.h"
#include "base/buf.h"
#include "client/settings.h"
#include "proto/reader.h"

#include <stdbool.h>
#include <stdint.h>

enum conn_limits {
    CONN_READ_BYTES = 16 * 1024,
    CONN_KEEP_BYTES = 1 << 20,         /* a buffer that grew beyond is given back when it is empty */
    CONN_STALE_NS = 500 * 1000 * 1000, /* after so long unused: see whether the peer has hung up */
    CONN_LATE_MS = 100, /* conn_wait_reply() waits so long; a short timer costs each call 6 % */
};

enum conn_state { CONN_CLOSED, CONN_RESOLVING, CONN_CONNECTING, CONN_SECURING, CONN_GREETING, CONN_READY };

enum greet_step { GREET_HELLO, GREET_AUTH, GREET_SELECT, GREET_REST };

struct addrinfo;
struct resolve_job;
struct cmd;

struct conn {
    const struct settings *set;
    const struct address *address; /* the node's */
    bool readonly;                 /* says READONLY, so that replicas answer */
    bool blocking;                 /* the descriptor may be waited on in recv() */
    enum conn_state state;
    int fd;
    uint32_t serial; /* of the descriptor: numbers are used again, this is not */
    void *session;   /* the transport's */
    int io;          /* what the transport waits for: enum larder_io */
    struct resolve_job *job;
    struct addrinfo *list, *at; /* addresses, and the one being tried */
    int64_t deadline_ns;        /* of all states before CONN_READY */
    int64_t next_ns;            /* CONN_CONNECTING: then try the next address */
    int64_t used_ns;            /* when something was last sent or received */
    uint32_t generation;        /* the node's, when last found alive */
    struct buf greeting;
    size_t greeted;             /* bytes of it that were sent */
    unsigned greet_left;        /* replies to it still to come */
    enum greet_step greet_step; /* whose reply comes next */
    struct buf out, in;
    size_t out_at, in_at, in_need;
    uint64_t encoded, sent;  /* bytes of requests, ever: tells what a lost connection had sent */
    struct arena *scratch;   /* for replies being read; borrowed, one per owner */
    struct larder_error why; /* what ended it */
    /* The engine's: */
    uint32_t number;         /* of the node */
    struct cmd *head, *tail; /* waiting for their replies, in order */
    struct cmd *held;        /* of these, what is not encoded yet: up to the tail */
    unsigned nheld;
    struct conn *next_active;
    bool active;
    bool stepping;    /* its replies are being delivered: not to be closed now */
    unsigned watched; /* epoll's interest */
    uint32_t watched_serial;
};

/* Each reply goes here, without pushes and attributes. Returns 0 or an error that ends the connection. */
typedef int (*conn_reply)(void *arg, struct conn *c, const struct reader_value *v);

void conn_init(struct conn *c, const struct settings *set, const struct address *address, bool readonly,
               bool blocking, struct arena *scratch);
/* Start connecting. 0, or an error with c->why. */
int conn_open(struct conn *c, int64_t now_ns);
/* Frees what it holds; it may be opened again. What was not sent is gone. */
void conn_close(struct conn *c);

int conn_fd(const struct conn *c);         /* to wait for; changes with the state */
unsigned conn_wants(const struct conn *c); /* POLLIN, POLLOUT */
/* When conn_step() must be called although nothing happened; INT64_MAX for never. */
int64_t conn_deadline(const struct conn *c);

/* Do all that can be done now. 0, or an error with c->why, after which the owner closes it. */
int conn_step(struct conn *c, int64_t now_ns, conn_reply reply, void *arg) MUST_CHECK;
/* Only send what can be sent now, if it is ready. */
int conn_send(struct conn *c) MUST_CHECK;
/* Ready and all sent: it may be waited for in recv(). */
bool conn_may_wait(const struct conn *c);
/* Wait for bytes of a reply, then as conn_step(). Above 0: none came within CONN_LATE_MS, or a signal did. */
int conn_wait_reply(struct conn *c, int64_t now_ns, conn_reply reply, void *arg) MUST_CHECK;

/* An idle connection: has the peer hung up meanwhile? */
bool conn_is_dead(struct conn *c);

#endif
