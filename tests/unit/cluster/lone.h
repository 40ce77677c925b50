/* One machine among nodes that the test plays: events in, what it does read from its actions. */
#ifndef LARDER_TESTS_UNIT_CLUSTER_LONE_H
#define LARDER_TESTS_UNIT_CLUSTER_LONE_H

#include "cluster/machine_internal.h"

#include "base/err.h"
#include "unit.h"

#include <string.h>

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C "cccccccccccccccccccccccccccccccccccccccc"
#define D "dddddddddddddddddddddddddddddddddddddddd"
#define E "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
#define F "ffffffffffffffffffffffffffffffffffffffff"
#define VARS "vars currentEpoch 6 lastVoteEpoch 5\n"

struct lone {
    struct machine m;
    struct rng rng;
    uint64_t now;
    uint32_t promised;              /* with its last vote */
    bool other_view;                /* frames to it come from who sees other voters, or does not say */
    const struct node *update;      /* of the next UPDATE */
    const struct node_claim *ended; /* in frames to it; NULL: none */
    const struct handover *unowned; /* the same */
};

static inline int event(struct lone *l, const struct machine_event *e)
{
    return machine_step(&l->m, e, l->now);
}

static inline const struct machine_action *acted(const struct lone *l, enum machine_action_kind kind)
{
    for (unsigned i = 0; i < l->m.nactions; i++)
        if (l->m.actions[i].kind == kind)
            return &l->m.actions[i];
    return NULL;
}

static inline struct node *node_named(const struct lone *l, const char *id)
{
    struct node_id key;
    memcpy(key.c, id, NODE_ID);
    struct node *n = slotmap_find(&l->m.map, &key);
    assert_non_null(n);
    return n;
}

/* Restored from the text so long ago that it may vote; its links are up. */
static inline struct lone *start(const char *conf)
{
    struct lone *l = test_calloc(1, sizeof *l);
    const struct machine_config config = {.node_timeout_ms = 1000,
                                          .full_coverage = true,
                                          .replica_migration = true,
                                          .port = 7000,
                                          .cport = 17000};
    unsigned line;
    rng_init(&l->rng, 1);
    l->now = 1000;
    assert_int_equal(machine_restore(&l->m, &config, str_of(conf), &l->rng, l->now, &line), 0);
    l->now += 5000;
    event(l, &(struct machine_event){.kind = EV_TICK});
    for (unsigned i = 0; i < l->m.map.n; i++)
        if (l->m.map.nodes[i]->out != 0)
            event(l, &(struct machine_event){.kind = EV_LINK_UP, .link = l->m.map.nodes[i]->out});
    return l;
}

static inline void end(struct lone *l)
{
    assert_true(slotmap_check(&l->m.map));
    machine_release(&l->m);
    test_free(l);
}

/* The same node again, of what it saves now. */
static inline struct lone *restarted(struct lone *l)
{
    struct buf saved;
    buf_init(&saved);
    assert_int_equal(machine_save(&l->m, &saved), 0);
    buf_putc(&saved, '\0');
    end(l);
    l = start(saved.p);
    buf_release(&saved);
    return l;
}

/* What the machine wants on the disk is there. */
static inline void on_disk(struct lone *l)
{
    event(l, &(struct machine_event){.kind = EV_PERSISTED, .seq = l->m.persist_seq});
}

/* Slots of that node, which may be taken in that epoch from now on. */
static inline void make_ready(struct lone *l, const char *of, const uint8_t *slots, uint64_t epoch)
{
    struct machine_command ready = {.kind = CMD_READY, .slots = slots, .epoch = epoch};
    memcpy(ready.id.c, of, NODE_ID);
    assert_int_equal(event(l, &(struct machine_event){.kind = EV_COMMAND, .command = &ready}), 0);
    on_disk(l);
}

static inline void from(struct frame_header *h, enum frame_type type, const char *sender)
{
    *h = (struct frame_header){.type = (uint16_t)type, .port = 7001, .cport = 17001, .flags = NODE_PRIMARY};
    memcpy(h->sender.c, sender, NODE_ID);
}

/* What a larder says that sees the voters as we do, and disputes `d` if that is not NULL. */
static inline void put_view(struct lone *l, struct frame_writer *w, const struct node_dispute *d)
{
    struct machine m = l->m;
    m.nvotes = 0;
    if (d != NULL)
        m.votes[m.nvotes++] = *d;
    electorate_put(&m, w);
}

/* A whole frame, which is released. */
static inline int send_bytes(struct lone *l, struct buf *b, uint32_t link)
{
    int rc = event(l, &(struct machine_event){.kind = EV_FRAME,
                                              .link = link,
                                              .bytes = buf_str(b),
                                              .ip = STR("10.9.9.9"),
                                              .local_ip = STR("10.1.1.1")});
    buf_release(b);
    return rc;
}

static inline int send_frame_of(struct lone *l, const struct frame_header *h, uint32_t link,
                                const struct node_dispute *d)
{
    struct buf b;
    struct frame_writer w;
    buf_init(&b);
    frame_begin(&w, &b, h);
    if (h->type == FRAME_FAIL)
        frame_put_fail(&w, &h->sender);
    if (h->type == FRAME_UPDATE)
        frame_put_update(&w, l->update, l->update->slots);
    if (l->ended != NULL) {
        struct machine says = {.nended = 1, .ended = {*l->ended}};
        taking_put(&says, &w, l->m.self);
    }
    if (l->unowned != NULL) {
        struct machine says = {.lost_claim = *l->unowned};
        unowned_put(&says, &w);
    }
    bool view = h->type == FRAME_PONG || h->type == FRAME_AUTH_REQUEST || h->type == FRAME_AUTH_ACK;
    if (h->larder.is && view && !l->other_view)
        put_view(l, &w, d);
    assert_int_equal(frame_end(&w), 0);
    return send_bytes(l, &b, link);
}

static inline int send_frame(struct lone *l, const struct frame_header *h, uint32_t link)
{
    return send_frame_of(l, h, link, NULL);
}

#endif
