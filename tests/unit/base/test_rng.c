#include "unit/unit.h"

#include "base/rng.h"

static void one_seed_one_sequence(void **state)
{
    struct rng a, b, c;
    rng_init(&a, 42);
    rng_init(&b, 42);
    rng_init(&c, 43);
    int same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t x = rng_u64(&a);
        assert_int_equal(x, rng_u64(&b));
        same += x == rng_u64(&c);
    }
    assert_int_equal(same, 0);
}

/* The generator's published recurrence, from the state 1, 2, 3, 4. */
static void known_answers(void **state)
{
    static const uint64_t want[] = {11520, 0, 1509978240, 1215971899390074240};
    struct rng r = {{1, 2, 3, 4}};
    for (int i = 0; i < 4; i++)
        assert_int_equal(rng_u64(&r), want[i]);
}

static void below_stays_below_and_is_even(void **state)
{
    enum { SIDES = 7, THROWS = 70000 };
    int seen[SIDES] = {0};
    struct rng r;
    rng_init(&r, 1);
    for (int i = 0; i < THROWS; i++) {
        uint64_t x = rng_below(&r, SIDES);
        assert_true(x < SIDES);
        seen[x]++;
        assert_int_equal(rng_below(&r, 1), 0);
        double u = rng_unit(&r);
        assert_true(u >= 0 && u < 1);
    }
    for (int i = 0; i < SIDES; i++) /* five standard deviations around 10,000 */
        assert_in_range(seen[i], THROWS / SIDES - 460, THROWS / SIDES + 460);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_seed_one_sequence),
        cmocka_unit_test(known_answers),
        cmocka_unit_test(below_stays_below_and_is_even),
    };
    return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
