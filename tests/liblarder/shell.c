/* liblarder by hand, for tests: a line in, a call, a line out.
 *
 *      open ADDRESSES [option=value ...]       get K | set K V [TTL] | del K | exists K | expire K TTL | incr
 * K N mget K... | mset K V ... | mdel K...    cmd WORD... | pipe WORD... ; WORD... | scan [PATTERN] where K |
 * add ADDRESS WEIGHT | remove ADDRESS | stats | close storm THREADS ROUNDS [ms] | loop COUNT
 *
 * The answer is "STATUS ...", STATUS being larder_status_name() with dashes. A call that outlived its
 * deadline by more than SLACK_MS is marked " LATE". */
#include "xor.h"

#include <larder/loop.h>

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { LINE_MAX_BYTES = 1 << 20, WORDS_MAX = 20000, SLACK_MS = 2000 };

struct shell {
    larder *l;
    struct larder_options options;
    struct larder_error err;
    char *words[WORDS_MAX];
    int n;
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void say_status(const struct shell *s, int status)
{
    for (const char *p = larder_status_name(status); *p != '\0'; p++)
        putchar(*p == ' ' ? '-' : *p);
    if (status < 0)
        printf(" %s", s->err.text);
}

static void say_bytes(struct larder_bytes b)
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

static void say_reply(const larder_reply *r)
{
    static const char brackets[] = "[]{}";
    enum larder_kind kind = larder_reply_kind(r);
    int at = kind == LARDER_MAP ? 2 : 0;
    switch (kind) {
    case LARDER_NULL: printf("null"); break;
    case LARDER_STATUS: printf("%s", (const char *)larder_reply_text(r).p); break;
    case LARDER_ERROR: printf("!%s", (const char *)larder_reply_text(r).p); break;
    case LARDER_STRING: say_bytes(larder_reply_text(r)); break;
    case LARDER_INTEGER: printf("%lld", (long long)larder_reply_integer(r)); break;
    case LARDER_BOOLEAN: printf(larder_reply_integer(r) ? "true" : "false"); break;
    case LARDER_DOUBLE: printf("%.17g", larder_reply_double(r)); break;
    case LARDER_ARRAY:
    case LARDER_MAP:
        putchar(brackets[at]);
        for (size_t i = 0; i < larder_reply_count(r); i++) {
            if (i > 0)
                putchar(' ');
            say_reply(larder_reply_child(r, i));
        }
        putchar(brackets[at + 1]);
    }
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

static void do_open(struct shell *s)
{
    larder_close(s->l);
    s->l = NULL;
    larder_options_init(&s->options);
    for (int i = 2; i < s->n; i++) {
        char *value = strchr(s->words[i], '=');
        if (value != NULL)
            *value++ = '\0';
        if (value == NULL || !set_option(&s->options, s->words[i], value)) {
            printf("no such option: %s", s->words[i]);
            return;
        }
    }
    int status = larder_open(s->words[1], &s->options, &s->l, &s->err);
    say_status(s, status);
    if (status == 0)
        printf(" %d", larder_topology_of(s->l));
}

/* ---- one key and many ---- */

static struct larder_bytes word(const struct shell *s, int i)
{
    return larder_text(i < s->n ? s->words[i] : "");
}

static int64_t number(const struct shell *s, int i)
{
    return i < s->n ? strtoll(s->words[i], NULL, 10) : 0;
}

static void do_get(struct shell *s)
{
    struct larder_value v;
    int status = larder_get(s->l, word(s, 1), &v, &s->err);
    say_status(s, status);
    if (status == LARDER_OK) {
        putchar(' ');
        say_bytes(larder_bytes(v.p, v.n));
    }
    larder_value_free(&v);
}

static void do_incr(struct shell *s)
{
    int64_t sum = 0;
    int status = larder_incr(s->l, word(s, 1), number(s, 2), &sum, &s->err);
    say_status(s, status);
    if (status == LARDER_OK)
        printf(" %lld", (long long)sum);
}

static void do_many(struct shell *s, char what)
{
    int stride = what == 's' ? 2 : 1;
    size_t n = (size_t)(s->n - 1) / (size_t)stride;
    struct larder_item *items = calloc(n + 1, sizeof *items);
    for (size_t i = 0; i < n; i++) {
        items[i].key = word(s, 1 + (int)i * stride);
        items[i].value = word(s, 2 + (int)i * stride);
    }
    int status = what == 'g'   ? larder_mget(s->l, items, n, &s->err)
                 : what == 's' ? larder_mset(s->l, items, n, LARDER_TTL_DEFAULT, &s->err)
                               : larder_mdel(s->l, items, n, &s->err);
    say_status(s, status);
    for (size_t i = 0; i < n; i++) {
        printf(" | %d", items[i].status);
        if (items[i].found.p != NULL) {
            putchar(' ');
            say_bytes(larder_bytes(items[i].found.p, items[i].found.n));
        }
    }
    larder_items_release(items, n);
    free(items);
}

/* ---- commands ---- */

static int arguments(const struct shell *s, int from, int to, struct larder_bytes *argv)
{
    for (int i = from; i < to; i++)
        argv[i - from] = word(s, i);
    return to - from;
}

static void do_cmd(struct shell *s)
{
    struct larder_bytes argv[64];
    larder_reply *reply;
    int from = 1;
    struct larder_call call = {0};
    for (; from < s->n && s->words[from][0] == '@'; from++) {
        const char *w = s->words[from] + 1;
        if (strcmp(w, "idempotent") == 0)
            call.flags |= LARDER_COMMAND_IDEMPOTENT;
        else if (strncmp(w, "timeout=", 8) == 0)
            call.timeout_ms = (unsigned)strtoul(w + 8, NULL, 10);
        else if (strncmp(w, "node=", 5) == 0) {
            call.flags |= LARDER_COMMAND_NODE;
            call.node = w + 5;
        } else if (strncmp(w, "key=", 4) == 0) {
            call.flags |= LARDER_COMMAND_KEY_AT;
            call.key_index = (unsigned)strtoul(w + 4, NULL, 10);
        }
    }
    int argc = arguments(s, from, s->n, argv);
    int status = larder_command(s->l, argc, argv, &call, &reply, &s->err);
    say_status(s, status);
    if (status == LARDER_OK) {
        putchar(' ');
        say_reply(reply);
    }
    larder_reply_free(reply);
}

static void do_pipe(struct shell *s)
{
    struct larder_bytes argv[64];
    larder_pipeline *p = larder_pipeline_new(s->l);
    int status = 0;
    for (int from = 1, to; from < s->n && status == 0; from = to + 1) {
        for (to = from; to < s->n && strcmp(s->words[to], ";") != 0;)
            to++;
        status = larder_pipeline_add(p, arguments(s, from, to, argv), argv, NULL, &s->err);
    }
    if (status == 0)
        status = larder_pipeline_run(p, &s->err);
    say_status(s, status);
    for (size_t i = 0; i < larder_pipeline_count(p); i++) {
        const larder_reply *reply;
        printf(" | %d ", larder_pipeline_result(p, i, &reply, NULL));
        say_reply(reply);
    }
    larder_pipeline_free(p);
}

static int count_key(void *arg, struct larder_bytes key)
{
    int *counts = arg;
    counts[0]++;
    return counts[0] == counts[1] ? 77 : 0;
}

static void do_scan(struct shell *s)
{
    int counts[2] = {0, (int)number(s, 2)};
    int status = larder_scan(s->l, s->n > 1 ? s->words[1] : NULL, count_key, counts, &s->err);
    say_status(s, status == 77 ? 0 : status);
    printf(" %d", counts[0]);
}

static void do_stats(struct shell *s)
{
    struct larder_stats t;
    larder_stats_read(s->l, &t);
    printf("ok calls=%llu retries=%llu denied=%llu connects=%llu failures=%llu redirects=%llu refreshes=%llu "
           "standins=%llu",
           (unsigned long long)t.calls, (unsigned long long)t.retries, (unsigned long long)t.retries_denied,
           (unsigned long long)t.connects, (unsigned long long)t.failures, (unsigned long long)t.redirects,
           (unsigned long long)t.refreshes, (unsigned long long)t.standins);
}

/* ---- many threads ---- */

struct storm {
    larder *l;
    int rounds, number;
    int64_t limit_ms;
    _Atomic int *answered, *failed, *wrong, *late;
    struct larder_error err; /* of the last that failed */
};

static void note(struct storm *t, int status, int64_t begun)
{
    atomic_fetch_add(status < 0 ? t->failed : t->answered, 1);
    if (now_ms() - begun > t->limit_ms)
        atomic_fetch_add(t->late, 1);
}

/* The value says which key it belongs to, so that replies given to the wrong caller are noticed. */
static void *storm(void *arg)
{
    struct storm *t = arg;
    char key[64], value[96];
    for (int i = 0; i < t->rounds; i++) {
        snprintf(key, sizeof key, "storm:%d:%d", t->number % 4, i % 50);
        snprintf(value, sizeof value, "value of %s", key);
        int64_t begun = now_ms();
        if (i % 3 == 0) {
            note(t, larder_set(t->l, larder_text(key), larder_text(value), 60000, &t->err), begun);
        } else if (i % 3 == 1) {
            struct larder_value v;
            int status = larder_get(t->l, larder_text(key), &v, &t->err);
            note(t, status, begun);
            if (status == LARDER_OK && strcmp(v.p, value) != 0)
                atomic_fetch_add(t->wrong, 1);
            larder_value_free(&v);
        } else {
            struct larder_item items[3] = {
                {.key = larder_text(key)}, {.key = larder_text("a")}, {.key = larder_text(key)}};
            note(t, larder_mget(t->l, items, 3, &t->err), begun);
            for (int k = 0; k < 3; k += 2)
                if (items[k].status == LARDER_OK && strcmp(items[k].found.p, value) != 0)
                    atomic_fetch_add(t->wrong, 1);
            larder_items_release(items, 3);
        }
    }
    return NULL;
}

static void do_storm(struct shell *s)
{
    enum { THREADS_MAX = 256 };
    static pthread_t threads[THREADS_MAX];
    static struct storm storms[THREADS_MAX];
    _Atomic int answered = 0, failed = 0, wrong = 0, late = 0;
    int n = (int)number(s, 1);
    n = n > THREADS_MAX ? THREADS_MAX : n;
    for (int i = 0; i < n; i++) {
        storms[i] = (struct storm){.l = s->l,
                                   .rounds = (int)number(s, 2),
                                   .number = i,
                                   .answered = &answered,
                                   .failed = &failed,
                                   .wrong = &wrong,
                                   .late = &late};
        storms[i].limit_ms = s->options.deadline_ms + SLACK_MS;
        pthread_create(&threads[i], NULL, storm, &storms[i]);
    }
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    printf("ok answered=%d failed=%d wrong=%d late=%d", answered, failed, wrong, late);
    for (int i = 0; i < n && failed > 0; i++)
        if (storms[i].err.code < 0)
            printf(" %s", storms[i].err.text);
}

/* ---- the loop ---- */

struct looping {
    larder_loop *loop;
    int sets, gets, failed, wrong, left;
    char text[LARDER_ERROR_TEXT];
};

static void got(void *arg, int status, const larder_reply *reply, const struct larder_error *err)
{
    struct looping *t = arg;
    t->left--;
    t->gets += status == LARDER_OK;
    t->wrong += status == LARDER_OK && strcmp(larder_reply_text(reply).p, "looped") != 0;
    if (status < 0) {
        t->failed++;
        memcpy(t->text, err->text, sizeof t->text);
    }
}

/* Half of the commands are given from within a callback. */
static void was_set(void *arg, int status, const larder_reply *reply, const struct larder_error *err)
{
    struct looping *t = arg;
    char key[32];
    (void)reply;
    snprintf(key, sizeof key, "loop:%d", t->sets % 100);
    t->sets += status == LARDER_OK;
    if (status < 0) {
        t->failed++;
        memcpy(t->text, err->text, sizeof t->text);
    }
    if (status < 0 || larder_loop_get(t->loop, larder_text(key), got, t, NULL) < 0)
        t->left--;
}

static void do_loop(struct shell *s)
{
    struct looping t = {0};
    if (larder_loop_new(s->l, &t.loop, &s->err) < 0) {
        printf("no loop");
        return;
    }
    for (int i = 0; i < number(s, 1); i++) {
        char key[32];
        snprintf(key, sizeof key, "loop:%d", i % 100);
        t.left +=
            larder_loop_set(t.loop, larder_text(key), larder_text("looped"), 0, was_set, &t, &s->err) == 0;
    }
    struct pollfd p = {.fd = larder_loop_fd(t.loop), .events = POLLIN};
    while (t.left > 0 && s->n < 3 && poll(&p, 1, 20000) == 1)
        larder_loop_process(t.loop);
    size_t pending = larder_loop_pending(t.loop);
    larder_loop_free(t.loop);
    printf("ok sets=%d gets=%d failed=%d wrong=%d left=%d pending=%zu %s", t.sets, t.gets, t.failed, t.wrong,
           t.left, pending, t.text);
}

/* ---- lines ---- */

static void do_where(struct shell *s)
{
    char name[300];
    int status = larder_node_of(s->l, word(s, 1), name, sizeof name, &s->err);
    say_status(s, status);
    if (status == 0)
        printf(" %s", name);
}

static bool run_call(struct shell *s, const char *name)
{
    if (strcmp(name, "set") == 0)
        say_status(s, larder_set(s->l, word(s, 1), word(s, 2), number(s, 3), &s->err));
    else if (strcmp(name, "del") == 0)
        say_status(s, larder_delete(s->l, word(s, 1), &s->err));
    else if (strcmp(name, "exists") == 0)
        say_status(s, larder_exists(s->l, word(s, 1), &s->err));
    else if (strcmp(name, "expire") == 0)
        say_status(s, larder_expire(s->l, word(s, 1), number(s, 2), &s->err));
    else if (strcmp(name, "add") == 0)
        say_status(s, larder_node_add(s->l, s->words[1], (unsigned)number(s, 2), &s->err));
    else if (strcmp(name, "remove") == 0)
        say_status(s, larder_node_remove(s->l, s->words[1], &s->err));
    else
        return false;
    return true;
}

static void run_line(struct shell *s)
{
    static const struct {
        const char *name;
        void (*run)(struct shell *s);
    } verbs[] = {
        {"get", do_get},     {"incr", do_incr},   {"cmd", do_cmd},     {"pipe", do_pipe}, {"scan", do_scan},
        {"stats", do_stats}, {"storm", do_storm}, {"where", do_where}, {"loop", do_loop},
    };
    const char *name = s->words[0];
    if (strcmp(name, "open") == 0) {
        do_open(s);
        return;
    }
    if (strcmp(name, "close") == 0 || s->l == NULL) {
        larder_close(s->l);
        s->l = NULL;
        printf("closed ");
        xor_report();
        return;
    }
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(name, verbs[i].name) == 0) {
            verbs[i].run(s);
            return;
        }
    }
    if (run_call(s, name))
        return;
    if (name[0] == 'm')
        do_many(s, name[1]);
    else
        printf("what?");
}

int main(void)
{
    static struct shell s;
    static char line[LINE_MAX_BYTES];
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *rest = line;
        s.n = 0;
        for (char *w = strtok_r(rest, " \n", &rest); w != NULL && s.n < WORDS_MAX;
             w = strtok_r(NULL, " \n", &rest))
            s.words[s.n++] = w;
        if (s.n == 0)
            continue;
        int64_t begun = now_ms();
        run_line(&s);
        bool one_call = strcmp(s.words[0], "storm") != 0 && strcmp(s.words[0], "scan") != 0;
        printf("%s\n", one_call && now_ms() - begun > s.options.deadline_ms + SLACK_MS ? " LATE" : "");
        fflush(stdout);
    }
    larder_close(s.l);
    return 0;
}
