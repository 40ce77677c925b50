/* The extension's bytes: what is written is read, and nothing else is. */
#include "unit.h"

#include "cache/meta.h"

static void what_is_written_is_read(void **state)
{
    struct meta m = {.flags = META_VERSION,
                     .delta_ms = 5,
                     .fresh_ms = 6,
                     .set_ms = 7,
                     .born = 8,
                     .version = 9,
                     .ntags = 2,
                     .tags = {10, 11}};
    struct meta back;
    char bytes[META_SIZE_MAX];
    uint32_t n = meta_write(&m, bytes);
    assert_int_equal(n, 32 + 8 + 16);
    assert_true(meta_parse((struct str){bytes, n}, &back));
    assert_int_equal(back.flags, META_VERSION);
    assert_int_equal(back.delta_ms, 5);
    assert_int_equal(back.fresh_ms, 6);
    assert_int_equal(back.set_ms, 7);
    assert_int_equal(back.born, 8);
    assert_int_equal(back.version, 9);
    assert_int_equal(back.ntags, 2);
    assert_int_equal(back.tags[1], 11);
}

static void nothing_else_is_read(void **state)
{
    struct meta m = {.ntags = META_TAGS_MAX}, back;
    char bytes[META_SIZE_MAX];
    uint32_t n = meta_write(&m, bytes);
    for (uint32_t i = 0; i < n; i++)
        assert_false(meta_parse((struct str){bytes, i}, &back));
    assert_true(meta_parse((struct str){bytes, n}, &back));
    bytes[0] |= (char)0x40; /* a flag of tomorrow */
    assert_false(meta_parse((struct str){bytes, n}, &back));
    bytes[0] = 0;
    bytes[2] = (char)(META_TAGS_MAX + 1);
    assert_false(meta_parse((struct str){bytes, n}, &back));
}

static void hidden_says_so(void **state)
{
    char bytes[META_SIZE_MAX];
    const struct meta negative = {.flags = META_NEGATIVE}, stale = {.flags = META_STALE},
                      plain = {.flags = 0};
    meta_write(&negative, bytes);
    assert_true(bytes[0] & EXT_HIDDEN);
    meta_write(&stale, bytes);
    assert_true(bytes[0] & EXT_HIDDEN);
    meta_write(&plain, bytes);
    assert_false(bytes[0] & EXT_HIDDEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(nothing_else_is_read),
        cmocka_unit_test(hidden_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
