/* Many keys: one small command a key, all submitted before anything is sent, so that each node gets
 * its share in one write and all nodes work at once.
 *
 * Rejected: MGET and MSET of the caller's keys as commands. In a cluster keys of one command must share a
 * slot, on a ring a key whose node fails has a stand-in of its own, and one command cannot say which of its
 * keys went wrong. Outside of clusters GETs are merged on their way (engine_merge.c). */
#include "base/alloc.h"
#include "client/calls.h"
#include "client/error.h"

enum { MANY_ARGS = 3 };

struct many {
    struct larder_item *items;
    struct cmd *cmds;
    struct str (*argv)[MANY_ARGS];
    struct larder_error *err; /* of the first that failed */
    int status;
};

static void many_done(struct cmd *cmd, const struct cmd_result *r)
{
    struct many *m = cmd->arg;
    struct larder_item *item = &m->items[cmd - m->cmds];
    item->status = r->status;
    if (r->status == LARDER_OK && r->value->kind == READ_BULK)
        item->status = take_value(&item->found, r->value);
    else if (r->status == LARDER_OK &&
             (r->value->kind == READ_NULL || (r->value->kind == READ_INT && r->value->integer == 0)))
        item->status = LARDER_MISS;
    else if ((cmd->flags & CMD_MERGES) != 0 && r->status == LARDER_ERR_SERVER &&
             str_begins(r->value->text, STR("WRONGTYPE")))
        item->status = LARDER_MISS; /* as MGET has it */
    if (item->status < 0 && m->status == 0)
        m->status = fail(m->err, item->status, "%s", r->err != NULL ? r->err->text : "out of memory");
}

static int run_many(larder *l, struct larder_item *items, size_t n, struct str name, unsigned flags,
                    int64_t ttl_ms, struct larder_error *err)
{
    bool values = ttl_ms != 0;
    struct many m = {.items = items, .err = err};
    if (n > ENGINE_LIVE_MAX)
        return fail(err, LARDER_ERR_ARGUMENT, "too many keys at once: at most %d", ENGINE_LIVE_MAX);
    m.cmds = mem_zalloc(n * sizeof *m.cmds);
    m.argv = mem_alloc(n * sizeof *m.argv);
    int status = m.cmds == NULL || m.argv == NULL ? fail(err, LARDER_ERR_MEMORY, "out of memory") : 0;
    for (size_t i = 0; i < n; i++) {
        items[i].found = (struct larder_value){NULL, 0};
        items[i].status = status;
        if (status < 0)
            continue;
        m.argv[i][0] = name;
        m.argv[i][1] = str_from(items[i].key);
        m.argv[i][2] = str_from(items[i].value);
        m.cmds[i] =
            (struct cmd){.argv = m.argv[i], .argc = values ? 3 : 2, .key = 1, .node = -1, .flags = flags};
        m.cmds[i].ttl_ms = ttl_ms;
        m.cmds[i].done = many_done;
        m.cmds[i].arg = &m;
        m.cmds[i].next = i + 1 < n ? &m.cmds[i + 1] : NULL;
    }
    if (status == 0 && n > 0)
        status = handle_run(l, m.cmds, err);
    if (status < 0)
        for (size_t i = 0; i < n; i++)
            items[i].status = status;
    mem_free(m.cmds);
    mem_free(m.argv);
    return status < 0 ? status : m.status;
}

int larder_mget(larder *l, struct larder_item *items, size_t n, struct larder_error *err)
{
    return run_many(l, items, n, STR("GET"), CMD_GET_FLAGS | CMD_MERGES, 0, err);
}

int larder_mset(larder *l, struct larder_item *items, size_t n, int64_t ttl_ms, struct larder_error *err)
{
    int64_t ttl;
    int status = resolve_ttl(l, ttl_ms, &ttl, err);
    return status < 0 ? status : run_many(l, items, n, STR("SET"), CMD_WRITE_FLAGS, ttl, err);
}

int larder_mdel(larder *l, struct larder_item *items, size_t n, struct larder_error *err)
{
    return run_many(l, items, n, STR("DEL"), CMD_WRITE_FLAGS, 0, err);
}

void larder_items_release(struct larder_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        larder_value_free(&items[i].found);
}
