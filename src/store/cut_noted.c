/* Which keys of pages that a cut has not saved yet have been saved one by one, by whoever wrote them.
 *
 *      cut ── noted[shard] ── 64-bit hashes, open addressing, at most half full
 *
 * A note is the hash alone: 16 to 32 bytes a key, however long it is. Two keys of one shard with the same
 * hash would be taken for one, and one be missing in the cut; the hash is seeded and has 64 bits, so among a
 * million notes and a hundred million keys that is one cut in a billion, and nobody can bring it about. When
 * the reader is through with a shard its notes are freed. */
#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"
#include "base/hash.h"
#include "store/cut_internal.h"

enum { NOTES_FIRST = 16 };

struct cut_noted {
    uint32_t n, room;
    uint64_t hash[]; /* `room` of them, a power of two; 0: free */
};

/* 0 stands for a free place. */
static uint64_t name_of(uint64_t hash)
{
    return hash != 0 ? hash : 1;
}

/* Where it is, or belongs. The low bits number a page, which all have in common that are written often. */
static uint64_t *place(struct cut_noted *t, uint64_t name)
{
    uint32_t i = (uint32_t)hash_mix64(name) & (t->room - 1);
    while (t->hash[i] != 0 && t->hash[i] != name)
        i = (i + 1) & (t->room - 1);
    return &t->hash[i];
}

bool cut_is_noted(const struct cut *c, uint32_t shard, uint64_t hash)
{
    return c->noted[shard] != NULL && *place(c->noted[shard], name_of(hash)) != 0;
}

static struct cut_noted *grown(const struct cut_noted *old)
{
    uint32_t room = old != NULL ? 2 * old->room : NOTES_FIRST;
    struct cut_noted *t = mem_zalloc(sizeof *t + room * sizeof t->hash[0]);
    if (t == NULL)
        return NULL;
    t->room = room;
    t->n = old != NULL ? old->n : 0;
    for (uint32_t i = 0; old != NULL && i < old->room; i++)
        if (old->hash[i] != 0)
            *place(t, old->hash[i]) = old->hash[i];
    return t;
}

int cut_note(struct cut *c, uint32_t shard, uint64_t hash)
{
    struct cut_noted *t = c->noted[shard];
    if (t != NULL && t->n == CUT_NOTES_MAX)
        return ERR_FULL;
    if (t == NULL || 2 * (t->n + 1) > t->room) {
        if ((t = grown(c->noted[shard])) == NULL)
            return ERR_OOM;
        mem_free(c->noted[shard]);
        c->noted[shard] = t;
    }
    uint64_t *at = place(t, name_of(hash));
    ASSERT(*at == 0);
    *at = name_of(hash);
    t->n++;
    return 0;
}

void cut_forget_notes(struct cut *c, uint32_t shard)
{
    mem_free(c->noted[shard]);
    c->noted[shard] = NULL;
}
