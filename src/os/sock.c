#include "os/sock.h"

#include "base/err.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { KEEPALIVE_PROBES = 3, PORT_TEXT_MAX = 8 };

/* ---- errors ---- */

/* "what where: why". Returns ERR_IO. */
PRINTF_LIKE(3, 4) static int failed(struct sock_err *err, const char *why, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof err->text)
        snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s", why);
    return ERR_IO;
}

static int failed_tcp(struct sock_err *err, const char *what, const char *host, int port, const char *why)
{
    bool ipv6 = strchr(host, ':') != NULL;
    return failed(err, why, ipv6 ? "%s [%s]:%d" : "%s %s:%d", what, host, port);
}

static int failed_unix(struct sock_err *err, const char *what, const char *path)
{
    return failed(err, strerror(errno), "%s %s", what, path);
}

/* Close fd and leave errno as it was, for whoever reports it. */
static int give_up(int fd)
{
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

/* ---- listening ---- */

/* The list is the caller's to free. NULL with err filled when the name is unknown. */
static struct addrinfo *resolve(const char *what, const char *host, int port, bool passive,
                                struct sock_err *err)
{
    char port_text[PORT_TEXT_MAX];
    const char *name = host;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    if (port < 0 || port > 65535) {
        failed_tcp(err, what, host, port, "the port must be from 0 to 65535");
        return NULL;
    }
    if (passive) {
        hints.ai_flags |= AI_PASSIVE;
        if (strcmp(host, "*") == 0 || host[0] == '\0') {
            hints.ai_family = AF_INET;
            name = NULL;
        } else if (strcmp(host, "::*") == 0) {
            name = "::";
        }
    }
    snprintf(port_text, sizeof port_text, "%d", port);
    int failure = getaddrinfo(name, port_text, &hints, &list);
    if (failure != 0) {
        failed_tcp(err, what, host, port, failure == EAI_SYSTEM ? strerror(errno) : gai_strerror(failure));
        return NULL;
    }
    return list;
}

static int new_socket(int family)
{
    return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* A listening descriptor, or -1 and errno. */
static int listen_on(const struct addrinfo *at, int backlog, bool reuseport)
{
    int on = 1, fd = new_socket(at->ai_family);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        (reuseport && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0) ||
        (at->ai_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0) ||
        bind(fd, at->ai_addr, at->ai_addrlen) < 0 || listen(fd, backlog) < 0)
        return give_up(fd);
    return fd;
}

int sock_listen_tcp(const char *host, int port, int backlog, bool reuseport, struct sock_err *err)
{
    struct addrinfo *list = resolve("bind", host, port, true, err);
    if (list == NULL)
        return ERR_IO;
    int fd = -1;
    for (const struct addrinfo *at = list; at != NULL && fd < 0; at = at->ai_next)
        fd = listen_on(at, backlog, reuseport);
    int why = errno;
    freeaddrinfo(list);
    errno = why;
    return fd >= 0 ? fd : failed_tcp(err, "bind", host, port, strerror(why));
}

static bool unix_address(const char *path, struct sockaddr_un *out)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof out->sun_path) {
        errno = n == 0 ? EINVAL : ENAMETOOLONG;
        return false;
    }
    memcpy(out->sun_path, path, n + 1);
    return true;
}

/* Remove the socket file that a dead server left behind; one that still answers is
 * in use. */
static int clear_stale_socket(const struct sockaddr_un *address)
{
    struct stat st;
    if (lstat(address->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : -1;
    if (!S_ISSOCK(st.st_mode)) {
        errno = EEXIST;
        return -1;
    }
    int fd = new_socket(AF_UNIX);
    if (fd < 0)
        return -1;
    bool alive = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 || errno == EAGAIN;
    close(fd);
    if (alive) {
        errno = EADDRINUSE;
        return -1;
    }
    return unlink(address->sun_path);
}

int sock_listen_unix(const char *path, int mode, int backlog, struct sock_err *err)
{
    struct sockaddr_un address;
    if (!unix_address(path, &address) || clear_stale_socket(&address) < 0)
        return failed_unix(err, "bind", path);
    int fd = new_socket(AF_UNIX);
    if (fd < 0)
        return failed_unix(err, "socket", path);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        (mode != 0 && chmod(path, (mode_t)mode) < 0) || listen(fd, backlog) < 0) {
        give_up(fd);
        return failed_unix(err, "bind", path);
    }
    return fd;
}

/* ---- connecting ---- */

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Wait until a connect() in progress is decided. Returns 0, or -1 and errno. */
static int await_connect(int fd, int64_t deadline_ms)
{
    struct pollfd wait = {.fd = fd, .events = POLLOUT};
    for (;;) {
        int64_t left = deadline_ms - now_ms();
        int n = poll(&wait, 1, left > 0 ? (int)left : 0);
        if (n > 0)
            break;
        if (n == 0 && left <= 0)
            errno = ETIMEDOUT;
        else if (n == 0 || errno == EINTR)
            continue;
        return -1;
    }
    int why = 0;
    socklen_t len = sizeof why;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &len) < 0)
        return -1;
    errno = why;
    return why == 0 ? 0 : -1;
}

