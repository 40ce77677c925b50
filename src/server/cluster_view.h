/* The cluster as those who serve clients see it: who owns which slot, and where to send whom.
 *
 * A copy of what the state machine knows, made anew when something of it changes, and put in place by one
 * store. Nobody stops for that. Who puts it there waits until every round that may have seen the old one has
 * ended; the job of the lane that may have, which can be long, is not waited for: the bus goes on, and only
 * the answers to who has asked for something stay back, and the old view itself, until it has ended. So
 * whoever has looked knows until it has let go of its shards that a key is served here, and whoever has been
 * told that it is not any more, or not yet, can rely on it.
 *
 * What comes with a change of role, a pause, or the loss of slots, whose leases end, changes under the gate
 * at one moment with it. For that the lane must come, so it waits for the job at hand (not for those that
 * wait), and the bus is silent meanwhile: no word of a slot's new owner is out before this node has stopped
 * serving it. That is all the safety that moving a slot needs. A job that takes longer than the node timeout
 * just then makes the others take this node for dead; its replica takes over what it was about to give away,
 * or to be asked for.
 *
 * The usual question has a bit of its own: `here` says that a slot is ours, stays ours, and may be served. */
#ifndef LARDER_SERVER_CLUSTER_VIEW_H
#define LARDER_SERVER_CLUSTER_VIEW_H

#include "base/annotate.h"
#include "proto/slot.h"

#include <stdbool.h>
#include <stdint.h>

enum cluster_view_limits {
    VIEW_ID = 40,
    VIEW_HOST_MAX = 256,
    VIEW_IP_MAX = 46,
    VIEW_NOBODY = 0, /* the number of no node */
};

enum view_flags { /* as CLUSTER NODES names them, in its order */
                  VIEW_MYSELF = 1 << 0,
                  VIEW_PRIMARY = 1 << 1,
                  VIEW_REPLICA = 1 << 2,
                  VIEW_PFAIL = 1 << 3,
                  VIEW_FAIL = 1 << 4,
                  VIEW_HANDSHAKE = 1 << 5,
                  VIEW_NOADDR = 1 << 6,
                  VIEW_NOFAILOVER = 1 << 7,
};

struct view_node {
    char id[VIEW_ID + 1], shard[VIEW_ID + 1];
    char host[VIEW_HOST_MAX]; /* for clients: by cluster-preferred-endpoint-type */
    char ip[VIEW_IP_MAX];
    char hostname[VIEW_HOST_MAX];
    uint16_t port, cport;
    uint16_t primary; /* of a replica; VIEW_NOBODY otherwise */
    uint32_t flags;   /* enum view_flags */
    int64_t ping_ms, pong_ms;
    uint64_t epoch;
    uint64_t offset; /* of replication, as far as it is known */
    bool connected;
};

struct cluster_view {
    uint8_t here[SLOT_BYTES];
    bool holds;           /* any slot */
    bool up;              /* cluster_state:ok */
    bool reads_when_down; /* cluster-allow-reads-when-down */
    bool replica;
    uint16_t me, primary; /* numbers of nodes; primary: whose replica this node is */
    uint16_t owner[SLOT_COUNT];
    uint16_t to[SLOT_COUNT];      /* ours, and on its way there */
    uint16_t from[SLOT_COUNT];    /* another's, and on its way here */
    uint8_t held[SLOT_BYTES];     /* it changes hands just now: clients wait (moves.h) */
    uint8_t arriving[SLOT_BYTES]; /* another's, and only who brings its keys may use it here */
    uint32_t nnodes;              /* numbers below; node 0 is nobody */
    struct view_node *nodes;      /* owned */
    /* Once it is replaced, the cluster's thread's: */
    struct cluster_view *older;
    uint64_t seen_by; /* the job of the lane that may still look at it */
};

static inline bool view_is_here(const struct cluster_view *v, uint32_t slot)
{
    return slots_has(v->here, slot);
}

static inline bool view_holds(const struct cluster_view *v, uint32_t slot)
{
    return slots_has(v->held, slot);
}

static inline bool view_arrives(const struct cluster_view *v, uint32_t slot)
{
    return slots_has(v->arriving, slot);
}

/* Is it this node that clients find it on? */
static inline bool view_serves(const struct cluster_view *v, uint32_t slot)
{
    return v->owner[slot] == v->me && v->me != VIEW_NOBODY && !v->replica;
}

/* Nobody talks to it now. */
static inline bool view_is_away(const struct view_node *n)
{
    return (n->flags & (VIEW_FAIL | VIEW_HANDSHAKE | VIEW_NOADDR)) != 0;
}

/* Nobody owns anything. Returned owned, with room for nodes up to number `nnodes` - 1; NULL: out of memory.
 */
struct cluster_view *cluster_view_new(uint32_t nnodes);
void cluster_view_free(struct cluster_view *v); /* NULL is fine */
/* Everything else is in place: work out `here`. */
void cluster_view_seal(struct cluster_view *v);

#endif
