#include "store/pool.h"

#include "base/assert.h"
#include "base/err.h"

#include <string.h>
#include <sys/mman.h>

_Static_assert(POOL_PAGE_UNITS == 64, "a page's bitmap is one word");

/* Bit i is set when the 2^class units from i on, i a multiple of 2^class, are all free. */
static uint64_t runs_of(uint64_t free, unsigned class)
{
    static const uint64_t aligned[POOL_CLASSES] = {
        ~0ull,
        0x5555555555555555ull,
        0x1111111111111111ull,
        0x0101010101010101ull,
        0x0001000100010001ull,
        0x0000000100000001ull,
        1ull,
    };
    for (unsigned k = 0; k < class; k++)
        free &= free >> (1u << k);
    return free & aligned[class];
}

static uint64_t run_mask(unsigned class)
{
    return class == 6 ? ~0ull : ((1ull << (1u << class)) - 1);
}

static unsigned list_of(uint64_t free)
{
    if (free == 0)
        return POOL_NO_LIST;
    unsigned class = POOL_CLASSES - 1;
    while (runs_of(free, class) == 0)
        class --;
    return class;
}

int pool_init(struct pool *p, struct region *r)
{
    memset(p, 0, sizeof *p);
    p->region = r;
    p->pages_bytes = r->size / POOL_PAGE * sizeof(struct pool_page);
    p->pages = region_map(p->pages_bytes);
    return p->pages == NULL ? ERR_OOM : 0;
}

void pool_release(struct pool *p)
{
    region_unmap(p->pages, p->pages_bytes);
    memset(p, 0, sizeof *p);
}

static unsigned used_in(const struct pool *p, uint32_t n)
{
    return POOL_PAGE_UNITS - (unsigned)__builtin_popcountll(p->pages[n].free);
}

/* First, or second where the first one is denser. */
static void list_add(struct pool *p, uint32_t n, unsigned list)
{
    struct pool_page *page = &p->pages[n];
    page->list = list;
    if (list == POOL_NO_LIST)
        return;
    uint32_t first = p->head[list];
    page->prev = first != 0 && used_in(p, first) > used_in(p, n) ? first : 0;
    page->next = page->prev != 0 ? p->pages[first].next : first;
    if (page->next != 0)
        p->pages[page->next].prev = n;
    if (page->prev != 0)
        p->pages[first].next = n;
    else
        p->head[list] = n;
}

static void list_remove(struct pool *p, uint32_t n)
{
    struct pool_page *page = &p->pages[n];
    if (page->list == POOL_NO_LIST)
        return;
    if (page->prev != 0)
        p->pages[page->prev].next = page->next;
    else
        p->head[page->list] = page->next;
    if (page->next != 0)
        p->pages[page->next].prev = page->prev;
}

/* The smallest sufficient page, else one without memory, else a fresh one. 0 when memory is short. */
static uint32_t find_page(struct pool *p, unsigned class)
{
    for (unsigned list = class; list < POOL_LISTS; list++)
        if (p->head[list] != 0)
            return p->head[list];
    if (p->fresh == p->fresh_end) {
        uint32_t extent;
        if (region_take(p->region, 1, &extent) != 0)
            return 0;
        if (p->fresh != 0)
            region_huge_when_full(p->region, (p->fresh - 1) / (uint32_t)(REGION_EXTENT / POOL_PAGE));
        region_huge_from_start(p->region, extent);
        p->fresh = extent * (uint32_t)(REGION_EXTENT / POOL_PAGE);
        p->fresh_end = p->fresh + (uint32_t)(REGION_EXTENT / POOL_PAGE);
    }
    uint32_t n = p->fresh++;
    p->pages[n].free = ~0ull;
    list_add(p, n, POOL_LIST_CLEAN);
    return n;
}

/* From page n, which has such a run. */
static uint32_t take_from(struct pool *p, uint32_t n, unsigned class)
{
    struct pool_page *page = &p->pages[n];
    if (page->free == ~0ull) {
        p->pages_used++;
        if (page->list != POOL_LIST_CLEAN)
            p->pages_dirty--;
    }
    uint64_t runs = runs_of(page->free, class);
    if (class < POOL_CLASSES - 1) { /* rather a run whose buddy is taken than half of a larger one */
        uint64_t larger = runs_of(page->free, class + 1);
        uint64_t lonely = runs & ~(larger | larger << (1u << class));
        runs = lonely != 0 ? lonely : runs;
    }
    unsigned unit = (unsigned)__builtin_ctzll(runs);
    list_remove(p, n);
    page->free &= ~(run_mask(class) << unit);
    p->units_used += 1u << class;
    list_add(p, n, list_of(page->free));
    return n * POOL_PAGE_UNITS + unit;
}

static uint32_t take_locked(struct pool *p, unsigned class)
{
    uint32_t n = find_page(p, class);
    return n == 0 ? 0 : take_from(p, n, class);
}

static void give_locked(struct pool *p, uint32_t ref, unsigned class)
{
    uint32_t n = ref / POOL_PAGE_UNITS;
    struct pool_page *page = &p->pages[n];
    uint64_t mask = run_mask(class) << (ref % POOL_PAGE_UNITS);
    ASSERT((page->free & mask) == 0);
    list_remove(p, n);
    page->free |= mask;
    p->units_used -= 1u << class;
    list_add(p, n, list_of(page->free));
    if (page->free == ~0ull) {
        p->pages_used--;
        p->pages_dirty++;
    }
}

