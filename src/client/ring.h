/* The ring as the rest of the client uses it: nodes carry a number, lookups return numbers. The
 * public calls (larder/ring.h) are the same with names. */
#ifndef LARDER_CLIENT_RING_H
#define LARDER_CLIENT_RING_H

#include "base/str.h"
#include "larder/ring.h"

/* As larder_ring_add(), with a number of the caller's that lookups return. */
int ring_add(larder_ring *ring, const char *name, unsigned weight, unsigned tag);

/* As larder_ring_get_n(), with the numbers. */
size_t ring_lookup(const larder_ring *ring, struct str key, unsigned *tags, size_t max);

#endif
