/* Every reply is made of lines, and of bulk bytes whose number a line has announced.
 * The bulk is skipped by arithmetic; a line is looked at where it lies, and copied
 * only if it is cut, or is an error.
 *
 *      $5\r\n hello\r\n       line "$5", skip 7
 *      *2\r\n :1\r\n _\r\n    line "*2" opens 2 more, each line closes one
 *
 * Nesting needs no stack: an element that announces n children closes itself and
 * opens n, and the reply ends when nothing is open. An attribute opens its
 * children and leaves its reply still to come.
 *
 * Rejected: proto/reader.h's reader_skip(), which wants a whole reply in one piece and
 * so a buffer a connection, and starts a cut reply of 50 bulks again. */
#include "tool/bench/scan.h"

#include "base/assert.h"

#include <string.h>

/* No server announces more; a broken one might. */
#define LENGTH_MAX ((uint64_t)1 << 40)

void scan_init(struct scan *s)
{
    memset(s, 0, sizeof *s);
    s->fresh = true;
}

struct str scan_text(const struct scan *s)
{
    return (struct str){s->line, s->ntext};
}

static void remember_part(struct scan *s, const char *p, size_t n)
{
    size_t room = SCAN_LINE_MAX - s->nline;
    if (n > room)
        n = room;
    memcpy(s->line + s->nline, p, n);
    s->nline += (uint16_t)n;
}

/* `text` may lie in s->line already. */
static void remember_text(struct scan *s, struct str text)
{
    if (text.n > SCAN_LINE_MAX)
        text.n = SCAN_LINE_MAX;
    memmove(s->line, text.p, text.n);
    s->ntext = (uint16_t)text.n;
}

static enum scan_result broken(struct scan *s, struct str line)
{
    remember_text(s, line);
    return SCAN_BROKEN;
}

/* Digits and nothing else. */
static bool number(struct str s, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned digit = (unsigned)(s.p[i] - '0');
        if (digit > 9 || v > LENGTH_MAX)
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    return s.n > 0 && v <= LENGTH_MAX;
}

static enum scan_result close_element(struct scan *s)
{
    DEBUG_ASSERT(s->open > 0);
    if (--s->open)
        return SCAN_MORE;
    s->fresh = true;
    return s->push ? SCAN_MORE : SCAN_REPLY;
}

static enum scan_result resp_null(struct scan *s, bool top)
{
    if (top)
        s->kind = SCAN_NULL;
    return close_element(s);
}

/* Errors within arrays (EXEC's) are values. */
static enum scan_result resp_error(struct scan *s, bool top, struct str text)
{
    if (top) {
        s->kind = SCAN_ERROR;
        remember_text(s, text);
    }
    return close_element(s);
}

static enum scan_result resp_bulk(struct scan *s, struct str line, bool top)
{
    uint64_t n;
    if (!number((struct str){line.p + 1, line.n - 1}, &n))
        return broken(s, line);
    if (top && line.p[0] == '!')
        s->kind = SCAN_ERROR;
    s->skip = n + 2;
    return SCAN_MORE; /* closed when its bytes have passed */
}

static enum scan_result resp_aggregate(struct scan *s, struct str line)
{
    uint64_t n;
    if (!number((struct str){line.p + 1, line.n - 1}, &n))
        return broken(s, line);
    s->open += line.p[0] == '%' ? 2 * n : n;
    return close_element(s);
}

static enum scan_result resp_attribute(struct scan *s, struct str line)
{
    uint64_t n;
    if (!number((struct str){line.p + 1, line.n - 1}, &n))
        return broken(s, line);
    s->open += 2 * n;
    return SCAN_MORE;
}

