/* GETs that follow each other to one node travel as one MGET, and its reply is taken apart again: a server
 * takes a fifth to a half of the time for it. Each stays a command of its own, with its own attempts,
 * stand-ins and deadline.
 *
 *      queue    ... DEL k   GET a   GET b   GET c       held back until something else is to be encoded,
 *                           `------ held ------'        the buffer is to be sent, or there are MERGE_MAX
 *      bytes    ... DEL k   MGET a b c
 *
 * Not in clusters, where keys of one command must share a slot, and not for stand-ins, whose keys are
 * renamed. */
#include "client/engine.h"

#include "client/error.h"
#include "client/greet.h"

bool engine_may_merge(const struct engine *e, const struct cmd *cmd, const struct topo_route *route)
{
    return (cmd->flags & CMD_MERGES) != 0 && e->topo->kind != LARDER_TOPOLOGY_CLUSTER && !route->standin;
}

void engine_hold(struct conn *c, struct cmd *cmd)
{
    if (c->nheld++ == 0)
        c->held = cmd;
    cmd->wire_at = UINT64_MAX; /* nothing of it can have been sent */
}

static int put_held(struct buf *b, const struct cmd *first, unsigned n)
{
    int err = put_header(b, '*', n + 1);
    if (err == 0)
        err = put_bulk(b, n > 1 ? STR("MGET") : STR("GET"));
    for (const struct cmd *cmd = first; cmd != NULL && err == 0; cmd = cmd->next)
        err = put_bulk(b, cmd->argv[cmd->key]);
    return err;
}

int engine_encode_held(struct conn *c)
{
    struct cmd *first = c->held;
    unsigned n = c->nheld;
    size_t before = c->out.n;
    c->held = NULL;
    c->nheld = 0;
    if (n == 0)
        return 0;
    if (put_held(&c->out, first, n) < 0) {
        c->out.n = before;
        return fail(&c->why, LARDER_ERR_MEMORY, "%s: connection: out of memory", c->address->name);
    }
    first->merged = n;
    for (struct cmd *cmd = first; cmd != NULL; cmd = cmd->next)
        cmd->wire_at = c->encoded;
    c->encoded += c->out.n - before;
    return 0;
}

const struct reader_value *engine_part(const struct reader_value *v, unsigned n, unsigned i)
{
    if (n <= 1 || reader_is_error(v))
        return v;
    return v->kind == READ_ARRAY && v->n == n ? &v->children[i] : NULL;
}
