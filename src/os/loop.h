/* An event loop: level-triggered descriptors, one wake-up that any thread may ring, no callbacks
 * for timers (the owner passes its next deadline).
 *
 * Around epoll; where the kernel has io_uring and the owner wants it, descriptors added with
 * LOOP_STREAM are read by the loop itself (ring.h): their events bring what has arrived, in order,
 * instead of `readable`. Such an event may come once more after LOOP_READ was taken off.
 *
 *      for (;;) {
 *          int n = loop_wait(l, timeout_us);
 *          for (int i = 0; i < n; i++) { struct loop_event ev = loop_event(l, i); ... }
 *      }
 *
 * One owner thread, except loop_wake(). `tag` is the caller's own pointer. */
#ifndef LARDER_OS_LOOP_H
#define LARDER_OS_LOOP_H

#include "base/annotate.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum loop_limits { LOOP_EVENTS_MAX = 256 };
/* LOOP_HANGUP: a hangup is already that the peer will send no more, not only that the connection is gone. */
enum loop_interest { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_EXCLUSIVE = 4, LOOP_STREAM = 8, LOOP_HANGUP = 16 };

struct loop;

struct loop_event {
    void *tag;
    bool readable, writable, hangup;
    bool received;    /* a stream: n bytes of data; 0: the peer sends no more; < 0: -errno */
    const char *data; /* good until the next loop_wait() */
    int n;
};

/* `ring`: read streams by io_uring if it can be had. Returned owned; ERR_OOM or ERR_IO. */
int loop_new(struct loop **out, bool ring);
void loop_free(struct loop *l);
bool loop_has_ring(const struct loop *l);
/* What a ring reads into takes no more than about so many bytes. Any thread. */
void loop_bound_reading(struct loop *l, size_t bytes);
/* LOOP_STREAM is said here once and holds until loop_remove(). */
int loop_add(struct loop *l, int fd, unsigned interest, void *tag);
int loop_change(struct loop *l, int fd, unsigned interest, void *tag);
void loop_remove(struct loop *l, int fd);
/* Events of this round, 0 on timeout or wake-up; timeout_us < 0 waits for ever.
 * Wake-ups are swallowed (the caller looks into its mailbox after every wait). */
int loop_wait(struct loop *l, int64_t timeout_us);
struct loop_event loop_event(const struct loop *l, int i);
/* After a descriptor is closed in mid-round: its later events of this round vanish. */
void loop_forget(struct loop *l, void *tag);
void loop_wake(struct loop *l); /* any thread; coalesced while the owner has not looked */

#endif
