/* Deadlines: EXPIRE and its relatives, TTL and its relatives, PERSIST. */
#include "cmd/cmd.h"
#include "cmd/effect.h"
#include "cmd/handlers.h"

#include <limits.h>

enum condition { IF_NX = 1, IF_XX = 2, IF_GT = 4, IF_LT = 8 };

static bool parse_conditions(struct cmd_ctx *c, unsigned *out)
{
    unsigned bits = 0;
    for (uint32_t i = 3; i < c->argc; i++) {
        if (cmd_arg_is(c, i, STR("NX")))
            bits |= IF_NX;
        else if (cmd_arg_is(c, i, STR("XX")))
            bits |= IF_XX;
        else if (cmd_arg_is(c, i, STR("GT")))
            bits |= IF_GT;
        else if (cmd_arg_is(c, i, STR("LT")))
            bits |= IF_LT;
        else {
            struct str word = c->argv[i];
            reply_errorf(c->reply, "ERR Unsupported option %.*s", word.n < INT_MAX ? (int)word.n : INT_MAX,
                         word.p);
            return false;
        }
    }
    *out = bits;
    if ((bits & IF_NX) && (bits & (IF_XX | IF_GT | IF_LT)))
        reply_error(c->reply, "ERR NX and XX, GT or LT options at the same time are not compatible");
    else if ((bits & IF_GT) && (bits & IF_LT))
        reply_error(c->reply, "ERR GT and LT options at the same time are not compatible");
    else
        return true;
    return false;
}

/* A key without a deadline lives for ever: longer than GT can ask for, so LT always holds. */
static bool conditions_hold(unsigned bits, int64_t old, int64_t fresh)
{
    if ((bits & IF_NX) && old != 0)
        return false;
    if ((bits & IF_XX) && old == 0)
        return false;
    if ((bits & IF_GT) && (old == 0 || fresh <= old))
        return false;
    return !((bits & IF_LT) && old != 0 && fresh >= old);
}

/* EXPIREAT 0 is a deadline, too. */
static bool is_over(const struct cmd_ctx *c, int64_t deadline)
{
    return deadline == 0 || cmd_is_over(c, deadline);
}

static void expire(struct cmd_ctx *c, int64_t unit_ms, bool absolute)
{
    unsigned conditions;
    int64_t deadline;
    if (!parse_conditions(c, &conditions) || !cmd_arg_deadline(c, 2, unit_ms, absolute, false, &deadline))
        return;
    const struct entry *e = store_find(&c->a, &c->keys[0]);
    if (e == NULL || !conditions_hold(conditions, entry_deadline(e), deadline)) {
        reply_int(c->reply, 0);
        return;
    }
    int err = 0;
    if (!is_over(c, deadline)) {
        err = store_set_expire(&c->a, &c->keys[0], deadline);
        if (err == 0)
            effect_deadline(c, deadline);
    } else if (store_delete(&c->a, &c->keys[0])) {
        effect_del(c);
    }
    if (err == 0)
        reply_int(c->reply, 1);
    else
        cmd_reply_err(c, err);
}

void cmd_expire(struct cmd_ctx *c)
{
    expire(c, 1000, false);
}

void cmd_pexpire(struct cmd_ctx *c)
{
    expire(c, 1, false);
}

void cmd_expireat(struct cmd_ctx *c)
{
    expire(c, 1000, true);
}

void cmd_pexpireat(struct cmd_ctx *c)
{
    expire(c, 1, true);
}

void cmd_persist(struct cmd_ctx *c)
{
    const struct entry *e = store_find(&c->a, &c->keys[0]);
    if (e == NULL || entry_deadline(e) == 0) {
        reply_int(c->reply, 0);
        return;
    }
    int err = store_set_expire(&c->a, &c->keys[0], 0);
    if (err == 0)
        reply_int(c->reply, 1);
    else
        cmd_reply_err(c, err);
}

/* -2: no key, -1: no deadline. Seconds are rounded to the nearest. */
static void reply_ttl(struct cmd_ctx *c, bool absolute, bool in_ms)
{
    const struct entry *e = cmd_peek(c, 0);
    int64_t at = e == NULL ? 0 : entry_deadline(e);
    if (at == 0) {
        reply_int(c->reply, e == NULL ? -2 : -1);
        return;
    }
    int64_t ms = absolute ? at : at - c->a.now_ms;
    if (ms < 0)
        ms = 0;
    reply_int(c->reply, in_ms ? ms : ms / 1000 + (ms % 1000 >= 500));
}

void cmd_ttl(struct cmd_ctx *c)
{
    reply_ttl(c, false, false);
}

void cmd_pttl(struct cmd_ctx *c)
{
    reply_ttl(c, false, true);
}

void cmd_expiretime(struct cmd_ctx *c)
{
    reply_ttl(c, true, false);
}

void cmd_pexpiretime(struct cmd_ctx *c)
{
    reply_ttl(c, true, true);
}
