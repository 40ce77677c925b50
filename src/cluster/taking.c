/* Slots that their owner hands to this primary (decision 026).
 *
 *      owner     offers an epoch that nobody has ──> holds the slots ──────────────────┐
 *      here      takes it, claims the slots in every frame, serves none of them         │ waits
 *      owner     hears the claim, which is of a greater epoch: they are not its own ────┘
 *      here      its replicas and it have all said frames without them: now they are served
 *
 * Nobody but the old owner and its replicas can ever claim the slots against us; who of them has sent a frame
 * without them has accepted our epoch, and claims them no more, elected or not. Who has not will be waited
 * for, unless it has failed. A promise of a majority is waited for, too, so that we may acknowledge writes at
 * once.
 *
 * The owner may change its mind, if it hears nothing: it takes an epoch above ours, and its claim ends this.
 * Before it has accepted we have not served. So whoever dies or is cut off, one owns the slots, and has
 * everything: the greater epoch.
 *
 * In our own map they stay the old owner's until then, so that nodes.conf never says that a restarted, empty
 * node owns what it was only about to get. Everybody else's map says already what we claim: who votes is
 * judged by that (taking_votes()), or no promise to us would count, since we saw other voters than who gives
 * it. */
#include "cluster/machine_internal.h"

#include "base/err.h"

#include <stdio.h>

static bool is_on(const struct machine *m, unsigned i)
{
    return (m->takes >> i) & 1;
}

/* Whoever was of the old owner's shard once may have its claim in mind. */
static bool note_giver(struct machine *m, unsigned i, struct node *n)
{
    const struct node_id *from = &m->takings[i].from;
    if (node_id_eq(&n->id, from) || (n->primary != NULL && node_id_eq(&n->primary->id, from)))
        n->gives |= 1u << i;
    return (n->gives >> i) & 1;
}

static bool has_conceded(const struct node *n, unsigned i)
{
    return (n->conceded >> i) & 1;
}

const uint8_t *taking_claims(struct machine *m)
{
    memcpy(m->claims, m->self->slots, SLOT_BYTES);
    machine_add_takings(m, m->claims);
    return m->claims;
}

void machine_add_takings(const struct machine *m, uint8_t *slots)
{
    for (unsigned i = 0; i < MACHINE_TAKINGS; i++)
        if (is_on(m, i))
            slots_add(slots, m->takings[i].slots);
}

static bool keeps_slots(const struct machine *m, const struct node *n)
{
    for (unsigned b = 0; b < SLOT_BYTES; b++) {
        uint8_t kept = n->slots[b];
        for (unsigned i = 0; kept != 0 && i < MACHINE_TAKINGS; i++)
            kept &= is_on(m, i) ? (uint8_t)~m->takings[i].slots[b] : 0xff;
        if (kept != 0)
            return true;
    }
    return false;
}

bool taking_votes(const struct machine *m, const struct node *n)
{
    if (n == m->self && m->takes != 0)
        return node_is(n, NODE_PRIMARY);
    return (n->gives & m->takes) == 0 ? node_votes(n) : node_is(n, NODE_PRIMARY) && keeps_slots(m, n);
}

bool taking_promises(const struct machine *m)
{
    bool may = taking_votes(m, m->self);
    for (unsigned i = 0; i < MACHINE_TAKINGS; i++)
        may &= !is_on(m, i) || !m->takings[i].replaces;
    return may;
}

bool machine_takes(const struct machine *m, unsigned slot)
{
    for (unsigned i = 0; i < MACHINE_TAKINGS; i++)
        if (is_on(m, i) && slots_has(m->takings[i].slots, slot))
            return true;
    return false;
}

bool taking_covers(const struct machine *m)
{
    for (unsigned s = 0; m->map.assigned < SLOT_COUNT && s < SLOT_COUNT; s++)
        if (m->map.owner[s] == NULL && !machine_takes(m, s))
            return false;
    return true;
}

/* ---- the old owner ------------------------------------------------------------------------------------- */

