#include "unit/unit.h"

#include "base/alloc.h"
#include "base/annotate.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/rng.h"
#include "proto/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BULK_MAX = 512 * 1024 * 1024 };

static struct arena arena;

static struct request_parser new_parser(bool authenticated)
{
    return (struct request_parser){.bulk_max = BULK_MAX, .authenticated = authenticated};
}

/* A heap copy of exactly its size, so that ASan sees a byte read beyond the end. */
static struct str copy_of(struct str s)
{
    char *p = malloc(s.n > 0 ? s.n : 1);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    return (struct str){p, s.n};
}

static void free_copy(struct str s)
{
    free((void *)s.p);
}

/* "SET|k|v": the arguments as one text. */
static void join(struct buf *b, const struct request *r)
{
    buf_clear(b);
    for (uint32_t i = 0; i < r->argc; i++) {
        if (i > 0)
            buf_putc(b, '|');
        buf_puts(b, r->argv[i]);
    }
}

/* What redis-server 7.0.15 answered to the same bytes: it waited, it executed, or it
 * closed with an error. (Lines of a single argument count as executed.) */
#define WAITS "..."
struct expected {
    struct str in;
    const char *args;  /* NULL for an error */
    const char *error; /* behind "Protocol error: " */
    int rest;          /* bytes that belong to the next request */
};

