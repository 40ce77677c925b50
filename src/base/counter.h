/* A statistic: written by one thread, read by any.
 *
 * A relaxed load and store instead of a locked add: the owner pays nothing, a
 * reader sees a value that was true a moment ago. */
#ifndef LARDER_BASE_COUNTER_H
#define LARDER_BASE_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

struct counter {
    _Atomic uint64_t v;
};

/* Owner only. */
static inline void counter_add(struct counter *c, uint64_t n)
{
    atomic_store_explicit(&c->v, atomic_load_explicit(&c->v, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline uint64_t counter_read(const struct counter *c)
{
    return atomic_load_explicit(&c->v, memory_order_relaxed);
}

/* Owner, or anybody under the gate. */
static inline void counter_set(struct counter *c, uint64_t n)
{
    atomic_store_explicit(&c->v, n, memory_order_relaxed);
}

#endif
