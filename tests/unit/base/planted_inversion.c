/* Proof that the deadlock detector sees struct lock: two locks taken in one order and
 * then in the other must be reported. Without the annotations it would see futex
 * calls and atomics, and every multi-threaded test would pass for nothing. Built and
 * run under TSan only. */
#include "base/lock.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The sanitizer's hooks; it may be a shared library, which must find them here. */
#define HOOK __attribute__((visibility("default")))
HOOK const char *__tsan_default_options(void);
HOOK void __tsan_on_report(void *report);
int __tsan_get_report_data(void *report, const char **description, int *count, int *stack_count,
                           int *mop_count, int *loc_count, int *mutex_count, int *thread_count,
                           int *unique_tid_count, void **sleep_trace, unsigned long trace_size);

/* Deadlock reports are on by default; said here so that it does not hang on that. */
const char *__tsan_default_options(void)
{
    return "detect_deadlocks=1";
}

/* Called for every report: the one that was planted is the test's success. */
void __tsan_on_report(void *report)
{
    const char *what = "";
    int counts[7];
    void *trace[1];
    __tsan_get_report_data(report, &what, &counts[0], &counts[1], &counts[2], &counts[3], &counts[4],
                           &counts[5], &counts[6], trace, 1);
    if (strstr(what, "inversion") != NULL || strstr(what, "deadlock") != NULL)
        _exit(0);
}

static struct lock first, second;

static void *take_in_order(void *arg)
{
    lock_hold(&first);
    lock_hold(&second);
    lock_release(&second);
    lock_release(&first);
    return NULL;
}

static void *take_inverted(void *arg)
{
    lock_hold(&second);
    lock_hold(&first);
    lock_release(&first);
    lock_release(&second);
    return NULL;
}

/* One after the other, so that it cannot really lock up. */
static void run(void *(*body)(void *))
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, NULL) == 0)
        pthread_join(thread, NULL);
}

int main(void)
{
    run(take_in_order);
    run(take_in_order);
    run(take_inverted);
    fprintf(stderr, "the inversion went unseen\n");
    return 1;
}
