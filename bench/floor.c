/* The floor: what any Redis-speaking server on epoll must pay before it stores a
 * single byte. It parses requests, answers with fixed replies and keeps nothing.
 *
 *      recv ---> [ request | request | request | req.. ] ---> one send
 *                  walked header by header         ^ kept for the next read
 *
 * A GET is answered with the same bulk string every time, a PING with +PONG and
 * everything else with +OK. The rest is as a good server would do it: the whole
 * read buffer is parsed, all replies of a read leave in one send, a slow reader is
 * not read from until it has taken its replies, idle connections own no buffers.
 *
 * The figures of every server are quoted as multiples of this one, so it must be
 * honest both ways: no work that a server could leave out, and no shortcut that
 * a server could not take (lengths are read and believed, never guessed).
 *
 * Rejected: answering from a count of '*' bytes (wrong as soon as a value holds
 * one), and io_uring, which is another floor and would be measured as such. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum limits {
    EVENTS_MAX = 256,
    BACKLOG = 1024,
    IN_SIZE = 1024 * 1024,      /* one read, and the largest request */
    OUT_SIZE = 4 * 1024 * 1024, /* replies of one read; more than that leave in several sends */
    VALUE_MAX = 1024 * 1024,
};

struct conn {
    int fd;
    bool blocked; /* the peer does not take its replies: wait for it to be writable */
    char *in;     /* a cut request, or requests not answered yet because of `blocked` */
    size_t nin;
    char *out; /* replies that did not fit into the socket */
    size_t nout;
};

struct floor {
    int epoll, listener;
    char *in, *out;
    char *get_reply;
    size_t get_reply_n;
};

static void die(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *must(void *p)
{
    if (p == NULL)
        die("memory");
    return p;
}

/* "<digits>\r\n": the byte behind it, or NULL when it is cut. -1 marks nonsense. */
static const char *read_length(const char *p, const char *end, long *out)
{
    long n = 0;
    for (; p < end && *p != '\r'; p++) {
        if (*p < '0' || *p > '9' || n > IN_SIZE) {
            *out = -1;
            return p;
        }
        n = n * 10 + (*p - '0');
    }
    *out = n;
    return end - p < 2 ? NULL : p + 2;
}

/* One request: the byte behind it, NULL when it is cut, `p` itself when it is
 * not a request at all. *command gets the first byte of its first argument. */
static const char *read_request(const char *p, const char *end, char *command)
{
    const char *start = p;
    long args, n;
    if (p == end)
        return NULL;
    if (*p != '*')
        return start;
    if ((p = read_length(p + 1, end, &args)) == NULL)
        return NULL;
    if (args < 1)
        return start;
    for (long i = 0; i < args; i++) {
        if (p == end)
            return NULL;
        if (*p != '$')
            return start;
        if ((p = read_length(p + 1, end, &n)) == NULL)
            return NULL;
        if (n < 0)
            return start;
        if (end - p < n + 2)
            return NULL;
        if (i == 0)
            *command = *p;
        p += n + 2;
    }
    return p;
}

static void drop(struct conn *c)
{
    close(c->fd);
    free(c->in);
    free(c->out);
    free(c);
}

static void watch(struct floor *f, struct conn *c, int op, unsigned events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};
    if (epoll_ctl(f->epoll, op, c->fd, &ev) < 0)
        die("epoll_ctl");
}

static void keep(char **slot, size_t *n, const char *p, size_t len)
{
    char *copy = len ? memcpy(must(malloc(len)), p, len) : NULL;
    free(*slot);
    *slot = copy;
    *n = len;
}

/* Send replies; what the socket does not take is kept. False: the peer is gone. */
static bool reply(struct floor *f, struct conn *c, const char *p, size_t n)
{
    ssize_t sent = n ? send(c->fd, p, n, MSG_NOSIGNAL) : 0;
    if (sent < 0 && errno != EAGAIN)
        return false;
    sent = sent < 0 ? 0 : sent;
    if ((size_t)sent < n) {
        keep(&c->out, &c->nout, p + sent, n - (size_t)sent);
        c->blocked = true;
        watch(f, c, EPOLL_CTL_MOD, EPOLLOUT);
    }
    return true;
}

static size_t put_reply(const struct floor *f, char *dst, char command)
{
    if (command == 'G' || command == 'g')
        return (size_t)((char *)mempcpy(dst, f->get_reply, f->get_reply_n) - dst);
    if (command == 'P' || command == 'p')
        return (size_t)((char *)mempcpy(dst, "+PONG\r\n", 7) - dst);
    return (size_t)((char *)mempcpy(dst, "+OK\r\n", 5) - dst);
}

