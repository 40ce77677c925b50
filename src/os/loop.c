/* The wake-up is an eventfd in edge-triggered mode: every write to it is an edge,
 * so it is never read and a wake-up costs the owner no call beyond epoll_wait().
 *
 * `woken` keeps further writers from the system call until the owner has seen the
 * first. A producer queues its work, then exchanges `woken`; the owner exchanges it
 * back and then looks at its queue. Both being exchanges, a producer that found it
 * set is seen by the owner's next look.
 *
 * With a ring, the owner waits in the ring, which watches the epoll descriptor:
 *
 *      streams ── ring ──────────────────┐
 *      the others ── epoll ── one poll ──┴─> ring_wait()
 *
 * A stream is in epoll only while it is not read, or waits for room to send. What epoll
 * still had at the last look is asked for again without waiting, since descriptors
 * are level-triggered; only when it had nothing does the ring watch it. */
#include "os/loop.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"
#include "os/ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* A descriptor that the ring reads. */
struct stream {
    struct ring_stream *st; /* NULL: this descriptor is none */
    bool polled;            /* it is in epoll, too */
};

struct loop {
    int epoll_fd, wake_fd;
    int n;                  /* events of this round */
    struct ring *ring;      /* NULL: epoll alone */
    struct stream *streams; /* by descriptor */
    int nstreams;
    bool epoll_busy; /* epoll had something at the last look */
    bool coarse;     /* epoll_pwait2() is not to be had */
    CACHE_ALIGNED _Atomic bool woken;
    CACHE_ALIGNED struct loop_event events[LOOP_EVENTS_MAX];
    struct epoll_event polled[LOOP_EVENTS_MAX];
};

static int control(struct loop *l, int op, int fd, uint32_t events, void *tag)
{
    struct epoll_event ev = {.events = events, .data.ptr = tag};
    if (epoll_ctl(l->epoll_fd, op, fd, &ev) == 0)
        return 0;
    return errno == ENOMEM ? ERR_OOM : ERR_IO;
}

int loop_new(struct loop **out, bool ring)
{
    int err = ERR_OOM;
    struct loop *l = mem_aligned(CACHE_LINE, sizeof *l);
    if (l == NULL)
        return ERR_OOM;
    memset(l, 0, offsetof(struct loop, events));
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->epoll_fd < 0 || l->wake_fd < 0)
        err = ERR_IO;
    else
        err = control(l, EPOLL_CTL_ADD, l->wake_fd, EPOLLIN | EPOLLET, l);
    if (err == 0 && ring && ring_new(&l->ring, l->epoll_fd) == ERR_OOM)
        err = ERR_OOM;
    if (err < 0) {
        int saved = errno;
        loop_free(l);
        errno = saved;
        return err;
    }
    *out = l;
    return 0;
}

void loop_free(struct loop *l)
{
    if (l == NULL)
        return;
    ring_free(l->ring);
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
    mem_free(l->streams);
    mem_free(l);
}

bool loop_has_ring(const struct loop *l)
{
    return l->ring != NULL;
}

void loop_bound_reading(struct loop *l, size_t bytes)
{
    if (l->ring != NULL)
        ring_bound(l->ring, bytes);
}

/* ---- what to wait for ---- */

static uint32_t epoll_bits(unsigned interest)
{
    uint32_t bits = 0;
    if (interest & LOOP_READ)
        bits |= EPOLLIN;
    if (interest & LOOP_WRITE)
        bits |= EPOLLOUT;
    if (interest & LOOP_HANGUP)
        bits |= EPOLLRDHUP;
    if (interest & LOOP_EXCLUSIVE)
        bits |= EPOLLEXCLUSIVE;
    return bits;
}

static struct stream *stream_of(struct loop *l, int fd)
{
    return fd < l->nstreams && l->streams[fd].st != NULL ? &l->streams[fd] : NULL;
}

static int add_stream(struct loop *l, int fd, void *tag)
{
    if (fd >= l->nstreams) {
        int n = fd + fd / 2 + 64;
        struct stream *grown = mem_realloc(l->streams, (size_t)n * sizeof *grown);
        if (grown == NULL)
            return ERR_OOM;
        memset(grown + l->nstreams, 0, (size_t)(n - l->nstreams) * sizeof *grown);
        l->streams = grown;
        l->nstreams = n;
    }
    struct ring_stream *st = ring_stream_new(l->ring, fd, tag);
    if (st == NULL)
        return ERR_OOM;
    l->streams[fd] = (struct stream){.st = st};
    return 0;
}