/* The list is the caller's to free; NULL when it is no numeric address. */
static struct addrinfo *numeric(const char *ip, const char *port)
{
    struct addrinfo *at = NULL, hints = {.ai_family = AF_UNSPEC,
                                         .ai_socktype = SOCK_STREAM,
                                         .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    return getaddrinfo(ip, port, &hints, &at) == 0 ? at : NULL;
}

/* The port is found by connect(), which may share one that others use towards elsewhere. */
static int bind_source(int fd, const struct addrinfo *source)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    return bind(fd, source->ai_addr, source->ai_addrlen);
}

static int new_socket_from(const char *source, int family)
{
    struct addrinfo *at = source[0] != '\0' && family != AF_UNIX ? numeric(source, "0") : NULL;
    int fd = new_socket(family);
    if (fd >= 0 && at != NULL && at->ai_family == family)
        (void)bind_source(fd, at);
    if (at != NULL)
        freeaddrinfo(at);
    return fd;
}

int sock_check_source(const char *source, struct sock_err *err)
{
    struct addrinfo *at = numeric(source, "0");
    if (at == NULL)
        return failed_tcp(err, "bind", source, 0, "not a numeric address");
    int fd = new_socket(at->ai_family);
    if (fd >= 0 && bind_source(fd, at) < 0)
        fd = give_up(fd);
    int why = errno;
    freeaddrinfo(at);
    if (fd < 0)
        return failed_tcp(err, "bind", source, 0, strerror(why));
    close(fd);
    return 0;
}

/* A connected descriptor, or -1 and errno. */
static int connect_to(const char *source, const struct sockaddr *address, socklen_t len, int64_t deadline_ms,
                      bool nonblock)
{
    int fd = new_socket_from(source, address->sa_family);
    if (fd < 0)
        return -1;
    if (connect(fd, address, len) < 0 && (errno != EINPROGRESS || await_connect(fd, deadline_ms) < 0))
        return give_up(fd);
    int flags = fcntl(fd, F_GETFL);
    if (!nonblock && (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0))
        return give_up(fd);
    return fd;
}

int sock_connect_tcp(const char *host, int port, int timeout_ms, bool nonblock, struct sock_err *err)
{
    return sock_connect_tcp_from("", host, port, timeout_ms, nonblock, err);
}

int sock_connect_tcp_from(const char *source, const char *host, int port, int timeout_ms, bool nonblock,
                          struct sock_err *err)
{
    int64_t deadline_ms = now_ms() + timeout_ms;
    struct addrinfo *list = resolve("connect", host, port, false, err);
    if (list == NULL)
        return ERR_IO;
    int fd = -1;
    for (const struct addrinfo *at = list; at != NULL && fd < 0; at = at->ai_next)
        fd = connect_to(source, at->ai_addr, at->ai_addrlen, deadline_ms, nonblock);
    int why = errno;
    freeaddrinfo(list);
    errno = why;
    return fd >= 0 ? fd : failed_tcp(err, "connect", host, port, strerror(why));
}

int sock_connect_unix(const char *path, int timeout_ms, bool nonblock, struct sock_err *err)
{
    struct sockaddr_un address;
    int fd = -1;
    if (unix_address(path, &address))
        fd = connect_to("", (struct sockaddr *)&address, sizeof address, now_ms() + timeout_ms, nonblock);
    return fd >= 0 ? fd : failed_unix(err, "connect", path);
}

int sock_connect_begin(const char *source, const char *ip, int port, struct sock_err *err)
{
    char text[PORT_TEXT_MAX];
    snprintf(text, sizeof text, "%d", port);
    struct addrinfo *at = numeric(ip, text);
    if (at == NULL)
        return failed_tcp(err, "connect", ip, port, "not a numeric address");
    int fd = new_socket_from(source, at->ai_family);
    if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) < 0 && errno != EINPROGRESS)
        fd = give_up(fd);
    int why = errno;
    freeaddrinfo(at);
    errno = why;
    return fd >= 0 ? fd : failed_tcp(err, "connect", ip, port, strerror(why));
}

