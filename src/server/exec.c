#include "server/exec.h"

#include "cmd/effect.h"
#include "os/clock.h"
#include "server/dispatch.h"
#include "server/monitor.h"
#include "server/server.h"

void cmd_multi(struct cmd_ctx *c)
{
    if (c->session->txn.open) {
        reply_error(c->reply, "ERR MULTI calls can not be nested");
        return;
    }
    c->session->txn.open = true;
    reply_ok(c->reply);
}

void cmd_exec(struct cmd_ctx *c)
{
    reply_error(c->reply, "ERR EXEC cannot run inside another command");
}

void cmd_discard(struct cmd_ctx *c)
{
    if (!c->session->txn.open) {
        reply_error(c->reply, "ERR DISCARD without MULTI");
        return;
    }
    exec_end(c->session, c->a.store);
    reply_ok(c->reply);
}

void cmd_watch(struct cmd_ctx *c)
{
    if (c->session->txn.open) {
        reply_error(c->reply, "ERR WATCH inside MULTI is not allowed");
        return;
    }
    for (uint32_t i = 0; i < c->nkeys; i++) {
        int rc = txn_watch(&c->session->txn, &c->a, &c->keys[i], c->session->db);
        if (rc != 0) {
            cmd_reply_err(c, rc);
            return;
        }
    }
    reply_ok(c->reply);
}

void cmd_unwatch(struct cmd_ctx *c)
{
    txn_unwatch_all(&c->session->txn, c->a.store);
    reply_ok(c->reply);
}

bool exec_begin(struct cmd_ctx *c)
{
    struct txn *t = &c->session->txn;
    if (!t->open) {
        reply_error(c->reply, "ERR EXEC without MULTI");
        return false;
    }
    if (t->aborted) {
        exec_end(c->session, c->a.store);
        reply_error(c->reply, "EXECABORT Transaction discarded because of previous errors.");
        return false;
    }
    return true;
}

void exec_end(struct session *s, struct store *store)
{
    txn_clear_queue(&s->txn);
    txn_unwatch_all(&s->txn, store);
}

bool exec_any(const struct session *s, uint64_t flags)
{
    for (uint32_t i = 0; i < s->txn.ncommands; i++)
        if (s->txn.commands[i].cmd->flags & flags)
            return true;
    return false;
}

bool exec_all(const struct session *s, uint64_t flags)
{
    for (uint32_t i = 0; i < s->txn.ncommands; i++)
        if (!(s->txn.commands[i].cmd->flags & flags))
            return false;
    return true;
}

bool exec_looks_at_watched(struct cmd_ctx *c, bool *broken)
{
    struct conn *conn = container_of(c->session, struct conn, session);
    struct lockset watched;
    lockset_init(&watched);
    txn_watch_shards(&c->session->txn, &watched);
    *broken = watched.overflow; /* too many to look at in one moment: as if one had changed */
    if (watched.overflow)
        return true;
    while (!store_lock(c->a.store, &watched))
        if (lane_wait_busy(&conn->worker->server->lane, conn, &watched))
            return false;
    *broken = txn_watch_broken(&c->session->txn, &c->a);
    store_unlock(c->a.store, &watched);
    return true;
}

static void plan_keys(const struct store *store, const struct txn_command *tc, struct exec_plan *plan)
{
    struct keyref refs[64], *all = refs;
    uint32_t n = 0;
    int rc = command_keys(tc->cmd, tc->argv, tc->argc, refs, ARRAY_LEN(refs), &n);
    if (rc == ERR_FULL) { /* many keys: many shards; not worth a second look */
        plan->gate = true;
        return;
    }
    if (n == 0)
        plan->all_keyed = false;
    for (uint32_t i = 0; i < n; i++)
        lockset_add(&plan->locks, store_key_shard(store, tc->argv[all[i].index]));
}

void exec_plan(const struct session *s, const struct store *store, struct exec_plan *plan)
{
    lockset_init(&plan->locks);
    plan->all_keyed = true;
    plan->gate = exec_any(s, CMD_EXCLUSIVE | CMD_SELF_LOCK | CMD_LANE | CMD_RELAY);
    for (uint32_t i = 0; i < s->txn.ncommands && !plan->gate; i++)
        plan_keys(store, &s->txn.commands[i], plan);
    txn_watch_shards(&s->txn, &plan->locks);
    plan->gate |= plan->locks.overflow;
}

