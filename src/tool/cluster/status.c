/* The cluster on one screen: a line a node, the primaries with their replicas below them, and what is wrong.
 */
#include "tool/cluster/work.h"

#include <stdio.h>
#include <string.h>

struct figures {
    bool answers, link_up;
    int64_t keys, offset, hits, misses;
    char memory[32];
};

static bool read_figures(struct link *l, bool replica, struct figures *f)
{
    struct reader_value reply;
    if (link_say(l, &reply, "DBSIZE") != 0)
        return false;
    f->keys = reply.integer;
    if (link_say(l, &reply, "INFO") != 0)
        return false;
    struct str memory = work_field(reply.text, "used_memory_human");
    snprintf(f->memory, sizeof f->memory, "%.*s", (int)memory.n, memory.p);
    f->hits = work_number(reply.text, "keyspace_hits");
    f->misses = work_number(reply.text, "keyspace_misses");
    f->link_up = str_is(work_field(reply.text, "master_link_status"), "up");
    f->offset = work_number(reply.text, replica ? "slave_repl_offset" : "master_repl_offset");
    return true;
}

/* Who does not answer once is not asked again: each time takes LINK_TIMEOUT_MS. */
static void ask(struct work *w, uint32_t node, struct figures *f)
{
    const struct map_node *n = &w->map.nodes[node];
    struct link *l = n->failed ? NULL : work_link(w, node);
    memset(f, 0, sizeof *f);
    if (l == NULL)
        return;
    f->answers = read_figures(l, n->replica, f);
    if (!f->answers) {
        work_fail("%s", l->error);
        work_unlink(w, node);
    }
}

static void put_hits(const struct figures *f)
{
    if (f->hits + f->misses > 0)
        printf("  hits %5.1f %%", 100.0 * (double)f->hits / (double)(f->hits + f->misses));
    else
        printf("  hits     - ");
}

static void put_node(struct work *w, uint32_t node, const struct figures *primary, struct figures *f)
{
    const struct map_node *n = &w->map.nodes[node];
    char address[LINK_HOST_MAX + 16];
    snprintf(address, sizeof address, "%s:%d", n->host, n->port);
    ask(w, node, f);
    printf("%s%-8.8s  %-*s", n->replica ? "  replica  " : "primary  ", n->id, n->replica ? 22 : 24, address);
    if (!f->answers) {
        printf("  %s\n", n->failed && n->slots > 0 ? "FAILED, and nobody serves its slots"
                         : n->failed               ? "FAILED"
                         : n->suspected            ? "suspected, does not answer"
                                                   : "does not answer");
        return;
    }
    printf("  %9lld keys  %8s", (long long)f->keys, f->memory);
    put_hits(f);
    if (!n->replica)
        printf("  %5u slots", n->slots);
    else if (!f->link_up)
        printf("  NOT CONNECTED to its primary");
    else if (primary != NULL)
        printf("  lag %lld bytes",
               (long long)(primary->offset > f->offset ? primary->offset - f->offset : 0));
    printf("%s\n", n->suspected ? "  suspected" : "");
}

/* Each node shows its own: both ends of a move do, but it is one slot. */
static uint32_t count_open(struct work *w)
{
    bool open[MAP_SLOTS] = {false};
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->map.n; i++) {
        struct link *l = w->links[i];
        if (w->map.nodes[i].replica || l == NULL || map_read(&w->other, l) != 0 || w->other.open == 0)
            continue;
        for (uint32_t slot = 0; slot < MAP_SLOTS; slot++)
            open[slot] |= w->other.to[slot] != MAP_NOBODY || w->other.from[slot] != MAP_NOBODY;
    }
    for (uint32_t slot = 0; slot < MAP_SLOTS; slot++)
        n += open[slot];
    return n;
}

static uint32_t put_shard(struct work *w, uint32_t primary)
{
    struct figures mine, replica;
    uint32_t troubles = w->map.nodes[primary].failed && w->map.nodes[primary].slots > 0;
    put_node(w, primary, NULL, &mine);
    for (uint32_t i = 0; i < w->map.n; i++)
        if (w->map.nodes[i].primary == primary) {
            put_node(w, i, &mine, &replica);
            troubles += !replica.answers || !replica.link_up;
        }
    return troubles + !mine.answers;
}

int cluster_status(struct work *w)
{
    struct reader_value reply;
    uint32_t troubles = 0, primaries = 0;
    if (!work_look(w, 0))
        return 1;
    for (uint32_t i = 0; i < w->map.n; i++)
        if (!w->map.nodes[i].replica) {
            primaries += w->map.nodes[i].slots > 0;
            troubles += put_shard(w, i);
        }
    struct link *l = work_link(w, w->map.me);
    if (l == NULL || link_say(l, &reply, "CLUSTER INFO") != 0)
        return l != NULL ? work_fail("%s", l->error) : 1;
    bool ok = str_is(work_field(reply.text, "cluster_state"), "ok");
    printf("\nstate %s, %u nodes, %u primaries with slots, epoch %lld\n", ok ? "ok" : "FAIL", w->map.n,
           primaries, (long long)work_number(reply.text, "cluster_current_epoch"));
    if (w->map.uncovered > 0)
        printf("%u slots have no owner: give them to a node with CLUSTER ADDSLOTS, or let redis-cli "
               "--cluster fix "
               "do it.\n",
               w->map.uncovered);
    uint32_t open = count_open(w);
    if (open > 0)
        printf("%u slots are half moved. If nobody is moving them any more: larder cluster rebalance.\n",
               open);
    return ok && troubles == 0 && w->map.uncovered == 0 ? 0 : 1;
}
