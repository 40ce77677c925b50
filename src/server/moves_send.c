/* A move away from here, from the connection to the end: the thread "mover". moves.h draws it. */
#include "base/alloc.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/log.h"
#include "os/clock.h"
#include "os/sock.h"
#include "os/thread.h"
#include "repl/stream.h"
#include "server/cluster_core.h"
#include "server/handlers.h"
#include "server/moves.h"
#include "server/moves_keys.h"
#include "server/moves_pace.h"
#include "server/talk.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { NAP_US = 1000, LOG_NAP_US = 100, REPLY_MAX = 64 * 1024, CONNECT_MS = 5000 };

struct sender {
    struct moves *m;
    struct server *s;
    const struct move *mv;
    uint8_t slots[SLOT_BYTES];
    /* What the cluster's thread has said. */
    char ip[VIEW_IP_MAX];
    uint16_t port;
    uint32_t replicas; /* of the target, that live */
    uint64_t epoch;    /* that we offer */
    bool owns, given;  /* all the slots are ours; they are another's, with our consent */
    bool refused;      /* the machine does not do it now */
    bool settled;      /* what we gave last is served, and so is what came to the target last */
    bool stands;       /* the slots may be taken in the epoch that we offer */

    struct talk t;
    uint64_t flushes; /* of the store, at the beginning */
    struct changelog_reader reader;
    bool reads;
    struct buf raw; /* of the log: a unit that is cut */
    struct stream stream;
    struct arena arena;
    struct moves_keys keys; /* to be sent */
    struct buf out;
    uint32_t awaited; /* replies to `out` */
    struct moves_pace pace;
    bool hurries; /* with the batch at hand */
    uint64_t scan_at;
    uint32_t slot;
    bool more, failed, held, told;
    char why[MOVES_TEXT];
};

static bool fail(struct sender *d, const char *fmt, ...) PRINTF_LIKE(2, 3);
static bool fail(struct sender *d, const char *fmt, ...)
{
    va_list ap;
    if (!d->failed) {
        va_start(ap, fmt);
        vsnprintf(d->why, sizeof d->why, fmt, ap);
        va_end(ap);
    }
    d->failed = true;
    return false;
}

static void note(struct sender *d, enum move_state state)
{
    moves_note(d->m, d->mv->number, state, NULL);
}

/* ---- what the cluster's thread is asked ------------------------------------------------------ */

static bool owns_all(const uint8_t *slots, const struct node *n)
{
    uint8_t rest[SLOT_BYTES];
    memcpy(rest, slots, SLOT_BYTES);
    if (n != NULL)
        slots_drop(rest, n->slots);
    return !slots_any(rest);
}

static void look(struct cluster_core *core, void *arg)
{
    struct sender *d = arg;
    const struct machine *m = &core->machine;
    const struct node *n = cluster_core_node(core, d->mv->target);
    bool primary = node_is(m->self, NODE_PRIMARY);
    d->owns = primary && owns_all(d->slots, m->self);
    d->given = (primary && !slots_overlap(d->slots, m->self->slots)) || owns_all(d->slots, n);
    d->settled = !m->offer.gift.on && (n == NULL || !n->unsettled);
    d->port = 0;
    if (n == NULL || !node_is(n, NODE_PRIMARY) || node_is(n, NODE_FAIL))
        return;
    memcpy(d->ip, n->ip, sizeof d->ip);
    d->port = n->port;
    d->replicas = 0;
    for (unsigned i = 0; i < m->map.n; i++)
        d->replicas += m->map.nodes[i]->primary == n && !node_is(m->map.nodes[i], NODE_PFAIL | NODE_FAIL);
}

static struct machine_command order(struct sender *d, enum machine_command_kind kind)
{
    struct machine_command c = {.kind = kind, .slots = d->slots};
    memcpy(c.id.c, d->mv->target, NODE_ID);
    return c;
}

static void set_held(struct cluster_core *core, const struct sender *d, bool on)
{
    (on ? slots_add : slots_drop)(core->moving.held, d->slots);
    core->todo.view = true;
}

static void offer(struct cluster_core *core, void *arg)
{
    struct sender *d = arg;
    const struct machine_command c = order(d, CMD_OFFER);
    const char *no = cluster_core_command(core, &c);
    d->epoch = core->machine.offer.epoch;
    if (no != NULL)
        fail(d, "%s", no + strlen("ERR "));
}

