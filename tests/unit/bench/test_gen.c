/* Invented traces have the statistics that were asked for. */
#include "base/err.h"
#include "bench/replay/gen.h"
#include "bench/replay/stats.h"

#include <math.h>

#include "unit.h"

static struct gen_shape shape(void)
{
    struct gen_shape s = {
        .requests = 300000, .seed = 5, .key_bytes = 36, .value_mean = 800, .value_sigma = 0.8};
    s.accesses = 22.5;
    s.one_hit = 0.23;
    s.theta = 1;
    s.seconds = 28800;
    assert_int_equal(gen_parse_ttls("3600:0.67,7200:0.33", &s), 0);
    return s;
}

static void near(double value, double wanted, double share)
{
    if (fabs(value - wanted) > share * wanted)
        fail_msg("%g is not near %g", value, wanted);
}

static void statistics_are_met(void **state)
{
    (void)state;
    struct gen_shape s = shape();
    struct trace t;
    struct trace_err err;
    struct stats stats;
    assert_int_equal(gen_make(&s, &t, &err), 0);
    stats_of(&t, &stats);
    near((double)stats.requests, 300000, 0.001);
    near((double)stats.requests / (double)stats.keys, 22.5, 0.001);
    near((double)stats.one_hit_keys / (double)stats.keys, 0.23, 0.001);
    near(stats.value_mean, 800, 0.03);
    near(stats.seconds, 28800, 0.01);
    assert_int_equal(stats.nttls, 2);
    assert_int_equal(stats.ttl[0], 3600);
    near(stats.ttl_share[0], 0.67, 0.02);
    trace_release(&t);
}

static void requests_are_in_order_and_keys_keep_size_and_ttl(void **state)
{
    (void)state;
    struct gen_shape s = shape();
    struct trace t;
    struct trace_err err;
    uint32_t seen = 0;
    assert_int_equal(gen_make(&s, &t, &err), 0);
    struct trace_request *first = test_calloc(t.keys, sizeof *first);
    for (uint64_t i = 0; i < t.n; i++) {
        struct trace_request *r = &t.requests[i];
        assert_true(i == 0 || r->at_ms >= r[-1].at_ms);
        assert_true(r->key <= seen && r->key < t.keys); /* numbered by first request */
        if (r->key == seen) {
            first[r->key] = *r;
            seen++;
        }
        assert_int_equal(r->bytes, first[r->key].bytes);
        assert_int_equal(r->ttl_s, first[r->key].ttl_s);
        assert_true(r->bytes >= 1);
    }
    assert_int_equal(seen, t.keys);
    test_free(first);
    trace_release(&t);
}

static void a_seed_is_a_trace(void **state)
{
    (void)state;
    struct gen_shape s = shape();
    struct trace a, b, c;
    struct trace_err err;
    s.requests = 20000;
    assert_int_equal(gen_make(&s, &a, &err), 0);
    assert_int_equal(gen_make(&s, &b, &err), 0);
    s.seed++;
    assert_int_equal(gen_make(&s, &c, &err), 0);
    assert_memory_equal(a.requests, b.requests, a.n * sizeof *a.requests);
    assert_memory_not_equal(a.requests, c.requests, a.n * sizeof *a.requests);
    trace_release(&a);
    trace_release(&b);
    trace_release(&c);
}

static void ttls_are_parsed(void **state)
{
    (void)state;
    struct gen_shape s;
    assert_int_equal(gen_parse_ttls("60:0.4,3960-6840:0.2,0:1", &s), 0);
    assert_int_equal(s.nttls, 3);
    assert_int_equal(s.ttl[1].low_s, 3960);
    assert_int_equal(s.ttl[1].high_s, 6840);
    assert_true(s.ttl[2].share == 1);
    static const char *const wrong[] = {"",        "60",    "60:",       "60:0", "60:-1",
                                        "70-60:1", "60:1,", "60:1;70:1", "x:1",  "5000000000:1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(gen_parse_ttls(wrong[i], &s), ERR_SYNTAX);
}

static void impossible_shapes_are_refused(void **state)
{
    (void)state;
    struct trace t;
    struct trace_err err;
    struct gen_shape s = shape();
    s.accesses = 1.5; /* 77 % of the keys twice makes more */
    assert_int_equal(gen_make(&s, &t, &err), ERR_RANGE);
    s = shape();
    s.requests = 10;
    assert_int_equal(gen_make(&s, &t, &err), ERR_RANGE);
    s = shape();
    s.seconds = 0;
    assert_int_equal(gen_make(&s, &t, &err), ERR_RANGE);
    s = shape();
    s.nttls = 0;
    assert_int_equal(gen_make(&s, &t, &err), ERR_RANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics_are_met),
        cmocka_unit_test(requests_are_in_order_and_keys_keep_size_and_ttl),
        cmocka_unit_test(a_seed_is_a_trace),
        cmocka_unit_test(ttls_are_parsed),
        cmocka_unit_test(impossible_shapes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
