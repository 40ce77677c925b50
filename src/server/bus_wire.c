#include "server/bus_wire.h"

#include "base/alloc.h"
#include "base/err.h"
#include "base/log.h"
#include "os/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUCKETS = 1024 };

/* Of a thousand nodes two thousand links rest: they own no buffers, and no round looks at them. */
struct link {
    struct link *next, *same_bucket, *next_due;
    uint32_t id;
    int fd; /* -1: closed, waits to be forgotten */
    bool inbound, connecting, waits_to_write, spoke;
    bool due; /* it is in the list of those that bus_wire_flush() looks at */
    int64_t created_ms;
    struct buf in, out; /* the rest of a frame that has come in part; what is to be sent */
    size_t sent;        /* of out */
    char peer[BUS_HOST_MAX], local[BUS_HOST_MAX];
};

struct bus_wire {
    struct loop *loop;
    struct bus_wire_calls calls;
    int listeners[BUS_LISTENERS_MAX];
    uint32_t nlisteners, ninbound;
    uint32_t last_inbound;
    uint64_t overflows;
    struct link *links, *due, *by_id[BUCKETS];
    char room[BUS_READ_SIZE];
};

int bus_wire_new(struct bus_wire **out, struct loop *loop, const struct bus_wire_calls *calls)
{
    struct bus_wire *w = mem_zalloc(sizeof *w);
    if (w == NULL)
        return ERR_OOM;
    w->loop = loop;
    w->calls = *calls;
    *out = w;
    return 0;
}

/* ---- links --------------------------------------------------------------------------------------- */

static struct link *find(const struct bus_wire *w, uint32_t id)
{
    struct link *l = w->by_id[id % BUCKETS];
    while (l != NULL && (l->id != id || l->fd < 0))
        l = l->same_bucket;
    return l;
}

static void set_due(struct bus_wire *w, struct link *l)
{
    if (l->due)
        return;
    l->due = true;
    l->next_due = w->due;
    w->due = l;
}

static void shut(struct bus_wire *w, struct link *l)
{
    if (l->fd < 0)
        return;
    loop_remove(w->loop, l->fd);
    loop_forget(w->loop, l);
    close(l->fd);
    l->fd = -1;
    w->ninbound -= l->inbound;
    set_due(w, l);
}

/* The other side has ended it, or broken it. */
static void lose(struct bus_wire *w, struct link *l, const char *why)
{
    if (l->fd < 0)
        return;
    log_debug("Bus link %u with %s ends: %s", l->id, l->peer, why);
    shut(w, l);
    w->calls.closed(w->calls.ctx, l->id);
}

static void free_link(struct link *l)
{
    buf_release(&l->in);
    buf_release(&l->out);
    mem_free(l);
}

/* Takes fd. NULL: no memory, it is closed. */
static struct link *add(struct bus_wire *w, int fd, uint32_t id, int64_t now_ms)
{
    bool inbound = id & LINK_INBOUND;
    struct link *l = mem_zalloc(sizeof *l);
    if (l == NULL || loop_add(w->loop, fd, inbound ? LOOP_READ : LOOP_READ | LOOP_WRITE, l) != 0) {
        mem_free(l);
        close(fd);
        return NULL;
    }
    l->id = id;
    l->fd = fd;
    l->inbound = inbound;
    l->connecting = l->waits_to_write = !inbound;
    l->created_ms = now_ms;
    buf_init(&l->in);
    buf_init(&l->out);
    l->next = w->links;
    w->links = l;
    l->same_bucket = w->by_id[id % BUCKETS];
    w->by_id[id % BUCKETS] = l;
    w->ninbound += inbound;
    sock_set_nodelay(fd);
    return l;
}

bool bus_wire_open(struct bus_wire *w, uint32_t link, const char *source, const char *ip, int port,
                   int64_t now_ms)
{
    struct sock_err err;
    int fd = sock_connect_begin(source, ip, port, &err);
    if (fd < 0) {
        log_debug("Bus: %s", err.text);
        return false;
    }
    struct link *l = add(w, fd, link, now_ms);
    if (l == NULL)
        return false;
    size_t n = strnlen(ip, sizeof l->peer - 1);
    memcpy(l->peer, ip, n);
    return true;
}

void bus_wire_close(struct bus_wire *w, uint32_t id)
{
    struct link *l = find(w, id);
    if (l != NULL)
        shut(w, l);
}

/* ---- listening ----------------------------------------------------------------------------------- */

