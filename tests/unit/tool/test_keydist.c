/* Distributions: with a fixed seed, chi-square against the exact probabilities. The
 * limits are those that a right generator passes in all but one of a million seeds, so the
 * fixed one does, and a wrong one does not: see a_wrong_exponent_would_be_seen. */
#include "tool/bench/keydist.h"
#include "tool/bench/spread.h"

#include "base/alloc.h"
#include "base/err.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { DRAWS = 400000 };

/* Chi-square's upper 10^-6 point for df degrees of freedom (Wilson and Hilferty). */
static double limit(double df)
{
    double z = 4.7534, a = 2 / (9 * df);
    return df * pow(1 - a + z * sqrt(a), 3);
}

/* Of the counts of ranks 1..n against k^-theta, ranks expected less than 8 times
 * taken together. *df is the degrees of freedom. */
static double chi_square(const uint64_t *count, uint64_t n, double theta, double *df)
{
    double sum = 0, chi = 0, rest_expected = 0, rest = 0;
    for (uint64_t k = 1; k <= n; k++)
        sum += pow((double)k, -theta);
    *df = -1;
    for (uint64_t k = 1; k <= n; k++) {
        double expected = DRAWS * pow((double)k, -theta) / sum, got = (double)count[k - 1];
        if (expected < 8) {
            rest_expected += expected;
            rest += got;
            continue;
        }
        chi += (got - expected) * (got - expected) / expected;
        ++*df;
    }
    if (rest_expected > 0) {
        chi += (rest - rest_expected) * (rest - rest_expected) / rest_expected;
        ++*df;
    }
    return chi;
}

static uint64_t *draw_ranks(uint64_t n, double theta)
{
    uint64_t *count = mem_must(mem_zalloc(n * sizeof *count));
    struct keydist d;
    struct rng rng;
    rng_init(&rng, 42);
    keydist_zipf(&d, n, theta);
    for (int i = 0; i < DRAWS; i++) {
        uint64_t k = keydist_zipf_rank(&d, &rng);
        assert_in_range(k, 1, n);
        count[k - 1]++;
    }
    return count;
}

static void zipf_has_its_probabilities(void **state)
{
    (void)state;
    static const double thetas[] = {0.2, 0.7, 0.99, 1, 1.3, 2.5};
    static const uint64_t sizes[] = {2, 3, 1000, 100000};
    for (size_t i = 0; i < sizeof thetas / sizeof *thetas; i++)
        for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
            double df;
            uint64_t *count = draw_ranks(sizes[j], thetas[i]);
            double chi = chi_square(count, sizes[j], thetas[i], &df);
            mem_free(count);
            if (chi > limit(df))
                fail_msg("theta %g, n %lu: chi-square %g, limit %g", thetas[i], (unsigned long)sizes[j], chi,
                         limit(df));
        }
}

static void a_wrong_exponent_would_be_seen(void **state)
{
    (void)state;
    double df;
    uint64_t *count = draw_ranks(1000, 0.99);
    assert_true(chi_square(count, 1000, 1.01, &df) > limit(df));
    mem_free(count);
}

static void zipf_of_one_key_is_that_key(void **state)
{
    (void)state;
    struct keydist d;
    struct rng rng;
    rng_init(&rng, 1);
    keydist_zipf(&d, 1, 0.99);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(keydist_next(&d, &rng), 0);
}

static void every_rank_has_a_key_of_its_own(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 100, 1000, 65536, 65537, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint64_t n = sizes[i];
        unsigned char *seen = mem_must(mem_zalloc(n));
        struct keydist d;
        keydist_zipf(&d, n, 1);
        for (uint64_t rank = 1; rank <= n; rank++) {
            uint64_t key = keydist_at_rank(&d, rank);
            assert_true(key < n);
            assert_int_equal(seen[key], 0);
            seen[key] = 1;
        }
        mem_free(seen);
    }
}

/* The hottest keys were not loaded one after the other. */
static void hot_keys_are_no_neighbours(void **state)
{
    (void)state;
    struct keydist d;
    int near = 0;
    keydist_zipf(&d, 1000000, 0.99);
    for (uint64_t rank = 1; rank < 100; rank++) {
        int64_t gap = (int64_t)keydist_at_rank(&d, rank + 1) - (int64_t)keydist_at_rank(&d, rank);
        near += gap > -1000 && gap < 1000;
    }
    assert_true(near <= 3);
}

