/* Numbers to text and back, by the rules that clients of Redis know. */
#ifndef LARDER_BASE_NUM_H
#define LARDER_BASE_NUM_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum num_limits {
    NUM_I64_TEXT_MAX = 20,      /* "-9223372036854775808", without NUL */
    NUM_SHORT_END = 100000000,  /* of eight digits */
    NUM_DOUBLE_TEXT_MAX = 5120, /* a long double written out with %.17Lf */
};

/* Strict: optional '-', no leading zeros, no spaces, no '+', whole text used.
 * Exactly the texts that num_put_i64() writes are accepted. */
bool num_parse_i64(struct str s, int64_t *out);
bool num_parse_u64(struct str s, uint64_t *out);

/* strtold() on the whole text: no leading space, no NaN, no overflow and nothing that
 * vanishes to 0, shorter than NUM_DOUBLE_TEXT_MAX; "inf" and hexadecimal are accepted. */
bool num_parse_ldouble(struct str s, long double *out);
bool num_parse_double(struct str s, double *out);

/* "100", "64mb", "1gb", "10k" (k = 1000, kb = 1024, "b" = 1, any case), as in
 * redis.conf. Unlike there, a unit alone or a product beyond 64 bits is refused. */
bool num_parse_bytes(struct str s, uint64_t *out);

/* Write decimal text to dst (>= NUM_I64_TEXT_MAX bytes), return its length. */
unsigned num_put_i64(char *dst, int64_t v);
unsigned num_put_u64(char *dst, uint64_t v);

/* The same below NUM_SHORT_END, without loops and branches: all eight digits side by side in one word, and
 * the zeros in front shifted out. Writes eight bytes, of which those behind the text mean nothing. */
static inline unsigned num_put_short(char *dst, uint32_t v)
{
    const uint64_t ones = 0x0001000100010001;
    uint64_t fours = v / 10000 | (uint64_t)(v % 10000) << 32;
    uint64_t high = (fours * 5243 >> 19) & 0x0000007f0000007f; /* / 100 */
    uint64_t twos = high | (fours - 100 * high) << 16;
    uint64_t tens = (twos * 103 >> 10) & 15 * ones; /* / 10 */
    uint64_t digits = tens | (twos - 10 * tens) << 8;
    unsigned zeros = (unsigned)__builtin_ctzll(digits | UINT64_C(1) << 56) / 8;
    digits = (digits | 0x3030303030303030) >> 8 * zeros;
    memcpy(dst, &digits, sizeof digits);
    return 8 - zeros;
}
unsigned num_digits(uint64_t v);
/* "00" to "99", two letters each. */
extern const char num_pairs[200];

/* INCRBYFLOAT's text: %.17Lf without trailing zeros, "-0" as "0". dst >= NUM_DOUBLE_TEXT_MAX. */
unsigned num_put_ldouble(char *dst, long double v);

/* The shortest text that reads back as v (RESP3 doubles, scores), laid out as Redis
 * 7.2 does (7.0 writes 17 digits): "0.1", "1e+21", "-0", "inf", "-inf", "nan", integers
 * up to 2^62 plainly. Writes a NUL behind it. dst >= 40 bytes. */
unsigned num_put_double(char *dst, double v);

/* "1.50M", "12.00K", "3B": INFO's *_human fields. dst >= 32 bytes. */
unsigned num_put_human(char *dst, uint64_t bytes);

/* Checked arithmetic: true when the result does not fit. */
#define num_add_overflows(a, b, out) __builtin_add_overflow((a), (b), (out))
#define num_sub_overflows(a, b, out) __builtin_sub_overflow((a), (b), (out))
#define num_mul_overflows(a, b, out) __builtin_mul_overflow((a), (b), (out))

#endif
