/* How each type of option reads, prints and writes its values.
 *
 * Error texts are Redis's own: people and programs know them. A parser leaves *out
 * alone unless it succeeds, so a failed CONFIG SET has nothing to undo. */
#include "base/alloc.h"
#include "base/num.h"
#include "server/config_internal.h"

#include <sched.h>
#include <stdio.h>

static const char wrong_number[] = "wrong number of arguments";

/* ---- numbers --------------------------------------------------------------------------- */

static int parse_bool(const struct option *o, const struct str *argv, uint32_t n, const void *old, bool more,
                      void *out, struct config_error *e)
{
    bool yes = str_is(argv[0], "yes");
    if (!yes && !str_is(argv[0], "no"))
        return config_fail(e, ERR_SYNTAX, "argument must be 'yes' or 'no'");
    *(bool *)out = yes;
    return 0;
}

static void format_bool(const struct option *o, const void *value, struct buf *b)
{
    buf_puts(b, *(const bool *)value ? STR("yes") : STR("no"));
}

static int64_t cpus_allowed(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) < 0)
        return 1;
    return CPU_COUNT(&set);
}

static int out_of_bounds(const struct option *o, struct config_error *e)
{
    return config_fail(e, ERR_RANGE, "argument must be between %lld and %llu inclusive", (long long)o->min,
                       (unsigned long long)o->max);
}

static int parse_int(const struct option *o, const struct str *argv, uint32_t n, const void *old, bool more,
                     void *out, struct config_error *e)
{
    int64_t v;
    if ((o->flags & CPUS) && str_is(argv[0], "auto")) {
        v = cpus_allowed();
        v = v > (int64_t)o->max ? (int64_t)o->max : v;
    } else if (!num_parse_i64(argv[0], &v)) {
        return config_fail(e, ERR_SYNTAX, "argument couldn't be parsed into an integer");
    }
    if (v < o->min || v > (int64_t)o->max)
        return out_of_bounds(o, e);
    if (o->high != 0)
        v = v < o->low ? o->low : v > o->high ? o->high : v;
    *(int64_t *)out = v;
    return 0;
}

static void format_int(const struct option *o, const void *value, struct buf *b)
{
    buf_printf(b, "%lld", (long long)*(const int64_t *)value);
}

static int parse_bytes(const struct option *o, const struct str *argv, uint32_t n, const void *old, bool more,
                       void *out, struct config_error *e)
{
    uint64_t v;
    if (!num_parse_bytes(argv[0], &v))
        return config_fail(e, ERR_SYNTAX, "argument must be a memory value");
    if (v < (uint64_t)o->min || v > o->max)
        return out_of_bounds(o, e);
    *(uint64_t *)out = v;
    return 0;
}

static void format_bytes(const struct option *o, const void *value, struct buf *b)
{
    buf_printf(b, "%llu", (unsigned long long)*(const uint64_t *)value);
}

/* As short as the unit allows without losing a byte: "64mb". */
static void put_units(struct buf *b, uint64_t v)
{
    static const char *const unit[] = {"", "kb", "mb", "gb"};
    unsigned i = 0;
    for (; i < 3 && v != 0 && v % 1024 == 0; i++)
        v /= 1024;
    buf_printf(b, "%llu%s", (unsigned long long)v, unit[i]);
}

static void write_bytes(const struct option *o, const void *value, struct buf *b)
{
    buf_printf(b, "%s ", o->name);
    put_units(b, *(const uint64_t *)value);
    buf_putc(b, '\n');
}

static int parse_percent_bytes(const struct option *o, const struct str *argv, uint32_t n, const void *old,
                               bool more, void *out, struct config_error *e)
{
    struct str s = argv[0];
    uint64_t bytes;
    int64_t percent;
    if (num_parse_bytes(s, &bytes)) {
        if (bytes > o->max)
            return out_of_bounds(o, e);
        *(int64_t *)out = (int64_t)bytes;
        return 0;
    }
    if (s.n < 2 || s.p[s.n - 1] != '%' || !num_parse_i64((struct str){s.p, s.n - 1}, &percent) || percent < 0)
        return config_fail(e, ERR_SYNTAX, "argument must be a memory or percent value");
    if (percent > -o->min)
        return config_fail(e, ERR_RANGE, "percentage argument must be less or equal to %lld",
                           (long long)-o->min);
    *(int64_t *)out = -percent;
    return 0;
}

