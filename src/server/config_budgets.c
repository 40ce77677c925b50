/* The values of cache-origin-budget: prefix leases [prefix leases ...]; of a prefix that is said twice the
 * later one counts. */
#include "base/num.h"
#include "server/config_internal.h"

#include <string.h>

/* So that a list of words can show it. */
static bool is_word(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == '"' || s.p[i] == '\'' || s.p[i] == '#' ||
            s.p[i] == 0x7f)
            return false;
    return s.n > 0;
}

/* The place of a prefix: its old one, if it was said before. */
static uint32_t place_of(const struct config_budgets *b, struct str prefix)
{
    uint32_t i = 0;
    while (i < b->n && !str_eq(prefix, str_of(b->v[i].prefix)))
        i++;
    return i;
}

int config_parse_budgets(const struct option *o, const struct str *argv, uint32_t n, const void *old,
                         bool more, void *out, struct config_error *e)
{
    struct config_budgets b = {.n = 0};
    bool none = n == 1 && argv[0].n == 0;
    if (more && !none)
        b = *(const struct config_budgets *)old;
    if (none)
        n = 0;
    if (n % 2 != 0)
        return config_fail(e, ERR_SYNTAX,
                           "give pairs: a prefix and the number of leases, as in user: 50 page: 10");
    for (uint32_t i = 0; i < n; i += 2) {
        uint32_t at = place_of(&b, argv[i]);
        int64_t leases;
        if (at == CONFIG_BUDGETS_MAX)
            return config_fail(e, ERR_FULL, "Too many budgets: %d is the most", CONFIG_BUDGETS_MAX);
        if (!is_word(argv[i]) || argv[i].n > CONFIG_PREFIX_MAX)
            return config_fail(e, ERR_SYNTAX,
                               "a prefix has 1 to %d bytes, none of them a blank, a quote or '#'",
                               CONFIG_PREFIX_MAX);
        if (!num_parse_i64(argv[i + 1], &leases) || leases < 1 || leases > INT32_MAX)
            return config_fail(e, ERR_SYNTAX, "a budget is a number of leases from 1 to %d", INT32_MAX);
        memcpy(b.v[at].prefix, argv[i].p, argv[i].n);
        b.v[at].prefix[argv[i].n] = '\0';
        b.v[at].leases = leases;
        b.n += at == b.n;
    }
    *(struct config_budgets *)out = b;
    return 0;
}

void config_format_budgets(const struct option *o, const void *value, struct buf *b)
{
    const struct config_budgets *v = value;
    for (uint32_t i = 0; i < v->n; i++)
        buf_printf(b, "%s%s %lld", i > 0 ? " " : "", v->v[i].prefix, (long long)v->v[i].leases);
}

void config_write_budgets(const struct option *o, const void *value, struct buf *b)
{
    const struct config_budgets *v = value;
    buf_printf(b, "%s ", o->name);
    config_format_budgets(o, value, b);
    buf_puts(b, v->n == 0 ? STR("\"\"\n") : STR("\n"));
}
