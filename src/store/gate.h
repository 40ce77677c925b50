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
 * What is read in rounds through one pointer needs less. It is replaced with a
 * seq_cst store, and when gate_outlive() returns, every round that may have seen
 * what was there before has ended; nobody was held up. A round is counted by whose
 * it is, odd while it lasts, so that the next one is not taken for the same.
 *
 * The words must be seq_cst: the worker stores "in round" and then loads "asked",
 * the raiser stores "asked" and then loads "in round" (Dekker), and the same with
 * such a pointer in place of "asked". For TSan the gate is a reader-writer lock:
 * rounds are readers, the raiser is the writer. */
#ifndef LARDER_STORE_GATE_H
#define LARDER_STORE_GATE_H

#include "base/annotate.h"
#include "base/assert.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { GATE_WORKERS_MAX = 132 };

enum gate_asked {
    GATE_RAISED = 1 << 0,  /* no round begins */
    GATE_WATCHED = 1 << 1, /* somebody waits for the end of a round */
};

struct gate_worker {
    CACHE_ALIGNED _Atomic uint32_t round; /* begun and ended: odd in one. The worker's to write */
};

struct gate {
    CACHE_ALIGNED _Atomic uint32_t asked; /* enum gate_asked */
    uint32_t nworkers;
    struct gate_worker worker[GATE_WORKERS_MAX];
};

void gate_init(struct gate *g, uint32_t nworkers);

void gate_enter_slow(struct gate *g, uint32_t worker);
void gate_leave_slow(struct gate *g, uint32_t worker);

/* A worker's own word; seq_cst, see above. */
static inline void gate_step(struct gate *g, uint32_t worker, bool in_round)
{
    _Atomic uint32_t *round = &g->worker[worker].round;
    uint32_t n = atomic_load_explicit(round, memory_order_relaxed) + 1;
    DEBUG_ASSERT((n & 1) == in_round);
    atomic_exchange_explicit(round, n, memory_order_seq_cst);
}

/* Begin a round; may sleep while the gate is raised. */
static inline void gate_enter(struct gate *g, uint32_t worker)
{
    DEBUG_ASSERT(worker < g->nworkers); /* or nobody would wait for it */
    gate_step(g, worker, true);
    if (unlikely(atomic_load_explicit(&g->asked, memory_order_seq_cst) & GATE_RAISED))
        gate_enter_slow(g, worker);
    TSAN_RLOCK_PRE(g);
    TSAN_RLOCK_POST(g);
}

static inline void gate_leave(struct gate *g, uint32_t worker)
{
    TSAN_RUNLOCK_PRE(g);
    TSAN_RUNLOCK_POST(g);
    gate_step(g, worker, false);
    if (unlikely(atomic_load_explicit(&g->asked, memory_order_seq_cst) != 0))
        gate_leave_slow(g, worker);
}

/* Does somebody wait for rounds to end? */
static inline bool gate_is_asked(const struct gate *g)
{
    return atomic_load_explicit(&g->asked, memory_order_relaxed) != 0;
}

/* In a round, no lock held: let through who waits for it to end. */
static inline void gate_yield(struct gate *g, uint32_t worker)
{
    if (unlikely(gate_is_asked(g))) {
        gate_leave(g, worker);
        gate_enter(g, worker);
    }
}

/* The lane's thread only. */
void gate_raise(struct gate *g);
void gate_lower(struct gate *g);

/* Every round that was going on has ended when it returns; others may have begun. One thread at a time, which
 * is in no round itself. */
void gate_outlive(struct gate *g);

#endif