static const struct expected cases[] = {
    {STR("*1\r\n$4\r\nPING\r\n"), "PING", NULL, 0},
    {STR("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello\r\n"), "SET|k|hello", NULL, 0},
    {STR("*2\r\n$4\r\nECHO\r\n$0\r\n\r\n"), "ECHO|", NULL, 0},
    {STR("*2\r\n$4\r\nECHO\r\n$3\r\nabcdef*1\r\n"), "ECHO|abc", NULL,
     5},                                        /* the CR LF behind is not looked at */
    {STR("*1\rX$4\rXPINGzz"), "PING", NULL, 0}, /* nor is the LF of a header */
    {STR("*0\r\n"), "", NULL, 0},
    {STR("*-1\r\n"), "", NULL, 0},
    {STR("*-5\r\n"), "", NULL, 0},
    {STR("*0\r\nPING\r\n"), "", NULL, 6},
    {STR("*-9223372036854775808\r\n"), "", NULL, 0},
    {STR("*1"), WAITS, NULL, 0},
    {STR("*1\r"), WAITS, NULL, 0},
    {STR("*1\r\n"), WAITS, NULL, 0},
    {STR("*1\rX"), WAITS, NULL, 0},
    {STR("*1\n$4\nPING\n"), WAITS, NULL, 0},
    {STR("*1\0\r\n"), WAITS, NULL, 0},
    {STR("*1\r\n$4\0\r\nPING\r\n"), WAITS, NULL, 0},
    {STR("*1\r\nP"), WAITS, NULL, 0},
    {STR("*1\r\nP\r"), WAITS, NULL, 0},
    {STR("*1\r\n\0\r\n"), WAITS, NULL, 0},
    {STR("*1\r\n$536870912\r\n"), WAITS, NULL, 0},
    {STR("*1048576\r\n"), WAITS, NULL, 0},
    {STR("*x\r\n"), NULL, "invalid multibulk length", 0},
    {STR("*\r\n"), NULL, "invalid multibulk length", 0},
    {STR("*1x\r\n"), NULL, "invalid multibulk length", 0},
    {STR("*01\r\n"), NULL, "invalid multibulk length", 0},
    {STR("*00\r\n"), NULL, "invalid multibulk length", 0},
    {STR("*001\r\n$4\r\nPING\r\n"), NULL, "invalid multibulk length", 0},
    {STR("*-0\r\n"), NULL, "invalid multibulk length", 0},
    {STR("*+1\r\n"), NULL, "invalid multibulk length", 0},
    {STR("* 1\r\n"), NULL, "invalid multibulk length", 0},
    {STR("*1048577\r\n"), NULL, "invalid multibulk length", 0}, /* Redis goes on to 2147483647 */
    {STR("*2147483648\r\n"), NULL, "invalid multibulk length", 0},
    {STR("*4294967297\r\n"), NULL, "invalid multibulk length", 0},
    {STR("*9223372036854775807\r\n"), NULL, "invalid multibulk length", 0},
    {STR("*9223372036854775808\r\n"), NULL, "invalid multibulk length", 0},
    {STR("*18446744073709551617\r\n"), NULL, "invalid multibulk length", 0},
    {STR("*1\r\nPING\r\n"), NULL, "expected '$', got 'P'", 0},
    {STR("*1\r\nP\rx"), NULL, "expected '$', got 'P'", 0},
    {STR("*3\r\n$3\r\nSET\r\n:1\r\n"), NULL, "expected '$', got ':'", 0},
    {STR("*1\r\n\r\n"), NULL, "expected '$', got '\r'", 0}, /* the reply writer makes it a space */
    {STR("*1\r\n\n\r\n"), NULL, "expected '$', got '\n'", 0},
    {STR("*1\r\n*1\r\n$4\r\nPING\r\n"), NULL, "expected '$', got '*'", 0},
    {STR("*1\r\n44\r\nPING\r\n"), NULL, "expected '$', got '4'", 0},
    {STR("*1\r\n$\r\n"), NULL, "invalid bulk length", 0},
    {STR("*1\r\n$-1\r\n"), NULL, "invalid bulk length", 0},
    {STR("*1\r\n$-0\r\n\r\n"), NULL, "invalid bulk length", 0},
    {STR("*1\r\n$x\r\n"), NULL, "invalid bulk length", 0},
    {STR("*1\r\n$04\r\nPING\r\n"), NULL, "invalid bulk length", 0},
    {STR("*1\r\n$004\r\nPING\r\n"), NULL, "invalid bulk length", 0},
    {STR("*1\r\n$4x\r\nPING\r\n"), NULL, "invalid bulk length", 0},
    {STR("*1\r\n$12x\r\nPING\r\n"), NULL, "invalid bulk length", 0},
    {STR("*1\r\n$536870913\r\n"), NULL, "invalid bulk length", 0},
    {STR("*1\r\n$4294967300\r\nPING\r\n"), NULL, "invalid bulk length", 0},
    {STR("*1\r\n$9223372036854775807\r\n"), NULL, "invalid bulk length", 0},
    {STR("*1\r\n$9223372036854775808\r\n"), NULL, "invalid bulk length", 0},
    {STR("*1\r\n$18446744073709551620\r\nPING\r\n"), NULL, "invalid bulk length", 0},
    {STR("\r\n"), "", NULL, 0},
    {STR("\n"), "", NULL, 0},
    {STR("   \r\n"), "", NULL, 0},
    {STR("PING\r\n"), "PING", NULL, 0},
    {STR("PING\n"), "PING", NULL, 0},
    {STR("PING\nPING\n"), "PING", NULL, 5},
    {STR("PING\r\r\n"), "PING", NULL, 0},
    {STR("SET  k\t\"a b\" \r\n"), "SET|k|a b", NULL, 0},
    {STR("ECHO a\"b c\"\r\n"), "ECHO|ab c", NULL, 0},
    {STR("ECHO a\vb\r\n"), "ECHO|a\vb", NULL, 0},
    {STR("\vPING\r\n"), "PING", NULL, 0},
    {STR("ECHO \"\"\r\n"), "ECHO|", NULL, 0},
    {STR("$4\r\nPING\r\n"), "$4", NULL, 6},
    {STR("PING"), WAITS, NULL, 0},
    {STR("PING\r"), WAITS, NULL, 0},
    {STR("PING\0\r\n"), WAITS, NULL, 0},
    {STR("PI\0NG\r\nPING\r\n"), WAITS, NULL, 0},
    {STR(""), WAITS, NULL, 0},
    {STR("PING \"a\r\n"), NULL, "unbalanced quotes in request", 0},
    {STR("PING 'a\r\n"), NULL, "unbalanced quotes in request", 0},
    {STR("PING \"a\"b\r\n"), NULL, "unbalanced quotes in request", 0},
};

