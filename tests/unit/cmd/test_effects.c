/* What the log says a command did: the request, or what its handler put in its place. */
#include "harness.h"

#include "base/alloc.h"
#include "cmd/effect.h"
#include "proto/request.h"
#include "store/change.h"

#include <stdio.h>

static struct changelog *log_;
static struct unit unit;
static struct changelog_reader reader;

static void note_removed(void *listener, const struct access *a, uint32_t db, struct str key,
                         enum change_reason why)
{
    const struct str argv[] = {STR("DEL"), key};
    unit_add(listener, db, argv, 2);
}

static void start(struct harness *h)
{
    harness_start(h);
    log_ = mem_aligned(64, sizeof *log_);
    changelog_init(log_, 1, 1 << 20, NULL);
    changelog_start(log_, 0);
    unit_init(&unit, log_, 0);
    store_observe(h->ctx.a.app, note_removed, &unit);
    h->ctx.unit = &unit;
    h->logged = true;
    assert_int_equal(changelog_reader_open(log_, &reader, 0), 0);
}

static void stop(struct harness *h)
{
    changelog_reader_close(log_, &reader);
    unit_release(&unit);
    changelog_release(log_);
    mem_free(log_);
    harness_stop(h);
}

/* The commands that came into the log, SELECT included: "a b c; d e". */
static const char *logged(struct harness *h, const char *line)
{
    static char text[2048];
    char bytes[1024];
    struct arena arena;
    struct request r;
    struct request_parser rp = {.bulk_max = 1 << 20, .authenticated = true};
    size_t used = 0, at = 0;
    if (line != NULL)
        harness_line(h, line);
    int64_t n = changelog_read(log_, &reader, bytes, sizeof bytes);
    assert_true(n >= 0);
    arena_init(&arena);
    text[0] = '\0';
    while (used < (size_t)n) {
        assert_int_equal(request_parse(&rp, (struct str){bytes + used, (size_t)n - used}, &arena, &r), 0);
        for (uint32_t i = 0; i < r.argc; i++)
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%.*s",
                                   i > 0    ? " "
                                   : at > 0 ? "; "
                                            : "",
                                   (int)r.argv[i].n, r.argv[i].p);
        used += r.bytes;
    }
    arena_release(&arena);
    return text;
}

