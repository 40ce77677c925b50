/* The lists a command is on:
 *
 *      soonest ... latest      every live command, by deadline
 *      delayed                 those that wait for their next attempt, by due time
 *      conn->head ... tail     those sent (or encoded) on a connection, in order of their replies
 *
 * A failure never calls the next attempt; it puts the command among the delayed, perhaps due at
 * once, and the next turn routes it. So nothing recurses, and done() may submit anew.
 *
 * What one slow command costs: replies come in order, so a command that gets no reply in time ends
 * its connection, and those behind it are tried again elsewhere if they may be. */
#include "client/engine.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "client/error.h"
#include "os/clock.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { EVENTS_A_TURN = 64 };

int engine_init(struct engine *e, struct topo *t, bool waits)
{
    *e = (struct engine){.topo = t, .waits = waits, .epoll_fd = -1, .timer_fd = -1};
    arena_init(&e->scratch);
    arena_init(&e->calls);
    if (waits)
        return 0;
    struct epoll_event timer = {.events = EPOLLIN};
    e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    e->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (e->epoll_fd >= 0 && e->timer_fd >= 0 &&
        epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, e->timer_fd, &timer) == 0)
        return 0;
    engine_release(e);
    return LARDER_ERR_MEMORY;
}

void engine_release(struct engine *e)
{
    struct larder_error canceled;
    fail(&canceled, LARDER_ERR_CANCELED, "canceled: its loop was freed");
    for (uint32_t i = 0; i < e->nconns; i++) {
        if (e->conns[i] != NULL)
            conn_close(e->conns[i]);
    }
    while (e->soonest != NULL)
        engine_fail(e, e->soonest, &canceled);
    for (uint32_t i = 0; i < e->nconns; i++)
        mem_free(e->conns[i]);
    mem_free(e->conns);
    arena_release(&e->scratch);
    arena_release(&e->calls);
    if (e->timer_fd >= 0)
        close(e->timer_fd);
    if (e->epoll_fd >= 0)
        close(e->epoll_fd);
}

/* ---- lists ---- */

static void link_live(struct engine *e, struct cmd *cmd)
{
    struct cmd *before = e->latest;
    while (before != NULL && before->deadline_ns > cmd->deadline_ns)
        before = before->sooner;
    cmd->sooner = before;
    cmd->later = before != NULL ? before->later : e->soonest;
    *(cmd->later != NULL ? &cmd->later->sooner : &e->latest) = cmd;
    *(before != NULL ? &before->later : &e->soonest) = cmd;
    e->live++;
}

static void unlink_live(struct engine *e, struct cmd *cmd)
{
    *(cmd->later != NULL ? &cmd->later->sooner : &e->latest) = cmd->sooner;
    *(cmd->sooner != NULL ? &cmd->sooner->later : &e->soonest) = cmd->later;
    e->live--;
}

/* By due_ns; of the same, the first come first. What comes is nearly always the latest: many commands are
 * submitted at one moment, and must not be walked past by each of them. */
void engine_delay(struct engine *e, struct cmd *cmd, int64_t due_ns)
{
    bool latest = e->delayed != NULL && e->delayed_last->due_ns <= due_ns;
    struct cmd **at = latest ? &e->delayed_last->next : &e->delayed;
    ASSERT(cmd->state != CMD_SENT);
    while (*at != NULL && (*at)->due_ns <= due_ns)
        at = &(*at)->next;
    cmd->state = CMD_DELAYED;
    cmd->due_ns = due_ns;
    cmd->next = *at;
    *at = cmd;
    if (cmd->next == NULL)
        e->delayed_last = cmd;
}

static void drop_delayed(struct engine *e, struct cmd *cmd)
{
    struct cmd **at = &e->delayed, *before = NULL;
    while (*at != cmd) {
        before = *at;
        at = &before->next;
    }
    *at = cmd->next;
    if (cmd->next == NULL)
        e->delayed_last = before;
    cmd->state = CMD_IDLE;
}

void engine_finish(struct engine *e, struct cmd *cmd, const struct cmd_result *r)
{
    if (cmd->state == CMD_DELAYED)
        drop_delayed(e, cmd);
    cmd->state = CMD_IDLE;
    unlink_live(e, cmd);
    cmd->done(cmd, r);
}

void engine_fail(struct engine *e, struct cmd *cmd, const struct larder_error *err)
{
    engine_finish(e, cmd, &(struct cmd_result){.status = err->code, .err = err});
}

static void queue(struct conn *c, struct cmd *cmd)
{
    cmd->state = CMD_SENT;
    cmd->conn = c;
    cmd->next = NULL;
    *(c->head != NULL ? &c->tail->next : &c->head) = cmd;
    c->tail = cmd;
}

