/* Strings that are changed in part: APPEND, SETRANGE, SETBIT and their kin.
 *
 * In place where it fits. What grows gets slack, so that the next APPEND fits. */
#include "base/err.h"
#include "store/write_internal.h"

#include <string.h>

enum {
    SLACK_SHARE = 2,            /* a grown string gets 1/2 of its size as slack ... */
    BLOCK_DOUBLE_MAX = 1 << 20, /* ... a block doubles up to this ... */
    BLOCK_GROW_SHARE = 4,       /* ... and grows by 1/4 beyond */
};

static size_t block_room(size_t n)
{
    return n < BLOCK_DOUBLE_MAX ? n * 2 : n + n / BLOCK_GROW_SHARE;
}

/* A block of n bytes that starts with `from` and is zero behind it. `room` >= n. */
static struct block *block_from(struct str from, size_t n, size_t room)
{
    struct block *b = block_new(room);
    if (b == NULL)
        return NULL;
    size_t keep = from.n < n ? from.n : n;
    memcpy(b->data, from.p, keep);
    memset(b->data + keep, 0, n - keep);
    b->n = n;
    return b;
}

static void mark_raw(struct entry *e)
{
    atomic_store_explicit(&e->word, entry_word(e) | ENTRY_RAW, memory_order_release);
}

/* The block of a live entry, made private and n bytes long. NULL when memory is short. */
static struct block *edit_block(const struct access *a, struct entry *e, size_t n)
{
    struct block *b = entry_block(e);
    size_t old = b->n, usable = mem_usable(b);
    if (!block_is_private(b)) {
        b = block_from(block_str(b), n, n > old ? block_room(n) : n);
        if (b != NULL)
            write_swap_heap(a, e, write_block_value(b), ENTRY_RAW);
        return b;
    }
    if (n > b->cap) {
        b = block_grow(b, block_room(n));
        if (b == NULL)
            return NULL;
        entry_set_heap(e, b);
        store_count_heap(a, (int64_t)mem_usable(b) - (int64_t)usable);
        write_count_heap(a, e, (int64_t)mem_usable(b) - (int64_t)usable);
    }
    if (n > old)
        memset(b->data + old, 0, n - old);
    b->n = n;
    mark_raw(e);
    return b;
}

/* Without touching the table: NULL when that does not do. */
static char *edit_in_place(const struct access *a, struct entry *cur, size_t n)
{
    uint32_t extent, old = entry_parts(cur).vlen;
    if (n > a->store->inline_max || entry_kind(cur) != ENTRY_INLINE ||
        !write_fits(cur, n, entry_expire(cur), &extent))
        return NULL;
    char *data = write_resize(a, cur, (uint32_t)n, ENTRY_RAW, extent);
    if (n > old)
        memset(data + old, 0, n - old);
    return data;
}

/* A new inline entry takes the place of what is there (old: its bytes), with slack if it has grown. */
static int edit_inline(const struct access *a, const struct key *k, struct entry *cur,
                       const struct table_pos *pos, struct str old, size_t n, char **data)
{
    char keep[INLINE_MAX];
    size_t nkeep = old.n < n ? old.n : n;
    uint64_t slack = cur != NULL && n > old.n ? n / SLACK_SHARE : 0;
    struct shape f = {
        {k->p, k->n}, ENTRY_INLINE, {NULL, n}, write_inherited(a, cur), k->db, ENTRY_RAW, 0, 0, 0, {NULL, 0}};
    memcpy(keep, old.p, nkeep);
    struct entry *e = write_put_entry(a, k, &f, slack, cur, pos, true);
    if (e == NULL)
        return ERR_OOM;
    *data = entry_parts(e).value;
    memcpy(*data, keep, nkeep);
    return 0;
}

static int edit_to_block(const struct access *a, const struct key *k, struct entry *cur,
                         const struct table_pos *pos, struct str old, size_t n, char **data)
{
    struct block *b = block_from(old, n, cur != NULL ? block_room(n) : n);
    if (b == NULL)
        return ERR_OOM;
    if (write_put_heap(a, k, cur, pos, write_block_value(b), write_inherited(a, cur), ENTRY_RAW,
                       (struct str){NULL, 0}) != 0) {
        block_put(b);
        return ERR_OOM;
    }
    *data = b->data;
    return 0;
}

/* An extended entry of which a part is about to change: from now on it is a plain one, until the end of its
 * freshness. NULL when memory is short. */
static struct entry *make_plain(const struct access *a, const struct key *k, struct entry *e,
                                const struct table_pos *pos)
{
    struct shape f = write_shape_of(&a->store->segs, e);
    f.ext = (struct str){NULL, 0};
    f.expire_ms = entry_deadline(e);
    ext_tell_dying(
        a, e); /* before its room may be somebody else's; if there is no memory it was told too much */
    return write_put_entry(a, k, &f, 0, e, pos, false);
}

static int edit_string(const struct access *a, const struct key *k, struct entry *cur, size_t n, char **data)
{
    struct table_pos pos;
    struct block *b;
    struct str old = {"", 0};
    if (unlikely(cur != NULL && (entry_word(cur) & ENTRY_EXT))) {
        (void)write_lookup(a, k, &pos);
        if ((cur = make_plain(a, k, cur, &pos)) == NULL)
            return ERR_OOM;
    }
    if (cur != NULL) {
        if ((*data = edit_in_place(a, cur, n)) != NULL)
            return 0;
        if (entry_kind(cur) == ENTRY_BLOCK && n > a->store->inline_max) {
            b = edit_block(a, cur, n);
            *data = b != NULL ? b->data : NULL;
            return b != NULL ? 0 : ERR_OOM;
        }
        old = entry_string(cur, &b);
    }
    struct entry *found =
        write_lookup(a, k, &pos); /* expired but kept: it is replaced, but counts as absent */
    if (unlikely(found != cur && (entry_word(found) & ENTRY_EXT))) { /* hidden: absent */
        store_remove(a, k->slot, &pos, found);
        found = write_lookup(a, k, &pos);
    }
    DEBUG_ASSERT(found == cur || (cur == NULL && a->expired == EXPIRED_HIDE));
    if (n > a->store->inline_max)
        return edit_to_block(a, k, found, &pos, old, n, data);
    return edit_inline(a, k, found, &pos, old, n, data);
}

int store_edit_string(const struct access *a, const struct key *k, struct entry *cur, size_t n, char **data)
{
    DEBUG_ASSERT(cur == NULL || entry_is_string(cur));
    store_save_first(a, k);
    int err = edit_string(a, k, cur, n, data);
    if (err == 0)
        store_touch(a, k);
    return err;
}
