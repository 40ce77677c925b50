/* Whose promises and votes count, seen from one machine among five voters (cluster/electorate.c). */
#include "lone.h"

#include <stdio.h>

#define NODE(id, port, flags, primary, epoch, slots)                                                         \
    id " 127.0.0.1:" port "@1" port " " flags " " primary " 0 0 " epoch " connected " slots "\n"
#define FIVE(of_a, of_b, of_f)                                                                               \
    NODE(A, "7000", of_a, "-", "1", "0-999")                                                                 \
    NODE(B, "7001", of_b, "-", "2", "1000-1999")                                                             \
    NODE(C, "7002", "master", "-", "3", "2000-2999")                                                         \
    NODE(D, "7003", "master", "-", "4", "3000-3999")                                                         \
    NODE(E, "7004", "master", "-", "5", "4000-16383")                                                        \
    NODE(F, "7005", of_f, B, "0", "") "vars currentEpoch 6 lastVoteEpoch 5\n"
#define G "0000000000000000000000000000000000000000"
#define OF_A FIVE("myself,master", "master", "slave")
#define OF_F FIVE("master", "master", "myself,slave")

static void frame_of(struct lone *l, struct frame_header *h, enum frame_type type, const char *sender)
{
    const struct node *n = node_named(l, sender);
    from(h, type, sender);
    h->current_epoch = l->m.current_epoch;
    h->config_epoch = n->config_epoch;
    h->slots = n->slots;
    h->larder.is = true;
    if (n->primary != NULL) {
        h->flags = NODE_REPLICA;
        h->primary = n->primary->id;
        h->config_epoch = n->primary->config_epoch;
        h->slots = n->primary->slots;
    }
}

/* `voter` answers our last ping, and promises us T. */
static void promises(struct lone *l, const char *voter, const struct node_dispute *d)
{
    struct frame_header h;
    struct node *n = node_named(l, voter);
    frame_of(l, &h, FRAME_PONG, voter);
    send_frame(l, &h, LINK_INBOUND | 1); /* heard once: it is larder */
    failure_ask_one(&l->m, n);
    h.larder.seq = n->ping_seq;
    h.larder.promise_ms = 1000;
    send_frame_of(l, &h, n->out, d);
}

static bool is_sent(const struct lone *l, enum frame_type type)
{
    for (unsigned i = 0; i < l->m.nactions; i++) {
        const struct machine_action *a = &l->m.actions[i];
        struct frame f;
        if (a->kind != ACT_SEND)
            continue;
        assert_int_equal(frame_decode((struct str){l->m.out.p + a->at, a->n}, &f), 0);
        if (f.h.type == type)
            return true;
    }
    return false;
}

static struct lone *start_leading(void)
{
    struct lone *l = start(OF_A);
    l->m.mute = false;
    return l;
}

static struct node_dispute dispute(const char *about, const char *by, uint64_t epoch)
{
    struct node_dispute d = {.epoch = epoch};
    memcpy(d.about.c, about, NODE_ID);
    memcpy(d.by.c, by, NODE_ID);
    return d;
}

/* Who sees other voters promises in vain, and is told of those that we see, the newest first. */
static void test_another_view(void **state)
{
    struct lone *l = start_leading();
    l->other_view = true;
    promises(l, B, NULL);
    promises(l, C, NULL);
    assert_int_equal(machine_lease_until_ms(&l->m), 0);
    l->other_view = false;
    promises(l, B, NULL);
    assert_int_equal(machine_lease_until_ms(&l->m), 0);
    promises(l, C, NULL);
    assert_int_not_equal(machine_lease_until_ms(&l->m), 0); /* with us three of five */
    struct frame_header h;
    frame_of(l, &h, FRAME_PONG, D);
    node_named(l, E)->config_epoch = 9; /* D has not heard of it */
    struct machine other = l->m;
    struct buf b;
    struct frame_writer w;
    buf_init(&b);
    frame_begin(&w, &b, &h);
    node_named(l, E)->config_epoch = 5;
    electorate_put(&other, &w);
    node_named(l, E)->config_epoch = 9;
    assert_int_equal(frame_end(&w), 0);
    event(l, &(struct machine_event){
                 .kind = EV_FRAME, .link = LINK_INBOUND | 2, .bytes = buf_str(&b), .ip = STR("10.9.9.9")});
    buf_release(&b);
    assert_true(is_sent(l, FRAME_UPDATE));
    assert_true(node_named(l, D)->told_epoch != 0);
    end(l);
}

