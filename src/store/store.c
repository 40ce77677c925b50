/* The store as a whole: making it, hashing keys, locking shards, finding entries. */
#include "store/store.h"

#include "base/err.h"
#include "os/clock.h"
#include "store/ban_internal.h"
#include "store/evict.h"

#include <string.h>

enum {
    LATENESS_BOOT_MS = 1000, /* until the first sweep knows better */
};

#define SHARDS_BYTES (sizeof(struct shard) * STORE_SHARDS)
#define DBS_BYTES (sizeof(struct db_line) * STORE_SHARDS * IDS_MAX)

_Static_assert((int)STORE_SLOTS == (int)SLOT_COUNT, "one table a slot");
_Static_assert(sizeof(struct shard) == CACHE_LINE, "what a write of one key touches lies together");

static int make_appenders(struct store *s)
{
    for (uint32_t i = 0; i < s->nthreads; i++) {
        struct appender *app = mem_aligned(CACHE_LINE, sizeof *app);
        if (app == NULL)
            return ERR_OOM;
        memset(app, 0, sizeof *app);
        app->tm = (struct table_mem){
            .base = s->base,
            .size = s->region.size,
            .pool = &s->pool,
            .cache = &app->cache,
            .seed = &s->seed,
        };
        rng_init(&app->rng, s->seed.k0 + i);
        s->appenders[i] = app;
    }
    return 0;
}

void store_init_ids(struct store *s)
{
    for (uint32_t id = 0; id < IDS_MAX; id++)
        atomic_store_explicit(&s->id_state[id], id < s->databases ? ID_LIVE : ID_FREE, memory_order_relaxed);
    for (uint32_t i = 0; i < s->databases; i++)
        s->id_of[i] = (uint16_t)i;
    s->ids_used = s->databases;
    atomic_store_explicit(&s->ids_dead, 0, memory_order_relaxed);
}

static int make_parts(struct store *s)
{
    int err = region_init(&s->region);
    if (err == 0)
        err = pool_init(&s->pool, &s->region);
    if (err == 0)
        err = segments_init(&s->segs, &s->region, s->maxmemory, s->writers);
    if (err != 0)
        return err;
    s->base = s->region.base;
    s->inline_max = s->segs.size / INLINE_SHARE < INLINE_MAX ? s->segs.size / INLINE_SHARE : INLINE_MAX;
    s->slots = region_map(STORE_SLOTS_BYTES);
    s->shards = region_map(SHARDS_BYTES);
    s->dbs = region_map(DBS_BYTES);
    if (s->slots == NULL || s->shards == NULL || s->dbs == NULL)
        return ERR_OOM;
    return make_appenders(s);
}

int store_new(struct store **out, const struct store_options *opt)
{
    ASSERT(opt->databases > 0 && opt->databases <= STORE_DATABASES_MAX);
    ASSERT(opt->threads > 0 && opt->threads <= STORE_THREADS_MAX);
    struct store *s = mem_aligned(CACHE_LINE, sizeof *s);
    if (s == NULL)
        return ERR_OOM;
    memset(s, 0, sizeof *s);
    s->seed = opt->seed;
    s->cluster = opt->cluster;
    s->databases = opt->databases;
    s->nthreads = opt->threads;
    s->writers = opt->writers != 0 ? opt->writers : opt->threads;
    s->maxmemory = opt->maxmemory;
    s->active_expire = true;
    s->origin_ms = os_wall_ms();
    atomic_init(&s->lateness_ms, LATENESS_BOOT_MS);
    bans_init(&s->bans);
    store_init_ids(s);
    int err = make_parts(s);
    if (err != 0) {
        store_free(s);
        return err;
    }
    store_update_pressure(s);
    *out = s;
    return 0;
}

