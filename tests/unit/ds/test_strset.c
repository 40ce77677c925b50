/* Large sets against an array of flags, their copies against what was copied, scans that are interrupted by
 * everything, and the fairness of the draw. Members are numbered; now and then one is long. */
#include "unit.h"

#include "base/alloc.h"
#include "base/annotate.h"
#include "base/err.h"
#include "ds/strset.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    NAMES = 20000,
    STEPS = 1200000,
    COPIES = 3,
    LONG_EVERY = 97, /* these names are too long for a page */
    NAME_MAX_BYTES = 700,
};

static struct rng rng;
static const struct hash_seed seed = {3, 4};

static struct str name_of(uint32_t i, char text[NAME_MAX_BYTES])
{
    size_t n = (size_t)snprintf(text, NAME_MAX_BYTES, "member-%u", i);
    if (i % LONG_EVERY == 0) {
        size_t all = 250 + i % 400;
        memset(text + n, '.', all - n);
        n = all;
    }
    return (struct str){text, i == 0 ? 0 : n}; /* number 0 is the empty string */
}

static uint32_t number_of(struct str s)
{
    uint32_t v = 0;
    for (size_t i = 7; i < s.n && s.p[i] != '.'; i++)
        v = v * 10 + (uint32_t)(s.p[i] - '0');
    return v;
}

struct model {
    struct strset s;
    uint8_t has[NAMES];
    uint64_t count;
    bool live;
};

static void release(struct strset *s)
{
    uint64_t budget = 7;
    while (!strset_free_step(s, &budget))
        budget = 7;
    assert_int_equal(s->bytes, 0);
}

struct seen {
    uint8_t times[NAMES];
    uint64_t n;
};

static bool see(void *arg, struct str member)
{
    struct seen *seen = arg;
    seen->times[number_of(member)]++;
    seen->n++;
    return true;
}

static void compare(const struct model *m)
{
    static struct seen seen;
    memset(&seen, 0, sizeof seen);
    strset_check(&m->s);
    assert_int_equal(m->s.count, m->count);
    for (uint32_t i = 0; i < m->s.npages; i++)
        assert_true(strset_visit_page(&m->s, i, see, &seen));
    assert_memory_equal(seen.times, m->has, NAMES);
}

static void step(struct model *m, uint32_t i, bool add)
{
    char text[NAME_MAX_BYTES];
    struct str name = name_of(i, text);
    assert_int_equal(strset_has(&m->s, name), m->has[i]);
    if (add) {
        assert_int_equal(strset_add(&m->s, name), !m->has[i]);
        m->count += !m->has[i];
    } else {
        assert_int_equal(strset_remove(&m->s, name), m->has[i]);
        m->count -= m->has[i];
    }
    m->has[i] = add;
}

/* Phases of growing and shrinking, so that pages split and merge all the way up and down. */
static void does_what_flags_do(void **state)
{
    static struct model m;
    memset(&m, 0, sizeof m);
    strset_init(&m.s, &seed);
    for (unsigned i = 0; i < STEPS; i++) {
        bool growing = i / (STEPS / 8) % 2 == 0;
        step(&m, (uint32_t)rng_below(&rng, NAMES), rng_below(&rng, 100) < (growing ? 85 : 15));
        if (i % (STEPS / 40) == 0)
            compare(&m);
    }
    compare(&m);
    for (uint32_t i = 0; i < NAMES; i++)
        step(&m, i, false);
    compare(&m);
    release(&m.s);
}

/* Several copies of one another, each changed at will: none sees what happens to the others. */
static void copies_are_separate(void **state)
{
    static struct model m[COPIES];
    for (unsigned i = 0; i < COPIES; i++)
        m[i].live = false;
    strset_init(&m[0].s, &seed);
    m[0].live = true;
    for (unsigned i = 0; i < STEPS / 4; i++) {
        unsigned k = (unsigned)rng_below(&rng, COPIES);
        if (m[k].live)
            step(&m[k], (uint32_t)rng_below(&rng, NAMES), rng_below(&rng, 100) < 60);
        if (i % (STEPS / 400) != 0)
            continue;
        unsigned from = (unsigned)rng_below(&rng, COPIES);
        if (from == k || !m[from].live || m[from].s.npages == 0)
            continue;
        if (m[k].live)
            release(&m[k].s);
        m[k] = (struct model){.count = m[from].count, .live = true};
        memcpy(m[k].has, m[from].has, NAMES);
        assert_int_equal(strset_copy(&m[k].s, &m[from].s), 0);
        compare(&m[k]);
        compare(&m[from]);
    }
    for (unsigned k = 0; k < COPIES; k++) {
        if (!m[k].live)
            continue;
        compare(&m[k]);
        release(&m[k].s);
    }
}

/* A scan while the set grows and shrinks: whoever is in it all the while is seen. */
static void scans_miss_nobody(void **state)
{
    static struct model m;
    static struct seen seen;
    uint64_t stayed = 0;
    memset(&m, 0, sizeof m);
    strset_init(&m.s, &seed);
    for (uint32_t i = 0; i < NAMES; i += 4)
        step(&m, i, true);
    for (unsigned round = 0; round < 40; round++) {
        static uint8_t always[NAMES];
        uint64_t cursor = 0;
        memset(&seen, 0, sizeof seen);
        memcpy(always, m.has, NAMES);
        do {
            strset_scan(&m.s, &cursor, 1 + rng_below(&rng, 200), see, &seen);
            assert_true(cursor < 1ULL << 48);
            for (unsigned i = 0; i < 300; i++) {
                uint32_t name = (uint32_t)rng_below(&rng, NAMES);
                step(&m, name, round % 2 == 0);
                always[name] &= m.has[name];
            }
        } while (cursor != 0);
        for (uint32_t i = 0; i < NAMES; i++) {
            assert_true(!always[i] || seen.times[i] > 0);
            stayed += always[i];
        }
    }
    assert_true(stayed > NAMES);
    release(&m.s);
}

