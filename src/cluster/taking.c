/* Slots that their owner hands to this primary (decision 026).
 *
 *      owner     offers an epoch that nobody has (giving.c)
 *      here      is ready: nodes.conf says that we may have claimed them in it
 *      owner     holds the slots, sends what is left ───────────────────────────────────┐
 *      here      takes it, claims the slots in every frame, serves none of them          │ clients wait
 *      owner     hears the claim, which is of a greater epoch: they are not its own      │
 *      here      its replicas and it have all said frames without them: they are served ─┘
 *      here      they are its own in nodes.conf, too: now the owner may forget that it gave them
 *
 * Nobody but the old owner and its replicas can ever claim the slots against us; who of them has sent a frame
 * without them has accepted our epoch, and claims them no more, elected or not. Who has not will be waited
 * for, unless it has failed; for an owner that has failed, until one of its replicas was elected. A promise
 * of a majority is waited for, too, so that we may acknowledge writes at once.
 *
 * The owner may change its mind, if it hears nothing: it has an epoch above ours, and its claim ends this.
 * Before it has accepted we have not served. So whoever dies or is cut off, one owns the slots, and has
 * everything: the greater epoch.
 *
 * So a claim goes by its own epoch: under a later one of ours, of whatever cause, it would stand above a call
 * back. Whatever would raise ours waits: to end the claim may lose the only copy, if the owner has given it
 * up unheard. What is conceded nobody can call back any more, and may wait under any epoch. One claim at a
 * time.
 *
 * In our own map they stay the old owner's until then, or nobody's, if we were elected meanwhile. Everybody
 * else's map says already what we claim: who votes is judged by that (taking_votes()), or no promise to us
 * would count, since we saw other voters than who gives it. The claim waits for no disk, as we were ready
 * for it; nodes.conf says of it with whatever is saved next. After a restart we claim what we did in our
 * epoch, or take a new one and say that the claim has ended (taking_restore()). taking_told.c: what others
 * are told. */
#include "cluster/machine_internal.h"

#include "base/err.h"

#include <stdio.h>

enum { EPOCHS_KEPT = 2 }; /* so far above the claim is an epoch for us: the one between is for calling back */

/* Whoever was of the old owner's shard once may have its claim in mind. */
static bool note_giver(struct machine *m, struct node *n)
{
    const struct node_id *from = &m->taking.with;
    n->gives |= node_id_eq(&n->id, from) || (n->primary != NULL && node_id_eq(&n->primary->id, from));
    return n->gives;
}

const uint8_t *taking_claims(struct machine *m)
{
    memcpy(m->claims, m->self->slots, SLOT_BYTES);
    machine_add_takings(m, m->claims);
    giving_add(m, m->claims);
    return m->claims;
}

void machine_add_takings(const struct machine *m, uint8_t *slots)
{
    if (m->taking.on)
        slots_add(slots, m->taking.slots);
}

bool taking_awaits_disk(const struct machine *m)
{
    return m->taken_seq > m->persisted_seq;
}

/* Until the file says that what has come is ours, whoever gave it must remember: a restart would have us
 * claim it again, or not at all. */
bool taking_any(const struct machine *m)
{
    return m->taking.on || taking_awaits_disk(m);
}

bool machine_serves_unsaved(const struct machine *m)
{
    return taking_awaits_disk(m) && !machine_held(m);
}

/* Who waits for it hears it at once. */
void taking_persisted(struct machine *m)
{
    if (m->taken_seq == 0 || taking_awaits_disk(m))
        return;
    m->taken_seq = 0;
    struct node *from = slotmap_find(&m->map, &m->taken_from);
    if (from != NULL && from->out_up)
        bus_ping(m, from, FRAME_PONG, from->out, 0);
}

static bool keeps_slots(const struct machine *m, const struct node *n)
{
    for (unsigned b = 0; b < SLOT_BYTES; b++)
        if ((n->slots[b] & (uint8_t)~m->taking.slots[b]) != 0)
            return true;
    return false;
}

bool taking_votes(const struct machine *m, const struct node *n)
{
    if (n == m->self && m->taking.on)
        return node_is(n, NODE_PRIMARY);
    return n->gives && m->taking.on ? node_is(n, NODE_PRIMARY) && keeps_slots(m, n) : node_votes(n);
}

