/* allkeys-auto beside exact LRU of as many bytes, on workloads that each favour something else, with values
 * of one size and of many: wherever LRU does well it does as well, within a few percent, since shadows
 * (store/shadow.h) tell when to behave like it. */
#include "model.h"

#include "store/evict.h"

#include <math.h>

enum {
    MB = 1 << 20,
    LIMIT = 4 * MB,
    VALUE = 200,   /* of one size */
    SMALLEST = 96, /* of many: that times 1, 2, 4 ... 32, whatever their use, ... */
    LARGEST = SMALLEST * 32,
    MIXED_TIMES = 4, /* ... which is so much more on average, and so is the memory */
    REQUESTS = 600000,
    WARM = REQUESTS / 6, /* requests that are not judged */
    ROOM = 13000,        /* about as many keys as fit: what the workloads are made for */
    KEYS = 1200000,
    POPULAR = 8 * ROOM,
    PER_MS = 32, /* requests */
};

/* ---- workloads ---- */

struct load {
    struct rng rng;
    uint32_t *key;  /* REQUESTS: what is asked for */
    double *weight; /* POPULAR: sums of Zipf's */
    uint32_t fresh; /* the next key that nobody has asked for */
    bool mixed;     /* sizes of values */
    int64_t ttl_ms;
};

static double unit(struct load *l)
{
    return (double)rng_below(&l->rng, 1 << 30) / (double)(1 << 30);
}

