/* The mover, as src/server/moves_send.c and moves_take.c drive the machine (decision 026):
 *
 *      source    OFFER ── it stands: READY ─┐
 *      target                             its disk says so ─┐
 *      source                               holds the groups ── sends what they are ─┐
 *      target                                           writes it, its replicas too ─┤
 *      source    TAKE epoch ── waits until they are not its own; in the end RECLAIM
 *      target    takes them: from then on it is the machine's affair
 *
 * The copy before it is nothing here: what is sent while the groups are held is all that counts. Letters go
 * over a connection, so none is lost but with it; one that meets a cut link waits there, and may arrive long
 * after its sender has given up, or was restarted. At each step something may happen to either side. */
#include "sim.h"

#include "cluster/mutant.h"

enum {
    POLL_MS = 20,
    AGAIN_MS = 100,     /* a letter that waits, an order that was refused */
    EVERY_MS = 800,     /* moves begin */
    SEND_MS = 3000,     /* until the keys are there */
    REPLICAS_MS = 1000, /* until the target's replicas have them */
    DOUBT_MS = 4000,    /* for the claim, at most */
    SLOW_MS = 3000,
};

enum step { BEGINS, OFFERS, READIES, SENDS, WAITS, GIVES };
enum letter { READY, KEYS, TAKE };

uint64_t moves_wanted(const struct sim *s, int node)
{
    uint64_t groups = 0;
    for (unsigned i = 0; i < SIM_MOVES; i++)
        groups |= s->moves[i].on && s->moves[i].from == node ? s->moves[i].groups : 0;
    return groups;
}

void moves_add_held(const struct sim *s, int node, uint8_t *slots)
{
    for (unsigned i = 0; i < SIM_MOVES; i++) {
        const struct sim_move *v = &s->moves[i];
        if (v->on && v->held && v->from == node && !MUTANT(NO_HOLD))
            slots_add(slots, v->slots);
    }
}

uint64_t moves_held(const struct sim *s, int node)
{
    uint8_t slots[SLOT_BYTES] = {0};
    moves_add_held(s, node, slots);
    return groups_in(slots);
}

static void push(struct sim *s, const struct sim_move *v, enum sim_event_kind kind, uint64_t seq, uint64_t ms)
{
    int node = kind == SIM_LETTER ? v->to : kind == SIM_MOVE_FAULT ? 0 : v->from;
    unsigned life = kind == SIM_LETTER ? v->to_life : v->from_life;
    sim_push(s,
             (struct sim_event){.kind = (int)kind,
                                .node = node,
                                .life = life,
                                .conn = (int)(v - s->moves),
                                .gen = v->number,
                                .seq = seq},
             ms);
}

static uint64_t delay(struct sim *s)
{
    uint64_t d = 1 + rng_below(&s->rng, s->delay_ms);
    return rng_below(&s->rng, 8) == 0 ? d + rng_below(&s->rng, SLOW_MS) : d;
}

static bool is_cut(const struct sim *s, const struct sim_move *v)
{
    return s->cut[v->from][v->to] || s->cut[v->to][v->from];
}

static void enter(struct sim *s, struct sim_move *v, enum step step, uint64_t ms)
{
    v->step = step;
    v->until = s->now + ms;
    for (int left = 2; left > 0 && rng_below(&s->rng, step == GIVES ? 2 : 6) == 0; left--)
        push(s, v, SIM_MOVE_FAULT, 0,
             rng_below(&s->rng, rng_below(&s->rng, 2) == 0 ? 3 * s->delay_ms + 10 : 2000));
}

/* ---- the source ---------------------------------------------------------------------------------------- */

static bool owns_all(const struct sim *s, const struct sim_move *v)
{
    const struct machine *m = &s->nodes[v->from].m;
    for (unsigned i = 0; i < SLOT_COUNT; i++) {
        if (slots_has(v->slots, i) && m->map.owner[i] != m->self)
            return false;
    }
    return node_is(m->self, NODE_PRIMARY);
}

static bool order(struct sim *s, struct sim_move *v, int node, enum machine_command_kind kind)
{
    struct machine_command c = {.kind = kind,
                                .slots = v->slots,
                                .epoch = v->epoch,
                                .id = s->nodes[node == v->to ? v->from : v->to].id};
    return sim_order(s, node, &c);
}

static void offer(struct sim *s, struct sim_move *v)
{
    v->on = order(s, v, v->from, CMD_OFFER);
    if (!v->on)
        return;
    v->epoch = s->nodes[v->from].m.offer.epoch;
    sim_note(s, "node %d offers groups %#llx to node %d in epoch %llu", v->from,
             (unsigned long long)v->groups, v->to, (unsigned long long)v->epoch);
    enter(s, v, OFFERS, REPLICAS_MS);
}

