#include "cache/cache.h"

#include "base/alloc.h"
#include "base/err.h"
#include "cache/cache_internal.h"
#include "proto/slot.h"

#include <stdio.h>

enum {
    NEGATIVE_ENTRY = 64, /* bytes of a negative entry and its place in the table, beside its name */
    TOKEN_DIGITS = 16,
};

/* ---- what the store tells -------------------------------------------------------------------- */

static void void_and_wake(struct cache *c, uint32_t shard, const struct access *a, struct lease *l)
{
    cache_void(c, &c->shards[shard], l);
    l->retry_until_ms = 0;
    cache_wake_all(a, l);
    cache_settle(c, shard, a, l);
}

static void touched(void *arg, const struct access *a, const struct key *k)
{
    struct cache *c = arg;
    struct lease *l = lease_find(&cache_shard_of(c, k)->leases, k);
    if (l != NULL)
        void_and_wake(c, key_shard(k), a, l);
}

int64_t cache_negative_size(const struct key *k)
{
    return (int64_t)k->n + NEGATIVE_ENTRY;
}

/* Of what leaves before its time the version is held for a while; what has expired is old anyway. */
static void dying(void *arg, const struct access *a, const struct key *k, const struct entry *e)
{
    struct cache *c = arg;
    struct cache_shard *cs = cache_shard_of(c, k);
    struct meta m;
    if (!meta_read(e, &m))
        return;
    if (m.flags & META_NEGATIVE)
        atomic_fetch_sub_explicit(&c->negative_bytes, cache_negative_size(k), memory_order_relaxed);
    bool expired = entry_expire(e) != 0 && entry_expire(e) <= a->now_ms;
    if ((m.flags & META_VERSION) && !cs->keeps_version && !expired)
        cache_hold(c, k, m.version, a->now_ms + c->settings.hold_ms, a->now_ms);
}

static bool valid(void *arg, const struct entry *e)
{
    struct meta m;
    return !meta_read(e, &m) || cache_purged(arg, e, &m) == PURGE_NONE;
}

static bool dead(void *arg, const struct entry *e)
{
    struct meta m;
    return meta_read(e, &m) && cache_purged(arg, e, &m) == PURGE_HARD;
}

/* Its deadline stays: it is usable no longer than that, stale or fresh. This is no write: readers have seen
 * it so since the ban, and who has got a lease since then keeps it. */
static bool soften(void *arg, const struct access *a, const struct key *k, struct entry *e)
{
    struct meta m;
    if (!meta_read(e, &m) || (m.flags & META_NEGATIVE))
        return false;
    if (m.flags & META_STALE)
        return true;
    store_before_change(a, k);
    meta_set_stale(e, m.fresh_ms);
    return true;
}

/* A shard that nobody is noticed in has no leases, and gets none that is older. */
static bool settled(void *arg, uint64_t number)
{
    const struct cache *c = arg;
    for (uint32_t i = 0; i < STORE_SHARDS; i++)
        if (store_is_noticed(c->store, i) &&
            atomic_load_explicit(&c->shards[i].settled, memory_order_relaxed) < number)
            return false;
    return true;
}

struct every {
    struct cache *c;
    const struct access *a;
    const bool *slots; /* NULL: all */
    uint32_t shard;
};

static void void_one(void *arg, struct lease *l)
{
    struct every *ev = arg;
    if (ev->slots == NULL || ev->slots[slot_of((struct str){l->key, l->n})])
        void_and_wake(ev->c, ev->shard, ev->a, l);
}

static void void_in(struct cache *c, const struct access *a, const bool *slots)
{
    for (uint32_t i = 0; i < STORE_SHARDS; i++) {
        struct every ev = {c, a, slots, i};
        if (store_is_noticed(c->store, i))
            leases_each(&c->shards[i].leases, void_one, &ev);
    }
}

/* Ids of databases change, and records are by id: none may stay. Everything at once is a new beginning, also
 * for versions. */
static void flushed(void *arg, const struct access *a, bool all)
{
    struct cache *c = arg;
    void_in(c, a, NULL);
    if (!all)
        return;
    atomic_store_explicit(&c->negative_bytes, 0, memory_order_relaxed);
    held_clear(&c->held);
}

/* ---- life ---------------------------------------------------------------------------------------- */

