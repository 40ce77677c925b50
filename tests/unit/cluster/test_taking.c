/* Slots change hands among machines that hear each other, without a tick: what a handover waits for is told
 * at once. */
#include "lone.h"

#include <stdio.h>

/* ROUNDS: of pings, until all of them trust each other. */
enum { NODES = 4, QUEUE = 4096, ROUNDS = 8, RUNS = 400, STEPS = 200 };

static const char *const ids[NODES] = {A, B, C, D};

struct sent {
    unsigned by, to;
    uint32_t link; /* as `to` calls it */
    struct buf bytes;
};

struct group {
    struct lone *l[NODES];
    unsigned n, queued;
    struct sent queue[QUEUE];
    unsigned late; /* what it says is heard when nobody else says anything; NODES: nobody */
    bool serves;   /* from now on nobody's cluster may be down for a moment */
    unsigned slow; /* whose file takes its time, from now on; NODES: nobody's */
    uint64_t file; /* the last that it was given */
};

static unsigned index_of(const struct node_id *id)
{
    unsigned i = 0;
    while (memcmp(ids[i], id->c, NODE_ID) != 0)
        i++;
    return i;
}

static void queue_frame(struct group *g, unsigned by, const struct machine_action *a)
{
    struct machine *m = &g->l[by]->m;
    bool answer = (a->link & LINK_INBOUND) != 0;
    const struct node *n = answer ? NULL : machine_link_node(m, a->link);
    if (!answer && n == NULL)
        return; /* closed in the same step */
    unsigned to = answer ? a->link & ~(uint32_t)LINK_INBOUND : index_of(&n->id);
    assert_true(g->queued < QUEUE);
    struct sent *s = &g->queue[g->queued++];
    s->by = by;
    s->to = to;
    s->link = answer ? node_named(g->l[to], ids[by])->out : LINK_INBOUND | by;
    buf_init(&s->bytes);
    assert_int_equal(buf_append(&s->bytes, m->out.p + a->at, a->n), 0);
}

static int happens(struct group *g, unsigned at, const struct machine_event *e)
{
    struct lone *l = g->l[at];
    uint64_t seq = 0;
    uint32_t opened[NODES];
    unsigned nopened = 0;
    int rc = event(l, e);
    assert_true(l->m.ok || !g->serves);
    for (unsigned i = 0; i < l->m.nactions; i++) {
        const struct machine_action *a = &l->m.actions[i];
        if (a->kind == ACT_SEND)
            queue_frame(g, at, a);
        else if (a->kind == ACT_PERSIST)
            seq = a->seq;
        else if (a->kind == ACT_OPEN)
            opened[nopened++] = a->link;
    }
    if (at == g->slow)
        g->file = seq != 0 ? seq : g->file;
    else if (seq != 0)
        happens(g, at, &(struct machine_event){.kind = EV_PERSISTED, .seq = seq});
    for (unsigned i = 0; i < nopened; i++)
        happens(g, at, &(struct machine_event){.kind = EV_LINK_UP, .link = opened[i]});
    return rc;
}

static void hear(struct group *g, unsigned i)
{
    struct sent s = g->queue[i];
    memmove(&g->queue[i], &g->queue[i + 1], (--g->queued - i) * sizeof s);
    happens(g, s.to,
            &(struct machine_event){.kind = EV_FRAME,
                                    .link = s.link,
                                    .bytes = buf_str(&s.bytes),
                                    .ip = STR("127.0.0.1"),
                                    .local_ip = STR("127.0.0.1")});
    buf_release(&s.bytes);
}

/* The next that is not by whom is late. */
static bool hear_early(struct group *g)
{
    unsigned i = 0;
    while (i < g->queued && g->queue[i].by == g->late)
        i++;
    if (i == g->queued)
        return false;
    hear(g, i);
    return true;
}

static void deliver(struct group *g)
{
    while (g->queued > 0)
        if (!hear_early(g))
            hear(g, 0);
}

/* Time passes, everybody asks everybody. */
static void ping_all(struct group *g, uint64_t ms)
{
    for (unsigned i = 0; i < g->n; i++) {
        g->l[i]->now += ms;
        happens(g, i, &(struct machine_event){.kind = EV_TICK});
        for (unsigned k = 0; k < g->n; k++)
            if (k != i)
                happens(
                    g, i,
                    &(struct machine_event){.kind = EV_LINK_UP, .link = node_named(g->l[i], ids[k])->out});
    }
    deliver(g);
}

