/* Stop the world, briefly: for what one lock cannot cover.
 *
 * Every worker works in rounds (wake up, serve what is ready, sleep). A round is
 * announced on the worker's own cache line, so it costs one exchange. The lane,
 * the only thread that raises the gate, waits until every round has ended; a
 * worker that wants to begin one meanwhile sleeps on the gate's futex. Between
 * gate_raise() and gate_lower() the lane is alone with the keyspace, the
 * connections and the configuration.
 *
 * There is one raiser, so there is no race between raisers and no deadlock to
 * reason about: a worker never waits for the gate while it holds a shard lock,
 * since gate_enter() is only called with none.
 *
 * The flags must be seq_cst: the worker stores "in round" and then loads "raised",
 * the raiser stores "raised" and then loads "in round" (Dekker). For TSan the gate
 * is a reader-writer lock: rounds are readers, the raiser is the writer. */
#ifndef LARDER_STORE_GATE_H
#define LARDER_STORE_GATE_H

#include "base/annotate.h"
#include "base/assert.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { GATE_WORKERS_MAX = 132 };

struct gate_worker {
    CACHE_ALIGNED _Atomic uint32_t in_round;
};

struct gate {
    CACHE_ALIGNED _Atomic uint32_t raised;
    uint32_t nworkers;
    struct gate_worker worker[GATE_WORKERS_MAX];
};

void gate_init(struct gate *g, uint32_t nworkers);

void gate_enter_slow(struct gate *g, uint32_t worker);
void gate_leave_slow(struct gate *g, uint32_t worker);

/* Begin a round; may sleep while the gate is raised. */
static inline void gate_enter(struct gate *g, uint32_t worker)
{
    DEBUG_ASSERT(worker < g->nworkers); /* or nobody would wait for it */
    atomic_exchange_explicit(&g->worker[worker].in_round, 1, memory_order_seq_cst);
    if (unlikely(atomic_load_explicit(&g->raised, memory_order_seq_cst) != 0))
        gate_enter_slow(g, worker);
    TSAN_RLOCK_PRE(g);
    TSAN_RLOCK_POST(g);
}

static inline void gate_leave(struct gate *g, uint32_t worker)
{
    TSAN_RUNLOCK_PRE(g);
    TSAN_RUNLOCK_POST(g);
    atomic_store_explicit(&g->worker[worker].in_round, 0, memory_order_seq_cst);
    if (unlikely(atomic_load_explicit(&g->raised, memory_order_seq_cst) != 0))
        gate_leave_slow(g, worker);
}

/* In a round, no lock held: let the raiser through if it waits. */
static inline void gate_yield(struct gate *g, uint32_t worker)
{
    if (unlikely(atomic_load_explicit(&g->raised, memory_order_relaxed) != 0)) {
        gate_leave(g, worker);
        gate_enter(g, worker);
    }
}

/* The lane's thread only. */
void gate_raise(struct gate *g);
void gate_lower(struct gate *g);

#endif
