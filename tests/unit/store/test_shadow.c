/* Shadows: which keys are played, that their memory is bounded, and that the way follows what is asked for.
 */
#include "unit/unit.h"

#include "base/rng.h"
#include "store/segment.h"
#include "store/shadow.h"

#include <string.h>

enum { MB = 1 << 20, MEMORY = 64 * MB, ENTRY = 400, ROOM = MEMORY / ENTRY };

struct rig {
    struct shadows sh;
    struct rng rng;
    uint64_t fresh, changes;
};

static void rig_init(struct rig *r, uint64_t memory)
{
    memset(r, 0, sizeof *r);
    rng_init(&r->rng, 3);
    shadows_resize(&r->sh, memory);
}

/* As a cache-aside client of an endless cache does: every key asked for is there. */
static void ask(struct rig *r, uint64_t key, uint64_t bytes, uint32_t deadline_s, uint32_t now_s)
{
    struct shadow_event ev = {hash_mix64(key + 1), bytes, deadline_s, now_s, false};
    if (shadows_want(&r->sh, ev.hash))
        r->changes += shadows_note(&r->sh, &ev);
}

static double sampled(const struct rig *r)
{
    return (double)atomic_load(&r->sh.below) / 4294967296.0;
}

static unsigned small(const struct rig *r)
{
    return shadows_way(&r->sh).small_percent;
}

/* New keys, each asked for three times: S3-FIFO's small queue is too short for the second. */
static void three_times(struct rig *r, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t key = r->fresh++;
        ask(r, key, ENTRY, 0, 0);
        ask(r, key - ROOM / 10, ENTRY, 0, 0);
        ask(r, key - ROOM / 4, ENTRY, 0, 0);
    }
}

/* Many keys, the more popular the lower their number: what is asked for often should stay. */
static void popular(struct rig *r, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t below = 1 + rng_below(&r->rng, 1 + rng_below(&r->rng, 30ull * ROOM));
        ask(r, UINT64_MAX / 2 + rng_below(&r->rng, below), ENTRY, 0, 0);
    }
}

static void test_off_until_begun(void **state)
{
    struct rig r;
    rig_init(&r, MEMORY);
    for (uint64_t i = 0; i < 1000; i++)
        assert_false(shadows_want(&r.sh, hash_mix64(i)));
    assert_true(shadows_bytes(&r.sh) > 0 && shadows_bytes(&r.sh) <= MEMORY / 64);
    shadows_begin(&r.sh, MEMORY, SEGMENT_CLASSES);
    unsigned wanted = 0;
    for (uint64_t i = 0; i < 10000; i++)
        wanted += shadows_want(&r.sh, hash_mix64(i));
    assert_in_range(wanted, 2300, 2700);
    shadows_resize(&r.sh, 0);
    assert_int_equal(shadows_bytes(&r.sh), 0);
    assert_false(shadows_want(&r.sh, 0));
    shadows_begin(&r.sh, MEMORY, SEGMENT_CLASSES); /* without a book nothing begins */
    assert_false(shadows_want(&r.sh, 0));
    struct shadow_event ev = {.hash = 1, .bytes = ENTRY};
    assert_false(shadows_note(&r.sh, &ev));
}

static void test_the_sample_shrinks(void **state)
{
    struct rig r;
    rig_init(&r, MEMORY);
    shadows_begin(&r.sh, 10000ull * MEMORY, SEGMENT_CLASSES); /* so large that nothing is ever evicted */
    for (uint64_t i = 0; i < 4000000; i++)
        ask(&r, i, ENTRY, 0, 0);
    assert_true(sampled(&r) < 1.0 / 256 && sampled(&r) > 1.0 / 4096);
    /* and grows again when few nodes are in use: entries are large now, and few fit */
    shadows_begin(&r.sh, MEMORY, SEGMENT_CLASSES);
    for (uint64_t i = 0; i < 60000000 && sampled(&r) < 1.0 / 128; i++)
        ask(&r, 5000000 + i, 64 << 10, 0, 0);
    assert_true(sampled(&r) >= 1.0 / 128);
    shadows_resize(&r.sh, 0);
}