/* It sees other voters than we do, claims these slots and disputes `d`; NULL: nothing. */
static void sees_others(struct lone *l, const char *voter, const uint8_t *slots, const struct node_dispute *d)
{
    struct frame_header h;
    struct frame_writer w;
    struct buf b;
    char said[8 + 2 * NODE_ID + 8] = "anything";
    buf_init(&b);
    frame_of(l, &h, FRAME_PONG, voter);
    h.slots = slots;
    frame_begin(&w, &b, &h);
    if (d != NULL) {
        memcpy(said + 8, d->about.c, NODE_ID);
        memcpy(said + 8 + NODE_ID, d->by.c, NODE_ID);
        frame_put_u64(said + 8 + 2 * NODE_ID, d->epoch);
    }
    frame_put_ext(&w, EXT_ELECTORATE, (struct str){said, d != NULL ? sizeof said : 8});
    assert_int_equal(frame_end(&w), 0);
    event(l, &(struct machine_event){.kind = EV_FRAME,
                                     .link = node_named(l, voter)->out,
                                     .bytes = buf_str(&b),
                                     .ip = STR("10.9.9.9"),
                                     .local_ip = STR("10.1.1.1")});
    buf_release(&b);
}

/* Nobody counts beside somebody who has voted against it. */
static void test_disputed(void **state)
{
    struct lone *l = start_leading();
    struct node_dispute d = dispute(C, F, 7);
    promises(l, B, &d);
    promises(l, C, NULL);
    assert_int_equal(machine_lease_until_ms(&l->m), 0);
    sees_others(l, B, node_named(l, B)->slots, NULL); /* its promise of before is as it was */
    assert_int_equal(machine_lease_until_ms(&l->m), 0);
    promises(l, D, NULL);
    assert_int_not_equal(machine_lease_until_ms(&l->m), 0);
    node_named(l, D)->lease_ms = 0;
    node_named(l, C)->config_epoch = 7; /* it has shown a later epoch */
    assert_int_not_equal(machine_lease_until_ms(&l->m), 0);
    end(l);
}

/* A replica asks for the place of B, which has failed, or has given its lease back. */
static bool votes_for(struct lone *l, const char *replica, uint64_t epoch)
{
    struct frame_header h;
    frame_of(l, &h, FRAME_AUTH_REQUEST, replica);
    h.current_epoch = epoch;
    h.mflags[0] = node_is(node_named(l, B), NODE_FAIL) ? 0 : FRAME_FORCEACK;
    h.larder.asks = true;
    send_frame(l, &h, LINK_INBOUND | 1);
    const struct machine_action *a = acted(l, ACT_PERSIST);
    if (l->m.vote_epoch != epoch)
        return false;
    assert_non_null(a);
    event(l, &(struct machine_event){.kind = EV_PERSISTED, .seq = a->seq});
    return is_sent(l, FRAME_AUTH_ACK);
}

static bool votes_for_f(struct lone *l, uint64_t epoch)
{
    return votes_for(l, F, epoch);
}

/* Does our answer to a ping of n promise anything? */
static bool is_promised(struct lone *l, const char *n)
{
    struct frame_header h;
    struct frame f;
    frame_of(l, &h, FRAME_PING, n);
    h.larder.seq = 1;
    send_frame(l, &h, LINK_INBOUND | 1);
    const struct machine_action *a = acted(l, ACT_SEND);
    assert_non_null(a);
    assert_int_equal(frame_decode((struct str){l->m.out.p + a->at, a->n}, &f), 0);
    return f.h.larder.promise_ms > 0;
}

/* A replica tells which epoch it was elected in last. */
static void says_own_epoch(struct lone *l, const struct frame_header *h, uint64_t epoch)
{
    struct frame_writer w;
    struct buf b;
    char own[8];
    buf_init(&b);
    frame_put_u64(own, epoch);
    frame_begin(&w, &b, h);
    frame_put_ext(&w, EXT_OWN_EPOCH, (struct str){own, sizeof own});
    assert_int_equal(frame_end(&w), 0);
    send_bytes(l, &b, LINK_INBOUND | 1);
}

