/* What surrounds the machine: time, links, the file, this node's role, and the map that workers read.
 *
 * Everything that the machine says is queued on its links first. cluster_core_settle() then writes what the
 * machine waits for, takes the role, puts the new view in place, tells the machine that it is written, and
 * only then lets the links send. However many events and orders a round has brought, it is written and the
 * view made once for all of them. A vote, or a new epoch, the machine itself says only when it has been told
 * that it is on the disk; if that is slow, the rest is sent meanwhile, and the node does not seem dead. */
#include "server/cluster_core.h"

#include "base/alloc.h"
#include "base/log.h"
#include "os/clock.h"
#include "os/random.h"
#include "server/server.h"

#include <stdio.h>
#include <string.h>

enum { MANUAL_MS = 5, TIMEOUT_MAX_MS = INT32_MAX };

/* ---- steps ----------------------------------------------------------------------------------- */

static void look_at_clock(struct cluster_core *core)
{
    uint64_t now = os_boot_ms();
    if (now > core->now_ms)
        core->now_ms = now;
    core->wall_offset_ms = os_wall_ms() - (int64_t)core->now_ms;
}

/* The machine hears of it with the next settle(), never within a step. */
static void note_ended(struct cluster_core *core, uint32_t link)
{
    if (buf_append(&core->ended, &link, sizeof link) != 0)
        core->ended.oom = false; /* the machine finds out by the silence */
}

static void open_link(struct cluster_core *core, const struct machine_action *a)
{
    if (!bus_wire_open(core->wire, a->link, core->source, a->node->ip, a->node->cport, os_wall_ms()))
        note_ended(core, a->link);
}

static void note_file(struct cluster_core *core, const struct machine_action *a)
{
    buf_clear(&core->text);
    core->text.oom = false;
    buf_append(&core->text, core->machine.out.p + a->at, a->n);
    core->file_seq = a->seq;
    core->todo.save = core->behind = true;
}

static void note_drop(struct cluster_core *core, const struct machine_action *a)
{
    slots_add(core->lost, (const uint8_t *)core->machine.out.p + a->at);
}

static void perform(struct cluster_core *core, const struct machine_action *a)
{
    struct cluster_todo *t = &core->todo;
    switch (a->kind) {
    case ACT_OPEN: open_link(core, a); break;
    case ACT_CLOSE:
        bus_wire_close(core->wire, a->link);
        note_ended(core, a->link);
        break;
    case ACT_SEND:
        bus_wire_send(core->wire, a->link, core->machine.out.p + a->at, a->n,
                      core->server->config.cluster_link_sendbuf_limit);
        break;
    case ACT_PERSIST: note_file(core, a); break;
    case ACT_PROMOTE:
    case ACT_FOLLOW: t->role = true; break;
    case ACT_FLUSH: t->flush = t->role = true; break;
    case ACT_DROP: note_drop(core, a); break;
    case ACT_PAUSE:
    case ACT_RESUME:
        t->pause = true;
        t->pause_until_ms = a->kind == ACT_PAUSE ? (int64_t)a->until_ms + core->wall_offset_ms : 0;
        break;
    case ACT_STATE:
    case ACT_VIEW: t->view = true; break;
    case ACT_PUBLISH: break; /* there is no pub/sub yet */
    }
}

static int step(struct cluster_core *core, const struct machine_event *e)
{
    struct machine *m = &core->machine;
    look_at_clock(core);
    int rc = machine_step(m, e, core->now_ms);
    for (unsigned i = 0; i < m->nactions; i++)
        perform(core, &m->actions[i]);
    core->todo.view |= m->mute != core->was_mute;
    core->was_mute = m->mute;
    return rc;
}

static void on_opened(void *ctx, uint32_t link)
{
    step(ctx, &(struct machine_event){.kind = EV_LINK_UP, .link = link});
}

static void on_frame(void *ctx, uint32_t link, struct str bytes, const char *peer, const char *local)
{
    struct cluster_core *core = ctx;
    const struct machine_event e = {
        .kind = EV_FRAME, .link = link, .bytes = bytes, .ip = str_of(peer), .local_ip = str_of(local)};
    if (step(core, &e) != ERR_PROTO)
        return;
    log_warning("A message on the cluster bus makes no sense; its link is closed.");
    bus_wire_close(core->wire, link);
    note_ended(core, link);
}

