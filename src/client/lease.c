/* Which half speaks to a node: the cache commands are tried first, and the words "unknown command" settle
 * it. A node that failed is asked anew, since another program may answer at its address by then. */
#include "client/lease.h"

#include "base/alloc.h"
#include "base/num.h"
#include "client/calls.h"
#include "client/envelope.h"
#include "client/error.h"
#include "client/reply.h"
#include "client/tags.h"
#include "os/clock.h"

void lease_answer_release(struct lease_answer *a)
{
    larder_value_free(&a->value);
    larder_value_free(&a->overtaken);
    *a = (struct lease_answer){0};
}

struct str lease_number(char *text, int64_t v)
{
    return (struct str){text, num_put_i64(text, v)};
}

int lease_odd_reply(larder *l, struct str key, const char *what, struct larder_error *err)
{
    return odd_reply(l, topo_owner(&l->topo, key), what, err);
}

int lease_copy_value(struct larder_value *out, struct larder_bytes from, struct larder_error *err)
{
    out->p = mem_strndup(from.p, from.n);
    out->n = out->p != NULL ? from.n : 0;
    return out->p != NULL ? LARDER_OK : fail(err, LARDER_ERR_MEMORY, "out of memory");
}

struct run {
    struct topo *topo;
    larder_reply *reply;
    struct larder_error *err;
    int status;
};

static bool is_unknown(const struct cmd_result *r)
{
    static const char text[] = "ERR unknown command";
    return r->status == LARDER_ERR_SERVER && r->value->text.n >= sizeof text - 1 &&
           memcmp(r->value->text.p, text, sizeof text - 1) == 0;
}

/* Of whoever answered, which while a slot moves is not always the key's owner. One that does not even know
 * EVAL is to be asked anew: another program sits there by now. */
static void note_what_it_speaks(struct topo *t, struct str command, const struct cmd_result *r)
{
    static const char cache[] = "CACHE.";
    bool ours = command.n >= sizeof cache - 1 && memcmp(command.p, cache, sizeof cache - 1) == 0;
    bool unknown = is_unknown(r);
    if (r->value == NULL || (!ours && !unknown))
        return;
    int speaks = !ours ? SPEAKS_UNKNOWN : unknown ? SPEAKS_PLAIN : SPEAKS_CACHE;
    atomic_store_explicit(&topo_node(t, r->node)->speaks, speaks, memory_order_relaxed);
}

static void run_done(struct cmd *cmd, const struct cmd_result *r)
{
    struct run *run = cmd->arg;
    run->status = r->status;
    note_what_it_speaks(run->topo, cmd->argv[0], r);
    if (r->status < 0)
        fail(run->err, r->status, "%s", r->err->text);
    else if ((run->reply = reply_copy(r->value)) == NULL)
        run->status = fail(run->err, LARDER_ERR_MEMORY, "out of memory");
}

int lease_run(larder *l, const struct lease_command *c, larder_reply **reply, struct larder_error *err)
{
    struct run run = {.topo = &l->topo, .err = err};
    struct cmd cmd = {.argv = c->argv, .argc = c->argc, .key = c->at, .node = -1, .flags = CMD_IDEMPOTENT};
    cmd.flags |= c->stand_in ? CMD_STANDIN : 0;
    cmd.standin_argv = c->standin_argv;
    cmd.standin_argc = c->standin_argc;
    cmd.done = run_done;
    cmd.arg = &run;
    if (c->wait_ms > 0) {
        cmd.timeout_ns = c->wait_ms * 1000000 + l->set.command_ns;
        cmd.deadline_ns = os_mono_ns() + cmd.timeout_ns;
    }
    *reply = NULL;
    int status = handle_run(l, &cmd, err);
    *reply = run.reply;
    return status < 0 ? status : run.status;
}

/* ---- which half ---- */

static _Atomic int *speaks(larder *l, struct str key)
{
    int number = topo_owner(&l->topo, key);
    return number >= 0 ? &topo_node(&l->topo, (uint32_t)number)->speaks : NULL;
}

static bool knows_commands(larder *l, struct str key)
{
    _Atomic int *s = speaks(l, key);
    return s == NULL || atomic_load_explicit(s, memory_order_relaxed) != SPEAKS_PLAIN;
}

/* After a cache command: is it to be done the other way? */
static bool turned_down(int status, const struct larder_error *err)
{
    return status == LARDER_ERR_SERVER && strstr(err->text, ": ERR unknown command") != NULL;
}

/* The end of a call by commands, whose error was kept apart until then. */
static int end(int status, const struct larder_error *why, struct larder_error *err)
{
    if (status < 0 && err != NULL)
        *err = *why;
    return status;
}

/* A value that was stored by the scripts and came here with its slot: what it says still holds. Once it is no
 * longer fresh it is taken away, since no lease of the cache commands can refresh it in place. */
