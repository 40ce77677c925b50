/* The network's half of MIGRATE: connections that are kept, and one exchange at a time. */
#include "server/migrate.h"

#include "base/arena.h"
#include "os/clock.h"
#include "os/sock.h"
#include "proto/reader.h"
#include "server/server.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_CHUNK = 16 * 1024 };

static int64_t now_ms(void)
{
    return os_mono_ns() / 1000000;
}

void migrate_fail(struct migration *g, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    if (g->failed)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    reply_error(&g->job->reply, text);
    g->failed = true;
}

/* ---- connections --------------------------------------------------------------------------------- */

void migrate_disconnect(struct migrate_socket *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

/* Nothing has come, not even the end. */
static bool is_quiet(const struct migrate_socket *s)
{
    struct pollfd p = {.fd = s->fd, .events = POLLIN | POLLRDHUP};
    return poll(&p, 1, 0) == 0;
}

static bool is_for(const struct migrate_socket *s, const struct migration *g)
{
    return s->fd >= 0 && s->port == g->port && strcmp(s->host, g->host) == 0;
}

/* A kept one that still lives, or NULL; *place for a new one. */
static struct migrate_socket *find_kept(struct migration *g, struct migrate_socket **place)
{
    struct migrate_socket *all = g->m->sockets, *oldest = &all[0];
    for (unsigned i = 0; i < MIGRATE_SOCKETS; i++) {
        struct migrate_socket *s = &all[i];
        if (s->fd >= 0 && (now_ms() - s->used_ms > MIGRATE_KEEP_MS || !is_quiet(s)))
            migrate_disconnect(s);
        if (is_for(s, g))
            return s;
        if (oldest->fd >= 0 && (s->fd < 0 || s->used_ms < oldest->used_ms))
            oldest = s;
    }
    *place = oldest;
    return NULL;
}

struct migrate_socket *migrate_connect(struct migration *g)
{
    struct sock_err err;
    struct migrate_socket *place = NULL, *s = find_kept(g, &place);
    if (s != NULL)
        return s;
    migrate_disconnect(place);
    int fd = sock_connect_tcp(g->host, (int)g->port, (int)g->timeout_ms, true, &err);
    if (fd < 0) {
        migrate_fail(g, "IOERR error or timeout connecting to the client: %s", err.text);
        return NULL;
    }
    sock_set_nodelay(fd);
    *place = (struct migrate_socket){.fd = fd, .port = (int)g->port, .db = 0};
    memcpy(place->host, g->host, sizeof place->host);
    return place;
}

void migrate_greet(struct migration *g, const struct migrate_socket *s)
{
    char db[NUM_I64_TEXT_MAX];
    const struct str auth[] = {STR("AUTH"), g->password}, auth2[] = {STR("AUTH"), g->user, g->password};
    const struct str select[] = {STR("SELECT"), {db, num_put_i64(db, g->db)}};
    int rc = 0;
    g->ngreetings = 0;
    if (g->password.p != NULL) {
        rc = g->user.p != NULL ? unit_put_command(&g->out, auth2, 3) : unit_put_command(&g->out, auth, 2);
        g->ngreetings++;
    }
    if (rc == 0 && s->db != g->db) {
        rc = unit_put_command(&g->out, select, 2);
        g->ngreetings++;
    }
    if (rc != 0)
        migrate_fail(g, "%s", REPLY_NOMEM);
}

/* ---- an exchange --------------------------------------------------------------------------------- */

/* Wait until the socket is ready; false when time is up, or the node ends. */
static bool await(const struct migration *g, int fd, short what, int64_t until)
{
    struct pollfd p = {.fd = fd, .events = what};
    while (!atomic_load_explicit(&g->m->stop, memory_order_relaxed)) {
        int64_t left = until - now_ms();
        if (left <= 0)
            return false;
        int rc = poll(&p, 1, left < MIGRATE_LOOK_MS ? (int)left : MIGRATE_LOOK_MS);
        if (rc > 0)
            return true;
        if (rc < 0 && errno != EINTR)
            return false;
    }
    return false;
}

static bool send_all(const struct migration *g, int fd)
{
    int64_t until = now_ms() + g->timeout_ms;
    for (size_t at = 0; at < g->out.n;) {
        ssize_t n = send(fd, g->out.p + at, g->out.n - at, MSG_NOSIGNAL);
        if (n > 0) {
            at += (size_t)n;
            until = now_ms() + g->timeout_ms;
        } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return false;
        } else if (!await(g, fd, POLLOUT, until)) {
            return false;
        }
    }
    return true;
}

struct incoming {
    struct buf in;
    struct arena arena;
    size_t at;
};

/* The next reply; false when none comes, or something that is none. */
static bool read_reply(const struct migration *g, int fd, struct incoming *r, struct reader_value *v)
{
    int64_t until = now_ms() + g->timeout_ms;
    for (;;) {
        size_t used, need;
        arena_reset(&r->arena);
        int rc = reader_parse((struct str){r->in.p + r->at, r->in.n - r->at}, MIGRATE_REPLY_MAX, &r->arena, v,
                              &used, &need);
        if (rc == 0) {
            r->at += used;
            return true;
        }
        if (rc != ERR_AGAIN || r->in.n - r->at > MIGRATE_REPLY_MAX || buf_reserve(&r->in, READ_CHUNK) != 0)
            return false;
        ssize_t n = recv(fd, r->in.p + r->in.n, READ_CHUNK, 0);
        if (n > 0)
            r->in.n += (size_t)n;
        else if (n == 0 || (errno != EAGAIN && errno != EINTR) || !await(g, fd, POLLIN, until))
            return false;
    }
}

static bool is_error(struct migration *g, const struct reader_value *v)
{
    if (!reader_is_error(v))
        return false;
    migrate_fail(g, "ERR Target instance replied with error: %.*s", (int)(v->text.n < 400 ? v->text.n : 400),
                 v->text.p);
    return true;
}

/* The replies to the greetings first, then one for each item that was sent. */
static bool read_replies(struct migration *g, struct migrate_socket *s, struct incoming *r)
{
    struct reader_value v;
    for (; g->ngreetings > 0; g->ngreetings--) {
        if (!read_reply(g, s->fd, r, &v))
            return false;
        if (is_error(g, &v))
            s->db = -1; /* whatever it is; what follows may have worked nevertheless */
        else if (g->ngreetings == 1 && s->db != -1)
            s->db = g->db;
    }
    for (uint32_t i = 0; i < g->nitems; i++) {
        struct migrate_item *it = &g->items[i];
        if (!it->sent)
            continue;
        if (!read_reply(g, s->fd, r, &v))
            return false;
        if (!is_error(g, &v))
            it->there = it->here;
    }
    return true;
}

void migrate_talk(struct migration *g, struct migrate_socket *s)
{
    struct incoming r = {.at = 0};
    buf_init(&r.in);
    arena_init(&r.arena);
    const char *doing = NULL;
    if (!send_all(g, s->fd))
        doing = "writing";
    else if (!read_replies(g, s, &r))
        doing = "reading";
    if (doing != NULL)
        migrate_fail(g, "IOERR error or timeout %s to target instance", doing);
    if (doing != NULL || s->db == -1)
        migrate_disconnect(s);
    buf_release(&r.in);
    arena_release(&r.arena);
}
