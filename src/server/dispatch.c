#include "server/dispatch.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "cmd/effect.h"
#include "os/clock.h"
#include "server/admit.h"
#include "server/batch.h"
#include "server/exec.h"
#include "server/handlers.h"
#include "server/monitor.h"
#include "server/server.h"

/* ---- keys ------------------------------------------------------------------------------ */

static uint32_t count_simple_keys(const struct command *cmd, uint32_t argc)
{
    if (likely(cmd->key_first == cmd->key_last))
        return cmd->key_first != 0 && (uint32_t)cmd->key_first < argc;
    int64_t last = cmd->key_last < 0 ? (int64_t)argc + cmd->key_last : cmd->key_last;
    if (last >= argc)
        last = (int64_t)argc - 1;
    if (last < cmd->key_first)
        return 0;
    return (uint32_t)((last - cmd->key_first) / cmd->key_step) + 1;
}

static bool hash_movable_keys(struct cmd_ctx *c, bool prefetch)
{
    struct keyref few[16], *refs = few;
    uint32_t n = 0;
    int rc = command_keys(c->cmd, c->argv, c->argc, few, ARRAY_LEN(few), &n);
    if (rc == ERR_FULL) {
        refs = arena_alloc(c->arena, n * sizeof *refs);
        if (refs == NULL || command_keys(c->cmd, c->argv, c->argc, refs, n, &n) != 0)
            return false;
    }
    c->keys = arena_alloc(c->arena, n * sizeof *c->keys);
    if (c->keys == NULL)
        return false;
    c->nkeys = n;
    for (uint32_t i = 0; i < n; i++) {
        key_make(c->a.store, &c->keys[i], c->argv[refs[i].index], c->session->db);
        if (prefetch)
            store_approach_begin(c->a.store, &c->keys[i]);
    }
    return true;
}

bool dispatch_hash_keys(struct cmd_ctx *c, bool prefetch)
{
    const struct command *cmd = c->cmd;
    c->nkeys = 0;
    c->keys = NULL;
    if (unlikely(cmd->flags & CMD_MOVABLE_KEYS))
        return hash_movable_keys(c, prefetch);
    uint32_t n = count_simple_keys(cmd, c->argc);
    if (n == 0)
        return true;
    c->keys = arena_alloc(c->arena, n * sizeof *c->keys);
    if (c->keys == NULL)
        return false;
    c->nkeys = n;
    for (uint32_t i = 0, at = (uint32_t)cmd->key_first; i < n; i++, at += (uint32_t)cmd->key_step) {
        key_make(c->a.store, &c->keys[i], c->argv[at], c->session->db);
        if (prefetch)
            store_approach_begin(c->a.store, &c->keys[i]);
    }
    return true;
}

static void plan_locks(const struct cmd_ctx *c, struct lockset *ls)
{
    lockset_init(ls);
    for (uint32_t i = 0; i < c->nkeys; i++)
        lockset_add(ls, key_shard(&c->keys[i]));
}

/* ---- after a command ------------------------------------------------------------------- */

void dispatch_note_error(struct cmd_ctx *c, struct server *s, struct metrics *m, size_t start)
{
    counter_add(&m->error_replies, 1);
    stats_note_error(s, c->reply, start);
}

void dispatch_account(struct cmd_ctx *c, struct conn *conn, struct metrics *m, uint32_t calls, uint64_t ticks,
                      size_t start)
{
    struct server *s = conn->worker->server;
    bool failed = c->reply->errored;
    metrics_record(m, c->cmd, calls, ticks, failed);
    if (unlikely(failed))
        dispatch_note_error(c, s, m, start);
    if (likely(ticks < s->slow_ticks))
        return;
    uint64_t us = os_ticks_to_ns(ticks) / 1000;
    const struct config *cfg = &s->config;
    if (cfg->slowlog_log_slower_than >= 0 && us >= (uint64_t)cfg->slowlog_log_slower_than &&
        !(c->cmd->flags & CMD_SKIP_SLOWLOG)) {
        char peer[ADDRESS_TEXT];
        conn_peer_text(conn, peer);
        slowlog_add(&s->slowlog, c->a.now_ms / 1000, us, c->argv, c->argc, peer,
                    c->session->name != NULL ? c->session->name : "", cfg->slowlog_max_len);
    }
    if (cfg->latency_monitor_threshold > 0 && us / 1000 >= (uint64_t)cfg->latency_monitor_threshold)
        latency_add(&s->latency, (c->cmd->flags & CMD_FAST) ? LATENCY_FAST_COMMAND : LATENCY_COMMAND,
                    c->a.now_ms / 1000, us / 1000);
}

