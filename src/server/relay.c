#include "server/relay.h"

#include "os/clock.h"
#include "server/server.h"

static void deliver(struct worker *w, struct mail *m);

/* To the next worker, or home. */
static void forward(struct relay *r)
{
    struct server *s = r->home->server;
    worker_mail(r->next < s->nworkers ? &s->workers[r->next] : r->home, &r->mail);
}

static void come_home(struct relay *r)
{
    struct conn *c = r->asker;
    struct worker *home = r->home;
    const struct command *cmd = r->cmd;
    uint64_t ticks = r->ticks;
    struct reply *reply = c->state == CONN_ZOMBIE ? NULL : conn_reply(c);
    size_t start = 0;
    if (reply != NULL) {
        reply->errored = false;
        start = reply->bytes.n;
    }
    r->finish(r, reply != NULL ? c : NULL, reply);
    bool failed = reply != NULL && reply->errored;
    metrics_record(&home->metrics, cmd, 1, ticks, failed);
    if (failed) {
        counter_add(&home->metrics.error_replies, 1);
        stats_note_error(home->server, reply, start);
    }
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
    r->mail.deliver = deliver;
    if (!ctx->in_exec) {
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
