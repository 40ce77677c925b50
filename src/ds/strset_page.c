#include "ds/strset_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"

#include <string.h>

enum { SHRINK_SHARE = 2, SHRINK_MIN = 256 };

struct long_member {
    _Atomic uint32_t refs;
    size_t n;
    char data[];
};

static struct long_member *long_new(struct str s)
{
    struct long_member *l = mem_alloc(sizeof *l + s.n);
    if (l == NULL)
        return NULL;
    atomic_init(&l->refs, 1);
    l->n = s.n;
    memcpy(l->data, s.p, s.n);
    return l;
}

static void long_put(struct long_member *l)
{
    if (atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) == 1)
        mem_free(l);
}

/* ---- where things are ---------------------------------------------------------------- */

static inline const uint8_t *lengths(const struct strset_page *p)
{
    return p->data + p->n;
}

static inline const char *members(const struct strset_page *p)
{
    return (const char *)p->data + 2 * (size_t)p->n;
}

static inline uint32_t stored(uint8_t length)
{
    return length == PAGE_LENGTH_LONG ? (uint32_t)sizeof(void *) : length;
}

static size_t need(uint32_t n, size_t used)
{
    return sizeof(struct strset_page) + 2 * (size_t)n + used;
}

static uint32_t offset_of(const struct strset_page *p, uint32_t i)
{
    const uint8_t *len = lengths(p);
    uint32_t at = 0;
    for (uint32_t k = 0; k < i; k++)
        at += stored(len[k]);
    return at;
}

static struct long_member *long_at(const char *at)
{
    struct long_member *l;
    memcpy(&l, at, sizeof l);
    return l;
}

static struct str member_at(const char *at, uint8_t length)
{
    if (likely(length != PAGE_LENGTH_LONG))
        return (struct str){at, length};
    const struct long_member *l = long_at(at);
    return (struct str){l->data, l->n};
}

struct str page_member(const struct strset_page *p, uint32_t i)
{
    DEBUG_ASSERT(i < p->n);
    return member_at(members(p) + offset_of(p, i), lengths(p)[i]);
}

bool page_visit(const struct strset_page *p, strset_visit_fn *visit, void *arg)
{
    const uint8_t *len = lengths(p);
    const char *at = members(p);
    for (uint32_t i = 0; i < p->n; at += stored(len[i++]))
        if (!visit(arg, member_at(at, len[i])))
            return false;
    return true;
}

int64_t page_find(const struct strset_page *p, struct str member, uint8_t tag)
{
    const uint8_t *len = lengths(p);
    uint8_t length = member.n < PAGE_LENGTH_LONG ? (uint8_t)member.n : PAGE_LENGTH_LONG;
    for (uint32_t i = 0; i < p->n; i++)
        if (p->data[i] == tag && len[i] == length && str_eq(page_member(p, i), member))
            return i;
    return -1;
}

uint64_t page_bytes(const struct strset_page *p)
{
    const uint8_t *len = lengths(p);
    const char *at = members(p);
    uint64_t bytes = p->cap;
    for (uint32_t i = 0; i < p->n; at += stored(len[i++]))
        if (len[i] == PAGE_LENGTH_LONG)
            bytes += mem_usable(long_at(at));
    return bytes;
}

/* ---- memory --------------------------------------------------------------------------- */

static struct strset_page *page_new(size_t n)
{
    struct strset_page *p = mem_alloc(n);
    if (p == NULL)
        return NULL;
    atomic_init(&p->refs, 1);
    p->n = p->used = 0;
    p->cap = (uint32_t)mem_usable(p);
    return p;
}

/* A private page of at least so many bytes in *p's place. */
static int page_grow(struct strset_page **p, size_t n, uint64_t *bytes)
{
    struct strset_page *old = *p;
    if (old != NULL && n <= old->cap)
        return 0;
    uint32_t was = old != NULL ? old->cap : 0;
    struct strset_page *grown = old != NULL ? mem_realloc(old, n) : page_new(n);
    if (grown == NULL)
        return ERR_OOM;
    grown->cap = (uint32_t)mem_usable(grown);
    *bytes += grown->cap - (uint64_t)was;
    *p = grown;
    return 0;
}

static void page_shrink(struct strset_page **p, uint64_t *bytes)
{
    struct strset_page *old = *p;
    size_t n = need(old->n, old->used);
    if (old->n == 0) {
        *bytes -= old->cap;
        mem_free(old);
        *p = NULL;
        return;
    }
    if (old->cap < SHRINK_MIN || n > old->cap / SHRINK_SHARE)
        return;
    uint32_t was = old->cap;
    struct strset_page *less = mem_realloc(old, n);
    if (less == NULL)
        return;
    less->cap = (uint32_t)mem_usable(less);
    *bytes -= was - (uint64_t)less->cap;
    *p = less;
}

/* All long members of the page get one more reference. */
static void get_longs(const struct strset_page *p)
{
    const uint8_t *len = lengths(p);
    const char *at = members(p);
    for (uint32_t i = 0; i < p->n; at += stored(len[i++]))
        if (len[i] == PAGE_LENGTH_LONG)
            atomic_fetch_add_explicit(&long_at(at)->refs, 1, memory_order_relaxed);
}

