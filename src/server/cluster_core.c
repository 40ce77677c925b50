/* What surrounds the gossip: time, links, the file, this node's role, and the map that workers read.
 *
 * Everything that the gossip says is queued on its links first. settle() then writes the file, takes the
 * role, puts the new view in place, and only then lets the links send. So a vote, or a claim to a slot, is
 * never seen by others before it is on disk. */
#include "server/cluster_core.h"

#include "base/alloc.h"
#include "base/log.h"
#include "cmd/effect.h"
#include "os/clock.h"
#include "os/random.h"
#include "server/cluster_text.h"
#include "server/route.h"
#include "server/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { DROP_STEP = 2000, CONF_MAX = 64 << 20 };

/* ---- the gossip's hands ----------------------------------------------------------------------------- */

static void io_send(void *ctx, uint64_t link, const void *p, size_t n)
{
    struct cluster_core *core = ctx;
    bus_wire_send(core->wire, link, p, n, core->server->config.cluster_link_sendbuf_limit);
}

static uint64_t io_open(void *ctx, const char *ip, int port)
{
    struct cluster_core *core = ctx;
    return bus_wire_open(core->wire, ip, port, core->gossip.now_ms);
}

static void io_close(void *ctx, uint64_t link)
{
    struct cluster_core *core = ctx;
    bus_wire_close(core->wire, link);
}

static bool link_address(struct cluster_core *core, uint64_t link, bool peer, char out[PACKET_IP])
{
    struct bus_link_info info;
    if (!bus_wire_info(core->wire, link, &info))
        return false;
    const char *ip = peer ? info.peer : info.local;
    size_t n = strlen(ip);
    if (n == 0 || n >= PACKET_IP)
        return false;
    memset(out, 0, PACKET_IP);
    memcpy(out, ip, n);
    return true;
}

static bool io_local_ip(void *ctx, uint64_t link, char out[PACKET_IP])
{
    return link_address(ctx, link, false, out);
}

static bool io_peer_ip(void *ctx, uint64_t link, char out[PACKET_IP])
{
    return link_address(ctx, link, true, out);
}

static void on_opened(void *ctx, uint64_t link)
{
    struct cluster_core *core = ctx;
    gossip_opened(&core->gossip, link);
}

static void on_frame(void *ctx, uint64_t link, const uint8_t *p, size_t n)
{
    struct cluster_core *core = ctx;
    if (gossip_frame(&core->gossip, link, p, n) == 0)
        return;
    log_warning("A message on the cluster bus makes no sense; its link is closed.");
    bus_wire_close(core->wire, link);
    gossip_closed(&core->gossip, link);
}

static void on_closed(void *ctx, uint64_t link)
{
    struct cluster_core *core = ctx;
    gossip_closed(&core->gossip, link);
}

/* ---- what it must know ------------------------------------------------------------------------------- */

/* Options change under the gate only, while this thread may be anywhere: single words are read as they are,
 * strings where nobody can change them, in take_strings(). */
static void refresh_options(struct cluster_core *core)
{
    const struct config *cfg = &core->server->config;
    struct gossip_options *o = &core->gossip.opt;
    o->timeout_ms = cfg->cluster_node_timeout;
    o->validity_factor = cfg->cluster_replica_validity_factor;
    o->migration_barrier = cfg->cluster_migration_barrier;
    o->ping_period_ms = cfg->repl_ping_replica_period * 1000;
    o->full_coverage = cfg->cluster_require_full_coverage;
    o->no_failover = cfg->cluster_replica_no_failover;
    o->may_migrate = cfg->cluster_allow_replica_migration;
    o->port = (uint16_t)(cfg->cluster_announce_port != 0 ? cfg->cluster_announce_port : cfg->port);
    o->cport = (uint16_t)(cfg->cluster_announce_bus_port != 0 ? cfg->cluster_announce_bus_port
                                                              : cluster_bus_port(cfg));
}

