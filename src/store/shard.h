/* The store from inside: what the files of this folder share. Not for others.
 *
 * Who guards what:
 *   shard lock     the shard's tables, their entries, its counters
 *   gate           slots, id_of, id_state, segments.epoch, maxmemory, sealing others' segments
 *   own thread     struct appender, but its counters, which anybody may read
 *   leaf locks     segments.lock, pool.lock, region.lock, shard.watch_lock, graves.lock, reap.lock,
 * sweep.lock: taken with a shard lock held or none, never two of them but segments/pool -> region */
#ifndef LARDER_STORE_SHARD_H
#define LARDER_STORE_SHARD_H

#include "base/assert.h"
#include "proto/slot.h"
#include "store/change.h"
#include "store/ext.h"
#include "store/ghost.h"
#include "store/segment.h"
#include "store/shadow.h"
#include "store/store.h"
#include "store/table.h"

enum {
    IDS_MAX = 4096,         /* database ids: live ones and those whose garbage is being swept */
    INLINE_MAX = 8 << 10,   /* values above are blocks in the heap ... */
    INLINE_SHARE = 8,       /* ... or above 1/8 of a segment */
    HEAP_UNSEEN = 64 << 10, /* a thread adds its heap bytes to the sum when they differ by this */
};

/* Keys of one database in one shard. Shard lock; readers add them up with relaxed loads. */
struct db_count {
    _Atomic uint32_t keys, expires;
    _Atomic int64_t ttl_sum;    /* of deadlines, each less store.origin_ms and clamped */
    _Atomic uint64_t key_bytes; /* of the names alone */
};

struct shard {
    CACHE_ALIGNED struct lock lock;
    struct lock watch_lock;          /* leaf; guards the list */
    _Atomic(struct watch *) watches; /* the head may be looked at without it */
    _Atomic uint32_t notice; /* enum notice: who wants to hear of changes; all that a writer looks at */
    struct db_count zero;    /* id 0: by far the usual one */
};

enum notice { NOTICE_WATCHED = 1, NOTICE_SEAM = 2 };

/* Other ids: [id][shard], zero pages until used; a line each, so that shards do not share one. */
struct db_line {
    CACHE_ALIGNED struct db_count count;
};

enum id_state { ID_FREE, ID_LIVE, ID_DEAD }; /* dead: its keys are garbage */

enum sweep_reason { SWEEP_NOTHING, SWEEP_EXPIRE, SWEEP_COMPACT, SWEEP_PURGE, SWEEP_DOOMED, SWEEP_EVICT };

enum { HORIZON_BINS = 48 };

/* A walk through one pinned segment, which may take several slices. */
struct walk {
    struct segment *seg; /* pinned by this thread; NULL: none */
    uint32_t at;         /* units done */
    enum sweep_reason reason;
    bool missed;                    /* something was busy or could not be moved */
    uint32_t banned;                /* removed because of bans */
    uint32_t purge;                 /* garbage generation when it began */
    int64_t earliest;               /* deadline among what stays */
    uint32_t horizon[HORIZON_BINS]; /* units that stay, by log2 of the ms they have left */
};

/* A thread's part of the walk that packs tables (maintain/pack.c): slots up to `end`, and a page of the
 * first. */
struct packing {
    uint32_t slot, end, page;
};

struct appender {
    CACHE_ALIGNED struct segment_writer writer;
    struct pool_cache cache;
    struct table_mem tm;
    struct walk walk;
    struct packing pack;
    int64_t heap_unseen; /* bytes of heap values not yet in store.heap */
    uint64_t heap_moved; /* bytes of them, to and from, since this thread looked at the heap's holes */
    /* Written by the owner only (relaxed), read by anybody. */
    _Atomic uint64_t expired, evicted, compacted, ghost_hits;
    _Atomic uint64_t evicted_class[STORE_CLASSES], evicted_age_ms; /* the sum of ages */
    _Atomic int64_t list_heap[SEGMENT_LISTS]; /* bytes of heap values, by the list of their entries */
    _Atomic uint64_t overdue;   /* of what expired: bytes x ms that they lay around beyond their deadline */
    _Atomic uint64_t changes;   /* change.h; never reset */
    change_removed_fn *removed; /* gate; NULL: nobody listens */
    void *listener;
    void *debts; /* store_thread_debts() */
    struct rng rng;
    const struct access *upkeep; /* store_maintain()'s: who reclaims before a round */
    enum store_haste haste;      /* of what it left to be done */
};

