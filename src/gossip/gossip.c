#include "gossip/gossip_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"

#include <string.h>

enum {
    WAKE_MS = 2000,      /* a primary that starts waits for news before it serves */
    REJOIN_MIN_MS = 500, /* ... and after it was cut off, the node timeout within these */
    REJOIN_MAX_MS = 5000,
    HANDSHAKE_MIN_MS = 1000,
    PING_TICKS = 10,
    PING_CANDIDATES = 5,
};

/* ---- nodes ----------------------------------------------------------------------------------------- */

struct node *gossip_find(const struct gossip *g, const char *id)
{
    struct node *n = g->nodes;
    while (n != NULL && strcmp(n->id, id) != 0)
        n = n->next;
    return n;
}

struct node *node_add(struct gossip *g, const char *id, uint32_t flags)
{
    if (g->nnodes == GOSSIP_NODES_MAX)
        return NULL;
    struct node *n = mem_zalloc(sizeof *n);
    if (n == NULL)
        return NULL;
    memcpy(n->id, id, PACKET_ID);
    n->flags = flags;
    n->born_ms = g->now_ms;
    n->next = g->nodes;
    g->nodes = n;
    g->nnodes++;
    g->todo.view = true;
    return n;
}

void node_unlink(struct gossip *g, struct node *n)
{
    if (n->link != 0)
        g->io.close(g->io.ctx, n->link);
    n->link = 0;
    n->link_up = false;
}

static void forget_slots(struct gossip *g, const struct node *n)
{
    for (uint32_t i = 0; i < PACKET_SLOTS; i++) {
        if (g->owner[i] == n)
            slot_give(g, i, NULL);
        if (g->to[i] == n)
            g->to[i] = NULL;
        if (g->from[i] == n)
            g->from[i] = NULL;
    }
}

void node_remove(struct gossip *g, struct node *n)
{
    ASSERT(n != g->myself);
    forget_slots(g, n);
    forget_reports_by(g, n);
    free_reports(n);
    node_unlink(g, n);
    for (struct node **at = &g->nodes; *at != NULL;) {
        if ((*at)->primary == n)
            (*at)->primary = NULL;
        if (*at == n)
            *at = n->next;
        else
            at = &(*at)->next;
    }
    if (g->handover_to == n)
        end_handover(g);
    g->nnodes--;
    g->todo.view = true;
    mem_free(n);
}

uint32_t node_replicas(const struct gossip *g, const struct node *n, bool living)
{
    uint32_t count = 0;
    for (const struct node *r = g->nodes; r != NULL; r = r->next)
        count += r->primary == n && !(living && (r->flags & NODE_FAIL));
    return count;
}

void node_make_primary(struct gossip *g, struct node *n)
{
    if (is_primary(n))
        return;
    if (n->primary != NULL && n != g->myself)
        n->flags |= NODE_MIGRATE_TO;
    n->primary = NULL;
    n->flags = (n->flags & ~(uint32_t)NODE_REPLICA) | NODE_PRIMARY;
    g->todo.save = g->todo.view = true;
    if (n == g->myself)
        g->todo.role = true;
}

void node_make_replica(struct gossip *g, struct node *n, struct node *primary)
{
    n->flags = (n->flags & ~(uint32_t)(NODE_PRIMARY | NODE_MIGRATE_TO)) | NODE_REPLICA;
    n->primary = primary;
    if (primary != NULL)
        primary->flags |= NODE_MIGRATE_TO;
    g->todo.save = g->todo.view = true;
}

void close_slots(struct gossip *g)
{
    memset(g->to, 0, sizeof g->to);
    memset(g->from, 0, sizeof g->from);
    g->todo.save = g->todo.view = true;
}

void follow(struct gossip *g, struct node *primary)
{
    ASSERT(primary != g->myself && is_primary(primary));
    end_handover(g);
    if (is_primary(g->myself))
        close_slots(g);
    node_make_replica(g, g->myself, primary);
    g->todo.role = true;
}

/* ---- slots ----------------------------------------------------------------------------------------- */

