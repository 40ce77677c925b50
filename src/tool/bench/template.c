/* A template is a row of pieces, each a run of literal bytes and the hole behind it.
 *
 *      literal "..$16\r\nkey:000000000000"   KEY      digits written backwards from here
 *      literal "\r\n$100\r\nxxx..\r\n"       END
 *
 * A key has a fixed width, so its zeros are part of the literal and only the digits
 * that are not leading zeros get written. A value of fixed size is literal too: then
 * a request costs two memcpys and a few digits, about 15 ns. Values that vary need
 * their length before their bytes: the LENGTH hole draws the size and the VALUE
 * holes of the same word use it.
 *
 * Rejected: one ready-made request per key (too much memory to stay in cache), and
 * patching a request in the send buffer of each connection (ties the order of
 * requests to the buffer, and saves only the first memcpy). */
#include "tool/bench/template.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/num.h"

#include <string.h>

enum hole { HOLE_END, HOLE_KEY, HOLE_LENGTH, HOLE_VALUE, HOLE_TTL_TEXT, HOLE_TTL_BULK };

struct piece {
    uint32_t at, n; /* literal bytes in text */
    enum hole hole;
    uint32_t extra; /* LENGTH: bytes of the word besides its values */
    uint32_t times; /* LENGTH: values in the word */
};

struct template
{
    const struct template_fill *fill;
    struct piece *pieces;
    uint32_t npieces, cap;
    struct buf text;
    uint32_t begun; /* where the literal being written starts in text */
    bool oom;
};

/* Close the literal being written with a hole. */
static struct piece *punch(struct template *t, enum hole hole)
{
    if (t->npieces == t->cap) {
        uint32_t cap = t->cap ? 2 * t->cap : 8;
        struct piece *more = mem_realloc(t->pieces, cap * sizeof *more);
        if (more == NULL) {
            t->oom = true;
            return NULL;
        }
        t->pieces = more;
        t->cap = cap;
    }
    struct piece *p = &t->pieces[t->npieces++];
    *p = (struct piece){.at = t->begun, .n = (uint32_t)t->text.n - t->begun, .hole = hole};
    t->begun = (uint32_t)t->text.n;
    return p;
}

static void literal(struct template *t, struct str s)
{
    if (buf_puts(&t->text, s) < 0)
        t->oom = true;
}

static void literal_cstr(struct template *t, const char *s)
{
    literal(t, str_of(s));
}

static void literal_number(struct template *t, uint64_t v)
{
    char digits[NUM_I64_TEXT_MAX];
    literal(t, (struct str){digits, num_put_u64(digits, v)});
}

static void key(struct template *t)
{
    literal(t, t->fill->key_prefix);
    for (size_t i = t->fill->key_prefix.n; i < t->fill->key_size; i++)
        literal(t, STR("0"));
    punch(t, HOLE_KEY);
}

static bool value_is_fixed(const struct template *t)
{
    return t->fill->value_size.kind == SPREAD_FIXED;
}

/* The length of a word that holds `times` values and `extra` other bytes. */
static void length(struct template *t, uint32_t extra, uint32_t times)
{
    if (times == 0 || value_is_fixed(t)) {
        literal_number(t, extra + times * t->fill->value_size.high);
        return;
    }
    struct piece *p = punch(t, HOLE_LENGTH);
    if (p != NULL) {
        p->extra = extra;
        p->times = times;
    }
}

static void value(struct template *t)
{
    if (value_is_fixed(t))
        literal(t, (struct str){t->fill->bytes, t->fill->value_size.high});
    else
        punch(t, HOLE_VALUE);
}

static struct template *begin(const struct template_fill *f)
{
    ASSERT(f->key_size > f->key_prefix.n && f->value_size.high <= TEMPLATE_VALUE_MAX);
    struct template *t = mem_zalloc(sizeof *t);
    if (t != NULL) {
        buf_init(&t->text);
        t->fill = f;
    }
    return t;
}

static struct template *finish(struct template *t)
{
    punch(t, HOLE_END);
    if (!t->oom)
        return t;
    template_free(t);
    return NULL;
}

/* The first of "__key__" and "__value__" in s, HOLE_END if neither is there. */
static enum hole find_hole(struct str s, size_t *at, size_t *n)
{
    const char *k = memmem(s.p, s.n, "__key__", 7), *v = memmem(s.p, s.n, "__value__", 9);
    if (k == NULL && v == NULL)
        return HOLE_END;
    bool first_key = v == NULL || (k != NULL && k < v);
    *at = (size_t)((first_key ? k : v) - s.p);
    *n = first_key ? 7 : 9;
    return first_key ? HOLE_KEY : HOLE_VALUE;
}

static void measure_word(const struct template *t, struct str word, uint32_t *extra, uint32_t *values)
{
    size_t at, n;
    enum hole hole;
    *extra = *values = 0;
    while ((hole = find_hole(word, &at, &n)) != HOLE_END) {
        *extra += (uint32_t)at + (hole == HOLE_KEY ? t->fill->key_size : 0);
        *values += hole == HOLE_VALUE;
        word = (struct str){word.p + at + n, word.n - at - n};
    }
    *extra += (uint32_t)word.n;
}

