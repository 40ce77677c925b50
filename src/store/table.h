/* The table of one slot: from a key's hash to its entry, for all databases.
 *
 *      table ── page ── up to 31 buckets of 64 bytes      (npages = 1: no directory)
 *      table ── directory ── page ── buckets
 *
 *      bucket   meta: occupied:10 overflow:9 -:13 | tag+high 10 x 16 | low 10 x 32
 *               tag: the top 12 bits of the hash; high + low: 36-bit address of an entry
 *
 * Pages are a linear-hashing file (Litwin 1980) over the low bits of the hash: one
 * page is split or merged at a time, in order. Inside a page a key belongs to bucket
 * tag * m / 4096 of the page's m, and goes to the next one (round the page) when
 * that is full; `overflow` counts the keys that passed by, so a search stops at the
 * first bucket that none passed. A page grows and shrinks by one bucket, which needs
 * only the tags: no entry is touched. Splitting a page does read its entries.
 *
 * The buckets of a page lie in runs whose sizes are the binary digits of m:
 *
 *      m = 13:  run[3] 8 buckets  0..7 | run[2] 4 buckets  8..11 | run[0] 1 bucket  12
 *
 * so growing by one takes one new run and frees the smaller ones, and buckets need
 * not be contiguous for the address to be found with a clz.
 *
 * Why not plain linear hashing with overflow chains: its buckets fill unevenly by a
 * factor of two, and at the load that gives 7.5 bytes a key a hit reads 3 of them;
 * this reads 1.1 to 1.2 (docs/decisions/004-pages-in-a-table.md has the figures).
 *
 * All functions but table_approach() need the shard's lock. Words that prefetching
 * reads are written with relaxed atomics. */
#ifndef LARDER_STORE_TABLE_H
#define LARDER_STORE_TABLE_H

#include "base/annotate.h"
#include "base/hash.h"
#include "store/entry.h"
#include "store/pool.h"
#include "store/region.h"
#include "store/store.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum table_limits {
    TABLE_BUCKET_REFS = 10,
    TABLE_PAGE_BUCKETS = 31,
    TABLE_PAGE_REFS = TABLE_BUCKET_REFS * TABLE_PAGE_BUCKETS,
    TABLE_TAG_BITS = 12,
    TABLE_FIRST_SPLIT = 176, /* keys at which a lone page is split */
    TABLE_PAGE_KEYS = 104,   /* mean keys a page; a page just before its split has twice as many */
    TABLE_LEAF_PAGES = 128,  /* pages in one directory block of 4 KB */
    TABLE_SCAN_PARTS = 16,   /* a page is scanned in so many steps */
};

struct bucket {
    _Atomic uint32_t meta;
    _Atomic uint16_t th[TABLE_BUCKET_REFS];
    _Atomic uint32_t lo[TABLE_BUCKET_REFS];
};
_Static_assert(sizeof(struct bucket) == POOL_UNIT, "a bucket is a cache line");

enum bucket_meta {
    BUCKET_OCCUPIED = (1u << TABLE_BUCKET_REFS) - 1,
    BUCKET_OVERFLOW_SHIFT = TABLE_BUCKET_REFS,
    BUCKET_OVERFLOW_ONE = 1u << BUCKET_OVERFLOW_SHIFT,
    BUCKET_OVERFLOW_MASK = 511u << BUCKET_OVERFLOW_SHIFT,
};

struct page {
    _Atomic uint32_t run[5]; /* pool references; run[k] holds 2^k buckets when bit k of m is set */
    uint16_t count;          /* keys */
    _Atomic uint8_t m;       /* buckets */
    uint8_t version;         /* which open cuts have saved it (cut.h); copied to both halves */
};

/* 32 bytes a slot. Zero bytes are an empty table. */
struct table {
    struct page one;         /* npages <= 1; else one.run[0] is the directory */
    _Atomic uint32_t npages; /* 0 only when never used */
    uint32_t nkeys;
};
_Static_assert(sizeof(struct table) == 32, "16,384 of these exist");