/* Blocks and collections are the only things that lie outside the mappings. */
static void release_heap_values(struct store *s)
{
    uint32_t end = atomic_load_explicit(&s->segs.frontier, memory_order_acquire);
    for (uint32_t i = 0; i < end; i++) {
        uint32_t at = 0;
        (void)segment_release_heap(s, &s->segs.meta[i], &at, INT64_MAX, &s->heap);
    }
    (void)store_reap(s, INT64_MAX);
}

void store_free(struct store *s)
{
    if (s == NULL)
        return;
    if (s->segs.meta != NULL)
        release_heap_values(s);
    for (struct grave *g = atomic_load(&s->graves), *next; g != NULL; g = next) {
        next = g->next;
        region_unmap(g->slots, STORE_SLOTS_BYTES);
    }
    region_unmap(s->slots, STORE_SLOTS_BYTES);
    region_unmap(s->shards, SHARDS_BYTES);
    region_unmap(s->dbs, DBS_BYTES);
    for (uint32_t i = 0; i < s->nthreads; i++)
        mem_free(s->appenders[i]);
    bans_release(&s->bans);
    ghosts_resize(&s->evict.ghosts, 0);
    shadows_resize(&s->evict.shadows, 0);
    if (s->segs.meta != NULL)
        segments_release(&s->segs);
    if (s->pool.pages != NULL)
        pool_release(&s->pool);
    if (s->region.map != NULL)
        region_release(&s->region);
    mem_free(s);
}

struct appender *store_appender(struct store *s, uint32_t index)
{
    ASSERT(index < s->nthreads);
    return s->appenders[index];
}

struct hash_seed store_seed(const struct store *s)
{
    return s->seed;
}

/* ---- keys ---- */

void key_make(const struct store *s, struct key *k, struct str bytes, uint32_t db)
{
    DEBUG_ASSERT(db < s->databases);
    key_set(s, k, bytes, s->id_of[db]);
}

uint32_t store_key_shard(const struct store *s, struct str key)
{
    return slot_for(s, key, hash_seeded(key.p, key.n, &s->seed)) / STORE_SLOTS_PER_SHARD;
}

void store_approach_begin(const struct store *s, struct key *k)
{
    __builtin_prefetch(shard_of_slot(s, k->slot), 1);
    k->near = (struct table_near){table_of(s, k), NEAR_TABLE};
    __builtin_prefetch(k->near.at);
}

bool store_approach(const struct store *s, struct key *k)
{
    return table_approach(&s->appenders[0]->tm, &k->near, k->hash);
}

/* ---- locks ---- */

void lockset_add(struct lockset *ls, uint32_t shard)
{
    uint32_t at = ls->n;
    while (at > 0 && ls->shard[at - 1] >= shard)
        at--;
    if (at < ls->n && ls->shard[at] == shard)
        return;
    if (ls->n == STORE_LOCKSET_MAX) {
        ls->overflow = true;
        return;
    }
    memmove(&ls->shard[at + 1], &ls->shard[at], (ls->n - at) * sizeof ls->shard[0]);
    ls->shard[at] = (uint16_t)shard;
    ls->n++;
}

bool store_lock(struct store *s, const struct lockset *ls)
{
    ASSERT(!ls->overflow);
    for (uint32_t i = 0; i < ls->n; i++) {
        if (likely(lock_acquire(&s->shards[ls->shard[i]].lock)))
            continue;
        while (i-- > 0)
            lock_release(&s->shards[ls->shard[i]].lock);
        return false;
    }
    return true;
}

void store_unlock(struct store *s, const struct lockset *ls)
{
    for (uint32_t i = ls->n; i-- > 0;)
        lock_release(&s->shards[ls->shard[i]].lock);
}

bool store_lock_one(struct store *s, uint32_t shard)
{
    return lock_acquire(&s->shards[shard].lock);
}

void store_unlock_one(struct store *s, uint32_t shard)
{
    lock_release(&s->shards[shard].lock);
}

bool store_shard_busy(const struct store *s, uint32_t shard)
{
    return atomic_load_explicit(&s->shards[shard].lock.word, memory_order_acquire) == LOCK_BUSY;
}

