#include "unit/unit.h"

#include "base/annotate.h"
#include "base/num.h"
#include "base/rng.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const boundaries_i64[] = {
    "0",
    "1",
    "-1",
    "9",
    "10",
    "99",
    "100",
    "-100",
    "2147483646",
    "2147483647",
    "2147483648",
    "2147483649",
    "-2147483647",
    "-2147483648",
    "-2147483649",
    "4294967295",
    "4294967296",
    "4294967297",
    "999999999999999999",
    "1000000000000000000",
    "9223372036854775806",
    "9223372036854775807",
    "-9223372036854775807",
    "-9223372036854775808",
};

static void i64_boundaries_go_round(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(boundaries_i64); i++) {
        const char *text = boundaries_i64[i];
        char back[NUM_I64_TEXT_MAX];
        int64_t v = 77;
        assert_true(num_parse_i64(str_of(text), &v));
        assert_int_equal(v, strtoll(text, NULL, 10));
        assert_str(((struct str){back, num_put_i64(back, v)}), str_of(text));
    }
}

static void i64_refuses_every_other_text(void **state)
{
    static const struct str wrong[] = {
        STR(""),
        STR("-"),
        STR("--1"),
        STR("+1"),
        STR(" 1"),
        STR("1 "),
        STR("01"),
        STR("00"),
        STR("-0"),
        STR("-01"),
        STR("0x1"),
        STR("1.0"),
        STR("1e3"),
        STR("1\0"),
        STR("\0001"),
        STR("1a"),
        STR("a1"),
        STR("12345678901234567/"),
        STR("12345678901234567:"),
        STR("9223372036854775808"),
        STR("-9223372036854775809"),
        STR("9999999999999999999"),
        STR("18446744073709551615"),
        STR("-18446744073709551615"),
        STR("18446744073709551616"),
        STR("99999999999999999999"),
        STR("-99999999999999999999"),
        STR("100000000000000000000"),
        STR("999999999999999999999999999999"),
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        int64_t v = 77;
        assert_false(num_parse_i64(wrong[i], &v));
        assert_int_equal(v, 77);
    }
}

static void u64_boundaries(void **state)
{
    static const uint64_t values[] = {0,
                                      1,
                                      9,
                                      10,
                                      UINT32_MAX,
                                      INT64_MAX,
                                      (uint64_t)INT64_MAX + 1,
                                      9999999999999999999ULL,
                                      10000000000000000000ULL,
                                      UINT64_MAX - 1,
                                      UINT64_MAX};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        char text[32], put[NUM_I64_TEXT_MAX];
        int n = snprintf(text, sizeof text, "%" PRIu64, values[i]);
        uint64_t v;
        assert_true(num_parse_u64((struct str){text, (size_t)n}, &v));
        assert_int_equal(v, values[i]);
        assert_str(((struct str){put, num_put_u64(put, v)}), ((struct str){text, (size_t)n}));
    }
    static const char *const wrong[] = {
        "", "-1", "-0", "+1", "01", "1 ", "0x1", "18446744073709551616", "28446744073709551615"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        uint64_t v;
        assert_false(num_parse_u64(str_of(wrong[i]), &v));
    }
}

static void short_numbers(void **state)
{
    struct rng rng;
    rng_init(&rng, 3);
    for (uint32_t i = 0; i < 300000; i++) {
        uint32_t v = i < 100001   ? i
                     : i % 3 == 0 ? NUM_SHORT_END - 1 - i
                     : i < 200000 ? (uint32_t)rng_below(&rng, NUM_SHORT_END)
                                  : (uint32_t)rng_below(&rng, 10000000);
        char text[NUM_I64_TEXT_MAX], put[8];
        assert_str(((struct str){put, num_put_short(put, v)}), ((struct str){text, num_put_u64(text, v)}));
    }
}

/* Exactly what num_put_i64() writes is accepted: a changed byte may give another
 * number, but then that number's own text. */
static void i64_random_texts_are_canonical(void **state)
{
    struct rng rng;
    rng_init(&rng, 11);
    for (int i = 0; i < 300000; i++) {
        char text[24], put[NUM_I64_TEXT_MAX], want[32];
        int64_t v = (int64_t)(rng_u64(&rng) >> rng_below(&rng, 64)), got;
        if (rng_below(&rng, 2))
            v = (int64_t)(0 - (uint64_t)v);
        unsigned n = num_put_i64(text, v);
        int len = snprintf(want, sizeof want, "%" PRId64, v);
        assert_str(((struct str){text, n}), ((struct str){want, (size_t)len}));
        assert_true(num_parse_i64((struct str){text, n}, &got));
        assert_int_equal(got, v);
        text[rng_below(&rng, n)] = "0123456789-+ ./:"[rng_below(&rng, 16)];
        if (num_parse_i64((struct str){text, n}, &got))
            assert_str(((struct str){put, num_put_i64(put, got)}), ((struct str){text, n}));
    }
}

