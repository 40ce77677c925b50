/* Who has which write. Slots are 64 groups; of a group only its middle slot is looked at, and its data are
 * one value, the number of its last write. A write stands at a place of its writer's reign (data.c), so it is
 * in whatever copy reaches that far, and what a node has of a group follows from its runs.
 *
 * The rule: who serves a group has the write that was acknowledged last, by whoever served it. It may come
 * into the place of another by an election, and after a restart, and then has what it has: replication is
 * asynchronous. By a move nothing is lost. Who serves a group that another served last, and has come by it in
 * none of these ways, breaks the rule. */
#include "sim.h"

#include "cluster/machine_internal.h"

#include <stdlib.h>

enum { GROUP_SLOTS = SLOT_COUNT / SIM_GROUPS };

static uint64_t bit(unsigned group)
{
    return 1ULL << group;
}

uint64_t groups_in(const uint8_t *slots)
{
    uint64_t in = 0;
    for (unsigned g = 0; g < SIM_GROUPS; g++)
        in |= slots_has(slots, g * GROUP_SLOTS + GROUP_SLOTS / 2) ? bit(g) : 0;
    return in;
}

static bool reaches(const struct sim_data *d, const struct sim_write *w)
{
    for (unsigned i = 0; i < d->n; i++) {
        if (d->runs[i].reign == w->reign)
            return w->end <= d->runs[i].end;
    }
    return false;
}

uint32_t groups_value(const struct sim *s, int node, unsigned group)
{
    for (uint32_t at = s->groups[group].newest; at != 0; at = s->log[at - 1].before) {
        if (reaches(&s->nodes[node].data, &s->log[at - 1]))
            return s->log[at - 1].value;
    }
    return 0;
}

bool groups_put(struct sim *s, int node, unsigned group, uint32_t value)
{
    struct sim_node *n = &s->nodes[node];
    if (!data_write(n, 1))
        return false;
    if (s->nlog == s->log_cap) {
        s->log_cap = s->log_cap == 0 ? 4096 : s->log_cap * 2;
        s->log = realloc(s->log, s->log_cap * sizeof(*s->log));
        if (s->log == NULL)
            abort();
    }
    n->kept &= ~bit(group);
    s->log[s->nlog++] = (struct sim_write){n->reign, value, s->groups[group].newest, data_offset(&n->data)};
    s->groups[group].newest = (uint32_t)s->nlog;
    return true;
}

static void forget_lost(struct sim *s, uint64_t groups)
{
    for (int i = 0; i < s->n; i++)
        s->nodes[i].took &= ~groups;
}

static void serve_one(struct sim *s, int node, unsigned group)
{
    struct sim_node *n = &s->nodes[node];
    struct sim_group *g = &s->groups[group];
    uint32_t has = groups_value(s, node, group);
    if (g->holder == 0 || (n->inherits & bit(group))) {
        g->acked = has;
        g->holder = (uint32_t)node + 1;
        n->inherits &= ~bit(group);
        s->replaced &= ~bit(group);
        forget_lost(s, bit(group));
    }
    if (g->holder != (uint32_t)node + 1)
        sim_fail(s, "node %d serves slots of group %u, which node %u has served and did not give it", node,
                 group, g->holder - 1);
    else if (g->acked != has)
        sim_fail(s, "node %d serves group %u without write %u of it, which was acknowledged", node, group,
                 g->acked);
}

/* It may write: does it have what it must? */
void groups_serve(struct sim *s, int node)
{
    uint64_t serves = s->nodes[node].owns & ~moves_held(s, node);
    for (unsigned g = 0; g < SIM_GROUPS; g++) {
        if (serves & s->nodes[node].stale & bit(g))
            sim_fail(s, "node %d, which was replaced, serves slots of group %u still", node, g);
        if (serves & bit(g))
            serve_one(s, node, g);
    }
}

/* A write to one group, often to one that is about to leave. */
void groups_write(struct sim *s, int node)
{
    uint64_t serves = s->nodes[node].owns & ~moves_held(s, node), leaving = serves & moves_wanted(s, node);
    if (!s->moving || !s->started || serves == 0)
        return;
    groups_serve(s, node);
    if (leaving != 0 && rng_below(&s->rng, 2) == 0)
        serves = leaving;
    unsigned g = (unsigned)rng_below(&s->rng, SIM_GROUPS);
    while (!(serves & bit(g)))
        g = (g + 1) % SIM_GROUPS;
    if (groups_put(s, node, g, ++s->values))
        s->groups[g].acked = s->values;
}

/* Has one died, or lost its place, who was about to serve the group? Then nobody has what was on its way, but
 * for who gave it, if that one has been up since. */
static bool was_lost(const struct sim *s, unsigned group)
{
    bool lost = false;
    for (int i = 0; i < s->n; i++)
        lost |= (s->nodes[i].took & bit(group)) != 0;
    return lost;
}

void groups_take(struct sim *s, int node, uint64_t groups, bool late)
{
    if (!late) /* else another may have died since whoever gives them served them */
        forget_lost(s, groups);
    s->nodes[node].takes |= groups;
}

