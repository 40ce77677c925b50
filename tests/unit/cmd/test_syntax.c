/* The notation of arguments: what each form means, what is refused, and that nothing of
 * a row's text is lost on the way to COMMAND DOCS. */
#include "rows.h"

#include "base/err.h"
#include "cmd/syntax.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

void test_no_handler(struct cmd_ctx *c)
{
    (void)c;
}

static struct command rows[] = {
#include "cmd/commands.def"
};

static const struct syntax_arg *parse_one(const char *text, struct syntax *s)
{
    assert_int_equal(syntax_parse(str_of(text), s), 0);
    assert_int_equal(s->ntop, 1);
    return &s->args[s->first];
}

static void assert_text(struct str got, const char *want)
{
    if (!want)
        assert_null(got.p);
    else
        assert_true(str_eq(got, str_of(want)));
}

static void test_values(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum syntax_type type;
        int key_spec;
    } cases[] = {
        {"x", SYNTAX_STRING, SYNTAX_NONE},
        {"x:string", SYNTAX_STRING, SYNTAX_NONE},
        {"x:int", SYNTAX_INTEGER, SYNTAX_NONE},
        {"x:double", SYNTAX_DOUBLE, SYNTAX_NONE},
        {"x:pattern", SYNTAX_PATTERN, SYNTAX_NONE},
        {"x:time", SYNTAX_TIME, SYNTAX_NONE},
        {"x:key", SYNTAX_KEY, 0},
        {"x:key3", SYNTAX_KEY, 3},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct syntax s;
        const struct syntax_arg *a = parse_one(cases[i].text, &s);
        assert_text(a->name, "x");
        assert_int_equal(a->type, cases[i].type);
        assert_int_equal(a->key_spec, cases[i].key_spec);
        assert_false(a->optional || a->multiple || a->multiple_token);
        assert_text(a->token, NULL);
    }
}

static void test_suffixes(void **state)
{
    (void)state;
    struct syntax s;
    const struct syntax_arg *a = parse_one("addr=ip:port@1.2.3!4.5.6...", &s);
    assert_text(a->name, "addr");
    assert_text(a->display, "ip:port");
    assert_text(a->since, "1.2.3");
    assert_text(a->deprecated, "4.5.6");
    assert_true(a->multiple && !a->multiple_token && !a->optional);
    a = parse_one("[X n:int]+...@7.0.0", &s);
    assert_text(a->token, "X");
    assert_true(a->multiple && a->multiple_token && a->optional);
    assert_text(a->since, "7.0.0");
}

static void test_tokens(void **state)
{
    (void)state;
    struct syntax s;
    const struct syntax_arg *a = parse_one("NO-EVICT", &s);
    assert_int_equal(a->type, SYNTAX_TOKEN);
    assert_text(a->token, "NO-EVICT");
    assert_text(a->name, "NO-EVICT");
    a = parse_one("'~'(approximately)", &s);
    assert_int_equal(a->type, SYNTAX_TOKEN);
    assert_text(a->token, "~");
    assert_text(a->name, "approximately");
    a = parse_one("'lib-name' libname", &s);
    assert_int_equal(a->type, SYNTAX_STRING);
    assert_text(a->token, "lib-name");
    a = parse_one("COMMAND:string", &s);
    assert_int_equal(a->type, SYNTAX_STRING);
    assert_text(a->name, "COMMAND");
    a = parse_one("AUTH <auth: user password>", &s);
    assert_int_equal(a->type, SYNTAX_BLOCK);
    assert_text(a->token, "AUTH");
    /* A token before another token, or before brackets, stands for itself. */
    assert_int_equal(syntax_parse(STR("A B [c]"), &s), 0);
    assert_int_equal(s.ntop, 3);
    assert_int_equal(s.args[s.first].type, SYNTAX_TOKEN);
}

static void test_groups(void **state)
{
    (void)state;
    struct syntax s;
    const struct syntax_arg *a = parse_one("[expiry: EX seconds:int | KEEP | <pair: a b>]@6.0.0", &s);
    assert_int_equal(a->type, SYNTAX_ONEOF);
    assert_text(a->name, "expiry");
    assert_int_equal(a->nchildren, 3);
    assert_true(a->optional);
    const struct syntax_arg *child = &s.args[a->child];
    assert_text(child->token, "EX");
    assert_text(child->since, NULL);
    child = &s.args[child->next];
    assert_int_equal(child->type, SYNTAX_TOKEN);
    child = &s.args[child->next];
    assert_int_equal(child->type, SYNTAX_BLOCK);
    assert_int_equal(child->nchildren, 2);
    assert_int_equal(child->next, SYNTAX_NONE);
    assert_int_equal(parse_one("<data: a b>...", &s)->type, SYNTAX_BLOCK);
    assert_false(parse_one("<data: a b>...", &s)->optional);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",          " ",        "a ",    " a",      "a  b",   "a | b",        "[a",           "a]",
        "[a>",       "<a: b]",   "[a b]", "[]",      "<>",     "[x: a | b c]", "[x: a b | c]", "[x: ]",
        "[x: a |b]", "a:nosuch", "a:",    "a:key10", "a:keyx", "a@",           "a!",           "'a",
        "''",        "''(",      "A(",    "A()",     "A(b",    "a..",          "a,b",          "a=x@",
        "[a]]",      "X [",      "X <",   "x: a",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct syntax s;
        if (syntax_parse(str_of(bad[i]), &s) != ERR_SYNTAX)
            fail_msg("accepted: %s", bad[i]);
        assert_true(s.error <= strlen(bad[i]));
    }
}