/* Tables that a flush detached, waiting to be freed. Lies behind them in the same mapping. */
struct grave {
    struct grave *next;
    struct table *slots;
    uint32_t slot, page; /* where the digging goes on */
};

/* The walk over all segments' metadata that finds work for sweeps (sweep.c). */
struct sweep {
    struct lock lock; /* leaf, only tried; guards what follows */
    uint32_t cursor;
    int64_t next_pass_ms, began_ms;
    bool active;
    int64_t overdue_ms; /* when `overdue` was taken */
    uint64_t overdue;   /* all threads' sum then */
    uint32_t threshold; /* compact sealed segments with less than this many of 64 parts live */
    uint64_t reclaim;   /* 64ths of segments that this pass may still reclaim by compaction */
    uint64_t live_parts, sealed;
    uint32_t parts[65]; /* sealed segments by live 64ths */
    uint32_t recycle;   /* id to look at after the next pass */
    bool for_dead;      /* this pass looks for dead entries in all segments */
    uint32_t clean;     /* the garbage generation that all segments seen by this pass are clean of */
};

/* The policy in force; evict.c. */
struct evictor {
    struct store_eviction how; /* gate, like what follows up to the ghosts' slots */
    bool clocked;              /* new entries have an access clock */
    uint64_t goal;             /* bytes in use that eviction aims at */
    _Atomic uint64_t excused;  /* bytes beyond maxmemory that were there when it was lowered (memory.c) */
    struct ghosts ghosts;
    _Atomic uint64_t cut;                          /* LRU, LFU, TTL: scores from here on go ... */
    _Atomic uint64_t cut_pressed;                  /* ... and from here while pressed */
    _Atomic bool pressed;                          /* more than maxmemory is in use */
    _Atomic int64_t cut_left;                      /* bytes to sweep before it is found anew */
    _Atomic bool stuck;                            /* there was nothing to evict */
    _Atomic uint64_t size_in[SEGMENT_CLASSES + 1]; /* what an entry takes (evict.c); the last is of the list
                                                      of what may not be evicted */
    struct shadows shadows;
};

struct store {
    struct table *slots; /* STORE_SLOTS, in a mapping of their own */
    const char *base;    /* = region.base */
    struct shard *shards;
    struct db_line *dbs; /* IDS_MAX x STORE_SHARDS */
    struct hash_seed seed;
    bool cluster; /* store_options.cluster */
    uint32_t inline_max;
    int64_t origin_ms;
    uint32_t databases, nthreads, writers; /* store_options */
    uint16_t id_of[STORE_DATABASES_MAX];
    _Atomic uint8_t id_state[IDS_MAX]; /* enum id_state; gate, but a sweep may find that a dead one is free */
    uint32_t ids_used;                 /* ids at and above were never used */
    _Atomic uint32_t ids_dead;
    _Atomic uint64_t maxmemory;  /* gate; any thread may read it */
    bool active_expire;          /* gate; off in tests only */
    uint8_t veiled[SLOT_BYTES];  /* store_slot_veil(); each bit its shard's lock */
    _Atomic uint32_t nveiled;    /* of them; 0: nobody looks */
    _Atomic int64_t veiled_keys; /* in them, of database 0 */
    _Atomic uint64_t flushes;
    struct store_seam seam;  /* set at boot */
    struct bans bans;        /* ban.h */
    _Atomic bool sweep_dead; /* the next pass is to look for entries that are dead (ext.h) */
    /* Cuts (cut.h): cuts_open is read by every write; bits are set under the gate, cleared by the reader.
     * cut_sense: gate. cuts: gate and cuts_lock to write, either to read, or a shard lock while it is open.
     */
    _Atomic uint32_t cuts_open;
    uint8_t cut_sense;
    struct cut *cuts[STORE_CUTS_MAX];
    struct lock cuts_lock;
    struct appender *appenders[STORE_THREADS_MAX];
    struct region region;
    struct pool pool;
    struct segments segs;

