#include "client/handle.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "client/error.h"
#include "os/clock.h"

#include <errno.h>

/* ---- the pool ---- */

static struct engine *new_engine(larder *l)
{
    struct engine *e = mem_alloc(sizeof *e);
    if (e == NULL || engine_init(e, &l->topo, true) == 0)
        return e;
    mem_free(e);
    return NULL;
}

/* An idle engine, a new one, or whichever comes back before the deadline. */
int handle_borrow(larder *l, struct engine **out, int64_t *deadline_ns, struct larder_error *err)
{
    int64_t end_ns = *deadline_ns = os_mono_ns() + l->set.deadline_ns;
    struct timespec until = {.tv_sec = end_ns / 1000000000, .tv_nsec = end_ns % 1000000000};
    int status = 0, waited = 0;
    pthread_mutex_lock(&l->pool_lock);
    while (l->idle == NULL && l->engines == l->set.o.connections && waited != ETIMEDOUT)
        waited = pthread_cond_timedwait(&l->pool_free, &l->pool_lock, &until);
    *out = l->idle;
    if (*out != NULL) {
        l->idle = (*out)->next;
    } else if (l->engines < l->set.o.connections) {
        *out = new_engine(l);
        l->engines += *out != NULL;
        if (*out == NULL)
            status = fail(err, LARDER_ERR_MEMORY, "out of memory");
    } else {
        status = fail(err, LARDER_ERR_BUSY, "all %u connections stayed in use", l->set.o.connections);
    }
    pthread_mutex_unlock(&l->pool_lock);
    return status;
}

void handle_give_back(larder *l, struct engine *e)
{
    arena_reset(&e->calls);
    pthread_mutex_lock(&l->pool_lock);
    e->next = l->idle;
    l->idle = e;
    pthread_cond_signal(&l->pool_free);
    pthread_mutex_unlock(&l->pool_lock);
}

void handle_drive(struct engine *e, struct cmd *first, int64_t deadline_ns)
{
    int64_t now_ns = os_mono_ns();
    for (struct cmd *cmd = first, *next; cmd != NULL; cmd = next) {
        next = cmd->next;
        if (cmd->deadline_ns == 0)
            cmd->deadline_ns = deadline_ns;
        engine_submit(e, cmd, now_ns);
    }
    engine_run(e);
}

int handle_run(larder *l, struct cmd *first, struct larder_error *err)
{
    struct engine *e = NULL;
    int64_t deadline_ns;
    int status = handle_borrow(l, &e, &deadline_ns, err);
    if (status < 0)
        return status;
    handle_drive(e, first, deadline_ns);
    handle_give_back(l, e);
    return 0;
}

/* ---- opening ---- */

struct detection {
    larder *l;
    int status;
    struct larder_error err;
};

static void detected(struct cmd *cmd, const struct cmd_result *r)
{
    struct detection *d = cmd->arg;
    d->status = r->status;
    if (r->err != NULL)
        d->err = *r->err;
    if (r->status == LARDER_OK && topo_refreshed(&d->l->topo, r->value, false, r->node, os_mono_ns()) < 0)
        d->status = fail(&d->err, LARDER_ERR_PROTOCOL, "CLUSTER SLOTS: a reply of another shape");
}

/* Ask who serves which slot. A node that is in no cluster answers with an error. */
static int detect(larder *l, unsigned addresses, struct larder_error *err)
{
    enum larder_topology asked = l->set.o.topology;
    struct detection d = {.l = l};
    struct str argv[] = {STR("CLUSTER"), STR("SLOTS")};
    struct cmd cmd = {.argv = argv, .argc = 2, .key = -1, .node = -1, .flags = CMD_IDEMPOTENT | CMD_INTERNAL};
    cmd.done = detected;
    cmd.arg = &d;
    int status = handle_run(l, &cmd, err);
    if (status < 0)
        return status;
    if (d.status == LARDER_OK)
        l->topo.kind = LARDER_TOPOLOGY_CLUSTER;
    else if (d.status == LARDER_ERR_SERVER && asked == LARDER_TOPOLOGY_AUTO)
        l->topo.kind = addresses == 1 ? LARDER_TOPOLOGY_SINGLE : LARDER_TOPOLOGY_RING;
    else
        return fail(err, d.status, "%s", d.err.text);
    return 0;
}

