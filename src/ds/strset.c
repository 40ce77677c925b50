#include "ds/strset_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"

#include <string.h>

enum {
    LEAF_PAGES = 255, /* with its head: 2 KB */
    LEAF_FIRST = 7,
    SPLIT_LOAD = 32, /* members a page on average, beyond which one is split ... */
    MERGE_LOAD = 10, /* ... and below which two are merged */
    TAG_SHIFT = 56,
    CURSOR_SHIFT = 16,
    PAGES_MAX = 1 << 30,
};

struct strset_leaf {
    _Atomic uint32_t refs;
    uint32_t cap; /* pages that there is room for */
    struct strset_page *pages[];
};
_Static_assert(sizeof(struct strset_leaf) + LEAF_PAGES * sizeof(void *) <= 2048, "a leaf fits 2 KB");

static uint64_t hash_of(const struct strset *s, struct str member)
{
    return hash_seeded(member.p, member.n, &s->seed);
}

/* ---- which page ------------------------------------------------------------------------ */

/* The largest power of two that is not more than m. */
static uint32_t level_of(uint32_t m)
{
    return 1u << (31 - __builtin_clz(m));
}

static uint32_t page_for(const struct strset *s, uint64_t hash)
{
    uint32_t low = level_of(s->npages), at = (uint32_t)hash & (2 * low - 1);
    return at < s->npages ? at : at & (low - 1);
}

static struct strset_page **slot_of_page(const struct strset *s, uint32_t i)
{
    DEBUG_ASSERT(i < s->npages);
    return &s->leaves[i / LEAF_PAGES]->pages[i % LEAF_PAGES];
}

static const struct strset_page *page_at(const struct strset *s, uint32_t i)
{
    return *slot_of_page(s, i);
}

/* ---- leaves ------------------------------------------------------------------------------ */

static size_t leaf_bytes(uint32_t cap)
{
    return sizeof(struct strset_leaf) + cap * sizeof(struct strset_page *);
}

static uint32_t pages_in_leaf(const struct strset *s, uint32_t leaf)
{
    uint32_t left = s->npages - leaf * LEAF_PAGES;
    return left < LEAF_PAGES ? left : LEAF_PAGES;
}

static bool leaf_is_private(const struct strset_leaf *l)
{
    return atomic_load_explicit(&l->refs, memory_order_acquire) == 1;
}

/* n pages of it are in use. */
static void leaf_put(struct strset_leaf *l, uint32_t n)
{
    if (atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < n; i++)
        if (l->pages[i] != NULL)
            page_put(l->pages[i]);
    mem_free(l);
}

/* A private twin, whose pages are shared. */
static int leaf_own(struct strset *s, uint32_t leaf)
{
    struct strset_leaf *old = s->leaves[leaf];
    if (likely(leaf_is_private(old)))
        return 0;
    uint32_t n = pages_in_leaf(s, leaf);
    struct strset_leaf *twin = mem_alloc(leaf_bytes(old->cap));
    if (twin == NULL)
        return ERR_OOM;
    atomic_init(&twin->refs, 1);
    twin->cap = old->cap;
    for (uint32_t i = 0; i < n; i++) {
        twin->pages[i] = old->pages[i];
        if (twin->pages[i] != NULL)
            atomic_fetch_add_explicit(&twin->pages[i]->refs, 1, memory_order_relaxed);
    }
    s->leaves[leaf] = twin;
    leaf_put(old, n);
    return 0;
}

/* The page's place, with leaf and page private. NULL when memory is short. */
static struct strset_page **own_page(struct strset *s, uint32_t i)
{
    if (unlikely(strset_is_shared(s)) && leaf_own(s, i / LEAF_PAGES) != 0)
        return NULL;
    struct strset_page **slot = slot_of_page(s, i);
    if (unlikely(strset_is_shared(s)) && *slot != NULL && !page_is_private(*slot) &&
        page_own(slot, &s->bytes) != 0)
        return NULL;
    return slot;
}