static void floats_as_strtold_but_strict(void **state)
{
    static const char *const good[] = {
        "0",    "-0",    "1",      "+1",    "1.5",   "-1.5e3", ".5",
        "5.",   "1e400", "1e-400", "inf",   "-inf",  "INF",    "infinity",
        "+inf", "0x10",  "0x1p3",  "3.0e3", "00012", "1E+05",  "1234567890123456789012345678901234567890"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        long double v;
        assert_true(num_parse_ldouble(str_of(good[i]), &v));
        assert_true(v == strtold(good[i], NULL));
    }
    static const struct str bad[] = {
        STR(""),        STR(" 1"),  STR("1 "),   STR("\t1"),    STR("1\n"),    STR("abc"),
        STR("1x"),      STR("nan"), STR("-nan"), STR("NaN(1)"), STR("1e5000"), STR("-1e5000"),
        STR("1e-5000"), STR("1\0"), STR("\0"),   STR("1\0002"), STR("1,5"),    STR("e5"),
        STR("."),       STR("-"),   STR("--1"),  STR("0x"),     STR("inf ")};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        long double v;
        double d;
        assert_false(num_parse_ldouble(bad[i], &v));
        assert_false(num_parse_double(bad[i], &d));
    }
    double d;
    assert_false(num_parse_double(STR("1e400"), &d)); /* fits a long double only */
    assert_false(num_parse_double(STR("1e-400"), &d));
    assert_true(num_parse_double(STR("4.9e-324"), &d));
    assert_true(num_parse_double(STR("-inf"), &d));
    assert_true(isinf(d) && d < 0);
}

static void float_texts_have_a_limit(void **state)
{
    char text[NUM_DOUBLE_TEXT_MAX + 1];
    memset(text, '1', sizeof text);
    text[1] = '.';
    long double v;
    double d;
    assert_true(num_parse_ldouble((struct str){text, NUM_DOUBLE_TEXT_MAX - 1}, &v));
    assert_false(num_parse_ldouble((struct str){text, NUM_DOUBLE_TEXT_MAX}, &v));
    assert_true(num_parse_double((struct str){text, NUM_DOUBLE_TEXT_MAX - 1}, &d));
    assert_false(num_parse_double((struct str){text, NUM_DOUBLE_TEXT_MAX}, &d));
    assert_false(num_parse_double((struct str){text, SIZE_MAX}, &d));
}

static void bytes_with_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t want;
    } good[] = {
        {"0", 0},
        {"100", 100},
        {"007", 7},
        {"1b", 1},
        {"1B", 1},
        {"1k", 1000},
        {"1kb", 1024},
        {"1Kb", 1024},
        {"1m", 1000000},
        {"64MB", 64 << 20},
        {"1g", 1000000000},
        {"1gB", 1 << 30},
        {"2gb", 2ULL << 30},
        {"18446744073709551615", UINT64_MAX},
        {"17179869183gb", 17179869183ULL << 30},
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        uint64_t v = 1;
        assert_true(num_parse_bytes(str_of(good[i].text), &v));
        assert_int_equal(v, good[i].want);
    }
    static const struct str bad[] = {STR(""),
                                     STR("mb"),
                                     STR("-1"),
                                     STR("1 mb"),
                                     STR(" 1"),
                                     STR("1tb"),
                                     STR("1kbb"),
                                     STR("1.5gb"),
                                     STR("1k\0"),
                                     STR("0x1"),
                                     STR("18446744073709551616"),
                                     STR("17179869184gb")};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        uint64_t v;
        assert_false(num_parse_bytes(bad[i], &v));
    }
}

