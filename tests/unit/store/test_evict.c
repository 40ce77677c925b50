/* Eviction: memory stays within its bound under every policy, what is still there is what was written, and
 * each policy lets go of what its name says. Time is the test's own. */
#include "model.h"

#include "store/evict.h"

enum { BUDGET_US = 1000000, MB = 1 << 20, LIMIT = 16 * MB, FILLER_MAX = 100 * 1024 };

static const struct store_eviction every_policy[] = {
    {STORE_AUTO, false, 10, 1}, {STORE_AUTO, true, 10, 1},    {STORE_LRU, false, 10, 1},
    {STORE_LRU, true, 10, 1},   {STORE_LFU, false, 10, 1},    {STORE_LFU, true, 10, 1},
    {STORE_TTL, true, 10, 1},   {STORE_RANDOM, false, 10, 1}, {STORE_RANDOM, true, 10, 1},
};

struct rig {
    struct store *s;
    struct access a;
    struct rng rng;
};

static void rig_init(struct rig *r, const struct store_eviction *how)
{
    r->s = model_store(LIMIT, 2, 1);
    r->a = (struct access){.store = r->s, .app = store_appender(r->s, 0), .now_ms = 1000000};
    rng_init(&r->rng, 7);
    if (how != NULL)
        store_set_eviction(r->s, how);
}

static struct key make(const struct rig *r, char name[32], uint64_t i)
{
    struct key k;
    key_make(r->s, &k, (struct str){name, (size_t)snprintf(name, 32, "key:%llu", (unsigned long long)i)}, 0);
    return k;
}

static char filler_of(uint64_t i)
{
    return (char)('a' + i % 26);
}

/* Small mostly, some large enough to lie in the heap. */
static size_t size_of(uint64_t i)
{
    uint64_t h = hash_mix64(i + 1);
    return h % 500 == 0 ? FILLER_MAX : h % 40 == 0 ? 5000 : 20 + h % 400;
}

static void set(struct rig *r, uint64_t i, size_t n, int64_t ttl_ms)
{
    static char bytes[FILLER_MAX];
    char name[32];
    struct key k = make(r, name, i);
    memset(bytes, filler_of(i), n);
    store_round_begin(r->s, r->a.app);
    ASSERT(store_put_string(&r->a, &k, (struct str){bytes, n}, NULL, ttl_ms == 0 ? 0 : r->a.now_ms + ttl_ms,
                            0) == 0);
}

/* True if it is there, and then it is what was written. */
static bool get(struct rig *r, uint64_t i)
{
    char name[32];
    struct key k = make(r, name, i);
    struct entry *e = store_find(&r->a, &k);
    struct block *b;
    if (e == NULL)
        return false;
    struct str v = entry_string(e, &b);
    ASSERT(v.n > 0 && v.p[0] == filler_of(i) && v.p[v.n - 1] == filler_of(i));
    return true;
}

static bool is_there(struct rig *r, uint64_t i)
{
    char name[32];
    struct key k = make(r, name, i);
    return store_peek(&r->a, &k) != NULL;
}

static void upkeep(struct rig *r, int64_t ms)
{
    r->a.now_ms += ms;
    for (int i = 0; i < 200 && store_maintain(&r->a, BUDGET_US) == 0; i++)
        ;
}

static uint64_t evicted(struct rig *r)
{
    struct store_stats st;
    store_stats(r->s, &st);
    return st.evicted;
}

/* A stream of new keys, with a set of hot keys, some overwritten now and then; until writes would be refused.
 */
static void churn(struct rig *r, uint64_t from, uint64_t n)
{
    for (uint64_t i = from; i < from + n && !store_over_memory(r->s); i++) {
        set(r, i, size_of(i), i % 2 == 0 ? 0 : 600000 + (int64_t)(hash_mix64(i) % 100000));
        get(r, rng_below(&r->rng, 100));
        if (i % 7 == 0) {
            uint64_t victim = rng_below(&r->rng, i + 1);
            set(r, victim, size_of(victim), 900000);
        }
        if (i % 64 == 0) {
            upkeep(r, 10);
            ASSERT(store_used(r->s) <= LIMIT || store_over_memory(r->s));
        }
    }
}

