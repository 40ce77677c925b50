/* The pages of a table: directory, splitting, merging, scanning, checking.
 *
 * The directory of 2 to 128 pages is one block of 64 bytes to 4 KB, doubled as
 * needed. Beyond, it is a root of references to full blocks:
 *
 *      one.run[0] ── root ── ref ref ref ...        64 bytes to 4 KB, or (beyond 13
 *                            │   └ block of 128       million keys in one slot) an
 *                            └ block of 128 pages     extent of its own
 *
 * so a growing table copies 4 KB at most, however large it is. */
#include "base/err.h"
#include "store/table_internal.h"

#include <string.h>

enum {
    ROOT_REFS_MAX = POOL_PAGE / sizeof(uint32_t), /* in a pool run; beyond: an extent */
    SCAN_LEVELS = 32,
    SCAN_PAGE_ONE = SCAN_LEVELS * TABLE_SCAN_PARTS,
    MERGE_PERCENT = 60, /* of the load at which that page would split again */
};

static unsigned log2_up(uint32_t n)
{
    return n <= 1 ? 0 : 32 - (unsigned)__builtin_clz(n - 1);
}

static unsigned leaf_class(uint32_t pages)
{
    return log2_up(pages) - 1; /* two pages in a unit */
}

static unsigned root_class(uint32_t leaves)
{
    return log2_up((leaves + 15) / 16);
}

static uint32_t leaves_of(uint32_t npages)
{
    return (npages + TABLE_LEAF_PAGES - 1) / TABLE_LEAF_PAGES;
}

static _Atomic uint32_t *root_of(const struct table_mem *tm, const struct table *t)
{
    return pool_ptr(tm->base, LOAD(t->one.run[0]));
}

static struct page *leaf_page(const struct table_mem *tm, uint32_t leaf, uint32_t number)
{
    return (struct page *)(void *)((char *)pool_ptr(tm->base, leaf) + (size_t)number * TABLE_PAGE_STRIDE);
}

struct page *table_page(const struct table_mem *tm, const struct table *t, uint32_t number)
{
    uint32_t npages = table_pages(t);
    if (npages <= 1)
        return (struct page *)&t->one;
    if (likely(npages <= TABLE_LEAF_PAGES))
        return leaf_page(tm, LOAD(t->one.run[0]), number);
    return leaf_page(tm, LOAD(root_of(tm, t)[number / TABLE_LEAF_PAGES]), number % TABLE_LEAF_PAGES);
}

static void page_copy(struct page *to, const struct page *from)
{
    for (unsigned k = 0; k < 5; k++)
        STORE(to->run[k], LOAD(from->run[k]));
    to->count = from->count;
    to->version = from->version;
    STORE(to->m, LOAD(from->m));
}

/* ---- the directory grows by one page ---- */

static void copy_block(const struct table_mem *tm, uint32_t to, uint32_t from, unsigned class)
{
    _Atomic uint32_t *d = pool_ptr(tm->base, to);
    const _Atomic uint32_t *s = pool_ptr(tm->base, from);
    for (size_t i = 0; i < ((size_t)POOL_UNIT << class) / sizeof *d; i++)
        STORE(d[i], LOAD(s[i]));
}

static uint32_t take_extent(struct table_mem *tm)
{
    uint32_t extent;
    if (region_injected_failure() || region_take(tm->pool->region, 1, &extent) != 0)
        return 0;
    return extent * (uint32_t)(REGION_EXTENT / POOL_UNIT);
}

static void give_extent(struct table_mem *tm, uint32_t ref)
{
    region_give(tm->pool->region, (uint32_t)(ref / (REGION_EXTENT / POOL_UNIT)), 1);
}

static int grow_single(struct table_mem *tm, struct table *t, uint32_t npages)
{
    uint32_t old = LOAD(t->one.run[0]);
    if (npages > 1 && (npages & (npages - 1)) != 0)
        return 0;
    uint32_t ref = pool_take(tm->pool, tm->cache, leaf_class(npages + 1));
    if (ref == 0)
        return ERR_OOM;
    if (npages == 1) {
        page_copy(leaf_page(tm, ref, 0), &t->one);
    } else {
        copy_block(tm, ref, old, leaf_class(npages));
        pool_give(tm->pool, tm->cache, old, leaf_class(npages));
    }
    STORE(t->one.run[0], ref);
    return 0;
}

