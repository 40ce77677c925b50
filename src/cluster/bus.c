/* What a frame means, and what a ping carries. A frame is believed in this order: the epochs, the sender's
 * role, its slots, then what it says of others. Senders that we do not know may only introduce themselves
 * (handshake.c). */
#include "cluster/machine_internal.h"

#include "base/assert.h"
#include "base/err.h"

enum { GOSSIP_MIN = 3, GOSSIP_SHARE = 10, GOSSIP_TRIES = 3 };

void bus_header(struct machine *m, enum frame_type type, struct frame_header *h)
{
    const struct node *self = m->self;
    const struct node *owner = node_is(self, NODE_REPLICA) && self->primary != NULL ? self->primary : self;
    *h = (struct frame_header){
        .type = (uint16_t)type,
        .port = self->port,
        .tls_port = self->tls_port,
        .cport = self->cport,
        .flags = (uint16_t)(self->flags & NODE_WIRE),
        .current_epoch = m->current_epoch,
        .config_epoch = owner->config_epoch,
        .offset = m->data.offset,
        .sender = self->id,
        .slots = owner == self ? taking_claims(m) : owner->slots,
        .state = m->ok ? 0 : 1,
        .mflags = {FRAME_EXTENSIONS},
        .larder = {.is = true,
                   .asks = m->election_asked,
                   .data_epoch = m->data_epoch,
                   .replid = m->data.replid,
                   .unsettled = m->mute || taking_any(m),
                   .taking = m->taking.on},
    };
    if (self->primary != NULL)
        h->primary = self->primary->id;
    memcpy(h->ip, m->config.ip, NODE_IP_MAX);
    if (machine_is_primary(m) && m->manual == MANUAL_PAUSED && m->data.paused)
        h->mflags[0] |= FRAME_PAUSED;
}

static void send_written(struct machine *m, struct frame_writer *w, enum frame_type type, uint32_t link)
{
    size_t at = w->start;
    if (link == 0 || machine_held(m) || frame_end(w) != 0) {
        m->out.n = at;
        m->out.oom = false;
        return;
    }
    struct machine_action *a = machine_act(m, ACT_SEND);
    if (a == NULL) {
        m->out.n = at;
        return;
    }
    a->link = link;
    a->at = at;
    a->n = m->out.n - at;
    m->stats_sent[type]++;
}

void bus_send(struct machine *m, enum frame_type type, const struct node *n)
{
    struct frame_header h;
    struct frame_writer w;
    bus_header(m, type, &h);
    if (type == FRAME_AUTH_REQUEST && m->manual != MANUAL_NONE)
        h.mflags[0] |= FRAME_FORCEACK;
    h.larder.forced = type == FRAME_AUTH_REQUEST && m->manual_force;
    frame_begin(&w, &m->out, &h);
    if (type == FRAME_AUTH_REQUEST && node_is(n, NODE_LARDER))
        electorate_put(m, &w);
    send_written(m, &w, type, n->out);
}

void bus_vote(struct machine *m, struct node *n)
{
    struct frame_header h;
    struct frame_writer w;
    bus_header(m, FRAME_AUTH_ACK, &h);
    h.larder.promise_ms = (uint32_t)failure_promise_elected(m, n);
    frame_begin(&w, &m->out, &h);
    if (node_is(n, NODE_LARDER))
        electorate_put(m, &w);
    send_written(m, &w, FRAME_AUTH_ACK, n->out);
}

void bus_update(struct machine *m, const struct node *n, uint32_t link)
{
    struct frame_header h;
    struct frame_writer w;
    uint8_t slots[SLOT_BYTES]; /* without what it does not claim itself any more */
    for (unsigned b = 0; b < SLOT_BYTES; b++)
        slots[b] = n->slots[b] & (uint8_t)~m->disowned[b];
    bus_header(m, FRAME_UPDATE, &h);
    frame_begin(&w, &m->out, &h);
    frame_put_update(&w, n, n == m->self ? taking_claims(m) : slots);
    send_written(m, &w, FRAME_UPDATE, link);
}

