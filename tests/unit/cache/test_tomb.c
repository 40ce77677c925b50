/* Versions that are held: by tombstones, and by floors when there are too many. */
#include "unit.h"

#include "cache/tomb.h"

enum { NOW = 1000 };

static void a_version_is_held_until_its_time(void **state)
{
    struct tombs t = {0};
    assert_int_equal(tombs_version(&t, 1, NOW), 0);
    tombs_hold(&t, 1, 7, NOW + 10, NOW);
    assert_int_equal(tombs_version(&t, 1, NOW), 7);
    assert_int_equal(tombs_version(&t, 1, NOW + 9), 7);
    assert_int_equal(tombs_version(&t, 1, NOW + 10), 0);
    assert_int_equal(tombs_version(&t, 2, NOW), 0);
    tombs_release(&t);
}

static void it_never_goes_down(void **state)
{
    struct tombs t = {0};
    tombs_hold(&t, 1, 7, NOW + 10, NOW);
    tombs_hold(&t, 1, 5, NOW + 20, NOW);
    assert_int_equal(tombs_version(&t, 1, NOW), 7);
    tombs_hold(&t, 1, 9, NOW + 5, NOW);
    assert_int_equal(tombs_version(&t, 1, NOW + 15), 9);
    tombs_hold(&t, 1, 3, NOW + 40, NOW + 30); /* what was held is over: a new beginning */
    assert_int_equal(tombs_version(&t, 1, NOW + 30), 3);
    tombs_release(&t);
}

static void too_many_refuse_too_much_never_too_little(void **state)
{
    enum { MANY = 4 * TOMBS_MAX };
    struct tombs t = {0};
    for (uint64_t i = 0; i < MANY; i++)
        tombs_hold(&t, i * 0x9e3779b97f4a7c15u, i + 1, NOW + 1000 + (int64_t)i, NOW);
    assert_int_equal(t.n, TOMBS_MAX);
    assert_int_equal(t.overflows, MANY - TOMBS_MAX);
    for (uint64_t i = 0; i < MANY; i++)
        assert_true(tombs_version(&t, i * 0x9e3779b97f4a7c15u, NOW) >= i + 1);
    assert_int_equal(tombs_version(&t, 12345, NOW + 1000 + MANY), 0); /* and only for so long */
    tombs_release(&t);
}

static void those_that_ended_make_room(void **state)
{
    struct tombs t = {0};
    for (uint64_t i = 0; i < TOMBS_MAX; i++)
        tombs_hold(&t, i, 1, NOW + 1, NOW);
    tombs_hold(&t, TOMBS_MAX, 1, NOW + 10, NOW + 5);
    assert_int_equal(t.n, 1);
    assert_int_equal(t.overflows, 0);
    tombs_release(&t);
}

static void groups_are_emptied_together(void **state)
{
    struct held h;
    assert_int_equal(held_init(&h), 0);
    for (uint64_t i = 0; i < 10000; i++)
        held_hold(&h, i * 0x9e3779b97f4a7c15u, i + 1, NOW + 10, NOW);
    for (uint64_t i = 0; i < 10000; i++)
        assert_int_equal(held_version(&h, i * 0x9e3779b97f4a7c15u, NOW), i + 1);
    struct tomb_group *g = held_group(&h, 42);
    tombs_raise_floor(&g->tombs, 42, 20000, NOW + 10, NOW);
    assert_int_equal(held_version(&h, 42, NOW), 20000);
    assert_int_equal(held_version(&h, 42 + TOMB_FLOORS, NOW), 20000); /* the same floor */
    held_clear(&h);
    assert_int_equal(held_version(&h, 42, NOW), 0);
    held_release(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_version_is_held_until_its_time),
        cmocka_unit_test(it_never_goes_down),
        cmocka_unit_test(too_many_refuse_too_much_never_too_little),
        cmocka_unit_test(groups_are_emptied_together),
        cmocka_unit_test(those_that_ended_make_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
