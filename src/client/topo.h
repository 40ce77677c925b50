/* What all threads of a handle share: the nodes and their health, the ring or the slot map, the
 * retry budget, the counters. Decides where a command goes; does no I/O.
 *
 * One mutex guards everything but what is marked. It is a leaf: nothing is taken under it, nothing
 * waits under it. A node, once met, stays until the end, so its number and its address may be read
 * without the lock. */
#ifndef LARDER_CLIENT_TOPO_H
#define LARDER_CLIENT_TOPO_H

#include "base/rng.h"
#include "client/breaker.h"
#include "client/budget.h"
#include "client/ring.h"
#include "client/settings.h"
#include "client/slotmap.h"

#include <pthread.h>
#include <stdatomic.h>

enum topo_limits {
    TOPO_NODES_MAX = 4096,
    TOPO_CANDIDATES_MAX = 8, /* nodes that are thought of for one attempt */
    TOPO_TRIED_MAX = 8,      /* nodes that a command remembers to have failed it */
};

/* Has it the cache commands? */
enum node_speaks { SPEAKS_UNKNOWN = 0, SPEAKS_CACHE, SPEAKS_PLAIN };

struct node {
    struct address address;      /* constant */
    _Atomic bool failing;        /* since its last success something failed; written under the lock */
    _Atomic uint32_t generation; /* a connection last found alive before this is looked at before use */
    _Atomic int speaks; /* enum node_speaks; forgotten with a failure, after which another may sit there */
    struct breaker breaker;
    uint64_t outage; /* number of its latest one */
    bool gone;       /* taken off the ring */
};

struct topo_counters {
    _Atomic uint64_t calls, retries, retries_denied, connects, failures, redirects, refreshes, standins;
};

struct topo {
    const struct settings *set; /* borrowed */
    enum larder_topology kind;  /* constant once the handle is open */
    struct node **nodes;        /* TOPO_NODES_MAX places, filled from the front */
    _Atomic uint32_t nnodes;
    struct topo_counters counters; /* without the lock */
    pthread_mutex_t lock;
    larder_ring *ring;                       /* LARDER_TOPOLOGY_RING */
    struct slotmap slots;                    /* LARDER_TOPOLOGY_CLUSTER */
    bool refresh_due, refreshing, no_shards; /* no_shards: the servers know only CLUSTER SLOTS */
    int64_t refreshed_ns;
    struct budget budget;
    struct rng rng;
    uint64_t outages; /* numbers handed out; begins at random, so that handles do not share stand-ins */
};

/* Where a command may go. */
struct topo_ask {
    struct str key;
    const struct ring_place *place; /* the key's, or NULL */
    uint16_t slot;
    bool any;              /* no key: whichever node */
    bool read;             /* a replica may answer */
    bool stand_in;         /* the next node of the ring may answer */
    int node;              /* this one; negative: by key */
    const uint32_t *tried; /* these failed before */
    unsigned ntried;
};

struct topo_route {
    uint32_t node, owner;
    uint64_t outage; /* the owner's, when `standin` */
    bool standin;    /* the node is not the key's own */
    bool readonly;   /* the node is a replica */
};

int topo_init(struct topo *t, const struct settings *set, struct larder_error *err) MUST_CHECK;
void topo_release(struct topo *t);

/* The number of the node with this address, met now if need be. Negative: LARDER_ERR_MEMORY, or
 * LARDER_ERR_ARGUMENT when there are too many. */
int topo_intern(struct topo *t, const struct address *a);
int topo_find(struct topo *t, const char *name); /* or -1 */
struct node *topo_node(struct topo *t, uint32_t number);

int topo_ring_add(struct topo *t, const struct address *a, unsigned weight, struct larder_error *err);
int topo_ring_remove(struct topo *t, const char *name, struct larder_error *err);
/* The node that a key belongs to, or -1. */
int topo_owner(struct topo *t, struct str key);
/* The nodes that together hold all keys: fills `out`, returns how many. */
unsigned topo_primaries(struct topo *t, uint32_t *out, unsigned max);

/* Nothing tried yet: the budget earns its share of a retry.
 * 0; LARDER_ERR_UNAVAILABLE or LARDER_ERR_CLUSTER with err: wait, or give up. */
int topo_route(struct topo *t, const struct topo_ask *ask, int64_t now_ns, struct topo_route *out,
               struct larder_error *err);

/* What came of an attempt. */
void topo_failed(struct topo *t, uint32_t node, int64_t now_ns);
void topo_succeeded_slow(struct topo *t, uint32_t node);
static inline void topo_succeeded(struct topo *t, uint32_t node)
{
    if (unlikely(atomic_load_explicit(&t->nodes[node]->failing, memory_order_relaxed)))
        topo_succeeded_slow(t, node);
}

bool topo_spend(struct topo *t);
int64_t topo_backoff(struct topo *t, unsigned attempt);

/* Cluster: MOVED said so. Asks for a refresh. */
void topo_moved(struct topo *t, uint16_t slot, uint32_t node);
void topo_want_refresh(struct topo *t);
/* True for one caller at a time, which then reads the map and ends with topo_refreshed(). */
bool topo_begin_refresh(struct topo *t, int64_t now_ns, bool *shards);
/* reply NULL: it could not be read. `from` answered. */
int topo_refreshed(struct topo *t, const struct reader_value *reply, bool shards, uint32_t from,
                   int64_t now_ns);

#endif
