/* Several keys in one step: all of them get their values, or none does.
 *
 *      stage   every new value that does not fit where the old one lies is written and enters the table;
 *              the old entry lives on beside it
 *      commit  values that fit are overwritten, old entries die: nothing here can fail
 *      undo    (staging failed) last first, new entries leave and old ones return: nothing can fail either
 *
 * Asking for all the room before would not do: how much a table grows is not known before it has grown, and
 * what the heap has in one piece it may not have in several. A key that is named twice is staged twice: the
 * second value finds the first one's entry. */
#include "base/assert.h"
#include "base/err.h"
#include "store/write_internal.h"

static bool is_large(const struct access *a, const struct store_pair *p)
{
    return p->value.n > a->store->inline_max;
}

/* Whatever becomes of old meanwhile, it keeps its kind and its extent. */
static bool stays(const struct store_pair *p, const struct entry *old)
{
    uint32_t extent;
    if (old == NULL || (entry_kind(old) == ENTRY_INLINE) != (p->taken == NULL))
        return false;
    return write_fits(old, p->taken != NULL ? sizeof p->taken : p->value.n, 0, &extent);
}

static void drop_taken(const struct store_pair *p)
{
    if (p->taken != NULL)
        block_put(p->taken);
}

static int stage(const struct access *a, const struct key *k, struct store_pair *p)
{
    struct table_pos pos;
    p->fresh = NULL;
    p->taken = NULL;
    if (is_large(a, p) && (p->taken = write_block(p->value, p->block)) == NULL)
        return ERR_OOM;
    store_save_first(a, k);
    p->old = write_lookup(a, k, &pos);
    write_note(a, p->old);
    if (stays(p, p->old))
        return 0;
    const void *heap = p->taken;
    struct shape f = {{k->p, k->n}, ENTRY_INLINE, p->value, 0, k->db, 0, 0, 0, 0, {NULL, 0}};
    if (heap != NULL) {
        f.kind = ENTRY_BLOCK;
        f.value = write_heap_pointer(&heap);
    }
    p->fresh = write_enter(a, k, &f, 0, p->old, &pos);
    if (p->fresh == NULL) {
        drop_taken(p);
        return ERR_OOM;
    }
    if (p->taken != NULL)
        store_count_heap(a, (int64_t)write_block_value(p->taken).bytes);
    return 0;
}

static bool find(const struct access *a, const struct key *k, const struct entry *e, struct table_pos *pos)
{
    return table_find_entry(&a->app->tm, table_of(a->store, k), k->hash, e, pos);
}

static void undo(const struct access *a, const struct key *k, const struct store_pair *p)
{
    struct store *s = a->store;
    struct table_pos pos;
    if (p->fresh == NULL) {
        drop_taken(p);
        return;
    }
    bool found = find(a, k, p->fresh, &pos);
    ASSERT(found);
    if (p->old == NULL) {
        store_remove(a, k->slot, &pos, p->fresh);
        return;
    }
    table_replace(&a->app->tm, &pos, p->old);
    store_count_key(s, k->slot, k->db, entry_expire(p->fresh), -1);
    store_count_key(s, k->slot, k->db, entry_expire(p->old), 1);
    store_kill(a, p->fresh, true);
}

static void overwrite(const struct access *a, const struct key *k, const struct store_pair *p)
{
    struct table_pos pos;
    if (!find(a, k, p->old, &pos)) { /* a later value of this key has an entry of its own */
        drop_taken(p);
        return;
    }
    bool fits = p->taken != NULL ? write_heap_in_place(a, k, p->old, write_block_value(p->taken), 0, 0)
                                 : write_in_place(a, k, p->old, p->value, 0, 0);
    ASSERT(fits);
}

static void commit(const struct access *a, const struct key *k, const struct store_pair *p)
{
    if (p->fresh == NULL)
        overwrite(a, k, p);
    else if (p->old != NULL)
        store_kill(a, p->old, true);
    store_touch(a, k);
}

int store_put_pairs(const struct access *a, const struct key *keys, struct store_pair *pairs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        int err = stage(a, &keys[i], &pairs[i]);
        if (err == 0)
            continue;
        while (i-- > 0)
            undo(a, &keys[i], &pairs[i]);
        return err;
    }
    for (uint32_t i = 0; i < n; i++)
        commit(a, &keys[i], &pairs[i]);
    return 0;
}
