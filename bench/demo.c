/* What `./quickstart --demo` shows: an application that reads through a cache cluster while one of its
 * primaries is killed. A trace is replayed by liblarder, cache-aside: GET; on a miss the value comes "from
 * the database" and is SET. While the cache does not answer the database does, and nothing is stored.
 *
 *      thread 0 .. n-1    its keys' requests, in the order of the trace, as fast as they are answered
 *      probe              SET of a key of the node that will be killed, a hundred times a second
 *      main               a line a second; at half of the requests the kill; the summary
 *
 * The outage is what the probe saw, from the last write acknowledged before the kill to the first after it;
 * for reads it is what failed. A trace that ends sooner than the outage is waited out.
 *
 * Time is not compressed: a TTL of the trace is as many real seconds. */
#include "base/err.h"
#include "bench/replay/gen.h"
#include "tool/bench/hist.h"

#include <errno.h>
#include <getopt.h>
#include <larder/larder.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

enum {
    KEY_BYTES = 20,
    THREADS = 8,
    THREADS_MAX = 64,
    PROBE_MS = 10,
    CALL_MS = 200,       /* of one attempt, and */
    DEADLINE_MS = 500,   /* of a call: what an application waits for its cache */
    HEALED_S = 60,       /* a cluster that has not healed then will not */
    PROBES_MAX = 100000, /* names tried for a key of that node */
};

struct demo;

struct player {
    struct demo *demo;
    unsigned number;
    pthread_t thread;
    struct hist latencies; /* of GETs, in ns; this thread writes it */
    _Atomic uint64_t done, hits, reads_failed, stored, writes_failed;
    _Atomic int64_t last_read_failed_ns;
    char why[LARDER_ERROR_TEXT]; /* the first failure; read when the thread has ended */
};

struct demo {
    larder *cache;
    struct trace trace;
    const char *addresses, *node,
        *source; /* node: whose process `kill` is; source: the text trace, "-" stdin */
    int kill;
    unsigned threads;
    struct player players[THREADS_MAX];
    char *value;
    _Atomic bool over;
    /* The probe's. */
    pthread_t probe;
    char probe_key[64];
    _Atomic int64_t killed_ns, written_before_ns, written_after_ns;
};

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
    interrupted = 1;
}

