/* Who was replaced by an election has nothing left of what it had before, seen from one machine among five
 * voters: also slots that its successor has given on, to one who gave them up, and that are nobody's. */
#include "lone.h"

#define NODE(id, port, flags, primary, epoch, slots)                                                         \
    id " 127.0.0.1:" port "@1" port " " flags " " primary " 0 0 " epoch " connected " slots "\n"
#define FIVE(of_a, of_b, of_f)                                                                               \
    NODE(A, "7000", of_a, "-", "1", "0-999")                                                                 \
    NODE(B, "7001", of_b, "-", "2", "1000-1999")                                                             \
    NODE(C, "7002", "master", "-", "3", "2000-2999")                                                         \
    NODE(D, "7003", "master", "-", "4", "3000-3999")                                                         \
    NODE(E, "7004", "master", "-", "5", "4000-16383")                                                        \
    NODE(F, "7005", of_f, B, "0", "") "vars currentEpoch 6 lastVoteEpoch 5\n"
#define OF_A FIVE("myself,master", "master", "slave")
#define OF_B FIVE("master", "myself,master", "slave")
#define OF_F FIVE("master", "master", "myself,slave")

static const uint8_t none[SLOT_BYTES];

static const uint8_t *range(unsigned first, unsigned last)
{
    static uint8_t slots[SLOT_BYTES];
    memset(slots, 0, SLOT_BYTES);
    for (unsigned i = first; i <= last; i++)
        slots_set(slots, i, true);
    return slots;
}

static void frame_of(struct lone *l, struct frame_header *h, enum frame_type type, const char *sender,
                     uint64_t epoch, const uint8_t *slots)
{
    from(h, type, sender);
    h->current_epoch = l->m.current_epoch;
    h->config_epoch = epoch;
    h->slots = slots;
    h->larder.is = true;
}

/* A primary says so. */
static void claims(struct lone *l, const char *sender, uint64_t epoch, const uint8_t *slots)
{
    struct frame_header h;
    frame_of(l, &h, FRAME_PING, sender, epoch, slots);
    send_frame(l, &h, LINK_INBOUND | 1);
}

/* `sender` tells that `about` has these slots in this epoch. */
static void tells(struct lone *l, const char *sender, const char *about, uint64_t epoch, const uint8_t *slots)
{
    struct frame_header h;
    const struct node *n = node_named(l, sender);
    struct node *update = test_calloc(1, sizeof *update);
    memcpy(update->id.c, about, NODE_ID);
    memcpy(update->slots, slots, SLOT_BYTES);
    update->config_epoch = epoch;
    l->update = update;
    frame_of(l, &h, FRAME_UPDATE, sender, n->config_epoch, n->slots);
    send_frame(l, &h, LINK_INBOUND | 1);
    test_free(update);
}

/* Over this link it is told that `about` has none since this epoch; 0: over any. */
static bool is_told(const struct lone *l, uint32_t link, const char *about, uint64_t epoch)
{
    for (unsigned i = 0; i < l->m.nactions; i++) {
        const struct machine_action *a = &l->m.actions[i];
        struct frame f;
        if (a->kind != ACT_SEND || (link != 0 && a->link != link))
            continue;
        assert_int_equal(frame_decode((struct str){l->m.out.p + a->at, a->n}, &f), 0);
        if (f.h.type == FRAME_UPDATE && memcmp(f.node.c, about, NODE_ID) == 0)
            return f.update_epoch == epoch && !slots_any(f.update_slots);
    }
    return false;
}

/* We vote for F in the place of B, in epoch 7. */
static struct lone *start_voting(void)
{
    struct lone *l = start(OF_A);
    struct frame_header h;
    l->m.mute = false;
    frame_of(l, &h, FRAME_AUTH_REQUEST, F, 2, node_named(l, B)->slots);
    h.primary = node_named(l, B)->id;
    h.flags = NODE_REPLICA;
    h.current_epoch = 7;
    h.mflags[0] = FRAME_FORCEACK;
    h.larder.asks = true;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_int_equal(l->m.vote_epoch, 7);
    on_disk(l);
    return l;
}

