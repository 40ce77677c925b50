/* Reading Redis's snapshot format, key by key, from whatever gives bytes: a file, later a socket.
 *
 *      rdb_reader_init(&r, read, arg, ...)
 *      while ((rc = rdb_read(&r, &item)) == 0) ...         1: complete, checksum and all; negative: r.text
 * says why rdb_reader_release(&r)
 *
 * Everything may come from an enemy. No length is believed: memory grows with the bytes that have really
 * come, twice their number at the most. Nothing is skipped that would be data: what is not known is refused.
 */
#ifndef LARDER_PERSIST_RDB_READ_H
#define LARDER_PERSIST_RDB_READ_H

#include "base/buf.h"
#include "value/object.h"
#include "value/rdb_string.h"

#include <stdbool.h>
#include <stdint.h>

enum rdb_read_limits {
    RDB_READ_PIECE = 256 << 10,
    RDB_TEXT_MAX = 320,
    RDB_REPL_ID = 40,
    RDB_DATASET_MAX = 80
};

/* Up to n bytes to p. Returns their number, 0 at the end, or a negative error. */
typedef int64_t rdb_read_fn(void *arg, char *p, size_t n);

struct rdb_item {
    uint32_t db;
    int64_t expire_ms;     /* 0: none */
    int64_t idle_s, freq;  /* seconds without use, LFU's counter (0 to 255); -1: not there */
    struct str key;        /* good until the next call */
    struct str value;      /* a string; good until the next call. Else: */
    struct object *object; /* returned owned */
    struct str extra;      /* the entry's extension, see rdb.h; p NULL: none. Good until the next call */
    bool hidden;           /* from plain commands; a string with its extension, whose end is in there */
    struct str state;      /* p not NULL: no key at all, but what belongs to all of them, see rdb.h */
};

struct rdb_reader {
    struct object_source src; /* must be first: what is there and not consumed */
    rdb_read_fn *read;
    void *arg;
    const struct object_options *objects; /* borrowed */
    uint64_t string_max;
    struct buf in;    /* src.in lies in it */
    uint64_t dropped; /* bytes before in.p */
    uint64_t sum;     /* of those */
    struct buf key, value, extra;
    bool has_extra, has_state, has_entry; /* in `extra` */
    bool begun, done;
    uint32_t version;
    uint32_t db;
    int64_t expire_ms, idle_s, freq; /* of the key that follows */
    /* Where in which history of writes the data are as of, which AUX fields at the head say: */
    char repl_id[RDB_REPL_ID + 1];  /* "": not there; whether it is one is for others to say */
    int64_t repl_offset, stream_db; /* -1: not there */
    char dataset[RDB_DATASET_MAX];  /* of which data set, as repl/lineage.h has it in text; "": not there */
    char text[RDB_TEXT_MAX];
};

void rdb_reader_init(struct rdb_reader *r, rdb_read_fn *read, void *arg,
                     const struct object_options *objects);
void rdb_reader_release(struct rdb_reader *r);

/* 0: *out is the next key. 1: that was all. ERR_CORRUPT: damaged or cut; ERR_TYPE: sound so far, but it holds
 * something that this version does not know; ERR_OOM; read()'s error. With r->text, and at rdb_offset(). */
int rdb_read(struct rdb_reader *r, struct rdb_item *out);

/* Bytes consumed. */
static inline uint64_t rdb_offset(const struct rdb_reader *r)
{
    return r->dropped + (uint64_t)(r->in.n - r->src.in.n);
}

#endif