void bus_broadcast(struct machine *m, enum frame_type type)
{
    for (unsigned i = 0; i < m->map.n; i++) {
        struct node *n = m->map.nodes[i];
        if (n->out_up && !node_is(n, NODE_MYSELF | NODE_HANDSHAKE))
            bus_send(m, type, n);
    }
}

void bus_fail_all(struct machine *m, const struct node *failing)
{
    struct frame_header h;
    struct frame_writer w;
    bus_header(m, FRAME_FAIL, &h);
    for (unsigned i = 0; i < m->map.n; i++) {
        struct node *n = m->map.nodes[i];
        if (!n->out_up || node_is(n, NODE_MYSELF | NODE_HANDSHAKE))
            continue;
        frame_begin(&w, &m->out, &h);
        frame_put_fail(&w, &failing->id);
        send_written(m, &w, FRAME_FAIL, n->out);
    }
}

void bus_publish(struct machine *m, const struct machine_event *e)
{
    enum frame_type type = e->sharded ? FRAME_PUBLISHSHARD : FRAME_PUBLISH;
    struct frame_header h;
    struct frame_writer w;
    bus_header(m, type, &h);
    for (unsigned i = 0; i < m->map.n; i++) {
        struct node *n = m->map.nodes[i];
        if (!n->out_up || node_is(n, NODE_MYSELF | NODE_HANDSHAKE))
            continue;
        const struct node *shard = n->primary != NULL ? n->primary : n;
        if (e->sharded && shard != (m->self->primary != NULL ? m->self->primary : m->self))
            continue;
        if (e->channel.n > FRAME_MAX || e->message.n > FRAME_MAX)
            continue;
        frame_begin(&w, &m->out, &h);
        frame_put_publish(&w, e->channel, e->message);
        send_written(m, &w, type, n->out);
    }
}

static void put_gossip(struct frame_writer *w, struct node *n, unsigned mark)
{
    struct frame_gossip g = {.id = n->id,
                             .ping_sent_s = (uint32_t)(n->ping_sent_ms / 1000),
                             .pong_s = (uint32_t)(n->pong_ms / 1000),
                             .port = n->port,
                             .cport = n->cport,
                             .flags = (uint16_t)(n->flags & NODE_WIRE),
                             .tls_port = n->tls_port};
    memcpy(g.ip, n->ip, NODE_IP_MAX);
    frame_put_gossip(w, &g);
    n->mark = mark;
}

/* max(3, N/10) of the nodes at random, and all that we suspect: reports must reach a majority within 2 T. */
static void fill_gossip(struct machine *m, struct frame_writer *w, const struct node *to)
{
    unsigned wanted = m->map.n / GOSSIP_SHARE, mark = ++m->self->mark;
    wanted = wanted < GOSSIP_MIN ? GOSSIP_MIN : wanted;
    for (unsigned tries = wanted * GOSSIP_TRIES; tries > 0 && wanted > 0; tries--) {
        struct node *n = m->map.nodes[rng_below(m->rng, m->map.n)];
        bool lost = !n->out_up && n->nslots == 0;
        if (n == m->self || n == to || n->mark == mark || lost ||
            node_is(n, NODE_HANDSHAKE | NODE_NOADDR | NODE_PFAIL))
            continue;
        put_gossip(w, n, mark);
        wanted--;
    }
    for (unsigned i = 0; i < m->map.n; i++) {
        struct node *n = m->map.nodes[i];
        if (node_is(n, NODE_PFAIL) && !node_is(n, NODE_HANDSHAKE | NODE_NOADDR) && n->mark != mark)
            put_gossip(w, n, mark);
    }
}

static void put_newer_extensions(struct machine *m, struct frame_writer *w)
{
    const struct node *self = m->self;
    char forgotten[NODE_ID + 8] = {0};
    if (self->name[0] != '\0')
        frame_put_ext(w, EXT_HUMAN_NAME, (struct str){self->name, strlen(self->name) + 1});
    for (unsigned i = 0; i < sizeof(m->forgotten) / sizeof(*m->forgotten); i++) {
        if (m->forgotten[i].until_ms <= m->now_ms)
            continue;
        uint64_t left = (m->forgotten[i].until_ms - m->now_ms) / 1000;
        memcpy(forgotten, m->forgotten[i].id.c, NODE_ID);
        for (unsigned b = 0; b < 8; b++)
            forgotten[NODE_ID + b] = (char)(left >> (8 * (7 - b)));
        frame_put_ext(w, EXT_FORGOTTEN, (struct str){forgotten, sizeof(forgotten)});
    }
    frame_put_ext(w, EXT_SHARD, node_id_str(&self->shard));
}

