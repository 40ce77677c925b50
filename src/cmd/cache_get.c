/* CACHE.GET, CACHE.MGET, CACHE.INSPECT: reading. */
#include "cache/cache.h"
#include "cmd/cache_options.h"
#include "cmd/handlers.h"
#include "proto/slot.h"

enum { GET_OPTIONS = OPT_LEASE | OPT_WAIT | OPT_STALE | OPT_EARLY | OPT_MINVER };

static const char *const state_names[] = {
    [CACHE_FRESH] = "fresh", [CACHE_STALE] = "stale", [CACHE_NEGATIVE] = "negative", [CACHE_MISS] = "miss"};

/* ---- replies ---------------------------------------------------------------------------------- */

static void put_number(struct reply *r, const char *name, bool there, int64_t v)
{
    reply_cstr(r, name);
    if (there)
        reply_int(r, v);
    else
        reply_null(r);
}

/* The map of CACHE.GET is what a hit costs: all of it but the value and the numbers is written here as it
 * goes out. */
#define HEAD2(state) STR("*14\r\n$5\r\nstate\r\n" state "\r\n$5\r\nvalue\r\n")
#define HEAD3(state) STR("%7\r\n$5\r\nstate\r\n" state "\r\n$5\r\nvalue\r\n")
#define HEADS(state)                                                                                         \
    {                                                                                                        \
        HEAD2(state), HEAD3(state)                                                                           \
    }

static const struct str heads[][2] = {[CACHE_FRESH] = HEADS("$5\r\nfresh"),
                                      [CACHE_STALE] = HEADS("$5\r\nstale"),
                                      [CACHE_NEGATIVE] = HEADS("$8\r\nnegative"),
                                      [CACHE_MISS] = HEADS("$4\r\nmiss")};
static const struct str nulls[] = {{"$-1\r\n", 5}, {"_\r\n", 3}};

enum { TAIL_MAX = 512 };
_Static_assert(TAIL_MAX > 2 * CACHE_TOKEN_TEXT + 5 * 2 * NUM_I64_TEXT_MAX,
               "five names, four numbers, a token");

static inline char *put(char *at, struct str s)
{
    memcpy(at, s.p, s.n);
    return at + s.n;
}

static inline char *put_field(char *at, struct str name, struct str null, bool there, int64_t v)
{
    at = put(at, name);
    if (!there)
        return put(at, null);
    *at++ = ':';
    at += num_put_i64(at, v);
    return put(at, STR("\r\n"));
}

static char *put_lease(struct cmd_ctx *c, char *at, struct str null, uint64_t token)
{
    at = put(at, STR("$5\r\nlease\r\n"));
    if (token == 0)
        return put(at, null);
    _Static_assert(CACHE_TOKEN_TEXT == 57, "as it is said here");
    at = put(at, STR("$57\r\n"));
    at += cache_put_token(c->cache, token, at);
    return put(at, STR("\r\n"));
}

static void reply_answer(struct cmd_ctx *c, const struct cache_answer *a)
{
    struct reply *r = c->reply;
    bool resp3 = r->proto >= 3;
    struct str null = nulls[resp3];
    char tail[TAIL_MAX], *at = tail;
    reply_raw(r, heads[a->state][resp3]);
    if (a->value != NULL)
        cmd_reply_value(c, a->value);
    else
        at = put(at, null);
    at = put_field(at, STR("$3\r\nttl\r\n"), null, a->ttl_ms >= 0, a->ttl_ms);
    at = put_field(at, STR("$3\r\nage\r\n"), null, a->age_ms >= 0, a->age_ms);
    at = put_field(at, STR("$7\r\nversion\r\n"), null, a->has_version, (int64_t)a->version);
    at = put_lease(c, at, null, a->token);
    at = put_field(at, STR("$5\r\nretry\r\n"), null, a->retry_ms >= 0, a->retry_ms);
    reply_raw(r, (struct str){tail, (size_t)(at - tail)});
}

/* Only the primary knows who loads. */
static void reply_moved(struct cmd_ctx *c, const struct key *k)
{
    reply_errorf(c->reply, "MOVED %u %s", slot_of((struct str){k->p, k->n}), cache_primary(c->cache));
}

static void reply_key(struct cmd_ctx *c, const struct key *k, const struct cache_answer *a)
{
    if (a->wrong_type)
        reply_error(c->reply, REPLY_WRONGTYPE);
    else if (a->refused)
        reply_moved(c, k);
    else
        reply_answer(c, a);
    if (!a->wrong_type && !a->refused) {
        counter_add(&c->counters->cache[a->state], 1);
        if (a->retry_ms >= 0)
            counter_add(&c->counters->cache[CACHE_READ_RETRIED], 1);
    }
    bool hit = a->value != NULL || a->state == CACHE_NEGATIVE;
    counter_add(hit ? &c->counters->hits : &c->counters->misses, 1);
}

