/* The address space of the store: one reservation, made at boot, never unmapped.
 *
 *      base                                                     base + size
 *      | unused | segments | pool | segments | ...  | untouched        |
 *        2 MB     2 MB extents, in the order they were asked for
 *
 * An entry is named by 36 bits (4-byte units from base: 256 GB) and a bucket by
 * 32 bits (64-byte units). Memory behind an extent comes with the first touch and
 * goes back by madvise(); the addresses stay mapped for ever. That is what makes it
 * harmless that prefetching reads references without a lock: whatever stale bits it
 * follows, it lands in the mapping, so freed buckets need no grace period
 * (docs/decisions/002-prefetch-without-epochs.md).
 *
 * Where 256 GB of addresses cannot be had (RLIMIT_AS, strict overcommit) the
 * reservation is halved until it fits, and prefetching checks its bounds. */
#ifndef LARDER_STORE_REGION_H
#define LARDER_STORE_REGION_H

#include "base/alloc.h"
#include "base/annotate.h"
#include "base/lock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REGION_EXTENT_BITS 21
#define REGION_EXTENT ((size_t)1 << REGION_EXTENT_BITS)
#define REGION_SIZE_MAX ((uint64_t)256 << 30)
#define REGION_SIZE_MIN ((uint64_t)64 << 20)

enum { REGION_HUGE_FROM = 64 }; /* extents */

struct region {
    char *base;    /* aligned to REGION_EXTENT */
    uint64_t size; /* a multiple of REGION_EXTENT */
    void *map;     /* what munmap() wants */
    size_t map_size;

    struct lock lock;    /* leaf; guards what follows */
    uint32_t extents;    /* size in extents */
    uint32_t frontier;   /* extents below it have been handed out at least once */
    uint32_t nfree;      /* bits set in free_bits */
    uint64_t *free_bits; /* one bit an extent: given back, below the frontier */

    _Atomic uint64_t full;  /* bit i: extent i is full and has small pages */
    _Atomic uint32_t ready; /* huge extents below it have been prepared; written by one thread */
};

int region_init(struct region *r); /* ERR_OOM */
void region_release(struct region *r);

/* n adjacent extents; *first is the number of the first. ERR_OOM. What they contain is undefined. */
int region_take(struct region *r, uint32_t n, uint32_t *first);
/* Gives their memory back to the system as well. */
void region_give(struct region *r, uint32_t first, uint32_t n);

/* Huge pages save a large share of every search, but an extent of 2 MB that is hardly used costs 2 MB with
 * them. So in a large store an extent is one huge page from its first touch on; the first 128 MB get small
 * pages, which are collapsed into one when the extent is full (docs/decisions/005-huge-pages.md). */
void region_huge_from_start(struct region *r, uint32_t extent);
/* One of the next `ahead` extents in a large store is made a huge page, with memory, before anybody asks for
 * it. False: they are all there. Up to some milliseconds; no lock held, and only one thread. */
bool region_prepare(struct region *r, uint32_t ahead);
uint64_t region_prepared_bytes(struct region *r);
void region_huge_when_full(struct region *r, uint32_t extent);
/* A part of it has gone back to the system: were it made one huge page now, all of it would be there again.
 */
void region_has_hole(struct region *r, uint32_t extent);
/* Collapse one extent that is full; takes from 0.2 ms to some more. No lock held. False: there is none. */
bool region_collapse_one(struct region *r);

static inline char *region_extent(const struct region *r, uint32_t extent)
{
    return r->base + (size_t)extent * REGION_EXTENT;
}

/* Anonymous zero pages that cost nothing until they are touched; NULL when short of addresses. */
void *region_map(size_t n) MUST_CHECK;
void region_unmap(void *p, size_t n);

/* alloc_fail_after() must be able to fail what does not come from the heap, too. */
static inline bool region_injected_failure(void)
{
#ifdef LARDER_DEBUG
    void *p = mem_alloc(1);
    if (p == NULL)
        return true;
    mem_free(p);
#endif
    return false;
}

#endif
