/* Slots that we hand to another primary: the old owner's side of taking.c.
 *
 * An offer takes five epochs out of the count. Whoever takes the slots claims them in the first. In the
 * second they are called back. Two are for whoever claims them in one of these and, being restarted, does so
 * no more (taking_restore()). Once a majority of the voters knows of the last, nobody is elected in the
 * others, nor in an older one, and then the slots may be taken (machine_offer_stands()). So of a claim, the
 * call back and an election of one of our replicas no two have the same epoch, and each is above those before
 * it.
 *
 * An offer that stands is in the file, and after a restart it is called back, by the second epoch, before we
 * write again: a claim that comes late has an older one. So that this takes nothing back that was given, what
 * we gave is out of the file before anybody hears of it: until then our frames claim it.
 *
 * Who has claimed them serves them when we and our replicas have heard the claim, and its file says so later
 * still. If before that it is replaced, or restarted, the slots would be nobody's: we have given them up. So
 * until it says that they are its own we remember that we gave them, and if they were our last, we follow it
 * only then. When it says that its claim is over (taking_told.c), we take them back as we would take them
 * from anybody. Our replicas remember it, too: one of them may have to. */
#include "cluster/machine_internal.h"

#include "base/err.h"

enum { OFFER_EPOCHS = 5, REPLACED_WAITS = 2 /* node timeouts */ };

bool machine_owns_all(const struct machine *m, const uint8_t *slots, const struct node *n)
{
    for (unsigned s = 0; s < SLOT_COUNT; s++)
        if (slots_has(slots, s) && m->map.owner[s] != n)
            return false;
    return true;
}

int giving_offer(struct machine *m, const struct machine_command *c)
{
    struct offer *o = &m->offer;
    if (!machine_is_primary(m) || !machine_owns_all(m, c->slots, m->self))
        return machine_fail_command(m, ERR_TYPE, "Slots are not served by this node.");
    if (!machine_may_write(m, m->now_ms) || m->manual != MANUAL_NONE)
        return machine_fail_command(m, ERR_AGAIN,
                                    "This node may not write now: it is cut off, or hands its role over.");
    if (o->gift.on || taking_any(m))
        return machine_fail_command(m, ERR_AGAIN, "Slots that were moved last are not served yet.");
    /* A replica that is away could come back and claim them, with an epoch of its own. */
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        if (n->primary == m->self && node_is(n, NODE_PFAIL | NODE_FAIL) && !MUTANT(OFFER_ANYWAY))
            return machine_fail_command(
                m, ERR_AGAIN, "A replica of this node has failed: it must return, or be forgotten.");
    }
    *o = (struct offer){.epoch = m->current_epoch + 1, .gift = {.with = c->id, .of = m->self->id}};
    memcpy(o->gift.slots, c->slots, SLOT_BYTES);
    m->current_epoch += MUTANT(OFFER_AT_ONCE) ? 1 : OFFER_EPOCHS;
    machine_dirty(m);
    failure_ask(m);
    return 0;
}

/* Above the claim. A later epoch of whoever was to take the slots is one without it. */
static uint64_t epoch_back(const struct machine *m)
{
    return m->self->config_epoch > m->offer.epoch ? m->self->config_epoch : m->offer.epoch + 1;
}

/* What comes here may come first. */
static bool may_call_back(struct machine *m)
{
    return machine_may_write(m, m->now_ms) &&
           (epoch_back(m) == m->self->config_epoch || !taking_pins_epoch(m));
}

static void call_back(struct machine *m)
{
    taking_rise(m, epoch_back(m));
    memset(&m->offer, 0, sizeof(m->offer));
    machine_view(m);
}

void giving_restore(struct machine *m, uint64_t offered)
{
    const struct node *of = m->self->primary == NULL ? m->self : m->self->primary;
    if (node_id_none(&m->offer.gift.of)) /* a file that does not say it */
        m->offer.gift.of = of->id;
    m->offer.epoch = offered;
    m->offer.gift.on = offered != 0 && !machine_owns_all(m, m->offer.gift.slots, m->self);
    m->offer.recall = offered != 0 && !MUTANT(OFFER_LOST);
}

