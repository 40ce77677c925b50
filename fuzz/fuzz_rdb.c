/* An RDB stream from anybody: whatever it holds, it is read to its end or refused with a sentence. What is
 * read can be written again. The first byte says in which pieces the rest comes. */
#include "base/assert.h"
#include "base/err.h"
#include "persist/rdb.h"
#include "persist/rdb_read.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct feed {
    const uint8_t *p;
    size_t n, piece;
};

static int64_t give(void *arg, char *p, size_t n)
{
    struct feed *f = arg;
    n = n < f->piece ? n : f->piece;
    n = n < f->n ? n : f->n;
    memcpy(p, f->p, n);
    f->p += n;
    f->n -= n;
    return (int64_t)n;
}

static void write_again(const struct rdb_item *item)
{
    struct buf out;
    struct object_walk w = {0};
    int rc;
    buf_init(&out);
    if (item->object != NULL) {
        do {
            rc = object_type(item->object)->dump(item->object, RDB_VERSION_WRITTEN, &w, 1000, &out);
        } while (rc > 0);
    } else {
        rc = rdb_put_string(&out, item->value, true);
    }
    ASSERT(rc == 0);
    buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct object_options options = {.set_max_intset_entries = 8,
                                                  .set_max_listpack_entries = 8,
                                                  .set_max_listpack_value = 16,
                                                  .string_max = 1 << 20};
    struct rdb_reader r;
    struct rdb_item item;
    int rc;
    if (size == 0)
        return 0;
    struct feed f = {data + 1, size - 1, (size_t)data[0] + 1};
    rdb_reader_init(&r, give, &f, &options);
    while ((rc = rdb_read(&r, &item)) == 0) {
        write_again(&item);
        if (item.object != NULL)
            object_put(item.object);
    }
    ASSERT(rc == 1 || r.text[0] != '\0');
    rdb_reader_release(&r);
    return 0;
}
