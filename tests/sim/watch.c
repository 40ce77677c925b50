/* A witness who sees every frame and keeps its own books, also over the crashes of those it watches: what was
 * promised, who has voted for whom, who suspected whom. A rule that a node breaks is seen when it breaks it,
 * not only when harm comes of it. */
#include "sim.h"

#include "cluster/frame.h"

static const struct node *known(const struct sim *s, int by, int node)
{
    return slotmap_find(&s->nodes[by].m.map, &s->nodes[node].id);
}

static bool overlap(const uint8_t *a, const uint8_t *b)
{
    for (unsigned i = 0; i < SLOT_BYTES; i++) {
        if (a[i] & b[i])
            return true;
    }
    return false;
}

/* A frame leaves: a promise in it is written down, in the voter's own time. */
void watch_sent(struct sim *s, int from, uint32_t link, const struct frame *f)
{
    struct sim_node *n = &s->nodes[from];
    int to = net_peer(s, from, link);
    if (to >= 0 && f->h.larder.promise_ms > 0)
        n->promised[to] = sim_clock(s, from) + f->h.larder.promise_ms;
    if (node_id_none(&f->h.primary) && f->h.config_epoch > n->config_disk &&
        f->h.config_epoch != n->ready_disk)
        sim_fail(s, "node %d tells epoch %llu as its own with %llu on its disk", from,
                 (unsigned long long)f->h.config_epoch, (unsigned long long)n->config_disk);
}

/* Why `voter` must not vote for the sender of this request; NULL if it may. */
static const char *objection(const struct sim *s, int voter, const struct frame *f)
{
    const struct machine *m = &s->nodes[voter].m;
    const struct node *c = slotmap_find(&m->map, &f->h.sender), *p = c == NULL ? NULL : c->primary;
    int primary = p == NULL ? -1 : sim_find(s, &p->id);
    uint64_t now = sim_clock(s, voter), t = m->config.node_timeout_ms;
    bool forced = (f->h.mflags[0] & FRAME_FORCEACK) != 0;
    bool renews = c != NULL && node_votes(c); /* in its own place */
    if (primary < 0 && !renews)
        return "a node without a primary";
    if (!renews && now < s->nodes[voter].promised[primary])
        return "a replica of a node to which it has promised not to";
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *n = m->map.nodes[i];
        if (n->nslots > 0 && n->config_epoch > f->h.config_epoch && overlap(n->slots, f->h.slots))
            return "a claim older than one that it knows";
        bool ahead = n->data_epoch != f->h.larder.data_epoch ? n->data_epoch > f->h.larder.data_epoch
                                                             : n->offset > f->h.offset;
        if (!forced && !renews && n != c && n->primary == p && ahead && n->replid == f->h.larder.replid &&
            node_is(n, NODE_LARDER) && !node_is(n, NODE_PFAIL | NODE_FAIL) && now - n->heard_ms <= t &&
            now - p->fail_ms <= t)
            return "a replica while another that lives has more";
    }
    return NULL;
}

/* Before the step that takes this frame. */
void watch_arrives(struct sim *s, int node, const struct frame *f, struct watch *w)
{
    struct sim_node *n = &s->nodes[node];
    int from = sim_find(s, &f->h.sender);
    *w = (struct watch){.from = from, .type = f->h.type, .vote_seq = n->m.vote_seq, .vote = n->m.vote_epoch};
    if (from < 0)
        return;
    bool of_itself = f->h.type == FRAME_FAIL && node_id_eq(&f->node, &f->h.sender); /* restarted */
    if (f->h.larder.is && (f->h.mflags[0] & FRAME_PAUSED || of_itself))
        n->promised[from] = 0; /* given back */
    if (f->h.type == FRAME_AUTH_REQUEST)
        w->objection = objection(s, node, f);
    if (f->h.type == FRAME_AUTH_ACK && n->acked[from] < f->h.current_epoch)
        n->acked[from] = f->h.current_epoch;
}

/* A majority of the voters must have suspected whom this node, told by nobody, declares failed. Mail may have
 * waited for a node that slept. */
static void judge_failure(struct sim *s, int node, int failed)
{
    const struct machine *m = &s->nodes[node].m;
    uint64_t window = 6 * s->config.node_timeout_ms + 500;
    unsigned agree = 0;
    for (int i = 0; i < s->n; i++) {
        const struct node *v = known(s, node, i);
        uint64_t at = s->nodes[i].suspected[failed];
        agree += v != NULL && node_votes(v) && at != 0 && s->now - at <= window;
    }
    if (agree < machine_quorum(m))
        sim_fail(s, "node %d declares node %d failed, and %u of %u suspected it", node, failed, agree,
                 machine_quorum(m));
}

/* After every step; w: what arrived in it, NULL if no frame did. */
void watch_step(struct sim *s, int node, const struct watch *w)
{
    struct sim_node *n = &s->nodes[node];
    const struct machine *m = &n->m;
    bool voted = w != NULL && w->type == FRAME_AUTH_REQUEST &&
                 ((m->vote_seq != 0 && m->vote_seq != w->vote_seq) || m->vote_epoch != w->vote);
    if (voted && w->objection != NULL)
        sim_fail(s, "node %d votes for node %d: %s", node, w->from, w->objection);
    for (unsigned i = 0; i < m->map.n; i++) {
        const struct node *o = m->map.nodes[i];
        uint32_t bit = 0;
        if (node_is(o, NODE_PFAIL | NODE_FAIL)) {
            int at = sim_find(s, &o->id);
            if (at < 0)
                continue;
            bit = 1U << at;
            n->suspected[at] = s->now;
            bool told = w != NULL && w->type == FRAME_FAIL;
            if (node_is(o, NODE_FAIL) && !(n->failed & bit) && !told)
                judge_failure(s, node, at);
            if (node_is(o, NODE_FAIL))
                n->failed |= bit;
            else
                n->failed &= ~bit;
        } else if (n->failed != 0) {
            int at = sim_find(s, &o->id);
            n->failed &= at < 0 ? UINT32_MAX : ~(1U << at);
        }
    }
}

/* A restart remembers who had failed. */
void watch_boot(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    n->failed = 0;
    memset(n->acked, 0, sizeof(n->acked));
    for (int i = 0; i < s->n; i++) {
        const struct node *o = known(s, node, i);
        n->failed |= o != NULL && node_is(o, NODE_FAIL) ? 1U << i : 0;
    }
}

/* Elected: by a majority, and with something to serve if it was not by order. */
void watch_promoted(struct sim *s, int node, bool ordered)
{
    const struct sim_node *n = &s->nodes[node];
    unsigned votes = 0;
    for (int i = 0; i < s->n; i++) {
        const struct node *v = known(s, node, i);
        votes += v != NULL && i != node && n->acked[i] >= n->m.self->config_epoch && n->acked[i] != 0;
    }
    if (votes < machine_quorum(&n->m))
        sim_fail(s, "node %d takes over in epoch %llu with %u votes of %u", node,
                 (unsigned long long)n->m.self->config_epoch, votes, machine_quorum(&n->m));
    if (n->data.n == 0 && !ordered)
        sim_fail(s, "node %d, which has no data, was elected", node);
}
