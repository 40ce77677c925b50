/* What must hold after every step. */
#include "sim.h"

#include "cluster/frame.h"
#include "cluster/machine_internal.h"

void check_sent(struct sim *s, int from, uint32_t link, struct str bytes)
{
    struct frame f;
    struct sim_node *n = &s->nodes[from];
    if (frame_decode(bytes, &f) != 0) {
        sim_fail(s, "node %d wrote a frame that does not read", from);
        return;
    }
    watch_sent(s, from, link, &f);
    if (f.h.type != FRAME_AUTH_ACK)
        return;
    uint64_t epoch = f.h.current_epoch;
    int to = sim_find(s, &n->m.vote_for);
    if (epoch >= SIM_EPOCHS || to < 0)
        return;
    if (n->voted[epoch] != 0 && n->voted[epoch] != to + 1)
        sim_fail(s, "node %d voted in epoch %llu for %d and for %d", from, (unsigned long long)epoch,
                 n->voted[epoch] - 1, to);
    if (n->vote_disk < epoch)
        sim_fail(s, "node %d votes in epoch %llu with epoch %llu on its disk", from,
                 (unsigned long long)epoch, (unsigned long long)n->vote_disk);
    n->voted[epoch] = (uint8_t)(to + 1);
    sim_note(s, "node %d votes for node %d in epoch %llu", from, to, (unsigned long long)epoch);
}

static uint64_t number_after(struct str text, const char *word)
{
    const char *p = memmem(text.p, text.n, word, strlen(word));
    uint64_t v = 0;
    for (p = p == NULL ? text.p + text.n : p + strlen(word); p < text.p + text.n && *p >= '0' && *p <= '9';
         p++)
        v = v * 10 + (uint64_t)(*p - '0');
    return v;
}

/* The config epoch of the line of "myself": the seventh word. */
static uint64_t own_epoch(struct str text)
{
    const char *end = text.p + text.n, *p = memmem(text.p, text.n, "myself,", 7);
    for (int words = 0; p != NULL && p < end && words < 4; p++)
        words += *p == ' ';
    return p == NULL ? 0 : number_after((struct str){p - 1, (size_t)(end - p) + 1}, " ");
}

void check_disk(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    struct str text = {n->disk, n->ndisk};
    uint64_t epoch = number_after(text, "currentEpoch "), vote = number_after(text, "lastVoteEpoch ");
    if (epoch < n->epoch_disk || vote < n->vote_disk)
        sim_fail(s, "node %d's epochs fell on its disk", node);
    n->epoch_disk = epoch;
    n->vote_disk = vote;
    n->config_disk = own_epoch(text);
    n->ready_disk =
        memmem(text.p, text.n, "larderReady-", 12) == NULL ? 0 : number_after(text, "larderReadyIn ");
    groups_disk(s, node);
}

/* Do both own a slot that neither holds back for a move? */
static bool may_both_write(const struct sim *s, int a, int b)
{
    const uint8_t *mine = s->nodes[a].m.self->slots, *its = s->nodes[b].m.self->slots;
    uint8_t held[SLOT_BYTES] = {0};
    moves_add_held(s, a, held);
    moves_add_held(s, b, held);
    for (unsigned i = 0; i < SLOT_BYTES; i++) {
        if (mine[i] & its[i] & ~held[i])
            return true;
    }
    return false;
}

void check_step(struct sim *s, int node)
{
    const struct sim_node *n = &s->nodes[node];
    const struct node *self = n->m.self;
    if (!node_votes(self) || (s->equal_epochs && !s->started))
        return;
    bool writes = n->paused_until <= s->now && machine_may_write(&n->m, sim_clock(s, node));
    for (int i = 0; i < s->n; i++) {
        const struct sim_node *o = &s->nodes[i];
        if (i == node || !o->alive || !node_votes(o->m.self) || !slots_overlap(o->m.self->slots, self->slots))
            continue;
        if (o->m.self->config_epoch == self->config_epoch)
            sim_fail(s, "nodes %d and %d own the same slot in epoch %llu", node, i,
                     (unsigned long long)self->config_epoch);
        if (writes && machine_may_write(&o->m, sim_clock(s, i)) && may_both_write(s, node, i))
            sim_fail(s, "nodes %d (epoch %llu) and %d (epoch %llu) may both write the same slot", node,
                     (unsigned long long)self->config_epoch, i, (unsigned long long)o->m.self->config_epoch);
    }
}

