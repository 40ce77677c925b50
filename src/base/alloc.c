#include "base/alloc.h"

#include "base/assert.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef LARDER_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

#define TEXT(x) #x
#define TEXT_OF(x) TEXT(x)

/* Zero bytes is a legal request everywhere, and glibc's realloc(p, 0) would free:
 * ask for one byte instead. */
static size_t at_least_one(size_t n)
{
    return n + (n == 0);
}

#ifdef LARDER_DEBUG
static struct {
    _Atomic int64_t countdown; /* 0 = off; the allocation that finds 1 fails ... */
    _Atomic bool for_good;     /* ... and leaves it there */
    _Atomic uint64_t failed;
} failing;

static void begin_failing(int64_t n, bool for_good)
{
    ASSERT(n >= 0);
    atomic_store(&failing.for_good, for_good);
    atomic_store(&failing.failed, 0);
    atomic_store(&failing.countdown, n);
}

void alloc_fail_after(int64_t n)
{
    begin_failing(n, false);
}

void alloc_fail_from(int64_t n)
{
    begin_failing(n, true);
}

uint64_t alloc_failures(void)
{
    return atomic_load(&failing.failed);
}

static bool told_to_fail(void)
{
    int64_t left = atomic_load_explicit(&failing.countdown, memory_order_relaxed);
    while (left > 0) {
        int64_t next = left == 1 && atomic_load(&failing.for_good) ? 1 : left - 1;
        if (!atomic_compare_exchange_weak(&failing.countdown, &left, next))
            continue;
        if (left == 1)
            atomic_fetch_add(&failing.failed, 1);
        return left == 1;
    }
    return false;
}
#else
static inline bool told_to_fail(void)
{
    return false;
}
#endif

void *mem_alloc(size_t n)
{
    return told_to_fail() ? NULL : malloc(at_least_one(n));
}

void *mem_zalloc(size_t n)
{
    return told_to_fail() ? NULL : calloc(1, at_least_one(n));
}

void *mem_aligned(size_t align, size_t n)
{
    DEBUG_ASSERT(align >= sizeof(void *) && (align & (align - 1)) == 0);
    void *p = NULL;
    if (told_to_fail() || posix_memalign(&p, align, at_least_one(n)) != 0)
        return NULL;
    return p;
}

void *mem_realloc(void *p, size_t n)
{
    return told_to_fail() ? NULL : realloc(p, at_least_one(n));
}

void mem_free(void *p)
{
    free(p);
}

size_t mem_usable(void *p)
{
    return malloc_usable_size(p);
}

char *mem_strndup(const char *p, size_t n)
{
    if (n == SIZE_MAX)
        return NULL;
    char *copy = mem_alloc(n + 1);
    if (copy == NULL)
        return NULL;
    if (n > 0)
        memcpy(copy, p, n);
    copy[n] = '\0';
    return copy;
}

void *mem_must(void *p)
{
    if (p == NULL) {
        dprintf(STDERR_FILENO, "larder: out of memory\n");
        exit(1);
    }
    return p;
}

#ifdef LARDER_JEMALLOC

const char *mem_allocator_name(void)
{
    return "jemalloc-" TEXT_OF(JEMALLOC_VERSION_MAJOR) "." TEXT_OF(JEMALLOC_VERSION_MINOR) "." TEXT_OF(
        JEMALLOC_VERSION_BUGFIX);
}

static uint64_t statistic(const char *name)
{
    size_t value = 0, n = sizeof value;
    return mallctl(name, &value, &n, NULL, 0) == 0 ? value : 0;
}

static void advance_epoch(void)
{
    uint64_t epoch = 1;
    size_t n = sizeof epoch;
    (void)mallctl("epoch", &epoch, &n, &epoch, n);
}

static void purge_all_arenas(void)
{
    (void)mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
    (void)mallctl("arena." TEXT_OF(MALLCTL_ARENAS_ALL) ".purge", NULL, NULL, NULL, 0);
}

static void report(void (*put)(void *arg, const char *text), void *arg)
{
    malloc_stats_print(put, arg, NULL);
}

#else

const char *mem_allocator_name(void)
{
    return "libc";
}

static uint64_t statistic(const char *name)
{
    return 0;
}

static void advance_epoch(void)
{
}

static void purge_all_arenas(void)
{
}

static void report(void (*put)(void *arg, const char *text), void *arg)
{
    put(arg, "Stats not supported for the current allocator");
}

#endif

void mem_stats_read(struct mem_stats *out)
{
    advance_epoch(); /* until then the answers come from a cached copy */
    *out = (struct mem_stats){
        .allocated = statistic("stats.allocated"),
        .active = statistic("stats.active"),
        .resident = statistic("stats.resident"),
        .retained = statistic("stats.retained"),
    };
}

void mem_purge(void)
{
    purge_all_arenas();
}

void mem_report(void (*put)(void *arg, const char *text), void *arg)
{
    report(put, arg);
}
