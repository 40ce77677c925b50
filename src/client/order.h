/* An order: a command together with its own copy of its arguments and what became of it. What
 * pipelines and event loops keep. */
#ifndef LARDER_CLIENT_ORDER_H
#define LARDER_CLIENT_ORDER_H

#include "client/handle.h"

struct order {
    struct cmd cmd;
    struct order *next; /* the owner's */
    int status;
    larder_reply *reply; /* owned */
    struct larder_error err;
    struct str argv[]; /* and the bytes behind them */
};

/* Returned owned, with cmd filled but for done and arg. 0 or an error with err. */
int order_new(larder *l, int argc, const struct larder_bytes *argv, const struct larder_call *call,
              struct order **out, struct larder_error *err);
void order_free(struct order *o); /* NULL is fine */

/* As if it had not run yet. */
void order_free_results(struct order *o);

/* Keep what became of it; called from done(). */
void order_keep(struct order *o, const struct cmd_result *r);

#endif
