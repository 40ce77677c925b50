/* The header lines of RESP, "<type><number>\r\n", where they are short: nearly all
 * have one to three digits, and both parsers spend most of their time on them. What
 * is longer or in any way odd is left to the general path of each parser. */
#ifndef LARDER_PROTO_HEADER_H
#define LARDER_PROTO_HEADER_H

#include "base/annotate.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { HEADER_SHORT_MAX = 6 }; /* "$123\r\n" */

static ALWAYS_INLINE bool header_crlf(const char *at)
{
    uint16_t v;
    memcpy(&v, at, sizeof v);
    return v == ('\r' | '\n' << 8);
}

/* The length of the line at `at`, whose type the caller has looked at, or 0 when it
 * is not a short one. HEADER_SHORT_MAX bytes must be readable. */
static ALWAYS_INLINE unsigned header_short(const char *at, int64_t *v)
{
    unsigned a = (unsigned char)at[1] - '0', b, c;
    if (unlikely(a > 9))
        return 0;
    if (header_crlf(at + 2)) {
        *v = a;
        return 4;
    }
    b = (unsigned char)at[2] - '0';
    if (unlikely(b > 9 || a == 0))
        return 0;
    if (header_crlf(at + 3)) {
        *v = a * 10 + b;
        return 5;
    }
    c = (unsigned char)at[3] - '0';
    if (unlikely(c > 9 || !header_crlf(at + 4)))
        return 0;
    *v = a * 100 + b * 10 + c;
    return 6;
}

#endif
