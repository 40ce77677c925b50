/* What the cluster bus costs one node of a large cluster, as a share of a core.
 *
 *      bus_bench [primary|replica [nodes [minutes [node timeout ms]]]]
 *
 *      one node: machine, bus_wire, epoll   <── TCP links over loopback ──>   all others, played here
 *      its CPU time is counted                  2 for each other node         theirs is not
 *
 * Half of the nodes are primaries that share the slots, half their replicas. The others ping when a larder
 * node does (cron.c), with as many gossip entries as a real one's, and answer at once. Time is virtual, so
 * minutes take seconds; each frame comes in a round of its own, as the frames of many nodes do.
 *
 * Counted is what the bus thread does in the server (cluster_core.c): waiting, receiving, the machine's
 * steps, the lease that workers read, sending. A send over loopback does the receiver's part of TCP as well;
 * ours does it for the others, theirs for us. Figures are `name value` lines; a cluster that is not calm at
 * the end is an error, since it measures something else. */
#include "base/alloc.h"
#include "base/err.h"
#include "base/num.h"
#include "cluster/machine.h"
#include "os/sock.h"
#include "server/bus_wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    NODES_MIN = 6,
    NODES_MAX = 4000,
    WARM_TIMEOUTS = 2,
    GOSSIP_SHARE = 10,
    TICK_MS = 100,
    SECOND_MS = 1000,
    WAIT_MS = 10000, /* for a frame of our own over loopback */
    FRAME_ROOM = 256 * 1024,
    KIN_SHARE = 5, /* of the node timeout: how often kin are pinged, and others */
    OTHER_SHARE = 2
};

struct peer {
    struct node *node;   /* in the world */
    int in_fd, out_fd;   /* the peer's ends of the links that it opened and that we opened */
    uint32_t in, out;    /* their numbers */
    uint64_t ping_at_ms; /* 0: it waits for our answer */
};

struct bench {
    bool replica;
    unsigned n;
    uint64_t timeout_ms, minutes, now_ms, start_ms;
    struct rng rng, machine_rng;
    struct slotmap world; /* what is true: node 0 is a primary, 1 its replica, and so on */
    struct node *self;
    struct peer *peers; /* by their place in the world */
    struct machine m;
    struct loop *loop;
    struct bus_wire *wire;
    int listener, peers_port, port;
    unsigned speaking; /* the peer whose frame is on its way */
    uint64_t heard;    /* frames that the machine was given */
    struct buf frame;  /* of a peer */
    struct {
        uint32_t link;
    } * sent; /* frames of ours that their receivers have not read */
    size_t nsent, sent_cap;
    uint64_t persisted, lease_until_ms;
    bool lease_may_fall, was_mute;
    struct str electorate; /* what our own pongs say: everybody sees the same */
    char electorate_room[64];

    /* Since the start. */
    uint64_t cpu_ns, machine_ns, lease_ns, frames_in, frames_out, bytes_in, bytes_out, odd, files;
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "bus_bench: %s: %s\n", what, why);
    exit(1);
}

static void must(int rc, const char *what)
{
    if (rc != 0)
        die(what, err_name(rc));
}

/* Of this thread: others take none of it. */
static uint64_t cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* ---- the node whose cost is counted ---------------------------------------------------------------------
 */

static void perform(struct bench *b, const struct machine_action *a)
{
    if (a->kind == ACT_SEND) {
        if (!bus_wire_send(b->wire, a->link, b->m.out.p + a->at, a->n, 0))
            die("send", "a link has ended");
        if (b->nsent == b->sent_cap)
            die("send", "too many frames at once");
        b->sent[b->nsent++].link = a->link;
        b->frames_out++;
        b->bytes_out += a->n;
    } else if (a->kind == ACT_OPEN) {
        struct peer *p = &b->peers[slotmap_find(&b->world, &a->node->id)->mark];
        if (p->out_fd >= 0 || !bus_wire_open(b->wire, a->link, "", "127.0.0.1", b->peers_port, 0))
            die("open", "a link was not opened, or twice");
        p->out = a->link;
        p->out_fd = accept(b->listener, NULL, NULL);
        sock_set_nodelay(p->out_fd);
    } else if (a->kind == ACT_PERSIST) {
        b->persisted = a->seq;
        b->files++;
    } else if (a->kind != ACT_VIEW && a->kind != ACT_STATE && a->kind != ACT_FOLLOW) {
        b->odd++;
    }
    b->lease_may_fall |= a->kind != ACT_SEND;
}