/* F has been elected, and given slot 1000 on before we hear of it. Nobody claims it; B, coming back, does. */
static void test_an_owner_of_before(void **state)
{
    struct lone *l = start_voting();
    claims(l, F, 7, range(1001, 1999));
    assert_ptr_equal(l->m.map.owner[1001], node_named(l, F));
    assert_null(l->m.map.owner[1000]);
    assert_false(node_votes(node_named(l, B)));
    claims(l, B, 2, range(1000, 1999));
    assert_null(l->m.map.owner[1000]);
    assert_false(electorate_disputes(&l->m, node_named(l, B))); /* it is over */
    claims(l, B, 2, range(1000, 1000));
    assert_null(l->m.map.owner[1000]);
    assert_true(is_told(l, LINK_INBOUND | 1, B, 7));
    claims(l, F, 9, range(1000, 1999)); /* it has taken it back */
    assert_ptr_equal(l->m.map.owner[1000], node_named(l, F));
    end(l);
}

/* The same, where others tell of F. */
static void test_told_by_others(void **state)
{
    struct lone *l = start_voting();
    tells(l, C, F, 7, range(1001, 1999));
    assert_int_equal(node_named(l, B)->config_epoch, 7);
    assert_false(electorate_disputes(&l->m, node_named(l, B)));
    end(l);
}

/* The same after a restart. */
static void test_it_is_on_the_disk(void **state)
{
    struct lone *l = start_voting();
    claims(l, F, 7, range(1001, 1999));
    l = restarted(l);
    claims(l, B, 2, range(1000, 1999));
    assert_null(l->m.map.owner[1000]);
    end(l);
}

/* F shows a later epoch: it may have been elected in another's place. The vote is open until somebody knows
 * better. */
static void test_a_later_epoch(void **state)
{
    struct lone *l = start_voting();
    claims(l, F, 9, range(1001, 1999));
    assert_true(electorate_disputes(&l->m, node_named(l, B)));
    claims(l, B, 2, range(1000, 1000)); /* to lose its slots it need not be replaced */
    assert_true(electorate_disputes(&l->m, node_named(l, B)));
    tells(l, C, B, 7, none);
    assert_null(l->m.map.owner[1000]);
    assert_false(electorate_disputes(&l->m, node_named(l, B)));
    end(l);
    l = start_voting();
    struct frame_header h;
    ownership_primary(node_named(l, F)); /* as after a restart: since when is not known */
    claims(l, F, 7, range(1001, 1999));
    assert_true(electorate_disputes(&l->m, node_named(l, B)));
    frame_of(l, &h, FRAME_PING, B, 7, range(1001, 1999));
    h.primary = node_named(l, F)->id;
    h.flags = NODE_REPLICA;
    send_frame(l, &h, LINK_INBOUND | 1); /* it says itself that it has nothing left */
    assert_false(electorate_disputes(&l->m, node_named(l, B)));
    end(l);
}

/* D sees other voters; it has voted against B, too, and that is open for it if `open`. */
static void sees_others(struct lone *l, bool open)
{
    struct frame_header h;
    struct frame_writer w;
    struct buf b;
    char said[8 + 2 * NODE_ID + 8] = "anything";
    memcpy(said + 8, B F, 2 * (size_t)NODE_ID);
    frame_put_u64(said + 8 + 2 * NODE_ID, 7);
    buf_init(&b);
    frame_of(l, &h, FRAME_PONG, D, 4, node_named(l, D)->slots);
    frame_begin(&w, &b, &h);
    if (open)
        frame_put_ext(&w, EXT_ELECTORATE, (struct str){said, sizeof said});
    else
        frame_put_ext(&w, EXT_ELECTORATE, (struct str){said, 8});
    assert_int_equal(frame_end(&w), 0);
    send_bytes(l, &b, LINK_INBOUND | 2);
}

/* Who sees other voters hears of it, and for whom the vote is open still, whatever voters it sees. */
static void test_others_hear_of_it(void **state)
{
    struct lone *l = start_voting();
    claims(l, F, 7, range(1001, 1999));
    sees_others(l, false);
    assert_true(is_told(l, node_named(l, D)->out, B, 7));
    sees_others(l, false); /* what it hears next is older */
    assert_false(is_told(l, node_named(l, D)->out, B, 7));
    sees_others(l, true);
    assert_true(is_told(l, node_named(l, D)->out, B, 7));
    end(l);
}