void slot_give(struct gossip *g, uint32_t slot, struct node *n)
{
    struct node *old = g->owner[slot];
    if (old == n)
        return;
    if (old != NULL) {
        packet_set_slot(old->slots, slot, false);
        old->nslots--;
    }
    if (n != NULL) {
        if (n->nslots == 0 && n != g->myself && old != NULL && (old->flags & NODE_MIGRATE_TO))
            n->flags |= NODE_MIGRATE_TO;
        packet_set_slot(n->slots, slot, true);
        n->nslots++;
    }
    if (old == g->myself && n != NULL) {
        packet_set_slot(g->todo.lost, slot, true);
        g->todo.drop = true;
    }
    if (n == g->myself)
        packet_set_slot(g->todo.lost, slot, false);
    g->owner[slot] = n;
    g->todo.save = g->todo.view = true;
}

/* ---- do we serve? ------------------------------------------------------------------------------------ */

static bool is_covered(const struct gossip *g)
{
    for (uint32_t i = 0; i < PACKET_SLOTS; i++)
        if (g->owner[i] == NULL || (g->owner[i]->flags & NODE_FAIL))
            return false;
    return true;
}

static int64_t rejoin_ms(const struct gossip *g)
{
    int64_t ms = g->opt.timeout_ms;
    return ms < REJOIN_MIN_MS ? REJOIN_MIN_MS : ms > REJOIN_MAX_MS ? REJOIN_MAX_MS : ms;
}

void gossip_judge(struct gossip *g)
{
    uint32_t reachable = 0;
    if (g->served_since_ms == 0)
        g->served_since_ms = g->now_ms;
    if (is_primary(g->myself) && !g->up && g->now_ms - g->served_since_ms < WAKE_MS)
        return;
    bool up = !g->opt.full_coverage || is_covered(g);
    g->size = 0;
    for (const struct node *n = g->nodes; n != NULL; n = n->next)
        if (is_primary(n) && n->nslots > 0) {
            g->size++;
            reachable += (n->flags & (NODE_PFAIL | NODE_FAIL)) == 0;
        }
    if (reachable < majority(g)) {
        up = false;
        g->minority_ms = g->now_ms;
    }
    if (up == g->up)
        return;
    if (up && is_primary(g->myself) && g->now_ms - g->minority_ms < rejoin_ms(g))
        return;
    g->up = up;
    g->todo.view = true;
}

/* ---- life -------------------------------------------------------------------------------------------- */

int gossip_init(struct gossip *g, const struct gossip_io *io, const struct gossip_options *opt, uint64_t seed,
                int64_t now_ms)
{
    memset(g, 0, sizeof *g);
    g->io = *io;
    g->opt = *opt;
    g->now_ms = g->born_ms = now_ms;
    rng_init(&g->rng, seed);
    buf_init(&g->out);
    g->size = 1;
    return 0;
}

int gossip_be_new(struct gossip *g, const char *id)
{
    g->myself = node_add(g, id, NODE_MYSELF | NODE_PRIMARY);
    g->todo.save = g->todo.sync = true;
    return g->myself != NULL ? 0 : ERR_OOM;
}

static void forget_forgotten(struct gossip *g, int64_t until_ms)
{
    for (struct forgotten **at = &g->forgotten; *at != NULL;) {
        struct forgotten *f = *at;
        if (f->until_ms > until_ms) {
            at = &f->next;
            continue;
        }
        *at = f->next;
        mem_free(f);
    }
}

bool is_forgotten(struct gossip *g, const char *id)
{
    forget_forgotten(g, g->now_ms);
    for (const struct forgotten *f = g->forgotten; f != NULL; f = f->next)
        if (strcmp(f->id, id) == 0)
            return true;
    return false;
}

void gossip_release(struct gossip *g)
{
    while (g->nodes != NULL) {
        struct node *n = g->nodes;
        g->nodes = n->next;
        free_reports(n);
        mem_free(n);
    }
    forget_forgotten(g, INT64_MAX);
    buf_release(&g->out);
}

/* ---- links --------------------------------------------------------------------------------------------- */

static struct node *node_of_link(const struct gossip *g, uint64_t link)
{
    struct node *n = g->nodes;
    while (n != NULL && n->link != link)
        n = n->next;
    return n;
}

void gossip_opened(struct gossip *g, uint64_t link)
{
    struct node *n = node_of_link(g, link);
    if (n == NULL)
        return;
    int64_t waiting = n->ping_ms;
    n->link_up = true;
    n->link_ms = g->now_ms;
    send_ping(g, n, n->flags & NODE_MEET ? PACKET_MEET : PACKET_PING);
    if (waiting != 0) /* it owes us an answer since then, whatever happened to the link */
        n->ping_ms = waiting;
    n->flags &= ~(uint32_t)NODE_MEET;
}

