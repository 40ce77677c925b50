/* The accounts add up, and what is resident corrects them: slowly, within bounds, and not for what others
 * own. */
#include "model.h"

enum { MB = 1 << 20, STEP_MS = 200 };

static void put(const struct access *a, uint32_t i, uint32_t db, size_t size, int64_t expire)
{
    static char bytes[1 << 20];
    char p[32];
    struct key k;
    int n = snprintf(p, sizeof p, "key:%08u", i);
    key_make(a->store, &k, (struct str){p, (size_t)n}, db);
    store_round_begin(a->store, a->app);
    ASSERT(store_put_string(a, &k, (struct str){bytes, size}, NULL, expire, 0) == 0);
}

static void drop(const struct access *a, uint32_t i, uint32_t db)
{
    char p[32];
    struct key k;
    int n = snprintf(p, sizeof p, "key:%08u", i);
    key_make(a->store, &k, (struct str){p, (size_t)n}, db);
    (void)store_delete(a, &k);
}

static struct access setup_store(struct store **s, uint64_t maxmemory)
{
    *s = model_store(maxmemory, 1, 2);
    return (struct access){.store = *s, .app = store_appender(*s, 0), .now_ms = 1000000};
}

static void upkeep(struct access *a, int times)
{
    for (int i = 0; i < times; i++, a->now_ms += 100)
        store_maintain(a, 1000000);
}

/* ---- accounts ---- */

static void assert_adds_up(const struct store_memory *m)
{
    assert_int_equal(m->names + m->headers + m->values, m->live);
    assert_int_equal(m->live + m->dead, m->segments);
    assert_int_equal(m->segments + m->tables + m->blocks + m->heap_slack + m->ghosts + m->rss_excess,
                     m->used);
}

static void test_kinds(void **state)
{
    enum { N = 10000, NAME = 12, SIZE = 40, BLOCK = 20000 };
    struct store *s;
    struct access a = setup_store(&s, 0);
    struct store_memory m;
    for (uint32_t i = 0; i < N; i++)
        put(&a, i, i % 2, SIZE, i % 4 == 0 ? a.now_ms + 1000000 : 0);
    store_memory(s, &m);
    assert_adds_up(&m);
    assert_int_equal(m.keys, N);
    assert_int_equal(m.expires, N / 4);
    assert_int_equal(m.names, N * NAME);
    assert_int_equal(m.headers, N * 4 + N / 4 * 8 + N / 2 * 4); /* word, deadline, number of the database */
    assert_int_equal(m.values, N * SIZE);
    assert_int_equal(m.blocks, 0);
    put(&a, 0, 0, BLOCK, 0);
    put(&a, 1, 1, BLOCK, 0);
    store_flush_all(&a); /* also brings the thread's share of the sum up to date */
    store_memory(s, &m);
    assert_adds_up(&m);
    assert_int_equal(m.names, 0);
    assert_int_equal(m.live, 0);
    assert_true(m.doomed >= 2 * BLOCK);
    upkeep(&a, 20);
    store_memory(s, &m);
    assert_int_equal(m.doomed, 0);
    store_check(s);
    store_free(s);
}

/* Names are counted once for each key, whatever happens to it. */
static void test_names(void **state)
{
    enum { N = 2000, NAME = 12 };
    struct store *s;
    struct access a = setup_store(&s, 0);
    struct store_memory m;
    struct rng rng;
    rng_init(&rng, 1);
    for (uint32_t step = 0; step < 50000; step++) {
        uint32_t i = (uint32_t)rng_below(&rng, N), db = i % MODEL_DBS;
        uint32_t what = (uint32_t)rng_below(&rng, 8);
        if (what == 0)
            drop(&a, i, db);
        else
            put(&a, i, db, rng_below(&rng, 300), what == 1 ? a.now_ms + 50 : 0);
        if (step % 1000 == 0)
            upkeep(&a, 1);
    }
    store_flush_db(&a, 1);
    store_swap_db(&a, 0, 2);
    store_memory(s, &m);
    assert_adds_up(&m);
    assert_int_equal(m.names, m.keys * NAME);
    store_check(s);
    store_free(s);
}

/* ---- what is resident ---- */

struct process {
    struct store_process p;
    struct store *s;
};

/* As resident as the accounts and the heap say, and `more`. */
static void observe(struct process *o, int64_t more, int times)
{
    for (int i = 0; i < times; i++) {
        struct store_memory m;
        store_memory(o->s, &m);
        uint64_t others = o->p.heap_resident > m.blocks ? o->p.heap_resident - m.blocks : 0;
        o->p.now_ms += STEP_MS;
        o->p.rss = (uint64_t)(o->p.beside + (int64_t)(m.segments + m.tables + m.blocks + others) + more);
        store_note_process(o->s, &o->p);
    }
}

