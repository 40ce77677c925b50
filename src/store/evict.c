#include "store/evict.h"

#include "base/alloc.h"

#include <stdlib.h>

enum {
    HEADROOM_SHARE = 32,   /* free ahead of need: what all threads reserve, but at most 1/32 of maxmemory */
    CUT_SHARE = 20,        /* the worst 1/20 of memory is beyond the cut, or half of it ... */
    CUT_SHARE_PRESSED = 2, /* ... while more than maxmemory is in use, since moving takes time ... */
    CUT_SAMPLE = 384,      /* ... of a sample of so many keys ... */
    CUT_SHARDS = 256,      /* ... from at most so many shards ... */
    CUT_PER_SLOT = 2,
    CUT_RENEW_SHARE = 64, /* ... taken again when 1/64 of maxmemory has been swept */
    RANDOM_TRIES = 64,
    SIZE_INERTIA = 256, /* the mean size of a class follows so many entries */
    SIZE_FIRST = 64,    /* bytes, of an entry of the first class, until some were met */
};

static const struct store_eviction *how_of(const struct access *a)
{
    return &a->store->evict.how;
}

bool evict_wanted(const struct access *a)
{
    struct store *s = a->store;
    return how_of(a)->policy != STORE_NOEVICTION && a->expired == EXPIRED_REMOVE && s->maxmemory != 0 &&
           store_used(s) > s->evict.goal;
}

/* What it takes, its heap value included. */
static uint64_t entry_bytes(const struct entry *e)
{
    return (uint64_t)entry_units(e) * ENTRY_UNIT + entry_heap_bytes(e);
}

/* ---- settings ---- */

/* Gate. */
static void plan(struct store *s)
{
    struct evictor *ev = &s->evict;
    bool by_class = ev->how.policy == STORE_AUTO;
    uint64_t headroom = (uint64_t)s->nthreads * SEGMENT_RESERVE * s->segs.size;
    if (headroom > s->maxmemory / HEADROOM_SHARE)
        headroom = s->maxmemory / HEADROOM_SHARE;
    ev->goal = s->maxmemory - headroom;
    ev->clocked = ev->how.policy == STORE_LRU || ev->how.policy == STORE_LFU;
    for (uint32_t i = 0; i < s->nthreads; i++)
        segment_seal_all(&s->segs, &s->appenders[i]->writer);
    segments_plan(&s->segs, s->maxmemory, by_class);
    for (unsigned class = 0; class < s->segs.classes; class ++)
        atomic_store_explicit(&ev->size_in[class],
                              (uint64_t)SIZE_FIRST * SIZE_INERTIA
                                  << class * SEGMENT_CLASSES / s->segs.classes,
                              memory_order_relaxed);
    ghosts_resize(&ev->ghosts, by_class ? s->maxmemory : 0);
    shadows_resize(&ev->shadows, by_class ? s->maxmemory : 0);
    atomic_store_explicit(&ev->cut_left, 0, memory_order_relaxed);
    atomic_store_explicit(&ev->stuck, false, memory_order_relaxed);
    store_excuse_overrun(s);
    store_update_pressure(s);
}

void store_set_maxmemory(struct store *s, uint64_t bytes)
{
    bool same = s->maxmemory == bytes;
    atomic_store_explicit(&s->maxmemory, bytes, memory_order_relaxed);
    store_limit_excess(s);
    if (same)
        store_update_pressure(s);
    else
        plan(s);
}

void store_set_eviction(struct store *s, const struct store_eviction *e)
{
    bool same = s->evict.how.policy == e->policy && s->evict.how.volatile_only == e->volatile_only;
    s->evict.how = *e;
    if (!same)
        plan(s);
}

/* ---- the cut ---- */

struct sample {
    uint64_t score, weight;
};

static int worst_first(const void *x, const void *y)
{
    uint64_t a = ((const struct sample *)x)->score, b = ((const struct sample *)y)->score;
    return a < b ? 1 : a > b ? -1 : 0;
}