static void ldouble_as_incrbyfloat_prints(void **state)
{
    static const struct {
        long double v;
        const char *want;
    } cases[] = {
        {0, "0"},
        {-0.0L, "0"},
        {3, "3"},
        {10, "10"},
        {100, "100"},
        {-1.5L, "-1.5"},
        {3.1L, "3.1"},
        {0.1L + 0.2L, "0.3"},
        {5.0e3L, "5000"},
        {1e-17L, "0.00000000000000001"},
        {1e-18L, "0"},
        {-1e-18L, "0"},
        {17179869184.25L, "17179869184.25"},
        {INFINITY, "inf"},
        {-INFINITY, "-inf"},
        {NAN, "nan"},
    };
    char dst[NUM_DOUBLE_TEXT_MAX];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_str(((struct str){dst, num_put_ldouble(dst, cases[i].v)}), str_of(cases[i].want));
    unsigned n = num_put_ldouble(dst, -LDBL_MAX); /* the longest there is */
    assert_in_range(n, 4000, NUM_DOUBLE_TEXT_MAX - 1);
}

static void doubles_as_redis_72_prints(void **state)
{
    static const struct {
        double v;
        const char *want;
    } cases[] = {
        {0, "0"},
        {-0.0, "-0"},
        {1, "1"},
        {-3, "-3"},
        {0.1, "0.1"},
        {0.1 + 0.2, "0.30000000000000004"},
        {3.14, "3.14"},
        {-2.5, "-2.5"},
        {1e17, "100000000000000000"},
        {4611686018427387904.0, "4611686018427387904"}, /* 2^62, the last written as an integer */
        {9223372036854775808.0, "9223372036854776000"}, /* 2^63: 16 digits tell it from its neighbours */
        {1e19, "1e+19"},
        {1.5e20, "1.5e+20"},
        {123456789012345680000.0, "123456789012345680000"},
        {1e21, "1e+21"},
        {1e300, "1e+300"},
        {0.000001, "0.000001"},
        {0.0000001, "1e-7"},
        {1.5e-7, "1.5e-7"},
        {0.00012345678, "1.2345678e-4"},
        {0.0012345678, "0.0012345678"},
        {1234.5678901234, "1234.5678901234"},
        {12345.678901234, "1.2345678901234e+4"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {DBL_MIN, "2.2250738585072014e-308"},
        {5e-324, "5e-324"},
        {INFINITY, "inf"},
        {-INFINITY, "-inf"},
        {NAN, "nan"},
        {-NAN, "nan"},
    };
    char dst[40];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_str(((struct str){dst, num_put_double(dst, cases[i].v)}), str_of(cases[i].want));
        assert_int_equal(dst[strlen(cases[i].want)], 0);
    }
}

static void random_doubles_read_back(void **state)
{
    struct rng rng;
    rng_init(&rng, 12);
    for (int i = 0; i < 200000; i++) {
        uint64_t bits = rng_u64(&rng);
        double v, back;
        memcpy(&v, &bits, sizeof v);
        if (i % 2)
            v = (double)(int64_t)bits / pow(10, (double)rng_below(&rng, 20));
        char dst[40], longest[40];
        unsigned n = num_put_double(dst, v);
        if (isnan(v))
            continue;
        assert_true(num_parse_double((struct str){dst, n}, &back));
        assert_memory_equal(&back, &v, sizeof v);
        assert_true(n <= (unsigned)snprintf(longest, sizeof longest, "%.17e", v) + 1);
    }
}

static void human_sizes(void **state)
{
    static const struct {
        uint64_t v;
        const char *want;
    } cases[] = {
        {0, "0B"},
        {1023, "1023B"},
        {1024, "1.00K"},
        {12345, "12.06K"},
        {1048575, "1024.00K"},
        {1048576, "1.00M"},
        {1572864, "1.50M"},
        {1ULL << 30, "1.00G"},
        {1ULL << 40, "1.00T"},
        {1ULL << 50, "1.00P"},
        {UINT64_MAX, "16384.00P"},
    };
    char dst[32];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_str(((struct str){dst, num_put_human(dst, cases[i].v)}), str_of(cases[i].want));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(i64_boundaries_go_round),
        cmocka_unit_test(i64_refuses_every_other_text),
        cmocka_unit_test(u64_boundaries),
        cmocka_unit_test(short_numbers),
        cmocka_unit_test(i64_random_texts_are_canonical),
        cmocka_unit_test(floats_as_strtold_but_strict),
        cmocka_unit_test(float_texts_have_a_limit),
        cmocka_unit_test(bytes_with_units),
        cmocka_unit_test(ldouble_as_incrbyfloat_prints),
        cmocka_unit_test(doubles_as_redis_72_prints),
        cmocka_unit_test(random_doubles_read_back),
        cmocka_unit_test(human_sizes),
    };
    return cmocka_run_group_tests_name("num", tests, NULL, NULL);
}
