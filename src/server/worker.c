#include "server/worker.h"
#include "server/route.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"
#include "base/log.h"
#include "cache/cache.h"
#include "os/clock.h"
#include "os/random.h"
#include "os/sock.h"
#include "os/thread.h"
#include "server/cache_wait.h"
#include "server/crash.h"
#include "server/server.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum worker_pace {
    MAINTAIN_US = 200,               /* the longest slice of the store's upkeep in a round, and ... */
    MAINTAIN_US_MIN = 50,            /* ... the shortest, each times active-expire-effort; between them ... */
    MAINTAIN_SHARE = 2,              /* ... half of what the round has taken */
    REST_LEISURE = 15,               /* after it upkeep rests so many times as long as it has worked, ... */
    REST_SOON = 3,                   /* ... or so many, each by active-expire-effort, ... */
    REST_MAX_NS = 100 * 1000 * 1000, /* ... but no longer than this, where it was kept from working */
    READ_SHARE = 64, /* of maxmemory: the buffers that clients' requests arrive in, of all workers together */
    WAIT_MAX_US = 1000 * 1000,
    OVERDUE_SCAN_MIN = 16, /* connections looked at per cron, more when there are many */
    ACCEPTS_A_ROUND = 64,  /* of one listener, so that clients are served in between */
    CLOCK_JUMP_MS = 10000, /* something due later than this: the clock was set back */
    HELD_MAX = 32,         /* replies wait for no more than so many others ... */
    OWED_US = 50,       /* ... or so long, where replicas could not be handed at once what they acknowledge;
                         * and what they were handed waits so long for more */
    LAST_STEP_MS = 20,  /* at the end: between looks at what is still unsent ... */
    LAST_IDLE_MS = 500, /* ... which is given up when nobody takes any of it for so long ... */
    LAST_MAX_MS = 5 * 1000, /* ... or after so long in any case */
};

/* Listeners and connections share the loop; a listener's tag has its low bit set. */
static bool tag_is_listener(void *tag)
{
    return ((uintptr_t)tag & 1) != 0;
}

static void *listener_tag(struct listener *l)
{
    return (void *)((uintptr_t)l | 1);
}

static struct listener *tag_listener(void *tag)
{
    return (struct listener *)((uintptr_t)tag & ~(uintptr_t)1);
}

static void reply_block_get(struct block *b)
{
    block_get(b);
}

static void reply_block_put(struct block *b)
{
    block_put(b);
}

void worker_bound_reading(struct worker *w, uint64_t maxmemory)
{
    uint64_t all = maxmemory != 0 ? maxmemory / READ_SHARE : UINT64_MAX;
    loop_bound_reading(w->loop, all / w->server->nworkers);
}

int worker_init(struct worker *w, struct server *s, uint32_t index)
{
    memset(w, 0, sizeof *w);
    w->server = s;
    w->index = index;
    mpsc_init(&w->mailbox);
    arena_init(&w->arena);
    reply_init(&w->reply, reply_block_get, reply_block_put);
    uint64_t seed;
    os_random(&seed, sizeof seed);
    rng_init(&w->rng, seed);
    w->app = store_appender(s->store, index);
    unit_init(&w->unit, &s->repl.log, index);
    w->ctx = (struct cmd_ctx){.a = {.store = s->store, .app = w->app},
                              .arena = &w->arena,
                              .rng = &w->rng,
                              .counters = &w->counters,
                              .limits = &s->limits,
                              .cache = s->cache,
                              .cache_park = cache_wait_park,
                              .serves_key = route_allows_key,
                              .host = w};
    w->parked_due_ms = INT64_MAX;
    w->held_end = &w->held;
    w->read_buf = mem_alloc(CONN_READ_SIZE);
    if (w->read_buf == NULL)
        return ERR_OOM;
    int rc = metrics_init(&w->metrics);
    if (rc == 0)
        rc = hot_new(&w->hot);
    if (rc == 0)
        rc = loop_new(&w->loop, s->config.io_uring);
    if (rc == 0)
        worker_bound_reading(w, s->config.maxmemory);
    for (uint32_t i = 0; rc == 0 && i < SERVER_LISTEN_MAX; i++)
        if (s->listeners[i].fd >= 0)
            rc = worker_listen(w, &s->listeners[i]);
    return rc;
}

