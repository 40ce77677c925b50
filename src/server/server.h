/* The node: everything that exists once. Never passed below server/.
 *
 * Who may touch what:
 *   config      written under the gate (CONFIG SET runs on the lane), read in rounds
 *   care        atomic bits that make dispatch look closer; see enum care
 *   the rest    set at boot, or guarded as it says */
#ifndef LARDER_SERVER_SERVER_H
#define LARDER_SERVER_SERVER_H

#include "cmd/cmd.h"
#include "os/clock.h"
#include "server/cluster.h"
#include "server/config.h"
#include "server/departures.h"
#include "server/heir.h"
#include "server/lane.h"
#include "server/latency.h"
#include "server/migrate.h"
#include "server/moves.h"
#include "server/pages.h"
#include "server/pause.h"
#include "server/process.h"
#include "server/repl.h"
#include "server/saver.h"
#include "server/slot_stats.h"
#include "server/slowlog.h"
#include "server/stats.h"
#include "server/warm.h"
#include "server/worker.h"
#include "store/gate.h"
#include "store/store.h"

#include <stdatomic.h>
#include <stdint.h>

/* What clients are told: the Redis whose commands and replies these are. */
#define SERVER_REDIS_VERSION "7.2.4"

enum server_limits {
    SERVER_LISTEN_MAX = 2 * CONFIG_BIND_MAX + 1, /* old and new addresses during a change, a Unix socket */
    SERVER_RUN_ID = 40,
    SERVER_RUN_NS = 1000000, /* a run of short commands (batch.h) never takes as long of itself */
};

/* How far the end has come. Workers look at it between rounds. */
enum server_stop {
    STOP_NO,
    STOP_BEGUN, /* nothing new is accepted, read or executed; what runs on the lane comes home */
    STOP_LAST,  /* the lane has ended: send what is left and end */
};

/* Reasons for which dispatch leaves its fast path, for everybody. */
enum care {
    CARE_MONITOR = 1 << 0,     /* somebody watches with MONITOR */
    CARE_PAUSE_WRITE = 1 << 1, /* CLIENT PAUSE ... WRITE */
    CARE_PAUSE_ALL = 1 << 2,
    CARE_PAUSE = CARE_PAUSE_WRITE | CARE_PAUSE_ALL,
    CARE_MEMORY = 1 << 3,        /* data is beyond maxmemory: refuse CMD_DENYOOM */
    CARE_REPLICA = 1 << 4,       /* this node is a replica: no writes, and perhaps no reads */
    CARE_FEW_REPLICAS = 1 << 5,  /* fewer than min-replicas-to-write: refuse writes */
    CARE_CLUSTER = 1 << 6,       /* keys may live elsewhere */
    CARE_FAILOVER = 1 << 7,      /* this node hands its role over: writes wait */
    CARE_DISK = 1 << 8,          /* the last snapshot failed: refuse writes (stop-writes-on-bgsave-error) */
    CARE_LOADING = 1 << 9,       /* the snapshot is being loaded */
    CARE_KEEP_EXPIRED = 1 << 10, /* what has expired stays until replicas can be told */
    CARE_SLOT_STATS = 1 << 11,   /* in a cluster: count what each slot costs */
    /* Nothing may be added to the stream by this node. */
    CARE_HELD_STREAM = CARE_PAUSE | CARE_FAILOVER | CARE_REPLICA,
    CARE_HIDE_EXPIRED = CARE_HELD_STREAM | CARE_KEEP_EXPIRED,
};

/* Written at boot and under the gate. */
struct listener {
    int fd; /* -1: a free place */
    bool is_unix;
    bool fresh, closed_for_change; /* while it is being changed (listen.c) */
    int port;
    char host[128]; /* as `bind` says it, without '-' */
    char name[160]; /* "tcp 127.0.0.1:6379", for the log */
};

