/* Keys of slots that are not this node's any more, and of slots that were on their way here and do not come.
 *
 *      a slot is lost ──> hidden, with the new view ──> emptied by the lane, a slice at a time ──> shown
 *      it comes back meanwhile: held, till it is empty
 *
 *      a slot is given away ──> hidden, and kept ──> its taker serves it: emptied, as above
 *                                               └──> it comes back: shown, and served
 *
 *      a snapshot is loaded that has keys of a slot that another node owns: hidden, and emptied, as above
 *                                       ... that nobody owns, or DELSLOTS takes it: shown, till another does
 *
 * What was given away by CLUSTER MIGRATESLOTS may come back, until its taker says that it serves it (decision
 * 026): if that one dies before, nobody else has the data. So it stays as long as the machine remembers the
 * gift.
 *
 * There may be millions, so neither the bus nor a worker waits for them: the lane removes some, a few under a
 * lock, and takes the jobs that have come meanwhile in between; the cluster's thread sends it out again until
 * there are none. Clients do not see them: they are sent to the new owner, and SCAN, KEYS, RANDOMKEY and
 * DBSIZE pass over them (store_slot_veil()). Should the slot come back, or begin to be imported, the view
 * holds it until it is empty (cluster_show.c): nothing old is served, and nothing new is removed.
 *
 * A snapshot may have been made in the middle of a move to this node, before slots left it, or elsewhere.
 * What was given away and may come back is kept then, too, and what this node still claims (larderGives,
 * larderTakes in nodes.conf); what SETSLOT IMPORTING has opened may be nowhere else, and stays.
 *
 * A replica removes nothing by itself: its primary's stream does. While writes are paused nothing is removed:
 * it goes on with a tick after that; nor before a restarted primary knows that no replica has more than it.
 */
#include "base/log.h"
#include "os/clock.h"
#include "server/cluster_core.h"
#include "server/server.h"

#include <string.h>

enum drop_steps {
    STEP_KEYS = 4096, /* by one job */
    LOCK_KEYS = 128,  /* by one taking of a lock */
};

/* ---- the lane -------------------------------------------------------------------------------- */

/* Up to *budget keys of the slot, which is then lowered. True: it is empty. */
static bool empty_slot(struct access *a, uint32_t slot, uint32_t *budget)
{
    uint32_t before, left;
    if (store_slot_keys(a, slot, &before) != 0)
        return false;
    for (left = before; left > 0 && *budget > 0; before = left) {
        uint32_t some = *budget < LOCK_KEYS ? *budget : LOCK_KEYS;
        a->now_ms = os_wall_ms();
        if (store_slot_clear(a, slot, some, &left) != 0)
            return false;
        *budget -= before - left;
    }
    return left == 0;
}

static void drop_some(void *arg)
{
    struct cluster_core *core = arg;
    struct dropping *d = &core->dropping;
    struct access *a = &core->server->lane.ctx.a;
    uint32_t budget = STEP_KEYS;
    if (server_is_paused(core->server)) /* since it was sent out */
        return;
    for (uint32_t slot = 0; slot < SLOT_COUNT && budget > 0; slot++) {
        if (!slots_has(d->part, slot))
            continue;
        if (!core->server->repl.is_replica) {
            store_slot_veil(a, slot, true);
            if (!empty_slot(a, slot, &budget))
                continue;
        }
        store_slot_veil(a, slot, false);
        slots_set(d->emptied, slot, true);
    }
    d->keys += STEP_KEYS - budget;
}

struct veil {
    struct server *server;
    const uint8_t *slots;
    bool on;
};

/* The lane, or gate. */
static void put_veil(void *arg)
{
    const struct veil *v = arg;
    for (uint32_t s = 0; s < SLOT_COUNT; s++)
        if (slots_has(v->slots, s))
            store_slot_veil(&v->server->lane.ctx.a, s, v->on);
}

