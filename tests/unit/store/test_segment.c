/* Segments without a store around them: sizes, groups, the count that frees them, pins,
 * promises; and a random walk beside a list of what is alive. */
#include "model.h"

struct rig {
    struct region region;
    struct segments segs;
    struct segment_writer w;
};

static void rig_init(struct rig *r, uint64_t maxmemory, uint32_t threads)
{
    memset(r, 0, sizeof *r);
    assert_int_equal(region_init(&r->region), 0);
    assert_int_equal(segments_init(&r->segs, &r->region, maxmemory, threads), 0);
}

static void rig_release(struct rig *r)
{
    segments_release(&r->segs);
    region_release(&r->region);
}

static struct entry *add(struct rig *r, uint32_t units, unsigned group)
{
    struct entry *e = segment_alloc(&r->segs, &r->w, units, group);
    ASSERT(e != NULL);
    memset(e, (int)units, (size_t)units * ENTRY_UNIT);
    segment_commit(&r->segs, &r->w, e, units, group, SEGMENT_NEVER);
    return e;
}

static void dead(struct rig *r, struct entry *e, uint32_t units)
{
    segment_dead(&r->segs, segment_of(&r->segs, e), units);
}

static uint64_t in_use(const struct rig *r)
{
    return r->segs.bytes >> r->segs.shift;
}

/* Open segments of all threads stay within 1/50 of maxmemory wherever that is possible at all. */
static void test_sizes(void **state)
{
    static const uint64_t mb = 1 << 20;
    static const struct {
        uint64_t maxmemory;
        uint32_t threads, size;
    } want[] = {
        {0, 4, 512 << 10},          {1 * mb, 4, 16 << 10},     {16 * mb, 2, 16 << 10},
        {256 * mb, 2, 64 << 10},    {1024 * mb, 4, 128 << 10}, {4096 * mb, 4, 512 << 10},
        {102400 * mb, 64, 1 << 20},
    };
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        struct rig r;
        rig_init(&r, want[i].maxmemory, want[i].threads);
        assert_int_equal(r.segs.size, want[i].size);
        assert_in_range(r.segs.groups, 2, SEGMENT_GROUPS_MAX);
        uint64_t open = (uint64_t)r.segs.size * r.segs.groups * want[i].threads;
        if (want[i].maxmemory >= 16 * mb)
            assert_true(open <= want[i].maxmemory / 50 || r.segs.groups == 2);
        segments_plan(&r.segs, want[i].maxmemory, true);
        assert_in_range(r.segs.classes, 1, SEGMENT_CLASSES);
        assert_int_equal(r.segs.queues, want[i].maxmemory == 1 * mb ? 1 : 2);
        uint64_t lanes = (uint64_t)r.segs.queues * r.segs.classes * r.segs.groups;
        if (want[i].maxmemory >= 16 * mb)
            assert_true(lanes * r.segs.size * want[i].threads <= want[i].maxmemory / 50);
        rig_release(&r);
    }
}

static void test_groups(void **state)
{
    struct rig r;
    rig_init(&r, 0, 1);
    assert_int_equal(segment_group(&r.segs, 0), 0);
    unsigned last = 1, seen = 1;
    for (int64_t ttl = 1; ttl < (int64_t)1 << 62; ttl += ttl / 3 + 1) {
        unsigned g = segment_group(&r.segs, ttl);
        ASSERT(g >= last && g < r.segs.groups);
        seen += g != last;
        last = g;
    }
    assert_int_equal(seen, r.segs.groups - 1); /* none is skipped */
    assert_int_equal(segment_group(&r.segs, INT64_MAX), r.segs.groups - 1);
    rig_release(&r);
    rig_init(&r, 1 << 20, 4);
    assert_int_equal(r.segs.groups, 2);
    assert_int_equal(segment_group(&r.segs, 1), 1);
    assert_int_equal(segment_group(&r.segs, INT64_MAX), 1);
    rig_release(&r);
}

static void test_last_one_frees(void **state)
{
    enum { UNITS = 1000 };
    struct rig r;
    rig_init(&r, 16 << 20, 2);
    uint32_t fit = r.segs.size / ENTRY_UNIT / UNITS;
    struct entry *e[64];
    for (uint32_t i = 0; i < fit; i++)
        e[i] = add(&r, UNITS, 0);
    struct segment *seg = segment_of(&r.segs, e[0]);
    assert_true(segment_is_open(seg));
    assert_int_equal(segment_live_units(&r.segs, seg), fit * UNITS);
    for (uint32_t i = 0; i < fit; i++)
        dead(&r, e[i], UNITS);
    assert_int_equal(in_use(&r), 1); /* open: not freed, though nothing lives */
    assert_int_equal(segment_live_units(&r.segs, seg), 0);
    struct entry *next = add(&r, UNITS, 0); /* does not fit: the old one is sealed, and free at once */
    assert_ptr_not_equal(segment_of(&r.segs, next), seg);
    assert_int_equal(in_use(&r), 1);
    assert_false(segment_pin(seg));

    seg = segment_of(&r.segs, next);
    for (uint32_t i = 1; i < fit; i++)
        e[i] = add(&r, UNITS, 0);
    (void)add(&r, UNITS, 0); /* seals seg */
    assert_false(segment_is_open(seg));
    assert_true(segment_pin(seg));
    assert_false(segment_pin(seg)); /* one walker at a time */
    dead(&r, next, UNITS);
    for (uint32_t i = 1; i < fit; i++)
        dead(&r, e[i], UNITS);
    assert_int_equal(in_use(&r), 2); /* held by the pin */
    segment_unpin(&r.segs, seg);
    assert_int_equal(in_use(&r), 1);
    rig_release(&r);
}

