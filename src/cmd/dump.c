/* DUMP and RESTORE: a value as bytes that any Redis understands.
 *
 *      type | value as in an RDB file | RDB version, u16 | CRC-64 of all before, u64      (little endian)
 *
 * We write version 10 (Redis 7.0), which every peer of interest accepts, and read up to
 * 11 (7.2). The payload comes from a client: rdb_string_get() and object_load() believe nothing. */
#include "cmd/dump.h"

#include "cmd/cost.h"
#include "cmd/effect.h"
#include "cmd/handlers.h"

#include "base/buf.h"
#include "base/bytes.h"
#include "base/hash.h"
#include "cache/move.h"
#include "store/ban.h"

#include <string.h>

enum {
    RDB_TYPE_STRING = 0,
    RDB_VERSION_WRITTEN = 10,
    RDB_VERSION_MAX = 11,
    FOOTER_VERSION = 2,
    DUMP_STEP = 1 << 20,
    LOAD_NS_PER_BYTE = 15, /* a collection of short members */
};

/* ---- DUMP ------------------------------------------------------------------------- */

void dump_put_footer(char *dst, size_t n)
{
    bytes_put_le(dst + n, RDB_VERSION_WRITTEN, FOOTER_VERSION);
    n += FOOTER_VERSION;
    bytes_put_le(dst + n, hash_crc64(0, dst, n), 8);
}

static int dump_object(const struct object *o, struct buf *out)
{
    const struct object_type *type = object_type(o);
    struct object_walk w = {0};
    int rc = buf_putc(out, (char)type->rdb_type(o, RDB_VERSION_WRITTEN));
    while (rc == 0 && (rc = type->dump(o, RDB_VERSION_WRITTEN, &w, DUMP_STEP, out)) > 0)
        rc = 0;
    return rc;
}

static size_t dump_string(struct str value, char *dst)
{
    dst[0] = RDB_TYPE_STRING;
    size_t n = 1 + rdb_string_put(dst + 1, value, true);
    dump_put_footer(dst, n);
    return n + DUMP_FOOTER;
}

int dump_put_string(struct str value, struct buf *out)
{
    int rc = buf_reserve(out, 1 + rdb_string_room(value.n) + DUMP_FOOTER);
    if (rc == 0)
        out->n += dump_string(value, out->p + out->n);
    return rc;
}

int dump_put_object(const struct object *o, struct buf *out)
{
    size_t start = out->n;
    int rc = dump_object(o, out);
    if (rc == 0)
        rc = buf_reserve(out, DUMP_FOOTER);
    if (rc != 0) {
        out->n = start;
        return rc;
    }
    dump_put_footer(out->p + start, out->n - start);
    out->n += DUMP_FOOTER;
    return 0;
}

int dump_value(const struct entry *e, struct buf *out)
{
    struct block *held;
    return entry_is_string(e) ? dump_put_string(entry_string(e, &held), out)
                              : dump_put_object(entry_object(e), out);
}

static void reply_object(struct cmd_ctx *c, const struct entry *e)
{
    struct buf out;
    buf_init(&out);
    int rc = dump_value(e, &out);
    if (rc == 0)
        reply_bulk(c->reply, buf_str(&out));
    else
        cmd_reply_err(c, rc);
    buf_release(&out);
}

/* A large value goes out by reference, without another copy. */
static void reply_string(struct cmd_ctx *c, const struct entry *e)
{
    struct block *held;
    struct str value = entry_string(e, &held);
    struct block *out = block_new(1 + rdb_string_room(value.n) + DUMP_FOOTER);
    if (out == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return;
    }
    out->n = dump_string(value, out->data);
    cmd_reply_part(c, out, block_str(out));
    block_put(out);
}

void cmd_dump(struct cmd_ctx *c)
{
    struct entry *e = cmd_find(c, 0);
    if (e == NULL)
        reply_null(c->reply);
    else if (entry_is_string(e))
        reply_string(c, e);
    else
        reply_object(c, e);
}

