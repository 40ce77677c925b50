/* Runs of units: what is handed out never overlaps, and what is given back joins again. */
#include "model.h"

#include <sys/mman.h>

enum { LIVE = 5000, STEPS = 400000 };

struct run {
    uint32_t ref;
    unsigned class;
};

static void take(struct pool *p, struct pool_cache *c, struct run *r, uint64_t stamp, struct rng *rng)
{
    r->class = (unsigned)rng_below(rng, POOL_CLASSES);
    r->ref = pool_take(p, c, r->class);
    ASSERT(r->ref != 0 && r->ref % (1u << r->class) == 0);
    for (unsigned u = 0; u < 1u << r->class; u++)
        memcpy(pool_ptr(p->region->base, r->ref + u), &stamp, sizeof stamp);
}

/* Nobody wrote over it meanwhile. */
static void give(struct pool *p, struct pool_cache *c, struct run *r, uint64_t stamp)
{
    for (unsigned u = 0; u < 1u << r->class; u++)
        ASSERT(memcmp(pool_ptr(p->region->base, r->ref + u), &stamp, sizeof stamp) == 0);
    pool_give(p, c, r->ref, r->class);
    r->ref = 0;
}

/* True when it has moved, to a page that was at least as full. */
static bool move(struct pool *p, struct run *r)
{
    uint32_t from = r->ref / POOL_PAGE_UNITS, ref = pool_take_denser(p, r->ref, r->class);
    if (ref == 0)
        return false;
    uint32_t to = ref / POOL_PAGE_UNITS;
    ASSERT(ref % (1u << r->class) == 0 && to != from);
    ASSERT(__builtin_popcountll(p->pages[to].free) + (1 << r->class) <=
           __builtin_popcountll(p->pages[from].free));
    memcpy(pool_ptr(p->region->base, ref), pool_ptr(p->region->base, r->ref), POOL_UNIT << r->class);
    memset(pool_ptr(p->region->base, r->ref), 0xdd, POOL_UNIT << r->class);
    pool_give(p, NULL, r->ref, r->class);
    r->ref = ref;
    return true;
}

static void run_pool(struct pool_cache *c)
{
    static struct run live[LIVE];
    struct region r;
    struct pool p;
    struct rng rng;
    rng_init(&rng, 5);
    assert_int_equal(region_init(&r), 0);
    assert_int_equal(pool_init(&p, &r), 0);
    uint64_t units = 0, units_max = 0;
    for (uint64_t step = 0; step < STEPS; step++) {
        uint64_t i = rng_below(&rng, LIVE);
        if (live[i].ref != 0 && rng_below(&rng, 8) == 0)
            (void)move(&p, &live[i]);
        else if (live[i].ref == 0) {
            take(&p, c, &live[i], i, &rng);
            units += 1u << live[i].class;
        } else {
            units -= 1u << live[i].class;
            give(&p, c, &live[i], i);
        }
        units_max = units > units_max ? units : units_max;
        if (step % 100000 == 0)
            pool_check(&p);
    }
    /* Half of all runs free at any time, in all sizes: waste stays below a quarter. */
    assert_true(pool_bytes(&p) < units_max * POOL_UNIT * 5 / 4 + (1 << 20));
    for (uint64_t i = 0; i < LIVE; i++)
        if (live[i].ref != 0)
            give(&p, c, &live[i], i);
    if (c != NULL)
        pool_cache_drain(&p, c);
    assert_int_equal(p.pages_used, 0);
    while (pool_trim(&p, 1000) > 0)
        ;
    assert_true(pool_bytes(&p) <= POOL_DIRTY_PAGES * POOL_PAGE);
    pool_check(&p);
    pool_release(&p);
    region_release(&r);
}

static void test_pool(void **state)
{
    run_pool(NULL);
}

static void test_pool_cache(void **state)
{
    static struct pool_cache c;
    run_pool(&c);
}

