/* Every allocation that an operation makes fails once, the first, the second, and so on
 * until it needs no more: each time the operation must report it and leave the key as
 * it was, or succeed without. */
#include "model.h"

#include "base/alloc.h"

enum { KEYS = 400 };

#ifdef LARDER_DEBUG

static char bytes[300000];

/* The model's view and the store's still agree on this key, and nothing is out of order. */
static void check(struct model *m, uint32_t db, uint32_t i, uint32_t *turn)
{
    alloc_fail_after(0);
    model_compare(m, db, i);
    if (++*turn % 500 == 0)
        store_check(m->s);
}

static int put(struct model *m, uint32_t db, uint32_t i, size_t n, int64_t expire)
{
    struct key k = model_key(m, db, i);
    return store_put_string(&m->a, &k, (struct str){bytes, n}, NULL, expire, 0);
}

static size_t random_size(struct model *m)
{
    return rng_below(&m->rng, 5) == 0 ? 5000 + rng_below(&m->rng, 30000) : rng_below(&m->rng, 200);
}

static void put_until_it_works(struct model *m, uint32_t db, uint32_t i, uint32_t *turn, uint64_t *failed)
{
    size_t n = random_size(m);
    int64_t expire = rng_below(&m->rng, 2) == 0 ? 0 : m->a.now_ms + 100000;
    for (int64_t nth = 1;; nth++) {
        alloc_fail_after(nth);
        int err = put(m, db, i, n, expire);
        alloc_fail_after(0);
        if (err == 0)
            break;
        ASSERT(err == ERR_OOM);
        ++*failed;
        check(m, db, i, turn);
    }
    model_set(&m->db[db][i], bytes, n, expire);
    check(m, db, i, turn);
}

static void edit_until_it_works(struct model *m, uint32_t db, uint32_t i, uint32_t *turn, uint64_t *failed)
{
    struct key k = model_key(m, db, i);
    struct model_value *v = model_get(m, db, i);
    size_t old = v != NULL ? v->n : 0, n = rng_below(&m->rng, 3) == 0 ? random_size(m) : old + 30;
    struct block *held = NULL;
    char *data, *copy;
    for (int64_t nth = 1;; nth++) {
        struct entry *e = store_find(&m->a, &k);
        if (e != NULL && entry_kind(e) == ENTRY_BLOCK && held == NULL && rng_below(&m->rng, 2) == 0) {
            held = entry_block(e);
            block_get(held);
        }
        alloc_fail_after(nth);
        int err = store_edit_string(&m->a, &k, e, n, &data);
        alloc_fail_after(0);
        if (err == 0)
            break;
        ++*failed;
        check(m, db, i, turn);
    }
    if (held != NULL)
        block_put(held);
    copy = calloc(1, n + 1);
    if (v != NULL)
        memcpy(copy, v->p, old < n ? old : n);
    model_set(&m->db[db][i], copy, n, v != NULL ? v->expire_ms : 0);
    free(copy);
    check(m, db, i, turn);
}

static void expire_until_it_works(struct model *m, uint32_t db, uint32_t i, uint32_t *turn, uint64_t *failed)
{
    struct key k = model_key(m, db, i);
    struct model_value *v = model_get(m, db, i);
    int64_t at = rng_below(&m->rng, 3) == 0 ? 0 : m->a.now_ms + 5000;
    for (int64_t nth = 1; v != NULL; nth++) {
        alloc_fail_after(nth);
        int err = store_set_expire(&m->a, &k, at);
        alloc_fail_after(0);
        if (err == 0)
            break;
        ++*failed;
        check(m, db, i, turn);
    }
    if (v != NULL)
        v->expire_ms = at;
    check(m, db, i, turn);
}

/* COPY: onto nothing, onto something, of a block that is shared from then on. */
static void copy_until_it_works(struct model *m, uint32_t db, uint32_t i, uint32_t *turn, uint64_t *failed)
{
    uint32_t to_db = (uint32_t)rng_below(&m->rng, 2), to = (uint32_t)rng_below(&m->rng, KEYS);
    struct key from_key = model_key(m, db, i), to_key = model_key(m, to_db, to);
    struct model_value *v = model_get(m, db, i);
    for (int64_t nth = 1;; nth++) {
        alloc_fail_after(nth);
        int err = store_copy(&m->a, &from_key, &to_key);
        alloc_fail_after(0);
        ASSERT(err == 0 || err == ERR_OOM || (err == ERR_NOTFOUND && v == NULL));
        if (err != ERR_OOM)
            break;
        ++*failed;
        check(m, to_db, to, turn);
        check(m, db, i, turn);
    }
    if (v != NULL && v != &m->db[to_db][to])
        model_set(&m->db[to_db][to], v->p, v->n, v->expire_ms);
    check(m, to_db, to, turn);
}

/* A value that is in a block already, as large arguments are: its bytes are not copied, and when the put
 * fails its references are those of before. */
