/* What is heard. Every message has the sender's view of itself in its header; pings and pongs have some of
 * what it knows of others behind it. Believed is what a known node says, with the newer epoch. */
#include "gossip/gossip_internal.h"

#include "base/err.h"

#include <string.h>

enum { FUTURE_MS = 500 };

/* ---- addresses ------------------------------------------------------------------------------------------
 */

static void set_address(struct gossip *g, struct node *n, const char *ip, uint16_t port, uint16_t cport)
{
    if (strcmp(n->ip, ip) == 0 && n->port == port && n->cport == cport)
        return;
    memset(n->ip, 0, sizeof n->ip);
    memcpy(n->ip, ip, strnlen(ip, sizeof n->ip - 1));
    n->port = port;
    n->cport = cport;
    n->flags &= ~(uint32_t)NODE_NOADDR;
    node_unlink(g, n);
    g->todo.save = g->todo.view = true;
    if (g->myself->primary == n)
        g->todo.role = true; /* the same primary elsewhere */
}

/* Where the sender of k can be reached. */
static bool address_of(struct gossip *g, uint64_t link, const struct packet *k, char ip[PACKET_IP])
{
    if (k->ip[0] != '\0') {
        memcpy(ip, k->ip, PACKET_IP);
        return true;
    }
    return g->io.peer_ip(g->io.ctx, link, ip);
}

static void refresh_address(struct gossip *g, uint64_t link, struct node *sender, const struct packet *k)
{
    char ip[PACKET_IP];
    if (link != sender->link && address_of(g, link, k, ip))
        set_address(g, sender, ip, k->port, k->cport);
}

/* Whoever is met is told how it is called. */
static void learn_own_ip(struct gossip *g, uint64_t link, enum packet_type type)
{
    char ip[PACKET_IP];
    if ((type != PACKET_MEET && g->myself->ip[0] != '\0') || g->opt.announce_ip[0] != '\0')
        return;
    if (!g->io.local_ip(g->io.ctx, link, ip) || strcmp(ip, g->myself->ip) == 0)
        return;
    memcpy(g->myself->ip, ip, sizeof g->myself->ip);
    g->todo.save = g->todo.view = true;
}

/* ---- who owns what ----------------------------------------------------------------------------------------
 */

static struct node *shard_of_mine(struct gossip *g)
{
    return primary_of(g->myself);
}

/* `owner` says, with this epoch, that these slots are its. */
static void claim_slots(struct gossip *g, struct node *owner, uint64_t epoch, const uint8_t *slots)
{
    struct node *mine = shard_of_mine(g);
    uint32_t claimed = 0, taken = 0;
    if (owner == g->myself)
        return;
    for (uint32_t i = 0; i < PACKET_SLOTS; i++) {
        if (!packet_has_slot(slots, i))
            continue;
        claimed++;
        struct node *old = g->owner[i];
        if (old == owner || g->from[i] != NULL) /* one that is coming here is given by hand only */
            continue;
        if (old != NULL && old->config_epoch >= epoch)
            continue;
        taken += old == mine && mine != NULL;
        if (old == g->myself)
            g->to[i] = NULL;
        slot_give(g, i, owner);
    }
    /* The last of them is gone: whoever had them follows who has them now. */
    if (mine != NULL && taken > 0 && mine->nslots == 0 && mine != owner &&
        (g->opt.may_migrate || claimed == taken)) {
        follow(g, owner);
    } else if (is_replica(g->myself) && g->myself->primary != NULL && is_replica(g->myself->primary) &&
               g->myself->primary->primary != NULL && g->myself->primary->primary != g->myself &&
               is_primary(g->myself->primary->primary)) {
        follow(g, g->myself->primary->primary); /* no replicas of replicas */
    }
}

/* The sender has old news about a slot: tell it, once. */
static void correct(struct gossip *g, uint64_t link, struct node *sender, const struct packet *k)
{
    for (uint32_t i = 0; i < PACKET_SLOTS; i++) {
        struct node *owner = g->owner[i];
        if (!packet_has_slot(k->slots, i) || owner == NULL || owner == sender ||
            owner == primary_of(sender) || owner->config_epoch <= k->config_epoch)
            continue;
        send_update(g, sender->link_up ? sender->link : link, owner);
        return;
    }
}

/* Two primaries with one epoch: the one with the smaller id takes another. */
static void part_epochs(struct gossip *g, const struct node *sender, uint64_t epoch)
{
    struct node *me = g->myself;
    if (!is_primary(me) || !is_primary(sender) || epoch != me->config_epoch ||
        strcmp(sender->id, me->id) <= 0)
        return;
    me->config_epoch = ++g->current_epoch;
    g->todo.save = g->todo.sync = g->todo.view = true;
}

/* ---- pings, pongs, meetings -----------------------------------------------------------------------------
 */