static void test_stays_within_its_bound(void **state)
{
    for (size_t p = 0; p < ARRAY_LEN(every_policy); p++) {
        const struct store_eviction *how = &every_policy[p];
        struct rig r;
        rig_init(&r, how);
        for (uint64_t i = 0; i < 5000; i++) /* what a volatile policy must leave alone */
            set(&r, i, 100, how->volatile_only ? 0 : 1);
        r.a.now_ms += 2;
        if (how->volatile_only)
            for (uint64_t i = 10000; i < 150000; i++) {
                set(&r, i, size_of(i), 1000000 + (int64_t)(i % 1000) * 1000);
                if (i % 64 == 0) {
                    upkeep(&r, 10);
                    ASSERT(store_used(r.s) <= LIMIT);
                }
            }
        else
            churn(&r, 10000, 140000);
        store_check(r.s);
        assert_true(evicted(&r) > 10000);
        assert_false(store_over_memory(r.s));
        uint64_t there = 0;
        for (uint64_t i = 0; i < 150000; i++)
            there += get(&r, i);
        assert_int_equal(there, store_db_keys(r.s, 0));
        assert_true(store_used(r.s) > LIMIT / 10 * 8);
        if (how->volatile_only)
            for (uint64_t i = 0; i < 5000; i++)
                assert_true(is_there(&r, i));
        store_free(r.s);
    }
}

/* Keys of every frequency, and twice as many as there is room for: what is swept to make room is less than
 * twice the memory, and the frequent half is what stays. */
static void test_pressed_is_coarser(void **state)
{
    enum { KEYS = 40000 };
    struct rig r;
    rig_init(&r, &(struct store_eviction){.policy = STORE_LFU, .lfu_log_factor = 10, .lfu_decay_min = 1000});
    for (uint64_t i = 0; i < KEYS; i++) {
        char name[32];
        struct key k = make(&r, name, i);
        set(&r, i, 200, 0);
        store_set_access(&r.a, &k, -1, (int64_t)(hash_mix64(i) % 200));
    }
    struct store_stats before, after;
    store_stats(r.s, &before);
    uint64_t used = store_used(r.s);
    store_set_maxmemory(r.s, used / 2);
    upkeep(&r, 10);
    store_stats(r.s, &after);
    assert_true(store_used(r.s) <= used / 2);
    assert_true((after.segments_freed - before.segments_freed) * r.s->segs.size < used * 2);
    uint64_t frequent = 0, rare = 0;
    for (uint64_t i = 0; i < KEYS; i++)
        if (is_there(&r, i))
            *(hash_mix64(i) % 200 >= 100 ? &frequent : &rare) += 1;
    assert_true(frequent > rare * 5);
    store_check(r.s);
    store_free(r.s);
}

static void test_noeviction_refuses(void **state)
{
    struct rig r;
    rig_init(&r, NULL);
    uint64_t i = 0;
    for (; i < 1000000 && !store_over_memory(r.s); i++) {
        set(&r, i, 200, 0);
        upkeep(&r, 1);
    }
    assert_true(store_over_memory(r.s));
    assert_int_equal(store_db_keys(r.s, 0), i);
    store_set_eviction(r.s, &every_policy[0]); /* switched while full */
    upkeep(&r, 1);
    assert_false(store_over_memory(r.s));
    assert_true(store_used(r.s) <= LIMIT && evicted(&r) > 0);
    store_set_eviction(r.s, &(struct store_eviction){.policy = STORE_NOEVICTION});
    uint64_t keys = store_db_keys(r.s, 0), gone = evicted(&r);
    for (; i < 2000000 && !store_over_memory(r.s); i++) {
        set(&r, i, 200, 0);
        upkeep(&r, 1);
        keys++;
    }
    assert_int_equal(store_db_keys(r.s, 0), keys);
    assert_int_equal(evicted(&r), gone);
    store_check(r.s);
    store_free(r.s);
}

