#include "unit/unit.h"

#include "base/annotate.h"
#include "base/mpsc.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

struct item {
    struct mpsc_node node;
    int producer, number; /* plain: the queue alone hands them over */
};

static void first_in_first_out(void **state)
{
    struct mpsc q;
    struct item items[10];
    mpsc_init(&q);
    assert_null(mpsc_pop(&q));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 10; i++) {
            items[i].number = i;
            mpsc_push(&q, &items[i].node);
            if (i == 4) /* drained in the middle, so the stub goes in and out */
                for (int j = 0; j < 5; j++)
                    assert_int_equal(container_of(mpsc_pop(&q), struct item, node)->number, j);
            if (i == 4)
                assert_null(mpsc_pop(&q));
        }
        for (int j = 5; j < 10; j++)
            assert_int_equal(container_of(mpsc_pop(&q), struct item, node)->number, j);
        assert_null(mpsc_pop(&q));
        assert_null(mpsc_pop(&q));
    }
}

enum { PRODUCERS = 3, ITEMS = 30000 };

struct producer {
    struct mpsc *q;
    int id;
};

static void *produce(void *arg)
{
    struct producer *p = arg;
    for (int i = 0; i < ITEMS; i++) {
        struct item *item = malloc(sizeof *item);
        item->producer = p->id;
        item->number = i;
        mpsc_push(p->q, &item->node);
        if (i % 1000 == 0)
            sched_yield();
    }
    return NULL;
}

/* Nothing is lost, nothing comes twice, each producer's items stay in order. A node
 * is freed as soon as it is popped, so a queue that still looks at it is caught. */
static void every_item_arrives_in_its_producers_order(void **state)
{
    struct mpsc q;
    struct producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];
    int next[PRODUCERS] = {0};
    mpsc_init(&q);
    for (int i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){&q, i};
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
    }
    for (int got = 0; got < PRODUCERS * ITEMS;) {
        struct mpsc_node *node = mpsc_pop(&q);
        if (node == NULL) {
            sched_yield();
            continue;
        }
        struct item *item = container_of(node, struct item, node);
        assert_in_range(item->producer, 0, PRODUCERS - 1);
        assert_int_equal(item->number, next[item->producer]++);
        free(item);
        got++;
    }
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    assert_null(mpsc_pop(&q));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_in_first_out),
        cmocka_unit_test(every_item_arrives_in_its_producers_order),
    };
    return cmocka_run_group_tests_name("mpsc", tests, NULL, NULL);
}
