/* DEBUG: tools for tests and for looking inside, guarded by enable-debug-command. Under the gate. */
#include "server/handlers.h"

#include "base/assert.h"
#include "base/log.h"
#include "os/random.h"
#include "server/debug_keys.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

bool debug_is_allowed(const struct conn *conn)
{
    int guard = conn->worker->server->config.enable_debug_command;
    return guard == GUARD_YES || (guard == GUARD_LOCAL && conn_is_local(conn));
}

static void debug_sleep(struct cmd_ctx *c)
{
    long double s;
    if (!cmd_arg_ldouble(c, 2, &s) || s < 0)
        return;
    struct timespec ts = {(time_t)s, (long)((s - (long double)(time_t)s) * 1e9L)};
    nanosleep(&ts, NULL);
    reply_ok(c->reply);
}

static void debug_help(struct cmd_ctx *c)
{
    static const char *const lines[] = {
        "ASSERT",
        "    Fail an assertion: the crash report is written and the node dies.",
        "CHANGE-REPL-ID",
        "    Take a new replication id.",
        "CHECK",
        "    Walk the whole store and check every invariant (debug builds).",
        "DIGEST",
        "    A fingerprint of all data, the same as Redis's.",
        "DIGEST-VALUE <key> [<key> ...]",
        "    Fingerprints of values, zeros for keys that do not exist.",
        "ERROR <text>",
        "    Reply with this error.",
        "JMAP",
        "    Does nothing here.",
        "LOG <message>",
        "    Write it to the log.",
        "OBJECT <key>",
        "    How the value is held.",
        "POPULATE <count> [<prefix>] [<size>]",
        "    Create keys <prefix>:0 and on, where they do not exist.",
        "PROTOCOL <type>",
        "    Reply with a value of this type: string, integer, double, bignum, null, array, set, map,",
        "    attrib, push, verbatim, true, false.",
        "RELOAD [MERGE] [NOFLUSH] [NOSAVE]",
        "    Save a snapshot and load it again.",
        "SEGFAULT",
        "    Crash.",
        "SET-ACTIVE-EXPIRE (0|1)",
        "    Stop and restart the background expiry; expired keys stay invisible.",
        "SLEEP <seconds>",
        "    Stop every worker for so long.",
        "STRINGMATCH-LEN <length> <pattern>",
        "    Match a pattern against a string of 'a's.",
    };
    cmd_reply_help(c, lines, ARRAY_LEN(lines));
}

static void debug_stringmatch(struct cmd_ctx *c)
{
    int64_t n;
    if (!cmd_arg_range(c, 2, 0, 1 << 20, &n, REPLY_NOT_INT))
        return;
    char *text = arena_alloc(c->arena, (size_t)n);
    if (text == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return;
    }
    memset(text, 'a', (size_t)n);
    reply_int(c->reply, str_glob(c->argv[3], (struct str){text, (size_t)n}, false));
}

static void debug_segfault(struct cmd_ctx *c)
{
    raise(SIGSEGV);
}

static void debug_assert(struct cmd_ctx *c)
{
    ASSERT(c == NULL);
}

static void debug_error(struct cmd_ctx *c)
{
    reply_errorf(c->reply, "%.*s", (int)c->argv[2].n, c->argv[2].p);
}

static void debug_log(struct cmd_ctx *c)
{
    log_warning("DEBUG LOG: %.*s", (int)c->argv[2].n, c->argv[2].p);
    reply_ok(c->reply);
}

static void debug_ok(struct cmd_ctx *c)
{
    reply_ok(c->reply);
}

static void debug_check(struct cmd_ctx *c)
{
    store_check(c->a.store);
    reply_ok(c->reply);
}

static void debug_change_repl_id(struct cmd_ctx *c)
{
    char id[HISTORY_ID + 1];
    os_random_hex(id, HISTORY_ID);
    history_init(&ctx_server(c)->repl.history, id);
    reply_ok(c->reply);
}

static void debug_active_expire(struct cmd_ctx *c)
{
    int64_t on;
    if (!cmd_arg_i64(c, 2, &on))
        return;
    store_set_active_expire(c->a.store, on != 0);
    reply_ok(c->reply);
}

void cmd_debug(struct cmd_ctx *c)
{
    static const struct {
        const char *name;
        uint32_t argc_min, argc_max;
        void (*run)(struct cmd_ctx *c);
    } subs[] = {
        {"assert", 2, 2, debug_assert},
        {"change-repl-id", 2, 2, debug_change_repl_id},
        {"check", 2, 2, debug_check},
        {"digest", 2, 2, debug_keys_digest},
        {"digest-value", 2, UINT32_MAX, debug_keys_digest_value},
        {"error", 3, 3, debug_error},
        {"help", 2, 2, debug_help},
        {"jmap", 2, 2, debug_ok},
        {"log", 3, 3, debug_log},
        {"object", 3, 4, debug_keys_object},
        {"panic", 2, 2, debug_assert},
        {"populate", 3, 5, debug_keys_populate},
        {"protocol", 3, 3, debug_protocol},
        {"reload", 2, UINT32_MAX, debug_reload},
        {"segfault", 2, 2, debug_segfault},
        {"set-active-expire", 3, 3, debug_active_expire},
        {"sleep", 3, 3, debug_sleep},
        {"stringmatch-len", 4, 4, debug_stringmatch},
    };
    if (!debug_is_allowed(ctx_conn(c))) {
        reply_error(c->reply, DEBUG_NOT_ALLOWED);
        return;
    }
    for (unsigned i = 0; i < ARRAY_LEN(subs); i++) {
        if (!str_eq_nocase(c->argv[1], str_of(subs[i].name)) || c->argc < subs[i].argc_min ||
            c->argc > subs[i].argc_max)
            continue;
        subs[i].run(c);
        return;
    }
    reply_errorf(c->reply, "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try DEBUG HELP.",
                 (int)c->argv[1].n, c->argv[1].p);
}
