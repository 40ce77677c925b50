#include "base/num.h"

#include "base/annotate.h"
#include "base/assert.h"

#include <ctype.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The digits of s from `i`: no leading zero unless "0" is all there is. */
static bool parse_digits(struct str s, size_t i, uint64_t *out)
{
    if (i >= s.n || s.n - i > NUM_I64_TEXT_MAX)
        return false;
    unsigned digit = (unsigned char)s.p[i] - '0';
    if (digit > 9 || (digit == 0 && s.n > 1))
        return false;
    uint64_t v = digit;
    size_t safe = i + 19 < s.n ? i + 19 : s.n; /* 19 digits always fit in 64 bits */
    while (++i < safe) {
        digit = (unsigned char)s.p[i] - '0';
        if (digit > 9)
            return false;
        v = v * 10 + digit;
    }
    if (i < s.n) {
        digit = (unsigned char)s.p[i] - '0';
        if (digit > 9 || num_mul_overflows(v, 10u, &v) || num_add_overflows(v, digit, &v))
            return false;
    }
    *out = v;
    return true;
}

bool num_parse_i64(struct str s, int64_t *out)
{
    bool negative = s.n > 0 && s.p[0] == '-';
    uint64_t v;
    if (!parse_digits(s, negative, &v) || v > (uint64_t)INT64_MAX + negative)
        return false;
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool num_parse_u64(struct str s, uint64_t *out)
{
    return parse_digits(s, 0, out);
}

/* strtold() wants a NUL and would skip leading space; a text with a NUL inside
 * ends early and so fails the length check. */
static bool float_text(struct str s, char text[NUM_DOUBLE_TEXT_MAX])
{
    if (s.n == 0 || s.n >= NUM_DOUBLE_TEXT_MAX || isspace((unsigned char)s.p[0]))
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    return true;
}

bool num_parse_ldouble(struct str s, long double *out)
{
    char text[NUM_DOUBLE_TEXT_MAX], *end;
    if (!float_text(s, text))
        return false;
    errno = 0;
    long double v = strtold(text, &end);
    if (end != text + s.n || isnan(v) || (errno == ERANGE && (isinf(v) || v == 0)))
        return false;
    *out = v;
    return true;
}

bool num_parse_double(struct str s, double *out)
{
    char text[NUM_DOUBLE_TEXT_MAX], *end;
    if (!float_text(s, text))
        return false;
    errno = 0;
    double v = strtod(text, &end);
    if (end != text + s.n || isnan(v) || (errno == ERANGE && (isinf(v) || v == 0)))
        return false;
    *out = v;
    return true;
}

bool num_parse_bytes(struct str s, uint64_t *out)
{
    size_t n = 0;
    uint64_t v = 0, unit;
    for (; n < s.n && s.p[n] >= '0' && s.p[n] <= '9'; n++)
        if (num_mul_overflows(v, 10u, &v) || num_add_overflows(v, (unsigned)(s.p[n] - '0'), &v))
            return false;
    struct str suffix = {s.p + n, s.n - n};
    if (suffix.n == 0 || str_is(suffix, "b"))
        unit = 1;
    else if (str_is(suffix, "k"))
        unit = 1000;
    else if (str_is(suffix, "kb"))
        unit = 1024;
    else if (str_is(suffix, "m"))
        unit = 1000 * 1000;
    else if (str_is(suffix, "mb"))
        unit = 1024 * 1024;
    else if (str_is(suffix, "g"))
        unit = 1000 * 1000 * 1000;
    else if (str_is(suffix, "gb"))
        unit = 1024 * 1024 * 1024;
    else
        return false;
    return n > 0 && !num_mul_overflows(v, unit, out);
}

const char num_pairs[200] = "00010203040506070809101112131415161718192021222324"
                            "25262728293031323334353637383940414243444546474849"
                            "50515253545556575859606162636465666768697071727374"
                            "75767778798081828384858687888990919293949596979899";

unsigned num_digits(uint64_t v)
{
    unsigned n = 1;
    for (;;) {
        if (v < 10)
            return n;
        if (v < 100)
            return n + 1;
        if (v < 1000)
            return n + 2;
        if (v < 10000)
            return n + 3;
        v /= 10000;
        n += 4;
    }
}

unsigned num_put_u64(char *dst, uint64_t v)
{
    unsigned n = num_digits(v);
    char *at = dst + n;
    while (v >= 100) {
        at -= 2;
        memcpy(at, num_pairs + v % 100 * 2, 2);
        v /= 100;
    }
    if (v >= 10)
        memcpy(dst, num_pairs + v * 2, 2);
    else
        *dst = (char)('0' + v);
    return n;
}

unsigned num_put_i64(char *dst, int64_t v)
{
    if (v >= 0)
        return num_put_u64(dst, (uint64_t)v);
    *dst = '-';
    return 1 + num_put_u64(dst + 1, 0 - (uint64_t)v);
}

static unsigned put_text(char *dst, const char *text)
{
    size_t n = strlen(text);
    memcpy(dst, text, n + 1);
    return (unsigned)n;
}

unsigned num_put_ldouble(char *dst, long double v)
{
    if (isnan(v))
        return put_text(dst, "nan");
    if (isinf(v))
        return put_text(dst, v > 0 ? "inf" : "-inf");
    int n = snprintf(dst, NUM_DOUBLE_TEXT_MAX, "%.17Lf", v);
    ASSERT(n > 0 && n < NUM_DOUBLE_TEXT_MAX);
    while (dst[n - 1] == '0') /* stops at the point at the latest */
        n--;
    if (dst[n - 1] == '.')
        n--;
    if (n == 2 && dst[0] == '-' && dst[1] == '0')
        return put_text(dst, "0");
    dst[n] = '\0';
    return (unsigned)n;
}

/* The significant digits of v > 0 without trailing zeros, and the exponent of the
 * last one: v = digits x 10^exp. 15 digits always survive the way to text and back,
 * so a shorter text is among those that have them, unless v is so small that it has
 * fewer; 17 always suffice. */
static int shortest_digits(double v, char digits[24], int *exp)
{
    char text[40];
    for (int precision = v < DBL_MIN ? 1 : 15; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision - 1, v);
        if (strtod(text, NULL) == v)
            break;
    }
    int n = 0;
    const char *at = text;
    for (; *at != 'e'; at++)
        if (*at != '.')
            digits[n++] = *at;
    *exp = (int)strtol(at + 1, NULL, 10) - (n - 1);
    while (n > 1 && digits[n - 1] == '0') {
        n--;
        ++*exp;
    }
    return n;
}

