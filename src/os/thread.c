#include "os/thread.h"

#include "base/err.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Weighs 1/28 of a thread that has not been niced (sched(7): a quarter more or less with each step). */
enum { NICE_GIVE_WAY = 15, SLACK_NS = 1, BREATH_US = 1 };

int os_thread_start(pthread_t *out, bool *runs, void *(*main)(void *arg), void *arg)
{
    int rc = pthread_create(out, NULL, main, arg);
    *runs = rc == 0;
    if (rc == 0)
        return 0;
    errno = rc;
    return ERR_IO;
}

void os_thread_give_way(void)
{
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE_GIVE_WAY);
    (void)prctl(PR_SET_TIMERSLACK, SLACK_NS, 0, 0, 0); /* else the kernel makes a breath 50 us long */
}

void os_thread_breathe(void)
{
    os_nap_us(BREATH_US);
}

void os_nap_us(int64_t us)
{
    const struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    (void)nanosleep(&t, NULL);
}
