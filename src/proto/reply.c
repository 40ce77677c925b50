#include "proto/reply.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"
#include "base/num.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

enum {
    HEADER_MAX = 1 + NUM_I64_TEXT_MAX + 2, /* a type letter, a number, CR LF */
    SPLICES_FIRST = 8,
};

#define NOWHERE SIZE_MAX /* the handle of a deferred length that was dropped */

void reply_init(struct reply *r, void (*block_get)(struct block *), void (*block_put)(struct block *))
{
    *r = (struct reply){.proto = 2, .block_get = block_get, .block_put = block_put};
}

static void drop_splices(struct reply *r, uint32_t keep)
{
    while (r->nsplices > keep) {
        struct reply_splice *s = &r->splices[--r->nsplices];
        r->spliced -= s->data.n;
        r->block_put(s->block);
    }
}

void reply_release(struct reply *r)
{
    drop_splices(r, 0);
    mem_free(r->splices);
    buf_release(&r->bytes);
    reply_init(r, r->block_get, r->block_put);
}

void reply_clear(struct reply *r)
{
    drop_splices(r, 0);
    ASSERT(r->spliced == 0);
    buf_clear(&r->bytes);
    r->oom = r->over = false;
}

struct reply_mark reply_mark(const struct reply *r)
{
    return (struct reply_mark){r->bytes.n, r->spliced, r->nsplices, r->errored, r->oom};
}

void reply_rollback(struct reply *r, struct reply_mark m)
{
    ASSERT(m.n <= r->bytes.n && m.nsplices <= r->nsplices);
    drop_splices(r, m.nsplices);
    ASSERT(r->spliced == m.spliced);
    r->bytes.n = m.n;
    r->bytes.oom = m.oom;
    r->oom = m.oom;
    r->over &= m.oom;
    r->errored = m.errored;
}

/* ---- the bytes ---- */

static COLD char *no_room(struct reply *r)
{
    r->oom = true;
    return NULL;
}

COLD char *reply_grow(struct reply *r, size_t n)
{
    if (r->limit != 0 && r->bytes.n + n > r->limit) {
        r->over = true;
        return no_room(r);
    }
    return buf_reserve(&r->bytes, n) < 0 ? no_room(r) : r->bytes.p + r->bytes.n;
}

static ALWAYS_INLINE char *put(char *at, const void *p, size_t n)
{
    memcpy(at, p, n);
    return at + n;
}

static ALWAYS_INLINE char *put_crlf(char *at)
{
    return put(at, "\r\n", 2);
}

/* "<kind><n>\r\n"; most lengths have one to three digits. */
static ALWAYS_INLINE char *put_header(char *at, char kind, uint64_t n)
{
    *at++ = kind;
    if (unlikely(n >= 1000)) {
        at += num_put_u64(at, n);
    } else if (n < 10) {
        *at++ = (char)('0' + n);
    } else {
        unsigned hundreds = (unsigned)n * 41 >> 12; /* right below 1,024 */
        if (hundreds > 0)
            *at++ = (char)('0' + hundreds);
        at = put(at, num_pairs + 2 * ((unsigned)n - 100 * hundreds), 2);
    }
    return put_crlf(at);
}

static ALWAYS_INLINE void write_fixed(struct reply *r, const char *text, size_t n)
{
    char *at = reply_room(r, n);
    if (likely(at != NULL))
        reply_wrote(r, put(at, text, n));
}
#define WRITE(r, literal) write_fixed(r, literal, sizeof(literal) - 1)

/* <prefix>text\r\n */
static void write_line(struct reply *r, char prefix, const char *text, size_t n)
{
    char *at = n < SIZE_MAX - 3 ? reply_room(r, n + 3) : no_room(r);
    if (at == NULL)
        return;
    *at++ = prefix;
    reply_wrote(r, put_crlf(put(at, text, n)));
}

static void write_header(struct reply *r, char kind, uint64_t n)
{
    char *at = reply_room(r, HEADER_MAX);
    if (likely(at != NULL))
        reply_wrote(r, put_header(at, kind, n));
}

/* ---- simple replies ---- */

void reply_ok(struct reply *r)
{
    WRITE(r, "+OK\r\n");
}

void reply_status(struct reply *r, const char *text)
{
    write_line(r, '+', text, strlen(text));
}

void reply_int(struct reply *r, int64_t v)
{
    char *at = reply_room(r, HEADER_MAX);
    if (unlikely(at == NULL))
        return;
    *at++ = ':';
    if (likely(v >= 0 && v < 10))
        *at++ = (char)('0' + v);
    else
        at += num_put_i64(at, v);
    reply_wrote(r, put_crlf(at));
}

void reply_bulk(struct reply *r, struct str s)
{
    char *at = s.n < SIZE_MAX - HEADER_MAX - 2 ? reply_room(r, HEADER_MAX + s.n + 2) : no_room(r);
    if (unlikely(at == NULL))
        return;
    at = put_header(at, '$', s.n);
    if (s.n > 0)
        at = put(at, s.p, s.n);
    reply_wrote(r, put_crlf(at));
}

