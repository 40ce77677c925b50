/* Building entries and changing them in place.
 *
 * What a sweep may read without the lock (the header word, and in front of the key
 * everything but the exact lengths) is written so that it can: a relaxed or release
 * store of 32 bits, in an order that never shows a boundary before the filler
 * behind it exists. */
#include "store/entry.h"

#include "base/alloc.h"
#include "store/shard.h"

_Static_assert(ENTRY_SLACK == 1u << 13, "the bit between clock and klen");

static void put_u32(void *p, uint32_t v)
{
    atomic_store_explicit((_Atomic uint32_t *)p, v, memory_order_relaxed);
}

static bool is_long(const struct shape *f)
{
    return f->key.n > ENTRY_KLEN_MAX || f->value.n > ENTRY_VLEN_MAX;
}

static uint64_t units(uint64_t bytes)
{
    return (bytes + ENTRY_UNIT - 1) / ENTRY_UNIT;
}

uint64_t shape_units(const struct shape *f)
{
    uint64_t head = 4 + (is_long(f) ? 8 : 0) + (f->expire_ms != 0 ? 8 : 0) +
                    (f->marks & ENTRY_CLOCK ? 4 : 0) + (f->db != 0 ? 4 : 0);
    if (unlikely(f->ext.n > 0))
        head += 4 + units(f->ext.n) * ENTRY_UNIT;
    return units(head + f->key.n + f->value.n);
}

static void put_i64(char *p, int64_t v)
{
    uint32_t half[2];
    memcpy(half, &v, sizeof v);
    put_u32(p, half[0]);
    put_u32(p + 4, half[1]);
}

void entry_write(struct entry *e, const struct shape *f)
{
    char *at = (char *)e + sizeof(uint32_t);
    uint32_t word = (uint32_t)f->kind << ENTRY_KIND_SHIFT | f->freq;
    if (is_long(f)) {
        word |= ENTRY_LONG;
        put_u32(at, (uint32_t)f->key.n);
        put_u32(at + 4, (uint32_t)f->value.n);
        at += 8;
    } else {
        word |= (uint32_t)f->key.n << ENTRY_KLEN_SHIFT | (uint32_t)f->value.n << ENTRY_VLEN_SHIFT;
    }
    if (f->expire_ms != 0) {
        word |= ENTRY_TTL;
        put_i64(at, f->expire_ms);
        at += 8;
    }
    if (f->marks & ENTRY_CLOCK) {
        put_u32(at, f->clock);
        at += 4;
    }
    if (f->db != 0) {
        word |= ENTRY_DB;
        put_u32(at, f->db);
        at += 4;
    }
    if (unlikely(f->ext.n > 0)) {
        word |= ENTRY_EXT;
        put_u32(at, (uint32_t)f->ext.n);
        memcpy(at + 4, f->ext.p, f->ext.n);
        at += 4 + units(f->ext.n) * ENTRY_UNIT;
    }
    word |= f->marks;
    memcpy(at, f->key.p, f->key.n);
    if (f->value.p != NULL)
        memcpy(at + f->key.n, f->value.p, f->value.n);
    else
        memset(at + f->key.n, 0, f->value.n);
    atomic_store_explicit(&e->word, word, memory_order_relaxed);
}

uint32_t entry_units(const struct entry *e)
{
    struct entry_parts p = entry_parts(e);
    return (uint32_t)units((uint64_t)(p.value - (const char *)e) + p.vlen);
}

uint32_t entry_extent(const struct entry *e)
{
    uint32_t n = entry_units(e);
    if (likely(!(entry_word(e) & ENTRY_SLACK)))
        return n;
    uint32_t filler = entry_word((const struct entry *)((const char *)e + (size_t)n * ENTRY_UNIT));
    DEBUG_ASSERT(entry_kind_of(filler) == ENTRY_FILLER);
    return n + (filler >> ENTRY_FILLER_SHIFT);
}

