/* Inside the cluster's thread: the machine (cluster/machine.h), its bus and its file, and the orders that
 * commands give.
 *
 * Everything here is the thread's own. What happens is told to the machine; what it wants done is done at the
 * end of the round: to the file first, then to this node's role and view, then to the bus. */
#ifndef LARDER_SERVER_CLUSTER_CORE_H
#define LARDER_SERVER_CLUSTER_CORE_H

#include "base/buf.h"
#include "base/rng.h"
#include "cluster/machine.h"
#include "cmd/cmd.h"
#include "server/bus_wire.h"
#include "server/cluster.h"
#include "server/cluster_disk.h"
#include "server/moves.h"

enum cluster_core_limits {
    CLUSTER_PORT_STEP = 10000, /* from the clients' port to the bus's */
};

enum cluster_order_kind {
    ORDER_MEET,
    ORDER_FORGET,
    ORDER_REPLICATE,
    ORDER_ADD_SLOTS,
    ORDER_DEL_SLOTS,
    ORDER_FLUSH_SLOTS,
    ORDER_MIGRATING,
    ORDER_IMPORTING,
    ORDER_STABLE,
    ORDER_SLOT_NODE,
    ORDER_FAILOVER,
    ORDER_FAILOVER_FORCE,
    ORDER_FAILOVER_TAKEOVER,
    ORDER_RESET_SOFT,
    ORDER_RESET_HARD,
    ORDER_BUMP_EPOCH,
    ORDER_SET_EPOCH,
    ORDER_SAVE,
};

struct cluster_order {
    enum cluster_order_kind kind;
    bool slots[SLOT_COUNT]; /* ADD, DEL */
    uint32_t slot;
    char id[VIEW_ID + 1]; /* of a node */
    char ip[VIEW_IP_MAX];
    uint16_t port, cport;
    uint64_t epoch;
};

/* What the machine wants done before the bus says anything more. */
struct cluster_todo {
    bool save;  /* the newest text: at once if the machine waits for it, else with the next tick */
    bool put;   /* ... into nodes.conf, now */
    bool sync;  /* ... and fsync, though the machine does not wait for it */
    bool role;  /* as the machine's own node says */
    bool flush; /* with `role`: what there is does not belong here */
    bool view;  /* who owns what has changed, or whether we serve */
    bool pause; /* writes, until then; 0: go on */
    int64_t pause_until_ms;
};

/* Slots that are being emptied (cluster_drop.c). */
struct dropping {
    uint8_t slots[SLOT_BYTES];
    bool out; /* the lane has the rest: a slice */
    struct lane_job job;
    uint8_t part[SLOT_BYTES], emptied[SLOT_BYTES];
    uint64_t keys;                 /* so far */
    uint8_t kept[SLOT_BYTES];      /* hidden, but whole: given away, and not served there yet */
    uint8_t ownerless[SLOT_BYTES]; /* their keys stay until another has the slots */
};

struct cluster_core {
    struct server *server;
    struct machine machine;
    struct machine_config config; /* the machine's next one */
    struct rng rng;               /* the machine borrows it */
    uint64_t now_ms;              /* CLOCK_BOOTTIME, never falling */
    int64_t wall_offset_ms;       /* from it to the wall clock */
    uint64_t tick_ms;             /* the next one */
    struct bus_wire *wire;
    struct loop *loop;
    struct cluster_todo todo;
    struct buf ended;               /* links (uint32_t) whose end the machine has not been told of */
    struct cluster_disk disk;       /* nodes.conf, in `dir` */
    bool writes;                    /* the disk has a text ... */
    struct cluster_todo written;    /* ... for these */
    struct buf text;                /* the newest text; oom: make it anew */
    uint64_t file_seq;              /* of `text` */
    uint64_t saved_seq, told_seq;   /* of the last that is on disk, and that the machine knows to be so */
    bool behind;                    /* nodes.conf is: the journal is newer, or nothing has it yet */
    bool unsaved;                   /* the file could not be written: nothing is said meanwhile */
    bool paused;                    /* ACT_PAUSE is in force */
    bool was_mute;                  /* in the newest view */
    bool loads;                     /* a snapshot, or has, and its keys were not looked at yet */
    char source[NODE_IP_MAX];       /* bind-source-addr */
    int endpoint_type;              /* enum endpoint_type */
    char followed[NODE_IP_MAX];     /* the primary that replication follows ... */
    uint16_t followed_port;         /* ... 0: none */
    struct cluster_view *next_view; /* on its way into force, then the old one */
    struct cluster_view *old_views; /* the newest first */
    uint8_t lost[SLOT_BYTES];       /* since the last view */
    struct dropping dropping;
    char why[MACHINE_ERROR_MAX + 8]; /* an order was refused */
    _Atomic bool options_changed;    /* set under the gate */
    struct moving moving;            /* slots on their way by CLUSTER MIGRATESLOTS */
};

