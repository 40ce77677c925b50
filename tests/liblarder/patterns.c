/* larder/cache.h: shell.c says what the words mean. */
#include "prompt.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { THREADS_MAX = 1000, TEXT_MAX = 200, TAG_TEXT_MAX = 300, STACK_BYTES = 256 * 1024 };

/* What loaders and writers do. */
static struct source {
    char value[TEXT_MAX], until[TEXT_MAX]; /* until: a file that it waits for, if not empty */
    int delay_ms, says;
    uint64_t version;
    int64_t ttl_ms;
    _Atomic int loads, running;
} source = {.value = "v"};

/* What calls are told; made by take_options(), since their defaults come from functions. */
static struct asked {
    bool made;
    struct larder_fetch_options fetch;
    struct larder_write_options write;
    struct larder_bytes tags[LARDER_TAGS_MAX + 1];
    char texts[LARDER_TAGS_MAX + 1][TAG_TEXT_MAX];
} asked;

static struct asked *take_options(bool anew)
{
    if (!asked.made || anew) {
        larder_fetch_options_init(&asked.fetch);
        larder_write_options_init(&asked.write);
        asked.made = true;
    }
    return &asked;
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
    while (s->until[0] != '\0' && access(s->until, F_OK) != 0)
        sleep_ms(2);
    int n = snprintf(text, sizeof text, "%s%d", s->value, number);
    int status = s->says == LARDER_OK ? larder_loaded_value(out, text, (size_t)n) : s->says;
    atomic_fetch_sub(&s->running, 1);
    return status;
}

static void do_loader(struct prompt *p)
{
    const char *name, *value;
    for (int i = 1; (value = setting(p, i, &name)) != NULL; i++) {
        if (strcmp(name, "value") == 0)
            snprintf(source.value, sizeof source.value, "%s", value);
        else if (strcmp(name, "until") == 0)
            snprintf(source.until, sizeof source.until, "%s", value);
        else if (strcmp(name, "delay") == 0)
            source.delay_ms = atoi(value);
        else if (strcmp(name, "says") == 0)
            source.says = atoi(value);
        else if (strcmp(name, "version") == 0)
            source.version = strtoull(value, NULL, 10);
        else if (strcmp(name, "ttl") == 0)
            source.ttl_ms = strtoll(value, NULL, 10);
    }
    printf("ok");
}

static bool set_option(struct asked *a, const char *name, const char *value)
{
    struct larder_fetch_options *f = &a->fetch;
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
        {"hold_ms", &a->write.hold_ms},
        {"write_anyway", (unsigned *)&a->write.write_anyway},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (strcmp(name, numbers[i].name) == 0)
            return *numbers[i].place = (unsigned)strtoul(value, NULL, 10), true;
    if (strcmp(name, "ttl_ms") == 0)
        f->ttl_ms = a->write.ttl_ms = strtoll(value, NULL, 10);
    else if (strcmp(name, "grace_ms") == 0)
        f->grace_ms = a->write.grace_ms = strtoll(value, NULL, 10);
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

static void add_tag(struct asked *a, const char *text)
{
    size_t n = a->fetch.ntags;
    if (n > LARDER_TAGS_MAX)
        return;
    snprintf(a->texts[n], sizeof a->texts[n], "%s", text);
    a->tags[n] = larder_text(a->texts[n]);
    a->fetch.tags = a->write.tags = a->tags;
    a->fetch.ntags = a->write.ntags = n + 1;
}

static void do_option(struct prompt *p)
{
    const char *name, *value;
    struct asked *a = take_options(true);
    for (int i = 1; (value = setting(p, i, &name)) != NULL; i++) {
        if (strcmp(name, "tag") == 0) {
            add_tag(a, value);
        } else if (!set_option(a, name, value)) {
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
    int status = larder_fetch(p->l, word(p, 1), load, &source, &take_options(false)->fetch, &out, &p->err);
    say_status(p, status);
    if (status >= 0)
        printf(" %s %llu", names[out.freshness], (unsigned long long)out.version);
    if (status == LARDER_OK)
        printf(" \"%s\"", out.value.p);
    printf(" loads=%d", source.loads);
    larder_value_free(&out.value);
}

struct racer {
    larder *l;
    const struct larder_fetch_options *options;
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
    r->status = larder_fetch(r->l, r->key, load, &source, r->options, &out, &r->err);
    if (r->status == LARDER_OK)
        snprintf(r->value, sizeof r->value, "%s", out.value.p);
    larder_value_free(&out.value);
    return NULL;
}

static void do_rush(struct prompt *p)
{
    static pthread_t threads[THREADS_MAX];
    static struct racer racers[THREADS_MAX];
    int n = (int)number(p, 1), ok = 0, miss = 0, failed = 0, values = 0;
    const struct larder_fetch_options *options = &take_options(false)->fetch;
    pthread_barrier_t start;
    pthread_attr_t attr;
    n = n > THREADS_MAX ? THREADS_MAX : n;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_barrier_init(&start, NULL, (unsigned)n);
    for (int i = 0; i < n; i++) {
        racers[i] = (struct racer){.l = p->l, .options = options, .key = word(p, 2), .start = &start};
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
    printf("ok=%d miss=%d failed=%d values=%d loads=%d", ok, miss, failed, values, source.loads);
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
    int status = larder_get_version(p->l, word(p, 1), (uint64_t)number(p, 2), &v, &p->err);
    say_status(p, status);
    if (status == LARDER_OK)
        printf(" \"%s\"", v.p);
    larder_value_free(&v);
}

static void do_loads(struct prompt *p)
{
    for (int i = 0; i < 20000 && atomic_load(&source.running) > 0; i++)
        sleep_ms(10);
    printf("loads=%d", source.loads);
}

static void do_pattern(struct prompt *p)
{
    uint64_t count;
    int status = larder_invalidate_pattern(p->l, p->words[1], &count, &p->err);
    say_status(p, status);
    printf(" %llu", (unsigned long long)count);
}

static void do_write(struct prompt *p)
{
    say_status(p,
               larder_write_through(p->l, word(p, 1), load, &source, &take_options(false)->write, &p->err));
}

static void do_inv(struct prompt *p)
{
    say_status(p, larder_invalidate(p->l, word(p, 1), &p->err));
}

static void do_soft(struct prompt *p)
{
    say_status(p, larder_invalidate_soft(p->l, word(p, 1), &p->err));
}

static void do_tag(struct prompt *p)
{
    say_status(p, larder_invalidate_tag(p->l, word(p, 1), &p->err));
}

static void do_hold(struct prompt *p)
{
    unsigned ms = (unsigned)number(p, 3);
    say_status(p, larder_invalidate_version(p->l, word(p, 1), (uint64_t)number(p, 2), ms, &p->err));
}

static void do_setv(struct prompt *p)
{
    uint64_t version = (uint64_t)number(p, 2);
    say_status(p, larder_set_version(p->l, word(p, 1), version, word(p, 3), LARDER_TTL_DEFAULT, &p->err));
}

const struct verb pattern_verbs[] = {
    {"loader", do_loader, false},   {"option", do_option, false}, {"fetch", do_fetch, false},
    {"rush", do_rush, false},       {"write", do_write, false},   {"inv", do_inv, true},
    {"soft", do_soft, true},        {"hold", do_hold, true},      {"tag", do_tag, false},
    {"pattern", do_pattern, false}, {"getv", do_getv, false},     {"setv", do_setv, false},
    {"loads", do_loads, false},     {NULL, NULL, false},
};
