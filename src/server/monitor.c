#include "server/monitor.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "os/clock.h"
#include "server/server.h"

#include <stdio.h>
#include <sys/socket.h>

static void count(struct server *s, struct worker *w, int change)
{
    atomic_fetch_add_explicit(&w->nmonitors, (uint32_t)change, memory_order_relaxed);
    uint32_t total = 0;
    for (uint32_t i = 0; i < s->nworkers; i++)
        total += atomic_load_explicit(&s->workers[i].nmonitors, memory_order_relaxed);
    server_care_set(s, CARE_MONITOR, total > 0);
}

void monitor_add(struct conn *c)
{
    if (c->session.monitor)
        return;
    c->session.monitor = true;
    count(c->worker->server, c->worker, 1);
}

void monitor_forget(struct conn *c)
{
    if (!c->session.monitor)
        return;
    c->session.monitor = false;
    count(c->worker->server, c->worker, -1);
}

struct monitor_mail {
    struct mail mail;
    size_t n;
    char line[];
};

static void deliver(struct worker *w, struct mail *m)
{
    struct monitor_mail *mm = container_of(m, struct monitor_mail, mail);
    struct conn *next;
    for (struct conn *c = w->conns; c != NULL; c = next) {
        next = c->next;
        if (!c->session.monitor || c->state == CONN_ZOMBIE)
            continue;
        reply_raw(conn_reply(c), (struct str){mm->line, mm->n});
        conn_flush(c);
    }
    mem_free(mm);
}

void monitor_format(struct buf *line, int64_t us, uint32_t db, const char *peer, const struct str *argv,
                    uint32_t argc)
{
    buf_printf(line, "+%lld.%06lld [%u %s]", (long long)(us / 1000000), (long long)(us % 1000000), db, peer);
    for (uint32_t i = 0; i < argc; i++) {
        buf_putc(line, ' ');
        buf_put_quoted(line, argv[i]);
    }
    buf_puts(line, STR("\r\n"));
}

/* Redis names a client of the Unix socket by the socket here, and not by a port. */
static void name_peer(const struct conn *c, char out[ADDRESS_TEXT])
{
    if (c->peer.family == AF_UNIX)
        snprintf(out, ADDRESS_TEXT, "unix:%s", c->worker->server->config.unixsocket);
    else
        conn_peer_text(c, out);
}

static void feed(struct server *s, const struct cmd_ctx *c)
{
    struct buf line;
    char peer[ADDRESS_TEXT];
    buf_init(&line);
    name_peer(container_of(c->session, struct conn, session), peer);
    monitor_format(&line, os_wall_us(), c->session->db, peer, c->argv, c->argc);
    for (uint32_t i = 0; i < s->nworkers && !line.oom; i++) {
        struct worker *w = &s->workers[i];
        if (atomic_load_explicit(&w->nmonitors, memory_order_relaxed) == 0)
            continue;
        struct monitor_mail *mm = mem_alloc(sizeof *mm + line.n);
        if (mm == NULL)
            break;
        mm->mail.deliver = deliver;
        mm->n = line.n;
        memcpy(mm->line, line.p, line.n);
        worker_mail(w, &mm->mail);
    }
    buf_release(&line);
}

void monitor_show(struct server *s, const struct cmd_ctx *c)
{
    if (likely(!(atomic_load_explicit(&s->care, memory_order_relaxed) & CARE_MONITOR)))
        return;
    if (!(c->cmd->flags & (CMD_SKIP_MONITOR | CMD_ADMIN)))
        feed(s, c);
}
