#include "unit.h"

#include "base/err.h"
#include "cluster/slotmap.h"

static struct node_id id_of(char c)
{
    struct node_id id;
    memset(id.c, c, NODE_ID);
    return id;
}

static void owners_and_bits_agree(void **state)
{
    struct slotmap *m = test_malloc(sizeof(*m));
    struct node *a, *b, *same;
    struct node_id ida = id_of('a'), idb = id_of('b');
    slotmap_init(m);
    assert_int_equal(slotmap_add(m, &ida, NODE_PRIMARY, &a), 0);
    assert_int_equal(slotmap_add(m, &idb, NODE_PRIMARY, &b), 0);
    assert_int_equal(slotmap_add(m, &ida, NODE_PRIMARY, &same), ERR_EXISTS);
    for (unsigned s = 0; s < SLOT_COUNT; s++)
        slotmap_assign(m, s, s < 100 ? a : b);
    assert_int_equal(a->nslots, 100);
    assert_int_equal(slotmap_voters(m), 2);
    slotmap_assign(m, 99, b);
    slotmap_assign(m, 5, NULL);
    assert_true(slotmap_check(m));
    assert_int_equal(m->assigned, SLOT_COUNT - 1);
    unsigned at = 0, first, last;
    struct node *owner;
    assert_true(slotmap_run(m, &at, &first, &last, &owner) && first == 0 && last == 4 && owner == a);
    assert_true(slotmap_run(m, &at, &first, &last, &owner) && first == 6 && last == 98 && owner == a);
    assert_true(slotmap_run(m, &at, &first, &last, &owner) && first == 99 && last == 16383 && owner == b);
    assert_false(slotmap_run(m, &at, &first, &last, &owner));
    at = 0;
    assert_true(slots_run(b->slots, &at, &first, &last) && first == 99 && last == 16383);
    assert_false(slots_run(b->slots, &at, &first, &last));
    a->flags = NODE_REPLICA;
    a->primary = b;
    slotmap_remove(m, b);
    assert_null(a->primary);
    assert_int_equal(m->assigned, 98);
    assert_true(slotmap_check(m));
    slotmap_release(m);
    test_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(owners_and_bits_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
