/* The accounts: how much memory the data takes, how many keys there are.
 *
 *      used = segments  names, headers, values, dead space; open ones whole
 *           + tables    the pages that buckets lie in
 *           + blocks    heap values as jemalloc rounds them
 *           + slack     the values' share of the holes in the heap's pages     (sampled)
 *           + excess    what is resident though no account knows it            (sampled, smoothed)
 *
 * The first three are exact at any moment, and control acts on them: a deletion or an
 * eviction shows at once. RSS alone would be a bad guide, since it follows a change only
 * when pages have gone back, so a controller that listens to it evicts twice; it is
 * asked how far off the accounts are in the long run. `excess` moves with a time
 * constant of SMOOTH_MS, begins where TOLERANCE ends and is cut at maxmemory/EXCESS_SHARE.
 * What is on its way back to the system (surplus, doomed) is known and no excess; clients'
 * buffers and logs are heap that no value owns, and are taken out before.
 *
 * Nothing here is on the path of a command but one load of over_memory, which is brought
 * up to date whenever a thread opens a segment or has allocated HEAP_UNSEEN bytes of
 * blocks: that is by how much maxmemory can be overrun, once for each thread. */
#include "base/alloc.h"
#include "base/err.h"
#include "os/clock.h"
#include "store/shard.h"
#include "store/store.h"

enum {
    HEADERS = STORE_SLOTS * sizeof(struct table),
    SMOOTH_MS = 5000,
    TOLERANCE = 1 << 20,  /* an empty process is not always the same ... */
    TOLERANCE_SHARE = 32, /* ... and this much of maxmemory is what TARGETS allow beside it, and more */
    EXCESS_SHARE = 8,
    TRIM_PAGES = 16,         /* of the pool's, between two looks at the clock; segments go one by one */
    RECLAIM_NS = 125 * 1000, /* before one round, ... */
    OVERRUN_SHARE = 256, /* ... twice that when writers have added 1/256 beyond maxmemory, and so on, ... */
    RECLAIM_DOUBLE_MAX = 6, /* ... so many times */
    SURPLUS_SHARE = 128,    /* of maxmemory: more free segments than this go back before a round, ... */
    TRIM_BYTES = 4 << 20,   /* ... so much at a time, since a round may write as much, ... */
    TRIM_SEGMENTS = 8,      /* ... or so many if that is more */
    SPARE_SHARE = 64, /* of maxmemory: more pages than this the heap does not keep for values to come, ... */
    SPARE_MIN = 256 << 10,         /* ... nor less than this */
    SPARE_SHARE_UNLIMITED = 8,     /* of what values took: the same without maxmemory, ... */
    SPARE_MIN_UNLIMITED = 8 << 20, /* ... and the least */
    PREPARE_END_SHARE = 8, /* of maxmemory: while more than 1/8 is left, huge pages are prepared: one, ... */
    PREPARE_ONE_MORE = 1 << 29, /* ... one more for so many bytes in use, ... */
    PREPARE_MAX = 8,            /* ... at most */
    PURGE_HERE_MAX = 4 << 20, /* bytes: a worker gives so many back itself, in a fraction of a millisecond */
    HOLES_SHARE =
        16, /* of maxmemory: a thread that put so much into the heap, or took it out, looks at holes */
    HOLES_MIN = 1 << 20, /* ... but not for less */
};

static uint64_t not_negative(int64_t v)
{
    return v > 0 ? (uint64_t)v : 0;
}

static uint64_t sum_of(const _Atomic int64_t *account)
{
    return not_negative(atomic_load_explicit(account, memory_order_relaxed));
}

uint64_t store_used(struct store *s)
{
    return store_outside_heap(s) + sum_of(&s->heap) +
           atomic_load_explicit(&s->heap_slack, memory_order_relaxed) +
           atomic_load_explicit(&s->rss_excess, memory_order_relaxed);
}

uint64_t store_outside_heap(const struct store *cs)
{
    struct store *s = (struct store *)cs; /* the pool's leaf lock is taken, nothing else changes */
    return atomic_load_explicit(&s->segs.bytes, memory_order_relaxed) + pool_bytes(&s->pool) + HEADERS +
           ghosts_bytes(&s->evict.ghosts) + shadows_bytes(&s->evict.shadows);
}

