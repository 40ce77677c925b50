/* liblarder by hand, for tests: a line in, a call, a line out.
 *
 *      open ADDRESSES [option=value ...]       close
 *      get K | set K V [TTL] | del K | exists K | expire K TTL | incr K N
 *      mget K... | mset K V ... | mdel K...    cmd WORD... | pipe WORD... ; WORD... | scan [PATTERN]
 *      where K | add ADDRESS WEIGHT | remove ADDRESS | stats
 *      storm THREADS ROUNDS | loop COUNT       tick MICROSECONDS: signals from now on
 *
 *      loader [value=V] [delay=MS] [until=FILE] [says=STATUS] [version=N] [ttl=MS]
 *                                              what loaders and writers do from now on; until there is a file
 *      option [NAME=N ...] [tag=T ...]         of fetches and writes from now on; alone: the defaults
 *      fetch K                                 STATUS FRESHNESS VERSION "VALUE" loads=N
 *      rush THREADS K                          all fetch it at once: ok= miss= failed= values= loads=
 *      write K                                 the writer is the loader
 *      inv K | soft K | hold K VERSION MS | tag TAG | pattern GLOB | getv K V | setv K V VALUE
 *      loads                                   how many there have been, when none is under way
 *
 *      frail N LINE                            the line, with the N-th allocation failing; says whether one
 * did (larder-client-frail only)
 *
 * The answer is "STATUS ...", STATUS being larder_status_name() with dashes. A call that outlived its
 * deadline by more than SLACK_MS is marked " LATE". */
#include "prompt.h"
#include "xor.h"

#ifdef LARDER_TEST_FRAIL
#include "base/alloc.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { LINE_MAX_BYTES = 1 << 20 };

int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void sleep_ms(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

/* ---- words ---- */

struct larder_bytes word(const struct prompt *p, int i)
{
    return larder_text(i < p->n ? p->words[i] : "");
}

int64_t number(const struct prompt *p, int i)
{
    return i < p->n ? strtoll(p->words[i], NULL, 10) : 0;
}

const char *setting(struct prompt *p, int i, const char **name)
{
    char *value = i < p->n ? strchr(p->words[i], '=') : NULL;
    if (value == NULL)
        return NULL;
    *value = '\0';
    *name = p->words[i];
    return value + 1;
}

void say_status(const struct prompt *p, int status)
{
    for (const char *c = larder_status_name(status); *c != '\0'; c++)
        putchar(*c == ' ' ? '-' : *c);
    if (status < 0)
        printf(" %s", p->err.text);
}

void say_bytes(struct larder_bytes b)
{
    putchar('"');
    for (size_t i = 0; i < b.n; i++) {
        unsigned char c = ((const unsigned char *)b.p)[i];
        if (c < ' ' || c > '~' || c == '"' || c == '\\')
            printf("\\x%02x", c);
        else
            putchar(c);
    }
    putchar('"');
}

/* ---- open ---- */

static bool set_option(struct larder_options *o, const char *name, const char *value)
{
    const struct {
        const char *name;
        unsigned *place;
    } numbers[] = {
        {"connect_timeout_ms", &o->connect_timeout_ms},
        {"command_timeout_ms", &o->command_timeout_ms},
        {"deadline_ms", &o->deadline_ms},
        {"retries", &o->retries},
        {"backoff_ms", &o->backoff_ms},
        {"backoff_max_ms", &o->backoff_max_ms},
        {"retry_percent", &o->retry_percent},
        {"connections", &o->connections},
        {"breaker_failures", &o->breaker_failures},
        {"breaker_ms", &o->breaker_ms},
        {"topology", (unsigned *)&o->topology},
        {"database", (unsigned *)&o->database},
        {"resp", (unsigned *)&o->resp},
        {"failover", (unsigned *)&o->failover},
        {"retry_unsafe", (unsigned *)&o->retry_unsafe},
        {"read_from", (unsigned *)&o->read_from},
        {"placement", (unsigned *)&o->placement},
    };
    const struct {
        const char *name;
        const char **place;
    } texts[] = {{"user", &o->user}, {"password", &o->password}, {"client_name", &o->client_name}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(name, numbers[i].name) == 0) {
            *numbers[i].place = (unsigned)strtoul(value, NULL, 10);
            return true;
        }
    }
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(name, texts[i].name) == 0) {
            *texts[i].place = value;
            return true;
        }
    }
    if (strcmp(name, "standin_ttl_ms") == 0)
        o->standin_ttl_ms = strtoll(value, NULL, 10);
    else if (strcmp(name, "ttl_ms") == 0)
        o->ttl_ms = strtoll(value, NULL, 10);
    else if (strcmp(name, "transport") == 0)
        o->transport = strcmp(value, "xor") == 0 ? &xor_transport : NULL;
    else
        return false;
    return true;
}

static void do_open(struct prompt *p)
{
    larder_close(p->l);
    p->l = NULL;
    larder_options_init(&p->options);
    const char *name, *value;
    for (int i = 2; (value = setting(p, i, &name)) != NULL; i++) {
        if (!set_option(&p->options, name, value)) {
            printf("no such option: %s", name);
            return;
        }
    }
    int status = larder_open(p->words[1], &p->options, &p->l, &p->err);
    say_status(p, status);
    if (status == 0)
        printf(" %d", larder_topology_of(p->l));
}

/* ---- lines ---- */

static const struct verb *find(const struct verb *verbs, const char *name)
{
    for (; verbs->name != NULL; verbs++)
        if (strcmp(verbs->name, name) == 0)
            return verbs;
    return NULL;
}

static void run_line(struct prompt *p)
{
    const char *name = p->words[0];
    const struct verb *verb = find(call_verbs, name);
    if (verb == NULL)
        verb = find(pattern_verbs, name);
    int64_t begun = now_ms();
    if (strcmp(name, "open") == 0) {
        do_open(p);
    } else if (strcmp(name, "close") == 0 || p->l == NULL) {
        larder_close(p->l);
        p->l = NULL;
        printf("closed ");
        xor_report();
    } else if (verb != NULL) {
        verb->run(p);
    } else {
        printf("what?");
    }
    if (verb != NULL && verb->timed && now_ms() - begun > p->options.deadline_ms + SLACK_MS)
        printf(" LATE");
}

#ifdef LARDER_TEST_FRAIL
static void run_frail(struct prompt *p)
{
    int64_t n = number(p, 1);
    p->n -= 2;
    memmove(p->words, p->words + 2, (size_t)p->n * sizeof p->words[0]);
    alloc_fail_after(n);
    run_line(p);
    printf(" failed=%d", alloc_failures() > 0);
    alloc_fail_after(0);
}
#endif

static void read_line(struct prompt *p, char *line)
{
    char *rest = line;
    p->n = 0;
    for (char *w = strtok_r(rest, " \n", &rest); w != NULL && p->n < WORDS_MAX;
         w = strtok_r(NULL, " \n", &rest))
        p->words[p->n++] = w;
}

int main(void)
{
    static struct prompt p;
    static char line[LINE_MAX_BYTES];
    while (fgets(line, sizeof line, stdin) != NULL) {
        read_line(&p, line);
        if (p.n == 0)
            continue;
#ifdef LARDER_TEST_FRAIL
        if (strcmp(p.words[0], "frail") == 0 && p.n > 2)
            run_frail(&p);
        else
#endif
            run_line(&p);
        putchar('\n');
        fflush(stdout);
    }
    larder_close(p.l);
    return 0;
}
