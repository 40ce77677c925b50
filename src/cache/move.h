/* A key goes to another node with what the cache knows of it.
 *
 *      source: cache_pack() ── CACHE.RESTORE key ttl payload extra ──> target: cache_arrive()
 *
 *      extra   i64 the sender's clock | extension (cache/meta.h)
 *
 * Times are moved by the difference of the clocks, as the ttl is. Sequences of purges are each node's own, so
 * an entry with tags counts at the target as born before all that was ever purged there: a purge that the
 * target has had and the source has not yet must find it, and nobody can tell that one from those before. One
 * without tags is born when it arrives.
 *
 * Leases stay behind and are void. Negative entries and those that nobody may read stay, too; their versions
 * are held (tomb.h), and what is held is asked for by whoever takes the slot (server/heir.h). */
#ifndef LARDER_CACHE_MOVE_H
#define LARDER_CACHE_MOVE_H

#include "base/buf.h"
#include "cache/cache.h"

enum move_limits { MOVE_EXTRA_MAX = 8 + META_SIZE_MAX };

/* Shard locked, e live or NULL: may it go to another node as a plain value? Not if it is none to plain
 * commands, and not if it has tags, which would be lost on the way, and with them the purges to come. */
bool cache_may_move(const struct access *a, const struct entry *e);
/* The same to a larder, which takes the extension, too. */
bool cache_may_travel(const struct access *a, const struct entry *e);

/* Of an entry that may travel: `extra` in out, its bytes; 0: it is a plain one. */
uint32_t cache_pack(const struct access *a, const struct entry *e, char out[MOVE_EXTRA_MAX]);

/* The same of an entry that a file holds, by its extension and end (store/cut.h). It is stale from now on.
 * 0: it says that there is nothing, or its time is over. */
uint32_t cache_pack_stored(int64_t now_ms, struct str extra, char out[MOVE_EXTRA_MAX], int64_t *ttl_ms);

struct cache_arrival {
    struct str bytes;
    struct block *block; /* borrowed; bytes lie in it, or NULL */
    int64_t ttl_ms;      /* until its end, grace included; 0: none */
    struct str extra;
    bool replace;
};
enum cache_arrived {
    ARRIVED_FRESH,
    ARRIVED_STALE,
    ARRIVED_GONE,    /* it has been purged here, and what was there is gone, too */
    ARRIVED_IN_VAIN, /* older than what is here or held: nothing has changed */
    ARRIVED_BUSY,    /* nothing has changed: there is a key, and it was not to be replaced */
};
/* Shard locked. Of a fresh or stale one *m and *expire_ms say what was stored. Returns 0, ERR_OOM, or
 * ERR_CORRUPT for an extra that is none; then nothing has changed. */
int cache_arrive(struct cache *c, const struct access *a, const struct key *k, const struct cache_arrival *v,
                 enum cache_arrived *out, struct meta *m, int64_t *expire_ms);

/* ---- keys that a pattern's purge has to reach while they are on their way (server/purge.h) ----
 *
 * Who sends keys says so (CACHE.ARRIVE) and is answered before it reads them; what comes on that connection
 * was read behind the bar as it was then. When all nodes have banned a pattern, each raises its bar: a key
 * that was read before its node banned is refused from then on, however late it comes, and one that was let
 * in before counts as an arrival, for which the node bans once more. */

/* Any thread; never 0. */
uint64_t cache_bar(const struct cache *c);
/* Shard locked, before the key is stored: one more arrives. bar: 0: who sends it has said nothing. False: it
 * was read too early. */
bool cache_admit(struct cache *c, uint64_t bar);
/* Any thread. */
uint64_t cache_arrivals(const struct cache *c);
void cache_raise_bar(struct cache *c);

#endif
