#include "server/doctor.h"

#include "base/num.h"

#include <stdio.h>

enum {
    WORTHWHILE = 5 << 20,    /* less data than this is not worth advice */
    GAP = 10 << 20,          /* less is no problem, whatever the ratio */
    FULL = 95,               /* % of maxmemory */
    DEAD = 30,               /* % of segments; compaction aims far below */
    EXPIRED = 2,             /* % of the data; the target is 1 */
    HEAP_RATIO = 140,        /* % */
    RSS_OFF = 10,            /* % of the data */
    CLIENTS = 25,            /* % of the data */
    OPEN_ROOM = 10,          /* % of maxmemory */
    OPEN_SEGMENTS = 4,       /* of a thread, at the least: two open, two in reserve */
    HIT_RATIO = 95,          /* %: above it nobody complains */
    GHOSTS = 5,              /* % of misses */
    LOOKUPS = 10000,         /* fewer say nothing */
    MACHINE = 90,            /* % of the machine's memory */
    HUGE_FROM = 256 << 20,   /* with less data huge pages bring little */
    SEGMENT_SMALL = 64 << 10 /* there are no smaller ones */
};

/* Bytes as people read them. */
struct human {
    char text[32];
};

static struct human human(uint64_t bytes)
{
    struct human h;
    unsigned n = num_put_human(h.text, bytes);
    h.text[n] = '\0';
    return h;
}
#define HUMAN(bytes) (human(bytes).text)

static uint64_t percent(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : (uint64_t)(100.0 * (double)part / (double)whole);
}

static double ratio(uint64_t a, uint64_t b)
{
    return b == 0 ? 0 : (double)a / (double)b;
}

typedef void finding(const struct doctor_facts *f, struct buf *out);

static void full(const struct doctor_facts *f, struct buf *out)
{
    uint64_t share = percent(f->data.used, f->maxmemory);
    if (f->maxmemory == 0 || f->evicts || share < FULL)
        return;
    if (f->data.used > f->maxmemory)
        buf_printf(out, "* Memory is full: the data takes %s and maxmemory is %s. ", HUMAN(f->data.used),
                   HUMAN(f->maxmemory));
    else
        buf_printf(out, "* Memory is almost full: the data takes %s, %llu %% of maxmemory. ",
                   HUMAN(f->data.used), (unsigned long long)share);
    buf_puts(out, STR("maxmemory-policy is noeviction, so writes that need memory are refused when it is "
                      "full. If this is a cache, CONFIG SET maxmemory-policy allkeys-auto; else raise "
                      "maxmemory, delete, or give keys a time to live.\n"));
}

static void no_limit(const struct doctor_facts *f, struct buf *out)
{
    if (f->machine == 0)
        return;
    if (f->maxmemory == 0 && percent(f->rss, f->machine) >= MACHINE)
        buf_printf(out,
                   "* There is no maxmemory, and %s of the machine's %s are in use by this process. The "
                   "system will kill it when there is none left: CONFIG SET maxmemory %llu.\n",
                   HUMAN(f->rss), HUMAN(f->machine), (unsigned long long)(f->machine / 10 * 8));
    if (percent(f->maxmemory, f->machine) >= MACHINE)
        buf_printf(out,
                   "* maxmemory is %s on a machine with %s. It bounds the data only; clients' buffers, logs "
                   "and the system need room, too. Lower it to %s or less.\n",
                   HUMAN(f->maxmemory), HUMAN(f->machine), HUMAN(f->machine / 10 * 8));
}

static void resident(const struct doctor_facts *f, struct buf *out)
{
    int64_t gap = f->data.rss_gap, least = (int64_t)(f->data.used / 100 * RSS_OFF);
    least = least > GAP ? least : GAP;
    if (gap > least)
        buf_printf(out,
                   "* %s are resident beyond what the accounts explain (RSS is %s, the data %s). %s of it "
                   "count against maxmemory. Usually pages that the heap is about to give back: MEMORY PURGE "
                   "does it now. If it stays, restart with a larger maxmemory or report it.\n",
                   HUMAN((uint64_t)gap), HUMAN(f->rss), HUMAN(f->data.used), HUMAN(f->data.rss_excess));
    if (gap < -least)
        buf_printf(
            out,
            "* %s of what is committed are not resident (RSS is %s): either nothing was written there "
            "yet, or the system has swapped it out, and then requests wait for the disk. Look at VmSwap "
            "in /proc/<pid>/status; lower maxmemory or vm.swappiness.\n",
            HUMAN((uint64_t)-gap), HUMAN(f->rss));
}

static void dead_space(const struct doctor_facts *f, struct buf *out)
{
    uint64_t share = percent(f->data.dead, f->data.segments);
    if (f->data.dead > GAP && share >= DEAD)
        buf_printf(out,
                   "* %llu %% of the segments (%s) is dead space. It is compacted in the background; if it "
                   "stays, keys are overwritten or deleted faster than that. Raise active-expire-effort to "
                   "give upkeep more time.\n",
                   (unsigned long long)share, HUMAN(f->data.dead));
}

