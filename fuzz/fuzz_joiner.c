/* A hostile replica, as seen by its primary. The first byte says how the requests are cut; the rest are the
 * requests, first those of a client (REPLCONF, PSYNC), then, behind a PSYNC, those of a replica (ACK).
 *
 * What it says about itself can be shown on a line; who may go on gets exactly the bytes of the log behind
 * its place; nobody has more than there is; and it does not matter how the network cut what it said. */
#include "base/assert.h"
#include "base/err.h"
#include "base/num.h"
#include "proto/request.h"
#include "repl/joiner.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char our_id[] = "00112233445566778899aabbccddeeff00112233";
static const char old_id[] = "ffeeddccbbaa99887766554433221100ffeeddcc";

enum { OLD_END = 1200, LOG_BEGIN = 1000, LOG_BYTES = 500, LOG_END = LOG_BEGIN + LOG_BYTES };

struct primary {
    struct history history;
    struct changelog log;
    struct arena arena;
};

struct outcome {
    struct joiner joiner;
    struct joiner_wish wish;
    struct joiner_ack ack;
    int error;
    bool asked, goes_on;
    uint32_t refused;
    size_t used;
};

static char byte_at(uint64_t offset)
{
    return (char)('a' + offset % 26);
}

static void primary_init(struct primary *p)
{
    char bytes[LOG_BYTES];
    for (unsigned i = 0; i < LOG_BYTES; i++)
        bytes[i] = byte_at(LOG_BEGIN + i);
    history_init(&p->history, old_id);
    history_branch(&p->history, our_id, OLD_END);
    changelog_init(&p->log, 1, 1 << 20, NULL);
    changelog_start(&p->log, LOG_BEGIN);
    changelog_append(&p->log, 0, bytes, sizeof bytes);
    arena_init(&p->arena);
}

static void primary_release(struct primary *p)
{
    arena_release(&p->arena);
    changelog_release(&p->log);
}

static void check_joiner(const struct joiner *a)
{
    size_t n = strnlen(a->ip, sizeof a->ip);
    ASSERT(n < sizeof a->ip);
    for (size_t i = 0; i < n; i++)
        ASSERT(a->ip[i] > ' ' && a->ip[i] <= '~');
}

static void go_on(struct primary *p, struct outcome *o)
{
    char bytes[LOG_BYTES + 1];
    struct changelog_reader reader;
    o->goes_on = joiner_goes_on(&o->wish, &p->history, &p->log, &reader);
    if (!o->goes_on)
        return;
    uint64_t at = (uint64_t)o->wish.from - 1;
    ASSERT(at >= LOG_BEGIN && at <= LOG_END);
    ASSERT(strcmp(o->wish.id, our_id) == 0 || (strcmp(o->wish.id, old_id) == 0 && at <= OLD_END));
    int64_t n = changelog_read(&p->log, &reader, bytes, sizeof bytes);
    ASSERT(n == (int64_t)(LOG_END - at));
    for (int64_t i = 0; i < n; i++)
        ASSERT(bytes[i] == byte_at(at + (uint64_t)i));
    changelog_reader_close(&p->log, &reader);
}

static void on_request(struct primary *p, struct outcome *o, const struct request *req)
{
    if (req->argc >= 3 && str_is(req->argv[0], "PSYNC")) {
        o->asked = joiner_wish(&o->wish, req->argv + 1, req->argc - 1) == 0;
        if (o->asked)
            go_on(p, o);
    } else if (req->argc > 0 && str_is(req->argv[0], "REPLCONF")) {
        for (uint32_t i = 1; i + 1 < req->argc; i += 2)
            o->refused += joiner_learn(&o->joiner, req->argv[i], req->argv[i + 1]) != JOINER_FINE;
        check_joiner(&o->joiner);
    }
}

/* As a client, until it asks. */
static size_t greet(struct primary *p, struct outcome *o, struct str in)
{
    struct request_parser rp = {.bulk_max = JOINER_INPUT_MAX, .authenticated = true};
    struct request req;
    size_t used = 0;
    while (used < in.n && !o->asked && o->error == 0) {
        arena_reset(&p->arena);
        o->error = request_parse(&rp, (struct str){in.p + used, in.n - used}, &p->arena, &req);
        if (o->error != 0)
            break;
        on_request(p, o, &req);
        used += req.bytes;
    }
    if (o->error == ERR_AGAIN)
        o->error = 0;
    return used;
}

/* As a replica. */
static size_t acknowledge(struct primary *p, struct outcome *o, struct str in)
{
    struct joiner_ack ack;
    size_t used = 0;
    o->error = joiner_acks(in, LOG_END, &p->arena, &ack, &used);
    ASSERT(used <= in.n && (o->error == 0 || o->error == ERR_PROTO || o->error == ERR_RANGE));
    if (o->error == 0 && ack.any) {
        ASSERT(ack.offset <= LOG_END && ack.fsynced <= LOG_END);
        o->ack = ack;
    }
    return used;
}

static struct outcome run(struct primary *p, const uint8_t *data, size_t size, size_t piece)
{
    struct outcome o;
    size_t used = 0, there = 0;
    memset(&o, 0, sizeof o); /* padding, too: it is compared */
    char *copy = malloc(size > 0 ? size : 1);
    ASSERT(copy != NULL);
    memcpy(copy, data, size);
    while (there < size && o.error == 0) {
        there = size - there < piece ? size : there + piece;
        if (!o.asked)
            used += greet(p, &o, (struct str){copy + used, there - used});
        if (o.asked && o.error == 0)
            used += acknowledge(p, &o, (struct str){copy + used, there - used});
    }
    o.used = used;
    free(copy);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct primary p;
    if (size < 1)
        return 0;
    primary_init(&p);
    struct outcome whole = run(&p, data + 1, size - 1, size);
    struct outcome pieces = run(&p, data + 1, size - 1, 1 + data[0]);
    ASSERT(whole.error == pieces.error && whole.asked == pieces.asked && whole.goes_on == pieces.goes_on);
    ASSERT(memcmp(&whole.joiner, &pieces.joiner, sizeof whole.joiner) == 0);
    ASSERT(strcmp(whole.wish.id, pieces.wish.id) == 0 && whole.wish.from == pieces.wish.from);
    ASSERT(whole.refused == pieces.refused && whole.used == pieces.used);
    if (whole.error == 0) /* else a word before the bad one counts only where it came alone */
        ASSERT(whole.ack.any == pieces.ack.any && whole.ack.offset == pieces.ack.offset &&
               whole.ack.fsynced == pieces.ack.fsynced);
    primary_release(&p);
    return 0;
}
