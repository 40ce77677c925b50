/* Replies: RESP2 or RESP3, written once for both.
 *
 * A handler says what it means (a map, a null, a boolean, a double) and the
 * writer chooses the bytes: RESP2 flattens maps and sets to arrays, gives nulls as
 * $-1, booleans as :1/:0 and doubles as bulk strings.
 *
 * Large values are not copied: reply_block() notes where in the byte stream the
 * block belongs and keeps one reference to it; the sender weaves both with iovecs.
 *
 *      bytes   [ ....... | .... | ........ ]
 *      splices           ^blk0  ^blk1
 *
 * One owner thread at a time. Running out of memory sets `oom`, and so does a buffer that
 * would have to grow beyond `limit`; nothing more is written then, and the connection is closed,
 * since half a reply cannot be taken back. */
#ifndef LARDER_PROTO_REPLY_H
#define LARDER_PROTO_REPLY_H

#include "base/annotate.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct block; /* value/block.h: a refcounted run of bytes; here only carried */

struct reply_splice {
    size_t at; /* offset in bytes.n order: the block stands before this byte */
    struct block *block;
    struct str data;
};

struct reply {
    struct buf bytes;
    struct reply_splice *splices;
    uint32_t nsplices, splices_cap;
    size_t spliced; /* bytes in splices */
    uint8_t proto;  /* 2 or 3 */
    bool mute;      /* CLIENT REPLY OFF / SKIP: everything is dropped */
    bool errored;   /* an error was written since the caller last cleared it */
    bool oom;
    bool over;    /* with oom: it was the limit */
    size_t limit; /* bytes of `bytes`, looked at when they grow; 0 = none */
    void (*block_get)(struct block *);
    void (*block_put)(struct block *);
};

void reply_init(struct reply *r, void (*block_get)(struct block *), void (*block_put)(struct block *));
void reply_release(struct reply *r); /* puts all splices */
void reply_clear(struct reply *r);   /* puts all splices, keeps the memory */
static inline size_t reply_size(const struct reply *r)
{
    return r->bytes.n + r->spliced;
}

/* A place to come back to: reply_rollback() drops what was written since (an EXEC
 * that fails late, a handler that finds out of memory after its first byte). */
struct reply_mark {
    size_t n, spliced;
    uint32_t nsplices;
    bool errored, oom;
};
struct reply_mark reply_mark(const struct reply *r);
void reply_rollback(struct reply *r, struct reply_mark m);

void reply_ok(struct reply *r);
void reply_status(struct reply *r, const char *text); /* +text */
void reply_int(struct reply *r, int64_t v);           /* :v */
void reply_bulk(struct reply *r, struct str s);       /* $n */
void reply_bulk_i64(struct reply *r, int64_t v);
void reply_cstr(struct reply *r, const char *s);                      /* bulk */
void reply_block(struct reply *r, struct block *b, struct str data);  /* bulk; takes a reference of its own */
void reply_verbatim(struct reply *r, const char *ext3, struct str s); /* =n txt:... or bulk */
void reply_double(struct reply *r, double v);
void reply_ldouble(struct reply *r, long double v); /* INCRBYFLOAT style, always bulk */
void reply_bool(struct reply *r, bool v);
void reply_null(struct reply *r);       /* _ or $-1 */
void reply_null_array(struct reply *r); /* _ or *-1 */
void reply_array(struct reply *r, uint64_t n);
void reply_map(struct reply *r, uint64_t pairs);
void reply_set(struct reply *r, uint64_t n);
void reply_push(struct reply *r, uint64_t n);          /* > or * */
void reply_attribute(struct reply *r, uint64_t pairs); /* RESP3 only; the caller checks */
void reply_bignum(struct reply *r, struct str digits);
void reply_raw(struct reply *r, struct str bytes); /* already encoded */

/* For who writes many small things at once, already encoded: where the next n bytes at most go, or NULL when
 * nothing is to be written, since it is muted or memory was short; then, where they have ended. */
char *reply_grow(struct reply *r, size_t n); /* for reply_room(), when there is too little */
static ALWAYS_INLINE char *reply_room(struct reply *r, size_t n)
{
    if (unlikely(r->mute || r->oom))
        return NULL;
    return likely(r->bytes.cap - r->bytes.n >= n) ? r->bytes.p + r->bytes.n : reply_grow(r, n);
}
static ALWAYS_INLINE void reply_wrote(struct reply *r, const char *end)
{
    r->bytes.n = (size_t)(end - r->bytes.p);
    DEBUG_ASSERT(r->bytes.n <= r->bytes.cap);
}

/* What lies behind the first `from` bytes, bytes and splices woven: fills up to `max` of `iov`, and
 * returns how many. They are good until the reply is touched. */
int reply_weave(const struct reply *r, size_t from, struct iovec *iov, int max);

/* Forget the first n bytes, which have been sent, and put the splices among them. */
void reply_consume(struct reply *r, size_t n);

/* Everything in src goes behind what dst holds; src is left empty. */
void reply_append(struct reply *dst, struct reply *src);

/* An array whose length is known only after its elements: returns a handle for
 * reply_deferred_end(). kind is '*', '%' or '~'; for '%' n counts pairs. Deferred
 * arrays nest: end the inner one first. Costs one move of what was written since. */
size_t reply_deferred(struct reply *r);
void reply_deferred_end(struct reply *r, size_t handle, char kind, uint64_t n);

/* "-text": the text begins with its code, "ERR syntax error". Newlines become spaces. */
void reply_error(struct reply *r, const char *text);
void reply_errorf(struct reply *r, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The texts that clients parse. */
#define REPLY_SYNTAX "ERR syntax error"
#define REPLY_NOT_INT "ERR value is not an integer or out of range"
#define REPLY_NOT_FLOAT "ERR value is not a valid float"
#define REPLY_WRONGTYPE "WRONGTYPE Operation against a key holding the wrong kind of value"
#define REPLY_NO_KEY "ERR no such key"
#define REPLY_LOADING "LOADING Redis is loading the dataset in memory"
#define REPLY_OOM "OOM command not allowed when used memory > 'maxmemory'."
#define REPLY_NOMEM "OOM out of memory: the allocation failed, nothing was changed"
#define REPLY_DB_RANGE "ERR DB index is out of range"
#define REPLY_OUT_OF_RANGE "ERR index out of range"

#endif