static void expired(const struct doctor_facts *f, struct buf *out)
{
    uint64_t share = percent(f->expired_resident, f->data.used);
    if (f->expired_resident > GAP && share >= EXPIRED)
        buf_printf(out,
                   "* %s (%llu %% of the data) has expired and is still in memory. Raise "
                   "active-expire-effort, so that it goes sooner.\n",
                   HUMAN(f->expired_resident), (unsigned long long)share);
}

static void heap_holes(const struct doctor_facts *f, struct buf *out)
{
    uint64_t holes = f->heap.active > f->heap.allocated ? f->heap.active - f->heap.allocated : 0;
    if (holes > GAP && percent(f->heap.active, f->heap.allocated) > HEAP_RATIO)
        buf_printf(
            out,
            "* The heap holds %.2f times what is allocated in it (%s more), usually because many large "
            "values of different sizes came and went.\n",
            ratio(f->heap.active, f->heap.allocated), HUMAN(holes));
}

static void tables(const struct doctor_facts *f, struct buf *out)
{
    uint64_t data = f->data.live + f->data.blocks;
    if (f->data.tables > GAP && f->data.tables > data)
        buf_printf(out,
                   "* The tables (%s) take more memory than keys and values (%s): these are very small, or "
                   "many keys were deleted a moment ago and the tables are shrinking.\n",
                   HUMAN(f->data.tables), HUMAN(data));
}

static void small(const struct doctor_facts *f, struct buf *out)
{
    uint64_t room = f->segment_size * OPEN_SEGMENTS * f->threads;
    if (f->maxmemory == 0 || percent(room, f->maxmemory) < OPEN_ROOM)
        return;
    buf_printf(out, "* maxmemory (%s) is small for %u workers: what they keep open takes %s of it. ",
               HUMAN(f->maxmemory), f->threads - 1, HUMAN(room));
    if (f->segment_size > SEGMENT_SMALL)
        buf_printf(out,
                   "Segments are of %s, which was chosen at the start; restart with this maxmemory and they "
                   "will be smaller.\n",
                   HUMAN(f->segment_size));
    else
        buf_puts(out, STR("Use fewer workers (--workers 1) or more memory.\n"));
}

static void big_clients(const struct doctor_facts *f, struct buf *out)
{
    if (f->clients_bytes > GAP && percent(f->clients_bytes, f->data.used) >= CLIENTS)
        buf_printf(
            out,
            "* %llu clients have buffers of %s, %llu %% of what the data takes. They come on top of "
            "maxmemory and evict no key. CLIENT LIST shows whose they are (tot-mem); maxmemory-clients "
            "and client-output-buffer-limit bound them.\n",
            (unsigned long long)f->clients, HUMAN(f->clients_bytes),
            (unsigned long long)percent(f->clients_bytes, f->data.used));
}

static void ghosts(const struct doctor_facts *f, struct buf *out)
{
    uint64_t lookups = f->hits + f->misses, share = percent(f->hits, lookups);
    if (lookups < LOOKUPS || share >= HIT_RATIO || f->evicted == 0 || f->misses == 0)
        return;
    if (percent(f->ghost_hits, f->misses) >= GHOSTS)
        buf_printf(out,
                   "* More memory would pay: %llu %% of lookups hit, and %llu of %llu misses asked for a key "
                   "that had been evicted shortly before. Raise maxmemory.\n",
                   (unsigned long long)share, (unsigned long long)f->ghost_hits,
                   (unsigned long long)f->misses);
}

static void huge_pages(const struct doctor_facts *f, struct buf *out)
{
    if (f->huge_pages_off && f->data.used > HUGE_FROM)
        buf_puts(out, STR("* Huge pages are off, and with this much data they save a large share of every "
                          "search: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled (larder never "
                          "forks, so they do no harm), then restart.\n"));
}

void doctor_report(const struct doctor_facts *f, struct buf *out)
{
    static finding *const findings[] = {full,   no_limit, resident,    dead_space, expired,   heap_holes,
                                        tables, small,    big_clients, ghosts,     huge_pages};
    size_t before = out->n;
    for (unsigned i = 0; i < ARRAY_LEN(findings); i++)
        if (f->data.used >= WORTHWHILE || findings[i] == full || findings[i] == small ||
            findings[i] == big_clients)
            findings[i](f, out);
    if (out->n > before || out->oom)
        return;
    if (f->data.used < WORTHWHILE)
        buf_puts(out, STR("Almost nothing is stored, so there is nothing to judge.\n"));
    else
        buf_puts(out, STR("No problem found.\n"));
}
