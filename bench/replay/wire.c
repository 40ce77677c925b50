#include "bench/replay/wire.h"

#include "base/assert.h"
#include "base/err.h"
#include "base/num.h"
#include "bench/replay/trace.h"

#include <stdio.h>

/* END closes a memcached `get`: keys of it that are still awaited then are misses. */
enum awaited { AWAIT_GET, AWAIT_SET, AWAIT_END };

void wire_init(struct wire *w, enum scan_protocol protocol, uint32_t key_bytes)
{
    ASSERT(key_bytes >= TRACE_KEY_BYTES_MIN && key_bytes <= TRACE_KEY_BYTES_MAX);
    memset(w, 0, sizeof *w);
    w->protocol = protocol;
    w->key_bytes = key_bytes;
    buf_init(&w->out);
    scan_init(&w->scan);
}

void wire_release(struct wire *w)
{
    buf_release(&w->out);
}

static void await(struct wire *w, enum awaited kind, uint32_t tag, uint32_t key)
{
    ASSERT(w->tail - w->head < WIRE_QUEUE);
    w->queue[w->tail++ % WIRE_QUEUE] = (struct wire_awaited){kind, tag, key};
}

static struct wire_awaited *first_awaited(struct wire *w)
{
    return wire_busy(w) ? &w->queue[w->head % WIRE_QUEUE] : NULL;
}

/* ---- requests ------------------------------------------------------------------------ */

static void put_key(struct wire *w, uint32_t key)
{
    if (buf_reserve(&w->out, w->key_bytes) != 0)
        return;
    char *p = w->out.p + w->out.n;
    for (uint32_t at = w->key_bytes; at-- > 0; key /= 10)
        p[at] = (char)('0' + key % 10);
    w->out.n += w->key_bytes;
}

static void put_number(struct wire *w, uint64_t v)
{
    if (buf_reserve(&w->out, NUM_I64_TEXT_MAX) == 0)
        w->out.n += num_put_u64(w->out.p + w->out.n, v);
}

static void put_key_bulk(struct wire *w, uint32_t key)
{
    buf_putc(&w->out, '$');
    put_number(w, w->key_bytes);
    buf_puts(&w->out, STR("\r\n"));
    put_key(w, key);
    buf_puts(&w->out, STR("\r\n"));
}

void wire_flush(struct wire *w)
{
    if (w->open == 0)
        return;
    buf_puts(&w->out, STR("\r\n"));
    await(w, AWAIT_END, 0, 0);
    w->open = 0;
}

void wire_get(struct wire *w, uint32_t key, uint32_t tag)
{
    if (w->protocol == SCAN_RESP) {
        buf_puts(&w->out, STR("*2\r\n$3\r\nGET\r\n"));
        put_key_bulk(w, key);
        await(w, AWAIT_GET, tag, key);
        return;
    }
    if (w->open == 0)
        buf_puts(&w->out, STR("get"));
    buf_putc(&w->out, ' ');
    put_key(w, key);
    await(w, AWAIT_GET, tag, key);
    if (++w->open == WIRE_MULTI_MAX)
        wire_flush(w);
}

static void set_resp(struct wire *w, uint32_t key, struct str value, uint64_t ttl_ms)
{
    char digits[NUM_I64_TEXT_MAX];
    buf_puts(&w->out, ttl_ms ? STR("*5\r\n$3\r\nSET\r\n") : STR("*3\r\n$3\r\nSET\r\n"));
    put_key_bulk(w, key);
    buf_putc(&w->out, '$');
    put_number(w, value.n);
    buf_puts(&w->out, STR("\r\n"));
    buf_puts(&w->out, value);
    buf_puts(&w->out, STR("\r\n"));
    if (ttl_ms == 0)
        return;
    unsigned n = num_put_u64(digits, ttl_ms);
    buf_puts(&w->out, STR("$2\r\nPX\r\n$"));
    put_number(w, n);
    buf_puts(&w->out, STR("\r\n"));
    buf_append(&w->out, digits, n);
    buf_puts(&w->out, STR("\r\n"));
}

static void set_memcached(struct wire *w, uint32_t key, struct str value, uint64_t ttl_ms)
{
    uint64_t ttl_s = (ttl_ms + 999) / 1000;
    wire_flush(w);
    buf_puts(&w->out, STR("set "));
    put_key(w, key);
    buf_puts(&w->out, STR(" 0 "));
    put_number(w, ttl_s < WIRE_MEMCACHED_TTL_MAX ? ttl_s : WIRE_MEMCACHED_TTL_MAX);
    buf_putc(&w->out, ' ');
    put_number(w, value.n);
    buf_puts(&w->out, STR("\r\n"));
    buf_puts(&w->out, value);
    buf_puts(&w->out, STR("\r\n"));
}

void wire_set(struct wire *w, uint32_t key, const char *value, uint32_t bytes, uint64_t ttl_ms)
{
    if (w->protocol == SCAN_RESP)
        set_resp(w, key, (struct str){value, bytes}, ttl_ms);
    else
        set_memcached(w, key, (struct str){value, bytes}, ttl_ms);
    await(w, AWAIT_SET, 0, key);
}

