/* One vote an epoch, on the disk before it is on the wire, and never against a promise; and the migration of
 * replicas to primaries that have none. */
#include "cluster/machine_internal.h"

enum { VOTE_AGAIN = 2, COMPARE_FOR = 2, ORPHAN_MS = 5000 };

static bool slots_are_current(const struct machine *m, const struct frame *f)
{
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        if (n->nslots == 0 || n->config_epoch <= f->h.config_epoch)
            continue;
        if (slots_overlap(n->slots, f->h.slots))
            return false;
    }
    return true;
}

/* A living sibling of the same history has more: let it come first, but not for ever. */
static bool another_has_more(const struct machine *m, const struct node *sender)
{
    const struct node *p = sender->primary;
    uint64_t t = m->config.node_timeout_ms;
    if (!node_is(sender, NODE_LARDER) || m->now_ms - p->fail_ms > COMPARE_FOR * t)
        return false;
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        if (n != sender && n->primary == p && node_is(n, NODE_LARDER) &&
            !node_is(n, NODE_PFAIL | NODE_FAIL | NODE_NOFAILOVER) && n->replid == sender->replid &&
            m->now_ms - n->heard_ms <= t && election_ahead(n, sender))
            return true;
    }
    return false;
}

/* An operator takes the risk: nothing that was promised binds. A Redis does not say which way of its FAILOVER
 * it is, and asks for votes once; in the plain way its primary has stopped before. */
static bool is_ordered(const struct frame *f)
{
    return f->h.larder.is ? f->h.larder.forced : (f->h.mflags[0] & FRAME_FORCEACK) != 0;
}

/* Who was elected votes for nobody for T: others may still count promises of whom it replaced. Unless it is a
 * Redis that would be replaced, which counts none, or the one to be replaced has given its lease back, or an
 * operator takes the risk. */
static bool is_new(const struct machine *m, const struct node *p, const struct frame *f)
{
    return m->elected_ms != 0 && m->now_ms - m->elected_ms < m->config.node_timeout_ms && p != m->self &&
           !node_is_redis(p) && !p->paused && !is_ordered(f) && !MUTANT(VOTE_NEW);
}

/* We vote for our own replacement only where the others cannot elect it: who has done so counts nowhere until
 * the end of that election is known. A Redis asks once, and gets it as from a Redis. */
static bool is_needed(const struct machine *m)
{
    unsigned others = 0, voters = 0;
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        bool counts = taking_votes(m, n); /* as the others see it, whose votes are wanted */
        voters += counts;
        /* Who yields is held for failed, and votes all the same. */
        others += n != m->self && counts && m->now_ms - n->heard_ms <= m->config.node_timeout_ms;
    }
    return others < voters / 2 + 1;
}

/* The sender, a replica of p, asks for its place. */
static bool may_replace(const struct machine *m, const struct node *sender, const struct node *p,
                        const struct frame *f)
{
    bool forced = (f->h.mflags[0] & FRAME_FORCEACK) != 0, again = node_id_eq(&m->vote_for, &sender->id);
    bool failed = node_is(p, NODE_FAIL) || (p == m->self && m->mute);
    if (!forced && (!failed || (another_has_more(m, sender) && !MUTANT(ANY_DATA))))
        return false;
    /* Also for a manual failover, whose primary has given its lease back; it may have crashed and come back
     * since. */
    if (!is_ordered(f) && m->now_ms < p->promise_ms && !MUTANT(BREAK_PROMISE))
        return false;
    /* Until the end of that election is known; for a Redis as among Redis. */
    bool lately = p->voted_ms != 0 && m->now_ms - p->voted_ms < VOTE_AGAIN * m->config.node_timeout_ms &&
                  (electorate_disputes(m, p) || !f->h.larder.is);
    return (p != m->self || !f->h.larder.is || is_needed(m)) && !is_new(m, p, f) &&
           (!lately || (forced && again));
}

/* The sender, a primary, asks for its own place. Whoever we have voted for in it may write as long as we have
 * promised with that vote. */