uint64_t store_buckets(const struct store *cs)
{
    struct store *s = (struct store *)cs;
    return pool_bytes(&s->pool) / sizeof(struct bucket);
}

static uint64_t limit_of(const struct store *s)
{
    return atomic_load_explicit(&s->maxmemory, memory_order_relaxed);
}

void store_update_pressure(struct store *s)
{
    uint64_t limit = limit_of(s), used = limit != 0 ? store_used(s) : 0;
    bool evicts = s->evict.how.policy != STORE_NOEVICTION;
    bool over = used > limit && (!evicts || atomic_load_explicit(&s->evict.stuck, memory_order_relaxed));
    bool wanting = evicts && used > s->evict.goal, pressed = used > limit;
    if (pressed != atomic_load_explicit(&s->evict.pressed, memory_order_relaxed))
        atomic_store_explicit(&s->evict.pressed, pressed, memory_order_relaxed);
    if (wanting != atomic_load_explicit(&s->wanting, memory_order_relaxed))
        atomic_store_explicit(&s->wanting, wanting, memory_order_relaxed);
    if (over != atomic_load_explicit(&s->over_memory, memory_order_relaxed))
        atomic_store_explicit(&s->over_memory, over, memory_order_relaxed);
}

bool store_over_memory(const struct store *s)
{
    return atomic_load_explicit(&s->over_memory, memory_order_relaxed);
}

static uint64_t excess_of(const struct store *s, int64_t gap)
{
    uint64_t limit = limit_of(s), most = limit / EXCESS_SHARE;
    uint64_t beyond = not_negative(gap - TOLERANCE - (int64_t)(limit / TOLERANCE_SHARE));
    return beyond < most ? beyond : most;
}

void store_limit_excess(struct store *s)
{
    int64_t gap = atomic_load_explicit(&s->rss_gap, memory_order_relaxed);
    atomic_store_explicit(&s->rss_excess, excess_of(s, gap), memory_order_relaxed);
}

/* ---- the process around it ---- */

static uint64_t doomed_bytes(const struct store *s)
{
    return atomic_load_explicit(&s->segs.doomed, memory_order_relaxed) + sum_of(&s->heap_doomed);
}

static uint64_t values_of(struct store *s)
{
    return sum_of(&s->heap) + sum_of(&s->heap_doomed);
}

/* Of what has come to the heap since the start, how much is values. */
static double share_of(const struct store_process *p, uint64_t values)
{
    uint64_t come = not_negative((int64_t)p->heap_allocated - (int64_t)p->heap_before);
    return values < come ? (double)values / (double)come : 1;
}

/* The values' share of what the heap's pages hold beyond what was asked of them. */
static uint64_t slack_of(const struct store_process *p, uint64_t values)
{
    uint64_t holes = p->heap_active > p->heap_allocated ? p->heap_active - p->heap_allocated : 0;
    return (uint64_t)((double)holes * share_of(p, values));
}

/* Resident bytes that neither the data nor what is none explains. Of the heap's holes and unused pages
 * everybody has a share, by what he allocated. */
static int64_t unexplained(struct store *s, const struct store_process *p, uint64_t values, uint64_t slack)
{
    uint64_t spare = p->heap_resident > p->heap_allocated ? p->heap_resident - p->heap_allocated : 0;
    uint64_t others = not_negative((int64_t)p->heap_allocated - (int64_t)values);
    others += (uint64_t)((double)spare * (1 - share_of(p, values)));
    uint64_t known = store_outside_heap(s) + atomic_load_explicit(&s->segs.doomed, memory_order_relaxed) +
                     segments_surplus_bytes(&s->segs) + region_prepared_bytes(&s->region) + values + slack;
    return (int64_t)p->rss - p->beside - (int64_t)others - (int64_t)known;
}

