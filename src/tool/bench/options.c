/* One table of options: name, bounds, where the value goes, and its help. The text of
 * --help is made from the same rows. What concerns several options at once is
 * checked at the end, in check(). */
#include "tool/bench/options.h"

#include "base/err.h"
#include "base/num.h"
#include "proto/request.h"
#include "tool/bench/template.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum kind { FLAG, TEXT, COUNT, REAL, CHOICE, SPREAD, RATIO, CPUS };

struct row {
    const char *name;
    char letter; /* 0: none */
    enum kind kind;
    size_t at; /* offset in struct options */
    double min, max;
    const char *words; /* CHOICE: "first|second", the enum in this order */
    const char *argument, *help;
};

#define AT(field) offsetof(struct options, field)

/* A row without a name begins a group. */
static const struct row rows[] = {
    {.help = "The server"},
    {"host", 'h', TEXT, AT(host), 0, 0, NULL, "NAME", "host to connect to (127.0.0.1)"},
    {"port", 'p', COUNT, AT(port), 1, 65535, NULL, "N", "its port (6379; memcached: 11211)"},
    {"socket", 's', TEXT, AT(socket), 0, 0, NULL, "PATH", "Unix socket, instead of host and port"},
    {"protocol", 0, CHOICE, AT(protocol), 0, 0, "resp|memcached", "P", "resp, or memcached's text protocol"},
    {"resp3", 0, FLAG, AT(resp3), 0, 0, NULL, NULL, "speak RESP3 (HELLO 3)"},
    {"user", 0, TEXT, AT(user), 0, 0, NULL, "NAME", "user for AUTH (default)"},
    {"password", 'a', TEXT, AT(password), 0, 0, NULL, "P",
     "password; better: in the environment as REDISCLI_AUTH"},
    {"db", 0, COUNT, AT(db), 0, 1e6, NULL, "N", "database to SELECT"},
    {.help = "How it is driven"},
    {"clients", 'c', COUNT, AT(clients), 1, OPTIONS_CLIENTS_MAX, NULL, "N",
     "connections, over all threads (50)"},
    {"threads", 't', COUNT, AT(threads), 1, OPTIONS_THREADS_MAX, NULL, "N", "threads (1)"},
    {"pipeline", 'P', COUNT, AT(pipeline), 1, OPTIONS_PIPELINE_MAX, NULL, "N",
     "requests sent at once on a connection; the next ones follow when all of them are answered (1)"},
    {"rate", 0, REAL, AT(rate), 1, 1e9, NULL, "R",
     "open loop: R requests a second are due whether or not the server keeps up; a due pipeline takes a free "
     "connection or waits for one, and latency counts from when it was due"},
    {"arrivals", 0, CHOICE, AT(arrivals), 0, 0, "even|poisson", "A",
     "spacing of --rate: even or poisson (even)"},
    {"requests", 'n', COUNT, AT(requests), 0, 1e18, NULL, "N",
     "stop after N requests; 0 with --load: the load is the measurement"},
    {"seconds", 0, REAL, AT(seconds), 0.001, 1e9, NULL, "S", "stop after S seconds (10)"},
    {"warmup", 0, REAL, AT(warmup_s), 0, 1e9, NULL, "S", "run S seconds first that do not count"},
    {"load", 0, FLAG, AT(load), 0, 0, NULL, NULL, "first SET each key once, in order"},
    {.help = "What it is asked"},
    {"ratio", 0, RATIO, AT(gets), 0, 0, NULL, "G:S", "GETs to SETs, in turn (10:1)"},
    {"command", 0, TEXT, AT(command), 0, 0, NULL, "TEXT",
     "any command instead; __key__ and __value__ stand for a key and a value"},
    {"value-size", 'd', SPREAD, AT(value_size), 0, TEMPLATE_VALUE_MAX, NULL, "SIZE",
     "bytes: 100, 64-4kb (uniform) or lognormal:MEDIAN:SIGMA, cut at 1 MB (100)"},
    {"ttl", 0, SPREAD, AT(ttl_s), 1, 1e9, NULL, "SECONDS", "time to live of each SET: 60 or 60-3600"},
    {.help = "Keys"},
    {"keys", 'r', COUNT, AT(keys), 1, 1e18, NULL, "N", "how many there are (100000)"},
    {"key-size", 0, COUNT, AT(key_size), 1, TEMPLATE_KEY_MAX, NULL, "N", "bytes of a key (16)"},
    {"key-prefix", 0, TEXT, AT(key_prefix), 0, 0, NULL, "TEXT", "what it begins with; digits follow (key:)"},
    {"distribution", 0, CHOICE, AT(distribution), 0, 0, "uniform|zipf|sequential", "D",
     "uniform, zipf or sequential (uniform)"},
    {"theta", 0, REAL, AT(theta), 0.01, KEYDIST_THETA_MAX, NULL, "T", "zipf's exponent (0.99)"},
    {"seed", 0, COUNT, AT(seed), 0, 1e18, NULL, "N", "of the random numbers (1)"},
    {.help = "Measuring and telling"},
    {"cpu", 0, CPUS, AT(cpus), 0, 0, NULL, "LIST", "run on these CPUs only: 1 or 0,2-3"},
    {"server-pid", 0, COUNT, AT(server_pid), 1, 4194304, NULL, "P",
     "tell the CPU time that process P spends a request"},
    {"output", 0, CHOICE, AT(output), 0, 0, "text|csv|json", "F", "text, csv or json (text)"},
    {"quiet", 0, FLAG, AT(quiet), 0, 0, NULL, NULL, "no progress line"},
};

