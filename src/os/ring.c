#include "os/ring.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    SUBMISSIONS = 1024,
    COMPLETIONS = 4096,
    GROUP = 0, /* of the provided buffers */
    NO_BUFFER = -1,
    BRINGS_MAX = 16, /* times that the kernel is asked for more in one wait */
};

/* user_data of requests that are not a stream's receive. */
enum { TOKEN_NOTHING = 0, TOKEN_WATCH = 1 };

struct ring_stream {
    void *tag; /* NULL: dropped, freed when the kernel and the waiting list have let go of it */
    struct ring_stream *next, *prev; /* ring.streams */
    struct ring_stream *next_waiting;
    int fd;
    bool wanted;    /* the owner wants to hear of it */
    bool armed;     /* a receive is in the kernel */
    bool cancelled; /* ... and has been told to end */
    bool ended;     /* end of file or an error: never armed again */
    bool waiting;   /* in ring.waiting */
};

struct ring {
    struct io_uring uring;
    struct io_uring_buf_ring *offered; /* buffers the kernel may fill */
    char *buffers;
    int watch_fd;
    bool enabled;                /* by its owner's first wait: the kernel then knows whose it is */
    bool watched;                /* a poll of watch_fd is in the kernel */
    struct ring_stream *streams; /* all, the dropped ones included */
    struct ring_stream *waiting; /* to be armed by the next wait, when there are buffers again */
    unsigned noffered;           /* buffers in use so far, from the first on */
    _Atomic unsigned most;       /* ... of which there may be so many */
    bool starved;                /* in this round the kernel has found none free */
    unsigned nused;
    uint16_t used[RING_BUFFERS]; /* filled in this round */
};

static size_t offered_bytes(void)
{
    return RING_BUFFERS * sizeof(struct io_uring_buf);
}

static void offer(struct ring *r, uint16_t id, int place)
{
    io_uring_buf_ring_add(r->offered, r->buffers + (size_t)id * RING_BUFFER_SIZE, RING_BUFFER_SIZE, id,
                          io_uring_buf_ring_mask(RING_BUFFERS), place);
}

/* The kernel goes through all that it has in turn, so each one offered is soon resident. */
static void offer_more(struct ring *r, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        offer(r, (uint16_t)(r->noffered + i), (int)i);
    io_uring_buf_ring_advance(r->offered, (int)n);
    r->noffered += n;
}

static int set_up(struct ring *r)
{
    struct io_uring_params p = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED |
                 IORING_SETUP_CQSIZE | IORING_SETUP_TASKRUN_FLAG,
        .cq_entries = COMPLETIONS,
    };
    int rc = io_uring_queue_init_params(SUBMISSIONS, &r->uring, &p);
    if (rc != 0)
        return rc;
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)r->offered, .ring_entries = RING_BUFFERS, .bgid = GROUP};
    rc = (p.features & IORING_FEAT_EXT_ARG) ? io_uring_register_buf_ring(&r->uring, &reg, 0) : -ENOSYS;
    if (rc != 0)
        io_uring_queue_exit(&r->uring);
    return rc;
}

int ring_new(struct ring **out, int watch_fd)
{
    struct ring *r = mem_zalloc(sizeof *r);
    if (r == NULL)
        return ERR_OOM;
    r->watch_fd = watch_fd;
    r->offered = mem_aligned(4096, offered_bytes());
    r->buffers = mem_aligned(4096, (size_t)RING_BUFFERS * RING_BUFFER_SIZE);
    int rc = r->offered == NULL || r->buffers == NULL ? -ENOMEM : set_up(r);
    if (rc != 0) {
        mem_free(r->offered);
        mem_free(r->buffers);
        mem_free(r);
        errno = -rc;
        return rc == -ENOMEM ? ERR_OOM : ERR_IO;
    }
    io_uring_buf_ring_init(r->offered);
    offer_more(r, RING_BUFFERS_FIRST);
    atomic_init(&r->most, RING_BUFFERS);
    *out = r;
    return 0;
}

