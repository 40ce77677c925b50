/* Which tags have been purged, and when: a sequence number a tag, no clock and no list of keys.
 *
 * The node counts purges (`seq`). An entry's `born` is what the count was when its load began; a purge of a
 * tag notes the count after it. The entry is valid if it was born no earlier than the last purge of each of
 * its tags.
 *
 *      bucket   floor_hard floor_soft | hash hard soft | x 4        128 bytes, by the tag's hash
 *
 * A bucket that is full forgets its oldest purge, and its floors rise to it: what is not found was purged at
 * the floor. So forgetting invalidates too much, never too little. 8,192 buckets remember 32,768 tags in 1
 * MB, of which only what is used is resident.
 *
 * Readers hold some shard's lock and take none for this: a word at a time, in an order in which a floor rises
 * before its purge is forgotten. Writers take `lock`, a leaf. */
#ifndef LARDER_CACHE_TAG_H
#define LARDER_CACHE_TAG_H

#include "base/lock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct tag_bucket;

struct tags {
    struct lock lock;                    /* guards writing */
    _Atomic uint64_t all_hard, all_soft; /* tag 0, which stands for every entry that knows of tags at all */
    struct tag_bucket *buckets;          /* owned */
    uint32_t mask;
    _Atomic uint64_t forgotten; /* purges that only a floor remembers */
};

enum tag_limits { TAG_BUCKETS = 8192, TAG_WAYS = 4 };

/* buckets: a power of two (TAG_BUCKETS, fewer in tests). Returns 0 or ERR_OOM. */
int tags_init(struct tags *t, uint32_t buckets);
void tags_release(struct tags *t);

/* Everything born before `seq` that has this tag (0: whatever it has) is invalid from now on; soft: only
 * stale. */
void tags_purge(struct tags *t, uint64_t tag, uint64_t seq, bool soft);

/* When the tag was last purged, 0 = never. Of a tag other than 0, purges of everything are not counted. */
struct tag_purged {
    uint64_t hard, soft;
};
struct tag_purged tags_purged(const struct tags *t, uint64_t tag);
/* Of everything, hard or soft. */
static inline uint64_t tags_latest_of_all(const struct tags *t)
{
    uint64_t hard = atomic_load_explicit(&t->all_hard, memory_order_acquire),
             soft = atomic_load_explicit(&t->all_soft, memory_order_acquire);
    return hard > soft ? hard : soft;
}

/* Another node's floor: what is not found in the bucket was purged then, at the latest. */
void tags_raise_floor(struct tags *t, uint32_t bucket, struct tag_purged p);
/* What buckets `from` to `to` remember: tags and when they were purged; floors that are not 0, by the bucket.
 * NULL: not wanted. */
typedef void tags_visit_fn(void *arg, uint64_t which, struct tag_purged p);
void tags_each(const struct tags *t, uint32_t from, uint32_t to, tags_visit_fn *tag, tags_visit_fn *floor,
               void *arg);

#endif
