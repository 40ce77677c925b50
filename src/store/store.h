/* The keyspace: what commands may do with keys.
 *
 *      store ── 1,024 shards ── 16 slots each ── one table a slot ── entries in segments
 *               (one lock)                       (table.h)           (segment.h)
 *
 * A command's keys are hashed once into `struct key`s, their shards are locked
 * (lockset, ascending), and the functions below work on them. Who calls what:
 *
 *   - "shard locked" functions need the lock of the key's shard: held by this
 *     thread, busy for this (lane) thread, or the gate raised by this thread.
 *   - "gate" functions need the gate raised by this thread.
 *   - all others say what they need.
 *
 * Keys hold a database id that FLUSHDB and SWAPDB change under the gate, so a
 * `struct key` must not outlive the round it was made in.
 *
 * Expired keys are never visible: every lookup treats them as absent and removes them, unless
 * enum expired_rule says otherwise. */
#ifndef LARDER_STORE_STORE_H
#define LARDER_STORE_STORE_H

#include "base/arena.h"
#include "base/hash.h"
#include "base/lock.h"
#include "base/rng.h"
#include "base/str.h"
#include "store/entry.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum store_limits {
    STORE_SLOTS = 16384,
    STORE_SHARDS = 1024,
    STORE_SLOTS_PER_SHARD = STORE_SLOTS / STORE_SHARDS,
    STORE_DATABASES_MAX = 1024,
    STORE_THREADS_MAX = 132,      /* workers, the lane, replication, the saver, and one for tests */
    STORE_CUTS_MAX = 4,           /* snapshots that can be read at the same time (cut.h) */
    STORE_KEY_MAX = 512 << 20,    /* bytes */
    STORE_STRING_MAX = 512 << 20, /* default of proto-max-bulk-len */
#ifdef LARDER_TSAN
    STORE_LOCKSET_MAX = 48, /* TSan's deadlock detector gives up beyond 64 held locks */
#else
    STORE_LOCKSET_MAX = 256, /* more shards than this: the gate instead (docs/decisions/) */
#endif
};

struct store;
struct appender; /* one thread's open segments and private reserve; segment.h */

/* maxmemory-policy. The names are Redis's and mean the same; auto is larder's own (evict.h). */
enum store_policy {
    STORE_NOEVICTION,
    STORE_AUTO,
    STORE_LRU,
    STORE_LFU,
    STORE_RANDOM,
    STORE_TTL, /* always with volatile_only */
};

struct store_eviction {
    enum store_policy policy;
    bool volatile_only;      /* only keys that have a deadline */
    uint32_t lfu_log_factor; /* as Redis's options of that name */
    uint32_t lfu_decay_min;
};

struct store_options {
    uint64_t maxmemory;    /* bytes, 0 = unlimited; decides the segment size */
    uint32_t databases;    /* as SELECT counts them */
    uint32_t threads;      /* appenders that will be asked for, <= STORE_THREADS_MAX */
    uint32_t writers;      /* of those, how many write at once, which open segments are planned for; 0: all */
    struct hash_seed seed; /* from os_random() but in tests */
    bool cluster; /* slots are CRC16 of the key, as clients compute them; else any even spread will do */
};

int store_new(struct store **out, const struct store_options *opt); /* returned owned; ERR_OOM */
void store_free(struct store *s);                                   /* no other thread may use it */

/* The appender of thread `index` (0-based). Each is used by one thread only. */
struct appender *store_appender(struct store *s, uint32_t index);

/* The secret that tables of keys and values are made with. */
struct hash_seed store_seed(const struct store *s);

/* ---- keys -------------------------------------------------------------------- */

/* How far prefetching has come for a key. */
enum near_stage { NEAR_TABLE, NEAR_PAGE, NEAR_BUCKET, NEAR_DONE };
struct table_near {
    const void *at; /* fetched, and what it is */
    enum near_stage stage;
};

struct key {
    const char *p; /* borrowed */
    uint32_t n;
    uint16_t slot;
    uint16_t db; /* database id, not the number of SELECT */
    uint64_t hash;
    struct table_near near; /* store_approach()'s */
};

/* `db` is the number that SELECT knows. In a round, or under the gate. */
void key_make(const struct store *s, struct key *k, struct str bytes, uint32_t db);

/* The shard of a key, whatever its database: for planning locks before the keys are made. */
uint32_t store_key_shard(const struct store *s, struct str key);

