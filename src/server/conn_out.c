/* The sending half of a connection.
 *
 * Replies are written into the worker's one buffer and sent at the end of the turn. Only what the socket does
 * not take becomes the connection's own (struct conn_out), until it has been sent: idle connections own no
 * buffer. What a peer leaves unread is bounded (client-output-buffer-limit).
 *
 * Replies that acknowledge what replicas have not been handed yet become the connection's own, too: a round
 * hands once, for all of its connections, and then sends to all of them. */
#include "base/alloc.h"
#include "base/log.h"
#include "server/conn_internal.h"
#include "server/server.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { BUSY_MIN = 8 /* connections that wrote in a round */ };

void conn_out_drop(struct conn *c)
{
    if (c->out == NULL)
        return;
    struct conn_out *out = c->out;
    struct worker *w = c->worker;
    c->out = NULL;
    if (w->nspares < CONN_SPARES && out->reply.bytes.cap <= CONN_SPARE_SIZE) {
        reply_clear(&out->reply);
        out->sent = 0;
        out->next = w->spares;
        w->spares = out;
        w->nspares++;
        return;
    }
    reply_release(&out->reply);
    mem_free(out);
}

void conns_release(struct worker *w)
{
    while (w->spares != NULL) {
        struct conn_out *out = w->spares;
        w->spares = out->next;
        reply_release(&out->reply);
        mem_free(out);
    }
}

struct reply *conn_reply(struct conn *c)
{
    struct reply *r = c->out != NULL ? &c->out->reply : &c->worker->reply;
    r->proto = c->session.proto;
    r->limit = c->worker->server->config.client_output_buffer_limit.of[CONFIG_CLASS_NORMAL].hard;
    return r;
}

size_t conn_unsent(const struct conn *c)
{
    return c->out == NULL ? 0 : reply_size(&c->out->reply) - c->out->sent;
}

size_t conn_memory(const struct conn *c)
{
    size_t n = sizeof *c + c->in.cap + c->session.txn.bytes + c->session.names_bytes;
    if (c->out != NULL)
        n += sizeof *c->out + c->out->reply.bytes.cap + c->out->reply.spliced +
             c->out->reply.splices_cap * sizeof(struct reply_splice);
    return n;
}

/* Returns the bytes sent, 0 when the socket is full, -1 when it is broken. */
static ssize_t send_some(struct conn *c, const struct reply *r, size_t from)
{
    ssize_t n;
    if (r->nsplices == 0) {
        n = send(c->fd, r->bytes.p + from, r->bytes.n - from, MSG_NOSIGNAL);
    } else {
        struct iovec iov[CONN_IOV_MAX];
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)reply_weave(r, from, iov, CONN_IOV_MAX)};
        n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
    }
    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
    counter_add(&c->worker->metrics.net_out, (uint64_t)n);
    counter_add(&c->worker->metrics.writes, 1);
    c->net_out += (uint64_t)n;
    return n;
}

static void want_write(struct conn *c, bool on)
{
    if (c->wants_write == on)
        return;
    c->wants_write = on;
    conn_set_interest(c);
}

static struct conn_out *new_out(struct worker *w)
{
    struct conn_out *out = w->spares;
    if (out == NULL) {
        out = mem_zalloc(sizeof *out);
        if (out != NULL)
            reply_init(&out->reply, w->reply.block_get, w->reply.block_put);
        return out;
    }
    w->spares = out->next;
    w->nspares--;
    return out;
}

/* What is left in the worker's reply buffer becomes the connection's own, with the buffer if it is much. */
static bool keep_rest(struct conn *c, size_t sent)
{
    struct worker *w = c->worker;
    struct conn_out *out = new_out(w);
    if (out == NULL)
        return false;
    c->out = out;
    out->sent = sent;
    if (w->reply.bytes.n <= CONN_SPARE_SIZE) {
        reply_append(&out->reply, &w->reply);
        return !out->reply.oom;
    }
    struct reply spare = out->reply;
    out->reply = w->reply;
    w->reply = spare;
    return true;
}

/* Returns why the connection must go, or NULL. */
static const char *over_limit(struct conn *c)
{
    const struct config *cfg = &c->worker->server->config;
    size_t unsent = conn_unsent(c);
    if (!c->session.authenticated && unsent > CONN_UNAUTH_OUT_MAX)
        return "too many unread replies before authentication";
    const struct config_output *limits = &cfg->client_output_buffer_limit;
    uint64_t hard = limits->of[CONFIG_CLASS_NORMAL].hard, soft = limits->of[CONFIG_CLASS_NORMAL].soft;
    if (hard != 0 && unsent > hard)
        return "unread replies beyond the hard client-output-buffer-limit";
    if (soft == 0 || unsent <= soft) {
        c->soft_limit_since_ms = 0;
        return NULL;
    }
    int64_t now = c->worker->now_ms;
    if (c->soft_limit_since_ms == 0)
        c->soft_limit_since_ms = now;
    return now - c->soft_limit_since_ms > limits->of[CONFIG_CLASS_NORMAL].soft_seconds * 1000
               ? "unread replies beyond the soft client-output-buffer-limit for too long"
               : NULL;
}

