/* The buckets of one page: search, insertion, removal, and changing their number. */
#include "store/table.h"

#include "base/err.h"
#include "store/table_internal.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Bit i: reference i is occupied and has this tag. */
static ALWAYS_INLINE uint32_t bucket_match(const struct bucket *b, uint32_t meta, uint16_t tag)
{
#ifdef __SSE2__
    const __m128i mask = _mm_set1_epi16((short)0xfff0), want = _mm_set1_epi16((short)tag);
    __m128i lo = _mm_loadu_si128((const __m128i *)(const void *)b->th);
    __m128i hi = _mm_cvtsi32_si128((int)entry_load_u32((const char *)b->th + 16));
    lo = _mm_cmpeq_epi16(_mm_and_si128(lo, mask), want);
    hi = _mm_cmpeq_epi16(_mm_and_si128(hi, mask), want);
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(lo, hi)) & meta & BUCKET_OCCUPIED;
#else
    uint32_t found = 0;
    for (unsigned i = 0; i < TABLE_BUCKET_REFS; i++)
        found |= (uint32_t)((LOAD(b->th[i]) & 0xfff0) == tag) << i;
    return found & meta & BUCKET_OCCUPIED;
#endif
}

static inline unsigned next_bucket(unsigned b, unsigned m)
{
    return b + 1 == m ? 0 : b + 1;
}

static ALWAYS_INLINE uint64_t load_u64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* memcmp() == 0 for the lengths that keys have, without the call. */
static ALWAYS_INLINE bool bytes_equal(const char *a, const char *b, size_t n)
{
    if (likely(n - 16 <= 32 - 16)) { /* two halves that overlap */
        uint64_t front = (load_u64(a) ^ load_u64(b)) | (load_u64(a + 8) ^ load_u64(b + 8));
        uint64_t back =
            (load_u64(a + n - 16) ^ load_u64(b + n - 16)) | (load_u64(a + n - 8) ^ load_u64(b + n - 8));
        return (front | back) == 0;
    }
    if (unlikely(n < 8 || n > 64))
        return memcmp(a, b, n) == 0;
    uint64_t differ = load_u64(a + n - 8) ^ load_u64(b + n - 8);
    for (size_t i = 0; i + 8 < n; i += 8)
        differ |= load_u64(a + i) ^ load_u64(b + i);
    return differ == 0;
}

/* Is this the entry of that key? The usual entry tells by its header word alone where its key is. */
static ALWAYS_INLINE bool entry_is(const struct entry *e, struct str key, uint32_t db)
{
    uint32_t word = entry_word(e);
    if (unlikely(word & ENTRY_LONG)) {
        struct str own = entry_key(e);
        return own.n == key.n && memcmp(own.p, key.p, key.n) == 0 && entry_db(e) == db;
    }
    if (((word >> ENTRY_KLEN_SHIFT) & ENTRY_KLEN_MAX) != key.n)
        return false;
    const char *at =
        (const char *)e + sizeof(uint32_t) + (word & ENTRY_TTL ? 8 : 0) + (word & ENTRY_CLOCK ? 4 : 0);
    if (unlikely(word & (ENTRY_DB | ENTRY_EXT))) {
        if ((word & ENTRY_DB ? entry_load_u32(at) : 0) != db)
            return false;
        at += word & ENTRY_DB ? sizeof(uint32_t) : 0;
        at += word & ENTRY_EXT ? entry_ext_room(at) : 0;
    } else if (db != 0) {
        return false;
    }
    return bytes_equal(at, key.p, key.n);
}

