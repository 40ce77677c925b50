#include "ds/listpack.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <string.h>

enum {
    HEAD = 6,
    END = 0xff,
    COUNT_UNKNOWN = 0xffff,
    STR6_MAX = 63,
    STR12_MAX = 4095,
    INT13_MIN = -4096,
    INT13_MAX = 4095,
    INT24_MIN = -(1 << 23),
    INT24_MAX = (1 << 23) - 1,
    BACKLEN_MAX = 5,
    ENTRY_HEAD_MAX = 9, /* a 64-bit number, or a long string's length */
};

enum first_byte {
    INT7 = 0x00,
    STR6 = 0x80,
    INT13 = 0xc0,
    STR12 = 0xe0,
    STR32 = 0xf0,
    INT16 = 0xf1,
    INT24 = 0xf2,
    INT32 = 0xf3,
    INT64 = 0xf4,
};

static void set_bytes(char *lp, size_t n)
{
    bytes_put_le(lp, n, 4);
}

static void add_count(char *lp, int64_t d)
{
    uint64_t n = bytes_get_le(lp + 4, 2);
    if (n == COUNT_UNKNOWN) {
        if (d < 0) /* it may have become countable again */
            bytes_put_le(lp + 4, COUNT_UNKNOWN, 2);
        return;
    }
    n = (uint64_t)((int64_t)n + d);
    bytes_put_le(lp + 4, n < COUNT_UNKNOWN ? n : COUNT_UNKNOWN, 2);
}

/* ---- one entry --------------------------------------------------------------------- */

static unsigned backlen_bytes(uint64_t n)
{
    return n < 1 << 7 ? 1 : n < 1 << 14 ? 2 : n < 1 << 21 ? 3 : n < 1 << 28 ? 4 : 5;
}

/* Most significant group first; all but the first have their top bit set, which says "more to the left". */
static void put_backlen(char *p, uint64_t n)
{
    unsigned bytes = backlen_bytes(n);
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (char)((n >> (7 * (bytes - 1 - i)) & 127) | (i > 0 ? 128 : 0));
}

/* The number that ends before `end`; false when it is longer than it may be or begins before `start`. */
static bool get_backlen(const char *start, const char *end, uint64_t *n)
{
    *n = 0;
    for (unsigned i = 0; i < BACKLEN_MAX && end - i > start; i++) {
        uint8_t byte = (uint8_t)end[-1 - (int)i];
        *n |= (uint64_t)(byte & 127) << (7 * i);
        if (!(byte & 128))
            return true;
    }
    return false;
}

/* What the first byte says: how long the head is, and whether a string follows it. 0: no entry begins so. */
static unsigned head_bytes(uint8_t first, bool *is_string)
{
    *is_string = false;
    if (first < STR6)
        return 1;
    if (first < INT13) {
        *is_string = true;
        return 1;
    }
    if (first < STR12)
        return 2;
    if (first < STR32) {
        *is_string = true;
        return 2;
    }
    switch (first) {
    case STR32: *is_string = true; return 5;
    case INT16: return 3;
    case INT24: return 4;
    case INT32: return 5;
    case INT64: return 9;
    default: return 0;
    }
}

static uint64_t string_length(const char *p)
{
    uint8_t first = (uint8_t)*p;
    if (first < INT13)
        return first & STR6_MAX;
    if (first < STR32)
        return (uint64_t)(first & 15) << 8 | (uint8_t)p[1];
    return bytes_get_le(p + 1, 4);
}

/* Head and string, without the length behind them. */
static size_t payload_bytes(const char *p)
{
    bool is_string;
    size_t head = head_bytes((uint8_t)*p, &is_string);
    return head + (is_string ? string_length(p) : 0);
}

static size_t entry_bytes(const char *p)
{
    size_t n = payload_bytes(p);
    return n + backlen_bytes(n);
}

static int64_t sign_extend(uint64_t v, unsigned bits)
{
    return (int64_t)(v << (64 - bits)) >> (64 - bits);
}