void reply_bulk_i64(struct reply *r, int64_t v)
{
    char text[NUM_I64_TEXT_MAX];
    reply_bulk(r, (struct str){text, num_put_i64(text, v)});
}

void reply_cstr(struct reply *r, const char *s)
{
    reply_bulk(r, str_of(s));
}

void reply_verbatim(struct reply *r, const char *ext3, struct str s)
{
    DEBUG_ASSERT(strlen(ext3) == 3);
    if (r->proto < 3) {
        reply_bulk(r, s);
        return;
    }
    write_header(r, '=', s.n + 4);
    write_fixed(r, ext3, 3);
    WRITE(r, ":");
    reply_raw(r, s);
    WRITE(r, "\r\n");
}

void reply_double(struct reply *r, double v)
{
    char text[40];
    struct str s = {text, num_put_double(text, v)};
    if (r->proto < 3)
        reply_bulk(r, s);
    else
        write_line(r, ',', s.p, s.n);
}

void reply_ldouble(struct reply *r, long double v)
{
    char text[NUM_DOUBLE_TEXT_MAX];
    reply_bulk(r, (struct str){text, num_put_ldouble(text, v)});
}

void reply_bool(struct reply *r, bool v)
{
    if (r->proto < 3)
        reply_int(r, v);
    else if (v)
        WRITE(r, "#t\r\n");
    else
        WRITE(r, "#f\r\n");
}

void reply_null(struct reply *r)
{
    if (r->proto < 3)
        WRITE(r, "$-1\r\n");
    else
        WRITE(r, "_\r\n");
}

void reply_null_array(struct reply *r)
{
    if (r->proto < 3)
        WRITE(r, "*-1\r\n");
    else
        WRITE(r, "_\r\n");
}

void reply_bignum(struct reply *r, struct str digits)
{
    if (r->proto < 3)
        reply_bulk(r, digits);
    else
        write_line(r, '(', digits.p, digits.n);
}

void reply_raw(struct reply *r, struct str bytes)
{
    char *at = reply_room(r, bytes.n);
    if (at != NULL && bytes.n > 0)
        reply_wrote(r, put(at, bytes.p, bytes.n));
}

/* ---- aggregates ---- */

void reply_array(struct reply *r, uint64_t n)
{
    write_header(r, '*', n);
}

void reply_map(struct reply *r, uint64_t pairs)
{
    if (r->proto < 3)
        write_header(r, '*', pairs * 2);
    else
        write_header(r, '%', pairs);
}

void reply_set(struct reply *r, uint64_t n)
{
    write_header(r, r->proto < 3 ? '*' : '~', n);
}

void reply_push(struct reply *r, uint64_t n)
{
    write_header(r, r->proto < 3 ? '*' : '>', n);
}

void reply_attribute(struct reply *r, uint64_t pairs)
{
    DEBUG_ASSERT(r->proto >= 3);
    write_header(r, '|', pairs);
}

size_t reply_deferred(struct reply *r)
{
    return r->mute || r->oom ? NOWHERE : r->bytes.n;
}

void reply_deferred_end(struct reply *r, size_t handle, char kind, uint64_t n)
{
    char header[HEADER_MAX];
    DEBUG_ASSERT(kind == '*' || kind == '%' || kind == '~');
    if (r->proto < 3) {
        n *= kind == '%' ? 2 : 1;
        kind = '*';
    }
    size_t len = (size_t)(put_header(header, kind, n) - header);
    char *end = handle != NOWHERE ? reply_room(r, len) : NULL;
    if (end == NULL)
        return;
    ASSERT(handle <= r->bytes.n);
    char *at = r->bytes.p + handle;
    memmove(at + len, at, (size_t)(end - at));
    memcpy(at, header, len);
    reply_wrote(r, end + len);
    for (uint32_t i = r->nsplices; i > 0 && r->splices[i - 1].at > handle; i--)
        r->splices[i - 1].at += len; /* a block's own header keeps its place behind the handle */
}

/* ---- blocks ---- */

/* Room for `more` splices. */
static bool splice_room(struct reply *r, uint32_t more)
{
    if (r->nsplices + more <= r->splices_cap)
        return true;
    uint32_t cap = r->splices_cap > 0 ? r->splices_cap * 2 : SPLICES_FIRST;
    cap = cap < r->nsplices + more ? r->nsplices + more : cap;
    struct reply_splice *grown = mem_realloc(r->splices, cap * sizeof *grown);
    if (grown == NULL)
        return false;
    r->splices = grown;
    r->splices_cap = cap;
    return true;
}