/* We are F, and are elected in B's place. */
static void wins(struct lone *l)
{
    const struct machine_command force = {.kind = CMD_FAILOVER, .how = FAILOVER_FORCE};
    struct frame_header h;
    event(l, &(struct machine_event){.kind = EV_DATA, .data = {.offset = 9, .replid = 1, .link_up = true}});
    event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &force});
    on_disk(l);
    for (unsigned i = 0; i < 3; i++) {
        const char *voter = (const char *const[]){C, D, E}[i];
        const struct node *n = node_named(l, voter);
        frame_of(l, &h, FRAME_AUTH_ACK, voter, n->config_epoch, n->slots);
        send_frame(l, &h, LINK_INBOUND | 1);
    }
    assert_true(node_is(l->m.self, NODE_PRIMARY));
}

/* Who wins tells everybody, and B whenever it claims something. */
static void test_the_winner_knows(void **state)
{
    struct lone *l = start(OF_F);
    wins(l);
    assert_int_equal(node_named(l, B)->config_epoch, 7);
    on_disk(l);
    assert_true(is_told(l, node_named(l, C)->out, B, 7) && is_told(l, node_named(l, D)->out, B, 7));
    claims(l, B, 2, range(1000, 1999)); /* of what we have it hears that it is ours */
    assert_int_equal(node_named(l, B)->nslots, 0);
    ownership_assign(&l->m, 1000, NULL);
    claims(l, B, 2, range(1000, 1000));
    assert_null(l->m.map.owner[1000]);
    assert_true(is_told(l, LINK_INBOUND | 1, B, 7));
    end(l);
}

static void c_says(struct lone *l, uint64_t epoch, bool claims_more, bool unsettled)
{
    struct frame_header h;
    frame_of(l, &h, FRAME_PING, C, epoch, range(claims_more ? 1990 : 2000, 2999));
    h.larder.unsettled = unsettled;
    send_frame(l, &h, LINK_INBOUND | 1);
}

/* C claims what B, our primary, gives it. Then both crash, and we are elected: C does not claim it any more,
 * and B follows us, so it is for us to take it back; not if C serves it. */
static void test_what_our_primary_gave(void **state)
{
    for (unsigned how = 0; how < 3; how++) {
        struct lone *l = start(OF_F);
        c_says(l, 8, true, true);
        assert_ptr_equal(l->m.map.owner[1990], node_named(l, C));
        l = restarted(l);
        if (how == 1) /* it serves them */
            c_says(l, 8, true, false);
        const struct node_claim ended = {
            .by = node_named(l, C)->id, .from = node_named(l, B)->id, .epoch = 8};
        l->ended = how == 2 ? NULL : &ended;
        c_says(l, 10, false, false);
        assert_false(l->m.taking.on); /* we have no say yet */
        assert_true(node_is(l->m.self, NODE_REPLICA));
        wins(l);
        on_disk(l);
        if (how == 2) { /* and is restarted before it is said */
            l = restarted(l);
            l->ended = &ended;
        }
        c_says(l, 10, false, false);
        assert_int_equal(machine_takes(&l->m, 1990), how != 1);
        assert_true(!l->m.taking.on || l->m.taking.epoch == l->m.self->config_epoch);
        end(l);
    }
}

/* B, our primary, takes slots of C, and dies before it serves them. We are elected: they are not ours before
 * C has given them up, which may not have heard of it, and write them. By a restart we forget nothing. */
