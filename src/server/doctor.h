/* MEMORY DOCTOR: from figures to advice. Pure: no clock, no server, nothing but the figures. */
#ifndef LARDER_SERVER_DOCTOR_H
#define LARDER_SERVER_DOCTOR_H

#include "base/alloc.h"
#include "base/buf.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

/* Bytes, but where it says otherwise. */
struct doctor_facts {
    struct store_memory data;
    struct mem_stats heap;
    uint64_t maxmemory; /* 0 = none */
    bool evicts;        /* the policy is not noeviction */
    uint64_t rss, peak;
    uint64_t machine;                /* memory of the machine */
    uint64_t clients_bytes, clients; /* buffers of all connections; connections */
    uint32_t threads;                /* that append entries: workers and the lane */
    uint64_t segment_size;
    uint64_t hits, misses;     /* since the statistics were reset */
    uint64_t evicted;          /* keys */
    uint64_t ghost_hits;       /* misses of keys that had been evicted shortly before */
    uint64_t expired_resident; /* expired entries that are still in memory */
    bool huge_pages_off;       /* the system never gives any */
};

/* One paragraph for each finding, worst first, or one that says that there is none. */
void doctor_report(const struct doctor_facts *f, struct buf *out);

#endif
