#include "persist/rdb_read.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/hash.h"
#include "persist/rdb.h"

#include <stdio.h>
#include <string.h>

enum {
    STRING_MAX = 512 << 20,
    SLOT_INFO = 0xf4, /* Redis 7.4 and Valkey 9: slot and two sizes, a hint */
    VALKEY_VERSION = 80,
    KEY_SHOWN = 64,
    KEEP_MAX = 1 << 20, /* buffers that a long value made larger are not kept */
};

/* ---- bytes ---- */

/* Drop what is consumed, then get more behind what is left: as much again, so that long values take few
 * calls. */
static int more(struct object_source *src)
{
    struct rdb_reader *r = (struct rdb_reader *)src;
    size_t used = r->in.n - src->in.n;
    r->sum = hash_crc64(r->sum, r->in.p, used);
    r->dropped += used;
    buf_consume(&r->in, used);
    if (r->in.n == 0 && r->in.cap > KEEP_MAX)
        buf_release(&r->in);
    size_t want = r->in.n > RDB_READ_PIECE ? r->in.n : RDB_READ_PIECE;
    if (buf_reserve(&r->in, want) != 0) {
        src->in = buf_str(&r->in);
        return ERR_OOM;
    }
    int64_t got = r->read(r->arg, r->in.p + r->in.n, want);
    if (got > 0)
        r->in.n += (size_t)got;
    src->in = buf_str(&r->in);
    return got > 0 ? 0 : got == 0 ? ERR_AGAIN : (int)got;
}

static int bad(struct rdb_reader *r, int err, const char *what)
{
    if (err == ERR_AGAIN) {
        snprintf(r->text, sizeof r->text, "it ends within %s, at byte %llu", what,
                 (unsigned long long)(r->dropped + r->in.n));
        return ERR_CORRUPT;
    }
    if (err == ERR_OOM)
        snprintf(r->text, sizeof r->text, "not enough memory for %s at byte %llu", what,
                 (unsigned long long)rdb_offset(r));
    else if (err == ERR_CORRUPT)
        snprintf(r->text, sizeof r->text, "%s is damaged at byte %llu", what,
                 (unsigned long long)rdb_offset(r));
    else
        snprintf(r->text, sizeof r->text, "reading %s at byte %llu failed", what,
                 (unsigned long long)rdb_offset(r));
    return err;
}

static int take(struct rdb_reader *r, size_t n, const char **p)
{
    while (r->src.in.n < n) {
        int err = more(&r->src);
        if (err != 0)
            return err;
    }
    *p = r->src.in.p;
    r->src.in.p += n;
    r->src.in.n -= n;
    return 0;
}

static int take_length(struct rdb_reader *r, uint64_t *n)
{
    bool encoded;
    int err;
    while ((err = rdb_len_get(&r->src.in, n, &encoded)) == ERR_AGAIN)
        if ((err = more(&r->src)) != 0)
            return err;
    return err == 0 && encoded ? ERR_CORRUPT : err;
}

/* A string, good until more bytes are taken; unpacked into *room if it is compressed. */
static int take_string(struct rdb_reader *r, struct buf *room, struct str *out)
{
    struct rdb_string s;
    int err;
    while ((err = rdb_string_get(&r->src.in, r->string_max, &s)) == ERR_AGAIN)
        if ((err = more(&r->src)) != 0)
            return err;
    if (err != 0)
        return err;
    buf_clear(room);
    *out = rdb_string_bytes(&s);
    if (out->p != NULL && s.stored.p != NULL)
        return 0; /* it lies in the input */
    if (room->cap > KEEP_MAX)
        buf_release(room);
    if (buf_reserve(room, s.n > 0 ? s.n : 1) != 0)
        return ERR_OOM;
    room->n = s.n;
    err = rdb_string_unpack(&s, room->p);
    *out = buf_str(room);
    return err;
}

/* ---- fields between keys ---- */

static int take_header(struct rdb_reader *r)
{
    const char *p;
    int err = take(r, RDB_HEADER, &p);
    if (err != 0)
        return bad(r, err, "the header");
    bool valkey = memcmp(p, "VALKEY", 6) == 0;
    struct str digits = valkey ? (struct str){p + 6, 3} : (struct str){p + 5, 4};
    uint32_t version = 0;
    for (size_t i = 0; i < digits.n; i++)
        version = digits.p[i] >= '0' && digits.p[i] <= '9' ? version * 10 + (uint32_t)(digits.p[i] - '0')
                                                           : UINT16_MAX;
    if (!valkey && memcmp(p, "REDIS", 5) != 0) {
        snprintf(r->text, sizeof r->text, "it is no RDB file: it does not begin with 'REDIS'");
        return ERR_CORRUPT;
    }
    if (version < RDB_VERSION_MIN || version > (valkey ? VALKEY_VERSION : RDB_VERSION_MAX)) {
        snprintf(r->text, sizeof r->text, "its format has version %.*s; this version reads up to %d",
                 (int)digits.n, digits.p, RDB_VERSION_MAX);
        return ERR_TYPE;
    }
    r->version = version;
    r->begun = true;
    return 0;
}

