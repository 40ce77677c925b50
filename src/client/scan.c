/* All keys: SCAN from 0 to 0 on each primary, one after the other. */
#include "base/alloc.h"
#include "base/num.h"
#include "client/calls.h"
#include "client/error.h"
#include "client/handle.h"
#include "client/reply.h"

enum { SCAN_COUNT = 500, CURSOR_TEXT_MAX = 24 };

struct scan {
    larder_reply *reply;
    struct larder_error *err;
    int status;
};

static void scan_done(struct cmd *cmd, const struct cmd_result *r)
{
    struct scan *s = cmd->arg;
    s->status = r->status;
    if (r->status < 0)
        fail(s->err, r->status, "%s", r->err->text);
    else if ((s->reply = reply_copy(r->value)) == NULL)
        s->status = fail(s->err, LARDER_ERR_MEMORY, "out of memory");
}

/* One step: `cursor` in and out. The keys stay in *reply, owned by the caller. */
static int scan_step(larder *l, uint32_t node, const char *pattern, char cursor[CURSOR_TEXT_MAX],
                     larder_reply **reply, struct larder_error *err)
{
    struct str argv[6] = {STR("SCAN"), str_of(cursor), STR("COUNT"), STR("500"), STR("MATCH")};
    struct scan s = {.err = err};
    struct cmd cmd = {.argv = argv, .argc = pattern != NULL ? 6 : 4, .key = -1, .node = (int32_t)node};
    _Static_assert(SCAN_COUNT == 500, "the text above");
    argv[5] = pattern != NULL ? str_of(pattern) : STR("*");
    cmd.flags = CMD_IDEMPOTENT;
    cmd.done = scan_done;
    cmd.arg = &s;
    int status = handle_run(l, &cmd, err);
    if (status == 0)
        status = s.status;
    if (status < 0)
        return status;
    *reply = s.reply;
    struct larder_bytes next = larder_reply_text(larder_reply_child(s.reply, 0));
    if (larder_reply_kind(larder_reply_child(s.reply, 1)) != LARDER_ARRAY || next.n == 0 ||
        next.n >= CURSOR_TEXT_MAX)
        return odd_reply(l, node, "SCAN", err);
    memcpy(cursor, next.p, next.n + 1);
    return 0;
}

static int scan_node(larder *l, uint32_t node, const char *pattern,
                     int (*each)(void *arg, struct larder_bytes key), void *arg, struct larder_error *err)
{
    char cursor[CURSOR_TEXT_MAX] = "0";
    int status = 0;
    do {
        larder_reply *reply = NULL;
        status = scan_step(l, node, pattern, cursor, &reply, err);
        const larder_reply *keys = larder_reply_child(reply, 1);
        for (size_t i = 0; status == 0 && i < larder_reply_count(keys); i++)
            status = each(arg, larder_reply_text(larder_reply_child(keys, i)));
        larder_reply_free(reply);
    } while (status == 0 && strcmp(cursor, "0") != 0);
    return status;
}

int larder_scan(larder *l, const char *pattern, int (*each)(void *arg, struct larder_bytes key), void *arg,
                struct larder_error *err)
{
    uint32_t *nodes = mem_alloc(TOPO_NODES_MAX * sizeof *nodes);
    if (nodes == NULL)
        return fail(err, LARDER_ERR_MEMORY, "out of memory");
    unsigned n = topo_primaries(&l->topo, nodes, TOPO_NODES_MAX);
    int status = 0;
    for (unsigned i = 0; i < n && status == 0; i++)
        status = scan_node(l, nodes[i], pattern, each, arg, err);
    mem_free(nodes);
    return status;
}
