/* Strings of RDB: what we write is Redis's, what we read back is what we wrote, and what
 * nobody honest would write is refused. */
#include "unit.h"

#include "base/annotate.h"
#include "base/err.h"
#include "base/rng.h"
#include "value/rdb_string.h"

#include <stdlib.h>

static struct rng rng;

static void check_put(struct str value, struct str stored)
{
    char buf[256];
    assert_true(rdb_string_room(value.n) <= sizeof buf);
    assert_str(((struct str){buf, rdb_string_put(buf, value, true)}), stored);
}

static void writes_what_redis_writes(void **state)
{
    check_put(STR(""), STR("\x00"));
    check_put(STR("a"), STR("\x01"
                            "a"));
    check_put(STR("0"), STR("\xc0\x00"));
    check_put(STR("-1"), STR("\xc0\xff"));
    check_put(STR("127"), STR("\xc0\x7f"));
    check_put(STR("128"), STR("\xc1\x80\x00"));
    check_put(STR("-129"), STR("\xc1\x7f\xff"));
    check_put(STR("32768"), STR("\xc2\x00\x80\x00\x00"));
    check_put(STR("-2147483648"), STR("\xc2\x00\x00\x00\x80"));
    check_put(STR("2147483648"), STR("\x0a"
                                     "2147483648"));
    check_put(STR("007"), STR("\x03"
                              "007"));
    check_put(STR("aaaaaaaaaaaaaaaaaaaa"), STR("\x14"
                                               "aaaaaaaaaaaaaaaaaaaa"));
}