static unsigned sample_slot(const struct access *a, struct table *t, struct sample *out, unsigned max)
{
    const struct table_mem *tm = &a->app->tm;
    unsigned n = 0, pages = table_pages(t);
    if (pages == 0 || t->nkeys == 0)
        return 0;
    const struct page *p = table_page(tm, t, (uint32_t)rng_below(&a->app->rng, pages));
    uint32_t m = atomic_load_explicit(&p->m, memory_order_relaxed);
    if (m == 0)
        return 0;
    uint32_t bucket = (uint32_t)rng_below(&a->app->rng, m), from = (uint32_t)rng_u64(&a->app->rng);
    for (uint32_t i = 0; i < TABLE_BUCKET_REFS && n < CUT_PER_SLOT && n < max; i++) {
        const struct entry *e = table_at(tm, p, bucket, (from + i) % TABLE_BUCKET_REFS);
        if (e == NULL || (how_of(a)->volatile_only && entry_expire(e) == 0))
            continue;
        out[n++] = (struct sample){access_score(a, segment_of(&a->store->segs, e), e), entry_bytes(e)};
    }
    return n;
}

/* The score that the worst 1/share of the samples is at or beyond. */
static uint64_t cut_at(const struct sample *samples, unsigned n, unsigned share)
{
    uint64_t all = 0, sum = 0;
    for (unsigned i = 0; i < n; i++)
        all += samples[i].weight;
    for (unsigned i = 0; i < n; i++)
        if ((sum += samples[i].weight) * share >= all)
            return samples[i].score;
    return 0;
}

/* Of what may be evicted. */
static void find_cuts(const struct access *a)
{
    struct evictor *ev = &a->store->evict;
    struct sample samples[CUT_SAMPLE];
    unsigned n = 0;
    uint32_t shard = (uint32_t)rng_below(&a->app->rng, STORE_SHARDS);
    for (unsigned i = 0; i < CUT_SHARDS && n < CUT_SAMPLE; i++) {
        bool locked;
        shard = (shard + 389) % STORE_SHARDS; /* prime: all are visited */
        if (!store_shard_enter(a, shard, &locked))
            continue;
        for (uint32_t k = 0; k < STORE_SLOTS_PER_SHARD && n < CUT_SAMPLE; k++)
            n += sample_slot(a, &a->store->slots[shard * STORE_SLOTS_PER_SHARD + k], samples + n,
                             CUT_SAMPLE - n);
        store_shard_leave(a, shard, locked);
    }
    qsort(samples, n, sizeof samples[0], worst_first);
    atomic_store_explicit(&ev->cut, cut_at(samples, n, CUT_SHARE), memory_order_relaxed);
    atomic_store_explicit(&ev->cut_pressed, cut_at(samples, n, CUT_SHARE_PRESSED), memory_order_relaxed);
}

static void renew_cut(const struct access *a, const struct segment *seg)
{
    struct evictor *ev = &a->store->evict;
    int64_t bytes = (int64_t)atomic_load_explicit(&seg->used, memory_order_relaxed) * ENTRY_UNIT;
    if (atomic_fetch_sub_explicit(&ev->cut_left, bytes, memory_order_relaxed) > bytes)
        return;
    find_cuts(a);
    atomic_store_explicit(&ev->cut_left, (int64_t)(a->store->maxmemory / CUT_RENEW_SHARE),
                          memory_order_relaxed);
}

/* ---- which segment ---- */

static uint64_t list_bytes(const struct store *s, unsigned list)
{
    int64_t n = (int64_t)atomic_load_explicit(&s->segs.lists[list].bytes, memory_order_relaxed);
    for (uint32_t i = 0; i < s->nthreads; i++)
        n += atomic_load_explicit(&s->appenders[i]->list_heap[list], memory_order_relaxed);
    return n > 0 ? (uint64_t)n : 0;
}

static uint64_t tail_idle(const struct access *a, const struct segment *seg)
{
    int64_t born = atomic_load_explicit(&seg->born_ms, memory_order_relaxed);
    return a->now_ms > born ? (uint64_t)(a->now_ms - born) : 0;
}

/* A class, and what it comes to. */
struct candidate {
    uint64_t bytes;
    double idle; /* how long a tail entry has been given, which is the main queue's time; a small queue's
                  * is as much shorter as the queue is */
};