static void make_ready(struct sim *s, struct sim_move *v)
{
    push(s, v, SIM_LETTER, READY, delay(s));
    enter(s, v, READIES, SEND_MS);
}

static void hold(struct sim *s, struct sim_move *v)
{
    if (machine_may_write(&s->nodes[v->from].m, sim_clock(s, v->from)))
        groups_serve(s, v->from);
    v->held = true;
    for (unsigned g = 0; g < SIM_GROUPS; g++)
        v->values[g] = groups_value(s, v->from, g);
    v->said = false;
    push(s, v, SIM_LETTER, KEYS, delay(s));
    enter(s, v, SENDS, SEND_MS);
}

static bool has_all(const struct sim *s, const struct sim_move *v, int node)
{
    for (unsigned g = 0; g < SIM_GROUPS; g++) {
        if ((v->groups >> g & 1) && groups_value(s, node, g) != v->values[g])
            return false;
    }
    return true;
}

/* Those of the target that live, as the source sees it. */
static bool replicas_have(const struct sim *s, const struct sim_move *v)
{
    const struct slotmap *map = &s->nodes[v->from].m.map;
    const struct node *target = slotmap_find(map, &s->nodes[v->to].id);
    unsigned have = 0;
    for (int i = 0; i < s->n; i++)
        have += s->nodes[i].alive && s->nodes[i].following == v->to && has_all(s, v, i);
    return target != NULL && have >= slotmap_replicas(map, target, true);
}

static bool offer_stands(const struct sim *s, const struct sim_move *v)
{
    return machine_offer_stands(&s->nodes[v->from].m, sim_clock(s, v->from));
}

static void tell(struct sim *s, struct sim_move *v)
{
    bool late = rng_below(&s->rng, 4) == 0; /* perhaps after the source has called the groups back */
    push(s, v, SIM_LETTER, TAKE, late ? SLOW_MS / 3 + rng_below(&s->rng, 2 * SLOW_MS) : delay(s));
    enter(s, v, GIVES, 100 + rng_below(&s->rng, DOUBT_MS));
}

/* Only the bus decides now. */
static void await(struct sim *s, struct sim_move *v)
{
    if (!owns_all(s, v)) {
        v->on = false;
        s->given++;
        sim_note(s, "node %d has given its groups to node %d", v->from, v->to);
        if (!s->calm && rng_below(&s->rng, 4) == 0)
            fault_move(s, v->from, v->to);
    } else if (s->now > v->until && order(s, v, v->from, CMD_RECLAIM)) {
        v->on = false;
        s->kept++;
        sim_note(s, "node %d has called its groups back", v->from);
    }
}

static void mover(struct sim *s, struct sim_move *v)
{
    bool late = s->now > v->until;
    if (v->step == BEGINS)
        offer(s, v);
    else if (v->step == OFFERS && offer_stands(s, v))
        make_ready(s, v);
    else if (v->step == READIES && v->said && offer_stands(s, v))
        hold(s, v);
    else if (v->step == SENDS && v->said)
        enter(s, v, WAITS, REPLICAS_MS);
    else if (v->step == WAITS && !is_cut(s, v) && replicas_have(s, v) && offer_stands(s, v))
        tell(s, v);
    else if (v->step == GIVES)
        await(s, v);
    else if (late)
        v->on = false;
    if (v->on)
        push(s, v, SIM_MOVER, 0, late ? AGAIN_MS : 1 + rng_below(&s->rng, POLL_MS));
}

/* ---- the target ---------------------------------------------------------------------------------------- */

static bool write_keys(struct sim *s, struct sim_move *v)
{
    struct sim_node *n = &s->nodes[v->to];
    const struct node *from = slotmap_find(&n->m.map, &s->nodes[v->from].id);
    bool good = node_is(n->m.self, NODE_PRIMARY) && !n->m.mute && from != NULL && !node_is(from, NODE_FAIL);
    for (unsigned i = 0; i < SLOT_COUNT; i++)
        good &= !slots_has(v->slots, i) || n->m.map.owner[i] == from;
    for (unsigned g = 0; good && g < SIM_GROUPS; g++) {
        if (v->groups >> g & 1)
            good = groups_put(s, v->to, g, v->values[g]);
    }
    v->to_reign = n->reign;
    return good;
}