static int take_over(larder *l, struct str key, const struct lease_ask *ask, struct lease_answer *out,
                     struct larder_error *err)
{
    struct envelope e;
    struct str rest;
    bool current = true;
    int status = LARDER_OK;
    if (out->value.p == NULL || !envelope_read((struct str){out->value.p, out->value.n}, &e, &rest))
        return LARDER_OK;
    bool fresh = envelope_is_fresh(&e, out->ttl_ms, ask->min_version);
    if (fresh && e.tags.n > 0)
        status = tags_are_current(l, key, e.tags, NULL, &current, err);
    if (status == LARDER_OK && fresh && current) {
        out->state = e.kind == ENVELOPE_VALUE ? LEASE_FRESH : LEASE_NEGATIVE;
        out->version = e.version;
        memmove(out->value.p, rest.p, rest.n);
        out->value.n = rest.n;
        out->value.p[rest.n] = '\0';
        if (e.kind == ENVELOPE_NEGATIVE)
            larder_value_free(&out->value);
        return LARDER_OK;
    }
    lease_answer_release(out);
    if (status == LARDER_OK)
        status = lease_larder_invalidate(l, key, &(struct lease_invalidation){.soft = false}, err);
    return status < 0 ? status : lease_larder_get(l, key, ask, out, err);
}

static int get(larder *l, struct str key, const struct lease_ask *ask, struct lease_answer *out,
               struct larder_error *err)
{
    int status = lease_larder_get(l, key, ask, out, err);
    return status == LARDER_OK ? take_over(l, key, ask, out, err) : status;
}

int lease_look(larder *l, struct str key, const struct lease_ask *ask, struct lease_answer *out,
               struct larder_error *err)
{
    struct lease_ask now = *ask;
    now.wait_ms = 0;
    if (knows_commands(l, key)) {
        struct larder_error why;
        int status = get(l, key, &now, out, &why);
        if (!turned_down(status, &why))
            return end(status, &why, err);
    }
    return lease_redis_look(l, key, ask, out, err);
}

int lease_take(larder *l, struct str key, const struct lease_ask *ask, struct lease_answer *out,
               struct larder_error *err)
{
    if (knows_commands(l, key)) {
        struct larder_error why;
        int status = get(l, key, ask, out, &why);
        if (!turned_down(status, &why))
            return end(status, &why, err);
    }
    return lease_redis_take(l, key, ask, out, err);
}

int lease_fill(larder *l, struct str key, const struct lease_value *v, enum lease_fill *out,
               struct larder_error *err)
{
    if (knows_commands(l, key)) {
        struct larder_error why;
        int status = lease_larder_fill(l, key, v, out, &why);
        if (!turned_down(status, &why))
            return end(status, &why, err);
    }
    return lease_redis_fill(l, key, v, out, err);
}

int lease_fail(larder *l, struct str key, const char *token, int64_t retry_ms, bool stand_in,
               struct larder_error *err)
{
    if (knows_commands(l, key)) {
        struct larder_error why;
        int status = lease_larder_fail(l, key, token, retry_ms, stand_in, &why);
        if (!turned_down(status, &why))
            return end(status, &why, err);
    }
    return lease_redis_fail(l, key, token, retry_ms, stand_in, err);
}

int lease_invalidate(larder *l, struct str key, const struct lease_invalidation *i, struct larder_error *err)
{
    if (knows_commands(l, key)) {
        struct larder_error why;
        int status = lease_larder_invalidate(l, key, i, &why);
        if (!turned_down(status, &why))
            return end(status, &why, err);
    }
    return lease_redis_invalidate(l, key, i, err);
}

/* CACHE.GET without options changes nothing and answers whatever is there. */
static int probe(larder *l, struct str key, struct larder_error *err)
{
    larder_reply *reply;
    struct str argv[] = {STR("CACHE.GET"), key};
    struct lease_command c = {.argv = argv, .argc = 2, .at = 1};
    int status = lease_run(l, &c, &reply, err);
    larder_reply_free(reply);
    return status < 0 ? status : 1;
}

int lease_has_commands(larder *l, struct str key, struct larder_error *err)
{
    _Atomic int *s = speaks(l, key);
    if (s != NULL && atomic_load_explicit(s, memory_order_relaxed) == SPEAKS_CACHE)
        return 1;
    if (knows_commands(l, key)) {
        struct larder_error why;
        int status = probe(l, key, &why);
        if (!turned_down(status, &why))
            return end(status, &why, err);
    }
    return 0;
}

bool lease_is_current(larder *l, struct str key, const struct lease_value *v)
{
    struct larder_error ignored;
    struct lease_answer a = {.state = LEASE_MISS};
    struct lease_ask ask = {.lock_ms = 0};
    bool current = false;
    if (v->tag_block.n > 0)
        return tags_are_current(l, key, v->tag_block, NULL, &current, &ignored) == LARDER_OK && current;
    int status = lease_larder_get(l, key, &ask, &a, &ignored);
    current = status == LARDER_OK && (a.state == LEASE_FRESH || a.state == LEASE_NEGATIVE);
    lease_answer_release(&a);
    return current;
}