void ring_bound(struct ring *r, size_t bytes)
{
    unsigned most = RING_BUFFERS;
    while (most > RING_BUFFERS_FIRST && (size_t)most * RING_BUFFER_SIZE > bytes)
        most /= 2;
    atomic_store_explicit(&r->most, most, memory_order_relaxed);
}

static void free_stream(struct ring *r, struct ring_stream *st)
{
    if (st->prev != NULL)
        st->prev->next = st->next;
    else
        r->streams = st->next;
    if (st->next != NULL)
        st->next->prev = st->prev;
    mem_free(st);
}

void ring_free(struct ring *r)
{
    if (r == NULL)
        return;
    io_uring_queue_exit(&r->uring);
    while (r->streams != NULL)
        free_stream(r, r->streams);
    mem_free(r->offered);
    mem_free(r->buffers);
    mem_free(r);
}

/* Room for one more request. The kernel takes what is queued when there is none; NULL when it
 * does not, as when the owner has ended and somebody else cleans up. */
static struct io_uring_sqe *request(struct ring *r)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);
    if (likely(sqe != NULL))
        return sqe;
    io_uring_submit(&r->uring);
    return io_uring_get_sqe(&r->uring);
}

/* ---- streams ---- */

/* Arming waits for the next ring_wait(): only then are this round's buffers free again. */
static void want_arming(struct ring *r, struct ring_stream *st)
{
    if (st->waiting)
        return;
    st->waiting = true;
    st->next_waiting = r->waiting;
    r->waiting = st;
}

/* Only on the way into the kernel: an armed descriptor could be closed, and its number used again, before
 * the kernel has seen the request. */
