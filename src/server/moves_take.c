/* A move that arrives here: from the connection that brings the keys to the moment at which the slots are
 * ours, or what was brought is thrown away. The cluster's thread. */
#include "base/log.h"
#include "os/loop.h"
#include "server/cluster_core.h"
#include "server/handlers.h"
#include "server/moves.h"

#include <stdio.h>
#include <string.h>

void moves_connection_gone(struct moves *m, uint32_t importing)
{
    atomic_store(&m->gone[importing % MOVES_IMPORTS], importing);
    loop_wake(m->server->cluster.core->loop);
}

/* Not in the same words for whoever reads the log of the other side. */
static const char *no_source(const struct cluster_core *core, const char *id, const uint8_t *slots)
{
    const struct machine *m = &core->machine;
    const struct node *n = cluster_core_node(core, id);
    if (!node_is(m->self, NODE_PRIMARY) || m->mute)
        return "Target node is not a primary";
    if (n == m->self)
        return "Target node can not be this node.";
    if (n == NULL || node_is(n, NODE_FAIL))
        return "The source has failed, or is not known here";
    for (unsigned s = 0; s < SLOT_COUNT; s++)
        if (slots_has(slots, s) && m->map.owner[s] != n)
            return "Slots are no longer owned by source node";
    return NULL;
}

/* ---- the beginning --------------------------------------------------------------------------- */

static struct moves_import *free_import(struct moving *mo, const uint8_t *slots, const char **no)
{
    struct moves_import *found = NULL;
    *no = NULL;
    for (unsigned i = 0; i < MOVES_IMPORTS; i++) {
        struct moves_import *im = &mo->imports[i];
        if (im->number == 0)
            found = im;
        else if (slots_overlap(im->slots, slots))
            *no = "Some of the slots arrive already in another migration";
    }
    if (found == NULL)
        *no = "Too many slot migrations end here at once";
    return found;
}

void moves_establish(struct cmd_ctx *c, struct cluster_core *core, const struct move *mv)
{
    struct moves *m = &core->server->moves;
    struct moving *mo = &core->moving;
    uint8_t slots[SLOT_BYTES];
    move_slots(mv, slots);
    const char *no = no_source(core, mv->source, slots), *busy;
    struct moves_import *im = free_import(mo, slots, &busy);
    if (no == NULL && core->machine.manual != MANUAL_NONE) /* the slots may have to be emptied first */
        no = "Target node hands its role over";
    if (no == NULL && c->session->importing != 0)
        no = "This connection brings slots already";
    if (no != NULL || busy != NULL) {
        reply_errorf(c->reply, "ERR %s", no != NULL ? no : busy);
        return;
    }
    pthread_mutex_lock(&m->mutex);
    const struct move *record = moves_add(m, mv);
    uint64_t number = record != NULL ? record->number : 0;
    pthread_mutex_unlock(&m->mutex);
    if (record == NULL) {
        reply_error(c->reply, "ERR Too many slot migrations are under way");
        return;
    }
    *im = (struct moves_import){.move = number, .flushes = store_flushes(core->server->store)};
    im->number = ++mo->last_number * MOVES_IMPORTS + (uint32_t)(im - mo->imports);
    memcpy(im->from, mv->source, sizeof im->from);
    memcpy(im->slots, slots, sizeof im->slots);
    cluster_clear_slots(core, slots); /* what an earlier attempt has left */
    slots_add(mo->arriving, slots);
    cluster_veil(core, slots, true);
    moves_tell_now(core);
    core->todo.view = true;
    c->session->importing = im->number;
    log_notice("Slot migration %s from %s has begun.", mv->name, mv->source);
    reply_ok(c->reply);
}

