/* Listening sockets, at boot and when CONFIG SET changes `port` or `bind`.
 *
 * A change is all or nothing. Addresses that stay keep their socket. With another port
 * the new sockets are opened beside the old ones, which go when all is well. With the
 * same port old and new may be in each other's way (127.0.0.1 and *), so the old ones
 * that must go are closed first, and opened again if a new one fails.
 *
 * A worker may still hold an event of a socket that has gone: its place in the array
 * stays, and accepting on -1 or on a socket that has nobody waiting does no harm. */
#include "server/boot.h"

#include "base/log.h"
#include "os/sock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool is_open(const struct listener *l)
{
    return l->fd >= 0;
}

/* A free place; NULL when there is none. */
static struct listener *place(struct server *s)
{
    for (uint32_t i = 0; i < SERVER_LISTEN_MAX; i++)
        if (!is_open(&s->listeners[i]) && !s->listeners[i].closed_for_change)
            return &s->listeners[i];
    return NULL;
}

/* Into every worker's loop; at boot there is none yet, and worker_init() does it. */
static int register_listener(struct server *s, struct listener *l)
{
    int rc = 0;
    for (uint32_t i = 0; s->workers != NULL && i < s->nworkers && rc == 0; i++)
        rc = worker_listen(&s->workers[i], l);
    return rc;
}

static void close_listener(struct listener *l)
{
    close(l->fd); /* which takes it out of every loop */
    l->fd = -1;
}

static void log_failure(const struct listener *l, const struct sock_err *err)
{
    if (errno == EADDRINUSE)
        log_warning("Cannot listen: %s. Another server has port %d; stop it, or choose another port.",
                    err->text, l->port);
    else
        log_warning("Cannot listen: %s. Check 'bind' and 'port'.", err->text);
}

/* An optional address may be missing on this machine: then the place stays free. */
static int open_tcp(struct server *s, struct listener *l, bool optional)
{
    struct sock_err err;
    l->fd = sock_listen_tcp(l->host, l->port, (int)s->config.tcp_backlog, false, &err);
    if (!is_open(l)) {
        l->fd = -1;
        if (optional && (errno == EADDRNOTAVAIL || errno == EAFNOSUPPORT || errno == ENOPROTOOPT))
            return 0;
        log_failure(l, &err);
        return ERR_IO;
    }
    int rc = register_listener(s, l);
    if (rc != 0) {
        log_warning("Cannot listen on %s: %s.", l->name, err_name(rc));
        close_listener(l);
    }
    return rc;
}

/* As `bind` says it: a leading '-' makes it optional. */
static int listen_tcp(struct server *s, const char *addr)
{
    struct listener *l = place(s);
    if (l == NULL) {
        log_warning("Too many addresses to listen on: at most %d.", SERVER_LISTEN_MAX);
        return ERR_FULL;
    }
    bool optional = addr[0] == '-';
    l->is_unix = false;
    l->fresh = true;
    l->port = (int)s->config.port;
    snprintf(l->host, sizeof l->host, "%s", addr + optional);
    snprintf(l->name, sizeof l->name, "tcp %s:%d", addr + optional, l->port);
    return open_tcp(s, l, optional);
}

static int listen_unix(struct server *s)
{
    const char *path = s->config.unixsocket;
    struct listener *l = place(s);
    struct sock_err err;
    l->fd = sock_listen_unix(path, (int)s->config.unixsocketperm, (int)s->config.tcp_backlog, &err);
    if (!is_open(l)) {
        l->fd = -1;
        log_warning("Cannot listen: %s. Check 'unixsocket' and the rights on its directory.", err.text);
        return ERR_IO;
    }
    l->is_unix = true;
    snprintf(l->name, sizeof l->name, "unix %s", path);
    return 0;
}

