/* Slots that one primary hands to another, at either end: which epochs they go by, when they may be taken,
 * when they are served, and that none is left to nobody. */
#include "lone.h"

#include "base/err.h"

#include <string.h>

#define CONF_OF(nodes, vars)                                                                                 \
    A " 127.0.0.1:7000@17000 myself,master - 0 0 4 connected 0-5000\n" B                                     \
      " 127.0.0.1:7001@17001 master - 0 0 3 connected 5001-16383\n" nodes                                    \
      "vars currentEpoch 6 lastVoteEpoch 5 " vars "\n"
#define CONF_WITH(vars) CONF_OF("", vars)

static int order(struct lone *l, enum machine_command_kind kind, const uint8_t *slots, uint64_t epoch)
{
    struct machine_command c = {.kind = kind, .slots = slots, .epoch = epoch};
    memcpy(c.id.c, B, NODE_ID);
    return event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &c});
}

/* From B. */
static void take(struct lone *l, const uint8_t *slots)
{
    make_ready(l, B, slots, 7);
    assert_int_equal(order(l, CMD_TAKE, slots, 7), 0);
}

static void range(uint8_t *slots, unsigned first, unsigned last)
{
    memset(slots, 0, SLOT_BYTES);
    for (unsigned i = first; i <= last; i++)
        slots_set(slots, i, true);
}

/* A frame of B, which owns `slots` at `epoch`. */
static void b_says(struct lone *l, const uint8_t *slots, uint64_t epoch, uint64_t current, bool unsettled)
{
    struct frame_header h;
    from(&h, FRAME_PONG, B);
    h.config_epoch = epoch;
    h.current_epoch = current;
    h.slots = slots;
    h.larder.is = unsettled;
    h.larder.unsettled = unsettled;
    send_frame(l, &h, node_named(l, B)->out);
}

/* It has been heard for so long that we may write. */
static struct lone *start_with(const char *conf)
{
    struct lone *l = start(conf);
    on_disk(l);
    b_says(l, node_named(l, B)->slots, 3, 6, false);
    l->now += 2000;
    b_says(l, node_named(l, B)->slots, 3, 6, false);
    return l;
}

static struct lone *start_with_b(void)
{
    struct lone *l = start_with(CONF_WITH(""));
    assert_true(machine_may_write(&l->m, l->now));
    return l;
}

/* Five epochs: those of the claim, of a call back, of a restart after either; one that a majority must know
 * of.
 */
static void test_an_offer(void **state)
{
    struct lone *l = start_with_b();
    uint8_t slots[SLOT_BYTES];
    range(slots, 0, 9);
    assert_int_equal(order(l, CMD_OFFER, slots, 0), 0);
    assert_int_equal(l->m.offer.epoch, 7);
    assert_false(machine_offer_stands(&l->m, l->now));
    b_says(l, node_named(l, B)->slots, 3, 10, false);
    assert_false(machine_offer_stands(&l->m, l->now));
    b_says(l, node_named(l, B)->slots, 3, 11, false);
    assert_false(machine_offer_stands(&l->m, l->now)); /* a restart would not call it back */
    on_disk(l);
    assert_true(machine_offer_stands(&l->m, l->now));
    assert_int_equal(order(l, CMD_RECLAIM, slots, 0), 0);
    assert_int_equal(l->m.self->config_epoch, 8);
    on_disk(l);
    l->m.ok = false; /* cut off: the others know better */
    assert_int_equal(order(l, CMD_RECLAIM, slots, 0), ERR_AGAIN);
    l->m.ok = false;
    assert_int_equal(order(l, CMD_OFFER, slots, 0), ERR_AGAIN);
    end(l);
}

