#include "base/lock.h"

#include "base/assert.h"

#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SPINS = 64 };

/* Every other thread of the process passes a full fence before this returns. False where the kernel or a
 * sandbox does not offer it. */
static bool fence_everyone(void)
{
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0)
        return true;
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0 &&
           syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

/* Sleep while it is held; until woken, or for a moment where a wake-up may be missed for want of the fence.
 */
static void sleep_while_held(struct lock *l, bool fenced)
{
    static const struct timespec moment = {.tv_nsec = 200000};
    syscall(SYS_futex, &l->word, FUTEX_WAIT_PRIVATE, LOCK_HELD, fenced ? NULL : &moment, NULL, 0);
}

void lock_wake(struct lock *l, int waiters)
{
    syscall(SYS_futex, &l->word, FUTEX_WAKE_PRIVATE, waiters, NULL, NULL, 0);
}

/* One look: 1 it is ours, 0 it is held, -1 it is busy. */
static int look(struct lock *l)
{
    uint32_t seen = atomic_load_explicit(&l->word, memory_order_relaxed);
    if (seen == LOCK_BUSY)
        return -1;
    return seen == LOCK_FREE && lock_grab(l);
}

/* Spin briefly, then sleep. Who is woken looks again like anybody else: if another thread was faster, its
 * release wakes the next, for the count tells that somebody sleeps. */
bool lock_acquire_slow(struct lock *l)
{
    int got = 0;
    for (int i = 0; i < SPINS && got == 0; i++) {
        got = look(l);
        if (got == 0)
            cpu_relax();
    }
    if (got == 0) {
        atomic_fetch_add_explicit(&l->sleepers, 1, memory_order_relaxed);
        bool fenced = fence_everyone();
        while ((got = look(l)) == 0)
            sleep_while_held(l, fenced);
        atomic_fetch_sub_explicit(&l->sleepers, 1, memory_order_relaxed);
    }
    if (got > 0)
        TSAN_LOCK_POST(l);
    else
        TSAN_TRY_FAILED(l); /* the lane owns it: to claim it even for a moment would be a double lock */
    return got > 0;
}

/* Wake everybody: each of them returns at the sight of BUSY, and no release follows that would wake another.
 */
void lock_make_busy(struct lock *l)
{
    TSAN_UNLOCK_PRE(l);
    uint32_t was = atomic_exchange_explicit(&l->word, LOCK_BUSY, memory_order_release);
    TSAN_UNLOCK_POST(l);
    ASSERT(was == LOCK_HELD);
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
