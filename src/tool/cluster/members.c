/* Nodes that join, nodes that leave, and slots that are shared out anew. */
#include "base/num.h"
#include "tool/cluster/work.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Others may know it by another address than the one that was given: then it says itself who it is. */
static uint32_t ask_for_id(struct work *w, const char *name)
{
    char host[LINK_HOST_MAX], id[MAP_ID + 1];
    struct reader_value reply;
    struct link l;
    int port;
    if (!link_parse_address(name, host, &port))
        return MAP_NOBODY;
    bool ok = link_open(&l, host, port, &w->secret) == 0 && link_say(&l, &reply, "CLUSTER MYID") == 0;
    snprintf(id, sizeof id, "%.*s", ok ? (int)reply.text.n : 0, ok ? reply.text.p : "");
    link_release(&l);
    return strlen(id) == MAP_ID ? map_find(&w->map, id) : MAP_NOBODY;
}

/* The node of a word in the map of words[0]'s cluster. */
static uint32_t named(struct work *w, const char *name)
{
    uint32_t node = map_find(&w->map, name);
    if (node == MAP_NOBODY)
        node = ask_for_id(w, name);
    if (node == MAP_NOBODY)
        work_fail("no node, or more than one, is called '%s'; 'larder cluster status' lists them", name);
    return node;
}

int cluster_add(struct work *w)
{
    char host[LINK_HOST_MAX], primary[MAP_ID + 1] = "";
    int port;
    struct reader_value reply;
    if (!work_look(w, 1))
        return 1;
    if (w->replica_of != NULL) {
        uint32_t node = named(w, w->replica_of);
        if (node == MAP_NOBODY)
            return 1;
        if (w->map.nodes[node].replica)
            return work_fail("%s is a replica itself: name its primary", w->replica_of);
        memcpy(primary, w->map.nodes[node].id, sizeof primary);
    }
    const struct map_node *gate = &w->map.nodes[w->map.me];
    char gate_host[LINK_HOST_MAX];
    int gate_port = gate->port, gate_bus_port = gate->bus_port;
    memcpy(gate_host, gate->host, sizeof gate_host);
    uint32_t nodes = w->map.n;
    if (!work_look(w, 0))
        return 1;
    if (!work_is_empty(&w->map, work_link(w, w->map.me)))
        return 1;
    printf("%s joins the %u nodes of %s as %s\n", w->words[0], nodes, w->words[1],
           primary[0] != '\0' ? "a replica" : "a primary without slots");
    if (!work_confirmed(w))
        return w->dry_run ? 0 : 1;
    struct link *l = work_link(w, w->map.me);
    if (l == NULL || link_say(l, &reply, "CLUSTER MEET %s %d %d", gate_host, gate_port, gate_bus_port) != 0)
        return l != NULL ? work_fail("%s", l->error) : 1;
    if (!work_agree(w, nodes + 1))
        return 1;
    l = work_link(w, w->map.me);
    if (primary[0] != '\0' && (l == NULL || link_say(l, &reply, "CLUSTER REPLICATE %s", primary) != 0))
        return l != NULL ? work_fail("%s", l->error) : 1;
    if (!work_agree(w, nodes + 1))
        return 1;
    link_parse_address(w->words[0], host, &port);
    printf("%s:%d is a member.%s\n", host, port,
           primary[0] != '\0' ? "" : " To give it slots: larder cluster rebalance");
    return 0;
}

/* ---- remove ---------------------------------------------------------------------------------------- */

static bool has_replicas(const struct map *m, uint32_t node)
{
    for (uint32_t i = 0; i < m->n; i++)
        if (m->nodes[i].primary == node)
            return true;
    return false;
}

static int forget(struct work *w, uint32_t gone)
{
    struct reader_value reply;
    const struct map_node *g = &w->map.nodes[gone];
    for (uint32_t i = 0; i < w->map.n; i++) {
        if (i == gone || w->map.nodes[i].failed)
            continue;
        struct link *l = work_link(w, i);
        if (l == NULL || link_say(l, &reply, "CLUSTER FORGET %s", g->id) != 0)
            return l != NULL ? work_fail("%s", l->error) : 1;
    }
    struct link *l = g->failed ? NULL : work_link(w, gone);
    if (l != NULL && link_say(l, &reply, "CLUSTER RESET SOFT") != 0)
        return work_fail("%s; the others have forgotten it", l->error);
    if (g->failed)
        printf("%s:%d is forgotten. Should it be started again, it takes itself for a member until CLUSTER "
               "RESET there.\n",
               g->host, g->port);
    else
        printf("%s:%d has left. It still runs, alone and without slots: stop it before a client asks it "
               "where slots "
               "are.\n",
               g->host, g->port);
    return 0;
}

