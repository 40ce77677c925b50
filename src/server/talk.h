/* A thread of its own talks to another server as a client does: it sends, it waits for replies.
 *
 *      talk_begin(&t, fd, timeout_ms, &stop)  talk_send()  talk_read() ...  talk_end(&t)
 *
 * Nothing waits longer than timeout_ms for the other side to move, nor much beyond the moment when *stop
 * becomes true. For threads that nobody waits for; one exchange at a time. */
#ifndef LARDER_SERVER_TALK_H
#define LARDER_SERVER_TALK_H

#include "base/arena.h"
#include "base/buf.h"
#include "proto/reader.h"

#include <stdatomic.h>

enum talk_limits { TALK_LOOK_MS = 100 /* between looks at *stop */, TALK_CHUNK = 16 * 1024 };

struct talk {
    int fd; /* the caller's, not blocking */
    int64_t timeout_ms;
    const _Atomic bool *stop; /* borrowed */
    struct buf in;
    struct arena arena;
    size_t at;
};

void talk_begin(struct talk *t, int fd, int64_t timeout_ms, const _Atomic bool *stop);
void talk_end(struct talk *t); /* the socket stays open */

/* AUTH by `masteruser` and `masterauth`, if there is one; returns how many replies that will have. On the
 * lane, or in a round. */
struct config;
uint32_t talk_put_auth(const struct config *cfg, struct buf *out);
/* The same for a thread that is in no round: the lane does it. False: the node ends. */
struct server;
bool talk_put_auth_by_lane(struct server *s, struct buf *out, uint32_t *nwords);

bool talk_send(struct talk *t, struct str bytes);

/* The next reply, no longer than `max` bytes; good until the next call. False when none comes, or something
 * that is none. */
bool talk_read(struct talk *t, size_t max, struct reader_value *v);

#endif