static int step(struct bench *b, const struct machine_event *e)
{
    uint64_t before = cpu_ns();
    int rc = machine_step(&b->m, e, b->now_ms);
    b->machine_ns += cpu_ns() - before;
    for (unsigned i = 0; i < b->m.nactions; i++)
        perform(b, &b->m.actions[i]);
    return rc;
}

static void on_opened(void *ctx, uint32_t link)
{
    step(ctx, &(struct machine_event){.kind = EV_LINK_UP, .link = link});
}

static void on_frame(void *ctx, uint32_t link, struct str bytes, const char *peer, const char *local)
{
    struct bench *b = ctx;
    struct peer *p = &b->peers[b->speaking];
    if (link & LINK_INBOUND)
        p->in = link;
    const struct machine_event e = {
        .kind = EV_FRAME, .link = link, .bytes = bytes, .ip = str_of(peer), .local_ip = str_of(local)};
    must(step(b, &e), "a frame");
    b->heard++;
    b->frames_in++;
    b->bytes_in += bytes.n;
}

static void on_closed(void *ctx, uint32_t link)
{
    (void)ctx;
    (void)link;
    die("a link", "it was closed");
}

/* As cluster_core.c lowers and raises it. */
static void publish_lease(struct bench *b)
{
    uint64_t before = cpu_ns();
    bool ample = b->lease_until_ms > b->now_ms + b->timeout_ms / 2;
    if (b->lease_may_fall || b->m.mute != b->was_mute || !ample)
        b->lease_until_ms = machine_lease_until_ms(&b->m);
    b->lease_may_fall = false;
    b->was_mute = b->m.mute;
    b->lease_ns += cpu_ns() - before;
}

/* The end of a round. */
static void settle(struct bench *b)
{
    publish_lease(b);
    if (b->persisted != 0) {
        const struct machine_event e = {.kind = EV_PERSISTED, .seq = b->persisted};
        b->persisted = 0;
        step(b, &e);
    }
    bus_wire_flush(b->wire);
}

static void round_of_events(struct bench *b, int timeout_ms)
{
    uint64_t before = cpu_ns();
    int n = loop_wait(b->loop, timeout_ms);
    for (int i = 0; i < n; i++) {
        struct loop_event ev = loop_event(b->loop, i);
        bus_wire_event(b->wire, &ev, (int64_t)b->now_ms);
    }
    settle(b);
    b->cpu_ns += cpu_ns() - before;
}

static void tick(struct bench *b)
{
    const struct machine_data d = {.offset = 1000, .replid = 7, .link_up = b->replica};
    uint64_t before = cpu_ns();
    step(b, &(struct machine_event){.kind = EV_DATA, .data = d});
    step(b, &(struct machine_event){.kind = EV_TICK});
    bus_wire_cron(b->wire, (int64_t)b->now_ms);
    settle(b);
    b->cpu_ns += cpu_ns() - before;
}

/* ---- the others -----------------------------------------------------------------------------------------
 */

static void put_gossip(struct bench *b, struct frame_writer *w, const struct node *from)
{
    for (unsigned left = b->n / GOSSIP_SHARE < 3 ? 3 : b->n / GOSSIP_SHARE; left > 0;) {
        const struct node *n = b->world.nodes[rng_below(&b->rng, b->n)];
        if (n == from || n == b->self)
            continue;
        struct frame_gossip g = {.id = n->id,
                                 .pong_s = (uint32_t)(b->now_ms / SECOND_MS),
                                 .port = n->port,
                                 .cport = n->cport,
                                 .flags = (uint16_t)(n->flags & NODE_WIRE)};
        memcpy(g.ip, n->ip, NODE_IP_MAX);
        frame_put_gossip(w, &g);
        left--;
    }
}

static void send_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = send(fd, p, n, MSG_NOSIGNAL);
        if (done <= 0)
            die("a peer's send", strerror(errno));
        p += done;
        n -= (size_t)done;
    }
}

