/* A hostile primary, as seen by a replica. The first byte says what we ask for, the second how the answer is
 * cut; the rest is the answer: handshake, full copy, stream.
 *
 * At once and in pieces it must come to the same state and payload (but for a copy that ends with a mark,
 * which is only looked for where bytes end), no number that is beyond reason may be believed, and units of
 * the stream must lie within it. */
#include "base/assert.h"
#include "base/err.h"
#include "repl/link.h"
#include "repl/stream.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ASKS_AGAIN = 1, HAS_PASSWORD = 2, HAS_IP = 4, FAILS_OVER = 8 };

static const char our_id[] = "00112233445566778899aabbccddeeff00112233";

struct outcome {
    enum link_state state;
    enum link_event last;
    bool marked;
    uint64_t payload, digest, stream, left;
    char text[LINK_TEXT_MAX];
};

static void begin(struct link *l, uint8_t asks)
{
    struct history h;
    struct link_config config = {.port = 6379, .failover = asks & FAILS_OVER};
    if (asks & HAS_PASSWORD)
        config.password = STR("secret");
    if (asks & HAS_IP)
        config.ip = STR("10.0.0.1");
    history_init(&h, our_id);
    link_init(l);
    link_begin(l, &config, asks & ASKS_AGAIN ? &h : NULL, 1000);
}

static void take_payload(struct outcome *o, struct link *l, struct str *in)
{
    struct str piece;
    do {
        (void)link_payload(l, in, &piece);
        o->payload += piece.n;
        for (size_t i = 0; i < piece.n; i++) /* byte by byte: pieces may be cut anywhere */
            o->digest = (o->digest ^ (uint8_t)piece.p[i]) * 0x100000001b3;
    } while (in->n > 0 && l->state == LINK_PAYLOAD);
}

static bool is_over(const struct outcome *o)
{
    return o->last == LINK_BROKEN || o->last == LINK_LATER;
}

static void check(const struct link *l, const struct outcome *o)
{
    ASSERT(!l->out.oom);
    ASSERT(strlen(l->text) < sizeof l->text);
    if (o->last == LINK_FULL || o->last == LINK_CONTINUE)
        ASSERT(history_id_ok((struct str){l->id, HISTORY_ID}) && l->offset <= INT64_MAX >> 12);
    if (o->last == LINK_CONTINUE)
        ASSERT(l->has_history);
}

/* What of `in` is not used up is given again with more behind it. */
static size_t feed(struct outcome *o, struct link *l, const char *p, size_t n)
{
    struct str in = {p, n};
    while (in.n > 0 && !is_over(o) && l->state < LINK_PAYLOAD) {
        enum link_event e = link_feed(l, &in);
        if (e != LINK_NOTHING)
            o->last = e;
        check(l, o);
        if (e == LINK_NOTHING)
            break;
    }
    if (!is_over(o) && l->state == LINK_PAYLOAD)
        take_payload(o, l, &in);
    return n - in.n;
}

static void read_stream(struct outcome *o, struct str in)
{
    struct arena arena;
    struct stream s;
    struct stream_unit u;
    arena_init(&arena);
    while (in.n > 0 && stream_next(&s, in, &arena, &u) == 0) {
        ASSERT(u.bytes > 0 && u.bytes <= in.n);
        for (uint32_t i = 0; i < u.n; i++)
            ASSERT(u.commands[i].argc > 0);
        o->stream += u.bytes;
        in.p += u.bytes;
        in.n -= u.bytes;
        arena_reset(&arena);
    }
    arena_release(&arena);
}

static struct outcome run(const uint8_t *data, size_t size, uint8_t asks, size_t piece)
{
    struct outcome o = {0};
    struct link l;
    size_t used = 0, there = piece;
    char *copy = malloc(size > 0 ? size : 1);
    ASSERT(copy != NULL);
    memcpy(copy, data, size);
    begin(&l, asks);
    for (;;) {
        there = there < size ? there : size;
        used += feed(&o, &l, copy + used, there - used);
        if (there == size || is_over(&o) || l.state == LINK_STREAM)
            break;
        there += piece;
    }
    if (!is_over(&o) && l.state == LINK_STREAM)
        read_stream(&o, (struct str){copy + used, size - used});
    o.state = l.state;
    o.marked = l.marked;
    o.left = l.left;
    memcpy(o.text, l.text, sizeof o.text);
    link_release(&l);
    free(copy);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct outcome whole = run(data + 2, size - 2, data[0], size);
    struct outcome pieces = run(data + 2, size - 2, data[0], 1 + data[1]);
    if (whole.marked && pieces.marked)
        return 0;
    ASSERT(whole.state == pieces.state && whole.last == pieces.last && whole.marked == pieces.marked);
    ASSERT(whole.payload == pieces.payload && whole.digest == pieces.digest && whole.left == pieces.left);
    ASSERT(whole.stream == pieces.stream && strcmp(whole.text, pieces.text) == 0);
    return 0;
}
