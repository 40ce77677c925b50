/* What a thread asks of the kernel for itself. */
#ifndef LARDER_OS_THREAD_H
#define LARDER_OS_THREAD_H

#include <stdint.h>

/* The calling thread does long work that nobody waits for: where the CPUs are busy it gets a few hundredths
 * of one, else all that is left. For good: only root may take it back. Threads that it creates inherit it. */
void os_thread_give_way(void);

void os_nap_us(int64_t us); /* for threads that serve nobody */

#endif