static bool owns_all(const struct machine *m, const uint8_t *slots, const struct node *n)
{
    for (unsigned s = 0; s < SLOT_COUNT; s++)
        if (slots_has(slots, s) && m->map.owner[s] != n)
            return false;
    return true;
}

int taking_offer(struct machine *m, const struct machine_command *c)
{
    if (!machine_is_primary(m) || !owns_all(m, c->slots, m->self))
        return machine_fail_command(m, ERR_TYPE, "Slots are not served by this node.");
    if (!machine_may_write(m, m->now_ms) || m->manual != MANUAL_NONE)
        return machine_fail_command(m, ERR_AGAIN,
                                    "This node may not write now: it is cut off, or hands its role over.");
    /* A replica that is away could come back and claim them, with an epoch of its own. */
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        if (n->primary == m->self && node_is(n, NODE_PFAIL | NODE_FAIL))
            return machine_fail_command(
                m, ERR_AGAIN, "A replica of this node has failed: it must return, or be forgotten.");
    }
    m->current_epoch++;
    machine_dirty(m);
    return 0;
}

int taking_reclaim(struct machine *m, const struct machine_command *c)
{
    if (!machine_is_primary(m) || !owns_all(m, c->slots, m->self))
        return machine_fail_command(m, ERR_TYPE, "Slots are not served by this node.");
    ownership_renew(m);
    return 0;
}

/* ---- the new one --------------------------------------------------------------------------------------- */

static void drop(struct machine *m, unsigned i)
{
    m->takes &= ~(1u << i);
    machine_view(m);
}

void taking_reset(struct machine *m)
{
    m->takes = 0;
}

static unsigned free_place(const struct machine *m)
{
    unsigned i = 0;
    while (i < MACHINE_TAKINGS && is_on(m, i))
        i++;
    return i;
}

/* With what we take we are a voter, and somebody is none any more: two voters change at once. */
static bool replaces_voter(const struct machine *m)
{
    bool goes = false;
    for (unsigned i = 0; i < m->map.n; i++)
        goes |= node_votes(m->map.nodes[i]) && !taking_votes(m, m->map.nodes[i]);
    return goes && !node_votes(m->self);
}

/* Majorities with it and with us need not meet, so we stand for it: what it has voted is our vote, and what
 * it has promised is kept, by waiting, as who is elected waits. */
static void stand_for(struct machine *m, unsigned i)
{
    m->elected_ms = m->now_ms;
    for (unsigned k = 0; k < m->map.n; k++)
        if ((m->map.nodes[k]->gives >> i) & 1)
            electorate_inherit(m, m->map.nodes[k]);
}

static bool is_taken_epoch(const struct machine *m, uint64_t epoch)
{
    for (unsigned i = 0; i < m->map.n; i++)
        if (m->map.nodes[i]->config_epoch >= epoch)
            return true;
    return epoch < m->current_epoch;
}

int taking_begin(struct machine *m, const struct machine_command *c)
{
    const struct node *from = slotmap_find(&m->map, &c->id);
    unsigned i = free_place(m);
    if (!machine_is_primary(m) || !m->ok || m->mute)
        return machine_fail_command(m, ERR_TYPE, "This node is no primary, or its cluster is down.");
    if (from == NULL || from == m->self || node_is(from, NODE_FAIL) || !owns_all(m, c->slots, from))
        return machine_fail_command(m, ERR_NOTFOUND, "Slots are no longer owned by source node");
    if (is_taken_epoch(m, c->epoch))
        return machine_fail_command(m, ERR_AGAIN, "Another node has taken the offered epoch meanwhile");
    if (i == MACHINE_TAKINGS)
        return machine_fail_command(m, ERR_FULL, "Too many slot migrations end here at once");
    m->takes |= 1u << i;
    m->takings[i].from = c->id;
    memcpy(m->takings[i].slots, c->slots, SLOT_BYTES);
    for (unsigned k = 0; k < m->map.n; k++) {
        struct node *n = m->map.nodes[k];
        n->gives &= ~(1u << i);
        n->conceded &= ~(1u << i);
        note_giver(m, i, n);
    }
    m->takings[i].replaces = replaces_voter(m);
    m->current_epoch = m->self->config_epoch = c->epoch;
    machine_hold(m);
    machine_view(m);
    return 0;
}