bool taking_promises(const struct machine *m)
{
    return taking_votes(m, m->self) && !(m->taking.on && m->replaces);
}

bool machine_takes(const struct machine *m, unsigned slot)
{
    return m->taking.on && slots_has(m->taking.slots, slot);
}

bool taking_covers(const struct machine *m)
{
    for (unsigned s = 0; m->map.assigned < SLOT_COUNT && s < SLOT_COUNT; s++)
        if (m->map.owner[s] == NULL && !machine_takes(m, s))
            return false;
    return true;
}

void taking_forget(struct machine *m)
{
    memset(&m->taking, 0, sizeof(m->taking));
    machine_dirty(m);
    machine_view(m);
}

/* With what we take we are a voter, and somebody is none any more: two voters change at once. Majorities with
 * it and with us need not meet, so we stand for it: what it has voted, by when it concedes, is our vote, and
 * what it has promised is kept, by waiting, as who is elected waits. */
static bool replaces_voter(const struct machine *m)
{
    bool goes = false;
    for (unsigned i = 0; i < m->map.n; i++)
        goes |= node_votes(m->map.nodes[i]) && !taking_votes(m, m->map.nodes[i]);
    return goes && !node_votes(m->self);
}

/* It is under way from now on, or was before a restart. */
void taking_put_under_way(struct machine *m)
{
    m->taking.on = true;
    for (unsigned k = 0; k < m->map.n; k++) {
        struct node *n = m->map.nodes[k];
        n->gives = n->conceded = false;
        note_giver(m, n);
    }
    m->replaces = replaces_voter(m);
}

/* What ended before is the business of nobody who gives us something anew. */
static void start(struct machine *m, const struct node_id *from, const uint8_t *slots, uint64_t epoch)
{
    for (unsigned i = m->nended; i-- > 0;)
        if (node_id_eq(&m->ended[i].from, from))
            memmove(m->ended + i, m->ended + i + 1, (--m->nended - i) * sizeof(*m->ended));
    m->taking = (struct handover){.with = *from, .epoch = epoch};
    memcpy(m->taking.slots, slots, SLOT_BYTES);
    taking_put_under_way(m);
    machine_view(m);
}

/* The epoch in which we were elected is whom we have replaced's, too, who may take the same back: that one
 * gives way. */
bool taking_start(struct machine *m, const struct node_id *from, const uint8_t *slots, uint64_t epoch)
{
    if (m->taking.on)
        return false;
    taking_rise(m, epoch);
    start(m, from, slots, epoch);
    m->taking.elected = epoch == m->elected_epoch;
    return true;
}

/* Why not; 0: it is well. */
static int check(struct machine *m, const struct machine_command *c)
{
    const struct node *from = slotmap_find(&m->map, &c->id);
    if (!machine_is_primary(m) || !m->ok || m->mute)
        return machine_fail_command(m, ERR_TYPE, "This node is no primary, or its cluster is down.");
    if (m->self->nslots > 0 && !machine_may_write(m, m->now_ms))
        return machine_fail_command(m, ERR_AGAIN,
                                    "This node may not write now: another may be elected in its place.");
    if (from == NULL || from == m->self || node_is(from, NODE_FAIL) || !machine_owns_all(m, c->slots, from))
        return machine_fail_command(m, ERR_NOTFOUND, "Slots are no longer owned by source node");
    if ((machine_epoch_is_taken(m, c->epoch) || giving_offers_in(m, c->epoch)) && !MUTANT(TAKE_ANY_EPOCH))
        return machine_fail_command(m, ERR_AGAIN, "Another node has taken the offered epoch meanwhile");
    if (m->taking.on)
        return machine_fail_command(m, ERR_AGAIN, "Slots that came here last are not served yet.");
    return 0;
}

int taking_ready(struct machine *m, const struct machine_command *c)
{
    int rc = check(m, c);
    if (rc != 0)
        return rc;
    m->ready = (struct handover){.on = true, .with = c->id, .epoch = c->epoch};
    memcpy(m->ready.slots, c->slots, SLOT_BYTES);
    m->ready_seq = machine_persist_next(m);
    machine_dirty(m);
    return 0;
}

bool machine_is_ready(const struct machine *m)
{
    return m->ready.on && (m->persisted_seq >= m->ready_seq || MUTANT(TAKE_UNREADY));
}

bool taking_readies(const struct machine *m)
{
    return m->ready.on && !machine_is_ready(m);
}

