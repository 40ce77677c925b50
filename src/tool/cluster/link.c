#include "tool/cluster/link.h"

#include "base/err.h"
#include "base/num.h"
#include "os/clock.h"
#include "os/sock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_CHUNK = 64 * 1024, BULK_MAX = 64 << 20, LINE_MAX_BYTES = 1024 };

static int failed(struct link *l, const char *what, const char *why)
{
    snprintf(l->error, sizeof l->error, "%s:%d: %s: %s", l->host, l->port, what, why);
    return ERR_IO;
}

bool link_parse_address(const char *text, char host[LINK_HOST_MAX], int *port)
{
    const char *colon = strrchr(text, ':');
    int64_t n;
    if (colon == NULL || !num_parse_i64(str_of(colon + 1), &n) || n < 1 || n > 65535)
        return false;
    size_t length = (size_t)(colon - text);
    if (length > 2 && text[0] == '[' && text[length - 1] == ']') {
        text++;
        length -= 2;
    }
    if (length == 0 || length >= LINK_HOST_MAX)
        return false;
    memcpy(host, text, length);
    host[length] = '\0';
    *port = (int)n;
    return true;
}

void link_release(struct link *l)
{
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    buf_release(&l->in);
    buf_release(&l->out);
    arena_release(&l->arena);
}

static int put_request(struct link *l, const struct str *argv, uint32_t argc)
{
    buf_clear(&l->out);
    buf_printf(&l->out, "*%u\r\n", argc);
    for (uint32_t i = 0; i < argc; i++) {
        buf_printf(&l->out, "$%zu\r\n", argv[i].n);
        buf_puts(&l->out, argv[i]);
        buf_puts(&l->out, STR("\r\n"));
    }
    return l->out.oom ? failed(l, "request", "out of memory") : 0;
}

static int send_request(struct link *l)
{
    for (size_t at = 0; at < l->out.n;) {
        ssize_t n = send(l->fd, l->out.p + at, l->out.n - at, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            return failed(l, "cannot send", strerror(errno));
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int receive(struct link *l)
{
    struct pollfd p = {.fd = l->fd, .events = POLLIN};
    int ready;
    while ((ready = poll(&p, 1, l->timeout_ms)) < 0 && errno == EINTR)
        ;
    if (ready <= 0)
        return failed(l, "no answer in time", "is the node busy, or the network slow?");
    if (buf_reserve(&l->in, READ_CHUNK) != 0)
        return failed(l, "reply", "out of memory");
    ssize_t n = recv(l->fd, l->in.p + l->in.n, READ_CHUNK, 0);
    if (n < 0 && errno == EINTR)
        return 0;
    if (n <= 0)
        return failed(l, "connection lost", n == 0 ? "closed by the node; see its log" : strerror(errno));
    l->in.n += (size_t)n;
    return 0;
}

static int read_reply(struct link *l, struct reader_value *v)
{
    size_t used, need;
    buf_consume(&l->in, l->used);
    l->used = 0;
    for (;;) {
        arena_reset(&l->arena);
        int rc = reader_parse(buf_str(&l->in), BULK_MAX, &l->arena, v, &used, &need);
        if (rc == 0) {
            l->used = used;
            return 0;
        }
        if (rc != ERR_AGAIN)
            return failed(l, "what answers there", "does not speak the Redis protocol");
        rc = receive(l);
        if (rc != 0)
            return rc;
    }
}

static int ask(struct link *l, struct reader_value *reply, const struct str *argv, uint32_t argc)
{
    int rc = put_request(l, argv, argc);
    if (rc == 0)
        rc = send_request(l);
    return rc == 0 ? read_reply(l, reply) : rc;
}

static bool is_loading(const struct reader_value *v)
{
    return v->kind == READ_ERROR && v->text.n >= 8 && memcmp(v->text.p, "LOADING ", 8) == 0;
}

int link_call(struct link *l, struct reader_value *reply, const struct str *argv, uint32_t argc)
{
    int64_t until_ms = os_mono_ns() / 1000000 + LINK_LOADING_MS;
    int rc = ask(l, reply, argv, argc);
    while (rc == 0 && is_loading(reply) && os_mono_ns() / 1000000 < until_ms) {
        usleep(LINK_AGAIN_MS * 1000);
        rc = ask(l, reply, argv, argc);
    }
    if (rc != 0 || !reader_is_error(reply))
        return rc;
    char what[64], why[256];
    snprintf(what, sizeof what, "%.*s", argv[0].n < 40 ? (int)argv[0].n : 40, argv[0].p);
    snprintf(why, sizeof why, "%.*s", reply->text.n < 200 ? (int)reply->text.n : 200, reply->text.p);
    return failed(l, what, why);
}

int link_say(struct link *l, struct reader_value *reply, const char *fmt, ...)
{
    char line[LINE_MAX_BYTES];
    struct str argv[LINK_WORDS_MAX];
    uint32_t argc = 0;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    for (char *at = line; *at != '\0' && argc < LINK_WORDS_MAX; argc++) {
        size_t n = strcspn(at, " ");
        argv[argc] = (struct str){at, n};
        at += n + (at[n] == ' ');
    }
    return link_call(l, reply, argv, argc);
}

int link_open(struct link *l, const char *host, int port, const struct link_secret *secret)
{
    struct sock_err err;
    struct reader_value reply;
    memset(l, 0, sizeof *l);
    buf_init(&l->in);
    buf_init(&l->out);
    arena_init(&l->arena);
    snprintf(l->host, sizeof l->host, "%s", host);
    l->port = port;
    l->timeout_ms = LINK_TIMEOUT_MS;
    l->fd = sock_connect_tcp(host, port, LINK_TIMEOUT_MS, false, &err);
    if (l->fd < 0) {
        snprintf(l->error, sizeof l->error, "%s; is the node running there?", err.text);
        return ERR_IO;
    }
    sock_set_nodelay(l->fd);
    if (secret->password == NULL)
        return 0;
    const struct str argv[] = {STR("AUTH"), str_of(secret->user != NULL ? secret->user : "default"),
                               str_of(secret->password)};
    return link_call(l, &reply, argv, ARRAY_LEN(argv));
}