/* ---- big arguments ----------------------------------------------------------------------- */

/* Copy them where the store will keep them, now, while no lock is held. */
static bool take_big_args(struct cmd_ctx *c)
{
    c->blocks = arena_alloc(c->arena, c->argc * sizeof *c->blocks);
    if (c->blocks == NULL)
        return false;
    for (uint32_t i = 1; i < c->argc; i++) {
        if (c->argv[i].n < DISPATCH_BIG_ARG)
            continue;
        struct block *b = block_new(c->argv[i].n);
        if (b == NULL)
            return false;
        memcpy(b->data, c->argv[i].p, c->argv[i].n);
        b->n = c->argv[i].n;
        c->argv[i] = block_str(b);
        c->blocks[c->nblocks++] = b;
    }
    return true;
}

static void drop_big_args(struct cmd_ctx *c)
{
    for (uint32_t i = 0; i < c->nblocks; i++)
        block_put(c->blocks[i]);
    c->nblocks = 0;
    c->blocks = NULL;
}

/* ---- to the lane -------------------------------------------------------------------------- */

static enum outcome send_to_lane(struct cmd_ctx *c, struct conn *conn, enum lane_mode mode,
                                 const struct lockset *held)
{
    struct lane *lane = &conn->worker->server->lane;
    struct lane_job *job = lane_job_new(conn, c->cmd, c->argv, c->argc, mode);
    if (job == NULL) {
        if (held != NULL)
            store_unlock(c->a.store, held);
        cmd_reply_err(c, ERR_OOM);
        return DONE;
    }
    job->exec = c->cmd->fn == cmd_exec;
    if (mode == LANE_BUSY) {
        job->locks = *held;
        store_make_busy(c->a.store, held);
    }
    lane_submit(lane, job);
    return AWAY;
}

/* A shard it needs is busy: park until the lane is done with it. False: it is done already. */
static bool parked_on_busy(struct conn *conn, const struct lockset *needed)
{
    return lane_wait_busy(&conn->worker->server->lane, conn, needed);
}

static bool parked_on_busy_one(struct conn *conn, uint32_t shard)
{
    struct lockset one;
    lockset_init(&one);
    lockset_add(&one, shard);
    return parked_on_busy(conn, &one);
}

/* ---- running ------------------------------------------------------------------------------ */

/* The last word, with the shards locked; `ls` or the one shard is let go of when it is no. */
static bool is_turned_away(struct cmd_ctx *c, struct conn *conn, const struct lockset *ls)
{
    if (likely(admit_is_ours(c, conn->worker->server, true)))
        return false;
    if (ls != NULL)
        store_unlock(c->a.store, ls);
    else
        store_unlock_one(c->a.store, key_shard(c->keys));
    if (!admit_waits(c, conn))
        admit_note_rejected(c);
    return true;
}

static enum outcome turned_away(const struct conn *conn)
{
    return conn->state == CONN_OPEN ? REPLIED : NOT_YET;
}

/* CLUSTER subcommands are the cluster's thread's to run. */
static enum outcome run_exec_of_cluster(struct cmd_ctx *c, struct conn *conn)
{
    bool broken;
    if (!exec_looks_at_watched(c, &broken))
        return NOT_YET;
    if (broken)
        reply_null_array(c->reply);
    else
        cluster_send(c);
    if (conn->state != CONN_OPEN)
        return AWAY;
    exec_end(c->session, c->a.store);
    return DONE;
}

/* `routed`: in a cluster. It is a constant wherever these are called, so that a node alone pays nothing. */
static ALWAYS_INLINE enum outcome run_exec(struct cmd_ctx *c, struct conn *conn, bool routed)
{
    struct worker *w = c->host;
    if (!exec_begin(c))
        return DONE;
    if (routed && unlikely(exec_any(c->session, CMD_CLUSTER)))
        return run_exec_of_cluster(c, conn);
    struct exec_plan plan;
    exec_plan(c->session, c->a.store, &plan);
    if (plan.gate)
        return send_to_lane(c, conn, LANE_EXCLUSIVE, NULL);
    while (!store_lock(c->a.store, &plan.locks))
        if (parked_on_busy(conn, &plan.locks))
            return NOT_YET;
    if (routed && is_turned_away(c, conn, &plan.locks))
        return turned_away(conn);
    uint64_t cost = exec_cost(c);
    if (cost > LANE_COST_NS) {
        if (plan.all_keyed)
            return send_to_lane(c, conn, LANE_BUSY, &plan.locks);
        store_unlock(c->a.store, &plan.locks);
        return send_to_lane(c, conn, LANE_EXCLUSIVE, NULL);
    }
    exec_run(c, &w->metrics);
    store_unlock(c->a.store, &plan.locks);
    effect_publish(c);
    exec_end(c->session, c->a.store);
    return DONE;
}

