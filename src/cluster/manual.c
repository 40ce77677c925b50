/* CLUSTER FAILOVER: the replica asks (MFSTART), or a larder primary that is about to end asks it; the primary
 * pauses writes and shows its last offset under the PAUSED flag, the replica reaches it and is elected
 * without FAIL. Nothing acknowledged is lost. Whoever waits longer than MACHINE_MF_TIMEOUT_MS gives up; the
 * primary's pause lasts twice as long, so that it never ends before the election. */
#include "cluster/machine_internal.h"

#include "base/err.h"

void manual_reset(struct machine *m)
{
    bool paused = m->manual == MANUAL_PAUSED;
    m->manual = MANUAL_NONE;
    if (paused) {
        machine_act(m, ACT_RESUME);
        failure_ask(m);
    }
    m->manual_force = m->manual_offers = false;
    m->manual_offset = m->manual_end_ms = 0;
}

void manual_start(struct machine *m, struct node *replica)
{
    if (!machine_is_primary(m) || replica->primary != m->self)
        return;
    manual_reset(m);
    m->manual = MANUAL_PAUSED;
    m->manual_replica = replica->id;
    m->manual_end_ms = m->now_ms + 2 * MACHINE_MF_TIMEOUT_MS;
    m->data.paused = false;
    failure_give_back(m);
    struct machine_action *a = machine_act(m, ACT_PAUSE);
    if (a != NULL)
        a->until_ms = m->manual_end_ms;
}

/* PAUSED: the replica learns the offset, the voters that we have stopped. */
void manual_stopped(struct machine *m)
{
    bus_pong_all(m);
    failure_ask(m);
}

void manual_heard(struct machine *m, const struct node *primary, const struct frame *f)
{
    if (m->self->primary != primary || !(f->h.mflags[0] & FRAME_PAUSED))
        return;
    if (m->manual == MANUAL_NONE && f->h.larder.offers) {
        m->manual = MANUAL_ASKED;
        m->manual_end_ms = m->now_ms + MACHINE_MF_TIMEOUT_MS;
        election_abort(m);
    }
    if (m->manual != MANUAL_ASKED)
        return;
    m->manual_offset = f->h.offset;
    m->manual = MANUAL_WAITING;
    manual_tick(m);
}

void manual_tick(struct machine *m)
{
    if (m->manual == MANUAL_NONE)
        return;
    if (m->now_ms >= m->manual_end_ms) {
        manual_reset(m);
        election_abort(m);
        return;
    }
    if (m->manual == MANUAL_WAITING && m->data.offset >= m->manual_offset) {
        m->manual = MANUAL_READY;
        election_abort(m); /* no wait of before counts */
        election_tick(m);
    }
}

int manual_command(struct machine *m, enum failover_how how)
{
    struct node *p = m->self->primary;
    if (machine_is_primary(m))
        return machine_fail_command(m, ERR_TYPE, "You should send CLUSTER FAILOVER to a replica");
    if (p == NULL)
        return machine_fail_command(m, ERR_NOTFOUND, "I'm a replica but my master is unknown to me");
    if (how == FAILOVER_PLAIN && (node_is(p, NODE_FAIL) || !p->out_up))
        return machine_fail_command(m, ERR_AGAIN,
                                    "Master is down or failed, please use CLUSTER FAILOVER FORCE");
    manual_reset(m);
    election_abort(m);
    if (how == FAILOVER_TAKEOVER) {
        ownership_bump(m);
        election_promote(m);
        return 0;
    }
    m->manual_end_ms = m->now_ms + MACHINE_MF_TIMEOUT_MS;
    if (how == FAILOVER_FORCE) {
        m->manual = MANUAL_READY;
        m->manual_force = true;
        election_tick(m);
        return 0;
    }
    m->manual = MANUAL_ASKED;
    bus_ping(m, p, FRAME_PONG, p->out, 0); /* it may not know yet that we follow it, and would say nothing */
    bus_send(m, FRAME_MFSTART, p);
    return 0;
}

/* The living replica with the most data; one that is not larder would not understand. */
static struct node *best_replica(const struct machine *m)
{
    struct node *best = NULL;
    for (unsigned i = 0; i < m->map.n; i++) {
        struct node *n = m->map.nodes[i];
        if (n->primary == m->self && n->out_up && node_is(n, NODE_LARDER) &&
            !node_is(n, NODE_PFAIL | NODE_FAIL | NODE_NOFAILOVER) &&
            (best == NULL || election_ahead(n, best)))
            best = n;
    }
    return best;
}

int manual_offer(struct machine *m)
{
    struct node *best = node_votes(m->self) && !m->mute ? best_replica(m) : NULL;
    if (best == NULL)
        return machine_fail_command(m, ERR_NOTFOUND, "No replica could take over");
    if (m->manual == MANUAL_PAUSED)
        return 0; /* one is about to */
    manual_start(m, best);
    m->manual_offers = true;
    return 0;
}

bool machine_handed_over(const struct machine *m)
{
    return !machine_is_primary(m) && !machine_held(m);
}
