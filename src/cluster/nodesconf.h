/* nodes.conf: what a node knows of its cluster, as text that Redis 7.0 and 7.2 read and write too.
 *
 *   <id> <ip>:<port>@<cport>[,host[,key=value...]] <flags> <primary|-> <ping> <pong> <epoch> <link>
 * [slots...] vars currentEpoch <n> lastVoteEpoch <n> larderDataEpoch <n>
 *
 * Slots are "7", "0-5460", and on the own line "[7->-id]" (leaves for id) and "[7-<-id]" (comes from id).
 * larderVoted-<about>-<by> <epoch>, for each open vote (electorate.c); larderTakes-<from>-<first> <last>,
 * slots that it claims and does not serve yet, and larderTakesIn <epoch>, of that claim (taking.c);
 * larderReady-<from> <epoch>, in which it may have claimed some since; larderEnded-<by>-<from> <epoch>, a
 * claim that was never served; larderOffers <epoch>, in which another may take slots of its own, and
 * larderGives-<to>-<first> <last>, those; what is not its own of them it has given (giving.c), or another
 * has, larderGivesOf-<id> 1. Redis logs and skips variables that it does not know. How the file gets onto the
 * disk is its owner's business: write beside it, fsync, rename, fsync the folder. */
#ifndef LARDER_CLUSTER_NODESCONF_H
#define LARDER_CLUSTER_NODESCONF_H

#include "base/buf.h"
#include "cluster/slotmap.h"

/* A slot on its classic way (CLUSTER SETSLOT). */
struct slot_move {
    uint16_t slot;
    bool importing; /* comes from id; else it leaves for id */
    struct node_id id;
};

/* Slots that their owner hands to us, or that we hand to another. */
struct handover {
    bool on;
    struct node_id with, of; /* of: given by us, or by whom we have replaced since */
    uint64_t epoch;          /* of our claim */
    bool elected;            /* that is one in which we were elected, and none after it is kept for us */
    uint8_t slots[SLOT_BYTES];
};

struct nodesconf {
    struct slotmap *map; /* borrowed */
    struct node *self;   /* in map */
    uint64_t current_epoch, vote_epoch, data_epoch;
    uint64_t offers_epoch;                         /* 0: none */
    struct handover *taking, *ready, *gift, *lost; /* borrowed; may be NULL */
    struct node_dispute votes[NODE_DISPUTES_MAX];
    unsigned nvotes;
    struct node_claim ended[NODE_ENDED_MAX];
    unsigned nended;
    struct slot_move *moves; /* reading: from the heap, the caller's; NULL if none */
    unsigned nmoves;
};

/* Read into an empty map. 0, ERR_OOM, or ERR_CORRUPT with *line the line (from 1) that does not parse; then
 * the map is empty again. A text without a node is ERR_NOTFOUND. `now_ms`: failing nodes fail since now. */
int nodesconf_read(struct str text, uint64_t now_ms, struct nodesconf *c, unsigned *line);
/* Appends. Nodes in handshake are left out. 0 or ERR_OOM. */
int nodesconf_write(const struct nodesconf *c, struct buf *out);
/* One node's line without its newline, as CLUSTER NODES shows it too (times as wall clock: ms of the
 * machine's clock plus `wall_offset_ms`). full: with names and shard id, as the file has it. */
int nodesconf_put_node(struct buf *out, const struct nodesconf *c, const struct node *n, bool full,
                       int64_t wall_offset_ms);

#endif