/* The peer says a PING or PONG, and our node hears it. */
static void say(struct bench *b, struct peer *p, enum frame_type type, int fd, uint32_t seq)
{
    const struct node *n = p->node, *owner = n->primary != NULL ? n->primary : n;
    struct frame_writer w;
    struct frame_header h = {
        .type = (uint16_t)type,
        .port = n->port,
        .cport = n->cport,
        .flags = (uint16_t)(n->flags & NODE_WIRE),
        .current_epoch = b->n,
        .config_epoch = owner->config_epoch,
        .offset = 1000,
        .sender = n->id,
        .slots = owner->slots,
        .mflags = {FRAME_EXTENSIONS},
        .larder = {.is = true, .seq = seq, .data_epoch = owner->config_epoch, .replid = 7}};
    if (n->primary != NULL)
        h.primary = n->primary->id;
    if (type == FRAME_PONG && node_votes(n) && node_votes(b->self))
        h.larder.promise_ms = (uint32_t)b->timeout_ms;
    buf_clear(&b->frame);
    frame_begin(&w, &b->frame, &h);
    put_gossip(b, &w, n);
    frame_put_ext(&w, EXT_SHARD, node_id_str(&n->shard));
    if (type == FRAME_PONG && node_votes(n) && b->electorate.n > 0)
        frame_put_ext(&w, EXT_ELECTORATE, b->electorate);
    must(frame_end(&w), "a peer's frame");
    uint64_t heard = b->heard;
    b->speaking = n->mark;
    send_all(fd, b->frame.p, b->frame.n);
    for (int tries = 0; b->heard == heard; tries++) {
        if (tries == WAIT_MS)
            die("a peer's frame", "it did not arrive");
        round_of_events(b, tries == 0 ? 0 : 1);
    }
}

static void read_exactly(int fd, char *p, size_t n)
{
    while (n > 0) {
        ssize_t got = recv(fd, p, n, 0);
        if (got <= 0)
            die("a peer's recv", got == 0 ? "closed" : strerror(errno));
        p += got;
        n -= (size_t)got;
    }
}

static bool kin(const struct node *a, const struct node *b)
{
    return memcmp(a->shard.c, b->shard.c, NODE_ID) == 0 || (node_votes(a) && node_votes(b));
}

static struct peer *peer_of(struct bench *b, uint32_t link)
{
    for (unsigned i = 0; i < b->n; i++)
        if (b->peers[i].in == link || b->peers[i].out == link)
            return &b->peers[i];
    die("a frame", "its link has no peer");
    return NULL;
}

static void note_electorate(struct bench *b, const struct frame *f)
{
    struct frame_ext e;
    size_t at = 0;
    while (frame_ext_next(f, &at, &e)) {
        if (e.type != EXT_ELECTORATE || e.data.n > sizeof b->electorate_room)
            continue;
        memcpy(b->electorate_room, e.data.p, e.data.n);
        b->electorate = (struct str){b->electorate_room, e.data.n};
    }
}

/* Somebody reads what our node has said, and answers. */
static void hear(struct bench *b, uint32_t link)
{
    static char bytes[FRAME_ROOM];
    struct peer *p = peer_of(b, link);
    int fd = link & LINK_INBOUND ? p->in_fd : p->out_fd;
    struct frame f;
    size_t n = 0;
    read_exactly(fd, bytes, 8);
    must(frame_length((struct str){bytes, 8}, &n), "a frame of ours");
    if (n > sizeof bytes)
        die("a frame of ours", "it is too long");
    read_exactly(fd, bytes + 8, n - 8);
    must(frame_decode((struct str){bytes, n}, &f), "a frame of ours");
    if (f.h.type == FRAME_PING) {
        say(b, p, FRAME_PONG, fd, f.h.larder.seq);
    } else if (f.h.type == FRAME_PONG && fd == p->in_fd) {
        note_electorate(b, &f);
        uint64_t share = kin(p->node, b->self) ? KIN_SHARE : OTHER_SHARE;
        p->ping_at_ms = b->now_ms + b->timeout_ms / share + rng_below(&b->rng, TICK_MS);
    } else {
        b->odd++;
    }
}

static void hear_all(struct bench *b)
{
    for (size_t i = 0; i < b->nsent; i++) /* it grows meanwhile */
        hear(b, b->sent[i].link);
    b->nsent = 0;
}

static void ping_us(struct bench *b, struct peer *p)
{
    p->ping_at_ms = 0;
    say(b, p, FRAME_PING, p->in_fd, 1);
    hear_all(b);
}

/* ---- the cluster ----------------------------------------------------------------------------------------
 */

