#include "value/rdb_string.h"

#include "base/assert.h"
#include "base/err.h"

#include <lzf.h>
#include <string.h>

enum {
    LEN_14BIT = 0x40,
    LEN_32BIT = 0x80,
    LEN_64BIT = 0x81,
    LEN_ENCODED = 0xc0,
    LEN_6BIT_MAX = 63,
    LEN_14BIT_MAX = 16383,
    NUMBER_TEXT_MAX = 11, /* "-2147483648" */
    /* A compressed string must save at least so much, or it is written plainly. */
    COMPRESS_GAIN_MIN = 4,
    /* LZF's best: 3 bytes that stand for 264. */
    EXPAND_MAX = 88,
};

enum encoding { ENC_INT8 = 0, ENC_INT16 = 1, ENC_INT32 = 2, ENC_LZF = 3 };

/* ---- lengths -------------------------------------------------------------------- */

static void put_big_endian(char *dst, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        dst[i] = (char)(v >> (8 * (bytes - 1 - i)));
}

static uint64_t get_big_endian(const char *p, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | (uint8_t)p[i];
    return v;
}

size_t rdb_len_put(char *dst, uint64_t n)
{
    if (n <= LEN_6BIT_MAX) {
        dst[0] = (char)n;
        return 1;
    }
    if (n <= LEN_14BIT_MAX) {
        put_big_endian(dst, n | LEN_14BIT << 8, 2);
        return 2;
    }
    unsigned bytes = n <= UINT32_MAX ? 4 : 8;
    dst[0] = (char)(bytes == 4 ? LEN_32BIT : LEN_64BIT);
    put_big_endian(dst + 1, n, bytes);
    return 1 + bytes;
}

int rdb_len_get(struct str *in, uint64_t *n, bool *encoded)
{
    if (in->n < 1)
        return ERR_AGAIN;
    uint8_t first = (uint8_t)in->p[0];
    unsigned more = 0;
    *encoded = (first & 0xc0) == LEN_ENCODED;
    *n = first & 0x3f;
    if ((first & 0xc0) == LEN_14BIT)
        more = 1;
    else if (first == LEN_32BIT)
        more = 4;
    else if (first == LEN_64BIT)
        more = 8;
    else if ((first & 0xc0) == LEN_32BIT)
        return ERR_CORRUPT;
    if (in->n < 1 + more)
        return ERR_AGAIN;
    if (more == 1)
        *n = *n << 8 | (uint8_t)in->p[1];
    else if (more > 1)
        *n = get_big_endian(in->p + 1, more);
    in->p += 1 + more;
    in->n -= 1 + more;
    return 0;
}

/* ---- writing -------------------------------------------------------------------- */

size_t rdb_string_room(size_t n)
{
    /* Two lengths and the kind before compressed bytes, which are fewer than n. */
    return 1 + 2 * RDB_LEN_BYTES_MAX + n;
}

static size_t put_number(char *dst, struct str s)
{
    int64_t v;
    if (s.n > NUMBER_TEXT_MAX || !num_parse_i64(s, &v) || v != (int32_t)v)
        return 0;
    unsigned bytes = v == (int8_t)v ? 1 : v == (int16_t)v ? 2 : 4;
    dst[0] = (char)(LEN_ENCODED | (bytes == 1 ? ENC_INT8 : bytes == 2 ? ENC_INT16 : ENC_INT32));
    for (unsigned i = 0; i < bytes; i++)
        dst[1 + i] = (char)((uint64_t)v >> (8 * i));
    return 1 + bytes;
}

