/* Who has failed, and who takes over. */
#include "gossip/gossip_internal.h"

#include "base/alloc.h"

#include <string.h>

enum {
    ELECTION_DELAY_MS = 500,  /* for the news of the failure to spread ... */
    ELECTION_RANDOM_MS = 500, /* ... and so that two do not stand at the same moment */
    ELECTION_RANK_MS = 1000,  /* for each replica that has more of the data */
    ELECTION_MIN_MS = 2000,
    ORPHAN_MS = 5000,
};

/* ---- reports ------------------------------------------------------------------------------------------- */

void report_failure(struct gossip *g, struct node *n, struct node *by)
{
    for (struct report *r = n->reports; r != NULL; r = r->next)
        if (r->by == by) {
            r->at_ms = g->now_ms;
            return;
        }
    struct report *r = mem_alloc(sizeof *r);
    if (r == NULL)
        return; /* it will say so again */
    *r = (struct report){.next = n->reports, .by = by, .at_ms = g->now_ms};
    n->reports = r;
}

static void drop_reports(struct node *n, const struct node *by, int64_t before_ms)
{
    for (struct report **at = &n->reports; *at != NULL;) {
        struct report *r = *at;
        if (r->by != by && r->at_ms >= before_ms) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        mem_free(r);
    }
}

void report_recovery(struct node *n, const struct node *by)
{
    drop_reports(n, by, INT64_MIN);
}

void forget_reports_by(struct gossip *g, const struct node *by)
{
    for (struct node *n = g->nodes; n != NULL; n = n->next)
        drop_reports(n, by, INT64_MIN);
}

void free_reports(struct node *n)
{
    drop_reports(n, NULL, INT64_MAX);
}

uint32_t gossip_count_reports(struct gossip *g, struct node *n)
{
    uint32_t count = 0;
    drop_reports(n, NULL, g->now_ms - 2 * g->opt.timeout_ms);
    for (const struct report *r = n->reports; r != NULL; r = r->next)
        count++;
    return count;
}

void mark_failing(struct gossip *g, struct node *n)
{
    if (!(n->flags & NODE_PFAIL) || (n->flags & NODE_FAIL))
        return;
    uint32_t votes = gossip_count_reports(g, n) + (is_primary(g->myself) && g->myself->nslots > 0);
    if (votes < majority(g))
        return;
    n->flags = (n->flags & ~(uint32_t)NODE_PFAIL) | NODE_FAIL;
    n->fail_ms = g->now_ms;
    g->todo.save = g->todo.view = true;
    if (is_primary(g->myself))
        send_fail(g, n);
    gossip_judge(g);
}

/* It answers again. A primary with slots has perhaps been replaced meanwhile, so it waits for news first. */
void clear_failure(struct gossip *g, struct node *n)
{
    if (is_primary(n) && n->nslots > 0 && g->now_ms - n->fail_ms <= 2 * g->opt.timeout_ms)
        return;
    n->flags &= ~(uint32_t)NODE_FAIL;
    g->todo.save = g->todo.view = true;
    gossip_judge(g);
}

/* ---- voting -----------------------------------------------------------------------------------------------
 */

static bool claims_are_fresh(const struct gossip *g, const struct packet *k)
{
    for (uint32_t i = 0; i < PACKET_SLOTS; i++)
        if (packet_has_slot(k->slots, i) && g->owner[i] != NULL &&
            g->owner[i]->config_epoch > k->config_epoch)
            return false;
    return true;
}

void answer_auth_request(struct gossip *g, struct node *sender, const struct packet *k)
{
    struct node *primary = sender->primary;
    if (!is_primary(g->myself) || g->myself->nslots == 0 || k->current_epoch < g->current_epoch ||
        g->voted_epoch == g->current_epoch || is_primary(sender) || primary == NULL)
        return;
    if (!(primary->flags & NODE_FAIL) && !(k->flags0 & PACKET_FORCEACK))
        return;
    if (g->now_ms - primary->voted_ms < 2 * g->opt.timeout_ms || !claims_are_fresh(g, k))
        return;
    primary->voted_ms = g->now_ms;
    g->voted_epoch = g->current_epoch;
    g->todo.save = g->todo.sync = true; /* before the vote leaves: the owner holds frames back until then */
    send_to_link(g, sender->link_up ? sender->link : sender->inbound, PACKET_AUTH_ACK);
}

void count_vote(struct gossip *g, struct node *sender, const struct packet *k)
{
    if (!is_primary(sender) || sender->nslots == 0 || k->current_epoch < g->election_epoch ||
        !g->election_sent)
        return;
    g->votes++;
    stand_for_election(g);
}

/* How many replicas of our primary have more of the data. */
static uint32_t my_rank(const struct gossip *g)
{
    uint32_t rank = 0;
    for (const struct node *n = g->nodes; n != NULL; n = n->next)
        rank += n != g->myself && n->primary == g->myself->primary && !(n->flags & NODE_NOFAILOVER) &&
                n->offset > g->self.offset;
    return rank;
}

static bool data_is_too_old(const struct gossip *g)
{
    int64_t age = g->now_ms - (g->self.link_up ? g->self.link_heard_ms : g->self.link_down_ms);
    if (age > g->opt.timeout_ms)
        age -= g->opt.timeout_ms;
    return g->opt.validity_factor > 0 &&
           age > g->opt.ping_period_ms + g->opt.timeout_ms * g->opt.validity_factor;
}

static bool may_stand(const struct gossip *g, bool by_hand)
{
    const struct node *me = g->myself, *primary = me->primary;
    if (!is_replica(me) || primary == NULL || primary->nslots == 0)
        return false;
    if (!(primary->flags & NODE_FAIL) && !by_hand)
        return false;
    return by_hand || (!g->opt.no_failover && !data_is_too_old(g));
}