/* Not if the offer was overtaken meanwhile: the target would refuse it. */
static void hold(struct cluster_core *core, void *arg)
{
    struct sender *d = arg;
    const struct machine *m = &core->machine;
    look(core, d);
    d->held = d->owns && m->offer.epoch == d->epoch && !machine_epoch_is_taken(m, d->epoch);
    if (d->held)
        set_held(core, d, true);
}

static void ask_offer(struct cluster_core *core, void *arg)
{
    struct sender *d = arg;
    d->stands = machine_offer_stands(&core->machine, core->now_ms);
}

static void let_go(struct cluster_core *core, void *arg)
{
    set_held(core, arg, false);
}

/* Nothing was heard of a claim: from now on none can be heard that is greater than ours. */
static void keep(struct cluster_core *core, void *arg)
{
    struct sender *d = arg;
    const struct machine_command c = order(d, CMD_RECLAIM);
    look(core, d);
    d->refused = d->owns && cluster_core_command(core, &c) != NULL;
    if (!d->refused)
        set_held(core, d, false);
}

static bool ask_cluster(struct sender *d, void (*fn)(struct cluster_core *core, void *arg))
{
    return cluster_call(&d->s->cluster, fn, d) ||
           fail(d, "The server is shutting down, or cannot write its file");
}

/* ---- the connection -------------------------------------------------------------------------- */

static bool put(struct sender *d, const struct str *argv, uint32_t argc)
{
    d->awaited++;
    return unit_put_command(&d->out, argv, argc) == 0 || fail(d, "%s", REPLY_NOMEM);
}

/* Send `out`, read as many replies. *number: the last one, if it is one. */
static bool exchange(struct sender *d, int64_t *number)
{
    struct reader_value v;
    if (d->failed)
        return false;
    bool sent = talk_send(&d->t, buf_str(&d->out));
    buf_clear(&d->out);
    if (!sent)
        return fail(d, "Connection lost to target, or it does not read");
    for (; d->awaited > 0; d->awaited--) {
        if (!talk_read(&d->t, REPLY_MAX, &v))
            return fail(d, "Connection lost to target, or it does not answer");
        if (reader_is_error(&v))
            return fail(d, "The target says: %.*s", v.text.n < 180 ? (int)v.text.n : 180, v.text.p);
        if (number != NULL && v.kind == READ_INT)
            *number = v.integer;
    }
    return true;
}

static bool establish(struct sender *d)
{
    struct str argv[8 + 2 * MOVES_RANGES_MAX] = {STR("CLUSTER"),      STR("SYNCSLOTS"),      STR("ESTABLISH"),
                                                 STR("SOURCE"),       str_of(d->mv->source), STR("NAME"),
                                                 str_of(d->mv->name), STR("SLOTSRANGE")};
    char text[2 * MOVES_RANGES_MAX][NUM_I64_TEXT_MAX];
    uint32_t argc = 8;
    for (uint32_t i = 0; i < d->mv->nranges; i++) {
        const uint16_t ends[] = {d->mv->ranges[i].first, d->mv->ranges[i].last};
        for (uint32_t k = 0; k < 2; k++, argc++)
            argv[argc] = (struct str){text[2 * i + k], num_put_i64(text[2 * i + k], ends[k])};
    }
    if (!talk_put_auth_by_lane(d->s, &d->out, &d->awaited))
        return fail(d, "The server is shutting down");
    return put(d, argv, argc) && exchange(d, NULL);
}

/* The target's replicas have what it has been sent. Clients that wait do so for no longer. */
static bool await_replicas(struct sender *d)
{
    int64_t patience = d->held ? MOVES_REPLICAS_MS : MOVES_TIMEOUT_MS / 2;
    char want[NUM_I64_TEXT_MAX], ms[NUM_I64_TEXT_MAX];
    int64_t have = 0;
    const struct str wait[] = {
        STR("WAIT"), {want, num_put_i64(want, d->replicas)}, {ms, num_put_i64(ms, patience)}};
    if (d->replicas == 0)
        return true;
    if (!put(d, wait, ARRAY_LEN(wait)) || !exchange(d, &have))
        return false;
    return have >= d->replicas ||
           fail(d, "Only %lld of the target's %u replicas have the keys", (long long)have, d->replicas);
}

/* ---- keys ------------------------------------------------------------------------------------ */

