/* Shadows: how allkeys-auto finds out how much of the cache new keys deserve.
 *
 *      requests ──> one key in 2^n, by hash ──> shadow of way 0 ──> missed, or not
 *                                           ├─> shadow of way 1 ──> missed, or not    ──> who missed what
 *                                           ├─> shadow of way 2 ──> missed, or not        the others had
 *                                           └─> shadow of way 3 ──> missed, or not
 *
 * A small queue for new keys (S3-FIFO) keeps scans and keys that are asked for once away from what matters,
 * and does worse than LRU where keys are asked for a few times and then no more, or where what matters moves
 * on. A small queue that is most of the cache behaves as LRU does, with its weakness for scans. To let large
 * entries go first, since each takes the room of many, does worse than LRU where what belongs together has
 * many sizes. What is better is not to be known beforehand, so it is measured: for a sample of the keys each
 * way's cache is played without its values, of a size that goes with the sample, and eviction goes the way
 * that misses least. It begins as LRU does, but for sizes.
 *
 * A way takes over when it had clearly more keys that the one in force missed than the other way round: by
 * three standard deviations, and by 1 % of all misses. Old counts fade.
 *
 * Shadows start with the first eviction: until then there is nothing to choose. The sample begins at one
 * key in four and is halved whenever there are more keys than nodes, so its size is bounded and
 * the cost for each request shrinks as the cache grows. A node stands in up to four queues:
 *
 *      | hash | bytes | deadline | chain | seat 0: newer, older, at, queue, hits | seat 1 | ... |
 *
 * Rejected: adapting by ghost hits alone (as ARC does): a ghost tells what a larger queue would have hit, not
 * what the smaller rest would then miss, and gives no floor. A judgement for each size class: too few keys in
 * each.
 *
 * Threads: any. One lock, only tried: a request that finds it taken is not part of the sample. */
#ifndef LARDER_STORE_SHADOW_H
#define LARDER_STORE_SHADOW_H

#include "base/annotate.h"
#include "base/lock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { SHADOW_WAYS = 4 };

/* How eviction goes. */
struct shadow_way {
    uint8_t small_percent; /* of a class that its small queue may hold */
    uint8_t promote_at;    /* hits in the small queue that are worth a place in the main one */
    bool by_size;          /* a large entry must be used more often than a small one to be worth its room */
};

struct shadow_book;

struct shadows {
    CACHE_ALIGNED _Atomic uint32_t
        below;                      /* keys whose upper 32 bits of hash are below it are played; 0: off */
    _Atomic uint32_t way;           /* in force */
    struct shadow_book *book;       /* gate; NULL: none, way 0 */
    _Atomic uint64_t bytes;         /* of the book; for any thread to read */
    CACHE_ALIGNED struct lock lock; /* leaf, only tried; guards what the book holds */
};

/* For a cache of so many bytes, 0 for none: forgets everything if that is a new size. Nobody else may
 * use it (gate). Without memory there is none, which is allowed. */
void shadows_resize(struct shadows *sh, uint64_t maxmemory);
uint64_t shadows_bytes(const struct shadows *sh);

static inline bool shadows_want(const struct shadows *sh, uint64_t hash)
{
    return (uint32_t)(hash >> 32) < atomic_load_explicit(&sh->below, memory_order_relaxed);
}

/* The real cache is full, of `bytes`, and tells so many classes of sizes apart: begin, or go on like that. */
void shadows_begin(struct shadows *sh, uint64_t bytes, unsigned classes);

/* What happened to a key that they want. */
struct shadow_event {
    uint64_t hash;
    uint64_t bytes;      /* of its entry; 0: the real cache has none, it was only asked for */
    uint32_t deadline_s; /* 0: none; any clock that now_s is of */
    uint32_t now_s;
    bool put; /* it was written, not asked for */
};
/* True when the way in force has changed. */
bool shadows_note(struct shadows *sh, const struct shadow_event *ev);

struct shadow_way shadows_way(const struct shadows *sh);

#endif
