/* CACHE.SET, FAIL and INVALIDATE: what changes an entry, and what that does to its lease and version.
 *
 * The store tells of every change (touched), and so the lease of a key that is filled is void and its waiters
 * are woken by the fill itself. */
#include "base/err.h"
#include "cache/cache_internal.h"

/* The lowest version that may be stored. */
static uint64_t least_version(struct cache *c, const struct access *a, const struct key *k, bool has_meta,
                              const struct meta *old)
{
    uint64_t unknown = cache_unknown(c, k->slot / 64, a->now_ms);
    uint64_t held = (unknown >> k->slot % 64) & 1 ? UINT64_MAX : cache_held(c, k, a->now_ms);
    uint64_t stored = has_meta && (old->flags & META_VERSION) ? old->version : 0;
    return held > stored ? held : stored;
}

static struct meta describe(const struct cache *c, const struct access *a, const struct cache_value *v,
                            const struct lease *l)
{
    struct meta m = {.set_ms = a->now_ms, .version = v->version, .ntags = v->ntags};
    int64_t ttl = v->ttl_ms == 0 && v->negative ? c->settings.negative_ttl_ms : v->ttl_ms;
    int64_t cost = v->cost_ms;
    if (cost < 0)
        cost = l != NULL ? a->now_ms - l->granted_ms : 0;
    m.delta_ms = cost < 0 ? 0 : cost > UINT32_MAX ? UINT32_MAX : (uint32_t)cost;
    m.flags = (v->negative ? META_NEGATIVE : 0u) | (v->has_version ? META_VERSION : 0u);
    m.fresh_ms = ttl != 0 ? a->now_ms + ttl : 0;
    m.born = l != NULL ? l->born : atomic_load_explicit(&c->seq, memory_order_acquire);
    for (uint32_t i = 0; i < v->ntags; i++)
        m.tags[i] = meta_tag_hash(v->tags[i]);
    return m;
}

/* Loaded, but too old to be stored: somebody else may try. */
static void release(struct cache *c, const struct access *a, const struct key *k, struct lease *l)
{
    cache_void(c, cache_shard_of(c, k), l);
    (void)cache_pass_on(c, cache_shard_of(c, k), a, l);
    cache_settle(c, key_shard(k), a, l);
}

/* There are too many negative entries. What is there now is known to be wrong all the same. */
static bool must_drop(struct cache *c, const struct key *k)
{
    int64_t n = atomic_load_explicit(&c->negative_bytes, memory_order_relaxed) + cache_negative_size(k);
    return n > (int64_t)c->settings.negative_max;
}

static int lose(struct cache_shard *cs, enum cache_counter which)
{
    cache_count(cs, which);
    return 0;
}

static int put_entry(struct cache *c, const struct access *a, const struct key *k, struct str bytes,
                     struct block *block, int64_t expire_ms, const struct meta *m)
{
    char ext[META_SIZE_MAX];
    int err = store_put_extended(a, k, bytes, block, expire_ms, (struct str){ext, meta_write(m, ext)});
    if (err == 0 && (m->flags & META_NEGATIVE))
        atomic_fetch_add_explicit(&c->negative_bytes, cache_negative_size(k), memory_order_relaxed);
    return err;
}

int cache_fill(struct cache *c, const struct access *a, const struct key *k, const struct cache_value *v,
               enum cache_fill *out, struct meta *m, int64_t *expire_ms)
{
    struct cache_shard *cs = cache_shard_of(c, k);
    struct meta old;
    const struct entry *e = store_find_any(a, k); /* one that has expired takes its lease with it */
    struct lease *l = v->has_lease ? lease_find(&cs->leases, k) : NULL;
    *out = FILL_LEASE_LOST;
    if (v->has_lease && (l == NULL || !lease_is_live(l, a->now_ms) || l->token != v->token))
        return lose(cs, COUNT_LEASE_LOST);
    if (l != NULL && cache_lease_is_banned(c, l)) {
        release(c, a, k, l);
        return lose(cs, COUNT_LEASE_LOST);
    }
    bool has_old = e != NULL && meta_read(e, &old);
    *out = FILL_OLD_VERSION;
    if (v->has_version && v->version < least_version(c, a, k, has_old, &old)) {
        if (l != NULL)
            release(c, a, k, l);
        return lose(cs, COUNT_OLD_VERSION);
    }
    *out = FILL_DROPPED;
    if (v->negative && must_drop(c, k)) {
        (void)store_delete(a, k);
        if (v->has_version)
            cache_hold(c, k, v->version, a->now_ms + cache_hold_ms(c, NULL), a->now_ms);
        return 0;
    }
    *out = FILL_OK;
    *m = describe(c, a, v, l);
    *expire_ms = m->fresh_ms != 0 ? m->fresh_ms + v->grace_ms : 0;
    cs->keeps_version = v->has_version;
    int err =
        put_entry(c, a, k, v->negative ? STR("") : v->bytes, v->negative ? NULL : v->block, *expire_ms, m);
    cs->keeps_version = false;
    if (err == 0)
        cache_count(cs, COUNT_FILLED);
    return err;
}

