/* Strings as numbers: INCR and its relatives. */
#include "cmd/cmd.h"
#include "cmd/effect.h"
#include "cmd/handlers.h"

#include <math.h>

/* The new text of a number keeps the key's deadline. */
static int put_number(struct cmd_ctx *c, struct str text, unsigned flags)
{
    return store_put_string(&c->a, &c->keys[0], text, NULL, 0, PUT_KEEP_TTL | flags);
}

static void add(struct cmd_ctx *c, int64_t by)
{
    struct entry *e;
    struct block *block;
    int64_t value = 0;
    if (!cmd_write_string(c, 0, &e))
        return;
    if (e != NULL && !num_parse_i64(entry_string(e, &block), &value)) {
        reply_error(c->reply, REPLY_NOT_INT);
        return;
    }
    if (num_add_overflows(value, by, &value)) {
        reply_error(c->reply, "ERR increment or decrement would overflow");
        return;
    }
    char text[NUM_I64_TEXT_MAX];
    int err = put_number(c, (struct str){text, num_put_i64(text, value)}, 0);
    if (err == 0)
        reply_int(c->reply, value);
    else
        cmd_reply_err(c, err);
}

void cmd_incr(struct cmd_ctx *c)
{
    add(c, 1);
}

void cmd_decr(struct cmd_ctx *c)
{
    add(c, -1);
}

void cmd_incrby(struct cmd_ctx *c)
{
    int64_t by;
    if (cmd_arg_i64(c, 2, &by))
        add(c, by);
}

void cmd_decrby(struct cmd_ctx *c)
{
    int64_t by;
    if (!cmd_arg_i64(c, 2, &by))
        return;
    if (by == INT64_MIN)
        reply_error(c->reply, "ERR decrement would overflow");
    else
        add(c, -by);
}

void cmd_incrbyfloat(struct cmd_ctx *c)
{
    struct entry *e;
    struct block *block;
    long double value = 0, by;
    if (!cmd_write_string(c, 0, &e))
        return;
    if (e != NULL && !num_parse_ldouble(entry_string(e, &block), &value)) {
        reply_error(c->reply, REPLY_NOT_FLOAT);
        return;
    }
    if (!cmd_arg_ldouble(c, 2, &by))
        return;
    value += by;
    if (isnan(value) || isinf(value)) {
        reply_error(c->reply, "ERR increment would produce NaN or Infinity");
        return;
    }
    char text[NUM_DOUBLE_TEXT_MAX];
    struct str result = {text, num_put_ldouble(text, value)};
    int err = put_number(c, result, PUT_TEXT);
    if (err != 0) {
        cmd_reply_err(c, err);
        return;
    }
    effect_set(c, result, 0, true); /* another machine might round otherwise */
    reply_bulk(c->reply, result);
}
