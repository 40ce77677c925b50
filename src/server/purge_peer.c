/* Purges: a connection to each other primary, as a client of it. Questions go out one behind the other, and
 * answers come in their order. A link that breaks or is silent is opened anew; what was asked on it is asked
 * again, since nobody knows whether it arrived. */
#include "base/alloc.h"
#include "base/arena.h"
#include "base/log.h"
#include "os/sock.h"
#include "proto/reader.h"
#include "server/purge.h"
#include "server/server.h"
#include "server/talk.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_CHUNK = 16 * 1024, RETRY_MS = 250, IDLE_MS = 15 * 1000 };

struct peer {
    char id[VIEW_ID + 1]; /* "": a free place */
    char ip[VIEW_IP_MAX];
    uint16_t port;
    bool counts;     /* a primary that must have purges, as of the last look */
    bool counted;    /* as of the look before */
    int fd;          /* -1: none */
    bool connecting; /* and not there yet */
    bool wants_write, complained;
    int64_t heard_ms, retry_ms;
    uint32_t ngreetings; /* answers to AUTH that are still to come */
    uint64_t flight[PURGE_FLIGHT];
    uint32_t nflight;
    struct buf in, out;
    size_t sent;
};

static uint32_t index_of(const struct purges *ps, const struct peer *p)
{
    return (uint32_t)(p - ps->peers);
}

bool peer_counts(const struct purges *ps, uint32_t i)
{
    return ps->peers[i].counts;
}

static struct peer *find(const struct purges *ps, struct str id)
{
    for (uint32_t i = 0; i < ps->npeers; i++)
        if (str_eq(str_of(ps->peers[i].id), id))
            return &ps->peers[i];
    return NULL;
}

/* Who was a primary when slots were on their way to it and follows another by now has it from that one. */
static struct str primary_of(const struct cluster_view *v, struct str id)
{
    for (uint32_t i = 1; v != NULL && i < v->nnodes; i++)
        if (v->nodes[i].primary != VIEW_NOBODY && str_eq(id, str_of(v->nodes[i].id)))
            return str_of(v->nodes[v->nodes[i].primary].id);
    return id;
}

bool peers_count(const struct purges *ps, struct str ids)
{
    const struct cluster_view *v = server_view(ps->repl->server);
    bool all = true;
    for (size_t at = 0; at < ids.n; at += VIEW_ID) {
        struct str id = primary_of(v, (struct str){ids.p + at, VIEW_ID});
        const struct peer *p = find(ps, id);
        bool self = v != NULL && ps->here_counts && str_eq(id, str_of(v->nodes[v->me].id));
        all &= self || (p != NULL && p->counts);
    }
    return all;
}

static void disconnect(struct purges *ps, struct peer *p)
{
    if (p->fd >= 0) {
        loop_remove(ps->repl->loop, p->fd);
        loop_forget(ps->repl->loop, p);
        close(p->fd);
    }
    p->fd = -1;
    p->connecting = p->wants_write = false;
    p->ngreetings = 0;
    p->sent = 0;
    buf_release(&p->in);
    buf_release(&p->out);
    for (uint32_t i = 0; i < p->nflight; i++)
        purge_unanswered(ps, p->flight[i], index_of(ps, p));
    p->nflight = 0;
    p->retry_ms = ps->repl->now_ms + RETRY_MS;
}

static void complain(struct purges *ps, struct peer *p, const char *why)
{
    if (!p->complained)
        log_warning("CACHE.PURGE cannot reach the primary %s:%u: %s. It is asked until it answers.", p->ip,
                    p->port, why);
    p->complained = true;
    disconnect(ps, p);
}

/* ---- who is asked ---- */

/* A place for a node that has none yet; what the one before has said is forgotten. */
static struct peer *place(struct purges *ps, const char *id)
{
    struct peer *p = NULL;
    for (uint32_t i = 0; i < ps->npeers && p == NULL; i++)
        if (!ps->peers[i].counts)
            p = &ps->peers[i];
    if (p == NULL) {
        if (ps->npeers == PURGE_PEERS_MAX)
            return NULL;
        p = &ps->peers[ps->npeers++];
        *p = (struct peer){.fd = -1};
        buf_init(&p->in);
        buf_init(&p->out);
    }
    disconnect(ps, p);
    purge_forget_peer(ps, index_of(ps, p));
    snprintf(p->id, sizeof p->id, "%s", id);
    p->retry_ms = 0;
    p->complained = false;
    return p;
}