static int read_addresses(larder *l, const char *addresses, unsigned *n, struct larder_error *err)
{
    struct str rest = str_of(addresses);
    int status = 0;
    for (*n = 0; rest.n > 0 && status == 0; (*n)++) {
        struct address a;
        status = address_next(&rest, &a, err);
        if (status == 0)
            status = topo_ring_add(&l->topo, &a, 1, err); /* whoever is no ring does not look at it */
    }
    if (status == 0 && *n == 0)
        return fail(err, LARDER_ERR_ARGUMENT, "no address: write host:port,host:port");
    if (status == 0 && *n > 1 && l->set.o.topology == LARDER_TOPOLOGY_SINGLE)
        return fail(err, LARDER_ERR_ARGUMENT, "several addresses, but the topology is one node");
    return status;
}

static void init_pool(larder *l)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&l->pool_free, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&l->pool_lock, NULL);
    flights_init(&l->flights);
}

int larder_open(const char *addresses, const struct larder_options *options, larder **out,
                struct larder_error *err)
{
    unsigned n = 0;
    *out = NULL;
    larder *l = mem_zalloc(sizeof *l);
    if (l == NULL)
        return fail(err, LARDER_ERR_MEMORY, "out of memory");
    int status = settings_init(&l->set, options, err);
    if (status == 0 && (status = topo_init(&l->topo, &l->set, err)) < 0)
        settings_release(&l->set);
    if (status < 0) {
        mem_free(l);
        return status;
    }
    init_pool(l);
    status = read_addresses(l, addresses, &n, err);
    if (status == 0 &&
        (l->set.o.topology == LARDER_TOPOLOGY_AUTO || l->set.o.topology == LARDER_TOPOLOGY_CLUSTER))
        status = detect(l, n, err);
    if (status == 0 && l->topo.kind == LARDER_TOPOLOGY_CLUSTER && l->set.o.database != 0)
        status = fail(err, LARDER_ERR_ARGUMENT, "a cluster has no database but 0");
    if (status < 0) {
        larder_close(l);
        return status;
    }
    *out = l;
    return 0;
}

int larder_connect(const char *addresses, larder **out, struct larder_error *err)
{
    return larder_open(addresses, NULL, out, err);
}

void larder_close(larder *l)
{
    if (l == NULL)
        return;
    flights_release(&l->flights);
    while (l->idle != NULL) {
        struct engine *e = l->idle;
        l->idle = e->next;
        engine_release(e);
        mem_free(e);
        l->engines--;
    }
    ASSERT(l->engines == 0); /* a call is under way in another thread */
    topo_release(&l->topo);
    settings_release(&l->set);
    pthread_cond_destroy(&l->pool_free);
    pthread_mutex_destroy(&l->pool_lock);
    mem_free(l);
}

enum larder_topology larder_topology_of(const larder *l)
{
    return l->topo.kind;
}

/* ---- nodes ---- */

static int parse_one(const char *text, struct address *out, struct larder_error *err)
{
    struct str rest = str_of(text);
    int status = address_next(&rest, out, err);
    return status == 0 && rest.n > 0 ? fail(err, LARDER_ERR_ARGUMENT, "one address at a time") : status;
}

int larder_node_add(larder *l, const char *address, unsigned weight, struct larder_error *err)
{
    struct address a;
    if (l->topo.kind != LARDER_TOPOLOGY_RING)
        return fail(err, LARDER_ERR_ARGUMENT, "only a ring takes nodes at run time");
    int status = parse_one(address, &a, err);
    return status < 0 ? status : topo_ring_add(&l->topo, &a, weight, err);
}

int larder_node_remove(larder *l, const char *address, struct larder_error *err)
{
    struct address a;
    if (l->topo.kind != LARDER_TOPOLOGY_RING)
        return fail(err, LARDER_ERR_ARGUMENT, "only a ring gives up nodes at run time");
    int status = parse_one(address, &a, err);
    return status < 0 ? status : topo_ring_remove(&l->topo, a.name, err);
}

int larder_node_of(larder *l, struct larder_bytes key, char *out, size_t size, struct larder_error *err)
{
    int number = topo_owner(&l->topo, str_from(key));
    if (number < 0)
        return fail(err, LARDER_ERR_NOT_FOUND, "no node has this key");
    const char *name = topo_node(&l->topo, (uint32_t)number)->address.name;
    size_t n = strlen(name);
    if (n >= size)
        return fail(err, LARDER_ERR_ARGUMENT, "%s does not fit into %zu bytes", name, size);
    memcpy(out, name, n + 1);
    return 0;
}

void larder_stats_read(larder *l, struct larder_stats *out)
{
    struct topo_counters *c = &l->topo.counters;
    *out = (struct larder_stats){c->calls,    c->retries,   c->retries_denied, c->connects,
                                 c->failures, c->redirects, c->refreshes,      c->standins};
}
