/* Rules that one machine alone can show: whom it votes for and when the vote leaves, what it learns of
 * addresses, what becomes of slots on their way, and that frames of any content leave its table whole. */
#include "lone.h"

#include <stdio.h>

#define CONF(flags_of_b)                                                                                     \
    A " 127.0.0.1:7000@17000 myself,master - 0 0 4 connected 0-5000\n" B " 127.0.0.1:7001@17001 " flags_of_b \
      " - 0 0 3 connected 5001-16383\n" C " 127.0.0.1:7002@17002 slave " B " 0 0 3 connected\n" VARS

/* A request of C, for the place of B. */
static void ask_for_votes(struct frame_header *h, uint64_t epoch, uint64_t config_epoch, uint8_t mflags)
{
    static uint8_t slots[SLOT_BYTES];
    for (unsigned i = 5001; i < SLOT_COUNT; i++)
        slots_set(slots, i, true);
    from(h, FRAME_AUTH_REQUEST, C);
    memcpy(h->primary.c, B, NODE_ID);
    h->flags = NODE_REPLICA;
    h->current_epoch = epoch;
    h->config_epoch = config_epoch;
    h->mflags[0] = mflags;
    h->slots = slots;
}

static bool grants(struct lone *l, const struct frame_header *h)
{
    struct frame f;
    send_frame(l, h, LINK_INBOUND | 1);
    const struct machine_action *a = acted(l, ACT_PERSIST);
    if (a == NULL)
        return false;
    assert_null(acted(l, ACT_SEND)); /* it is not on disk */
    event(l, &(struct machine_event){.kind = EV_PERSISTED, .seq = a->seq});
    a = acted(l, ACT_SEND);
    if (a == NULL)
        return false;
    assert_int_equal(frame_decode((struct str){l->m.out.p + a->at, a->n}, &f), 0);
    assert_int_equal(f.h.type, FRAME_AUTH_ACK);
    l->promised = f.h.larder.promise_ms;
    return true;
}

static bool votes(struct lone *l, uint64_t epoch, uint64_t config_epoch, uint8_t mflags)
{
    struct frame_header h;
    ask_for_votes(&h, epoch, config_epoch, mflags);
    return grants(l, &h);
}

/* Once in an epoch, for a failed primary, with fresh claims; and the vote is on disk before it leaves. */
static void test_votes(void **state)
{
    struct lone *l = start(CONF("master"));
    assert_false(votes(l, 7, 3, 0)); /* it has not failed */
    assert_true(votes(l, 7, 3, FRAME_FORCEACK));
    assert_int_equal(l->m.vote_epoch, 7);
    assert_false(machine_awaits_disk(&l->m));
    assert_false(votes(l, 7, 3, FRAME_FORCEACK)); /* twice */
    end(l);
    l = start(CONF("master,fail"));
    assert_false(votes(l, 5, 3, 0)); /* an old epoch */
    assert_false(votes(l, 7, 2, 0)); /* old news of the slots */
    l->m.boot_ms = l->now - 500;
    assert_false(votes(l, 8, 3, 0)); /* what it promised before the restart it does not know */
    l->m.boot_ms = l->now - 1500;
    assert_true(votes(l, 9, 3, 0));
    assert_int_equal(l->promised, 1000);
    end(l);
}

/* By its ping, which is in h. */
static void promise_b(struct lone *l, struct frame_header *h)
{
    from(h, FRAME_PING, B);
    h->config_epoch = 3;
    h->slots = node_named(l, B)->slots;
    h->larder = (struct frame_larder){.is = true, .seq = 1};
    send_frame(l, h, LINK_INBOUND | 1);
}

/* With B alive, which has our promise, or just after a restart, when we do not know what we have promised. */
static bool votes_against_a_promise(bool restarted, bool larder, bool forced)
{
    struct lone *l = start(CONF("master"));
    struct frame_header h;
    if (restarted)
        l->m.boot_ms = l->now - 500;
    else
        promise_b(l, &h);
    assert_int_equal(node_named(l, B)->promise_ms, restarted ? 0 : l->now + 1000);
    ask_for_votes(&h, 7, 3, FRAME_FORCEACK);
    h.larder.is = larder;
    h.larder.forced = forced;
    bool given = grants(l, &h);
    end(l);
    return given;
}

