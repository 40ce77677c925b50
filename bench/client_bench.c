/* liblarder beside hiredis, one run of one case: what a request costs the client.
 *
 *      client_bench larder|hiredis CASE ADDRESSES COUNT [THREADS]
 *
 *      get       GETs one after another
 *      pipeline  GETs, 16 at a time
 *      threads   GETs on THREADS threads: one handle for all, or one connection each
 *      mget      100 keys over all nodes at once. hiredis by hand: GETs are appended to each node's
 *                connection, all are flushed, then all replies read
 *      sorted    the same, but whoever uses hiredis sorts the keys by node and sends one MGET to each,
 *                which is what liblarder does outside of clusters
 *
 * Keys are where ring placement puts them, for both; hiredis asks larder_ring_get(), since any program must
 * find out, and this is what liblarder does inside. Prints "requests seconds cpu_seconds" (of this process),
 * or an error. */
#include <hiredis/hiredis.h>
#include <larder/larder.h>

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum {
    KEYS = 1000,
    PIPELINE = 16,
    MANY = 100,
    NODES_MAX = 16,
    THREADS_MAX = 64,
    VALUE_BYTES = 100,
    KEY_BYTES = 24
};

struct bench {
    char keys[KEYS][KEY_BYTES];
    larder_ring *ring;
    char addresses[NODES_MAX][64];
    int nodes;
    long count;
    larder *l;
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "client_bench: %s: %s\n", what, why);
    exit(1);
}

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void read_nodes(struct bench *b, char *list)
{
    b->ring = larder_ring_new(LARDER_PLACEMENT_MD5, 0);
    for (char *one = strtok(list, ","); one != NULL && b->nodes < NODES_MAX; one = strtok(NULL, ",")) {
        snprintf(b->addresses[b->nodes++], sizeof b->addresses[0], "%s", one);
        larder_ring_add(b->ring, one, 1);
    }
    for (int i = 0; i < KEYS; i++)
        snprintf(b->keys[i], KEY_BYTES, "key:%012d", i);
}

/* What a program with hiredis must find out for each key, too. */
static int node_of(struct bench *b, const char *key)
{
    const char *owner = larder_ring_get(b->ring, larder_text(key));
    int n = 0;
    while (n < b->nodes - 1 && strcmp(owner, b->addresses[n]) != 0)
        n++;
    return n;
}

static void fill(struct bench *b)
{
    static struct larder_item items[KEYS];
    static char value[VALUE_BYTES];
    struct larder_error err;
    memset(value, 'x', sizeof value);
    for (int i = 0; i < KEYS; i++) {
        items[i].key = larder_text(b->keys[i]);
        items[i].value = larder_bytes(value, sizeof value);
    }
    if (larder_mset(b->l, items, KEYS, LARDER_TTL_NONE, &err) < 0)
        die("filling", err.text);
}

/* ---- liblarder ---- */

static void larder_gets(struct bench *b, long n)
{
    struct larder_error err;
    struct larder_value v;
    for (long i = 0; i < n; i++) {
        if (larder_get(b->l, larder_text(b->keys[i % KEYS]), &v, &err) != LARDER_OK || v.n != VALUE_BYTES)
            die("get", err.text);
        larder_value_free(&v);
    }
}

static void larder_pipelines(struct bench *b)
{
    larder_pipeline *p = larder_pipeline_new(b->l);
    struct larder_error err;
    const larder_reply *reply;
    for (long i = 0; i < b->count; i += PIPELINE) {
        for (int k = 0; k < PIPELINE; k++) {
            struct larder_bytes argv[] = {larder_text("GET"), larder_text(b->keys[(i + k) % KEYS])};
            larder_pipeline_add(p, 2, argv, NULL, &err);
        }
        if (larder_pipeline_run(p, &err) < 0)
            die("pipeline", err.text);
        for (size_t k = 0; k < PIPELINE; k++)
            if (larder_pipeline_result(p, k, &reply, &err) < 0 || larder_reply_text(reply).n != VALUE_BYTES)
                die("pipeline", err.text);
    }
    larder_pipeline_free(p);
}

static void larder_mgets(struct bench *b)
{
    static struct larder_item items[MANY];
    struct larder_error err;
    for (long i = 0; i < b->count; i += MANY) {
        for (int k = 0; k < MANY; k++)
            items[k].key = larder_text(b->keys[(i + k) % KEYS]);
        if (larder_mget(b->l, items, MANY, &err) < 0 || items[MANY - 1].found.n != VALUE_BYTES)
            die("mget", err.text);
        larder_items_release(items, MANY);
    }
}

static void *larder_thread(void *arg)
{
    struct bench *b = arg;
    larder_gets(b, b->count);
    return NULL;
}

/* ---- hiredis ---- */

static redisContext *dial(const char *address)
{
    char host[64];
    snprintf(host, sizeof host, "%s", address);
    char *colon = strrchr(host, ':');
    *colon = '\0';
    redisContext *c = redisConnect(host, atoi(colon + 1));
    if (c == NULL || c->err != 0)
        die(address, c != NULL ? c->errstr : "no memory");
    return c;
}

static void append(struct bench *b, redisContext *c, long key)
{
    const char *argv[] = {"GET", b->keys[key % KEYS]};
    const size_t sizes[] = {3, strlen(argv[1])};
    redisAppendCommandArgv(c, 2, argv, sizes);
}