static int take_deadline(struct rdb_reader *r, unsigned bytes)
{
    const char *p;
    int err = take(r, bytes, &p);
    if (err != 0)
        return err;
    uint64_t v = bytes_get_le(p, bytes);
    if (v == 0 || v > INT64_MAX / 1000)
        return ERR_CORRUPT;
    r->expire_ms = bytes == 4 ? (int64_t)v * 1000 : (int64_t)v;
    return 0;
}

static int take_aux(struct rdb_reader *r)
{
    struct str name, value;
    int err = take_string(r, &r->key, &name);
    if (err != 0)
        return err;
    bool stream_db = str_eq(name, STR("repl-stream-db")), extra = str_eq(name, RDB_EXTRA_NAME),
         id = str_eq(name, STR("repl-id")), offset = str_eq(name, STR("repl-offset")),
         dataset = str_eq(name, RDB_DATASET_NAME), state = str_eq(name, RDB_STATE_NAME),
         entry = str_eq(name, RDB_ENTRY_NAME);
    err = take_string(r, &r->value, &value);
    if (err == 0 && stream_db && (!num_parse_i64(value, &r->stream_db) || r->stream_db < -1))
        err = ERR_CORRUPT;
    if (err == 0 && offset && (!num_parse_i64(value, &r->repl_offset) || r->repl_offset < -1))
        err = ERR_CORRUPT;
    if (err == 0 && id && value.n == RDB_REPL_ID)
        memcpy(r->repl_id, value.p, RDB_REPL_ID);
    if (err == 0 && dataset && value.n < sizeof r->dataset) {
        memset(r->dataset, 0, sizeof r->dataset);
        memcpy(r->dataset, value.p, value.n);
    }
    if (err == 0 && (extra || state || entry)) {
        buf_clear(&r->extra);
        err = buf_puts(&r->extra, value);
        r->has_extra = extra;
        r->has_state = state;
        r->has_entry = entry;
    }
    return err;
}

/* What a field holds, if it is more than a word about the key that follows. 1: no. */
static int give_field(struct rdb_reader *r, struct rdb_item *out)
{
    struct str field = r->extra.n > 0 ? buf_str(&r->extra) : STR("");
    if (r->has_state) {
        *out = (struct rdb_item){.state = field};
        r->has_state = false;
        return 0;
    }
    if (!r->has_entry)
        return 1;
    r->has_entry = false;
    uint64_t key = field.n >= RDB_ENTRY_HEAD ? bytes_get_le(field.p, 4) : UINT32_MAX;
    uint64_t extra = field.n >= RDB_ENTRY_HEAD ? bytes_get_le(field.p + 4, 4) : UINT32_MAX;
    if (key + extra + RDB_ENTRY_HEAD > field.n)
        return ERR_CORRUPT;
    const char *p = field.p + RDB_ENTRY_HEAD;
    *out = (struct rdb_item){.db = r->db,
                             .idle_s = -1,
                             .freq = -1,
                             .key = {p, key},
                             .extra = {p + key, extra},
                             .value = {p + key + extra, field.n - RDB_ENTRY_HEAD - key - extra},
                             .hidden = true};
    return 0;
}

static int take_lengths(struct rdb_reader *r, unsigned count)
{
    uint64_t ignored;
    int err = 0;
    for (unsigned i = 0; i < count && err == 0; i++)
        err = take_length(r, &ignored);
    return err;
}

static int take_idle(struct rdb_reader *r)
{
    uint64_t idle_s;
    int err = take_length(r, &idle_s);
    if (err == 0)
        r->idle_s = idle_s < INT64_MAX ? (int64_t)idle_s : INT64_MAX;
    return err;
}

static int take_db(struct rdb_reader *r)
{
    uint64_t db;
    int err = take_length(r, &db);
    if (err == 0 && db > UINT32_MAX)
        err = ERR_CORRUPT;
    if (err == 0)
        r->db = (uint32_t)db;
    return err;
}

static int refuse(struct rdb_reader *r, const char *what)
{
    snprintf(r->text, sizeof r->text, "it holds %s (at byte %llu), which this version does not know", what,
             (unsigned long long)rdb_offset(r));
    return ERR_TYPE;
}

static int take_field(struct rdb_reader *r, uint8_t op)
{
    const char *p;
    int err;
    switch (op) {
    case RDB_AUX: err = take_aux(r); break;
    case RDB_SELECT: err = take_db(r); break;
    case RDB_RESIZE: err = take_lengths(r, 2); break;
    case SLOT_INFO: err = take_lengths(r, 3); break;
    case RDB_EXPIRE_S: err = take_deadline(r, 4); break;
    case RDB_EXPIRE_MS: err = take_deadline(r, 8); break;
    case RDB_IDLE: err = take_idle(r); break;
    case RDB_FREQ:
        err = take(r, 1, &p);
        if (err == 0)
            r->freq = (uint8_t)*p;
        break;
    case RDB_FUNCTION2:
    case RDB_FUNCTION_OLD: return refuse(r, "a library of functions");
    case RDB_MODULE_AUX: return refuse(r, "data of a module");
    default: err = ERR_CORRUPT;
    }
    return err == 0 ? 0 : bad(r, err, "a field between keys");
}

