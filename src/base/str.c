#include "base/str.h"

#include "base/annotate.h"

static ALWAYS_INLINE unsigned char lower(unsigned char c)
{
    return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

bool str_eq_nocase(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower((unsigned char)a.p[i]) != lower((unsigned char)b.p[i]))
            return false;
    return true;
}

int str_cmp(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n > 0 ? memcmp(a.p, b.p, n) : 0;
    if (order != 0)
        return order;
    return (a.n > b.n) - (a.n < b.n);
}

/* One member of a bracket. Bytes compare as signed chars in a range, as they do in
 * Redis on x86; a range is put in order before the case is folded. */
static bool in_range(unsigned char from, unsigned char to, unsigned char c, bool nocase)
{
    signed char low = (signed char)from, high = (signed char)to, x = (signed char)c;
    if (low > high) {
        signed char t = low;
        low = high;
        high = t;
    }
    if (nocase) {
        low = (signed char)lower((unsigned char)low);
        high = (signed char)lower((unsigned char)high);
        x = (signed char)lower((unsigned char)x);
    }
    return x >= low && x <= high;
}

/* Does the bracket at p (behind the '[') hold c? Returns where the pattern goes on:
 * behind the ']', or at the end when there is none. An escaped member compares
 * exactly even without case; a ']' may be the upper end of a range. */
static const char *match_bracket(const char *p, const char *end, unsigned char c, bool nocase, bool *matches)
{
    bool inverted = p < end && *p == '^', found = false;
    for (p += inverted; p < end && *p != ']'; p++) {
        if (*p == '\\' && end - p >= 2) {
            p++;
            found |= (unsigned char)*p == c;
        } else if (end - p >= 3 && p[1] == '-') {
            found |= in_range((unsigned char)p[0], (unsigned char)p[2], c, nocase);
            p += 2;
        } else {
            unsigned char member = (unsigned char)*p;
            found |= member == c || (nocase && lower(member) == lower(c));
        }
    }
    *matches = found != inverted;
    return p < end ? p + 1 : end;
}

/* Match one text byte against the pattern element at *p, which is not '*', and step over it. */
static bool match_one(const char **p, const char *end, unsigned char c, bool nocase)
{
    const char *at = *p;
    bool matches = true;
    if (*at == '[') {
        *p = match_bracket(at + 1, end, c, nocase, &matches);
        return matches;
    }
    if (*at == '?') {
        *p = at + 1;
        return true;
    }
    if (*at == '\\' && end - at >= 2)
        at++;
    *p = at + 1;
    unsigned char wanted = (unsigned char)*at;
    return wanted == c || (nocase && lower(wanted) == lower(c));
}

bool str_glob(struct str pattern, struct str text, bool nocase)
{
    if (text.n == 0)
        return pattern.n == 0; /* as in Redis: not even '*' matches nothing at all */
    const char *p = pattern.p, *p_end = p + pattern.n, *t = text.p, *t_end = t + text.n;
    const char *retry_p = NULL, *retry_t = NULL; /* behind the last '*', and the text it leaves to that */
    while (t < t_end) {
        if (p < p_end && *p == '*') {
            while (p < p_end && *p == '*')
                p++;
            if (p == p_end)
                return true;
            retry_p = p;
            retry_t = t;
            continue;
        }
        if (p < p_end && match_one(&p, p_end, (unsigned char)*t, nocase)) {
            t++;
            continue;
        }
        if (retry_p == NULL)
            return false;
        p = retry_p; /* let the last '*' take one byte more */
        t = ++retry_t;
    }
    while (p < p_end && *p == '*')
        p++;
    return p == p_end;
}

enum { DISTANCE_TEXT_MAX = 64 };

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned m = a < b ? a : b;
    return m < c ? m : c;
}

/* Three rows of the usual table; a swap of neighbours looks two rows back. */
unsigned str_distance(struct str a, struct str b, unsigned cap)
{
    unsigned rows[3][DISTANCE_TEXT_MAX + 1];
    if (a.n > DISTANCE_TEXT_MAX || b.n > DISTANCE_TEXT_MAX)
        return cap;
    unsigned *before = rows[0], *above = rows[1], *row = rows[2];
    for (unsigned j = 0; j <= b.n; j++)
        above[j] = j;
    for (unsigned i = 1; i <= a.n; i++) {
        row[0] = i;
        for (unsigned j = 1; j <= b.n; j++) {
            unsigned change = a.p[i - 1] != b.p[j - 1];
            row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + change);
            if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1] &&
                before[j - 2] + 1 < row[j])
                row[j] = before[j - 2] + 1;
        }
        unsigned *reused = before;
        before = above;
        above = row;
        row = reused;
    }
    return above[b.n] < cap ? above[b.n] : cap;
}
