/* SCAN's promise: a key that is there from the first call to the last is returned, however
 * much the tables grow and shrink meanwhile. And RANDOMKEY, which should favour none. */
#include "model.h"

#include "store/table_internal.h"

enum { STABLE = 600, CHURN = 4000 };

struct seen {
    uint32_t times[STABLE];
    uint64_t total;
    uint32_t stop_after; /* 0: never */
};

static void name_stable(char *p, size_t n, uint32_t i, bool one_slot)
{
    snprintf(p, n, one_slot ? "{a}stable:%u" : "stable:%u", i);
}

static bool visit(void *arg, const struct entry *e)
{
    struct seen *seen = arg;
    struct str k = entry_key(e);
    char text[64] = "";
    memcpy(text, k.p, k.n < 63 ? k.n : 63);
    const char *at = strstr(text, "stable:");
    if (at != NULL)
        seen->times[atoi(at + 7)]++;
    seen->total++;
    return seen->stop_after == 0 || seen->total % seen->stop_after != 0;
}

static struct key make(struct store *s, const char *p, uint32_t db)
{
    struct key k;
    key_make(s, &k, str_of(p), db);
    return k;
}

static void put(const struct access *a, const char *name, uint32_t db)
{
    struct key k = make(a->store, name, db);
    ASSERT(store_put_string(a, &k, STR("v"), NULL, 0, 0) == 0);
}

static void drop(const struct access *a, const char *name)
{
    struct key k = make(a->store, name, 0);
    (void)store_delete(a, &k);
}

/* Other keys come and go in waves, so that tables split and merge between the calls. */
static void churn(const struct access *a, struct rng *rng, bool one_slot, uint32_t *target)
{
    char name[64];
    if (rng_below(rng, 6) == 0)
        *target = (uint32_t)rng_below(rng, CHURN);
    for (uint32_t i = 0; i < 400; i++) {
        uint32_t n = (uint32_t)rng_below(rng, CHURN);
        snprintf(name, sizeof name, one_slot ? "{a}churn:%u" : "churn:%u", n);
        if (n < *target)
            put(a, name, 0);
        else
            drop(a, name);
    }
}

static void scan_while_changing(bool one_slot, uint64_t seed)
{
    struct store *s = model_store(0, 1, one_slot ? seed | 1 : seed); /* odd: slots by hash tag */
    struct access a = {.store = s, .app = store_appender(s, 0), .now_ms = 1000};
    struct rng rng;
    char name[64];
    uint32_t target = 0;
    rng_init(&rng, seed);
    for (uint32_t i = 0; i < STABLE; i++) {
        name_stable(name, sizeof name, i, one_slot);
        put(&a, name, 0);
        put(&a, name, 1); /* another database's, never to be seen */
    }
    for (int round = 0; round < 8; round++) {
        struct seen seen = {.stop_after = round % 3 == 0 ? 7 : 0};
        uint64_t cursor = 0;
        uint32_t busy, calls = 0;
        do {
            churn(&a, &rng, one_slot, &target);
            uint32_t count = 1 + (uint32_t)rng_below(&rng, round % 2 == 0 ? 20 : 500);
            ASSERT(store_scan(&a, 0, cursor, count, visit, &seen, &cursor, &busy) == 0);
            ASSERT(cursor < (uint64_t)1 << 53);
            if (seen.stop_after != 0 && calls++ > 50)
                seen.stop_after = 0; /* a visitor that always stops would not get anywhere */
        } while (cursor != 0);
        for (uint32_t i = 0; i < STABLE; i++)
            ASSERT(seen.times[i] > 0);
    }
    struct store_stats st;
    store_stats(s, &st);
    if (one_slot)
        assert_true(st.splits > 10 && st.merges > 10);
    store_check(s);
    store_free(s);
}

static void test_scan_one_slot(void **state)
{
    scan_while_changing(true, 1);
    scan_while_changing(true, 2);
}