struct server {
    struct config config;
    struct cmd_limits limits;
    struct store *store;
    struct cache *cache;
    struct gate gate;
    struct lane lane;
    struct worker *workers; /* nworkers */
    uint32_t nworkers;
    struct listener listeners[SERVER_LISTEN_MAX];
    int64_t listen_port;    /* of the sockets that are open */
    _Atomic uint32_t wakes; /* workers_wake(), how often */
    _Atomic uint32_t care;
    _Atomic(struct cluster_view *) view; /* NULL: not in a cluster; see server_view() */
    /* Of os_boot_ms(): until then nobody can be elected in the place of this primary, and it may acknowledge
     * writes. UINT64_MAX: there is no such limit. The cluster's thread writes it. */
    _Atomic uint64_t lease_until_ms;
    _Atomic bool feeds_nobody; /* a restarted primary does not know yet whether a replica has more than it */
    _Atomic uint32_t nclients;
    _Atomic uint64_t next_client_id;
    struct pause pauses[PAUSE_REASONS];
    bool time_in_runs;        /* nobody asks for times below SERVER_RUN_NS; gate */
    uint64_t slow_ticks;      /* commands at least so long are looked at more closely; gate */
    uint64_t clients_max_mem; /* what maxmemory-clients comes to in bytes, 0 = no limit; gate */
    pthread_mutex_t relief;   /* leaf: one worker at a time evicts clients */
    struct slowlog slowlog;   /* own lock */
    struct latency latency;   /* own lock */
    struct stats stats;
    struct slot_stats slot_stats;
    char run_id[SERVER_RUN_ID + 1];
    struct repl repl;
    struct saver saver;
    struct migrator migrator;
    struct cluster cluster;
    struct heir heir;
    struct moves moves;
    struct departures departures;
    struct warm warm;
    struct pages pages;
    struct process process;
    uint64_t startup_memory; /* bytes used before the first client */
    int64_t started_ms;
    int64_t stats_since_ms;
    _Atomic int stop; /* enum server_stop */
    _Atomic int exit_code;
};

/* Any thread, also a signal's: begin a graceful end. */
void server_request_stop(struct server *s, int exit_code);

/* In a round, or in a job of the lane: it lasts as long as that does. Seq_cst: see gate_outlive(). */
static inline const struct cluster_view *server_view(const struct server *s)
{
    return atomic_load_explicit(&s->view, memory_order_seq_cst);
}

/* For whoever executes for clients: nothing is deleted while a pause lasts, since a deletion is a write, nor
 * on a replica, where only the primary's DEL does, nor before a loaded history has found its replicas. */
static inline enum expired_rule server_expired_rule(struct server *s)
{
    uint32_t care = atomic_load_explicit(&s->care, memory_order_relaxed);
    return likely(!(care & CARE_HIDE_EXPIRED)) ? EXPIRED_REMOVE : EXPIRED_HIDE;
}

/* May this node say, now, that it has written? */
static inline bool server_may_acknowledge(const struct server *s)
{
    uint64_t until = atomic_load_explicit(&s->lease_until_ms, memory_order_acquire);
    return until == UINT64_MAX || os_boot_ms() < until;
}

static inline bool server_counts_slots(const struct server *s)
{
    return (atomic_load_explicit(&s->care, memory_order_relaxed) & CARE_SLOT_STATS) != 0;
}

/* Writes wait: nothing may be added to the stream either, for whoever is about to take over was told its end.
 */
static inline bool server_is_paused(const struct server *s)
{
    return (atomic_load_explicit(&s->care, memory_order_relaxed) & (CARE_PAUSE | CARE_FAILOVER)) != 0;
}

static inline void server_care_set(struct server *s, uint32_t bit, bool on)
{
    if (on)
        atomic_fetch_or_explicit(&s->care, bit, memory_order_relaxed);
    else
        atomic_fetch_and_explicit(&s->care, ~bit, memory_order_relaxed);
}

#endif