/* B gives its last slots, and follows us as soon as it has heard the claim: its frames tell of ours then. */
static void test_who_follows_has_conceded(void **state)
{
    struct lone *l = start_with_b();
    struct frame_header h;
    uint8_t slots[SLOT_BYTES], all[SLOT_BYTES];
    range(slots, 5001, SLOT_COUNT - 1);
    range(all, 0, SLOT_COUNT - 1);
    take(l, slots);
    on_disk(l);
    b_says(l, slots, 3, 6, false);
    assert_true(machine_takes(&l->m, 5001));
    from(&h, FRAME_PONG, B);
    memcpy(h.primary.c, A, NODE_ID);
    h.flags = NODE_REPLICA;
    h.config_epoch = h.current_epoch = 7;
    h.slots = all;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_false(machine_takes(&l->m, 5001));
    assert_ptr_equal(l->m.map.owner[5001], l->m.self);
    end(l);
}

/* A restart calls an offer back by the second of its epochs, unless that, or more, has happened since. */
static void test_an_offer_before_a_restart(void **state)
{
    struct lone *l = start(CONF_WITH("larderGives-" B "-0 9 larderOffers 6"));
    on_disk(l);
    assert_int_equal(l->m.self->config_epoch, 4);
    assert_true(l->m.offer.recall); /* we may have been replaced, and not know it */
    assert_false(machine_may_write(&l->m, l->now));
    b_says(l, node_named(l, B)->slots, 3, 6, false);
    l->now += 2000;
    b_says(l, node_named(l, B)->slots, 3, 6, false);
    event(l, &(struct machine_event){.kind = EV_TICK});
    assert_int_equal(l->m.self->config_epoch, 7);
    on_disk(l);
    assert_true(machine_may_write(&l->m, l->now));
    end(l);
    l = start_with(CONF_WITH("larderGives-" B "-6000 6001 larderOffers 5"));
    assert_true(l->m.offer.gift.on); /* B has taken them, and may not serve them yet */
    end(l);
}

/* Before clients have to wait, the disk says that we may have claimed them. The claim itself waits for no
 * disk. */
static void test_ready(void **state)
{
    struct lone *l = start_with_b();
    struct machine_command ready = {.kind = CMD_READY, .epoch = 7};
    uint8_t slots[SLOT_BYTES], others[SLOT_BYTES];
    range(slots, 5001, 5010);
    range(others, 5002, 5011);
    ready.slots = slots;
    ready.id = node_named(l, B)->id;
    assert_int_equal(order(l, CMD_TAKE, slots, 7), ERR_AGAIN);
    assert_int_equal(event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &ready}), 0);
    assert_true(machine_awaits_disk(&l->m) && !machine_is_ready(&l->m));
    assert_int_equal(order(l, CMD_TAKE, slots, 7), ERR_AGAIN);
    on_disk(l);
    assert_true(machine_is_ready(&l->m));
    assert_int_equal(order(l, CMD_TAKE, others, 7), ERR_AGAIN);
    assert_int_equal(order(l, CMD_TAKE, slots, 8), ERR_AGAIN);
    assert_int_equal(l->m.self->config_epoch, 4);
    assert_int_equal(order(l, CMD_TAKE, slots, 7), 0);
    assert_non_null(acted(l, ACT_SEND));
    assert_false(machine_held(&l->m) || machine_awaits_disk(&l->m) || machine_is_ready(&l->m));
    assert_int_equal(l->m.self->config_epoch, 7);
    end(l);
    l = start_with_b(); /* we have offered that epoch ourselves */
    assert_int_equal(order(l, CMD_OFFER, l->m.self->slots, 0), 0);
    assert_int_equal(l->m.offer.epoch, 7);
    ready.id = node_named(l, B)->id;
    assert_int_equal(event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &ready}), ERR_AGAIN);
    end(l);
    l = start_with_b();
    make_ready(l, B, slots, 7);
    b_says(l, node_named(l, B)->slots, 8, 8, false); /* it keeps them */
    event(l, &(struct machine_event){.kind = EV_TICK});
    assert_false(machine_is_ready(&l->m));
    end(l);
}

/* Restarted then, we do not know whether we have claimed them, nor whether all of it had come: replicas or
 * not, we claim them no more, and say so. */
