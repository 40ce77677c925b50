/* What goes wrong. Any history: crashes, sleeps, cuts, orders, each by itself. A sharp one (odd seeds) also
 * what the rules are for: several things at once, aimed at one shard. */
#include "sim.h"

static int any(struct sim *s)
{
    return (int)rng_below(&s->rng, (uint64_t)s->n);
}

static void isolate(struct sim *s, int a)
{
    sim_note(s, "node %d is cut off", a);
    for (int i = 0; i < s->n; i++)
        s->cut[a][i] = s->cut[i][a] = i != a;
}

bool fault_awake(const struct sim *s, int node)
{
    return s->nodes[node].alive && s->nodes[node].paused_until <= s->now;
}

static void order(struct sim *s, int node, enum machine_command_kind kind)
{
    struct machine_command c = {.kind = kind, .how = FAILOVER_PLAIN};
    sim_note(s, "node %d shall take over", node);
    (void)sim_order(s, node, &c);
}

static int primary_of(const struct sim *s, int node)
{
    const struct node *p = s->nodes[node].alive ? s->nodes[node].m.self->primary : NULL;
    return p == NULL ? -1 : sim_find(s, &p->id);
}

/* A living replica, or -1. */
static int some_replica(struct sim *s)
{
    int from = any(s);
    for (int i = 0; i < s->n; i++) {
        int node = (from + i) % s->n;
        if (fault_awake(s, node) && primary_of(s, node) >= 0)
            return node;
    }
    return -1;
}

static int some_voter(struct sim *s, int but)
{
    int from = any(s);
    for (int i = 0; i < s->n; i++) {
        int node = (from + i) % s->n;
        if (node != but && fault_awake(s, node) && node_votes(s->nodes[node].m.self))
            return node;
    }
    return from;
}

static void two_primaries(struct sim *s)
{
    int left = 2, from = any(s);
    for (int i = 0; i < s->n && left > 0; i++) {
        int node = (from + i) % s->n;
        if (s->nodes[node].alive && node_votes(s->nodes[node].m.self)) {
            sim_crash(s, node, 500 + rng_below(&s->rng, 4500));
            left--;
        }
    }
}

/* The replica comes back first, perhaps with nothing. */
static void whole_shard(struct sim *s, int replica, int primary)
{
    for (int i = 0; i < s->n; i++) {
        if (primary_of(s, i) == primary && i != replica)
            sim_crash(s, i, 4000);
    }
    sim_crash(s, replica, 50 + rng_below(&s->rng, 500));
    sim_crash(s, primary, 4000 + rng_below(&s->rng, 3000));
}

/* Siblings that do not hear each other, and no primary. */
static void strangers(struct sim *s, int replica, int primary)
{
    for (int i = 0; i < s->n; i++) {
        if (i != replica && primary_of(s, i) == primary)
            s->cut[replica][i] = s->cut[i][replica] = true;
    }
    sim_crash(s, primary, 3000 + rng_below(&s->rng, 3000));
}

/* A replica misses its sibling's election, and is back while the primary is still away. */
static void sleeper(struct sim *s, int replica, int primary)
{
    isolate(s, replica);
    sim_crash(s, primary, 8000);
    sim_push(s, (struct sim_event){.kind = SIM_HEAL_LINK}, 5 * s->config.node_timeout_ms);
}

/* The primary is heard by one voter only, who goes on promising; that voter may crash just before the others
 * find a new one. */
static void one_ear(struct sim *s, int primary)
{
    int voter = some_voter(s, primary);
    isolate(s, primary);
    s->cut[primary][voter] = s->cut[voter][primary] = false;
    if (rng_below(&s->rng, 2) == 0)
        sim_push(s, (struct sim_event){.kind = SIM_CRASH, .node = voter, .seq = 30},
                 s->config.node_timeout_ms * (60 + rng_below(&s->rng, 40)) / 100);
}

/* Only those of the set hear each other, and the others each other. */
void fault_part(struct sim *s, uint32_t set)
{
    sim_note(s, "nodes %#x are parted from the others", set);
    for (int a = 0; a < s->n; a++)
        for (int b = 0; b < s->n; b++)
            s->cut[a][b] = ((set >> a ^ set >> b) & 1) != 0;
}

/* A primary is replaced, and at that moment it and just as many voters as make a majority with it hear nobody
 * else: some have voted, and none knows the end. */
static void stale_voters(struct sim *s, int replica, int primary)
{
    uint32_t with = 0;
    unsigned left = machine_quorum(&s->nodes[replica].m) - 1;
    for (int i = 0, from = any(s); i < s->n && left > 0; i++) {
        int node = (from + i) % s->n;
        if (node != primary && fault_awake(s, node) && node_votes(s->nodes[node].m.self)) {
            with |= 1U << node;
            left--;
        }
    }
    memset(s->cut, 0, sizeof(s->cut));
    order(s, replica, CMD_FAILOVER);
    sim_push(s, (struct sim_event){.kind = SIM_PART, .seq = with | 1U << primary},
             rng_below(&s->rng, 6 * (uint64_t)s->delay_ms + 100));
}

