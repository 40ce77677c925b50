/* A reply is a header line, for strings followed by that many bytes, for aggregates
 * by that many replies. Building values recurses to READER_DEPTH_MAX; skipping only
 * counts how many replies are still to come and needs no stack.
 *
 * Memory for children is taken only when the bytes that are here could hold them
 * all, so a peer that announces a billion elements must first send them. An
 * attribute in front of a whole reply is a value of its own; within aggregates,
 * where it counts as no element, it is checked and dropped. */
#include "proto/reader.h"

#include "base/assert.h"
#include "base/err.h"
#include "base/num.h"
#include "proto/header.h"

#include <string.h>

enum { VALUE_BYTES_MIN = 3 }; /* "_\r\n", "+\r\n" */

struct cursor {
    const char *at, *end;
    size_t bulk_max;
    struct arena *arena;
    size_t need;    /* bytes that the value at hand lacks */
    size_t pending; /* values that must follow the one at hand */
};

/* The line behind the type byte, without CR LF; the cursor moves behind it. */
static int take_line(struct cursor *c, struct str *out)
{
    size_t left = (size_t)(c->end - c->at), window = left < READER_LINE_MAX ? left : READER_LINE_MAX;
    c->need = 1;
    const char *cr = left > 1 ? memchr(c->at + 1, '\r', window - 1) : NULL;
    if (cr == NULL)
        return left > window || window == READER_LINE_MAX ? ERR_PROTO : ERR_AGAIN;
    if (cr + 1 == c->end)
        return ERR_AGAIN;
    if (cr[1] != '\n')
        return ERR_PROTO;
    *out = (struct str){c->at + 1, (size_t)(cr - c->at) - 1};
    c->at = cr + 2;
    return 0;
}

/* The header's number: a length of at most max, or -1 where `null` may stand. */
static int take_length(struct cursor *c, uint64_t max, bool null, int64_t *out)
{
    struct str line;
    unsigned head = likely(c->end - c->at >= HEADER_SHORT_MAX) ? header_short(c->at, out) : 0;
    if (likely(head > 0 && (uint64_t)*out <= max)) {
        c->at += head;
        return 0;
    }
    int err = take_line(c, &line);
    if (err < 0)
        return err;
    if (!num_parse_i64(line, out) || *out < (null ? -1 : 0) || (*out > 0 && (uint64_t)*out > max))
        return ERR_PROTO;
    return 0;
}

/* $ ! = : the bytes of a string and its CR LF. *null when the length was -1. */
static int take_string(struct cursor *c, struct str *out, bool *null)
{
    int64_t n;
    int err = take_length(c, c->bulk_max, *c->at == '$', &n);
    if (err < 0)
        return err;
    *null = n < 0;
    if (*null)
        return 0;
    size_t left = (size_t)(c->end - c->at);
    if (left < (size_t)n + 2) {
        c->need = (size_t)n + 2 - left;
        return ERR_AGAIN;
    }
    if (c->at[n] != '\r' || c->at[n + 1] != '\n')
        return ERR_PROTO;
    *out = (struct str){c->at, (size_t)n};
    c->at += n + 2;
    return 0;
}

static enum reader_kind aggregate_kind(char type)
{
    switch (type) {
    case '%': return READ_MAP;
    case '~': return READ_SET;
    case '>': return READ_PUSH;
    case '|': return READ_ATTRIBUTE;
    }
    return READ_ARRAY;
}

/* How many values follow the header of an aggregate. */
static int take_count(struct cursor *c, uint64_t *n, bool *null)
{
    char type = *c->at;
    int64_t count;
    int err = take_length(c, READER_COUNT_MAX, type == '*', &count);
    if (err < 0)
        return err;
    *null = count < 0;
    *n = *null ? 0 : type == '%' || type == '|' ? (uint64_t)count * 2 : (uint64_t)count;
    return 0;
}

static int parse_value(struct cursor *c, unsigned depth, struct reader_value *out);

/* An element of an aggregate, and the attributes before it. */
static int parse_element(struct cursor *c, unsigned depth, struct reader_value *out)
{
    int err;
    do
        err = parse_value(c, depth, out);
    while (err == 0 && out->kind == READ_ATTRIBUTE);
    return err;
}

static int parse_aggregate(struct cursor *c, unsigned depth, struct reader_value *out)
{
    bool null;
    out->kind = aggregate_kind(*c->at);
    int err = take_count(c, &out->n, &null);
    if (err < 0)
        return err;
    if (null)
        out->kind = READ_NULL;
    if (out->n == 0)
        return 0;
    if (depth == READER_DEPTH_MAX)
        return ERR_PROTO;
    size_t left = (size_t)(c->end - c->at);
    if (left / VALUE_BYTES_MIN < out->n) {
        c->need = out->n * VALUE_BYTES_MIN - left;
        return ERR_AGAIN;
    }
    out->children = arena_alloc(c->arena, out->n * sizeof *out->children);
    if (out->children == NULL)
        return ERR_OOM;
    c->pending += out->n;
    for (uint64_t i = 0; i < out->n; i++) {
        c->pending--;
        err = parse_element(c, depth + 1, &out->children[i]);
        if (err < 0)
            return err;
    }
    return 0;
}