/* A vote is open until its end is known, also over a restart. */
static void test_open_votes(void **state)
{
    struct lone *l = start_leading();
    struct frame_header h;
    struct buf saved;
    assert_true(is_promised(l, C));
    assert_true(votes_for_f(l, 7));
    assert_true(electorate_disputes(&l->m, node_named(l, B)));
    assert_false(is_promised(l, B));
    buf_init(&saved);
    assert_int_equal(machine_save(&l->m, &saved), 0);
    buf_putc(&saved, '\0');
    frame_of(l, &h, FRAME_PING, F);
    h.larder.asks = true;
    send_frame(l, &h, LINK_INBOUND | 1); /* not decided yet */
    assert_true(electorate_disputes(&l->m, node_named(l, B)));
    h.larder.asks = false;
    h.current_epoch = 6;
    send_frame(l, &h, LINK_INBOUND | 1); /* from before it asked */
    assert_true(electorate_disputes(&l->m, node_named(l, B)));
    h.current_epoch = 7;
    h.primary = node_named(l, D)->id; /* it was elected perhaps, and another after it */
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_true(electorate_disputes(&l->m, node_named(l, B)));
    h.primary = node_named(l, B)->id;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_false(electorate_disputes(&l->m, node_named(l, B)));
    assert_true(is_promised(l, B));
    end(l);
    l = start(saved.p);
    buf_release(&saved);
    assert_true(electorate_disputes(&l->m, node_named(l, B)));
    assert_false(is_promised(l, B));
    node_named(l, B)->config_epoch = 8; /* it was elected anew */
    assert_true(is_promised(l, B));
    end(l);
}

/* Who asked for a place and follows another by now says by its own epoch that it was not elected. */
static void test_own_epoch(void **state)
{
    struct lone *l = start_leading();
    struct frame_header h;
    assert_true(votes_for_f(l, 7));
    for (uint64_t own = 7; own >= 6; own--) {
        frame_of(l, &h, FRAME_PING, F);
        h.current_epoch = 7;
        h.primary = node_named(l, D)->id;
        assert_true(electorate_disputes(&l->m, node_named(l, B)));
        says_own_epoch(l, &h, own);
    }
    assert_false(electorate_disputes(&l->m, node_named(l, B)));
    end(l);
}

/* While F asks for a place its sibling G is not voted for; it is as soon as F says that it asks no more. */
static void test_the_next_in_a_place(void **state)
{
    struct lone *l =
        start(NODE(G, "7006", "slave", B, "0", "") FIVE("myself,master", "master,fail", "slave"));
    struct frame_header h;
    l->m.mute = false;
    assert_true(votes_for_f(l, 7));
    assert_false(votes_for(l, G, 8));
    frame_of(l, &h, FRAME_PONG, F);
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_true(votes_for(l, G, 9));
    assert_false(votes_for_f(l, 10));
    frame_of(l, &h, FRAME_PONG, G);
    h.larder.asks = true;
    h.current_epoch = 11;
    send_frame(l, &h, LINK_INBOUND | 1); /* in which epoch it does not say */
    assert_false(votes_for_f(l, 12));
    assert_true(votes_for(l, G, 13)); /* a request does: the one before is over */
    end(l);
}

/* F, the only replica of B, which has failed, has just asked for its place. */
static struct lone *start_asking(void)
{
    struct lone *l = start(FIVE("master", "master,fail", "myself,slave"));
    for (unsigned i = 0; i < l->m.map.n; i++)
        l->m.map.nodes[i]->flags |= NODE_LARDER; /* the only replica need not wait */
    event(l, &(struct machine_event){.kind = EV_DATA, .data = {.offset = 9, .replid = 1, .link_up = true}});
    event(l, &(struct machine_event){.kind = EV_TICK});
    event(l, &(struct machine_event){.kind = EV_PERSISTED, .seq = l->m.persist_seq});
    assert_true(is_sent(l, FRAME_AUTH_REQUEST));
    return l;
}

/* Who is heard again has not failed because somebody still says so. */
static void test_a_failure_is_not_said_for_ever(void **state)
{
    struct lone *l = start_asking();
    struct frame_header h;
    assert_true(is_sent(l, FRAME_FAIL));
    l->now += 200;
    frame_of(l, &h, FRAME_PING, B);
    send_frame(l, &h, LINK_INBOUND | 1);
    event(l, &(struct machine_event){.kind = EV_TICK});
    assert_true(is_sent(l, FRAME_AUTH_REQUEST));
    assert_false(is_sent(l, FRAME_FAIL));
    end(l);
}

