/* CLUSTER SLOT-STATS, Valkey's: figures of the slots of this node's shard. The number of keys is always told,
 * what slots cost with cluster-slot-stats-enabled. */
#include "server/handlers.h"

#include <stdlib.h>

struct slot_count {
    uint32_t slot, keys;
    struct slot_figures costs;
    uint64_t rank; /* the figure by which they are sorted */
};

enum metric { KEY_COUNT, CPU_USEC, NETWORK_BYTES_IN, NETWORK_BYTES_OUT, METRICS };

struct slot_counts {
    struct slot_count *v; /* in the arena */
    uint32_t n;
};

struct order {
    bool ascending;
    uint32_t limit;
};

/* The slots first..last that this node's shard owns. False after replying, or to come again. */
static bool count(struct cmd_ctx *c, uint32_t first, uint32_t last, struct slot_counts *out)
{
    const struct cluster_view *v = server_view(ctx_server(c));
    uint16_t owner = v->replica ? v->primary : v->me;
    *out = (struct slot_counts){.v = arena_alloc(c->arena, (last - first + 1) * sizeof *out->v)};
    if (out->v == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return false;
    }
    for (uint32_t slot = first; slot <= last; slot++) {
        struct slot_count *at = &out->v[out->n];
        at->slot = slot;
        if (owner == VIEW_NOBODY || v->owner[slot] != owner)
            continue;
        if (store_slot_keys(&c->a, slot, &at->keys) == ERR_AGAIN) {
            c->again = true;
            c->busy_shard = slot / STORE_SLOTS_PER_SHARD;
            return false;
        }
        at->costs = slot_stats_of(&ctx_server(c)->slot_stats, slot);
        out->n++;
    }
    return true;
}

static const char *const metric_names[] = {[KEY_COUNT] = "key-count",
                                           [CPU_USEC] = "cpu-usec",
                                           [NETWORK_BYTES_IN] = "network-bytes-in",
                                           [NETWORK_BYTES_OUT] = "network-bytes-out"};

static uint64_t figure(const struct slot_count *s, uint32_t metric)
{
    const uint64_t all[] = {[KEY_COUNT] = s->keys,
                            [CPU_USEC] = s->costs.cpu_us,
                            [NETWORK_BYTES_IN] = s->costs.in,
                            [NETWORK_BYTES_OUT] = s->costs.out};
    return all[metric];
}

/* Those that are told: the first so many of them. */
static uint32_t metrics_told(struct cmd_ctx *c)
{
    return server_counts_slots(ctx_server(c)) ? METRICS : KEY_COUNT + 1;
}

static void reply_counts(struct cmd_ctx *c, const struct slot_counts *s, uint32_t n)
{
    uint32_t told = metrics_told(c);
    reply_array(c->reply, n);
    for (uint32_t i = 0; i < n; i++) {
        reply_array(c->reply, 2);
        reply_int(c->reply, s->v[i].slot);
        reply_map(c->reply, told);
        for (uint32_t m = 0; m < told; m++) {
            reply_cstr(c->reply, metric_names[m]);
            reply_int(c->reply, (int64_t)figure(&s->v[i], m));
        }
    }
}

static void slots_range(struct cmd_ctx *c)
{
    struct slot_counts s;
    uint32_t first, last;
    if (!cluster_arg_slot(c, 3, &first) || !cluster_arg_slot(c, 4, &last))
        return;
    if (first > last)
        reply_errorf(c->reply, "ERR Start slot number %u is greater than end slot number %u", first, last);
    else if (count(c, first, last, &s))
        reply_counts(c, &s, s.n);
}

static int upwards(const void *left, const void *right)
{
    const struct slot_count *a = left, *b = right;
    if (a->rank != b->rank)
        return a->rank < b->rank ? -1 : 1;
    return a->slot < b->slot ? -1 : 1;
}

static int downwards(const void *left, const void *right)
{
    const struct slot_count *a = left, *b = right;
    return a->rank != b->rank ? upwards(right, left) : upwards(left, right);
}

/* [LIMIT n] [ASC | DESC], each once. False after replying. */
static bool arg_order(struct cmd_ctx *c, struct order *o)
{
    uint32_t limits = 0, directions = 0;
    int64_t limit = SLOT_COUNT;
    *o = (struct order){.limit = SLOT_COUNT};
    for (uint32_t i = 4; i < c->argc; i++) {
        if (cmd_arg_is(c, i, STR("LIMIT")) && i + 1 < c->argc) {
            if (!num_parse_i64(c->argv[++i], &limit) || limit < 1 || limit > SLOT_COUNT) {
                reply_error(c->reply,
                            "ERR Limit has to lie in between 1 and 16384 (maximum number of slots).");
                return false;
            }
            limits++;
        } else if (cmd_arg_is(c, i, STR("ASC")) || cmd_arg_is(c, i, STR("DESC"))) {
            o->ascending = cmd_arg_is(c, i, STR("ASC"));
            directions++;
        } else {
            reply_error(c->reply, REPLY_SYNTAX);
            return false;
        }
        if (limits > 1 || directions > 1) {
            reply_error(c->reply, "ERR Multiple filters of the same type are disallowed.");
            return false;
        }
    }
    o->limit = (uint32_t)limit;
    return true;
}

static void order_by(struct cmd_ctx *c)
{
    struct slot_counts s;
    struct order o;
    uint32_t told = metrics_told(c), metric = 0;
    while (metric < told && !cmd_arg_is(c, 3, str_of(metric_names[metric])))
        metric++;
    if (metric == told) {
        reply_error(c->reply, "ERR Unrecognized sort metric for ORDERBY.");
        return;
    }
    if (!arg_order(c, &o) || !count(c, 0, SLOT_COUNT - 1, &s))
        return;
    for (uint32_t i = 0; i < s.n; i++)
        s.v[i].rank = figure(&s.v[i], metric);
    qsort(s.v, s.n, sizeof *s.v, o.ascending ? upwards : downwards);
    reply_counts(c, &s, s.n < o.limit ? s.n : o.limit);
}

void cmd_cluster_slot_stats(struct cmd_ctx *c)
{
    if (server_view(ctx_server(c)) == NULL)
        reply_error(c->reply, "ERR This instance has cluster support disabled");
    else if (c->argc == 5 && cmd_arg_is(c, 2, STR("SLOTSRANGE")))
        slots_range(c);
    else if (cmd_arg_is(c, 2, STR("ORDERBY")))
        order_by(c);
    else
        cmd_reply_unknown_sub(c);
}
