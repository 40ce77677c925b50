/* Intsets against a sorted array. */
#include "unit.h"

#include "base/annotate.h"
#include "base/rng.h"
#include "ds/intset.h"

#include <stdlib.h>

enum { NUMBERS_MAX = 300, STEPS = 300000 };

static struct rng rng;

struct model {
    int64_t v[NUMBERS_MAX];
    uint32_t n;
};

static uint32_t place(const struct model *m, int64_t v)
{
    uint32_t i = 0;
    while (i < m->n && m->v[i] < v)
        i++;
    return i;
}

/* Few different ones of each width, so that additions and removals meet. */
static int64_t random_number(void)
{
    static const unsigned widths[] = {4, 8, 16, 32, 48, 64};
    int64_t v = (int64_t)(rng_u64(&rng) >> (64 - widths[rng_below(&rng, ARRAY_LEN(widths))]));
    v &= rng_below(&rng, 3) == 0 ? -1 : ~0xfff0L;
    return rng_below(&rng, 2) == 0 ? v : v == INT64_MIN ? v : -v;
}

static void compare(const char *is, const struct model *m)
{
    assert_int_equal(intset_count(is), m->n);
    assert_true(intset_validate(is, intset_bytes(is)));
    for (uint32_t i = 0; i < m->n; i++)
        assert_int_equal(intset_at(is, i), m->v[i]);
}

static void does_what_an_array_does(void **state)
{
    struct model m = {.n = 0};
    char *is = malloc(INTSET_EMPTY);
    assert_non_null(is);
    intset_init(is);
    for (unsigned step = 0; step < STEPS; step++) {
        int64_t v = rng_below(&rng, 4) == 0 && m.n > 0 ? m.v[rng_below(&rng, m.n)] : random_number();
        uint32_t i = place(&m, v);
        bool there = i < m.n && m.v[i] == v;
        assert_int_equal(intset_has(is, v), there);
        if (m.n < NUMBERS_MAX && rng_below(&rng, 2) == 0) {
            is = realloc(is, intset_room(is, v));
            assert_non_null(is);
            assert_int_equal(intset_add(is, v), !there);
            if (!there) {
                memmove(&m.v[i + 1], &m.v[i], (m.n - i) * sizeof m.v[0]);
                m.v[i] = v;
                m.n++;
            }
        } else {
            assert_int_equal(intset_remove(is, v), there);
            if (there) {
                m.n--;
                memmove(&m.v[i], &m.v[i + 1], (m.n - i) * sizeof m.v[0]);
            }
        }
        if (step % 64 == 0)
            compare(is, &m);
    }
    compare(is, &m);
    free(is);
}

/* SADD s 1 2 300 -70000 5000000000, DUMPed by redis-server 7.0.15. */
static void equals_what_redis_writes(void **state)
{
    static const char written[] =
        "\x08\0\0\0\x05\0\0\0\x90\xee\xfe\xff\xff\xff\xff\xff\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0"
        "\0\x2c\x01\0\0\0\0\0\0\0\xf2\x05\x2a\x01\0\0\0";
    static const int64_t numbers[] = {1, 2, 300, -70000, 5000000000};
    char is[sizeof written];
    intset_init(is);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        assert_true(intset_room(is, numbers[i]) <= sizeof is);
        assert_true(intset_add(is, numbers[i]));
    }
    assert_int_equal(intset_bytes(is), sizeof written - 1);
    assert_memory_equal(is, written, sizeof written - 1);
}

static void refuses_what_is_none(void **state)
{
    assert_true(intset_validate("\2\0\0\0\0\0\0\0", 8));
    assert_true(intset_validate("\2\0\0\0\2\0\0\0\xff\xff\1\0", 12));
    assert_false(intset_validate("\2\0\0\0\0\0\0", 7));
    assert_false(intset_validate("\3\0\0\0\0\0\0\0", 8));
    assert_false(intset_validate("\2\0\0\0\1\0\0\0", 8));
    assert_false(intset_validate("\2\0\0\0\2\0\0\0\1\0\1\0", 12));     /* twice */
    assert_false(intset_validate("\2\0\0\0\2\0\0\0\1\0\xff\xff", 12)); /* falling */
    assert_false(intset_validate("\x08\0\0\0\0\0\0\x20", 8));          /* 2^29 of 8 bytes */
    assert_false(intset_validate("\x08\0\0\0\xff\xff\xff\xff", 8));
}

int main(void)
{
    rng_init(&rng, 11);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(does_what_an_array_does),
        cmocka_unit_test(equals_what_redis_writes),
        cmocka_unit_test(refuses_what_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
