/* DEBUG DIGEST is Redis's, so that tests can tell whether two servers hold the same data:
 *
 *      xor(d, x)  d ^= SHA1(x)                   order does not matter
 *      mix(d, x)  d = SHA1(d ^ SHA1(x))          order matters
 *
 *      value:     mix(type), mix(bytes) or xor(each member of a set), xor("!!expire!!") if there is a
 * deadline key:       mix(name), then its value; from zero data set:  for each database that is not empty:
 * mix(number), xor(each key)
 *
 * Numbers are four bytes, big endian. */
#include "server/debug_keys.h"

#include "base/assert.h"
#include "base/sha1.h"
#include "cmd/types.h"
#include "server/handlers.h"
#include "value/rdb_string.h"

#include <arpa/inet.h>
#include <stdio.h>

enum { TYPE_STRING = 0, DIGEST_STEP = 1024, POPULATE_SIZE_MAX = 1 << 20 };

struct digest {
    uint8_t b[SHA1_BYTES];
};

static void xor_in(struct digest *d, const void *p, size_t n)
{
    uint8_t hash[SHA1_BYTES];
    sha1(p, n, hash);
    for (unsigned i = 0; i < SHA1_BYTES; i++)
        d->b[i] ^= hash[i];
}

static void mix_in(struct digest *d, const void *p, size_t n)
{
    xor_in(d, p, n);
    sha1(d->b, SHA1_BYTES, d->b);
}

static void mix_number(struct digest *d, uint32_t v)
{
    uint32_t be = htonl(v);
    mix_in(d, &be, sizeof be);
}

static bool add_member(void *arg, const struct object_item *item)
{
    xor_in(arg, item->name.p, item->name.n);
    return true;
}

static void add_object(struct digest *d, const struct object *o)
{
    struct object_walk w = {0};
    mix_number(d, o->kind);
    while (object_type(o)->each(o, &w, DIGEST_STEP, add_member, d))
        ;
}

static void add_value(struct digest *d, const struct entry *e)
{
    if (entry_is_string(e)) {
        struct block *block;
        struct str bytes = entry_string(e, &block);
        mix_number(d, TYPE_STRING);
        mix_in(d, bytes.p, bytes.n);
    } else {
        add_object(d, entry_object(e));
    }
    if (entry_deadline(e) != 0)
        xor_in(d, "!!expire!!", 10);
}

static void reply_digest(struct reply *r, const struct digest *d)
{
    char hex[2 * SHA1_BYTES + 1];
    for (unsigned i = 0; i < SHA1_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", d->b[i]);
    reply_status(r, hex);
}

static bool digest_visit(void *arg, const struct entry *e)
{
    struct digest d = {{0}};
    struct str key = entry_key(e);
    mix_in(&d, key.p, key.n);
    add_value(&d, e);
    xor_in(arg, d.b, sizeof d.b);
    return true;
}

void debug_keys_digest(struct cmd_ctx *c)
{
    struct digest all = {{0}};
    for (uint32_t db = 0; db < c->limits->databases; db++) {
        uint64_t cursor = 0;
        uint32_t busy;
        if (store_db_keys(c->a.store, db) == 0)
            continue;
        mix_number(&all, db);
        do {
            int err = store_scan(&c->a, db, cursor, DIGEST_STEP, digest_visit, &all, &cursor, &busy);
            ASSERT(err == 0); /* nothing is busy for the lane */
        } while (cursor != 0);
    }
    reply_digest(c->reply, &all);
}

void debug_keys_digest_value(struct cmd_ctx *c)
{
    reply_array(c->reply, c->argc - 2);
    for (uint32_t i = 2; i < c->argc; i++) {
        struct digest d = {{0}};
        struct key k;
        key_make(c->a.store, &k, c->argv[i], c->session->db);
        const struct entry *e = store_peek(&c->a, &k);
        if (e != NULL)
            add_value(&d, e);
        reply_digest(c->reply, &d);
    }
}

/* Bytes of the value in an RDB file, or an error. */
static int64_t string_serialized(struct cmd_ctx *c, const struct entry *e)
{
    struct block *block;
    struct str value = entry_string(e, &block);
    char *serialized = arena_alloc(c->arena, rdb_string_room(value.n));
    return serialized != NULL ? (int64_t)rdb_string_put(serialized, value, true) : ERR_OOM;
}

static int64_t object_serialized(const struct object *o)
{
    enum { VERSION = 10, STEP = 1 << 20 };
    struct object_walk w = {0};
    struct buf out;
    int64_t n = 0;
    int rc;
    buf_init(&out);
    do {
        buf_clear(&out);
        rc = object_type(o)->dump(o, VERSION, &w, STEP, &out);
        n += (int64_t)out.n;
    } while (rc > 0);
    buf_release(&out);
    return rc == 0 ? n : rc;
}

static const void *value_address(const struct entry *e)
{
    struct block *block;
    return entry_is_string(e) ? (const void *)entry_string(e, &block).p : entry_object(e);
}

/* The line that Redis gives and tools take apart. */
void debug_keys_object(struct cmd_ctx *c)
{
    struct key k;
    key_make(c->a.store, &k, c->argv[2], c->session->db);
    uint64_t idle_s = store_idle_s(&c->a, &k); /* first: the entry may move */
    const struct entry *e = store_peek(&c->a, &k);
    if (e == NULL) {
        reply_error(c->reply, REPLY_NO_KEY);
        return;
    }
    int64_t serialized = entry_is_string(e) ? string_serialized(c, e) : object_serialized(entry_object(e));
    if (serialized < 0) {
        cmd_reply_err(c, (int)serialized);
        return;
    }
    char text[256];
    snprintf(text, sizeof text,
             "Value at:%p refcount:1 encoding:%s serializedlength:%lld lru:%lld lru_seconds_idle:%llu",
             value_address(e), type_encoding(e), (long long)serialized,
             (long long)(c->a.now_ms / 1000 - (int64_t)idle_s) & 0xffffff, (unsigned long long)idle_s);
    reply_status(c->reply, text);
}

static size_t put_key_name(char *dst, struct str prefix, int64_t i)
{
    memcpy(dst, prefix.p, prefix.n);
    dst[prefix.n] = ':';
    return prefix.n + 1 + num_put_i64(dst + prefix.n + 1, i);
}

/* Keys prefix:0 ... with value "value:N", padded to size. */
void debug_keys_populate(struct cmd_ctx *c)
{
    static const char range[] = "ERR value is out of range, must be positive";
    int64_t count, size = 0;
    struct str prefix = c->argc > 3 ? c->argv[3] : STR("key");
    if (!cmd_arg_range(c, 2, 0, INT64_MAX, &count, range) ||
        (c->argc > 4 && !cmd_arg_range(c, 4, 0, POPULATE_SIZE_MAX, &size, range)))
        return;
    char *name = arena_alloc(c->arena, prefix.n + 32), *value = arena_alloc(c->arena, (size_t)size + 32);
    if (name == NULL || value == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        struct key k;
        memset(value, 0, (size_t)size);
        size_t n = put_key_name(name, prefix, i);
        size_t len = (size_t)snprintf(value, 32, "value:%lld", (long long)i);
        key_make(c->a.store, &k, (struct str){name, n}, c->session->db);
        if (store_peek(&c->a, &k) != NULL)
            continue;
        int rc = store_put_string(&c->a, &k, (struct str){value, size > 0 ? (size_t)size : len}, NULL, 0, 0);
        if (rc != 0) {
            cmd_reply_err(c, rc);
            return;
        }
    }
    reply_ok(c->reply);
}