/* lane_call_shared: the next keys' values, or that there are none any more, into `out`. */
static void put_values(void *arg)
{
    struct sender *d = arg;
    struct cmd_ctx *c = &d->s->lane.ctx;
    c->a.now_ms = os_wall_ms();
    int n = moves_keys_put(&d->keys, &c->a, d->hurries ? MOVES_BATCH : MOVES_PORTION, &d->out);
    if (n < 0)
        fail(d, "%s", REPLY_NOMEM);
    else
        d->awaited += (uint32_t)n;
    if (n > 0)
        departures_begin(&d->s->departures, BY_MOVE);
}

/* Of the change log, that has not been read. */
static uint64_t log_left(const struct sender *d)
{
    return changelog_head(&d->s->repl.log) - d->reader.at;
}

static bool send_keys(struct sender *d)
{
    while (!d->failed && d->keys.at < d->keys.n) {
        int64_t began = os_work_ns();
        d->hurries = moves_pace_hurries(&d->pace, d->held, log_left(d));
        if (!lane_call_shared(&d->s->lane, put_values, d))
            return fail(d, "The server is shutting down");
        if (d->awaited == 0) {
            os_nap_us(NAP_US); /* a job that is next has their shards */
            continue;
        }
        bool arrived = exchange(d, NULL);
        departures_end(&d->s->departures, BY_MOVE);
        if (!arrived)
            return false;
        if (!d->hurries)
            os_nap_us(moves_pace_rest_us(os_work_ns() - began));
    }
    moves_keys_clear(&d->keys);
    return !d->failed;
}

static bool add_key(void *arg, const struct entry *e)
{
    struct sender *d = arg;
    return moves_keys_add(&d->keys, entry_key(e)) == 0 || fail(d, "%s", REPLY_NOMEM);
}

/* lane_call_shared: some names of the slot. */
static void list_some(void *arg)
{
    struct sender *d = arg;
    struct cmd_ctx *c = &d->s->lane.ctx;
    c->a.now_ms = os_wall_ms();
    d->more = store_slot_scan(&c->a, d->slot, &d->scan_at, MOVES_PORTION, add_key, d) == 1;
}

static bool copy_slot(struct sender *d)
{
    d->scan_at = 0;
    do {
        if (!lane_call_shared(&d->s->lane, list_some, d))
            return fail(d, "The server is shutting down");
    } while (send_keys(d) && d->more);
    return !d->failed;
}

/* ---- what changes meanwhile ------------------------------------------------------------------ */

/* Gate: from here on every change can be read. */
static void begin_log(void *arg)
{
    struct sender *d = arg;
    struct repl *r = &d->s->repl;
    if (r->is_replica)
        return;
    atomic_store(&d->m->reads_log, true);
    repl_log_on(r);
    d->flushes = store_flushes(d->s->store);
    d->reads = changelog_reader_open(&r->log, &d->reader, repl_offset(r)) == 0;
}

static bool note_command(struct sender *d, const struct stream_command *sc)
{
    const struct command *cmd = command_resolve(sc->argv, sc->argc);
    struct keyref few[8], *refs = few;
    uint32_t n = 0;
    if (cmd == NULL || !command_arity_ok(cmd, sc->argc))
        return true;
    int rc = command_keys(cmd, sc->argv, sc->argc, few, ARRAY_LEN(few), &n);
    if (rc == ERR_FULL) { /* n says how many */
        refs = arena_alloc(&d->arena, n * sizeof *refs);
        if (refs == NULL || command_keys(cmd, sc->argv, sc->argc, refs, n, &n) != 0)
            return fail(d, "%s", REPLY_NOMEM);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct str key = sc->argv[refs[i].index];
        if (slots_has(d->slots, slot_of(key)) && moves_keys_add(&d->keys, key) != 0)
            return fail(d, "%s", REPLY_NOMEM);
    }
    return true;
}

static bool note_units(struct sender *d)
{
    struct stream_unit u;
    size_t at = 0;
    int rc = 0;
    while (!d->failed && at < d->raw.n) {
        arena_reset(&d->arena);
        rc = stream_next(&d->stream, (struct str){d->raw.p + at, d->raw.n - at}, &d->arena, &u);
        if (rc != 0)
            break;
        for (uint32_t i = 0; i < u.n; i++)
            note_command(d, &u.commands[i]);
        at += u.bytes;
    }
    buf_consume(&d->raw, at);
    return rc == 0 || rc == ERR_AGAIN ? !d->failed : fail(d, "The change log cannot be read");
}

