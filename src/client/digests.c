/* A digest is a chain of 64 steps of which each waits for the one before, so a processor that could do four
 * things at once does one. Here each step is done for eight texts, a lane of a vector each: a fifth of the
 * time for a key of a larder_mget(). A short text is one block, so lanes never wait for each other:
 *
 *      words[0..13]   bytes of the text, a 0x80 behind it, zeros         (little-endian; one lane a text)
 *      words[14..15]  its length in bits
 *
 * The vectors are the compiler's own: two registers of SSE2, one of AVX2, two of NEON, or eight plain words.
 * Long texts are left to libmd. The algorithm is RFC 1321. */
#include "client/digests.h"

#include "base/assert.h"

#include <string.h>

enum { WORDS = 16, STATE = 4 };

typedef uint32_t lanes __attribute__((vector_size(4 * DIGESTS_LANES)));

/* 2^32 * |sin(i + 1)| */
static const uint32_t sines[4 * WORDS] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};

#define ROTATE(x, by) ((x) << (by) | (x) >> (32 - (by)))
#define STEP(mix, a, b, c, d, i, word, by)                                                                   \
    do {                                                                                                     \
        (a) += mix(b, c, d) + w[(word) % WORDS] + sines[i];                                                  \
        (a) = ROTATE(a, by) + (b);                                                                           \
    } while (0)
/* A round: 16 steps, which take the words in the order first, first + stride, ... */
#define ROUND(mix, number, first, stride, s0, s1, s2, s3)                                                    \
    for (unsigned i = 0; i < WORDS; i += 4) {                                                                \
        STEP(mix, a, b, c, d, (number)*WORDS + i, (first) + (stride)*i, s0);                                 \
        STEP(mix, d, a, b, c, (number)*WORDS + i + 1, (first) + (stride) * (i + 1), s1);                     \
        STEP(mix, c, d, a, b, (number)*WORDS + i + 2, (first) + (stride) * (i + 2), s2);                     \
        STEP(mix, b, c, d, a, (number)*WORDS + i + 3, (first) + (stride) * (i + 3), s3);                     \
    }
#define MIX_F(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
#define MIX_G(x, y, z) ((y) ^ ((z) & ((x) ^ (y))))
#define MIX_H(x, y, z) ((x) ^ (y) ^ (z))
#define MIX_I(x, y, z) ((y) ^ ((x) | ~(z)))

static void run_block(const lanes w[WORDS], lanes state[STATE])
{
    static const lanes zero;
    const lanes a0 = zero + 0x67452301, b0 = zero + 0xefcdab89, c0 = zero + 0x98badcfe,
                d0 = zero + 0x10325476;
    lanes a = a0, b = b0, c = c0, d = d0;
    ROUND(MIX_F, 0, 0, 1, 7, 12, 17, 22)
    ROUND(MIX_G, 1, 1, 5, 5, 9, 14, 20)
    ROUND(MIX_H, 2, 5, 3, 4, 11, 16, 23)
    ROUND(MIX_I, 3, 0, 7, 6, 10, 15, 21)
    state[0] = a + a0;
    state[1] = b + b0;
    state[2] = c + c0;
    state[3] = d + d0;
}

static uint32_t load_le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void store_le32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

static void put_text(lanes w[WORDS], unsigned lane, struct str text)
{
    uint8_t block[4 * WORDS] = {0};
    ASSERT(text.n <= DIGESTS_TEXT_MAX);
    if (text.n > 0)
        memcpy(block, text.p, text.n);
    block[text.n] = 0x80;
    for (unsigned i = 0; i <= text.n / 4; i++)
        w[i][lane] = load_le32(block + 4 * i);
    w[14][lane] = 8 * (uint32_t)text.n;
}

void digests_of_short(const struct str *texts, unsigned n, uint8_t out[][DIGESTS_BYTES])
{
    lanes w[WORDS] = {{0}}, state[STATE];
    ASSERT(n <= DIGESTS_LANES);
    for (unsigned lane = 0; lane < n; lane++)
        put_text(w, lane, texts[lane]);
    run_block(w, state);
    for (unsigned lane = 0; lane < n; lane++)
        for (unsigned i = 0; i < STATE; i++)
            store_le32(out[lane] + 4 * i, state[i][lane]);
}