int page_own(struct strset_page **p, uint64_t *bytes)
{
    struct strset_page *old = *p;
    size_t n = need(old->n, old->used);
    struct strset_page *twin = page_new(n);
    if (twin == NULL)
        return ERR_OOM;
    twin->n = old->n;
    twin->used = old->used;
    memcpy(twin->data, old->data, n - sizeof *old);
    get_longs(twin);
    *bytes += (uint64_t)twin->cap - old->cap;
    page_put(old);
    *p = twin;
    return 0;
}

void page_put(struct strset_page *p)
{
    if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    const uint8_t *len = lengths(p);
    const char *at = members(p);
    for (uint32_t i = 0; i < p->n; at += stored(len[i++]))
        if (len[i] == PAGE_LENGTH_LONG)
            long_put(long_at(at));
    mem_free(p);
}

/* ---- changing --------------------------------------------------------------------------- */

/* There is room. `bytes`: what is stored. */
static void put_last(struct strset_page *p, const void *bytes, uint8_t length, uint8_t tag)
{
    uint32_t n = p->n, size = stored(length);
    uint8_t *data = p->data;
    memmove(data + 2 * (size_t)n + 2, data + 2 * (size_t)n, p->used);
    memmove(data + n + 1, data + n, n);
    data[n] = tag;
    data[2 * (size_t)n + 1] = length;
    p->n = n + 1;
    if (size > 0)
        memcpy(data + 2 * (size_t)p->n + p->used, bytes, size);
    p->used += size;
}

int page_append(struct strset_page **p, struct str member, uint8_t tag, uint64_t *bytes)
{
    uint8_t length = member.n < PAGE_LENGTH_LONG ? (uint8_t)member.n : PAGE_LENGTH_LONG;
    struct long_member *l = NULL;
    uint32_t n = *p != NULL ? (*p)->n : 0, used = *p != NULL ? (*p)->used : 0;
    if (n >= PAGE_MEMBERS_MAX)
        return ERR_OOM; /* only with somebody who knows the seed */
    if (length == PAGE_LENGTH_LONG && (l = long_new(member)) == NULL)
        return ERR_OOM;
    if (page_grow(p, need(n + 1, used + stored(length)), bytes) != 0) {
        mem_free(l);
        return ERR_OOM;
    }
    if (l != NULL)
        *bytes += mem_usable(l);
    put_last(*p, l != NULL ? (const void *)&l : member.p, length, tag);
    return 0;
}

/* Close the gap that member i, whose bytes are at `at`, leaves. */
static void close_gap(struct strset_page *p, uint32_t i, uint32_t at)
{
    uint32_t n = p->n, size = stored(lengths(p)[i]);
    uint8_t *data = p->data, *bytes = data + 2 * (size_t)n;
    memmove(data + i, data + i + 1, n - 1 - i);
    memmove(data + n - 1, data + n, i);
    memmove(data + n - 1 + i, data + n + i + 1, n - 1 - i);
    memmove(bytes - 2, bytes, at);
    memmove(bytes - 2 + at, bytes + at + size, p->used - at - size);
    p->n = n - 1;
    p->used -= size;
}

void page_remove(struct strset_page **p, uint32_t i, uint64_t *bytes)
{
    uint32_t at = offset_of(*p, i);
    DEBUG_ASSERT(i < (*p)->n && page_is_private(*p));
    if (lengths(*p)[i] == PAGE_LENGTH_LONG) {
        struct long_member *l = long_at(members(*p) + at);
        *bytes -= mem_usable(l);
        long_put(l);
    }
    close_gap(*p, i, at);
    page_shrink(p, bytes);
}

int page_move(struct strset_page **from, struct strset_page **to, const uint8_t *moves, uint64_t *bytes)
{
    struct strset_page *p = *from;
    uint32_t n = 0, used = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        n += moves[i];
        used += moves[i] ? stored(lengths(p)[i]) : 0;
    }
    if (n == 0)
        return 0;
    uint32_t had = *to != NULL ? (*to)->n : 0, had_used = *to != NULL ? (*to)->used : 0;
    if (had + n > PAGE_MEMBERS_MAX || page_grow(to, need(had + n, had_used + used), bytes) != 0)
        return ERR_OOM;
    /* What stays is packed towards the front as the rest goes, in one pass over each of three arrays. */
    uint32_t keep = p->n - n, k = 0, kept = 0;
    uint8_t *tags = p->data, *len = p->data + p->n;
    char *at = (char *)p->data + 2 * (size_t)p->n, *packed = at;
    for (uint32_t i = 0; i < p->n; i++) {
        uint32_t size = stored(len[i]);
        if (moves[i]) {
            put_last(*to, at, len[i], tags[i]);
        } else {
            memmove(packed, at, size);
            packed += size;
            kept += size;
            tags[k] = tags[i];
            len[k++] = len[i];
        }
        at += size;
    }
    memmove(tags + keep, len, keep);
    memmove(tags + 2 * (size_t)keep, len + p->n, kept);
    p->n = keep;
    p->used = kept;
    page_shrink(from, bytes);
    return 0;
}