/* With promises of a majority nobody has been elected in our place, nor has finished to take what we offered:
 * we would know. */
static void recall(struct machine *m)
{
    m->offer.recall = false;
    if (!node_votes(m->self) || m->offer.gift.on)
        return;
    if (!may_call_back(m)) {
        m->offer.recall = true;
        return;
    }
    call_back(m);
}

/* What is another's meanwhile, by a greater epoch, is not our business any more. Nor is the rest, if whoever
 * has claimed it is forgotten and will not say that it serves it: whose it is an operator says. */
static void check_gift(struct machine *m)
{
    struct handover *g = &m->offer.gift;
    const struct node *to = slotmap_find(&m->map, &g->with);
    bool left = false;
    for (unsigned s = 0; s < SLOT_COUNT; s++) {
        const struct node *owner = m->map.owner[s];
        if (!slots_has(g->slots, s))
            continue;
        if (owner == NULL || owner == to) {
            left = true;
            continue;
        }
        slots_set(g->slots, s, false);
        machine_dirty(m);
        if (machine_is_primary(m) && m->self->nslots == 0 && m->config.replica_migration &&
            node_id_none(&m->successor))
            m->successor = owner->id;
    }
    if (left && to != NULL)
        return;
    memset(&m->offer, 0, sizeof(m->offer));
    machine_dirty(m);
}

/* Does a majority know of it since now? Then it goes into the file. */
void giving_check(struct machine *m)
{
    struct offer *o = &m->offer;
    unsigned know = 0;
    if (o->recall)
        recall(m);
    if (o->gift.on)
        check_gift(m);
    if (o->epoch == 0 || o->seq != 0 || o->gift.on)
        return;
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        know += node_votes(n) && (n == m->self || n->current_epoch + 1 >= o->epoch + OFFER_EPOCHS);
    }
    if (know < machine_quorum(m))
        return;
    machine_dirty(m);
    o->seq = machine_persist_next(m);
}

bool machine_offer_stands(const struct machine *m, uint64_t now_ms)
{
    const struct offer *o = &m->offer;
    return (o->seq != 0 && m->persisted_seq >= o->seq && machine_may_write(m, now_ms)) ||
           MUTANT(OFFER_AT_ONCE);
}

static bool is_given_unsaid(const struct machine *m)
{
    return m->offer.gift.on && m->persisted_seq < m->offer.given_seq && !MUTANT(GIVE_EARLY);
}

bool giving_awaits_disk(const struct machine *m)
{
    return m->offer.seq > m->persisted_seq || is_given_unsaid(m);
}

void giving_add(const struct machine *m, uint8_t *slots)
{
    if (is_given_unsaid(m))
        slots_add(slots, m->offer.gift.slots);
}

/* Who waits for it hears it at once. */
void giving_persisted(struct machine *m)
{
    struct node *to = m->offer.given_seq == 0 ? NULL : slotmap_find(&m->map, &m->offer.gift.with);
    if (to == NULL || is_given_unsaid(m))
        return;
    m->offer.given_seq = 0;
    if (to->out_up)
        bus_ping(m, to, FRAME_PONG, to->out, 0);
}

/* Two may offer the same epochs in one moment: in such a one, of ours, we take nothing. */
bool giving_offers_in(const struct machine *m, uint64_t epoch)
{
    const struct offer *o = &m->offer;
    return o->epoch != 0 && epoch < o->epoch + OFFER_EPOCHS && o->epoch < epoch + OFFER_EPOCHS;
}

bool machine_epoch_is_taken(const struct machine *m, uint64_t epoch)
{
    for (unsigned i = 0; i < m->map.n; i++)
        if (m->map.nodes[i]->config_epoch >= epoch)
            return true;
    return m->current_epoch >= epoch + OFFER_EPOCHS;
}

