/* SCAN, KEYS and RANDOMKEY: they look at all keys, so they lock for themselves, a bucket
 * at a time, and never see the whole at one moment.
 *
 * KEYS is a full SCAN: every key that exists all the while is listed, one that
 * comes or goes meanwhile may or may not be. Stopping the world for its snapshot was
 * rejected: it would make the most dangerous command the most harmful, too. */
#include "cmd/scan.h"
#include "cmd/cmd.h"
#include "cmd/cost.h"
#include "cmd/handlers.h"
#include "cmd/types.h"

#include "base/assert.h"

#include <string.h>

enum { SCAN_CHEAP_COUNT = 1000, KEYS_STEP = 1024, FOUND_FIRST = 64 };

/* ---- SCAN ------------------------------------------------------------------------- */

struct scan {
    uint64_t cursor;
    struct scan_options o;

    /* What was found, copied: entries may move as soon as their shard is unlocked. */
    struct arena *arena;
    struct str *found;
    uint32_t n, cap;
    bool oom;
};

/* What strtoul() makes of a C string, as Redis reads it: signs, leading zeros and nothing at all are
 * numbers, and a NUL is the end. */
static bool parse_cursor(struct str text, uint64_t *out)
{
    uint64_t v = 0;
    text.n = strnlen(text.p, text.n);
    size_t sign = text.n > 0 && (text.p[0] == '-' || text.p[0] == '+');
    if (sign == 1 && text.n == 1)
        return false;
    for (size_t i = sign; i < text.n; i++) {
        unsigned digit = (unsigned)(text.p[i] - '0');
        if (digit > 9 || num_mul_overflows(v, 10, &v) || num_add_overflows(v, digit, &v))
            return false;
    }
    *out = sign == 1 && text.p[0] == '-' ? -v : v;
    return true;
}

static struct str every_if_star(struct str pattern)
{
    return str_eq(pattern, STR("*")) ? (struct str){NULL, 0} : pattern;
}

bool scan_arg_cursor(struct cmd_ctx *c, uint32_t i, uint64_t *out)
{
    if (parse_cursor(c->argv[i], out))
        return true;
    reply_error(c->reply, "ERR invalid cursor");
    return false;
}

bool scan_parse_options(struct cmd_ctx *c, uint32_t first, bool types, struct scan_options *o)
{
    *o = (struct scan_options){.count = SCAN_DEFAULT_COUNT};
    for (uint32_t i = first; i < c->argc; i += 2) {
        if (i + 1 < c->argc && cmd_arg_is(c, i, STR("COUNT"))) {
            if (!cmd_arg_i64(c, i + 1, &o->count))
                return false;
            if (o->count < 1)
                break;
        } else if (i + 1 < c->argc && cmd_arg_is(c, i, STR("MATCH"))) {
            o->pattern = every_if_star(c->argv[i + 1]);
        } else if (i + 1 < c->argc && types && cmd_arg_is(c, i, STR("TYPE"))) {
            o->type = (struct str){c->argv[i + 1].p, strnlen(c->argv[i + 1].p, c->argv[i + 1].n)};
        } else {
            o->count = 0;
            break;
        }
    }
    if (o->count >= 1)
        return true;
    reply_error(c->reply, REPLY_SYNTAX);
    return false;
}

static bool parse_scan(struct cmd_ctx *c, struct scan *s)
{
    *s = (struct scan){.arena = c->arena};
    return scan_arg_cursor(c, 1, &s->cursor) && scan_parse_options(c, 2, true, &s->o);
}

static bool keep_found(struct scan *s, struct str key)
{
    if (s->n == s->cap) {
        uint32_t cap = s->cap == 0 ? FOUND_FIRST : s->cap * 2;
        struct str *more = arena_alloc(s->arena, cap * sizeof(*more));
        if (more == NULL)
            return false;
        if (s->n > 0)
            memcpy(more, s->found, s->n * sizeof(*more));
        s->found = more;
        s->cap = cap;
    }
    s->found[s->n] = arena_copy(s->arena, key);
    return s->found[s->n++].p != NULL;
}