static void arm(struct ring *r, struct ring_stream *st)
{
    struct io_uring_sqe *sqe = request(r);
    ASSERT(sqe != NULL);
    io_uring_prep_recv_multishot(sqe, st->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
    io_uring_sqe_set_data(sqe, st);
    st->armed = true;
    st->cancelled = false;
}

static void cancel(struct ring *r, struct ring_stream *st)
{
    if (!st->armed || st->cancelled)
        return;
    struct io_uring_sqe *sqe = request(r);
    if (sqe == NULL)
        return;
    io_uring_prep_cancel(sqe, st, 0);
    io_uring_sqe_set_data64(sqe, TOKEN_NOTHING);
    st->cancelled = true;
}

static void free_if_let_go(struct ring *r, struct ring_stream *st)
{
    if (st->tag == NULL && !st->armed && !st->waiting)
        free_stream(r, st);
}

static void arm_waiting(struct ring *r)
{
    while (r->waiting != NULL) {
        struct ring_stream *st = r->waiting;
        r->waiting = st->next_waiting;
        st->waiting = false;
        if (st->wanted && !st->armed && !st->ended)
            arm(r, st);
        free_if_let_go(r, st);
    }
}

struct ring_stream *ring_stream_new(struct ring *r, int fd, void *tag)
{
    struct ring_stream *st = mem_zalloc(sizeof *st);
    if (st == NULL)
        return NULL;
    st->fd = fd;
    st->tag = tag;
    st->next = r->streams;
    if (r->streams != NULL)
        r->streams->prev = st;
    r->streams = st;
    ring_stream_set(r, st, true);
    return st;
}

void ring_stream_set(struct ring *r, struct ring_stream *st, bool on)
{
    st->wanted = on;
    if (!on)
        cancel(r, st);
    else if (!st->armed && !st->ended)
        want_arming(r, st);
}

void ring_stream_drop(struct ring *r, struct ring_stream *st)
{
    st->tag = NULL;
    st->wanted = false;
    cancel(r, st);
    free_if_let_go(r, st);
}

/* ---- rounds ---- */

static void give_back_buffers(struct ring *r)
{
    for (unsigned i = 0; i < r->nused; i++)
        offer(r, r->used[i], (int)i);
    io_uring_buf_ring_advance(r->offered, (int)r->nused);
    r->nused = 0;
    if (unlikely(r->starved) && r->noffered < atomic_load_explicit(&r->most, memory_order_relaxed))
        offer_more(r, r->noffered);
    r->starved = false;
}

static void watch_readiness(struct ring *r)
{
    struct io_uring_sqe *sqe = request(r);
    ASSERT(sqe != NULL);
    io_uring_prep_poll_add(sqe, r->watch_fd, POLLIN);
    io_uring_sqe_set_data64(sqe, TOKEN_WATCH);
    r->watched = true;
}

/* The kernel does no more than 20 pieces of its work for a ring at a time (since 6.13), so 50 clients that
 * have all sent something would take three rounds, each of which has its upkeep. */
static void bring_the_rest(struct ring *r)
{
    for (unsigned i = 0; i < BRINGS_MAX && io_uring_cq_ready(&r->uring) < RING_BUFFERS; i++)
        if (!(IO_URING_READ_ONCE(*r->uring.sq.kflags) & IORING_SQ_TASKRUN) ||
            io_uring_get_events(&r->uring) < 0)
            break;
}

void ring_wait(struct ring *r, int64_t timeout_us, bool watch)
{
    if (unlikely(!r->enabled)) {
        /* liburing 2.3 declares io_uring_enable_rings() and does not export it. */
        long rc = syscall(SYS_io_uring_register, r->uring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
        ASSERT(rc == 0);
        r->enabled = true;
    }
    give_back_buffers(r);
    arm_waiting(r);
    if (watch && !r->watched)
        watch_readiness(r);
    struct io_uring_cqe *cqe;
    if (timeout_us == 0) {
        io_uring_submit_and_get_events(&r->uring);
    } else if (timeout_us < 0) {
        io_uring_submit_and_wait(&r->uring, 1);
    } else {
        struct __kernel_timespec ts = {timeout_us / 1000000, timeout_us % 1000000 * 1000};
        io_uring_submit_and_wait_timeout(&r->uring, &cqe, 1, &ts, NULL);
    }
    bring_the_rest(r);
}

/* True when the completion is an event for the owner. */
static bool on_stream(struct ring *r, struct ring_stream *st, const struct io_uring_cqe *cqe,
                      struct ring_event *ev)
{
    int buffer =
        (cqe->flags & IORING_CQE_F_BUFFER) ? (int)(cqe->flags >> IORING_CQE_BUFFER_SHIFT) : NO_BUFFER;
    bool over = !(cqe->flags & IORING_CQE_F_MORE);
    *ev = (struct ring_event){.tag = st->tag, .n = cqe->res};
    if (buffer != NO_BUFFER) {
        r->used[r->nused++] = (uint16_t)buffer;
        ev->data = r->buffers + (size_t)buffer * RING_BUFFER_SIZE;
    }
    if (unlikely(cqe->res == -ENOBUFS))
        r->starved = true;
    bool paused = cqe->res == -ENOBUFS || cqe->res == -ECANCELED || cqe->res == -EINTR || cqe->res == -EAGAIN;
    if (over) {
        st->armed = false;
        st->ended = cqe->res <= 0 && !paused;
        if (st->tag != NULL && st->wanted && !st->ended)
            want_arming(r, st);
    }
    bool tell = st->tag != NULL && !paused;
    free_if_let_go(r, st);
    return tell;
}

bool ring_next(struct ring *r, struct ring_event *ev)
{
    struct io_uring_cqe *cqe;
    while (r->nused < RING_BUFFERS && io_uring_peek_cqe(&r->uring, &cqe) == 0) {
        uint64_t token = io_uring_cqe_get_data64(cqe);
        bool tell = false;
        if (token == TOKEN_WATCH) {
            r->watched = false;
            *ev = (struct ring_event){.n = 0};
            tell = true;
        } else if (token != TOKEN_NOTHING) {
            tell = on_stream(r, io_uring_cqe_get_data(cqe), cqe, ev);
        }
        io_uring_cqe_seen(&r->uring, cqe);
        if (tell)
            return true;
    }
    return false;
}
