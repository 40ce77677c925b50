/* One key with its value, as it lies in a segment.
 *
 *      word 0     freq:2 dead:1 ttl:1 db:1 ext:1 long:1 raw:1 kind:3 text:1 clock:1 slack:1 klen:8 vlen:10
 *      [long]     u32 key length, u32 value length      (klen and vlen are 0 then)
 *      [ttl]      i64 deadline, ms since 1970
 *      [clock]    u32 access clock, for the LRU and LFU policies
 *      [db]       u32 database id
 *      [ext]      u32 bytes of cache extension, then those bytes, padded to 4
 *      key bytes, value bytes, padding to 4
 *
 * 4 bytes of overhead for a key of up to 255 bytes with a value of up to 1,023;
 * a deadline costs 8 more. All offsets are multiples of 4 up to the key, so the
 * first word may be read and written atomically: a sweep looks at it without the
 * shard's lock. Every other byte is guarded by the lock of the key's shard.
 *
 * kind INLINE holds the value's bytes; BLOCK holds a `struct block *` (8 bytes,
 * unaligned); OBJECT a pointer to a collection; FILLER is no entry but unused
 * room: its word holds its size in 4-byte units above the kind (bits 12-31).
 *
 * A filler is the slack of the entry before it, which is marked ENTRY_SLACK as long
 * as there is one: only that entry's owner (its shard's lock) may grow into it. An
 * entry and its slack together never change their size, and the key never moves in
 * it, so a sweep can step over entries without the lock, except that it needs it for
 * those with slack and for long ones, whose lengths are not in the word.
 *
 * Only the table points at an entry, so it can be moved under its shard's lock:
 * a pointer to an entry is good until the lock is released or the key is written. */
#ifndef LARDER_STORE_ENTRY_H
#define LARDER_STORE_ENTRY_H

#include "base/annotate.h"
#include "base/str.h"
#include "value/block.h"
#include "value/object.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct entry {
    _Atomic uint32_t word;
};

enum entry_bits {
    ENTRY_FREQ_MASK = 3u,
    ENTRY_DEAD = 1u << 2,
    ENTRY_TTL = 1u << 3,
    ENTRY_DB = 1u << 4,
    ENTRY_EXT = 1u << 5,
    ENTRY_LONG = 1u << 6,
    ENTRY_RAW = 1u << 7, /* an edited string: OBJECT ENCODING says raw */
    ENTRY_KIND_SHIFT = 8,
    ENTRY_KIND_MASK = 7u << 8,
    ENTRY_TEXT = 1u << 11, /* a number that is held as text: OBJECT ENCODING does not say int */
    ENTRY_CLOCK = 1u << 12,
    ENTRY_SLACK = 1u << 13,               /* a filler follows */
    ENTRY_MARKS = ENTRY_RAW | ENTRY_TEXT, /* what OBJECT ENCODING cannot see in the bytes */
    ENTRY_KLEN_SHIFT = 14,
    ENTRY_KLEN_MAX = 255,
    ENTRY_VLEN_SHIFT = 22,
    ENTRY_VLEN_MAX = 1023,
    ENTRY_FILLER_SHIFT = 12,
    ENTRY_UNIT = 4,
};

enum entry_kind { ENTRY_FILLER = 0, ENTRY_INLINE = 1, ENTRY_BLOCK = 2, ENTRY_OBJECT = 3 };

static inline uint32_t entry_word(const struct entry *e)
{
    return atomic_load_explicit(&e->word, memory_order_relaxed);
}

static inline enum entry_kind entry_kind_of(uint32_t word)
{
    return (enum entry_kind)((word & ENTRY_KIND_MASK) >> ENTRY_KIND_SHIFT);
}

static inline enum entry_kind entry_kind(const struct entry *e)
{
    return entry_kind_of(entry_word(e));
}

static inline uint32_t entry_load_u32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Where the parts of an entry are. Cheap: a few shifts for the common case, and a call would cost as much. */
struct entry_parts {
    const char *key;
    char *value;
    const char *ext; /* the cache extension, behind its length; NULL: none */
    uint32_t klen, vlen;
};

/* The extension, of which the length is at `at`, with what pads it. */
static inline size_t entry_ext_room(const char *at)
{
    return 4 + ((entry_load_u32(at) + 3u) & ~3u);
}

