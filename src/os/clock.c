/* The TSC is used where the processor says that it runs at one speed whatever the
 * core does (CPUID 0x80000007, EDX bit 8). Its frequency is measured against
 * CLOCK_MONOTONIC over CALIBRATE_NS; arm64 tells the frequency of its counter. */
#include "os/clock.h"

#include "base/assert.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum { CALIBRATE_NS = 10 * 1000 * 1000, NS_PER_S = 1000 * 1000 * 1000, READS = 16 };

/* One tick is one nanosecond until calibrated. */
struct os_ticks_scale os_ticks_scale = {1ULL << 32, 1ULL << 32, false};

static int64_t read_ns(clockid_t clock)
{
    struct timespec ts;
    int err = clock_gettime(clock, &ts);
    ASSERT(err == 0);
    return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t os_wall_us(void)
{
    return read_ns(CLOCK_REALTIME) / 1000;
}

int64_t os_mono_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

uint64_t os_boot_ms(void)
{
    return (uint64_t)read_ns(CLOCK_BOOTTIME) / (1000 * 1000);
}

int64_t os_cpu_ns(void)
{
    return read_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static uint64_t scale(uint64_t v, uint64_t factor)
{
    unsigned __int128 wide = (unsigned __int128)v * factor >> 32;
    return wide > UINT64_MAX ? UINT64_MAX : (uint64_t)wide;
}

uint64_t os_ticks_to_ns(uint64_t ticks)
{
    return scale(ticks, os_ticks_scale.ns_per_tick);
}

uint64_t os_ns_to_ticks(uint64_t ns)
{
    return scale(ns, os_ticks_scale.ticks_per_ns);
}

static void set_ratio(uint64_t ticks, uint64_t ns)
{
    ASSERT(ticks > 0 && ns > 0);
    os_ticks_scale.ns_per_tick = (uint64_t)(((unsigned __int128)ns << 32) / ticks);
    os_ticks_scale.ticks_per_ns = (uint64_t)(((unsigned __int128)ticks << 32) / ns);
}

#if defined(__x86_64__)

static bool tsc_is_invariant(void)
{
    unsigned a, b, c, d = 0;
    return __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d & 1u << 8) != 0;
}

/* Both clocks at one moment: of several tries the one that took least. */
static void read_both(uint64_t *ticks, int64_t *ns)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < READS; i++) {
        uint64_t before = __builtin_ia32_rdtsc();
        int64_t now = os_mono_ns();
        uint64_t after = __builtin_ia32_rdtsc();
        if (after - before < best) {
            best = after - before;
            *ticks = before + best / 2;
            *ns = now;
        }
    }
}

static void calibrate_tsc(void)
{
    uint64_t ticks0 = 0, ticks1 = 0;
    int64_t ns0 = 0, ns1 = 0;
    read_both(&ticks0, &ns0);
    struct timespec pause = {0, CALIBRATE_NS};
    nanosleep(&pause, NULL);
    do
        read_both(&ticks1, &ns1);
    while (ns1 - ns0 < CALIBRATE_NS / 2); /* a signal may cut the sleep short */
    if (ticks1 <= ticks0)
        return;
    set_ratio(ticks1 - ticks0, (uint64_t)(ns1 - ns0));
    os_ticks_scale.tsc = true;
}

#endif

void os_ticks_calibrate(void)
{
#if defined(__x86_64__)
    if (tsc_is_invariant()) /* otherwise os_ticks() goes on reading CLOCK_MONOTONIC */
        calibrate_tsc();
#elif defined(__aarch64__)
    uint64_t hz;
    __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(hz));
    set_ratio(hz, NS_PER_S);
#endif
}
