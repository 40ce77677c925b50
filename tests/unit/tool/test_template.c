/* Templates: the exact bytes, with every kind of hole. */
#include "tool/bench/template.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char bytes[] = "abcdefghijklmnopqrstuvwxyz";

static struct template_fill fill(uint64_t low, uint64_t high)
{
    return (struct template_fill){
        .key_prefix = STR("key:"),
        .key_size = 10,
        .value_size = {.kind = low == high ? SPREAD_FIXED : SPREAD_RANGE, .low = low, .high = high},
        .bytes = bytes,
    };
}

/* Render with keys first, first + 1, ... and compare. Takes t. */
static void expect(struct template *t, uint64_t first, const char *expected)
{
    char out[512];
    struct keydist keys;
    struct rng rng;
    rng_init(&rng, 5);
    keydist_sequential(&keys, 1000000, first);
    assert_non_null(t);
    assert_true(template_size_max(t) <= sizeof out);
    memset(out, '!', sizeof out);
    char *end = template_render(t, out, &keys, &rng);
    assert_true((size_t)(end - out) <= template_size_max(t));
    assert_int_equal(end - out, strlen(expected));
    assert_memory_equal(out, expected, strlen(expected));
    assert_int_equal(*end, '!'); /* nothing is written behind the request */
    template_free(t);
}

static void a_get_has_its_key(void **state)
{
    (void)state;
    struct template_fill f = fill(3, 3);
    expect(template_resp_get(&f), 0, "*2\r\n$3\r\nGET\r\n$10\r\nkey:000000\r\n");
    expect(template_resp_get(&f), 7, "*2\r\n$3\r\nGET\r\n$10\r\nkey:000007\r\n");
    expect(template_resp_get(&f), 40, "*2\r\n$3\r\nGET\r\n$10\r\nkey:000040\r\n");
    expect(template_resp_get(&f), 999999, "*2\r\n$3\r\nGET\r\n$10\r\nkey:999999\r\n");
}

/* A short number after a long one: the zeros come back. */
static void digits_of_the_last_request_are_gone(void **state)
{
    (void)state;
    struct template_fill f = fill(3, 3);
    struct template *t = template_resp_get(&f);
    struct keydist keys;
    char out[128];
    keydist_sequential(&keys, 1000000, 999999);
    template_render(t, out, &keys, NULL);
    char *end = template_render(t, out, &keys, NULL);
    assert_memory_equal(end - 8, "000000\r\n", 8);
    template_free(t);
}

static void a_set_has_its_value(void **state)
{
    (void)state;
    struct template_fill f = fill(5, 5);
    expect(template_resp_set(&f), 12, "*3\r\n$3\r\nSET\r\n$10\r\nkey:000012\r\n$5\r\nabcde\r\n");
    f = fill(0, 0);
    expect(template_resp_set(&f), 12, "*3\r\n$3\r\nSET\r\n$10\r\nkey:000012\r\n$0\r\n\r\n");
}

static void a_set_may_expire(void **state)
{
    (void)state;
    struct template_fill f = fill(2, 2);
    f.ttl_s = (struct spread){.kind = SPREAD_FIXED, .low = 60, .high = 60};
    expect(template_resp_set(&f), 1,
           "*5\r\n$3\r\nSET\r\n$10\r\nkey:000001\r\n$2\r\nab\r\n$2\r\nEX\r\n$2\r\n60\r\n");
    f.ttl_s = (struct spread){.kind = SPREAD_FIXED, .low = 3600, .high = 3600};
    expect(template_resp_set(&f), 1,
           "*5\r\n$3\r\nSET\r\n$10\r\nkey:000001\r\n$2\r\nab\r\n$2\r\nEX\r\n$4\r\n3600\r\n");
}

static void memcached_has_its_own_words(void **state)
{
    (void)state;
    struct template_fill f = fill(5, 5);
    expect(template_memcached_get(&f), 3, "get key:000003\r\n");
    expect(template_memcached_set(&f), 3, "set key:000003 0 0 5\r\nabcde\r\n");
    f.ttl_s = (struct spread){.kind = SPREAD_FIXED, .low = 60, .high = 60};
    expect(template_memcached_set(&f), 3, "set key:000003 0 60 5\r\nabcde\r\n");
}

