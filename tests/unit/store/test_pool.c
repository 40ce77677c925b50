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
        if (live[i].ref == 0) {
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
        cmocka_unit_test(test_extents),    cmocka_unit_test(test_prepared),       cmocka_unit_test(test_pool),
        cmocka_unit_test(test_pool_cache), cmocka_unit_test(test_parts_of_a_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
