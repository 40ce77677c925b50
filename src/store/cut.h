/* A cut: the keyspace as it was at one moment, read out while it changes. Nothing is forked.
 *
 *      gate ── cut_open()
 *      reader:   cut_next() ──> a chunk of records ──> ... ──> ERR_NOTFOUND: that was all    cut_close()
 *      writer:   about to change a key of a page that is not saved yet: saves the page first
 *
 * The unit is a page of a table (table.h, about 100 keys). Each page has a bit for each of the cuts that can
 * be open; the page is saved when its bit equals the store's `cut_sense` for that cut. Opening a cut turns
 * the sense around, so that all pages are unsaved at once and none is touched; when a cut is closed, all are
 * saved again. A split copies the bits to both halves; pages whose bits differ are not merged.
 *
 * Only the reader saves whole pages. A writer saves the key that it is about to change, and notes that it
 * has (cut_noted.c), so that the reader leaves it out when it comes to the page; a key that is new there is
 * noted, too. So a write costs one copy of one entry, whatever else lies in the page. Where a shard has
 * too many notes, or the page is small, the writer saves the page after all.
 *
 * Saving copies short values, takes a reference to long ones (which are copy-on-write), under the shard's
 * lock. What writers have saved waits for the reader; beyond 1/CUT_QUEUE_SHARE of the memory in use, and
 * CUT_QUEUE_MAX, it is written to a temporary file by whoever begins a round (store_round_begin()).
 *
 * Eviction and expiry do not save: what they remove is missing in the cut, and their DEL follows it. So what
 * a command only reads, and writes elsewhere (COPY, SUNIONSTORE), is saved first: who replays it needs it.
 * Nor do flushes save. For who replays the flush this is the same; for others (`whole`) the cut is broken
 * then.
 *
 * Cost when no cut is open: one load and branch a write. Rejected: a bit for each entry (ten bits a cut in a
 * bucket's 13 spare ones: room for one cut, and every rearrangement of a page has to carry them); writers
 * that save whole pages (a hundred entries from all over memory for one write: what a busy worker could not
 * do beside its work, and a hundred times the memory). */
#ifndef LARDER_STORE_CUT_H
#define LARDER_STORE_CUT_H

#include "store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cut_limits {
    CUT_QUEUE_MIN = 1 << 20,    /* bytes of copies in memory, before they are written to a file: */
    CUT_QUEUE_MAX = 64 << 20,   /* ... this much at most, and beyond the least not more ... */
    CUT_QUEUE_SHARE = 32,       /* ... than this part of the memory that the store uses */
    CUT_FILL_BYTES = 16 << 10,  /* what writers save lies together in pieces of so much */
    CUT_NOTES_MAX = 4096,       /* keys of a shard that are saved one by one; then whole pages */
    CUT_PAGE_SMALL = 4,         /* keys in a page that a writer saves at once */
    CUT_SLICE_PAGES = 4,        /* the reader saves so many under one hold of a shard's lock ... */
    CUT_SLICE_BYTES = 64 << 10, /* ... or so many bytes */
    CUT_SPILL_BYTES = 1 << 20,  /* written by one who begins a round, about */
};

struct cut;
struct gate;

struct cut_options {
    int64_t now_ms;        /* what has expired by now is left out */
    int64_t clock_ms;      /* the time, for how long keys have not been used; 0: nobody asks */
    const uint64_t *slots; /* STORE_SLOTS bits, copied; NULL: all */
    const char *spill_dir; /* borrowed until close; NULL: the current directory */
    uint64_t queue_max;    /* 0: as the limits say */
    bool lane;             /* the lane reads it: busy shards are its own */
    bool whole;        /* a flush breaks it; else what it had not saved is missing, like what is evicted */
    struct gate *gate; /* the reader begins a round of its own, number `round`, for each look at the store. */
    uint32_t round;    /* NULL: it is in one whenever it calls, or is the lane */
};

/* Gate raised by this thread. 0, ERR_OOM, ERR_FULL. */
int cut_open(struct cut **out, struct store *s, const struct cut_options *o);

/* One saved key. */
struct cut_record {
    struct str key;
    uint32_t db;           /* SELECT's number at the cut */
    int64_t expire_ms;     /* 0: none */
    int64_t idle_s, freq;  /* store_set_access(); -1: not known */
    struct str value;      /* a string's bytes ... */
    struct object *object; /* ... or a collection, unchanging: borrowed from the chunk */
    struct str extra;      /* the entry's cache extension and, as i64, its end (ext.h); p NULL: none */
    bool hidden;           /* from plain commands: stale or negative. A string, and it has an extension */
};

/* Saved keys, owned by whoever got it. */
struct cut_chunk;

/* The reader's thread, no lock held. Returns 0 with *out owned (it may hold no records), or ERR_NOTFOUND when
 * the cut is complete; ERR_AGAIN: a long operation owns the next shard; ERR_OOM, ERR_IO: some of it is lost
 * for want of memory or disk; ERR_EXISTS: a flush has thrown away what was not saved (`whole`). After one of
 * the last three it fails for good. */
int cut_next(struct cut *c, struct cut_chunk **out);
/* Steps through the records: *at starts at 0. False when that was the last. */
bool cut_chunk_next(const struct cut_chunk *ch, size_t *at, struct cut_record *out);
void cut_chunk_free(struct cut *c, struct cut_chunk *ch);

/* The reader's thread, no lock held; complete or not. Looks at every page that is not saved yet. */
void cut_close(struct cut *c);

struct cut_stats {
    uint64_t held, held_peak, spilled; /* bytes */
};
void cut_stats(struct cut *c, struct cut_stats *out); /* any thread */

#endif