/* F asks for the place of B, which has failed, and hears that another asks in `epoch`. */
static bool goes_on(uint64_t epoch)
{
    struct lone *l = start_asking();
    struct frame_header h;
    assert_int_equal(l->m.election_epoch, 7);
    frame_of(l, &h, FRAME_AUTH_REQUEST, D); /* for its own place */
    h.current_epoch = epoch;
    h.larder.asks = true;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_true(l->m.election_sent); /* votes may be on their way */
    l->now += 100;
    event(l, &(struct machine_event){.kind = EV_TICK});
    bool again = is_sent(l, FRAME_AUTH_REQUEST);
    if (!again) {
        assert_false(l->m.election_asked);
        assert_true(is_sent(l, FRAME_PONG)); /* who has voted hears that it is over */
        l->now += 500;
        event(l, &(struct machine_event){.kind = EV_TICK});
        assert_true(l->m.election_asked); /* soon, in an epoch that nobody has asked in */
        assert_true(l->m.election_epoch > epoch);
    }
    end(l);
    return again;
}

/* Votes of our epoch are not to be had any more when another has asked in it, or in a later one. */
static void test_overtaken(void **state)
{
    assert_true(goes_on(6));
    assert_false(goes_on(7));
    assert_false(goes_on(8));
}

/* We come in the place of B, which sees other voters than we do: what it has voted is our vote all the same.
 */
static void test_in_the_place_of_whom_sees_others(void **state)
{
    struct lone *l = start(
        NODE(A, "7000", "myself,master", "-", "1", "") NODE(B, "7001", "master", "-", "2", "0-1999")
            NODE(C, "7002", "master", "-", "3", "2000-2999") NODE(D, "7003", "master", "-", "4", "3000-3999")
                NODE(E, "7004", "master", "-", "5", "4000-16383") VARS);
    const struct node_dispute d = dispute(C, F, 7);
    const uint8_t none[SLOT_BYTES] = {0};
    uint8_t slots[SLOT_BYTES];
    struct machine_command take = {.kind = CMD_TAKE, .slots = slots, .epoch = 7};
    memcpy(slots, node_named(l, B)->slots, SLOT_BYTES);
    memcpy(take.id.c, B, NODE_ID);
    for (unsigned i = 0; i < 2; i++, l->now += 2000) /* long enough for the cluster to be up */
        for (unsigned k = 0; k < 4; k++)
            promises(l, (const char *const[]){B, C, D, E}[k], NULL);
    l->now -= 2000;
    make_ready(l, B, slots, 7);
    assert_int_equal(event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &take}), 0);
    sees_others(l, B, none, &d);
    for (unsigned k = 0; k < 3; k++)
        promises(l, (const char *const[]){C, D, E}[k], NULL);
    assert_ptr_equal(l->m.map.owner[0], l->m.self);
    assert_true(electorate_disputes(&l->m, node_named(l, C)));
    end(l);
}

/* As many votes as there is place for: barred while they are open; their end, or a hard reset, ends that. */
static void test_many_votes(void **state)
{
    struct lone *l = start_leading();
    struct machine_command reset = {.kind = CMD_RESET, .hard = true};
    for (unsigned i = 0; i < NODE_DISPUTES_MAX; i++) {
        l->m.votes[i] = dispute(D, F, 7);
        l->m.votes[i].by.c[0] = (char)('0' + i); /* they are unknown by now */
    }
    l->m.nvotes = NODE_DISPUTES_MAX;
    assert_false(is_promised(l, C));
    assert_false(votes_for_f(l, 8));
    node_named(l, D)->config_epoch = 8; /* it was elected anew */
    assert_true(is_promised(l, C));
    assert_true(votes_for_f(l, 8));
    assert_int_equal(l->m.nvotes, 1);
    l->m.mute = true;
    l->m.elected_ms = l->now;
    slots_set(l->m.disowned, 9, true);
    event(l, &(struct machine_event){.kind = EV_DATA, .data = {.empty = true}});
    memcpy(reset.new_id.c, "9999999999999999999999999999999999999999", NODE_ID);
    assert_int_equal(event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &reset}), 0);
    assert_false(l->m.mute || slots_has(l->m.disowned, 9));
    assert_int_equal(l->m.nvotes + l->m.elected_ms + l->m.vote_epoch, 0);
    end(l);
}

