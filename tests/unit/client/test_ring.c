/* The ring against vectors that a few lines of Python with hashlib and bisect computed, and against
 * what theory says of balance and movement. The vectors are a contract: who changes a placement
 * moves every user's keys. */
#include "unit/unit.h"

#include "base/annotate.h"
#include "base/err.h"
#include "client/digests.h"
#include "client/ring.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS = 20000, NAME = 32 };

static void fill(larder_ring *r, int first, int last)
{
    char name[NAME];
    for (int i = first; i <= last; i++) {
        snprintf(name, sizeof name, "10.0.0.%d:6379", i);
        assert_int_equal(larder_ring_add(r, name, 1), 0);
    }
}

/* 10.0.0.X:6379 -> X */
static int number_of(const char *name)
{
    assert_non_null(name);
    return (int)strtol(name + strlen("10.0.0."), NULL, 10);
}

static int place(const larder_ring *r, const char *key)
{
    return number_of(larder_ring_get(r, larder_text(key)));
}

static larder_ring *weighted(enum larder_placement placement)
{
    larder_ring *r = larder_ring_new(placement, 0);
    assert_int_equal(larder_ring_add(r, "10.0.0.3:6379", 5), 0);
    assert_int_equal(larder_ring_add(r, "10.0.0.1:6379", 1), 0);
    assert_int_equal(larder_ring_add(r, "10.0.0.2:6379", 2), 0);
    return r;
}

static uint64_t signature(const larder_ring *r)
{
    uint64_t sum = 0xcbf29ce484222325ULL;
    char key[NAME];
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "key:%d", i);
        sum = (sum ^ (uint64_t)place(r, key)) * 0x100000001b3ULL;
    }
    return sum;
}

static void golden_vectors_md5(void **state)
{
    static const struct {
        const char *key;
        int nodes[3], weighted, few;
    } rows[] = {
        {"", {3, 4, 1}, 3, 4},           {"a", {3, 1, 4}, 3, 3},
        {"foo", {1, 2, 3}, 1, 3},        {"hello", {5, 4, 1}, 3, 1},
        {"user:1000", {3, 2, 4}, 2, 4},  {"key:000000000042", {5, 4, 3}, 3, 3},
        {"{tag}x", {4, 1, 2}, 1, 2},     {"a longer key with spaces", {4, 1, 3}, 3, 3},
        {"9", {3, 2, 4}, 3, 2},          {"session:ffff", {2, 1, 4}, 3, 2},
        {"product:17", {1, 3, 2}, 1, 2}, {"z", {1, 2, 3}, 1, 1},
    };
    larder_ring *r = larder_ring_new(LARDER_PLACEMENT_MD5, 0),
                *few = larder_ring_new(LARDER_PLACEMENT_MD5, 7);
    larder_ring *heavy = weighted(LARDER_PLACEMENT_MD5);
    fill(r, 1, 5);
    fill(few, 1, 5);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *names[3];
        assert_int_equal(larder_ring_get_n(r, larder_text(rows[i].key), names, 3), 3);
        for (int n = 0; n < 3; n++)
            assert_int_equal(number_of(names[n]), rows[i].nodes[n]);
        assert_int_equal(place(r, rows[i].key), rows[i].nodes[0]);
        assert_int_equal(place(heavy, rows[i].key), rows[i].weighted);
        assert_int_equal(place(few, rows[i].key), rows[i].few);
    }
    assert_true(signature(r) == 0xa153af3fc216042fULL);
    assert_true(signature(heavy) == 0x52a9a140487bd061ULL);
    larder_ring_free(r);
    larder_ring_free(few);
    larder_ring_free(heavy);
}

/* Places that are computed many at a time are those of one key alone: texts of all lengths around the
 * limits of a block, in every lane, in batches that are not full. */