int sock_connect_result(int fd)
{
    int why = 0;
    socklen_t len = sizeof why;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &why, &len) < 0 ? errno : why;
}

/* ---- options and names ---- */

/* These only tune: a socket that cannot (a Unix one has no delay) works without. */
static void set_option(int fd, int level, int option, int value)
{
    (void)setsockopt(fd, level, option, &value, sizeof value);
}

void sock_set_nodelay(int fd)
{
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

bool sock_has_input(int fd)
{
    int n = 0;
    return ioctl(fd, FIONREAD, &n) != 0 || n > 0;
}

/* The first probe after idle_s, the connection is given up after twice that. */
void sock_set_keepalive(int fd, int idle_s)
{
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, idle_s > 0);
    if (idle_s <= 0)
        return;
    int interval_s = idle_s / KEEPALIVE_PROBES;
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval_s > 0 ? interval_s : 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
}

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
    struct sockaddr_storage storage;
};

static void print_address(const union address *a, socklen_t len, char out[SOCK_ADDR_MAX])
{
    char text[INET6_ADDRSTRLEN];
    if (a->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &a->v4.sin_addr, text, sizeof text);
        snprintf(out, SOCK_ADDR_MAX, "%s:%d", text, ntohs(a->v4.sin_port));
    } else if (a->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a->v6.sin6_addr, text, sizeof text);
        snprintf(out, SOCK_ADDR_MAX, "[%s]:%d", text, ntohs(a->v6.sin6_port));
    } else if (a->any.sa_family == AF_UNIX) {
        size_t head = offsetof(struct sockaddr_un, sun_path);
        snprintf(out, SOCK_ADDR_MAX, "%.*s:0", len > head ? (int)(len - head) : 0, a->local.sun_path);
    }
}

void sock_local_name(int fd, char out[SOCK_ADDR_MAX])
{
    union address a = {0};
    socklen_t len = sizeof a;
    snprintf(out, SOCK_ADDR_MAX, "?:0");
    if (getsockname(fd, &a.any, &len) == 0)
        print_address(&a, len, out);
}

void sock_peer_name(int fd, char out[SOCK_ADDR_MAX])
{
    union address a = {0};
    socklen_t len = sizeof a;
    snprintf(out, SOCK_ADDR_MAX, "?:0");
    if (getpeername(fd, &a.any, &len) < 0)
        return;
    if (a.any.sa_family == AF_UNIX && len <= offsetof(struct sockaddr_un, sun_path))
        sock_local_name(fd, out); /* a client's end of a Unix socket has no name: say the server's */
    else
        print_address(&a, len, out);
}

bool sock_peer_is_loopback(int fd)
{
    union address a = {0};
    socklen_t len = sizeof a;
    if (getpeername(fd, &a.any, &len) < 0)
        return false;
    if (a.any.sa_family == AF_UNIX)
        return true;
    if (a.any.sa_family == AF_INET)
        return ntohl(a.v4.sin_addr.s_addr) >> 24 == 127;
    if (a.any.sa_family != AF_INET6)
        return false;
    const unsigned char *v6 = a.v6.sin6_addr.s6_addr;
    return IN6_IS_ADDR_LOOPBACK(&a.v6.sin6_addr) || (IN6_IS_ADDR_V4MAPPED(&a.v6.sin6_addr) && v6[12] == 127);
}

static void print_ip(const union address *a, char *out, size_t n)
{
    out[0] = '\0';
    if (a->any.sa_family == AF_INET)
        inet_ntop(AF_INET, &a->v4.sin_addr, out, (socklen_t)n);
    else if (a->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr))
        inet_ntop(AF_INET, a->v6.sin6_addr.s6_addr + 12, out, (socklen_t)n);
    else if (a->any.sa_family == AF_INET6)
        inet_ntop(AF_INET6, &a->v6.sin6_addr, out, (socklen_t)n);
}

void sock_peer_ip(int fd, char *out, size_t n)
{
    union address a = {0};
    socklen_t len = sizeof a;
    out[0] = '\0';
    if (getpeername(fd, &a.any, &len) == 0)
        print_ip(&a, out, n);
}

void sock_local_ip(int fd, char *out, size_t n)
{
    union address a = {0};
    socklen_t len = sizeof a;
    out[0] = '\0';
    if (getsockname(fd, &a.any, &len) == 0)
        print_ip(&a, out, n);
}
