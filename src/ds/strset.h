/* A large set of byte strings: compact, never stalling, cheap to copy.
 *
 *      strset ── leaves[] ── leaf: pages[255] ── page: n | n tags | n lengths | bytes of n members
 *
 * Linear hashing: there are m pages, and whenever they hold too much on average, one is split
 * in two (the low bits of the hash decide), whichever is next in turn. So growing to any size
 * never costs more than one page at a time, and neither does shrinking. A page holds about 16 to
 * 40 members in one run of bytes; finding one compares its tag (8 bits of the hash) with a cache
 * line of tags. A member costs about 5 bytes beyond its own.
 *
 * Members longer than 254 bytes lie in a block of their own.
 *
 * Copying is copy-on-write, leaf by leaf and page by page: strset_copy() takes a reference to
 * each leaf (one for 6,000 members), and whoever writes later copies the leaf and the page that
 * he writes to. Reading a set and its copies at the same time on several threads is fine, and so is
 * changing one of them while others are read.
 *
 * Scanning: positions are hashes read from their low end (bit-reversed), so that a page covers
 * one interval of positions however often it is split or merged. A scan moves upwards through
 * them, and what was in the set all the while is seen.
 *
 * Rejected: chained nodes (24 bytes of pointers and an allocation a member); open addressing in one
 * array (doubling stalls, and copying is all or nothing). */
#ifndef LARDER_DS_STRSET_H
#define LARDER_DS_STRSET_H

#include "base/annotate.h"
#include "base/hash.h"
#include "base/rng.h"
#include "base/str.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct strset_leaf;

struct strset {
    struct hash_seed seed;
    uint64_t count;
    uint64_t bytes; /* of heap: all pages, leaves and long members, as if nothing were shared */
    struct strset_leaf **leaves;
    uint32_t npages, nleaves, leaves_cap;
    uint32_t largest;    /* members that a page has ever had, at most */
    _Atomic bool shared; /* a copy may have some of our leaves or pages; stays true */
};

/* Allocates nothing. Copies of one set have one seed; other sets should not, or adding what one
 * set is scanned for to another fills its pages one after the other. */
void strset_init(struct strset *s, const struct hash_seed *seed);

/* Free about *budget allocations, and count them down; true when the set is empty and holds no memory. */
bool strset_free_step(struct strset *s, uint64_t *budget);

static inline bool strset_is_shared(const struct strset *s)
{
    return atomic_load_explicit(&s->shared, memory_order_relaxed);
}

/* Make `to` (uninitialised) a copy; several threads may copy one set at once. Returns 0 or ERR_OOM, then
 * there is no copy. */
int strset_copy(struct strset *to, struct strset *s);

bool strset_has(const struct strset *s, struct str member);

/* Returns 1: added, 0: was there, ERR_OOM: nothing has changed. member must not lie in the set. */
int strset_add(struct strset *s, struct str member);

/* Returns 1: removed, 0: was not there. ERR_OOM is possible only for a set that is `shared`, and not
 * when the member was added since it was copied. */
int strset_remove(struct strset *s, struct str member);

/* One member. Good until the set changes. */
struct strset_at {
    uint32_t page, index;
};
struct str strset_member(const struct strset *s, struct strset_at at);
/* Each member as likely as any other. The set is not empty. */
struct strset_at strset_random(const struct strset *s, struct rng *rng);
/* Takes out the member, as strset_remove() does: 1 or ERR_OOM. */
int strset_remove_at(struct strset *s, struct strset_at at);

typedef bool strset_visit_fn(void *arg, struct str member); /* false stops */

/* All members of the page, in no order. False: visit() said so. */
bool strset_visit_page(const struct strset *s, uint32_t page, strset_visit_fn *visit, void *arg);

/* One step of a scan: visits at least `count` members, whole pages, from *cursor (0 = start) on. *cursor is
 * where to go on, 0 = done, below 2^48. */
void strset_scan(const struct strset *s, uint64_t *cursor, uint64_t count, strset_visit_fn *visit, void *arg);

/* Every invariant; debug builds. */
void strset_check(const struct strset *s);

#endif