static bool add_leaf(struct strset *s)
{
    if (s->nleaves == s->leaves_cap) {
        uint32_t cap = s->leaves_cap == 0 ? 1 : s->leaves_cap * 2;
        struct strset_leaf **more = mem_realloc(s->leaves, cap * sizeof *more);
        if (more == NULL)
            return false;
        s->bytes += (uint64_t)(cap - s->leaves_cap) * sizeof *more;
        s->leaves = more;
        s->leaves_cap = cap;
    }
    uint32_t cap = s->nleaves == 0 ? LEAF_FIRST : LEAF_PAGES;
    struct strset_leaf *l = mem_alloc(leaf_bytes(cap));
    if (l == NULL)
        return false;
    atomic_init(&l->refs, 1);
    l->cap = cap;
    s->leaves[s->nleaves++] = l;
    s->bytes += leaf_bytes(cap);
    return true;
}

/* Room for one page more in the directory, its leaf private. */
static bool make_room(struct strset *s)
{
    uint32_t leaf = s->npages / LEAF_PAGES, at = s->npages % LEAF_PAGES;
    if (s->npages == PAGES_MAX)
        return false;
    if (leaf == s->nleaves)
        return add_leaf(s);
    if (leaf_own(s, leaf) != 0)
        return false;
    struct strset_leaf *l = s->leaves[leaf];
    if (at < l->cap)
        return true;
    uint32_t was = l->cap, cap = was * 2 + 1 < LEAF_PAGES ? was * 2 + 1 : LEAF_PAGES;
    l = mem_realloc(l, leaf_bytes(cap));
    if (l == NULL)
        return false;
    l->cap = cap;
    s->leaves[leaf] = l;
    s->bytes += leaf_bytes(cap) - leaf_bytes(was);
    return true;
}

static void drop_last_leaf(struct strset *s)
{
    struct strset_leaf *l = s->leaves[--s->nleaves];
    s->bytes -= leaf_bytes(l->cap);
    leaf_put(l, 0);
}

/* ---- life --------------------------------------------------------------------------------- */

void strset_init(struct strset *s, const struct hash_seed *seed)
{
    memset(s, 0, sizeof *s);
    s->seed = *seed;
}

bool strset_free_step(struct strset *s, uint64_t *budget)
{
    while (s->nleaves > 0) {
        if (*budget == 0)
            return false;
        uint32_t leaf = s->nleaves - 1, n = pages_in_leaf(s, leaf);
        *budget -= *budget > n ? n + 1 : *budget;
        leaf_put(s->leaves[leaf], n);
        s->nleaves = leaf;
        s->npages = leaf * LEAF_PAGES;
    }
    mem_free(s->leaves);
    const struct hash_seed seed = s->seed;
    strset_init(s, &seed);
    return true;
}

int strset_copy(struct strset *to, struct strset *s)
{
    struct strset_leaf **leaves = mem_alloc((size_t)s->leaves_cap * sizeof *leaves);
    if (leaves == NULL)
        return ERR_OOM;
    atomic_store_explicit(&s->shared, true, memory_order_relaxed);
    *to = (struct strset){.seed = s->seed,
                          .count = s->count,
                          .bytes = s->bytes,
                          .leaves = leaves,
                          .npages = s->npages,
                          .nleaves = s->nleaves,
                          .leaves_cap = s->leaves_cap,
                          .largest = s->largest};
    atomic_init(&to->shared, true);
    for (uint32_t i = 0; i < s->nleaves; i++) {
        leaves[i] = s->leaves[i];
        atomic_fetch_add_explicit(&leaves[i]->refs, 1, memory_order_relaxed);
    }
    return 0;
}

/* ---- splitting and merging ------------------------------------------------------------------ */

struct sorter {
    const struct strset *s;
    uint64_t bit;
    uint8_t *moves;
    uint32_t n;
};

static bool sort_member(void *arg, struct str member)
{
    struct sorter *t = arg;
    t->moves[t->n++] = (hash_of(t->s, member) & t->bit) != 0;
    return true;
}