/* ---- CACHE.GET ---------------------------------------------------------------------------------- */

static bool parse_ask(struct cmd_ctx *c, uint32_t from, uint32_t taken, struct cache_ask *ask)
{
    struct cache_options o;
    if (!cache_parse_options(c, from, taken, &o))
        return false;
    if ((o.given & OPT_EARLY) && !(o.given & OPT_LEASE))
        return cache_refuse(
            c, "ERR EARLY hands out a lease before the value expires; say for how long: LEASE milliseconds");
    *ask = (struct cache_ask){.lease_ms = o.lease_ms,
                              .wait_ms = o.wait_ms,
                              .stale = (o.given & OPT_STALE) != 0,
                              .early = o.early,
                              .has_minver = (o.given & OPT_MINVER) != 0,
                              .minver = o.minver};
    return true;
}

void cmd_cache_get(struct cmd_ctx *c)
{
    struct cache_ask ask;
    struct cache_answer answer;
    if (!parse_ask(c, 2, GET_OPTIONS, &ask))
        return;
    if (c->in_exec || c->cache_park == NULL)
        ask.wait_ms = 0;
    cache_read(c->cache, &c->a, &c->keys[0], &ask, c->waiter, c->rng, &answer);
    if (answer.wait_at != NULL) {
        struct waiter *w = c->cache_park(c, ask.wait_ms);
        if (w != NULL) {
            w->wants = ask.lease_ms > 0;
            w->lease_ms = ask.lease_ms;
            cache_wait(c->cache, &c->keys[0], answer.wait_at, w);
            if (c->waiter == NULL)
                counter_add(&c->counters->cache[CACHE_READ_WAITED], 1);
            return; /* nothing is replied yet */
        }
        if (answer.retry_ms < 0)
            answer.retry_ms = CACHE_RETRY_MAX_MS;
    }
    reply_key(c, &c->keys[0], &answer);
}

/* ---- CACHE.MGET ----------------------------------------------------------------------------------- */

void cmd_cache_mget(struct cmd_ctx *c)
{
    int64_t n;
    struct cache_ask ask;
    struct cache_answer answer;
    if (!num_parse_i64(c->argv[1], &n) || n < 1 || n > (int64_t)c->argc - 2) {
        cache_refuse(c, "ERR cache.mget takes the number of keys first, then as many keys: CACHE.MGET 2 a b");
        return;
    }
    uint32_t from = 2 + (uint32_t)n;
    for (uint32_t i = from; i < c->argc; i++)
        if (cmd_arg_is(c, i, STR("WAIT"))) {
            cache_refuse(c, "ERR cache.mget does not take WAIT: it would hold all keys up for one; use "
                            "CACHE.GET for those");
            return;
        }
    if (!parse_ask(c, from, GET_OPTIONS & ~(uint32_t)OPT_WAIT, &ask))
        return;
    reply_array(c->reply, (uint64_t)n);
    for (uint32_t i = 0; i < (uint32_t)n; i++) {
        if (c->serves_key != NULL && !c->serves_key(c, i))
            continue;
        cache_read(c->cache, &c->a, &c->keys[i], &ask, NULL, c->rng, &answer);
        reply_key(c, &c->keys[i], &answer);
    }
}

/* ---- CACHE.INSPECT --------------------------------------------------------------------------------- */

void cmd_cache_inspect(struct cmd_ctx *c)
{
    struct cache_view v;
    struct reply *r = c->reply;
    cache_view(c->cache, &c->a, &c->keys[0], &v);
    const struct meta *m = &v.meta;
    bool has = v.has_meta;
    int64_t now = c->a.now_ms, end = v.e != NULL ? entry_deadline(v.e) : 0;
    reply_map(r, 14);
    reply_cstr(r, "state");
    reply_cstr(r, state_names[v.state]);
    reply_cstr(r, "kind");
    reply_cstr(r, v.e == NULL ? "none" : has ? "cache" : "plain");
    put_number(r, "ttl", end != 0, end > now ? end - now : 0);
    put_number(r, "grace", v.grace_ms >= 0, v.grace_ms);
    put_number(r, "age", has, has ? now - m->set_ms : 0);
    put_number(r, "version", has && (m->flags & META_VERSION), has ? (int64_t)m->version : 0);
    put_number(r, "held-version", v.held_version != 0, (int64_t)v.held_version);
    put_number(r, "cost", has, has ? m->delta_ms : 0);
    put_number(r, "born", has, has ? (int64_t)m->born : 0);
    put_number(r, "tags", has, has ? m->ntags : 0);
    put_number(r, "bytes", v.e != NULL, v.e != NULL ? (int64_t)store_entry_bytes(c->a.store, v.e) : 0);
    put_number(r, "lease", v.lease_ms >= 0, v.lease_ms);
    put_number(r, "retry", v.retry_ms >= 0, v.retry_ms);
    put_number(r, "waiters", true, v.waiters);
}
