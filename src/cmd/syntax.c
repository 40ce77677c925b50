#include "cmd/syntax.h"

#include "base/assert.h"
#include "base/err.h"

/* Recursive descent over the text, one function for each form in the header. Arguments
 * are chained by index, since those of a group are allocated while their neighbours
 * are still to come. */

struct parser {
    const char *text, *at, *end;
    struct syntax *out;
    unsigned depth;
};

/* A chain of arguments being built. */
struct chain {
    int8_t first;
    int8_t last;
    uint8_t n;
};

static const struct chain EMPTY = {SYNTAX_NONE, SYNTAX_NONE, 0};

static int parse_body(struct parser *p, char close, int8_t *out);
static int parse_item(struct parser *p, int8_t *out);

static bool peek(const struct parser *p, char c)
{
    return p->at < p->end && *p->at == c;
}

static bool eat(struct parser *p, struct str s)
{
    if ((size_t)(p->end - p->at) < s.n || memcmp(p->at, s.p, s.n) != 0)
        return false;
    p->at += s.n;
    return true;
}

static int new_arg(struct parser *p, enum syntax_type type, struct str name, int8_t *out)
{
    if (p->out->nargs == SYNTAX_ARGS_MAX)
        return ERR_FULL;
    *out = (int8_t)p->out->nargs++;
    p->out->args[*out] = (struct syntax_arg){
        .name = name, .type = type, .key_spec = SYNTAX_NONE, .child = SYNTAX_NONE, .next = SYNTAX_NONE};
    return 0;
}

static void chain_add(struct parser *p, struct chain *c, int8_t arg)
{
    if (c->n == 0)
        c->first = arg;
    else
        p->out->args[c->last].next = arg;
    c->last = arg;
    c->n++;
}

/* ---- words ---------------------------------------------------------------------- */

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_display_char(char c)
{
    return is_name_char(c) || c == ':';
}

static struct str take_while(struct parser *p, bool (*wanted)(char))
{
    const char *from = p->at;
    while (p->at < p->end && wanted(*p->at))
        p->at++;
    return (struct str){from, (size_t)(p->at - from)};
}

/* "7.0.0", but not the "..." that may follow. Empty if it does not start with a digit. */
static struct str take_version(struct parser *p)
{
    struct str v = take_while(p, is_digit);
    while (v.n > 0 && p->end - p->at > 1 && p->at[0] == '.' && is_digit(p->at[1])) {
        p->at++;
        take_while(p, is_digit);
        v.n = (size_t)(p->at - v.p);
    }
    return v;
}

static bool is_capitals(struct str s)
{
    bool letter = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] >= 'a' && s.p[i] <= 'z')
            return false;
        letter |= s.p[i] >= 'A' && s.p[i] <= 'Z';
    }
    return letter;
}

/* @since !deprecated ... +... in any order. */
static int parse_suffixes(struct parser *p, struct syntax_arg *a)
{
    for (;;) {
        if (eat(p, STR("..."))) {
            a->multiple = true;
        } else if (eat(p, STR("+..."))) {
            a->multiple = a->multiple_token = true;
        } else if (eat(p, STR("@"))) {
            a->since = take_version(p);
        } else if (eat(p, STR("!"))) {
            a->deprecated = take_version(p);
        } else {
            return 0;
        }
        if ((a->since.p && a->since.n == 0) || (a->deprecated.p && a->deprecated.n == 0))
            return ERR_SYNTAX;
    }
}

static int parse_type(struct parser *p, struct syntax_arg *a)
{
    static const struct {
        struct str name;
        enum syntax_type type;
    } types[] = {{STR("string"), SYNTAX_STRING},
                 {STR("int"), SYNTAX_INTEGER},
                 {STR("double"), SYNTAX_DOUBLE},
                 {STR("pattern"), SYNTAX_PATTERN},
                 {STR("time"), SYNTAX_TIME}};
    struct str word = take_while(p, is_name_char);
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (str_eq(word, types[i].name)) {
            a->type = types[i].type;
            return 0;
        }
    }
    if (word.n < 3 || word.n > 4 || memcmp(word.p, "key", 3) != 0)
        return ERR_SYNTAX;
    a->type = SYNTAX_KEY;
    a->key_spec = word.n == 3 ? 0 : (int8_t)(word.p[3] - '0');
    return a->key_spec >= 0 && a->key_spec <= 9 ? 0 : ERR_SYNTAX;
}

/* name[:type][=display] */
static int parse_value(struct parser *p, struct str name, int8_t *out)
{
    int err = name.n == 0 ? ERR_SYNTAX : new_arg(p, SYNTAX_STRING, name, out);
    if (err == 0 && eat(p, STR(":")))
        err = parse_type(p, &p->out->args[*out]);
    if (err == 0 && eat(p, STR("=")))
        p->out->args[*out].display = take_while(p, is_display_char);
    return err ? err : parse_suffixes(p, &p->out->args[*out]);
}

