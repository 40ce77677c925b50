/* The wake-up is an eventfd in edge-triggered mode: every write to it is an edge,
 * so it is never read and a wake-up costs the owner no call beyond epoll_wait().
 *
 * `woken` keeps further writers from the system call until the owner has seen the
 * first. A producer queues its work, then exchanges `woken`; the owner exchanges it
 * back and then looks at its queue. Both being exchanges, a producer that found it
 * set is seen by the owner's next look. */
#include "os/loop.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct loop {
    int epoll_fd, wake_fd;
    int n; /* events of this round */
    CACHE_ALIGNED _Atomic bool woken;
    CACHE_ALIGNED struct epoll_event events[LOOP_EVENTS_MAX];
};

static int control(struct loop *l, int op, int fd, uint32_t events, void *tag)
{
    struct epoll_event ev = {.events = events, .data.ptr = tag};
    if (epoll_ctl(l->epoll_fd, op, fd, &ev) == 0)
        return 0;
    return errno == ENOMEM ? ERR_OOM : ERR_IO;
}

int loop_new(struct loop **out)
{
    int err = ERR_OOM;
    struct loop *l = mem_aligned(CACHE_LINE, sizeof *l);
    if (l == NULL)
        return ERR_OOM;
    l->n = 0;
    atomic_init(&l->woken, false);
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->epoll_fd < 0 || l->wake_fd < 0)
        err = ERR_IO;
    else
        err = control(l, EPOLL_CTL_ADD, l->wake_fd, EPOLLIN | EPOLLET, l);
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
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
    mem_free(l);
}

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

int loop_add(struct loop *l, int fd, unsigned interest, void *tag)
{
    DEBUG_ASSERT(tag != NULL && tag != l);
    return control(l, EPOLL_CTL_ADD, fd, epoll_bits(interest), tag);
}

int loop_change(struct loop *l, int fd, unsigned interest, void *tag)
{
    DEBUG_ASSERT(tag != NULL && tag != l && !(interest & LOOP_EXCLUSIVE));
    return control(l, EPOLL_CTL_MOD, fd, epoll_bits(interest), tag);
}

void loop_remove(struct loop *l, int fd)
{
    int err = control(l, EPOLL_CTL_DEL, fd, 0, NULL);
    DEBUG_ASSERT(err == 0);
    (void)err;
}

int loop_wait(struct loop *l, int timeout_ms)
{
    l->n = 0;
    int n = epoll_wait(l->epoll_fd, l->events, LOOP_EVENTS_MAX, timeout_ms);
    ASSERT(n >= 0 || errno == EINTR);
    for (int i = 0; i < n; i++) {
        if (likely(l->events[i].data.ptr != l))
            l->events[l->n++] = l->events[i];
        else
            atomic_exchange_explicit(&l->woken, false, memory_order_acq_rel);
    }
    return l->n;
}

struct loop_event loop_event(const struct loop *l, int i)
{
    DEBUG_ASSERT(i >= 0 && i < l->n);
    const struct epoll_event *ev = &l->events[i];
    return (struct loop_event){
        .tag = ev->data.ptr,
        .readable = (ev->events & EPOLLIN) != 0,
        .writable = (ev->events & EPOLLOUT) != 0,
        .hangup = (ev->events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR)) != 0,
    };
}

void loop_forget(struct loop *l, void *tag)
{
    for (int i = 0; i < l->n; i++)
        if (l->events[i].data.ptr == tag)
            l->events[i] = (struct epoll_event){0};
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