/* One of the two orders of the source, as the machine takes it. */
static bool obey(struct cmd_ctx *c, struct cluster_core *core, enum machine_command_kind kind, uint64_t epoch)
{
    struct moves_import *im = &core->moving.imports[c->session->importing % MOVES_IMPORTS];
    struct machine_command order = {.kind = kind, .slots = im->slots, .epoch = epoch};
    if (c->session->importing == 0 || im->number != c->session->importing || im->takes || im->cleans) {
        reply_error(c->reply, "ERR No such slot migration job");
        return false;
    }
    if (store_flushes(core->server->store) != im->flushes) {
        reply_error(c->reply, "ERR Data was flushed");
        return false;
    }
    memcpy(order.id.c, im->from, NODE_ID);
    const char *no = cluster_core_command(core, &order);
    if (no != NULL)
        reply_error(c->reply, no);
    else
        reply_ok(c->reply);
    return no == NULL;
}

void moves_ready(struct cmd_ctx *c, struct cluster_core *core, uint64_t epoch)
{
    (void)obey(c, core, CMD_READY, epoch);
}

void moves_take(struct cmd_ctx *c, struct cluster_core *core, uint64_t epoch)
{
    struct moves_import *im = &core->moving.imports[c->session->importing % MOVES_IMPORTS];
    if (!obey(c, core, CMD_TAKE, epoch))
        return;
    im->takes = true;
    moves_note(&core->server->moves, im->move, MOVE_TAKES, NULL);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void not_arriving(struct cluster_core *core, const struct moves_import *im)
{
    slots_drop(core->moving.arriving, im->slots);
    core->todo.view = true;
}

/* The connection may write no more from the next view on; what it has written goes then. */
static void give_up(struct cluster_core *core, struct moves_import *im, const char *why)
{
    im->cleans = true;
    not_arriving(core, im);
    moves_note(&core->server->moves, im->move, MOVE_CLEANS, why);
    log_warning("Slots that were on their way here from %s do not come: %s.", im->from, why);
}

/* What has come to be ours in another way is no remains. */
static void leave_own(struct cluster_core *core, struct moves_import *im)
{
    uint8_t own[SLOT_BYTES];
    for (unsigned b = 0; b < SLOT_BYTES; b++)
        own[b] = im->slots[b] & core->machine.self->slots[b];
    if (!slots_any(own))
        return;
    slots_drop(im->slots, own);
    cluster_veil(core, own, false);
}

/* When nobody writes there any more, the slots are emptied. */
static void clean(struct cluster_core *core, struct moves_import *im)
{
    if (!im->drops && !core->todo.view && cluster_is_in_force(core)) {
        leave_own(core, im);
        slots_add(core->dropping.slots, im->slots);
        im->drops = core->todo.view = true;
    } else if (im->drops && !slots_overlap(core->dropping.slots, im->slots)) {
        moves_note(&core->server->moves, im->move, MOVE_FAILED, NULL);
        im->number = 0;
    }
}

static void finish(struct cluster_core *core, struct moves_import *im)
{
    not_arriving(core, im);
    cluster_veil(core, im->slots, false);
    moves_note(&core->server->moves, im->move, MOVE_DONE, "");
    log_notice("Slots have come here from %s.", im->from);
    im->number = 0;
}

static unsigned first_slot(const struct moves_import *im)
{
    unsigned s = 0;
    while (!slots_has(im->slots, s))
        s++;
    return s;
}

static void look(struct cluster_core *core, struct moves_import *im)
{
    const struct machine *m = &core->machine;
    const struct moves *mv = &core->server->moves;
    const char *no = NULL;
    if (im->cleans) {
        clean(core, im);
    } else if (im->takes) {
        if (machine_takes(m, first_slot(im)))
            return;
        if (m->map.owner[first_slot(im)] == m->self)
            finish(core, im);
        else
            give_up(core, im, "Slots are no longer owned by source node, or it keeps them");
    } else if (atomic_load(&mv->gone[im->number % MOVES_IMPORTS]) == im->number) {
        give_up(core, im, "Connection lost to source");
    } else if (store_flushes(core->server->store) != im->flushes) {
        give_up(core, im, "Data was flushed");
    } else if ((no = no_source(core, im->from, im->slots)) != NULL) {
        give_up(core, im, no);
    }
}

void moves_look(struct cluster_core *core)
{
    for (unsigned i = 0; i < MOVES_IMPORTS; i++)
        if (core->moving.imports[i].number != 0)
            look(core, &core->moving.imports[i]);
    moves_tell_replicas(core);
}
