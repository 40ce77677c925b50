/* CLUSTER MIGRATESLOTS, GETSLOTMIGRATIONS, CANCELSLOTMIGRATIONS as Valkey has them, and SYNCSLOTS, which
 * nodes say to each other. On the cluster's thread. */
#include "base/log.h"
#include "server/cluster_core.h"
#include "server/handlers.h"
#include "server/moves.h"

#include <string.h>

/* ---- arguments ------------------------------------------------------------------------------- */

static bool refuse_range(struct cmd_ctx *c, const struct move *mv, uint16_t first, uint16_t last)
{
    for (uint32_t i = 0; i < mv->nranges; i++) {
        const struct move_range *r = &mv->ranges[i];
        if (first > r->last || last < r->first)
            continue;
        reply_errorf(c->reply, "ERR Slot range %u-%u overlaps with previous range %u-%u.", first, last,
                     r->first, r->last);
        return true;
    }
    if (mv->nranges == MOVES_RANGES_MAX)
        reply_errorf(c->reply, "ERR No more than %d slot ranges at a time", MOVES_RANGES_MAX);
    return mv->nranges == MOVES_RANGES_MAX;
}

/* One owner for all, who is *owner; VIEW_NOBODY before the first. */
static bool same_owner(struct cmd_ctx *c, const struct cluster_view *v, uint32_t first, uint32_t last,
                       uint16_t *owner)
{
    for (uint32_t s = first; s <= last; s++) {
        if (v->owner[s] == VIEW_NOBODY) {
            reply_errorf(c->reply, "ERR Slot %u has no node served.", s);
            return false;
        }
        if (*owner != VIEW_NOBODY && v->owner[s] != *owner) {
            reply_error(c->reply, "ERR Requested slots span multiple shards");
            return false;
        }
        *owner = v->owner[s];
    }
    return true;
}

/* Numbers from *at on, which is behind them then. False after replying. */
static bool parse_ranges(struct cmd_ctx *c, const struct cluster_view *v, uint32_t *at, struct move *mv,
                         uint16_t *owner)
{
    int64_t any;
    uint32_t first, last;
    *owner = VIEW_NOBODY;
    for (mv->nranges = 0; *at < c->argc && num_parse_i64(c->argv[*at], &any); *at += 2) {
        if (!cluster_arg_slot(c, *at, &first))
            return false;
        if (*at + 1 >= c->argc) {
            reply_error(c->reply, "ERR No end slot for final slot range");
            return false;
        }
        if (!cluster_arg_slot(c, *at + 1, &last))
            return false;
        if (first > last) {
            reply_errorf(c->reply, "ERR Start slot number %u is greater than end slot number %u.", first,
                         last);
            return false;
        }
        if (!same_owner(c, v, first, last, owner) || refuse_range(c, mv, (uint16_t)first, (uint16_t)last))
            return false;
        mv->ranges[mv->nranges++] = (struct move_range){(uint16_t)first, (uint16_t)last};
    }
    if (mv->nranges == 0)
        reply_error(c->reply, "ERR No slot ranges specified");
    return mv->nranges > 0;
}

static bool overlaps(const struct move *a, const struct move *b, uint32_t *slot)
{
    uint8_t x[SLOT_BYTES], y[SLOT_BYTES];
    move_slots(a, x);
    move_slots(b, y);
    for (*slot = 0; *slot < SLOT_COUNT; ++*slot)
        if (slots_has(x, *slot) && slots_has(y, *slot))
            return true;
    return false;
}

/* NODE id, from *at on. */
static bool parse_target(struct cmd_ctx *c, const struct cluster_view *v, uint32_t *at, struct move *mv)
{
    if (*at + 1 >= c->argc || !cmd_arg_is(c, *at, STR("NODE"))) {
        reply_error(c->reply, REPLY_SYNTAX);
        return false;
    }
    struct str id = c->argv[*at + 1];
    uint32_t node = 1;
    while (node < v->nnodes && !str_eq(id, str_of(v->nodes[node].id)))
        node++;
    *at += 2;
    if (id.n != VIEW_ID)
        reply_errorf(c->reply, "ERR Invalid node name: %.*s", (int)(id.n < 64 ? id.n : 64), id.p);
    else if (node == v->nnodes)
        reply_errorf(c->reply, "ERR Unknown node name: %.*s", VIEW_ID, id.p);
    else if (node == v->me)
        reply_error(c->reply, "ERR Target node can not be this node.");
    else if (v->nodes[node].flags & VIEW_REPLICA)
        reply_error(c->reply, "ERR Target node is not a primary");
    else
        memcpy(mv->target, v->nodes[node].id, sizeof mv->target);
    return mv->target[0] != '\0';
}

/* ---- MIGRATESLOTS ---------------------------------------------------------------------------- */

