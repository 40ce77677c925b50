/* Rounds, who stops them, and who outlives them. */
#include "unit.h"

#include "store/gate.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

enum { WORKERS = 3, SWAPS = 3000, ROUNDS = 20000, ALIVE = 0x600d, DEAD = 0xdead };

struct thing {
    _Atomic uint32_t state;
};

struct scene {
    struct gate gate;
    _Atomic(struct thing *) thing;
    _Atomic bool stop, done, seen_dead;
    _Atomic uint32_t rounds;
    uint32_t alone; /* written under the gate, read in rounds */
};

struct player {
    struct scene *scene;
    uint32_t index;
    pthread_t thread;
};

static void *outlive(void *arg)
{
    struct scene *s = arg;
    gate_outlive(&s->gate);
    atomic_store(&s->done, true);
    return NULL;
}

/* Worker 0 stays in its round; worker 1 comes and goes, and is not taken for it. */
static void test_only_rounds_that_had_begun(void **state)
{
    struct scene s = {0};
    pthread_t t;
    gate_init(&s.gate, 2);
    gate_enter(&s.gate, 0);
    gate_enter(&s.gate, 1);
    assert_int_equal(pthread_create(&t, NULL, outlive, &s), 0);
    while (!(atomic_load(&s.gate.asked) & GATE_WATCHED) && !atomic_load(&s.done))
        sched_yield();
    for (int i = 0; i < 1000; i++) {
        gate_leave(&s.gate, 1); /* nobody holds it up */
        gate_enter(&s.gate, 1);
        sched_yield();
    }
    assert_false(atomic_load(&s.done));
    while (!atomic_load(&s.done)) { /* the next round of each is another one */
        gate_yield(&s.gate, 0);
        gate_yield(&s.gate, 1);
        sched_yield();
    }
    pthread_join(t, NULL);
    gate_leave(&s.gate, 1);
    gate_leave(&s.gate, 0);
    assert_int_equal(atomic_load(&s.gate.asked), 0);
    gate_outlive(&s.gate); /* nobody is in a round */
}

/* What a round has looked at stays alive until it ends. */
static void *look(void *arg)
{
    struct player *p = arg;
    struct scene *s = p->scene;
    uint32_t alone = 0;
    while (!atomic_load(&s->stop)) {
        gate_enter(&s->gate, p->index);
        struct thing *t = atomic_load(&s->thing);
        for (int i = 0; i < 50; i++)
            if (atomic_load_explicit(&t->state, memory_order_relaxed) != ALIVE)
                atomic_store(&s->seen_dead, true);
        if (s->alone < alone)
            atomic_store(&s->seen_dead, true);
        alone = s->alone;
        if (atomic_fetch_add(&s->rounds, 1) % 64 == 0)
            sched_yield();
        gate_leave(&s->gate, p->index);
    }
    return NULL;
}

static void *raise_often(void *arg)
{
    struct scene *s = arg;
    while (!atomic_load(&s->stop)) {
        gate_raise(&s->gate);
        uint32_t before = atomic_load(&s->rounds);
        s->alone++;
        sched_yield();
        if (atomic_load(&s->rounds) != before) /* nobody is in a round meanwhile */
            atomic_store(&s->seen_dead, true);
        gate_lower(&s->gate);
        sched_yield();
    }
    return NULL;
}

static void test_what_was_seen_lasts(void **state)
{
    static struct scene s;
    static struct player p[WORKERS];
    pthread_t raiser;
    gate_init(&s.gate, WORKERS);
    struct thing *t = malloc(sizeof *t);
    atomic_init(&t->state, ALIVE);
    atomic_store(&s.thing, t);
    for (uint32_t i = 0; i < WORKERS; i++) {
        p[i] = (struct player){.scene = &s, .index = i};
        assert_int_equal(pthread_create(&p[i].thread, NULL, look, &p[i]), 0);
    }
    assert_int_equal(pthread_create(&raiser, NULL, raise_often, &s), 0);
    for (int i = 0; i < SWAPS || atomic_load(&s.rounds) < ROUNDS; i++) {
        t = malloc(sizeof *t);
        atomic_init(&t->state, ALIVE);
        t = atomic_exchange(&s.thing, t);
        gate_outlive(&s.gate);
        atomic_store_explicit(&t->state, DEAD, memory_order_relaxed);
        free(t); /* a sanitizer sees who still looks */
    }
    atomic_store(&s.stop, true);
    for (uint32_t i = 0; i < WORKERS; i++)
        pthread_join(p[i].thread, NULL);
    pthread_join(raiser, NULL);
    free(atomic_load(&s.thing));
    assert_false(atomic_load(&s.seen_dead));
    assert_int_equal(atomic_load(&s.gate.asked), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_rounds_that_had_begun),
        cmocka_unit_test(test_what_was_seen_lasts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