/* Room for one reference more in a root of n > 0, which may move. */
static int grow_root(struct table_mem *tm, struct table *t, uint32_t n)
{
    uint32_t old = LOAD(t->one.run[0]), ref;
    if (n > ROOT_REFS_MAX)
        return n < REGION_EXTENT / sizeof(uint32_t) ? 0 : ERR_OOM;
    if (n < ROOT_REFS_MAX && root_class(n + 1) == root_class(n))
        return 0;
    ref = n == ROOT_REFS_MAX ? take_extent(tm) : pool_take(tm->pool, tm->cache, root_class(n + 1));
    if (ref == 0)
        return ERR_OOM;
    copy_block(tm, ref, old, root_class(n));
    pool_give(tm->pool, tm->cache, old, root_class(n));
    STORE(t->one.run[0], ref);
    return 0;
}

static int grow_leaves(struct table_mem *tm, struct table *t, uint32_t npages)
{
    const unsigned full = POOL_CLASSES - 1;
    uint32_t n = npages / TABLE_LEAF_PAGES;
    if (npages % TABLE_LEAF_PAGES != 0)
        return 0;
    uint32_t leaf = pool_take(tm->pool, tm->cache, full);
    if (leaf == 0)
        return ERR_OOM;
    if (n == 1) {
        uint32_t root = pool_take(tm->pool, tm->cache, 0);
        if (root != 0) {
            STORE(((_Atomic uint32_t *)pool_ptr(tm->base, root))[0], LOAD(t->one.run[0]));
            STORE(t->one.run[0], root);
        }
        n = root != 0 ? n : 0;
    } else if (grow_root(tm, t, n) != 0) {
        n = 0;
    }
    if (n == 0) {
        pool_give(tm->pool, tm->cache, leaf, full);
        return ERR_OOM;
    }
    STORE(root_of(tm, t)[n], leaf);
    return 0;
}

int table_dir_append(struct table_mem *tm, struct table *t, const struct page *p)
{
    uint32_t npages = table_pages(t);
    int err = npages < TABLE_LEAF_PAGES ? grow_single(tm, t, npages) : grow_leaves(tm, t, npages);
    if (err != 0)
        return err;
    STORE(t->npages, npages + 1);
    page_copy(table_page(tm, t, npages), p);
    return 0;
}

/* ---- and shrinks by one ---- */

static void shrink_single(struct table_mem *tm, struct table *t, uint32_t left)
{
    uint32_t ref = LOAD(t->one.run[0]);
    if (left == 1) {
        page_copy(&t->one, leaf_page(tm, ref, 0));
        pool_give(tm->pool, tm->cache, ref, 0);
    } else if ((left & (left - 1)) == 0) { /* half of it is unused now: a run can be given back in parts */
        pool_give(tm->pool, tm->cache, ref + (1u << leaf_class(left)), leaf_class(left));
    }
}

static void shrink_leaves(struct table_mem *tm, struct table *t, uint32_t left, uint32_t spare_root)
{
    uint32_t n = left / TABLE_LEAF_PAGES, root = LOAD(t->one.run[0]);
    if (left % TABLE_LEAF_PAGES != 0)
        return;
    pool_give(tm->pool, tm->cache, LOAD(root_of(tm, t)[n]), POOL_CLASSES - 1);
    if (n == 1) {
        STORE(t->one.run[0], LOAD(root_of(tm, t)[0]));
        pool_give(tm->pool, tm->cache, root, 0);
    } else if (n == ROOT_REFS_MAX) {
        copy_block(tm, spare_root, root, POOL_CLASSES - 1);
        STORE(t->one.run[0], spare_root);
        give_extent(tm, root);
    } else if (n < ROOT_REFS_MAX && root_class(n) != root_class(n + 1)) {
        pool_give(tm->pool, tm->cache, root + (1u << root_class(n)), root_class(n));
    }
}

