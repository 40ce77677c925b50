/* Segments: where entries lie, packed, in the order they were written.
 *
 *      | entry | entry+slack | dead | entry | ...    | unused |
 *      0                                     used           size
 *
 * A thread appends to its own open segments, one for each TTL group, so that what
 * expires together lies together. A full segment is sealed. Entries die where they
 * lie; when the last one is gone the segment is free again, and sweeps (sweep.c)
 * help by moving the few that are left.
 *
 * `live` counts the 4-byte units of live entries and carries two pins:
 *
 *      bit 31 SWEEP: a thread walks it       bit 30 OPEN: a thread appends to it
 *
 * Whoever brings it to zero frees the segment. A pin is only taken by CAS from a
 * value that is not zero, so there is exactly one such thread, and a segment that
 * somebody walks cannot be reused under him. An open segment starts with a bias of
 * its whole size, paid back when it is sealed: appending costs no atomic operation.
 *
 * The boundaries between entries never move: an entry that shrinks leaves a filler
 * behind, and is marked ENTRY_SLACK before it does. So a thread that has pinned a
 * segment may walk it without locks, except that it needs the shard's lock to find
 * the end of an entry with that mark. `used` is published after the entry's bytes.
 *
 * Segments in use stand in lists, oldest first: one for each size class and queue of
 * the eviction policy (evict.h), and one for keys that it may not evict. What a thread
 * appends to is a **lane**: a list and a TTL group. How many lanes there are follows
 * maxmemory, so that open segments stay a small share of it; where there is no room,
 * neighbouring classes and groups share a lane, and then the two queues of a class.
 *
 * An entry too large for a segment (a huge key) gets extents of its own and is
 * treated as a segment with one entry.
 *
 * Cost: 64 bytes for each segment; on average half an entry at its end. */
#ifndef LARDER_STORE_SEGMENT_H
#define LARDER_STORE_SEGMENT_H

#include "base/assert.h"
#include "store/entry.h"
#include "store/region.h"

#include <stdatomic.h>
#include <stdint.h>

enum segment_limits {
    SEGMENT_SIZE_MIN = 16 << 10,
    SEGMENT_SIZE_MAX = 2 << 20,
    SEGMENT_SIZE_UNLIMITED = 512 << 10, /* when maxmemory is 0 */
    SEGMENT_GROUPS_MAX = 20,            /* no TTL, then doubling from 2 s to 6 days */
    SEGMENT_CLASSES = 12,               /* = STORE_CLASSES */
    SEGMENT_KEPT = SEGMENT_CLASSES * 2, /* the list of what may not be evicted */
    SEGMENT_LISTS,
    SEGMENT_LANES_MAX = SEGMENT_LISTS * SEGMENT_GROUPS_MAX,
    SEGMENT_RESERVE = 2,     /* free segments that an appender keeps for itself */
    SEGMENT_OPEN_SHARE = 50, /* open segments of all threads: at most 1/50 of maxmemory */
    SEGMENT_ENTRY_SHARE = 4, /* entries above 1/4 of a segment get extents of their own */
};

#define SEGMENT_OPEN ((uint32_t)1 << 30)
#define SEGMENT_SWEEP ((uint32_t)1 << 31)
#define SEGMENT_COUNT (SEGMENT_OPEN - 1)
#define SEGMENT_NEVER INT64_MAX

struct segment {
    CACHE_ALIGNED _Atomic uint32_t live;
    _Atomic uint32_t used;    /* units that hold complete entries; 0: no memory behind it, or hardly any */
    _Atomic int64_t sweep_at; /* ms since 1970: enough has expired to be worth a walk */
    _Atomic uint32_t epoch;   /* of the store when it was opened; older ones are doomed (flush.c) */
    _Atomic uint32_t purged;  /* garbage generation it is known to be clean of (flush.c) */
    uint32_t next;            /* free lists; segment number, 0 = end */
    uint32_t extents;         /* > 0: extents of its own, one entry */
    uint32_t older, younger;  /* in its list; segments.lock */
    _Atomic uint32_t swept;   /* units that eviction has been through */
    _Atomic int64_t born_ms;  /* when it was opened */
    uint8_t group;
    uint8_t list;
    _Atomic bool heap; /* some entry holds (or held) a heap value */
};

struct open_segment {
    struct segment *seg; /* NULL: none open */
    char *at, *end;
};

/* One thread's side. */
struct segment_writer {
    struct open_segment open[SEGMENT_LANES_MAX];
    int64_t now_ms;                 /* of the latest put: when the next segment is born */
    uint32_t reserve, reserve_last; /* queue of free segments, by `next` */
    uint32_t nreserve;
};

/* Oldest first, by segment number, 0 = none. */
struct segment_list {
    uint32_t oldest, youngest;
    _Atomic uint64_t bytes;
};

struct segments {
    struct region *region;
    struct segment *meta; /* by number = (address - base) / size */
    size_t meta_bytes;
    uint32_t size;      /* bytes */
    uint32_t shift;     /* log2(size) */
    uint32_t units_max; /* of an entry in a shared segment */
    uint32_t threads;
    uint32_t groups, classes, queues; /* of lanes; gate, nothing open */
    uint32_t epoch;                   /* changed under the gate only */
    _Atomic uint32_t purge;           /* current garbage generation; gate, or the sweep's lock */

