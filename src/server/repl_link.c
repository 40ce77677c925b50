/* The replica's socket: reaching the primary, feeding the link's machine, taking a full copy.
 *
 *      (outside) connect ── handshake ──┬── +CONTINUE ───────────────────────────────────────┬── stream
 *                                       └── +FULLRESYNC ── file ── (outside) check, load ────┘
 *
 * A full copy goes to a file first and is checked as a whole before anything of ours is given up: a copy that
 * breaks off, that lies, or that holds what we do not know costs nothing but time. And an empty one, from a
 * primary that has lost its data, does not replace ours unless an operator has just named that primary. */
#include "server/repl.h"

#include "base/assert.h"
#include "base/log.h"
#include "os/clock.h"
#include "os/sock.h"
#include "server/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void repl_link_init(struct repl *r)
{
    r->replica.fd = r->replica.spool = -1;
    link_init(&r->replica.link);
    buf_init(&r->replica.in);
}

static void close_spool(struct replica *rep)
{
    if (rep->spool >= 0)
        close(rep->spool);
    rep->spool = -1;
    rep->spool_whole = rep->loading = false;
}

/* In a round or under the gate. why NULL: on purpose, and nobody need know. */
void repl_link_drop(struct repl *r, const char *why)
{
    struct replica *rep = &r->replica;
    if (why != NULL && strcmp(why, rep->failed) != 0)
        log_warning("Replication from %s:%d is interrupted: %s. Trying again until it works.", r->host,
                    r->port, why);
    if (why != NULL)
        snprintf(rep->failed, sizeof rep->failed, "%s", why);
    if (atomic_exchange(&r->link_up, false) || rep->retry_ms == 0)
        atomic_store(&r->shown.down_since_ms, os_wall_ms());
    if (rep->fd >= 0) {
        if (rep->ended[0] == '\0')
            loop_remove(r->loop, rep->fd); /* an event that is on its way finds no descriptor, or another's,
                                              and nothing to read */
        close(rep->fd);
    }
    rep->fd = -1;
    pthread_mutex_lock(&r->mutex);
    r->primary.id = 0;
    pthread_mutex_unlock(&r->mutex);
    rep->retry_ms = os_wall_ms() + REPL_RETRY_MS;
    rep->more = rep->blocked = rep->wants_alone = rep->wants_write = false;
    rep->at = rep->wait_for = rep->sent = 0;
    rep->ended[0] = '\0';
    rep->link.state = LINK_IDLE;
    atomic_store(&r->shown.state, LINK_IDLE);
    buf_release(&rep->in);
    close_spool(rep);
}

void repl_link_release(struct repl *r)
{
    if (r->replica.fd >= 0)
        close(r->replica.fd);
    close_spool(&r->replica);
    buf_release(&r->replica.in);
    link_release(&r->replica.link);
}

/* ---- sending ---- */

static void set_interest(struct repl *r, bool write)
{
    struct replica *rep = &r->replica;
    if (rep->wants_write != write && rep->ended[0] == '\0')
        loop_change(r->loop, rep->fd, LOOP_READ | (write ? LOOP_WRITE : 0), rep);
    rep->wants_write = write;
}

/* False: the link is gone. */
static bool flush(struct repl *r)
{
    struct replica *rep = &r->replica;
    struct buf *out = &rep->link.out;
    if (out->oom) {
        repl_link_drop(r, "out of memory");
        return false;
    }
    while (rep->sent < out->n) {
        ssize_t n = send(rep->fd, out->p + rep->sent, out->n - rep->sent, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n < 0 && rep->link.state == LINK_STREAM && (errno == EPIPE || errno == ECONNRESET)) {
            rep->sent = out->n; /* nobody reads it; what the primary has sent before is read to its end */
            break;
        }
        if (n < 0) {
            repl_link_drop(r, strerror(errno));
            return false;
        }
        rep->sent += (size_t)n;
    }
    if (rep->sent == out->n) {
        buf_clear(out);
        rep->sent = 0;
    }
    set_interest(r, out->n > 0);
    return true;
}

/* ---- what the machine says ---- */

static bool open_spool(struct replica *rep)
{
    char name[64];
    snprintf(name, sizeof name, "temp-%d-copy.rdb", (int)getpid());
    close_spool(rep);
    rep->spool = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (rep->spool >= 0)
        unlink(name); /* nothing is left behind, whatever happens */
    rep->spooled = 0;
    return rep->spool >= 0;
}