static void places_many_at_a_time(void **state)
{
    enum { MANY = 300, LONGEST = 140 };
    static char texts[MANY][LONGEST + 1];
    struct str keys[MANY];
    struct ring_place places[MANY];
    for (int kind = LARDER_PLACEMENT_MD5; kind <= LARDER_PLACEMENT_KETAMA; kind++) {
        larder_ring *r = larder_ring_new((enum larder_placement)kind, 0);
        for (unsigned i = 0; i < 50; i++) {
            char name[NAME];
            snprintf(name, sizeof name, "10.0.0.%u:6379", i);
            assert_int_equal(ring_add(r, name, 1 + i % 3, i), 0);
        }
        for (int i = 0; i < MANY; i++) {
            keys[i] = (struct str){texts[i], (size_t)(i * 37 % LONGEST)};
            for (size_t at = 0; at < keys[i].n; at++)
                texts[i][at] = (char)(i * 131 + (int)at * 7);
        }
        for (size_t from = 0; from < MANY; from += 1 + from % 19) {
            size_t n = from % 23 < MANY - from ? from % 23 : MANY - from;
            memset(places, 0xff, sizeof places);
            ring_places(r, keys + from, n, places);
            for (size_t i = 0; i < n; i++) {
                unsigned given[2], found[2];
                assert_int_equal(ring_lookup(r, keys[from + i], &places[i], given, 2), 2);
                assert_int_equal(ring_lookup(r, keys[from + i], NULL, found, 2), 2);
                assert_memory_equal(given, found, sizeof given);
            }
        }
        larder_ring_free(r);
    }
}

/* The test suite of RFC 1321, and the longest text that is short. */
static void short_digests(void **state)
{
    static const char *const rows[][2] = {
        {"", "d41d8cd98f00b204e9800998ecf8427e"},
        {"a", "0cc175b9c0f1b6a831c399e269772661"},
        {"abc", "900150983cd24fb0d6963f7d28e17f72"},
        {"message digest", "f96b697d7cb7938d525a2f31aaf161d0"},
        {"abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"},
        {"1234567890123456789012345678901234567890123456789012345", "c9ccf168914a1bcfc3229f1948e67da0"},
    };
    struct str texts[DIGESTS_LANES];
    uint8_t sums[DIGESTS_LANES][DIGESTS_BYTES];
    for (size_t i = 0; i < DIGESTS_LANES; i++)
        texts[i] = str_of(rows[i % ARRAY_LEN(rows)][0]);
    assert_int_equal(texts[5].n, DIGESTS_TEXT_MAX);
    digests_of_short(texts, DIGESTS_LANES, sums);
    for (size_t i = 0; i < DIGESTS_LANES; i++) {
        char hex[2 * DIGESTS_BYTES + 1];
        for (int at = 0; at < DIGESTS_BYTES; at++)
            snprintf(hex + (ptrdiff_t)2 * at, 3, "%02x", sums[i][at]);
        assert_string_equal(hex, rows[i % ARRAY_LEN(rows)][1]);
    }
}

static void golden_vectors_ketama(void **state)
{
    static const struct {
        const char *key;
        int nodes[2], weighted;
    } rows[] = {
        {"", {1, 5}, 3},
        {"a", {3, 1}, 3},
        {"foo", {4, 3}, 3},
        {"hello", {5, 1}, 2},
        {"user:1000", {5, 1}, 3},
        {"key:000000000042", {1, 3}, 3},
        {"a longer key with spaces", {5, 1}, 1},
        {"z", {4, 5}, 2},
    };
    larder_ring *r = larder_ring_new(LARDER_PLACEMENT_KETAMA, 0), *heavy = weighted(LARDER_PLACEMENT_KETAMA);
    fill(r, 1, 5);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *names[2];
        assert_int_equal(larder_ring_get_n(r, larder_text(rows[i].key), names, 2), 2);
        assert_int_equal(number_of(names[0]), rows[i].nodes[0]);
        assert_int_equal(number_of(names[1]), rows[i].nodes[1]);
        assert_int_equal(place(heavy, rows[i].key), rows[i].weighted);
    }
    assert_true(signature(r) == 0xd03d529101efdeceULL);
    assert_true(signature(heavy) == 0x4ded4fd69e703fb7ULL);
    /* Removing changes everybody's share, and must come out as if the node had never been. */
    fill(r, 6, 6);
    assert_int_equal(larder_ring_remove(r, "10.0.0.6:6379"), 0);
    assert_true(signature(r) == 0xd03d529101efdeceULL);
    larder_ring_free(r);
    larder_ring_free(heavy);
}

