/* Replies from an enemy: a server that a client was lured to.
 *
 * Parsing and skipping must agree on where a reply ends; every text lies within the
 * input, the tree holds together, and a cut reply is told from a broken one: what was
 * refused stays refused with more bytes behind it, and `need` never asks for more
 * than was missing. */
#include "base/arena.h"
#include "base/assert.h"
#include "base/err.h"
#include "proto/reader.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BULK_MAX = 1 << 20, CUTS_MAX = 64 };

static void assert_within(struct str s, struct str in)
{
    ASSERT(s.n == 0 || (s.p >= in.p && s.p + s.n <= in.p + in.n));
}

static void check_value(const struct reader_value *v, struct str in, unsigned depth)
{
    ASSERT(depth <= READER_DEPTH_MAX);
    ASSERT((v->n > 0) == (v->children != NULL));
    ASSERT(v->kind != READ_ATTRIBUTE || depth == 0);
    ASSERT(v->kind != READ_MAP || v->n % 2 == 0);
    ASSERT(v->kind != READ_BOOL || v->integer == 0 || v->integer == 1);
    assert_within(v->text, in);
    for (uint64_t i = 0; i < v->n; i++)
        check_value(&v->children[i], in, depth + 1);
}

/* A copy without a byte to spare, parsed and skipped. Returns what parsing said. */
static int read_one(const uint8_t *data, size_t n, size_t *used, size_t *need)
{
    struct arena arena;
    struct reader_value v;
    struct str in = {malloc(n > 0 ? n : 1), n};
    size_t skipped = 0;
    bool error, null;
    ASSERT(in.p != NULL);
    memcpy((char *)in.p, data, n);
    arena_init(&arena);
    int err = reader_parse(in, BULK_MAX, &arena, &v, used, need);
    int skip_err = reader_skip(in, &skipped, &error, &null);
    if (err == 0) {
        ASSERT(*used > 0 && *used <= n);
        check_value(&v, in, 0);
        if (v.kind != READ_ATTRIBUTE) {
            ASSERT(skip_err == 0 && skipped == *used);
            ASSERT(error == (v.kind == READ_ERROR || v.kind == READ_BLOB_ERROR));
            ASSERT(null == (v.kind == READ_NULL));
        }
    } else {
        ASSERT(err == ERR_AGAIN || err == ERR_PROTO);
        ASSERT(err != ERR_AGAIN || *need >= 1);
    }
    arena_release(&arena);
    free((char *)in.p);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t used = 0, need = 0;
    int whole = read_one(data, size, &used, &need);
    size_t end = whole == 0 ? used : size, step = end / CUTS_MAX + 1;
    for (size_t n = 0; n < end; n += step) {
        size_t early_used = 0, early_need = 0;
        int early = read_one(data, n, &early_used, &early_need);
        ASSERT(early != 0); /* the reply has not ended yet */
        if (early == ERR_PROTO)
            ASSERT(whole == ERR_PROTO);
        else if (whole == 0)
            ASSERT(early_need <= end - n);
    }
    return 0;
}
