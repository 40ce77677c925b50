/* Who loads and when, decided with a clock and a die of the test's own. */
#include "store/ext.h"
#include "unit/unit.h"

#include "base/err.h"
#include "cache/cache.h"
#include "cache/stats.h"
#include "proto/slot.h"
#include "store/store.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NOW = 1000000, DAY = 86400000 };
#define RUN_ID "0123456789012345678901234567890123456789"

struct world {
    struct store *s;
    struct cache *c;
    struct access a;
    struct rng rng;
};

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct store_options o = {.databases = 2, .threads = 1, .cluster = true};
    assert_int_equal(store_new(&w->s, &o), 0);
    assert_int_equal(cache_new(&w->c, w->s, RUN_ID), 0);
    w->a = (struct access){.store = w->s, .app = store_appender(w->s, 0), .now_ms = NOW};
    rng_init(&w->rng, 42);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    cache_free(w->c);
    store_free(w->s);
    free(w);
    return 0;
}

static struct key lock_key(struct world *w, const char *name)
{
    struct key k;
    key_make(w->s, &k, (struct str){name, strlen(name)}, 0);
    assert_true(store_lock_one(w->s, key_shard(&k)));
    return k;
}

static void unlock_key(struct world *w, const struct key *k)
{
    store_unlock_one(w->s, key_shard(k));
    cache_pay_debts(&w->a);
}

static enum cache_fill fill(struct world *w, const char *name, struct cache_value v)
{
    enum cache_fill out;
    struct meta m;
    int64_t expire_ms;
    struct key k = lock_key(w, name);
    v.bytes = STR("value");
    assert_int_equal(cache_fill(w->c, &w->a, &k, &v, &out, &m, &expire_ms), 0);
    unlock_key(w, &k);
    return out;
}

static struct cache_answer ask(struct world *w, const char *name, struct cache_ask q)
{
    struct cache_answer out;
    struct key k = lock_key(w, name);
    cache_read(w->c, &w->a, &k, &q, NULL, &w->rng, &out);
    unlock_key(w, &k);
    return out;
}

static void give_back(struct world *w, const char *name, uint64_t token)
{
    struct key k = lock_key(w, name);
    assert_true(cache_fail(w->c, &w->a, &k, token, 0));
    unlock_key(w, &k);
}

/* ---- early refresh
 * ------------------------------------------------------------------------------------------ */

/* At remaining time t, each of many readers alone: a binomial of chance e^(-t / (delta beta)). Six standard
 * deviations are never left by chance (2e-9), and the seed is fixed anyway. */
static void check_chance(struct world *w, int64_t delta, double beta, int64_t left)
{
    enum { TRIALS = 40000 };
    double p = exp(-(double)left / ((double)delta * beta)), n = 0;
    w->a.now_ms = NOW;
    assert_int_equal(fill(w, "k", (struct cache_value){.ttl_ms = DAY, .cost_ms = delta}), FILL_OK);
    w->a.now_ms = NOW + DAY - left;
    for (int i = 0; i < TRIALS; i++) {
        struct cache_answer got = ask(w, "k", (struct cache_ask){.lease_ms = 1000, .early = beta});
        assert_int_equal(got.state, CACHE_FRESH);
        if (got.token == 0)
            continue;
        n++;
        give_back(w, "k", got.token);
    }
    double off = fabs(n - TRIALS * p), sd = sqrt(TRIALS * p * (1 - p));
    if (off > 6 * sd + 1)
        fail_msg("delta %lld, beta %g, %lld ms left: %g of %d, expected %g +- %g", (long long)delta, beta,
                 (long long)left, n, TRIALS, TRIALS * p, 6 * sd);
}

static void test_early_refreshes_follow_the_exponential(void **state)
{
    static const int64_t lefts[] = {1, 50, 100, 200, 500, 1000, 2000, 4000};
    for (size_t i = 0; i < ARRAY_LEN(lefts); i++) {
        check_chance(*state, 500, 1, lefts[i]);
        check_chance(*state, 500, 2, lefts[i]);
        check_chance(*state, 100, 0.5, lefts[i]);
    }
}