static bool spool(struct replica *rep, struct str piece)
{
    while (piece.n > 0) {
        ssize_t n = write(rep->spool, piece.p, piece.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        piece.p += n;
        piece.n -= (size_t)n;
        rep->spooled += (uint64_t)n;
    }
    return true;
}

static bool take_payload(struct repl *r, struct str *in)
{
    struct replica *rep = &r->replica;
    while (in->n > 0 && rep->link.state == LINK_PAYLOAD) {
        struct str piece;
        bool last = link_payload(&rep->link, in, &piece);
        if (!spool(rep, piece)) {
            char why[LINK_TEXT_MAX];
            snprintf(why, sizeof why, "cannot write the copy to a file in 'dir': %s", strerror(errno));
            repl_link_drop(r, why);
            return false;
        }
        rep->spool_whole = last;
    }
    atomic_store(&r->shown.spooled, rep->spooled);
    return true;
}

static void go_on(struct repl *r)
{
    struct link *l = &r->replica.link;
    history_follow(&r->history, (struct str){l->id, HISTORY_ID}, repl_offset(r));
    atomic_store(&r->link_up, true);
    r->named_anew = r->from_file = false;
    r->replica.failed[0] = '\0';
    r->replica.ack_ms = 0;
    log_notice("Replication from %s:%d goes on from offset %llu; nothing was missed.", r->host, r->port,
               (unsigned long long)repl_offset(r));
}

static bool on_event(struct repl *r, enum link_event e)
{
    struct replica *rep = &r->replica;
    switch (e) {
    case LINK_NOTHING: return true;
    case LINK_TRANSFER: atomic_store(&r->shown.total, rep->link.marked ? 0 : rep->link.left); return true;
    case LINK_FULL:
        failover_answered(r, NULL);
        log_notice("The primary %s:%d sends a full copy, as of offset %llu.", r->host, r->port,
                   (unsigned long long)rep->link.offset);
        if (open_spool(rep))
            return true;
        snprintf(rep->link.text, sizeof rep->link.text, "cannot create a file in 'dir': %s", strerror(errno));
        break;
    case LINK_CONTINUE:
        failover_answered(r, NULL);
        go_on(r);
        return true;
    case LINK_LATER:
    case LINK_BROKEN: break;
    }
    char why[LINK_TEXT_MAX];
    memcpy(why, rep->link.text, sizeof why);
    if (rep->link.state == LINK_PSYNC)
        failover_answered(r, why);
    repl_link_drop(r, why);
    return false;
}

static void apply_what_is_there(struct repl *r)
{
    struct replica *rep = &r->replica;
    const char *why = NULL;
    enum apply_result result = repl_apply(r, &why);
    rep->wants_alone = result == APPLY_ALONE;
    rep->blocked = result == APPLY_BUSY;
    rep->more = result == APPLY_MORE || result == APPLY_ALONE || result == APPLY_BUSY;
    if (result == APPLY_BROKEN)
        repl_link_drop(r, why);
    else
        (void)flush(r);
}

/* Bytes behind a handshake's last line belong to what follows it. */
static void take(struct repl *r, struct str in)
{
    struct replica *rep = &r->replica;
    while (in.n > 0 && rep->link.state < LINK_PAYLOAD) {
        if (!on_event(r, link_feed(&rep->link, &in)))
            return;
        if (in.n > 0 && rep->link.state < LINK_PAYLOAD && memchr(in.p, '\n', in.n) == NULL)
            break; /* a cut line */
    }
    if (rep->link.state == LINK_PAYLOAD && !take_payload(r, &in))
        return;
    atomic_store(&r->shown.state, rep->link.state);
    if (in.n > 0 && buf_append(&rep->in, in.p, in.n) != 0)
        repl_link_drop(r, "out of memory");
}

static bool applies(const struct replica *rep)
{
    return rep->link.state == LINK_STREAM && !rep->spool_whole && !rep->loading;
}

/* Nothing more comes. What has come is applied before the link is given up: clients may have been told that
 * it is done. */
static void end_of_stream(struct repl *r, const char *why)
{
    struct replica *rep = &r->replica;
    if (!applies(rep) || rep->at >= rep->in.n) {
        repl_link_drop(r, why);
        return;
    }
    snprintf(rep->ended, sizeof rep->ended, "%s", why);
    loop_remove(r->loop, rep->fd); /* its end would be told without end */
}

static void receive(struct repl *r)
{
    struct replica *rep = &r->replica;
    char bytes[REPL_READ_SIZE];
    size_t most = REPL_READ_MAX;
    while (rep->fd >= 0 && most > 0) {
        size_t keep = rep->link.state < LINK_PAYLOAD ? rep->in.n : 0; /* a cut line of the handshake */
        if (keep > sizeof bytes / 2) {
            repl_link_drop(r, "the primary's line has no end");
            return;
        }
        if (keep > 0)
            memcpy(bytes, rep->in.p, keep);
        ssize_t n = recv(rep->fd, bytes + keep, sizeof bytes - keep, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            end_of_stream(r, n == 0 ? "the primary closed the connection" : strerror(errno));
            return;
        }
        rep->heard_ms = r->now_ms;
        atomic_store(&r->shown.heard_ms, r->now_ms);
        atomic_fetch_add(&r->shown.net_in, (uint64_t)n);
        if (keep > 0)
            buf_clear(&rep->in);
        take(r, (struct str){bytes, keep + (size_t)n});
        most -= (size_t)n < most ? (size_t)n : most;
        if (rep->spool_whole || rep->in.n > 4 * REPL_READ_MAX)
            return; /* first things first */
    }
}

void repl_link_event(struct repl *r, const struct loop_event *ev)
{
    struct replica *rep = &r->replica;
    if (rep->fd < 0)
        return;
    if (ev != NULL && (ev->readable || ev->hangup) && rep->in.n <= 4 * REPL_READ_MAX)
        receive(r);
    if (rep->fd >= 0 && applies(rep))
        apply_what_is_there(r);
    else if (rep->fd >= 0)
        (void)flush(r);
    if (rep->fd >= 0 && rep->ended[0] != '\0' && !rep->more)
        repl_link_drop(r, rep->ended);
}

/* ---- a full copy --------------------------------------------------------------------------- */

static void begin_load(struct repl *r)
{
    if (r->turn != r->todo.turn)
        return;
    r->copy.spoilt = true;
    store_flush_all(&r->ctx.a);
    r->has_history = false;
    atomic_store(&r->loading, true);
}

/* A copy that is no longer wanted, or that did not fit, is no data set. */
static void give_up_load(struct repl *r)
{
    store_flush_all(&r->ctx.a);
    atomic_store(&r->loading, false);
}

static void end_load(struct repl *r)
{
    struct link *l = &r->replica.link;
    if (r->turn != r->todo.turn) { /* nobody wants it any more */
        give_up_load(r);
        return;
    }
    r->replica.loading = false;
    history_init(&r->history, l->id);
    repl_lineage_set(r, &r->todo.lineage);
    changelog_start(&r->log, l->offset);
    r->has_history = true;
    atomic_store(&r->record_now, true);
    r->named_anew = r->from_file = false;
    atomic_store(&r->loading, false);
    atomic_store(&r->link_up, true);
    r->replica.failed[0] = '\0';
    r->replica.ack_ms = 0;
    r->replica.more = true; /* what came behind the copy */
}

static bool may_replace(struct repl *r, const struct repl_copy *copy)
{
    struct store_memory m;
    repl_round_begin(r);
    store_memory(r->server->store, &m);
    bool current = r->turn == r->todo.turn;
    bool older = lineage_is_older(&copy->lineage, &r->lineage);
    bool ok = current && ((copy->keys > 0 && !older) || m.keys == 0 || r->named_anew);
    if (current && !ok) {
        char why[LINK_TEXT_MAX];
        snprintf(why, sizeof why,
                 "the primary %s, while this node still has its own; it keeps them. To have them everywhere: "
                 "REPLICAOF NO ONE here, and make the other node a replica of this one. To give them up: "
                 "REPLICAOF that primary again",
                 older ? "has data of an earlier epoch" : "has lost its data and sends an empty copy");
        repl_link_drop(r, why);
        r->replica.retry_ms = r->now_ms + REPL_REFUSED_MS;
    }
    repl_round_end(r);
    return ok;
}

/* Unless somebody has given the link up before. */
static void drop_in_round(struct repl *r, const char *why)
{
    repl_round_begin(r);
    if (r->turn == r->todo.turn)
        repl_link_drop(r, why);
    repl_round_end(r);
}

static void load(struct repl *r, struct repl_copy *copy, uint64_t turn)
{
    int64_t t0 = os_mono_ns();
    if (repl_copy_check(copy, r) != 0) {
        drop_in_round(r, copy->text);
        return;
    }
    r->todo.lineage = copy->lineage;
    if (!may_replace(r, copy) || !repl_alone(r, begin_load))
        return;
    int rc = repl_copy_load(copy, r, turn);
    if (rc != 0) {
        (void)repl_alone(r, give_up_load);
        if (rc != ERR_AGAIN)
            drop_in_round(r, "out of memory while loading the full copy");
        return;
    }
    r->session.db = copy->stream_db >= 0 ? (uint32_t)copy->stream_db : 0; /* the thread's and its calls' */
    if (!repl_alone(r, end_load))
        return;
    log_notice("The full copy from %s:%d is loaded: %llu keys, %llu bytes, %.2f s.", r->todo.host,
               r->todo.port, (unsigned long long)copy->keys, (unsigned long long)copy->n,
               (double)(os_mono_ns() - t0) / 1e9);
}

static void load_spool(struct repl *r)
{
    struct repl_copy copy = {.fd = r->todo.spool, .n = r->todo.spooled, .databases = r->todo.databases};
    load(r, &copy, r->todo.turn);
    close(copy.fd);
}

/* ---- time ------------------------------------------------------------------------------- */

void repl_link_cron(struct repl *r)
{
    struct replica *rep = &r->replica;
    int64_t timeout_ms = (int64_t)r->server->config.repl_timeout * 1000;
    if (rep->fd < 0)
        return;
    if (r->now_ms - rep->heard_ms > timeout_ms) {
        repl_link_drop(r, "nothing has come from the primary for 'repl-timeout' seconds");
        return;
    }
    rep->wait_for = 0;
    rep->more |= rep->link.state == LINK_STREAM && rep->in.n > 0;
    if (applies(rep) && r->now_ms - rep->ack_ms >= REPL_ACK_MS) {
        rep->ack_ms = r->now_ms;
        link_ack(&rep->link, repl_offset(r));
        (void)flush(r);
    }
}

/* In a round: the socket becomes the link's, unless the role has changed since it was opened. */
static void adopt(struct repl *r, int fd, uint64_t turn)
{
    struct replica *rep = &r->replica;
    const struct config *cfg = &r->server->config;
    if (turn != r->turn || rep->fd >= 0 || loop_add(r->loop, fd, LOOP_READ, rep) != 0) {
        close(fd);
        return;
    }
    struct repl_peer peer;
    uint64_t id = atomic_fetch_add_explicit(&r->server->next_client_id, 1, memory_order_relaxed) + 1;
    repl_peer_init(&peer, fd, id, true, r->now_ms);
    pthread_mutex_lock(&r->mutex);
    r->primary = peer;
    pthread_mutex_unlock(&r->mutex);
    rep->fd = fd;
    rep->heard_ms = r->now_ms;
    sock_set_nodelay(fd);
    struct link_config config = {
        .user = str_of(cfg->masteruser),
        .password = config_secret_str(&cfg->masterauth),
        .port = cfg->replica_announce_port != 0 ? cfg->replica_announce_port : cfg->port,
        .ip = str_of(cfg->replica_announce_ip),
        .failover = failover_state(&r->failover) == FAILOVER_GOING && !r->failover.taken,
    };
    link_begin(&rep->link, &config, r->has_history ? &r->history : NULL, repl_offset(r));
    atomic_store(&r->shown.state, LINK_PING);
    (void)flush(r);
}

static void reach_primary(struct repl *r)
{
    struct sock_err err;
    int fd = sock_connect_tcp_from(r->todo.source, r->todo.host, r->todo.port, REPL_CONNECT_MS, true, &err);
    repl_round_begin(r);
    if (fd >= 0)
        adopt(r, fd, r->todo.turn);
    else if (r->todo.turn == r->turn)
        repl_link_drop(r, err.text);
    repl_round_end(r);
}

static void apply_alone(struct repl *r)
{
    const char *why = NULL;
    if (r->replica.fd < 0 || !r->replica.wants_alone) /* the role has changed meanwhile */
        return;
    r->replica.wants_alone = false;
    if (repl_apply_one(r, true, &why) == APPLY_BROKEN)
        repl_link_drop(r, why);
}

void repl_link_plan(struct repl *r, struct repl_todo *t)
{
    struct replica *rep = &r->replica;
    t->alone = rep->wants_alone;
    t->reach = r->is_replica && rep->fd < 0 && r->now_ms >= rep->retry_ms;
    t->load = rep->spool_whole;
    t->port = r->port;
    t->turn = r->turn;
    t->databases = r->server->limits.databases;
    memcpy(t->host, r->host, sizeof t->host);
    snprintf(t->source, sizeof t->source, "%s", r->server->config.bind_source_addr);
    if (!t->load)
        return;
    t->spool = rep->spool;
    t->spooled = rep->spooled;
    rep->spool = -1;
    rep->spool_whole = false;
    rep->loading = true;
}

void repl_link_outside(struct repl *r)
{
    if (r->todo.alone)
        (void)repl_alone(r, apply_alone);
    if (r->todo.reach)
        reach_primary(r);
    else if (r->todo.load)
        load_spool(r);
}
