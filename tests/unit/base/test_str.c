#include "unit/unit.h"

#include "base/annotate.h"
#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void equality_and_order(void **state)
{
    struct str nothing = {NULL, 0};
    assert_true(str_eq_nocase(STR("GeT"), STR("gEt")));
    assert_true(str_is(STR("withscores"), "WITHSCORES"));
    assert_false(str_is(STR("withscore"), "WITHSCORES"));
    assert_true(str_eq_nocase(nothing, STR("")));
    /* What differs by the same bit without being letters stays different. */
    assert_false(str_eq_nocase(STR("@"), STR("`")));
    assert_false(str_eq_nocase(STR("["), STR("{")));
    assert_false(str_eq_nocase(STR("\xc0"), STR("\xe0")));
    assert_false(str_eq_nocase(STR("a\0b"), STR("a\0c")));
    assert_true(str_cmp(nothing, STR("")) == 0);
    assert_true(str_cmp(nothing, STR("\0")) < 0);
    assert_true(str_cmp(STR("a"), STR("ab")) < 0);
    assert_true(str_cmp(STR("b"), STR("ab")) > 0);
    assert_true(str_cmp(STR("\xff"), STR("a")) > 0);
    assert_true(str_cmp(STR("a\0b"), STR("a\0a")) > 0);
}

static int fold(int c, bool nocase)
{
    return nocase && c >= 'A' && c <= 'Z' ? c + 32 : c;
}

/* The semantics, written down as plainly as possible: bytes are signed, the text is
 * never empty when an element is looked at, '*' recurses over every split. Returns the
 * length of the bracket's pattern in *len. */
static bool bracket_reference(const signed char *p, size_t n, int c, bool nocase, size_t *len)
{
    size_t i = 1;
    bool inverted = i < n && p[i] == '^', found = false;
    i += inverted;
    for (;;) {
        if (i >= n) {
            *len = n;
            break;
        }
        if (p[i] == '\\' && n - i >= 2) {
            found |= p[i + 1] == c;
            i += 2;
        } else if (p[i] == ']') {
            *len = i + 1;
            break;
        } else if (n - i >= 3 && p[i + 1] == '-') {
            int a = p[i] < p[i + 2] ? p[i] : p[i + 2], b = p[i] < p[i + 2] ? p[i + 2] : p[i];
            found |= fold(c, nocase) >= fold(a, nocase) && fold(c, nocase) <= fold(b, nocase);
            i += 3;
        } else {
            found |= fold(p[i], nocase) == fold(c, nocase);
            i++;
        }
    }
    return found != inverted;
}

static bool glob_tail(const signed char *p, size_t n, const signed char *t, size_t m, bool nocase)
{
    if (n == 0)
        return m == 0;
    if (p[0] == '*') {
        for (size_t skip = 0; skip <= m; skip++)
            if (glob_tail(p + 1, n - 1, t + skip, m - skip, nocase))
                return true;
        return false;
    }
    if (m == 0)
        return false;
    size_t len = 1;
    bool matches = true;
    if (p[0] == '[') {
        matches = bracket_reference(p, n, t[0], nocase, &len);
    } else if (p[0] != '?') {
        bool escape = p[0] == '\\' && n >= 2;
        len = escape ? 2 : 1;
        matches = fold(p[len - 1], nocase) == fold(t[0], nocase);
    }
    return matches && glob_tail(p + len, n - len, t + 1, m - 1, nocase);
}

static bool glob_reference(struct str p, struct str t, bool nocase)
{
    if (t.n == 0)
        return p.n == 0;
    return glob_tail((const signed char *)p.p, p.n, (const signed char *)t.p, t.n, nocase);
}