static void announce_election(struct gossip *g)
{
    g->election_ms = g->now_ms + ELECTION_DELAY_MS + (int64_t)rng_below(&g->rng, ELECTION_RANDOM_MS);
    g->votes = 0;
    g->election_sent = false;
    g->rank = my_rank(g);
    g->election_ms += (int64_t)g->rank * ELECTION_RANK_MS;
    if (g->handover_ms != 0) {
        g->election_ms = g->now_ms;
        g->rank = 0;
    }
    send_to_shard(g, PACKET_PONG); /* so that the others know our offset */
}

void stand_for_election(struct gossip *g)
{
    bool by_hand = g->handover_ms != 0 && g->handover_ready;
    int64_t length = 2 * g->opt.timeout_ms < ELECTION_MIN_MS ? ELECTION_MIN_MS : 2 * g->opt.timeout_ms;
    if (!may_stand(g, by_hand))
        return;
    if (g->now_ms - g->election_ms > 2 * length) {
        announce_election(g);
        if (!by_hand)
            return;
    }
    uint32_t rank = my_rank(g);
    if (!g->election_sent && g->handover_ms == 0 && rank > g->rank) {
        g->election_ms += (int64_t)(rank - g->rank) * ELECTION_RANK_MS;
        g->rank = rank;
    }
    if (g->now_ms < g->election_ms || g->now_ms - g->election_ms > length)
        return;
    if (!g->election_sent) {
        g->election_epoch = ++g->current_epoch;
        g->election_sent = true;
        g->todo.save = g->todo.sync = true;
        send_auth_request(g);
    }
    if (g->votes < majority(g))
        return;
    if (g->myself->config_epoch < g->election_epoch)
        g->myself->config_epoch = g->election_epoch;
    replace_primary(g);
}

void replace_primary(struct gossip *g)
{
    struct node *old = g->myself->primary;
    if (is_primary(g->myself) || old == NULL)
        return;
    node_make_primary(g, g->myself);
    for (uint32_t i = 0; i < PACKET_SLOTS; i++)
        if (g->owner[i] == old)
            slot_give(g, i, g->myself);
    g->myself->flags |= NODE_MIGRATE_TO;
    g->election_sent = false;
    end_handover(g);
    gossip_judge(g);
    g->todo.save = g->todo.sync = g->todo.view = g->todo.role = true;
    send_to_all(g, PACKET_PONG);
}

/* ---- a failover by hand
 * ------------------------------------------------------------------------------------- */

void end_handover(struct gossip *g)
{
    if (g->handover_ms != 0 && is_primary(g->myself) && g->handover_to != NULL) {
        g->todo.pause = true;
        g->todo.pause_until_ms = 0;
    }
    g->handover_ms = 0;
    g->handover_ready = g->handover_has_offset = false;
    g->handover_to = NULL;
}

/* The primary's side: no writes, and pings at every tick, so that the replica learns where we stand. */
void begin_handover(struct gossip *g, struct node *replica)
{
    end_handover(g);
    g->handover_ms = g->now_ms + GOSSIP_HANDOVER_MS;
    g->handover_to = replica;
    g->todo.pause = true;
    g->todo.pause_until_ms = g->now_ms + 2 * GOSSIP_HANDOVER_MS;
}

void gossip_failover(struct gossip *g, bool force)
{
    end_handover(g);
    g->handover_ms = g->now_ms + GOSSIP_HANDOVER_MS;
    g->election_ms = 0; /* whatever election there was */
    if (force)
        g->handover_ready = true;
    else
        send_to_link(g, g->myself->primary->link, PACKET_MFSTART);
    stand_for_election(g);
}

void gossip_takeover(struct gossip *g)
{
    gossip_bump_epoch(g);
    replace_primary(g);
}

void watch_handover(struct gossip *g)
{
    if (g->handover_ms == 0)
        return;
    if (g->now_ms > g->handover_ms) {
        end_handover(g);
        return;
    }
    if (is_replica(g->myself) && g->handover_has_offset && g->self.offset >= g->handover_offset)
        g->handover_ready = true;
}

/* ---- a primary without replicas gets one of somebody who has several
 * ------------------------------------------ */

static bool is_orphan(struct gossip *g, struct node *n)
{
    bool alone = is_primary(n) && !(n->flags & NODE_FAIL) && n->nslots > 0 && (n->flags & NODE_MIGRATE_TO) &&
                 node_replicas(g, n, true) == 0;
    if (!alone)
        n->orphaned_ms = 0;
    else if (n->orphaned_ms == 0)
        n->orphaned_ms = g->now_ms;
    return alone;
}

void adopt_orphan(struct gossip *g)
{
    struct node *mine = g->myself->primary, *orphan = NULL;
    uint32_t most = 0;
    for (struct node *n = g->nodes; n != NULL; n = n->next) {
        if (is_orphan(g, n) && orphan == NULL)
            orphan = n;
        uint32_t have = is_primary(n) ? node_replicas(g, n, true) : 0;
        most = have > most ? have : most;
    }
    if (!g->up || !g->opt.may_migrate || orphan == NULL || mine == NULL || orphan == mine ||
        g->now_ms - orphan->orphaned_ms < ORPHAN_MS)
        return;
    uint32_t have = node_replicas(g, mine, true);
    if (have != most || have < 2 || (int64_t)have <= g->opt.migration_barrier)
        return;
    /* Of all who could go, the one with the smallest id does. */
    for (const struct node *n = g->nodes; n != NULL; n = n->next)
        if (is_replica(n) && n->primary != NULL && !(n->flags & NODE_FAIL) &&
            node_replicas(g, n->primary, true) == most && strcmp(n->id, g->myself->id) < 0)
            return;
    follow(g, orphan);
}