static void on_closed(void *ctx, uint32_t link)
{
    note_ended(ctx, link);
}

static void tell_ended(struct cluster_core *core)
{
    uint32_t link;
    for (size_t at = 0; at < core->ended.n; at += sizeof link) {
        memcpy(&link, core->ended.p + at, sizeof link);
        step(core, &(struct machine_event){.kind = EV_LINK_DOWN, .link = link});
    }
    buf_clear(&core->ended);
}

/* ---- what it must know ------------------------------------------------------------------------------- */

/* Options change under the gate only, while this thread may be anywhere: single words are read as they are,
 * strings where nobody can change them, in take_strings(). */
static void refresh_options(struct cluster_core *core)
{
    const struct config *cfg = &core->server->config;
    struct machine_config *o = &core->config;
    o->node_timeout_ms =
        (uint64_t)(cfg->cluster_node_timeout < TIMEOUT_MAX_MS ? cfg->cluster_node_timeout : TIMEOUT_MAX_MS);
    o->validity_factor = (unsigned)cfg->cluster_replica_validity_factor;
    o->migration_barrier = (unsigned)cfg->cluster_migration_barrier;
    o->full_coverage = cfg->cluster_require_full_coverage;
    o->no_failover = cfg->cluster_replica_no_failover;
    o->replica_migration = cfg->cluster_allow_replica_migration;
    o->port = (uint16_t)(cfg->cluster_announce_port != 0 ? cfg->cluster_announce_port : cfg->port);
    o->cport = (uint16_t)(cfg->cluster_announce_bus_port != 0 ? cfg->cluster_announce_bus_port
                                                              : cluster_bus_port(cfg));
}

static void copy_string(char *dst, size_t room, const char *src)
{
    memset(dst, 0, room);
    memcpy(dst, src, strnlen(src, room - 1));
}

/* Before the thread runs, or on the lane. */
static void take_strings(void *arg)
{
    struct cluster_core *core = arg;
    const struct config *cfg = &core->server->config;
    struct machine_config *o = &core->config;
    core->endpoint_type = cfg->cluster_preferred_endpoint_type;
    copy_string(core->source, sizeof core->source, cfg->bind_source_addr);
    copy_string(o->ip, sizeof o->ip, cfg->cluster_announce_ip);
    copy_string(o->host, sizeof o->host, cfg->cluster_announce_hostname);
    copy_string(o->name, sizeof o->name, cfg->cluster_announce_human_nodename);
}

static void keep_all(struct cluster_core *core)
{
    const struct machine_command keep = {.kind = CMD_SAVECONFIG};
    step(core, &(struct machine_event){.kind = EV_COMMAND, .command = &keep});
}

static void follow_options(struct cluster_core *core)
{
    if (!atomic_exchange(&core->options_changed, false))
        return;
    refresh_options(core);
    lane_call_shared(&core->server->lane, take_strings, core);
    core->machine.config = core->config;
    keep_all(core); /* host and name are in the file */
    core->todo.view = true;
}

/* What replication says; nothing before there is something to say it of. */
static void tell_data(struct cluster_core *core, uint64_t keys)
{
    const struct repl *r = &core->server->repl;
    if (cluster_is_loading(core) || core->todo.role || keys == REPL_KEYS_UNKNOWN)
        return;
    bool up = atomic_load(&r->link_up);
    int64_t since = up ? atomic_load(&r->shown.heard_ms) : atomic_load(&r->shown.down_since_ms),
            silent = os_wall_ms() - since;
    const struct machine_data d = {.offset = repl_offset(r),
                                   .replid = atomic_load(&r->shown.history),
                                   .silent_ms = silent > 0 ? (uint64_t)silent : 0,
                                   .link_up = up,
                                   .empty = keys == 0,
                                   .paused = core->paused};
    step(core, &(struct machine_event){.kind = EV_DATA, .data = d});
}

static uint64_t keys_shown(const struct cluster_core *core)
{
    return atomic_load(&core->server->repl.shown.keys);
}

/* ---- the end of a round ---------------------------------------------------------------------- */