    struct lock lock; /* leaf; guards the lists */
    struct segment_list lists[SEGMENT_LISTS];
    uint32_t dirty, clean; /* free segments with and without memory behind them */
    uint32_t large;        /* freed, with extents to give back */
    uint32_t ndirty;
    uint32_t carved[2];        /* the newest extents */
    _Atomic uint32_t frontier; /* numbers below it may be in use */
    _Atomic uint64_t bytes;    /* of segments in use (this epoch's) */
    _Atomic uint64_t doomed;   /* of those that a flush left behind */
    _Atomic uint64_t freed;    /* segments freed since boot */
};

/* maxmemory 0 = unlimited. threads: that write at once. ERR_OOM. */
int segments_init(struct segments *s, struct region *r, uint64_t maxmemory, uint32_t threads);
void segments_release(struct segments *s);
/* How many lanes there are from now on. Gate, and nothing open. `evicts`: by class and queue. */
void segments_plan(struct segments *s, uint64_t maxmemory, bool evicts);

static inline struct segment *segment_of(const struct segments *s, const void *p)
{
    return &s->meta[(uint64_t)((const char *)p - s->region->base) >> s->shift];
}

static inline char *segment_start(const struct segments *s, const struct segment *seg)
{
    return s->region->base + ((uint64_t)(seg - s->meta) << s->shift);
}

/* The group for a key that has so long to live; 0 = no deadline. */
unsigned segment_group(const struct segments *s, int64_t remaining_ms);

/* The size class of an entry that takes so many bytes, heap value included, of SEGMENT_CLASSES. */
unsigned segment_class(uint64_t bytes);
/* The lane of an entry that takes so many bytes, heap value included. queue: 0 or 1. */
unsigned segment_lane(const struct segments *s, uint64_t bytes, unsigned queue, unsigned group);
static inline unsigned segment_lane_kept(const struct segments *s)
{
    return SEGMENT_KEPT * s->groups;
}
/* The oldest segment of a list that eviction has not been through, or NULL. It may be gone when this returns:
 * pin it. *pinned becomes true if another thread is at one. Looks at no more than a few dozen. */
struct segment *segment_oldest(struct segments *s, unsigned list, bool *pinned);

/* Room for an entry, which becomes part of the segment with segment_commit(). Until then
 * it can be dropped with segment_abandon(). NULL when memory is short. */
struct entry *segment_alloc(struct segments *s, struct segment_writer *w, uint32_t units, unsigned lane);
void segment_commit(struct segments *s, struct segment_writer *w, struct entry *e, uint32_t units,
                    unsigned lane, int64_t sweep_at);
void segment_abandon(struct segments *s, struct entry *e, uint32_t units);

/* units of a live entry died. May free the segment: do not touch the entry afterwards. */
void segment_dead(struct segments *s, struct segment *seg, uint32_t units);
/* A live entry changed its size in place. */
static inline void segment_resized(struct segment *seg, int64_t units)
{
    atomic_fetch_add_explicit(&seg->live, (uint32_t)units, memory_order_relaxed);
}

/* Something in it expires: walk it at `ms` at the latest. */
static inline void segment_sweep_before(struct segment *seg, int64_t ms)
{
    int64_t seen = atomic_load_explicit(&seg->sweep_at, memory_order_relaxed);
    while (ms < seen && !atomic_compare_exchange_weak_explicit(&seg->sweep_at, &seen, ms,
                                                               memory_order_release, memory_order_relaxed))
        ;
}

/* False when it is free, or somebody else walks it. */
bool segment_pin(struct segment *seg);
void segment_unpin(struct segments *s, struct segment *seg);

static inline uint32_t segment_epoch(const struct segment *seg)
{
    return atomic_load_explicit(&seg->epoch, memory_order_relaxed);
}

/* Units of live entries. Exact when nobody writes. */
uint32_t segment_live_units(const struct segments *s, const struct segment *seg);
static inline bool segment_is_open(const struct segment *seg)
{
    return (atomic_load_explicit(&seg->live, memory_order_relaxed) & SEGMENT_OPEN) != 0;
}

/* Fill the reserve. No shard lock held. */
void segment_refill(struct segments *s, struct segment_writer *w);
/* Seal everything that is open (gate, or the writer's own thread). */
void segment_seal_all(struct segments *s, struct segment_writer *w);
/* Gate: everything in use is doomed; writers start anew. */
void segments_doom(struct segments *s);
/* The holder of the pin: a doomed segment, whose heap values are gone, becomes free. */
void segment_free_doomed(struct segments *s, struct segment *seg);

/* Give the memory of some free segments back, for at most `max` of them. Returns how many. */
unsigned segments_trim(struct segments *s, unsigned max);

/* Bytes of free segments that still have memory behind them; and what of them segments_trim() gives back. */
uint64_t segments_free_bytes(struct segments *s);
uint64_t segments_surplus_bytes(struct segments *s);

#endif
