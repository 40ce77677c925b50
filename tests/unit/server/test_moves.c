/* moves_targets(): which nodes may have keys of slots that go there from here? */
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

static bool are_targets(struct world *w, const char *ids)
{
    struct buf out;
    buf_init(&out);
    moves_targets(&w->moves, w->view, &out);
    bool same = str_eq(buf_str(&out), str_of(ids));
    buf_release(&out);
    return same;
}

static void test_slots_that_leave(void **state)
{
    struct world *w = *state;
    char both[2 * VIEW_ID + 1];
    assert_true(are_targets(w, ""));
    w->view->to[SLOT] = TARGET;
    assert_true(are_targets(w, w->view->nodes[TARGET].id));
    w->view->nodes[TARGET].flags |= VIEW_FAIL; /* whoever asks may see it otherwise */
    w->view->to[0] = TARGET;
    w->view->from[1] = OTHER;
    assert_true(are_targets(w, w->view->nodes[TARGET].id));
    w->view->to[2] = OTHER;
    snprintf(both, sizeof both, "%s%s", w->view->nodes[TARGET].id, w->view->nodes[OTHER].id);
    assert_true(are_targets(w, both));
}

static void test_a_move_as_long_as_it_is_not_over(void **state)
{
    struct world *w = *state;
    struct move *mv = &w->records[MOVES_RECORDS - 1];
    *mv = (struct move){.number = 1, .state = MOVE_COPIES};
    memcpy(mv->target, w->view->nodes[TARGET].id, sizeof mv->target);
    assert_true(are_targets(w, mv->target));
    mv->arrives = true;
    assert_true(are_targets(w, ""));
    mv->arrives = false;
    mv->state = MOVE_FAILED;
    assert_true(are_targets(w, ""));
    mv->state = MOVE_WAITS;
    w->view->to[SLOT] = TARGET;
    assert_true(are_targets(w, mv->target)); /* once */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_slots_that_leave, make_world, free_world),
        cmocka_unit_test_setup_teardown(test_a_move_as_long_as_it_is_not_over, make_world, free_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
