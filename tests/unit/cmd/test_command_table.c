/* The command table: names, subcommands, renames, keys, and what it tells about itself. */
#include "rows.h"

#include "base/arena.h"
#include "base/err.h"
#include "proto/reader.h"
#include "proto/reply.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

void test_no_handler(struct cmd_ctx *c)
{
    (void)c;
    fail_msg("a handler was called");
}

static struct command rows[] = {
#include "cmd/commands.def"
};
static const size_t NROWS = ARRAY_LEN(rows);

static int setup(void **state)
{
    size_t bad;
    (void)state;
    return command_table_init(rows, NROWS, NULL, 0, &bad);
}

/* What the look-up should find, the slow and obvious way. */
static const struct command *expected(struct str name)
{
    for (size_t i = 0; i < NROWS; i++) {
        const char *have = rows[i].name;
        size_t at = 0;
        if (rows[i].sub || strlen(have) != name.n)
            continue;
        while (at < name.n && tolower((unsigned char)name.p[at]) == have[at])
            at++;
        if (at == name.n)
            return &rows[i];
    }
    return NULL;
}

/* ---- names ---------------------------------------------------------------------- */

/* The name at the very end of a heap block, so that ASan sees a read beyond it. */
static const struct command *lookup_exact(const char *p, size_t n)
{
    char *copy = malloc(n ? n : 1);
    memcpy(copy, p, n);
    const struct command *cmd = command_lookup((struct str){copy, n});
    free(copy);
    return cmd;
}

static void test_every_name_in_any_case(void **state)
{
    (void)state;
    for (size_t i = 0; i < NROWS; i++) {
        if (rows[i].sub)
            continue;
        size_t n = strlen(rows[i].name);
        for (unsigned mask = 0; mask < 64; mask++) {
            char name[COMMAND_NAME_MAX];
            for (size_t k = 0; k < n; k++)
                name[k] =
                    mask >> (k % 6) & 1 ? (char)toupper((unsigned char)rows[i].name[k]) : rows[i].name[k];
            assert_ptr_equal(lookup_exact(name, n), &rows[i]);
        }
    }
}

static void test_near_misses(void **state)
{
    (void)state;
    for (size_t i = 0; i < NROWS; i++) {
        char name[COMMAND_NAME_MAX + 1];
        size_t n = strlen(rows[i].name);
        if (rows[i].sub)
            continue;
        memcpy(name, rows[i].name, n);
        for (size_t k = 0; k < n; k++) {
            for (int byte = 0; byte < 256; byte++) {
                name[k] = (char)byte;
                assert_ptr_equal(lookup_exact(name, n), expected((struct str){name, n}));
            }
            name[k] = rows[i].name[k];
        }
        for (int byte = 0; byte < 256; byte++) {
            name[n] = (char)byte;
            assert_ptr_equal(lookup_exact(name, n + 1), expected((struct str){name, n + 1}));
        }
        assert_ptr_equal(lookup_exact(name, n - 1), expected((struct str){name, n - 1}));
        assert_ptr_equal(lookup_exact(name + 1, n - 1), expected((struct str){name + 1, n - 1}));
    }
}

static void test_strange_names(void **state)
{
    (void)state;
    char big[300];
    memset(big, 'g', sizeof(big));
    assert_null(lookup_exact("", 0));
    assert_null(command_lookup((struct str){NULL, 0}));
    for (size_t n = 1; n <= sizeof(big); n++)
        assert_null(lookup_exact(big, n));
    assert_null(lookup_exact("get\0", 4));
    assert_null(lookup_exact("g\xc5t", 3));
    assert_null(lookup_exact("bitfield\x7fro", 11)); /* '_' | 0x20 */
    assert_null(lookup_exact("client|list", 11));
}