static ALWAYS_INLINE struct entry_parts entry_parts(const struct entry *e)
{
    uint32_t w = entry_word(e);
    char *at = (char *)e + sizeof(uint32_t);
    struct entry_parts p;
    if (unlikely(w & ENTRY_LONG)) {
        p.klen = entry_load_u32(at);
        p.vlen = entry_load_u32(at + 4);
        at += 8;
    } else {
        p.klen = (w >> ENTRY_KLEN_SHIFT) & ENTRY_KLEN_MAX;
        p.vlen = w >> ENTRY_VLEN_SHIFT;
    }
    at += (w & ENTRY_TTL) ? 8 : 0;
    at += (w & ENTRY_CLOCK) ? 4 : 0;
    at += (w & ENTRY_DB) ? 4 : 0;
    p.ext = NULL;
    if (unlikely(w & ENTRY_EXT)) {
        p.ext = at + 4;
        at += entry_ext_room(at);
    }
    p.key = at;
    p.value = at + p.klen;
    return p;
}

static inline struct str entry_key(const struct entry *e)
{
    struct entry_parts p = entry_parts(e);
    return (struct str){p.key, p.klen};
}

/* The cache extension; p NULL when there is none. */
static inline struct str entry_extension(const struct entry *e)
{
    uint32_t w = entry_word(e);
    if (likely(!(w & ENTRY_EXT)))
        return (struct str){NULL, 0};
    const char *at = (const char *)e + 4 + ((w & ENTRY_LONG) ? 8 : 0) + ((w & ENTRY_TTL) ? 8 : 0) +
                     ((w & ENTRY_CLOCK) ? 4 : 0) + ((w & ENTRY_DB) ? 4 : 0);
    return (struct str){at + 4, entry_load_u32(at)};
}

/* Deadline in ms since 1970, 0 = none. */
static inline int64_t entry_expire(const struct entry *e)
{
    uint32_t w = entry_word(e);
    if (!(w & ENTRY_TTL))
        return 0;
    int64_t at;
    memcpy(&at, (const char *)e + ((w & ENTRY_LONG) ? 12 : 4), sizeof at);
    return at;
}

/* The deadline that plain commands know: an extended entry's freshness ends before the entry does (ext.h). */
static inline int64_t entry_deadline(const struct entry *e)
{
    int64_t fresh;
    if (likely(!(entry_word(e) & ENTRY_EXT)))
        return entry_expire(e);
    memcpy(&fresh, entry_extension(e).p + 8, sizeof fresh); /* EXT_FRESH_AT */
    return fresh;
}

/* Database id (store's own numbering, see store.h), 0 when not stored. */
static inline uint32_t entry_db(const struct entry *e)
{
    uint32_t w = entry_word(e);
    if (!(w & ENTRY_DB))
        return 0;
    const char *at = (const char *)e + 4;
    at += (w & ENTRY_LONG) ? 8 : 0;
    at += (w & ENTRY_TTL) ? 8 : 0;
    at += (w & ENTRY_CLOCK) ? 4 : 0;
    return entry_load_u32(at);
}

static inline bool entry_is_string(const struct entry *e)
{
    enum entry_kind kind = entry_kind(e);
    return kind == ENTRY_INLINE || kind == ENTRY_BLOCK;
}

static inline struct block *entry_block(const struct entry *e)
{
    struct block *b;
    memcpy(&b, entry_parts(e).value, sizeof b);
    return b;
}

/* The collection, NULL for a string. Good until the shard's lock is released, or as long as a reference
 * is held. */
static inline struct object *entry_object(const struct entry *e)
{
    struct object *o;
    if (entry_kind(e) != ENTRY_OBJECT)
        return NULL;
    memcpy(&o, entry_parts(e).value, sizeof o);
    return o;
}

/* The bytes of a string value; *block is the block they live in, or NULL. Good until
 * the shard's lock is released, or as long as a reference to the block is held. */
static inline struct str entry_string_at(const struct entry *e, const struct entry_parts *p,
                                         struct block **block)
{
    if (likely(entry_kind(e) == ENTRY_INLINE)) {
        *block = NULL;
        return (struct str){p->value, p->vlen};
    }
    struct block *b;
    memcpy(&b, p->value, sizeof b);
    *block = b;
    return block_str(b);
}

static inline struct str entry_string(const struct entry *e, struct block **block)
{
    struct entry_parts p = entry_parts(e);
    return entry_string_at(e, &p, block);
}

#endif
