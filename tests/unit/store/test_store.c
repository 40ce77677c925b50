/* The whole store against the model: random steps of everything a command may do, with
 * time passing, databases flushed and swapped, and upkeep in between. */
#include "model.h"

enum { KEYS = 3000 };

static size_t random_size(struct rng *r)
{
    switch (rng_below(r, 12)) {
    case 0: return 0;
    case 1: return rng_below(r, 2000);
    case 2: return rng_below(r, 12000);
    case 3: return rng_below(r, 300) == 0 ? 200000 : 1020 + rng_below(r, 8);
    default: return rng_below(r, 60);
    }
}

static char *random_bytes(struct rng *r, size_t n)
{
    char *p = malloc(n + 1);
    uint64_t x = rng_u64(r);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)(x >> (i % 8 * 8)) + (char)i;
    return p;
}

static int64_t random_deadline(struct model *m)
{
    switch (rng_below(&m->rng, 4)) {
    case 0: return m->a.now_ms + 1 + (int64_t)rng_below(&m->rng, 2000);
    case 1: return m->a.now_ms + 1 + (int64_t)rng_below(&m->rng, 10000000);
    default: return 0;
    }
}

static void step_put(struct model *m, uint32_t db, uint32_t i)
{
    struct key k = model_key(m, db, i);
    size_t n = random_size(&m->rng);
    char *p = random_bytes(&m->rng, n);
    int64_t expire = random_deadline(m);
    unsigned flags = rng_below(&m->rng, 4) == 0 ? PUT_KEEP_TTL : 0;
    struct block *b = NULL;
    if (rng_below(&m->rng, 2) == 0) {
        b = block_new(n);
        memcpy(b->data, p, n);
        b->n = n;
    }
    struct model_value *v = model_get(m, db, i);
    int64_t kept = v != NULL ? v->expire_ms : 0;
    ASSERT(store_put_string(&m->a, &k, b != NULL ? block_str(b) : (struct str){p, n}, b, expire, flags) == 0);
    if (b != NULL)
        block_put(b);
    model_set(&m->db[db][i], p, n, flags & PUT_KEEP_TTL ? kept : expire);
    free(p);
}

static void step_edit(struct model *m, uint32_t db, uint32_t i)
{
    struct key k = model_key(m, db, i);
    struct entry *e = store_find(&m->a, &k);
    struct model_value *v = model_get(m, db, i);
    size_t old = v != NULL ? v->n : 0;
    size_t n = rng_below(&m->rng, 3) == 0 ? random_size(&m->rng) : old + rng_below(&m->rng, 40);
    struct block *held = NULL;
    if (e != NULL && entry_kind(e) == ENTRY_BLOCK && rng_below(&m->rng, 2) == 0) {
        held = entry_block(e); /* as a reply on its way would */
        block_get(held);
    }
    char *data;
    ASSERT(store_edit_string(&m->a, &k, e, n, &data) == 0);
    size_t from = n > 0 ? rng_below(&m->rng, n) : 0;
    char *p = calloc(1, n + 1);
    if (v != NULL)
        memcpy(p, v->p, old < n ? old : n);
    ASSERT(memcmp(p, data, n) == 0);
    for (size_t j = from; j < n && j < from + 20; j++)
        p[j] = data[j] = (char)rng_u64(&m->rng);
    if (held != NULL) {
        ASSERT(held->n == old && memcmp(held->data, v->p, old) == 0);
        block_put(held);
    }
    model_set(&m->db[db][i], p, n, v != NULL ? v->expire_ms : 0);
    free(p);
    e = store_peek(&m->a, &k);
    ASSERT(e != NULL && (entry_word(e) & ENTRY_RAW));
}

static void step_expire(struct model *m, uint32_t db, uint32_t i)
{
    struct key k = model_key(m, db, i);
    struct model_value *v = model_get(m, db, i);
    int64_t expire = random_deadline(m);
    int err = store_set_expire(&m->a, &k, expire);
    ASSERT(err == (v != NULL ? 0 : ERR_NOTFOUND));
    if (v != NULL)
        v->expire_ms = expire;
}