/* One key read once a millisecond until somebody refreshes: when that is follows from the chances above, each
 * reader alone. The distribution in quarters, by chi square. */
static void test_when_a_key_is_refreshed(void **state)
{
    enum { KEYS = 8000, FROM = 6000, DELTA = 400, BINS = 8 };
    struct world *w = *state;
    double expected[BINS + 1] = {0}, alive = 1, chi = 0;
    int edge[BINS], seen[BINS + 1] = {0}, bin = 0;
    double cdf = 0;
    for (int left = FROM; left > 0; left--) { /* first the bins: each of about the same chance */
        double p = alive * exp(-(double)left / DELTA);
        alive -= p;
        cdf += p;
        if (bin < BINS && cdf >= (double)(bin + 1) / (BINS + 1))
            edge[bin++] = left;
    }
    assert_int_equal(bin, BINS);
    alive = 1;
    for (int left = FROM, b = 0; left > 0; left--) {
        double p = alive * exp(-(double)left / DELTA);
        alive -= p;
        expected[b] += p * KEYS;
        if (b < BINS && left == edge[b])
            b++;
    }
    for (int i = 0; i < KEYS; i++) {
        w->a.now_ms = NOW;
        assert_int_equal(fill(w, "k", (struct cache_value){.ttl_ms = FROM, .cost_ms = DELTA}), FILL_OK);
        struct cache_answer got = {0};
        int left = FROM + 1;
        while (got.token == 0 && left > 1) {
            w->a.now_ms = NOW + FROM - --left;
            got = ask(w, "k", (struct cache_ask){.lease_ms = 1000, .early = 1});
        }
        if (got.token == 0)
            continue; /* chance: alive, which is about nothing */
        int b = 0;
        while (b < BINS && left < edge[b])
            b++;
        seen[b]++;
        give_back(w, "k", got.token);
    }
    for (int b = 0; b <= BINS; b++)
        chi += (seen[b] - expected[b]) * (seen[b] - expected[b]) / expected[b];
    if (chi > 45) /* 8 degrees of freedom: 4e-7 */
        fail_msg("chi square %g", chi);
}

/* ---- leases
 * --------------------------------------------------------------------------------------------------- */

static void test_a_lease_outlives_the_expiry_of_what_it_refreshes(void **state)
{
    struct world *w = *state;
    assert_int_equal(fill(w, "k", (struct cache_value){.ttl_ms = 100, .cost_ms = DAY}), FILL_OK);
    struct cache_answer first = {0};
    while (first.token == 0)
        first = ask(w, "k", (struct cache_ask){.lease_ms = DAY, .early = 1000});
    w->a.now_ms += 200;
    struct cache_answer second = ask(w, "k", (struct cache_ask){.lease_ms = DAY});
    assert_int_equal(second.state, CACHE_MISS);
    assert_int_equal(second.token, 0);
    assert_int_equal(
        fill(w, "k", (struct cache_value){.has_lease = true, .token = first.token, .ttl_ms = 100}), FILL_OK);
    assert_int_equal(ask(w, "k", (struct cache_ask){0}).state, CACHE_FRESH);
}

static int woken;
static void note_wake(struct waiter *w)
{
    woken++;
}