static int64_t get_number(const char *p)
{
    uint8_t first = (uint8_t)*p;
    if (first < STR6)
        return first;
    if (first < STR12)
        return sign_extend((uint64_t)(first & 31) << 8 | (uint8_t)p[1], 13);
    unsigned bytes = first == INT16 ? 2 : first == INT24 ? 3 : first == INT32 ? 4 : 8;
    return sign_extend(bytes_get_le(p + 1, bytes), 8 * bytes);
}

static unsigned put_number(char *p, int64_t v)
{
    if (v >= 0 && v <= 127) {
        p[0] = (char)v;
        return 1;
    }
    if (v >= INT13_MIN && v <= INT13_MAX) {
        p[0] = (char)(INT13 | ((uint64_t)v >> 8 & 31));
        p[1] = (char)v;
        return 2;
    }
    unsigned bytes = v == (int16_t)v ? 2 : v >= INT24_MIN && v <= INT24_MAX ? 3 : v == (int32_t)v ? 4 : 8;
    p[0] = (char)(bytes == 2 ? INT16 : bytes == 3 ? INT24 : bytes == 4 ? INT32 : INT64);
    bytes_put_le(p + 1, (uint64_t)v, bytes);
    return 1 + bytes;
}

/* The head that stands for s; *is_string: its bytes follow. */
static unsigned put_head(char head[ENTRY_HEAD_MAX], struct str s, bool *is_string)
{
    int64_t v;
    *is_string = !num_parse_i64(s, &v);
    if (!*is_string)
        return put_number(head, v);
    if (s.n <= STR6_MAX) {
        head[0] = (char)(STR6 | s.n);
        return 1;
    }
    if (s.n <= STR12_MAX) {
        head[0] = (char)(STR12 | s.n >> 8);
        head[1] = (char)s.n;
        return 2;
    }
    head[0] = (char)STR32;
    bytes_put_le(head + 1, s.n, 4);
    return 5;
}

/* ---- the whole ----------------------------------------------------------------------- */

void listpack_init(char *lp)
{
    set_bytes(lp, LISTPACK_EMPTY);
    bytes_put_le(lp + 4, 0, 2);
    lp[HEAD] = (char)END;
}

size_t listpack_bytes(const char *lp)
{
    return bytes_get_le(lp, 4);
}

uint32_t listpack_count(const char *lp)
{
    uint32_t n = (uint32_t)bytes_get_le(lp + 4, 2);
    if (n != COUNT_UNKNOWN)
        return n;
    n = 0;
    for (size_t at = listpack_first(lp); at != 0; at = listpack_next(lp, at))
        n++;
    return n;
}

static size_t unless_end(const char *lp, size_t at)
{
    return (uint8_t)lp[at] == END ? 0 : at;
}

size_t listpack_first(const char *lp)
{
    return unless_end(lp, HEAD);
}

size_t listpack_next(const char *lp, size_t at)
{
    DEBUG_ASSERT(at >= HEAD && at < listpack_bytes(lp) - 1);
    return unless_end(lp, at + entry_bytes(lp + at));
}

static size_t before(const char *lp, size_t at)
{
    uint64_t n = 0;
    if (at <= HEAD)
        return 0;
    bool sound = get_backlen(lp + HEAD, lp + at, &n);
    ASSERT(sound && n + backlen_bytes(n) <= at - HEAD);
    return at - n - backlen_bytes(n);
}

size_t listpack_prev(const char *lp, size_t at)
{
    return before(lp, at);
}

size_t listpack_last(const char *lp)
{
    return before(lp, listpack_bytes(lp) - 1);
}

size_t listpack_seek(const char *lp, int64_t i)
{
    size_t at = i < 0 ? listpack_last(lp) : listpack_first(lp);
    for (int64_t left = i < 0 ? -(i + 1) : i; left > 0 && at != 0; left--)
        at = i < 0 ? listpack_prev(lp, at) : listpack_next(lp, at);
    return at;
}