struct entry *table_find(const struct table_mem *tm, struct table *t, uint64_t hash, struct str key,
                         uint32_t db, struct table_pos *pos)
{
    struct page *p = table_page(tm, t, page_number(table_pages(t), hash));
    unsigned m = LOAD(p->m);
    uint16_t tag = hash_tag(hash);
    unsigned b = tag_home(tag, m);
    for (unsigned n = 0; n < m; n++, b = next_bucket(b, m)) {
        struct bucket *bk = bucket_at(tm, p, m, b);
        uint32_t meta = LOAD(bk->meta);
        for (uint32_t found = bucket_match(bk, meta, tag); found != 0; found &= found - 1) {
            unsigned i = (unsigned)__builtin_ctz(found);
            struct entry *e = ref_entry(tm, LOAD(bk->th[i]), LOAD(bk->lo[i]));
            if (likely(entry_is(e, key, db))) {
                *pos = (struct table_pos){p, bk, (uint8_t)b, (uint8_t)i};
                return e;
            }
        }
        if (likely((meta & BUCKET_OVERFLOW_MASK) == 0))
            return NULL;
    }
    return NULL;
}

bool table_find_entry(const struct table_mem *tm, struct table *t, uint64_t hash, const struct entry *e,
                      struct table_pos *pos)
{
    struct page *p = table_page(tm, t, page_number(table_pages(t), hash));
    unsigned m = LOAD(p->m);
    struct ref want = ref_to(tm, hash, e);
    unsigned b = tag_home(want.th, m);
    for (unsigned n = 0; n < m; n++, b = next_bucket(b, m)) {
        struct bucket *bk = bucket_at(tm, p, m, b);
        uint32_t meta = LOAD(bk->meta);
        for (uint32_t left = meta & BUCKET_OCCUPIED; left != 0; left &= left - 1) {
            unsigned i = (unsigned)__builtin_ctz(left);
            if (LOAD(bk->lo[i]) == want.lo && LOAD(bk->th[i]) == want.th) {
                *pos = (struct table_pos){p, bk, (uint8_t)b, (uint8_t)i};
                return true;
            }
        }
        if ((meta & BUCKET_OVERFLOW_MASK) == 0)
            return false;
    }
    return false;
}

static void bucket_set(struct bucket *bk, unsigned i, struct ref ref)
{
    STORE(bk->th[i], ref.th);
    STORE(bk->lo[i], ref.lo);
    STORE(bk->meta, LOAD(bk->meta) | 1u << i);
}

/* There is a free place somewhere in the page. */
static void page_place(const struct table_mem *tm, struct page *p, struct ref ref)
{
    unsigned m = LOAD(p->m), b = tag_home(ref.th, m);
    for (unsigned n = 0; n < m; n++, b = next_bucket(b, m)) {
        struct bucket *bk = bucket_at(tm, p, m, b);
        uint32_t meta = LOAD(bk->meta), room = ~meta & BUCKET_OCCUPIED;
        if (room != 0) {
            bucket_set(bk, (unsigned)__builtin_ctz(room), ref);
            p->count++;
            return;
        }
        STORE(bk->meta, meta + BUCKET_OVERFLOW_ONE);
    }
    ASSERT(!"a page with room has a bucket with room");
}

/* Copy all references, in bucket order. refs has room for TABLE_PAGE_REFS. */
unsigned page_gather(const struct table_mem *tm, const struct page *p, struct ref *refs)
{
    unsigned n = 0, m = LOAD(p->m);
    for (unsigned b = 0; b < m; b++) {
        const struct bucket *bk = bucket_at(tm, p, m, b);
        for (uint32_t left = LOAD(bk->meta) & BUCKET_OCCUPIED; left != 0; left &= left - 1) {
            unsigned i = (unsigned)__builtin_ctz(left);
            refs[n++] = (struct ref){LOAD(bk->lo[i]), LOAD(bk->th[i])};
        }
    }
    DEBUG_ASSERT(n == p->count);
    return n;
}

/* Overwrite the m buckets of the page with these references. */
static void page_fill(const struct table_mem *tm, struct page *p, unsigned m, const struct ref *refs,
                      unsigned n)
{
    struct bucket *bucket[TABLE_PAGE_BUCKETS];
    uint8_t used[TABLE_PAGE_BUCKETS] = {0};
    uint16_t overflow[TABLE_PAGE_BUCKETS] = {0};
    for (unsigned b = 0; b < m; b++)
        bucket[b] = bucket_at(tm, p, m, b);
    for (unsigned r = 0; r < n; r++) {
        unsigned b = tag_home(refs[r].th, m);
        while (unlikely(used[b] == TABLE_BUCKET_REFS)) {
            overflow[b]++;
            b = next_bucket(b, m);
        }
        unsigned i = used[b]++;
        STORE(bucket[b]->th[i], refs[r].th);
        STORE(bucket[b]->lo[i], refs[r].lo);
    }
    for (unsigned b = 0; b < m; b++)
        STORE(bucket[b]->meta, ((1u << used[b]) - 1) | (uint32_t)overflow[b] << BUCKET_OVERFLOW_SHIFT);
    p->count = (uint16_t)n;
}