/* One page more, made from what the one in turn gives. Best effort: when memory is short, pages are
 * fuller than they should be, until the next time. */
static void split_one(struct strset *s)
{
    uint32_t low = level_of(s->npages), from = s->npages - low;
    struct strset_page **slot = own_page(s, from), *fresh = NULL;
    if (slot == NULL || !make_room(s))
        return;
    slot = slot_of_page(s, from); /* its leaf may have moved */
    if (*slot != NULL) {
        uint8_t few[4 * SPLIT_LOAD];
        uint8_t *moves = (*slot)->n <= sizeof few ? few : mem_alloc((*slot)->n);
        struct sorter t = {.s = s, .bit = low, .moves = moves};
        int err = moves == NULL ? ERR_OOM : 0;
        if (err == 0) {
            page_visit(*slot, sort_member, &t);
            err = page_move(slot, &fresh, moves, &s->bytes);
        }
        if (moves != few)
            mem_free(moves);
        if (err != 0) {
            if (s->npages == (s->nleaves - 1) * LEAF_PAGES)
                drop_last_leaf(s);
            return;
        }
    }
    s->npages++;
    *slot_of_page(s, s->npages - 1) = fresh;
}

static void merge_one(struct strset *s)
{
    uint32_t last = s->npages - 1, low = level_of(last), into = last - low;
    struct strset_page **to = own_page(s, into), **from = own_page(s, last);
    if (to == NULL || from == NULL)
        return;
    if (*from != NULL) {
        uint8_t few[4 * SPLIT_LOAD];
        uint32_t n = (*from)->n;
        if (n > sizeof few)
            return; /* far fuller than the average: the next time */
        memset(few, 1, n);
        if (page_move(from, to, few, &s->bytes) != 0)
            return;
        if ((*to)->n > s->largest)
            s->largest = (*to)->n;
    }
    s->npages--;
    if (s->npages == (s->nleaves - 1) * LEAF_PAGES)
        drop_last_leaf(s);
}

/* ---- members ---------------------------------------------------------------------------------- */

bool strset_has(const struct strset *s, struct str member)
{
    if (s->count == 0)
        return false;
    uint64_t hash = hash_of(s, member);
    const struct strset_page *p = page_at(s, page_for(s, hash));
    return p != NULL && page_find(p, member, (uint8_t)(hash >> TAG_SHIFT)) >= 0;
}

int strset_add(struct strset *s, struct str member)
{
    if (unlikely(s->npages == 0)) {
        if (!make_room(s))
            return ERR_OOM;
        s->leaves[0]->pages[0] = NULL;
        s->npages = 1;
    }
    uint64_t hash = hash_of(s, member);
    uint8_t tag = (uint8_t)(hash >> TAG_SHIFT);
    uint32_t at = page_for(s, hash);
    const struct strset_page *p = page_at(s, at);
    if (p != NULL && page_find(p, member, tag) >= 0)
        return 0;
    struct strset_page **slot = own_page(s, at);
    if (slot == NULL || page_append(slot, member, tag, &s->bytes) != 0)
        return ERR_OOM;
    s->count++;
    if ((*slot)->n > s->largest)
        s->largest = (*slot)->n;
    if (s->count > (uint64_t)s->npages * SPLIT_LOAD)
        split_one(s);
    return 1;
}

int strset_remove_at(struct strset *s, struct strset_at at)
{
    struct strset_page **slot = own_page(s, at.page);
    if (slot == NULL)
        return ERR_OOM;
    page_remove(slot, at.index, &s->bytes);
    s->count--;
    if (s->npages > 1 && s->count < (uint64_t)s->npages * MERGE_LOAD)
        merge_one(s);
    return 1;
}

int strset_remove(struct strset *s, struct str member)
{
    if (s->count == 0)
        return 0;
    uint64_t hash = hash_of(s, member);
    uint32_t at = page_for(s, hash);
    const struct strset_page *p = page_at(s, at);
    int64_t i = p != NULL ? page_find(p, member, (uint8_t)(hash >> TAG_SHIFT)) : -1;
    return i < 0 ? 0 : strset_remove_at(s, (struct strset_at){at, (uint32_t)i});
}

