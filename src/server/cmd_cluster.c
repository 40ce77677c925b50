/* CLUSTER: what operators, redis-cli and clients ask of the cluster's thread, on that thread.
 *
 * A handler is run twice: first on the client's worker, which sends the request on (cluster_send), then with
 * the machine at hand. Questions are answered from a fresh view. For orders the view in force tells what can
 * be refused at once, with the words and in the order in which Redis does; the machine has the last word. */
#include "server/cluster_core.h"
#include "server/cluster_text.h"
#include "server/handlers.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

/* ---- arguments ----------------------------------------------------------------------------------- */

static uint32_t find_node(const struct cluster_view *v, struct str id)
{
    for (uint32_t i = 1; i < v->nnodes && id.n == VIEW_ID; i++)
        if (memcmp(v->nodes[i].id, id.p, VIEW_ID) == 0)
            return i;
    return VIEW_NOBODY;
}

static bool arg_node(struct cmd_ctx *c, const struct cluster_view *v, uint32_t i, uint32_t *node)
{
    *node = find_node(v, c->argv[i]);
    if (*node == VIEW_NOBODY)
        reply_errorf(c->reply, "ERR Unknown node %.*s", (int)c->argv[i].n, c->argv[i].p);
    return *node != VIEW_NOBODY;
}

/* ---- what is asked -------------------------------------------------------------------------------- */

static void do_nodes(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    struct buf b;
    buf_init(&b);
    cluster_put_nodes(&b, v);
    cmd_reply_text(c, &b);
}

static void do_info(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    struct buf b;
    buf_init(&b);
    cluster_core_put_info(core, &b);
    cmd_reply_text(c, &b);
}

static void do_slots(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    cluster_reply_slots(c->reply, v,
                        (enum endpoint_type)ctx_server(c)->config.cluster_preferred_endpoint_type);
}

static void do_shards(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    cluster_reply_shards(c->reply, v);
}

static void do_links(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    cluster_core_reply_links(core, c->reply);
}

static void do_replicas(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    uint32_t node;
    uint64_t n = 0;
    struct buf b;
    if (!arg_node(c, v, 2, &node))
        return;
    if (!(v->nodes[node].flags & VIEW_PRIMARY)) {
        reply_error(c->reply, "ERR The specified node is not a master");
        return;
    }
    buf_init(&b);
    size_t list = reply_deferred(c->reply);
    for (uint32_t i = 1; i < v->nnodes; i++) {
        if (v->nodes[i].primary != node)
            continue;
        buf_clear(&b);
        cluster_put_node(&b, v, i);
        reply_bulk(c->reply, buf_str(&b));
        n++;
    }
    reply_deferred_end(c->reply, list, '*', n);
    buf_release(&b);
}

static void do_count_failure_reports(struct cmd_ctx *c, struct cluster_core *core,
                                     const struct cluster_view *v)
{
    uint32_t node;
    if (arg_node(c, v, 2, &node))
        reply_int(c->reply, cluster_core_failure_reports(core, v->nodes[node].id));
}

/* ---- orders ---------------------------------------------------------------------------------------- */

/* Carry it out; OK, or why not. */
static void carry_out(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_order *o)
{
    const char *why = cluster_core_order(core, o);
    if (why != NULL)
        reply_error(c->reply, why);
    else
        reply_ok(c->reply);
}

static struct cluster_order *new_order(struct cmd_ctx *c, enum cluster_order_kind kind)
{
    struct cluster_order *o = arena_alloc(c->arena, sizeof *o);
    if (o == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return NULL;
    }
    memset(o, 0, sizeof *o);
    o->kind = kind;
    return o;
}

/* By the machine, not the view: in a transaction an order before this one may have changed it. */
static bool mark_slot(struct cmd_ctx *c, const struct cluster_core *core, struct cluster_order *o,
                      uint32_t slot)
{
    bool owned = core->machine.map.owner[slot] != NULL;
    if (o->kind == ORDER_DEL_SLOTS && !owned)
        reply_errorf(c->reply, "ERR Slot %u is already unassigned", slot);
    else if (o->kind == ORDER_ADD_SLOTS && owned)
        reply_errorf(c->reply, "ERR Slot %u is already busy", slot);
    else if (o->slots[slot])
        reply_errorf(c->reply, "ERR Slot %u specified multiple times", slot);
    else
        return o->slots[slot] = true;
    return false;
}

