/* Who is in the cluster and who owns which slot: the table of nodes and the map of slots.
 *
 * Owned by the cluster's machine (one thread); others get copies. Nodes are in the heap and keep their
 * address until slotmap_remove(). The map and each node's bitmap say the same: slots change through
 * slotmap_assign() only. */
#ifndef LARDER_CLUSTER_SLOTMAP_H
#define LARDER_CLUSTER_SLOTMAP_H

#include "base/str.h"
#include "proto/slot.h"

#include <stdbool.h>
#include <stdint.h>

enum slotmap_limits {
    NODE_ID = 40,             /* lower-case hex digits */
    NODE_IP_MAX = 46,         /* with its NUL, as on the wire */
    NODE_HOST_MAX = 256,      /* with its NUL */
    SLOTMAP_NODES_MAX = 8192, /* more than any cluster; a hostile peer cannot make us hold more */
    NODE_REPORTS_MAX = 1024,  /* failure reports kept about one node */
    NODE_DISPUTES_MAX = 8,    /* votes of one node whose end it does not know */
    NODE_ENDED_MAX = 8,       /* claims of which it says that they are over, and were never served */
    SLOTMAP_BUCKETS = 1024,   /* nodes by id; a power of two */
};

/* The low bits are Redis's, on the wire and in gossip; NODE_LOCAL ones never leave. */
enum node_flag {
    NODE_PRIMARY = 1,
    NODE_REPLICA = 2,
    NODE_PFAIL = 4,
    NODE_FAIL = 8,
    NODE_MYSELF = 16,
    NODE_HANDSHAKE = 32,
    NODE_NOADDR = 64,
    NODE_MEET = 128,
    NODE_MIGRATE_TO = 256, /* has or had replicas: orphaned, it is sent one */
    NODE_NOFAILOVER = 512,
    NODE_WIRE = 1023,
    NODE_EXTENSIONS = 1 << 16, /* understands extensions */
    NODE_LARDER = 1 << 17,     /* is larder itself */
    NODE_LIGHT = 1 << 18,      /* understands light headers */
};

struct node_id {
    char c[NODE_ID];
};

struct node_report {
    struct node_id by;
    uint64_t at_ms;
};

/* A vote for `by` in the place of `about`, of which it is not known whether it elected anybody
 * (electorate.c). */
struct node_dispute {
    struct node_id about, by;
    uint64_t epoch;
};

/* A claim to slots that another gives (taking.c). */
struct node_claim {
    struct node_id by, from;
    uint64_t epoch;
};

/* First what walks over all nodes look at, then what is long. */
struct node {
    struct node_id id;
    uint64_t id_hash; /* the same everywhere */
    struct node *same_bucket;
    uint32_t flags; /* enum node_flag */
    unsigned nslots;
    uint64_t config_epoch, current_epoch;
    struct node *primary; /* of a replica; may be NULL while it is not known */
    unsigned mark;        /* scratch of whoever walks the table */
    unsigned living;      /* slotmap_count_living() */
    /* Of the machine's taking: it is, or was, of the shard that gives the slots; its last frame did not claim
     * them. */
    bool gives, conceded;

    /* Times on the machine's clock, 0: never. */
    uint64_t created_ms, ping_sent_ms, pong_ms, heard_ms, fail_ms, orphan_ms;
    uint64_t voted_ms;   /* when we last voted for a replica of this primary */
    uint64_t told_epoch; /* it was told of the voters from the newest to this one; 0: of none yet */
    uint64_t promise_ms; /* until then we vote for none of its replicas */
    uint64_t lease_ms;   /* until then it votes for none of ours */
    uint64_t forget_ms;
    uint64_t ack_epoch;   /* of its last vote for us */
    uint64_t asked_ms;    /* when it last asked for votes */
    uint64_t out_ms;      /* when `out` was opened */
    uint64_t ping_seq_ms; /* when the ping of that number was sent */
    uint32_t ping_seq;    /* of our last ping to it; 0: answered, or no answer to it is a promise */
    uint32_t out, in;     /* links, 0: none */
    bool out_up;
    bool voter;         /* when we last heard it; of ourselves: at the end of the last step */
    bool unsettled;     /* it claims slots that its file does not give it, or does not know what it has; or
                           may do so */
    bool paused;        /* it has given its lease back, and not taken it again */
    uint64_t yields_ms; /* when it said itself that it has failed: whoever has its data may be elected,
                           however old */