void store_note_process(struct store *s, const struct store_process *p)
{
    uint64_t values = values_of(s), slack = slack_of(p, values);
    int64_t gap = atomic_load_explicit(&s->rss_gap, memory_order_relaxed);
    int64_t now = unexplained(s, p, values, slack), passed = p->now_ms - s->observed_ms;
    bool first = s->observed_ms == 0;
    s->observed_ms = p->now_ms;
    passed = passed < 0 ? 0 : passed < SMOOTH_MS ? passed : SMOOTH_MS;
    if (!first)
        gap += (now - gap) / SMOOTH_MS * passed;
    atomic_store_explicit(&s->rss_gap, gap, memory_order_relaxed);
    atomic_store_explicit(&s->heap_before, p->heap_before, memory_order_relaxed);
    atomic_store_explicit(&s->heap_slack, slack, memory_order_relaxed);
    atomic_store_explicit(&s->rss_excess, excess_of(s, gap), memory_order_relaxed);
}

/* As much ahead as is taken in a moment, and nothing where it may never be needed. */
bool store_prepare(struct store *s)
{
    uint64_t limit = limit_of(s), taken = store_outside_heap(s);
    bool grows = limit == 0 || taken < limit - limit / PREPARE_END_SHARE;
    uint64_t ahead = 1 + taken / PREPARE_ONE_MORE;
    bool prepared = grows && region_prepare(&s->region, ahead < PREPARE_MAX ? (uint32_t)ahead : PREPARE_MAX);
    return region_collapse_one(&s->region) || prepared;
}

bool store_is_crowded(struct store *s)
{
    return s->maxmemory != 0 && store_used(s) + doomed_bytes(s) > s->maxmemory;
}

bool store_give_back(struct store *s, int64_t until_ns)
{
    bool more = true;
    while (more && os_work_ns() < until_ns)
        more = segments_trim(&s->segs, 1) + pool_trim(&s->pool, TRIM_PAGES) > 0;
    return more && segments_surplus_bytes(&s->segs) > 0;
}

void store_purge(struct store *s)
{
    (void)store_give_back(s, INT64_MAX);
}

void store_set_active_expire(struct store *s, bool on)
{
    s->active_expire = on;
}

/* Values that have left the heap leave pages there, which it would keep for ten seconds. */
void store_trim_heap(struct store *s, uint64_t most)
{
    uint64_t limit = limit_of(s), held = values_of(s);
    uint64_t peak = atomic_load_explicit(&s->heap_peak, memory_order_relaxed),
             spare = peak > held ? peak - held : 0;
    uint64_t share = limit != 0 ? limit / SPARE_SHARE : peak / SPARE_SHARE_UNLIMITED;
    uint64_t least = limit != 0 ? SPARE_MIN : SPARE_MIN_UNLIMITED;
    if (spare <= (share > least ? share : least) || spare > most)
        return;
    atomic_store_explicit(&s->heap_peak, held, memory_order_relaxed);
    mem_purge();
}

void store_trim_surplus(struct store *s)
{
    unsigned n = (unsigned)TRIM_BYTES >> s->segs.shift;
    if (segments_surplus_bytes(&s->segs) > limit_of(s) / SURPLUS_SHARE)
        (void)segments_trim(&s->segs, n > TRIM_SEGMENTS ? n : TRIM_SEGMENTS);
}

/* A small cache may be written anew between two of store_note_process(), which has said what the heap had
 * before. */
static void look_at_holes(struct store *s, struct appender *app)
{
    struct store_process p = {.heap_before = atomic_load_explicit(&s->heap_before, memory_order_relaxed)};
    struct mem_stats ms;
    uint64_t share = limit_of(s) / HOLES_SHARE;
    if (p.heap_before == 0 || app->heap_moved < (share > HOLES_MIN ? share : HOLES_MIN))
        return;
    app->heap_moved = 0;
    mem_stats_read(&ms);
    p.heap_allocated = ms.allocated;
    p.heap_active = ms.active;
    atomic_store_explicit(&s->heap_slack, slack_of(&p, values_of(s)), memory_order_relaxed);
}

void store_excuse_overrun(struct store *s)
{
    uint64_t limit = limit_of(s), used = store_used(s);
    atomic_store_explicit(&s->evict.excused, limit != 0 && used > limit ? used - limit : 0,
                          memory_order_relaxed);
}

/* Short slices hold nobody up, but writers may be faster than they are: whoever overruns the limit pays with
 * longer ones. What a lowered limit has left over is nobody's doing, and goes in upkeep's slices alone; as it
 * goes it is not excused again. */