/* Drop the last page, which owns nothing any more. spare_root: see table_merge(). */
static void dir_drop(struct table_mem *tm, struct table *t, uint32_t spare_root)
{
    uint32_t left = table_pages(t) - 1;
    if (left < TABLE_LEAF_PAGES)
        shrink_single(tm, t, left);
    else
        shrink_leaves(tm, t, left, spare_root);
    STORE(t->npages, left);
}

/* ---- splitting and merging ---- */

/* Reads every entry of the page, so all of them are asked for first. Stable: order within halves is kept. */
static unsigned partition(const struct table_mem *tm, struct ref *refs, unsigned n, uint64_t bit,
                          struct ref *high)
{
    unsigned low = 0, nhigh = 0;
    for (unsigned i = 0; i < n; i++)
        __builtin_prefetch(ref_entry(tm, refs[i].th, refs[i].lo));
    for (unsigned i = 0; i < n; i++) {
        if (table_entry_hash(tm->seed, ref_entry(tm, refs[i].th, refs[i].lo)) & bit)
            high[nhigh++] = refs[i];
        else
            refs[low++] = refs[i];
    }
    return low;
}

static void table_split(struct table_mem *tm, struct table *t)
{
    struct ref refs[TABLE_PAGE_REFS], high_refs[TABLE_PAGE_REFS];
    uint32_t npages = table_pages(t), half = 1u << (31 - (unsigned)__builtin_clz(npages));
    struct page *low = table_page(tm, t, npages - half), high = {.version = low->version};
    unsigned n = page_gather(tm, low, refs);
    unsigned nlow = partition(tm, refs, n, half, high_refs), nhigh = n - nlow;

    if (page_reshape(tm, &high, page_buckets_for(nhigh), high_refs, nhigh) != 0)
        return;
    if (table_dir_append(tm, t, &high) != 0) {
        (void)page_reshape(tm, &high, 0, NULL, 0);
        return;
    }
    low = table_page(tm, t, npages - half); /* the directory may have moved */
    if (page_reshape(tm, low, page_buckets_for(nlow), refs, nlow) != 0)
        (void)page_reshape(tm, low, LOAD(low->m), refs, nlow); /* in the buckets that it has */
    STORE(tm->splits, LOAD(tm->splits) + 1);
}

static void table_merge(struct table_mem *tm, struct table *t)
{
    struct ref refs[2 * TABLE_PAGE_REFS];
    uint32_t last = table_pages(t) - 1, half = 1u << (31 - (unsigned)__builtin_clz(last)), spare_root = 0;
    struct page *low = table_page(tm, t, last - half), *high = table_page(tm, t, last);
    unsigned n = low->count + high->count;
    if (low->version != high->version) /* saved for a cut or not: a page cannot be both */
        return;
    if (n > TABLE_PAGE_REFS || n > page_limit(page_buckets_for(n)))
        return;
    if (last == (uint32_t)ROOT_REFS_MAX * TABLE_LEAF_PAGES &&
        (spare_root = pool_take(tm->pool, tm->cache, POOL_CLASSES - 1)) == 0)
        return;
    unsigned nlow = page_gather(tm, low, refs);
    page_gather(tm, high, refs + nlow);
    if (page_reshape(tm, low, page_buckets_for(n), refs, n) != 0) {
        if (spare_root != 0)
            pool_give(tm->pool, tm->cache, spare_root, POOL_CLASSES - 1);
        return;
    }
    (void)page_reshape(tm, high, 0, NULL, 0);
    dir_drop(tm, t, spare_root);
    STORE(tm->merges, LOAD(tm->merges) + 1);
}

static uint64_t split_at(uint32_t npages)
{
    return npages <= 1 ? TABLE_FIRST_SPLIT : (uint64_t)npages * TABLE_PAGE_KEYS;
}

