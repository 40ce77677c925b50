#include "server/cache_wait.h"

#include "base/alloc.h"
#include "cache/cache.h"
#include "cmd/effect.h"
#include "os/clock.h"
#include "server/dispatch.h"
#include "server/handlers.h"
#include "server/route.h"

enum { BUSY_MS = 1 /* a shard is the lane's: look again then */ };

struct cache_parked {
    struct waiter waiter;
    struct mail mail; /* wake(): the way home */
    struct cache_parked *next, *prev;
    struct worker *home;
    struct conn *conn;
    int64_t look_ms;
    bool parks;     /* it has just been told to wait (again) */
    bool unblocked; /* by CLIENT UNBLOCK, and is to be told */
    bool mute, asking;
    const struct command *cmd;
    struct str *argv; /* in the arena */
    uint32_t argc;
    struct arena arena;
};

static void set_look(struct cache_parked *p, int64_t at_ms)
{
    p->look_ms = at_ms;
    if (at_ms < p->home->parked_due_ms)
        p->home->parked_due_ms = at_ms;
}

static void link_parked(struct cache_parked *p)
{
    struct worker *w = p->home;
    p->next = w->parked;
    if (w->parked != NULL)
        w->parked->prev = p;
    w->parked = p;
    atomic_fetch_add_explicit(&w->npaused, 1, memory_order_relaxed);
}

static void free_parked(struct cache_parked *p)
{
    struct worker *w = p->home;
    if (p->prev != NULL)
        p->prev->next = p->next;
    else
        w->parked = p->next;
    if (p->next != NULL)
        p->next->prev = p->prev;
    atomic_fetch_sub_explicit(&w->npaused, 1, memory_order_relaxed);
    p->conn->parked_on = NULL;
    arena_release(&p->arena);
    mem_free(p);
}

/* ---- running the request again ---------------------------------------------------------------------- */

/* The worker's context, aimed at the request. Its locks are the caller's business. */
static bool aim(struct worker *w, struct cache_parked *p)
{
    struct cmd_ctx *c = &w->ctx;
    arena_reset(&w->arena);
    c->session = &p->conn->session;
    c->cmd = p->cmd;
    c->argv = p->argv;
    c->argc = p->argc;
    c->a.now_ms = os_wall_ms();
    c->a.no_touch = p->conn->session.no_touch;
    return dispatch_hash_keys(c, false);
}

/* False: the shard is busy. */
static bool decline(struct worker *w, struct cache_parked *p)
{
    struct cmd_ctx *c = &w->ctx;
    if (p->waiter.token == 0 || !aim(w, p))
        return true;
    uint32_t shard = key_shard(&c->keys[0]);
    if (!store_lock_one(c->a.store, shard))
        return false;
    cache_decline(c->cache, &c->a, &c->keys[0], p->waiter.token);
    store_unlock_one(c->a.store, shard);
    return true;
}

/* The waiter is in no record: reply, or wait again. False: the shard is busy, or the slot is held. */
static bool run_again(struct worker *w, struct cache_parked *p)
{
    struct cmd_ctx *c = &w->ctx;
    struct conn *conn = p->conn;
    c->reply = conn_reply(conn);
    c->reply->mute = p->mute;
    p->parks = false;
    uint64_t t0 = os_ticks();
    size_t before = reply_size(c->reply), start = c->reply->bytes.n;
    c->reply->errored = false;
    if (p->unblocked) {
        reply_error(c->reply, "UNBLOCKED client unblocked via CLIENT UNBLOCK");
    } else if (!aim(w, p)) {
        cmd_reply_err(c, ERR_OOM);
    } else {
        uint32_t shard = key_shard(&c->keys[0]);
        if (!store_lock_one(c->a.store, shard)) {
            c->reply->mute = false;
            return false;
        }
        const struct cluster_view *v = server_view(conn->worker->server);
        conn->session.asking = p->asking; /* it still is that one command */
        bool allowed = v == NULL || route_allows(c, v, true);
        conn->session.asking = false;
        if (c->again) { /* its slot changes hands just now */
            c->again = c->reply->mute = false;
            store_unlock_one(c->a.store, shard);
            return false;
        }
        if (allowed) {
            c->waiter = &p->waiter;
            c->cmd->fn(c);
            c->waiter = NULL;
            if (unlikely(server_counts_slots(w->server)))
                slot_stats_note_more(&w->server->slot_stats, w->index, c->keys[0].slot, os_ticks() - t0,
                                     reply_size(c->reply) - before);
        }
        store_unlock_one(c->a.store, shard);
    }
    if (c->reply->errored)
        dispatch_note_error(c, w->server, &w->metrics, start);
    c->reply->mute = false;
    if (!p->parks) {
        free_parked(p);
        conn_unpark(conn);
    }
    return true;
}

