/* What stands in front of a value on plain Redis. */
#include "unit/unit.h"

#include "client/envelope.h"

#include <math.h>

static struct str framed(char *buf, const struct envelope *e, const char *value)
{
    envelope_put(buf, e);
    memcpy(buf + LARDER_ENVELOPE_BYTES, value, strlen(value) + 1);
    return (struct str){buf, LARDER_ENVELOPE_BYTES + strlen(value)};
}

static void looks_as_the_header_says(void **state)
{
    char buf[LARDER_ENVELOPE_BYTES + 1];
    const struct envelope e = {ENVELOPE_VALUE, 7, 60000, 0, 12, {"", 0}};
    envelope_put(buf, &e);
    assert_string_equal(buf,
                        "larder1:v:00000000000000000007:0000000000060000:0000000000000000:0000000000000012:"
                        "0000000000000000:0000000000000000\n");
}

static void reads_what_it_wrote(void **state)
{
    char buf[LARDER_ENVELOPE_BYTES + 16];
    static const struct envelope all[] = {{ENVELOPE_VALUE, 0, 0, 0, 0, {"", 0}},
                                          {ENVELOPE_NEGATIVE, UINT64_MAX, 9999999999999999, 1, 2, {"", 0}},
                                          {ENVELOPE_LOADING, 1, 2, 3, 4, {"", 0}},
                                          {ENVELOPE_HELD, INT64_MAX, 0, 9999999999999999, 0, {"", 0}}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct envelope e;
        struct str rest;
        assert_true(envelope_read(framed(buf, &all[i], "the value"), &e, &rest));
        assert_int_equal(e.kind, all[i].kind);
        assert_true(e.version == all[i].version);
        assert_true(e.grace_ms == all[i].grace_ms && e.extra_ms == all[i].extra_ms);
        assert_true(e.delta_ms == all[i].delta_ms);
        assert_true(str_eq(rest, STR("the value")));
        assert_true(envelope_read(framed(buf, &all[i], ""), &e, &rest));
        assert_int_equal(rest.n, 0);
    }
}

static void cuts_numbers_that_do_not_fit(void **state)
{
    char buf[LARDER_ENVELOPE_BYTES + 1];
    struct envelope e = {ENVELOPE_VALUE, 0, INT64_MAX, -5, INT64_MIN, {"", 0}}, back;
    struct str rest;
    envelope_put(buf, &e);
    assert_true(envelope_read((struct str){buf, LARDER_ENVELOPE_BYTES}, &back, &rest));
    assert_int_equal(back.grace_ms, 9999999999999999);
    assert_int_equal(back.extra_ms, 0);
    assert_int_equal(back.delta_ms, 0);
}

/* Any byte changed: another envelope, or a plain value; never a crash. And no prefix is an envelope. */
static void anything_else_is_a_plain_value(void **state)
{
    char buf[LARDER_ENVELOPE_BYTES + 16];
    const struct envelope good = {ENVELOPE_VALUE, 7, 60000, 5, 12, {"", 0}};
    struct envelope e;
    struct str rest, whole = framed(buf, &good, "v");
    for (size_t n = 0; n < LARDER_ENVELOPE_BYTES; n++)
        assert_false(envelope_read((struct str){buf, n}, &e, &rest));
    for (size_t at = 0; at < 82; at++) { /* beyond are the lease's, which readers do not read */
        char kept = buf[at];
        buf[at] = '#';
        assert_false(envelope_read(whole, &e, &rest));
        buf[at] = kept;
    }
    memset(buf + 10, '9', 20); /* a version beyond 64 bits */
    assert_false(envelope_read(whole, &e, &rest));
}

