/* Offline caches: small traces worked out by hand, and all possible caches tried on tiny random ones. */
#include "base/rng.h"
#include "bench/replay/bound.h"
#include "bench/replay/stats.h"

#include "unit.h"

enum { KEY_BYTES = 10, MAX = 16 };

/* Keys are letters, one request a second; sizes and TTLs are the key's. */
static struct trace make(const char *letters, const uint32_t *bytes, const uint32_t *ttls,
                         struct trace_request *out)
{
    struct trace t = {.requests = out, .key_bytes = KEY_BYTES};
    for (; letters[t.n] != 0; t.n++) {
        uint32_t key = (uint32_t)(letters[t.n] - 'a');
        out[t.n] =
            (struct trace_request){(uint32_t)t.n * 1000, key, bytes ? bytes[key] : 0, ttls ? ttls[key] : 0};
        t.keys = key + 1 > t.keys ? key + 1 : t.keys;
    }
    return t;
}

static uint64_t least(const struct trace *t, uint64_t capacity)
{
    uint64_t misses;
    bound_sized(t, &capacity, 1, &misses);
    return misses;
}

static void lru_forgets_the_least_recently_used(void **state)
{
    (void)state;
    struct trace_request r[MAX];
    struct trace t = make("abacbc", NULL, NULL, r); /* two places: c takes b's, b takes a's */
    assert_int_equal(bound_lru(&t, 2 * KEY_BYTES), 4);
    assert_int_equal(bound_lru(&t, 3 * KEY_BYTES), 3);
    assert_int_equal(bound_lru(&t, KEY_BYTES), 6);
    assert_int_equal(bound_lru(&t, KEY_BYTES - 1), 6); /* nothing fits */
}

static void lru_counts_bytes(void **state)
{
    (void)state;
    struct trace_request r[MAX];
    /* c needs as much as a and b together: both go, and come back */
    struct trace t = make("abcab", (uint32_t[]){0, 0, 10}, NULL, r);
    assert_int_equal(bound_lru(&t, 20), 5);
    assert_int_equal(bound_lru(&t, 40), 3);
    t = make("abcab", (uint32_t[]){0, 0, 100}, NULL, r); /* too large for the cache: disturbs nobody */
    assert_int_equal(bound_lru(&t, 20), 3);
}

static void lru_misses_what_has_expired(void **state)
{
    (void)state;
    struct trace_request r[MAX];
    struct trace t = make("aaaa", NULL, (uint32_t[]){2}, r); /* stored at 0, gone at 2, stored, there at 3 */
    assert_int_equal(bound_lru(&t, 100), 2);
}

static void belady_forgets_the_farthest(void **state)
{
    (void)state;
    struct trace_request r[MAX];
    struct trace t = make("abcab", NULL, NULL, r); /* c is never stored */
    assert_int_equal(bound_belady(&t, 2), 3);
    t = make("abcabc", NULL, NULL, r);
    assert_int_equal(bound_belady(&t, 2), 4);
    assert_int_equal(bound_belady(&t, 1), 5);
    assert_int_equal(bound_belady(&t, 0), 6);
    assert_int_equal(bound_belady(&t, 3), 3);
}

static void belady_does_not_keep_what_expires_before_its_use(void **state)
{
    (void)state;
    struct trace_request r[MAX];
    struct trace t = make("abba", NULL, (uint32_t[]){2, 0}, r); /* a is dead at 3, b has the only place */
    assert_int_equal(bound_belady(&t, 1), 3);
}

static void the_bound_spends_bytes_over_time(void **state)
{
    (void)state;
    struct trace_request r[MAX];
    /* Intervals: a 2 x 10, b 2 x 30, c 2 x 10 bytes x requests; six requests of 10 bytes may be spent. */
    struct trace t = make("abacbc", (uint32_t[]){0, 20, 0}, NULL, r);
    assert_int_equal(least(&t, 10), 4); /* 60: a and c, 40 */
    assert_int_equal(least(&t, 3), 6);  /* 18: nothing */
    assert_int_equal(least(&t, 25), 3); /* 150: all (b lies 3 requests apart: 90) */
}

static void the_bound_knows_ttls_and_first_requests(void **state)
{
    (void)state;
    struct trace_request r[MAX];
    struct trace t = make("aaaa", NULL, (uint32_t[]){2}, r);
    assert_int_equal(least(&t, 1000000), 2);
    t = make("abab", NULL, (uint32_t[]){1, 0}, r);
    assert_int_equal(least(&t, 1000000), 3);
}

static void statistics_of_a_trace(void **state)
{
    (void)state;
    struct trace_request r[MAX];
    struct stats s;
    struct trace t = make("abacad", (uint32_t[]){5, 10, 15, 30}, (uint32_t[]){3, 0, 0, 0}, r);
    stats_of(&t, &s);
    assert_int_equal(s.requests, 6);
    assert_int_equal(s.keys, 4);
    assert_int_equal(s.one_hit_keys, 3);
    assert_int_equal(s.first, 4);
    assert_int_equal(s.expired, 1); /* a: stored at 0, there at 2, gone at 4 */
    assert_int_equal(stats_unavoidable(&s), 5);
    assert_int_equal(s.footprint, 4 * KEY_BYTES + 60);
    assert_true(s.value_mean == 15);
    assert_int_equal(s.nttls, 2);
    assert_int_equal(s.ttl[0], 0);
    assert_true(s.ttl_share[0] == 0.75);
    assert_int_equal(s.ttl[1], 3);
}

