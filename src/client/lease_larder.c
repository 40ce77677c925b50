/* The cache commands. */
#include "client/lease.h"

#include "base/num.h"
#include "client/error.h"

#include <stdio.h>

enum { ARGS_MAX = 16 + LARDER_TAGS_MAX, BETA_TEXT = 40 };

/* A command being put together: words and numbers, and room for the latter's text. */
struct words {
    struct str argv[ARGS_MAX];
    char numbers[ARGS_MAX][NUM_I64_TEXT_MAX];
    uint32_t n;
};

static void put(struct words *w, struct str s)
{
    w->argv[w->n++] = s;
}

static void put_number(struct words *w, struct str name, int64_t v)
{
    put(w, name);
    w->argv[w->n] = lease_number(w->numbers[w->n], v);
    w->n++;
}

static const larder_reply *field(const larder_reply *map, const char *name)
{
    for (size_t i = 0; i + 1 < larder_reply_count(map); i += 2) {
        struct larder_bytes key = larder_reply_text(larder_reply_child(map, i));
        if (key.n == strlen(name) && memcmp(key.p, name, key.n) == 0)
            return larder_reply_child(map, i + 1);
    }
    return NULL;
}

static int read_state(const larder_reply *map, enum lease_state *out)
{
    static const char *const names[] = {[LEASE_FRESH] = "fresh",
                                        [LEASE_STALE] = "stale",
                                        [LEASE_NEGATIVE] = "negative",
                                        [LEASE_MISS] = "miss"};
    struct larder_bytes text = larder_reply_text(field(map, "state"));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (text.n == strlen(names[i]) && memcmp(text.p, names[i], text.n) == 0) {
            *out = (enum lease_state)i;
            return LARDER_OK;
        }
    }
    return LARDER_ERR_PROTOCOL;
}

static int read_answer(larder *l, struct str key, const larder_reply *map, struct lease_answer *out,
                       struct larder_error *err)
{
    const larder_reply *value = field(map, "value"), *retry = field(map, "retry"), *ttl = field(map, "ttl");
    struct larder_bytes token = larder_reply_text(field(map, "lease"));
    if (read_state(map, &out->state) < 0 || token.n >= sizeof out->token)
        return lease_odd_reply(l, key, "CACHE.GET", err);
    memcpy(out->token, token.p, token.n);
    out->token[token.n] = '\0';
    out->version = (uint64_t)larder_reply_integer(field(map, "version"));
    out->refused = token.n == 0;
    out->ttl_ms = larder_reply_kind(ttl) == LARDER_INTEGER ? larder_reply_integer(ttl) : -1;
    out->retry_ms = larder_reply_kind(retry) == LARDER_INTEGER ? larder_reply_integer(retry) : -1;
    if (larder_reply_kind(value) == LARDER_NULL) {
        if (out->state == LEASE_FRESH || out->state == LEASE_STALE)
            out->state = LEASE_MISS; /* stale, and the value is kept for others */
        return LARDER_OK;
    }
    return lease_copy_value(&out->value, larder_reply_text(value), err);
}

int lease_larder_get(larder *l, struct str key, const struct lease_ask *ask, struct lease_answer *out,
                     struct larder_error *err)
{
    struct words w = {.n = 0};
    char beta[BETA_TEXT];
    larder_reply *reply;
    put(&w, STR("CACHE.GET"));
    put(&w, key);
    put(&w, STR("STALE"));
    if (ask->lock_ms > 0) {
        put_number(&w, STR("LEASE"), ask->lock_ms);
        if (ask->beta > 0) {
            put(&w, STR("EARLY"));
            put(&w, (struct str){beta, num_put_double(beta, ask->beta)});
        }
    }
    if (ask->wait_ms > 0)
        put_number(&w, STR("WAIT"), ask->wait_ms);
    if (ask->min_version > 0)
        put_number(&w, STR("MINVER"), (int64_t)ask->min_version);
    struct lease_command c = {.argv = w.argv, .argc = w.n, .at = 1, .wait_ms = ask->wait_ms};
    c.stand_in = ask->stand_in;
    int status = lease_run(l, &c, &reply, err);
    if (status == LARDER_OK)
        status = read_answer(l, key, reply, out, err);
    larder_reply_free(reply);
    return status;
}