static void follow_node(struct purges *ps, const struct view_node *n)
{
    struct peer *p = find(ps, str_of(n->id));
    if (p == NULL)
        p = place(ps, n->id);
    if (p == NULL) {
        ps->unplaced++;
        return;
    }
    p->counts = true;
    if (p->port == n->port && strcmp(p->ip, n->ip) == 0)
        return;
    disconnect(ps, p);
    p->retry_ms = 0;
    p->port = n->port;
    snprintf(p->ip, sizeof p->ip, "%s", n->ip);
}

/* For each node whether it must have a purge: it owns slots, or is a living primary without any, which may be
 * serving keys of one that is on its way to it. Owned by the caller; NULL: no memory. */
static bool *holders(const struct cluster_view *v)
{
    bool *holds = mem_zalloc(v->nnodes * sizeof *holds);
    for (uint32_t i = 1; holds != NULL && i < v->nnodes; i++)
        holds[i] = (v->nodes[i].flags & VIEW_PRIMARY) && !view_is_away(&v->nodes[i]);
    for (uint32_t slot = 0; holds != NULL && slot < SLOT_COUNT; slot++)
        holds[v->owner[slot]] = true;
    return holds;
}

uint32_t purge_shards(const struct cluster_view *v)
{
    uint32_t n = 0;
    bool *holds = holders(v);
    for (uint32_t i = 1; holds != NULL && i < v->nnodes; i++)
        n += holds[i];
    mem_free(holds);
    return n;
}

static void follow_nodes(struct purges *ps, const struct cluster_view *v, const bool *holds, bool known)
{
    for (uint32_t i = 1; i < v->nnodes; i++)
        if (holds[i] && i != v->me && (find(ps, str_of(v->nodes[i].id)) != NULL) == known)
            follow_node(ps, &v->nodes[i]);
}

void peers_follow(struct purges *ps)
{
    const struct cluster_view *v = server_view(ps->repl->server);
    ps->here_counts = v == NULL;
    ps->unplaced = 0;
    if (v == NULL)
        return;
    if (ps->peers == NULL)
        ps->peers = mem_zalloc(PURGE_PEERS_MAX * sizeof *ps->peers);
    bool *holds = ps->peers != NULL ? holders(v) : NULL;
    if (holds == NULL) {
        ps->unplaced = 1; /* nobody is known to have it */
        return;
    }
    ps->here_counts = holds[v->me] && !v->replica;
    for (uint32_t i = 0; i < ps->npeers; i++) {
        ps->peers[i].counted = ps->peers[i].counts;
        ps->peers[i].counts = false;
    }
    follow_nodes(ps, v, holds, true); /* first those who have a place, which may not be given away */
    for (uint32_t i = 0; i < ps->npeers; i++)
        if (ps->peers[i].counted && !ps->peers[i].counts)
            purge_lost_peer(ps, i);
    follow_nodes(ps, v, holds, false);
    mem_free(holds);
}

/* ---- talking ---- */

static void greet(struct purges *ps, struct peer *p)
{
    const struct config *cfg = &ps->repl->server->config;
    p->ngreetings = talk_put_auth(cfg, &p->out);
    if (p->out.oom)
        disconnect(ps, p);
}

static void reach(struct purges *ps, struct peer *p)
{
    struct sock_err err;
    int64_t now = ps->repl->now_ms;
    if (p->fd >= 0 || now < p->retry_ms || p->ip[0] == '\0')
        return;
    p->fd = sock_connect_begin(ps->repl->server->config.bind_source_addr, p->ip, p->port, &err);
    if (p->fd < 0 || loop_add(ps->repl->loop, p->fd, LOOP_READ | LOOP_WRITE, p) != 0) {
        if (p->fd >= 0)
            close(p->fd);
        p->fd = -1;
        p->retry_ms = now + RETRY_MS;
        return;
    }
    p->connecting = p->wants_write = true;
    p->heard_ms = now;
}

