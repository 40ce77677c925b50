/* Everything at once against the model: eviction, expiry and compaction run while strings and sets are
 * written, databases flushed, slots emptied and all keys scanned. What the store removes by itself it
 * announces, and the model checks each announcement; everything else must be there, and nothing more.
 * LARDER_MODEL_STEPS and LARDER_MODEL_SEED make it longer and other (scripts/model). */
#include "model.h"

#include "value/set.h"

enum {
    KEYS = 6000,
    LIMIT = 6 << 20,
    HEAP_SIZE = 20000,
    SET_MEMBERS = 40, /* beyond what a listpack holds */
    SCAN_SLICE = 40,  /* steps between two calls of a scan */
    FILLER = 'x',
};

/* What a scan of one database must have seen at its end. */
struct scan {
    bool open;
    uint32_t db;
    uint64_t cursor;
    bool due[KEYS]; /* was there at the start, and has not been gone since */
    bool seen[KEYS];
};

struct rig {
    struct model m;
    struct scan scan;
    struct store_eviction how;
    uint64_t expired, evicted, moved; /* announced */
    uint32_t slot_keys[STORE_SLOTS];
};

static const struct object_options objects = {
    .seed = {5, 6}, .set_max_intset_entries = 8, .set_max_listpack_entries = 8, .set_max_listpack_value = 20};

static uint32_t number_of(const struct model *m, struct str name)
{
    const char *at = memchr(name.p, ':', name.n);
    char text[MODEL_NAME_MAX + 1];
    ASSERT(at != NULL && name.n <= MODEL_NAME_MAX);
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    uint32_t i = (uint32_t)strtoul(text + (at - name.p) + 1, NULL, 10);
    ASSERT(i < m->keys && str_eq(model_key_name(m, i), name));
    return i;
}

/* ---- what the store does by itself ------------------------------------------------------------------ */

static void gone(struct rig *r, uint32_t db, uint32_t i)
{
    model_drop(&r->m.db[db][i]);
    if (r->scan.db == db)
        r->scan.due[i] = false;
}

static void on_removed(void *listener, const struct access *a, uint32_t db, struct str key,
                       enum change_reason why)
{
    struct rig *r = listener;
    uint32_t i = number_of(&r->m, key);
    struct model_value *v = &r->m.db[db][i];
    ASSERT(v->exists || why != CHANGE_EVICTED); /* the model forgets what has expired when it looks */
    switch (why) {
    case CHANGE_EXPIRED:
        ASSERT(!v->exists || (v->expire_ms != 0 && v->expire_ms <= a->now_ms));
        r->expired++;
        break;
    case CHANGE_EVICTED:
        ASSERT(r->how.policy != STORE_NOEVICTION && (!r->how.volatile_only || v->expire_ms != 0));
        r->evicted++;
        break;
    case CHANGE_MOVED: r->moved++; break;
    case CHANGE_PURGED: ASSERT(!"nothing has a tag");
    }
    gone(r, db, i);
}

/* ---- values ------------------------------------------------------------------------------------------- */

/* A set in the model is a NUL and a flag for each member. */
static bool is_set(const struct model_value *v)
{
    return v->n == SET_MEMBERS + 1 && v->p[0] == '\0';
}

static struct str member_name(uint32_t i, char text[32])
{
    return (struct str){text, (size_t)snprintf(text, 32, i % 3 == 0 ? "%u" : "m%u", i * 7)};
}

static uint32_t set_size(const struct model_value *v)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < SET_MEMBERS; i++)
        n += v->p[1 + i] != 0;
    return n;
}

static void compare(struct rig *r, uint32_t db, uint32_t i)
{
    struct key k = model_key(&r->m, db, i);
    struct entry *e = store_find(&r->m.a, &k);
    struct model_value *v = model_get(&r->m, db, i);
    ASSERT((e != NULL) == (v != NULL));
    if (e == NULL)
        return;
    ASSERT(entry_expire(e) == v->expire_ms && str_eq(entry_key(e), model_key_name(&r->m, i)));
    if (!is_set(v)) {
        struct block *held;
        struct str got = entry_string(e, &held);
        ASSERT(got.n == v->n && memcmp(got.p, v->p, v->n) == 0);
        return;
    }
    const struct object *o = entry_object(e);
    char text[32];
    set_check(o);
    ASSERT(set_count(o) == set_size(v));
    for (uint32_t j = 0; j < SET_MEMBERS; j++)
        ASSERT(set_has(o, member_name(j, text)) == (v->p[1 + j] != 0));
}

