/* Redis's way of giving a part of something: two numbers, both counted in, negative ones
 * from the end (-1 is the last). */
#ifndef LARDER_CMD_RANGES_H
#define LARDER_CMD_RANGES_H

#include <stdbool.h>
#include <stdint.h>

/* Clamp to the n elements there are (n < 2^62). False when nothing is left; *first and *last
 * are then meaningless. */
bool range_clamp(int64_t start, int64_t end, uint64_t n, uint64_t *first, uint64_t *last);

#endif