static size_t put_compressed(char *dst, struct str s)
{
    if (s.n < RDB_COMPRESS_MIN || s.n > UINT32_MAX)
        return 0;
    /* The header's size depends on the result's: leave room for the largest, then close up. */
    char *bytes = dst + 1 + 2 * RDB_LEN_BYTES_MAX;
    unsigned n = lzf_compress(s.p, (unsigned)s.n, bytes, (unsigned)(s.n - COMPRESS_GAIN_MIN));
    if (n == 0)
        return 0;
    size_t at = 0;
    dst[at++] = (char)(LEN_ENCODED | ENC_LZF);
    at += rdb_len_put(dst + at, n);
    at += rdb_len_put(dst + at, s.n);
    memmove(dst + at, bytes, n);
    return at + n;
}

size_t rdb_string_put(char *dst, struct str s, bool compress)
{
    size_t n = put_number(dst, s);
    if (n == 0 && compress)
        n = put_compressed(dst, s);
    if (n != 0)
        return n;
    n = rdb_len_put(dst, s.n);
    if (s.n > 0)
        memcpy(dst + n, s.p, s.n);
    return n + s.n;
}

/* ---- reading -------------------------------------------------------------------- */

static int get_number(struct str *in, unsigned bytes, struct rdb_string *out)
{
    if (in->n < bytes)
        return ERR_AGAIN;
    uint32_t v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v |= (uint32_t)(uint8_t)in->p[i] << (8 * i);
    int64_t number = bytes == 1 ? (int8_t)v : bytes == 2 ? (int16_t)v : (int32_t)v;
    out->n = num_put_i64(out->text, number);
    in->p += bytes;
    in->n -= bytes;
    return 0;
}

static int get_bytes(struct str *in, uint64_t n, struct rdb_string *out)
{
    if (in->n < n)
        return ERR_AGAIN;
    out->stored = (struct str){in->p, (size_t)n};
    in->p += n;
    in->n -= (size_t)n;
    return 0;
}

static int get_compressed(struct str *in, size_t max, struct rdb_string *out)
{
    uint64_t packed, n;
    bool encoded;
    int err = rdb_len_get(in, &packed, &encoded);
    if (err == 0 && encoded)
        err = ERR_CORRUPT;
    if (err == 0)
        err = rdb_len_get(in, &n, &encoded);
    if (err == 0 && (encoded || n > max || n > UINT32_MAX || packed > UINT32_MAX))
        err = ERR_CORRUPT;
    if (err == 0)
        err = get_bytes(in, packed, out);
    if (err != 0)
        return err;
    /* A few bytes cannot stand for gigabytes: nothing is allocated for such a claim. */
    if (n > packed * EXPAND_MAX)
        return ERR_CORRUPT;
    out->n = (size_t)n;
    out->compressed = n > 0; /* Redis takes whatever is said to be nothing for the empty string */
    if (n == 0)
        out->stored.n = 0;
    return 0;
}

int rdb_string_get(struct str *in, size_t max, struct rdb_string *out)
{
    struct str rest = *in;
    uint64_t n;
    bool encoded;
    *out = (struct rdb_string){.n = 0};
    int err = rdb_len_get(&rest, &n, &encoded);
    if (err != 0)
        return err;
    if (!encoded) {
        err = n > max ? ERR_CORRUPT : get_bytes(&rest, n, out);
        out->n = (size_t)n;
    } else if (n == ENC_LZF) {
        err = get_compressed(&rest, max, out);
    } else {
        err = n > ENC_INT32 ? ERR_CORRUPT : get_number(&rest, 1u << n, out);
    }
    if (err == 0)
        *in = rest;
    return err;
}

struct str rdb_string_bytes(const struct rdb_string *s)
{
    if (s->compressed)
        return (struct str){NULL, s->n};
    return s->stored.p != NULL ? s->stored : (struct str){s->text, s->n};
}

int rdb_string_unpack(const struct rdb_string *s, char *dst)
{
    if (!s->compressed) {
        struct str bytes = rdb_string_bytes(s);
        memcpy(dst, bytes.p, bytes.n);
        return 0;
    }
    unsigned n = lzf_decompress(s->stored.p, (unsigned)s->stored.n, dst, (unsigned)s->n);
    return n == s->n ? 0 : ERR_CORRUPT;
}
