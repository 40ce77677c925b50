/* Suspicion, proof, and what follows for ourselves.
 *
 * PFAIL: nothing heard for T. FAIL: a majority of the primaries with slots say PFAIL within 2 T. The lease: a
 * larder voter that answers a primary's ping promises not to vote for its replicas for T from then; with
 * promises of a majority nobody can be elected in the primary's place, so it may write. Without them it
 * stops, however alone it is. */
#include "cluster/machine_internal.h"

#include "base/alloc.h"
#include "base/assert.h"

enum { REPORT_LIVES = 2, PROMISED_IN = 5, FAIL_UNDO = 2, REJOIN_MIN_MS = 500, REJOIN_MAX_MS = 5000 };

void failure_withdraw(struct node *about, const struct node *by)
{
    for (unsigned i = 0; i < about->nreports; i++) {
        if (node_id_eq(&about->reports[i].by, &by->id)) {
            about->reports[i] = about->reports[--about->nreports];
            return;
        }
    }
}

void failure_report(struct machine *m, struct node *about, const struct node *by)
{
    failure_withdraw(about, by);
    if (about->nreports == about->reports_cap) {
        unsigned cap = about->reports_cap == 0 ? 8 : about->reports_cap * 2;
        struct node_report *more =
            cap > NODE_REPORTS_MAX ? NULL : mem_realloc(about->reports, cap * sizeof(*more));
        if (more == NULL)
            return; /* it will be told again */
        about->reports = more;
        about->reports_cap = cap;
    }
    about->reports[about->nreports++] = (struct node_report){.by = by->id, .at_ms = m->now_ms};
    failure_judge(m, about);
}

unsigned machine_failure_reports(struct machine *m, const struct node *n)
{
    unsigned found = 0;
    for (unsigned i = 0; i < n->nreports; i++) {
        const struct node *by = slotmap_find(&m->map, &n->reports[i].by);
        bool fresh = m->now_ms - n->reports[i].at_ms <= REPORT_LIVES * m->config.node_timeout_ms;
        found += fresh && by != NULL && node_votes(by);
    }
    return found;
}

static void mark_failed(struct machine *m, struct node *n)
{
    n->flags = (n->flags & ~(uint32_t)NODE_PFAIL) | NODE_FAIL;
    n->fail_ms = m->now_ms;
    machine_dirty(m);
    machine_view(m);
}

void failure_judge(struct machine *m, struct node *n)
{
    if (!node_is(n, NODE_PFAIL) || node_is(n, NODE_FAIL))
        return;
    if (machine_failure_reports(m, n) + node_votes(m->self) < machine_quorum(m) && !MUTANT(FAIL_ALONE))
        return;
    mark_failed(m, n);
    bus_fail_all(m, n);
}

void failure_said(struct machine *m, struct node *n)
{
    if (n != m->self && !node_is(n, NODE_FAIL | NODE_HANDSHAKE))
        mark_failed(m, n);
}

void failure_heard(struct machine *m, struct node *n)
{
    if (node_is(n, NODE_PFAIL)) {
        n->flags &= ~(uint32_t)NODE_PFAIL;
        machine_view(m);
    }
    bool yields = n->yields_ms != 0 && m->now_ms - n->yields_ms < m->config.node_timeout_ms;
    if (!node_is(n, NODE_FAIL) || yields)
        return;
    /* A primary that nobody replaced in all this time may come back with its slots. */
    if (!node_votes(n) || m->now_ms - n->fail_ms > FAIL_UNDO * m->config.node_timeout_ms) {
        n->flags &= ~(uint32_t)NODE_FAIL;
        n->yields_ms = 0;
        machine_dirty(m);
        machine_view(m);
    }
}

static void suspect(struct machine *m, struct node *n)
{
    n->flags |= NODE_PFAIL;
    machine_view(m);
    if (node_votes(m->self)) { /* tell at once: reports by the next gossip would cost T/2 */
        for (unsigned i = 0; i < m->map.n; i++) {
            struct node *to = m->map.nodes[i];
            bool concerned = node_votes(to) || to->primary == n;
            if (to != n && to->out_up && to->ping_sent_ms == 0 && node_votes(n) && concerned)
                bus_ping(m, to, FRAME_PING, to->out, 0);
        }
    }
}

void failure_tick(struct machine *m)
{
    slotmap_count_living(&m->map);
    for (unsigned i = 0; i < m->map.n; i++) {
        struct node *n = m->map.nodes[i];
        if (n == m->self || node_is(n, NODE_HANDSHAKE | NODE_NOADDR))
            continue;
        bool silent = m->now_ms - n->heard_ms > m->config.node_timeout_ms;
        if (silent && !node_is(n, NODE_PFAIL | NODE_FAIL))
            suspect(m, n);
        failure_judge(m, n);
        bool orphan = node_votes(n) && !node_is(n, NODE_FAIL) && n->living == 0;
        n->orphan_ms = !orphan ? 0 : n->orphan_ms == 0 ? m->now_ms : n->orphan_ms;
    }
}

static uint64_t promise(struct machine *m, struct node *n)
{
    uint64_t t = m->config.node_timeout_ms;
    if (!taking_promises(m) || node_is(n, NODE_FAIL) || electorate_is_barred(m))
        return 0;
    n->promise_ms = m->now_ms + t;
    return t;
}

uint64_t failure_promise(struct machine *m, struct node *n)
{
    return electorate_disputes(m, n) || !node_votes(n) ? 0 : promise(m, n);
}