static void format_percent_bytes(const struct option *o, const void *value, struct buf *b)
{
    int64_t v = *(const int64_t *)value;
    if (v < 0)
        buf_printf(b, "%lld%%", (long long)-v);
    else
        buf_printf(b, "%lld", (long long)v);
}

static void write_percent_bytes(const struct option *o, const void *value, struct buf *b)
{
    if (*(const int64_t *)value >= 0) {
        write_bytes(o, value, b);
        return;
    }
    buf_printf(b, "%s ", o->name);
    format_percent_bytes(o, value, b);
    buf_putc(b, '\n');
}

static int parse_octal(const struct option *o, const struct str *argv, uint32_t n, const void *old, bool more,
                       void *out, struct config_error *e)
{
    uint64_t v = 0;
    bool ok = argv[0].n > 0;
    for (size_t i = 0; ok && i < argv[0].n; i++) {
        unsigned digit = (unsigned)(argv[0].p[i] - '0');
        ok = digit <= 7 && v < UINT64_MAX >> 4;
        v = v * 8 + digit;
    }
    if (!ok)
        return config_fail(e, ERR_SYNTAX, "argument couldn't be parsed as an octal number");
    if (v > o->max)
        return config_fail(e, ERR_RANGE, "argument must be between %llo and %llo inclusive",
                           (unsigned long long)o->min, (unsigned long long)o->max);
    *(int64_t *)out = (int64_t)v;
    return 0;
}

static void format_octal(const struct option *o, const void *value, struct buf *b)
{
    buf_printf(b, "%llo", (unsigned long long)*(const int64_t *)value);
}

/* ---- words from a list -------------------------------------------------------------------- */

static int no_such_choice(const struct option *o, struct config_error *e)
{
    char names[512];
    size_t used = 0;
    for (const struct choice *c = o->choices; c->name != NULL && used < sizeof(names); c++)
        used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", used > 0 ? ", " : "", c->name);
    return config_fail(e, ERR_SYNTAX, "argument(s) must be one of the following: %s", names);
}

static const struct choice *find_choice(const struct option *o, struct str word)
{
    for (const struct choice *c = o->choices; c->name != NULL; c++)
        if (str_eq_nocase(word, str_of(c->name)))
            return c;
    return NULL;
}

static int parse_enum(const struct option *o, const struct str *argv, uint32_t n, const void *old, bool more,
                      void *out, struct config_error *e)
{
    const struct choice *c = find_choice(o, argv[0]);
    if (c == NULL)
        return no_such_choice(o, e);
    *(int *)out = c->value;
    return 0;
}

static void format_enum(const struct option *o, const void *value, struct buf *b)
{
    for (const struct choice *c = o->choices; c->name != NULL; c++) {
        if (c->value == *(const int *)value) {
            buf_puts(b, str_of(c->name));
            return;
        }
    }
}

static int parse_flags(const struct option *o, const struct str *argv, uint32_t n, const void *old, bool more,
                       void *out, struct config_error *e)
{
    int set = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct choice *c = find_choice(o, argv[i]);
        if (c == NULL)
            return no_such_choice(o, e);
        set |= c->value;
    }
    if (n == 0)
        return no_such_choice(o, e);
    if ((set & SHUTDOWN_SAVE) && (set & SHUTDOWN_NOSAVE))
        return config_fail(e, ERR_SYNTAX, "shutdown options SAVE and NOSAVE can't be used simultaneously");
    *(int *)out = set;
    return 0;
}

