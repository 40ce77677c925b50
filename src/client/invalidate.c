/* Invalidation: by key, by version, by tag, by pattern. Flights of this process are forgotten after the
 * node's word and not before: one that began in between may have read what is invalid. */
#include "client/lease.h"

#include "base/alloc.h"
#include "client/error.h"
#include "client/tags.h"

#include <poll.h>

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

/* ---- purging, by the nodes themselves ---- */

/* What is purged, and what came of it. */
struct purge {
    struct larder_bytes kind, what; /* TAG or MATCH, and a tag or a pattern */
    bool counts;                    /* wait until a pattern's keys are counted */
    uint64_t matched;
    bool partly; /* some node does not know how */
};

static const larder_reply *field(const larder_reply *map, const char *name)
{
    for (size_t i = 0; i + 1 < larder_reply_count(map); i += 2)
        if (strcmp(larder_reply_text(larder_reply_child(map, i)).p, name) == 0)
            return larder_reply_child(map, i + 1);
    return NULL;
}

static int64_t number(const larder_reply *map, const char *name)
{
    const larder_reply *r = field(map, name);
    return r != NULL ? larder_reply_integer(r) : 0;
}

/* How many keys the job has taken out so far. *more: it is not done, and is still at work. */
static uint64_t matched_so_far(larder *l, const struct larder_call *call, struct larder_bytes job, bool *more)
{
    struct larder_bytes argv[] = {larder_text("CACHE.JOB"), larder_text("STATUS"), job};
    struct larder_error ignored;
    larder_reply *reply;
    int status = larder_command(l, 3, argv, call, &reply, &ignored);
    const larder_reply *state = status == LARDER_OK ? field(reply, "state") : NULL;
    *more = state != NULL && strcmp(larder_reply_text(state).p, "running") == 0;
    uint64_t n = status == LARDER_OK ? (uint64_t)number(reply, "matched") : 0;
    larder_reply_free(reply);
    return n;
}

/* Until it is done, or nothing has happened for a while: nodes may be away, or removing slowly. */
static void wait_for_job(larder *l, const struct larder_call *call, struct larder_bytes job, struct purge *p)
{
    enum { ASK_AGAIN_MS = 10, IDLE_MAX = 200 };
    uint64_t seen = 0;
    bool more = true;
    for (unsigned idle = 0; more && idle < IDLE_MAX; idle++) {
        uint64_t n = matched_so_far(l, call, job, &more);
        if (n > seen)
            idle = 0;
        seen = n > seen ? n : seen;
        if (more)
            (void)poll(NULL, 0, ASK_AGAIN_MS); /* nobody tells when it is done: it must be asked */
    }
    p->matched += seen;
}

/* It knows no CACHE.PURGE, or no MATCH yet. */
static bool knows_not(int status, const struct larder_error *why)
{
    return status == LARDER_ERR_SERVER && (strstr(why->text, ": ERR unknown command") != NULL ||
                                           strstr(why->text, "MATCH is not in this version") != NULL);
}

/* LARDER_MISS: it does not know how. A cluster's Redis primaries, which a larder node counts as unsupported,
 * do not either. */
static int purge_node(larder *l, uint32_t node, struct purge *p, struct larder_error *err)
{
    struct larder_bytes argv[] = {larder_text("CACHE.PURGE"), p->kind, p->what};
    struct larder_call call = {.flags = LARDER_COMMAND_NODE | LARDER_COMMAND_IDEMPOTENT};
    struct larder_error why;
    larder_reply *reply;
    call.node = topo_node(&l->topo, node)->address.name;
    int status = larder_command(l, 3, argv, &call, &reply, &why);
    if (knows_not(status, &why))
        status = LARDER_MISS;
    else if (status < 0)
        fail(err, status, "%s", why.text);
    else if (number(reply, "pending") > 0)
        status = fail(err, LARDER_ERR_UNAVAILABLE,
                      "%s: some primaries of its cluster have not acknowledged yet, and will be asked again",
                      call.node);
    p->partly |= status == LARDER_MISS || (status == LARDER_OK && number(reply, "unsupported") > 0);
    const larder_reply *job = status == LARDER_OK && p->counts ? field(reply, "job") : NULL;
    if (job != NULL)
        wait_for_job(l, &call, larder_reply_text(job), p);
    larder_reply_free(reply);
    return status;
}

/* On every node of a ring; in a cluster the first that can tells the others. */
static int purge(larder *l, struct purge *p, struct larder_error *err)
{
    uint32_t *nodes = mem_alloc(TOPO_NODES_MAX * sizeof *nodes);
    if (nodes == NULL)
        return fail(err, LARDER_ERR_MEMORY, "out of memory");
    bool cluster = larder_topology_of(l) == LARDER_TOPOLOGY_CLUSTER;
    unsigned n = topo_primaries(&l->topo, nodes, TOPO_NODES_MAX);
    int status = n > 0 ? LARDER_OK : fail(err, LARDER_ERR_UNAVAILABLE, "no node is known");
    for (unsigned i = 0; i < n; i++) {
        struct larder_error why;
        int one = purge_node(l, nodes[i], p, &why);
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

/* ---- tags ---- */

int larder_invalidate_tag(larder *l, struct larder_bytes tag, struct larder_error *err)
{
    struct larder_error why;
    struct purge p = {.kind = larder_text("TAG"), .what = tag};
    int status = tags_check(&tag, 1, err);
    if (status < 0)
        return status;
    status = tags_forget(l, tag, err); /* all that there is for nodes that cannot purge */
    int purged = purge(l, &p, &why);
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

/* By SCAN and DEL, on all nodes. */
static int sweep(larder *l, const char *pattern, uint64_t *count, struct larder_error *err)
{
    struct sweep *s = mem_zalloc(sizeof *s);
    if (s == NULL)
        return fail(err, LARDER_ERR_MEMORY, "out of memory");
    s->l = l;
    s->err = err;
    int status = larder_scan(l, pattern, sweep_key, s, err);
    int last = flush(s);
    *count += s->deleted;
    mem_free(s);
    return status < 0 ? status : last;
}

int larder_invalidate_pattern(larder *l, const char *pattern, uint64_t *count, struct larder_error *err)
{
    enum { PATTERN_MAX = 1024 }; /* of CACHE.PURGE MATCH */
    struct purge p = {.kind = larder_text("MATCH"), .what = larder_text(pattern != NULL ? pattern : "*")};
    p.counts = count != NULL;
    p.partly = p.what.n == 0 || p.what.n > PATTERN_MAX;
    int status = p.partly ? LARDER_OK : purge(l, &p, err);
    if (p.partly) {
        int swept = sweep(l, pattern, &p.matched, status < 0 ? NULL : err);
        status = status < 0 ? status : swept;
    }
    flight_forget_all(&l->flights); /* a key that is being loaded need not be there */
    if (count != NULL)
        *count = p.matched;
    return status;
}
