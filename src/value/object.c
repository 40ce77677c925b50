#include "value/object.h"

#include "base/assert.h"
#include "base/err.h"
#include "value/set.h"

_Static_assert(sizeof(struct object) == 8, "the head of every small collection");

const struct object_type *const object_types[OBJECT_KINDS] = {
    [OBJECT_SET] = &set_type,
};

bool object_drop(struct object *o)
{
    uint32_t was = atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel);
    ASSERT(was > 0);
    return was == 1;
}

void object_put(struct object *o)
{
    uint64_t all = UINT64_MAX;
    if (object_drop(o)) {
        bool gone = object_type(o)->free_step(o, &all);
        ASSERT(gone);
    }
}

/* Who reads which type byte. */
static const struct loader {
    uint8_t rdb_type;
    int (*load)(uint8_t rdb_type, struct object_source *src, const struct object_options *opt,
                struct object **out);
} loaders[] = {
    {RDB_TYPE_SET, set_load},
    {RDB_TYPE_SET_INTSET, set_load},
    {RDB_TYPE_SET_LISTPACK, set_load},
};

static const struct loader *loader_of(uint8_t rdb_type)
{
    for (unsigned i = 0; i < ARRAY_LEN(loaders); i++)
        if (loaders[i].rdb_type == rdb_type)
            return &loaders[i];
    return NULL;
}

bool object_rdb_known(uint8_t rdb_type)
{
    return loader_of(rdb_type) != NULL;
}

int object_load(uint8_t rdb_type, struct object_source *src, const struct object_options *opt,
                struct object **out)
{
    const struct loader *l = loader_of(rdb_type);
    return l == NULL ? ERR_CORRUPT : l->load(rdb_type, src, opt, out);
}
