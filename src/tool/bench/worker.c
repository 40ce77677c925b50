/* The engine. A connection has at most one batch of `pipeline` requests under way:
 *
 *      free --(batch due)--> render all, one send --(replies, one recv each)--> free
 *
 * Closed loop: a connection that becomes free gets its next batch at once. Latency
 * counts from the send.
 *
 * Open loop: batches fall due at moments that were fixed beforehand (every
 * pipeline / rate seconds, or at random with that mean), whatever the server does.
 * The oldest due batch takes the connection that has been free the longest, and waits if
 * there is none. Latency counts from the moment it was due, so a server that pauses
 * pays for all the requests that should have been sent meanwhile; not to count
 * these is what Gil Tene calls coordinated omission.
 *
 * A batch is a unit because that is what a pipelining client sends; and since all its
 * requests share one starting time, a connection needs no list of them. Whether
 * a reply belongs to a GET or a SET follows from the ratio's fixed cycle.
 *
 * Costs per request at pipeline 16: about 40 ns to render, 15 ns to scan a reply, and
 * a sixteenth of send, recv and epoll_wait. Read and render buffers belong to
 * the worker, not to the connection, and stay in cache.
 *
 * Rejected: a sliding window (send one for each reply). As soon as a server's replies
 * arrive in two pieces the batches fall apart, servers are then measured at different
 * pipelines, and the slower one at the deeper. */
#include "tool/bench/worker.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/err.h"
#include "os/clock.h"
#include "os/sock.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    TICK_NS = 50 * 1000 * 1000, /* how late a stop may be noticed */
    SPIN_NS = 200 * 1000,       /* open loop: sleep only if nothing is due for longer */
};

struct conn {
    int fd;
    uint32_t open; /* requests without a reply */
    uint64_t turn; /* place in the ratio's cycle of the next reply's request */
    int64_t since_ns;
    struct buf out; /* what the socket did not take; written from out_at on */
    size_t out_at;
    struct scan scan;
};

struct worker {
    const struct plan *plan;
    const struct options *options;
    unsigned index, of;
    struct conn *conns;
    unsigned nconns;
    int epoll;
    char *in, *out;
    struct rng rng;
    /* this phase */
    struct phase *phase;
    pthread_t thread;
    struct keydist keys;
    uint32_t batch;
    uint64_t reads, cycle; /* of `cycle` requests the first `reads` are reads */
    uint64_t turn;         /* place in the cycle of the next request */
    uint64_t left;         /* requests still to be sent */
    unsigned busy;         /* connections with replies to come */
    int64_t quiet_ns;      /* since then nothing has arrived; 0 before the end */
    bool failed;
    /* open loop */
    struct conn **free; /* a ring of nconns */
    unsigned nfree, free_at;
    double gap_ns; /* mean distance of arrivals */
    double due_ns; /* the next one, since tally.started_ns */
    struct tally tally;
};

static int64_t now_ns(void)
{
    return os_mono_ns();
}

static void fail(struct worker *w, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The first reason counts; all workers stop. */
static void fail(struct worker *w, const char *fmt, ...)
{
    if (!w->failed) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(w->tally.failure, sizeof w->tally.failure, fmt, args);
        va_end(args);
    }
    w->failed = true;
    atomic_store_explicit(&w->phase->stop, true, memory_order_relaxed);
}

static void lost(struct worker *w, const char *how)
{
    char address[SOCK_ADDR_MAX];
    options_address(w->options, address, sizeof address);
    fail(w, "%s %s; see the server's log", address, how);
}

/* Whether there is anything left to send, as of `now`. */
static bool more_to_send(const struct worker *w, int64_t now)
{
    return w->left > 0 && (w->phase->end_ns == 0 || now < w->phase->end_ns) &&
           !atomic_load_explicit(&w->phase->stop, memory_order_relaxed);
}

static void watch(struct worker *w, struct conn *c, int op, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};
    if (epoll_ctl(w->epoll, op, c->fd, &ev) < 0)
        fail(w, "epoll_ctl: %s", strerror(errno));
}

/* Send as much as the socket takes. Returns the bytes, or -1 when the connection is gone. */
static ssize_t push(struct worker *w, struct conn *c, const char *p, size_t n)
{
    ssize_t sent = send(c->fd, p, n, MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR))
        sent = 0;
    if (sent < 0)
        lost(w, strerror(errno));
    else
        counter_add(&w->tally.bytes_out, (uint64_t)sent);
    return sent;
}

