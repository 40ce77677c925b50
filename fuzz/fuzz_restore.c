/* RESTORE of a payload from anybody, whose footer is made sound, so that what lies before it is read: refused
 * with the key as it was, or a value that DUMP gives back and RESTORE takes again.
 *
 *      options' bits | type | value as in an RDB file */
#include "base/assert.h"
#include "base/bytes.h"
#include "base/hash.h"
#include "cmd/cmd.h"
#include "cmd/dump.h"
#include "cmd/handlers.h"
#include "value/set.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PAYLOAD_MAX = 1 << 16, VERSION_BYTES = 2, FOOTER = VERSION_BYTES + 8, CHECK_EVERY = 256 };

struct bench {
    struct store *store;
    struct cmd_ctx ctx;
    struct cmd_limits limits;
    struct cmd_counters counters;
    struct session session;
    struct arena arena;
    struct reply reply;
    struct key keys[1];
};

static void bench_init(struct bench *b)
{
    struct store_options o = {.databases = 1, .threads = 1, .seed = {1, 2}};
    b->limits = (struct cmd_limits){.bulk_max = 1 << 20,
                                    .databases = 1,
                                    .objects = {.set_max_intset_entries = 8,
                                                .set_max_listpack_entries = 8,
                                                .set_max_listpack_value = 16,
                                                .string_max = 1 << 20}};
    ASSERT(store_new(&b->store, &o) == 0);
    arena_init(&b->arena);
    reply_init(&b->reply, block_get, block_put);
    b->ctx = (struct cmd_ctx){.keys = b->keys,
                              .nkeys = 1,
                              .reply = &b->reply,
                              .a = {.store = b->store, .app = store_appender(b->store, 0), .now_ms = 1000000},
                              .session = &b->session,
                              .arena = &b->arena,
                              .counters = &b->counters,
                              .limits = &b->limits};
}

/* True when it was accepted. */
static bool restore(struct bench *b, struct str key, struct str payload, uint8_t options)
{
    struct str argv[] = {STR("RESTORE"), key,          options & 1 ? STR("50000") : STR("0"), payload,
                         STR("REPLACE"), STR("ABSTTL")};
    store_round_begin(b->store, b->ctx.a.app);
    reply_clear(&b->reply);
    key_make(b->store, &b->keys[0], key, 0);
    b->ctx.argv = argv;
    b->ctx.argc = options & 2 ? 6 : 5; /* ABSTTL 50000: it is over */
    cmd_restore(&b->ctx);
    arena_reset(&b->arena);
    ASSERT(!b->reply.oom && b->reply.bytes.n > 0);
    return b->reply.bytes.p[0] == '+';
}

static struct entry *find(struct bench *b, struct str key)
{
    key_make(b->store, &b->keys[0], key, 0);
    return store_find(&b->ctx.a, &b->keys[0]);
}

static bool is_in(void *arg, struct str member)
{
    return set_has(arg, member);
}

static void compare(struct entry *x, struct entry *y)
{
    struct block *held;
    struct object *o = entry_object(x), *p = entry_object(y);
    ASSERT((o == NULL) == (p == NULL));
    if (o == NULL) {
        ASSERT(str_eq(entry_string(x, &held), entry_string(y, &held)));
        return;
    }
    set_check(o);
    set_check(p);
    ASSERT(set_count(o) > 0 && set_count(o) == set_count(p));
    ASSERT(set_visit(o, is_in, p));
}

/* What DUMP makes of it is another copy of it. */
static void there_and_back(struct bench *b)
{
    struct buf out;
    buf_init(&out);
    ASSERT(dump_value(find(b, STR("given")), &out) == 0);
    ASSERT(restore(b, STR("again"), buf_str(&out), 0));
    buf_release(&out);
    struct entry *x = find(b, STR("given")), *y = find(b, STR("again"));
    ASSERT(x != NULL && y != NULL);
    compare(x, y);
}

static struct str sealed(char *p, const uint8_t *data, size_t n, unsigned version)
{
    memcpy(p, data, n);
    bytes_put_le(p + n, version, VERSION_BYTES);
    n += VERSION_BYTES;
    bytes_put_le(p + n, hash_crc64(0, p, n), 8);
    return (struct str){p, n + 8};
}

/* Nothing is left in the store, which LeakSanitizer cannot look into. */
static void forget(struct bench *b)
{
    static const struct str names[] = {STR("given"), STR("again")};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (find(b, names[i]) != NULL)
            (void)store_delete(&b->ctx.a, &b->keys[0]);
    struct store_memory m;
    do {
        (void)store_maintain(&b->ctx.a, 100);
        store_memory(b->store, &m);
    } while (m.doomed > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bench b;
    static unsigned runs;
    static const uint8_t before[] = {0, 3, 'a', 'b', 'c'}; /* a string */
    if (b.store == NULL)
        bench_init(&b);
    if (size == 0 || size > PAYLOAD_MAX)
        return 0;
    uint8_t options = data[0];
    char *p = malloc((size < sizeof before ? sizeof before : size) + FOOTER);
    ASSERT(p != NULL);
    bool had = options & 8;
    if (had)
        ASSERT(restore(&b, STR("given"), sealed(p, before, sizeof before, 10), 0));
    p = realloc(p, size - 1 + FOOTER); /* to its very size, so that ASan sees its end */
    ASSERT(p != NULL);
    if (restore(&b, STR("given"), sealed(p, data + 1, size - 1, options & 4 ? 10 : 11), options)) {
        if (find(&b, STR("given")) != NULL)
            there_and_back(&b);
        else
            ASSERT((options & 3) == 3);
    } else {
        ASSERT((find(&b, STR("given")) != NULL) == had);
    }
    if (++runs % CHECK_EVERY == 0)
        store_check(b.store);
    forget(&b);
    free(p);
    return 0;
}
