#include "server/lane.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"
#include "cache/cache.h"
#include "cmd/effect.h"
#include "os/clock.h"
#include "os/random.h"
#include "os/thread.h"
#include "server/crash.h"
#include "server/dispatch.h"
#include "server/route.h"
#include "server/server.h"

#include <stdio.h>

int lane_init(struct lane *l, struct server *s)
{
    memset(l, 0, sizeof *l);
    l->server = s;
    l->tail = &l->head;
    l->held_tail = &l->held;
    pthread_mutex_init(&l->mutex, NULL);
    pthread_cond_init(&l->more, NULL);
    pthread_cond_init(&l->called, NULL);
    unit_init(&l->unit, &s->repl.log, s->nworkers);
    uint64_t seed;
    os_random(&seed, sizeof seed);
    rng_init(&l->rng, seed);
    l->app = store_appender(s->store, s->nworkers);
    l->ctx = (struct cmd_ctx){.a = {.store = s->store, .app = l->app, .lane = true},
                              .rng = &l->rng,
                              .counters = &l->counters,
                              .limits = &s->limits,
                              .cache = s->cache,
                              .serves_key = route_allows_key,
                              .host = l};
    return metrics_init(&l->metrics);
}

void lane_release(struct lane *l)
{
    metrics_release(&l->metrics);
    pthread_cond_destroy(&l->more);
    pthread_cond_destroy(&l->called);
    unit_release(&l->unit);
    pthread_mutex_destroy(&l->mutex);
}

/* ---- jobs --------------------------------------------------------------------------------- */

static void job_free(struct lane_job *job)
{
    reply_release(&job->reply);
    arena_release(&job->arena);
    mem_free(job);
}

static void deliver_home(struct worker *w, struct mail *m)
{
    struct lane_job *job = container_of(m, struct lane_job, mail);
    dispatch_job_done(job->conn, job);
    job_free(job);
}

struct lane_job *lane_job_new(struct conn *c, const struct command *cmd, const struct str *argv,
                              uint32_t argc, enum lane_mode mode)
{
    struct lane_job *job = mem_zalloc(sizeof *job);
    if (job == NULL)
        return NULL;
    arena_init(&job->arena);
    struct reply *to = conn_reply(c);
    reply_init(&job->reply, to->block_get, to->block_put);
    job->reply.proto = to->proto;
    job->reply.mute = to->mute;
    job->reply.limit = to->limit;
    job->conn = c;
    job->home = c->worker;
    job->mail.deliver = deliver_home;
    job->mode = mode;
    job->cmd = cmd;
    job->argc = argc;
    job->argv = arena_alloc(&job->arena, argc * sizeof *argv);
    for (uint32_t i = 0; job->argv != NULL && i < argc; i++) {
        job->argv[i] = arena_copy(&job->arena, argv[i]);
        if (job->argv[i].p == NULL)
            job->argv = NULL;
    }
    if (job->argv == NULL) {
        job_free(job);
        return NULL;
    }
    return job;
}

/* With the mutex. */
static void queue_job(struct lane *l, struct lane_job *job)
{
    *l->tail = job;
    l->tail = &job->next;
    pthread_cond_signal(&l->more);
}

void lane_submit(struct lane *l, struct lane_job *job)
{
    conn_park(job->conn, PARK_LANE);
    pthread_mutex_lock(&l->mutex);
    queue_job(l, job);
    pthread_mutex_unlock(&l->mutex);
}

/* With the mutex. */
static void queue_job_first(struct lane *l, struct lane_job *job)
{
    job->next = l->head;
    l->head = job;
    if (job->next == NULL)
        l->tail = &job->next;
    pthread_cond_signal(&l->more);
}

static bool call(struct lane *l, struct lane_job job, void (*queue)(struct lane *l, struct lane_job *job))
{
    pthread_mutex_lock(&l->mutex);
    if (!l->stop)
        queue(l, &job);
    while (!l->stop && !job.done)
        pthread_cond_wait(&l->called, &l->mutex);
    ASSERT(job.done || l->stop);
    pthread_mutex_unlock(&l->mutex);
    return job.done;
}

bool lane_call(struct lane *l, void (*fn)(void *arg), void *arg)
{
    return call(l, (struct lane_job){.call = fn, .arg = arg}, queue_job);
}

bool lane_call_shared(struct lane *l, void (*fn)(void *arg), void *arg)
{
    return call(l, (struct lane_job){.call = fn, .arg = arg, .shared = true}, queue_job);
}

bool lane_call_next(struct lane *l, void (*fn)(void *arg), void *arg)
{
    return call(l, (struct lane_job){.call = fn, .arg = arg}, queue_job_first);
}

