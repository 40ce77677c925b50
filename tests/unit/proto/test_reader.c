#include "unit/unit.h"

#include "base/alloc.h"
#include "base/annotate.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/rng.h"
#include "proto/reader.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BULK_MAX = 1024 * 1024 };

static struct arena arena;

/* Parses a heap copy of exactly its size, so that ASan sees a byte read beyond the
 * end; the values point into the copy, which the caller frees. */
static int parse(struct str in, struct reader_value *v, size_t *used, size_t *need, char **copy)
{
    *copy = malloc(in.n > 0 ? in.n : 1);
    if (in.n > 0)
        memcpy(*copy, in.p, in.n);
    return reader_parse((struct str){*copy, in.n}, BULK_MAX, &arena, v, used, need);
}

/* A value as text: kinds by a word, strings quoted, aggregates in brackets. */
static void describe(struct buf *b, const struct reader_value *v)
{
    static const char *const names[] = {"status", "error", "int", "bulk", "null", "array", "map",    "set",
                                        "push",   "attr",  "dbl", "bool", "big",  "verb",  "bloberr"};
    buf_printf(b, "%s", names[v->kind]);
    switch (v->kind) {
    case READ_INT:
    case READ_BOOL: buf_printf(b, "(%" PRId64 ")", v->integer); return;
    case READ_NULL: return;
    case READ_DOUBLE: buf_printf(b, "(%g)", v->number); return;
    case READ_ARRAY:
    case READ_MAP:
    case READ_SET:
    case READ_PUSH:
    case READ_ATTRIBUTE:
        for (uint64_t i = 0; i < v->n; i++) {
            buf_putc(b, i == 0 ? '[' : ' ');
            describe(b, &v->children[i]);
        }
        buf_puts(b, v->n == 0 ? STR("[]") : STR("]"));
        assert_int_equal(v->n == 0, v->children == NULL);
        return;
    default: buf_put_quoted(b, v->text);
    }
}

static const struct {
    struct str in;
    const char *want;
    size_t rest;
} good[] = {
    {STR("+OK\r\n"), "status\"OK\"", 0},
    {STR("+\r\n"), "status\"\"", 0},
    {STR("-ERR no\r\n"), "error\"ERR no\"", 0},
    {STR(":0\r\n"), "int(0)", 0},
    {STR(":-9223372036854775808\r\n"), "int(-9223372036854775808)", 0},
    {STR(":9223372036854775807\r\n+next"), "int(9223372036854775807)", 5},
    {STR("$0\r\n\r\n"), "bulk\"\"", 0},
    {STR("$5\r\na\r\nb\0\r\n"), "bulk\"a\\r\\nb\\x00\"", 0},
    {STR("$-1\r\n"), "null", 0},
    {STR("*-1\r\n"), "null", 0},
    {STR("_\r\n"), "null", 0},
    {STR("*0\r\n"), "array[]", 0},
    {STR("%0\r\n"), "map[]", 0},
    {STR("*2\r\n*1\r\n:1\r\n$1\r\na\r\n"), "array[array[int(1)] bulk\"a\"]", 0},
    {STR("%2\r\n+a\r\n:1\r\n+b\r\n_\r\n"), "map[status\"a\" int(1) status\"b\" null]", 0},
    {STR("~2\r\n:1\r\n:2\r\n:3\r\n"), "set[int(1) int(2)]", 4},
    {STR(">2\r\n+message\r\n+x\r\n"), "push[status\"message\" status\"x\"]", 0},
    {STR(",1.5\r\n"), "dbl(1.5)", 0},
    {STR(",-inf\r\n"), "dbl(-inf)", 0},
    {STR(",nan\r\n"), "dbl(nan)", 0},
    {STR("#t\r\n"), "bool(1)", 0},
    {STR("#f\r\n"), "bool(0)", 0},
    {STR("(-123456789012345678901234567890\r\n"), "big\"-123456789012345678901234567890\"", 0},
    {STR("=8\r\ntxt:some\r\n"), "verb\"some\"", 0},
    {STR("=4\r\ntxt:\r\n"), "verb\"\"", 0},
    {STR("!6\r\nERR no\r\n"), "bloberr\"ERR no\"", 0},
    /* Before a reply an attribute is a value of its own; within one it is dropped. */
    {STR("|1\r\n+ttl\r\n:9\r\n+OK\r\n"), "attr[status\"ttl\" int(9)]", 5},
    {STR("*2\r\n|1\r\n+a\r\n|1\r\n+b\r\n+c\r\n+d\r\n:1\r\n:2\r\n"), "array[int(1) int(2)]", 0},
};

