#include "server/failover.h"

#include "base/log.h"
#include "os/clock.h"
#include "server/handlers.h"
#include "server/repl.h"
#include "server/repl_feed.h"

#include <stdio.h>
#include <string.h>

const char *failover_state_name(const struct failover *f)
{
    static const char *const names[] = {"no-failover", "waiting-for-sync", "failover-in-progress"};
    return names[failover_state(f)];
}

static void set_state(struct failover *f, enum failover_state state)
{
    atomic_store_explicit(&f->state, (int)state, memory_order_release);
}

/* ---- the beginning and the end (gate) ---------------------------------------------------------- */

/* Nothing may change from here on, so that the target can have everything: no write, no expired key. */
static void begin(struct repl *r)
{
    set_state(&r->failover, FAILOVER_WAIT);
    server_care_set(r->server, CARE_FAILOVER, true);
    if (repl_feed_in_step(r, r->failover.host, r->failover.port) == NULL)
        repl_feeds_ask(r);
    repl_wake(r);
}

/* Who was held back executes: here, or is told that this is a replica now. */
static void end(struct repl *r)
{
    struct failover *f = &r->failover;
    set_state(f, FAILOVER_NONE);
    f->refused = f->taken = f->force = false;
    f->host[0] = '\0';
    f->until_ms = 0;
    server_care_set(r->server, CARE_FAILOVER, false);
    lane_retry_held(&r->server->lane);
    workers_wake(r->server);
}

static void give_up(struct repl *r, const char *why)
{
    struct failover *f = &r->failover;
    bool going = failover_state(f) == FAILOVER_GOING;
    log_warning("FAILOVER to %s is given up: %s. This node %s the primary.",
                f->host[0] != '\0' ? f->host : "any replica", why, going ? "is again" : "stays");
    if (going)
        repl_become_primary(r);
    end(r);
}

static void go(struct repl *r, const char *host, int port)
{
    struct failover *f = &r->failover;
    char to[FAILOVER_HOST_MAX];
    snprintf(to, sizeof to, "%s", host);
    snprintf(f->host, sizeof f->host, "%s", to);
    f->port = port;
    set_state(f, FAILOVER_GOING);
    repl_follow_primary(r, str_of(to), port);
    r->named_anew = false; /* it has our data: an empty copy from it would be a mistake */
}

static void step(struct repl *r)
{
    struct failover *f = &r->failover;
    if (failover_state(f) == FAILOVER_GOING && f->refused)
        give_up(r, "the target refuses to take over; its log says why");
    if (failover_state(f) != FAILOVER_WAIT)
        return;
    const struct feed *target = repl_feed_in_step(r, f->host, f->port);
    if (target != NULL) {
        log_notice("FAILOVER: %s has everything and takes over.", target->name);
        go(r, target->ip, target->joiner.port);
    } else if (f->until_ms != 0 && os_wall_ms() >= f->until_ms && f->force) {
        log_warning("FAILOVER: %s:%d does not have everything when time is over; it takes over all the same.",
                    f->host, f->port);
        go(r, f->host, f->port);
    } else if (f->until_ms != 0 && os_wall_ms() >= f->until_ms) {
        give_up(r, "no replica had everything before the time was over");
    }
}

/* ---- the target's side --------------------------------------------------------------------------- */

const char *failover_refusal(const struct repl *r, struct str id)
{
    if (!r->is_replica)
        return "ERR PSYNC FAILOVER can't be sent to a master.";
    if (!r->has_history || !str_eq(id, str_of(r->history.id)))
        return "ERR PSYNC FAILOVER replid must match my replid.";
    return NULL;
}

void failover_claimed(struct repl *r, struct feed *f)
{
    struct failover *fo = &r->failover;
    if (fo->claimant != NULL)
        feed_free(fo->claimant); /* it has asked again: its first connection is broken */
    fo->claimant = f;
}

/* Gate: the role may have changed since it was asked. */
static void take_over(struct repl *r)
{
    struct feed *f = r->failover.claimant;
    f->hands_over = failover_refusal(r, str_of(f->wish.id)) != NULL;
    if (f->hands_over)
        return;
    log_notice("The primary hands its role to this node: failover request from %s.", f->name);
    repl_become_primary(r);
}

/* ---- the thread ------------------------------------------------------------------------------------ */

void failover_answered(struct repl *r, const char *why)
{
    struct failover *f = &r->failover;
    if (failover_state(f) != FAILOVER_GOING)
        return;
    if (why == NULL) {
        log_notice("FAILOVER to %s:%d is done. This node is its replica.", f->host, f->port);
        end(r);
        return;
    }
    /* An answer may have been lost: the target, which had our data, took over when it was asked before. */
    f->taken = strstr(why, "can't be sent to a master") != NULL;
    f->refused = !f->taken;
}

