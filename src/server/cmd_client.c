/* CLIENT: about connections, the caller's own and all others.
 *
 * What concerns other workers' connections travels as a relay (worker.h): each worker lists or
 * kills its own. */
#include "server/handlers.h"

#include "base/alloc.h"
#include "os/clock.h"
#include "os/sock.h"
#include "server/cache_wait.h"
#include "server/monitor.h"
#include "server/repl_peers.h"

#include <stdlib.h>
#include <sys/socket.h>

/* ---- the caller itself ------------------------------------------------------------------ */

void cmd_client_id(struct cmd_ctx *c)
{
    reply_int(c->reply, (int64_t)c->session->id);
}

void cmd_client_getname(struct cmd_ctx *c)
{
    if (c->session->name == NULL)
        reply_null(c->reply);
    else
        reply_cstr(c->reply, c->session->name);
}

void cmd_client_setname(struct cmd_ctx *c)
{
    if (!session_name_ok(c->argv[2]))
        reply_error(c->reply, "ERR Client names cannot contain spaces, newlines or special characters.");
    else
        cmd_reply_status(c, session_set_name(c->session, &c->session->name, c->argv[2]) ? 0 : ERR_OOM);
}

void cmd_client_setinfo(struct cmd_ctx *c)
{
    char **slot = NULL;
    if (cmd_arg_is(c, 2, STR("LIB-NAME")))
        slot = &c->session->lib_name;
    else if (cmd_arg_is(c, 2, STR("LIB-VER")))
        slot = &c->session->lib_ver;
    if (slot == NULL)
        reply_errorf(c->reply, "ERR Unrecognized option '%.*s'", (int)c->argv[2].n, c->argv[2].p);
    else if (!session_name_ok(c->argv[3]))
        reply_errorf(c->reply, "ERR %s cannot contain spaces, newlines or special characters.",
                     slot == &c->session->lib_name ? "lib-name" : "lib-ver");
    else
        cmd_reply_status(c, session_set_name(c->session, slot, c->argv[3]) ? 0 : ERR_OOM);
}

void cmd_client_reply(struct cmd_ctx *c)
{
    struct session *s = c->session;
    if (cmd_arg_is(c, 2, STR("ON"))) {
        s->reply_mode = SESSION_REPLY_ON;
        c->reply->mute = false;
        reply_ok(c->reply);
    } else if (cmd_arg_is(c, 2, STR("OFF"))) {
        s->reply_mode = SESSION_REPLY_OFF;
    } else if (cmd_arg_is(c, 2, STR("SKIP"))) {
        if (s->reply_mode != SESSION_REPLY_OFF)
            s->reply_mode = SESSION_REPLY_SKIP_NEXT;
    } else {
        reply_error(c->reply, REPLY_SYNTAX);
    }
}

/* ON or OFF into *flag. */
static void set_switch(struct cmd_ctx *c, bool *flag)
{
    bool on = cmd_arg_is(c, 2, STR("ON"));
    if (!on && !cmd_arg_is(c, 2, STR("OFF"))) {
        reply_error(c->reply, REPLY_SYNTAX);
        return;
    }
    *flag = on;
    reply_ok(c->reply);
}

void cmd_client_no_evict(struct cmd_ctx *c)
{
    set_switch(c, &c->session->no_evict);
}

void cmd_client_no_touch(struct cmd_ctx *c)
{
    set_switch(c, &c->session->no_touch);
}

/* ---- one line a connection -------------------------------------------------------------- */

static void put_flags(struct buf *b, const struct conn *c)
{
    size_t was = b->n;
    const struct session *s = &c->session;
    if (s->monitor)
        buf_putc(b, 'O');
    if (s->txn.open)
        buf_putc(b, 'x');
    if (c->parked == PARK_PAUSE || c->parked == PARK_LEASE)
        buf_putc(b, 'b');
    if (atomic_load_explicit(&s->txn.dirty, memory_order_relaxed))
        buf_putc(b, 'd');
    if (s->close_after_reply)
        buf_putc(b, 'c');
    if (c->close_asap)
        buf_putc(b, 'A');
    if (c->peer.family == AF_UNIX)
        buf_putc(b, 'U');
    if (s->no_evict)
        buf_putc(b, 'e');
    if (s->no_touch)
        buf_putc(b, 'T');
    if (b->n == was)
        buf_putc(b, 'N');
}

