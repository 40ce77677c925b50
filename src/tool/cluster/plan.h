/* Who gets what: pure sums, so that a dry run and the real one cannot differ. */
#ifndef LARDER_TOOL_CLUSTER_PLAN_H
#define LARDER_TOOL_CLUSTER_PLAN_H

#include "tool/cluster/map.h"

/* The first slot of part `i` of `parts`; part i ends before the first of part i + 1. As everybody cuts them:
 * 0, 5461, 10923 for three. */
uint32_t plan_cut(uint32_t i, uint32_t parts);

/* How many slots each of n primaries should have: the same, the remainder to the first ones. */
uint32_t plan_share(uint32_t i, uint32_t n);

struct plan_move {
    uint16_t slot, from, to; /* numbers of nodes */
};

struct plan {
    uint32_t n;
    int32_t surplus[MAP_NODES_MAX]; /* while it is made: slots above the node's share */
    struct plan_move moves[MAP_SLOTS];
};

/* Give every living primary its share: by `weight`, one number for each node of the map (NULL: all the same;
 * 0: no slots at all). `without`: this one gives away all it has (MAP_NOBODY: none does). Nodes within
 * `slack` slots of their share are left alone. Slots that nobody owns are not in it. */
void plan_even(struct plan *p, const struct map *m, const uint32_t *weight, uint32_t without, uint32_t slack);

#endif