/* Which matches LZF finds depends on what its table held before, so only this is certain. */
static void compresses_what_is_worth_it(void **state)
{
    char buf[256];
    struct str value = STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    assert_true(rdb_string_put(buf, value, true) < value.n / 2);
    assert_int_equal((unsigned char)buf[0], 0xc3);
    assert_int_equal(rdb_string_put(buf, value, false), value.n + 1);
    assert_int_equal(rdb_string_put(buf, STR("abcdefghijklmnopqrstuvwxyz"), true), 27);
    /* What redis-server 7.0.15 wrote. */
    struct str in = STR("\xc3\x09\x1e\x01"
                        "aa\xe0\x11\x00\x01"
                        "aa");
    struct rdb_string s;
    assert_int_equal(rdb_string_get(&in, 30, &s), 0);
    assert_int_equal(rdb_string_unpack(&s, buf), 0);
    assert_str(((struct str){buf, s.n}), STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

static void lengths_go_there_and_back(void **state)
{
    static const uint64_t lengths[] = {0,     1,          63,         64,         16383,     16384,
                                       65535, 1ULL << 31, UINT32_MAX, 1ULL << 32, UINT64_MAX};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        char buf[RDB_LEN_BYTES_MAX];
        struct str in = {buf, rdb_len_put(buf, lengths[i])};
        size_t bytes = in.n;
        for (size_t cut = 0; cut < bytes; cut++) {
            struct str part = {buf, cut};
            uint64_t n;
            bool encoded;
            assert_int_equal(rdb_len_get(&part, &n, &encoded), ERR_AGAIN);
            assert_int_equal(part.n, cut);
        }
        uint64_t n = 1;
        bool encoded = true;
        assert_int_equal(rdb_len_get(&in, &n, &encoded), 0);
        assert_int_equal(n, lengths[i]);
        assert_false(encoded);
        assert_int_equal(in.n, 0);
    }
}

static void check_round(struct str value, bool compress)
{
    char *buf = malloc(rdb_string_room(value.n)), *back = malloc(value.n + 1);
    assert_non_null(buf);
    assert_non_null(back);
    size_t n = rdb_string_put(buf, value, compress);
    assert_true(n <= rdb_string_room(value.n));
    struct rdb_string s;
    for (size_t cut = 0; cut < n; cut += 1 + cut / 8) {
        struct str part = {buf, cut};
        assert_int_equal(rdb_string_get(&part, SIZE_MAX, &s), ERR_AGAIN);
        assert_int_equal(part.n, cut);
    }
    struct str in = {buf, n};
    assert_int_equal(rdb_string_get(&in, value.n, &s), 0);
    assert_int_equal(in.n, 0);
    assert_int_equal(s.n, value.n);
    assert_int_equal(rdb_string_unpack(&s, back), 0);
    assert_str(((struct str){back, s.n}), value);
    if (rdb_string_bytes(&s).p != NULL)
        assert_str(rdb_string_bytes(&s), value);
    free(buf);
    free(back);
}

static void goes_there_and_back(void **state)
{
    for (int round = 0; round < 2000; round++) {
        char value[5000];
        size_t n = rng_below(&rng, round % 10 == 0 ? sizeof value : 100);
        unsigned letters = 1 + (unsigned)rng_below(&rng, round % 3 == 0 ? 256 : 3);
        for (size_t i = 0; i < n; i++)
            value[i] = (char)rng_below(&rng, letters);
        check_round((struct str){value, n}, round % 2 == 0);
    }
    for (int round = 0; round < 2000; round++) {
        char text[NUM_I64_TEXT_MAX];
        int64_t v = (int64_t)(rng_u64(&rng) >> rng_below(&rng, 64));
        check_round((struct str){text, num_put_i64(text, round % 2 == 0 ? v : -v)}, true);
    }
}

static void refuse(struct str in, size_t max, int err)
{
    struct rdb_string s;
    struct str left = in;
    assert_int_equal(rdb_string_get(&left, max, &s), err);
    assert_int_equal(left.n, in.n);
}

static void refuses_what_cannot_be(void **state)
{
    enum { MAX = 1000 };
    refuse(STR(""), MAX, ERR_AGAIN);
    refuse(STR("\x05"
               "abcd"),
           MAX, ERR_AGAIN);
    refuse(STR("\x82\x00\x00\x00\x01z"), MAX, ERR_CORRUPT); /* no such form of a length */
    refuse(STR("\xc4\x00"), MAX, ERR_CORRUPT);              /* no such kind of string */
    refuse(STR("\xff\x00"), MAX, ERR_CORRUPT);
    refuse(STR("\x80\x7f\xff\xff\xff"), MAX, ERR_CORRUPT); /* longer than may be */
    refuse(STR("\x81\xff\xff\xff\xff\xff\xff\xff\xff"), MAX, ERR_CORRUPT);
    refuse(STR("\x81\xff\xff\xff\xff\xff\xff\xff\xff"), SIZE_MAX, ERR_AGAIN);
    refuse(STR("\xc2\x01\x02\x03"), MAX, ERR_AGAIN);
    refuse(STR("\xc3\xc0\x05\x01zzzzz"), MAX, ERR_CORRUPT); /* a number where a length belongs */
    refuse(STR("\xc3\x05\xc0\x01zzzzz"), MAX, ERR_CORRUPT);
    refuse(STR("\xc3\x05\x80\xff\xff\xff\xffzzzzz"), MAX, ERR_CORRUPT);
    refuse(STR("\xc3\x05\x43\xe8zzzzz"), MAX, ERR_CORRUPT); /* 5 bytes that claim to be 1000 */
    refuse(STR("\xc3\x00\x05"), MAX, ERR_CORRUPT);
    refuse(STR("\xc3\x06\x05zzzzz"), MAX, ERR_AGAIN);
}

/* Bytes that no compressor made, and honest ones with a bit turned: unpacking must stay inside. */
static void unpacking_survives_noise(void **state)
{
    enum { PACKED_MAX = 64, VALUE_MAX = 400 };
    for (int round = 0; round < 20000; round++) {
        char packed[3 + PACKED_MAX], *exact, *value;
        size_t n = 1 + rng_below(&rng, 62), want = 1 + rng_below(&rng, 63);
        packed[0] = (char)0xc3;
        packed[1] = (char)n;
        packed[2] = (char)want;
        for (size_t i = 0; i < n; i++)
            packed[3 + i] = (char)(rng_below(&rng, 2) == 0 ? rng_below(&rng, 32) : rng_u64(&rng));
        exact = malloc(3 + n);
        value = malloc(want);
        assert_non_null(exact);
        assert_non_null(value);
        memcpy(exact, packed, 3 + n);
        struct str in = {exact, 3 + n};
        struct rdb_string s;
        assert_int_equal(rdb_string_get(&in, VALUE_MAX, &s), 0);
        int err = rdb_string_unpack(&s, value);
        assert_true(err == 0 || err == ERR_CORRUPT);
        free(exact);
        free(value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_what_redis_writes),  cmocka_unit_test(compresses_what_is_worth_it),
        cmocka_unit_test(lengths_go_there_and_back), cmocka_unit_test(goes_there_and_back),
        cmocka_unit_test(refuses_what_cannot_be),    cmocka_unit_test(unpacking_survives_noise),
    };
    rng_init(&rng, 22);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
