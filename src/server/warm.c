/* CACHE.WARM, and the life of the thread; what it does is warm_peer.c. */
#include "server/warm.h"

#include "base/err.h"
#include "os/clock.h"
#include "os/thread.h"
#include "server/crash.h"
#include "server/handlers.h"
#include "server/warm_internal.h"

#include <stdio.h>

static const char *const state_names[] = {"cold", "running", "warm", "full", "cancelled", "failed"};

/* ---- CACHE.WARM ------------------------------------------------------------------------------------------
 */

#define USAGE "ERR cache.warm takes PEER host port [TOP n] [RATE n], STATUS, or CANCEL"

static void put(struct reply *r, const char *name, uint64_t v)
{
    reply_cstr(r, name);
    reply_int(r, (int64_t)v);
}

static void reply_status_of(struct warm *w, struct reply *r)
{
    char from[300] = "";
    if (w->port != 0)
        snprintf(from, sizeof from, "%s:%u", w->host, w->port);
    int64_t end = w->state == WARM_RUNNING ? os_wall_ms() : w->ended_ms;
    reply_map(r, 10);
    reply_cstr(r, "state");
    reply_cstr(r, state_names[w->state]);
    reply_cstr(r, "from");
    reply_cstr(r, from);
    put(r, "seen", w->counts.seen);
    put(r, "installed", w->counts.installed);
    put(r, "present", w->counts.present);
    put(r, "elsewhere", w->counts.elsewhere);
    put(r, "overtaken", w->counts.overtaken);
    put(r, "gone", w->counts.gone);
    put(r, "elapsed", end > w->began_ms ? (uint64_t)(end - w->began_ms) : 0);
    reply_cstr(r, "error");
    reply_cstr(r, w->error);
}

static bool parse_number(struct cmd_ctx *c, uint32_t i, const char *option, uint64_t *out)
{
    int64_t v;
    if (i + 1 < c->argc && num_parse_i64(c->argv[i + 1], &v) && v >= 1 && v <= INT32_MAX) {
        *out = (uint64_t)v;
        return true;
    }
    reply_errorf(c->reply, "ERR %s takes a number of keys from 1 to %d: %s 1000", option, INT32_MAX, option);
    return false;
}

static bool parse_peer(struct cmd_ctx *c, struct warm *w)
{
    int64_t port;
    if (c->argc < 4 || c->argc % 2 != 0) {
        reply_error(c->reply, USAGE);
        return false;
    }
    if (!num_parse_i64(c->argv[3], &port) || port < 1 || port > 65535) {
        reply_error(c->reply, "ERR the peer's port is a number from 1 to 65535");
        return false;
    }
    if (c->argv[2].n == 0 || c->argv[2].n >= sizeof w->host ||
        memchr(c->argv[2].p, '\0', c->argv[2].n) != NULL) {
        reply_error(c->reply, "ERR the peer's host is a name or an address, no longer than 255 bytes");
        return false;
    }
    w->rate = WARM_RATE;
    for (uint32_t i = 4; i < c->argc; i += 2) {
        bool top = cmd_arg_is(c, i, STR("TOP"));
        if (!top && !cmd_arg_is(c, i, STR("RATE"))) {
            reply_error(c->reply, USAGE);
            return false;
        }
        if (!parse_number(c, i, top ? "TOP" : "RATE", top ? &w->top : &w->rate))
            return false;
    }
    memcpy(w->host, c->argv[2].p, c->argv[2].n);
    w->host[c->argv[2].n] = '\0';
    w->port = (uint16_t)port;
    return true;
}

