/* A handful of commands that are sent together and whose replies are kept: one round trip to each node that
 * they concern. On the caller's stack, for one thread. */
#ifndef LARDER_CLIENT_BATCH_H
#define LARDER_CLIENT_BATCH_H

#include "client/handle.h"
#include "larder/cache.h"

enum batch_limits { BATCH_ARGS = 6, BATCH_MAX = 3 * LARDER_TAGS_MAX + 2 };

struct batch {
    larder *l;
    unsigned n;
    struct cmd cmds[BATCH_MAX]; /* filled up to n, as everything here */
    struct str argv[BATCH_MAX][BATCH_ARGS];
    larder_reply *replies[BATCH_MAX]; /* owned; NULL: it failed */
    bool optional[BATCH_MAX];         /* an error of the server's is no failure of the batch */
    struct larder_error *err;         /* of the first that failed */
    int status;
};

void batch_init(struct batch *b, larder *l);
/* The next command: the caller fills its argv, of which argv[1] is the key, and may change its flags and
 * node. */
struct cmd *batch_add(struct batch *b, uint32_t argc);
/* 0, or the error of the first that failed. */
int batch_run(struct batch *b, struct larder_error *err);
/* Frees the replies; the batch is empty then. */
void batch_release(struct batch *b);

#endif
