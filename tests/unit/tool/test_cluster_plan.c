/* The tool's view of a cluster, and its sums. */
#include "tool/cluster/plan.h"

#include "base/err.h"
#include "unit.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C "bbcccccccccccccccccccccccccccccccccccccc"
#define R "dddddddddddddddddddddddddddddddddddddddd"

static struct map map;
static struct plan plan;

static void test_cuts(void **state)
{
    static const uint32_t three[] = {0, 5461, 10923, 16384};
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(plan_cut(i, 3), three[i]);
    for (uint32_t parts = 1; parts <= 1000; parts++) {
        assert_int_equal(plan_cut(0, parts), 0);
        assert_int_equal(plan_cut(parts, parts), MAP_SLOTS);
        for (uint32_t i = 0; i < parts; i++) {
            uint32_t n = plan_cut(i + 1, parts) - plan_cut(i, parts);
            assert_in_range(n, MAP_SLOTS / parts, MAP_SLOTS / parts + 1);
        }
    }
}

static void test_a_view_is_read(void **state)
{
    assert_int_equal(
        map_parse(&map, STR(A " 127.0.0.1:7000@17000,host.name,x=y myself,master - 0 0 7 connected 0-99 200 "
                              "[200->-" B "] [300-<-" C "]\n" B
                              " ::1:7001@17001 master,fail - 1 2 3 disconnected 100-199\r\n" R
                              " 10.0.0.1:7002@17002 slave " A " 0 0 7 connected\n" C
                              " :0@0 master,noaddr - 0 0 0 disconnected\n")),
        0);
    assert_int_equal(map.n, 4);
    assert_int_equal(map.me, 0);
    assert_string_equal(map.nodes[0].host, "127.0.0.1");
    assert_string_equal(map.nodes[1].host, "::1");
    assert_int_equal(map.nodes[1].port, 7001);
    assert_int_equal(map.nodes[0].bus_port, 17000);
    assert_int_equal(map.nodes[1].bus_port, 17001);
    assert_int_equal(map.nodes[0].slots, 101);
    assert_int_equal(map.nodes[0].epoch, 7);
    assert_true(map.nodes[1].failed && !map.nodes[1].replica);
    assert_true(map.nodes[2].replica);
    assert_int_equal(map.nodes[2].primary, 0);
    assert_true(map.nodes[3].unknown && !map.nodes[2].unknown);
    assert_int_equal(map.owner[150], 1);
    assert_int_equal(map.owner[200], 0);
    assert_int_equal(map.owner[300], MAP_NOBODY);
    assert_int_equal(map.uncovered, MAP_SLOTS - 201);
    assert_int_equal(map.open, 2);
    assert_int_equal(map.to[200], 1);
    assert_int_equal(map.from[300], 3);
    assert_int_equal(map.to[300], MAP_NOBODY);
    assert_int_equal(map_find(&map, "a"), 0);
    assert_int_equal(map_find(&map, "bb"), MAP_NOBODY);
    assert_int_equal(map_find(&map, "bbc"), 3);
    assert_int_equal(map_find(&map, "10.0.0.1:7002"), 2);
    assert_int_equal(map_find(&map, "x"), MAP_NOBODY);
    assert_int_equal(map_parse(&map, STR(A " 127.0.0.1:1@2 myself,master - 0 0 7 connected 0 [0->-" R "]")),
                     0);
    assert_int_equal(map.to[0], MAP_STRANGER);
}

static void test_nonsense_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "x",
        A,
        A " 127.0.0.1:7000@17000 master - 0 0",
        A " nonsense master - 0 0 7 connected",
        A " 127.0.0.1:x@1 master - 0 0 7 connected",
        A " 127.0.0.1:7000@17000 master - 0 0 x connected",
        A " 127.0.0.1:7000@17000 master - 0 0 7 connected 5-4",
        A " 127.0.0.1:7000@17000 master - 0 0 7 connected 16384",
        A " 127.0.0.1:7000@17000 master - 0 0 7 connected -1",
        A " 127.0.0.1:7000@17000 master - 0 0 7 connected 0-99999999999999999999",
        A " 127.0.0.1:7000@17000 master - 0 0 7 connected [5]",
        A " 127.0.0.1:7000@17000 master - 0 0 7 connected [5->-b]",
        A " 127.0.0.1:7000@17000 master - 0 0 7 connected [16384->-" B "]",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(map_parse(&map, str_of(bad[i])), ERR_SYNTAX);
}

