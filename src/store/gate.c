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
    atomic_init(&g->raised, 0);
    g->nworkers = nworkers;
    for (uint32_t i = 0; i < GATE_WORKERS_MAX; i++)
        atomic_init(&g->worker[i].in_round, 0);
}

void gate_enter_slow(struct gate *g, uint32_t worker)
{
    _Atomic uint32_t *in_round = &g->worker[worker].in_round;
    do {
        atomic_store_explicit(in_round, 0, memory_order_seq_cst);
        futex_wake_all(in_round);
        while (atomic_load_explicit(&g->raised, memory_order_seq_cst) != 0)
            futex_wait(&g->raised, 1);
        atomic_exchange_explicit(in_round, 1, memory_order_seq_cst);
    } while (atomic_load_explicit(&g->raised, memory_order_seq_cst) != 0);
}

void gate_leave_slow(struct gate *g, uint32_t worker)
{
    futex_wake_all(&g->worker[worker].in_round);
}

void gate_raise(struct gate *g)
{
    ASSERT(atomic_load_explicit(&g->raised, memory_order_relaxed) == 0);
    TSAN_LOCK_PRE(g);
    atomic_exchange_explicit(&g->raised, 1, memory_order_seq_cst);
    for (uint32_t i = 0; i < g->nworkers; i++) {
        _Atomic uint32_t *in_round = &g->worker[i].in_round;
        while (atomic_load_explicit(in_round, memory_order_seq_cst) != 0)
            futex_wait(in_round, 1);
    }
    TSAN_LOCK_POST(g);
}

void gate_lower(struct gate *g)
{
    TSAN_UNLOCK_PRE(g);
    atomic_store_explicit(&g->raised, 0, memory_order_seq_cst);
    TSAN_UNLOCK_POST(g);
    futex_wake_all(&g->raised);
}