    CACHE_ALIGNED _Atomic bool over_memory;
    _Atomic uint64_t expired_bytes;     /* lie around expired, on average of the last seconds */
    _Atomic bool wanting;               /* eviction has something to do */
    _Atomic int64_t lateness_ms;        /* how long an expired entry may lie around */
    CACHE_ALIGNED _Atomic int64_t heap; /* bytes of heap values */
    _Atomic int64_t heap_doomed;        /* ... that a flush left behind */
    _Atomic uint64_t heap_peak;         /* the most that values took of the heap since it was trimmed */
    _Atomic uint64_t heap_slack; /* the heap's rounding and holes, the values' share (store_note_process) */
    _Atomic uint64_t rss_excess; /* resident beyond all accounts, as far as it counts as used */
    _Atomic int64_t rss_gap;     /* resident less all accounts, smoothed; may be negative */
    _Atomic uint64_t
        heap_before;     /* allocated before the first key, as the observing thread says; 0: unknown */
    int64_t observed_ms; /* the observing thread's */
    CACHE_ALIGNED struct evictor evict;
    CACHE_ALIGNED struct sweep sweep;
    struct lock graves_lock;
    struct lock reap_lock;                /* leaf, only tried; guards `reaping` */
    struct object_large *_Atomic dying;   /* collections without references; pushed by anybody */
    struct object_large *_Atomic reaping; /* taken from there, the first one half freed */
    struct grave *_Atomic graves;
    _Atomic uint32_t
        pack_left; /* shards whose tables the walk has still to pack (pack.c); 0: there is none */
    _Atomic uint64_t pack_tried; /* units that were free in used pages of the pool when it began */
};

/* ---- small helpers ------------------------------------------------------------ */

/* The slot's shard is locked. */
static inline bool slot_is_veiled(const struct store *s, uint32_t slot)
{
    return unlikely(atomic_load_explicit(&s->nveiled, memory_order_relaxed) != 0) &&
           slots_has(s->veiled, slot);
}

static inline struct shard *shard_of_slot(const struct store *s, uint32_t slot)
{
    return &s->shards[slot / STORE_SLOTS_PER_SHARD];
}

/* Slot of a key whose seeded hash without database is `raw`. Bits that the table uses neither for its
 * tag nor, short of a million pages in a slot, for its page. */
static inline uint16_t slot_for(const struct store *s, struct str key, uint64_t raw)
{
    return likely(!s->cluster) ? (uint16_t)(raw >> 36) % STORE_SLOTS : slot_of(key);
}

/* The key of that name in the database with this id; borrows the name. */
static inline void key_set(const struct store *s, struct key *k, struct str name, uint32_t id)
{
    k->p = name.p;
    k->n = (uint32_t)name.n;
    uint64_t raw = hash_seeded(name.p, name.n, &s->seed);
    k->slot = slot_for(s, name, raw);
    k->db = (uint16_t)id;
    k->hash = table_hash_db(raw, id);
}

static inline struct table *table_of(const struct store *s, const struct key *k)
{
    return &s->slots[k->slot];
}

static inline struct db_count *count_of(const struct store *s, uint32_t slot, uint32_t db)
{
    uint32_t shard = slot / STORE_SLOTS_PER_SHARD;
    return likely(db == 0) ? &s->shards[shard].zero : &s->dbs[(size_t)db * STORE_SHARDS + shard].count;
}