/* Point the context at queued command i, with its keys hashed for the database of now. */
static bool aim(struct cmd_ctx *c, uint32_t i)
{
    struct txn_command *tc = &c->session->txn.commands[i];
    c->cmd = tc->cmd;
    c->argv = tc->argv;
    c->argc = tc->argc;
    return dispatch_hash_keys(c, false);
}

/* Back to EXEC itself, which is accounted for and shown like any command. */
static void aim_back(struct cmd_ctx *c, const struct cmd_ctx *exec)
{
    c->cmd = exec->cmd;
    c->argv = exec->argv;
    c->argc = exec->argc;
    c->keys = exec->keys;
    c->nkeys = exec->nkeys;
}

static enum route_verdict route_queue(struct cmd_ctx *c, struct route *r, struct route_asker *who)
{
    enum route_verdict verdict = ROUTE_HERE;
    for (uint32_t i = 0; i < c->session->txn.ncommands && verdict == ROUTE_HERE; i++) {
        if (!aim(c, i))
            continue; /* no memory: it will say so when it is its turn */
        who->writes |= (c->cmd->flags & CMD_WRITE) != 0;
        for (uint32_t k = 0; k < c->nkeys && verdict == ROUTE_HERE; k++)
            verdict = route_key(r, &c->keys[k]);
    }
    return verdict == ROUTE_HERE ? route_end(r, who) : verdict;
}

bool exec_route(struct cmd_ctx *c, const struct cluster_view *v, bool locked)
{
    const struct cmd_ctx exec = *c;
    struct route r;
    struct route_asker who = {.asking = c->session->asking, .readonly = c->session->readonly};
    if (!c->session->txn.open || c->session->txn.aborted)
        return true; /* EXEC says why not */
    route_begin(&r, v, locked ? &c->a : NULL);
    enum route_verdict verdict = route_queue(c, &r, &who);
    aim_back(c, &exec);
    if (verdict == ROUTE_HERE)
        return true;
    c->again = verdict == ROUTE_HELD;
    if (!c->again)
        route_refuse(c->reply, &r, verdict);
    return false;
}

uint64_t exec_cost(struct cmd_ctx *c)
{
    const struct cmd_ctx exec = *c;
    uint64_t ns = 0;
    for (uint32_t i = 0; i < c->session->txn.ncommands; i++) {
        if (!aim(c, i))
            continue;
        ns += c->cmd->cost != NULL ? c->cmd->cost(c) : 200 + 100 * (uint64_t)c->nkeys;
    }
    aim_back(c, &exec);
    return ns;
}

void exec_run(struct cmd_ctx *c, struct metrics *m)
{
    struct txn *t = &c->session->txn;
    struct conn *conn = container_of(c->session, struct conn, session);
    const struct cmd_ctx exec = *c;
    uint32_t slot = SLOT_STATS_NONE;
    size_t before = reply_size(c->reply);
    struct server *s = conn->worker->server;
    bool counts = server_counts_slots(s);
    uint64_t began = unlikely(counts) ? os_ticks() : 0;
    if (txn_watch_broken(t, &c->a)) {
        reply_null_array(c->reply);
        return;
    }
    reply_array(c->reply, t->ncommands);
    c->in_exec = true;
    effect_open(c);
    for (uint32_t i = 0; i < t->ncommands; i++) {
        if (!aim(c, i)) {
            cmd_reply_err(c, ERR_OOM);
            continue;
        }
        c->a.expired = server_expired_rule(conn->worker->server); /* PAUSE may be one of them */
        c->reply->errored = false;
        size_t start = c->reply->bytes.n;
        uint64_t t0 = os_ticks();
        slot = c->nkeys > 0 ? c->keys[0].slot : slot; /* in a cluster they are all the same */
        effect_run(c);
        dispatch_account(c, conn, m, 1, os_ticks() - t0, start);
        monitor_show(conn->worker->server, c);
    }
    aim_back(c, &exec);
    effect_reserve(c);
    c->in_exec = false;
    c->reply->errored = false;
    if (unlikely(counts))
        slot_stats_note(&s->slot_stats, slot_stats_thread(c), slot, c, os_ticks() - began,
                        reply_size(c->reply) - before);
}
