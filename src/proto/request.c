#include "proto/request.h"

#include "base/assert.h"
#include "base/err.h"
#include "base/num.h"
#include "proto/header.h"

#include <stdio.h>
#include <string.h>

enum {
    BULK_BYTES_MIN = 6, /* "$0\r\n\r\n" */
    SPLIT_ARGS_FIRST = 16,
};
_Static_assert((int)BULK_BYTES_MIN >= (int)HEADER_SHORT_MAX, "where a bulk fits, a short header can be read");

static COLD int protocol_error(struct request_parser *p, const char *text)
{
    p->error = text;
    return ERR_PROTO;
}

static COLD int unexpected(struct request_parser *p, char got)
{
    snprintf(p->error_buf, sizeof p->error_buf, "Protocol error: expected '$', got '%c'", got);
    return protocol_error(p, p->error_buf);
}

/* Find the byte that ends a line at `at`, as Redis does: a NUL hides what is behind
 * it, and a line that has not ended after REQUEST_INLINE_MAX bytes is too long.
 * Returns ERR_AGAIN or ERR_FULL when there is none. */
static COLD int find_line_end(const char *at, const char *end, char mark, const char **out)
{
    size_t n = (size_t)(end - at), window = n > REQUEST_INLINE_MAX ? REQUEST_INLINE_MAX + 1 : n;
    const char *found = memchr(at, mark, window);
    if (found == NULL || memchr(at, '\0', (size_t)(found - at)) != NULL)
        return n > REQUEST_INLINE_MAX ? ERR_FULL : ERR_AGAIN;
    *out = found;
    return 0;
}

/* A header line in all generality: "*<n>\r\n" or "$<n>\r\n". Like Redis, take any
 * byte for the '\n'. On success *at stands behind the line; *valid says whether the
 * number parses. */
static COLD int header_slow(const char **at, const char *end, int64_t *v, bool *valid)
{
    const char *cr;
    int err = find_line_end(*at, end, '\r', &cr);
    if (err < 0)
        return err;
    if (end - cr < 2)
        return ERR_AGAIN;
    *valid = num_parse_i64((struct str){*at + 1, (size_t)(cr - *at) - 1}, v);
    *at = cr + 2;
    return 0;
}

static COLD int bulk_header_slow(struct request_parser *p, const char **at, const char *end, int64_t *n)
{
    bool valid;
    char first = *at < end ? **at : '$';
    int err = header_slow(at, end, n, &valid);
    if (err == ERR_FULL)
        return protocol_error(p, "Protocol error: too big bulk count string");
    if (err < 0)
        return err;
    if (first != '$')
        return unexpected(p, first);
    if (!valid || *n < 0)
        return protocol_error(p, "Protocol error: invalid bulk length");
    return 0;
}

/* Step over one bulk string and say where it lies. On ERR_AGAIN *at stays before it. */
static ALWAYS_INLINE int parse_bulk(struct request_parser *p, const char **at, const char *end,
                                    struct str *out)
{
    int64_t n = 0;
    const char *from = *at;
    unsigned head = likely(end - from >= BULK_BYTES_MIN && *from == '$') ? header_short(from, &n) : 0;
    from += head;
    if (unlikely(head == 0)) {
        p->need = 1;
        int err = bulk_header_slow(p, &from, end, &n);
        if (err < 0)
            return err;
    }
    if (unlikely((uint64_t)n > p->bulk_max))
        return protocol_error(p, "Protocol error: invalid bulk length");
    if (unlikely(n > REQUEST_UNAUTH_BULK_MAX) && !p->authenticated)
        return protocol_error(p, "Protocol error: unauthenticated bulk length");
    if (unlikely((uint64_t)(end - from) < (uint64_t)n + 2)) {
        p->need = (size_t)n + 2 - (size_t)(end - from);
        return ERR_AGAIN;
    }
    *out = (struct str){from, (size_t)n};
    *at = from + n + 2;
    return 0;
}

static int count_header(struct request_parser *p, const char **at, const char *end, int64_t *argc)
{
    unsigned head = likely(end - *at >= HEADER_SHORT_MAX) ? header_short(*at, argc) : 0;
    *at += head;
    if (unlikely(head == 0)) {
        bool valid;
        p->need = 1;
        int err = header_slow(at, end, argc, &valid);
        if (err == ERR_FULL)
            return protocol_error(p, "Protocol error: too big mbulk count string");
        if (err < 0)
            return err;
        if (!valid || *argc > REQUEST_ARGS_MAX)
            return protocol_error(p, "Protocol error: invalid multibulk length");
    }
    if (unlikely(*argc > REQUEST_UNAUTH_ARGS_MAX) && !p->authenticated)
        return protocol_error(p, "Protocol error: unauthenticated multibulk length");
    return 0;
}

/* Look at the arguments from the i-th on, which begins at `at`, without keeping
 * them. Returns 0 when all are there. A cut request is noted in p->progress. */
static COLD int scan(struct request_parser *p, struct str in, const char *at, uint32_t i, uint32_t argc)
{
    int err = 0;
    for (; i < argc && err == 0; i++) {
        struct str ignored;
        err = parse_bulk(p, &at, in.p + in.n, &ignored);
        if (err == ERR_AGAIN && p->progress != NULL)
            *p->progress = (struct request_progress){(size_t)(at - in.p), i, argc};
    }
    return err;
}

/* Go on where the last try stopped. Returns 0 when the request is now whole. */
static COLD int resume(struct request_parser *p, struct str in)
{
    struct request_progress from = *p->progress;
    ASSERT(from.bytes <= in.n && from.args < from.argc);
    *p->progress = (struct request_progress){0};
    return scan(p, in, in.p + from.bytes, from.args, from.argc);
}

