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

static struct feed_hello *hello_of(struct conn *c)
{
    if (c->hello == NULL)
        c->hello = mem_zalloc(sizeof *c->hello);
    return c->hello;
}

/* One option and its value. False after replying. */
static bool learn(struct cmd_ctx *c, struct feed_hello *h, uint32_t i)
{
    struct str value = c->argv[i + 1];
    int64_t port;
    if (cmd_arg_is(c, i, STR("listening-port"))) {
        if (!cmd_arg_range(c, i + 1, 0, 65535, &port, REPLY_NOT_INT))
            return false;
        h->port = (uint16_t)port;
    } else if (cmd_arg_is(c, i, STR("ip-address"))) {
        if (value.n >= sizeof h->ip) {
            reply_errorf(c->reply,
                         "ERR REPLCONF ip-address provided by replica instance is too long: %zu bytes",
                         value.n);
            return false;
        }
        memcpy(h->ip, value.p, value.n);
        h->ip[value.n] = '\0';
    } else if (cmd_arg_is(c, i, STR("capa"))) {
        h->knows_psync2 |= str_is(value, "psync2");
        h->knows_eof |= str_is(value, "eof");
    } else if (!cmd_arg_is(c, i, STR("version"))) {
        reply_errorf(c->reply, "ERR Unrecognized REPLCONF option: %.*s",
                     c->argv[i].n < 100 ? (int)c->argv[i].n : 100, c->argv[i].p);
        return false;
    }
    return true;
}

void cmd_replconf(struct cmd_ctx *c)
{
    if (c->argc % 2 == 0) {
        reply_error(c->reply, REPLY_SYNTAX);
        return;
    }
    struct feed_hello *h = hello_of(ctx_conn(c));
    if (h == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return;
    }
    for (uint32_t i = 1; i + 1 < c->argc; i += 2)
        if (!learn(c, h, i))
            return;
    reply_ok(c->reply);
}

/* The socket's address without its port, which is not the one that the replica listens on. */
static void name_feed(struct feed *f, struct conn *conn, const struct feed_hello *h)
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
    snprintf(f->ip, sizeof f->ip, "%.*s", FEED_IP_MAX - 1, h != NULL && h->ip[0] != '\0' ? h->ip : from);
    f->port = h != NULL ? h->port : 0;
    snprintf(f->name, sizeof f->name, "%s:%u", f->ip, f->port);
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
    f->knows_psync2 = conn->hello != NULL && conn->hello->knows_psync2;
    f->knows_eof = conn->hello != NULL && conn->hello->knows_eof;
    name_feed(f, conn, conn->hello);
    return f;
}

static void hand_over(struct cmd_ctx *c, struct feed *f)
{
    log_notice("Replica %s asks for synchronization.", f->name);
    ctx_conn(c)->close_asap = true;
    repl_mail(&ctx_server(c)->repl, &f->letter.node);
}

/* Some replica has more of this node's data than the node itself, which has been restarted. */
static bool is_ahead_of_us(struct cmd_ctx *c, struct str id, int64_t from)
{
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
    int64_t from = -1;
    struct str id = c->argv[1];
    if (!cmd_arg_i64(c, 2, &from))
        return;
    bool has = history_id_ok(id), failover = c->argc > 3 && cmd_arg_is(c, 3, STR("FAILOVER"));
    if ((failover && !may_take_over(c, id)) || hands_over(c))
        return;
    if (has && is_ahead_of_us(c, id, from))
        return;
    struct feed *f = take_socket(c);
    if (f == NULL)
        return;
    f->hands_over = failover;
    f->has_history = has;
    f->from = from;
    if (has)
        memcpy(f->id, id.p, HISTORY_ID);
    hand_over(c, f);
}

/* The way of old: a copy without a word before it. */
void cmd_sync(struct cmd_ctx *c)
{
    if (hands_over(c))
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
