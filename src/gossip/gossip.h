/* One node's knowledge of its cluster, and what it does about it: Redis Cluster's rules, without I/O.
 *
 * The owner tells it what happens: gossip_frame() for what came on a link, gossip_opened() and
 * gossip_closed() for links, gossip_tick() ten times a second, and the orders of an operator. It answers
 * through `struct gossip_io`: send this, connect there, close that; and through `todo`, what must be done
 * before the owner lets anything of it be seen: write the file, take another role, make a new map of slots,
 * drop keys of slots that are lost.
 *
 * Frames are handed to io->send() at once, so whoever implements it holds them back until `todo` is done: a
 * vote is in the file before it is sent.
 *
 * Time is given: wall-clock milliseconds, as in the frames. Randomness comes from a seed. One thread.
 *
 * Guarantees are Redis's: a primary is replaced by a majority of primaries with slots; a node that owns a
 * slot by the higher configuration epoch has it; a primary in a minority stops after the node timeout. */
#ifndef LARDER_GOSSIP_GOSSIP_H
#define LARDER_GOSSIP_GOSSIP_H

#include "base/rng.h"
#include "base/str.h"
#include "gossip/packet.h"

enum gossip_limits {
    GOSSIP_NODES_MAX = 2000,
    GOSSIP_FORGET_MS = 60 * 1000,
    GOSSIP_HANDOVER_MS = 5000, /* a failover by hand takes no longer, or is given up */
};

enum node_flags { /* as in the frames */
                  NODE_PRIMARY = 1,
                  NODE_REPLICA = 2,
                  NODE_PFAIL = 4,
                  NODE_FAIL = 8,
                  NODE_MYSELF = 16,
                  NODE_HANDSHAKE = 32,
                  NODE_NOADDR = 64,
                  NODE_MEET = 128,
                  NODE_MIGRATE_TO = 256, /* has had replicas: may be given some */
                  NODE_NOFAILOVER = 512,
};

struct report {
    struct report *next;
    struct node *by;
    int64_t at_ms;
};

struct node {
    struct node *next;
    char id[PACKET_ID + 1];
    char ip[PACKET_IP];
    char hostname[PACKET_HOSTNAME];
    uint16_t port, cport;
    uint32_t flags;
    bool extends; /* reads extensions */
    uint64_t config_epoch, offset;
    int64_t offset_ms;
    uint8_t slots[PACKET_SLOTS / 8];
    uint32_t nslots;
    struct node *primary; /* of a replica; NULL: not known */
    int64_t born_ms, ping_ms, pong_ms, heard_ms, fail_ms, voted_ms, orphaned_ms;
    uint64_t link; /* ours to it; 0: none */
    bool link_up;
    int64_t link_ms;
    uint64_t inbound; /* its link to us, as far as we know */
    uint16_t number;  /* the owner's: scratch */
    struct report *reports;
};

struct gossip_io {
    void *ctx;
    void (*send)(void *ctx, uint64_t link, const void *p, size_t n);
    uint64_t (*open)(void *ctx, const char *ip, int port); /* 0: not even begun */
    void (*close)(void *ctx, uint64_t link);
    bool (*local_ip)(void *ctx, uint64_t link, char out[PACKET_IP]);
    bool (*peer_ip)(void *ctx, uint64_t link, char out[PACKET_IP]);
};

/* What the owner must do, and then clear. */
struct gossip_todo {
    bool save;  /* the file */
    bool sync;  /* ... and fsync: a promise that must outlive a crash of the machine */
    bool view;  /* who owns what has changed, or whether we serve */
    bool role;  /* myself->flags, myself->primary */
    bool drop;  /* `lost` has slots whose keys are not ours any more */
    bool pause; /* a replica is about to take over: hold writes until `pause_until_ms`, 0 = let them go */
    int64_t pause_until_ms;
    uint8_t lost[PACKET_SLOTS / 8];
};

struct gossip_options {
    int64_t timeout_ms; /* cluster-node-timeout */
    int64_t validity_factor, migration_barrier;
    int64_t ping_period_ms; /* of replication */
    bool full_coverage, no_failover, may_migrate;
    char announce_ip[PACKET_IP];
    char hostname[PACKET_HOSTNAME];
    uint16_t port, cport;
};