int64_t store_reclaim_ns(struct store *s)
{
    uint64_t limit = limit_of(s), used = store_used(s), over = used > limit ? used - limit : 0;
    uint64_t excused = atomic_load_explicit(&s->evict.excused, memory_order_relaxed);
    if (over < excused) {
        atomic_store_explicit(&s->evict.excused, over, memory_order_relaxed);
        excused = over;
    }
    if (over > 0 && over == excused)
        return 0;
    uint64_t times = (over - excused) / (limit / OVERRUN_SHARE + 1);
    return (int64_t)RECLAIM_NS << (times < RECLAIM_DOUBLE_MAX ? times : RECLAIM_DOUBLE_MAX);
}

/* What this thread is about to write must find room: a bounded amount, before it. Where values move from
 * segments to the heap, segments are left that nobody writes to; a worker that is never idle gives them back
 * here, or they would lie beside the heap that has taken their place. The same the other way round. */
static COLD void reclaim(struct store *s, struct appender *app)
{
    const struct access *a = app->upkeep;
    look_at_holes(s, app);
    int64_t ns = store_reclaim_ns(s);
    if (a != NULL && ns > 0 && !atomic_load_explicit(&s->evict.stuck, memory_order_relaxed))
        sweep_evict(a, os_work_ns() + ns);
    store_trim_surplus(s);
    store_trim_heap(s, PURGE_HERE_MAX);
}

void store_round_begin(struct store *s, struct appender *app)
{
    if (unlikely(atomic_load_explicit(&s->wanting, memory_order_relaxed)))
        reclaim(s, app);
    segment_refill(&s->segs, &app->writer);
    if (unlikely(atomic_load_explicit(&s->cuts_open, memory_order_relaxed) != 0))
        store_cut_relieve(s);
}

static uint64_t live_bytes(const struct store *s)
{
    uint64_t units = 0;
    uint32_t end = atomic_load_explicit(&s->segs.frontier, memory_order_acquire);
    for (uint32_t i = 0; i < end; i++) {
        const struct segment *seg = &s->segs.meta[i];
        if (atomic_load_explicit(&seg->live, memory_order_acquire) != 0 &&
            segment_epoch(seg) == s->segs.epoch)
            units += segment_live_units(&s->segs, seg);
    }
    return units * ENTRY_UNIT;
}

struct totals {
    uint64_t keys, expires, names; /* keys that show; names: bytes */
};

static struct totals totals_of(const struct store *s, uint32_t db)
{
    struct totals t = {0, 0, 0};
    for (uint32_t i = 0; i < STORE_SHARDS; i++) {
        const struct db_count *c = count_of(s, i * STORE_SLOTS_PER_SHARD, s->id_of[db]);
        t.keys += atomic_load_explicit(&c->keys, memory_order_relaxed);
        t.expires += atomic_load_explicit(&c->expires, memory_order_relaxed);
        t.names += atomic_load_explicit(&c->key_bytes, memory_order_relaxed);
    }
    return t;
}

static void add_database(const struct store *s, uint32_t db, struct store_memory *m)
{
    struct totals t = totals_of(s, db);
    m->keys += t.keys;
    m->expires += t.expires;
    m->names += t.names;
    m->headers += t.keys * sizeof(struct entry) + t.expires * sizeof(int64_t);
    if (s->id_of[db] != 0)
        m->headers += t.keys * sizeof(uint32_t);
}

/* Names are counted, headers follow from the number of keys, the rest is values. What a FLUSHDB has left and
 * the sweep has not found yet is in the rest, too. */
static void split_live(struct store_memory *m)
{
    uint64_t room = m->live;
    m->names = m->names < room ? m->names : room;
    room -= m->names;
    m->headers = m->headers < room ? m->headers : room;
    m->values = room - m->headers;
}

