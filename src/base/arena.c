/* Chunks of ARENA_CHUNK bytes, larger ones for larger requests, in two lists:
 *
 *      head  -> [hdr|used used  at... end] -> [hdr|used used] -> ...
 *      spare -> [hdr|              empty ] -> ...
 *
 * The usual reset finds head alone and only moves `at` back. Otherwise it frees
 * chunks until ARENA_KEEP bytes are held, the youngest (and so the largest) first,
 * and makes the rest spare. A request that fits no spare chunk gets a new one; what is
 * left of the old head is wasted until the reset, at most ARENA_CHUNK for each.
 *
 * Free room is poisoned under ASan; every piece ends at least ARENA_ALIGN bytes
 * before `end`, so there is always something poisoned behind the last one. */
#include "base/arena.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <stdint.h>

struct arena_chunk {
    struct arena_chunk *next;
    size_t size; /* bytes in all, this header included */
};

enum { CHUNK_HEADER = sizeof(struct arena_chunk) };
_Static_assert(CHUNK_HEADER % ARENA_ALIGN == 0, "the first piece of a chunk is aligned");

static char *chunk_start(struct arena_chunk *c)
{
    return (char *)c + CHUNK_HEADER;
}

static size_t chunk_room(const struct arena_chunk *c)
{
    return c->size - CHUNK_HEADER;
}

static void chunk_free(struct arena *a, struct arena_chunk *c)
{
    DEBUG_ASSERT(a->held >= c->size);
    a->held -= c->size;
    MEM_UNPOISON(chunk_start(c), chunk_room(c));
    mem_free(c);
}

static void chunks_free(struct arena *a, struct arena_chunk *c)
{
    while (c != NULL) {
        struct arena_chunk *next = c->next;
        chunk_free(a, c);
        c = next;
    }
}

static void fill(struct arena *a, struct arena_chunk *c)
{
    a->at = chunk_start(c);
    a->end = (char *)c + c->size;
    MEM_POISON(a->at, chunk_room(c));
}

void arena_init(struct arena *a)
{
    *a = (struct arena){0};
}

void arena_release(struct arena *a)
{
    chunks_free(a, a->head);
    chunks_free(a, a->spare);
    ASSERT(a->held == 0);
    arena_init(a);
}

void arena_reset(struct arena *a)
{
    struct arena_chunk *c = a->head;
    if (c == NULL)
        return;
    if (likely(c->next == NULL && a->held <= ARENA_KEEP)) {
        fill(a, c);
        return;
    }
    a->head = NULL;
    a->at = a->end = NULL;
    while (c != NULL) {
        struct arena_chunk *next = c->next;
        if (a->held > ARENA_KEEP) {
            chunk_free(a, c);
        } else {
            MEM_POISON(chunk_start(c), chunk_room(c));
            c->next = a->spare;
            a->spare = c;
        }
        c = next;
    }
}

/* The first spare chunk with enough room, unlinked, or NULL. At most
 * ARENA_KEEP / ARENA_CHUNK are looked at. */
static struct arena_chunk *take_spare(struct arena *a, size_t room)
{
    for (struct arena_chunk **at = &a->spare; *at != NULL; at = &(*at)->next) {
        struct arena_chunk *c = *at;
        if (chunk_room(c) >= room) {
            *at = c->next;
            return c;
        }
    }
    return NULL;
}

void *arena_alloc_slow(struct arena *a, size_t n)
{
    if (n > PTRDIFF_MAX - ARENA_CHUNK)
        return NULL;
    size_t room = n + 2 * ARENA_ALIGN;
    struct arena_chunk *c = take_spare(a, room);
    if (c == NULL) {
        size_t size = room + CHUNK_HEADER > ARENA_CHUNK ? room + CHUNK_HEADER : ARENA_CHUNK;
        c = mem_alloc(size);
        if (c == NULL)
            return NULL;
        c->size = size;
        a->held += size;
    }
    c->next = a->head;
    a->head = c;
    fill(a, c);
    DEBUG_ASSERT((size_t)(a->end - a->at) >= n + ARENA_ALIGN);
    return arena_alloc(a, n);
}

struct str arena_copy(struct arena *a, struct str s)
{
    char *p = s.n < SIZE_MAX ? arena_alloc(a, s.n + 1) : NULL;
    if (p == NULL)
        return (struct str){NULL, 0};
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return (struct str){p, s.n};
}
