#include "client/topo.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"
#include "client/error.h"
#include "os/random.h"

#define REFRESH_GAP_NS ((int64_t)100 * 1000 * 1000)       /* between two readings of the map */
#define REFRESH_AGE_NS ((int64_t)60 * 1000 * 1000 * 1000) /* replicas come and go without a MOVED */

int topo_init(struct topo *t, const struct settings *set, struct larder_error *err)
{
    uint64_t seed[2];
    *t = (struct topo){.set = set, .kind = set->o.topology};
    t->nodes = mem_zalloc(TOPO_NODES_MAX * sizeof(struct node *));
    t->ring = larder_ring_new(set->o.placement, set->o.ring_points);
    if (t->nodes == NULL || t->ring == NULL) {
        mem_free(t->nodes);
        larder_ring_free(t->ring);
        return fail(err, LARDER_ERR_MEMORY, "out of memory");
    }
    os_random(seed, sizeof seed);
    slotmap_init(&t->slots);
    budget_init(&t->budget, set->o.retry_percent);
    rng_init(&t->rng, seed[0]);
    t->outages = seed[1];
    pthread_mutex_init(&t->lock, NULL);
    return 0;
}

void topo_release(struct topo *t)
{
    for (uint32_t i = 0; i < t->nnodes; i++)
        mem_free(t->nodes[i]);
    mem_free(t->nodes);
    larder_ring_free(t->ring);
    slotmap_release(&t->slots);
    pthread_mutex_destroy(&t->lock);
}

static void hold(struct topo *t)
{
    pthread_mutex_lock(&t->lock);
}

static void let_go(struct topo *t)
{
    pthread_mutex_unlock(&t->lock);
}

/* ---- nodes ---- */

static int find(struct topo *t, const char *name)
{
    for (uint32_t i = 0; i < t->nnodes; i++)
        if (strcmp(t->nodes[i]->address.name, name) == 0)
            return (int)i;
    return -1;
}

static int intern(struct topo *t, const struct address *a)
{
    int found = find(t, a->name);
    uint32_t n = t->nnodes;
    if (found >= 0)
        return found;
    if (n == TOPO_NODES_MAX)
        return LARDER_ERR_ARGUMENT;
    t->nodes[n] = mem_zalloc(sizeof(struct node));
    if (t->nodes[n] == NULL)
        return LARDER_ERR_MEMORY;
    t->nodes[n]->address = *a;
    atomic_store_explicit(&t->nnodes, n + 1, memory_order_release);
    return (int)n;
}

int topo_intern(struct topo *t, const struct address *a)
{
    hold(t);
    int number = intern(t, a);
    let_go(t);
    return number;
}

int topo_find(struct topo *t, const char *name)
{
    hold(t);
    int number = find(t, name);
    let_go(t);
    return number;
}

struct node *topo_node(struct topo *t, uint32_t number)
{
    ASSERT(number < atomic_load_explicit(&t->nnodes, memory_order_acquire));
    return t->nodes[number];
}

int topo_ring_add(struct topo *t, const struct address *a, unsigned weight, struct larder_error *err)
{
    hold(t);
    int number = intern(t, a);
    int status = number < 0 ? number : ring_add(t->ring, a->name, weight, (unsigned)number);
    if (status == 0)
        t->nodes[number]->gone = false;
    let_go(t);
    return status == 0 ? 0 : fail(err, status, "%s: %s", a->name, larder_status_name(status));
}

int topo_ring_remove(struct topo *t, const char *name, struct larder_error *err)
{
    hold(t);
    int number = find(t, name), status = larder_ring_remove(t->ring, name);
    if (status == 0 && number >= 0)
        t->nodes[number]->gone = true;
    let_go(t);
    return status == 0 ? 0 : fail(err, status, "%s: %s", name, larder_status_name(status));
}

