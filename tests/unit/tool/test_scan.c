/* The scanner: the same replies whole and cut at every byte. */
#include "tool/bench/scan.h"

#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Feed `in` in steps of `step` bytes; note each reply as a letter: v(alue) n(ull) e(rror),
 * B for broken, and a + at the end if the bytes stop within a reply. */
static void trace(enum scan_protocol protocol, struct str in, size_t step, char *out, char *text)
{
    struct scan s;
    scan_init(&s);
    for (size_t from = 0; from < in.n; from += step) {
        size_t to = from + step < in.n ? from + step : in.n;
        char piece[512]; /* a copy: what was scanned must not be needed again */
        memcpy(piece, in.p + from, to - from);
        const char *at = piece;
        enum scan_result r;
        while ((r = scan_next(&s, protocol, &at, piece + (to - from))) == SCAN_REPLY) {
            *out++ = s.kind == SCAN_NULL ? 'n' : s.kind == SCAN_ERROR ? 'e' : 'v';
            if (s.kind == SCAN_ERROR) {
                memcpy(text, scan_text(&s).p, scan_text(&s).n);
                text[scan_text(&s).n] = '\0';
            }
        }
        assert_true(at <= piece + (to - from));
        if (r == SCAN_BROKEN) {
            *out++ = 'B';
            break;
        }
    }
    if (!s.fresh && out[-1] != 'B')
        *out++ = '+';
    *out = '\0';
}

static void expect(enum scan_protocol protocol, struct str in, const char *replies, const char *text)
{
    for (size_t step = 1; step <= in.n; step++) {
        char got[64] = "....", error[SCAN_LINE_MAX + 1] = "";
        trace(protocol, in, step, got + 4, error);
        assert_string_equal(got + 4, replies);
        assert_string_equal(error, text);
    }
}

#define RESP(bytes, replies, text) expect(SCAN_RESP, STR(bytes), replies, text)
#define MC(bytes, replies, text) expect(SCAN_MEMCACHED, STR(bytes), replies, text)

static void resp_scalars(void **state)
{
    (void)state;
    RESP("+OK\r\n", "v", "");
    RESP(":-12\r\n", "v", "");
    RESP("$0\r\n\r\n$3\r\nabc\r\n", "vv", "");
    RESP("$11\r\nab\r\n-ERR\r\n\r\r\n+\r\n", "vv", "");
    RESP("$-1\r\n*-1\r\n_\r\n", "nnn", "");
    RESP(",1.5\r\n#t\r\n(12345678901234567890\r\n=7\r\ntxt:abc\r\n", "vvvv", "");
    RESP("-ERR no\r\n+OK\r\n", "ev", "ERR no");
    RESP("!5\r\nERR x\r\n+OK\r\n", "ev", "");
}

static void resp_aggregates(void **state)
{
    (void)state;
    RESP("*0\r\n~0\r\n%0\r\n+A\r\n", "vvvv", "");
    RESP("*2\r\n$1\r\na\r\n:1\r\n+B\r\n", "vv", "");
    RESP("*2\r\n*2\r\n:1\r\n*0\r\n$2\r\nxy\r\n$-1\r\n", "vn", "");
    RESP("%2\r\n+a\r\n*1\r\n:1\r\n+b\r\n~2\r\n:1\r\n:2\r\n_\r\n", "vn", "");
    /* An error or null inside is part of a value. */
    RESP("*2\r\n-ERR inner\r\n$-1\r\n:1\r\n", "vv", "");
    RESP("*1\r\n_\r\n", "v", "");
}

static void resp_pushes_and_attributes_are_no_replies(void **state)
{
    (void)state;
    RESP(">2\r\n+invalidate\r\n*1\r\n+k\r\n+OK\r\n", "v", "");
    RESP("|1\r\n+ttl\r\n:3600\r\n$-1\r\n+OK\r\n", "nv", "");
    RESP("|1\r\n+a\r\n_\r\n-ERR late\r\n", "e", "ERR late");
    RESP("*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n:2\r\n+OK\r\n", "vv", "");
}

