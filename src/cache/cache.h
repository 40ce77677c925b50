/* Cache semantics on one node: leases, freshness, versions, tags, negative entries.
 *
 *      cmd/cache_*.c ── cache_read(), cache_fill(), ... ──> record of the shard (lease.h, tomb.h)
 *                                                       └──> entry with an extension (meta.h)
 *      store ── seam (store/ext.h) ──> touched: a lease is void    dying: a version is held
 *                                      valid: have its tags been purged?
 *
 * All state of a key lies beside its shard and is guarded by the shard's lock; tags are the node's and are
 * read without one. The functions below that take a `struct key` need its shard locked. Times are the wall
 * clock's, as deadlines of keys are.
 *
 * A write voids a lease, whoever writes: the store tells (touched) and so nothing can be forgotten here. */
#ifndef LARDER_CACHE_CACHE_H
#define LARDER_CACHE_CACHE_H

#include "cache/budget.h"
#include "cache/lease.h"
#include "cache/meta.h"

struct cache;

enum cache_limits {
    CACHE_RUN_ID = 40,
    CACHE_MS_MAX = 86400000, /* a lease, a wait, a hold, a back-off: a day */
    CACHE_TOKEN_TEXT = 16 + 1 + CACHE_RUN_ID,
    CACHE_REPLICA_OF = 300, /* "host:port" */
    CACHE_PATIENCE_MS = 60 * 1000,
    CACHE_RETRY_MAX_MS =
        100, /* what a caller that was not served is told at most, if nothing else is known */
};

struct cache_settings {
    uint64_t leases_max;     /* records on this node, spread over the shards */
    int64_t hold_ms;         /* how long the version of a removed entry is held */
    int64_t negative_ttl_ms; /* of a negative entry that names no time */
    uint64_t negative_max;   /* bytes of negative entries */
    uint32_t nbudgets;       /* cache-origin-budget (budget.h) */
    struct cache_budget {
        const char *prefix; /* borrowed for the call */
        uint64_t max;
    } budgets[BUDGETS_MAX];
};

/* run_id: CACHE_RUN_ID characters. Sits down on the store's seam. Returns 0 or ERR_OOM. */
int cache_new(struct cache **out, struct store *s, const char *run_id);
void cache_free(struct cache *c); /* before the store; no other thread may use it */
void cache_set(struct cache *c, const struct cache_settings *settings); /* gate, or before threads start */
/* Gate: replicas grant nothing; NULL: a primary. "host:port". */
void cache_set_primary(struct cache *c, const struct access *a, const char *address);
/* Gate: leases of keys in these slots are void, and whoever waits for one asks again. */
void cache_leave_slots(struct cache *c, const struct access *a, const bool *slots);
/* Any thread: is it unknown which versions are held in this slot, since it was another node's? A value that
 * names a version is refused as old while it is. */
void cache_expect(struct cache *c, uint32_t slot, bool unknown);
/* After so long nobody waits for an answer to that any more: a minute, or as long as versions are held if
 * that is longer. Whoever is given a copy meanwhile (state.h) refuses them for as long. */
int64_t cache_patience_ms(const struct cache *c);
/* NULL on a primary. In a round. */
const char *cache_primary(const struct cache *c);

/* ---- tokens: 16 hex digits that rise, '-', the run id ------------------------------- */

uint32_t cache_put_token(const struct cache *c, uint64_t token, char out[CACHE_TOKEN_TEXT]);
/* 0: no token of this process. */
uint64_t cache_parse_token(const struct cache *c, struct str text);

/* ---- reading -------------------------------------------------------------------------- */

enum cache_state { CACHE_FRESH, CACHE_STALE, CACHE_NEGATIVE, CACHE_MISS };

struct cache_ask {
    int64_t lease_ms; /* 0: wants none */
    int64_t wait_ms;  /* 0: does not wait */
    bool stale;
    double early; /* beta; 0: none */
    bool has_minver;
    uint64_t minver;
};

struct cache_answer {
    enum cache_state state;
    struct str value;       /* p NULL: none is given. Good as long as the entry is */
    struct block *block;    /* that it lies in, or NULL */
    int64_t ttl_ms, age_ms; /* -1: none */
    bool has_version;
    uint64_t version;
    uint64_t token;        /* 0: none */
    int64_t retry_ms;      /* -1: none */
    bool wrong_type;       /* it is no string; nothing else is set */
    bool refused;          /* a lease would have been granted, but this is a replica */
    struct lease *wait_at; /* the caller may wait there (cache_wait()); the rest is for one that does not */
};

/* What store_find_any() has given (a hit is noted there): is it a fresh string? Then *out says all of it, but
 * for whoever asks for an early refresh or a version. The short way of cache_read_found(). */
bool cache_hit(const struct cache *c, const struct access *a, const struct entry *e,
               struct cache_answer *out);
/* The same in all cases; e is NULL when there is nothing. */
void cache_read_found(struct cache *c, const struct access *a, const struct key *k, const struct entry *e,
                      const struct cache_ask *ask, struct waiter *waiter, struct rng *rng,
                      struct cache_answer *out);
/* waiter: of a caller that has waited, or NULL. rng decides early refreshes. */
void cache_read(struct cache *c, const struct access *a, const struct key *k, const struct cache_ask *ask,
                struct waiter *waiter, struct rng *rng, struct cache_answer *out);

/* ---- waiting -------------------------------------------------------------------------- */

/* After cache_read() with wait_at: w waits there until somebody wakes it. Its owner sets wake, wants,
 * until_ms. */
void cache_wait(struct cache *c, const struct key *k, struct lease *at, struct waiter *w);

