#include "unit/unit.h"

#include "base/annotate.h"
#include "base/lock.h"

#include <pthread.h>
#include <sched.h>

enum { THREADS = 4, ROUNDS = 30000 };

/* Plain fields: under TSan any gap in the lock's ordering is a reported race, and
 * without it a lost increment. */
struct guarded {
    struct lock lock;
    long a, b;
    long busy_seen, busy_runs;
};

static void run_threads(void *(*body)(void *), void *arg)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, body, arg), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void *increment(void *arg)
{
    struct guarded *g = arg;
    for (int i = 0; i < ROUNDS; i++) {
        lock_hold(&g->lock);
        g->a++;
        if (i % 64 == 0)
            sched_yield(); /* let the others pile up and sleep */
        g->b++;
        lock_release(&g->lock);
    }
    return NULL;
}

static void it_excludes(void **state)
{
    struct guarded g = {0};
    run_threads(increment, &g);
    assert_int_equal(g.a, THREADS * ROUNDS);
    assert_int_equal(g.b, THREADS * ROUNDS);
    assert_false(lock_is_held(&g.lock));
}

static void *try_increment(void *arg)
{
    struct guarded *g = arg;
    for (int i = 0; i < ROUNDS;) {
        if (i % 2 ? lock_try(&g->lock) : lock_acquire(&g->lock)) {
            g->a++;
            lock_release(&g->lock);
            i++;
        }
    }
    return NULL;
}

static void trying_excludes_too(void **state)
{
    struct guarded g = {0};
    run_threads(try_increment, &g);
    assert_int_equal(g.a, THREADS * ROUNDS);
}

static void one_thread_sees_each_state(void **state)
{
    struct lock l = {0};
    assert_false(lock_is_held(&l));
    assert_true(lock_acquire(&l));
    assert_true(lock_is_held(&l));
    assert_false(lock_try(&l));
    lock_make_busy(&l);
    assert_true(lock_is_held(&l));
    assert_false(lock_try(&l));
    assert_false(lock_acquire(&l)); /* at once, without waiting */
    lock_busy_enter(&l);
    assert_false(lock_acquire(&l));
    lock_busy_leave(&l);
    assert_true(lock_try(&l));
    lock_release(&l);
    assert_int_equal(atomic_load(&l.word), LOCK_FREE);
    assert_int_equal(atomic_load(&l.sleepers), 0);
}

/* Every thread takes the lock; now and then it turns it busy, goes on as the long
 * operation, and the others must neither wait nor get in. */
static void *work_and_hand_over(void *arg)
{
    struct guarded *g = arg;
    long refused = 0;
    for (int i = 0; i < ROUNDS;) {
        if (!lock_acquire(&g->lock)) {
            refused++;
            sched_yield();
            continue;
        }
        g->a++;
        if (i++ % 16 == 0) {
            lock_make_busy(&g->lock);
            sched_yield();
            lock_busy_enter(&g->lock);
            g->a++;
            sched_yield();
            g->b++;
            g->busy_runs++;
            lock_busy_leave(&g->lock);
        } else {
            g->b++;
            lock_release(&g->lock);
        }
    }
    lock_hold(&g->lock);
    g->busy_seen += refused;
    lock_release(&g->lock);
    return NULL;
}

static void busy_excludes_without_waiting(void **state)
{
    struct guarded g = {0};
    run_threads(work_and_hand_over, &g);
    long runs = THREADS * (ROUNDS / 16);
    assert_int_equal(g.busy_runs, runs);
    assert_int_equal(g.a, THREADS * ROUNDS + runs);
    assert_int_equal(g.b, THREADS * ROUNDS);
    assert_true(g.busy_seen > 0);
}

/* The operation is handed to another thread, as a worker hands one to the lane. */
struct handover {
    struct lock lock;
    long value;
    _Atomic int turn; /* 0 the worker's, 1 the lane's */
};

static void *lane(void *arg)
{
    struct handover *h = arg;
    for (int i = 0; i < 1000; i++) {
        while (atomic_load_explicit(&h->turn, memory_order_relaxed) != 1) /* the lock alone orders `value` */
            sched_yield();
        lock_busy_enter(&h->lock);
        h->value += 2;
        atomic_store_explicit(&h->turn, 0, memory_order_relaxed);
        lock_busy_leave(&h->lock);
    }
    return NULL;
}

static void busy_passes_to_another_thread(void **state)
{
    struct handover h = {0};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, lane, &h), 0);
    for (int i = 0; i < 1000; i++) {
        lock_hold(&h.lock); /* spins while the lane is busy */
        assert_int_equal(h.value, 3 * i);
        h.value++;
        lock_make_busy(&h.lock);
        atomic_store_explicit(&h.turn, 1, memory_order_relaxed);
        while (atomic_load_explicit(&h.turn, memory_order_relaxed) != 0)
            sched_yield();
    }
    pthread_join(thread, NULL);
    assert_int_equal(h.value, 3000);
}

static void *wait_for_it(void *arg)
{
    struct handover *h = arg;
    atomic_fetch_add(&h->turn, 1);
    bool got = lock_acquire(&h->lock);
    if (got)
        lock_release(&h->lock);
    return got ? h : NULL;
}

/* Sleepers are let go when the lock they wait for turns busy, and also those that
 * sleep behind a holder who does not know: the lock was released, one sleeper woken,
 * and the lock taken back before that one could run. */
static void sleepers_see_it_turn_busy(void **state)
{
    for (int round = 0; round < 200; round++) {
        struct handover h = {0};
        pthread_t threads[THREADS];
        bool taken_back = false;
        lock_hold(&h.lock);
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, wait_for_it, &h), 0);
        while (atomic_load(&h.turn) < THREADS || atomic_load(&h.lock.sleepers) < THREADS)
            sched_yield();
        if (round % 2) {
            lock_release(&h.lock);
            lock_hold(&h.lock);
            taken_back = true;
        }
        lock_make_busy(&h.lock);
        for (int i = 0; i < THREADS; i++) {
            void *got;
            pthread_join(threads[i], &got); /* would not end if one slept on */
            if (!taken_back)
                assert_null(got);
        }
        lock_busy_enter(&h.lock);
        lock_busy_leave(&h.lock);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_excludes),
        cmocka_unit_test(trying_excludes_too),
        cmocka_unit_test(one_thread_sees_each_state),
        cmocka_unit_test(busy_excludes_without_waiting),
        cmocka_unit_test(busy_passes_to_another_thread),
        cmocka_unit_test(sleepers_see_it_turn_busy),
    };
    return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
