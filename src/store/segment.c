#include "store/segment.h"

#include "base/err.h"

#include <string.h>
#include <sys/mman.h>

enum {
    LANES = 32, /* that one would like to have */
    OLDEST_LOOK = 32,
    CLASSES_FIRST = 3,     /* before there are TTL groups */
    CLASS_FIRST = 64,      /* bytes; the first size class: up to this */
    GROUP_FIRST_MS = 2048, /* the first TTL group: up to this */
    DIRTY_MIN = 4,         /* free segments that keep their memory, at least */
    DIRTY_SHARE = 128,     /* or one for so many in use */
};

/* The largest segment with which the open ones of LANES lanes stay within their share. */
static uint32_t choose_size(uint64_t maxmemory, uint32_t threads)
{
    uint32_t size = SEGMENT_SIZE_MIN;
    if (maxmemory == 0)
        return SEGMENT_SIZE_UNLIMITED;
    while (size < SEGMENT_SIZE_MAX && (uint64_t)size * 2 * LANES * threads * SEGMENT_OPEN_SHARE <= maxmemory)
        size *= 2;
    return size;
}

static uint32_t between(uint64_t n, uint32_t min, uint32_t max)
{
    return n < min ? min : n > max ? max : (uint32_t)n;
}

/* Queues first: without a probation queue there is no telling one-hit wonders apart. Then a few classes: with
 * one or two, large entries stay that keep out ten small ones. Then both classes and groups. */
void segments_plan(struct segments *s, uint64_t maxmemory, bool evicts)
{
    uint64_t fit = maxmemory == 0 ? SEGMENT_LANES_MAX : maxmemory / SEGMENT_OPEN_SHARE / s->threads / s->size;
    s->queues = evicts && fit >= 2 ? 2 : 1;
    uint64_t classes = fit / 4 > CLASSES_FIRST ? fit / 4 : CLASSES_FIRST;
    if (classes > fit / s->queues)
        classes = fit / s->queues;
    s->classes = evicts ? between(classes, 1, SEGMENT_CLASSES) : 1;
    s->groups = between(fit / (s->queues * s->classes), evicts ? 1 : 2, SEGMENT_GROUPS_MAX);
}

int segments_init(struct segments *s, struct region *r, uint64_t maxmemory, uint32_t threads)
{
    memset(s, 0, sizeof *s);
    s->region = r;
    s->size = choose_size(maxmemory, threads);
    s->shift = (uint32_t)__builtin_ctz(s->size);
    s->units_max = s->size / SEGMENT_ENTRY_SHARE / ENTRY_UNIT;
    s->threads = threads;
    segments_plan(s, maxmemory, false);
    s->meta_bytes = (r->size >> s->shift) * sizeof(struct segment);
    s->meta = region_map(s->meta_bytes);
    return s->meta == NULL ? ERR_OOM : 0;
}

void segments_release(struct segments *s)
{
    region_unmap(s->meta, s->meta_bytes);
    memset(s, 0, sizeof *s);
}

unsigned segment_group(const struct segments *s, int64_t remaining_ms)
{
    if (remaining_ms <= 0 || s->groups == 1)
        return 0;
    uint64_t t = (uint64_t)remaining_ms / GROUP_FIRST_MS;
    unsigned g = t == 0 ? 0 : 64 - (unsigned)__builtin_clzll(t);
    g = g > SEGMENT_GROUPS_MAX - 2 ? SEGMENT_GROUPS_MAX - 2 : g;
    return 1 + g * (s->groups - 1) / (SEGMENT_GROUPS_MAX - 1);
}

unsigned segment_class(uint64_t bytes)
{
    unsigned class = bytes <= CLASS_FIRST ? 0 : 58 - (unsigned)__builtin_clzll(bytes - 1);
    return class < SEGMENT_CLASSES ? class : SEGMENT_CLASSES - 1;
}

unsigned segment_lane(const struct segments *s, uint64_t bytes, unsigned queue, unsigned group)
{
    unsigned class = segment_class(bytes) * s->classes / SEGMENT_CLASSES;
    return (class * 2 + (s->queues == 2 ? queue : 0)) * s->groups + group;
}