static bool same_views(const struct sim *s)
{
    const struct machine *first = NULL;
    for (int i = 0; i < s->n; i++) {
        const struct machine *m = &s->nodes[i].m;
        if (!s->nodes[i].alive)
            continue;
        first = first == NULL ? m : first;
        for (unsigned k = 0; k < SLOT_COUNT; k += 64) {
            const struct node *a = m->map.owner[k], *b = first->map.owner[k];
            if ((a == NULL) != (b == NULL) || (a != NULL && !node_id_eq(&a->id, &b->id)))
                return false;
        }
    }
    return true;
}

/* Also who does not hear the owner of a slot has learnt who it is. */
void check_agreed(struct sim *s)
{
    if (!same_views(s))
        sim_fail(s, "one node does not learn who owns its slots, though only one link is cut");
}

/* What each node believes, into the trace. */
void check_note(const struct sim *s)
{
    for (int i = 0; i < s->n; i++) {
        const struct machine *m = &s->nodes[i].m;
        if (!s->nodes[i].alive) {
            sim_note(s, "node %d is down", i);
            continue;
        }
        sim_note(s, "node %d: %s, epoch %llu of %llu, owns %u%s%s%s, %u votes open", i, m->ok ? "ok" : "fail",
                 (unsigned long long)m->self->config_epoch, (unsigned long long)m->current_epoch,
                 m->self->nslots, m->mute ? ", mute" : "", taking_any(m) ? ", takes" : "",
                 machine_may_write(m, sim_clock(s, i)) ? ", writes" : "", m->nvotes);
        if (m->taking.epoch != 0)
            sim_note(s, "    claims what is node %d's in epoch %llu", sim_find(s, &m->taking.with),
                     (unsigned long long)m->taking.epoch);
        if (m->offer.gift.on)
            sim_note(s, "    has given to node %d in epoch %llu", sim_find(s, &m->offer.gift.with),
                     (unsigned long long)m->offer.epoch);
        for (unsigned k = 0; k < m->nended; k++)
            sim_note(s, "    says that node %d has not served what was node %d's in epoch %llu",
                     sim_find(s, &m->ended[k].by), sim_find(s, &m->ended[k].from),
                     (unsigned long long)m->ended[k].epoch);
        if (m->lost_claim.on)
            sim_note(s, "    claimed last what is node %d's in epoch %llu", sim_find(s, &m->lost_claim.with),
                     (unsigned long long)m->lost_claim.epoch);
        for (unsigned g = 0; g < SIM_GROUPS; g++)
            if (m->map.owner[g * (SLOT_COUNT / SIM_GROUPS)] == NULL)
                sim_note(s, "    group %u is nobody's", g);
        for (unsigned k = 0; k < m->map.n; k++) {
            const struct node *n = m->map.nodes[k];
            int primary = n->primary == NULL ? -1 : sim_find(s, &n->primary->id);
            sim_note(s, "    sees node %d: flags %#x, primary %d, epoch %llu, owns %u%s", sim_find(s, &n->id),
                     n->flags & NODE_WIRE, primary, (unsigned long long)n->config_epoch, n->nslots,
                     !n->gives     ? ""
                     : n->conceded ? ", conceded"
                                   : ", gives");
        }
    }
}

static bool epochs_differ(const struct sim *s)
{
    for (int i = 0; i < s->n; i++) {
        const struct node *a = s->nodes[i].m.self;
        for (int k = 0; k < i; k++) {
            const struct node *b = s->nodes[k].m.self;
            if (node_votes(a) && node_votes(b) && a->config_epoch == b->config_epoch)
                return false;
        }
    }
    return true;
}

/* Every living node sees every slot at the same living owner, who serves it; nobody is suspected. */
bool check_whole(struct sim *s, const char **why)
{
    for (int i = 0; i < s->n; i++) {
        const struct machine *m = &s->nodes[i].m;
        *why = "a node is down";
        if (!s->nodes[i].alive)
            return false;
        *why = "a node thinks that the cluster is down";
        if (!m->ok)
            return false;
        *why = "a slot without an owner";
        if (m->map.assigned < SLOT_COUNT)
            return false;
        *why = "an owner does not serve";
        if (m->self->nslots > 0 && !machine_may_write(m, sim_clock(s, i)))
            return false;
        *why = "a node is suspected";
        for (unsigned k = 0; k < m->map.n; k++) {
            if (node_is(m->map.nodes[k], NODE_PFAIL | NODE_FAIL | NODE_HANDSHAKE))
                return false;
        }
    }
    *why = "two views of a slot";
    if (!same_views(s))
        return false;
    *why = "two primaries of one epoch";
    return epochs_differ(s);
}
