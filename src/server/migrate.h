/* MIGRATE: keys to another server, without holding up anybody but those who want just these keys.
 *
 *      client ──> lane: parse, is any key there? ──> migrator: connect
 *                 lane: shards busy, DUMP <──────────┘
 *                       └──> migrator: RESTORE over the wire, replies
 *                 lane: DEL what was taken, shards free <──┘          ... the next keys, then the reply home
 *
 * What touches keys runs on the lane, in short pieces; what waits for the network is this thread. Between
 * DUMP and DEL the keys' shards are busy, so whoever wants one of their keys is parked, and a key is here or
 * there but never both. Jobs that have the whole world (EXEC over everything, FLUSHALL) do not ask; a watch
 * on each key tells, and what has changed is sent once more before it is deleted.
 *
 * One migration at a time, first come first served. Connections are kept for a while, by address. */
#ifndef LARDER_SERVER_MIGRATE_H
#define LARDER_SERVER_MIGRATE_H

#include "server/job_queue.h"

#include <pthread.h>
#include <stdatomic.h>

struct server;

enum migrate_limits {
    MIGRATE_BATCH = 64,            /* keys on their way at a time ... */
    MIGRATE_BATCH_SHARDS = 16,     /* ... of so many shards ... */
    MIGRATE_BATCH_BYTES = 1 << 20, /* ... and no more once they are so large */
    MIGRATE_SOCKETS = 16,          /* connections kept ... */
    MIGRATE_KEEP_MS = 10 * 1000,   /* ... for so long */
    MIGRATE_TRIES = 8,             /* a key that changes under way every time is an error then */
    MIGRATE_REPLY_MAX = 64 * 1024, /* of the target, to one command */
};

struct migrate_socket {
    int fd; /* -1: a free place */
    int port;
    int64_t db;  /* selected there; -1: unknown */
    bool met;    /* it has answered CACHE.ARRIVE: ... */
    bool larder; /* ... it is one, takes what our cache knows of a key (CACHE.RESTORE), and refuses what it
                    must not take any more */
    int64_t used_ms;
    char host[256];
};

struct migrator {
    struct server *server;
    pthread_t thread;
    struct job_queue jobs;
    bool running;
    _Atomic bool stop;
    struct migrate_socket sockets[MIGRATE_SOCKETS]; /* the thread's */
};

void migrator_init(struct migrator *m, struct server *s);
int migrator_start(struct migrator *m);
/* What is under way fails, what waits too; joins the thread. Before the lane ends. */
void migrator_end(struct migrator *m);
void migrator_release(struct migrator *m);

/* Any thread: takes the job. */
void migrator_take(struct migrator *m, struct lane_job *job);

/* ---- inside: migrate.c and migrate_wire.c ---- */

struct migrate_item {
    uint32_t arg; /* of argv */
    bool here;    /* it exists */
    bool sent;    /* ... and is in `out`, or a DEL of it */
    bool asking;  /* ... behind an ASKING: the slot is not the target's yet */
    bool refused; /* it was read too early (cache/move.h) */
    bool there;   /* the target has it from us */
    struct watch watch;
    _Atomic bool changed;
};

struct migration {
    struct migrator *m;
    struct lane_job *job; /* arguments and the reply */
    char host[256];
    int64_t port, db, timeout_ms;
    bool copy, replace;
    bool meets; /* the cache knows more of some key, or patterns are purged there, too: it matters whether ...
                 */
    bool larder;               /* ... the target is one */
    struct str user, password; /* p NULL: none */
    uint32_t first, last;      /* of argv: keys not done yet; last is one behind */
    uint32_t nitems;
    uint32_t ngreetings, nsent; /* replies that are awaited: before the items', and theirs */
    struct lockset locks;       /* busy for us when n > 0 */
    bool begun;                 /* begin_batch() has found them free */
    struct buf out;
    bool failed; /* the reply is written, and an error */
    struct migrate_item items[MIGRATE_BATCH];
};

/* migrate_wire.c: after a failure g->failed is set and the reply written. */
void migrate_fail(struct migration *g, const char *fmt, ...) PRINTF_LIKE(2, 3);
struct migrate_socket *migrate_connect(struct migration *g); /* NULL: failed */
/* Puts what comes before the first RESTORE into `out`: AUTH, SELECT. */
void migrate_greet(struct migration *g, const struct migrate_socket *s);
/* Sends `out`, tells on a new connection that keys are read from now on, and hears whether there is a larder.
 */
void migrate_meet(struct migration *g, struct migrate_socket *s);
/* Send `out`, read the replies to the greetings and to every item sent. Closes s when it is of no use any
 * more. */
void migrate_talk(struct migration *g, struct migrate_socket *s);
void migrate_disconnect(struct migrate_socket *s);

#endif
