#include "harness.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "cache/cache.h"
#include "cmd/effect.h"
#include "cmd/handlers.h"
#include "proto/reader.h"
#include "proto/request.h"

#include <stdio.h>

/* The handlers of cmd/ are linked as a whole and replace these; the server's are not here. */
#define MISSING(f)                                                                                           \
    __attribute__((weak)) void f(struct cmd_ctx *c)                                                          \
    {                                                                                                        \
        fail_msg("%s belongs to the server", #f);                                                            \
    }
#define COMMAND(ident, ...) MISSING(cmd_##ident)
#define COMMAND_AS(ident, ...) MISSING(cmd_##ident)
#define CONTAINER(ident, ...)
#define SUBCOMMAND(container, ident, ...) MISSING(cmd_##container##_##ident)
#include "cmd/commands.def"
#undef COMMAND
#undef COMMAND_AS
#undef CONTAINER
#undef SUBCOMMAND

/* The one estimate of the server's. */
uint64_t cost_migrate(const struct cmd_ctx *c)
{
    return 0;
}

#include "cmd/rows.h"

static struct command rows[] = {
#include "cmd/commands.def"
};

static const int64_t START_MS = 1700000000000;

void harness_start(struct harness *h)
{
    size_t bad;
    *h = (struct harness){.limits = {.bulk_max = STORE_STRING_MAX,
                                     .databases = HARNESS_DATABASES,
                                     .objects = {.seed = {3, 4},
                                                 .set_max_intset_entries = 512,
                                                 .set_max_listpack_entries = 128,
                                                 .set_max_listpack_value = 64}}};
    assert_int_equal(command_table_init(rows, ARRAY_LEN(rows), NULL, 0, &bad), 0);
    struct store_options options = {.databases = HARNESS_DATABASES, .threads = 1, .seed = {1, 2}};
    assert_int_equal(store_new(&h->store, &options), 0);
    arena_init(&h->arena);
    buf_init(&h->answer);
    reply_init(&h->reply, block_get, block_put);
    rng_init(&h->rng, 1);
    h->session.proto = 2;
    h->ctx = (struct cmd_ctx){
        .keys = h->keys,
        .reply = &h->reply,
        .a = {.store = h->store, .app = store_appender(h->store, 0), .now_ms = START_MS},
        .session = &h->session,
        .arena = &h->arena,
        .rng = &h->rng,
        .counters = &h->counters,
        .limits = &h->limits,
    };
    assert_int_equal(cache_new(&h->ctx.cache, h->store, "0123456789abcdef0123456789abcdef01234567"), 0);
}

void harness_stop(struct harness *h)
{
    reply_release(&h->reply);
    buf_release(&h->answer);
    arena_release(&h->arena);
    cache_free(h->ctx.cache);
    store_free(h->store);
}

static struct str weave(struct harness *h)
{
    size_t from = 0;
    buf_clear(&h->answer);
    if (h->reply.oom)
        return STR("");
    for (uint32_t i = 0; i < h->reply.nsplices; i++) {
        const struct reply_splice *s = &h->reply.splices[i];
        assert_int_equal(buf_append(&h->answer, h->reply.bytes.p + from, s->at - from), 0);
        assert_int_equal(buf_puts(&h->answer, s->data), 0);
        from = s->at;
    }
    if (h->reply.bytes.n > from)
        assert_int_equal(buf_append(&h->answer, h->reply.bytes.p + from, h->reply.bytes.n - from), 0);
    return buf_str(&h->answer);
}

static void assert_one_reply(struct str answer)
{
    size_t used = 0;
    bool is_error, is_null;
    assert_int_equal(reader_skip(answer, &used, &is_error, &is_null), 0);
    assert_int_equal(used, answer.n);
}

static void make_keys(struct harness *h)
{
    struct keyref refs[HARNESS_KEYS_MAX];
    struct cmd_ctx *c = &h->ctx;
    if (command_keys(c->cmd, c->argv, c->argc, refs, HARNESS_KEYS_MAX, &c->nkeys) != 0)
        c->nkeys = 0;
    for (uint32_t i = 0; i < c->nkeys; i++)
        key_make(h->store, &h->keys[i], c->argv[refs[i].index], h->session.db);
}

static void call(struct harness *h)
{
#ifdef LARDER_DEBUG
    if (h->fail_on)
        alloc_fail_from(h->fail_after);
    else
        alloc_fail_after(h->fail_after);
#endif
    if (h->logged)
        effect_open(&h->ctx);
    if (h->logged || h->run_in_unit)
        effect_run(&h->ctx);
    else
        h->ctx.cmd->fn(&h->ctx);
    if (h->logged) {
        effect_reserve(&h->ctx);
        effect_publish(&h->ctx);
    }
#ifdef LARDER_DEBUG
    h->failed = alloc_failures() > 0;
    h->fail_after = 0;
    alloc_fail_after(0);
#endif
}

struct str harness_run(struct harness *h, const struct str *argv, uint32_t argc)
{
    struct cmd_ctx *c = &h->ctx;
    reply_clear(&h->reply);
    h->reply.proto = h->session.proto;
    c->argv = (struct str *)argv;
    c->argc = argc;
    c->again = false;
    c->cmd = command_resolve(argv, argc);
    if (c->cmd == NULL) {
        command_reply_unknown(&h->reply, argv, argc);
    } else if (!command_arity_ok(c->cmd, argc)) {
        command_reply_arity(&h->reply, c->cmd);
    } else {
        store_round_begin(h->store, c->a.app);
        make_keys(h);
        h->cost = c->cmd->cost == NULL ? 0 : c->cmd->cost(c);
        call(h);
        assert_true(h->may_repeat || !c->again);
    }
    struct str answer = weave(h);
    if (!h->reply.oom && !c->again)
        assert_one_reply(answer);
    return answer;
}

struct str harness_line(struct harness *h, const char *line)
{
    struct str *argv;
    uint32_t argc;
    arena_reset(&h->arena);
    if (request_split_line(str_of(line), &h->arena, &argv, &argc, HARNESS_KEYS_MAX) != 0)
        fail_msg("cannot be split: %s", line);
    return harness_run(h, argv, argc);
}

static void show(const char *title, struct str s)
{
    struct buf b;
    buf_init(&b);
    buf_put_quoted(&b, s);
    print_error("%s %.*s\n", title, (int)b.n, b.p);
    buf_release(&b);
}

static void expect(struct harness *h, const char *line, struct str reply)
{
    struct str got = harness_line(h, line);
    if (str_eq(got, reply))
        return;
    show("request ", str_of(line));
    show("expected", reply);
    show("got     ", got);
    fail();
}

void harness_expect(struct harness *h, const char *line, const char *reply)
{
    expect(h, line, str_of(reply));
}

/* SELECT belongs to the server; the cases use it all the same. */
static bool select_case(struct harness *h, const char *line)
{
    unsigned db;
    if (sscanf(line, "SELECT %u", &db) != 1)
        return false;
    assert_true(db < HARNESS_DATABASES);
    h->session.db = db;
    return true;
}

void harness_cases(const struct harness_case *cases, size_t n, uint8_t proto)
{
    struct harness h;
    harness_start(&h);
    h.session.proto = proto;
    for (size_t i = 0; i < n; i++)
        if (!select_case(&h, cases[i].line))
            expect(&h, cases[i].line, cases[i].reply);
    harness_stop(&h);
}
