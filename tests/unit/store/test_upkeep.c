/* What store_maintain() owes: expired keys go, dead space is reclaimed, flushed memory
 * comes back, and the accounts say so. Time is the test's own. */
#include "model.h"

enum { STEP_MS = 100, BUDGET_US = 1000000 };

static struct key make(struct store *s, char *p, size_t n, uint64_t i, uint32_t db)
{
    struct key k;
    int len = snprintf(p, n, "key:%llu", (unsigned long long)i);
    key_make(s, &k, (struct str){p, (size_t)len}, db);
    return k;
}

static void put(const struct access *a, uint64_t i, uint32_t db, size_t size, int64_t expire)
{
    static char bytes[1 << 20];
    char p[32];
    struct key k = make(a->store, p, sizeof p, i, db);
    store_round_begin(a->store, a->app);
    ASSERT(store_put_string(a, &k, (struct str){bytes, size}, NULL, expire, 0) == 0);
}

static void drop(const struct access *a, uint64_t i, uint32_t db)
{
    char p[32];
    struct key k = make(a->store, p, sizeof p, i, db);
    ASSERT(store_delete(a, &k));
}

static struct access setup_store(struct store **s, uint64_t maxmemory)
{
    *s = model_store(maxmemory, 2, 1);
    return (struct access){.store = *s, .app = store_appender(*s, 0), .now_ms = 1000000};
}

static void upkeep(struct access *a, int64_t ms)
{
    for (int64_t end = a->now_ms + ms; a->now_ms < end; a->now_ms += STEP_MS)
        for (int i = 0; i < 200 && store_maintain(a, BUDGET_US) == 0; i++)
            ;
}

/* Bytes of entries that are past their deadline but still lie in segments: what keys there are too many of.
 */
static double expired_share(const struct access *a, const int64_t *deadline, uint32_t n)
{
    uint64_t live = 0;
    for (uint32_t i = 0; i < n; i++)
        live += deadline[i] > a->now_ms;
    uint64_t held = store_db_keys(a->store, 0);
    ASSERT(held >= live);
    return held == 0 ? 0 : (double)(held - live) / (double)held;
}

/* A steady stream of keys that live from 1 s to 10 minutes. */
static void test_expired_do_not_stay(void **state)
{
    enum { KEYS = 400000, SECONDS = 400 };
    struct store *s;
    struct access a = setup_store(&s, 0);
    int64_t *deadline = calloc(KEYS, sizeof *deadline);
    struct rng rng;
    double sum = 0, worst = 0;
    uint32_t n = 0, samples = 0;
    rng_init(&rng, 4);
    for (int t = 0; t < SECONDS * 1000 / STEP_MS; t++) {
        for (int i = 0; i < 100 && n < KEYS; i++, n++) {
            int64_t ttl = (int64_t)1000 << rng_below(&rng, 10);
            deadline[n] = a.now_ms + ttl / 2 + (int64_t)rng_below(&rng, (uint64_t)ttl);
            put(&a, n, 0, 100, deadline[n]);
        }
        upkeep(&a, STEP_MS);
        if (t > SECONDS * 1000 / STEP_MS / 4) {
            double share = expired_share(&a, deadline, n);
            sum += share;
            samples++;
            worst = share > worst ? share : worst;
        }
    }
    print_message("expired but resident: %.2f %% on average, %.2f %% at worst\n", 100 * sum / samples,
                  100 * worst);
    assert_true(sum / samples < 0.02);
    upkeep(&a, 1000 * 1000);
    assert_int_equal(store_db_keys(s, 0), 0);
    assert_int_equal(store_db_expires(s, 0), 0);
    struct store_stats st;
    store_stats(s, &st);
    assert_int_equal(st.expired, n);
    store_check(s);
    free(deadline);
    store_free(s);
}

/* A deadline that is brought forward, or put on a key that had none, is noticed, too. */
static void test_expire_brought_forward(void **state)
{
    struct store *s;
    struct access a = setup_store(&s, 0);
    char p[32];
    for (uint32_t i = 0; i < 1000; i++)
        put(&a, i, 0, 10, i % 2 == 0 ? 0 : a.now_ms + 100000000);
    upkeep(&a, 1000);
    for (uint32_t i = 0; i < 1000; i++) {
        struct key k = make(s, p, sizeof p, i, 0);
        ASSERT(store_set_expire(&a, &k, a.now_ms + 5000) == 0);
    }
    upkeep(&a, 3000);
    assert_int_equal(store_db_keys(s, 0), 1000);
    upkeep(&a, 5000);
    assert_int_equal(store_db_keys(s, 0), 0);
    store_free(s);
}