/* Redis 7.0 has host names alone, and writes a line into its log for everything else. */
static bool reads_all_extensions(const struct node *n)
{
    return node_is(n, NODE_LARDER) || !node_id_none(&n->shard);
}

static void put_extensions(struct machine *m, struct frame_writer *w, const struct node *to,
                           enum frame_type type)
{
    const char *host = m->self->host;
    char own[8];
    if (host[0] != '\0')
        frame_put_ext(w, EXT_HOSTNAME, (struct str){host, strlen(host) + 1});
    if (reads_all_extensions(to))
        put_newer_extensions(m, w);
    if (node_is(to, NODE_LARDER) && !machine_is_primary(m)) {
        frame_put_u64(own, m->self->config_epoch);
        frame_put_ext(w, EXT_OWN_EPOCH, (struct str){own, sizeof own});
    }
    if (node_is(to, NODE_LARDER)) {
        taking_put(m, w, to);
        unowned_put(m, w);
    }
    if (type == FRAME_PONG && node_is(to, NODE_LARDER) && (taking_votes(m, m->self) || m->nvotes > 0))
        electorate_put(m, w);
}

/* PING, PONG or MEET. seq: of the ping that a PONG answers; a PING gets a number of its own. */
void bus_ping(struct machine *m, struct node *n, enum frame_type type, uint32_t link, uint32_t seq)
{
    struct frame_header h;
    struct frame_writer w;
    if (machine_held(m))
        return;
    bus_header(m, type, &h);
    h.larder.offers = m->manual_offers && n != NULL && node_id_eq(&n->id, &m->manual_replica);
    if (type == FRAME_PONG) {
        h.larder.seq = seq;
        h.larder.promise_ms = seq != 0 && n != NULL ? (uint32_t)failure_promise(m, n) : 0;
    } else if (n != NULL) {
        /* Who yields wants no promises. */
        h.larder.seq = n->ping_seq = m->mute || m->manual == MANUAL_PAUSED ? 0 : m->next_seq++;
        n->ping_sent_ms = n->ping_seq_ms = m->now_ms;
    }
    frame_begin(&w, &m->out, &h);
    fill_gossip(m, &w, n);
    if (n != NULL && node_is(n, NODE_EXTENSIONS))
        put_extensions(m, &w, n, type);
    send_written(m, &w, type, link);
}

/* Our role or slots changed: everybody learns at once rather than with the next ping. */
void bus_pong_all(struct machine *m)
{
    for (unsigned i = 0; i < m->map.n; i++) {
        struct node *n = m->map.nodes[i];
        if (n->out_up && !node_is(n, NODE_MYSELF | NODE_HANDSHAKE))
            bus_ping(m, n, FRAME_PONG, n->out, 0);
    }
}

void bus_close(struct machine *m, uint32_t *link)
{
    if (*link == 0)
        return;
    struct machine_action *a = machine_act(m, ACT_CLOSE);
    if (a != NULL)
        a->link = *link;
    *link = 0;
}

static void set_address(struct machine *m, struct node *n, struct str ip, uint16_t port, uint16_t cport,
                        uint16_t tls_port)
{
    bool same = n->port == port && n->cport == cport && str_eq(str_of(n->ip), ip);
    if (same || ip.n == 0 || ip.n >= NODE_IP_MAX)
        return;
    memset(n->ip, 0, NODE_IP_MAX);
    memcpy(n->ip, ip.p, ip.n);
    n->port = port;
    n->cport = cport;
    n->tls_port = tls_port;
    n->flags &= ~(uint32_t)NODE_NOADDR;
    n->out_up = false;
    bus_close(m, &n->out);
    machine_dirty(m);
    machine_view(m);
}