/* Unread, it stays in epoll, which tells when the peer is gone. */
static int change_stream(struct loop *l, int fd, unsigned interest, void *tag)
{
    struct stream *s = &l->streams[fd];
    bool read = (interest & LOOP_READ) != 0, poll = !read || (interest & LOOP_WRITE);
    ring_stream_set(l->ring, s->st, read);
    int err = 0;
    if (poll || s->polled)
        err = control(l,
                      !s->polled ? EPOLL_CTL_ADD
                      : poll     ? EPOLL_CTL_MOD
                                 : EPOLL_CTL_DEL,
                      fd, epoll_bits(interest & (LOOP_WRITE | LOOP_HANGUP)), tag);
    s->polled = poll;
    return err;
}

int loop_add(struct loop *l, int fd, unsigned interest, void *tag)
{
    DEBUG_ASSERT(tag != NULL && tag != l);
    if (l->ring != NULL && (interest & LOOP_STREAM))
        return add_stream(l, fd, tag);
    return control(l, EPOLL_CTL_ADD, fd, epoll_bits(interest), tag);
}

int loop_change(struct loop *l, int fd, unsigned interest, void *tag)
{
    DEBUG_ASSERT(tag != NULL && tag != l && !(interest & LOOP_EXCLUSIVE));
    if (stream_of(l, fd) != NULL)
        return change_stream(l, fd, interest, tag);
    return control(l, EPOLL_CTL_MOD, fd, epoll_bits(interest), tag);
}

void loop_remove(struct loop *l, int fd)
{
    struct stream *s = stream_of(l, fd);
    if (s != NULL) {
        ring_stream_drop(l->ring, s->st);
        s->st = NULL;
        if (!s->polled)
            return;
    }
    int err = control(l, EPOLL_CTL_DEL, fd, 0, NULL);
    DEBUG_ASSERT(err == 0);
    (void)err;
}

/* ---- rounds ---- */

/* Milliseconds do for most; where the kernel has nothing finer (before 5.11, some sandboxes) for all. */
static int poll_events(struct loop *l, int64_t timeout_us)
{
    int max = LOOP_EVENTS_MAX - l->n, n = -1;
    if (timeout_us > 0 && timeout_us % 1000 != 0 && !l->coarse) {
        const struct timespec t = {timeout_us / 1000000, timeout_us % 1000000 * 1000};
        n = epoll_pwait2(l->epoll_fd, l->polled, max, &t, NULL);
        l->coarse = n < 0 && errno != EINTR;
        if (!l->coarse)
            return n;
    }
    return epoll_wait(l->epoll_fd, l->polled, max, timeout_us < 0 ? -1 : (int)((timeout_us + 999) / 1000));
}

static void take_polled(struct loop *l, int64_t timeout_us)
{
    int n = poll_events(l, timeout_us);
    ASSERT(n >= 0 || errno == EINTR);
    for (int i = 0; i < n; i++) {
        const struct epoll_event *ev = &l->polled[i];
        if (unlikely(ev->data.ptr == l)) {
            atomic_exchange_explicit(&l->woken, false, memory_order_acq_rel);
            continue;
        }
        l->events[l->n++] = (struct loop_event){
            .tag = ev->data.ptr,
            .readable = (ev->events & EPOLLIN) != 0,
            .writable = (ev->events & EPOLLOUT) != 0,
            .hangup = (ev->events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR)) != 0,
        };
    }
    l->epoll_busy = n > 0;
}

static void take_received(struct loop *l, int64_t timeout_us)
{
    struct ring_event ev;
    ring_wait(l->ring, l->epoll_busy ? 0 : timeout_us, !l->epoll_busy);
    while (l->n < LOOP_EVENTS_MAX - 1 && ring_next(l->ring, &ev)) {
        if (ev.tag == NULL)
            l->epoll_busy = true;
        else
            l->events[l->n++] =
                (struct loop_event){.tag = ev.tag, .received = true, .data = ev.data, .n = ev.n};
    }
}

int loop_wait(struct loop *l, int64_t timeout_us)
{
    l->n = 0;
    if (l->ring != NULL) {
        take_received(l, timeout_us);
        if (l->epoll_busy)
            take_polled(l, 0);
    } else {
        take_polled(l, timeout_us);
    }
    return l->n;
}

struct loop_event loop_event(const struct loop *l, int i)
{
    DEBUG_ASSERT(i >= 0 && i < l->n);
    return l->events[i];
}

void loop_forget(struct loop *l, void *tag)
{
    for (int i = 0; i < l->n; i++)
        if (l->events[i].tag == tag)
            l->events[i] = (struct loop_event){0};
}

void loop_wake(struct loop *l)
{
    if (atomic_exchange_explicit(&l->woken, true, memory_order_acq_rel))
        return;
    uint64_t one = 1;
    ssize_t n;
    do
        n = write(l->wake_fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
    ASSERT(n == sizeof one);
}
