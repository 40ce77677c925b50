/* What an operator may order. The texts are Redis's where tools read them. */
#include "cluster/machine_internal.h"

#include "base/alloc.h"
#include "base/err.h"

#include <stdio.h>

static int add_slots(struct machine *m, const uint8_t *slots, bool add)
{
    char text[MACHINE_ERROR_MAX];
    for (unsigned s = 0; s < SLOT_COUNT; s++) {
        if (!slots_has(slots, s) || (m->map.owner[s] != NULL) != add)
            continue;
        snprintf(text, sizeof(text), add ? "Slot %u is already busy" : "Slot %u is already unassigned", s);
        return machine_fail_command(m, add ? ERR_EXISTS : ERR_NOTFOUND, text);
    }
    for (unsigned s = 0; s < SLOT_COUNT; s++) {
        if (!slots_has(slots, s))
            continue;
        if (add)
            machine_drop_move(m, s);
        ownership_assign(m, s, add ? m->self : NULL);
    }
    machine_dirty(m);
    machine_view(m);
    return 0;
}

/* NULL: there is none, and the command has failed with ERR_NOTFOUND. */
static struct node *named(struct machine *m, const struct node_id *id)
{
    char text[MACHINE_ERROR_MAX];
    struct node *n = slotmap_find(&m->map, id);
    if (n == NULL) {
        snprintf(text, sizeof(text), "Unknown node %.*s", NODE_ID, id->c);
        (void)machine_fail_command(m, ERR_NOTFOUND, text);
    }
    return n;
}

/* Who has been told before may have told us already (frame.h, EXT_FORGOTTEN): then it is done. */
static int forget(struct machine *m, const struct node_id *id)
{
    if (slotmap_find(&m->map, id) == NULL && bus_forgotten(m, id))
        return 0;
    struct node *n = named(m, id);
    if (n == NULL)
        return ERR_NOTFOUND;
    if (n == m->self)
        return machine_fail_command(m, ERR_TYPE, "I tried hard but I can't forget myself...");
    if (n == m->self->primary)
        return machine_fail_command(m, ERR_TYPE, "Can't forget my master!");
    bus_forget(m, n, MACHINE_FORGET_MS);
    return 0;
}

static int replicate(struct machine *m, const struct node_id *id)
{
    struct node *n = named(m, id);
    if (n == NULL)
        return ERR_NOTFOUND;
    if (n == m->self)
        return machine_fail_command(m, ERR_TYPE, "Can't replicate myself");
    if (!node_is(n, NODE_PRIMARY))
        return machine_fail_command(m, ERR_TYPE, "I can only replicate a master, not a replica.");
    if (machine_is_primary(m) && (m->self->nslots > 0 || !m->data.empty))
        return machine_fail_command(m, ERR_TYPE,
                                    "To set a master the node must be empty and without assigned slots.");
    if (giving_any(m) || taking_any(m)) /* nobody else would take them back */
        return machine_fail_command(
            m, ERR_AGAIN,
            "Slots that were moved last are not served yet. If the node that they went to "
            "is gone for good, CLUSTER FORGET it.");
    if (m->self->primary != n) {
        machine_act(m, ACT_FLUSH);
        ownership_follow(m, n);
    }
    return 0;
}

static int put_move(struct machine *m, unsigned slot, const struct node_id *id, bool importing_it)
{
    struct slot_move *more = mem_realloc(m->moves, (m->nmoves + 1) * sizeof(*more));
    if (more == NULL)
        return machine_fail_command(m, ERR_OOM, "out of memory");
    m->moves = more;
    machine_drop_move(m, slot);
    m->moves[m->nmoves++] = (struct slot_move){.slot = (uint16_t)slot, .importing = importing_it, .id = *id};
    return 0;
}

/* The slot is n's. If it came to us by import we take a new epoch without asking, or the old owner's would
 * win. */
static int set_owner(struct machine *m, const struct machine_command *c, struct node *n)
{
    char text[MACHINE_ERROR_MAX];
    const struct slot_move *move = machine_move(m, c->slot);
    bool imported = move != NULL && move->importing && n == m->self;
    if (m->map.owner[c->slot] == m->self && n != m->self && c->keys > 0) {
        snprintf(text, sizeof(text),
                 "Can't assign hashslot %u to a different node while I still hold keys for "
                 "this hash slot.",
                 c->slot);
        return machine_fail_command(m, ERR_AGAIN, text);
    }
    if (imported && taking_pins_epoch(m))
        return machine_fail_command(m, ERR_AGAIN, "Slots that came here last are not served yet.");
    if (move != NULL && (imported || (!move->importing && c->keys == 0)))
        machine_drop_move(m, c->slot);
    bool given = m->map.owner[c->slot] == m->self && n != m->self;
    ownership_assign(m, c->slot, n);
    if (given && m->self->nslots == 0 && m->config.replica_migration) {
        m->successor = n->id; /* it was the last: this node serves as a replica where they went */
        ownership_settle(m);
    }
    if (imported && ownership_bump(m))
        machine_view(m);
    if (imported)
        bus_pong_all(m);
    return 0;
}

