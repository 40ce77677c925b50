/* The window is an array of flights. One that is in the air has its GET with the server;
 * one that waits hangs behind the flight of the same key, oldest first:
 *
 *      line_end[key]    0: nobody, else 1 + the last flight for this key
 *      flight.next      the flight that waits behind, NONE: nobody
 *
 * An answer lands its flight: after a miss the SET goes out, then the GET of the next in
 * line, on the same connection and so in this order at the server. */
#include "bench/replay/play.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"
#include "base/rng.h"
#include "os/clock.h"
#include "os/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONNECT_MS = 5000,
    READ_BYTES = 256 * 1024,
    NONE = UINT32_MAX,
    WARM_TAG = NONE - 1, /* of GETs that belong to no flight */
    GAP_MS = 60000,
    GAP_PAUSE_MS = 10,
    SLIDES = 4096, /* values begin at one of so many places of the random bytes */
};

struct flight {
    uint32_t request, next;
};

struct player {
    const struct trace *t;
    const struct play_options *o;
    struct play_result *out;
    struct play_err *err;
    struct wire wire;
    size_t sent; /* of wire.out */
    struct flight flights[PLAY_WINDOW_MAX];
    uint32_t spare[PLAY_WINDOW_MAX], nspare;
    uint32_t *line_end;
    uint64_t next; /* the first request that is not yet in the window */
    uint64_t warming;
    int64_t *clock; /* shared with the server */
    int64_t start_ns, heard_ns;
    char *values, *in;
    int fd;
};

static int fail(struct player *p, int rc, const char *what, const char *why)
{
    snprintf(p->err->text, sizeof p->err->text, "%s%s%s", what, why[0] ? ": " : "", why);
    return rc;
}

/* ---- flights --------------------------------------------------------------------------- */

static void stored(void *arg, bool ok)
{
    struct player *p = arg;
    p->out->stored += ok;
    p->out->refused += !ok;
}

static void store(struct player *p, const struct trace_request *r)
{
    wire_set(&p->wire, r->key, p->values + r->key % SLIDES, r->bytes, (uint64_t)r->ttl_s * 1000);
}

static void answered(void *arg, uint32_t tag, bool hit)
{
    struct player *p = arg;
    if (tag == WARM_TAG) {
        p->warming--;
        return;
    }
    struct flight *f = &p->flights[tag];
    const struct trace_request *r = &p->t->requests[f->request];
    p->out->hits += hit;
    p->out->misses += !hit;
    if (!hit)
        store(p, r);
    if (f->next != NONE)
        wire_get(&p->wire, r->key, f->next);
    else
        p->line_end[r->key] = 0;
    p->spare[p->nspare++] = tag;
}

static void take_off(struct player *p)
{
    uint32_t tag = p->spare[--p->nspare];
    uint32_t key = p->t->requests[p->next].key, *end = &p->line_end[key];
    p->flights[tag] = (struct flight){(uint32_t)p->next++, NONE};
    if (*end != 0)
        p->flights[*end - 1].next = tag;
    else
        wire_get(&p->wire, key, tag);
    *end = tag + 1;
}

/* ---- the clock --------------------------------------------------------------------------- */

/* The server's clock goes by itself, too; it is put ahead by what the trace is ahead of that, and
 * never back: a trace slower than real time is replayed by the real clock. */
static void set_clock(struct player *p, const struct trace_request *r)
{
    int64_t ahead = r->at_ms * INT64_C(1000000) - (os_mono_ns() - p->start_ns);
    if (p->clock != NULL && ahead > *p->clock)
        __atomic_store_n(p->clock, ahead, __ATOMIC_RELAXED);
}

/* Does nothing happen for long before the next request? Then what came before is finished first, and the
 * server's timers, which look at the clock now and then, are given the time to. */
static bool gap_ahead(const struct player *p)
{
    return p->next > 0 && p->t->requests[p->next].at_ms - p->t->requests[p->next - 1].at_ms > GAP_MS;
}

/* Everything that has room, once half of the window has: refilled at every reply it would travel in
 * crumbs, and both sides would spend their time in system calls. */
static void fill(struct player *p)
{
    if (p->next == p->t->n || (p->nspare < (p->o->window + 1) / 2 && wire_busy(&p->wire)))
        return;
    if (gap_ahead(p)) {
        if (wire_busy(&p->wire))
            return;
        set_clock(p, &p->t->requests[p->next]);
        (void)poll(NULL, 0, GAP_PAUSE_MS);
        take_off(p);
    }
    while (p->next < p->t->n && p->nspare > 0 && !gap_ahead(p))
        take_off(p);
    set_clock(p, &p->t->requests[p->next - 1]);
}