static void put_client(struct buf *b, const struct conn *c, int64_t now_ms)
{
    const struct session *s = &c->session;
    char addr[ADDRESS_TEXT], laddr[ADDRESS_TEXT];
    conn_peer_text(c, addr);
    conn_local_text(c, laddr);
    buf_printf(b,
               "id=%llu addr=%s laddr=%s fd=%d name=%s age=%lld idle=%lld flags=", (unsigned long long)s->id,
               addr, laddr, c->fd, s->name != NULL ? s->name : "", (long long)(now_ms - c->created_ms) / 1000,
               (long long)(now_ms - c->active_ms) / 1000);
    put_flags(b, c);
    buf_printf(b, " db=%u sub=0 psub=0 ssub=0 multi=%d qbuf=%zu qbuf-free=%zu argv-mem=0 multi-mem=%zu",
               s->db, s->txn.open ? (int)s->txn.ncommands : -1, c->in.n, c->in.cap - c->in.n, s->txn.bytes);
    buf_printf(
        b, " rbs=0 rbp=0 obl=0 oll=%d omem=%zu tot-mem=%zu events=%s cmd=%s user=default redir=-1 resp=%d",
        c->out != NULL, conn_unsent(c), conn_memory(c), c->wants_write ? "rw" : "r",
        c->last_cmd != NULL ? c->last_cmd->name : "NULL", s->proto);
    buf_printf(b, " lib-name=%s lib-ver=%s\n", s->lib_name != NULL ? s->lib_name : "",
               s->lib_ver != NULL ? s->lib_ver : "");
}

void cmd_client_info(struct cmd_ctx *c)
{
    struct conn *conn = ctx_conn(c);
    struct buf b;
    buf_init(&b);
    conn->last_cmd = c->cmd;
    put_client(&b, conn, c->a.now_ms);
    if (b.oom)
        cmd_reply_err(c, ERR_OOM);
    else
        reply_verbatim(c->reply, "txt", buf_str(&b));
    buf_release(&b);
}

/* ---- which connections ------------------------------------------------------------------- */

enum client_type { TYPE_ANY, TYPE_NORMAL, TYPE_MASTER, TYPE_REPLICA, TYPE_PUBSUB, TYPE_UNKNOWN };

static enum client_type client_type(struct str s)
{
    if (str_is(s, "normal"))
        return TYPE_NORMAL;
    if (str_is(s, "master"))
        return TYPE_MASTER;
    if (str_is(s, "replica") || str_is(s, "slave"))
        return TYPE_REPLICA;
    return str_is(s, "pubsub") ? TYPE_PUBSUB : TYPE_UNKNOWN;
}

/* A relay with its filter; ids and texts live behind it. */
struct client_relay {
    struct relay relay;
    enum client_type type;
    bool skip_me, has_addr, has_laddr, one_address; /* one_address: the old CLIENT KILL ip:port */
    char addr[SOCK_ADDR_MAX], laddr[SOCK_ADDR_MAX], user[64];
    uint64_t killed, unblocked;
    bool by_error; /* who is unblocked is told so */
    struct buf lines;
    uint32_t nids; /* sorted by sort_ids() */
    uint64_t ids[];
};

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The filter is complete. */
static void sort_ids(struct client_relay *r)
{
    qsort(r->ids, r->nids, sizeof *r->ids, compare_ids);
}

static struct client_relay *relay_new(struct cmd_ctx *c, uint32_t ids_max)
{
    struct client_relay *r = mem_zalloc(sizeof *r + ids_max * sizeof *r->ids);
    if (r == NULL)
        cmd_reply_err(c, ERR_OOM);
    return r;
}

static bool has_id(const struct client_relay *r, uint64_t id)
{
    return r->nids == 0 || bsearch(&id, r->ids, r->nids, sizeof *r->ids, compare_ids) != NULL;
}

static bool matches(const struct client_relay *r, const struct conn *c)
{
    char text[ADDRESS_TEXT];
    if (!has_id(r, c->session.id) || (r->skip_me && c == r->relay.asker))
        return false;
    if (r->type != TYPE_ANY && r->type != TYPE_NORMAL)
        return false;
    if (r->user[0] != '\0' && strcmp(r->user, "default") != 0)
        return false;
    if (r->has_addr) {
        conn_peer_text(c, text);
        if (strcmp(text, r->addr) != 0)
            return false;
    }
    if (r->has_laddr) {
        conn_local_text(c, text);
        return strcmp(text, r->laddr) == 0;
    }
    return true;
}