int worker_listen(struct worker *w, struct listener *l)
{
    return loop_add(w->loop, l->fd, LOOP_READ | LOOP_EXCLUSIVE, listener_tag(l));
}

/* True when there was a letter. */
static bool deliver_mail(struct worker *w)
{
    bool any = false;
    struct mpsc_node *n;
    while ((n = mpsc_pop(&w->mailbox)) != NULL) {
        struct mail *m = container_of(n, struct mail, node);
        m->deliver(w, m);
        any = true;
    }
    return any;
}

void workers_drain(struct server *s)
{
    for (uint32_t i = 0; i < s->nworkers; i++)
        s->workers[i].stopping = true;
    for (bool any = true; any;) { /* a relay goes round several of them */
        any = false;
        for (uint32_t i = 0; i < s->nworkers; i++) {
            if (s->workers[i].server == NULL)
                continue;
            any |= deliver_mail(&s->workers[i]);
            any |= relay_step_all(&s->workers[i]);
        }
    }
}

void worker_release(struct worker *w)
{
    cache_wait_drop(w);
    while (w->conns != NULL) {
        w->conns->state = CONN_OPEN; /* nobody is left to unpark it */
        conn_close(w->conns, "shutdown");
    }
    if (w->loop != NULL)
        loop_free(w->loop);
    metrics_release(&w->metrics);
    reply_release(&w->reply);
    arena_release(&w->arena);
    unit_release(&w->unit);
    hot_free(w->hot);
    conns_release(w);
    mem_free(w->read_buf);
}

void worker_mail(struct worker *w, struct mail *m)
{
    mpsc_push(&w->mailbox, &m->node);
    loop_wake(w->loop);
}

void workers_wake(struct server *s)
{
    atomic_fetch_add_explicit(&s->wakes, 1, memory_order_release);
    for (uint32_t i = 0; i < s->nworkers; i++)
        loop_wake(s->workers[i].loop);
}

struct worker *worker_least_loaded(struct server *s)
{
    struct worker *best = &s->workers[0];
    uint32_t least = UINT32_MAX;
    for (uint32_t i = 0; i < s->nworkers; i++) {
        uint32_t n = atomic_load_explicit(&s->workers[i].nconns, memory_order_relaxed);
        if (n < least) {
            least = n;
            best = &s->workers[i];
        }
    }
    return best;
}

/* ---- accepting ------------------------------------------------------------------- */

struct accept_mail {
    struct mail mail;
    int fd;
};

static void deliver_accept(struct worker *w, struct mail *m)
{
    struct accept_mail *am = container_of(m, struct accept_mail, mail);
    conn_accept(w, am->fd);
    mem_free(am);
}

/* The count is raised here, not by the receiver, so that a burst of connections
 * spreads before any of them has arrived. conn_accept() lowers it on failure. */
static void hand_over(struct worker *w, int fd)
{
    struct worker *to = worker_least_loaded(w->server);
    atomic_fetch_add_explicit(&to->nconns, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&w->server->nclients, 1, memory_order_relaxed);
    if (to == w) {
        conn_accept(w, fd);
        return;
    }
    struct accept_mail *am = mem_alloc(sizeof *am);
    if (am == NULL) {
        atomic_fetch_sub_explicit(&to->nconns, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&w->server->nclients, 1, memory_order_relaxed);
        close(fd);
        return;
    }
    am->fd = fd;
    am->mail.deliver = deliver_accept;
    worker_mail(to, &am->mail);
}

static void refuse(struct worker *w, int fd)
{
    static const char text[] = "-ERR max number of clients reached\r\n";
    counter_add(&w->metrics.rejected_conns, 1);
    ssize_t ignored = send(fd, text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)ignored;
    close(fd);
}

/* No descriptor is left: leave the listener alone until the next cron instead of trying for ever. */
static void rest_from_accepting(struct worker *w, struct listener *l)
{
    log_warning("Cannot accept on %s: %s. Raise the limit of open files (ulimit -n, LimitNOFILE=) "
                "or lower maxclients.",
                l->name, strerror(errno));
    loop_remove(w->loop, l->fd);
    w->rests = true;
}

