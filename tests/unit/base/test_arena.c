#include "unit/unit.h"

#include "base/alloc.h"
#include "base/arena.h"
#include "base/rng.h"

#include <string.h>

static void pieces_are_aligned_and_apart(void **state)
{
    struct arena a;
    struct rng rng;
    enum { PIECES = 2000 };
    unsigned char *p[PIECES];
    size_t n[PIECES];
    arena_init(&a);
    rng_init(&rng, 1);
    for (int i = 0; i < PIECES; i++) {
        n[i] = rng_below(&rng, i % 100 == 99 ? 3 * ARENA_CHUNK : 300);
        p[i] = arena_alloc(&a, n[i]);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % ARENA_ALIGN, 0);
        memset(p[i], i & 255, n[i]);
    }
    for (int i = 0; i < PIECES; i++)
        for (size_t j = 0; j < n[i]; j++)
            assert_int_equal(p[i][j], i & 255);
    arena_release(&a);
    assert_int_equal(a.held, 0);
}

/* What a reset keeps is enough for the same load again: the second round and all
 * later ones hold what the first held. */
static void steady_load_allocates_nothing(void **state)
{
    struct arena a;
    arena_init(&a);
    size_t held = 0;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 100; i++)
            assert_non_null(arena_alloc(&a, 1000));
        assert_non_null(arena_alloc(&a, 40000));
        if (round == 0)
            held = a.held;
        assert_int_equal(a.held, held);
#ifdef LARDER_DEBUG
        alloc_fail_after(1); /* an allocation in a later round would fail it */
#endif
        arena_reset(&a);
    }
#ifdef LARDER_DEBUG
    alloc_fail_after(0);
#endif
    arena_release(&a);
}

static void reset_keeps_no_more_than_the_limit(void **state)
{
    struct arena a;
    arena_init(&a);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 100; i++)
            assert_non_null(arena_alloc(&a, ARENA_CHUNK - 100));
        assert_non_null(arena_alloc(&a, 4 * ARENA_KEEP));
        assert_true(a.held > 4 * ARENA_KEEP);
        arena_reset(&a);
        assert_true(a.held <= ARENA_KEEP);
        assert_true(a.held > ARENA_KEEP / 2); /* but not nothing either */
    }
    assert_non_null(arena_alloc(&a, 2 * ARENA_KEEP)); /* alone, and too large to be kept */
    arena_reset(&a);
    assert_true(a.held <= ARENA_KEEP);
    arena_release(&a);
}

static void impossible_sizes_are_refused(void **state)
{
    struct arena a;
    arena_init(&a);
    for (int warm = 0; warm < 2; warm++) {
        assert_null(arena_alloc(&a, SIZE_MAX));
        assert_null(arena_alloc(&a, SIZE_MAX - 15));
        assert_null(arena_alloc(&a, PTRDIFF_MAX));
        assert_null(arena_alloc(&a, (size_t)PTRDIFF_MAX + 1));
        assert_non_null(arena_alloc(&a, 0));
    }
    assert_null(arena_copy(&a, (struct str){"x", SIZE_MAX}).p);
    arena_release(&a);
}

static void copies_end_with_nul(void **state)
{
    struct arena a;
    arena_init(&a);
    struct str s = arena_copy(&a, STR("ab\0c")), empty = arena_copy(&a, (struct str){NULL, 0});
    assert_str(s, STR("ab\0c"));
    assert_int_equal(s.p[4], 0);
    assert_non_null(empty.p);
    assert_int_equal(empty.p[0], 0);
    arena_release(&a);
}

#ifdef LARDER_DEBUG
static void out_of_memory_leaves_it_usable(void **state)
{
    struct arena a;
    arena_init(&a);
    alloc_fail_after(1);
    assert_null(arena_alloc(&a, 10));
    char *p = arena_alloc(&a, 10);
    assert_non_null(p);
    memcpy(p, "123456789", 10);
    alloc_fail_after(1);
    assert_null(arena_alloc(&a, 100000));
    static const char large[100000];
    alloc_fail_after(1);
    assert_null(arena_copy(&a, (struct str){large, sizeof large}).p);
    assert_string_equal(p, "123456789");
    assert_non_null(arena_alloc(&a, 100));
    arena_release(&a);
}
#endif

#ifdef LARDER_ASAN
static void free_room_is_poisoned(void **state)
{
    struct arena a;
    arena_init(&a);
    char *p = arena_alloc(&a, 20);
    assert_false(__asan_address_is_poisoned(p + 19));
    assert_true(__asan_address_is_poisoned(p + 20));
    char *q = arena_alloc(&a, ARENA_CHUNK);
    assert_false(__asan_address_is_poisoned(q + ARENA_CHUNK - 1));
    assert_true(__asan_address_is_poisoned(q + ARENA_CHUNK));
    arena_reset(&a);
    assert_true(__asan_address_is_poisoned(p));
    assert_true(__asan_address_is_poisoned(q));
    arena_release(&a);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_apart),
        cmocka_unit_test(steady_load_allocates_nothing),
        cmocka_unit_test(reset_keeps_no_more_than_the_limit),
        cmocka_unit_test(impossible_sizes_are_refused),
        cmocka_unit_test(copies_end_with_nul),
#ifdef LARDER_DEBUG
        cmocka_unit_test(out_of_memory_leaves_it_usable),
#endif
#ifdef LARDER_ASAN
        cmocka_unit_test(free_room_is_poisoned),
#endif
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
