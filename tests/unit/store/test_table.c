/* One slot's table against an array of what should be in it: growing to many pages and
 * shrinking to none, at a load that keeps its promises on bytes and reads. */
#include "model.h"

#include "store/table_internal.h"

enum { NAME = 12 };

struct rig {
    struct region region;
    struct pool pool;
    struct pool_cache cache;
    struct hash_seed seed;
    struct table_mem tm;
    struct table t;
    char *entries; /* entries of ENTRY bytes each, in the region */
    uint32_t n;
    bool *in;
};

enum { ENTRY = 20 };

static struct entry *entry_of(const struct rig *r, uint32_t i)
{
    return (struct entry *)(void *)(r->entries + (size_t)i * ENTRY);
}

static void rig_init(struct rig *r, uint32_t n)
{
    uint32_t extent;
    memset(r, 0, sizeof *r);
    assert_int_equal(region_init(&r->region), 0);
    assert_int_equal(pool_init(&r->pool, &r->region), 0);
    r->seed = model_seed(1);
    r->tm = (struct table_mem){r->region.base, r->region.size, &r->pool, &r->cache, &r->seed, 0, 0, 0};
    size_t extents = (size_t)n * ENTRY / REGION_EXTENT + 1;
    assert_int_equal(region_take(&r->region, (uint32_t)extents, &extent), 0);
    r->entries = region_extent(&r->region, extent);
    r->n = n;
    r->in = calloc(n, 1);
    for (uint32_t i = 0; i < n; i++) {
        char name[NAME + 1];
        snprintf(name, sizeof name, "k%011u", i);
        struct shape f = {{name, NAME}, ENTRY_INLINE, {"abcd", 4}, 0, 0, 0, 0, 0, 0, {NULL, 0}};
        assert_int_equal(shape_units(&f) * ENTRY_UNIT, ENTRY);
        entry_write(entry_of(r, i), &f);
    }
}

static void rig_release(struct rig *r)
{
    uint32_t page = 0;
    while (!table_release(&r->tm, &r->t, &page, 3))
        ;
    pool_cache_drain(&r->pool, &r->cache);
    assert_int_equal(r->pool.pages_used, 0); /* the table gave everything back */
    free(r->in);
    pool_release(&r->pool);
    region_release(&r->region);
}

static uint64_t hash_of(struct rig *r, uint32_t i)
{
    return table_entry_hash(&r->seed, entry_of(r, i));
}

static bool find(struct rig *r, uint32_t i, struct table_pos *pos)
{
    struct entry *e = entry_of(r, i), *got;
    got = table_find(&r->tm, &r->t, hash_of(r, i), entry_key(e), 0, pos);
    ASSERT(got == NULL || got == e);
    return got != NULL;
}

static void insert(struct rig *r, uint32_t i)
{
    ASSERT(table_insert(&r->tm, &r->t, hash_of(r, i), entry_of(r, i)) == 0);
    r->in[i] = true;
}

static void removal(struct rig *r, uint32_t i)
{
    struct table_pos pos;
    ASSERT(table_find_entry(&r->tm, &r->t, hash_of(r, i), entry_of(r, i), &pos));
    table_remove(&r->tm, &r->t, &pos);
    r->in[i] = false;
}

static void compare(struct rig *r)
{
    struct table_pos pos;
    uint64_t n = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        ASSERT(find(r, i, &pos) == r->in[i]);
        n += r->in[i];
    }
    ASSERT(r->t.nkeys == n);
    table_check(&r->tm, &r->t);
}

/* All of a table, in parts. */
static void pack(struct rig *r, struct table *t, uint32_t max)
{
    uint32_t page = 0;
    while (!table_pack(&r->tm, t, &page, max))
        ;
}

/* Random steps whose drift changes sign, so that the table is empty and full many times. */
static void test_random(void **state)
{
    struct rig r;
    struct rng rng;
    uint64_t steps = unit_model_steps(1000000);
    rng_init(&rng, unit_model_seed(3));
    rig_init(&r, 3000);
    for (uint64_t step = 0; step < steps; step++) {
        uint32_t i = (uint32_t)rng_below(&rng, r.n), grow = (uint32_t)(step / 50000 % 2);
        struct table_pos pos;
        ASSERT(find(&r, i, &pos) == r.in[i]);
        if (!r.in[i] && (grow || rng_below(&rng, 8) == 0))
            insert(&r, i);
        else if (r.in[i] && (!grow || rng_below(&rng, 8) == 0))
            removal(&r, i);
        if (step % 500 == 0)
            pack(&r, &r.t, 1 + (uint32_t)rng_below(&rng, 8));
        if (step % 25000 == 0)
            compare(&r);
    }
    assert_true(r.tm.splits > 50 && r.tm.merges > 50 && r.tm.moves > 50);
    rig_release(&r);
}

