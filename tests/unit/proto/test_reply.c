#include "unit/unit.h"

#include "base/alloc.h"
#include "base/annotate.h"
#include "base/arena.h"
#include "base/rng.h"
#include "proto/reader.h"
#include "proto/reply.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct block {
    int refs;
};

static void get(struct block *b)
{
    b->refs++;
}

static void put(struct block *b)
{
    assert_true(b->refs > 0);
    b->refs--;
}

static struct reply new_reply(int proto)
{
    struct reply r;
    reply_init(&r, get, put);
    assert_int_equal(r.proto, 2);
    r.proto = (uint8_t)proto;
    return r;
}

/* What the sender would put on the wire: bytes and blocks woven together. */
static void weave(const struct reply *r, struct buf *out)
{
    size_t at = 0;
    buf_clear(out);
    for (uint32_t i = 0; i < r->nsplices; i++) {
        const struct reply_splice *s = &r->splices[i];
        assert_true(s->at >= at && s->at <= r->bytes.n);
        buf_append(out, r->bytes.p + at, s->at - at);
        buf_puts(out, s->data);
        at = s->at;
    }
    buf_append(out, r->bytes.p + at, r->bytes.n - at);
    assert_int_equal(out->n, reply_size(r));
}

#define ASSERT_WIRE(r, two, three)                                                                           \
    do {                                                                                                     \
        assert_str(buf_str(&(r)->bytes), (r)->proto < 3 ? STR(two) : STR(three));                            \
        reply_clear(r);                                                                                      \
    } while (0)

static void each_meaning_has_its_bytes(void **state)
{
    for (int proto = 2; proto <= 3; proto++) {
        struct reply r = new_reply(proto);
        reply_ok(&r);
        ASSERT_WIRE(&r, "+OK\r\n", "+OK\r\n");
        reply_status(&r, "PONG");
        ASSERT_WIRE(&r, "+PONG\r\n", "+PONG\r\n");
        reply_bulk(&r, STR("a\0b"));
        ASSERT_WIRE(&r, "$3\r\na\0b\r\n", "$3\r\na\0b\r\n");
        reply_bulk(&r, (struct str){NULL, 0});
        ASSERT_WIRE(&r, "$0\r\n\r\n", "$0\r\n\r\n");
        reply_cstr(&r, "hello world");
        ASSERT_WIRE(&r, "$11\r\nhello world\r\n", "$11\r\nhello world\r\n");
        reply_bulk_i64(&r, INT64_MIN);
        ASSERT_WIRE(&r, "$20\r\n-9223372036854775808\r\n", "$20\r\n-9223372036854775808\r\n");
        reply_verbatim(&r, "txt", STR("some"));
        ASSERT_WIRE(&r, "$4\r\nsome\r\n", "=8\r\ntxt:some\r\n");
        reply_double(&r, 0.1);
        ASSERT_WIRE(&r, "$3\r\n0.1\r\n", ",0.1\r\n");
        reply_double(&r, -INFINITY);
        ASSERT_WIRE(&r, "$4\r\n-inf\r\n", ",-inf\r\n");
        reply_double(&r, NAN);
        ASSERT_WIRE(&r, "$3\r\nnan\r\n", ",nan\r\n");
        reply_ldouble(&r, 3.5L);
        ASSERT_WIRE(&r, "$3\r\n3.5\r\n", "$3\r\n3.5\r\n");
        reply_bool(&r, true);
        ASSERT_WIRE(&r, ":1\r\n", "#t\r\n");
        reply_bool(&r, false);
        ASSERT_WIRE(&r, ":0\r\n", "#f\r\n");
        reply_null(&r);
        ASSERT_WIRE(&r, "$-1\r\n", "_\r\n");
        reply_null_array(&r);
        ASSERT_WIRE(&r, "*-1\r\n", "_\r\n");
        reply_array(&r, 0);
        ASSERT_WIRE(&r, "*0\r\n", "*0\r\n");
        reply_array(&r, 1234567);
        ASSERT_WIRE(&r, "*1234567\r\n", "*1234567\r\n");
        reply_map(&r, 6);
        ASSERT_WIRE(&r, "*12\r\n", "%6\r\n");
        reply_set(&r, 3);
        ASSERT_WIRE(&r, "*3\r\n", "~3\r\n");
        reply_push(&r, 3);
        ASSERT_WIRE(&r, "*3\r\n", ">3\r\n");
        reply_bignum(&r, STR("123456789012345678901234567890"));
        ASSERT_WIRE(&r, "$30\r\n123456789012345678901234567890\r\n", "(123456789012345678901234567890\r\n");
        reply_raw(&r, STR(":7\r\n"));
        ASSERT_WIRE(&r, ":7\r\n", ":7\r\n");
        reply_raw(&r, (struct str){NULL, 0});
        ASSERT_WIRE(&r, "", "");
        if (proto == 3) {
            reply_attribute(&r, 2);
            ASSERT_WIRE(&r, "", "|2\r\n");
        }
        reply_release(&r);
    }
}