static void die(const char *what, const char *why)
{
    fprintf(stderr, "demo: %s: %s\n", what, why);
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* ---- the application ---- */

static void note_failure(struct player *p, const struct larder_error *err)
{
    if (p->why[0] == '\0')
        snprintf(p->why, sizeof p->why, "%s", err->text);
}

static void request(struct player *p, const struct trace_request *r)
{
    struct demo *d = p->demo;
    struct larder_error err;
    struct larder_value found;
    char key[TRACE_KEY_BYTES_MAX + 1];
    int n = snprintf(key, sizeof key, "%0*u", (int)d->trace.key_bytes, r->key);
    struct larder_bytes name = larder_bytes(key, (size_t)n);
    int64_t begun = now_ns();
    int status = larder_get(d->cache, name, &found, &err);
    hist_add(&p->latencies, (uint64_t)(now_ns() - begun), 1);
    larder_value_free(&found);
    p->done++;
    if (status == LARDER_OK) {
        p->hits++;
        return;
    }
    if (status < 0) {
        p->reads_failed++;
        p->last_read_failed_ns = now_ns();
        note_failure(p, &err);
        return;
    }
    int64_t ttl_ms = r->ttl_s > 0 ? (int64_t)r->ttl_s * 1000 : LARDER_TTL_DEFAULT;
    if (larder_set(d->cache, name, larder_bytes(d->value, r->bytes), ttl_ms, &err) == LARDER_OK) {
        p->stored++;
    } else {
        p->writes_failed++;
        note_failure(p, &err);
    }
}

static void *play(void *arg)
{
    struct player *p = arg;
    struct demo *d = p->demo;
    for (uint64_t i = 0; i < d->trace.n && !interrupted; i++)
        if (d->trace.requests[i].key % d->threads == p->number)
            request(p, &d->trace.requests[i]);
    return NULL;
}

/* ---- the probe ---- */

static void find_probe_key(struct demo *d)
{
    char owner[LARDER_RING_NAME_MAX + 1];
    struct larder_error err;
    for (int i = 0; i < PROBES_MAX; i++) {
        snprintf(d->probe_key, sizeof d->probe_key, "larder:demo:probe:%d", i);
        if (larder_node_of(d->cache, larder_text(d->probe_key), owner, sizeof owner, &err) < 0)
            die("the cluster", err.text);
        if (strcmp(owner, d->node) == 0)
            return;
    }
    die(d->node, "owns no slot: give the address of a primary");
}

static void *probe(void *arg)
{
    struct demo *d = arg;
    while (!d->over) {
        int64_t begun = now_ns(), killed = d->killed_ns;
        int status =
            larder_set(d->cache, larder_text(d->probe_key), larder_text("alive"), LARDER_TTL_DEFAULT, NULL);
        if (status == LARDER_OK && killed == 0)
            d->written_before_ns = now_ns();
        else if (status == LARDER_OK && d->written_after_ns == 0 && begun > killed)
            d->written_after_ns = now_ns();
        sleep_ms(PROBE_MS);
    }
    return NULL;
}

/* ---- what is told ---- */

struct sums {
    uint64_t done, hits, reads_failed, stored, writes_failed;
    int64_t last_read_failed_ns;
    struct hist latencies;
};

static void add_up(const struct demo *d, struct sums *s)
{
    memset(s, 0, sizeof *s);
    for (unsigned i = 0; i < d->threads; i++) {
        const struct player *p = &d->players[i];
        s->done += p->done;
        s->hits += p->hits;
        s->reads_failed += p->reads_failed;
        s->stored += p->stored;
        s->writes_failed += p->writes_failed;
        if (p->last_read_failed_ns > s->last_read_failed_ns)
            s->last_read_failed_ns = p->last_read_failed_ns;
        hist_merge(&s->latencies, &p->latencies);
    }
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole > 0 ? 100.0 * (double)part / (double)whole : 0;
}

static void tell_progress(const struct demo *d, const struct sums *now, const struct sums *before,
                          double seconds)
{
    static struct hist since;
    since = now->latencies;
    hist_subtract(&since, &before->latencies);
    uint64_t done = now->done - before->done;
    uint64_t failed = now->reads_failed + now->writes_failed - before->reads_failed - before->writes_failed;
    printf("%4.0f %%  %8.0f requests/s   hits %5.1f %%   p99 %7.2f ms   failed %llu\n",
           percent(now->done, d->trace.n), (double)done / seconds, percent(now->hits - before->hits, done),
           (double)hist_quantile(&since, 0.99) / 1e6, (unsigned long long)failed);
    fflush(stdout);
}

static void tell_outage(const struct demo *d, const struct sums *s)
{
    int64_t killed = d->killed_ns, reads = s->last_read_failed_ns;
    if (killed == 0)
        return;
    if (d->written_after_ns > 0)
        printf("  outage, writes     %.2f s to the killed node's slots: from the last that was acknowledged "
               "before the "
               "kill to the first after\n",
               (double)(d->written_after_ns - d->written_before_ns) / 1e9);
    else
        printf("  outage, writes     NOT OVER: no write to the killed node's slots was acknowledged since\n");
    if (reads > killed)
        printf("  outage, reads      %llu failed, the last %.2f s after the kill; replicas answered the "
               "others\n",
               (unsigned long long)s->reads_failed, (double)(reads - killed) / 1e9);
    else
        printf("  outage, reads      none that an application saw: replicas answered\n");
}

static void tell_all(const struct demo *d, const struct sums *s, double seconds)
{
    printf("\n%s, %.1f s, %u threads of one client:\n", interrupted ? "Interrupted" : "The whole trace",
           seconds, d->threads);
    printf("  throughput         %.0f requests/s (%llu of them, and %llu values stored)\n",
           (double)s->done / seconds, (unsigned long long)s->done, (unsigned long long)s->stored);
    printf("  hit ratio          %.2f %%\n", percent(s->hits, s->done));
    printf("  latency of a GET   p50 %.2f ms, p99 %.2f ms, longest %.0f ms\n",
           (double)hist_quantile(&s->latencies, 0.5) / 1e6, (double)hist_quantile(&s->latencies, 0.99) / 1e6,
           (double)hist_max(&s->latencies) / 1e6);
    printf("  failed calls       %llu reads, %llu writes: to the application a miss that it does not store\n",
           (unsigned long long)s->reads_failed, (unsigned long long)s->writes_failed);
    tell_outage(d, s);
    for (unsigned i = 0; i < d->threads; i++)
        if (d->players[i].why[0] != '\0') {
            printf("  the first failure of a thread: %s\n", d->players[i].why);
            break;
        }
}

/* ---- the run ---- */

static void kill_it(struct demo *d)
{
    d->killed_ns = now_ns();
    if (kill(d->kill, SIGKILL) < 0)
        die("the node could not be killed", strerror(errno));
    printf("   --  half-way: kill -9 %d, the primary %s\n", d->kill, d->node);
    fflush(stdout);
}

/* What was killed is made up for, if anything was to be killed. */
static bool healed(const struct demo *d)
{
    return d->kill == 0 || d->written_after_ns > 0;
}

static void run(struct demo *d, struct sums *s, double *seconds)
{
    static struct sums before;
    int64_t begun = now_ns(), told = begun, ended = 0;
    if (d->kill > 0 && pthread_create(&d->probe, NULL, probe, d) != 0)
        die("a thread", "cannot be started");
    for (unsigned i = 0; i < d->threads; i++)
        if (pthread_create(&d->players[i].thread, NULL, play, &d->players[i]) != 0)
            die("a thread", "cannot be started");
    for (;;) {
        sleep_ms(PROBE_MS);
        add_up(d, s);
        int64_t now = now_ns();
        if (d->kill > 0 && d->killed_ns == 0 && d->written_before_ns > 0 && s->done >= d->trace.n / 2)
            kill_it(d);
        if (now - told >= 1000000000 && ended == 0) {
            tell_progress(d, s, &before, (double)(now - told) / 1e9);
            before = *s;
            told = now;
        }
        if (ended == 0 && s->done == d->trace.n) {
            ended = now;
            if (!healed(d))
                printf("   --  the trace has ended before the replica has taken over: waiting for it\n");
            fflush(stdout);
        }
        if (interrupted || (ended > 0 && (healed(d) || now - ended > (int64_t)HEALED_S * 1000000000)))
            break;
    }
    for (unsigned i = 0; i < d->threads; i++)
        pthread_join(d->players[i].thread, NULL);
    d->over = true;
    if (d->kill > 0)
        pthread_join(d->probe, NULL);
    add_up(d, s);
    *seconds = (double)((ended > 0 ? ended : now_ns()) - begun) / 1e9;
}

/* ---- the beginning ---- */

static void invent(struct demo *d, uint64_t requests)
{
    /* Twitter's cluster 52, as in bench/twitter.csv. */
    struct gen_shape shape = {
        .requests = requests, .seed = 1, .key_bytes = KEY_BYTES, .value_mean = 273, .value_sigma = 0.8};
    struct trace_err err;
    shape.accesses = 32.6;
    shape.one_hit = 0.194;
    shape.theta = 1;
    shape.seconds = 86400;
    if (gen_parse_ttls("86400:0.65,1209600:0.27,43200:0.07", &shape) < 0 ||
        gen_make(&shape, &d->trace, &err) < 0)
        die("the trace", err.text);
}

static void read_trace(struct demo *d)
{
    struct trace_err err;
    FILE *from = strcmp(d->source, "-") == 0 ? stdin : fopen(d->source, "r");
    if (from == NULL)
        die(d->source, strerror(errno));
    if (trace_read_text(from, KEY_BYTES, &d->trace, &err) < 0)
        die("the trace", err.text);
    if (from != stdin)
        fclose(from);
}

static void usage(void)
{
    fprintf(stderr, "usage: demo [--trace FILE|-] [--requests N] [--threads N] [--kill PID --node HOST:PORT] "
                    "ADDRESSES\n");
    exit(2);
}

static void parse(struct demo *d, int argc, char **argv, uint64_t *requests)
{
    static const struct option options[] = {
        {"trace", required_argument, NULL, 't'},   {"requests", required_argument, NULL, 'r'},
        {"threads", required_argument, NULL, 'n'}, {"kill", required_argument, NULL, 'k'},
        {"node", required_argument, NULL, 'o'},    {NULL, 0, NULL, 0},
    };
    long threads = THREADS;
    *requests = 1000000;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 't': d->source = optarg; break;
        case 'r': *requests = strtoull(optarg, NULL, 10); break;
        case 'n': threads = strtol(optarg, NULL, 10); break;
        case 'k': d->kill = (int)strtol(optarg, NULL, 10); break;
        case 'o': d->node = optarg; break;
        default: usage();
        }
    }
    if (optind != argc - 1 || threads < 1 || threads > THREADS_MAX || (d->kill > 0) != (d->node != NULL))
        usage();
    d->addresses = argv[optind];
    d->threads = (unsigned)threads;
}