/* The harness's clock stands at 1700000000000. */
static const struct {
    const char *line, *effect;
} cases[] = {
    {"SET k v", "SELECT 0; set k v"},
    {"GET k", ""},
    {"sEt k w", "set k w"},
    {"SET k v EX 10", "SET k v PXAT 1700000010000"},
    {"SET k v PX 10", "SET k v PXAT 1700000000010"},
    {"SET k w KEEPTTL", "SET k w KEEPTTL"},
    {"SET k w NX", ""},
    {"SET k w XX GET", "SET k w"},
    {"SET k w EXAT 1", "DEL k"},
    {"SET k w EXAT 1", ""},
    {"SETNX k 1", "SET k 1"},
    {"SETNX k 1", ""},
    {"SETEX k 10 1", "SET k 1 PXAT 1700000010000"},
    {"PSETEX k 10 1", "SET k 1 PXAT 1700000000010"},
    {"GETSET k 5", "SET k 5"},
    {"INCR k", "incr k"},
    {"INCRBY k 3", "incrby k 3"},
    {"INCRBYFLOAT k 0.5", "SET k 9.5 KEEPTTL"},
    {"INCR k", ""}, /* an error */
    {"APPEND k 1", "append k 1"},
    {"SETRANGE k 1 x", "setrange k 1 x"},
    {"SETBIT b 1 1", "setbit b 1 1"},
    {"SETBIT b 1 1", ""},
    {"SETBIT b 1 0", "setbit b 1 0"},
    {"SETBIT b 8 0", "setbit b 8 0"}, /* a byte longer */
    {"BITFIELD b SET u8 0 0 GET u4 0 SET i8 8 0", ""},
    {"BITFIELD b SET i8 0 -1", "bitfield b SET i8 0 -1"},
    {"BITFIELD b SET u8 0 255 SET u4 4 31", ""}, /* 31 wraps to what is there */
    {"BITFIELD b OVERFLOW FAIL SET u4 0 16", ""},
    {"BITFIELD b INCRBY u8 0 0", "bitfield b INCRBY u8 0 0"},
    {"BITFIELD b SET u8 16 0", "bitfield b SET u8 16 0"},
    {"SET b 1", "set b 1"},
    {"SETBIT b 0 0", "setbit b 0 0"}, /* raw from now on */
    {"SETBIT b 0 0", ""},
    {"EXPIRE k 10", "PEXPIREAT k 1700000010000"},
    {"EXPIRE k 10 NX", ""},
    {"PEXPIRE k 10", "PEXPIREAT k 1700000000010"},
    {"EXPIREAT k 1800000000", "PEXPIREAT k 1800000000000"},
    {"PERSIST k", "persist k"},
    {"PERSIST k", ""},
    {"GETEX k EX 5", "PEXPIREAT k 1700000005000"},
    {"GETEX k", ""},
    {"GETEX k PERSIST", "PERSIST k"},
    {"GETEX k EXAT 1", "DEL k"},
    {"GETEX k EXAT 1", ""},
    {"MSET k 1 l 2", "mset k 1 l 2"},
    {"MSETNX k 1 m 2", ""},
    {"EXPIRE k -1", "DEL k"},
    {"EXPIRE k 10", ""},
    {"GETDEL l", "DEL l"},
    {"GETDEL l", ""},
    {"SET k v", "set k v"},
    {"RENAME k l", "rename k l"},
    {"COPY l k DB 3", "copy l k DB 3"},
    {"MOVE l 5", "move l 5"},
    {"MOVE l 5", ""},
    {"DEL k l m", ""},
    {"DEL b k", "del b k"},
    {"SADD s 7", "sadd s 7"},
    {"SADD s 7", ""},
    {"SREM s 8", ""},
    {"COPY s t", "copy s t"},
    {"SPOP s", "SREM s 7"},
    {"SPOP s", ""},
    {"SADD s x x", "sadd s x x"},
    {"SPOP s 5", "DEL s"},
    {"SADD s x y", "sadd s x y"},
    {"SPOP s 0", ""},
    {"SMOVE s t x", "smove s t x"},
    {"SMOVE s t x", ""},
    {"SMOVE s t nobody", ""},
    {"SADD s y", ""},
    {"SRANDMEMBER s 3", ""},
    {"SUNIONSTORE u s t", "sunionstore u s t"},
    {"SINTERSTORE u s t", "sinterstore u s t"}, /* nothing: u is deleted */
    {"SINTERSTORE u s t", ""},
    {"SREM s y", "srem s y"},
    {"FLUSHALL", "flushall"},
};

static void test_effects(void **state)
{
    struct harness h;
    start(&h);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *got = logged(&h, cases[i].line);
        if (strcmp(got, cases[i].effect) != 0)
            fail_msg("%s: logged '%s' instead of '%s'", cases[i].line, got, cases[i].effect);
    }
    stop(&h);
}

static void test_restore_takes_a_deadline(void **state)
{
    struct harness h;
    char payload[64], want[256];
    start(&h);
    logged(&h, "SET k v");
    struct str dump = harness_line(&h, "DUMP k");
    const char *body = strchr(dump.p, '\n') + 1;
    size_t n = (size_t)(dump.p + dump.n - 2 - body);
    memcpy(payload, body, n);
    const struct str argv[] = {STR("RESTORE"), STR("r"), STR("1500"), {payload, n}};
    assert_str(harness_run(&h, argv, 4), STR("+OK\r\n"));
    char bytes[256];
    int64_t got = changelog_read(log_, &reader, bytes, sizeof bytes);
    int len =
        snprintf(want, sizeof want, "*6\r\n$7\r\nRESTORE\r\n$1\r\nr\r\n$13\r\n1700000001500\r\n$%zu\r\n", n);
    memcpy(want + len, payload, n);
    len += (int)n;
    len += snprintf(want + len, sizeof want - (size_t)len, "\r\n$7\r\nREPLACE\r\n$6\r\nABSTTL\r\n");
    assert_str(((struct str){bytes, (size_t)got}), ((struct str){want, (size_t)len}));
    stop(&h);
}