static void replies_become_values(void **state)
{
    struct buf b;
    buf_init(&b);
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct reader_value v;
        size_t used, need;
        char *copy;
        assert_int_equal(parse(good[i].in, &v, &used, &need, &copy), 0);
        buf_clear(&b);
        describe(&b, &v);
        assert_str(buf_str(&b), str_of(good[i].want));
        assert_int_equal(used, good[i].in.n - good[i].rest);
        free(copy);
        arena_reset(&arena);
    }
    buf_release(&b);
}

static void cut_at_every_byte(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        size_t whole = good[i].in.n - good[i].rest, skipped;
        bool error, null;
        for (size_t n = 0; n < whole; n++) {
            struct reader_value v;
            size_t used, need = 0;
            char *copy;
            assert_int_equal(parse((struct str){good[i].in.p, n}, &v, &used, &need, &copy), ERR_AGAIN);
            assert_in_range(need, 1, whole - n);
            assert_int_equal(reader_skip((struct str){copy, n}, &skipped, &error, &null), ERR_AGAIN);
            free(copy);
            arena_reset(&arena);
        }
    }
}

static void skip_says_length_error_and_null(void **state)
{
    static const struct {
        struct str in;
        size_t used;
        bool error, null;
    } cases[] = {
        {STR("+OK\r\n+OK\r\n"), 5, false, false},
        {STR("-ERR\r\n"), 6, true, false},
        {STR("!3\r\nERR\r\n"), 9, true, false},
        {STR("$-1\r\n"), 5, false, true},
        {STR("*-1\r\n"), 5, false, true},
        {STR("_\r\n"), 3, false, true},
        {STR("*2\r\n-ERR\r\n$-1\r\n"), 15, false, false}, /* the whole is neither */
        {STR("*1\r\n*1\r\n_\r\n:1\r\n"), 11, false, false},
        {STR("|1\r\n+a\r\n-b\r\n_\r\n"), 15, false, true}, /* with its attribute */
        {STR("|1\r\n_\r\n_\r\n-x\r\n"), 14, true, false},
        {STR("|1\r\n*1\r\n:1\r\n:2\r\n*1\r\n_\r\n:3\r\n"), 23, false, false},
        {STR("%1\r\n|1\r\n:1\r\n:2\r\n:3\r\n:4\r\n:5\r\n"), 24, false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t used;
        bool error, null;
        assert_int_equal(reader_skip(cases[i].in, &used, &error, &null), 0);
        assert_int_equal(used, cases[i].used);
        assert_int_equal(error, cases[i].error);
        assert_int_equal(null, cases[i].null);
    }
}

static void hostile_replies_are_refused(void **state)
{
    static const struct str bad[] = {
        STR("OK\r\n"),
        STR("\r\n"),
        STR("\0\r\n"),
        STR("+a\rb\r\n"),
        STR(":\r\n"),
        STR(":1x\r\n"),
        STR(":01\r\n"),
        STR(":9223372036854775808\r\n"),
        STR("$\r\n"),
        STR("$-2\r\n"),
        STR("$x\r\n"),
        STR("$1048577\r\n"),
        STR("$4294967296\r\n"),
        STR("$9223372036854775807\r\n"),
        STR("$18446744073709551615\r\n"),
        STR("$1\r\nabc"),
        STR("$1\r\na\rc"),
        STR("$1\r\nab\n"),
        STR("!-1\r\n"),
        STR("=-1\r\n"),
        STR("=3\r\ntxt\r\n"),
        STR("=5\r\ntext:\r\n"),
        STR("*-2\r\n"),
        STR("%-1\r\n"),
        STR("~-1\r\n"),
        STR(">-1\r\n"),
        STR("|-1\r\n"),
        STR("*1073741825\r\n"),
        STR("%1073741825\r\n"),
        STR("*4294967297\r\n"),
        STR("*9223372036854775807\r\n"),
        STR("%9223372036854775807\r\n"),
        STR("*?\r\n"),
        STR("_x\r\n"),
        STR("#x\r\n"),
        STR("#\r\n"),
        STR("#tt\r\n"),
        STR(",\r\n"),
        STR(",x\r\n"),
        STR(", 1\r\n"),
        STR("*2\r\n:1\r\n?\r\n"),
        STR("%1\r\n:1\r\n?x\r\n"),
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct reader_value v;
        size_t used, need;
        char *copy;
        int err = parse(bad[i], &v, &used, &need, &copy);
        if (err != ERR_PROTO)
            fail_msg("\"%.*s\": %s", (int)bad[i].n, bad[i].p, err_name(err));
        free(copy);
        arena_reset(&arena);
    }
}

static void a_bulk_is_limited_by_the_caller(void **state)
{
    struct reader_value v;
    size_t used, need;
    assert_int_equal(reader_parse(STR("$10\r\n"), 10, &arena, &v, &used, &need), ERR_AGAIN);
    assert_int_equal(need, 12);
    assert_int_equal(reader_parse(STR("$11\r\n"), 10, &arena, &v, &used, &need), ERR_PROTO);
}

static void lines_are_limited(void **state)
{
    char *line = malloc(READER_LINE_MAX + 2);
    struct reader_value v;
    size_t used, need;
    memset(line, '+', READER_LINE_MAX + 2);
    assert_int_equal(
        reader_parse((struct str){line, READER_LINE_MAX - 1}, BULK_MAX, &arena, &v, &used, &need), ERR_AGAIN);
    for (size_t n = READER_LINE_MAX; n <= READER_LINE_MAX + 2; n++)
        assert_int_equal(reader_parse((struct str){line, n}, BULK_MAX, &arena, &v, &used, &need), ERR_PROTO);
    line[READER_LINE_MAX - 1] = '\r'; /* the last place where it may end */
    line[READER_LINE_MAX] = '\n';
    assert_int_equal(reader_parse((struct str){line, READER_LINE_MAX}, BULK_MAX, &arena, &v, &used, &need),
                     ERR_AGAIN);
    assert_int_equal(
        reader_parse((struct str){line, READER_LINE_MAX + 1}, BULK_MAX, &arena, &v, &used, &need), 0);
    free(line);
}

static void depth_is_limited(void **state)
{
    for (size_t depth = READER_DEPTH_MAX - 2; depth <= READER_DEPTH_MAX + 2; depth++) {
        struct buf b;
        struct reader_value v;
        size_t used, need;
        bool error, null;
        buf_init(&b);
        for (size_t i = 0; i < depth; i++)
            buf_puts(&b, i % 2 ? STR("*1\r\n") : STR("~1\r\n"));
        buf_puts(&b, STR(":1\r\n"));
        assert_int_equal(reader_parse(buf_str(&b), BULK_MAX, &arena, &v, &used, &need),
                         depth <= READER_DEPTH_MAX ? 0 : ERR_PROTO);
        assert_int_equal(reader_skip(buf_str(&b), &used, &error, &null), 0); /* which needs no stack */
        assert_int_equal(used, b.n);
        buf_release(&b);
        arena_reset(&arena);
    }
}

static void a_billion_announced_buy_no_memory(void **state)
{
    static const struct str lies[] = {STR("*1073741824\r\n"), STR("%1000000000\r\n:1\r\n:2\r\n"),
                                      STR("~1000000\r\n*1000000\r\n"), STR("|99999999\r\n")};
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        struct arena fresh;
        struct reader_value v;
        size_t used, need = 0;
        arena_init(&fresh);
        assert_int_equal(reader_parse(lies[i], BULK_MAX, &fresh, &v, &used, &need), ERR_AGAIN);
        assert_int_equal(fresh.held, 0);
        assert_true(need > 1000000);
        arena_release(&fresh);
    }
}

