/* Who is frequent and who is large, against exact counts. */
#include "unit/unit.h"

#include "base/rng.h"
#include "ds/topk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS = 5000, HOT = 20, NOTES = 200000 };

static struct str name_of(char buf[32], uint32_t i)
{
    return (struct str){buf, (size_t)snprintf(buf, 32, "key%u", i)};
}

static void note(struct topk *t, uint32_t i, uint64_t bytes)
{
    char buf[32];
    topk_note(t, hash_mix64(i + 1), 3, name_of(buf, i), bytes);
}

static const struct topk_item *find(const struct topk_item *items, uint32_t n, uint32_t i)
{
    char buf[32];
    struct str name = name_of(buf, i);
    for (uint32_t k = 0; k < n; k++)
        if (items[k].n == name.n && memcmp(items[k].name, name.p, name.n) == 0)
            return &items[k];
    return NULL;
}

static void the_frequent_are_found_and_bounded(void **state)
{
    struct topk *t = calloc(1, sizeof *t);
    uint32_t *exact = calloc(KEYS, sizeof *exact);
    struct rng rng;
    rng_init(&rng, 1);
    for (uint32_t i = 0; i < NOTES; i++) { /* half of all on HOT keys */
        uint32_t k = (uint32_t)(i % 2 ? rng_below(&rng, KEYS) : rng_below(&rng, HOT));
        exact[k]++;
        note(t, k, 100);
    }
    topk_sort(t);
    for (uint32_t k = 0; k < HOT; k++) {
        const struct topk_item *it = find(t->hits, HOT, k);
        assert_non_null(it);
        assert_true(it->count >= exact[k] && it->count - it->error <= exact[k]);
        assert_int_equal(it->db, 3);
    }
    for (uint32_t i = 1; i < t->nhits; i++)
        assert_true(t->hits[i - 1].count >= t->hits[i].count);
    free(exact);
    free(t);
}

static uint64_t least_count(const struct topk *t)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < t->nhits; i++)
        least = t->hits[i].count < least ? t->hits[i].count : least;
    return least;
}

/* Which one of the rarest goes is left open, that it is one of them is not. */
static void a_newcomer_takes_the_place_of_a_rarest_one(void **state)
{
    struct topk *t = calloc(1, sizeof *t);
    struct rng rng;
    uint32_t taken_over = 0;
    rng_init(&rng, 2);
    for (uint32_t i = 0; i < NOTES; i++) {
        uint32_t k =
            (uint32_t)(rng_below(&rng, 2) ? rng_below(&rng, 4 * TOPK_HITS) : rng_below(&rng, TOPK_HITS));
        bool full = t->nhits == TOPK_HITS, there = find(t->hits, t->nhits, k) != NULL;
        uint64_t least = least_count(t);
        note(t, k, 100);
        const struct topk_item *it = find(t->hits, t->nhits, k);
        assert_non_null(it);
        if (full && !there) {
            assert_int_equal(it->error, least);
            assert_int_equal(it->count, least + 1);
            taken_over++;
        }
        if (i % 5000 == 4999)
            topk_halve(t);
    }
    assert_true(taken_over > NOTES / 100);
    free(t);
}

static void what_was_frequent_goes(void **state)
{
    struct topk *t = calloc(1, sizeof *t);
    for (int i = 0; i < 1000; i++)
        note(t, 1, 100);
    for (int i = 0; i < 11; i++)
        topk_halve(t);
    assert_int_equal(t->nhits, 0);
    note(t, 2, 100);
    assert_int_equal(t->nhits, 1);
    assert_int_equal(t->hits[0].count, 1);
    assert_int_equal(t->hits[0].error, 0);
    free(t);
}

static void the_largest_are_kept(void **state)
{
    struct topk *t = calloc(1, sizeof *t);
    for (uint32_t i = 0; i < KEYS; i++)
        note(t, i, (i * 7919u) % KEYS); /* each size once */
    topk_sort(t);
    assert_int_equal(t->nlarge, TOPK_LARGE);
    for (uint32_t i = 0; i < TOPK_LARGE; i++)
        assert_int_equal(t->large[i].bytes, KEYS - 1 - i);
    free(t);
}

static void views_add_up(void **state)
{
    struct topk *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b), *all = calloc(1, sizeof *all);
    for (int i = 0; i < 10; i++)
        note(a, 1, 50);
    for (int i = 0; i < 5; i++)
        note(b, 1, 70);
    note(b, 2, 10);
    char wide[1000];
    memset(wide, 'x', sizeof wide);
    topk_note(b, 99, 0, (struct str){wide, sizeof wide}, 1 << 20);
    topk_merge(all, a);
    topk_merge(all, b);
    topk_sort(all);
    assert_int_equal(all->nhits, 3);
    assert_int_equal(find(all->hits, 3, 1)->count, 15);
    assert_int_equal(find(all->hits, 3, 1)->bytes, 70);
    assert_int_equal(all->large[0].bytes, 1 << 20);
    assert_int_equal(all->large[0].n, sizeof wide);
    assert_memory_equal(all->large[0].name, wide, TOPK_NAME);
    assert_int_equal(find(all->large, 3, 1)->bytes, 70);
    free(a);
    free(b);
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_frequent_are_found_and_bounded),
        cmocka_unit_test(a_newcomer_takes_the_place_of_a_rarest_one),
        cmocka_unit_test(what_was_frequent_goes),
        cmocka_unit_test(the_largest_are_kept),
        cmocka_unit_test(views_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
