/* What replies alone do not show: counters, access times, memory figures, policies. */
#include "harness.h"

#include "base/buf.h"

static void hits_and_misses_are_counted(void **state)
{
    static const struct {
        const char *line;
        uint64_t hits, misses;
    } cases[] = {
        {"GET k", 1, 0},
        {"GET none", 0, 1},
        {"MGET k none k", 2, 1},
        {"EXISTS k none", 1, 1},
        {"TTL k", 1, 0},
        {"TYPE none", 0, 1},
        {"STRLEN k", 1, 0},
        {"GETRANGE none 0 1", 0, 1},
        {"OBJECT ENCODING k", 1, 0},
        {"DUMP k", 1, 0},
        {"TOUCH k none", 1, 1},
        {"COPY k k2", 1, 0},
        {"BITCOUNT k", 1, 0},
        {"BITOP OR d k none", 1, 1},
        {"LCS k none", 1, 1},
        {"SET k v GET", 1, 0},
        {"GETSET k v", 1, 0},
        {"SET k v", 0, 0},
        {"SET k v XX", 0, 0},
        {"APPEND k v", 0, 0},
        {"INCR n", 0, 0},
        {"SETBIT k 1 1", 0, 0},
        {"EXPIRE k 100", 0, 0},
        {"RENAME k k3", 0, 0},
        {"DEL k3 none", 0, 0},
        {"SCAN 0", 0, 0},
        {"KEYS *", 0, 0},
        {"MEMORY USAGE k2", 0, 0},
        {"BITFIELD k2 GET u8 0", 1, 0},
        {"BITFIELD k2 SET u8 0 1", 0, 0},
        {"GETEX none", 0, 1},
        {"GETDEL k2", 1, 0},
    };
    struct harness h;
    harness_start(&h);
    harness_expect(&h, "SET k v", "+OK\r\n");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t hits = counter_read(&h.counters.hits), misses = counter_read(&h.counters.misses);
        assert_true(harness_line(&h, cases[i].line).p[0] != '-');
        if (counter_read(&h.counters.hits) - hits != cases[i].hits ||
            counter_read(&h.counters.misses) - misses != cases[i].misses)
            fail_msg("%s is counted wrongly", cases[i].line);
    }
    harness_stop(&h);
}

static void touch_ignores_no_touch_for_itself(void **state)
{
    struct harness h;
    harness_start(&h);
    h.ctx.a.no_touch = true;
    harness_expect(&h, "SET k v", "+OK\r\n");
    harness_expect(&h, "TOUCH k", ":1\r\n");
    assert_true(h.ctx.a.no_touch);
    harness_stop(&h);
}

static void policies_decide_what_object_tells(void **state)
{
    struct harness h;
    harness_start(&h);
    harness_expect(&h, "SET k v", "+OK\r\n");
    assert_true(harness_line(&h, "OBJECT IDLETIME k").p[0] == ':');
    assert_true(harness_line(&h, "OBJECT FREQ k").p[0] == '-');
    h.limits.lfu = true;
    assert_true(harness_line(&h, "OBJECT IDLETIME k").p[0] == '-');
    assert_true(harness_line(&h, "OBJECT FREQ k").p[0] == ':');
    harness_expect(&h, "OBJECT IDLETIME none", "$-1\r\n");
    harness_expect(&h, "OBJECT FREQ none", "$-1\r\n");
    harness_stop(&h);
}

static int64_t number(struct str reply)
{
    int64_t v;
    assert_true(reply.n > 3 && reply.p[0] == ':');
    assert_true(num_parse_i64((struct str){reply.p + 1, reply.n - 3}, &v));
    return v;
}

static void memory_usage_grows_with_the_value(void **state)
{
    struct harness h;
    harness_start(&h);
    harness_expect(&h, "SET a 12345", "+OK\r\n");
    harness_expect(&h, "SETRANGE b 999 x", ":1000\r\n");
    harness_expect(&h, "SETRANGE c 99999 x", ":100000\r\n");
    int64_t a = number(harness_line(&h, "MEMORY USAGE a"));
    int64_t b = number(harness_line(&h, "MEMORY USAGE b SAMPLES 0"));
    int64_t c = number(harness_line(&h, "MEMORY USAGE c"));
    assert_in_range(a, 6, 64);
    assert_in_range(b, 1000, 2000);
    assert_in_range(c, 100000, 250000);
    harness_stop(&h);
}

static void reports_are_verbatim_text(void **state)
{
    struct harness h;
    harness_start(&h);
    h.session.proto = 3;
    assert_true(harness_line(&h, "MEMORY MALLOC-STATS").p[0] == '=');
    h.session.proto = 2;
    assert_true(harness_line(&h, "MEMORY MALLOC-STATS").p[0] == '$');
    harness_stop(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hits_and_misses_are_counted),
        cmocka_unit_test(touch_ignores_no_touch_for_itself),
        cmocka_unit_test(policies_decide_what_object_tells),
        cmocka_unit_test(memory_usage_grows_with_the_value),
        cmocka_unit_test(reports_are_verbatim_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
