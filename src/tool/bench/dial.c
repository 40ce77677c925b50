/* The handshake is sent as one pipeline and its replies are read with the scanner of
 * the load itself, so that whoever does not speak the protocol is found here. */
#include "tool/bench/dial.h"

#include "base/buf.h"
#include "base/err.h"
#include "os/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What to do about an error reply, by the way it begins. */
static const struct {
    const char *begins, *remedy;
} remedies[] = {
    {"NOAUTH", "give --password, or set REDISCLI_AUTH"},
    {"WRONGPASS", "check --user and --password"},
    {"ERR AUTH <password> called without any password", "the server wants no password: leave it out"},
    {"ERR Client sent AUTH, but no password", "the server wants no password: leave it out"},
    {"NOPROTO", "the server speaks RESP2 only: leave out --resp3"},
    {"ERR unknown command 'HELLO'", "the server speaks RESP2 only: leave out --resp3"},
    {"ERR DB index", "give a smaller --db"},
    {"ERR max number of clients", "raise the server's maxclients or lower --clients"},
    {"DENIED", "the server is in protected mode: use a loopback address or set a password there"},
    {"LOADING", "the server is reading its data: try again when it is done"},
};

static const char *remedy_for(struct str error)
{
    for (size_t i = 0; i < ARRAY_LEN(remedies); i++) {
        size_t n = strlen(remedies[i].begins);
        if (error.n >= n && memcmp(error.p, remedies[i].begins, n) == 0)
            return remedies[i].remedy;
    }
    return "see the server's log";
}

static int connect_to(const struct options *o, struct dial_err *err)
{
    struct sock_err sock;
    int fd = o->socket ? sock_connect_unix(o->socket, DIAL_TIMEOUT_MS, false, &sock)
                       : sock_connect_tcp(o->host, (int)o->port, DIAL_TIMEOUT_MS, false, &sock);
    if (fd < 0) {
        snprintf(err->text, sizeof err->text, "%s; is the server running there? (%s)", sock.text,
                 o->socket ? "--socket" : "--host, --port");
        return ERR_IO;
    }
    if (!o->socket)
        sock_set_nodelay(fd);
    return fd;
}

static void add_command(struct buf *b, const char *const *words, int n)
{
    buf_printf(b, "*%d\r\n", n);
    for (int i = 0; i < n; i++)
        buf_printf(b, "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
}

/* Returns how many replies the greeting will get. */
static int write_greeting(const struct options *o, bool probe, struct buf *b)
{
    const char *user = o->user ? o->user : "default";
    int replies = 0;
    if (o->protocol == SCAN_MEMCACHED) {
        if (probe)
            buf_puts(b, STR("version\r\n"));
        return probe;
    }
    if (o->resp3) {
        add_command(b, (const char *[]){"HELLO", "3", "AUTH", user, o->password}, o->password ? 5 : 2);
        replies++;
    } else if (o->password) {
        if (o->user)
            add_command(b, (const char *[]){"AUTH", user, o->password}, 3);
        else
            add_command(b, (const char *[]){"AUTH", o->password}, 2);
        replies++;
    }
    if (o->db) {
        char db[24];
        snprintf(db, sizeof db, "%lu", (unsigned long)o->db);
        add_command(b, (const char *[]){"SELECT", db}, 2);
        replies++;
    }
    if (probe) {
        add_command(b, (const char *[]){"PING"}, 1);
        replies++;
    }
    return replies;
}

static int send_all(int fd, struct str s)
{
    while (s.n) {
        ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            return ERR_IO;
        if (n > 0)
            s = (struct str){s.p + n, s.n - (size_t)n};
    }
    return 0;
}

static int refuse(struct dial_err *err, const char *address, struct str what)
{
    snprintf(err->text, sizeof err->text, "%s answered \"%.*s\": %s", address, (int)what.n, what.p,
             remedy_for(what));
    return ERR_IO;
}

static int misunderstood(const struct options *o, struct dial_err *err, const char *address, struct str what)
{
    bool memcached = o->protocol == SCAN_MEMCACHED;
    snprintf(err->text, sizeof err->text, "%s does not speak %s (it answered \"%.*s\"); try --protocol %s",
             address, memcached ? "memcached's text protocol" : "RESP", (int)what.n, what.p,
             memcached ? "resp" : "memcached");
    return ERR_IO;
}

static int read_replies(int fd, int replies, const struct options *o, struct dial_err *err)
{
    char in[4096], address[SOCK_ADDR_MAX];
    struct scan scan;
    scan_init(&scan);
    options_address(o, address, sizeof address);
    while (replies > 0) {
        ssize_t n = recv(fd, in, sizeof in, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            snprintf(err->text, sizeof err->text, "%s %s after the connection was made; see the server's log",
                     address,
                     n == 0            ? "hung up"
                     : errno == EAGAIN ? "stayed silent"
                                       : strerror(errno));
            return ERR_IO;
        }
        const char *at = in;
        enum scan_result result;
        while ((result = scan_next(&scan, o->protocol, &at, in + n)) == SCAN_REPLY) {
            if (scan.kind == SCAN_ERROR && o->protocol == SCAN_MEMCACHED)
                return misunderstood(o, err, address, scan_text(&scan));
            if (scan.kind == SCAN_ERROR)
                return refuse(err, address, scan_text(&scan));
            replies--;
        }
        if (result == SCAN_BROKEN)
            return misunderstood(o, err, address, scan_text(&scan));
    }
    return 0;
}

static void set_receive_timeout(int fd)
{
    struct timeval limit = {.tv_sec = DIAL_TIMEOUT_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

int dial(const struct options *o, bool probe, struct dial_err *err)
{
    struct buf greeting;
    buf_init(&greeting);
    int rc = ERR_IO, fd = connect_to(o, err);
    if (fd < 0)
        goto done;
    int replies = write_greeting(o, probe, &greeting);
    if (greeting.oom) {
        snprintf(err->text, sizeof err->text, "out of memory");
        goto done;
    }
    set_receive_timeout(fd);
    /* A failed send shows as a failed read: the reply to it says why. */
    if (replies && send_all(fd, buf_str(&greeting)) < 0 && errno != EPIPE && errno != ECONNRESET) {
        snprintf(err->text, sizeof err->text, "sending the greeting: %s", strerror(errno));
        goto done;
    }
    rc = read_replies(fd, replies, o, err);
    if (rc == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        rc = ERR_IO;
done:
    buf_release(&greeting);
    if (rc == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return ERR_IO;
}
