#include "store/ghost.h"

#include "store/region.h"

enum {
    WAYS = 4,
    MARK_BITS = 11,
    AGE_BITS = 5,
    AGE_MASK = (1 << AGE_BITS) - 1,
    GHOST_GENERATIONS = 8,
    GENERATION_SHARE = 8, /* a generation is 1/8 of the slots */
    MEMORY_SHARE = 128,   /* ghosts take 1/128 of maxmemory at the most */
    SETS_MIN = 64,
};

static uint64_t bytes_for(uint64_t sets)
{
    return sets * WAYS * sizeof(uint16_t);
}

uint64_t ghosts_bytes(const struct ghosts *g)
{
    return atomic_load_explicit(&g->bytes, memory_order_relaxed);
}

void ghosts_resize(struct ghosts *g, uint64_t maxmemory)
{
    uint64_t sets = 0;
    if (maxmemory != 0)
        for (sets = SETS_MIN; bytes_for(sets * 2) <= maxmemory / MEMORY_SHARE;)
            sets *= 2;
    if (g->slots != NULL && g->sets == sets)
        return;
    if (g->slots != NULL)
        region_unmap((void *)g->slots, bytes_for(g->sets));
    g->slots = sets == 0 ? NULL : region_map(bytes_for(sets));
    g->sets = sets;
    atomic_store_explicit(&g->bytes, g->slots != NULL ? bytes_for(sets) : 0, memory_order_relaxed);
    atomic_store_explicit(&g->written, 0, memory_order_relaxed);
}

static _Atomic uint16_t *set_of(const struct ghosts *g, uint64_t hash)
{
    return &g->slots[((hash * 0x9e3779b97f4a7c15ull) >> 20 & (g->sets - 1)) * WAYS];
}

/* Never 0 with its age: 0 is an empty slot. */
static uint16_t mark_of(uint64_t hash)
{
    return (uint16_t)((hash * 0xc2b2ae3d27d4eb4full) >> (64 - MARK_BITS) | 1);
}

static unsigned generation(const struct ghosts *g)
{
    uint64_t n = atomic_load_explicit(&g->written, memory_order_relaxed);
    return (unsigned)(n / (g->sets * WAYS / GENERATION_SHARE)) & AGE_MASK;
}

static unsigned age_of(uint16_t slot, unsigned now)
{
    return (now - slot) & AGE_MASK;
}

void ghosts_add(struct ghosts *g, uint64_t hash)
{
    if (g->slots == NULL)
        return;
    _Atomic uint16_t *set = set_of(g, hash);
    unsigned now = generation(g), oldest = 0, most = 0;
    for (unsigned i = 0; i < WAYS; i++) {
        uint16_t slot = atomic_load_explicit(&set[i], memory_order_relaxed);
        unsigned age = slot == 0 ? AGE_MASK + 1 : age_of(slot, now);
        if (age >= most) {
            most = age;
            oldest = i;
        }
    }
    atomic_store_explicit(&set[oldest], (uint16_t)(mark_of(hash) << AGE_BITS | now), memory_order_relaxed);
    uint64_t n = atomic_load_explicit(&g->written, memory_order_relaxed);
    atomic_store_explicit(&g->written, n + 1, memory_order_relaxed);
}

bool ghosts_take(struct ghosts *g, uint64_t hash)
{
    if (g->slots == NULL)
        return false;
    _Atomic uint16_t *set = set_of(g, hash);
    unsigned now = generation(g);
    for (unsigned i = 0; i < WAYS; i++) {
        uint16_t slot = atomic_load_explicit(&set[i], memory_order_relaxed);
        if (slot == 0 || slot >> AGE_BITS != mark_of(hash))
            continue;
        atomic_store_explicit(&set[i], 0, memory_order_relaxed);
        return age_of(slot, now) <= GHOST_GENERATIONS;
    }
    return false;
}
