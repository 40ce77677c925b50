/* What a replica says, piece by piece: taken, refused, or without meaning. */
#include "unit.h"

#include "base/err.h"
#include "repl/joiner.h"

#include <string.h>

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void it_says_who_it_is(void **state)
{
    struct joiner j = {0};
    assert_int_equal(joiner_learn(&j, STR("Listening-Port"), STR("6380")), JOINER_FINE);
    assert_int_equal(joiner_learn(&j, STR("ip-address"), STR("fe80::1")), JOINER_FINE);
    assert_int_equal(joiner_learn(&j, STR("capa"), STR("EOF")), JOINER_FINE);
    assert_int_equal(joiner_learn(&j, STR("capa"), STR("not-yet-invented")), JOINER_FINE);
    assert_true(j.port == 6380 && j.knows_eof && !j.knows_psync2 && strcmp(j.ip, "fe80::1") == 0);
    assert_int_equal(joiner_learn(&j, STR("listening-port"), STR("-1")), JOINER_NOT_NUMBER);
    assert_int_equal(joiner_learn(&j, STR("rdb-only"), STR("2")), JOINER_NOT_NUMBER);
    assert_int_equal(joiner_learn(&j, STR("ip-address"), STR(A A)), JOINER_TOO_LONG);
    assert_int_equal(joiner_learn(&j, STR("ip-address"), STR("a\nb")), JOINER_UNPRINTABLE);
    assert_int_equal(joiner_learn(&j, STR("ack"), STR("1")), JOINER_UNKNOWN);
    assert_true(j.port == 6380 && !j.rdb_only && strcmp(j.ip, "fe80::1") == 0); /* as before */
}

static void it_says_what_it_wants(void **state)
{
    const struct str fresh[] = {STR("?"), STR("-1")};
    const struct str again[] = {STR(A), STR("101"), STR("failover")};
    const struct str bad[] = {STR(A), STR("ten")};
    struct joiner_wish w;
    assert_int_equal(joiner_wish(&w, fresh, 2), 0);
    assert_true(!w.has_history && !w.failover && w.from == -1);
    assert_int_equal(joiner_wish(&w, again, 3), 0);
    assert_true(w.has_history && w.failover && w.from == 101 && strcmp(w.id, A) == 0);
    assert_int_equal(joiner_wish(&w, bad, 2), ERR_CORRUPT);
}

#define ACK(n) "*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$2\r\n" n "\r\n"

static void it_says_how_far_it_is(void **state)
{
    struct arena arena;
    struct joiner_ack ack;
    size_t used;
    arena_init(&arena);
    struct str two = STR(ACK("10") "PING\r\n" ACK("20") "*3\r\n$8\r\nREPL");
    assert_int_equal(joiner_acks(two, 20, &arena, &ack, &used), 0);
    assert_true(ack.any && ack.offset == 20 && ack.fsynced == 0);
    assert_int_equal(used, two.n - strlen("*3\r\n$8\r\nREPL"));
    assert_int_equal(joiner_acks(two, 19, &arena, &ack, &used), ERR_RANGE);
    assert_int_equal(joiner_acks(STR("REPLCONF ACK 5 FACK 21\r\n"), 20, &arena, &ack, &used), ERR_RANGE);
    assert_int_equal(joiner_acks(STR("REPLCONF ACK -5\r\nREPLCONF GETACK *\r\n"), 20, &arena, &ack, &used),
                     0);
    assert_false(ack.any);
    assert_int_equal(joiner_acks(STR("*1\r\n$-7\r\n"), 20, &arena, &ack, &used), ERR_PROTO);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_who_it_is),
        cmocka_unit_test(it_says_what_it_wants),
        cmocka_unit_test(it_says_how_far_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
