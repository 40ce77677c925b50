/* The calls on one key: a command on the stack, run on a borrowed engine. */
#include "client/calls.h"

#include "base/alloc.h"
#include "base/num.h"
#include "client/error.h"

void larder_value_free(struct larder_value *v)
{
    mem_free(v->p);
    *v = (struct larder_value){NULL, 0};
}

int take_value(struct larder_value *out, const struct reader_value *v)
{
    out->p = mem_strndup(v->text.p, v->text.n);
    out->n = out->p != NULL ? v->text.n : 0;
    return out->p != NULL ? LARDER_OK : LARDER_ERR_MEMORY;
}

struct call {
    larder *l;
    struct larder_value *value; /* where a string goes */
    int64_t integer;            /* where a number goes */
    struct larder_error *err;
    int status;
};

int odd_reply(larder *l, int64_t node, const char *command, struct larder_error *err)
{
    return fail(err, LARDER_ERR_PROTOCOL, "%s: %s: a reply of an unexpected type",
                node >= 0 ? topo_node(&l->topo, (uint32_t)node)->address.name : "the key's node", command);
}

/* The answer of a command that gives a string or nothing, a status, or a number. */
static void call_done(struct cmd *cmd, const struct cmd_result *r)
{
    struct call *call = cmd->arg;
    call->status = r->status;
    if (r->status < 0) {
        fail(call->err, r->status, "%s", r->err->text);
    } else if (r->value->kind == READ_NULL) {
        call->status = LARDER_MISS;
    } else if (r->value->kind == READ_INT) {
        call->integer = r->value->integer;
    } else if (r->value->kind == READ_STATUS) {
        return;
    } else if (call->value == NULL || (r->value->kind != READ_BULK && r->value->kind != READ_VERBATIM)) {
        call->status = odd_reply(call->l, r->node, cmd->argv[0].p, call->err);
    } else {
        call->status = take_value(call->value, r->value);
        if (call->status < 0)
            fail(call->err, call->status, "out of memory");
    }
}

static int run_one(larder *l, const struct str *argv, uint32_t argc, unsigned flags, int64_t ttl_ms,
                   struct call *call)
{
    struct cmd cmd = {.argv = argv, .argc = argc, .key = 1, .node = -1, .flags = flags, .ttl_ms = ttl_ms};
    cmd.done = call_done;
    cmd.arg = call;
    call->l = l;
    int status = handle_run(l, &cmd, call->err);
    return status < 0 ? status : call->status;
}

int resolve_ttl(const larder *l, int64_t ttl_ms, int64_t *out, struct larder_error *err)
{
    *out = ttl_ms == LARDER_TTL_DEFAULT ? l->set.o.ttl_ms : ttl_ms;
    if (ttl_ms < LARDER_TTL_NONE)
        return fail(err, LARDER_ERR_ARGUMENT,
                    "a TTL is in milliseconds, LARDER_TTL_DEFAULT or LARDER_TTL_NONE");
    return 0;
}

int larder_get(larder *l, struct larder_bytes key, struct larder_value *out, struct larder_error *err)
{
    *out = (struct larder_value){NULL, 0};
    struct call call = {.value = out, .err = err};
    return run_one(l, (struct str[]){STR("GET"), str_from(key)}, 2, CMD_GET_FLAGS, 0, &call);
}

int larder_set(larder *l, struct larder_bytes key, struct larder_bytes value, int64_t ttl_ms,
               struct larder_error *err)
{
    struct call call = {.err = err};
    int64_t ttl;
    int status = resolve_ttl(l, ttl_ms, &ttl, err);
    if (status < 0)
        return status;
    return run_one(l, (struct str[]){STR("SET"), str_from(key), str_from(value)}, 3, CMD_WRITE_FLAGS, ttl,
                   &call);
}

/* A number that says whether there was anything: 0 is a miss. */
static int run_found(larder *l, const struct str *argv, uint32_t argc, unsigned flags,
                     struct larder_error *err)
{
    struct call call = {.err = err};
    int status = run_one(l, argv, argc, flags, 0, &call);
    return status == LARDER_OK && call.integer == 0 ? LARDER_MISS : status;
}

int larder_delete(larder *l, struct larder_bytes key, struct larder_error *err)
{
    return run_found(l, (struct str[]){STR("DEL"), str_from(key)}, 2, CMD_WRITE_FLAGS, err);
}

int larder_exists(larder *l, struct larder_bytes key, struct larder_error *err)
{
    return run_found(l, (struct str[]){STR("EXISTS"), str_from(key)}, 2, CMD_GET_FLAGS, err);
}

int larder_expire(larder *l, struct larder_bytes key, int64_t ttl_ms, struct larder_error *err)
{
    char number[NUM_I64_TEXT_MAX];
    int64_t ttl;
    int status = resolve_ttl(l, ttl_ms, &ttl, err);
    if (status < 0)
        return status;
    if (ttl == LARDER_TTL_NONE)
        return run_found(l, (struct str[]){STR("PERSIST"), str_from(key)}, 2, CMD_IDEMPOTENT, err);
    struct str argv[] = {STR("PEXPIRE"), str_from(key), {number, num_put_i64(number, ttl)}};
    return run_found(l, argv, 3, CMD_IDEMPOTENT, err);
}

int larder_incr(larder *l, struct larder_bytes key, int64_t by, int64_t *out, struct larder_error *err)
{
    char number[NUM_I64_TEXT_MAX];
    struct call call = {.err = err};
    struct str argv[] = {STR("INCRBY"), str_from(key), {number, num_put_i64(number, by)}};
    int status = run_one(l, argv, 3, 0, 0, &call);
    *out = call.integer;
    return status;
}
