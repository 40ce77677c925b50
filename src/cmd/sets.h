/* What the files of set commands share. */
#ifndef LARDER_CMD_SETS_H
#define LARDER_CMD_SETS_H

#include "cmd/cmd.h"
#include "value/set.h"

enum set_rates {
    SET_READ_NS = 40,    /* a member into a reply */
    SET_LOOK_NS = 120,   /* is it in another set, out of the cache */
    SET_CHANGE_NS = 250, /* added or removed */
};

/* Members of the set at key k; 0 when there is none. For estimates. */
uint64_t sets_count_at(const struct cmd_ctx *c, uint32_t k);

/* A long look at these sets (NULL: none) begins. On the lane: takes a reference to each and gives the keys'
 * shards back, so that nobody waits for what is only read (cmd_ctx.let_go); true, and the caller owes
 * sets_drop(). Elsewhere false: the shards stay locked. */
bool sets_keep(struct cmd_ctx *c, const struct object *const *of, uint32_t n);
void sets_drop(struct cmd_ctx *c, const struct object *const *of, uint32_t n);

/* A set_visit_fn: the member as a bulk string; arg is the struct reply. */
bool sets_reply_member(void *arg, struct str member);

#endif
