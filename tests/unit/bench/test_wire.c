/* Requests as bytes, and replies cut at every byte. */
#include "base/err.h"
#include "bench/replay/wire.h"

#include <stdio.h>

#include "unit.h"

enum { KEY_BYTES = 10 };

struct seen {
    char text[256]; /* "+5" a hit of tag 5, "-5" a miss, "s" stored, "x" refused */
    size_t n;
};

static void answered(void *arg, uint32_t tag, bool hit)
{
    struct seen *s = arg;
    s->n += (size_t)snprintf(s->text + s->n, sizeof s->text - s->n, "%c%u", hit ? '+' : '-', tag);
}

static void stored(void *arg, bool ok)
{
    struct seen *s = arg;
    s->n += (size_t)snprintf(s->text + s->n, sizeof s->text - s->n, ok ? "s" : "x");
}

/* wire.c's queue makes struct wire large. */
static struct wire *new_wire(enum scan_protocol protocol)
{
    struct wire *w = test_calloc(1, sizeof *w);
    wire_init(w, protocol, KEY_BYTES);
    return w;
}

static void free_wire(struct wire *w)
{
    wire_release(w);
    test_free(w);
}

static void ask(struct wire *w)
{
    wire_get(w, 7, 1);
    wire_get(w, 8, 2);
    wire_get(w, 9, 3);
    wire_set(w, 7, "abc", 3, 1500);
    wire_set(w, 8, "", 0, 0);
    wire_get(w, 4000000000, 4);
    wire_flush(w);
}

static void requests_of_resp(void **state)
{
    (void)state;
    struct wire *w = new_wire(SCAN_RESP);
    wire_get(w, 4000000000, 1);
    wire_set(w, 7, "abc", 3, 1500);
    wire_set(w, 8, "", 0, 0);
    wire_flush(w);
    assert_str(buf_str(&w->out),
               STR("*2\r\n$3\r\nGET\r\n$10\r\n4000000000\r\n"
                   "*5\r\n$3\r\nSET\r\n$10\r\n0000000007\r\n$3\r\nabc\r\n$2\r\nPX\r\n$4\r\n1500\r\n"
                   "*3\r\n$3\r\nSET\r\n$10\r\n0000000008\r\n$0\r\n\r\n"));
    free_wire(w);
}

static void requests_of_memcached(void **state)
{
    (void)state;
    struct wire *w = new_wire(SCAN_MEMCACHED);
    ask(w);
    assert_str(buf_str(&w->out), STR("get 0000000007 0000000008 0000000009\r\n"
                                     "set 0000000007 0 2 3\r\nabc\r\nset 0000000008 0 0 0\r\n\r\n"
                                     "get 4000000000\r\n"));
    buf_clear(&w->out);
    wire_set(w, 7, "", 0, 40 * 24 * 3600 * 1000ULL); /* would be a date */
    assert_str(buf_str(&w->out), STR("set 0000000007 0 2592000 0\r\n\r\n"));
    free_wire(w);
}

static void replies(enum scan_protocol protocol, struct str in, const char *expected)
{
    for (size_t cut = 0; cut <= in.n; cut++) {
        struct wire *w = new_wire(protocol);
        struct seen seen = {.n = 0};
        const struct wire_events events = {answered, stored, &seen};
        ask(w);
        assert_int_equal(wire_read(w, in.p, cut, &events), 0);
        assert_int_equal(wire_read(w, in.p + cut, in.n - cut, &events), 0);
        assert_string_equal(seen.text, expected);
        assert_false(wire_busy(w));
        free_wire(w);
    }
}

static void replies_of_resp(void **state)
{
    (void)state;
    replies(SCAN_RESP, STR("$-1\r\n$4\r\n\r\n$1\r\n$0\r\n\r\n+OK\r\n-OOM no\r\n$-1\r\n"), "-1+2+3sx-4");
}

static void replies_of_memcached(void **state)
{
    (void)state;
    replies(
        SCAN_MEMCACHED,
        STR("VALUE 0000000008 0 5\r\nEND\r\n\r\nEND\r\nSTORED\r\nSERVER_ERROR object too large for cache\r\n"
            "VALUE 4000000000 0 0\r\n\r\nEND\r\n"),
        "-1+2-3sx+4");
    replies(SCAN_MEMCACHED, STR("END\r\nSTORED\r\nSTORED\r\nEND\r\n"), "-1-2-3ss-4");
}

static void broken(enum scan_protocol protocol, struct str in)
{
    struct wire *w = new_wire(protocol);
    struct seen seen = {.n = 0};
    const struct wire_events events = {answered, stored, &seen};
    wire_get(w, 7, 1);
    wire_flush(w);
    assert_int_equal(wire_read(w, in.p, in.n, &events), ERR_PROTO);
    assert_true(w->error[0] != 0);
    free_wire(w);
}

static void what_is_no_reply_ends_it(void **state)
{
    (void)state;
    char endless[WIRE_LINE_MAX + 1];
    memset(endless, 'E', sizeof endless);
    broken(SCAN_RESP, STR("hello\r\n"));
    broken(SCAN_RESP, STR("-LOADING not yet\r\n")); /* would count as a miss */
    broken(SCAN_RESP, STR("$-1\r\n$-1\r\n"));
    broken(SCAN_MEMCACHED, STR("STORED\r\n"));
    broken(SCAN_MEMCACHED, STR("ERROR\r\n"));
    broken(SCAN_MEMCACHED, STR("VALUE 0000000009 0 1\r\n"));
    broken(SCAN_MEMCACHED, STR("VALUE 0000000007 0 x\r\n"));
    broken(SCAN_MEMCACHED, STR("VALUE \r\n"));
    broken(SCAN_MEMCACHED, STR("END\r\nEND\r\n"));
    broken(SCAN_MEMCACHED, (struct str){endless, sizeof endless});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_of_resp),         cmocka_unit_test(requests_of_memcached),
        cmocka_unit_test(replies_of_resp),          cmocka_unit_test(replies_of_memcached),
        cmocka_unit_test(what_is_no_reply_ends_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
