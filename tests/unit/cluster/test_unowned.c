/* Slots that nobody has, and that nobody will claim of himself: who lost a claim to them says so, when nobody
 * else has claimed them for long, and who replaced their giver takes them. */
#include "lone.h"

#define SHARD ",,shard-id=" D
#define CONF(vars)                                                                                           \
    A " 127.0.0.1:7000@17000" SHARD " myself,master - 0 0 20 connected 0-4990\n" B                           \
      " 127.0.0.1:7001@17001 master - 0 0 3 connected 5001-16383\n" C " 127.0.0.1:7002@17002" SHARD          \
      " slave " A " 0 0 4 connected\n"                                                                       \
      "vars currentEpoch 30 lastVoteEpoch 5 " vars "\n"

enum { FIRST = 4991, LAST = 5000, PER_T = 4, T = 1000 };

static void says(struct lone *l, const char *who, uint64_t epoch, const uint8_t *slots)
{
    struct frame_header h;
    struct node *n = node_named(l, who);
    from(&h, FRAME_PONG, who);
    h.config_epoch = epoch;
    h.current_epoch = 30;
    h.slots = slots;
    h.mflags[0] = FRAME_EXTENSIONS;
    h.larder.is = true;
    h.larder.seq = n->ping_seq;
    h.larder.promise_ms = T;
    if (n->primary != NULL) {
        h.primary = n->primary->id;
        h.flags = NODE_REPLICA;
    }
    send_frame(l, &h, n->out);
}

/* So many node timeouts pass; `quiet` says nothing. */
static void pass(struct lone *l, unsigned timeouts, const char *quiet)
{
    for (unsigned i = 0; i < timeouts * PER_T; i++) {
        l->now += T / PER_T;
        event(l, &(struct machine_event){.kind = EV_TICK});
        on_disk(l);
        if (quiet == NULL || strcmp(quiet, B) != 0)
            says(l, B, 3, node_named(l, B)->slots);
        if (quiet == NULL || strcmp(quiet, C) != 0)
            says(l, C, 20, taking_claims(&l->m));
    }
}

static struct lone *begin(const char *conf)
{
    struct lone *l = start(conf);
    l->m.mute = false;
    on_disk(l);
    return l;
}

static struct handover claim(uint64_t epoch)
{
    struct handover h = {.on = true, .epoch = epoch};
    memcpy(h.with.c, C, NODE_ID);
    for (unsigned s = FIRST; s <= LAST + 3; s++) /* some are B's by now */
        slots_set(h.slots, s, true);
    return h;
}

/* B claimed what C gave in epoch 7, and lost it; C is our replica by now, and knows nothing of it. */
static void b_says_it(struct lone *l, uint64_t epoch)
{
    const struct handover h = claim(epoch);
    const struct node_claim ended = {
        .by = node_named(l, B)->id, .from = node_named(l, C)->id, .epoch = epoch};
    l->ended = &ended;
    l->unowned = &h;
    says(l, B, 3, node_named(l, B)->slots);
    l->ended = NULL;
    l->unowned = NULL;
}

static void test_the_giver_is_replaced(void **state)
{
    struct lone *l = begin(CONF(""));
    pass(l, 9, NULL);
    b_says_it(l, 7);
    assert_false(machine_takes(&l->m, FIRST)); /* somebody may claim it yet */
    pass(l, 3, NULL);
    b_says_it(l, 17); /* an epoch of that offer may be ours */
    assert_false(machine_takes(&l->m, FIRST));
    b_says_it(l, 7);
    assert_true(machine_takes(&l->m, FIRST) && machine_takes(&l->m, LAST));
    assert_false(machine_takes(&l->m, LAST + 1));
    assert_int_equal(l->m.self->config_epoch, 20);
    pass(l, 2, NULL);
    assert_ptr_equal(l->m.map.owner[FIRST], l->m.self);
    end(l);
}

static void test_somebody_is_away(void **state)
{
    for (unsigned i = 0; i < 2; i++) {
        struct lone *l = begin(CONF(""));
        pass(l, 12, i == 0 ? C : B);
        pass(l, 9, NULL); /* whoever was away may know better */
        b_says_it(l, 7);
        assert_false(machine_takes(&l->m, FIRST));
        end(l);
    }
}

/* Another primary of that shard may take them, too; and another shard has nothing of them. */
static void test_not_ours(void **state)
{
    for (unsigned i = 0; i < 2; i++) {
        struct lone *l = begin(CONF(""));
        pass(l, 12, NULL);
        if (i == 0)
            node_named(l, B)->shard = l->m.self->shard;
        else
            memcpy(node_named(l, C)->shard.c, E, NODE_ID);
        b_says_it(l, 7);
        assert_false(machine_takes(&l->m, FIRST));
        end(l);
    }
}