/* FAILOVER FORCE breaks promises. A Redis asks once, and does not say whether it was FORCE. */
static void test_an_order_breaks_promises(void **state)
{
    for (int restarted = 0; restarted < 2; restarted++) {
        assert_true(votes_against_a_promise(restarted, false, false));
        assert_true(votes_against_a_promise(restarted, true, true));
        assert_false(votes_against_a_promise(restarted, true, false));
    }
}

/* A vote may be lost on its way, and a handover need a second epoch. */
static void test_asks_again(void **state)
{
    struct lone *l = start(CONF("master"));
    struct frame f;
    assert_true(votes(l, 7, 3, FRAME_FORCEACK));
    assert_false(votes(l, 7, 3, FRAME_FORCEACK)); /* nothing new is on the disk, but: */
    const struct machine_action *a = acted(l, ACT_SEND);
    assert_non_null(a);
    assert_int_equal(frame_decode((struct str){l->m.out.p + a->at, a->n}, &f), 0);
    assert_int_equal(f.h.type, FRAME_AUTH_ACK);
    assert_true(votes(l, 8, 3, FRAME_FORCEACK));
    end(l);
    l = start(CONF("master,fail"));
    assert_true(votes(l, 7, 3, 0));
    assert_false(votes(l, 8, 3, 0)); /* by itself it may ask us only later */
    end(l);
}

/* Who says of itself that it has failed was restarted, and holds no promise. */
static void test_a_restarted_primary_gives_back(void **state)
{
    struct lone *l = start(CONF("master"));
    struct frame_header h, request;
    promise_b(l, &h);
    ask_for_votes(&request, 7, 3, FRAME_FORCEACK);
    request.larder.is = true;
    assert_false(grants(l, &request)); /* it was promised */
    h.type = FRAME_FAIL;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_true(votes(l, 8, 3, 0));
    end(l);
}

#define SHARD(a, c)                                                                                          \
    A " 127.0.0.1:7000@17000 " a " - 0 0 4 connected 0-5000\n" B                                             \
      " 127.0.0.1:7001@17001 master - 0 0 3 connected 5001-16383\n" C " 127.0.0.1:7002@17002 " c " " A       \
      " 0 0 4 connected\n" VARS

static int hands_over(struct lone *l)
{
    return event(l, &(struct machine_event){.kind = EV_COMMAND,
                                            .command = &(struct machine_command){.kind = CMD_HANDOVER}});
}

/* To how many do the frames of this step say that they shall take over? */
static unsigned offers(const struct lone *l)
{
    unsigned n = 0;
    for (unsigned i = 0; i < l->m.nactions; i++) {
        const struct machine_action *a = &l->m.actions[i];
        struct frame f;
        if (a->kind != ACT_SEND)
            continue;
        assert_int_equal(frame_decode((struct str){l->m.out.p + a->at, a->n}, &f), 0);
        assert_true(f.h.mflags[0] & FRAME_PAUSED);
        n += f.h.larder.offers;
    }
    return n;
}

static void test_hands_over(void **state)
{
    struct lone *l = start(SHARD("myself,master", "slave"));
    struct frame_header h;
    event(l, &(struct machine_event){.kind = EV_DATA, .data = {.offset = 9, .replid = 1}});
    l->m.mute = false;
    assert_int_equal(hands_over(l), ERR_NOTFOUND); /* perhaps it is no larder */
    from(&h, FRAME_PONG, C);
    h.flags = NODE_REPLICA;
    memcpy(h.primary.c, A, NODE_ID);
    h.config_epoch = 4;
    h.larder.is = true;
    send_frame(l, &h, node_named(l, C)->out);
    assert_int_equal(hands_over(l), 0);
    assert_non_null(acted(l, ACT_PAUSE));
    event(l, &(struct machine_event){.kind = EV_DATA, .data = {.offset = 9, .replid = 1, .paused = true}});
    assert_int_equal(offers(l), 1);
    assert_false(machine_handed_over(&l->m));
    event(l, &(struct machine_event){.kind = EV_LINK_DOWN, .link = node_named(l, C)->out});
    assert_non_null(acted(l, ACT_RESUME));
    assert_int_equal(l->m.manual, MANUAL_NONE);
    assert_int_equal(hands_over(l), ERR_NOTFOUND);
    end(l);
}

