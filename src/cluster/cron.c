/* What the passing of time asks for: links, pings, and the ticks of the other rooms.
 *
 * A ping falls due when the last answer is T/2 old, as in Redis; T/5 between primaries with slots and within
 * a shard, where leases and failover depend on it. One more goes each second to the node that was silent
 * longest among five. */
#include "cluster/machine_internal.h"

enum { WAIT_TIMEOUTS = 4, RANDOM_PING_MS = 1000, RANDOM_PING_OF = 5, HANDSHAKE_MIN_MS = 1000 };

static void keep_link(struct machine *m, struct node *n)
{
    uint64_t half = m->config.node_timeout_ms / 2, now = m->now_ms;
    if (n->out == 0) {
        struct machine_action *a = machine_act(m, ACT_OPEN);
        if (a == NULL)
            return;
        a->node = n;
        a->link = n->out = m->next_link;
        m->next_link = m->next_link + 1 == LINK_INBOUND ? 1 : m->next_link + 1;
        n->out_up = false;
        n->out_ms = now;
        return;
    }
    /* A link that never came up, or on which a question stays without an answer: try another. */
    uint64_t asked = n->ping_sent_ms == 0 ? 0 : now - n->ping_sent_ms;
    bool stuck = !n->out_up || asked > 2 * half || (asked > half && now - n->heard_ms > half);
    if (stuck && now - n->out_ms > half) {
        n->out_up = false;
        bus_close(m, &n->out);
    }
}

static bool close_kin(const struct machine *m, const struct node *n)
{
    const struct node *mine = m->self->primary != NULL ? m->self->primary : m->self;
    return n == mine || n->primary == mine || (node_votes(m->self) && node_votes(n));
}

static void keep_pinging(struct machine *m, struct node *n)
{
    uint64_t t = m->config.node_timeout_ms, due = close_kin(m, n) ? t / 5 : t / 2;
    bool handing_over = m->manual == MANUAL_PAUSED && node_id_eq(&n->id, &m->manual_replica);
    if (!n->out_up || node_is(n, NODE_HANDSHAKE) || n->ping_sent_ms != 0)
        return;
    if (m->now_ms - n->pong_ms >= due || handing_over)
        bus_ping(m, n, FRAME_PING, n->out, 0);
}

static void ping_somebody(struct machine *m)
{
    struct node *oldest = NULL;
    for (int i = 0; i < RANDOM_PING_OF; i++) {
        struct node *n = m->map.nodes[rng_below(m->rng, m->map.n)];
        if (!n->out_up || n->ping_sent_ms != 0 || node_is(n, NODE_MYSELF | NODE_HANDSHAKE))
            continue;
        if (oldest == NULL || n->pong_ms < oldest->pong_ms)
            oldest = n;
    }
    if (oldest != NULL)
        bus_ping(m, oldest, FRAME_PING, oldest->out, 0);
}

static void keep_nodes(struct machine *m)
{
    uint64_t handshake =
        m->config.node_timeout_ms < HANDSHAKE_MIN_MS ? HANDSHAKE_MIN_MS : m->config.node_timeout_ms;
    for (unsigned i = 0; i < m->map.n; i++) {
        struct node *n = m->map.nodes[i];
        if (n == m->self || node_is(n, NODE_NOADDR))
            continue;
        if (node_is(n, NODE_HANDSHAKE) && m->now_ms - n->created_ms > handshake) {
            bus_close(m, &n->out);
            slotmap_remove(&m->map, n);
            i--; /* another stands here now */
            continue;
        }
        keep_link(m, n);
        keep_pinging(m, n);
    }
}

/* We slept (SIGSTOP, a suspended machine): silence was ours, nobody is to be suspected for it. */
static void after_sleep(struct machine *m)
{
    if (m->tick_ms != 0 && m->now_ms - m->tick_ms > m->config.node_timeout_ms / 2) {
        for (unsigned i = 0; i < m->map.n; i++)
            m->map.nodes[i]->heard_ms = m->now_ms;
    }
    m->tick_ms = m->now_ms;
}

/* "I have failed": who has more data may be elected. Said again, as failures are forgotten when their node is
 * heard. */
static void yield(struct machine *m)
{
    m->mute = true;
    if (m->yield_ms != 0 && m->now_ms - m->yield_ms < m->config.node_timeout_ms / 2)
        return;
    if (m->yield_ms == 0)
        m->self->fail_ms = m->now_ms;
    m->yield_ms = m->now_ms;
    failure_give_back(m);
    bus_fail_all(m, m->self);
}

/* Restarted as a primary: mute to clients and replicas until every replica was heard and none has more. To
 * one that has we yield; we hear of its election and follow it. An empty one yields also when a replica with
 * data turns up late. What a silent one had is old news: two that cannot hear each other would yield to each
 * other without end. */
static void restart_tick(struct machine *m)
{
    unsigned unheard = 0;
    bool waits = m->mute || (m->restored && node_votes(m->self) && m->data.empty);
    if (!waits || !m->asked_data)
        return;
    m->self->data_epoch = m->data_epoch;
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        if (n->primary != m->self)
            continue;
        if (n->offset_ms == 0 || m->now_ms - n->offset_ms > m->config.node_timeout_ms)
            unheard++;
        else if (n->offset > m->self->offset &&
                 (!node_is(n, NODE_LARDER) || m->data.empty || election_ahead(n, m->self))) {
            yield(m);
            return;
        }
    }
    if (unheard == 0 || m->now_ms - m->boot_ms >= WAIT_TIMEOUTS * m->config.node_timeout_ms)
        m->mute = false;
}

void bus_tick(struct machine *m)
{
    after_sleep(m);
    keep_nodes(m);
    if (m->now_ms - m->random_ping_ms >= RANDOM_PING_MS) {
        m->random_ping_ms = m->now_ms;
        ping_somebody(m);
    }
    restart_tick(m);
    ownership_tick(m);
    unowned_tick(m);
    giving_check(m);
    taking_ask(m, false);
    taking_check(m); /* who votes is settled before anybody is judged */
    ownership_settle(m);
    failure_tick(m);
    manual_tick(m);
    election_tick(m);
    migration_tick(m);
}
