/* The change log: one stream of bytes, in the order of execution, from many writers to many readers.
 *
 *      head = {offset, db}          one word, one CAS: a writer's place, and whether SELECT goes before it
 *
 *      ... ───published───┬─ hole ─┬── written ──┬─ hole ─┬ head
 *                         ^ readers stop here: the smallest place that is still being filled
 *
 * The bytes are what a replica is sent, nothing between them: offset n of the stream is offset n of PSYNC.
 * So there is no length in front of a unit that could be written last. Instead each writer
 * announces on a cache line of its own where it is writing; it does so before it takes its place, and
 * withdraws the announcement when the bytes are there. A reader reads the head first and the
 * announcements after it: everything below both is complete. (Rejected: a ring of lengths
 * beside the bytes, which is one more shared line a write, and framing inside the ring, which would make
 * offsets and places differ.)
 *
 * Storage is chunks of a fixed size, found by offset. The first writer to reach a chunk makes it, after
 * its locks are gone; nobody ever waits for room. changelog_trim() lets go of what is older than the
 * backlog and read by everybody; what only a slow reader still needs goes to a file. So wrapping
 * cannot pass a reader: there is nothing to wrap.
 *
 * Who may do what:
 *   write      each thread with its own changelog_writer, while the log is on
 *   read       any thread, its own reader; readers and trim share a leaf mutex that no writer takes
 *   start, stop, append   gate, or the only writer
 *
 * A unit that cannot be stored (no memory) breaks the log: readers get ERR_CORRUPT at that place, and whoever
 * owns the log must start a new history. */
#ifndef LARDER_REPL_CHANGELOG_H
#define LARDER_REPL_CHANGELOG_H

#include "base/annotate.h"
#include "base/str.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum changelog_limits {
    CHANGELOG_WRITERS_MAX = 132,
    CHANGELOG_DIRECTORY = 4096, /* chunks in memory at a time */
    CHANGELOG_CHUNK_MIN = 16 * 1024,
    CHANGELOG_CHUNK_MAX = 16 << 20,
    CHANGELOG_CHUNK_SHARE = 16, /* a chunk is about 1/16 of the backlog */
    CHANGELOG_DB_BITS = 11,     /* of the head; the largest value: no database is selected */
    CHANGELOG_NO_DB = (1 << CHANGELOG_DB_BITS) - 1,
};

/* Where old chunks go. All return 0 or negative; at: a multiple of the chunk size. */
struct changelog_spill {
    int (*write)(void *arg, uint64_t at, const void *p, size_t n);
    int (*read)(void *arg, uint64_t at, void *p, size_t n);
    void (*drop)(void *arg, uint64_t at, size_t n); /* never read again */
    void *arg;
    uint64_t bytes_max; /* beyond: the slowest reader is cut */
};

struct changelog_chunk;

struct changelog_writer {
    CACHE_ALIGNED _Atomic uint64_t filling; /* no byte below it is missing for this writer's sake */
};

struct changelog_reader {
    struct changelog_reader *next;
    uint64_t at; /* the next byte it wants; its own thread, under the mutex */
    bool cut;    /* too slow for memory and file together */
};

struct changelog {
    CACHE_ALIGNED _Atomic uint64_t head;
    CACHE_ALIGNED struct changelog_writer writers[CHANGELOG_WRITERS_MAX];
    struct changelog_chunk *_Atomic directory[CHANGELOG_DIRECTORY];
    _Atomic uint64_t oldest; /* chunk number: none below it is in memory */
    _Atomic bool broken;
    _Atomic uint64_t begin; /* first offset that can still be read */
    bool on;                /* gate */
    uint32_t nwriters;
    unsigned chunk_bits;
    pthread_mutex_t mutex; /* leaf; guards what follows, and freeing chunks */
    struct changelog_reader *readers;
    struct changelog_spill spill;      /* write NULL: none */
    uint64_t spilled_from, spilled_to; /* chunk numbers in the file */
    uint64_t backlog;
};

