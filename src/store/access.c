/* Who used what, and when.
 *
 * Every entry has a 2-bit counter of hits in its word. Under an LRU or LFU policy new entries also have a
 * clock:
 *
 *      LRU   time of the last access, in TICK_MS since the store was made (about 2 years; then it wraps)
 *      LFU   time of the last access, in LFU_TICK_MS : 24     counter : 8
 *
 * The LFU counter is logarithmic as Redis's: it starts at LFU_INIT, a hit raises it with probability
 * 1 / ((counter - LFU_INIT) * lfu-log-factor + 1), and each lfu-decay-time minutes take one off. */
#include "base/rng.h"
#include "store/ban_internal.h"
#include "store/evict.h"

enum {
    TICK_MS = 16,
    LFU_TICK_MS = 1024,
    LFU_INIT = 5,
    LFU_MAX = 255,
    LFU_TIME_MASK = (1 << 24) - 1,
    MS_PER_MINUTE = 60 * 1000,
};

static int64_t since_boot(const struct access *a)
{
    return a->now_ms - a->store->origin_ms;
}

static uint32_t lru_clock(const struct access *a)
{
    return (uint32_t)(since_boot(a) / TICK_MS);
}

static uint32_t lfu_time(const struct access *a)
{
    return (uint32_t)(since_boot(a) / LFU_TICK_MS) & LFU_TIME_MASK;
}

uint32_t access_clock_new(const struct access *a)
{
    return a->store->evict.how.policy == STORE_LFU ? lfu_time(a) << 8 | LFU_INIT : lru_clock(a);
}

static uint64_t lru_idle_ms(const struct access *a, uint32_t clock)
{
    int32_t ticks = (int32_t)(lru_clock(a) - clock);
    return ticks > 0 ? (uint64_t)ticks * TICK_MS : 0;
}

static uint32_t lfu_counter(const struct access *a, uint32_t clock)
{
    uint32_t counter = clock & LFU_MAX, decay_min = a->store->evict.how.lfu_decay_min;
    uint64_t ms = (uint64_t)((lfu_time(a) - (clock >> 8)) & LFU_TIME_MASK) * LFU_TICK_MS;
    if (decay_min == 0)
        return counter;
    uint64_t off = ms / MS_PER_MINUTE / decay_min;
    return off < counter ? counter - (uint32_t)off : 0;
}

static uint32_t lfu_hit(const struct access *a, uint32_t clock)
{
    uint32_t counter = lfu_counter(a, clock);
    uint64_t above = counter > LFU_INIT ? counter - LFU_INIT : 0;
    uint64_t one_in = above * a->store->evict.how.lfu_log_factor + 1;
    if (counter < LFU_MAX && rng_below(&a->app->rng, one_in) == 0)
        counter++;
    return lfu_time(a) << 8 | counter;
}

/* Shard locked; beyond the usual case of an entry that is known to be hot (store_find). */
void access_note(const struct access *a, struct entry *e)
{
    uint32_t word = entry_word(e);
    if (a->no_touch)
        return;
    if ((word & ENTRY_FREQ_MASK) != ENTRY_FREQ_MASK)
        atomic_store_explicit(&e->word, word + 1, memory_order_relaxed);
    if (word & ENTRY_CLOCK)
        entry_set_clock(e,
                        a->store->evict.how.policy == STORE_LFU ? lfu_hit(a, entry_clock(e)) : lru_clock(a));
}

/* Of an entry without a clock: at least since its segment is full; unknown, if it was hit. */
static uint64_t idle_by_segment(const struct access *a, const struct segment *seg)
{
    int64_t born = atomic_load_explicit(&seg->born_ms, memory_order_relaxed);
    if (segment_is_open(seg) || born == 0 || born >= a->now_ms)
        return 0;
    return (uint64_t)(a->now_ms - born);
}

/* Higher goes first. Ties of LFU go by time. */
uint64_t access_score(const struct access *a, const struct segment *seg, const struct entry *e)
{
    bool clocked = (entry_word(e) & ENTRY_CLOCK) != 0;
    bool hit = (entry_word(e) & ENTRY_FREQ_MASK) != 0;
    uint64_t idle;
    switch (a->store->evict.how.policy) {
    case STORE_LRU: return clocked ? lru_idle_ms(a, entry_clock(e)) : hit ? 0 : idle_by_segment(a, seg);
    case STORE_LFU:
        idle = clocked ? (lfu_time(a) - (entry_clock(e) >> 8)) & LFU_TIME_MASK : 0;
        return (uint64_t)(LFU_MAX - (clocked ? lfu_counter(a, entry_clock(e)) : LFU_INIT)) << 24 | idle;
    case STORE_TTL: return entry_expire(e) == 0 ? 0 : UINT64_MAX - (uint64_t)entry_expire(e);
    default: return 0;
    }
}

/* The entry of k with a clock: moved to where it has one, if it has none. NULL: absent, or no memory. */
static struct entry *with_clock(const struct access *a, const struct key *k)
{
    struct table_pos pos;
    struct entry *e =
        table_find(&a->app->tm, table_of(a->store, k), k->hash, (struct str){k->p, k->n}, k->db, &pos);
    if (e == NULL || (entry_word(e) & ENTRY_CLOCK))
        return e;
    if (store_ban_effect(a->store, e) != BAN_NONE)
        return NULL; /* nobody can have found it */
    uint64_t idle = idle_by_segment(a, segment_of(&a->store->segs, e));
    struct move how = {.clock = true, .queue = STORE_MOVE_SAME, .freq = STORE_MOVE_SAME};
    e = store_move(a, &pos, e, &how);
    if (e != NULL && a->store->evict.how.policy != STORE_LFU)
        entry_set_clock(e, lru_clock(a) - (uint32_t)(idle / TICK_MS));
    return e;
}

uint64_t store_idle_s(const struct access *a, const struct key *k)
{
    const struct entry *e = with_clock(a, k);
    return e != NULL ? lru_idle_ms(a, entry_clock(e)) / 1000 : 0;
}

uint32_t store_freq(const struct access *a, const struct key *k)
{
    const struct entry *e = with_clock(a, k);
    return e != NULL ? lfu_counter(a, entry_clock(e)) : 0;
}

struct access_use access_use_of(const struct store *s, const struct entry *e, int64_t now_ms)
{
    const struct access a = {.store = (struct store *)s, .now_ms = now_ms};
    if (!s->evict.clocked || !(entry_word(e) & ENTRY_CLOCK))
        return (struct access_use){USE_UNKNOWN, 0};
    if (s->evict.how.policy == STORE_LFU)
        return (struct access_use){USE_FREQ, lfu_counter(&a, entry_clock(e))};
    return (struct access_use){USE_IDLE, (uint32_t)(lru_idle_ms(&a, entry_clock(e)) / 1000)};
}

bool store_keeps_clocks(const struct store *s)
{
    return s->evict.clocked;
}

void store_set_access(const struct access *a, const struct key *k, int64_t idle_s, int64_t freq)
{
    bool lfu = a->store->evict.how.policy == STORE_LFU;
    if (lfu ? freq < 0 : idle_s < 0)
        return;
    struct entry *e = with_clock(a, k);
    if (e == NULL)
        return;
    if (lfu)
        entry_set_clock(e, lfu_time(a) << 8 | (uint32_t)freq);
    else /* as far back as a clock can say */
        entry_set_clock(e, lru_clock(a) - (idle_s < INT32_MAX / 1000 * TICK_MS
                                               ? (uint32_t)(idle_s * 1000 / TICK_MS)
                                               : (uint32_t)INT32_MAX));
}
