/* The pages of a strset (strset_page.c), for strset.c only.
 *
 *      page   refs | n | bytes | cap | tags[n] | lengths[n] | members' bytes, one after the other
 *
 * length 255 stands for a long member: its 8 bytes are a pointer to a block of its own. A page
 * without members is NULL. Changing needs the only reference. */
#ifndef LARDER_DS_STRSET_INTERNAL_H
#define LARDER_DS_STRSET_INTERNAL_H

#include "ds/strset.h"

#include <stdatomic.h>

enum strset_page_limits {
    PAGE_LENGTH_LONG = 255, /* this length: the bytes are elsewhere */
    PAGE_MEMBERS_MAX = 60000,
};

struct strset_page {
    _Atomic uint32_t refs;
    uint32_t n;
    uint32_t used; /* bytes of members */
    uint32_t cap;  /* of the allocation, head included */
    uint8_t data[];
};

/* Members by index; the tag is the caller's. */
static inline uint8_t page_tag(const struct strset_page *p, uint32_t i)
{
    return p->data[i];
}
struct str page_member(const struct strset_page *p, uint32_t i);
/* Calls back with each member in turn; cheaper than page_member() for each. False: visit() said so. */
bool page_visit(const struct strset_page *p, strset_visit_fn *visit, void *arg);
/* Index or -1. */
int64_t page_find(const struct strset_page *p, struct str member, uint8_t tag);

/* *bytes is what the set's heap takes: kept up to date by all of these. The page may move. */

/* Put a member at the end: 0 or ERR_OOM with nothing changed. *p may be NULL. */
int page_append(struct strset_page **p, struct str member, uint8_t tag, uint64_t *bytes);
/* Take out member i; gives back memory if that is possible and worth it. Cannot fail. */
void page_remove(struct strset_page **p, uint32_t i, uint64_t *bytes);
/* A private twin in *p's place, or ERR_OOM with nothing changed. *p is not private. */
int page_own(struct strset_page **p, uint64_t *bytes);
/* Drops a reference. */
void page_put(struct strset_page *p);
/* Bytes of heap that it and its long members take. */
uint64_t page_bytes(const struct strset_page *p);

/* Move the members for which `moves` (n bits as bytes) is set to *to, which is NULL or private and so is
 * *from. Returns 0 or ERR_OOM with nothing changed. */
int page_move(struct strset_page **from, struct strset_page **to, const uint8_t *moves, uint64_t *bytes);

static inline bool page_is_private(const struct strset_page *p)
{
    return atomic_load_explicit(&p->refs, memory_order_acquire) == 1;
}

#endif