void store_make_busy(struct store *s, const struct lockset *ls)
{
    for (uint32_t i = 0; i < ls->n; i++)
        lock_make_busy(&s->shards[ls->shard[i]].lock);
}

void store_busy_enter(struct store *s, const struct lockset *ls)
{
    for (uint32_t i = 0; i < ls->n; i++)
        lock_busy_enter(&s->shards[ls->shard[i]].lock);
}

void store_busy_rest(struct store *s, const struct lockset *ls)
{
    for (uint32_t i = ls->n; i-- > 0;)
        lock_busy_rest(&s->shards[ls->shard[i]].lock);
}

/* What a job behind holds is as good as ours until its turn: its shard is busy, so nobody else goes in. */
void store_busy_again(struct store *s, const struct lockset *ls, struct lockset *mine, struct lockset *lent)
{
    for (uint32_t i = 0; i < ls->n; i++) {
        struct lock *l = &s->shards[ls->shard[i]].lock;
        bool free = lock_acquire(l);
        if (free)
            lock_make_busy(l);
        lock_busy_enter(l);
        lockset_add(free ? mine : lent, ls->shard[i]);
    }
}

void store_busy_leave(struct store *s, const struct lockset *ls)
{
    for (uint32_t i = ls->n; i-- > 0;)
        lock_busy_leave(&s->shards[ls->shard[i]].lock);
}

/* ---- finding ---- */

/* Expired: take it out, unless that is not ours to do. */
static COLD void found_expired(const struct access *a, const struct key *k, const struct table_pos *pos,
                               struct entry *e)
{
    if (a->expired == EXPIRED_REMOVE)
        store_remove_expired(a, k, pos, e);
}

static COLD void found_banned(const struct access *a, const struct key *k, const struct table_pos *pos,
                              struct entry *e)
{
    if (ban_may_remove(a))
        ban_remove(a, k, pos, e);
}

static inline struct entry *find(const struct access *a, const struct key *k, bool hidden_too)
{
    struct table_pos pos;
    struct entry *e =
        table_find(&a->app->tm, table_of(a->store, k), k->hash, (struct str){k->p, k->n}, k->db, &pos);
    if (e == NULL || !(entry_word(e) & atomic_load_explicit(&a->store->bans.look, memory_order_relaxed)))
        return e;
    if (is_expired(a, entry_expire(e))) {
        found_expired(a, k, &pos, e);
        return NULL;
    }
    if (entry_is_banned(a->store, e)) {
        found_banned(a, k, &pos, e);
        return NULL;
    }
    return hidden_too || !entry_is_hidden(a, e) ? e : NULL;
}

struct entry *store_peek(const struct access *a, const struct key *k)
{
    return find(a, k, false);
}

struct entry *store_peek_any(const struct access *a, const struct key *k)
{
    return find(a, k, true);
}

/* The hottest keys, under most policies, cost nothing more than the look. */
static inline void note_use(const struct access *a, struct entry *e)
{
    if (e != NULL && (entry_word(e) & (ENTRY_CLOCK | ENTRY_FREQ_MASK)) != ENTRY_FREQ_MASK)
        access_note(a, e);
}

struct entry *store_find_any(const struct access *a, const struct key *k)
{
    struct entry *e = store_peek_any(a, k);
    if (unlikely(shadows_want(&a->store->evict.shadows, k->hash)))
        evict_witness(a, k, e, false);
    note_use(a, e);
    return e;
}

struct entry *store_find(const struct access *a, const struct key *k)
{
    struct entry *e = store_peek(a, k);
    if (unlikely(shadows_want(&a->store->evict.shadows, k->hash)))
        evict_witness(a, k, e, false);
    note_use(a, e);
    return e;
}

size_t store_entry_bytes(const struct store *s, const struct entry *e)
{
    enum { REFERENCE = 8 }; /* its share of the table */
    size_t n = (size_t)entry_extent(e) * ENTRY_UNIT + REFERENCE;
    return n + entry_heap_bytes(e);
}