static bool copy_string(char *dst, size_t room, const char *src)
{
    char text[VIEW_HOST_MAX] = "";
    size_t n = strnlen(src, room - 1);
    memcpy(text, src, n);
    bool changed = strcmp(text, dst) != 0;
    memset(dst, 0, room);
    memcpy(dst, text, n);
    return changed;
}

/* Before the thread runs, or on the lane. */
static void take_strings(struct cluster_core *core)
{
    struct gossip *g = &core->gossip;
    const struct config *cfg = &core->server->config;
    bool changed = copy_string(g->opt.announce_ip, sizeof g->opt.announce_ip, cfg->cluster_announce_ip);
    if (changed && g->opt.announce_ip[0] != '\0' && g->myself != NULL)
        memcpy(g->myself->ip, g->opt.announce_ip, sizeof g->myself->ip);
    changed |= copy_string(g->opt.hostname, sizeof g->opt.hostname, cfg->cluster_announce_hostname);
    if (g->myself != NULL)
        memcpy(g->myself->hostname, g->opt.hostname, sizeof g->myself->hostname);
    g->todo.view |= changed;
}

static void refresh_self(struct cluster_core *core)
{
    struct gossip *g = &core->gossip;
    struct repl *r = &core->server->repl;
    g->now_ms = os_wall_ms();
    g->self.offset = repl_offset(r);
    g->self.link_up = atomic_load(&r->link_up);
    g->self.link_down_ms = atomic_load(&r->shown.down_since_ms);
    g->self.link_heard_ms = atomic_load(&r->shown.heard_ms);
    if (g->myself != NULL) {
        g->myself->port = g->opt.port;
        g->myself->cport = g->opt.cport;
        g->myself->offset = g->self.offset;
    }
}

/* ---- the view ------------------------------------------------------------------------------------------ */

static void show_node(const struct cluster_core *core, const struct node *n, struct view_node *v)
{
    static const char *const unknown[] = {[ENDPOINT_HOSTNAME] = "?", [ENDPOINT_UNKNOWN] = ""};
    int type = core->endpoint_type;
    memcpy(v->id, n->id, sizeof v->id);
    memcpy(v->ip, n->ip, sizeof v->ip);
    memcpy(v->hostname, n->hostname, sizeof v->hostname);
    const char *host = type == ENDPOINT_IP                                   ? n->ip
                       : type == ENDPOINT_HOSTNAME && n->hostname[0] != '\0' ? n->hostname
                                                                             : unknown[type];
    snprintf(v->host, sizeof v->host, "%s", host);
    static const uint32_t flags[][2] = {{NODE_MYSELF, VIEW_MYSELF},   {NODE_PRIMARY, VIEW_PRIMARY},
                                        {NODE_REPLICA, VIEW_REPLICA}, {NODE_PFAIL, VIEW_PFAIL},
                                        {NODE_FAIL, VIEW_FAIL},       {NODE_HANDSHAKE, VIEW_HANDSHAKE},
                                        {NODE_NOADDR, VIEW_NOADDR},   {NODE_NOFAILOVER, VIEW_NOFAILOVER}};
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (n->flags & flags[i][0])
            v->flags |= flags[i][1];
    v->port = n->port;
    v->cport = n->cport;
    v->primary = n->primary != NULL ? n->primary->number : VIEW_NOBODY;
    v->ping_ms = n->ping_ms;
    v->pong_ms = n->pong_ms;
    v->epoch = (n->flags & NODE_REPLICA) && n->primary != NULL ? n->primary->config_epoch : n->config_epoch;
    v->offset = n->offset;
    v->connected = n->link_up;
}

static struct cluster_view *make_view(struct cluster_core *core)
{
    struct gossip *g = &core->gossip;
    uint16_t number = 1;
    for (struct node *n = g->nodes; n != NULL; n = n->next)
        n->number = number++;
    struct cluster_view *v = cluster_view_new(number);
    if (v == NULL)
        return NULL;
    for (const struct node *n = g->nodes; n != NULL; n = n->next)
        show_node(core, n, &v->nodes[n->number]);
    v->up = g->up;
    v->reads_when_down = core->server->config.cluster_allow_reads_when_down;
    v->me = g->myself->number;
    v->replica = g->myself->flags & NODE_REPLICA;
    v->primary = v->replica && g->myself->primary != NULL ? g->myself->primary->number : VIEW_NOBODY;
    for (uint32_t i = 0; i < SLOT_COUNT; i++) {
        v->owner[i] = g->owner[i] != NULL ? g->owner[i]->number : VIEW_NOBODY;
        v->to[i] = g->to[i] != NULL ? g->to[i]->number : VIEW_NOBODY;
        v->from[i] = g->from[i] != NULL ? g->from[i]->number : VIEW_NOBODY;
    }
    cluster_view_seal(v);
    return v;
}

