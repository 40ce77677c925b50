/* What is said: the header is the same for all, a ping also carries a sample of what is known of others. */
#include "gossip/gossip_internal.h"

#include "base/alloc.h"

#include <string.h>

enum { GOSSIP_MIN = 3, GOSSIP_SHARE = 10, WIRE_FLAGS = 0x3ff };

static void fill_header(struct gossip *g, struct packet *k, enum packet_type type)
{
    const struct node *me = g->myself;
    /* A replica speaks for its primary's slots, so that who has old news of them can be told. */
    const struct node *primary = is_replica(me) && me->primary != NULL ? me->primary : me;
    memset(k, 0, sizeof *k);
    k->type = (uint16_t)type;
    k->port = g->opt.port;
    k->cport = g->opt.cport;
    k->flags = (uint16_t)(me->flags & WIRE_FLAGS);
    if (g->opt.no_failover)
        k->flags |= NODE_NOFAILOVER;
    k->current_epoch = g->current_epoch;
    k->config_epoch = primary->config_epoch;
    k->offset = g->self.offset;
    memcpy(k->sender, me->id, sizeof k->sender);
    if (is_replica(me) && me->primary != NULL)
        memcpy(k->primary, me->primary->id, sizeof k->primary);
    memcpy(k->ip, g->opt.announce_ip, sizeof k->ip);
    memcpy(k->slots, primary->slots, sizeof k->slots);
    k->state = !g->up;
    k->flags0 = PACKET_EXTENDS;
    if (is_primary(me) && g->handover_ms != 0)
        k->flags0 |= PACKET_PAUSED;
}

static void put(struct gossip *g, uint64_t link, const struct packet *k, const struct packet_gossip *entries)
{
    buf_clear(&g->out);
    if (link == 0 || packet_write(&g->out, k, entries) != 0)
        return;
    g->stats.sent[k->type]++;
    g->io.send(g->io.ctx, link, g->out.p, g->out.n);
}

static void describe(const struct node *n, struct packet_gossip *e)
{
    memset(e, 0, sizeof *e);
    memcpy(e->id, n->id, sizeof e->id);
    memcpy(e->ip, n->ip, sizeof e->ip);
    e->ping_s = (uint32_t)(n->ping_ms / 1000);
    e->pong_s = (uint32_t)(n->pong_ms / 1000);
    e->port = n->port;
    e->cport = n->cport;
    e->flags = (uint16_t)(n->flags & WIRE_FLAGS);
}

static bool worth_telling(const struct gossip *g, const struct node *n, const struct node *listener)
{
    return n != g->myself && n != listener && !(n->flags & (NODE_HANDSHAKE | NODE_NOADDR)) &&
           (n->link_up || n->nslots > 0);
}

/* A tenth of all nodes beginning at random, and everybody who is suspected. */
static uint32_t choose(struct gossip *g, const struct node *listener, struct packet_gossip *entries,
                       uint32_t want)
{
    uint32_t n = 0, start = (uint32_t)rng_below(&g->rng, g->nnodes), i = 0;
    for (unsigned lap = 0; lap < 2; lap++, i = 0)
        for (const struct node *o = g->nodes; o != NULL && n < want; o = o->next, i++)
            if ((lap == 0) == (i >= start) && worth_telling(g, o, listener) && !(o->flags & NODE_PFAIL))
                describe(o, &entries[n++]);
    for (const struct node *o = g->nodes; o != NULL; o = o->next)
        if ((o->flags & NODE_PFAIL) && o != listener && !(o->flags & (NODE_HANDSHAKE | NODE_NOADDR)))
            describe(o, &entries[n++]);
    return n;
}

static void send_with_gossip(struct gossip *g, uint64_t link, const struct node *listener,
                             enum packet_type type)
{
    uint32_t want = g->nnodes / GOSSIP_SHARE < GOSSIP_MIN ? GOSSIP_MIN : g->nnodes / GOSSIP_SHARE;
    struct packet_gossip *entries = mem_alloc((size_t)(want + g->nnodes) * sizeof *entries);
    if (entries == NULL)
        return;
    fill_header(g, &g->packet, type);
    if (listener != NULL && listener->extends)
        memcpy(g->packet.hostname, g->opt.hostname, sizeof g->packet.hostname);
    g->packet.count = (uint16_t)choose(g, listener, entries, want);
    put(g, link, &g->packet, entries);
    mem_free(entries);
}

void send_ping(struct gossip *g, struct node *n, enum packet_type type)
{
    if (!n->link_up)
        return;
    if (type == PACKET_PING || type == PACKET_MEET)
        n->ping_ms = g->now_ms;
    send_with_gossip(g, n->link, n, type);
}

void send_to_link(struct gossip *g, uint64_t link, enum packet_type type)
{
    const struct node *n = g->nodes;
    while (n != NULL && n->inbound != link && n->link != link)
        n = n->next;
    if (type <= PACKET_MEET) {
        send_with_gossip(g, link, n, type);
        return;
    }
    fill_header(g, &g->packet, type);
    put(g, link, &g->packet, NULL);
}

void send_to_all(struct gossip *g, enum packet_type type)
{
    for (struct node *n = g->nodes; n != NULL; n = n->next)
        if (n->link_up && !(n->flags & NODE_HANDSHAKE))
            send_to_link(g, n->link, type);
}

void send_to_shard(struct gossip *g, enum packet_type type)
{
    const struct node *primary = primary_of(g->myself);
    for (struct node *n = g->nodes; n != NULL; n = n->next)
        if (n->link_up && primary != NULL && n->primary == primary)
            send_to_link(g, n->link, type);
}

void send_fail(struct gossip *g, const struct node *failed)
{
    for (struct node *n = g->nodes; n != NULL; n = n->next) {
        if (!n->link_up || (n->flags & NODE_HANDSHAKE))
            continue;
        fill_header(g, &g->packet, PACKET_FAIL);
        memcpy(g->packet.node, failed->id, sizeof g->packet.node);
        put(g, n->link, &g->packet, NULL);
    }
}

void send_update(struct gossip *g, uint64_t link, const struct node *about)
{
    fill_header(g, &g->packet, PACKET_UPDATE);
    memcpy(g->packet.node, about->id, sizeof g->packet.node);
    g->packet.node_epoch = about->config_epoch;
    memcpy(g->packet.node_slots, about->slots, sizeof g->packet.node_slots);
    put(g, link, &g->packet, NULL);
}

void send_auth_request(struct gossip *g)
{
    for (struct node *n = g->nodes; n != NULL; n = n->next) {
        if (!n->link_up || (n->flags & NODE_HANDSHAKE))
            continue;
        fill_header(g, &g->packet, PACKET_AUTH_REQUEST);
        if (g->handover_ms != 0)
            g->packet.flags0 |= PACKET_FORCEACK;
        put(g, n->link, &g->packet, NULL);
    }
}