/* With few segments to walk, a key is gone a second after its time, however long it lived and however
 * many live on around it. */
static void test_gone_within_a_second(void **state)
{
    enum { OTHERS = 2000 };
    struct store *s;
    struct access a = setup_store(&s, 0);
    upkeep(&a, 200); /* a pass has seen how few segments there are */
    put(&a, 1, 0, 10, a.now_ms + 100);
    put(&a, 2, 0, 10, a.now_ms + 100000);
    for (uint32_t i = 0; i < OTHERS; i++)
        put(&a, 10 + i, 0, 10, a.now_ms + 125000);
    upkeep(&a, 1200);
    assert_int_equal(store_db_keys(s, 0), OTHERS + 1);
    upkeep(&a, 98700);
    assert_int_equal(store_db_keys(s, 0), OTHERS + 1);
    upkeep(&a, 1500);
    assert_int_equal(store_db_keys(s, 0), OTHERS);
    upkeep(&a, 30000);
    assert_int_equal(store_db_keys(s, 0), 0);
    store_free(s);
}

static void test_replica_and_debug_keep(void **state)
{
    struct store *s;
    struct access a = setup_store(&s, 0);
    for (uint32_t i = 0; i < 1000; i++)
        put(&a, i, 0, 10, a.now_ms + 500);
    a.expired = EXPIRED_HIDE;
    upkeep(&a, 10000);
    assert_int_equal(store_db_keys(s, 0), 1000);
    char p[32];
    struct key k = make(s, p, sizeof p, 1, 0);
    assert_null(store_find(&a, &k));
    assert_int_equal(store_set_expire(&a, &k, 0), ERR_NOTFOUND);
    assert_int_equal(store_db_keys(s, 0), 1000);
    a.expired = EXPIRED_SHOW;
    char *data;
    struct entry *e = store_find(&a, &k);
    assert_non_null(e);
    int64_t deadline = entry_expire(e);
    assert_int_equal(store_edit_string(&a, &k, e, 5000, &data), 0);
    assert_int_equal(entry_expire(store_find(&a, &k)), deadline);
    assert_int_equal(store_put_string(&a, &k, STR("v"), NULL, 0, PUT_KEEP_TTL), 0);
    assert_int_equal(entry_expire(store_find(&a, &k)), deadline);
    a.expired = EXPIRED_HIDE;
    assert_int_equal(store_put_string(&a, &k, STR("v"), NULL, 0, PUT_KEEP_TTL), 0);
    assert_int_equal(entry_expire(store_find(&a, &k)), 0);
    assert_true(store_delete(&a, &k));
    a.expired = EXPIRED_REMOVE;
    store_set_active_expire(s, false);
    upkeep(&a, 10000);
    assert_int_equal(store_db_keys(s, 0), 999);
    store_set_active_expire(s, true);
    upkeep(&a, 3000);
    assert_int_equal(store_db_keys(s, 0), 0);
    store_free(s);
}

static double dead_share(struct store *s, struct store_memory *m)
{
    store_memory(s, m);
    return (double)m->dead / (double)m->segments;
}

/* Random deletions leave every segment half empty: compaction makes them whole again, and gives memory back.
 */