static inline uint32_t key_shard(const struct key *k)
{
    return k->slot / STORE_SLOTS_PER_SHARD;
}

/* Prefetching for batches, without locks: begin with every key, then take steps, each
 * with all keys before the next, so that what a step reads has arrived, until none of them says that
 * there is more; STORE_APPROACH_STEPS at most. Reads memory that may
 * change under it, which is always mapped, and changes nothing (region.h). */
enum { STORE_APPROACH_STEPS = 3 };
void store_approach_begin(const struct store *s, struct key *k);
bool store_approach(const struct store *s, struct key *k);

/* ---- locks ------------------------------------------------------------------- */

/* The shards of one command, ascending and distinct. */
struct lockset {
    uint32_t n;
    bool overflow; /* more than STORE_LOCKSET_MAX: take the gate */
    uint16_t shard[STORE_LOCKSET_MAX];
};

static inline void lockset_init(struct lockset *ls)
{
    ls->n = 0;
    ls->overflow = false;
}
void lockset_add(struct lockset *ls, uint32_t shard); /* any order; keeps it sorted */

/* All or nothing: false when one of them is busy, with none held. */
bool store_lock(struct store *s, const struct lockset *ls);
void store_unlock(struct store *s, const struct lockset *ls);
/* The usual case, one key. */
bool store_lock_one(struct store *s, uint32_t shard);
void store_unlock_one(struct store *s, uint32_t shard);
/* Holder: make them busy for the lane; the lane enters and leaves (base/lock.h). */
bool store_shard_busy(const struct store *s, uint32_t shard); /* any thread */
void store_make_busy(struct store *s, const struct lockset *ls);
void store_busy_enter(struct store *s, const struct lockset *ls);
void store_busy_leave(struct store *s, const struct lockset *ls);
/* The lane does something else meanwhile; they stay busy until it has entered and left them. */
void store_busy_rest(struct store *s, const struct lockset *ls);
/* The lane has left them and enters them again: `mine` are those that it has made busy anew, and leaves;
 * `lent` those that a job behind it has been given, and that it lets rest. Both are initialised by the
 * caller. */
void store_busy_again(struct store *s, const struct lockset *ls, struct lockset *mine, struct lockset *lent);

/* ---- one key (shard locked) -------------------------------------------------- */

/* What becomes of a key whose deadline has passed by this node's clock. */
enum expired_rule {
    EXPIRED_REMOVE, /* absent, and gone when somebody meets it */
    EXPIRED_HIDE,   /* absent, but not ours to delete: on a replica, and while a pause lasts */
    EXPIRED_SHOW,   /* still there: who applies a primary's stream does not look at the clock, the primary has
                     */
};

/* What every access carries: cheap to build, on the stack. */
struct access {
    struct store *store;
    struct appender *app;
    int64_t now_ms; /* the command's time: frozen while it runs */
    enum expired_rule expired;
    bool lane;     /* on the lane's thread: busy shards are its own, do not wait for them */
    bool no_touch; /* CLIENT NO-TOUCH: leave the access clock alone */
};

/* The live entry or NULL. find counts as an access for the eviction policy, peek does not. */
struct entry *store_find(const struct access *a, const struct key *k);
struct entry *store_peek(const struct access *a, const struct key *k);

enum put_flags {
    PUT_KEEP_TTL = 1, /* ignore expire_ms, keep the old deadline if there is one */
    PUT_RAW = 2,      /* ENTRY_RAW */
    PUT_TEXT = 4,     /* ENTRY_TEXT */
};

/* Set the key to a string, replacing whatever it holds. expire_ms: deadline, 0 = none; a
 * deadline in the past is the caller's business (SET ... PXAT deletes instead).
 * block NULL: bytes are copied. Else bytes is block_str(block), and on success the
 * entry holds a reference of its own if it is large enough to stay a block.
 * Returns 0 or ERR_OOM; on error nothing has changed. */
int store_put_string(const struct access *a, const struct key *k, struct str bytes, struct block *block,
                     int64_t expire_ms, unsigned flags);

/* Set the key to a collection, which is not empty, replacing whatever it holds. Takes o's reference on
 * success. Of the flags only PUT_KEEP_TTL means something. Returns 0 or ERR_OOM; on error nothing has
 * changed and o is still the caller's. */
int store_put_object(const struct access *a, const struct key *k, struct object *o, int64_t expire_ms,
                     unsigned flags);