void lane_post(struct lane *l, struct lane_job *job, struct loop *wake)
{
    job->shared = true;
    job->wake = wake;
    pthread_mutex_lock(&l->mutex);
    job->done = false;
    job->next = NULL;
    queue_job(l, job);
    pthread_mutex_unlock(&l->mutex);
}

bool lane_is_done(struct lane *l, const struct lane_job *job)
{
    pthread_mutex_lock(&l->mutex);
    bool done = job->done;
    pthread_mutex_unlock(&l->mutex);
    return done;
}

/* What it has published goes to replicas before anybody hears of it. */
static void hand_fresh(struct lane *l)
{
    struct repl *r = &l->server->repl;
    if (!unit_take_fresh(&l->unit))
        return;
    if (!repl_hand(r, l->unit.last_end, false))
        repl_wake(r); /* it has a next round */
    repl_tell(r, l->unit.last_end);
}

static void run_call(struct lane *l, struct lane_job *job)
{
    struct gate *gate = &l->server->gate;
    if (!job->shared)
        gate_raise(gate);
    job->call(job->arg);
    if (!job->shared)
        gate_lower(gate);
    hand_fresh(l);
    pthread_mutex_lock(&l->mutex);
    struct loop *wake = job->wake;
    job->done = true; /* and no more ours */
    pthread_cond_broadcast(&l->called);
    pthread_mutex_unlock(&l->mutex);
    if (wake != NULL)
        loop_wake(wake);
}

/* ---- waiting for a busy shard ----------------------------------------------------------------- */

static void deliver_wake(struct worker *w, struct mail *m)
{
    conn_unpark(container_of(m, struct conn, wake));
}

bool lane_wait_busy(struct lane *l, struct conn *c, const struct lockset *needed)
{
    bool busy = false;
    pthread_mutex_lock(&l->mutex);
    for (uint32_t i = 0; i < needed->n && !busy; i++)
        busy = store_shard_busy(l->server->store, needed->shard[i]);
    if (busy) {
        conn_park(c, PARK_BUSY);
        c->wake.deliver = deliver_wake;
        c->park_next = l->waiters;
        l->waiters = c;
    }
    pthread_mutex_unlock(&l->mutex);
    return busy;
}

/* The shards are free again: everybody who waited for any of them tries once more,
 * the longest waiting first. */
void lane_wake_waiters(struct lane *l)
{
    pthread_mutex_lock(&l->mutex);
    struct conn *c = l->waiters, *oldest = NULL;
    l->waiters = NULL;
    pthread_mutex_unlock(&l->mutex);
    while (c != NULL) {
        struct conn *next = c->park_next;
        c->park_next = oldest;
        oldest = c;
        c = next;
    }
    while (oldest != NULL) {
        struct conn *next = oldest->park_next;
        oldest->park_next = NULL;
        worker_mail(oldest->worker, &oldest->wake);
        oldest = next;
    }
}

/* ---- the thread --------------------------------------------------------------------------------- */

static void run_exclusive(struct lane *l, struct lane_job *job)
{
    struct gate *gate = &l->server->gate;
    uint64_t t0 = os_ticks();
    gate_raise(gate);
    uint64_t ms = os_ticks_to_ns(os_ticks() - t0) / 1000000;
    dispatch_run_job(job, &l->ctx, &l->metrics);
    gate_lower(gate);
    int64_t threshold = l->server->config.latency_monitor_threshold;
    if (threshold > 0 && ms >= (uint64_t)threshold)
        latency_add(&l->server->latency, LATENCY_GATE, l->ctx.a.now_ms / 1000, ms);
}

static void leave_shards(struct lane *l)
{
    struct store *s = l->server->store;
    l->holds = false;
    if (l->again)
        store_busy_rest(s, &l->lent);
    store_busy_leave(s, l->again ? &l->mine : &l->job->locks);
    l->again = false;
    lane_wake_waiters(l);
}

static void enter_again(struct lane *l, const struct lane_job *job)
{
    ASSERT(!l->holds && !l->again);
    lockset_init(&l->mine);
    lockset_init(&l->lent);
    store_busy_again(l->server->store, &job->locks, &l->mine, &l->lent);
    l->holds = l->again = true;
}

/* The command goes on with what it holds references to. What it has removed on the way (expired keys) takes
 * its place in the log while the shards are still ours. */
static void let_go(struct cmd_ctx *c)
{
    struct lane *l = c->host;
    ASSERT(l->holds);
    c->let_go = NULL;
    effect_reserve(c);
    effect_publish(c);
    effect_open(c);
    leave_shards(l);
}

static void take_back(struct cmd_ctx *c)
{
    struct lane *l = c->host;
    c->take_back = NULL; /* once */
    enter_again(l, l->job);
}