uint64_t failure_promise_elected(struct machine *m, struct node *n)
{
    return promise(m, n);
}

void failure_lease_from(struct node *voter, uint64_t asked_ms, uint32_t promise_ms)
{
    uint64_t until = asked_ms + promise_ms - promise_ms / 16;
    if (promise_ms > 0 && until > voter->lease_ms)
        voter->lease_ms = until;
}

bool failure_promised(const struct machine *m, const struct node *n, uint64_t at)
{
    return n == m->self || n->lease_ms > at;
}

void failure_give_back(struct machine *m)
{
    for (unsigned i = 0; i < m->map.n; i++)
        m->map.nodes[i]->lease_ms = m->map.nodes[i]->ping_seq = 0;
}

/* A mixed cluster knows no promises: Redis's rules. */
bool failure_is_mixed(const struct machine *m)
{
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        if (node_votes(n) && n != m->self && node_is_redis(n))
            return true;
    }
    return false;
}

static bool reaches(const struct machine *m, uint64_t at)
{
    return failure_is_mixed(m) || electorate_tally(m, failure_promised, at, 0).counted >= machine_quorum(m);
}

uint64_t failure_lease(const struct machine *m)
{
    if (failure_is_mixed(m) || reaches(m, UINT64_MAX)) /* or the only voter */
        return UINT64_MAX;
    uint64_t low = m->now_ms, high = m->now_ms + 2 * m->config.node_timeout_ms;
    if (!reaches(m, low))
        return 0;
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (reaches(m, middle))
            low = middle;
        else
            high = middle;
    }
    return high;
}

static bool serves(const struct machine *m)
{
    return m->ok && !m->mute && machine_is_primary(m) && m->self->nslots > 0 && m->manual != MANUAL_PAUSED &&
           !machine_held(m) && !m->offer.recall;
}

bool machine_may_write(const struct machine *m, uint64_t now_ms)
{
    return serves(m) && (MUTANT(NO_LEASE) || reaches(m, now_ms));
}

uint64_t machine_write_until_ms(const struct machine *m)
{
    return serves(m) ? failure_lease(m) : 0;
}

uint64_t machine_lease_until_ms(const struct machine *m)
{
    return !node_votes(m->self) ? UINT64_MAX : m->mute ? 0 : failure_lease(m);
}

void failure_ask_one(struct machine *m, struct node *n)
{
    uint64_t asked = n->ping_sent_ms;
    if (n == m->self || !n->out_up)
        return;
    bus_ping(m, n, FRAME_PING, n->out, 0);
    if (asked != 0) /* an older question still waits */
        n->ping_sent_ms = asked;
}

void failure_ask(struct machine *m)
{
    for (unsigned i = 0; node_votes(m->self) && i < m->map.n; i++) {
        if (node_votes(m->map.nodes[i]))
            failure_ask_one(m, m->map.nodes[i]);
    }
}

void failure_meet(struct machine *m, struct node *n)
{
    bool votes = node_votes(n);
    if (votes && !n->voter && node_votes(m->self))
        failure_ask_one(m, n);
    n->voter = votes;
}

/* With our first slots we are a voter ourselves, and may write once a majority has promised. Nobody has been
 * asked yet if our epoch stays, whose rise asks when it is announced. */
static void note_self(struct machine *m)
{
    bool votes = node_votes(m->self);
    if (votes && !m->self->voter)
        failure_ask(m);
    m->self->voter = votes;
}

bool machine_awaits_promises(const struct machine *m)
{
    return m->voter_ms != 0 && m->now_ms - m->voter_ms < m->config.node_timeout_ms / PROMISED_IN && m->ok &&
           node_votes(m->self) && !machine_may_write(m, m->now_ms);
}

/* Roles, slots and suspicions change with the view only: a frame that changes nothing, as almost all are,
 * need not look at a thousand nodes. */
static struct machine_census census(const struct machine *m)
{
    struct machine_census c = {.taken = true};
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        c.voters += node_votes(n);
        c.reachable += node_votes(n) && !node_is(n, NODE_PFAIL | NODE_FAIL);
        c.failed += n->nslots > 0 && node_is(n, NODE_FAIL);
    }
    return c;
}

static bool covered(const struct machine *m)
{
    return !m->config.full_coverage || (taking_covers(m) && m->census.failed == 0);
}

void failure_state(struct machine *m)
{
    uint64_t delay = m->config.node_timeout_ms;
    note_self(m);
    if (m->view || !m->census.taken)
        m->census = census(m);
    else
        DEBUG_ASSERT(census(m).voters == m->census.voters && census(m).reachable == m->census.reachable &&
                     census(m).failed == m->census.failed);
    delay = delay < REJOIN_MIN_MS ? REJOIN_MIN_MS : delay > REJOIN_MAX_MS ? REJOIN_MAX_MS : delay;
    bool minority = m->census.reachable < m->census.voters / 2 + 1, ok = covered(m) && !minority;
    if (minority)
        m->rejoin_ms = m->now_ms;
    /* Back from a minority a primary waits: it may have been replaced and not know it yet. */
    if (ok && machine_is_primary(m) && m->rejoin_ms != 0 && m->now_ms - m->rejoin_ms < delay)
        ok = false;
    if (ok != m->ok) {
        m->ok = ok;
        machine_act(m, ACT_STATE);
    }
}