static struct cmd *unqueue(struct conn *c)
{
    struct cmd *cmd = c->head;
    c->head = cmd->next;
    cmd->conn = NULL;
    cmd->state = CMD_IDLE;
    return cmd;
}

/* ---- connections ---- */

void engine_conn_lost(struct engine *e, struct conn *c, int64_t now_ns)
{
    struct larder_error why = c->why;
    uint64_t sent = c->sent;
    bool idle = c->head == NULL && c->state == CONN_READY;
    struct cmd *orphans = c->head;
    c->head = c->held = NULL;
    c->nheld = 0;
    conn_close(c);
    /* Hanging up on an idle connection is every server's right, and lack of memory is our own fault. */
    if (!idle && why.code != LARDER_ERR_MEMORY && why.code != LARDER_ERR_AUTH)
        topo_failed(e->topo, c->number, now_ns);
    while (orphans != NULL) {
        struct cmd *cmd = orphans;
        orphans = cmd->next;
        cmd->conn = NULL;
        cmd->state = CMD_IDLE;
        if (cmd->ntried < TOPO_TRIED_MAX)
            cmd->tried[cmd->ntried++] = c->number;
        engine_attempt_failed(e, cmd, &why, sent > cmd->wire_at, now_ns);
    }
}

static struct conn *conn_at(struct engine *e, uint32_t node, bool readonly)
{
    uint32_t at = node * 2 + readonly;
    if (at >= e->nconns) {
        uint32_t n = (at + 1) * 2;
        struct conn **conns = mem_realloc(e->conns, n * sizeof(struct conn *));
        if (conns == NULL)
            return NULL;
        memset(conns + e->nconns, 0, (n - e->nconns) * sizeof(struct conn *));
        e->conns = conns;
        e->nconns = n;
    }
    if (e->conns[at] == NULL) {
        e->conns[at] = mem_alloc(sizeof(struct conn));
        if (e->conns[at] == NULL)
            return NULL;
        conn_init(e->conns[at], e->topo->set, &topo_node(e->topo, node)->address, readonly, e->waits,
                  &e->scratch);
        e->conns[at]->number = node;
    }
    return e->conns[at];
}

static void activate(struct engine *e, struct conn *c)
{
    if (!c->active) {
        c->active = true;
        c->next_active = e->active;
        e->active = c;
    }
}

/* Worth a system call to see whether the peer has hung up: it was unused for long, somebody else has
 * lost his, or the command could not be repeated. */
static bool is_suspect(const struct conn *c, uint32_t generation, const struct cmd *cmd, int64_t now_ns)
{
    if (c->state != CONN_READY || c->head != NULL || c->stepping)
        return false;
    return c->generation != generation || now_ns - c->used_ns > CONN_STALE_NS ||
           (cmd->flags & CMD_IDEMPOTENT) == 0;
}

/* The connection for an attempt, alive as far as can be told, or opening. NULL with err. */
static struct conn *conn_for(struct engine *e, const struct topo_route *route, const struct cmd *cmd,
                             int64_t now_ns, struct larder_error *err)
{
    struct conn *c = conn_at(e, route->node, route->readonly);
    if (c == NULL) {
        fail(err, LARDER_ERR_MEMORY, "out of memory");
        return NULL;
    }
    uint32_t generation =
        atomic_load_explicit(&topo_node(e->topo, route->node)->generation, memory_order_relaxed);
    if (is_suspect(c, generation, cmd, now_ns)) {
        c->generation = generation;
        if (conn_is_dead(c))
            conn_close(c);
    }
    if (c->state == CONN_CLOSED) {
        atomic_fetch_add_explicit(&e->topo->counters.connects, 1, memory_order_relaxed);
        c->generation = generation;
        if (conn_open(c, now_ns) < 0) {
            *err = c->why;
            engine_conn_lost(e, c, now_ns);
            return NULL;
        }
    }
    activate(e, c);
    return c;
}

/* ---- one attempt ---- */

static int64_t attempt_end(const struct engine *e, const struct cmd *cmd, int64_t now_ns)
{
    int64_t end = now_ns + (cmd->timeout_ns > 0 ? cmd->timeout_ns : e->topo->set->command_ns);
    return end < cmd->deadline_ns ? end : cmd->deadline_ns;
}