static void test_groups_lie_apart(void **state)
{
    struct rig r;
    rig_init(&r, 0, 1);
    struct entry *a = add(&r, 4, 0), *b = add(&r, 4, 5), *c = add(&r, 4, 0);
    assert_ptr_equal(segment_of(&r.segs, a), segment_of(&r.segs, c));
    assert_ptr_not_equal(segment_of(&r.segs, a), segment_of(&r.segs, b));
    assert_int_equal(segment_of(&r.segs, b)->group, 5);
    assert_ptr_equal((char *)a + 4 * ENTRY_UNIT, c);
    segment_seal_all(&r.segs, &r.w);
    assert_false(segment_is_open(segment_of(&r.segs, a)));
    rig_release(&r);
}

static void test_abandon(void **state)
{
    struct rig r;
    rig_init(&r, 0, 1);
    struct entry *a = segment_alloc(&r.segs, &r.w, 10, 0);
    segment_abandon(&r.segs, a, 10);
    struct entry *b = segment_alloc(&r.segs, &r.w, 20, 0);
    assert_ptr_equal(a, b); /* as if nothing had happened */
    uint32_t large = r.segs.units_max + 1;
    struct entry *l = segment_alloc(&r.segs, &r.w, large, 0);
    segment_abandon(&r.segs, l, large);
    assert_int_equal(in_use(&r), 1);
    assert_int_equal(segments_trim(&r.segs, 10), 1);
    assert_int_equal(r.region.nfree, 1);
    rig_release(&r);
}

static void test_trim(void **state)
{
    struct rig r;
    struct entry *e[200];
    rig_init(&r, 16 << 20, 2);
    uint32_t units = r.segs.units_max;
    for (int i = 0; i < 200; i++)
        e[i] = add(&r, units, 0);
    for (int i = 0; i < 200; i++)
        dead(&r, e[i], units);
    segment_seal_all(&r.segs, &r.w);
    assert_int_equal(in_use(&r), 0);
    assert_true(segments_free_bytes(&r.segs) >= 49 * r.segs.size);
    while (segments_trim(&r.segs, 7) > 0)
        ;
    assert_true(segments_free_bytes(&r.segs) <= 4 * r.segs.size);
    for (uint32_t n = r.segs.clean; n != 0; n = r.segs.meta[n].next)
        ASSERT(r.segs.meta[n].used == 0); /* never taken for one with memory */
    uint32_t frontier = r.segs.frontier;
    for (int i = 0; i < 200; i++)
        e[i] = add(&r, units, 0); /* what was trimmed is used again */
    assert_int_equal(r.segs.frontier, frontier);
    rig_release(&r);
}

static bool is_full(const struct rig *r, uint32_t extent)
{
    return atomic_load(&r->region.full) >> extent & 1;
}

/* Extents are said to be full, and become huge pages, when there is memory behind all of their segments: not
 * the one with the reserve of a thread that never writes. */
static void test_full_extents(void **state)
{
    enum { EXTENTS = 6 };
    struct rig r;
    struct segment_writer idle = {0};
    rig_init(&r, 0, 2);
    segment_refill(&r.segs, &idle);
    while (r.segs.carved[0] < EXTENTS)
        (void)add(&r, r.segs.units_max, 0);
    assert_false(is_full(&r, 1));
    for (uint32_t extent = 2; extent < EXTENTS - 1; extent++)
        assert_true(is_full(&r, extent));
    assert_false(is_full(&r, EXTENTS - 1)); /* reserves of those who do write */
    rig_release(&r);
}

/* ---- beside a model ---- */

enum { ALIVE_MAX = 4000, WRITERS = 2, SMALL_MAX = 300 };

struct alive {
    struct entry *e;
    uint32_t units;
    unsigned char stamp; /* every byte of it */
};

struct stroll {
    struct rig r;
    struct segment_writer second;
    struct rng rng;
    struct alive alive[ALIVE_MAX];
    uint32_t n;
    struct segment *pinned;
};

static struct segment_writer *some_writer(struct stroll *w)
{
    return rng_below(&w->rng, WRITERS) == 0 ? &w->r.w : &w->second;
}

