/* What cut.c (saving and walking) and cut_queue.c (what waits for the reader) share. */
#ifndef LARDER_STORE_CUT_INTERNAL_H
#define LARDER_STORE_CUT_INTERNAL_H

#include "store/cut.h"
#include "store/gate.h"
#include "store/shard.h"

/* A saved key in a chunk: key bytes, the value as the entry has it (bytes, or the pointer of a heap value
 * whose reference the record holds), the extension. */
struct record {
    uint32_t klen, vlen, xlen;
    uint32_t use; /* idle seconds, or a counter */
    int64_t expire_ms;
    uint16_t db;
    uint8_t kind;     /* enum entry_kind */
    uint8_t use_kind; /* enum access_use_kind */
    bool hidden;      /* from plain commands */
    char bytes[];
};
#define RECORD_ALIGN(n) (((n) + 7) & ~(size_t)7)
enum { RECORD_NO_EXTRA = UINT32_MAX }; /* xlen */

static inline size_t record_size(uint32_t klen, uint32_t vlen, uint32_t xlen)
{
    return RECORD_ALIGN(sizeof(struct record) + klen + vlen + (xlen == RECORD_NO_EXTRA ? 0 : xlen));
}

struct cut_chunk {
    struct cut_chunk *next;
    size_t n;   /* bytes of data */
    int64_t at; /* in the spill file, if it is there and no data here */
    _Alignas(8) char data[];
};

struct cut {
    struct store *store;
    unsigned index;
    int64_t now_ms, clock_ms;
    const uint64_t *slots;
    const char *spill_dir;
    bool lane, whole;
    struct gate *gate;
    uint32_t round;
    uint64_t queue_max;
    _Atomic int broken;      /* the first error */
    uint32_t slot, page;     /* the reader's: where its walk is */
    int16_t number[IDS_MAX]; /* SELECT's, of database ids, at the cut; -1: garbage */

    int spill_fd;     /* cuts_lock to open it, with the spill */
    struct lock lock; /* leaf; guards what follows */
    struct cut_chunk *head, **tail;
    struct cut_chunk *on_disk;
    uint32_t spilling; /* chunks that are on their way there */
    struct cut_stats stats;
    int64_t spill_end;

    uint64_t bitmap[]; /* of slots */
};

static inline int cut_broken(const struct cut *c)
{
    return atomic_load_explicit(&c->broken, memory_order_relaxed);
}
/* The first reason counts. */
void cut_break(struct cut *c, int err);

void cut_push(struct cut *c, struct cut_chunk *ch); /* takes ch */
/* 0 with *out owned; ERR_NOTFOUND: nothing waits; else what broke the cut. */
int cut_pop(struct cut *c, struct cut_chunk **out);
void cut_drop_all(struct cut *c);

#endif
