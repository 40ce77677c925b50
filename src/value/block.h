/* Large values: a refcounted run of bytes in the heap, shared copy-on-write.
 *
 * An entry in a segment holds one reference; a reply that is still being sent
 * holds another, so a value is never copied under a lock and may be replaced
 * while it is on the wire. Bytes may be changed only by whoever holds the only
 * reference and the shard's lock (block_is_private()).
 *
 * Freeing is jemalloc's work and returns quickly: unused pages are given back by
 * its background thread. get/put may be called from any thread. */
#ifndef LARDER_VALUE_BLOCK_H
#define LARDER_VALUE_BLOCK_H

#include "base/annotate.h"
#include "base/str.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block {
    _Atomic uint32_t refs;
    size_t n;   /* bytes in use */
    size_t cap; /* bytes of room in data */
    char data[];
};

/* One reference, n = 0, room for at least cap bytes (not zeroed). NULL when memory is short. */
struct block *block_new(size_t cap) MUST_CHECK;
void block_get(struct block *b);
void block_put(struct block *b);

static inline bool block_is_private(const struct block *b)
{
    return atomic_load_explicit(&b->refs, memory_order_acquire) == 1;
}

static inline struct str block_str(const struct block *b)
{
    return (struct str){b->data, b->n};
}

/* A private block may grow; returns the (possibly moved) block or NULL, then the old one is untouched. */
struct block *block_grow(struct block *b, size_t cap) MUST_CHECK;

#endif
