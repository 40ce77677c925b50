/* Slots and epochs. The higher config epoch owns a slot; an epoch is one node's: two that meet with the same
 * part, the smaller id takes a new one. Who has lost its last slot follows the winner. */
#include "cluster/machine_internal.h"

#include "base/assert.h"

void ownership_primary(struct node *n)
{
    n->flags = (n->flags & ~(uint32_t)(NODE_REPLICA | NODE_MIGRATE_TO)) | NODE_PRIMARY;
    n->primary = NULL;
}

void ownership_replica(struct machine *m, struct node *n, struct node *primary)
{
    slotmap_drop_all(&m->map, n);
    n->flags = (n->flags & ~(uint32_t)NODE_PRIMARY) | NODE_REPLICA;
    n->primary = primary;
    if (primary != NULL)
        primary->flags |= NODE_MIGRATE_TO;
    if (m->self->primary == n && primary != NULL && primary != m->self && node_is(primary, NODE_PRIMARY))
        ownership_follow(m, primary);
    machine_dirty(m);
    machine_view(m);
}

void ownership_follow(struct machine *m, struct node *primary)
{
    struct node *self = m->self;
    ASSERT(primary != self);
    slotmap_drop_all(&m->map, self);
    memset(m->lost, 0, sizeof(m->lost));
    m->nlost = m->nmoves = 0;
    taking_reset(m);
    memset(&m->offer, 0, sizeof(m->offer));
    memset(&m->successor, 0, sizeof(m->successor));
    m->mute = false;
    m->yield_ms = 0;
    self->flags = (self->flags & ~(uint32_t)(NODE_PRIMARY | NODE_MIGRATE_TO)) | NODE_REPLICA;
    self->primary = primary;
    primary->flags |= NODE_MIGRATE_TO;
    if (!node_id_none(&primary->shard))
        self->shard = primary->shard;
    manual_reset(m);
    election_abort(m);
    struct machine_action *a = machine_act(m, ACT_FOLLOW);
    if (a != NULL)
        a->node = primary;
    machine_dirty(m);
    machine_view(m);
}

/* Not before what we gave is served, and what comes here has come; and who has slots then stays what it is.
 */
void ownership_settle(struct machine *m)
{
    if (node_id_none(&m->successor) || giving_any(m) || taking_any(m))
        return;
    struct node *n = slotmap_find(&m->map, &m->successor);
    memset(&m->successor, 0, sizeof(m->successor));
    if (n != NULL && n->primary != NULL)
        n = n->primary;
    if (n != NULL && n != m->self && m->self->nslots == 0)
        ownership_follow(m, n);
}

void ownership_assign(struct machine *m, unsigned slot, struct node *n)
{
    slots_set(m->disowned, slot, false);
    slotmap_assign(&m->map, slot, n);
}

static const struct slot_move *importing(const struct machine *m, unsigned slot)
{
    const struct slot_move *move = m->nmoves == 0 ? NULL : machine_move(m, slot);
    return move != NULL && move->importing ? move : NULL;
}

/* A primary's own frame does not claim all that we hold for its: what is missing is whoever's who claims it.
 */
void ownership_disown(struct machine *m, const struct node *sender, const struct frame *f)
{
    if (f->h.config_epoch < sender->config_epoch ||
        (!m->some_disowned && memcmp(f->h.slots, sender->slots, SLOT_BYTES) == 0))
        return;
    m->some_disowned = false;
    for (unsigned b = 0; b < SLOT_BYTES; b++) {
        uint8_t theirs = sender->slots[b], not_claimed = theirs & (uint8_t)~f->h.slots[b];
        if ((not_claimed & ~m->disowned[b]) != 0)
            m->disowned_ms = m->now_ms;
        m->disowned[b] = (uint8_t)((m->disowned[b] & ~theirs) | not_claimed);
        m->some_disowned |= m->disowned[b] != 0;
    }
}

static bool is_disowned(const struct machine *m, unsigned slot)
{
    return m->some_disowned && slots_has(m->disowned, slot);
}

static bool claims_any(const struct machine *m, const struct node *n)
{
    for (unsigned b = 0; b < SLOT_BYTES; b++)
        if ((n->slots[b] & (uint8_t)~m->disowned[b]) != 0)
            return true;
    return false;
}

/* Who has claimed none of its slots for so long has none: they are nobody's, as for everybody who has heard
 * of a claim that was given up. Else some would count a voter that the others do not. What comes here comes
 * from its old owner, or its own map would not say whose it is if that is kept. */
