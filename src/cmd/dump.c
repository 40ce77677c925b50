/* DUMP and RESTORE: a value as bytes that any Redis understands.
 *
 *      type | value as in an RDB file | RDB version, u16 | CRC-64 of all before, u64      (little endian)
 *
 * We write version 10 (Redis 7.0), which every peer of interest accepts, and read up to
 * 11 (7.2). The payload comes from a client: rdb_string_get() believes nothing. */
#include "cmd/cmd.h"
#include "cmd/cost.h"
#include "cmd/effect.h"
#include "cmd/handlers.h"
#include "value/rdb_string.h"

#include "base/hash.h"

#include <string.h>

enum {
    RDB_TYPE_STRING = 0,
    RDB_VERSION_WRITTEN = 10,
    RDB_VERSION_MAX = 11,
    FOOTER_VERSION = 2,
    FOOTER = FOOTER_VERSION + 8,
};

static void put_little_endian(char *dst, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        dst[i] = (char)(v >> (8 * i));
}

static uint64_t get_little_endian(const char *p, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v |= (uint64_t)(uint8_t)p[i] << (8 * i);
    return v;
}

/* ---- DUMP ------------------------------------------------------------------------- */

void cmd_dump(struct cmd_ctx *c)
{
    struct entry *e = cmd_find(c, 0);
    struct block *held;
    if (e == NULL) {
        reply_null(c->reply);
        return;
    }
    struct str value = entry_string(e, &held);
    struct block *out = block_new(1 + rdb_string_room(value.n) + FOOTER);
    if (out == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return;
    }
    out->data[0] = RDB_TYPE_STRING;
    size_t n = 1 + rdb_string_put(out->data + 1, value, true);
    put_little_endian(out->data + n, RDB_VERSION_WRITTEN, FOOTER_VERSION);
    n += FOOTER_VERSION;
    put_little_endian(out->data + n, hash_crc64(0, out->data, n), 8);
    out->n = n + 8;
    cmd_reply_part(c, out, block_str(out));
    block_put(out);
}

uint64_t cost_dump(const struct cmd_ctx *c)
{
    return (uint64_t)cost_string_bytes(c, 0) * COST_DUMP_NS_PER_BYTE;
}

/* ---- RESTORE ---------------------------------------------------------------------- */

struct options {
    bool replace, absolute;
    int64_t idle_s, freq; /* -1: not given */
};

static bool parse_options(struct cmd_ctx *c, struct options *o)
{
    *o = (struct options){.idle_s = -1, .freq = -1};
    for (uint32_t i = 4; i < c->argc; i++) {
        bool more = i + 1 < c->argc;
        if (cmd_arg_is(c, i, STR("REPLACE"))) {
            o->replace = true;
        } else if (cmd_arg_is(c, i, STR("ABSTTL"))) {
            o->absolute = true;
        } else if (more && o->freq == -1 && cmd_arg_is(c, i, STR("IDLETIME"))) {
            if (!cmd_arg_i64(c, ++i, &o->idle_s))
                return false;
            if (o->idle_s < 0) {
                reply_error(c->reply, "ERR Invalid IDLETIME value, must be >= 0");
                return false;
            }
        } else if (more && o->idle_s == -1 && cmd_arg_is(c, i, STR("FREQ"))) {
            if (!cmd_arg_i64(c, ++i, &o->freq))
                return false;
            if (o->freq < 0 || o->freq > 255) {
                reply_error(c->reply, "ERR Invalid FREQ value, must be >= 0 and <= 255");
                return false;
            }
        } else {
            reply_error(c->reply, REPLY_SYNTAX);
            return false;
        }
    }
    return true;
}

