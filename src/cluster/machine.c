/* The frame around the rooms: a step dispatches one event, then closes the books once: what the rooms noted
 * (nodes.conf changed, slots were lost, the view changed) becomes one action each, after the sends of the
 * step except that a text to be persisted always stands first, so that a slow disk is busy as early as
 * possible. */
#include "cluster/machine_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"

#include <stdio.h>

struct machine_action *machine_act(struct machine *m, enum machine_action_kind kind)
{
    if (m->nactions == m->actions_cap) {
        unsigned cap = m->actions_cap == 0 ? 64 : m->actions_cap * 2;
        struct machine_action *more =
            cap > MACHINE_ACTIONS_MAX ? NULL : mem_realloc(m->actions, cap * sizeof(*more));
        if (more == NULL)
            return NULL;
        m->actions = more;
        m->actions_cap = cap;
    }
    struct machine_action *a = &m->actions[m->nactions++];
    *a = (struct machine_action){.kind = kind};
    return a;
}

void machine_dirty(struct machine *m)
{
    m->dirty = true;
}

void machine_hold(struct machine *m)
{
    machine_dirty(m);
    m->announce_seq = machine_persist_next(m);
}

bool machine_held(const struct machine *m)
{
    return m->announce_seq > m->persisted_seq && !MUTANT(EARLY_ANNOUNCE);
}

uint64_t machine_persist_next(const struct machine *m)
{
    return m->persist_seq + 1;
}

void machine_view(struct machine *m)
{
    m->view = true;
}

bool machine_is_primary(const struct machine *m)
{
    return node_is(m->self, NODE_PRIMARY);
}

struct node *machine_link_node(const struct machine *m, uint32_t link)
{
    for (unsigned i = 0; i < m->map.n; i++) {
        if (m->map.nodes[i]->out == link || m->map.nodes[i]->in == link)
            return m->map.nodes[i];
    }
    return NULL;
}

int machine_fail_command(struct machine *m, int err, const char *text)
{
    snprintf(m->error, sizeof(m->error), "%s", text);
    return err;
}

void machine_drop_moves_of(struct machine *m, const struct node_id *id)
{
    for (unsigned i = 0; i < m->nmoves; i++) {
        if (node_id_eq(&m->moves[i].id, id))
            m->moves[i--] = m->moves[--m->nmoves];
    }
}

void machine_drop_move(struct machine *m, unsigned slot)
{
    for (unsigned i = 0; i < m->nmoves; i++) {
        if (m->moves[i].slot == slot)
            m->moves[i--] = m->moves[--m->nmoves];
    }
}

void machine_random_id(struct machine *m, struct node_id *id)
{
    for (unsigned i = 0; i < NODE_ID; i++)
        id->c[i] = "0123456789abcdef"[rng_below(m->rng, 16)];
}

static void describe_self(struct machine *m)
{
    struct node *self = m->self;
    const struct machine_config *c = &m->config;
    self->port = c->port;
    self->cport = c->cport;
    self->tls_port = c->tls_port;
    if (c->ip[0] != '\0')
        memcpy(self->ip, c->ip, NODE_IP_MAX);
    memcpy(self->host, c->host, NODE_HOST_MAX);
    memcpy(self->name, c->name, NODE_HOST_MAX);
    self->flags |= NODE_LARDER | NODE_EXTENSIONS;
    self->flags = c->no_failover ? self->flags | NODE_NOFAILOVER : self->flags & ~(uint32_t)NODE_NOFAILOVER;
}

static void prepare(struct machine *m, const struct machine_config *c, struct rng *rng, uint64_t now_ms)
{
    memset(m, 0, sizeof(*m));
    slotmap_init(&m->map);
    buf_init(&m->out);
    m->config = *c;
    m->rng = rng;
    m->now_ms = m->boot_ms = now_ms;
    m->next_link = m->next_seq = 1;
}

int machine_init(struct machine *m, const struct machine_config *c, const struct node_id *id, struct rng *rng,
                 uint64_t now_ms)
{
    prepare(m, c, rng, now_ms);
    int err = slotmap_add(&m->map, id, NODE_MYSELF | NODE_PRIMARY, &m->self);
    if (err != 0)
        return err;
    machine_random_id(m, &m->self->shard);
    describe_self(m);
    m->dirty = true;
    return 0;
}

