/* A worker: one thread, one event loop, its own connections, buffers and counters.
 *
 * It executes where it reads: parse, hash, prefetch, lock the shard, run, reply, one
 * send per connection and round. Others talk to it by mail: a node in its mailbox
 * and a wake-up; mail is handled inside a round, so it may do what a command may. */
#ifndef LARDER_SERVER_WORKER_H
#define LARDER_SERVER_WORKER_H

#include "base/arena.h"
#include "base/mpsc.h"
#include "base/rng.h"
#include "cmd/cmd.h"
#include "os/loop.h"
#include "repl/unit.h"
#include "server/clients.h"
#include "server/conn.h"
#include "server/hot.h"
#include "server/mail.h"
#include "server/metrics.h"
#include "server/relay.h"
#include "store/store.h"

#include <pthread.h>
#include <stdatomic.h>

struct listener;
struct server;

enum { WORKER_MEMO_BITS = 4, WORKER_LONG_MEMO_BITS = 2 };

/* A command's name as some client spells it, and the command. */
struct name_memo {
    uint64_t word; /* up to 8 bytes; 0 = none */
    const struct command *cmd;
};

/* The same for names of 9 to 16 bytes. */
struct long_memo {
    uint64_t first, last; /* 8 bytes of the name, which may overlap */
    size_t n;             /* 0: none */
    const struct command *cmd;
};

struct worker {
    struct server *server;
    uint32_t index;
    pthread_t thread;
    struct loop *loop;
    struct mpsc mailbox;

    /* Owner only from here to `shared`. */
    int64_t now_ms;     /* wall clock of this round */
    struct arena arena; /* the batch being executed */
    struct reply reply; /* of the connection whose turn it is */
    char *read_buf;     /* CONN_READ_SIZE */
    struct cmd_ctx ctx; /* constant fields set once */
    struct name_memo memo[1 << WORKER_MEMO_BITS];
    struct long_memo long_memo[1 << WORKER_LONG_MEMO_BITS];
    struct rng rng;
    struct appender *app;
    int32_t until_sample;          /* keys until the next one is noted in `hot` */
    struct hot *hot;               /* owned; has a lock of its own (hot.h) */
    struct unit unit;              /* its effects, when they are logged */
    struct conn *conns;            /* all of them */
    struct conn *sweep;            /* where the timeout scan goes on */
    struct conn *paused;           /* parked by a pause, or for a slot that changes hands */
    struct conn *held, **held_end; /* their replies wait for replicas (conn_out.c) */
    bool last_turn;                /* nobody else has written in this round after this */
    uint32_t nheld, nspares;
    uint64_t owed;                /* of the change log: replicas are to have what lies before; 0: they have */
    bool holds;                   /* what they were handed is to be pushed, unless more follows at once */
    struct conn_out *spares;      /* for those who will be held */
    struct cache_parked *parked;  /* wait for a value (cache_wait.c) ... */
    int64_t parked_due_ms;        /* ... and one of them wants to be looked after then */
    struct relay *relays;         /* that are looking at its connections now */
    int64_t cron_ms, maintain_ms; /* when due next */
    int64_t clients_s;            /* the second that clients.recent is at */
    int64_t rested_ns;            /* by os_work_ns(): upkeep that goes on rests until then, ... */
    bool upkeep_hurries;          /* ... unless a round begins sooner */
    bool upkeep_goes_on;          /* it has more to do */
    int64_t due_ms;               /* the next round begins no later */
    uint32_t wakes;               /* server.wakes when those of `paused` last tried again */
    bool rests;                   /* from accepting, until the next cron: descriptors are short */
    bool stopping;                /* execute nothing more */
    bool running;                 /* the thread was started: boot's and the end's */

    /* Written by the owner, read by anyone. */
    CACHE_ALIGNED struct metrics metrics;
    struct cmd_counters counters;
    struct counter upkeep_ns; /* spent in store_maintain() */
    struct clients clients;
    _Atomic uint32_t nconns;
    _Atomic uint32_t nmonitors;
    _Atomic uint32_t npaused; /* clients in `paused` and `parked`: INFO's blocked_clients */
};

int worker_init(struct worker *w, struct server *s, uint32_t index);
/* What clients send arrives in buffers that follow maxmemory. Any thread. */
void worker_bound_reading(struct worker *w, uint64_t maxmemory);
int worker_start(struct worker *w);
/* Gate, or before its thread runs: accept on l, too. */
int worker_listen(struct worker *w, struct listener *l);
/* After all threads have ended: letters that are still on their way arrive, but start nothing new. */
void workers_drain(struct server *s);
void worker_release(struct worker *w); /* then */

/* Any thread: what they wait for has changed; those who are parked by a pause, or for a slot that changes
 * hands, try again. */
void workers_wake(struct server *s);

/* The worker that accepted connections should go to now: the one with the fewest. */
struct worker *worker_least_loaded(struct server *s);

#endif