/* A primary has no user: it may do everything. */
static bool matches_peer(const struct client_relay *r, const struct repl_peer *p)
{
    enum client_type type = p->is_primary ? TYPE_MASTER : TYPE_REPLICA;
    return has_id(r, p->id) && (r->type == TYPE_ANY || r->type == type) &&
           (r->user[0] == '\0' || !p->is_primary) && (!r->has_addr || strcmp(p->addr, r->addr) == 0) &&
           (!r->has_laddr || strcmp(p->laddr, r->laddr) == 0);
}

static void put_peer(struct buf *b, const struct repl_peer *p, const struct repl_peer_state *st,
                     int64_t now_ms)
{
    buf_printf(b,
               "id=%llu addr=%s laddr=%s fd=%d name= age=%lld idle=%lld flags=%c db=0 sub=0 psub=0 ssub=0 "
               "multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0",
               (unsigned long long)p->id, p->addr, p->laddr, p->fd, (long long)(now_ms - p->since_ms) / 1000,
               (long long)(now_ms - st->heard_ms) / 1000, p->is_primary ? 'M' : 'S');
    buf_printf(b,
               " rbs=0 rbp=0 obl=0 oll=0 omem=%llu tot-mem=%llu events=r cmd=%s user=%s redir=-1 resp=2 "
               "lib-name= lib-ver=\n",
               (unsigned long long)st->unsent, (unsigned long long)st->unsent,
               p->is_primary ? "NULL" : "replconf", p->is_primary ? "(superuser)" : "default");
}

/* ---- CLIENT LIST --------------------------------------------------------------------------- */

static void list_one(struct relay *relay, struct conn *c)
{
    struct client_relay *r = container_of(relay, struct client_relay, relay);
    if (matches(r, c))
        put_client(&r->lines, c, c->worker->now_ms);
}

static bool list_peer(void *arg, const struct repl_peer *p, const struct repl_peer_state *st)
{
    struct client_relay *r = arg;
    if (matches_peer(r, p))
        put_peer(&r->lines, p, st, os_wall_ms());
    return false;
}

static void finish_list(struct relay *relay, struct conn *asker, struct reply *reply)
{
    struct client_relay *r = container_of(relay, struct client_relay, relay);
    if (asker != NULL && r->lines.oom)
        reply_error(reply, REPLY_NOMEM);
    else if (asker != NULL)
        reply_verbatim(reply, "txt", buf_str(&r->lines));
    buf_release(&r->lines);
    mem_free(r);
}

static bool parse_id(struct cmd_ctx *c, uint32_t i, int64_t min, uint64_t *id, const char *error)
{
    int64_t v;
    if (!num_parse_i64(c->argv[i], &v) || v < min) {
        reply_error(c->reply, error);
        return false;
    }
    *id = (uint64_t)v;
    return true;
}

static bool parse_list(struct cmd_ctx *c, struct client_relay *r)
{
    if (c->argc == 2)
        return true;
    if (c->argc == 4 && cmd_arg_is(c, 2, STR("TYPE"))) {
        r->type = client_type(c->argv[3]);
        if (r->type == TYPE_UNKNOWN)
            reply_errorf(c->reply, "ERR Unknown client type '%.*s'", (int)c->argv[3].n, c->argv[3].p);
        return r->type != TYPE_UNKNOWN;
    }
    if (c->argc > 3 && cmd_arg_is(c, 2, STR("ID"))) {
        for (uint32_t i = 3; i < c->argc; i++)
            if (!parse_id(c, i, INT64_MIN, &r->ids[r->nids++], "ERR Invalid client ID"))
                return false;
        return true;
    }
    reply_error(c->reply, REPLY_SYNTAX);
    return false;
}

void cmd_client_list(struct cmd_ctx *c)
{
    struct client_relay *r = relay_new(c, c->argc);
    if (r == NULL)
        return;
    if (!parse_list(c, r)) {
        mem_free(r);
        return;
    }
    buf_init(&r->lines);
    ctx_conn(c)->last_cmd = c->cmd;
    sort_ids(r);
    repl_each_peer(&ctx_server(c)->repl, list_peer, r);
    r->relay.each = list_one;
    r->relay.finish = finish_list;
    relay_start(&r->relay, c);
}

