#include "base/hash.h"

#include "base/annotate.h"
#include "base/table256.h"

#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are loaded as they lie in memory");

static ALWAYS_INLINE uint64_t load64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static ALWAYS_INLINE uint32_t load32(const unsigned char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* The last n & 7 bytes of a message of n bytes, low byte first, zeros above. With
 * 8 bytes or more, read the last 8 and shift the ones already eaten out; the shift
 * comes in two steps since it may be by 64. */
static ALWAYS_INLINE uint64_t load_tail(const unsigned char *p, size_t n)
{
    if (n >= 8)
        return load64(p + n - 8) >> 8 >> (56 - 8 * (n & 7));
    if (n >= 4)
        return load32(p) | (uint64_t)load32(p + n - 4) << (8 * (n - 4));
    if (n == 0)
        return 0;
    return p[0] | (uint64_t)p[n / 2] << (8 * (n / 2)) | (uint64_t)p[n - 1] << (8 * (n - 1));
}

#define ROTL(x, k) ((x) << (k) | (x) >> (64 - (k)))

#define SIP_ROUND()                                                                                          \
    do {                                                                                                     \
        v0 += v1, v2 += v3;                                                                                  \
        v1 = ROTL(v1, 13) ^ v0, v3 = ROTL(v3, 16) ^ v2;                                                      \
        v0 = ROTL(v0, 32);                                                                                   \
        v2 += v1, v0 += v3;                                                                                  \
        v1 = ROTL(v1, 17) ^ v2, v3 = ROTL(v3, 21) ^ v0;                                                      \
        v2 = ROTL(v2, 32);                                                                                   \
    } while (0)

uint64_t hash_sip13(const void *p, size_t n, const struct hash_seed *seed)
{
    const unsigned char *at = p;
    uint64_t v0 = seed->k0 ^ 0x736f6d6570736575ULL, v1 = seed->k1 ^ 0x646f72616e646f6dULL;
    uint64_t v2 = seed->k0 ^ 0x6c7967656e657261ULL, v3 = seed->k1 ^ 0x7465646279746573ULL;
    uint64_t last = (uint64_t)n << 56 | load_tail(at, n);
    for (size_t words = n / 8; words > 0; words--, at += 8) {
        uint64_t m = load64(at);
        v3 ^= m;
        SIP_ROUND();
        v0 ^= m;
    }
    v3 ^= last;
    SIP_ROUND();
    v0 ^= last;
    v2 ^= 0xff;
    SIP_ROUND();
    SIP_ROUND();
    SIP_ROUND();
    return v0 ^ v1 ^ v2 ^ v3;
}

#ifdef __x86_64__

#define AES __attribute__((target("aes,sse4.1")))

AES static ALWAYS_INLINE __m128i aes3(__m128i x, __m128i key)
{
    x = _mm_aesenc_si128(x, key);
    x = _mm_aesenc_si128(x, key);
    return _mm_aesenc_si128(x, key);
}

AES static ALWAYS_INLINE __m128i load128(const void *p)
{
    return _mm_loadu_si128(p);
}

/* The length goes first, and apart, so that no text can make up for it; the last block of a longer
 * message overlaps the one before. */
AES uint64_t hash_aes(const void *p, size_t n, const struct hash_seed *seed)
{
    const unsigned char *at = p;
    __m128i key = load128(seed), last;
    __m128i x = aes3(_mm_xor_si128(key, _mm_cvtsi64_si128((int64_t)n)), key);
    if (likely(n >= 16)) {
        last = load128(at + n - 16);
        for (size_t left = n; left > 16; left -= 16, at += 16)
            x = aes3(_mm_xor_si128(x, load128(at)), key);
    } else if (n >= 8) {
        last = _mm_set_epi64x((int64_t)load64(at + n - 8), (int64_t)load64(at));
    } else {
        last = _mm_cvtsi64_si128((int64_t)load_tail(at, n));
    }
    x = aes3(_mm_xor_si128(x, last), key);
    return (uint64_t)_mm_cvtsi128_si64(_mm_aesenc_si128(x, key));
}

bool hash_has_aes(void)
{
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("sse4.1");
}

#else

bool hash_has_aes(void)
{
    return false;
}

uint64_t hash_aes(const void *p, size_t n, const struct hash_seed *seed)
{
    return hash_sip13(p, n, seed);
}

#endif

uint64_t hash_seeded(const void *p, size_t n, const struct hash_seed *seed)
{
    return likely(hash_has_aes()) ? hash_aes(p, n, seed) : hash_sip13(p, n, seed);
}

/* Reflected CRC-64: bit 0 of a register is the highest power of x, so multiplying
 * by x shifts right. crc_table[k][b] is the remainder of byte b followed by k zero
 * bytes; eight bytes are folded in at a time, one look-up in each table. */
#define CRC64_POLY_REFLECTED 0x95ac9329ac4bc9b5ULL
#define TIMES_X(v) ((v) >> 1 ^ ((v)&1 ? CRC64_POLY_REFLECTED : 0))

enum crc64_power { POWERS64(X, CRC64_POLY_REFLECTED, TIMES_X) };

/* Bit 7 of a reflected byte is its lowest power. */
#define SUM_OF_BITS(i, p0, p1, p2, p3, p4, p5, p6, p7)                                                       \
    (((i)&128 ? p0 : 0) ^ ((i)&64 ? p1 : 0) ^ ((i)&32 ? p2 : 0) ^ ((i)&16 ? p3 : 0) ^ ((i)&8 ? p4 : 0) ^     \
     ((i)&4 ? p5 : 0) ^ ((i)&2 ? p6 : 0) ^ ((i)&1 ? p7 : 0))
#define CRC64_0(k, i) SUM_OF_BITS(i, X0, X1, X2, X3, X4, X5, X6, X7)
#define CRC64_1(k, i) SUM_OF_BITS(i, X8, X9, X10, X11, X12, X13, X14, X15)
#define CRC64_2(k, i) SUM_OF_BITS(i, X16, X17, X18, X19, X20, X21, X22, X23)
#define CRC64_3(k, i) SUM_OF_BITS(i, X24, X25, X26, X27, X28, X29, X30, X31)
#define CRC64_4(k, i) SUM_OF_BITS(i, X32, X33, X34, X35, X36, X37, X38, X39)
#define CRC64_5(k, i) SUM_OF_BITS(i, X40, X41, X42, X43, X44, X45, X46, X47)
#define CRC64_6(k, i) SUM_OF_BITS(i, X48, X49, X50, X51, X52, X53, X54, X55)
#define CRC64_7(k, i) SUM_OF_BITS(i, X56, X57, X58, X59, X60, X61, X62, X63)

static const uint64_t crc_table[8][256] = {
    TABLE256(CRC64_0, 0), TABLE256(CRC64_1, 1), TABLE256(CRC64_2, 2), TABLE256(CRC64_3, 3),
    TABLE256(CRC64_4, 4), TABLE256(CRC64_5, 5), TABLE256(CRC64_6, 6), TABLE256(CRC64_7, 7),
};

uint64_t hash_crc64(uint64_t crc, const void *p, size_t n)
{
    const unsigned char *at = p;
    for (; n >= 8; n -= 8, at += 8) {
        uint64_t v = crc ^ load64(at);
        crc = crc_table[7][v & 255] ^ crc_table[6][v >> 8 & 255] ^ crc_table[5][v >> 16 & 255] ^
              crc_table[4][v >> 24 & 255] ^ crc_table[3][v >> 32 & 255] ^ crc_table[2][v >> 40 & 255] ^
              crc_table[1][v >> 48 & 255] ^ crc_table[0][v >> 56];
    }
    for (; n > 0; n--, at++)
        crc = crc_table[0][(crc ^ *at) & 255] ^ crc >> 8;
    return crc;
}
