/* Several workers and a lane at once, for ThreadSanitizer and its deadlock detector: every
 * value tells which key it belongs to, so whoever reads a moved, freed or torn entry
 * notices; store_check() runs whenever the lane has the world to itself. */
#include "model.h"

#include "base/hash.h"
#include "os/clock.h"
#include "store/gate.h"

#include <pthread.h>

enum { WORKERS = 4, KEYS = 4000, DBS = 3, LANE_TURNS = 60, MULTI = 5, TIGHT = 2 << 20 };

struct stress {
    struct store *s;
    struct gate gate;
    _Atomic bool stop;
    _Atomic uint64_t operations;
};

struct worker {
    struct stress *st;
    uint32_t index;
    struct access a;
    struct rng rng;
    struct watch watch;
    _Atomic bool watched;
    char watch_name[32];
};

static struct str name_of(char *p, uint64_t i)
{
    return (struct str){p,
                        (size_t)snprintf(p, 32, i % 5 == 0 ? "{hot}%llu" : "key%llu", (unsigned long long)i)};
}

/* A value: the hash of the key's name, over and over. */
static uint64_t mark_of(struct str name)
{
    uint64_t h = 1469598103934665603ull;
    for (size_t i = 0; i < name.n; i++)
        h = (h ^ (unsigned char)name.p[i]) * 1099511628211ull;
    return h;
}

static void fill(char *p, size_t n, uint64_t mark)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (char)(mark >> (i % 8 * 8));
}

static void verify(struct str name, const struct entry *e)
{
    struct block *b;
    struct str v = entry_string(e, &b), own = entry_key(e);
    uint64_t mark = mark_of(name);
    ASSERT(str_eq(own, name));
    for (size_t i = 0; i < v.n; i++)
        ASSERT(v.p[i] == (char)(mark >> (i % 8 * 8)));
}

static int64_t some_deadline(struct worker *w)
{
    return rng_below(&w->rng, 2) == 0 ? 0 : w->a.now_ms + 1 + (int64_t)rng_below(&w->rng, 300);
}

static void operate(struct worker *w, struct str name, const struct key *k)
{
    char bytes[24000];
    char *data;
    struct entry *e;
    size_t n = rng_below(&w->rng, 50) == 0 ? rng_below(&w->rng, sizeof bytes) : rng_below(&w->rng, 80);
    switch (rng_below(&w->rng, 8)) {
    case 0:
    case 1:
    case 2:
        fill(bytes, n, mark_of(name));
        ASSERT(store_put_string(&w->a, k, (struct str){bytes, n}, NULL, some_deadline(w), 0) == 0);
        break;
    case 3: store_delete(&w->a, k); break;
    case 4:
        e = store_find(&w->a, k);
        ASSERT(store_edit_string(&w->a, k, e, n, &data) == 0);
        fill(data, n, mark_of(name));
        break;
    case 5: (void)store_set_expire(&w->a, k, some_deadline(w)); break;
    default:
        e = store_find(&w->a, k);
        if (e != NULL)
            verify(name, e);
    }
}

static void one_key(struct worker *w)
{
    char p[32];
    struct key k;
    struct str name = name_of(p, rng_below(&w->rng, KEYS));
    key_make(w->a.store, &k, name, (uint32_t)rng_below(&w->rng, DBS));
    store_approach_begin(w->a.store, &k);
    for (int step = 0; step < STORE_APPROACH_STEPS; step++)
        store_approach(w->a.store, &k);
    if (!store_lock_one(w->a.store, key_shard(&k)))
        return; /* busy for the lane */
    operate(w, name, &k);
    store_unlock_one(w->a.store, key_shard(&k));
}

static void many_keys(struct worker *w)
{
    char p[MULTI][32];
    struct key k[MULTI];
    struct str name[MULTI];
    struct lockset ls;
    lockset_init(&ls);
    for (int i = 0; i < MULTI; i++) {
        name[i] = name_of(p[i], rng_below(&w->rng, KEYS));
        key_make(w->a.store, &k[i], name[i], (uint32_t)rng_below(&w->rng, DBS));
        lockset_add(&ls, key_shard(&k[i]));
    }
    if (!store_lock(w->a.store, &ls))
        return;
    for (int i = 0; i < MULTI; i++)
        operate(w, name[i], &k[i]);
    store_unlock(w->a.store, &ls);
}

static bool visit(void *arg, const struct entry *e)
{
    verify(entry_key(e), e);
    return true;
}

static void look_around(struct worker *w)
{
    uint64_t cursor = rng_below(&w->rng, (uint64_t)1 << 30);
    uint32_t busy;
    struct arena arena;
    struct str key;
    arena_init(&arena);
    for (int i = 0; i < 5 && store_scan(&w->a, 0, cursor, 20, visit, w, &cursor, &busy) == 0; i++)
        ;
    (void)store_random_key(&w->a, 1, &w->rng, &arena, &key);
    arena_release(&arena);
    (void)store_db_keys(w->a.store, 0);
    (void)store_db_avg_ttl_ms(w->a.store, 0);
    (void)store_over_memory(w->a.store);
    struct store_stats stats;
    store_stats(w->a.store, &stats);
    struct store_memory mem;
    store_memory(w->a.store, &mem);
}

