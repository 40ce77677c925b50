#include "cmd/cmd.h"

#include "base/assert.h"
#include "cmd/command.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    /* Up to here copying a value into the reply is cheaper than carrying a reference. */
    REPLY_COPY_MAX = 4096,
};

/* ---- arguments ------------------------------------------------------------------ */

bool cmd_arg_i64(struct cmd_ctx *c, uint32_t i, int64_t *out)
{
    if (likely(num_parse_i64(c->argv[i], out)))
        return true;
    reply_error(c->reply, REPLY_NOT_INT);
    return false;
}

bool cmd_arg_range(struct cmd_ctx *c, uint32_t i, int64_t min, int64_t max, int64_t *out, const char *error)
{
    bool is_number = num_parse_i64(c->argv[i], out);
    if (is_number && *out >= min && *out <= max)
        return true;
    if (error != NULL)
        reply_error(c->reply, error);
    else if (!is_number)
        reply_error(c->reply, REPLY_NOT_INT);
    else
        reply_errorf(c->reply, "ERR value is out of range, value must between %" PRId64 " and %" PRId64, min,
                     max);
    return false;
}

bool cmd_arg_ldouble(struct cmd_ctx *c, uint32_t i, long double *out)
{
    if (num_parse_ldouble(c->argv[i], out))
        return true;
    reply_error(c->reply, REPLY_NOT_FLOAT);
    return false;
}

bool cmd_arg_database(struct cmd_ctx *c, uint32_t i, uint32_t *out)
{
    int64_t n;
    if (!cmd_arg_range(c, i, INT32_MIN, INT32_MAX, &n, NULL))
        return false;
    if (n < 0 || n >= c->limits->databases) {
        reply_error(c->reply, REPLY_DB_RANGE);
        return false;
    }
    *out = (uint32_t)n;
    return true;
}

struct block *cmd_arg_block(const struct cmd_ctx *c, uint32_t i)
{
    for (uint32_t k = 0; k < c->nblocks; k++)
        if (c->blocks[k]->data == c->argv[i].p)
            return c->blocks[k];
    return NULL;
}

static bool bad_deadline(struct cmd_ctx *c)
{
    reply_errorf(c->reply, "ERR invalid expire time in '%s' command", c->cmd->name);
    return false;
}

bool cmd_arg_deadline(struct cmd_ctx *c, uint32_t i, int64_t unit_ms, bool absolute, bool must_be_positive,
                      int64_t *deadline_ms)
{
    int64_t at;
    if (!cmd_arg_i64(c, i, &at))
        return false;
    if (must_be_positive && at <= 0)
        return bad_deadline(c);
    if (num_mul_overflows(at, unit_ms, &at))
        return bad_deadline(c);
    if (!absolute && num_add_overflows(at, c->a.now_ms, &at))
        return bad_deadline(c);
    *deadline_ms = at;
    return true;
}

/* ---- lookups -------------------------------------------------------------------- */

static struct entry *counted(struct cmd_ctx *c, struct entry *e)
{
    counter_add(e != NULL ? &c->counters->hits : &c->counters->misses, 1);
    return e;
}

struct entry *cmd_find(struct cmd_ctx *c, uint32_t k)
{
    DEBUG_ASSERT(k < c->nkeys);
    return counted(c, store_find(&c->a, &c->keys[k]));
}

struct entry *cmd_peek(struct cmd_ctx *c, uint32_t k)
{
    DEBUG_ASSERT(k < c->nkeys);
    return counted(c, store_peek(&c->a, &c->keys[k]));
}

static bool check_string(struct cmd_ctx *c, const struct entry *e)
{
    if (likely(e == NULL || entry_is_string(e)))
        return true;
    reply_error(c->reply, REPLY_WRONGTYPE);
    return false;
}

bool cmd_find_string(struct cmd_ctx *c, uint32_t k, struct entry **e)
{
    *e = cmd_find(c, k);
    return check_string(c, *e);
}

bool cmd_write_string(struct cmd_ctx *c, uint32_t k, struct entry **e)
{
    DEBUG_ASSERT(k < c->nkeys);
    *e = store_find(&c->a, &c->keys[k]);
    return check_string(c, *e);
}

static bool check_kind(struct cmd_ctx *c, const struct entry *e, enum object_kind kind)
{
    const struct object *o = e != NULL ? entry_object(e) : NULL;
    if (likely(e == NULL || (o != NULL && o->kind == kind)))
        return true;
    reply_error(c->reply, REPLY_WRONGTYPE);
    return false;
}

bool cmd_find_object(struct cmd_ctx *c, uint32_t k, enum object_kind kind, struct entry **e)
{
    *e = cmd_find(c, k);
    return check_kind(c, *e, kind);
}

bool cmd_write_object(struct cmd_ctx *c, uint32_t k, enum object_kind kind, struct entry **e)
{
    DEBUG_ASSERT(k < c->nkeys);
    *e = store_find(&c->a, &c->keys[k]);
    return check_kind(c, *e, kind);
}

/* ---- replies -------------------------------------------------------------------- */

void cmd_reply_part(struct cmd_ctx *c, struct block *block, struct str part)
{
    if (unlikely(block != NULL && part.n > REPLY_COPY_MAX))
        reply_block(c->reply, block, part);
    else
        reply_bulk(c->reply, part);
}

void cmd_reply_value(struct cmd_ctx *c, const struct entry *e)
{
    struct block *block;
    struct str value = entry_string(e, &block);
    cmd_reply_part(c, block, value);
}

void cmd_reply_err(struct cmd_ctx *c, int err)
{
    ASSERT(err < 0);
    if (err == ERR_OOM)
        reply_error(c->reply, REPLY_NOMEM);
    else
        reply_errorf(c->reply, "ERR %s", err_name(err));
}

void cmd_reply_status(struct cmd_ctx *c, int err)
{
    if (likely(err == 0))
        reply_ok(c->reply);
    else
        cmd_reply_err(c, err);
}

void cmd_reply_arity(struct cmd_ctx *c)
{
    command_reply_arity(c->reply, c->cmd);
}

/* The container's name as the client wrote it, in capitals, cut to a sane length. */
static struct str shouted(const struct cmd_ctx *c, char dst[COMMAND_NAME_MAX])
{
    struct str name = c->argv[0];
    size_t n = name.n < COMMAND_NAME_MAX ? name.n : COMMAND_NAME_MAX;
    for (size_t i = 0; i < n; i++)
        dst[i] = (char)(name.p[i] >= 'a' && name.p[i] <= 'z' ? name.p[i] - 'a' + 'A' : name.p[i]);
    return (struct str){dst, n};
}

void cmd_reply_help(struct cmd_ctx *c, const char *const *lines, uint32_t n)
{
    char title[COMMAND_NAME_MAX + 64], name[COMMAND_NAME_MAX];
    struct str container = shouted(c, name);
    snprintf(title, sizeof title,
             "%.*s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", (int)container.n, container.p);
    reply_array(c->reply, n + 3);
    reply_status(c->reply, title);
    for (uint32_t i = 0; i < n; i++)
        reply_status(c->reply, lines[i]);
    reply_status(c->reply, "HELP");
    reply_status(c->reply, "    Prints this help.");
}

void cmd_reply_unknown_sub(struct cmd_ctx *c)
{
    char name[COMMAND_NAME_MAX];
    struct str container = shouted(c, name), sub = c->argv[1];
    reply_errorf(c->reply, "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try %.*s HELP.",
                 sub.n < 128 ? (int)sub.n : 128, sub.p, (int)container.n, container.p);
}