static struct process new_process(struct store *s)
{
    return (struct process){
        .s = s,
        .p = {.beside = 8 * MB,
              .heap_allocated = 4 * MB,
              .heap_active = 4 * MB,
              .heap_resident = 4 * MB,
              .now_ms = 5},
    };
}

static uint64_t excess(struct store *s)
{
    struct store_memory m;
    store_memory(s, &m);
    assert_adds_up(&m);
    return m.rss_excess;
}

static void test_excess_is_slow_and_bounded(void **state)
{
    enum { MAX = 64 * MB };
    struct store *s;
    struct access a = setup_store(&s, MAX);
    struct process o = new_process(s);
    for (uint32_t i = 0; i < 100000; i++)
        put(&a, i, 0, 100, 0);
    observe(&o, 0, 100);
    assert_int_equal(excess(s), 0);
    observe(&o, MB, 100); /* within the tolerance */
    assert_int_equal(excess(s), 0);
    observe(&o, 7 * MB, 1); /* one odd sample says nothing */
    assert_int_equal(excess(s), 0);
    observe(&o, 7 * MB, 200);
    assert_in_range(excess(s), 3 * MB, 4 * MB + MB / 2); /* 7 less the tolerance, 3 */
    observe(&o, 1000 * MB, 500);
    assert_int_equal(excess(s), MAX / 8); /* never more */
    observe(&o, 0, 500);
    assert_int_equal(excess(s), 0);
    observe(&o, -20 * MB, 500); /* less resident than committed is no licence to commit more */
    assert_int_equal(excess(s), 0);
    store_free(s);
}

/* It counts: a store at its limit is over it with the excess, and no longer so without. */
static void test_excess_presses(void **state)
{
    struct store *s;
    struct access a = setup_store(&s, 64 * MB);
    struct process o = new_process(s);
    uint32_t i = 0;
    while (store_used(s) < 60 * MB)
        put(&a, i++, 0, 200, 0);
    observe(&o, 0, 10);
    upkeep(&a, 1);
    assert_false(store_over_memory(s));
    observe(&o, 100 * MB, 100);
    upkeep(&a, 1);
    assert_true(store_over_memory(s));
    observe(&o, 0, 300);
    upkeep(&a, 1);
    assert_false(store_over_memory(s));
    observe(&o, 100 * MB, 100);
    upkeep(&a, 1);
    assert_true(store_over_memory(s));
    store_set_maxmemory(s, 0); /* without a limit there is nothing to press for */
    assert_false(store_over_memory(s));
    assert_int_equal(excess(s), 0);
    store_free(s);
}

/* Buffers of clients are heap that no value owns, however much, and so are the pages that they leave behind:
 * not a byte of it counts. */
static void test_clients_never_count(void **state)
{
    struct store *s;
    struct access a = setup_store(&s, 64 * MB);
    struct process o = new_process(s);
    for (uint32_t i = 0; i < 1000; i++)
        put(&a, i, 0, 100, 0);
    o.p.heap_allocated += 500 * (uint64_t)MB;
    o.p.heap_active = o.p.heap_resident = o.p.heap_allocated;
    observe(&o, 0, 500);
    assert_int_equal(excess(s), 0);
    o.p.heap_allocated -= 400 * (uint64_t)MB;
    o.p.heap_active -= 300 * (uint64_t)MB;
    observe(&o, 0, 500);
    assert_int_equal(excess(s), 0);
    store_free(s);
}

/* Of the heap's holes the values carry their share. */
static void test_heap_slack(void **state)
{
    enum { N = 1000 };
    struct store *s;
    struct access a = setup_store(&s, 64 * MB);
    struct process o = new_process(s);
    struct store_memory m;
    for (uint32_t i = 0; i < N; i++)
        put(&a, i, 0, 20000, 0);
    store_memory(s, &m);
    assert_true(m.blocks >= (uint64_t)N * 19000);
    o.p.heap_allocated = 2 * m.blocks;
    o.p.heap_active = o.p.heap_resident = 2 * m.blocks + 10 * MB;
    observe(&o, 0, 1);
    store_memory(s, &m);
    assert_adds_up(&m);
    assert_in_range(m.heap_slack, 5 * MB - 100, 5 * MB + 100);
    o.p.heap_before = m.blocks / 2; /* what was there before the first key is nobody's reason for holes */
    observe(&o, 0, 1);
    store_memory(s, &m);
    assert_in_range(m.heap_slack, 20 * (MB / 3) - 1000, 20 * (MB / 3) + 1000);
    store_free(s);
}

/* A thread that moves much to the heap and from it does not wait for the next observation to count the holes.
 * Under a sanitizer's heap nothing is seen. */