static void test_random_names(void **state)
{
    (void)state;
    static const char alphabet[] = "getGETsSdDlLiInNcCrR_|\x7f\x1f\xe7";
    srand(7);
    for (int round = 0; round < 200000; round++) {
        char name[8];
        size_t n = (size_t)rand() % sizeof(name);
        for (size_t k = 0; k < n; k++)
            name[k] = alphabet[(size_t)rand() % (sizeof(alphabet) - 1)];
        assert_ptr_equal(lookup_exact(name, n), expected((struct str){name, n}));
    }
}

/* ---- subcommands ---------------------------------------------------------------- */

static void test_subcommands(void **state)
{
    (void)state;
    size_t subs = 0;
    for (size_t i = 0; i < NROWS; i++) {
        const struct command *cmd = &rows[i];
        assert_int_equal(cmd->id, i);
        if (!cmd->sub) {
            assert_null(cmd->parent);
            assert_ptr_equal(command_lookup_full(str_of(cmd->name)), cmd);
            continue;
        }
        char full[COMMAND_NAME_MAX + 1];
        snprintf(full, sizeof(full), "%s|%s", cmd->parent->name, cmd->sub);
        assert_string_equal(full, cmd->name);
        assert_true(cmd->group == cmd->parent->group);
        assert_true(cmd >= cmd->parent->subs && cmd < cmd->parent->subs + cmd->parent->nsubs);
        assert_ptr_equal(command_lookup_sub(cmd->parent, str_of(cmd->sub)), cmd);
        for (char *p = full; *p; p++)
            *p = (char)toupper((unsigned char)*p);
        assert_ptr_equal(command_lookup_full(str_of(full)), cmd);
        subs++;
    }
    assert_int_equal(command_count() + subs, NROWS);
    size_t n;
    assert_ptr_equal(command_rows(&n), rows);
    assert_int_equal(n, NROWS);
}

