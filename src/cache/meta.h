/* The cache extension of an entry: what CACHE.SET knows about a value beside its bytes.
 *
 *       0  u32 flags       EXT_HIDDEN, META_*, number of tags above META_TAGS_SHIFT
 *       4  u32 delta_ms    what a load costs: COST, or measured from lease to fill
 *       8  i64 fresh_ms    fresh until then, 0 = for ever (store/ext.h knows it)
 *      16  i64 set_ms      when it was set
 *      24  u64 born        the sequence of purges when its load began
 *     [32  u64 version]
 *      ...  u64 a tag
 *
 * The entry's own deadline is the end of its grace. 40 bytes with the length in front, 8 more for a version
 * and for each tag. Tags are hashes: names that collide are purged together, which only loses a little too
 * much.
 *
 * Guarded by the lock of the key's shard, like the entry. Pure; nothing is allocated. */
#ifndef LARDER_CACHE_META_H
#define LARDER_CACHE_META_H

#include "store/ext.h"

enum meta_limits {
    META_TAGS_MAX = 128,
    META_SIZE_MAX = 32 + 8 + 8 * META_TAGS_MAX,
};

enum meta_flags {
    META_NEGATIVE = 1 << 1, /* known not to exist; always hidden */
    META_STALE = 1 << 2,    /* invalidated softly; always hidden */
    META_VERSION = 1 << 3,
    META_TAGS_SHIFT = 16,
};

struct meta {
    uint32_t flags; /* without the number of tags */
    uint32_t delta_ms;
    int64_t fresh_ms, set_ms;
    uint64_t born, version;
    uint32_t ntags;
    uint64_t tags[META_TAGS_MAX];
};

static inline uint64_t meta_u64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

enum meta_layout { META_DELTA_AT = 4, META_SET_AT = 16, META_BORN_AT = 24, META_MORE_AT = 32 };

static inline void meta_read_fixed(const char *p, struct meta *m)
{
    uint32_t word = entry_load_u32(p);
    m->flags = word & ((1u << META_TAGS_SHIFT) - 1);
    m->ntags = word >> META_TAGS_SHIFT;
    m->delta_ms = entry_load_u32(p + META_DELTA_AT);
    m->fresh_ms = (int64_t)meta_u64(p + EXT_FRESH_AT);
    m->set_ms = (int64_t)meta_u64(p + META_SET_AT);
    m->born = meta_u64(p + META_BORN_AT);
    m->version = m->flags & META_VERSION ? meta_u64(p + META_MORE_AT) : 0;
}

/* All but the tags, which are read where they are needed; false: the entry has no extension. */
bool meta_read(const struct entry *e, struct meta *m);
void meta_read_tags(const struct entry *e, struct meta *m); /* after meta_read() */
/* Tag number i of an entry that has more than i. */
uint64_t meta_tag_at(const struct entry *e, const struct meta *m, uint32_t i);

/* The bytes of m in `out`, which has META_SIZE_MAX; their number. */
uint32_t meta_write(const struct meta *m, char *out);

/* From bytes of anywhere, tags included. False: they are no extension of ours. */
bool meta_parse(struct str bytes, struct meta *m);

/* In place: soft invalidation. Grace begins at fresh_ms. */
void meta_set_stale(const struct entry *e, int64_t fresh_ms);

/* A tag's name as entries hold it; the same on every node. */
uint64_t meta_tag_hash(struct str name);

#endif
