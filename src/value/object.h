/* A collection (set, and later list, hash, sorted set, stream) as the store, the
 * snapshot and the commands that know no types see it.
 *
 *      entry (ENTRY_OBJECT) ──> struct object { refs | type | encoding | ... }   in the heap
 *                                    │
 *                                    └─> struct object_type: what can be done with any collection
 *
 * An object is refcounted and shared copy-on-write, like a block: an entry holds one
 * reference; COPY, a snapshot or a reply take more. It may be changed only by whoever
 * holds its only reference (object_is_private()) and the lock of its key's shard; anybody
 * else copies it first. A copy is cheap whatever the size: types share what is inside,
 * chunk by chunk, and copy a chunk when one side writes to it. So whoever holds a
 * reference sees the object as it was when it took it, for as long as it likes, without
 * a lock, and the next writer pays microseconds.
 *
 * Changing an object may move it: functions that change take `struct object **`, and the
 * caller tells the store where it is now (store_object_changed()).
 *
 * References may be taken and dropped on any thread. What is large is never freed at
 * once: whoever drops a reference that may be the last one gives it to
 * store_release_object(), which frees it in slices. object_put() frees all of it. */
#ifndef LARDER_VALUE_OBJECT_H
#define LARDER_VALUE_OBJECT_H

#include "base/annotate.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/str.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The place of a type in object_types[]; the numbers are those of DEBUG DIGEST. */
enum object_kind { OBJECT_SET = 2, OBJECT_KINDS = 7 };

/* The head of every collection. */
struct object {
    _Atomic uint32_t refs;
    uint8_t kind;     /* enum object_kind */
    uint8_t encoding; /* the type's own */
    bool large;       /* begins with a struct object_large, and freeing it takes long */
    uint8_t spare;
};

/* The head of those that are freed in slices. */
struct object_large {
    struct object head;
    struct object_large *next; /* the store's, once the last reference is gone */
};

/* What constructors need to know. Borrowed for the call; read-only in a round. */
struct object_options {
    struct hash_seed seed; /* secret: hash tables of values are made with it */
    uint64_t set_max_intset_entries;
    uint64_t set_max_listpack_entries;
    uint64_t set_max_listpack_value; /* bytes */
    uint64_t string_max;             /* a longer member is refused by load(); 0 = 512 MB */
};

/* One thing in a collection: a set's member is a name; hashes have values, sorted sets scores. */
struct object_item {
    struct str name, value;
    double score;
};
typedef bool object_visit_fn(void *arg, const struct object_item *item); /* false stops */

/* Where a walk through an unchanging object is; zero = at its beginning. Whoever walks in
 * several steps holds a reference (or the shard's lock) from the first to the last. */
struct object_walk {
    uint64_t at;
    uint32_t within;
    bool begun;
};

/* Bytes of an RDB file, as they come. more() gets more of them behind what is left in `in` (which may
 * move) and returns 0, ERR_AGAIN at the end, or another error. NULL: there are no more. */
struct object_source {
    struct str in;
    int (*more)(struct object_source *src);
};

struct object_type {
    const char *name;                                /* TYPE */
    const char *(*encoding)(const struct object *o); /* OBJECT ENCODING, in the words of Redis 7.2 */
    uint64_t (*count)(const struct object *o);
    size_t (*bytes)(const struct object *o); /* of heap, as if nothing were shared. O(1) */

    /* A private twin, returned owned: one reference, nothing that both see is ever changed. NULL when
     * memory is short. O(chunks). The caller holds the shard's lock of o's key, or o's last change
     * happened before it got its reference. */
    struct object *(*copy)(struct object *o);
    /* What copy() will do at most: about that many ns. */
    uint64_t (*copy_cost)(const struct object *o);

    /* The last reference is gone: free about *budget allocations' worth, count it down, return true when
     * everything is gone, the object included. */
    bool (*free_step)(struct object *o, uint64_t *budget);

    /* Visit about `most` items (whole chunks). False when that was the end, or visit() said so. */
    bool (*each)(const struct object *o, struct object_walk *w, uint64_t most, object_visit_fn *visit,
                 void *arg);

    /* The RDB type byte for readers of this RDB version (10: Redis 7.0, 11: 7.2), and the body behind it:
     * appends about `most` bytes to out. Returns 1 while there is more, 0 when it is complete, ERR_OOM
     * (then *w and out are as before this step). */
    uint8_t (*rdb_type)(const struct object *o, uint32_t version);
    int (*dump)(const struct object *o, uint32_t version, struct object_walk *w, size_t most,
                struct buf *out);
};

extern const struct object_type *const object_types[OBJECT_KINDS]; /* NULL where there is none yet */

static inline const struct object_type *object_type(const struct object *o)
{
    return object_types[o->kind];
}

/* Is this RDB type byte one that object_load() reads? */
bool object_rdb_known(uint8_t rdb_type);

/* Take the body of such a value off the front of src->in: hostile input is expected. Returns 0 with
 * *out returned owned; ERR_AGAIN when the input ends too early, ERR_CORRUPT, ERR_OOM or more()'s error.
 * Never gives an empty collection: ERR_NOTFOUND when there is nothing in it (skip the key). */
int object_load(uint8_t rdb_type, struct object_source *src, const struct object_options *opt,
                struct object **out);

static inline void object_get(struct object *o)
{
    atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
}

static inline bool object_is_private(const struct object *o)
{
    return atomic_load_explicit(&o->refs, memory_order_acquire) == 1;
}

/* Drops a reference; true when it was the last one, and the caller must see to object_free_step(). */
bool object_drop(struct object *o) MUST_CHECK;
void object_put(struct object *o); /* drops, and frees however long it takes */

#endif
