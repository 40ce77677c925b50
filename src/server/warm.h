/* CACHE.WARM: a node that has nothing yet takes from another larder, or from a snapshot, what it does not
 * have, at a bounded rate, while it serves.
 *
 *      PEER        CACHE.HOT, then SCAN ──> names ──┐
 *      KEYS        a file ────────────────> names ──┤
 *      SNAPSHOT    a file ──> names and values ─────┴─> lane: whoever has no such key and no loader gets a
 * lease └──> value ──> lane: the lease still holds? then as if here the key had moved
 *
 * A key is loaded under a lease like any client's. So nothing that is here is overwritten; a write, a delete
 * or an invalidation meanwhile voids the lease and the value is dropped; and clients that miss the key wait
 * for it instead of asking the origin. What was purged here counts as it does for keys that move
 * (cache/move.h). What a peer has purged is not asked for: its purges are about entries and leases of its
 * own, and it gives none that they have hit.
 *
 * It stops before memory is full, so that nothing is evicted for what may be wanted later.
 *
 * Owner: a thread of its own, in no rounds; what touches the store it has the lane do. */
#ifndef LARDER_SERVER_WARM_H
#define LARDER_SERVER_WARM_H

#include "base/arena.h"
#include "base/buf.h"
#include "cmd/session.h"
#include "proto/reply.h"

#include <pthread.h>
#include <stdatomic.h>

struct server;

enum warm_limits {
    WARM_BATCH = 64, /* keys on their way at a time */
    WARM_RATE = 10000,
    WARM_TIMEOUT_MS = 5000, /* of the peer, for each answer */
    WARM_LEASE_MS = 4 * WARM_TIMEOUT_MS,
    WARM_REPLY_MAX = 512 << 20,
    WARM_HOT = 1000,        /* asked for; the sketch knows fewer */
    WARM_FULL_PERCENT = 85, /* of maxmemory: no further; values that have come show in RSS a little later */
    WARM_BUSY_TRIES = 2000, /* a shard that is busy is looked at again so often ... */
    WARM_BUSY_US = 1000,    /* ... after so long */
    WARM_TEXT = 256,
    WARM_HOST = 256,
    WARM_NAME = 1024, /* of a host or a file */
    WARM_PACE_MS = 100,
    WARM_LIST_BYTES = 64 << 20,
    WARM_READ = 256 << 10,
    WARM_JOB_ID = 64,
};

enum warm_source { WARM_PEER, WARM_SNAPSHOT };
struct warm_request {
    enum warm_source source;
    char name[WARM_NAME]; /* the peer's host, or the file */
    uint16_t port;
    char list[WARM_NAME]; /* the file that names keys; "": none */
    uint64_t top, rate;   /* top 0: all */
};

/* cold: a primary that started without data and has not been warmed. */
enum warm_state { WARM_COLD, WARM_RUNNING, WARM_WARM, WARM_FULL, WARM_CANCELLED, WARM_FAILED };

struct warm_counts {
    uint64_t seen;      /* names that the peer gave, of which ... */
    uint64_t installed; /* ... are here now because of that */
    uint64_t present;   /* were here, or somebody was loading them */
    uint64_t elsewhere; /* belong to other nodes */
    uint64_t overtaken; /* were written, deleted or purged here meanwhile */
    uint64_t gone;      /* were not to be had any more */
};

struct warm {
    struct server *server;
    pthread_t thread;
    pthread_mutex_t mutex; /* leaf: what follows, but for the thread's own */
    pthread_cond_t more;
    bool started, wanted, stop;
    enum warm_state state;
    struct warm_request request;
    uint64_t number; /* of the latest; 0: there was none */
    struct warm_counts counts;
    int64_t began_ms, ended_ms; /* 0: never */
    char error[WARM_TEXT];
    _Atomic bool halt; /* cancelled, or the node ends */

    /* The thread's own, and the lane's while it works for it. */
    struct session session;
    struct reply reply;
    struct arena arena;
};

void warm_init(struct warm *w, struct server *s);
int warm_start(struct warm *w, bool has_data);
void warm_end(struct warm *w); /* before the lane ends */
void warm_release(struct warm *w);

/* Any thread: for INFO. */
const char *warm_state_name(struct warm *w);

/* Any thread: the latest as CACHE.JOB shows it. False: there was none. */
struct warm_job {
    char id[WARM_JOB_ID], from[WARM_NAME + 16];
    const char *state; /* running, done, cancelled, failed */
    uint64_t rate, installed;
    int64_t began_ms;
};
bool warm_job(struct warm *w, struct warm_job *out);
bool warm_cancel(struct warm *w); /* false: none runs */

#endif
