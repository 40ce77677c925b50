/* The life of a connection, one state after the other:
 *
 *      CLOSED -> RESOLVING -> CONNECTING -> SECURING -> GREETING -> READY
 *                 (names)     (each address) (transport)  (HELLO 3, or AUTH; then SETNAME, SELECT, READONLY)
 *
 * The greeting asks for RESP3 and authenticates in one round; a server that does not know HELLO is
 * spoken to in RESP2. Requests wait behind it, since a refused password must not be followed by
 * commands. Bytes of requests are counted when they are encoded and when they are sent, so that the
 * owner of a lost connection knows which commands cannot have been executed. */
#include "client/conn.h"

#include "base/assert.h"
#include "base/err.h"
#include "base/num.h"
#include "client/error.h"
#include "client/greet.h"
#include "client/resolve.h"
#include "os/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

void conn_init(struct conn *c, const struct settings *set, const struct address *address, bool readonly,
               bool blocking, struct arena *scratch)
{
    *c = (struct conn){.set = set, .address = address, .readonly = readonly, .fd = -1, .scratch = scratch};
    c->blocking = blocking && set->o.transport == NULL;
    buf_init(&c->greeting);
    buf_init(&c->out);
    buf_init(&c->in);
}

static void close_socket(struct conn *c)
{
    if (c->session != NULL)
        c->set->o.transport->close(c->session);
    c->session = NULL;
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

void conn_close(struct conn *c)
{
    close_socket(c);
    resolve_abandon(c->job);
    c->job = NULL;
    if (c->list != NULL)
        freeaddrinfo(c->list);
    c->list = c->at = NULL;
    buf_release(&c->greeting);
    buf_release(&c->out);
    buf_release(&c->in);
    c->out_at = c->in_at = c->in_need = 0;
    c->encoded = c->sent = 0;
    c->state = CONN_CLOSED;
}

static int lost(struct conn *c, int code, const char *what, const char *why)
{
    return fail(&c->why, code, "%s: %s: %s", c->address->name, what, why);
}

static int out_of_memory(struct conn *c)
{
    return lost(c, LARDER_ERR_MEMORY, "connection", "out of memory");
}

/* ---- connecting ---- */

static int start_connecting(struct conn *c, int64_t now_ns);

/* The address at hand failed with errno `why`: the next one, or the end. */
static int next_address(struct conn *c, int64_t now_ns, int why)
{
    close_socket(c);
    c->at = c->at->ai_next;
    if (c->at == NULL)
        return lost(c, why == ETIMEDOUT ? LARDER_ERR_TIMEOUT : LARDER_ERR_CONNECT, "connect", strerror(why));
    return start_connecting(c, now_ns);
}

static int greet(struct conn *c)
{
    c->state = CONN_GREETING;
    c->greeted = 0;
    if (greet_begin(c) < 0)
        return out_of_memory(c);
    if (c->greet_left == 0)
        c->state = CONN_READY;
    return 0;
}

static int secure(struct conn *c)
{
    int got = c->set->o.transport->handshake(c->session);
    if (got == LARDER_IO_FAILED)
        return lost(c, LARDER_ERR_CONNECT, "transport", "the handshake failed");
    c->io = got;
    return got == 0 ? greet(c) : 0;
}

static int connected(struct conn *c)
{
    freeaddrinfo(c->list);
    c->list = c->at = NULL;
    sock_set_nodelay(c->fd);
    if (c->set->o.keepalive_s > 0)
        sock_set_keepalive(c->fd, (int)c->set->o.keepalive_s);
    if (c->blocking) {
        struct timeval limit = {.tv_usec = CONN_LATE_MS * 1000};
        int flags = fcntl(c->fd, F_GETFL);
        if (flags < 0 || setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
            fcntl(c->fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
            return lost(c, LARDER_ERR_CONNECT, "connect", strerror(errno));
    }
    if (c->set->o.transport == NULL)
        return greet(c);
    c->state = CONN_SECURING;
    c->session = c->set->o.transport->open(c->set->o.transport->arg, c->fd, c->address->host);
    return c->session != NULL ? secure(c) : lost(c, LARDER_ERR_CONNECT, "transport", "no session");
}

static int start_connecting(struct conn *c, int64_t now_ns)
{
    int left = 0;
    for (const struct addrinfo *at = c->at; at != NULL; at = at->ai_next)
        left++;
    c->state = CONN_CONNECTING;
    c->next_ns = now_ns + (c->deadline_ns - now_ns) / left;
    c->serial++;
    c->fd = socket(c->at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return next_address(c, now_ns, errno);
    if (connect(c->fd, c->at->ai_addr, c->at->ai_addrlen) == 0)
        return connected(c);
    return errno == EINPROGRESS ? 0 : next_address(c, now_ns, errno);
}

static int unresolved(struct conn *c, int status)
{
    return lost(c, LARDER_ERR_CONNECT, "resolve",
                status == EAI_SYSTEM ? strerror(errno) : gai_strerror(status));
}

int conn_open(struct conn *c, int64_t now_ns)
{
    ASSERT(c->state == CONN_CLOSED && c->fd < 0);
    c->deadline_ns = now_ns + c->set->connect_ns;
    c->used_ns = now_ns;
    int status = resolve_start(c->address->host, c->address->port, &c->list, &c->job);
    if (status < 0)
        return unresolved(c, status);
    c->state = CONN_RESOLVING;
    c->serial++;
    if (status == 1)
        return 0;
    c->at = c->list;
    return start_connecting(c, now_ns);
}

static int step_resolving(struct conn *c, int64_t now_ns)
{
    struct pollfd p = {.fd = resolve_fd(c->job), .events = POLLIN};
    if (poll(&p, 1, 0) <= 0)
        return 0;
    int status = resolve_finish(c->job, &c->list);
    c->job = NULL;
    if (status != 0)
        return unresolved(c, status);
    c->at = c->list;
    return start_connecting(c, now_ns);
}

static int step_connecting(struct conn *c, int64_t now_ns)
{
    struct pollfd p = {.fd = c->fd, .events = POLLOUT};
    int why = 0;
    socklen_t n = sizeof why;
    if (poll(&p, 1, 0) <= 0)
        return now_ns >= c->next_ns ? next_address(c, now_ns, ETIMEDOUT) : 0;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &why, &n) < 0)
        why = errno;
    return why == 0 ? connected(c) : next_address(c, now_ns, why);
}

/* ---- bytes ---- */

static ssize_t send_some(struct conn *c, const char *p, size_t n)
{
    const struct larder_transport *t = c->set->o.transport;
    if (t == NULL)
        return send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    long done = t->write(c->session, p, n);
    if (done >= 0)
        return (ssize_t)done;
    c->io = (int)done;
    errno = done == LARDER_IO_FAILED ? EIO : EAGAIN;
    return -1;
}

static ssize_t receive_some(struct conn *c, char *p, size_t n, int flags)
{
    const struct larder_transport *t = c->set->o.transport;
    if (t == NULL)
        return recv(c->fd, p, n, flags);
    long done = t->read(c->session, p, n);
    if (done >= 0)
        return (ssize_t)done;
    c->io = (int)done;
    errno = done == LARDER_IO_FAILED ? EIO : EAGAIN;
    return -1;
}

/* Send what the buffer holds from *at on. 0 when it is out or the socket is full. */
static int flush(struct conn *c, struct buf *b, size_t *at, uint64_t *count)
{
    while (*at < b->n) {
        ssize_t done = send_some(c, b->p + *at, b->n - *at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return 0;
        if (done < 0)
            return lost(c, LARDER_ERR_CLOSED, "send", strerror(errno));
        *at += (size_t)done;
        *count += (uint64_t)done;
    }
    if (b->cap > CONN_KEEP_BYTES)
        buf_release(b);
    buf_clear(b);
    *at = 0;
    return 0;
}

/* Replies in what was read. */
static int take_replies(struct conn *c, conn_reply reply, void *arg)
{
    int err = 0;
    while (err == 0 && c->in_at < c->in.n) {
        struct reader_value v;
        size_t used = 0, need = 0;
        struct str in = {c->in.p + c->in_at, c->in.n - c->in_at};
        int got = reader_parse(in, c->set->o.reply_max, c->scratch, &v, &used, &need);
        if (got == ERR_AGAIN) {
            c->in_need = need;
            break;
        }
        if (got < 0) {
            err = got == ERR_OOM ? out_of_memory(c) : lost(c, LARDER_ERR_PROTOCOL, "reply", "is no RESP");
            break;
        }
        c->in_at += used;
        c->in_need = 0;
        if (v.kind != READ_PUSH && v.kind != READ_ATTRIBUTE)
            err = c->state == CONN_GREETING ? greet_reply(c, &v) : reply(arg, c, &v);
        arena_reset(c->scratch);
    }
    arena_reset(c->scratch);
    buf_consume(&c->in, c->in_at);
    c->in_at = 0;
    if (c->in.n == 0 && c->in.cap > CONN_KEEP_BYTES)
        buf_release(&c->in);
    return err;
}

/* Above 0: without MSG_DONTWAIT in the flags, and nothing came in time. */
static int receive(struct conn *c, int flags, conn_reply reply, void *arg)
{
    for (;;) {
        size_t room = c->in_need > CONN_READ_BYTES ? c->in_need : CONN_READ_BYTES;
        if (buf_reserve(&c->in, room < CONN_KEEP_BYTES ? room : CONN_KEEP_BYTES) < 0)
            return out_of_memory(c);
        room = c->in.cap - c->in.n;
        ssize_t got = receive_some(c, c->in.p + c->in.n, room, flags);
        /* A signal does not make it wait anew: one that comes often would put off the deadline for ever. */
        if (got < 0 && flags == 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
            return 1;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return 0;
        if (got < 0)
            return lost(c, LARDER_ERR_CLOSED, "receive", strerror(errno));
        if (got == 0)
            return lost(c, LARDER_ERR_CLOSED, "receive", "the node closed the connection");
        c->in.n += (size_t)got;
        if ((size_t)got >= c->in_need) {
            int err = take_replies(c, reply, arg);
            if (err < 0)
                return err;
        } else {
            c->in_need -= (size_t)got;
        }
        /* A short read means that there is no more; a session may hold bytes that no poll sees. */
        if ((size_t)got < room && c->session == NULL)
            return 0;
        flags = MSG_DONTWAIT;
    }
}

/* ---- stepping ---- */

static int step_open(struct conn *c, conn_reply reply, void *arg)
{
    uint64_t greeting_bytes = 0;
    c->io = 0;
    int err = flush(c, &c->greeting, &c->greeted, &greeting_bytes);
    if (err == 0 && c->state == CONN_READY)
        err = flush(c, &c->out, &c->out_at, &c->sent);
    if (err == 0)
        err = receive(c, MSG_DONTWAIT, reply, arg);
    /* What the last reply of the greeting let go. */
    if (err == 0 && c->greeting.n > 0)
        err = flush(c, &c->greeting, &c->greeted, &greeting_bytes);
    if (err == 0 && c->state == CONN_READY && c->out.n > 0)
        err = flush(c, &c->out, &c->out_at, &c->sent);
    return err;
}

int conn_step(struct conn *c, int64_t now_ns, conn_reply reply, void *arg)
{
    int err = 0;
    if (c->state == CONN_RESOLVING)
        err = step_resolving(c, now_ns);
    else if (c->state == CONN_CONNECTING)
        err = step_connecting(c, now_ns);
    else if (c->state == CONN_SECURING)
        err = secure(c);
    if (err == 0 && c->state >= CONN_GREETING) {
        c->used_ns = now_ns;
        err = step_open(c, reply, arg);
    }
    if (err == 0 && c->state > CONN_CLOSED && c->state < CONN_READY && now_ns >= c->deadline_ns)
        err = lost(c, LARDER_ERR_TIMEOUT, c->state == CONN_RESOLVING ? "resolve" : "connect", "timed out");
    return err;
}

int conn_send(struct conn *c)
{
    return c->state == CONN_READY && c->out.n > 0 ? flush(c, &c->out, &c->out_at, &c->sent) : 0;
}

bool conn_may_wait(const struct conn *c)
{
    return c->blocking && c->state == CONN_READY && c->out.n == 0;
}

int conn_wait_reply(struct conn *c, int64_t now_ns, conn_reply reply, void *arg)
{
    ASSERT(conn_may_wait(c));
    c->used_ns = now_ns;
    return receive(c, 0, reply, arg);
}

int conn_fd(const struct conn *c)
{
    return c->state == CONN_RESOLVING ? resolve_fd(c->job) : c->fd;
}

unsigned conn_wants(const struct conn *c)
{
    switch (c->state) {
    case CONN_CLOSED: return 0;
    case CONN_RESOLVING: return POLLIN;
    case CONN_CONNECTING: return POLLOUT;
    case CONN_SECURING: return c->io == LARDER_IO_WRITE ? POLLOUT : POLLIN;
    case CONN_GREETING:
        return POLLIN | (c->greeting.n > 0 || c->io == LARDER_IO_WRITE ? (unsigned)POLLOUT : 0);
    case CONN_READY: break;
    }
    return POLLIN | (c->out.n > 0 || c->io == LARDER_IO_WRITE ? (unsigned)POLLOUT : 0);
}

int64_t conn_deadline(const struct conn *c)
{
    if (c->state == CONN_CLOSED || c->state == CONN_READY)
        return INT64_MAX;
    return c->state == CONN_CONNECTING && c->next_ns < c->deadline_ns ? c->next_ns : c->deadline_ns;
}

bool conn_is_dead(struct conn *c)
{
    char byte;
    if (c->state != CONN_READY || c->session != NULL)
        return false;
    ssize_t got = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}
