#include "unit/unit.h"

#include "base/annotate.h"
#include "base/hash.h"
#include "base/rng.h"

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
        cmocka_unit_test(mix64_is_invertible),
    };
    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