int bus_wire_listen(struct bus_wire *w, const char *host, int port, bool optional)
{
    struct sock_err err;
    if (w->nlisteners == BUS_LISTENERS_MAX) {
        log_warning("The cluster bus listens on %d addresses at most; %s is left out.", BUS_LISTENERS_MAX,
                    host);
        return ERR_FULL;
    }
    int fd = sock_listen_tcp(host, port, 511, false, &err);
    if (fd < 0) {
        if (optional && (errno == EADDRNOTAVAIL || errno == EAFNOSUPPORT || errno == ENOPROTOOPT))
            return 0;
        log_warning("The cluster bus cannot listen: %s. It needs a port of its own: 'port' + 10000, or what "
                    "'cluster-port' says.",
                    err.text);
        return ERR_IO;
    }
    w->listeners[w->nlisteners] = fd;
    if (loop_add(w->loop, fd, LOOP_READ, &w->listeners[w->nlisteners]) != 0) {
        close(fd);
        return ERR_IO;
    }
    w->nlisteners++;
    return 0;
}

static void accept_all(struct bus_wire *w, int listener, int64_t now_ms)
{
    for (unsigned i = 0; i < 64; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (w->ninbound >= BUS_LINKS_MAX) {
            log_warning("The cluster bus has %d links already: another one is refused.", BUS_LINKS_MAX);
            close(fd);
            continue;
        }
        w->last_inbound = (w->last_inbound + 1) & (LINK_INBOUND - 1);
        struct link *l = add(w, fd, LINK_INBOUND | w->last_inbound, now_ms);
        if (l == NULL)
            continue;
        sock_peer_ip(fd, l->peer, sizeof l->peer);
        sock_local_ip(fd, l->local, sizeof l->local);
    }
}

/* ---- bytes --------------------------------------------------------------------------------------- */

static void watch_writes(struct bus_wire *w, struct link *l, bool on)
{
    if (l->waits_to_write == on)
        return;
    l->waits_to_write = on;
    loop_change(w->loop, l->fd, on ? LOOP_READ | LOOP_WRITE : LOOP_READ, l);
}

static void push(struct bus_wire *w, struct link *l)
{
    while (l->fd >= 0 && !l->connecting && l->sent < l->out.n) {
        ssize_t n = send(l->fd, l->out.p + l->sent, l->out.n - l->sent, MSG_NOSIGNAL);
        if (n > 0) {
            l->sent += (size_t)n;
        } else if (errno == EAGAIN) {
            watch_writes(w, l, true);
            return;
        } else if (errno != EINTR) {
            lose(w, l, strerror(errno));
            return;
        }
    }
    if (l->fd < 0 || l->connecting)
        return;
    watch_writes(w, l, false);
    l->sent = 0;
    buf_release(&l->out);
}

bool bus_wire_send(struct bus_wire *w, uint32_t id, const void *p, size_t n, size_t limit)
{
    struct link *l = find(w, id);
    if (l == NULL)
        return false;
    set_due(w, l);
    bool full = limit > 0 && l->out.n - l->sent + n > limit;
    if (!full && buf_append(&l->out, p, n) == 0)
        return true;
    w->overflows += full;
    log_warning("Bus link %u with %s has %zu bytes unsent, %s: it is closed.", id, l->peer,
                l->out.n - l->sent, full ? "more than cluster-link-sendbuf-limit" : "and memory is short");
    lose(w, l, "output");
    return false;
}

/* The whole frames in `rest`, front to back; what is left of it. */
static struct str take_frames(struct bus_wire *w, struct link *l, struct str rest)
{
    while (l->fd >= 0) {
        size_t n = 0;
        int rc = frame_length(rest, &n);
        if (rc == ERR_AGAIN)
            break;
        if (rc != 0 || n > BUS_FRAME_MAX) {
            log_warning("Bus link with %s: what comes is no cluster message. Is 'port' + 10000 taken by "
                        "mistake, or does somebody scan? The link is closed.",
                        l->peer);
            lose(w, l, "not a cluster message");
            break;
        }
        if (rest.n < n)
            break;
        l->spoke = true;
        w->calls.frame(w->calls.ctx, l->id, (struct str){rest.p, n}, l->peer, l->local);
        rest = (struct str){rest.p + n, rest.n - n};
    }
    return rest;
}