int machine_restore(struct machine *m, const struct machine_config *c, struct str text, struct rng *rng,
                    uint64_t now_ms, unsigned *line)
{
    struct nodesconf nc = {.map = &m->map,
                           .taking = &m->taking,
                           .ready = &m->ready,
                           .gift = &m->offer.gift,
                           .lost = &m->lost_claim};
    prepare(m, c, rng, now_ms);
    int err = nodesconf_read(text, now_ms, &nc, line);
    if (err != 0)
        return err;
    m->self = nc.self;
    m->moves = nc.moves;
    m->nmoves = nc.nmoves;
    m->current_epoch = nc.current_epoch;
    m->vote_epoch = nc.vote_epoch;
    m->data_epoch = nc.data_epoch;
    m->nvotes = nc.nvotes;
    memcpy(m->votes, nc.votes, sizeof(m->votes));
    m->restored = true;
    m->rejoin_ms = now_ms; /* the state stays "fail" until the cluster was heard */
    for (unsigned i = 0; i < m->map.n; i++) {
        struct node *n = m->map.nodes[i];
        n->ping_sent_ms = n->pong_ms = 0;
        n->created_ms = n->heard_ms = n->asked_ms = now_ms;
        n->flags &= ~(uint32_t)NODE_PFAIL;
    }
    if (node_id_none(&m->self->shard))
        machine_random_id(m, &m->self->shard);
    describe_self(m);
    m->dirty = true;
    m->nended = nc.nended;
    memcpy(m->ended, nc.ended, sizeof(m->ended));
    taking_restore(m);
    giving_restore(m, nc.offers_epoch);
    m->mute = (node_votes(m->self) || taking_any(m)) && slotmap_replicas(&m->map, m->self, false) > 0;
    return 0;
}

void machine_release(struct machine *m)
{
    slotmap_release(&m->map);
    mem_free(m->moves);
    mem_free(m->actions);
    buf_release(&m->out);
    m->moves = NULL;
    m->actions = NULL;
    m->self = NULL;
}

/* Whoever calls us tells us where we are. */
static void learn_ip(struct machine *m, const struct frame *f, struct str ip)
{
    char *mine = m->self->ip;
    bool asked = f->h.type == FRAME_MEET || (f->h.type == FRAME_PING && mine[0] == '\0');
    if (f->light || !asked || m->config.ip[0] != '\0' || ip.n == 0 || ip.n >= NODE_IP_MAX ||
        str_eq(str_of(mine), ip))
        return;
    memset(mine, 0, NODE_IP_MAX);
    memcpy(mine, ip.p, ip.n);
    machine_dirty(m);
    machine_view(m);
}

/* Redis's frame would be dropped by a link that we do not know; ours too. */
static int frame_event(struct machine *m, const struct machine_event *e)
{
    struct frame f;
    int err = frame_decode(e->bytes, &f);
    if (err != 0) {
        m->stats_refused++;
        return err == ERR_NOTFOUND ? 0 : err;
    }
    m->stats_received[f.h.type]++;
    m->peer_ip = e->ip;
    learn_ip(m, &f, e->local_ip);
    bus_frame(m, &f, e->link);
    return 0;
}

static void data_event(struct machine *m, const struct machine_data *d)
{
    bool stopped = d->paused && !m->data.paused && m->manual == MANUAL_PAUSED;
    m->data = *d;
    if (m->restored && !m->asked_data && d->epoch < m->data_epoch)
        m->data_epoch = d->epoch; /* what was loaded is older than what was had */
    m->asked_data = true;
    if (d->empty && !d->link_up && (m->mute || !machine_is_primary(m)))
        m->data_epoch = 0;
    m->self->offset = d->offset;
    m->self->offset_ms = m->now_ms;
    m->self->replid = d->replid;
    /* Data that stream from a primary are of its epoch; a primary writes in its own. */
    const struct node *from = machine_is_primary(m) ? m->self : m->self->primary;
    if (from != NULL && !m->mute && (from == m->self || d->link_up) && m->data_epoch < from->config_epoch) {
        m->data_epoch = from->config_epoch;
        machine_dirty(m);
    }
    m->self->data_epoch = m->data_epoch;
    if (stopped)
        manual_stopped(m);
    manual_tick(m);
}

static void link_event(struct machine *m, const struct machine_event *e)
{
    struct node *n = machine_link_node(m, e->link);
    if (n == NULL)
        return;
    if (e->kind == EV_LINK_DOWN) {
        if (n->out == e->link) {
            n->out = 0;
            n->out_up = false;
            if (m->manual_offers && node_id_eq(&n->id, &m->manual_replica))
                manual_reset(m); /* it will not take over: another may */
        } else {
            n->in = 0;
        }
        return;
    }
    if (n->out != e->link)
        return;
    n->out_up = true;
    uint64_t old = n->ping_sent_ms;
    bus_ping(m, n, node_is(n, NODE_MEET) ? FRAME_MEET : FRAME_PING, n->out, 0);
    if (old != 0) /* a new link does not excuse an old silence */
        n->ping_sent_ms = old;
    n->flags &= ~(uint32_t)NODE_MEET;
}

