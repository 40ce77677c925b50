#include "cmd/cache_options.h"

#include "cache/cache.h"
#include "cmd/command.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>

enum kind { FLAG, NUMBER, REAL, TEXT, LIST };

struct row {
    struct str name;
    uint32_t option;
    enum kind kind;
    const char *usage; /* behind the name */
    int64_t min, max, scale;
    size_t at; /* of an int64_t in struct cache_options */
};

#define MS(name, option, min, field)                                                                         \
    {                                                                                                        \
        STR(name), option, NUMBER, " milliseconds", min, CACHE_MS_MAX, 1,                                    \
            offsetof(struct cache_options, field)                                                            \
    }
#define OTHER(name, option, kind, usage)                                                                     \
    {                                                                                                        \
        STR(name), option, kind, usage, 0, 0, 0, 0                                                           \
    }
#define VERSION_OF(name, option, field)                                                                      \
    {                                                                                                        \
        STR(name), option, NUMBER, " version", 0, INT64_MAX, 1, offsetof(struct cache_options, field)        \
    }

static const struct row rows[] = {
    MS("LEASE", OPT_LEASE, 1, lease_ms),
    MS("WAIT", OPT_WAIT, 0, wait_ms),
    OTHER("STALE", OPT_STALE, FLAG, ""),
    OTHER("EARLY", OPT_EARLY, REAL, " beta"),
    VERSION_OF("MINVER", OPT_MINVER, minver),
    OTHER("LEASE", OPT_TOKEN, TEXT, " token"),
    {STR("EX"), OPT_EX, NUMBER, " seconds", 1, INT64_MAX / 4000, 1000,
     offsetof(struct cache_options, ttl_ms)},
    {STR("PX"), OPT_PX, NUMBER, " milliseconds", 1, INT64_MAX / 4, 1, offsetof(struct cache_options, ttl_ms)},
    {STR("GRACE"), OPT_GRACE, NUMBER, " milliseconds", 0, INT64_MAX / 4, 1,
     offsetof(struct cache_options, grace_ms)},
    VERSION_OF("VERSION", OPT_VERSION, version),
    MS("COST", OPT_COST, 0, cost_ms),
    OTHER("NEGATIVE", OPT_NEGATIVE, FLAG, ""),
    OTHER("TAGS", OPT_TAGS, LIST, " n tag [tag ...]"),
    OTHER("SOFT", OPT_SOFT, FLAG, ""),
    MS("HOLD", OPT_HOLD, 0, hold_ms),
    MS("RETRY", OPT_RETRY, 0, retry_ms),
    OTHER("BIG", OPT_BIG, FLAG, ""),
    {STR("COUNT"), OPT_COUNT, NUMBER, " n", 1, 1000, 1, offsetof(struct cache_options, count)},
};

enum { TEXT_SHOWN = 64 }; /* of what a client has sent */

static int shown(struct str s)
{
    return s.n < TEXT_SHOWN ? (int)s.n : TEXT_SHOWN;
}

bool cache_refuse(struct cmd_ctx *c, const char *text)
{
    reply_error(c->reply, text);
    return false;
}

bool cache_refuse_twice(struct cmd_ctx *c, const char *option)
{
    reply_errorf(c->reply, "ERR %s is given twice; give it once", option);
    return false;
}

bool cache_refuse_unknown(struct cmd_ctx *c, struct str arg, const char *by, const char *list)
{
    reply_errorf(c->reply, "ERR '%.*s' is no option of %s; it takes %s", shown(arg), arg.p, by, list);
    return false;
}

static bool refuse_unknown(struct cmd_ctx *c, struct str arg, uint32_t taken)
{
    char list[256] = "";
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].option & taken)
            n += (size_t)snprintf(list + n, sizeof list - n, "%s%s%s", n == 0 ? "" : ", ", rows[i].name.p,
                                  rows[i].usage);
    return cache_refuse_unknown(c, arg, c->cmd->name, list);
}

static const struct row *find_row(const struct cmd_ctx *c, uint32_t i, uint32_t taken)
{
    for (size_t k = 0; k < ARRAY_LEN(rows); k++)
        if ((rows[k].option & taken) && cmd_arg_is(c, i, rows[k].name))
            return &rows[k];
    return NULL;
}

static bool read_number(struct cmd_ctx *c, const struct row *r, struct str arg, struct cache_options *out)
{
    int64_t v;
    if (!num_parse_i64(arg, &v) || v < r->min || v > r->max) {
        reply_errorf(c->reply, "ERR %s takes%s from %" PRId64 " to %" PRId64 ", not '%.*s'", r->name.p,
                     r->usage, r->min, r->max, shown(arg), arg.p);
        return false;
    }
    *(int64_t *)((char *)out + r->at) = v * r->scale;
    return true;
}

static bool read_beta(struct cmd_ctx *c, struct str arg, struct cache_options *out)
{
    if (num_parse_double(arg, &out->early) && isfinite(out->early) && out->early >= 0)
        return true;
    reply_errorf(c->reply, "ERR EARLY takes a number from 0 on, usually 1, not '%.*s'", shown(arg), arg.p);
    return false;
}

/* "n tag ...": *i is the count's place, and becomes the last tag's. */
static bool read_tags(struct cmd_ctx *c, uint32_t *i, struct cache_options *out)
{
    int64_t n;
    if (!num_parse_i64(c->argv[*i], &n) || n < 1 || n > META_TAGS_MAX) {
        reply_errorf(c->reply,
                     "ERR TAGS takes the number of tags first, from 1 to %d, not '%.*s': TAGS 2 red blue",
                     META_TAGS_MAX, shown(c->argv[*i]), c->argv[*i].p);
        return false;
    }
    if (n > (int64_t)c->argc - *i - 1) {
        reply_errorf(c->reply, "ERR TAGS %" PRId64 " is followed by %u tags; give as many as it says", n,
                     c->argc - *i - 1);
        return false;
    }
    out->tags = &c->argv[*i + 1];
    out->ntags = (uint32_t)n;
    for (uint32_t k = 0; k < out->ntags; k++)
        if (out->tags[k].n == 0)
            return cache_refuse(c, "ERR TAGS does not take an empty tag; leave it out and lower the number");
    *i += out->ntags;
    return true;
}

bool cache_parse_options(struct cmd_ctx *c, uint32_t from, uint32_t taken, struct cache_options *out)
{
    *out = (struct cache_options){0};
    for (uint32_t i = from; i < c->argc; i++) {
        const struct row *r = find_row(c, i, taken);
        if (r == NULL)
            return refuse_unknown(c, c->argv[i], taken);
        if (out->given & r->option)
            return cache_refuse_twice(c, r->name.p);
        out->given |= r->option;
        if (r->kind == FLAG)
            continue;
        if (i + 1 == c->argc) {
            reply_errorf(c->reply, "ERR %s needs a value: %s%s", r->name.p, r->name.p, r->usage);
            return false;
        }
        struct str arg = c->argv[++i];
        if (r->kind == TEXT)
            out->token = arg;
        if ((r->kind == NUMBER && !read_number(c, r, arg, out)) ||
            (r->kind == REAL && !read_beta(c, arg, out)) || (r->kind == LIST && !read_tags(c, &i, out)))
            return false;
    }
    return true;
}