static void format_flags(const struct option *o, const void *value, struct buf *b)
{
    int set = *(const int *)value;
    size_t from = b->n;
    for (const struct choice *c = o->choices; c->name != NULL; c++)
        if (set == c->value || (set & c->value) != 0)
            buf_printf(b, "%s%s", b->n > from ? " " : "", c->name);
}

/* The letters of notify-keyspace-events; A stands for the first ten. */
static const struct {
    char letter;
    int event;
} events[] = {
    {'g', EVENTS_GENERIC},  {'$', EVENTS_STRING}, {'l', EVENTS_LIST},    {'s', EVENTS_SET},
    {'h', EVENTS_HASH},     {'z', EVENTS_ZSET},   {'x', EVENTS_EXPIRED}, {'e', EVENTS_EVICTED},
    {'t', EVENTS_STREAM},   {'d', EVENTS_MODULE}, {'n', EVENTS_NEW},     {'K', EVENTS_KEYSPACE},
    {'E', EVENTS_KEYEVENT}, {'m', EVENTS_MISS},   {'A', EVENTS_ALL},
};

static int parse_events(const struct option *o, const struct str *argv, uint32_t n, const void *old,
                        bool more, void *out, struct config_error *e)
{
    int set = 0;
    for (size_t i = 0; i < argv[0].n; i++) {
        size_t k = 0;
        while (k < ARRAY_LEN(events) && events[k].letter != argv[0].p[i])
            k++;
        if (k == ARRAY_LEN(events))
            return config_fail(e, ERR_SYNTAX, "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.");
        set |= events[k].event;
    }
    *(int *)out = set;
    return 0;
}

static void format_events(const struct option *o, const void *value, struct buf *b)
{
    int set = *(const int *)value, left = set;
    if ((set & EVENTS_ALL) == EVENTS_ALL) {
        buf_putc(b, 'A');
        left &= ~(EVENTS_ALL | EVENTS_NEW); /* Redis does not show n beside A */
    }
    for (size_t i = 0; i < ARRAY_LEN(events) - 1; i++)
        if (left & events[i].event)
            buf_putc(b, events[i].letter);
}

static void write_events(const struct option *o, const void *value, struct buf *b)
{
    buf_printf(b, "%s \"", o->name);
    int set = *(const int *)value;
    format_events(o, value, b);
    if ((set & EVENTS_ALL) == EVENTS_ALL && (set & EVENTS_NEW))
        buf_putc(b, 'n');
    buf_puts(b, STR("\"\n"));
}

/* ---- strings ------------------------------------------------------------------------------ */

static int copy_string(struct str s, char **out, struct config_error *e)
{
    if (memchr(s.p, '\0', s.n) != NULL)
        return config_fail(e, ERR_SYNTAX, "argument must not contain a NUL byte");
    *out = mem_strndup(s.p, s.n);
    return *out != NULL ? 0 : config_fail(e, ERR_OOM, CONFIG_NO_MEMORY);
}

static int parse_string(const struct option *o, const struct str *argv, uint32_t n, const void *old,
                        bool more, void *out, struct config_error *e)
{
    char *copy;
    int err = copy_string(argv[0], &copy, e);
    if (err < 0)
        return err;
    if (o->check != NULL && !o->check(o, copy, e)) {
        mem_free(copy);
        return ERR_SYNTAX;
    }
    *(char **)out = copy;
    return 0;
}

static void format_string(const struct option *o, const void *value, struct buf *b)
{
    buf_puts(b, str_of(*(char *const *)value));
}

static void write_string(const struct option *o, const void *value, struct buf *b)
{
    buf_printf(b, "%s ", o->name);
    buf_put_quoted(b, str_of(*(char *const *)value));
    buf_putc(b, '\n');
}

static void release_string(void *value)
{
    mem_free(*(char **)value);
}