/* Nodes of these slots ("": none), whose epochs are 1 and up; they know each other and their promises. */
static struct group *meet(const char *const *slots, unsigned n)
{
    struct group *g = test_calloc(1, sizeof *g);
    char conf[2048];
    g->n = n;
    g->late = g->slow = NODES;
    for (unsigned i = 0; i < n; i++) {
        size_t at = 0;
        for (unsigned k = 0; k < n; k++)
            at += (size_t)snprintf(
                conf + at, sizeof conf - at, "%s 127.0.0.1:%u@%u %smaster - 0 0 %u connected%s%s\n", ids[k],
                7000 + k, 17000 + k, k == i ? "myself," : "", k + 1, *slots[k] == '\0' ? "" : " ", slots[k]);
        snprintf(conf + at, sizeof conf - at, "vars currentEpoch %u lastVoteEpoch 0\n", n);
        g->l[i] = start(conf);
    }
    for (unsigned round = 0; round < ROUNDS; round++)
        ping_all(g, 600);
    g->serves = true;
    return g;
}

static void part(struct group *g)
{
    for (unsigned i = 0; i < g->n; i++)
        end(g->l[i]);
    test_free(g);
}

static int told(struct group *g, enum machine_command_kind kind, struct machine_command c)
{
    c.kind = kind;
    return happens(g, 0, &(struct machine_event){.kind = EV_COMMAND, .command = &c});
}

/* A claims these slots of B. */
static void takes(struct group *g, unsigned first, unsigned last)
{
    uint8_t slots[SLOT_BYTES] = {0};
    struct machine_command offer = {.kind = CMD_OFFER, .slots = slots};
    struct machine_command take = {.slots = slots};
    for (unsigned s = first; s <= last; s++)
        slots_set(slots, s, true);
    memcpy(offer.id.c, A, NODE_ID);
    assert_int_equal(happens(g, 1, &(struct machine_event){.kind = EV_COMMAND, .command = &offer}), 0);
    take.epoch = g->l[1]->m.offer.epoch;
    memcpy(take.id.c, B, NODE_ID);
    assert_int_equal(told(g, CMD_READY, take), 0);
    assert_int_equal(told(g, CMD_TAKE, take), 0);
    assert_true(machine_takes(&g->l[0]->m, first));
}

static bool owns(const struct group *g, unsigned owner, unsigned slot)
{
    for (unsigned i = 0; i < g->n; i++)
        if (g->l[i]->m.map.owner[slot] != node_named(g->l[i], ids[owner]))
            return false;
    return true;
}

static bool may_write(const struct group *g, unsigned i)
{
    return machine_may_write(&g->l[i]->m, g->l[i]->now);
}

/* A node without slots gets its first: for everybody else it is a voter as soon as it claims them. */
static void test_first_slots(void **state)
{
    struct group *g = meet((const char *const[]){"", "0-8191", "8192-16383"}, 3);
    assert_true(may_write(g, 1) && may_write(g, 2));
    takes(g, 0, 99);
    assert_true(owns(g, 1, 0)); /* nobody has heard it */
    deliver(g);
    assert_true(owns(g, 0, 0) && owns(g, 0, 99) && owns(g, 1, 100));
    for (unsigned i = 0; i < 3; i++)
        assert_true(may_write(g, i));
    part(g);
}

/* A serves what it has taken before its file says so. Until it does, B remembers that it gave it: were A
 * restarted, it would have it again from the file, or not at all. */
static void test_served_before_saved(void **state)
{
    struct group *g = meet((const char *const[]){"5461-10922", "0-5460", "10923-16383"}, 3);
    struct machine *a = &g->l[0]->m, *b = &g->l[1]->m;
    takes(g, 0, 99);
    g->slow = 0;
    deliver(g);
    assert_true(owns(g, 0, 0) && owns(g, 0, 99) && may_write(g, 0));
    assert_true(machine_serves_unsaved(a) && machine_awaits_disk(a) && !machine_takes(a, 0));
    ping_all(g, 100);
    assert_true(b->offer.gift.on && node_named(g->l[1], A)->unsettled);
    assert_int_equal(happens(g, 0, &(struct machine_event){.kind = EV_PERSISTED, .seq = g->file}), 0);
    assert_false(machine_serves_unsaved(a));
    deliver(g); /* it is told at once */
    assert_false(b->offer.gift.on || node_named(g->l[1], A)->unsettled);
    part(g);
}

