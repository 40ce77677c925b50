/* Histograms: every bucket's edges, the promised error, merging and subtracting. */
#include "tool/bench/hist.h"

#include "base/alloc.h"
#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static struct hist *new_hist(void)
{
    return mem_must(mem_zalloc(sizeof(struct hist)));
}

static void buckets_follow_each_other_without_a_gap(void **state)
{
    (void)state;
    uint64_t next = 0; /* the smallest value that no bucket has had yet */
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        uint64_t top = hist_bucket_top(i);
        assert_true(top >= next);
        assert_int_equal(hist_bucket(next), i);
        assert_int_equal(hist_bucket(top), i);
        assert_true(top - next <= next >> HIST_HALF_BITS); /* the promised width */
        next = top + 1;
    }
    assert_true(next == (uint64_t)2 << HIST_TOP_BIT);
}

static void values_beyond_the_range_count_as_the_largest(void **state)
{
    (void)state;
    assert_int_equal(hist_bucket((uint64_t)2 << HIST_TOP_BIT), HIST_BUCKETS - 1);
    assert_int_equal(hist_bucket(UINT64_MAX), HIST_BUCKETS - 1);
}

static void an_empty_histogram_answers_zero(void **state)
{
    (void)state;
    struct hist *h = new_hist();
    assert_int_equal(hist_quantile(h, 0), 0);
    assert_int_equal(hist_quantile(h, 1), 0);
    assert_true(hist_mean(h) == 0);
    mem_free(h);
}

static void small_values_are_exact(void **state)
{
    (void)state;
    struct hist *h = new_hist();
    for (uint64_t v = 1; v <= 100; v++)
        hist_add(h, v, 1);
    assert_int_equal(hist_quantile(h, 0), 1);
    assert_int_equal(hist_quantile(h, 0.01), 1);
    assert_int_equal(hist_quantile(h, 0.5), 50);
    assert_int_equal(hist_quantile(h, 0.501), 51);
    assert_int_equal(hist_quantile(h, 0.99), 99);
    assert_int_equal(hist_quantile(h, 1), 100);
    assert_int_equal(hist_total(h), 100);
    assert_true(hist_mean(h) == 50.5);
    mem_free(h);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Against the sorted samples: never below the true quantile, nor 1/128 above it. */
static void quantiles_are_within_the_promised_error(void **state)
{
    (void)state;
    enum { N = 20000 };
    static const double qs[] = {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1};
    uint64_t *all = mem_must(mem_alloc(N * sizeof *all));
    struct hist *h = new_hist();
    struct rng rng;
    rng_init(&rng, 7);
    for (int i = 0; i < N; i++) {
        all[i] = rng_u64(&rng) >> (24 + rng_below(&rng, 34)); /* every magnitude up to 2^40 */
        hist_add(h, all[i], 1);
    }
    qsort(all, N, sizeof *all, by_value);
    for (size_t i = 0; i < sizeof qs / sizeof *qs; i++) {
        uint64_t exact = all[(int)(qs[i] * N + 0.5) - 1], told = hist_quantile(h, qs[i]);
        assert_true(told >= exact);
        assert_true(told - exact <= exact >> HIST_HALF_BITS);
    }
    assert_int_equal(hist_max(h), all[N - 1]);
    mem_free(all);
    mem_free(h);
}

static void no_quantile_exceeds_the_maximum(void **state)
{
    (void)state;
    struct hist *h = new_hist();
    hist_add(h, 1000001, 1); /* in a bucket that goes on to 1,003,519 */
    assert_int_equal(hist_quantile(h, 0.5), 1000001);
    assert_true(hist_bucket_top(hist_bucket(1000001)) > 1000001);
    mem_free(h);
}

static void a_merge_counts_both(void **state)
{
    (void)state;
    struct hist *a = new_hist(), *b = new_hist();
    hist_add(a, 10, 3);
    hist_add(b, 200, 1);
    hist_merge(a, b);
    assert_int_equal(hist_total(a), 4);
    assert_int_equal(hist_quantile(a, 0.75), 10);
    assert_int_equal(hist_quantile(a, 1), 200);
    assert_int_equal(hist_max(a), 200);
    assert_true(hist_mean(a) == 57.5);
    mem_free(a);
    mem_free(b);
}

static void a_difference_holds_what_came_in_between(void **state)
{
    (void)state;
    struct hist *now = new_hist(), *before = new_hist();
    hist_add(now, 5000000, 2);
    hist_merge(before, now);
    hist_add(now, 40, 5);
    hist_subtract(now, before);
    assert_int_equal(hist_total(now), 5);
    assert_int_equal(hist_quantile(now, 1), 40);
    assert_int_equal(hist_max(now), 40);
    assert_true(hist_mean(now) == 40);
    mem_free(now);
    mem_free(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_follow_each_other_without_a_gap),
        cmocka_unit_test(values_beyond_the_range_count_as_the_largest),
        cmocka_unit_test(an_empty_histogram_answers_zero),
        cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(quantiles_are_within_the_promised_error),
        cmocka_unit_test(no_quantile_exceeds_the_maximum),
        cmocka_unit_test(a_merge_counts_both),
        cmocka_unit_test(a_difference_holds_what_came_in_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
