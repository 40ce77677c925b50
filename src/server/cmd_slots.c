/* What a connection says about slots, and what it asks about them. */
#include "server/handlers.h"

static bool in_cluster(struct cmd_ctx *c)
{
    if (ctx_server(c)->config.cluster_enabled)
        return true;
    reply_error(c->reply, "ERR This instance has cluster support disabled");
    return false;
}

void cmd_asking(struct cmd_ctx *c)
{
    if (!in_cluster(c))
        return;
    c->session->asking = true;
    reply_ok(c->reply);
}

void cmd_readonly(struct cmd_ctx *c)
{
    if (!in_cluster(c))
        return;
    c->session->readonly = true;
    reply_ok(c->reply);
}

void cmd_readwrite(struct cmd_ctx *c)
{
    if (!in_cluster(c))
        return;
    c->session->readonly = false;
    reply_ok(c->reply);
}

/* ---- CLUSTER, as far as it concerns keys and this node's name -------------------------------- */

void cmd_cluster_myid(struct cmd_ctx *c)
{
    const struct cluster_view *v = server_view(ctx_server(c));
    if (in_cluster(c))
        reply_bulk(c->reply, (struct str){v->nodes[v->me].id, VIEW_ID});
}

void cmd_cluster_myshardid(struct cmd_ctx *c)
{
    const struct cluster_view *v = server_view(ctx_server(c));
    if (in_cluster(c))
        reply_bulk(c->reply, (struct str){v->nodes[v->me].shard, VIEW_ID});
}

void cmd_cluster_keyslot(struct cmd_ctx *c)
{
    if (in_cluster(c))
        reply_int(c->reply, slot_of(c->argv[2]));
}

bool cluster_arg_slot(struct cmd_ctx *c, uint32_t i, uint32_t *slot)
{
    int64_t v;
    if (!num_parse_i64(c->argv[i], &v) || v < 0 || v >= SLOT_COUNT) {
        reply_error(c->reply, "ERR Invalid or out of range slot");
        return false;
    }
    *slot = (uint32_t)v;
    return true;
}

/* It locks by itself: a busy shard is met again later. */
static bool met_busy(struct cmd_ctx *c, int rc, uint32_t slot)
{
    c->again = rc == ERR_AGAIN;
    c->busy_shard = slot / STORE_SLOTS_PER_SHARD;
    return c->again;
}

void cmd_cluster_countkeysinslot(struct cmd_ctx *c)
{
    int64_t slot;
    uint32_t n;
    if (!in_cluster(c) || !cmd_arg_i64(c, 2, &slot))
        return;
    if (slot < 0 || slot >= SLOT_COUNT) {
        reply_error(c->reply, "ERR Invalid slot");
        return;
    }
    if (!met_busy(c, store_slot_keys(&c->a, (uint32_t)slot, &n), (uint32_t)slot))
        reply_int(c->reply, n);
}

struct list {
    struct reply *reply;
    uint64_t n;
    int64_t max;
};

static bool list_key(void *arg, const struct entry *e)
{
    struct list *l = arg;
    reply_bulk(l->reply, entry_key(e));
    return (int64_t)++l->n < l->max;
}

void cmd_cluster_getkeysinslot(struct cmd_ctx *c)
{
    int64_t slot;
    struct list l = {.reply = c->reply};
    if (!in_cluster(c) || !cmd_arg_i64(c, 2, &slot) || !cmd_arg_i64(c, 3, &l.max))
        return;
    if (slot < 0 || slot >= SLOT_COUNT || l.max < 0) {
        reply_error(c->reply, "ERR Invalid slot or number of keys");
        return;
    }
    size_t list = reply_deferred(c->reply);
    int rc = l.max > 0 ? store_slot_visit(&c->a, (uint32_t)slot, list_key, &l) : 0;
    reply_deferred_end(c->reply, list, '*', l.n);
    met_busy(c, rc, (uint32_t)slot);
}

void cmd_cluster_help(struct cmd_ctx *c)
{
    static const char *const lines[] = {
        "ADDSLOTS <slot> [<slot> ...]",
        "    Give slots to this node.",
        "ADDSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
        "    Give ranges of slots to this node.",
        "BUMPEPOCH",
        "    Give this node an epoch that no other has.",
        "CANCELSLOTMIGRATIONS",
        "    End all moves of slots from here to other nodes.",
        "COUNT-FAILURE-REPORTS <node-id>",
        "    Count the nodes that cannot reach a node.",
        "COUNTKEYSINSLOT <slot>",
        "    Count the keys in a slot.",
        "DELSLOTS <slot> [<slot> ...]",
        "    Take slots from their owners, in the eyes of this node.",
        "DELSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
        "    The same for ranges.",
        "FAILOVER [FORCE|TAKEOVER]",
        "    Let this replica take over from its primary.",
        "FORGET <node-id>",
        "    Remove a node from what this node knows.",
        "GETKEYSINSLOT <slot> <count>",
        "    List keys in a slot.",
        "GETSLOTMIGRATIONS",
        "    List moves of slots from here and to here, the newest first.",
        "FLUSHSLOTS",
        "    Take all slots from this node.",
        "INFO",
        "    Describe the state of the cluster.",
        "KEYSLOT <key>",
        "    The slot of a key.",
        "MEET <ip> <port> [<bus-port>]",
        "    Make this node and another one cluster.",
        "MIGRATESLOTS SLOTSRANGE <start slot> <end slot> [...] NODE <node-id> [SLOTSRANGE ... NODE ...]",
        "    Hand slots with their keys to other nodes, each at one moment.",
        "MYID",
        "    The id of this node.",
        "MYSHARDID",
        "    The id of this node's shard.",
        "NODES",
        "    List the nodes, a line for each:",
        "    <id> <ip:port@bus-port> <flags> <primary> <ping> <pong> <epoch> <link> <slot> ...",
        "REPLICATE <node-id>",
        "    Make this node a replica of another.",
        "RESET [HARD|SOFT]",
        "    Make this node forget the cluster (default: soft).",
        "SET-CONFIG-EPOCH <epoch>",
        "    Give a fresh node its epoch.",
        "SETSLOT <slot> (IMPORTING <node-id>|MIGRATING <node-id>|STABLE|NODE <node-id>)",
        "    Say whose a slot is, or that it is moving.",
        "REPLICAS <node-id>",
        "    List the replicas of a primary.",
        "SAVECONFIG",
        "    Write what this node knows of the cluster to its file.",
        "SLOT-STATS (SLOTSRANGE <start slot> <end slot>|ORDERBY <metric> [LIMIT <n>] [ASC|DESC])",
        "    Figures of the slots of this shard: KEY-COUNT, and with cluster-slot-stats-enabled CPU-USEC,",
        "    NETWORK-BYTES-IN, NETWORK-BYTES-OUT.",
        "SLOTS",
        "    List ranges of slots and the nodes that serve them.",
        "SHARDS",
        "    List the shards: slots and nodes.",
        "LINKS",
        "    List the links to other nodes.",
    };
    cmd_reply_help(c, lines, ARRAY_LEN(lines));
}