static int read_fill(larder *l, struct str key, const larder_reply *reply, const char *what,
                     enum lease_fill *out, struct larder_error *err)
{
    static const char *const names[] = {
        [LEASE_STORED] = "OK", [LEASE_LOST] = "LEASELOST", [LEASE_OLD] = "OLDVERSION"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(larder_reply_text(reply).p, names[i]) == 0) {
            *out = (enum lease_fill)i;
            return LARDER_OK;
        }
    }
    return lease_odd_reply(l, key, what, err);
}

static void put_tags(struct words *w, const struct lease_value *v)
{
    put_number(w, STR("TAGS"), (int64_t)v->ntags);
    for (size_t i = 0; i < v->ntags; i++)
        put(w, str_from(v->tags[i]));
}

/* On a stand-in of a ring (most_ms above 0) it lives for a short while, without grace. */
static void put_fill(struct words *w, struct str key, const struct lease_value *v, int64_t most_ms)
{
    int64_t ttl_ms = v->ttl_ms > 0 ? v->ttl_ms : 0;
    if (most_ms > 0 && (ttl_ms == 0 || ttl_ms > most_ms))
        ttl_ms = most_ms;
    put(w, STR("CACHE.SET"));
    put(w, key);
    put(w, v->bytes);
    if (v->token[0] != '\0') {
        put(w, STR("LEASE"));
        put(w, str_of(v->token));
    }
    if (ttl_ms > 0)
        put_number(w, STR("PX"), ttl_ms);
    if (ttl_ms > 0 && v->grace_ms > 0 && !v->negative && most_ms == 0)
        put_number(w, STR("GRACE"), v->grace_ms);
    if (v->version > 0)
        put_number(w, STR("VERSION"), (int64_t)v->version);
    if (v->cost_ms >= 0)
        put_number(w, STR("COST"), v->cost_ms);
    if (v->negative)
        put(w, STR("NEGATIVE"));
    if (v->ntags > 0)
        put_tags(w, v);
}

int lease_larder_fill(larder *l, struct str key, const struct lease_value *v, enum lease_fill *out,
                      struct larder_error *err)
{
    struct words w = {.n = 0}, standin = {.n = 0};
    larder_reply *reply;
    put_fill(&w, key, v, 0);
    put_fill(&standin, key, v, l->set.o.standin_ttl_ms);
    struct lease_command c = {.argv = w.argv, .argc = w.n, .at = 1, .stand_in = v->stand_in};
    c.standin_argv = standin.argv;
    c.standin_argc = standin.n;
    int status = lease_run(l, &c, &reply, err);
    if (status == LARDER_OK)
        status = read_fill(l, key, reply, "CACHE.SET", out, err);
    larder_reply_free(reply);
    return status;
}

int lease_larder_fail(larder *l, struct str key, const char *token, int64_t retry_ms, bool stand_in,
                      struct larder_error *err)
{
    char number[NUM_I64_TEXT_MAX];
    larder_reply *reply;
    struct str argv[] = {STR("CACHE.FAIL"), key, str_of(token), STR("RETRY"), lease_number(number, retry_ms)};
    struct lease_command c = {.argv = argv, .argc = ARRAY_LEN(argv), .at = 1, .stand_in = stand_in};
    int status = lease_run(l, &c, &reply, err);
    larder_reply_free(reply);
    return status;
}

int lease_larder_invalidate(larder *l, struct str key, const struct lease_invalidation *i,
                            struct larder_error *err)
{
    struct words w = {.n = 0};
    larder_reply *reply;
    put(&w, STR("CACHE.INVALIDATE"));
    put(&w, key);
    if (i->soft)
        put(&w, STR("SOFT"));
    if (i->has_version) {
        put_number(&w, STR("VERSION"), (int64_t)i->version);
        put_number(&w, STR("HOLD"), i->hold_ms);
    }
    struct lease_command c = {.argv = w.argv, .argc = w.n, .at = 1};
    int status = lease_run(l, &c, &reply, err);
    if (status == LARDER_OK && larder_reply_integer(reply) == 0)
        status = LARDER_MISS;
    larder_reply_free(reply);
    return status;
}