static void bulk_word(struct template *t, struct str word)
{
    uint32_t extra, values;
    size_t at, n;
    enum hole hole;
    measure_word(t, word, &extra, &values);
    literal(t, STR("$"));
    length(t, extra, values);
    literal(t, STR("\r\n"));
    while ((hole = find_hole(word, &at, &n)) != HOLE_END) {
        literal(t, (struct str){word.p, at});
        if (hole == HOLE_KEY)
            key(t);
        else
            value(t);
        word = (struct str){word.p + at + n, word.n - at - n};
    }
    literal(t, word);
    literal(t, STR("\r\n"));
}

struct template *template_resp_command(const struct template_fill *f, const struct str *words, uint32_t n)
{
    struct template *t = begin(f);
    if (t == NULL)
        return NULL;
    literal(t, STR("*"));
    literal_number(t, n);
    literal(t, STR("\r\n"));
    for (uint32_t i = 0; i < n; i++)
        bulk_word(t, words[i]);
    return finish(t);
}

struct template *template_resp_get(const struct template_fill *f)
{
    const struct str words[] = {STR("GET"), STR("__key__")};
    return template_resp_command(f, words, 2);
}

struct template *template_resp_set(const struct template_fill *f)
{
    const struct str words[] = {STR("SET"), STR("__key__"), STR("__value__"), STR("EX")};
    if (f->ttl_s.high == 0)
        return template_resp_command(f, words, 3);
    struct template *t = begin(f);
    if (t == NULL)
        return NULL;
    literal(t, STR("*5\r\n"));
    for (int i = 0; i < 4; i++)
        bulk_word(t, words[i]);
    punch(t, HOLE_TTL_BULK);
    return finish(t);
}

struct template *template_memcached_get(const struct template_fill *f)
{
    struct template *t = begin(f);
    if (t == NULL)
        return NULL;
    literal_cstr(t, "get ");
    key(t);
    literal_cstr(t, "\r\n");
    return finish(t);
}

/* set <key> <flags> <exptime> <bytes> */
struct template *template_memcached_set(const struct template_fill *f)
{
    struct template *t = begin(f);
    if (t == NULL)
        return NULL;
    literal_cstr(t, "set ");
    key(t);
    literal_cstr(t, " 0 ");
    punch(t, HOLE_TTL_TEXT);
    literal_cstr(t, " ");
    length(t, 0, 1);
    literal_cstr(t, "\r\n");
    value(t);
    literal_cstr(t, "\r\n");
    return finish(t);
}

void template_free(struct template *t)
{
    if (t == NULL)
        return;
    buf_release(&t->text);
    mem_free(t->pieces);
    mem_free(t);
}

size_t template_size_max(const struct template *t)
{
    size_t n = t->text.n;
    for (uint32_t i = 0; i < t->npieces; i++) {
        enum hole hole = t->pieces[i].hole;
        if (hole == HOLE_VALUE)
            n += t->fill->value_size.high;
        else if (hole != HOLE_KEY && hole != HOLE_END)
            n += 2 * NUM_I64_TEXT_MAX; /* a number, and for a bulk TTL its length */
    }
    return n;
}

/* Decimal digits of v, ending just before `end`. */
static inline void put_digits_backwards(char *end, uint64_t v)
{
    do {
        *--end = (char)('0' + v % 10);
        v /= 10;
    } while (v);
}

static char *put_ttl(char *dst, uint64_t ttl, bool bulk)
{
    char digits[NUM_I64_TEXT_MAX];
    unsigned n = num_put_u64(digits, ttl);
    if (bulk) {
        *dst++ = '$';
        dst += num_put_u64(dst, n);
        dst = mempcpy(dst, "\r\n", 2);
    }
    dst = mempcpy(dst, digits, n);
    return bulk ? mempcpy(dst, "\r\n", 2) : dst;
}

char *template_render(const struct template *t, char *dst, struct keydist *keys, struct rng *rng)
{
    const struct template_fill *f = t->fill;
    size_t value_n = 0;
    for (const struct piece *p = t->pieces;; p++) {
        dst = mempcpy(dst, t->text.p + p->at, p->n);
        switch (p->hole) {
        case HOLE_END: return dst;
        case HOLE_KEY: put_digits_backwards(dst, keydist_next(keys, rng)); break;
        case HOLE_LENGTH:
            value_n = spread_draw(&f->value_size, rng);
            dst += num_put_u64(dst, p->extra + p->times * value_n);
            break;
        case HOLE_VALUE: dst = mempcpy(dst, f->bytes, value_n); break;
        case HOLE_TTL_TEXT:
        case HOLE_TTL_BULK: dst = put_ttl(dst, spread_draw(&f->ttl_s, rng), p->hole == HOLE_TTL_BULK); break;
        }
    }
}
