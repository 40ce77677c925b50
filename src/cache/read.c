/* CACHE.GET's decision: what the entry is worth, who loads, who waits. */
#include "base/err.h"
#include "cache/cache_internal.h"

#include <math.h>

/* ---- what an entry is worth --------------------------------------------------------------------------- */

/* Nearly always nothing has been purged, and that is seen at once. */
static ALWAYS_INLINE bool is_untouched(const struct cache *c, const struct meta *m)
{
    return m->ntags == 0 && m->born >= tags_latest_of_all(&c->tags) && store_bans(c->store) == 0;
}

enum cache_purge cache_purged(const struct cache *c, const struct entry *e, const struct meta *m)
{
    if (likely(is_untouched(c, m)))
        return PURGE_NONE;
    struct tag_purged all = tags_purged(&c->tags, 0);
    enum ban_effect ban = store_ban_of(c->store, e);
    enum cache_purge worst = m->born < all.soft || ban == BAN_SOFT ? PURGE_SOFT : PURGE_NONE;
    if (m->born < all.hard || ban == BAN_HARD)
        return PURGE_HARD;
    for (uint32_t i = 0; i < m->ntags; i++) {
        struct tag_purged p = tags_purged(&c->tags, meta_tag_at(e, m, i));
        if (m->born < p.hard)
            return PURGE_HARD;
        if (m->born < p.soft)
            worst = PURGE_SOFT;
    }
    return worst;
}

enum cache_state cache_judge(const struct cache *c, const struct access *a, const struct entry *e,
                             struct meta *m, bool *has_meta)
{
    *has_meta = e != NULL && meta_read(e, m);
    if (e == NULL)
        return CACHE_MISS;
    if (!*has_meta)
        return CACHE_FRESH;
    enum cache_purge purge = cache_purged(c, e, m);
    bool over = m->fresh_ms != 0 && m->fresh_ms <= a->now_ms;
    if (purge == PURGE_HARD)
        return CACHE_MISS;
    if (m->flags & META_NEGATIVE)
        return over || purge != PURGE_NONE ? CACHE_MISS : CACHE_NEGATIVE;
    return over || purge != PURGE_NONE || (m->flags & META_STALE) ? CACHE_STALE : CACHE_FRESH;
}

static enum cache_state judge_for(const struct cache *c, const struct access *a, const struct entry *e,
                                  const struct cache_ask *ask, struct meta *m, bool *has_meta)
{
    enum cache_state state = cache_judge(c, a, e, m, has_meta);
    uint64_t version = *has_meta && (m->flags & META_VERSION) ? m->version : 0;
    if (!ask->has_minver || version >= ask->minver)
        return state;
    return state == CACHE_FRESH ? CACHE_STALE : state == CACHE_NEGATIVE ? CACHE_MISS : state;
}

static ALWAYS_INLINE void describe_meta(const struct access *a, const struct meta *m,
                                        struct cache_answer *out)
{
    out->age_ms = a->now_ms > m->set_ms ? a->now_ms - m->set_ms : 0;
    out->has_version = (m->flags & META_VERSION) != 0;
    out->version = m->version;
}

static void describe(const struct access *a, const struct entry *e, bool has_meta, const struct meta *m,
                     struct cache_answer *out)
{
    int64_t end = out->state == CACHE_STALE ? entry_expire(e) : entry_deadline(e);
    if (end != 0)
        out->ttl_ms = end > a->now_ms ? end - a->now_ms : 0;
    if (has_meta)
        describe_meta(a, m, out);
}

/* ---- who loads ------------------------------------------------------------------------------- */

enum got { GOT, HELD, HELD_OFF, NO_BUDGET, NO_ROOM };

/* A lease that has run out goes to the oldest caller that waits for it, which may be this one. */
static enum got try_lease(struct cache *c, const struct access *a, const struct key *k,
                          const struct cache_ask *ask, const struct waiter *waiter, struct lease **l)
{
    struct cache_shard *cs = cache_shard_of(c, k);
    if (lease_get(&cs->leases, k, c->leases_max, l) != 0) {
        *l = NULL;
        return NO_ROOM;
    }
    store_notice(c->store, key_shard(k), true);
    if ((*l)->retry_until_ms > a->now_ms)
        return HELD_OFF;
    if (lease_is_live(*l, a->now_ms) && !cache_lease_is_banned(c, *l))
        return HELD;
    cache_void(c, cs, *l);
    const struct waiter *oldest = lease_oldest_asker(*l);
    if (oldest != NULL && (waiter == NULL || waiter->order > oldest->order))
        return cache_pass_on(c, cs, a, *l) ? HELD : NO_BUDGET;
    return cache_grant(c, cs, a, *l, ask->lease_ms) ? GOT : NO_BUDGET;
}

static int64_t retry_after(const struct access *a, enum got got, const struct lease *l)
{
    if (got == HELD_OFF)
        return l->retry_until_ms - a->now_ms;
    int64_t left = got == HELD ? l->until_ms - a->now_ms : CACHE_RETRY_MAX_MS;
    return left < 1 ? 1 : left < CACHE_RETRY_MAX_MS ? left : CACHE_RETRY_MAX_MS;
}

/* The optimal probabilistic early expiration of Vattani, Chierichetti and Lowenstein (2015). */
static bool is_early(const struct access *a, const struct meta *m, const struct cache_ask *ask,
                     struct rng *rng)
{
    if (!(ask->early > 0) || ask->lease_ms == 0 || m->fresh_ms == 0)
        return false;
    double roll = 1.0 - rng_unit(rng); /* in (0, 1] */
    return -(double)m->delta_ms * ask->early * log(roll) >= (double)(m->fresh_ms - a->now_ms);
}