static void slots_listed(struct cmd_ctx *c, struct cluster_core *core, enum cluster_order_kind kind)
{
    struct cluster_order *o = new_order(c, kind);
    uint32_t slot;
    if (o == NULL)
        return;
    for (uint32_t i = 2; i < c->argc; i++)
        if (!cluster_arg_slot(c, i, &slot))
            return;
    for (uint32_t i = 2; i < c->argc; i++)
        if (!cluster_arg_slot(c, i, &slot) || !mark_slot(c, core, o, slot))
            return;
    carry_out(c, core, o);
}

static void slots_ranged(struct cmd_ctx *c, struct cluster_core *core, enum cluster_order_kind kind)
{
    struct cluster_order *o = new_order(c, kind);
    uint32_t first, last;
    if (o == NULL)
        return;
    if (c->argc % 2 == 1) {
        cmd_reply_arity(c);
        return;
    }
    for (uint32_t i = 2; i < c->argc; i += 2) {
        if (!cluster_arg_slot(c, i, &first) || !cluster_arg_slot(c, i + 1, &last))
            return;
        if (first > last) {
            reply_errorf(c->reply, "ERR start slot number %u is greater than end slot number %u", first,
                         last);
            return;
        }
        for (uint32_t slot = first; slot <= last; slot++)
            if (!mark_slot(c, core, o, slot))
                return;
    }
    carry_out(c, core, o);
}

static void do_addslots(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    slots_listed(c, core, ORDER_ADD_SLOTS);
}

static void do_delslots(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    slots_listed(c, core, ORDER_DEL_SLOTS);
}

static void do_addslotsrange(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    slots_ranged(c, core, ORDER_ADD_SLOTS);
}

static void do_delslotsrange(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    slots_ranged(c, core, ORDER_DEL_SLOTS);
}

static void do_flushslots(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    struct cluster_order *o = new_order(c, ORDER_FLUSH_SLOTS);
    if (o != NULL)
        carry_out(c, core, o);
}

static void set_slot_moving(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v,
                            struct cluster_order *o)
{
    bool leaves = o->kind == ORDER_MIGRATING;
    bool mine = core->machine.map.owner[o->slot] == core->machine.self;
    if (leaves && !mine) {
        reply_errorf(c->reply, "ERR I'm not the owner of hash slot %u", o->slot);
        return;
    }
    if (!leaves && mine) {
        reply_errorf(c->reply, "ERR I'm already the owner of hash slot %u", o->slot);
        return;
    }
    uint32_t node = find_node(v, c->argv[4]);
    if (node == VIEW_NOBODY) {
        reply_errorf(c->reply, "ERR I don't know about node %.*s", (int)c->argv[4].n, c->argv[4].p);
        return;
    }
    if (v->nodes[node].flags & VIEW_REPLICA) {
        reply_error(c->reply, "ERR Target node is not a master");
        return;
    }
    memcpy(o->id, v->nodes[node].id, sizeof o->id);
    carry_out(c, core, o);
}

static void set_slot_node(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v,
                          struct cluster_order *o)
{
    uint32_t node;
    if (!arg_node(c, v, 4, &node))
        return;
    if (v->nodes[node].flags & VIEW_REPLICA) {
        reply_error(c->reply, "ERR Target node is not a master");
        return;
    }
    memcpy(o->id, v->nodes[node].id, sizeof o->id);
    carry_out(c, core, o);
}

/* What moves by hand and whole at a time is deleted by one of them while the other brings it. */
static bool moves_whole(struct cmd_ctx *c, uint32_t slot)
{
    bool arrives;
    if (!moves_slot(&ctx_server(c)->moves, slot, &arrives))
        return false;
    reply_errorf(c->reply,
                 "ERR Slot %u %s by CLUSTER MIGRATESLOTS: wait until that is over, or end it by CLUSTER "
                 "CANCELSLOTMIGRATIONS %s",
                 slot, arrives ? "arrives" : "leaves", arrives ? "on its source" : "here");
    return true;
}

static void do_setslot(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    struct cluster_order *o = new_order(c, ORDER_STABLE);
    if (o == NULL)
        return;
    if (v->replica) {
        reply_error(c->reply, "ERR Please use SETSLOT only with masters.");
        return;
    }
    if (!cluster_arg_slot(c, 2, &o->slot))
        return;
    if (!cmd_arg_is(c, 3, STR("STABLE")) && moves_whole(c, o->slot))
        return;
    if (cmd_arg_is(c, 3, STR("MIGRATING")) && c->argc == 5) {
        o->kind = ORDER_MIGRATING;
        set_slot_moving(c, core, v, o);
    } else if (cmd_arg_is(c, 3, STR("IMPORTING")) && c->argc == 5) {
        o->kind = ORDER_IMPORTING;
        set_slot_moving(c, core, v, o);
    } else if (cmd_arg_is(c, 3, STR("NODE")) && c->argc == 5) {
        o->kind = ORDER_SLOT_NODE;
        set_slot_node(c, core, v, o);
    } else if (cmd_arg_is(c, 3, STR("STABLE")) && c->argc == 4) {
        carry_out(c, core, o);
    } else {
        reply_error(c->reply, "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP");
    }
}

