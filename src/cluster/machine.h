/* One node's part in a cluster: step(event, now, rng) -> actions. Gossip, failure detection, election,
 * epochs, ownership. No socket, no clock, no disk: the server and the simulator run the same object file.
 *
 * Owned by one thread. After each step the owner carries out the actions in their order; what they point at
 * is valid until the next step. Time is CLOCK_BOOTTIME in ms (it goes on while the machine sleeps) and never
 * falls.
 *
 * Durability: ACT_PERSIST carries the text of nodes.conf. The owner writes and fsyncs it, on a thread of its
 * own if it likes, and answers EV_PERSISTED with the same number; only then the machine does what depends on
 * it (sends a vote, asks for votes, announces that it is primary). Newer texts replace older ones that are
 * not yet written. A write that fails is retried by the owner, not answered.
 *
 * Links: the machine opens one to every node (ACT_OPEN, numbers from 1); each peer opens one to us, and the
 * owner gives it a number with LINK_INBOUND set. Sends on a link that is not up are dropped by the owner. A
 * link that ended is told by EV_LINK_DOWN, also if the machine closed it or it never came up; its number is
 * not used again soon.
 *
 * Writes: serve them only while machine_may_write() says so, asked just before the reply is sent. */
#ifndef LARDER_CLUSTER_MACHINE_H
#define LARDER_CLUSTER_MACHINE_H

#include "base/buf.h"
#include "base/rng.h"
#include "cluster/frame.h"
#include "cluster/nodesconf.h"
#include "cluster/slotmap.h"

enum machine_limits {
    MACHINE_TICK_MS = 100,       /* EV_TICK at least so often; at short timeouts machine_tick_ms() */
    LINK_INBOUND = 1 << 30,      /* links that the owner numbered */
    MACHINE_ACTIONS_MAX = 65536, /* a step; sends beyond it are dropped, as the network may */
    MACHINE_MF_TIMEOUT_MS = 5000,
    MACHINE_FORGET_MS = 60000,
    MACHINE_ERROR_MAX = 160,
};

enum machine_event_kind {
    EV_TICK,
    EV_LINK_UP,   /* link: ACT_OPEN succeeded */
    EV_LINK_DOWN, /* link */
    EV_FRAME, /* link, bytes: one whole frame (frame_length() cuts the stream); ip and local_ip of its socket
               */
    EV_DATA,  /* data: what replication says; at least each 100 ms while it changes */
    EV_PERSISTED, /* seq */
    EV_COMMAND,   /* command: the result is step's; the text for the client in machine.error */
    EV_PUBLISH,   /* channel, message, sharded: tell the cluster */
};

/* Of our own data. */
struct machine_data {
    uint64_t offset;    /* of the replication stream; primary: produced, replica: applied */
    uint64_t replid;    /* a hash of the replication id; 0: none */
    uint64_t silent_ms; /* replica: since the primary was last heard on the replication link */
    bool link_up;       /* replica: the stream flows, the first copy is complete */
    bool empty;         /* no key at all */
    uint64_t epoch; /* first after a restart: the data epoch that was recorded with the data loaded; else 0 */
    bool paused;    /* primary: ACT_PAUSE is in force, offset is final */
};

enum machine_command_kind {
    CMD_MEET,      /* ip, port, cport (0: port + 10000) */
    CMD_FORGET,    /* id */
    CMD_REPLICATE, /* id */
    CMD_FAILOVER,  /* how */
    CMD_RESET,     /* hard; new_id: 40 random hex digits, for hard */
    CMD_ADDSLOTS,  /* slots */
    CMD_DELSLOTS,  /* slots */
    CMD_FLUSHSLOTS,
    CMD_SETSLOT, /* slot, how, id */
    CMD_BUMPEPOCH,
    CMD_SET_CONFIG_EPOCH, /* epoch */
    CMD_SAVECONFIG,
    CMD_OFFER, /* slots, all ours, to id: machine.offer.epoch is an epoch afterwards in which it takes them */
    CMD_READY, /* slots of node id, epoch: we are about to be told to take them; machine_is_ready() */
    CMD_TAKE,  /* the same, once we are ready: they are ours from when machine_takes() does not say so any
                  more */
    CMD_RECLAIM,  /* slots, all ours still: whoever would take them does not get them */
    CMD_HANDOVER, /* we are about to end: the best replica shall take over, until machine_handed_over() */
};