static void accept_again(struct worker *w)
{
    struct server *s = w->server;
    for (uint32_t i = 0; i < SERVER_LISTEN_MAX; i++)
        if (s->listeners[i].fd >= 0)
            (void)worker_listen(w, &s->listeners[i]); /* most are registered still */
    w->rests = false;
}

static void worker_accept(struct worker *w, struct listener *l)
{
    struct server *s = w->server;
    for (int i = 0; i < ACCEPTS_A_ROUND; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE)
                rest_from_accepting(w, l);
            if (errno != EINTR && errno != ECONNABORTED)
                return;
            continue;
        }
        if (atomic_load_explicit(&s->nclients, memory_order_relaxed) >= s->config.maxclients) {
            refuse(w, fd);
            continue;
        }
        hand_over(w, fd);
    }
}

/* ---- upkeep ------------------------------------------------------------------------ */

static void unpark_paused(struct worker *w)
{
    struct conn *c = w->paused;
    w->paused = NULL;
    while (c != NULL) {
        struct conn *next = c->park_next;
        c->park_next = NULL;
        atomic_fetch_sub_explicit(&w->npaused, 1, memory_order_relaxed);
        conn_unpark(c);
        c = next;
    }
}

/* A pause ends by itself: the first worker to see it pass lowers the bits. */
static void check_care(struct worker *w)
{
    struct server *s = w->server;
    uint32_t care = atomic_load_explicit(&s->care, memory_order_relaxed);
    bool over = store_over_memory(s->store);
    if (unlikely(over != ((care & CARE_MEMORY) != 0)))
        server_care_set(s, CARE_MEMORY, over);
    if (unlikely(care & CARE_PAUSE))
        pause_tick(s, w->now_ms);
    uint32_t wakes = atomic_load_explicit(&s->wakes, memory_order_acquire);
    if (unlikely(w->paused != NULL) && wakes != w->wakes) {
        w->wakes = wakes;
        unpark_paused(w);
    }
}

static void close_if_overdue(struct worker *w, struct conn *c)
{
    const struct config *cfg = &w->server->config;
    if (cfg->timeout > 0 && c->state == CONN_OPEN && !c->session.monitor &&
        w->now_ms - c->active_ms > (int64_t)cfg->timeout * 1000)
        conn_close(c, "idle beyond 'timeout'");
    else if (c->soft_limit_since_ms != 0)
        conn_flush(c); /* checks how long it has been over the soft limit */
}

/* Every connection about once a second. */
static void scan_overdue(struct worker *w)
{
    uint32_t n = atomic_load_explicit(&w->nconns, memory_order_relaxed) / (uint32_t)w->server->config.hz;
    for (uint32_t i = 0; i < n + OVERDUE_SCAN_MIN; i++) {
        struct conn *c = w->sweep != NULL ? w->sweep : w->conns;
        if (c == NULL)
            return;
        w->sweep = c->next;
        close_if_overdue(w, c);
        if (w->sweep == NULL)
            return; /* once round is enough */
    }
}

static void worker_cron(struct worker *w)
{
    w->cron_ms = w->now_ms + 1000 / w->server->config.hz;
    clients_tick(w, w->now_ms);
    scan_overdue(w);
    cache_sweep(w->server->cache, &w->ctx.a);
    if (unlikely(w->rests))
        accept_again(w);
}

static bool is_due(const struct worker *w, int64_t at_ms)
{
    return w->now_ms >= at_ms || at_ms - w->now_ms > CLOCK_JUMP_MS;
}

/* Where rounds are short somebody waits for the next one; where they are long upkeep must have its share. */
static uint32_t upkeep_us(const struct worker *w, uint64_t from)
{
    uint64_t us = os_ticks_to_ns(os_ticks() - from) / 1000 / MAINTAIN_SHARE;
    us = us < MAINTAIN_US_MIN ? MAINTAIN_US_MIN : us > MAINTAIN_US ? MAINTAIN_US : us;
    return (uint32_t)us * (uint32_t)w->server->config.active_expire_effort;
}

/* Others may want this CPU, and clients of this worker come first: upkeep that nobody waits for is spread
 * thin. While writers want memory there is some in each round, and only an idle worker rests. */
