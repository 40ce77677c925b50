/* Load, warm-up and measurement are phases: threads start, work, end, are joined.
 * Counting from quiet to quiet means that the server's CPU time belongs to exactly the
 * requests counted, and that nothing of the warm-up leaks into the measurement.
 *
 *      connect | load | warm-up | cpu, measure, cpu | outcome
 *
 * SIGINT is blocked everywhere and read from a signalfd, so no handler and no global:
 * the conductor sleeps in one poll() for it, for the workers' eventfd and for the next
 * refresh of the progress line. */
#include "tool/bench/run.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"
#include "os/clock.h"
#include "tool/bench/procstat.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
    PROGRESS_MS = 500,
    SPARE_FDS = 32, /* besides the connections */
};

struct conductor {
    const struct options *options;
    struct outcome *out;
    struct plan plan;
    struct worker **workers;
    unsigned nworkers;
    int signals, done; /* descriptors */
    bool progress;
    struct hist *now, *before, *delta; /* for the progress line */
    int64_t last_ns;
};

static int fail(struct conductor *c, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);

static int fail(struct conductor *c, int err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(c->out->failure, sizeof c->out->failure, fmt, args);
    va_end(args);
    return err;
}

static int raise_fd_limit(struct conductor *c)
{
    struct rlimit limit;
    rlim_t need = c->options->clients + SPARE_FDS;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= need)
        return 0;
    if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < need)
        return fail(c, ERR_FULL,
                    "%lu clients need %lu file descriptors, and %lu are allowed; see 'ulimit -n'",
                    (unsigned long)c->options->clients, (unsigned long)need, (unsigned long)limit.rlim_max);
    limit.rlim_cur = need;
    setrlimit(RLIMIT_NOFILE, &limit);
    return 0;
}

static int open_descriptors(struct conductor *c)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    c->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    c->done = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (c->signals < 0 || c->done < 0)
        return fail(c, ERR_IO, "signalfd, eventfd: %s", strerror(errno));
    return 0;
}

static int pin(struct conductor *c)
{
    if (c->options->pinned && sched_setaffinity(0, sizeof c->options->cpus, &c->options->cpus) < 0)
        return fail(c, ERR_IO, "--cpu: %s; 'taskset -pc $$' shows which CPUs there are", strerror(errno));
    return 0;
}

static int connect_workers(struct conductor *c)
{
    struct dial_err err;
    c->workers = mem_zalloc(c->options->threads * sizeof *c->workers);
    if (c->workers == NULL)
        return fail(c, ERR_OOM, "out of memory");
    for (; c->nworkers < c->options->threads; c->nworkers++) {
        int rc =
            worker_new(&c->plan, c->nworkers, (unsigned)c->options->threads, &c->workers[c->nworkers], &err);
        if (rc < 0)
            return fail(c, rc, "%s", rc == ERR_OOM ? "out of memory" : err.text);
    }
    return 0;
}

static void gather(const struct conductor *c, struct hist *all)
{
    hist_clear(all);
    for (unsigned i = 0; i < c->nworkers; i++) {
        hist_merge(all, &worker_tally(c->workers[i])->reads);
        hist_merge(all, &worker_tally(c->workers[i])->writes);
    }
}

static void show_progress(struct conductor *c, const char *name, int64_t start_ns)
{
    int64_t now = os_mono_ns();
    uint64_t errors = 0;
    gather(c, c->now);
    hist_clear(c->delta);
    hist_merge(c->delta, c->now);
    hist_subtract(c->delta, c->before);
    for (unsigned i = 0; i < c->nworkers; i++)
        errors += counter_read(&worker_tally(c->workers[i])->errors);
    fprintf(stderr, "\r%-8s %6.1f s  %11lu done  %9.0f/s  p50 %.3f  p99 %.3f  max %.3f ms  errors %lu\033[K",
            name, (double)(now - start_ns) / 1e9, (unsigned long)hist_total(c->now),
            (double)hist_total(c->delta) * 1e9 / (double)(now - c->last_ns),
            (double)hist_quantile(c->delta, 0.5) / 1e6, (double)hist_quantile(c->delta, 0.99) / 1e6,
            (double)hist_max(c->delta) / 1e6, (unsigned long)errors);
    struct hist *spare = c->before;
    c->before = c->now;
    c->now = spare;
    c->last_ns = now;
}

/* Until all workers have ended; a signal stops them. */
static void attend(struct conductor *c, struct phase *phase, const char *name, int64_t start_ns)
{
    uint64_t ended = 0;
    while (ended < c->nworkers) {
        struct pollfd fds[2] = {{.fd = c->signals, .events = POLLIN}, {.fd = c->done, .events = POLLIN}};
        struct signalfd_siginfo info;
        uint64_t n;
        int ready = poll(fds, 2, c->progress ? PROGRESS_MS : -1);
        if (read(c->signals, &info, sizeof info) > 0) {
            c->out->interrupted = true;
            atomic_store_explicit(&phase->stop, true, memory_order_relaxed);
        }
        if (read(c->done, &n, sizeof n) > 0)
            ended += n;
        if (ready == 0)
            show_progress(c, name, start_ns);
    }
    if (c->progress)
        fprintf(stderr, "\r\033[K");
}

