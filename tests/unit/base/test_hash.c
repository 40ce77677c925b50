#include "unit/unit.h"

#include "base/annotate.h"
#include "base/hash.h"
#include "base/rng.h"

#include <stdio.h>
#include <string.h>

/* SipHash-1-3 as the paper describes it, a byte at a time. */
static uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13);
    v[1] ^= v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16);
    v[3] ^= v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21);
    v[3] ^= v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17);
    v[1] ^= v[2];
    v[2] = rotl(v[2], 32);
}

static uint64_t sip13_reference(const unsigned char *p, size_t n, const struct hash_seed *seed)
{
    uint64_t v[4] = {seed->k0 ^ 0x736f6d6570736575ULL, seed->k1 ^ 0x646f72616e646f6dULL,
                     seed->k0 ^ 0x6c7967656e657261ULL, seed->k1 ^ 0x7465646279746573ULL};
    size_t whole = n / 8 * 8;
    for (size_t block = 0; block <= whole; block += 8) {
        uint64_t m = block == whole ? (uint64_t)(n & 255) << 56 : 0;
        for (size_t i = 0; i < 8 && block + i < n; i++)
            m |= (uint64_t)p[block + i] << (8 * i);
        v[3] ^= m;
        sip_round(v);
        v[0] ^= m;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void sip13_known_answers(void **state)
{
    /* The test vectors of SipHash-1-3 for the key 00..0f and the messages "", 00, 00 01, ... */
    static const uint64_t first[] = {0xabac0158050fc4dcULL, 0xc9f49bf37d57ca93ULL, 0x82cb9b024dc7d44dULL};
    const struct hash_seed seed = {0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL};
    const unsigned char message[] = {0, 1, 2};
    for (size_t n = 0; n < ARRAY_LEN(first); n++) {
        assert_int_equal(sip13_reference(message, n, &seed), first[n]);
        assert_int_equal(hash_sip13(message, n, &seed), first[n]);
    }
}

static void sip13_equals_the_reference(void **state)
{
    struct rng rng;
    unsigned char text[320];
    rng_init(&rng, 3);
    for (int round = 0; round < 200; round++) {
        struct hash_seed seed = {rng_u64(&rng), rng_u64(&rng)};
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = (unsigned char)rng_u64(&rng);
        for (size_t n = 0; n <= 300; n++) { /* at every alignment, and beyond 255 bytes */
            const unsigned char *at = text + n % 8;
            assert_int_equal(hash_sip13(at, n, &seed), sip13_reference(at, n, &seed));
        }
    }
}

/* One round of AES as FIPS 197 describes it, a byte at a time: the state is column by column. */
static uint8_t gf_times(uint8_t a, uint8_t b)
{
    uint8_t product = 0;
    for (; b != 0; b >>= 1, a = (uint8_t)(a << 1 ^ (a & 0x80 ? 0x1b : 0)))
        product ^= b & 1 ? a : 0;
    return product;
}

static uint8_t sub_byte(uint8_t a)
{
    uint8_t inverse = 1, out = 0x63;
    for (int i = 0; i < 254; i++)
        inverse = gf_times(inverse, a);
    for (int i = 0; i < 5; i++)
        out ^= (uint8_t)(inverse << i | inverse >> (8 - i));
    return out;
}

static void aes_round(uint8_t x[16], const uint8_t key[16])
{
    static uint8_t sbox[256];
    if (sbox[0] == 0)
        for (int i = 0; i < 256; i++)
            sbox[i] = sub_byte((uint8_t)i);
    uint8_t was[16];
    for (int i = 0; i < 16; i++)
        was[i] = sbox[x[(i + 4 * (i % 4)) % 16]];
    for (int i = 0; i < 16; i++) {
        const uint8_t *column = was + i / 4 * 4;
        x[i] = key[i] ^ gf_times(column[i % 4], 2) ^ gf_times(column[(i + 1) % 4], 3) ^ column[(i + 2) % 4] ^
               column[(i + 3) % 4];
    }
}

static uint64_t aes_reference(const unsigned char *p, size_t n, const struct hash_seed *seed)
{
    uint8_t key[16], x[16];
    memcpy(key, seed, sizeof key);
    memcpy(x, seed, sizeof x);
    for (int i = 0; i < 8; i++)
        x[i] ^= (uint8_t)(n >> 8 * i);
    for (size_t at = 0, end = 0; end < n || at == 0; at += 16) {
        for (int i = 0; i < 3; i++)
            aes_round(x, key);
        end = at + 16 < n ? at + 16 : n;
        size_t from = end < n || n < 16 ? at : n - 16;
        if (n >= 16 || n < 8) {
            for (size_t i = from; i < end; i++)
                x[i - from] ^= p[i];
        } else {
            for (size_t i = 0; i < 8; i++) {
                x[i] ^= p[i];
                x[8 + i] ^= p[n - 8 + i];
            }
        }
    }
    for (int i = 0; i < 4; i++)
        aes_round(x, key);
    uint64_t hash;
    memcpy(&hash, x, sizeof hash);
    return hash;
}

static void aes_equals_the_reference(void **state)
{
    struct rng rng;
    unsigned char text[90];
    if (!hash_has_aes())
        skip();
    /* FIPS 197, appendix B: the first round. */
    uint8_t x[16] = {0x19, 0x3d, 0xe3, 0xbe, 0xa0, 0xf4, 0xe2, 0x2b,
                     0x9a, 0xc6, 0x8d, 0x2a, 0xe9, 0xf8, 0x48, 0x08};
    static const uint8_t key[16] = {0xa0, 0xfa, 0xfe, 0x17, 0x88, 0x54, 0x2c, 0xb1,
                                    0x23, 0xa3, 0x39, 0x39, 0x2a, 0x6c, 0x76, 0x05};
    static const uint8_t after[16] = {0xa4, 0x9c, 0x7f, 0xf2, 0x68, 0x9f, 0x35, 0x2b,
                                      0x6b, 0x5b, 0xea, 0x43, 0x02, 0x6a, 0x50, 0x49};
    aes_round(x, key);
    assert_memory_equal(x, after, sizeof x);
    rng_init(&rng, 6);
    for (int round = 0; round < 20; round++) {
        struct hash_seed seed = {rng_u64(&rng), rng_u64(&rng)};
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = (unsigned char)rng_u64(&rng);
        for (size_t n = 0; n <= 80; n++)
            assert_int_equal(hash_aes(text + n % 8, n, &seed), aes_reference(text + n % 8, n, &seed));
    }
}

/* Keys that differ little, of each length: every bit of the hash is set in half of them, and each bit of a
 * key changes each bit of the hash in half of the cases (six sigmas either way). */
static void seeded_hash_spreads(void **state)
{
    enum { KEYS = 20000, SLACK = 6 * 71 }; /* sqrt(20000) / 2 = 71 */
    const struct hash_seed seed = {12, 34};
    for (size_t n = 5; n <= 40; n += 7) {
        unsigned ones[64] = {0}, flips[64] = {0};
        for (int i = 0; i < KEYS; i++) {
            char key[48];
            snprintf(key, sizeof key, "%0*d", (int)n, i);
            uint64_t h = hash_seeded(key, n, &seed);
            key[(size_t)i % n] ^= (char)(1 << i % 8);
            uint64_t other = hash_seeded(key, n, &seed) ^ h;
            for (int b = 0; b < 64; b++) {
                ones[b] += h >> b & 1;
                flips[b] += other >> b & 1;
            }
        }
        for (int b = 0; b < 64; b++) {
            assert_in_range(ones[b], KEYS / 2 - SLACK, KEYS / 2 + SLACK);
            assert_in_range(flips[b], KEYS / 2 - SLACK, KEYS / 2 + SLACK);
        }
    }
}

static uint64_t crc64_reference(uint64_t crc, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0x95ac9329ac4bc9b5ULL : crc >> 1;
    }
    return crc;
}

static void crc64_known_answer(void **state)
{
    assert_int_equal(hash_crc64(0, "123456789", 9), 0xe9c6d914c4b8d9caULL);
    assert_int_equal(hash_crc64(0, "", 0), 0);
}

static void crc64_equals_the_reference_in_any_pieces(void **state)
{
    struct rng rng;
    unsigned char text[600];
    rng_init(&rng, 4);
    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = (unsigned char)rng_u64(&rng);
        for (size_t n = 0; n <= 128; n++)
            assert_int_equal(hash_crc64(round, text + n % 8, n), crc64_reference(round, text + n % 8, n));
        uint64_t crc = 0, whole = crc64_reference(0, text, sizeof text);
        for (size_t at = 0, n; at < sizeof text; at += n) {
            n = 1 + rng_below(&rng, sizeof text - at);
            crc = hash_crc64(crc, text + at, n);
        }
        assert_int_equal(crc, whole);
    }
}

static void mix64_is_invertible(void **state)
{
    struct rng rng;
    rng_init(&rng, 5);
    for (int i = 0; i < 100000; i++) {
        uint64_t x = rng_u64(&rng), y = hash_mix64(x);
        y ^= y >> 31 ^ y >> 62;
        y *= 0x319642b2d24d8ec3ULL; /* the inverses of the two multipliers modulo 2^64 */
        y ^= y >> 27 ^ y >> 54;
        y *= 0x96de1b173f119089ULL;
        y ^= y >> 30 ^ y >> 60;
        assert_int_equal(y, x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sip13_known_answers), cmocka_unit_test(sip13_equals_the_reference),
        cmocka_unit_test(crc64_known_answer),  cmocka_unit_test(crc64_equals_the_reference_in_any_pieces),
        cmocka_unit_test(mix64_is_invertible), cmocka_unit_test(aes_equals_the_reference),
        cmocka_unit_test(seeded_hash_spreads),
    };
    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
