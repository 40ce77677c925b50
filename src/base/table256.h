/* Constant tables of 256 entries computed by the compiler: TABLE256(F, k) is the
 * initialiser { F(k, 0), F(k, 1), ... F(k, 255) }.
 *
 * The CRC tables are made this way. A CRC is linear, so the entry for byte i is
 * the sum of the entries for its bits, and those are consecutive powers of x modulo
 * the polynomial, which an enum can count out. Rejected: 2,048 pasted numbers that
 * nobody can review, and filling at start-up, which asks every reader whether it
 * has happened yet. */
#ifndef LARDER_BASE_TABLE256_H
#define LARDER_BASE_TABLE256_H

#define TABLE4_(F, k, i) F(k, (i)), F(k, (i) + 1), F(k, (i) + 2), F(k, (i) + 3)
#define TABLE16_(F, k, i)                                                                                    \
    TABLE4_(F, k, (i)), TABLE4_(F, k, (i) + 4), TABLE4_(F, k, (i) + 8), TABLE4_(F, k, (i) + 12)
#define TABLE64_(F, k, i)                                                                                    \
    TABLE16_(F, k, (i)), TABLE16_(F, k, (i) + 16), TABLE16_(F, k, (i) + 32), TABLE16_(F, k, (i) + 48)
#define TABLE256(F, k)                                                                                       \
    {                                                                                                        \
        TABLE64_(F, k, 0), TABLE64_(F, k, 64), TABLE64_(F, k, 128), TABLE64_(F, k, 192)                      \
    }

/* The 64 powers that eight tables need: name_0 = first, name_(j+1) = NEXT(name_j). */
#define POWERS8_(name, NEXT, a, b, c, d, e, f, g, h, i)                                                      \
    name##b = NEXT(name##a), name##c = NEXT(name##b), name##d = NEXT(name##c), name##e = NEXT(name##d),      \
    name##f = NEXT(name##e), name##g = NEXT(name##f), name##h = NEXT(name##g), name##i = NEXT(name##h)
#define POWERS64(name, first, NEXT)                                                                          \
    name##0 = (first), POWERS8_(name, NEXT, 0, 1, 2, 3, 4, 5, 6, 7, 8),                                      \
    POWERS8_(name, NEXT, 8, 9, 10, 11, 12, 13, 14, 15, 16),                                                  \
    POWERS8_(name, NEXT, 16, 17, 18, 19, 20, 21, 22, 23, 24),                                                \
    POWERS8_(name, NEXT, 24, 25, 26, 27, 28, 29, 30, 31, 32),                                                \
    POWERS8_(name, NEXT, 32, 33, 34, 35, 36, 37, 38, 39, 40),                                                \
    POWERS8_(name, NEXT, 40, 41, 42, 43, 44, 45, 46, 47, 48),                                                \
    POWERS8_(name, NEXT, 48, 49, 50, 51, 52, 53, 54, 55, 56),                                                \
    POWERS8_(name, NEXT, 56, 57, 58, 59, 60, 61, 62, 63, 64)

#endif