/* Far enough for a directory of two levels, and back. */
static void test_large(void **state)
{
    struct rig r;
    rig_init(&r, 200000);
    for (uint32_t i = 0; i < r.n; i++)
        insert(&r, i);
    compare(&r);
    assert_true(table_pages(&r.t) > 10 * TABLE_LEAF_PAGES);
    for (uint32_t i = 0; i < r.n; i++) {
        if (i % 1000 != 0)
            removal(&r, i);
        if (i % 40000 == 0)
            compare(&r);
    }
    compare(&r);
    assert_true(table_pages(&r.t) < TABLE_LEAF_PAGES);
    for (int i = 0; i < 4; i++)
        pack(&r, &r.t, 3);
    compare(&r);
    assert_true(r.tm.moves > 0);
    for (uint32_t i = 0; i < r.n; i += 1000)
        removal(&r, i);
    assert_int_equal(table_pages(&r.t), 1);
    assert_int_equal(r.t.nkeys, 0);
    rig_release(&r);
}

/* The roots that stand in an extent of their own begin at 13 million keys; here the directory alone grows. */
static void test_directory_in_an_extent(void **state)
{
    struct rig r;
    rig_init(&r, 1);
    r.t.npages = 1;
    uint32_t many = (POOL_PAGE / sizeof(uint32_t) + 3) * TABLE_LEAF_PAGES;
    for (uint32_t n = 1; n < many; n++) {
        struct page p = {.count = 0, .version = (uint8_t)n};
        ASSERT(table_dir_append(&r.tm, &r.t, &p) == 0);
    }
    assert_int_equal(table_pages(&r.t), many);
    for (uint32_t n = 1; n < many; n++) {
        ASSERT(table_page(&r.tm, &r.t, n)->version == (uint8_t)n);
        table_page(&r.tm, &r.t, n)->version = 0; /* pages of different versions are not merged */
    }
    insert(&r, 0); /* and 130,000 empty pages are merged, one with each change */
    for (uint32_t n = 0; n < many; n++) {
        removal(&r, 0);
        insert(&r, 0);
    }
    assert_int_equal(table_pages(&r.t), 1);
    compare(&r);
    rig_release(&r);
}

/* Table cost as DESIGN.md wants it, and few reads, also after long churn at one size. */
static void test_cost(void **state)
{
    static const struct {
        uint32_t keys;
        double bytes, reads; /* at most, a key */
    } want[] = {{10, 7.0, 1.01}, {122, 8.0, 1.25}, {600, 8.4, 1.25}, {3000, 8.4, 1.25}, {60000, 8.3, 1.25}};
    for (size_t w = 0; w < ARRAY_LEN(want); w++) {
        struct rig r;
        struct rng rng;
        rng_init(&rng, w);
        uint32_t n = want[w].keys;
        rig_init(&r, 2 * n);
        for (uint32_t i = 0; i < n; i++)
            insert(&r, i);
        struct table_stats fresh = {0}, churned = {0};
        table_stats_add(&r.tm, &r.t, &fresh);
        for (uint32_t step = 0; step < 20 * n; step++) {
            uint32_t out = (uint32_t)rng_below(&rng, r.n), in = (uint32_t)rng_below(&rng, r.n);
            if (!r.in[out] || r.in[in])
                continue;
            removal(&r, out);
            insert(&r, in);
        }
        table_stats_add(&r.tm, &r.t, &churned);
        print_message("%u keys: %.2f B/key, %.3f reads a hit; after churn %.2f B/key, %.3f reads\n", n,
                      (double)fresh.bytes / n, (double)fresh.hit_reads / n, (double)churned.bytes / n,
                      (double)churned.hit_reads / n);
        assert_true((double)fresh.bytes / n <= want[w].bytes);
        assert_true((double)fresh.hit_reads / n <= want[w].reads);
        assert_true((double)churned.bytes / n <= want[w].bytes * 1.1);
        assert_true((double)churned.hit_reads / n <= want[w].reads * 1.15);
        compare(&r);
        rig_release(&r);
    }
}

/* Keys aimed at one bucket under another seed spread under this one. */
static void test_flooding(void **state)
{
    enum { POOL = 200000, BITS = 7 };
    struct rig r;
    rig_init(&r, POOL);
    struct hash_seed known = model_seed(99);
    uint32_t aimed = 0;
    for (uint32_t i = 0; i < POOL; i++) {
        struct str k = entry_key(entry_of(&r, i));
        uint64_t h = hash_seeded(k.p, k.n, &known);
        if ((h & ((1 << BITS) - 1)) == 0) {
            insert(&r, i);
            aimed++;
        }
    }
    struct table_stats st = {0};
    table_stats_add(&r.tm, &r.t, &st);
    assert_true(aimed > 1000);
    assert_true((double)st.hit_reads / aimed < 1.3);
    assert_true((double)st.bytes / aimed < 9);
    rig_release(&r);
}