static void uniform_is_uniform(void **state)
{
    (void)state;
    enum { N = 1000 };
    uint64_t count[N] = {0};
    struct keydist d;
    struct rng rng;
    double df;
    rng_init(&rng, 42);
    keydist_uniform(&d, N);
    for (int i = 0; i < DRAWS; i++)
        count[keydist_next(&d, &rng)]++;
    assert_true(chi_square(count, N, 0, &df) < limit(df));
}

static void sequential_goes_round(void **state)
{
    (void)state;
    struct keydist d;
    keydist_sequential(&d, 3, 1);
    static const uint64_t expected[] = {1, 2, 0, 1, 2, 0, 1};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_int_equal(keydist_next(&d, NULL), expected[i]);
}

static void spreads_parse(void **state)
{
    (void)state;
    struct spread s;
    assert_int_equal(spread_parse("100", 0, 1000, &s), 0);
    assert_int_equal(s.kind, SPREAD_FIXED);
    assert_int_equal(s.low, 100);
    assert_int_equal(s.high, 100);
    assert_int_equal(spread_parse("64-4kb", 0, 4096, &s), 0);
    assert_int_equal(s.kind, SPREAD_RANGE);
    assert_int_equal(s.low, 64);
    assert_int_equal(s.high, 4096);
    assert_int_equal(spread_parse("lognormal:300:1.2", 0, 1000, &s), 0);
    assert_int_equal(s.kind, SPREAD_LOGNORMAL);
    assert_int_equal(s.high, 1000);
    assert_true(s.median == 300 && s.sigma == 1.2);
}

static void spreads_refuse_nonsense(void **state)
{
    (void)state;
    static const char *const broken[] = {"",
                                         "-",
                                         "x",
                                         "1-",
                                         "-1",
                                         "1-2-3",
                                         "1 ",
                                         "lognormal:",
                                         "lognormal:5",
                                         "lognormal:x:1",
                                         "lognormal:5:",
                                         "lognormal:5:nan"};
    static const char *const outside[] = {"9",
                                          "1001",
                                          "10-1001",
                                          "9-10",
                                          "20-10",
                                          "lognormal:9:1",
                                          "lognormal:1001:1",
                                          "lognormal:100:5.1",
                                          "lognormal:100:-1"};
    struct spread s = {.low = 77};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        if (spread_parse(broken[i], 10, 1000, &s) != ERR_SYNTAX)
            fail_msg("'%s' was taken", broken[i]);
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        if (spread_parse(outside[i], 10, 1000, &s) != ERR_RANGE)
            fail_msg("'%s' was taken", outside[i]);
    assert_int_equal(s.low, 77); /* untouched */
}

static void a_range_reaches_both_ends(void **state)
{
    (void)state;
    struct spread s;
    struct rng rng;
    int seen[4] = {0};
    rng_init(&rng, 3);
    assert_int_equal(spread_parse("5-8", 0, 10, &s), 0);
    for (int i = 0; i < 1000; i++) {
        uint64_t v = spread_draw(&s, &rng);
        assert_in_range(v, 5, 8);
        seen[v - 5]++;
    }
    for (int i = 0; i < 4; i++)
        assert_in_range(seen[i], 180, 320);
}

/* Of a lognormal, half lies below the median and 84.1 % below median * e^sigma. */
static void lognormal_has_its_shape(void **state)
{
    (void)state;
    enum { N = 100000 };
    struct spread s;
    struct rng rng;
    int below_median = 0, below_sigma = 0, at_top = 0;
    rng_init(&rng, 3);
    assert_int_equal(spread_parse("lognormal:1000:1", 1, 20000, &s), 0);
    for (int i = 0; i < N; i++) {
        uint64_t v = spread_draw(&s, &rng);
        assert_in_range(v, 1, 20000);
        below_median += v < 1000;
        below_sigma += v < 2718;
        at_top += v == 20000;
    }
    assert_in_range(below_median, N * 0.49, N * 0.51);
    assert_in_range(below_sigma, N * 0.831, N * 0.851);
    assert_in_range(at_top, 50, 250); /* ln 20 = 3.0 sigma: 0.137 % are cut */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zipf_has_its_probabilities),  cmocka_unit_test(a_wrong_exponent_would_be_seen),
        cmocka_unit_test(zipf_of_one_key_is_that_key), cmocka_unit_test(every_rank_has_a_key_of_its_own),
        cmocka_unit_test(hot_keys_are_no_neighbours),  cmocka_unit_test(uniform_is_uniform),
        cmocka_unit_test(sequential_goes_round),       cmocka_unit_test(spreads_parse),
        cmocka_unit_test(spreads_refuse_nonsense),     cmocka_unit_test(a_range_reaches_both_ends),
        cmocka_unit_test(lognormal_has_its_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