int main(int argc, char **argv)
{
    static struct demo d;
    static struct sums sums;
    struct larder_options o;
    struct larder_error err;
    uint64_t requests;
    double seconds;
    parse(&d, argc, argv, &requests);
    d.value = calloc(1, TRACE_VALUE_MAX);
    if (d.value == NULL)
        die("the values", "out of memory");
    if (d.source != NULL)
        read_trace(&d);
    else
        invent(&d, requests);
    larder_options_init(&o);
    o.command_timeout_ms = o.connect_timeout_ms = CALL_MS;
    o.deadline_ms = DEADLINE_MS;
    if (larder_open(d.addresses, &o, &d.cache, &err) < 0)
        die("the cluster", err.text);
    if (d.kill > 0)
        find_probe_key(&d);
    for (unsigned i = 0; i < d.threads; i++) {
        d.players[i].demo = &d;
        d.players[i].number = i;
    }
    sigaction(SIGINT, &(struct sigaction){.sa_handler = interrupt}, NULL);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = interrupt}, NULL);
    printf("%llu requests for %llu keys%s\n", (unsigned long long)d.trace.n, (unsigned long long)d.trace.keys,
           d.source != NULL ? "" : ", invented after published statistics of Twitter's caches");
    run(&d, &sums, &seconds);
    tell_all(&d, &sums, seconds);
    bool well = !interrupted && healed(&d);
    larder_close(d.cache);
    trace_release(&d.trace);
    free(d.value);
    return well ? 0 : interrupted ? 130 : 1;
}