static void test_ready_and_restarted(void **state)
{
    struct lone *l = start_with(CONF_OF(C " 127.0.0.1:7002@17002 slave " A " 0 0 4 connected\n", ""));
    uint8_t slots[SLOT_BYTES];
    l->m.mute = false;
    range(slots, 5001, 5010);
    make_ready(l, B, slots, 7);
    l = restarted(l);
    assert_false(machine_takes(&l->m, 5001) || machine_is_ready(&l->m));
    assert_int_equal(l->m.self->config_epoch, 9);
    l = restarted(l);
    assert_int_equal(l->m.self->config_epoch, 9);
    assert_int_equal(l->m.nended, 1);
    assert_int_equal(l->m.ended[0].epoch, 7);
    assert_memory_equal(l->m.ended[0].by.c, A, NODE_ID);
    assert_memory_equal(l->m.ended[0].from.c, B, NODE_ID);
    end(l);
}

static struct lone *restarted_with_b(struct lone *l)
{
    l = restarted(l);
    on_disk(l);
    for (unsigned i = 0; i < 2; i++, l->now += 2000)
        b_says(l, node_named(l, B)->slots, 3, l->m.current_epoch, false);
    l->now -= 2000;
    return l;
}

/* The last of them are remembered; what the same node gives anew comes in their place. */
static void test_many_that_ended(void **state)
{
    struct lone *l = start_with_b();
    uint8_t slots[SLOT_BYTES];
    uint64_t epoch = 7;
    range(slots, 5001, 5010);
    for (unsigned i = 0; i < NODE_ENDED_MAX + 2; i++, epoch += 5) {
        make_ready(l, B, slots, epoch);
        l = restarted_with_b(l);
    }
    assert_int_equal(l->m.nended, NODE_ENDED_MAX);
    assert_int_equal(l->m.ended[0].epoch, 17);
    make_ready(l, B, slots, epoch);
    assert_int_equal(order(l, CMD_TAKE, slots, epoch), 0);
    assert_int_equal(l->m.nended, 0);
    end(l);
}

/* What was given is told when it is on the disk: else a restart would call it back. */
static void test_given_on_disk(void **state)
{
    struct lone *l = start_with_b();
    uint8_t slots[SLOT_BYTES], more[SLOT_BYTES];
    range(slots, 0, 9);
    range(more, 5001, SLOT_COUNT - 1);
    slots_add(more, slots);
    assert_int_equal(order(l, CMD_OFFER, slots, 0), 0);
    b_says(l, more, 7, 11, true);
    assert_ptr_equal(l->m.map.owner[0], node_named(l, B));
    assert_true(slots_has(taking_claims(&l->m), 0));
    on_disk(l);
    assert_false(slots_has(taking_claims(&l->m), 0));
    assert_non_null(acted(l, ACT_SEND));
    end(l);
}

/* We were restarted before we served what we had claimed: our replica has it, and we claim it still. Without
 * one it is lost, and B's again: in a new epoch we do not claim it. */
static void test_claims_again(void **state)
{
    struct lone *l = start(CONF_OF("", "larderTakes-" B "-6000 6001")); /* since an election */
    assert_true(machine_takes(&l->m, 6000));
    assert_int_equal(l->m.self->config_epoch, 4);
    end(l);
    l = start(CONF_OF("", "larderTakes-" B "-6000 6001 larderTakesIn 5"));
    assert_int_equal(l->m.self->config_epoch, 7);
    assert_int_equal(l->m.current_epoch, 7);
    assert_int_equal(l->m.ended[0].epoch, 5);
    end(l);
    l = start_with(
        CONF_OF(C " 127.0.0.1:7002@17002 slave " A " 0 0 4 connected\n", "larderTakes-" B "-6000 6001"));
    uint8_t rest[SLOT_BYTES];
    assert_true(l->m.mute); /* it may have more */
    assert_int_equal(l->m.self->config_epoch, 4);
    assert_true(machine_takes(&l->m, 6000) && machine_takes(&l->m, 6001) && !machine_takes(&l->m, 6002));
    assert_ptr_equal(l->m.map.owner[6000], node_named(l, B));
    range(rest, 5001, SLOT_COUNT - 1);
    slots_set(rest, 6000, false);
    slots_set(rest, 6001, false);
    b_says(l, rest, 3, 6, false);
    assert_ptr_equal(l->m.map.owner[6000], l->m.self);
    end(l);
}