/* *deadline: 0 for none; in the past for a key that has no time left. */
static bool parse_ttl(struct cmd_ctx *c, bool absolute, int64_t *deadline)
{
    int64_t ttl;
    if (!cmd_arg_i64(c, 2, &ttl))
        return false;
    if (ttl < 0) {
        reply_error(c->reply, "ERR Invalid TTL value, must be >= 0");
        return false;
    }
    if (ttl == 0 || absolute)
        *deadline = ttl;
    else if (num_add_overflows(ttl, c->a.now_ms, deadline))
        *deadline = 1; /* beyond all time: Redis's sum turns negative, and the key is gone at once */
    return true;
}

static bool footer_ok(struct str in)
{
    if (in.n < FOOTER)
        return false;
    const char *footer = in.p + in.n - FOOTER;
    return get_little_endian(footer, FOOTER_VERSION) <= RDB_VERSION_MAX &&
           get_little_endian(footer + FOOTER_VERSION, 8) == hash_crc64(0, in.p, in.n - 8);
}

/* The value within a payload, unless it has been tampered with. */
static bool parse_payload(struct cmd_ctx *c, struct rdb_string *out)
{
    struct str in = c->argv[3];
    if (!footer_ok(in)) {
        reply_error(c->reply, "ERR DUMP payload version or checksum are wrong");
        return false;
    }
    in.n -= FOOTER;
    if (in.n > 0 && in.p[0] == RDB_TYPE_STRING) {
        in = (struct str){in.p + 1, in.n - 1};
        if (rdb_string_get(&in, c->limits->bulk_max, out) == 0)
            return true;
    }
    reply_error(c->reply, "ERR Bad data format");
    return false;
}

/* The time to live as a deadline; what was there before does not matter any more. */
static void note_restored(struct cmd_ctx *c, int64_t deadline)
{
    char text[NUM_I64_TEXT_MAX];
    const struct str argv[] = {STR("RESTORE"), c->argv[1],     {text, num_put_i64(text, deadline)},
                               c->argv[3],     STR("REPLACE"), STR("ABSTTL")};
    effect_add(c, argv, ARRAY_LEN(argv));
}

/* ERR_CORRUPT or ERR_OOM, with nothing changed. */
static int restore(struct cmd_ctx *c, const struct rdb_string *s, int64_t deadline)
{
    struct str value = rdb_string_bytes(s);
    struct block *block = NULL;
    int err = 0;
    if (value.p == NULL) {
        block = block_new(s->n);
        if (block == NULL)
            return ERR_OOM;
        block->n = s->n;
        value = block_str(block);
        err = rdb_string_unpack(s, block->data);
    }
    if (err == 0 && deadline != 0 && deadline <= c->a.now_ms) {
        if (store_delete(&c->a, &c->keys[0]))
            effect_del(c);
    } else if (err == 0) {
        err = store_put_string(&c->a, &c->keys[0], value, block, deadline, 0);
        if (err == 0)
            note_restored(c, deadline);
    }
    if (block != NULL)
        block_put(block);
    return err;
}

/* IDLETIME and FREQ are checked, but a restored key starts like any new one. */
void cmd_restore(struct cmd_ctx *c)
{
    struct options o;
    struct rdb_string s;
    int64_t deadline;
    if (!parse_options(c, &o))
        return;
    if (!o.replace && store_find(&c->a, &c->keys[0]) != NULL) {
        reply_error(c->reply, "BUSYKEY Target key name already exists.");
        return;
    }
    if (!parse_ttl(c, o.absolute, &deadline) || !parse_payload(c, &s))
        return;
    int err = restore(c, &s, deadline);
    if (err == ERR_CORRUPT)
        reply_error(c->reply, "ERR Bad data format");
    else
        cmd_reply_status(c, err);
}

/* A compressed payload may unpack to much more than it is; its first bytes tell, if they are honest. */
uint64_t cost_restore(const struct cmd_ctx *c)
{
    struct rdb_string s;
    struct str in = c->argv[3];
    uint64_t n = in.n;
    if (in.n > FOOTER) {
        in = (struct str){in.p + 1, in.n - 1};
        if (rdb_string_get(&in, c->limits->bulk_max, &s) == 0)
            n += s.n;
    }
    return n;
}
