/* A replica asks for its primary's place; a primary that is disputed asks for its own.
 *
 *   primary FAIL ── data young enough? ── rank ── wait ── epoch+1, fsync ── FAIL + AUTH_REQUEST to all ──
 * majority ── fsync ── tell
 *
 * The wait lets FAIL spread and lets the replica with the most data go first. Among larder nodes both are
 * known: the FAIL travels in front of the request on the same link, and whoever is provably the best of the
 * living goes at once. */
#include "cluster/machine_internal.h"

#include "base/assert.h"

enum {
    WAIT_MS = 500,
    WAIT_RANDOM_MS = 500,
    WAIT_RANK_MS = 1000,
    VOTES_LIVE_MIN_MS = 2000, /* or 2 T: how long we collect; again after twice as long */
    REPL_PING_MS = 10000,
    AGAIN_MS = 100,     /* the same request to those who have not answered: what barred them may be over */
    STEP_BACK_MS = 250, /* at least, so that no two shards chase each other */
    FAST_SHARE = 10,    /* larder alone: the wait for each rank is T / 10 */
};

uint64_t election_collect_ms(const struct machine *m)
{
    uint64_t t = 2 * m->config.node_timeout_ms;
    return t < VOTES_LIVE_MIN_MS ? VOTES_LIVE_MIN_MS : t;
}

void election_abort(struct machine *m)
{
    m->election_at_ms = m->election_ms = 0;
    m->election_asked = m->election_sent = false;
}

static bool data_is_young(const struct machine *m)
{
    uint64_t t = m->config.node_timeout_ms, age = m->data.silent_ms + (m->now_ms - m->self->offset_ms);
    if (m->data.replid == 0 && !MUTANT(EMPTY_ELECTED))
        return false; /* it never had a copy: what it would serve is nothing */
    age = age > t ? age - t : 0;
    return m->self->primary->yields_ms != 0 || m->config.validity_factor == 0 ||
           age <= REPL_PING_MS + t * m->config.validity_factor;
}

/* More data than b, as larder counts it: the epoch of the primary that wrote it, then the offset. */
bool election_ahead(const struct node *a, const struct node *b)
{
    return a->data_epoch != b->data_epoch ? a->data_epoch > b->data_epoch : a->offset > b->offset;
}

/* Siblings with more data; *all_larder: everybody who matters is larder. */
static unsigned rank(const struct machine *m, bool *all_larder)
{
    unsigned better = 0;
    *all_larder = true;
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        bool sibling = n != m->self && n->primary == m->self->primary && !node_is(n, NODE_NOFAILOVER);
        if ((sibling || node_votes(n)) && n != m->self->primary && !node_is(n, NODE_LARDER))
            *all_larder = false;
        if (!sibling || node_is(n, NODE_PFAIL | NODE_FAIL))
            continue;
        bool tie = n->data_epoch == m->data_epoch && n->offset == m->data.offset;
        better += election_ahead(n, m->self) || (tie && node_id_cmp(&n->id, &m->self->id) < 0);
    }
    return better;
}

/* A new attempt, to ask after so long; an older one is over. */
static void begin_in(struct machine *m, uint64_t wait_ms)
{
    m->election_ms = m->now_ms;
    m->election_at_ms = m->now_ms + wait_ms;
    m->election_asked = m->election_sent = false;
}

static void schedule(struct machine *m)
{
    bool larder;
    uint64_t wait = 0;
    m->election_rank = rank(m, &larder);
    if (m->manual == MANUAL_READY)
        wait = 0;
    else if (larder)
        wait = m->election_rank * (m->config.node_timeout_ms / FAST_SHARE + rng_below(m->rng, 50));
    else
        wait = WAIT_MS + rng_below(m->rng, WAIT_RANDOM_MS) + (uint64_t)m->election_rank * WAIT_RANK_MS;
    begin_in(m, wait);
    for (unsigned i = 0; i < m->map.n; i++) { /* siblings compare offsets: give them ours */
        struct node *n = m->map.nodes[i];
        if (n != m->self && n->primary == m->self->primary && n->out_up)
            bus_ping(m, n, FRAME_PONG, n->out, 0);
    }
}