int cache_new(struct cache **out, struct store *s, const char *run_id)
{
    struct cache *c = mem_zalloc(sizeof *c);
    if (c == NULL)
        return ERR_OOM;
    c->store = s;
    c->bar = 1;
    memcpy(c->run_id, run_id, CACHE_RUN_ID);
    c->shards = mem_zalloc(STORE_SHARDS * sizeof *c->shards);
    if (c->shards == NULL || held_init(&c->held) != 0 || tags_init(&c->tags, TAG_BUCKETS) != 0) {
        held_release(&c->held);
        mem_free(c->shards);
        mem_free(c);
        return ERR_OOM;
    }
    const struct cache_settings defaults = {
        .leases_max = 1 << 20, .hold_ms = 10000, .negative_ttl_ms = 10000, .negative_max = 16 << 20};
    cache_set(c, &defaults);
    const struct store_seam seam = {.arg = c,
                                    .valid = valid,
                                    .dead = dead,
                                    .soften = soften,
                                    .settled = settled,
                                    .touched = touched,
                                    .dying = dying,
                                    .flushed = flushed};
    store_set_seam(s, &seam);
    *out = c;
    return 0;
}

void cache_free(struct cache *c)
{
    if (c == NULL)
        return;
    store_set_seam(c->store, &(const struct store_seam){.arg = NULL});
    for (uint32_t i = 0; i < STORE_SHARDS; i++)
        leases_release(&c->shards[i].leases);
    held_release(&c->held);
    tags_release(&c->tags);
    mem_free(c->shards);
    mem_free(c);
}

/* Those who have a lease keep it, even where the new list would not have granted it. */
static void recount(void *arg, struct lease *l)
{
    struct cache *c = arg;
    if (l->token == 0)
        return;
    l->budget = budget_of(&c->budgets, (struct str){l->key, l->n});
    budget_recount(&c->budgets, l->budget);
}

static void set_budgets(struct cache *c, const struct cache_settings *settings)
{
    budgets_clear(&c->budgets);
    for (uint32_t i = 0; i < settings->nbudgets; i++)
        budgets_add(&c->budgets, str_of(settings->budgets[i].prefix), settings->budgets[i].max);
    for (uint32_t i = 0; i < STORE_SHARDS; i++)
        leases_each(&c->shards[i].leases, recount, c);
}

void cache_set(struct cache *c, const struct cache_settings *settings)
{
    c->settings = *settings;
    set_budgets(c, settings);
    uint64_t share = (settings->leases_max + STORE_SHARDS - 1) / STORE_SHARDS;
    c->leases_max = share > UINT32_MAX ? UINT32_MAX : (uint32_t)share;
}

void cache_set_primary(struct cache *c, const struct access *a, const char *address)
{
    snprintf(c->primary, sizeof c->primary, "%s", address != NULL ? address : "");
    store_set_follower(c->store, address != NULL);
    if (address != NULL)
        void_in(c, a, NULL);
}

void cache_leave_slots(struct cache *c, const struct access *a, const bool *slots)
{
    void_in(c, a, slots);
}

void cache_expect(struct cache *c, uint32_t slot, bool unknown)
{
    uint64_t bit = UINT64_C(1) << slot % 64;
    if (unknown)
        atomic_fetch_or(&c->unknown[slot / 64], bit);
    else
        atomic_fetch_and(&c->unknown[slot / 64], ~bit);
}

int64_t cache_patience_ms(const struct cache *c)
{
    return c->settings.hold_ms > CACHE_PATIENCE_MS ? c->settings.hold_ms : CACHE_PATIENCE_MS;
}

const char *cache_primary(const struct cache *c)
{
    return c->primary[0] != '\0' ? c->primary : NULL;
}

/* ---- tokens ----------------------------------------------------------------------------------------- */

uint32_t cache_put_token(const struct cache *c, uint64_t token, char out[CACHE_TOKEN_TEXT])
{
    char digits[TOKEN_DIGITS + 1];
    snprintf(digits, sizeof digits, "%016llx", (unsigned long long)token);
    memcpy(out, digits, TOKEN_DIGITS);
    out[TOKEN_DIGITS] = '-';
    memcpy(out + TOKEN_DIGITS + 1, c->run_id, CACHE_RUN_ID);
    return CACHE_TOKEN_TEXT;
}

static int hex_digit(char ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

uint64_t cache_parse_token(const struct cache *c, struct str text)
{
    uint64_t token = 0;
    if (text.n != CACHE_TOKEN_TEXT || text.p[TOKEN_DIGITS] != '-' ||
        memcmp(text.p + TOKEN_DIGITS + 1, c->run_id, CACHE_RUN_ID) != 0)
        return 0;
    for (unsigned i = 0; i < TOKEN_DIGITS; i++) {
        int digit = hex_digit(text.p[i]);
        if (digit < 0)
            return 0;
        token = token << 4 | (unsigned)digit;
    }
    return token;
}
