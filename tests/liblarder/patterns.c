/* The cache patterns by hand, for tests: a line in, a call, a line out, as shell.c.
 *
 *      open ADDRESSES [deadline_ms=N]          close
 *      loader [value=V] [delay=MS] [says=STATUS] [version=N] [ttl=MS]     what loaders and writers do from
 * now on option [NAME=N ...]                     of fetches and writes from now on; alone: the defaults fetch
 * KEY                               STATUS FRESHNESS VERSION "VALUE" loads=N storm THREADS KEY all fetch it
 * at once: ok= miss= failed= values= loads= write KEY                               the writer is the loader
 *      inv KEY | soft KEY | hold KEY VERSION MS | tag TAG | pattern GLOB | getv KEY V | setv KEY V VALUE
 *      loads                                   how many there have been, when none is under way */
#include <larder/cache.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { LINE_MAX_BYTES = 4096, WORDS_MAX = 32, THREADS_MAX = 1000, TEXT_MAX = 200, STACK_BYTES = 256 * 1024 };

struct source {
    char value[TEXT_MAX];
    int delay_ms, says;
    uint64_t version;
    int64_t ttl_ms;
    _Atomic int loads, running;
};

struct prompt {
    larder *l;
    struct source source;
    struct larder_fetch_options fetch;
    struct larder_write_options write;
    struct larder_bytes tag;
    char tag_text[TEXT_MAX];
    struct larder_error err;
    char *words[WORDS_MAX];
    int n;
};