static void run_busy(struct lane *l, struct lane_job *job)
{
    l->holds = l->again = false;
    if (job->freed) {
        enter_again(l, job);
    } else {
        store_busy_enter(l->server->store, &job->locks);
        l->holds = true;
    }
    l->ctx.let_go = job->exec ? NULL : let_go; /* a transaction is one piece */
    l->ctx.take_back = take_back;
    dispatch_run_job(job, &l->ctx, &l->metrics);
    l->ctx.let_go = NULL;
    if (l->holds)
        leave_shards(l);
}

/* A view in which nothing is held was put in place before lane_retry_held() was called, and one in which
 * something is will be followed by another call; so for pauses. So none is missed. */
static void hold(struct lane *l, struct lane_job *job)
{
    const struct server *s = l->server;
    job->held = false;
    job->freed = true;
    job->next = NULL;
    pthread_mutex_lock(&l->mutex);
    const struct cluster_view *v = server_view(s);
    if ((v != NULL && v->holds) || server_is_paused(s)) {
        *l->held_tail = job;
        l->held_tail = &job->next;
    } else {
        queue_job(l, job);
    }
    pthread_mutex_unlock(&l->mutex);
}

void lane_retry_held(struct lane *l)
{
    pthread_mutex_lock(&l->mutex);
    if (l->held != NULL) {
        *l->tail = l->held;
        l->tail = l->held_tail;
        l->held = NULL;
        l->held_tail = &l->held;
        pthread_cond_signal(&l->more);
    }
    pthread_mutex_unlock(&l->mutex);
}

static void run_job(struct lane *l, struct lane_job *job)
{
    store_round_begin(l->server->store, l->app);
    if (job->call != NULL) {
        run_call(l, job);
        return;
    }
    l->job = job;
    switch (job->mode) {
    case LANE_PLAIN: dispatch_run_job(job, &l->ctx, &l->metrics); break;
    case LANE_BUSY: run_busy(l, job); break;
    case LANE_EXCLUSIVE: run_exclusive(l, job); break;
    }
    hand_fresh(l);
    l->job = NULL;
    if (job->held)
        hold(l, job);
    else if (job->take != NULL)
        job->take(job);
    else
        lane_send_home(job);
}

void lane_send_home(struct lane_job *job)
{
    worker_mail(job->home, &job->mail);
}

uint64_t lane_at_hand(struct lane *l, struct loop *wake)
{
    pthread_mutex_lock(&l->mutex);
    uint64_t job = l->at_work ? l->ended + 1 : 0;
    l->watcher = l->at_work ? wake : NULL;
    pthread_mutex_unlock(&l->mutex);
    return job;
}

bool lane_has_ended(struct lane *l, uint64_t job)
{
    pthread_mutex_lock(&l->mutex);
    bool ended = job <= l->ended;
    pthread_mutex_unlock(&l->mutex);
    return ended;
}

/* With the mutex. */
static void note_end(struct lane *l)
{
    l->ended += l->at_work;
    l->at_work = false;
    if (l->watcher != NULL)
        loop_wake(l->watcher);
    l->watcher = NULL;
    pthread_cond_broadcast(&l->called);
}

static struct lane_job *next_job(struct lane *l)
{
    pthread_mutex_lock(&l->mutex);
    note_end(l);
    while (l->head == NULL && !l->stop)
        pthread_cond_wait(&l->more, &l->mutex);
    struct lane_job *job = l->stop ? NULL : l->head;
    if (job != NULL) {
        l->head = job->next;
        if (l->head == NULL)
            l->tail = &l->head;
        job->next = NULL;
        l->at_work = true;
    }
    pthread_mutex_unlock(&l->mutex);
    return job;
}

static void *lane_main(void *arg)
{
    struct lane *l = arg;
    pthread_setname_np(pthread_self(), "lane");
    crash_thread_begin();
    struct lane_job *job;
    while ((job = next_job(l)) != NULL) {
        run_job(l, job);
        if (cache_has_debts(&l->ctx.a))
            cache_pay_debts(&l->ctx.a);
    }
    crash_thread_end();
    return NULL;
}

int lane_start(struct lane *l)
{
    return os_thread_start(&l->thread, &l->running, lane_main, l);
}

void lane_drop_jobs(struct lane *l)
{
    lane_retry_held(l);
    while (l->head != NULL) {
        struct lane_job *job = l->head;
        l->head = job->next;
        if (job->call != NULL) /* its thread has ended */
            continue;
        if (job->mode == LANE_BUSY && !job->freed) {
            store_busy_enter(l->server->store, &job->locks);
            store_busy_leave(l->server->store, &job->locks);
        }
        lane_send_home(job);
    }
    l->tail = &l->head;
    lane_wake_waiters(l);
}

void lane_end(struct lane *l)
{
    pthread_mutex_lock(&l->mutex);
    l->stop = true;
    pthread_cond_signal(&l->more);
    pthread_mutex_unlock(&l->mutex);
}