/* Gate. */
void cluster_hide_dropped(struct cluster_core *core)
{
    uint8_t all[SLOT_BYTES];
    if (core->server->repl.is_replica)
        return;
    memcpy(all, core->dropping.slots, sizeof all);
    slots_add(all, core->dropping.kept);
    put_veil(&(struct veil){core->server, all, true});
}

void cluster_drop_arrivals(struct cluster_core *core)
{
    struct repl *r = &core->server->repl;
    uint8_t coming[SLOT_BYTES] = {0};
    machine_add_takings(&core->machine, coming);
    slots_add(core->dropping.kept, coming);
    slots_drop(r->arriving, coming);
    slots_drop(r->arriving, core->machine.self->slots); /* but for those that have */
    slots_add(core->dropping.slots, r->arriving);
    memset(r->arriving, 0, sizeof r->arriving);
}

/* Nobody serves them yet, and this node may. */
static void add_undecided(const struct machine *m, uint8_t *slots)
{
    machine_add_takings(m, slots);
    if (m->offer.gift.on)
        slots_add(slots, m->offer.gift.slots);
}

/* Another's or nobody's, and what is in it is not here by SETSLOT IMPORTING. */
static bool is_foreign(const struct machine *m, uint32_t slot)
{
    const struct slot_move *move = machine_move(m, slot);
    return m->map.owner[slot] != m->self && (move == NULL || !move->importing);
}

void cluster_drop_loaded(struct cluster_core *core)
{
    const struct machine *m = &core->machine;
    struct dropping *d = &core->dropping;
    uint8_t undecided[SLOT_BYTES] = {0};
    unsigned slots = 0, ownerless = 0;
    uint64_t keys = 0, ownerless_keys = 0;
    if (!node_is(m->self, NODE_PRIMARY))
        return;
    add_undecided(m, undecided);
    for (uint32_t slot = 0; slot < SLOT_COUNT; slot++) {
        uint32_t n = 0;
        (void)store_slot_keys(&core->server->lane.ctx.a, slot, &n); /* nothing is busy for the lane */
        if (n == 0 || !is_foreign(m, slot))
            continue;
        bool has_owner = m->map.owner[slot] != NULL;
        if (slots_has(undecided, slot)) {
            slots_set(d->kept, slot, true);
        } else if (has_owner) {
            slots_set(d->slots, slot, true);
            slots++;
            keys += n;
        } else {
            slots_set(d->ownerless, slot, true);
            ownerless++;
            ownerless_keys += n;
        }
    }
    core->moving.unsaid = true; /* to replicas, who may know what was nobody's before */
    if (slots > 0)
        log_warning(
            "The snapshot has %llu keys of %u slots that belong to other nodes, as one from the middle "
            "of a move has, or from elsewhere: they are dropped.",
            (unsigned long long)keys, slots);
    if (ownerless > 0)
        log_warning("The snapshot has %llu keys of %u slots that no node has. They stay until one does: "
                    "CLUSTER ADDSLOTS here serves them, on another node it drops them.",
                    (unsigned long long)ownerless_keys, ownerless);
}

/* ---- the cluster's thread -------------------------------------------------------------------- */

/* What both have. */
static void slots_common(uint8_t *set, const uint8_t *a, const uint8_t *b)
{
    for (unsigned i = 0; i < SLOT_BYTES; i++)
        set[i] = a[i] & b[i];
}

void cluster_drop_lost(struct cluster_core *core)
{
    const struct machine *m = &core->machine;
    struct dropping *d = &core->dropping;
    uint8_t given[SLOT_BYTES] = {0};
    slots_drop(core->lost, m->self->slots);
    add_undecided(m, given); /* given, or back already */
    slots_common(given, given, core->lost);
    slots_drop(core->lost, given);
    if (node_is(m->self, NODE_PRIMARY)) {
        slots_add(d->kept, given);
        slots_add(d->slots, core->lost);
    }
    memset(core->lost, 0, sizeof core->lost);
}

