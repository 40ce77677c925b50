#include "golden.h"

#include "base/alloc.h"
#include "base/err.h"
#include "cluster/nodesconf.h"

#include <string.h>

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define VARS "vars currentEpoch 5 lastVoteEpoch 4 larderDataEpoch 0\n"

static struct handover taking, ready, gift, lost;

static int read_text(struct slotmap *map, struct nodesconf *c, struct str text)
{
    unsigned line;
    slotmap_init(map);
    memset(&taking, 0, sizeof(taking));
    memset(&ready, 0, sizeof(ready));
    memset(&gift, 0, sizeof(gift));
    memset(&lost, 0, sizeof(lost));
    *c = (struct nodesconf){.map = map, .taking = &taking, .ready = &ready, .gift = &gift, .lost = &lost};
    return nodesconf_read(text, 1000, c, &line);
}

static void release(struct nodesconf *c)
{
    slotmap_release(c->map);
    mem_free(c->moves);
}

static void redis_wrote_it(void **state)
{
    char bytes[4096];
    struct slotmap *map = test_malloc(sizeof(*map));
    struct nodesconf c;
    assert_int_equal(read_text(map, &c, golden(GOLDEN "nodes.conf", bytes, sizeof(bytes))), 0);
    assert_int_equal(map->n, 4);
    assert_int_equal(map->assigned, SLOT_COUNT);
    assert_int_equal(c.current_epoch, 2);
    assert_string_equal(c.self->host, "node-27703.example");
    assert_int_equal(c.self->cport, 37703);
    assert_ptr_equal(c.self->primary, map->owner[0]);
    release(&c);
    test_free(map);
}

/* What we write we read to the same text; 7.2's extra fields and a slot on its way survive. */
static void text_comes_back(void **state)
{
    static const char text[] =
        A " 10.0.0.1:6379@16379,h.example,nodename=n1,tls-port=6380,shard-id=" B
          " myself,master - 0 0 5 connected"
          " 1 3-9 [3->-" B "] [77-<-" B "]\n" B " ::1:6379@16379 slave " A " 0 0 4 disconnected\n"
          "vars currentEpoch 5 lastVoteEpoch 4 larderDataEpoch 0 larderReady-" B
          "-20 22 larderReadyIn 4 larderTakes-" B "-7 9 larderTakes-" B
          "-12 12 larderTakesIn 4 larderGives-" A "-3 3 larderGivesOf-" B " 1 larderOffers 3 larderLost-" B
          "-30 31 larderLostIn 2 larderVoted-" A "-" B " 2 larderEnded-" A "-" B " 1\n";
    struct slotmap *map = test_malloc(sizeof(*map));
    struct nodesconf c;
    struct buf out;
    buf_init(&out);
    assert_int_equal(read_text(map, &c, str_of(text)), 0);
    assert_int_equal(c.nmoves, 2);
    assert_true(!c.moves[0].importing && c.moves[1].importing && c.moves[1].slot == 77);
    assert_true(c.taking->on && slots_has(c.taking->slots, 8) && c.taking->epoch == 4 &&
                c.offers_epoch == 3 && c.nvotes == 1);
    assert_true(c.ready->on && c.ready->epoch == 4 && slots_has(c.ready->slots, 21) && c.nended == 1 &&
                c.ended[0].epoch == 1);
    assert_true(c.lost->on && c.lost->epoch == 2 && slots_has(c.lost->slots, 31));
    assert_int_equal(nodesconf_write(&c, &out), 0);
    assert_str(buf_str(&out), str_of(text));
    buf_release(&out);
    release(&c);
    test_free(map);
}

static void nothing_half_believed(void **state)
{
    static const char *const bad[] = {
        VARS,
        A " 1.1.1.1:1@2 myself,master - 0 0 1 connected\n",            /* no vars: cut */
        A " 1.1.1.1:1@2 myself,master - 0 0 1 connected 16384\n" VARS, /* no such slot */
        A " 1.1.1.1:1@2 myself,master - 0 0 1 connected 9-3\n" VARS,
        A " 1.1.1.1:99999@2 myself,master - 0 0 1 connected\n" VARS,
        A " 1.1.1.1:1@2 myself,king - 0 0 1 connected\n" VARS,
        A " 1.1.1.1:1@2 master - 0 0 1 connected\n" VARS,           /* nobody is myself */
        A " 1.1.1.1:1@2 myself,slave " B " 0 0 1 connected\n" VARS, /* B has no line */
        A " 1.1.1.1:1@2 myself,slave " A " 0 0 1 connected\n" VARS, /* its own replica */
        A " 1.1.1.1:1@2 myself,master - 0 0 1 connected [3->-x]\n" VARS,
        A " 1.1.1.1:1@2 myself,master - 0 0\n" VARS,
        "zz 1.1.1.1:1@2 myself,master - 0 0 1 connected\n" VARS,
        A " 1.1.1.1:1@2 myself,master - 0 0 1 connected\nvars currentEpoch\n",
        A " 1.1.1.1:1@2 myself,master - 0 0 1 connected\nvars currentEpoch 5", /* cut in the number */
    };
    struct slotmap *map = test_malloc(sizeof(*map));
    struct nodesconf c;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        int err = read_text(map, &c, str_of(bad[i]));
        assert_int_equal(err, i == 0 ? ERR_NOTFOUND : ERR_CORRUPT);
        assert_int_equal(map->n, 0);
        assert_null(c.moves);
    }
    test_free(map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(redis_wrote_it), cmocka_unit_test(text_comes_back),
                                       cmocka_unit_test(nothing_half_believed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