/* Which keys have changed: some of what is in the log. *all: it was all there is. */
static bool read_log(struct sender *d, bool *all)
{
    struct changelog *l = &d->s->repl.log;
    int64_t n = 1;
    *all = false;
    while (n > 0 && !moves_keys_full(&d->keys)) {
        if (buf_reserve(&d->raw, MOVES_LOG_BYTES) != 0)
            return fail(d, "%s", REPLY_NOMEM);
        n = changelog_read(l, &d->reader, d->raw.p + d->raw.n, MOVES_LOG_BYTES);
        if (n < 0)
            return fail(
                d, "The change log has begun anew: this node is no primary any more, or short of memory");
        d->raw.n += (size_t)n;
        if (n > 0 && !note_units(d))
            return false;
    }
    *all = n == 0;
    moves_note_left(d->m, d->mv->number, log_left(d));
    if (store_flushes(d->s->store) != d->flushes)
        return fail(d, "Data was flushed");
    return true;
}

/* Sends what has changed until so little is left that clients can wait for it. */
static bool catch_up(struct sender *d)
{
    for (unsigned rounds = 0; rounds < MOVES_ROUNDS; rounds++) {
        bool all;
        moves_pace_round(&d->pace, log_left(d));
        if (!read_log(d, &all))
            return false;
        bool few = all && d->keys.n <= MOVES_FEW;
        size_t bytes = d->keys.sent;
        if (!send_keys(d))
            return false;
        if (few && d->keys.sent - bytes <= MOVES_FEW_BYTES)
            return true;
    }
    return fail(d, "Keys of these slots change faster than they can be sent");
}

/* The slots are held: nothing comes behind what the log holds now. */
static bool send_rest(struct sender *d)
{
    uint64_t head = changelog_head(&d->s->repl.log);
    int64_t until = os_mono_ns() + MOVES_TIMEOUT_MS * 1000000LL;
    for (;;) {
        bool all;
        if (!read_log(d, &all) || !send_keys(d))
            return false;
        if (d->reader.at >= head && d->raw.n == 0)
            return true;
        if (os_mono_ns() > until)
            return fail(d, "The change log does not come to its end");
        if (all)
            os_nap_us(LOG_NAP_US); /* a writer is about to fill its place */
    }
}

/* ---- the handover ---------------------------------------------------------------------------- */

/* The slots are not ours any more, or the time is over. */
static bool await_claim(struct sender *d, int64_t ms)
{
    int64_t until = os_mono_ns() + ms * 1000000;
    do {
        if (!cluster_call(&d->s->cluster, look, d))
            return false;
        if (!d->owns)
            return true;
        os_nap_us(NAP_US);
    } while (os_mono_ns() < until);
    return false;
}

/* Asks the cluster's thread until it says so. */
static bool await(struct sender *d, void (*fn)(struct cluster_core *core, void *arg), const bool *done,
                  int64_t ms, const char *why)
{
    int64_t until = os_mono_ns() + ms * 1000000;
    for (;;) {
        if (!ask_cluster(d, fn))
            return false;
        if (*done)
            return true;
        if (os_mono_ns() > until || atomic_load(&d->m->ends))
            return fail(d, "%s", why);
        os_nap_us(NAP_US);
    }
}

/* Until a majority has answered and the offer is on the disk; later, whether it still stands. */
static bool await_offer(struct sender *d)
{
    return await(d, ask_offer, &d->stands, d->held ? MOVES_REPLICAS_MS : MOVES_CLAIM_MS,
                 "A majority of the primaries does not answer");
}

/* The machine makes no offer before that, and the target's takes one after the other. */
static bool await_last_move(struct sender *d)
{
    return await(d, look, &d->settled, MOVES_CLAIM_MS, "Slots that were moved last are not served yet");
}

/* READY or TAKE. */
static bool put_order(struct sender *d, struct str what)
{
    char epoch[NUM_I64_TEXT_MAX];
    const struct str order[] = {
        STR("CLUSTER"), STR("SYNCSLOTS"), what, {epoch, num_put_u64(epoch, d->epoch)}};
    return put(d, order, ARRAY_LEN(order));
}

static bool make_ready(struct sender *d)
{
    return put_order(d, STR("READY")) && exchange(d, NULL);
}

