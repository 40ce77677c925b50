/* The breaker and the retry budget, by a clock of our own. */
#include "unit/unit.h"

#include "client/breaker.h"
#include "client/budget.h"

enum { SECOND = 1000 };

static const struct breaker_rule rule = {.failures_max = 3, .interval_ns = SECOND};

static struct breaker opened_at(int64_t now)
{
    struct breaker b = {0};
    for (int i = 0; i < 3; i++)
        breaker_failed(&b, &rule, now);
    assert_true(b.open);
    return b;
}

static void opens_after_so_many_in_a_row(void **state)
{
    struct breaker b = {0};
    for (int i = 0; i < 10; i++) {
        assert_true(breaker_allows(&b, &rule, i));
        breaker_failed(&b, &rule, i);
        breaker_failed(&b, &rule, i);
        assert_true(breaker_allows(&b, &rule, i));
        breaker_succeeded(&b);
    }
    breaker_failed(&b, &rule, 100);
    breaker_failed(&b, &rule, 100);
    breaker_failed(&b, &rule, 100);
    assert_false(breaker_allows(&b, &rule, 100));
    assert_false(breaker_allows(&b, &rule, 100 + SECOND - 1));
}

static void one_probe_an_interval(void **state)
{
    struct breaker b = opened_at(0);
    assert_true(breaker_allows(&b, &rule, SECOND));
    for (int64_t t = SECOND; t < 2 * SECOND; t += 100)
        assert_false(breaker_allows(&b, &rule, t));
    /* Nobody told what became of the probe: there is another. */
    assert_true(breaker_allows(&b, &rule, 2 * SECOND));
    breaker_succeeded(&b);
    assert_true(breaker_allows(&b, &rule, 2 * SECOND));
    assert_false(b.open);
}

static void the_interval_doubles_up_to_a_limit(void **state)
{
    struct breaker b = opened_at(0);
    int64_t now = 0;
    unsigned probes = 0;
    for (now = 0; now < 1000 * SECOND; now += SECOND / 10) {
        if (breaker_allows(&b, &rule, now)) {
            breaker_failed(&b, &rule, now);
            probes++;
        }
    }
    /* 1 + 2 + 4 + 8 + 16 seconds, then one in 32. */
    assert_in_range(probes, 5 + (1000 - 63) / 32 - 1, 5 + (1000 - 31) / 32 + 2);
    assert_int_equal(b.doublings, BREAKER_DOUBLINGS_MAX);
}

static void late_failures_do_not_double(void **state)
{
    struct breaker b = opened_at(0);
    for (int i = 0; i < 50; i++) /* fifty commands were under way when it opened */
        breaker_failed(&b, &rule, 1);
    assert_int_equal(b.doublings, 0);
    assert_true(breaker_allows(&b, &rule, SECOND));
}

static void zero_never_opens(void **state)
{
    struct breaker b = {0};
    struct breaker_rule never = {.failures_max = 0, .interval_ns = SECOND};
    for (int i = 0; i < 1000; i++)
        breaker_failed(&b, &never, i);
    assert_true(breaker_allows(&b, &never, 1000));
}

static void retries_are_a_share_of_calls(void **state)
{
    struct budget b;
    unsigned retries = 0;
    budget_init(&b, 20);
    for (int call = 0; call < 10000; call++) {
        budget_earn(&b);
        for (int attempt = 0; attempt < 3; attempt++)
            retries += budget_spend(&b);
    }
    assert_in_range(retries, 2000, 2000 + BUDGET_START / BUDGET_RETRY);
}

static void what_is_saved_is_bounded(void **state)
{
    struct budget b;
    unsigned retries = 0;
    budget_init(&b, 100);
    for (int call = 0; call < 100000; call++)
        budget_earn(&b);
    while (budget_spend(&b))
        retries++;
    assert_int_equal(retries, BUDGET_MAX / BUDGET_RETRY);
    budget_init(&b, 0);
    budget_earn(&b);
    assert_false(budget_spend(&b));
}

static void backoff_doubles_and_scatters(void **state)
{
    assert_int_equal(budget_backoff_ns(100, 1000, 0, 0.0), 0);
    assert_int_equal(budget_backoff_ns(100, 1000, 0, 0.5), 50);
    assert_int_equal(budget_backoff_ns(100, 1000, 1, 0.5), 100);
    assert_int_equal(budget_backoff_ns(100, 1000, 3, 0.5), 400);
    assert_int_equal(budget_backoff_ns(100, 1000, 4, 0.5), 500);
    assert_int_equal(budget_backoff_ns(100, 1000, 4000000000u, 0.5), 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_after_so_many_in_a_row),
        cmocka_unit_test(one_probe_an_interval),
        cmocka_unit_test(the_interval_doubles_up_to_a_limit),
        cmocka_unit_test(late_failures_do_not_double),
        cmocka_unit_test(zero_never_opens),
        cmocka_unit_test(retries_are_a_share_of_calls),
        cmocka_unit_test(what_is_saved_is_bounded),
        cmocka_unit_test(backoff_doubles_and_scatters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
