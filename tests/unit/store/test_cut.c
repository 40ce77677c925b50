/* Cuts against the model: whatever is written while one is read, all that is read is what was there when it
 * was opened. Several are open at the same time, and are read in slices between the writes. */
#include "model.h"

#include "store/cut.h"

enum { KEYS = 1600, STEPS = 60000, CUTS_MOST = STORE_CUTS_MAX };

/* What one cut must say. */
struct expected {
    struct cut *cut; /* NULL: not open */
    struct model_value *db[MODEL_DBS];
    bool *seen[MODEL_DBS];
    uint32_t left;
    int64_t now_ms;
    uint32_t pace; /* how seldom it is read */
    bool lossy;    /* a flush has passed: what is not there by now may be missing */
};

static void expect_open(struct model *m, struct expected *x, uint64_t queue_max, bool whole)
{
    struct cut_options o = {.now_ms = m->a.now_ms, .queue_max = queue_max, .whole = whole};
    ASSERT(cut_open(&x->cut, m->s, &o) == 0);
    x->left = 0;
    x->lossy = false;
    x->pace = 1u << rng_below(&m->rng, 9);
    x->now_ms = m->a.now_ms;
    for (uint32_t d = 0; d < MODEL_DBS; d++) {
        x->db[d] = calloc(m->keys, sizeof *x->db[d]);
        x->seen[d] = calloc(m->keys, sizeof *x->seen[d]);
        for (uint32_t i = 0; i < m->keys; i++) {
            const struct model_value *v = model_get(m, d, i);
            if (v == NULL)
                continue;
            model_set(&x->db[d][i], v->p, v->n, v->expire_ms);
            x->left++;
        }
    }
}

static void expect_drop(struct model *m, struct expected *x)
{
    cut_close(x->cut);
    x->cut = NULL;
    for (uint32_t d = 0; d < MODEL_DBS; d++) {
        for (uint32_t i = 0; i < m->keys; i++)
            free(x->db[d][i].p);
        free(x->db[d]);
        free(x->seen[d]);
    }
}

static uint32_t number_of(const struct model *m, struct str name)
{
    for (uint32_t i = name.n > 0 ? 0 : m->keys; i < m->keys; i++)
        if (str_eq(model_key_name(m, i), name))
            return i;
    ASSERT(!"a key that never was");
    return 0;
}

/* The number is the end of the name. */
static uint32_t quick_number(const struct model *m, struct str name)
{
    uint64_t n = 0, unit = 1;
    for (size_t at = name.n; at > 0 && name.p[at - 1] >= '0' && name.p[at - 1] <= '9' && unit < 1000000;
         at--) {
        n += (uint64_t)(name.p[at - 1] - '0') * unit;
        unit *= 10;
    }
    return n < m->keys && str_eq(model_key_name(m, (uint32_t)n), name) ? (uint32_t)n : number_of(m, name);
}

static void check_record(struct model *m, struct expected *x, const struct cut_record *r)
{
    ASSERT(r->db < MODEL_DBS && r->object == NULL);
    uint32_t i = quick_number(m, r->key);
    const struct model_value *v = &x->db[r->db][i];
    ASSERT(v->exists && !x->seen[r->db][i]);
    ASSERT(r->value.n == v->n && memcmp(r->value.p, v->p, v->n) == 0);
    ASSERT(r->expire_ms == v->expire_ms);
    x->seen[r->db][i] = true;
    x->left--;
}

/* What has expired since may be missing, nothing else. */
static void check_end(struct model *m, struct expected *x)
{
    for (uint32_t d = 0; d < MODEL_DBS; d++)
        for (uint32_t i = 0; i < m->keys; i++) {
            const struct model_value *v = &x->db[d][i];
            ASSERT(!v->exists || x->seen[d][i] || x->lossy ||
                   (v->expire_ms != 0 && v->expire_ms <= m->a.now_ms));
        }
}

/* False when the cut has been read to its end. */
static bool expect_some(struct model *m, struct expected *x)
{
    struct cut_chunk *ch;
    struct cut_record r;
    int rc = cut_next(x->cut, &ch);
    if (rc == ERR_NOTFOUND) {
        check_end(m, x);
        expect_drop(m, x);
        return false;
    }
    ASSERT(rc == 0);
    for (size_t at = 0; cut_chunk_next(ch, &at, &r);)
        check_record(m, x, &r);
    cut_chunk_free(x->cut, ch);
    return true;
}