static int map_clock(struct player *p)
{
    int fd = p->o->clock ? open(p->o->clock, O_RDWR | O_CLOEXEC) : -1;
    if (p->o->clock == NULL)
        return 0;
    void *m = fd >= 0 && ftruncate(fd, sizeof *p->clock) == 0
                  ? mmap(NULL, sizeof *p->clock, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                  : MAP_FAILED;
    if (m != MAP_FAILED)
        p->clock = m;
    if (fd >= 0)
        close(fd);
    return m != MAP_FAILED ? 0 : fail(p, ERR_IO, p->o->clock, "cannot be mapped");
}

/* ---- the connection ---------------------------------------------------------------------- */

static int send_some(struct player *p)
{
    wire_flush(&p->wire);
    if (p->wire.out.oom)
        return fail(p, ERR_OOM, "out of memory for requests", "");
    while (p->sent < p->wire.out.n) {
        ssize_t n = send(p->fd, p->wire.out.p + p->sent, p->wire.out.n - p->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n < 0)
            return fail(p, ERR_IO, "sending", strerror(errno));
        p->sent += (size_t)n;
    }
    buf_clear(&p->wire.out);
    p->sent = 0;
    return 0;
}

static int receive_some(struct player *p)
{
    const struct wire_events events = {answered, stored, p};
    for (;;) {
        ssize_t n = recv(p->fd, p->in, READ_BYTES, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n <= 0)
            return fail(p, ERR_IO, "the server is gone",
                        n < 0 ? strerror(errno) : "it closed the connection");
        p->heard_ns = os_mono_ns();
        if (wire_read(&p->wire, p->in, (size_t)n, &events) != 0)
            return fail(p, ERR_PROTO, "a reply that is not expected", p->wire.error);
        if (n < READ_BYTES)
            return 0;
    }
}

static int exchange(struct player *p)
{
    int rc = send_some(p);
    if (rc != 0)
        return rc;
    short events = (short)(POLLIN | (p->sent < p->wire.out.n ? POLLOUT : 0));
    struct pollfd pfd = {.fd = p->fd, .events = events};
    if (poll(&pfd, 1, PLAY_SILENCE_MS) < 0 && errno != EINTR)
        return fail(p, ERR_IO, "poll", strerror(errno));
    if (wire_busy(&p->wire) && os_mono_ns() - p->heard_ns > PLAY_SILENCE_MS * (int64_t)1000000)
        return fail(p, ERR_IO, "the server has not answered for half a minute", "");
    if (!wire_busy(&p->wire))
        p->heard_ns = os_mono_ns();
    return pfd.revents & (POLLIN | POLLERR | POLLHUP) ? receive_some(p) : 0;
}

/* Code, buffers and the connection are paged in before memory is looked at. */
static int warm(struct player *p)
{
    int rc = 0;
    p->heard_ns = os_mono_ns();
    for (uint32_t done = 0; rc == 0 && done < PLAY_WARM;) {
        for (; p->warming < p->o->window && done < PLAY_WARM; done++, p->warming++)
            wire_get(&p->wire, UINT32_MAX - done, WARM_TAG);
        while (rc == 0 && p->warming > 0)
            rc = exchange(p);
    }
    while (rc == 0 && wire_busy(&p->wire))
        rc = exchange(p);
    return rc;
}

static int replay(struct player *p)
{
    int rc = 0;
    p->start_ns = p->heard_ns = os_mono_ns();
    while (rc == 0 && (p->next < p->t->n || wire_busy(&p->wire))) {
        fill(p);
        rc = exchange(p);
    }
    p->out->seconds = (double)(os_mono_ns() - p->start_ns) / 1e9;
    return rc;
}

/* ---- memory ------------------------------------------------------------------------------ */

static uint64_t status_bytes(int pid, const char *field)
{
    char path[64], line[256];
    uint64_t kb = 0;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *f = pid != 0 ? fopen(path, "re") : NULL;
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, field, strlen(field)) == 0)
            kb = strtoull(line + strlen(field), NULL, 10);
    if (f != NULL)
        fclose(f);
    return kb * 1024;
}

static void prepare(struct player *p)
{
    struct rng rng;
    size_t n = TRACE_VALUE_MAX + SLIDES;
    rng_init(&rng, 1);
    p->values = mem_must(mem_alloc(n));
    for (size_t i = 0; i < n; i++) /* no line ends, so that a value can be read in a dump */
        p->values[i] = (char)('!' + rng_below(&rng, 90));
    p->in = mem_must(mem_alloc(READ_BYTES));
    p->line_end = mem_must(mem_zalloc(p->t->keys * sizeof *p->line_end));
    for (p->nspare = 0; p->nspare < p->o->window; p->nspare++)
        p->spare[p->nspare] = p->nspare;
    wire_init(&p->wire, p->o->protocol, p->t->key_bytes);
}

int play(const struct trace *t, const struct play_options *o, struct play_result *out, struct play_err *err)
{
    ASSERT(o->window > 0 && o->window <= PLAY_WINDOW_MAX);
    struct sock_err sock;
    struct player *p = mem_must(mem_zalloc(sizeof *p));
    *out = (struct play_result){0};
    p->t = t;
    p->o = o;
    p->out = out;
    p->err = err;
    prepare(p);
    p->fd = sock_connect_tcp(o->host, o->port, CONNECT_MS, true, &sock);
    int rc = p->fd < 0 ? fail(p, ERR_IO, sock.text, "") : map_clock(p);
    if (rc == 0) {
        sock_set_nodelay(p->fd);
        rc = warm(p);
    }
    out->rss_before = status_bytes(o->server_pid, "VmRSS:");
    if (rc == 0)
        rc = replay(p);
    out->rss_peak = status_bytes(o->server_pid, "VmHWM:");
    out->rss_after = status_bytes(o->server_pid, "VmRSS:");
    memcpy(out->first_error, p->wire.error, sizeof out->first_error);
    if (p->fd >= 0)
        close(p->fd);
    if (p->clock != NULL)
        munmap(p->clock, sizeof *p->clock);
    wire_release(&p->wire);
    mem_free(p->values);
    mem_free(p->in);
    mem_free(p->line_end);
    mem_free(p);
    return rc;
}
