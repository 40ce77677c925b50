#include "server/relay.h"

#include "os/clock.h"
#include "server/dispatch.h"
#include "server/monitor.h"
#include "server/server.h"

static void deliver(struct worker *w, struct mail *m);

/* To the next worker, or home. */
static void forward(struct relay *r)
{
    struct server *s = r->home->server;
    worker_mail(r->next < s->nworkers ? &s->workers[r->next] : r->home, &r->mail);
}

static void copy_request(struct relay *r, const struct cmd_ctx *ctx)
{
    r->argc = 0;
    r->argv = arena_alloc(&r->arena, ctx->argc * sizeof *r->argv);
    for (uint32_t i = 0; r->argv != NULL && i < ctx->argc; i++) {
        r->argv[i] = arena_copy(&r->arena, ctx->argv[i]);
        if (r->argv[i].p == NULL)
            return;
    }
    if (r->argv != NULL)
        r->argc = ctx->argc;
}

/* Like any command that has run: counted, and noted where slow ones are, even if its asker has gone. */
static void account(struct worker *home, struct conn *c, const struct relay *done, size_t start)
{
    struct cmd_ctx *ctx = &home->ctx;
    ctx->session = &c->session;
    ctx->cmd = done->cmd;
    ctx->argv = done->argv;
    ctx->argc = done->argc;
    ctx->a.now_ms = home->now_ms;
    dispatch_account(ctx, c, &home->metrics, 1, done->ticks, start);
    if (done->argc > 0)
        monitor_show(home->server, ctx);
}

static void come_home(struct relay *r)
{
    struct conn *c = r->asker;
    struct worker *home = r->home;
    struct relay done = *r;
    struct reply *reply = conn_reply(c);
    size_t start = reply->bytes.n;
    bool gone = c->state == CONN_ZOMBIE;
    reply->errored = false;
    uint64_t t0 = os_ticks();
    r->finish(r, gone ? NULL : c, gone ? NULL : reply);
    done.ticks += os_ticks() - t0;
    home->ctx.reply = reply;
    account(home, c, &done, start);
    arena_release(&done.arena);
    conn_unpark(c);
}

static void deliver(struct worker *w, struct mail *m)
{
    struct relay *r = container_of(m, struct relay, mail);
    if (r->next == w->server->nworkers) {
        come_home(r);
        return;
    }
    r->at = w->conns;
    r->next_here = w->relays;
    w->relays = r;
}

/* True when no connection of this worker is left. */
static bool step(struct relay *r)
{
    uint64_t t0 = os_ticks();
    for (unsigned n = 0; r->at != NULL && n < RELAY_STEP; n++) {
        struct conn *c = r->at;
        r->at = c->next; /* before c may go */
        r->each(r, c);
    }
    r->ticks += os_ticks() - t0;
    return r->at == NULL;
}

bool relay_step_all(struct worker *w)
{
    bool any = w->relays != NULL;
    for (struct relay **at = &w->relays; *at != NULL;) {
        struct relay *r = *at;
        if (!step(r)) {
            at = &r->next_here;
            continue;
        }
        *at = r->next_here;
        r->next++;
        forward(r);
    }
    return any;
}

void relay_move_on(struct worker *w, const struct conn *c)
{
    for (struct relay *r = w->relays; r != NULL; r = r->next_here)
        if (r->at == c)
            r->at = c->next;
}

void relay_start(struct relay *r, struct cmd_ctx *ctx)
{
    struct conn *c = container_of(ctx->session, struct conn, session);
    r->next = 0;
    r->asker = c;
    r->home = c->worker;
    r->cmd = ctx->cmd;
    r->ticks = 0;
    arena_init(&r->arena);
    r->mail.deliver = deliver;
    if (!ctx->in_exec) {
        copy_request(r, ctx);
        conn_park(c, PARK_RELAY);
        forward(r);
        return;
    }
    struct server *s = c->worker->server; /* the gate is up: every worker stands still */
    for (uint32_t i = 0; i < s->nworkers; i++)
        for (struct conn *next, *at = s->workers[i].conns; at != NULL; at = next) {
            next = at->next;
            r->each(r, at);
        }
    r->finish(r, c, ctx->reply);
}