static void rest_from_upkeep(struct worker *w, int64_t worked_ns)
{
    enum store_haste haste = store_haste(w->app);
    int64_t times = haste == STORE_NOW ? 1 : haste == STORE_SOON ? REST_SOON : REST_LEISURE;
    int64_t effort = w->server->config.active_expire_effort;
    int64_t rest_ns = times > effort ? worked_ns * times / effort : worked_ns;
    w->rested_ns = os_work_ns() + (rest_ns < REST_MAX_NS ? rest_ns : REST_MAX_NS);
    w->upkeep_hurries = haste == STORE_NOW;
}

/* from: ticks when this round began. */
static void maintain(struct worker *w, uint64_t from)
{
    uint32_t budget_us = upkeep_us(w, from);
    w->ctx.a.now_ms = w->now_ms;
    w->ctx.a.expired = server_expired_rule(w->server);
    uint64_t before = os_ticks();
    uint32_t next_ms = store_maintain(&w->ctx.a, budget_us);
    uint64_t ns = os_ticks_to_ns(os_ticks() - before);
    w->maintain_ms = w->now_ms + next_ms;
    w->upkeep_goes_on = next_ms == 0;
    if (w->upkeep_goes_on)
        rest_from_upkeep(w, (int64_t)ns);
    counter_add(&w->upkeep_ns, ns);
    struct server *s = w->server;
    int64_t threshold = s->config.latency_monitor_threshold;
    if (unlikely(threshold > 0 && ns / 1000000 >= (uint64_t)threshold))
        latency_add(&s->latency, LATENCY_EXPIRE_CYCLE, w->now_ms / 1000, ns / 1000000);
}

static bool upkeep_is_due(const struct worker *w)
{
    if (w->upkeep_goes_on)
        return w->upkeep_hurries || os_work_ns() >= w->rested_ns;
    return is_due(w, w->maintain_ms);
}

/* In the round: when the next one must begin even if nothing happens. */
static void set_deadline(struct worker *w)
{
    w->due_ms = w->cron_ms < w->maintain_ms || w->upkeep_goes_on ? w->cron_ms : w->maintain_ms;
    if (unlikely(w->paused != NULL)) {
        int64_t end_ms = pause_next_ms(w->server, w->now_ms);
        w->due_ms = end_ms < w->due_ms ? end_ms : w->due_ms;
    }
    if (w->parked_due_ms < w->due_ms)
        w->due_ms = w->parked_due_ms;
    if (w->relays != NULL)
        w->due_ms = w->now_ms;
}

static void serve(struct worker *w, int nevents)
{
    struct gate *gate = &w->server->gate;
    for (int i = 0; i < nevents; i++) {
        struct loop_event ev = loop_event(w->loop, i);
        if (ev.tag == NULL)
            continue; /* forgotten in this round */
        w->last_turn = i + 1 == nevents;
        if (tag_is_listener(ev.tag)) {
            worker_accept(w, tag_listener(ev.tag));
            continue;
        }
        struct conn *c = ev.tag;
        if (ev.writable)
            conn_writable(c);
        /* conn_writable() may have closed it; then the event has been forgotten. */
        ev = loop_event(w->loop, i);
        if (ev.tag != NULL && ev.hangup && c->state == CONN_PARKED)
            conn_close(c, "closed by peer");
        else if (ev.tag != NULL && ev.received)
            conn_received(c, ev.data, ev.n);
        else if (ev.tag != NULL && (ev.readable || ev.hangup))
            conn_readable(c);
        if (unlikely(w->nheld >= HELD_MAX || gate_is_asked(gate)))
            conns_settle(w);
        gate_yield(gate, w->index);
    }
    w->last_turn = false;
}

static int64_t next_timeout_us(const struct worker *w)
{
    int64_t wait = (w->due_ms - os_wall_ms()) * 1000;
    int64_t most = w->owed != 0 || w->holds ? OWED_US : WAIT_MAX_US;
    if (w->upkeep_goes_on) {
        int64_t rest = (w->rested_ns - os_work_ns()) / 1000 + 1;
        most = rest < most ? rest : most;
    }
    wait = wait > most ? most : wait;
    return wait < 0 ? 0 : wait;
}

