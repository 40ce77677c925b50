/* Who used what, and when.
 *
 * Every entry has a 2-bit counter of hits in its word. Under an LRU or LFU policy new entries also have a
 * clock, the time of the last access in TICK_MS since the store was made (about 190 days; then it wraps):
 *
 *      LRU   time : 31                              0 : 1
 *      LFU   its upper bits : 23     counter : 8    1 : 1
 *
 * Each says what it is, since the policy may change while it stands: LRU knows when an entry was used last
 * that LFU has counted, and for LFU an entry that it has not counted is a new one of that age.
 *
 * The LFU counter is logarithmic as Redis's: it starts at LFU_INIT, a hit raises it with probability
 * 1 / ((counter - LFU_INIT) * lfu-log-factor + 1), and each lfu-decay-time minutes take one off. */
#include "base/rng.h"
#include "store/ban_internal.h"
#include "store/evict.h"

enum {
    TICK_MS = 8,
    TICKS_MASK = INT32_MAX,
    IDLE_TICKS_MAX = TICKS_MASK / 16 * 15, /* what seems older lies ahead: the time was set back */
    LFU_INIT = 5,
    LFU_MAX = 255,
    CLOCK_LFU = 1, /* what the clock is */
    MS_PER_MINUTE = 60 * 1000,
};

static uint32_t ticks_now(const struct access *a)
{
    return (uint32_t)((a->now_ms - a->store->origin_ms) / TICK_MS) & TICKS_MASK;
}

static uint32_t clock_lru(uint32_t ticks)
{
    return ticks << 1;
}

static uint32_t clock_lfu(uint32_t ticks, uint32_t counter)
{
    return ((ticks & ~(uint32_t)LFU_MAX) | counter) << 1 | CLOCK_LFU;
}

uint32_t access_clock_new(const struct access *a)
{
    uint32_t now = ticks_now(a);
    return a->store->evict.how.policy == STORE_LFU ? clock_lfu(now, LFU_INIT) : clock_lru(now);
}

static uint32_t idle_ticks(const struct access *a, uint32_t clock)
{
    uint32_t then = clock >> 1;
    if (clock & CLOCK_LFU)
        then &= ~(uint32_t)LFU_MAX;
    uint32_t ticks = (ticks_now(a) - then) & TICKS_MASK;
    return ticks <= IDLE_TICKS_MAX ? ticks : 0;
}

static uint64_t idle_ms(const struct access *a, uint32_t clock)
{
    return (uint64_t)idle_ticks(a, clock) * TICK_MS;
}

static uint32_t lfu_counter(const struct access *a, uint32_t clock)
{
    uint32_t counter = clock & CLOCK_LFU ? clock >> 1 & LFU_MAX : LFU_INIT;
    uint32_t decay_min = a->store->evict.how.lfu_decay_min;
    if (decay_min == 0)
        return counter;
    uint64_t off = idle_ms(a, clock) / MS_PER_MINUTE / decay_min;
    return off < counter ? counter - (uint32_t)off : 0;
}

static uint32_t lfu_hit(const struct access *a, uint32_t clock)
{
    uint32_t counter = lfu_counter(a, clock);
    uint64_t above = counter > LFU_INIT ? counter - LFU_INIT : 0;
    uint64_t one_in = above * a->store->evict.how.lfu_log_factor + 1;
    if (counter < LFU_MAX && rng_below(&a->app->rng, one_in) == 0)
        counter++;
    return clock_lfu(ticks_now(a), counter);
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
        entry_set_clock(e, a->store->evict.how.policy == STORE_LFU ? lfu_hit(a, entry_clock(e))
                                                                   : clock_lru(ticks_now(a)));
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
    case STORE_LRU: return clocked ? idle_ms(a, entry_clock(e)) : hit ? 0 : idle_by_segment(a, seg);
    case STORE_LFU:
        idle = clocked ? idle_ticks(a, entry_clock(e)) : 0;
        return (uint64_t)(LFU_MAX - (clocked ? lfu_counter(a, entry_clock(e)) : LFU_INIT)) << 32 | idle;
    case STORE_TTL: return entry_expire(e) == 0 ? 0 : UINT64_MAX - (uint64_t)entry_expire(e);
    default: return 0;
    }
}

static uint32_t clock_idle(const struct access *a, uint64_t ticks)
{
    uint32_t since =
        ticks < IDLE_TICKS_MAX ? (uint32_t)ticks : IDLE_TICKS_MAX; /* as far back as it can say */
    return clock_lru((ticks_now(a) - since) & TICKS_MASK);
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
        entry_set_clock(e, clock_idle(a, idle / TICK_MS));
    return e;
}

uint64_t store_idle_s(const struct access *a, const struct key *k)
{
    const struct entry *e = with_clock(a, k);
    return e != NULL ? idle_ms(a, entry_clock(e)) / 1000 : 0;
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
    return (struct access_use){USE_IDLE, (uint32_t)(idle_ms(&a, entry_clock(e)) / 1000)};
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
        entry_set_clock(e, clock_lfu(ticks_now(a), (uint32_t)freq));
    else
        entry_set_clock(
            e, clock_idle(a, idle_s < IDLE_TICKS_MAX ? (uint64_t)idle_s * 1000 / TICK_MS : IDLE_TICKS_MAX));
}
