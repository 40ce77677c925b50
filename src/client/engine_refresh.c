/* Reading the slot map: one engine at a time, for all of the handle. The others go on with the map
 * as it is and with what MOVED tells them. */
#include "client/engine.h"

#include "os/clock.h"

static void begin(struct engine *e, bool shards, int64_t now_ns);

static void read_done(struct cmd *cmd, const struct cmd_result *r)
{
    struct engine *e = cmd->arg;
    const struct reader_value *map = r->status == LARDER_OK ? r->value : NULL;
    bool shards = e->refresh_shards;
    int64_t now_ns = os_mono_ns();
    e->refreshing = false;
    /* Servers before 7.0 answer CLUSTER SHARDS with an error: the older question, at once. */
    if (shards && r->status == LARDER_ERR_SERVER) {
        begin(e, false, now_ns);
        return;
    }
    (void)topo_refreshed(e->topo, map, shards, map != NULL ? r->node : 0,
                         now_ns); /* if not, it is due again */
}

static void begin(struct engine *e, bool shards, int64_t now_ns)
{
    e->refreshing = true;
    e->refresh_shards = shards;
    e->refresh_argv[0] = STR("CLUSTER");
    e->refresh_argv[1] = shards ? STR("SHARDS") : STR("SLOTS");
    e->refresh =
        (struct cmd){.argv = e->refresh_argv, .argc = 2, .key = -1, .node = -1, .done = read_done, .arg = e};
    e->refresh.flags = CMD_IDEMPOTENT | CMD_INTERNAL;
    if (e->waits && e->latest != NULL) /* the caller waits for this too, and no longer than he said */
        e->refresh.deadline_ns = e->latest->deadline_ns;
    engine_submit(e, &e->refresh, now_ns);
}

void engine_refresh(struct engine *e, int64_t now_ns)
{
    bool shards;
    if (e->topo->kind == LARDER_TOPOLOGY_CLUSTER && !e->refreshing &&
        topo_begin_refresh(e->topo, now_ns, &shards))
        begin(e, shards, now_ns);
}