static uint32_t number_of(const struct segments *s, const struct segment *seg)
{
    return (uint32_t)(seg - s->meta);
}

static void push(struct segments *s, uint32_t *list, struct segment *seg)
{
    seg->next = *list;
    *list = number_of(s, seg);
}

static struct segment *pop(struct segments *s, uint32_t *list)
{
    struct segment *seg = &s->meta[*list];
    *list = seg->next;
    return seg;
}

static void raise_frontier(struct segments *s, uint32_t number)
{
    uint32_t seen = atomic_load_explicit(&s->frontier, memory_order_relaxed);
    while (number > seen && !atomic_compare_exchange_weak_explicit(
                                &s->frontier, &seen, number, memory_order_release, memory_order_relaxed))
        ;
}

/* Has every segment of the extent memory behind it? What stands in the reserve of a thread that does not
 * write has none, however long, and it would be there for nothing if the extent became one huge page. */
static bool is_written(const struct segments *s, uint32_t extent)
{
    uint32_t per = (uint32_t)(REGION_EXTENT >> s->shift);
    for (uint32_t i = 0; i < per; i++)
        if (atomic_load_explicit(&s->meta[extent * per + i].used, memory_order_relaxed) == 0)
            return false;
    return true;
}

/* A new extent, cut into segments. Lock held. */
static int carve(struct segments *s)
{
    uint32_t extent, per = (uint32_t)(REGION_EXTENT >> s->shift);
    if (region_take(s->region, 1, &extent) != 0)
        return ERR_OOM;
    if (s->carved[1] != 0 && is_written(s, s->carved[1])) /* the last but one: writers' reserves are used */
        region_huge_when_full(s->region, s->carved[1]);
    s->carved[1] = s->carved[0];
    s->carved[0] = extent;
    region_huge_from_start(s->region, extent);
    MEM_POISON(region_extent(s->region, extent), REGION_EXTENT);
    for (uint32_t i = per; i-- > 0;)
        push(s, &s->clean, &s->meta[extent * per + i]);
    raise_frontier(s, (extent + 1) * per);
    return 0;
}

static struct segment *take_locked(struct segments *s)
{
    if (s->dirty != 0) {
        s->ndirty--;
        return pop(s, &s->dirty);
    }
    if (s->clean == 0 && carve(s) != 0)
        return NULL;
    return pop(s, &s->clean);
}

/* From the writer's reserve, else straight from the lists (a leaf lock): an overdraft of one
 * segment at a time, noticed by the accounts (memory.c) before the next command. */
static struct segment *take(struct segments *s, struct segment_writer *w)
{
    if (w->nreserve > 0) {
        w->nreserve--;
        return pop(s, &w->reserve);
    }
    lock_hold(&s->lock);
    struct segment *seg = take_locked(s);
    lock_release(&s->lock);
    return seg;
}

/* First in, first out: the memory of what lay longest may have been collapsed into a huge page already. */
static void append_reserve(struct segments *s, struct segment_writer *w, struct segment *seg)
{
    uint32_t *link = &w->reserve;
    if (w->nreserve > 0)
        link = &s->meta[w->reserve_last].next;
    *link = w->reserve_last = number_of(s, seg);
    w->nreserve++;
}

/* The first touch of a huge page clears 2 MB: better here than under a shard's lock. */
NO_ASAN static void touch(const struct segments *s, const struct segment *seg)
{
    char *p = segment_start(s, seg);
    if ((uint64_t)(p - s->region->base) / REGION_EXTENT >= REGION_HUGE_FROM)
        *(volatile char *)p = 0;
}

void segment_refill(struct segments *s, struct segment_writer *w)
{
    while (unlikely(w->nreserve < SEGMENT_RESERVE)) {
        lock_hold(&s->lock);
        struct segment *seg = take_locked(s);
        lock_release(&s->lock);
        if (seg == NULL)
            break;
        touch(s, seg);
        append_reserve(s, w, seg);
    }
}

