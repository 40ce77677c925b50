/* Bans: what they hide at once, what stays, what sweeps do about them, and when they are over. */
#include "model.h"

#include "store/ban.h"

enum { STEP_MS = 100, BUDGET_US = 1000000, KEYS = 20000 };

struct rig {
    struct store *s;
    struct access a;
    uint64_t number;
};

static struct key make(struct rig *r, const char *stem, uint32_t i, char p[32], uint32_t db)
{
    struct key k;
    int n = snprintf(p, 32, "%s:%u", stem, i);
    key_make(r->s, &k, (struct str){p, (size_t)n}, db);
    return k;
}

static void put(struct rig *r, const char *stem, uint32_t i, int64_t expire)
{
    char p[32];
    struct key k = make(r, stem, i, p, 0);
    store_round_begin(r->s, r->a.app);
    assert_int_equal(store_put_string(&r->a, &k, STR("0123456789"), NULL, expire, 0), 0);
}

static bool there(struct rig *r, const char *stem, uint32_t i)
{
    char p[32];
    struct key k = make(r, stem, i, p, 0);
    return store_find(&r->a, &k) != NULL;
}

static void fill(struct rig *r, const char *stem)
{
    for (uint32_t i = 0; i < KEYS; i++)
        put(r, stem, i, i % 3 == 0 ? r->a.now_ms + 3600000 : 0);
}

static void setup_rig(struct rig *r)
{
    memset(r, 0, sizeof *r);
    r->s = model_store(64 << 20, 2, 1);
    r->a = (struct access){.store = r->s, .app = store_appender(r->s, 0), .now_ms = 1000000};
}

static void ban(struct rig *r, const char *glob, uint64_t rate)
{
    assert_int_equal(store_ban(&r->a, 0, str_of(glob), ++r->number, false, rate), 0);
}

/* Upkeep until no ban is in force. */
static void sweep(struct rig *r)
{
    for (unsigned i = 0; store_bans(r->s) != 0; i++) {
        assert_true(i < 10000);
        (void)store_maintain(&r->a, BUDGET_US);
        r->a.now_ms += STEP_MS;
    }
}

static uint64_t keys(struct rig *r)
{
    return store_db_keys(r->s, 0);
}

static void test_hides_at_once_and_is_swept(void **state)
{
    struct rig r;
    uint64_t removed;
    setup_rig(&r);
    fill(&r, "user");
    fill(&r, "other");
    ban(&r, "user:*", 0);
    uint64_t before = keys(&r);
    for (uint32_t i = 0; i < KEYS; i += 7) {
        assert_false(there(&r, "user", i));
        assert_true(there(&r, "other", i));
    }
    assert_true(keys(&r) < before); /* who is met goes */
    assert_true(store_ban_look(r.s, 1, &removed));
    sweep(&r);
    assert_int_equal(keys(&r), KEYS);
    assert_false(store_ban_look(r.s, 1, &removed));
    assert_int_equal(removed, KEYS);
    for (uint32_t i = 0; i < KEYS; i++)
        assert_true(there(&r, "other", i) && !there(&r, "user", i));
    store_check(r.s);
    store_free(r.s);
}

/* Writes after the ban are new, whatever way they go, and stay. */
static void test_what_is_written_later_stays(void **state)
{
    struct rig r;
    char p[32], *data;
    setup_rig(&r);
    fill(&r, "user");
    ban(&r, "user:*", 0);
    put(&r, "user", 0, 0); /* as long as the old value: it must not be overwritten in place */
    struct key k = make(&r, "user", 2, p, 0);
    assert_int_equal(store_edit_string(&r.a, &k, store_find(&r.a, &k), 3, &data), 0);
    memcpy(data, "new", 3);
    k = make(&r, "user", 4, p, 0);
    assert_false(store_delete(&r.a, &k));
    assert_int_equal(store_set_expire(&r.a, &k, r.a.now_ms + 1000), ERR_NOTFOUND);
    k = make(&r, "user", 6, p, 0);
    struct store_pair pair = {.value = STR("pair")};
    assert_int_equal(store_put_pairs(&r.a, &k, &pair, 1), 0);
    put(&r, "user", KEYS, 0);
    sweep(&r);
    assert_true(there(&r, "user", 0) && there(&r, "user", 2) && there(&r, "user", 6) &&
                there(&r, "user", KEYS));
    assert_int_equal(keys(&r), 4);
    store_check(r.s);
    store_free(r.s);
}

/* Nothing that is banned may get to where the ban does not reach. */
static void test_compaction_revives_nothing(void **state)
{
    struct rig r;
    char p[32];
    setup_rig(&r);
    fill(&r, "user");
    for (uint32_t i = 0; i < KEYS; i++) { /* sparse segments, which ask for compaction */
        struct key k = make(&r, "user", i, p, 0);
        if (i % 8 != 0)
            assert_true(store_delete(&r.a, &k));
    }
    ban(&r, "user:*", 1); /* a sweep for bans alone would take an hour */
    for (unsigned i = 0; i < 100; i++) {
        (void)store_maintain(&r.a, BUDGET_US);
        r.a.now_ms += STEP_MS;
    }
    assert_true(keys(&r) < KEYS / 8); /* compaction has been there */
    for (uint32_t i = 0; i < KEYS; i += 8)
        assert_false(there(&r, "user", i));
    store_free(r.s);
}