/* Is it over with slots that were given away? Those that are being taken back are held. */
static void look_at_kept(struct cluster_core *core)
{
    const struct machine *m = &core->machine;
    struct dropping *d = &core->dropping;
    uint8_t some[SLOT_BYTES];
    if (!slots_any(d->kept))
        return;
    slots_common(some, d->kept, m->self->slots);
    if (slots_any(some)) {
        slots_drop(d->kept, some);
        cluster_veil(core, some, false);
        core->todo.view = true;
    }
    if (m->offer.gift.on)
        return;
    memcpy(some, d->kept, sizeof some);
    memset(d->kept, 0, sizeof d->kept);
    machine_add_takings(m, d->kept);
    slots_common(d->kept, d->kept, some);
    slots_drop(some, d->kept);
    slots_add(d->slots, some);
}

/* Have slots that nobody had gone to somebody? */
static void look_at_ownerless(struct cluster_core *core)
{
    const struct machine *m = &core->machine;
    struct dropping *d = &core->dropping;
    uint8_t theirs[SLOT_BYTES] = {0};
    if (!core->todo.view || !slots_any(d->ownerless))
        return;
    for (uint32_t slot = 0; slot < SLOT_COUNT; slot++)
        if (slots_has(d->ownerless, slot) && m->map.owner[slot] != NULL) {
            slots_set(d->ownerless, slot, false);
            slots_set(theirs, slot, is_foreign(m, slot));
        }
    if (!node_is(m->self, NODE_PRIMARY)) {
        memset(d->ownerless, 0, sizeof d->ownerless);
    } else if (slots_any(theirs)) {
        slots_add(d->slots, theirs);
        cluster_veil(core, theirs, true);
    }
}

void cluster_drop_look(struct cluster_core *core)
{
    struct dropping *d = &core->dropping;
    look_at_kept(core);
    look_at_ownerless(core);
    if (!d->out || !lane_is_done(&core->server->lane, &d->job))
        return;
    d->out = false;
    slots_drop(d->slots, d->emptied);
    core->todo.view |= server_view(core->server)->holds; /* one of them may have come back */
    if (slots_any(d->slots) || d->keys == 0)
        return;
    log_warning("%llu keys were in slots that belong to other nodes, and are dropped.",
                (unsigned long long)d->keys);
    d->keys = 0;
}

void cluster_drop_go_on(struct cluster_core *core)
{
    struct dropping *d = &core->dropping;
    if (d->out || !slots_any(d->slots) || server_is_paused(core->server) || core->machine.mute)
        return;
    memcpy(d->part, d->slots, sizeof d->part);
    memset(d->emptied, 0, sizeof d->emptied);
    d->job = (struct lane_job){.call = drop_some, .arg = core};
    d->out = true;
    lane_post(&core->server->lane, &d->job, core->loop);
}

/* ---- at once --------------------------------------------------------------------------------- */

void cluster_veil(struct cluster_core *core, const uint8_t *slots, bool on)
{
    struct veil v = {core->server, slots, on};
    (void)lane_call_shared(&core->server->lane, put_veil, &v);
}

struct clearing {
    struct server *server;
    const uint8_t *slots;
    uint32_t at; /* slot */
};

/* The lane. */
static void clear_some(void *arg)
{
    struct clearing *cl = arg;
    uint32_t budget = STEP_KEYS;
    for (; cl->at < SLOT_COUNT; cl->at++)
        if (slots_has(cl->slots, cl->at) && !empty_slot(&cl->server->lane.ctx.a, cl->at, &budget))
            return;
}

void cluster_clear_slots(struct cluster_core *core, const uint8_t *slots)
{
    struct clearing cl = {.server = core->server, .slots = slots};
    while (cl.at < SLOT_COUNT && lane_call_shared(&core->server->lane, clear_some, &cl))
        ;
    slots_drop(core->dropping.kept, slots);
    slots_drop(core->dropping.ownerless, slots);
    slots_drop(core->dropping.slots,
               slots); /* no slice is out that would find any: the lane keeps the order */
}
