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

static struct node_id numbered(unsigned i)
{
    struct node_id id = id_of('0');
    for (unsigned at = NODE_ID; i > 0; i /= 16)
        id.c[--at] = "0123456789abcdef"[i % 16];
    return id;
}

/* More than there are buckets; some go, some get another name. */
static void nodes_are_found_by_their_ids(void **state)
{
    enum { MANY = 3 * SLOTMAP_BUCKETS };
    struct slotmap *m = test_malloc(sizeof(*m));
    struct node *n;
    slotmap_init(m);
    for (unsigned i = 0; i < MANY; i++) {
        struct node_id id = numbered(i);
        assert_int_equal(slotmap_add(m, &id, NODE_PRIMARY, &n), 0);
        n->mark = i;
    }
    for (unsigned i = 0; i < MANY; i++) {
        struct node_id id = numbered(i), other = numbered(i + MANY);
        if (i % 3 == 0)
            slotmap_remove(m, slotmap_find(m, &id));
        else if (i % 3 == 1)
            slotmap_rename(m, slotmap_find(m, &id), &other);
    }
    for (unsigned i = 0; i < MANY; i++) {
        struct node_id id = numbered(i), other = numbered(i + MANY);
        n = slotmap_find(m, i % 3 == 1 ? &other : &id);
        assert_true(i % 3 == 0 ? n == NULL : n != NULL && n->mark == i);
        assert_null(slotmap_find(m, i % 3 == 1 ? &id : &other));
    }
    assert_true(slotmap_check(m));
    slotmap_release(m);
    test_free(m);
}

static void an_id_is_forty_small_hex_digits(void **state)
{
    struct node_id id = id_of('a');
    for (unsigned at = 0; at < NODE_ID; at++) {
        for (unsigned c = 0; c < 256; c++) {
            bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
            id.c[at] = (char)c;
            assert_int_equal(node_id_valid(node_id_str(&id)), hex);
        }
        id.c[at] = 'f';
    }
    assert_false(node_id_valid((struct str){id.c, NODE_ID - 1}));
}

static void living_replicas_are_counted(void **state)
{
    struct slotmap *m = test_malloc(sizeof(*m));
    struct node *n[6];
    slotmap_init(m);
    for (unsigned i = 0; i < 6; i++) {
        struct node_id id = numbered(i);
        assert_int_equal(slotmap_add(m, &id, i < 2 ? NODE_PRIMARY : NODE_REPLICA, &n[i]), 0);
        n[i]->primary = i < 2 ? NULL : n[i % 2];
    }
    n[2]->flags |= NODE_PFAIL;
    for (int twice = 0; twice < 2; twice++) {
        slotmap_count_living(m);
        for (unsigned i = 0; i < 6; i++)
            assert_int_equal(n[i]->living, slotmap_replicas(m, n[i], true));
    }
    assert_int_equal(n[0]->living, 1);
    assert_int_equal(n[1]->living, 2);
    slotmap_release(m);
    test_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(owners_and_bits_agree), cmocka_unit_test(nodes_are_found_by_their_ids),
        cmocka_unit_test(an_id_is_forty_small_hex_digits), cmocka_unit_test(living_replicas_are_counted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