static void test_takes_over_when_asked(void **state)
{
    struct lone *l = start(SHARD("master", "myself,slave"));
    struct frame_header h;
    event(l, &(struct machine_event){.kind = EV_DATA, .data = {.offset = 8, .replid = 1, .link_up = true}});
    from(&h, FRAME_PONG, A);
    h.config_epoch = 4;
    h.offset = 9;
    h.slots = node_named(l, A)->slots;
    h.mflags[0] = FRAME_PAUSED;
    h.larder.is = true;
    send_frame(l, &h, LINK_INBOUND | 1); /* for another's sake */
    assert_int_equal(l->m.manual, MANUAL_NONE);
    h.larder.offers = true;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_int_equal(l->m.manual, MANUAL_WAITING);
    event(l, &(struct machine_event){.kind = EV_DATA, .data = {.offset = 9, .replid = 1, .link_up = true}});
    assert_int_equal(l->m.manual, MANUAL_READY);
    assert_true(machine_awaits_disk(&l->m)); /* to ask for votes */
    end(l);
}

/* Clients that are sent to the new primary come before any answer to its first pings: the votes themselves
 * promise that nobody takes its place at once. */
static uint64_t lease_when_elected(bool promised)
{
    struct lone *l = start(SHARD("master", "myself,slave"));
    struct frame_header h;
    l->m.mute = false;
    from(&h, FRAME_PONG, A);
    h.config_epoch = 4;
    h.offset = 9;
    h.slots = node_named(l, A)->slots;
    h.mflags[0] = FRAME_PAUSED;
    h.larder.is = h.larder.offers = true;
    event(l, &(struct machine_event){.kind = EV_DATA, .data = {.offset = 9, .replid = 1, .link_up = true}});
    send_frame(l, &h, LINK_INBOUND | 1);
    event(l, &(struct machine_event){.kind = EV_PERSISTED, .seq = l->m.persist_seq});
    assert_true(l->m.election_sent);
    l->now += 10;
    static const char *const voters[] = {A, B};
    for (unsigned i = 0; i < ARRAY_LEN(voters); i++) {
        from(&h, FRAME_AUTH_ACK, voters[i]);
        h.current_epoch = l->m.election_epoch;
        h.config_epoch = node_named(l, voters[i])->config_epoch;
        h.slots = node_named(l, voters[i])->slots;
        h.larder.is = true;
        h.larder.promise_ms = promised ? 1000 : 0;
        send_frame(l, &h, LINK_INBOUND | 1);
    }
    assert_true(node_is(l->m.self, NODE_PRIMARY));
    event(l, &(struct machine_event){.kind = EV_PERSISTED, .seq = l->m.persist_seq});
    uint64_t until = machine_lease_until_ms(&l->m), now = l->now;
    end(l);
    return until == 0 ? 0 : until - now;
}

static void test_the_elected_may_write(void **state)
{
    assert_int_equal(lease_when_elected(true), 1000 - 1000 / 16 - 10); /* from the request on */
    assert_int_equal(lease_when_elected(false), 0);
}

