/* What is purged and held, from one node to another that hashes and shards its keys otherwise. */
#include "unit.h"

#include "base/err.h"
#include "base/num.h"
#include "cache/cache_internal.h"
#include "cache/state.h"
#include "proto/slot.h"

enum { NOW = 1000, KEYS = 3000 };
#define RUN "0123456789abcdef0123456789abcdef01234567"

struct node {
    struct store *store;
    struct cache *cache;
    struct access a;
};

static void node_init(struct node *n, uint64_t seed)
{
    struct store_options o = {.databases = 2, .threads = 1, .seed = {seed, seed + 1}};
    assert_int_equal(store_new(&n->store, &o), 0);
    assert_int_equal(cache_new(&n->cache, n->store, RUN), 0);
    n->a = (struct access){.store = n->store, .app = store_appender(n->store, 0), .now_ms = NOW};
}

static void node_release(struct node *n)
{
    cache_free(n->cache);
    store_free(n->store);
}

static struct key key_of(const struct node *n, uint32_t i, char text[NUM_I64_TEXT_MAX])
{
    struct key k;
    key_make(n->store, &k, (struct str){text, num_put_u64(text, i)}, 0);
    return k;
}

static void hand_on(struct node *from, struct node *to, bool garble)
{
    uint32_t at = 0;
    int rc;
    do {
        struct buf piece;
        buf_init(&piece);
        rc = cache_put_state(from->cache, &at, &piece);
        assert_true(rc >= 0);
        for (size_t cut = 0; garble && cut < piece.n && cut < 100; cut++)
            cache_take_state(&to->a, (struct str){piece.p, cut});
        if (piece.n > 0)
            cache_take_state(&to->a, buf_str(&piece));
        buf_release(&piece);
    } while (rc == 0);
}

static void nothing_is_lost(void **state)
{
    struct node a, b;
    char text[NUM_I64_TEXT_MAX];
    node_init(&a, 1);
    node_init(&b, 99);
    for (uint32_t i = 0; i < KEYS; i++) {
        struct key k = key_of(&a, i, text);
        cache_hold(a.cache, &k, i + 1, NOW + 100, NOW);
        cache_purge_tag(a.cache, meta_tag_hash((struct str){text, k.n}), i % 2 == 0);
    }
    cache_hold(a.cache, &(struct key){.p = "long", .n = 4}, 5, INT64_MAX, NOW); /* a clock that is wrong */
    hand_on(&a, &b, true);
    assert_int_equal(b.cache->seq, KEYS);
    for (uint32_t i = 0; i < KEYS; i++) {
        struct key k = key_of(&b, i, text);
        assert_int_equal(cache_held(b.cache, &k, NOW), i + 1);
        assert_int_equal(cache_held(b.cache, &k, NOW + 100), 0);
        struct tag_purged p = tags_purged(&b.cache->tags, meta_tag_hash((struct str){text, k.n}));
        assert_int_equal(i % 2 == 0 ? p.soft : p.hard, i + 1);
    }
    struct key k = {.p = "long", .n = 4};
    assert_true(cache_held(b.cache, &k, NOW + CACHE_MS_MAX - 1) == 5 &&
                cache_held(b.cache, &k, NOW + CACHE_MS_MAX) == 0);
    node_release(&a);
    node_release(&b);
}

static void an_heir_gets_what_is_of_its_slots(void **state)
{
    struct node a, b;
    char text[NUM_I64_TEXT_MAX];
    uint8_t slots[SLOT_COUNT / 8];
    uint32_t at = 0, pieces = 0, mine = 0;
    int rc;
    memset(slots, 0x0f, sizeof slots); /* those whose number ends with 0 to 3, of 8 */
    node_init(&a, 1);
    node_init(&b, 99);
    for (uint32_t i = 0; i < KEYS; i++) {
        struct key k = key_of(&a, i, text);
        cache_hold(a.cache, &k, i + 1, NOW + 100, NOW);
    }
    do {
        struct buf piece;
        buf_init(&piece);
        rc = cache_put_held(a.cache, slots, &at, &piece);
        assert_true(rc >= 0);
        pieces += piece.n > 0;
        if (piece.n > 0)
            cache_take_state(&b.a, buf_str(&piece));
        buf_release(&piece);
    } while (rc == 0);
    for (uint32_t i = 0; i < KEYS; i++) {
        struct key k = key_of(&b, i, text);
        bool in = slot_of((struct str){text, k.n}) % 8 < 4;
        mine += in;
        assert_int_equal(cache_held(b.cache, &k, NOW), in ? i + 1 : 0);
    }
    assert_true(pieces > 1 && mine > KEYS / 4 && mine < KEYS);
    node_release(&a);
    node_release(&b);
}

static enum cache_fill fill(struct node *n, const struct key *k, bool has_version)
{
    const struct cache_value v = {
        .bytes = STR("v"), .ttl_ms = 100, .cost_ms = -1, .has_version = has_version, .version = 7};
    enum cache_fill fill;
    struct meta m;
    int64_t expire_ms;
    assert_int_equal(cache_fill(n->cache, &n->a, k, &v, &fill, &m, &expire_ms), 0);
    return fill;
}

/* Who is given a copy before the former owner of some slots has spoken refuses versions there for as long as
 * one waits for that, and a copy of the copy, too; no longer, and nowhere else. */
static void what_is_not_known_is_handed_on(void **state)
{
    struct node a, b;
    char text[NUM_I64_TEXT_MAX], other_text[NUM_I64_TEXT_MAX];
    node_init(&a, 1);
    node_init(&b, 99);
    struct key k = key_of(&b, 0, text), other = key_of(&b, 1, other_text);
    assert_int_not_equal(k.slot, other.slot);
    hand_on(&a, &b, true);
    assert_int_equal(fill(&b, &k, true), FILL_OK);
    cache_expect(a.cache, k.slot, true);
    hand_on(&a, &b, true);
    assert_int_equal(fill(&b, &k, true), FILL_OLD_VERSION);
    assert_int_equal(fill(&b, &k, false), FILL_OK);
    assert_int_equal(fill(&b, &other, true), FILL_OK);
    cache_expect(b.cache, k.slot, false); /* what b asks for by itself is not what the copy said */
    b.a.now_ms = NOW + cache_patience_ms(b.cache) - 1;
    assert_int_equal(fill(&b, &k, true), FILL_OLD_VERSION);
    b.a.now_ms++;
    assert_int_equal(fill(&b, &k, true), FILL_OK);
    node_release(&a);
    node_release(&b);
}

/* Whatever is handed over only raises, and nothing crashes. */
static void garbage_is_ignored(void **state)
{
    struct node n;
    struct rng rng;
    char bytes[9 + 3 * 24];
    node_init(&n, 5);
    rng_init(&rng, 7);
    cache_purge_tag(n.cache, meta_tag_hash(STR("red")), false);
    for (unsigned i = 0; i < 20000; i++) {
        for (size_t at = 0; at < sizeof bytes; at++)
            bytes[at] = (char)rng_below(&rng, 256);
        bytes[0] = "TBVFUX"[i % 6];
        cache_take_state(&n.a, (struct str){bytes, rng_below(&rng, sizeof bytes + 1)});
    }
    assert_true(tags_purged(&n.cache->tags, meta_tag_hash(STR("red"))).hard >= 1);
    node_release(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost),
        cmocka_unit_test(an_heir_gets_what_is_of_its_slots),
        cmocka_unit_test(what_is_not_known_is_handed_on),
        cmocka_unit_test(garbage_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
