#include "tool/cluster/plan.h"

#include <string.h>

uint32_t plan_cut(uint32_t i, uint32_t parts)
{
    return (uint32_t)((2 * (uint64_t)MAP_SLOTS * i + parts) / (2 * parts));
}

uint32_t plan_share(uint32_t i, uint32_t n)
{
    return MAP_SLOTS / n + (i < MAP_SLOTS % n);
}

static bool takes_part(const struct map_node *n)
{
    return !n->replica && !n->failed && !n->unknown;
}

static uint64_t weighs(const struct map *m, const uint32_t *weight, uint32_t without, uint32_t i)
{
    return !takes_part(&m->nodes[i]) || i == without ? 0 : weight != NULL ? weight[i] : 1;
}

/* How far each node is above (positive) or below its share. What does not divide stays with nodes that have
 * more already, so that who has been balanced once is left alone, in whatever order a node lists the others.
 */
static void balance(const struct map *m, const uint32_t *weight, uint32_t without, int32_t *surplus)
{
    uint64_t all = 0, covered = MAP_SLOTS - m->uncovered, over = covered;
    for (uint32_t i = 0; i < m->n; i++)
        all += weighs(m, weight, without, i);
    for (uint32_t i = 0; i < m->n; i++) {
        uint64_t share = all > 0 ? covered * weighs(m, weight, without, i) / all : 0;
        over -= share;
        surplus[i] = takes_part(&m->nodes[i]) ? (int32_t)m->nodes[i].slots - (int32_t)share : 0;
    }
    for (int richer = 1; all > 0 && richer >= 0; richer--) {
        for (uint32_t i = 0; over > 0 && i < m->n; i++) {
            uint64_t mine = weighs(m, weight, without, i), share = covered * mine / all;
            if (mine == 0 || (m->nodes[i].slots > share) != richer)
                continue;
            surplus[i]--;
            over--;
        }
    }
}

static uint32_t neediest(const int32_t *surplus, uint32_t n)
{
    uint32_t best = MAP_NOBODY;
    for (uint32_t i = 0; i < n; i++)
        if (surplus[i] < 0 && (best == MAP_NOBODY || surplus[i] < surplus[best]))
            best = i;
    return best;
}

void plan_even(struct plan *p, const struct map *m, const uint32_t *weight, uint32_t without, uint32_t slack)
{
    int32_t *surplus = p->surplus;
    bool worth = without != MAP_NOBODY;
    p->n = 0;
    balance(m, weight, without, surplus);
    for (uint32_t i = 0; i < m->n; i++)
        worth |= surplus[i] > (int32_t)slack || -surplus[i] > (int32_t)slack;
    for (uint32_t slot = 0; worth && slot < MAP_SLOTS; slot++) {
        uint16_t from = m->owner[slot];
        if (from == MAP_NOBODY || surplus[from] <= 0 || (without != MAP_NOBODY && from != without))
            continue;
        uint32_t to = neediest(surplus, m->n);
        if (to == MAP_NOBODY)
            return;
        p->moves[p->n++] = (struct plan_move){(uint16_t)slot, from, (uint16_t)to};
        surplus[from]--;
        surplus[to]++;
    }
}