static void empty_ring_returns_none(void **state)
{
    const char *name = "untouched";
    larder_ring *r = larder_ring_new(LARDER_PLACEMENT_MD5, 0);
    assert_null(larder_ring_get(r, larder_text("k")));
    assert_int_equal(larder_ring_get_n(r, larder_text("k"), &name, 1), 0);
    fill(r, 1, 1);
    assert_int_equal(place(r, "k"), 1);
    assert_int_equal(larder_ring_get_n(r, larder_text("k"), &name, 0), 0);
    assert_int_equal(larder_ring_remove(r, "10.0.0.1:6379"), 0);
    assert_null(larder_ring_get(r, larder_text("k")));
    assert_int_equal(larder_ring_count(r), 0);
    larder_ring_free(r);
    larder_ring_free(NULL);
}

static void bad_arguments_are_refused(void **state)
{
    char longest[LARDER_RING_NAME_MAX + 2];
    memset(longest, 'x', sizeof longest);
    longest[LARDER_RING_NAME_MAX + 1] = '\0';
    assert_null(larder_ring_new(LARDER_PLACEMENT_MD5, LARDER_RING_POINTS_MAX + 1));
    assert_null(larder_ring_new((enum larder_placement)7, 0));
    larder_ring *r = larder_ring_new(LARDER_PLACEMENT_MD5, 1);
    assert_int_equal(larder_ring_add(r, "", 1), LARDER_ERR_ARGUMENT);
    assert_int_equal(larder_ring_add(r, longest, 1), LARDER_ERR_ARGUMENT);
    assert_int_equal(larder_ring_add(r, longest + 1, 1), 0);
    assert_int_equal(larder_ring_add(r, "n", 0), LARDER_ERR_ARGUMENT);
    assert_int_equal(larder_ring_add(r, "n", LARDER_RING_WEIGHT_MAX + 1), LARDER_ERR_ARGUMENT);
    assert_int_equal(larder_ring_add(r, "n", 1), 0);
    assert_int_equal(larder_ring_add(r, "n", 2), LARDER_ERR_EXISTS);
    assert_int_equal(larder_ring_remove(r, "m"), LARDER_ERR_NOT_FOUND);
    assert_int_equal(larder_ring_count(r), 2);
    larder_ring_free(r);
}

static void get_n_names_each_node_once(void **state)
{
    const char *names[20];
    larder_ring *r = larder_ring_new(LARDER_PLACEMENT_MD5, 0);
    fill(r, 1, 10);
    for (int i = 0; i < 200; i++) {
        char key[NAME];
        int seen = 0;
        snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(larder_ring_get_n(r, larder_text(key), names, 20), 10);
        assert_ptr_equal(names[0], larder_ring_get(r, larder_text(key)));
        for (int n = 0; n < 10; n++)
            seen |= 1 << number_of(names[n]);
        assert_int_equal(seen, 0x7fe);
    }
    larder_ring_free(r);
}

static void count_keys(const larder_ring *r, int *counts, int *owner)
{
    for (int i = 0; i < KEYS; i++) {
        char key[NAME];
        snprintf(key, sizeof key, "user:%d:profile", i);
        owner[i] = place(r, key);
        counts[owner[i]]++;
    }
}

/* A node's share of the circle is a sum of 150 gaps, so it scatters by 1 / sqrt(150) = 8 %, and the
 * fullest of ten lies about 1.5 deviations above the mean. */
