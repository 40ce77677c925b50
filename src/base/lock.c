#include "base/lock.h"

#include "base/assert.h"

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPINS = 64 };

static void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void wait_while(struct lock *l, uint32_t seen)
{
    syscall(SYS_futex, &l->word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

void lock_wake(struct lock *l, int waiters)
{
    syscall(SYS_futex, &l->word, FUTEX_WAKE_PRIVATE, waiters, NULL, NULL, 0);
}

/* Spin briefly as a plain holder, then sleep as a contender. A thread that has
 * slept takes the lock as CONTENDED, since it cannot know whether it was the
 * only sleeper; the price is at most one wake-up too many. */
bool lock_acquire_slow(struct lock *l)
{
    for (int i = 0; i < SPINS; i++) {
        uint32_t seen = atomic_load_explicit(&l->word, memory_order_relaxed);
        if (seen == LOCK_BUSY)
            break;
        if (seen == LOCK_FREE && lock_grab(l)) {
            TSAN_LOCK_POST(l);
            return true;
        }
        cpu_relax();
    }
    for (;;) {
        uint32_t seen = atomic_load_explicit(&l->word, memory_order_relaxed);
        if (seen == LOCK_BUSY) {
            TSAN_TRY_FAILED(l); /* the lane owns it: to claim it even for a moment would be a double lock */
            return false;
        }
        if (seen == LOCK_FREE) {
            if (atomic_compare_exchange_weak_explicit(&l->word, &seen, LOCK_CONTENDED, memory_order_acquire,
                                                      memory_order_relaxed))
                break;
            continue;
        }
        if (seen == LOCK_HELD &&
            !atomic_compare_exchange_weak_explicit(&l->word, &seen, LOCK_CONTENDED, memory_order_relaxed,
                                                   memory_order_relaxed))
            continue;
        wait_while(l, LOCK_CONTENDED);
    }
    TSAN_LOCK_POST(l);
    return true;
}

/* Wake everybody, also when the word says that nobody sleeps. After a release has
 * woken one of several sleepers, another thread may take the lock as a plain holder;
 * the woken one would have made it contended again, but it returns at the sight of
 * BUSY, and the others would sleep for ever. */
void lock_make_busy(struct lock *l)
{
    TSAN_UNLOCK_PRE(l);
    uint32_t was = atomic_exchange_explicit(&l->word, LOCK_BUSY, memory_order_release);
    TSAN_UNLOCK_POST(l);
    ASSERT(was == LOCK_HELD || was == LOCK_CONTENDED);
    lock_wake(l, INT_MAX);
}

void lock_busy_enter(struct lock *l)
{
    TSAN_TRY_PRE(l);
    uint32_t seen = atomic_load_explicit(&l->word, memory_order_acquire);
    ASSERT(seen == LOCK_BUSY);
    TSAN_TRY_POST(l);
}

void lock_busy_rest(struct lock *l)
{
    TSAN_UNLOCK_PRE(l);
    ASSERT(atomic_load_explicit(&l->word, memory_order_relaxed) == LOCK_BUSY);
    TSAN_UNLOCK_POST(l);
}

void lock_busy_leave(struct lock *l)
{
    TSAN_UNLOCK_PRE(l);
    uint32_t was = atomic_exchange_explicit(&l->word, LOCK_FREE, memory_order_release);
    TSAN_UNLOCK_POST(l);
    ASSERT(was == LOCK_BUSY);
}