/* ---- tokens --------------------------------------------------------------------- */

static bool not_quote(char c)
{
    return c != '\'';
}

/* Is the token at p->at followed by the argument that it announces? */
static bool announces(const struct parser *p)
{
    struct parser ahead = *p;
    if (!eat(&ahead, STR(" ")))
        return false;
    if (peek(&ahead, '<'))
        return true;
    struct str word = take_while(&ahead, is_name_char);
    return word.n > 0 && (!is_capitals(word) || peek(&ahead, ':'));
}

static int parse_token(struct parser *p, struct str token, int8_t *out)
{
    if (announces(p)) {
        p->at++;
        int err = parse_item(p, out);
        if (err == 0)
            p->out->args[*out].token = token;
        return err;
    }
    struct str name = token;
    if (eat(p, STR("("))) {
        name = take_while(p, is_name_char);
        if (!eat(p, STR(")")))
            return ERR_SYNTAX;
    }
    int err = name.n == 0 ? ERR_SYNTAX : new_arg(p, SYNTAX_TOKEN, name, out);
    if (err)
        return err;
    p->out->args[*out].token = token;
    return parse_suffixes(p, &p->out->args[*out]);
}

/* ---- brackets ------------------------------------------------------------------- */

static int parse_bracket(struct parser *p, bool optional, int8_t *out)
{
    if (++p->depth > SYNTAX_DEPTH_MAX)
        return ERR_FULL;
    p->at++;
    int err = parse_body(p, optional ? ']' : '>', out);
    if (err)
        return err;
    p->at++;
    p->depth--;
    p->out->args[*out].optional |= optional;
    return parse_suffixes(p, &p->out->args[*out]);
}

static int parse_item(struct parser *p, int8_t *out)
{
    if (peek(p, '[') || peek(p, '<'))
        return parse_bracket(p, *p->at == '[', out);
    if (eat(p, STR("'"))) {
        struct str token = take_while(p, not_quote);
        return eat(p, STR("'")) ? parse_token(p, token, out) : ERR_SYNTAX;
    }
    struct str word = take_while(p, is_name_char);
    return is_capitals(word) && !peek(p, ':') ? parse_token(p, word, out) : parse_value(p, word, out);
}

/* Items up to `close` or the end. *alternatives: how many "|" there were; then every
 * alternative is one item. */
static int parse_items(struct parser *p, char close, struct chain *items, unsigned *alternatives)
{
    *items = EMPTY;
    *alternatives = 0;
    for (;;) {
        int8_t arg;
        int err = parse_item(p, &arg);
        if (err)
            return err;
        chain_add(p, items, arg);
        if (close ? peek(p, close) : p->at == p->end)
            break;
        if (eat(p, STR(" | ")))
            (*alternatives)++;
        else if (!eat(p, STR(" ")))
            return ERR_SYNTAX;
    }
    return *alternatives == 0 || *alternatives + 1 == items->n ? 0 : ERR_SYNTAX;
}

/* The inside of a bracket: "label: items", or one item that the bracket is about. */
static int parse_body(struct parser *p, char close, int8_t *out)
{
    struct parser start = *p;
    struct str label = take_while(p, is_name_char);
    bool group = label.n > 0 && eat(p, STR(": "));
    if (!group)
        *p = start;
    int err = group ? new_arg(p, SYNTAX_BLOCK, label, out) : 0;
    struct chain items;
    unsigned alternatives;
    if (err == 0)
        err = parse_items(p, close, &items, &alternatives);
    if (err)
        return err;
    if (!group) {
        *out = items.first;
        return items.n == 1 ? 0 : ERR_SYNTAX;
    }
    struct syntax_arg *a = &p->out->args[*out];
    a->type = alternatives ? SYNTAX_ONEOF : SYNTAX_BLOCK;
    a->child = items.first;
    a->nchildren = items.n;
    return 0;
}

int syntax_parse(struct str text, struct syntax *out)
{
    struct parser p = {text.p, text.p, text.p + text.n, out, 0};
    struct chain items;
    unsigned alternatives;
    out->nargs = 0;
    int err = parse_items(&p, 0, &items, &alternatives);
    if (err == 0 && alternatives)
        err = ERR_SYNTAX;
    out->first = items.first;
    out->ntop = items.n;
    out->error = (uint16_t)(p.at - p.text);
    return err;
}

const char *syntax_type_name(enum syntax_type type)
{
    static const char *const names[] = {
        [SYNTAX_STRING] = "string",    [SYNTAX_INTEGER] = "integer", [SYNTAX_DOUBLE] = "double",
        [SYNTAX_KEY] = "key",          [SYNTAX_PATTERN] = "pattern", [SYNTAX_TIME] = "unix-time",
        [SYNTAX_TOKEN] = "pure-token", [SYNTAX_ONEOF] = "oneof",     [SYNTAX_BLOCK] = "block",
    };
    ASSERT((size_t)type < ARRAY_LEN(names));
    return names[type];
}
