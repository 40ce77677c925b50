/* Reading requests off a buffer in batches, so that the memory they need is fetched for all of them at
 * once (dispatch.h draws it): also when it is in the processor's caches, since the first-level cache holds
 * little beside what the kernel's networking leaves there. A name of a command is remembered by its bytes. */
#include "server/batch.h"

#include "base/log.h"
#include "os/clock.h"
#include "server/dispatch.h"
#include "server/server.h"

/* ---- batches -------------------------------------------------------------------------------- */

/* About keys and nothing else: the next request means the same whatever this one does. */
static bool is_plain(const struct pending *p)
{
    return p->nkeys > 0 && (p->cmd->flags & (CMD_READONLY | CMD_WRITE));
}

static bool is_whole(const struct command *cmd)
{
    return cmd != NULL && cmd->parent == NULL && cmd->nsubs == 0;
}

/* As below, of longer names: CACHE.GET's. */
static const struct command *resolve_long(struct worker *w, const struct str *argv, uint32_t argc)
{
    struct long_memo now = {.n = argv[0].n};
    if (now.n <= sizeof now.first || now.n > 2 * sizeof now.first)
        return command_resolve(argv, argc);
    memcpy(&now.first, argv[0].p, sizeof now.first);
    memcpy(&now.last, argv[0].p + now.n - sizeof now.last, sizeof now.last);
    uint64_t mixed = (now.first ^ now.last * 3) * 0x9e3779b97f4a7c15u;
    struct long_memo *m = &w->long_memo[mixed >> (64 - WORKER_LONG_MEMO_BITS)];
    if (likely(m->first == now.first && m->last == now.last && m->n == now.n))
        return m->cmd;
    now.cmd = command_resolve(argv, argc);
    if (is_whole(now.cmd))
        *m = now;
    return now.cmd;
}

/* The command by the bytes of its name, if this worker has seen just these before: names of up to
 * 8 bytes with an argument behind them, so that 8 bytes may be read (request.h). Zeros stand for what
 * a shorter name lacks, so none may end with one. */
static const struct command *resolve(struct worker *w, const struct str *argv, uint32_t argc)
{
    size_t n = argv[0].n;
    if (unlikely(argc < 2 || n - 1 >= sizeof(uint64_t) || argv[0].p[n - 1] == '\0'))
        return resolve_long(w, argv, argc);
    uint64_t word;
    memcpy(&word, argv[0].p, sizeof word);
    word &= UINT64_MAX >> (64 - 8 * n);
    struct name_memo *m = &w->memo[(word * 0x9e3779b97f4a7c15u) >> (64 - WORKER_MEMO_BITS)];
    if (likely(m->word == word))
        return m->cmd;
    const struct command *cmd = command_resolve(argv, argc);
    if (is_whole(cmd))
        *m = (struct name_memo){word, cmd};
    return cmd;
}

static void prepare(struct worker *w, struct pending *p)
{
    struct cmd_ctx *c = &w->ctx;
    const struct command *cmd = p->cmd = resolve(w, p->req.argv, p->req.argc);
    p->nkeys = 0;
    p->hashed = true;
    if (unlikely(cmd == NULL || !command_arity_ok(cmd, p->req.argc)))
        return;
    if (likely(cmd->key_first == cmd->key_last && cmd->key_first > 0 && !(cmd->flags & CMD_MOVABLE_KEYS))) {
        key_make(c->a.store, &p->one, p->req.argv[cmd->key_first], c->session->db);
        p->keys = &p->one;
        p->nkeys = 1;
        store_approach_begin(c->a.store, &p->one);
        return;
    }
    c->cmd = cmd;
    c->argv = p->req.argv;
    c->argc = p->req.argc;
    p->hashed = dispatch_hash_keys(c, true);
    p->keys = c->keys;
    p->nkeys = c->nkeys;
}

/* Fill the batch from the front of `in`; *used counts the bytes. Returns what ended it. */
static int parse_batch(struct conn *conn, struct request_parser *rp, struct str in, struct pending *batch,
                       uint32_t *n, size_t *used)
{
    struct worker *w = conn->worker;
    bool alone = wants_care(&conn->session);
    while (*n < DISPATCH_BATCH) {
        struct pending *p = &batch[*n];
        int rc = request_parse(rp, (struct str){in.p + *used, in.n - *used}, &w->arena, &p->req);
        if (rc != 0)
            return rc;
        *used += p->req.bytes;
        if (unlikely(p->req.argc == 0)) {
            if (*n == 0)
                dispatch_empty(&conn->session);
            continue;
        }
        prepare(w, p);
        if (*n > 0)
            p[-1].more = p[-1].cmd == p->cmd;
        p->more = false;
        ++*n;
        if (alone || !is_plain(p))
            return 0;
    }
    return 0;
}

static void protocol_error(struct conn *conn, const struct request_parser *rp, int rc)
{
    char peer[ADDRESS_TEXT];
    conn_peer_text(conn, peer);
    log_verbose("Client id=%llu addr=%s: %s", (unsigned long long)conn->session.id, peer,
                rc == ERR_PROTO ? rp->error : "out of memory");
    if (rc == ERR_PROTO)
        reply_errorf(conn_reply(conn), "ERR %s", rp->error);
    else
        reply_error(conn_reply(conn), REPLY_NOMEM);
    conn->session.close_after_reply = true;
}

/* Run a batch. Returns how many of its requests are used up. */
static uint32_t run_batch(struct worker *w, struct conn *conn, struct pending *batch, uint32_t n)
{
    const struct store *store = w->server->store;
    for (bool more = n > 1; more;) {
        more = false;
        for (struct pending *p = batch; p < batch + n; p++)
            for (struct key *k = p->keys, *end = k + p->nkeys; k < end; k++)
                more |= store_approach(store, k);
    }
    struct stopwatch sw = {.from = os_ticks()};
    for (uint32_t i = 0; i < n; i++) {
        enum outcome out = dispatch_one(w, conn, &batch[i], &sw);
        if (unlikely(out == NOT_YET))
            return i;
        if (unlikely(out == AWAY || conn->state != CONN_OPEN || conn->close_asap ||
                     conn->session.close_after_reply)) {
            dispatch_end_run(w, batch[i].cmd, &sw);
            return i + 1;
        }
    }
    return n;
}

size_t dispatch_input(struct conn *conn, struct str in)
{
    struct worker *w = conn->worker;
    struct server *s = w->server;
    struct pending batch[DISPATCH_BATCH];
    struct request_parser rp = {.bulk_max = s->limits.bulk_max,
                                .authenticated = conn->session.authenticated,
                                .progress = &conn->progress};
    uint32_t n = 0;
    size_t used = 0;
    arena_reset(&w->arena);
    w->ctx.session = &conn->session;
    w->ctx.reply = conn_reply(conn);
    w->ctx.a.now_ms = os_wall_ms();
    w->ctx.a.no_touch = conn->session.no_touch;
    w->ctx.a.expired = server_expired_rule(s);
    int rc = parse_batch(conn, &rp, in, batch, &n, &used);
    uint32_t ran = run_batch(w, conn, batch, n);
    if (ran < n) { /* the rest is parsed again: later, or never */
        conn->progress = (struct request_progress){0};
        for (uint32_t i = n; i-- > ran;)
            used -= batch[i].req.bytes;
        return used;
    }
    if (unlikely(rc == ERR_PROTO || rc == ERR_OOM) && conn->state == CONN_OPEN)
        protocol_error(conn, &rp, rc);
    conn->in_need = rc == ERR_AGAIN ? rp.need : 0;
    return used;
}
