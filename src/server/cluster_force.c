/* What the machine wants, put in force: this node's role, a pause, the view, keys that are not its own any
 * more. What clients must see at one moment happens on the lane with the gate raised. */
#include "base/log.h"
#include "cmd/effect.h"
#include "os/clock.h"
#include "server/cluster_core.h"
#include "server/route.h"
#include "server/server.h"

#include <string.h>

/* Until a snapshot is loaded this node is what it is; the saver starts replication after it. */
bool cluster_is_loading(const struct cluster_core *core)
{
    return atomic_load(&core->server->saver.shown.loading);
}

/* Gate. All that there is is another shard's, or nobody's: with it goes the history that it belongs to. */
static void empty_node(struct cluster_core *core)
{
    struct cmd_ctx *c = &core->server->lane.ctx;
    struct repl *r = &core->server->repl;
    const struct str argv[] = {STR("FLUSHALL")};
    if (r->is_replica)
        repl_become_primary(r);
    effect_open(c);
    store_flush_all(&c->a);
    if (c->unit != NULL)
        unit_add(c->unit, 0, argv, 1);
    effect_reserve(c);
    effect_publish(c);
    repl_log_off(r);
}

/* The primary that the machine wants this node to follow; NULL: it is one itself, or does not know. */
static const struct node *primary_of(const struct cluster_core *core)
{
    const struct node *p = core->machine.self->primary;
    return p != NULL && p->ip[0] != '\0' ? p : NULL;
}

static bool is_followed(const struct cluster_core *core, const struct node *p)
{
    return core->followed_port == p->port && strcmp(core->followed, p->ip) == 0;
}

/* Gate. */
void cluster_force_role(struct cluster_core *core)
{
    struct repl *r = &core->server->repl;
    const struct node *p = primary_of(core);
    if (node_is(core->machine.self, NODE_PRIMARY)) {
        if (r->is_replica) {
            repl_become_primary(r);
            cluster_drop_arrivals(core);
        }
        repl_settle(r);
        core->followed_port = 0;
    } else if (p != NULL && (!r->is_replica || !is_followed(core, p))) {
        repl_follow_primary(r, str_of(p->ip), p->port);
        memcpy(core->followed, p->ip, sizeof core->followed);
        core->followed_port = p->port;
    }
}

/* Gate. */
static void take_pause(struct cluster_core *core)
{
    struct server *s = core->server;
    int64_t until_ms = core->todo.pause_until_ms;
    if (until_ms != 0)
        pause_begin(s, PAUSE_FAILOVER, CARE_PAUSE_WRITE, os_wall_ms(), until_ms);
    else
        pause_end(s, PAUSE_FAILOVER);
}

/* From now on everybody looks at the next view; what is left in its place is the old one. Slots that have
 * gone are hidden at once. */
static void swap_views(struct cluster_core *core)
{
    const struct cluster_view *old = server_view(core->server);
    heir_follow(&core->server->heir, old, core->next_view);
    slot_stats_follow(&core->server->slot_stats, old, core->next_view);
    if (core->next_view != NULL)
        core->next_view = atomic_exchange(&core->server->view, core->next_view);
}

/* Gate: role, view and pause at one moment for all clients. */
static void put_in_force(void *arg)
{
    struct cluster_core *core = arg;
    if (core->todo.role && !cluster_is_loading(core)) {
        if (core->todo.flush)
            empty_node(core);
        cluster_force_role(core);
        if (core->loads)
            cluster_drop_loaded(core);
        core->loads = false;
    }
    if (core->todo.pause)
        take_pause(core);
    swap_views(core);
    cluster_hide_dropped(core);
    route_leave_slots(core->server, core->next_view);
}

/* The view alone, as when a slot comes or is about to go: nobody is stopped for it, and when this returns
 * only the job of the lane may still go by the old one. */
static void replace_view(struct cluster_core *core)
{
    swap_views(core);
    gate_outlive(&core->server->gate);
}

/* Freed when nobody can look at it any more. */
static void retire(struct cluster_core *core, struct cluster_view *old)
{
    if (old == NULL)
        return;
    old->seen_by = lane_at_hand(&core->server->lane, core->loop);
    old->older = core->old_views;
    core->old_views = old;
}

/* The newest stands first, and was seen no earlier than those behind it. */
void cluster_forget_views(struct cluster_core *core)
{
    struct cluster_view **at = &core->old_views, *v;
    while (*at != NULL && !lane_has_ended(&core->server->lane, (*at)->seen_by))
        at = &(*at)->older;
    while ((v = *at) != NULL) {
        *at = v->older;
        cluster_view_free(v);
    }
}

void cluster_force(struct cluster_core *core)
{
    struct cluster_todo *t = &core->todo;
    const struct node *p = primary_of(core);
    cluster_drop_lost(core);
    if (p != NULL && !is_followed(core, p)) /* perhaps the same one elsewhere */
        t->role = true;
    if (t->view)
        core->next_view = cluster_core_view(core);
    if (t->view && core->next_view == NULL)
        log_warning("No memory for the new map of slots: clients are still served by the old one.");
    bool role = t->role && !cluster_is_loading(core);
    bool gate = role || t->pause || route_leaves_slots(server_view(core->server), core->next_view);
    if (gate)
        lane_call_next(&core->server->lane, put_in_force, core);
    else if (core->next_view != NULL)
        replace_view(core);
    if (core->next_view != NULL && core->next_view->holds) { /* the old one */
        workers_wake(core->server);
        lane_retry_held(&core->server->lane);
    }
    if (gate)
        cluster_view_free(core->next_view);
    else
        retire(core, core->next_view);
    core->next_view = NULL;
    t->view = false;
    t->role &= !role;
    t->flush &= !role;
}