/* ---- every possible cache ------------------------------------------------------------- */

enum { KEYS = 3, REQUESTS = 9, GONE = REQUESTS, BASE = REQUESTS + 1, STATES = BASE * BASE * BASE };

/* What is cached is a number: for each key the request that stored it, or GONE. */
static void unpack(unsigned s, unsigned stored[KEYS])
{
    for (int k = 0; k < KEYS; k++, s /= BASE)
        stored[k] = s % BASE;
}

static unsigned pack(const unsigned stored[KEYS])
{
    unsigned s = 0;
    for (int k = KEYS; k-- > 0;)
        s = s * BASE + stored[k];
    return s;
}

/* From this state, drop every possible choice of keys that leaves what fits. */
static void relax(const struct trace *t, uint64_t capacity, const unsigned stored[KEYS], unsigned misses,
                  unsigned *best)
{
    for (unsigned keep = 0; keep < 1U << KEYS; keep++) {
        unsigned left[KEYS];
        uint64_t bytes = 0;
        for (int k = 0; k < KEYS; k++) {
            left[k] = keep & 1U << k ? stored[k] : GONE;
            if (left[k] != GONE)
                bytes += trace_object_bytes(t, &t->requests[left[k]]);
        }
        unsigned s = pack(left);
        if (bytes <= capacity && misses < best[s])
            best[s] = misses;
    }
}

/* The fewest misses of any cache, by trying all. */
static unsigned optimum(const struct trace *t, uint64_t capacity)
{
    static unsigned now[STATES], next[STATES];
    unsigned none[KEYS] = {GONE, GONE, GONE}, fewest = REQUESTS + 1;
    for (unsigned s = 0; s < STATES; s++)
        now[s] = REQUESTS + 1;
    now[pack(none)] = 0;
    for (unsigned i = 0; i < t->n; i++) {
        for (unsigned s = 0; s < STATES; s++)
            next[s] = REQUESTS + 1;
        for (unsigned s = 0; s < STATES; s++) {
            unsigned stored[KEYS], key = t->requests[i].key;
            if (now[s] > REQUESTS)
                continue;
            unpack(s, stored);
            bool hit = stored[key] != GONE && trace_alive(&t->requests[stored[key]], &t->requests[i]);
            if (!hit)
                stored[key] = i;
            relax(t, capacity, stored, now[s] + !hit, next);
        }
        memcpy(now, next, sizeof now);
    }
    for (unsigned s = 0; s < STATES; s++)
        fewest = now[s] < fewest ? now[s] : fewest;
    return fewest;
}

static struct trace random_trace(struct rng *rng, bool sized, bool ttls, struct trace_request *out)
{
    char letters[REQUESTS + 1] = {0};
    uint32_t bytes[KEYS], ttl[KEYS];
    for (int i = 0; i < REQUESTS; i++)
        letters[i] = (char)('a' + rng_below(rng, KEYS));
    letters[rng_below(rng, REQUESTS)] = 'a' + KEYS - 1;
    for (int k = 0; k < KEYS; k++) {
        bytes[k] = (uint32_t)rng_below(rng, 30);
        ttl[k] = (uint32_t)rng_below(rng, 6);
    }
    return make(letters, sized ? bytes : NULL, ttls ? ttl : NULL, out);
}

static void belady_is_the_optimum_for_equal_sizes(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 11);
    for (int round = 0; round < 400; round++) {
        struct trace_request r[MAX];
        struct trace t = random_trace(&rng, false, false, r);
        uint64_t places = 1 + rng_below(&rng, KEYS);
        assert_int_equal(bound_belady(&t, places), optimum(&t, places * KEY_BYTES));
        assert_true(bound_lru(&t, places * KEY_BYTES) >= bound_belady(&t, places));
    }
}

static void nothing_falls_below_the_bound(void **state)
{
    (void)state;
    struct rng rng;
    unsigned tight = 0;
    rng_init(&rng, 12);
    for (int round = 0; round < 600; round++) {
        struct trace_request r[MAX];
        struct trace t = random_trace(&rng, true, round % 2 == 0, r);
        uint64_t capacity = 10 + rng_below(&rng, 90), bound = least(&t, capacity);
        unsigned best = optimum(&t, capacity);
        assert_true(bound <= best);
        assert_true(best <= bound_lru(&t, capacity));
        tight += bound == best;
    }
    assert_true(tight > 100); /* a bound that is always far below says nothing */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lru_forgets_the_least_recently_used),
        cmocka_unit_test(lru_counts_bytes),
        cmocka_unit_test(lru_misses_what_has_expired),
        cmocka_unit_test(belady_forgets_the_farthest),
        cmocka_unit_test(belady_does_not_keep_what_expires_before_its_use),
        cmocka_unit_test(the_bound_spends_bytes_over_time),
        cmocka_unit_test(the_bound_knows_ttls_and_first_requests),
        cmocka_unit_test(statistics_of_a_trace),
        cmocka_unit_test(belady_is_the_optimum_for_equal_sizes),
        cmocka_unit_test(nothing_falls_below_the_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