/* All that is not for A. */
static void hear_others(struct group *g)
{
    for (unsigned i = 0; i < g->queued;)
        if (g->queue[i].to != 0)
            hear(g, i), i = 0;
        else
            i++;
}

/* What B has said to A last, or first, of what is on its way. */
static void hear_of_b(struct group *g, bool last)
{
    unsigned found = NODES * QUEUE;
    for (unsigned i = 0; i < g->queued && (last || found > i); i++)
        if (g->queue[i].by == 1 && g->queue[i].to == 0)
            found = i;
    assert_true(found < g->queued);
    hear(g, found);
}

/* What B said before its concession was on the disk comes after it, by the other of their two links. A does
 * not wait for its next tick to find out. */
static void test_overtaken_on_another_link(void **state)
{
    struct group *g = meet((const char *const[]){"5461-10922", "0-5460", "10923-16383"}, 3);
    takes(g, 0, 99);
    for (unsigned i = 0; i < g->n; i++)
        g->l[0]->m.map.nodes[i]->lease_ms = 0; /* it waits for a promise of C, too */
    g->slow = 1;
    hear_others(g);
    assert_int_equal(happens(g, 1, &(struct machine_event){.kind = EV_PERSISTED, .seq = g->file}), 0);
    g->slow = NODES;
    hear_of_b(g, true);
    assert_true(node_named(g->l[0], B)->conceded && machine_takes(&g->l[0]->m, 0));
    while (node_named(g->l[0], B)->conceded)
        hear_of_b(g, false);
    deliver(g);
    assert_true(owns(g, 0, 0) && may_write(g, 0));
    part(g);
}

/* The only voter until now needs the promise of whom it gives slots to from now on. */
static void test_a_second_voter(void **state)
{
    struct group *g = meet((const char *const[]){"", "0-16383"}, 2);
    takes(g, 0, 99);
    deliver(g);
    assert_true(owns(g, 0, 0) && may_write(g, 0) && may_write(g, 1));
    part(g);
}

/* Who gives its last slots away follows who takes them, and is a voter for nobody any more. */
static void test_last_slots(void **state)
{
    for (unsigned late = 1; late <= NODES; late += NODES - 1) { /* B is heard last, and first */
        struct group *g = meet((const char *const[]){"1-5000", "0", "5001-10000", "10001-16383"}, 4);
        g->late = late;
        takes(g, 0, 0);
        for (unsigned i = 0; i < g->n; i++)
            g->l[0]->m.map.nodes[i]->lease_ms = 0; /* what was promised before does not help */
        deliver(g);
        assert_true(owns(g, 0, 0));
        assert_ptr_equal(g->l[1]->m.self->primary, node_named(g->l[1], A));
        assert_true(may_write(g, 0) && may_write(g, 2) && may_write(g, 3));
        part(g);
    }
}

/* A comes in the place of B, among three: it promises when B has conceded, has voted what B has, and votes
 * when what B has promised is over. */
static void test_in_anothers_place(void **state)
{
    struct group *g = meet((const char *const[]){"", "0-5460", "5461-10922", "10923-16383"}, 4);
    struct machine *a = &g->l[0]->m, *b = &g->l[1]->m;
    electorate_vote(b, node_named(g->l[1], C), node_named(g->l[1], D), 99);
    g->late = 1;
    takes(g, 0, 5460);
    while (hear_early(g))
        ;
    assert_ptr_equal(g->l[3]->m.map.owner[0], node_named(g->l[3], A));
    assert_true(node_named(g->l[3], A)->lease_ms == 0);
    happens(g, 1, &(struct machine_event){.kind = EV_LINK_UP, .link = node_named(g->l[1], A)->out});
    hear(g, g->queued - 1); /* a ping: it does not claim them, nor does it say what B has voted */
    assert_true(machine_takes(a, 0));
    deliver(g);
    assert_true(owns(g, 0, 0) && !node_votes(b->self));
    assert_true(electorate_disputes(a, node_named(g->l[0], C)));
    assert_int_equal(a->elected_ms, g->l[0]->now);
    ping_all(g, 300);
    assert_true(node_named(g->l[3], A)->lease_ms > 0 && node_named(g->l[2], A)->lease_ms == 0);
    part(g);
}