/* Without the sweep: a timer that finds the lease run out passes it on itself. */
static void test_a_look_passes_the_lease_on(void **state)
{
    struct world *w = *state;
    struct cache_answer first = ask(w, "k", (struct cache_ask){.lease_ms = 100}), got;
    assert_true(first.token != 0);
    struct waiter young = {.wake = note_wake, .wants = true, .lease_ms = 1000, .until_ms = NOW + DAY},
                  old = young;
    struct waiter *waiters[] = {&old, &young};
    struct cache_ask q = {.lease_ms = 1000, .wait_ms = DAY};
    struct key k = lock_key(w, "k");
    for (size_t i = 0; i < ARRAY_LEN(waiters); i++) {
        cache_read(w->c, &w->a, &k, &q, NULL, &w->rng, &got);
        assert_non_null(got.wait_at);
        cache_wait(w->c, &k, got.wait_at, waiters[i]);
    }
    int64_t at;
    assert_int_equal(cache_look(w->c, &w->a, &young, &at), LOOK_AGAIN);
    assert_int_equal(at, NOW + 100);
    w->a.now_ms += 100;
    woken = 0;
    assert_int_equal(cache_look(w->c, &w->a, &young, &at), LOOK_AGAIN);
    assert_int_equal(at,
                     NOW + 100 + 1000); /* the end of the other one's lease, which it has just been given */
    unlock_key(w, &k);
    assert_int_equal(woken, 1);
    assert_true(old.token > first.token && old.at == NULL && young.token == 0 && young.at != NULL);
    k = lock_key(w, "k");
    assert_true(cache_leave(w->c, &w->a, &young));
    unlock_key(w, &k);
}

static void test_a_look_finds_itself_the_oldest(void **state)
{
    struct world *w = *state;
    struct cache_answer got;
    int64_t at;
    assert_true(ask(w, "k", (struct cache_ask){.lease_ms = 100}).token != 0);
    struct waiter one = {.wake = note_wake, .wants = true, .lease_ms = 1000, .until_ms = NOW + DAY};
    struct key k = lock_key(w, "k");
    cache_read(w->c, &w->a, &k, &(struct cache_ask){.lease_ms = 1000, .wait_ms = DAY}, NULL, &w->rng, &got);
    cache_wait(w->c, &k, got.wait_at, &one);
    w->a.now_ms += 100;
    assert_int_equal(cache_look(w->c, &w->a, &one, &at), LOOK_AWAY);
    assert_true(one.token != 0);
    unlock_key(w, &k);
}

static void test_leases_of_a_slot_that_leaves_are_void(void **state)
{
    struct world *w = *state;
    bool slots[SLOT_COUNT] = {false};
    uint64_t gone = ask(w, "gone", (struct cache_ask){.lease_ms = DAY}).token,
             stays = ask(w, "stays", (struct cache_ask){.lease_ms = DAY}).token;
    slots[slot_of(STR("gone"))] = true;
    cache_leave_slots(w->c, &w->a, slots);
    assert_int_equal(fill(w, "gone", (struct cache_value){.has_lease = true, .token = gone}),
                     FILL_LEASE_LOST);
    assert_int_equal(fill(w, "stays", (struct cache_value){.has_lease = true, .token = stays}), FILL_OK);
}

/* ---- the short way of a hit */

/* It says of an entry what the long way says, or nothing. */
static void check_hit(struct world *w, const char *name, bool wants_hit)
{
    struct cache_answer slow = ask(w, name, (struct cache_ask){.lease_ms = 0}), fast;
    struct key k = lock_key(w, name);
    bool hit = cache_hit(w->c, &w->a, store_find_any(&w->a, &k), &fast);
    unlock_key(w, &k);
    assert_int_equal(hit, wants_hit);
    if (!hit)
        return;
    assert_int_equal(slow.state, CACHE_FRESH);
    assert_int_equal(fast.state, slow.state);
    assert_ptr_equal(fast.value.p, slow.value.p);
    assert_int_equal(fast.value.n, slow.value.n);
    assert_ptr_equal(fast.block, slow.block);
    assert_int_equal(fast.ttl_ms, slow.ttl_ms);
    assert_int_equal(fast.age_ms, slow.age_ms);
    assert_int_equal(fast.has_version, slow.has_version);
    assert_int_equal(fast.version, slow.version);
    assert_int_equal(fast.token, 0);
    assert_int_equal(fast.retry_ms, slow.retry_ms);
    assert_true(!fast.wrong_type && !fast.refused && fast.wait_at == NULL);
}

