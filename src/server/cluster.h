/* The cluster's thread: it has the state machine, the bus, and the file nodes.conf, and nobody else touches
 * them.
 *
 *      bus ── frames ──> ┌─────────────┐ ──> frames, links
 *      clock ──────────> │ the machine │ ──> nodes.conf, fsynced before what depends on it
 *      CLUSTER ... ────> └─────────────┘ ──> view of the slots, at once
 *                                        ──> role, pause, slots given up: the lane, under the gate
 *
 * A CLUSTER command that asks the machine, or changes it, is a job that its client's worker sends here; the
 * client is parked until the job comes home with the reply. So a change is in the file and in force before
 * its OK is sent.
 *
 * Everybody else reads `server.view` (cluster_view.h). */
#ifndef LARDER_SERVER_CLUSTER_H
#define LARDER_SERVER_CLUSTER_H

#include "server/cluster_view.h"
#include "server/job_queue.h"

#include <pthread.h>
#include <stdatomic.h>

struct config;
struct server;
struct cluster_core; /* cluster_core.h: the machine and what surrounds it; the thread's */

struct cluster {
    struct server *server;
    pthread_t thread;
    bool running;
    _Atomic bool stop;
    /* Handovers of our slots to a replica, counted: when both are equal, none is under way. The mutex. */
    uint32_t handing_asked, handing_ended;
    bool handing_begun;        /* the thread's own: the machine has been told of the one under way */
    uint64_t handing_until_ms; /* the thread's own, as os_boot_ms() */
    struct job_queue jobs;
    pthread_mutex_t mutex; /* a leaf */
    /* cluster_call(): one at a time. The mutex. */
    pthread_cond_t called;
    void (*call)(struct cluster_core *core, void *arg);
    void *call_arg;
    bool call_ok, call_ran, ended;            /* call_ran: the thread's own */
    struct lane_job *settled, **settled_tail; /* the thread's own: what they want is not in force yet */
    struct cluster_core *core;                /* NULL: cluster-enabled no */
};

/* With cluster-enabled: reads nodes.conf, listens, makes the first view. 0, or negative with the reason
 * logged. */
int cluster_init(struct cluster *cl, struct server *s);
/* Before any thread runs: be what the file says. ERR_OOM. */
int cluster_take_role(struct cluster *cl);
int cluster_start(struct cluster *cl);
/* Any thread, before this node ends: a replica shall take its slots over. *turn, which the caller keeps, is 0
 * at first: that call begins a handover, or joins the one under way. True while it is, for shutdown-timeout
 * at most; workers are woken when it is not any more, and *turn is 0 again. Also false if there is nothing,
 * or nobody, to hand over to. Whoever does not call again leaves nothing behind. */
bool cluster_hands_over(struct cluster *cl, uint32_t *turn);
void cluster_end(struct cluster *cl); /* joins the thread. Before the lane and replication end */
void cluster_release(struct cluster *cl);

/* Gate: what it copies of the configuration has changed. Nothing without a cluster. */
void cluster_follow_options(struct cluster *cl);
int cluster_bus_port(const struct config *cfg);

/* fn runs on the cluster's thread, and what it wants is in force, and in the file if it must be, when this
 * returns. For the one thread that moves slots. False: the node ends, or the file cannot be written. */
bool cluster_call(struct cluster *cl, void (*fn)(struct cluster_core *core, void *arg), void *arg);

/* A worker: c's command is executed by the thread, its client parked meanwhile. */
struct cmd_ctx;
void cluster_send(struct cmd_ctx *c);

#endif