/* B has claimed what we gave it, and is a replica before it has served it, of one who does not know of it: it
 * says so. That it claims it no more is not enough, it may have lost it since. */
static void test_takes_back(void **state)
{
    struct lone *l = start_with_b();
    struct frame_header h;
    uint8_t slots[SLOT_BYTES], more[SLOT_BYTES], none[SLOT_BYTES] = {0};
    range(slots, 0, 9);
    range(more, 5001, SLOT_COUNT - 1);
    slots_add(more, slots);
    assert_int_equal(order(l, CMD_OFFER, slots, 0), 0);
    b_says(l, more, 7, 11, true);
    assert_ptr_equal(l->m.map.owner[0], node_named(l, B));
    assert_true(l->m.offer.gift.on);
    assert_int_equal(order(l, CMD_OFFER, l->m.self->slots, 0), ERR_AGAIN); /* one after the other */
    from(&h, FRAME_PING, B);
    memcpy(h.primary.c, C, NODE_ID);
    h.flags = NODE_REPLICA;
    h.config_epoch = 3; /* its primary's */
    h.current_epoch = 12;
    h.slots = none;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_false(machine_takes(&l->m, 0));
    struct node_claim ended = {.by = node_named(l, B)->id, .from = l->m.self->id, .epoch = 6};
    l->ended = &ended;
    send_frame(l, &h, LINK_INBOUND | 1);
    ended.epoch = 7;
    ended.from = ended.by;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_false(machine_takes(&l->m, 0)); /* those were others */
    ended.from = l->m.self->id;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_true(machine_takes(&l->m, 0));
    assert_int_equal(l->m.self->config_epoch, 8);
    end(l);
    l = start_with_b();
    assert_int_equal(order(l, CMD_OFFER, slots, 0), 0);
    b_says(l, more, 7, 11, true);
    b_says(l, more, 7, 11, false); /* it serves them */
    assert_false(l->m.offer.gift.on);
    end(l);
}

/* Voters are those that the others see: B is none any more when its last slots are taken. */
static void test_voters(void **state)
{
    struct lone *l = start_with_b();
    uint8_t slots[SLOT_BYTES];
    range(slots, 5001, SLOT_COUNT - 2);
    take(l, slots);
    assert_true(taking_votes(&l->m, node_named(l, B)) && taking_votes(&l->m, l->m.self));
    end(l);
    l = start_with_b();
    range(slots, 5001, SLOT_COUNT - 1);
    take(l, slots);
    assert_false(taking_votes(&l->m, node_named(l, B)));
    end(l);
}

/* B follows D now, and says what D has in its new epoch: more than it had, and less. */
static void test_a_new_epoch_by_a_follower(void **state)
{
    struct lone *l = start(A " 127.0.0.1:7000@17000 myself,master - 0 0 4 connected 0-5000\n" B
                             " 127.0.0.1:7001@17001 master - 0 0 3 connected 5001-9999\n" D
                             " 127.0.0.1:7003@17003 master - 0 0 2 connected 10000-16383\n" VARS);
    struct frame_header h;
    uint8_t slots[SLOT_BYTES];
    range(slots, 5001, 16000);
    from(&h, FRAME_PING, B);
    memcpy(h.primary.c, D, NODE_ID);
    h.flags = NODE_REPLICA;
    h.config_epoch = h.current_epoch = 7;
    h.slots = slots;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_ptr_equal(l->m.map.owner[5001], node_named(l, D));
    assert_ptr_equal(l->m.map.owner[10000], node_named(l, D));
    assert_null(l->m.map.owner[16001]);
    /* B speaks of what it had and what D had; the rest others tell. */
    struct node d = {.id = node_named(l, D)->id, .config_epoch = 7};
    range(d.slots, 5001, 16001);
    l->update = &d;
    h.type = FRAME_UPDATE;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_ptr_equal(l->m.map.owner[16001], node_named(l, D));
    end(l);
}