static int owner(struct topo *t, struct str key)
{
    unsigned tag;
    if (t->kind == LARDER_TOPOLOGY_RING)
        return ring_lookup(t->ring, key, NULL, &tag, 1) == 1 ? (int)tag : -1;
    if (t->kind != LARDER_TOPOLOGY_CLUSTER)
        return 0;
    const struct slotmap_shard *shard = slotmap_find(&t->slots, slot_of(key));
    return shard != NULL ? (int)shard->primary : -1;
}

int topo_owner(struct topo *t, struct str key)
{
    hold(t);
    int number = owner(t, key);
    let_go(t);
    return number;
}

unsigned topo_primaries(struct topo *t, uint32_t *out, unsigned max)
{
    unsigned n = 0;
    hold(t);
    if (t->kind == LARDER_TOPOLOGY_CLUSTER) {
        for (uint32_t i = 0; i < t->slots.nshards && n < max; i++)
            out[n++] = t->slots.shards[i].primary;
    } else {
        for (uint32_t i = 0; i < t->nnodes && n < max; i++)
            if (!t->nodes[i]->gone)
                out[n++] = i;
    }
    let_go(t);
    return n;
}

/* ---- routing ---- */

static bool was_tried(const struct topo_ask *ask, uint32_t node)
{
    for (unsigned i = 0; i < ask->ntried; i++)
        if (ask->tried[i] == node)
            return true;
    return false;
}

static bool allows(struct topo *t, uint32_t node, int64_t now_ns)
{
    return breaker_allows(&t->nodes[node]->breaker, &t->set->breaker, now_ns);
}

/* The first of the candidates that has not failed this command and whose breaker lets it through; else
 * the first at all whose breaker does. A breaker is asked last, since asking may use up a probe. */
static int choose(struct topo *t, const struct topo_ask *ask, const uint32_t *candidates, unsigned n,
                  int64_t now_ns)
{
    for (int again = 0; again < 2; again++)
        for (unsigned i = 0; i < n; i++)
            if (was_tried(ask, candidates[i]) == (again == 1) && allows(t, candidates[i], now_ns))
                return (int)i;
    return -1;
}

static int unavailable(struct topo *t, uint32_t node, int64_t now_ns, struct larder_error *err)
{
    int64_t wait_ms = (t->nodes[node]->breaker.probe_ns - now_ns) / 1000000;
    return fail(err, LARDER_ERR_UNAVAILABLE, "%s: keeps failing, the next attempt is in %d ms",
                t->nodes[node]->address.name, (int)(wait_ms > 0 ? wait_ms : 0));
}

static int route_ring(struct topo *t, const struct topo_ask *ask, int64_t now_ns, struct topo_route *out,
                      struct larder_error *err)
{
    unsigned candidates[TOPO_CANDIDATES_MAX];
    size_t n = ring_lookup(t->ring, ask->key, ask->place, candidates, 1);
    if (n == 0)
        return fail(err, LARDER_ERR_UNAVAILABLE, "the ring is empty");
    /* Others are looked for only when its own node has failed: going round the circle is what costs. */
    bool doubtful = atomic_load_explicit(&t->nodes[candidates[0]]->failing, memory_order_relaxed) ||
                    was_tried(ask, candidates[0]);
    if (doubtful && ask->stand_in && t->set->o.failover)
        n = ring_lookup(t->ring, ask->key, ask->place, candidates, TOPO_CANDIDATES_MAX);
    int chosen = choose(t, ask, candidates, (unsigned)n, now_ns);
    if (chosen < 0)
        return unavailable(t, candidates[0], now_ns, err);
    *out = (struct topo_route){.node = candidates[chosen], .owner = candidates[0], .standin = chosen > 0};
    out->outage = t->nodes[candidates[0]]->outage;
    return 0;
}