static void test_holes_between_observations(void **state)
{
    enum { N = 1200, BYTES = 9000 };
    struct store *s;
    struct access a = setup_store(&s, 16 * MB);
    struct process o = new_process(s);
    struct store_memory m;
    struct mem_stats ms;
    mem_stats_read(&ms);
    o.p.heap_before = ms.allocated;
    observe(&o, 0, 1);
    for (uint32_t i = 0; i < N; i++)
        put(&a, i, 0, BYTES, 0);
    for (uint32_t i = 0; i < N; i++)
        if (i % 2 == 0) /* two of them have a run of pages */
            drop(&a, i, 0);
    store_memory(s, &m);
    assert_int_equal(m.heap_slack, 0); /* nothing was wanted yet */
    atomic_store(&s->wanting, true);
    store_round_begin(s, a.app);
    store_memory(s, &m);
    assert_adds_up(&m);
    mem_stats_read(&ms);
    assert_true(ms.allocated == 0 || m.heap_slack > MB);
    uint64_t seen = m.heap_slack;
    put(&a, 1, 0, BYTES + 1, 0); /* that is not worth another look */
    atomic_store(&s->heap_slack, 1);
    store_round_begin(s, a.app);
    store_memory(s, &m);
    assert_true(ms.allocated == 0 || m.heap_slack == 1);
    assert_true(seen < 16 * MB);
    store_check(s);
    store_free(s);
}

/* ---- giving back ---- */

/* What a smaller store does not need goes back to the system. */
static void test_memory_goes_back(void **state)
{
    struct store *s;
    struct access a = setup_store(&s, 0);
    struct store_memory before, after;
    for (uint32_t i = 0; i < 200000; i++)
        put(&a, i, 0, 200, 0);
    store_memory(s, &before);
    for (uint32_t i = 0; i < 200000; i++)
        if (i % 10 != 0)
            drop(&a, i, 0);
    upkeep(&a, 50);
    store_memory(s, &after);
    assert_true(after.segments < before.segments / 4);
    assert_true(after.tables <= before.tables);
    assert_int_equal(segments_surplus_bytes(&s->segs), 0);
    assert_true(after.free_segments <= 8u << s->segs.shift);
    store_check(s);
    store_free(s);
}

/* In slices: with no time nothing is done but said; a purge takes all the time it needs. */
static void test_slices(void **state)
{
    struct store *s;
    struct access a = setup_store(&s, 0);
    for (uint32_t i = 0; i < 200000; i++)
        put(&a, i, 0, 200, 0);
    for (uint32_t i = 0; i < 200000; i++)
        drop(&a, i, 0);
    uint64_t surplus = segments_surplus_bytes(&s->segs);
    assert_true(surplus > 20 * MB);
    assert_true(store_give_back(s, 0));
    assert_int_equal(segments_surplus_bytes(&s->segs), surplus);
    assert_true(store_maintain(&a, 0) <= 1); /* and upkeep wants to come back soon */
    store_purge(s);
    assert_int_equal(segments_surplus_bytes(&s->segs), 0);
    assert_false(store_give_back(s, INT64_MAX));
    store_check(s);
    store_free(s);
}

/* A thread that writes under pressure gives back, before each round, some of what is far too much; also
 * where it never gets to upkeep. */
static void test_pressure_gives_back(void **state)
{
    struct store *s;
    struct access a = setup_store(&s, 64 * MB);
    for (uint32_t i = 0; i < 100000; i++)
        put(&a, i, 0, 200, 0);
    for (uint32_t i = 0; i < 100000; i++)
        drop(&a, i, 0);
    uint64_t surplus = segments_surplus_bytes(&s->segs), was;
    assert_true(surplus > 4 * MB);
    do {
        was = surplus;
        atomic_store(&s->wanting, true);
        store_round_begin(s, a.app);
        surplus = segments_surplus_bytes(&s->segs);
        assert_in_range(was - surplus, 0, 4 * MB);
    } while (surplus < was);
    assert_in_range(surplus, 0, MB / 2); /* 1/128 of the bound */
    store_check(s);
    store_free(s);
}

/* Nor do free segments pile up where eviction takes all the time that upkeep has. */
static void test_eviction_gives_back(void **state)
{
    enum { MAX = 64 * MB, SIZE = 200 };
    struct store *s;
    struct access a = setup_store(&s, MAX);
    store_set_eviction(s, &(struct store_eviction){.policy = STORE_AUTO});
    uint32_t i = 0;
    while (store_used(s) < MAX / 10 * 9)
        put(&a, i++, 0, SIZE, 0);
    store_set_maxmemory(s, MAX / 2);
    unsigned slices = 0;
    while (store_used(s) > MAX / 2) {
        (void)store_maintain(&a, 0);
        assert_in_range(segments_surplus_bytes(&s->segs), 0, MAX / 2 / 128);
        slices++;
    }
    assert_true(slices > 10);
    store_check(s);
    store_free(s);
}

