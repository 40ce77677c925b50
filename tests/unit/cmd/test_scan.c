/* SCAN, KEYS and RANDOMKEY over many keys, and what happens when a shard is busy. */
#include "harness.h"

#include "base/buf.h"
#include "proto/reader.h"

#include <stdio.h>
#include <stdlib.h>

enum { KEYS = 5000 };

static void fill(struct harness *h, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        char line[64];
        snprintf(line, sizeof line, i % 10 == 0 ? "SET key:%u v PXAT 1700000000001" : "SET key:%u v", i);
        harness_expect(h, line, "+OK\r\n");
    }
}

static struct reader_value *parse(struct harness *h, struct str reply, struct arena *arena)
{
    struct reader_value *v = arena_alloc(arena, sizeof *v);
    size_t used, need;
    assert_non_null(v);
    assert_int_equal(reader_parse(reply, STORE_STRING_MAX, arena, v, &used, &need), 0);
    assert_int_equal(used, reply.n);
    return v;
}

/* Marks what the reply lists; returns how many there were. */
static uint64_t mark(const struct reader_value *keys, uint8_t *seen)
{
    for (uint64_t i = 0; i < keys->n; i++) {
        char text[32] = {0};
        unsigned number;
        assert_true(keys->children[i].text.n < sizeof text);
        memcpy(text, keys->children[i].text.p, keys->children[i].text.n);
        assert_int_equal(sscanf(text, "key:%u", &number), 1);
        assert_true(number < KEYS);
        seen[number]++;
    }
    return keys->n;
}

static uint64_t scan_all(struct harness *h, const char *options, uint8_t *seen, uint32_t *steps)
{
    char cursor[24] = "0";
    uint64_t n = 0;
    *steps = 0;
    do {
        char line[128];
        struct arena arena;
        arena_init(&arena);
        snprintf(line, sizeof line, "SCAN %s %s", cursor, options);
        struct reader_value *v = parse(h, harness_line(h, line), &arena);
        assert_int_equal(v->n, 2);
        snprintf(cursor, sizeof cursor, "%.*s", (int)v->children[0].text.n, v->children[0].text.p);
        assert_true(strtoull(cursor, NULL, 10) < 1ull << 53);
        n += mark(&v->children[1], seen);
        arena_release(&arena);
        assert_true(++*steps < 10 * KEYS);
    } while (strcmp(cursor, "0") != 0);
    return n;
}

static void scan_sees_every_key_once(void **state)
{
    static const struct {
        const char *options;
        uint64_t found;
        uint32_t steps_min, steps_max;
    } cases[] = {
        {"", KEYS, KEYS / 100, KEYS},
        {"COUNT 1", KEYS, KEYS / 20, 2 * KEYS},
        {"COUNT 100", KEYS, KEYS / 500, KEYS / 50},
        {"COUNT 1000000", KEYS, 1, 1},
        {"COUNT 1000 TYPE string", KEYS, 2, KEYS / 100},
        {"COUNT 1000 TYPE list", 0, 2, KEYS / 100},
        {"COUNT 1000 MATCH key:123*", 11, 2, KEYS / 100},
        {"MATCH nothing", 0, KEYS / 100, KEYS},
    };
    struct harness h;
    harness_start(&h);
    fill(&h, KEYS);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t seen[KEYS] = {0};
        uint32_t steps;
        assert_int_equal(scan_all(&h, cases[i].options, seen, &steps), cases[i].found);
        for (uint32_t k = 0; k < KEYS; k++)
            assert_true(seen[k] <= 1);
        assert_in_range(steps, cases[i].steps_min, cases[i].steps_max);
    }
    h.session.db = 1;
    harness_expect(&h, "SCAN 0", "*2\r\n$1\r\n0\r\n*0\r\n");
    harness_stop(&h);
}

static void expired_keys_are_not_listed(void **state)
{
    struct harness h;
    struct arena arena;
    uint8_t seen[KEYS] = {0};
    uint32_t steps;
    harness_start(&h);
    fill(&h, KEYS);
    h.ctx.a.now_ms += 10;
    assert_int_equal(scan_all(&h, "COUNT 50", seen, &steps), KEYS - KEYS / 10);
    arena_init(&arena);
    memset(seen, 0, sizeof seen);
    assert_int_equal(mark(parse(&h, harness_line(&h, "KEYS *"), &arena), seen), KEYS - KEYS / 10);
    for (uint32_t k = 0; k < KEYS; k++)
        assert_int_equal(seen[k], k % 10 != 0);
    assert_int_equal(mark(parse(&h, harness_line(&h, "KEYS key:?[19]"), &arena), seen), 9 * 2);
    for (int i = 0; i < 200; i++) {
        struct reader_value *v = parse(&h, harness_line(&h, "RANDOMKEY"), &arena);
        assert_int_equal(v->kind, READ_BULK);
        assert_true(v->text.p[v->text.n - 1] != '0');
    }
    arena_release(&arena);
    harness_stop(&h);
}

/* Any number may come back as a cursor. */
static void strange_cursors_end(void **state)
{
    struct harness h;
    harness_start(&h);
    fill(&h, 1000);
    for (int i = 0; i < 2000; i++) {
        char line[64];
        snprintf(line, sizeof line, "SCAN %lu COUNT 7", (unsigned long)(rng_u64(&h.rng) >> i % 64));
        assert_true(harness_line(&h, line).p[0] == '*');
    }
    harness_line(&h, "SCAN -1");
    harness_line(&h, "SCAN 18446744073709551615");
    harness_stop(&h);
}

/* The lane holds a shard: what was found so far is given, and who is at the shard comes again. */
static void busy_shards_are_waited_for(void **state)
{
    enum { BUSY = 500 };
    struct harness h;
    struct lockset held;
    uint8_t seen[KEYS] = {0};
    harness_start(&h);
    fill(&h, KEYS);
    lockset_init(&held);
    lockset_add(&held, BUSY);
    assert_true(store_lock(h.store, &held));
    store_make_busy(h.store, &held);
    store_busy_enter(h.store, &held);

    struct arena arena;
    arena_init(&arena);
    struct reader_value *v = parse(&h, harness_line(&h, "SCAN 0 COUNT 1000000"), &arena);
    uint64_t n = mark(&v->children[1], seen);
    assert_true(n > 0 && n < KEYS);
    char line[64];
    snprintf(line, sizeof line, "SCAN %.*s COUNT 1000000", (int)v->children[0].text.n, v->children[0].text.p);
    h.may_repeat = true;
    assert_int_equal(harness_line(&h, line).n, 0);
    assert_true(h.ctx.again);
    assert_int_equal(harness_line(&h, "KEYS *").n, 0);
    assert_true(h.ctx.again);
    h.may_repeat = false;

    /* The lane itself goes on: the shard is its own. */
    h.ctx.a.lane = true;
    uint8_t all[KEYS] = {0};
    assert_int_equal(mark(parse(&h, harness_line(&h, "KEYS *"), &arena), all), KEYS);
    h.ctx.a.lane = false;

    store_busy_leave(h.store, &held);
    v = parse(&h, harness_line(&h, line), &arena);
    assert_str(v->children[0].text, STR("0"));
    assert_int_equal(n + mark(&v->children[1], seen), KEYS);
    for (uint32_t k = 0; k < KEYS; k++)
        assert_int_equal(seen[k], 1);
    arena_release(&arena);
    harness_stop(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scan_sees_every_key_once),
        cmocka_unit_test(expired_keys_are_not_listed),
        cmocka_unit_test(strange_cursors_end),
        cmocka_unit_test(busy_shards_are_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
