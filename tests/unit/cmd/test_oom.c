/* Memory runs out at every allocation that a command makes, one after the other, for that one or
 * from there on: each time it must answer an error and change nothing, or answer as if nothing had been
 * short. */
#include "harness.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "repl/unit.h"
#include "store/cut.h"
#include "store/shard.h"

#include <stdio.h>

#ifdef LARDER_DEBUG

enum {
    BIG = 40000,         /* a value that lives in a block of its own */
    FAILURES_MAX = 2000, /* a command that allocates more often than this hangs */
};

static char big[BIG + 1];

/* What the commands work on. LINE's %s is the big value. */
static const char *const before[] = {
    "SET small abc",
    "SET number 41",
    "SET float 1.5",
    "SET ttl x PXAT 5000000000000",
    "SET bits \"\\xf0\\x0f\\xff\"",
    "SET big %s",
    "SET big2 %s PXAT 5000000000000",
    "SADD ints 1 2 3",
    "SADD words a b c 1 2 3",
    "SADD hashed a b c %s",
    "SADD hashed 1 2 3 m4 m5 m6 m7 m8 m9 m10 m11 m12 m13 m14 m15",
    "SADD hashed m16 m17 m18 m19 m20 m21 m22 m23 m24 m25 m26 m27",
    "COPY hashed twin",
    "COPY words twords",
    "SADD lonely z",
};