static int64_t deadline(struct rig *r)
{
    struct rng *g = &r->m.rng;
    switch (rng_below(g, 5)) {
    case 0: return r->m.a.now_ms + 1 + (int64_t)rng_below(g, 500);
    case 1: return r->m.a.now_ms + 1 + (int64_t)rng_below(g, 60000);
    case 2: return r->m.a.now_ms + 1 + (int64_t)rng_below(g, 10000000);
    default: return 0;
    }
}

/* ---- steps ----------------------------------------------------------------------------------- */

static void step_put(struct rig *r, uint32_t db, uint32_t i)
{
    static char bytes[HEAP_SIZE];
    struct rng *g = &r->m.rng;
    struct key k = model_key(&r->m, db, i);
    size_t n = rng_below(g, 40) == 0 ? HEAP_SIZE : rng_below(g, rng_below(g, 4) == 0 ? 3000 : 200);
    int64_t expire = deadline(r);
    memset(bytes, FILLER + (int)(i % 7), n);
    if (store_over_memory(r->m.s))
        return;
    ASSERT(store_put_string(&r->m.a, &k, (struct str){bytes, n}, NULL, expire, 0) == 0);
    model_set(&r->m.db[db][i], bytes, n, expire);
}

/* Add or remove one member, on a copy if somebody else has the set, too. */
static void step_edit_set(struct rig *r, uint32_t db, uint32_t i)
{
    char text[32];
    struct key k = model_key(&r->m, db, i);
    struct entry *e = store_find(&r->m.a, &k);
    struct model_value *v = model_get(&r->m, db, i);
    uint32_t j = (uint32_t)rng_below(&r->m.rng, SET_MEMBERS);
    if (e == NULL || !is_set(v))
        return;
    struct object *o = entry_object(e), *from = NULL;
    size_t before = set_type.bytes(o);
    if (!object_is_private(o)) {
        from = o;
        o = set_type.copy(o);
    }
    bool remove = v->p[1 + j] != 0;
    int rc = remove ? set_remove(&o, member_name(j, text)) : set_add(&o, &objects, member_name(j, text));
    ASSERT(rc == 1);
    store_object_changed(&r->m.a, &k, e, o, before);
    if (from != NULL)
        store_release_object(r->m.s, from);
    v->p[1 + j] = !remove;
    if (set_size(v) == 0)
        gone(r, db, i);
}

static void step_put_set(struct rig *r, uint32_t db, uint32_t i)
{
    char text[32], flags[SET_MEMBERS + 1] = "";
    struct key k = model_key(&r->m, db, i);
    uint32_t n = 1 + (uint32_t)rng_below(&r->m.rng, SET_MEMBERS);
    int64_t expire = deadline(r);
    struct object *o = set_new(&objects, member_name(0, text), 1);
    if (store_over_memory(r->m.s)) {
        object_put(o);
        return;
    }
    for (uint32_t j = 0; j < n; j++) {
        ASSERT(set_add(&o, &objects, member_name(j, text)) == 1);
        flags[1 + j] = 1;
    }
    ASSERT(store_put_object(&r->m.a, &k, o, expire, 0) == 0);
    model_set(&r->m.db[db][i], flags, sizeof flags, expire);
}

static void step_copy(struct rig *r, uint32_t db, uint32_t i)
{
    uint32_t to_db = (uint32_t)rng_below(&r->m.rng, MODEL_DBS), to = (uint32_t)rng_below(&r->m.rng, KEYS);
    struct key from_key = model_key(&r->m, db, i), to_key = model_key(&r->m, to_db, to);
    struct model_value *v = model_get(&r->m, db, i);
    if (store_over_memory(r->m.s))
        return;
    ASSERT(store_copy(&r->m.a, &from_key, &to_key) == (v != NULL ? 0 : ERR_NOTFOUND));
    if (v != NULL && v != &r->m.db[to_db][to])
        model_set(&r->m.db[to_db][to], v->p, v->n, v->expire_ms);
}

static void step_expire(struct rig *r, uint32_t db, uint32_t i)
{
    struct key k = model_key(&r->m, db, i);
    struct model_value *v = model_get(&r->m, db, i);
    int64_t at = deadline(r);
    ASSERT(store_set_expire(&r->m.a, &k, at) == (v != NULL ? 0 : ERR_NOTFOUND));
    if (v != NULL)
        v->expire_ms = at;
}

static void step_delete(struct rig *r, uint32_t db, uint32_t i)
{
    struct key k = model_key(&r->m, db, i);
    bool had = model_get(&r->m, db, i) != NULL;
    ASSERT(store_delete(&r->m.a, &k) == had);
    gone(r, db, i);
}

