/* What an operator orders. */
#include "gossip/gossip_internal.h"

#include "base/alloc.h"
#include "base/err.h"

#include <string.h>

int gossip_meet(struct gossip *g, const char *ip, uint16_t port, uint16_t cport, const char *random_id)
{
    for (const struct node *n = g->nodes; n != NULL; n = n->next)
        if ((n->flags & NODE_HANDSHAKE) && strcmp(n->ip, ip) == 0 && n->cport == cport)
            return 0;
    struct node *n = node_add(g, random_id, NODE_HANDSHAKE | NODE_MEET);
    if (n == NULL)
        return ERR_OOM;
    memcpy(n->ip, ip, strnlen(ip, sizeof n->ip - 1));
    n->port = port;
    n->cport = cport;
    return 0;
}

void gossip_forget(struct gossip *g, struct node *n)
{
    struct forgotten *f = mem_zalloc(sizeof *f);
    if (f != NULL) { /* without it the others may tell us of it again */
        memcpy(f->id, n->id, sizeof f->id);
        f->until_ms = g->now_ms + GOSSIP_FORGET_MS;
        f->next = g->forgotten;
        g->forgotten = f;
    }
    node_remove(g, n);
    g->todo.save = true;
    gossip_judge(g);
}

void gossip_replicate(struct gossip *g, struct node *primary)
{
    follow(g, primary);
    gossip_judge(g);
}

void gossip_add_slot(struct gossip *g, uint32_t slot)
{
    g->from[slot] = NULL;
    slot_give(g, slot, g->myself);
    gossip_judge(g);
}

void gossip_del_slot(struct gossip *g, uint32_t slot)
{
    slot_give(g, slot, NULL);
    gossip_judge(g);
}

void gossip_set_migrating(struct gossip *g, uint32_t slot, struct node *to)
{
    g->to[slot] = to;
    g->todo.save = g->todo.view = true;
}

void gossip_set_importing(struct gossip *g, uint32_t slot, struct node *from)
{
    g->from[slot] = from;
    g->todo.save = g->todo.view = true;
}

void gossip_set_stable(struct gossip *g, uint32_t slot)
{
    g->to[slot] = g->from[slot] = NULL;
    g->todo.save = g->todo.view = true;
}

void gossip_set_owner(struct gossip *g, uint32_t slot, struct node *n)
{
    bool was_mine = g->owner[slot] == g->myself, arrives = n == g->myself && g->from[slot] != NULL;
    g->to[slot] = NULL;
    slot_give(g, slot, n);
    if (arrives) { /* nobody votes on it: the new epoch makes the others believe it */
        gossip_bump_epoch(g);
        g->from[slot] = NULL;
        send_to_all(g, PACKET_PONG);
    }
    if (was_mine && n != g->myself && g->myself->nslots == 0 && g->opt.may_migrate)
        follow(g, n);
    g->todo.save = g->todo.view = true;
    gossip_judge(g);
}

bool gossip_bump_epoch(struct gossip *g)
{
    uint64_t most = g->current_epoch;
    for (const struct node *n = g->nodes; n != NULL; n = n->next)
        most = n->config_epoch > most ? n->config_epoch : most;
    if (g->myself->config_epoch != 0 && g->myself->config_epoch == most)
        return false;
    g->current_epoch++;
    g->myself->config_epoch = g->current_epoch;
    g->todo.save = g->todo.sync = g->todo.view = true;
    return true;
}

void gossip_set_epoch(struct gossip *g, uint64_t epoch)
{
    g->myself->config_epoch = epoch;
    if (g->current_epoch < epoch)
        g->current_epoch = epoch;
    g->todo.save = g->todo.sync = g->todo.view = true;
}

void gossip_reset(struct gossip *g, const char *hard_id)
{
    if (is_replica(g->myself))
        node_make_primary(g, g->myself);
    close_slots(g);
    end_handover(g);
    for (uint32_t i = 0; i < PACKET_SLOTS; i++)
        slot_give(g, i, NULL);
    for (struct node *n = g->nodes, *next; n != NULL; n = next) {
        next = n->next;
        if (n != g->myself)
            node_remove(g, n);
    }
    if (hard_id != NULL) {
        memcpy(g->myself->id, hard_id, PACKET_ID);
        g->current_epoch = g->voted_epoch = g->myself->config_epoch = 0;
    }
    g->todo.save = g->todo.sync = g->todo.view = g->todo.role = true;
    gossip_judge(g);
}