static void watch_some(struct worker *w)
{
    struct key k;
    if (w->watch.flag != NULL) {
        store_unwatch(w->a.store, &w->watch);
        w->watch.flag = NULL;
        return;
    }
    struct str name = name_of(w->watch_name, rng_below(&w->rng, KEYS));
    key_make(w->a.store, &k, name, 0);
    if (!store_lock_one(w->a.store, key_shard(&k)))
        return;
    w->watch = (struct watch){.flag = &w->watched, .slot = k.slot, .n = k.n, .p = k.p};
    store_watch(&w->a, &w->watch);
    store_unlock_one(w->a.store, key_shard(&k));
}

static void *work(void *arg)
{
    struct worker *w = arg;
    while (!atomic_load_explicit(&w->st->stop, memory_order_relaxed)) {
        gate_enter(&w->st->gate, w->index);
        w->a.now_ms = os_wall_ms();
        store_round_begin(w->a.store, w->a.app);
        for (int i = 0; i < 40; i++) {
            one_key(w);
            if (i % 8 == 0)
                many_keys(w);
        }
        if (rng_below(&w->rng, 8) == 0)
            look_around(w);
        if (rng_below(&w->rng, 16) == 0)
            watch_some(w);
        store_maintain(&w->a, 300);
        atomic_fetch_add_explicit(&w->st->operations, 65, memory_order_relaxed);
        gate_leave(&w->st->gate, w->index);
    }
    if (w->watch.flag != NULL)
        store_unwatch(w->a.store, &w->watch);
    return NULL;
}

/* A long operation: some shards busy for the lane, while the workers go round them. */
static void lane_long(struct worker *w)
{
    struct lockset ls;
    char p[32];
    lockset_init(&ls);
    for (int i = 0; i < MULTI; i++)
        lockset_add(&ls, (uint32_t)rng_below(&w->rng, STORE_SHARDS));
    if (!store_lock(w->a.store, &ls))
        return;
    store_make_busy(w->a.store, &ls);
    store_busy_enter(w->a.store, &ls);
    w->a.lane = true;
    for (uint64_t i = 0; i < KEYS; i++) {
        struct key k;
        struct str name = name_of(p, i);
        key_make(w->a.store, &k, name, 0);
        for (uint32_t j = 0; j < ls.n; j++)
            if (ls.shard[j] == key_shard(&k))
                operate(w, name, &k);
    }
    w->a.lane = false;
    store_busy_leave(w->a.store, &ls);
}

/* Any policy, with and without room for everything. */
static void settle_memory(struct worker *w)
{
    enum store_policy policy = (enum store_policy)rng_below(&w->rng, STORE_TTL + 1);
    const struct store_eviction how = {
        .policy = policy,
        .volatile_only = policy == STORE_TTL || rng_below(&w->rng, 2) == 0,
        .lfu_log_factor = 10,
        .lfu_decay_min = 1,
    };
    store_set_eviction(w->a.store, &how);
    store_set_maxmemory(w->a.store, (uint64_t)TIGHT << rng_below(&w->rng, 3));
}

static void lane_gate(struct worker *w)
{
    struct stress *st = w->st;
    gate_raise(&st->gate);
    switch (rng_below(&w->rng, 12)) {
    case 0: store_flush_all(&w->a); break;
    case 1: store_flush_db(&w->a, 1); break;
    case 2: store_swap_db(&w->a, 0, 2); break;
    case 3: store_set_maxmemory(st->s, 0); break;
    case 4:
    case 5:
    case 6:
    case 7:
    case 8:
    case 9: settle_memory(w); break;
    default: break;
    }
#ifndef LARDER_TSAN
    store_check(st->s);
#endif
    gate_lower(&st->gate);
}

static void test_stress(void **state)
{
    static struct stress st;
    static struct worker w[WORKERS + 1];
    pthread_t thread[WORKERS];
    st.s = model_store(16 << 20, WORKERS + 1, 7);
    gate_init(&st.gate, WORKERS);
    for (uint32_t i = 0; i <= WORKERS; i++) {
        w[i].st = &st;
        w[i].index = i;
        w[i].a = (struct access){.store = st.s, .app = store_appender(st.s, i), .now_ms = os_wall_ms()};
        rng_init(&w[i].rng, i + 1);
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
    uint64_t seen = 0;
    for (int turn = 0; turn < LANE_TURNS; turn++) {
        w[WORKERS].a.now_ms = os_wall_ms();
        lane_long(&w[WORKERS]);
        lane_gate(&w[WORKERS]);
        while (atomic_load_explicit(&st.operations, memory_order_relaxed) < seen + 3000)
            sched_yield();
        seen = atomic_load_explicit(&st.operations, memory_order_relaxed);
    }
    atomic_store(&st.stop, true);
    for (uint32_t i = 0; i < WORKERS; i++)
        pthread_join(thread[i], NULL);
    store_check(st.s);
    struct store_stats stats;
    store_stats(st.s, &stats);
    assert_true(stats.expired > 0 && stats.compacted > 0 && stats.segments_freed > 0);
    assert_true(stats.evicted > 0);
    store_free(st.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stress)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