static void test_what_expires_is_deleted_first(void **state)
{
    struct harness h;
    start(&h);
    logged(&h, "SET k v PX 10");
    logged(&h, "SET l v PX 10");
    h.ctx.a.now_ms += 20;
    assert_string_equal(logged(&h, "GET k"), "DEL k");
    assert_string_equal(logged(&h, "GET k"), "");
    assert_string_equal(logged(&h, "SET l w"), "MULTI; DEL l; set l w; EXEC");
    logged(&h, "SET m v PX 10");
    h.ctx.a.now_ms += 20;
    assert_string_equal(logged(&h, "EXPIRE m 100"), "DEL m"); /* it was gone: nothing else happened */
    logged(&h, "SET a v PX 10");
    logged(&h, "SET b v PX 10");
    h.ctx.a.now_ms += 20;
    assert_string_equal(logged(&h, "DEL a b"), "MULTI; DEL a; DEL b; EXEC");
    stop(&h);
}

static void test_removals_outside_of_commands(void **state)
{
    struct harness h;
    start(&h);
    h.session.db = 4;
    logged(&h, "SET k v PX 1");
    h.ctx.a.now_ms += 3600 * 1000;
    for (int i = 0; i < 1000 && store_db_keys(h.store, 4) > 0; i++)
        store_maintain(&h.ctx.a, 1000);
    assert_string_equal(logged(&h, NULL), "DEL k");
    h.session.db = 0;
    assert_string_equal(logged(&h, "SET k v"), "SELECT 0; set k v");
    stop(&h);
}

static void test_changes_are_counted(void **state)
{
    struct harness h;
    start(&h);
    uint64_t before = store_changes(h.store);
    harness_line(&h, "MSET a 1 b 2 c 3");
    harness_line(&h, "GET a");
    harness_line(&h, "DEL a b nothing");
    assert_int_equal(store_changes(h.store) - before, 5);
    harness_line(&h, "PEXPIRE c 5");
    h.ctx.a.now_ms += 10;
    harness_line(&h, "GET c"); /* expires: nobody's command */
    assert_int_equal(store_changes(h.store) - before, 6);
    stop(&h);
}

static void test_a_transaction_is_one_unit(void **state)
{
    struct harness h;
    start(&h);
    h.logged = false; /* as EXEC does it: opened once, closed once */
    unit_open(&unit);
    h.run_in_unit = true;
    const struct str set[] = {STR("SET"), STR("k"), STR("1")}, get[] = {STR("GET"), STR("k")},
                     add[] = {STR("INCRBYFLOAT"), STR("k"), STR("1.5")};
    harness_run(&h, set, 3); /* the queue outlives the transaction, so these do, too */
    harness_run(&h, add, 3);
    harness_run(&h, get, 2);
    h.session.db = 9;
    harness_run(&h, set, 3);
    unit_reserve(&unit);
    unit_publish(&unit);
    assert_string_equal(logged(&h, NULL),
                        "SELECT 0; MULTI; set k 1; SET k 2.5 KEEPTTL; SELECT 9; set k 1; EXEC");
    h.run_in_unit = false;
    h.logged = true;
    assert_string_equal(logged(&h, "DEL k"), "del k"); /* database 9 is selected */
    stop(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_effects),
        cmocka_unit_test(test_restore_takes_a_deadline),
        cmocka_unit_test(test_what_expires_is_deleted_first),
        cmocka_unit_test(test_removals_outside_of_commands),
        cmocka_unit_test(test_changes_are_counted),
        cmocka_unit_test(test_a_transaction_is_one_unit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
