/* CACHE.WARM, and the life of the thread; what it does is warm_peer.c. */
#include "server/warm.h"

#include "base/alloc.h"
#include "base/log.h"
#include "cmd/cache_options.h"
#include "os/clock.h"
#include "os/thread.h"
#include "server/crash.h"
#include "server/handlers.h"
#include "server/warm_internal.h"

#include <stdio.h>

static const char *const state_names[] = {"cold", "running", "warm", "full", "cancelled", "failed"};

/* ---- CACHE.WARM ------------------------------------------------------------------------------ */

#define USAGE                                                                                                \
    "ERR cache.warm takes PEER host port, SNAPSHOT path or KEYS file, each with [TOP n] [RATE n], the "      \
    "first two "                                                                                             \
    "with [KEYS file], too; or STATUS, or CANCEL"

static void put(struct reply *r, const char *name, uint64_t v)
{
    reply_cstr(r, name);
    reply_int(r, (int64_t)v);
}

static void put_from(const struct warm_request *q, char *out, size_t n)
{
    if (q->source == WARM_PEER && q->port != 0)
        snprintf(out, n, "%s:%u", q->name, q->port);
    else
        snprintf(out, n, "%s", q->name);
}

static void put_id(const struct warm *w, char out[WARM_JOB_ID])
{
    snprintf(out, WARM_JOB_ID, "%s:w%llu", w->server->run_id, (unsigned long long)w->number);
}

