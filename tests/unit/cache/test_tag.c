/* Purged tags: exact while they fit, too much when they do not. */
#include "unit.h"

#include "cache/meta.h"
#include "cache/tag.h"

static void purges_are_remembered(void **state)
{
    struct tags t;
    assert_int_equal(tags_init(&t, 16), 0);
    assert_int_equal(tags_purged(&t, 5).hard, 0);
    tags_purge(&t, 5, 10, false);
    tags_purge(&t, 5, 12, true);
    assert_int_equal(tags_purged(&t, 5).hard, 10);
    assert_int_equal(tags_purged(&t, 5).soft, 12);
    assert_int_equal(tags_purged(&t, 6).hard, 0);
    tags_purge(&t, 5, 4, false); /* late: takes nothing back */
    assert_int_equal(tags_purged(&t, 5).hard, 10);
    tags_release(&t);
}

static void forgetting_only_invalidates_too_much(void **state)
{
    enum { MANY = 1000 };
    struct tags t;
    assert_int_equal(tags_init(&t, 4), 0);
    for (uint64_t i = 1; i <= MANY; i++)
        tags_purge(&t, i, i, i % 3 == 0);
    assert_true(t.forgotten >= MANY - 4 * TAG_WAYS);
    for (uint64_t i = 1; i <= MANY; i++) {
        struct tag_purged p = tags_purged(&t, i);
        assert_true((i % 3 == 0 ? p.soft : p.hard) >= i);
        assert_true(p.hard <= MANY && p.soft <= MANY); /* what is born now is valid */
    }
    tags_release(&t);
}

static void names_are_never_no_tag(void **state)
{
    assert_int_not_equal(meta_tag_hash(STR("")), 0);
    assert_int_not_equal(meta_tag_hash(STR("a")), meta_tag_hash(STR("b")));
    assert_int_equal(meta_tag_hash(STR("a")), meta_tag_hash(STR("a")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(purges_are_remembered),
        cmocka_unit_test(forgetting_only_invalidates_too_much),
        cmocka_unit_test(names_are_never_no_tag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
