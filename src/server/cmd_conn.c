/* AUTH HELLO RESET SELECT PING ECHO QUIT: the connection about itself. */
#include "server/handlers.h"

#include "server/exec.h"
#include "server/monitor.h"

/* Same time for every wrong password of a length: no hint about how much of it was right. */
static bool secret_eq(struct str given, const struct config_secret *secret)
{
    unsigned char diff = given.n != secret->n;
    for (size_t i = 0; i < given.n; i++)
        diff |= (unsigned char)(given.p[i] ^ secret->p[secret->n == 0 ? 0 : i % secret->n]);
    return diff == 0;
}

/* Only the default user exists. It accepts anything while no password is set. */
static bool log_in(struct cmd_ctx *c, struct str user, struct str password)
{
    const struct config *cfg = &ctx_server(c)->config;
    bool ok =
        str_eq(user, STR("default")) && (cfg->requirepass.n == 0 || secret_eq(password, &cfg->requirepass));
    if (ok) {
        c->session->authenticated = true;
    } else {
        atomic_fetch_add_explicit(&ctx_server(c)->stats.auth_failed, 1, memory_order_relaxed);
        reply_error(c->reply, "WRONGPASS invalid username-password pair or user is disabled.");
    }
    return ok;
}

void cmd_auth(struct cmd_ctx *c)
{
    struct str user = c->argc == 3 ? c->argv[1] : STR("default"), password = c->argv[c->argc - 1];
    for (uint32_t i = 1; i < c->argc; i++)
        c->argv[i] = CMD_REDACTED;
    if (c->argc > 3) {
        reply_error(c->reply, REPLY_SYNTAX);
        return;
    }
    if (c->argc == 2 && ctx_server(c)->config.requirepass.n == 0) {
        reply_error(c->reply,
                    "ERR AUTH <password> called without any password configured for the default user. "
                    "Are you sure your configuration is correct?");
        return;
    }
    if (log_in(c, user, password))
        reply_ok(c->reply);
}

/* HELLO's options, checked before anything takes effect. */
struct hello {
    int64_t proto; /* 0: as it is */
    bool auth, setname;
    struct str user, password, name;
};

static bool parse_hello(struct cmd_ctx *c, struct hello *h)
{
    if (c->argc >= 2 && (!num_parse_i64(c->argv[1], &h->proto) || h->proto < 2 || h->proto > 3)) {
        int64_t v;
        reply_error(c->reply, num_parse_i64(c->argv[1], &v)
                                  ? "NOPROTO unsupported protocol version"
                                  : "ERR Protocol version is not an integer or out of range");
        return false;
    }
    for (uint32_t i = 2; i < c->argc; i++) {
        uint32_t more = c->argc - 1 - i;
        if (str_is(c->argv[i], "AUTH") && more >= 2) {
            h->auth = true;
            h->user = c->argv[i + 1];
            h->password = c->argv[i + 2];
            c->argv[i + 1] = c->argv[i + 2] = CMD_REDACTED;
            i += 2;
        } else if (str_is(c->argv[i], "SETNAME") && more >= 1) {
            h->setname = true;
            h->name = c->argv[++i];
            if (!session_name_ok(h->name)) {
                reply_error(c->reply,
                            "ERR Client names cannot contain spaces, newlines or special characters.");
                return false;
            }
        } else {
            reply_errorf(c->reply, "ERR Syntax error in HELLO option '%.*s'", (int)c->argv[i].n,
                         c->argv[i].p);
            return false;
        }
    }
    return true;
}

static void reply_hello(struct cmd_ctx *c)
{
    struct reply *r = c->reply;
    reply_map(r, 7);
    reply_cstr(r, "server");
    reply_cstr(r, "redis");
    reply_cstr(r, "version");
    reply_cstr(r, SERVER_REDIS_VERSION);
    reply_cstr(r, "proto");
    reply_int(r, c->session->proto);
    reply_cstr(r, "id");
    reply_int(r, (int64_t)c->session->id);
    reply_cstr(r, "mode");
    reply_cstr(r, c->limits->cluster ? "cluster" : "standalone");
    reply_cstr(r, "role");
    reply_cstr(r, ctx_server(c)->repl.is_replica ? "replica" : "master");
    reply_cstr(r, "modules");
    reply_array(r, 0);
}

void cmd_hello(struct cmd_ctx *c)
{
    struct hello h = {0};
    if (!parse_hello(c, &h))
        return;
    if (h.auth && !log_in(c, h.user, h.password))
        return;
    if (!c->session->authenticated) {
        reply_error(c->reply,
                    "NOAUTH HELLO must be called with the client already authenticated, otherwise the "
                    "HELLO AUTH <user> <pass> option can be used to authenticate the client and "
                    "select the RESP protocol version at the same time");
        return;
    }
    if (h.setname && !session_set_name(c->session, &c->session->name, h.name)) {
        cmd_reply_err(c, ERR_OOM);
        return;
    }
    if (h.proto != 0)
        c->session->proto = (uint8_t)h.proto;
    c->reply->proto = c->session->proto;
    reply_hello(c);
}

void cmd_reset(struct cmd_ctx *c)
{
    struct session *s = c->session;
    exec_end(s, c->a.store);
    monitor_forget(ctx_conn(c));
    session_set_name(s, &s->name, STR(""));
    s->db = 0;
    s->proto = 2;
    s->reply_mode = SESSION_REPLY_ON;
    s->no_evict = s->no_touch = s->asking = s->readonly = false;
    s->arrives = 0;
    s->authenticated = ctx_server(c)->config.requirepass.n == 0;
    c->reply->proto = 2;
    c->reply->mute = false;
    reply_status(c->reply, "RESET");
}

void cmd_select(struct cmd_ctx *c)
{
    uint32_t db;
    if (!cmd_arg_database(c, 1, &db))
        return;
    if (c->limits->cluster && db != 0) {
        reply_error(c->reply, "ERR SELECT is not allowed in cluster mode");
        return;
    }
    c->session->db = db;
    reply_ok(c->reply);
}

void cmd_ping(struct cmd_ctx *c)
{
    if (c->argc > 2)
        cmd_reply_arity(c);
    else if (c->argc == 2)
        reply_bulk(c->reply, c->argv[1]);
    else
        reply_status(c->reply, "PONG");
}

void cmd_echo(struct cmd_ctx *c)
{
    reply_bulk(c->reply, c->argv[1]);
}

void cmd_quit(struct cmd_ctx *c)
{
    c->session->close_after_reply = true;
    reply_ok(c->reply);
}
