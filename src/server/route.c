#include "server/route.h"

#include "cache/cache.h"
#include "cmd/cache_options.h"
#include "server/handlers.h"
#include "store/ext.h"

enum route_verdict route_key(struct route *r, const struct key *k)
{
    const struct cluster_view *v = r->view;
    struct str name = {k->p, k->n};
    if (r->first.p == NULL) {
        r->first = name;
        r->slot = k->slot;
        r->owner = v->owner[k->slot];
        if (r->owner == VIEW_NOBODY)
            return ROUTE_UNSERVED;
        r->leaving = r->owner == v->me && v->to[k->slot] != VIEW_NOBODY;
        r->arriving = !r->leaving && v->from[k->slot] != VIEW_NOBODY;
        r->held = view_holds(v, k->slot);
        r->imported = view_arrives(v, k->slot);
    } else if (k->slot != r->slot) {
        return ROUTE_CROSS_SLOT;
    } else if (r->arriving && !r->several) {
        r->several = !str_eq(r->first, name);
    }
    if ((r->leaving || r->arriving) && r->look != NULL) {
        if (store_peek_any(r->look, k) != NULL) /* a stale one, too: it will be moved like others */
            r->here++;
        else
            r->missing++;
    }
    return ROUTE_HERE;
}

static enum route_verdict when_down(const struct cluster_view *v, const struct route_asker *who)
{
    if (v->up)
        return ROUTE_HERE;
    if (!v->reads_when_down)
        return ROUTE_DOWN;
    return who->writes ? ROUTE_DOWN_READS_ONLY : ROUTE_HERE;
}

enum route_verdict route_end(const struct route *r, const struct route_asker *who)
{
    const struct cluster_view *v = r->view;
    if (r->first.p == NULL)
        return ROUTE_HERE;
    enum route_verdict down = when_down(v, who);
    if (down != ROUTE_HERE)
        return down;
    if (r->imported && who->imports)
        return ROUTE_HERE;
    if (r->held)
        return ROUTE_HELD;
    if ((r->leaving || r->arriving) && who->migrates)
        return ROUTE_HERE;
    if (r->leaving && r->missing > 0)
        return r->here > 0 ? ROUTE_UNSTABLE : ROUTE_ASK;
    if (r->arriving && who->asking)
        return r->several && r->missing > 0 ? ROUTE_UNSTABLE : ROUTE_HERE;
    if (v->replica && who->readonly && !who->writes && r->owner == v->primary)
        return ROUTE_HERE;
    return r->owner == v->me ? ROUTE_HERE : ROUTE_MOVED;
}

static void redirect(struct reply *reply, const struct route *r, const char *word, uint16_t to)
{
    const struct view_node *n = &r->view->nodes[to];
    reply_errorf(reply, "%s %u %s:%u", word, r->slot, n->host, n->port);
}

void route_refuse(struct reply *reply, const struct route *r, enum route_verdict v)
{
    static const char *const texts[] = {
        [ROUTE_CROSS_SLOT] = "CROSSSLOT Keys in request don't hash to the same slot",
        [ROUTE_UNSERVED] = "CLUSTERDOWN Hash slot not served",
        [ROUTE_DOWN] = "CLUSTERDOWN The cluster is down",
        [ROUTE_DOWN_READS_ONLY] = "CLUSTERDOWN The cluster is down and only accepts read commands",
        [ROUTE_UNSTABLE] = "TRYAGAIN Multiple keys request during rehashing of slot",
        [ROUTE_HELD] = "TRYAGAIN The slot is being handed to another node",
    };
    if (v == ROUTE_MOVED)
        redirect(reply, r, "MOVED", r->owner);
    else if (v == ROUTE_ASK)
        redirect(reply, r, "ASK", r->view->to[r->slot]);
    else
        reply_error(reply, texts[v]);
}

static bool all_here(const struct cluster_view *v, const struct cmd_ctx *c)
{
    uint32_t slot = c->keys[0].slot;
    for (uint32_t i = 1; i < c->nkeys; i++)
        if (c->keys[i].slot != slot)
            return false;
    return view_is_here(v, slot);
}

/* `waits`: it may be told to come again. */
static bool allows(struct cmd_ctx *c, const struct cluster_view *v, bool locked, bool waits,
                   const struct key *keys, uint32_t nkeys)
{
    struct route r;
    const struct route_asker who = {.asking = c->session->asking || (c->cmd->flags & CMD_ASKING),
                                    .readonly = c->session->readonly,
                                    .imports = c->session->importing != 0,
                                    .writes = c->cmd->flags & CMD_WRITE,
                                    .migrates = c->cmd->fn == cmd_migrate};
    enum route_verdict verdict = ROUTE_HERE;
    route_begin(&r, v, locked ? &c->a : NULL);
    for (uint32_t i = 0; i < nkeys && verdict == ROUTE_HERE; i++)
        verdict = route_key(&r, &keys[i]);
    if (verdict == ROUTE_HERE)
        verdict = route_end(&r, &who);
    if (verdict == ROUTE_ASK && c->cmd->fn == cmd_cache_set && cache_set_is_old(c, &keys[0]))
        verdict = ROUTE_HERE; /* held here and not known there, until the slot is theirs (heir.h) */
    if (verdict == ROUTE_HERE)
        return true;
    c->again = verdict == ROUTE_HELD && waits;
    if (!c->again)
        route_refuse(c->reply, &r, verdict);
    return false;
}

bool route_allows(struct cmd_ctx *c, const struct cluster_view *v, bool locked)
{
    if (c->nkeys == 0 || likely(all_here(v, c)) || (c->cmd->fn == cmd_cache_mget && !c->in_exec))
        return true;
    return allows(c, v, locked, true, c->keys, c->nkeys);
}

bool route_allows_key(struct cmd_ctx *c, uint32_t i)
{
    const struct cluster_view *v = server_view(ctx_server(c));
    return v == NULL || view_is_here(v, c->keys[i].slot) || allows(c, v, true, false, &c->keys[i], 1);
}

/* While a slot is on its way, keys that are not here are served there, and leases are not told: none may
 * outlive the beginning of that, nor its end. */
static bool lets_go(const struct cluster_view *old, const struct cluster_view *v, uint32_t slot)
{
    return view_serves(old, slot) &&
           (!view_serves(v, slot) || (old->to[slot] != VIEW_NOBODY) != (v->to[slot] != VIEW_NOBODY));
}

/* Which slots they are is left in *left where that is not NULL. */
static bool leaves(const struct cluster_view *old, const struct cluster_view *v, bool *left)
{
    bool any = false;
    for (uint32_t i = 0; old != NULL && v != NULL && i < SLOT_COUNT; i++)
        if (lets_go(old, v, i)) {
            any = true;
            if (left == NULL)
                break;
            left[i] = true;
        }
    return any;
}

bool route_leaves_slots(const struct cluster_view *old, const struct cluster_view *v)
{
    return leaves(old, v, NULL);
}

void route_leave_slots(struct server *s, const struct cluster_view *old)
{
    bool left[SLOT_COUNT] = {false};
    if (leaves(old, server_view(s), left))
        cache_leave_slots(s->cache, &s->lane.ctx.a, left);
}