/* Nodes that move slots by themselves tell the others by the bus: until they know. */
static int move_and_agree(struct work *w)
{
    int rc = work_end_open(w);
    if (rc == 0 && w->plan.n > 0)
        rc = work_move(w, &w->plan, false);
    return rc == 0 && !work_agree(w, w->map.n) ? 1 : rc;
}

int cluster_remove(struct work *w)
{
    if (!work_look(w, 0))
        return 1;
    if (!work_await_moves(w) || !work_look(w, 0))
        return 1;
    uint32_t node = named(w, w->words[1]);
    if (node == MAP_NOBODY || (!w->map.nodes[node].replica && !work_find_open(w)))
        return 1;
    const struct map_node *n = &w->map.nodes[node];
    if (n->failed && n->slots > 0)
        return work_fail_of_slots(n);
    if (has_replicas(&w->map, node))
        return work_fail(
            "%s:%d has replicas: remove them first, or let them follow another primary (CLUSTER REPLICATE "
            "there).",
            n->host, n->port);
    plan_even(&w->plan, &w->map, NULL, n->replica ? MAP_NOBODY : node, MAP_SLOTS);
    if (w->plan.n < n->slots && !n->replica)
        return work_fail("%s:%d owns %u slots, and there is no other primary to take them", n->host, n->port,
                         n->slots);
    printf("%s:%d gives away %u slots and leaves\n", n->host, n->port, w->plan.n);
    if (!work_confirmed(w))
        return w->dry_run ? 0 : 1;
    char id[MAP_ID + 1];
    memcpy(id, n->id, sizeof id);
    int rc = w->plan.n > 0 || w->open > 0 ? move_and_agree(w) : 0;
    return rc != 0 ? rc : forget(w, map_find(&w->map, id));
}

/* ---- rebalance ------------------------------------------------------------------------------------- */

/* "NODE=1.5", as said with --weight. */
static bool weigh(struct work *w, const char *said)
{
    char name[LINK_HOST_MAX + 16];
    const char *eq = strrchr(said, '=');
    double v;
    if (eq == NULL || (size_t)(eq - said) >= sizeof name || !num_parse_double(str_of(eq + 1), &v) ||
        !(v >= 0) || v > WORK_WEIGHT_MAX)
        return work_fail("--weight wants NODE=NUMBER, the number from 0 to %d, not '%s'", WORK_WEIGHT_MAX,
                         said) == 0;
    memcpy(name, said, (size_t)(eq - said));
    name[eq - said] = '\0';
    uint32_t node = named(w, name);
    if (node == MAP_NOBODY)
        return false;
    if (w->map.nodes[node].replica)
        return work_fail("%s is a replica: the primaries have the slots", name) == 0;
    w->weight[node] = (uint32_t)(v * WORK_WEIGHT_ONE + 0.5);
    return true;
}

static bool weigh_all(struct work *w)
{
    bool any = false;
    for (uint32_t i = 0; i < w->map.n; i++)
        w->weight[i] = WORK_WEIGHT_ONE;
    for (uint32_t i = 0; i < w->nweights; i++)
        if (!weigh(w, w->weights[i]))
            return false;
    for (uint32_t i = 0; i < w->map.n; i++)
        any |= !w->map.nodes[i].replica && !w->map.nodes[i].failed && w->weight[i] > 0;
    return any || work_fail("somebody must have the slots: not every weight can be 0") == 0;
}

int cluster_rebalance(struct work *w)
{
    if (!work_look(w, 0))
        return 1;
    if (!work_await_moves(w) || !work_agree(w, w->map.n) || !weigh_all(w) || !work_find_open(w))
        return 1;
    plan_even(&w->plan, &w->map, w->weight, MAP_NOBODY, 0);
    for (uint32_t i = 0; i < w->map.n; i++) {
        int32_t change = 0;
        for (uint32_t k = 0; k < w->plan.n; k++)
            change += (w->plan.moves[k].to == i) - (w->plan.moves[k].from == i);
        if (!w->map.nodes[i].replica)
            printf("%s:%d  %u slots  %+d\n", w->map.nodes[i].host, w->map.nodes[i].port,
                   w->map.nodes[i].slots, change);
    }
    if (w->plan.n == 0 && w->open == 0) {
        printf("Every primary has its share.\n");
        return 0;
    }
    if (!work_confirmed(w))
        return w->dry_run ? 0 : 1;
    return move_and_agree(w);
}