static int dispatch(struct machine *m, const struct machine_event *e)
{
    switch (e->kind) {
    case EV_TICK: bus_tick(m); return 0;
    case EV_LINK_UP:
    case EV_LINK_DOWN: link_event(m, e); return 0;
    case EV_FRAME: return frame_event(m, e);
    case EV_DATA: data_event(m, &e->data); return 0;
    case EV_PERSISTED:
        if (e->seq > m->persisted_seq)
            m->persisted_seq = e->seq;
        election_persisted(m);
        return 0;
    case EV_COMMAND: return command_run(m, e->command);
    case EV_PUBLISH: bus_publish(m, e); return 0;
    }
    return 0;
}

/* PERSIST to the front. What cannot be written now (no memory) stays dirty. */
static void persist(struct machine *m)
{
    size_t at = m->out.n;
    struct machine_action *a;
    if (MUTANT(CLAIM_ON_DISK))
        machine_add_takings(m, m->self->slots);
    int err = machine_save(m, &m->out);
    for (unsigned s = 0; MUTANT(CLAIM_ON_DISK) && s < SLOT_COUNT; s++)
        slots_set(m->self->slots, s, m->map.owner[s] == m->self);
    if (err != 0 || (a = machine_act(m, ACT_PERSIST)) == NULL) {
        m->out.n = at;
        m->out.oom = false;
        return;
    }
    a->seq = ++m->persist_seq;
    a->at = at;
    a->n = m->out.n - at;
    struct machine_action first = *a;
    memmove(m->actions + 1, m->actions, (m->nactions - 1) * sizeof(first));
    m->actions[0] = first;
    m->dirty = false;
}

int machine_step(struct machine *m, const struct machine_event *e, uint64_t now_ms)
{
    ASSERT(now_ms >= m->now_ms);
    m->now_ms = now_ms;
    m->nactions = 0;
    m->error[0] = '\0';
    buf_clear(&m->out);
    describe_self(m);
    int err = dispatch(m, e);
    failure_state(m);
    ownership_lost(m);
    if (m->dirty)
        persist(m);
    if (m->view) {
        m->view = machine_act(m, ACT_VIEW) == NULL;
    }
    DEBUG_ASSERT(m->self->primary != m->self);
    return err;
}

bool machine_may_feed(const struct machine *m, uint64_t offset)
{
    bool more = m->asked_data && !m->mute && !(m->data.empty && m->data.offset < offset);
    return more || MUTANT(WIPE);
}

bool machine_awaits_disk(const struct machine *m)
{
    return m->vote_seq != 0 || (m->election_asked && !m->election_sent) ||
           m->announce_seq > m->persisted_seq || giving_awaits_disk(m) || taking_awaits_disk(m) ||
           taking_readies(m);
}

unsigned machine_tick_ms(const struct machine *m)
{
    uint64_t t = m->config.node_timeout_ms / 20;
    return t < 10 ? 10 : t > MACHINE_TICK_MS ? MACHINE_TICK_MS : (unsigned)t;
}

const struct slot_move *machine_move(const struct machine *m, unsigned slot)
{
    for (unsigned i = 0; i < m->nmoves; i++) {
        if (m->moves[i].slot == slot)
            return &m->moves[i];
    }
    return NULL;
}

static struct nodesconf view_of(const struct machine *m)
{
    bool offer = m->offer.seq != 0 || m->offer.gift.on || m->offer.recall;
    struct nodesconf nc = {.map = (struct slotmap *)&m->map,
                           .self = m->self,
                           .current_epoch = m->current_epoch,
                           .vote_epoch = m->vote_epoch,
                           .data_epoch = m->data_epoch,
                           .taking = (struct handover *)&m->taking,
                           .gift = (struct handover *)&m->offer.gift,
                           .offers_epoch = offer ? m->offer.epoch : 0,
                           .ready = (struct handover *)&m->ready,
                           .lost = (struct handover *)&m->lost_claim,
                           .nvotes = m->nvotes,
                           .nended = m->nended,
                           .moves = m->moves,
                           .nmoves = m->nmoves};
    memcpy(nc.votes, m->votes, sizeof(nc.votes));
    memcpy(nc.ended, m->ended, sizeof(nc.ended));
    return nc;
}

int machine_save(const struct machine *m, struct buf *out)
{
    struct nodesconf nc = view_of(m);
    return nodesconf_write(&nc, out);
}

int machine_nodes(const struct machine *m, struct buf *out, int64_t wall_offset_ms)
{
    struct nodesconf nc = view_of(m);
    for (unsigned i = 0; i < m->map.n; i++) {
        nodesconf_put_node(out, &nc, m->map.nodes[i], false, wall_offset_ms);
        buf_putc(out, '\n');
    }
    return out->oom ? ERR_OOM : 0;
}

unsigned machine_quorum(const struct machine *m)
{
    return slotmap_voters(&m->map) / 2 + 1;
}
