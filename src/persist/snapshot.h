/* A snapshot: the data set as it was at one moment, written in Redis's RDB format while clients go on.
 *
 *      gate ── snapshot_open() ──> a cut through the store (store/cut.h)
 *      then, on any thread, holding nothing:   while (snapshot_step() == 0) ;   ──> bytes ──> sink
 *      snapshot_close()
 *
 * Three users: BGSAVE (a file), a replica's full copy (the log's offset noted under the same gate belongs to
 * exactly these data), the copy of some slots. Nothing is forked and nobody waits: a write to what is not
 * yet copied copies it first.
 *
 * FLUSHALL and FLUSHDB take away what was not written yet. Who has the log that follows sees the flush there,
 * and misses nothing; for a file that stands alone (`whole`) snapshot_step() answers ERR_NOTFOUND then, and
 * whoever wants a copy of the emptied data set opens another. SWAPDB and everything else does not disturb it.
 */
#ifndef LARDER_PERSIST_SNAPSHOT_H
#define LARDER_PERSIST_SNAPSHOT_H

#include "base/str.h"
#include "store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gate;
struct buf;

/* Where the bytes go. Returns 0 or a negative error, which ends the snapshot; may block (it is called on the
 * thread that steps, with no lock held). Bytes are borrowed for the call. */
struct snapshot_sink {
    int (*write)(struct snapshot_sink *sink, const char *p, size_t n);
};

/* A field "name value" at the head of the file. */
struct snapshot_aux {
    struct str name, value;
};

struct snapshot_options {
    struct snapshot_sink *sink; /* borrowed until close */
    const uint64_t *slots;      /* STORE_SLOTS bits, copied; NULL: all */
    const struct snapshot_aux
        *aux; /* copied into the head; for a replica: repl-id, repl-offset, repl-stream-db */
    uint32_t naux;
    uint32_t version; /* RDB_VERSION_MIN to RDB_VERSION_MAX: what the reader understands */
    int64_t now_ms;   /* what has expired by now is left out; 0: nothing */
    int64_t clock_ms; /* the time, for how long keys have not been used (LRU, LFU); 0: it is not written */
    bool whole;       /* a flush ends it */
    bool lane;        /* the lane steps: busy shards are its own */
    struct gate
        *gate; /* round number `round` is begun for each look at the store; NULL: whoever steps is in a */
    uint32_t round; /* round already, or the lane. Never sleep in a round because the sink is slow */
    /* What belongs to the data and to no key, as fields behind the keys: appends the next value, or nothing,
     * to `out`, in a round. 0 while there is more, 1 behind the last, or an error. NULL: none. */
    int (*put_state)(void *arg, uint32_t *at, struct buf *out);
    void *state_arg;
    bool compress;         /* LZF for strings from 21 bytes on */
    bool checksum;         /* else the sum at the end is 0: "not summed" */
    const char *spill_dir; /* where a temporary file may be made when writers are far ahead of the sink */
};

struct snapshot;

struct snapshot_progress {
    uint64_t keys_total; /* at the cut, about */
    uint64_t keys;       /* written so far */
    uint64_t bytes;      /* given to the sink */
    uint64_t held_peak;  /* bytes of copies that waited for the sink, at their most */
    uint64_t spilled;    /* of those, written to the temporary file */
};

/* Gate raised by this thread. 0, ERR_OOM, ERR_FULL (four cuts are open). */
int snapshot_open(struct snapshot **out, struct store *s, const struct snapshot_options *o);

/* A slice, some tens of microseconds of work and one or a few writes to the sink, outside of any round.
 * Returns 0 while there is more, SNAPSHOT_DONE when the file is complete, or a negative error: the sink's,
 * ERR_OOM, ERR_IO (spill file), ERR_NOTFOUND (flushed), ERR_AGAIN: a long command has the next shard; call
 * again in a millisecond. */
enum { SNAPSHOT_DONE = 1 };
int snapshot_step(struct snapshot *sn);

/* Done or not. Takes as long as a look at every page of the tables when it was not done. */
void snapshot_close(struct snapshot *sn);

void snapshot_progress(const struct snapshot *sn, struct snapshot_progress *out); /* the thread that steps */

#endif
