/* moves_miss_target(): may a node that is away have keys of slots that go there from here? */
#include "server/moves.h"

#include "server/cluster_view.h"
#include "unit.h"

#include <stdio.h>

enum { ME = 1, TARGET = 2, OTHER = 3, SLOT = 16383 };

struct world {
    struct cluster_view *view;
    struct moves moves;
    struct move records[MOVES_RECORDS];
};

static int make_world(void **state)
{
    static struct world w;
    w = (struct world){.view = cluster_view_new(4)};
    assert_non_null(w.view);
    w.view->me = ME;
    for (int i = ME; i <= OTHER; i++) {
        snprintf(w.view->nodes[i].id, sizeof w.view->nodes[i].id, "%040d", i);
        w.view->nodes[i].flags = VIEW_PRIMARY;
    }
    pthread_mutex_init(&w.moves.mutex, NULL);
    w.moves.records = w.records;
    *state = &w;
    return 0;
}

static int free_world(void **state)
{
    struct world *w = *state;
    cluster_view_free(w->view);
    pthread_mutex_destroy(&w->moves.mutex);
    return 0;
}

static bool misses(struct world *w)
{
    return moves_miss_target(&w->moves, w->view);
}

static void test_a_slot_that_leaves(void **state)
{
    struct world *w = *state;
    w->view->nodes[TARGET].flags |= VIEW_FAIL;
    assert_false(misses(w));
    w->view->to[SLOT] = TARGET;
    assert_true(misses(w));
    w->view->nodes[TARGET].flags = VIEW_PRIMARY | VIEW_PFAIL;
    assert_false(misses(w));
    w->view->nodes[OTHER].flags |= VIEW_FAIL;
    assert_false(misses(w));
    w->view->nodes[TARGET].flags = VIEW_HANDSHAKE;
    assert_true(misses(w));
}

static void test_a_move_as_long_as_it_is_not_over(void **state)
{
    struct world *w = *state;
    struct move *mv = &w->records[MOVES_RECORDS - 1];
    *mv = (struct move){.number = 1, .state = MOVE_COPIES};
    memcpy(mv->target, w->view->nodes[TARGET].id, sizeof mv->target);
    assert_false(misses(w));
    w->view->nodes[TARGET].flags |= VIEW_FAIL;
    assert_true(misses(w));
    mv->arrives = true;
    assert_false(misses(w));
    mv->arrives = false;
    mv->state = MOVE_FAILED;
    assert_false(misses(w));
    mv->state = MOVE_WAITS;
    memcpy(mv->target, w->view->nodes[OTHER].id, sizeof mv->target);
    assert_false(misses(w));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_slot_that_leaves, make_world, free_world),
        cmocka_unit_test_setup_teardown(test_a_move_as_long_as_it_is_not_over, make_world, free_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