static void hear_of(struct gossip *g, struct node *sender, const struct packet_gossip *e)
{
    struct node *n = gossip_find(g, e->id);
    if (n == NULL) {
        if ((e->flags & (NODE_NOADDR | NODE_HANDSHAKE)) || e->ip[0] == '\0' || is_forgotten(g, e->id))
            return;
        n = node_add(g, e->id, e->flags & (NODE_PRIMARY | NODE_REPLICA));
        if (n == NULL)
            return;
        memcpy(n->ip, e->ip, sizeof n->ip);
        n->port = e->port;
        n->cport = e->cport;
        g->todo.save = true;
        return;
    }
    bool bad = e->flags & (NODE_PFAIL | NODE_FAIL);
    if (is_primary(sender) && n != g->myself) {
        if (bad) {
            report_failure(g, n, sender);
            mark_failing(g, n);
        } else {
            report_recovery(n, sender);
        }
    }
    int64_t pong = (int64_t)e->pong_s * 1000;
    if (!bad && n->ping_ms == 0 && n->reports == NULL && pong <= g->now_ms + FUTURE_MS && pong > n->pong_ms)
        n->pong_ms = pong;
    /* We cannot reach it where it was, and somebody can elsewhere. */
    if (!bad && (n->flags & (NODE_PFAIL | NODE_FAIL)) && !(e->flags & NODE_NOADDR) && e->ip[0] != '\0' &&
        n != g->myself)
        set_address(g, n, e->ip, e->port, e->cport);
}

static void hear_gossip(struct gossip *g, struct node *sender, const struct packet *k)
{
    struct packet_gossip e;
    for (uint32_t i = 0; i < k->count; i++) {
        packet_gossip_at(k, i, &e);
        hear_of(g, sender, &e);
    }
}

/* An answer on a link that we have opened: is it who we think? False: the link, or the node, is gone. */
static bool identify(struct gossip *g, uint64_t link, struct node *n, struct node *sender,
                     const struct packet *k)
{
    if (n->flags & NODE_HANDSHAKE) {
        if (sender != NULL) { /* known already: under the address that was tried, it seems */
            refresh_address(g, 0, sender, k);
            node_remove(g, n);
            return false;
        }
        memcpy(n->id, k->sender, sizeof n->id);
        n->flags =
            (n->flags & ~(uint32_t)(NODE_HANDSHAKE | NODE_MEET)) | (k->flags & (NODE_PRIMARY | NODE_REPLICA));
        g->todo.save = g->todo.view = true;
    } else if (strcmp(n->id, k->sender) != 0) {
        /* Somebody else lives there now. */
        n->flags |= NODE_NOADDR;
        memset(n->ip, 0, sizeof n->ip);
        n->port = n->cport = 0;
        node_unlink(g, n);
        g->todo.save = g->todo.view = true;
        return false;
    }
    return true;
}

static void meet_stranger(struct gossip *g, uint64_t link, const struct packet *k)
{
    char ip[PACKET_IP], id[PACKET_ID + 1];
    if (!address_of(g, link, k, ip))
        return;
    /* A name for the time being; its own comes with its answer. */
    for (unsigned i = 0; i < PACKET_ID; i++)
        id[i] = "0123456789abcdef"[rng_below(&g->rng, 16)];
    id[PACKET_ID] = '\0';
    struct node *n = node_add(g, id, NODE_HANDSHAKE);
    if (n == NULL)
        return;
    memcpy(n->ip, ip, sizeof n->ip);
    n->port = k->port;
    n->cport = k->cport;
    g->todo.save = true;
}

static void learn_role(struct gossip *g, struct node *sender, const struct packet *k)
{
    if (k->primary[0] == '\0') {
        node_make_primary(g, sender);
        return;
    }
    struct node *primary = gossip_find(g, k->primary);
    if (is_primary(sender)) {
        for (uint32_t i = 0; sender->nslots > 0 && i < PACKET_SLOTS; i++)
            if (g->owner[i] == sender)
                slot_give(g, i, NULL);
        node_make_replica(g, sender, primary);
    } else if (primary != NULL && sender->primary != primary) {
        node_make_replica(g, sender, primary);
    }
}

static void learn_slots(struct gossip *g, uint64_t link, struct node *sender, const struct packet *k)
{
    struct node *owner = primary_of(sender);
    bool news = owner == NULL || memcmp(owner->slots, k->slots, sizeof k->slots) != 0;
    if (is_primary(sender) && news)
        claim_slots(g, sender, k->config_epoch, k->slots);
    if (news)
        correct(g, link, sender, k);
    part_epochs(g, sender, k->config_epoch);
}

static void note_pong(struct gossip *g, struct node *n)
{
    n->pong_ms = g->now_ms;
    n->ping_ms = 0;
    if (n->flags & NODE_PFAIL) {
        n->flags &= ~(uint32_t)NODE_PFAIL;
        g->todo.view = true;
    } else if (n->flags & NODE_FAIL) {
        clear_failure(g, n);
    }
}