void failover_plan(struct repl *r, struct repl_todo *t)
{
    const struct failover *f = &r->failover;
    t->take_over = f->claimant != NULL;
    t->failover = false;
    if (failover_state(f) == FAILOVER_GOING)
        t->failover = f->refused;
    else if (failover_state(f) == FAILOVER_WAIT)
        t->failover =
            repl_feed_in_step(r, f->host, f->port) != NULL || (f->until_ms != 0 && r->now_ms >= f->until_ms);
}

void failover_outside(struct repl *r)
{
    if (r->todo.failover)
        (void)repl_alone(r, step);
    if (!r->todo.take_over || !repl_alone(r, take_over))
        return;
    repl_round_begin(r);
    struct feed *f = r->failover.claimant;
    r->failover.claimant = NULL;
    repl_feed_arrives(r, f);
    repl_round_end(r);
}

void failover_release(struct repl *r)
{
    feed_free(r->failover.claimant);
}

/* ---- FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds] ---------------------------------- */

struct wish {
    struct str host;
    int64_t port, timeout_ms;
    bool force, abort;
};

static bool parse(struct cmd_ctx *c, struct wish *w)
{
    for (uint32_t i = 1; i < c->argc; i++) {
        if (cmd_arg_is(c, i, STR("TIMEOUT")) && i + 1 < c->argc && w->timeout_ms == 0) {
            if (!cmd_arg_i64(c, ++i, &w->timeout_ms))
                return false;
            if (w->timeout_ms <= 0) {
                reply_error(c->reply, "ERR FAILOVER timeout must be greater than 0");
                return false;
            }
        } else if (cmd_arg_is(c, i, STR("FORCE")) && !w->force) {
            w->force = true;
        } else if (cmd_arg_is(c, i, STR("ABORT")) && !w->abort) {
            w->abort = true;
        } else if (cmd_arg_is(c, i, STR("TO")) && i + 2 < c->argc && w->host.p == NULL) {
            if (!cmd_arg_i64(c, i + 2, &w->port))
                return false;
            w->host = c->argv[i + 1];
            i += 2;
        } else {
            reply_error(c->reply, REPLY_SYNTAX);
            return false;
        }
    }
    return true;
}

/* Why it cannot be; NULL: it can. */
static const char *refusal(struct repl *r, const struct wish *w)
{
    if (failover_state(&r->failover) != FAILOVER_NONE)
        return "ERR FAILOVER already in progress.";
    if (r->is_replica)
        return "ERR FAILOVER is not valid when server is a replica.";
    if (!repl_feeds_any(r))
        return "ERR FAILOVER requires connected replicas.";
    if (w->force && (w->timeout_ms == 0 || w->host.p == NULL))
        return "ERR FAILOVER with force option requires both a timeout and target HOST and IP.";
    if (w->host.p == NULL)
        return NULL;
    const struct feed *f = w->host.n < FAILOVER_HOST_MAX ? repl_feed_find(r, w->host, w->port) : NULL;
    if (f == NULL)
        return "ERR FAILOVER target HOST and PORT is not a replica.";
    if (feed_state(f) != FEED_STREAM)
        return "ERR FAILOVER target replica is not online.";
    return NULL;
}

/* Under the gate. */
void cmd_failover(struct cmd_ctx *c)
{
    struct repl *r = &ctx_server(c)->repl;
    struct failover *f = &r->failover;
    struct wish w = {.port = 0};
    if (c->limits->cluster) {
        reply_error(c->reply,
                    "ERR FAILOVER not allowed in cluster mode. Use CLUSTER FAILOVER command instead.");
        return;
    }
    if (!parse(c, &w))
        return;
    if (w.abort) {
        if (failover_state(f) == FAILOVER_NONE) {
            reply_error(c->reply, "ERR No failover in progress.");
            return;
        }
        give_up(r, "ABORT was said");
        reply_ok(c->reply);
        return;
    }
    const char *no = refusal(r, &w);
    if (no != NULL) {
        reply_error(c->reply, no);
        return;
    }
    if (w.host.p != NULL)
        memcpy(f->host, w.host.p, w.host.n);
    f->host[w.host.n] = '\0';
    f->port = (int)w.port;
    f->force = w.force;
    if (w.timeout_ms == 0 || num_add_overflows(c->a.now_ms, w.timeout_ms, &f->until_ms))
        f->until_ms = 0; /* no end, or one that nobody will see */
    log_notice("FAILOVER is asked for, to %s.", w.host.p != NULL ? f->host : "any replica");
    begin(r);
    reply_ok(c->reply);
}