static void assert_parses_as(struct request_parser *p, struct str in, const struct expected *want)
{
    struct request r = {0};
    struct buf b;
    char error[128];
    int err = request_parse(p, in, &arena, &r);
    buf_init(&b);
    if (want->error != NULL) {
        snprintf(error, sizeof error, "Protocol error: %s", want->error);
        assert_int_equal(err, ERR_PROTO);
        assert_string_equal(p->error, error);
    } else if (strcmp(want->args, WAITS) == 0) {
        assert_int_equal(err, ERR_AGAIN);
        assert_true(p->need >= 1);
    } else {
        assert_int_equal(err, 0);
        join(&b, &r);
        assert_str(buf_str(&b), str_of(want->args));
        assert_int_equal(r.bytes, want->in.n - (size_t)want->rest);
    }
    buf_release(&b);
    arena_reset(&arena);
}

static void answers_as_redis_does(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct request_parser p = new_parser(true);
        struct str in = copy_of(cases[i].in);
        assert_parses_as(&p, in, &cases[i]);
        free_copy(in);
    }
}

/* A byte at a time, with and without remembering the progress: not a byte before the
 * last one is there is the answer anything but "wait". */
static void cut_at_every_byte(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t whole = cases[i].in.n - (size_t)cases[i].rest;
        if (cases[i].error != NULL || strcmp(cases[i].args, WAITS) == 0)
            continue;
        for (int remember = 0; remember < 2; remember++) {
            struct request_progress progress = {0};
            struct request_parser p = new_parser(true);
            struct request r;
            p.progress = remember ? &progress : NULL;
            for (size_t n = 0; n < whole; n++) {
                struct str in = copy_of((struct str){cases[i].in.p, n});
                assert_int_equal(request_parse(&p, in, &arena, &r), ERR_AGAIN);
                assert_in_range(p.need, 1, whole - n);
                free_copy(in);
            }
            assert_parses_as(&p, cases[i].in, &cases[i]);
            assert_int_equal(progress.argc, 0);
        }
    }
}

/* An error stays the same error whatever the pieces were, and is seen no later than
 * when its line has ended. */
static void errors_do_not_depend_on_the_cut(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (cases[i].error == NULL)
            continue;
        struct request_progress progress = {0};
        struct request_parser p = new_parser(true);
        struct request r;
        int err = ERR_AGAIN;
        p.progress = &progress;
        for (size_t n = 0; n <= cases[i].in.n && err == ERR_AGAIN; n++)
            err = request_parse(&p, (struct str){cases[i].in.p, n}, &arena, &r);
        assert_int_equal(err, ERR_PROTO);
        assert_string_equal(p.error + strlen("Protocol error: "), cases[i].error);
        arena_reset(&arena);
    }
}

static void before_authentication_little_is_allowed(void **state)
{
    static const struct expected limits[] = {
        {STR("*10\r\n"), WAITS, NULL, 0},
        {STR("*11\r\n"), NULL, "unauthenticated multibulk length", 0},
        {STR("*1000\r\n"), NULL, "unauthenticated multibulk length", 0},
        {STR("*2147483648\r\n"), NULL, "invalid multibulk length", 0},
        {STR("*2\r\n$16384\r\n"), WAITS, NULL, 0},
        {STR("*2\r\n$16385\r\n"), NULL, "unauthenticated bulk length", 0},
        {STR("*1\r\n$536870913\r\n"), NULL, "invalid bulk length", 0},
        {STR("*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$1\r\np\r\n"), "AUTH|u|p", NULL, 0},
        {STR("PING a b c d e f g h i j k l\r\n"), "PING|a|b|c|d|e|f|g|h|i|j|k|l", NULL, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        struct request_parser p = new_parser(false);
        assert_parses_as(&p, limits[i].in, &limits[i]);
    }
}

/* A line of exactly the limit still waits, one byte more is too long; the same for
 * each of the three kinds of line, and a line end just within is found. */
static void lines_have_a_limit(void **state)
{
    static const struct {
        const char *head, *error;
    } kinds[] = {
        {"", "too big inline request"},
        {"*", "too big mbulk count string"},
        {"*1\r\n$", "too big bulk count string"},
    };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        size_t before = i == 2 ? 4 : 0, n = before + REQUEST_INLINE_MAX;
        char *line = malloc(n + 3);
        struct request_parser p = new_parser(true);
        struct request r;
        memset(line, '1', n + 3);
        memcpy(line, kinds[i].head, strlen(kinds[i].head));
        assert_int_equal(request_parse(&p, (struct str){line, n}, &arena, &r), ERR_AGAIN);
        for (size_t more = 1; more <= 3; more++) {
            assert_int_equal(request_parse(&p, (struct str){line, n + more}, &arena, &r), ERR_PROTO);
            assert_string_equal(p.error + strlen("Protocol error: "), kinds[i].error);
        }
        line[n + 1] = i == 0 ? '\n' : '\r'; /* an end that comes too late, although it is there */
        assert_int_equal(request_parse(&p, (struct str){line, n + 3}, &arena, &r), ERR_PROTO);
        assert_string_equal(p.error + strlen("Protocol error: "), kinds[i].error);
        line[n] = i == 0 ? '\n' : '\r';
        int err = request_parse(&p, (struct str){line, n + 3}, &arena, &r);
        if (i == 0) {
            assert_int_equal(err, 0);
            assert_int_equal(r.bytes, n + 1);
        } else {
            assert_int_equal(err, ERR_PROTO);
            assert_non_null(strstr(p.error, "invalid"));
        }
        free(line);
        arena_reset(&arena);
    }
}