/* A claim that is older than a vote of ours comes late: whoever makes it is barred like whom it replaces. */
static void test_an_older_claim(void **state)
{
    struct lone *l = start(FIVE("myself,master", "master", "slave"));
    struct frame_header h;
    uint8_t slots[SLOT_BYTES];
    l->m.mute = false;
    assert_true(votes_for_f(l, 8));
    memcpy(slots, node_named(l, B)->slots, SLOT_BYTES);
    frame_of(l, &h, FRAME_PING, C);
    slots_add(slots, node_named(l, C)->slots);
    h.config_epoch = 7;
    h.slots = slots;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_ptr_equal(l->m.map.owner[1000], node_named(l, C));
    assert_true(electorate_disputes(&l->m, node_named(l, C)));
    assert_false(is_promised(l, C));
    end(l);
}

/* What is late is barred, too, where the one that was voted for is forgotten; not where its end is known. */
static void test_an_older_claim_after_a_forgotten_vote(void **state)
{
    static const char *const by[] = {"9999999999999999999999999999999999999999", F};
    for (unsigned known = 0; known < 2; known++) {
        struct lone *l = start_leading();
        struct frame_header h;
        uint8_t slots[SLOT_BYTES];
        memcpy(slots, node_named(l, B)->slots, SLOT_BYTES);
        slots_add(slots, node_named(l, C)->slots);
        l->m.votes[l->m.nvotes++] = dispute(B, by[known], 8);
        if (known) { /* it was elected, and has given the slots on */
            frame_of(l, &h, FRAME_PING, F);
            memset(&h.primary, 0, sizeof h.primary);
            h.flags = NODE_PRIMARY;
            h.config_epoch = 8;
            h.slots = node_named(l, F)->slots;
            send_frame(l, &h, LINK_INBOUND | 1);
        }
        frame_of(l, &h, FRAME_PING, C);
        h.config_epoch = 7;
        h.slots = slots;
        send_frame(l, &h, LINK_INBOUND | 1);
        assert_ptr_equal(l->m.map.owner[1000], node_named(l, C));
        assert_int_equal(electorate_disputes(&l->m, node_named(l, C)), !known);
        end(l);
    }
}

/* Frames may overtake each other: whom a candidate wants to replace it says itself. */
static void test_whose_place(void **state)
{
    struct lone *l = start_leading();
    struct frame_header h;
    frame_of(l, &h, FRAME_AUTH_REQUEST, F);
    h.current_epoch = 7;
    h.mflags[0] = FRAME_FORCEACK;
    memcpy(h.primary.c, C, NODE_ID); /* we hold it for a replica of B */
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_int_equal(l->m.vote_epoch, 5);
    assert_true(votes_for_f(l, 8));
    end(l);
}

static void acks(struct lone *l, const char *voter, const struct node_dispute *d)
{
    struct frame_header h;
    frame_of(l, &h, FRAME_AUTH_ACK, voter);
    h.current_epoch = l->m.election_epoch;
    h.larder.promise_ms = 1000;
    send_frame_of(l, &h, LINK_INBOUND | 1, d);
}

/* A Redis that asks for our place, and has our vote, does not say that it was not elected: that is known when
 * it counts no longer. We may vote again then. */
static void test_a_redis_that_is_not_elected(void **state)
{
    struct lone *l = start(FIVE("myself,master", "master", "slave"));
    struct node *f = node_named(l, F);
    struct frame_header h;
    ownership_replica(&l->m, f, l->m.self);
    frame_of(l, &h, FRAME_AUTH_REQUEST, F);
    h.larder.is = false;
    h.current_epoch = 7;
    h.mflags[0] = FRAME_FORCEACK;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_int_equal(l->m.vote_epoch, 7);
    h.type = FRAME_PING;
    for (unsigned i = 0; i < 3; i++) { /* it counts for 2 s */
        send_frame(l, &h, LINK_INBOUND | 1);
        assert_true(electorate_is_barred(&l->m));
        l->now += 1000;
    }
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_false(electorate_is_barred(&l->m));
    end(l);
}

/* A living primary against which somebody has voted, for one that is gone, is elected anew: by those others.
 */
