/* What is told of claims to slots that another gives (taking.c), to those who may have to act upon it:
 *
 *   ended    to everybody, for long: these were never served, and are over. Whoever gave the slots, and
 *            remembers it, has them back by that (giving.c). That we do not claim them says nothing: we may
 *            have served them, and lost them again, while it was away.
 *   taking   to our replicas: these we claim, and do not serve. Who of them is elected in our place takes
 *            them, as we would have, and does not serve them before they are conceded: whoever gives them may
 *            not have heard of the claim, call them back, and write them. */
#include "cluster/machine_internal.h"

enum { ENDED = 2 * NODE_ID + 8, TAKING = NODE_ID + 8 + SLOT_BYTES };

/* ---- ended --------------------------------------------------------------------------------------------- */

void taking_note_ended(struct machine *m, const struct handover *h)
{
    if (m->nended == NODE_ENDED_MAX)
        memmove(m->ended, m->ended + 1, --m->nended * sizeof(*m->ended));
    m->ended[m->nended++] = (struct node_claim){.by = m->self->id, .from = h->with, .epoch = h->epoch};
    unowned_note(m, h);
    machine_dirty(m);
}

bool taking_is_ended(const struct frame *f, const struct node_claim *c, bool or_before)
{
    struct str said;
    if (!frame_ext_find(f, EXT_ENDED, ENDED, &said))
        return false;
    for (size_t i = 0; i + ENDED <= said.n; i += ENDED) {
        const char *p = said.p + i;
        uint64_t epoch = frame_get_u64(p + 2 * (size_t)NODE_ID);
        if (memcmp(p, c->by.c, NODE_ID) == 0 && memcmp(p + NODE_ID, c->from.c, NODE_ID) == 0 &&
            (epoch == c->epoch || (or_before && epoch < c->epoch)))
            return true;
    }
    return false;
}

/* ---- to replicas --------------------------------------------------------------------------------------- */

static void put_taking(const struct machine *m, struct frame_writer *w)
{
    char p[TAKING];
    memcpy(p, m->taking.with.c, NODE_ID);
    frame_put_u64(p + NODE_ID, m->taking.epoch);
    memcpy(p + NODE_ID + 8, m->taking.slots, SLOT_BYTES);
    frame_put_ext(w, EXT_TAKING, (struct str){p, sizeof p});
}

void taking_put(const struct machine *m, struct frame_writer *w, const struct node *to)
{
    char p[NODE_ENDED_MAX * ENDED], *at = p;
    if (m->taking.on && to->primary == m->self)
        put_taking(m, w);
    for (unsigned i = 0; i < m->nended; i++, at += ENDED) {
        memcpy(at, m->ended[i].by.c, NODE_ID);
        memcpy(at + NODE_ID, m->ended[i].from.c, NODE_ID);
        frame_put_u64(at + 2 * (size_t)NODE_ID, m->ended[i].epoch);
    }
    if (at > p)
        frame_put_ext(w, EXT_ENDED, (struct str){p, (size_t)(at - p)});
}

void taking_note(struct machine *m, unsigned slot, const struct node *from, uint64_t epoch)
{
    struct handover *t = &m->taking;
    if (!m->self->primary->unsettled || MUTANT(SERVE_INHERITED))
        return;
    if (t->epoch != epoch)
        *t = (struct handover){.with = from->id, .epoch = epoch};
    slots_set(t->slots, slot, true);
}

static void read_taking(struct machine *m, const struct frame *f)
{
    struct str said;
    if (!frame_ext_find(f, EXT_TAKING, TAKING, &said) || !node_id_valid((struct str){said.p, NODE_ID}))
        return;
    struct handover t = {.epoch = frame_get_u64(said.p + NODE_ID)};
    memcpy(t.with.c, said.p, NODE_ID);
    memcpy(t.slots, said.p + NODE_ID + 8, SLOT_BYTES);
    if (memcmp(&t, &m->taking, sizeof t) != 0)
        machine_dirty(m);
    m->taking = t;
}

/* It says what it takes, and when it serves that, or claims it no more. */
void taking_heard_primary(struct machine *m, const struct node *sender, const struct frame *f)
{
    if (sender != m->self->primary || !node_id_none(&f->h.primary) || MUTANT(SERVE_INHERITED))
        return;
    if (f->h.larder.taking)
        read_taking(m, f);
    else if (m->taking.epoch != 0 && f->h.config_epoch >= m->taking.epoch)
        taking_forget(m);
}

/* Nobody has given them to us, but whoever has heard our primary's claim has given them up, and all there was
 * came here before it. In our epoch: what was called back, unheard, is lost, as elections lose what their
 * winner does not have. */
void taking_inherit(struct machine *m)
{
    struct handover *t = &m->taking;
    const struct node *from = slotmap_find(&m->map, &t->with);
    bool waits = from != NULL && from != m->self; /* else nobody can have called them back */
    if (t->epoch == 0)
        return;
    for (unsigned s = 0; s < SLOT_COUNT; s++) {
        if (m->map.owner[s] != m->self || !waits)
            slots_set(t->slots, s, false);
        else if (slots_has(t->slots, s))
            ownership_assign(m, s, NULL);
    }
    if (!slots_any(t->slots)) {
        taking_forget(m);
        return;
    }
    t->epoch = m->self->config_epoch;
    t->elected = true;
    taking_put_under_way(m);
}
