/* CONFIG SET: all pairs or none, hooks, and the texts that clients see. */
#include "config_test.h"

#include "base/alloc.h"
#include "base/rng.h"

#include <stdlib.h>

enum { PAIRS_MAX = 8 };

/* "name value" pairs as name, value, ..., NULL. */
static int set_all(struct config *cfg, bool trusted, struct config_error *e, const char *const *words)
{
    struct config_pair pairs[PAIRS_MAX];
    size_t n = 0;
    for (; words[2 * n] != NULL; n++)
        pairs[n] = (struct config_pair){str_of(words[2 * n]), str_of(words[2 * n + 1])};
    return config_set(cfg, pairs, n, trusted, e);
}
#define SET(cfg, e, ...) set_all(cfg, false, e, (const char *const[]){__VA_ARGS__, NULL})

static struct config cfg, dflt;

static int setup(void **state)
{
    return config_init(&cfg) < 0 || config_init(&dflt) < 0;
}

static int teardown(void **state)
{
    config_release(&cfg);
    config_release(&dflt);
    return 0;
}

#define assert_set_fails(expected, ...)                                                                      \
    do {                                                                                                     \
        struct config_error e_;                                                                              \
        assert_true(SET(&cfg, &e_, __VA_ARGS__) < 0);                                                        \
        assert_string_equal(e_.text, expected);                                                              \
        assert_same_config(&cfg, &dflt);                                                                     \
    } while (0)

#define FAILED(name) "ERR CONFIG SET failed (possibly related to argument '" name "') - "

static void errors_have_rediss_texts(void **state)
{
    assert_set_fails("ERR Unknown option or number of arguments for CONFIG SET - 'foo'", "foo", "1");
    assert_set_fails("ERR Unknown option or number of arguments for CONFIG SET - 'include'", "include", "x");
    assert_set_fails("ERR Unknown option or number of arguments for CONFIG SET - 'foo'", "port", "1", "foo",
                     "1");
    assert_set_fails(FAILED("maxmemory") "argument must be a memory value", "maxmemory", "x");
    assert_set_fails(FAILED("maxmemory") "argument must be a memory value", "timeout", "1", "MAXMEMORY", "x");
    assert_set_fails(FAILED("port") "argument couldn't be parsed into an integer", "port", "x");
    assert_set_fails(FAILED("databases") "can't set immutable config", "databases", "3");
    assert_set_fails(FAILED("databases") "can't set immutable config", "databases", "3", "foo", "1");
    assert_set_fails(FAILED("replicaof") "can't set immutable config", "replicaof", "no one");
    assert_set_fails(FAILED("dir") "can't set protected config", "dir", "/tmp");
    assert_set_fails(FAILED("timeout") "duplicate parameter", "timeout", "1", "timeout", "2");
    assert_set_fails(FAILED("replica-priority") "duplicate parameter", "slave-priority", "1",
                     "replica-priority", "2");
    assert_set_fails(FAILED("lua-time-limit") "argument couldn't be parsed into an integer", "LUA-time-limit",
                     "x");
    assert_set_fails(FAILED("save") "Invalid save parameters", "save", "1 2 3");
    assert_set_fails(FAILED("save") "Invalid save parameters", "save", "1  2");
    assert_set_fails(FAILED("shutdown-on-sigterm") "argument(s) must be one of the following: default, save, "
                                                   "nosave, now, force",
                     "shutdown-on-sigterm", "");
    assert_set_fails(
        FAILED("appendonly") "'appendonly' is refused: there is no append-only file in this version "
                             "yet, and writes that look durable would be lost",
        "appendonly", "yes");
}

static void all_or_none(void **state)
{
    struct config_error e;
    assert_int_equal(SET(&cfg, &e, "maxmemory", "1mb", "requirepass", "secret", "bind", "127.0.0.1 ::1",
                         "save", "60 1 300 10", "maxmemory-policy", "ALLKEYS-lru"),
                     0);
    assert_value(&cfg, "maxmemory", "1048576");
    assert_value(&cfg, "requirepass", "secret");
    assert_value(&cfg, "bind", "127.0.0.1 ::1");
    assert_value(&cfg, "save", "60 1 300 10");
    assert_int_equal(cfg.maxmemory_policy, POLICY_ALLKEYS_LRU);
    assert_true(SET(&cfg, &e, "requirepass", "other", "bind", "", "save", "", "maxmemory", "x") < 0);
    assert_value(&cfg, "requirepass", "secret");
    assert_value(&cfg, "bind", "127.0.0.1 ::1");
    assert_value(&cfg, "save", "60 1 300 10");
    /* CONFIG SET replaces save; only a file's lines add up. A class that is not named keeps its limits. */
    assert_int_equal(SET(&cfg, &e, "save", "5 5", "client-output-buffer-limit", "pubsub 1 2 3"), 0);
    assert_value(&cfg, "save", "5 5");
    assert_value(&cfg, "client-output-buffer-limit",
                 "normal 1073741824 0 0 slave 268435456 67108864 60 pubsub 1 2 3");
    assert_int_equal(SET(&cfg, &e, "client-output-buffer-limit", ""), 0);
    assert_int_equal(set_all(&cfg, true, &e, (const char *const[]){"dbfilename", "x.rdb", NULL}), 0);
    assert_value(&cfg, "dbfilename", "x.rdb");
}

