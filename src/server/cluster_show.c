/* What the machine knows, for those who ask: the view for workers, CLUSTER INFO, CLUSTER LINKS. */
#include "server/cluster_core.h"
#include "server/cluster_text.h"
#include "server/server.h"

#include <stdio.h>
#include <string.h>

enum { INFO_FIRST_MS = 2000 };

/* ---- the view ------------------------------------------------------------------------------------------ */

static void copy_id(char out[VIEW_ID + 1], const struct node_id *id)
{
    memcpy(out, id->c, VIEW_ID);
    out[VIEW_ID] = '\0';
}

/* VIEW_NOBODY for NULL, and for what is not in the table. */
static uint16_t number_of(const struct slotmap *map, const struct node *n)
{
    unsigned i = 0;
    while (i < map->n && map->nodes[i] != n)
        i++;
    return i < map->n ? (uint16_t)(i + 1) : VIEW_NOBODY;
}

static int64_t wall(uint64_t ms, int64_t offset)
{
    return ms == 0 ? 0 : (int64_t)ms + offset;
}

static void show_node(const struct cluster_core *core, const struct node *n, struct view_node *v)
{
    static const char *const unknown[] = {[ENDPOINT_HOSTNAME] = "?", [ENDPOINT_UNKNOWN] = ""};
    static const uint32_t flags[][2] = {{NODE_MYSELF, VIEW_MYSELF},   {NODE_PRIMARY, VIEW_PRIMARY},
                                        {NODE_REPLICA, VIEW_REPLICA}, {NODE_PFAIL, VIEW_PFAIL},
                                        {NODE_FAIL, VIEW_FAIL},       {NODE_HANDSHAKE, VIEW_HANDSHAKE},
                                        {NODE_NOADDR, VIEW_NOADDR},   {NODE_NOFAILOVER, VIEW_NOFAILOVER}};
    const struct node *of = node_is(n, NODE_REPLICA) && n->primary != NULL ? n->primary : n;
    int type = core->endpoint_type;
    copy_id(v->id, &n->id);
    copy_id(v->shard, &n->shard);
    memcpy(v->ip, n->ip, sizeof v->ip);
    memcpy(v->hostname, n->host, sizeof v->hostname);
    const char *host = type == ENDPOINT_IP                               ? n->ip
                       : type == ENDPOINT_HOSTNAME && n->host[0] != '\0' ? n->host
                                                                         : unknown[type];
    snprintf(v->host, sizeof v->host, "%s", host);
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (n->flags & flags[i][0])
            v->flags |= flags[i][1];
    v->port = n->port;
    v->cport = n->cport;
    v->primary = number_of(&core->machine.map, n->primary);
    v->ping_ms = wall(n->ping_sent_ms, core->wall_offset_ms);
    v->pong_ms = wall(n->pong_ms, core->wall_offset_ms);
    v->epoch = of->config_epoch;
    v->offset = n->offset;
    v->connected = n->out_up;
}

static void show_slots(const struct machine *m, struct cluster_view *v)
{
    for (unsigned i = 0; i < m->map.n; i++) {
        unsigned at = 0, first, last;
        while (slots_run(m->map.nodes[i]->slots, &at, &first, &last))
            for (unsigned slot = first; slot <= last; slot++)
                v->owner[slot] = (uint16_t)(i + 1);
    }
    for (unsigned i = 0; i < m->nmoves; i++) {
        const struct slot_move *move = &m->moves[i];
        uint16_t other = number_of(&m->map, slotmap_find(&m->map, &move->id));
        if (move->importing)
            v->from[move->slot] = other;
        else
            v->to[move->slot] = other;
    }
}

bool cluster_core_is_up(const struct cluster_core *core)
{
    return core->machine.ok && !core->machine.mute;
}

