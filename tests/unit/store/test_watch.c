/* WATCH: which changes set the flag, and which do not. */
#include "model.h"
#include "store/ban.h"

struct rig {
    struct store *s;
    struct access a;
    struct watch w;
    _Atomic bool flag;
};

static struct key make(struct rig *r, const char *p, uint32_t db)
{
    struct key k;
    key_make(r->s, &k, str_of(p), db);
    return k;
}

static void put(struct rig *r, const char *p, uint32_t db, int64_t expire)
{
    struct key k = make(r, p, db);
    assert_int_equal(store_put_string(&r->a, &k, STR("value"), NULL, expire, 0), 0);
}

static void setup_rig(struct rig *r)
{
    memset(r, 0, sizeof *r);
    r->s = model_store(0, 1, 1);
    r->a = (struct access){.store = r->s, .app = store_appender(r->s, 0), .now_ms = 1000};
}

static void watch(struct rig *r, const char *p, uint32_t db)
{
    struct key k = make(r, p, db);
    r->w = (struct watch){.flag = &r->flag, .db = db, .slot = k.slot, .n = k.n, .p = k.p};
    atomic_store(&r->flag, false);
    store_watch(&r->a, &r->w);
}

/* Was there a change since watch()? Ends the watch. */
static bool changed(struct rig *r)
{
    store_unwatch(r->s, &r->w);
    return atomic_load(&r->flag);
}

static void test_changes(void **state)
{
    struct rig r;
    char *data;
    setup_rig(&r);
    struct key k = make(&r, "k", 0), other = make(&r, "other", 0);
    put(&r, "k", 0, 0);

    watch(&r, "k", 0);
    (void)store_find(&r.a, &k);
    put(&r, "other", 0, 0);
    put(&r, "k", 1, 0); /* the same name in another database */
    assert_false(changed(&r));

    watch(&r, "k", 0);
    put(&r, "k", 0, 0); /* to the same value */
    assert_true(changed(&r));

    watch(&r, "k", 0);
    assert_int_equal(store_edit_string(&r.a, &k, store_find(&r.a, &k), 3, &data), 0);
    assert_true(changed(&r));

    watch(&r, "k", 0);
    assert_int_equal(store_set_expire(&r.a, &k, 5000), 0);
    assert_true(changed(&r));

    watch(&r, "k", 0);
    assert_int_equal(store_copy(&r.a, &k, &other), 0);
    assert_false(changed(&r)); /* it was only read */

    watch(&r, "other", 0);
    assert_int_equal(store_copy(&r.a, &k, &other), 0);
    assert_true(changed(&r));

    watch(&r, "k", 0);
    assert_true(store_delete(&r.a, &k));
    assert_true(changed(&r));

    watch(&r, "k", 0);
    assert_false(store_delete(&r.a, &k)); /* nothing was there */
    assert_false(changed(&r));

    watch(&r, "k", 0);
    put(&r, "k", 0, 0); /* an absent key that appears */
    assert_true(changed(&r));
    store_free(r.s);
}

static void test_expiry(void **state)
{
    struct rig r;
    setup_rig(&r);
    struct key k = make(&r, "k", 0);
    put(&r, "k", 0, 2000);
    watch(&r, "k", 0);
    assert_int_equal(r.w.expire_ms, 2000);
    assert_false(store_watch_gone(&r.a, &r.w));
    r.a.now_ms = 2000;
    assert_true(store_watch_gone(&r.a, &r.w));
    assert_null(store_find(&r.a, &k)); /* which removes it */
    assert_true(changed(&r));

    put(&r, "k", 0, 3000);
    watch(&r, "k", 0);
    r.a.now_ms = 10000;
    for (int i = 0; i < 20; i++, r.a.now_ms += 1000)
        store_maintain(&r.a, 10000); /* by the sweep */
    assert_int_equal(store_db_keys(r.s, 0), 0);
    assert_true(changed(&r));

    put(&r, "k", 0, r.a.now_ms + 1);
    r.a.now_ms += 5;
    watch(&r, "k", 0); /* expired when watched: absent */
    assert_int_equal(r.w.expire_ms, 0);
    assert_null(store_find(&r.a, &k));
    assert_false(changed(&r));
    store_free(r.s);
}

static void test_many_keys(void **state)
{
    struct rig r;
    setup_rig(&r);
    put(&r, "k", 0, 0);
    put(&r, "k", 1, 0);
    put(&r, "only2", 2, 0);

    watch(&r, "k", 0);
    store_flush_db(&r.a, 1);
    assert_false(changed(&r));

    watch(&r, "absent", 0);
    store_swap_db(&r.a, 0, 2);
    store_swap_db(&r.a, 0, 2);
    assert_false(changed(&r));

    watch(&r, "k", 0);
    store_swap_db(&r.a, 2, 0);
    assert_true(changed(&r));
    store_swap_db(&r.a, 2, 0);

    watch(&r, "only2", 0); /* absent here, but there after the swap */
    store_swap_db(&r.a, 0, 2);
    assert_true(changed(&r));
    store_swap_db(&r.a, 0, 2);

    watch(&r, "k", 0);
    store_flush_db(&r.a, 0);
    assert_true(changed(&r));

    watch(&r, "k", 0);
    store_flush_all(&r.a); /* it was gone before */
    assert_false(changed(&r));

    put(&r, "k", 0, 0);
    watch(&r, "k", 0);
    store_flush_all(&r.a);
    assert_true(changed(&r));
    store_free(r.s);
}

/* Lists: unlinking the first, the last and one in between. */
static void test_unlink(void **state)
{
    struct rig r;
    struct watch w[3];
    _Atomic bool flag[3];
    setup_rig(&r);
    struct key k = make(&r, "k", 0);
    for (int gone = 0; gone < 3; gone++) {
        for (int i = 0; i < 3; i++) {
            w[i] = (struct watch){.flag = &flag[i], .slot = k.slot, .n = k.n, .p = k.p};
            atomic_store(&flag[i], false);
            store_watch(&r.a, &w[i]);
        }
        store_unwatch(r.s, &w[gone]);
        put(&r, "k", 0, 0);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(atomic_load(&flag[i]), i != gone);
            if (i != gone)
                store_unwatch(r.s, &w[i]);
        }
        assert_null(atomic_load(&r.s->shards[key_shard(&k)].watches));
    }
    store_free(r.s);
}

/* Bans reach watched keys that were there. */
static void test_bans(void **state)
{
    struct rig r;
    setup_rig(&r);
    put(&r, "k1", 0, 0);
    watch(&r, "k1", 0);
    assert_int_equal(store_ban(&r.a, 0, STR("j*"), 1, false, 0), 0);
    assert_false(changed(&r));
    watch(&r, "k1", 0);
    assert_int_equal(store_ban(&r.a, 0, STR("k*"), 2, false, 0), 0);
    assert_true(store_watch_gone(&r.a, &r.w));
    assert_true(changed(&r));
    watch(&r, "k2", 0); /* absent: stays so */
    assert_int_equal(store_ban(&r.a, 0, STR("k*"), 3, false, 0), 0);
    assert_false(store_watch_gone(&r.a, &r.w));
    assert_false(changed(&r));
    store_free(r.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changes),   cmocka_unit_test(test_bans),   cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_many_keys), cmocka_unit_test(test_unlink),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