static void test_full_names(void **state)
{
    (void)state;
    static const char *const bad[] = {"|",     "client|",    "|list", "client|list|x", "get|",
                                      "get|x", "client|lis", "",      "client||"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_null(command_lookup_full(str_of(bad[i])));
    assert_string_equal(command_lookup_full(STR("Client|No-Evict"))->name, "client|no-evict");
}

static const struct command *resolve(const char *a, const char *b)
{
    struct str argv[] = {str_of(a), str_of(b ? b : "")};
    return command_resolve(argv, b ? 2 : 1);
}

static void test_resolve(void **state)
{
    (void)state;
    assert_string_equal(resolve("GET", "k")->name, "get");
    assert_string_equal(resolve("CONFIG", NULL)->name, "config");
    assert_string_equal(resolve("CONFIG", "sEt")->name, "config|set");
    assert_string_equal(resolve("COMMAND", NULL)->name, "command");
    assert_null(resolve("COMMAND", "x"));
    assert_null(resolve("nosuch", NULL));
    assert_null(resolve("config|set", "x"));
    assert_false(command_arity_ok(resolve("CONFIG", NULL), 1));
    assert_true(command_arity_ok(resolve("GET", NULL), 2));
    assert_false(command_arity_ok(resolve("GET", NULL), 3));
    assert_true(command_arity_ok(resolve("PING", NULL), 1));
    assert_true(command_arity_ok(resolve("DEL", NULL), 100));
}

/* ---- renames -------------------------------------------------------------------- */

static int rename_one(const char *from, const char *to)
{
    struct command_rename r = {str_of(from), str_of(to)};
    size_t bad = 99;
    int err = command_table_init(rows, NROWS, &r, 1, &bad);
    assert_true(err == 0 || bad == 0);
    return err;
}

static void test_rename_and_remove(void **state)
{
    (void)state;
    size_t before = command_count(), bad;
    assert_int_equal(rename_one("FLUSHALL", "wipe-it-all-out-now"), 0);
    assert_null(command_lookup(STR("flushall")));
    assert_string_equal(command_lookup(STR("Wipe-It-All-Out-Now"))->name, "flushall");
    assert_null(command_lookup(STR("wipe-it-all-out-noW-")));
    assert_null(command_lookup(STR("wipe-it-all-out-nox")));
    assert_int_equal(command_count(), before);

    assert_int_equal(rename_one("keys", ""), 0);
    assert_null(command_lookup(STR("keys")));
    assert_int_equal(command_count(), before - 1);
    for (const struct command *c = command_next(0); c; c = command_next(c->id + 1u))
        assert_string_not_equal(c->name, "keys");

    struct command_rename swap[] = {{STR("get"), STR("g")}, {STR("set"), STR("GET")}, {STR("g"), STR("Set")}};
    assert_int_equal(command_table_init(rows, NROWS, swap, 3, &bad), 0);
    assert_string_equal(command_lookup(STR("set"))->name, "get");
    assert_string_equal(command_lookup(STR("get"))->name, "set");

    struct command_rename twins[] = {{STR("get"), STR("0123456789abcdefX")},
                                     {STR("set"), STR("0123456789abcdefY")}};
    assert_int_equal(command_table_init(rows, NROWS, twins, 2, &bad), 0);
    assert_string_equal(command_lookup(STR("0123456789ABCDEFx"))->name, "get");
    assert_string_equal(command_lookup(STR("0123456789ABCDEFy"))->name, "set");
    assert_null(command_lookup(STR("0123456789abcdefz")));
}

/* Names that are the same words to the look-up, but for their length or their 8th bits. */
static void test_renames_that_look_alike(void **state)
{
    (void)state;
    assert_int_equal(rename_one("get", "g\xc5t"), 0);
    assert_non_null(lookup_exact("g\xc5t", 3));
    assert_null(lookup_exact("g\xe5t", 3));
    assert_null(lookup_exact("gEt", 3));
    for (char a = '!'; a < 'A'; a++) {
        for (char b = '!'; b <= '~'; b++) {
            char two[] = {a, b, 0}, three[] = {a, b, b};
            if (b >= 'A' && b <= 'Z')
                continue;
            assert_int_equal(rename_one("get", two), 0);
            assert_non_null(lookup_exact(two, 2));
            assert_null(lookup_exact(three, 3));
        }
    }
}

static void test_bad_renames(void **state)
{
    (void)state;
    char big[COMMAND_NAME_MAX + 2];
    size_t bad;
    memset(big, 'a', sizeof(big));
    big[COMMAND_NAME_MAX + 1] = 0;
    assert_int_equal(rename_one("get", big), ERR_RANGE);
    big[COMMAND_NAME_MAX] = 0;
    assert_int_equal(rename_one("get", big), 0);
    assert_string_equal(command_lookup(str_of(big))->name, "get");
    assert_int_equal(rename_one("nosuch", "x"), ERR_NOTFOUND);
    assert_int_equal(rename_one("client|list", "x"), ERR_NOTFOUND);
    assert_int_equal(rename_one("", "x"), ERR_NOTFOUND);
    assert_int_equal(rename_one("get", "SET"), ERR_EXISTS);
    struct command_rename twice[] = {{STR("get"), STR("")}, {STR("GET"), STR("y")}};
    assert_int_equal(command_table_init(rows, NROWS, twice, 2, &bad), ERR_NOTFOUND);
    assert_int_equal(bad, 1);
}

/* ---- refusals ------------------------------------------------------------------- */

static void test_refusals(void **state)
{
    (void)state;
    struct reply r;
    reply_init(&r, NULL, NULL);
    char big[200];
    memset(big, 'x', sizeof(big));
    struct str unknown[] = {STR("no\0such"), STR("a"), STR("b\r\nc"), {big, sizeof(big)}, STR("never")};
    command_reply_unknown(&r, unknown, 5);
    char want[512];
    int n = snprintf(want, sizeof(want),
                     "-ERR unknown command 'no', with args beginning with: 'a' 'b  c' '%.*s' \r\n", 128 - 11,
                     big);
    assert_int_equal(r.bytes.n, n);
    assert_memory_equal(r.bytes.p, want, (size_t)n);
    reply_clear(&r);

    struct str sub[] = {STR("cliEnt"), STR("nope"), STR("x")};
    command_reply_unknown(&r, sub, 3);
    assert_true(str_eq(buf_str(&r.bytes), STR("-ERR unknown subcommand 'nope'. Try CLIENT HELP.\r\n")));
    reply_clear(&r);
    command_reply_arity(&r, command_lookup_full(STR("client|id")));
    assert_true(str_eq(buf_str(&r.bytes), STR("-ERR wrong number of arguments for 'client|id' command\r\n")));
    reply_release(&r);
}

/* ---- what follows from a row ---------------------------------------------------- */

static void assert_key_range(const char *name, int first, int last, int step, bool movable)
{
    const struct command *c = command_lookup_full(str_of(name));
    assert_int_equal(c->key_first, first);
    assert_int_equal(c->key_last, last);
    assert_int_equal(c->key_step, step);
    assert_int_equal((c->flags & CMD_MOVABLE_KEYS) != 0, movable);
}

static void test_key_ranges(void **state)
{
    (void)state;
    assert_key_range("get", 1, 1, 1, false);
    assert_key_range("mset", 1, -1, 2, false);
    assert_key_range("bitop", 2, -1, 1, false);
    assert_key_range("lcs", 1, 2, 1, false);
    assert_key_range("rename", 1, 2, 1, false);
    assert_key_range("object|freq", 2, 2, 1, false);
    assert_key_range("object", 0, 0, 0, false);
    assert_key_range("ping", 0, 0, 0, false);
}

static void test_categories(void **state)
{
    (void)state;
    assert_int_equal(command_lookup(STR("get"))->acl_categories, ACL_READ | ACL_STRING | ACL_FAST);
    assert_int_equal(command_lookup(STR("set"))->acl_categories, ACL_WRITE | ACL_STRING | ACL_SLOW);
    assert_int_equal(command_lookup(STR("shutdown"))->acl_categories, ACL_ADMIN | ACL_DANGEROUS | ACL_SLOW);
    for (unsigned i = 0; command_category_name(i); i++)
        assert_int_equal(command_category(str_of(command_category_name(i))), 1ULL << i);
    assert_int_equal(command_category(STR("STRING")), ACL_STRING);
    assert_int_equal(command_category(STR("@string")), 0);
    assert_int_equal(command_category(STR("")), 0);
}

/* Each flag of larder's own has consequences in dispatch that some rows cannot have. */
static void test_flags_agree(void **state)
{
    (void)state;
    for (size_t i = 0; i < NROWS; i++) {
        uint64_t f = rows[i].flags;
        if (f & (CMD_SELF_LOCK | CMD_EXCLUSIVE))
            assert_int_equal(rows[i].nkey_specs, 0);
        if (f & CMD_LANE)
            assert_false(f & CMD_WRITE);
        if (rows[i].nkey_specs > 0 && (f & CMD_READONLY)) {
            for (unsigned k = 0; k < rows[i].nkey_specs; k++)
                assert_true(rows[i].key_specs[k].flags & KEY_RO);
        }
        if (rows[i].deprecated_since)
            assert_non_null(rows[i].replaced_by);
    }
}

/* ---- keys ----------------------------------------------------------------------- */

enum { ARGS_MAX = 16 };

/* Splits at spaces; "." alone is an empty argument. */
static uint32_t split(const char *line, struct str *argv)
{
    uint32_t argc = 0;
    while (*line) {
        size_t n = strcspn(line, " ");
        argv[argc++] = n == 1 && *line == '.' ? STR("") : (struct str){line, n};
        line += n + (line[n] == ' ');
    }
    return argc;
}

/* The keys as "index:flags ..." with flags in the order of COMMAND INFO. */
static void assert_keys_of(const struct command *cmd, const char *line, const char *want)
{
    static const char *const names[] = {"RO", "RW", "OW", "RM", "acc", "upd", "ins", "del"};
    struct str argv[ARGS_MAX];
    struct keyref keys[ARGS_MAX];
    uint32_t n = 77, argc = split(line, argv);
    char got[256] = "";
    int err = command_keys(cmd, argv, argc, keys, ARGS_MAX, &n);
    if (err) {
        assert_int_equal(n, 0);
        snprintf(got, sizeof(got), "%s", err == ERR_SYNTAX ? "syntax" : "?");
    }
    for (uint32_t i = 0; i < n; i++) {
        size_t at = strlen(got);
        at += (size_t)snprintf(got + at, sizeof(got) - at, "%s%u", i ? " " : "", keys[i].index);
        for (unsigned k = 0; k < ARRAY_LEN(names); k++) {
            if (keys[i].flags & 1u << k)
                at += (size_t)snprintf(got + at, sizeof(got) - at, ":%s", names[k]);
        }
    }
    assert_string_equal(got, want);
}

static void assert_keys(const char *line, const char *want)
{
    struct str argv[ARGS_MAX];
    const struct command *cmd = command_resolve(argv, split(line, argv));
    assert_non_null(cmd);
    assert_keys_of(cmd, line, want);
}

static void test_keys_of_rows(void **state)
{
    (void)state;
    assert_keys("get k", "1:RO:acc");
    assert_keys("ping", "");
    assert_keys("mget a b c", "1:RO:acc 2:RO:acc 3:RO:acc");
    assert_keys("mset a 1 b 2", "1:OW:upd 3:OW:upd");
    assert_keys("mset a 1 b", "1:OW:upd 3:OW:upd");
    assert_keys("bitop and d a b", "2:OW:upd 3:RO:acc 4:RO:acc");
    assert_keys("rename a b", "1:RW:acc:del 2:OW:upd");
    assert_keys("lcs a b IDX", "1:RO:acc 2:RO:acc");
    assert_keys("object freq k", "2:RO");
    assert_keys("memory usage k samples 5", "2:RO");
    assert_keys("del a", "1:RM:del");
    assert_keys("set k v", "1:OW:upd");
    assert_keys("set k get", "1:OW:upd");
    assert_keys("set k v EX 5 gEt", "1:RW:acc:upd");
    assert_keys("bitfield k", "1:RO:acc");
    assert_keys("bitfield k GET u8 0 overflow sat get u8 8", "1:RO:acc");
    assert_keys("bitfield k GET u8 0 SET u8 0 1", "1:RW:acc:upd");
    assert_keys("bitfield k GET u8", "1:RW:acc:upd");
    assert_keys("bitfield k overflow", "1:RW:acc:upd");
}

/* Rows such as later types bring them. */
static struct command odd_rows[] = {
#define GROUP GROUP_GENERIC
    COMMAND(zunionstore, -4, CMD_WRITE, 0, "1.0.0", "O(1)", "",
            KEYS(KEY_AT(1, KEY_OW), {.flags = KEY_RO,
                                     .begin = KEY_BEGIN_INDEX,
                                     .index = 2,
                                     .find = KEY_FIND_KEYNUM,
                                     .keynum_at = 0,
                                     .keynum_first = 1,
                                     .step = 1}))
        COMMAND(eval, -3, CMD_NO_MANDATORY_KEYS, 0, "1.0.0", "O(1)", "",
                KEYS({.flags = KEY_RW,
                      .begin = KEY_BEGIN_INDEX,
                      .index = 2,
                      .find = KEY_FIND_KEYNUM,
                      .keynum_at = 0,
                      .keynum_first = 1,
                      .step = 1})) COMMAND(xread, -4, CMD_READONLY, 0, "1.0.0", "O(1)", "",
                                           KEYS({.flags = KEY_RO,
                                                 .begin = KEY_BEGIN_KEYWORD,
                                                 .keyword = "STREAMS",
                                                 .index = 1,
                                                 .find = KEY_FIND_RANGE,
                                                 .last = -1,
                                                 .step = 1,
                                                 .limit = 2}))
            COMMAND(migrate, -6, CMD_WRITE, 0, "1.0.0", "O(1)", "",
                    KEYS(KEY_AT(3, KEY_RW), {.flags = KEY_RW,
                                             .begin = KEY_BEGIN_KEYWORD,
                                             .keyword = "KEYS",
                                             .index = -2,
                                             .find = KEY_FIND_RANGE,
                                             .last = -1,
                                             .step = 1}))
                COMMAND(spublish, 3, CMD_PUBSUB, 0, "1.0.0", "O(1)", "", KEYS(KEY_AT(1, KEY_NOT_KEY)))
                    COMMAND(sort, -2, CMD_WRITE, 0, "1.0.0", "O(1)", "",
                            KEYS(KEY_AT(1, KEY_RO), {.flags = KEY_RO | KEY_INCOMPLETE}))
                        COMMAND(spaced, -6, CMD_WRITE, 0, "1.0.0", "O(1)", "",
                                KEYS(KEY_AT(1, KEY_RO), KEY_AT(5, KEY_RO)))
#undef GROUP
};

static void assert_odd(unsigned i, const char *line, const char *want)
{
    assert_keys_of(&odd_rows[i], line, want);
}

static void test_keys_counted_or_announced(void **state)
{
    (void)state;
    size_t bad;
    assert_int_equal(command_table_init(odd_rows, ARRAY_LEN(odd_rows), NULL, 0, &bad), 0);
    assert_odd(0, "zunionstore d 2 a b weights", "1:OW 3:RO 4:RO");
    assert_odd(0, "zunionstore d 0 a b", "syntax");
    assert_odd(1, "eval s 0", "");
    assert_odd(1, "eval s 0 arg", "");
    assert_odd(1, "eval s 2 a b c", "3:RW 4:RW");
    assert_odd(2, "xread count 2 streams a b 1 2", "4:RO 5:RO");
    assert_odd(2, "xread streams a 1", "2:RO");
    assert_odd(2, "xread a b c", "");
    assert_odd(2, "xread a b streams", "");
    assert_odd(3, "migrate h p k 0 5", "3:RW");
    assert_odd(3, "migrate h p k 0 5 keys x y", "3:RW 7:RW 8:RW");
    assert_odd(4, "spublish c m", "");
    assert_false(command_has_keys(&odd_rows[4]));
    assert_odd(5, "sort k", "syntax");
    assert_true(command_has_keys(&odd_rows[5]));

    assert_key_range("zunionstore", 1, 1, 1, true);
    assert_key_range("eval", 0, 0, 0, true);
    assert_key_range("xread", 0, 0, 0, true);
    assert_key_range("spublish", 1, 1, 1, false);
    assert_key_range("sort", 1, 1, 1, true);
    assert_key_range("spaced", 1, 1, 1, true);
}

static void test_hostile_key_counts(void **state)
{
    (void)state;
    static const char *const counts[] = {
        "-1",
        "3",
        "4",
        "5",
        "2147483647",
        "2147483648",
        "4294967295",
        "4294967296",
        "4294967298",
        "9223372036854775807",
        "-9223372036854775808",
        "18446744073709551618",
        "99999999999999999999999",
        "2a",
        "+2",
        "02",
        "2.0",
        ".",
        "1e0",
    };
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        char line[100];
        snprintf(line, sizeof(line), "eval s %s a b", counts[i]);
        assert_odd(1, line, "syntax");
        snprintf(line, sizeof(line), "zunionstore d %s a b", counts[i]);
        assert_odd(0, line, "syntax");
    }
    assert_odd(1, "eval s", "syntax");
    assert_odd(1, "eval s 1", "syntax");
    assert_odd(0, "zunionstore d", "syntax");
    assert_odd(0, "zunionstore", "syntax");
    assert_odd(5, "sort", "syntax");
}