/* ---- keys ---- */

static int take_key(struct rdb_reader *r)
{
    struct str key;
    int err = take_string(r, &r->key, &key);
    if (err != 0 || key.p == r->key.p)
        return err;
    if (r->key.cap > KEEP_MAX)
        buf_release(&r->key);
    buf_clear(&r->key);
    return buf_puts(&r->key, key);
}

static int refuse_type(struct rdb_reader *r, uint8_t type)
{
    struct buf shown;
    struct str key = buf_str(&r->key);
    buf_init(&shown);
    key.n = key.n < KEY_SHOWN ? key.n : KEY_SHOWN;
    if (buf_put_quoted(&shown, key) != 0 || shown.oom)
        buf_clear(&shown);
    if (shown.n >= 2)
        shown.p[0] = shown.p[shown.n - 1] = '\'';
    snprintf(r->text, sizeof r->text,
             "it holds a value of type %u (%s), which this version does not know, at the key %.*s", type,
             rdb_type_name(type), (int)shown.n, shown.p != NULL ? shown.p : "");
    buf_release(&shown);
    return ERR_TYPE;
}

static int take_value(struct rdb_reader *r, uint8_t type, struct rdb_item *out)
{
    *out = (struct rdb_item){.db = r->db,
                             .expire_ms = r->expire_ms,
                             .idle_s = r->idle_s,
                             .freq = r->freq,
                             .key = buf_str(&r->key)};
    if (r->has_extra)
        out->extra = r->extra.n > 0 ? buf_str(&r->extra) : STR("");
    r->expire_ms = 0;
    r->idle_s = r->freq = -1;
    r->has_extra = false;
    if (out->key.p == NULL)
        out->key.p = "";
    if (type == RDB_STRING)
        return take_string(r, &r->value, &out->value);
    return object_load(type, &r->src, r->objects, &out->object);
}

static int check_end(struct rdb_reader *r)
{
    const char *p;
    r->done = true;
    if (r->version < RDB_VERSION_SUMMED)
        return 1;
    uint64_t sum = hash_crc64(r->sum, r->in.p, r->in.n - r->src.in.n);
    int err = take(r, RDB_TRAILER, &p);
    if (err != 0)
        return bad(r, err, "the checksum");
    uint64_t stored = bytes_get_le(p, RDB_TRAILER);
    if (stored != 0 && stored != sum) {
        snprintf(r->text, sizeof r->text,
                 "its checksum does not match: it says %016llx, its bytes give %016llx",
                 (unsigned long long)stored, (unsigned long long)sum);
        return ERR_CORRUPT;
    }
    return 1;
}

int rdb_read(struct rdb_reader *r, struct rdb_item *out)
{
    ASSERT(!r->done);
    int err = r->begun ? 0 : take_header(r);
    while (err == 0) {
        const char *p;
        err = take(r, 1, &p);
        if (err != 0)
            return bad(r, err, "the keys");
        uint8_t type = (uint8_t)*p;
        if (type == RDB_EOF)
            return check_end(r);
        if (type >= SLOT_INFO) {
            err = take_field(r, type);
            int given = err == 0 ? give_field(r, out) : 1;
            if (given <= 0)
                return given == 0 ? 0 : bad(r, given, "an entry");
            continue;
        }
        err = take_key(r);
        if (err != 0)
            return bad(r, err, "a key");
        if (type != RDB_STRING && !object_rdb_known(type))
            return refuse_type(r, type);
        err = take_value(r, type, out);
        if (err == 0)
            return 0;
        if (err != ERR_NOTFOUND) /* an empty collection is no key */
            return bad(r, err, "a value");
        err = 0;
    }
    return err;
}

void rdb_reader_init(struct rdb_reader *r, rdb_read_fn *read, void *arg, const struct object_options *objects)
{
    *r = (struct rdb_reader){.read = read,
                             .arg = arg,
                             .objects = objects,
                             .idle_s = -1,
                             .freq = -1,
                             .repl_offset = -1,
                             .stream_db = -1};
    r->src.more = more;
    r->src.in = (struct str){"", 0};
    r->string_max = objects->string_max != 0 ? objects->string_max : STRING_MAX;
    buf_init(&r->in);
    buf_init(&r->key);
    buf_init(&r->value);
    buf_init(&r->extra);
}

void rdb_reader_release(struct rdb_reader *r)
{
    buf_release(&r->in);
    buf_release(&r->key);
    buf_release(&r->value);
    buf_release(&r->extra);
}