static const char examples[] =
    "Examples\n"
    "  larder bench --load\n"
    "      100,000 keys, then 10 seconds of 10 GETs to 1 SET on 50 connections\n"
    "  larder bench -p 7000 -P 16 --rate 1000000 --warmup 2 --cpu 1 --server-pid $(pidof larder-server)\n"
    "      a million requests a second on schedule: does the server keep p99 below a millisecond?\n"
    "  larder bench --distribution zipf --keys 1m --value-size lognormal:300:1.2 --ttl 60-3600\n"
    "      cache-like traffic: a few hot keys, many small values, entries that expire\n"
    "  larder bench --command 'HSET h:__key__ field __value__' -n 1m --output json\n"
    "      any command, exactly a million of them, for a program to read\n"
    "  larder bench --protocol memcached --load -P 16\n"
    "      the same load on memcached\n";

static enum options_verdict wrong(struct options_error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

static enum options_verdict wrong(struct options_error *err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
    return OPTIONS_WRONG;
}

static enum options_verdict set_count(const struct row *row, const char *text, void *to,
                                      struct options_error *err)
{
    uint64_t v;
    if (!num_parse_bytes(str_of(text), &v))
        return wrong(err, "--%s %s is not a whole number", row->name, text);
    if ((double)v < row->min || (double)v > row->max)
        return wrong(err, "--%s %s is outside %.0f to %.0f", row->name, text, row->min, row->max);
    *(uint64_t *)to = v;
    return OPTIONS_OK;
}

static enum options_verdict set_real(const struct row *row, const char *text, void *to,
                                     struct options_error *err)
{
    double v;
    if (!num_parse_double(str_of(text), &v))
        return wrong(err, "--%s %s is not a number", row->name, text);
    if (v < row->min || v > row->max)
        return wrong(err, "--%s %s is outside %g to %g", row->name, text, row->min, row->max);
    *(double *)to = v;
    return OPTIONS_OK;
}

static enum options_verdict set_choice(const struct row *row, const char *text, void *to,
                                       struct options_error *err)
{
    const char *at = row->words;
    for (int i = 0; *at; i++) {
        size_t n = strcspn(at, "|");
        if (str_eq_nocase((struct str){at, n}, str_of(text))) {
            *(int *)to = i; /* an enum, which gcc and clang keep in an int */
            return OPTIONS_OK;
        }
        at += n + (at[n] == '|');
    }
    return wrong(err, "--%s %s is none of %s", row->name, text, row->words);
}

static enum options_verdict set_spread(const struct row *row, const char *text, void *to,
                                       struct options_error *err)
{
    int rc = spread_parse(text, (uint64_t)row->min, (uint64_t)row->max, to);
    if (rc == ERR_RANGE)
        return wrong(err, "--%s %s: sizes run from %.0f to %.0f, ranges upward, sigma from 0 to %g",
                     row->name, text, row->min, row->max, SPREAD_SIGMA_MAX);
    if (rc < 0)
        return wrong(err, "--%s %s is neither N, nor N-M, nor lognormal:MEDIAN:SIGMA", row->name, text);
    return OPTIONS_OK;
}

static enum options_verdict set_ratio(const char *text, struct options *o, struct options_error *err)
{
    const char *colon = strchr(text, ':');
    uint64_t gets, sets;
    if (colon == NULL || !num_parse_u64((struct str){text, (size_t)(colon - text)}, &gets) ||
        !num_parse_u64(str_of(colon + 1), &sets))
        return wrong(err, "--ratio %s is not GETS:SETS, such as 10:1 or 0:1", text);
    if (gets + sets == 0 || gets > 10000 || sets > 10000)
        return wrong(err, "--ratio %s: each side runs from 0 to 10000, and one must not be 0", text);
    o->gets = gets;
    o->sets = sets;
    return OPTIONS_OK;
}

/* "2" or "2-5" at *at, which is left behind it. */
static bool parse_cpus(const char **at, cpu_set_t *cpus)
{
    uint64_t first, last;
    size_t n = strcspn(*at, ",-");
    if (!num_parse_u64((struct str){*at, n}, &first))
        return false;
    *at += n;
    last = first;
    if (**at == '-') {
        n = strcspn(++*at, ",");
        if (!num_parse_u64((struct str){*at, n}, &last))
            return false;
        *at += n;
    }
    if (last < first || last >= CPU_SETSIZE)
        return false;
    for (uint64_t cpu = first; cpu <= last; cpu++)
        CPU_SET(cpu, cpus);
    return true;
}

static enum options_verdict set_cpus(const char *text, struct options *o, struct options_error *err)
{
    const char *at = text;
    CPU_ZERO(&o->cpus);
    o->pinned = parse_cpus(&at, &o->cpus);
    while (o->pinned && *at == ',') {
        at++;
        o->pinned = parse_cpus(&at, &o->cpus);
    }
    if (!o->pinned || *at)
        return wrong(err, "--cpu %s is not a list such as 1 or 0,2-3", text);
    return OPTIONS_OK;
}

static enum options_verdict set(const struct row *row, const char *text, struct options *o,
                                struct options_error *err)
{
    void *to = (char *)o + row->at;
    switch (row->kind) {
    case FLAG: *(bool *)to = true; return OPTIONS_OK;
    case TEXT: *(const char **)to = text; return OPTIONS_OK;
    case COUNT: return set_count(row, text, to, err);
    case REAL: return set_real(row, text, to, err);
    case CHOICE: return set_choice(row, text, to, err);
    case SPREAD: return set_spread(row, text, to, err);
    case RATIO: return set_ratio(text, o, err);
    case CPUS: return set_cpus(text, o, err);
    }
    return OPTIONS_WRONG;
}

static enum options_verdict unknown(struct str name, struct options_error *err)
{
    const struct row *near = NULL;
    unsigned best = 4;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        unsigned d = rows[i].name ? str_distance(name, str_of(rows[i].name), best) : best;
        if (d < best) {
            best = d;
            near = &rows[i];
        }
    }
    if (near == NULL)
        return wrong(err, "there is no option --%.*s", (int)name.n, name.p);
    return wrong(err, "there is no option --%.*s; did you mean --%s?", (int)name.n, name.p, near->name);
}