/* No arguments whatsoever may name a key outside argv, or write beyond `max`. */
static void test_keys_stay_inside(void **state)
{
    (void)state;
    static const char *const words[] = {
        "keys", "STREAMS", "0", "1", "2", "3", "-1", "9223372036854775807", "", "get", "overflow", "set"};
    srand(11);
    for (int round = 0; round < 200000; round++) {
        struct str argv[ARGS_MAX];
        struct keyref keys[ARGS_MAX];
        const struct command *cmd =
            round % 2 ? &odd_rows[(size_t)rand() % ARRAY_LEN(odd_rows)] : &rows[(size_t)rand() % NROWS];
        uint32_t argc = 1 + (uint32_t)rand() % 8, max = (uint32_t)rand() % 4, n;
        for (uint32_t i = 0; i < argc; i++)
            argv[i] = str_of(words[(size_t)rand() % ARRAY_LEN(words)]);
        memset(keys, 0xee, sizeof(keys));
        int err = command_keys(cmd, argv, argc, keys, max, &n);
        assert_true(err == ERR_SYNTAX ? n == 0 : err == ERR_FULL ? n > max : err == 0 && n <= max);
        for (uint32_t i = 0; i < (n < max ? n : max); i++)
            assert_true(keys[i].index >= 1 && keys[i].index < argc && keys[i].flags != 0);
        assert_int_equal(keys[max].index, 0xeeeeeeee);
    }
}