/* Give the page m buckets that hold exactly refs, which were copied out of it before if they were
 * its own. 0, or ERR_OOM with nothing changed; cannot fail when m stays the same or becomes 0. */
int page_reshape(struct table_mem *tm, struct page *p, unsigned m, const struct ref *refs, unsigned n)
{
    unsigned old = LOAD(p->m), take = m & ~old, give = old & ~m;
    uint32_t run[5] = {0};
    DEBUG_ASSERT(n <= m * TABLE_BUCKET_REFS);
    for (unsigned k = 0; k < 5; k++) {
        if (!(take >> k & 1))
            continue;
        run[k] = pool_take(tm->pool, tm->cache, k);
        if (run[k] == 0) {
            while (k-- > 0)
                if (take >> k & 1)
                    pool_give(tm->pool, tm->cache, run[k], k);
            return ERR_OOM;
        }
    }
    for (unsigned k = 0; k < 5; k++) {
        if (give >> k & 1)
            pool_give(tm->pool, tm->cache, LOAD(p->run[k]), k);
        if (take >> k & 1)
            STORE(p->run[k], run[k]);
    }
    STORE(p->m, (uint8_t)m);
    page_fill(tm, p, m, refs, n);
    return 0;
}

static int page_resize(struct table_mem *tm, struct page *p, unsigned m)
{
    struct ref refs[TABLE_PAGE_REFS];
    unsigned n = page_gather(tm, p, refs);
    return page_reshape(tm, p, m, refs, n);
}

int table_insert(struct table_mem *tm, struct table *t, uint64_t hash, const struct entry *e)
{
    struct page *p = table_page(tm, t, page_number(table_pages(t), hash));
    unsigned m = LOAD(p->m);
    if (unlikely(p->count >= page_limit(m))) {
        bool full = p->count >= m * TABLE_BUCKET_REFS;
        if (m == TABLE_PAGE_BUCKETS ? full : page_resize(tm, p, m + 1) != 0 && full)
            return ERR_OOM;
    }
    page_place(tm, p, ref_to(tm, hash, e));
    if (unlikely(table_pages(t) == 0))
        STORE(t->npages, 1);
    t->nkeys++;
    table_adapt(tm, t);
    return 0;
}

void table_replace(const struct table_mem *tm, const struct table_pos *pos, const struct entry *e)
{
    uint64_t at = (uint64_t)((const char *)e - tm->base) / ENTRY_UNIT;
    uint16_t th = LOAD(pos->bucket->th[pos->i]);
    STORE(pos->bucket->th[pos->i], (uint16_t)((th & 0xfff0) | at >> 32));
    STORE(pos->bucket->lo[pos->i], (uint32_t)at);
}

/* A reference leaves bucket `to`, or moves up to `from`: those on its way have one less passing by. */
static void forget_overflow(const struct table_mem *tm, struct page *p, unsigned m, unsigned from,
                            unsigned to)
{
    for (unsigned b = from; b != to; b = next_bucket(b, m)) {
        struct bucket *bk = bucket_at(tm, p, m, b);
        DEBUG_ASSERT((LOAD(bk->meta) & BUCKET_OVERFLOW_MASK) != 0);
        STORE(bk->meta, LOAD(bk->meta) - BUCKET_OVERFLOW_ONE);
    }
}