/* The mutex. */
static bool is_moving(struct cmd_ctx *c, const struct moves *m, const struct move *mv)
{
    uint32_t slot;
    for (unsigned i = 0; i < MOVES_RECORDS; i++) {
        const struct move *other = &m->records[i];
        if (other->number == 0 || other->arrives || move_is_over(other->state) || !overlaps(other, mv, &slot))
            continue;
        reply_errorf(c->reply, "ERR I am already migrating slot %u.", slot);
        return true;
    }
    return false;
}

/* By the machine, not the view: an order before this one may not be in force yet. */
static bool goes_by_hand(struct cmd_ctx *c, const struct machine *m, const struct move *mv)
{
    uint8_t slots[SLOT_BYTES];
    move_slots(mv, slots);
    for (uint32_t i = 0; i < m->nmoves; i++)
        if (slots_has(slots, m->moves[i].slot)) {
            reply_errorf(c->reply, "ERR Slot %u is %s by CLUSTER SETSLOT; end that first", m->moves[i].slot,
                         m->moves[i].importing ? "importing" : "migrating");
            return true;
        }
    return false;
}

/* The next SLOTSRANGE ... NODE ... */
static bool parse_move(struct cmd_ctx *c, const struct cluster_core *core, const struct cluster_view *v,
                       uint32_t *at, struct move *mv)
{
    uint16_t owner;
    memset(mv, 0, sizeof *mv);
    if (!cmd_arg_is(c, *at, STR("SLOTSRANGE"))) {
        reply_error(c->reply, REPLY_SYNTAX);
        return false;
    }
    ++*at;
    if (!parse_ranges(c, v, at, mv, &owner))
        return false;
    if (owner != v->me) {
        reply_error(c->reply, "ERR Slots are not served by this node.");
        return false;
    }
    memcpy(mv->source, v->nodes[v->me].id, sizeof mv->source);
    return parse_target(c, v, at, mv) && !goes_by_hand(c, &core->machine, mv);
}

static uint32_t free_places(const struct moves *m)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < MOVES_RECORDS; i++)
        n += m->records[i].number == 0 || move_is_over(m->records[i].state);
    return n;
}

/* All of them or none. */
static void begin(struct cmd_ctx *c, struct moves *m, const struct move *all, uint32_t n)
{
    pthread_mutex_lock(&m->mutex);
    bool ok = true;
    for (uint32_t i = 0; i < n && ok; i++)
        ok = !is_moving(c, m, &all[i]);
    if (ok && free_places(m) < n) {
        reply_error(c->reply, "ERR Too many slot migrations are under way");
        ok = false;
    }
    for (uint32_t i = 0; i < n && ok; i++)
        (void)moves_add(m, &all[i]);
    pthread_mutex_unlock(&m->mutex);
    if (ok)
        reply_ok(c->reply);
}

void moves_do_migrateslots(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    struct moves *m = &core->server->moves;
    struct move *all = arena_alloc(c->arena, MOVES_RECORDS * sizeof *all);
    uint32_t n = 0, slot;
    if (all == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return;
    }
    if (v->replica || !v->up) {
        reply_error(c->reply, v->replica ? "ERR Slot migration can only be used on primary nodes."
                                         : "CLUSTERDOWN The cluster is down");
        return;
    }
    for (uint32_t at = 2; at < c->argc; n++) {
        if (n == MOVES_RECORDS) {
            reply_error(c->reply, "ERR Too many slot migrations are under way");
            return;
        }
        if (!parse_move(c, core, v, &at, &all[n]))
            return;
        for (uint32_t i = 0; i < n; i++)
            if (overlaps(&all[i], &all[n], &slot)) {
                reply_error(c->reply, "ERR Slot ranges in migrations overlap");
                return;
            }
    }
    begin(c, m, all, n);
}

/* ---- GETSLOTMIGRATIONS ----------------------------------------------------------------------- */

static const char *state_name(enum move_state s)
{
    static const char *const names[] = {
        [MOVE_WAITS] = "waiting-to-start",      [MOVE_CONNECTS] = "connecting",
        [MOVE_COPIES] = "snapshotting",         [MOVE_FOLLOWS] = "replicating",
        [MOVE_HOLDS] = "failover-paused",       [MOVE_GIVES] = "failover-granted",
        [MOVE_RECEIVES] = "receiving-snapshot", [MOVE_TAKES] = "failover-granted",
        [MOVE_CLEANS] = "cleaning-up",          [MOVE_DONE] = "success",
        [MOVE_CANCELLED] = "cancelled",         [MOVE_FAILED] = "failed",
    };
    return names[s];
}

static void reply_field(struct reply *r, const char *name, const char *value)
{
    reply_cstr(r, name);
    reply_cstr(r, value);
}

static void reply_number(struct reply *r, const char *name, int64_t value)
{
    reply_cstr(r, name);
    reply_int(r, value);
}

