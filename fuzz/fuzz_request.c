/* Requests from an enemy. The first byte chooses whether the client is authenticated,
 * the second where the input is cut; the rest is parsed as a connection would:
 *
 *   - at once, request after request, to the end or to an error;
 *   - in pieces, remembering the progress of a cut request, and again without.
 *
 * All three must see the same requests and end in the same way, and every argument
 * must lie within its request. */
#include "base/arena.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "proto/request.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BULK_MAX = 1 << 20, PIECE_MAX = 37 };

struct outcome {
    uint64_t digest; /* of all requests, their arguments and lengths */
    size_t requests, used;
    int err;
    char error[64];
};

static void digest(struct outcome *o, const void *p, size_t n)
{
    const struct hash_seed seed = {o->digest, n};
    o->digest = hash_sip13(p, n, &seed);
}

static void note_request(struct outcome *o, const struct request *r, struct str in)
{
    ASSERT(r->bytes > 0 && r->bytes <= in.n);
    ASSERT(r->argc <= REQUEST_ARGS_MAX);
    digest(o, &r->argc, sizeof r->argc);
    for (uint32_t i = 0; i < r->argc; i++) {
        struct str a = r->argv[i];
        bool inside = a.p >= in.p && a.p + a.n <= in.p + r->bytes;
        ASSERT(inside || in.p[0] != '*'); /* those of an inline request are unquoted elsewhere */
        digest(o, a.p, a.n);
    }
    o->requests++;
    o->used += r->bytes;
}

static void note_error(struct outcome *o, const struct request_parser *p)
{
    ASSERT(p->error != NULL && strlen(p->error) < sizeof o->error);
    memcpy(o->error, p->error, strlen(p->error) + 1);
}

/* Parse whatever is whole in the first `n` bytes. The copy has no byte to spare. */
static void parse_prefix(struct outcome *o, struct request_parser *p, const uint8_t *data, size_t n)
{
    struct arena arena;
    char *copy = malloc(n > 0 ? n : 1);
    ASSERT(copy != NULL);
    memcpy(copy, data, n);
    arena_init(&arena);
    for (;;) {
        struct str in = {copy + o->used, n - o->used};
        struct request r;
        o->err = request_parse(p, in, &arena, &r);
        if (o->err < 0)
            break;
        note_request(o, &r, in);
        arena_reset(&arena);
    }
    if (o->err == ERR_PROTO)
        note_error(o, p);
    else
        ASSERT(o->err == ERR_AGAIN && p->need >= 1);
    arena_release(&arena);
    free(copy);
}

static void assert_same(const struct outcome *a, const struct outcome *b)
{
    ASSERT(a->err == b->err && a->requests == b->requests && a->used == b->used);
    ASSERT(a->digest == b->digest);
    ASSERT(strcmp(a->error, b->error) == 0);
}

static struct outcome parse_in_pieces(const uint8_t *data, size_t size, size_t first, bool authenticated,
                                      struct request_progress *progress)
{
    struct outcome o = {0};
    struct request_parser p = {.bulk_max = BULK_MAX, .authenticated = authenticated, .progress = progress};
    for (size_t n = first % (size + 1);;) {
        parse_prefix(&o, &p, data, n);
        if (o.err == ERR_PROTO || n == size)
            return o;
        size_t piece = 1 + (n * 7 + first) % PIECE_MAX;
        n = piece < size - n ? n + piece : size;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    bool authenticated = data[0] & 1;
    size_t first = data[1];
    data += 2;
    size -= 2;

    struct outcome whole = {0};
    struct request_parser p = {.bulk_max = BULK_MAX, .authenticated = authenticated};
    parse_prefix(&whole, &p, data, size);

    struct request_progress progress = {0};
    struct outcome pieces = parse_in_pieces(data, size, first, authenticated, &progress);
    assert_same(&whole, &pieces);
    if (size < 2000) { /* starting again each time costs the square of the size */
        pieces = parse_in_pieces(data, size, first, authenticated, NULL);
        assert_same(&whole, &pieces);
    }
    return 0;
}
