/* larder.h and loop.h: shell.c says what the words mean. */
#include "prompt.h"

#include <larder/loop.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

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

/* ---- one key and many ---- */

static void do_get(struct prompt *p)
{
    struct larder_value v;
    int status = larder_get(p->l, word(p, 1), &v, &p->err);
    say_status(p, status);
    if (status == LARDER_OK) {
        putchar(' ');
        say_bytes(larder_bytes(v.p, v.n));
    }
    larder_value_free(&v);
}

static void do_incr(struct prompt *p)
{
    int64_t sum = 0;
    int status = larder_incr(p->l, word(p, 1), number(p, 2), &sum, &p->err);
    say_status(p, status);
    if (status == LARDER_OK)
        printf(" %lld", (long long)sum);
}

static void do_many(struct prompt *p, char what)
{
    int stride = what == 's' ? 2 : 1;
    size_t n = (size_t)(p->n - 1) / (size_t)stride;
    struct larder_item *items = calloc(n + 1, sizeof *items);
    for (size_t i = 0; i < n; i++) {
        items[i].key = word(p, 1 + (int)i * stride);
        items[i].value = word(p, 2 + (int)i * stride);
    }
    int status = what == 'g'   ? larder_mget(p->l, items, n, &p->err)
                 : what == 's' ? larder_mset(p->l, items, n, LARDER_TTL_DEFAULT, &p->err)
                               : larder_mdel(p->l, items, n, &p->err);
    say_status(p, status);
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

static int arguments(const struct prompt *p, int from, int to, struct larder_bytes *argv)
{
    for (int i = from; i < to; i++)
        argv[i - from] = word(p, i);
    return to - from;
}

static void do_cmd(struct prompt *p)
{
    struct larder_bytes argv[64];
    larder_reply *reply;
    int from = 1;
    struct larder_call call = {0};
    for (; from < p->n && p->words[from][0] == '@'; from++) {
        const char *w = p->words[from] + 1;
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
    int argc = arguments(p, from, p->n, argv);
    int status = larder_command(p->l, argc, argv, &call, &reply, &p->err);
    say_status(p, status);
    if (status == LARDER_OK) {
        putchar(' ');
        say_reply(reply);
    }
    larder_reply_free(reply);
}

static void do_pipe(struct prompt *p)
{
    struct larder_bytes argv[64];
    larder_pipeline *line = larder_pipeline_new(p->l);
    int status = line != NULL ? 0 : LARDER_ERR_MEMORY;
    for (int from = 1, to; from < p->n && status == 0; from = to + 1) {
        for (to = from; to < p->n && strcmp(p->words[to], ";") != 0;)
            to++;
        status = larder_pipeline_add(line, arguments(p, from, to, argv), argv, NULL, &p->err);
    }
    if (status == 0)
        status = larder_pipeline_run(line, &p->err);
    say_status(p, status);
    for (size_t i = 0; line != NULL && i < larder_pipeline_count(line); i++) {
        const larder_reply *reply;
        printf(" | %d ", larder_pipeline_result(line, i, &reply, NULL));
        say_reply(reply);
    }
    larder_pipeline_free(line);
}

static int count_key(void *arg, struct larder_bytes key)
{
    int *counts = arg;
    counts[0]++;
    return counts[0] == counts[1] ? 77 : 0;
}

static void do_scan(struct prompt *p)
{
    int counts[2] = {0, (int)number(p, 2)};
    int status = larder_scan(p->l, p->n > 1 ? p->words[1] : NULL, count_key, counts, &p->err);
    say_status(p, status == 77 ? 0 : status);
    printf(" %d", counts[0]);
}

static void do_stats(struct prompt *p)
{
    struct larder_stats t;
    larder_stats_read(p->l, &t);
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

static void do_storm(struct prompt *p)
{
    enum { THREADS_MAX = 256 };
    static pthread_t threads[THREADS_MAX];
    static struct storm storms[THREADS_MAX];
    _Atomic int answered = 0, failed = 0, wrong = 0, late = 0;
    int n = (int)number(p, 1);
    n = n > THREADS_MAX ? THREADS_MAX : n;
    for (int i = 0; i < n; i++) {
        storms[i] = (struct storm){.l = p->l,
                                   .rounds = (int)number(p, 2),
                                   .number = i,
                                   .answered = &answered,
                                   .failed = &failed,
                                   .wrong = &wrong,
                                   .late = &late};
        storms[i].limit_ms = p->options.deadline_ms + SLACK_MS;
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

static void do_loop(struct prompt *p)
{
    struct looping t = {0};
    if (larder_loop_new(p->l, &t.loop, &p->err) < 0) {
        printf("no loop");
        return;
    }
    for (int i = 0; i < number(p, 1); i++) {
        char key[32];
        snprintf(key, sizeof key, "loop:%d", i % 100);
        t.left +=
            larder_loop_set(t.loop, larder_text(key), larder_text("looped"), 0, was_set, &t, &p->err) == 0;
    }
    struct pollfd fd = {.fd = larder_loop_fd(t.loop), .events = POLLIN};
    while (t.left > 0 && p->n < 3 && poll(&fd, 1, 20000) == 1)
        larder_loop_process(t.loop);
    size_t pending = larder_loop_pending(t.loop);
    larder_loop_free(t.loop);
    printf("ok sets=%d gets=%d failed=%d wrong=%d left=%d pending=%zu %s", t.sets, t.gets, t.failed, t.wrong,
           t.left, pending, t.text);
}

/* ---- the ring ---- */

static void do_where(struct prompt *p)
{
    char name[300];
    int status = larder_node_of(p->l, word(p, 1), name, sizeof name, &p->err);
    say_status(p, status);
    if (status == 0)
        printf(" %s", name);
}

static void do_set(struct prompt *p)
{
    say_status(p, larder_set(p->l, word(p, 1), word(p, 2), number(p, 3), &p->err));
}

static void do_del(struct prompt *p)
{
    say_status(p, larder_delete(p->l, word(p, 1), &p->err));
}

static void do_exists(struct prompt *p)
{
    say_status(p, larder_exists(p->l, word(p, 1), &p->err));
}

static void do_expire(struct prompt *p)
{
    say_status(p, larder_expire(p->l, word(p, 1), number(p, 2), &p->err));
}

static void do_add(struct prompt *p)
{
    say_status(p, larder_node_add(p->l, p->words[1], (unsigned)number(p, 2), &p->err));
}

static void do_remove(struct prompt *p)
{
    say_status(p, larder_node_remove(p->l, p->words[1], &p->err));
}

static void do_mget(struct prompt *p)
{
    do_many(p, 'g');
}

static void do_mset(struct prompt *p)
{
    do_many(p, 's');
}

static void do_mdel(struct prompt *p)
{
    do_many(p, 'd');
}

static void nothing(int signal)
{
}

/* From now on a signal so often, as a profiler sends them: whatever blocks is interrupted. */
static void do_tick(struct prompt *p)
{
    struct sigaction act = {.sa_handler = nothing};
    struct itimerval every = {.it_interval.tv_usec = number(p, 1), .it_value.tv_usec = number(p, 1)};
    sigaction(SIGALRM, &act, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
    say_status(p, LARDER_OK);
}

const struct verb call_verbs[] = {
    {"get", do_get, true},       {"set", do_set, true},       {"del", do_del, true},
    {"exists", do_exists, true}, {"expire", do_expire, true}, {"incr", do_incr, true},
    {"mget", do_mget, true},     {"mset", do_mset, true},     {"mdel", do_mdel, true},
    {"cmd", do_cmd, true},       {"pipe", do_pipe, true},     {"stats", do_stats, true},
    {"where", do_where, true},   {"add", do_add, true},       {"remove", do_remove, true},
    {"loop", do_loop, true},     {"scan", do_scan, false},    {"storm", do_storm, false},
    {"tick", do_tick, true},     {NULL, NULL, false},
};