static void put_block_until_it_works(struct model *m, uint32_t db, uint32_t i, uint32_t *turn,
                                     uint64_t *failed)
{
    size_t n = 100 + rng_below(&m->rng, 20000);
    unsigned keep = rng_below(&m->rng, 2) == 0 ? PUT_KEEP_TTL : 0;
    struct key k = model_key(m, db, i);
    struct model_value *v = model_get(m, db, i);
    int64_t expire = keep != 0 && v != NULL ? v->expire_ms : 0;
    struct block *b = block_new(n);
    assert_non_null(b);
    b->n = n;
    memset(b->data, 'b', n);
    for (int64_t nth = 1;; nth++) {
        alloc_fail_after(nth);
        int err = store_put_string(&m->a, &k, block_str(b), b, 0, keep);
        alloc_fail_after(0);
        if (err == 0)
            break;
        ASSERT(err == ERR_OOM);
        ++*failed;
        check(m, db, i, turn);
    }
    model_set(&m->db[db][i], b->data, n, expire);
    block_put(b);
    check(m, db, i, turn);
}

/* Removing and sweeping may not fail at all. */
static void remove_and_sweep(struct model *m, uint32_t db, uint32_t i, uint32_t *turn)
{
    struct key k = model_key(m, db, i);
    alloc_fail_after(1 + (int64_t)rng_below(&m->rng, 3));
    bool had = store_delete(&m->a, &k);
    alloc_fail_after(1 + (int64_t)rng_below(&m->rng, 20));
    store_maintain(&m->a, 1000);
    alloc_fail_after(0);
    ASSERT(had == (model_get(m, db, i) != NULL));
    model_drop(&m->db[db][i]);
    m->a.now_ms += 100;
    check(m, db, i, turn);
}

static void test_each_operation(void **state)
{
    struct store *s = model_store(8 << 20, 1, 3);
    struct model m;
    uint32_t turn = 0;
    uint64_t failed = 0;
    model_init(&m, s, KEYS, 11);
    for (int step = 0; step < 20000; step++) {
        uint32_t db = (uint32_t)rng_below(&m.rng, 2), i = (uint32_t)rng_below(&m.rng, KEYS);
        switch (rng_below(&m.rng, 9)) {
        case 0:
        case 1: put_until_it_works(&m, db, i, &turn, &failed); break;
        case 2:
        case 3: edit_until_it_works(&m, db, i, &turn, &failed); break;
        case 4: expire_until_it_works(&m, db, i, &turn, &failed); break;
        case 5:
        case 6: copy_until_it_works(&m, db, i, &turn, &failed); break;
        case 7: put_block_until_it_works(&m, db, i, &turn, &failed); break;
        default: remove_and_sweep(&m, db, i, &turn);
        }
    }
    assert_true(failed > 10000);
    model_compare_all(&m);
    model_release(&m);
    store_free(s);
}

/* Compaction moves entries, and a move needs room: allocations of passes over half-dead segments fail, one
 * after the other. What could not be moved stays where it was, and a later pass gets it. */
static void test_compaction(void **state)
{
    enum { MANY = 6000, SIZE = 300, FAILURES = 20 };
    struct store *s = model_store(16 << 20, 1, 6);
    struct model m;
    struct store_memory after;
    model_init(&m, s, MANY, 14);
    for (int64_t nth = 1; nth <= FAILURES; nth++) {
        for (uint32_t i = 0; i < MANY; i++) {
            ASSERT(put(&m, 0, i, SIZE, 0) == 0);
            model_set(&m.db[0][i], bytes, SIZE, 0);
        }
        for (uint32_t i = 0; i < MANY; i++) {
            struct key k = model_key(&m, 0, i);
            if (rng_below(&m.rng, 2) == 0 && store_delete(&m.a, &k))
                model_drop(&m.db[0][i]);
        }
        for (int pass = 0; pass < 10; pass++, m.a.now_ms += 1000) {
            alloc_fail_after(nth + pass * FAILURES);
            store_maintain(&m.a, 10000);
        }
        alloc_fail_after(0);
        model_compare_all(&m);
    }
    for (int pass = 0; pass < 30; pass++, m.a.now_ms += 1000)
        store_maintain(&m.a, 1000000);
    assert_true(s->appenders[0]->compacted > MANY);
    store_memory(s, &after);
    assert_true(after.dead < after.segments / 2);
    model_release(&m);
    store_free(s);
}

