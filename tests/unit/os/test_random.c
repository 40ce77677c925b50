#include "unit/unit.h"

#include "os/random.h"

#include <string.h>

static void every_byte_is_filled_and_nothing_beyond(void **state)
{
    for (size_t n = 0; n < 600; n += 7) {
        unsigned char p[608], ever[608] = {0};
        for (int round = 0; round < 40; round++) { /* a byte that stays 0 by chance: 256^-40 */
            memset(p, 0, sizeof p);
            os_random(p, n);
            for (size_t i = 0; i < n; i++)
                ever[i] |= p[i];
            for (size_t i = n; i < sizeof p; i++)
                assert_int_equal(p[i], 0);
        }
        for (size_t i = 0; i < n; i++)
            assert_int_not_equal(ever[i], 0);
    }
}

static void hex_is_lower_case_and_ends(void **state)
{
    char id[42], other[42], seen[256] = {0};
    memset(id, 'Z', sizeof id);
    os_random_hex(id, 40);
    os_random_hex(other, 40);
    assert_int_equal(id[40], 0);
    assert_int_equal(id[41], 'Z');
    assert_int_equal(strspn(id, "0123456789abcdef"), 40);
    assert_string_not_equal(id, other);
    for (int round = 0; round < 100; round++) {
        os_random_hex(id, 40);
        for (int i = 0; i < 40; i++)
            seen[(unsigned char)id[i]] = 1;
    }
    for (const char *digit = "0123456789abcdef"; *digit != '\0'; digit++)
        assert_int_equal(seen[(unsigned char)*digit], 1);
    os_random_hex(id, 0);
    assert_int_equal(id[0], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_is_filled_and_nothing_beyond),
        cmocka_unit_test(hex_is_lower_case_and_ends),
    };
    return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