/* From here on only the bus decides. True: they are another's now. */
static bool give(struct sender *d)
{
    note(d, MOVE_GIVES);
    if (store_flushes(d->s->store) != d->flushes)
        return fail(d, "Data was flushed");
    if (!put_order(d, STR("TAKE")))
        return false;
    d->told = true;
    bool said = exchange(d, NULL);
    if (await_claim(d, said ? MOVES_CLAIM_MS : MOVES_DOUBT_MS))
        return d->given || fail(d, "This node is no primary any more");
    fail(d, "The target has not claimed the slots in time; they stay here");
    do {
        if (!cluster_call(&d->s->cluster, keep, d))
            return false; /* the end: whoever has the greater epoch when we are back */
        if (d->refused)
            os_nap_us(100 * NAP_US); /* cut off: the others know whether there is a claim */
    } while (d->refused && !atomic_load(&d->m->stop));
    return !d->owns && d->given;
}

/* What needs the disk and the others comes before clients have to wait. */
static bool hold_slots(struct sender *d)
{
    for (unsigned tries = 0; tries < MOVES_OFFERS && !d->held; tries++)
        if (!await_last_move(d) || !ask_cluster(d, offer) || d->failed || !await_offer(d) || !make_ready(d) ||
            !catch_up(d) || !ask_cluster(d, hold))
            return false;
    return d->held || fail(d, "Other nodes take new epochs faster than the keys can be sent");
}

static bool hand_over(struct sender *d)
{
    if (!hold_slots(d))
        return false;
    note(d, MOVE_HOLDS);
    return send_rest(d) && await_replicas(d) && await_offer(d) && give(d);
}

static bool run(struct sender *d)
{
    struct sock_err err;
    if (!ask_cluster(d, look))
        return false;
    if (!d->owns)
        return fail(d, "Slots are not served by this node.");
    if (d->port == 0)
        return fail(d, "The target is no living primary that this node knows");
    d->t.fd = sock_connect_tcp(d->ip, d->port, CONNECT_MS, true, &err);
    if (d->t.fd < 0)
        return fail(d, "Unable to connect to target node: %s", err.text);
    sock_set_nodelay(d->t.fd);
    talk_begin(&d->t, d->t.fd, MOVES_TIMEOUT_MS, &d->m->ends);
    if (!establish(d))
        return false;
    if (!lane_call(&d->s->lane, begin_log, d) || !d->reads)
        return fail(d, "The change log cannot be read");
    note(d, MOVE_COPIES);
    for (d->slot = 0; d->slot < SLOT_COUNT; d->slot++)
        if (slots_has(d->slots, d->slot) && !copy_slot(d))
            return false;
    note(d, MOVE_FOLLOWS);
    d->keys.again = true;
    return catch_up(d) && await_replicas(d) && catch_up(d) && hand_over(d);
}

static void release(struct sender *d)
{
    if (d->held)
        (void)cluster_call(&d->s->cluster, let_go, d);
    if (d->reads)
        changelog_reader_close(&d->s->repl.log, &d->reader);
    atomic_store(&d->m->reads_log, false);
    if (d->t.fd >= 0) {
        close(d->t.fd);
        talk_end(&d->t);
    }
    buf_release(&d->raw);
    buf_release(&d->out);
    moves_keys_release(&d->keys);
    arena_release(&d->arena);
}

static void tell_end(struct sender *d, bool given)
{
    const struct move *mv = d->mv;
    bool cancelled = !given && !d->told && atomic_load(&d->m->ends);
    moves_note(d->m, mv->number,
               given       ? MOVE_DONE
               : cancelled ? MOVE_CANCELLED
                           : MOVE_FAILED,
               given || cancelled ? "" : d->why);
    if (given)
        log_notice("Slot migration %s is done: the slots are %s's.", mv->name, mv->target);
    else if (cancelled)
        log_notice("Slot migration %s is cancelled.", mv->name);
    else
        log_warning("Slot migration %s to %s has failed: %s.", mv->name, mv->target, d->why);
}

void moves_send(struct moves *m, const struct move *mv)
{
    struct sender *d = mem_zalloc(sizeof *d);
    if (d == NULL) {
        moves_note(m, mv->number, MOVE_FAILED, "out of memory");
        return;
    }
    d->m = m;
    d->s = m->server;
    d->mv = mv;
    d->t.fd = -1;
    move_slots(mv, d->slots);
    buf_init(&d->raw);
    buf_init(&d->out);
    arena_init(&d->arena);
    moves_keys_init(&d->keys, store_seed(m->server->store));
    bool given = run(d);
    release(d);
    tell_end(d, given);
    mem_free(d);
}