/* The collection of e, the live entry of k, has been changed and is now at o, the entry's reference with
 * it; `before` is what its type's bytes() said before. Brings the accounts up to date, announces the change,
 * and removes the key when o is empty (then e and o are gone). */
void store_object_changed(const struct access *a, const struct key *k, struct entry *e, struct object *o,
                          size_t before);

/* Before the collection of e, a live entry, is changed (and before object_is_private() is asked): a snapshot
 * that has not seen it yet takes a reference. The functions above and below do so by themselves. */
void store_save_entry_first(const struct access *a, const struct entry *e);

/* Before a command that reads some of these keys and writes others is run, and logged as it is: whoever
 * replays it needs what it has read, though it be evicted before a snapshot comes to it. Shards locked. */
void store_save_keys_first(const struct access *a, const struct key *keys, uint32_t n);

/* Drop a reference; what it was the last one to is freed, in slices between rounds if it is large. Any
 * thread; no lock needed. */
void store_release_object(struct store *s, struct object *o);

/* One of several keys that are set to strings together. */
struct store_pair {
    struct str value;
    struct block *block; /* NULL, or what value lies in: as in store_put_string() */
    /* The store's. */
    struct block *taken;
    struct entry *old, *fresh;
};

/* Set all the keys, in this order and without deadlines, or none of them: a key may come twice, the later
 * value stays. All their shards are locked. Returns 0 or ERR_OOM; on error nothing has changed. */
int store_put_pairs(const struct access *a, const struct key *keys, struct store_pair *pairs, uint32_t n);

/* The string at k, n bytes long and writable: grown with zero bytes or cut, created when
 * absent, deadline kept, marked raw. In place where it fits, with slack for the next
 * APPEND. `cur` is what store_find() gave for k (NULL: absent). The pointer is good
 * until the lock is released. Returns 0 or ERR_OOM with nothing changed. The change is
 * announced by this call: write the bytes before unlocking. */
int store_edit_string(const struct access *a, const struct key *k, struct entry *cur, size_t n, char **data);

/* A new deadline (0 = none) for a live key, of an extended one the end of its freshness. Returns 0,
 * ERR_NOTFOUND or ERR_OOM. */
int store_set_expire(const struct access *a, const struct key *k, int64_t expire_ms);

/* True when a live key was removed. */
bool store_delete(const struct access *a, const struct key *k);

/* Copy value, deadline and extension of `from` to `to`, replacing it; both shards locked. Blocks and
 * collections are shared, not copied. Returns 0, ERR_NOTFOUND, ERR_OOM. RENAME is copy + delete. */
int store_copy(const struct access *a, const struct key *from, const struct key *to);

/* Bytes that key and value occupy with overhead (MEMORY USAGE). */
size_t store_entry_bytes(const struct store *s, const struct entry *e);

/* OBJECT IDLETIME (seconds) and FREQ (0-255) of a live key, by the policy in force; 0 when it is absent.
 * Only the LRU and LFU policies keep clocks. Under the others a key gets one when it is asked for first:
 * until then its idle time is how long its segment has been full, which is never too much. So the entry
 * may move. */
uint64_t store_idle_s(const struct access *a, const struct key *k);
uint32_t store_freq(const struct access *a, const struct key *k);
/* RESTORE: what another server knew of a live key. idle_s or freq negative: not known. */
void store_set_access(const struct access *a, const struct key *k, int64_t idle_s, int64_t freq);
bool store_keeps_clocks(const struct store *s); /* does the policy in force want to know? */

/* ---- watching ---------------------------------------------------------------- */

/* WATCH: `flag` becomes true when the key changes, expires into removal, is flushed or
 * swapped. One watch per (connection, key); memory is the caller's. A key that exists but
 * is expired when watched counts as absent. Each shard's list has a leaf lock of its own, taken
 * by a writer only when the list is not empty: linking needs the shard's lock as well (so that
 * nothing changes between the look and the link), unlinking does not. */
struct watch {
    struct watch *next, *prev;
    _Atomic bool *flag;
    uint32_t db; /* SELECT's number */
    uint16_t slot;
    uint32_t n;
    const char *p;     /* owned by the caller, as long as the watch is linked */
    int64_t expire_ms; /* the deadline seen at WATCH, 0 = none or absent */
    bool seen;         /* it was there */
};
void store_watch(const struct access *a, struct watch *w); /* shard locked */
void store_unwatch(struct store *s, struct watch *w);      /* no shard lock needed */
/* Shard locked. At EXEC: is it gone although nobody has written it? Its deadline has passed (Redis: that is a
 * change), or it has been purged. */