/* Keys so large that they get extents of their own, and a slot that grows page by page. */
static void test_large_keys_and_growth(void **state)
{
    enum { LARGE = 5, LARGE_MIN = 40000, ONE_SLOT = 3000 };
    struct store *s = model_store(8 << 20, 1, 7); /* slots by CRC16: a tag puts keys into one */
    struct access a = {.store = s, .app = store_appender(s, 0), .now_ms = 1000000};
    uint64_t failed = 0, n = 0;
    char *name = malloc(LARGE * LARGE_MIN);
    memset(name, 'n', LARGE * LARGE_MIN);
    for (uint32_t i = 0; i < LARGE + ONE_SLOT; i++) {
        char small[64];
        struct key k;
        int len = snprintf(small, sizeof small, "{tag}%u", i);
        struct str text = {small, (size_t)len};
        if (i < LARGE)
            text = (struct str){name, (size_t)(i + 1) * LARGE_MIN};
        key_make(s, &k, text, 0);
        for (int64_t nth = 1;; nth++) {
            alloc_fail_after(nth);
            int err = store_put_string(&a, &k, STR("value"), NULL, 0, 0);
            alloc_fail_after(0);
            if (err == 0)
                break;
            failed++;
            ASSERT(err == ERR_OOM && store_peek(&a, &k) == NULL && store_db_keys(s, 0) == n);
        }
        n++;
        if (i % 300 == 0)
            store_check(s);
    }
    assert_int_equal(store_db_keys(s, 0), LARGE + ONE_SLOT);
    assert_true(failed > LARGE + ONE_SLOT);
    store_check(s);
    free(name);
    store_free(s);
}

/* Many keys at once, some of them twice, at every allocation: all, or none and everything as it was. */
static void test_put_pairs(void **state)
{
    enum { MANY = 60, NAMES = 90, ROUNDS = 60 };
    struct store *s = model_store(8 << 20, 1, 4);
    struct model m;
    uint64_t refused = 0;
    model_init(&m, s, NAMES, 12);
    for (int round = 0; round < ROUNDS; round++) {
        struct store_pair pairs[MANY];
        struct key keys[MANY];
        uint32_t which[MANY], n = 1 + (uint32_t)rng_below(&m.rng, MANY);
        for (uint32_t i = 0; i < n; i++) {
            which[i] = (uint32_t)rng_below(&m.rng, NAMES);
            keys[i] = model_key(&m, 0, which[i]);
            struct model_value *v = model_get(&m, 0, which[i]);
            if (v != NULL && store_set_expire(&m.a, &keys[i], m.a.now_ms + 100000) == 0)
                v->expire_ms = m.a.now_ms + 100000;
            pairs[i] = (struct store_pair){
                .value = {bytes, round % 2 == 0 ? rng_below(&m.rng, 100) : random_size(&m)}};
        }
        for (int64_t nth = 1;; nth++) {
            if (round % 3 == 0)
                alloc_fail_from(nth);
            else
                alloc_fail_after(nth);
            int err = store_put_pairs(&m.a, keys, pairs, n);
            alloc_fail_after(0);
            if (err == 0)
                break;
            refused++;
            ASSERT(err == ERR_OOM);
            if (nth % 7 == 0)
                model_compare_all(&m);
        }
        for (uint32_t i = 0; i < n; i++)
            model_set(&m.db[0][which[i]], bytes, pairs[i].value.n, 0);
        model_compare_all(&m);
        store_check(s);
        store_maintain(&m.a, 10000);
    }
    assert_true(refused > ROUNDS);
    model_release(&m);
    store_free(s);
}

/* A store is made whole or not at all; with half the addresses if it must. */
static void test_new(void **state)
{
    struct store_options o = {.databases = 16, .threads = 3, .seed = model_seed(1)};
    uint64_t size = 0;
    int failed = 0, smaller = 0;
    for (int64_t nth = 20; nth > 0; nth--) { /* 20: more than there are, so nothing fails */
        struct store *s = NULL;
        alloc_fail_after(nth);
        int err = store_new(&s, &o);
        alloc_fail_after(0);
        assert_true(err == 0 || (err == ERR_OOM && s == NULL));
        failed += err != 0;
        size = nth == 20 ? s->region.size : size;
        smaller += err == 0 && s->region.size < size;
        store_free(s);
    }
    assert_int_equal(smaller, 1);
    assert_true(failed >= 8);
}

/* Flushing does without memory. */
static void test_flush(void **state)
{
    struct store *s = model_store(0, 1, 5);
    struct model m;
    model_init(&m, s, KEYS, 13);
    for (int turn = 0; turn < 4; turn++) {
        for (uint32_t i = 0; i < KEYS; i++)
            for (uint32_t db = 0; db < 2; db++)
                ASSERT(put(&m, db, i, 10 + i * 40, 0) == 0);
        alloc_fail_after(1);
        if (turn % 2 == 0)
            store_flush_all(&m.a);
        else
            store_flush_db(&m.a, 0);
        alloc_fail_after(0);
        assert_int_equal(store_db_keys(s, 0), 0);
        assert_int_equal(store_db_keys(s, 1), turn % 2 == 0 ? 0 : KEYS);
        store_check(s);
        for (int i = 0; i < 100 && store_maintain(&m.a, 100000) == 0; i++)
            ;
    }
    model_release(&m);
    store_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_operation),
        cmocka_unit_test(test_compaction),
        cmocka_unit_test(test_large_keys_and_growth),
        cmocka_unit_test(test_put_pairs),
        cmocka_unit_test(test_new),
        cmocka_unit_test(test_flush),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

/* Allocations can be made to fail in debug builds only (meson -Ddebug_checks=true); ./check makes one. */
int main(void)
{
    return 77; /* meson: skipped, and it says so */
}

#endif