/* ---- what it tells -------------------------------------------------------------- */

static void assert_reply(struct reply *r, const char *want)
{
    assert_int_equal(r->bytes.n, strlen(want));
    assert_memory_equal(r->bytes.p, want, r->bytes.n);
    reply_clear(r);
}

static void test_info_of_one(void **state)
{
    (void)state;
    struct reply r;
    reply_init(&r, NULL, NULL);
    r.proto = 3;
    command_reply_info(&r, command_lookup(STR("ping")));
    assert_reply(
        &r, "*10\r\n$4\r\nping\r\n:-1\r\n~1\r\n+fast\r\n:0\r\n:0\r\n:0\r\n~2\r\n+@fast\r\n+@connection\r\n"
            "~2\r\n$25\r\nrequest_policy:all_shards\r\n$29\r\nresponse_policy:all_succeeded\r\n~0\r\n~0\r\n");
    command_reply_info(&r, NULL);
    assert_reply(&r, "_\r\n");
    r.proto = 2;
    command_reply_info(&r, command_lookup_full(STR("client|help")));
    assert_reply(
        &r,
        "*10\r\n$11\r\nclient|help\r\n:2\r\n*2\r\n+loading\r\n+stale\r\n:0\r\n:0\r\n:0\r\n*2\r\n+@slow\r\n"
        "+@connection\r\n*0\r\n*0\r\n*0\r\n");
    command_reply_info(&r, NULL);
    assert_reply(&r, "$-1\r\n");
    reply_release(&r);
}