static void glob_cases(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool exact, nocase;
    } cases[] = {
        {"h?llo", "hello", true, true},
        {"h*llo", "heeeello", true, true},
        {"h*llo", "hllo", true, true},
        {"h[ae]llo", "hallo", true, true},
        {"h[ae]llo", "hillo", false, false},
        {"h[^e]llo", "hbllo", true, true},
        {"h[^e]llo", "hello", false, false},
        {"h[a-b]llo", "hbllo", true, true},
        {"HELLO", "hello", false, true},
        {"*", "x", true, true},
        {"*", "", false, false},
        {"", "", true, true},
        {"", "x", false, false},
        {"a*", "a", true, true},
        {"a**", "a", true, true},
        {"*a*a*", "aa", true, true},
        {"*a*a*a", "aa", false, false},
        {"\\*", "*", true, true},
        {"\\*", "x", false, false},
        {"\\", "\\", true, true},
        {"a\\", "a\\", true, true},
        {"[abc", "b", true, true}, /* a bracket that does not close ends with the pattern */
        {"[abc", "d", false, false},
        {"[", "[", false, false},
        {"[^", "x", true, true},
        {"[]", "x", false, false},
        {"[^]", "x", true, true},
        {"[]x]", "]x]", false, false}, /* the first ']' closes */
        {"[a-]", "]", true, true},     /* the ']' is the range's end, and nothing closes it */
        {"[a-]", "^", true, true},
        {"[a-]", "-", false, false},
        {"[-a]", "-", true, true},
        {"[z-a]", "m", true, true},
        {"[Z-a]", "a", true, false}, /* put in order as Z..a, then folded to the empty z..a */
        {"[A-Z]", "m", false, true},
        {"[\\]]", "]", true, true},
        {"[\\", "\\", true, true},
        {"[\\A]", "a", false, false}, /* an escaped member is exact */
        {"[a-\\]]", "b", false, false},
        {"[\x80-\x7f]", "m", true, true}, /* signed: from -128 to 127 */
        {"[a-\xff]", "\xff", true, true},
        {"[a-\xff]", "z", false, false},
        {"[a-\xff]", "0", true, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str p = str_of(cases[i].pattern), t = str_of(cases[i].text);
        if (str_glob(p, t, false) != cases[i].exact || str_glob(p, t, true) != cases[i].nocase)
            fail_msg("pattern \"%s\" on \"%s\"", cases[i].pattern, cases[i].text);
        assert_int_equal(glob_reference(p, t, false), cases[i].exact);
        assert_int_equal(glob_reference(p, t, true), cases[i].nocase);
    }
}

static void glob_equals_the_reference(void **state)
{
    static const char in_pattern[] = "abAB**??[]^-\\\\c\xff", in_text[] = "abABc]^-\\\xff*[";
    struct rng rng;
    rng_init(&rng, 21);
    unsigned matched = 0;
    for (int i = 0; i < 2000000; i++) {
        /* Blocks of their own size, so that ASan sees a byte read beyond the end. */
        size_t n = rng_below(&rng, 10), m = rng_below(&rng, 8);
        char *p = malloc(n > 0 ? n : 1), *t = malloc(m > 0 ? m : 1);
        for (size_t j = 0; j < n; j++)
            p[j] = in_pattern[rng_below(&rng, sizeof in_pattern - 1)];
        for (size_t j = 0; j < m; j++)
            t[j] = in_text[rng_below(&rng, sizeof in_text - 1)];
        struct str pattern = {p, n}, text = {t, m};
        bool nocase = i & 1, want = glob_reference(pattern, text, nocase);
        if (str_glob(pattern, text, nocase) != want)
            fail_msg("pattern \"%.*s\" on \"%.*s\", nocase %d: wanted %d", (int)n, p, (int)m, t, nocase,
                     want);
        matched += want;
        free(p);
        free(t);
    }
    assert_true(matched > 60000); /* the comparison is of both answers */
}

/* Sixty stars over a text that almost matches: a search with more than one restart
 * point would not end in a lifetime. */
static void glob_does_not_explode(void **state)
{
    char pattern[121], text[5000];
    for (size_t i = 0; i < 120; i += 2) {
        pattern[i] = '*';
        pattern[i + 1] = 'a';
    }
    pattern[120] = 'b';
    memset(text, 'a', sizeof text);
    assert_false(str_glob((struct str){pattern, 121}, (struct str){text, sizeof text}, false));
    text[sizeof text - 1] = 'b';
    assert_true(str_glob((struct str){pattern, 121}, (struct str){text, sizeof text}, false));
}

static unsigned distance(const char *a, const char *b)
{
    unsigned there = str_distance(str_of(a), str_of(b), 100);
    assert_int_equal(there, str_distance(str_of(b), str_of(a), 100));
    return there;
}

static void distances(void **state)
{
    assert_int_equal(distance("", ""), 0);
    assert_int_equal(distance("abc", ""), 3);
    assert_int_equal(distance("maxmemory", "maxmemory"), 0);
    assert_int_equal(distance("maxmemroy", "maxmemory"), 1); /* a swap */
    assert_int_equal(distance("maxmmory", "maxmemory"), 1);
    assert_int_equal(distance("maxnemory", "maxmemory"), 1);
    assert_int_equal(distance("kitten", "sitting"), 3);
    assert_int_equal(distance("ab", "ba"), 1);
    assert_int_equal(distance("ca", "abc"), 3);
    assert_int_equal(str_distance(STR("kitten"), STR("sitting"), 2), 2);
    char large[100];
    memset(large, 'x', sizeof large);
    assert_int_equal(str_distance((struct str){large, sizeof large}, STR("x"), 9), 9);
    assert_int_equal(str_distance((struct str){large, 64}, (struct str){large, 63}, 9), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equality_and_order),
        cmocka_unit_test(glob_cases),
        cmocka_unit_test(glob_equals_the_reference),
        cmocka_unit_test(glob_does_not_explode),
        cmocka_unit_test(distances),
    };
    return cmocka_run_group_tests_name("str", tests, NULL, NULL);
}
