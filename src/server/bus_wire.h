/* The cluster bus as sockets: frames in, frames out, links that come and go. It knows of a frame where it
 * begins and how long it says it is, and nothing of what it means.
 *
 *      accepted (inbound)   <── whoever connects ── frames ──> frame(); answers go back on it
 *      opened (outbound)    bus_wire_open() ──> opened() or closed() ── frames both ways
 *
 * One owner: the bus thread. A link has a number: the opener's for those that we open, and one with
 * LINK_INBOUND for those that are accepted, which is not used again soon; whoever keeps one past its end asks
 * for nothing. Callbacks may close any link, also the one they are called for. */
#ifndef LARDER_SERVER_BUS_WIRE_H
#define LARDER_SERVER_BUS_WIRE_H

#include "base/buf.h"
#include "cluster/machine.h"
#include "os/loop.h"

#include <stdbool.h>
#include <stdint.h>

enum bus_wire_limits {
    BUS_FRAME_MAX = 4 << 20, /* a longer one is an attack, or for a feature that we do not have */
    BUS_LISTENERS_MAX = 16,
    BUS_LINKS_MAX = 4096,      /* inbound ones; more are refused */
    BUS_READ_SIZE = 64 * 1024, /* of one link in a round */
    BUS_SILENT_MS = 60 * 1000, /* an inbound link that never said anything whole */
    BUS_HOST_MAX = 64,
};

struct bus_wire;

struct bus_link_info {
    uint32_t id;
    bool inbound;
    int64_t created_ms;
    size_t send_allocated, send_used;
    char peer[BUS_HOST_MAX]; /* address without port */
};

struct bus_wire_calls {
    void *ctx;
    void (*opened)(void *ctx, uint32_t link);
    /* One whole frame, and the addresses of its socket; all of it borrowed. */
    void (*frame)(void *ctx, uint32_t link, struct str bytes, const char *peer, const char *local);
    void (*closed)(void *ctx, uint32_t link); /* not for those that we close ourselves */
};

/* Returned owned; ERR_OOM, ERR_IO. Links live in `loop`, whose events go to bus_wire_event() by their tags.
 */
int bus_wire_new(struct bus_wire **out, struct loop *loop, const struct bus_wire_calls *calls);
void bus_wire_free(struct bus_wire *w);

/* Returns 0 or ERR_IO, the reason logged. */
int bus_wire_listen(struct bus_wire *w, const char *host, int port, bool optional);

/* Connect to a numeric address, from `source` (sock_connect_tcp_from()); opened() or closed() will say.
 * False: it cannot even be tried. */
bool bus_wire_open(struct bus_wire *w, uint32_t link, const char *source, const char *ip, int port,
                   int64_t now_ms);
/* Takes effect at once; closed() is not called. Unknown numbers are ignored. */
void bus_wire_close(struct bus_wire *w, uint32_t link);
/* Queue a frame; copies. Beyond `limit` unsent bytes (0: none) the link is closed, and false. */
bool bus_wire_send(struct bus_wire *w, uint32_t link, const void *p, size_t n, size_t limit);
bool bus_wire_info(const struct bus_wire *w, uint32_t link, struct bus_link_info *out);
uint64_t bus_wire_overflows(const struct bus_wire *w); /* links closed for it */

void bus_wire_event(struct bus_wire *w, const struct loop_event *ev, int64_t now_ms);
/* The end of a round: send what is queued, which nothing else does; forget what is closed. */
void bus_wire_flush(struct bus_wire *w);
void bus_wire_cron(struct bus_wire *w, int64_t now_ms);

#endif