/* A class's turn: the small queue if it holds more than its share, else the main one. */
static struct segment *class_tail(const struct access *a, unsigned class, struct candidate *c, bool *pinned)
{
    unsigned share = shadows_way(&a->store->evict.shadows).small_percent;
    struct segments *segs = &a->store->segs;
    unsigned list = class * 2;
    uint64_t small = list_bytes(a->store, list), main = list_bytes(a->store, list + 1);
    c->bytes = small + main;
    if (c->bytes == 0)
        return NULL;
    bool from_small = small * 100 > c->bytes * share;
    struct segment *tail[2] = {segment_oldest(segs, list, pinned), segment_oldest(segs, list + 1, pinned)};
    if (tail[0] == NULL && tail[1] == NULL)
        return NULL;
    if (main > small && tail[1] != NULL)
        c->idle = (double)tail_idle(a, tail[1]);
    else if (tail[0] != NULL)
        c->idle = (double)tail_idle(a, tail[0]) * (double)c->bytes / (double)(small + 1);
    else
        c->idle = (double)tail_idle(a, tail[1]);
    return tail[!from_small] != NULL ? tail[!from_small] : tail[from_small];
}

/* What an entry of this class takes, times SIZE_INERTIA: a mean of those that sweeps have met, since where
 * classes share a lane its bounds say little. */
static double size_in(const struct access *a, unsigned class)
{
    return (double)atomic_load_explicit(&a->store->evict.size_in[class], memory_order_relaxed);
}

static void note_size(const struct access *a, unsigned class, uint64_t bytes)
{
    DEBUG_ASSERT(class < ARRAY_LEN(a->store->evict.size_in));
    _Atomic uint64_t *sum = &a->store->evict.size_in[class];
    uint64_t was = atomic_load_explicit(sum, memory_order_relaxed);
    atomic_store_explicit(sum, was - was / SIZE_INERTIA + bytes, memory_order_relaxed);
}

static struct segment *choose_auto(const struct access *a, bool *pinned)
{
    struct segment *best = NULL;
    double worst = -1;
    uint64_t all = 0;
    bool by_size = shadows_way(&a->store->evict.shadows).by_size;
    for (unsigned class = 0; class < SEGMENT_CLASSES; class ++) {
        struct candidate c;
        struct segment *seg = class_tail(a, class, &c, pinned);
        all += c.bytes;
        if (seg == NULL)
            continue;
        double score = (c.idle + 1) * (by_size ? size_in(a, class) : 1);
        if (score > worst) {
            worst = score;
            best = seg;
        }
    }
    shadows_begin(&a->store->evict.shadows, all, a->store->segs.classes);
    if (best == NULL && !how_of(a)->volatile_only)
        best = segment_oldest(&a->store->segs, SEGMENT_KEPT, pinned);
    return best;
}

static struct segment *choose_oldest(const struct access *a, bool *pinned)
{
    struct segment *best = NULL;
    unsigned lists = how_of(a)->volatile_only ? SEGMENT_KEPT : SEGMENT_LISTS;
    for (unsigned list = 0; list < lists; list++) {
        struct segment *seg = segment_oldest(&a->store->segs, list, pinned);
        if (seg != NULL && (best == NULL || tail_idle(a, seg) > tail_idle(a, best)))
            best = seg;
    }
    return best;
}

/* By the draw: any for random, the one with the first deadline of some for TTL. NULL: no luck. */
static struct segment *choose_drawn(const struct access *a)
{
    struct segments *segs = &a->store->segs;
    uint32_t end = atomic_load_explicit(&segs->frontier, memory_order_acquire);
    struct segment *best = NULL;
    int64_t first = SEGMENT_NEVER;
    if (end == 0)
        return NULL;
    uint32_t at = (uint32_t)rng_below(&a->app->rng, end);
    for (unsigned i = 0; i < RANDOM_TRIES; i++, at = at + 1 < end ? at + 1 : 0) {
        struct segment *seg = &segs->meta[at];
        uint32_t live = atomic_load_explicit(&seg->live, memory_order_acquire);
        if (live == 0 || (live & (SEGMENT_SWEEP | SEGMENT_OPEN)) || segment_epoch(seg) != segs->epoch)
            continue;
        if (how_of(a)->policy == STORE_RANDOM && !how_of(a)->volatile_only)
            return seg;
        int64_t sweep_at = atomic_load_explicit(&seg->sweep_at, memory_order_relaxed);
        if (how_of(a)->policy == STORE_RANDOM && sweep_at != SEGMENT_NEVER)
            return seg;
        if (sweep_at < first) {
            first = sweep_at;
            best = seg;
        }
    }
    return best;
}

