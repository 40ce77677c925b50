/* Time, machines and disks. */
#include "sim.h"

#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>

enum { CHAOS_MS = 15000, HEAL_MS = 60000, LAST_MS = 15000, START_MS = 3000, SLOW_DISK_MS = 300 };

void sim_fail(struct sim *s, const char *fmt, ...)
{
    va_list ap;
    if (s->failure[0] != '\0')
        return;
    va_start(ap, fmt);
    int n = snprintf(s->failure, SIM_TEXT, "at %llu ms: ", (unsigned long long)s->now);
    vsnprintf(s->failure + n, SIM_TEXT - (size_t)n, fmt, ap);
    va_end(ap);
}

void sim_note(const struct sim *s, const char *fmt, ...)
{
    va_list ap;
    if (!s->trace)
        return;
    va_start(ap, fmt);
    fprintf(stderr, "%6llu ", (unsigned long long)s->now);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
}

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void sim_push(struct sim *s, struct sim_event e, uint64_t in_ms)
{
    if (s->nheap == s->heap_cap) {
        s->heap_cap = s->heap_cap == 0 ? 1024 : s->heap_cap * 2;
        s->heap = realloc(s->heap, s->heap_cap * sizeof(e));
        if (s->heap == NULL)
            abort();
    }
    e.at = s->now + in_ms;
    e.order = s->order++;
    size_t i = s->nheap++;
    while (i > 0 && earlier(&e, &s->heap[(i - 1) / 2])) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = e;
}

