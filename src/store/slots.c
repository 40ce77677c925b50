/* What a cluster asks of one slot. The table of a slot holds the keys of all databases, so that this costs as
 * much as the slot has keys, and nothing for the others. */
#include "base/assert.h"
#include "base/err.h"
#include "store/ban_internal.h"

enum { CLEAR_BATCH = 64 };

static struct table *table_of_slot(const struct access *a, uint32_t slot)
{
    ASSERT(slot < STORE_SLOTS);
    return &a->store->slots[slot];
}

int store_slot_keys(const struct access *a, uint32_t slot, uint32_t *n)
{
    bool locked;
    if (!store_shard_enter(a, slot / STORE_SLOTS_PER_SHARD, &locked))
        return ERR_AGAIN;
    *n = table_of_slot(a, slot)->nkeys;
    store_shard_leave(a, slot / STORE_SLOTS_PER_SHARD, locked);
    return 0;
}

struct visit {
    store_visit_fn *fn;
    void *arg;
    const struct store *store;
    int64_t now_ms;
    bool stopped;
};

static bool visit_entry(void *arg, struct entry *e)
{
    struct visit *v = arg;
    if (!deadline_passed(entry_expire(e), v->now_ms) && !entry_is_banned(v->store, e))
        v->stopped = !v->fn(v->arg, e);
    return !v->stopped;
}

int store_slot_visit(const struct access *a, uint32_t slot, store_visit_fn *visit, void *arg)
{
    struct visit v = {.fn = visit, .arg = arg, .store = a->store, .now_ms = a->now_ms};
    uint64_t at = 0;
    bool locked;
    if (!store_shard_enter(a, slot / STORE_SLOTS_PER_SHARD, &locked))
        return ERR_AGAIN;
    while (table_scan(&a->app->tm, table_of_slot(a, slot), &at, visit_entry, &v) && !v.stopped)
        ;
    store_shard_leave(a, slot / STORE_SLOTS_PER_SHARD, locked);
    return 0;
}

struct part {
    struct visit visit;
    uint32_t left;
};

static bool visit_part(void *arg, struct entry *e)
{
    struct part *p = arg;
    p->left -= p->left > 0;
    return visit_entry(&p->visit, e);
}

int store_slot_scan(const struct access *a, uint32_t slot, uint64_t *at, uint32_t max, store_visit_fn *visit,
                    void *arg)
{
    struct part p = {{.fn = visit, .arg = arg, .store = a->store, .now_ms = a->now_ms}, max};
    bool locked, more = true;
    if (!store_shard_enter(a, slot / STORE_SLOTS_PER_SHARD, &locked))
        return ERR_AGAIN;
    while (more && p.left > 0 && !p.visit.stopped)
        more = table_scan(&a->app->tm, table_of_slot(a, slot), at, visit_part, &p);
    store_shard_leave(a, slot / STORE_SLOTS_PER_SHARD, locked);
    return more;
}

void store_slot_veil(const struct access *a, uint32_t slot, bool on)
{
    struct store *s = a->store;
    bool locked;
    ASSERT(a->lane); /* for which no shard is busy */
    (void)store_shard_enter(a, slot / STORE_SLOTS_PER_SHARD, &locked);
    if (slots_has(s->veiled, slot) != on) {
        slots_set(s->veiled, slot, on);
        store_count_veil(s, slot, on);
        atomic_fetch_add_explicit(&s->nveiled, on ? 1 : UINT32_MAX, memory_order_relaxed);
    }
    store_shard_leave(a, slot / STORE_SLOTS_PER_SHARD, locked);
}

/* Entries stay where they are while others of their table go, so some may be noted first. */
struct harvest {
    struct entry *e[CLEAR_BATCH];
    uint32_t n, max;
};

static bool harvest_entry(void *arg, struct entry *e)
{
    struct harvest *h = arg;
    h->e[h->n++] = e;
    return h->n < h->max;
}

static void remove_harvest(const struct access *a, uint32_t slot, const struct harvest *h)
{
    for (uint32_t i = 0; i < h->n; i++) {
        struct entry *e = h->e[i];
        struct table_pos pos;
        struct str name = entry_key(e);
        struct key k = {.p = name.p,
                        .n = (uint32_t)name.n,
                        .slot = (uint16_t)slot,
                        .db = (uint16_t)entry_db(e),
                        .hash = table_entry_hash(&a->store->seed, e)};
        store_save_first(a, &k);
        bool found = table_find_entry(&a->app->tm, table_of_slot(a, slot), k.hash, e, &pos);
        ASSERT(found);
        store_touch(a, &k);
        store_note_removed(a, k.db, name, CHANGE_MOVED);
        store_remove(a, slot, &pos, e);
    }
}

int store_slot_clear(const struct access *a, uint32_t slot, uint32_t max, uint32_t *left)
{
    struct table *t = table_of_slot(a, slot);
    bool locked;
    if (!store_shard_enter(a, slot / STORE_SLOTS_PER_SHARD, &locked))
        return ERR_AGAIN;
    while (max > 0 && t->nkeys > 0) {
        struct harvest h = {.max = max < CLEAR_BATCH ? max : CLEAR_BATCH};
        uint64_t at = 0;
        while (table_scan(&a->app->tm, t, &at, harvest_entry, &h) && h.n < h.max)
            ;
        ASSERT(h.n > 0);
        remove_harvest(a, slot, &h);
        max -= h.n;
    }
    *left = t->nkeys;
    store_shard_leave(a, slot / STORE_SLOTS_PER_SHARD, locked);
    return 0;
}