static void step_delete(struct model *m, uint32_t db, uint32_t i)
{
    struct key k = model_key(m, db, i);
    bool had = model_get(m, db, i) != NULL;
    ASSERT(store_delete(&m->a, &k) == had);
    model_drop(&m->db[db][i]);
}

static void step_copy(struct model *m, uint32_t db, uint32_t i)
{
    uint32_t to_db = (uint32_t)rng_below(&m->rng, MODEL_DBS), j = (uint32_t)rng_below(&m->rng, m->keys);
    struct key from = model_key(m, db, i), to = model_key(m, to_db, j);
    struct model_value *v = model_get(m, db, i);
    int err = store_copy(&m->a, &from, &to);
    ASSERT(err == (v != NULL ? 0 : ERR_NOTFOUND));
    if (v != NULL && v != &m->db[to_db][j])
        model_set(&m->db[to_db][j], v->p, v->n, v->expire_ms);
}

static void forget_db(struct model *m, uint32_t db)
{
    for (uint32_t i = 0; i < m->keys; i++)
        model_drop(&m->db[db][i]);
}

static void step_many(struct model *m)
{
    uint32_t x = (uint32_t)rng_below(&m->rng, MODEL_DBS), y = (uint32_t)rng_below(&m->rng, MODEL_DBS);
    struct model_value *db;
    switch (rng_below(&m->rng, 8)) {
    case 0:
        store_flush_all(&m->a);
        for (uint32_t d = 0; d < MODEL_DBS; d++)
            forget_db(m, d);
        break;
    case 1:
    case 2:
    case 3:
        store_flush_db(&m->a, x);
        forget_db(m, x);
        break;
    default:
        store_swap_db(&m->a, x, y);
        db = m->db[x];
        m->db[x] = m->db[y];
        m->db[y] = db;
    }
}

static void step(struct model *m, uint64_t n)
{
    uint32_t db = rng_below(&m->rng, 3) == 0 ? (uint32_t)rng_below(&m->rng, MODEL_DBS) : 0;
    uint32_t i = (uint32_t)rng_below(&m->rng, m->keys);
    switch (rng_below(&m->rng, 16)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4: step_put(m, db, i); break;
    case 5:
    case 6: step_edit(m, db, i); break;
    case 7: step_expire(m, db, i); break;
    case 8:
    case 9: step_delete(m, db, i); break;
    case 10: step_copy(m, db, i); break;
    default: model_compare(m, db, i); break;
    }
    if (n % 64 == 0) {
        m->a.now_ms += (int64_t)rng_below(&m->rng, 100);
        store_round_begin(m->s, m->a.app);
        store_maintain(&m->a, (uint32_t)rng_below(&m->rng, 200));
    }
    if (rng_below(&m->rng, 20000) == 0)
        step_many(m);
}

static void run_model(uint64_t maxmemory, uint64_t steps, uint64_t seed)
{
    struct store *s = model_store(maxmemory, 2, seed);
    struct model m;
    model_init(&m, s, KEYS, seed);
    for (uint64_t n = 1; n <= steps; n++) {
        step(&m, n);
        if (n % (steps / 8) == 0) {
            model_compare_all(&m);
            m.a.app = store_appender(s, (uint32_t)rng_below(&m.rng, 2));
        }
    }
    store_flush_all(&m.a);
    for (int i = 0; i < 1000 && store_maintain(&m.a, 100000) == 0; i++)
        ;
    struct store_memory mem;
    store_memory(s, &mem);
    assert_int_equal(mem.keys, 0);
    assert_int_equal(mem.live, 0);
    assert_int_equal(mem.segments, 0);
    assert_int_equal(mem.blocks, 0);
    assert_int_equal(s->heap_doomed, 0);
    model_release(&m);
    store_free(s);
}

static void test_model_small(void **state)
{
    run_model(8 << 20, unit_model_steps(300000), unit_model_seed(1));
}

static void test_model_unlimited(void **state)
{
    run_model(0, unit_model_steps(300000), unit_model_seed(2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_small),
        cmocka_unit_test(test_model_unlimited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