/* ---- hooks ---------------------------------------------------------------------------------- */

struct hook {
    uint32_t calls;
    int64_t seen_port, seen_timeout; /* when last called */
    uint32_t fail_at;                /* this call fails */
    const char *reason;
};

static int note_call(void *ctx, struct config *c, struct config_error *e)
{
    struct hook *h = ctx;
    if (++h->calls == h->fail_at) {
        if (h->reason != NULL)
            snprintf(e->text, sizeof(e->text), "%s", h->reason);
        return ERR_IO;
    }
    h->seen_port = c->port;
    h->seen_timeout = c->timeout;
    return 0;
}

static void hooks_see_all_new_values_once(void **state)
{
    struct hook listen = {0}, limits = {0};
    struct config_error e;
    config_hook(&cfg, CONFIG_LISTEN, note_call, &listen);
    config_hook(&cfg, CONFIG_LIMITS, note_call, &limits);
    assert_int_equal(SET(&cfg, &e, "port", "7000", "timeout", "5", "bind", "127.0.0.1", "maxclients", "10"),
                     0);
    assert_int_equal(listen.calls, 1);
    assert_int_equal(limits.calls, 1);
    assert_int_equal(listen.seen_timeout, 5);
    assert_int_equal(limits.seen_port, 7000);
    /* What stays as it is calls nobody. */
    assert_int_equal(SET(&cfg, &e, "port", "7000", "bind", "127.0.0.1", "timeout", "6"), 0);
    assert_int_equal(listen.calls, 1);
    assert_int_equal(limits.calls, 2);
}

static void a_failing_hook_undoes_everything(void **state)
{
    struct hook limits = {0}, listen = {.fail_at = 1, .reason = "Unable to listen on this port"};
    struct config_error e;
    config_hook(&cfg, CONFIG_LIMITS, note_call, &limits);
    config_hook(&cfg, CONFIG_LISTEN, note_call, &listen);
    assert_set_fails(FAILED("port") "Unable to listen on this port", "requirepass", "x", "timeout", "5",
                     "port", "7000");
    assert_int_equal(limits.calls, 2);
    assert_int_equal(limits.seen_timeout, 0);
    assert_int_equal(limits.seen_port, 6379);
    assert_int_equal(listen.calls, 1);
    listen = (struct hook){.fail_at = 1};
    assert_set_fails("ERR CONFIG SET failed (possibly related to argument 'bind')", "bind", "x", "port", "1");
    assert_int_equal(SET(&cfg, &e, "port", "7000"), 0);
}

/* ---- random streams ------------------------------------------------------------------------------ */

static const char *const pool[] = {
    "",
    "0",
    "1",
    "-1",
    "2",
    "100",
    "1gb",
    "64mb",
    "yes",
    "no",
    "notice",
    "50 99",
    "7 7",
    "x y",
    "KEA",
    "%",
    "5%",
    "now",
    "a/b",
    "abc",
    "default",
    "allkeys-lru",
    "127.0.0.1 *",
    "1 2 3",
    "777",
    "65535",
    "65536",
    "999999999999",
    "normal 1 2 3",
    "slave 5mb 1kb 9 pubsub 0 0 0",
    "no one",
    "{title}",
};

static char *snapshot(void)
{
    struct buf all;
    buf_init(&all);
    for_each_option(o)
    {
        option_ops_of(o)->format(o, option_field(&cfg, o), &all);
        buf_putc(&all, '\n');
    }
    buf_putc(&all, '\0');
    char *text = mem_must(mem_strndup(all.p, all.n));
    buf_release(&all);
    return text;
}