static void balance_is_what_theory_says(void **state)
{
    int counts[11] = {0}, *owner = calloc(KEYS, sizeof *owner), peak = 0;
    larder_ring *r = larder_ring_new(LARDER_PLACEMENT_MD5, 0);
    fill(r, 1, 10);
    count_keys(r, counts, owner);
    for (int i = 1; i <= 10; i++)
        peak = counts[i] > peak ? counts[i] : peak;
    assert_true(peak > KEYS / 10 && peak < KEYS / 10 * 1.25);
    larder_ring_free(r);
    free(owner);
}

static void weights_are_shares(void **state)
{
    int counts[4] = {0}, *owner = calloc(KEYS, sizeof *owner);
    larder_ring *r = weighted(LARDER_PLACEMENT_MD5);
    count_keys(r, counts, owner);
    for (int i = 1; i <= 3; i++) {
        double share = (double[]){0, 1, 2, 5}[i] / 8;
        assert_true(fabs(counts[i] - share * KEYS) < 0.3 * share * KEYS);
    }
    larder_ring_free(r);
    free(owner);
}

/* An eleventh node takes about a eleventh of the keys, all of them move to it and none between the
 * others; removing it brings every key back, whatever the order of adding. */
static void keys_move_only_to_the_new_node(void **state)
{
    int counts[12] = {0}, *before = calloc(KEYS, sizeof *before), *after = calloc(KEYS, sizeof *after),
        moved = 0;
    larder_ring *r = larder_ring_new(LARDER_PLACEMENT_MD5, 0),
                *other = larder_ring_new(LARDER_PLACEMENT_MD5, 0);
    fill(r, 1, 10);
    count_keys(r, counts, before);
    fill(r, 11, 11);
    count_keys(r, counts, after);
    for (int i = 0; i < KEYS; i++) {
        if (before[i] == after[i])
            continue;
        assert_int_equal(after[i], 11);
        moved++;
    }
    assert_true(moved > KEYS / 11 * 0.75 && moved < KEYS / 11 * 1.25);
    fill(other, 6, 11);
    fill(other, 1, 5);
    assert_true(signature(r) == signature(other));
    assert_int_equal(larder_ring_remove(r, "10.0.0.11:6379"), 0);
    count_keys(r, counts, after);
    assert_memory_equal(before, after, KEYS * sizeof *before);
    larder_ring_free(r);
    larder_ring_free(other);
    free(before);
    free(after);
}

#ifdef LARDER_DEBUG
#include "base/alloc.h"

static void without_memory_the_ring_stays(void **state)
{
    larder_ring *r = larder_ring_new(LARDER_PLACEMENT_KETAMA, 0);
    fill(r, 1, 5);
    uint64_t before = signature(r);
    for (int nth = 1; nth <= 4; nth++) {
        alloc_fail_after(nth);
        assert_int_equal(larder_ring_add(r, "10.0.0.6:6379", 1), LARDER_ERR_MEMORY);
        alloc_fail_after(0);
        assert_true(signature(r) == before);
    }
    alloc_fail_after(1);
    assert_int_equal(larder_ring_remove(r, "10.0.0.5:6379"), LARDER_ERR_MEMORY);
    alloc_fail_after(0);
    assert_true(signature(r) == before);
    larder_ring_free(r);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_vectors_md5),
        cmocka_unit_test(places_many_at_a_time),
        cmocka_unit_test(short_digests),
        cmocka_unit_test(golden_vectors_ketama),
        cmocka_unit_test(empty_ring_returns_none),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(get_n_names_each_node_once),
        cmocka_unit_test(balance_is_what_theory_says),
        cmocka_unit_test(weights_are_shares),
        cmocka_unit_test(keys_move_only_to_the_new_node),
#ifdef LARDER_DEBUG
        cmocka_unit_test(without_memory_the_ring_stays),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
