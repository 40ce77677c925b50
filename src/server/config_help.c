/* Texts made from the table: --version, --help, docs/configuration.md. */
#include "server/config.h"

#include "server/config_internal.h"

#include <limits.h>

int config_version_text(struct buf *out)
{
    return buf_printf(out, "larder %s\n", LARDER_VERSION);
}

/* ---- --help -------------------------------------------------------------------------------- */

static void help_option(const struct option *o, struct buf *out)
{
    bool words =
        o->dflt[0] == '\0' || option_ops_of(o)->multi || memchr(o->dflt, ' ', strlen(o->dflt)) != NULL;
    if (words)
        buf_printf(out, "  --%-34s %s", o->name, o->help);
    else
        buf_printf(out, "  --%-34s %s (%s)", o->name, o->help, o->dflt);
    buf_putc(out, '\n');
}

static bool section_has_implemented(const struct option *section)
{
    for (const struct option *o = section + 1; o < option_table + option_count && o->name != NULL; o++)
        if (o->status == OPTION_IMPLEMENTED && !(o->flags & HIDDEN))
            return true;
    return false;
}

int config_help_text(struct buf *out)
{
    buf_puts(out, STR("Usage: larder-server [/path/to/larder.conf] [options] [-]\n"
                      "       larder-server -                 (read the configuration from standard input)\n"
                      "       larder-server -v or --version\n"
                      "       larder-server -h or --help\n"
                      "\n"
                      "A configuration file has a line for each option, as redis.conf does; on the command\n"
                      "line an option is --name followed by its value. File, then standard input, then\n"
                      "options: the last value wins.\n"
                      "\n"
                      "Examples:\n"
                      "       larder-server --port 7000 --maxmemory 4gb\n"
                      "       larder-server /etc/larder/larder.conf --loglevel verbose\n"
                      "       echo 'port 7000' | larder-server -\n"));
    for (const struct option *o = option_table; o < option_table + option_count; o++) {
        if (o->name == NULL) {
            if (section_has_implemented(o))
                buf_printf(out, "\n%s:\n", o->help);
        } else if (o->status == OPTION_IMPLEMENTED && !(o->flags & HIDDEN)) {
            help_option(o, out);
        }
    }
    buf_puts(out, STR("\nEvery other option of Redis 7.2 is known too; docs/configuration.md says what each\n"
                      "of them means here.\n"));
    return out->oom ? ERR_OOM : 0;
}

/* ---- docs/configuration.md -------------------------------------------------------------------- */

static const char *limit_name(uint64_t v)
{
    switch (v) {
    case INT_MAX: return "2^31-1";
    case UINT_MAX: return "2^32-1";
    case LONG_MAX: return "2^63-1";
    case ULONG_MAX: return "2^64-1";
    }
    return NULL;
}

static void docs_bounds(const struct option *o, struct buf *out)
{
    const char *name = limit_name(o->max);
    if (o->min == INT_MIN)
        buf_puts(out, STR("-2^31"));
    else
        buf_printf(out, "%lld", (long long)o->min);
    if (name != NULL)
        buf_printf(out, " to %s", name);
    else
        buf_printf(out, " to %llu", (unsigned long long)o->max);
}

static void docs_values(const struct option *o, struct buf *out)
{
    switch ((enum option_type)o->type) {
    case OPTION_BOOL: buf_puts(out, STR("yes, no")); break;
    case OPTION_INT: docs_bounds(o, out); break;
    case OPTION_BYTES:
        docs_bounds(o, out);
        buf_puts(out, STR(" bytes"));
        break;
    case OPTION_PERCENT_BYTES: buf_puts(out, STR("bytes, or 0% to 100%")); break;
    case OPTION_OCTAL:
        buf_printf(out, "octal, %llo to %llo", (unsigned long long)o->min, (unsigned long long)o->max);
        break;
    case OPTION_ENUM:
    case OPTION_FLAGS:
        for (const struct choice *c = o->choices; c->name != NULL; c++)
            buf_printf(out, "%s%s", c == o->choices ? "" : ", ", c->name);
        break;
    case OPTION_EVENTS: buf_puts(out, STR("letters")); break;
    case OPTION_STRING:
    case OPTION_SECRET: buf_puts(out, STR("text")); break;
    case OPTION_PRIMARY: buf_puts(out, STR("host and port")); break;
    case OPTION_WORDS: buf_printf(out, "up to %d addresses", CONFIG_BIND_MAX); break;
    case OPTION_SAVE: buf_puts(out, STR("pairs of seconds and changes")); break;
    case OPTION_BUDGETS: buf_puts(out, STR("pairs of a prefix and a number of leases")); break;
    case OPTION_PERCENTILES: buf_puts(out, STR("numbers, 0 to 100")); break;
    case OPTION_OUTPUT: buf_puts(out, STR("class, hard limit, soft limit, seconds")); break;
    case OPTION_OOM_VALUES: buf_puts(out, STR("three numbers, -2000 to 2000")); break;
    case OPTION_TYPES: break;
    }
}

