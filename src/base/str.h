/* A borrowed run of bytes, as it travels through the program: never owned, not
 * NUL-terminated, may hold any byte. Passed by value. */
#ifndef LARDER_BASE_STR_H
#define LARDER_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){("" literal), sizeof(literal) - 1})

static inline struct str str_of(const char *cstr)
{
    return (struct str){cstr, strlen(cstr)};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool str_begins(struct str s, struct str with)
{
    return s.n >= with.n && (with.n == 0 || memcmp(s.p, with.p, with.n) == 0);
}

/* ASCII only, as every protocol word is. */
bool str_eq_nocase(struct str a, struct str b);

/* Case-insensitive comparison with a literal: str_is(arg, "EX"). */
#define str_is(s, literal) str_eq_nocase((s), STR(literal))

/* memcmp order, a prefix sorts first. Returns <0, 0, >0. */
int str_cmp(struct str a, struct str b);

/* Redis's glob: * ? [a-z] [^a] and backslash escapes. Linear in the text for
 * patterns without '*', bounded backtracking otherwise (one restart point, as
 * the last '*' is the only one that ever needs to grow). */
bool str_glob(struct str pattern, struct str text, bool nocase);

/* The "did you mean" distance (Damerau-Levenshtein, capped): smaller is nearer. */
unsigned str_distance(struct str a, struct str b, unsigned cap);

#endif
