/* What cut.c (saving and walking), cut_noted.c (which keys are saved already) and cut_queue.c (what waits for
 * the reader) share. */
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
    size_t n;    /* bytes of data ... */
    size_t room; /* ... and what it has room for */
    int64_t at;  /* in the spill file, if it is there and no data here */
    _Alignas(8) char data[];
};

struct cut_noted;

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
    _Atomic int broken;                    /* the first error */
    uint32_t slot, page;                   /* the reader's: where its walk is */
    int16_t number[IDS_MAX];               /* SELECT's, of database ids, at the cut; -1: garbage */
    struct cut_noted *noted[STORE_SHARDS]; /* each under its shard's lock; NULL: none */

    int spill_fd;     /* cuts_lock to open it, with the spill */
    struct lock lock; /* leaf; guards what follows */
    struct cut_chunk *head, **tail;
    struct cut_chunk *filling; /* not in the queue yet: what writers save goes here. NULL: none */
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

/* cut_noted.c. Shard locked. */
bool cut_is_noted(const struct cut *c, uint32_t shard, uint64_t hash);
/* It must not be noted yet. 0, ERR_FULL or ERR_OOM. */
int cut_note(struct cut *c, uint32_t shard, uint64_t hash);
void cut_forget_notes(struct cut *c, uint32_t shard); /* the reader is through with the shard */

void cut_push(struct cut *c, struct cut_chunk *ch); /* takes ch */
/* Room for a record of n bytes among those of other writers, to be filled before cut_fill_end(), which must
 * follow. NULL: no memory, and nothing follows. */
struct record *cut_fill_begin(struct cut *c, size_t n);
void cut_fill_end(struct cut *c);
/* 0 with *out owned; ERR_NOTFOUND: nothing waits; else what broke the cut. */
int cut_pop(struct cut *c, struct cut_chunk **out);
void cut_drop_all(struct cut *c);

#endif