static bool may_renew(const struct machine *m, const struct node *sender)
{
    return sender->voted_ms == 0 || m->now_ms - sender->voted_ms >= m->config.node_timeout_ms ||
           MUTANT(RENEW_AT_ONCE);
}

void vote_request(struct machine *m, struct node *sender, const struct frame *f)
{
    bool renews = node_id_none(&f->h.primary); /* a primary, in its own place */
    struct node *p = sender->primary == NULL ? sender : sender->primary;
    sender->asked_ms = m->now_ms;
    if (f->h.current_epoch > m->rival_epoch)
        m->rival_epoch = f->h.current_epoch;
    if (!node_votes(m->self) || (f->h.larder.is && !electorate_read(m, sender, f)) || !node_votes(p) ||
        !node_id_eq(&p->id, renews ? &sender->id : &f->h.primary) || f->h.current_epoch < m->current_epoch)
        return;
    if (m->vote_epoch >= m->current_epoch && !MUTANT(VOTE_TWICE)) {
        if (node_id_eq(&m->vote_for, &sender->id) && m->vote_epoch == m->current_epoch && m->vote_seq == 0 &&
            sender->out_up)
            bus_vote(m, sender); /* the first may be lost */
        return;
    }
    bool is_back = m->restored && m->now_ms - m->boot_ms < m->config.node_timeout_ms;
    if (is_back && !is_ordered(f) && !MUTANT(VOTE_AT_ONCE))
        return; /* what we promised before the crash we do not know */
    if (electorate_is_barred(m) || !(renews ? may_renew(m, sender) : may_replace(m, sender, p, f)) ||
        (!slots_are_current(m, f) && !MUTANT(OLD_SLOTS)))
        return;
    m->vote_epoch = m->current_epoch;
    m->vote_for = sender->id;
    p->voted_ms = renews ? 0 : m->now_ms;
    electorate_vote(m, p, sender, m->current_epoch);
    machine_dirty(m);
    m->vote_seq = machine_persist_next(m);
    if (MUTANT(EARLY_VOTE)) {
        m->persisted_seq = m->vote_seq;
        vote_persisted(m);
    }
}

void vote_persisted(struct machine *m)
{
    if (m->vote_seq == 0 || m->persisted_seq < m->vote_seq)
        return;
    m->vote_seq = 0;
    /* Our epoch is in the frame: a vote of an older one would count in the newer. */
    struct node *n = slotmap_find(&m->map, &m->vote_for);
    if (n != NULL && n->out_up && m->vote_epoch == m->current_epoch)
        bus_vote(m, n);
}

static struct node *orphan(const struct machine *m, unsigned *most)
{
    struct node *found = NULL;
    for (unsigned i = 0; i < m->map.n; i++) {
        struct node *n = m->map.nodes[i];
        if (!node_votes(n))
            continue;
        *most = n->living > *most ? n->living : *most;
        if (n->orphan_ms != 0 && m->now_ms - n->orphan_ms > ORPHAN_MS && node_is(n, NODE_MIGRATE_TO))
            found = n;
    }
    return found;
}

void migration_tick(struct machine *m)
{
    unsigned most = 0;
    const struct node *p = m->self->primary;
    if (p == NULL || !m->config.replica_migration || !m->ok || m->manual != MANUAL_NONE ||
        node_is(p, NODE_FAIL))
        return;
    slotmap_count_living(&m->map);
    struct node *to = orphan(m, &most);
    unsigned mine = p->living;
    if (to == NULL || mine < 2 || mine != most || mine <= m->config.migration_barrier)
        return;
    for (unsigned i = 0; i < m->map.n; i++) { /* the smallest id of all such shards goes, and only that */
        const struct node *n = m->map.nodes[i];
        if (n->primary != NULL && !node_is(n, NODE_PFAIL | NODE_FAIL) &&
            node_id_cmp(&n->id, &m->self->id) < 0 && n->primary->living == most)
            return;
    }
    machine_act(m, ACT_FLUSH);
    ownership_follow(m, to);
}