/* replicaof: "host port", or "no one", which is as good as nothing. */
static int parse_primary(const struct option *o, const struct str *argv, uint32_t n, const void *old,
                         bool more, void *out, struct config_error *e)
{
    if (n == 1 && argv[0].n == 0)
        return copy_string(argv[0], out, e);
    if (n != 2)
        return config_fail(e, ERR_SYNTAX, "%s", wrong_number);
    if (str_is(argv[0], "no") && str_is(argv[1], "one"))
        return copy_string(STR(""), out, e);
    int64_t port;
    if (!num_parse_i64(argv[1], &port) || port < 0 || port > 65535)
        return config_fail(e, ERR_SYNTAX, "Invalid master port");
    struct buf text;
    buf_init(&text);
    buf_puts(&text, argv[0]);
    buf_printf(&text, " %d", (int)port);
    int err = text.oom ? config_fail(e, ERR_OOM, CONFIG_NO_MEMORY) : copy_string(buf_str(&text), out, e);
    buf_release(&text);
    return err;
}

/* A primary has no line: an empty replicaof would not load. */
static void write_primary(const struct option *o, const void *value, struct buf *b)
{
    const char *primary = *(char *const *)value;
    if (primary[0] != '\0')
        buf_printf(b, "%s %s\n", o->name, primary);
}

static void release_words(void *value)
{
    struct config_words *w = value;
    for (uint32_t i = 0; i < w->n; i++)
        mem_free(w->v[i]);
}

static int parse_words(const struct option *o, const struct str *argv, uint32_t n, const void *old, bool more,
                       void *out, struct config_error *e)
{
    struct config_words w = {.n = 0};
    if (n > CONFIG_BIND_MAX)
        return config_fail(e, ERR_FULL, "Too many bind addresses specified.");
    if (n == 1 && argv[0].n == 0)
        n = 0;
    for (; w.n < n; w.n++) {
        int err = copy_string(argv[w.n], &w.v[w.n], e);
        if (err < 0) {
            release_words(&w);
            return err;
        }
    }
    *(struct config_words *)out = w;
    return 0;
}

static void format_words(const struct option *o, const void *value, struct buf *b)
{
    const struct config_words *w = value;
    for (uint32_t i = 0; i < w->n; i++)
        buf_printf(b, "%s%s", i > 0 ? " " : "", w->v[i]);
}

static void write_words(const struct option *o, const void *value, struct buf *b)
{
    const struct config_words *w = value;
    buf_puts(b, str_of(o->name));
    for (uint32_t i = 0; i < w->n; i++) {
        buf_putc(b, ' ');
        buf_put_quoted(b, str_of(w->v[i]));
    }
    buf_puts(b, w->n == 0 ? STR(" \"\"\n") : STR("\n"));
}

/* ---- lists of numbers ---------------------------------------------------------------------- */

static int parse_save(const struct option *o, const struct str *argv, uint32_t n, const void *old, bool more,
                      void *out, struct config_error *e)
{
    struct config_save s = {.n = 0};
    bool none = n == 1 && argv[0].n == 0;
    if (more && !none)
        s = *(const struct config_save *)old;
    if (none)
        n = 0;
    if (n % 2 != 0)
        return config_fail(e, ERR_SYNTAX, "Invalid save parameters");
    for (uint32_t i = 0; i < n; i += 2, s.n++) {
        if (s.n == CONFIG_SAVE_MAX)
            return config_fail(e, ERR_FULL, "Too many save points: %d is the most", CONFIG_SAVE_MAX);
        if (!num_parse_i64(argv[i], &s.v[s.n].seconds) || s.v[s.n].seconds < 1 ||
            !num_parse_i64(argv[i + 1], &s.v[s.n].changes) || s.v[s.n].changes < 0)
            return config_fail(e, ERR_SYNTAX, "Invalid save parameters");
    }
    *(struct config_save *)out = s;
    return 0;
}

static void format_save(const struct option *o, const void *value, struct buf *b)
{
    const struct config_save *s = value;
    for (uint32_t i = 0; i < s->n; i++)
        buf_printf(b, "%s%lld %lld", i > 0 ? " " : "", (long long)s->v[i].seconds,
                   (long long)s->v[i].changes);
}

