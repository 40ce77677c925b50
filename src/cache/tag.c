#include "cache/tag.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"
#include "base/hash.h"

#include <string.h>

struct way {
    _Atomic uint64_t tag, hard, soft; /* hard and soft 0: free */
};

struct tag_bucket {
    _Atomic uint64_t floor_hard, floor_soft;
    struct way ways[TAG_WAYS];
    uint64_t spare[2];
};
_Static_assert(sizeof(struct tag_bucket) == 128, "two cache lines");

int tags_init(struct tags *t, uint32_t buckets)
{
    ASSERT(buckets > 0 && (buckets & (buckets - 1)) == 0);
    memset(t, 0, sizeof *t);
    t->buckets = mem_aligned(sizeof(struct tag_bucket), buckets * sizeof(struct tag_bucket));
    if (t->buckets == NULL)
        return ERR_OOM;
    memset(t->buckets, 0, buckets * sizeof(struct tag_bucket));
    t->mask = buckets - 1;
    return 0;
}

void tags_release(struct tags *t)
{
    mem_free(t->buckets);
    t->buckets = NULL;
}

static struct tag_bucket *bucket_of(const struct tags *t, uint64_t tag)
{
    return &t->buckets[hash_mix64(tag) & t->mask];
}

static uint64_t get(const _Atomic uint64_t *v)
{
    return atomic_load_explicit(v, memory_order_acquire);
}

/* Never down: a purge that arrives late (from a primary's stream) takes nothing back. */
static void raise(_Atomic uint64_t *v, uint64_t to)
{
    if (atomic_load_explicit(v, memory_order_relaxed) < to)
        atomic_store_explicit(v, to, memory_order_release);
}

static uint64_t latest(const struct way *w)
{
    uint64_t hard = get(&w->hard), soft = get(&w->soft);
    return hard > soft ? hard : soft;
}

/* The tag's place, or the one it may have: free, or the oldest, whose purge the floors remember from now on.
 */
static struct way *place_of(struct tags *t, struct tag_bucket *b, uint64_t tag)
{
    struct way *oldest = &b->ways[0];
    for (unsigned i = 0; i < TAG_WAYS; i++) {
        struct way *w = &b->ways[i];
        if (latest(w) != 0 && get(&w->tag) == tag)
            return w;
        if (latest(w) < latest(oldest))
            oldest = w;
    }
    if (latest(oldest) != 0) {
        raise(&b->floor_hard, get(&oldest->hard));
        raise(&b->floor_soft, get(&oldest->soft));
        atomic_fetch_add_explicit(&t->forgotten, 1, memory_order_relaxed);
    }
    /* What it was purged at by the floor counts for the new one as well. */
    atomic_store_explicit(&oldest->hard, get(&b->floor_hard), memory_order_release);
    atomic_store_explicit(&oldest->soft, get(&b->floor_soft), memory_order_release);
    atomic_store_explicit(&oldest->tag, tag, memory_order_release);
    return oldest;
}

void tags_purge(struct tags *t, uint64_t tag, uint64_t seq, bool soft)
{
    struct tag_bucket *b = bucket_of(t, tag);
    lock_hold(&t->lock);
    if (tag == 0) {
        raise(soft ? &t->all_soft : &t->all_hard, seq);
        lock_release(&t->lock);
        return;
    }
    struct way *w = place_of(t, b, tag);
    raise(soft ? &w->soft : &w->hard, seq);
    lock_release(&t->lock);
}

struct tag_purged tags_purged(const struct tags *t, uint64_t tag)
{
    const struct tag_bucket *b = bucket_of(t, tag);
    if (tag == 0)
        return (struct tag_purged){get(&t->all_hard), get(&t->all_soft)};
    for (unsigned i = 0; i < TAG_WAYS; i++) {
        const struct way *w = &b->ways[i];
        if (get(&w->tag) != tag)
            continue;
        struct tag_purged p = {get(&w->hard), get(&w->soft)};
        if (get(&w->tag) == tag) /* else it was given to another one meanwhile: the floors know */
            return p;
    }
    return (struct tag_purged){get(&b->floor_hard), get(&b->floor_soft)};
}

void tags_raise_floor(struct tags *t, uint32_t bucket, struct tag_purged p)
{
    ASSERT(bucket <= t->mask);
    struct tag_bucket *b = &t->buckets[bucket];
    lock_hold(&t->lock);
    raise(&b->floor_hard, p.hard);
    raise(&b->floor_soft, p.soft);
    lock_release(&t->lock);
}

void tags_each(const struct tags *t, uint32_t from, uint32_t to, tags_visit_fn *tag, tags_visit_fn *floor,
               void *arg)
{
    for (uint32_t i = from; i < to && i <= t->mask; i++) {
        const struct tag_bucket *b = &t->buckets[i];
        for (unsigned w = 0; w < TAG_WAYS && tag != NULL; w++) {
            uint64_t which = get(&b->ways[w].tag);
            if (which != 0 && latest(&b->ways[w]) != 0)
                tag(arg, which, tags_purged(t, which));
        }
        struct tag_purged p = {get(&b->floor_hard), get(&b->floor_soft)};
        if (floor != NULL && (p.hard != 0 || p.soft != 0))
            floor(arg, i, p);
    }
}