static uint64_t bytes_of(const struct segments *s, const struct segment *seg)
{
    return seg->extents > 0 ? seg->extents * REGION_EXTENT : s->size;
}

static uint32_t units_of(const struct segments *s)
{
    return s->size / ENTRY_UNIT;
}

/* Lock held. */
static void unlink_segment(struct segments *s, struct segment *seg)
{
    struct segment_list *l = &s->lists[seg->list];
    *(seg->older != 0 ? &s->meta[seg->older].younger : &l->oldest) = seg->younger;
    *(seg->younger != 0 ? &s->meta[seg->younger].older : &l->youngest) = seg->older;
    atomic_fetch_sub_explicit(&l->bytes, bytes_of(s, seg), memory_order_relaxed);
}

static void link_segment(struct segments *s, struct segment *seg, unsigned list)
{
    struct segment_list *l = &s->lists[list];
    lock_hold(&s->lock);
    seg->list = (uint8_t)list;
    seg->younger = 0;
    seg->older = l->youngest;
    *(l->youngest != 0 ? &s->meta[l->youngest].younger : &l->oldest) = number_of(s, seg);
    l->youngest = number_of(s, seg);
    atomic_fetch_add_explicit(&l->bytes, bytes_of(s, seg), memory_order_relaxed);
    lock_release(&s->lock);
}

static bool is_swept(const struct segment *seg)
{
    return atomic_load_explicit(&seg->swept, memory_order_relaxed) >=
           atomic_load_explicit(&seg->used, memory_order_relaxed);
}

struct segment *segment_oldest(struct segments *s, unsigned list, bool *pinned)
{
    struct segment *found = NULL;
    lock_hold(&s->lock);
    uint32_t n = s->lists[list].oldest;
    for (unsigned looked = 0; n != 0 && looked < OLDEST_LOOK && found == NULL; looked++) {
        struct segment *seg = &s->meta[n];
        uint32_t live = atomic_load_explicit(&seg->live, memory_order_relaxed);
        if (live & SEGMENT_SWEEP)
            *pinned = true;
        else if (live != 0 && !is_swept(seg))
            found = seg;
        n = seg->younger;
    }
    lock_release(&s->lock);
    return found;
}

/* live has reached zero, and whoever brought it there calls this. */
static void set_free(struct segments *s, struct segment *seg)
{
    uint64_t bytes = bytes_of(s, seg);
    bool doomed = segment_epoch(seg) != s->epoch;
    atomic_fetch_sub_explicit(doomed ? &s->doomed : &s->bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->freed, 1, memory_order_relaxed);
    MEM_POISON(segment_start(s, seg), bytes);
    lock_hold(&s->lock);
    if (!doomed)
        unlink_segment(s, seg);
    if (seg->extents > 0) {
        push(s, &s->large, seg);
    } else {
        push(s, &s->dirty, seg);
        s->ndirty++;
    }
    lock_release(&s->lock);
}

static void start(struct segments *s, struct segment_writer *w, struct segment *seg, unsigned lane,
                  uint32_t live)
{
    DEBUG_ASSERT(atomic_load_explicit(&seg->live, memory_order_relaxed) == 0);
    atomic_store_explicit(&seg->epoch, s->epoch, memory_order_relaxed);
    atomic_store_explicit(&seg->purged, s->purge, memory_order_relaxed);
    seg->group = (uint8_t)(lane % s->groups);
    atomic_store_explicit(&seg->swept, 0, memory_order_relaxed);
    atomic_store_explicit(&seg->born_ms, w->now_ms, memory_order_relaxed);
    atomic_store_explicit(&seg->heap, false, memory_order_relaxed);
    atomic_store_explicit(&seg->used, 0, memory_order_relaxed);
    atomic_store_explicit(&seg->sweep_at, SEGMENT_NEVER, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->bytes, bytes_of(s, seg), memory_order_relaxed);
    link_segment(s, seg, lane / s->groups);
    atomic_store_explicit(&seg->live, live, memory_order_release);
}