static void integers_at_every_boundary(void **state)
{
    static const int64_t values[] = {0,         1,          -1,        9,         10,
                                     -9,        -10,        99,        100,       INT32_MAX,
                                     INT32_MIN, UINT32_MAX, INT64_MAX, INT64_MIN, -INT64_MAX};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        struct reply r = new_reply(2);
        char want[40];
        reply_int(&r, values[i]);
        int n = snprintf(want, sizeof want, ":%lld\r\n", (long long)values[i]);
        assert_str(buf_str(&r.bytes), ((struct str){want, (size_t)n}));
        reply_release(&r);
    }
}

static void bulks_of_every_small_length(void **state)
{
    struct reply r = new_reply(2);
    struct arena arena;
    char text[1200];
    memset(text, 'x', sizeof text);
    arena_init(&arena);
    for (size_t n = 0; n < sizeof text; n++) {
        struct reader_value v;
        size_t used, need;
        reply_bulk(&r, (struct str){text, n});
        assert_int_equal(reader_parse(buf_str(&r.bytes), 1 << 20, &arena, &v, &used, &need), 0);
        assert_int_equal(used, r.bytes.n);
        assert_str(v.text, ((struct str){text, n}));
        reply_clear(&r);
    }
    arena_release(&arena);
    reply_release(&r);
}

