#include "cache/lease.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"

#include <string.h>

enum { BUCKETS_MIN = 8, TOKEN_MS_SHIFT = 20, TOKEN_COUNT_SHIFT = 10 };
_Static_assert(STORE_SHARDS <= 1 << TOKEN_COUNT_SHIFT, "the shard's number fits a token");

static bool is_of(const struct lease *l, const struct key *k)
{
    return l->hash == k->hash && l->db == k->db && l->n == k->n && memcmp(l->key, k->p, k->n) == 0;
}

static struct lease **bucket_of(const struct leases *ls, uint64_t hash)
{
    return &ls->buckets[hash_mix64(hash) & (ls->nbuckets - 1)];
}

struct lease *lease_find(const struct leases *ls, const struct key *k)
{
    if (ls->n == 0)
        return NULL;
    struct lease *l = *bucket_of(ls, k->hash);
    while (l != NULL && !is_of(l, k))
        l = l->next;
    return l;
}

/* Twice as many buckets; without memory the chains get longer instead. */
static void grow(struct leases *ls)
{
    struct leases wide = {.nbuckets = ls->nbuckets != 0 ? 2 * ls->nbuckets : BUCKETS_MIN};
    wide.buckets = mem_zalloc(wide.nbuckets * sizeof(struct lease *));
    if (wide.buckets == NULL)
        return;
    for (uint32_t i = 0; i < ls->nbuckets; i++) {
        for (struct lease *l = ls->buckets[i], *next; l != NULL; l = next) {
            next = l->next;
            struct lease **to = bucket_of(&wide, l->hash);
            l->next = *to;
            *to = l;
        }
    }
    mem_free(ls->buckets);
    ls->buckets = wide.buckets;
    ls->nbuckets = wide.nbuckets;
}

int lease_get(struct leases *ls, const struct key *k, uint32_t max, struct lease **out)
{
    *out = lease_find(ls, k);
    if (*out != NULL)
        return 0;
    if (ls->n >= max)
        return ERR_FULL;
    if (ls->n >= ls->nbuckets)
        grow(ls);
    struct lease *l = ls->buckets != NULL ? mem_zalloc(sizeof *l + k->n) : NULL;
    if (l == NULL)
        return ERR_OOM;
    l->hash = k->hash;
    l->db = k->db;
    l->n = k->n;
    memcpy(l->key, k->p, k->n);
    struct lease **at = bucket_of(ls, l->hash);
    l->next = *at;
    *at = l;
    ls->n++;
    *out = l;
    return 0;
}

bool lease_is_idle(const struct lease *l, int64_t now_ms)
{
    return l->token == 0 && l->first == NULL && l->retry_until_ms <= now_ms;
}

void lease_free(struct leases *ls, struct lease *l)
{
    ASSERT(l->first == NULL && l->token == 0);
    struct lease **at = bucket_of(ls, l->hash);
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    ls->n--;
    mem_free(l);
}

void leases_release(struct leases *ls)
{
    for (uint32_t i = 0; i < ls->nbuckets; i++) {
        for (struct lease *l = ls->buckets[i], *next; l != NULL; l = next) {
            next = l->next;
            mem_free(l);
        }
    }
    mem_free(ls->buckets);
    *ls = (struct leases){0};
}

uint64_t lease_next_token(struct leases *ls, uint32_t shard, int64_t now_ms)
{
    uint64_t now = (uint64_t)now_ms << TOKEN_MS_SHIFT | shard,
             next = ls->last_token + (1u << TOKEN_COUNT_SHIFT);
    ls->last_token = ls->last_token < now ? now : next;
    return ls->last_token;
}

void lease_add_waiter(struct leases *ls, struct lease *l, struct waiter *w)
{
    ASSERT(w->at == NULL);
    if (w->order == 0)
        w->order = ++ls->last_order;
    struct waiter *after = l->last;
    while (after != NULL && after->order > w->order)
        after = after->prev;
    w->at = l;
    w->prev = after;
    w->next = after != NULL ? after->next : l->first;
    if (w->next != NULL)
        w->next->prev = w;
    else
        l->last = w;
    if (after != NULL)
        after->next = w;
    else
        l->first = w;
}

void lease_take_waiter(struct waiter *w)
{
    struct lease *l = w->at;
    ASSERT(l != NULL);
    if (w->prev != NULL)
        w->prev->next = w->next;
    else
        l->first = w->next;
    if (w->next != NULL)
        w->next->prev = w->prev;
    else
        l->last = w->prev;
    w->next = w->prev = NULL;
    w->at = NULL;
}

struct waiter *lease_oldest_asker(const struct lease *l)
{
    struct waiter *w = l->first;
    while (w != NULL && !w->wants)
        w = w->next;
    return w;
}

void leases_each(struct leases *ls, lease_visit_fn *visit, void *arg)
{
    for (uint32_t i = 0; i < ls->nbuckets; i++) {
        for (struct lease *l = ls->buckets[i], *next; l != NULL; l = next) {
            next = l->next;
            visit(arg, l);
        }
    }
}