/* B has failed before it said anything. That its replica has heard the claim is not enough: B may live, and
 * call the slots back. When the replica was elected it cannot, and what it called back unheard is older than
 * our epoch.
 */
static void test_a_source_that_fails(void **state)
{
    struct lone *l = start_with(CONF_OF(C " 127.0.0.1:7002@17002 slave " B " 0 0 3 connected\n", ""));
    struct frame_header h;
    uint8_t slots[SLOT_BYTES], rest[SLOT_BYTES];
    range(slots, 5001, 5010);
    range(rest, 5011, SLOT_COUNT - 1);
    take(l, slots);
    on_disk(l);
    node_named(l, B)->flags |= NODE_FAIL;
    from(&h, FRAME_PING, C);
    memcpy(h.primary.c, B, NODE_ID);
    h.flags = NODE_REPLICA;
    h.config_epoch = 8; /* B's, and the slots that B had before */
    h.slots = node_named(l, B)->slots;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_true(machine_takes(&l->m, 5001));
    h.config_epoch = 3;
    h.current_epoch = 11;
    h.slots = rest;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_true(machine_takes(&l->m, 5001));
    from(&h, FRAME_PONG, C);
    h.config_epoch = h.current_epoch = 12;
    h.slots = rest;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_ptr_equal(l->m.map.owner[5001], l->m.self);
    assert_int_equal(l->m.self->config_epoch, 9);
    end(l);
}

/* B does not claim any more what we take, C does, of old: were it C's in our map until we serve it, we saw a
 * voter that nobody sees who has heard our claim, and no promise to us counted. By a greater epoch it is C's.
 */
static void test_an_old_claim_to_what_comes(void **state)
{
    struct lone *l = start_with(CONF_OF(C " 127.0.0.1:7002@17002 master - 0 0 2 connected\n", ""));
    struct frame_header h;
    uint8_t slots[SLOT_BYTES], rest[SLOT_BYTES];
    range(slots, 5001, 5010);
    range(rest, 5011, SLOT_COUNT - 1);
    take(l, slots);
    machine_hold(&l->m);
    b_says(l, rest, 3, 6, false); /* something waits for the disk: it is not served yet */
    from(&h, FRAME_PING, C);
    h.config_epoch = 2;
    h.slots = slots;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_true(machine_takes(&l->m, 5001));
    assert_false(taking_votes(&l->m, node_named(l, C)));
    h.config_epoch = 8;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_false(machine_takes(&l->m, 5001));
    assert_ptr_equal(l->m.map.owner[5001], node_named(l, C));
    end(l);
}

/* Another has our epoch, and ours is to rise. B may have called back what it has not conceded, in the second
 * of its epochs: a claim in a later one would take it all the same. Nor is there a second claim, in its own
 * epoch, beside the first. */
static void test_a_claim_in_its_own_epoch(void **state)
{
    for (unsigned conceded = 0; conceded < 2; conceded++) {
        struct lone *l = start_with(CONF_OF(C " 127.0.0.1:7002@17002 master - 0 0 2 connected\n", ""));
        struct frame_header h;
        uint8_t slots[SLOT_BYTES], rest[SLOT_BYTES];
        range(slots, 5001, 5010);
        range(rest, 5011, SLOT_COUNT - 1);
        take(l, slots);
        machine_hold(&l->m);
        if (conceded)
            b_says(l, rest, 3, 6, false); /* something waits for the disk: it is not served yet */
        else
            on_disk(l);
        assert_int_equal(order(l, CMD_TAKE, rest, 12), ERR_AGAIN);
        from(&h, FRAME_PING, C);
        h.config_epoch = h.current_epoch = 7;
        send_frame(l, &h, LINK_INBOUND | 1);
        assert_int_equal(l->m.self->config_epoch, conceded ? 8 : 7);
        assert_true(machine_takes(&l->m, 5001));
        on_disk(l);
        event(l, &(struct machine_event){.kind = EV_TICK});
        assert_ptr_equal(l->m.map.owner[5001], conceded ? l->m.self : node_named(l, B));
        assert_int_equal(machine_takes(&l->m, 5001), !conceded);
        end(l);
    }
}