/* The first reference behind bucket b that passed it on its way. */
static bool find_displaced(const struct table_mem *tm, struct page *p, unsigned b, struct table_pos *out)
{
    unsigned m = LOAD(p->m), c = b;
    for (unsigned distance = 1; distance < m; distance++) {
        c = next_bucket(c, m);
        struct bucket *bk = bucket_at(tm, p, m, c);
        for (uint32_t left = LOAD(bk->meta) & BUCKET_OCCUPIED; left != 0; left &= left - 1) {
            unsigned i = (unsigned)__builtin_ctz(left), home = tag_home(LOAD(bk->th[i]), m);
            unsigned came = c >= home ? c - home : c + m - home;
            if (came >= distance) {
                *out = (struct table_pos){p, bk, (uint8_t)c, (uint8_t)i};
                return true;
            }
        }
    }
    return false;
}

/* Empty a place, then let a displaced reference have it, and so on: churn leaves no long searches. */
static void page_remove(const struct table_mem *tm, struct table_pos pos)
{
    struct page *p = pos.page;
    struct table_pos from;
    unsigned m = LOAD(p->m);
    forget_overflow(tm, p, m, tag_home(LOAD(pos.bucket->th[pos.i]), m), pos.b);
    STORE(pos.bucket->meta, LOAD(pos.bucket->meta) & ~(1u << pos.i));
    p->count--;
    while (unlikely((LOAD(pos.bucket->meta) & BUCKET_OVERFLOW_MASK) != 0) &&
           find_displaced(tm, p, pos.b, &from)) {
        struct ref ref = {LOAD(from.bucket->lo[from.i]), LOAD(from.bucket->th[from.i])};
        bucket_set(pos.bucket, pos.i, ref);
        STORE(from.bucket->meta, LOAD(from.bucket->meta) & ~(1u << from.i));
        forget_overflow(tm, p, m, pos.b, from.b);
        pos = from;
    }
}

void table_remove(struct table_mem *tm, struct table *t, const struct table_pos *pos)
{
    struct page *p = pos->page;
    unsigned m = LOAD(p->m);
    ASSERT(t->nkeys > 0 && p->count > 0);
    page_remove(tm, *pos);
    t->nkeys--;
    if (p->count == 0)
        (void)page_reshape(tm, p, 0, NULL, 0);
    else if (m > 1 && p->count + 5 + m / 2 <= page_limit(m - 1))
        (void)page_resize(tm, p, m - 1); /* fails: stays larger */
    table_adapt(tm, t);
}

struct entry *table_at(const struct table_mem *tm, const struct page *p, uint32_t bucket, uint32_t ref)
{
    const struct bucket *bk = bucket_at(tm, p, LOAD(p->m), bucket);
    if (!(LOAD(bk->meta) >> ref & 1))
        return NULL;
    return ref_entry(tm, LOAD(bk->th[ref]), LOAD(bk->lo[ref]));
}

bool page_scan(const struct table_mem *tm, const struct page *p, unsigned part, table_visit_fn *visit,
               void *arg)
{
    enum { TAGS = (1 << TABLE_TAG_BITS) / TABLE_SCAN_PARTS };
    unsigned m = LOAD(p->m), first = part * TAGS * m >> TABLE_TAG_BITS;
    unsigned last = ((part + 1) * TAGS - 1) * m >> TABLE_TAG_BITS, b = first;
    for (unsigned n = 0; n < m; n++, b = next_bucket(b, m)) {
        const struct bucket *bk = bucket_at(tm, p, m, b);
        uint32_t meta = LOAD(bk->meta);
        for (uint32_t left = meta & BUCKET_OCCUPIED; left != 0; left &= left - 1) {
            unsigned i = (unsigned)__builtin_ctz(left);
            uint16_t th = LOAD(bk->th[i]);
            if ((unsigned)(th >> 4) / TAGS == part && !visit(arg, ref_entry(tm, th, LOAD(bk->lo[i]))))
                return false;
        }
        if (n >= last - first && (meta & BUCKET_OVERFLOW_MASK) == 0)
            break;
    }
    return true;
}

/* ---- without the lock ---- */

#ifdef LARDER_TSAN
#define UNLOCKED NO_ASAN __attribute__((no_sanitize("thread")))
#else
#define UNLOCKED NO_ASAN
#endif