/* Skipping nested giants must not let the count of what is to come wrap around. */
static void skip_counts_without_wrapping(void **state)
{
    struct buf b;
    size_t used;
    bool error, null;
    buf_init(&b);
    for (int i = 0; i < 100; i++)
        buf_puts(&b, STR("%1073741824\r\n"));
    assert_int_equal(reader_skip(buf_str(&b), &used, &error, &null), ERR_AGAIN);
    buf_release(&b);
}

/* Bytes that are nearly a reply: parse and skip agree, on any cut and without one. */
static void damaged_replies(void **state)
{
    static const char whole[] =
        "*4\r\n$3\r\nabc\r\n%1\r\n+k\r\n,1.5\r\n|1\r\n+a\r\n#t\r\n~2\r\n:1\r\n_\r\n-ERR x\r\n";
    struct rng rng;
    rng_init(&rng, 61);
    unsigned parsed = 0;
    for (int round = 0; round < 200000; round++) {
        char text[sizeof whole], *copy;
        size_t n = sizeof whole - 1, used = 0, need = 0, skipped = 0;
        bool error, null;
        struct reader_value v;
        memcpy(text, whole, sizeof whole);
        for (uint64_t hits = rng_below(&rng, 4); hits > 0; hits--)
            text[rng_below(&rng, n)] = "\r\n\0$*%~|_:#,0129-x"[rng_below(&rng, 18)];
        int err = parse((struct str){text, n}, &v, &used, &need, &copy);
        free(copy);
        if (err == 0 && text[0] != '|') { /* what can be parsed can be skipped */
            assert_int_equal(reader_skip((struct str){text, n}, &skipped, &error, &null), 0);
            assert_int_equal(skipped, used);
            parsed++;
        }
        size_t cut = rng_below(&rng, n + 1), before, before_need = 0;
        int early = parse((struct str){text, cut}, &v, &before, &before_need, &copy);
        free(copy);
        if (early == ERR_AGAIN) {
            assert_true(before_need >= 1);
            if (err == 0)
                assert_true(cut + before_need <= used);
        } else {
            assert_int_equal(early, err);
            if (early == 0)
                assert_int_equal(before, used);
        }
        arena_reset(&arena);
    }
    assert_true(parsed > 20000);
}