uint64_t cost_dump(const struct cmd_ctx *c)
{
    const struct entry *e = store_peek(&c->a, &c->keys[0]);
    const struct object *o = e != NULL ? entry_object(e) : NULL;
    uint64_t bytes = o != NULL ? object_type(o)->bytes(o) : cost_string_bytes(c, 0);
    return bytes * COST_DUMP_NS_PER_BYTE;
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

bool dump_is_sound(struct str in)
{
    if (in.n < DUMP_FOOTER)
        return false;
    const char *footer = in.p + in.n - DUMP_FOOTER;
    return bytes_get_le(footer, FOOTER_VERSION) <= RDB_VERSION_MAX &&
           bytes_get_le(footer + FOOTER_VERSION, 8) == hash_crc64(0, in.p, in.n - 8);
}

/* The time to live as a deadline; what was there before does not matter any more. */
void dump_note_restored(struct cmd_ctx *c, int64_t deadline)
{
    char text[NUM_I64_TEXT_MAX];
    const struct str argv[] = {STR("RESTORE"), c->argv[1],     {text, num_put_i64(text, deadline)},
                               c->argv[3],     STR("REPLACE"), STR("ABSTTL")};
    effect_add(c, argv, ARRAY_LEN(argv));
}

/* There would be no time left for it. */
static void delete_restored(struct cmd_ctx *c)
{
    if (store_delete(&c->a, &c->keys[0]))
        effect_del(c);
}

/* These give ERR_OOM, or another error for a value that is not sound, with nothing changed. */
static int restore_object(struct cmd_ctx *c, uint8_t type, struct str in, int64_t deadline)
{
    struct object_source src = {.in = in};
    struct object *o;
    int err = object_load(type, &src, &c->limits->objects, &o);
    if (err != 0)
        return err;
    bool gone = cmd_is_over(c, deadline);
    if (gone)
        delete_restored(c);
    else
        err = store_put_object(&c->a, &c->keys[0], o, deadline, 0);
    if (gone || err != 0)
        store_release_object(c->a.store, o);
    else
        dump_note_restored(c, deadline);
    return err;
}

static int get_string(struct cmd_ctx *c, struct str in, struct dump_string *out)
{
    int err = rdb_string_get(&in, c->limits->bulk_max, &out->of);
    if (err != 0)
        return err;
    out->bytes = rdb_string_bytes(&out->of);
    if (out->bytes.p != NULL)
        return 0;
    out->block = block_new(out->of.n);
    if (out->block == NULL)
        return ERR_OOM;
    out->block->n = out->of.n;
    out->bytes = block_str(out->block);
    return rdb_string_unpack(&out->of, out->block->data);
}

int dump_get_string(struct cmd_ctx *c, struct str payload, struct dump_string *out)
{
    *out = (struct dump_string){.block = NULL};
    payload.n -= DUMP_FOOTER;
    if (payload.n == 0 || payload.p[0] != RDB_TYPE_STRING)
        return ERR_CORRUPT;
    int err = get_string(c, (struct str){payload.p + 1, payload.n - 1}, out);
    if (err != 0 && out->block != NULL) {
        block_put(out->block);
        *out = (struct dump_string){.block = NULL};
    }
    return err;
}

static int restore_string(struct cmd_ctx *c, int64_t deadline)
{
    struct dump_string s;
    int err = dump_get_string(c, c->argv[3], &s);
    if (err == 0 && cmd_is_over(c, deadline)) {
        delete_restored(c);
    } else if (err == 0) {
        err = store_put_string(&c->a, &c->keys[0], s.bytes, s.block, deadline, 0);
        if (err == 0)
            dump_note_restored(c, deadline);
    }
    if (s.block != NULL)
        block_put(s.block);
    return err;
}

/* The value of a payload whose footer is sound. */
static int restore(struct cmd_ctx *c, int64_t deadline)
{
    struct str in = c->argv[3];
    in.n -= DUMP_FOOTER;
    if (in.n == 0)
        return ERR_CORRUPT;
    uint8_t type = (uint8_t)in.p[0];
    in = (struct str){in.p + 1, in.n - 1};
    if (type == RDB_TYPE_STRING)
        return restore_string(c, deadline);
    return object_rdb_known(type) ? restore_object(c, type, in, deadline) : ERR_CORRUPT;
}

void cmd_restore(struct cmd_ctx *c)
{
    struct options o;
    int64_t deadline;
    if (unlikely(c->session->importing != 0)) /* slots that come here, with all that is in them */
        (void)cache_admit(c->cache, 0);
    if (!parse_options(c, &o))
        return;
    if (!o.replace && store_find(&c->a, &c->keys[0]) != NULL) {
        reply_error(c->reply, REPLY_BUSYKEY);
        return;
    }
    if (!parse_ttl(c, o.absolute, &deadline))
        return;
    if (!dump_is_sound(c->argv[3])) {
        reply_error(c->reply, REPLY_BAD_DUMP);
        return;
    }
    int err = restore(c, deadline);
    if (err != 0 && err != ERR_OOM)
        reply_error(c->reply, "ERR Bad data format");
    else
        cmd_reply_status(c, err);
    if (err == 0)
        store_set_access(&c->a, &c->keys[0], o.idle_s, o.freq);
}

bool dump_arrives(struct cmd_ctx *c)
{
    const struct key *k = &c->keys[0];
    if (!cache_admit(c->cache, c->session->arrives)) {
        reply_error(c->reply,
                    "TRYAGAIN a pattern has been purged since this key was read; send CACHE.ARRIVE, "
                    "and read it again");
        return false;
    }
    if (store_bans(c->a.store) == 0 || !store_ban_since(c->a.store, (struct str){k->p, k->n}, k->db, 0))
        return true;
    effect_none(c);
    reply_ok(c->reply);
    return false;
}

/* The same for a slot that is on its way here: the row's flag lets it pass. */
void cmd_restore_asking(struct cmd_ctx *c)
{
    if (dump_arrives(c))
        cmd_restore(c);
}

/* A compressed payload may unpack to much more than it is; its first bytes tell, if they are honest. */
uint64_t cost_restore(const struct cmd_ctx *c)
{
    struct rdb_string s;
    struct str in = c->argv[3];
    uint64_t n = in.n;
    if (in.n > DUMP_FOOTER) {
        if (in.p[0] != RDB_TYPE_STRING)
            return n * LOAD_NS_PER_BYTE;
        in = (struct str){in.p + 1, in.n - 1};
        if (rdb_string_get(&in, c->limits->bulk_max, &s) == 0)
            n += s.n;
    }
    return n;
}

uint64_t cost_restore_asking(const struct cmd_ctx *c)
{
    return cost_restore(c);
}