/* New attempts back off at random, so that two that split the votes do not meet again. */
static uint64_t retry_ms(const struct machine *m)
{
    return 2 * election_collect_ms(m);
}

static void ask(struct machine *m)
{
    m->election_epoch = ++m->current_epoch;
    m->election_asked = true;
    m->election_sent = false;
    if (machine_is_primary(m)) { /* our own vote */
        m->vote_epoch = m->election_epoch;
        m->vote_for = m->self->id;
    }
    machine_dirty(m);
    m->election_seq = machine_persist_next(m);
}

/* Who says so of one that is heard again would have the others believe it for ever, each in turn. */
static bool is_silent(const struct machine *m, const struct node *n)
{
    return m->now_ms - n->heard_ms > m->config.node_timeout_ms / 2;
}

static void send_request(struct machine *m)
{
    const struct node *primary = m->self->primary;
    if (m->current_epoch != m->election_epoch) {
        m->election_asked = false; /* the epoch went by: ask with the next */
        return;
    }
    if (!m->election_sent)
        m->election_asked_ms = m->now_ms;
    m->election_sent = true;
    m->election_sent_ms = m->now_ms;
    if (primary != NULL && node_is(primary, NODE_FAIL) && is_silent(m, primary))
        bus_fail_all(m, primary);
    bus_broadcast(m, FRAME_AUTH_REQUEST);
}

/* Over for now, begun anew between `ms` and, at random, twice as late. Those who voted hear that it is over.
 */
static void step_back(struct machine *m, uint64_t ms)
{
    begin_in(m, ms + rng_below(m->rng, ms));
    bus_pong_all(m);
}

/* Asks when it is time, and again for lost requests, until it is over: then who has voted may know it. It is
 * over when another has asked in its epoch, or in a later one: votes of this are not to be had any more, and
 * whoever has given one votes for nobody else meanwhile. */
static void go_on(struct machine *m, bool chases)
{
    if (m->now_ms - m->election_ms > election_collect_ms(m))
        m->election_asked = m->election_sent = false;
    else if (m->now_ms < m->election_at_ms)
        return;
    else if (!m->election_asked)
        ask(m);
    else if (!m->election_sent || m->now_ms - m->election_sent_ms < AGAIN_MS)
        return;
    else if (chases || (m->current_epoch == m->election_epoch && m->rival_epoch < m->election_epoch))
        send_request(m);
    else
        step_back(m, STEP_BACK_MS);
}

/* ---- in our own place ---------------------------------------------------------------------------------- */

/* Somebody voted against us, and whoever was voted for has not shown, or was not elected. */
static bool is_disputed(const struct machine *m)
{
    const struct node *self = m->self;
    if (electorate_disputes(m, self))
        return true;
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        for (unsigned k = 0; k < n->ndisputes && node_votes(n); k++)
            if (node_id_eq(&n->disputes[k].about, &self->id) && n->disputes[k].epoch > self->config_epoch)
                return true;
    }
    return false;
}

/* Each of two elections would replace a voter of the other. That for the place of the smaller id comes first,
 * or neither ends. */
static bool comes_first(const struct machine *m, const struct node *disputed)
{
    const struct node *place = machine_is_primary(m) ? m->self : m->self->primary;
    return disputed != NULL && place != NULL && node_id_cmp(&disputed->id, &place->id) < 0;
}

static bool has_voted(const struct machine *m, const struct node *n, uint64_t epoch)
{
    return n->ack_epoch == epoch || (n == m->self && m->vote_epoch == epoch);
}

/* A claim that is on its way comes first. */
static void renew_tick(struct machine *m)
{
    uint64_t t = m->config.node_timeout_ms;
    if (!node_votes(m->self) || m->mute || m->manual != MANUAL_NONE || !is_disputed(m) ||
        taking_pins_epoch(m)) {
        if (m->election_at_ms != 0)
            election_abort(m);
        return;
    }
    if (m->election_at_ms == 0 || m->now_ms - m->election_ms > retry_ms(m) + rng_below(m->rng, 200))
        begin_in(m, t / 2 + rng_below(m->rng, t / 2));
    go_on(m, false);
}