/* ---- replies --------------------------------------------------------------------------- */

static void note_error(struct wire *w, struct str text)
{
    if (w->error[0] == 0)
        snprintf(w->error, sizeof w->error, "%.*s", (int)(text.n < 160 ? text.n : 160), text.p);
}

static int broken(struct wire *w, struct str text)
{
    w->error[0] = 0;
    note_error(w, text);
    return ERR_PROTO;
}

/* An error instead of a value ends the replay: counted as a miss it would look like eviction. */
static int resp_reply(struct wire *w, const struct wire_events *ev)
{
    struct wire_awaited *a = first_awaited(w);
    bool error = w->scan.kind == SCAN_ERROR;
    if (error)
        note_error(w, scan_text(&w->scan));
    if (a == NULL || (error && a->kind == AWAIT_GET))
        return broken(w, a ? scan_text(&w->scan) : STR("a reply that nobody has asked for"));
    struct wire_awaited was = *a;
    w->head++;
    if (was.kind == AWAIT_GET)
        ev->answered(ev->arg, was.tag, w->scan.kind != SCAN_NULL);
    else
        ev->stored(ev->arg, !error);
    return 0;
}

static int read_resp(struct wire *w, const char *p, const char *end, const struct wire_events *ev)
{
    int rc = 0;
    while (rc == 0) {
        enum scan_result result = scan_next(&w->scan, SCAN_RESP, &p, end);
        if (result == SCAN_MORE)
            break;
        rc = result == SCAN_BROKEN ? broken(w, scan_text(&w->scan)) : resp_reply(w, ev);
    }
    return rc;
}

static bool number_word(struct str *line, uint64_t *out)
{
    const char *space = memchr(line->p, ' ', line->n);
    struct str word = {line->p, space ? (size_t)(space - line->p) : line->n};
    *line = (struct str){word.p + word.n + (space != NULL), line->n - word.n - (space != NULL)};
    *out = 0;
    for (size_t i = 0; i < word.n; i++) {
        if (word.p[i] < '0' || word.p[i] > '9')
            return false;
        *out = *out * 10 + (uint64_t)(word.p[i] - '0');
    }
    return word.n > 0;
}

/* Keys of the command up to `key` (all, if there is no such) have not been found. */
static void pass_misses(struct wire *w, bool found, uint32_t key, const struct wire_events *ev)
{
    struct wire_awaited *a;
    while ((a = first_awaited(w)) != NULL && a->kind == AWAIT_GET && !(found && a->key == key)) {
        uint32_t tag = a->tag;
        w->head++;
        ev->answered(ev->arg, tag, false);
    }
}

/* VALUE <key> <flags> <bytes> */
static int memcached_value(struct wire *w, struct str line, const struct wire_events *ev)
{
    uint64_t key, flags, bytes;
    struct str rest = {line.p + 6, line.n - 6};
    if (!number_word(&rest, &key) || !number_word(&rest, &flags) || !number_word(&rest, &bytes))
        return broken(w, line);
    pass_misses(w, true, (uint32_t)key, ev);
    struct wire_awaited *a = first_awaited(w);
    if (a == NULL || a->kind != AWAIT_GET)
        return broken(w, STR("a value that nobody has asked for"));
    uint32_t tag = a->tag;
    w->head++;
    w->skip = bytes + 2;
    ev->answered(ev->arg, tag, true);
    return 0;
}

static int memcached_line(struct wire *w, struct str line, const struct wire_events *ev)
{
    if (line.n > 6 && memcmp(line.p, "VALUE ", 6) == 0)
        return memcached_value(w, line, ev);
    bool end = str_eq(line, STR("END"));
    if (end)
        pass_misses(w, false, 0, ev);
    struct wire_awaited *a = first_awaited(w);
    if (a == NULL || a->kind != (end ? AWAIT_END : AWAIT_SET))
        return broken(w, line);
    w->head++;
    if (end)
        return 0;
    bool ok = str_eq(line, STR("STORED"));
    if (!ok)
        note_error(w, line);
    ev->stored(ev->arg, ok);
    return 0;
}

static int read_memcached(struct wire *w, const char *p, const char *end, const struct wire_events *ev)
{
    int rc = 0;
    while (rc == 0 && p < end) {
        if (w->skip > 0) {
            uint64_t n = (uint64_t)(end - p) < w->skip ? (uint64_t)(end - p) : w->skip;
            w->skip -= n;
            p += n;
            continue;
        }
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((newline ? newline + 1 : end) - p);
        if (n > WIRE_LINE_MAX - w->nline)
            return broken(w, STR("a line that has no end"));
        memcpy(w->line + w->nline, p, n);
        w->nline += (uint32_t)n;
        p += n;
        if (newline == NULL)
            break;
        struct str line = {w->line, w->nline - 1};
        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        w->nline = 0;
        rc = memcached_line(w, line, ev);
    }
    return rc;
}

int wire_read(struct wire *w, const char *p, size_t n, const struct wire_events *events)
{
    return w->protocol == SCAN_RESP ? read_resp(w, p, p + n, events) : read_memcached(w, p, p + n, events);
}