/* ---- CLIENT KILL --------------------------------------------------------------------------- */

static void kill_one(struct relay *relay, struct conn *c)
{
    struct client_relay *r = container_of(relay, struct client_relay, relay);
    if (!matches(r, c) || (r->one_address && r->killed > 0))
        return;
    r->killed++;
    if (c == relay->asker)
        c->session.close_after_reply = true;
    else
        conn_close(c, "CLIENT KILL");
}

static bool kill_peer(void *arg, const struct repl_peer *p, const struct repl_peer_state *st)
{
    struct client_relay *r = arg;
    if (!matches_peer(r, p) || (r->one_address && r->killed > 0))
        return false;
    r->killed++;
    return true;
}

static void finish_kill(struct relay *relay, struct conn *asker, struct reply *reply)
{
    struct client_relay *r = container_of(relay, struct client_relay, relay);
    if (asker != NULL && !r->one_address)
        reply_int(reply, (int64_t)r->killed);
    else if (asker != NULL && r->killed > 0)
        reply_ok(reply);
    else if (asker != NULL)
        reply_error(reply, "ERR No such client");
    mem_free(r);
}

static void copy_text(char *dst, size_t cap, struct str s)
{
    size_t n = s.n < cap - 1 ? s.n : cap - 1;
    memcpy(dst, s.p, n);
    dst[n] = '\0';
}

/* One pair of CLIENT KILL's filters. */
static bool parse_kill_option(struct cmd_ctx *c, struct client_relay *r, uint32_t i)
{
    struct str value = c->argv[i + 1];
    if (cmd_arg_is(c, i, STR("ID")))
        return parse_id(c, i + 1, 1, &r->ids[r->nids++], "ERR client-id should be greater than 0");
    if (cmd_arg_is(c, i, STR("TYPE"))) {
        r->type = client_type(value);
        if (r->type == TYPE_UNKNOWN)
            reply_errorf(c->reply, "ERR Unknown client type '%.*s'", (int)value.n, value.p);
        return r->type != TYPE_UNKNOWN;
    }
    if (cmd_arg_is(c, i, STR("ADDR")) || cmd_arg_is(c, i, STR("LADDR"))) {
        bool peer = cmd_arg_is(c, i, STR("ADDR"));
        copy_text(peer ? r->addr : r->laddr, SOCK_ADDR_MAX, value);
        *(peer ? &r->has_addr : &r->has_laddr) = true;
        return true;
    }
    if (cmd_arg_is(c, i, STR("USER"))) {
        copy_text(r->user, sizeof r->user, value);
        bool exists = str_eq(value, STR("default")); /* the only one until there are ACLs */
        if (!exists)
            reply_errorf(c->reply, "ERR No such user '%.*s'", (int)value.n, value.p);
        return exists;
    }
    bool yes = str_is(value, "yes");
    if (cmd_arg_is(c, i, STR("SKIPME")) && (yes || str_is(value, "no"))) {
        r->skip_me = yes;
        return true;
    }
    reply_error(c->reply, REPLY_SYNTAX);
    return false;
}

static bool parse_kill(struct cmd_ctx *c, struct client_relay *r)
{
    if (c->argc == 3) {
        r->one_address = r->has_addr = true;
        copy_text(r->addr, sizeof r->addr, c->argv[2]);
        return true;
    }
    r->skip_me = true;
    for (uint32_t i = 2; i < c->argc; i += 2) {
        if (i + 1 == c->argc) {
            reply_error(c->reply, REPLY_SYNTAX);
            return false;
        }
        if (!parse_kill_option(c, r, i))
            return false;
    }
    return true;
}

void cmd_client_kill(struct cmd_ctx *c)
{
    struct client_relay *r = relay_new(c, c->argc);
    if (r == NULL)
        return;
    if (!parse_kill(c, r)) {
        mem_free(r);
        return;
    }
    sort_ids(r);
    repl_each_peer(&ctx_server(c)->repl, kill_peer, r);
    r->relay.each = kill_one;
    r->relay.finish = finish_kill;
    relay_start(&r->relay, c);
}

