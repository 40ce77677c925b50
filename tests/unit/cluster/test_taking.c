/* Slots change hands among machines that hear each other, without a tick: what a handover waits for is told
 * at once. */
#include "lone.h"

#include <stdio.h>

/* ROUNDS: of pings, until all of them trust each other. */
enum { NODES = 4, QUEUE = 512, ROUNDS = 8 };

static const char *const ids[NODES] = {A, B, C, D};

struct sent {
    unsigned by, to;
    uint32_t link;
    struct buf bytes;
};

struct group {
    struct lone *l[NODES];
    unsigned n;
    struct sent queue[QUEUE];
    unsigned first, end;
    unsigned late; /* what it says is heard when nobody else says anything; NODES: nobody */
    bool serves;   /* since they have met, nobody's cluster may be down for a moment */
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
    unsigned to = answer ? a->link & ~(uint32_t)LINK_INBOUND : index_of(&machine_link_node(m, a->link)->id);
    struct sent *s = &g->queue[g->end++];
    assert_true(g->end <= QUEUE);
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
    int rc = event(l, e);
    assert_true(l->m.ok || !g->serves);
    for (unsigned i = 0; i < l->m.nactions; i++) {
        if (l->m.actions[i].kind == ACT_SEND)
            queue_frame(g, at, &l->m.actions[i]);
        else if (l->m.actions[i].kind == ACT_PERSIST)
            seq = l->m.actions[i].seq;
    }
    if (seq != 0)
        happens(g, at, &(struct machine_event){.kind = EV_PERSISTED, .seq = seq});
    return rc;
}

static bool others_speak(const struct group *g)
{
    for (unsigned i = g->first; i < g->end; i++)
        if (g->queue[i].by != g->late)
            return true;
    return false;
}

static void deliver(struct group *g)
{
    for (; g->first < g->end; g->first++) {
        struct sent *s = &g->queue[g->first];
        if (s->by == g->late && others_speak(g)) {
            assert_true(g->end < QUEUE);
            g->queue[g->end++] = *s;
            continue;
        }
        happens(g, s->to,
                &(struct machine_event){.kind = EV_FRAME,
                                        .link = s->link,
                                        .bytes = buf_str(&s->bytes),
                                        .ip = STR("127.0.0.1"),
                                        .local_ip = STR("127.0.0.1")});
        buf_release(&s->bytes);
    }
    g->first = g->end = 0;
}

/* Nodes of these slots ("": none), whose epochs are 1 and up; they know each other and their promises. */
static struct group *meet(const char *const *slots, unsigned n)
{
    struct group *g = test_calloc(1, sizeof *g);
    char conf[2048];
    g->n = n;
    g->late = NODES;
    for (unsigned i = 0; i < n; i++) {
        size_t at = 0;
        for (unsigned k = 0; k < n; k++)
            at += (size_t)snprintf(
                conf + at, sizeof conf - at, "%s 127.0.0.1:%u@%u %smaster - 0 0 %u connected%s%s\n", ids[k],
                7000 + k, 17000 + k, k == i ? "myself," : "", k + 1, *slots[k] == '\0' ? "" : " ", slots[k]);
        snprintf(conf + at, sizeof conf - at, "vars currentEpoch %u lastVoteEpoch 0\n", n);
        g->l[i] = start(conf);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < n; i++) {
            g->l[i]->now += 600;
            happens(g, i, &(struct machine_event){.kind = EV_TICK});
            for (unsigned k = 0; k < n; k++)
                if (k != i)
                    happens(g, i,
                            &(struct machine_event){.kind = EV_LINK_UP,
                                                    .link = node_named(g->l[i], ids[k])->out});
        }
        deliver(g);
    }
    g->serves = true;
    return g;
}

static void part(struct group *g)
{
    for (unsigned i = 0; i < g->n; i++)
        end(g->l[i]);
    test_free(g);
}

/* A claims these slots of B. */
static void takes(struct group *g, unsigned first, unsigned last)
{
    uint8_t slots[SLOT_BYTES] = {0};
    struct machine_command offer = {.kind = CMD_OFFER, .slots = slots};
    struct machine_command take = {.kind = CMD_TAKE, .slots = slots};
    for (unsigned s = first; s <= last; s++)
        slots_set(slots, s, true);
    assert_int_equal(happens(g, 1, &(struct machine_event){.kind = EV_COMMAND, .command = &offer}), 0);
    take.epoch = g->l[1]->m.current_epoch;
    memcpy(take.id.c, B, NODE_ID);
    assert_int_equal(happens(g, 0, &(struct machine_event){.kind = EV_COMMAND, .command = &take}), 0);
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
        for (unsigned i = 0; i < g->n; i++)
            g->l[0]->m.map.nodes[i]->lease_ms = 0; /* what was promised before does not help */
        g->late = late;
        takes(g, 0, 0);
        deliver(g);
        assert_true(owns(g, 0, 0));
        assert_ptr_equal(g->l[1]->m.self->primary, node_named(g->l[1], A));
        assert_true(may_write(g, 0) && may_write(g, 2) && may_write(g, 3));
        part(g);
    }
}

/* Both of two voters give all that they have: neither of them promises anything then. */
static void test_from_both(void **state)
{
    struct group *g = meet((const char *const[]){"", "0-8191", "8192-16383"}, 3);
    uint8_t slots[SLOT_BYTES] = {0};
    struct machine_command take = {.kind = CMD_TAKE, .slots = slots};
    takes(g, 0, 8191);
    for (unsigned s = 8192; s < SLOT_COUNT; s++)
        slots_set(slots, s, true);
    take.epoch = g->l[0]->m.current_epoch + 1;
    memcpy(take.id.c, C, NODE_ID);
    assert_int_equal(happens(g, 0, &(struct machine_event){.kind = EV_COMMAND, .command = &take}), 0);
    deliver(g);
    assert_true(owns(g, 0, 0) && owns(g, 0, 16383) && may_write(g, 0));
    part(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_slots),
        cmocka_unit_test(test_a_second_voter),
        cmocka_unit_test(test_last_slots),
        cmocka_unit_test(test_from_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
