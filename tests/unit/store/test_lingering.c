/* What stays in memory though nobody can see it any more: expired keys, with eviction and without, and the
 * room of tables and segments whose keys are deleted. Bytes are counted, time is the test's own. */
#include "model.h"

enum {
    KEYS = 300000,
    SECONDS = 600,
    WARM = 150, /* seconds before it is steady */
    STEP_MS = 100,
    A_STEP = 50, /* keys written */
    LIMIT = 8 << 20,
    BUDGET_US = 1000000,
};

struct rig {
    struct store *s;
    struct access a;
    struct rng rng;
    bool there[KEYS];
    int64_t deadline[KEYS];
    uint16_t size[KEYS];
    uint64_t evicted;
};

static struct key make(const struct rig *r, char name[32], uint64_t i)
{
    struct key k;
    key_make(r->s, &k, (struct str){name, (size_t)snprintf(name, 32, "key:%llu", (unsigned long long)i)}, 0);
    return k;
}

static void on_removed(void *listener, const struct access *a, uint32_t db, struct str key,
                       enum change_reason why)
{
    struct rig *r = listener;
    char text[32];
    memcpy(text, key.p, key.n);
    text[key.n] = '\0';
    uint32_t i = (uint32_t)strtoul(text + 4, NULL, 10);
    ASSERT(i < KEYS && r->there[i]);
    r->there[i] = false;
    r->evicted += why == CHANGE_EVICTED;
}

static struct rig *rig_new(uint64_t maxmemory, enum store_policy policy)
{
    struct rig *r = calloc(1, sizeof *r);
    struct store_eviction how = {.policy = policy, .lfu_log_factor = 10, .lfu_decay_min = 1};
    r->s = model_store(maxmemory, 1, 2);
    r->a = (struct access){.store = r->s, .app = store_appender(r->s, 0), .now_ms = 1000000};
    rng_init(&r->rng, 3);
    store_observe(r->a.app, on_removed, r);
    store_set_eviction(r->s, &how);
    return r;
}

static void rig_free(struct rig *r)
{
    store_check(r->s);
    store_free(r->s);
    free(r);
}

static void put(struct rig *r, uint32_t i, size_t n, int64_t deadline)
{
    static char bytes[2000];
    char name[32];
    struct key k = make(r, name, i);
    store_round_begin(r->s, r->a.app);
    ASSERT(store_put_string(&r->a, &k, (struct str){bytes, n}, NULL, deadline, 0) == 0);
    r->there[i] = true;
    r->deadline[i] = deadline;
    r->size[i] = (uint16_t)n;
}

static void upkeep(struct rig *r, int64_t ms)
{
    for (int64_t end = r->a.now_ms + ms; r->a.now_ms < end; r->a.now_ms += STEP_MS)
        for (int i = 0; i < 200 && store_maintain(&r->a, BUDGET_US) == 0; i++)
            ;
}

/* The share of bytes that is expired, of all that is there. */
static double expired_share(const struct rig *r, uint32_t n)
{
    uint64_t all = 0, expired = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t bytes = r->there[i] ? r->size[i] + 24u : 0;
        all += bytes;
        expired += r->deadline[i] != 0 && r->deadline[i] <= r->a.now_ms ? bytes : 0;
    }
    return all == 0 ? 0 : (double)expired / (double)all;
}

/* Keys that live from a second to a quarter of an hour, some of them for ever, come in a steady stream. */
static void steady(const char *what, uint64_t maxmemory, enum store_policy policy)
{
    struct rig *r = rig_new(maxmemory, policy);
    double sum = 0;
    uint32_t n = 0, samples = 0;
    for (int64_t ms = 0; ms < SECONDS * 1000; ms += STEP_MS) {
        for (uint32_t i = 0; i < A_STEP && n < KEYS; i++, n++) {
            int64_t ttl = (int64_t)1000 << rng_below(&r->rng, 10);
            bool mortal = maxmemory == 0 || rng_below(&r->rng, 5) != 0;
            ttl = ttl / 2 + (int64_t)rng_below(&r->rng, (uint64_t)ttl);
            put(r, n, 20 + rng_below(&r->rng, 300), mortal ? r->a.now_ms + ttl : 0);
        }
        upkeep(r, STEP_MS);
        if (ms >= WARM * 1000 && ms % 1000 == 0) {
            sum += expired_share(r, n);
            samples++;
        }
    }
    print_message("%s: %.2f %% of what is resident is expired, %lu evicted\n", what, 100 * sum / samples,
                  (unsigned long)r->evicted);
    assert_true(sum / samples <= 0.01);
    assert_true((maxmemory != 0) == (r->evicted > KEYS / 20));
    rig_free(r);
}

static void test_expired_without_a_limit(void **state)
{
    steady("no limit", 0, STORE_NOEVICTION);
}

static void test_expired_under_eviction(void **state)
{
    steady("auto", LIMIT, STORE_AUTO);
    steady("LRU", LIMIT, STORE_LRU);
}

/* All but one key in fifty are deleted: what is left has no more room than it needs. */
static void test_deleted_in_masses(void **state)
{
    enum { KEPT = 50 };
    struct rig *r = rig_new(0, STORE_NOEVICTION);
    struct store_memory full, after;
    char name[32];
    for (uint32_t i = 0; i < KEYS; i++)
        put(r, i, 100, 0);
    store_memory(r->s, &full);
    for (uint32_t i = 0; i < KEYS; i++) {
        struct key k = make(r, name, i);
        if (i % KEPT != 0)
            ASSERT(store_delete(&r->a, &k));
    }
    upkeep(r, 20000);
    store_memory(r->s, &after);
    uint64_t before = full.segments + full.tables, left = after.segments + after.tables + after.free_segments;
    print_message(
        "%.1f MB of segments and %.1f MB of tables become %.1f, %.1f and %.1f MB of free segments\n",
        (double)full.segments / 1e6, (double)full.tables / 1e6, (double)after.segments / 1e6,
        (double)after.tables / 1e6, (double)after.free_segments / 1e6);
    assert_int_equal(store_db_keys(r->s, 0), KEYS / KEPT);
    assert_true(after.tables <= full.tables); /* pages of the pool that still hold one bucket stay */
    assert_true(after.segments < full.segments / 10);
    assert_true(left < before / 5);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expired_without_a_limit),
        cmocka_unit_test(test_expired_under_eviction),
        cmocka_unit_test(test_deleted_in_masses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
