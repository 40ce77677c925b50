/* Upkeep: eviction, expiry, compaction and garbage are one walk over a segment's entries.
 *
 *      pass    all segments' metadata, a line each, in order: is there work in it?
 *                expire   its time has come (segment.sweep_at)
 *                compact  it is sealed and sparser than the pass's threshold
 *                purge    it may hold keys of a database id that is dead
 *                doomed   a flush left it behind
 *      walk    pin the segment, step from entry to entry without locks, and lock the
 *              shard of each that must go or move
 *
 * Eviction chooses its segments by the policy (evict.h) and comes first: whenever memory is wanted,
 * before a round and between rounds, in slices that end when enough is free.
 *
 * Passes are shared by all threads and cheap (64 bytes a segment); a walk belongs to
 * one thread and continues in its next slice. A pass counts sealed segments by how
 * full they are; if too much of them is dead, the next pass compacts the sparsest,
 * just enough. Entries are looked at 16 at a time, so that their buckets come from
 * memory together.
 *
 * When to walk a segment again for expiry: each walk notes how long what stays has
 * left (`horizon`), and the next one is due when 4 % of the segment has expired, or
 * the first expired entry has waited for `lateness`, which is chosen so that such
 * walks take about 1 % of a CPU however many segments there are. */
#include "os/clock.h"
#include "store/ban_internal.h"
#include "store/evict.h"
#include "store/shard.h"
#include "store/store.h"

#include <string.h>

enum {
    BATCH = 16,
    PASS_MS = 100,        /* between two passes when the last one found nothing to compact */
    PASS_SEGMENTS = 2000, /* and 1 ms more for so many segments */
    PASS_STEPS = 4096,    /* segments looked at under the pass's lock at once */
    RETRY_MS = 100,       /* a shard was busy */
    DEAD_MAX = 12,        /* % of sealed segments that may be dead ... */
    DEAD_GOAL = 9,        /* ... and what compaction aims at */
    DEAD_MAX_PRESSED = 6, /* the same when memory is short */
    DEAD_GOAL_PRESSED = 4,
    PRESSED = 90,           /* % of maxmemory */
    COMPACT_SEALED_MIN = 4, /* fewer sealed segments are not worth it */
    PARTS = 64,
    PARTS_COMPACT_MAX = 60, /* fuller segments are never compacted */
    EXPIRED_SHARE = 25,     /* walk again when 1/25 of the segment has expired */
    LATENESS_PER_SEGMENT_MS = 6,
    LATENESS_MIN = 1000,
    LATENESS_MAX = 600 * 1000,
    PASS_LONG_MS = 4000, /* a pass that takes longer must be given more time */
    EXPIRED_MAX = 100,   /* 1/100 of what is used */
};

/* An entry that a walk must visit under its shard's lock. */
struct visit {
    struct entry *e;
    struct key key;
};

/* On a replica only the primary deletes; and tests want to see what lies around. */
static bool may_expire(const struct access *a)
{
    return a->expired == EXPIRED_REMOVE && a->store->active_expire;
}

static struct entry *entry_of(const struct store *s, const struct walk *w)
{
    return (struct entry *)(segment_start(&s->segs, w->seg) + (size_t)w->at * ENTRY_UNIT);
}

static void note_stays(struct walk *w, int64_t expire_ms, int64_t now_ms, uint32_t units)
{
    if (expire_ms == 0)
        return;
    int64_t left = expire_ms > now_ms ? expire_ms - now_ms : 1;
    unsigned bin = 63 - (unsigned)__builtin_clzll((uint64_t)left);
    w->horizon[bin < HORIZON_BINS ? bin : HORIZON_BINS - 1] += units;
    if (expire_ms < w->earliest)
        w->earliest = expire_ms;
}

/* ---- one entry, its shard locked ---- */