static void test_compaction(void **state)
{
    enum { KEYS = 300000 };
    struct store *s;
    struct access a = setup_store(&s, 0);
    struct store_memory m;
    struct rng rng;
    uint64_t left = 0;
    rng_init(&rng, 5);
    for (uint32_t i = 0; i < KEYS; i++)
        put(&a, i, 0, 40 + i % 100, i % 4 == 0 ? a.now_ms + 1000000000 + i : 0);
    bool *kept = calloc(KEYS, 1);
    for (uint32_t i = 0; i < KEYS; i++) {
        kept[i] = rng_below(&rng, 2) == 0;
        left += kept[i];
        if (!kept[i])
            drop(&a, i, 0);
    }
    assert_true(dead_share(s, &m) > 0.4);
    uint64_t before = m.segments;
    upkeep(&a, 2000);
    assert_true(dead_share(s, &m) < 0.15);
    assert_true(m.segments < before * 6 / 10);
    assert_true(m.free_segments < 16u << s->segs.shift);
    assert_int_equal(store_db_keys(s, 0), left);
    char p[32];
    for (uint32_t i = 0; i < KEYS; i++) {
        struct key k = make(s, p, sizeof p, i, 0);
        struct entry *e = store_find(&a, &k);
        ASSERT((e != NULL) == kept[i]);
        ASSERT(e == NULL || entry_expire(e) == (i % 4 == 0 ? 1000000 + 1000000000 + i : 0));
    }
    store_check(s);
    free(kept);
    store_free(s);
}

/* The world of a small cache: sizes change all the time, and 20 times its memory is written. */
static void test_churn_in_small_memory(void **state)
{
    enum { KEYS = 30000, MAXMEMORY = 16 << 20 };
    struct store *s;
    struct access a = setup_store(&s, MAXMEMORY);
    struct store_memory m;
    struct rng rng;
    uint64_t written = 0, refused = 0;
    rng_init(&rng, 6);
    while (written < 20ull * MAXMEMORY) {
        size_t n = 50 + rng_below(&rng, 500);
        written += n;
        if (rng_below(&rng, 50) == 0)
            store_maintain(&a, 500);
        if (store_over_memory(s)) {
            refused++;
            store_maintain(&a, 1000);
            a.now_ms += STEP_MS;
            continue;
        }
        put(&a, rng_below(&rng, KEYS), 0, n, rng_below(&rng, 3) == 0 ? a.now_ms + 100000 : 0);
        ASSERT(store_used(s) <= MAXMEMORY + 2 * s->segs.size);
    }
    upkeep(&a, 1000);
    assert_true(dead_share(s, &m) < 0.20);
    store_check(s);
    store_free(s);
}

/* Of many keys one in fifty is left, a bucket of its slot each: the tables' memory goes back as well. */
static void test_mass_deletion_gives_tables_back(void **state)
{
    enum { KEYS = 300000, LEFT = 50 };
    struct store *s;
    struct access a = setup_store(&s, 0);
    struct store_memory before, after;
    for (uint32_t i = 0; i < KEYS; i++)
        put(&a, i, 0, 10, 0);
    store_memory(s, &before);
    for (uint32_t i = 0; i < KEYS; i++)
        if (i % LEFT != 0)
            drop(&a, i, 0);
    upkeep(&a, 2000);
    store_memory(s, &after);
    print_message("tables: %llu KB, %llu when most keys are gone\n", (unsigned long long)before.tables >> 10,
                  (unsigned long long)after.tables >> 10);
    uint64_t free, units = pool_units(&s->pool, &free), spare = POOL_DIRTY_PAGES * POOL_PAGE;
    assert_true(units < KEYS / LEFT * 4 / 3 && free < units / 4);
    assert_true(after.tables <= STORE_SLOTS * sizeof(struct table) + units * POOL_UNIT + spare);
    assert_int_equal(atomic_load(&s->pack_left), 0); /* it does not go on for ever */
    for (uint32_t i = 0; i < KEYS; i++) {
        char p[32];
        struct key k = make(s, p, sizeof p, i, 0);
        ASSERT((store_find(&a, &k) != NULL) == (i % LEFT == 0));
    }
    store_check(s);
    for (uint32_t i = 0; i < KEYS; i += LEFT)
        drop(&a, i, 0);
    upkeep(&a, 1000);
    assert_in_range(s->pool.pages_used, 0, 2 * POOL_CACHE_RUNS); /* what the thread's cache keeps */
    store_free(s);
}

/* Pages of the pool that stay as they are, because nobody knows whose runs these are: the walk gives up, and
 * begins anew when more is deleted. */
