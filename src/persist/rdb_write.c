#include "base/bytes.h"
#include "base/err.h"
#include "persist/rdb.h"
#include "value/rdb_string.h"

#include <stdio.h>

int rdb_put_length(struct buf *b, uint64_t n)
{
    if (buf_reserve(b, RDB_LEN_BYTES_MAX) != 0)
        return ERR_OOM;
    b->n += rdb_len_put(b->p + b->n, n);
    return 0;
}

static int put_u64(struct buf *b, uint64_t v)
{
    if (buf_reserve(b, 8) != 0)
        return ERR_OOM;
    bytes_put_le(b->p + b->n, v, 8);
    b->n += 8;
    return 0;
}

static int put_op(struct buf *b, uint8_t op)
{
    return buf_putc(b, (char)op);
}

int rdb_put_header(struct buf *b, uint32_t version)
{
    return buf_printf(b, "REDIS%04u", version);
}

int rdb_put_string(struct buf *b, struct str s, bool compress)
{
    if (buf_reserve(b, rdb_string_room(s.n)) != 0)
        return ERR_OOM;
    b->n += rdb_string_put(b->p + b->n, s, compress);
    return 0;
}

int rdb_put_aux(struct buf *b, struct str name, struct str value)
{
    int err = put_op(b, RDB_AUX);
    if (err == 0)
        err = rdb_put_string(b, name, false);
    return err == 0 ? rdb_put_string(b, value, false) : err;
}

int rdb_put_extra(struct buf *b, struct str extra)
{
    return rdb_put_aux(b, RDB_EXTRA_NAME, extra);
}

int rdb_put_entry(struct buf *b, struct str key, struct str extra, size_t n)
{
    char head[RDB_ENTRY_HEAD];
    bytes_put_le(head, key.n, 4);
    bytes_put_le(head + 4, extra.n, 4);
    int err = put_op(b, RDB_AUX);
    if (err == 0)
        err = rdb_put_string(b, RDB_ENTRY_NAME, false);
    if (err == 0)
        err = rdb_put_length(b, sizeof head + key.n + extra.n + n);
    if (err == 0)
        err = buf_append(b, head, sizeof head);
    if (err == 0)
        err = buf_puts(b, key);
    return err == 0 ? buf_puts(b, extra) : err;
}

int rdb_put_select(struct buf *b, uint32_t db)
{
    int err = put_op(b, RDB_SELECT);
    return err == 0 ? rdb_put_length(b, db) : err;
}

int rdb_put_resize(struct buf *b, uint64_t keys, uint64_t expires)
{
    int err = put_op(b, RDB_RESIZE);
    if (err == 0)
        err = rdb_put_length(b, keys);
    return err == 0 ? rdb_put_length(b, expires) : err;
}

int rdb_put_use(struct buf *b, int64_t idle_s, int64_t freq)
{
    int err = 0;
    if (idle_s >= 0) {
        err = put_op(b, RDB_IDLE);
        if (err == 0)
            err = rdb_put_length(b, (uint64_t)idle_s);
    }
    if (err == 0 && freq >= 0) {
        err = put_op(b, RDB_FREQ);
        if (err == 0)
            err = buf_putc(b, (char)freq);
    }
    return err;
}

int rdb_put_key(struct buf *b, int64_t expire_ms, uint8_t type, struct str key, bool compress)
{
    int err = 0;
    if (expire_ms != 0) {
        err = put_op(b, RDB_EXPIRE_MS);
        if (err == 0)
            err = put_u64(b, (uint64_t)expire_ms);
    }
    if (err == 0)
        err = put_op(b, type);
    return err == 0 ? rdb_put_string(b, key, compress) : err;
}

int rdb_put_end(struct buf *b)
{
    return put_op(b, RDB_EOF);
}

int rdb_put_sum(struct buf *b, uint64_t sum)
{
    return put_u64(b, sum);
}

const char *rdb_type_name(uint8_t type)
{
    static const char *const names[] = {"string",
                                        "list",
                                        "set",
                                        "sorted set",
                                        "hash",
                                        "sorted set",
                                        "module's value",
                                        "module's value",
                                        "unknown",
                                        "hash (zipmap)",
                                        "list (ziplist)",
                                        "set (intset)",
                                        "sorted set (ziplist)",
                                        "hash (ziplist)",
                                        "list (quicklist)",
                                        "stream",
                                        "hash (listpack)",
                                        "sorted set (listpack)",
                                        "list (quicklist)",
                                        "stream",
                                        "set (listpack)",
                                        "stream"};
    return type < ARRAY_LEN(names) ? names[type] : "unknown";
}