/* Whoever has been told to take a group and owns it now must have everything. */
static void gain(struct sim *s, int node, unsigned group)
{
    struct sim_node *n = &s->nodes[node];
    struct sim_group *v = &s->groups[group];
    if (n->takes & bit(group)) {
        v->given = v->acked;
        v->giver = v->holder;
        n->unsaved |= bit(group);
        if (!s->calm && rng_below(&s->rng, 8) == 0) /* before its disk says so */
            sim_push(
                s, (struct sim_event){.kind = SIM_CRASH, .node = node, .seq = 100 + rng_below(&s->rng, 2000)},
                rng_below(&s->rng, 6));
        n->takes &= ~bit(group);
        n->inherits |= bit(group);
        if (!(s->replaced & bit(group)) && groups_value(s, node, group) != v->acked)
            sim_fail(s, "node %d has taken group %u without write %u of it", node, group, v->acked);
    } else if ((s->replaced & bit(group)) && v->holder != 0 && n->replaces == (int)v->holder - 1) {
        n->inherits |= bit(group); /* whoever was to take it from whom it has replaced gave it up */
    } else if (was_lost(s, group) && !(n->kept & bit(group))) {
        n->inherits |= bit(group);
    }
}

/* A primary deletes groups; its replicas hear of it. */
static void empty(struct sim *s, int node, uint64_t groups)
{
    for (unsigned g = 0; s->moving && node_is(s->nodes[node].m.self, NODE_PRIMARY) && g < SIM_GROUPS; g++) {
        if (groups & bit(g))
            (void)groups_put(s, node, g, 0);
    }
}

/* Those that may come back. */
static uint64_t may_come_back(const struct machine *m)
{
    uint8_t slots[SLOT_BYTES] = {0};
    machine_add_takings(m, slots);
    if (m->offer.gift.on)
        slots_add(slots, m->offer.gift.slots);
    return groups_in(slots);
}

static void drop_kept(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    uint64_t gone = n->kept == 0 ? 0 : n->kept & ~may_come_back(&n->m);
    n->kept &= ~gone;
    empty(s, node, gone);
}

void groups_step(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    uint64_t owns = groups_in(n->m.self->slots), gained = owns & ~n->owns;
    for (unsigned g = 0; (gained | n->takes) != 0 && g < SIM_GROUPS; g++) {
        if (gained & bit(g)) {
            gain(s, node, g);
        } else if ((n->takes & bit(g)) && !machine_takes(&n->m, g * GROUP_SLOTS + GROUP_SLOTS / 2)) {
            n->takes &= ~bit(g); /* it was called off */
            n->took |= node_is(n->m.self, NODE_PRIMARY) ? 0 : bit(g);
        }
    }
    n->owns = owns;
    n->stale &= owns;
    if (!taking_awaits_disk(&n->m))
        n->unsaved = 0;
    n->kept &= ~owns;
    drop_kept(s, node);
    n->inherits &= owns | n->kept;
}

/* An election loses what its winner does not have; also what its loser had called back, unheard, of groups
 * that somebody takes. */
void groups_promote(struct sim *s, int node, int in_place_of)
{
    struct sim_node *n = &s->nodes[node];
    const struct sim_node *old = &s->nodes[in_place_of];
    uint8_t coming[SLOT_BYTES] = {0};
    uint64_t owns = groups_in(n->m.self->slots), its = old->inherits | old->takes | old->took;
    for (unsigned g = 0; g < SIM_GROUPS; g++)
        its |= s->groups[g].holder == (uint32_t)in_place_of + 1 ? bit(g) : 0;
    n->inherits |= owns & its;
    n->stale = 0;
    n->replaces_in = n->m.self->config_epoch;
    s->replaced |= its & ~owns;
    machine_add_takings(&n->m, coming); /* it goes on with what the other was told to take */
    n->takes |= groups_in(coming);
}

/* An election counts from when its winner's disk says so: whoever it replaced has no right to what it had. */
void groups_disk(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    if (n->replaces_in == 0 || n->config_disk < n->replaces_in)
        return;
    struct sim_node *old = &s->nodes[n->replaces];
    if (!old->alive || old->m.self->config_epoch <= n->replaces_in) /* else elected anew since */
        old->stale = UINT64_MAX;
    n->replaces_in = 0;
}

/* It was elected in its own place, since those who had voted for its replica heard no more of that one: what
 * the replica has served since is its own again, with what it has itself. */
void groups_renew(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    sim_note(s, "node %d is elected in its own place in epoch %llu", node,
             (unsigned long long)n->m.self->config_epoch);
    s->nodes[node].stale = 0;
    for (unsigned g = 0; g < SIM_GROUPS; g++) {
        uint32_t holder = s->groups[g].holder;
        if (holder != 0 && holder != (uint32_t)node + 1 && s->nodes[holder - 1].replaces == node)
            n->inherits |= n->owns & bit(g);
    }
}

/* Slots that are another's now are deleted, but those given away when they are served there. */
void groups_drop(struct sim *s, int node, const uint8_t *slots)
{
    struct sim_node *n = &s->nodes[node];
    uint64_t lost = groups_in(slots), kept = lost & may_come_back(&n->m);
    n->kept |= kept;
    empty(s, node, lost & ~kept);
}

/* What it has taken, and its disk does not say so, it has lost, with what it wrote there since: whoever gave
 * it goes on with what that was. */
static void forget_unsaved(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    for (unsigned g = 0; g < SIM_GROUPS; g++) {
        struct sim_group *v = &s->groups[g];
        if (!(n->unsaved & bit(g)) || v->holder != (uint32_t)node + 1)
            continue;
        n->inherits |= bit(g); /* if it is restarted with them all the same */
        n->took |= bit(g);
        v->acked = v->given;
        v->holder = v->giver;
    }
}

void groups_crash(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    forget_unsaved(s, node);
    for (unsigned g = 0; g < SIM_GROUPS; g++) {
        if (s->groups[g].holder == (uint32_t)node + 1)
            n->inherits |= bit(g);
        else
            n->took |= (n->takes | n->inherits) & bit(g);
    }
    n->takes = n->kept = n->unsaved = 0;
}