/* Almost always whole frames come: they are read where they have arrived. */
static void take(struct bus_wire *w, struct link *l, struct str came)
{
    bool waits = l->in.n > 0;
    if (waits && buf_puts(&l->in, came) != 0) {
        lose(w, l, "out of memory");
        return;
    }
    struct str rest = take_frames(w, l, waits ? buf_str(&l->in) : came);
    if (l->fd < 0)
        return;
    if (rest.n == 0)
        buf_release(&l->in);
    else if (waits)
        buf_consume(&l->in, l->in.n - rest.n);
    else if (buf_puts(&l->in, rest) != 0)
        lose(w, l, "out of memory");
}

static void pull(struct bus_wire *w, struct link *l)
{
    ssize_t n = recv(l->fd, w->room, sizeof w->room, 0);
    if (n > 0) {
        take(w, l, (struct str){w->room, (size_t)n});
    } else if (n == 0) {
        lose(w, l, "closed by the other side");
    } else if (errno != EAGAIN && errno != EINTR) {
        lose(w, l, strerror(errno));
    }
}

static void finish_connect(struct bus_wire *w, struct link *l)
{
    int why = sock_connect_result(l->fd);
    if (why != 0) {
        lose(w, l, strerror(why));
        return;
    }
    l->connecting = false;
    l->waits_to_write = false;
    set_due(w, l);
    sock_local_ip(l->fd, l->local, sizeof l->local);
    loop_change(w->loop, l->fd, LOOP_READ, l);
    w->calls.opened(w->calls.ctx, l->id);
}

void bus_wire_event(struct bus_wire *w, const struct loop_event *ev, int64_t now_ms)
{
    int *listener = ev->tag;
    if (listener >= w->listeners && listener < w->listeners + w->nlisteners) {
        accept_all(w, *listener, now_ms);
        return;
    }
    struct link *l = ev->tag;
    if (l->fd >= 0 && l->connecting && (ev->writable || ev->hangup))
        finish_connect(w, l);
    if (l->fd >= 0 && !l->connecting && (ev->readable || ev->hangup))
        pull(w, l);
    if (l->fd >= 0 && !l->connecting && ev->writable) {
        watch_writes(w, l, false); /* there is room again; bus_wire_flush() uses it */
        set_due(w, l);
    }
}

static void forget_ended(struct bus_wire *w)
{
    for (unsigned i = 0; i < BUCKETS; i++)
        for (struct link **at = &w->by_id[i]; *at != NULL;)
            if ((*at)->fd < 0)
                *at = (*at)->same_bucket;
            else
                at = &(*at)->same_bucket;
    for (struct link **at = &w->links; *at != NULL;) {
        struct link *l = *at;
        if (l->fd >= 0) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        free_link(l);
    }
}

void bus_wire_flush(struct bus_wire *w)
{
    bool ended = false;
    while (w->due != NULL) {
        struct link *l = w->due;
        w->due = l->next_due;
        l->due = false;
        if (l->fd >= 0 && !l->waits_to_write && l->out.n > l->sent)
            push(w, l);
        ended |= l->fd < 0;
    }
    if (ended)
        forget_ended(w);
}

void bus_wire_cron(struct bus_wire *w, int64_t now_ms)
{
    for (struct link *l = w->links; l != NULL; l = l->next)
        if (l->fd >= 0 && l->inbound && !l->spoke && now_ms - l->created_ms > BUS_SILENT_MS)
            lose(w, l, "silent");
}

uint64_t bus_wire_overflows(const struct bus_wire *w)
{
    return w->overflows;
}

/* ---- about links --------------------------------------------------------------------------------- */

static void tell(const struct link *l, struct bus_link_info *out)
{
    *out = (struct bus_link_info){.id = l->id,
                                  .inbound = l->inbound,
                                  .created_ms = l->created_ms,
                                  .send_allocated = l->out.cap,
                                  .send_used = l->out.n - l->sent};
    memcpy(out->peer, l->peer, sizeof out->peer);
}

bool bus_wire_info(const struct bus_wire *w, uint32_t id, struct bus_link_info *out)
{
    const struct link *l = find(w, id);
    if (l != NULL)
        tell(l, out);
    return l != NULL;
}

void bus_wire_free(struct bus_wire *w)
{
    if (w == NULL)
        return;
    for (struct link *l = w->links; l != NULL; l = l->next)
        shut(w, l);
    bus_wire_flush(w);
    for (uint32_t i = 0; i < w->nlisteners; i++)
        close(w->listeners[i]);
    mem_free(w);
}
