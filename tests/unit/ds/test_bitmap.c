/* Bit rows against the obvious way: one bit at a time. */
#include "unit.h"

#include "base/annotate.h"
#include "base/rng.h"
#include "ds/bitmap.h"

#include <stdlib.h>

enum { BYTES_MAX = 200, ROUNDS = 4000 };

static struct rng rng;

static unsigned bit_at(const uint8_t *p, size_t n, uint64_t i)
{
    return i / 8 < n ? p[i / 8] >> (7 - i % 8) & 1u : 0;
}

/* Long runs of equal bits, which searching skips by words, mixed with noise. The copy has no
 * byte to spare, so that a read beyond the end is found. */
static uint8_t *random_bytes(size_t n)
{
    uint8_t *p = malloc(n > 0 ? n : 1);
    assert_non_null(p);
    for (size_t i = 0; i < n;) {
        size_t run = rng_below(&rng, 40) + 1;
        uint64_t kind = rng_below(&rng, 3);
        for (; run > 0 && i < n; run--, i++)
            p[i] = kind == 0 ? 0 : kind == 1 ? 0xff : (uint8_t)rng_u64(&rng);
    }
    return p;
}

static void counts_every_range(void **state)
{
    for (int round = 0; round < ROUNDS; round++) {
        size_t n = 1 + rng_below(&rng, BYTES_MAX);
        uint8_t *p = random_bytes(n);
        uint64_t first = rng_below(&rng, n * 8), last = first + rng_below(&rng, n * 8 - first);
        uint64_t all = 0, part = 0;
        for (uint64_t i = 0; i < n * 8; i++) {
            all += bit_at(p, n, i);
            part += i >= first && i <= last ? bit_at(p, n, i) : 0;
        }
        assert_int_equal(bitmap_count(p, n), all);
        assert_int_equal(bitmap_count_range(p, first, last), part);
        free(p);
    }
    assert_int_equal(bitmap_count("", 0), 0);
}

static void finds_the_first(void **state)
{
    for (int round = 0; round < ROUNDS; round++) {
        size_t n = 1 + rng_below(&rng, BYTES_MAX);
        uint8_t *p = random_bytes(n);
        uint64_t first = rng_below(&rng, n * 8), last = first + rng_below(&rng, n * 8 - first);
        for (unsigned bit = 0; bit < 2; bit++) {
            int64_t want = -1;
            for (uint64_t i = first; i <= last && want < 0; i++)
                if (bit_at(p, n, i) == bit)
                    want = (int64_t)i;
            assert_int_equal(bitmap_find(p, first, last, bit), want);
        }
        free(p);
    }
}

static unsigned combined(enum bitmap_op op, const struct str *src, uint32_t nsrc, uint64_t i)
{
    unsigned bit = bit_at((const uint8_t *)src[0].p, src[0].n, i);
    for (uint32_t k = 1; k < nsrc; k++) {
        unsigned other = bit_at((const uint8_t *)src[k].p, src[k].n, i);
        bit = op == BITMAP_AND ? bit & other : op == BITMAP_OR ? bit | other : bit ^ other;
    }
    return op == BITMAP_NOT ? !bit : bit;
}

static void check_combination(enum bitmap_op op, uint32_t nsrc, size_t max)
{
    enum { SOURCES_MAX = 6 };
    struct str src[SOURCES_MAX];
    size_t n = 0;
    for (uint32_t k = 0; k < nsrc; k++) {
        src[k].n = rng_below(&rng, max);
        src[k].p = (char *)random_bytes(src[k].n);
        n = src[k].n > n ? src[k].n : n;
    }
    char *dst = malloc(n > 0 ? n : 1);
    assert_non_null(dst);
    bitmap_combine(op, dst, n, src, nsrc);
    for (uint64_t i = 0; i < n * 8; i++)
        if (bit_at((uint8_t *)dst, n, i) != combined(op, src, nsrc, i))
            fail_msg("operation %d of %u sources, bit %lu", op, nsrc, (unsigned long)i);
    for (uint32_t k = 0; k < nsrc; k++)
        free((void *)src[k].p);
    free(dst);
}

static void combines(void **state)
{
    for (int round = 0; round < ROUNDS / 4; round++)
        for (enum bitmap_op op = BITMAP_AND; op <= BITMAP_NOT; op++)
            check_combination(op, op == BITMAP_NOT ? 1 : 1 + (uint32_t)rng_below(&rng, 6), BYTES_MAX);
    /* Longer than the pieces in which it is done. */
    for (enum bitmap_op op = BITMAP_AND; op <= BITMAP_NOT; op++)
        check_combination(op, op == BITMAP_NOT ? 1 : 3, 100000);
}

static void reads_and_writes_fields(void **state)
{
    for (int round = 0; round < ROUNDS * 4; round++) {
        size_t n = 1 + rng_below(&rng, 24);
        uint8_t *p = random_bytes(n), before[24];
        memcpy(before, p, n);
        unsigned bits = 1 + (unsigned)rng_below(&rng, 64);
        uint64_t offset = rng_below(&rng, n * 8 + 100), want = 0;
        for (unsigned i = 0; i < bits; i++)
            want = want << 1 | bit_at(p, n, offset + i);
        assert_int_equal(bitmap_field_get(p, n, offset, bits), want);
        if (offset + bits <= n * 8) {
            uint64_t value = rng_u64(&rng);
            bitmap_field_set(p, offset, bits, value);
            for (uint64_t i = 0; i < n * 8; i++) {
                bool inside = i >= offset && i < offset + bits;
                unsigned bit = inside ? value >> (bits - 1 - (i - offset)) & 1u : bit_at(before, n, i);
                assert_int_equal(bit_at(p, n, i), bit);
            }
        }
        free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_every_range),
        cmocka_unit_test(finds_the_first),
        cmocka_unit_test(combines),
        cmocka_unit_test(reads_and_writes_fields),
    };
    rng_init(&rng, 20);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