static void test_scan_all_slots(void **state)
{
    scan_while_changing(false, 3);
}

/* Nothing changes: every key exactly once, the calls are many, and each does about what it was asked for. */
static void test_scan_still(void **state)
{
    struct store *s = model_store(0, 1, 4);
    struct access a = {.store = s, .app = store_appender(s, 0), .now_ms = 1000};
    struct seen seen = {.stop_after = 0};
    char name[64];
    for (uint32_t i = 0; i < STABLE; i++) {
        name_stable(name, sizeof name, i, i % 2 == 0);
        put(&a, name, 2);
    }
    uint64_t cursor = 0;
    uint32_t busy, calls = 0;
    do {
        uint64_t before = seen.total;
        ASSERT(store_scan(&a, 2, cursor, 10, visit, &seen, &cursor, &busy) == 0);
        assert_true(seen.total - before < 60);
        calls++;
    } while (cursor != 0);
    for (uint32_t i = 0; i < STABLE; i++)
        assert_int_equal(seen.times[i], 1);
    assert_true(calls > 20 && calls < 120);
    /* Any number is a cursor. */
    struct rng rng;
    rng_init(&rng, 1);
    for (uint32_t i = 0; i < 20000; i++)
        ASSERT(store_scan(&a, 2, rng_u64(&rng) >> rng_below(&rng, 64), 10, visit, &seen, &cursor, &busy) ==
               0);
    store_free(s);
}

/* An empty database, or one with a key at the very end of the slots, is scanned in one call. */
static void test_scan_sparse(void **state)
{
    struct store *s = model_store(0, 1, 5);
    struct access a = {.store = s, .app = store_appender(s, 0), .now_ms = 1000};
    struct seen seen = {.stop_after = 0};
    uint64_t cursor = 0;
    uint32_t busy;
    assert_int_equal(store_scan(&a, 0, 0, 10, visit, &seen, &cursor, &busy), 0);
    assert_int_equal(cursor, 0);
    put(&a, "stable:1", 0);
    assert_int_equal(store_scan(&a, 0, 0, 10, visit, &seen, &cursor, &busy), 0);
    assert_int_equal(cursor, 0);
    assert_int_equal(seen.times[1], 1);
    store_free(s);
}

static void test_scan_busy(void **state)
{
    struct store *s = model_store(0, 1, 6);
    struct access a = {.store = s, .app = store_appender(s, 0), .now_ms = 1000};
    struct seen seen = {.stop_after = 0};
    struct lockset ls;
    uint64_t cursor = 0;
    uint32_t busy = 0;
    struct key k = make(s, "stable:5", 0);
    put(&a, "stable:5", 0);
    lockset_init(&ls);
    lockset_add(&ls, key_shard(&k));
    assert_true(store_lock(s, &ls));
    store_make_busy(s, &ls);
    assert_true(store_shard_busy(s, key_shard(&k)));
    assert_false(store_lock(s, &ls));
    assert_int_equal(store_scan(&a, 0, 0, 10, visit, &seen, &cursor, &busy), ERR_AGAIN);
    assert_int_equal(busy, key_shard(&k));
    a.lane = true; /* whose shards they are */
    assert_int_equal(store_scan(&a, 0, cursor, 10, visit, &seen, &cursor, &busy), 0);
    assert_int_equal(cursor, 0);
    assert_int_equal(seen.times[5], 1);
    a.lane = false;
    store_busy_enter(s, &ls);
    store_busy_leave(s, &ls);
    assert_int_equal(store_scan(&a, 0, 0, 10, visit, &seen, &cursor, &busy), 0);
    store_free(s);
}

