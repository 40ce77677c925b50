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
    bool fsynced; /* WAITAOF */
    uint32_t want, got;
    int64_t until_ms;
};

static void put_result(struct reply *reply, bool fsynced, uint32_t got)
{
    if (fsynced) {
        reply_array(reply, 2);
        reply_int(reply, 0); /* there is no append-only file here */
    }
    reply_int(reply, got);
}

static void come_home(struct worker *w, struct mail *m)
{
    struct waiter *wt = container_of(m, struct waiter, mail);
    struct conn *c = wt->conn;
    if (c->state != CONN_ZOMBIE)
        put_result(conn_reply(c), wt->fsynced, wt->got);
    mem_free(wt);
    conn_unpark(c);
}

/* Replicas acknowledge once a second by themselves; asked, at once. */
void repl_waiter_arrives(struct repl *r, struct repl_letter *l)
{
    struct waiter *wt = container_of(l, struct waiter, letter);
    wt->next = r->waiters;
    r->waiters = wt;
    repl_feeds_ask(r);
}

static uint32_t count(struct repl *r, bool fsynced, uint64_t offset)
{
    return fsynced ? repl_feeds_fsynced(r, offset) : repl_feeds_acked(r, offset, 0);
}

static bool is_over(struct repl *r, struct waiter *wt)
{
    wt->got = count(r, wt->fsynced, wt->offset);
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

static bool parse_timeout(struct cmd_ctx *c, uint32_t i, int64_t *until_ms)
{
    int64_t ms;
    if (!num_parse_i64(c->argv[i], &ms)) {
        reply_error(c->reply, "ERR timeout is not an integer or out of range");
        return false;
    }
    if (ms > INT64_MAX - c->a.now_ms) {
        reply_error(c->reply, "ERR timeout is out of range");
        return false;
    }
    if (ms < 0) {
        reply_error(c->reply, "ERR timeout is negative");
        return false;
    }
    *until_ms = ms == 0 ? INT64_MAX : c->a.now_ms + ms;
    return true;
}

static void wait_for(struct cmd_ctx *c, int64_t want, int64_t until_ms, bool fsynced)
{
    struct repl *r = &ctx_server(c)->repl;
    struct conn *conn = ctx_conn(c);
    uint64_t head = repl_offset(r), offset = conn->written < head ? conn->written : head;
    uint32_t got = count(r, fsynced, offset);
    if (got >= want || c->in_exec) {
        put_result(c->reply, fsynced, got);
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
    wt->fsynced = fsynced;
    wt->want = want > UINT32_MAX ? UINT32_MAX : (uint32_t)want;
    wt->until_ms = until_ms;
    conn_park(conn, PARK_RELAY);
    repl_mail(r, &wt->letter.node);
}

/* WAIT numreplicas timeout */
void cmd_wait(struct cmd_ctx *c)
{
    int64_t want, until_ms;
    if (ctx_server(c)->repl.is_replica)
        reply_error(c->reply,
                    "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 "
                    "if a replica is configured to be writable (which is not the default) writes to "
                    "replicas are just local and are not propagated.");
    else if (cmd_arg_i64(c, 1, &want) && parse_timeout(c, 2, &until_ms))
        wait_for(c, want, until_ms, false);
}

/* WAITAOF numlocal numreplicas timeout */
void cmd_waitaof(struct cmd_ctx *c)
{
    int64_t local, want, until_ms;
    if (!cmd_arg_range(c, 1, 0, 1, &local, "ERR value is out of range, value must between 0 and 1") ||
        !cmd_arg_range(c, 2, 0, INT64_MAX, &want, "ERR value is out of range, must be positive") ||
        !parse_timeout(c, 3, &until_ms))
        return;
    if (ctx_server(c)->repl.is_replica)
        reply_error(c->reply, "ERR WAITAOF cannot be used with replica instances. Please also note that "
                              "writes to replicas are just local and are not propagated.");
    else if (local > 0)
        reply_error(c->reply, "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");
    else
        wait_for(c, want, until_ms, true);
}