static bool is_ready_for(const struct machine *m, const struct machine_command *c)
{
    const struct handover *r = &m->ready;
    return machine_is_ready(m) && r->epoch == c->epoch && node_id_eq(&r->with, &c->id) &&
           memcmp(r->slots, c->slots, SLOT_BYTES) == 0;
}

/* The file says already that we may have done so: all hear it at once. */
int taking_begin(struct machine *m, const struct machine_command *c)
{
    int rc = check(m, c);
    if (rc != 0)
        return rc;
    if (!is_ready_for(m, c))
        return machine_fail_command(m, ERR_AGAIN, "This node was not made ready for it.");
    m->ready.on = false;
    m->self->config_epoch = c->epoch;
    if (m->current_epoch < c->epoch)
        m->current_epoch = c->epoch;
    start(m, &c->id, c->slots, c->epoch);
    machine_dirty(m);
    bus_pong_all(m);
    taking_ask(m, true);
    return 0;
}

static bool has_owner(const struct machine *m, const uint8_t *slots)
{
    for (unsigned s = 0; s < SLOT_COUNT; s++)
        if (slots_has(slots, s) && m->map.owner[s] != NULL)
            return true;
    return false;
}

/* Into the epoch that was kept for us, unless ours is later. */
static void rise_above(struct machine *m, const struct handover *h)
{
    uint64_t epoch = h->epoch + EPOCHS_KEPT;
    taking_rise(m, m->self->config_epoch > epoch ? m->self->config_epoch : epoch);
}

/* It is as if we had claimed it, whether we have or not. */
static void give_up(struct machine *m, const struct handover *h)
{
    taking_note_ended(m, h);
    if (!MUTANT(TAKE_AND_FORGET))
        rise_above(m, h);
}

/* What we claimed before a restart. With replicas, which have it, we go on. Without them it is lost, and is
 * the old owner's, if there is one, whether it has given it up or not: in a new epoch, which was kept for
 * that, we claim it no more. But what we claim since we were elected nobody remembers that he gave it. Nor do
 * we claim what we were ready for: it is not known whether it was all there when we died. */
void taking_restore(struct machine *m)
{
    struct handover *t = &m->taking;
    if (m->ready.on)
        give_up(m, &m->ready);
    m->ready.on = false;
    if (!t->on)
        return;
    if (t->epoch == 0) {
        t->epoch = m->self->config_epoch;
        t->elected = true;
    }
    t->on = machine_is_primary(m);
    if (!t->on)
        return; /* our primary's */
    if (t->elected || slotmap_replicas(&m->map, m->self, false) > 0 || !has_owner(m, t->slots)) {
        taking_put_under_way(m);
        return;
    }
    const struct handover lost = *t;
    taking_forget(m);
    give_up(m, &lost);
}

/* To ask again would make its answer one to an older question, which promises nothing. */
static bool is_asked(const struct machine *m, const struct node *n)
{
    return n->ping_seq != 0 && m->now_ms - n->ping_seq_ms < m->config.node_timeout_ms / 5;
}

/* Those who must answer are asked each tick, and when the claim is made: the old owner's shard, and who may
 * promise that we can write. */
void taking_ask(struct machine *m, bool at_once)
{
    for (unsigned k = 0; m->taking.on && k < m->map.n; k++) {
        struct node *n = m->map.nodes[k];
        if ((node_votes(n) || note_giver(m, n)) && (at_once || !is_asked(m, n)))
            failure_ask_one(m, n);
    }
}

/* Nobody of the old owner's shard will claim them any more. Of an owner that has failed that is known when
 * another was elected in its place and does not claim them: it has no lease then. *heir: so it is. It may
 * have called them back, unheard. */
static bool is_conceded(struct machine *m, bool *heir)
{
    const struct node *from = slotmap_find(&m->map, &m->taking.with);
    *heir = false;
    for (unsigned k = 0; k < m->map.n; k++) {
        struct node *n = m->map.nodes[k];
        if (n == from || !note_giver(m, n))
            continue;
        if (!n->conceded && !node_is(n, NODE_FAIL) && !MUTANT(TAKE_ALONE))
            return false;
        *heir |= n->conceded && node_is(n, NODE_PRIMARY) && n->config_epoch > m->taking.epoch;
    }
    bool owner = from == NULL || from->conceded || MUTANT(TAKE_AT_ONCE);
    *heir = *heir && !owner;
    return owner || *heir;
}