void reply_block(struct reply *r, struct block *b, struct str data)
{
    char *at = reply_room(r, HEADER_MAX + 2);
    if (at == NULL)
        return;
    if (!splice_room(r, 1)) {
        r->oom = true;
        return;
    }
    at = put_header(at, '$', data.n);
    r->block_get(b);
    r->splices[r->nsplices++] = (struct reply_splice){(size_t)(at - r->bytes.p), b, data};
    r->spliced += data.n;
    reply_wrote(r, put_crlf(at));
}

void reply_append(struct reply *dst, struct reply *src)
{
    if (src->oom || buf_reserve(&dst->bytes, src->bytes.n) < 0 || !splice_room(dst, src->nsplices)) {
        dst->oom = true;
        dst->over = src->over;
        reply_clear(src);
        return;
    }
    for (uint32_t i = 0; i < src->nsplices; i++) {
        struct reply_splice s = src->splices[i];
        s.at += dst->bytes.n;
        dst->splices[dst->nsplices++] = s;
    }
    dst->spliced += src->spliced;
    if (src->bytes.n > 0)
        memcpy(dst->bytes.p + dst->bytes.n, src->bytes.p, src->bytes.n);
    dst->bytes.n += src->bytes.n;
    src->nsplices = 0; /* their references have moved */
    src->spliced = 0;
    reply_clear(src);
}

/* ---- errors ---- */

/* Close the line of an error that begins at `from`: line ends around the text go,
 * those within it become spaces, or else they would end the reply early. */
static void finish_error(struct reply *r, size_t from)
{
    char *p = r->bytes.p + from;
    size_t n = r->bytes.n - from, front = 0;
    while (n > 0 && (p[n - 1] == '\r' || p[n - 1] == '\n'))
        n--;
    while (front < n && (p[front] == '\r' || p[front] == '\n'))
        front++;
    memmove(p, p + front, n - front);
    n -= front;
    for (size_t i = 0; i < n; i++)
        if (p[i] == '\r' || p[i] == '\n')
            p[i] = ' ';
    r->bytes.n = from + n;
    WRITE(r, "\r\n");
}

void reply_error(struct reply *r, const char *text)
{
    r->errored = true;
    char *at = reply_room(r, strlen(text) + 3);
    if (at == NULL)
        return;
    *at++ = '-';
    size_t from = (size_t)(at - r->bytes.p);
    reply_wrote(r, put(at, text, strlen(text)));
    finish_error(r, from);
}

void reply_errorf(struct reply *r, const char *fmt, ...)
{
    r->errored = true;
    char *at = reply_room(r, 1);
    if (at == NULL)
        return;
    *at++ = '-';
    reply_wrote(r, at);
    size_t from = r->bytes.n;
    va_list ap;
    va_start(ap, fmt);
    int err = buf_vprintf(&r->bytes, fmt, ap);
    va_end(ap);
    if (err < 0)
        r->oom = true;
    else
        finish_error(r, from);
}

/* ---- on the way out ---- */

int reply_weave(const struct reply *r, size_t from, struct iovec *iov, int max)
{
    size_t pos = 0, at = 0; /* pos: in the woven stream; at: in bytes */
    int n = 0;
    for (uint32_t i = 0; i <= r->nsplices && n < max; i++) {
        size_t upto = i < r->nsplices ? r->splices[i].at : r->bytes.n;
        struct str parts[2] = {{r->bytes.p + at, upto - at}, {NULL, 0}};
        if (i < r->nsplices)
            parts[1] = r->splices[i].data;
        at = upto;
        for (int k = 0; k < 2 && n < max; k++) {
            size_t end = pos + parts[k].n;
            if (end > from && parts[k].n > 0) {
                size_t skip = from > pos ? from - pos : 0;
                iov[n++] = (struct iovec){(char *)parts[k].p + skip, parts[k].n - skip};
            }
            pos = end;
        }
    }
    return n;
}

/* How much of `bytes` lies in front of splice i, or of the end. */
static size_t bytes_before(const struct reply *r, uint32_t i)
{
    return i < r->nsplices ? r->splices[i].at : r->bytes.n;
}

void reply_consume(struct reply *r, size_t n)
{
    ASSERT(n <= reply_size(r));
    uint32_t gone = 0;
    size_t at = 0; /* consumed of bytes */
    for (;;) {
        size_t plain = bytes_before(r, gone) - at;
        at += n < plain ? n : plain;
        if (n <= plain && (n < plain || gone == r->nsplices))
            break;
        n -= plain;
        struct reply_splice *s = &r->splices[gone];
        size_t part = n < s->data.n ? n : s->data.n;
        r->spliced -= part;
        n -= part;
        if (part < s->data.n) {
            s->data = (struct str){s->data.p + part, s->data.n - part};
            break;
        }
        r->block_put(s->block);
        gone++;
    }
    r->nsplices -= gone;
    for (uint32_t i = 0; i < r->nsplices; i++) {
        r->splices[i] = r->splices[i + gone];
        r->splices[i].at -= at;
    }
    buf_consume(&r->bytes, at);
}