/* Two pings are on their way: the answer to the first does not spoil the promise in that to the second. */
static void test_promises_of_two_pings(void **state)
{
    struct lone *l = start(CONF("master"));
    struct node *b = node_named(l, B);
    struct frame_header h;
    l->m.mute = false;
    from(&h, FRAME_PONG, B);
    h.config_epoch = 3;
    h.slots = b->slots;
    h.larder.is = true;
    send_frame(l, &h, LINK_INBOUND | 1); /* now it is known as a voter, and has been asked */
    l->now += 1;
    failure_ask(&l->m);
    uint32_t last = b->ping_seq;
    assert_true(last > 1);
    h.larder.promise_ms = 1000;
    h.larder.seq = last - 1;
    send_frame(l, &h, b->out);
    assert_int_equal(b->ping_seq, last);
    assert_int_equal(machine_lease_until_ms(&l->m), 0);
    h.larder.seq = last;
    send_frame(l, &h, b->out);
    assert_int_not_equal(machine_lease_until_ms(&l->m), 0);
    end(l);
}

static unsigned asked(const struct lone *l, uint32_t link)
{
    unsigned n = 0;
    for (unsigned i = 0; i < l->m.nactions; i++) {
        const struct machine_action *a = &l->m.actions[i];
        struct frame f;
        if (a->kind != ACT_SEND || a->link != link)
            continue;
        assert_int_equal(frame_decode((struct str){l->m.out.p + a->at, a->n}, &f), 0);
        n += f.h.type == FRAME_PING && f.h.larder.seq != 0;
    }
    return n;
}

/* A new primary counts among those who promise, and the old one no more: it is asked as soon as it is heard.
 */
static void test_a_new_voter_is_asked(void **state)
{
    struct lone *l = start(CONF("master"));
    struct node *b = node_named(l, B), *c = node_named(l, C);
    uint8_t slots[SLOT_BYTES];
    struct frame_header h;
    l->m.mute = false;
    memcpy(slots, b->slots, sizeof slots);
    from(&h, FRAME_PONG, C);
    h.current_epoch = h.config_epoch = 7;
    h.slots = slots;
    h.larder.is = true;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_ptr_equal(l->m.map.owner[SLOT_COUNT - 1], c);
    assert_int_equal(asked(l, c->out), 1);
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_int_equal(asked(l, c->out), 0); /* once */
    end(l);
}

/* With its first slots a node asks for promises at once, also where its epoch is the greatest and stays; who
 * has ordered that hears of it when there is one, or after T/5. */
static void test_who_becomes_a_voter_asks(void **state)
{
    struct lone *l = start(A " 127.0.0.1:7000@17000 myself,master - 0 0 6 connected\n" B
                             " 127.0.0.1:7001@17001 master - 0 0 3 connected 0-16383\n" VARS);
    struct node *b = node_named(l, B);
    uint8_t slots[SLOT_BYTES];
    struct frame_header h;
    struct machine_command c = {.kind = CMD_SETSLOT, .how = SETSLOT_IMPORTING, .slot = 7, .id = b->id};
    memcpy(slots, b->slots, sizeof slots);
    from(&h, FRAME_PONG, B);
    h.config_epoch = 3;
    h.slots = slots;
    h.larder.is = true;
    send_frame(l, &h, LINK_INBOUND | 1);
    for (unsigned i = 0; i < 3; i++, l->now += 500) /* till it is back in the cluster */
        send_frame(l, &h, b->out);
    event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &c});
    assert_false(machine_awaits_promises(&l->m));
    c.how = SETSLOT_NODE;
    c.id = l->m.self->id;
    event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &c});
    assert_int_equal(l->m.self->config_epoch, 6);
    assert_int_equal(asked(l, b->out), 1);
    assert_true(machine_awaits_promises(&l->m));
    l->now += 199;
    event(l, &(struct machine_event){.kind = EV_TICK});
    assert_true(machine_awaits_promises(&l->m));
    slots_set(slots, 7, false);
    h.larder.promise_ms = 1000;
    h.larder.seq = b->ping_seq;
    send_frame(l, &h, b->out);
    assert_true(machine_may_write(&l->m, l->now));
    assert_false(machine_awaits_promises(&l->m));
    b->lease_ms = 0;
    assert_true(machine_awaits_promises(&l->m));
    l->now += 1;
    event(l, &(struct machine_event){.kind = EV_TICK});
    assert_false(machine_awaits_promises(&l->m)); /* not for ever */
    end(l);
}