static void test_what_cannot_be_packed(void **state)
{
    enum { PAGES = 200, KEYS = 300000 };
    static uint32_t unit[PAGES * POOL_PAGE_UNITS];
    struct store *s;
    struct access a = setup_store(&s, 0);
    for (uint32_t i = 0; i < ARRAY_LEN(unit); i++)
        unit[i] = pool_take(&s->pool, NULL, 0);
    for (uint32_t i = 0; i < ARRAY_LEN(unit); i++)
        if (unit[i] % POOL_PAGE_UNITS != i % 7)
            pool_give(&s->pool, NULL, unit[i], 0);
    assert_in_range(s->pool.pages_used, PAGES / 8, PAGES);
    upkeep(&a, 1000);
    assert_int_equal(atomic_load(&s->pack_left), 0);
    assert_true(store_maintain(&a, BUDGET_US) > 0);
    for (uint32_t i = 0; i < KEYS; i++)
        put(&a, i, 0, 10, 0);
    for (uint32_t i = 0; i < KEYS; i++)
        if (i % 50 != 0)
            drop(&a, i, 0);
    uint64_t before = s->pool.pages_used;
    upkeep(&a, 1000);
    assert_true(s->pool.pages_used < before / 2);
    assert_int_equal(atomic_load(&s->pack_left), 0);
    store_check(s);
    store_free(s);
}

/* Of a flushed store nothing remains, heap values included; and writing may go on at once. */
static void test_flush_gives_back(void **state)
{
    struct store *s;
    struct access a = setup_store(&s, 0);
    struct store_memory m;
    for (uint32_t i = 0; i < 100000; i++)
        put(&a, i, i % MODEL_DBS, i % 100 == 0 ? 20000 : 100, 0);
    store_memory(s, &m);
    assert_true(m.segments > 8 << 20 && m.blocks >= 1000 * 20000);
    store_set_maxmemory(s, 4 << 20);
    assert_true(store_over_memory(s));
    store_flush_all(&a);
    assert_false(store_over_memory(s));
    for (uint32_t i = 0; i < 1000; i++)
        put(&a, i, 0, 100, 0);
    upkeep(&a, 1000);
    store_memory(s, &m);
    assert_int_equal(m.keys, 1000);
    assert_int_equal(m.blocks, 0);
    assert_true(m.free_segments <= 8u << s->segs.shift);
    assert_int_equal(s->heap_doomed, 0);
    assert_int_equal(s->segs.doomed, 0);
    assert_null(s->graves);
    assert_true(m.tables < 2 << 20);
    store_check(s);
    store_free(s);
}

/* FLUSHDB of one among others: its keys are gone at once, its memory soon, its id is used again. */
static void test_flush_db(void **state)
{
    struct store *s;
    struct access a = setup_store(&s, 0);
    for (uint32_t i = 0; i < 20000; i++)
        for (uint32_t db = 0; db < 3; db++)
            put(&a, i, db, 50, 0);
    store_flush_db(&a, 1);
    upkeep(&a, 2000);
    assert_int_equal(s->ids_dead, 0); /* the sweep has found all of its keys */
    for (uint32_t round = 0; round < IDS_MAX + 100; round++) {
        store_flush_db(&a, 1);
        ASSERT(store_db_keys(s, 1) == 0);
        put(&a, round, 1, 50, 0); /* more flushes than ids, hardly any upkeep in between */
        if (round == 0)
            store_check(s);
    }
    store_flush_db(&a, 1);
    upkeep(&a, 1000);
    assert_int_equal(store_db_keys(s, 0), 20000);
    assert_int_equal(store_db_keys(s, 2), 20000);
    struct store_memory m;
    assert_true(dead_share(s, &m) < 0.2);
    store_check(s);
    store_free(s);
}

/* Of a slice that is too short for what there is. */
static enum store_haste haste_after(struct access *a, int64_t ms)
{
    a->now_ms += ms;
    while (store_maintain(a, 1) != 0)
        a->now_ms++;
    return store_haste(a->app);
}