static inline bool deadline_passed(int64_t expire_ms, int64_t now_ms)
{
    return expire_ms != 0 && expire_ms <= now_ms;
}

static inline bool is_expired(const struct access *a, int64_t expire_ms)
{
    return deadline_passed(expire_ms, a->now_ms) && a->expired != EXPIRED_SHOW;
}

static inline void bump(_Atomic uint64_t *counter)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/* ---- entry.c: building and taking apart ---------------------------------------- */

struct shape {
    struct str key;
    enum entry_kind kind;
    struct str value; /* as stored: the bytes, or the pointer of a heap value */
    int64_t expire_ms;
    uint32_t db;
    uint32_t marks; /* ENTRY_MARKS and ENTRY_CLOCK that are set */
    uint32_t clock; /* with ENTRY_CLOCK */
    uint8_t freq;   /* ENTRY_FREQ_MASK */
    uint8_t queue;  /* of the eviction policy: 0 small, 1 main */
    struct str ext; /* its cache extension, n 0 if it has none */
};

uint64_t shape_units(const struct shape *f);
/* e has room for shape_units(). Returns with the entry complete. */
void entry_write(struct entry *e, const struct shape *f);
uint32_t entry_units(const struct entry *e);
/* With the slack behind it. Shard locked. */
uint32_t entry_extent(const struct entry *e);
/* Change value length and marks in place; what is left of the extent becomes slack. The bytes are the
 * caller's: written before if they shrink into it, after if they grow. */
void entry_resize(struct entry *e, uint32_t vlen, uint32_t marks, uint32_t extent);
void entry_set_expire(struct entry *e, int64_t expire_ms); /* has ENTRY_TTL */
void entry_set_heap(struct entry *e, const void *p);
uint32_t entry_clock(const struct entry *e); /* has ENTRY_CLOCK */
void entry_set_clock(struct entry *e, uint32_t clock);
/* What a sweep may look at without the lock, given the header word: the deadline (a hint only), the key
 * and the database id, and the size of an entry that is neither long nor extended nor has slack. */
int64_t entry_expire_hint(const struct entry *e);
struct str entry_fixed_parts(const struct entry *e, uint32_t word, uint32_t *db);
uint32_t entry_short_units(uint32_t word);

/* What its heap value takes, 0 if it has none. */
size_t entry_heap_bytes(const struct entry *e);

/* ---- write.c -------------------------------------------------------------------- */

/* Mark dead and give back its room; `drop`: release the heap value too. */
void store_kill(const struct access *a, struct entry *e, bool drop);
/* Take a key out: table, counters, entry. */
void store_remove(const struct access *a, uint32_t slot, const struct table_pos *pos, struct entry *e);
/* The same because it expired: told to watchers and counted. */
void store_remove_expired(const struct access *a, const struct key *k, const struct table_pos *pos,
                          struct entry *e);
/* The same because it was purged: nobody can read it any more (ext.h, dead()). */
void store_remove_dead(const struct access *a, const struct key *k, const struct table_pos *pos,
                       struct entry *e);
/* The same because it was evicted: told to watchers. evict_note() counts. */
void store_remove_evicted(const struct access *a, const struct key *k, const struct table_pos *pos,
                          struct entry *e);
enum { STORE_MOVE_SAME = -1 };
struct move {
    int queue, freq; /* or STORE_MOVE_SAME */
    bool clock;      /* with an access clock, whatever the policy */
};
/* Move an entry to this thread's open segment of its lane. NULL when memory is short. */
struct entry *store_move(const struct access *a, const struct table_pos *pos, struct entry *e,
                         const struct move *how);
/* A hit of an entry that is not known to be hot, or that has a clock. */
void access_note(const struct access *a, struct entry *e);
/* When a sweep should look at a segment that has this deadline in it. */
int64_t store_sweep_time(const struct access *a, int64_t expire_ms);