static void test_renewal(void **state)
{
    struct lone *l = start_leading();
    struct node_dispute d = dispute(A, F, 6);
    struct frame_header h;
    l->m.vote_for = node_named(l, F)->id; /* once */
    for (unsigned i = 0; i < 20 && !l->m.election_asked; i++) {
        l->now += 100;
        promises(l, B, &d);
        promises(l, C, NULL);
        promises(l, D, NULL);
        promises(l, F, NULL);
        event(l, &(struct machine_event){.kind = EV_TICK});
    }
    assert_true(l->m.election_asked);
    event(l, &(struct machine_event){.kind = EV_PERSISTED, .seq = l->m.persist_seq});
    assert_true(is_sent(l, FRAME_AUTH_REQUEST));
    frame_of(l, &h, FRAME_AUTH_REQUEST, F);
    h.mflags[0] = FRAME_FORCEACK;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_false(is_sent(l, FRAME_AUTH_ACK)); /* our vote of this epoch is our own */
    acks(l, B, &d);
    acks(l, C, NULL);
    assert_int_equal(l->m.self->config_epoch, 1); /* our own vote does not count beside B's */
    acks(l, D, NULL);
    assert_int_equal(l->m.self->config_epoch, l->m.vote_epoch);
    assert_true(l->m.vote_epoch > 6);
    end(l);
}

/* With our vote for F in its place B may not write for T, nor be elected anew in that time: F may write. */
static void test_no_renewal_against_a_vote(void **state)
{
    struct lone *l = start_leading();
    assert_true(votes_for_f(l, 7));
    assert_false(votes_for(l, B, 8));
    l->now += 999;
    assert_false(votes_for(l, B, 9));
    l->now++;
    assert_true(votes_for(l, B, 10));
    end(l);
}

static void asks_for_votes(struct lone *l)
{
    const struct machine_command force = {.kind = CMD_FAILOVER, .how = FAILOVER_FORCE};
    event(l, &(struct machine_event){.kind = EV_DATA, .data = {.offset = 9, .replid = 1, .link_up = true}});
    event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &force});
    event(l, &(struct machine_event){.kind = EV_PERSISTED, .seq = l->m.persist_seq});
    assert_true(l->m.election_sent);
}

/* Two elections, each for the place of a voter of the other: the one for the smaller id goes on. */
static void test_gives_way(void **state)
{
    struct lone *l = start(OF_F);
    struct node_dispute d = dispute(A, E, 6);
    asks_for_votes(l);
    acks(l, C, &d);
    acks(l, A, NULL);
    assert_true(l->m.election_asked);
    acks(l, E, NULL);
    assert_false(node_is(l->m.self, NODE_PRIMARY));
    assert_false(l->m.election_asked);
    assert_true(l->m.election_at_ms > l->now);
    assert_true(is_sent(l, FRAME_PONG)); /* it is over, the voters hear */
    end(l);
}

/* For T after its election a primary votes only where a lease was given back. */
static void test_who_was_elected(void **state)
{
    struct lone *l = start(OF_F);
    struct frame_header h;
    struct node_dispute d = dispute(D, A, 5);
    asks_for_votes(l);
    acks(l, C, &d);
    acks(l, E, NULL);
    acks(l, D, NULL);
    assert_false(node_is(l->m.self, NODE_PRIMARY)); /* C disputes D */
    assert_true(l->m.election_asked);
    acks(l, A, NULL);
    assert_true(node_is(l->m.self, NODE_PRIMARY));
    assert_true(electorate_disputes(&l->m, node_named(l, D))); /* so do we now */
    event(l, &(struct machine_event){.kind = EV_PERSISTED, .seq = l->m.persist_seq});
    /* B, which we have replaced, is C's replica now, and asks for its place. */
    frame_of(l, &h, FRAME_PING, B);
    memcpy(h.primary.c, C, NODE_ID);
    h.flags = NODE_REPLICA;
    h.config_epoch = 3;
    h.slots = node_named(l, C)->slots;
    send_frame(l, &h, LINK_INBOUND | 1);
    node_named(l, C)->flags |= NODE_FAIL;
    l->m.view = true; /* as whoever changes flags says */
    h.type = FRAME_AUTH_REQUEST;
    h.current_epoch = l->m.current_epoch + 1;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_int_equal(l->m.vote_epoch, 5);
    node_named(l, C)->paused = true;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_int_equal(l->m.vote_epoch, h.current_epoch);
    end(l);
}