/* Primaries with so many slots each, in order; the rest is nobody's. */
static void make_map(const uint32_t *slots, uint32_t n)
{
    uint32_t at = 0;
    memset(&map, 0, sizeof map);
    memset(map.owner, 0xff, sizeof map.owner);
    map.n = n;
    for (uint32_t i = 0; i < n; i++) {
        map.nodes[i].primary = MAP_NOBODY;
        map.nodes[i].slots = slots[i];
        for (uint32_t k = 0; k < slots[i]; k++)
            map.owner[at++] = (uint16_t)i;
    }
    map.uncovered = MAP_SLOTS - at;
}

static void carry_out(void)
{
    for (uint32_t i = 0; i < plan.n; i++) {
        const struct plan_move *mv = &plan.moves[i];
        assert_int_equal(map.owner[mv->slot], mv->from);
        assert_int_not_equal(mv->from, mv->to);
        map.owner[mv->slot] = mv->to;
        map.nodes[mv->from].slots--;
        map.nodes[mv->to].slots++;
    }
}

static void test_even(void **state)
{
    const uint32_t slots[] = {16384, 0, 0, 0, 0};
    make_map(slots, 5);
    map.nodes[3].replica = true;
    map.nodes[4].failed = true;
    plan_even(&plan, &map, NULL, MAP_NOBODY, 0);
    assert_int_equal(plan.n, 5461 + 5461);
    carry_out();
    assert_int_equal(map.nodes[0].slots, 5462);
    assert_int_equal(map.nodes[1].slots, 5461);
    assert_int_equal(map.nodes[3].slots + map.nodes[4].slots, 0);
    plan_even(&plan, &map, NULL, MAP_NOBODY, 0);
    assert_int_equal(plan.n, 0);
}

static void test_weights(void **state)
{
    const uint32_t slots[] = {5461, 5461, 5462, 0};
    const uint32_t small[] = {1000, 1000, 1000, 100}, none[] = {0, 1, 0, 2}, nobody[] = {0, 0, 0, 0};
    make_map(slots, 4);
    plan_even(&plan, &map, small, MAP_NOBODY, 0);
    assert_int_equal(plan.n, 16384 * 100 / 3100);
    carry_out();
    assert_int_equal(map.nodes[3].slots, 528);
    for (uint32_t i = 0; i < 3; i++)
        assert_in_range(map.nodes[i].slots, 5285, 5286);
    plan_even(&plan, &map, none, MAP_NOBODY, 0);
    carry_out();
    assert_int_equal(map.nodes[0].slots + map.nodes[2].slots, 0);
    assert_int_equal(map.nodes[1].slots, 5462);
    assert_int_equal(map.nodes[3].slots, 10922);
    plan_even(&plan, &map, nobody, MAP_NOBODY, 0);
    assert_int_equal(plan.n, 0);
    map.nodes[3].replica = true; /* the weight of who takes no part is nobody's */
    plan_even(&plan, &map, none, MAP_NOBODY, 0);
    assert_int_equal(plan.n, 0);
}

/* Every order in which three nodes can have what does not divide: nothing is to be done. */
static void test_what_does_not_divide_stays(void **state)
{
    const uint32_t slots[][3] = {{5462, 5461, 5461}, {5461, 5462, 5461}, {5461, 5461, 5462}};
    for (uint32_t i = 0; i < 3; i++) {
        make_map(slots[i], 3);
        plan_even(&plan, &map, NULL, MAP_NOBODY, 0);
        assert_int_equal(plan.n, 0);
    }
    const uint32_t first[] = {0, 8192, 8192};
    make_map(first, 3);
    plan_even(&plan, &map, NULL, MAP_NOBODY, 0);
    assert_int_equal(plan.n, 5461);
}

static void test_slack_and_holes(void **state)
{
    const uint32_t slots[] = {5000, 5100, 4900};
    make_map(slots, 3);
    plan_even(&plan, &map, NULL, MAP_NOBODY, 100);
    assert_int_equal(plan.n, 0);
    plan_even(&plan, &map, NULL, MAP_NOBODY, 99);
    assert_int_equal(plan.n, 100);
}

static void test_one_leaves(void **state)
{
    const uint32_t slots[] = {8000, 4192, 4192};
    make_map(slots, 3);
    plan_even(&plan, &map, NULL, 1, 0);
    assert_int_equal(plan.n, 4192);
    carry_out();
    assert_int_equal(map.nodes[1].slots, 0);
    assert_int_equal(map.nodes[0].slots, 8192);
    const uint32_t alone[] = {16384};
    make_map(alone, 1);
    plan_even(&plan, &map, NULL, 0, 0);
    assert_int_equal(plan.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_a_view_is_read),
        cmocka_unit_test(test_nonsense_is_refused),
        cmocka_unit_test(test_even),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_what_does_not_divide_stays),
        cmocka_unit_test(test_slack_and_holes),
        cmocka_unit_test(test_one_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
