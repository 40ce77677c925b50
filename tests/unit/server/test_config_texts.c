/* --version, --help and docs/configuration.md, which are made from the table. */
#include "config_test.h"

#define DOCS TEST_SOURCE_ROOT "/docs/configuration.md"

static void version_is_ours(void **state)
{
    struct buf b;
    buf_init(&b);
    assert_int_equal(config_version_text(&b), 0);
    assert_true(str_eq(buf_str(&b), str_of("larder " LARDER_VERSION "\n")));
    buf_release(&b);
}

static void help_lists_what_works(void **state)
{
    struct buf b;
    buf_init(&b);
    assert_int_equal(config_help_text(&b), 0);
    buf_putc(&b, '\0');
    for_each_option(o)
    {
        char line[96];
        snprintf(line, sizeof(line), "\n  --%s ", o->name);
        bool listed = strstr(b.p, line) != NULL;
        assert_true(listed == (o->status == OPTION_IMPLEMENTED));
    }
    assert_non_null(strstr(b.p, "\nNetwork:\n  --bind "));
    assert_null(strstr(b.p, "\nTLS:\n"));
    buf_release(&b);
}

static void the_document_is_up_to_date(void **state)
{
    struct buf now, file;
    buf_init(&now);
    buf_init(&file);
    assert_int_equal(config_docs_text(&now), 0);
    assert_int_equal(config_read_file(DOCS, &file), 0);
    if (!str_eq(buf_str(&now), buf_str(&file)))
        print_error(
            "docs/configuration.md is old: larder-server --dump-config-docs > docs/configuration.md\n");
    assert_true(str_eq(buf_str(&now), buf_str(&file)));
    buf_release(&now);
    buf_release(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_is_ours),
        cmocka_unit_test(help_lists_what_works),
        cmocka_unit_test(the_document_is_up_to_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