/* Chi-square over all members; the seed is fixed, so the answer is always the same. */
static void draws_fairly(void **state)
{
    enum { SIZES = 4, DRAWS = 400 };
    static const uint32_t sizes[SIZES] = {1, 40, 1000, 6000};
    static uint32_t times[NAMES];
    char text[NAME_MAX_BYTES];
    for (unsigned k = 0; k < SIZES; k++) {
        struct strset s;
        uint32_t n = sizes[k];
        strset_init(&s, &seed);
        for (uint32_t i = 0; i < 2 * n; i++)
            assert_int_equal(strset_add(&s, name_of(i + 1, text)), 1);
        for (uint32_t i = n; i < 2 * n; i++) /* pages that have been fuller */
            assert_int_equal(strset_remove(&s, name_of(i + 1, text)), 1);
        memset(times, 0, sizeof times);
        for (uint64_t i = 0; i < (uint64_t)n * DRAWS; i++)
            times[number_of(strset_member(&s, strset_random(&s, &rng)))]++;
        double chi2 = 0;
        for (uint32_t i = 1; i <= n; i++)
            chi2 += ((double)times[i] - DRAWS) * ((double)times[i] - DRAWS) / DRAWS;
        /* Degrees of freedom n - 1, deviation sqrt(2 (n - 1)): five of them. */
        double freedom = n - 1, excess = chi2 - freedom;
        assert_true(excess <= 0 || excess * excess <= 25 * 2 * freedom);
        release(&s);
    }
}

/* Only long members, and then the same in reverse order. */
static void holds_long_members(void **state)
{
    enum { LONGS = 300, BYTES = 70000 };
    char *text = malloc(BYTES);
    struct strset s, copy;
    assert_non_null(text);
    strset_init(&s, &seed);
    for (uint32_t i = 0; i < LONGS; i++) {
        memset(text, (char)i, BYTES);
        memcpy(text, &i, sizeof i);
        assert_int_equal(strset_add(&s, (struct str){text, 254 + i % 3}), 1);
        assert_int_equal(strset_add(&s, (struct str){text, 254 + i % 3}), 0);
        assert_int_equal(strset_add(&s, (struct str){text, BYTES - i}), 1);
    }
    strset_check(&s);
    assert_int_equal(strset_copy(&copy, &s), 0);
    for (uint32_t i = LONGS; i-- > 0;) {
        memset(text, (char)i, BYTES);
        memcpy(text, &i, sizeof i);
        assert_int_equal(strset_remove(&s, (struct str){text, BYTES - i}), 1);
        assert_true(strset_has(&copy, (struct str){text, BYTES - i}));
    }
    strset_check(&s);
    strset_check(&copy);
    assert_int_equal(s.count, LONGS);
    assert_int_equal(copy.count, 2 * LONGS);
    release(&s);
    release(&copy);
    free(text);
}

#ifdef LARDER_DEBUG
/* Memory runs out everywhere: what fails has not happened, what does not has. */
static void failures_change_nothing(void **state)
{
    static struct model m, twin;
    unsigned failures = 0;
    memset(&m, 0, sizeof m);
    strset_init(&m.s, &seed);
    for (unsigned i = 0; i < 60000; i++) {
        uint32_t k = (uint32_t)rng_below(&rng, NAMES / 4);
        char text[NAME_MAX_BYTES];
        struct str name = name_of(k, text);
        bool add = rng_below(&rng, 100) < (i / 15000 % 2 == 0 ? 75 : 25);
        if (i % 500 == 250) {
            if (twin.live)
                release(&twin.s);
            twin.live = m.s.npages > 0 && strset_copy(&twin.s, &m.s) == 0;
            twin.count = m.count;
            memcpy(twin.has, m.has, NAMES);
        }
        alloc_fail_after((int64_t)rng_below(&rng, 4));
        int rc = add ? strset_add(&m.s, name) : strset_remove(&m.s, name);
        alloc_fail_after(0);
        failures += rc == ERR_OOM;
        if (rc == ERR_OOM)
            continue;
        assert_int_equal(rc, add != m.has[k]);
        m.count = m.count + (add && rc) - (!add && rc);
        m.has[k] = add;
        if (i % 1000 == 0)
            compare(&m);
    }
    assert_true(failures > 500);
    compare(&m);
    if (twin.live) {
        compare(&twin);
        release(&twin.s);
    }
    release(&m.s);
}
#endif

int main(void)
{
    rng_init(&rng, 5);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(does_what_flags_do),      cmocka_unit_test(copies_are_separate),
        cmocka_unit_test(scans_miss_nobody),       cmocka_unit_test(draws_fairly),
        cmocka_unit_test(holds_long_members),
#ifdef LARDER_DEBUG
        cmocka_unit_test(failures_change_nothing),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
