/* A full copy, in Redis's RDB format, as it lies in memory.
 *
 *      "REDIS" "0010" | aux fields | SELECT db | [expire] type key value ... | EOF | CRC-64
 *
 * It is walked twice: once to check every byte of it while our own data still stand, once to load it. */
#include "server/repl.h"

#include "base/hash.h"
#include "os/clock.h"
#include "server/server.h"
#include "value/rdb_string.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

enum {
    HEADER = 9,
    TRAILER = 8,
    VERSION_MAX = 11,
    TYPE_STRING = 0,
    OP_FUNCTION = 0xf5,
    OP_IDLE = 0xf8,
    OP_FREQ = 0xf9,
    OP_AUX = 0xfa,
    OP_RESIZE = 0xfb,
    OP_EXPIRE_MS = 0xfc,
    OP_EXPIRE_S = 0xfd,
    OP_SELECT = 0xfe,
    OP_EOF = 0xff,
};

struct walk {
    struct repl *r;
    struct repl_copy *copy;
    struct str in;
    uint32_t db;
    int64_t expire_ms;
    bool load;
    uint64_t seen;
    uint64_t turn;
};

static int corrupt(struct walk *w, const char *what)
{
    snprintf(w->copy->text, sizeof w->copy->text, "the primary's full copy is damaged (%s at byte %zu)", what,
             w->copy->n - w->in.n);
    return ERR_CORRUPT;
}

static bool take_bytes(struct walk *w, size_t n, const char **p)
{
    if (w->in.n < n)
        return false;
    *p = w->in.p;
    w->in.p += n;
    w->in.n -= n;
    return true;
}

static bool take_string(struct walk *w, struct rdb_string *out)
{
    return rdb_string_get(&w->in, STREAM_BULK_MAX, out) == 0;
}

static bool take_length(struct walk *w, uint64_t *n)
{
    bool encoded;
    return rdb_len_get(&w->in, n, &encoded) == 0 && !encoded;
}

/* bytes: 4 for seconds, 8 for milliseconds. */
static bool take_deadline(struct walk *w, unsigned bytes)
{
    const char *p;
    uint64_t v = 0;
    if (!take_bytes(w, bytes, &p))
        return false;
    for (unsigned i = 0; i < bytes; i++)
        v |= (uint64_t)(uint8_t)p[i] << (8 * i);
    if (v == 0 || v > INT64_MAX / 1000)
        return false;
    w->expire_ms = bytes == 4 ? (int64_t)v * 1000 : (int64_t)v;
    return true;
}

static bool take_aux(struct walk *w)
{
    struct rdb_string name, value;
    int64_t db;
    if (!take_string(w, &name) || !take_string(w, &value))
        return false;
    struct str n = rdb_string_bytes(&name), v = rdb_string_bytes(&value);
    if (n.p != NULL && v.p != NULL && str_eq(n, STR("repl-stream-db")) && num_parse_i64(v, &db) && db >= 0 &&
        db < w->r->server->limits.databases)
        w->copy->stream_db = db;
    return true;
}

static bool take_db(struct walk *w)
{
    uint64_t db;
    if (!take_length(w, &db) || db >= w->r->server->limits.databases)
        return false;
    w->db = (uint32_t)db;
    return true;
}

/* ---- one key ---- */

static int unpack(struct walk *w, const struct rdb_string *s, struct str *out)
{
    *out = rdb_string_bytes(s);
    if (out->p != NULL)
        return 0;
    char *p = arena_alloc(&w->r->arena, s->n > 0 ? s->n : 1);
    if (p == NULL)
        return ERR_OOM;
    *out = (struct str){p, s->n};
    return rdb_string_unpack(s, p);
}

static int put(struct walk *w, struct str key, struct str value)
{
    struct repl *r = w->r;
    struct access a = r->ctx.a;
    struct key k;
    a.now_ms = r->now_ms;
    key_make(r->server->store, &k, key, w->db);
    while (!store_lock_one(r->server->store, key_shard(&k))) { /* a job of before, about to end */
        repl_round_end(r);
        sched_yield();
        repl_round_begin(r);
    }
    int rc = store_put_string(&a, &k, value, NULL, w->expire_ms, 0);
    store_unlock_one(r->server->store, key_shard(&k));
    return rc;
}

