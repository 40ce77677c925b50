#include "server/conn_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "os/clock.h"
#include "os/sock.h"
#include "server/cache_wait.h"
#include "server/dispatch.h"
#include "server/monitor.h"
#include "server/server.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- birth ------------------------------------------------------------------------- */

void conn_peer_text(const struct conn *c, char out[ADDRESS_TEXT])
{
    address_text(&c->peer, c->worker->server->config.unixsocket, out);
}

void conn_local_text(const struct conn *c, char out[ADDRESS_TEXT])
{
    address_text(&c->local, c->worker->server->config.unixsocket, out);
}

bool conn_is_local(const struct conn *c)
{
    return address_is_loopback(&c->peer);
}

/* Without a password and without a say where to listen, the open network is a trap. */
static bool is_denied(const struct conn *c)
{
    const struct config *cfg = &c->worker->server->config;
    return cfg->protected_mode && cfg->requirepass.n == 0 && !conn_is_local(c);
}

static void send_denied(int fd)
{
    static const char text[] =
        "-DENIED larder is in protected mode: no password is set, so only connections from this "
        "machine are served. To serve others: set a password (CONFIG SET requirepass <secret>, or the "
        "requirepass option), or, if the network is trusted, CONFIG SET protected-mode no from this "
        "machine.\r\n";
    ssize_t ignored = send(fd, text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)ignored;
}

static void session_init(struct session *ss, struct server *s)
{
    ss->id = atomic_fetch_add_explicit(&s->next_client_id, 1, memory_order_relaxed) + 1;
    ss->proto = 2;
    ss->authenticated = s->config.requirepass.n == 0;
    txn_init(&ss->txn);
}

static void link_conn(struct worker *w, struct conn *c)
{
    c->next = w->conns;
    if (w->conns != NULL)
        w->conns->prev = c;
    w->conns = c;
}

static void unlink_conn(struct conn *c)
{
    struct worker *w = c->worker;
    if (w->sweep == c)
        w->sweep = c->next;
    if (unlikely(w->relays != NULL))
        relay_move_on(w, c);
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        w->conns = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
}

static void uncount(struct worker *w)
{
    atomic_fetch_sub_explicit(&w->nconns, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&w->server->nclients, 1, memory_order_relaxed);
}

void conn_accept(struct worker *w, int fd)
{
    struct conn *c = mem_zalloc(sizeof *c);
    if (c == NULL || loop_add(w->loop, fd, LOOP_READ | LOOP_STREAM, c) != 0) {
        log_warning("Dropped a new connection: %s.", c == NULL ? "out of memory" : strerror(errno));
        mem_free(c);
        close(fd);
        uncount(w);
        return;
    }
    c->worker = w;
    c->fd = fd;
    c->interest = LOOP_READ;
    c->created_ms = c->active_ms = w->now_ms;
    address_of_peer(&c->peer, fd);
    address_of_socket(&c->local, fd);
    session_init(&c->session, w->server);
    link_conn(w, c);
    clients_note(c);
    counter_add(&w->metrics.connections, 1);
    if (c->peer.family != AF_UNIX) {
        sock_set_nodelay(fd);
        sock_set_keepalive(fd, w->server->config.tcp_keepalive);
    }
    if (is_denied(c)) {
        send_denied(fd);
        conn_close(c, "protected mode");
    }
}

/* ---- death ------------------------------------------------------------------------- */

static void free_conn(struct conn *c)
{
    ASSERT(c->fd < 0);
    if (c->session.importing != 0)
        moves_connection_gone(&c->worker->server->moves, c->session.importing);
    mem_free(c->hello);
    mem_free(c);
}

static void unlist_paused(struct conn *c)
{
    for (struct conn **at = &c->worker->paused; *at != NULL; at = &(*at)->park_next) {
        if (*at == c) {
            *at = c->park_next;
            atomic_fetch_sub_explicit(&c->worker->npaused, 1, memory_order_relaxed);
            return;
        }
    }
}

void conn_close(struct conn *c, const char *why)
{
    struct worker *w = c->worker;
    ASSERT(c->state != CONN_ZOMBIE);
    log_verbose("Client id=%llu closed: %s", (unsigned long long)c->session.id, why);
    int fd = c->fd;
    loop_remove(w->loop, fd);
    loop_forget(w->loop, c);
    c->fd = -1;
    monitor_forget(c);
    unlink_conn(c);
    uncount(w);
    clients_forget(c);
    if (unlikely(c->held))
        conn_unhold(c);
    close(fd); /* who sees the end is counted no more */
    buf_release(&c->in);
    conn_out_drop(c);
    if (c->state == CONN_PARKED && c->parked == PARK_PAUSE) {
        unlist_paused(c);
        c->state = CONN_OPEN;
        c->parked = PARK_NONE;
    }
    if (c->state == CONN_PARKED && c->parked == PARK_LEASE && cache_wait_cancel(c)) {
        c->state = CONN_OPEN;
        c->parked = PARK_NONE;
    }
    /* While parked for the lane, the session is the lane's to use. */
    if (c->state == CONN_PARKED || c->in_turn) {
        c->state = CONN_ZOMBIE;
        return;
    }
    session_release(&c->session, w->server->store);
    free_conn(c);
}

