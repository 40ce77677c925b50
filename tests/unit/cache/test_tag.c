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

static void everything_is_a_purge_of_its_own(void **state)
{
    struct tags t;
    assert_int_equal(tags_init(&t, 4), 0);
    tags_purge(&t, 0, 7, true);
    tags_purge(&t, 0, 5, false);
    tags_purge(&t, 0, 4, false);
    assert_true(tags_purged(&t, 0).soft == 7 && tags_purged(&t, 0).hard == 5);
    assert_true(tags_purged(&t, 1).soft == 0 && tags_purged(&t, 1).hard == 0);
    tags_release(&t);
}

static void take_tag(void *arg, uint64_t tag, struct tag_purged p)
{
    tags_purge(arg, tag, p.hard, false);
    tags_purge(arg, tag, p.soft, true);
}

static void take_floor(void *arg, uint64_t bucket, struct tag_purged p)
{
    tags_raise_floor(arg, (uint32_t)bucket, p);
}

static void a_copy_knows_no_less(void **state)
{
    enum { MANY = 200 };
    struct tags t, copy;
    assert_int_equal(tags_init(&t, 8), 0);
    assert_int_equal(tags_init(&copy, 8), 0);
    for (uint64_t i = 1; i <= MANY; i++)
        tags_purge(&t, i * 77, i, i % 3 == 0);
    tags_each(&t, 0, 5, take_tag, take_floor, &copy);
    tags_each(&t, 5, 100, take_tag, take_floor, &copy);
    for (uint64_t i = 1; i <= MANY; i++) {
        struct tag_purged was = tags_purged(&t, i * 77), is = tags_purged(&copy, i * 77);
        assert_true(is.hard >= was.hard && is.soft >= was.soft && is.hard <= MANY && is.soft <= MANY);
    }
    tags_release(&t);
    tags_release(&copy);
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
        cmocka_unit_test(everything_is_a_purge_of_its_own),
        cmocka_unit_test(a_copy_knows_no_less),
        cmocka_unit_test(names_are_never_no_tag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