/* Those who must answer are asked at once: the old owner's shard, and who may promise that we can write. */
void taking_ask(struct machine *m)
{
    for (unsigned i = 0; i < MACHINE_TAKINGS; i++) {
        for (unsigned k = 0; is_on(m, i) && k < m->map.n; k++) {
            struct node *n = m->map.nodes[k];
            if (node_votes(n) || note_giver(m, i, n))
                failure_ask_one(m, n);
        }
    }
}

/* Nobody of the old owner's shard will claim them any more. */
static bool is_conceded(struct machine *m, unsigned i)
{
    const struct node *from = slotmap_find(&m->map, &m->takings[i].from);
    bool owner = from == NULL || has_conceded(from, i), other = false;
    for (unsigned k = 0; k < m->map.n; k++) {
        struct node *n = m->map.nodes[k];
        if (n == from || !note_giver(m, i, n))
            continue;
        if (!has_conceded(n, i) && !node_is(n, NODE_FAIL))
            return false;
        other |= has_conceded(n, i);
    }
    return owner || (node_is(from, NODE_FAIL) && other);
}

/* With these slots, may we acknowledge writes at once? */
static bool has_majority(const struct machine *m)
{
    unsigned voters = 0, have = 0;
    struct electorate e;
    electorate_hear(&e, m, failure_promised, m->now_ms, 0);
    for (unsigned k = 0; k < m->map.n; k++) {
        const struct node *n = m->map.nodes[k];
        if (!taking_votes(m, n))
            continue;
        voters++;
        if (n != m->self && !node_is(n, NODE_LARDER))
            return true; /* a mixed cluster knows no promises */
        have += failure_promised(m, n, m->now_ms) && electorate_counts(&e, n);
    }
    return 2 * have > voters;
}

/* Somebody was elected in the old owner's place, and claims them. */
static bool is_lost(const struct machine *m, const struct taking *t)
{
    for (unsigned s = 0; s < SLOT_COUNT; s++) {
        const struct node *owner = m->map.owner[s];
        if (slots_has(t->slots, s) && owner != NULL && !node_id_eq(&owner->id, &t->from) &&
            owner->config_epoch >= m->self->config_epoch)
            return true;
    }
    return false;
}

static void finish(struct machine *m, unsigned i)
{
    m->takes &= ~(1u << i);
    if (m->takings[i].replaces)
        stand_for(m, i);
    for (unsigned s = 0; s < SLOT_COUNT; s++)
        if (slots_has(m->takings[i].slots, s))
            slotmap_assign(&m->map, s, m->self);
    machine_hold(m);
    machine_view(m);
}

void taking_check(struct machine *m)
{
    for (unsigned i = 0; i < MACHINE_TAKINGS; i++) {
        if (!is_on(m, i))
            continue;
        if (!machine_is_primary(m) || is_lost(m, &m->takings[i]))
            drop(m, i);
        else if (!machine_held(m) && is_conceded(m, i) && has_majority(m))
            finish(m, i);
    }
}

void taking_heard(struct machine *m, struct node *sender, const struct frame *f)
{
    for (unsigned i = 0; i < MACHINE_TAKINGS; i++) {
        if (!is_on(m, i) || !note_giver(m, i, sender))
            continue;
        /* Who follows us already, having given its last slots away, tells of ours. */
        bool claims =
            slots_overlap(f->h.slots, m->takings[i].slots) && !node_id_eq(&f->h.primary, &m->self->id);
        if (claims)
            sender->conceded &= ~(1u << i);
        else if (f->h.type == FRAME_PONG) /* with it comes what it has voted */
            sender->conceded |= 1u << i;
        if (claims && f->h.config_epoch > m->self->config_epoch)
            drop(m, i); /* they are kept after all */
    }
}