uint32_t pool_take(struct pool *p, struct pool_cache *c, unsigned class)
{
    uint32_t ref;
    ASSERT(class < POOL_CLASSES);
    if (region_injected_failure())
        return 0;
    bool cached = c != NULL && class < POOL_CACHED_CLASSES;
    if (cached && c->n[class] > 0)
        return c->run[class][--c->n[class]];
    lock_hold(&p->lock);
    ref = take_locked(p, class);
    while (ref != 0 && cached && c->n[class] < POOL_CACHE_RUNS / 2) {
        uint32_t more = take_locked(p, class);
        if (more == 0)
            break;
        c->run[class][c->n[class]++] = more;
    }
    lock_release(&p->lock);
    return ref;
}

void pool_give(struct pool *p, struct pool_cache *c, uint32_t ref, unsigned class)
{
    ASSERT(class < POOL_CLASSES && ref != 0);
    bool cached = c != NULL && class < POOL_CACHED_CLASSES;
    if (cached && c->n[class] < POOL_CACHE_RUNS) {
        c->run[class][c->n[class]++] = ref;
        return;
    }
    lock_hold(&p->lock);
    give_locked(p, ref, class);
    while (cached && c->n[class] > POOL_CACHE_RUNS / 2)
        give_locked(p, c->run[class][--c->n[class]], class);
    lock_release(&p->lock);
}

void pool_cache_drain(struct pool *p, struct pool_cache *c)
{
    lock_hold(&p->lock);
    for (unsigned class = 0; class < POOL_CACHED_CLASSES; class ++)
        while (c->n[class] > 0)
            give_locked(p, c->run[class][--c->n[class]], class);
    lock_release(&p->lock);
}

/* Of the lists' first pages the one with most in use, if it has a run of that size; never a page wholly free.
 */
static uint32_t find_dense(const struct pool *p, unsigned class, uint32_t but)
{
    uint32_t best = 0;
    for (unsigned list = class; list < POOL_CLASSES - 1; list++) {
        uint32_t n = p->head[list];
        if (n != 0 && n != but && (best == 0 || used_in(p, n) > used_in(p, best)))
            best = n;
    }
    return best;
}

uint32_t pool_take_denser(struct pool *p, uint32_t ref, unsigned class)
{
    ASSERT(class < POOL_CLASSES && ref != 0);
    uint32_t mine = ref / POOL_PAGE_UNITS, denser = 0;
    lock_hold(&p->lock);
    unsigned used = used_in(p, mine);
    if (used <= POOL_DENSE) {
        uint32_t n = find_dense(p, class, mine);
        if (n != 0 && used_in(p, n) >= used) {
            denser = take_from(p, n, class);
        } else { /* then others may move here */
            list_remove(p, mine);
            list_add(p, mine, p->pages[mine].list);
        }
    }
    lock_release(&p->lock);
    return denser;
}

uint64_t pool_units(struct pool *p, uint64_t *free)
{
    lock_hold(&p->lock);
    uint64_t units = p->pages_used * POOL_PAGE_UNITS;
    *free = units - p->units_used;
    lock_release(&p->lock);
    return units;
}

unsigned pool_trim(struct pool *p, unsigned max)
{
    enum { BATCH = 64 };
    uint32_t batch[BATCH];
    unsigned done = 0, n;
    do {
        n = 0;
        lock_hold(&p->lock);
        while (n < BATCH && done + n < max && p->pages_dirty > POOL_DIRTY_PAGES) {
            uint32_t page = p->head[POOL_CLASSES - 1];
            list_remove(p, page);
            p->pages[page].list = POOL_NO_LIST;
            p->pages_dirty--;
            batch[n++] = page;
        }
        lock_release(&p->lock);
        for (unsigned i = 0; i < n; i++) {
            region_has_hole(p->region, (uint32_t)(batch[i] / (REGION_EXTENT / POOL_PAGE)));
            madvise(p->region->base + (size_t)batch[i] * POOL_PAGE, POOL_PAGE, MADV_DONTNEED);
        }
        lock_hold(&p->lock);
        for (unsigned i = 0; i < n; i++)
            list_add(p, batch[i], POOL_LIST_CLEAN);
        lock_release(&p->lock);
        done += n;
    } while (n == BATCH && done < max);
    return done;
}

uint64_t pool_bytes(struct pool *p)
{
    lock_hold(&p->lock);
    uint64_t bytes = (p->pages_used + p->pages_dirty) * POOL_PAGE;
    lock_release(&p->lock);
    return bytes;
}

void pool_check(struct pool *p)
{
    lock_hold(&p->lock);
    uint64_t dirty = 0, free = 0;
    for (unsigned list = 0; list < POOL_LISTS; list++) {
        uint32_t prev = 0;
        for (uint32_t n = p->head[list]; n != 0; n = p->pages[n].next) {
            const struct pool_page *page = &p->pages[n];
            ASSERT(page->list == list && page->prev == prev);
            if (list == POOL_LIST_CLEAN)
                ASSERT(page->free == ~0ull);
            else
                ASSERT(list_of(page->free) == list);
            free += list < POOL_CLASSES - 1 ? POOL_PAGE_UNITS - used_in(p, n) : 0;
            dirty += list == POOL_CLASSES - 1;
            prev = n;
        }
    }
    ASSERT(dirty == p->pages_dirty && free == p->pages_used * POOL_PAGE_UNITS - p->units_used);
    lock_release(&p->lock);
}