static bool arg_port(struct cmd_ctx *c, uint32_t i, const char *what, int64_t *port)
{
    if (num_parse_i64(c->argv[i], port))
        return true;
    reply_errorf(c->reply, "ERR Invalid %s specified: %.*s", what, (int)c->argv[i].n, c->argv[i].p);
    return false;
}

/* An address as the bus writes it, "::1" for "0:0:0:0:0:0:0:1"; false for what is none. */
static bool normal_ip(struct str text, char out[VIEW_IP_MAX])
{
    char copy[VIEW_IP_MAX];
    unsigned char bytes[sizeof(struct in6_addr)];
    if (text.n == 0 || text.n >= sizeof copy)
        return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    int family = inet_pton(AF_INET, copy, bytes) == 1 ? AF_INET : AF_INET6;
    return inet_pton(family, copy, bytes) == 1 && inet_ntop(family, bytes, out, VIEW_IP_MAX) != NULL;
}

static void do_meet(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    struct cluster_order *o = new_order(c, ORDER_MEET);
    int64_t port, cport;
    if (o == NULL)
        return;
    if (c->argc > 5) {
        cmd_reply_unknown_sub(c);
        return;
    }
    if (!arg_port(c, 3, "TCP base port", &port))
        return;
    cport = port + CLUSTER_PORT_STEP;
    if (c->argc == 5 && !arg_port(c, 4, "TCP bus port", &cport))
        return;
    struct str ip = c->argv[2];
    if (!normal_ip(ip, o->ip) || port < 1 || port > 65535 || cport < 1 || cport > 65535) {
        reply_errorf(c->reply, "ERR Invalid node address specified: %.*s:%.*s", (int)ip.n, ip.p,
                     (int)c->argv[3].n, c->argv[3].p);
        return;
    }
    o->port = (uint16_t)port;
    o->cport = (uint16_t)cport;
    carry_out(c, core, o);
}

static void do_forget(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    struct cluster_order *o = new_order(c, ORDER_FORGET);
    uint32_t node;
    if (o == NULL || (c->argv[2].n != VIEW_ID && !arg_node(c, v, 2, &node)))
        return;
    memcpy(o->id, c->argv[2].p, VIEW_ID); /* which it need not know any more */
    carry_out(c, core, o);
}

static void do_replicate(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    struct cluster_order *o = new_order(c, ORDER_REPLICATE);
    uint32_t node;
    if (o == NULL || !arg_node(c, v, 2, &node))
        return;
    memcpy(o->id, v->nodes[node].id, sizeof o->id);
    carry_out(c, core, o);
}

static void do_failover(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    struct cluster_order *o = new_order(c, ORDER_FAILOVER);
    if (o == NULL)
        return;
    if (c->argc > 3) {
        cmd_reply_unknown_sub(c);
        return;
    }
    if (c->argc == 3 && cmd_arg_is(c, 2, STR("FORCE"))) {
        o->kind = ORDER_FAILOVER_FORCE;
    } else if (c->argc == 3 && cmd_arg_is(c, 2, STR("TAKEOVER"))) {
        o->kind = ORDER_FAILOVER_TAKEOVER;
    } else if (c->argc == 3) {
        reply_error(c->reply, REPLY_SYNTAX);
        return;
    }
    carry_out(c, core, o);
}

static void do_reset(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    struct cluster_order *o = new_order(c, ORDER_RESET_SOFT);
    if (o == NULL)
        return;
    if (c->argc > 3) {
        cmd_reply_unknown_sub(c);
        return;
    }
    if (c->argc == 3 && cmd_arg_is(c, 2, STR("HARD"))) {
        o->kind = ORDER_RESET_HARD;
    } else if (c->argc == 3 && !cmd_arg_is(c, 2, STR("SOFT"))) {
        reply_error(c->reply, REPLY_SYNTAX);
        return;
    }
    carry_out(c, core, o);
}

