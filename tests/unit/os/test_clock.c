#include "unit/unit.h"

#include "os/clock.h"

#include <time.h>

static void clocks_agree_on_the_order_of_things(void **state)
{
    int64_t mono = os_mono_ns(), wall = os_wall_us(), cpu = os_cpu_ns();
    assert_true(wall > 1700000000LL * 1000000); /* microseconds, after 2023 */
    assert_true(wall / 1000 - os_wall_ms() <= 0);
    volatile uint64_t work = 0;
    while (os_cpu_ns() - cpu < 2000000)
        work++;
    assert_true(os_mono_ns() - mono > 0);
    assert_true(os_wall_us() >= wall);
}

/* Measured against CLOCK_MONOTONIC read around both ends, so however long the
 * machine makes it take, the ticks must lie between the inner and the outer span. */
static void ticks_measure_as_the_monotonic_clock_does(void **state)
{
    os_ticks_calibrate();
    for (int round = 0; round < 3; round++) {
        int64_t a = os_mono_ns();
        uint64_t from = os_ticks();
        int64_t b = os_mono_ns();
        struct timespec pause = {0, 20 * 1000 * 1000};
        nanosleep(&pause, NULL);
        int64_t c = os_mono_ns();
        uint64_t to = os_ticks();
        int64_t d = os_mono_ns();
        int64_t measured = (int64_t)os_ticks_to_ns(to - from);
        assert_true(measured >= (c - b) - (c - b) / 100);
        assert_true(measured <= (d - a) + (d - a) / 100);
    }
}

static void conversions_are_inverse(void **state)
{
    os_ticks_calibrate();
    static const uint64_t spans[] = {0, 1000, 1000000, 1000000000ULL, 3600ULL * 1000000000, 1ULL << 60};
    for (int i = 0; i < 6; i++) {
        uint64_t back = os_ticks_to_ns(os_ns_to_ticks(spans[i])), slack = spans[i] / 100000 + 2;
        assert_true(back + slack >= spans[i] && back <= spans[i] + slack);
    }
    assert_int_equal(os_ticks_to_ns(0), 0);
    assert_true(os_ticks_to_ns(UINT64_MAX) > 1ULL << 60); /* saturates rather than wraps */
    assert_true(os_ns_to_ticks(UINT64_MAX) > 1ULL << 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clocks_agree_on_the_order_of_things),
        cmocka_unit_test(ticks_measure_as_the_monotonic_clock_does),
        cmocka_unit_test(conversions_are_inverse),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
