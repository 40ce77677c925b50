/* Requests and the replies that redis-server 7.0.15 gave to them, byte by byte: arguments
 * good and bad, the order of checks, what is left behind. Each list runs on an empty store. */
#include "harness.h"

static void strings(void **state)
{
    static const struct harness_case cases[] = {
#include "cases/strings.inc"
    };
    harness_cases(cases, ARRAY_LEN(cases), 2);
}

static void ranges(void **state)
{
    static const struct harness_case cases[] = {
#include "cases/ranges.inc"
    };
    harness_cases(cases, ARRAY_LEN(cases), 2);
}

static void bits(void **state)
{
    static const struct harness_case cases[] = {
#include "cases/bits.inc"
    };
    harness_cases(cases, ARRAY_LEN(cases), 2);
}

static void bitfield(void **state)
{
    static const struct harness_case cases[] = {
#include "cases/bitfield.inc"
    };
    harness_cases(cases, ARRAY_LEN(cases), 2);
}

static void keys(void **state)
{
    static const struct harness_case cases[] = {
#include "cases/keys.inc"
    };
    harness_cases(cases, ARRAY_LEN(cases), 2);
}

static void expire(void **state)
{
    static const struct harness_case cases[] = {
#include "cases/expire.inc"
    };
    harness_cases(cases, ARRAY_LEN(cases), 2);
}

static void restore_set(void **state)
{
    static const struct harness_case cases[] = {
#include "cases/restore_set.inc"
    };
    harness_cases(cases, ARRAY_LEN(cases), 2);
}

static void object(void **state)
{
    static const struct harness_case cases[] = {
#include "cases/object.inc"
    };
    harness_cases(cases, ARRAY_LEN(cases), 2);
}

static void restore(void **state)
{
    static const struct harness_case cases[] = {
#include "cases/restore.inc"
    };
    harness_cases(cases, ARRAY_LEN(cases), 2);
}

/* What a client that said HELLO 3 gets. */
static void resp3(void **state)
{
    static const struct harness_case cases[] = {
#include "cases/resp3.inc"
    };
    harness_cases(cases, ARRAY_LEN(cases), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings),  cmocka_unit_test(ranges),      cmocka_unit_test(bits),
        cmocka_unit_test(bitfield), cmocka_unit_test(keys),        cmocka_unit_test(expire),
        cmocka_unit_test(object),   cmocka_unit_test(restore_set), cmocka_unit_test(restore),
        cmocka_unit_test(resp3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