static void need_is_exact_for_a_large_argument(void **state)
{
    static const size_t sizes[] = {0, 1, 9, 10, 99, 100, 999, 1000, 1001, 65535, 65536, 1000000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct buf b;
        struct request r;
        struct request_progress progress = {0};
        struct request_parser p = new_parser(true);
        buf_init(&b);
        p.progress = &progress;
        buf_printf(&b, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%zu\r\n", sizes[i]);
        assert_int_equal(request_parse(&p, buf_str(&b), &arena, &r), ERR_AGAIN);
        assert_int_equal(p.need, sizes[i] + 2);
        assert_int_equal(progress.args, 2);
        assert_int_equal(progress.argc, 3);
        for (size_t left = sizes[i] + 2; left > 0; left--) {
            size_t piece = left > 7777 ? 7777 : left;
            assert_int_equal(request_parse(&p, buf_str(&b), &arena, &r), ERR_AGAIN);
            assert_int_equal(p.need, left);
            for (size_t j = 0; j < piece; j++)
                buf_putc(&b, 'v');
            left -= piece - 1;
        }
        assert_int_equal(request_parse(&p, buf_str(&b), &arena, &r), 0);
        assert_int_equal(r.argc, 3);
        assert_int_equal(r.argv[2].n, sizes[i]);
        assert_int_equal(r.bytes, b.n);
        buf_release(&b);
        arena_reset(&arena);
    }
}

static void a_short_lie_buys_no_memory(void **state)
{
    static const struct str lies[] = {STR("*1048576\r\n"), STR("*1000000\r\n$3\r\nSET\r\n"),
                                      STR("*1000\r\n$1")};
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        struct arena fresh;
        struct request_parser p = new_parser(true);
        struct request r;
        arena_init(&fresh);
        assert_int_equal(request_parse(&p, lies[i], &fresh, &r), ERR_AGAIN);
        assert_int_equal(fresh.held, 0);
        arena_release(&fresh);
    }
}