enum failover_how { FAILOVER_PLAIN, FAILOVER_FORCE, FAILOVER_TAKEOVER };
enum setslot_how { SETSLOT_MIGRATING, SETSLOT_IMPORTING, SETSLOT_STABLE, SETSLOT_NODE };

struct machine_command {
    enum machine_command_kind kind;
    struct node_id id, new_id;
    struct str ip;
    uint16_t port, cport;
    unsigned how, slot;
    uint64_t epoch;
    uint64_t keys; /* SETSLOT NODE: how many keys we hold in the slot */
    bool hard;
    const uint8_t *slots; /* SLOT_BYTES */
};

struct machine_event {
    enum machine_event_kind kind;
    uint32_t link;
    struct str bytes, ip, local_ip, channel, message;
    bool sharded;
    uint64_t seq;
    struct machine_data data;
    const struct machine_command *command;
};

enum machine_action_kind {
    ACT_OPEN,    /* link, node (ip, cport) */
    ACT_CLOSE,   /* link */
    ACT_SEND,    /* link, bytes */
    ACT_PERSIST, /* seq, bytes: the text of nodes.conf */
    ACT_PROMOTE, /* we are a primary now: stop following, a new replication id */
    ACT_FOLLOW,  /* node: replicate from it (ip, port); what it does not have is lost */
    ACT_DROP,    /* slots: they are another's now; delete what we hold of them */
    ACT_PAUSE,   /* until_ms: refuse writes for a manual failover; answer with EV_DATA.paused */
    ACT_RESUME,
    ACT_PUBLISH, /* channel, message, sharded: a peer's; tell our subscribers */
    ACT_STATE,   /* the cluster became ok or down: machine.ok */
    ACT_FLUSH,   /* delete everything: it is of a shard that we have left */
    ACT_VIEW,    /* slots, nodes, flags, addresses or disputes changed: publish a new view to readers */
};

struct machine_action {
    enum machine_action_kind kind;
    uint32_t link;
    const struct node *node;
    size_t at, n; /* machine.out[at..at+n]: bytes of SEND and PERSIST, the bitmap of DROP */
    uint64_t seq, until_ms;
    struct str channel, message;
    bool sharded;
};

struct machine_config {
    uint64_t node_timeout_ms;
    bool full_coverage;     /* cluster-require-full-coverage */
    bool no_failover;       /* cluster-replica-no-failover */
    bool replica_migration; /* cluster-allow-replica-migration */
    unsigned migration_barrier, validity_factor;
    char ip[NODE_IP_MAX]; /* announced; empty: peers see it */
    char host[NODE_HOST_MAX], name[NODE_HOST_MAX];
    uint16_t port, cport, tls_port;
};

enum manual_state { MANUAL_NONE, MANUAL_ASKED, MANUAL_WAITING, MANUAL_READY, MANUAL_PAUSED };

struct machine {
    struct machine_config config; /* the owner may change it between steps */
    struct slotmap map;
    struct node *self;
    struct slot_move *moves; /* SETSLOT MIGRATING and IMPORTING, by no order */
    unsigned nmoves;
    uint64_t current_epoch, vote_epoch, data_epoch;
    bool ok; /* cluster_state */
    uint64_t stats_sent[FRAME_TYPES], stats_received[FRAME_TYPES], stats_refused;

