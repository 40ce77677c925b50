#include "value/block.h"

#include "base/alloc.h"
#include "base/assert.h"

struct block *block_new(size_t cap)
{
    struct block *b = mem_alloc(sizeof(*b) + cap);
    if (b == NULL)
        return NULL;
    atomic_init(&b->refs, 1);
    b->n = 0;
    b->cap = cap;
    return b;
}

void block_get(struct block *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
}

void block_put(struct block *b)
{
    uint32_t was = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel);
    ASSERT(was > 0);
    if (was == 1)
        mem_free(b);
}

struct block *block_grow(struct block *b, size_t cap)
{
    ASSERT(block_is_private(b));
    if (cap <= b->cap)
        return b;
    struct block *grown = mem_realloc(b, sizeof(*b) + cap);
    if (grown != NULL)
        grown->cap = cap;
    return grown;
}
