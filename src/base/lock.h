/* A mutex of a futex word and a count of sleepers, with one state more than most: BUSY.
 *
 *      0 free      1 held      4 busy
 *
 * To take it is one locked instruction, to let go is a plain store and a load: a releaser must see either
 * nobody who sleeps, or somebody to wake. The usual fence between the two is moved to the sleeper, who has
 * the kernel put it into every running thread (membarrier(2)) after it counted itself and before it sleeps.
 * A releaser touches the lock after it let go, so the memory of a lock must outlive whoever may release it.
 *
 * BUSY belongs to a long operation that owns what the lock guards without
 * holding the lock: nobody waits for it, lock_acquire() says so at once and the
 * caller parks its client instead of its thread. Both TSan and its deadlock
 * detector see every transition. */
#ifndef LARDER_BASE_LOCK_H
#define LARDER_BASE_LOCK_H

#include "base/annotate.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum lock_state { LOCK_FREE = 0, LOCK_HELD = 1, LOCK_BUSY = 4 };

struct lock {
    _Atomic uint32_t word;
    _Atomic uint32_t sleepers;
};

/* To somebody who looks again and again. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

bool lock_acquire_slow(struct lock *l); /* after TSAN_LOCK_PRE() */
void lock_wake(struct lock *l, int waiters);

/* The bare transition from free to held, without telling TSan. */
static inline bool lock_grab(struct lock *l)
{
    uint32_t free = LOCK_FREE;
    return atomic_compare_exchange_strong_explicit(&l->word, &free, LOCK_HELD, memory_order_acquire,
                                                   memory_order_relaxed);
}

/* Returns true with the lock held, or false at once when it is busy. Even where it
 * does not wait it is announced to TSan as a lock that may: a try-lock makes no edge
 * in the deadlock detector's graph. */
static inline bool lock_acquire(struct lock *l)
{
    TSAN_LOCK_PRE(l);
    if (likely(lock_grab(l))) {
        TSAN_LOCK_POST(l);
        return true;
    }
    return lock_acquire_slow(l);
}

/* For locks that are never made busy. */
static inline void lock_hold(struct lock *l)
{
    while (unlikely(!lock_acquire(l)))
        ;
}

/* Returns true with the lock held; never waits. */
static inline bool lock_try(struct lock *l)
{
    TSAN_TRY_PRE(l);
    bool got = lock_grab(l);
    if (got)
        TSAN_TRY_POST(l);
    else
        TSAN_TRY_FAILED(l);
    return got;
}

static inline void lock_release(struct lock *l)
{
    TSAN_UNLOCK_PRE(l);
    atomic_store_explicit(&l->word, LOCK_FREE, memory_order_release);
    TSAN_UNLOCK_POST(l);
    atomic_signal_fence(memory_order_seq_cst); /* in this order; the other half is the sleeper's */
    if (unlikely(atomic_load_explicit(&l->sleepers, memory_order_relaxed) != 0))
        lock_wake(l, 1);
}

/* Holder only: turn held into busy and let every sleeper go and see it. The
 * caller no longer holds the lock; whoever calls lock_busy_enter() next owns it. */
void lock_make_busy(struct lock *l);

/* The long operation takes over (on its own thread), and lets go at its end. */
void lock_busy_enter(struct lock *l);
void lock_busy_leave(struct lock *l);
/* It steps aside for a while, on its own thread: the lock stays busy, and is entered again later. */
void lock_busy_rest(struct lock *l);

static inline bool lock_is_held(const struct lock *l)
{
    return atomic_load_explicit(&l->word, memory_order_relaxed) != LOCK_FREE;
}

#endif