static void each_key_of_a_command_is_a_draw_of_its_own(void **state)
{
    (void)state;
    struct template_fill f = fill(2, 2);
    const struct str words[] = {STR("MSET"), STR("{t}__key__"), STR("__value__"), STR("__key__:x"),
                                STR("<__value__>")};
    expect(template_resp_command(&f, words, 5), 8,
           "*5\r\n$4\r\nMSET\r\n$13\r\n{t}key:000008\r\n$2\r\nab\r\n$12\r\nkey:000009:x\r\n$4\r\n<ab>\r\n");
}

static void a_word_may_hold_both_several_times(void **state)
{
    (void)state;
    struct template_fill f = fill(1, 1);
    const struct str words[] = {STR("__key____value____key__"), STR("a_key_value")};
    expect(template_resp_command(&f, words, 2), 1,
           "*2\r\n$21\r\nkey:000001akey:000002\r\n$11\r\na_key_value\r\n");
}

static void a_command_without_holes_is_itself(void **state)
{
    (void)state;
    struct template_fill f = fill(1, 1);
    const struct str words[] = {STR("PING"), STR("")};
    expect(template_resp_command(&f, words, 2), 1, "*2\r\n$4\r\nPING\r\n$0\r\n\r\n");
}

/* The number after the last `mark` before `end`. */
static size_t number_after(const char *start, const char *end, char mark)
{
    const char *p = memrchr(start, mark, (size_t)(end - start));
    size_t n = 0;
    for (p++; *p >= '0' && *p <= '9'; p++)
        n = n * 10 + (size_t)(*p - '0');
    return n;
}

static void a_value_that_varies_announces_its_length(void **state)
{
    (void)state;
    struct template_fill f = fill(0, 26);
    struct template *set = template_resp_set(&f), *mc = template_memcached_set(&f);
    struct keydist keys;
    struct rng rng;
    bool seen[27] = {false};
    rng_init(&rng, 9);
    keydist_sequential(&keys, 1000, 0);
    for (int i = 0; i < 2000; i++) {
        char out[256];
        bool memcached = i % 2;
        char *end = template_render(memcached ? mc : set, out, &keys, &rng);
        size_t n = number_after(out, end, memcached ? ' ' : '$');
        assert_true(n <= 26);
        seen[n] = true;
        assert_memory_equal(end - 2, "\r\n", 2);
        assert_memory_equal(end - 2 - n, bytes, n);
        assert_memory_equal(end - 4 - n, "\r\n", 2);
        assert_true((size_t)(end - out) <= template_size_max(memcached ? mc : set));
    }
    for (int n = 0; n <= 26; n++)
        assert_true(seen[n]);
    template_free(set);
    template_free(mc);
}

/* Values of one word share one size, and the word's length counts the rest too. */
static void a_varying_word_counts_everything_in_it(void **state)
{
    (void)state;
    struct template_fill f = fill(1, 20);
    const struct str words[] = {STR("X"), STR("__value__=__key__=__value__")};
    struct template *t = template_resp_command(&f, words, 2);
    struct keydist keys;
    struct rng rng;
    char out[256];
    rng_init(&rng, 9);
    keydist_sequential(&keys, 1000, 0);
    for (int i = 0; i < 100; i++) {
        char *end = template_render(t, out, &keys, &rng);
        size_t n = number_after(out, end, '$');
        assert_true((size_t)(end - out) <= template_size_max(t));
        assert_memory_equal(end - 4 - n, "\r\n", 2);
        assert_memory_equal(end - 2, "\r\n", 2);
        assert_int_equal((n - 12) % 2, 0);
        size_t value = (n - 12) / 2;
        assert_memory_equal(end - 2 - value, bytes, value);
        assert_memory_equal(end - 2 - n, bytes, value);
        assert_int_equal(end[-2 - (ptrdiff_t)n + (ptrdiff_t)value], '=');
    }
    template_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_get_has_its_key),
        cmocka_unit_test(digits_of_the_last_request_are_gone),
        cmocka_unit_test(a_set_has_its_value),
        cmocka_unit_test(a_set_may_expire),
        cmocka_unit_test(memcached_has_its_own_words),
        cmocka_unit_test(each_key_of_a_command_is_a_draw_of_its_own),
        cmocka_unit_test(a_word_may_hold_both_several_times),
        cmocka_unit_test(a_command_without_holes_is_itself),
        cmocka_unit_test(a_value_that_varies_announces_its_length),
        cmocka_unit_test(a_varying_word_counts_everything_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