struct listpack_value listpack_value(const char *lp, size_t at)
{
    const char *p = lp + at;
    bool is_string;
    unsigned head = head_bytes((uint8_t)*p, &is_string);
    if (is_string)
        return (struct listpack_value){.bytes = {p + head, string_length(p)}};
    return (struct listpack_value){.number = get_number(p)};
}

struct str listpack_get(const char *lp, size_t at, char text[NUM_I64_TEXT_MAX])
{
    struct listpack_value v = listpack_value(lp, at);
    return v.bytes.p != NULL ? v.bytes : (struct str){text, num_put_i64(text, v.number)};
}

size_t listpack_find(const char *lp, size_t at, struct str s, uint32_t skip)
{
    int64_t number = 0;
    bool is_number = num_parse_i64(s, &number);
    for (uint32_t wait = 0; at != 0; at = listpack_next(lp, at)) {
        if (wait > 0) {
            wait--;
            continue;
        }
        struct listpack_value v = listpack_value(lp, at);
        /* One from outside may hold a number as text. */
        if (v.bytes.p != NULL ? str_eq(v.bytes, s) : is_number && v.number == number)
            return at;
        wait = skip;
    }
    return 0;
}

/* ---- changing ------------------------------------------------------------------------- */

size_t listpack_room(struct str s)
{
    char head[ENTRY_HEAD_MAX];
    bool is_string;
    size_t n = put_head(head, s, &is_string);
    n += is_string ? s.n : 0;
    return n + backlen_bytes(n);
}

size_t listpack_insert(char *lp, size_t at, struct str s)
{
    char head[ENTRY_HEAD_MAX];
    bool is_string;
    size_t bytes = listpack_bytes(lp), n = put_head(head, s, &is_string), nhead = n;
    n += is_string ? s.n : 0;
    size_t room = n + backlen_bytes(n);
    ASSERT(bytes + room <= LISTPACK_BYTES_MAX);
    if (at == 0)
        at = bytes - 1;
    memmove(lp + at + room, lp + at, bytes - at);
    memcpy(lp + at, head, nhead);
    if (is_string && s.n > 0)
        memcpy(lp + at + nhead, s.p, s.n);
    put_backlen(lp + at + n, n);
    set_bytes(lp, bytes + room);
    add_count(lp, 1);
    return at;
}

size_t listpack_remove(char *lp, size_t at, uint32_t n)
{
    size_t bytes = listpack_bytes(lp), end = at;
    uint32_t removed = 0;
    while (removed < n && (uint8_t)lp[end] != END) {
        end += entry_bytes(lp + end);
        removed++;
    }
    memmove(lp + at, lp + end, bytes - end);
    set_bytes(lp, bytes - (end - at));
    add_count(lp, -(int64_t)removed);
    return unless_end(lp, at);
}

/* ---- from outside ----------------------------------------------------------------------- */

/* The entry that begins at p, of which `left` bytes are there: 0 when it is not sound. */
static size_t sound_entry(const char *p, size_t left)
{
    bool is_string;
    uint64_t back;
    size_t head = head_bytes((uint8_t)*p, &is_string);
    if (head == 0 || head > left)
        return 0;
    uint64_t n = head + (is_string ? string_length(p) : 0);
    unsigned back_bytes = backlen_bytes(n);
    if (n > left || back_bytes > left - n)
        return 0;
    if (!get_backlen(p + n, p + n + back_bytes, &back) || back != n || backlen_bytes(back) != back_bytes)
        return 0;
    return n + back_bytes;
}

bool listpack_validate(const char *p, size_t n, uint32_t *count)
{
    if (n < LISTPACK_EMPTY || n > LISTPACK_BYTES_MAX || listpack_bytes(p) != n || (uint8_t)p[n - 1] != END)
        return false;
    *count = 0;
    for (size_t at = HEAD; at < n - 1; ++*count) {
        size_t entry = sound_entry(p + at, n - 1 - at);
        if (entry == 0)
            return false;
        at += entry;
    }
    uint64_t said = bytes_get_le(p + 4, 2);
    return said == COUNT_UNKNOWN || said == *count;
}