static const struct row *find(struct str name, char letter)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].name && (letter ? rows[i].letter == letter : str_eq(name, str_of(rows[i].name))))
            return &rows[i];
    return NULL;
}

static enum options_verdict check_keys(const struct options *o, struct options_error *err)
{
    char last[NUM_I64_TEXT_MAX];
    size_t digits = num_put_u64(last, o->keys - 1), prefix = strlen(o->key_prefix);
    if (o->protocol == SCAN_MEMCACHED && o->key_size > OPTIONS_MEMCACHED_KEY_MAX)
        return wrong(err, "--key-size %lu: memcached's keys have at most %d bytes",
                     (unsigned long)o->key_size, OPTIONS_MEMCACHED_KEY_MAX);
    if (o->protocol == SCAN_MEMCACHED && strpbrk(o->key_prefix, " \t\r\n"))
        return wrong(err, "--key-prefix '%s': memcached's keys hold no spaces", o->key_prefix);
    if (prefix + digits > o->key_size)
        return wrong(
            err, "--key-size %lu cannot hold the prefix '%s' and the %zu digits of %lu keys; make it %zu",
            (unsigned long)o->key_size, o->key_prefix, digits, (unsigned long)o->keys, prefix + digits);
    return OPTIONS_OK;
}

static enum options_verdict check_value_size(struct options *o, struct options_error *err)
{
    struct spread *v = &o->value_size;
    if (v->kind != SPREAD_LOGNORMAL)
        return OPTIONS_OK;
    if (v->median > OPTIONS_LOGNORMAL_MAX)
        return wrong(err, "--value-size lognormal: a median of at most %d", OPTIONS_LOGNORMAL_MAX);
    v->high = OPTIONS_LOGNORMAL_MAX;
    return OPTIONS_OK;
}

