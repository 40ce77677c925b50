/* Invalidation: by key, by version, by tag, by pattern. Flights of this process are forgotten after the
 * node's word and not before: one that began in between may have read what is invalid. */
#include "client/lease.h"

#include "base/alloc.h"
#include "client/error.h"
#include "client/tags.h"

static int invalidate(larder *l, struct larder_bytes key, const struct lease_invalidation *i,
                      struct larder_error *err)
{
    int status = lease_invalidate(l, str_from(key), i, err);
    flight_forget(&l->flights, str_from(key));
    return status;
}

int larder_invalidate(larder *l, struct larder_bytes key, struct larder_error *err)
{
    return invalidate(l, key, &(struct lease_invalidation){.soft = false}, err);
}

int larder_invalidate_soft(larder *l, struct larder_bytes key, struct larder_error *err)
{
    return invalidate(l, key, &(struct lease_invalidation){.soft = true}, err);
}

int larder_invalidate_version(larder *l, struct larder_bytes key, uint64_t version, unsigned hold_ms,
                              struct larder_error *err)
{
    if (version > INT64_MAX || hold_ms > LEASE_MS_MAX)
        return fail(err, LARDER_ERR_ARGUMENT, "version, hold_ms: too large; a hold lasts at most a day");
    struct lease_invalidation i = {.has_version = true, .version = version, .hold_ms = hold_ms};
    return invalidate(l, key, &i, err);
}

/* ---- tags ---- */

static int64_t field(const larder_reply *map, const char *name)
{
    for (size_t i = 0; i + 1 < larder_reply_count(map); i += 2)
        if (strcmp(larder_reply_text(larder_reply_child(map, i)).p, name) == 0)
            return larder_reply_integer(larder_reply_child(map, i + 1));
    return 0;
}

/* LARDER_MISS: it does not know how, and has only what tags_forget() has seen to. A cluster's Redis
 * primaries, which a larder node counts as unsupported, are in the same case. */
static int purge_node(larder *l, uint32_t node, struct larder_bytes tag, struct larder_error *err)
{
    struct larder_bytes argv[] = {larder_text("CACHE.PURGE"), larder_text("TAG"), tag};
    struct larder_call call = {.flags = LARDER_COMMAND_NODE | LARDER_COMMAND_IDEMPOTENT};
    struct larder_error why;
    larder_reply *reply;
    call.node = topo_node(&l->topo, node)->address.name;
    int status = larder_command(l, 3, argv, &call, &reply, &why);
    if (status == LARDER_ERR_SERVER && strstr(why.text, ": ERR unknown command") != NULL)
        status = LARDER_MISS;
    else if (status < 0)
        fail(err, status, "%s", why.text);
    else if (field(reply, "pending") > 0)
        status = fail(err, LARDER_ERR_UNAVAILABLE,
                      "%s: some primaries of its cluster have not acknowledged yet, and will be asked again",
                      call.node);
    larder_reply_free(reply);
    return status;
}

/* On every node of a ring; in a cluster the first that can tells the others. */
static int purge(larder *l, struct larder_bytes tag, struct larder_error *err)
{
    uint32_t *nodes = mem_alloc(TOPO_NODES_MAX * sizeof *nodes);
    if (nodes == NULL)
        return fail(err, LARDER_ERR_MEMORY, "out of memory");
    bool cluster = larder_topology_of(l) == LARDER_TOPOLOGY_CLUSTER;
    unsigned n = topo_primaries(&l->topo, nodes, TOPO_NODES_MAX);
    int status = n > 0 ? LARDER_OK : fail(err, LARDER_ERR_UNAVAILABLE, "no node is known");
    for (unsigned i = 0; i < n; i++) {
        struct larder_error why;
        int one = purge_node(l, nodes[i], tag, &why);
        if (one == LARDER_OK && cluster) {
            status = LARDER_OK;
            break;
        }
        if (one < 0 && status == LARDER_OK)
            status = fail(err, one, "%s", why.text); /* and the rest all the same */
    }
    mem_free(nodes);
    return status;
}

int larder_invalidate_tag(larder *l, struct larder_bytes tag, struct larder_error *err)
{
    struct larder_error why;
    int status = tags_check(&tag, 1, err);
    if (status < 0)
        return status;
    status = tags_forget(l, tag, err);
    int purged = purge(l, tag, &why);
    flight_forget_all(&l->flights);
    return status < 0 || purged == LARDER_OK ? status : fail(err, purged, "%s", why.text);
}

/* ---- patterns ---- */

enum { BATCH = 256 };

struct sweep {
    larder *l;
    struct larder_item items[BATCH];
    size_t n;
    uint64_t deleted;
    struct larder_error *err;
};

static int flush(struct sweep *s)
{
    int status = s->n > 0 ? larder_mdel(s->l, s->items, s->n, s->err) : LARDER_OK;
    for (size_t i = 0; i < s->n; i++) {
        s->deleted += s->items[i].status == LARDER_OK;
        flight_forget(&s->l->flights, str_from(s->items[i].key));
        mem_free((void *)s->items[i].key.p);
    }
    s->n = 0;
    return status;
}

static int sweep_key(void *arg, struct larder_bytes key)
{
    struct sweep *s = arg;
    char *copy = mem_strndup(key.p, key.n);
    if (copy == NULL)
        return fail(s->err, LARDER_ERR_MEMORY, "out of memory");
    s->items[s->n++] = (struct larder_item){.key = larder_bytes(copy, key.n)};
    return s->n == BATCH ? flush(s) : 0;
}

int larder_invalidate_pattern(larder *l, const char *pattern, uint64_t *count, struct larder_error *err)
{
    if (count != NULL)
        *count = 0;
    struct sweep *s = mem_zalloc(sizeof *s);
    if (s == NULL)
        return fail(err, LARDER_ERR_MEMORY, "out of memory");
    s->l = l;
    s->err = err;
    int status = larder_scan(l, pattern, sweep_key, s, err);
    int last = flush(s);
    flight_forget_all(&l->flights); /* a key that is being loaded need not be seen by SCAN */
    if (count != NULL)
        *count = s->deleted;
    mem_free(s);
    return status < 0 ? status : last;
}
