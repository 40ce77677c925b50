/* Bump memory for the life of one request: passed in, reset after the reply.
 *
 * Chunks are kept across resets up to ARENA_KEEP bytes, so a steady load
 * allocates nothing. One owner thread. */
#ifndef LARDER_BASE_ARENA_H
#define LARDER_BASE_ARENA_H

#include "base/annotate.h"
#include "base/str.h"

#include <stddef.h>

enum arena_limits { ARENA_CHUNK = 16 * 1024, ARENA_KEEP = 256 * 1024, ARENA_ALIGN = 16 };

struct arena_chunk;

struct arena {
    char *at, *end;            /* free room in head */
    struct arena_chunk *head;  /* the chunk being filled; older ones behind it */
    struct arena_chunk *spare; /* kept by a reset, to be filled again */
    size_t held;               /* bytes in all chunks of both lists */
};

void arena_init(struct arena *a); /* allocates nothing */
void arena_release(struct arena *a);
void arena_reset(struct arena *a);

void *arena_alloc_slow(struct arena *a, size_t n) MUST_CHECK;

/* NULL when memory is short. Aligned to ARENA_ALIGN; n = 0 gives a valid pointer. */
MUST_CHECK static inline void *arena_alloc(struct arena *a, size_t n)
{
    if (unlikely((size_t)(a->end - a->at) < n + ARENA_ALIGN || n > PTRDIFF_MAX))
        return arena_alloc_slow(a, n);
    char *p = a->at;
    a->at += (n + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    MEM_UNPOISON(p, n);
    return p;
}

/* Returns a NUL-terminated copy, p NULL when memory is short. */
struct str arena_copy(struct arena *a, struct str s);

#endif