    /* Private from here. */
    struct machine_data data;
    uint64_t now_ms, boot_ms, tick_ms, rejoin_ms, random_ping_ms;
    uint32_t next_link, next_seq;
    struct rng *rng;
    struct str peer_ip; /* of the frame in hand */
    bool dirty, view, restored, asked_data;
    uint64_t yield_ms; /* when we last asked to be replaced */
    bool mute;         /* a restarted primary that has not yet heard whether its replicas have more */
    uint64_t persist_seq, persisted_seq;
    struct node_dispute votes[NODE_DISPUTES_MAX]; /* of ours, and those whose voters elected us */
    unsigned nvotes;
    /* A vote waits for its fsync. */
    struct node_id vote_for;
    uint64_t vote_seq;
    /* An election of ours. */
    uint64_t elected_ms;    /* when we won the last one */
    uint64_t elected_epoch; /* in which we last won another's place; 0: before a restart, if ever */
    uint64_t voter_ms;      /* when an order last gave us our first slots */
    uint64_t election_epoch, election_ms, election_at_ms, election_sent_ms, election_asked_ms, election_seq,
        announce_seq, announced_seq; /* asked: the first of our requests for this epoch, sent: the last */
    uint64_t rival_epoch;            /* the newest in which another has asked */
    unsigned election_rank;
    bool election_asked, election_sent;
    /* A manual failover of ours (replica) or of one of our replicas (primary). */
    enum manual_state manual;
    bool manual_force;
    bool manual_offers; /* primary: nobody has asked us, we ask */
    uint64_t manual_end_ms, manual_offset;
    struct node_id manual_replica;
    struct forgotten {
        struct node_id id;
        uint64_t until_ms;
    } forgotten[64];
    uint8_t disowned[SLOT_BYTES]; /* slots that their owner, as we see it, does not claim itself */
    bool some_disowned;
    uint64_t disowned_ms; /* when the last of them came to be so */
    uint8_t lost[SLOT_BYTES];
    unsigned nlost;
    struct offer {            /* our last CMD_OFFER */
        uint64_t epoch;       /* 0: none */
        uint64_t seq;         /* of the PERSIST with it, since a majority knows of it; 0: it does not */
        bool recall;          /* from before a restart: to be called back before we serve */
        struct handover gift; /* on: it has claimed them; whether it serves them we do not know */
        uint64_t over_ms;     /* when we were told that it will not serve them; 0: we were not */
        uint64_t given_seq;   /* of the PERSIST without them */
    } offer;
    struct node_id successor;  /* has our last slots; none: nobody that we are still to follow */
    struct node_id heir;       /* who took slots of ours last */
    struct handover ready;     /* the last CMD_READY; on: it may be taken yet */
    uint64_t ready_seq;        /* of the PERSIST with it */
    struct handover taking;    /* of a replica, not on: what its primary takes */
    struct node_id taken_from; /* what was taken last */
    uint64_t taken_seq;        /* of the PERSIST that says that it is ours */
    struct node_claim ended[NODE_ENDED_MAX]; /* of ours and of those whom we replaced, the oldest first */
    unsigned nended;
    struct handover lost_claim; /* our last that ended so; on: some of its slots have had no owner since */
    uint64_t whole_ms;          /* since when all nodes are here, and as many slots have owners */
    unsigned whole_but;         /* so many */
    bool replaces;              /* with the taking we are a voter, and somebody is none any more */
    struct machine_census {     /* of the nodes, as of the last view (failure_state()) */
        bool taken;
        unsigned voters, reachable, failed; /* failed: owners of slots */
    } census;
    uint8_t claims[SLOT_BYTES]; /* of the frame at hand, with what is being taken */

    /* What the last step wants. */
    struct machine_action *actions;
    unsigned nactions, actions_cap;
    struct buf out;
    char error[MACHINE_ERROR_MAX]; /* of the last command that failed, as Redis says it, without "ERR " */
};

/* A new node with this id and no cluster. Borrows rng. 0 or ERR_OOM. */
int machine_init(struct machine *m, const struct machine_config *c, const struct node_id *id, struct rng *rng,
                 uint64_t now_ms);
