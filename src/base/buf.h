/* A growable run of bytes, owned by its struct.
 *
 * Appending functions return 0 or ERR_OOM, and leave the buffer as it was on
 * error; `oom` stays set so that a writer of many small pieces may check once at
 * the end. Capacity doubles up to 1 MB and grows by a quarter beyond. */
#ifndef LARDER_BASE_BUF_H
#define LARDER_BASE_BUF_H

#include "base/annotate.h"
#include "base/str.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *p;
    size_t n, cap;
    bool oom; /* some append since the last buf_clear() failed */
};

void buf_init(struct buf *b);    /* allocates nothing */
void buf_release(struct buf *b); /* frees and re-inits */
static inline void buf_clear(struct buf *b)
{
    b->n = 0;
    b->oom = false;
}
int buf_reserve_slow(struct buf *b, size_t n);
/* Room for n more bytes at b->p + b->n. */
static inline int buf_reserve(struct buf *b, size_t n)
{
    return likely(b->cap - b->n >= n) ? 0 : buf_reserve_slow(b, n);
}
static inline int buf_append(struct buf *b, const void *p, size_t n)
{
    int err = buf_reserve(b, n);
    if (likely(err == 0) && n > 0) {
        memcpy(b->p + b->n, p, n);
        b->n += n;
    }
    return err;
}
static inline int buf_puts(struct buf *b, struct str s)
{
    return buf_append(b, s.p, s.n);
}
static inline int buf_putc(struct buf *b, char c)
{
    return buf_append(b, &c, 1);
}
int buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
int buf_vprintf(struct buf *b, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);
/* Text with quotes and escapes, as redis-cli and MONITOR print it: "a\x00\"b". */
int buf_put_quoted(struct buf *b, struct str s);
/* Drop the first n bytes. */
void buf_consume(struct buf *b, size_t n);
static inline struct str buf_str(const struct buf *b)
{
    return (struct str){b->p, b->n};
}

#endif