static enum options_verdict check_command(struct options *o, struct options_error *err)
{
    if (o->command == NULL)
        return OPTIONS_OK;
    int rc = request_split_line(str_of(o->command), &o->arena, &o->words, &o->nwords, TEMPLATE_WORDS_MAX);
    if (rc < 0)
        return wrong(err, "--command %s: %s", o->command,
                     rc == ERR_SYNTAX ? "unbalanced quotes" : err_name(rc));
    if (o->nwords == 0)
        return wrong(err, "--command is empty");
    return OPTIONS_OK;
}

static enum options_verdict check_memcached(const struct options *o, struct options_error *err)
{
    if (o->protocol != SCAN_MEMCACHED)
        return OPTIONS_OK;
    if (o->user || o->password || o->resp3 || o->db || o->command)
        return wrong(err, "--user, --password, --resp3, --db and --command belong to --protocol resp");
    if (o->ttl_s.high > 30 * 86400)
        return wrong(err, "--ttl: memcached takes more than 30 days (2592000) for a date");
    return OPTIONS_OK;
}

static enum options_verdict check(struct options *o, struct options_error *err)
{
    if (o->protocol == SCAN_RESP && o->password == NULL)
        o->password = getenv("REDISCLI_AUTH");
    if (o->port == 0)
        o->port = o->protocol == SCAN_MEMCACHED ? 11211 : 6379;
    if (o->requests != UINT64_MAX && o->seconds > 0)
        return wrong(err, "--requests and --seconds exclude each other");
    if (o->requests == 0 && !o->load)
        return wrong(err, "--requests 0 leaves nothing to do without --load");
    if (o->requests == UINT64_MAX && o->seconds == 0)
        o->seconds = 10;
    if (o->threads > o->clients)
        return wrong(err, "--threads %lu: every thread needs a connection, and there are %lu --clients",
                     (unsigned long)o->threads, (unsigned long)o->clients);
    if (o->user && !o->password)
        return wrong(err, "--user needs a --password");
    enum options_verdict v = check_keys(o, err);
    if (v == OPTIONS_OK)
        v = check_value_size(o, err);
    if (v == OPTIONS_OK)
        v = check_command(o, err);
    return v == OPTIONS_OK ? check_memcached(o, err) : v;
}