static void test_random_key(void **state)
{
    enum { KEYS = 300, DRAWS = 60000 };
    struct store *s = model_store(0, 1, 7);
    struct access a = {.store = s, .app = store_appender(s, 0), .now_ms = 1000};
    struct arena arena;
    struct rng rng;
    struct str key;
    uint32_t times[KEYS] = {0};
    char name[64];
    arena_init(&arena);
    rng_init(&rng, 9);
    assert_int_equal(store_random_key(&a, 0, &rng, &arena, &key), 0);
    assert_null(key.p);
    for (uint32_t i = 0; i < KEYS; i++) {
        snprintf(name, sizeof name, i % 2 == 0 ? "{b}%u" : "%u", i); /* half of them in one slot */
        put(&a, name, 0);
        put(&a, name, 1);
    }
    for (uint32_t i = 0; i < DRAWS; i++) {
        ASSERT(store_random_key(&a, 0, &rng, &arena, &key) == 0 && key.p != NULL);
        times[atoi(key.p + (key.p[0] == '{' ? 3 : 0))]++;
        arena_reset(&arena);
    }
    for (uint32_t i = 0; i < KEYS; i++) /* 200 expected */
        assert_in_range(times[i], 100, 340);
    /* All but one expired: that one is found. */
    for (uint32_t i = 1; i < KEYS; i++) {
        snprintf(name, sizeof name, i % 2 == 0 ? "{b}%u" : "%u", i);
        struct key k = make(s, name, 0);
        ASSERT(store_set_expire(&a, &k, 2000) == 0);
    }
    a.now_ms = 3000;
    int found = 0;
    for (uint32_t i = 0; i < 100; i++) { /* a worker gives up */
        int err = store_random_key(&a, 0, &rng, &arena, &key);
        assert_true(err == ERR_FULL || (err == 0 && str_eq(key, STR("{b}0"))));
        found += err == 0;
    }
    assert_true(found < 100);
    a.lane = true;
    for (uint32_t i = 0; i < 100; i++) { /* the lane does not */
        ASSERT(store_random_key(&a, 0, &rng, &arena, &key) == 0);
        assert_str(key, STR("{b}0"));
    }
    arena_release(&arena);
    store_free(s);
}

/* Pages of one table may hold twice as many keys as others; their keys are drawn as often. */
static void test_random_key_is_fair(void **state)
{
    enum { KEYS = 500, DRAWS = 100000 };
    struct store *s = model_store(0, 1, 9); /* odd: slots by hash tag */
    struct access a = {.store = s, .app = store_appender(s, 0), .now_ms = 1000};
    struct arena arena;
    struct rng rng;
    struct str key;
    uint32_t draws[16] = {0}, keys[16] = {0};
    char name[64];
    arena_init(&arena);
    rng_init(&rng, 9);
    for (uint32_t i = 0; i < KEYS; i++) {
        snprintf(name, sizeof name, "{c}%u", i);
        put(&a, name, 0);
    }
    struct key k = make(s, "{c}0", 0);
    uint32_t npages = table_pages(&s->slots[k.slot]);
    assert_in_range(npages, 3, 7); /* no power of two: some are split, some are not */
    assert_true((npages & (npages - 1)) != 0);
    for (uint32_t i = 0; i < KEYS; i++) {
        snprintf(name, sizeof name, "{c}%u", i);
        k = make(s, name, 0);
        keys[page_number(npages, k.hash)]++;
    }
    for (uint32_t i = 0; i < DRAWS; i++) {
        ASSERT(store_random_key(&a, 0, &rng, &arena, &key) == 0 && key.p != NULL);
        key_make(s, &k, key, 0);
        draws[page_number(npages, k.hash)]++;
        arena_reset(&arena);
    }
    for (uint32_t p = 0; p < npages; p++) {
        double each = (double)draws[p] / keys[p] / ((double)DRAWS / KEYS);
        assert_true(each > 0.9 && each < 1.1);
    }
    arena_release(&arena);
    store_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scan_one_slot),      cmocka_unit_test(test_scan_all_slots),
        cmocka_unit_test(test_scan_still),         cmocka_unit_test(test_scan_sparse),
        cmocka_unit_test(test_scan_busy),          cmocka_unit_test(test_random_key),
        cmocka_unit_test(test_random_key_is_fair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