static void begin_round(struct worker *w)
{
    gate_enter(&w->server->gate, w->index);
    w->now_ms = os_wall_ms();
    store_round_begin(w->server->store, w->app);
    deliver_mail(w);
    if (unlikely(w->relays != NULL))
        relay_step_all(w);
}

/* ---- the end ------------------------------------------------------------------------ */

static void stop_reading(struct worker *w)
{
    struct server *s = w->server;
    w->stopping = true;
    if (w->rests)
        accept_again(w); /* so that all are there to be removed */
    for (uint32_t i = 0; i < SERVER_LISTEN_MAX; i++)
        if (s->listeners[i].fd >= 0)
            loop_remove(w->loop, s->listeners[i].fd);
    for (struct conn *c = w->conns; c != NULL; c = c->next)
        conn_stop_reading(c);
}

static bool owes_replies(const struct worker *w)
{
    for (const struct conn *c = w->conns; c != NULL; c = c->next)
        if (c->out != NULL)
            return true;
    return false;
}

static void serve_last(struct worker *w, int nevents)
{
    for (int i = 0; i < nevents; i++) {
        struct loop_event ev = loop_event(w->loop, i);
        if (ev.tag == NULL || tag_is_listener(ev.tag))
            continue;
        if (ev.hangup || (ev.received && ev.n <= 0))
            conn_close(ev.tag, "closed by peer");
        else if (ev.writable)
            conn_writable(ev.tag);
    }
}

/* Nothing new is read. What the lane still brings home, and what clients have not taken yet, is sent. */
static void farewell(struct worker *w)
{
    struct server *s = w->server;
    int64_t begun = os_mono_ns(), progress = begun;
    uint64_t sent = counter_read(&w->metrics.net_out);
    begin_round(w);
    stop_reading(w);
    gate_leave(&s->gate, w->index);
    for (bool more = true; more;) {
        bool last = atomic_load_explicit(&s->stop, memory_order_acquire) == STOP_LAST;
        int n = loop_wait(w->loop, LAST_STEP_MS * 1000);
        begin_round(w);
        serve_last(w, n);
        conns_settle(w);
        int64_t now = os_mono_ns();
        if (counter_read(&w->metrics.net_out) != sent || !last)
            progress = now;
        sent = counter_read(&w->metrics.net_out);
        more = !last || (owes_replies(w) && now - progress < LAST_IDLE_MS * 1000000LL &&
                         now - begun < LAST_MAX_MS * 1000000LL);
        gate_leave(&s->gate, w->index);
    }
    for (struct conn *c = w->conns; c != NULL; c = c->next)
        conn_part(c);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct server *s = w->server;
    char name[16];
    snprintf(name, sizeof name, "worker-%u", w->index);
    pthread_setname_np(pthread_self(), name);
    crash_thread_begin();
    while (atomic_load_explicit(&s->stop, memory_order_acquire) == STOP_NO) {
        int n = loop_wait(w->loop, next_timeout_us(w));
        begin_round(w);
        if (atomic_load_explicit(&s->stop, memory_order_acquire) != STOP_NO) { /* saved while it waited */
            gate_leave(&s->gate, w->index);
            break;
        }
        uint64_t from = os_ticks(), commands = counter_read(&w->metrics.commands);
        check_care(w);
        serve(w, n);
        conns_settle(w);
        if (is_due(w, w->cron_ms))
            worker_cron(w);
        clients_relieve(w);
        if (upkeep_is_due(w))
            maintain(w, from);
        if (unlikely(w->now_ms >= w->parked_due_ms))
            cache_wait_look(w);
        if (unlikely(cache_has_debts(&w->ctx.a)))
            cache_pay_debts(&w->ctx.a);
        if (unlikely(w->unit.fresh))
            conns_settle(w); /* what upkeep has removed */
        set_deadline(w);
        metrics_end_round(&w->metrics, from, commands);
        gate_leave(&s->gate, w->index);
    }
    farewell(w);
    crash_thread_end();
    return NULL;
}

int worker_start(struct worker *w)
{
    return os_thread_start(&w->thread, &w->running, worker_main, w);
}
