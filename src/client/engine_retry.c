/* What to make of a reply or a failure: the answer, another node, another time, or the end. */
#include "client/engine.h"

#include "base/assert.h"
#include "client/error.h"

enum { QUOTE_MAX = 180 };

static void note_tried(struct cmd *cmd, uint32_t node)
{
    if (cmd->ntried < TOPO_TRIED_MAX)
        cmd->tried[cmd->ntried++] = node;
}

/* Again after a while, if attempts, budget and time allow; else it fails with err. */
static void try_later(struct engine *e, struct cmd *cmd, const struct larder_error *err, bool at_once,
                      int64_t now_ns)
{
    const struct settings *set = e->topo->set;
    if (cmd->attempts >= set->o.retries || !topo_spend(e->topo)) {
        engine_fail(e, cmd, err);
        return;
    }
    int64_t due_ns = at_once ? now_ns : now_ns + topo_backoff(e->topo, cmd->attempts);
    cmd->attempts++;
    if (due_ns >= cmd->deadline_ns)
        engine_fail(e, cmd, err);
    else
        engine_delay(e, cmd, due_ns);
}

void engine_attempt_failed(struct engine *e, struct cmd *cmd, const struct larder_error *err, bool sent,
                           int64_t now_ns)
{
    bool harmless = !sent || (cmd->flags & (CMD_IDEMPOTENT | CMD_READ)) != 0 || e->topo->set->o.retry_unsafe;
    bool hopeless = err->code == LARDER_ERR_AUTH || err->code == LARDER_ERR_MEMORY;
    /* Somebody else may answer: no need to wait for this one to recover. */
    bool standin = (cmd->flags & CMD_STANDIN) != 0 && e->topo->kind == LARDER_TOPOLOGY_RING;
    bool others = e->topo->set->o.failover && (standin || cmd->key < 0);
    if (!harmless || hopeless)
        engine_fail(e, cmd, err);
    else
        try_later(e, cmd, err, others && cmd->attempts == 0, now_ns);
}

/* MOVED and ASK: to the node that was named. */
static void follow(struct engine *e, struct cmd *cmd, struct conn *c, struct str text,
                   const struct larder_error *err, int64_t now_ns)
{
    bool ask;
    uint16_t slot;
    struct str host;
    int64_t port;
    struct address to;
    struct larder_error lost;
    if (!slotmap_parse_redirect(text, &ask, &slot, &host, &port) ||
        !address_make(host.n > 0 ? host : str_of(c->address->host), port, &to)) {
        engine_fail(e, cmd, err);
        return;
    }
    atomic_fetch_add_explicit(&e->topo->counters.redirects, 1, memory_order_relaxed);
    int node = topo_intern(e->topo, &to);
    if (node < 0 || cmd->redirects++ == ENGINE_REDIRECTS_MAX) {
        fail(&lost, node == LARDER_ERR_MEMORY ? node : LARDER_ERR_REDIRECT, "%s: %.*s: redirected too often",
             c->address->name, (int)(text.n < QUOTE_MAX ? text.n : QUOTE_MAX), text.p);
        engine_fail(e, cmd, &lost);
        return;
    }
    if (!ask)
        topo_moved(e->topo, slot, (uint32_t)node);
    cmd->asking = ask;
    cmd->hop = node;
    engine_delay(e, cmd, now_ns);
}

/* The node says that it did not execute the command, and that this may change. */
static bool not_now(struct engine *e, struct str text)
{
    bool cluster = e->topo->kind == LARDER_TOPOLOGY_CLUSTER;
    if (str_begins(text, STR("TRYAGAIN")) || str_begins(text, STR("LOADING")) ||
        str_begins(text, STR("MASTERDOWN")))
        return true;
    if (!cluster || !(str_begins(text, STR("CLUSTERDOWN")) || str_begins(text, STR("READONLY"))))
        return false;
    topo_want_refresh(e->topo);
    return true;
}

static void error_reply(struct engine *e, struct cmd *cmd, struct conn *c, const struct reader_value *v,
                        int64_t now_ns)
{
    struct larder_error err;
    struct str text = v->text;
    bool cluster = e->topo->kind == LARDER_TOPOLOGY_CLUSTER;
    bool down = cluster && str_begins(text, STR("CLUSTERDOWN"));
    bool moved = cluster && (str_begins(text, STR("MOVED ")) || str_begins(text, STR("ASK ")));
    fail(&err, down ? LARDER_ERR_CLUSTER : LARDER_ERR_SERVER, "%s: %.*s", c->address->name,
         (int)(text.n < QUOTE_MAX ? text.n : QUOTE_MAX), text.p);
    if (moved) {
        follow(e, cmd, c, text, &err, now_ns);
    } else if (not_now(e, text)) {
        /* Not so for TRYAGAIN and its like: a replica knows nothing of a slot that moves. */
        if (str_begins(text, STR("LOADING")) || str_begins(text, STR("MASTERDOWN")))
            note_tried(cmd, c->number);
        try_later(e, cmd, &err, false, now_ns);
    } else {
        engine_finish(e, cmd, &(struct cmd_result){err.code, v, &err, c->number});
    }
}

void engine_reply(struct engine *e, struct cmd *cmd, struct conn *c, const struct reader_value *v,
                  int64_t now_ns)
{
    ASSERT(cmd->conn == NULL);
    topo_succeeded(e->topo, c->number);
    if (reader_is_error(v))
        error_reply(e, cmd, c, v, now_ns);
    else
        engine_finish(e, cmd, &(struct cmd_result){LARDER_OK, v, NULL, c->number});
}