/* A Redis primary counts no promises, and a Redis replica asks once. */
static void test_redis_among_larder(void **state)
{
    struct lone *l = start(OF_A);
    struct frame_header h;
    node_named(l, F)->primary = l->m.self;
    frame_of(l, &h, FRAME_AUTH_REQUEST, F);
    h.current_epoch++;
    h.mflags[0] = FRAME_FORCEACK;
    for (unsigned i = 0; i < 4; i++) /* the others could elect it */
        node_named(l, (const char *const[]){B, C, D, E}[i])->heard_ms = l->now;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_int_equal(l->m.vote_epoch, 5);
    h.larder.is = false;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_int_equal(l->m.vote_epoch, h.current_epoch);
    end(l);

    l = start(OF_A);
    l->m.elected_ms = l->now;
    frame_of(l, &h, FRAME_PING, B);
    h.larder.is = false;
    send_frame(l, &h, LINK_INBOUND | 1);
    node_named(l, B)->flags |= NODE_FAIL;
    l->m.view = true; /* as whoever changes flags says */
    frame_of(l, &h, FRAME_AUTH_REQUEST, F);
    h.current_epoch++;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_int_equal(l->m.vote_epoch, h.current_epoch);
    end(l);
}

/* A primary that came back with less than a replica has yields, and with that its lease is given back: voters
 * are free from then on, whatever becomes of it. */
static void test_who_yields(void **state)
{
    struct lone *l = start_leading();
    struct frame_header h;
    node_named(l, F)->primary = l->m.self;
    event(l, &(struct machine_event){.kind = EV_DATA, .data = {.empty = true}});
    promises(l, B, NULL);
    promises(l, C, NULL);
    assert_int_not_equal(machine_lease_until_ms(&l->m), 0);
    frame_of(l, &h, FRAME_PING, F);
    h.offset = 9;
    send_frame(l, &h, LINK_INBOUND | 1);
    event(l, &(struct machine_event){.kind = EV_TICK});
    assert_true(l->m.mute);
    assert_true(is_sent(l, FRAME_FAIL));
    l->m.mute = false;
    assert_int_equal(machine_lease_until_ms(&l->m), 0);
    l->now += 1001; /* what it had when it was last heard it may have lost since */
    event(l, &(struct machine_event){.kind = EV_TICK});
    assert_false(l->m.mute);
    end(l);
}

/* A yields, and takes the last slots of B: B votes no more, as the others see it, so A's own vote is needed.
 */
static void test_who_yields_and_takes(void **state)
{
    for (int takes = 0; takes < 2; takes++) {
        struct lone *l = start_leading();
        struct node *b = node_named(l, B);
        struct frame_header h;
        l->m.mute = true;
        node_named(l, F)->primary = l->m.self;
        for (unsigned k = 0; k < 3; k++) {
            frame_of(l, &h, FRAME_PING, (const char *const[]){B, C, D}[k]);
            send_frame(l, &h, LINK_INBOUND | 1);
        }
        l->m.taking = (struct handover){.on = takes, .with = b->id, .epoch = 100};
        memcpy(l->m.taking.slots, b->slots, SLOT_BYTES);
        b->gives = takes;
        frame_of(l, &h, FRAME_AUTH_REQUEST, F);
        h.current_epoch = 7;
        h.larder.asks = true;
        send_frame(l, &h, LINK_INBOUND | 1);
        assert_int_equal(l->m.vote_epoch, takes ? 7 : 5); /* B, C and D can elect it */
        end(l);
    }
}

/* What its owner, as we hold, does not claim itself is whoever's who claims it, with whatever epoch. */
static void test_disowned(void **state)
{
    struct lone *l = start_leading();
    struct frame_header h;
    uint8_t slots[SLOT_BYTES], more[SLOT_BYTES];
    memcpy(slots, node_named(l, E)->slots, SLOT_BYTES);
    memcpy(more, node_named(l, B)->slots, SLOT_BYTES);
    slots_set(more, 4000, true);
    frame_of(l, &h, FRAME_PING, B);
    h.slots = more;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_ptr_equal(l->m.map.owner[4000], node_named(l, E)); /* of the greater epoch */
    slots_set(slots, 4000, false);
    frame_of(l, &h, FRAME_PING, E);
    h.slots = slots;
    send_frame(l, &h, LINK_INBOUND | 1);
    frame_of(l, &h, FRAME_PING, B);
    h.slots = more;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_ptr_equal(l->m.map.owner[4000], node_named(l, B));
    end(l);
}