static void ask_for_lease(struct cache *c, const struct access *a, const struct key *k,
                          const struct cache_ask *ask, const struct waiter *waiter, bool may_wait,
                          struct cache_answer *out)
{
    struct lease *l;
    if (c->primary[0] != '\0') {
        out->refused = true;
        return;
    }
    enum got got = try_lease(c, a, k, ask, waiter, &l);
    if (got == GOT) {
        out->token = l->token;
        return;
    }
    out->retry_ms = retry_after(a, got, l);
    if (may_wait && (got == HELD || got == NO_BUDGET))
        out->wait_at = l;
    else if (l != NULL)
        cache_settle(c, key_shard(k), a, l);
}

/* Without a lease of its own: there may be one that somebody else has, or will have. */
static void wait_for_value(struct cache *c, const struct key *k, struct cache_answer *out)
{
    struct lease *l;
    if (lease_get(&cache_shard_of(c, k)->leases, k, c->leases_max, &l) != 0) {
        out->retry_ms = CACHE_RETRY_MAX_MS;
        return;
    }
    store_notice(c->store, key_shard(k), true);
    out->wait_at = l;
}

/* The lease that was given to a caller while it waited, if it still is its own. */
static bool has_been_given(struct cache *c, const struct access *a, const struct key *k,
                           struct waiter *waiter, struct cache_answer *out)
{
    if (waiter == NULL || waiter->token == 0)
        return false;
    const struct lease *l = lease_find(&cache_shard_of(c, k)->leases, k);
    if (l != NULL && l->token == waiter->token && lease_is_live(l, a->now_ms))
        out->token = waiter->token;
    waiter->token = 0;
    return out->token != 0;
}

bool cache_hit(const struct cache *c, const struct access *a, const struct entry *e, struct cache_answer *out)
{
    struct meta m;
    if (unlikely(e == NULL || !entry_is_string(e)))
        return false;
    struct entry_parts parts = entry_parts(e);
    if (unlikely(parts.ext == NULL))
        return false;
    meta_read_fixed(parts.ext, &m);
    bool over = m.fresh_ms != 0 && m.fresh_ms <= a->now_ms;
    if (unlikely(over || (m.flags & (META_NEGATIVE | META_STALE)) ||
                 (!is_untouched(c, &m) && cache_purged(c, e, &m) != PURGE_NONE)))
        return false;
    *out = (struct cache_answer){
        .state = CACHE_FRESH, .ttl_ms = m.fresh_ms != 0 ? m.fresh_ms - a->now_ms : -1, .retry_ms = -1};
    out->value = entry_string_at(e, &parts, &out->block);
    describe_meta(a, &m, out);
    return true;
}

void cache_read(struct cache *c, const struct access *a, const struct key *k, const struct cache_ask *ask,
                struct waiter *waiter, struct rng *rng, struct cache_answer *out)
{
    cache_read_found(c, a, k, store_find_any(a, k), ask, waiter, rng, out);
}

void cache_read_found(struct cache *c, const struct access *a, const struct key *k, const struct entry *e,
                      const struct cache_ask *ask, struct waiter *waiter, struct rng *rng,
                      struct cache_answer *out)
{
    struct meta m;
    bool has_meta;
    *out = (struct cache_answer){.ttl_ms = -1, .age_ms = -1, .retry_ms = -1};
    if (e != NULL && !entry_is_string(e)) {
        out->wrong_type = true;
        return;
    }
    enum cache_state state = judge_for(c, a, e, ask, &m, &has_meta);
    out->state = state == CACHE_STALE && !ask->stale ? CACHE_MISS : state;
    if (out->state != CACHE_MISS)
        describe(a, e, has_meta, &m, out);
    if (out->state == CACHE_FRESH || out->state == CACHE_STALE)
        out->value = entry_string(e, &out->block);
    if (has_been_given(c, a, k, waiter, out) || state == CACHE_NEGATIVE)
        return;
    if (state == CACHE_FRESH) {
        if (has_meta && c->primary[0] == '\0' && is_early(a, &m, ask, rng)) {
            ask_for_lease(c, a, k, ask, waiter, false, out);
            out->retry_ms = -1; /* what it has is fresh */
            if (out->token != 0)
                cache_count(cache_shard_of(c, k), COUNT_EARLY);
        }
        return;
    }
    bool may_wait =
        out->state == CACHE_MISS && ask->wait_ms > 0 && (waiter == NULL || a->now_ms < waiter->until_ms);
    if (ask->lease_ms > 0)
        ask_for_lease(c, a, k, ask, waiter, may_wait, out);
    else if (may_wait)
        wait_for_value(c, k, out);
}

/* ---- looking
 * ------------------------------------------------------------------------------------------------ */

void cache_view(struct cache *c, const struct access *a, const struct key *k, struct cache_view *out)
{
    const struct cache_shard *cs = cache_shard_of(c, k);
    *out = (struct cache_view){.e = store_find_any(a, k), .grace_ms = -1, .lease_ms = -1, .retry_ms = -1};
    out->state = cache_judge(c, a, out->e, &out->meta, &out->has_meta);
    if (out->has_meta && out->meta.fresh_ms != 0)
        out->grace_ms = entry_expire(out->e) - out->meta.fresh_ms;
    out->held_version = cache_held(c, k, a->now_ms);
    const struct lease *l = lease_find(&cs->leases, k);
    if (l == NULL)
        return;
    if (lease_is_live(l, a->now_ms))
        out->lease_ms = l->until_ms - a->now_ms;
    if (l->retry_until_ms > a->now_ms)
        out->retry_ms = l->retry_until_ms - a->now_ms;
    for (const struct waiter *w = l->first; w != NULL; w = w->next)
        out->waiters++;
}