void table_adapt(struct table_mem *tm, struct table *t)
{
    uint32_t npages = table_pages(t);
    if (unlikely(t->nkeys > split_at(npages)))
        table_split(tm, t);
    else if (unlikely(npages > 1 && t->nkeys < split_at(npages - 1) * MERGE_PERCENT / 100))
        table_merge(tm, t);
}

static void dir_release(struct table_mem *tm, struct table *t)
{
    uint32_t npages = table_pages(t), root = LOAD(t->one.run[0]);
    if (npages <= 1)
        return;
    if (npages <= TABLE_LEAF_PAGES) {
        pool_give(tm->pool, tm->cache, root, leaf_class(npages));
        return;
    }
    uint32_t n = leaves_of(npages);
    for (uint32_t i = 0; i < n; i++)
        pool_give(tm->pool, tm->cache, LOAD(root_of(tm, t)[i]), POOL_CLASSES - 1);
    if (n > ROOT_REFS_MAX)
        give_extent(tm, root);
    else
        pool_give(tm->pool, tm->cache, root, root_class(n));
}

bool table_release(struct table_mem *tm, struct table *t, uint32_t *page, uint32_t max)
{
    uint32_t npages = table_pages(t);
    for (; *page < npages; ++*page, --max) {
        if (max == 0)
            return false;
        (void)page_reshape(tm, table_page(tm, t, *page), 0, NULL, 0);
    }
    dir_release(tm, t);
    memset(t, 0, sizeof *t);
    return true;
}

/* ---- moving out of sparse pages of the pool ---- */

/* Whoever prefetches through the old reference reads memory that is somebody else's, or nobody's, as ever. */
static void run_pack(struct table_mem *tm, _Atomic uint32_t *run, unsigned class)
{
    uint32_t old = LOAD(*run), ref = pool_take_denser(tm->pool, old, class);
    if (ref == 0)
        return;
    copy_block(tm, ref, old, class);
    STORE(*run, ref);
    pool_give(tm->pool, NULL, old, class);
    STORE(tm->moves, LOAD(tm->moves) + 1);
}

/* Its only block, or its root; full blocks are pages of the pool already. */
static void dir_pack(struct table_mem *tm, struct table *t)
{
    uint32_t npages = table_pages(t), leaves = leaves_of(npages);
    if (npages > 1 && leaves <= ROOT_REFS_MAX)
        run_pack(tm, &t->one.run[0], leaves == 1 ? leaf_class(npages) : root_class(leaves));
}

bool table_pack(struct table_mem *tm, struct table *t, uint32_t *page, uint32_t max)
{
    if (*page == 0)
        dir_pack(tm, t);
    for (; *page < table_pages(t); ++*page, --max) {
        if (max == 0)
            return false;
        struct page *p = table_page(tm, t, *page);
        for (uint32_t left = LOAD(p->m); left != 0; left &= left - 1) {
            unsigned k = (unsigned)__builtin_ctz(left);
            run_pack(tm, &p->run[k], k);
        }
    }
    return true;
}

/* ---- scanning ---- */