/* After a restart nobody has said yet that it is larder: that makes no Redis of it, and no majority of none.
 */
static void test_who_is_not_heard_yet(void **state)
{
    struct lone *l = start(A " 127.0.0.1:7000@17000 myself,master - 0 0 4 connected 0-5000\n" B
                             " 127.0.0.1:7001@17001 master - 0 0 3 connected 5001-9999\n" D
                             " 127.0.0.1:7003@17003 master - 0 0 2 connected 10000-16383\n" VARS);
    l->m.mute = false;
    l->m.taking = (struct handover){.on = true, .with = node_named(l, B)->id, .epoch = 7};
    range(l->m.taking.slots, 5001, 5010);
    node_named(l, B)->gives = node_named(l, B)->conceded = true;
    event(l, &(struct machine_event){.kind = EV_TICK});
    assert_true(machine_takes(&l->m, 5001));
    uint8_t rest[SLOT_BYTES];
    range(rest, 5011, 9999);
    b_says(l, rest, 3, 6, false); /* heard, and a Redis */
    assert_false(machine_takes(&l->m, 5001));
    end(l);
}

static void c_says(struct lone *l, uint64_t epoch, const uint8_t *slots)
{
    struct frame_header h;
    from(&h, FRAME_PONG, C);
    h.config_epoch = h.current_epoch = epoch;
    h.slots = slots;
    if (slots == NULL) {
        h.flags = NODE_REPLICA;
        memcpy(h.primary.c, A, NODE_ID);
        h.slots = l->m.self->slots;
    }
    send_frame(l, &h, node_named(l, C)->out);
}

/* Our replica was elected in our place while slots were on their way, here or away: we follow it when that is
 * over.
 */
static void test_replaced_meanwhile(void **state)
{
    for (unsigned gives = 0; gives < 2; gives++) {
        struct lone *l = start_with(CONF_OF(C " 127.0.0.1:7002@17002 slave " A " 0 0 4 connected\n", ""));
        uint8_t slots[SLOT_BYTES], all[SLOT_BYTES], more[SLOT_BYTES];
        l->m.mute = false;
        c_says(l, 4, NULL);
        range(slots, gives ? 0 : 5001, gives ? 9 : 5010);
        range(all, gives ? 10 : 0, gives ? 5000 : 5010);
        if (gives)
            assert_int_equal(order(l, CMD_OFFER, slots, 0), 0);
        else
            take(l, slots);
        on_disk(l);
        if (gives) {
            range(more, 5001, SLOT_COUNT - 1);
            slots_add(more, slots);
            b_says(l, more, 7, 11, true);
            c_says(l, 12, all);
            assert_true(node_is(l->m.self, NODE_PRIMARY)); /* nobody serves them yet */
            b_says(l, more, 7, 12, false);
        } else {
            c_says(l, 12, all); /* it goes on with our claim: that has not ended */
            assert_int_equal(l->m.nended, 0);
        }
        assert_ptr_equal(l->m.self->primary, node_named(l, C));
        end(l);
    }
}

/* Our last slot goes by hand, while others are on their way here: not before those have come, or not, we
 * follow.
 */
static void test_last_slot_by_hand(void **state)
{
    struct lone *l = start_with(A " 127.0.0.1:7000@17000 myself,master - 0 0 4 connected 0\n" B
                                  " 127.0.0.1:7001@17001 master - 0 0 3 connected 1-16383\n" VARS);
    struct machine_command give = {
        .kind = CMD_SETSLOT, .how = SETSLOT_NODE, .slot = 0, .id = node_named(l, B)->id};
    uint8_t slots[SLOT_BYTES];
    range(slots, 1, 9);
    take(l, slots);
    on_disk(l);
    assert_int_equal(event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &give}), 0);
    assert_true(node_is(l->m.self, NODE_PRIMARY) && machine_takes(&l->m, 1));
    range(slots, 0, SLOT_COUNT - 1);
    b_says(l, slots, 8, 8, false); /* it has called them back */
    assert_ptr_equal(l->m.self->primary, node_named(l, B));
    end(l);
}