/* Without a lease the others know better whose they are. */
int giving_reclaim(struct machine *m, const struct machine_command *c)
{
    if (!machine_is_primary(m) || !machine_owns_all(m, c->slots, m->self))
        return machine_fail_command(m, ERR_TYPE, "Slots are not served by this node.");
    if (!may_call_back(m))
        return machine_fail_command(m, ERR_AGAIN, "This node may not write now: it may have been replaced.");
    if (!MUTANT(KEEP_EPOCH))
        call_back(m);
    return 0;
}

void giving_lost(struct machine *m, const struct node *to, uint64_t epoch)
{
    struct offer *o = &m->offer;
    if (o->epoch == 0 || epoch < o->epoch || !node_id_eq(&to->id, &o->gift.with) ||
        !slots_overlap(m->lost, o->gift.slots) || MUTANT(GIVE_AND_FORGET))
        return;
    o->gift.on = true;
    o->given_seq = machine_persist_next(m);
}

/* Whoever is elected in our primary's place will have conceded them, and takes them back as it would. */
void giving_seen(struct machine *m, const struct node *to, uint64_t epoch, const uint8_t *slots)
{
    if (!to->unsettled || MUTANT(GIVE_AND_FORGET))
        return;
    m->offer =
        (struct offer){.epoch = epoch, .gift = {.on = true, .with = to->id, .of = m->self->primary->id}};
    memcpy(m->offer.gift.slots, slots, SLOT_BYTES);
    machine_dirty(m);
}

void giving_adopt(struct machine *m, const struct handover *h)
{
    if (m->offer.epoch != 0 || taking_any(m) || m->self->config_epoch < h->epoch + OFFER_EPOCHS ||
        MUTANT(GIVE_AND_FORGET))
        return;
    m->offer = (struct offer){.epoch = h->epoch, .gift = *h};
    machine_dirty(m);
}

bool giving_any(const struct machine *m)
{
    return m->offer.gift.on && machine_is_primary(m);
}

/* Who was elected in our place may take it back, too, and comes first: it serves what else we had. */
static bool is_our_turn(struct machine *m)
{
    struct offer *o = &m->offer;
    if (o->over_ms == 0)
        o->over_ms = m->now_ms;
    return machine_is_primary(m) && (node_id_none(&m->successor) ||
                                     m->now_ms - o->over_ms >= REPLACED_WAITS * m->config.node_timeout_ms);
}

void giving_heard(struct machine *m, struct node *sender, const struct frame *f)
{
    struct offer *o = &m->offer;
    giving_check(m);
    if (!o->gift.on)
        return;
    const struct node_claim claim = {.by = o->gift.with, .from = o->gift.of, .epoch = o->epoch};
    /* A replica of the giver may have heard the claim late, in a later epoch than its own. Then one that
     * ended may be an older one of the same node: what it still claims has not. */
    bool over = taking_is_ended(f, &claim, !node_id_eq(&o->gift.of, &m->self->id)) &&
                !(node_id_none(&f->h.primary) && slots_overlap(f->h.slots, o->gift.slots));
    bool serves = node_id_eq(&sender->id, &o->gift.with) && node_id_none(&f->h.primary) &&
                  !f->h.larder.unsettled && f->h.config_epoch >= o->epoch &&
                  slots_overlap(f->h.slots, o->gift.slots);
    if (!over && !serves)
        return;
    if (over && (!is_our_turn(m) || !taking_start(m, &o->gift.with, o->gift.slots, epoch_back(m))))
        return;
    memset(o, 0, sizeof(*o));
    machine_dirty(m);
    if (!over && machine_is_primary(m) && m->self->nslots == 0 && m->config.replica_migration &&
        node_id_none(&m->successor))
        m->successor = sender->id;
    ownership_settle(m);
}
