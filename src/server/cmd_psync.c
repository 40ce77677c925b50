/* REPLCONF PSYNC SYNC: what a replica says before its connection stops being a client's and becomes a feed.
 */
#include "server/handlers.h"

#include "base/alloc.h"
#include "base/log.h"
#include "server/repl.h"
#include "server/repl_feed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct joiner *hello_of(struct conn *c)
{
    if (c->hello == NULL)
        c->hello = mem_zalloc(sizeof *c->hello);
    return c->hello;
}

static void refuse_option(struct cmd_ctx *c, enum joiner_fault fault, uint32_t i)
{
    if (fault == JOINER_NOT_NUMBER)
        reply_error(c->reply, REPLY_NOT_INT);
    else if (fault == JOINER_TOO_LONG)
        reply_errorf(c->reply, "ERR REPLCONF ip-address provided by replica instance is too long: %zu bytes",
                     c->argv[i + 1].n);
    else if (fault == JOINER_UNPRINTABLE)
        reply_error(c->reply, "ERR REPLCONF ip-address must be an address or a host name");
    else
        reply_errorf(c->reply, "ERR Unrecognized REPLCONF option: %.*s",
                     c->argv[i].n < 100 ? (int)c->argv[i].n : 100, c->argv[i].p);
}

void cmd_replconf(struct cmd_ctx *c)
{
    if (c->argc % 2 == 0) {
        reply_error(c->reply, REPLY_SYNTAX);
        return;
    }
    struct joiner *h = hello_of(ctx_conn(c));
    if (h == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return;
    }
    for (uint32_t i = 1; i + 1 < c->argc; i += 2) {
        enum joiner_fault fault = joiner_learn(h, c->argv[i], c->argv[i + 1]);
        if (fault != JOINER_FINE) {
            refuse_option(c, fault, i);
            return;
        }
    }
    reply_ok(c->reply);
}

/* The socket's address without its port, which is not the one that the replica listens on. */
static void name_feed(struct feed *f, struct conn *conn)
{
    char peer[ADDRESS_TEXT];
    conn_peer_text(conn, peer);
    char *colon = strrchr(peer, ':'), *from = peer;
    if (colon != NULL)
        *colon = '\0';
    if (peer[0] == '[' && colon != NULL && colon[-1] == ']') {
        colon[-1] = '\0';
        from++;
    }
    snprintf(f->ip, sizeof f->ip, "%.*s", JOINER_IP_MAX - 1, f->joiner.ip[0] != '\0' ? f->joiner.ip : from);
    snprintf(f->name, sizeof f->name, "%s:%u", f->ip, f->joiner.port);
}

/* The connection goes: its socket lives on as the feed's. */
static struct feed *take_socket(struct cmd_ctx *c)
{
    struct conn *conn = ctx_conn(c);
    int fd = fcntl(conn->fd, F_DUPFD_CLOEXEC, 0);
    struct feed *f = fd >= 0 ? feed_new(fd) : NULL;
    if (f == NULL) {
        if (fd >= 0)
            close(fd);
        cmd_reply_err(c, ERR_OOM);
        return NULL;
    }
    f->letter.kind = LETTER_FEED;
    repl_peer_init(&f->peer, fd, conn->session.id, false, c->a.now_ms);
    if (conn->hello != NULL)
        f->joiner = *conn->hello;
    name_feed(f, conn);
    return f;
}

static void hand_over(struct cmd_ctx *c, struct feed *f)
{
    log_notice("Replica %s asks for synchronization.", f->name);
    ctx_conn(c)->close_asap = true;
    repl_mail(&ctx_server(c)->repl, &f->letter.node);
}

/* Some replica has more of this node's data than the node itself, which has been restarted. */
static bool is_ahead_of_us(struct cmd_ctx *c, const struct joiner_wish *w)
{
    int64_t from = w->from;
    struct str id = str_of(w->id);
    struct repl *r = &ctx_server(c)->repl;
    bool ours = (r->has_past && history_covers(&r->lost.history, id, from)) ||
                (r->resumed && str_eq(id, str_of(r->place.id)));
    /* With a record of no keys we have what there was then; more may have come in its last second. */
    uint64_t have = r->resumed ? r->place.offset : r->lost.offset;
    bool beyond = (r->lost_history && !r->resumed) || (from > 0 && (uint64_t)from - 1 > have);
    if (!ours || !beyond)
        return false;
    atomic_fetch_add(&r->shown.ahead, 1);
    reply_errorf(
        c->reply,
        "NOMASTERLINK this node was restarted without %s, and you still have them: it will not "
        "overwrite them. Make it your replica (REPLICAOF there), or give the data up (REPLICAOF NO ONE "
        "there)",
        r->resumed ? "its newest data" : "its data");
    return true;
}

/* Who is about to give its role away has nothing to offer. */
static bool hands_over(struct cmd_ctx *c)
{
    if (failover_state(&ctx_server(c)->repl.failover) == FAILOVER_NONE)
        return false;
    reply_error(c->reply, "NOMASTERLINK Can't SYNC while failing over");
    return true;
}

/* The cluster has been asked who has how much, and not all have answered. */
static bool waits_for_replicas(struct cmd_ctx *c)
{
    if (!atomic_load(&ctx_server(c)->feeds_nobody))
        return false;
    reply_error(c->reply,
                "NOMASTERLINK this node was restarted and has not heard yet whether a replica has more");
    return true;
}

/* The FAILOVER of PSYNC ... FAILOVER. False after replying. */
static bool may_take_over(struct cmd_ctx *c, struct str id)
{
    const char *no = failover_refusal(&ctx_server(c)->repl, id);
    log_notice("A failover request has come for replication id %.*s.", (int)(id.n < 40 ? id.n : 40), id.p);
    if (no != NULL)
        reply_error(c->reply, no);
    return no == NULL;
}

/* PSYNC id offset [FAILOVER] */
void cmd_psync(struct cmd_ctx *c)
{
    struct joiner_wish wish;
    if (joiner_wish(&wish, c->argv + 1, c->argc - 1) != 0) {
        reply_error(c->reply, REPLY_NOT_INT);
        return;
    }
    if ((wish.failover && !may_take_over(c, c->argv[1])) || hands_over(c) || waits_for_replicas(c) ||
        (wish.has_history && is_ahead_of_us(c, &wish)))
        return;
    struct feed *f = take_socket(c);
    if (f == NULL)
        return;
    f->hands_over = wish.failover;
    f->wish = wish;
    hand_over(c, f);
}

/* The way of old: a copy without a word before it. */
void cmd_sync(struct cmd_ctx *c)
{
    if (hands_over(c) || waits_for_replicas(c))
        return;
    if (ctx_server(c)->repl.lost_history) {
        reply_error(c->reply, "NOMASTERLINK this node was restarted without its data; see its log");
        return;
    }
    struct feed *f = take_socket(c);
    if (f == NULL)
        return;
    f->wants_sync_only = true;
    hand_over(c, f);
}