static void random_requests_go_round(void **state)
{
    struct rng rng;
    struct buf b, model, got;
    rng_init(&rng, 31);
    buf_init(&b);
    buf_init(&model);
    buf_init(&got);
    for (int round = 0; round < 3000; round++) {
        enum { REQUESTS = 5 };
        uint32_t argc[REQUESTS];
        buf_clear(&b);
        buf_clear(&model);
        buf_clear(&got);
        for (int i = 0; i < REQUESTS; i++) { /* a pipeline of arguments with any bytes in them */
            argc[i] = (uint32_t)(1 + rng_below(&rng, rng_below(&rng, 20) == 0 ? 1200 : 6));
            buf_printf(&b, "*%u\r\n", argc[i]);
            for (uint32_t j = 0; j < argc[i]; j++) {
                char arg[1100];
                size_t n = rng_below(&rng, rng_below(&rng, 10) == 0 ? sizeof arg : 20);
                for (size_t k = 0; k < n; k++)
                    arg[k] = rng_below(&rng, 4) ? "\r\n$*0123"[rng_below(&rng, 8)] : (char)rng_u64(&rng);
                buf_printf(&b, "$%zu\r\n", n);
                buf_append(&b, arg, n);
                buf_append(&b, "\r\n", 2);
                buf_printf(&model, "%zu:", n);
                buf_append(&model, arg, n);
            }
        }
        struct request_progress progress = {0};
        struct request_parser p = new_parser(true);
        size_t at = 0, seen = 0;
        p.progress = round % 2 ? &progress : NULL;
        for (int i = 0; i < REQUESTS;) { /* arriving in random pieces */
            struct request r;
            struct str in = {b.p + at, seen - at};
            int err = request_parse(&p, in, &arena, &r);
            if (err == ERR_AGAIN) {
                assert_true(p.need <= b.n - seen);
                size_t more = 1 + rng_below(&rng, rng_below(&rng, 2) ? 30 : 3000);
                seen = seen + more < b.n ? seen + more : b.n;
                continue;
            }
            assert_int_equal(err, 0);
            assert_int_equal(r.argc, argc[i]);
            for (uint32_t j = 0; j < r.argc; j++) {
                buf_printf(&got, "%zu:", r.argv[j].n);
                buf_puts(&got, r.argv[j]);
            }
            at += r.bytes;
            i++;
        }
        assert_int_equal(at, b.n);
        assert_str(buf_str(&got), buf_str(&model));
        arena_reset(&arena);
    }
    buf_release(&b);
    buf_release(&model);
    buf_release(&got);
}

/* Bytes that are nearly a request: whatever comes of them does not depend on where
 * they were cut, nor on remembering. */
static void damaged_requests_do_not_depend_on_the_cut(void **state)
{
    struct rng rng;
    rng_init(&rng, 32);
    for (int round = 0; round < 200000; round++) {
        static const char whole[] = "*3\r\n$3\r\nSET\r\n$2\r\nkk\r\n$12\r\nhello world!\r\n";
        char text[sizeof whole];
        size_t n = sizeof whole - 1;
        memcpy(text, whole, sizeof whole);
        for (uint64_t hits = 1 + rng_below(&rng, 3); hits > 0; hits--)
            text[rng_below(&rng, n)] = "\r\n\0$*0159-x \""[rng_below(&rng, 12)];
        struct request_progress progress = {0};
        struct request_parser once = new_parser(true), bytewise = new_parser(true);
        struct request a = {0}, b = {0};
        int want = request_parse(&once, (struct str){text, n}, &arena, &a), got = ERR_AGAIN;
        bytewise.progress = round % 2 ? &progress : NULL;
        for (size_t cut = 1 + rng_below(&rng, n); got == ERR_AGAIN;) {
            got = request_parse(&bytewise, (struct str){text, cut}, &arena, &b);
            if (cut == n)
                break;
            cut += 1 + rng_below(&rng, n - cut);
        }
        assert_int_equal(got, want);
        if (want == 0) {
            assert_int_equal(a.bytes, b.bytes);
            assert_int_equal(a.argc, b.argc);
            for (uint32_t i = 0; i < a.argc; i++)
                assert_str(a.argv[i], b.argv[i]);
        } else if (want == ERR_PROTO) {
            assert_string_equal(once.error, bytewise.error);
        } else {
            assert_int_equal(once.need, bytewise.need);
        }
        arena_reset(&arena);
    }
}