void gossip_closed(struct gossip *g, uint64_t link)
{
    for (struct node *n = g->nodes; n != NULL; n = n->next) {
        if (n->link == link) {
            n->link = 0;
            n->link_up = false;
            if (n->ping_ms == 0) /* no answer can come any more: suspicion counts from now */
                n->ping_ms = g->now_ms;
        }
        if (n->inbound == link)
            n->inbound = 0;
    }
}

/* ---- time ---------------------------------------------------------------------------------------------- */

/* Connect where we are not. A handshake that takes too long is given up. */
static void look_after_links(struct gossip *g)
{
    int64_t handshake = g->opt.timeout_ms < HANDSHAKE_MIN_MS ? HANDSHAKE_MIN_MS : g->opt.timeout_ms;
    for (struct node *n = g->nodes, *next; n != NULL; n = next) {
        next = n->next;
        if (n->flags & (NODE_MYSELF | NODE_NOADDR))
            continue;
        if ((n->flags & NODE_HANDSHAKE) && g->now_ms - n->born_ms > handshake) {
            node_remove(g, n);
            continue;
        }
        if (n->link != 0)
            continue;
        n->link = g->io.open(g->io.ctx, n->ip, n->cport);
        n->link_ms = g->now_ms;
        if (n->link == 0 && n->ping_ms == 0)
            n->ping_ms =
                g->now_ms; /* nobody can be reached without a ping on its way: suspicion counts from now */
    }
}

/* Once a second, whoever of a few has been silent longest. */
static void ping_somebody(struct gossip *g)
{
    struct node *best = NULL;
    if (g->ticks % PING_TICKS != 0 || g->nnodes < 2)
        return;
    for (unsigned i = 0; i < PING_CANDIDATES; i++) {
        struct node *n = g->nodes;
        for (uint64_t k = rng_below(&g->rng, g->nnodes); k > 0; k--)
            n = n->next;
        if (n->link_up && n->ping_ms == 0 && !(n->flags & (NODE_MYSELF | NODE_HANDSHAKE)) &&
            (best == NULL || n->pong_ms < best->pong_ms))
            best = n;
    }
    if (best != NULL)
        send_ping(g, best, PACKET_PING);
}

/* False: nothing is known against it. */
static bool looks_dead(struct gossip *g, struct node *n)
{
    int64_t silent = g->now_ms - n->ping_ms, mute = g->now_ms - n->heard_ms;
    return (mute < silent ? mute : silent) > g->opt.timeout_ms;
}

static void look_after_node(struct gossip *g, struct node *n)
{
    int64_t half = g->opt.timeout_ms / 2;
    /* A link may be dead without saying so. */
    if (n->link != 0 && n->ping_ms != 0 && g->now_ms - n->link_ms > g->opt.timeout_ms &&
        g->now_ms - n->ping_ms > half && g->now_ms - n->heard_ms > half)
        node_unlink(g, n);
    if (n->link_up && n->ping_ms == 0 && g->now_ms - n->pong_ms > half) {
        send_ping(g, n, PACKET_PING);
        return;
    }
    if (n->link_up && g->handover_ms != 0 && is_primary(g->myself) && g->handover_to == n) {
        send_ping(g, n, PACKET_PING);
        return;
    }
    if (n->ping_ms == 0 || !looks_dead(g, n) || (n->flags & (NODE_PFAIL | NODE_FAIL)))
        return;
    n->flags |= NODE_PFAIL;
    g->todo.view = true;
    mark_failing(g, n); /* alone, or after others: the last report may be our own */
    gossip_judge(g);
}

void gossip_tick(struct gossip *g)
{
    g->ticks++;
    look_after_links(g);
    ping_somebody(g);
    for (struct node *n = g->nodes; n != NULL; n = n->next)
        if (!(n->flags & (NODE_MYSELF | NODE_NOADDR | NODE_HANDSHAKE)))
            look_after_node(g, n);
    watch_handover(g);
    if (is_replica(g->myself)) {
        stand_for_election(g);
        adopt_orphan(g);
    }
    gossip_judge(g);
}
