/* What growth and mass deletion leave free between the runs of tables, packed.
 *
 *      pool pages before   |b   | b  |   b|b   |  b |      one bucket each: none can go back
 *                 after    |bbbb|b   |    |    |    |
 *
 * When more than an eighth of the pool's used pages is free, all tables are walked once:
 * a thread claims a shard's slots, locks the shard for a few pages of a table and lets each
 * of their runs move where the pool has a fuller page for it. Nothing but the reference to
 * the run changes, so it does not matter to searches, scans and cuts, and a shard that is
 * busy is passed by. Another walk follows as long as the last one has gained something, or
 * when things have changed.
 *
 * Why a walk: a page of the pool does not know whose runs it holds, and to tell would cost
 * every run more than it saves. Why not only where a page of a table is reshaped anyway:
 * a bucket that is the last of its table is not touched again. */
#include "os/clock.h"
#include "store/shard.h"
#include "store/store.h"

enum {
    PACK_PAGES = 16,      /* of a table, while its shard is locked */
    PACK_FREE_MIN = 1024, /* units: less than 64 KB is not worth it */
    PACK_FREE_SHARE = 8,  /* more than 1/8 of the units is free ... */
    PACK_CHANGE = 8,      /* ... and 1/8 more or fewer than when it was tried last */
};

static bool is_worth_it(struct store *s)
{
    uint64_t free, units = pool_units(&s->pool, &free);
    uint64_t tried = atomic_load_explicit(&s->pack_tried, memory_order_relaxed), change = tried / PACK_CHANGE;
    return free > PACK_FREE_MIN && free > units / PACK_FREE_SHARE &&
           (free < tried - change || free > tried + change);
}

/* Threads that begin at once both begin. */
static void begin(struct store *s)
{
    uint64_t free;
    (void)pool_units(&s->pool, &free);
    atomic_store_explicit(&s->pack_tried, free, memory_order_relaxed);
    atomic_store_explicit(&s->pack_left, STORE_SHARDS, memory_order_relaxed);
}

/* The next shard becomes this thread's. */
static bool claim(const struct access *a)
{
    struct store *s = a->store;
    struct packing *mine = &a->app->pack;
    uint32_t left = atomic_load_explicit(&s->pack_left, memory_order_relaxed);
    while (left > 0 && !atomic_compare_exchange_weak_explicit(&s->pack_left, &left, left - 1,
                                                              memory_order_relaxed, memory_order_relaxed))
        ;
    if (left == 0)
        return false;
    *mine = (struct packing){.slot = (left - 1) * STORE_SLOTS_PER_SHARD, .end = left * STORE_SLOTS_PER_SHARD};
    return true;
}

/* Some pages of one slot. */
static void step(const struct access *a, struct packing *mine)
{
    bool locked, done = true;
    uint32_t shard = mine->slot / STORE_SLOTS_PER_SHARD;
    if (store_shard_enter(a, shard, &locked)) {
        done = table_pack(&a->app->tm, &a->store->slots[mine->slot], &mine->page, PACK_PAGES);
        store_shard_leave(a, shard, locked);
    }
    if (done) {
        mine->slot++;
        mine->page = 0;
    }
}

bool store_pack(const struct access *a, int64_t until_ns)
{
    struct packing *mine = &a->app->pack;
    while (mine->slot < mine->end || claim(a)) {
        step(a, mine);
        if (os_work_ns() >= until_ns)
            return true;
    }
    if (!is_worth_it(a->store))
        return false;
    begin(a->store);
    return true;
}