static int set_slot(struct machine *m, const struct machine_command *c)
{
    char text[MACHINE_ERROR_MAX];
    struct node *n = slotmap_find(&m->map, &c->id);
    int err = 0;
    if (!machine_is_primary(m))
        return machine_fail_command(m, ERR_TYPE, "Please use SETSLOT only with masters.");
    if (c->how != SETSLOT_STABLE && (n == NULL || node_is(n, NODE_REPLICA))) {
        if (n == NULL)
            snprintf(text, sizeof(text),
                     c->how == SETSLOT_NODE ? "Unknown node %.*s" : "I don't know about node %.*s", NODE_ID,
                     c->id.c);
        return machine_fail_command(m, ERR_NOTFOUND, n == NULL ? text : "Target node is not a master");
    }
    bool mine = m->map.owner[c->slot] == m->self;
    if ((c->how == SETSLOT_MIGRATING && !mine) || (c->how == SETSLOT_IMPORTING && mine)) {
        snprintf(text, sizeof(text),
                 mine ? "I'm already the owner of hash slot %u" : "I'm not the owner of hash slot %u",
                 c->slot);
        return machine_fail_command(m, ERR_TYPE, text);
    }
    if (c->how == SETSLOT_STABLE)
        machine_drop_move(m, c->slot);
    else if (c->how == SETSLOT_NODE)
        err = set_owner(m, c, n);
    else
        err = put_move(m, c->slot, &c->id, c->how == SETSLOT_IMPORTING);
    machine_dirty(m);
    machine_view(m);
    return err;
}

static int set_config_epoch(struct machine *m, uint64_t epoch)
{
    if (m->map.n > 1)
        return machine_fail_command(
            m, ERR_TYPE,
            "The user can assign a config epoch only when the node does not know any other node.");
    if (m->self->config_epoch != 0)
        return machine_fail_command(m, ERR_TYPE, "Node config epoch is already non-zero");
    m->self->config_epoch = epoch;
    if (m->current_epoch < epoch)
        m->current_epoch = epoch;
    machine_hold(m);
    return 0;
}

static int reset(struct machine *m, const struct machine_command *c)
{
    if (machine_is_primary(m) && !m->data.empty)
        return machine_fail_command(m, ERR_TYPE,
                                    "CLUSTER RESET can't be called with master nodes containing keys");
    manual_reset(m);
    election_abort(m);
    if (!machine_is_primary(m)) {
        m->self->config_epoch = m->current_epoch; /* below that it may have been deposed */
        ownership_primary(m->self);
        machine_act(m, ACT_PROMOTE);
        machine_act(m, ACT_FLUSH);
    }
    slotmap_drop_all(&m->map, m->self);
    taking_reset(m);
    memset(&m->offer, 0, sizeof(m->offer));
    memset(&m->successor, 0, sizeof(m->successor));
    memset(m->lost, 0, sizeof(m->lost));
    memset(m->disowned, 0, sizeof(m->disowned));
    m->some_disowned = m->mute = false;
    m->nmoves = m->nlost = 0;
    m->yield_ms = 0;
    while (m->map.n > 1) {
        struct node *n = m->map.nodes[m->map.nodes[0] == m->self ? 1 : 0];
        bus_close(m, &n->out);
        bus_close(m, &n->in);
        slotmap_remove(&m->map, n);
    }
    if (c->hard) { /* another node from here on: no vote and no promise of the old one binds it */
        m->nvotes = 0;
        m->vote_seq = m->elected_ms = 0;
        m->current_epoch = m->vote_epoch = m->data_epoch = m->self->config_epoch = 0;
        slotmap_rename(&m->map, m->self, &c->new_id);
    }
    machine_random_id(m, &m->self->shard);
    machine_dirty(m);
    machine_view(m);
    return 0;
}

static int meet(struct machine *m, const struct machine_command *c)
{
    char text[MACHINE_ERROR_MAX];
    uint16_t bus = c->cport != 0 ? c->cport : (uint16_t)(c->port + 10000);
    if (c->ip.n == 0 || c->ip.n >= NODE_IP_MAX || c->port == 0 || (c->cport == 0 && c->port > 55535)) {
        snprintf(text, sizeof(text), "Invalid node address specified: %.*s:%u",
                 (int)(c->ip.n < 64 ? c->ip.n : 64), c->ip.p, c->port);
        return machine_fail_command(m, ERR_SYNTAX, text);
    }
    return bus_meet(m, c->ip, c->port, bus);
}

int command_run(struct machine *m, const struct machine_command *c)
{
    bool gives = c->kind == CMD_ADDSLOTS || (c->kind == CMD_SETSLOT && c->how == SETSLOT_NODE);
    if (gives && !node_votes(m->self))
        m->voter_ms = m->now_ms; /* if it gives us our first slots */
    switch (c->kind) {
    case CMD_MEET: return meet(m, c);
    case CMD_FORGET: return forget(m, &c->id);
    case CMD_REPLICATE: return replicate(m, &c->id);
    case CMD_FAILOVER: return manual_command(m, c->how);
    case CMD_RESET: return reset(m, c);
    case CMD_ADDSLOTS:
    case CMD_DELSLOTS: return add_slots(m, c->slots, c->kind == CMD_ADDSLOTS);
    case CMD_FLUSHSLOTS:
        if (!m->data.empty)
            return machine_fail_command(m, ERR_TYPE, "DB must be empty to perform CLUSTER FLUSHSLOTS.");
        slotmap_drop_all(&m->map, m->self);
        machine_dirty(m);
        machine_view(m);
        return 0;
    case CMD_SETSLOT: return set_slot(m, c);
    case CMD_BUMPEPOCH: return ownership_bump(m) ? 0 : ERR_EXISTS; /* "STILL" */
    case CMD_SET_CONFIG_EPOCH: return set_config_epoch(m, c->epoch);
    case CMD_SAVECONFIG: machine_dirty(m); return 0;
    case CMD_OFFER: return giving_offer(m, c);
    case CMD_READY: return taking_ready(m, c);
    case CMD_TAKE: return taking_begin(m, c);
    case CMD_RECLAIM: return giving_reclaim(m, c);
    case CMD_HANDOVER: return manual_offer(m);
    }
    return 0;
}