static void sleep_ms(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

static int load(void *arg, struct larder_bytes key, larder_loaded *out)
{
    struct source *s = arg;
    (void)key;
    atomic_fetch_add(&s->running, 1);
    int number = atomic_fetch_add(&s->loads, 1) + 1;
    char text[TEXT_MAX + 16];
    larder_loaded_version(out, s->version); /* before the "commit" */
    larder_loaded_ttl(out, s->ttl_ms);
    if (s->delay_ms > 0)
        sleep_ms(s->delay_ms);
    int n = snprintf(text, sizeof text, "%s%d", s->value, number);
    int status = s->says == LARDER_OK ? larder_loaded_value(out, text, (size_t)n) : s->says;
    atomic_fetch_sub(&s->running, 1);
    return status;
}

static void say(const struct prompt *p, int status)
{
    for (const char *c = larder_status_name(status); *c != '\0'; c++)
        putchar(*c == ' ' ? '-' : *c);
    if (status < 0)
        printf(" %s", p->err.text);
}

static struct larder_bytes word(const struct prompt *p, int i)
{
    return larder_text(i < p->n ? p->words[i] : "");
}

static uint64_t number(const struct prompt *p, int i)
{
    return i < p->n ? strtoull(p->words[i], NULL, 10) : 0;
}

/* "name=value" at word i; NULL behind the last. */
static const char *setting(struct prompt *p, int i, const char **name)
{
    if (i >= p->n)
        return NULL;
    char *value = strchr(p->words[i], '=');
    if (value == NULL)
        return NULL;
    *value = '\0';
    *name = p->words[i];
    return value + 1;
}

static void do_open(struct prompt *p)
{
    struct larder_options o;
    const char *name, *value;
    larder_options_init(&o);
    for (int i = 2; (value = setting(p, i, &name)) != NULL; i++) {
        if (strcmp(name, "deadline_ms") == 0)
            o.deadline_ms = (unsigned)atoi(value);
        else if (strcmp(name, "resp") == 0)
            o.resp = atoi(value);
        else if (strcmp(name, "topology") == 0)
            o.topology = (enum larder_topology)atoi(value);
        else if (strcmp(name, "timeout_ms") == 0)
            o.command_timeout_ms = o.connect_timeout_ms = (unsigned)atoi(value);
    }
    say(p, larder_open(p->words[1], &o, &p->l, &p->err));
}

static void do_loader(struct prompt *p)
{
    const char *name, *value;
    for (int i = 1; (value = setting(p, i, &name)) != NULL; i++) {
        if (strcmp(name, "value") == 0)
            snprintf(p->source.value, sizeof p->source.value, "%s", value);
        else if (strcmp(name, "delay") == 0)
            p->source.delay_ms = atoi(value);
        else if (strcmp(name, "says") == 0)
            p->source.says = atoi(value);
        else if (strcmp(name, "version") == 0)
            p->source.version = strtoull(value, NULL, 10);
        else if (strcmp(name, "ttl") == 0)
            p->source.ttl_ms = strtoll(value, NULL, 10);
    }
    printf("ok");
}

static bool set_option(struct prompt *p, const char *name, const char *value)
{
    struct larder_fetch_options *f = &p->fetch;
    const struct {
        const char *name;
        unsigned *place;
    } numbers[] = {
        {"lock_ms", &f->lock_ms},
        {"poll_ms", &f->poll_ms},
        {"wait_ms", &f->wait_ms},
        {"soft_ms", &f->soft_ms},
        {"hard_ms", &f->hard_ms},
        {"retry_ms", &f->retry_ms},
        {"stale", (unsigned *)&f->stale},
        {"behind", (unsigned *)&f->behind},
        {"fail_safe", (unsigned *)&f->fail_safe},
        {"hold_ms", &p->write.hold_ms},
        {"write_anyway", (unsigned *)&p->write.write_anyway},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (strcmp(name, numbers[i].name) == 0)
            return *numbers[i].place = (unsigned)strtoul(value, NULL, 10), true;
    if (strcmp(name, "ttl_ms") == 0)
        f->ttl_ms = p->write.ttl_ms = strtoll(value, NULL, 10);
    else if (strcmp(name, "grace_ms") == 0)
        f->grace_ms = p->write.grace_ms = strtoll(value, NULL, 10);
    else if (strcmp(name, "negative_ttl_ms") == 0)
        f->negative_ttl_ms = strtoll(value, NULL, 10);
    else if (strcmp(name, "beta") == 0)
        f->beta = atof(value);
    else if (strcmp(name, "min_version") == 0)
        f->min_version = strtoull(value, NULL, 10);
    else
        return false;
    return true;
}

static void do_option(struct prompt *p)
{
    const char *name, *value;
    larder_fetch_options_init(&p->fetch);
    larder_write_options_init(&p->write);
    for (int i = 1; (value = setting(p, i, &name)) != NULL; i++) {
        if (strcmp(name, "tag") == 0) {
            snprintf(p->tag_text, sizeof p->tag_text, "%s", value);
            p->tag = larder_text(p->tag_text);
            p->fetch.tags = p->write.tags = &p->tag;
            p->fetch.ntags = p->write.ntags = 1;
        } else if (!set_option(p, name, value)) {
            printf("no such option: %s", name);
            return;
        }
    }
    printf("ok");
}

static void do_fetch(struct prompt *p)
{
    static const char *const names[] = {"fresh", "stale", "loaded"};
    struct larder_fetched out;
    int status = larder_fetch(p->l, word(p, 1), load, &p->source, &p->fetch, &out, &p->err);
    say(p, status);
    if (status >= 0)
        printf(" %s %llu", names[out.freshness], (unsigned long long)out.version);
    if (status == LARDER_OK)
        printf(" \"%s\"", out.value.p);
    printf(" loads=%d", p->source.loads);
    larder_value_free(&out.value);
}

struct racer {
    struct prompt *p;
    struct larder_bytes key;
    pthread_barrier_t *start;
    char value[TEXT_MAX];
    int status;
    struct larder_error err;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    struct larder_fetched out;
    pthread_barrier_wait(r->start);
    r->status = larder_fetch(r->p->l, r->key, load, &r->p->source, &r->p->fetch, &out, &r->err);
    if (r->status == LARDER_OK)
        snprintf(r->value, sizeof r->value, "%s", out.value.p);
    larder_value_free(&out.value);
    return NULL;
}

static void do_storm(struct prompt *p)
{
    static pthread_t threads[THREADS_MAX];
    static struct racer racers[THREADS_MAX];
    int n = (int)number(p, 1), ok = 0, miss = 0, failed = 0, values = 0;
    pthread_barrier_t start;
    pthread_attr_t attr;
    n = n > THREADS_MAX ? THREADS_MAX : n;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_barrier_init(&start, NULL, (unsigned)n);
    for (int i = 0; i < n; i++) {
        racers[i] = (struct racer){.p = p, .key = word(p, 2), .start = &start};
        if (pthread_create(&threads[i], &attr, race, &racers[i]) != 0)
            abort();
    }
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < n; i++) {
        bool seen = false;
        ok += racers[i].status == LARDER_OK;
        miss += racers[i].status == LARDER_MISS;
        failed += racers[i].status < 0;
        for (int k = 0; k < i && !seen; k++)
            seen = strcmp(racers[i].value, racers[k].value) == 0;
        values += !seen && racers[i].value[0] != '\0';
    }
    printf("ok=%d miss=%d failed=%d values=%d loads=%d", ok, miss, failed, values, p->source.loads);
    for (int i = 0; i < n && failed > 0; i++)
        if (racers[i].status < 0) {
            printf(" %s", racers[i].err.text);
            break;
        }
    pthread_attr_destroy(&attr);
    pthread_barrier_destroy(&start);
}

static void do_getv(struct prompt *p)
{
    struct larder_value v;
    int status = larder_get_version(p->l, word(p, 1), number(p, 2), &v, &p->err);
    say(p, status);
    if (status == LARDER_OK)
        printf(" \"%s\"", v.p);
    larder_value_free(&v);
}

static void do_loads(struct prompt *p)
{
    for (int i = 0; i < 2000 && atomic_load(&p->source.running) > 0; i++)
        sleep_ms(10);
    printf("loads=%d", p->source.loads);
}

static void do_pattern(struct prompt *p)
{
    uint64_t count;
    int status = larder_invalidate_pattern(p->l, p->words[1], &count, &p->err);
    say(p, status);
    printf(" %llu", (unsigned long long)count);
}

static int call(struct prompt *p, const char *name)
{
    if (strcmp(name, "write") == 0)
        return larder_write_through(p->l, word(p, 1), load, &p->source, &p->write, &p->err);
    if (strcmp(name, "inv") == 0)
        return larder_invalidate(p->l, word(p, 1), &p->err);
    if (strcmp(name, "soft") == 0)
        return larder_invalidate_soft(p->l, word(p, 1), &p->err);
    if (strcmp(name, "hold") == 0)
        return larder_invalidate_version(p->l, word(p, 1), number(p, 2), (unsigned)number(p, 3), &p->err);
    if (strcmp(name, "tag") == 0)
        return larder_invalidate_tag(p->l, word(p, 1), &p->err);
    if (strcmp(name, "setv") == 0)
        return larder_set_version(p->l, word(p, 1), number(p, 2), word(p, 3), LARDER_TTL_DEFAULT, &p->err);
    snprintf(p->err.text, sizeof p->err.text, "what?");
    return LARDER_ERR_ARGUMENT;
}

static void run_line(struct prompt *p)
{
    static const struct {
        const char *name;
        void (*run)(struct prompt *p);
    } verbs[] = {
        {"open", do_open},   {"loader", do_loader}, {"option", do_option}, {"fetch", do_fetch},
        {"storm", do_storm}, {"getv", do_getv},     {"loads", do_loads},   {"pattern", do_pattern},
    };
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(p->words[0], verbs[i].name) == 0) {
            verbs[i].run(p);
            return;
        }
    }
    if (strcmp(p->words[0], "close") == 0) {
        larder_close(p->l);
        p->l = NULL;
        printf("closed");
        return;
    }
    say(p, call(p, p->words[0]));
}

int main(void)
{
    static struct prompt p;
    static char line[LINE_MAX_BYTES];
    snprintf(p.source.value, sizeof p.source.value, "v");
    larder_fetch_options_init(&p.fetch);
    larder_write_options_init(&p.write);
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *rest = line;
        p.n = 0;
        for (char *w = strtok_r(rest, " \n", &rest); w != NULL && p.n < WORDS_MAX;
             w = strtok_r(NULL, " \n", &rest))
            p.words[p.n++] = w;
        if (p.n == 0)
            continue;
        run_line(&p);
        putchar('\n');
        fflush(stdout);
    }
    larder_close(p.l);
    return 0;
}
