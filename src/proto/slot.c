/* CRC16 with polynomial 0x1021, not reflected, starting from 0, eight bytes a step
 * and one look-up a byte. Because it starts from 0, leading zero bytes change
 * nothing: the n mod 8 odd bytes come first, with zeros put in front of them, and no
 * key needs a byte-by-byte tail. */
#include "proto/slot.h"

#include "base/annotate.h"
#include "base/table256.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are loaded as they lie in memory");

#define TIMES_X(v) (((v) << 1 & 0xffff) ^ ((v)&0x8000 ? 0x1021 : 0))

enum crc16_power { POWERS64(X, 0x1021, TIMES_X) };

#define SUM_OF_BITS(i, p0, p1, p2, p3, p4, p5, p6, p7)                                                       \
    (((i)&1 ? p0 : 0) ^ ((i)&2 ? p1 : 0) ^ ((i)&4 ? p2 : 0) ^ ((i)&8 ? p3 : 0) ^ ((i)&16 ? p4 : 0) ^         \
     ((i)&32 ? p5 : 0) ^ ((i)&64 ? p6 : 0) ^ ((i)&128 ? p7 : 0))
#define CRC16_0(k, i) SUM_OF_BITS(i, X0, X1, X2, X3, X4, X5, X6, X7)
#define CRC16_1(k, i) SUM_OF_BITS(i, X8, X9, X10, X11, X12, X13, X14, X15)
#define CRC16_2(k, i) SUM_OF_BITS(i, X16, X17, X18, X19, X20, X21, X22, X23)
#define CRC16_3(k, i) SUM_OF_BITS(i, X24, X25, X26, X27, X28, X29, X30, X31)
#define CRC16_4(k, i) SUM_OF_BITS(i, X32, X33, X34, X35, X36, X37, X38, X39)
#define CRC16_5(k, i) SUM_OF_BITS(i, X40, X41, X42, X43, X44, X45, X46, X47)
#define CRC16_6(k, i) SUM_OF_BITS(i, X48, X49, X50, X51, X52, X53, X54, X55)
#define CRC16_7(k, i) SUM_OF_BITS(i, X56, X57, X58, X59, X60, X61, X62, X63)

/* crc_table[k][b] is the remainder of byte b followed by k zero bytes. */
static const uint16_t crc_table[8][256] = {
    TABLE256(CRC16_0, 0), TABLE256(CRC16_1, 1), TABLE256(CRC16_2, 2), TABLE256(CRC16_3, 3),
    TABLE256(CRC16_4, 4), TABLE256(CRC16_5, 5), TABLE256(CRC16_6, 6), TABLE256(CRC16_7, 7),
};

static ALWAYS_INLINE uint64_t load64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* The first n & 7 bytes, at least one, of a text of n bytes at the upper end of a word. */
static ALWAYS_INLINE uint64_t load_odd(const char *p, size_t n)
{
    size_t odd = n & 7;
    if (n >= 8)
        return load64(p) << (64 - 8 * odd);
    uint64_t v = 0;
    if (odd & 4) {
        uint32_t four;
        memcpy(&four, p, 4);
        v = four;
    }
    if (odd & 2) {
        uint16_t two;
        memcpy(&two, p + (odd & 4), 2);
        v |= (uint64_t)two << 8 * (odd & 4);
    }
    if (odd & 1)
        v |= (uint64_t)(unsigned char)p[odd - 1] << (8 * (odd - 1));
    return v << (64 - 8 * odd);
}

static ALWAYS_INLINE uint16_t crc_word(uint16_t crc, uint64_t v)
{
    v ^= __builtin_bswap16(crc);
    return crc_table[7][v & 255] ^ crc_table[6][v >> 8 & 255] ^ crc_table[5][v >> 16 & 255] ^
           crc_table[4][v >> 24 & 255] ^ crc_table[3][v >> 32 & 255] ^ crc_table[2][v >> 40 & 255] ^
           crc_table[1][v >> 48 & 255] ^ crc_table[0][v >> 56];
}

uint16_t slot_crc16(const void *p, size_t n)
{
    const char *at = p;
    uint16_t crc = 0;
    if (n & 7) {
        crc = crc_word(0, load_odd(at, n));
        at += n & 7;
    }
    for (size_t words = n / 8; words > 0; words--, at += 8)
        crc = crc_word(crc, load64(at));
    return crc;
}

struct str slot_hash_part(struct str key)
{
    const char *open = key.n > 0 ? memchr(key.p, '{', key.n) : NULL;
    if (open == NULL)
        return key;
    size_t rest = key.n - (size_t)(open + 1 - key.p);
    const char *close = memchr(open + 1, '}', rest);
    if (close == NULL || close == open + 1)
        return key;
    return (struct str){open + 1, (size_t)(close - open - 1)};
}

/* Nonzero when some byte of v is '{'. */
static ALWAYS_INLINE uint64_t has_brace(uint64_t v)
{
    uint64_t x = v ^ 0x7b7b7b7b7b7b7b7bULL;
    return (x - 0x0101010101010101ULL) & ~x & 0x8080808080808080ULL;
}

/* The whole key's CRC, looking for a '{' in the same words on the way. */
uint16_t slot_of(struct str key)
{
    const char *at = key.p;
    uint64_t brace = 0;
    uint16_t crc = 0;
    if (key.n & 7) {
        uint64_t odd = load_odd(at, key.n);
        brace = has_brace(odd);
        crc = crc_word(0, odd);
        at += key.n & 7;
    }
    for (size_t words = key.n / 8; words > 0; words--, at += 8) {
        uint64_t v = load64(at);
        brace |= has_brace(v);
        crc = crc_word(crc, v);
    }
    if (unlikely(brace != 0)) {
        struct str part = slot_hash_part(key);
        crc = slot_crc16(part.p, part.n);
    }
    return crc % SLOT_COUNT;
}