/* Reads the file, or makes a new node of it. Whatever is returned, free *out. */
int cluster_core_new(struct cluster_core **out, struct server *s);
void cluster_core_free(struct cluster_core *core); /* NULL is fine */
int cluster_core_begin(struct cluster_core *core); /* before threads run: role and view */
void cluster_core_event(struct cluster_core *core, const struct loop_event *ev);
/* What is due. */
void cluster_core_tick(struct cluster_core *core);
/* The end of a round: everything that the machine wants done, once for all that has happened in it. False:
 * the file could not be written, and nothing of it is in force. */
bool cluster_core_settle(struct cluster_core *core);
int cluster_core_timeout(const struct cluster_core *core);
/* As fresh as it gets, perhaps not in force yet; returned owned, NULL: out of memory. */
struct cluster_view *cluster_core_view(const struct cluster_core *core);

/* NULL: it will be in the file and in force when the round has been settled; till then no reply may leave.
 * Or why not, as a reply, valid until the next order. */
const char *cluster_core_order(struct cluster_core *core, const struct cluster_order *o);

/* The same for one that the machine understands as it is. */
const char *cluster_core_command(struct cluster_core *core, const struct machine_command *c);

/* False: there is nothing to hand over, or nobody who could take it. */
bool cluster_core_hand_over(struct cluster_core *core);
/* By its id as text; NULL: it is not known. */
const struct node *cluster_core_node(const struct cluster_core *core, const char *id);
uint32_t cluster_core_failure_reports(struct cluster_core *core, const char *id);
uint64_t cluster_core_my_epoch(const struct cluster_core *core);
bool cluster_core_is_up(const struct cluster_core *core);
void cluster_core_put_info(const struct cluster_core *core, struct buf *b);
void cluster_core_reply_links(const struct cluster_core *core, struct reply *r);
/* Has this node any keys at all, any in the slot? */
bool cluster_core_has_keys(struct cluster_core *core);
bool cluster_core_slot_has_keys(struct cluster_core *core, uint32_t slot);

/* cluster_force.c */
bool cluster_is_loading(const struct cluster_core *core);
void cluster_force_role(struct cluster_core *core); /* gate, or before threads run */
/* Role, view, pause. */
void cluster_force(struct cluster_core *core);
/* Frees the old views that nobody can look at any more. */
void cluster_forget_views(struct cluster_core *core);
/* Whatever was put in force is: nobody goes by an older view. */
static inline bool cluster_is_in_force(const struct cluster_core *core)
{
    return core->old_views == NULL;
}

/* cluster_save.c */
int cluster_load(
    struct cluster_core *core); /* the machine, of the newest text there is, or new; negative: logged */
/* The newest text is still to be written, and the machine waits for it. */
bool cluster_must_keep(const struct cluster_core *core);
enum cluster_saved {
    SAVE_DONE,
    SAVE_LATER, /* the disk is slow; what has changed must not be seen yet, but pings are answered */
    SAVE_FAILED /* nothing may be said: it is tried again */
};
/* What is due. */
enum cluster_saved cluster_save(struct cluster_core *core);
void cluster_save_last(struct cluster_core *core); /* the node ends */

/* cluster_drop.c: the keys of slots */
/* The slots `lost` are to be emptied, but for those that have come back since. */
void cluster_drop_lost(struct cluster_core *core);
void cluster_hide_dropped(struct cluster_core *core); /* gate */
/* Gate: a snapshot has been loaded, and the role is taken: keys of slots that are elsewhere go. */
void cluster_drop_loaded(struct cluster_core *core);
/* Gate: this node takes over from its primary; slots that were on their way there do not come. */
void cluster_drop_arrivals(struct cluster_core *core);
/* How far is the lane, and have slots that were given away come back? */
void cluster_drop_look(struct cluster_core *core);
void cluster_drop_go_on(struct cluster_core *core);
/* At once: to be passed over by whoever lists or counts keys, or not any more. */
void cluster_veil(struct cluster_core *core, const uint8_t *slots, bool on);
/* At once. */
void cluster_clear_slots(struct cluster_core *core, const uint8_t *slots);

/* cmd_cluster.c: run c's command with the machine at hand. */
void cluster_execute(struct cmd_ctx *c, struct cluster_core *core);

#endif
