/* Replies as a client reads them: incremental, depth- and size-limited, copying
 * nothing. Shared by `larder bench`, the operator's tool and liblarder. Hostile
 * lengths get ERR_PROTO. */
#ifndef LARDER_PROTO_READER_H
#define LARDER_PROTO_READER_H

#include "base/arena.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum reader_limits {
    READER_DEPTH_MAX = 32,
    READER_LINE_MAX = 64 * 1024, /* bytes of a header, a status or an error */
    READER_COUNT_MAX = 1 << 30,  /* children (pairs of a map) */
};

enum reader_kind {
    READ_STATUS,
    READ_ERROR,
    READ_INT,
    READ_BULK,
    READ_NULL,
    READ_ARRAY,
    READ_MAP,
    READ_SET,
    READ_PUSH,
    READ_ATTRIBUTE,
    READ_DOUBLE,
    READ_BOOL,
    READ_BIGNUM,
    READ_VERBATIM,
    READ_BLOB_ERROR,
};

struct reader_value {
    enum reader_kind kind;
    struct str text;               /* STATUS, ERROR, BULK, BIGNUM, VERBATIM (after "txt:"), DOUBLE's text */
    int64_t integer;               /* INT, BOOL */
    double number;                 /* DOUBLE */
    uint64_t n;                    /* children of aggregates; a map of k pairs has 2k */
    struct reader_value *children; /* in the arena; NULL when n == 0 */
};

static inline bool reader_is_error(const struct reader_value *v)
{
    return v->kind == READ_ERROR || v->kind == READ_BLOB_ERROR;
}

/* Parse one reply from the front of `in`. Attributes before it are values of their own
 * (READ_ATTRIBUTE, the reply comes next); those within it are dropped. Returns 0 with *used bytes consumed,
 * ERR_AGAIN when it is cut (*need: bytes known to be missing), ERR_PROTO, ERR_OOM. */
int reader_parse(struct str in, size_t bulk_max, struct arena *arena, struct reader_value *out, size_t *used,
                 size_t *need);

/* The same without building values, for load generators: length of the first reply
 * with its attributes, and whether it is an error or a null. Returns 0, ERR_AGAIN or
 * ERR_PROTO. */
int reader_skip(struct str in, size_t *used, bool *is_error, bool *is_null);

#endif