/* An answer may be slower than a tick, and is one to the last question all the same. */
static void test_slow_answers(void **state)
{
    struct lone *l = start_with_b();
    struct node *b = node_named(l, B);
    uint8_t slots[SLOT_BYTES];
    range(slots, 5001, 5010);
    take(l, slots);
    on_disk(l);
    uint32_t seq = b->ping_seq;
    assert_true(seq != 0);
    l->now += 150;
    event(l, &(struct machine_event){.kind = EV_TICK});
    assert_int_equal(b->ping_seq, seq);
    l->now += 150; /* lost, perhaps */
    event(l, &(struct machine_event){.kind = EV_TICK});
    assert_int_not_equal(b->ping_seq, seq);
    end(l);
}

/* What was given is another's, or whoever has claimed it is forgotten: that it serves it nobody will say. */
static void test_a_gift_ends(void **state)
{
    for (unsigned how = 0; how < 3; how++) {
        struct lone *l = start_with(CONF_OF(C " 127.0.0.1:7002@17002 master - 0 0 2 connected\n", ""));
        const struct machine_command forget = {.kind = CMD_FORGET, .id = node_named(l, B)->id};
        uint8_t slots[SLOT_BYTES], more[SLOT_BYTES];
        range(slots, 0, 9);
        range(more, 5001, SLOT_COUNT - 1);
        slots_add(more, slots);
        assert_int_equal(order(l, CMD_OFFER, slots, 0), 0);
        b_says(l, more, 7, 11, true);
        on_disk(l);
        event(l, &(struct machine_event){.kind = EV_TICK});
        assert_true(l->m.offer.gift.on);
        range(more, 0, how == 0 ? 4 : 9);
        if (how < 2)
            c_says(l, 12, more);
        else
            assert_int_equal(event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &forget}), 0);
        event(l, &(struct machine_event){.kind = EV_TICK});
        assert_int_equal(l->m.offer.gift.on, how == 0);
        if (how == 0) { /* the rest is B's still, until it says that it has it not */
            range(more, 5001, SLOT_COUNT - 1);
            const struct node_claim ended = {.by = node_named(l, B)->id, .from = l->m.self->id, .epoch = 7};
            b_says(l, more, 13, 13, false);
            assert_false(machine_takes(&l->m, 5));
            l->ended = &ended;
            b_says(l, more, 13, 13, false);
            assert_true(machine_takes(&l->m, 5) && !machine_takes(&l->m, 4));
        }
        end(l);
    }
}

/* B claims, in epoch 17, what C gave it once, as we heard late; we were elected in C's place. */
static struct lone *start_in_place_of_c(uint8_t *slots)
{
    struct lone *l = start_with(CONF_OF(C " 127.0.0.1:7002@17002 master - 0 0 2 connected\n", ""));
    struct handover gift = {.on = true, .with = node_named(l, B)->id, .of = node_named(l, C)->id};
    range(slots, 5001, 5010);
    memcpy(gift.slots, slots, SLOT_BYTES);
    l->m.offer = (struct offer){.epoch = 17, .gift = gift};
    l->m.self->config_epoch = l->m.elected_epoch = 20;
    return l;
}

static void test_another_claim_has_ended(void **state)
{
    uint8_t slots[SLOT_BYTES], rest[SLOT_BYTES];
    struct lone *l = start_in_place_of_c(slots);
    const struct node_claim older = {.by = node_named(l, B)->id, .from = node_named(l, C)->id, .epoch = 15};
    l->ended = &older;
    b_says(l, node_named(l, B)->slots, 17, 20, true); /* it claims them all the same */
    assert_false(machine_takes(&l->m, 5001));
    range(rest, 5011, SLOT_COUNT - 1);
    b_says(l, rest, 17, 20, true);
    assert_true(machine_takes(&l->m, 5001));
    end(l);
}

/* It does not know yet that it was replaced, and takes them back in the epoch that it hears of with us: it
 * will give way, and so would we. */