bool store_watch_gone(const struct access *a, const struct watch *w);

/* ---- many keys --------------------------------------------------------------- */

/* Called with the entry's shard locked; must not call back into the store. False stops. */
typedef bool store_visit_fn(void *arg, const struct entry *e);

/* One step of SCAN over database `db` from `cursor` (0 = start), visiting whole buckets until
 * about `count` keys were seen or `buckets_max` buckets were passed. Locks shards on its own:
 * the caller holds none. *next is the cursor to go on with, 0 = done, below 2^53. Every key that
 * exists from the first call to the last is visited at least once. Returns 0, or ERR_AGAIN when the
 * next shard is busy (then *next is where to go on and *busy_shard which one). */
int store_scan(const struct access *a, uint32_t db, uint64_t cursor, uint32_t count, store_visit_fn *visit,
               void *arg, uint64_t *next, uint32_t *busy_shard);

/* How many buckets a scan of everything passes, about. Any thread. */
uint64_t store_buckets(const struct store *s);

/* A live key of the database, close to uniformly at random, copied into the arena; p NULL when
 * it is empty. Locks on its own. ERR_AGAIN when what it met was busy; ERR_OOM. ERR_FULL, but never on the
 * lane: live keys of this database are so rare that finding one may take long. */
int store_random_key(const struct access *a, uint32_t db, struct rng *rng, struct arena *arena,
                     struct str *out);

/* One slot, for a cluster: all databases, expired keys that nobody has met yet included. These lock the
 * slot's shard on their own, and return ERR_AGAIN when it is busy; not with a lock held.
 *
 * How many keys; visit those that live; remove at most `max`, each announced (change.h, CHANGE_MOVED), *left:
 * how many are still there. */
int store_slot_keys(const struct access *a, uint32_t slot, uint32_t *n);
int store_slot_visit(const struct access *a, uint32_t slot, store_visit_fn *visit, void *arg);
int store_slot_clear(const struct access *a, uint32_t slot, uint32_t max, uint32_t *left);
/* Visit those that live, hidden ones (ext.h) too, a part at a time: from *at, 0 at first, until about `max`
 * were seen. Every key that is there all the while is visited. 1: there is more, 0: that was all, ERR_AGAIN.
 */
int store_slot_scan(const struct access *a, uint32_t slot, uint64_t *at, uint32_t max, store_visit_fn *visit,
                    void *arg);
/* Keys of a slot that is on its way here are nobody's business yet: SCAN, RANDOMKEY and store_db_keys() pass
 * over them. The lane. */
void store_slot_veil(const struct access *a, uint32_t slot, bool on);
/* How often a database has been flushed: any thread. Keys may be gone without a word if it has changed. */
uint64_t store_flushes(const struct store *s);

uint32_t store_databases(const struct store *s); /* as SELECT counts them */

/* In a round or under the gate, no lock; exact when nobody writes. */
uint64_t store_db_keys(const struct store *s, uint32_t db);
uint64_t store_db_expires(const struct store *s, uint32_t db);
int64_t store_db_avg_ttl_ms(const struct store *s, uint32_t db);

/* Gate. O(tables), never O(keys): memory comes back in store_maintain() slices. */
void store_flush_all(const struct access *a);
void store_flush_db(const struct access *a, uint32_t db);
void store_swap_db(const struct access *a, uint32_t x, uint32_t y);

/* ---- memory and upkeep ------------------------------------------------------- */

/* Each worker, at the start of every round, no lock held: refills the appender's
 * reserve. Cheap when there is nothing to do. */
void store_round_begin(struct store *s, struct appender *app);

/* Each worker, between rounds, no lock held: expiry, compaction, freeing what was flushed,
 * for at most about budget_us. Returns the ms after which it wants to be called again (0 = more to
 * do now, but serve your clients first, and see store_haste()). *a is kept: it must live as long as the
 * store, since later rounds of this thread reclaim with it before they begin. */
uint32_t store_maintain(const struct access *a, uint32_t budget_us);