static void test_what_our_primary_takes(void **state)
{
    for (unsigned how = 0; how < 4; how++) {
        struct lone *l = start(OF_F);
        struct frame_header h;
        frame_of(l, &h, FRAME_PING, B, 8, range(1000, 2009));
        h.larder.unsettled = h.larder.taking = true;
        send_frame(l, &h, LINK_INBOUND | 1);
        assert_ptr_equal(l->m.map.owner[2009], node_named(l, B));
        if (how == 1) { /* it serves them, its file does not say so */
            h.larder.taking = false;
            send_frame(l, &h, LINK_INBOUND | 1);
        }
        if (how == 2)
            l = restarted(l);
        wins(l);
        if (how == 3) {
            on_disk(l);
            l = restarted(l);
            l->m.mute = false;
        }
        assert_ptr_equal(l->m.map.owner[1000], l->m.self);
        assert_int_equal(machine_takes(&l->m, 2009), how != 1);
        assert_true(how != 1 || l->m.map.owner[2009] == l->m.self);
        assert_true(slots_has(taking_claims(&l->m), 2009) && !slots_has(taking_claims(&l->m), 2010));
        frame_of(l, &h, FRAME_PONG, C, 3, range(2000, 2999)); /* it has not heard it */
        send_frame(l, &h, LINK_INBOUND | 1);
        assert_int_equal(machine_takes(&l->m, 2009), how != 1);
        end(l);
    }
}

/* B has given its last slots, and we, its replica, hear that they are served: we follow where B does. */
static void test_a_replica_waits_for_nobody(void **state)
{
    struct lone *l = start(OF_F);
    struct frame_header h;
    const struct machine_command other = {.kind = CMD_REPLICATE, .id = node_named(l, D)->id};
    c_says(l, 8, true, true);
    assert_true(l->m.offer.gift.on);
    assert_int_equal(event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &other}), 0);
    assert_false(l->m.offer.gift.on);
    end(l);
    l = start(OF_F);
    c_says(l, 8, true, true);
    c_says(l, 8, true, false);
    assert_false(l->m.offer.gift.on);
    assert_ptr_equal(l->m.self->primary, node_named(l, B));
    end(l);
    l = start(OF_F);
    c_says(l, 8, true, true);
    claims(l, D, 9, range(1990, 3999)); /* they are another's */
    event(l, &(struct machine_event){.kind = EV_TICK});
    assert_false(l->m.offer.gift.on);
    assert_ptr_equal(l->m.self->primary, node_named(l, B));
    end(l);
    l = start(OF_F);
    tells(l, E, C, 8, range(1990, 2999)); /* by whatever it was, it is served, as far as we know */
    assert_ptr_equal(l->m.map.owner[1990], node_named(l, C));
    assert_false(l->m.offer.gift.on);
    end(l);
    l = start(OF_F);
    frame_of(l, &h, FRAME_PING, C, 8, range(1000, 2999));
    h.larder.unsettled = true;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_ptr_equal(l->m.self->primary, node_named(l, C));
    end(l);
}

/* We come back, and F has our place, but for a slot that it has given on. We follow it. */
static void test_we_were_replaced(void **state)
{
    for (unsigned later = 0; later < 2; later++) {
        struct lone *l = start(OF_B);
        l->m.mute = false;
        tells(l, C, B, 7, none);
        assert_int_equal(l->m.self->nslots, 1000); /* whom to follow is not known yet */
        claims(l, F, 7 + 2 * later, range(1001, 1999));
        assert_ptr_equal(l->m.map.owner[1000], l->m.self);
        tells(l, C, B, 7, none);
        assert_null(l->m.map.owner[1000]);
        assert_ptr_equal(l->m.self->primary, node_named(l, F));
        assert_non_null(acted(l, ACT_FOLLOW));
        assert_int_equal(l->m.self->config_epoch, 7);
        tells(l, C, B, 8, none); /* a replica has nothing to lose */
        assert_int_equal(l->m.self->config_epoch, 7);
        end(l);
    }
}

/* We are replaced while we take slots of C. In a later epoch our claim would stand above a call back: first C
 * must have conceded. Then it counts again, in the new epoch. */
static void test_we_were_replaced_and_take(void **state)
{
    struct lone *l = start(OF_B);
    l->m.mute = false;
    l->m.taking = (struct handover){.on = true, .with = node_named(l, C)->id, .epoch = 6};
    memcpy(l->m.taking.slots, range(2000, 2009), SLOT_BYTES);
    claims(l, F, 7, range(1001, 1999));
    tells(l, C, B, 7, none);
    assert_int_equal(l->m.self->config_epoch, 2);
    assert_true(machine_takes(&l->m, 2000));
    node_named(l, C)->gives = node_named(l, C)->conceded = true;
    tells(l, C, B, 7, none);
    assert_int_equal(l->m.self->config_epoch, 7);
    assert_int_equal(l->m.self->nslots, 0);
    assert_true(machine_takes(&l->m, 2000));
    assert_true(node_is(l->m.self, NODE_PRIMARY)); /* so long */
    claims(l, F, 7, range(1001, 1999));            /* in the same epoch: it is F's, we take no greater one */
    assert_int_equal(l->m.self->config_epoch, 7);
    end(l);
}