bool cache_has_lease(const struct cache *c, const struct access *a, const struct key *k, uint64_t token)
{
    const struct lease *l = lease_find(&c->shards[key_shard(k)].leases, k);
    return l != NULL && token != 0 && l->token == token && lease_is_live(l, a->now_ms);
}

bool cache_fail(struct cache *c, const struct access *a, const struct key *k, uint64_t token,
                int64_t retry_ms)
{
    struct cache_shard *cs = cache_shard_of(c, k);
    struct lease *l = lease_find(&cs->leases, k);
    if (l == NULL || token == 0 || l->token != token || !lease_is_live(l, a->now_ms))
        return false;
    cache_void(c, cs, l);
    cache_count(cs, COUNT_FAILED);
    if (retry_ms > 0) {
        l->retry_until_ms = a->now_ms + retry_ms;
        cache_wake_all(a, l);
    } else {
        (void)cache_pass_on(c, cs, a, l);
    }
    cache_settle(c, key_shard(k), a, l);
    return true;
}

static void set_stale(const struct access *a, const struct key *k, struct entry *e, int64_t fresh_ms,
                      int64_t expire_ms)
{
    store_before_change(a, k);
    if (entry_expire(e) != expire_ms)
        store_set_end(a, k, e, expire_ms);
    meta_set_stale(e, fresh_ms);
    store_note_change(a, k);
}

/* Grace is what makes an entry worth keeping; without it nobody could see it again. */
static bool soften(struct cache *c, const struct access *a, const struct key *k, struct entry *e,
                   const struct meta *m)
{
    if ((m->flags & META_NEGATIVE) || m->fresh_ms == 0 || entry_expire(e) <= m->fresh_ms ||
        cache_purged(c, e, m) == PURGE_HARD)
        return false;
    if (m->fresh_ms > a->now_ms) /* fresh no longer, and usable for its grace from now on */
        set_stale(a, k, e, a->now_ms, a->now_ms + entry_expire(e) - m->fresh_ms);
    else
        set_stale(a, k, e, m->fresh_ms, entry_expire(e));
    return true;
}

bool cache_soften(struct cache *c, const struct access *a, const struct key *k, int64_t fresh_ms,
                  int64_t expire_ms)
{
    struct meta m;
    struct entry *e = store_find_any(a, k);
    if (e == NULL || !meta_read(e, &m) || (m.flags & META_NEGATIVE) || m.fresh_ms == 0 || fresh_ms <= 0 ||
        expire_ms <= fresh_ms)
        return false;
    set_stale(a, k, e, fresh_ms, expire_ms);
    return true;
}

int64_t cache_hold_ms(const struct cache *c, const struct cache_invalidation *i)
{
    return i != NULL && i->hold_ms >= 0 ? i->hold_ms : c->settings.hold_ms;
}

bool cache_invalidate(struct cache *c, const struct access *a, const struct key *k,
                      const struct cache_invalidation *i, bool *softened)
{
    struct meta m;
    struct entry *e = store_find_any(a, k);
    bool has_meta = e != NULL && meta_read(e, &m);
    *softened = false;
    if (i->has_version) {
        cache_hold(c, k, i->version, a->now_ms + cache_hold_ms(c, i), a->now_ms);
    }
    if (has_meta && i->has_version && (m.flags & META_VERSION) && m.version > i->version) {
        store_note_change(a, k); /* it is newer than what has changed; whoever is loading may not be */
        return false;
    }
    if (i->soft && has_meta && soften(c, a, k, e, &m)) {
        *softened = true;
        cache_count(cache_shard_of(c, k), COUNT_INVALIDATED);
        return true;
    }
    (void)store_delete(a, k);
    if (e != NULL)
        cache_count(cache_shard_of(c, k), COUNT_INVALIDATED);
    return e != NULL;
}

