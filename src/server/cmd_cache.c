/* CACHE.STATS: what the cache commands have done on this node, and how far its origin budgets are used. */
#include "cache/stats.h"
#include "cmd/cache_options.h"
#include "server/handlers.h"
#include "server/server.h"

static void put(struct reply *r, const char *name, uint64_t v)
{
    reply_cstr(r, name);
    reply_int(r, (int64_t)v);
}

static void reply_budget(struct reply *r, const struct budget *b)
{
    reply_map(r, 4);
    reply_cstr(r, "prefix");
    reply_bulk(r, (struct str){b->prefix, b->n});
    put(r, "budget", b->max);
    put(r, "leases", atomic_load_explicit(&b->out, memory_order_relaxed));
    put(r, "refused", atomic_load_explicit(&b->refused, memory_order_relaxed));
}

static void reply_one_budget(struct cmd_ctx *c, struct str prefix)
{
    const struct budgets *list = cache_budgets(c->cache);
    for (uint32_t i = 0; i < list->n; i++)
        if (str_eq(prefix, (struct str){list->list[i].prefix, list->list[i].n})) {
            reply_budget(c->reply, &list->list[i]);
            return;
        }
    (void)cache_refuse(
        c, "ERR no budget has this prefix; CONFIG SET cache-origin-budget \"prefix leases\" makes one");
}

static uint64_t sum_reads(const struct server *s, enum cache_read_counter which)
{
    uint64_t n = counter_read(&s->lane.counters.cache[which]);
    for (uint32_t i = 0; i < s->nworkers; i++)
        n += counter_read(&s->workers[i].counters.cache[which]);
    return n;
}

void cmd_cache_stats(struct cmd_ctx *c)
{
    static const char *const reads[] = {"fresh", "stale", "negative", "miss", "waited", "retried"};
    static const struct {
        const char *name;
        enum cache_counter counter;
    } writes[] = {{"granted", COUNT_GRANTED},         {"early", COUNT_EARLY},
                  {"filled", COUNT_FILLED},           {"lease-lost", COUNT_LEASE_LOST},
                  {"old-version", COUNT_OLD_VERSION}, {"failed", COUNT_FAILED},
                  {"invalidated", COUNT_INVALIDATED}};
    _Static_assert(ARRAY_LEN(reads) == CACHE_READ_COUNTERS, "a name each");
    struct server *s = ctx_server(c);
    struct reply *r = c->reply;
    struct cache_stats stats;
    if (c->argc > 2) {
        (void)cache_refuse(c, "ERR cache.stats takes one prefix, or none for all that this node counts");
        return;
    }
    if (c->argc == 2) {
        reply_one_budget(c, c->argv[1]);
        return;
    }
    cache_sum(c->cache, &stats);
    const struct budgets *list = cache_budgets(c->cache);
    reply_map(r, ARRAY_LEN(reads) + ARRAY_LEN(writes) + 5);
    for (unsigned i = 0; i < ARRAY_LEN(reads); i++)
        put(r, reads[i], sum_reads(s, i));
    for (unsigned i = 0; i < ARRAY_LEN(writes); i++)
        put(r, writes[i].name, stats.n[writes[i].counter]);
    put(r, "leases", stats.leases);
    put(r, "negative-bytes", stats.negative_bytes);
    put(r, "purges", stats.purges);
    put(r, "purges-pending", atomic_load_explicit(&s->repl.purges.nopen, memory_order_relaxed));
    reply_cstr(r, "budgets");
    reply_array(r, list->n);
    for (uint32_t i = 0; i < list->n; i++)
        reply_budget(r, &list->list[i]);
}