/* How long it lay around beyond its time, for the estimate of how much does (Little: rate x time). */
static void note_overdue(const struct access *a, const struct entry *e, int64_t expire_ms)
{
    uint64_t n = (uint64_t)entry_units(e) * ENTRY_UNIT * (uint64_t)(a->now_ms - expire_ms);
    uint64_t sum = atomic_load_explicit(&a->app->overdue, memory_order_relaxed);
    atomic_store_explicit(&a->app->overdue, sum + n, memory_order_relaxed);
}

static void visit_evict(const struct access *a, struct walk *w, struct visit *v, struct table_pos *pos)
{
    unsigned freq = entry_word(v->e) & ENTRY_FREQ_MASK;
    enum evict_verdict verdict = evict_judge(a, w->seg, v->e);
    if (verdict == EVICT_IT) {
        evict_note(a, w->seg, &v->key, v->e);
        store_remove_evicted(a, &v->key, pos, v->e);
        return;
    }
    struct move how = {.queue = verdict == EVICT_NOT_MAIN, .freq = (int)evict_freq(a, w->seg, freq)};
    if (store_move(a, pos, v->e, &how) == NULL)
        w->missed = true;
}

/* What is banned goes, or becomes stale, before anything else may move it to where nobody would know any
 * more. True: it is gone, or may not go now. */
static bool visit_banned(const struct access *a, struct walk *w, struct visit *v, struct table_pos *pos)
{
    enum ban_effect effect = store_ban_effect(a->store, v->e);
    if (likely(effect == BAN_NONE) || (effect == BAN_SOFT && ext_soften(a, &v->key, v->e)))
        return false;
    if (ban_may_remove(a)) {
        ban_remove(a, &v->key, pos, v->e);
        w->banned++;
    } else {
        w->missed = true;
    }
    return true;
}

static void visit_locked(const struct access *a, struct walk *w, struct visit *v)
{
    struct store *s = a->store;
    struct table_pos pos;
    if (entry_word(v->e) & ENTRY_DEAD)
        return;
    bool known = table_find_entry(&a->app->tm, table_of(s, &v->key), v->key.hash, v->e, &pos);
    ASSERT(known); /* the table and the lock agree on what is alive */
    int64_t expire_ms = entry_expire(v->e);
    if (id_is_dead(s, v->key.db)) {
        store_remove(a, v->key.slot, &pos, v->e);
    } else if (visit_banned(a, w, v, &pos)) {
        return;
    } else if (may_expire(a) && deadline_passed(expire_ms, a->now_ms)) {
        note_overdue(a, v->e, expire_ms);
        store_remove_expired(a, &v->key, &pos, v->e);
    } else if (a->expired == EXPIRED_REMOVE && (entry_word(v->e) & ENTRY_EXT) &&
               ext_is_dead(a->store, v->e)) {
        store_remove_dead(a, &v->key, &pos, v->e);
    } else if (w->reason == SWEEP_EVICT) {
        visit_evict(a, w, v, &pos);
    } else if (w->reason == SWEEP_COMPACT) {
        struct move how = {.queue = STORE_MOVE_SAME, .freq = STORE_MOVE_SAME};
        if (store_move(a, &pos, v->e, &how) != NULL)
            bump(&a->app->compacted);
        else
            w->missed = true;
    } else {
        note_stays(w, expire_ms, a->now_ms, entry_units(v->e));
    }
}

/* False when the shard is busy. *extent: of the entry, which only its lock makes certain. */
static bool visit_entry(const struct access *a, struct walk *w, struct visit *v, uint32_t *extent)
{
    bool locked;
    uint32_t shard = key_shard(&v->key);
    if (!store_shard_enter(a, shard, &locked)) {
        w->missed = true;
        return false;
    }
    *extent = entry_extent(v->e);
    visit_locked(a, w, v);
    store_shard_leave(a, shard, locked);
    return true;
}

/* ---- stepping without locks ---- */

