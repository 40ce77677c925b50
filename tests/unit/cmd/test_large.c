/* Values that live in blocks: replied by reference, edited copy-on-write, bounded by
 * proto-max-bulk-len, and honest about what they cost. */
#include "harness.h"

#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    BIG = 100 * 1000,
    LONG_WORK_NS = 500 * 1000, /* what dispatch sends to the lane */
};

static char *big;

static int make_big(void **state)
{
    big = malloc(BIG);
    if (big == NULL)
        return -1;
    for (size_t i = 0; i < BIG; i++)
        big[i] = (char)(i * 31 % 251);
    return 0;
}

static int drop_big(void **state)
{
    free(big);
    return 0;
}

static struct str run(struct harness *h, const char *name, const char *key, struct str last)
{
    struct str argv[3] = {str_of(name), str_of(key), last};
    return harness_run(h, argv, 3);
}

static void set_big(struct harness *h, const char *key)
{
    assert_str(run(h, "SET", key, (struct str){big, BIG}), STR("+OK\r\n"));
}

static void assert_bulk(struct str reply, struct str value)
{
    char head[32];
    int n = snprintf(head, sizeof head, "$%zu\r\n", value.n);
    assert_int_equal(reply.n, (size_t)n + value.n + 2);
    assert_memory_equal(reply.p, head, n);
    assert_memory_equal(reply.p + n, value.p, value.n);
    assert_memory_equal(reply.p + n + value.n, "\r\n", 2);
}

