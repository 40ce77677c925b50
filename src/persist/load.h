/* From an RDB stream into the store. */
#ifndef LARDER_PERSIST_LOAD_H
#define LARDER_PERSIST_LOAD_H

#include "persist/rdb_read.h"
#include "store/store.h"

/* An entry is to be put with its extension; its shard is locked. 0 or ERR_OOM. */
typedef int load_extra_fn(const struct access *a, const struct key *k, struct str value, struct str extra);

/* What belongs to the data and to no key. */
typedef void load_state_fn(const struct access *a, struct str state);

struct load {
    struct rdb_reader reader;
    uint64_t loaded, expired; /* keys */
    bool keep_expired;        /* they are the primary's to delete */
    bool keep_in_history;     /* as far as the file has a place in a history: replicas want to hear of it */
    load_extra_fn *put_extra; /* NULL: extensions are dropped, and what plain commands do not see */
    load_state_fn *put_state; /* NULL: nobody wants it */
    struct rdb_item item;     /* read and, if `pending`, not put yet */
    bool pending;
    char text[RDB_TEXT_MAX]; /* why it failed */
};

void load_init(struct load *l, rdb_read_fn *read, void *arg, const struct object_options *objects);
void load_release(struct load *l);

/* Up to `keys` keys, each under its shard's lock, replacing what is there. In a round, or under the gate.
 * Returns 0 while there is more, 1 when all is loaded, or a negative error: then the store holds a part,
 * which the caller has to flush. ERR_AGAIN: a long operation has the next key's shard; end the round and call
 * again. */
int load_step(struct load *l, const struct access *a, uint32_t databases, uint32_t keys);

#endif