struct cluster_view *cluster_core_view(const struct cluster_core *core)
{
    const struct machine *m = &core->machine;
    const struct dropping *d = &core->dropping;
    struct cluster_view *v = cluster_view_new(m->map.n + 1);
    if (v == NULL)
        return NULL;
    for (unsigned i = 0; i < m->map.n; i++)
        show_node(core, m->map.nodes[i], &v->nodes[i + 1]);
    show_slots(m, v);
    for (unsigned i = 0; i < SLOT_BYTES; i++)
        v->held[i] = (core->moving.held[i] | d->slots[i]) & m->self->slots[i];
    for (unsigned i = 0; i < SLOT_COUNT; i++)
        if (v->from[i] != VIEW_NOBODY && (slots_has(d->slots, i) || slots_has(d->kept, i)))
            slots_set(v->held, i, true);
    machine_add_takings(m, v->held);
    v->holds = slots_any(v->held);
    memcpy(v->arriving, core->moving.arriving, sizeof v->arriving);
    v->up = cluster_core_is_up(core);
    v->reads_when_down = core->server->config.cluster_allow_reads_when_down;
    v->me = number_of(&m->map, m->self);
    v->replica = node_is(m->self, NODE_REPLICA);
    v->primary = v->replica ? number_of(&m->map, m->self->primary) : VIEW_NOBODY;
    cluster_view_seal(v);
    return v;
}

/* ---- INFO, LINKS --------------------------------------------------------------------------------------- */

static void put_messages(const uint64_t *counts, const char *direction, struct buf *b)
{
    uint64_t all = 0;
    for (unsigned i = 0; i < FRAME_TYPES; i++) {
        all += counts[i];
        if (counts[i] > 0)
            buf_printf(b, "cluster_stats_messages_%s_%s:%llu\r\n", frame_type_name(i), direction,
                       (unsigned long long)counts[i]);
    }
    buf_printf(b, "cluster_stats_messages_%s:%llu\r\n", direction, (unsigned long long)all);
}

/* Redis says 1 until it has looked for the first time, which it does late. */
static unsigned size_of(const struct cluster_core *core)
{
    const struct machine *m = &core->machine;
    bool first = !m->ok && node_is(m->self, NODE_PRIMARY) && m->now_ms - m->boot_ms < INFO_FIRST_MS;
    return first ? 1 : slotmap_voters(&m->map);
}

void cluster_core_put_info(const struct cluster_core *core, struct buf *b)
{
    const struct machine *m = &core->machine;
    const struct node *self = m->self->primary != NULL ? m->self->primary : m->self;
    unsigned pfail = 0, fail = 0;
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        fail += node_is(n, NODE_FAIL) ? n->nslots : 0;
        pfail += node_is(n, NODE_PFAIL) ? n->nslots : 0;
    }
    buf_printf(
        b,
        "cluster_state:%s\r\ncluster_slots_assigned:%u\r\ncluster_slots_ok:%u\r\ncluster_slots_pfail:%u\r\n"
        "cluster_slots_fail:%u\r\ncluster_known_nodes:%u\r\ncluster_size:%u\r\ncluster_current_epoch:%llu\r\n"
        "cluster_my_epoch:%llu\r\n",
        cluster_core_is_up(core) ? "ok" : "fail", m->map.assigned, m->map.assigned - fail - pfail, pfail,
        fail, m->map.n, size_of(core), (unsigned long long)m->current_epoch,
        (unsigned long long)self->config_epoch);
    put_messages(m->stats_sent, "sent", b);
    put_messages(m->stats_received, "received", b);
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
    const struct slotmap *map = &core->machine.map;
    uint64_t n = 0;
    size_t list = reply_deferred(r);
    for (unsigned i = 0; i < map->n; i++) {
        const uint32_t links[] = {map->nodes[i]->out, map->nodes[i]->in};
        char id[VIEW_ID + 1];
        copy_id(id, &map->nodes[i]->id);
        for (size_t k = 0; k < ARRAY_LEN(links); k++) {
            struct bus_link_info info;
            if (links[k] == 0 || !bus_wire_info(core->wire, links[k], &info))
                continue;
            reply_link(r, &info, id);
            n++;
        }
    }
    reply_deferred_end(r, list, '*', n);
}