/* From the text of nodes.conf: 0, or what nodesconf_read() says. Machine is empty on error (no release
 * needed). A restarted node waits: one node timeout before it votes, and until it has heard of the cluster
 * before it serves. */
int machine_restore(struct machine *m, const struct machine_config *c, struct str text, struct rng *rng,
                    uint64_t now_ms, unsigned *line);
void machine_release(struct machine *m);

/* One event. Returns 0, or the error of a command (ERR_RANGE, ERR_NOTFOUND, ERR_EXISTS, ERR_AGAIN; ERR_OOM)
 * with m->error set. ERR_PROTO: close this link, its peer is broken. Actions stand in m->actions either way.
 */
int machine_step(struct machine *m, const struct machine_event *e, uint64_t now_ms);

/* Does anything wait for EV_PERSISTED, a vote, say? If not, the newest text may be written without fsync. */
bool machine_awaits_disk(const struct machine *m);
/* After CMD_HANDOVER: another has our slots, and the others have been told that we follow it. */
bool machine_handed_over(const struct machine *m);
/* How often EV_TICK should come. */
unsigned machine_tick_ms(const struct machine *m);
/* May a replica that has got as far as `offset` be given a full copy of our data? Ask before each: a
 * restarted primary refuses until it knows that no replica has more than it, and an empty one never takes the
 * place of data. */
bool machine_may_feed(const struct machine *m, uint64_t offset);
/* May a write be acknowledged now? Also false while it is paused. */
bool machine_may_write(const struct machine *m, uint64_t now_ms);
/* Its role or epoch is new, and not known to be on the disk: it says nothing. */
bool machine_held(const struct machine *m);
/* It has got its first slots just now, and is about to be promised that it may write: whoever has ordered
 * that is best answered then. False when that lasts, too. */
bool machine_awaits_promises(const struct machine *m);
/* Until when, if nothing is heard: for those who must ask without the machine's thread. 0: not at all. */
uint64_t machine_write_until_ms(const struct machine *m);
/* Until when nobody can be elected in the place of this primary: what it has executed it may acknowledge till
 * then. 0: not at all; UINT64_MAX: there is no such limit (a mixed cluster, no slots, a replica). It falls
 * only in a step with a PERSIST, VIEW, PAUSE or RESUME, or when `mute` changes; it rises in any. Takes a walk
 * over all nodes, several times. */
uint64_t machine_lease_until_ms(const struct machine *m);
/* Where a slot is going or coming from, NULL if it stays. */
const struct slot_move *machine_move(const struct machine *m, unsigned slot);
/* After CMD_OFFER: may the slots be taken now? A majority knows of the offered epoch, so that nobody is
 * elected in it any more, and we may write. */
bool machine_offer_stands(const struct machine *m, uint64_t now_ms);
/* Has somebody the offered epoch, or a later one that was not offered with it, or will for all that we know?
 * Then whoever is told to take slots in it refuses. */
bool machine_epoch_is_taken(const struct machine *m, uint64_t epoch);
/* What was taken is ours, and the file does not say so yet: it is served all the same. Whoever puts views
 * into force need not wait for the PERSIST of this step. */
bool machine_serves_unsaved(const struct machine *m);
/* After CMD_READY: it is on the disk. */
bool machine_is_ready(const struct machine *m);
/* Is the slot claimed, and not ours yet? */
bool machine_takes(const struct machine *m, unsigned slot);
void machine_add_takings(const struct machine *m, uint8_t *slots); /* all of those */
/* The text of nodes.conf, and the lines of CLUSTER NODES. 0 or ERR_OOM. */
int machine_save(const struct machine *m, struct buf *out);
int machine_nodes(const struct machine *m, struct buf *out, int64_t wall_offset_ms);
/* Votes needed: the majority of primaries with slots. */
unsigned machine_quorum(const struct machine *m);
unsigned machine_failure_reports(struct machine *m, const struct node *n);

#endif