/* The mutex. */
static void begin(struct cmd_ctx *c, struct warm *w)
{
    struct warm next = {.top = 0};
    if (w->state == WARM_RUNNING) {
        reply_errorf(c->reply,
                     "ERR this node is being warmed from %s:%u already; CACHE.WARM CANCEL ends that", w->host,
                     w->port);
        return;
    }
    if (atomic_load_explicit(&ctx_server(c)->care, memory_order_relaxed) & CARE_REPLICA) {
        reply_error(c->reply, "ERR a replica has what its primary has; warm that one");
        return;
    }
    if (!parse_peer(c, &next))
        return;
    memcpy(w->host, next.host, sizeof w->host);
    w->port = next.port;
    w->top = next.top;
    w->rate = next.rate;
    w->counts = (struct warm_counts){.seen = 0};
    w->error[0] = '\0';
    w->state = WARM_RUNNING;
    w->began_ms = os_wall_ms();
    w->ended_ms = 0;
    w->wanted = true;
    atomic_store(&w->halt, w->stop);
    pthread_cond_signal(&w->more);
    reply_ok(c->reply);
}

static void cancel(struct cmd_ctx *c, struct warm *w)
{
    if (w->state != WARM_RUNNING) {
        reply_error(c->reply, "ERR this node is not being warmed; there is nothing to cancel");
        return;
    }
    atomic_store(&w->halt, true);
    pthread_cond_signal(&w->more);
    reply_ok(c->reply);
}

void cmd_cache_warm(struct cmd_ctx *c)
{
    struct warm *w = &ctx_server(c)->warm;
    pthread_mutex_lock(&w->mutex);
    if (cmd_arg_is(c, 1, STR("STATUS")) && c->argc == 2)
        reply_status_of(w, c->reply);
    else if (cmd_arg_is(c, 1, STR("CANCEL")) && c->argc == 2)
        cancel(c, w);
    else if (cmd_arg_is(c, 1, STR("PEER")))
        begin(c, w);
    else
        reply_error(c->reply, USAGE);
    pthread_mutex_unlock(&w->mutex);
}

/* ---- the thread ------------------------------------------------------------------------------------------
 */

const char *warm_state_name(struct warm *w)
{
    pthread_mutex_lock(&w->mutex);
    bool replica = atomic_load_explicit(&w->server->care, memory_order_relaxed) & CARE_REPLICA;
    const char *name = state_names[w->state == WARM_COLD && replica ? WARM_WARM : w->state];
    pthread_mutex_unlock(&w->mutex);
    return name;
}

static void *warm_main(void *arg)
{
    struct warm *w = arg;
    pthread_setname_np(pthread_self(), "warm");
    crash_thread_begin();
    pthread_mutex_lock(&w->mutex);
    while (!w->stop) {
        if (!w->wanted) {
            pthread_cond_wait(&w->more, &w->mutex);
            continue;
        }
        w->wanted = false;
        pthread_mutex_unlock(&w->mutex);
        enum warm_state end = warm_from_peer(w);
        pthread_mutex_lock(&w->mutex);
        w->state = end;
        w->ended_ms = os_wall_ms();
    }
    pthread_mutex_unlock(&w->mutex);
    crash_thread_end();
    return NULL;
}

static void block_ref(struct block *b)
{
    block_get(b);
}

static void block_unref(struct block *b)
{
    block_put(b);
}

void warm_init(struct warm *w, struct server *s)
{
    w->server = s;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->more, NULL);
    arena_init(&w->arena);
    reply_init(&w->reply, block_ref, block_unref);
    w->session.proto = 2;
    w->session.authenticated = true;
}

int warm_start(struct warm *w, bool has_data)
{
    w->state = has_data ? WARM_WARM : WARM_COLD;
    int rc = os_thread_start(&w->thread, warm_main, w);
    w->started = rc == 0;
    return rc;
}

void warm_end(struct warm *w)
{
    if (!w->started)
        return;
    pthread_mutex_lock(&w->mutex);
    w->stop = true;
    atomic_store(&w->halt, true);
    pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->mutex);
    pthread_join(w->thread, NULL);
    w->started = false;
}

void warm_release(struct warm *w)
{
    if (w->server == NULL)
        return;
    reply_release(&w->reply);
    arena_release(&w->arena);
    pthread_mutex_destroy(&w->mutex);
    pthread_cond_destroy(&w->more);
}
