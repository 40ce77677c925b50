/* Where commands go, by a clock of our own: breakers, stand-ins, replicas, refreshes. */
#include "unit/unit.h"

#include "base/err.h"
#include "client/topo.h"

#include <stdio.h>
#include <string.h>

#define MS ((int64_t)1000000)

struct world {
    struct settings set;
    struct topo topo;
};

static void begin(struct world *w, enum larder_topology kind, enum larder_read_from from)
{
    struct larder_options o;
    larder_options_init(&o);
    o.topology = kind;
    o.read_from = from;
    o.breaker_failures = 2;
    o.breaker_ms = 100;
    assert_int_equal(settings_init(&w->set, &o, NULL), 0);
    assert_int_equal(topo_init(&w->topo, &w->set, NULL), 0);
}

static void end(struct world *w)
{
    topo_release(&w->topo);
    settings_release(&w->set);
}

static void add(struct world *w, const char *address)
{
    struct address a;
    struct str rest = str_of(address);
    assert_int_equal(address_next(&rest, &a, NULL), 0);
    assert_int_equal(topo_ring_add(&w->topo, &a, 1, NULL), 0);
}

static void ring_of_three(struct world *w)
{
    begin(w, LARDER_TOPOLOGY_RING, LARDER_READ_PRIMARY);
    add(w, "a:1");
    add(w, "b");
    add(w, "[::1]:3");
    assert_string_equal(topo_node(&w->topo, 1)->address.name, "b:6379");
    assert_string_equal(topo_node(&w->topo, 2)->address.name, "[::1]:3");
    assert_string_equal(topo_node(&w->topo, 2)->address.host, "::1");
}

static const struct topo_ask get = {.key = {"k", 1}, .read = true, .stand_in = true, .node = -1};
static const struct topo_ask incr = {.key = {"k", 1}, .node = -1};

static void a_stand_in_belongs_to_one_outage(void **state)
{
    struct world w;
    struct topo_route r, again;
    ring_of_three(&w);
    assert_int_equal(topo_route(&w.topo, &get, 0, &r, NULL), 0);
    uint32_t owner = r.node;
    assert_true(!r.standin && (int)owner == topo_owner(&w.topo, get.key));
    topo_failed(&w.topo, owner, 0);
    topo_failed(&w.topo, owner, 0);
    assert_int_equal(topo_route(&w.topo, &get, 1, &r, NULL), 0);
    assert_true(r.standin && r.node != owner && r.owner == owner);
    assert_int_equal(topo_route(&w.topo, &incr, 1, &again, NULL), LARDER_ERR_UNAVAILABLE);
    /* The probe goes to the owner, one an interval; the same outage keeps its number. */
    assert_int_equal(topo_route(&w.topo, &get, 100 * MS, &again, NULL), 0);
    assert_false(again.standin);
    assert_int_equal(topo_route(&w.topo, &get, 100 * MS, &again, NULL), 0);
    assert_true(again.standin && again.outage == r.outage);
    topo_failed(&w.topo, owner, 150 * MS);
    assert_int_equal(topo_route(&w.topo, &get, 160 * MS, &again, NULL), 0);
    assert_true(again.outage == r.outage);
    topo_succeeded(&w.topo, owner);
    assert_int_equal(topo_route(&w.topo, &incr, 160 * MS, &again, NULL), 0);
    assert_int_equal(again.node, owner);
    topo_failed(&w.topo, owner, 170 * MS);
    topo_failed(&w.topo, owner, 170 * MS);
    assert_int_equal(topo_route(&w.topo, &get, 170 * MS, &again, NULL), 0);
    assert_true(again.standin && again.outage != r.outage);
    end(&w);
}

static void who_failed_a_command_is_not_asked_again(void **state)
{
    struct world w;
    struct topo_route r;
    uint32_t tried[TOPO_TRIED_MAX];
    struct topo_ask ask = get;
    ring_of_three(&w);
    ask.tried = tried;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(topo_route(&w.topo, &ask, 0, &r, NULL), 0);
        for (unsigned n = 0; n < ask.ntried; n++)
            assert_int_not_equal(r.node, tried[n]);
        tried[ask.ntried++] = r.node;
    }
    assert_int_equal(topo_route(&w.topo, &ask, 0, &r, NULL), 0); /* all failed it: the owner once more */
    assert_false(r.standin);
    end(&w);
}

