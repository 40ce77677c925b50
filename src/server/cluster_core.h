/* Inside the cluster's thread: the machine, its bus and its file, and the orders that commands give.
 *
 * Everything here is the thread's own. What happens is told to the machine; what it wants done is done in the
 * order it says: to the file first, then to this node's role and view, then to the bus. */
#ifndef LARDER_SERVER_CLUSTER_CORE_H
#define LARDER_SERVER_CLUSTER_CORE_H

#include "base/buf.h"
#include "cmd/cmd.h"
#include "gossip/gossip.h"
#include "server/bus_wire.h"
#include "server/cluster.h"

enum cluster_core_limits {
    CLUSTER_PORT_STEP = 10000, /* from the clients' port to the bus's */
    CLUSTER_CRON_MS = 100,
};

enum cluster_order_kind {
    ORDER_MEET,
    ORDER_FORGET,
    ORDER_REPLICATE,
    ORDER_ADD_SLOTS,
    ORDER_DEL_SLOTS,
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

struct cluster_core {
    struct server *server;
    struct gossip gossip;
    struct bus_wire *wire;
    struct loop *loop;
    char path[VIEW_HOST_MAX];       /* of nodes.conf, in `dir` */
    char source[VIEW_IP_MAX];       /* bind-source-addr */
    int endpoint_type;              /* enum endpoint_type */
    bool unsaved;                   /* the file could not be written: nothing is said meanwhile */
    int64_t tick_ms;                /* the next one */
    struct cluster_view *next_view; /* on its way into force, then the old one */
    uint32_t drop_at;               /* slot */
    uint64_t dropped;
    _Atomic bool options_changed; /* set under the gate */
};

/* Reads the file, or makes a new node of it. Whatever is returned, free *out. */
int cluster_core_new(struct cluster_core **out, struct server *s);
void cluster_core_free(struct cluster_core *core); /* NULL is fine */
int cluster_core_begin(struct cluster_core *core); /* before threads run: role and view */
void cluster_core_event(struct cluster_core *core, const struct loop_event *ev);
/* The end of a round: what is due, then everything that the gossip wants done. */
void cluster_core_tick(struct cluster_core *core);
int cluster_core_timeout(const struct cluster_core *core);
/* As fresh as it gets; returned owned, NULL: out of memory. */
struct cluster_view *cluster_core_view(struct cluster_core *core);

/* Carried out when it returns: in the file, in force. NULL, or why not, as a reply. */
const char *cluster_core_order(struct cluster_core *core, const struct cluster_order *o);

uint32_t cluster_core_failure_reports(struct cluster_core *core, const char *id);
uint64_t cluster_core_my_epoch(const struct cluster_core *core);
void cluster_core_put_info(const struct cluster_core *core, const struct cluster_view *v, struct buf *b);
void cluster_core_reply_links(const struct cluster_core *core, struct reply *r);
/* Has this node any keys at all, any in the slot? */
bool cluster_core_has_keys(struct cluster_core *core);
bool cluster_core_slot_has_keys(struct cluster_core *core, uint32_t slot);

/* cmd_cluster.c: run c's command with the machine at hand; v is as fresh as it gets. */
void cluster_execute(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v);

/* An address as the bus writes it, "::1" for "0:0:0:0:0:0:0:1"; false for what is none. */
bool cluster_normal_ip(struct str text, char out[VIEW_IP_MAX]);

#endif