static void test_the_way_follows(void **state)
{
    struct rig r;
    rig_init(&r, MEMORY);
    shadows_begin(&r.sh, MEMORY, SEGMENT_CLASSES);
    r.fresh = ROOM;
    assert_int_equal(small(&r), 80); /* as LRU does, until something is better */
    for (unsigned round = 0; round < 3; round++) {
        three_times(&r, 10 * ROOM);
        assert_true(small(&r) >= 40);
        popular(&r, 40ull * ROOM);
        assert_int_equal(small(&r), 10);
    }
    print_message("%u changes of the way, one key in %.0f is played\n", (unsigned)r.changes, 1 / sampled(&r));
    assert_in_range(r.changes, 6, 30);
    shadows_resize(&r.sh, MEMORY); /* no new size: nothing is forgotten */
    assert_true(sampled(&r) > 0);
    three_times(&r, 10 * ROOM);
    shadows_resize(&r.sh, 8 * MB);
    assert_true(sampled(&r) == 0 && small(&r) == 80);
    shadows_resize(&r.sh, 0);
}

/* What LRU is no better at must not move the way: every key asked for once, or all alike. */
static void test_no_reason_no_change(void **state)
{
    struct rig r;
    rig_init(&r, MEMORY);
    shadows_begin(&r.sh, MEMORY, SEGMENT_CLASSES);
    for (uint64_t i = 0; i < 40ull * ROOM; i++)
        ask(&r, rng_below(&r.rng, 3 * ROOM), ENTRY, 0, 0);
    for (uint64_t i = 0; i < 20ull * ROOM; i++)
        ask(&r, 10 * ROOM + i, ENTRY, 0, 0);
    assert_true(r.changes <= 1);
    shadows_resize(&r.sh, 0);
}

/* The same three requests, but each key has expired before the next: nobody can have it, and no way is
 * better. */
static void test_expired_keys_tell_nothing(void **state)
{
    struct rig r;
    rig_init(&r, MEMORY);
    shadows_begin(&r.sh, MEMORY, SEGMENT_CLASSES);
    for (uint64_t i = ROOM; i < 11ull * ROOM; i++) {
        uint32_t now = (uint32_t)(i / 1000);
        ask(&r, i, ENTRY, now + 1, now);
        ask(&r, i - ROOM / 10, ENTRY, now + 1, now);
        ask(&r, i - ROOM / 4, ENTRY, now + 1, now);
    }
    assert_int_equal(r.changes, 0);
    shadows_resize(&r.sh, 0);
}

/* Any sizes, zero and absurd ones among them, any order, puts and lookups. */
static void test_anything_goes(void **state)
{
    static const uint64_t sizes[] = {0, 1, 60, ENTRY, 5000, 100000, 3 * MB, MEMORY, UINT32_MAX, UINT64_MAX};
    struct rig r;
    rig_init(&r, 1);
    for (uint64_t i = 0; i < 3000000; i++) {
        if (i % 1000 == 0)
            shadows_begin(&r.sh, rng_below(&r.rng, 4) * MB, 1 + (unsigned)rng_below(&r.rng, SEGMENT_CLASSES));
        uint64_t key = rng_below(&r.rng, 1 + rng_below(&r.rng, 100000)), n = rng_below(&r.rng, 60);
        struct shadow_event ev = {hash_mix64(key) & (rng_below(&r.rng, 2) ? UINT64_MAX : 0xff),
                                  sizes[n < 10 ? n : 3], (uint32_t)(i % 3 == 0 ? i / 100 + 5 : 0),
                                  (uint32_t)(i / 100), i % 2 == 0};
        if (shadows_want(&r.sh, ev.hash))
            (void)shadows_note(&r.sh, &ev);
    }
    assert_true(sampled(&r) > 0);
    shadows_resize(&r.sh, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_off_until_begun),           cmocka_unit_test(test_the_sample_shrinks),
        cmocka_unit_test(test_the_way_follows),           cmocka_unit_test(test_no_reason_no_change),
        cmocka_unit_test(test_expired_keys_tell_nothing), cmocka_unit_test(test_anything_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