void ownership_tick(struct machine *m)
{
    if (!m->some_disowned || m->now_ms - m->disowned_ms < m->config.node_timeout_ms || MUTANT(KEEP_DISOWNED))
        return;
    for (unsigned i = 0; i < m->map.n; i++) {
        struct node *n = m->map.nodes[i];
        if (n == m->self || n->nslots == 0 || claims_any(m, n))
            continue;
        for (unsigned slot = 0; slot < SLOT_COUNT; slot++)
            if (m->map.owner[slot] == n && !machine_takes(m, slot))
                ownership_assign(m, slot, NULL);
        machine_dirty(m);
        machine_view(m);
    }
    m->some_disowned = slots_any(m->disowned);
}

/* We claim it by a greater epoch, as everybody hears; in our own map it is the old owner's until we serve it.
 */
static bool is_claimed_above(const struct machine *m, unsigned slot, uint64_t epoch)
{
    return machine_takes(m, slot) && epoch < m->taking.epoch;
}

/* `sender` says that it owned these slots at this epoch. */
void ownership_claim(struct machine *m, struct node *sender, uint64_t epoch, const uint8_t *slots)
{
    struct node *mine = m->self->primary != NULL ? m->self->primary : m->self;
    unsigned had = mine->nslots, taken = 0, lost = m->nlost;
    uint8_t gone[SLOT_BYTES] = {0}; /* of what was mine */
    if (sender == m->self || epoch < sender->config_epoch || memcmp(sender->slots, slots, SLOT_BYTES) == 0)
        return; /* what it claimed in an older epoch says nothing of this one */
    for (unsigned slot = 0; slot < SLOT_COUNT; slot++) {
        if (slot % 8 == 0 && (slots[slot / 8] & ~sender->slots[slot / 8]) == 0) {
            slot += 7;
            continue;
        }
        struct node *owner = m->map.owner[slot];
        if (!slots_has(slots, slot) || owner == sender || importing(m, slot) != NULL ||
            is_claimed_above(m, slot, epoch) ||
            (owner != NULL && !is_disowned(m, slot) &&
             (MUTANT(CLAIM_EQUAL) ? owner->config_epoch > epoch : owner->config_epoch >= epoch)))
            continue;
        if (owner != NULL)
            electorate_move(m, owner, sender, epoch);
        if (owner == m->self) {
            slots_set(m->lost, slot, true);
            m->nlost++;
            machine_drop_move(m, slot);
        }
        if (owner != NULL && sender == m->self->primary)
            taking_note(m, slot, owner, epoch);
        if (owner == mine) {
            taken++;
            slots_set(gone, slot, true);
        }
        ownership_assign(m, slot, sender);
        machine_dirty(m);
        machine_view(m);
    }
    if (taken > 0 && mine == m->self)
        m->heir = sender->id;
    if (m->nlost > lost)
        giving_lost(m, sender, epoch);
    if (giving_any(m) && node_id_eq(&sender->id, &m->offer.gift.with))
        return; /* giving_heard() */
    if (taken > 0 && mine != m->self)
        giving_seen(m, sender, epoch, gone);
    if (taken > 0 && taken == had && mine->nslots == 0 && sender != mine &&
        (m->config.replica_migration || sender->nslots == taken)) {
        m->successor = sender->id;
        ownership_settle(m);
    }
}

/* What n does not claim is not its own any more, whoever has it. Said by our primary, for which we speak; and
 * by anybody who has taken a new epoch: a slot that it lost in an older one would count as claimed in this.
 */
void ownership_keep(struct machine *m, struct node *n, const uint8_t *slots)
{
    if (n == m->self || memcmp(n->slots, slots, SLOT_BYTES) == 0 || MUTANT(KEEP_LOST))
        return;
    for (unsigned slot = 0; slot < SLOT_COUNT; slot++) {
        if (m->map.owner[slot] != n || slots_has(slots, slot))
            continue;
        ownership_assign(m, slot, NULL);
        machine_dirty(m);
        machine_view(m);
    }
}

/* Who has taken our place, or our primary's. If it has another epoch by now, it has claimed slots of ours in
 * that; of a primary's that may have been a move. */
static struct node *elected_in(const struct machine *m, uint64_t epoch)
{
    for (unsigned i = 0; i < m->map.n; i++) {
        struct node *n = m->map.nodes[i];
        if (n->config_epoch == epoch && node_votes(n))
            return n;
    }
    return machine_is_primary(m) ? slotmap_find(&m->map, &m->heir) : NULL;
}

