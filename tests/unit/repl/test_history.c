/* Which history covers which place, and what the record on disk says about data that came back. */
#include "unit.h"

#include "base/err.h"
#include "repl/history.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C "cccccccccccccccccccccccccccccccccccccccc"

static void a_branch_covers_what_it_continues(void **state)
{
    struct history h;
    history_init(&h, A);
    history_branch(&h, B, 100);
    assert_true(history_covers(&h, STR(B), 500));
    assert_true(history_covers(&h, STR(A), 101));
    assert_false(history_covers(&h, STR(A), 102));
    assert_false(history_covers(&h, STR(C), 1));
}

static void the_record_survives(void **state)
{
    struct history_record r = {.offset = 1234, .keys = 7}, back;
    struct buf b;
    buf_init(&b);
    history_init(&r.history, A);
    history_branch(&r.history, B, 1000);
    assert_int_equal(history_format(&b, &r), 0);
    assert_int_equal(history_parse(buf_str(&b), &back), 0);
    assert_true(back.offset == 1234 && back.keys == 7 && back.history.second == 1001);
    assert_string_equal(back.history.id, B);
    assert_string_equal(back.history.id2, A);
    for (size_t n = 0; n < b.n; n++)
        assert_int_equal(history_parse((struct str){b.p, n}, &back), ERR_CORRUPT);
    buf_release(&b);
}

static void who_was_ahead(void **state)
{
    struct history_record r = {.offset = 1234, .keys = 7};
    struct history_place same = {A, 1234, 0}, behind = {B, 1233, 0}, other = {C, 9999, 0};
    history_init(&r.history, A);
    history_branch(&r.history, B, 1000);
    assert_false(
        history_was_ahead(&r, &same)); /* under the id that it had before: nothing was written since */
    assert_true(history_was_ahead(&r, &behind));
    assert_true(history_was_ahead(&r, &other));
    assert_true(history_was_ahead(&r, NULL));
    r.keys = 0; /* there was nothing to lose */
    assert_false(history_was_ahead(&r, &behind));
    assert_false(history_was_ahead(&r, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_branch_covers_what_it_continues),
        cmocka_unit_test(the_record_survives),
        cmocka_unit_test(who_was_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