/* ---- writes ---- */

static char noise[40000];

static size_t some_size(struct model *m)
{
    uint64_t kind = rng_below(&m->rng, 60);
    return kind == 0 ? rng_below(&m->rng, sizeof noise) : rng_below(&m->rng, kind < 10 ? 2000 : 60);
}

static void write_put(struct model *m, uint32_t d, uint32_t i)
{
    struct key k = model_key(m, d, i);
    size_t n = some_size(m);
    int64_t expire_ms = rng_below(&m->rng, 4) != 0 ? 0 : m->a.now_ms + 1 + (int64_t)rng_below(&m->rng, 20000);
    memset(noise, (int)rng_below(&m->rng, 256), n);
    ASSERT(store_put_string(&m->a, &k, (struct str){noise, n}, NULL, expire_ms, 0) == 0);
    model_set(&m->db[d][i], noise, n, expire_ms);
}

static void write_edit(struct model *m, uint32_t d, uint32_t i)
{
    struct key k = model_key(m, d, i);
    struct model_value *v = model_get(m, d, i);
    char *data, *copy, fill = (char)rng_below(&m->rng, 256);
    size_t n = v != NULL && rng_below(&m->rng, 2) == 0 ? v->n + 1 : 1 + some_size(m),
           old = v != NULL ? v->n : 0;
    ASSERT(store_edit_string(&m->a, &k, store_find(&m->a, &k), n, &data) == 0);
    data[n - 1] = fill;
    copy = calloc(1, n);
    if (v != NULL)
        memcpy(copy, v->p, old < n ? old : n);
    copy[n - 1] = fill;
    model_set(&m->db[d][i], copy, n, v != NULL ? v->expire_ms : 0);
    free(copy);
}

static void write_delete(struct model *m, uint32_t d, uint32_t i)
{
    struct key k = model_key(m, d, i);
    ASSERT(store_delete(&m->a, &k) == (model_get(m, d, i) != NULL));
    model_drop(&m->db[d][i]);
}

static void write_expire(struct model *m, uint32_t d, uint32_t i)
{
    struct key k = model_key(m, d, i);
    struct model_value *v = model_get(m, d, i);
    int64_t expire_ms = rng_below(&m->rng, 3) == 0 ? 0 : m->a.now_ms + 1 + (int64_t)rng_below(&m->rng, 20000);
    ASSERT(store_set_expire(&m->a, &k, expire_ms) == (v != NULL ? 0 : ERR_NOTFOUND));
    if (v != NULL)
        v->expire_ms = expire_ms;
}

static void write_copy(struct model *m, uint32_t d, uint32_t i)
{
    uint32_t d2 = (uint32_t)rng_below(&m->rng, MODEL_DBS), i2 = (uint32_t)rng_below(&m->rng, m->keys);
    struct key from = model_key(m, d, i), to = model_key(m, d2, i2);
    struct model_value *v = model_get(m, d, i);
    ASSERT(store_copy(&m->a, &from, &to) == (v != NULL ? 0 : ERR_NOTFOUND));
    if (v != NULL && (d != d2 || i != i2))
        model_set(&m->db[d2][i2], v->p, v->n, v->expire_ms);
}

static void write_swap(struct model *m, uint32_t x, uint32_t y)
{
    store_swap_db(&m->a, x, y);
    struct model_value *t = m->db[x];
    m->db[x] = m->db[y];
    m->db[y] = t;
}

static void write_flush(struct model *m, uint32_t d)
{
    bool all = rng_below(&m->rng, 2) == 0;
    if (all)
        store_flush_all(&m->a);
    else
        store_flush_db(&m->a, d);
    for (uint32_t e = 0; e < MODEL_DBS; e++)
        for (uint32_t i = 0; i < m->keys && (all || e == d); i++)
            model_drop(&m->db[e][i]);
}