/* A writer's reserved place. */
struct changelog_place {
    uint64_t start, end; /* of the stream */
    uint64_t at;         /* written so far */
};

/* backlog: bytes that trim keeps for readers to come. Spill may be NULL. */
void changelog_init(struct changelog *l, uint32_t nwriters, uint64_t backlog,
                    const struct changelog_spill *spill);
void changelog_release(struct changelog *l);

/* Gate: begin at `offset` with nothing held. Readers of before find themselves cut. */
void changelog_start(struct changelog *l, uint64_t offset);
void changelog_stop(struct changelog *l);
static inline bool changelog_is_on(const struct changelog *l)
{
    return l->on;
}
void changelog_set_backlog(struct changelog *l, uint64_t bytes); /* any thread */

/* The end of the stream, holes included. */
static inline uint64_t changelog_head(const struct changelog *l)
{
    return atomic_load_explicit(&l->head, memory_order_acquire) >> CHANGELOG_DB_BITS;
}
/* What the stream has selected there; CHANGELOG_NO_DB: the next unit will say. Gate, or the only writer. */
static inline uint32_t changelog_db(const struct changelog *l)
{
    return (uint32_t)(atomic_load_explicit(&l->head, memory_order_relaxed) & CHANGELOG_NO_DB);
}
uint64_t changelog_published(struct changelog *l); /* every byte before it is there; any thread */
uint64_t changelog_begin(struct changelog *l);     /* the oldest byte that can be read */
static inline bool changelog_is_broken(const struct changelog *l)
{
    return atomic_load_explicit(&l->broken, memory_order_acquire);
}

/* ---- writing ---- */

/* Locks held: take the place of n bytes that are meant for database `first` and leave `last` selected; a
 * SELECT is put before them if need be, and is then written already by changelog_begin_write(). */
void changelog_reserve(struct changelog *l, uint32_t writer, uint32_t first, uint32_t last, uint64_t n,
                       struct changelog_place *out);
/* No lock held from here on. The SELECT, if the place has room for one; n as in reserve. */
void changelog_begin_write(struct changelog *l, uint32_t db, uint64_t n, struct changelog_place *pl);
void changelog_write(struct changelog *l, struct changelog_place *pl, const void *p, size_t n);
/* Where the next n bytes are to be put, by the caller, before it publishes; they count as written. NULL: they
 * do not lie in one piece, or there is no memory: changelog_write() knows what to do. */
char *changelog_room(struct changelog *l, struct changelog_place *pl, size_t n);
void changelog_publish(struct changelog *l, uint32_t writer, struct changelog_place *pl);
/* What should have been logged is lost (no memory): nobody may read on. Any thread. */
void changelog_break(struct changelog *l);

/* The only writer: bytes of another's stream, as they came. What it has selected is not known. */
void changelog_append(struct changelog *l, uint32_t writer, const void *p, size_t n);
/* Gate, or the only writer: the next unit begins with a SELECT. */
void changelog_forget_db(struct changelog *l);

/* ---- reading ---- */

/* From `offset` on. ERR_NOTFOUND when that is not held any more, or not yet written. */
int changelog_reader_open(struct changelog *l, struct changelog_reader *r, uint64_t offset);
void changelog_reader_close(struct changelog *l, struct changelog_reader *r);
/* Copies what is published, up to max bytes. Returns the bytes, 0 when there are none yet, or ERR_CORRUPT:
 * the reader is cut, the log was restarted or is broken; ERR_IO: the file failed. */
int64_t changelog_read(struct changelog *l, struct changelog_reader *r, void *p, size_t max);

/* Free and spill what is old. Call it now and then, by one thread. */
void changelog_trim(struct changelog *l);
uint64_t changelog_memory(const struct changelog *l); /* bytes in memory; any thread */
uint64_t changelog_spilled(struct changelog *l);      /* bytes in the file */

#endif