static struct sim_event pop(struct sim *s)
{
    struct sim_event top = s->heap[0], last = s->heap[--s->nheap];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < s->nheap) {
        if (child + 1 < s->nheap && earlier(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!earlier(&s->heap[child], &last))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return top;
}

uint64_t sim_clock(const struct sim *s, int node)
{
    const struct sim_node *n = &s->nodes[node];
    return (uint64_t)(n->clock_ms + (int64_t)((double)s->now * n->rate));
}

int sim_find(const struct sim *s, const struct node_id *id)
{
    for (int i = 0; i < s->n; i++) {
        if (node_id_eq(&s->nodes[i].id, id))
            return i;
    }
    return -1;
}

/* The newest text replaces one that has not been begun; an fsync takes its time. */
static void write_disk(struct sim *s, int node, struct str text, uint64_t seq)
{
    struct sim_node *n = &s->nodes[node];
    free(n->writing);
    n->writing = malloc(text.n);
    if (n->writing == NULL)
        abort();
    memcpy(n->writing, text.p, text.n);
    n->nwriting = text.n;
    n->writing_seq = seq;
    uint64_t slow =
        rng_below(&s->rng, 20) == 0 && !s->calm ? rng_below(&s->rng, SLOW_DISK_MS) : rng_below(&s->rng, 4);
    sim_push(s, (struct sim_event){.kind = SIM_DISK, .node = node, .life = n->life, .seq = seq}, slow);
}

static void disk_done(struct sim *s, int node, uint64_t seq)
{
    struct sim_node *n = &s->nodes[node];
    if (n->writing == NULL || n->writing_seq != seq)
        return;
    free(n->disk);
    n->disk = n->writing;
    n->ndisk = n->nwriting;
    n->writing = NULL;
    check_disk(s, node);
    sim_step(s, node, &(struct machine_event){.kind = EV_PERSISTED, .seq = seq});
}

static void follow(struct sim *s, int node, const struct node *to)
{
    struct sim_node *n = &s->nodes[node];
    n->following = sim_find(s, &to->id);
    n->synced = false;
    n->pause = false;
    n->heard_ms = s->now;
}

static void act(struct sim *s, int node, const struct machine_action *a)
{
    struct sim_node *n = &s->nodes[node];
    struct str bytes = {n->m.out.p + a->at, a->n};
    switch (a->kind) {
    case ACT_OPEN: net_open(s, node, a->node, a->link); break;
    case ACT_CLOSE: net_close(s, node, a->link); break;
    case ACT_SEND:
        check_sent(s, node, a->link, bytes);
        net_send(s, node, a->link, bytes);
        break;
    case ACT_PERSIST: write_disk(s, node, bytes, a->seq); break;
    case ACT_PROMOTE:
        s->elections++;
        sim_note(s, "node %d is elected in epoch %llu", node, (unsigned long long)n->m.self->config_epoch);
        watch_promoted(s, node, n->ordered);
        n->replaces = n->following;
        groups_promote(s, node, n->following);
        data_promote(s, node);
        break;
    case ACT_FOLLOW:
        follow(s, node, a->node);
        sim_note(s, "node %d follows node %d", node, n->following);
        break;
    case ACT_DROP: groups_drop(s, node, (const uint8_t *)bytes.p); break;
    case ACT_FLUSH: n->data.n = n->saved.n = 0; break;
    case ACT_PAUSE: n->pause = true; break;
    case ACT_RESUME: n->pause = false; break;
    default: break;
    }
}

void sim_step(struct sim *s, int node, const struct machine_event *e)
{
    struct sim_node *n = &s->nodes[node];
    struct watch w;
    struct frame f;
    bool read = e->kind == EV_FRAME && frame_decode(e->bytes, &f) == 0;
    s->steps++;
    if (read)
        watch_arrives(s, node, &f, &w);
    n->ordered = n->m.manual != MANUAL_NONE;
    bool asks = n->m.election_sent && node_is(n->m.self, NODE_PRIMARY); /* in its own place */
    uint64_t epoch = n->m.election_epoch;
    (void)machine_step(&n->m, e, sim_clock(s, node));
    for (unsigned i = 0; i < n->m.nactions; i++)
        act(s, node, &n->m.actions[i]);
    watch_step(s, node, read ? &w : NULL);
    if (asks && node_is(n->m.self, NODE_PRIMARY) && n->m.self->config_epoch == epoch)
        groups_renew(s, node);
    groups_step(s, node);
    check_step(s, node);
}

bool sim_order(struct sim *s, int node, const struct machine_command *c)
{
    sim_step(s, node, &(struct machine_event){.kind = EV_COMMAND, .command = c});
    return s->nodes[node].m.error[0] == '\0';
}

static void boot(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    unsigned line;
    n->life++;
    int err = machine_restore(&n->m, &s->config, (struct str){n->disk, n->ndisk}, &n->rng, sim_clock(s, node),
                              &line);
    if (err != 0) {
        sim_fail(s, "node %d cannot read its nodes.conf: %s in line %u", node, err_name(err), line);
        return;
    }
    n->m.config.cport = (uint16_t)(10001 + node);
    n->m.config.port = (uint16_t)(1 + node);
    n->alive = true;
    sim_note(s, "node %d is back", node);
    check_disk(s, node);
    n->replaces_in = 0; /* it has never said so */
    watch_boot(s, node);
    n->owns = groups_in(n->m.self->slots);
    n->following = n->m.self->primary == NULL ? -1 : sim_find(s, &n->m.self->primary->id);
    n->synced = n->pause = false;
    n->heard_ms = s->now;
    sim_push(s, (struct sim_event){.kind = SIM_TICK, .node = node, .life = n->life}, rng_below(&s->rng, 50));
    sim_push(s, (struct sim_event){.kind = SIM_DATA, .node = node, .life = n->life}, 0);
}

void sim_crash(struct sim *s, int node, uint64_t back_ms)
{
    struct sim_node *n = &s->nodes[node];
    if (!n->alive)
        return;
    n->alive = false;
    sim_note(s, "node %d crashes", node);
    n->life++;
    net_crash(s, node);
    moves_crash(s, node);
    groups_crash(s, node);
    data_crash(s, node);
    machine_release(&n->m);
    if (n->writing != NULL &&
        rng_below(&s->rng, 2) == 0) { /* it may have got there although nobody was told */
        free(n->disk);
        n->disk = n->writing;
        n->ndisk = n->nwriting;
    } else {
        free(n->writing);
    }
    n->writing = NULL;
    sim_push(s, (struct sim_event){.kind = SIM_RESTART, .node = node}, back_ms);
}

static void handle(struct sim *s, struct sim_event *e)
{
    struct sim_node *n = &s->nodes[e->node];
    bool mine = n->alive && n->life == e->life;
    switch (e->kind) {
    case SIM_TICK:
        if (mine) {
            sim_step(s, e->node, &(struct machine_event){.kind = EV_TICK});
            sim_push(s, *e, machine_tick_ms(&n->m));
        }
        break;
    case SIM_DISK:
        if (mine)
            disk_done(s, e->node, e->seq);
        break;
    case SIM_DATA:
        if (mine) {
            data_tick(s, e->node);
            sim_push(s, *e, 40 + rng_below(&s->rng, 40));
        }
        break;
    case SIM_FAULT:
        if (!s->calm)
            fault_strike(s);
        break;
    case SIM_HEAL_LINK:
        sim_note(s, "the cuts are healed");
        if (!s->calm)
            memset(s->cut, 0, sizeof(s->cut));
        break;
    case SIM_CRASH:
        if (!s->calm)
            sim_crash(s, e->node, e->seq);
        break;
    case SIM_PART:
        if (!s->calm)
            fault_part(s, (uint32_t)e->seq);
        break;
    case SIM_RESTART:
        if (!n->alive)
            boot(s, e->node);
        break;
    case SIM_MOVER:
    case SIM_LETTER:
    case SIM_ANSWER:
    case SIM_MOVE:
    case SIM_MOVE_FAULT: moves_event(s, e); break;
    default: net_event(s, e);
    }
}

static void node_text(struct sim *s, int node, int primaries, struct buf *out)
{
    for (int i = 0; i < s->n; i++) {
        int p = i % primaries, epoch = s->equal_epochs ? 1 : i + 1;
        buf_printf(out, "%.*s 127.0.0.1:%d@%d %s%s", NODE_ID, s->nodes[i].id.c, i + 1, 10001 + i,
                   i == node ? "myself," : "", i < primaries ? "master -" : "slave ");
        if (i >= primaries)
            buf_printf(out, "%.*s", NODE_ID, s->nodes[p].id.c);
        buf_printf(out, " 0 0 %d connected", i < primaries ? epoch : 0);
        /* Equal epochs: the first slot is claimed by two. */
        bool robbed = s->equal_epochs && i == 0 && node == 1, robs = s->equal_epochs && i == 1 && node == 1;
        if (i < primaries)
            buf_printf(out, robs ? " 0 %d-%d" : " %d-%d", i * SLOT_COUNT / primaries + robbed,
                       (i + 1) * SLOT_COUNT / primaries - 1);
        buf_putc(out, '\n');
    }
    buf_printf(out, "vars currentEpoch %d lastVoteEpoch 0 larderDataEpoch 0\n",
               s->equal_epochs ? 1 : primaries);
}

static void begin(struct sim *s, uint64_t seed)
{
    rng_init(&s->rng, seed);
    s->n = 3 + (int)rng_below(&s->rng, SIM_NODES - 2);
    s->config = (struct machine_config){.node_timeout_ms = 500 + rng_below(&s->rng, 1500),
                                        .full_coverage = rng_below(&s->rng, 2) == 0,
                                        .replica_migration = true,
                                        .migration_barrier = 1,
                                        .validity_factor = 10};
    bool harsh = rng_below(&s->rng, 2) == 0; /* worse than TCP */
    s->loss = harsh ? rng_unit(&s->rng) * 0.05 : 0;
    s->dup = harsh ? rng_unit(&s->rng) * 0.05 : 0;
    s->reorder = harsh ? rng_unit(&s->rng) * 0.1 : 0;
    s->delay_ms = 1 + (unsigned)rng_below(&s->rng, 30);
    for (int i = 0; i < s->n; i++) {
        struct sim_node *n = &s->nodes[i];
        rng_init(&n->rng, seed * 31 + (uint64_t)i);
        for (int c = 0; c < NODE_ID; c++)
            n->id.c[c] = "0123456789abcdef"[rng_below(&s->rng, 16)];
        n->clock_ms = (int64_t)(1000000 + rng_below(&s->rng, 1000000000));
        n->rate = 0.99 + rng_unit(&s->rng) * 0.02;
        n->following = n->replaces = -1;
        n->reign = ++s->reigns;
    }
    int primaries = s->n <= 5 ? 3 : s->n / 2 < 3 ? 3 : s->n / 2;
    s->sharp = seed % 2 != 0;
    if (s->sharp) { /* shards of several replicas; a cluster fresh from ADDSLOTS */
        primaries = 3 + (int)rng_below(&s->rng, (uint64_t)primaries - 2);
        s->equal_epochs = rng_below(&s->rng, 4) == 0;
    }
    for (int i = 0; i < s->n; i++) {
        struct buf text;
        buf_init(&text);
        node_text(s, i, primaries, &text);
        s->nodes[i].ndisk = text.n;
        s->nodes[i].disk = malloc(text.n);
        memcpy(s->nodes[i].disk, text.p, text.n);
        buf_release(&text);
        boot(s, i);
    }
}

/* All faults end; everybody comes back; then one view within HEAL_MS. */
static void calm(struct sim *s)
{
    s->calm = true;
    sim_note(s, "no more faults");
    s->loss = s->dup = s->reorder = 0;
    memset(s->cut, 0, sizeof(s->cut));
    for (int i = 0; i < s->n; i++)
        s->nodes[i].paused_until = s->now;
}

static void until(struct sim *s, uint64_t end, bool whole)
{
    const char *why = NULL;
    uint64_t look = s->now;
    while (s->nheap > 0 && s->heap[0].at <= end && s->failure[0] == '\0') {
        struct sim_event e = pop(s);
        s->now = e.at;
        struct sim_node *n = &s->nodes[e.node];
        if (e.kind < SIM_FAULT && n->paused_until > s->now) {
            sim_push(s, e, n->paused_until - s->now); /* it sleeps; its mail waits */
            continue;
        }
        handle(s, &e);
        if (e.kind == SIM_FRAME)
            free(e.bytes);
        if (whole && s->now - look > 500) {
            look = s->now;
            if (check_whole(s, &why))
                return;
        }
    }
    if (whole && s->failure[0] == '\0' && !check_whole(s, &why))
        sim_fail(s, "not one whole cluster in time: %s", why);
    s->now = end > s->now ? end : s->now;
}

bool sim_run(struct sim *s, uint64_t seed, bool moving, bool trace)
{
    memset(s, 0, sizeof(*s));
    s->seed = seed;
    s->moving = moving;
    s->trace = trace;
    begin(s, seed);
    until(s, START_MS, false);
    s->started = true;
    sim_push(s, (struct sim_event){.kind = SIM_FAULT}, 0);
    if (moving)
        sim_push(s, (struct sim_event){.kind = SIM_MOVE}, 0);
    until(s, s->now + CHAOS_MS, false);
    if (s->sharp && rng_below(&s->rng, 3) == 0) {
        calm(s);
        until(s, s->now + LAST_MS, false);
        fault_last(s);
        until(s, s->now + LAST_MS, false);
        check_agreed(s);
    }
    calm(s);
    until(s, s->now + HEAL_MS, true);
    if (s->failure[0] != '\0')
        check_note(s);
    for (int i = 0; i < s->n; i++) {
        if (s->nodes[i].alive)
            machine_release(&s->nodes[i].m);
        free(s->nodes[i].disk);
        free(s->nodes[i].writing);
    }
    for (size_t i = 0; i < s->nheap; i++) {
        if (s->heap[i].kind == SIM_FRAME)
            free(s->heap[i].bytes);
    }
    free(s->heap);
    free(s->log);
    s->heap = NULL;
    return s->failure[0] == '\0';
}
