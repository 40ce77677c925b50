/* How few misses a trace can have in so many bytes, without asking a server.
 *
 * All count key and value bytes and nothing else: no table, no headers, no rounding. So
 * a real cache of the same memory has fewer objects than these. */
#ifndef LARDER_BENCH_REPLAY_BOUND_H
#define LARDER_BENCH_REPLAY_BOUND_H

#include "bench/replay/trace.h"

/* Least recently used, exact, `capacity` bytes. What has expired stays until it is asked for or falls
 * out at the end. Larger objects than the capacity are not stored. */
uint64_t bound_lru(const struct trace *t, uint64_t capacity);

/* Belady's MIN for `objects` places of equal size: the object whose next use is farthest away goes,
 * which may be the one just fetched. One whose next use comes after it has expired goes at once.
 * Exact without TTLs; with them a cache that fetches anew before a TTL ends might do a little better. */
uint64_t bound_belady(const struct trace *t, uint64_t objects);

/* For each capacity a number of misses that nothing can fall below, whatever it knows of the future:
 * sizes and TTLs counted. `misses` has n places. */
void bound_sized(const struct trace *t, const uint64_t *capacity, unsigned n, uint64_t *misses);

#endif
