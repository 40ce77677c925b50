/* A cluster as the tool sees it: nodes and slots, read from CLUSTER NODES. */
#ifndef LARDER_TOOL_CLUSTER_MAP_H
#define LARDER_TOOL_CLUSTER_MAP_H

#include "base/str.h"
#include "tool/cluster/link.h"

#include <stdint.h>

enum map_limits {
    MAP_SLOTS = 16384,
    MAP_NODES_MAX = 1024,
    MAP_ID = 40,
    MAP_NOBODY = UINT16_MAX,
    MAP_STRANGER = UINT16_MAX - 1,
};

struct map_node {
    char id[MAP_ID + 1];
    char host[LINK_HOST_MAX];
    int port, bus_port;
    bool replica, failed, suspected, unknown; /* unknown: in handshake, or without an address */
    uint16_t primary;                         /* of a replica */
    char primary_id[MAP_ID + 1];
    uint32_t slots;
    uint64_t epoch;
};

struct map {
    uint32_t n, me; /* me: whose view it is */
    struct map_node nodes[MAP_NODES_MAX];
    uint16_t owner[MAP_SLOTS]; /* MAP_NOBODY */
    uint32_t uncovered;
    uint32_t open; /* slots that are half open here (SETSLOT MIGRATING, IMPORTING) ... */
    uint16_t to[MAP_SLOTS], from[MAP_SLOTS]; /* ... and where to, or from; MAP_NOBODY. Who is not known any
                                                more is MAP_STRANGER */
};

/* Text of CLUSTER NODES. 0, ERR_SYNTAX, or ERR_FULL. */
int map_parse(struct map *m, struct str text);
/* Ask the node. ERR_IO with l->error filled. */
int map_read(struct map *m, struct link *l);
/* By id, by its first digits if they are enough, or by host:port. MAP_NOBODY: none, or several. */
uint32_t map_find(const struct map *m, const char *name);

#endif