/* ---- scanning ------------------------------------------------------------------------------------------ */

static bool see(void *arg, const struct entry *e)
{
    struct rig *r = arg;
    uint32_t i = number_of(&r->m, entry_key(e));
    ASSERT(model_get(&r->m, r->scan.db, i) != NULL); /* alive, and of this database */
    r->scan.seen[i] = true;
    return true;
}

static void scan_begin(struct rig *r)
{
    struct scan *sc = &r->scan;
    *sc = (struct scan){.open = true, .db = (uint32_t)rng_below(&r->m.rng, MODEL_DBS)};
    for (uint32_t i = 0; i < KEYS; i++)
        sc->due[i] = model_get(&r->m, sc->db, i) != NULL;
}

/* What has expired meanwhile was not there all the time. */
static void scan_end(struct rig *r)
{
    struct scan *sc = &r->scan;
    for (uint32_t i = 0; i < KEYS; i++)
        ASSERT(!sc->due[i] || sc->seen[i] || model_get(&r->m, sc->db, i) == NULL);
    sc->open = false;
}

static void step_scan(struct rig *r)
{
    struct scan *sc = &r->scan;
    uint32_t busy;
    if (!sc->open)
        scan_begin(r);
    uint32_t n = 1 + (uint32_t)rng_below(&r->m.rng, 200);
    ASSERT(store_scan(&r->m.a, sc->db, sc->cursor, n, see, r, &sc->cursor, &busy) == 0);
    if (sc->cursor == 0)
        scan_end(r);
}

/* ---- many keys ------------------------------------------------------------------------------- */

static void flush(struct rig *r, uint32_t db)
{
    store_flush_db(&r->m.a, db);
    for (uint32_t i = 0; i < KEYS; i++)
        gone(r, db, i);
}

static void swap(struct rig *r, uint32_t x, uint32_t y)
{
    struct model_value *db = r->m.db[x];
    store_swap_db(&r->m.a, x, y);
    r->m.db[x] = r->m.db[y];
    r->m.db[y] = db;
    r->scan.open = false; /* of another database now */
}

/* Each slot has as many keys as the model has there. Expired ones are met, and so removed, first; those of a
 * flushed database lie there until a sweep has found them. */
static void compare_slots(struct rig *r)
{
    memset(r->slot_keys, 0, sizeof r->slot_keys);
    for (uint32_t d = 0; d < MODEL_DBS; d++)
        for (uint32_t i = 0; i < KEYS; i++) {
            struct key k = model_key(&r->m, d, i);
            (void)store_find(&r->m.a, &k);
            r->slot_keys[k.slot] += model_get(&r->m, d, i) != NULL;
        }
    for (uint32_t slot = 0; slot < STORE_SLOTS; slot++) {
        uint32_t n;
        ASSERT(store_slot_keys(&r->m.a, slot, &n) == 0);
        ASSERT(n == r->slot_keys[slot] || (ids_dead(r->m.s) != 0 && n > r->slot_keys[slot]));
    }
}

static void clear_slot(struct rig *r)
{
    struct key k = model_key(&r->m, 0, (uint32_t)rng_below(&r->m.rng, KEYS));
    uint32_t left = 1, n;
    while (left > 0)
        ASSERT(store_slot_clear(&r->m.a, k.slot, 100, &left) == 0);
    ASSERT(store_slot_keys(&r->m.a, k.slot, &n) == 0 && n == 0);
}

static void change_policy(struct rig *r)
{
    r->how = (struct store_eviction){.policy = (enum store_policy)rng_below(&r->m.rng, STORE_TTL + 1),
                                     .volatile_only = rng_below(&r->m.rng, 3) == 0,
                                     .lfu_log_factor = 10,
                                     .lfu_decay_min = 1};
    r->how.volatile_only |= r->how.policy == STORE_TTL;
    store_set_eviction(r->m.s, &r->how);
    store_set_maxmemory(r->m.s, LIMIT >> rng_below(&r->m.rng, 2));
}

/* Every key of every database, all counters, every invariant. */
static void compare_all(struct rig *r)
{
    compare_slots(r);
    for (uint32_t d = 0; d < MODEL_DBS; d++) {
        uint64_t keys = 0, expires = 0;
        for (uint32_t i = 0; i < KEYS; i++) {
            compare(r, d, i);
            keys += r->m.db[d][i].exists;
            expires += r->m.db[d][i].exists && r->m.db[d][i].expire_ms != 0;
        }
        ASSERT(store_db_keys(r->m.s, d) == keys && store_db_expires(r->m.s, d) == expires);
    }
    struct store_stats st;
    store_stats(r->m.s, &st);
    ASSERT(st.evicted == r->evicted && st.expired == r->expired);
    store_check(r->m.s);
}

