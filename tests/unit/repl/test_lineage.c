/* Which of two copies of a data set is the older one, and what others say of theirs. */
#include "unit.h"

#include "base/annotate.h"
#include "repl/lineage.h"

#include <string.h>

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static void epochs_order_copies_of_one_data_set(void **state)
{
    struct lineage old, now, other, unknown;
    lineage_begin(&old, A);
    lineage_begin(&now, A);
    lineage_begin(&other, B);
    lineage_forget(&unknown);
    assert_false(lineage_is_older(&old, &now));
    lineage_rise(&now, B); /* it has its name already */
    assert_true(lineage_is_older(&old, &now));
    assert_false(lineage_is_older(&now, &old));
    assert_false(lineage_is_older(&other, &now));
    assert_false(lineage_is_older(&unknown, &now));
    assert_false(lineage_is_older(&old, &unknown));
    lineage_rise(&unknown, B);
    assert_false(lineage_is_older(&unknown, &other) || lineage_is_older(&other, &unknown));
}

static void text_and_note_survive(void **state)
{
    struct lineage l, back;
    char text[LINEAGE_TEXT], note[LINEAGE_NOTE];
    lineage_begin(&l, A);
    l.epoch = UINT64_MAX;
    lineage_rise(&l, A); /* there is no higher one */
    assert_true(lineage_parse((struct str){text, lineage_put(&l, text)}, &back));
    assert_true(strcmp(back.dataset, A) == 0 && back.epoch == UINT64_MAX);
    uint32_t n = lineage_put_note(&l, note);
    assert_true(n <= sizeof note && lineage_take_note((struct str){note, n}, &back));
    assert_true(back.epoch == UINT64_MAX);
    for (uint32_t i = 0; i < n - 20; i++) /* what is cut behind the first digit is a smaller number */
        assert_false(lineage_take_note((struct str){note, i}, &back));
    lineage_forget(&l);
    assert_int_equal(lineage_put(&l, text), 0);
}

static void hostile_texts(void **state)
{
    static const char *const bad[] = {"",      A,          A " ",   A " 0",
                                      A " -1", A " x",     A " 1 ", A " 18446744073709551616",
                                      A "1 1", "A" A " 1", "zz" A};
    struct lineage l;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        lineage_begin(&l, A);
        assert_false(lineage_parse(str_of(bad[i]), &l));
        assert_int_equal(l.epoch, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(epochs_order_copies_of_one_data_set),
        cmocka_unit_test(text_and_note_survive),
        cmocka_unit_test(hostile_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