/* What nobody waits for does not hurry; what piles up does, and what writers want is for now. */
static void test_haste(void **state)
{
    enum { KEYS = 100000, TTL_MS = 1000 };
    struct store *s;
    struct access a = setup_store(&s, 0);
    for (uint32_t i = 0; i < KEYS; i++)
        put(&a, i, i % 2, 100, 0);
    upkeep(&a, 1000);
    store_flush_db(&a, 1);
    assert_int_equal(haste_after(&a, 0), STORE_AT_LEISURE);
    assert_int_equal(haste_after(&a, 10000), STORE_SOON); /* it lasts */
    upkeep(&a, 2000);
    assert_int_equal(store_haste(a.app), STORE_AT_LEISURE);
    store_flush_all(&a);
    assert_int_equal(haste_after(&a, 0), STORE_SOON);
    store_set_maxmemory(s, 4 << 20); /* less than was flushed */
    assert_int_equal(haste_after(&a, 0), STORE_NOW);
    upkeep(&a, 1000);
    assert_int_equal(store_haste(a.app), STORE_AT_LEISURE);
    store_set_maxmemory(s, 0);
    for (uint32_t i = 0; i < KEYS; i++)
        put(&a, i, 0, 100, i % 2 == 0 ? 0 : a.now_ms + TTL_MS);
    a.now_ms += 3 * TTL_MS;
    while (haste_after(&a, STEP_MS) != STORE_SOON) /* some are taken out, late */
        assert_true(store_db_keys(s, 0) > KEYS / 2);
    upkeep(&a, 10000);
    assert_int_equal(store_db_keys(s, 0), KEYS / 2);
    assert_int_equal(store_haste(a.app), STORE_AT_LEISURE);
    store_free(s);
}

/* So is what must be evicted before writers come. */
static void test_haste_to_evict(void **state)
{
    struct store *s;
    struct access a = setup_store(&s, 64 << 20);
    store_set_eviction(s, &(struct store_eviction){.policy = STORE_AUTO});
    for (uint32_t i = 0; i < 300000; i++)
        put(&a, i, 0, 100, 0);
    upkeep(&a, 1000);
    assert_int_equal(store_haste(a.app), STORE_AT_LEISURE);
    struct store_memory m;
    store_memory(s, &m);
    store_set_maxmemory(s, m.used); /* what remembers evicted keys becomes less */
    store_memory(s, &m);
    store_set_maxmemory(s, s->maxmemory - (s->evict.goal - m.used) - 4096);
    assert_false(store_is_crowded(s)); /* only what is to be free is not */
    assert_int_equal(haste_after(&a, 0), STORE_NOW);
    store_free(s);
}

/* Keys larger than a segment. */
static void test_huge_keys(void **state)
{
    enum { N = 5 };
    struct store *s;
    struct access a = setup_store(&s, 16 << 20);
    static const size_t sizes[N] = {300, 17000, 70000, 2100000, 9000000};
    char *name[N], *data;
    for (int i = 0; i < N; i++) {
        struct key k;
        name[i] = malloc(sizes[i]);
        memset(name[i], 'a' + i, sizes[i]);
        key_make(s, &k, (struct str){name[i], sizes[i]}, (uint32_t)i % 2);
        assert_int_equal(store_put_string(&a, &k, STR("hello"), NULL, 0, 0), 0);
        assert_int_equal(store_edit_string(&a, &k, store_find(&a, &k), 700, &data), 0);
        assert_int_equal(store_set_expire(&a, &k, i == 3 ? a.now_ms + 500 : 0), 0);
    }
    store_check(s);
    upkeep(&a, 3000);
    for (int i = 0; i < N; i++) {
        struct key k;
        struct block *b;
        key_make(s, &k, (struct str){name[i], sizes[i]}, (uint32_t)i % 2);
        struct entry *e = store_find(&a, &k);
        assert_int_equal(e != NULL, i != 3);
        if (e != NULL) {
            assert_int_equal(entry_string(e, &b).n, 700);
            assert_true(store_delete(&a, &k));
        }
        free(name[i]);
    }
    upkeep(&a, 1000);
    assert_true(s->region.nfree >= 5); /* 9 MB of key lay in five extents */
    store_check(s);
    store_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expired_do_not_stay),
        cmocka_unit_test(test_expire_brought_forward),
        cmocka_unit_test(test_gone_within_a_second),
        cmocka_unit_test(test_replica_and_debug_keep),
        cmocka_unit_test(test_compaction),
        cmocka_unit_test(test_churn_in_small_memory),
        cmocka_unit_test(test_mass_deletion_gives_tables_back),
        cmocka_unit_test(test_what_cannot_be_packed),
        cmocka_unit_test(test_flush_gives_back),
        cmocka_unit_test(test_flush_db),
        cmocka_unit_test(test_haste),
        cmocka_unit_test(test_haste_to_evict),
        cmocka_unit_test(test_huge_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