/* Who pings us is where it pings from, or where it says. */
static void note_address(struct machine *m, struct node *sender, const struct frame *f, uint32_t link)
{
    struct str ip = f->h.ip[0] != '\0' ? str_of(f->h.ip) : m->peer_ip;
    if (f->h.type == FRAME_PING && (link & LINK_INBOUND))
        set_address(m, sender, ip, f->h.port, f->h.cport, f->h.tls_port);
}

static void read_entry(struct machine *m, struct node *sender, const struct frame_gossip *g)
{
    struct node *n = slotmap_find(&m->map, &g->id);
    if (n == NULL) {
        bool usable = g->port != 0 && !(g->flags & (NODE_NOADDR | NODE_HANDSHAKE)) && g->ip[0] != '\0';
        if (usable && !bus_forgotten(m, &g->id))
            handshake_start(m, str_of(g->ip), g->port, g->cport, 0);
        return;
    }
    if (n == m->self)
        return;
    if (node_votes(sender)) {
        if (g->flags & (NODE_PFAIL | NODE_FAIL))
            failure_report(m, n, sender);
        else
            failure_withdraw(n, sender);
    }
    /* A node that we cannot reach may have moved. */
    if (node_is(n, NODE_PFAIL | NODE_FAIL) && !(g->flags & (NODE_NOADDR | NODE_PFAIL | NODE_FAIL)))
        set_address(m, n, str_of(g->ip), g->port, g->cport, g->tls_port);
}

static void read_text(struct machine *m, const struct frame_ext *e, char *have)
{
    char text[NODE_HOST_MAX] = {0};
    if (!frame_ext_text(e, text) || strcmp(text, have) == 0)
        return;
    memcpy(have, text, NODE_HOST_MAX);
    machine_dirty(m);
    machine_view(m);
}

static void read_extensions(struct machine *m, struct node *sender, const struct frame *f)
{
    struct frame_ext e;
    struct node_id id;
    size_t at = 0;
    while (frame_ext_next(f, &at, &e)) {
        if (e.type == EXT_HOSTNAME)
            read_text(m, &e, sender->host);
        else if (e.type == EXT_HUMAN_NAME)
            read_text(m, &e, sender->name);
        else if (e.data.n < NODE_ID || !node_id_valid((struct str){e.data.p, NODE_ID}))
            continue;
        else if (e.type == EXT_SHARD && memcmp(sender->shard.c, e.data.p, NODE_ID) != 0) {
            memcpy(sender->shard.c, e.data.p, NODE_ID);
            if (sender == m->self->primary)
                m->self->shard = sender->shard;
            machine_dirty(m);
            machine_view(m);
        } else if (e.type == EXT_FORGOTTEN && e.data.n >= NODE_ID + 8) {
            memcpy(id.c, e.data.p, NODE_ID);
            struct node *gone = slotmap_find(&m->map, &id);
            if (gone != NULL && gone != m->self && gone != m->self->primary && gone != sender)
                bus_forget(m, gone, MACHINE_FORGET_MS);
        }
    }
}

/* Whom it follows now has got its slots. It says so, and that is kept: without it a voter would be gone, and
 * fewer were a majority. What else that one claims in its epoch we are told by those who know, if ours of it
 * is older: an epoch is known with all that is claimed in it. */
static void read_successor(struct machine *m, const struct node *sender, struct node *primary,
                           const struct frame *f)
{
    uint8_t slots[SLOT_BYTES];
    uint64_t epoch = f->h.config_epoch - 1;
    if (primary == NULL || primary == m->self || sender->nslots == 0 ||
        f->h.config_epoch <= sender->config_epoch || f->h.config_epoch <= primary->config_epoch)
        return;
    for (unsigned b = 0; b < SLOT_BYTES; b++)
        slots[b] = (uint8_t)((sender->slots[b] | primary->slots[b]) & f->h.slots[b]);
    if (!node_is(primary, NODE_PRIMARY))
        ownership_primary(primary);
    primary->config_epoch = epoch;
    machine_dirty(m);
    ownership_keep(m, primary, slots);
    ownership_claim(m, primary, epoch, slots);
}