void entry_resize(struct entry *e, uint32_t vlen, uint32_t marks, uint32_t extent)
{
    const uint32_t vlen_mask = (uint32_t)ENTRY_VLEN_MAX << ENTRY_VLEN_SHIFT;
    uint32_t word = entry_word(e) & ~(uint32_t)(ENTRY_MARKS | ENTRY_SLACK);
    struct entry_parts p = entry_parts(e);
    uint32_t n = (uint32_t)units((uint64_t)(p.value - (const char *)e) + vlen);
    ASSERT(n <= extent && ((word & ENTRY_LONG) || vlen <= ENTRY_VLEN_MAX));
    if (n < extent) {
        struct entry *filler = (struct entry *)((char *)e + (size_t)n * ENTRY_UNIT);
        atomic_store_explicit(&filler->word, (extent - n) << ENTRY_FILLER_SHIFT, memory_order_relaxed);
        word |= ENTRY_SLACK;
    }
    if (word & ENTRY_LONG)
        put_u32((char *)e + 8, vlen);
    else
        word = (word & ~vlen_mask) | vlen << ENTRY_VLEN_SHIFT;
    word |= marks;
    atomic_store_explicit(&e->word, word, memory_order_release);
}

void entry_set_expire(struct entry *e, int64_t expire_ms)
{
    uint32_t word = entry_word(e);
    ASSERT(word & ENTRY_TTL);
    put_i64((char *)e + (word & ENTRY_LONG ? 12 : 4), expire_ms);
}

void entry_set_heap(struct entry *e, const void *p)
{
    memcpy(entry_parts(e).value, &p, sizeof p);
}

static char *clock_of(const struct entry *e)
{
    uint32_t word = entry_word(e);
    ASSERT(word & ENTRY_CLOCK);
    return (char *)e + 4 + (word & ENTRY_LONG ? 8 : 0) + (word & ENTRY_TTL ? 8 : 0);
}

uint32_t entry_clock(const struct entry *e)
{
    return entry_load_u32(clock_of(e));
}

void entry_set_clock(struct entry *e, uint32_t clock)
{
    put_u32(clock_of(e), clock);
}

int64_t entry_expire_hint(const struct entry *e)
{
    uint32_t word = entry_word(e), half[2];
    int64_t v;
    if (!(word & ENTRY_TTL))
        return 0;
    const char *at = (const char *)e + (word & ENTRY_LONG ? 12 : 4);
    half[0] = atomic_load_explicit((const _Atomic uint32_t *)(const void *)at, memory_order_relaxed);
    half[1] = atomic_load_explicit((const _Atomic uint32_t *)(const void *)(at + 4), memory_order_relaxed);
    memcpy(&v, half, sizeof v);
    return v;
}

struct str entry_fixed_parts(const struct entry *e, uint32_t word, uint32_t *db)
{
    const char *at = (const char *)e + 4;
    struct str key = {NULL, (word >> ENTRY_KLEN_SHIFT) & ENTRY_KLEN_MAX};
    if (word & ENTRY_LONG) {
        key.n = entry_load_u32(at);
        at += 8;
    }
    at += (word & ENTRY_TTL ? 8 : 0) + (word & ENTRY_CLOCK ? 4 : 0);
    *db = 0;
    if (word & ENTRY_DB) {
        *db = entry_load_u32(at);
        at += 4;
    }
    if (word & ENTRY_EXT)
        at += 4 + ((entry_load_u32(at) + 3u) & ~3u);
    key.p = at;
    return key;
}

uint32_t entry_short_units(uint32_t word)
{
    uint32_t head =
        4u + (word & ENTRY_TTL ? 8 : 0) + (word & ENTRY_CLOCK ? 4 : 0) + (word & ENTRY_DB ? 4 : 0);
    DEBUG_ASSERT(!(word & (ENTRY_LONG | ENTRY_EXT)));
    return (uint32_t)units(head + ((word >> ENTRY_KLEN_SHIFT) & ENTRY_KLEN_MAX) + (word >> ENTRY_VLEN_SHIFT));
}

size_t entry_heap_bytes(const struct entry *e)
{
    switch (entry_kind(e)) {
    case ENTRY_BLOCK: return mem_usable(entry_block(e));
    case ENTRY_OBJECT: return object_type(entry_object(e))->bytes(entry_object(e));
    default: return 0;
    }
}