static void do_bumpepoch(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    struct cluster_order *o = new_order(c, ORDER_BUMP_EPOCH);
    char text[64];
    if (o == NULL)
        return;
    uint64_t before = cluster_core_my_epoch(core);
    const char *why = cluster_core_order(core, o);
    uint64_t now = cluster_core_my_epoch(core);
    if (why != NULL) {
        reply_error(c->reply, why);
        return;
    }
    snprintf(text, sizeof text, "%s %llu", now != before ? "BUMPED" : "STILL", (unsigned long long)now);
    reply_status(c->reply, text);
}

static void do_set_config_epoch(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    struct cluster_order *o = new_order(c, ORDER_SET_EPOCH);
    int64_t epoch;
    if (o == NULL || !cmd_arg_i64(c, 2, &epoch))
        return;
    if (epoch < 0) {
        reply_errorf(c->reply, "ERR Invalid config epoch specified: %lld", (long long)epoch);
    } else {
        o->epoch = (uint64_t)epoch;
        carry_out(c, core, o);
    }
}

static void do_saveconfig(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    struct cluster_order *o = new_order(c, ORDER_SAVE);
    if (o != NULL)
        carry_out(c, core, o);
}

/* ---- from the worker to here ------------------------------------------------------------------------ */

typedef void cluster_do_fn(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v);

/* On the worker: all of them are sent. */
#define SENT(name)                                                                                           \
    void cmd_cluster_##name(struct cmd_ctx *c)                                                               \
    {                                                                                                        \
        cluster_send(c);                                                                                     \
    }
SENT(nodes)
SENT(info)
SENT(slots)
SENT(shards)
SENT(links)
SENT(replicas)
SENT(count_failure_reports)
SENT(addslots)
SENT(delslots)
SENT(addslotsrange)
SENT(delslotsrange)
SENT(flushslots)
SENT(setslot)
SENT(meet)
SENT(forget)
SENT(replicate)
SENT(failover)
SENT(reset)
SENT(bumpepoch)
SENT(set_config_epoch)
SENT(saveconfig)
SENT(slaves)
SENT(migrateslots)
SENT(getslotmigrations)
SENT(cancelslotmigrations)
SENT(syncslots)

void cluster_execute(struct cmd_ctx *c, struct cluster_core *core)
{
    static const struct {
        cmd_fn *fn;
        cluster_do_fn *run;
        bool asks; /* and changes nothing */
    } all[] = {
        {cmd_cluster_nodes, do_nodes, true},
        {cmd_cluster_info, do_info, true},
        {cmd_cluster_slots, do_slots, true},
        {cmd_cluster_shards, do_shards, true},
        {cmd_cluster_links, do_links, true},
        {cmd_cluster_replicas, do_replicas, true},
        {cmd_cluster_count_failure_reports, do_count_failure_reports, true},
        {cmd_cluster_addslots, do_addslots, false},
        {cmd_cluster_delslots, do_delslots, false},
        {cmd_cluster_addslotsrange, do_addslotsrange, false},
        {cmd_cluster_delslotsrange, do_delslotsrange, false},
        {cmd_cluster_flushslots, do_flushslots, false},
        {cmd_cluster_setslot, do_setslot, false},
        {cmd_cluster_meet, do_meet, false},
        {cmd_cluster_forget, do_forget, false},
        {cmd_cluster_replicate, do_replicate, false},
        {cmd_cluster_failover, do_failover, false},
        {cmd_cluster_reset, do_reset, false},
        {cmd_cluster_bumpepoch, do_bumpepoch, false},
        {cmd_cluster_set_config_epoch, do_set_config_epoch, false},
        {cmd_cluster_saveconfig, do_saveconfig, false},
        {cmd_cluster_slaves, do_replicas, true},
        {cmd_cluster_migrateslots, moves_do_migrateslots, false},
        {cmd_cluster_getslotmigrations, moves_do_getslotmigrations, false},
        {cmd_cluster_cancelslotmigrations, moves_do_cancelslotmigrations, false},
        {cmd_cluster_syncslots, moves_do_syncslots, false},
    };
    size_t i = 0;
    while (i < ARRAY_LEN(all) && all[i].fn != c->cmd->fn)
        i++;
    if (i == ARRAY_LEN(all))
        return;
    struct cluster_view *fresh = all[i].asks ? cluster_core_view(core) : NULL;
    const struct cluster_view *v = all[i].asks ? fresh : server_view(ctx_server(c));
    if (v == NULL)
        reply_error(c->reply, REPLY_NOMEM);
    else
        all[i].run(c, core, v);
    cluster_view_free(fresh);
}
