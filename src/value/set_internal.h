/* How a set lies in memory: for set.c and set_rdb.c only. */
#ifndef LARDER_VALUE_SET_INTERNAL_H
#define LARDER_VALUE_SET_INTERNAL_H

#include "ds/strset.h"
#include "value/set.h"

struct set_small {
    struct object head;
    char data[]; /* an intset or a listpack */
};

struct set_large {
    struct object_large head;
    struct strset s;
};

static inline const char *set_data(const struct object *o)
{
    return ((const struct set_small *)o)->data;
}

static inline char *set_data_of(struct object *o)
{
    return ((struct set_small *)o)->data;
}

static inline const struct strset *set_strset(const struct object *o)
{
    return &((const struct set_large *)o)->s;
}

static inline struct strset *set_strset_of(struct object *o)
{
    return &((struct set_large *)o)->s;
}

/* With room for so many bytes of data, which the caller fills. */
struct object *set_small_new(enum set_encoding encoding, size_t bytes);
struct object *set_large_new(const struct object_options *opt);
/* Every member of o in a hashed set, returned owned; NULL when memory is short. */
struct object *set_hashed_from(const struct object *o, const struct object_options *opt);

/* RDB, in set_rdb.c */
uint8_t set_rdb_type(const struct object *o, uint32_t version);
int set_dump(const struct object *o, uint32_t version, struct object_walk *w, size_t most, struct buf *out);

#endif
