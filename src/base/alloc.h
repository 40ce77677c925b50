/* The one door to the heap (jemalloc behind it).
 *
 * Every function may return NULL, and callers on a data path turn that into an
 * error reply with nothing half-applied. Tests make any allocation fail through
 * alloc_fail_after(). Thread-safe; memory may be freed by another thread. */
#ifndef LARDER_BASE_ALLOC_H
#define LARDER_BASE_ALLOC_H

#include "base/annotate.h"

#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t n) MUST_CHECK __attribute__((malloc, alloc_size(1)));
void *mem_zalloc(size_t n) MUST_CHECK __attribute__((malloc, alloc_size(1)));
void *mem_aligned(size_t align, size_t n) MUST_CHECK __attribute__((malloc, alloc_size(2)));
/* On NULL the old block is untouched and still the caller's. */
void *mem_realloc(void *p, size_t n) MUST_CHECK __attribute__((alloc_size(2)));
void mem_free(void *p); /* NULL is fine */
/* The bytes that p really occupies (>= what was asked for). */
size_t mem_usable(void *p);

char *mem_strndup(const char *p, size_t n) MUST_CHECK;

/* For boot and for tools only: report and exit instead of returning NULL. */
void *mem_must(void *p);

/* Process-wide, from jemalloc; 0 under sanitizers, which bring their own heap. */
struct mem_stats {
    uint64_t allocated; /* bytes the program asked for, rounded to size classes */
    uint64_t active;    /* bytes in pages that hold allocations */
    uint64_t resident;  /* bytes of physical memory that the heap maps */
    uint64_t retained;  /* address space kept, no memory behind it */
};
const char *mem_allocator_name(void); /* "jemalloc-5.3.0" or "libc" */
void mem_stats_read(struct mem_stats *out);

/* Give the heap's unused pages back to the system, and what the calling thread keeps for itself of what it
 * has freed. May take milliseconds. */
void mem_purge(void);

/* The heap's report on itself, in pieces of text. May take milliseconds. */
void mem_report(void (*put)(void *arg, const char *text), void *arg);

/* Test hooks, in debug builds (LARDER_DEBUG) only: the n-th allocation from now on (1 = the next) returns
 * NULL on any thread; once, or with every one behind it. 0 switches it off. */
void alloc_fail_after(int64_t n);
void alloc_fail_from(int64_t n);
/* How many have failed since one of these was called last. */
uint64_t alloc_failures(void);

#endif