static void test_the_short_way_of_a_hit(void **state)
{
    struct world *w = *state;
    const struct str red = STR("red"), blue = STR("blue");
    check_hit(w, "none", false);
    (void)fill(w, "ever", (struct cache_value){.cost_ms = -1});
    (void)fill(w, "k",
               (struct cache_value){.ttl_ms = 1000, .grace_ms = DAY, .has_version = true, .version = 7});
    (void)fill(w, "red", (struct cache_value){.ttl_ms = DAY, .ntags = 1, .tags = &red});
    (void)fill(w, "blue", (struct cache_value){.ttl_ms = DAY, .grace_ms = DAY, .ntags = 1, .tags = &blue});
    (void)fill(w, "not", (struct cache_value){.ttl_ms = DAY, .negative = true});
    (void)fill(w, "soft", (struct cache_value){.ttl_ms = DAY, .grace_ms = DAY});
    w->a.now_ms += 5;
    for (unsigned i = 0; i < 5; i++)
        check_hit(w, (const char *[]){"ever", "k", "red", "blue", "soft"}[i], true);
    check_hit(w, "not", false);
    struct key k = lock_key(w, "soft");
    bool softened;
    (void)cache_invalidate(w->c, &w->a, &k, &(struct cache_invalidation){.soft = true, .hold_ms = -1},
                           &softened);
    unlock_key(w, &k);
    (void)cache_purge_tag(w->c, meta_tag_hash(red), false);
    (void)cache_purge_tag(w->c, meta_tag_hash(blue), true);
    for (unsigned i = 0; i < 3; i++)
        check_hit(w, (const char *[]){"soft", "red", "blue"}[i], false);
    check_hit(w, "k", true);
    w->a.now_ms += 1000;
    check_hit(w, "k", false);
    check_hit(w, "ever", true);
    cache_purge_at(w->c, 0, 1000, true); /* of everything: loaded is not fresh */
    check_hit(w, "ever", false);
}

/* ---- origin budgets */

static void test_budgets(void **state)
{
    struct world *w = *state;
    struct cache_settings settings = {
        .leases_max = 1 << 20, .nbudgets = 3, .budgets = {{"u", 3}, {"user:", 2}, {"page:", 1}}};
    const struct cache_ask q = {.lease_ms = 100};
    cache_set(w->c, &settings);
    struct cache_answer a = ask(w, "user:a", q), b = ask(w, "user:b", q), no = ask(w, "user:c", q);
    assert_true(a.token != 0 && b.token != 0);
    assert_true(no.token == 0 && no.retry_ms > 0 && no.wait_at == NULL);
    assert_true(ask(w, "page:a", q).token != 0 && ask(w, "page:b", q).token == 0);
    for (int i = 0; i < 3; i++) { /* the longest prefix counts: these have a budget of their own */
        char name[] = {'u', (char)('0' + i), '\0'};
        assert_true(ask(w, name, q).token != 0);
    }
    assert_int_equal(ask(w, "u9", q).token, 0);
    assert_true(ask(w, "other", q).token != 0);
    /* Each way in which a lease ends gives its place back: a fill, a failure, an invalidation, its time. */
    assert_int_equal(fill(w, "user:a", (struct cache_value){.has_lease = true, .token = a.token}), FILL_OK);
    a = ask(w, "user:c", q);
    assert_true(a.token != 0 && ask(w, "user:d", q).token == 0);
    give_back(w, "user:c", a.token);
    assert_true(ask(w, "user:d", q).token != 0 && ask(w, "user:e", q).token == 0);
    struct key k = lock_key(w, "user:d");
    bool softened;
    (void)cache_invalidate(w->c, &w->a, &k, &(struct cache_invalidation){.hold_ms = -1}, &softened);
    unlock_key(w, &k);
    assert_true(ask(w, "user:e", q).token != 0 && ask(w, "user:f", q).token == 0);
    w->a.now_ms += 100;
    for (int i = 0; i < 8; i++)
        cache_sweep(w->c, &w->a);
    assert_int_equal(atomic_load(&cache_budgets(w->c)->list[1].out), 0);
    assert_true(ask(w, "user:f", q).token != 0);
    /* A new list counts what is outstanding, and may find it too much. */
    settings.budgets[1].max = 1;
    cache_set(w->c, &settings);
    assert_int_equal(atomic_load(&cache_budgets(w->c)->list[1].out), 1);
    assert_int_equal(ask(w, "user:g", q).token, 0);
    settings.nbudgets = 0;
    cache_set(w->c, &settings);
    assert_true(ask(w, "user:g", q).token != 0);
}

