#include "store/gate.h"

#include "base/assert.h"

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake_all(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

void gate_init(struct gate *g, uint32_t nworkers)
{
    ASSERT(nworkers <= GATE_WORKERS_MAX);
    atomic_init(&g->asked, 0);
    g->nworkers = nworkers;
    for (uint32_t i = 0; i < GATE_WORKERS_MAX; i++)
        atomic_init(&g->worker[i].round, 0);
}

void gate_enter_slow(struct gate *g, uint32_t worker)
{
    uint32_t asked;
    do {
        gate_step(g, worker, false);
        futex_wake_all(&g->worker[worker].round);
        while ((asked = atomic_load_explicit(&g->asked, memory_order_seq_cst)) & GATE_RAISED)
            futex_wait(&g->asked, asked);
        gate_step(g, worker, true);
    } while (atomic_load_explicit(&g->asked, memory_order_seq_cst) & GATE_RAISED);
}

void gate_leave_slow(struct gate *g, uint32_t worker)
{
    futex_wake_all(&g->worker[worker].round);
}

static void await_end_of_round(struct gate *g, uint32_t worker)
{
    _Atomic uint32_t *round = &g->worker[worker].round;
    uint32_t seen = atomic_load_explicit(round, memory_order_seq_cst);
    while ((seen & 1) && atomic_load_explicit(round, memory_order_seq_cst) == seen)
        futex_wait(round, seen);
}

void gate_raise(struct gate *g)
{
    ASSERT(!(atomic_load_explicit(&g->asked, memory_order_relaxed) & GATE_RAISED));
    TSAN_LOCK_PRE(g);
    atomic_fetch_or_explicit(&g->asked, GATE_RAISED, memory_order_seq_cst);
    for (uint32_t i = 0; i < g->nworkers; i++)
        await_end_of_round(g, i);
    TSAN_LOCK_POST(g);
}

void gate_lower(struct gate *g)
{
    TSAN_UNLOCK_PRE(g);
    atomic_fetch_and_explicit(&g->asked, ~(uint32_t)GATE_RAISED, memory_order_seq_cst);
    TSAN_UNLOCK_POST(g);
    futex_wake_all(&g->asked);
}

void gate_outlive(struct gate *g)
{
    atomic_fetch_or_explicit(&g->asked, GATE_WATCHED, memory_order_seq_cst);
    for (uint32_t i = 0; i < g->nworkers; i++)
        await_end_of_round(g, i);
    atomic_fetch_and_explicit(&g->asked, ~(uint32_t)GATE_WATCHED, memory_order_seq_cst);
}