#ifdef LARDER_DEBUG
static void out_of_memory_is_said(void **state)
{
    struct arena fresh;
    struct reader_value v;
    size_t used, need;
    arena_init(&fresh);
    alloc_fail_after(1);
    assert_int_equal(reader_parse(STR("*1\r\n:1\r\n"), BULK_MAX, &fresh, &v, &used, &need), ERR_OOM);
    assert_int_equal(reader_parse(STR("*1\r\n:1\r\n"), BULK_MAX, &fresh, &v, &used, &need), 0);
    arena_release(&fresh);
}
#endif

static int teardown(void **state)
{
    arena_release(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_become_values),
        cmocka_unit_test(cut_at_every_byte),
        cmocka_unit_test(skip_says_length_error_and_null),
        cmocka_unit_test(hostile_replies_are_refused),
        cmocka_unit_test(a_bulk_is_limited_by_the_caller),
        cmocka_unit_test(lines_are_limited),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(a_billion_announced_buy_no_memory),
        cmocka_unit_test(skip_counts_without_wrapping),
        cmocka_unit_test(damaged_replies),
#ifdef LARDER_DEBUG
        cmocka_unit_test(out_of_memory_is_said),
#endif
    };
    return cmocka_run_group_tests_name("reader", tests, NULL, teardown);
}