/* Nobody writes any more, or again: the offset that is told from now on is final. */
static bool tell_pause(struct cluster_core *core)
{
    if (!core->todo.pause)
        return false;
    core->todo.pause = false;
    core->paused = core->todo.pause_until_ms != 0;
    tell_data(core, keys_shown(core));
    return true;
}

static bool tell_saved(struct cluster_core *core)
{
    if (core->told_seq == core->saved_seq)
        return false;
    core->told_seq = core->saved_seq;
    step(core, &(struct machine_event){.kind = EV_PERSISTED, .seq = core->told_seq});
    return true;
}

/* The limit for acknowledging writes, which workers read. While writes are paused nothing changes: what has
 * been written is in the offset for which the replica waits that takes over; nor does it for a replica, which
 * may still have to acknowledge what it wrote as a primary. */
static bool lease_rests(const struct machine *m)
{
    return m->manual == MANUAL_PAUSED || node_is(m->self, NODE_REPLICA);
}

static void put_lease(struct cluster_core *core)
{
    uint64_t until = machine_lease_until_ms(&core->machine);
    atomic_store_explicit(&core->server->lease_until_ms, until, memory_order_release);
}

/* Before the role that it belongs to is taken, and whenever it may have fallen. */
static void lower_lease(struct cluster_core *core)
{
    const struct cluster_todo *t = &core->todo;
    bool may_have = t->view || t->save || t->pause || t->role;
    if (may_have && !lease_rests(&core->machine) &&
        machine_lease_until_ms(&core->machine) < atomic_load(&core->server->lease_until_ms))
        put_lease(core);
}

/* After it. Pings come each fifth of a node timeout: one that has half of it left has time. */
static void raise_lease(struct cluster_core *core)
{
    uint64_t was = atomic_load(&core->server->lease_until_ms),
             half = core->machine.config.node_timeout_ms / 2;
    bool ample = was > core->now_ms && was - core->now_ms > half;
    if (!ample && !lease_rests(&core->machine))
        put_lease(core);
}

/* A new map, and nothing that this node gives up, or becomes. */
static bool is_map_alone(const struct cluster_core *core)
{
    const struct cluster_todo *t = &core->todo;
    return t->view && !t->role && !t->pause && !slots_any(core->lost);
}

/* The disk is slow: what does not need it goes on. Whose epoch is on its way there says nothing at all. */
static void settle_without_disk(struct cluster_core *core)
{
    const struct cluster_todo *t = &core->todo;
    if (is_map_alone(core) && !machine_held(&core->machine))
        cluster_force(core);
    if (!t->view && !t->role && !t->pause)
        raise_lease(core);
    bus_wire_flush(core->wire);
}

bool cluster_core_settle(struct cluster_core *core)
{
    bool more = true;
    cluster_forget_views(core);
    while (more) {
        tell_ended(core);
        cluster_drop_look(core);
        moves_look(core);
        lower_lease(core);
        if (is_map_alone(core) && machine_serves_unsaved(&core->machine))
            cluster_force(core); /* slots that have come are served before they are in the file */
        enum cluster_saved saved = cluster_save(core);
        if (saved == SAVE_FAILED)
            return false;
        if (saved == SAVE_LATER && !tell_saved(core)) {
            settle_without_disk(core);
            return true;
        }
        if (saved == SAVE_LATER)
            continue;
        cluster_force(core);
        more = tell_pause(core);
        more |= tell_saved(core) || cluster_must_keep(core);
    }
    core->todo.put = false;
    raise_lease(core);
    atomic_store(&core->server->feeds_nobody, !machine_may_feed(&core->machine, 0));
    bus_wire_flush(core->wire);
    cluster_drop_go_on(core);
    return true;
}

/* ---- orders
 * ------------------------------------------------------------------------------------------------ */

static void put_slots(uint8_t bits[SLOT_BYTES], const bool slots[SLOT_COUNT])
{
    memset(bits, 0, SLOT_BYTES);
    for (unsigned i = 0; i < SLOT_COUNT; i++)
        if (slots[i])
            slots_set(bits, i, true);
}

static void know_keys(struct cluster_core *core, const struct cluster_order *o, struct machine_command *c)
{
    if (c->kind == CMD_RESET || c->kind == CMD_REPLICATE || c->kind == CMD_FLUSHSLOTS)
        tell_data(core, cluster_core_has_keys(core));
    if (o->kind == ORDER_SLOT_NODE && core->machine.map.owner[o->slot] == core->machine.self)
        c->keys = cluster_core_slot_has_keys(core, o->slot);
}