static void errors_name_the_node(void **state)
{
    struct world w;
    struct topo_route r;
    struct larder_error err;
    begin(&w, LARDER_TOPOLOGY_SINGLE, LARDER_READ_PRIMARY);
    add(&w, "a:1");
    topo_failed(&w.topo, 0, 0);
    topo_failed(&w.topo, 0, 0);
    assert_int_equal(topo_route(&w.topo, &get, 40 * MS, &r, &err), LARDER_ERR_UNAVAILABLE);
    assert_string_equal(err.text, "a:1: keeps failing, the next attempt is in 60 ms");
    end(&w);
}

static void feed(struct world *w, const char *text, bool shards, int expected)
{
    struct arena arena;
    struct reader_value v;
    size_t used, need;
    arena_init(&arena);
    assert_int_equal(reader_parse(str_of(text), 1000, &arena, &v, &used, &need), 0);
    assert_int_equal(topo_refreshed(&w->topo, &v, shards, 0, 1000 * MS), expected);
    arena_release(&arena);
}

static const char two_nodes[] = "*1\r\n*4\r\n:0\r\n:16000\r\n*2\r\n+p\r\n:1\r\n*2\r\n+r\r\n:2\r\n";

static void a_cluster(struct world *w, enum larder_read_from from)
{
    begin(w, LARDER_TOPOLOGY_CLUSTER, from);
    add(w, "seed:1");
    feed(w, two_nodes, false, 0);
    assert_int_equal(topo_find(&w->topo, "p:1"), 1);
    assert_int_equal(topo_find(&w->topo, "r:2"), 2);
}

static void replicas_by_policy(void **state)
{
    struct world w;
    struct topo_route r;
    unsigned primaries = 0, replicas = 0;
    a_cluster(&w, LARDER_READ_PRIMARY);
    assert_int_equal(topo_route(&w.topo, &get, 0, &r, NULL), 0);
    assert_true(r.node == 1 && !r.readonly);
    topo_failed(&w.topo, 1, 0);
    topo_failed(&w.topo, 1, 0);
    assert_int_equal(topo_route(&w.topo, &get, 1, &r, NULL), 0);
    assert_true(r.node == 2 && r.readonly);
    assert_int_equal(topo_route(&w.topo, &incr, 1, &r, NULL), LARDER_ERR_UNAVAILABLE);
    end(&w);
    a_cluster(&w, LARDER_READ_ANY);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(topo_route(&w.topo, &get, 0, &r, NULL), 0);
        primaries += r.node == 1;
        replicas += r.node == 2;
        assert_int_equal(topo_route(&w.topo, &incr, 0, &r, NULL), 0);
        assert_int_equal(r.node, 1);
    }
    assert_true(primaries > 10 && replicas > 10 && primaries + replicas == 100);
    end(&w);
}

static void refreshes_are_one_at_a_time(void **state)
{
    struct world w;
    struct topo_route r;
    struct topo_ask nobody = {.key = {"k", 1}, .slot = 16001, .node = -1};
    bool shards = false;
    a_cluster(&w, LARDER_READ_PRIMARY);
    assert_false(topo_begin_refresh(&w.topo, 2000 * MS, &shards));
    assert_int_equal(topo_route(&w.topo, &nobody, 0, &r, NULL), LARDER_ERR_CLUSTER);
    assert_true(topo_begin_refresh(&w.topo, 2000 * MS, &shards) && shards);
    assert_false(topo_begin_refresh(&w.topo, 3000 * MS, &shards));
    topo_moved(&w.topo, 16001, 2);
    assert_int_equal(topo_route(&w.topo, &nobody, 0, &r, NULL), 0);
    assert_int_equal(r.node, 2);
    feed(&w, "+OK\r\n", true, ERR_PROTO); /* not understood: the map stays, and SLOTS is asked next */
    assert_int_equal(topo_route(&w.topo, &nobody, 0, &r, NULL), 0);
    assert_false(topo_begin_refresh(&w.topo, 1010 * MS, &shards)); /* too soon */
    assert_true(topo_begin_refresh(&w.topo, 1200 * MS, &shards) && !shards);
    feed(&w, "*0\r\n", false, ERR_NOTFOUND); /* a node that knows nothing makes nobody forget */
    assert_int_equal(topo_route(&w.topo, &nobody, 0, &r, NULL), 0);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stand_in_belongs_to_one_outage),
        cmocka_unit_test(who_failed_a_command_is_not_asked_again),
        cmocka_unit_test(errors_name_the_node),
        cmocka_unit_test(replicas_by_policy),
        cmocka_unit_test(refreshes_are_one_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