static void take(redisContext *c)
{
    redisReply *reply;
    if (redisGetReply(c, (void **)&reply) != REDIS_OK || reply->type != REDIS_REPLY_STRING ||
        reply->len != VALUE_BYTES)
        die("reply", c->errstr);
    freeReplyObject(reply);
}

static void hiredis_gets(struct bench *b, int at_once)
{
    redisContext *c = dial(b->addresses[0]);
    for (long i = 0; i < b->count; i += at_once) {
        for (int k = 0; k < at_once; k++)
            append(b, c, i + k);
        for (int k = 0; k < at_once; k++)
            take(c);
    }
    redisFree(c);
}

static void hiredis_mgets(struct bench *b)
{
    redisContext *c[NODES_MAX];
    for (int n = 0; n < b->nodes; n++)
        c[n] = dial(b->addresses[n]);
    for (long i = 0; i < b->count; i += MANY) {
        int done = 0, owner[MANY];
        for (int k = 0; k < MANY; k++) {
            owner[k] = node_of(b, b->keys[(i + k) % KEYS]);
            append(b, c[owner[k]], i + k);
        }
        for (int n = 0; n < b->nodes; n++)
            if (redisBufferWrite(c[n], &done) != REDIS_OK || !done)
                die("write", c[n]->errstr);
        for (int k = 0; k < MANY; k++)
            take(c[owner[k]]);
    }
    for (int n = 0; n < b->nodes; n++)
        redisFree(c[n]);
}

static void take_many(redisContext *c, int n)
{
    redisReply *reply;
    if (redisGetReply(c, (void **)&reply) != REDIS_OK || reply->type != REDIS_REPLY_ARRAY ||
        reply->elements != (size_t)n || reply->element[n - 1]->len != VALUE_BYTES)
        die("reply", c->errstr);
    freeReplyObject(reply);
}

static void hiredis_sorted(struct bench *b)
{
    static const char *argv[NODES_MAX][MANY + 1];
    static size_t sizes[NODES_MAX][MANY + 1];
    redisContext *c[NODES_MAX];
    for (int n = 0; n < b->nodes; n++) {
        c[n] = dial(b->addresses[n]);
        argv[n][0] = "MGET";
        sizes[n][0] = 4;
    }
    for (long i = 0; i < b->count; i += MANY) {
        int done = 0, keys[NODES_MAX] = {0};
        for (int k = 0; k < MANY; k++) {
            const char *key = b->keys[(i + k) % KEYS];
            int n = node_of(b, key);
            argv[n][++keys[n]] = key;
            sizes[n][keys[n]] = strlen(key);
        }
        for (int n = 0; n < b->nodes; n++) {
            if (keys[n] == 0)
                continue;
            redisAppendCommandArgv(c[n], keys[n] + 1, argv[n], sizes[n]);
            if (redisBufferWrite(c[n], &done) != REDIS_OK || !done)
                die("write", c[n]->errstr);
        }
        for (int n = 0; n < b->nodes; n++)
            if (keys[n] > 0)
                take_many(c[n], keys[n]);
    }
    for (int n = 0; n < b->nodes; n++)
        redisFree(c[n]);
}

static void *hiredis_thread(void *arg)
{
    hiredis_gets(arg, 1);
    return NULL;
}

/* ---- all ---- */

static long run_threads(struct bench *b, void *(*work)(void *), int n)
{
    pthread_t threads[THREADS_MAX];
    n = n > THREADS_MAX ? THREADS_MAX : n;
    for (int i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, work, b) != 0)
            die("thread", "cannot start");
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    return b->count * n;
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct larder_error err;
    struct larder_options o;
    if (argc < 5)
        die("usage",
            "client_bench larder|hiredis get|pipeline|threads|mget|sorted ADDRESSES COUNT [THREADS]");
    bool ours = strcmp(argv[1], "larder") == 0;
    int threads = argc > 5 ? atoi(argv[5]) : 8;
    const char *what = argv[2];
    char list[1024];
    snprintf(list, sizeof list, "%s", argv[3]);
    read_nodes(&b, list);
    larder_options_init(&o);
    o.topology = b.nodes == 1 ? LARDER_TOPOLOGY_SINGLE : LARDER_TOPOLOGY_RING;
    if (larder_open(argv[3], &o, &b.l, &err) < 0)
        die("open", err.text);
    fill(&b);
    b.count = strtol(argv[4], NULL, 10);
    long requests = b.count;
    double begun = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    if (strcmp(what, "get") == 0)
        ours ? larder_gets(&b, b.count) : hiredis_gets(&b, 1);
    else if (strcmp(what, "pipeline") == 0)
        ours ? larder_pipelines(&b) : hiredis_gets(&b, PIPELINE);
    else if (strcmp(what, "mget") == 0)
        ours ? larder_mgets(&b) : hiredis_mgets(&b);
    else if (strcmp(what, "sorted") == 0)
        ours ? larder_mgets(&b) : hiredis_sorted(&b);
    else
        requests = run_threads(&b, ours ? larder_thread : hiredis_thread, threads);
    printf("%ld %.6f %.6f\n", requests, seconds(CLOCK_MONOTONIC) - begun,
           seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    larder_ring_free(b.ring);
    larder_close(b.l);
    return 0;
}
