/* Slots that nobody owns, and that nobody will claim of himself.
 *
 * Whoever gave slots remembers it until they are served, and so do its replicas that heard the claim
 * (giving.c). But one that came to the giver's shard later did not hear it, and may be elected: then who had
 * the claim, and lost it in a restart, may be the last who knows whose the slots were. It keeps that until
 * somebody owns them. Once the cluster has been whole for long, but for those slots, whoever else remembers
 * would have claimed them: then it says what it had, and the only primary of the giver's shard takes that
 * back as the giver would, if it was elected after the offer: its epoch is above all that the two may have
 * used. If it has been whole with all slots, those are somebody's: it is forgotten. */
#include "cluster/machine_internal.h"

enum { UNOWNED = NODE_ID + 8 + SLOT_BYTES, WHOLE_TIMEOUTS = 10 };

void unowned_note(struct machine *m, const struct handover *ended)
{
    m->lost_claim = *ended;
    m->lost_claim.on = slots_any(ended->slots);
}

static bool is_here(const struct machine *m, const struct node *n)
{
    return n == m->self || (!node_is(n, NODE_PFAIL | NODE_FAIL | NODE_HANDSHAKE | NODE_NOADDR) &&
                            m->now_ms - n->heard_ms <= m->config.node_timeout_ms);
}

/* Whoever owns one of them by a later epoch has them from somebody who knew better. */
static void drop_owned(struct machine *m)
{
    struct handover *h = &m->lost_claim;
    for (unsigned s = 0; h->on && s < SLOT_COUNT; s++) {
        if (!slots_has(h->slots, s) || m->map.owner[s] == NULL || m->map.owner[s]->config_epoch <= h->epoch)
            continue;
        slots_set(h->slots, s, false);
        machine_dirty(m);
    }
    h->on = h->on && slots_any(h->slots);
}

static bool waited(const struct machine *m)
{
    return m->now_ms - m->whole_ms >= WHOLE_TIMEOUTS * m->config.node_timeout_ms;
}

void unowned_tick(struct machine *m)
{
    struct handover *h = &m->lost_claim;
    bool here = m->map.assigned == m->whole_but && (h->on || m->map.assigned < SLOT_COUNT);
    drop_owned(m);
    for (unsigned i = 0; here && i < m->map.n; i++)
        here = is_here(m, m->map.nodes[i]);
    if (!here)
        m->whole_ms = m->now_ms;
    m->whole_but = m->map.assigned;
    if (h->on && m->whole_but == SLOT_COUNT && waited(m)) {
        h->on = false;
        machine_dirty(m);
    }
}

/* Sets in `of` only what has no owner. */
static bool keep_unowned(const struct machine *m, uint8_t *of)
{
    for (unsigned s = 0; s < SLOT_COUNT; s++)
        if (m->map.owner[s] != NULL)
            slots_set(of, s, false);
    return slots_any(of);
}

void unowned_put(const struct machine *m, struct frame_writer *w)
{
    struct handover h = m->lost_claim;
    char p[UNOWNED];
    if (!h.on || !waited(m) || !keep_unowned(m, h.slots))
        return;
    memcpy(p, h.with.c, NODE_ID);
    frame_put_u64(p + NODE_ID, h.epoch);
    memcpy(p + NODE_ID + 8, h.slots, SLOT_BYTES);
    frame_put_ext(w, EXT_UNOWNED, (struct str){p, sizeof p});
}

/* Are we the one primary of its shard? */
static bool is_ours(const struct machine *m, const struct node_id *from)
{
    const struct node *giver = slotmap_find(&m->map, from);
    if (!machine_is_primary(m) || giver == NULL || !node_id_eq(&giver->shard, &m->self->shard))
        return false;
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        if (n != m->self && node_is(n, NODE_PRIMARY) && node_id_eq(&n->shard, &m->self->shard))
            return false;
    }
    return true;
}

void unowned_heard(struct machine *m, const struct node *sender, const struct frame *f)
{
    struct str said;
    if (!frame_ext_find(f, EXT_UNOWNED, UNOWNED, &said) || !node_id_valid((struct str){said.p, NODE_ID}))
        return;
    struct handover h = {.on = true, .with = sender->id, .epoch = frame_get_u64(said.p + NODE_ID)};
    memcpy(h.of.c, said.p, NODE_ID);
    memcpy(h.slots, said.p + NODE_ID + 8, SLOT_BYTES);
    if (waited(m) && is_ours(m, &h.of) && keep_unowned(m, h.slots))
        giving_adopt(m, &h);
}
