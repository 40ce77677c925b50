#include "server/talk.h"

#include "os/clock.h"

#include "base/err.h"
#include "repl/unit.h"
#include "server/server.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

static int64_t now_ms(void)
{
    return os_mono_ns() / 1000000;
}

void talk_begin(struct talk *t, int fd, int64_t timeout_ms, const _Atomic bool *stop)
{
    *t = (struct talk){.fd = fd, .timeout_ms = timeout_ms, .stop = stop};
    buf_init(&t->in);
    arena_init(&t->arena);
}

void talk_end(struct talk *t)
{
    buf_release(&t->in);
    arena_release(&t->arena);
}

uint32_t talk_put_auth(const struct config *cfg, struct buf *out)
{
    struct str user = str_of(cfg->masteruser), password = config_secret_str(&cfg->masterauth);
    const struct str auth[] = {STR("AUTH"), password}, auth2[] = {STR("AUTH"), user, password};
    if (password.n == 0)
        return 0;
    return (user.n > 0 ? unit_put_command(out, auth2, 3) : unit_put_command(out, auth, 2)) == 0;
}

struct auth {
    const struct config *cfg;
    struct buf *out;
    uint32_t nwords;
};

static void put_auth(void *arg)
{
    struct auth *a = arg;
    a->nwords = talk_put_auth(a->cfg, a->out);
}

bool talk_put_auth_by_lane(struct server *s, struct buf *out, uint32_t *nwords)
{
    struct auth a = {.cfg = &s->config, .out = out};
    bool done = lane_call_shared(&s->lane, put_auth, &a);
    *nwords = a.nwords;
    return done;
}

/* Wait until the socket is ready; false when time is up, or the talk is to end. */
static bool await(const struct talk *t, short what, int64_t until)
{
    struct pollfd p = {.fd = t->fd, .events = what};
    while (!atomic_load_explicit(t->stop, memory_order_relaxed)) {
        int64_t left = until - now_ms();
        if (left <= 0)
            return false;
        int rc = poll(&p, 1, left < TALK_LOOK_MS ? (int)left : TALK_LOOK_MS);
        if (rc > 0)
            return true;
        if (rc < 0 && errno != EINTR)
            return false;
    }
    return false;
}

bool talk_send(struct talk *t, struct str bytes)
{
    int64_t until = now_ms() + t->timeout_ms;
    for (size_t at = 0; at < bytes.n;) {
        ssize_t n = send(t->fd, bytes.p + at, bytes.n - at, MSG_NOSIGNAL);
        if (n > 0) {
            at += (size_t)n;
            until = now_ms() + t->timeout_ms;
        } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return false;
        } else if (!await(t, POLLOUT, until)) {
            return false;
        }
    }
    return true;
}

bool talk_read(struct talk *t, size_t max, struct reader_value *v)
{
    int64_t until = now_ms() + t->timeout_ms;
    buf_consume(&t->in, t->at);
    t->at = 0;
    for (;;) {
        size_t need;
        arena_reset(&t->arena);
        int rc = reader_parse(buf_str(&t->in), max, &t->arena, v, &t->at, &need);
        if (rc == 0)
            return true;
        if (rc != ERR_AGAIN || t->in.n > max || buf_reserve(&t->in, TALK_CHUNK) != 0)
            return false;
        ssize_t n = recv(t->fd, t->in.p + t->in.n, t->in.cap - t->in.n, 0);
        if (n > 0)
            t->in.n += (size_t)n;
        else if (n == 0 || (errno != EAGAIN && errno != EINTR) || !await(t, POLLIN, until))
            return false;
    }
}
