/* Records of one shard: found, made, limited; waiters in the order of their arrival. */
#include "unit.h"

#include "base/err.h"
#include "cache/lease.h"

#include <stdio.h>

static struct key key_of(const char *name, uint16_t db)
{
    return (struct key){
        .p = name, .n = (uint32_t)strlen(name), .db = db, .hash = strlen(name) % 3}; /* they collide */
}

static void records_are_by_key_and_database(void **state)
{
    struct leases ls = {0};
    struct lease *a, *b, *again;
    struct key k = key_of("k", 0), k1 = key_of("k", 1);
    assert_null(lease_find(&ls, &k));
    assert_int_equal(lease_get(&ls, &k, 10, &a), 0);
    assert_int_equal(lease_get(&ls, &k1, 10, &b), 0);
    assert_int_equal(lease_get(&ls, &k, 10, &again), 0);
    assert_ptr_equal(a, again);
    assert_ptr_not_equal(a, b);
    lease_free(&ls, a);
    assert_null(lease_find(&ls, &k));
    assert_ptr_equal(lease_find(&ls, &k1), b);
    leases_release(&ls);
}

static void count_one(void *arg, struct lease *l)
{
    ++*(unsigned *)arg;
}

static void there_are_no_more_than_allowed(void **state)
{
    enum { MAX = 500 };
    struct leases ls = {0};
    struct lease *l;
    char name[16];
    unsigned seen = 0;
    for (int i = 0; i < MAX; i++) {
        snprintf(name, sizeof name, "key%d", i);
        struct key k = key_of(name, 0);
        assert_int_equal(lease_get(&ls, &k, MAX, &l), 0);
    }
    struct key k = key_of("one more", 0);
    assert_int_equal(lease_get(&ls, &k, MAX, &l), ERR_FULL);
    leases_each(&ls, count_one, &seen);
    assert_int_equal(seen, MAX);
    leases_release(&ls);
}

static void tokens_rise_whatever_the_clock_does(void **state)
{
    struct leases ls = {0};
    uint64_t last = 0;
    for (int i = 0; i < 5000; i++) {
        uint64_t token = lease_next_token(&ls, 7, 1700000000000 - i);
        assert_true(token > last);
        assert_int_equal(token % 1024, 7);
        last = token;
    }
    assert_true(lease_next_token(&ls, 7, 1700000001000) > last);
}

static void waiters_keep_their_place(void **state)
{
    struct leases ls = {0};
    struct lease *l;
    struct key k = key_of("k", 0);
    struct waiter w[4] = {{.wants = false}, {.wants = true}, {.wants = true}, {.wants = true}};
    assert_int_equal(lease_get(&ls, &k, 10, &l), 0);
    for (int i = 0; i < 4; i++)
        lease_add_waiter(&ls, l, &w[i]);
    assert_ptr_equal(lease_oldest_asker(l), &w[1]);
    lease_take_waiter(&w[1]);
    assert_ptr_equal(lease_oldest_asker(l), &w[2]);
    lease_add_waiter(&ls, l, &w[1]); /* it has waited before */
    assert_ptr_equal(lease_oldest_asker(l), &w[1]);
    assert_ptr_equal(l->first, &w[0]);
    assert_ptr_equal(l->last, &w[3]);
    for (int i = 0; i < 4; i++)
        lease_take_waiter(&w[i]);
    assert_null(l->first);
    assert_null(l->last);
    assert_true(lease_is_idle(l, 0));
    leases_release(&ls);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_by_key_and_database),
        cmocka_unit_test(there_are_no_more_than_allowed),
        cmocka_unit_test(tokens_rise_whatever_the_clock_does),
        cmocka_unit_test(waiters_keep_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