static void test_both_take_back(void **state)
{
    for (unsigned elected = 0; elected < 2; elected++) {
        uint8_t slots[SLOT_BYTES], rest[SLOT_BYTES];
        struct lone *l = start_in_place_of_c(slots);
        const struct node_claim ended = {
            .by = node_named(l, B)->id, .from = node_named(l, C)->id, .epoch = 17};
        l->ended = &ended;
        l->m.elected_epoch = elected == 1 ? 20 : 0; /* restarted since, we may be the one that was replaced */
        range(rest, 5011, SLOT_COUNT - 1);
        b_says(l, rest, 19, 20, true);
        assert_true(machine_takes(&l->m, 5001));
        c_says(l, 20, slots);
        event(l, &(struct machine_event){.kind = EV_TICK});
        assert_int_equal(machine_takes(&l->m, 5001), elected == 1);
        end(l);
    }
}

/* Whoever has given its last slots is the one to take them back, until they are served. */
static void test_a_giver_stays_a_primary(void **state)
{
    struct lone *l = start_with(CONF_OF(C " 127.0.0.1:7002@17002 master - 0 0 2 connected\n", ""));
    const struct machine_command replicate = {.kind = CMD_REPLICATE, .id = node_named(l, C)->id};
    const struct machine_event ordered = {.kind = EV_COMMAND, .command = &replicate};
    uint8_t all[SLOT_BYTES];
    range(all, 0, SLOT_COUNT - 1);
    l->m.data.empty = true;
    assert_int_equal(order(l, CMD_OFFER, l->m.self->slots, 0), 0);
    b_says(l, all, 7, 11, true);
    assert_int_equal(l->m.self->nslots, 0);
    assert_int_equal(event(l, &ordered), ERR_AGAIN);
    assert_true(l->m.offer.gift.on && node_is(l->m.self, NODE_PRIMARY));
    b_says(l, all, 7, 11, false);
    event(l, &(struct machine_event){.kind = EV_TICK});
    assert_false(l->m.offer.gift.on);
    assert_int_equal(event(l, &ordered), 0);
    assert_ptr_equal(l->m.self->primary, node_named(l, C));
    end(l);
}

/* In a new epoch a node has what it claims in it, and nothing that it had. */
static void test_a_new_epoch(void **state)
{
    struct lone *l = start_with_b();
    uint8_t slots[SLOT_BYTES];
    range(slots, 6000, SLOT_COUNT - 1);
    b_says(l, slots, 3, 6, false);
    assert_ptr_equal(l->m.map.owner[5001], node_named(l, B));
    b_says(l, slots, 7, 7, false);
    assert_null(l->m.map.owner[5001]);
    range(slots, 5001, 5999);
    b_says(l, slots, 3, 7, false); /* an old frame, late */
    assert_null(l->m.map.owner[5001]);
    end(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_offer),
        cmocka_unit_test(test_who_follows_has_conceded),
        cmocka_unit_test(test_ready),
        cmocka_unit_test(test_ready_and_restarted),
        cmocka_unit_test(test_many_that_ended),
        cmocka_unit_test(test_another_claim_has_ended),
        cmocka_unit_test(test_both_take_back),
        cmocka_unit_test(test_claims_again),
        cmocka_unit_test(test_takes_back),
        cmocka_unit_test(test_a_new_epoch),
        cmocka_unit_test(test_an_offer_before_a_restart),
        cmocka_unit_test(test_given_on_disk),
        cmocka_unit_test(test_a_source_that_fails),
        cmocka_unit_test(test_voters),
        cmocka_unit_test(test_a_new_epoch_by_a_follower),
        cmocka_unit_test(test_an_old_claim_to_what_comes),
        cmocka_unit_test(test_a_claim_in_its_own_epoch),
        cmocka_unit_test(test_who_is_not_heard_yet),
        cmocka_unit_test(test_replaced_meanwhile),
        cmocka_unit_test(test_a_gift_ends),
        cmocka_unit_test(test_a_giver_stays_a_primary),
        cmocka_unit_test(test_last_slot_by_hand),
        cmocka_unit_test(test_slow_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