static void make_world(struct bench *b)
{
    unsigned primaries = (b->n + 1) / 2;
    slotmap_init(&b->world);
    for (unsigned i = 0; i < b->n; i++) {
        struct node_id id;
        struct node *n;
        for (unsigned k = 0; k < NODE_ID; k++)
            id.c[k] = "0123456789abcdef"[rng_below(&b->rng, 16)];
        must(slotmap_add(&b->world, &id, i % 2 == 0 ? NODE_PRIMARY | NODE_MIGRATE_TO : NODE_REPLICA, &n),
             "a node");
        n->primary = i % 2 == 0 ? NULL : b->world.nodes[i - 1];
        n->shard = n->primary == NULL ? id : n->primary->id;
        n->config_epoch = n->primary == NULL ? i + 1 : 0;
        n->port = (uint16_t)(i + 1);
        n->cport = (uint16_t)(i + 10001);
        n->mark = i;
        memcpy(n->ip, "127.0.0.1", 10);
    }
    for (unsigned slot = 0; slot < SLOT_COUNT; slot++)
        slotmap_assign(&b->world, slot, b->world.nodes[slot * primaries / SLOT_COUNT * 2]);
    b->self = b->world.nodes[b->replica];
}

static void start_machine(struct bench *b)
{
    const struct bus_wire_calls calls = {b, on_opened, on_frame, on_closed};
    struct machine_config c = {.node_timeout_ms = b->timeout_ms,
                               .full_coverage = true,
                               .replica_migration = true,
                               .migration_barrier = 1,
                               .validity_factor = 10,
                               .port = b->self->port,
                               .cport = b->self->cport};
    struct nodesconf nc = {.map = &b->world, .self = b->self, .current_epoch = b->n, .vote_epoch = b->n};
    struct buf text;
    unsigned line;
    buf_init(&text);
    b->self->flags |= NODE_MYSELF;
    must(nodesconf_write(&nc, &text), "nodes.conf");
    b->self->flags &= ~(uint32_t)NODE_MYSELF;
    memcpy(c.ip, b->self->ip, NODE_IP_MAX);
    must(machine_restore(&b->m, &c, buf_str(&text), &b->machine_rng, b->now_ms, &line), "nodes.conf");
    buf_release(&text);
    must(loop_new(&b->loop, false), "a loop");
    must(bus_wire_new(&b->wire, b->loop, &calls), "the wire");
}

static int port_of(int fd)
{
    struct sockaddr_in a;
    socklen_t n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        die("getsockname", strerror(errno));
    return ntohs(a.sin_port);
}

static int listen_somewhere(void)
{
    struct sock_err err;
    int fd = sock_listen_tcp("127.0.0.1", 0, 511, false, &err);
    if (fd < 0)
        die("listen", err.text);
    return fd;
}

/* Each opens its link to us; ours to them the machine opens. */
static void start_peers(struct bench *b)
{
    struct sock_err err;
    int free_port = listen_somewhere();
    b->port = port_of(free_port);
    close(free_port);
    must(bus_wire_listen(b->wire, "127.0.0.1", b->port, false), "listen");
    b->listener = listen_somewhere();
    b->peers_port = port_of(b->listener);
    b->peers = mem_zalloc(b->n * sizeof *b->peers);
    b->sent_cap = 16 * (size_t)b->n;
    b->sent = mem_zalloc(b->sent_cap * sizeof *b->sent);
    if (b->peers == NULL || b->sent == NULL)
        die("peers", "out of memory");
    for (unsigned i = 0; i < b->n; i++) {
        struct peer *p = &b->peers[i];
        *p = (struct peer){.node = b->world.nodes[i], .in_fd = -1, .out_fd = -1};
        if (p->node == b->self)
            continue;
        p->in_fd = sock_connect_tcp("127.0.0.1", b->port, WAIT_MS, false, &err);
        if (p->in_fd < 0)
            die("connect", err.text);
        sock_set_nodelay(p->in_fd);
        p->ping_at_ms = b->now_ms + 1 + rng_below(&b->rng, b->timeout_ms / KIN_SHARE);
        round_of_events(b, 0);
    }
}

static void raise_limit(const struct bench *b)
{
    struct rlimit r;
    rlim_t wanted = 4 * b->n + 64;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || (r.rlim_max != RLIM_INFINITY && r.rlim_max < wanted))
        die("open files", "the hard limit (ulimit -Hn) is less than four for each node");
    r.rlim_cur = r.rlim_cur < wanted ? wanted : r.rlim_cur;
    (void)setrlimit(RLIMIT_NOFILE, &r);
}