static void set_defaults(struct options *o)
{
    *o = (struct options){
        .host = "127.0.0.1",
        .clients = 50,
        .threads = 1,
        .pipeline = 1,
        .requests = UINT64_MAX,
        .gets = 10,
        .sets = 1,
        .value_size = {.kind = SPREAD_FIXED, .low = 100, .high = 100},
        .keys = 100000,
        .key_size = 16,
        .seed = 1,
        .key_prefix = "key:",
        .theta = 0.99,
    };
    arena_init(&o->arena);
}

/* One option at argv[*i]; *i is left at the last word it took. */
static enum options_verdict parse_one(int argc, char **argv, int *i, struct options *o,
                                      struct options_error *err)
{
    const char *word = argv[*i], *value = NULL;
    const struct row *row;
    if (strncmp(word, "--", 2) == 0) {
        size_t n = strcspn(word + 2, "=");
        value = word[2 + n] == '=' ? word + 2 + n + 1 : NULL;
        row = find((struct str){word + 2, n}, 0);
        if (row == NULL)
            return unknown((struct str){word + 2, n}, err);
    } else {
        row = word[0] == '-' && word[1] && !word[2] ? find(STR(""), word[1]) : NULL;
        if (row == NULL)
            return wrong(err, "%s is not an option", word);
    }
    if (row->kind == FLAG && value)
        return wrong(err, "--%s takes no value", row->name);
    if (row->kind != FLAG && value == NULL) {
        if (*i + 1 == argc)
            return wrong(err, "--%s needs a value: %s", row->name, row->argument);
        value = argv[++*i];
    }
    return set(row, value, o, err);
}

enum options_verdict options_parse(int argc, char **argv, struct options *o, struct options_error *err)
{
    set_defaults(o);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0)
            return OPTIONS_HELP;
        enum options_verdict v = parse_one(argc, argv, &i, o, err);
        if (v != OPTIONS_OK)
            return v;
    }
    return check(o, err);
}

void options_release(struct options *o)
{
    arena_release(&o->arena);
}

/* Text from column 30 on, broken at spaces before column 100. */
static void print_help_text(FILE *to, const char *text)
{
    const size_t width = 70;
    while (strlen(text) > width) {
        size_t n = width;
        while (text[n] != ' ')
            n--;
        fprintf(to, "%.*s\n%30s", (int)n, text, "");
        text += n + 1;
    }
    fprintf(to, "%s\n", text);
}

void options_help(FILE *to)
{
    fprintf(to, "larder bench: drive a cache server, measure its latency and throughput\n\n"
                "usage: larder bench [option ...]\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        if (r->name == NULL) {
            fprintf(to, "\n%s\n", r->help);
            continue;
        }
        char left[40];
        snprintf(left, sizeof left, "--%s%s%s", r->name, r->argument ? " " : "",
                 r->argument ? r->argument : "");
        fprintf(to, "  %c%c%c %-23s ", r->letter ? '-' : ' ', r->letter ? r->letter : ' ',
                r->letter ? ',' : ' ', left);
        print_help_text(to, r->help);
    }
    fprintf(to, "      %-23s this text\n\n%s", "--help", examples);
}

void options_address(const struct options *o, char *out, size_t n)
{
    if (o->socket)
        snprintf(out, n, "%s", o->socket);
    else
        snprintf(out, n, strchr(o->host, ':') ? "[%s]:%lu" : "%s:%lu", o->host, (unsigned long)o->port);
}