/* Many keys come and go in waves, so that pages split and merge under the cuts. */
static void write_something(struct model *m, uint32_t step)
{
    uint32_t d = (uint32_t)rng_below(&m->rng, MODEL_DBS), i = (uint32_t)rng_below(&m->rng, m->keys);
    bool shrinking = step / 3000 % 2 == 1;
    if (rng_below(&m->rng, 5) != 0)
        i -= i % 3; /* these share two slots */
    uint64_t dice = rng_below(&m->rng, 100);
    if (dice < (shrinking ? 4u : 60u))
        write_put(m, d, i);
    else if (dice < (shrinking ? 5u : 65u))
        write_edit(m, d, i);
    else if (dice < (shrinking ? 85u : 70u))
        write_delete(m, d, i);
    else if (dice < 92)
        write_expire(m, d, i);
    else if (dice < 98)
        write_copy(m, d, i);
    else if (dice == 98 && rng_below(&m->rng, 10) == 0)
        write_swap(m, d, (d + 1) % MODEL_DBS);
    else
        m->a.now_ms += (int64_t)rng_below(&m->rng, 200);
}

/* All tables, under open cuts; there is too little here for the store to begin by itself. */
static void pack_tables(struct model *m)
{
    for (uint32_t slot = 0; slot < STORE_SLOTS; slot++) {
        uint32_t page = 0;
        while (!table_pack(&m->a.app->tm, &m->s->slots[slot], &page, 1))
            ;
    }
}

static void run(uint64_t seed, uint64_t queue_max, bool flushes)
{
    struct store *s = model_store(0, 2, seed);
    struct model m;
    struct expected x[CUTS_MOST] = {0};
    uint32_t opened = 0;
    model_init(&m, s, KEYS, seed);
    for (uint32_t step = 0; step < STEPS; step++) {
        struct expected *one = &x[rng_below(&m.rng, CUTS_MOST)];
        store_round_begin(s, m.a.app);
        if (flushes && rng_below(&m.rng, 5000) == 0) {
            write_flush(&m, (uint32_t)rng_below(&m.rng, MODEL_DBS));
            for (uint32_t i = 0; i < CUTS_MOST; i++)
                x[i].lossy = true;
        }
        write_something(&m, step);
        if (step % 7 == 0)
            (void)store_maintain(&m.a, 50);
        if (step % 500 == 0)
            pack_tables(&m);
        if (one->cut != NULL && rng_below(&m.rng, one->pace) == 0) {
            for (uint64_t n = 1 + rng_below(&m.rng, 20); n > 0 && expect_some(&m, one); n--)
                ;
        } else if (one->cut == NULL && rng_below(&m.rng, 300) == 0) {
            expect_open(&m, one, queue_max, false);
            opened++;
        } else if (one->cut != NULL && rng_below(&m.rng, 6000) == 0) {
            expect_drop(&m, one); /* given up half way */
        }
        if (step % 4000 == 0)
            store_check(s);
    }
    for (uint32_t i = 0; i < CUTS_MOST; i++)
        while (x[i].cut != NULL && expect_some(&m, &x[i]))
            ;
    ASSERT(opened > 20);
    struct store_stats stats;
    store_stats(s, &stats);
    ASSERT(seed % 2 == 0 || flushes || (stats.splits > 30 && stats.merges > 30));
    ASSERT(m.a.app->tm.moves > 30);
    model_compare_all(&m);
    model_release(&m);
    store_free(s);
}

static void test_model(void **state)
{
    for (uint64_t seed = 1; seed <= 4; seed++)
        run(seed, 0, false);
}

static void test_spilled(void **state)
{
    run(11, 1, false); /* all that writers save goes to the file */
    run(12, 20000, false);
}

static void test_flushed(void **state)
{
    for (uint64_t seed = 21; seed <= 23; seed++)
        run(seed, 0, true);
}

/* ---- the limits ---- */

static void test_whole(void **state)
{
    struct store *s = model_store(0, 2, 5);
    struct model m;
    struct expected x = {0};
    struct cut_chunk *ch;
    int rc;
    model_init(&m, s, KEYS, 5);
    for (uint32_t i = 0; i < m.keys; i++)
        write_put(&m, 1, i);
    write_put(&m, 2, 0);
    expect_open(&m, &x, 0, true);
    store_flush_db(&m.a, 1);
    while ((rc = cut_next(x.cut, &ch)) == 0)
        cut_chunk_free(x.cut, ch);
    assert_int_equal(rc, ERR_EXISTS);
    assert_int_equal(cut_next(x.cut, &ch), ERR_EXISTS);
    expect_drop(&m, &x);
    model_release(&m);
    store_check(s);
    store_free(s);
}