static int find_route(struct engine *e, struct cmd *cmd, int64_t now_ns, struct topo_route *route,
                      struct larder_error *err)
{
    struct topo_ask ask = {
        .key = cmd->key >= 0 ? cmd->argv[cmd->key] : (struct str){NULL, 0},
        .place = cmd->place,
        .slot = cmd->slot,
        .any = cmd->key < 0,
        .read = (cmd->flags & CMD_READ) != 0,
        .stand_in = (cmd->flags & CMD_STANDIN) != 0,
        .node = cmd->hop >= 0 ? cmd->hop : cmd->node,
        .tried = cmd->tried,
        .ntried = cmd->ntried,
    };
    cmd->hop = -1;
    int status = topo_route(e->topo, &ask, now_ns, route, err);
    if (status == 0 && (route->standin || (route->readonly && cmd->ntried > 0)))
        atomic_fetch_add_explicit(&e->topo->counters.standins, 1, memory_order_relaxed);
    return status;
}

static void attempt(struct engine *e, struct cmd *cmd, int64_t now_ns)
{
    struct topo_route route;
    struct larder_error err;
    if (find_route(e, cmd, now_ns, &route, &err) < 0) {
        /* A cluster heals itself meanwhile; a node whose breaker is open does not become another. */
        if (e->topo->kind == LARDER_TOPOLOGY_CLUSTER)
            engine_attempt_failed(e, cmd, &err, false, now_ns);
        else
            engine_fail(e, cmd, &err);
        return;
    }
    struct conn *c = conn_for(e, &route, cmd, now_ns, &err);
    if (c == NULL) {
        if (cmd->ntried < TOPO_TRIED_MAX)
            cmd->tried[cmd->ntried++] = route.node;
        engine_attempt_failed(e, cmd, &err, false, now_ns);
        return;
    }
    bool merges = engine_may_merge(e, cmd, &route);
    if ((!merges || c->nheld == ENGINE_MERGE_MAX) && engine_encode_held(c) < 0) {
        err = c->why;
        engine_conn_lost(e, c, now_ns);
        engine_fail(e, cmd, &err);
        return;
    }
    cmd->wire_at = c->encoded;
    if (merges) {
        engine_hold(c, cmd);
    } else if (engine_encode(c, cmd, &route, e->topo->set) < 0) {
        fail(&err, LARDER_ERR_MEMORY, "out of memory");
        engine_fail(e, cmd, &err);
        return;
    }
    cmd->skip = cmd->asking;
    cmd->merged = 0;
    cmd->asking = false;
    cmd->attempt_ns = attempt_end(e, cmd, now_ns);
    queue(c, cmd);
}

void engine_submit(struct engine *e, struct cmd *cmd, int64_t now_ns)
{
    cmd->hop = -1;
    cmd->state = CMD_IDLE;
    if (cmd->deadline_ns == 0)
        cmd->deadline_ns = now_ns + e->topo->set->deadline_ns;
    if (cmd->key >= 0 && e->topo->kind == LARDER_TOPOLOGY_CLUSTER)
        cmd->slot = slot_of(cmd->argv[cmd->key]);
    if (!(cmd->flags & CMD_INTERNAL))
        atomic_fetch_add_explicit(&e->topo->counters.calls, 1, memory_order_relaxed);
    link_live(e, cmd);
    engine_delay(e, cmd, now_ns);
}

/* ---- turns ---- */

int engine_deliver(void *delivery, struct conn *c, const struct reader_value *v)
{
    struct engine_delivery *d = delivery;
    if (c->head == NULL)
        return fail(&c->why, LARDER_ERR_PROTOCOL, "%s: a reply that nobody asked for", c->address->name);
    if (c->head->skip > 0) {
        c->head->skip--;
        return 0;
    }
    unsigned n = c->head->merged > 1 ? c->head->merged : 1;
    if (engine_part(v, n, 0) == NULL)
        return fail(&c->why, LARDER_ERR_PROTOCOL, "%s: MGET: a reply of another shape", c->address->name);
    for (unsigned i = 0; i < n; i++)
        engine_reply(d->engine, unqueue(c), c, engine_part(v, n, i), d->now_ns);
    return 0;
}

void engine_step(struct engine *e, struct conn *c, int64_t now_ns)
{
    struct engine_delivery d = {e, now_ns};
    bool ready = c->state == CONN_READY;
    if (c->state == CONN_CLOSED)
        return;
    c->stepping = true;
    int err = conn_step(c, now_ns, engine_deliver, &d);
    c->stepping = false;
    if (err < 0) {
        engine_conn_lost(e, c, now_ns);
        return;
    }
    if (!ready && c->state == CONN_READY) /* the commands' own time begins now */
        for (struct cmd *cmd = c->head; cmd != NULL; cmd = cmd->next)
            cmd->attempt_ns = attempt_end(e, cmd, now_ns);
}

static void timed_out(struct engine *e, struct conn *c, const struct cmd *cmd, int64_t now_ns)
{
    struct str name = cmd->argv[0];
    fail(&c->why, LARDER_ERR_TIMEOUT, "%s: %s %.*s in time", c->address->name,
         c->state == CONN_READY ? "no reply to" : "not connected for", (int)(name.n < 32 ? name.n : 32),
         name.p);
    engine_conn_lost(e, c, now_ns);
}