static void errors_are_one_line(void **state)
{
    struct reply r = new_reply(2);
    reply_error(&r, REPLY_SYNTAX);
    assert_true(r.errored);
    ASSERT_WIRE(&r, "-ERR syntax error\r\n", "");
    r.errored = false;
    reply_errorf(&r, "ERR unknown command '%s', with args beginning with: %s", "f*1", "");
    assert_true(r.errored);
    ASSERT_WIRE(&r, "-ERR unknown command 'f*1', with args beginning with: \r\n", "");
    reply_errorf(&r, "ERR Protocol error: expected '$', got '%c'", '\r');
    ASSERT_WIRE(&r, "-ERR Protocol error: expected '$', got ' '\r\n", "");
    reply_error(&r, "\r\nERR a\nb\r\nc\n\n");
    ASSERT_WIRE(&r, "-ERR a b  c\r\n", "");
    reply_error(&r, "\n\n");
    ASSERT_WIRE(&r, "-\r\n", "");
    char large[5000];
    memset(large, 'e', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    reply_int(&r, 1);
    reply_errorf(&r, "ERR %s", large);
    assert_int_equal(r.bytes.n, 4 + 1 + 4 + sizeof large - 1 + 2);
    reply_release(&r);
}

static void deferred_lengths_nest(void **state)
{
    for (int proto = 2; proto <= 3; proto++) {
        struct reply r = new_reply(proto);
        reply_int(&r, 7);
        size_t outer = reply_deferred(&r);
        reply_ok(&r);
        size_t inner = reply_deferred(&r);
        for (int i = 0; i < 12; i++)
            reply_int(&r, 1);
        reply_deferred_end(&r, inner, '%', 6);
        size_t empty = reply_deferred(&r);
        reply_deferred_end(&r, empty, '~', 0);
        reply_deferred_end(&r, outer, '*', 3);
        reply_null(&r);
#define ONES ":1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n"
        ASSERT_WIRE(&r, ":7\r\n*3\r\n+OK\r\n*12\r\n" ONES "*0\r\n$-1\r\n",
                    ":7\r\n*3\r\n+OK\r\n%6\r\n" ONES "~0\r\n_\r\n");
        reply_release(&r);
    }
}

static void blocks_stand_where_they_belong(void **state)
{
    struct reply r = new_reply(2);
    struct block a = {1}, b = {1};
    struct buf wire;
    buf_init(&wire);
    reply_block(&r, &a, STR("first"));
    size_t handle = reply_deferred(&r);
    reply_block(&r, &b, STR("second, longer"));
    reply_int(&r, 5);
    reply_block(&r, &a, (struct str){NULL, 0});
    reply_deferred_end(&r, handle, '*', 3);
    reply_block(&r, &b, STR("x"));
    assert_int_equal(a.refs, 3);
    assert_int_equal(b.refs, 3);
    weave(&r, &wire);
    assert_str(buf_str(&wire),
               STR("$5\r\nfirst\r\n*3\r\n$14\r\nsecond, longer\r\n:5\r\n$0\r\n\r\n$1\r\nx\r\n"));
    reply_clear(&r);
    assert_int_equal(a.refs, 1);
    assert_int_equal(b.refs, 1);
    assert_int_equal(reply_size(&r), 0);
    for (int i = 0; i < 100; i++) /* more than the first few */
        reply_block(&r, &a, STR("abc"));
    weave(&r, &wire);
    assert_int_equal(wire.n, 100 * strlen("$3\r\nabc\r\n"));
    reply_release(&r);
    assert_int_equal(a.refs, 1);
    buf_release(&wire);
}

static void appending_moves_bytes_and_references(void **state)
{
    struct reply dst = new_reply(2), src = new_reply(2), empty = new_reply(2);
    struct block a = {1};
    struct buf wire;
    buf_init(&wire);
    reply_append(&dst, &empty);
    assert_int_equal(reply_size(&dst), 0);
    reply_block(&dst, &a, STR("one"));
    for (int i = 0; i < 20; i++)
        reply_block(&src, &a, STR("two"));
    reply_int(&src, 3);
    reply_append(&dst, &src);
    reply_append(&dst, &empty);
    assert_int_equal(a.refs, 22);
    assert_int_equal(reply_size(&src), 0);
    assert_int_equal(src.nsplices, 0);
    weave(&dst, &wire);
    assert_memory_equal(wire.p, "$3\r\none\r\n$3\r\ntwo\r\n$3\r\ntwo\r\n", 27);
    assert_int_equal(wire.n, 21 * 9 + 4);
    assert_memory_equal(wire.p + wire.n - 13, "$3\r\ntwo\r\n:3\r\n", 13);
    reply_ok(&src); /* which can be used again */
    reply_append(&dst, &src);
    assert_int_equal(reply_size(&dst), wire.n + 5);
    reply_release(&dst);
    reply_release(&src);
    assert_int_equal(a.refs, 1);
    buf_release(&wire);
}

/* Bytes and splices in every order, some of them empty. */
static struct reply motley(struct block *b, uint64_t seed)
{
    static const char text[] = "abcdefghijklmnopqrstuvwxyz";
    struct reply r = new_reply(2);
    struct rng rng;
    rng_init(&rng, seed);
    for (int i = 0; i < 12; i++) {
        struct str s = {text + i, (size_t)rng_below(&rng, 9)};
        if (rng_below(&rng, 2) == 0)
            reply_block(&r, b, s);
        else
            reply_raw(&r, s);
    }
    return r;
}

/* From every offset, into every number of vectors: the rest of the stream, and never an empty vector. */
static void weaving_from_anywhere(void **state)
{
    struct block b = {1};
    struct buf wire;
    struct iovec iov[32];
    buf_init(&wire);
    for (uint64_t seed = 1; seed < 40; seed++) {
        struct reply r = motley(&b, seed);
        weave(&r, &wire);
        for (size_t from = 0; from <= wire.n; from++) {
            for (int max = 1; max <= 32; max++) {
                size_t at = from;
                int n = reply_weave(&r, from, iov, max);
                assert_in_range(n, from < wire.n, max);
                for (int i = 0; i < n; i++) {
                    assert_true(iov[i].iov_len > 0 && at + iov[i].iov_len <= wire.n);
                    assert_memory_equal(iov[i].iov_base, wire.p + at, iov[i].iov_len);
                    at += iov[i].iov_len;
                }
                assert_true(n == max || at == wire.n);
            }
        }
        reply_release(&r);
    }
    assert_int_equal(b.refs, 1);
    buf_release(&wire);
}

/* In steps of every size: what is left is what was there, and blocks that are through are put. */
static void consuming_step_by_step(void **state)
{
    struct block b = {1};
    struct buf wire, rest;
    buf_init(&wire);
    buf_init(&rest);
    for (uint64_t seed = 1; seed < 40; seed++) {
        for (size_t step = 1; step < 12; step++) {
            struct reply r = motley(&b, seed);
            weave(&r, &wire);
            for (size_t at = 0; at < wire.n;) {
                size_t n = step < wire.n - at ? step : wire.n - at;
                reply_consume(&r, n);
                at += n;
                weave(&r, &rest);
                assert_str(buf_str(&rest), ((struct str){wire.p + at, wire.n - at}));
                assert_int_equal(b.refs, 1 + (int)r.nsplices);
            }
            assert_int_equal(reply_size(&r), 0);
            reply_ok(&r);
            assert_int_equal(reply_size(&r), 5);
            reply_release(&r);
        }
    }
    buf_release(&wire);
    buf_release(&rest);
}

/* The buffer does not grow when it holds the limit already; what would need that, and all behind it, is
 * dropped. */
static void a_limit_ends_the_reply(void **state)
{
    char text[1000];
    struct reply r = new_reply(2);
    memset(text, 'x', sizeof text);
    r.limit = 10000;
    for (int i = 0; i < 1000; i++)
        reply_bulk(&r, (struct str){text, sizeof text});
    assert_true(r.oom && r.over && r.bytes.n <= 2 * r.limit);
    struct reply to = new_reply(2);
    reply_ok(&to);
    reply_append(&to, &r);
    assert_true(to.oom && to.over);
    reply_clear(&to);
    assert_false(to.oom || to.over);
    struct reply_mark m = reply_mark(&r);
    for (int i = 0; i < 1000; i++)
        reply_bulk(&r, (struct str){text, sizeof text});
    reply_rollback(&r, m);
    assert_false(r.oom || r.over);
    reply_release(&r);
    reply_release(&to);
}

static void rollback_drops_what_came_since(void **state)
{
    struct reply r = new_reply(3);
    struct block a = {1};
    struct buf wire;
    buf_init(&wire);
    reply_block(&r, &a, STR("kept"));
    struct reply_mark m = reply_mark(&r);
    reply_array(&r, 3);
    reply_block(&r, &a, STR("dropped"));
    reply_error(&r, "ERR too late");
    assert_true(r.errored);
    reply_rollback(&r, m);
    assert_int_equal(a.refs, 2);
    assert_false(r.errored);
    reply_ok(&r);
    weave(&r, &wire);
    assert_str(buf_str(&wire), STR("$4\r\nkept\r\n+OK\r\n"));
    reply_release(&r);
    buf_release(&wire);
}

static void a_muted_reply_drops_everything(void **state)
{
    struct reply r = new_reply(3);
    struct block a = {1};
    reply_ok(&r);
    r.mute = true;
    size_t handle = reply_deferred(&r);
    reply_int(&r, 1);
    reply_bulk(&r, STR("x"));
    reply_block(&r, &a, STR("x"));
    reply_map(&r, 3);
    reply_raw(&r, STR("x"));
    reply_verbatim(&r, "txt", STR("x"));
    reply_error(&r, "ERR x");
    reply_errorf(&r, "ERR %d", 1);
    assert_true(r.errored); /* it is still counted */
    reply_deferred_end(&r, handle, '*', 9);
    r.mute = false;
    reply_null(&r);
    assert_int_equal(a.refs, 1);
    ASSERT_WIRE(&r, "", "+OK\r\n_\r\n");
    reply_release(&r);
}

static void impossible_lengths_are_out_of_memory(void **state)
{
    struct reply r = new_reply(3);
    reply_bulk(&r, (struct str){"x", SIZE_MAX - 3});
    assert_true(r.oom);
    reply_clear(&r);
    assert_false(r.oom);
    reply_raw(&r, (struct str){"x", SIZE_MAX});
    assert_true(r.oom);
    reply_clear(&r);
    reply_bignum(&r, (struct str){"1", SIZE_MAX});
    assert_true(r.oom);
    assert_int_equal(r.bytes.n, 0);
    reply_release(&r);
}

/* A random tree, written through every door, read back by the reader. */
static void write_tree(struct reply *r, struct rng *rng, struct block *block, int depth)
{
    char text[40];
    size_t n = rng_below(rng, sizeof text);
    for (size_t i = 0; i < n; i++)
        text[i] = (char)rng_u64(rng);
    uint64_t kind = rng_below(rng, depth > 0 ? 14 : 9), children = rng_below(rng, 4);
    size_t handle;
    switch (kind) {
    case 0: reply_ok(r); return;
    case 1: reply_int(r, (int64_t)rng_u64(rng)); return;
    case 2: reply_bulk(r, (struct str){text, n}); return;
    case 3: reply_block(r, block, STR("a block of bytes")); return;
    case 4: reply_null(r); return;
    case 5: reply_error(r, "ERR no"); return;
    case 6: reply_double(r, (double)rng_below(rng, 1000) / 8); return;
    case 7: reply_bool(r, children & 1); return;
    case 8: reply_verbatim(r, "txt", (struct str){text, n}); return;
    case 9: reply_array(r, children); break;
    case 10: reply_map(r, children); break;
    case 11: reply_set(r, children); break;
    default:
        handle = reply_deferred(r);
        for (uint64_t i = 0; i < children * (kind == 13 ? 2 : 1); i++)
            write_tree(r, rng, block, depth - 1);
        reply_deferred_end(r, handle, kind == 13 ? '%' : '*', children);
        return;
    }
    for (uint64_t i = 0; i < children * (kind == 10 ? 2 : 1); i++)
        write_tree(r, rng, block, depth - 1);
}

static void random_replies_can_be_read(void **state)
{
    struct rng rng;
    struct block block = {1};
    struct buf wire;
    struct arena arena;
    rng_init(&rng, 51);
    buf_init(&wire);
    arena_init(&arena);
    for (int round = 0; round < 20000; round++) {
        struct reply r = new_reply(2 + round % 2);
        struct reader_value v;
        size_t used = 0, need, skipped = 0;
        bool error, null;
        write_tree(&r, &rng, &block, 4);
        weave(&r, &wire);
        assert_int_equal(reader_parse(buf_str(&wire), 1 << 20, &arena, &v, &used, &need), 0);
        assert_int_equal(used, wire.n);
        assert_int_equal(reader_skip(buf_str(&wire), &skipped, &error, &null), 0);
        assert_int_equal(skipped, wire.n);
        assert_int_equal(error, v.kind == READ_ERROR);
        assert_int_equal(null, v.kind == READ_NULL);
        reply_release(&r);
        assert_int_equal(block.refs, 1);
        arena_reset(&arena);
    }
    buf_release(&wire);
    arena_release(&arena);
}

#ifdef LARDER_DEBUG
/* Whichever allocation fails: it is said, no reference is lost, what was written
 * before the mark is whole, and after a rollback the writer works again. */
static void out_of_memory_at_every_allocation(void **state)
{
    bool failed = true;
    for (int64_t nth = 1; failed; nth++) {
        struct rng rng;
        struct block block = {1};
        struct reply r = new_reply(3);
        char large[300];
        memset(large, 'l', sizeof large);
        rng_init(&rng, 52);
        reply_ok(&r);
        struct reply_mark m = reply_mark(&r);
        alloc_fail_after(nth);
        for (int i = 0; i < 20; i++) {
            write_tree(&r, &rng, &block, 3);
            reply_bulk(&r, (struct str){large, sizeof large});
            reply_block(&r, &block, STR("bytes"));
            size_t handle = reply_deferred(&r);
            reply_errorf(&r, "ERR %.*s", (int)sizeof large, large);
            reply_deferred_end(&r, handle, '*', 1);
        }
        alloc_fail_after(0);
        failed = r.oom;
        assert_int_equal(block.refs, 1 + (int)r.nsplices);
        reply_rollback(&r, m);
        assert_false(r.oom);
        assert_int_equal(block.refs, 1);
        reply_bulk(&r, (struct str){large, sizeof large});
        assert_false(r.oom);
        assert_memory_equal(r.bytes.p, "+OK\r\n$300\r\nlll", 14);
        reply_release(&r);
        assert_true(failed || nth > 8);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_meaning_has_its_bytes),
        cmocka_unit_test(integers_at_every_boundary),
        cmocka_unit_test(bulks_of_every_small_length),
        cmocka_unit_test(errors_are_one_line),
        cmocka_unit_test(deferred_lengths_nest),
        cmocka_unit_test(blocks_stand_where_they_belong),
        cmocka_unit_test(appending_moves_bytes_and_references),
        cmocka_unit_test(weaving_from_anywhere),
        cmocka_unit_test(consuming_step_by_step),
        cmocka_unit_test(a_limit_ends_the_reply),
        cmocka_unit_test(rollback_drops_what_came_since),
        cmocka_unit_test(a_muted_reply_drops_everything),
        cmocka_unit_test(impossible_lengths_are_out_of_memory),
        cmocka_unit_test(random_replies_can_be_read),
#ifdef LARDER_DEBUG
        cmocka_unit_test(out_of_memory_at_every_allocation),
#endif
    };
    return cmocka_run_group_tests_name("reply", tests, NULL, NULL);
}