/* ---- count.c (shard locked) ------------------------------------------------------- */

/* Those of a veiled slot are counted apart. */
void store_count_veil(struct store *s, uint32_t slot, bool on);
void store_count_key(struct store *s, uint32_t slot, uint32_t db, int64_t expire_ms, int sign);
void store_count_deadline(struct store *s, uint32_t slot, uint32_t db, int64_t old_ms, int64_t new_ms);
/* A key comes (bytes of its name) or goes (less than 0). */
void store_count_name(struct store *s, uint32_t slot, uint32_t db, int64_t bytes);
/* Bytes of values outside the segments come or go. */
void store_count_heap(const struct access *a, int64_t bytes);

/* ---- change.c ------------------------------------------------------------------- */

/* The store itself has removed a key; `id` is its database's id. Shard locked. */
void store_announce_removed(const struct access *a, uint32_t id, struct str key, enum change_reason why);
static inline void store_note_removed(const struct access *a, uint32_t id, struct str key,
                                      enum change_reason why)
{
    if (unlikely(a->app->removed != NULL))
        store_announce_removed(a, id, key, why);
}

/* ---- watch.c -------------------------------------------------------------------- */

void store_touch_watches(const struct access *a, const struct key *k);
/* Those of WATCH alone: nobody has written the key, its time was over. */
void store_flag_watches(const struct access *a, const struct key *k);
static inline void store_tell_watches(const struct access *a, const struct key *k)
{
    if (unlikely(atomic_load_explicit(&shard_of_slot(a->store, k->slot)->notice, memory_order_relaxed) != 0))
        store_touch_watches(a, k);
}
/* A command has changed a key. */
static inline void store_touch(const struct access *a, const struct key *k)
{
    bump(&a->app->changes);
    store_tell_watches(a, k);
}
/* Gate: set the flag of every watch of a key that was there and matches, in the database with this id. */
void store_flag_matches(const struct access *a, uint32_t id, struct str glob);
/* Gate: set the flag of every watch of database number db (or all, when negative) whose key exists, or whose
 * key exists in number `other`. */
void store_touch_db(const struct access *a, int64_t db, int64_t other);

/* ---- ext.c ---------------------------------------------------------------------- */

/* Its deadline has not passed, and store.bans.look says that it may be so: is it nothing to plain commands?
 */
bool ext_hides(const struct store *s, const struct entry *e, int64_t now_ms);
bool ext_is_dead(const struct store *s, const struct entry *e);
bool ext_soften(const struct access *a, const struct key *k, struct entry *e);
void ext_tell_touched(const struct access *a, const struct key *k);
void ext_tell_dying(const struct access *a, const struct entry *e);
void ext_tell_flushed(const struct access *a, bool all);
static inline bool entry_is_hidden(const struct access *a, const struct entry *e)
{
    uint32_t look = atomic_load_explicit(&a->store->bans.look, memory_order_relaxed) & ~(uint32_t)ENTRY_TTL;
    return unlikely(entry_word(e) & look) &&
           ext_hides(a->store, e, a->expired == EXPIRED_SHOW ? INT64_MIN : a->now_ms);
}

/* ---- memory.c ------------------------------------------------------------------- */

/* What is compared with maxmemory: what is committed for data, and the correction from RSS. */
uint64_t store_used(struct store *s);
void store_update_pressure(struct store *s);
/* maxmemory has changed: what the correction from RSS may come to follows it. */
void store_limit_excess(struct store *s);
/* Gate: what is in use beyond maxmemory now, which may have been lowered, is no writer's overrun. */
void store_excuse_overrun(struct store *s);
/* How long a thread may make room before a round; 0: upkeep does. */
int64_t store_reclaim_ns(struct store *s);
/* Of free segments that are more than a small share of maxmemory, give some megabytes back. */
void store_trim_surplus(struct store *s);
/* Give memory that nobody needs back to the system until the time is over; true while there is more. */
bool store_give_back(struct store *s, int64_t until_ns);
/* With what a flush has left, more than maxmemory. */
bool store_is_crowded(struct store *s);