/* Nothing has a deadline: a volatile policy has nothing to evict, and says so. */
static void test_volatile_without_deadlines(void **state)
{
    for (size_t p = 0; p < ARRAY_LEN(every_policy); p++) {
        struct rig r;
        if (!every_policy[p].volatile_only)
            continue;
        rig_init(&r, &every_policy[p]);
        for (uint64_t i = 0; i < 1000000 && !store_over_memory(r.s); i++) {
            set(&r, i, 200, 0);
            upkeep(&r, 1);
        }
        assert_true(store_over_memory(r.s));
        assert_int_equal(evicted(&r), 0);
        for (uint64_t i = 0; i < 20000; i++) { /* now there is something */
            char name[32];
            struct key k = make(&r, name, i);
            store_round_begin(r.s, r.a.app);
            (void)store_set_expire(&r.a, &k, r.a.now_ms + 1000000);
        }
        for (int i = 0; i < 100; i++)
            upkeep(&r, 10);
        assert_false(store_over_memory(r.s));
        store_check(r.s);
        store_free(r.s);
    }
}

static void test_switching_while_full(void **state)
{
    struct rig r;
    rig_init(&r, &every_policy[0]);
    for (unsigned round = 0; round < 4 * ARRAY_LEN(every_policy); round++) {
        churn(&r, 10000 + round * 10000, 10000);
        store_set_eviction(r.s, &every_policy[(round * 5 + 2) % ARRAY_LEN(every_policy)]);
        store_check(r.s);
    }
    store_free(r.s);
}

/* LFU does not take LRU's times for counts, nor LRU counts for times: after an hour of either, each of them
 * knows when a key was used last, and a key that LFU has not counted is to it as a new one. */
static void test_switching_keeps_times(void **state)
{
    enum { KEYS = 1000, HOUR_MS = 3600 * 1000, COARSE_MS = 2100, FREQ_NEW = 5 };
    struct store_eviction lru = {STORE_LRU, false, 10, 0}, lfu = {STORE_LFU, false, 10, 0};
    struct rig r;
    char name[32];
    rig_init(&r, &lru);
    for (uint64_t i = 0; i < KEYS; i++) {
        set(&r, i, 20, 0);
        r.a.now_ms += HOUR_MS / KEYS;
    }
    store_set_eviction(r.s, &lfu);
    for (uint64_t i = 0; i < KEYS; i++) {
        struct key k = make(&r, name, i);
        assert_int_equal(store_freq(&r.a, &k), FREQ_NEW);
    }
    for (uint64_t i = 0; i < KEYS; i++) {
        assert_true(get(&r, i)); /* counted once */
        r.a.now_ms += HOUR_MS / KEYS;
    }
    store_set_eviction(r.s, &lru);
    for (uint64_t i = 0; i < KEYS; i++) {
        struct key k = make(&r, name, i);
        int64_t idle_s = (int64_t)store_idle_s(&r.a, &k), exact_ms = (int64_t)(KEYS - i) * (HOUR_MS / KEYS);
        assert_in_range(idle_s, exact_ms / 1000, (exact_ms + COARSE_MS) / 1000);
    }
    store_set_eviction(r.s, &lfu);
    for (uint64_t i = 0; i < KEYS; i++) {
        struct key k = make(&r, name, i);
        assert_int_equal(store_freq(&r.a, &k), FREQ_NEW + 1); /* what LRU has not touched is as it was */
    }
    store_free(r.s);
}

static void test_halving(void **state)
{
    for (size_t p = 0; p < ARRAY_LEN(every_policy); p++) {
        struct rig r;
        if (every_policy[p].volatile_only)
            continue;
        rig_init(&r, &every_policy[p]);
        churn(&r, 0, 60000);
        for (uint64_t limit = LIMIT / 2; limit >= 4 * MB; limit /= 2) {
            store_set_maxmemory(r.s, limit);
            for (int i = 0; i < 200; i++)
                upkeep(&r, 1);
            assert_true(store_used(r.s) <= limit);
        }
        store_check(r.s);
        store_free(r.s);
    }
}

/* How many of `n` keys from `from` on are there, in percent. */
static unsigned share(struct rig *r, uint64_t from, uint64_t n)
{
    uint64_t there = 0;
    for (uint64_t i = from; i < from + n; i++)
        there += is_there(r, i);
    return (unsigned)(there * 100 / n);
}