static bool wants(const struct access *a, struct walk *w, const struct entry *e, struct str key, uint32_t db,
                  uint32_t units)
{
    if (w->reason == SWEEP_COMPACT || w->reason == SWEEP_EVICT || id_is_dead(a->store, db))
        return true;
    if (unlikely(ban_may_hit(a->store, w->seg, key, db)))
        return true;
    int64_t expire_ms = entry_expire_hint(e);
    if (may_expire(a) && deadline_passed(expire_ms, a->now_ms))
        return true;
    note_stays(w, expire_ms, a->now_ms, units);
    return false;
}

static void visit_make(const struct access *a, struct visit *v, struct entry *e, struct str key, uint32_t db)
{
    v->e = e;
    key_set(a->store, &v->key, key, db);
    store_approach_begin(a->store, &v->key);
}

/* Collect what must be visited, until the batch is full or an entry comes whose end only its lock can
 * tell: that is the last one then, *uncertain is set, and w->at stays before it. */
static unsigned collect(const struct access *a, struct walk *w, uint32_t used, struct visit *batch,
                        bool *uncertain)
{
    unsigned n = 0;
    *uncertain = false;
    while (n < BATCH && w->at < used) {
        struct entry *e = entry_of(a->store, w);
        uint32_t word = atomic_load_explicit(&e->word, memory_order_acquire), db;
        if (word & ENTRY_DEAD) {
            w->at += entry_extent(e);
            continue;
        }
        struct str key = entry_fixed_parts(e, word, &db);
        if (word & (ENTRY_SLACK | ENTRY_LONG | ENTRY_EXT)) {
            visit_make(a, &batch[n++], e, key, db);
            *uncertain = true;
            break;
        }
        uint32_t units = entry_short_units(word);
        if (wants(a, w, e, key, db, units))
            visit_make(a, &batch[n++], e, key, db);
        w->at += units;
    }
    return n;
}

/* True when the walk is over, false when the time is. */
static bool walk_on(const struct access *a, struct walk *w, int64_t until_ns)
{
    struct visit batch[BATCH];
    for (;;) {
        bool uncertain;
        uint32_t used = atomic_load_explicit(&w->seg->used, memory_order_acquire), extent = 0;
        unsigned n = collect(a, w, used, batch, &uncertain);
        for (unsigned step = 0; step < STORE_APPROACH_STEPS - 1; step++) /* the entries are here already */
            for (unsigned i = 0; i < n; i++)
                store_approach(a->store, &batch[i].key);
        for (unsigned i = 0; i < n; i++) {
            bool visited = visit_entry(a, w, &batch[i], &extent);
            if (uncertain && i == n - 1) {
                if (!visited)
                    return true; /* no way to go on */
                w->at += extent;
            }
        }
        if (w->at >= used)
            return true;
        if (w->reason == SWEEP_EVICT && !evict_wanted(a))
            return false;
        if (os_work_ns() >= until_ns)
            return false;
    }
}

/* ---- beginning and ending a walk ---- */

static void walk_begin(struct store *s, struct walk *w, struct segment *seg, enum sweep_reason reason)
{
    *w = (struct walk){.seg = seg, .reason = reason, .purge = s->segs.purge, .earliest = SEGMENT_NEVER};
    atomic_exchange_explicit(&seg->sweep_at, SEGMENT_NEVER, memory_order_acq_rel);
}

/* When 1/EXPIRED_SHARE of the segment will have expired, by the horizon. */
static int64_t share_expires_at(const struct walk *w, int64_t now_ms)
{
    uint64_t want = w->at / EXPIRED_SHARE + 1, sum = 0;
    for (unsigned bin = 0; bin < HORIZON_BINS; bin++) {
        uint64_t units = w->horizon[bin];
        if (sum + units >= want) {
            int64_t start = (int64_t)1 << bin;
            return now_ms + start + (int64_t)((double)start * (double)(want - sum) / (double)units);
        }
        sum += units;
    }
    return SEGMENT_NEVER;
}