const char *cluster_core_command(struct cluster_core *core, const struct machine_command *c)
{
    int rc = step(core, &(struct machine_event){.kind = EV_COMMAND, .command = c});
    if (rc == 0 || (c->kind == CMD_BUMPEPOCH && rc == ERR_EXISTS))
        return NULL;
    const char *why = core->machine.error[0] != '\0' ? core->machine.error : err_name(rc);
    snprintf(core->why, sizeof core->why, "ERR %s", why);
    return rc == ERR_OOM ? REPLY_NOMEM : core->why;
}

const char *cluster_core_order(struct cluster_core *core, const struct cluster_order *o)
{
    static const struct {
        enum machine_command_kind kind;
        unsigned how;
        bool hard;
    } commands[] = {
        [ORDER_MEET] = {CMD_MEET, 0, false},
        [ORDER_FORGET] = {CMD_FORGET, 0, false},
        [ORDER_REPLICATE] = {CMD_REPLICATE, 0, false},
        [ORDER_ADD_SLOTS] = {CMD_ADDSLOTS, 0, false},
        [ORDER_DEL_SLOTS] = {CMD_DELSLOTS, 0, false},
        [ORDER_FLUSH_SLOTS] = {CMD_FLUSHSLOTS, 0, false},
        [ORDER_MIGRATING] = {CMD_SETSLOT, SETSLOT_MIGRATING, false},
        [ORDER_IMPORTING] = {CMD_SETSLOT, SETSLOT_IMPORTING, false},
        [ORDER_STABLE] = {CMD_SETSLOT, SETSLOT_STABLE, false},
        [ORDER_SLOT_NODE] = {CMD_SETSLOT, SETSLOT_NODE, false},
        [ORDER_FAILOVER] = {CMD_FAILOVER, FAILOVER_PLAIN, false},
        [ORDER_FAILOVER_FORCE] = {CMD_FAILOVER, FAILOVER_FORCE, false},
        [ORDER_FAILOVER_TAKEOVER] = {CMD_FAILOVER, FAILOVER_TAKEOVER, false},
        [ORDER_RESET_SOFT] = {CMD_RESET, 0, false},
        [ORDER_RESET_HARD] = {CMD_RESET, 0, true},
        [ORDER_BUMP_EPOCH] = {CMD_BUMPEPOCH, 0, false},
        [ORDER_SET_EPOCH] = {CMD_SET_CONFIG_EPOCH, 0, false},
        [ORDER_SAVE] = {CMD_SAVECONFIG, 0, false},
    };
    struct machine_command c = {.kind = commands[o->kind].kind,
                                .ip = str_of(o->ip),
                                .port = o->port,
                                .cport = o->cport,
                                .how = commands[o->kind].how,
                                .slot = o->slot,
                                .epoch = o->epoch,
                                .hard = commands[o->kind].hard};
    uint8_t bits[SLOT_BYTES];
    char id[VIEW_ID + 1];
    memcpy(c.id.c, o->id, NODE_ID);
    os_random_hex(id, VIEW_ID);
    memcpy(c.new_id.c, id, NODE_ID);
    put_slots(bits, o->slots);
    c.slots = bits;
    know_keys(core, o, &c);
    core->todo.sync |= o->kind == ORDER_SAVE;
    const char *why = cluster_core_command(core, &c);
    if (why == NULL && o->kind == ORDER_DEL_SLOTS)
        slots_add(core->dropping.ownerless, bits); /* their keys stay */
    return why;
}

bool cluster_core_hand_over(struct cluster_core *core)
{
    const struct machine_command c = {.kind = CMD_HANDOVER};
    return cluster_core_command(core, &c) == NULL;
}

/* ---- questions ------------------------------------------------------------------------------- */

const struct node *cluster_core_node(const struct cluster_core *core, const char *id)
{
    struct node_id key;
    memcpy(key.c, id, NODE_ID);
    return slotmap_find(&core->machine.map, &key);
}

uint32_t cluster_core_failure_reports(struct cluster_core *core, const char *id)
{
    const struct node *n = cluster_core_node(core, id);
    return n != NULL ? machine_failure_reports(&core->machine, n) : 0;
}