/* A working set that is read all the time against a stream of keys that are never read. */
static void test_keeps_what_is_used(void **state)
{
    enum { USED = 10000, ONCE = 400000 };
    for (size_t p = 0; p < 3; p++) {
        static const size_t which[] = {0, 2, 4}; /* auto, LRU, LFU */
        struct rig r;
        rig_init(&r, &every_policy[which[p]]);
        for (uint64_t i = 0; i < USED; i++)
            set(&r, i, 100, 0);
        for (uint64_t i = USED; i < USED + ONCE; i++) {
            set(&r, i, 100, 0);
            get(&r, rng_below(&r.rng, USED));
            get(&r, rng_below(&r.rng, USED));
            if (i % 64 == 0)
                upkeep(&r, 10);
        }
        unsigned hot = share(&r, 0, USED), old = share(&r, USED, ONCE / 10);
        print_message("policy %u: %u %% of the hot keys are there, %u %% of the oldest cold ones\n",
                      (unsigned)every_policy[which[p]].policy, hot, old);
        assert_true(hot >= 98);
        assert_true(old <= 10);
        store_free(r.s);
    }
}

/* The first to expire go first. */
static void test_ttl(void **state)
{
    enum { KEYS = 200000 };
    struct rig r;
    rig_init(&r, &every_policy[6]);
    for (uint64_t i = 0; i < KEYS; i++) {
        set(&r, i, 100, i % 2 == 0 ? 10000000 : 100000000);
        if (i % 64 == 0)
            upkeep(&r, 1);
    }
    unsigned soon = 0, late = 0;
    for (uint64_t i = 0; i < KEYS; i++)
        *(i % 2 == 0 ? &soon : &late) += is_there(&r, i);
    print_message("%u with the nearer deadline are there, %u with the later\n", soon, late);
    assert_true(soon * 4 < late);
    store_free(r.s);
}

/* Keys that were evicted and come back soon have a place in the main queue at once. */
static void test_ghosts(void **state)
{
    enum { KEYS = 90000 };
    struct rig r;
    rig_init(&r, &every_policy[0]);
    struct store_stats st;
    for (unsigned round = 0; round < 3; round++)
        for (uint64_t i = 0; i < KEYS; i++) {
            if (!get(&r, i))
                set(&r, i, 200, 0);
            if (i % 64 == 0)
                upkeep(&r, 10);
        }
    store_stats(r.s, &st);
    assert_true(st.ghost_hits > KEYS / 10);
    assert_true(st.evicted_age_ms > 0);
    uint64_t by_class = 0;
    for (unsigned c = 0; c < STORE_CLASSES; c++)
        by_class += st.evicted_class[c];
    assert_int_equal(by_class, st.evicted);
    store_free(r.s);
}

/* What a replica holds is its primary's to decide. */
static void test_a_replica_does_not_evict(void **state)
{
    struct rig r;
    rig_init(&r, &every_policy[0]);
    r.a.expired = EXPIRED_HIDE;
    for (uint64_t i = 0; i < 100000; i++) {
        set(&r, i, 200, 0);
        if (i % 64 == 0)
            upkeep(&r, 10);
    }
    assert_int_equal(evicted(&r), 0);
    assert_int_equal(store_db_keys(r.s, 0), 100000);
    r.a.expired = EXPIRED_REMOVE;
    upkeep(&r, 10);
    assert_true(evicted(&r) > 0 && store_used(r.s) <= LIMIT);
    store_free(r.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stays_within_its_bound),
        cmocka_unit_test(test_pressed_is_coarser),
        cmocka_unit_test(test_noeviction_refuses),
        cmocka_unit_test(test_volatile_without_deadlines),
        cmocka_unit_test(test_switching_while_full),
        cmocka_unit_test(test_switching_keeps_times),
        cmocka_unit_test(test_halving),
        cmocka_unit_test(test_keeps_what_is_used),
        cmocka_unit_test(test_ttl),
        cmocka_unit_test(test_ghosts),
        cmocka_unit_test(test_a_replica_does_not_evict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
