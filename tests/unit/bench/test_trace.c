/* Traces as text and as packed files: what is read, what is refused and how that is told. */
#include "base/err.h"
#include "bench/replay/trace.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "unit.h"

static int read_text(const char *text, struct trace *t, struct trace_err *err)
{
    FILE *f = fmemopen((void *)text, strlen(text), "r");
    assert_non_null(f);
    int rc = trace_read_text(f, 20, t, err);
    fclose(f);
    return rc;
}

static void lines_become_requests(void **state)
{
    (void)state;
    struct trace t;
    struct trace_err err;
    assert_int_equal(read_text("100,7,300,60\n100,user:1,4000000,0\r\n103,7,300,60", &t, &err), 0);
    assert_int_equal(t.n, 3);
    assert_int_equal(t.keys, 2);
    assert_int_equal(t.requests[0].key, 0);
    assert_int_equal(t.requests[1].key, 1);
    assert_int_equal(t.requests[2].key, 0);
    assert_int_equal(t.requests[0].at_ms, 0);
    assert_int_equal(t.requests[1].at_ms, 500); /* two in a second: spread */
    assert_int_equal(t.requests[2].at_ms, 3000);
    assert_int_equal(t.requests[0].bytes, 300);
    assert_int_equal(t.requests[0].ttl_s, 60);
    assert_int_equal(t.requests[1].bytes, TRACE_VALUE_MAX);
    trace_release(&t);
}

static void what_is_wrong_is_told_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *told;
    } cases[] = {
        {"", "line 1: there is no request"},
        {"1,2,3\n", "line 1: is not seconds,key,value_bytes,ttl_seconds"},
        {"1,2,3,0,5\n", "line 1: is not seconds,key,value_bytes,ttl_seconds"},
        {"1,,3,0\n", "line 1: is not seconds,key,value_bytes,ttl_seconds"},
        {"1,2,3,0\n1,2,x,0\n", "line 2: seconds, value_bytes and ttl_seconds are whole numbers"},
        {"1,2,-3,0\n", "line 1: seconds, value_bytes and ttl_seconds are whole numbers"},
        {"5,2,3,0\n4,2,3,0\n", "line 2: is earlier than the line before it: sort the trace by time"},
        {"5,2,3,0\n9000000,2,3,0\n", "line 2: lies more than 49 days after the first"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct trace t;
        struct trace_err err;
        if (cases[i].text[0] == 0)
            assert_int_equal(read_text("\n", &t, &err), ERR_SYNTAX);
        else {
            assert_int_equal(read_text(cases[i].text, &t, &err), ERR_SYNTAX);
            assert_string_equal(err.text, cases[i].told);
        }
        assert_null(t.requests);
    }
}

static void many_keys_keep_their_numbers(void **state)
{
    (void)state;
    enum { KEYS = 100000 };
    char *text;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < KEYS; i++)
            fprintf(f, "%d,%d,10,0\n", round, i * 7919);
    fclose(f);
    struct trace t;
    struct trace_err err;
    assert_int_equal(read_text(text, &t, &err), 0);
    assert_int_equal(t.keys, KEYS);
    for (int i = 0; i < KEYS; i++) {
        assert_int_equal(t.requests[i].key, i);
        assert_int_equal(t.requests[KEYS + i].key, i);
    }
    trace_release(&t);
    free(text);
}

static void a_packed_trace_comes_back(void **state)
{
    (void)state;
    char path[] = "/tmp/larder-trace-XXXXXX";
    int fd = mkstemp(path);
    struct trace t, back;
    struct trace_err err;
    assert_true(fd >= 0);
    assert_int_equal(read_text("1,2,3,4\n2,3,4,5\n", &t, &err), 0);
    assert_int_equal(trace_save(&t, path, &err), 0);
    assert_int_equal(trace_load(path, &back, &err), 0);
    assert_int_equal(back.n, 2);
    assert_int_equal(back.keys, 2);
    assert_int_equal(back.key_bytes, 20);
    assert_memory_equal(back.requests, t.requests, 2 * sizeof *t.requests);
    trace_release(&back);

    static const struct {
        off_t at;
        uint32_t value;
    } lies[] = {{0, 0}, {8, 3}, {8, 0}, {16, 3}, {16, 0}, {24, 9}, {24, 300}, {36, 2}, {40, UINT32_MAX}};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        assert_int_equal(trace_save(&t, path, &err), 0);
        fd = open(path, O_WRONLY);
        assert_int_equal(pwrite(fd, &lies[i].value, sizeof lies[i].value, lies[i].at), sizeof lies[i].value);
        close(fd);
        assert_int_equal(trace_load(path, &back, &err), ERR_IO);
        assert_null(back.requests);
    }
    assert_int_equal(truncate(path, 30), 0);
    assert_int_equal(trace_load(path, &back, &err), ERR_IO);
    unlink(path);
    assert_int_equal(trace_load(path, &back, &err), ERR_IO);
    trace_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_become_requests),
        cmocka_unit_test(what_is_wrong_is_told_with_its_line),
        cmocka_unit_test(many_keys_keep_their_numbers),
        cmocka_unit_test(a_packed_trace_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