static void bury(struct conn *c)
{
    session_release(&c->session, c->worker->server->store);
    free_conn(c);
}

/* ---- what the loop waits for --------------------------------------------------------- */

/* Nothing it sends will be looked at. */
static bool is_deaf(const struct conn *c)
{
    return c->saw_eof || c->session.close_after_reply || c->worker->stopping;
}

/* A pause may be long: who hangs up meanwhile is let go at once, and what it has asked for is not done. So is
 * who waits for others, and shall inherit no lease. Other reasons to park end by themselves, so that who only
 * closes its sending half gets its replies. (Behind more than the kernel holds for a socket that is not read,
 * a hangup does not arrive.) */
static bool waits_in_vain(const struct conn *c)
{
    return c->state == CONN_PARKED && (c->parked == PARK_LEASE || c->parked == PARK_PAUSE);
}

/* What the loop shall wait for. A parked client may pile up a bounded amount of requests; then
 * its socket waits. */
void conn_set_interest(struct conn *c)
{
    bool full = c->state == CONN_PARKED && c->in.n >= CONN_READ_SIZE;
    unsigned interest = (full || is_deaf(c) ? 0 : LOOP_READ) | (c->wants_write ? LOOP_WRITE : 0) |
                        (full && waits_in_vain(c) ? LOOP_HANGUP : 0);
    if (interest != c->interest)
        loop_change(c->worker->loop, c->fd, interest, c);
    c->interest = (uint8_t)interest;
}

/* ---- in ---------------------------------------------------------------------------- */

/* Keep what dispatch did not use. `rest` lies in the worker's buffer or in c->in itself. */
static bool keep_input(struct conn *c, struct str rest, bool own)
{
    if (own) {
        buf_consume(&c->in, c->in.n - rest.n);
        if (c->in.n == 0)
            buf_release(&c->in);
        return true;
    }
    return rest.n == 0 || buf_append(&c->in, rest.p, rest.n) == 0;
}

/* A request that has not ended yet and is beyond the limit: true, and the client is gone. */
static bool asks_too_much(struct conn *c)
{
    struct worker *w = c->worker;
    if (c->in.n + c->session.txn.queue_bytes <= w->server->config.client_query_buffer_limit)
        return false;
    counter_add(&w->metrics.query_limit_closed, 1);
    log_warning("Closing client id=%llu: its request is beyond client-query-buffer-limit.",
                (unsigned long long)c->session.id);
    conn_close(c, "request beyond client-query-buffer-limit");
    return true;
}

void conn_finish(struct conn *c)
{
    if (conn_flush(c) && !c->held && c->saw_eof && (c->state == CONN_OPEN || waits_in_vain(c)))
        conn_close(c, "closed by peer");
}

/* Execute what `in` holds and send the replies. The connection may be gone afterwards. */
static void conn_turn(struct conn *c, struct str in, bool own)
{
    struct worker *w = c->worker;
    c->in_turn = true;
    size_t used = 0;
    while (!w->stopping && c->state == CONN_OPEN && used < in.n && !c->close_asap &&
           !c->session.close_after_reply) {
        size_t n = dispatch_input(c, (struct str){in.p + used, in.n - used});
        used += n;
        if (c->state != CONN_ZOMBIE && reply_size(conn_reply(c)) > CONN_FLUSH_SIZE)
            conn_flush(c);
        if (n == 0)
            break;
    }
    c->in_turn = false;
    if (c->state == CONN_ZOMBIE) { /* closed in mid-turn, by itself or by its own KILL */
        reply_clear(&w->reply);
        if (c->parked == PARK_NONE)
            bury(c);
        return;
    }
    if (c->close_asap) {
        if (c->out == NULL)
            reply_clear(&w->reply);
        conn_close(c, "killed");
        return;
    }
    if (!keep_input(c, (struct str){in.p + used, in.n - used}, own)) {
        reply_clear(&w->reply);
        conn_close(c, "out of memory for its request");
        return;
    }
    if (asks_too_much(c)) {
        reply_clear(&w->reply);
        return;
    }
    if (!conn_hold(c))
        conn_finish(c);
}

