#include "base/sha1.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

static void assert_digest(const void *p, size_t n, const char *hex)
{
    uint8_t d[SHA1_BYTES];
    char text[2 * SHA1_BYTES + 1];
    sha1(p, n, d);
    for (unsigned i = 0; i < SHA1_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", d[i]);
    assert_string_equal(text, hex);
}

/* RFC 3174, section 7.3, and the empty text. */
static void test_vectors(void **state)
{
    static char text[1000000];
    assert_digest("", 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    assert_digest("abc", 3, "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
                  "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    memset(text, 'a', sizeof text);
    assert_digest(text, sizeof text, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    for (unsigned i = 0; i < 640; i++)
        text[i] = "01234567"[i % 8];
    assert_digest(text, 640, "dea356a2cddd90c7a7ecedc5ebb563934f460452");
}

/* Around the ends of blocks, where the padding needs one block or two; made with coreutils' sha1sum. */
static void test_lengths(void **state)
{
    char text[128];
    memset(text, 'x', sizeof text);
    assert_digest(text, 55, "cef734ba81a024479e09eb5a75b6ddae62e6abf1");
    assert_digest(text, 56, "901305367c259952f4e7af8323f480d59f81335b");
    assert_digest(text, 63, "0ddc4e0cccd9a12850deb5abb0853a4425559fec");
    assert_digest(text, 64, "bb2fa3ee7afb9f54c6dfb5d021f14b1ffe40c163");
    assert_digest(text, 65, "78c741ddc482e4cdf8c474a0876347a0905b6233");
    assert_digest(text, 119, "4300320394f7ee239bcdce7d3b8bcee173a0cd5c");
    assert_digest(text, 120, "ceb2821639c4b6dcb10bce0e522ca2e608ce056d");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors), cmocka_unit_test(test_lengths)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
