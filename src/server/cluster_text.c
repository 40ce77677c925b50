#include "server/cluster_text.h"

#include "base/num.h"

/* ---- runs of slots -------------------------------------------------------------------------------- */

/* The next run of slots of one owner from *at on. */
static bool next_run(const struct cluster_view *v, uint32_t node, uint32_t *at, uint32_t *first,
                     uint32_t *last)
{
    uint32_t i = *at;
    while (i < SLOT_COUNT && v->owner[i] != node)
        i++;
    if (i == SLOT_COUNT)
        return false;
    *first = i;
    while (i + 1 < SLOT_COUNT && v->owner[i + 1] == node)
        i++;
    *last = i;
    *at = i + 1;
    return true;
}

/* ---- CLUSTER NODES -------------------------------------------------------------------------------- */

static void put_flags(struct buf *b, uint32_t flags)
{
    static const char *const names[] = {"myself", "master",    "slave",  "fail?",
                                        "fail",   "handshake", "noaddr", "nofailover"};
    bool any = false;
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if (!(flags >> i & 1))
            continue;
        buf_printf(b, "%s%s", any ? "," : "", names[i]);
        any = true;
    }
    if (!any)
        buf_puts(b, STR("noflags"));
}

static void put_slots(struct buf *b, const struct cluster_view *v, uint32_t node)
{
    uint32_t at = 0, first, last;
    while (next_run(v, node, &at, &first, &last))
        buf_printf(b, first == last ? " %u" : " %u-%u", first, last);
    if (node != v->me)
        return;
    for (uint32_t i = 0; i < SLOT_COUNT; i++) {
        if (v->to[i] != VIEW_NOBODY)
            buf_printf(b, " [%u->-%s]", i, v->nodes[v->to[i]].id);
        else if (v->from[i] != VIEW_NOBODY)
            buf_printf(b, " [%u-<-%s]", i, v->nodes[v->from[i]].id);
    }
}

void cluster_put_node(struct buf *b, const struct cluster_view *v, uint32_t node)
{
    const struct view_node *n = &v->nodes[node];
    buf_printf(b, "%s %s:%u@%u%s%s ", n->id, n->ip, n->port, n->cport, n->hostname[0] != '\0' ? "," : "",
               n->hostname);
    put_flags(b, n->flags);
    buf_printf(b, " %s %lld %lld %llu %s", n->primary != VIEW_NOBODY ? v->nodes[n->primary].id : "-",
               (long long)n->ping_ms, (long long)n->pong_ms, (unsigned long long)n->epoch,
               n->connected || (n->flags & VIEW_MYSELF) ? "connected" : "disconnected");
    put_slots(b, v, node);
}

void cluster_put_nodes(struct buf *b, const struct cluster_view *v)
{
    for (uint32_t i = 1; i < v->nnodes; i++) {
        if (v->nodes[i].id[0] == '\0')
            continue;
        cluster_put_node(b, v, i);
        buf_putc(b, '\n');
    }
}

/* ---- CLUSTER SLOTS -------------------------------------------------------------------------------- */

static void reply_slot_node(struct reply *r, const struct view_node *n, enum endpoint_type type)
{
    bool hostname = type != ENDPOINT_HOSTNAME && n->hostname[0] != '\0', ip = type != ENDPOINT_IP;
    reply_array(r, 4);
    if (type == ENDPOINT_UNKNOWN)
        reply_null(r);
    else
        reply_cstr(r, n->host);
    reply_int(r, n->port);
    reply_cstr(r, n->id);
    reply_map(r, (uint64_t)hostname + ip);
    if (ip) {
        reply_cstr(r, "ip");
        reply_cstr(r, n->ip);
    }
    if (hostname) {
        reply_cstr(r, "hostname");
        reply_cstr(r, n->hostname);
    }
}

/* A replica that clients may read from. */
static bool is_usable_replica(const struct view_node *n, uint32_t of)
{
    return (n->flags & VIEW_REPLICA) && n->primary == of && !(n->flags & VIEW_FAIL) && n->offset > 0;
}

void cluster_reply_slots(struct reply *r, const struct cluster_view *v, enum endpoint_type type)
{
    uint64_t runs = 0;
    size_t list = reply_deferred(r);
    for (uint32_t slot = 0; slot < SLOT_COUNT;) {
        uint32_t owner = v->owner[slot], first, last, replicas = 0;
        if (owner == VIEW_NOBODY) {
            slot++;
            continue;
        }
        next_run(v, owner, &slot, &first, &last);
        for (uint32_t i = 1; i < v->nnodes; i++)
            replicas += is_usable_replica(&v->nodes[i], owner);
        reply_array(r, 3 + replicas);
        reply_int(r, first);
        reply_int(r, last);
        reply_slot_node(r, &v->nodes[owner], type);
        for (uint32_t i = 1; i < v->nnodes; i++)
            if (is_usable_replica(&v->nodes[i], owner))
                reply_slot_node(r, &v->nodes[i], type);
        runs++;
    }
    reply_deferred_end(r, list, '*', runs);
}

/* ---- CLUSTER SHARDS ------------------------------------------------------------------------------- */

static const char *health_of(const struct view_node *n)
{
    if (n->flags & (VIEW_FAIL | VIEW_PFAIL))
        return "fail";
    return (n->flags & VIEW_REPLICA) && n->offset == 0 ? "loading" : "online";
}

static void reply_shard_node(struct reply *r, const struct view_node *n)
{
    bool hostname = n->hostname[0] != '\0';
    reply_map(r, 7 + hostname);
    reply_cstr(r, "id");
    reply_cstr(r, n->id);
    reply_cstr(r, "port");
    reply_int(r, n->port);
    reply_cstr(r, "ip");
    reply_cstr(r, n->ip);
    reply_cstr(r, "endpoint");
    reply_cstr(r, n->host);
    if (hostname) {
        reply_cstr(r, "hostname");
        reply_cstr(r, n->hostname);
    }
    reply_cstr(r, "role");
    reply_cstr(r, n->flags & VIEW_REPLICA ? "replica" : "master");
    reply_cstr(r, "replication-offset");
    reply_int(r, (int64_t)n->offset);
    reply_cstr(r, "health");
    reply_cstr(r, health_of(n));
}

static void reply_shard(struct reply *r, const struct cluster_view *v, uint32_t primary)
{
    uint64_t n = 0;
    uint32_t at = 0, first, last;
    reply_map(r, 2);
    reply_cstr(r, "slots");
    size_t list = reply_deferred(r);
    while (next_run(v, primary, &at, &first, &last)) {
        reply_int(r, first);
        reply_int(r, last);
        n += 2;
    }
    reply_deferred_end(r, list, '*', n);
    reply_cstr(r, "nodes");
    n = 1;
    list = reply_deferred(r);
    reply_shard_node(r, &v->nodes[primary]);
    for (uint32_t i = 1; i < v->nnodes; i++)
        if (v->nodes[i].primary == primary) {
            reply_shard_node(r, &v->nodes[i]);
            n++;
        }
    reply_deferred_end(r, list, '*', n);
}

void cluster_reply_shards(struct reply *r, const struct cluster_view *v)
{
    uint64_t n = 0;
    size_t list = reply_deferred(r);
    for (uint32_t i = 1; i < v->nnodes; i++) {
        const struct view_node *node = &v->nodes[i];
        if (node->primary != VIEW_NOBODY || node->id[0] == '\0' || (node->flags & VIEW_HANDSHAKE))
            continue;
        reply_shard(r, v, i);
        n++;
    }
    reply_deferred_end(r, list, '*', n);
}
