/* The bit-parallel subsequence against the table of numbers that textbooks draw, and the
 * way back against Redis's rule: up if the number above is larger, else left. */
#include "unit.h"

#include "base/alloc.h"
#include "base/annotate.h"
#include "base/rng.h"
#include "ds/lcs.h"

#include <stdlib.h>

enum { LENGTH_MAX = 300, RANGES_MAX = LENGTH_MAX };

static struct rng rng;

struct model {
    uint32_t length, nranges;
    char text[LENGTH_MAX];
    struct lcs_range ranges[RANGES_MAX];
};

static uint32_t table[LENGTH_MAX + 1][LENGTH_MAX + 1];

static void fill_table(struct str a, struct str b)
{
    for (size_t i = 0; i <= a.n; i++)
        for (size_t j = 0; j <= b.n; j++) {
            if (i == 0 || j == 0)
                table[i][j] = 0;
            else if (a.p[i - 1] == b.p[j - 1])
                table[i][j] = table[i - 1][j - 1] + 1;
            else
                table[i][j] = table[i - 1][j] > table[i][j - 1] ? table[i - 1][j] : table[i][j - 1];
        }
}

static void model_lcs(struct str a, struct str b, struct model *m)
{
    fill_table(a, b);
    *m = (struct model){.length = table[a.n][b.n]};
    uint32_t left = m->length;
    struct lcs_range *open = NULL;
    size_t i = a.n, j = b.n;
    while (i > 0 && j > 0) {
        if (a.p[i - 1] == b.p[j - 1]) {
            m->text[--left] = a.p[i - 1];
            if (open == NULL) {
                open = &m->ranges[m->nranges++];
                open->a_last = (uint32_t)i - 1;
                open->b_last = (uint32_t)j - 1;
            }
            open->a_first = (uint32_t)--i;
            open->b_first = (uint32_t)--j;
        } else {
            open = NULL;
            if (table[i - 1][j] > table[i][j - 1])
                i--;
            else
                j--;
        }
    }
}

static void collect(void *arg, const struct lcs_range *r)
{
    struct model *m = arg;
    assert_true(m->nranges < RANGES_MAX);
    m->ranges[m->nranges++] = *r;
}

static void check(struct str a, struct str b)
{
    static struct model want, got;
    struct lcs l;
    model_lcs(a, b, &want);
    got = (struct model){0};
    assert_int_equal(lcs_compute(&l, a, b, true), 0);
    assert_int_equal(l.length, want.length);
    lcs_release(&l);
    assert_int_equal(lcs_compute(&l, a, b, false), 0);
    assert_int_equal(l.length, want.length);
    lcs_text(&l, got.text);
    assert_memory_equal(got.text, want.text, want.length);
    lcs_ranges(&l, collect, &got);
    lcs_release(&l);
    assert_int_equal(got.nranges, want.nranges);
    assert_memory_equal(got.ranges, want.ranges, want.nranges * sizeof(want.ranges[0]));
}

static void random_text(char *p, size_t n, unsigned letters)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (char)(200 + rng_below(&rng, letters));
}

static void agrees_with_the_table(void **state)
{
    char a[LENGTH_MAX], b[LENGTH_MAX];
    for (int round = 0; round < 1500; round++) {
        unsigned letters = 1 + (unsigned)rng_below(&rng, round % 2 == 0 ? 4 : 56);
        size_t na = rng_below(&rng, LENGTH_MAX), nb = rng_below(&rng, LENGTH_MAX);
        random_text(a, na, letters);
        random_text(b, nb, letters);
        check((struct str){a, na}, (struct str){b, nb});
    }
}

/* Where a row of bits ends, and where the next word begins. */
static void agrees_at_word_ends(void **state)
{
    char a[LENGTH_MAX], b[LENGTH_MAX];
    for (size_t n = 60; n <= 70; n++)
        for (size_t m = 124; m <= 132; m++) {
            random_text(a, n, 2);
            random_text(b, m, 2);
            check((struct str){a, n}, (struct str){b, m});
            check((struct str){b, m}, (struct str){a, n});
        }
    check(STR(""), STR(""));
    check(STR("x"), STR(""));
    check(STR(""), STR("x"));
    check(STR("x"), STR("x"));
    check(STR("x"), STR("y"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_table),
        cmocka_unit_test(agrees_at_word_ends),
    };
    rng_init(&rng, 21);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