/* What the last store_maintain() of this thread left to be done, how soon must it be? */
enum store_haste {
    STORE_AT_LEISURE, /* nobody waits: a small share of the time will do */
    STORE_SOON,       /* it piles up: flushed memory, more than 1 % expired, a pass that takes seconds */
    STORE_NOW,        /* writers want the memory */
};
enum store_haste store_haste(const struct appender *app);
/* One thread, with no place at the gate: large pages that will be wanted are made ready, those that are full
 * are made of small ones. True when something was done. May take some milliseconds. */
bool store_prepare(struct store *s);

void store_set_active_expire(struct store *s, bool on);    /* gate; for tests: expired keys stay invisible */
void store_set_maxmemory(struct store *s, uint64_t bytes); /* gate */
void store_set_eviction(struct store *s, const struct store_eviction *e); /* gate; in force at once */

/* True when data is beyond maxmemory and nothing (more) may be evicted: refuse CMD_DENYOOM. One relaxed load.
 */
bool store_over_memory(const struct store *s);

struct store_memory {
    uint64_t used; /* what maxmemory bounds: segments + tables + blocks + heap_slack + ghosts + rss_excess */
    uint64_t segments;      /* bytes of segments in use */
    uint64_t live;          /* bytes of live entries in them: names + headers + values */
    uint64_t names;         /* the keys themselves */
    uint64_t headers;       /* of entries, and their deadlines */
    uint64_t values;        /* that lie beside their keys, with padding */
    uint64_t dead;          /* segments - live: dead entries, room at the end */
    uint64_t tables;        /* buckets, directories, slot headers */
    uint64_t blocks;        /* heap values, as jemalloc rounds them */
    uint64_t heap_slack;    /* holes in the heap's pages, as far as they are the values' */
    uint64_t rss_excess;    /* the correction from RSS (store_note_process) */
    int64_t rss_gap;        /* resident less all accounts, smoothed: what the correction is made of */
    uint64_t free_segments; /* committed, waiting for reuse; not part of used */
    uint64_t doomed;        /* flushed and not yet freed; not part of used */
    uint64_t keys, expires; /* all databases */
    uint64_t segment_size;  /* of one */
    uint64_t expired;       /* of what is used: expired but not yet removed, an estimate */
    uint64_t ghosts;        /* what remembers evicted keys, and the shadows; part of used */
};
void store_memory(const struct store *s, struct store_memory *out); /* in a round, or under the gate */
/* segments + tables: what the data takes outside of the heap. Any thread, cheap. */
uint64_t store_outside_heap(const struct store *s);

/* The process as seen from outside, some times a second, by one thread and always the same. Bytes. */
struct store_process {
    uint64_t rss;            /* resident, without mapped files */
    int64_t beside;          /* of that, what lay outside of the heap before the first key */
    uint64_t heap_before;    /* of heap_allocated, what there was before the first key; 0: unknown */
    uint64_t heap_allocated; /* these three as mem_stats has them */
    uint64_t heap_active;
    uint64_t heap_resident;
    int64_t now_ms; /* of a clock that only goes forward */
};
/* In a round or not. Corrects the accounts by what is resident: the values' share of the heap's
 * holes at once; what no account explains slowly, and never by more than 1/8 of maxmemory. Buffers of clients
 * are in the heap and no values, so they never count. Upkeep acts on it. */
void store_note_process(struct store *s, const struct store_process *p);
/* Any thread, not under a shard's lock: of the pages that values have left in the heap, give back what is
 * more than a small share of maxmemory, unless that is more than `most` bytes. May take milliseconds for each
 * 10 MB. */
void store_trim_heap(struct store *s, uint64_t most);
/* Give back all memory that is not needed, however long it takes: the lane's, or with no lock held. */
void store_purge(struct store *s);

/* Size classes of eviction: entries of up to 64 << n bytes, the last without bound. */
enum { STORE_CLASSES = 12 };

struct store_stats {
    uint64_t expired, evicted, compacted, segments_freed, splits, merges;
    uint64_t evicted_class[STORE_CLASSES]; /* evicted, by size class */
    uint64_t ghost_hits;                   /* keys written again soon after they were evicted */
    uint64_t evicted_age_ms; /* mean time from an evicted key's writing (or last move) to its end */
    uint64_t small_percent;  /* that allkeys-auto gives to new keys at present (shadow.h) */
};
void store_stats(const struct store *s, struct store_stats *out);
void store_stats_reset(struct store *s); /* gate */

/* Walks everything and asserts every invariant (debug builds; gate). */
void store_check(const struct store *s);

#endif