struct segment *evict_choose(const struct access *a)
{
    struct store *s = a->store;
    enum store_policy policy = how_of(a)->policy;
    for (unsigned tries = 0; tries < 4; tries++) {
        bool pinned = false;
        struct segment *seg = NULL;
        if (policy == STORE_RANDOM || policy == STORE_TTL)
            seg = choose_drawn(a);
        if (seg == NULL)
            seg = policy == STORE_AUTO ? choose_auto(a, &pinned) : choose_oldest(a, &pinned);
        if (seg == NULL) {
            if (!pinned) {
                atomic_store_explicit(&s->evict.stuck, true, memory_order_relaxed);
                store_update_pressure(s);
            }
            return NULL;
        }
        if (!segment_pin(seg))
            continue;
        if (segment_epoch(seg) == s->segs.epoch) {
            if (policy != STORE_AUTO && policy != STORE_RANDOM)
                renew_cut(a, seg);
            return seg;
        }
        segment_unpin(&s->segs, seg);
    }
    return NULL;
}

/* ---- which entry ---- */

static bool in_small(const struct access *a, const struct segment *seg)
{
    return seg->list % 2 == 0 && seg->list != SEGMENT_KEPT && a->store->segs.queues == 2;
}

static uint64_t cut_now(const struct evictor *ev)
{
    bool pressed = atomic_load_explicit(&ev->pressed, memory_order_relaxed);
    return atomic_load_explicit(pressed ? &ev->cut_pressed : &ev->cut, memory_order_relaxed);
}

enum evict_verdict evict_judge(const struct access *a, const struct segment *seg, const struct entry *e)
{
    const struct store_eviction *how = how_of(a);
    unsigned freq = entry_word(e) & ENTRY_FREQ_MASK;
    unsigned enough = in_small(a, seg) ? shadows_way(&a->store->evict.shadows).promote_at : 1u;
    if (how->volatile_only && entry_expire(e) == 0)
        return EVICT_NOT_MAIN;
    if (how->policy == STORE_AUTO)
        note_size(a, seg->list / 2u, entry_bytes(e));
    switch (how->policy) {
    case STORE_AUTO: return freq >= enough ? EVICT_NOT_MAIN : EVICT_IT;
    case STORE_RANDOM: return EVICT_IT;
    default: return access_score(a, seg, e) >= cut_now(&a->store->evict) ? EVICT_IT : EVICT_NOT_SMALL;
    }
}

/* Main: one off for each time round. From small: it starts at nothing. */
unsigned evict_freq(const struct access *a, const struct segment *seg, unsigned freq)
{
    if (how_of(a)->policy != STORE_AUTO)
        return freq;
    return in_small(a, seg) || freq == 0 ? 0 : freq - 1;
}

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

void evict_note(const struct access *a, const struct segment *seg, const struct key *k, const struct entry *e)
{
    struct appender *app = a->app;
    uint64_t bytes = entry_bytes(e);
    bump(&app->evicted);
    bump(&app->evicted_class[segment_class(bytes)]);
    add(&app->evicted_age_ms, tail_idle(a, seg));
    if (how_of(a)->policy == STORE_AUTO && seg->list % 2 == 0)
        ghosts_add(&a->store->evict.ghosts, k->hash);
    if (unlikely(atomic_load_explicit(&a->store->evict.stuck, memory_order_relaxed)))
        atomic_store_explicit(&a->store->evict.stuck, false, memory_order_relaxed);
}

void evict_witness(const struct access *a, const struct key *k, const struct entry *e, bool put)
{
    enum { MS = 1000 };
    int64_t expire_ms = e != NULL ? entry_expire(e) : 0;
    if (a->no_touch || (e != NULL && how_of(a)->volatile_only && expire_ms == 0))
        return;
    struct shadow_event ev = {
        .hash = k->hash,
        .bytes = e != NULL ? entry_bytes(e) : 0,
        .deadline_s = (uint32_t)((expire_ms + MS - 1) / MS),
        .now_s = (uint32_t)(a->now_ms / MS),
        .put = put,
    };
    (void)shadows_note(&a->store->evict.shadows, &ev);
}