/* Both of two voters give all that they have, one after the other: neither of them promises anything then. */
static void test_from_both(void **state)
{
    struct group *g = meet((const char *const[]){"", "0-8191", "8192-16383"}, 3);
    uint8_t slots[SLOT_BYTES] = {0};
    struct machine_command take = {.slots = slots};
    takes(g, 0, 8191);
    for (unsigned s = 8192; s < SLOT_COUNT; s++)
        slots_set(slots, s, true);
    take.epoch = g->l[0]->m.current_epoch + 1;
    memcpy(take.id.c, C, NODE_ID);
    assert_int_equal(told(g, CMD_READY, take), ERR_AGAIN);
    deliver(g);
    assert_true(owns(g, 0, 0) && owns(g, 2, 16383));
    take.epoch = g->l[0]->m.current_epoch + 1;
    assert_int_equal(told(g, CMD_READY, take), 0);
    assert_int_equal(told(g, CMD_TAKE, take), 0);
    deliver(g);
    assert_true(owns(g, 0, 0) && owns(g, 0, 16383) && may_write(g, 0));
    part(g);
}

static unsigned serve(const struct group *g, unsigned slot)
{
    unsigned n = 0;
    for (unsigned i = 0; i < g->n; i++)
        n += g->l[i]->m.map.owner[slot] == g->l[i]->m.self && may_write(g, i);
    return n;
}

/* What was said first on this link. */
static unsigned first_on_link(const struct group *g, unsigned i)
{
    const struct sent *s = &g->queue[i];
    unsigned k = 0;
    while (g->queue[k].by != s->by || g->queue[k].to != s->to || g->queue[k].link != s->link)
        k++;
    return k;
}

/* Any of what is on its way; little of it by or to `slow`. */
static void hear_some(struct group *g, struct rng *rng, unsigned slow)
{
    unsigned i = first_on_link(g, (unsigned)rng_below(rng, g->queued));
    const struct sent *s = &g->queue[i];
    bool is_slow = slow % 2 == 0 ? s->by == slow / 2 : s->to == slow / 2;
    if (!is_slow || rng_below(rng, 30) == 0)
        hear(g, i);
}

/* B has not heard the claim in time. */
static void reclaims(struct group *g)
{
    uint8_t slots[SLOT_BYTES] = {0};
    const struct machine_command c = {.kind = CMD_RECLAIM, .slots = slots};
    slots_set(slots, 0, true);
    happens(g, 1, &(struct machine_event){.kind = EV_COMMAND, .command = &c});
}

/* Frames of different links in any order, ticks between them, A or B slow, B that changes its mind: never two
 * that serve a slot, and in the end one. */
static void test_any_order(void **state)
{
    static const char *const shapes[][NODES] = {
        {"", "0-8191", "8192-16383", ""},
        {"", "0-16383", "", ""},
        {"1-5000", "0", "5001-10000", "10001-16383"},
        {"8192-16383", "0-8191", "", ""},
        {"", "0", "1-8191", "8192-16383"},
    };
    static const unsigned sizes[] = {3, 2, 4, 2, 4};
    struct rng rng;
    rng_init(&rng, 1);
    for (unsigned run = 0; run < RUNS; run++) {
        unsigned shape = run % ARRAY_LEN(shapes), n = sizes[shape], slow = (unsigned)rng_below(&rng, NODES);
        struct group *g = meet(shapes[shape], n);
        g->serves = false;
        takes(g, 0, 0);
        for (unsigned step = 0; step < STEPS; step++) {
            uint64_t what = rng_below(&rng, 20);
            if (what == 0)
                reclaims(g);
            for (unsigned i = 0; i < n && what < 5; i++) {
                g->l[i]->now += 40;
                happens(g, i, &(struct machine_event){.kind = EV_TICK});
            }
            if (g->queued > 0)
                hear_some(g, &rng, slow);
            assert_true(serve(g, 0) <= 1 && serve(g, 1) <= 1 && serve(g, 16383) <= 1);
        }
        for (unsigned round = 0; round < 2 * ROUNDS;
             round++) /* also who was thought to have failed is back */
            ping_all(g, 300);
        assert_true(owns(g, 0, 0) || owns(g, 1, 0));
        assert_true(serve(g, 0) == 1 && serve(g, 1) == 1 && serve(g, 16383) == 1);
        assert_false(g->l[0]->m.taking.on);
        part(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_slots),         cmocka_unit_test(test_a_second_voter),
        cmocka_unit_test(test_last_slots),          cmocka_unit_test(test_in_anothers_place),
        cmocka_unit_test(test_from_both),           cmocka_unit_test(test_any_order),
        cmocka_unit_test(test_served_before_saved), cmocka_unit_test(test_overtaken_on_another_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