/* NULL when it lies outside a reservation smaller than the references can name. */
UNLOCKED static const void *unlocked_ptr(const struct table_mem *tm, uint32_t ref)
{
    uint64_t at = (uint64_t)ref * POOL_UNIT;
    return likely(at + POOL_PAGE <= tm->size) ? tm->base + at : NULL;
}

/* The page of this hash, or NULL; the table's header has been fetched. */
UNLOCKED static const struct page *unlocked_page(const struct table_mem *tm, const struct table *t,
                                                 uint64_t hash)
{
    uint32_t npages = LOAD(t->npages), number = page_number(npages, hash);
    const char *dir = unlocked_ptr(tm, LOAD(t->one.run[0]));
    if (dir == NULL)
        return NULL;
    if (npages > TABLE_LEAF_PAGES) {
        const char *ref = dir + (size_t)number / TABLE_LEAF_PAGES * sizeof(uint32_t);
        if ((uint64_t)(ref - tm->base) >= tm->size)
            return NULL;
        dir = unlocked_ptr(tm, LOAD(*(const _Atomic uint32_t *)(const void *)ref));
        number %= TABLE_LEAF_PAGES;
        if (dir == NULL)
            return NULL;
    }
    return (const struct page *)(const void *)(dir + (size_t)number * TABLE_PAGE_STRIDE);
}

UNLOCKED static const struct bucket *unlocked_bucket(const struct table_mem *tm, const struct page *p,
                                                     uint64_t hash)
{
    unsigned m = LOAD(p->m);
    if (unlikely(m == 0 || m > TABLE_PAGE_BUCKETS))
        return NULL;
    unsigned i = tag_home(hash_tag(hash), m), k = 31 - (unsigned)__builtin_clz(i ^ m);
    return unlocked_ptr(tm, LOAD(p->run[k]) + (i & ((1u << k) - 1)));
}

UNLOCKED static uint32_t unlocked_match(const struct bucket *bk, uint16_t tag)
{
#if defined(LARDER_TSAN) || defined(LARDER_ASAN)
    uint32_t found = 0; /* an instrumented function cannot be inlined here */
    for (unsigned i = 0; i < TABLE_BUCKET_REFS; i++)
        found |= (uint32_t)((LOAD(bk->th[i]) & 0xfff0) == tag) << i;
    return found & LOAD(bk->meta);
#else
    return bucket_match(bk, LOAD(bk->meta), tag);
#endif
}

/* Two lines of each: the header, the key and the front of the value. */
UNLOCKED static void prefetch_entries(const struct table_mem *tm, const struct bucket *bk, uint64_t hash)
{
    for (uint32_t found = unlocked_match(bk, hash_tag(hash)); found != 0; found &= found - 1) {
        unsigned i = (unsigned)__builtin_ctz(found) % TABLE_BUCKET_REFS;
        const char *e = (const char *)ref_entry(tm, LOAD(bk->th[i]), LOAD(bk->lo[i]));
        __builtin_prefetch(e);
        __builtin_prefetch(e + CACHE_LINE);
    }
}

UNLOCKED bool table_approach(const struct table_mem *tm, struct table_near *near, uint64_t hash)
{
    const void *next = NULL;
    switch (near->stage) {
    case NEAR_TABLE: {
        const struct table *t = near->at;
        bool single = likely(LOAD(t->npages) <= 1);
        next = single ? (const void *)unlocked_bucket(tm, &t->one, hash) : unlocked_page(tm, t, hash);
        near->stage = single ? NEAR_BUCKET : NEAR_PAGE;
        break;
    }
    case NEAR_PAGE:
        next = unlocked_bucket(tm, near->at, hash);
        near->stage = NEAR_BUCKET;
        break;
    case NEAR_BUCKET:
        prefetch_entries(tm, near->at, hash);
        near->stage = NEAR_DONE;
        return false;
    case NEAR_DONE: return false;
    }
    if (next == NULL)
        near->stage = NEAR_DONE;
    else
        __builtin_prefetch(next);
    near->at = next;
    return next != NULL;
}