enum cache_look {
    LOOK_AGAIN, /* at *look_ms */
    LOOK_OVER,  /* it waits no longer, and is its owner's: its time is over, or it has got the lease */
    LOOK_AWAY,  /* it has been woken already; wake() is on its way */
};
/* Lock of w->shard. What its timer does: takes care that a lease that has run out finds its successor. */
enum cache_look cache_look(struct cache *c, const struct access *a, struct waiter *w, int64_t *look_ms);
/* Lock of w->shard. The client is gone. False: wake() is on its way, and must call cache_decline(). */
bool cache_leave(struct cache *c, const struct access *a, struct waiter *w);
/* The key's shard locked: a lease that was given to a client that is gone goes to the next one. */
void cache_decline(struct cache *c, const struct access *a, const struct key *k, uint64_t token);

/* No lock held, after anything above or any write: wake whom this thread owes it. */
static inline bool cache_has_debts(const struct access *a)
{
    return *store_thread_debts(a) != NULL;
}
void cache_pay_debts(const struct access *a);

/* No lock held, now and then: forget leases that have run out. */
void cache_sweep(struct cache *c, const struct access *a);

/* ---- writing -------------------------------------------------------------------------- */

struct cache_value {
    struct str bytes;
    struct block *block; /* borrowed; bytes lie in it, or NULL */
    bool has_lease;
    uint64_t token;
    int64_t ttl_ms, grace_ms; /* 0: none */
    bool has_version;
    uint64_t version;
    int64_t cost_ms; /* -1: not said */
    bool negative;
    uint32_t ntags;
    const struct str *tags; /* names */
};

enum cache_fill { FILL_OK, FILL_LEASE_LOST, FILL_OLD_VERSION, FILL_DROPPED };

/* OK with *m what was stored; *expire_ms is the entry's end. DROPPED: too many negative entries, and it is as
 * if it had been stored and evicted. Returns 0 or ERR_OOM with nothing changed. */
int cache_fill(struct cache *c, const struct access *a, const struct key *k, const struct cache_value *v,
               enum cache_fill *out, struct meta *m, int64_t *expire_ms);

/* Is this the token of the key's live lease? */
bool cache_has_lease(const struct cache *c, const struct access *a, const struct key *k, uint64_t token);

/* The loader has failed. False: the token is not the key's live one. */
bool cache_fail(struct cache *c, const struct access *a, const struct key *k, uint64_t token,
                int64_t retry_ms);

struct cache_invalidation {
    bool soft, has_version;
    uint64_t version;
    int64_t hold_ms; /* -1: as configured */
};
/* Whoever is loading the key loses the lease. True: there was an entry. *softened: it is still there, as a
 * stale one. */
bool cache_invalidate(struct cache *c, const struct access *a, const struct key *k,
                      const struct cache_invalidation *i, bool *softened);
/* How long a version is held: as i says, or as configured; i NULL: it says nothing. */
int64_t cache_hold_ms(const struct cache *c, const struct cache_invalidation *i);

/* An entry as a snapshot kept it (persist/load.h): fresh, stale or negative. What cannot be read is not put:
 * nobody knows what the value is worth then. Returns 0 or ERR_OOM. */
int cache_put_extra(const struct access *a, const struct key *k, struct str value, struct str extra);

/* The plain entry at k, which a primary has just set, gets its extension and end back. */
int cache_extend(struct cache *c, const struct access *a, const struct key *k, int64_t expire_ms,
                 struct str extra);
/* What a primary says of an entry that plain commands do not see. The first: there is none at k. The second:
 * one that is there is stale now; false if there is no such entry. */
int cache_put_negative(struct cache *c, const struct access *a, const struct key *k, int64_t expire_ms,
                       struct str extra);
bool cache_soften(struct cache *c, const struct access *a, const struct key *k, int64_t fresh_ms,
                  int64_t expire_ms);

/* ---- purging: any thread, no lock needed ------------------------------------------------ */

/* Every entry with this tag (a meta_tag_hash()) whose load began before now is invalid, or only stale. O(1).
 * Returns the purge's number. */
uint64_t cache_purge_tag(struct cache *c, uint64_t tag, bool soft);
/* A primary's purge, by its number; tag 0: of everything that knows of tags. */
void cache_purge_at(struct cache *c, uint64_t tag, uint64_t seq, bool soft);

/* Gate. Every key that matches glob, of BAN_GLOB_MAX bytes at most, of database db is invalid, or only stale
 * (ban.h); plain ones, too. What is being loaded for one is refused. rate: keys removed a second, 0 = no
 * bound. *number is its number among the purges. Returns 0, ERR_OOM, or ERR_FULL with nothing changed. */
int cache_ban(struct cache *c, const struct access *a, uint32_t db, struct str glob, bool soft, uint64_t rate,
              uint64_t *number);
/* Gate. A primary's, by its number. Returns 0 or ERR_OOM. */
int cache_ban_at(struct cache *c, const struct access *a, uint32_t db, struct str glob, uint64_t number,
                 bool soft, uint64_t rate);

/* Loaded is not fresh: all that has come from snapshots is stale from now on, since nobody knows what has
 * been purged meanwhile. Returns the number of the purge that says so (of tag 0, soft), 0: there was nothing.
 */
uint64_t cache_doubt(struct cache *c);

/* ---- looking -------------------------------------------------------------------------- */

struct cache_view {
    const struct entry *e; /* NULL: none */
    bool has_meta;
    struct meta meta;
    enum cache_state state; /* as cache_read() would find it */
    int64_t grace_ms;       /* -1: none */
    int64_t lease_ms;       /* left of a live lease; -1: none */
    int64_t retry_ms;       /* left of a back-off; -1: none */
    uint32_t waiters;
    uint64_t held_version; /* by a tombstone or floor; 0: none */
};
void cache_view(struct cache *c, const struct access *a, const struct key *k, struct cache_view *out);

#endif