/* All keys in one page of one table with one tag: bytes and reads are bad, nothing breaks. */
static void test_same_tag(void **state)
{
    struct rig r;
    struct table_pos pos;
    rig_init(&r, 150);
    for (uint32_t i = 0; i < r.n; i++) {
        struct entry *e = entry_of(&r, i);
        ASSERT(table_insert(&r.tm, &r.t, (uint64_t)7 << 52, e) == 0);
    }
    for (uint32_t i = 0; i < r.n; i++) {
        struct entry *e = entry_of(&r, i);
        ASSERT(table_find(&r.tm, &r.t, (uint64_t)7 << 52, entry_key(e), 0, &pos) == e);
        table_remove(&r.tm, &r.t, &pos);
        ASSERT(table_find(&r.tm, &r.t, (uint64_t)7 << 52, entry_key(e), 0, &pos) == NULL);
    }
    assert_int_equal(r.t.nkeys, 0);
    rig_release(&r);
}

/* Many tables with one bucket each left, among them some that have grown to a directory of two levels: what
 * they hold is the same wherever it lies, and the pool's pages go back. */
static void test_packed(void **state)
{
    enum { TABLES = 800, LARGE = 3 };
    static struct table small[TABLES];
    struct rig r;
    struct table_pos pos;
    rig_init(&r, 120000);
    uint32_t half = r.n / 2;
    for (uint32_t i = 0; i < half; i++) {
        ASSERT(table_insert(&r.tm, &small[i % TABLES], hash_of(&r, i), entry_of(&r, i)) == 0);
        insert(&r, half + i);
    }
    for (uint32_t i = TABLES; i < half; i++) {
        ASSERT(table_find_entry(&r.tm, &small[i % TABLES], hash_of(&r, i), entry_of(&r, i), &pos));
        table_remove(&r.tm, &small[i % TABLES], &pos);
        if (i % LARGE != 0)
            removal(&r, half + i);
    }
    assert_true(table_pages(&r.t) > TABLE_LEAF_PAGES);
    pool_cache_drain(&r.pool, &r.cache);
    uint64_t free, before = pool_units(&r.pool, &free);
    for (int walk = 0; walk < 8; walk++) {
        for (uint32_t i = 0; i < TABLES; i++)
            pack(&r, &small[i], 1);
        pack(&r, &r.t, 5);
    }
    uint64_t after = pool_units(&r.pool, &free);
    print_message("%llu units, %llu packed, %llu of them free\n", (unsigned long long)before,
                  (unsigned long long)after, (unsigned long long)free);
    assert_true(free < after / 4);
    compare(&r);
    pool_check(&r.pool);
    for (uint32_t i = 0; i < TABLES; i++) {
        table_check(&r.tm, &small[i]);
        struct entry *e = entry_of(&r, i);
        ASSERT(table_find(&r.tm, &small[i], hash_of(&r, i), entry_key(e), 0, &pos) == e);
        table_remove(&r.tm, &small[i], &pos);
        uint32_t page = 0;
        (void)table_release(&r.tm, &small[i], &page, 1);
    }
    rig_release(&r);
}

struct first {
    struct entry *e[64];
    uint32_t n;
};

static bool note_first(void *arg, struct entry *e)
{
    struct first *f = arg;
    f->e[f->n++] = e;
    return f->n < ARRAY_LEN(f->e);
}

/* SCAN and DEL, again and again from the start: the pages that come last keep their keys while all others are
 * empty, so what is merged there is as full as a page can be. */
static void test_emptied_in_scan_order(void **state)
{
    for (uint32_t n = 200; n < 6000; n += 200) {
        struct rig r;
        rig_init(&r, n);
        for (uint32_t i = 0; i < n; i++)
            insert(&r, i);
        while (r.t.nkeys > 0) {
            struct first f = {.n = 0};
            uint64_t at = 0;
            while (table_scan(&r.tm, &r.t, &at, note_first, &f) && f.n < ARRAY_LEN(f.e))
                ;
            ASSERT(f.n > 0);
            for (uint32_t i = 0; i < f.n; i++) {
                removal(&r, (uint32_t)((size_t)((char *)f.e[i] - r.entries) / ENTRY));
                if (r.t.nkeys < 1000 || r.t.nkeys % 16 == 0)
                    table_check(&r.tm, &r.t);
            }
        }
        rig_release(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_directory_in_an_extent),
        cmocka_unit_test(test_cost),
        cmocka_unit_test(test_flooding),
        cmocka_unit_test(test_same_tag),
        cmocka_unit_test(test_packed),
        cmocka_unit_test(test_emptied_in_scan_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
