/* The data of a node as a list of reigns. A primary that may write adds to its own reign; a replica copies
 * what its primary has, or, when its own writes are not the beginning of them, takes a full copy and loses
 * what it had. What is written to which slots: groups.c. */
#include "sim.h"

enum { COPY_MAX = 200 };

uint64_t data_offset(const struct sim_data *d)
{
    return d->n == 0 ? 0 : d->runs[d->n - 1].end;
}

static bool is_prefix(const struct sim_data *a, const struct sim_data *b)
{
    if (a->n > b->n)
        return false;
    for (unsigned i = 0; i < a->n; i++) {
        bool last = i + 1 == a->n;
        if (a->runs[i].reign != b->runs[i].reign ||
            (last ? a->runs[i].end > b->runs[i].end : a->runs[i].end != b->runs[i].end))
            return false;
    }
    return true;
}

bool data_write(struct sim_node *n, uint64_t more)
{
    if (n->data.n == 0 || n->data.runs[n->data.n - 1].reign != n->reign) {
        if (n->data.n == SIM_SEGMENTS)
            return false;
        n->data.runs[n->data.n] = (struct sim_run){n->reign, data_offset(&n->data)};
        n->data.n++;
    }
    n->data.runs[n->data.n - 1].end += more;
    return true;
}

/* Up to `most` writes further along the primary's. */
static void copy_some(struct sim_data *to, const struct sim_data *from, uint64_t most)
{
    uint64_t end = data_offset(to) + most;
    *to = *from;
    while (to->n > 1 && to->runs[to->n - 2].end >= end)
        to->n--;
    if (to->n > 0 && to->runs[to->n - 1].end > end)
        to->runs[to->n - 1].end = end;
}

static void replicate(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node], *p = n->following < 0 ? NULL : &s->nodes[n->following];
    bool reach = p != NULL && p->alive && p->m.asked_data && p->paused_until <= s->now &&
                 !s->cut[node][n->following] && !s->cut[n->following][node];
    if (!reach || (!is_prefix(&n->data, &p->data) && !machine_may_feed(&p->m, data_offset(&n->data)))) {
        n->synced = false;
        return;
    }
    n->heard_ms = s->now;
    if (is_prefix(&n->data, &p->data)) {
        copy_some(&n->data, &p->data, 1 + rng_below(&s->rng, COPY_MAX));
    } else if (!n->synced || !is_prefix(&n->data, &p->data)) {
        if (data_offset(&n->data) > 0 && data_offset(&p->data) == 0)
            sim_fail(s, "node %d, which had data, takes the emptiness of node %d", node, n->following);
        n->data = p->data;
    }
    n->synced = true;
    n->epoch_data = p->m.data_epoch;
    if (!is_prefix(&n->data, &p->data))
        sim_fail(s, "replica %d is no prefix of %d", node, n->following);
}

void data_tick(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    struct machine *m = &n->m;
    bool primary = node_is(m->self, NODE_PRIMARY), first = !m->asked_data;
    if (primary && !n->pause && machine_may_write(m, sim_clock(s, node))) {
        (void)data_write(n, 1 + rng_below(&s->rng, 20));
        groups_write(s, node);
    } else if (!primary) {
        replicate(s, node);
    }
    struct machine_data d = {.offset = data_offset(&n->data),
                             .replid = n->data.n == 0 ? 0 : 1,
                             .silent_ms = s->now - n->heard_ms,
                             .link_up = n->synced,
                             .empty = n->data.n == 0,
                             .epoch = first ? n->epoch_data : 0,
                             .paused = n->pause};
    sim_step(s, node, &(struct machine_event){.kind = EV_DATA, .data = d});
    if (primary)
        n->epoch_data = m->data_epoch;
    if (rng_below(&s->rng, 50) == 0) { /* a snapshot */
        n->saved = n->data;
        n->epoch_saved = n->epoch_data;
    }
}

void data_promote(struct sim *s, int node)
{
    s->nodes[node].reign = ++s->reigns;
    s->nodes[node].following = -1;
    s->nodes[node].synced = false;
}

/* A cache without persistence comes back empty, else with its last snapshot. */
void data_crash(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    if (rng_below(&s->rng, 2) == 0) {
        n->saved.n = 0;
        n->epoch_saved = 0;
    }
    n->data = n->saved;
    n->epoch_data = n->epoch_saved;
    n->reign = ++s->reigns;
}