/* So we are told by who knows better. What comes here, or comes back, comes in the new epoch, once nobody can
 * call it back. */
static void step_down(struct machine *m, uint64_t epoch, const struct node *heir)
{
    if (taking_pins_epoch(m))
        return; /* we shall be told again */
    for (unsigned slot = 0; slot < SLOT_COUNT; slot++) {
        if (m->map.owner[slot] != m->self)
            continue;
        slots_set(m->lost, slot, true);
        m->nlost++;
        machine_drop_move(m, slot);
        ownership_assign(m, slot, NULL);
    }
    taking_rise(m, epoch);
    machine_view(m);
    m->successor = heir->id;
    ownership_settle(m);
}

/* Its voters saw all that n had, so the winner has had it all. It may have given some on, to one who gave it
 * up: that is nobody's, and n, coming back with an old file, would have it again. So it is n's epoch that
 * rises, in everybody's table, as if it had claimed nothing in the one in which it was replaced. Voters of a
 * mixed cluster have not compared what they see. */
void ownership_depose(struct machine *m, struct node *n, uint64_t epoch)
{
    static const uint8_t none[SLOT_BYTES];
    struct node *mine = m->self->primary != NULL ? m->self->primary : m->self, *heir = NULL;
    if (n->config_epoch >= epoch || failure_is_mixed(m) || (n == m->self && n != mine) ||
        MUTANT(KEEP_REPLACED))
        return;
    if (n == mine && (heir = elected_in(m, epoch)) == NULL)
        return; /* whom to follow we shall hear; and this again */
    machine_dirty(m);
    if (n == m->self) {
        step_down(m, epoch, heir);
        return;
    }
    n->config_epoch = epoch;
    ownership_keep(m, n, none);
    if (n == mine)
        ownership_follow(m, heir);
}

/* The sender does not know that another has its slots, or has had them: tell it, once a frame. */
void ownership_answer(struct machine *m, const struct node *sender, const struct frame *f, uint32_t link)
{
    const struct node *claims = sender->primary != NULL ? sender->primary : sender;
    if (MUTANT(NO_UPDATE) || memcmp(claims->slots, f->h.slots, SLOT_BYTES) == 0)
        return;
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        if (n != claims && n->nslots > 0 && n->config_epoch > f->h.config_epoch &&
            slots_overlap(n->slots, f->h.slots)) {
            bus_update(m, n, link);
            return;
        }
    }
    if (claims == sender && sender->nslots == 0 && f->h.larder.is && sender->config_epoch > f->h.config_epoch)
        bus_update(m, sender, link);
}

static void new_epoch(struct machine *m)
{
    taking_rise(m, m->current_epoch + 1);
}

/* Without a lease it waits: we may have been replaced, and would take back, by the greater epoch, what our
 * successor has served since. So does who knows that it was, and has its successor's epoch by that. */
void ownership_collision(struct machine *m, const struct node *sender, uint64_t sender_epoch)
{
    if (!machine_is_primary(m) || !node_is(sender, NODE_PRIMARY) || sender_epoch != m->self->config_epoch ||
        MUTANT(COLLIDE) || node_id_cmp(&sender->id, &m->self->id) <= 0 || taking_pins_epoch(m) ||
        !node_id_none(&m->successor) || machine_lease_until_ms(m) <= m->now_ms)
        return;
    new_epoch(m);
}

bool ownership_bump(struct machine *m)
{
    if (taking_pins_epoch(m))
        return false;
    uint64_t greatest = 0;
    for (unsigned i = 0; i < m->map.n; i++) {
        if (m->map.nodes[i]->config_epoch > greatest)
            greatest = m->map.nodes[i]->config_epoch;
    }
    if (m->self->config_epoch != 0 && m->self->config_epoch == greatest)
        return false;
    new_epoch(m);
    return true;
}

void ownership_lost(struct machine *m)
{
    if (m->nlost == 0)
        return;
    size_t at = m->out.n;
    struct machine_action *a;
    if (buf_append(&m->out, m->lost, SLOT_BYTES) != 0 || (a = machine_act(m, ACT_DROP)) == NULL) {
        m->out.n = at;
        m->out.oom = false;
        return; /* again with the next step */
    }
    a->at = at;
    a->n = SLOT_BYTES;
    memset(m->lost, 0, sizeof(m->lost));
    m->nlost = 0;
}
