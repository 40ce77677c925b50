/* Leases change hands: granted, void, passed on to who has waited longest, swept when nobody asks any more.
 */
#include "base/err.h"
#include "cache/cache_internal.h"

enum {
    SWEEP_SHARDS = 128, /* looked at in one call */
    LOOK_MS = 50,       /* a caller that waits for no live lease looks again so often */
};

bool cache_grant(struct cache *c, struct cache_shard *cs, const struct access *a, struct lease *l,
                 int64_t lease_ms)
{
    DEBUG_ASSERT(l->token == 0 && lease_ms > 0);
    uint16_t budget = budget_of(&c->budgets, (struct str){l->key, l->n});
    if (!budget_take(&c->budgets, budget))
        return false;
    l->budget = budget;
    l->token = lease_next_token(&cs->leases, (uint32_t)(cs - c->shards), a->now_ms);
    l->born = atomic_load_explicit(&c->seq, memory_order_acquire);
    l->granted_ms = a->now_ms;
    l->until_ms = a->now_ms + lease_ms;
    cache_count(cs, COUNT_GRANTED);
    return true;
}

void cache_void(struct cache *c, struct cache_shard *cs, struct lease *l)
{
    if (l->token == 0)
        return;
    l->token = 0;
    budget_give(&c->budgets, l->budget);
    l->budget = BUDGET_NONE;
    cache_count(cs, COUNT_ENDED);
}

/* The waiter is in no record any more; this thread will wake it. */
static void owe(const struct access *a, struct waiter *w)
{
    void **debts = store_thread_debts(a);
    lease_take_waiter(w);
    w->next_debt = NULL;
    struct waiter **at = (struct waiter **)debts;
    while (*at != NULL)
        at = &(*at)->next_debt;
    *at = w;
}

void cache_wake_all(const struct access *a, struct lease *l)
{
    void **debts = store_thread_debts(a);
    struct waiter **at = (struct waiter **)debts;
    while (*at != NULL)
        at = &(*at)->next_debt;
    while (l->first != NULL) {
        struct waiter *w = l->first;
        lease_take_waiter(w);
        w->next_debt = NULL;
        *at = w;
        at = &w->next_debt;
    }
}

void cache_pay_debts(const struct access *a)
{
    struct waiter *w = *store_thread_debts(a);
    *store_thread_debts(a) = NULL;
    while (w != NULL) {
        struct waiter *next = w->next_debt; /* it is not ours once it is awake */
        w->wake(w);
        w = next;
    }
}

bool cache_pass_on(struct cache *c, struct cache_shard *cs, const struct access *a, struct lease *l)
{
    struct waiter *w = lease_oldest_asker(l);
    if (w == NULL || l->token != 0 || l->retry_until_ms > a->now_ms || !cache_grant(c, cs, a, l, w->lease_ms))
        return false;
    w->token = l->token;
    owe(a, w);
    return true;
}

void cache_settle(struct cache *c, uint32_t shard, const struct access *a, struct lease *l)
{
    struct leases *ls = &c->shards[shard].leases;
    if (!lease_is_idle(l, a->now_ms))
        return;
    lease_free(ls, l);
    if (ls->n == 0)
        store_notice(c->store, shard, false);
}

/* ---- waiting ---------------------------------------------------------------------------------------- */

void cache_wait(struct cache *c, const struct key *k, struct lease *at, struct waiter *w)
{
    w->shard = key_shard(k);
    lease_add_waiter(&c->shards[w->shard].leases, at, w);
}

enum cache_look cache_look(struct cache *c, const struct access *a, struct waiter *w, int64_t *look_ms)
{
    struct lease *l = w->at;
    struct cache_shard *cs = &c->shards[w->shard];
    if (l == NULL)
        return LOOK_AWAY;
    if (l->token != 0 && !lease_is_live(l, a->now_ms))
        cache_void(c, cs, l);
    (void)cache_pass_on(c, cs, a, l);
    if (w->at == NULL)
        return LOOK_AWAY; /* it was the oldest */
    if (a->now_ms >= w->until_ms) {
        lease_take_waiter(w);
        cache_settle(c, w->shard, a, l);
        return LOOK_OVER;
    }
    int64_t next = l->token != 0 ? l->until_ms : a->now_ms + LOOK_MS;
    *look_ms = next < w->until_ms ? next : w->until_ms;
    return LOOK_AGAIN;
}

bool cache_leave(struct cache *c, const struct access *a, struct waiter *w)
{
    struct lease *l = w->at;
    if (l == NULL)
        return false;
    lease_take_waiter(w);
    cache_settle(c, w->shard, a, l);
    return true;
}

void cache_decline(struct cache *c, const struct access *a, const struct key *k, uint64_t token)
{
    struct cache_shard *cs = cache_shard_of(c, k);
    struct lease *l = lease_find(&cs->leases, k);
    if (l == NULL || l->token != token)
        return;
    cache_void(c, cs, l);
    (void)cache_pass_on(c, cs, a, l);
    cache_settle(c, key_shard(k), a, l);
}

/* ---- sweeping --------------------------------------------------------------------------------------- */

struct swept {
    struct cache *c;
    const struct access *a;
    uint32_t shard;
};

static void sweep_one(void *arg, struct lease *l)
{
    struct swept *s = arg;
    struct cache_shard *cs = &s->c->shards[s->shard];
    if (l->token != 0 && (!lease_is_live(l, s->a->now_ms) || cache_lease_is_banned(s->c, l)))
        cache_void(s->c, cs, l);
    (void)cache_pass_on(s->c, cs, s->a, l);
    cache_settle(s->c, s->shard, s->a, l);
}

void cache_sweep(struct cache *c, const struct access *a)
{
    uint32_t from = atomic_fetch_add_explicit(&c->sweep_at, SWEEP_SHARDS, memory_order_relaxed);
    for (uint32_t i = 0; i < SWEEP_SHARDS; i++) {
        uint32_t shard = (from + i) % STORE_SHARDS;
        if (!store_is_noticed(c->store, shard) || !store_lock_one(c->store, shard))
            continue;
        struct swept s = {c, a, shard};
        uint64_t seq = atomic_load_explicit(&c->seq, memory_order_acquire);
        leases_each(&c->shards[shard].leases, sweep_one, &s);
        atomic_store_explicit(&c->shards[shard].settled, seq, memory_order_relaxed);
        store_unlock_one(c->store, shard);
    }
}