/* Our primary was replaced by our sibling, which has given a slot on. */
static void test_our_primary_was_replaced(void **state)
{
    struct lone *l =
        start(NODE(A, "7000", "myself,slave", B, "0", "") NODE(B, "7001", "master", "-", "2", "0-1999")
                  NODE(C, "7002", "master", "-", "3", "2000-2999") NODE(F, "7005", "slave", B, "0", "")
                      NODE(E, "7004", "master", "-", "5", "3000-16383") VARS);
    tells(l, C, B, 7, none);
    assert_ptr_equal(l->m.self->primary, node_named(l, B)); /* by whom? */
    assert_int_equal(node_named(l, B)->nslots, 2000);
    claims(l, F, 7, range(1, 1999));
    assert_ptr_equal(l->m.self->primary, node_named(l, B));
    tells(l, C, B, 7, none);
    assert_ptr_equal(l->m.self->primary, node_named(l, F));
    assert_null(l->m.map.owner[0]);
    end(l);
}

/* A vote against B is one against C, too, which claims slots of B by an older epoch. F was elected in B's
 * place: C is where it was. */
static void test_in_whose_place(void **state)
{
    struct lone *l = start_voting();
    uint8_t slots[SLOT_BYTES];
    memcpy(slots, range(1999, 2999), SLOT_BYTES);
    claims(l, C, 6, slots);
    assert_ptr_equal(l->m.map.owner[1999], node_named(l, C));
    assert_true(electorate_disputes(&l->m, node_named(l, C)));
    claims(l, F, 7, range(1001, 1998));
    assert_false(electorate_disputes(&l->m, node_named(l, C)));
    assert_int_equal(node_named(l, C)->nslots, 1001);
    assert_int_equal(node_named(l, B)->config_epoch, 7);
    end(l);
}

/* Where a Redis votes, nobody has compared what the voters see: Redis's rules. */
static void test_a_mixed_cluster(void **state)
{
    struct lone *l = start_voting();
    struct frame_header h;
    frame_of(l, &h, FRAME_PING, D, 4, node_named(l, D)->slots);
    h.larder.is = false;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_true(node_is_redis(node_named(l, D)));
    claims(l, F, 7, range(1001, 1999));
    assert_ptr_equal(l->m.map.owner[1000], node_named(l, B));
    assert_false(electorate_disputes(&l->m, node_named(l, B)));
    tells(l, C, B, 7, none);
    assert_ptr_equal(l->m.map.owner[1000], node_named(l, B));
    end(l);
}

/* Who was replaced, and is a primary again by RESET, gets slots in an epoch that counts. */
static void test_a_reset(void **state)
{
    struct lone *l = start(OF_F);
    const struct machine_command soft = {.kind = CMD_RESET};
    l->m.current_epoch = 9;
    assert_int_equal(event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &soft}), 0);
    assert_int_equal(l->m.self->config_epoch, 9);
    end(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_owner_of_before),       cmocka_unit_test(test_told_by_others),
        cmocka_unit_test(test_it_is_on_the_disk),        cmocka_unit_test(test_a_later_epoch),
        cmocka_unit_test(test_others_hear_of_it),        cmocka_unit_test(test_the_winner_knows),
        cmocka_unit_test(test_we_were_replaced),         cmocka_unit_test(test_we_were_replaced_and_take),
        cmocka_unit_test(test_our_primary_was_replaced), cmocka_unit_test(test_in_whose_place),
        cmocka_unit_test(test_what_our_primary_gave),    cmocka_unit_test(test_a_replica_waits_for_nobody),
        cmocka_unit_test(test_a_mixed_cluster),          cmocka_unit_test(test_a_reset),
        cmocka_unit_test(test_what_our_primary_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