static int parse_double(struct str line, struct reader_value *out)
{
    out->text = line;
    /* "nan" is a value here, although no command takes it as an argument. */
    if (str_is(line, "nan") || str_is(line, "-nan")) {
        out->number = __builtin_nan("");
        return 0;
    }
    return num_parse_double(line, &out->number) ? 0 : ERR_PROTO;
}

static int parse_line_value(struct cursor *c, struct reader_value *out)
{
    char type = *c->at;
    struct str line;
    int err = take_line(c, &line);
    if (err < 0)
        return err;
    out->text = line;
    switch (type) {
    case '+': out->kind = READ_STATUS; return 0;
    case '-': out->kind = READ_ERROR; return 0;
    case '(': out->kind = READ_BIGNUM; return 0;
    case ':': out->kind = READ_INT; return num_parse_i64(line, &out->integer) ? 0 : ERR_PROTO;
    case ',': out->kind = READ_DOUBLE; return parse_double(line, out);
    case '_': out->kind = READ_NULL; return line.n == 0 ? 0 : ERR_PROTO;
    case '#':
        out->kind = READ_BOOL;
        out->integer = line.n == 1 && line.p[0] == 't';
        return line.n == 1 && (line.p[0] == 't' || line.p[0] == 'f') ? 0 : ERR_PROTO;
    }
    return ERR_PROTO;
}

static int parse_string_value(struct cursor *c, struct reader_value *out)
{
    char type = *c->at;
    bool null;
    out->kind = type == '$' ? READ_BULK : type == '!' ? READ_BLOB_ERROR : READ_VERBATIM;
    int err = take_string(c, &out->text, &null);
    if (err < 0)
        return err;
    if (null)
        out->kind = READ_NULL;
    if (out->kind == READ_VERBATIM) {
        if (out->text.n < 4 || out->text.p[3] != ':')
            return ERR_PROTO;
        out->text = (struct str){out->text.p + 4, out->text.n - 4};
    }
    return 0;
}

static int parse_value(struct cursor *c, unsigned depth, struct reader_value *out)
{
    *out = (struct reader_value){0};
    if (c->at == c->end) {
        c->need = VALUE_BYTES_MIN;
        return ERR_AGAIN;
    }
    switch (*c->at) {
    case '$':
    case '!':
    case '=': return parse_string_value(c, out);
    case '*':
    case '%':
    case '~':
    case '>':
    case '|': return parse_aggregate(c, depth, out);
    case '+':
    case '-':
    case ':':
    case ',':
    case '(':
    case '#':
    case '_': return parse_line_value(c, out);
    }
    return ERR_PROTO;
}

int reader_parse(struct str in, size_t bulk_max, struct arena *arena, struct reader_value *out, size_t *used,
                 size_t *need)
{
    struct cursor c = {.at = in.p, .end = in.p + in.n, .bulk_max = bulk_max, .arena = arena};
    int err = parse_value(&c, 0, out);
    if (err == 0)
        *used = (size_t)(c.at - in.p);
    if (err == ERR_AGAIN)
        *need = c.need + c.pending * VALUE_BYTES_MIN;
    return err;
}

/* Step over one header, and the bytes of a string. `more` values follow it. */
static int skip_value(struct cursor *c, uint64_t *more, bool *null)
{
    struct str text;
    if (c->at == c->end)
        return ERR_AGAIN;
    *more = 0;
    *null = *c->at == '_';
    switch (*c->at) {
    case '$':
    case '!':
    case '=': return take_string(c, &text, null);
    case '*':
    case '%':
    case '~':
    case '>':
    case '|': return take_count(c, more, null);
    case '+':
    case '-':
    case ':':
    case ',':
    case '(':
    case '#':
    case '_': return take_line(c, &text);
    }
    return ERR_PROTO;
}

int reader_skip(struct str in, size_t *used, bool *is_error, bool *is_null)
{
    struct cursor c = {.at = in.p, .end = in.p + in.n, .bulk_max = PTRDIFF_MAX / 2};
    uint64_t pending = 1, more;
    bool null, met_reply = false;
    while (pending > 0) {
        char type = c.at < c.end ? *c.at : 0;
        int err = skip_value(&c, &more, &null);
        if (err < 0)
            return err;
        /* An attribute's own values come at once, and what it belongs to still follows. */
        if (type != '|') {
            if (pending == 1 && !met_reply) {
                met_reply = true;
                *is_error = type == '-' || type == '!';
                *is_null = null;
            }
            pending--;
        }
        if (num_add_overflows(pending, more, &pending))
            return ERR_PROTO;
    }
    *used = (size_t)(c.at - in.p);
    return 0;
}
