/* io_uring as the loop's better way to read: sockets deliver what arrives, instead of
 * saying that something has arrived.
 *
 *      socket ──> kernel ──> one of the ring's buffers ──> completion ──> ring_next()
 *                               ^ given back by the next ring_wait() ┘
 *
 * Each stream keeps one multishot receive in the kernel, so a round costs one system call
 * to wait and none to read. Measured with a server that stores nothing (bench/floor.c's
 * work), that saves 7 to 14 % of the CPU of a request; letting the ring send as well saved
 * no more, and needs replies that outlive their turn (docs/decisions/010).
 *
 * Everything that is not a stream stays with epoll, whose descriptor the ring watches.
 *
 * One owner thread. A stream that is dropped lives on until the kernel has let go of it:
 * nothing arrives from it any more, but its socket closes only with the next ring_wait(). */
#ifndef LARDER_OS_RING_H
#define LARDER_OS_RING_H

#include "base/annotate.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ring_limits {
    RING_BUFFERS_FIRST = 16, /* doubled whenever a round finds none free, ... */
    RING_BUFFERS = 256,      /* ... up to this, or fewer by ring_bound(); both are powers of two */
    RING_BUFFER_SIZE = 16 << 10,
};

struct ring;
struct ring_stream;

/* What came of a stream, or with `tag` NULL: watch_fd is ready. */
struct ring_event {
    void *tag;
    const char *data; /* good until the next ring_wait() */
    int n;            /* > 0: bytes; 0: the peer sends no more; < 0: -errno. At <= 0 the stream has ended. */
};

/* watch_fd: an epoll descriptor (borrowed). Returned owned. ERR_IO when this kernel, or this
 * sandbox, has no io_uring, or one that lacks what is needed (6.1 has all); errno says which. */
int ring_new(struct ring **out, int watch_fd);
void ring_free(struct ring *r);

/* At most so many bytes of buffers from now on, and RING_BUFFERS_FIRST at the least; those that the kernel
 * has it keeps. Any thread. */
void ring_bound(struct ring *r, size_t bytes);

/* Receive from fd until the stream is dropped. `tag` comes with its events. NULL when memory is short. */
struct ring_stream *ring_stream_new(struct ring *r, int fd, void *tag) MUST_CHECK;
/* Stop and go on. What is on its way still arrives. */
void ring_stream_set(struct ring *r, struct ring_stream *st, bool on);
/* No event of it will come any more; then its descriptor may be closed. */
void ring_stream_drop(struct ring *r, struct ring_stream *st);

/* Waits until there is an event, for at most timeout_us (< 0: for ever). Gives back the buffers of
 * the last round. `watch`: look at watch_fd too; then an event says once that it is ready. */
void ring_wait(struct ring *r, int64_t timeout_us, bool watch);
/* The next event of this round; false when there is none left. */
bool ring_next(struct ring *r, struct ring_event *ev);

#endif