static bool scan_visit(void *arg, const struct entry *e)
{
    struct scan *s = arg;
    struct str key = entry_key(e);
    if (s->o.pattern.p != NULL && !str_glob(s->o.pattern, key, false))
        return true;
    if (s->o.type.p != NULL && !str_eq_nocase(s->o.type, str_of(type_name(e))))
        return true;
    s->oom = !keep_found(s, key);
    return !s->oom;
}

void cmd_scan(struct cmd_ctx *c)
{
    struct scan s;
    uint64_t next;
    uint32_t busy;
    if (!parse_scan(c, &s))
        return;
    uint32_t count = s.o.count > UINT32_MAX ? UINT32_MAX : (uint32_t)s.o.count;
    int err = store_scan(&c->a, c->session->db, s.cursor, count, scan_visit, &s, &next, &busy);
    if (s.oom)
        err = ERR_OOM;
    /* A busy shard ahead is for the next call, unless it is where this one wanted to start. */
    if (err == ERR_AGAIN && next == s.cursor) {
        c->again = true;
        return;
    }
    if (err != 0 && err != ERR_AGAIN) {
        cmd_reply_err(c, err);
        return;
    }
    char text[NUM_I64_TEXT_MAX];
    reply_array(c->reply, 2);
    reply_bulk(c->reply, (struct str){text, num_put_u64(text, next)});
    reply_array(c->reply, s.n);
    for (uint32_t i = 0; i < s.n; i++)
        reply_bulk(c->reply, s.found[i]);
}

uint64_t scan_cost_count(const struct cmd_ctx *c, uint32_t first)
{
    int64_t count = SCAN_DEFAULT_COUNT;
    for (uint32_t i = first; i + 1 < c->argc; i += 2)
        if (cmd_arg_is(c, i, STR("COUNT")) && !num_parse_i64(c->argv[i + 1], &count))
            return 0;
    return count < 0 ? 0 : (uint64_t)count;
}

uint64_t cost_scan(const struct cmd_ctx *c)
{
    uint64_t n = scan_cost_count(c, 2);
    if (n <= SCAN_CHEAP_COUNT)
        return n * COST_SCAN_KEY_NS; /* counting all keys would cost more than that */
    uint64_t keys = store_db_keys(c->a.store, c->session->db), buckets = store_buckets(c->a.store);
    return (n < keys ? n : keys) * COST_SCAN_KEY_NS + (n < buckets ? n : buckets) * COST_SCAN_BUCKET_NS;
}

/* ---- KEYS ------------------------------------------------------------------------- */

struct listing {
    struct reply *reply;
    struct str pattern; /* p NULL: every key, the empty one too, which "*" does not match */
    uint64_t n;
};

static bool keys_visit(void *arg, const struct entry *e)
{
    struct listing *l = arg;
    struct str key = entry_key(e);
    if (l->pattern.p == NULL || str_glob(l->pattern, key, false)) {
        reply_bulk(l->reply, key);
        l->n++;
    }
    return true;
}

void cmd_keys(struct cmd_ctx *c)
{
    struct listing l = {.reply = c->reply, .pattern = every_if_star(c->argv[1])};
    struct reply_mark mark = reply_mark(c->reply);
    size_t list = reply_deferred(c->reply);
    uint64_t cursor = 0;
    uint32_t busy;
    int err;
    do {
        err = store_scan(&c->a, c->session->db, cursor, KEYS_STEP, keys_visit, &l, &cursor, &busy);
    } while (err == 0 && cursor != 0);
    if (err == 0) {
        reply_deferred_end(c->reply, list, '*', l.n);
        return;
    }
    reply_rollback(c->reply, mark);
    if (err == ERR_AGAIN)
        c->again = true;
    else
        cmd_reply_err(c, err);
}

/* ---- RANDOMKEY -------------------------------------------------------------------- */

void cmd_randomkey(struct cmd_ctx *c)
{
    struct str key;
    int err = store_random_key(&c->a, c->session->db, c->rng, c->arena, &key);
    if (err == ERR_AGAIN)
        c->again = true;
    else if (err == ERR_FULL)
        c->too_long = true;
    else if (err != 0)
        cmd_reply_err(c, err);
    else if (key.p == NULL)
        reply_null(c->reply);
    else
        reply_bulk(c->reply, key);
}