/* While a removal may not be announced nothing goes, and nothing is forgotten; a follower removes silently.
 */
static void test_pauses_and_followers(void **state)
{
    struct rig r;
    setup_rig(&r);
    fill(&r, "user");
    r.a.expired = EXPIRED_HIDE;
    ban(&r, "user:*", 0);
    for (unsigned i = 0; i < 50; i++) {
        assert_false(there(&r, "user", i));
        (void)store_maintain(&r.a, BUDGET_US);
        r.a.now_ms += STEP_MS;
    }
    assert_int_equal(keys(&r), KEYS);
    assert_int_equal(store_bans(r.s), 1);
    store_set_follower(r.s, true);
    assert_false(there(&r, "user", 0));
    sweep(&r);
    assert_int_equal(keys(&r), 0);
    store_free(r.s);
}

static void test_several(void **state)
{
    struct rig r;
    uint64_t removed;
    setup_rig(&r);
    fill(&r, "a");
    fill(&r, "b");
    fill(&r, "c");
    ban(&r, "a:*", 0);
    put(&r, "a", 1, 0);
    ban(&r, "b:*", 0);
    ban(&r, "a:*", 0); /* takes the place of the first one, and reaches what was written since */
    assert_int_equal(store_bans(r.s), 2);
    assert_false(store_ban_look(r.s, 1, &removed));
    assert_false(there(&r, "a", 1));
    assert_true(there(&r, "c", 1));
    assert_true(store_ban_since(r.s, STR("b:x"), 0, 1) && !store_ban_since(r.s, STR("b:x"), 0, 2));
    sweep(&r);
    assert_int_equal(keys(&r), KEYS);
    store_flush_all(&r.a);
    ban(&r, "*", 0);
    sweep(&r);
    store_free(r.s);
}

/* A ban is of one database, and follows it when two change places. */
static void test_databases(void **state)
{
    struct rig r;
    char p[32];
    setup_rig(&r);
    put(&r, "user", 1, 0);
    struct key other = make(&r, "user", 1, p, 1);
    assert_int_equal(store_put_string(&r.a, &other, STR("kept"), NULL, 0, 0), 0);
    ban(&r, "user:*", 1);
    assert_non_null(store_find(&r.a, &other));
    store_swap_db(&r.a, 0, 1);
    assert_true(there(&r, "user", 1));
    other = make(&r, "user", 1, p, 1);
    assert_null(store_find(&r.a, &other));
    sweep(&r);
    assert_int_equal(keys(&r), 1);
    store_free(r.s);
}

static bool count_one(void *arg, const struct entry *e)
{
    ++*(uint32_t *)arg;
    return true;
}

static void test_scans_pass_it_by(void **state)
{
    struct rig r;
    uint32_t n = 0, busy;
    uint64_t cursor = 0;
    struct arena arena;
    struct str name;
    setup_rig(&r);
    arena_init(&arena);
    fill(&r, "user");
    put(&r, "other", 2, 0);
    ban(&r, "user:*", 0);
    do
        assert_int_equal(store_scan(&r.a, 0, cursor, 1000, count_one, &n, &cursor, &busy), 0);
    while (cursor != 0);
    assert_int_equal(n, 1);
    r.a.lane = true;
    struct rng rng;
    rng_init(&rng, 1);
    assert_int_equal(store_random_key(&r.a, 0, &rng, &arena, &name), 0);
    assert_true(str_eq(name, STR("other:2")));
    n = 0;
    for (uint32_t slot = 0; slot < STORE_SLOTS; slot++)
        assert_int_equal(store_slot_visit(&r.a, slot, count_one, &n), 0);
    assert_int_equal(n, 1);
    arena_release(&arena);
    store_free(r.s);
}

static void test_pace(void **state)
{
    struct rig r;
    setup_rig(&r);
    fill(&r, "user");
    ban(&r, "user:*", 1000);
    int64_t from = r.a.now_ms;
    sweep(&r);
    assert_int_equal(keys(&r), 0);
    /* By the store's clock: all but what the last segment held has been waited for. */
    assert_true(r.a.now_ms - from > KEYS / 1000 * 1000 / 2);
    store_free(r.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hides_at_once_and_is_swept),
        cmocka_unit_test(test_what_is_written_later_stays),
        cmocka_unit_test(test_compaction_revives_nothing),
        cmocka_unit_test(test_pauses_and_followers),
        cmocka_unit_test(test_several),
        cmocka_unit_test(test_scans_pass_it_by),
        cmocka_unit_test(test_pace),
        cmocka_unit_test(test_databases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
