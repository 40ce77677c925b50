#include "unit/unit.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/rng.h"

#include <stdio.h>
#include <string.h>

static void appends_and_consumes_like_a_queue(void **state)
{
    static char model[1 << 20];
    size_t n = 0;
    struct buf b;
    struct rng rng;
    buf_init(&b);
    rng_init(&rng, 7);
    for (int step = 0; step < 20000; step++) {
        char piece[200];
        size_t len = rng_below(&rng, sizeof piece);
        if (rng_below(&rng, 3) > 0 && n + len <= sizeof model) {
            memset(piece, step & 255, len);
            assert_int_equal(buf_append(&b, piece, len), 0);
            memcpy(model + n, piece, len);
            n += len;
        } else {
            len = rng_below(&rng, n + 1);
            buf_consume(&b, len);
            memmove(model, model + len, n - len);
            n -= len;
        }
        assert_str(buf_str(&b), ((struct str){model, n}));
    }
    buf_release(&b);
    assert_null(b.p);
    assert_int_equal(b.cap, 0);
}

static void capacity_doubles_then_grows_by_a_quarter(void **state)
{
    struct buf b;
    buf_init(&b);
    size_t cap = 0;
    for (size_t n = 0; n < (8u << 20); n += 1000) {
        static const char piece[1000];
        assert_int_equal(buf_append(&b, piece, sizeof piece), 0);
        if (b.cap != cap && cap >= 1000)
            assert_int_equal(b.cap, cap < (1u << 20) ? cap * 2 : cap + cap / 4);
        cap = b.cap;
    }
    buf_release(&b);
    assert_int_equal(buf_reserve(&b, 5000), 0);
    assert_int_equal(b.cap, 5000); /* a large first piece is not rounded */
    buf_release(&b);
}

static void sizes_beyond_memory_are_refused(void **state)
{
    struct buf b;
    buf_init(&b);
    assert_int_equal(buf_puts(&b, STR("abc")), 0);
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 3, (size_t)PTRDIFF_MAX, (size_t)PTRDIFF_MAX - 1};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        b.oom = false;
        assert_int_equal(buf_reserve(&b, sizes[i]), ERR_OOM);
        assert_true(b.oom);
        assert_str(buf_str(&b), STR("abc"));
    }
    b.oom = false;
    assert_int_equal(buf_put_quoted(&b, (struct str){"x", SIZE_MAX / 2}), ERR_OOM);
    assert_true(b.oom);
    buf_clear(&b);
    assert_false(b.oom);
    buf_release(&b);
}

static void printf_grows_and_fits(void **state)
{
    struct buf b;
    buf_init(&b);
    assert_int_equal(buf_printf(&b, "%s", ""), 0);
    assert_int_equal(b.n, 0);
    char want[4000], text[600];
    for (int n = 0; n < 600; n++) { /* every length, so also the one that just does not fit */
        memset(text, 'a' + n % 26, (size_t)n);
        text[n] = '\0';
        buf_clear(&b);
        if (n % 50 == 0)
            buf_release(&b);
        assert_int_equal(buf_printf(&b, "<%s>%d", text, n), 0);
        int len = snprintf(want, sizeof want, "<%s>%d", text, n);
        assert_str(buf_str(&b), ((struct str){want, (size_t)len}));
    }
    buf_release(&b);
}

static void quotes_as_redis_cli_does(void **state)
{
    struct buf b;
    buf_init(&b);
    assert_int_equal(buf_put_quoted(&b, STR("a\"b\\c\n\r\t\a\b\0\x1f ~\x7f\xff")), 0);
    assert_str(buf_str(&b), STR("\"a\\\"b\\\\c\\n\\r\\t\\a\\b\\x00\\x1f ~\\x7f\\xff\""));
    buf_clear(&b);
    assert_int_equal(buf_put_quoted(&b, (struct str){NULL, 0}), 0);
    assert_str(buf_str(&b), STR("\"\""));
    buf_release(&b);
}

#ifdef LARDER_DEBUG
/* Whatever fails, the bytes before it stay and the buffer can go on. */
static void out_of_memory_leaves_the_bytes(void **state)
{
    for (int op = 0; op < 4; op++) {
        struct buf b;
        char large[500];
        memset(large, 'x', sizeof large);
        struct str s = {large, sizeof large};
        buf_init(&b);
        assert_int_equal(buf_puts(&b, STR("before")), 0);
        alloc_fail_after(1);
        int err = op == 0   ? buf_reserve(&b, sizeof large)
                  : op == 1 ? buf_puts(&b, s)
                  : op == 2 ? buf_printf(&b, "%.*s", (int)s.n, s.p)
                            : buf_put_quoted(&b, s);
        assert_int_equal(err, ERR_OOM);
        assert_true(b.oom);
        assert_str(buf_str(&b), STR("before"));
        assert_int_equal(buf_puts(&b, s), 0);
        assert_true(b.oom); /* until cleared */
        assert_int_equal(b.n, 6 + sizeof large);
        buf_release(&b);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_and_consumes_like_a_queue),
        cmocka_unit_test(capacity_doubles_then_grows_by_a_quarter),
        cmocka_unit_test(sizes_beyond_memory_are_refused),
        cmocka_unit_test(printf_grows_and_fits),
        cmocka_unit_test(quotes_as_redis_cli_does),
#ifdef LARDER_DEBUG
        cmocka_unit_test(out_of_memory_leaves_the_bytes),
#endif
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