/* A shard's nodes in the order in which this command wants them. */
static unsigned cluster_candidates(struct topo *t, const struct topo_ask *ask,
                                   const struct slotmap_shard *shard, uint32_t *out)
{
    enum larder_read_from from = ask->read ? t->set->o.read_from : LARDER_READ_PRIMARY;
    bool replicas = ask->read && (from != LARDER_READ_PRIMARY || t->set->o.failover);
    unsigned n = 0, turn = shard->nreplicas > 0 ? (unsigned)rng_below(&t->rng, shard->nreplicas) : 0;
    if (from == LARDER_READ_PRIMARY ||
        (from == LARDER_READ_ANY && rng_below(&t->rng, shard->nreplicas + 1) == 0))
        out[n++] = shard->primary;
    for (unsigned i = 0; replicas && i < shard->nreplicas && n < TOPO_CANDIDATES_MAX - 1; i++)
        out[n++] = shard->replicas[(turn + i) % shard->nreplicas];
    if (n == 0 || (out[0] != shard->primary && from != LARDER_READ_PRIMARY))
        out[n++] = shard->primary;
    return n;
}

static int route_cluster(struct topo *t, const struct topo_ask *ask, int64_t now_ns, struct topo_route *out,
                         struct larder_error *err)
{
    uint32_t candidates[TOPO_CANDIDATES_MAX];
    const struct slotmap_shard *shard = slotmap_find(&t->slots, ask->slot);
    if (shard == NULL) {
        t->refresh_due = true;
        return fail(err, LARDER_ERR_CLUSTER, "nobody serves slot %d", ask->slot);
    }
    unsigned n = cluster_candidates(t, ask, shard, candidates);
    int chosen = choose(t, ask, candidates, n, now_ns);
    if (chosen < 0) {
        t->refresh_due = true;
        return unavailable(t, shard->primary, now_ns, err);
    }
    *out = (struct topo_route){.node = candidates[chosen], .owner = shard->primary};
    out->readonly = out->node != shard->primary;
    return 0;
}

/* How little a keyless command likes a node: 0 healthy, 1 failing, 2 has failed it. */
static int dislike(struct topo *t, const struct topo_ask *ask, uint32_t node)
{
    if (was_tried(ask, node))
        return 2;
    return atomic_load_explicit(&t->nodes[node]->failing, memory_order_relaxed);
}

static int route_any(struct topo *t, const struct topo_ask *ask, int64_t now_ns, struct topo_route *out,
                     struct larder_error *err)
{
    uint32_t n = t->nnodes, turn = n > 0 ? (uint32_t)rng_below(&t->rng, n) : 0, last = 0;
    for (int pass = 0; pass <= 2; pass++) {
        for (uint32_t i = 0; i < n; i++) {
            uint32_t node = (turn + i) % n;
            if (t->nodes[node]->gone)
                continue;
            last = node;
            if (dislike(t, ask, node) == pass && allows(t, node, now_ns)) {
                *out = (struct topo_route){.node = node, .owner = node};
                return 0;
            }
        }
    }
    return n > 0 ? unavailable(t, last, now_ns, err) : fail(err, LARDER_ERR_UNAVAILABLE, "there is no node");
}

static int route_to(struct topo *t, uint32_t node, int64_t now_ns, struct topo_route *out,
                    struct larder_error *err)
{
    *out = (struct topo_route){.node = node, .owner = node};
    return allows(t, node, now_ns) ? 0 : unavailable(t, node, now_ns, err);
}

int topo_route(struct topo *t, const struct topo_ask *ask, int64_t now_ns, struct topo_route *out,
               struct larder_error *err)
{
    int status;
    hold(t);
    if (ask->ntried == 0)
        budget_earn(&t->budget);
    if (ask->node >= 0)
        status = route_to(t, (uint32_t)ask->node, now_ns, out, err);
    else if (ask->any)
        status = route_any(t, ask, now_ns, out, err);
    else if (t->kind == LARDER_TOPOLOGY_CLUSTER)
        status = route_cluster(t, ask, now_ns, out, err);
    else if (t->kind == LARDER_TOPOLOGY_RING)
        status = route_ring(t, ask, now_ns, out, err);
    else
        status = route_to(t, 0, now_ns, out, err);
    let_go(t);
    return status;
}

/* ---- health and budget ---- */