/* Who claims none of its slots a node timeout later has none: others, who heard of a claim that was given up,
 * hold it so, and it votes no more. Not in the map of who takes them; and who claims others is a voter for
 * all. */
static void test_disowned_for_long(void **state)
{
    enum { ALL, SOME, TAKEN, KINDS };
    for (int kind = ALL; kind < KINDS; kind++) {
        struct lone *l = start_leading();
        struct node *e = node_named(l, E);
        struct frame_header h;
        uint8_t slots[SLOT_BYTES] = {0};
        slots_set(slots, 4001, kind == SOME);
        frame_of(l, &h, FRAME_PING, E);
        h.slots = slots;
        send_frame(l, &h, LINK_INBOUND | 1);
        l->m.taking = (struct handover){.on = kind == TAKEN, .with = node_named(l, B)->id, .epoch = 100};
        slots_set(l->m.taking.slots, 4000, kind == TAKEN);
        l->now += 999;
        event(l, &(struct machine_event){.kind = EV_TICK});
        send_frame(l, &h, LINK_INBOUND | 1); /* it says so all the time */
        assert_ptr_equal(l->m.map.owner[4000], e);
        l->now += 1;
        event(l, &(struct machine_event){.kind = EV_TICK});
        assert_ptr_equal(l->m.map.owner[4000], kind == ALL ? NULL : e);
        assert_ptr_equal(l->m.map.owner[4002], kind == SOME ? e : NULL);
        assert_int_equal(l->m.some_disowned, kind != ALL);
        end(l);
    }
}

/* A slot that was disowned once, and has been ours since, is disowned anew: a whole node timeout. */
static void test_disowned_again(void **state)
{
    struct lone *l = start_leading();
    struct machine_command c = {.kind = CMD_SETSLOT, .how = SETSLOT_NODE, .slot = 4000, .id = l->m.self->id};
    struct frame_header h;
    const uint8_t none[SLOT_BYTES] = {0};
    frame_of(l, &h, FRAME_PING, E);
    h.slots = none;
    send_frame(l, &h, LINK_INBOUND | 1);
    assert_true(slots_has(l->m.disowned, 4000));
    assert_int_equal(event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &c}), 0);
    assert_false(slots_has(l->m.disowned, 4000));
    end(l);
}

/* A peer that says that it is forgotten itself is not: its frame is in hand. */
static void test_who_forgets_itself(void **state)
{
    struct lone *l = start(OF_A);
    struct frame_header h;
    struct frame_writer w;
    struct buf b;
    char said[NODE_ID + 8] = B;
    said[NODE_ID + 7] = 60;
    buf_init(&b);
    from(&h, FRAME_PONG, B);
    h.slots = node_named(l, B)->slots;
    frame_begin(&w, &b, &h);
    frame_put_ext(&w, EXT_FORGOTTEN, (struct str){said, sizeof said});
    assert_int_equal(frame_end(&w), 0);
    send_bytes(l, &b, LINK_INBOUND | 1);
    assert_ptr_equal(l->m.map.owner[1000], node_named(l, B));
    end(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_another_view),
        cmocka_unit_test(test_disputed),
        cmocka_unit_test(test_open_votes),
        cmocka_unit_test(test_own_epoch),
        cmocka_unit_test(test_an_older_claim),
        cmocka_unit_test(test_whose_place),
        cmocka_unit_test(test_a_redis_that_is_not_elected),
        cmocka_unit_test(test_renewal),
        cmocka_unit_test(test_no_renewal_against_a_vote),
        cmocka_unit_test(test_redis_among_larder),
        cmocka_unit_test(test_who_was_elected),
        cmocka_unit_test(test_disowned),
        cmocka_unit_test(test_disowned_for_long),
        cmocka_unit_test(test_disowned_again),
        cmocka_unit_test(test_gives_way),
        cmocka_unit_test(test_the_next_in_a_place),
        cmocka_unit_test(test_overtaken),
        cmocka_unit_test(test_a_failure_is_not_said_for_ever),
        cmocka_unit_test(test_who_yields),
        cmocka_unit_test(test_who_yields_and_takes),
        cmocka_unit_test(test_many_votes),
        cmocka_unit_test(test_who_forgets_itself),
        cmocka_unit_test(test_in_the_place_of_whom_sees_others),
        cmocka_unit_test(test_an_older_claim_after_a_forgotten_vote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
