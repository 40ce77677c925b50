#include "server/repl_wait.h"

#include "base/alloc.h"
#include "os/clock.h"
#include "server/handlers.h"
#include "server/repl.h"

struct waiter {
    struct repl_letter letter; /* the way there */
    struct mail mail;          /* the way home */
    struct waiter *next;
    struct conn *conn; /* parked */
    struct worker *home;
    uint64_t offset;
    uint32_t want, got;
    int64_t until_ms;
};

static void come_home(struct worker *w, struct mail *m)
{
    struct waiter *wt = container_of(m, struct waiter, mail);
    struct conn *c = wt->conn;
    if (c->state != CONN_ZOMBIE)
        reply_int(conn_reply(c), wt->got);
    mem_free(wt);
    conn_unpark(c);
}

/* Replicas acknowledge once a second by themselves; asked, at once. */
void repl_waiter_arrives(struct repl *r, struct repl_letter *l)
{
    struct waiter *wt = container_of(l, struct waiter, letter);
    const struct str ask[] = {STR("REPLCONF"), STR("GETACK"), STR("*")};
    wt->next = r->waiters;
    r->waiters = wt;
    if (!r->is_replica && changelog_is_on(&r->log) && r->feeds != NULL)
        unit_add(&r->unit, 0, ask, ARRAY_LEN(ask));
}

static bool is_over(struct repl *r, struct waiter *wt)
{
    wt->got = repl_feeds_acked(r, wt->offset, 0);
    return wt->got >= wt->want || r->now_ms >= wt->until_ms || r->is_replica;
}

void repl_waiters_check(struct repl *r)
{
    for (struct waiter **at = &r->waiters; *at != NULL;) {
        struct waiter *wt = *at;
        if (!is_over(r, wt)) {
            at = &wt->next;
            continue;
        }
        *at = wt->next;
        worker_mail(wt->home, &wt->mail);
    }
}

void repl_waiter_free(struct repl_letter *l)
{
    mem_free(container_of(l, struct waiter, letter));
}

void repl_waiters_release(struct repl *r)
{
    while (r->waiters != NULL) {
        struct waiter *wt = r->waiters;
        r->waiters = wt->next;
        worker_mail(wt->home, &wt->mail);
    }
}

/* WAIT numreplicas timeout */
void cmd_wait(struct cmd_ctx *c)
{
    struct repl *r = &ctx_server(c)->repl;
    struct conn *conn = ctx_conn(c);
    int64_t want, timeout_ms;
    if (r->is_replica) {
        reply_error(c->reply,
                    "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 "
                    "if a replica is configured to be writable (which is not the default) writes to "
                    "replicas are just local and are not propagated.");
        return;
    }
    if (!cmd_arg_i64(c, 1, &want) ||
        !cmd_arg_range(c, 2, 0, INT64_MAX / 2, &timeout_ms, "ERR timeout is negative"))
        return;
    uint64_t head = repl_offset(r), offset = conn->written < head ? conn->written : head;
    uint32_t got = repl_feeds_acked(r, offset, 0);
    if (got >= want || c->in_exec) {
        reply_int(c->reply, got);
        return;
    }
    struct waiter *wt = mem_zalloc(sizeof *wt);
    if (wt == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return;
    }
    wt->letter.kind = LETTER_WAITER;
    wt->mail.deliver = come_home;
    wt->conn = conn;
    wt->home = conn->worker;
    wt->offset = offset;
    wt->want = want > UINT32_MAX ? UINT32_MAX : (uint32_t)want;
    wt->until_ms = timeout_ms == 0 ? INT64_MAX : c->a.now_ms + timeout_ms;
    conn_park(conn, PARK_RELAY);
    repl_mail(r, &wt->letter.node);
}