/* Its waiter is in no record any more. */
static void go_on(struct worker *w, struct cache_parked *p)
{
    struct conn *conn = p->conn;
    if (conn->state != CONN_ZOMBIE) {
        if (!run_again(w, p))
            set_look(p, w->now_ms + BUSY_MS);
        return;
    }
    if (!decline(w, p)) {
        set_look(p, w->now_ms + BUSY_MS);
        return;
    }
    free_parked(p);
    conn_unpark(conn);
}

static void come_home(struct worker *w, struct mail *m)
{
    struct cache_parked *p = container_of(m, struct cache_parked, mail);
    p->waiter.wake = NULL; /* it has arrived */
    go_on(w, p);
}

static void wake(struct waiter *waiter)
{
    struct cache_parked *p = container_of(waiter, struct cache_parked, waiter);
    worker_mail(p->home, &p->mail);
}

/* ---- parking --------------------------------------------------------------------------------- */

static struct cache_parked *parked_new(struct cmd_ctx *c, int64_t wait_ms)
{
    struct conn *conn = ctx_conn(c);
    struct cache_parked *p = mem_zalloc(sizeof *p);
    if (p == NULL)
        return NULL;
    arena_init(&p->arena);
    p->argv = arena_alloc(&p->arena, c->argc * sizeof *p->argv);
    for (uint32_t i = 0; p->argv != NULL && i < c->argc; i++) {
        p->argv[i] = arena_copy(&p->arena, c->argv[i]);
        if (p->argv[i].p == NULL)
            p->argv = NULL;
    }
    if (p->argv == NULL) {
        arena_release(&p->arena);
        mem_free(p);
        return NULL;
    }
    p->argc = c->argc;
    p->cmd = c->cmd;
    p->conn = conn;
    p->home = conn->worker;
    p->mute = c->reply->mute;
    p->asking = conn->session.asking;
    p->mail.deliver = come_home;
    p->waiter.until_ms = c->a.now_ms + wait_ms;
    link_parked(p);
    conn->parked_on = p;
    conn_park(conn, PARK_LEASE);
    return p;
}

struct waiter *cache_wait_park(struct cmd_ctx *c, int64_t wait_ms)
{
    struct cache_parked *p =
        c->waiter != NULL ? container_of(c->waiter, struct cache_parked, waiter) : parked_new(c, wait_ms);
    if (p == NULL)
        return NULL;
    p->parks = true;
    p->waiter.wake = wake;
    set_look(p, c->a.now_ms); /* cache_look() will say when really */
    return &p->waiter;
}

/* ---- the timer
 * ---------------------------------------------------------------------------------------------- */

static void look(struct worker *w, struct cache_parked *p)
{
    struct access *a = &w->ctx.a;
    int64_t next;
    a->now_ms = os_wall_ms();
    if (p->waiter.wake == NULL) { /* home already, but its shard was busy */
        p->look_ms = INT64_MAX;
        worker_mail(w, &p->mail);
        return;
    }
    if (!store_lock_one(a->store, p->waiter.shard)) {
        set_look(p, a->now_ms + BUSY_MS);
        return;
    }
    enum cache_look found = cache_look(w->server->cache, a, &p->waiter, &next);
    store_unlock_one(a->store, p->waiter.shard);
    set_look(p, found == LOOK_AGAIN ? next : INT64_MAX);
    if (found == LOOK_OVER)
        worker_mail(w, &p->mail); /* runs when this list is not being walked */
}

void cache_wait_look(struct worker *w)
{
    int64_t now = w->now_ms;
    w->parked_due_ms = INT64_MAX;
    for (struct cache_parked *p = w->parked, *next; p != NULL; p = next) {
        next = p->next;
        if (p->look_ms <= now)
            look(w, p);
        else if (p->look_ms < w->parked_due_ms)
            w->parked_due_ms = p->look_ms;
    }
}

/* ---- the end
 * -------------------------------------------------------------------------------------------------- */

bool cache_wait_cancel(struct conn *c)
{
    struct cache_parked *p = c->parked_on;
    struct worker *w = c->worker;
    bool left = false;
    if (p->waiter.wake != NULL && store_lock_one(w->server->store, p->waiter.shard)) {
        left = cache_leave(w->server->cache, &w->ctx.a, &p->waiter);
        store_unlock_one(w->server->store, p->waiter.shard);
    }
    if (left)
        free_parked(p);
    return left;
}

bool cache_wait_end(struct conn *c, bool by_error)
{
    struct cache_parked *p = c->parked_on;
    struct worker *w = c->worker;
    if (p->waiter.wake == NULL || !store_lock_one(w->server->store, p->waiter.shard))
        return false;
    bool left = cache_leave(w->server->cache, &w->ctx.a, &p->waiter);
    store_unlock_one(w->server->store, p->waiter.shard);
    if (!left)
        return false;
    p->waiter.until_ms = 0;
    p->unblocked = by_error;
    p->look_ms = INT64_MAX;
    worker_mail(w, &p->mail);
    return true;
}

void cache_wait_drop(struct worker *w)
{
    while (w->parked != NULL)
        free_parked(w->parked);
}