static void sharp_fault(struct sim *s)
{
    int replica = some_replica(s), primary = replica < 0 ? -1 : primary_of(s, replica);
    if (primary < 0)
        return;
    switch (rng_below(&s->rng, 8)) {
    case 6:
    case 7: stale_voters(s, replica, primary); break;
    case 0: two_primaries(s); break;
    case 1: whole_shard(s, replica, primary); break;
    case 2: strangers(s, replica, primary); break;
    case 3: sleeper(s, replica, primary); break;
    default: one_ear(s, primary);
    }
}

static void plain_fault(struct sim *s)
{
    int a = any(s), b = any(s);
    struct sim_node *n = &s->nodes[a];
    switch (rng_below(&s->rng, 7)) {
    case 0:
    case 1: sim_crash(s, a, 50 + rng_below(&s->rng, 5000)); break;
    case 2:
        n->paused_until = s->now + rng_below(&s->rng, 3 * s->config.node_timeout_ms);
        sim_note(s, "node %d sleeps until %llu", a, (unsigned long long)n->paused_until);
        break;
    case 3: /* one way */
        s->cut[a][b] = true;
        sim_note(s, "node %d does not reach node %d", a, b);
        break;
    case 4: isolate(s, a); break;
    case 5:
        memset(s->cut, 0, sizeof(s->cut));
        sim_note(s, "the cuts are healed");
        break;
    default:
        if (fault_awake(s, a) && n->m.self->primary != NULL)
            order(s, a, CMD_FAILOVER);
    }
}

/* Somebody who follows `node`. */
static int replica_of(struct sim *s, int node)
{
    int from = any(s);
    for (int i = 0; i < s->n; i++) {
        int at = (from + i) % s->n;
        if (fault_awake(s, at) && primary_of(s, at) == node)
            return at;
    }
    return -1;
}

/* Who gives slots, and its replicas, do not hear who takes them; perhaps one of these is elected meanwhile.
 */
static void deaf(struct sim *s, int from, int to)
{
    int replica = replica_of(s, from);
    for (int i = 0; i < s->n; i++) {
        if (i != to && (i == from || primary_of(s, i) == from))
            s->cut[i][to] = s->cut[to][i] = true;
    }
    if (rng_below(&s->rng, 3) == 0)
        sim_crash(s, from, 50 + rng_below(&s->rng, 5000));
    else if (rng_below(&s->rng, 2) == 0 && replica >= 0)
        order(s, replica, CMD_FAILOVER);
}

/* Slots are about to change hands: something happens to one of the two, or to what follows it. */
void fault_move(struct sim *s, int from, int to)
{
    bool first = rng_below(&s->rng, 2) == 0;
    int a = first ? from : to, b = first ? to : from, replica = replica_of(s, a);
    uint64_t t = s->config.node_timeout_ms;
    switch (rng_below(&s->rng, 12)) {
    case 10: sim_crash(s, b, 50 + rng_below(&s->rng, 3000)); /* fall through */
    case 11:
    case 0: sim_crash(s, a, 50 + rng_below(&s->rng, 3000)); break;
    case 1:
    case 2:
        s->nodes[a].paused_until = s->now + rng_below(&s->rng, 3 * t);
        sim_note(s, "node %d sleeps until %llu", a, (unsigned long long)s->nodes[a].paused_until);
        break;
    case 3: s->cut[b][a] = true; /* fall through */
    case 4: s->cut[a][b] = true; break;
    case 5: isolate(s, a); break;
    case 6:
        if (replica >= 0)
            order(s, replica, CMD_FAILOVER);
        break;
    case 7:
    case 8: deaf(s, from, to); break;
    default:
        if (replica >= 0)
            sim_crash(s, replica, 50 + rng_below(&s->rng, 3000));
    }
    sim_push(s, (struct sim_event){.kind = SIM_HEAL_LINK}, 100 + rng_below(&s->rng, 4 * t));
}

void fault_strike(struct sim *s)
{
    if (s->sharp && rng_below(&s->rng, 2) == 0)
        sharp_fault(s);
    else
        plain_fault(s);
    sim_push(s, (struct sim_event){.kind = SIM_FAULT}, 100 + rng_below(&s->rng, 2500));
}

/* The last fault: a primary is replaced by one that it does not hear, ever; others must tell it. */
void fault_last(struct sim *s)
{
    int replica = some_replica(s), primary = replica < 0 ? -1 : primary_of(s, replica);
    if (primary < 0)
        return;
    s->cut[replica][primary] = s->cut[primary][replica] = true;
    if (s->nodes[primary].alive)
        sim_crash(s, primary, 5000);
}