/* What the sender says of itself. */
static void read_self(struct machine *m, struct node *sender, const struct frame *f)
{
    struct node *primary = node_id_none(&f->h.primary) ? NULL : slotmap_find(&m->map, &f->h.primary);
    struct node *was = sender->primary;
    if (node_id_none(&f->h.primary)) {
        if (!node_is(sender, NODE_PRIMARY)) {
            ownership_primary(sender);
            machine_dirty(m);
            machine_view(m);
        }
    } else if (sender->nslots > 0 && f->h.config_epoch < sender->config_epoch) {
        return; /* an old frame, overtaken on another link: who has slots loses them to a greater epoch only
                 */
    } else if (primary != sender && (node_is(sender, NODE_PRIMARY) || sender->primary != primary)) {
        read_successor(m, sender, primary, f);
        ownership_replica(m, sender, primary);
    }
    uint32_t nofailover = f->h.flags & NODE_NOFAILOVER;
    sender->flags = (sender->flags & ~(uint32_t)NODE_NOFAILOVER) | nofailover;
    if (node_is(sender, NODE_PRIMARY)) { /* what a replica says of its primary's slots may be old */
        ownership_disown(m, sender, f);
        ownership_claim(m, sender, f->h.config_epoch, f->h.slots);
    }
    if (sender == m->self->primary && node_is(sender, NODE_PRIMARY) && !f->h.larder.unsettled &&
        f->h.config_epoch == sender->config_epoch)
        ownership_keep(m, sender, f->h.slots);
    if (was != NULL && node_is(sender, NODE_PRIMARY))
        electorate_elected(m, sender, was);
}

static void note_sender(struct machine *m, struct node *sender, const struct frame *f, uint32_t link)
{
    sender->heard_ms = m->now_ms;
    sender->unsettled = f->h.larder.unsettled;
    if (f->h.larder.is && !node_is(sender, NODE_LARDER)) {
        sender->flags |= NODE_LARDER;
        machine_view(m);
    }
    if (f->h.mflags[0] & FRAME_EXTENSIONS)
        sender->flags |= NODE_EXTENSIONS;
    if (link & LINK_INBOUND)
        sender->in = link;
    if (f->h.current_epoch > m->current_epoch) {
        m->current_epoch = f->h.current_epoch;
        machine_dirty(m);
    }
    if (node_id_none(&f->h.primary) && f->h.config_epoch > sender->config_epoch) {
        sender->config_epoch = f->h.config_epoch;
        ownership_keep(m, sender, f->h.slots);
        if (node_is(sender, NODE_PRIMARY)) /* an epoch is known with all that is claimed in it */
            ownership_claim(m, sender, f->h.config_epoch, f->h.slots);
        machine_dirty(m);
    }
    sender->current_epoch = f->h.current_epoch;
    sender->offset = f->h.offset;
    sender->offset_ms = m->now_ms;
    sender->data_epoch = f->h.larder.data_epoch;
    sender->replid = f->h.larder.replid;
    if (f->h.larder.is && link & LINK_INBOUND) { /* the link of its pings, in their order */
        sender->paused = f->h.mflags[0] & FRAME_PAUSED;
        if (sender->paused)
            sender->promise_ms = 0; /* it has stopped and gives its lease back */
    }
    electorate_heard(m, sender, f);
    manual_heard(m, sender, f);
}

static void read_pong(struct machine *m, struct node *sender, const struct frame *f, uint32_t link)
{
    if (sender->out != link)
        return; /* an announcement, not an answer */
    sender->pong_ms = m->now_ms;
    sender->ping_sent_ms = 0;
    failure_heard(m, sender);
}

/* After what the frame says of itself has been believed. */
static void read_promise(struct machine *m, struct node *sender, const struct frame *f, uint32_t link)
{
    const struct frame_larder *l = &f->h.larder;
    bool same = l->is && electorate_read(m, sender, f);
    if (sender->out != link || l->seq == 0 || l->seq != sender->ping_seq)
        return;
    sender->ping_seq = 0;
    if (same)
        failure_lease_from(sender, sender->ping_seq_ms, l->promise_ms);
}