static void transmit(struct worker *w, struct conn *c, const char *p, size_t n)
{
    ssize_t sent = push(w, c, p, n);
    if (sent < 0 || (size_t)sent == n)
        return;
    buf_clear(&c->out);
    c->out_at = 0;
    if (buf_append(&c->out, p + sent, n - (size_t)sent) < 0)
        fail(w, "out of memory");
    watch(w, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

static void on_writable(struct worker *w, struct conn *c)
{
    ssize_t sent = push(w, c, c->out.p + c->out_at, c->out.n - c->out_at);
    if (sent < 0)
        return;
    c->out_at += (size_t)sent;
    if (c->out_at == c->out.n) {
        buf_clear(&c->out);
        c->out_at = 0;
        watch(w, c, EPOLL_CTL_MOD, EPOLLIN);
    }
}

/* Put the next batch on a free connection. due_ns 0: it is due when it is sent. */
static void issue(struct worker *w, struct conn *c, int64_t due_ns)
{
    ASSERT(c->open == 0 && w->left > 0);
    uint32_t n = w->batch < w->left ? w->batch : (uint32_t)w->left;
    char *end = w->out;
    c->turn = w->turn;
    for (uint32_t i = 0; i < n; i++) {
        const struct template *t = w->turn < w->reads ? w->plan->read : w->plan->write;
        end = template_render(t, end, &w->keys, &w->rng);
        w->turn = w->turn + 1 < w->cycle ? w->turn + 1 : 0;
    }
    DEBUG_ASSERT((size_t)(end - w->out) <= w->plan->batch_bytes);
    c->open = n;
    w->left -= n;
    w->busy++;
    c->since_ns = due_ns ? due_ns : now_ns();
    transmit(w, c, w->out, (size_t)(end - w->out));
}

static void count_error(struct tally *t, struct str text)
{
    if (counter_read(&t->errors) == 0)
        snprintf(t->first_error, sizeof t->first_error, "%.*s", (int)text.n, text.p);
    counter_add(&t->errors, 1);
}

/* Account for one reply; true when it was to a read. */
static bool count_reply(struct worker *w, struct conn *c)
{
    bool read = c->turn < w->reads;
    c->turn = c->turn + 1 < w->cycle ? c->turn + 1 : 0;
    c->open--;
    if (c->scan.kind == SCAN_ERROR)
        count_error(&w->tally, scan_text(&c->scan));
    else if (read)
        counter_add(c->scan.kind == SCAN_NULL ? &w->tally.misses : &w->tally.hits, 1);
    return read;
}

static void count_latency(struct worker *w, const struct conn *c, int64_t now, uint64_t reads,
                          uint64_t writes)
{
    uint64_t ns = now > c->since_ns ? (uint64_t)(now - c->since_ns) : 0;
    if (reads)
        hist_add(&w->tally.reads, ns, reads);
    if (writes)
        hist_add(&w->tally.writes, ns, writes);
}

/* All of a batch is answered: the next one, or a place among the free. */
static void became_free(struct worker *w, struct conn *c, int64_t now)
{
    w->busy--;
    if (w->gap_ns > 0)
        w->free[(w->free_at + w->nfree++) % w->nconns] = c;
    else if (more_to_send(w, now))
        issue(w, c, 0);
}

static bool scan_replies(struct worker *w, struct conn *c, const char *at, const char *end, int64_t now)
{
    uint64_t reads = 0, writes = 0;
    enum scan_result result;
    while ((result = scan_next(&c->scan, w->options->protocol, &at, end)) == SCAN_REPLY) {
        struct str text = scan_text(&c->scan);
        if (c->open == 0) {
            if (c->scan.kind != SCAN_ERROR)
                text = STR("more replies than requests");
            fail(w, "the server said unasked: %.*s", (int)text.n, text.p);
            return false;
        }
        if (count_reply(w, c))
            reads++;
        else
            writes++;
    }
    count_latency(w, c, now, reads, writes);
    if (result == SCAN_MORE)
        return true;
    struct str line = scan_text(&c->scan);
    fail(w, "a reply begins with \"%.*s\", which is not %s", (int)line.n, line.p,
         w->options->protocol == SCAN_RESP ? "RESP" : "memcached's text protocol");
    return false;
}

static void on_readable(struct worker *w, struct conn *c)
{
    ssize_t n = recv(c->fd, w->in, WORKER_IN_SIZE, 0);
    if (n <= 0) {
        if (n == 0 && w->tally.first_error[0])
            lost(w, "closed the connection after an error");
        else if (n == 0)
            lost(w, "closed the connection");
        else if (errno != EAGAIN && errno != EINTR)
            lost(w, strerror(errno));
        return;
    }
    int64_t now = now_ns();
    bool was_busy = c->open > 0;
    w->quiet_ns = 0;
    counter_add(&w->tally.bytes_in, (uint64_t)n);
    if (scan_replies(w, c, w->in, w->in + n, now) && was_busy && c->open == 0)
        became_free(w, c, now);
}

static void wait_for_events(struct worker *w, int64_t timeout_ns)
{
    struct epoll_event events[WORKER_EVENTS_MAX];
    struct timespec limit = {.tv_nsec = timeout_ns};
    int n = epoll_pwait2(w->epoll, events, WORKER_EVENTS_MAX, &limit, NULL);
    if (n < 0 && errno != EINTR)
        fail(w, "epoll_pwait2: %s", strerror(errno));
    for (int i = 0; i < n && !w->failed; i++) {
        struct conn *c = events[i].data.ptr;
        if (events[i].events & EPOLLOUT)
            on_writable(w, c);
        if (events[i].events & ~(uint32_t)EPOLLOUT && !w->failed)
            on_readable(w, c);
    }
}

/* After the end, replies under way are waited for as long as any arrive. */
static bool gave_up(struct worker *w, int64_t now)
{
    bool over = atomic_load_explicit(&w->phase->stop, memory_order_relaxed) ||
                (w->phase->end_ns != 0 && now >= w->phase->end_ns);
    if (w->failed || !over)
        return w->failed;
    if (w->quiet_ns == 0)
        w->quiet_ns = now;
    return now - w->quiet_ns > (int64_t)WORKER_DRAIN_MS * 1000000;
}

static void run_closed(struct worker *w)
{
    int64_t now = now_ns();
    for (unsigned i = 0; i < w->nconns && more_to_send(w, now); i++)
        issue(w, &w->conns[i], 0);
    while (w->busy > 0 && !gave_up(w, now)) {
        wait_for_events(w, TICK_NS);
        now = now_ns();
    }
}

static double next_gap(struct worker *w)
{
    if (w->options->arrivals == ARRIVALS_EVEN)
        return w->gap_ns;
    return -log(1 - rng_unit(&w->rng)) * w->gap_ns;
}

static int64_t due_at(const struct worker *w)
{
    return w->tally.started_ns + (int64_t)w->due_ns;
}

/* Whether the next arrival still belongs to this phase. */
static bool arrivals_left(const struct worker *w, int64_t now)
{
    return more_to_send(w, now) && (w->phase->end_ns == 0 || due_at(w) < w->phase->end_ns);
}

static void issue_due(struct worker *w, int64_t now)
{
    while (w->nfree > 0 && due_at(w) <= now && arrivals_left(w, now) && !w->failed) {
        struct conn *c = w->free[w->free_at];
        w->free_at = (w->free_at + 1) % w->nconns;
        w->nfree--;
        issue(w, c, due_at(w));
        w->due_ns += next_gap(w);
    }
}

/* How long to wait for replies. Waking up takes longer than a short wait. */
static int64_t until_due(const struct worker *w, int64_t now)
{
    if (w->nfree == 0 || !arrivals_left(w, now))
        return TICK_NS;
    int64_t wait = due_at(w) - now - SPIN_NS;
    return wait < 0 ? 0 : wait < TICK_NS ? wait : TICK_NS;
}

/* Arrivals that fell due by the end and found no free connection. */
static void count_unsent(struct worker *w, int64_t now)
{
    int64_t end = w->phase->end_ns && w->phase->end_ns < now ? w->phase->end_ns : now;
    for (; w->left > 0 && !w->failed && due_at(w) < end; w->due_ns += next_gap(w))
        w->tally.unsent += w->batch;
}

static void run_open(struct worker *w)
{
    int64_t now = now_ns();
    w->due_ns = w->gap_ns * w->index / w->of;
    for (unsigned i = 0; i < w->nconns; i++)
        w->free[i] = &w->conns[i];
    w->nfree = w->nconns;
    w->free_at = 0;
    while ((arrivals_left(w, now) || w->busy > 0) && !gave_up(w, now)) {
        issue_due(w, now);
        wait_for_events(w, until_due(w, now));
        now = now_ns();
    }
    count_unsent(w, now);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    w->tally.started_ns = now_ns();
    if (w->gap_ns > 0)
        run_open(w);
    else
        run_closed(w);
    w->tally.ended_ns = now_ns();
    for (unsigned i = 0; i < w->nconns; i++)
        w->tally.unanswered += w->conns[i].open;
    uint64_t one = 1;
    if (write(w->phase->done_fd, &one, sizeof one) < 0)
        ASSERT(!"an eventfd takes 8 bytes");
    return NULL;
}

/* This worker's part [from, to) of n things. */
static void share(const struct worker *w, uint64_t n, uint64_t *from, uint64_t *to)
{
    *from = (uint64_t)((unsigned __int128)n * w->index / w->of);
    *to = (uint64_t)((unsigned __int128)n * (w->index + 1) / w->of);
}

static void choose_keys(struct worker *w, uint64_t first_key)
{
    const struct options *o = w->options;
    if (w->phase->loading || o->distribution == KEYDIST_SEQUENTIAL)
        keydist_sequential(&w->keys, o->keys, first_key < o->keys ? first_key : 0);
    else if (o->distribution == KEYDIST_ZIPF)
        keydist_zipf(&w->keys, o->keys, o->theta);
    else
        keydist_uniform(&w->keys, o->keys);
}

int worker_start(struct worker *w, struct phase *phase, uint64_t requests)
{
    const struct options *o = w->options;
    uint64_t first_key, end_key, from, to;
    share(w, o->keys, &first_key, &end_key);
    share(w, requests, &from, &to);
    memset(&w->tally, 0, sizeof w->tally);
    w->phase = phase;
    choose_keys(w, first_key);
    w->left = phase->loading ? end_key - first_key : requests == UINT64_MAX ? UINT64_MAX : to - from;
    w->batch = phase->loading ? w->plan->load_batch : (uint32_t)o->pipeline;
    w->reads = phase->loading ? 0 : o->command ? 1 : o->gets;
    w->cycle = phase->loading ? 1 : o->command ? 1 : o->gets + o->sets;
    w->gap_ns = phase->loading || o->rate == 0 ? 0 : 1e9 * (double)w->batch / o->rate * w->of;
    ASSERT(w->busy == 0);
    w->turn = 0;
    w->quiet_ns = 0;
    return pthread_create(&w->thread, NULL, worker_main, w) == 0 ? 0 : ERR_OOM;
}

void worker_join(struct worker *w)
{
    pthread_join(w->thread, NULL);
}

const struct tally *worker_tally(const struct worker *w)
{
    return &w->tally;
}

static int connect_all(struct worker *w, struct dial_err *err)
{
    for (unsigned i = 0; i < w->nconns; i++) {
        struct conn *c = &w->conns[i];
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
        int fd = dial(w->options, w->index == 0 && i == 0, err);
        if (fd < 0)
            return fd;
        c->fd = fd;
        if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &ev) < 0) {
            snprintf(err->text, sizeof err->text, "epoll_ctl: %s", strerror(errno));
            return ERR_IO;
        }
    }
    return 0;
}