static enum outcome run_keyless(struct cmd_ctx *c, struct conn *conn)
{
    if (c->cmd->flags & CMD_EXCLUSIVE) {
        if (c->cmd->fn != cmd_shutdown || !shutdown_hands_over(c))
            return send_to_lane(c, conn, LANE_EXCLUSIVE, NULL);
        conn_park(conn, PARK_PAUSE);
        return NOT_YET;
    }
    if ((c->cmd->flags & CMD_LANE) || (c->cmd->cost != NULL && c->cmd->cost(c) > LANE_COST_NS))
        return send_to_lane(c, conn, LANE_PLAIN, NULL);
    struct reply_mark mark = reply_mark(c->reply);
    for (;;) {
        c->again = c->too_long = false;
        c->cmd->fn(c);
        if (likely(!c->again && !c->too_long))
            break;
        reply_rollback(c->reply, mark);
        if (c->too_long)
            return send_to_lane(c, conn, LANE_PLAIN, NULL);
        if (parked_on_busy_one(conn, c->busy_shard))
            return NOT_YET;
    }
    return conn->state == CONN_OPEN ? DONE : AWAY;
}

/* The shards are still ours. */
static ALWAYS_INLINE void note_use(struct cmd_ctx *c, uint32_t nkeys)
{
    struct worker *w = c->host;
    w->until_sample -= (int32_t)nkeys;
    if (unlikely(w->until_sample <= 0 || c->nblocks > 0))
        hot_sample(c);
}

static ALWAYS_INLINE enum outcome run_many_keys(struct cmd_ctx *c, struct conn *conn, bool routed)
{
    struct lockset ls;
    plan_locks(c, &ls);
    if (ls.overflow)
        return send_to_lane(c, conn, LANE_EXCLUSIVE, NULL);
    while (!store_lock(c->a.store, &ls))
        if (parked_on_busy(conn, &ls))
            return NOT_YET;
    if (routed && is_turned_away(c, conn, &ls))
        return turned_away(conn);
    if (c->cmd->cost != NULL && c->cmd->cost(c) > LANE_COST_NS)
        return send_to_lane(c, conn, LANE_BUSY, &ls);
    effect_open(c);
    effect_run(c);
    note_use(c, c->nkeys);
    effect_reserve(c);
    store_unlock(c->a.store, &ls);
    effect_publish(c);
    return DONE;
}

static ALWAYS_INLINE enum outcome run_one_key(struct cmd_ctx *c, struct conn *conn, bool routed)
{
    uint32_t shard = key_shard(c->keys);
    while (unlikely(!store_lock_one(c->a.store, shard)))
        if (parked_on_busy_one(conn, shard))
            return NOT_YET;
    if (routed && is_turned_away(c, conn, NULL))
        return turned_away(conn);
    if (unlikely(c->cmd->cost != NULL) && c->cmd->cost(c) > LANE_COST_NS) {
        struct lockset ls;
        lockset_init(&ls);
        lockset_add(&ls, shard);
        return send_to_lane(c, conn, LANE_BUSY, &ls);
    }
    effect_open(c);
    effect_run(c);
    note_use(c, 1);
    effect_reserve(c);
    store_unlock_one(c->a.store, shard);
    effect_publish(c);
    return DONE;
}

static ALWAYS_INLINE enum outcome run_by_keys(struct cmd_ctx *c, struct conn *conn, bool routed)
{
    if (likely(c->nkeys == 1))
        return run_one_key(c, conn, routed);
    if (c->nkeys > 1)
        return run_many_keys(c, conn, routed);
    return c->cmd->fn == cmd_exec ? run_exec(c, conn, routed) : run_keyless(c, conn);
}

static enum outcome run(struct cmd_ctx *c, struct conn *conn)
{
    return run_by_keys(c, conn, false);
}

static enum outcome run_in_cluster(struct cmd_ctx *c, struct conn *conn)
{
    return run_by_keys(c, conn, true);
}

static void count_for_slot(struct cmd_ctx *c, uint64_t t0, size_t before)
{
    slot_stats_note(&ctx_server(c)->slot_stats, slot_stats_thread(c), slot_stats_slot(c), c, os_ticks() - t0,
                    reply_size(c->reply) - before);
}

