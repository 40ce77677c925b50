#include "base/sha1.h"

#include <string.h>

enum { BLOCK = 64, ROUNDS = 80 };

static uint32_t rotate(uint32_t v, unsigned n)
{
    return v << n | v >> (32 - n);
}

static uint32_t load_be(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void store_be(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = bytes; i-- > 0; v >>= 8)
        p[i] = (uint8_t)v;
}

/* The function and the constant of round t (RFC 3174, section 5). */
static uint32_t mix(unsigned t, uint32_t b, uint32_t c, uint32_t d)
{
    switch (t / 20) {
    case 0: return ((b & c) | (~b & d)) + 0x5a827999;
    case 1: return (b ^ c ^ d) + 0x6ed9eba1;
    case 2: return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
    default: return (b ^ c ^ d) + 0xca62c1d6;
    }
}

static void absorb(uint32_t h[5], const uint8_t *block)
{
    uint32_t w[ROUNDS];
    for (unsigned t = 0; t < 16; t++)
        w[t] = load_be(block + 4 * t);
    for (unsigned t = 16; t < ROUNDS; t++)
        w[t] = rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (unsigned t = 0; t < ROUNDS; t++) {
        uint32_t next = rotate(a, 5) + mix(t, b, c, d) + e + w[t];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

void sha1(const void *p, size_t n, uint8_t out[SHA1_BYTES])
{
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    const uint8_t *at = p;
    size_t left = n;
    for (; left >= BLOCK; at += BLOCK, left -= BLOCK)
        absorb(h, at);
    /* What is left, a one bit, zeros, and the length in bits: one block more, or two. */
    uint8_t tail[2 * BLOCK] = {0};
    size_t blocks = left + 1 + sizeof(uint64_t) <= BLOCK ? 1 : 2;
    if (left > 0)
        memcpy(tail, at, left);
    tail[left] = 0x80;
    store_be(tail + blocks * BLOCK - sizeof(uint64_t), (uint64_t)n * 8, sizeof(uint64_t));
    for (size_t i = 0; i < blocks; i++)
        absorb(h, tail + i * BLOCK);
    for (unsigned i = 0; i < 5; i++)
        store_be(out + 4 * i, h[i], 4);
}