static void step_many(struct rig *r)
{
    uint32_t x = (uint32_t)rng_below(&r->m.rng, MODEL_DBS), y = (uint32_t)rng_below(&r->m.rng, MODEL_DBS);
    switch (rng_below(&r->m.rng, 8)) {
    case 0: flush(r, x); break;
    case 1: swap(r, x, y); break;
    case 2:
    case 3: clear_slot(r); break;
    default: change_policy(r); break;
    }
}

/* ---- the walk -------------------------------------------------------------------------------- */

static void upkeep(struct rig *r)
{
    struct rng *g = &r->m.rng;
    r->m.a.now_ms += (int64_t)rng_below(g, rng_below(g, 50) == 0 ? 5000 : 40);
    store_round_begin(r->m.s, r->m.a.app);
    store_maintain(&r->m.a, (uint32_t)rng_below(g, 300));
}

static void step(struct rig *r, uint64_t n)
{
    struct rng *g = &r->m.rng;
    uint32_t db = rng_below(g, 3) == 0 ? (uint32_t)rng_below(g, MODEL_DBS) : 0;
    uint32_t i =
        (uint32_t)rng_below(g, n / 20000 % 3 == 2 ? KEYS / 10 : KEYS); /* tables shrink now and then */
    switch (rng_below(g, 16)) {
    case 0:
    case 1:
    case 2:
    case 3: step_put(r, db, i); break;
    case 4: step_put_set(r, db, i); break;
    case 5:
    case 6: step_edit_set(r, db, i); break;
    case 7: step_expire(r, db, i); break;
    case 8: step_delete(r, db, i); break;
    case 9: step_copy(r, db, i); break;
    default: compare(r, db, i); break;
    }
    if (n % 16 == 0)
        upkeep(r);
    if (n % SCAN_SLICE == 0)
        step_scan(r);
    if (rng_below(g, 3000) == 0)
        step_many(r);
}

static void observe(struct rig *r, uint32_t appender)
{
    r->m.a.app = store_appender(r->m.s, appender);
    store_observe(r->m.a.app, on_removed, r);
}

static uint64_t packed(const struct store *s)
{
    uint64_t runs = 0;
    for (uint32_t i = 0; i < 2; i++)
        runs += s->appenders[i]->tm.moves;
    return runs;
}

/* Of sixteen keys one stays. Upkeep packs the tables of what is left; how soon depends on the machine. */
static void thin_out(struct rig *r)
{
    for (uint32_t d = 0; d < MODEL_DBS; d++)
        for (uint32_t i = 0; i < KEYS; i++)
            if (i % 16 != 0)
                step_delete(r, d, i);
    for (int i = 0; i < 10000 && packed(r->m.s) == 0; i++)
        upkeep(r);
    compare_all(r);
}

static void run(uint64_t steps, uint64_t seed)
{
    struct rig *r = calloc(1, sizeof *r);
    struct store *s = model_store(LIMIT, 2, seed);
    model_init(&r->m, s, KEYS, seed);
    for (uint32_t i = 0; i < 2; i++)
        observe(r, i);
    r->how.policy = STORE_AUTO;
    store_set_eviction(s, &r->how);
    for (uint64_t n = 1; n <= steps; n++) {
        step(r, n);
        if (n % 20000 == 0) {
            compare_all(r);
            observe(r, (uint32_t)rng_below(&r->m.rng, 2));
        }
    }
    compare_all(r);
    assert_true(r->evicted > steps / 100 && r->expired > steps / 100 && r->moved > 0);
    thin_out(r);
    print_message("%llu runs of tables were packed\n", (unsigned long long)packed(s));
    assert_true(packed(s) > 0);
    for (uint32_t d = 0; d < MODEL_DBS; d++)
        flush(r, d);
    for (int i = 0; i < 10000 && (s->graves != NULL || s->heap_doomed != 0 || s->ids_dead != 0); i++)
        upkeep(r);
    struct store_memory mem;
    store_memory(s, &mem);
    assert_int_equal(mem.keys, 0);
    assert_int_equal(mem.live, 0);
    assert_int_equal(s->heap_doomed, 0);
    store_check(s);
    model_release(&r->m);
    store_free(s);
    free(r);
}

static void test_slots_by_tag(void **state)
{
    run(unit_model_steps(200000), unit_model_seed(1));
}

static void test_slots_by_hash(void **state)
{
    run(unit_model_steps(200000), unit_model_seed(2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots_by_tag),
        cmocka_unit_test(test_slots_by_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