static void renew(struct machine *m)
{
    if (!taking_pins_epoch(m))
        taking_rise(m, m->election_epoch);
    election_abort(m);
    machine_view(m);
}

/* ---- in our primary's ---------------------------------------------------------------------------------- */

void election_tick(struct machine *m)
{
    struct node *p = m->self->primary;
    bool manual = m->manual == MANUAL_READY;
    if (machine_is_primary(m)) {
        renew_tick(m);
        return;
    }
    if (p == NULL || p->nslots == 0 || !(node_is(p, NODE_FAIL) || manual) ||
        (m->config.no_failover && !manual)) {
        if (m->election_at_ms != 0)
            election_abort(m);
        return;
    }
    if (!manual && !data_is_young(m))
        return;
    if (m->election_at_ms == 0 || m->now_ms - m->election_ms > retry_ms(m) + rng_below(m->rng, 200))
        schedule(m);
    go_on(m, manual);
}

void election_ack(struct machine *m, struct node *sender, const struct frame *f)
{
    bool same = !f->h.larder.is || electorate_read(m, sender, f);
    if (!m->election_sent || !node_votes(sender) || !same || f->h.current_epoch < m->election_epoch ||
        m->now_ms - m->election_ms > election_collect_ms(m))
        return;
    sender->ack_epoch = m->election_epoch;
    /* Who is elected may write at once, before anybody has answered a ping of the new primary. One that is to
     * be elected anew has this promise for its new epoch only. */
    if (!machine_is_primary(m))
        failure_lease_from(sender, m->election_asked_ms, f->h.larder.promise_ms);
    struct tally t = electorate_tally(m, has_voted, m->election_epoch, m->election_epoch);
    unsigned quorum = machine_quorum(m);
    if (t.counted < quorum && !MUTANT(NO_MAJORITY)) {
        if (t.said >= quorum && comes_first(m, t.first_out))
            step_back(m, m->config.node_timeout_ms / 4);
        return;
    }
    electorate_adopt(m, has_voted, m->election_epoch);
    if (machine_is_primary(m)) {
        renew(m);
        return;
    }
    struct node *old = m->self->primary;
    m->self->config_epoch = m->elected_epoch = m->election_epoch;
    m->elected_ms = m->now_ms;
    election_promote(m);
    ownership_depose(m, old, m->self->config_epoch);
}

/* We have the right to it: take the slots, tell everybody when it is on the disk. */
void election_promote(struct machine *m)
{
    struct node *old = m->self->primary;
    ASSERT(old != NULL && old != m->self);
    ownership_primary(m->self);
    for (unsigned slot = 0; slot < SLOT_COUNT; slot++) {
        if (m->map.owner[slot] == old)
            ownership_assign(m, slot, m->self);
    }
    taking_inherit(m);
    election_abort(m);
    manual_reset(m);
    m->rejoin_ms = 0; /* what we may have missed is over: the place is ours */
    machine_act(m, ACT_PROMOTE);
    machine_hold(m);
    machine_view(m);
}

/* Whom we have replaced has no slots since our epoch. Who hears that late may believe it meanwhile. */
static void tell_replaced(struct machine *m)
{
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *old = m->map.nodes[i];
        if (old == m->self || old->nslots > 0 || old->config_epoch != m->self->config_epoch)
            continue;
        for (unsigned k = 0; k < m->map.n; k++) {
            const struct node *to = m->map.nodes[k];
            if (to->out_up && node_is(to, NODE_LARDER))
                bus_update(m, old, to->out);
        }
    }
}

void election_persisted(struct machine *m)
{
    vote_persisted(m);
    giving_persisted(m);
    taking_persisted(m);
    if (m->election_asked && !m->election_sent && m->persisted_seq >= m->election_seq)
        send_request(m);
    if (m->announce_seq > m->announced_seq && m->persisted_seq >= m->announce_seq) {
        m->announced_seq = m->announce_seq;
        bus_pong_all(m);
        tell_replaced(m);
        failure_ask(m); /* they know by now who asks */
        taking_ask(m, true);
    }
}
