/* Consistent hashing, usable alone: which of several independent nodes a key belongs to.
 *
 * Every node puts `points * weight` points on a circle, a key belongs to the node whose point is
 * the first above the key's own. So a node that comes or goes moves only its own share of keys, and
 * any two programs with the same nodes agree, whatever the order in which nodes were added.
 *
 *   LARDER_PLACEMENT_MD5      point i of a node is MD5("name:i"), a key's place is MD5(key), both as
 *                             big-endian 128-bit numbers. 150 points by default: at 10 nodes the
 *                             fullest holds about 1.13 times the mean.
 *   LARDER_PLACEMENT_KETAMA   as libketama: 40 digests of "name-i" a node, four 32-bit points each,
 *                             shared out by weight. `points` is ignored.
 *
 * Lookups may run on several threads at once; adding and removing needs the ring alone. */
#ifndef LARDER_RING_H
#define LARDER_RING_H

#include "larder/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct larder_ring larder_ring;

enum larder_placement { LARDER_PLACEMENT_MD5 = 0, LARDER_PLACEMENT_KETAMA = 1 };

enum larder_ring_limits {
    LARDER_RING_POINTS = 150,       /* of a node of weight 1, by default */
    LARDER_RING_POINTS_MAX = 10000, /* the most that may be asked for */
    LARDER_RING_WEIGHT_MAX = 1000,
    LARDER_RING_NODES_MAX = 4096,
    LARDER_RING_NAME_MAX = 255
};

/* An empty ring, returned owned; points 0 means LARDER_RING_POINTS. NULL without memory or when
 * an argument is out of bounds. */
LARDER_API larder_ring *larder_ring_new(enum larder_placement placement, unsigned points);
LARDER_API void larder_ring_free(larder_ring *ring); /* NULL is fine */

/* Copies the name, by custom "host:port". weight is at least 1. Returns 0, LARDER_ERR_EXISTS,
 * LARDER_ERR_ARGUMENT or LARDER_ERR_MEMORY; on an error the ring is as it was. */
LARDER_API int larder_ring_add(larder_ring *ring, const char *name, unsigned weight);
/* Returns 0, LARDER_ERR_NOT_FOUND, or (ketama only) LARDER_ERR_MEMORY. */
LARDER_API int larder_ring_remove(larder_ring *ring, const char *name);
LARDER_API size_t larder_ring_count(const larder_ring *ring);

/* The key's node, NULL on an empty ring. The text lives until that node is removed. */
LARDER_API const char *larder_ring_get(const larder_ring *ring, struct larder_bytes key);
/* The key's node and those that follow it on the circle, each once; fills at most `max`, returns
 * how many. They are the natural replicas, and the stand-ins when a node fails. */
LARDER_API size_t larder_ring_get_n(const larder_ring *ring, struct larder_bytes key, const char **out,
                                    size_t max);

#ifdef __cplusplus
}
#endif

#endif