/* What this node is as a store, told before each event. */
struct gossip_self {
    uint64_t offset;       /* of replication */
    bool link_up;          /* a replica's to its primary */
    int64_t link_down_ms;  /* when it went down */
    int64_t link_heard_ms; /* when it last said anything */
};

struct gossip_stats {
    uint64_t sent[PACKET_TYPES], received[PACKET_TYPES];
};

struct forgotten {
    struct forgotten *next;
    char id[PACKET_ID + 1];
    int64_t until_ms;
};

struct gossip {
    struct gossip_io io;
    struct gossip_options opt;
    struct gossip_self self;
    struct gossip_todo todo;
    struct gossip_stats stats;
    struct rng rng;
    int64_t now_ms, born_ms;
    struct node *myself, *nodes;
    uint32_t nnodes;
    uint64_t current_epoch, voted_epoch;
    struct node *owner[PACKET_SLOTS], *to[PACKET_SLOTS], *from[PACKET_SLOTS];
    uint32_t size; /* primaries with slots */
    bool up;
    int64_t minority_ms,
        served_since_ms; /* since when out of a majority; when we first saw ourselves as a primary */
    uint32_t ticks;
    struct forgotten *forgotten;
    /* An election that we stand in. */
    int64_t election_ms;
    uint64_t election_epoch;
    uint32_t votes, rank;
    bool election_sent;
    /* A failover by hand. */
    int64_t handover_ms; /* it is over then; 0: none */
    bool handover_ready;
    bool handover_has_offset;
    uint64_t handover_offset;
    struct node *handover_to; /* on the primary */
    struct packet packet, in; /* scratch, large: what is sent, what has come */
    struct buf out;
};

int gossip_init(struct gossip *g, const struct gossip_io *io, const struct gossip_options *opt, uint64_t seed,
                int64_t now_ms);
void gossip_release(struct gossip *g);

/* A fresh node with this id, a primary without slots. ERR_OOM. */
int gossip_be_new(struct gossip *g, const char *id);
/* nodes.conf. ERR_SYNTAX with *line; ERR_OOM. */
int gossip_load(struct gossip *g, struct str text, uint32_t *line);
void gossip_put_conf(const struct gossip *g, struct buf *b);

/* ---- what happens ---- */

/* ERR_PROTO: the link should be closed. */
int gossip_frame(struct gossip *g, uint64_t link, const uint8_t *p, size_t n);
void gossip_opened(struct gossip *g, uint64_t link);
void gossip_closed(struct gossip *g, uint64_t link);
void gossip_tick(struct gossip *g);

/* ---- orders: the caller has checked that they make sense ---- */

struct node *gossip_find(const struct gossip *g, const char *id);
int gossip_meet(struct gossip *g, const char *ip, uint16_t port, uint16_t cport, const char *random_id);
void gossip_forget(struct gossip *g, struct node *n);
void gossip_replicate(struct gossip *g, struct node *primary);
void gossip_add_slot(struct gossip *g, uint32_t slot);
void gossip_del_slot(struct gossip *g, uint32_t slot);
void gossip_set_migrating(struct gossip *g, uint32_t slot, struct node *to);
void gossip_set_importing(struct gossip *g, uint32_t slot, struct node *from);
void gossip_set_stable(struct gossip *g, uint32_t slot);
void gossip_set_owner(struct gossip *g, uint32_t slot, struct node *n);
void gossip_failover(struct gossip *g, bool force);
void gossip_takeover(struct gossip *g);
/* hard: with this new id, and epochs from zero. */
void gossip_reset(struct gossip *g, const char *hard_id);
bool gossip_bump_epoch(struct gossip *g);
void gossip_set_epoch(struct gossip *g, uint64_t epoch);

uint32_t gossip_count_reports(struct gossip *g, struct node *n);
/* Work out whether we serve, after options or slots have changed. */
void gossip_judge(struct gossip *g);

#endif