static void close_over_limit(struct conn *c, const char *why)
{
    char peer[ADDRESS_TEXT];
    conn_peer_text(c, peer);
    log_warning("Closing client id=%llu addr=%s: %s (%zu bytes unsent).", (unsigned long long)c->session.id,
                peer, why, conn_unsent(c));
    counter_add(&c->worker->metrics.out_limit_closed, 1);
    conn_close(c, why);
}

/* Everything is sent. A buffer that one large reply has blown up is not kept. */
static void clear_replies(struct worker *w)
{
    if (w->reply.bytes.cap > CONN_KEEP_SIZE)
        reply_release(&w->reply);
    else
        reply_clear(&w->reply);
}

/* The reply could not be written as a whole, so none of it is sent. */
static void close_unwritten(struct conn *c, struct reply *r)
{
    struct worker *w = c->worker;
    bool own = r != &w->reply;
    if (r->over)
        close_over_limit(c, "a reply beyond the hard client-output-buffer-limit");
    else
        conn_close(c, "out of memory for its replies");
    if (!own)
        clear_replies(w);
}

static bool close_without_memory(struct conn *c)
{
    if (c->out == NULL)
        reply_clear(&c->worker->reply);
    conn_close(c, "out of memory for its replies");
    return false;
}

/* ---- after replicas --------------------------------------------------------------------- */

/* Its next round writes, too, and comes soon. */
static bool is_busy(const struct worker *w)
{
    return w->nheld >= BUSY_MIN;
}

static bool hold(struct conn *c)
{
    struct worker *w = c->worker;
    if (c->out == NULL && !keep_rest(c, 0))
        return false;
    if (c->owed > w->owed)
        w->owed = c->owed;
    if (c->held)
        return true;
    c->held = true;
    c->held_next = NULL;
    *w->held_end = c;
    w->held_end = &c->held_next;
    w->nheld++;
    return true;
}

bool conn_hold(struct conn *c)
{
    struct worker *w = c->worker;
    if (likely(c->owed == 0) || w->last_turn || hand_is_done(&w->server->repl.hand, c->owed))
        return false;
    const struct reply *r = conn_reply(c);
    return reply_size(r) > 0 && !r->oom && hold(c);
}

void conn_unhold(struct conn *c)
{
    struct worker *w = c->worker;
    struct conn **at = &w->held;
    while (*at != c)
        at = &(*at)->held_next;
    *at = c->held_next;
    if (*at == NULL)
        w->held_end = at;
    w->nheld--;
    c->held = false;
}

void conns_settle(struct worker *w)
{
    struct repl *r = &w->server->repl;
    if (unit_take_fresh(&w->unit))
        w->owed = w->unit.last_end; /* by the upkeep */
    if (w->owed == 0) {
        w->holds = w->holds && !repl_push(r);
        return;
    }
    bool done = repl_hand(r, w->owed, is_busy(w));
    w->holds = hand_holds(&r->hand);
    if (!done)
        return;
    repl_tell(r, w->owed);
    w->owed = 0;
    for (uint32_t n = w->nheld; n > 0; n--) { /* a lane's later end may hold one again */
        struct conn *c = w->held;
        conn_unhold(c);
        conn_finish(c);
    }
}

/* What has been sent is forgotten when it is the larger half: each byte is moved once at most. */
static void note_sent(struct conn_out *out, size_t sent)
{
    if (sent >= CONN_FLUSH_SIZE && sent >= reply_size(&out->reply) / 2) {
        reply_consume(&out->reply, sent);
        sent = 0;
    }
    out->sent = sent;
}

bool conn_flush(struct conn *c)
{
    struct worker *w = c->worker;
    struct reply *r = c->out != NULL ? &c->out->reply : &w->reply;
    size_t size = reply_size(r), sent = c->out != NULL ? c->out->sent : 0, begun = sent;
    if (unlikely(r->oom)) {
        close_unwritten(c, r);
        return false;
    }
    if (unlikely(c->wrote) && sent < size && !server_may_acknowledge(w->server)) {
        if (c->out == NULL)
            clear_replies(w);
        conn_close(c, "this node may have been replaced meanwhile: what it wrote is not acknowledged");
        return false;
    }
    if (unlikely(c->owed != 0) && sent < size && !hand_is_done(&w->server->repl.hand, c->owed) &&
        !repl_hand(&w->server->repl, c->owed, false))
        return hold(c) || close_without_memory(c);
    while (sent < size && sent - begun < CONN_SEND_MAX) {
        ssize_t n = send_some(c, r, sent);
        if (n < 0) {
            if (c->out == NULL)
                reply_clear(r);
            conn_close(c, "send failed");
            return false;
        }
        if (n == 0)
            break;
        sent += (size_t)n;
    }
    if (sent == size) {
        if (c->out != NULL)
            conn_out_drop(c);
        else
            clear_replies(w);
        want_write(c, false);
        c->wrote = false;
        c->owed = 0;
        c->soft_limit_since_ms = 0;
        clients_note(c);
        if (!c->session.close_after_reply || c->state != CONN_OPEN)
            return true;
        conn_close(c, "asked to close");
        return false;
    }
    if (c->out != NULL) {
        note_sent(c->out, sent);
    } else if (!keep_rest(c, sent)) {
        return close_without_memory(c);
    }
    const char *why = over_limit(c);
    if (why != NULL) {
        close_over_limit(c, why);
        return false;
    }
    want_write(c, true);
    clients_note(c);
    return true;
}

void conn_writable(struct conn *c)
{
    conn_flush(c);
}
