/* Cuts read by a thread of their own while workers write, for ThreadSanitizer: a sum over all keys and
 * values, taken while the world stands still, is the sum of what the cut then says. */
#include "model.h"

#include "base/hash.h"
#include "store/cut.h"
#include "store/gate.h"

#include <pthread.h>

enum { WORKERS = 3, READERS = 2, KEYS = 6000, DBS = 2, TURNS = 40, LANE = WORKERS + READERS };

struct stress {
    struct store *s;
    struct gate gate;
    _Atomic bool stop;
};

struct worker {
    struct stress *st;
    uint32_t index;
    struct access a;
    struct rng rng;
};

/* One cut on its way from the lane to its reader. */
struct order {
    struct stress *st;
    struct cut *cut;
    uint64_t sum, keys;
};

static uint64_t sum_one(uint32_t db, struct str key, struct str value)
{
    static const struct hash_seed seed = {1, 2};
    return hash_mix64(hash_sip13(key.p, key.n, &seed) + 3 * hash_sip13(value.p, value.n, &seed) + db);
}

static void write_one(struct worker *w)
{
    char name[32], value[20000];
    struct key k;
    uint64_t i = rng_below(&w->rng, KEYS);
    size_t n = rng_below(&w->rng, 40) == 0 ? rng_below(&w->rng, sizeof value) : 8 + rng_below(&w->rng, 50);
    int len = snprintf(name, sizeof name, i % 4 == 0 ? "{hot}%llu" : "key%llu", (unsigned long long)i);
    key_make(w->a.store, &k, (struct str){name, (size_t)len}, (uint32_t)rng_below(&w->rng, DBS));
    if (!store_lock_one(w->a.store, key_shard(&k)))
        return;
    char *data;
    switch (rng_below(&w->rng, 4)) {
    case 0: (void)store_delete(&w->a, &k); break;
    case 1:
        ASSERT(store_edit_string(&w->a, &k, store_find(&w->a, &k), n, &data) == 0);
        memset(data, (int)rng_below(&w->rng, 256), n);
        break;
    default:
        memset(value, (int)rng_below(&w->rng, 256), n);
        ASSERT(store_put_string(&w->a, &k, (struct str){value, n}, NULL, 0, 0) == 0);
    }
    store_unlock_one(w->a.store, key_shard(&k));
}

static void *work(void *arg)
{
    struct worker *w = arg;
    while (!atomic_load_explicit(&w->st->stop, memory_order_relaxed)) {
        gate_enter(&w->st->gate, w->index);
        store_round_begin(w->a.store, w->a.app);
        for (int i = 0; i < 30; i++)
            write_one(w);
        store_maintain(&w->a, 200);
        gate_leave(&w->st->gate, w->index);
    }
    return NULL;
}

static void *read_cut(void *arg)
{
    struct order *o = arg;
    struct cut_chunk *ch;
    struct cut_record r;
    uint64_t sum = 0, keys = 0;
    int rc;
    while ((rc = cut_next(o->cut, &ch)) == 0 || rc == ERR_AGAIN) {
        if (rc == ERR_AGAIN) { /* a writer is writing to the file */
            sched_yield();
            continue;
        }
        for (size_t at = 0; cut_chunk_next(ch, &at, &r); keys++)
            sum += sum_one(r.db, r.key, r.value);
        cut_chunk_free(o->cut, ch);
    }
    ASSERT(rc == ERR_NOTFOUND);
    cut_close(o->cut);
    ASSERT(sum == o->sum && keys == o->keys);
    return NULL;
}

struct tally {
    uint64_t sum, keys;
    uint32_t db;
};

static bool tally_one(void *arg, const struct entry *e)
{
    struct tally *t = arg;
    struct block *b;
    t->sum += sum_one(t->db, entry_key(e), entry_string(e, &b));
    t->keys++;
    return true;
}

/* Gate. */
static void open_cut(struct worker *lane, struct order *o, uint32_t reader)
{
    struct stress *st = lane->st;
    struct tally t = {0};
    uint32_t busy;
    for (t.db = 0; t.db < DBS; t.db++) {
        uint64_t cursor = 0;
        do {
            ASSERT(store_scan(&lane->a, t.db, cursor, 1000, tally_one, &t, &cursor, &busy) == 0);
        } while (cursor != 0);
    }
    struct cut_options co = {.now_ms = lane->a.now_ms,
                             .queue_max = rng_below(&lane->rng, 2) * 10000,
                             .gate = &st->gate,
                             .round = WORKERS + reader};
    *o = (struct order){.st = st, .sum = t.sum, .keys = t.keys};
    ASSERT(cut_open(&o->cut, st->s, &co) == 0);
}

static void test_stress(void **state)
{
    static struct stress st;
    static struct worker w[LANE + 1];
    pthread_t thread[WORKERS], reader[READERS];
    struct order order[READERS];
    st.s = model_store(0, LANE + 1, 9);
    gate_init(&st.gate, LANE);
    for (uint32_t i = 0; i <= LANE; i++) {
        w[i] = (struct worker){.st = &st, .index = i};
        w[i].a = (struct access){.store = st.s, .app = store_appender(st.s, i), .now_ms = 1000000};
        rng_init(&w[i].rng, i + 1);
    }
    w[LANE].a.lane = true;
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
    for (int turn = 0; turn < TURNS; turn++) {
        for (uint32_t i = 0; i < READERS; i++) {
            gate_raise(&st.gate);
            open_cut(&w[LANE], &order[i], i);
            gate_lower(&st.gate);
            assert_int_equal(pthread_create(&reader[i], NULL, read_cut, &order[i]), 0);
        }
        for (uint32_t i = 0; i < READERS; i++)
            pthread_join(reader[i], NULL);
    }
    atomic_store(&st.stop, true);
    for (uint32_t i = 0; i < WORKERS; i++)
        pthread_join(thread[i], NULL);
    store_check(st.s);
    store_free(st.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stress)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
