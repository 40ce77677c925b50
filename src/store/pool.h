/* Memory for the tables: runs of 1, 2, 4 ... 64 units of 64 bytes, named by 32 bits.
 *
 *      extent (2 MB) = 512 pages of 4 KB = 64 units each, one bitmap a page
 *
 *      page   1111 0011 0000 1000 ...    a run of 2^k units lies at a multiple of 2^k,
 *             free = 1                   so freeing one is enough to join it with its buddy
 *
 * Pages are listed by the largest run they have free, and an allocation takes the
 * smallest that will do. Runs of all sizes share a page: tables that grow together
 * leave small holes of one size and need the next larger one, which separate pages
 * for each size would turn into waste. The first page of a list is no sparser than
 * the one that came to the list last, so that what is taken makes full pages fuller.
 *
 * What was given back here and there leaves sparse pages behind. Only whoever holds a
 * run knows who points at it, so he must ask whether it had better move
 * (pool_take_denser(); maintain/pack.c does).
 *
 * A thread keeps a few runs of each small size (struct pool_cache), so the one lock
 * (a leaf) is taken about once in eight allocations. Nothing is stored in free
 * memory, and stale references stay harmless (region.h). */
#ifndef LARDER_STORE_POOL_H
#define LARDER_STORE_POOL_H

#include "base/lock.h"
#include "store/region.h"

#include <stdint.h>

enum pool_limits {
    POOL_UNIT = 64,
    POOL_PAGE_UNITS = 64,
    POOL_PAGE = POOL_UNIT * POOL_PAGE_UNITS,
    POOL_CLASSES = 7,        /* run sizes 2^0 .. 2^6 units */
    POOL_CACHED_CLASSES = 5, /* 2^0 .. 2^4: what buckets come in */
    POOL_CACHE_RUNS = 16,    /* at most so many of one size in a thread's cache */
    POOL_DIRTY_PAGES = 64,   /* free pages that keep their memory */
    POOL_DENSE = 60,         /* a page with more units in use than this is not emptied */
};

struct pool_page {
    uint64_t free;       /* bit i: unit i is free */
    uint32_t next, prev; /* pages with the same largest free run; page numbers, 0 = none */
    uint32_t list;       /* which list it is on; POOL_NO_LIST when full */
};

enum { POOL_LIST_CLEAN = POOL_CLASSES, POOL_LISTS, POOL_NO_LIST };

struct pool {
    struct region *region;
    struct pool_page *pages; /* by page number from the region's base; zero pages until used */
    size_t pages_bytes;
    struct lock lock;          /* leaf; guards the pages' bookkeeping and what follows */
    uint32_t head[POOL_LISTS]; /* by class of the largest free run; CLEAN: whole pages without memory */
    uint32_t fresh, fresh_end; /* pages of the newest extent that were never used */
    uint64_t pages_used;       /* with at least one unit in use */
    uint64_t units_used;       /* in them; those in a thread's cache count */
    uint64_t pages_dirty;      /* wholly free but still backed by memory */
};

struct pool_cache {
    uint8_t n[POOL_CACHED_CLASSES];
    uint32_t run[POOL_CACHED_CLASSES][POOL_CACHE_RUNS];
};

int pool_init(struct pool *p, struct region *r);
void pool_release(struct pool *p);

/* A run of 2^class units, or 0 when memory is short. Contents are undefined. `c` may be NULL. */
uint32_t pool_take(struct pool *p, struct pool_cache *c, unsigned class);
void pool_give(struct pool *p, struct pool_cache *c, uint32_t ref, unsigned class);
void pool_cache_drain(struct pool *p, struct pool_cache *c);

/* A run of the same size as `ref` in a page with at least as many units in use, or 0 when there is none or
 * the run had better stay. Copy, then give `ref` back without a cache, which would keep it from its page.
 * Moving on and on comes to an end: each move adds to the sum of the squares of what pages have in use. */
uint32_t pool_take_denser(struct pool *p, uint32_t ref, unsigned class);
/* Units of the pages that are used, and how many of them are free. */
uint64_t pool_units(struct pool *p, uint64_t *free);

/* Give the memory of at most `max` free pages back to the system. Returns how many it was. */
unsigned pool_trim(struct pool *p, unsigned max);

uint64_t pool_bytes(struct pool *p); /* committed */
void pool_check(struct pool *p);

static inline void *pool_ptr(const char *base, uint32_t ref)
{
    return (void *)(base + (uint64_t)ref * POOL_UNIT);
}

#endif