/* ---- purges
 * --------------------------------------------------------------------------------------------------- */

static uint64_t keys_after_upkeep(struct world *w)
{
    for (int i = 0; i < 200; i++) {
        w->a.now_ms += 1000;
        store_round_begin(w->s, w->a.app);
        (void)store_maintain(&w->a, 100000);
    }
    return store_db_keys(w->s, 0);
}

static void test_the_sweep_takes_purged_entries_out(void **state)
{
    enum { KEYS = 3000 };
    struct world *w = *state;
    const struct str red = STR("red"), blue = STR("blue");
    char name[32];
    for (int i = 0; i < KEYS; i++) {
        snprintf(name, sizeof name, "k%d", i);
        assert_int_equal(fill(w, name, (struct cache_value){.ntags = 1, .tags = i % 3 != 0 ? &red : &blue}),
                         FILL_OK);
    }
    uint64_t token = 0;
    while (token == 0)
        token = ask(w, "new", (struct cache_ask){.lease_ms = DAY}).token;
    assert_int_equal(keys_after_upkeep(w), KEYS);
    cache_purge_tag(w->c, meta_tag_hash(blue), true); /* softly: somebody may want it stale */
    assert_int_equal(keys_after_upkeep(w), KEYS);
    cache_purge_tag(w->c, meta_tag_hash(red), false);
    uint64_t again = ask(w, "k1", (struct cache_ask){.lease_ms = DAY}).token;
    assert_true(again != 0);
    assert_int_equal(keys_after_upkeep(w), KEYS / 3);
    /* Taking it out was nobody's write: who loads it anew still may. */
    w->a.now_ms = NOW;
    assert_int_equal(
        fill(w, "k1", (struct cache_value){.has_lease = true, .token = again, .ntags = 1, .tags = &red}),
        FILL_OK);
    assert_int_equal(ask(w, "k1", (struct cache_ask){0}).state, CACHE_FRESH);
    store_check(w->s);
}

/* A pattern is not forgotten while somebody may still load what it banned. */
static void test_a_ban_outlives_the_leases_before_it(void **state)
{
    struct world *w = *state;
    uint64_t number;
    struct cache_answer old = ask(w, "k", (struct cache_ask){.lease_ms = DAY});
    assert_int_not_equal(old.token, 0);
    assert_int_equal(cache_ban(w->c, &w->a, 0, STR("k"), false, 0, &number), 0);
    for (int i = 0; i < 100; i++, w->a.now_ms += 100)
        (void)store_maintain(&w->a, 100000);
    assert_int_equal(store_bans(w->s), 1);
    for (uint32_t i = 0; i < STORE_SHARDS; i++) /* a call looks at some shards */
        cache_sweep(w->c, &w->a);
    for (int i = 0; i < 100 && store_bans(w->s) != 0; i++, w->a.now_ms += 100)
        (void)store_maintain(&w->a, 100000);
    assert_int_equal(store_bans(w->s), 0);
    struct cache_value v = {.has_lease = true, .token = old.token};
    assert_int_equal(fill(w, "k", v), FILL_LEASE_LOST);
    v.token = ask(w, "k", (struct cache_ask){.lease_ms = DAY}).token;
    assert_int_equal(fill(w, "k", v), FILL_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_early_refreshes_follow_the_exponential, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_when_a_key_is_refreshed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_lease_outlives_the_expiry_of_what_it_refreshes, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_look_passes_the_lease_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_look_finds_itself_the_oldest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_leases_of_a_slot_that_leaves_are_void, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_short_way_of_a_hit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_budgets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_ban_outlives_the_leases_before_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_sweep_takes_purged_entries_out, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