static void tags_stand_between_envelope_and_value(void **state)
{
    char head[LARDER_ENVELOPE_BYTES + 1], longest[LARDER_TAG_BYTES];
    memset(longest, 'x', sizeof longest);
    const struct envelope_tag tags[] = {{STR("red"), "0123456789abcdef"},
                                        {STR("a:b\n"), "ffffffffffffffff"},
                                        {{longest, sizeof longest}, "0000000000000001"}};
    struct buf b;
    struct envelope e = {ENVELOPE_VALUE, 7, 0, 0, 0, STR("any")};
    struct envelope_tag tag;
    struct str rest;
    buf_init(&b);
    envelope_put(head, &e);
    assert_int_equal(head[9], '+');
    assert_int_equal(buf_append(&b, head, LARDER_ENVELOPE_BYTES), 0);
    assert_int_equal(envelope_put_tags(&b, tags, 3), 0);
    size_t until = b.n;
    assert_int_equal(buf_puts(&b, STR("value")), 0);
    assert_true(envelope_read(buf_str(&b), &e, &rest));
    assert_str(rest, STR("value"));
    assert_int_equal(e.tags.n, until - LARDER_ENVELOPE_BYTES);
    struct str left = envelope_tag_entries(e.tags);
    for (size_t i = 0; i < 3; i++) {
        assert_true(envelope_next_tag(&left, &tag));
        assert_str(tag.name, tags[i].name);
        assert_string_equal(tag.token, tags[i].token);
    }
    assert_false(envelope_next_tag(&left, &tag));
    for (size_t n = LARDER_ENVELOPE_BYTES; n < until; n++) /* cut anywhere it is none */
        assert_false(envelope_read((struct str){b.p, n}, &e, &rest));
    static const unsigned char places[] = {0, 8, 9 + 16, 9 + 19}; /* lengths and what ends them */
    for (size_t i = 0; i < sizeof places; i++) {
        char *at = b.p + LARDER_ENVELOPE_BYTES + places[i], kept = *at;
        *at = '9';
        assert_false(envelope_read(buf_str(&b), &e, &rest));
        *at = kept;
    }
    buf_release(&b);
}

static void versions_sort_as_text(void **state)
{
    char a[21], b[21];
    envelope_put_version(a, 9);
    envelope_put_version(b, 10);
    assert_true(strcmp(a, b) < 0);
    envelope_put_version(a, (uint64_t)1 << 53);
    envelope_put_version(b, ((uint64_t)1 << 53) + 1);
    assert_true(strcmp(a, b) < 0);
}

static void deadlines_are_the_servers(void **state)
{
    struct envelope e = {ENVELOPE_VALUE, 3, 1000, 200, 0, {"", 0}};
    assert_true(envelope_is_fresh(&e, 1001, 0));
    assert_false(envelope_is_fresh(&e, 1000, 0));
    assert_true(envelope_is_usable(&e, 201));
    assert_false(envelope_is_usable(&e, 200)); /* the rest is a stretch for the lease */
    assert_false(envelope_is_usable(&e, -2));
    assert_true(envelope_is_fresh(&e, -1, 0));
    assert_true(envelope_is_fresh(&e, 1001, 3));
    assert_false(envelope_is_fresh(&e, 1001, 4));
    e.kind = ENVELOPE_LOADING;
    assert_false(envelope_is_usable(&e, 5000));
    e.kind = ENVELOPE_HELD;
    assert_false(envelope_is_usable(&e, 5000));
}

/* At beta 1 and remaining time t the chance is e^(-t/delta). */
static void early_refresh_has_its_distribution(void **state)
{
    const int64_t delta = 100;
    struct envelope e = {ENVELOPE_VALUE, 0, 0, 0, delta, {"", 0}};
    for (int64_t left = 10; left <= 400; left += 30) {
        int early = 0, n = 10000;
        for (int i = 1; i <= n; i++)
            early += envelope_is_early(&e, left, 1.0, (double)i / n);
        double wanted = exp(-(double)left / (double)delta);
        assert_true(fabs((double)early / n - wanted) < 0.001);
    }
    assert_false(envelope_is_early(&e, 1, 0, 1e-9));
    assert_false(envelope_is_early(&e, -1, 1, 1e-9));
    e.delta_ms = 0;
    assert_false(envelope_is_early(&e, 1, 1, 1e-9));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(looks_as_the_header_says),
        cmocka_unit_test(reads_what_it_wrote),
        cmocka_unit_test(cuts_numbers_that_do_not_fit),
        cmocka_unit_test(anything_else_is_a_plain_value),
        cmocka_unit_test(tags_stand_between_envelope_and_value),
        cmocka_unit_test(versions_sort_as_text),
        cmocka_unit_test(deadlines_are_the_servers),
        cmocka_unit_test(early_refresh_has_its_distribution),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
