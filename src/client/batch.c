#include "client/batch.h"

#include "base/assert.h"
#include "client/error.h"
#include "client/reply.h"

void batch_init(struct batch *b, larder *l)
{
    b->l = l;
    b->n = 0;
    b->status = 0;
    b->err = NULL;
}

static void done(struct cmd *cmd, const struct cmd_result *r)
{
    struct batch *b = cmd->arg;
    size_t i = (size_t)(cmd - b->cmds);
    if (r->status == LARDER_ERR_SERVER && b->optional[i])
        return;
    if (r->status == 0 && (b->replies[i] = reply_copy(r->value)) != NULL)
        return;
    if (b->status == 0 && r->status < 0)
        b->status = fail(b->err, r->status, "%s", r->err->text);
    else if (b->status == 0)
        b->status = fail(b->err, LARDER_ERR_MEMORY, "out of memory");
}

struct cmd *batch_add(struct batch *b, uint32_t argc)
{
    ASSERT(b->n < BATCH_MAX && argc <= BATCH_ARGS);
    struct cmd *cmd = &b->cmds[b->n];
    *cmd = (struct cmd){.argv = b->argv[b->n], .argc = argc, .key = 1, .node = -1, .flags = CMD_IDEMPOTENT};
    cmd->done = done;
    cmd->arg = b;
    if (b->n > 0)
        b->cmds[b->n - 1].next = cmd;
    b->replies[b->n] = NULL;
    b->optional[b->n++] = false;
    return cmd;
}

int batch_run(struct batch *b, struct larder_error *err)
{
    b->err = err;
    int status = b->n > 0 ? handle_run(b->l, b->cmds, err) : 0;
    return status < 0 ? status : b->status;
}

void batch_release(struct batch *b)
{
    for (unsigned i = 0; i < b->n; i++)
        larder_reply_free(b->replies[i]);
    b->n = 0;
    b->status = 0;
}