static void test_limits(void **state)
{
    (void)state;
    struct syntax s;
    char text[4 * (SYNTAX_ARGS_MAX + 1)] = "";
    for (int i = 0; i < SYNTAX_ARGS_MAX; i++)
        strcat(text, i ? " a" : "a");
    assert_int_equal(syntax_parse(str_of(text), &s), 0);
    assert_int_equal(s.ntop, SYNTAX_ARGS_MAX);
    strcat(text, " a");
    assert_int_equal(syntax_parse(str_of(text), &s), ERR_FULL);
    for (int depth = 1; depth < 2 * SYNTAX_DEPTH_MAX; depth++) {
        text[0] = 0;
        for (int i = 0; i < depth; i++)
            strcat(text, "[");
        strcat(text, "a");
        for (int i = 0; i < depth; i++)
            strcat(text, "]");
        assert_int_equal(syntax_parse(str_of(text), &s), depth <= SYNTAX_DEPTH_MAX ? 0 : ERR_FULL);
    }
}

/* ---- back to text --------------------------------------------------------------- */

struct text {
    char p[1024];
    size_t n;
};

static void put(struct text *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    t->n += (size_t)vsnprintf(t->p + t->n, sizeof(t->p) - t->n, fmt, ap);
    va_end(ap);
    assert_true(t->n < sizeof(t->p));
}

static void put_arg(struct text *t, const struct syntax *s, const struct syntax_arg *a);

static void put_chain(struct text *t, const struct syntax *s, int first, const char *between)
{
    for (int i = first; i != SYNTAX_NONE; i = s->args[i].next) {
        if (i != first)
            put(t, "%s", between);
        put_arg(t, s, &s->args[i]);
    }
}

static void put_token(struct text *t, const struct syntax_arg *a)
{
    bool quoted = a->token.n == 0;
    for (size_t i = 0; i < a->token.n; i++)
        quoted |= a->token.p[i] >= 'a' && a->token.p[i] <= 'z';
    put(t, quoted ? "'%.*s'" : "%.*s", (int)a->token.n, a->token.p);
}

/* Before the suffixes. */
static void put_core(struct text *t, const struct syntax *s, const struct syntax_arg *a)
{
    static const char *const types[] = {"", ":int", ":double", ":key", ":pattern", ":time"};
    bool group = a->type == SYNTAX_ONEOF || a->type == SYNTAX_BLOCK;
    bool bare = group && a->optional && !a->token.p; /* its brackets are those of the option */
    if (a->type == SYNTAX_TOKEN) {
        if (!str_eq_nocase(a->name, a->token))
            put(t, "(%.*s)", (int)a->name.n, a->name.p);
        return;
    }
    if (group) {
        put(t, bare ? "%.*s: " : "<%.*s: ", (int)a->name.n, a->name.p);
        put_chain(t, s, a->child, a->type == SYNTAX_ONEOF ? " | " : " ");
        put(t, bare ? "" : ">");
        return;
    }
    put(t, "%.*s%s", (int)a->name.n, a->name.p, types[a->type]);
    if (a->name.p[0] >= 'A' && a->name.p[0] <= 'Z')
        put(t, ":string");
    if (a->key_spec > 0)
        put(t, "%d", a->key_spec);
    if (a->display.p)
        put(t, "=%.*s", (int)a->display.n, a->display.p);
}

static void put_arg(struct text *t, const struct syntax *s, const struct syntax_arg *a)
{
    put(t, a->optional ? "[" : "");
    if (a->token.p)
        put_token(t, a);
    if (a->token.p && a->type != SYNTAX_TOKEN)
        put(t, " ");
    put_core(t, s, a);
    put(t, a->optional ? "]" : "");
    if (a->multiple)
        put(t, a->multiple_token ? "+..." : "...");
    if (a->since.p)
        put(t, "@%.*s", (int)a->since.n, a->since.p);
    if (a->deprecated.p)
        put(t, "!%.*s", (int)a->deprecated.n, a->deprecated.p);
}

/* Every row's text comes back as it was written, so all of it was understood. */
static void test_rows_survive_the_round_trip(void **state)
{
    (void)state;
    unsigned checked = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct syntax s;
        struct text t = {.n = 0};
        if (!rows[i].syntax)
            continue;
        int err = syntax_parse(str_of(rows[i].syntax), &s);
        if (err)
            fail_msg("%s: error %d at '%s'", rows[i].name, err, rows[i].syntax + s.error);
        put_chain(&t, &s, s.first, " ");
        assert_string_equal(t.p, rows[i].syntax);
        checked++;
    }
    assert_true(checked > 60);
}

/* A key argument names a key spec of its row, and every key spec is named. */
static void test_rows_name_their_key_specs(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct syntax s = {.nargs = 0};
        uint32_t named = 0;
        if (rows[i].syntax)
            assert_int_equal(syntax_parse(str_of(rows[i].syntax), &s), 0);
        for (unsigned k = 0; k < s.nargs; k++) {
            if (s.args[k].type == SYNTAX_KEY)
                named |= 1u << s.args[k].key_spec;
        }
        if (named != (1u << rows[i].nkey_specs) - 1)
            fail_msg("%s: key specs and arguments differ", rows[i].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_suffixes),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_rows_survive_the_round_trip),
        cmocka_unit_test(test_rows_name_their_key_specs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
