/* The cache from inside: what the files of this folder share. Not for others. */
#ifndef LARDER_CACHE_INTERNAL_H
#define LARDER_CACHE_INTERNAL_H

#include "base/assert.h"
#include "base/counter.h"
#include "cache/cache.h"
#include "cache/stats.h"
#include "cache/tag.h"
#include "cache/tomb.h"
#include "proto/slot.h"

/* What belongs to the keys of one shard. Its lock. */
struct cache_shard {
    struct leases leases;
    _Atomic uint64_t
        settled;        /* no lease here is older than the bans up to this purge; written with the lock */
    bool keeps_version; /* while an entry is replaced by one of its version or a later one */
    struct counter count[CACHE_COUNTERS]; /* written with the lock, read without */
};

enum { SLOT_WORDS = SLOT_COUNT / 64 };

struct cache {
    struct store *store;
    char run_id[CACHE_RUN_ID + 1];
    char primary[CACHE_REPLICA_OF]; /* gate; "" on a primary */
    struct cache_settings settings; /* gate */
    uint32_t leases_max;            /* a shard's share; gate */
    struct cache_shard *shards;     /* STORE_SHARDS, owned */
    struct held held;
    struct tags tags;
    struct budgets budgets;               /* gate, but for the counts */
    _Atomic uint64_t seq;                 /* purges so far */
    _Atomic uint64_t bar, arrivals;       /* move.h */
    _Atomic uint64_t unknown[SLOT_WORDS]; /* a bit for each slot: see cache_expect() */
    _Atomic uint64_t copied[SLOT_WORDS];  /* the same of whoever gave us a copy, which counts ... */
    _Atomic int64_t copied_until_ms;      /* ... until then */
    _Atomic bool loaded;                  /* entries have come from a snapshot since the last doubt */
    _Atomic int64_t negative_bytes;       /* of negative entries */
    _Atomic uint32_t sweep_at;            /* the shard whose turn it is */
};

static inline struct cache_shard *cache_shard_of(struct cache *c, const struct key *k)
{
    return &c->shards[key_shard(k)];
}

/* Slots of word i of which it is not known which versions are held. */
static inline uint64_t cache_unknown(const struct cache *c, uint32_t i, int64_t now_ms)
{
    uint64_t word = atomic_load_explicit(&c->unknown[i], memory_order_acquire);
    if (unlikely(atomic_load_explicit(&c->copied_until_ms, memory_order_acquire) > now_ms))
        word |= atomic_load_explicit(&c->copied[i], memory_order_relaxed);
    return word;
}

/* What is held of a key, and what is to be. */
static inline uint64_t cache_hash(const struct key *k)
{
    struct str name = {k->p, k->n};
    return tomb_hash(meta_tag_hash(name), slot_of(name)); /* outside of clusters k->slot is the node's own */
}
static inline uint64_t cache_held(struct cache *c, const struct key *k, int64_t now_ms)
{
    return held_version(&c->held, cache_hash(k), now_ms);
}
static inline void cache_hold(struct cache *c, const struct key *k, uint64_t version, int64_t until_ms,
                              int64_t now_ms)
{
    held_hold(&c->held, cache_hash(k), version, until_ms, now_ms);
}

/* ---- cache.c ---- */

/* Purges that are counted after this shall be later than that one. */
void cache_count_on(struct cache *c, uint64_t seq);

/* What a negative entry counts for. */
int64_t cache_negative_size(const struct key *k);

/* ---- grant.c: leases change hands; the shard's lock ---- */

static inline void cache_count(struct cache_shard *cs, enum cache_counter which)
{
    counter_add(&cs->count[which], 1);
}

/* A ban of its key has come after it was granted: what its holder loads may be old. */
static inline bool cache_lease_is_banned(const struct cache *c, const struct lease *l)
{
    return unlikely(store_bans(c->store) != 0) &&
           store_ban_since(c->store, (struct str){l->key, l->n}, l->db, l->born);
}

/* False: the origin's budget is used up. */
bool cache_grant(struct cache *c, struct cache_shard *cs, const struct access *a, struct lease *l,
                 int64_t lease_ms);
void cache_void(struct cache *c, struct cache_shard *cs, struct lease *l); /* nobody has it any more */
/* To the oldest caller that waits for it, if there is one and nothing holds it off. */
bool cache_pass_on(struct cache *c, struct cache_shard *cs, const struct access *a, struct lease *l);
void cache_wake_all(const struct access *a, struct lease *l);
/* Forget the record if nothing is left of it. */
void cache_settle(struct cache *c, uint32_t shard, const struct access *a, struct lease *l);

/* ---- read.c ---- */

enum cache_purge { PURGE_NONE, PURGE_SOFT, PURGE_HARD };
/* What purges have done to an entry with this extension. */
enum cache_purge cache_purged(const struct cache *c, const struct entry *e, const struct meta *m);
/* e is live or NULL; *m is filled in when *has_meta. */
enum cache_state cache_judge(const struct cache *c, const struct access *a, const struct entry *e,
                             struct meta *m, bool *has_meta);

#endif