/* The disk is waited for by a vote, and not by a slot that begins its way. */
static void test_who_waits_for_the_disk(void **state)
{
    struct lone *l = start(CONF("master"));
    struct machine_command c = {.kind = CMD_SETSLOT, .how = SETSLOT_MIGRATING, .slot = 7};
    memcpy(c.id.c, B, NODE_ID);
    assert_int_equal(event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &c}), 0);
    assert_non_null(acted(l, ACT_PERSIST));
    assert_false(machine_awaits_disk(&l->m));
    c.kind = CMD_BUMPEPOCH;
    l->m.self->config_epoch = 2;
    assert_int_equal(event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &c}), 0);
    assert_true(machine_awaits_disk(&l->m));
    const struct machine_action *a = acted(l, ACT_PERSIST);
    event(l, &(struct machine_event){.kind = EV_PERSISTED, .seq = a->seq});
    assert_false(machine_awaits_disk(&l->m));
    end(l);
}

/* Who pings us from elsewhere lives there now; who is met hears its own address. */
static void test_addresses(void **state)
{
    struct lone *l = start(CONF("master"));
    struct frame_header h;
    from(&h, FRAME_PING, B);
    h.config_epoch = 3;
    h.port = 7005;
    h.cport = 17005;
    struct node *b = node_named(l, B);
    send_frame(l, &h, b->out); /* on our own link: what we know is right */
    assert_string_equal(b->ip, "127.0.0.1");
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_string_equal(b->ip, "10.9.9.9");
    assert_true(b->port == 7005 && b->cport == 17005 && b->out == 0);
    assert_non_null(acted(l, ACT_CLOSE));
    assert_non_null(acted(l, ACT_VIEW));
    assert_string_equal(l->m.self->ip, "127.0.0.1");
    h.type = FRAME_MEET;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_string_equal(l->m.self->ip, "10.1.1.1");
    l->m.self->ip[0] = '\0';
    h.type = FRAME_PING;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_string_equal(l->m.self->ip, "10.1.1.1");
    end(l);
}

/* A slot that was leaving and is claimed by another is not on its way any more. */
static void test_a_claim_ends_a_move(void **state)
{
    struct lone *l = start(CONF("master"));
    uint8_t slots[SLOT_BYTES] = {0};
    struct machine_command c = {.kind = CMD_SETSLOT, .how = SETSLOT_MIGRATING, .slot = 7};
    struct frame_header h;
    memcpy(c.id.c, B, NODE_ID);
    assert_int_equal(event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &c}), 0);
    assert_non_null(machine_move(&l->m, 7));
    slots_set(slots, 7, true);
    from(&h, FRAME_PING, B);
    h.current_epoch = h.config_epoch = 7;
    h.slots = slots;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_ptr_equal(l->m.map.owner[7], node_named(l, B));
    assert_null(machine_move(&l->m, 7));
    assert_non_null(acted(l, ACT_DROP));
    end(l);
}

/* Whoever gives its last slot away becomes a replica of the taker. */
static void test_the_last_slot(void **state)
{
    struct lone *l = start(A " 127.0.0.1:7000@17000 myself,master - 0 0 4 connected 0-1\n" B
                             " 127.0.0.1:7001@17001 master - 0 0 3 connected 2-16383\n" VARS);
    struct machine_command c = {.kind = CMD_SETSLOT, .how = SETSLOT_NODE, .slot = 0};
    memcpy(c.id.c, B, NODE_ID);
    event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &c});
    assert_true(node_is(l->m.self, NODE_PRIMARY));
    c.slot = 1;
    event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &c});
    assert_ptr_equal(l->m.self->primary, node_named(l, B));
    assert_non_null(acted(l, ACT_FOLLOW));
    end(l);
}

