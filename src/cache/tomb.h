/* Versions of keys that are gone, so that a slow loader cannot put an old row back.
 *
 *      tombstone   hash of the key | version | until
 *      floor       version | until                     one of a few, by the hash
 *
 * A tombstone is kept until its time. When a group has too many, the one that ends first gives way, and the
 * floor of its hash rises to its version and time: it then refuses other keys' old versions too, never too
 * few.
 *
 * Keys are told apart by a 64-bit hash of their names alone, which is the same on every node and so can be
 * handed on with a copy (cache/state.h): two that collide, or have one name in two databases, hold each
 * other's versions, which is the same kind of too much. Groups go by that hash and not by shards, which every
 * node chooses for itself. A group has a lock of its own, a leaf under the lock of the key's shard. */
#ifndef LARDER_CACHE_TOMB_H
#define LARDER_CACHE_TOMB_H

#include "base/lock.h"

#include <stdbool.h>
#include <stdint.h>

enum tomb_limits {
    TOMBS_MAX = 1024, /* a group */
    TOMB_FLOORS = 8,
    TOMB_GROUPS = 1024,
    TOMB_SLOT_AT = 14, /* bits of the hash that are the key's slot: whoever hands a slot on finds its own */
    TOMB_SLOT_MASK = 0x3fff,
};

static inline uint64_t tomb_hash(uint64_t name, uint32_t slot)
{
    return (name & ~((uint64_t)TOMB_SLOT_MASK << TOMB_SLOT_AT)) | (uint64_t)slot << TOMB_SLOT_AT;
}
static inline uint32_t tomb_slot(uint64_t hash)
{
    return (uint32_t)(hash >> TOMB_SLOT_AT) & TOMB_SLOT_MASK;
}

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

/* Another node's floor: versions of all keys whose hash falls there. */
void tombs_raise_floor(struct tombs *t, uint64_t hash, uint64_t version, int64_t until_ms, int64_t now_ms);

/* The version below which a value is refused now, 0 = none. */
uint64_t tombs_version(const struct tombs *t, uint64_t hash, int64_t now_ms);

/* ---- all of a node's ---- */

struct tomb_group {
    struct lock lock; /* guards what follows */
    struct tombs tombs;
};

struct held {
    struct tomb_group *groups; /* TOMB_GROUPS, owned */
};

int held_init(struct held *h); /* 0 or ERR_OOM */
void held_release(struct held *h);
void held_clear(struct held *h);

static inline struct tomb_group *held_group(const struct held *h, uint64_t hash)
{
    return &h->groups[(hash >> 32) % TOMB_GROUPS]; /* floors go by the lowest bits */
}

uint64_t held_version(const struct held *h, uint64_t hash, int64_t now_ms);
void held_hold(struct held *h, uint64_t hash, uint64_t version, int64_t until_ms, int64_t now_ms);

#endif
