/* store_check(): every invariant that can be seen from outside a change. */
#include "store/shard.h"
#include "store/store.h"

#include <string.h>

#ifdef LARDER_DEBUG

struct tally {
    struct store *s;
    uint32_t *keys, *expires; /* by id, of one shard */
    uint64_t *key_bytes;
    uint32_t *live; /* units by segment number */
    int64_t blocks; /* bytes of heap values that are blocks */
    bool objects;   /* there are others, too */
};

static void check_entry(struct tally *y, uint32_t slot, const struct entry *e)
{
    struct segments *segs = &y->s->segs;
    const struct segment *seg = segment_of(segs, e);
    uint32_t word = entry_word(e), id = entry_db(e);
    uint32_t offset = (uint32_t)(((const char *)e - segment_start(segs, seg)) / ENTRY_UNIT);
    ASSERT(!(word & ENTRY_DEAD) && entry_kind(e) != ENTRY_FILLER);
    ASSERT(segment_epoch(seg) == segs->epoch);
    ASSERT(offset + entry_extent(e) <= atomic_load_explicit(&seg->used, memory_order_relaxed));
    ASSERT(id < y->s->ids_used && id_state(y->s, id) != ID_FREE);
    y->keys[id] += !(slot_is_veiled(y->s, slot) && id == y->s->id_of[0]);
    y->key_bytes[id] += entry_key(e).n;
    y->expires[id] += entry_expire(e) != 0;
    y->live[seg - segs->meta] += entry_units(e);
    y->objects |= entry_kind(e) == ENTRY_OBJECT;
    y->blocks += entry_kind(e) == ENTRY_BLOCK ? (int64_t)mem_usable(entry_block(e)) : 0;
    if (entry_kind(e) == ENTRY_BLOCK)
        ASSERT(atomic_load_explicit(&seg->heap, memory_order_relaxed) &&
               entry_block(e)->n <= entry_block(e)->cap);
    bool walked = (atomic_load_explicit(&seg->live, memory_order_relaxed) & SEGMENT_SWEEP) != 0;
    if (entry_kind(e) == ENTRY_OBJECT)
        ASSERT(atomic_load_explicit(&seg->heap, memory_order_relaxed) &&
               object_type(entry_object(e))->count(entry_object(e)) > 0);
    if (entry_expire(e) != 0)
        ASSERT(walked || atomic_load_explicit(&seg->sweep_at, memory_order_relaxed) != SEGMENT_NEVER);
    ASSERT(slot / STORE_SLOTS_PER_SHARD < STORE_SHARDS);
}

static void check_slot(struct tally *y, uint32_t slot)
{
    struct table *t = &y->s->slots[slot];
    const struct table_mem *tm = &y->s->appenders[0]->tm;
    table_check(tm, t);
    for (uint32_t n = 0; n < table_pages(t); n++) {
        const struct page *p = table_page(tm, t, n);
        for (uint32_t b = 0; b < atomic_load_explicit(&p->m, memory_order_relaxed); b++) {
            for (uint32_t i = 0; i < TABLE_BUCKET_REFS; i++) {
                const struct entry *e = table_at(tm, p, b, i);
                if (e != NULL)
                    check_entry(y, slot, e);
            }
        }
    }
}

static void check_shard(struct tally *y, uint32_t shard)
{
    memset(y->keys, 0, IDS_MAX * sizeof *y->keys);
    memset(y->expires, 0, IDS_MAX * sizeof *y->expires);
    memset(y->key_bytes, 0, IDS_MAX * sizeof *y->key_bytes);
    for (uint32_t i = 0; i < STORE_SLOTS_PER_SHARD; i++)
        check_slot(y, shard * STORE_SLOTS_PER_SHARD + i);
    for (uint32_t id = 0; id < y->s->ids_used; id++) {
        const struct db_count *c = count_of(y->s, shard * STORE_SLOTS_PER_SHARD, id);
        ASSERT(atomic_load_explicit(&c->keys, memory_order_relaxed) == y->keys[id]);
        ASSERT(atomic_load_explicit(&c->expires, memory_order_relaxed) == y->expires[id]);
        ASSERT(atomic_load_explicit(&c->key_bytes, memory_order_relaxed) == y->key_bytes[id]);
    }
}

/* Entries, live or dead, fill a segment without a gap, and its count is that of the living. */
static void check_segment(struct tally *y, const struct segment *seg)
{
    struct segments *segs = &y->s->segs;
    uint32_t used = atomic_load_explicit(&seg->used, memory_order_relaxed), at = 0;
    if (atomic_load_explicit(&seg->live, memory_order_relaxed) == 0 || segment_epoch(seg) != segs->epoch) {
        ASSERT(y->live[seg - segs->meta] == 0);
        return;
    }
    while (at < used)
        at += entry_extent((const struct entry *)(segment_start(segs, seg) + (size_t)at * ENTRY_UNIT));
    ASSERT(at == used);
    ASSERT(segment_live_units(segs, seg) == y->live[seg - segs->meta]);
}

/* What is counted for blocks is what they take. */
static void check_heap(const struct tally *y)
{
    int64_t sum = atomic_load_explicit(&y->s->heap, memory_order_relaxed);
    for (uint32_t i = 0; i < y->s->nthreads; i++)
        sum += y->s->appenders[i]->heap_unseen;
    ASSERT(y->objects ? sum >= y->blocks : sum == y->blocks);
}

void store_check(const struct store *cs)
{
    struct store *s = (struct store *)cs; /* its leaf locks are taken, nothing else changes */
    uint32_t end = atomic_load_explicit(&s->segs.frontier, memory_order_acquire);
    size_t counts = IDS_MAX * sizeof(uint32_t), live = (end + 1) * sizeof(uint32_t), sums = 2 * counts;
    struct tally y = {.s = s,
                      .keys = region_map(counts),
                      .expires = region_map(counts),
                      .key_bytes = region_map(sums),
                      .live = region_map(live)};
    ASSERT(y.keys != NULL && y.expires != NULL && y.key_bytes != NULL && y.live != NULL);
    for (uint32_t i = 0; i < STORE_SHARDS; i++)
        check_shard(&y, i);
    for (uint32_t i = 0; i < end; i++)
        check_segment(&y, &s->segs.meta[i]);
    check_heap(&y);
    store_cut_check(s);
    pool_check(&s->pool);
    region_unmap(y.keys, counts);
    region_unmap(y.expires, counts);
    region_unmap(y.key_bytes, sums);
    region_unmap(y.live, live);
}

#else

void store_check(const struct store *s)
{
}

#endif