static void resp_cut_replies_are_not_there_yet(void **state)
{
    (void)state;
    RESP("+OK\r\n$5\r\nabc", "v+", "");
    RESP("*2\r\n:1\r\n", "+", "");
}

static void resp_nonsense_is_found(void **state)
{
    (void)state;
    RESP("HTTP/1.1 400 Bad Request\r\n", "B", "");
    RESP("+OK\r\n\r\n", "vB", "");
    RESP("$x\r\n", "B", "");
    RESP("$-2\r\n", "B", "");
    RESP("*99999999999999999999\r\n", "B", "");
    RESP("*18446744073709551617\r\n", "B", ""); /* 2^64 + 1 must not become 1 */
    RESP("$\r\n", "B", "");
    RESP("STORED\r\n", "B", "");
}

static void memcached_replies(void **state)
{
    (void)state;
    MC("STORED\r\nEND\r\nVALUE k 0 3\r\nabc\r\nEND\r\nOK\r\n", "vnvv", "");
    MC("VALUE k 0 5\r\nEND\r\n\r\nEND\r\nEND\r\n", "vn", "");
    MC("VALUE a 0 1\r\nx\r\nVALUE b 7 0 99\r\n\r\nEND\r\n", "v", "");
    MC("17\r\nNOT_FOUND\r\nDELETED\r\nVERSION 1.6.18\r\n", "vvvv", "");
    MC("ERROR\r\nSTORED\r\n", "ev", "ERROR");
    MC("SERVER_ERROR out of memory storing object\r\n", "e", "SERVER_ERROR out of memory storing object");
    MC("CLIENT_ERROR bad data chunk\r\n", "e", "CLIENT_ERROR bad data chunk");
    MC("VALUE k 0 3\r\nab", "+", "");
}

static void memcached_nonsense_is_found(void **state)
{
    (void)state;
    MC("-ERR unknown command\r\n", "B", "");
    MC("$-1\r\n", "B", "");
    MC("VALUE k 0\r\n", "B", "");
    MC("VALUE k 0 x\r\n", "B", "");
}

/* The longest VALUE line there is, cut anywhere, still has its length. */
static void memcached_long_keys_fit(void **state)
{
    (void)state;
    char in[400] = "VALUE ";
    memset(in + 6, 'k', 250);
    snprintf(in + 256, sizeof in - 256, " 4294967295 3\r\nabc\r\nEND\r\nEND\r\n");
    expect(SCAN_MEMCACHED, (struct str){in, strlen(in)}, "vn", "");
}

static void a_long_error_is_cut_not_lost(void **state)
{
    (void)state;
    char in[600], expected[SCAN_LINE_MAX + 1], error[SCAN_LINE_MAX + 1] = "", got[16];
    memset(in, 'e', sizeof in);
    in[0] = '-';
    memcpy(in + 498, "\r\n", 2);
    memset(expected, 'e', SCAN_LINE_MAX);
    expected[SCAN_LINE_MAX] = '\0';
    trace(SCAN_RESP, (struct str){in, 500}, 500, got, error);
    assert_string_equal(got, "e");
    assert_string_equal(error, expected);
    trace(SCAN_RESP, (struct str){in, 500}, 7, got, error);
    assert_string_equal(got, "e");
    expected[SCAN_LINE_MAX - 1] = '\0'; /* the '-' has taken a place */
    assert_string_equal(error, expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resp_scalars),
        cmocka_unit_test(resp_aggregates),
        cmocka_unit_test(resp_pushes_and_attributes_are_no_replies),
        cmocka_unit_test(resp_cut_replies_are_not_there_yet),
        cmocka_unit_test(resp_nonsense_is_found),
        cmocka_unit_test(memcached_replies),
        cmocka_unit_test(memcached_nonsense_is_found),
        cmocka_unit_test(memcached_long_keys_fit),
        cmocka_unit_test(a_long_error_is_cut_not_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
