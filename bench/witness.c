/* Does the machine itself stand still? A thread before which no other program comes wants to run every
 * millisecond on one CPU, and notes how late it is:
 *
 *      due    |     |     |     |     |     |     |
 *      ran    |     |     |              |  |     |
 *                          <------------> late: nobody else on this CPU has run either
 *
 * On a virtual machine it is: where the host takes back memory that the guest has freed, or has given out all
 * of the CPU time that was agreed on. What clients waited for in such moments no server can help.
 *
 *      witness CPU    until its input ends; then prints "longest,sum", of all that was later than
 *                     LATE_MIN, in microseconds. Exit 1 when it may not come before the others.
 *
 * Cost: 0.2 % of that CPU. */
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { EACH_NS = 1000 * 1000, LATE_MIN_NS = 1000 * 1000 };

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void sleep_until(int64_t ns)
{
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static int come_first_on(int cpu)
{
    struct sched_param p = {.sched_priority = 1};
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0 && sched_setscheduler(0, SCHED_FIFO, &p) == 0 ? 0 : -1;
}

static int input_has_ended(void)
{
    struct pollfd p = {.fd = 0, .events = POLLIN};
    return poll(&p, 1, 0) != 0;
}

int main(int argc, char **argv)
{
    int64_t longest = 0, sum = 0;
    if (argc != 2 || come_first_on(atoi(argv[1])) != 0) {
        fprintf(stderr, "witness: usage: witness CPU, with the right to SCHED_FIFO\n");
        return 1;
    }
    for (int64_t due = now_ns() + EACH_NS; !input_has_ended();) {
        sleep_until(due);
        int64_t late = now_ns() - due;
        longest = late > longest ? late : longest;
        sum += late > LATE_MIN_NS ? late : 0;
        due += EACH_NS + (late > 0 ? late : 0);
    }
    printf("%lld,%lld\n", (long long)(longest / 1000), (long long)(sum / 1000));
    return 0;
}
