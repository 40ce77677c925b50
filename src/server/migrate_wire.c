/* The network's half of MIGRATE: connections that are kept, and one exchange at a time. */
#include "server/migrate.h"

#include "os/clock.h"
#include "os/sock.h"
#include "server/server.h"
#include "server/talk.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

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

static bool is_error(struct migration *g, const struct reader_value *v)
{
    if (!reader_is_error(v))
        return false;
    migrate_fail(g, "ERR Target instance replied with error: %.*s", (int)(v->text.n < 400 ? v->text.n : 400),
                 v->text.p);
    return true;
}

static bool read_greetings(struct migration *g, struct migrate_socket *s, struct talk *t)
{
    struct reader_value v;
    for (; g->ngreetings > 0; g->ngreetings--) {
        if (!talk_read(t, MIGRATE_REPLY_MAX, &v))
            return false;
        if (is_error(g, &v))
            s->db = -1; /* whatever it is; what follows may have worked nevertheless */
        else if (g->ngreetings == 1 && s->db != -1)
            s->db = g->db;
    }
    return true;
}

/* One for each item that was sent. */
static bool read_replies(struct migration *g, struct migrate_socket *s, struct talk *t)
{
    struct reader_value v;
    for (uint32_t i = 0; i < g->nitems; i++) {
        struct migrate_item *it = &g->items[i];
        if (!it->sent)
            continue;
        if (it->asking && !talk_read(t, MIGRATE_REPLY_MAX, &v))
            return false;
        if (!talk_read(t, MIGRATE_REPLY_MAX, &v))
            return false;
        it->refused = g->larder && it->here && reader_is_error(&v) && str_begins(v.text, STR("TRYAGAIN "));
        if (it->refused)
            s->met = false;
        else if (!is_error(g, &v))
            it->there = it->here;
    }
    return true;
}

/* What a server that does not know the command says of it is no error. */
static bool read_kind(struct migration *g, struct migrate_socket *s, struct talk *t)
{
    struct reader_value v;
    if (!talk_read(t, MIGRATE_REPLY_MAX, &v))
        return false;
    bool other = reader_is_error(&v) && str_begins(v.text, STR("ERR unknown command"));
    s->met = other || !is_error(g, &v);
    s->larder = s->met && !other;
    return true;
}

static void end_exchange(struct migration *g, struct migrate_socket *s, struct talk *t, const char *failed)
{
    if (failed != NULL)
        migrate_fail(g, "IOERR error or timeout %s target instance", failed);
    if (failed != NULL || s->db == -1)
        migrate_disconnect(s);
    talk_end(t);
    buf_clear(&g->out);
}

void migrate_meet(struct migration *g, struct migrate_socket *s)
{
    const struct str arrive[] = {STR("CACHE.ARRIVE")};
    struct talk t;
    const char *failed = NULL;
    if (s->met || g->failed || !(g->meets || s->larder)) /* it was refused: whatever it is sent now */
        return;
    if (unit_put_command(&g->out, arrive, ARRAY_LEN(arrive)) != 0) {
        migrate_fail(g, "%s", REPLY_NOMEM);
        return;
    }
    talk_begin(&t, s->fd, g->timeout_ms, &g->m->stop);
    if (!talk_send(&t, buf_str(&g->out)))
        failed = "writing to";
    else if (!read_greetings(g, s, &t) || !read_kind(g, s, &t))
        failed = "reading from";
    end_exchange(g, s, &t, failed);
}

void migrate_talk(struct migration *g, struct migrate_socket *s)
{
    struct talk t;
    const char *failed = NULL;
    talk_begin(&t, s->fd, g->timeout_ms, &g->m->stop);
    if (!talk_send(&t, buf_str(&g->out)))
        failed = "writing to";
    else if (!read_greetings(g, s, &t) || !read_replies(g, s, &t))
        failed = "reading from";
    end_exchange(g, s, &t, failed);
}