    /* What it says of its data. */
    uint64_t offset, offset_ms, data_epoch, replid;

    struct node_report *reports; /* of its failure, by primaries */
    unsigned nreports, reports_cap;

    unsigned ndisputes;
    struct node_dispute disputes[NODE_DISPUTES_MAX]; /* that came with its last promise or vote */

    uint16_t port, cport, tls_port; /* cport: the bus */
    char ip[NODE_IP_MAX], host[NODE_HOST_MAX], name[NODE_HOST_MAX];
    struct node_id shard;
    uint8_t slots[SLOT_BYTES];
};

struct slotmap {
    struct node **nodes;
    unsigned n, cap;
    struct node *owner[SLOT_COUNT];
    unsigned assigned; /* slots that have an owner */
    struct node *by_id[SLOTMAP_BUCKETS];
};

void slotmap_init(struct slotmap *m);
void slotmap_release(struct slotmap *m);

bool node_id_eq(const struct node_id *a, const struct node_id *b);
int node_id_cmp(const struct node_id *a, const struct node_id *b);
/* 40 lower-case hex digits? */
bool node_id_valid(struct str text);
static inline bool node_id_none(const struct node_id *id)
{
    return id->c[0] == '\0';
}
struct str node_id_str(const struct node_id *id);
static inline bool node_is(const struct node *n, uint32_t flags)
{
    return (n->flags & flags) != 0;
}

/* Borrowed until it is removed; NULL if there is none. */
struct node *slotmap_find(const struct slotmap *m, const struct node_id *id);
/* A new node with these flags and an empty shard id. 0, ERR_EXISTS, ERR_FULL or ERR_OOM. */
int slotmap_add(struct slotmap *m, const struct node_id *id, uint32_t flags, struct node **out);
/* Its slots have no owner then, its replicas no primary, its reports are gone. Frees it. */
void slotmap_remove(struct slotmap *m, struct node *n);
/* Give it another id (the end of a handshake). */
void slotmap_rename(struct slotmap *m, struct node *n, const struct node_id *id);

/* n NULL: nobody's. */
void slotmap_assign(struct slotmap *m, unsigned slot, struct node *n);
void slotmap_drop_all(struct slotmap *m, struct node *n);

/* The next run of equal owner at or after *at: true with [*first, *last] and *at moved behind it. Slots
 * without an owner are passed over. Begin with *at = 0. */
bool slotmap_run(const struct slotmap *m, unsigned *at, unsigned *first, unsigned *last, struct node **owner);
/* The same over one node's bits. */
bool slots_run(const uint8_t *bits, unsigned *at, unsigned *first, unsigned *last);

/* A primary with slots has a vote. */
static inline bool node_votes(const struct node *n)
{
    return node_is(n, NODE_PRIMARY) && n->nslots > 0;
}
/* Who was not heard yet is not known. */
static inline bool node_is_redis(const struct node *n)
{
    return n->offset_ms != 0 && !node_is(n, NODE_LARDER);
}
unsigned slotmap_voters(const struct slotmap *m);
/* Replicas of n; those that are not failing if `living`. */
unsigned slotmap_replicas(const struct slotmap *m, const struct node *n, bool living);
/* Those of all nodes at once, into their `living`. */
void slotmap_count_living(struct slotmap *m);

/* The map and the bitmaps agree. Walks everything: tests only. */
bool slotmap_check(const struct slotmap *m);

#endif
