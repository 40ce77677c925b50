/* One slot: counted, listed, emptied, in the presence of others. */
#include "model.h"

#include "store/change.h"

enum { KEYS = 3000, TAGS = 5 };

static struct str key_name(char buf[64], uint32_t i)
{
    return (struct str){buf, (size_t)snprintf(buf, 64, "{t%u}%u", i % TAGS, i)};
}

struct removals {
    uint32_t n;
};

static void count_removal(void *listener, const struct access *a, uint32_t db, struct str key,
                          enum change_reason why)
{
    struct removals *r = listener;
    assert_int_equal(why, CHANGE_MOVED);
    assert_int_equal(db, 0);
    r->n++;
}

static bool count_some(void *arg, const struct entry *e)
{
    uint32_t *left = arg;
    return --*left > 0;
}

static void test_one_slot(void **state)
{
    struct store *s;
    struct store_options opt = {.databases = 2, .threads = 1, .cluster = true};
    assert_int_equal(store_new(&s, &opt), 0);
    struct access a = {.store = s, .app = store_appender(s, 0), .now_ms = 1000};
    struct removals heard = {0};
    char name[64];
    uint32_t n, slot = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        struct key k;
        key_make(s, &k, key_name(name, i), 0);
        assert_true(store_lock_one(s, key_shard(&k)));
        assert_int_equal(store_put_string(&a, &k, STR("value"), NULL, i % 10 == 0 ? 2000 : 0, 0), 0);
        store_unlock_one(s, key_shard(&k));
        if (i % TAGS == 1)
            slot = k.slot;
    }
    assert_int_equal(store_slot_keys(&a, slot, &n), 0);
    assert_int_equal(n, KEYS / TAGS);
    uint32_t left = 10;
    assert_int_equal(store_slot_visit(&a, slot, count_some, &left), 0);
    assert_int_equal(left, 0);
    a.now_ms = 3000; /* a tenth of all has expired, but of this slot none: 1, 6, 11 ... */
    left = KEYS;
    assert_int_equal(store_slot_visit(&a, slot, count_some, &left), 0);
    assert_int_equal(KEYS - left, KEYS / TAGS);
    store_observe(a.app, count_removal, &heard);
    assert_int_equal(store_slot_clear(&a, slot, 100, &n), 0);
    assert_int_equal(n, KEYS / TAGS - 100);
    assert_int_equal(heard.n, 100);
    assert_int_equal(store_slot_clear(&a, slot, UINT32_MAX, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(heard.n, KEYS / TAGS);
    assert_int_equal(store_db_keys(s, 0), KEYS - KEYS / TAGS);
    store_check(s);

    struct lockset ls;
    lockset_init(&ls);
    lockset_add(&ls, slot / STORE_SLOTS_PER_SHARD);
    assert_true(store_lock(s, &ls));
    store_make_busy(s, &ls);
    assert_int_equal(store_slot_keys(&a, slot, &n), ERR_AGAIN);
    assert_int_equal(store_slot_visit(&a, slot, count_some, &left), ERR_AGAIN);
    assert_int_equal(store_slot_clear(&a, slot, 1, &n), ERR_AGAIN);
    store_busy_enter(s, &ls);
    store_busy_rest(s, &ls);
    assert_true(store_shard_busy(s, slot / STORE_SLOTS_PER_SHARD));
    store_busy_enter(s, &ls);
    store_busy_leave(s, &ls);
    assert_int_equal(store_slot_keys(&a, slot, &n), 0);
    store_free(s);
}

/* Keys under a veil come and go, and neither they nor the others are counted wrong. */
static void test_a_veil(void **state)
{
    struct store *s;
    struct store_options opt = {.databases = 2, .threads = 1, .cluster = true};
    assert_int_equal(store_new(&s, &opt), 0);
    struct access a = {.store = s, .app = store_appender(s, 0), .now_ms = 1000, .lane = true};
    char name[64];
    uint32_t n, slot = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        struct key k;
        key_make(s, &k, key_name(name, i), 0);
        assert_true(store_lock_one(s, key_shard(&k)));
        assert_int_equal(store_put_string(&a, &k, STR("value"), NULL, 0, 0), 0);
        store_unlock_one(s, key_shard(&k));
        if (i == KEYS / 2) {
            slot = k.slot;
            store_slot_veil(&a, slot, true);
            store_slot_veil(&a, slot, true);
            store_check(s);
        }
    }
    const uint64_t others = KEYS - KEYS / TAGS;
    assert_int_equal(store_db_keys(s, 0), others);
    assert_int_equal(store_slot_keys(&a, slot, &n), 0);
    assert_int_equal(n, KEYS / TAGS);
    assert_int_equal(store_slot_clear(&a, slot, 100, &n), 0);
    assert_int_equal(store_db_keys(s, 0), others);
    store_check(s);
    store_slot_veil(&a, slot, false);
    assert_int_equal(store_db_keys(s, 0), others + n);
    store_check(s);
    store_slot_veil(&a, slot, true);
    assert_int_equal(store_slot_clear(&a, slot, UINT32_MAX, &n), 0);
    store_slot_veil(&a, slot, false);
    assert_int_equal(store_db_keys(s, 0), others);
    store_check(s);
    store_slot_veil(&a, slot, true);
    store_flush_db(&a, 0);
    assert_int_equal(store_db_keys(s, 0), 0);
    store_check(s);
    store_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_slot), cmocka_unit_test(test_a_veil)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