static char *put_run(char *at, const char *p, int n)
{
    memcpy(at, p, (size_t)n);
    return at + n;
}

static char *put_zeros(char *at, int n)
{
    memset(at, '0', (size_t)n);
    return at + n;
}

/* n digits, the point, where it stands among them or before or behind them, and no
 * zeros beyond: up to ZEROS_MAX are filled in behind an integer and before a
 * fraction, the rest is written as 1.5e-7. The layout is Redis 7.2's. */
static char *put_digits(char *at, const char *digits, int n, int exp)
{
    enum { ZEROS_MAX = 7, NEAR = 4 };
    int point = n + exp; /* v = 0.ddd x 10^point */
    if (exp >= 0 && exp <= ZEROS_MAX)
        return put_zeros(put_run(at, digits, n), exp);
    if (exp < 0 && (exp > -ZEROS_MAX || abs(point - 1) < NEAR)) {
        if (point <= 0)
            return put_run(put_zeros(put_run(at, "0.", 2), -point), digits, n);
        at = put_run(put_run(at, digits, point), ".", 1);
        return put_run(at, digits + point, n - point);
    }
    at = put_run(at, digits, 1);
    if (n > 1)
        at = put_run(put_run(at, ".", 1), digits + 1, n - 1);
    at = put_run(at, point > 0 ? "e+" : "e-", 2);
    return at + num_put_u64(at, (uint64_t)abs(point - 1));
}

/* Integers up to 2^62 are written plainly, which is most scores. */
unsigned num_put_double(char *dst, double v)
{
    if (isnan(v))
        return put_text(dst, "nan");
    if (isinf(v))
        return put_text(dst, v > 0 ? "inf" : "-inf");
    if (v == 0)
        return put_text(dst, signbit(v) ? "-0" : "0");
    char *at = dst;
    if (fabs(v) <= 0x1p62 && v == (double)(int64_t)v) {
        at += num_put_i64(at, (int64_t)v);
    } else {
        char digits[24];
        int exp, n = shortest_digits(fabs(v), digits, &exp);
        if (v < 0)
            *at++ = '-';
        at = put_digits(at, digits, n, exp);
    }
    *at = '\0';
    ASSERT(at - dst < 40);
    return (unsigned)(at - dst);
}

unsigned num_put_human(char *dst, uint64_t bytes)
{
    static const char units[] = "BKMGTP";
    enum { DST_MAX = 32 };
    int unit = 0;
    while (unit < 5 && bytes >> (10 * (unit + 1)) != 0)
        unit++;
    if (unit == 0)
        return (unsigned)snprintf(dst, DST_MAX, "%uB", (unsigned)bytes);
    return (unsigned)snprintf(dst, DST_MAX, "%.2f%c", (double)bytes / (double)(1ULL << (10 * unit)),
                              units[unit]);
}