/* What it costs is counted for its slot. A transaction does that itself. */
static enum outcome run_counted(struct cmd_ctx *c, struct conn *conn)
{
    size_t before = reply_size(c->reply);
    uint64_t t0 = os_ticks();
    enum outcome out = run_in_cluster(c, conn);
    if (out == DONE && c->cmd->fn != cmd_exec)
        count_for_slot(c, t0, before);
    return out;
}

/* ASKING is for one command, or for one transaction. */
static void end_asking(struct session *s)
{
    if (unlikely(s->asking) && !s->txn.open)
        s->asking = false;
}

/* Inside MULTI: queue what does not steer the transaction itself. True when queued (or refused). */
static bool queued(struct cmd_ctx *c)
{
    cmd_fn *fn = c->cmd->fn;
    if (fn == cmd_exec || fn == cmd_discard || fn == cmd_multi || fn == cmd_watch || fn == cmd_quit ||
        fn == cmd_reset)
        return false;
    int rc = txn_queue(&c->session->txn, c->cmd, c->argv, c->argc);
    if (rc != 0) {
        c->session->txn.aborted = true;
        cmd_reply_err(c, rc);
    } else {
        reply_status(c->reply, "QUEUED");
    }
    return true;
}

static enum outcome run_carefully(struct cmd_ctx *c, struct conn *conn, uint32_t care)
{
    struct session *s = c->session;
    bool was_muted = s->reply_mode == SESSION_REPLY_OFF || s->reply_mode == SESSION_REPLY_SKIP;
    enum outcome out;
    c->reply->mute = was_muted;
    if (!admit(c, conn, care)) {
        out = conn->state == CONN_OPEN ? REPLIED : NOT_YET;
    } else if (s->txn.open && queued(c)) {
        out = REPLIED;
    } else {
        bool fenced = (care & CARE_CLUSTER) && !(care & CARE_REPLICA) && admit_writes(c);
        out = unlikely(care & CARE_SLOT_STATS) ? run_counted(c, conn)
              : care & CARE_CLUSTER            ? run_in_cluster(c, conn)
                                               : run(c, conn);
        conn->wrote |= fenced;
        if (out == DONE)
            monitor_show(conn->worker->server, c);
    }
    if ((out == DONE || out == REPLIED) && c->cmd->fn != cmd_asking)
        end_asking(s);
    conn_reply(conn)->mute = false;
    return out;
}

/* May this call be timed together with the next, which is of the same command? Not if sizes decide how long
 * it takes. */
static bool runs_on(const struct server *s, const struct pending *p, uint32_t care)
{
    return s->time_in_runs && care == 0 && p->cmd->cost == NULL && p->nkeys == 1 &&
           p->req.bytes < DISPATCH_BIG_ARG;
}

void dispatch_end_run(struct worker *w, const struct command *cmd, struct stopwatch *sw)
{
    uint64_t now = os_ticks();
    if (sw->calls > 0)
        metrics_record(&w->metrics, cmd, sw->calls, now - sw->from, false);
    *sw = (struct stopwatch){.from = now};
}

/* AWAY: what the lane does of it, it says itself. */
static void note_logged(struct conn *conn, struct unit *u, enum outcome out)
{
    if (out == DONE)
        conn->written = u->last_end;
    if (unit_take_fresh(u))
        conn->owed = conn->worker->owed = u->last_end;
}

static enum outcome execute(struct worker *w, struct conn *conn, struct pending *p, struct stopwatch *sw)
{
    struct cmd_ctx *c = &w->ctx;
    c->cmd = p->cmd;
    c->argv = p->req.argv;
    c->argc = p->req.argc;
    c->keys = p->keys;
    c->nkeys = p->nkeys;
    c->reply->errored = false;
    size_t start = c->reply->bytes.n;
    if (unlikely(!admit_well_formed(c, p))) {
        end_asking(c->session);
        dispatch_end_run(w, p->cmd, sw);
        return DONE;
    }
    if (unlikely(p->req.bytes >= DISPATCH_BIG_ARG) && (c->cmd->flags & CMD_WRITE) && !take_big_args(c)) {
        drop_big_args(c);
        cmd_reply_err(c, ERR_OOM);
        dispatch_end_run(w, p->cmd, sw);
        return DONE;
    }
    uint32_t care = atomic_load_explicit(&w->server->care, memory_order_relaxed);
    enum outcome out =
        unlikely(care != 0 || wants_care(c->session)) ? run_carefully(c, conn, care) : run(c, conn);
    if (likely(out == DONE)) {
        sw->calls++;
        if (!p->more || c->reply->errored || !runs_on(w->server, p, care)) {
            uint64_t now = os_ticks();
            dispatch_account(c, conn, &w->metrics, sw->calls, now - sw->from, start);
            *sw = (struct stopwatch){.from = now};
        }
    } else {
        dispatch_end_run(w, p->cmd, sw);
        if (out == REPLIED && c->reply->errored)
            dispatch_note_error(c, w->server, &w->metrics, start);
    }
    if (unlikely(c->unit != NULL))
        note_logged(conn, c->unit, out);
    conn->last_cmd = p->cmd;
    conn->commands++;
    if (unlikely(c->nblocks > 0))
        drop_big_args(c);
    return out;
}

