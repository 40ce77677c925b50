#include "store/region.h"

#include "base/assert.h"
#include "base/err.h"

#include <string.h>
#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

void *region_map(size_t n)
{
    if (region_injected_failure())
        return NULL;
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void region_unmap(void *p, size_t n)
{
    if (p != NULL)
        munmap(p, n);
}

/* Largest reservation that the system grants. One extent more than asked for, so that the base can be
 * aligned. */
static bool reserve(struct region *r)
{
    for (uint64_t size = REGION_SIZE_MAX; size >= REGION_SIZE_MIN; size /= 2) {
        size_t map_size = size + REGION_EXTENT;
        void *map = region_map(map_size);
        if (map == NULL)
            continue;
        r->map = map;
        r->map_size = map_size;
        r->base = (char *)(((uintptr_t)map + REGION_EXTENT - 1) & ~(uintptr_t)(REGION_EXTENT - 1));
        r->size = size;
        return true;
    }
    return false;
}

int region_init(struct region *r)
{
    memset(r, 0, sizeof *r);
    if (!reserve(r))
        return ERR_OOM;
    r->extents = (uint32_t)(r->size / REGION_EXTENT);
    r->frontier = 1; /* extent 0 stays unused, so that reference 0 can mean "none" */
    r->free_bits = region_map((r->extents + 63) / 64 * sizeof(uint64_t));
    if (r->free_bits == NULL) {
        region_release(r);
        return ERR_OOM;
    }
    return 0;
}

void region_release(struct region *r)
{
    /* The sanitizer's idea of these addresses must not outlive the mapping. */
    if (r->base != NULL)
        MEM_UNPOISON(r->base, (size_t)r->frontier * REGION_EXTENT);
    if (r->free_bits != NULL)
        region_unmap(r->free_bits, (r->extents + 63) / 64 * sizeof(uint64_t));
    region_unmap(r->map, r->map_size);
    memset(r, 0, sizeof *r);
}

static bool extent_is_free(const struct region *r, uint32_t i)
{
    return (r->free_bits[i / 64] >> (i % 64)) & 1;
}

static void mark(struct region *r, uint32_t first, uint32_t n, bool is_free)
{
    for (uint32_t i = first; i < first + n; i++) {
        uint64_t bit = (uint64_t)1 << (i % 64);
        DEBUG_ASSERT(extent_is_free(r, i) != is_free);
        if (is_free)
            r->free_bits[i / 64] |= bit;
        else
            r->free_bits[i / 64] &= ~bit;
    }
    r->nfree += is_free ? n : -n;
}

/* First fit among the extents given back. They come only from keys larger than a segment, so the
 * map is nearly always empty and never worth a better structure. */
static bool take_again(struct region *r, uint32_t n, uint32_t *first)
{
    uint32_t run = 0;
    if (r->nfree < n)
        return false;
    for (uint32_t i = 1; i < r->frontier; i++) {
        if (i % 64 == 0 && run == 0 && r->free_bits[i / 64] == 0) {
            i += 63;
            continue;
        }
        run = extent_is_free(r, i) ? run + 1 : 0;
        if (run == n) {
            *first = i + 1 - n;
            mark(r, *first, n, false);
            return true;
        }
    }
    return false;
}

int region_take(struct region *r, uint32_t n, uint32_t *first)
{
    int err = ERR_OOM;
    ASSERT(n > 0);
    lock_hold(&r->lock);
    if (take_again(r, n, first)) {
        err = 0;
    } else if (n <= r->extents - r->frontier) {
        *first = r->frontier;
        r->frontier += n;
        err = 0;
    }
    lock_release(&r->lock);
    return err;
}

void region_give(struct region *r, uint32_t first, uint32_t n)
{
    ASSERT(first > 0 && n > 0);
    madvise(region_extent(r, first), n * REGION_EXTENT, MADV_DONTNEED);
    lock_hold(&r->lock);
    ASSERT(first + n <= r->frontier);
    mark(r, first, n, true);
    lock_release(&r->lock);
}

void region_huge_from_start(struct region *r, uint32_t extent)
{
    if (extent >= REGION_HUGE_FROM && extent >= atomic_load_explicit(&r->ready, memory_order_relaxed))
        madvise(region_extent(r, extent), REGION_EXTENT, MADV_HUGEPAGE);
}

/* `ready` rises before the memory is there: whoever is given the extent meanwhile then does not wait for the
 * lock of the address space, which this holds. Populating changes no byte, so he may be writing already.
 * Kernels before 5.14 do not know it. */
bool region_prepare(struct region *r, uint32_t ahead)
{
    uint32_t ready = atomic_load_explicit(&r->ready, memory_order_relaxed);
    lock_hold(&r->lock);
    uint32_t first = r->frontier, next = ready > first ? ready : first;
    lock_release(&r->lock);
    if (first < REGION_HUGE_FROM || next >= r->extents || next - first >= ahead)
        return false;
    madvise(region_extent(r, next), REGION_EXTENT, MADV_HUGEPAGE);
    atomic_store_explicit(&r->ready, next + 1, memory_order_relaxed);
    madvise(region_extent(r, next), REGION_EXTENT, MADV_POPULATE_WRITE);
    return true;
}

uint64_t region_prepared_bytes(struct region *r)
{
    uint32_t ready = atomic_load_explicit(&r->ready, memory_order_relaxed);
    lock_hold(&r->lock);
    uint32_t first = r->frontier;
    lock_release(&r->lock);
    return ready > first ? (ready - first) * REGION_EXTENT : 0;
}

void region_huge_when_full(struct region *r, uint32_t extent)
{
    if (extent < REGION_HUGE_FROM)
        atomic_fetch_or_explicit(&r->full, (uint64_t)1 << extent, memory_order_relaxed);
}

void region_has_hole(struct region *r, uint32_t extent)
{
    if (extent < REGION_HUGE_FROM)
        atomic_fetch_and_explicit(&r->full, ~((uint64_t)1 << extent), memory_order_relaxed);
    else
        madvise(region_extent(r, extent), REGION_EXTENT, MADV_NOHUGEPAGE);
}

/* Kernels before 6.1 do not know MADV_COLLAPSE, and systems may forbid huge pages: either way it stays as it
 * is. */
bool region_collapse_one(struct region *r)
{
    uint64_t full = atomic_load_explicit(&r->full, memory_order_relaxed);
    if (likely(full == 0))
        return false;
    uint32_t extent = (uint32_t)__builtin_ctzll(full);
    uint64_t bit = (uint64_t)1 << extent;
    if (atomic_fetch_and_explicit(&r->full, ~bit, memory_order_relaxed) & bit)
        madvise(region_extent(r, extent), REGION_EXTENT, MADV_COLLAPSE);
    return true;
}
