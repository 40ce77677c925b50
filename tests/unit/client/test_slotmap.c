/* Slot maps out of replies, as servers send them and as enemies would. */
#include "unit/unit.h"

#include "base/annotate.h"
#include "base/arena.h"
#include "base/err.h"
#include "client/slotmap.h"

#include <stdio.h>
#include <string.h>

/* Node numbers are ports; a host that is not the empty one must be "h". */
static int intern(void *arg, struct str host, int64_t port)
{
    unsigned *empty_hosts = arg;
    *empty_hosts += host.n == 0;
    assert_true(host.n == 0 || str_eq(host, STR("h")));
    return port < 1000 ? (int)port : -1;
}

typedef int (*reading)(struct slotmap *m, const struct reader_value *reply, slotmap_intern intern, void *arg);

static int read_map(struct slotmap *m, reading how, const char *text, unsigned *empty_hosts)
{
    struct arena arena;
    struct reader_value v;
    size_t used = 0, need = 0;
    arena_init(&arena);
    slotmap_init(m);
    assert_int_equal(reader_parse(str_of(text), 1000, &arena, &v, &used, &need), 0);
    assert_int_equal(used, strlen(text));
    int err = how(m, &v, intern, empty_hosts);
    arena_release(&arena);
    return err;
}

static void assert_shard(const struct slotmap *m, uint16_t slot, uint32_t primary, uint32_t nreplicas)
{
    const struct slotmap_shard *shard = slotmap_find(m, slot);
    assert_non_null(shard);
    assert_int_equal(shard->primary, primary);
    assert_int_equal(shard->nreplicas, nreplicas);
}

static void cluster_slots(void **state)
{
    struct slotmap m;
    unsigned empty = 0;
    const char *reply = "*3\r\n"
                        "*4\r\n:0\r\n:100\r\n*3\r\n+h\r\n:1\r\n$2\r\nid\r\n*2\r\n+h\r\n:2\r\n"
                        "*3\r\n:102\r\n:16383\r\n*2\r\n$0\r\n\r\n:3\r\n"
                        "*4\r\n:101\r\n:101\r\n*2\r\n+h\r\n:1\r\n*2\r\n_\r\n:4\r\n";
    assert_int_equal(read_map(&m, slotmap_from_slots, reply, &empty), 0);
    assert_int_equal(empty, 2);
    assert_int_equal(m.nshards, 2);
    assert_shard(&m, 0, 1, 2); /* two rows of one primary are one shard */
    assert_shard(&m, 101, 1, 2);
    assert_shard(&m, 102, 3, 0);
    assert_shard(&m, 16383, 3, 0);
    slotmap_release(&m);
    assert_null(slotmap_find(&m, 0));
}

#define NODE(port, role, health)                                                                             \
    "*10\r\n+id\r\n+x\r\n+port\r\n:" port "\r\n+endpoint\r\n+h\r\n+role\r\n+" role "\r\n+health\r\n+" health \
    "\r\n"

static void cluster_shards(void **state)
{
    struct slotmap m;
    unsigned empty = 0;
    const char *reply =
        "*3\r\n"
        "*4\r\n+slots\r\n*4\r\n:0\r\n:9\r\n:20\r\n:29\r\n+nodes\r\n*4\r\n" NODE(
            "2", "replica", "online") NODE("1", "master", "online") NODE("3", "replica", "loading")
            NODE("4", "replica", "fail") "*4\r\n+slots\r\n*0\r\n+nodes\r\n*1\r\n" NODE(
                "5", "master",
                "online") "%2\r\n+slots\r\n*2\r\n:10\r\n:19\r\n+nodes\r\n*2\r\n" NODE("6", "master", "fail")
                NODE("7", "master", "online");
    assert_int_equal(read_map(&m, slotmap_from_shards, reply, &empty), 0);
    assert_shard(&m, 0, 1, 1);
    assert_shard(&m, 29, 1, 1);
    assert_int_equal(slotmap_find(&m, 5)->replicas[0], 2);
    assert_shard(&m, 15, 7, 0); /* of two that call themselves primary, the one that lives */
    assert_null(slotmap_find(&m, 30));
    slotmap_release(&m);
}