bool taking_pins_epoch(struct machine *m)
{
    bool heir;
    return m->taking.on && !is_conceded(m, &heir);
}

void taking_rise(struct machine *m, uint64_t epoch)
{
    m->self->config_epoch = epoch;
    if (m->current_epoch < epoch)
        m->current_epoch = epoch;
    machine_hold(m);
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
        if (n != m->self && node_is_redis(n))
            return true; /* a mixed cluster knows no promises */
        have += failure_promised(m, n, m->now_ms) && electorate_counts(&e, n);
    }
    return 2 * have > voters;
}

/* In one epoch, that of an election, two may claim that were in one place: what the old one was taking the
 * elected one takes. */
static bool goes_before(const struct machine *m, const struct node *owner)
{
    return owner->config_epoch > m->taking.epoch ||
           (owner->config_epoch == m->taking.epoch && !m->taking.elected);
}

/* Somebody was elected in the old owner's place and claims them, or it has called them back. */
static bool is_lost(const struct machine *m)
{
    for (unsigned s = 0; s < SLOT_COUNT; s++) {
        const struct node *owner = m->map.owner[s];
        if (slots_has(m->taking.slots, s) && owner != NULL && goes_before(m, owner))
            return true;
    }
    return false;
}

/* Ours, and served from now on. Our frames have claimed it all the time, so nothing new is told before it is
 * on the disk, unless it goes with an epoch. */
static void finish(struct machine *m, bool heir)
{
    if (heir && !m->taking.elected)
        rise_above(m, &m->taking);
    if (m->replaces)
        m->elected_ms = m->now_ms;
    for (unsigned s = 0; s < SLOT_COUNT; s++)
        if (slots_has(m->taking.slots, s))
            ownership_assign(m, s, m->self);
    m->taken_from = m->taking.with;
    m->taken_seq = machine_persist_next(m);
    taking_forget(m);
    for (unsigned i = 0; i < m->map.n; i++) { /* it may have to take over any time */
        struct node *n = m->map.nodes[i];
        if (n->primary == m->self && n->out_up)
            bus_ping(m, n, FRAME_PONG, n->out, 0);
    }
}

/* Whoever claims the slots above us has them, or goes on with our claim, and says how it ends. */
static void note_end(struct machine *m)
{
    if (!is_lost(m))
        taking_note_ended(m, &m->taking);
}

static void end(struct machine *m)
{
    note_end(m);
    taking_forget(m);
}

void taking_reset(struct machine *m)
{
    if (m->taking.on)
        note_end(m);
    memset(&m->taking, 0, sizeof(m->taking));
    m->ready.on = false;
    m->taken_seq = 0;
}

void taking_check(struct machine *m)
{
    bool heir;
    if (m->ready.on && machine_epoch_is_taken(m, m->ready.epoch) && !MUTANT(TAKE_ANY_EPOCH)) {
        /* a TAKE would be refused */
        m->ready.on = false;
        machine_dirty(m);
    }
    if (!m->taking.on)
        return;
    if (!machine_is_primary(m) || (is_lost(m) && !MUTANT(TAKE_ANYWAY)))
        end(m);
    else if (!machine_held(m) && is_conceded(m, &heir) && has_majority(m))
        finish(m, heir);
}

void taking_heard(struct machine *m, struct node *sender, const struct frame *f)
{
    const struct handover *t = &m->taking;
    taking_heard_primary(m, sender, f);
    if (!t->on || !note_giver(m, sender))
        return;
    /* Who follows us already, having given its last slots away, tells of ours. */
    bool claims = slots_overlap(f->h.slots, t->slots) && !node_id_eq(&f->h.primary, &m->self->id);
    if (claims) {
        if (sender->conceded) /* said before, and overtaken on our other link: so it looks until it answers */
            failure_ask_one(m, sender);
        sender->conceded = false;
    } else if (f->h.type == FRAME_PONG) { /* with it comes what it has voted */
        sender->conceded = true;
        if (m->replaces)
            electorate_inherit(m, f);
    }
    /* A replica may know its primary's new epoch, and its old slots. */
    if (claims && node_id_none(&f->h.primary) && f->h.config_epoch > t->epoch && !MUTANT(TAKE_ANYWAY))
        end(m); /* they are kept after all */
}