/* From elsewhere, as bytes. What cannot be read or has no room is no entry at all: never one without its
 * tags. */
static int put_foreign(struct cache *c, const struct access *a, const struct key *k, struct str bytes,
                       struct block *block, int64_t expire_ms, struct str extra)
{
    struct meta m;
    int err = 0;
    bool good = meta_parse(extra, &m) && expire_ms >= m.fresh_ms && (expire_ms != 0) == (m.fresh_ms != 0);
    if (good) {
        cache_count_on(c, m.born);
        err = put_entry(c, a, k, bytes, block, expire_ms, &m);
    }
    if (!good || err != 0)
        (void)store_delete(a, k);
    return err;
}

int cache_extend(struct cache *c, const struct access *a, const struct key *k, int64_t expire_ms,
                 struct str extra)
{
    struct block *block;
    const struct entry *e = store_find_any(a, k);
    if (e == NULL)
        return 0;
    if (!entry_is_string(e)) {
        (void)store_delete(a, k);
        return 0;
    }
    struct str bytes = entry_string(e, &block);
    return put_foreign(c, a, k, bytes, block, expire_ms, extra);
}

int cache_put_negative(struct cache *c, const struct access *a, const struct key *k, int64_t expire_ms,
                       struct str extra)
{
    return put_foreign(c, a, k, STR(""), NULL, expire_ms, extra);
}

int cache_put_extra(const struct access *a, const struct key *k, struct str value, struct str extra)
{
    struct cache *c = store_seam_arg(a->store);
    if (c == NULL || extra.n < sizeof(int64_t)) {
        (void)store_delete(a, k);
        return 0;
    }
    int64_t end_ms;
    extra.n -= sizeof end_ms;
    memcpy(&end_ms, extra.p + extra.n, sizeof end_ms);
    atomic_store_explicit(&c->loaded, true, memory_order_relaxed);
    return put_foreign(c, a, k, value, NULL, end_ms, extra);
}

/* ---- purging ----------------------------------------------------------------------------------------- */

void cache_count_on(struct cache *c, uint64_t seq)
{
    uint64_t now = atomic_load_explicit(&c->seq, memory_order_relaxed);
    while (now < seq && !atomic_compare_exchange_weak(&c->seq, &now, seq))
        ;
}

void cache_purge_at(struct cache *c, uint64_t tag, uint64_t seq, bool soft)
{
    cache_count_on(c, seq);
    tags_purge(&c->tags, tag, seq, soft);
    if (!soft)
        store_sweep_dead(c->store);
}

/* Counted first: a lease that is granted meanwhile loads what is true after the purge was asked for. */
uint64_t cache_purge_tag(struct cache *c, uint64_t tag, bool soft)
{
    uint64_t seq = atomic_fetch_add(&c->seq, 1) + 1;
    tags_purge(&c->tags, tag, seq, soft);
    if (!soft)
        store_sweep_dead(c->store);
    return seq;
}

int cache_ban_at(struct cache *c, const struct access *a, uint32_t db, struct str glob, uint64_t number,
                 bool soft, uint64_t rate)
{
    cache_count_on(c, number);
    return store_ban(a, db, glob, number, soft, rate);
}

int cache_ban(struct cache *c, const struct access *a, uint32_t db, struct str glob, bool soft, uint64_t rate,
              uint64_t *number)
{
    if (store_bans(c->store) >= BANS_MAX)
        return ERR_FULL;
    *number = atomic_load(&c->seq) + 1;
    return cache_ban_at(c, a, db, glob, *number, soft, rate);
}

uint64_t cache_doubt(struct cache *c)
{
    if (!atomic_exchange_explicit(&c->loaded, false, memory_order_relaxed))
        return 0;
    uint64_t seq = atomic_fetch_add(&c->seq, 1) + 1;
    tags_purge(&c->tags, 0, seq, true);
    return seq;
}