/* Of many runs one in forty is left, wherever it lies: the pages of the others go back, and moving ends. */
static void test_packed(void **state)
{
    enum { RUNS = 40000, LEFT = RUNS / 40, CLASSES = 5 };
    static struct run live[RUNS];
    struct region r;
    struct pool p;
    struct rng rng;
    uint64_t units = 0, free, moved, walks = 0;
    rng_init(&rng, 6);
    assert_int_equal(region_init(&r), 0);
    assert_int_equal(pool_init(&p, &r), 0);
    for (uint64_t i = 0; i < RUNS; i++) {
        live[i].class = i % 8 < CLASSES ? (unsigned)(i % 8) : 0;
        live[i].ref = pool_take(&p, NULL, live[i].class);
        for (unsigned u = 0; u < 1u << live[i].class; u++)
            memcpy(pool_ptr(r.base, live[i].ref + u), &i, sizeof i);
    }
    for (uint64_t n = RUNS; n > LEFT;) {
        uint64_t i = rng_below(&rng, RUNS);
        if (live[i].ref == 0)
            continue;
        give(&p, NULL, &live[i], i);
        n--;
    }
    uint64_t before = p.pages_used;
    do {
        moved = 0;
        for (uint64_t i = 0; i < RUNS; i++)
            if (live[i].ref != 0)
                moved += move(&p, &live[i]);
        ASSERT(walks++ < 1000);
        pool_check(&p);
    } while (moved > 0);
    for (uint64_t i = 0; i < RUNS; i++)
        units += live[i].ref != 0 ? 1u << live[i].class : 0;
    assert_int_equal(pool_units(&p, &free), p.pages_used * POOL_PAGE_UNITS);
    assert_int_equal(free, p.pages_used * POOL_PAGE_UNITS - units);
    print_message("%llu pages, %llu after %llu walks, %llu units\n", (unsigned long long)before,
                  (unsigned long long)p.pages_used, (unsigned long long)walks, (unsigned long long)units);
    assert_true(before * POOL_PAGE_UNITS > units * 4);
    assert_true(p.pages_used * POOL_PAGE_UNITS < units * 4 / 3);
    for (uint64_t i = 0; i < RUNS; i++)
        if (live[i].ref != 0)
            give(&p, NULL, &live[i], i);
    assert_int_equal(p.pages_used, 0);
    assert_int_equal(p.units_used, 0);
    pool_release(&p);
    region_release(&r);
}

/* The page that is first in its list is the sparsest: those behind it have where to go none the less. */
static void test_denser_than_the_first(void **state)
{
    enum { DENSE, MIDDLE, SPARSE, PAGES };
    static const uint32_t in_use[PAGES] = {30, 20, 1};
    struct region r;
    struct pool p;
    struct run run = {0, 0};
    assert_int_equal(region_init(&r), 0);
    assert_int_equal(pool_init(&p, &r), 0);
    uint32_t first = pool_take(&p, NULL, 0);
    for (uint32_t i = 1; i < PAGES * POOL_PAGE_UNITS; i++)
        assert_int_equal(pool_take(&p, NULL, 0), first + i);
    for (uint32_t page = 0; page < PAGES; page++)
        for (uint32_t unit = POOL_PAGE_UNITS; unit-- > in_use[page];)
            pool_give(&p, NULL, first + page * POOL_PAGE_UNITS + unit, 0);
    assert_int_equal(pool_take(&p, NULL, 5), first + POOL_PAGE_UNITS / 2);
    assert_int_equal(pool_take(&p, NULL, 0), first + in_use[DENSE]);
    assert_int_equal(pool_take(&p, NULL, 0), first + in_use[DENSE] + 1);
    assert_int_equal(p.pages_used, PAGES);
    run.ref = first + MIDDLE * POOL_PAGE_UNITS;
    assert_false(move(&p, &run));
    run.ref = first + SPARSE * POOL_PAGE_UNITS;
    assert_true(move(&p, &run));
    assert_int_equal(run.ref, first + MIDDLE * POOL_PAGE_UNITS + in_use[MIDDLE]);
    assert_int_equal(p.pages_used, PAGES - 1);
    pool_check(&p);
    pool_release(&p);
    region_release(&r);
}

/* An extent from which pages have gone back must not become one huge page, which would bring them back. */
static void test_trimmed_is_not_full(void **state)
{
    enum { UNITS = REGION_EXTENT / POOL_UNIT };
    struct region r;
    struct pool p;
    assert_int_equal(region_init(&r), 0);
    assert_int_equal(pool_init(&p, &r), 0);
    uint32_t first = pool_take(&p, NULL, 0);
    for (uint32_t i = 1; i <= UNITS; i++)
        ASSERT(pool_take(&p, NULL, 0) == first + i);
    assert_int_equal(atomic_load(&r.full), 1 << 1);
    for (uint32_t i = 0; i < (POOL_DIRTY_PAGES + 1) * POOL_PAGE_UNITS; i++)
        pool_give(&p, NULL, first + i, 0);
    assert_int_equal(pool_trim(&p, 100), 1);
    assert_int_equal(atomic_load(&r.full), 0);
    pool_release(&p);
    region_release(&r);
}

