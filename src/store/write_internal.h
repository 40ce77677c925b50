/* What the files that change keys share: write.c has them, edit.c and put_many.c use them.
 *
 * All of it with the key's shard locked, after store_save_first(). `old` is what write_lookup() gave, `pos`
 * where it lies. */
#ifndef LARDER_STORE_WRITE_INTERNAL_H
#define LARDER_STORE_WRITE_INTERNAL_H

#include "base/alloc.h"
#include "store/shard.h"
#include "store/store.h"

/* What lies outside the entry: a block or a collection, and one reference to it. */
struct heap_value {
    enum entry_kind kind;
    const void *p;
    size_t bytes;
};

static inline struct heap_value write_block_value(struct block *b)
{
    return (struct heap_value){ENTRY_BLOCK, b, mem_usable(b)};
}

/* As an entry stores it. */
static inline struct str write_heap_pointer(const void *const *p)
{
    return (struct str){(const char *)p, sizeof *p};
}

/* What is to be replaced: an expired key counts as absent, and is gone after this. Where it is not
 * ours to delete (EXPIRED_HIDE), whatever replaces it may, but inherits nothing. */
struct entry *write_lookup(const struct access *a, const struct key *k, struct table_pos *pos);
/* The deadline that what replaces e (NULL: nothing) inherits. */
int64_t write_inherited(const struct access *a, const struct entry *e);
/* A write is an access as well. */
void write_note(const struct access *a, struct entry *old);

/* Write a new entry and let it take the place of old, which lives on outside of the table, or a place of
 * its own. Returns the entry or NULL with nothing changed. */
struct entry *write_enter(const struct access *a, const struct key *k, struct shape *f, uint64_t slack,
                          struct entry *old, const struct table_pos *pos);
/* The same, and old dies. `drop`: its heap value goes, too. */
struct entry *write_put_entry(const struct access *a, const struct key *k, struct shape *f, uint64_t slack,
                              struct entry *old, const struct table_pos *pos, bool drop);

/* Can e hold a value of n stored bytes and this deadline without moving? Then *extent is its room. */
bool write_fits(const struct entry *e, uint64_t n, int64_t expire_ms, uint32_t *extent);
/* Change the length of an inline value in place. Returns where its bytes are. */
char *write_resize(const struct access *a, struct entry *e, uint32_t n, uint32_t marks, uint32_t extent);
/* Another value where the old one lies. False: it does not fit, and nothing has changed. */
bool write_in_place(const struct access *a, const struct key *k, struct entry *old, struct str bytes,
                    int64_t expire_ms, uint32_t marks);
/* Takes v, unless it is false. */
bool write_heap_in_place(const struct access *a, const struct key *k, struct entry *old, struct heap_value v,
                         int64_t expire_ms, uint32_t marks);

/* The value's own block, or a new one with its bytes in it; NULL when memory is short. Returned owned. */
struct block *write_block(struct str bytes, struct block *block);
/* Heap values are counted in the list of the entry that holds them, too. */
void write_count_heap(const struct access *a, const struct entry *e, int64_t bytes);
/* Exchange the heap value of an entry; takes v. */
void write_swap_heap(const struct access *a, struct entry *e, struct heap_value v, uint32_t marks);
/* Takes v, unless it fails: 0 or ERR_OOM with nothing changed. */
int write_put_heap(const struct access *a, const struct key *k, struct entry *old,
                   const struct table_pos *pos, struct heap_value v, int64_t expire_ms, uint32_t marks,
                   struct str ext);
/* What e is, to be written anew; its bytes lie in e. */
struct shape write_shape_of(const struct segments *segs, const struct entry *e);

#endif