/* Every address of `bind` that no open socket has. */
static int open_missing(struct server *s)
{
    const struct config *cfg = &s->config;
    int rc = 0;
    for (uint32_t i = 0; cfg->port != 0 && i < cfg->bind.n && rc == 0; i++) {
        const char *host = cfg->bind.v[i] + (cfg->bind.v[i][0] == '-');
        bool have = false;
        for (uint32_t k = 0; k < SERVER_LISTEN_MAX; k++) {
            const struct listener *l = &s->listeners[k];
            have |= is_open(l) && !l->is_unix && l->port == cfg->port && strcmp(l->host, host) == 0;
        }
        if (!have)
            rc = listen_tcp(s, cfg->bind.v[i]);
    }
    return rc;
}

void server_listen_init(struct server *s)
{
    for (uint32_t i = 0; i < SERVER_LISTEN_MAX; i++)
        s->listeners[i] = (struct listener){.fd = -1};
}

int server_listen(struct server *s)
{
    uint32_t n = 0;
    int rc = open_missing(s);
    if (rc == 0 && s->config.unixsocket[0] != '\0')
        rc = listen_unix(s);
    for (uint32_t i = 0; i < SERVER_LISTEN_MAX; i++)
        n += is_open(&s->listeners[i]);
    if (rc == 0 && n == 0) {
        log_warning("Nothing to listen on: 'port' is 0 and 'unixsocket' is not set.");
        rc = ERR_RANGE;
    }
    s->listen_port = s->config.port;
    return rc;
}

void server_log_listeners(const struct server *s)
{
    for (uint32_t i = 0; i < SERVER_LISTEN_MAX; i++)
        if (is_open(&s->listeners[i]))
            log_notice("Ready to accept connections %s", s->listeners[i].name);
}

/* ---- while running ------------------------------------------------------------------------ */

static bool is_wanted(const struct config *cfg, const struct listener *l)
{
    if (l->is_unix)
        return true;
    for (uint32_t i = 0; cfg->port == l->port && i < cfg->bind.n; i++)
        if (strcmp(cfg->bind.v[i] + (cfg->bind.v[i][0] == '-'), l->host) == 0)
            return true;
    return false;
}

/* Sockets that must go and may be in the way of new ones. */
static void make_way(struct server *s)
{
    for (uint32_t i = 0; i < SERVER_LISTEN_MAX; i++) {
        struct listener *l = &s->listeners[i];
        l->fresh = false;
        l->closed_for_change = is_open(l) && !is_wanted(&s->config, l) && l->port == s->config.port;
        if (l->closed_for_change)
            close_listener(l);
    }
}

static void restore(struct server *s)
{
    for (uint32_t i = 0; i < SERVER_LISTEN_MAX; i++)
        if (is_open(&s->listeners[i]) && s->listeners[i].fresh)
            close_listener(&s->listeners[i]);
    for (uint32_t i = 0; i < SERVER_LISTEN_MAX; i++) {
        struct listener *l = &s->listeners[i];
        if (l->closed_for_change && open_tcp(s, l, false) != 0)
            log_warning("No longer listening %s: it could not be opened again.", l->name);
        l->closed_for_change = false;
    }
}

static void drop_unwanted(struct server *s)
{
    for (uint32_t i = 0; i < SERVER_LISTEN_MAX; i++) {
        struct listener *l = &s->listeners[i];
        l->closed_for_change = false;
        if (is_open(l) && !is_wanted(&s->config, l))
            close_listener(l);
        if (is_open(l) && l->fresh)
            log_notice("Ready to accept connections %s", l->name);
        l->fresh = false;
    }
}

int server_relisten(struct server *s)
{
    make_way(s);
    int rc = open_missing(s);
    if (rc != 0) {
        restore(s);
        return rc;
    }
    drop_unwanted(s);
    s->listen_port = s->config.port;
    return 0;
}

void server_unlisten(struct server *s)
{
    for (uint32_t i = 0; i < SERVER_LISTEN_MAX; i++) {
        if (!is_open(&s->listeners[i]))
            continue;
        close_listener(&s->listeners[i]);
        if (s->listeners[i].is_unix)
            unlink(s->config.unixsocket);
    }
}
