/* CLUSTER SLOT-STATS, Valkey's: figures of the slots of this node's shard. What costs nothing is told: the
 * number of keys. Processor time and bytes by slot would be counted in every command, and are not. */
#include "server/handlers.h"

#include <stdlib.h>

struct slot_count {
    uint32_t slot, keys;
};

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
        out->n++;
    }
    return true;
}

static void reply_counts(struct cmd_ctx *c, const struct slot_counts *s, uint32_t n)
{
    reply_array(c->reply, n);
    for (uint32_t i = 0; i < n; i++) {
        reply_array(c->reply, 2);
        reply_int(c->reply, s->v[i].slot);
        reply_map(c->reply, 1);
        reply_cstr(c->reply, "key-count");
        reply_int(c->reply, s->v[i].keys);
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

static int by_keys(const void *left, const void *right)
{
    const struct slot_count *a = left, *b = right;
    if (a->keys != b->keys)
        return a->keys < b->keys ? -1 : 1;
    return a->slot < b->slot ? -1 : 1;
}

static int by_keys_down(const void *left, const void *right)
{
    const struct slot_count *a = left, *b = right;
    return a->keys != b->keys ? by_keys(right, left) : by_keys(left, right);
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
    if (!cmd_arg_is(c, 3, STR("KEY-COUNT"))) {
        reply_error(c->reply, "ERR Unrecognized sort metric for ORDERBY.");
        return;
    }
    if (!arg_order(c, &o) || !count(c, 0, SLOT_COUNT - 1, &s))
        return;
    qsort(s.v, s.n, sizeof *s.v, o.ascending ? by_keys : by_keys_down);
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
        reply_errorf(c->reply,
                     "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try CLUSTER HELP.",
                     (int)(c->argv[1].n < 128 ? c->argv[1].n : 128), c->argv[1].p);
}