static void test_five(void **state)
{
    struct store *s = model_store(0, 2, 6);
    struct cut_options o = {.now_ms = 1};
    struct cut *c[STORE_CUTS_MAX], *more;
    for (int i = 0; i < STORE_CUTS_MAX; i++)
        assert_int_equal(cut_open(&c[i], s, &o), 0);
    assert_int_equal(cut_open(&more, s, &o), ERR_FULL);
    cut_close(c[1]);
    assert_int_equal(cut_open(&c[1], s, &o), 0);
    for (int i = 0; i < STORE_CUTS_MAX; i++)
        cut_close(c[i]);
    store_check(s);
    store_free(s);
}

/* ---- what a write costs ---- */

/* Keys of one slot, and so of one shard. */
static void put_numbered(struct access *a, uint32_t i, const char *value)
{
    char name[32];
    struct key k;
    int n = snprintf(name, sizeof name, "{one}%u", i);
    store_round_begin(a->store, a->app);
    key_make(a->store, &k, (struct str){name, (size_t)n}, 0);
    assert_int_equal(store_put_string(a, &k, str_of(value), NULL, 0, 0), 0);
}

/* `keys` of them are there, some are written while a cut is open, and it says what was there before. Returns
 * the most bytes that waited for its reader. */
static uint64_t written_under_a_cut(uint32_t keys, uint32_t written, uint32_t fresh)
{
    struct store *s = model_store(0, 2, 9);
    struct model m;
    struct cut_options o = {.now_ms = 1};
    struct cut *c;
    struct cut_chunk *ch;
    struct cut_record r;
    struct cut_stats st;
    uint32_t got = 0;
    model_init(&m, s, 1, 9);
    for (uint32_t i = 0; i < keys; i++)
        put_numbered(&m.a, i, "old");
    assert_int_equal(cut_open(&c, s, &o), 0);
    for (uint32_t i = 0; i < 2 * written; i++) /* each twice */
        put_numbered(&m.a, i % written, "new");
    for (uint32_t i = 0; i < fresh; i++)
        put_numbered(&m.a, keys + i, "new");
    cut_stats(c, &st);
    while (cut_next(c, &ch) == 0) {
        for (size_t at = 0; cut_chunk_next(ch, &at, &r); got++)
            assert_true(str_eq(r.value, STR("old")));
        cut_chunk_free(c, ch);
    }
    assert_int_equal(got, keys);
    cut_close(c);
    model_release(&m);
    store_check(s);
    store_free(s);
    return st.held_peak;
}

static void test_a_write_saves_its_key(void **state)
{
    assert_in_range(written_under_a_cut(4000, 100, 100), 1, CUT_FILL_BYTES);
    assert_int_equal(written_under_a_cut(4000, 0, 100), 0); /* there is nothing to save */
}

/* More keys than may be saved one by one: then pages are saved, without those. */
static void test_notes_run_out(void **state)
{
    written_under_a_cut(CUT_NOTES_MAX + 2000, CUT_NOTES_MAX + 2000, 0);
    written_under_a_cut(CUT_NOTES_MAX + 2000, CUT_NOTES_MAX - 10, 2000);
}

/* Only the slots that were asked for. */
static void test_slots(void **state)
{
    struct store *s = model_store(0, 2, 7);
    struct model m;
    uint64_t slots[STORE_SLOTS / 64] = {0};
    uint32_t wanted = 0, got = 0;
    model_init(&m, s, KEYS, 7);
    for (uint32_t i = 0; i < STORE_SLOTS; i += 2)
        slots[i / 64] |= 1ull << (i % 64);
    for (uint32_t i = 0; i < m.keys; i++) {
        write_put(&m, 0, i);
        wanted += model_key(&m, 0, i).slot % 2 == 0;
    }
    struct cut_options o = {.now_ms = m.a.now_ms, .slots = slots};
    struct cut *c;
    struct cut_chunk *ch;
    struct cut_record r;
    assert_int_equal(cut_open(&c, s, &o), 0);
    memset(slots, 0, sizeof slots);
    for (uint32_t i = 0; i < m.keys; i++)
        write_delete(&m, 0, i);
    while (cut_next(c, &ch) == 0) {
        for (size_t at = 0; cut_chunk_next(ch, &at, &r);)
            got++;
        cut_chunk_free(c, ch);
    }
    cut_close(c);
    assert_int_equal(got, wanted);
    model_release(&m);
    store_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_spilled),
        cmocka_unit_test(test_flushed),
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_five),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_a_write_saves_its_key),
        cmocka_unit_test(test_notes_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