static void test_something_else_is_given(void **state)
{
    struct lone *l = begin(CONF("larderOffers 25 larderGives-" B "-4000 4001"));
    pass(l, 12, NULL);
    assert_true(l->m.offer.gift.on || l->m.offer.recall);
    b_says_it(l, 7);
    assert_false(machine_takes(&l->m, FIRST));
    assert_int_equal(l->m.offer.epoch, 25);
    end(l);
}

/* Do our frames say it? Then of these slots alone. */
static bool is_said(struct lone *l)
{
    bool said = false;
    bus_pong_all(&l->m);
    for (unsigned i = 0; i < l->m.nactions; i++) {
        const struct machine_action *a = &l->m.actions[i];
        struct frame f;
        struct str ext;
        if (a->kind != ACT_SEND)
            continue;
        assert_int_equal(frame_decode((struct str){l->m.out.p + a->at, a->n}, &f), 0);
        if (!frame_ext_find(&f, EXT_UNOWNED, NODE_ID + 8 + SLOT_BYTES, &ext))
            continue;
        const uint8_t *slots = (const uint8_t *)ext.p + NODE_ID + 8;
        assert_memory_equal(ext.p, C, NODE_ID);
        assert_int_equal(frame_get_u64(ext.p + NODE_ID), 7);
        assert_true(slots_has(slots, FIRST) && slots_has(slots, LAST) && !slots_has(slots, LAST + 1));
        said = true;
    }
    return said;
}

/* We lost it; that is in the file, until somebody has the slots. */
static void test_it_is_said(void **state)
{
    struct lone *l = begin(CONF("larderLost-" C "-4991 5002 larderLostIn 7"));
    uint8_t slots[SLOT_BYTES];
    pass(l, 9, NULL);
    assert_false(is_said(l));
    pass(l, 3, NULL);
    assert_true(is_said(l));
    assert_false(slots_has(taking_claims(&l->m), FIRST));
    l = restarted(l);
    l->m.mute = false;
    on_disk(l);
    assert_true(l->m.lost_claim.on);
    memcpy(slots, node_named(l, B)->slots, SLOT_BYTES);
    for (unsigned s = FIRST; s <= LAST; s++)
        slots_set(slots, s, true);
    says(l, B, 3, node_named(l, B)->slots);
    event(l, &(struct machine_event){.kind = EV_TICK});
    assert_true(l->m.lost_claim.on);
    says(l, B, 25, slots);
    event(l, &(struct machine_event){.kind = EV_TICK});
    assert_false(l->m.lost_claim.on);
    pass(l, 12, NULL);
    assert_false(is_said(l));
    end(l);
}

/* It is what ended last. */
static void test_it_is_noted(void **state)
{
    struct lone *l =
        begin(A " 127.0.0.1:7000@17000 myself,master - 0 0 4 connected 0-5000\n" B
                " 127.0.0.1:7001@17001 master - 0 0 3 connected 5001-16383\n"
                "vars currentEpoch 6 lastVoteEpoch 5 larderTakes-" B "-6000 6001 larderTakesIn 5\n");
    assert_true(l->m.lost_claim.on && slots_has(l->m.lost_claim.slots, 6001));
    assert_int_equal(l->m.lost_claim.epoch, 5);
    assert_memory_equal(l->m.lost_claim.with.c, B, NODE_ID);
    end(l);
}

/* All is well, and stays so: should the slots lose their owner later, by DELSLOTS, that is another matter. */
static void test_it_is_forgotten(void **state)
{
    struct lone *l = begin(CONF("larderLost-" C "-6000 6001 larderLostIn 7"));
    pass(l, 12, NULL);
    assert_true(l->m.lost_claim.on);
    for (unsigned s = FIRST; s <= LAST; s++)
        ownership_assign(&l->m, s, l->m.self);
    pass(l, 9, NULL);
    assert_true(l->m.lost_claim.on);
    pass(l, 3, NULL);
    assert_false(l->m.lost_claim.on);
    end(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_giver_is_replaced),
        cmocka_unit_test(test_somebody_is_away),
        cmocka_unit_test(test_not_ours),
        cmocka_unit_test(test_something_else_is_given),
        cmocka_unit_test(test_it_is_said),
        cmocka_unit_test(test_it_is_noted),
        cmocka_unit_test(test_it_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
