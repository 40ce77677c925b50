/* Who may execute what: every verdict of route.h, without a store. */
#include "server/route.h"

#include "unit.h"

enum { ME = 1, OTHER = 2, MINE = 100, THEIRS = 200, UNOWNED = 300, LEAVING = 400, ARRIVING = 500 };

static struct cluster_view *view;

static int make_view(void **state)
{
    view = cluster_view_new(3);
    assert_non_null(view);
    view->up = true;
    view->me = ME;
    view->owner[MINE] = view->owner[LEAVING] = ME;
    view->owner[THEIRS] = view->owner[ARRIVING] = OTHER;
    view->to[LEAVING] = OTHER;
    view->from[ARRIVING] = OTHER;
    memcpy(view->nodes[OTHER].host, "10.0.0.7", 9);
    view->nodes[OTHER].port = 7007;
    cluster_view_seal(view);
    return 0;
}

static int free_view(void **state)
{
    cluster_view_free(view);
    return 0;
}

/* The verdict about keys of these slots, `missing` of which are not here. */
static enum route_verdict ask(const uint16_t *slots, uint32_t n, uint32_t missing, struct route_asker who,
                              struct route *r)
{
    static const char names[] = "abcdefgh";
    route_begin(r, view, NULL);
    for (uint32_t i = 0; i < n; i++) {
        struct key k = {.p = names + i, .n = 1, .slot = slots[i]};
        enum route_verdict v = route_key(r, &k);
        if (v != ROUTE_HERE)
            return v;
    }
    r->missing = missing;
    r->here = n - missing;
    return route_end(r, &who);
}

#define ASK(missing, who, ...)                                                                               \
    ask((const uint16_t[]){__VA_ARGS__}, sizeof((const uint16_t[]){__VA_ARGS__}) / sizeof(uint16_t),         \
        missing, (struct route_asker)who, &(struct route){0})
#define NOBODY_SPECIAL                                                                                       \
    {                                                                                                        \
        .asking = false                                                                                      \
    }
#define WRITER                                                                                               \
    {                                                                                                        \
        .writes = true                                                                                       \
    }
#define ASKING                                                                                               \
    {                                                                                                        \
        .asking = true                                                                                       \
    }

static void test_whose_slot(void **state)
{
    assert_int_equal(ASK(0, NOBODY_SPECIAL, MINE), ROUTE_HERE);
    assert_int_equal(ASK(0, NOBODY_SPECIAL, MINE, MINE), ROUTE_HERE);
    assert_int_equal(ASK(0, NOBODY_SPECIAL, THEIRS), ROUTE_MOVED);
    assert_int_equal(ASK(0, ASKING, THEIRS), ROUTE_MOVED);
    assert_int_equal(ASK(0, NOBODY_SPECIAL, UNOWNED), ROUTE_UNSERVED);
    assert_int_equal(ASK(0, NOBODY_SPECIAL, MINE, THEIRS), ROUTE_CROSS_SLOT);
    assert_int_equal(ASK(0, NOBODY_SPECIAL, MINE, MINE, UNOWNED), ROUTE_CROSS_SLOT);
    assert_int_equal(ASK(0, NOBODY_SPECIAL, UNOWNED, MINE), ROUTE_UNSERVED);
}

static void test_a_slot_that_leaves(void **state)
{
    assert_int_equal(ASK(0, NOBODY_SPECIAL, LEAVING), ROUTE_HERE);
    assert_int_equal(ASK(1, NOBODY_SPECIAL, LEAVING), ROUTE_ASK);
    assert_int_equal(ASK(2, NOBODY_SPECIAL, LEAVING, LEAVING), ROUTE_ASK);
    assert_int_equal(ASK(1, NOBODY_SPECIAL, LEAVING, LEAVING), ROUTE_UNSTABLE);
    assert_int_equal(ASK(0, NOBODY_SPECIAL, LEAVING, LEAVING), ROUTE_HERE);
    assert_int_equal(ASK(1, {.migrates = true}, LEAVING, LEAVING), ROUTE_HERE);
}