static enum scan_result resp_line(struct scan *s, struct str line)
{
    if (line.n == 0)
        return broken(s, line);
    if (s->fresh) {
        s->kind = SCAN_OTHER;
        s->fresh = s->push = false;
        s->top = true;
        s->open = 1;
    }
    if (line.p[0] == '|')
        return resp_attribute(s, line);
    bool top = s->top && s->open == 1;
    if (top)
        s->top = false;
    switch (line.p[0]) {
    case '+':
    case ':':
    case ',':
    case '#':
    case '(': return close_element(s);
    case '_': return resp_null(s, top);
    case '-': return resp_error(s, top, (struct str){line.p + 1, line.n - 1});
    case '$':
    case '*':
        if (line.n == 3 && line.p[1] == '-' && line.p[2] == '1')
            return resp_null(s, top);
        return line.p[0] == '$' ? resp_bulk(s, line, top) : resp_aggregate(s, line);
    case '=':
    case '!': return resp_bulk(s, line, top);
    case '>': s->push = top; return resp_aggregate(s, line);
    case '~':
    case '%': return resp_aggregate(s, line);
    }
    return broken(s, line);
}

/* VALUE <key> <flags> <bytes> [<cas>]: the bytes. */
static bool value_length(struct str line, uint64_t *out)
{
    const char *p = line.p, *end = line.p + line.n;
    for (int spaces = 0; spaces < 3; spaces++) {
        p = memchr(p, ' ', (size_t)(end - p));
        if (p == NULL)
            return false;
        p++;
    }
    const char *last = memchr(p, ' ', (size_t)(end - p));
    return number((struct str){p, (size_t)((last ? last : end) - p)}, out);
}

static enum scan_result memcached_line(struct scan *s, struct str line)
{
    uint64_t n;
    if (s->fresh)
        s->fresh = s->hit = false;
    if (str_begins(line, STR("VALUE "))) {
        if (!value_length(line, &n))
            return broken(s, line);
        s->hit = true;
        s->skip = n + 2;
        return SCAN_MORE;
    }
    s->fresh = true;
    s->kind = SCAN_OTHER;
    if (str_eq(line, STR("END"))) {
        s->kind = s->hit ? SCAN_OTHER : SCAN_NULL;
    } else if (str_begins(line, STR("ERROR")) || str_begins(line, STR("CLIENT_ERROR")) ||
               str_begins(line, STR("SERVER_ERROR"))) {
        s->kind = SCAN_ERROR;
        remember_text(s, line);
    } else if (line.n == 0 || line.p[0] < '0' || line.p[0] > 'Z') {
        return broken(s, line); /* neither a word such as STORED nor a number */
    }
    return SCAN_REPLY;
}

/* The line that ends in [*at, end), put together if its beginning came earlier.
 * False, with the bytes kept, when its end is still to come. */
static bool take_line(struct scan *s, const char **at, const char *end, struct str *line)
{
    const char *nl = memchr(*at, '\n', (size_t)(end - *at));
    if (nl == NULL || s->nline) {
        remember_part(s, *at, (size_t)((nl ? nl : end) - *at));
        *line = (struct str){s->line, s->nline};
    } else {
        *line = (struct str){*at, (size_t)(nl - *at)};
    }
    *at = nl ? nl + 1 : end;
    if (nl == NULL)
        return false;
    s->nline = 0;
    if (line->n && line->p[line->n - 1] == '\r')
        line->n--;
    return true;
}

enum scan_result scan_next(struct scan *s, enum scan_protocol protocol, const char **at, const char *end)
{
    struct str line;
    enum scan_result result = SCAN_MORE;
    while (result == SCAN_MORE && *at < end) {
        if (s->skip) {
            uint64_t have = (uint64_t)(end - *at), step = s->skip < have ? s->skip : have;
            *at += step;
            s->skip -= step;
            if (s->skip == 0 && protocol == SCAN_RESP)
                result = close_element(s);
        } else if (take_line(s, at, end, &line)) {
            result = protocol == SCAN_RESP ? resp_line(s, line) : memcached_line(s, line);
        }
    }
    return result;
}