static const char *const requests[] = {
    "SET new v",
    "SET new %s",
    "SET small %s",
    "SET big %s",
    "SET small longer-than-it-was-by-some-bytes-at-least",
    "SET small v EX 100",
    "SET small v EX 100 GET",
    "SET big v GET",
    "SET big %s KEEPTTL GET",
    "SETNX new %s",
    "SETEX small 100 %s",
    "PSETEX new 100000 v",
    "GETSET big %s",
    "GETSET small a-value-that-does-not-fit-in-place-any-more",
    "GETDEL big",
    "GETEX small EX 100",
    "GETEX big PX 100000",
    "GETEX ttl PERSIST",
    "GETEX ttl PXAT 1",
    "MSET a 1 b %s small c c 2 big d d %s ttl e",
    "MSET small %s a 1 small 2 b %s small 3",
    "MSET big %s big2 %s small 1 ttl 2",
    "MSET a %s b %s big 1 big2 2",
    "MSET hashed 1 ints %s lonely %s words 2",
    "MSET new 1 new %s new 2 new %s",
    "MSET small x small %s small longer-than-it-was-by-some-bytes-at-least small y",
    "MSET ttl x ttl %s big abc big %s",
    "MSETNX a 1 b %s c 2",
    "MSETNX a %s a 1 d %s",
    "APPEND new v",
    "APPEND new %s",
    "APPEND small v",
    "APPEND small %s",
    "APPEND big %s",
    "APPEND ttl %s",
    "SETRANGE new 10 v",
    "SETRANGE new 100000 v",
    "SETRANGE small 10 v",
    "SETRANGE big 70000 v",
    "INCR new",
    "INCR number",
    "INCRBY number 100000000000000",
    "INCRBYFLOAT float 1.25",
    "INCRBYFLOAT new 3",
    "SETBIT new 7 1",
    "SETBIT new 1000000 1",
    "SETBIT bits 100 1",
    "SETBIT big 1000000 1",
    "BITOP OR new bits small",
    "BITOP XOR big big big2",
    "BITOP AND bits bits none",
    "BITOP AND bits none none",
    "BITFIELD new SET u8 0 1 SET u8 100 2",
    "BITFIELD bits SET u8 0 1 INCRBY i5 100 2 GET u8 0",
    "BITFIELD big SET u8 1000000 1 GET u8 0",
    "RENAME small new",
    "RENAME small big",
    "RENAME big new",
    "RENAMENX ttl new",
    "COPY small new",
    "COPY big2 new",
    "COPY big2 small REPLACE",
    "COPY small small DB 3",
    "MOVE small 3",
    "MOVE big2 3",
    "EXPIRE small 100",
    "EXPIRE big 100",
    "PEXPIREAT ttl 6000000000000",
    "PERSIST ttl",
    "PERSIST big2",
    "DEL small big none",
    "DUMP big",
    "DUMP small",
    "RESTORE new 0 \"\\x00\\x03abc\\x0a\\x00\\xd9\\xac0=Ar\\xa2\\xe2\"",
    "RESTORE small 100 \"\\x00\\x03abc\\x0a\\x00\\xd9\\xac0=Ar\\xa2\\xe2\" REPLACE",
    "LCS small bits",
    "LCS small bits IDX",
    "GETRANGE big 10 -10",
    "SADD new 1",
    "SADD new 1 2 3",
    "SADD new a b 1",
    "SADD new a b %s",
    "SADD ints 4",
    "SADD ints 5000000000",
    "SADD ints a",
    "SADD ints 4 a %s",
    "SADD ints %s",
    "SADD words d",
    "SADD words d 4 e %s",
    "SADD twords d",
    "SADD hashed d",
    "SADD hashed d e %s f",
    "SADD twin d",
    "SADD twin d 4 e f",
    "SREM ints 1 2",
    "SREM words a",
    "SREM twords a 1 b",
    "SREM hashed a",
    "SREM hashed a b c 1 2 3",
    "SREM twin a b",
    "SREM twin a %s c 1 2 3",
    "SREM lonely z",
    "SMOVE ints new 1",
    "SMOVE ints hashed 1",
    "SMOVE hashed ints a",
    "SMOVE hashed twin a",
    "SMOVE twin new b",
    "SMOVE lonely words z",
    "SPOP ints",
    "SPOP hashed",
    "SPOP twin",
    "SPOP twin 5",
    "SPOP hashed 20",
    "SPOP hashed 2000",
    "SRANDMEMBER hashed 3",
    "SRANDMEMBER hashed -7",
    "SRANDMEMBER hashed 29",
    "SINTER hashed words",
    "SUNION hashed words ints",
    "SDIFF hashed words",
    "SUNIONSTORE new hashed words ints",
    "SUNIONSTORE words hashed words ints",
    "SINTERSTORE new hashed words",
    "SINTERSTORE ints ints words",
    "SDIFFSTORE big hashed ints",
    "SDIFFSTORE ints ints words",
    "SSCAN hashed 0 COUNT 5",
    "SMEMBERS hashed",
    "DUMP ints",
    "DUMP hashed",
    "COPY hashed new",
    "COPY ints small REPLACE",
    "RENAME hashed big",
    "MOVE hashed 3",
    "EXPIRE hashed 100",
    "SET hashed v",
    "SET ints %s",
    "RESTORE new 0 \"\\x02\\x03\\x01a\\x01c\\x01b\\x0a\\x00\\x0d~\\x8a\\x01L\\xfe2l\"",
    "RESTORE hashed 0 \"\\x02\\x03\\x01a\\x01c\\x01b\\x0a\\x00\\x0d~\\x8a\\x01L\\xfe2l\" REPLACE",
    ("RESTORE new 0 "
     "\"\\x14\\x0f\\x0f\\x00\\x00\\x00\\x03\\x00\\x81a\\x02\\x0c\\x01\\x81c\\x02\\xff\\x0b\\x00\\x5f\\xdaN\\x"
     "2"
     "3O\\x04\\x93\\x5c\" REPLACE"),
    ("RESTORE hashed 0 "
     "\"\\x14\\x0f\\x0f\\x00\\x00\\x00\\x03\\x00\\x81a\\x02\\x0c\\x01\\x81c\\x02\\xff\\x0b\\x00\\x5f\\xdaN\\x"
     "2"
     "3O\\x04\\x93\\x5c\" REPLACE"),
    ("RESTORE new 0 "
     "\"\\x14A\\x0a\\x0a\\x01\\x00\\x00\\x81\\x00\\x00\\x01\\x01\\x01\\x02\\x01\\x03\\x01\\x04\\x01\\x05\\x01"
     "\\x06\\x01\\x07\\x01\\x08\\x01\\x09\\x01\\x0a\\x01\\x0b\\x01\\x0c\\x01\\x0d\\x01\\x0e\\x01\\x0f\\x01\\x"
     "1"
     "0\\x01\\x11\\x01\\x12\\x01\\x13\\x01\\x14\\x01\\x15\\x01\\x16\\x01\\x17\\x01\\x18\\x01\\x19\\x01\\x1a\\"
     "x"
     "01\\x1b\\x01\\x1c\\x01\\x1d\\x01\\x1e\\x01\\x1f\\x01\\x20\\x01\\x21\\x01\\x22\\x01\\x23\\x01\\x24\\x01"
     "\\"
     "x25\\x01\\x26\\x01\\x27\\x01\\x28\\x01\\x29\\x01\\x2a\\x01\\x2b\\x01\\x2c\\x01\\x2d\\x01\\x2e\\x01\\x2f"
     "\\x010\\x011\\x012\\x013\\x014\\x015\\x016\\x017\\x018\\x019\\x01\\x3a\\x01\\x3b\\x01\\x3c\\x01\\x3d\\x"
     "0"
     "1\\x3e\\x01\\x3f\\x01\\x40\\x01A\\x01B\\x01C\\x01D\\x01E\\x01F\\x01G\\x01H\\x01I\\x01J\\x01K\\x01L\\x01"
     "M"
     "\\x01N\\x01O\\x01P\\x01Q\\x01R\\x01S\\x01T\\x01U\\x01V\\x01W\\x01X\\x01Y\\x01Z\\x01\\x5b\\x01\\x5c\\x01"
     "\\x5d\\x01\\x5e\\x01\\x5f\\x01\\x60\\x01a\\x01b\\x01c\\x01d\\x01e\\x01f\\x01g\\x01h\\x01i\\x01j\\x01k\\"
     "x"
     "01l\\x01m\\x01n\\x01o\\x01p\\x01q\\x01r\\x01s\\x01t\\x01u\\x01v\\x01w\\x01x\\x01y\\x01z\\x01\\x7b\\x01"
     "\\"
     "x7c\\x01\\x7d\\x01\\x7e\\x01\\x7f\\x01\\xc0\\x80\\x02\\xff\\x0b\\x00\\x3e\\xf2\\x3d\\xf4\\x81\\xb0n\\x1"
     "9"
     "\" REPLACE"),
    ("RESTORE new 0 "
     "\"\\x0b\\x0e\\x02\\x00\\x00\\x00\\x03\\x00\\x00\\x00\\x01\\x00\\x02\\x00\\x03\\x00\\x0a\\x00\\xa5\\x02"
     "\\"
     "x5c\\xe2mnM\\x1b\" REPLACE"),
    ("RESTORE ints 0 "
     "\"\\x0b\\x20\\x08\\x00\\x00\\x00\\x03\\x00\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00"
     "\\"
     "x00\\x00\\x00\\x00\\x00\\x00\\x00\\xf2\\x05\\x2a\\x01\\x00\\x00\\x00\\x0a\\x00\\x98\\x2f\\xc6\\xa1\\x15"
     "\\x0c\\xd8\\xb5\" REPLACE"),
    "MGET big small big2",
};

