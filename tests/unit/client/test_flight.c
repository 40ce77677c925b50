/* Single flight: who leads, who joins, who is told what. */
#include "unit/unit.h"

#include "base/alloc.h"
#include "client/flight.h"
#include "os/clock.h"

#include <stdatomic.h>

static const struct flight_end nothing = {.again = true};

static void the_first_leads_and_the_others_join(void **state)
{
    struct flights fs;
    bool leads;
    flights_init(&fs);
    struct flight *a = flight_join(&fs, STR("k"), &leads);
    assert_true(leads);
    struct flight *b = flight_join(&fs, STR("k"), &leads);
    assert_false(leads);
    assert_ptr_equal(a, b);
    struct flight *other = flight_join(&fs, STR("k2"), &leads);
    assert_true(leads);
    assert_true(str_eq(flight_key(other), STR("k2")));
    struct flight_end end = {.status = LARDER_OK, .value = {mem_strndup("value", 5), 5}, .version = 3};
    flight_finish(&fs, a, &end);
    const struct flight_end *got = flight_wait(&fs, b, 0);
    assert_non_null(got);
    assert_string_equal(got->value.p, "value");
    assert_int_equal(got->version, 3);
    flight_put(&fs, a);
    flight_put(&fs, b);
    flight_finish(&fs, other, &nothing);
    flight_put(&fs, other);
    flights_release(&fs);
}

static void nobody_joins_what_is_closed_forgotten_or_replaced(void **state)
{
    struct flights fs;
    bool leads;
    flights_init(&fs);
    struct flight *closed = flight_join(&fs, STR("k"), &leads);
    flight_close(&fs, closed);
    struct flight *forgotten = flight_join(&fs, STR("k"), &leads);
    assert_true(leads);
    assert_ptr_not_equal(closed, forgotten);
    flight_forget(&fs, STR("k"));
    struct flight *replaced = flight_join(&fs, STR("k"), &leads);
    assert_true(leads);
    struct flight *last = flight_lead(&fs, STR("k"));
    struct flight *member = flight_join(&fs, STR("k"), &leads);
    assert_false(leads);
    assert_ptr_equal(member, last);
    /* Ending one leaves the others alone. */
    flight_finish(&fs, closed, &nothing);
    flight_finish(&fs, forgotten, &nothing);
    flight_finish(&fs, replaced, &nothing);
    assert_null(flight_wait(&fs, last, 0));
    flight_put(&fs, flight_join(&fs, STR("k"), &leads));
    assert_false(leads);
    flight_finish(&fs, last, &nothing);
    struct flight *all[] = {closed, forgotten, replaced, last, member};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        flight_put(&fs, all[i]);
    flights_release(&fs);
}

enum { THREADS = 32, ROUNDS = 200 };

struct race {
    struct flights fs;
    pthread_barrier_t start;
    _Atomic int led, shared, again;
};

static void *race(void *arg)
{
    struct race *r = arg;
    for (int i = 0; i < ROUNDS; i++) {
        bool leads;
        pthread_barrier_wait(&r->start);
        struct flight *f = flight_join(&r->fs, STR("one key"), &leads);
        assert_non_null(f);
        if (leads) {
            atomic_fetch_add(&r->led, 1);
            flight_close(&r->fs, f);
            struct flight_end end = {.value = {mem_strndup("v", 1), 1}};
            flight_finish(&r->fs, f, &end);
        } else {
            const struct flight_end *end = flight_wait(&r->fs, f, INT64_MAX / 2);
            assert_non_null(end);
            assert_string_equal(end->value.p, "v");
            atomic_fetch_add(&r->shared, 1);
        }
        flight_put(&r->fs, f);
    }
    return NULL;
}

static void many_threads(void **state)
{
    static struct race r;
    pthread_t threads[THREADS];
    flights_init(&r.fs);
    pthread_barrier_init(&r.start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race, &r), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(r.led + r.shared, THREADS * ROUNDS);
    assert_true(r.led >= ROUNDS);
    pthread_barrier_destroy(&r.start);
    flights_release(&r.fs);
}

static void work(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
}

static void release_waits_for_the_threads(void **state)
{
    struct flights fs;
    _Atomic int done = 0;
    flights_init(&fs);
    for (int i = 0; i < 20; i++)
        assert_int_equal(flight_thread(&fs, work, &done), 0);
    flights_release(&fs);
    assert_int_equal(done, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_leads_and_the_others_join),
        cmocka_unit_test(nobody_joins_what_is_closed_forgotten_or_replaced),
        cmocka_unit_test(many_threads),
        cmocka_unit_test(release_waits_for_the_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
