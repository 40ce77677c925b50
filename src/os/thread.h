/* What a thread asks of the kernel for itself. */
#ifndef LARDER_OS_THREAD_H
#define LARDER_OS_THREAD_H

#include "base/annotate.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* *runs: whether there is one that is to be joined. 0, or ERR_IO with errno set. */
int os_thread_start(pthread_t *out, bool *runs, void *(*main)(void *arg), void *arg) MUST_CHECK;

/* The calling thread does long work that nobody waits for: where the CPUs are busy it gets a few hundredths
 * of one, else all that is left. For good: only root may take it back. Threads that it creates inherit it. */
void os_thread_give_way(void);
/* Between two slices of such work: whoever waits for this CPU has it now. The thread sleeps for a moment,
 * since the scheduler lets one that is niced run on for milliseconds all the same. */
void os_thread_breathe(void);

void os_nap_us(int64_t us); /* for threads that serve nobody */

#endif