static void seal(struct segments *s, struct open_segment *o)
{
    struct segment *seg = o->seg;
    uint32_t used = atomic_load_explicit(&seg->used, memory_order_relaxed);
    uint32_t owed = SEGMENT_OPEN + units_of(s) - used;
    o->seg = NULL;
    o->at = o->end = NULL;
    if (atomic_fetch_sub_explicit(&seg->live, owed, memory_order_acq_rel) == owed)
        set_free(s, seg);
}

static struct entry *alloc_large(struct segments *s, uint32_t units)
{
    uint64_t bytes = (uint64_t)units * ENTRY_UNIT;
    uint32_t first, n = (uint32_t)((bytes + REGION_EXTENT - 1) / REGION_EXTENT);
    if (region_take(s->region, n, &first) != 0)
        return NULL;
    struct segment *seg = segment_of(s, region_extent(s->region, first));
    MEM_POISON(segment_start(s, seg), n * REGION_EXTENT);
    MEM_UNPOISON(segment_start(s, seg), bytes);
    seg->extents = n;
    return (struct entry *)segment_start(s, seg);
}

struct entry *segment_alloc(struct segments *s, struct segment_writer *w, uint32_t units, unsigned lane)
{
    DEBUG_ASSERT(lane < SEGMENT_LISTS * s->groups);
    if (region_injected_failure())
        return NULL;
    if (unlikely(units > s->units_max))
        return alloc_large(s, units);
    struct open_segment *o = &w->open[lane];
    if (unlikely((size_t)(o->end - o->at) < (size_t)units * ENTRY_UNIT)) {
        struct segment *seg = take(s, w);
        if (seg == NULL)
            return NULL;
        if (o->seg != NULL)
            seal(s, o);
        start(s, w, seg, lane, SEGMENT_OPEN + units_of(s));
        o->seg = seg;
        o->at = segment_start(s, seg);
        o->end = o->at + s->size;
    }
    MEM_UNPOISON(o->at, (size_t)units * ENTRY_UNIT);
    return (struct entry *)o->at;
}

void segment_commit(struct segments *s, struct segment_writer *w, struct entry *e, uint32_t units,
                    unsigned lane, int64_t sweep_at)
{
    struct segment *seg;
    if (unlikely(units > s->units_max)) {
        seg = segment_of(s, e);
        start(s, w, seg, lane, SEGMENT_SWEEP | units);
        raise_frontier(s, number_of(s, seg) + 1);
        atomic_store_explicit(&seg->used, units, memory_order_release);
        atomic_store_explicit(&seg->sweep_at, sweep_at, memory_order_relaxed);
        atomic_fetch_sub_explicit(&seg->live, SEGMENT_SWEEP, memory_order_release);
        return;
    }
    struct open_segment *o = &w->open[lane];
    seg = o->seg;
    DEBUG_ASSERT((char *)e == o->at);
    o->at += (size_t)units * ENTRY_UNIT;
    uint32_t used = atomic_load_explicit(&seg->used, memory_order_relaxed) + units;
    atomic_store_explicit(&seg->used, used, memory_order_release);
    if (sweep_at != SEGMENT_NEVER)
        segment_sweep_before(seg, sweep_at);
}

void segment_abandon(struct segments *s, struct entry *e, uint32_t units)
{
    if (units <= s->units_max) {
        MEM_POISON(e, (size_t)units * ENTRY_UNIT);
        return;
    }
    struct segment *seg = segment_of(s, e);
    lock_hold(&s->lock);
    push(s, &s->large, seg);
    lock_release(&s->lock);
}

void segment_dead(struct segments *s, struct segment *seg, uint32_t units)
{
    uint32_t was = atomic_fetch_sub_explicit(&seg->live, units, memory_order_acq_rel);
    DEBUG_ASSERT((was & SEGMENT_COUNT) >= units);
    if (was == units)
        set_free(s, seg);
}

bool segment_pin(struct segment *seg)
{
    uint32_t seen = atomic_load_explicit(&seg->live, memory_order_relaxed);
    while (seen != 0 && !(seen & SEGMENT_SWEEP))
        if (atomic_compare_exchange_weak_explicit(&seg->live, &seen, seen | SEGMENT_SWEEP,
                                                  memory_order_acquire, memory_order_relaxed))
            return true;
    return false;
}

