/* An event loop around epoll: level-triggered descriptors, one wake-up that any
 * thread may ring, no callbacks for timers (the owner passes its next deadline).
 *
 *      for (;;) {
 *          int n = loop_wait(l, timeout_ms);
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
enum loop_interest { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_EXCLUSIVE = 4, LOOP_HANGUP = 8 };

struct loop;

struct loop_event {
    void *tag;
    bool readable, writable, hangup;
};

int loop_new(struct loop **out); /* returned owned; ERR_OOM or ERR_IO */
void loop_free(struct loop *l);
int loop_add(struct loop *l, int fd, unsigned interest, void *tag);
int loop_change(struct loop *l, int fd, unsigned interest, void *tag);
void loop_remove(struct loop *l, int fd);
/* Events of this round, 0 on timeout or wake-up; timeout_ms < 0 waits for ever.
 * Wake-ups are swallowed (the caller looks into its mailbox after every wait). */
int loop_wait(struct loop *l, int timeout_ms);
struct loop_event loop_event(const struct loop *l, int i);
/* After a descriptor is closed in mid-round: its later events of this round vanish. */
void loop_forget(struct loop *l, void *tag);
void loop_wake(struct loop *l); /* any thread; coalesced while the owner has not looked */

#endif