/* CLIENT REPLY SKIP silences what comes next, be it a command, nonsense or an empty line. */
static void step_reply_mode(struct session *s)
{
    if (s->reply_mode == SESSION_REPLY_SKIP)
        s->reply_mode = SESSION_REPLY_ON;
    else if (s->reply_mode == SESSION_REPLY_SKIP_NEXT)
        s->reply_mode = SESSION_REPLY_SKIP;
}

void dispatch_empty(struct session *s)
{
    step_reply_mode(s);
}

enum outcome dispatch_one(struct worker *w, struct conn *conn, struct pending *p, struct stopwatch *sw)
{
    enum outcome out = execute(w, conn, p, sw);
    if (unlikely(conn->session.reply_mode != SESSION_REPLY_ON) && out != NOT_YET)
        step_reply_mode(&conn->session);
    return out;
}

/* ---- the lane's side --------------------------------------------------------------------------- */

/* In a cluster its keys may have moved while it waited for its turn: that comes before what this node has
 * become, as for requests that do not wait. */
static bool has_moved(struct lane_job *job, struct cmd_ctx *c)
{
    const struct server *s = job->conn->worker->server;
    if (server_view(s) == NULL || admit_is_ours(c, s, true))
        return false;
    job->held = c->again;
    c->again = false;
    return true;
}

/* What the job's mode holds covers its keys, or it is LANE_PLAIN and writes nothing. */
static void run_job_command(struct lane_job *job, struct cmd_ctx *c)
{
    uint64_t t0 = os_ticks();
    if (!dispatch_hash_keys(c, false)) {
        cmd_reply_err(c, ERR_OOM);
        return;
    }
    if (has_moved(job, c) || !admit_late(c, ctx_server(c)))
        return;
    if (job->mode == LANE_PLAIN) {
        c->cmd->fn(c);
    } else {
        effect_open(c);
        effect_run(c);
        effect_reserve(c);
    }
    if (unlikely(server_counts_slots(ctx_server(c))))
        count_for_slot(c, t0, 0);
}

static void run_job(struct lane_job *job, struct cmd_ctx *c, struct metrics *m)
{
    if (!job->exec)
        run_job_command(job, c);
    else if (!has_moved(job, c) && admit_late(c, ctx_server(c)))
        exec_run(c, m);
}

void dispatch_run_job(struct lane_job *job, struct cmd_ctx *c, struct metrics *m)
{
    struct conn *conn = job->conn;
    c->session = &conn->session;
    c->reply = &job->reply;
    c->reply->errored = false;
    c->arena = &job->arena;
    c->cmd = job->cmd;
    c->argv = job->argv;
    c->argc = job->argc;
    c->a.now_ms = os_wall_ms();
    c->a.no_touch = conn->session.no_touch;
    c->a.expired = server_expired_rule(conn->worker->server);
    c->again = false;
    uint64_t t0 = os_ticks();
    job->held = admit_pauses(c, conn->worker->server);
    if (!job->held)
        run_job(job, c, m);
    effect_publish(c);
    job->written = c->unit != NULL ? c->unit->last_end : 0;
    c->cmd = job->cmd;
    c->argv = job->argv;
    c->argc = job->argc;
    if (job->held)
        return;
    dispatch_account(c, conn, m, 1, os_ticks() - t0, 0);
    monitor_show(conn->worker->server, c);
}

void dispatch_job_done(struct conn *conn, struct lane_job *job)
{
    struct worker *w = conn->worker;
    if (job->began != 0)
        metrics_record(&w->metrics, job->cmd, 1, os_ticks() - job->began, job->reply.errored);
    if (job->written > conn->written)
        conn->written = job->written;
    if (job->written > conn->owed)
        conn->owed = job->written;
    bool writes = (job->cmd->flags & CMD_WRITE) || (job->exec && exec_any(&conn->session, CMD_WRITE));
    conn->wrote |= writes && server_view(w->server) != NULL;
    if (conn->state != CONN_ZOMBIE) {
        if (job->exec)
            exec_end(&conn->session, conn->worker->server->store);
        end_asking(&conn->session);
        reply_append(conn_reply(conn), &job->reply);
    }
    conn_unpark(conn);
}