static struct node *owner_of_link(const struct gossip *g, uint64_t link)
{
    for (struct node *n = g->nodes; n != NULL; n = n->next)
        if (n->link == link)
            return n;
    return NULL;
}

static void hear_greeting(struct gossip *g, uint64_t link, struct node *sender, const struct packet *k)
{
    enum packet_type type = (enum packet_type)k->type;
    if (type != PACKET_PONG) {
        learn_own_ip(g, link, type);
        if (sender == NULL && type == PACKET_MEET)
            meet_stranger(g, link, k);
        send_to_link(g, link, PACKET_PONG);
    }
    struct node *n = owner_of_link(g, link);
    if (n != NULL && !identify(g, link, n, sender, k))
        return;
    sender = gossip_find(g, k->sender); /* perhaps we know it by now */
    if (sender == NULL || sender == g->myself)
        return;
    if (n == NULL)
        sender->inbound = link;
    sender->extends = k->flags0 & PACKET_EXTENDS;
    sender->flags = (sender->flags & ~(uint32_t)NODE_NOFAILOVER) | (k->flags & NODE_NOFAILOVER);
    if (strcmp(sender->hostname, k->hostname) != 0 && (k->extensions > 0 || k->flags0 & PACKET_EXTENDS)) {
        memcpy(sender->hostname, k->hostname, sizeof sender->hostname);
        g->todo.save = g->todo.view = true;
    }
    if (type == PACKET_PING)
        refresh_address(g, link, sender, k);
    if (type == PACKET_PONG && n != NULL)
        note_pong(g, n);
    learn_role(g, sender, k);
    learn_slots(g, link, sender, k);
    hear_gossip(g, sender, k);
}

/* ---- the rest
 * ---------------------------------------------------------------------------------------------- */

static void hear_fail(struct gossip *g, const struct packet *k)
{
    struct node *n = gossip_find(g, k->node);
    if (n == NULL || (n->flags & (NODE_FAIL | NODE_MYSELF)))
        return;
    n->flags = (n->flags & ~(uint32_t)NODE_PFAIL) | NODE_FAIL;
    n->fail_ms = g->now_ms;
    g->todo.save = g->todo.view = true;
    gossip_judge(g);
}

static void hear_update(struct gossip *g, const struct packet *k)
{
    struct node *n = gossip_find(g, k->node);
    if (n == NULL || n->config_epoch >= k->node_epoch || n == g->myself)
        return;
    node_make_primary(g, n);
    n->config_epoch = k->node_epoch;
    g->todo.save = true;
    claim_slots(g, n, k->node_epoch, k->node_slots);
}

/* What every message of a known node tells. */
static void hear_header(struct gossip *g, struct node *sender, const struct packet *k)
{
    sender->heard_ms = g->now_ms;
    if (sender->flags & NODE_HANDSHAKE)
        return;
    if (k->current_epoch > g->current_epoch) {
        g->current_epoch = k->current_epoch;
        g->todo.save = true;
    }
    if (k->config_epoch > sender->config_epoch && (k->primary[0] == '\0' || !is_primary(sender))) {
        sender->config_epoch = k->config_epoch;
        g->todo.save = g->todo.view = true;
    }
    sender->offset = k->offset;
    sender->offset_ms = g->now_ms;
    if (g->handover_ms != 0 && is_replica(g->myself) && g->myself->primary == sender &&
        (k->flags0 & PACKET_PAUSED) && !g->handover_has_offset) {
        g->handover_has_offset = true;
        g->handover_offset = k->offset;
    }
}

int gossip_frame(struct gossip *g, uint64_t link, const uint8_t *p, size_t n)
{
    struct packet *k = &g->in;
    if (packet_read(k, p, n) != 0)
        return ERR_PROTO;
    if (k->type < PACKET_TYPES)
        g->stats.received[k->type]++;
    struct node *sender = gossip_find(g, k->sender);
    if (sender != NULL && (sender->flags & NODE_HANDSHAKE))
        sender = NULL;
    if (sender == g->myself)
        sender = NULL; /* somebody has our name, or we have met ourselves */
    if (sender != NULL)
        hear_header(g, sender, k);
    if (k->type <= PACKET_MEET)
        hear_greeting(g, link, sender, k);
    else if (sender == NULL)
        return 0;
    else if (k->type == PACKET_FAIL)
        hear_fail(g, k);
    else if (k->type == PACKET_UPDATE)
        hear_update(g, k);
    else if (k->type == PACKET_AUTH_REQUEST)
        answer_auth_request(g, sender, k);
    else if (k->type == PACKET_AUTH_ACK)
        count_vote(g, sender, k);
    else if (k->type == PACKET_MFSTART && is_primary(g->myself) && sender->primary == g->myself)
        begin_handover(g, sender);
    return 0;
}
