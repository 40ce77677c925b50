/* The lane: one thread for what must not run on a worker.
 *
 *   LANE_PLAIN      long, but locks for itself (KEYS)
 *   LANE_BUSY       long, with its shards marked busy: straight-line code, no slicing;
 *                   workers park whoever needs those shards and serve everybody else
 *   LANE_EXCLUSIVE  needs the whole world: raises the gate, runs, lowers it
 *
 * A busy job may let go of its shards while it looks at what it holds references to (cmd_ctx.let_go), and
 * take them back to store what came of it.
 *
 * Jobs run one after the other, first come first served. The connection that sent
 * one is parked until its job comes home by mail with the reply.
 *
 * In a cluster the slots of a job may be changing hands when its turn comes (moves.h). Then it gives its
 * shards back and waits for the next view, as clients with short commands do.
 *
 * Parking on a busy shard cannot miss the wake-up: a job frees its shards first and then,
 * under the lane's mutex, takes the list of waiters; lane_wait_busy() looks under the same
 * mutex whether one of the shards is still busy, and only then joins the list. */
#ifndef LARDER_SERVER_LANE_H
#define LARDER_SERVER_LANE_H

#include "base/arena.h"
#include "cmd/cmd.h"
#include "repl/unit.h"
#include "server/metrics.h"
#include "server/worker.h"

#include <pthread.h>

enum lane_limits {
    LANE_COST_NS = 500 * 1000, /* estimated work beyond this leaves the worker */
};

enum lane_mode { LANE_PLAIN, LANE_BUSY, LANE_EXCLUSIVE };

struct lane_job {
    struct mail mail; /* the way home */
    struct lane_job *next;
    struct conn *conn;
    struct worker *home;
    enum lane_mode mode;
    bool exec;               /* run the session's transaction instead of cmd */
    void (*call)(void *arg); /* instead of everything else: a thread waits for it (lane_call) */
    void *arg;
    bool shared;       /* with `call`: the gate stays down */
    struct loop *wake; /* with `call`: when it is done. NULL: its thread waits for it */
    /* Set by the handler that runs it: when it has ended, its reply is not there yet, and this is called in
     * place of sending it home. Whoever has it then owes it lane_send_home(). */
    void (*take)(struct lane_job *job);
    bool held;  /* its slots change hands just now, or writes are paused: to be run again afterwards */
    bool freed; /* LANE_BUSY: its shards are not busy for it any more, and are taken when its turn comes */
    bool done;  /* the lane's mutex */
    uint64_t began;   /* ticks, when it is executed by neither lane nor worker */
    uint64_t written; /* of the change log, for the client's WAIT */
    const struct command *cmd;
    struct str *argv; /* in the arena */
    uint32_t argc;
    struct lockset locks; /* LANE_BUSY */
    struct arena arena;
    struct reply reply;
};

struct lane {
    struct server *server;
    pthread_t thread;
    pthread_mutex_t mutex;       /* leaf: jobs, their count, those held, and waiters */
    pthread_cond_t more, called; /* a job has come; one has ended that somebody may wait for */
    struct lane_job *head, **tail;
    struct lane_job *job; /* the lane's own: what it runs now */
    bool holds;           /* the lane's own: the shards of that job are still busy */
    bool again;           /* the lane's own: they were free in between; these two say whose they are */
    struct lockset mine, lent;
    struct conn *waiters;               /* PARK_BUSY connections, through park_next */
    struct lane_job *held, **held_tail; /* wait for the next view, or the end of a pause */
    uint64_t ended;                     /* jobs */
    bool at_work;                       /* on one more */
    struct loop *watcher;               /* of its end, or NULL */
    bool stop;
    bool running; /* the thread was started: boot's and the end's */

    /* The lane's own thread only. */
    struct appender *app;
    struct rng rng;
    struct cmd_ctx ctx;
    struct unit unit; /* its effects, when they are logged */
    CACHE_ALIGNED struct metrics metrics;
    struct cmd_counters counters;
};

int lane_init(struct lane *l, struct server *s);
int lane_start(struct lane *l);
/* The thread ends after the job at hand; the caller joins. Jobs that wait are not run any more. */
void lane_end(struct lane *l);
/* After all threads have ended: the jobs that were not run go home with no reply. */
void lane_drop_jobs(struct lane *l);
void lane_release(struct lane *l);

/* Copy the request into a new job; NULL when memory is short. */
struct lane_job *lane_job_new(struct conn *c, const struct command *cmd, const struct str *argv,
                              uint32_t argc, enum lane_mode mode);
/* Parks the job's connection and queues the job. */
void lane_submit(struct lane *l, struct lane_job *job);

/* fn(arg) with the gate raised, on the lane's thread; returns when it has run. For threads that are neither a
 * worker nor in a round. False: the node ends, and it was not run. */
bool lane_call(struct lane *l, void (*fn)(void *arg), void *arg);

/* The same with the gate down: fn locks for itself, and may make shards busy. */
bool lane_call_shared(struct lane *l, void (*fn)(void *arg), void *arg);

/* With the gate raised, before the jobs that wait. */
bool lane_call_next(struct lane *l, void (*fn)(void *arg), void *arg);

/* The same with the gate down and nobody waiting: job->call, job->arg. The job is the lane's until it is
 * done, when `wake` is woken; if the node ends first it is never. */
void lane_post(struct lane *l, struct lane_job *job, struct loop *wake);
bool lane_is_done(struct lane *l, const struct lane_job *job);

/* The job that is being run now, by a number; 0: none. When it has ended `wake` is woken; one thread at a
 * time. */
uint64_t lane_at_hand(struct lane *l, struct loop *wake);
bool lane_has_ended(struct lane *l, uint64_t job);

/* Any thread: slots that were held are not any more, or a pause is over; jobs that wait for it have their
 * turn again. */
void lane_retry_held(struct lane *l);

/* Any thread: a job that was taken goes home with its reply. */
void lane_send_home(struct lane_job *job);
/* The lane's thread, after it has let go of shards that were busy. */
void lane_wake_waiters(struct lane *l);

/* Park c until a lane job has freed shards. False: none of those needed is busy any more. */
bool lane_wait_busy(struct lane *l, struct conn *c, const struct lockset *needed);

#endif