/* Let those have their turn who want the world stopped; they may want something else of us. */
static int let_others(struct walk *w)
{
    if (++w->seen % REPL_LOAD_SLICE != 0)
        return 0;
    repl_round_end(w->r);
    repl_round_begin(w->r);
    return w->turn == w->r->turn ? 0 : ERR_AGAIN;
}

static int take_key(struct walk *w)
{
    struct rdb_string packed_key, packed_value;
    struct str key, value;
    arena_reset(&w->r->arena);
    if (!take_string(w, &packed_key) || !take_string(w, &packed_value))
        return corrupt(w, "a key");
    int rc = unpack(w, &packed_key, &key);
    if (rc == 0)
        rc = unpack(w, &packed_value, &value);
    if (rc == ERR_CORRUPT)
        return corrupt(w, "a compressed string");
    if (rc == 0 && w->load)
        rc = put(w, key, value);
    if (rc == 0 && w->load)
        rc = let_others(w);
    w->copy->keys += !w->load;
    w->expire_ms = 0;
    return rc;
}

static int unknown_type(struct walk *w, unsigned type)
{
    struct rdb_string name;
    struct str key = {"?", 1};
    if (take_string(w, &name) && rdb_string_bytes(&name).p != NULL)
        key = rdb_string_bytes(&name);
    snprintf(w->copy->text, sizeof w->copy->text,
             "the full copy holds a value of type %u, which this version does not know, at the key '%.*s'", type,
             key.n < 100 ? (int)key.n : 100, key.p);
    return ERR_TYPE;
}

/* ---- the whole ---- */

static bool take_opcode(struct walk *w, unsigned op)
{
    struct rdb_string ignored;
    const char *p;
    uint64_t n;
    switch (op) {
    case OP_AUX: return take_aux(w);
    case OP_SELECT: return take_db(w);
    case OP_RESIZE: return take_length(w, &n) && take_length(w, &n);
    case OP_EXPIRE_S: return take_deadline(w, 4);
    case OP_EXPIRE_MS: return take_deadline(w, 8);
    case OP_IDLE: return take_length(w, &n);
    case OP_FREQ: return take_bytes(w, 1, &p);
    case OP_FUNCTION: return take_string(w, &ignored);
    default: return false;
    }
}

static int walk(struct walk *w)
{
    for (;;) {
        const char *p;
        if (!take_bytes(w, 1, &p))
            return corrupt(w, "no end");
        unsigned op = (uint8_t)*p;
        if (op == OP_EOF)
            return w->in.n == 0 ? 0 : corrupt(w, "more behind the end");
        int rc = 0;
        if (op == TYPE_STRING)
            rc = take_key(w);
        else if (op < OP_FUNCTION)
            rc = unknown_type(w, op);
        else if (!take_opcode(w, op))
            rc = corrupt(w, "a field");
        if (rc != 0)
            return rc;
    }
}

static bool checksum_ok(const struct repl_copy *copy)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < TRAILER; i++)
        sum |= (uint64_t)(uint8_t)copy->p[copy->n - TRAILER + i] << (8 * i);
    return sum == 0 || sum == hash_crc64(0, copy->p, copy->n - TRAILER);
}

static struct walk walk_of(struct repl_copy *copy, struct repl *r)
{
    return (struct walk){.r = r, .copy = copy, .in = {copy->p + HEADER, copy->n - HEADER - TRAILER}};
}

int repl_copy_check(struct repl_copy *copy, struct repl *r)
{
    int64_t version = 0;
    copy->keys = 0;
    copy->stream_db = -1;
    if (copy->n < HEADER + 1 + TRAILER || memcmp(copy->p, "REDIS", 5) != 0 ||
        !num_parse_i64((struct str){copy->p + 7, 2}, &version) || version > VERSION_MAX || copy->p[5] != '0' ||
        copy->p[6] != '0' || !checksum_ok(copy)) {
        snprintf(copy->text, sizeof copy->text,
                 "the primary's full copy is no RDB file up to version %d, or its checksum is wrong", VERSION_MAX);
        return ERR_CORRUPT;
    }
    struct walk w = walk_of(copy, r);
    return walk(&w);
}

int repl_copy_load(struct repl_copy *copy, struct repl *r, uint64_t turn)
{
    struct walk w = walk_of(copy, r);
    w.load = true;
    w.turn = turn;
    repl_round_begin(r);
    int rc = walk(&w);
    repl_round_end(r);
    return rc;
}
