/* Time. Monotonic for durations, wall clock for deadlines that clients see.
 *
 * os_ticks() is the cheapest clock there is (the TSC where it is invariant, else
 * CLOCK_MONOTONIC): for measuring every command. Convert with os_ticks_to_ns(). */
#ifndef LARDER_OS_CLOCK_H
#define LARDER_OS_CLOCK_H

#include "base/annotate.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

int64_t os_wall_us(void);  /* microseconds since 1970 */
int64_t os_mono_ns(void);  /* CLOCK_MONOTONIC */
uint64_t os_boot_ms(void); /* CLOCK_BOOTTIME: goes on while the machine sleeps */
int64_t os_cpu_ns(void);   /* user + system time of this process */

static inline int64_t os_wall_ms(void)
{
    return os_wall_us() / 1000;
}

/* Run once at boot, before there are threads and before the first os_ticks(); takes about 10 ms. */
void os_ticks_calibrate(void);
uint64_t os_ticks_to_ns(uint64_t ticks);
uint64_t os_ns_to_ticks(uint64_t ns);

struct os_ticks_scale {
    uint64_t ns_per_tick, ticks_per_ns; /* fixed point, 32 binary places */
    bool tsc;                           /* os_ticks() reads the TSC; else nanoseconds */
};
/* Written by os_ticks_calibrate(), constant from then on. */
extern struct os_ticks_scale os_ticks_scale;

static inline uint64_t os_ticks(void)
{
#if defined(__x86_64__)
    return likely(os_ticks_scale.tsc) ? __builtin_ia32_rdtsc() : (uint64_t)os_mono_ns();
#elif defined(__aarch64__)
    uint64_t v;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(v));
    return v;
#else
    return (uint64_t)os_mono_ns();
#endif
}

/* Nanoseconds by os_ticks(), from whenever: for bounding a slice of work. */
static inline int64_t os_work_ns(void)
{
    return (int64_t)os_ticks_to_ns(os_ticks());
}

#endif