void segment_unpin(struct segments *s, struct segment *seg)
{
    uint32_t was = atomic_fetch_sub_explicit(&seg->live, SEGMENT_SWEEP, memory_order_acq_rel);
    DEBUG_ASSERT(was & SEGMENT_SWEEP);
    if (was == SEGMENT_SWEEP)
        set_free(s, seg);
}

uint32_t segment_live_units(const struct segments *s, const struct segment *seg)
{
    uint32_t used = atomic_load_explicit(&seg->used, memory_order_relaxed);
    uint32_t live = atomic_load_explicit(&seg->live, memory_order_relaxed);
    uint32_t count = live & SEGMENT_COUNT;
    return live & SEGMENT_OPEN ? count + used - units_of(s) : count;
}

void segment_seal_all(struct segments *s, struct segment_writer *w)
{
    for (unsigned g = 0; g < SEGMENT_LANES_MAX; g++)
        if (w->open[g].seg != NULL)
            seal(s, &w->open[g]);
}

void segments_doom(struct segments *s)
{
    s->epoch++;
    memset(s->lists, 0, sizeof s->lists);
    uint64_t bytes = atomic_exchange_explicit(&s->bytes, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->doomed, bytes, memory_order_relaxed);
}

void segment_free_doomed(struct segments *s, struct segment *seg)
{
    DEBUG_ASSERT(segment_epoch(seg) != s->epoch);
    atomic_store_explicit(&seg->live, 0, memory_order_relaxed);
    set_free(s, seg);
}

static unsigned trim_large(struct segments *s, unsigned max)
{
    unsigned done = 0;
    while (done < max) {
        lock_hold(&s->lock);
        struct segment *seg = s->large != 0 ? pop(s, &s->large) : NULL;
        lock_release(&s->lock);
        if (seg == NULL)
            break;
        uint32_t n = seg->extents;
        seg->extents = 0;
        MEM_UNPOISON(segment_start(s, seg), n * REGION_EXTENT);
        region_give(s->region, (uint32_t)((segment_start(s, seg) - s->region->base) / REGION_EXTENT), n);
        done++;
    }
    return done;
}

/* Free segments that keep their memory, since they will be wanted in a moment. */
static uint32_t dirty_kept(const struct segments *s)
{
    uint64_t in_use = atomic_load_explicit(&s->bytes, memory_order_relaxed) >> s->shift;
    return DIRTY_MIN + (uint32_t)(in_use / DIRTY_SHARE);
}

unsigned segments_trim(struct segments *s, unsigned max)
{
    unsigned done = trim_large(s, max);
    uint32_t keep = dirty_kept(s);
    while (done < max) {
        struct segment *seg = NULL;
        lock_hold(&s->lock);
        if (s->ndirty > keep) {
            s->ndirty--;
            seg = pop(s, &s->dirty);
        }
        lock_release(&s->lock);
        if (seg == NULL)
            break;
        if (s->size < REGION_EXTENT)
            region_has_hole(s->region, number_of(s, seg) >> (REGION_EXTENT_BITS - s->shift));
        madvise(segment_start(s, seg), s->size, MADV_DONTNEED);
        atomic_store_explicit(&seg->used, 0, memory_order_relaxed);
        lock_hold(&s->lock);
        push(s, &s->clean, seg);
        lock_release(&s->lock);
        done++;
    }
    return done;
}

uint64_t segments_free_bytes(struct segments *s)
{
    lock_hold(&s->lock);
    uint64_t bytes = (uint64_t)s->ndirty << s->shift;
    lock_release(&s->lock);
    return bytes;
}

uint64_t segments_surplus_bytes(struct segments *s)
{
    uint32_t keep = dirty_kept(s);
    lock_hold(&s->lock);
    uint64_t n = s->ndirty > keep ? s->ndirty - keep : 0;
    lock_release(&s->lock);
    return n << s->shift;
}