static void arrive(struct sim *s, struct sim_move *v, enum letter what)
{
    struct sim_node *n = &s->nodes[v->to];
    if (is_cut(s, v)) {
        if (v->on)
            push(s, v, SIM_LETTER, what, AGAIN_MS);
    } else if (what == READY) {
        const struct machine *m = &n->m;
        bool asked = m->ready.on && m->ready.epoch == v->epoch;
        if (asked && !machine_is_ready(m))
            push(s, v, SIM_LETTER, READY, POLL_MS); /* its answer waits for the disk */
        else if (asked)
            push(s, v, SIM_ANSWER, true, delay(s));
        else if (order(s, v, v->to, CMD_READY))
            push(s, v, SIM_LETTER, READY, 1);
        else
            push(s, v, SIM_ANSWER, false, delay(s));
    } else if (what == KEYS) {
        push(s, v, SIM_ANSWER, write_keys(s, v), delay(s));
    } else if (node_is(n->m.self, NODE_PRIMARY) && n->reign == v->to_reign && order(s, v, v->to, CMD_TAKE)) {
        sim_note(s, "node %d takes groups of node %d in epoch %llu", v->to, v->from,
                 (unsigned long long)v->epoch);
        groups_take(s, v->to, v->groups, !v->on);
    }
}

/* ---- both ---------------------------------------------------------------------------------------------- */

static int some_primary(struct sim *s, bool with_slots, int but)
{
    int first = (int)rng_below(&s->rng, (uint64_t)s->n);
    for (int i = 0; i < s->n; i++) {
        int node = (first + i) % s->n;
        const struct node *self = s->nodes[node].alive ? s->nodes[node].m.self : NULL;
        if (node != but && fault_awake(s, node) && node_is(self, NODE_PRIMARY) &&
            (self->nslots > 0 || !with_slots))
            return node;
    }
    return -1;
}

/* All of its slots, or some groups that it has. */
static void choose(struct sim *s, struct sim_move *v, const uint8_t *slots, bool all)
{
    unsigned wide = SLOT_COUNT / SIM_GROUPS, many = 1 + (unsigned)rng_below(&s->rng, all ? 4 : 3),
             first = (unsigned)rng_below(&s->rng, SIM_GROUPS);
    memcpy(v->slots, slots, SLOT_BYTES);
    v->groups = groups_in(slots);
    for (unsigned i = 0; many < 4 && i < SIM_GROUPS; i++) {
        unsigned g = (first + i) % SIM_GROUPS;
        if (many > 0 && (v->groups >> g & 1)) {
            many--;
            continue;
        }
        v->groups &= ~(1ULL << g);
        for (unsigned k = 0; k < wide; k++)
            slots_set(v->slots, g * wide + k, false);
    }
}

static void begin(struct sim *s)
{
    struct sim_move *v = &s->moves[(s->begun + 1) % SIM_MOVES];
    int from = some_primary(s, true, -1), to = some_primary(s, rng_below(&s->rng, 4) != 0, from);
    if (from < 0 || to < 0 || v->on || moves_wanted(s, from) != 0)
        return;
    *v = (struct sim_move){.number = ++s->begun,
                           .on = true,
                           .from = from,
                           .to = to,
                           .from_life = s->nodes[from].life,
                           .to_life = s->nodes[to].life};
    const struct machine *m = &s->nodes[from].m;
    bool all = slotmap_voters(&m->map) > 3; /* a cluster of fewer voters is none */
    choose(s, v, m->self->slots, all);
    v->on = v->groups != 0 && (all || v->groups != groups_in(m->self->slots));
    if (v->on) {
        enter(s, v, BEGINS, 0);
        push(s, v, SIM_MOVER, 0, rng_below(&s->rng, 500));
    }
}

void moves_event(struct sim *s, struct sim_event *e)
{
    struct sim_move *v = &s->moves[e->conn];
    struct sim_node *n = &s->nodes[e->node];
    if (e->kind == SIM_MOVE) {
        if (!s->calm) {
            begin(s);
            sim_push(s, *e, 50 + rng_below(&s->rng, EVERY_MS));
        }
    } else if (v->number != e->gen) {
        return;
    } else if (e->kind == SIM_MOVE_FAULT) {
        if (!s->calm)
            fault_move(s, v->from, v->to);
    } else if (n->alive && n->life == e->life) {
        if (e->kind == SIM_LETTER)
            arrive(s, v, (enum letter)e->seq);
        else if (v->on && e->kind == SIM_MOVER)
            mover(s, v);
        else if (v->on && !is_cut(s, v))
            v->said = v->on = e->seq != 0;
    }
}

/* With its source's process goes the move; what it has sent may still arrive. */
void moves_crash(struct sim *s, int node)
{
    for (unsigned i = 0; i < SIM_MOVES; i++)
        s->moves[i].on &= s->moves[i].from != node;
}