static void expire(struct engine *e, int64_t now_ns)
{
    for (struct conn *c = e->active; c != NULL; c = c->next_active) {
        if (c->head != NULL && c->state == CONN_READY && c->head->attempt_ns <= now_ns)
            timed_out(e, c, c->head, now_ns);
        else if (conn_deadline(c) <= now_ns)
            engine_step(e, c, now_ns);
    }
    while (e->soonest != NULL && e->soonest->deadline_ns <= now_ns) {
        struct cmd *cmd = e->soonest;
        struct larder_error err;
        if (cmd->state == CMD_SENT)
            timed_out(e, cmd->conn, cmd, now_ns);
        if (e->soonest != cmd || cmd->deadline_ns > now_ns)
            continue; /* that has ended it */
        fail(&err, LARDER_ERR_TIMEOUT, "no answer before the deadline");
        engine_fail(e, cmd, &err);
    }
}

static void start_due(struct engine *e, int64_t now_ns)
{
    /* As many as there are now: who submits anew whenever he fails must not keep us here. */
    for (uint32_t n = e->live; n > 0 && e->delayed != NULL && e->delayed->due_ns <= now_ns; n--) {
        struct cmd *cmd = e->delayed;
        drop_delayed(e, cmd);
        attempt(e, cmd, now_ns);
    }
}

void engine_settle(struct engine *e, int64_t now_ns)
{
    expire(e, now_ns);
    engine_refresh(e, now_ns);
    start_due(e, now_ns);
    for (struct conn *c = e->active; c != NULL; c = c->next_active)
        if (engine_encode_held(c) < 0 || conn_send(c) < 0)
            engine_conn_lost(e, c, now_ns);
    for (struct conn **at = &e->active; *at != NULL;) {
        struct conn *c = *at;
        c->active = c->head != NULL || (c->state > CONN_CLOSED && c->state < CONN_READY);
        if (c->active)
            at = &c->next_active;
        else
            *at = c->next_active;
    }
}

int64_t engine_next_event(const struct engine *e)
{
    int64_t next = e->soonest != NULL ? e->soonest->deadline_ns : INT64_MAX;
    if (e->delayed != NULL && e->delayed->due_ns < next)
        next = e->delayed->due_ns;
    for (const struct conn *c = e->active; c != NULL; c = c->next_active) {
        int64_t at = c->state == CONN_READY && c->head != NULL ? c->head->attempt_ns : conn_deadline(c);
        next = at < next ? at : next;
    }
    return next;
}

/* Tell epoll what the connection waits for now. A closed descriptor has left epoll by itself. */
static void watch(struct engine *e, struct conn *c)
{
    unsigned wants = conn_wants(c);
    struct epoll_event ev = {.data.ptr = c};
    if (c->state == CONN_CLOSED || (wants == c->watched && c->serial == c->watched_serial))
        return;
    ev.events = ((wants & POLLIN) != 0 ? EPOLLIN : 0u) | ((wants & POLLOUT) != 0 ? EPOLLOUT : 0u);
    if (epoll_ctl(e->epoll_fd, EPOLL_CTL_MOD, conn_fd(c), &ev) < 0 && errno == ENOENT)
        (void)epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, conn_fd(c), &ev); /* if not, the deadline ends it */
    c->watched = wants;
    c->watched_serial = c->serial;
}

void engine_wake(struct engine *e)
{
    struct itimerspec at = {{0, 0}, {0, 1}};
    if (!e->woken)
        (void)timerfd_settime(e->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
    e->woken = true;
}

static void set_timer(struct engine *e)
{
    int64_t next = engine_next_event(e);
    e->woken = false;
    struct itimerspec at = {{0, 0}, {0, 0}};
    if (next != INT64_MAX)
        at.it_value =
            (struct timespec){.tv_sec = next / 1000000000, .tv_nsec = next % 1000000000 + (next == 0)};
    (void)timerfd_settime(e->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

void engine_turn(struct engine *e)
{
    struct epoll_event events[EVENTS_A_TURN];
    ASSERT(!e->waits);
    int n = epoll_wait(e->epoll_fd, events, EVENTS_A_TURN, 0);
    int64_t now_ns = os_mono_ns();
    for (int i = 0; i < n; i++) {
        struct conn *c = events[i].data.ptr;
        if (c == NULL)
            continue; /* the timer: set anew below */
        engine_step(e, c, now_ns);
        watch(e, c);
    }
    engine_settle(e, now_ns);
    for (struct conn *c = e->active; c != NULL; c = c->next_active)
        watch(e, c);
    set_timer(e);
}
