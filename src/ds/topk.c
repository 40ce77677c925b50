#include "ds/topk.h"

#include "base/annotate.h"

#include <stdlib.h>
#include <string.h>

enum { FIND_STEP = 16 };
_Static_assert(TOPK_HITS % FIND_STEP == 0 && TOPK_LARGE % FIND_STEP == 0, "whole steps");

static void set_item(struct topk_item *it, uint32_t db, struct str name, uint64_t bytes)
{
    it->bytes = bytes;
    it->n = (uint32_t)name.n;
    it->db = db;
    memcpy(it->name, name.p, name.n < TOPK_NAME ? name.n : TOPK_NAME);
}

/* Four at once, in whatever the processor has for that. */
typedef uint32_t lanes __attribute__((vector_size(16), aligned(4), may_alias));

static bool is_among(const uint32_t *hashes, uint32_t hash)
{
    const lanes want = {hash, hash, hash, hash};
    lanes any = {0};
    for (uint32_t i = 0; i < FIND_STEP; i += 4)
        any |= (lanes)(*(const lanes *)(hashes + i) == want);
    uint64_t half[2];
    memcpy(half, &any, sizeof half);
    return (half[0] | half[1]) != 0;
}

/* Which of the n has this hash; n: none. What stands behind the n may be looked at, and does not count. */
static uint32_t find(const uint32_t *hashes, uint32_t n, uint32_t hash)
{
    for (uint32_t at = 0; at < n; at += FIND_STEP) {
        if (likely(!is_among(hashes + at, hash)))
            continue;
        for (uint32_t i = at; i < at + FIND_STEP && i < n; i++)
            if (hashes[i] == hash)
                return i;
    }
    return n;
}

/* One of the rarest. None is below the floor, and most of a stream without favourites are on it: the next
 * one round the table, as a rule. A lap without any says where the floor is now. */
static uint32_t rarest(struct topk *t)
{
    uint32_t least = t->turn % t->nhits;
    for (uint32_t n = 0; n < t->nhits; n++) {
        uint32_t i = t->turn++ % t->nhits;
        if (t->hits[i].count <= t->floor)
            return i;
        if (t->hits[i].count < t->hits[least].count)
            least = i;
    }
    t->floor = t->hits[least].count;
    return least;
}

/* The item of a hash, its own, a free one, or the rarest one's. */
static struct topk_item *hit_of(struct topk *t, uint32_t hash)
{
    uint32_t i = find(t->hit_hash, t->nhits, hash);
    if (i == TOPK_HITS) {
        i = rarest(t);
        t->hits[i].error = t->hits[i].count;
    } else if (i == t->nhits) {
        t->nhits++;
        memset(&t->hits[i], 0, sizeof t->hits[i]);
    }
    t->hit_hash[i] = hash;
    return &t->hits[i];
}

static void find_smallest(struct topk *t)
{
    t->smallest = 0;
    for (uint32_t i = 1; i < t->nlarge; i++)
        if (t->large[i].bytes < t->large[t->smallest].bytes)
            t->smallest = i;
}

void topk_note_large(struct topk *t, uint64_t hash, uint32_t db, struct str name, uint64_t bytes)
{
    uint32_t i = find(t->large_hash, t->nlarge, (uint32_t)hash);
    if (i == TOPK_LARGE) {
        i = t->smallest;
        if (t->large[i].bytes >= bytes)
            return;
    } else if (i == t->nlarge) {
        t->nlarge++;
    }
    t->large_hash[i] = (uint32_t)hash;
    set_item(&t->large[i], db, name, bytes);
    find_smallest(t);
}

void topk_note(struct topk *t, uint64_t hash, uint32_t db, struct str name, uint64_t bytes)
{
    struct topk_item *it = hit_of(t, (uint32_t)hash);
    it->count++;
    set_item(it, db, name, bytes);
    topk_note_large(t, hash, db, name, bytes);
}

void topk_halve(struct topk *t)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < t->nhits; i++) {
        t->hits[i].count /= 2;
        t->hits[i].error /= 2;
        if (t->hits[i].count == 0)
            continue;
        t->hit_hash[kept] = t->hit_hash[i];
        if (kept != i)
            t->hits[kept] = t->hits[i];
        kept++;
    }
    t->nhits = kept;
    t->floor = 0; /* newcomers begin below what is left */
}

/* n may be longer than what is kept of it. */
static struct str name_of(const struct topk_item *it)
{
    return (struct str){it->name, it->n};
}

void topk_merge(struct topk *to, const struct topk *from)
{
    for (uint32_t i = 0; i < from->nhits; i++) {
        const struct topk_item *it = &from->hits[i];
        struct topk_item *mine = hit_of(to, from->hit_hash[i]);
        uint64_t bytes = mine->bytes > it->bytes ? mine->bytes : it->bytes;
        mine->count += it->count;
        mine->error += it->error;
        set_item(mine, it->db, name_of(it), bytes);
    }
    for (uint32_t i = 0; i < from->nlarge; i++) {
        const struct topk_item *it = &from->large[i];
        uint32_t at = find(to->large_hash, to->nlarge, from->large_hash[i]);
        if (at < to->nlarge && to->large[at].bytes >= it->bytes)
            continue;
        topk_note_large(to, from->large_hash[i], it->db, name_of(it), it->bytes);
    }
}

static int by_count(const void *a, const void *b)
{
    const struct topk_item *x = a, *y = b;
    return x->count < y->count ? 1 : x->count > y->count ? -1 : 0;
}

static int by_bytes(const void *a, const void *b)
{
    const struct topk_item *x = a, *y = b;
    return x->bytes < y->bytes ? 1 : x->bytes > y->bytes ? -1 : 0;
}

void topk_sort(struct topk *t)
{
    qsort(t->hits, t->nhits, sizeof t->hits[0], by_count);
    qsort(t->large, t->nlarge, sizeof t->large[0], by_bytes);
    find_smallest(t);
    memset(t->hit_hash, 0, sizeof t->hit_hash); /* they do not stand beside theirs any more */
    memset(t->large_hash, 0, sizeof t->large_hash);
}
