/* What table.c (one page) and table_dir.c (the pages of a table) share. */
#ifndef LARDER_STORE_TABLE_INTERNAL_H
#define LARDER_STORE_TABLE_INTERNAL_H

#include "base/assert.h"
#include "store/table.h"

#define LOAD(x) atomic_load_explicit(&(x), memory_order_relaxed)
#define STORE(x, v) atomic_store_explicit(&(x), (v), memory_order_relaxed)

/* A reference outside its bucket. */
struct ref {
    uint32_t lo;
    uint16_t th;
};

static inline uint16_t hash_tag(uint64_t hash)
{
    return (uint16_t)((hash >> 52) << 4);
}

static inline unsigned tag_home(uint16_t th, unsigned m)
{
    return ((unsigned)(th >> 4) * m) >> TABLE_TAG_BITS;
}

static inline struct ref ref_to(const struct table_mem *tm, uint64_t hash, const struct entry *e)
{
    uint64_t at = (uint64_t)((const char *)e - tm->base) / ENTRY_UNIT;
    return (struct ref){(uint32_t)at, (uint16_t)(hash_tag(hash) | at >> 32)};
}

static inline struct entry *ref_entry(const struct table_mem *tm, uint16_t th, uint32_t lo)
{
    return (struct entry *)(tm->base + (((uint64_t)(th & 15) << 32 | lo) * ENTRY_UNIT));
}

/* i < m. The run that holds bucket i is the highest digit in which i differs from m. */
static inline struct bucket *bucket_at(const struct table_mem *tm, const struct page *p, unsigned m,
                                       unsigned i)
{
    unsigned k = 31 - (unsigned)__builtin_clz(i ^ m);
    return (struct bucket *)pool_ptr(tm->base, LOAD(p->run[k]) + (i & ((1u << k) - 1)));
}

/* Keys at which a page of m buckets grows: 92.5 %, and 310 at most. */
static inline unsigned page_limit(unsigned m)
{
    return m == 1 || m == TABLE_PAGE_BUCKETS ? m * TABLE_BUCKET_REFS : m * 37 / 4;
}

static inline unsigned page_buckets_for(unsigned count)
{
    unsigned m = count * 4 / 37;
    while (m < TABLE_PAGE_BUCKETS && page_limit(m) < count)
        m++;
    return m < TABLE_PAGE_BUCKETS ? m : TABLE_PAGE_BUCKETS; /* which may be full, and others not */
}

/* Pages in a directory block lie 32 bytes apart: 8 are spare, and an index is a shift. */
enum { TABLE_PAGE_STRIDE = 32 };

static inline uint32_t page_number(uint32_t npages, uint64_t hash)
{
    if (npages <= 1)
        return 0;
    uint32_t half = 1u << (31 - (unsigned)__builtin_clz(npages));
    uint32_t n = (uint32_t)hash & (2 * half - 1);
    return n < npages ? n : n & (half - 1);
}

/* table.c */
unsigned page_gather(const struct table_mem *tm, const struct page *p, struct ref *refs);
int page_reshape(struct table_mem *tm, struct page *p, unsigned m, const struct ref *refs, unsigned n);
/* False when a visit returned false. */
bool page_scan(const struct table_mem *tm, const struct page *p, unsigned part, table_visit_fn *visit,
               void *arg);

/* table_dir.c: one page more at the end of the directory, a copy of *p. 0 or ERR_OOM with nothing changed. */
int table_dir_append(struct table_mem *tm, struct table *t, const struct page *p);
/* After an insertion or a removal, split or merge one page if it is time. Cannot fail: what
 * does not work out is tried again after the next. */
void table_adapt(struct table_mem *tm, struct table *t);

#endif