static void walk_end(const struct access *a, struct walk *w)
{
    struct store *s = a->store;
    int64_t at = SEGMENT_NEVER;
    if (w->earliest != SEGMENT_NEVER) {
        int64_t late = atomic_load_explicit(&s->lateness_ms, memory_order_relaxed);
        int64_t share = share_expires_at(w, a->now_ms);
        at = w->earliest > SEGMENT_NEVER - late ? SEGMENT_NEVER - 1 : w->earliest + late;
        at = share < at ? share : at;
    }
    if (w->missed)
        at = a->now_ms + RETRY_MS;
    else
        atomic_store_explicit(&w->seg->purged, w->purge, memory_order_relaxed);
    bans_pace(a, w->banned);
    segment_sweep_before(w->seg, at);
    segment_unpin(&s->segs, w->seg);
    w->seg = NULL;
}

void sweep_abort(struct store *s, struct appender *app)
{
    if (app->walk.seg == NULL)
        return;
    segment_sweep_before(app->walk.seg, 0); /* what it has noted is lost: walk it again soon */
    segment_unpin(&s->segs, app->walk.seg);
    app->walk.seg = NULL;
}

void sweep_purge_now(const struct access *a)
{
    struct store *s = a->store;
    uint32_t end = atomic_load_explicit(&s->segs.frontier, memory_order_acquire);
    for (uint32_t i = 0; i < s->nthreads; i++)
        sweep_abort(s, s->appenders[i]);
    for (uint32_t i = 0; i < end; i++) {
        struct segment *seg = &s->segs.meta[i];
        if (segment_epoch(seg) != s->segs.epoch || !segment_pin(seg))
            continue;
        struct walk *w = &a->app->walk;
        walk_begin(s, w, seg, SWEEP_PURGE);
        walk_on(a, w, INT64_MAX);
        walk_end(a, w);
    }
}

/* ---- eviction ---- */

/* A walk that never outlives its slice: others may go on where it stopped. */
static void evict_from(const struct access *a, struct segment *seg, int64_t until_ns)
{
    struct store *s = a->store;
    struct walk w = {.seg = seg, .reason = SWEEP_EVICT, .earliest = SEGMENT_NEVER};
    w.at = atomic_load_explicit(&seg->swept, memory_order_relaxed);
    walk_on(a, &w, until_ns);
    atomic_store_explicit(&seg->swept, w.missed ? 0 : w.at, memory_order_relaxed);
    segment_unpin(&s->segs, seg);
}

void sweep_evict(const struct access *a, int64_t until_ns)
{
    while (evict_wanted(a)) {
        struct segment *seg = evict_choose(a);
        if (seg == NULL)
            break;
        evict_from(a, seg, until_ns);
        segment_refill(&a->store->segs, &a->app->writer);
        if (os_work_ns() >= until_ns)
            break;
    }
    store_update_pressure(a->store);
}

/* ---- passes ---- */

/* Where nothing may be removed now, what is dead waits for a later pass. */
static void pass_begin(const struct access *a, struct sweep *sw)
{
    struct store *s = a->store;
    sw->for_dead =
        a->expired == EXPIRED_REMOVE && atomic_exchange_explicit(&s->sweep_dead, false, memory_order_relaxed);
    if (sw->for_dead)
        atomic_fetch_add_explicit(&s->segs.purge, 1, memory_order_relaxed);
    sw->cursor = 0;
    sw->began_ms = a->now_ms;
    sw->active = true;
    sw->clean = s->segs.purge;
    sw->sealed = sw->live_parts = 0;
    memset(sw->parts, 0, sizeof sw->parts);
}

static bool is_pressed(struct store *s)
{
    return s->maxmemory != 0 && store_used(s) > s->maxmemory / 100 * PRESSED;
}

/* Which segments to compact in the next pass: the sparsest, until what they hold of dead space is what
 * there is too much of. */
static void choose_threshold(struct store *s, struct sweep *sw)
{
    bool pressed = is_pressed(s);
    uint64_t all = sw->sealed * PARTS, dead = all - sw->live_parts, sum = 0;
    uint64_t max = all * (pressed ? DEAD_MAX_PRESSED : DEAD_MAX) / 100;
    uint64_t goal = all * (pressed ? DEAD_GOAL_PRESSED : DEAD_GOAL) / 100;
    sw->threshold = 0;
    sw->reclaim = 0;
    if (sw->sealed < COMPACT_SEALED_MIN || dead <= max)
        return;
    sw->reclaim = dead - goal;
    while (sw->threshold < PARTS_COMPACT_MAX && sum < sw->reclaim) {
        sum += (uint64_t)(PARTS - sw->threshold) * sw->parts[sw->threshold];
        sw->threshold++;
    }
}

