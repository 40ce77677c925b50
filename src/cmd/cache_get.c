/* CACHE.GET, CACHE.MGET, CACHE.INSPECT: reading. */
#include "cache/cache.h"
#include "cmd/cache_options.h"
#include "cmd/handlers.h"
#include "proto/slot.h"
#include "store/ext.h"

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

/* The map of CACHE.GET is what a hit costs, so it is written here as it goes out, in runs of bytes whose
 * length the compiler knows: all that is usual in one of them. */
#define HEAD(map, state) map "$5\r\nstate\r\n" state "\r\n$5\r\nvalue\r\n"
#define HEAD2(state) STR(HEAD("*14\r\n", state))
#define HEAD3(state) STR(HEAD("%7\r\n", state))
#define FRESH "$5\r\nfresh"
#define REST(null) "$7\r\nversion\r\n" null "$5\r\nlease\r\n" null "$5\r\nretry\r\n" null
#define NULL2 "$-1\r\n"
#define NULL3 "_\r\n"

static const struct str heads[][2] = {[CACHE_STALE] = {HEAD2("$5\r\nstale"), HEAD3("$5\r\nstale")},
                                      [CACHE_NEGATIVE] = {HEAD2("$8\r\nnegative"), HEAD3("$8\r\nnegative")},
                                      [CACHE_MISS] = {HEAD2("$4\r\nmiss"), HEAD3("$4\r\nmiss")}};

enum { TAIL_MAX = 512 };
_Static_assert(TAIL_MAX > 2 * CACHE_TOKEN_TEXT + 5 * 2 * NUM_I64_TEXT_MAX,
               "five names, four numbers, a token");

static ALWAYS_INLINE char *put(char *at, struct str s)
{
    memcpy(at, s.p, s.n);
    return at + s.n;
}

static ALWAYS_INLINE char *put_null(char *at, bool resp3)
{
    return resp3 ? put(at, STR(NULL3)) : put(at, STR(NULL2));
}

static ALWAYS_INLINE char *put_value(char *at, bool resp3, bool there, int64_t v)
{
    if (!there)
        return put_null(at, resp3);
    *at++ = ':';
    at += likely((uint64_t)v < NUM_SHORT_END) ? num_put_short(at, (uint32_t)v) : num_put_i64(at, v);
    return put(at, STR("\r\n"));
}

static char *put_lease(struct cmd_ctx *c, char *at, uint64_t token)
{
    _Static_assert(CACHE_TOKEN_TEXT == 57, "as it is said here");
    at = put(at, STR("$57\r\n"));
    at += cache_put_token(c->cache, token, at);
    return put(at, STR("\r\n"));
}

/* Version, lease and retry, where there is one of them. */
static char *put_rest(struct cmd_ctx *c, char *at, bool resp3, const struct cache_answer *a)
{
    at = put(at, STR("$7\r\nversion\r\n"));
    at = put_value(at, resp3, a->has_version, (int64_t)a->version);
    at = put(at, STR("$5\r\nlease\r\n"));
    at = a->token != 0 ? put_lease(c, at, a->token) : put_null(at, resp3);
    at = put(at, STR("$5\r\nretry\r\n"));
    return put_value(at, resp3, a->retry_ms >= 0, a->retry_ms);
}

static ALWAYS_INLINE void reply_head(struct reply *r, bool resp3, enum cache_state state)
{
    char *at = reply_room(r, TAIL_MAX);
    if (unlikely(at == NULL))
        return;
    if (unlikely(state != CACHE_FRESH))
        at = put(at, heads[state][resp3]);
    else
        at = resp3 ? put(at, HEAD3(FRESH)) : put(at, HEAD2(FRESH));
    reply_wrote(r, at);
}

/* resp3 is a constant wherever this is called. */
static ALWAYS_INLINE void reply_answer_in(struct cmd_ctx *c, bool resp3, const struct cache_answer *a)
{
    struct reply *r = c->reply;
    reply_head(r, resp3, a->state);
    if (likely(a->value.p != NULL))
        cmd_reply_part(c, a->block, a->value);
    char *at = reply_room(r, TAIL_MAX);
    if (unlikely(at == NULL))
        return;
    if (unlikely(a->value.p == NULL))
        at = put_null(at, resp3);
    at = put(at, STR("$3\r\nttl\r\n"));
    at = put_value(at, resp3, a->ttl_ms >= 0, a->ttl_ms);
    at = put(at, STR("$3\r\nage\r\n"));
    at = put_value(at, resp3, a->age_ms >= 0, a->age_ms);
    if (unlikely(a->has_version || a->token != 0 || a->retry_ms >= 0))
        at = put_rest(c, at, resp3, a);
    else
        at = resp3 ? put(at, STR(REST(NULL3))) : put(at, STR(REST(NULL2)));
    reply_wrote(r, at);
}

static void reply_answer(struct cmd_ctx *c, const struct cache_answer *a)
{
    if (c->reply->proto >= 3)
        reply_answer_in(c, true, a);
    else
        reply_answer_in(c, false, a);
}

/* Only the primary knows who loads. */
static void reply_moved(struct cmd_ctx *c, const struct key *k)
{
    reply_errorf(c->reply, "MOVED %u %s", slot_of((struct str){k->p, k->n}), cache_primary(c->cache));
}

static void note_read(struct cmd_ctx *c, const struct cache_answer *a)
{
    bool hit = a->value.p != NULL || a->state == CACHE_NEGATIVE;
    counter_add(&c->counters->cache[a->state], 1);
    if (unlikely(a->retry_ms >= 0))
        counter_add(&c->counters->cache[CACHE_READ_RETRIED], 1);
    counter_add(hit ? &c->counters->hits : &c->counters->misses, 1);
}

static void reply_key(struct cmd_ctx *c, const struct key *k, const struct cache_answer *a)
{
    if (a->wrong_type)
        reply_error(c->reply, REPLY_WRONGTYPE);
    else if (a->refused)
        reply_moved(c, k);
    else
        reply_answer(c, a);
    if (!a->wrong_type && !a->refused)
        note_read(c, a);
    else
        counter_add(&c->counters->misses, 1);
}

/* ---- CACHE.GET ---------------------------------------------------------------------------------- */

static bool parse_ask(struct cmd_ctx *c, uint32_t from, uint32_t taken, struct cache_ask *ask)
{
    struct cache_options o;
    *ask = (struct cache_ask){0};
    if (likely(from == c->argc))
        return true;
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
    const struct entry *e = store_find_any(&c->a, &c->keys[0]);
    bool plainly = c->waiter == NULL && ask.early == 0 && !ask.has_minver;
    if (likely(plainly && cache_hit(c->cache, &c->a, e, &answer))) {
        reply_answer(c, &answer);
        note_read(c, &answer);
        return;
    }
    cache_read_found(c->cache, &c->a, &c->keys[0], e, &ask, c->waiter, c->rng, &answer);
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
