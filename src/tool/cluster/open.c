/* Slots that somebody has left half open: a run of this tool that was killed, redis-cli, a SETSLOT by hand.
 *
 *      source [slot->-target]      target [slot-<-source]      keys at both
 *
 * Some of their keys may be at the target already, where no other node would look for them once the slot went
 * elsewhere. So before anything else is decided such a slot is moved on to where it was going, and what is
 * open without keys is closed. */
#include "tool/cluster/work.h"

#include "base/err.h"

#include <stdio.h>
#include <string.h>

static bool may_have_slots(const struct map_node *n)
{
    return !n->replica && !n->failed && !n->unknown;
}

/* A node of w->other by its number in w->map; of a replica the primary, who has its keys. MAP_NOBODY: it is
 * gone. */
static uint32_t number_of(const struct work *w, uint16_t other)
{
    uint32_t i = other == MAP_STRANGER ? MAP_NOBODY : map_find(&w->map, w->other.nodes[other].id);
    return i != MAP_NOBODY && w->map.nodes[i].replica ? w->map.nodes[i].primary : i;
}

/* The node's own view, in w->other. False after saying why not. */
static bool read_view(struct work *w, uint32_t node)
{
    struct link *l = work_link(w, node);
    if (l != NULL && map_read(&w->other, l) == 0)
        return true;
    return l != NULL && work_fail("%s", l->error) == 0;
}

static bool unclear(const struct work *w, uint32_t slot, uint32_t node, const char *why)
{
    const struct map_node *n = &w->map.nodes[node];
    work_fail("slot %u is half open at %s:%d, and %s. 'redis-cli --cluster fix' brings its keys together.",
              slot, n->host, n->port, why);
    return false;
}

/* going[slot]: whom its owner gives it to. */
static bool note_leaving(const struct work *w, uint32_t node, uint16_t *going)
{
    for (uint32_t slot = 0; slot < MAP_SLOTS; slot++) {
        if (w->other.to[slot] == MAP_NOBODY || w->map.owner[slot] != node)
            continue;
        uint32_t to = number_of(w, w->other.to[slot]);
        if (to == MAP_NOBODY || to == node)
            continue;
        if (!may_have_slots(&w->map.nodes[to]))
            return unclear(w, slot, node, "the node that it goes to has failed");
        going[slot] = (uint16_t)to;
    }
    return true;
}

/* Keys have arrived here, and the owner has been told nothing of it, or has forgotten it (a replica that took
 * over). */
static bool note_arriving(struct work *w, uint32_t node, uint16_t *going)
{
    struct reader_value keys;
    for (uint32_t slot = 0; slot < MAP_SLOTS; slot++) {
        uint16_t owner = w->map.owner[slot];
        if (w->other.from[slot] == MAP_NOBODY || owner == node || going[slot] == node)
            continue;
        struct link *l = work_link(w, node);
        if (l == NULL || link_say(l, &keys, "CLUSTER COUNTKEYSINSLOT %u", slot) != 0)
            return l != NULL && work_fail("%s", l->error) == 0;
        if (keys.integer == 0)
            continue;
        if (owner == MAP_NOBODY)
            return unclear(w, slot, node, "has keys there, but no owner");
        if (going[slot] != MAP_NOBODY)
            return unclear(w, slot, node, "has keys there, but goes elsewhere");
        going[slot] = (uint16_t)node;
    }
    return true;
}

/* What has been found goes into w->half, and into w->map as if it had been done. */
static void settle_in_map(struct work *w, const uint16_t *going)
{
    struct map *m = &w->map;
    w->half.n = 0;
    for (uint32_t slot = 0; slot < MAP_SLOTS; slot++) {
        if (going[slot] == MAP_NOBODY)
            continue;
        w->half.moves[w->half.n++] = (struct plan_move){(uint16_t)slot, m->owner[slot], going[slot]};
        m->nodes[m->owner[slot]].slots--;
        m->nodes[going[slot]].slots++;
        m->owner[slot] = going[slot];
    }
}

bool work_find_open(struct work *w)
{
    uint16_t going[MAP_SLOTS];
    memset(going, 0xff, sizeof going);
    w->open = 0;
    for (int arriving = 0; arriving < 2; arriving++)
        for (uint32_t i = 0; i < w->map.n; i++) {
            if (!may_have_slots(&w->map.nodes[i]))
                continue;
            if (!read_view(w, i) || !(arriving ? note_arriving(w, i, going) : note_leaving(w, i, going)))
                return false;
            w->open += arriving ? w->other.open : 0;
        }
    settle_in_map(w, going);
    if (w->half.n > 0)
        printf("%u slots were left half moved: they go where they were going first.\n", w->half.n);
    else if (w->open > 0)
        printf("Slots were left half open, without keys on their way: they are closed first.\n");
    return true;
}

int work_end_open(struct work *w)
{
    struct reader_value reply;
    int rc = w->half.n > 0 ? work_move(w, &w->half, true) : 0;
    for (uint32_t i = 0; rc == 0 && w->open > 0 && i < w->map.n; i++) {
        if (!may_have_slots(&w->map.nodes[i]))
            continue;
        if (!read_view(w, i))
            return 1;
        for (uint32_t slot = 0; slot < MAP_SLOTS && w->other.open > 0; slot++) {
            if (w->other.to[slot] == MAP_NOBODY && w->other.from[slot] == MAP_NOBODY)
                continue;
            if (link_say(work_link(w, i), &reply, "CLUSTER SETSLOT %u STABLE", slot) != 0)
                return work_fail("%s", work_link(w, i)->error);
        }
    }
    return rc;
}