static void test_docs_of_one(void **state)
{
    (void)state;
    struct reply r;
    reply_init(&r, NULL, NULL);
    r.proto = 3;
    static const struct command_change change = {"2.0.0", "More."};
    struct command cmd = {.name = "x",
                          .summary = "S",
                          .since = "1.0.0",
                          .complexity = "O(1)",
                          .group = GROUP_SORTED_SET,
                          .deprecated_since = "3.0.0",
                          .replaced_by = "`y`",
                          .history = &change,
                          .nhistory = 1,
                          .syntax = "key:key [N n:int]@2.0.0... [order: ASC | DESC]"};
    command_reply_docs(&r, &cmd);
    assert_reply(
        &r,
        "%9\r\n$7\r\nsummary\r\n$1\r\nS\r\n$5\r\nsince\r\n$5\r\n1.0.0\r\n$5\r\ngroup\r\n$10\r\nsorted-set\r\n"
        "$10\r\ncomplexity\r\n$4\r\nO(1)\r\n$9\r\ndoc_flags\r\n~1\r\n+deprecated\r\n$16\r\ndeprecated_"
        "since\r\n"
        "$5\r\n3.0.0\r\n$11\r\nreplaced_by\r\n$3\r\n`y`\r\n$7\r\nhistory\r\n~1\r\n*2\r\n$5\r\n2.0.0\r\n$"
        "5\r\nMore.\r\n"
        "$9\r\narguments\r\n*3\r\n"
        "%4\r\n$4\r\nname\r\n$3\r\nkey\r\n$4\r\ntype\r\n$3\r\nkey\r\n$12\r\ndisplay_text\r\n$3\r\nkey\r\n"
        "$14\r\nkey_spec_index\r\n:0\r\n"
        "%6\r\n$4\r\nname\r\n$1\r\nn\r\n$4\r\ntype\r\n$7\r\ninteger\r\n$12\r\ndisplay_text\r\n$1\r\nn\r\n"
        "$5\r\ntoken\r\n$1\r\nN\r\n$5\r\nsince\r\n$5\r\n2.0.0\r\n$5\r\nflags\r\n~2\r\n+optional\r\n+"
        "multiple\r\n"
        "%4\r\n$4\r\nname\r\n$5\r\norder\r\n$4\r\ntype\r\n$5\r\noneof\r\n$5\r\nflags\r\n~1\r\n+optional\r\n"
        "$9\r\narguments\r\n*2\r\n"
        "%4\r\n$4\r\nname\r\n$3\r\nasc\r\n$4\r\ntype\r\n$10\r\npure-token\r\n$12\r\ndisplay_text\r\n$"
        "3\r\nasc\r\n"
        "$5\r\ntoken\r\n$3\r\nASC\r\n"
        "%4\r\n$4\r\nname\r\n$4\r\ndesc\r\n$4\r\ntype\r\n$10\r\npure-token\r\n$12\r\ndisplay_text\r\n$"
        "4\r\ndesc\r\n"
        "$5\r\ntoken\r\n$4\r\nDESC\r\n");
    reply_release(&r);
}

