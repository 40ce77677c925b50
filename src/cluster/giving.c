/* Slots that we hand to another primary: the old owner's side of taking.c.
 *
 * An offer takes three epochs out of the count. Whoever takes the slots claims them in the first. In the
 * second they are called back. Once a majority of the voters knows of the third, nobody is elected in the
 * first two, nor in an older one, and then the slots may be taken (machine_offer_stands()). So of a claim,
 * the call back and an election of one of our replicas no two have the same epoch, and each is above those
 * before it.
 *
 * An offer that stands is in the file, and a restart calls it back, by the second epoch: we write again, and a
 * claim that comes late has an older one. So that this takes nothing back that was given, what we gave is out
 * of the file before anybody hears of it: until then our frames claim it.
 *
 * Who has claimed them serves them later: when we and our replicas have heard the claim, and its file says
 * so. If it is restarted before that, it does not know of the claim; but it has its epoch, and all who
 * remember what it has claimed in it tell it (taking_again()). If it is replaced before that by somebody who
 * had not heard of the claim, the slots would be nobody's: we have given them up. So until it says that it
 * serves them we remember that we gave them, take them back then, as we would take them from anybody, and if
 * they were our last, we follow it only when it serves them. */
#include "cluster/machine_internal.h"

#include "base/err.h"

enum { OFFER_EPOCHS = 3 };

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
    if (o->given || taking_any(m))
        return machine_fail_command(m, ERR_AGAIN, "Slots that were moved last are not served yet.");
    /* A replica that is away could come back and claim them, with an epoch of its own. */
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        if (n->primary == m->self && node_is(n, NODE_PFAIL | NODE_FAIL) && !MUTANT(OFFER_ANYWAY))
            return machine_fail_command(
                m, ERR_AGAIN, "A replica of this node has failed: it must return, or be forgotten.");
    }
    *o = (struct offer){.epoch = m->current_epoch + 1, .to = c->id};
    memcpy(o->slots, c->slots, SLOT_BYTES);
    m->current_epoch += MUTANT(OFFER_AT_ONCE) ? 1 : OFFER_EPOCHS;
    machine_dirty(m);
    failure_ask(m);
    return 0;
}

/* Does a majority know of it since now? Then it goes into the file. */
void giving_check(struct machine *m)
{
    struct offer *o = &m->offer;
    unsigned know = 0;
    if (o->epoch == 0 || o->seq != 0)
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

void giving_restore(struct machine *m, uint64_t offered)
{
    if (!node_votes(m->self) || offered < m->self->config_epoch || MUTANT(OFFER_LOST))
        return;
    m->self->config_epoch = offered + 1;
    machine_hold(m);
}

static bool is_given_unsaid(const struct machine *m)
{
    return m->offer.given && m->persisted_seq < m->offer.given_seq && !MUTANT(GIVE_EARLY);
}

bool giving_awaits_disk(const struct machine *m)
{
    return m->offer.seq > m->persisted_seq || is_given_unsaid(m);
}

void giving_add(const struct machine *m, uint8_t *slots)
{
    if (is_given_unsaid(m))
        slots_add(slots, m->offer.slots);
}

/* Who waits for it hears it at once. */
void giving_persisted(struct machine *m)
{
    struct node *to = m->offer.given_seq == 0 ? NULL : slotmap_find(&m->map, &m->offer.to);
    if (to == NULL || is_given_unsaid(m))
        return;
    m->offer.given_seq = 0;
    if (to->out_up)
        bus_ping(m, to, FRAME_PONG, to->out, 0);
}

bool giving_is_taken_epoch(const struct machine *m, uint64_t epoch)
{
    for (unsigned i = 0; i < m->map.n; i++)
        if (m->map.nodes[i]->config_epoch >= epoch)
            return true;
    return m->current_epoch >= epoch + OFFER_EPOCHS;
}

/* Above every claim of who was to take the slots. */
static uint64_t epoch_back(struct machine *m, const struct node *to)
{
    uint64_t epoch = m->self->config_epoch > m->offer.epoch ? m->self->config_epoch : m->offer.epoch + 1;
    return to == NULL || to->config_epoch < epoch ? epoch : ++m->current_epoch;
}

/* Without a lease the others know better whose they are. */
int giving_reclaim(struct machine *m, const struct machine_command *c)
{
    if (!machine_is_primary(m) || !machine_owns_all(m, c->slots, m->self))
        return machine_fail_command(m, ERR_TYPE, "Slots are not served by this node.");
    if (!machine_may_write(m, m->now_ms))
        return machine_fail_command(m, ERR_AGAIN, "This node may not write now: it may have been replaced.");
    if (!MUTANT(KEEP_EPOCH)) {
        m->self->config_epoch = epoch_back(m, slotmap_find(&m->map, &m->offer.to));
        machine_hold(m);
        machine_view(m);
    }
    return 0;
}

void giving_lost(struct machine *m, const struct node *to, uint64_t epoch)
{
    struct offer *o = &m->offer;
    if (o->epoch == 0 || epoch < o->epoch || !node_id_eq(&to->id, &o->to) ||
        !slots_overlap(m->lost, o->slots) || MUTANT(GIVE_AND_FORGET))
        return;
    o->given = true;
    o->given_seq = machine_persist_next(m);
}

/* Some may be another's meanwhile, by a greater epoch. */
static bool are_its_or_nobodys(const struct machine *m, const struct node *to)
{
    for (unsigned s = 0; s < SLOT_COUNT; s++) {
        const struct node *owner = m->map.owner[s];
        if (slots_has(m->offer.slots, s) && owner != NULL && owner != to)
            return false;
    }
    return true;
}

void giving_heard(struct machine *m, struct node *sender, const struct frame *f)
{
    struct offer *o = &m->offer;
    giving_check(m);
    if (!o->given || !node_id_eq(&sender->id, &o->to) || f->h.larder.unsettled ||
        f->h.config_epoch < o->epoch)
        return;
    bool claims = slots_overlap(f->h.slots, o->slots), others = !are_its_or_nobodys(m, sender);
    if (!claims && node_is(sender, NODE_PRIMARY) && f->h.config_epoch == o->epoch)
        return; /* restarted: it is told, and goes on */
    if (!claims && !others && !taking_start(m, &o->to, o->slots, epoch_back(m, sender)))
        return;
    o->given = false;
    if ((claims || others) && m->self->nslots == 0 && m->config.replica_migration && !taking_any(m))
        ownership_follow(m, node_is(sender, NODE_PRIMARY) ? sender : sender->primary);
}