/* Bytes x ms that expired entries have waited since the last look, by the ms since then. */
static void estimate_expired(const struct access *a)
{
    enum { WINDOW_MS = 2000 };
    struct store *s = a->store;
    struct sweep *sw = &s->sweep;
    uint64_t sum = 0;
    int64_t ms = a->now_ms - sw->overdue_ms;
    if (ms >= 0 && ms < WINDOW_MS)
        return;
    for (uint32_t i = 0; i < s->nthreads; i++)
        sum += atomic_load_explicit(&s->appenders[i]->overdue, memory_order_relaxed);
    uint64_t bytes = ms > 0 ? (sum - sw->overdue) / (uint64_t)ms : 0;
    atomic_store_explicit(&s->expired_bytes, bytes, memory_order_relaxed);
    sw->overdue = sum;
    sw->overdue_ms = a->now_ms;
}

static void pass_end(const struct access *a)
{
    struct store *s = a->store;
    estimate_expired(a);
    struct sweep *sw = &s->sweep;
    uint64_t n = atomic_load_explicit(&s->segs.bytes, memory_order_relaxed) >> s->segs.shift;
    int64_t late = (int64_t)n * LATENESS_PER_SEGMENT_MS;
    late = late < LATENESS_MIN ? LATENESS_MIN : late > LATENESS_MAX ? LATENESS_MAX : late;
    atomic_store_explicit(&s->lateness_ms, late, memory_order_relaxed);
    choose_threshold(s, sw);
    if (unlikely(store_bans(s) != 0))
        bans_end(s, sw->clean);
    if (ids_dead(s) != 0)
        store_recycle_id(s, sw->recycle++ % s->ids_used);
    sw->active = false;
    sw->next_pass_ms = a->now_ms;
    if (sw->threshold == 0)
        sw->next_pass_ms += PASS_MS + sw->cursor / PASS_SEGMENTS;
}

/* Also counts the segment for the next threshold. */
static enum sweep_reason find_reason(const struct access *a, struct sweep *sw, const struct segment *seg)
{
    const struct store *s = a->store;
    uint32_t live = atomic_load_explicit(&seg->live, memory_order_acquire);
    if (live == 0)
        return SWEEP_NOTHING;
    if (segment_epoch(seg) != s->segs.epoch)
        return SWEEP_DOOMED;
    uint32_t purged = atomic_load_explicit(&seg->purged, memory_order_relaxed);
    if ((int32_t)(purged - sw->clean) < 0)
        sw->clean = purged;
    uint32_t parts = PARTS;
    if (!(live & SEGMENT_OPEN)) {
        uint64_t p = (uint64_t)(live & SEGMENT_COUNT) * PARTS * ENTRY_UNIT >> s->segs.shift;
        parts = p < PARTS ? (uint32_t)p : PARTS;
        sw->sealed++;
        sw->live_parts += parts;
        sw->parts[parts]++;
    }
    if (live & SEGMENT_SWEEP)
        return SWEEP_NOTHING;
    if (may_expire(a) && atomic_load_explicit(&seg->sweep_at, memory_order_relaxed) <= a->now_ms)
        return SWEEP_EXPIRE;
    if (parts < sw->threshold && sw->reclaim > 0) {
        sw->reclaim -= sw->reclaim < PARTS - parts ? sw->reclaim : PARTS - parts;
        return SWEEP_COMPACT;
    }
    if (purged != s->segs.purge && (ids_dead(s) != 0 || sw->for_dead || bans_due(a)))
        return SWEEP_PURGE;
    return SWEEP_NOTHING;
}