/* Everything that the table tells about itself is one well-formed reply a row. */
static void test_all_is_well_formed(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    for (uint8_t proto = 2; proto <= 3; proto++) {
        for (size_t i = 0; i < 2 * NROWS; i++) {
            struct reply r;
            struct reader_value v;
            size_t used, need;
            reply_init(&r, NULL, NULL);
            r.proto = proto;
            if (i % 2)
                command_reply_docs(&r, &rows[i / 2]);
            else
                command_reply_info(&r, &rows[i / 2]);
            assert_int_equal(reader_parse(buf_str(&r.bytes), 1 << 20, &arena, &v, &used, &need), 0);
            assert_int_equal(used, r.bytes.n);
            reply_release(&r);
            arena_reset(&arena);
        }
    }
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_every_name_in_any_case, setup),
        cmocka_unit_test_setup(test_near_misses, setup),
        cmocka_unit_test_setup(test_strange_names, setup),
        cmocka_unit_test_setup(test_random_names, setup),
        cmocka_unit_test_setup(test_subcommands, setup),
        cmocka_unit_test_setup(test_full_names, setup),
        cmocka_unit_test_setup(test_resolve, setup),
        cmocka_unit_test_setup(test_rename_and_remove, setup),
        cmocka_unit_test_setup(test_renames_that_look_alike, setup),
        cmocka_unit_test_setup(test_bad_renames, setup),
        cmocka_unit_test_setup(test_refusals, setup),
        cmocka_unit_test_setup(test_key_ranges, setup),
        cmocka_unit_test_setup(test_categories, setup),
        cmocka_unit_test_setup(test_flags_agree, setup),
        cmocka_unit_test_setup(test_keys_of_rows, setup),
        cmocka_unit_test(test_keys_counted_or_announced),
        cmocka_unit_test(test_hostile_key_counts),
        cmocka_unit_test_setup(test_keys_stay_inside, setup),
        cmocka_unit_test_setup(test_info_of_one, setup),
        cmocka_unit_test_setup(test_docs_of_one, setup),
        cmocka_unit_test_setup(test_all_is_well_formed, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
