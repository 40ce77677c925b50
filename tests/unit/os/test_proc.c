#include "unit.h"

#include "base/err.h"
#include "os/proc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/larder-proc-XXXXXX";

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fputs(text, f) < 0, 0);
    assert_int_equal(fclose(f), 0);
}

static int64_t number(const char *text, unsigned field)
{
    int64_t n = -1;
    write_file(text);
    assert_int_equal(proc_number(path, field, &n), 0);
    return n;
}

static int refused(const char *text, unsigned field)
{
    int64_t n = 77;
    write_file(text);
    int err = proc_number(path, field, &n);
    assert_int_equal(n, 77);
    return err;
}

static void finds_the_word(void **state)
{
    assert_int_equal(number("4096\n", 0), 4096);
    assert_int_equal(number("4096", 0), 4096);
    assert_int_equal(number("10 20 30\n", 0), 10);
    assert_int_equal(number("10 20 30\n", 1), 20);
    assert_int_equal(number("10\t 20  -30\n", 2), -30);
    assert_int_equal(number("  7\n8\n", 0), 7);
}

static void refuses_what_is_no_number(void **state)
{
    assert_int_equal(refused("", 0), ERR_SYNTAX);
    assert_int_equal(refused("\n5\n", 0), ERR_SYNTAX);
    assert_int_equal(refused("max\n", 0), ERR_SYNTAX);
    assert_int_equal(refused("10 20\n", 2), ERR_SYNTAX);
    assert_int_equal(refused("10\n20\n", 1), ERR_SYNTAX);
    assert_int_equal(refused("99999999999999999999\n", 0), ERR_SYNTAX);
}

static void a_long_line_is_cut_not_overrun(void **state)
{
    char text[3 * PROC_LINE_MAX];
    memset(text, ' ', sizeof text);
    text[0] = '5';
    memcpy(text + sizeof text - 3, "6\n", 3);
    assert_int_equal(number(text, 0), 5);
    assert_int_equal(refused(text, 1), ERR_SYNTAX);
}

static void a_missing_file_is_said(void **state)
{
    int64_t n;
    assert_int_equal(proc_number("/proc/no/such/file", 0, &n), ERR_IO);
}

static void the_kernel_is_read(void **state)
{
    int64_t resident = 0;
    assert_int_equal(proc_number("/proc/self/statm", 1, &resident), 0);
    assert_true(resident > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_word),
        cmocka_unit_test(refuses_what_is_no_number),
        cmocka_unit_test(a_long_line_is_cut_not_overrun),
        cmocka_unit_test(a_missing_file_is_said),
        cmocka_unit_test(the_kernel_is_read),
    };
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
