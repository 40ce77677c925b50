#include "server/admit.h"

#include "base/log.h"
#include "server/dispatch.h"
#include "server/exec.h"
#include "server/handlers.h"
#include "server/server.h"

void admit_note_rejected(struct cmd_ctx *c)
{
    struct worker *w = c->host;
    counter_add(&w->metrics.by_command[c->cmd->id].rejected, 1);
    if (c->cmd->fn == cmd_exec)
        exec_end(c->session, c->a.store);
    else
        c->session->txn.aborted |= c->session->txn.open;
}

static void reply_rejection(struct cmd_ctx *c, const char *text)
{
    if (c->cmd->fn == cmd_exec)
        reply_errorf(c->reply, "EXECABORT Transaction discarded because of: %s", text);
    else
        reply_error(c->reply, text);
}

static void reject(struct cmd_ctx *c, const char *text)
{
    admit_note_rejected(c);
    reply_rejection(c, text);
}

bool admit_is_ours(struct cmd_ctx *c, const struct server *s, bool locked)
{
    return c->cmd->fn == cmd_exec ? exec_route(c, server_view(s), locked)
                                  : route_allows(c, server_view(s), locked);
}

bool admit_waits(struct cmd_ctx *c, struct conn *conn)
{
    bool again = c->again;
    c->again = false;
    if (again)
        conn_park(conn, PARK_PAUSE);
    return again;
}

static bool needs_memory(const struct cmd_ctx *c)
{
    return (c->cmd->flags & CMD_DENYOOM) || (c->cmd->fn == cmd_exec && exec_any(c->session, CMD_DENYOOM));
}

bool admit_writes(const struct cmd_ctx *c)
{
    return (c->cmd->flags & CMD_WRITE) || (c->cmd->fn == cmd_exec && exec_any(c->session, CMD_WRITE));
}

/* What a replica does not do for its clients, and why. */
static const char *refuse_on_replica(struct cmd_ctx *c, const struct repl *r)
{
    if (atomic_load_explicit(&r->loading, memory_order_relaxed) && !(c->cmd->flags & CMD_LOADING))
        return REPLY_LOADING;
    if (!(c->cmd->flags & CMD_STALE) && !repl_may_serve(r))
        return "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
    if (admit_writes(c) && ctx_server(c)->config.replica_read_only)
        return "READONLY You can't write against a read only replica.";
    return NULL;
}

bool admit(struct cmd_ctx *c, struct conn *conn, uint32_t care)
{
    struct session *ss = c->session;
    if ((c->cmd->flags & CMD_PROTECTED) && !debug_is_allowed(conn)) {
        reject(c, DEBUG_NOT_ALLOWED);
        return false;
    }
    if (!ss->authenticated && !(c->cmd->flags & CMD_NO_AUTH)) {
        reject(c, "NOAUTH Authentication required.");
        return false;
    }
    if (ss->txn.open && (c->cmd->flags & (CMD_NO_MULTI | CMD_NOT_QUEUED))) {
        reject(c, "ERR Command not allowed inside a transaction");
        return false;
    }
    if ((care & CARE_CLUSTER) && !admit_is_ours(c, conn->worker->server, false)) {
        if (admit_waits(c, conn))
            return false;
        admit_note_rejected(c);
        return false;
    }
    const char *no = (care & CARE_REPLICA) ? refuse_on_replica(c, &conn->worker->server->repl) : NULL;
    if (no == NULL && (care & CARE_FEW_REPLICAS) && !(care & CARE_REPLICA) && admit_writes(c))
        no = "NOREPLICAS Not enough good replicas to write.";
    if ((care & CARE_LOADING) && !(c->cmd->flags & CMD_LOADING))
        no = REPLY_LOADING;
    else if (no == NULL && (care & CARE_DISK) && admit_writes(c))
        no = "MISCONF The last snapshot could not be written to disk, and writes are refused until one is "
             "(stop-writes-on-bgsave-error). The log says why.";
    if (no != NULL) {
        reject(c, no);
        return false;
    }
    if ((care & CARE_MEMORY) && needs_memory(c)) {
        reject(c, REPLY_OOM);
        return false;
    }
    if ((care & CARE_PAUSE_ALL) || ((care & (CARE_PAUSE_WRITE | CARE_FAILOVER)) && admit_writes(c))) {
        conn_park(conn, PARK_PAUSE);
        return false;
    }
    if ((care & CARE_CLUSTER) && !(care & CARE_REPLICA) && admit_writes(c) &&
        !server_may_acknowledge(conn->worker->server)) {
        reject(c, "CLUSTERDOWN The cluster is down");
        return false;
    }
    return true;
}

/* A browser that was lured into sending a request here (cross-protocol scripting): end it at once,
 * before a later line of it is taken for a command. */
static bool speaks_http(struct cmd_ctx *c, const struct pending *p)
{
    if (!str_is(p->req.argv[0], "POST") && !str_is(p->req.argv[0], "Host:"))
        return false;
    struct conn *conn = container_of(c->session, struct conn, session);
    char peer[ADDRESS_TEXT];
    conn_peer_text(conn, peer);
    log_warning("Possible attack: client addr=%s sent '%.*s', as a web browser would. Connection closed.",
                peer, (int)p->req.argv[0].n, p->req.argv[0].p);
    conn->close_asap = true;
    return true;
}

static void refuse_arity(struct cmd_ctx *c, const struct command *cmd)
{
    if (cmd->fn != cmd_exec) {
        command_reply_arity(c->reply, cmd);
        return;
    }
    exec_end(c->session, c->a.store);
    reply_error(c->reply,
                "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command");
}

bool admit_well_formed(struct cmd_ctx *c, const struct pending *p)
{
    if (likely(p->cmd != NULL && command_arity_ok(p->cmd, p->req.argc) && p->hashed))
        return true;
    size_t start = c->reply->bytes.n;
    c->reply->mute =
        c->session->reply_mode == SESSION_REPLY_OFF || c->session->reply_mode == SESSION_REPLY_SKIP;
    if (p->cmd == NULL && speaks_http(c, p))
        return false;
    if (p->cmd == NULL)
        command_reply_unknown(c->reply, p->req.argv, p->req.argc);
    else if (!command_arity_ok(p->cmd, p->req.argc))
        refuse_arity(c, p->cmd);
    else
        cmd_reply_err(c, ERR_OOM);
    struct worker *w = c->host;
    dispatch_note_error(c, w->server, &w->metrics, start);
    if (p->cmd != NULL)
        counter_add(&w->metrics.by_command[p->cmd->id].rejected, 1);
    c->session->txn.aborted |= c->session->txn.open;
    c->reply->mute = false;
    return false;
}

bool admit_pauses(const struct cmd_ctx *c, const struct server *s)
{
    return server_is_paused(s) && admit_writes(c);
}

bool admit_late(struct cmd_ctx *c, struct server *s)
{
    bool replica = (atomic_load_explicit(&s->care, memory_order_relaxed) & CARE_REPLICA) != 0;
    const char *no = replica ? refuse_on_replica(c, &s->repl) : NULL;
    if (no != NULL)
        reply_rejection(c, no);
    return no == NULL;
}