static void reply_status_of(struct warm *w, struct reply *r)
{
    char from[WARM_NAME + 16], id[WARM_JOB_ID];
    put_from(&w->request, from, sizeof from);
    put_id(w, id);
    int64_t end = w->state == WARM_RUNNING ? os_wall_ms() : w->ended_ms;
    reply_map(r, 11);
    reply_cstr(r, "job");
    if (w->number != 0)
        reply_cstr(r, id);
    else
        reply_null(r);
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

static bool refuse(struct cmd_ctx *c, const char *text)
{
    reply_error(c->reply, text);
    return false;
}

static bool parse_number(struct cmd_ctx *c, uint32_t i, const char *option, uint64_t *out)
{
    int64_t v;
    if (num_parse_i64(c->argv[i], &v) && v >= 1 && v <= INT32_MAX) {
        *out = (uint64_t)v;
        return true;
    }
    reply_errorf(c->reply, "ERR %s takes a number of keys from 1 to %d: %s 1000", option, INT32_MAX, option);
    return false;
}

static bool take_text(struct str s, char *out, size_t max)
{
    if (s.n == 0 || s.n >= max || memchr(s.p, '\0', s.n) != NULL)
        return false;
    memcpy(out, s.p, s.n);
    out[s.n] = '\0';
    return true;
}

static bool parse_peer(struct cmd_ctx *c, struct warm_request *q)
{
    int64_t port;
    if (c->argc < 4)
        return refuse(c, USAGE);
    if (!num_parse_i64(c->argv[3], &port) || port < 1 || port > 65535)
        return refuse(c, "ERR the peer's port is a number from 1 to 65535");
    if (!take_text(c->argv[2], q->name, WARM_HOST))
        return refuse(c, "ERR the peer's host is a name or an address, no longer than 255 bytes");
    q->port = (uint16_t)port;
    return true;
}

static bool parse_snapshot(struct cmd_ctx *c, struct warm_request *q)
{
    q->source = WARM_SNAPSHOT;
    if (c->argc < 3)
        return refuse(c, USAGE);
    return take_text(c->argv[2], q->name, sizeof q->name) ||
           refuse(c, "ERR SNAPSHOT takes the path of a file, of 1 to 1023 bytes: SNAPSHOT dump.rdb");
}

/* Without a source of its own: the file that this node saves to. */
static bool parse_keys(struct cmd_ctx *c, struct warm_request *q)
{
    q->source = WARM_SNAPSHOT;
    return take_text(str_of(ctx_server(c)->config.dbfilename), q->name, sizeof q->name) ||
           refuse(c, "ERR dbfilename is too long; name the file: CACHE.WARM SNAPSHOT path KEYS file");
}

static bool parse_option(struct cmd_ctx *c, uint32_t i, struct warm_request *q, uint64_t *rate)
{
    bool top = cmd_arg_is(c, i, STR("TOP")), keys = cmd_arg_is(c, i, STR("KEYS"));
    if (i + 1 == c->argc || (!top && !keys && !cmd_arg_is(c, i, STR("RATE"))))
        return refuse(c, USAGE);
    if (keys ? q->list[0] != '\0' : (top ? q->top : *rate) != 0)
        return cache_refuse_twice(c, keys ? "KEYS" : top ? "TOP" : "RATE");
    if (keys)
        return take_text(c->argv[i + 1], q->list, sizeof q->list) ||
               refuse(c, "ERR KEYS takes the path of a file that names a key a line, of 1 to 1023 bytes");
    return parse_number(c, i + 1, top ? "TOP" : "RATE", top ? &q->top : rate);
}

static bool parse(struct cmd_ctx *c, struct warm_request *q)
{
    uint32_t i = 3;
    uint64_t rate = 0;
    bool ok;
    if (cmd_arg_is(c, 1, STR("PEER"))) {
        i = 4;
        ok = parse_peer(c, q);
    } else if (cmd_arg_is(c, 1, STR("SNAPSHOT"))) {
        ok = parse_snapshot(c, q);
    } else if (cmd_arg_is(c, 1, STR("KEYS"))) {
        i = 1;
        ok = parse_keys(c, q);
    } else {
        ok = refuse(c, USAGE);
    }
    for (; ok && i < c->argc; i += 2)
        ok = parse_option(c, i, q, &rate);
    q->rate = rate != 0 ? rate : WARM_RATE;
    return ok;
}

/* The mutex. */
static void begin(struct cmd_ctx *c, struct warm *w, const struct warm_request *q)
{
    if (w->state == WARM_RUNNING) {
        reply_error(c->reply, "ERR this node is being warmed already; CACHE.WARM STATUS shows from where, "
                              "CACHE.WARM CANCEL ends that");
        return;
    }
    if (atomic_load_explicit(&ctx_server(c)->care, memory_order_relaxed) & CARE_REPLICA) {
        reply_error(c->reply, "ERR a replica has what its primary has; warm that one");
        return;
    }
    w->request = *q;
    w->number++;
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

/* The mutex. */
static bool cancel(struct warm *w)
{
    if (w->state != WARM_RUNNING)
        return false;
    atomic_store(&w->halt, true);
    pthread_cond_signal(&w->more);
    return true;
}

static void reply_cancelled(struct reply *r, bool done)
{
    if (done)
        reply_ok(r);
    else
        reply_error(r, "ERR this node is not being warmed; there is nothing to cancel");
}

void cmd_cache_warm(struct cmd_ctx *c)
{
    struct warm *w = &ctx_server(c)->warm;
    struct warm_request q = {.source = WARM_PEER};
    bool status = cmd_arg_is(c, 1, STR("STATUS")) && c->argc == 2,
         ends = cmd_arg_is(c, 1, STR("CANCEL")) && c->argc == 2;
    if (!status && !ends && !parse(c, &q))
        return;
    pthread_mutex_lock(&w->mutex);
    if (status)
        reply_status_of(w, c->reply);
    else if (ends)
        reply_cancelled(c->reply, cancel(w));
    else
        begin(c, w, &q);
    pthread_mutex_unlock(&w->mutex);
}

/* ---- for CACHE.JOB --------------------------------------------------------------------------- */

bool warm_job(struct warm *w, struct warm_job *out)
{
    pthread_mutex_lock(&w->mutex);
    bool there = w->number != 0;
    if (there) {
        put_id(w, out->id);
        put_from(&w->request, out->from, sizeof out->from);
        out->state = w->state == WARM_WARM || w->state == WARM_FULL ? "done" : state_names[w->state];
        out->rate = w->request.rate;
        out->installed = w->counts.installed;
        out->began_ms = w->began_ms;
    }
    pthread_mutex_unlock(&w->mutex);
    return there;
}

bool warm_cancel(struct warm *w)
{
    pthread_mutex_lock(&w->mutex);
    bool done = cancel(w);
    pthread_mutex_unlock(&w->mutex);
    return done;
}

/* ---- the thread ------------------------------------------------------------------------------ */

const char *warm_state_name(struct warm *w)
{
    pthread_mutex_lock(&w->mutex);
    bool replica = atomic_load_explicit(&w->server->care, memory_order_relaxed) & CARE_REPLICA;
    const char *name = state_names[w->state == WARM_COLD && replica ? WARM_WARM : w->state];
    pthread_mutex_unlock(&w->mutex);
    return name;
}

static enum warm_state run(struct warm *w)
{
    char from[WARM_NAME + 16];
    struct walk *k = mem_zalloc(sizeof *k);
    if (k == NULL)
        return WARM_FAILED;
    put_from(&w->request, from, sizeof from);
    log_notice("Warming from %s.", from);
    k->w = w;
    buf_init(&k->names);
    if (w->request.source == WARM_PEER)
        warm_from_peer(k);
    else
        warm_from_snapshot(k);
    enum warm_state end = atomic_load(&w->halt) ? WARM_CANCELLED
                          : k->failed           ? WARM_FAILED
                          : k->full             ? WARM_FULL
                                                : WARM_WARM;
    log_notice("Warming from %s has ended: %llu keys are here because of it%s%s.", from,
               (unsigned long long)w->counts.installed, k->failed ? "; " : "", k->failed ? w->error : "");
    buf_release(&k->names);
    mem_free(k);
    return end;
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
        enum warm_state end = run(w);
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
    pthread_mutex_lock(&w->mutex); /* clients are served already */
    if (w->number == 0)
        w->state = has_data ? WARM_WARM : WARM_COLD;
    pthread_mutex_unlock(&w->mutex);
    return os_thread_start(&w->thread, &w->started, warm_main, w);
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