static int parse_array(struct request_parser *p, struct str in, struct arena *arena, struct request *out)
{
    const char *at = in.p, *end = in.p + in.n;
    int64_t argc = 0;
    int err = 0;
    if (unlikely(p->progress != NULL && p->progress->argc > 0))
        err = resume(p, in);
    if (likely(err == 0))
        err = count_header(p, &at, end, &argc);
    if (unlikely(err < 0))
        return err;
    if (unlikely(argc <= 0)) {
        *out = (struct request){NULL, 0, (size_t)(at - in.p)};
        return 0;
    }
    /* Too few bytes for so many arguments: a short lie ("*1000000") buys no memory. */
    if (unlikely((end - at) / BULK_BYTES_MIN < argc))
        return scan(p, in, at, 0, (uint32_t)argc);
    struct str *argv = arena_alloc(arena, (size_t)argc * sizeof *argv);
    if (unlikely(argv == NULL))
        return ERR_OOM;
    for (int64_t i = 0; i < argc; i++) {
        err = parse_bulk(p, &at, end, &argv[i]);
        if (unlikely(err < 0))
            return err == ERR_AGAIN ? scan(p, in, at, (uint32_t)i, (uint32_t)argc) : err;
    }
    *out = (struct request){argv, (uint32_t)argc, (size_t)(at - in.p)};
    return 0;
}

static COLD int parse_inline(struct request_parser *p, struct str in, struct arena *arena,
                             struct request *out)
{
    const char *lf;
    p->need = 1;
    int err = find_line_end(in.p, in.p + in.n, '\n', &lf);
    if (err == ERR_FULL)
        return protocol_error(p, "Protocol error: too big inline request");
    if (err < 0)
        return err;
    struct str line = {in.p, (size_t)(lf - in.p)};
    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    struct str *argv;
    uint32_t argc;
    err = request_split_line(line, arena, &argv, &argc, REQUEST_ARGS_MAX);
    if (err == ERR_SYNTAX)
        return protocol_error(p, "Protocol error: unbalanced quotes in request");
    if (err < 0)
        return err;
    *out = (struct request){argv, argc, (size_t)(lf + 1 - in.p)};
    return 0;
}

int request_parse(struct request_parser *p, struct str in, struct arena *arena, struct request *out)
{
    if (unlikely(in.n == 0)) {
        p->need = 1;
        return ERR_AGAIN;
    }
    return likely(in.p[0] == '*') ? parse_array(p, in, arena, out) : parse_inline(p, in, arena, out);
}

/* ---- lines ---- */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char escaped(char c)
{
    switch (c) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'b': return '\b';
    case 'a': return '\a';
    }
    return c;
}

/* The part of an argument from behind an opening `quote` to behind the closing one,
 * which a space or the end must follow. Returns NULL when it does not close. */
static const char *unquote(const char *at, const char *end, char quote, char **to)
{
    for (; at < end; at++) {
        if (*at == quote) {
            at++;
            return at == end || is_space(*at) ? at : NULL;
        }
        bool escape = *at == '\\' && end - at >= 2;
        if (escape && quote == '"' && at[1] == 'x' && end - at >= 4 && hex_digit(at[2]) >= 0 &&
            hex_digit(at[3]) >= 0) {
            *(*to)++ = (char)(hex_digit(at[2]) * 16 + hex_digit(at[3]));
            at += 3;
        } else if (escape && quote == '"') {
            *(*to)++ = escaped(*++at);
        } else if (escape && at[1] == '\'') {
            *(*to)++ = *++at;
        } else {
            *(*to)++ = *at;
        }
    }
    return NULL;
}

/* One argument, which ends at a space, at the end, or with a quoted part. */
static const char *split_one(const char *at, const char *end, char **to)
{
    for (; at < end; at++) {
        if (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')
            return at;
        if (*at == '"' || *at == '\'')
            return unquote(at + 1, end, *at, to);
        *(*to)++ = *at;
    }
    return at;
}

struct arg_list {
    struct str *v;
    uint32_t n, cap, max;
};

static int list_add(struct arg_list *l, struct arena *arena, struct str s)
{
    if (l->n == l->max)
        return ERR_FULL;
    if (l->n == l->cap) {
        uint32_t cap = l->cap > 0 ? l->cap * 2 : SPLIT_ARGS_FIRST;
        struct str *v = arena_alloc(arena, cap * sizeof *v);
        if (v == NULL)
            return ERR_OOM;
        if (l->n > 0)
            memcpy(v, l->v, l->n * sizeof *v);
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n++] = s;
    return 0;
}

int request_split_line(struct str line, struct arena *arena, struct str **argv, uint32_t *argc, uint32_t max)
{
    ASSERT(max <= REQUEST_ARGS_MAX);
    struct arg_list list = {.max = max};
    *argv = NULL;
    *argc = 0;
    if (line.n == 0) /* line.p may be NULL */
        return 0;
    char *to = arena_alloc(arena, line.n + REQUEST_PEEK);
    if (to == NULL)
        return ERR_OOM;
    memset(to + line.n, 0, REQUEST_PEEK);
    const char *at = line.p, *end = line.p + line.n;
    for (;;) {
        while (at < end && is_space(*at))
            at++;
        if (at == end)
            break;
        char *from = to;
        at = split_one(at, end, &to);
        if (at == NULL)
            return ERR_SYNTAX;
        int err = list_add(&list, arena, (struct str){from, (size_t)(to - from)});
        if (err < 0)
            return err;
    }
    *argv = list.v;
    *argc = list.n;
    return 0;
}