static uint32_t zipf(struct load *l)
{
    double want = unit(l) * l->weight[POPULAR - 1];
    uint32_t low = 0, high = POPULAR - 1;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (l->weight[mid] < want)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Ask for a key at this request or the next that nothing is asked for at. */
static void ask_at(struct load *l, uint32_t at, uint32_t key)
{
    while (at < REQUESTS && l->key[at] != UINT32_MAX)
        at++;
    if (at < REQUESTS)
        l->key[at] = key;
}

/* What is not asked for yet: a new key, that is asked for `times` in all, up to `far` keys' room apart. */
static void a_few_times(struct load *l, uint32_t at, unsigned times, double far)
{
    uint32_t key = l->fresh++;
    l->key[at] = key;
    for (unsigned i = 1; i < times; i++)
        ask_at(l, at + 1 + (uint32_t)((0.1 + unit(l) * (far - 0.1)) * ROOM * i), key);
}

static void make_twice(struct load *l, uint32_t at)
{
    a_few_times(l, at, 2, 0.6);
}

static void make_three_times(struct load *l, uint32_t at)
{
    a_few_times(l, at, 3, 0.3);
}

static void make_twice_and_zipf(struct load *l, uint32_t at)
{
    if (at % 2 == 0)
        l->key[at] = zipf(l);
    else
        a_few_times(l, at, 2, 0.6);
}

static void make_zipf(struct load *l, uint32_t at)
{
    l->key[at] = zipf(l);
}

static void make_zipf_that_moves(struct load *l, uint32_t at)
{
    l->key[at] = zipf(l) + at / 20;
}

static void make_hot_sets(struct load *l, uint32_t at)
{
    enum { STAYS = 40000, SIZE = ROOM * 7 / 10 };
    l->key[at] = at / STAYS * SIZE + (uint32_t)rng_below(&l->rng, SIZE);
}

static void make_uniform(struct load *l, uint32_t at)
{
    l->key[at] = (uint32_t)rng_below(&l->rng, 3 * ROOM);
}

static void make_loop(struct load *l, uint32_t at)
{
    l->key[at] = at % (ROOM * 5 / 4);
}

static void make_zipf_and_scans(struct load *l, uint32_t at)
{
    l->key[at] = at / 30000 % 4 == 3 ? l->fresh++ : zipf(l);
}

static const struct workload {
    const char *name;
    void (*make)(struct load *l, uint32_t at); /* the request at `at`, and some later ones */
    double most, most_mixed;                   /* misses / LRU's, with values of one size, of many */
    int64_t ttl_ms;                            /* of half the keys; 0: none */
} workloads[] = {
    {"zipf", make_zipf, 0.95, 0.95, 0},
    {"zipf with short lives", make_zipf, 1.00, 1.00, 1000},
    {"zipf that moves on", make_zipf_that_moves, 1.04, 1.04, 0},
    {"zipf and scans", make_zipf_and_scans, 0.95, 0.95, 0},
    {"zipf and keys asked for twice", make_twice_and_zipf, 1.02, 1.03, 0},
    {"keys asked for twice", make_twice, 1.02, 1.02, 0},
    {"keys asked for three times", make_three_times, 1.02, 1.02, 0},
    {"hot sets that change", make_hot_sets, 1.04, 1.04, 0},
    {"uniform", make_uniform, 1.02, 1.02, 0},
    {"a loop larger than the cache", make_loop, 0.80, 0.80, 0},
};

static void load_init(struct load *l, const struct workload *w, bool mixed)
{
    double sum = 0;
    l->mixed = mixed;
    rng_init(&l->rng, 5);
    l->key = malloc(REQUESTS * sizeof *l->key);
    l->weight = malloc(POPULAR * sizeof *l->weight);
    l->fresh = KEYS / 2;
    l->ttl_ms = w->ttl_ms;
    for (uint32_t i = 0; i < POPULAR; i++)
        l->weight[i] = sum += pow(i + 1, -0.8);
    memset(l->key, 0xff, REQUESTS * sizeof *l->key);
    for (uint32_t at = 0; at < REQUESTS; at++)
        if (l->key[at] == UINT32_MAX)
            w->make(l, at);
    ASSERT(l->fresh <= KEYS);
}

static void load_release(struct load *l)
{
    free(l->key);
    free(l->weight);
}

/* ---- who replays them ---- */

static int64_t now_at(uint32_t at)
{
    return 1000000 + at / PER_MS;
}

static int64_t deadline_at(const struct load *l, uint32_t at)
{
    return l->ttl_ms != 0 && l->key[at] % 2 == 0 ? now_at(at) + l->ttl_ms : 0;
}

static uint32_t size_of(const struct load *l, uint32_t key)
{
    return l->mixed ? (uint32_t)SMALLEST << hash_mix64(key) % 6 : VALUE;
}

/* What a key takes in either. */
static uint32_t cost_of(const struct load *l, uint32_t key)
{
    enum { NAME_AND_HEADER = 16 };
    return size_of(l, key) + NAME_AND_HEADER;
}

/* Misses, cache-aside; *bytes: how many of entries are there, on average of the second half. */
static uint64_t misses_of_store(const struct load *l, uint64_t *bytes, struct shadow_way *way)
{
    static const char value[LARGEST];
    struct store *s = model_store(l->mixed ? LIMIT * MIXED_TIMES : LIMIT, 2, 1);
    struct access a = {.store = s, .app = store_appender(s, 0), .now_ms = now_at(0)};
    uint64_t misses = 0, sum = 0, looks = 0;
    store_set_eviction(s, &(struct store_eviction){.policy = STORE_AUTO});
    for (uint32_t at = 0; at < REQUESTS; at++) {
        char name[32];
        struct key k;
        key_make(s, &k, (struct str){name, (size_t)snprintf(name, sizeof name, "key:%u", l->key[at])}, 0);
        a.now_ms = now_at(at);
        store_round_begin(s, a.app);
        if (store_find(&a, &k) == NULL) {
            misses += at >= WARM;
            ASSERT(store_put_string(&a, &k, (struct str){value, size_of(l, l->key[at])}, NULL,
                                    deadline_at(l, at), 0) == 0);
        }
        if (at % PER_MS != 0)
            continue;
        for (int i = 0; i < 200 && store_maintain(&a, 1000000) == 0; i++)
            ;
        if (at >= REQUESTS / 2) {
            struct store_memory m;
            store_memory(s, &m);
            sum += m.live + m.blocks;
            looks++;
        }
    }
    *way = shadows_way(&s->evict.shadows);
    *bytes = sum / looks;
    store_check(s);
    store_free(s);
    return misses;
}

/* Of exact LRU: a queue of requests, in which only the latest of each key counts. What has expired still
 * takes its place, as it does in Redis until somebody looks. */
static uint64_t misses_of_lru(const struct load *l, uint64_t room)
{
    uint32_t *last = malloc(KEYS * sizeof *last), oldest = 0;
    int64_t *deadline = calloc(KEYS, sizeof *deadline);
    uint64_t misses = 0, bytes = 0;
    memset(last, 0xff, KEYS * sizeof *last);
    for (uint32_t at = 0; at < REQUESTS; at++) {
        uint32_t key = l->key[at];
        bool there = last[key] != UINT32_MAX;
        last[key] = at;
        bool expired = deadline[key] != 0 && deadline[key] <= now_at(at);
        if (there && !expired)
            continue;
        misses += at >= WARM;
        deadline[key] = deadline_at(l, at);
        for (bytes += there ? 0 : cost_of(l, key); bytes > room; oldest++)
            if (last[l->key[oldest]] == oldest) {
                last[l->key[oldest]] = UINT32_MAX;
                bytes -= cost_of(l, l->key[oldest]);
            }
    }
    free(last);
    free(deadline);
    return misses;
}

static bool as_good_as_lru(const struct workload *w, bool mixed)
{
    struct load l;
    struct shadow_way way;
    uint64_t room;
    load_init(&l, w, mixed);
    double ours = (double)misses_of_store(&l, &room, &way), lru = (double)misses_of_lru(&l, room);
    bool good = ours <= lru * (mixed ? w->most_mixed : w->most);
    print_message("%-30s %s, LRU misses %4.1f %%, auto %.3f of that, small queue %u %%%s%s\n", w->name,
                  mixed ? "mixed sizes" : "one size", 100 * lru / (REQUESTS - WARM), ours / lru,
                  (unsigned)way.small_percent, way.by_size ? "" : " of all sizes alike",
                  good ? "" : "  TOO MANY");
    load_release(&l);
    return good;
}

static void never_worse_than_lru(bool mixed)
{
    bool all = true;
    for (size_t i = 0; i < ARRAY_LEN(workloads); i++)
        all &= as_good_as_lru(&workloads[i], mixed);
    assert_true(all);
}

static void test_one_size(void **state)
{
    never_worse_than_lru(false);
}

static void test_mixed_sizes(void **state)
{
    never_worse_than_lru(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_size), cmocka_unit_test(test_mixed_sizes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