static void other_shapes_are_refused(void **state)
{
    static const char *const slots[] = {
        ":1\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n*2\r\n:0\r\n:1\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n:2\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n*1\r\n+h\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n+h\r\n+p\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n+h\r\n:65536\r\n",
        "*1\r\n*3\r\n:-1\r\n:1\r\n*2\r\n+h\r\n:1\r\n",
        "*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n+h\r\n:1\r\n",
        "*1\r\n*3\r\n:5\r\n:4\r\n*2\r\n+h\r\n:1\r\n",
        "*1\r\n*3\r\n+0\r\n:4\r\n*2\r\n+h\r\n:1\r\n",
    };
    static const char *const shards[] = {
        "+OK\r\n",
        "*1\r\n+x\r\n",
        "*1\r\n*2\r\n+slots\r\n*0\r\n",
        "*1\r\n*4\r\n+slots\r\n*1\r\n:1\r\n+nodes\r\n*0\r\n",
        "*1\r\n*4\r\n+slots\r\n+x\r\n+nodes\r\n*0\r\n",
        "*1\r\n*4\r\n+slots\r\n*2\r\n:0\r\n:1\r\n+nodes\r\n*1\r\n:1\r\n",
        "*1\r\n*4\r\n+slots\r\n*2\r\n:0\r\n:1\r\n+nodes\r\n*1\r\n*2\r\n+port\r\n:1\r\n",
        "*1\r\n*4\r\n+slots\r\n*2\r\n:0\r\n:99999\r\n+nodes\r\n*1\r\n" NODE("1", "master", "online"),
    };
    struct slotmap m;
    unsigned empty = 0;
    for (size_t i = 0; i < ARRAY_LEN(slots); i++) {
        assert_int_equal(read_map(&m, slotmap_from_slots, slots[i], &empty), ERR_PROTO);
        slotmap_release(&m);
    }
    for (size_t i = 0; i < ARRAY_LEN(shards); i++) {
        assert_int_equal(read_map(&m, slotmap_from_shards, shards[i], &empty), ERR_PROTO);
        slotmap_release(&m);
    }
    assert_int_equal(
        read_map(&m, slotmap_from_slots, "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n+h\r\n:1000\r\n", &empty), ERR_FULL);
    slotmap_release(&m);
}

static void moved_moves_one_slot(void **state)
{
    struct slotmap m;
    unsigned empty = 0;
    assert_int_equal(
        read_map(&m, slotmap_from_slots, "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n+h\r\n:1\r\n", &empty), 0);
    assert_int_equal(slotmap_move(&m, 7, 9), 0);
    assert_shard(&m, 7, 9, 0);
    assert_shard(&m, 8, 1, 0);
    assert_int_equal(slotmap_move(&m, 8, 9), 0);
    assert_int_equal(m.nshards, 2);
    for (uint32_t node = 10; m.nshards < SLOTMAP_SHARDS_MAX; node++)
        assert_int_equal(slotmap_move(&m, 8, node), 0);
    assert_int_equal(slotmap_move(&m, 8, 100000), ERR_FULL);
    slotmap_release(&m);
}

static void redirections(void **state)
{
    bool ask;
    uint16_t slot;
    struct str host;
    int64_t port;
    assert_true(slotmap_parse_redirect(STR("MOVED 3999 127.0.0.1:6381"), &ask, &slot, &host, &port));
    assert_true(!ask && slot == 3999 && port == 6381);
    assert_str(host, STR("127.0.0.1"));
    assert_true(slotmap_parse_redirect(STR("ASK 0 ::1:1"), &ask, &slot, &host, &port));
    assert_true(ask && slot == 0 && port == 1);
    assert_str(host, STR("::1"));
    assert_true(slotmap_parse_redirect(STR("MOVED 16383 :7000"), &ask, &slot, &host, &port));
    assert_int_equal(host.n, 0);
    static const struct str bad[] = {
        STR(""),
        STR("MOVED"),
        STR("MOVED "),
        STR("MOVED 1"),
        STR("ASK 1 "),
        STR("MOVED 1 host"),
        STR("MOVED 16384 h:1"),
        STR("MOVED -1 h:1"),
        STR("ASK x h:1"),
        STR("ASK 1 h:0"),
        STR("ASK 1 h:65536"),
        STR("ASK 1 h:"),
        STR("MOVEDx 1 h:1"),
        STR("asks 1 h:1"),
        STR("ASK 1 h:1x"),
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(slotmap_parse_redirect(bad[i], &ask, &slot, &host, &port));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cluster_slots),
        cmocka_unit_test(cluster_shards),
        cmocka_unit_test(other_shapes_are_refused),
        cmocka_unit_test(moved_moves_one_slot),
        cmocka_unit_test(redirections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