void peers_ask(struct purges *ps, struct purge *p)
{
    for (uint32_t i = 0; i < ps->npeers; i++) {
        struct peer *to = &ps->peers[i];
        if (!to->counts || !purge_asks(p, i))
            continue;
        reach(ps, to);
        if (to->fd < 0 || to->connecting || to->nflight == PURGE_FLIGHT)
            continue;
        if (to->nflight == 0)
            to->heard_ms = ps->repl->now_ms; /* the silence begins now */
        const struct buf *words = p->confirm ? &p->again : &p->command;
        if (buf_append(&to->out, words->p, words->n) != 0) {
            disconnect(ps, to);
            continue;
        }
        to->flight[to->nflight++] = p->serial;
        purge_set_bit(p->flying, i, true);
    }
}

/* Whoever is not told finds out when it carries the purge on. */
void peers_tell_done(struct purges *ps, const struct purge *p)
{
    const struct str done[] = {STR("CACHE.PURGE"), STR("DONE"), str_of(p->id)};
    for (uint32_t i = 0; i < ps->npeers; i++) {
        struct peer *to = &ps->peers[i];
        if (!to->counts || !purge_bit(p->acked, i) || to->fd < 0 || to->connecting ||
            to->nflight == PURGE_FLIGHT)
            continue;
        if (unit_put_command(&to->out, done, ARRAY_LEN(done)) == 0)
            to->flight[to->nflight++] = 0; /* no purge's */
        else
            disconnect(ps, to);
    }
}

static void flush(struct purges *ps, struct peer *p)
{
    while (p->sent < p->out.n) {
        ssize_t n = send(p->fd, p->out.p + p->sent, p->out.n - p->sent, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n < 0) {
            complain(ps, p, strerror(errno));
            return;
        }
        p->sent += (size_t)n;
    }
    if (p->sent == p->out.n) {
        buf_clear(&p->out);
        p->sent = 0;
    }
    bool more = p->out.n > 0;
    if (more != p->wants_write)
        loop_change(ps->repl->loop, p->fd, LOOP_READ | (more ? LOOP_WRITE : 0), p);
    p->wants_write = more;
}

void peers_flush(struct purges *ps)
{
    int64_t now = ps->repl->now_ms;
    for (uint32_t i = 0; i < ps->npeers; i++) {
        struct peer *p = &ps->peers[i];
        if (p->fd < 0)
            continue;
        bool waits = p->connecting || p->nflight > 0 || p->ngreetings > 0;
        if (waits && now - p->heard_ms > PURGE_SILENT_MS)
            complain(ps, p, "it does not answer");
        else if (!waits && now - p->heard_ms > IDLE_MS)
            disconnect(ps, p);
        else if (!p->connecting)
            flush(ps, p);
    }
}

/* ---- answers ---- */

static int64_t number_at(const struct reader_value *v, size_t i)
{
    return v->kind == READ_ARRAY && v->n > i && v->children[i].kind == READ_INT ? v->children[i].integer : 0;
}

/* Are all to whom its slots go asked as well? They are the last field, and an array; without any there is no
 * such field. */
static bool targets_count(const struct purges *ps, const struct reader_value *v)
{
    const struct reader_value *last = v->kind == READ_ARRAY && v->n > 0 ? &v->children[v->n - 1] : NULL;
    bool all = true;
    for (size_t i = 0; last != NULL && last->kind == READ_ARRAY && i < last->n; i++)
        all &= last->children[i].text.n == VIEW_ID && peers_count(ps, last->children[i].text);
    return all;
}

/* shards, acked, pending, unsupported, of a pattern swept and matched, and targets; each behind its name. */
static struct peer_answer understand(const struct purges *ps, const struct reader_value *v)
{
    bool never = reader_is_error(v) && str_begins(v->text, STR("ERR unknown command"));
    return (struct peer_answer){.said = never                                          ? PEER_NEVER
                                        : number_at(v, 3) == 1 && targets_count(ps, v) ? PEER_HAS_IT
                                                                                       : PEER_NOT_YET,
                                .swept = number_at(v, 9) == 1,
                                .matched = (uint64_t)number_at(v, 11)};
}