static void test_parts_of_a_run(void **state)
{
    struct region r;
    struct pool p;
    assert_int_equal(region_init(&r), 0);
    assert_int_equal(pool_init(&p, &r), 0);
    uint32_t ref = pool_take(&p, NULL, 3);
    pool_give(&p, NULL, ref + 4, 2);
    uint32_t again = pool_take(&p, NULL, 2);
    assert_int_equal(again, ref + 4);
    pool_give(&p, NULL, again, 2);
    pool_give(&p, NULL, ref, 2);
    assert_int_equal(p.pages_used, 0);
    pool_release(&p);
    region_release(&r);
}

static void test_extents(void **state)
{
    struct region r;
    uint32_t a, b, c;
    assert_int_equal(region_init(&r), 0);
    assert_int_equal(region_take(&r, 3, &a), 0);
    assert_int_equal(region_take(&r, 1, &b), 0);
    assert_int_equal(a, 1);
    assert_int_equal(b, 4);
    memset(region_extent(&r, a), 1, REGION_EXTENT);
    region_give(&r, a, 3);
    assert_int_equal(region_take(&r, 2, &c), 0);
    assert_int_equal(c, 1);
    assert_int_equal(region_extent(&r, c)[5], 0);
    assert_int_equal(region_take(&r, 2, &c), 0); /* one is left there, two are not */
    assert_int_equal(c, 5);
    assert_int_equal(region_take(&r, 1, &c), 0);
    assert_int_equal(c, 3);
    assert_int_equal(region_take(&r, r.extents, &c), ERR_OOM);
    region_release(&r);
}

static bool is_resident(const char *p)
{
    unsigned char in = 0;
    assert_int_equal(mincore((void *)(uintptr_t)p, 1, &in), 0);
    return in & 1;
}

/* Extents of a large store are there before they are asked for, as many as were wanted; one that was handed
 * out in the moment it was prepared keeps what was written to it. */
static void test_prepared(void **state)
{
    enum { AHEAD = 2 };
    struct region r;
    uint32_t e, first;
    assert_int_equal(region_init(&r), 0);
    assert_false(region_prepare(&r, AHEAD)); /* small: whatever is not used costs */
    assert_int_equal(region_take(&r, REGION_HUGE_FROM - 1, &first), 0);
    assert_int_equal(region_prepared_bytes(&r), 0);
    char *next = region_extent(&r, REGION_HUGE_FROM);
    bool knows = madvise(region_extent(&r, 1), 4096, 23) == 0; /* MADV_POPULATE_WRITE, since Linux 5.14 */
    memset(next, 7, 100);
    assert_true(region_prepare(&r, AHEAD));
    assert_true(region_prepare(&r, AHEAD));
    assert_false(region_prepare(&r, AHEAD));
    assert_int_equal(region_prepared_bytes(&r), AHEAD * REGION_EXTENT);
    assert_int_equal(next[99], 7);
    assert_int_equal(is_resident(next + REGION_EXTENT), knows);
    assert_false(is_resident(next + AHEAD * REGION_EXTENT));
    assert_int_equal(region_take(&r, 1, &e), 0);
    region_huge_from_start(&r, e);
    assert_int_equal(region_prepared_bytes(&r), (AHEAD - 1) * REGION_EXTENT);
    assert_int_equal(region_take(&r, 10, &e), 0); /* faster than it is made ready */
    assert_int_equal(region_prepared_bytes(&r), 0);
    assert_true(region_prepare(&r, 1));
    assert_int_equal(is_resident(region_extent(&r, e + 10)), knows);
    region_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_extents),
        cmocka_unit_test(test_prepared),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_pool_cache),
        cmocka_unit_test(test_parts_of_a_run),
        cmocka_unit_test(test_packed),
        cmocka_unit_test(test_denser_than_the_first),
        cmocka_unit_test(test_trimmed_is_not_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