static void lines_split_as_redis_cli_splits_them(void **state)
{
    static const struct {
        struct str line;
        const char *args; /* NULL: unbalanced */
        uint32_t argc;
    } lines[] = {
        {STR(""), "", 0},
        {STR(" \t "), "", 0},
        {STR("a"), "a", 1},
        {STR("save 900 1"), "save|900|1", 3},
        {STR("  a  b  "), "a|b", 2},
        {STR("\"\" ''"), "|", 2},
        {STR("\"a b\" 'c d'"), "a b|c d", 2},
        {STR("\"\\x41\\x4a\\n\\r\\t\\b\\a\\\\\\\"\\q\""), "AJ\n\r\t\b\a\\\"q", 1},
        {STR("\"\\x4\" \"\\xg1\" \"\\x\""), "x4|xg1|x", 3},
        {STR("'\\n\\'\\x41'"), "\\n'\\x41", 1},
        {STR("a\"b\" c'd'"), "ab|cd", 2},
        {STR("a\\nb"), "a\\nb", 1},
        {STR("\"a\"\t\"b\""), "a|b", 2},
        {STR("\""), NULL, 0},
        {STR("'"), NULL, 0},
        {STR("a \"b"), NULL, 0},
        {STR("\"a\\\""), NULL, 0},
        {STR("'a\\'"), NULL, 0},
        {STR("'a\\\\'"), NULL, 0}, /* the second backslash escapes the quote all the same */
        {STR("\"a\"b"), NULL, 0},
        {STR("'a'\"b\""), NULL, 0},
        {STR("\"\\x4"), NULL, 0},
    };
    struct buf b;
    buf_init(&b);
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct request r = {0};
        struct str line = copy_of(lines[i].line);
        int err = request_split_line(line, &arena, &r.argv, &r.argc, 100);
        assert_int_equal(err, lines[i].args != NULL ? 0 : ERR_SYNTAX);
        if (err == 0) {
            assert_int_equal(r.argc, lines[i].argc);
            join(&b, &r);
            assert_str(buf_str(&b), str_of(lines[i].args));
        }
        free_copy(line);
    }
    buf_release(&b);
}

static void lines_have_a_limit_of_arguments(void **state)
{
    struct buf b;
    struct str *argv;
    uint32_t argc;
    buf_init(&b);
    for (int n = 0; n < 200; n++) {
        assert_int_equal(request_split_line(buf_str(&b), &arena, &argv, &argc, (uint32_t)n), 0);
        assert_int_equal(argc, n);
        for (int i = 0; i < n; i++) {
            char want[16];
            snprintf(want, sizeof want, "a%d", i);
            assert_str(argv[i], str_of(want));
        }
        buf_printf(&b, " a%d", n);
        assert_int_equal(request_split_line(buf_str(&b), &arena, &argv, &argc, (uint32_t)n), ERR_FULL);
        arena_reset(&arena);
    }
    buf_release(&b);
}

#ifdef LARDER_DEBUG
static void out_of_memory_is_said(void **state)
{
    static const struct str inputs[] = {STR("*1\r\n$4\r\nPING\r\n"), STR("PING a b c\r\n")};
    for (size_t i = 0; i < ARRAY_LEN(inputs); i++) {
        struct arena fresh;
        struct request_parser p = new_parser(true);
        struct request r;
        arena_init(&fresh);
        alloc_fail_after(1);
        assert_int_equal(request_parse(&p, inputs[i], &fresh, &r), ERR_OOM);
        assert_int_equal(request_parse(&p, inputs[i], &fresh, &r), 0);
        arena_release(&fresh);
    }
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
        cmocka_unit_test(answers_as_redis_does),
        cmocka_unit_test(cut_at_every_byte),
        cmocka_unit_test(errors_do_not_depend_on_the_cut),
        cmocka_unit_test(before_authentication_little_is_allowed),
        cmocka_unit_test(lines_have_a_limit),
        cmocka_unit_test(need_is_exact_for_a_large_argument),
        cmocka_unit_test(a_short_lie_buys_no_memory),
        cmocka_unit_test(random_requests_go_round),
        cmocka_unit_test(damaged_requests_do_not_depend_on_the_cut),
        cmocka_unit_test(lines_split_as_redis_cli_splits_them),
        cmocka_unit_test(lines_have_a_limit_of_arguments),
#ifdef LARDER_DEBUG
        cmocka_unit_test(out_of_memory_is_said),
#endif
    };
    return cmocka_run_group_tests_name("request", tests, NULL, teardown);
}
