/* Versions of keys that are gone, so that a slow loader cannot put an old row back.
 *
 *      tombstone   hash of the key | version | until
 *      floor       version | until                     one of a few, by the hash
 *
 * A tombstone is kept until its time. When a shard has too many, the one that ends first gives way, and the
 * floor of its hash rises to its version and time: it then refuses other keys' old versions too, never too
 * few.
 *
 * Guarded by the shard's lock. Keys are told apart by their seeded 64-bit hash alone: two that collide hold
 * each other's versions, which is the same kind of too much. */
#ifndef LARDER_CACHE_TOMB_H
#define LARDER_CACHE_TOMB_H

#include <stdbool.h>
#include <stdint.h>

enum tomb_limits { TOMBS_MAX = 1024 /* a shard */, TOMB_FLOORS = 8 };

struct tomb {
    uint64_t hash, version;
    int64_t until_ms;
};

struct tombs {
    struct tomb *list; /* owned, by hash, `cap` places; NULL: none yet */
    uint32_t n, cap;
    struct tomb floors[TOMB_FLOORS]; /* hash unused */
    uint64_t overflows;
};

void tombs_release(struct tombs *t);

/* Versions below `version` are refused until then. Never lowers what is held already; cannot fail. */
void tombs_hold(struct tombs *t, uint64_t hash, uint64_t version, int64_t until_ms, int64_t now_ms);

/* The version below which a value is refused now, 0 = none. */
uint64_t tombs_version(const struct tombs *t, uint64_t hash, int64_t now_ms);

#endif