int worker_new(const struct plan *plan, unsigned index, unsigned of, struct worker **out,
               struct dial_err *err)
{
    struct worker *w = mem_zalloc(sizeof *w);
    uint64_t from, to;
    int rc = ERR_OOM;
    if (w == NULL)
        return rc;
    *w = (struct worker){.plan = plan, .options = plan->options, .index = index, .of = of, .epoll = -1};
    share(w, plan->options->clients, &from, &to);
    rng_init(&w->rng, plan->options->seed * OPTIONS_THREADS_MAX + index);
    w->in = mem_alloc(WORKER_IN_SIZE);
    w->out = mem_alloc(plan->batch_bytes);
    w->conns = mem_zalloc((to - from) * sizeof *w->conns);
    w->free = mem_zalloc((to - from) * sizeof *w->free);
    if (w->in == NULL || w->out == NULL || w->conns == NULL || w->free == NULL)
        goto failed;
    w->nconns = (unsigned)(to - from);
    for (unsigned i = 0; i < w->nconns; i++) {
        w->conns[i].fd = -1;
        buf_init(&w->conns[i].out);
        scan_init(&w->conns[i].scan);
    }
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (w->epoll < 0) {
        snprintf(err->text, sizeof err->text, "epoll_create1: %s", strerror(errno));
        rc = ERR_IO;
        goto failed;
    }
    rc = connect_all(w, err);
    if (rc < 0)
        goto failed;
    *out = w;
    return 0;
failed:
    worker_free(w);
    return rc;
}

void worker_free(struct worker *w)
{
    if (w == NULL)
        return;
    for (unsigned i = 0; i < w->nconns; i++) {
        if (w->conns[i].fd >= 0)
            close(w->conns[i].fd);
        buf_release(&w->conns[i].out);
    }
    if (w->epoll >= 0)
        close(w->epoll);
    mem_free(w->conns);
    mem_free(w->free);
    mem_free(w->in);
    mem_free(w->out);
    mem_free(w);
}