/* Answer every whole request in [p, end). False: the connection is over. */
static bool serve(struct floor *f, struct conn *c, const char *p, const char *end)
{
    const size_t room = OUT_SIZE - f->get_reply_n;
    const char *next;
    size_t n = 0;
    char command = 0;
    while (!c->blocked && (next = read_request(p, end, &command)) != NULL) {
        if (next == p)
            return false;
        n += put_reply(f, f->out + n, command);
        p = next;
        if (n > room) {
            if (!reply(f, c, f->out, n))
                return false;
            n = 0;
        }
    }
    if (p != end || c->in != NULL)
        keep(&c->in, &c->nin, p, (size_t)(end - p));
    return reply(f, c, f->out, n);
}

static bool on_readable(struct floor *f, struct conn *c)
{
    if (c->nin == IN_SIZE)
        return false; /* a request larger than the floor knows */
    if (c->nin)
        memcpy(f->in, c->in, c->nin);
    ssize_t n = recv(c->fd, f->in + c->nin, IN_SIZE - c->nin, 0);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    return serve(f, c, f->in, f->in + c->nin + n);
}

static bool on_writable(struct floor *f, struct conn *c)
{
    ssize_t sent = send(c->fd, c->out, c->nout, MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EAGAIN;
    memmove(c->out, c->out + sent, c->nout - (size_t)sent);
    c->nout -= (size_t)sent;
    if (c->nout)
        return true;
    keep(&c->out, &c->nout, NULL, 0);
    c->blocked = false;
    watch(f, c, EPOLL_CTL_MOD, EPOLLIN);
    if (!c->nin)
        return true;
    memcpy(f->in, c->in, c->nin);
    return serve(f, c, f->in, f->in + c->nin);
}

static void on_connection(struct floor *f)
{
    int fd = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct conn *c = must(calloc(1, sizeof *c));
    c->fd = fd;
    watch(f, c, EPOLL_CTL_ADD, EPOLLIN);
}

static void start(struct floor *f, int port, size_t value_size)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t len = sizeof addr;
    int on = 1;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(f->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (f->listener < 0 || bind(f->listener, (struct sockaddr *)&addr, len) < 0 ||
        listen(f->listener, BACKLOG) < 0 || getsockname(f->listener, (struct sockaddr *)&addr, &len) < 0)
        die("listen on 127.0.0.1");
    f->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    if (f->epoll < 0 || epoll_ctl(f->epoll, EPOLL_CTL_ADD, f->listener, &ev) < 0)
        die("epoll");
    f->in = must(malloc(IN_SIZE));
    f->out = must(malloc(OUT_SIZE));
    f->get_reply = must(malloc(value_size + 32));
    int head = sprintf(f->get_reply, "$%zu\r\n", value_size);
    memset(f->get_reply + head, 'x', value_size);
    memcpy(f->get_reply + head + value_size, "\r\n", 2);
    f->get_reply_n = (size_t)head + value_size + 2;
    printf("floor: ready on 127.0.0.1:%d, values of %zu bytes\n", ntohs(addr.sin_port), value_size);
    fflush(stdout);
}

static void run(struct floor *f)
{
    struct epoll_event events[EVENTS_MAX];
    for (;;) {
        int n = epoll_wait(f->epoll, events, EVENTS_MAX, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (c == NULL)
                on_connection(f);
            else if (!(c->blocked ? on_writable(f, c) : on_readable(f, c)))
                drop(c);
        }
    }
}

int main(int argc, char **argv)
{
    struct floor f = {0};
    long port = 0, value_size = 100;
    for (int i = 1; i < argc; i += 2) {
        char *rest = NULL;
        long v = i + 1 < argc ? strtol(argv[i + 1], &rest, 10) : -1;
        bool number = rest != NULL && *rest == '\0';
        if (number && strcmp(argv[i], "--port") == 0 && v >= 0 && v <= 65535) {
            port = v;
        } else if (number && strcmp(argv[i], "--value-size") == 0 && v >= 0 && v <= VALUE_MAX) {
            value_size = v;
        } else {
            fprintf(stderr, "usage: floor [--port 0-65535] [--value-size 0-%d]   (port 0: any free one)\n",
                    VALUE_MAX);
            return 2;
        }
    }
    signal(SIGPIPE, SIG_IGN);
    start(&f, (int)port, (size_t)value_size);
    run(&f);
}