static void write_save(const struct option *o, const void *value, struct buf *b)
{
    const struct config_save *s = value;
    if (s->n == 0)
        buf_printf(b, "%s \"\"\n", o->name);
    for (uint32_t i = 0; i < s->n; i++)
        buf_printf(b, "%s %lld %lld\n", o->name, (long long)s->v[i].seconds, (long long)s->v[i].changes);
}

static int parse_percentiles(const struct option *o, const struct str *argv, uint32_t n, const void *old,
                             bool more, void *out, struct config_error *e)
{
    struct config_percentiles p = {.n = 0};
    if (n == 1 && argv[0].n == 0)
        n = 0;
    if (n > CONFIG_PERCENTILES_MAX)
        return config_fail(e, ERR_FULL, "Too many percentiles: %d is the most", CONFIG_PERCENTILES_MAX);
    for (; p.n < n; p.n++) {
        if (!num_parse_double(argv[p.n], &p.v[p.n]))
            return config_fail(e, ERR_SYNTAX, "Invalid latency-tracking-info-percentiles parameters");
        if (!(p.v[p.n] >= 0 && p.v[p.n] <= 100))
            return config_fail(e, ERR_RANGE,
                               "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]");
    }
    *(struct config_percentiles *)out = p;
    return 0;
}

/* Six decimals, without the zeros at the end. */
static void format_percentiles(const struct option *o, const void *value, struct buf *b)
{
    const struct config_percentiles *p = value;
    for (uint32_t i = 0; i < p->n; i++) {
        char text[32];
        size_t n = (size_t)snprintf(text, sizeof(text), "%f", p->v[i] + 0.0);
        while (n > 0 && text[n - 1] == '0')
            n--;
        if (n > 0 && text[n - 1] == '.')
            n--;
        buf_printf(b, "%s%.*s", i > 0 ? " " : "", (int)n, text);
    }
}

static void write_percentiles(const struct option *o, const void *value, struct buf *b)
{
    buf_printf(b, "%s ", o->name);
    if (((const struct config_percentiles *)value)->n == 0)
        buf_puts(b, STR("\"\""));
    format_percentiles(o, value, b);
    buf_putc(b, '\n');
}

static int parse_oom_values(const struct option *o, const struct str *argv, uint32_t n, const void *old,
                            bool more, void *out, struct config_error *e)
{
    struct config_oom_values values;
    if (n != ARRAY_LEN(values.v))
        return config_fail(e, ERR_SYNTAX, "%s", wrong_number);
    for (uint32_t i = 0; i < n; i++) {
        int64_t v;
        if (!num_parse_i64(argv[i], &v) || v < -2000 || v > 2000)
            return config_fail(e, ERR_RANGE,
                               "Invalid oom-score-adj-values, elements must be between -2000 and 2000.");
        values.v[i] = (int)v;
    }
    *(struct config_oom_values *)out = values;
    return 0;
}

static void format_oom_values(const struct option *o, const void *value, struct buf *b)
{
    const struct config_oom_values *values = value;
    buf_printf(b, "%d %d %d", values->v[0], values->v[1], values->v[2]);
}

/* ---- client-output-buffer-limit -------------------------------------------------------------- */

static int find_class(struct str word)
{
    if (str_is(word, "normal"))
        return CONFIG_CLASS_NORMAL;
    if (str_is(word, "replica") || str_is(word, "slave"))
        return CONFIG_CLASS_REPLICA;
    return str_is(word, "pubsub") ? CONFIG_CLASS_PUBSUB : -1;
}