static void reply_ranges(struct reply *r, const struct move *mv)
{
    struct buf b;
    buf_init(&b);
    for (uint32_t i = 0; i < mv->nranges; i++)
        buf_printf(&b, "%s%u-%u", i == 0 ? "" : " ", mv->ranges[i].first, mv->ranges[i].last);
    reply_cstr(r, "slot_ranges");
    reply_bulk(r, buf_str(&b));
    buf_release(&b);
}

static void reply_move(struct reply *r, const struct move *mv)
{
    reply_map(r, 12);
    reply_field(r, "name", mv->name);
    reply_field(r, "operation", mv->arrives ? "IMPORT" : "EXPORT");
    reply_ranges(r, mv);
    reply_field(r, "target_node", mv->target);
    reply_field(r, "source_node", mv->source);
    reply_number(r, "create_time", mv->created_s);
    reply_number(r, "last_update_time", mv->updated_s);
    reply_number(r, "last_ack_time", mv->acked_s);
    reply_field(r, "state", state_name(mv->state));
    reply_field(r, "message", mv->text);
    reply_number(r, "cow_size", 0); /* nothing is forked */
    reply_number(r, "remaining_repl_size", (int64_t)mv->left);
}

/* The newest first. */
void moves_do_getslotmigrations(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    struct moves *m = &core->server->moves;
    pthread_mutex_lock(&m->mutex);
    uint64_t n = 0, below = UINT64_MAX;
    size_t list = reply_deferred(c->reply);
    for (;; n++) {
        const struct move *next = NULL;
        for (unsigned i = 0; i < MOVES_RECORDS; i++) {
            const struct move *mv = &m->records[i];
            if (mv->number != 0 && mv->number < below && (next == NULL || mv->number > next->number))
                next = mv;
        }
        if (next == NULL)
            break;
        below = next->number;
        reply_move(c->reply, next);
    }
    reply_deferred_end(c->reply, list, '*', n);
    pthread_mutex_unlock(&m->mutex);
}

/* ---- CANCELSLOTMIGRATIONS -------------------------------------------------------------------- */

void moves_do_cancelslotmigrations(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    struct moves *m = &core->server->moves;
    bool any = false;
    pthread_mutex_lock(&m->mutex);
    for (unsigned i = 0; i < MOVES_RECORDS; i++) {
        struct move *mv = &m->records[i];
        if (mv->number == 0 || mv->arrives || move_is_over(mv->state))
            continue;
        any = true;
        if (mv->state == MOVE_WAITS)
            mv->state = MOVE_CANCELLED;
        else /* the thread has it; once it has told the target to take the slots it is too late */
            atomic_store(&m->ends, true);
    }
    pthread_mutex_unlock(&m->mutex);
    if (any)
        reply_ok(c->reply);
    else
        reply_error(c->reply, "ERR No migrations ongoing");
}

/* ---- SYNCSLOTS ------------------------------------------------------------------------------- */

/* ESTABLISH SOURCE id NAME name SLOTSRANGE first last ... */
static void establish(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    struct move *mv = arena_alloc(c->arena, sizeof *mv);
    uint32_t at = 8;
    uint16_t owner;
    if (mv == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return;
    }
    memset(mv, 0, sizeof *mv);
    if (c->argc < 10 || !cmd_arg_is(c, 3, STR("SOURCE")) || !node_id_valid(c->argv[4]) ||
        !cmd_arg_is(c, 5, STR("NAME")) || !node_id_valid(c->argv[6]) ||
        !cmd_arg_is(c, 7, STR("SLOTSRANGE"))) {
        reply_error(c->reply, REPLY_SYNTAX);
        return;
    }
    if (!parse_ranges(c, v, &at, mv, &owner))
        return;
    if (at != c->argc) {
        reply_error(c->reply, REPLY_SYNTAX);
        return;
    }
    if (goes_by_hand(c, &core->machine, mv)) /* keys that MIGRATE has brought are nowhere else */
        return;
    memcpy(mv->source, c->argv[4].p, VIEW_ID);
    memcpy(mv->name, c->argv[6].p, MOVES_NAME);
    memcpy(mv->target, v->nodes[v->me].id, VIEW_ID);
    mv->arrives = true;
    mv->state = MOVE_RECEIVES;
    moves_establish(c, core, mv);
}

void moves_do_syncslots(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v)
{
    bool ready = cmd_arg_is(c, 2, STR("READY"));
    int64_t epoch;
    if (cmd_arg_is(c, 2, STR("ESTABLISH"))) {
        establish(c, core, v);
    } else if (!(ready || cmd_arg_is(c, 2, STR("TAKE"))) || c->argc != 4) {
        reply_error(c->reply, REPLY_SYNTAX);
    } else if (cmd_arg_range(c, 3, 1, INT64_MAX, &epoch, "ERR the epoch is out of range")) {
        (ready ? moves_ready : moves_take)(c, core, (uint64_t)epoch);
    }
}