/* False: the link is gone. */
static bool take_answer(struct purges *ps, struct peer *p, const struct reader_value *v)
{
    char why[128];
    if (p->ngreetings > 0) {
        p->ngreetings--;
        if (!reader_is_error(v) ||
            str_begins(v->text, STR("ERR AUTH <password> called without any password")))
            return true; /* it asks for none */
        snprintf(why, sizeof why, "it refuses masterauth: %.*s", v->text.n < 80 ? (int)v->text.n : 80,
                 v->text.p);
        complain(ps, p, why);
        return false;
    }
    if (p->nflight == 0) {
        complain(ps, p, "it says what nobody has asked");
        return false;
    }
    struct peer_answer a = understand(ps, v);
    if (a.said != PEER_NOT_YET)
        p->complained = false;
    else if (reader_is_error(v) && !p->complained) {
        log_warning("CACHE.PURGE: the primary %s:%u answers '%.*s'. It is asked until it has the purge.",
                    p->ip, p->port, v->text.n < 80 ? (int)v->text.n : 80, v->text.p);
        p->complained = true;
    }
    uint64_t serial = p->flight[0];
    p->nflight--;
    memmove(&p->flight[0], &p->flight[1], p->nflight * sizeof p->flight[0]);
    purge_answered(ps, serial, index_of(ps, p), &a);
    return true;
}

static void parse(struct purges *ps, struct peer *p)
{
    struct arena arena;
    size_t at = 0, used, need;
    arena_init(&arena);
    for (;;) {
        struct reader_value v;
        arena_reset(&arena);
        int rc =
            reader_parse((struct str){p->in.p + at, p->in.n - at}, PURGE_REPLY_MAX, &arena, &v, &used, &need);
        if (rc == ERR_AGAIN && p->in.n - at <= PURGE_REPLY_MAX) {
            buf_consume(&p->in, at);
            break;
        }
        if (rc != 0) {
            complain(ps, p, "it does not speak Redis's protocol");
            break;
        }
        at += used;
        if (!take_answer(ps, p, &v))
            break;
    }
    arena_release(&arena);
}

static void receive(struct purges *ps, struct peer *p)
{
    if (buf_reserve(&p->in, READ_CHUNK) != 0) {
        disconnect(ps, p);
        return;
    }
    ssize_t n = recv(p->fd, p->in.p + p->in.n, READ_CHUNK, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        complain(ps, p, n == 0 ? "it hangs up" : strerror(errno));
        return;
    }
    p->in.n += (size_t)n;
    p->heard_ms = ps->repl->now_ms;
    parse(ps, p);
}

bool purges_own(const struct purges *ps, const void *tag)
{
    uintptr_t at = (uintptr_t)tag, first = (uintptr_t)ps->peers;
    return ps->peers != NULL && at >= first && at < first + PURGE_PEERS_MAX * sizeof *ps->peers;
}

void purges_event(struct purges *ps, const struct loop_event *ev)
{
    struct peer *p = ev->tag;
    if (p->fd < 0)
        return;
    if (p->connecting) {
        int error = ev->writable || ev->hangup ? sock_connect_result(p->fd) : 0;
        if (error != 0) {
            complain(ps, p, strerror(error));
            return;
        }
        if (!ev->writable)
            return;
        p->connecting = false;
        p->heard_ms = ps->repl->now_ms;
        sock_set_nodelay(p->fd);
        greet(ps, p);
        purge_hurry(ps);
        return;
    }
    if (ev->readable || ev->hangup)
        receive(ps, p);
}

void peers_release(struct purges *ps)
{
    for (uint32_t i = 0; i < ps->npeers; i++) {
        struct peer *p = &ps->peers[i];
        if (p->fd >= 0)
            close(p->fd);
        buf_release(&p->in);
        buf_release(&p->out);
    }
    mem_free(ps->peers);
    ps->peers = NULL;
    ps->npeers = 0;
}
