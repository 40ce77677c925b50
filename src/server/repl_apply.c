/* The stream, applied: unit by unit, in order, each under all its locks.
 *
 * A primary may be hostile or broken. What it may do is write keys; any other command is skipped, and one
 * that fails here although it did not fail there is logged and skipped, since Redis does the same. Every
 * unit's bytes go into our own change log as they came, so replicas of this node see the same stream at the
 * same offsets. */
#include "server/repl.h"

#include "base/assert.h"
#include "base/log.h"
#include "cache/note.h"
#include "cmd/command.h"
#include "os/clock.h"
#include "os/random.h"
#include "server/dispatch.h"
#include "server/server.h"

static void block_ref(struct block *b)
{
    block_get(b);
}

static void block_unref(struct block *b)
{
    block_put(b);
}

void repl_apply_init(struct repl *r)
{
    struct server *s = r->server;
    uint64_t seed;
    os_random(&seed, sizeof seed);
    rng_init(&r->rng, seed);
    arena_init(&r->arena);
    reply_init(&r->reply, block_ref, block_unref);
    r->reply.mute = true;
    r->session.proto = 2;
    r->session.authenticated = true;
    r->ctx = (struct cmd_ctx){
        .a = {.store = s->store,
              .app = store_appender(s->store, r->index),
              .expired = EXPIRED_SHOW,
              .no_touch = true},
        .session = &r->session,
        .reply = &r->reply,
        .arena = &r->arena,
        .rng = &r->rng,
        .counters = &r->counters,
        .limits = &s->limits,
        .cache = s->cache,
        .in_exec = true,
    };
}

void repl_apply_release(struct repl *r)
{
    reply_release(&r->reply);
    arena_release(&r->arena);
}

/* A write that needs no client: what no transaction can hold (MIGRATE) is no effect either. */
static bool is_ours(const struct command *cmd, const struct stream_command *sc)
{
    return cmd != NULL && (cmd->flags & CMD_WRITE) && command_arity_ok(cmd, sc->argc) &&
           !(cmd->flags & (CMD_SELF_LOCK | CMD_NOT_QUEUED | CMD_LANE));
}

static bool is_note(const struct stream_command *sc)
{
    return str_is(sc->argv[0], "PING") && sc->argc == 2 && note_is(sc->argv[1]);
}

/* The shards of all commands. False: too many, or a command that names none, or all. */
static bool plan(const struct repl *r, const struct stream_unit *u, struct lockset *ls)
{
    lockset_init(ls);
    for (uint32_t i = 0; i < u->n; i++) {
        const struct stream_command *sc = &u->commands[i];
        const struct command *cmd = command_resolve(sc->argv, sc->argc);
        struct keyref refs[64];
        uint32_t n = 0;
        if (is_note(sc) && note_is_ban(sc->argv[1]))
            return false;
        if (!is_ours(cmd, sc))
            continue;
        if ((cmd->flags & CMD_EXCLUSIVE) ||
            command_keys(cmd, sc->argv, sc->argc, refs, ARRAY_LEN(refs), &n) == ERR_FULL)
            return false;
        for (uint32_t k = 0; k < n; k++)
            lockset_add(ls, store_key_shard(r->ctx.a.store, sc->argv[refs[k].index]));
    }
    return !ls->overflow;
}

static void note_failure(struct repl *r, const struct stream_command *sc, const char *what)
{
    if (r->replica.errors++ < REPL_ERRORS_LOGGED)
        log_warning("A command from the primary %s here and was skipped: '%.*s'. This node may differ from "
                    "its primary "
                    "now; REPLICAOF to it again makes a full copy.",
                    what, sc->argv[0].n < 64 ? (int)sc->argv[0].n : 64, sc->argv[0].p);
}

static bool select_db(struct repl *r, const struct stream_command *sc)
{
    int64_t db;
    if (sc->argc != 2 || !num_parse_i64(sc->argv[1], &db) || db < 0 || db >= r->server->limits.databases)
        return false;
    r->session.db = (uint32_t)db;
    return true;
}

static void run_write(struct repl *r, const struct command *cmd, const struct stream_command *sc)
{
    struct cmd_ctx *c = &r->ctx;
    c->cmd = cmd;
    c->argv = sc->argv;
    c->argc = sc->argc;
    r->reply.errored = false;
    bool noted = r->note.p != NULL, instead = false;
    if (!dispatch_hash_keys(c, false))
        r->reply.errored = true;
    else if (noted && c->nkeys == 1)
        instead = note_apply_instead(c->cache, &c->a, &c->keys[0], r->note);
    if (!r->reply.errored && !instead)
        cmd->fn(c);
    if (r->reply.errored)
        note_failure(r, sc, "failed");
    else if (noted && c->nkeys > 0)
        note_apply(c->cache, &c->a, &c->keys[0], r->note);
    r->note.p = NULL;
    reply_clear(&r->reply);
}