/* One phase from quiet to quiet. Returns 0, or an error with the failure's text. */
static int perform(struct conductor *c, const char *name, bool loading, uint64_t requests, double seconds)
{
    int64_t start = os_mono_ns();
    struct phase phase = {.loading = loading, .done_fd = c->done};
    unsigned started = 0, all = c->nworkers;
    int rc = 0;
    if (seconds > 0)
        phase.end_ns = start + (int64_t)(seconds * 1e9);
    hist_clear(c->before);
    c->last_ns = start;
    for (; started < all && rc == 0; started++)
        rc = worker_start(c->workers[started], &phase, requests);
    if (rc < 0) {
        atomic_store_explicit(&phase.stop, true, memory_order_relaxed);
        started--;
        fail(c, rc, "no thread: %s", strerror(EAGAIN));
    }
    c->nworkers = started;
    attend(c, &phase, name, start);
    for (unsigned i = 0; i < started; i++)
        worker_join(c->workers[i]);
    c->nworkers = all;
    for (unsigned i = 0; i < started && rc == 0; i++) {
        const struct tally *t = worker_tally(c->workers[i]);
        if (t->failure[0])
            rc = fail(c, ERR_IO, "%s", t->failure);
        else if (t->unanswered)
            rc = fail(c, ERR_IO, "no reply to %lu requests: silence for %d s after the end",
                      (unsigned long)t->unanswered, WORKER_DRAIN_MS / 1000);
    }
    return rc;
}

static void collect(struct conductor *c)
{
    struct outcome *out = c->out;
    int64_t from = INT64_MAX, to = INT64_MIN;
    for (unsigned i = 0; i < c->nworkers; i++) {
        const struct tally *t = worker_tally(c->workers[i]);
        out->hits += counter_read(&t->hits);
        out->misses += counter_read(&t->misses);
        out->errors += counter_read(&t->errors);
        out->bytes_in += counter_read(&t->bytes_in);
        out->bytes_out += counter_read(&t->bytes_out);
        out->unsent += t->unsent;
        out->unanswered += t->unanswered;
        hist_merge(&out->reads, &t->reads);
        hist_merge(&out->writes, &t->writes);
        if (out->first_error[0] == '\0')
            memcpy(out->first_error, t->first_error, sizeof t->first_error);
        from = t->started_ns < from ? t->started_ns : from;
        to = t->ended_ns > to ? t->ended_ns : to;
    }
    hist_merge(&out->all, &out->reads);
    hist_merge(&out->all, &out->writes);
    out->seconds = (double)(to - from) / 1e9;
    out->measured = true;
}

static int measure(struct conductor *c)
{
    const struct options *o = c->options;
    struct procstat before = {0}, after = {0};
    int pid = (int)o->server_pid;
    if (pid && procstat_read(pid, &before) < 0)
        return fail(c, ERR_NOTFOUND, "--server-pid %d: there is no such process here", pid);
    int64_t own = os_cpu_ns();
    int rc = o->requests == 0 ? perform(c, "load", true, 0, 0)
                              : perform(c, "measure", false, o->requests, o->seconds);
    c->out->own_cpu_s = (double)(os_cpu_ns() - own) / 1e9;
    if (pid && procstat_read(pid, &after) == 0) {
        uint64_t user = after.user_ticks - before.user_ticks,
                 system = after.system_ticks - before.system_ticks;
        c->out->server_cpu_known = true;
        c->out->server_cpu_s = (double)(after.cpu_ns - before.cpu_ns) / 1e9;
        c->out->server_user_share = user + system ? (double)user / (double)(user + system) : 0;
    }
    collect(c);
    return rc;
}

static int phases(struct conductor *c)
{
    const struct options *o = c->options;
    int rc = 0;
    if (o->load && o->requests != 0)
        rc = perform(c, "load", true, 0, 0);
    for (unsigned i = 0; i < c->nworkers && rc == 0 && o->load; i++) {
        const struct tally *t = worker_tally(c->workers[i]);
        if (counter_read(&t->errors))
            rc = fail(c, ERR_IO, "loading got %lu errors, the first: %s",
                      (unsigned long)counter_read(&t->errors), t->first_error);
    }
    if (rc == 0 && o->warmup_s > 0 && o->requests != 0 && !c->out->interrupted)
        rc = perform(c, "warm-up", false, UINT64_MAX, o->warmup_s);
    if (rc < 0 || c->out->interrupted)
        return rc;
    return measure(c);
}

static int prepare(struct conductor *c)
{
    int rc = raise_fd_limit(c);
    if (rc == 0)
        rc = open_descriptors(c);
    if (rc == 0)
        rc = pin(c);
    if (rc == 0 && (rc = plan_init(&c->plan, c->options)) < 0)
        fail(c, rc, "out of memory");
    c->now = mem_zalloc(sizeof *c->now);
    c->before = mem_zalloc(sizeof *c->before);
    c->delta = mem_zalloc(sizeof *c->delta);
    if (rc == 0 && (c->now == NULL || c->before == NULL || c->delta == NULL))
        rc = fail(c, ERR_OOM, "out of memory");
    return rc == 0 ? connect_workers(c) : rc;
}

static void tidy_up(struct conductor *c)
{
    for (unsigned i = 0; i < c->nworkers; i++)
        worker_free(c->workers[i]);
    mem_free(c->workers);
    plan_release(&c->plan);
    mem_free(c->now);
    mem_free(c->before);
    mem_free(c->delta);
    if (c->signals >= 0)
        close(c->signals);
    if (c->done >= 0)
        close(c->done);
}

int run(const struct options *o, struct outcome *out)
{
    struct conductor c = {.options = o, .out = out, .signals = -1, .done = -1};
    memset(out, 0, sizeof *out);
    c.progress = !o->quiet && isatty(STDERR_FILENO);
    int rc = prepare(&c);
    if (rc == 0)
        rc = phases(&c);
    tidy_up(&c);
    return rc;
}
