/* What a write did, as replicas and logs are told: its effect.
 *
 * Usually that is the request itself, and dispatch sees to it: when a CMD_WRITE command has changed
 * something (store/change.h) and has not said otherwise, its arguments are logged as they came. A handler
 * says otherwise, after its change has succeeded and before it returns, when the request would do
 * something else later or elsewhere:
 *
 *      times        EXPIRE 10 -> PEXPIREAT at; SET EX -> SET PXAT; in the past -> DEL
 *      choices      SPOP -> SREM of what was taken
 *      rounding     INCRBYFLOAT -> SET of the result
 *      conditions   SET NX -> SET; GETDEL -> DEL; GETEX -> PEXPIREAT or PERSIST
 *
 * These functions copy, do nothing when nobody keeps a log, and never fail: without memory the log
 * is broken off and replicas start anew. */
#ifndef LARDER_CMD_EFFECT_H
#define LARDER_CMD_EFFECT_H

#include "cmd/cmd.h"
#include "cmd/command.h"
#include "repl/unit.h"

/* This is (a part of) what the command did, instead of the request. */
void effect_add(struct cmd_ctx *c, const struct str *argv, uint32_t argc);
/* The command changed nothing that others should know. */
static inline void effect_none(struct cmd_ctx *c)
{
    c->has_effect = true;
}

/* For key number 0, which nearly all of them concern. */
void effect_del(struct cmd_ctx *c);
void effect_deadline(struct cmd_ctx *c, int64_t deadline_ms); /* 0: PERSIST */
/* deadline 0: none, or the old one with keep_ttl. */
void effect_set(struct cmd_ctx *c, struct str value, int64_t deadline_ms, bool keep_ttl);

/* ---- for dispatch: open, run, reserve with the locks held, publish without ---- */

void effect_run_logged(struct cmd_ctx *c);
static inline void effect_open(struct cmd_ctx *c)
{
    if (unlikely(c->unit != NULL))
        unit_open(c->unit);
}
/* Run the command's handler; logged: note what it did. */
static inline void effect_run(struct cmd_ctx *c)
{
    if (likely(c->unit == NULL))
        c->cmd->fn(c);
    else
        effect_run_logged(c);
}
static inline void effect_reserve(struct cmd_ctx *c)
{
    if (unlikely(c->unit != NULL))
        unit_reserve(c->unit);
}
static inline void effect_publish(struct cmd_ctx *c)
{
    if (unlikely(c->unit != NULL))
        unit_publish(c->unit);
}

#endif