static void test_a_slot_that_arrives(void **state)
{
    assert_int_equal(ASK(0, NOBODY_SPECIAL, ARRIVING), ROUTE_MOVED);
    assert_int_equal(ASK(1, ASKING, ARRIVING), ROUTE_HERE);
    assert_int_equal(ASK(1, ASKING, ARRIVING, ARRIVING), ROUTE_UNSTABLE);
    assert_int_equal(ASK(0, ASKING, ARRIVING, ARRIVING), ROUTE_HERE);
}

static void test_when_the_cluster_is_down(void **state)
{
    view->up = false;
    cluster_view_seal(view);
    assert_false(view_is_here(view, MINE));
    assert_int_equal(ASK(0, NOBODY_SPECIAL, MINE), ROUTE_DOWN);
    assert_int_equal(ASK(0, WRITER, THEIRS), ROUTE_DOWN);
    assert_int_equal(ASK(0, NOBODY_SPECIAL, UNOWNED), ROUTE_UNSERVED);
    view->reads_when_down = true;
    assert_int_equal(ASK(0, NOBODY_SPECIAL, MINE), ROUTE_HERE);
    assert_int_equal(ASK(0, WRITER, MINE), ROUTE_DOWN_READS_ONLY);
    assert_int_equal(ASK(0, NOBODY_SPECIAL, THEIRS), ROUTE_MOVED);
}

static void test_on_a_replica(void **state)
{
    view->replica = true;
    view->primary = OTHER;
    cluster_view_seal(view);
    assert_int_equal(ASK(0, NOBODY_SPECIAL, THEIRS), ROUTE_MOVED);
    assert_int_equal(ASK(0, {.readonly = true}, THEIRS), ROUTE_HERE);
    struct route_asker writer = {.readonly = true, .writes = true};
    assert_int_equal(ask((const uint16_t[]){THEIRS}, 1, 0, writer, &(struct route){0}), ROUTE_MOVED);
    view->primary = ME;
    assert_int_equal(ASK(0, {.readonly = true}, THEIRS), ROUTE_MOVED);
}

static void test_the_bits(void **state)
{
    for (uint32_t i = 0; i < SLOT_COUNT; i++)
        assert_int_equal(view_is_here(view, i), i == MINE);
    view->replica = true;
    cluster_view_seal(view);
    assert_false(view_is_here(view, MINE));
}

static void assert_text(enum route_verdict v, uint16_t slot, const char *text)
{
    struct reply reply;
    struct route r = {.view = view, .slot = slot, .owner = view->owner[slot]};
    reply_init(&reply, NULL, NULL);
    route_refuse(&reply, &r, v);
    assert_int_equal(reply.bytes.n, strlen(text));
    assert_memory_equal(reply.bytes.p, text, strlen(text));
    reply_release(&reply);
}

static void test_the_words(void **state)
{
    assert_text(ROUTE_MOVED, THEIRS, "-MOVED 200 10.0.0.7:7007\r\n");
    assert_text(ROUTE_ASK, LEAVING, "-ASK 400 10.0.0.7:7007\r\n");
    assert_text(ROUTE_CROSS_SLOT, MINE, "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
    assert_text(ROUTE_UNSERVED, MINE, "-CLUSTERDOWN Hash slot not served\r\n");
    assert_text(ROUTE_DOWN, MINE, "-CLUSTERDOWN The cluster is down\r\n");
    assert_text(ROUTE_DOWN_READS_ONLY, MINE,
                "-CLUSTERDOWN The cluster is down and only accepts read commands\r\n");
    assert_text(ROUTE_UNSTABLE, MINE, "-TRYAGAIN Multiple keys request during rehashing of slot\r\n");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_view, free_view)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_whose_slot),          TEST(test_a_slot_that_leaves),
        TEST(test_a_slot_that_arrives), TEST(test_when_the_cluster_is_down),
        TEST(test_on_a_replica),        TEST(test_the_bits),
        TEST(test_the_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