/* A '|' would end the table's cell. */
static void docs_text(const char *s, struct buf *out)
{
    for (; *s != '\0'; s++) {
        if (*s == '|')
            buf_putc(out, '\\');
        buf_putc(out, *s);
    }
}

static const char *docs_change(const struct option *o)
{
    if (o->flags & IMMUTABLE)
        return "at start";
    return o->flags & PROTECTED ? "guarded" : "any time";
}

static void docs_option(const struct option *o, struct buf *out)
{
    buf_printf(out, "| `%s`", o->name);
    if (o->alias != NULL)
        buf_printf(out, " (`%s`)", o->alias);
    buf_puts(out, o->dflt[0] == '\0' ? STR(" | none | ") : STR(" | `"));
    if (o->dflt[0] != '\0')
        buf_printf(out, "%s` | ", o->dflt);
    docs_values(o, out);
    buf_printf(out, " | %s | ", docs_change(o));
    docs_text(o->help, out);
    buf_putc(out, '.');
    if (o->note != NULL) {
        buf_puts(out, o->status == OPTION_REFUSED ? STR(" **Refused** unless default: ")
                                                  : STR(" *Changes nothing*: "));
        docs_text(o->note, out);
        buf_putc(out, '.');
    }
    buf_puts(out, STR(" |\n"));
}

static void docs_directives(struct buf *out)
{
    buf_puts(out, STR("\n## Other lines of a file\n\n| line | meaning |\n|---|---|\n"));
    for (uint32_t i = 0; i < directive_count; i++) {
        const struct directive *d = &directive_table[i];
        buf_printf(out, "| `%s` | %s.", d->name, d->help);
        if (d->note != NULL)
            buf_printf(out, " %s: %s.", d->ignored ? "*Changes nothing*" : "**Refused**", d->note);
        buf_puts(out, STR(" |\n"));
    }
}

int config_docs_text(struct buf *out)
{
    buf_puts(
        out,
        STR("# Configuration\n"
            "\n"
            "<!-- Made from src/server/options.def by `larder-server --dump-config-docs`: do not edit. -->\n"
            "\n"
            "larder-server reads files in the format of redis.conf, `--option value` on the command line "
            "and,\n"
            "with `-`, standard input. File, then standard input, then options: the last value wins.\n"
            "\n"
            "Every option of Redis 7.2 is known. It works; or it is accepted, so that a file written for\n"
            "Redis can be used, but changes nothing: a value that is not the default is then logged once at\n"
            "start; or it is refused with its reason, because to ignore it would be dangerous. Any other\n"
            "name, and any bad value, stops the start and says in which file and line it stands.\n"
            "\n"
            "`CONFIG SET` changes several options at once, all of them or none. The column *change* says "
            "when:\n"
            "*any time*, *guarded* (only where `enable-protected-configs` allows it) or *at start*. `CONFIG\n"
            "REWRITE` writes the present values back to the file and leaves comments and order alone.\n"
            "\n"
            "Bytes may have a unit: `1k` is 1000, `1kb` 1024; `m`, `mb`, `g`, `gb` likewise.\n"));
    for (const struct option *o = option_table; o < option_table + option_count; o++) {
        if (o->name == NULL)
            buf_printf(out,
                       "\n## %s\n\n| option | default | values | change | meaning |\n|---|---|---|---|---|\n",
                       o->help);
        else if (!(o->flags & HIDDEN))
            docs_option(o, out);
    }
    docs_directives(out);
    return out->oom ? ERR_OOM : 0;
}