uint64_t cluster_core_my_epoch(const struct cluster_core *core)
{
    return core->machine.self->config_epoch;
}

struct count {
    struct cluster_core *core;
    uint32_t slot; /* SLOT_COUNT: all */
    uint64_t keys;
};

static void count_keys(void *arg)
{
    struct count *q = arg;
    const struct access *a = &q->core->server->lane.ctx.a;
    uint32_t n = 0;
    if (q->slot == SLOT_COUNT) {
        q->keys = store_db_keys(a->store, 0);
    } else {
        (void)store_slot_keys(a, q->slot, &n); /* nothing is busy for the lane */
        q->keys = n;
    }
}

static bool has_keys(struct cluster_core *core, uint32_t slot)
{
    struct count q = {core, slot, 0};
    lane_call_shared(&core->server->lane, count_keys, &q);
    return q.keys > 0;
}

bool cluster_core_has_keys(struct cluster_core *core)
{
    return has_keys(core, SLOT_COUNT);
}

bool cluster_core_slot_has_keys(struct cluster_core *core, uint32_t slot)
{
    return has_keys(core, slot);
}

/* ---- life
 * -------------------------------------------------------------------------------------------------- */

int cluster_core_new(struct cluster_core **out, struct server *s)
{
    struct cluster_core *core = mem_zalloc(sizeof *core);
    const struct bus_wire_calls calls = {core, on_opened, on_frame, on_closed};
    uint64_t seed;
    if (core == NULL)
        return ERR_OOM;
    *out = core;
    core->server = s;
    buf_init(&core->text);
    buf_init(&core->ended);
    os_random(&seed, sizeof seed);
    rng_init(&core->rng, seed);
    look_at_clock(core);
    refresh_options(core);
    take_strings(core);
    int rc = loop_new(&core->loop, false);
    cluster_disk_init(&core->disk, core->loop);
    if (rc == 0)
        rc = bus_wire_new(&core->wire, core->loop, &calls);
    if (rc == 0)
        rc = cluster_load(core);
    if (rc != 0)
        return rc;
    keep_all(core);
    core->todo.sync = true;
    return cluster_save(core) == SAVE_DONE ? 0 : ERR_IO;
}

/* Before any thread runs. */
int cluster_core_begin(struct cluster_core *core)
{
    core->server->view = cluster_core_view(core);
    if (!lease_rests(&core->machine))
        put_lease(core);
    atomic_store(&core->server->feeds_nobody, !machine_may_feed(&core->machine, 0));
    core->loads = cluster_is_loading(core);
    core->todo = (struct cluster_todo){.role = core->loads};
    if (!core->loads)
        cluster_force_role(core);
    return core->server->view != NULL ? 0 : ERR_OOM;
}

void cluster_core_event(struct cluster_core *core, const struct loop_event *ev)
{
    bus_wire_event(core->wire, ev, os_wall_ms());
}

static bool in_a_hurry(const struct cluster_core *core)
{
    return core->machine.manual != MANUAL_NONE;
}

void cluster_core_tick(struct cluster_core *core)
{
    look_at_clock(core);
    follow_options(core);
    bool due = core->now_ms >= core->tick_ms;
    if (due || in_a_hurry(core))
        tell_data(core, keys_shown(core));
    if (!due)
        return;
    core->tick_ms = core->now_ms + machine_tick_ms(&core->machine);
    core->todo.put = true;
    step(core, &(struct machine_event){.kind = EV_TICK});
    bus_wire_cron(core->wire, os_wall_ms());
}

int cluster_core_timeout(const struct cluster_core *core)
{
    uint64_t now = os_boot_ms();
    uint64_t left = core->tick_ms > now ? core->tick_ms - now : 0;
    return in_a_hurry(core) && left > MANUAL_MS ? MANUAL_MS : (int)left;
}

void cluster_core_free(struct cluster_core *core)
{
    if (core == NULL)
        return;
    cluster_disk_end(&core->disk);
    bus_wire_free(core->wire);
    if (core->loop != NULL)
        loop_free(core->loop);
    cluster_save_last(core);
    if (core->machine.self != NULL)
        machine_release(&core->machine);
    buf_release(&core->text);
    buf_release(&core->ended);
    mem_free(core);
}