static uint32_t reverse_bits(uint32_t v)
{
    v = (v >> 1 & 0x55555555u) | (v & 0x55555555u) << 1;
    v = (v >> 2 & 0x33333333u) | (v & 0x33333333u) << 2;
    v = (v >> 4 & 0x0f0f0f0fu) | (v & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(v);
}

/* The cursor is page << 9 | level << 4 | part. Pages are counted in reversed bits (Pieter Noordhuis's
 * scheme), so that what a split adds comes right after the page it came from, and what a merge removes was
 * visited. A part is a range of tags, and a key's tag never changes, whatever happens to its page. But of a
 * page that has merged with one not yet visited, the first parts must be visited again: the level (log2 of
 * the pages) at which the parts were begun tells. */
bool table_scan(const struct table_mem *tm, struct table *t, uint64_t *cursor, table_visit_fn *visit,
                void *arg)
{
    uint32_t npages = table_pages(t), v = (uint32_t)(*cursor / SCAN_PAGE_ONE);
    unsigned part = (unsigned)(*cursor % TABLE_SCAN_PARTS);
    if (npages == 0)
        return false;
    unsigned level = 31 - (unsigned)__builtin_clz(npages);
    if (level < *cursor / TABLE_SCAN_PARTS % SCAN_LEVELS)
        part = 0;
    uint32_t half = 1u << level, mask = half - 1, low = v & mask;
    if (!page_scan(tm, table_page(tm, t, low), part, visit, arg))
        return true;
    if (low + half < npages && !page_scan(tm, table_page(tm, t, low + half), part, visit, arg))
        return true;
    if (++part == TABLE_SCAN_PARTS) {
        part = 0;
        level = 0;
        v = reverse_bits(reverse_bits(v | ~mask) + 1);
    }
    *cursor = (uint64_t)v * SCAN_PAGE_ONE + level * TABLE_SCAN_PARTS + part;
    return *cursor != 0;
}

/* ---- figures and invariants ---- */

static uint64_t dir_bytes(uint32_t npages)
{
    if (npages <= 1)
        return 0;
    if (npages <= TABLE_LEAF_PAGES)
        return (uint64_t)POOL_UNIT << leaf_class(npages);
    uint32_t n = leaves_of(npages);
    uint64_t root = n <= ROOT_REFS_MAX ? (uint64_t)POOL_UNIT << root_class(n) : REGION_EXTENT;
    return root + (uint64_t)n * POOL_PAGE;
}

static unsigned page_reads(const struct table_mem *tm, const struct page *p)
{
    unsigned m = LOAD(p->m), reads = 0;
    for (unsigned b = 0; b < m; b++) {
        const struct bucket *bk = bucket_at(tm, p, m, b);
        for (uint32_t left = LOAD(bk->meta) & BUCKET_OCCUPIED; left != 0; left &= left - 1) {
            unsigned home = tag_home(LOAD(bk->th[__builtin_ctz(left)]), m);
            reads += 1 + (b >= home ? b - home : b + m - home);
        }
    }
    return reads;
}

void table_stats_add(const struct table_mem *tm, struct table *t, struct table_stats *out)
{
    uint32_t npages = table_pages(t);
    out->keys += t->nkeys;
    out->pages += npages;
    out->bytes += dir_bytes(npages);
    for (uint32_t i = 0; i < npages; i++) {
        const struct page *p = table_page(tm, t, i);
        out->buckets += LOAD(p->m);
        out->bytes += (uint64_t)LOAD(p->m) * POOL_UNIT;
        out->hit_reads += page_reads(tm, p);
    }
}

static void page_check(const struct table_mem *tm, const struct table *t, uint32_t number)
{
    const struct page *p = table_page(tm, t, number);
    unsigned m = LOAD(p->m), count = 0, overflow[TABLE_PAGE_BUCKETS] = {0};
    ASSERT(m <= TABLE_PAGE_BUCKETS && (m == 0) == (p->count == 0));
    for (unsigned b = 0; b < m; b++) {
        for (unsigned i = 0; i < TABLE_BUCKET_REFS; i++) {
            const struct entry *e = table_at(tm, p, b, i);
            if (e == NULL)
                continue;
            uint64_t hash = table_entry_hash(tm->seed, e);
            uint16_t th = LOAD(bucket_at(tm, p, m, b)->th[i]);
            ASSERT((th & 0xfff0) == hash_tag(hash));
            ASSERT(page_number(table_pages(t), hash) == number);
            for (unsigned c = tag_home(th, m); c != b; c = c + 1 == m ? 0 : c + 1)
                overflow[c]++;
            count++;
        }
    }
    for (unsigned b = 0; b < m; b++)
        ASSERT(LOAD(bucket_at(tm, p, m, b)->meta) >> BUCKET_OVERFLOW_SHIFT == overflow[b]);
    ASSERT(count == p->count);
}

void table_check(const struct table_mem *tm, struct table *t)
{
    uint64_t keys = 0;
    for (uint32_t i = 0; i < table_pages(t); i++) {
        page_check(tm, t, i);
        keys += table_page(tm, t, i)->count;
    }
    ASSERT(keys == t->nkeys);
}