/* A line changes the classes that it names and leaves the others. */
static int parse_output(const struct option *o, const struct str *argv, uint32_t n, const void *old,
                        bool more, void *out, struct config_error *e)
{
    struct config_output limits = {0};
    if (old != NULL)
        limits = *(const struct config_output *)old;
    if (n == 1 && argv[0].n == 0)
        n = 0;
    if (n % 4 != 0)
        return config_fail(e, ERR_SYNTAX, "Wrong number of arguments in buffer limit configuration.");
    for (uint32_t i = 0; i < n; i += 4) {
        int k = find_class(argv[i]);
        if (k < 0)
            return config_fail(e, ERR_SYNTAX,
                               "Invalid client class specified in buffer limit configuration.");
        if (!num_parse_bytes(argv[i + 1], &limits.of[k].hard) ||
            !num_parse_bytes(argv[i + 2], &limits.of[k].soft) ||
            !num_parse_i64(argv[i + 3], &limits.of[k].soft_seconds) || limits.of[k].soft_seconds < 0)
            return config_fail(e, ERR_SYNTAX,
                               "Error in hard, soft or soft_seconds setting in buffer limit configuration.");
    }
    *(struct config_output *)out = limits;
    return 0;
}

static void format_output(const struct option *o, const void *value, struct buf *b)
{
    static const char *const name[CONFIG_CLASSES] = {"normal", "slave", "pubsub"};
    const struct config_output *limits = value;
    for (int k = 0; k < CONFIG_CLASSES; k++)
        buf_printf(b, "%s%s %llu %llu %lld", k > 0 ? " " : "", name[k],
                   (unsigned long long)limits->of[k].hard, (unsigned long long)limits->of[k].soft,
                   (long long)limits->of[k].soft_seconds);
}

static void write_output(const struct option *o, const void *value, struct buf *b)
{
    static const char *const name[CONFIG_CLASSES] = {"normal", "replica", "pubsub"};
    const struct config_output *limits = value;
    for (int k = 0; k < CONFIG_CLASSES; k++) {
        buf_printf(b, "%s %s ", o->name, name[k]);
        put_units(b, limits->of[k].hard);
        buf_putc(b, ' ');
        put_units(b, limits->of[k].soft);
        buf_printf(b, " %lld\n", (long long)limits->of[k].soft_seconds);
    }
}

/* ---- the types ----------------------------------------------------------------------------- */

const struct option_ops option_ops[OPTION_TYPES] = {
    [OPTION_BOOL] = {sizeof(bool), false, parse_bool, format_bool, NULL, NULL},
    [OPTION_INT] = {sizeof(int64_t), false, parse_int, format_int, NULL, NULL},
    [OPTION_BYTES] = {sizeof(uint64_t), false, parse_bytes, format_bytes, write_bytes, NULL},
    [OPTION_PERCENT_BYTES] = {sizeof(int64_t), false, parse_percent_bytes, format_percent_bytes,
                              write_percent_bytes, NULL},
    [OPTION_OCTAL] = {sizeof(int64_t), false, parse_octal, format_octal, NULL, NULL},
    [OPTION_ENUM] = {sizeof(int), false, parse_enum, format_enum, NULL, NULL},
    [OPTION_FLAGS] = {sizeof(int), true, parse_flags, format_flags, NULL, NULL},
    [OPTION_EVENTS] = {sizeof(int), false, parse_events, format_events, write_events, NULL},
    [OPTION_STRING] = {sizeof(char *), false, parse_string, format_string, write_string, release_string},
    [OPTION_SECRET] = {sizeof(struct config_secret), false, config_parse_secret, config_format_secret,
                       config_write_secret, config_release_secret},
    [OPTION_PRIMARY] = {sizeof(char *), true, parse_primary, format_string, write_primary, release_string},
    [OPTION_WORDS] = {sizeof(struct config_words), true, parse_words, format_words, write_words,
                      release_words},
    [OPTION_SAVE] = {sizeof(struct config_save), true, parse_save, format_save, write_save, NULL},
    [OPTION_BUDGETS] = {sizeof(struct config_budgets), true, config_parse_budgets, config_format_budgets,
                        config_write_budgets, NULL},
    [OPTION_PERCENTILES] = {sizeof(struct config_percentiles), true, parse_percentiles, format_percentiles,
                            write_percentiles, NULL},
    [OPTION_OUTPUT] = {sizeof(struct config_output), true, parse_output, format_output, write_output, NULL},
    [OPTION_OOM_VALUES] = {sizeof(struct config_oom_values), true, parse_oom_values, format_oom_values, NULL,
                           NULL},
};
