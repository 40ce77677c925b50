#include "base/buf.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"
#include "base/num.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { CAP_MIN = 64, CAP_DOUBLES_TO = 1024 * 1024 };

void buf_init(struct buf *b)
{
    *b = (struct buf){0};
}

void buf_release(struct buf *b)
{
    mem_free(b->p);
    buf_init(b);
}

static size_t next_cap(size_t cap, size_t wanted)
{
    size_t grown = cap < CAP_DOUBLES_TO ? cap * 2 : cap + cap / 4;
    if (grown < CAP_MIN)
        grown = CAP_MIN;
    return grown > wanted ? grown : wanted;
}

int buf_reserve_slow(struct buf *b, size_t n)
{
    size_t wanted;
    DEBUG_ASSERT(b->n <= b->cap);
    if (!num_add_overflows(b->n, n, &wanted) && wanted <= PTRDIFF_MAX) {
        size_t cap = next_cap(b->cap, wanted);
        char *p = mem_realloc(b->p, cap);
        if (p != NULL) {
            b->p = p;
            b->cap = cap;
            return 0;
        }
    }
    b->oom = true;
    return ERR_OOM;
}

int buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    size_t room = b->cap - b->n;
    int n = vsnprintf(room > 0 ? b->p + b->n : NULL, room, fmt, ap);
    ASSERT(n >= 0);
    int err = 0;
    if ((size_t)n >= room) { /* vsnprintf writes a NUL too, so room must exceed n */
        err = buf_reserve(b, (size_t)n + 1);
        if (err == 0)
            vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
    }
    va_end(again);
    if (err == 0)
        b->n += (size_t)n;
    return err;
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int err = buf_vprintf(b, fmt, ap);
    va_end(ap);
    return err;
}

/* The letter that stands for c after a backslash, or 0. */
static char escape_letter(unsigned char c)
{
    switch (c) {
    case '\\': return '\\';
    case '"': return '"';
    case '\n': return 'n';
    case '\r': return 'r';
    case '\t': return 't';
    case '\a': return 'a';
    case '\b': return 'b';
    }
    return 0;
}

int buf_put_quoted(struct buf *b, struct str s)
{
    static const char hex[] = "0123456789abcdef";
    size_t most;
    if (num_mul_overflows(s.n, 4, &most) || num_add_overflows(most, 2, &most)) {
        b->oom = true;
        return ERR_OOM;
    }
    if (buf_reserve(b, most) < 0)
        return ERR_OOM;
    char *at = b->p + b->n;
    *at++ = '"';
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        char letter = escape_letter(c);
        if (letter != 0) {
            *at++ = '\\';
            *at++ = letter;
        } else if (c >= 0x20 && c < 0x7f) {
            *at++ = (char)c;
        } else {
            *at++ = '\\';
            *at++ = 'x';
            *at++ = hex[c >> 4];
            *at++ = hex[c & 15];
        }
    }
    *at++ = '"';
    b->n = (size_t)(at - b->p);
    return 0;
}

void buf_consume(struct buf *b, size_t n)
{
    ASSERT(n <= b->n);
    b->n -= n;
    if (n > 0 && b->n > 0)
        memmove(b->p, b->p + n, b->n);
}