void store_memory(const struct store *cs, struct store_memory *out)
{
    struct store *s = (struct store *)cs; /* its leaf locks are taken, nothing else changes */
    out->used = store_used(s);
    out->segments = atomic_load_explicit(&s->segs.bytes, memory_order_relaxed);
    out->live = live_bytes(s);
    out->dead = out->segments > out->live ? out->segments - out->live : 0;
    out->tables = pool_bytes(&s->pool) + HEADERS;
    out->blocks = sum_of(&s->heap);
    out->heap_slack = atomic_load_explicit(&s->heap_slack, memory_order_relaxed);
    out->rss_excess = atomic_load_explicit(&s->rss_excess, memory_order_relaxed);
    out->rss_gap = atomic_load_explicit(&s->rss_gap, memory_order_relaxed);
    out->free_segments = segments_free_bytes(&s->segs);
    out->doomed = doomed_bytes(s);
    out->segment_size = s->segs.size;
    out->keys = out->expires = out->names = out->headers = 0;
    out->expired = atomic_load_explicit(&s->expired_bytes, memory_order_relaxed);
    out->ghosts = ghosts_bytes(&s->evict.ghosts) + shadows_bytes(&s->evict.shadows);
    for (uint32_t db = 0; db < s->databases; db++)
        add_database(s, db, out);
    int64_t veiled = atomic_load_explicit(&s->veiled_keys, memory_order_relaxed);
    if (veiled > 0) {
        out->keys += (uint64_t)veiled;
        out->headers += (uint64_t)veiled * sizeof(struct entry);
    }
    split_live(out);
}

/* ---- keys ---- */

uint64_t store_db_keys(const struct store *s, uint32_t db)
{
    return totals_of(s, db).keys;
}

uint32_t store_databases(const struct store *s)
{
    return s->databases;
}

uint64_t store_db_expires(const struct store *s, uint32_t db)
{
    return totals_of(s, db).expires;
}

int64_t store_db_avg_ttl_ms(const struct store *s, uint32_t db)
{
    __int128 sum = 0;
    uint64_t n = store_db_expires(s, db);
    if (n == 0)
        return 0;
    for (uint32_t i = 0; i < STORE_SHARDS; i++) {
        const struct db_count *c = count_of(s, i * STORE_SLOTS_PER_SHARD, s->id_of[db]);
        sum += atomic_load_explicit(&c->ttl_sum, memory_order_relaxed);
    }
    int64_t avg = (int64_t)(sum / n) + s->origin_ms - os_wall_ms();
    return avg > 0 ? avg : 0;
}

/* ---- statistics ---- */

void store_stats(const struct store *s, struct store_stats *out)
{
    *out = (struct store_stats){.segments_freed = atomic_load_explicit(&s->segs.freed, memory_order_relaxed),
                                .small_percent = shadows_way(&s->evict.shadows).small_percent};
    for (uint32_t i = 0; i < s->nthreads; i++) {
        const struct appender *app = s->appenders[i];
        out->expired += atomic_load_explicit(&app->expired, memory_order_relaxed);
        out->evicted += atomic_load_explicit(&app->evicted, memory_order_relaxed);
        out->ghost_hits += atomic_load_explicit(&app->ghost_hits, memory_order_relaxed);
        out->evicted_age_ms += atomic_load_explicit(&app->evicted_age_ms, memory_order_relaxed);
        for (unsigned c = 0; c < STORE_CLASSES; c++)
            out->evicted_class[c] += atomic_load_explicit(&app->evicted_class[c], memory_order_relaxed);
        out->compacted += atomic_load_explicit(&app->compacted, memory_order_relaxed);
        out->splits += atomic_load_explicit(&app->tm.splits, memory_order_relaxed);
        out->merges += atomic_load_explicit(&app->tm.merges, memory_order_relaxed);
    }
    if (out->evicted > 0)
        out->evicted_age_ms /= out->evicted;
}

void store_stats_reset(struct store *s)
{
    atomic_store_explicit(&s->segs.freed, 0, memory_order_relaxed);
    for (uint32_t i = 0; i < s->nthreads; i++) {
        struct appender *app = s->appenders[i];
        atomic_store_explicit(&app->expired, 0, memory_order_relaxed);
        atomic_store_explicit(&app->evicted, 0, memory_order_relaxed);
        atomic_store_explicit(&app->compacted, 0, memory_order_relaxed);
        atomic_store_explicit(&app->ghost_hits, 0, memory_order_relaxed);
        atomic_store_explicit(&app->evicted_age_ms, 0, memory_order_relaxed);
        for (unsigned c = 0; c < STORE_CLASSES; c++)
            atomic_store_explicit(&app->evicted_class[c], 0, memory_order_relaxed);
        atomic_store_explicit(&app->tm.splits, 0, memory_order_relaxed);
        atomic_store_explicit(&app->tm.merges, 0, memory_order_relaxed);
    }
}