static void replies_do_not_copy(void **state)
{
    static const struct {
        const char *line;
        size_t from, n;
        uint32_t references;
    } cases[] = {
        {"GET k", 0, BIG, 1},
        {"GETRANGE k 10 -11", 10, BIG - 20, 1},
        {"GETRANGE k 10 19", 10, 10, 0},
        {"GETSET k v", 0, BIG, 1},
        {"SET k v GET", 0, BIG, 1},
        {"GETDEL k", 0, BIG, 1},
        {"GETEX k EX 100", 0, BIG, 1},
        {"LCS k k", 0, BIG, 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct harness h;
        harness_start(&h);
        h.limits.bulk_max = UINT64_MAX; /* LCS of two such strings is beyond Redis's default */
        set_big(&h, "k");
        assert_bulk(harness_line(&h, cases[i].line), (struct str){big + cases[i].from, cases[i].n});
        assert_int_equal(h.reply.nsplices, cases[i].references);
        harness_stop(&h);
    }
}

/* A value on its way to a client stays as it was, whatever happens to the key. */
static void edits_leave_sent_values_alone(void **state)
{
    static const char *const edits[] = {
        "APPEND k tail", "SETRANGE k 0 head",
        "SETBIT k 0 1",  "BITFIELD k SET u8 8 255",
        "BITOP NOT k k", "DEL k",
        "SET k other",   "RENAME k k2",
        "FLUSHALL",
    };
    for (size_t i = 0; i < ARRAY_LEN(edits); i++) {
        struct harness h;
        harness_start(&h);
        set_big(&h, "k");
        struct block *sent;
        struct key key;
        key_make(h.store, &key, STR("k"), 0);
        struct str value = entry_string(store_find(&h.ctx.a, &key), &sent);
        block_get(sent);
        harness_line(&h, edits[i]);
        assert_memory_equal(value.p, big, BIG);
        assert_int_equal(sent->n, BIG);
        block_put(sent);
        harness_stop(&h);
    }
}

/* Dispatch brings large arguments in blocks; the store keeps the block itself. */
static void block_arguments_are_not_copied(void **state)
{
    static const struct {
        const char *words[4];
        uint32_t argc, at;
    } cases[] = {
        {{"SET", "k", NULL}, 3, 2},          {{"SETNX", "k", NULL}, 3, 2},
        {{"SETEX", "k", "100", NULL}, 4, 3}, {{"PSETEX", "k", "100000", NULL}, 4, 3},
        {{"GETSET", "k", NULL}, 3, 2},       {{"MSET", "k", NULL}, 3, 2},
        {{"MSETNX", "k", NULL}, 3, 2},       {{"APPEND", "k", NULL}, 3, 2},
        {{"SET", "k", NULL, "GET"}, 4, 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct harness h;
        struct str argv[4];
        harness_start(&h);
        struct block *b = block_new(BIG);
        assert_non_null(b);
        memcpy(b->data, big, BIG);
        b->n = BIG;
        for (uint32_t j = 0; j < cases[i].argc; j++)
            argv[j] = j == cases[i].at ? block_str(b) : str_of(cases[i].words[j]);
        h.ctx.blocks = &b;
        h.ctx.nblocks = 1;
        assert_true(harness_run(&h, argv, cases[i].argc).p[0] != '-');
        h.ctx.nblocks = 0;
        assert_false(block_is_private(b));
        assert_bulk(harness_line(&h, "GET k"), (struct str){big, BIG});
        block_put(b);
        harness_stop(&h);
    }
}

#define MEMBER "$20\r\n20-bytes-of-a-member\r\n"

static void lengths_are_bounded(void **state)
{
    static const char too_long[] = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
    static const char bad_bit[] = "-ERR bit offset is not an integer or out of range\r\n";
    static const char no_lcs[] =
        "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len\r\n";
    static const char too_many[] =
        "-ERR value is out of range: so many members exceed proto-max-bulk-len\r\n";
    static const struct {
        const char *line, *reply;
    } cases[] = {
        {"SETRANGE n 99 x", ":100\r\n"},
        {"SETRANGE n 100 x", too_long},
        {"SETRANGE n 98 xyz", too_long},
        {"SETRANGE new 100 x", too_long},
        {"SETRANGE new 9223372036854775807 x", too_long},
        {"APPEND n x", too_long},
        {"APPEND n \"\"", ":100\r\n"},
        {"SETBIT n 799 1", ":0\r\n"},
        {"SETBIT n 800 1", bad_bit},
        {"GETBIT n 800", bad_bit},
        {"BITFIELD n SET u8 800 1", bad_bit},
        {"BITFIELD n SET u8 #100 1", bad_bit},
        {"BITFIELD n GET u8 #99", "*1\r\n:121\r\n"},
        {"BITFIELD n SET u8 #1152921504606846976 1", bad_bit},
        {"EXISTS new", ":0\r\n"},
        {"SET a 1234", "+OK\r\n"},
        {"SET b 1234", "+OK\r\n"},
        {"LCS a b LEN", ":4\r\n"},
        {"SET b 12345", "+OK\r\n"},
        {"LCS a b LEN", no_lcs},
        {"LCS a b FOO", "-ERR syntax error\r\n"},
        {"RESTORE r 0 \"\\x00\\x40\\x65\" REPLACE", "-ERR DUMP payload version or checksum are wrong\r\n"},
        {"SADD set 20-bytes-of-a-member", ":1\r\n"},
        {"SRANDMEMBER set -3", "*3\r\n" MEMBER MEMBER MEMBER}, /* 88 bytes */
        {"SRANDMEMBER set -4", too_many},
        {"SRANDMEMBER set -9223372036854775807", too_many},
        {"SRANDMEMBER none -9223372036854775807", "*0\r\n"},
    };
    struct harness h;
    harness_start(&h);
    h.limits.bulk_max = 100;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        harness_expect(&h, cases[i].line, cases[i].reply);
    harness_stop(&h);
}

/* A value of 16 MB, and a small one of the same key: which commands are long on them? */
static void costs_tell_long_from_short(void **state)
{
    static const struct {
        const char *line;
        bool is_long;
    } cases[] = {
        {"BITCOUNT %s", true},
        {"BITPOS %s 1", true},
        {"BITOP NOT dst %s", true},
        {"BITOP OR dst none %s", true},
        {"DUMP %s", true},
        {"LCS %s %s LEN", true},
        {"SETBIT %s 2000000000 1", true},
        {"SETRANGE %s 200000000 x", true},
        {"BITFIELD %s SET u8 #100000000 1", true},
        {"BITFIELD %s GET u8 #100000000", false},
        {"BITFIELD %s SET u32 0 4294967295", false},
        {"GET %s", false},
        {"STRLEN %s", false},
        {"SETBIT %s 0 1", false},
        {"SETRANGE %s 0 x", false},
        {"GETRANGE %s 0 -1", false},
        {"GETBIT %s 5", false},
        {"COPY %s other", false},
        {"SETBIT %s x 1", false},
        {"SETRANGE %s -1 x", false},
        {"BITFIELD %s SET u8", false},
        {"BITFIELD %s FOO", false},
        {"SCAN 0 COUNT 10", false},
        {"SCAN 0 COUNT 4000000000", false}, /* there are few keys */
        {"SCAN 0 COUNT x", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct harness h;
        char line[128];
        harness_start(&h);
        h.limits.bulk_max = 1 << 28; /* so that LCS itself refuses */
        harness_expect(&h, "SETBIT large 134217727 1", ":0\r\n");
        harness_expect(&h, "SET little x", "+OK\r\n");
        snprintf(line, sizeof line, cases[i].line, "large", "large");
        harness_line(&h, line);
        if ((h.cost > LONG_WORK_NS) != cases[i].is_long)
            fail_msg("%s costs %lu ns?", line, (unsigned long)h.cost);
        snprintf(line, sizeof line, cases[i].line, "little", "little");
        h.limits.bulk_max = 1 << 20;
        harness_line(&h, line);
        assert_true(h.cost <= LONG_WORK_NS);
        harness_stop(&h);
    }
}

/* An edit in place is short unless the value must be copied first. */
static void shared_values_cost_a_copy(void **state)
{
    struct harness h;
    harness_start(&h);
    harness_expect(&h, "SETBIT k 134217727 1", ":0\r\n");
    harness_expect(&h, "APPEND k x", ":16777217\r\n");
    harness_expect(&h, "SETBIT k 0 1", ":0\r\n");
    assert_true(h.cost < LONG_WORK_NS);
    harness_expect(&h, "COPY k k2", ":1\r\n"); /* shares the block */
    harness_expect(&h, "SETBIT k 1 1", ":0\r\n");
    assert_true(h.cost > LONG_WORK_NS);
    harness_expect(&h, "SETBIT k 2 1", ":0\r\n");
    assert_true(h.cost < LONG_WORK_NS);
    harness_expect(&h, "GETBIT k2 1", ":0\r\n");
    harness_expect(&h, "APPEND k2 x", ":16777218\r\n");
    harness_stop(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_do_not_copy),
        cmocka_unit_test(edits_leave_sent_values_alone),
        cmocka_unit_test(block_arguments_are_not_copied),
        cmocka_unit_test(lengths_are_bounded),
        cmocka_unit_test(costs_tell_long_from_short),
        cmocka_unit_test(shared_values_cost_a_copy),
    };
    return cmocka_run_group_tests(tests, make_big, drop_big);
}