static void ping_frame(struct machine *m, const struct frame *f, uint32_t link, struct node *sender)
{
    struct frame_gossip g;
    if (f->h.type != FRAME_PONG)
        bus_ping(m, sender, FRAME_PONG, link, f->h.larder.is ? f->h.larder.seq : 0);
    if (!handshake_frame(m, f, link, &sender))
        return;
    note_address(m, sender, f, link);
    if (f->h.type == FRAME_PONG)
        read_pong(m, sender, f, link);
    read_self(m, sender, f);
    taking_heard(m, sender, f);
    unowned_heard(m, sender, f);
    giving_heard(m, sender, f);
    ownership_answer(m, sender, f, link);
    ownership_collision(m, sender, f->h.config_epoch);
    failure_meet(m, sender);
    read_extensions(m, sender, f);
    if (f->h.type == FRAME_PONG)
        read_promise(m, sender, f, link);
    taking_check(m); /* it may have been the last that was waited for */
    ownership_settle(m);
    for (unsigned i = 0; i < f->ngossip; i++) { /* who votes is settled before anybody is judged */
        frame_gossip_at(f, i, &g);
        read_entry(m, sender, &g);
    }
}

static void publish_frame(struct machine *m, const struct frame *f)
{
    struct machine_action *a = machine_act(m, ACT_PUBLISH);
    if (a == NULL)
        return;
    a->channel = f->channel;
    a->message = f->message;
    a->sharded = f->h.type == FRAME_PUBLISHSHARD;
}

static void update_frame(struct machine *m, const struct frame *f)
{
    struct node *n = slotmap_find(&m->map, &f->node);
    if (n == NULL || n->config_epoch >= f->update_epoch)
        return;
    if (!slots_any(f->update_slots)) {
        ownership_depose(m, n, f->update_epoch);
        return;
    }
    struct node *was = n->primary;
    if (!node_is(n, NODE_PRIMARY)) {
        if (n == m->self)
            return;
        ownership_primary(n);
    }
    n->config_epoch = f->update_epoch;
    if (f->update_epoch > m->current_epoch)
        m->current_epoch = f->update_epoch;
    machine_dirty(m);
    n->unsettled |= node_is(n, NODE_LARDER); /* for all that we know, until it speaks itself */
    ownership_keep(m, n, f->update_slots);
    ownership_claim(m, n, f->update_epoch, f->update_slots);
    if (was != NULL)
        electorate_elected(m, n, was);
}

void bus_frame(struct machine *m, const struct frame *f, uint32_t link)
{
    if (f->light) { /* no name in it: only on a link whose end we know */
        const struct node *at = machine_link_node(m, link);
        if (at != NULL && !node_is(at, NODE_HANDSHAKE))
            publish_frame(m, f);
        return;
    }
    struct node *sender = slotmap_find(&m->map, &f->h.sender);
    if (sender == m->self)
        return; /* an echo of our own */
    if (sender != NULL && node_is(sender, NODE_HANDSHAKE))
        sender = NULL;
    if (sender != NULL)
        note_sender(m, sender, f, link);
    if (f->h.type <= FRAME_MEET) {
        ping_frame(m, f, link, sender);
        return;
    }
    if (sender == NULL)
        return;
    struct node *about = f->h.type == FRAME_FAIL ? slotmap_find(&m->map, &f->node) : NULL;
    if (about != NULL) {
        if (about == sender) {
            about->yields_ms = m->now_ms;
            about->promise_ms = 0; /* it was restarted: nothing that was promised is known to it */
        }
        failure_said(m, about);
    } else if (f->h.type == FRAME_PUBLISH || f->h.type == FRAME_PUBLISHSHARD)
        publish_frame(m, f);
    else if (f->h.type == FRAME_AUTH_REQUEST)
        vote_request(m, sender, f);
    else if (f->h.type == FRAME_AUTH_ACK)
        election_ack(m, sender, f);
    else if (f->h.type == FRAME_MFSTART) {
        read_self(m, sender, f); /* it may follow us since just now */
        manual_start(m, sender);
    } else if (f->h.type == FRAME_UPDATE)
        update_frame(m, f);
}