/* ---- the run --------------------------------------------------------------------------------------------
 */

static void forget_figures(struct bench *b)
{
    b->cpu_ns = b->machine_ns = b->lease_ns = 0;
    b->frames_in = b->frames_out = b->bytes_in = b->bytes_out = b->odd = b->files = 0;
}

static void one_ms(struct bench *b)
{
    b->now_ms++;
    if (b->now_ms % TICK_MS == 0)
        tick(b);
    hear_all(b);
    if (b->now_ms % SECOND_MS == 0) { /* each node pings one more a second: one of them us */
        struct peer *p = &b->peers[rng_below(&b->rng, b->n)];
        if (p->ping_at_ms != 0)
            p->ping_at_ms = b->now_ms;
    }
    for (unsigned i = 0; i < b->n; i++)
        if (b->peers[i].ping_at_ms != 0 && b->peers[i].ping_at_ms <= b->now_ms)
            ping_us(b, &b->peers[i]);
    for (int tries = 0; b->now_ms % TICK_MS == 0 && tries < 2; tries++) { /* links that have come up */
        round_of_events(b, 0);
        hear_all(b);
    }
}

static void check_calm(struct bench *b)
{
    for (unsigned i = 0; i < b->m.map.n; i++)
        if (node_is(b->m.map.nodes[i], NODE_PFAIL | NODE_FAIL | NODE_HANDSHAKE | NODE_NOADDR))
            die("the cluster", "a node is suspected");
    if (b->m.map.n != b->n || !b->m.ok || b->odd != 0 || b->files != 0)
        die("the cluster", "it is not ok, or something happened in it");
    if (!b->replica && !machine_may_write(&b->m, b->now_ms))
        die("the cluster", "the primary may not write");
}

static void show(const struct bench *b)
{
    double ms = (double)(b->now_ms - b->start_ms), percent = 100.0 / (ms * 1e6); /* of ns */
    printf("role %s\nnodes %u\ntimeout_ms %llu\nseconds %.0f\n", b->replica ? "replica" : "primary", b->n,
           (unsigned long long)b->timeout_ms, ms / SECOND_MS);
    printf("frames_in_s %.1f\nframes_out_s %.1f\n", (double)b->frames_in * 1000 / ms,
           (double)b->frames_out * 1000 / ms);
    printf("bytes_in_s %.0f\nbytes_out_s %.0f\n", (double)b->bytes_in * 1000 / ms,
           (double)b->bytes_out * 1000 / ms);
    printf("machine_percent %.3f\nlease_percent %.3f\nwire_percent %.3f\ncpu_percent %.3f\n",
           (double)b->machine_ns * percent, (double)b->lease_ns * percent,
           (double)(b->cpu_ns - b->machine_ns - b->lease_ns) * percent, (double)b->cpu_ns * percent);
}

static uint64_t number(const char *text, uint64_t min, uint64_t max)
{
    int64_t v;
    if (!num_parse_i64(str_of(text), &v) || v < (int64_t)min || v > (int64_t)max) {
        fprintf(stderr, "usage: bus_bench [primary|replica [nodes [minutes [node timeout ms]]]]\n");
        exit(2);
    }
    return (uint64_t)v;
}

int main(int argc, char **argv)
{
    static struct bench b;
    const char *role = argc > 1 ? argv[1] : "primary";
    b.replica = strcmp(role, "replica") == 0;
    if (!b.replica && strcmp(role, "primary") != 0)
        number("", 0, 0);
    b.n = (unsigned)number(argc > 2 ? argv[2] : "1000", NODES_MIN, NODES_MAX);
    b.minutes = number(argc > 3 ? argv[3] : "2", 1, 1000);
    b.timeout_ms = number(argc > 4 ? argv[4] : "15000", 500, 1000000);
    b.now_ms = 1000000;
    rng_init(&b.rng, 1);
    rng_init(&b.machine_rng, 2);
    buf_init(&b.frame);
    raise_limit(&b);
    make_world(&b);
    start_machine(&b);
    start_peers(&b);
    for (uint64_t until = b.now_ms + WARM_TIMEOUTS * b.timeout_ms; b.now_ms < until;)
        one_ms(&b);
    forget_figures(&b);
    b.start_ms = b.now_ms;
    while (b.now_ms < b.start_ms + b.minutes * 60 * SECOND_MS)
        one_ms(&b);
    check_calm(&b);
    show(&b);
    return 0;
}
