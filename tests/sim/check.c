/* What must hold after every step. */
#include "sim.h"

#include "cluster/frame.h"

void check_sent(struct sim *s, int from, struct str bytes)
{
    struct frame f;
    struct sim_node *n = &s->nodes[from];
    unsigned type = (unsigned)(uint8_t)bytes.p[12] << 8 | (uint8_t)bytes.p[13];
    if (type != FRAME_AUTH_ACK)
        return;
    if (frame_decode(bytes, &f) != 0) {
        sim_fail(s, "node %d wrote a frame that does not read", from);
        return;
    }
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

void check_disk(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    struct str text = {n->disk, n->ndisk};
    uint64_t epoch = number_after(text, "currentEpoch "), vote = number_after(text, "lastVoteEpoch ");
    if (epoch < n->epoch_disk || vote < n->vote_disk)
        sim_fail(s, "node %d's epochs fell on its disk", node);
    n->epoch_disk = epoch;
    n->vote_disk = vote;
}

static bool overlap(const struct node *a, const struct node *b)
{
    for (unsigned i = 0; i < SLOT_BYTES; i++) {
        if (a->slots[i] & b->slots[i])
            return true;
    }
    return false;
}

void check_step(struct sim *s, int node)
{
    const struct sim_node *n = &s->nodes[node];
    const struct node *self = n->m.self;
    if (!node_votes(self))
        return;
    bool writes = n->paused_until <= s->now && machine_may_write(&n->m, sim_clock(s, node));
    for (int i = 0; i < s->n; i++) {
        const struct sim_node *o = &s->nodes[i];
        if (i == node || !o->alive || !node_votes(o->m.self) || !overlap(o->m.self, self))
            continue;
        if (o->m.self->config_epoch == self->config_epoch)
            sim_fail(s, "nodes %d and %d own the same slot in epoch %llu", node, i,
                     (unsigned long long)self->config_epoch);
        if (writes && machine_may_write(&o->m, sim_clock(s, i)))
            sim_fail(s, "nodes %d (epoch %llu) and %d (epoch %llu) may both write the same slot", node,
                     (unsigned long long)self->config_epoch, i, (unsigned long long)o->m.self->config_epoch);
    }
}

/* Every living node sees every slot at the same living owner, who serves it; nobody is suspected. */
bool check_whole(struct sim *s, const char **why)
{
    const struct machine *first = &s->nodes[0].m;
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
        *why = "two views of a slot";
        for (unsigned k = 0; k < SLOT_COUNT; k += 64) {
            if (!node_id_eq(&m->map.owner[k]->id, &first->map.owner[k]->id))
                return false;
        }
        *why = "an owner does not serve";
        if (m->self->nslots > 0 && !machine_may_write(m, sim_clock(s, i)))
            return false;
        *why = "a node is suspected";
        for (unsigned k = 0; k < m->map.n; k++) {
            if (node_is(m->map.nodes[k], NODE_PFAIL | NODE_FAIL | NODE_HANDSHAKE))
                return false;
        }
    }
    return true;
}