static void format(char *dst, size_t n, const char *line)
{
    int used = snprintf(dst, n, line, big, big);
    assert_true(used > 0 && (size_t)used < n);
}

static void fill(struct harness *h)
{
    static char line[3 * BIG];
    harness_line(h, "FLUSHALL");
    for (size_t i = 0; i < ARRAY_LEN(before); i++) {
        format(line, sizeof line, before[i]);
        assert_true(harness_line(h, line).p[0] != '-');
    }
}

/* All that a client could see, in both databases that the requests touch. */
static void look(struct harness *h, struct buf *out)
{
    static const char *const keys[] = {"small", "number", "float", "ttl",    "bits",  "big",  "big2",
                                       "new",   "a",      "b",     "c",      "d",     "none", "ints",
                                       "words", "hashed", "twin",  "twords", "lonely"};
    static const char *const questions[] = {
        "GET %s", "PEXPIRETIME %s", "OBJECT ENCODING %s", "SCARD %s",
        "SMISMEMBER %s a b c d e f 1 2 3 4 5 5000000000 z m4 m5 m6 m7 m8 m9 m10 m11 m12 m13 m14 m27"};
    buf_clear(out);
    for (uint32_t db = 0; db <= 3; db += 3) {
        h->session.db = db;
        for (size_t k = 0; k < ARRAY_LEN(keys); k++)
            for (size_t q = 0; q < ARRAY_LEN(questions); q++) {
                char line[256];
                snprintf(line, sizeof line, questions[q], keys[k]);
                assert_int_equal(buf_puts(out, harness_line(h, line)), 0);
            }
        assert_int_equal(buf_puts(out, harness_line(h, "DBSIZE")), 0);
    }
    h->session.db = 0;
}