/* The next segment with work, pinned, becomes this thread's walk. False when there is none for now. */
static bool select_walk(const struct access *a)
{
    struct store *s = a->store;
    struct sweep *sw = &s->sweep;
    bool found = false;
    if (!lock_try(&sw->lock))
        return false;
    if (!sw->active && (a->now_ms >= sw->next_pass_ms || sw->next_pass_ms - a->now_ms > LATENESS_MAX))
        pass_begin(a, sw);
    uint32_t end = atomic_load_explicit(&s->segs.frontier, memory_order_acquire);
    for (unsigned step = 0; sw->active && !found && step < PASS_STEPS; step++) {
        if (sw->cursor >= end) {
            pass_end(a);
            break;
        }
        struct segment *seg = &s->segs.meta[sw->cursor++];
        enum sweep_reason reason = find_reason(a, sw, seg);
        if (reason != SWEEP_NOTHING && segment_pin(seg)) {
            walk_begin(s, &a->app->walk, seg, reason);
            found = true;
        }
    }
    lock_release(&sw->lock);
    return found;
}

/* *late: the pass at hand has begun long ago. */
static uint32_t ms_to_next_pass(const struct access *a, bool *late)
{
    struct sweep *sw = &a->store->sweep;
    if (!lock_try(&sw->lock))
        return 1;
    int64_t ms = sw->active ? 0 : sw->next_pass_ms - a->now_ms;
    *late = sw->active && a->now_ms - sw->began_ms > PASS_LONG_MS;
    lock_release(&sw->lock);
    return ms <= 0 ? 0 : ms > PASS_MS * 10 ? PASS_MS * 10 : (uint32_t)ms;
}

/* ---- the slice ---- */

static bool free_doomed(const struct access *a, int64_t until_ns)
{
    struct store *s = a->store;
    struct walk *w = &a->app->walk;
    if (!segment_release_heap(s, w->seg, &w->at, until_ns, &s->heap_doomed))
        return false;
    segment_free_doomed(&s->segs, w->seg);
    w->seg = NULL;
    return true;
}

/* True when the walk at hand, or a new one, was finished in time. */
static bool sweep_step(const struct access *a, int64_t until_ns)
{
    struct walk *w = &a->app->walk;
    if (w->seg == NULL && !select_walk(a))
        return false;
    if (w->reason == SWEEP_DOOMED)
        return free_doomed(a, until_ns);
    if (!walk_on(a, w, until_ns))
        return false;
    walk_end(a, w);
    return true;
}

static bool lingers_much(struct store *s)
{
    return atomic_load_explicit(&s->expired_bytes, memory_order_relaxed) > store_used(s) / EXPIRED_MAX;
}

uint32_t store_maintain(const struct access *a, uint32_t budget_us)
{
    struct store *s = a->store;
    int64_t until_ns = os_work_ns() + (int64_t)budget_us * 1000;
    a->app->upkeep = a;
    bool digging = store_dig(a, until_ns), reaping = store_reap(a->store, until_ns);
    if (evict_wanted(a)) {
        sweep_evict(a, until_ns);
        store_trim_surplus(s);
    }
    while (os_work_ns() < until_ns && sweep_step(a, until_ns))
        segment_refill(&s->segs, &a->app->writer);
    bool packing = store_pack(a, until_ns), surplus = store_give_back(s, until_ns), late = false;
    store_update_pressure(s);
    bool evicting = evict_wanted(a) && !atomic_load_explicit(&s->evict.stuck, memory_order_relaxed);
    uint32_t ms = ms_to_next_pass(a, &late);
    a->app->haste = evicting || store_is_crowded(s)                 ? STORE_NOW
                    : digging || reaping || late || lingers_much(s) ? STORE_SOON
                                                                    : STORE_AT_LEISURE;
    if (digging || reaping || packing || a->app->walk.seg != NULL || evicting)
        return 0;
    return surplus && ms > 1 ? 1 : ms;
}

enum store_haste store_haste(const struct appender *app)
{
    return app->haste;
}