struct str strset_member(const struct strset *s, struct strset_at at)
{
    return page_member(page_at(s, at.page), at.index);
}

/* Pages differ in what they hold: a place is drawn from as many as the fullest page ever had, and drawn
 * again when nothing is there. */
struct strset_at strset_random(const struct strset *s, struct rng *rng)
{
    ASSERT(s->count > 0);
    for (;;) {
        struct strset_at at = {(uint32_t)rng_below(rng, s->npages), (uint32_t)rng_below(rng, s->largest)};
        const struct strset_page *p = page_at(s, at.page);
        if (p != NULL && at.index < p->n)
            return at;
    }
}

/* ---- walking ------------------------------------------------------------------------------------ */

bool strset_visit_page(const struct strset *s, uint32_t page, strset_visit_fn *visit, void *arg)
{
    const struct strset_page *p = page_at(s, page);
    return p == NULL || page_visit(p, visit, arg);
}

static uint64_t reverse(uint64_t v)
{
    v = __builtin_bswap64(v);
    v = (v & 0x0f0f0f0f0f0f0f0fULL) << 4 | (v >> 4 & 0x0f0f0f0f0f0f0f0fULL);
    v = (v & 0x3333333333333333ULL) << 2 | (v >> 2 & 0x3333333333333333ULL);
    return (v & 0x5555555555555555ULL) << 1 | (v >> 1 & 0x5555555555555555ULL);
}

/* The position where the interval of the page ends; 0 = the end of all. */
static uint64_t end_of_page(const struct strset *s, uint32_t page, uint64_t at)
{
    uint32_t low = level_of(s->npages);
    unsigned bits = (unsigned)__builtin_ctz(low) + (page >= low || page < s->npages - low);
    return bits == 0 ? 0 : ((at >> (64 - bits)) + 1) << (64 - bits);
}

void strset_scan(const struct strset *s, uint64_t *cursor, uint64_t count, strset_visit_fn *visit, void *arg)
{
    uint64_t at = *cursor << CURSOR_SHIFT, seen = 0;
    if (s->npages == 0)
        at = 0;
    else
        do {
            uint32_t page = page_for(s, reverse(at));
            const struct strset_page *p = page_at(s, page);
            seen += p != NULL ? p->n : 0;
            bool go_on = p == NULL || page_visit(p, visit, arg);
            at = end_of_page(s, page, at);
            if (!go_on)
                break;
        } while (at != 0 && seen < count);
    *cursor = at >> CURSOR_SHIFT;
}

#ifdef LARDER_DEBUG
struct check {
    const struct strset *s;
    uint32_t page;
    const struct strset_page *p;
    uint32_t i;
};

static bool check_member(void *arg, struct str member)
{
    struct check *c = arg;
    uint64_t hash = hash_of(c->s, member);
    ASSERT(page_for(c->s, hash) == c->page);
    ASSERT(page_tag(c->p, c->i) == (uint8_t)(hash >> TAG_SHIFT));
    c->i++;
    return true;
}
#endif

void strset_check(const struct strset *s)
{
#ifdef LARDER_DEBUG
    uint64_t count = 0, bytes = (uint64_t)s->leaves_cap * sizeof *s->leaves;
    ASSERT(s->nleaves <= s->leaves_cap);
    ASSERT((s->npages + LEAF_PAGES - 1) / LEAF_PAGES == s->nleaves);
    for (uint32_t i = 0; i < s->nleaves; i++)
        bytes += leaf_bytes(s->leaves[i]->cap);
    for (uint32_t i = 0; i < s->npages; i++) {
        struct check c = {.s = s, .page = i, .p = page_at(s, i)};
        if (c.p == NULL)
            continue;
        ASSERT(c.p->n > 0 && c.p->n <= s->largest);
        page_visit(c.p, check_member, &c);
        count += c.p->n;
        bytes += page_bytes(c.p);
    }
    ASSERT(count == s->count && bytes == s->bytes);
#endif
}