static uint64_t heap_resident(void)
{
    struct mem_stats ms;
    mem_stats_read(&ms);
    return ms.resident;
}

/* Pages that values have left in the heap go back at once, unless they are few, or more than the caller wants
 * to wait for. Under a sanitizer's heap nothing is seen. */
static void test_heap_trimmed(void **state)
{
    struct store *s;
    struct access a = setup_store(&s, 64 * MB);
    enum { N = 4000, BYTES = 9000 };
    for (uint32_t i = 0; i < N; i++)
        put(&a, i, 0, BYTES, 0);
    store_trim_heap(s, UINT64_MAX); /* all of it is in use */
    uint64_t full = heap_resident(), peak = atomic_load(&s->heap_peak);
    assert_true(peak >= (uint64_t)N * BYTES);
    for (uint32_t i = 0; i < N; i++)
        drop(&a, i, 0);
    store_trim_heap(s, MB);
    assert_int_equal(atomic_load(&s->heap_peak), peak);
    store_trim_heap(s, UINT64_MAX);
    assert_in_range(atomic_load(&s->heap_peak), 0, MB);
    assert_true(full == 0 || full - heap_resident() > (uint64_t)N * BYTES / 2);
    put(&a, 1, 0, BYTES, 0);
    drop(&a, 1, 0);
    peak = atomic_load(&s->heap_peak);
    store_trim_heap(s, UINT64_MAX); /* not worth it */
    assert_int_equal(atomic_load(&s->heap_peak), peak);
    for (uint32_t i = 0; i < 250; i++)
        put(&a, i, 0, BYTES, 0);
    for (uint32_t i = 0; i < 250; i++)
        drop(&a, i, 0);
    atomic_store(&s->wanting, true);
    store_round_begin(s, a.app); /* so little a worker gives back itself */
    assert_in_range(atomic_load(&s->heap_peak), 0, MB / 2);
    store_check(s);
    store_free(s);
}

/* Nor does the heap keep them where there is no limit. */
static void test_heap_trimmed_without_limit(void **state)
{
    struct store *s;
    struct access a = setup_store(&s, 0);
    enum { N = 4000, BYTES = 9000 };
    for (uint32_t i = 0; i < N; i++)
        put(&a, i, 0, BYTES, 0);
    uint64_t peak = atomic_load(&s->heap_peak);
    for (uint32_t i = 0; i < N; i++) {
        drop(&a, i, 0);
        if (i == N / 10) { /* an eighth is not worth it */
            store_trim_heap(s, UINT64_MAX);
            assert_int_equal(atomic_load(&s->heap_peak), peak);
        }
    }
    store_trim_heap(s, UINT64_MAX);
    assert_in_range(atomic_load(&s->heap_peak), 0, MB);
    store_free(s);
}

/* Who writes beyond the limit makes room for longer, up to a bound; what a lowered limit leaves holds no
 * round up, however much it is, and is excused once. */
static void test_slice_before_a_round(void **state)
{
    enum { SHORTEST = 125000, LONGEST = 8000000, LIMIT = 32 * MB };
    struct store *s;
    struct access a = setup_store(&s, 64 * MB);
    uint32_t n = 0, most;
    while (store_used(s) < 60 * MB)
        put(&a, n++, 0, 1000, 0);
    assert_int_equal(store_reclaim_ns(s), SHORTEST);
    store_set_maxmemory(s, LIMIT);
    assert_int_equal(store_reclaim_ns(s), 0);
    int64_t last = 0;
    for (most = n; most < n + 1000; most++) {
        put(&a, most, 0, 1000, 0);
        int64_t ns = store_reclaim_ns(s);
        assert_true(ns == last || ns == (last == 0 ? SHORTEST : 2 * last));
        last = ns;
    }
    assert_int_equal(last, LONGEST);
    while (store_used(s) > LIMIT + 10 * MB) {
        drop(&a, --most, 0);
        upkeep(&a, 1);
    }
    assert_int_equal(store_reclaim_ns(s), 0);
    for (n = most; most < n + 1000; most++)
        put(&a, most, 0, 1000, 0);
    assert_int_equal(store_reclaim_ns(s), LONGEST);
    store_set_maxmemory(s, LIMIT); /* as it was */
    assert_int_equal(store_reclaim_ns(s), LONGEST);
    store_check(s);
    store_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_excess_is_slow_and_bounded),
        cmocka_unit_test(test_excess_presses),
        cmocka_unit_test(test_clients_never_count),
        cmocka_unit_test(test_heap_slack),
        cmocka_unit_test(test_holes_between_observations),
        cmocka_unit_test(test_memory_goes_back),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_pressure_gives_back),
        cmocka_unit_test(test_eviction_gives_back),
        cmocka_unit_test(test_heap_trimmed),
        cmocka_unit_test(test_heap_trimmed_without_limit),
        cmocka_unit_test(test_slice_before_a_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