static void walk_add(struct stroll *w)
{
    struct segments *segs = &w->r.segs;
    struct segment_writer *by = some_writer(w);
    bool large = rng_below(&w->rng, 500) == 0;
    uint32_t units = 1 + (uint32_t)rng_below(&w->rng, large ? 3 * segs->size : SMALL_MAX);
    unsigned lane = (unsigned)rng_below(&w->rng, segs->groups);
    if (w->n == ALIVE_MAX)
        return;
    struct entry *e = segment_alloc(segs, by, units, lane);
    ASSERT(e != NULL);
    if (rng_below(&w->rng, 10) == 0) {
        segment_abandon(segs, e, units);
        return;
    }
    struct alive *a = &w->alive[w->n++];
    *a = (struct alive){e, units, (unsigned char)rng_u64(&w->rng)};
    memset(e, a->stamp, (size_t)units * ENTRY_UNIT);
    segment_commit(segs, by, e, units, lane, SEGMENT_NEVER);
}

static void expect_whole(const struct alive *a)
{
    const unsigned char *at = (const unsigned char *)a->e;
    for (size_t i = 0; i < (size_t)a->units * ENTRY_UNIT; i++)
        ASSERT(at[i] == a->stamp);
}

static void walk_kill(struct stroll *w, uint32_t i)
{
    struct alive a = w->alive[i];
    expect_whole(&a);
    w->alive[i] = w->alive[--w->n];
    dead(&w->r, a.e, a.units);
}

static void walk_shrink(struct stroll *w, struct alive *a)
{
    uint32_t less = (uint32_t)rng_below(&w->rng, a->units);
    a->units -= less;
    segment_resized(segment_of(&w->r.segs, a->e), -(int64_t)less);
}

static void walk_pin(struct stroll *w, struct segment *seg)
{
    if (w->pinned != NULL) {
        segment_unpin(&w->r.segs, w->pinned);
        w->pinned = NULL;
    } else if (segment_pin(seg)) {
        w->pinned = seg;
    }
}

/* Each entry is as it was written, each segment counts what lives in it, and none is in use for nothing. */
static void walk_check(struct stroll *w)
{
    const struct segments *segs = &w->r.segs;
    uint32_t end = atomic_load(&segs->frontier), *units = calloc(end, sizeof *units);
    uint64_t bytes = 0;
    assert_non_null(units);
    for (uint32_t i = 0; i < w->n; i++) {
        expect_whole(&w->alive[i]);
        units[segment_of(segs, w->alive[i].e) - segs->meta] += w->alive[i].units;
    }
    for (uint32_t i = 0; i < end; i++) {
        struct segment *seg = &segs->meta[i];
        bool used = units[i] > 0 || segment_is_open(seg) || seg == w->pinned;
        ASSERT(!used || segment_live_units(segs, seg) == units[i]);
        bytes += !used ? 0 : seg->extents > 0 ? (uint64_t)seg->extents * REGION_EXTENT : segs->size;
    }
    assert_int_equal(segs->bytes, bytes);
    free(units);
}

static void walk_step(struct stroll *w)
{
    uint64_t what = rng_below(&w->rng, 1000);
    uint32_t i = w->n > 0 ? (uint32_t)rng_below(&w->rng, w->n) : 0;
    if (what < 520 || w->n == 0)
        walk_add(w);
    else if (what < 960)
        walk_kill(w, i);
    else if (what < 980)
        walk_shrink(w, &w->alive[i]);
    else if (what < 988)
        walk_pin(w, segment_of(&w->r.segs, w->alive[i].e));
    else if (what < 994)
        segment_refill(&w->r.segs, some_writer(w));
    else if (what < 998)
        (void)segments_trim(&w->r.segs, 5);
    else
        segment_seal_all(&w->r.segs, some_writer(w));
}

static void test_random(void **state)
{
    static struct stroll w;
    uint64_t steps = unit_model_steps(400000);
    rng_init(&w.rng, unit_model_seed(1));
    rig_init(&w.r, 16 << 20, WRITERS);
    for (uint64_t n = 1; n <= steps; n++) {
        walk_step(&w);
        if (n % 4096 == 0)
            walk_check(&w);
        if (n % 65536 == 0)
            while (w.n > 100)
                walk_kill(&w, (uint32_t)rng_below(&w.rng, w.n));
    }
    while (w.n > 0)
        walk_kill(&w, 0);
    if (w.pinned != NULL)
        segment_unpin(&w.r.segs, w.pinned);
    segment_seal_all(&w.r.segs, &w.r.w);
    segment_seal_all(&w.r.segs, &w.second);
    assert_int_equal(in_use(&w.r), 0);
    rig_release(&w.r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),          cmocka_unit_test(test_groups),
        cmocka_unit_test(test_last_one_frees), cmocka_unit_test(test_groups_lie_apart),
        cmocka_unit_test(test_abandon),        cmocka_unit_test(test_trim),
        cmocka_unit_test(test_full_extents),   cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