/* False: the stream cannot be followed any further. */
static bool run_one(struct repl *r, const struct stream_command *sc)
{
    if (str_is(sc->argv[0], "SELECT"))
        return select_db(r, sc);
    if (is_note(sc)) {
        int rc = note_apply_alone(r->server->cache, &r->ctx.a, r->session.db, sc->argv[1]);
        if (rc == 0)
            r->note = sc->argv[1]; /* of the next command's key */
        return rc >= 0;
    }
    if (str_is(sc->argv[0], "PING") && sc->argc == 2 &&
        (repl_lineage_take_note(r, sc->argv[1]) || moves_take_note(r, sc->argv[1])))
        return true;
    if (str_is(sc->argv[0], "PING") || str_is(sc->argv[0], "PUBLISH") || str_is(sc->argv[0], "SPUBLISH"))
        return true;
    if (str_is(sc->argv[0], "REPLCONF")) {
        if (sc->argc >= 2 && str_is(sc->argv[1], "GETACK"))
            r->replica.ack_asked = true;
        return true;
    }
    const struct command *cmd = command_resolve(sc->argv, sc->argc);
    if (is_ours(cmd, sc))
        run_write(r, cmd, sc);
    else
        note_failure(r, sc, "is not known");
    return true;
}

static bool run_unit(struct repl *r, const struct stream_unit *u)
{
    r->ctx.a.now_ms = os_wall_ms();
    r->note = (struct str){NULL, 0};
    for (uint32_t i = 0; i < u->n; i++)
        if (!run_one(r, &u->commands[i]))
            return false;
    return true;
}

static enum apply_result apply_unit(struct repl *r, const struct stream_unit *u, bool alone, const char **why)
{
    struct store *store = r->ctx.a.store;
    struct lockset ls;
    bool fits = plan(r, u, &ls), ok;
    if (alone) {
        ok = run_unit(r, u);
    } else if (!fits) {
        return APPLY_ALONE;
    } else if (!store_lock(store, &ls)) {
        return APPLY_BUSY;
    } else {
        ok = run_unit(r, u);
        store_unlock(store, &ls);
    }
    *why = "the stream selects a database that this node does not have; raise 'databases'; or there is no "
           "memory for a ban";
    return ok ? APPLY_DONE : APPLY_BROKEN;
}

enum apply_result repl_apply_one(struct repl *r, bool alone, const char **why)
{
    struct replica *rep = &r->replica;
    struct stream_unit u;
    arena_reset(&r->arena);
    struct str in = {rep->in.p + rep->at, rep->in.n - rep->at};
    if (in.n == 0 || rep->in.n < rep->wait_for)
        return APPLY_DONE;
    int rc = stream_next(&rep->stream, in, &r->arena, &u);
    if (rc == ERR_AGAIN) {
        rep->wait_for = in.n < REPL_UNIT_LONG ? 0 : rep->in.n + in.n;
        return APPLY_DONE;
    }
    *why = rc == ERR_PROTO ? rep->stream.error : "out of memory";
    if (rc != 0)
        return APPLY_BROKEN;
    rep->wait_for = 0;
    enum apply_result result = apply_unit(r, &u, alone, why);
    if (result != APPLY_DONE)
        return result;
    changelog_append(&r->log, r->index, in.p, u.bytes);
    if (rep->ack_asked) /* with the question itself: a FAILOVER waits until we have every byte */
        link_ack(&rep->link, repl_offset(r));
    rep->ack_asked = false;
    rep->at += u.bytes;
    return APPLY_MORE;
}

enum apply_result repl_apply(struct repl *r, const char **why)
{
    struct replica *rep = &r->replica;
    int64_t until = os_mono_ns() + REPL_SLICE_US * 1000LL;
    enum apply_result result = APPLY_MORE;
    for (unsigned n = 1; result == APPLY_MORE && (n % 64 != 0 || os_mono_ns() < until); n++)
        result = repl_apply_one(r, false, why);
    buf_consume(&rep->in, rep->at);
    rep->at = 0;
    if (rep->in.n == 0 && rep->in.cap > REPL_UNIT_LONG)
        buf_release(&rep->in);
    return result;
}