/* ---- store.c -------------------------------------------------------------------- */

#define STORE_SLOTS_BYTES (sizeof(struct table) * STORE_SLOTS + sizeof(struct grave))
/* Database n has id n, and no other id is in use. */
void store_init_ids(struct store *s);

/* ---- cut.c ---------------------------------------------------------------------- */

void store_cut_save(const struct access *a, const struct key *k);
/* Shard locked, before the first change to the key: open cuts get what they have not saved yet. */
static inline void store_save_first(const struct access *a, const struct key *k)
{
    if (unlikely(atomic_load_explicit(&a->store->cuts_open, memory_order_relaxed) != 0))
        store_cut_save(a, k);
}
/* Gate: cuts lose what they have not saved, and those that must be whole are broken; tables that are new to
 * them have nothing to save. */
void store_cut_flushed(struct store *s);
void store_cut_fresh_tables(struct store *s);
/* No lock held: write to a file some of what waits for readers in memory beyond its bound. */
void store_cut_relieve(struct store *s);
/* Debug builds, gate: nothing is unsaved for a cut that is not open. */
void store_cut_check(const struct store *s);

/* ---- flush.c -------------------------------------------------------------------- */

/* Release the heap values of a segment that nobody else looks at, from unit *at on, until the time is
 * over; true when that is done. What is released is marked dead. account: what they are counted in. */
bool segment_release_heap(struct store *s, struct segment *seg, uint32_t *at, int64_t until_ns,
                          _Atomic int64_t *account);

/* Free some of what flushes detached; true while there is more. */
bool store_dig(const struct access *a, int64_t until_ns);
static inline enum id_state id_state(const struct store *s, uint32_t id)
{
    return (enum id_state)atomic_load_explicit(&s->id_state[id], memory_order_relaxed);
}
static inline uint32_t ids_dead(const struct store *s)
{
    return atomic_load_explicit(&s->ids_dead, memory_order_relaxed);
}
static inline bool id_is_dead(const struct store *s, uint32_t id)
{
    return unlikely(ids_dead(s) != 0) && id_state(s, id) == ID_DEAD;
}
/* A dead id whose last key is gone becomes free. Gate, or the sweep's lock. */
void store_recycle_id(struct store *s, uint32_t id);

/* ---- reap.c --------------------------------------------------------------------- */

/* Drop a reference. Returns the bytes that are freed at once, or 0 when they are not, or not yet: those of a
 * large one are `later`, which the reaper takes off heap_doomed. */
int64_t store_drop_object(struct store *s, struct object *o, int64_t *later);
/* Free some of what has no references any more; true while there is more. */
bool store_reap(struct store *s, int64_t until_ns);

/* ---- sweep.c -------------------------------------------------------------------- */

/* Stop the walk of an appender (gate, or its own thread). */
/* Evict for at most so long, while memory is wanted. */
void sweep_evict(const struct access *a, int64_t until_ns);
void sweep_abort(struct store *s, struct appender *app);
/* Gate: take out all keys of dead ids, however long it takes. */
void sweep_purge_now(const struct access *a);

/* ---- pack.c --------------------------------------------------------------------- */

/* Move tables out of sparse pages of the pool; true while there is more. */
bool store_pack(const struct access *a, int64_t until_ns);

/* Locks a shard on the way of an operation that holds none: false when it is busy. *locked tells
 * store_shard_leave() whether there is something to release. */
static inline bool store_shard_enter(const struct access *a, uint32_t shard, bool *locked)
{
    struct lock *l = &a->store->shards[shard].lock;
    *locked = lock_acquire(l);
    return *locked || a->lane;
}

static inline void store_shard_leave(const struct access *a, uint32_t shard, bool locked)
{
    if (locked)
        lock_release(&a->store->shards[shard].lock);
}

#endif
