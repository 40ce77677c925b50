/* What a node knows beside its entries, and what it knows not, for snapshots and full copies: which tags were
 * purged, and which versions are held. Without it an old value could come back on whoever was given a copy.
 *
 *      piece    kind | u64 of | triple of u64 ...     ('U': words of 64 bits)
 *
 *        'S'    sequence of purges
 *        'T'    0            | tag, hard, soft                  purges of tags; tag 0: of everything
 *        'B'    buckets      | number of a bucket, hard, soft   what their floors rose to
 *        'V'    group        | hash, version, until             tombstones
 *        'F'    group        | number of a floor, version, until
 *        'U'    0            | a bit for each slot              it is not known what is held there
 *
 * Pieces are taken while a snapshot is written, at its end: what is purged or held later than its cut is only
 * purged or held a little too early for whoever reads it. They only ever raise, in any order. */
#ifndef LARDER_CACHE_STATE_H
#define LARDER_CACHE_STATE_H

#include "base/buf.h"
#include "cache/cache.h"

enum state_limits {
    STATE_HELD_END = 2 * 1024, /* where cache_put_held() ends: twice TOMB_GROUPS ... */
    STATE_HELD_STEP = 128,     /* ... of which it looks at so many in a call */
    STATE_BUCKETS = 256,       /* of tags, in a piece */
    STATE_GROUPS = 64,         /* of tombstones, looked at in a step */
};

/* The next piece, appended to `out`, which is empty: some tens of kilobytes at the most, or nothing. In a
 * round, no lock held. *at begins at 0. Returns 0 while there is more, 1 behind the last, ERR_OOM. (A hook of
 * persist/snapshot.h, hence the pointer: a struct cache.) */
int cache_put_state(void *cache, uint32_t *at, struct buf *out);

/* What is held of keys in these slots (a bit each), as one piece or none; what floors hold is of all slots.
 * From *at on, which becomes the place to go on at. Returns 0 while there may be more, 1 behind the last,
 * ERR_OOM. No lock held. */
int cache_put_held(struct cache *c, const uint8_t *slots, uint32_t *at, struct buf *out);

/* One of these back; no lock held. What cannot be read is ignored. */
void cache_take_state(const struct access *a, struct str piece);

#endif
