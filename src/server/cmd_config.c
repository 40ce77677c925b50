/* CONFIG. SET, REWRITE and RESETSTAT run on the lane with the gate raised, GET anywhere. */
#include "server/handlers.h"

#include "base/log.h"
#include "server/stats.h"

struct config_answer {
    struct reply *reply;
    uint64_t pairs;
};

static void put_pair(void *ctx, struct str name, struct str value)
{
    struct config_answer *a = ctx;
    reply_bulk(a->reply, name);
    reply_bulk(a->reply, value);
    a->pairs++;
}

void cmd_config_get(struct cmd_ctx *c)
{
    struct config_answer a = {.reply = c->reply};
    struct reply_mark begin = reply_mark(c->reply);
    size_t handle = reply_deferred(c->reply);
    int err = config_get(&ctx_server(c)->config, c->argv + 2, c->argc - 2, put_pair, &a);
    if (err < 0) {
        reply_rollback(c->reply, begin);
        cmd_reply_err(c, err);
        return;
    }
    reply_deferred_end(c->reply, handle, '%', a.pairs);
}

/* What the operator should know of the new values goes to the log, as at the start. */
static void log_warnings(struct config *cfg)
{
    struct buf lines;
    buf_init(&lines);
    if (config_take_warnings(cfg, &lines) == 0) {
        struct str rest = buf_str(&lines);
        const char *lf;
        while (rest.n > 0 && (lf = memchr(rest.p, '\n', rest.n)) != NULL) {
            size_t n = (size_t)(lf - rest.p);
            log_warning("%.*s", (int)n, rest.p);
            rest = (struct str){lf + 1, rest.n - n - 1};
        }
    }
    buf_release(&lines);
}

void cmd_config_set(struct cmd_ctx *c)
{
    struct config *cfg = &ctx_server(c)->config;
    if (c->argc % 2 != 0) {
        reply_error(c->reply, REPLY_SYNTAX);
        return;
    }
    size_t n = (c->argc - 2) / 2;
    struct config_pair *pairs = arena_alloc(c->arena, n * sizeof(*pairs));
    if (pairs == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        pairs[i] = (struct config_pair){c->argv[2 + 2 * i], c->argv[3 + 2 * i]};
        if (config_is_sensitive(pairs[i].name))
            c->argv[3 + 2 * i] = CMD_REDACTED;
    }
    int guard = cfg->enable_protected_configs;
    bool trusted = guard == GUARD_YES || (guard == GUARD_LOCAL && conn_is_local(ctx_conn(c)));
    struct config_error e;
    if (config_set(cfg, pairs, n, trusted, &e) < 0) {
        reply_error(c->reply, e.text);
        return;
    }
    log_warnings(cfg);
    reply_ok(c->reply);
}

void cmd_config_rewrite(struct cmd_ctx *c)
{
    struct config_error e;
    if (config_rewrite(&ctx_server(c)->config, &e) < 0) {
        log_warning("CONFIG REWRITE failed: %s", e.text);
        reply_error(c->reply, e.text);
        return;
    }
    log_notice("CONFIG REWRITE executed with success.");
    reply_ok(c->reply);
}

void cmd_config_resetstat(struct cmd_ctx *c)
{
    stats_reset(ctx_server(c));
    reply_ok(c->reply);
}

void cmd_config_help(struct cmd_ctx *c)
{
    static const char *const lines[] = {
        "GET <pattern>",
        "    Return parameters matching the glob-like <pattern> and their values.",
        "SET <directive> <value>",
        "    Set the configuration <directive> to <value>.",
        "RESETSTAT",
        "    Reset statistics reported by the INFO command.",
        "REWRITE",
        "    Rewrite the configuration file.",
    };
    cmd_reply_help(c, lines, ARRAY_LEN(lines));
}