/* ---- CLIENT UNBLOCK ------------------------------------------------------------------------ */

static void unblock_one(struct relay *relay, struct conn *c)
{
    struct client_relay *r = container_of(relay, struct client_relay, relay);
    if (matches(r, c) && c->parked == PARK_LEASE && cache_wait_end(c, r->by_error))
        r->unblocked++;
}

static void finish_unblock(struct relay *relay, struct conn *asker, struct reply *reply)
{
    struct client_relay *r = container_of(relay, struct client_relay, relay);
    if (asker != NULL)
        reply_int(reply, (int64_t)r->unblocked);
    mem_free(r);
}

void cmd_client_unblock(struct cmd_ctx *c)
{
    int64_t id;
    bool by_error = c->argc == 4 && cmd_arg_is(c, 3, STR("ERROR"));
    if (c->argc > 4) {
        cmd_reply_unknown_sub(c);
        return;
    }
    if (c->argc == 4 && !by_error && !cmd_arg_is(c, 3, STR("TIMEOUT"))) {
        reply_error(c->reply, "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
        return;
    }
    if (!cmd_arg_i64(c, 2, &id))
        return;
    struct client_relay *r = relay_new(c, 1);
    if (r == NULL)
        return;
    r->ids[r->nids++] = (uint64_t)id;
    r->by_error = by_error;
    r->relay.each = unblock_one;
    r->relay.finish = finish_unblock;
    relay_start(&r->relay, c);
}

/* ---- CLIENT PAUSE, UNPAUSE (under the gate) ------------------------------------------------- */

void cmd_client_pause(struct cmd_ctx *c)
{
    uint32_t mode = CARE_PAUSE_ALL;
    int64_t ms, until;
    if (c->argc > 4) {
        cmd_reply_unknown_sub(c);
        return;
    }
    if (c->argc == 4 && !cmd_arg_is(c, 3, STR("ALL")) && !cmd_arg_is(c, 3, STR("WRITE"))) {
        reply_error(c->reply, "ERR CLIENT PAUSE mode must be WRITE or ALL");
        return;
    }
    if (c->argc == 4 && cmd_arg_is(c, 3, STR("WRITE")))
        mode = CARE_PAUSE_WRITE;
    if (!num_parse_i64(c->argv[2], &ms) || num_add_overflows(ms, c->a.now_ms, &until)) {
        reply_error(c->reply, "ERR timeout is not an integer or out of range");
        return;
    }
    if (ms < 0) {
        reply_error(c->reply, "ERR timeout is negative");
        return;
    }
    pause_begin(ctx_server(c), PAUSE_CLIENT, mode, c->a.now_ms, until);
    reply_ok(c->reply);
}

void cmd_client_unpause(struct cmd_ctx *c)
{
    pause_end(ctx_server(c), PAUSE_CLIENT);
    reply_ok(c->reply);
}

void cmd_client_help(struct cmd_ctx *c)
{
    static const char *const lines[] = {
        "GETNAME",
        "    The name of this connection.",
        "ID",
        "    The id of this connection.",
        "INFO",
        "    Everything about this connection.",
        "KILL <ip:port>",
        "    Close the connection from this address.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Close connections. Options are: ID <id>, ADDR <ip:port>, LADDR <ip:port>,",
        "    TYPE (NORMAL|MASTER|REPLICA|PUBSUB), USER <name>, SKIPME (YES|NO).",
        "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB) | ID <id> [<id> ...]]",
        "    Everything about all connections, or about these.",
        "NO-EVICT (ON|OFF)",
        "    Keep this connection when client memory is short.",
        "NO-TOUCH (ON|OFF)",
        "    Let this connection's reads leave no trace in the eviction policy.",
        "PAUSE <milliseconds> [WRITE|ALL]",
        "    Hold back all commands, or those that write, of all clients.",
        "REPLY (ON|OFF|SKIP)",
        "    Whether this connection gets replies.",
        "SETINFO (LIB-NAME|LIB-VER) <value>",
        "    Tell which library this client uses.",
        "SETNAME <name>",
        "    Name this connection.",
        "UNBLOCK <id> [TIMEOUT|ERROR]",
        "    Wake up a blocked client.",
        "UNPAUSE",
        "    End a pause.",
    };
    cmd_reply_help(c, lines, ARRAY_LEN(lines));
}
