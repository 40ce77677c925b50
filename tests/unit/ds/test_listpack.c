/* Listpacks against an array of strings, against bytes that redis-server wrote, and against damage. */
#include "unit.h"

#include "base/annotate.h"
#include "base/rng.h"
#include "ds/listpack.h"

#include <stdio.h>
#include <stdlib.h>

enum { ITEMS_MAX = 60, STEPS = 60000, DAMAGES = 40000, TEXT_MAX = 5000 };

static struct rng rng;

/* The memory of a listpack to the byte, so that whatever reaches beyond it is found. */
static char *grown(char *lp, struct str s)
{
    lp = realloc(lp, listpack_bytes(lp) + listpack_room(s));
    assert_non_null(lp);
    return lp;
}

static char *fresh(void)
{
    char *lp = malloc(LISTPACK_EMPTY);
    assert_non_null(lp);
    listpack_init(lp);
    return lp;
}

static int hex(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* HSET of these into a hash of redis-server 7.0.15, DUMPed. */
static void equals_what_redis_writes(void **state)
{
    static const char x63[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    static const char y64[] = "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy";
    const char *items[] = {"a",
                           "0",
                           "127",
                           "128",
                           "-1",
                           "-4096",
                           "4095",
                           "4096",
                           "-4097",
                           "32767",
                           "-32768",
                           "32768",
                           "8388607",
                           "-8388608",
                           "8388608",
                           "2147483647",
                           "-2147483648",
                           "2147483648",
                           "9223372036854775807",
                           "-9223372036854775808",
                           "",
                           "01",
                           x63,
                           y64};
    static const char written[] =
        "f3000000180081610200017f01c08002dfff02d00002cfff02f1001003f1ffef03f1ff7f03f1008003f200800004f2ffff7f"
        "04f200008004f30000800005f3ffffff7f05f30000008005f4000000800000000009f4ffffffffffffff7f09f40000000000"
        "00008009800182303103bf787878787878787878787878787878787878787878787878787878787878787878787878787878"
        "78787878787878787878787878787878787878787878787840e0407979797979797979797979797979797979797979797979"
        "797979797979797979797979797979797979797979797979797979797979797979797979797979797942ff";
    char *lp = fresh();
    for (size_t i = 0; i < ARRAY_LEN(items); i++) {
        lp = grown(lp, str_of(items[i]));
        listpack_insert(lp, 0, str_of(items[i]));
    }
    assert_int_equal(listpack_bytes(lp), (sizeof written - 1) / 2);
    for (size_t i = 0; i < listpack_bytes(lp); i++)
        assert_int_equal((uint8_t)lp[i], hex(written[2 * i]) << 4 | hex(written[2 * i + 1]));
    free(lp);
}

/* ---- against an array ---- */

struct model {
    char *item[ITEMS_MAX];
    size_t n[ITEMS_MAX];
    uint32_t count;
};

static size_t random_text(char *dst)
{
    switch (rng_below(&rng, 5)) {
    case 0: return num_put_i64(dst, (int64_t)(rng_u64(&rng) >> rng_below(&rng, 64)));
    case 1: return num_put_i64(dst, -(int64_t)(rng_u64(&rng) >> (1 + rng_below(&rng, 62))));
    case 2: return num_put_i64(dst, (int64_t)rng_below(&rng, 300));
    default: break;
    }
    size_t n = rng_below(&rng, rng_below(&rng, 50) == 0 ? TEXT_MAX : 80);
    for (size_t i = 0; i < n; i++)
        dst[i] = (char)rng_u64(&rng);
    return n;
}

static void model_insert(struct model *m, uint32_t at, const char *p, size_t n)
{
    memmove(&m->item[at + 1], &m->item[at], (m->count - at) * sizeof m->item[0]);
    memmove(&m->n[at + 1], &m->n[at], (m->count - at) * sizeof m->n[0]);
    m->item[at] = malloc(n + 1);
    assert_non_null(m->item[at]);
    memcpy(m->item[at], p, n);
    m->n[at] = n;
    m->count++;
}

static void model_remove(struct model *m, uint32_t at)
{
    free(m->item[at]);
    m->count--;
    memmove(&m->item[at], &m->item[at + 1], (m->count - at) * sizeof m->item[0]);
    memmove(&m->n[at], &m->n[at + 1], (m->count - at) * sizeof m->n[0]);
}

static void compare(const char *lp, const struct model *m)
{
    uint32_t i = 0, count;
    char text[NUM_I64_TEXT_MAX];
    assert_int_equal(listpack_count(lp), m->count);
    assert_true(listpack_validate(lp, listpack_bytes(lp), &count));
    assert_int_equal(count, m->count);
    for (size_t at = listpack_first(lp); at != 0; at = listpack_next(lp, at), i++)
        assert_str(listpack_get(lp, at, text), ((struct str){m->item[i], m->n[i]}));
    assert_int_equal(i, m->count);
    for (size_t at = listpack_last(lp); at != 0; at = listpack_prev(lp, at)) {
        i--;
        assert_str(listpack_get(lp, at, text), ((struct str){m->item[i], m->n[i]}));
    }
    assert_int_equal(i, 0);
}

static void check_find(const char *lp, const struct model *m)
{
    if (m->count == 0)
        return;
    uint32_t i = (uint32_t)rng_below(&rng, m->count), first = 0;
    struct str want = {m->item[i], m->n[i]};
    while (m->n[first] != want.n || memcmp(m->item[first], want.p, want.n) != 0)
        first++;
    assert_int_equal(listpack_find(lp, listpack_first(lp), want, 0), listpack_seek(lp, first));
    assert_int_equal(listpack_seek(lp, (int64_t)i - m->count), listpack_seek(lp, i));
    assert_int_equal(listpack_seek(lp, m->count), 0);
    assert_int_equal(listpack_seek(lp, -(int64_t)m->count - 1), 0);
}

static void does_what_an_array_does(void **state)
{
    static char text[TEXT_MAX];
    struct model m = {.count = 0};
    char *lp = fresh();
    for (unsigned step = 0; step < STEPS; step++) {
        if (m.count == 0 || (m.count < ITEMS_MAX && rng_below(&rng, 100) < 52)) {
            size_t n = random_text(text);
            uint32_t at = (uint32_t)rng_below(&rng, m.count + 1);
            lp = grown(lp, (struct str){text, n});
            listpack_insert(lp, listpack_seek(lp, at), (struct str){text, n});
            model_insert(&m, at, text, n);
        } else {
            uint32_t at = (uint32_t)rng_below(&rng, m.count), n = 1 + (uint32_t)rng_below(&rng, 2);
            size_t next = listpack_remove(lp, listpack_seek(lp, at), n);
            while (n-- > 0 && at < m.count)
                model_remove(&m, at);
            assert_int_equal(next, listpack_seek(lp, at));
        }
        check_find(lp, &m);
        if (step % 16 == 0)
            compare(lp, &m);
    }
    compare(lp, &m);
    while (m.count > 0)
        model_remove(&m, 0);
    free(lp);
}

static void finds_every_second(void **state)
{
    static const char *const items[] = {"a", "b", "b", "a", "7", "7"};
    char *lp = fresh();
    for (size_t i = 0; i < ARRAY_LEN(items); i++) {
        lp = grown(lp, str_of(items[i]));
        listpack_insert(lp, 0, str_of(items[i]));
    }
    assert_int_equal(listpack_find(lp, listpack_first(lp), STR("b"), 1), listpack_seek(lp, 2));
    assert_int_equal(listpack_find(lp, listpack_first(lp), STR("a"), 1), listpack_seek(lp, 0));
    assert_int_equal(listpack_find(lp, listpack_seek(lp, 1), STR("a"), 1), listpack_seek(lp, 3));
    assert_int_equal(listpack_find(lp, listpack_first(lp), STR("7"), 1), listpack_seek(lp, 4));
    assert_int_equal(listpack_find(lp, listpack_first(lp), STR("07"), 0), 0);
    free(lp);
}

/* More entries than the head can count. */
static void counts_beyond_16_bits(void **state)
{
    enum { MANY = 65600 };
    size_t cap = LISTPACK_EMPTY + MANY * listpack_room(STR("x"));
    char *lp = malloc(cap);
    uint32_t count;
    assert_non_null(lp);
    listpack_init(lp);
    for (uint32_t i = 0; i < MANY; i++)
        listpack_insert(lp, 0, STR("x"));
    assert_int_equal(listpack_count(lp), MANY);
    assert_true(listpack_validate(lp, listpack_bytes(lp), &count));
    assert_int_equal(count, MANY);
    listpack_remove(lp, listpack_first(lp), MANY - 10);
    assert_int_equal(listpack_count(lp), 10);
    assert_true(listpack_validate(lp, listpack_bytes(lp), &count));
    free(lp);
}

/* ---- from outside ---- */

/* Whatever validation lets pass can be walked both ways without leaving it. */
static void walk(const char *lp, uint32_t count)
{
    uint32_t n = 0;
    char text[NUM_I64_TEXT_MAX];
    for (size_t at = listpack_first(lp); at != 0; at = listpack_next(lp, at), n++) {
        struct str s = listpack_get(lp, at, text);
        assert_true(s.n == 0 || memchr(s.p, s.p[0], s.n) != NULL);
    }
    assert_int_equal(n, count);
    for (size_t at = listpack_last(lp); at != 0; at = listpack_prev(lp, at))
        n--;
    assert_int_equal(n, 0);
}

static void damage_is_found_or_harmless(void **state)
{
    static char text[TEXT_MAX];
    unsigned refused = 0;
    for (unsigned round = 0; round < DAMAGES; round++) {
        char *lp = fresh();
        for (uint64_t i = rng_below(&rng, 8) + 1; i > 0; i--) {
            size_t n = random_text(text);
            n = n > 100 ? 100 : n;
            lp = grown(lp, (struct str){text, n});
            listpack_insert(lp, 0, (struct str){text, n});
        }
        size_t n = listpack_bytes(lp);
        uint32_t count;
        for (uint64_t i = rng_below(&rng, 3) + 1; i > 0; i--)
            lp[rng_below(&rng, n)] ^= (char)(1u << rng_below(&rng, 8));
        if (listpack_validate(lp, n, &count))
            walk(lp, count);
        else
            refused++;
        assert_false(listpack_validate(lp, n - 1, &count));
        free(lp);
    }
    assert_true(refused > DAMAGES / 4);
}

static void refuses_what_is_none(void **state)
{
    static const struct {
        const char *p;
        size_t n;
    } bad[] = {
        {"", 0},
        {"\x06\0\0\0\0\0", 6},
        {"\x07\0\0\0\0\0\0", 7},                            /* no end */
        {"\x08\0\0\0\0\0\xff", 7},                          /* says more than there is */
        {"\x07\0\0\0\1\0\xff", 7},                          /* one entry too many */
        {"\x09\0\0\0\1\0\x05\x02\xff", 9},                  /* wrong length behind */
        {"\x09\0\0\0\1\0\x83\x01\xff", 9},                  /* string beyond the end */
        {"\x09\0\0\0\1\0\xf5\x01\xff", 9},                  /* no such entry */
        {"\x0d\0\0\0\1\0\xf0\xff\xff\xff\xff\x05\xff", 13}, /* 4 GB */
        {"\x0a\0\0\0\1\0\x05\x00\x81\xff", 10},             /* a length in more bytes than it needs */
    };
    uint32_t count;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char *copy = malloc(bad[i].n + 1);
        assert_non_null(copy);
        memcpy(copy, bad[i].p, bad[i].n);
        assert_false(listpack_validate(copy, bad[i].n, &count));
        free(copy);
    }
    assert_true(listpack_validate("\x09\0\0\0\1\0\x05\x01\xff", 9, &count));
}

int main(void)
{
    rng_init(&rng, 7);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_what_redis_writes),    cmocka_unit_test(does_what_an_array_does),
        cmocka_unit_test(finds_every_second),          cmocka_unit_test(counts_beyond_16_bits),
        cmocka_unit_test(damage_is_found_or_harmless), cmocka_unit_test(refuses_what_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