static unsigned extensions_told(struct lone *l, const struct frame_header *h, uint32_t link)
{
    struct frame f;
    send_frame(l, h, link);
    const struct machine_action *a = acted(l, ACT_SEND);
    assert_non_null(a);
    assert_int_equal(frame_decode((struct str){l->m.out.p + a->at, a->n}, &f), 0);
    assert_int_equal(f.h.type, FRAME_PONG);
    return f.nexts;
}

/* Redis 7.0 would log each shard id that it does not understand. */
static void test_extensions_for_whom_they_are(void **state)
{
    struct lone *l = start(CONF("master"));
    struct frame_header h;
    from(&h, FRAME_PING, B);
    h.config_epoch = 3;
    h.mflags[0] = FRAME_EXTENSIONS;
    assert_int_equal(extensions_told(l, &h, LINK_INBOUND | 1), 0);
    memcpy(l->m.config.host, "h.example", 10);
    assert_int_equal(extensions_told(l, &h, LINK_INBOUND | 1), 1);
    h.larder.is = true;
    assert_int_equal(extensions_told(l, &h, LINK_INBOUND | 1), 3); /* its shard, and how it sees the voters */
    end(l);
}

static int forgets(struct lone *l, const char *id)
{
    struct machine_command c = {.kind = CMD_FORGET};
    memcpy(c.id.c, id, NODE_ID);
    return event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &c});
}

/* Nodes tell each other whom to forget, so an operator who tells them all may come second. */
static void test_forget_what_is_forgotten(void **state)
{
    static const char nobody[] = "ffffffffffffffffffffffffffffffffffffffff";
    struct lone *l = start(CONF("master"));
    assert_int_equal(forgets(l, nobody), ERR_NOTFOUND);
    assert_int_equal(forgets(l, C), 0);
    assert_int_equal(forgets(l, C), 0);
    l->now += MACHINE_FORGET_MS + 1;
    assert_int_equal(forgets(l, C), ERR_NOTFOUND);
    end(l);
}

static void test_mutated(void **state)
{
    struct lone *l = start(CONF("master"));
    uint8_t slots[SLOT_BYTES] = {0};
    struct rng rng;
    rng_init(&rng, 7);
    slots_set(slots, 9, true);
    for (unsigned round = 0; round < 20000; round++) {
        struct frame_header h;
        struct frame_writer w;
        struct buf b;
        from(&h, FRAME_PING, B);
        h.type = (uint16_t)rng_below(&rng, FRAME_TYPES);
        h.slots = slots;
        buf_init(&b);
        frame_begin(&w, &b, &h);
        if (h.type <= FRAME_MEET)
            frame_put_gossip(&w, &(struct frame_gossip){.id = l->m.self->id, .port = 1, .cport = 2});
        else if (h.type == FRAME_FAIL)
            frame_put_fail(&w, &l->m.self->id);
        else if (h.type == FRAME_UPDATE)
            frame_put_update(&w, l->m.self, l->m.self->slots);
        frame_end(&w);
        for (uint64_t i = rng_below(&rng, 4); i > 0; i--)
            b.p[8 + rng_below(&rng, b.n - 8)] = (char)rng_below(&rng, 256);
        event(l, &(struct machine_event){.kind = EV_FRAME,
                                         .link = (uint32_t)(1 + rng_below(&rng, 3)),
                                         .bytes = buf_str(&b),
                                         .ip = STR("127.0.0.1"),
                                         .local_ip = STR("127.0.0.1")});
        l->now += 10;
        event(l, &(struct machine_event){.kind = round % 2 == 0 ? EV_TICK : EV_PERSISTED, .seq = round});
        buf_release(&b);
    }
    end(l);
}

/* The frames of the last step, in their order, on one link. */
static unsigned said(const struct lone *l, uint32_t link, unsigned *types, unsigned room)
{
    struct frame f;
    unsigned n = 0;
    for (unsigned i = 0; i < l->m.nactions && n < room; i++) {
        const struct machine_action *a = &l->m.actions[i];
        if (a->kind != ACT_SEND || a->link != link)
            continue;
        assert_int_equal(frame_decode((struct str){l->m.out.p + a->at, a->n}, &f), 0);
        types[n++] = f.h.type;
    }
    return n;
}