/* ---- the file --------------------------------------------------------------------------------------------
 */

static bool write_whole(int fd, struct str text, bool sync)
{
    while (text.n > 0) {
        ssize_t n = write(fd, text.p, text.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        text = (struct str){text.p + n, text.n - (size_t)n};
    }
    return !sync || fsync(fd) == 0;
}

static bool sync_directory(void)
{
    int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool ok = fsync(fd) == 0;
    close(fd);
    return ok;
}

static bool write_file(const struct cluster_core *core, struct str text)
{
    char fresh[sizeof core->path + 8];
    snprintf(fresh, sizeof fresh, "%s.new", core->path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool sync = core->gossip.todo.sync || core->unsaved, ok = write_whole(fd, text, sync);
    close(fd);
    return ok && rename(fresh, core->path) == 0 && (!sync || sync_directory());
}

/* False: what has changed must not be seen yet; it is tried again. */
static bool save(struct cluster_core *core)
{
    struct buf b;
    buf_init(&b);
    gossip_put_conf(&core->gossip, &b);
    bool ok = !b.oom && write_file(core, buf_str(&b));
    if (!ok && !core->unsaved)
        log_warning(
            "Cannot write %s in 'dir': %s. Until it can be written this node says nothing to the others, who "
            "will take it for dead.",
            core->path, b.oom ? "out of memory" : strerror(errno));
    core->unsaved = !ok;
    buf_release(&b);
    return ok;
}

/* ERR_NOTFOUND: there is none, or an empty one. */
static int read_file(const struct cluster_core *core, struct buf *b)
{
    int fd = open(core->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? ERR_NOTFOUND : ERR_IO;
    int rc = 0;
    for (ssize_t n = 1; rc == 0 && n != 0;) {
        rc = b->n > CONF_MAX ? ERR_FULL : buf_reserve(b, 64 * 1024);
        if (rc != 0)
            break;
        n = read(fd, b->p + b->n, 64 * 1024);
        if (n < 0)
            rc = ERR_IO;
        else
            b->n += (size_t)n;
    }
    close(fd);
    return rc == 0 && b->n == 0 ? ERR_NOTFOUND : rc;
}

static int load(struct cluster_core *core)
{
    struct buf b;
    uint32_t line;
    buf_init(&b);
    int rc = read_file(core, &b);
    if (rc == 0) {
        rc = gossip_load(&core->gossip, buf_str(&b), &line);
        if (rc != 0)
            log_warning("%s in 'dir' cannot be understood from line %u on: %s. It belongs to this node "
                        "alone; if it is "
                        "lost, move it away, and join the cluster anew.",
                        core->path, line, err_name(rc));
        else
            log_notice("Node %s, as %s says.", core->gossip.myself->id, core->path);
    } else if (rc == ERR_NOTFOUND) {
        char id[VIEW_ID + 1];
        os_random_hex(id, VIEW_ID);
        rc = gossip_be_new(&core->gossip, id);
        log_notice("No %s here: this is a new node, %s.", core->path, id);
    } else {
        log_warning("Cannot read %s in 'dir': %s.", core->path,
                    rc == ERR_IO ? strerror(errno) : err_name(rc));
    }
    buf_release(&b);
    return rc;
}

/* ---- in force -------------------------------------------------------------------------------------------
 */

/* Until a snapshot is loaded this node is what it is; the saver starts replication after it. */
static bool is_loading(const struct cluster_core *core)
{
    return atomic_load(&core->server->saver.shown.loading);
}

/* Gate. */
static void take_role(struct cluster_core *core)
{
    const struct node *me = core->gossip.myself, *p = me->primary;
    struct repl *r = &core->server->repl;
    if (!(me->flags & NODE_REPLICA)) {
        if (r->is_replica)
            repl_become_primary(r);
        repl_settle(r);
        return;
    }
    if (p == NULL || p->ip[0] == '\0' || (r->is_replica && r->port == p->port && strcmp(r->host, p->ip) == 0))
        return;
    repl_follow_primary(r, str_of(p->ip), p->port);
}

/* Gate. */
static void take_pause(struct cluster_core *core)
{
    struct server *s = core->server;
    int64_t until_ms = core->gossip.todo.pause_until_ms;
    if (until_ms != 0)
        pause_begin(s, PAUSE_FAILOVER, CARE_PAUSE_WRITE, os_wall_ms(), until_ms);
    else
        pause_end(s, PAUSE_FAILOVER);
}

/* From now on everybody looks at the next view; what is left in its place is the old one. */
static void swap_views(struct cluster_core *core)
{
    heir_follow(&core->server->heir, server_view(core->server), core->next_view);
    if (core->next_view != NULL)
        core->next_view = atomic_exchange(&core->server->view, core->next_view);
}

/* Gate: role, view and pause at one moment for all clients. */
static void put_in_force(void *arg)
{
    struct cluster_core *core = arg;
    struct server *s = core->server;
    if (core->gossip.todo.role && !is_loading(core))
        take_role(core);
    if (core->gossip.todo.pause || (core->gossip.todo.role && s->pauses[PAUSE_FAILOVER].until_ms != 0))
        take_pause(core);
    swap_views(core);
    route_leave_slots(s, core->next_view);
}

/* The view alone, as when a slot comes or is about to go: nobody is stopped for it, and when this returns
 * nobody is served by the old one any more. */
static void replace_view(struct cluster_core *core)
{
    swap_views(core);
    gate_outlive(&core->server->gate);
    lane_outlive(&core->server->lane);
}

/* The lane: some keys of slots that belong to others now. */
static void drop_some(void *arg)
{
    struct cluster_core *core = arg;
    struct access *a = &core->server->lane.ctx.a;
    uint32_t budget = DROP_STEP, left, before;
    a->now_ms = os_wall_ms();
    for (; core->drop_at < SLOT_COUNT && budget > 0; core->drop_at++) {
        if (!packet_has_slot(core->gossip.todo.lost, core->drop_at) ||
            store_slot_keys(a, core->drop_at, &before) != 0 || before == 0)
            continue;
        if (store_slot_clear(a, core->drop_at, budget, &left) != 0)
            continue;
        budget -= before - left;
        core->dropped += before - left;
        if (left > 0)
            return;
    }
}

static void drop_lost(struct cluster_core *core)
{
    struct gossip *g = &core->gossip;
    core->drop_at = 0;
    core->dropped = 0;
    while ((g->myself->flags & NODE_PRIMARY) && core->drop_at < SLOT_COUNT &&
           lane_call_shared(&core->server->lane, drop_some, core))
        ;
    if (core->dropped > 0)
        log_warning("%llu keys were in slots that belong to other nodes now, and are dropped.",
                    (unsigned long long)core->dropped);
    memset(g->todo.lost, 0, sizeof g->todo.lost);
}

/* Do what the gossip says, in this order. */
static void settle(struct cluster_core *core)
{
    struct gossip_todo *t = &core->gossip.todo;
    if ((t->save || core->unsaved) && !save(core))
        return;
    t->save = t->sync = false;
    if (t->view)
        core->next_view = make_view(core);
    if (t->view && core->next_view == NULL)
        log_warning("No memory for the new map of slots: clients are still served by the old one.");
    bool role = t->role && !is_loading(core);
    if (role || t->pause || route_leaves_slots(server_view(core->server), core->next_view))
        lane_call(&core->server->lane, put_in_force, core);
    else if (core->next_view != NULL)
        replace_view(core);
    cluster_view_free(core->next_view);
    core->next_view = NULL;
    t->view = t->pause = false;
    t->role &= !role;
    if (t->drop)
        drop_lost(core);
    t->drop = false;
    bus_wire_flush(core->wire);
}

/* ---- orders
 * ------------------------------------------------------------------------------------------------ */

static void flush_all(void *arg)
{
    struct cluster_core *core = arg;
    struct cmd_ctx *c = &core->server->lane.ctx;
    const struct str argv[] = {STR("FLUSHALL")};
    effect_open(c);
    store_flush_all(&c->a);
    if (c->unit != NULL)
        unit_add(c->unit, 0, argv, 1);
    effect_reserve(c);
    effect_publish(c);
}

static const char *reset(struct cluster_core *core, bool hard)
{
    char id[VIEW_ID + 1];
    bool was_replica = core->gossip.myself->flags & NODE_REPLICA;
    os_random_hex(id, VIEW_ID);
    gossip_reset(&core->gossip, hard ? id : NULL);
    memset(core->gossip.todo.lost, 0, sizeof core->gossip.todo.lost);
    settle(core);
    if (was_replica)
        lane_call(&core->server->lane, flush_all, core);
    return NULL;
}

static const char *meet(struct cluster_core *core, const struct cluster_order *o)
{
    char id[VIEW_ID + 1];
    os_random_hex(id, VIEW_ID);
    return gossip_meet(&core->gossip, o->ip, o->port, o->cport, id) == 0 ? NULL : REPLY_NOMEM;
}

static void mark_slots(struct gossip *g, const struct cluster_order *o)
{
    for (uint32_t i = 0; i < SLOT_COUNT; i++)
        if (o->slots[i] && o->kind == ORDER_ADD_SLOTS)
            gossip_add_slot(g, i);
        else if (o->slots[i])
            gossip_del_slot(g, i);
}

/* The node that the order names was there a moment ago, in the view of the same thread. */
static const char *obey(struct cluster_core *core, const struct cluster_order *o)
{
    struct gossip *g = &core->gossip;
    struct node *n = gossip_find(g, o->id);
    switch (o->kind) {
    case ORDER_MEET: return meet(core, o);
    case ORDER_FORGET: gossip_forget(g, n); break;
    case ORDER_REPLICATE: gossip_replicate(g, n); break;
    case ORDER_ADD_SLOTS:
    case ORDER_DEL_SLOTS: mark_slots(g, o); break;
    case ORDER_MIGRATING: gossip_set_migrating(g, o->slot, n); break;
    case ORDER_IMPORTING: gossip_set_importing(g, o->slot, n); break;
    case ORDER_STABLE: gossip_set_stable(g, o->slot); break;
    case ORDER_SLOT_NODE: gossip_set_owner(g, o->slot, n); break;
    case ORDER_FAILOVER:
    case ORDER_FAILOVER_FORCE: gossip_failover(g, o->kind == ORDER_FAILOVER_FORCE); break;
    case ORDER_FAILOVER_TAKEOVER: gossip_takeover(g); break;
    case ORDER_RESET_SOFT: return reset(core, false);
    case ORDER_RESET_HARD: return reset(core, true);
    case ORDER_BUMP_EPOCH: gossip_bump_epoch(g); break;
    case ORDER_SET_EPOCH: gossip_set_epoch(g, o->epoch); break;
    case ORDER_SAVE: g->todo.save = g->todo.sync = true; break;
    }
    return NULL;
}

const char *cluster_core_order(struct cluster_core *core, const struct cluster_order *o)
{
    const char *why = obey(core, o);
    settle(core);
    if (why == NULL && core->unsaved)
        return "ERR the file of the cluster's state cannot be written; see the log";
    return why;
}

/* ---- questions -------------------------------------------------------------------------------------------
 */

uint32_t cluster_core_failure_reports(struct cluster_core *core, const char *id)
{
    return gossip_count_reports(&core->gossip, gossip_find(&core->gossip, id));
}

uint64_t cluster_core_my_epoch(const struct cluster_core *core)
{
    return core->gossip.myself->config_epoch;
}

struct count {
    struct cluster_core *core;
    uint32_t slot; /* SLOT_COUNT: all */
    uint64_t keys;
};

static void count_keys(void *arg)
{
    struct count *q = arg;
    const struct access *a = &q->core->server->lane.ctx.a;
    uint32_t n = 0;
    if (q->slot == SLOT_COUNT) {
        q->keys = store_db_keys(a->store, 0);
    } else {
        (void)store_slot_keys(a, q->slot, &n); /* nothing is busy for the lane */
        q->keys = n;
    }
}

bool cluster_core_has_keys(struct cluster_core *core)
{
    struct count q = {core, SLOT_COUNT, 0};
    lane_call_shared(&core->server->lane, count_keys, &q);
    return q.keys > 0;
}

bool cluster_core_slot_has_keys(struct cluster_core *core, uint32_t slot)
{
    struct count q = {core, slot, 0};
    lane_call_shared(&core->server->lane, count_keys, &q);
    return q.keys > 0;
}

static void put_messages(const uint64_t *counts, const char *direction, struct buf *b)
{
    static const char *const names[PACKET_TYPES] = {"ping",    "pong",     "meet",        "fail",
                                                    "publish", "auth-req", "auth-ack",    "update",
                                                    "mfstart", "module",   "publishshard"};
    uint64_t all = 0;
    for (unsigned i = 0; i < PACKET_TYPES; i++) {
        all += counts[i];
        if (counts[i] > 0)
            buf_printf(b, "cluster_stats_messages_%s_%s:%llu\r\n", names[i], direction,
                       (unsigned long long)counts[i]);
    }
    buf_printf(b, "cluster_stats_messages_%s:%llu\r\n", direction, (unsigned long long)all);
}

void cluster_core_put_info(const struct cluster_core *core, const struct cluster_view *v, struct buf *b)
{
    const struct gossip *g = &core->gossip;
    uint32_t assigned = 0, pfail = 0, fail = 0;
    for (uint32_t i = 0; i < SLOT_COUNT; i++) {
        const struct node *n = g->owner[i];
        assigned += n != NULL;
        fail += n != NULL && (n->flags & NODE_FAIL);
        pfail += n != NULL && (n->flags & NODE_PFAIL);
    }
    buf_printf(
        b,
        "cluster_state:%s\r\ncluster_slots_assigned:%u\r\ncluster_slots_ok:%u\r\ncluster_slots_pfail:%u\r\n"
        "cluster_slots_fail:%u\r\ncluster_known_nodes:%u\r\ncluster_size:%u\r\ncluster_current_epoch:%llu\r\n"
        "cluster_my_epoch:%llu\r\n",
        g->up ? "ok" : "fail", assigned, assigned - fail - pfail, pfail, fail, g->nnodes, g->size,
        (unsigned long long)g->current_epoch, (unsigned long long)v->nodes[v->me].epoch);
    put_messages(g->stats.sent, "sent", b);
    put_messages(g->stats.received, "received", b);
    buf_printf(b, "total_cluster_links_buffer_limit_exceeded:%llu\r\n",
               (unsigned long long)bus_wire_overflows(core->wire));
}

static void reply_link(struct reply *r, const struct bus_link_info *l, const char *id)
{
    reply_map(r, 6);
    reply_cstr(r, "direction");
    reply_cstr(r, l->inbound ? "from" : "to");
    reply_cstr(r, "node");
    reply_cstr(r, id);
    reply_cstr(r, "create-time");
    reply_int(r, l->created_ms);
    reply_cstr(r, "events");
    reply_cstr(r, l->send_used > 0 ? "rw" : "r");
    reply_cstr(r, "send-buffer-allocated");
    reply_int(r, (int64_t)l->send_allocated);
    reply_cstr(r, "send-buffer-used");
    reply_int(r, (int64_t)l->send_used);
}

void cluster_core_reply_links(const struct cluster_core *core, struct reply *r)
{
    uint64_t n = 0;
    size_t list = reply_deferred(r);
    for (const struct node *o = core->gossip.nodes; o != NULL; o = o->next) {
        struct bus_link_info info;
        if (o->link != 0 && bus_wire_info(core->wire, o->link, &info)) {
            reply_link(r, &info, o->id);
            n++;
        }
        if (o->inbound != 0 && bus_wire_info(core->wire, o->inbound, &info)) {
            reply_link(r, &info, o->id);
            n++;
        }
    }
    reply_deferred_end(r, list, '*', n);
}

bool cluster_normal_ip(struct str text, char out[VIEW_IP_MAX])
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

/* ---- life
 * -------------------------------------------------------------------------------------------------- */

int cluster_core_new(struct cluster_core **out, struct server *s)
{
    struct cluster_core *core = mem_zalloc(sizeof *core);
    const struct gossip_io io = {core, io_send, io_open, io_close, io_local_ip, io_peer_ip};
    const struct bus_wire_calls calls = {core, on_opened, on_frame, on_closed};
    const struct gossip_options none = {0};
    uint64_t seed;
    if (core == NULL)
        return ERR_OOM;
    *out = core;
    core->server = s;
    core->endpoint_type = s->config.cluster_preferred_endpoint_type;
    snprintf(core->path, sizeof core->path, "%s", s->config.cluster_config_file);
    os_random(&seed, sizeof seed);
    int rc = gossip_init(&core->gossip, &io, &none, seed, os_wall_ms());
    refresh_options(core);
    if (rc == 0)
        rc = loop_new(&core->loop, false);
    if (rc == 0)
        rc = bus_wire_new(&core->wire, core->loop, &calls);
    if (rc == 0)
        rc = load(core);
    if (rc != 0)
        return rc;
    take_strings(core);
    refresh_self(core);
    if (core->gossip.opt.announce_ip[0] != '\0')
        memcpy(core->gossip.myself->ip, core->gossip.opt.announce_ip, sizeof core->gossip.myself->ip);
    return save(core) ? 0 : ERR_IO;
}

/* Before any thread runs. */
int cluster_core_begin(struct cluster_core *core)
{
    core->server->view = make_view(core);
    core->gossip.todo = (struct gossip_todo){.role = is_loading(core)};
    if (!is_loading(core))
        take_role(core);
    return core->server->view != NULL ? 0 : ERR_OOM;
}

static void take_strings_on_lane(void *arg)
{
    struct cluster_core *core = arg;
    core->endpoint_type = core->server->config.cluster_preferred_endpoint_type;
    take_strings(core);
    core->gossip.todo.view = true;
}

static void follow_options(struct cluster_core *core)
{
    if (!atomic_exchange(&core->options_changed, false))
        return;
    refresh_options(core);
    lane_call_shared(&core->server->lane, take_strings_on_lane, core);
    gossip_judge(&core->gossip);
}

void cluster_core_event(struct cluster_core *core, const struct loop_event *ev)
{
    refresh_self(core);
    bus_wire_event(core->wire, ev, core->gossip.now_ms);
}

void cluster_core_tick(struct cluster_core *core)
{
    refresh_self(core);
    if (core->gossip.now_ms >= core->tick_ms || core->tick_ms - core->gossip.now_ms > 10 * CLUSTER_CRON_MS) {
        core->tick_ms = core->gossip.now_ms + CLUSTER_CRON_MS;
        follow_options(core);
        gossip_tick(&core->gossip);
        bus_wire_cron(core->wire, core->gossip.now_ms);
    }
    settle(core);
}

int cluster_core_timeout(const struct cluster_core *core)
{
    int64_t left = core->tick_ms - os_wall_ms();
    return left < 0 ? 0 : left > CLUSTER_CRON_MS ? CLUSTER_CRON_MS : (int)left;
}

struct cluster_view *cluster_core_view(struct cluster_core *core)
{
    refresh_self(core);
    return make_view(core);
}

void cluster_core_free(struct cluster_core *core)
{
    if (core == NULL)
        return;
    bus_wire_free(core->wire);
    if (core->loop != NULL)
        loop_free(core->loop);
    gossip_release(&core->gossip);
    mem_free(core);
}