static const struct option *random_option(struct rng *rng)
{
    for (;;) {
        const struct option *o = &option_table[rng_below(rng, option_count)];
        if (o->name != NULL && (!(o->flags & IMMUTABLE) || rng_below(rng, 50) == 0))
            return o;
    }
}

/* What a single CONFIG SET of the value would show afterwards: the model of one pair. */
static bool accepted_alone(const struct option *o, const char *value, char *shown, size_t size)
{
    struct config one;
    struct config_error e;
    assert_int_equal(config_init(&one), 0);
    if (o->type == OPTION_OUTPUT) /* builds on what was there */
        one.client_output_buffer_limit = cfg.client_output_buffer_limit;
    int err = set_one(&one, o->name, value, &e);
    struct buf b = text_of(&one, o);
    snprintf(shown, size, "%s", b.p);
    buf_release(&b);
    config_release(&one);
    return err == 0;
}

static int fail_sometimes(void *ctx, struct config *c, struct config_error *e)
{
    return rng_below(ctx, 8) == 0 ? ERR_IO : 0;
}

static void random_streams_never_half_apply(void **state)
{
    struct rng rng, hook_rng;
    rng_init(&rng, 42);
    rng_init(&hook_rng, 43);
    uint32_t applied = 0, refused = 0;
    for (int group = CONFIG_NONE + 1; group < CONFIG_GROUPS; group++)
        config_hook(&cfg, group, fail_sometimes, &hook_rng);
    for (int round = 0; round < 4000; round++) {
        struct config_pair pairs[PAIRS_MAX];
        const struct option *options[PAIRS_MAX];
        char shown[PAIRS_MAX][2048];
        size_t n = 1 + rng_below(&rng, 3);
        bool all_good = true;
        for (size_t i = 0; i < n; i++) {
            options[i] = random_option(&rng);
            bool alias = options[i]->alias != NULL && rng_below(&rng, 2) == 0;
            pairs[i].name = str_of(alias ? options[i]->alias : options[i]->name);
            const char *value = pool[rng_below(&rng, ARRAY_LEN(pool))];
            if (rng_below(&rng, 4) == 0)
                value = options[i]->dflt;
            pairs[i].value = str_of(value);
            all_good &= accepted_alone(options[i], value, shown[i], sizeof(shown[i]));
            for (size_t k = 0; k < i; k++)
                all_good &= options[k] != options[i];
        }
        char *before = snapshot();
        struct config_error e;
        int err = config_set(&cfg, pairs, n, true, &e);
        char *after = snapshot();
        if (err < 0) {
            assert_string_equal(before, after);
            assert_true(err == ERR_IO || !all_good);
            assert_true(strncmp(e.text, "ERR ", 4) == 0);
            refused++;
        } else {
            assert_true(all_good);
            for (size_t i = 0; i < n; i++)
                assert_value(&cfg, options[i]->name, shown[i]);
            applied++;
        }
        mem_free(before);
        mem_free(after);
    }
    assert_true(applied > 300 && refused > 300);
}

#ifdef LARDER_DEBUG
static void no_memory_changes_nothing(void **state)
{
    int err = ERR_OOM;
    for (int n = 1; err == ERR_OOM; n++) {
        struct config_error e;
        assert_true(n < 1000);
        alloc_fail_after(n);
        err = SET(&cfg, &e, "requirepass", "secret", "bind", "127.0.0.1 ::1", "save", "60 1", "maxmemory",
                  "1mb");
        alloc_fail_after(0);
        if (err == 0)
            break;
        assert_int_equal(err, ERR_OOM);
        assert_same_config(&cfg, &dflt);
    }
    assert_value(&cfg, "bind", "127.0.0.1 ::1");
}
#endif

static void sensitive_options_are_known(void **state)
{
    assert_true(config_is_sensitive(STR("REQUIREPASS")));
    assert_true(config_is_sensitive(STR("masterauth")));
    assert_true(config_is_sensitive(STR("tls-key-file-pass")));
    assert_false(config_is_sensitive(STR("maxmemory")));
    assert_false(config_is_sensitive(STR("nosuch")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(errors_have_rediss_texts, setup, teardown),
        cmocka_unit_test_setup_teardown(all_or_none, setup, teardown),
        cmocka_unit_test_setup_teardown(hooks_see_all_new_values_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failing_hook_undoes_everything, setup, teardown),
        cmocka_unit_test_setup_teardown(random_streams_never_half_apply, setup, teardown),
#ifdef LARDER_DEBUG
        cmocka_unit_test_setup_teardown(no_memory_changes_nothing, setup, teardown),
#endif
        cmocka_unit_test(sensitive_options_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
