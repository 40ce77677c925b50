/* The network: connections that open, carry frames one after the other, and break. A cut direction swallows
 * frames; the ends do not notice, as with TCP before its own time-outs. */
#include "sim.h"

#include <stdlib.h>

static struct sim_conn *find(struct sim *s, int node, uint32_t link, int *side)
{
    for (int i = 0; i < SIM_CONNS; i++) {
        struct sim_conn *c = &s->conns[i];
        if (c->used && ((c->a == node && c->a_link == link) || (c->b == node && c->b_link == link))) {
            *side = c->a == node && c->a_link == link ? 0 : 1;
            return c;
        }
    }
    return NULL;
}

int net_peer(struct sim *s, int node, uint32_t link)
{
    int side = 0;
    struct sim_conn *c = find(s, node, link, &side);
    return c == NULL ? -1 : side == 0 ? c->b : c->a;
}

static uint64_t delay(struct sim *s)
{
    uint64_t d = 1 + rng_below(&s->rng, s->delay_ms);
    return rng_below(&s->rng, 200) == 0 && !s->calm ? d + rng_below(&s->rng, 400) : d;
}

void net_open(struct sim *s, int from, const struct node *to, uint32_t link)
{
    int i = 0, b = to->cport - 10001;
    while (i < SIM_CONNS && s->conns[i].used)
        i++;
    if (i == SIM_CONNS || b < 0 || b >= s->n)
        return;
    struct sim_conn *c = &s->conns[i];
    *c = (struct sim_conn){.a = from, .b = b, .a_link = link, .used = true, .gen = c->gen + 1};
    c->b_link = LINK_INBOUND | (uint32_t)(i + (int)(c->gen % 100000) * SIM_CONNS);
    bool there = s->nodes[b].alive && !s->cut[from][b] && !s->cut[b][from];
    sim_push(s,
             (struct sim_event){.kind = there ? SIM_STEP_UP : SIM_STEP_DOWN,
                                .node = from,
                                .life = s->nodes[from].life,
                                .conn = i,
                                .gen = c->gen,
                                .side = 0},
             delay(s));
}

static void end_towards(struct sim *s, int conn, int side)
{
    struct sim_conn *c = &s->conns[conn];
    int node = side == 0 ? c->a : c->b;
    sim_push(s,
             (struct sim_event){.kind = SIM_STEP_DOWN,
                                .node = node,
                                .life = s->nodes[node].life,
                                .conn = conn,
                                .gen = c->gen,
                                .side = side,
                                .seq = side == 0 ? c->a_link : c->b_link},
             delay(s));
}

void net_close(struct sim *s, int from, uint32_t link)
{
    int side = 0;
    struct sim_conn *c = find(s, from, link, &side);
    if (c == NULL)
        return;
    end_towards(s, (int)(c - s->conns), !side);
    c->used = c->up = false;
}

void net_crash(struct sim *s, int node)
{
    for (int i = 0; i < SIM_CONNS; i++) {
        struct sim_conn *c = &s->conns[i];
        if (!c->used || (c->a != node && c->b != node))
            continue;
        end_towards(s, i, c->a == node ? 1 : 0);
        c->used = c->up = false;
    }
}

static bool chance(struct sim *s, double p)
{
    return p > 0 && rng_unit(&s->rng) < p;
}

void net_send(struct sim *s, int from, uint32_t link, struct str bytes)
{
    int side = 0;
    struct sim_conn *c = find(s, from, link, &side);
    if (c == NULL || !c->up)
        return;
    int to = side == 0 ? c->b : c->a, copies = 1 + chance(s, s->dup);
    if (s->cut[from][to] || chance(s, s->loss))
        return;
    for (int k = 0; k < copies; k++) {
        uint64_t at = s->now + delay(s);
        if (!chance(s, s->reorder)) {
            at = at < c->last_ms[side] ? c->last_ms[side] : at;
            c->last_ms[side] = at;
        }
        struct sim_event e = {.kind = SIM_FRAME,
                              .node = to,
                              .life = s->nodes[to].life,
                              .conn = (int)(c - s->conns),
                              .gen = c->gen,
                              .side = !side,
                              .bytes = malloc(bytes.n),
                              .n = bytes.n};
        if (e.bytes == NULL)
            abort();
        memcpy(e.bytes, bytes.p, bytes.n);
        sim_push(s, e, at - s->now);
    }
}

void net_event(struct sim *s, struct sim_event *e)
{
    struct sim_conn *c = &s->conns[e->conn];
    struct sim_node *n = &s->nodes[e->node];
    bool mine = n->alive && n->life == e->life, same = c->used && c->gen == e->gen;
    struct machine_event m = {.kind = EV_LINK_DOWN, .link = (uint32_t)e->seq};
    if (!mine)
        return;
    if (e->kind == SIM_STEP_DOWN) {
        if (e->seq == 0) { /* it never came up */
            if (!same)
                return;
            m.link = c->a_link;
            c->used = false;
        }
    } else if (!same) {
        return;
    } else if (e->kind == SIM_STEP_UP) {
        c->up = true;
        m = (struct machine_event){.kind = EV_LINK_UP, .link = c->a_link};
    } else {
        m = (struct machine_event){.kind = EV_FRAME,
                                   .link = e->side == 0 ? c->a_link : c->b_link,
                                   .bytes = {e->bytes, e->n},
                                   .ip = STR("127.0.0.1"),
                                   .local_ip = STR("127.0.0.1")};
    }
    sim_step(s, e->node, &m);
}