void topo_failed(struct topo *t, uint32_t number, int64_t now_ns)
{
    struct node *node = topo_node(t, number);
    atomic_fetch_add_explicit(&t->counters.failures, 1, memory_order_relaxed);
    hold(t);
    atomic_store_explicit(&node->speaks, SPEAKS_UNKNOWN, memory_order_relaxed);
    if (!atomic_load_explicit(&node->failing, memory_order_relaxed))
        node->outage = ++t->outages; /* what stand-ins held before belongs to the past */
    atomic_store_explicit(&node->failing, true, memory_order_relaxed);
    atomic_fetch_add_explicit(&node->generation, 1, memory_order_relaxed);
    breaker_failed(&node->breaker, &t->set->breaker, now_ns);
    t->refresh_due = t->refresh_due || t->kind == LARDER_TOPOLOGY_CLUSTER;
    let_go(t);
}

void topo_succeeded_slow(struct topo *t, uint32_t number)
{
    struct node *node = topo_node(t, number);
    hold(t);
    atomic_store_explicit(&node->failing, false, memory_order_relaxed);
    breaker_succeeded(&node->breaker);
    let_go(t);
}

bool topo_spend(struct topo *t)
{
    hold(t);
    bool may = budget_spend(&t->budget);
    let_go(t);
    atomic_fetch_add_explicit(may ? &t->counters.retries : &t->counters.retries_denied, 1,
                              memory_order_relaxed);
    return may;
}

int64_t topo_backoff(struct topo *t, unsigned attempt)
{
    hold(t);
    double unit = rng_unit(&t->rng);
    let_go(t);
    return budget_backoff_ns(t->set->backoff_ns, t->set->backoff_max_ns, attempt, unit);
}

/* ---- the slot map ---- */

void topo_moved(struct topo *t, uint16_t slot, uint32_t node)
{
    hold(t);
    (void)slotmap_move(&t->slots, slot, node); /* without memory the refresh must do */
    t->refresh_due = true;
    let_go(t);
}

void topo_want_refresh(struct topo *t)
{
    hold(t);
    t->refresh_due = t->kind == LARDER_TOPOLOGY_CLUSTER;
    let_go(t);
}

bool topo_begin_refresh(struct topo *t, int64_t now_ns, bool *shards)
{
    hold(t);
    bool aged = t->set->o.read_from != LARDER_READ_PRIMARY && now_ns - t->refreshed_ns > REFRESH_AGE_NS;
    bool begin = (t->refresh_due || aged) && !t->refreshing && now_ns - t->refreshed_ns >= REFRESH_GAP_NS;
    if (begin) {
        t->refreshing = true;
        t->refresh_due = false;
        *shards = !t->no_shards;
    }
    let_go(t);
    return begin;
}

struct interning {
    struct topo *topo;
    const struct address *from;
};

static int intern_host(void *arg, struct str host, int64_t port)
{
    struct interning *in = arg;
    struct address a;
    if (host.n == 0)
        host = str_of(in->from->host);
    return address_make(host, port, &a) ? intern(in->topo, &a) : LARDER_ERR_ARGUMENT;
}

int topo_refreshed(struct topo *t, const struct reader_value *reply, bool shards, uint32_t from,
                   int64_t now_ns)
{
    struct slotmap fresh;
    struct interning in = {t, &topo_node(t, from)->address};
    int err = ERR_NOTFOUND;
    slotmap_init(&fresh);
    hold(t);
    if (reply != NULL)
        err = shards ? slotmap_from_shards(&fresh, reply, intern_host, &in)
                     : slotmap_from_slots(&fresh, reply, intern_host, &in);
    /* A node that was cut off, or has just been reset, must not make us forget everybody. */
    if (err == 0 && fresh.nshards == 0 && t->slots.nshards > 0)
        err = ERR_NOTFOUND;
    if (err == 0) {
        slotmap_release(&t->slots);
        t->slots = fresh;
    } else {
        slotmap_release(&fresh);
        t->refresh_due = true;
        t->no_shards = t->no_shards || (shards && err == ERR_PROTO);
    }
    t->refreshing = false;
    t->refreshed_ns = now_ns;
    let_go(t);
    atomic_fetch_add_explicit(&t->counters.refreshes, 1, memory_order_relaxed);
    return err;
}