/* Where a thread gets the memory for tables from, and how it hashes. */
struct table_mem {
    const char *base; /* the region's */
    uint64_t size;
    struct pool *pool;
    struct pool_cache *cache;
    const struct hash_seed *seed;
    _Atomic uint64_t splits, merges; /* pages; written by the owner only */
    _Atomic uint64_t moves;          /* of runs, by table_pack(); the same */
};

/* A reference that a search found; good until the table changes. */
struct table_pos {
    struct page *page;
    struct bucket *bucket;
    uint8_t b; /* the bucket's number in its page */
    uint8_t i; /* the reference's number in its bucket */
};

/* What tells the same key of different databases apart. */
static inline uint64_t table_hash_db(uint64_t raw, uint32_t db)
{
    return likely(db == 0) ? raw : hash_mix64(raw + db * 0x9e3779b97f4a7c15ull);
}

static inline uint64_t table_hash(const struct hash_seed *seed, const void *p, size_t n, uint32_t db)
{
    return table_hash_db(hash_seeded(p, n, seed), db);
}

static inline uint64_t table_entry_hash(const struct hash_seed *seed, const struct entry *e)
{
    struct str key = entry_key(e);
    return table_hash(seed, key.p, key.n, entry_db(e));
}

/* The entry of this key, expired or not, or NULL. */
struct entry *table_find(const struct table_mem *tm, struct table *t, uint64_t hash, struct str key,
                         uint32_t db, struct table_pos *pos);
/* The reference to this very entry. */
bool table_find_entry(const struct table_mem *tm, struct table *t, uint64_t hash, const struct entry *e,
                      struct table_pos *pos);

/* The key must be absent, the entry complete. 0 or ERR_OOM with nothing changed. */
int table_insert(struct table_mem *tm, struct table *t, uint64_t hash, const struct entry *e);
/* Let the reference name another entry of the same key. */
void table_replace(const struct table_mem *tm, const struct table_pos *pos, const struct entry *e);
void table_remove(struct table_mem *tm, struct table *t, const struct table_pos *pos);

/* Frees what the table owns, not the entries, at most `max` pages in one call: *page counts on from 0.
 * True when done; t is empty then, and useless before. */
bool table_release(struct table_mem *tm, struct table *t, uint32_t *page, uint32_t max);

/* Moves what the table owns of the pool out of sparse pages where it can, like table_release() at most `max`
 * pages of the table in one call; what the table holds is not looked at. True when done. */
bool table_pack(struct table_mem *tm, struct table *t, uint32_t *page, uint32_t max);

/* Visit in SCAN order: calls visit for every entry of one part of one page. *cursor counts up in
 * reversed bits; returns false when this was the table's last part. A visit may not change the table. */
typedef bool table_visit_fn(void *arg, struct entry *e);
bool table_scan(const struct table_mem *tm, struct table *t, uint64_t *cursor, table_visit_fn *visit,
                void *arg);

/* Random access: page number < npages, bucket < m, reference < 10; NULL when there is none. */
struct page *table_page(const struct table_mem *tm, const struct table *t, uint32_t number);
struct entry *table_at(const struct table_mem *tm, const struct page *p, uint32_t bucket, uint32_t ref);

/* No lock; see region.h. One step from the table's header (which has been fetched) towards the entry:
 * reads what the last step has fetched, and fetches what the next one will read. */
bool table_approach(const struct table_mem *tm, struct table_near *near, uint64_t hash);

/* For tests, tools and INFO. */
struct table_stats {
    uint64_t keys, pages, buckets, bytes; /* bytes: buckets and directory, without the slot's header */
    uint64_t hit_reads;                   /* buckets read if every key were looked up once */
};
void table_stats_add(const struct table_mem *tm, struct table *t, struct table_stats *out);
void table_check(const struct table_mem *tm, struct table *t);

static inline uint32_t table_pages(const struct table *t)
{
    return atomic_load_explicit(&t->npages, memory_order_relaxed);
}

#endif