/* Who asks to take over says first that it is a replica of whom it asks. */
static void test_asks_to_take_over(void **state)
{
    struct lone *l = start(SHARD("master", "myself,slave"));
    unsigned types[4];
    const struct machine_command c = {.kind = CMD_FAILOVER, .how = FAILOVER_PLAIN};
    assert_int_equal(event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &c}), 0);
    assert_int_equal(said(l, node_named(l, A)->out, types, ARRAY_LEN(types)), 2);
    assert_int_equal(types[0], FRAME_PONG);
    assert_int_equal(types[1], FRAME_MFSTART);
    end(l);
}

/* And a primary believes it, if it has followed another until now; not who follows another. */
static void test_asked_by_a_new_replica(void **state)
{
    for (int mine = 0; mine < 2; mine++) {
        struct lone *l = start(A " 127.0.0.1:7000@17000 myself,master - 0 0 4 connected 0-5000\n" B
                                 " 127.0.0.1:7001@17001 master - 0 0 3 connected 5001-16383\n" C
                                 " 127.0.0.1:7002@17002 slave " B " 0 0 3 connected\n" VARS);
        struct frame_header h;
        l->m.mute = false;
        from(&h, FRAME_MFSTART, C);
        h.flags = NODE_REPLICA;
        memcpy(h.primary.c, mine ? A : B, NODE_ID);
        h.slots = node_named(l, mine ? A : B)->slots;
        h.config_epoch = 4;
        send_frame(l, &h, LINK_INBOUND | 1);
        assert_int_equal(l->m.manual, mine ? MANUAL_PAUSED : MANUAL_NONE);
        end(l);
    }
}

/* Of two with one epoch the one with the lesser id takes another, but not while it may have been replaced:
 * its successor's is no greater than that. */
static void test_a_collision_waits_for_the_lease(void **state)
{
    struct lone *l = start(A " 127.0.0.1:7000@17000 myself,master - 0 0 4 connected 0-5000\n" B
                             " 127.0.0.1:7001@17001 master - 0 0 4 connected 5001-16383\n" VARS);
    struct node *b = node_named(l, B);
    struct frame_header h;
    l->m.mute = false;
    from(&h, FRAME_PONG, B);
    h.config_epoch = 4;
    h.current_epoch = 6;
    h.slots = b->slots;
    h.larder.is = true;
    send_frame(l, &h, LINK_INBOUND | 1); /* it has been asked, and promises */
    h.larder.promise_ms = 1000;
    h.larder.seq = b->ping_seq;
    assert_int_equal(l->m.self->config_epoch, 4);
    send_frame(l, &h, b->out);
    assert_int_not_equal(machine_lease_until_ms(&l->m), 0);
    assert_int_equal(l->m.self->config_epoch, 4);
    send_frame(l, &h, b->out);
    assert_int_equal(l->m.self->config_epoch, 7);
    end(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_votes),
        cmocka_unit_test(test_asks_again),
        cmocka_unit_test(test_a_restarted_primary_gives_back),
        cmocka_unit_test(test_hands_over),
        cmocka_unit_test(test_an_order_breaks_promises),
        cmocka_unit_test(test_takes_over_when_asked),
        cmocka_unit_test(test_asks_to_take_over),
        cmocka_unit_test(test_asked_by_a_new_replica),
        cmocka_unit_test(test_a_collision_waits_for_the_lease),
        cmocka_unit_test(test_the_elected_may_write),
        cmocka_unit_test(test_promises_of_two_pings),
        cmocka_unit_test(test_a_new_voter_is_asked),
        cmocka_unit_test(test_who_becomes_a_voter_asks),
        cmocka_unit_test(test_who_waits_for_the_disk),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_a_claim_ends_a_move),
        cmocka_unit_test(test_the_last_slot),
        cmocka_unit_test(test_extensions_for_whom_they_are),
        cmocka_unit_test(test_forget_what_is_forgotten),
        cmocka_unit_test(test_mutated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
