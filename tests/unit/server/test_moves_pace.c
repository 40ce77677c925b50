/* When a move rests, and when nothing may keep it. */
#include "server/moves_pace.h"

#include "unit.h"

static void test_rests_in_proportion(void **state)
{
    struct moves_pace p = {0};
    (void)state;
    assert_false(moves_pace_hurries(&p, false, 0));
    assert_false(moves_pace_hurries(&p, false, MOVES_LAG));
    assert_int_equal(moves_pace_rest_us(100 * 1000), 100 * MOVES_REST);
    assert_int_equal(moves_pace_rest_us(1000LL * 1000 * 1000), MOVES_REST_MAX_US);
}

static void test_no_rest_while_clients_wait(void **state)
{
    struct moves_pace p = {0};
    (void)state;
    assert_true(moves_pace_hurries(&p, true, 0));
    assert_false(moves_pace_hurries(&p, false, 0));
}

static void test_no_rest_far_behind_the_log(void **state)
{
    struct moves_pace p = {0};
    (void)state;
    assert_true(moves_pace_hurries(&p, false, MOVES_LAG + 1));
    assert_false(moves_pace_hurries(&p, false, 0));
}

/* As little as it is: else every round with rests finds as much to do as the one before. */
static void test_no_more_rest_once_a_writer_keeps_up(void **state)
{
    struct moves_pace p = {0};
    (void)state;
    moves_pace_round(&p, 5000);
    moves_pace_round(&p, 4000);
    assert_false(moves_pace_hurries(&p, false, 4000));
    moves_pace_round(&p, 4000);
    assert_true(moves_pace_hurries(&p, false, 4000));
    moves_pace_round(&p, 10);
    assert_true(moves_pace_hurries(&p, false, 10));
}

static void test_what_begins_after_silence_is_no_growth(void **state)
{
    struct moves_pace p = {0};
    (void)state;
    moves_pace_round(&p, 0);
    moves_pace_round(&p, 5000);
    assert_false(moves_pace_hurries(&p, false, 5000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rests_in_proportion),
        cmocka_unit_test(test_no_rest_while_clients_wait),
        cmocka_unit_test(test_no_rest_far_behind_the_log),
        cmocka_unit_test(test_no_more_rest_once_a_writer_keeps_up),
        cmocka_unit_test(test_what_begins_after_silence_is_no_growth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
