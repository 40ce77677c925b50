#include "ds/bitmap.h"

#include "base/annotate.h"
#include "base/assert.h"

#include <string.h>

enum {
    WORD = sizeof(uint64_t),
    /* Combined piece by piece, so that the result stays in the first-level cache while
     * source after source is folded into it. */
    COMBINE_PIECE = 16 * 1024,
};

static inline uint64_t load_word(const uint8_t *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

static inline void store_word(char *p, uint64_t w)
{
    memcpy(p, &w, sizeof w);
}

/* ---- counting ------------------------------------------------------------------- */

static ALWAYS_INLINE uint64_t count_words(const uint8_t *p, size_t n)
{
    uint64_t a = 0, b = 0, c = 0, d = 0;
    for (; n >= 4 * WORD; n -= 4 * WORD, p += 4 * WORD) {
        a += (uint64_t)__builtin_popcountll(load_word(p));
        b += (uint64_t)__builtin_popcountll(load_word(p + WORD));
        c += (uint64_t)__builtin_popcountll(load_word(p + 2 * WORD));
        d += (uint64_t)__builtin_popcountll(load_word(p + 3 * WORD));
    }
    for (; n >= WORD; n -= WORD, p += WORD)
        a += (uint64_t)__builtin_popcountll(load_word(p));
    for (; n > 0; n--, p++)
        a += (uint64_t)__builtin_popcountll(*p);
    return a + b + c + d;
}

#if defined(__x86_64__)
/* The baseline of x86-64 has no popcnt, every processor since 2008 does. */
__attribute__((target("popcnt"))) static uint64_t count_popcnt(const uint8_t *p, size_t n)
{
    return count_words(p, n);
}

uint64_t bitmap_count(const void *p, size_t n)
{
    return __builtin_cpu_supports("popcnt") ? count_popcnt(p, n) : count_words(p, n);
}
#else
uint64_t bitmap_count(const void *p, size_t n)
{
    return count_words(p, n);
}
#endif

uint64_t bitmap_count_range(const void *p, uint64_t first, uint64_t last)
{
    DEBUG_ASSERT(first <= last);
    const uint8_t *bytes = p;
    size_t a = first >> 3, z = last >> 3;
    uint64_t count = bitmap_count(bytes + a, z - a + 1);
    unsigned before = bytes[a] & ~(0xffu >> (first & 7));
    unsigned after = bytes[z] & (0x7fu >> (last & 7));
    return count - (uint64_t)__builtin_popcount(before & 0xffu) - (uint64_t)__builtin_popcount(after);
}

/* ---- searching ------------------------------------------------------------------ */

/* Bytes of [a, n) to pass over because all their bits are the wrong ones. */
static size_t skip_bytes(const uint8_t *p, size_t a, size_t n, uint8_t wrong)
{
    uint64_t wrong_word = wrong ? UINT64_MAX : 0;
    while (a + 4 * WORD <= n) {
        const uint8_t *at = p + a;
        uint64_t x = (load_word(at) ^ wrong_word) | (load_word(at + WORD) ^ wrong_word);
        uint64_t y = (load_word(at + 2 * WORD) ^ wrong_word) | (load_word(at + 3 * WORD) ^ wrong_word);
        if ((x | y) != 0)
            break;
        a += 4 * WORD;
    }
    while (a + WORD <= n && load_word(p + a) == wrong_word)
        a += WORD;
    while (a < n && p[a] == wrong)
        a++;
    return a;
}

int64_t bitmap_find(const void *p, uint64_t first, uint64_t last, bool bit)
{
    DEBUG_ASSERT(first <= last);
    const uint8_t *bytes = p;
    uint8_t flip = bit ? 0 : 0xff;
    size_t a = first >> 3, z = last >> 3;
    unsigned hits = (unsigned)(bytes[a] ^ flip) & (0xffu >> (first & 7));
    if (hits == 0) {
        a = skip_bytes(bytes, a + 1, z + 1, flip);
        if (a > z)
            return -1;
        hits = (unsigned)(bytes[a] ^ flip);
    }
    uint64_t at = (uint64_t)a * 8 + (uint64_t)__builtin_clz(hits << 24);
    return at <= last ? (int64_t)at : -1;
}

/* ---- combining ------------------------------------------------------------------ */

#define FOLD(op)                                                                                             \
    do {                                                                                                     \
        for (; n >= 2 * WORD; n -= 2 * WORD, dst += 2 * WORD, src += 2 * WORD) {                             \
            uint64_t x = load_word((uint8_t *)dst) op load_word(src);                                        \
            uint64_t y = load_word((uint8_t *)dst + WORD) op load_word(src + WORD);                          \
            store_word(dst, x);                                                                              \
            store_word(dst + WORD, y);                                                                       \
        }                                                                                                    \
        for (; n > 0; n--, dst++, src++)                                                                     \
            *dst = (char)((uint8_t)*dst op * src);                                                           \
    } while (0)

static void fold(enum bitmap_op op, char *dst, const uint8_t *src, size_t n)
{
    switch (op) {
    case BITMAP_AND: FOLD(&); break;
    case BITMAP_OR: FOLD(|); break;
    case BITMAP_XOR: FOLD(^); break;
    case BITMAP_NOT: break;
    }
}

static void invert(char *p, size_t n)
{
    for (; n >= WORD; n -= WORD, p += WORD)
        store_word(p, ~load_word((uint8_t *)p));
    for (; n > 0; n--, p++)
        *p = (char)~(uint8_t)*p;
}

/* What s has of the bytes [at, at + n). */
static size_t piece_of(struct str s, size_t at, size_t n)
{
    return s.n <= at ? 0 : s.n - at < n ? s.n - at : n;
}

static void combine_piece(enum bitmap_op op, char *dst, size_t at, size_t n, const struct str *src,
                          uint32_t nsrc)
{
    size_t have = piece_of(src[0], at, n);
    if (have > 0)
        memcpy(dst, src[0].p + at, have);
    memset(dst + have, 0, n - have);
    if (op == BITMAP_NOT)
        invert(dst, n);
    for (uint32_t i = 1; i < nsrc; i++) {
        have = piece_of(src[i], at, n);
        if (have > 0)
            fold(op, dst, (const uint8_t *)src[i].p + at, have);
        if (op == BITMAP_AND)
            memset(dst + have, 0, n - have);
    }
}

void bitmap_combine(enum bitmap_op op, char *dst, size_t n, const struct str *src, uint32_t nsrc)
{
    ASSERT(nsrc >= 1 && (op != BITMAP_NOT || nsrc == 1));
    for (size_t at = 0; at < n; at += COMBINE_PIECE) {
        size_t piece = n - at < COMBINE_PIECE ? n - at : COMBINE_PIECE;
        combine_piece(op, dst + at, at, piece, src, nsrc);
    }
}

/* ---- fields --------------------------------------------------------------------- */

/* A field of 64 bits that starts within a byte touches nine. */
enum { FIELD_BYTES = 9 };

static uint64_t load_big_endian(const uint8_t *p)
{
    uint64_t v = load_word(p);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

uint64_t bitmap_field_get(const void *p, size_t n, uint64_t offset, unsigned bits)
{
    DEBUG_ASSERT(bits >= 1 && bits <= 64);
    uint8_t near[FIELD_BYTES] = {0};
    uint64_t byte = offset >> 3;
    if (byte < n)
        memcpy(near, (const uint8_t *)p + byte, n - byte < FIELD_BYTES ? n - byte : FIELD_BYTES);
    unsigned shift = offset & 7;
    uint64_t v = load_big_endian(near) << shift | (uint64_t)near[8] >> (8 - shift);
    return v >> (64 - bits);
}

void bitmap_field_set(void *p, uint64_t offset, unsigned bits, uint64_t value)
{
    DEBUG_ASSERT(bits >= 1 && bits <= 64);
    uint8_t *at = (uint8_t *)p + (offset >> 3);
    unsigned shift = offset & 7;
    while (bits > 0) {
        unsigned room = 8 - shift, take = bits < room ? bits : room;
        uint8_t mask = (uint8_t)((0xffu >> (8 - take)) << (room - take));
        uint8_t part = (uint8_t)((value >> (bits - take)) << (room - take));
        *at = (uint8_t)((*at & ~mask) | (part & mask));
        at++;
        bits -= take;
        shift = 0;
    }
}