/* What else has to be done for a write: effects noted for a log, pages saved for a snapshot. */
enum way { PLAIN, LOGGED, CUT };

static struct changelog *log_;
static struct unit unit;

static void log_start(struct harness *h, enum way way)
{
    if (way != LOGGED)
        return;
    log_ = mem_aligned(64, sizeof *log_);
    assert_non_null(log_);
    changelog_init(log_, 1, 1 << 20, NULL);
    changelog_start(log_, 0);
    unit_init(&unit, log_, 0);
    h->ctx.unit = &unit;
}

static void log_stop(enum way way)
{
    if (way != LOGGED)
        return;
    unit_release(&unit);
    changelog_release(log_);
    mem_free(log_);
}

static struct cut *open_cut(struct harness *h, enum way way)
{
    struct cut_options o = {.now_ms = h->ctx.a.now_ms};
    struct cut *c = NULL;
    if (way == CUT)
        assert_int_equal(cut_open(&c, h->store, &o), 0);
    return c;
}

/* Of heap values, down to the last byte. */
static int64_t heap_account(const struct harness *h)
{
    return (int64_t)atomic_load(&h->store->heap) + h->ctx.a.app->heap_unseen;
}

/* The request with its n-th allocation failing. False when it made fewer. */
static bool try_failure(struct harness *h, const char *line, int64_t n, enum way way, uint64_t *refusals)
{
    struct buf was, is;
    buf_init(&was);
    buf_init(&is);
    fill(h);
    look(h, &was);
    int64_t heap = heap_account(h);
    struct cut *cut = open_cut(h, way);
    h->logged = way == LOGGED;
    h->fail_after = n;
    struct str reply = harness_line(h, line);
    h->logged = false;
    bool failed = h->failed, closed = reply.n == 0, refused = !closed && reply.p[0] == '-';
    assert_false(refused && !failed);
    *refusals += refused;
    look(h, &is);
    /* Without memory for the reply the connection is closed, whatever was done. */
    if (refused && !str_eq(buf_str(&was), buf_str(&is)))
        fail_msg("allocation %ld failed, and half of this was done: %.60s", (long)n, line);
    if (refused && heap_account(h) != heap)
        fail_msg("allocation %ld failed, and the accounts are out by %ld: %.60s", (long)n,
                 (long)(heap_account(h) - heap), line);
    if (cut != NULL)
        cut_close(cut);
    store_check(h->store);
    buf_release(&was);
    buf_release(&is);
    return failed;
}

static void each_way(enum way way, bool on)
{
    static char line[3 * BIG];
    uint64_t refusals = 0;
    memset(big, 'b', BIG);
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        struct harness h;
        harness_start(&h);
        log_start(&h, way);
        h.fail_on = on;
        format(line, sizeof line, requests[i]);
        int64_t n = 1;
        while (try_failure(&h, line, n, way, &refusals))
            assert_true(++n < FAILURES_MAX);
        log_stop(way);
        harness_stop(&h);
    }
    assert_true(refusals >= ARRAY_LEN(requests));
}

static void failures_change_nothing(void **state)
{
    each_way(PLAIN, false);
}

static void shortages_change_nothing(void **state)
{
    each_way(PLAIN, true);
}

static void nor_with_a_log(void **state)
{
    each_way(LOGGED, false);
}

static void nor_with_a_cut(void **state)
{
    each_way(CUT, false);
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef LARDER_DEBUG
        cmocka_unit_test(failures_change_nothing),
        cmocka_unit_test(shortages_change_nothing),
        cmocka_unit_test(nor_with_a_log),
        cmocka_unit_test(nor_with_a_cut),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