/* Where the next recv() goes: behind a cut request, or the worker's buffer. */
static bool read_target(struct conn *c, char **p, size_t *n)
{
    if (c->in.n == 0) {
        *p = c->worker->read_buf;
        *n = CONN_READ_SIZE;
        return true;
    }
    size_t room = c->session.authenticated ? CONN_READ_SIZE : CONN_UNAUTH_READ_SIZE;
    if (c->in_need > room)
        room = c->in_need;
    if (buf_reserve(&c->in, room) != 0)
        return false;
    *p = c->in.p + c->in.n;
    *n = c->in.cap - c->in.n;
    return true;
}

/* n <= 0: the peer sends no more, or -errno. */
static void end_input(struct conn *c, int n)
{
    /* What it has asked for is still being done. */
    bool is_served = c->state == CONN_PARKED && !waits_in_vain(c);
    if (n == 0 && (is_served || c->held)) {
        c->saw_eof = true;
        conn_set_interest(c);
        return;
    }
    conn_close(c, n == 0 ? "closed by peer" : strerror(-n));
}

static void count_input(struct conn *c, size_t n)
{
    struct worker *w = c->worker;
    counter_add(&w->metrics.net_in, n);
    counter_add(&w->metrics.reads, 1);
    c->net_in += n;
    c->active_ms = w->now_ms;
}

/* n new bytes have come: at the end of c->in when there was a cut request, else at p. */
static void take_input(struct conn *c, const char *p, size_t n, bool own)
{
    if (c->state == CONN_PARKED) {
        if (!own && buf_append(&c->in, p, n) != 0) {
            conn_close(c, "out of memory for its request");
            return;
        }
        conn_set_interest(c);
        clients_note(c);
        return;
    }
    if (own && n < c->in_need) {
        c->in_need -= n;
        clients_note(c);
        asks_too_much(c);
        return;
    }
    c->in_need = 0;
    conn_turn(c, own ? buf_str(&c->in) : (struct str){p, n}, own);
}

void conn_readable(struct conn *c)
{
    char *p;
    size_t room;
    if (!read_target(c, &p, &room)) {
        conn_close(c, "out of memory for its request");
        return;
    }
    ssize_t n = recv(c->fd, p, room, 0);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            end_input(c, n == 0 ? 0 : -errno);
        return;
    }
    count_input(c, (size_t)n);
    bool own = p != c->worker->read_buf;
    if (own)
        c->in.n += (size_t)n;
    take_input(c, p, (size_t)n, own);
}

void conn_received(struct conn *c, const char *data, int n)
{
    if (n <= 0) {
        end_input(c, n);
        return;
    }
    if (is_deaf(c)) /* it was on its way already */
        return;
    count_input(c, (size_t)n);
    bool own = c->in.n != 0;
    if (own && (buf_reserve(&c->in, c->in_need > (size_t)n ? c->in_need : (size_t)n) != 0 ||
                buf_append(&c->in, data, (size_t)n) != 0)) {
        conn_close(c, "out of memory for its request");
        return;
    }
    take_input(c, data, (size_t)n, own);
}

/* ---- the end of the server ----------------------------------------------------------- */

void conn_stop_reading(struct conn *c)
{
    conn_set_interest(c);
}

/* Input that nobody has read would turn the close into a reset, and that into lost replies. */
void conn_part(struct conn *c)
{
    shutdown(c->fd, SHUT_WR);
    for (int i = 0; i < CONN_PART_READS; i++)
        if (recv(c->fd, c->worker->read_buf, CONN_READ_SIZE, 0) <= 0)
            break;
}

/* ---- parking ------------------------------------------------------------------------- */

void conn_park(struct conn *c, enum park_reason why)
{
    ASSERT(c->state == CONN_OPEN && why != PARK_NONE);
    c->state = CONN_PARKED;
    c->parked = (uint8_t)why;
    counter_add(&c->worker->metrics.parked, 1);
    if (why == PARK_PAUSE) {
        c->park_next = c->worker->paused;
        c->worker->paused = c;
        atomic_fetch_add_explicit(&c->worker->npaused, 1, memory_order_relaxed);
    }
}

void conn_unpark(struct conn *c)
{
    c->parked = PARK_NONE;
    if (c->state == CONN_ZOMBIE) {
        if (!c->in_turn)
            bury(c);
        return;
    }
    ASSERT(c->state == CONN_PARKED);
    c->state = CONN_OPEN;
    if (c->in_turn)
        return;
    conn_set_interest(c);
    conn_turn(c, buf_str(&c->in), true);
}
