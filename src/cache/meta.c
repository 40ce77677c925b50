#include "cache/meta.h"

#include "base/assert.h"

enum { FLAGS = (1 << META_TAGS_SHIFT) - 1 }; /* of the first word */

bool meta_read(const struct entry *e, struct meta *m)
{
    struct str x = entry_extension(e);
    if (x.p == NULL)
        return false;
    meta_read_fixed(x.p, m);
    DEBUG_ASSERT(m->ntags <= META_TAGS_MAX);
    return true;
}

bool meta_parse(struct str bytes, struct meta *m)
{
    const uint32_t known = EXT_HIDDEN | META_NEGATIVE | META_STALE | META_VERSION;
    if (bytes.n < META_MORE_AT)
        return false;
    uint32_t word = entry_load_u32(bytes.p);
    size_t version = word & META_VERSION ? 8 : 0, ntags = word >> META_TAGS_SHIFT;
    if ((word & FLAGS & ~known) || ntags > META_TAGS_MAX || bytes.n != META_MORE_AT + version + 8 * ntags)
        return false;
    meta_read_fixed(bytes.p, m);
    memcpy(m->tags, bytes.p + META_MORE_AT + version, 8 * ntags);
    return m->fresh_ms >= 0;
}

uint64_t meta_tag_at(const struct entry *e, const struct meta *m, uint32_t i)
{
    return meta_u64(entry_ext(e).p + META_MORE_AT + (m->flags & META_VERSION ? 8 : 0) + 8 * (size_t)i);
}

void meta_read_tags(const struct entry *e, struct meta *m)
{
    for (uint32_t i = 0; i < m->ntags; i++)
        m->tags[i] = meta_tag_at(e, m, i);
}

static char *put(char *at, const void *p, size_t n)
{
    memcpy(at, p, n);
    return at + n;
}

uint32_t meta_write(const struct meta *m, char *out)
{
    ASSERT(m->ntags <= META_TAGS_MAX);
    uint32_t word = m->flags | m->ntags << META_TAGS_SHIFT;
    if (m->flags & (META_NEGATIVE | META_STALE))
        word |= EXT_HIDDEN;
    char *at = put(out, &word, sizeof word);
    at = put(at, &m->delta_ms, sizeof m->delta_ms);
    at = put(at, &m->fresh_ms, sizeof m->fresh_ms);
    at = put(at, &m->set_ms, sizeof m->set_ms);
    at = put(at, &m->born, sizeof m->born);
    if (m->flags & META_VERSION)
        at = put(at, &m->version, sizeof m->version);
    at = put(at, m->tags, m->ntags * sizeof m->tags[0]);
    return (uint32_t)(at - out);
}

void meta_set_stale(const struct entry *e, int64_t fresh_ms)
{
    struct ext x = entry_ext(e);
    uint32_t word = entry_load_u32(x.p) | META_STALE | EXT_HIDDEN;
    memcpy(x.p, &word, sizeof word);
    memcpy(x.p + EXT_FRESH_AT, &fresh_ms, sizeof fresh_ms);
}

uint64_t meta_tag_hash(struct str name)
{
    /* Not a secret: nodes must agree. Who aims names at one hash only loses cached values of his own making.
     */
    static const struct hash_seed seed = {0x6c61726465722074, 0x6167732076657231};
    uint64_t hash = hash_sip13(name.p, name.n, &seed);
    return hash != 0 ? hash : 1; /* 0 is no tag (tag.h) */
}
