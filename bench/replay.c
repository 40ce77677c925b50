/* Traces and what caches make of them: the tool below bench/hitratio.
 *
 * Every command prints one JSON object to stdout; what went wrong is a sentence on stderr
 * and exit code 1, wrong usage 2. See bench/README.md for how the parts work together. */
#include "base/alloc.h"
#include "base/err.h"
#include "bench/replay/bound.h"
#include "bench/replay/gen.h"
#include "bench/replay/play.h"
#include "bench/replay/stats.h"

#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CAPACITIES_MAX = 16, KEY_BYTES = 20, WINDOW = 32 };

static const char usage[] =
    "usage: replay pack [--key-bytes N] OUT < CSV   seconds,key,value_bytes,ttl_seconds into a packed trace\n"
    "       replay make SHAPE... OUT                invent one; SHAPE: --requests N --accesses MEAN\n"
    "                 --one-hit PERCENT --value-bytes MEAN --ttls S:SHARE,... --seconds S\n"
    "                 [--key-bytes N] [--theta Z] [--sigma S] [--seed N]\n"
    "       replay stats TRACE                      what it is like\n"
    "       replay bounds TRACE BYTES...            misses of exact LRU, of Belady, and the least possible\n"
    "       replay play TRACE --port N [--host IP] [--memcached] [--window N]\n"
    "                 [--server-pid P] [--clock FILE]     against a server\n";

struct arguments {
    struct gen_shape shape;
    struct play_options play;
    const char *ttls;
    char **rest;
    int nrest;
};

static int wrong_usage(const char *what)
{
    fprintf(stderr, "replay: %s\n%s", what, usage);
    return 2;
}

static int failed(const char *what)
{
    fprintf(stderr, "replay: %s\n", what);
    return 1;
}

enum choice {
    KEY_SIZE,
    REQUESTS,
    ACCESSES,
    ONE_HIT,
    VALUE_BYTES,
    TTLS,
    SECONDS,
    THETA,
    SIGMA,
    SEED,
    HOST,
    PORT,
    MEMCACHED,
    WINDOW_SIZE,
    CLOCK_FILE,
    SERVER_PID,
};

static const struct option long_options[] = {
    {"key-bytes", required_argument, NULL, KEY_SIZE},
    {"requests", required_argument, NULL, REQUESTS},
    {"accesses", required_argument, NULL, ACCESSES},
    {"one-hit", required_argument, NULL, ONE_HIT},
    {"value-bytes", required_argument, NULL, VALUE_BYTES},
    {"ttls", required_argument, NULL, TTLS},
    {"seconds", required_argument, NULL, SECONDS},
    {"theta", required_argument, NULL, THETA},
    {"sigma", required_argument, NULL, SIGMA},
    {"seed", required_argument, NULL, SEED},
    {"host", required_argument, NULL, HOST},
    {"port", required_argument, NULL, PORT},
    {"memcached", no_argument, NULL, MEMCACHED},
    {"window", required_argument, NULL, WINDOW_SIZE},
    {"clock", required_argument, NULL, CLOCK_FILE},
    {"server-pid", required_argument, NULL, SERVER_PID},
    {NULL, 0, NULL, 0},
};

/* All numbers of the command line are read alike; what must be whole is rounded. */
static bool set_number(struct arguments *a, int option, double v)
{
    switch (option) {
    case KEY_SIZE:
        a->shape.key_bytes = (uint32_t)v;
        return v >= TRACE_KEY_BYTES_MIN && v <= TRACE_KEY_BYTES_MAX;
    case REQUESTS: a->shape.requests = (uint64_t)v; return v >= 1;
    case ACCESSES: a->shape.accesses = v; return true;
    case ONE_HIT: a->shape.one_hit = v / 100; return true;
    case VALUE_BYTES: a->shape.value_mean = v; return true;
    case SECONDS: a->shape.seconds = v; return true;
    case THETA: a->shape.theta = v; return true;
    case SIGMA: a->shape.value_sigma = v; return true;
    case SEED: a->shape.seed = (uint64_t)v; return true;
    case PORT: a->play.port = (int)v; return v >= 1 && v <= 65535;
    case WINDOW_SIZE: a->play.window = (uint32_t)v; return v >= 1 && v <= PLAY_WINDOW_MAX;
    default: a->play.server_pid = (int)v; return v >= 1 && v <= INT32_MAX;
    }
}

static int parse(int argc, char **argv, struct arguments *a)
{
    *a = (struct arguments){
        .shape = {.key_bytes = KEY_BYTES, .theta = 1, .value_sigma = 0.8, .seed = 1},
        .play = {.host = "127.0.0.1", .window = WINDOW},
    };
    for (int c; (c = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        char *end;
        if (c == '?')
            return 2;
        if (c == TTLS)
            a->ttls = optarg;
        else if (c == HOST)
            a->play.host = optarg;
        else if (c == CLOCK_FILE)
            a->play.clock = optarg;
        else if (c == MEMCACHED)
            a->play.protocol = SCAN_MEMCACHED;
        else {
            double v = strtod(optarg, &end);
            if (end == optarg || *end != 0 || !(v >= 0) || isinf(v) || !set_number(a, c, v))
                return wrong_usage(optarg);
        }
    }
    a->rest = argv + optind;
    a->nrest = argc - optind;
    return 0;
}

/* ---- the commands ------------------------------------------------------------------------ */

static void print_stats(const struct trace *t)
{
    struct stats s;
    stats_of(t, &s);
    printf("{\"requests\": %lu, \"keys\": %lu, \"key_bytes\": %u, \"value_mean\": %.3f, \"footprint\": %lu, "
           "\"seconds\": %.3f, \"accesses\": %.4f, \"one_hit_percent\": %.4f, \"compulsory_percent\": %.4f, "
           "\"first\": %lu, \"expired\": %lu, \"ttls\": [",
           s.requests, s.keys, t->key_bytes, s.value_mean, s.footprint, s.seconds,
           (double)s.requests / (double)s.keys, 100.0 * (double)s.one_hit_keys / (double)s.keys,
           100.0 * (double)s.first / (double)s.requests, s.first, s.expired);
    for (unsigned i = 0; i < s.nttls; i++)
        printf("%s[%u, %.4f]", i ? ", " : "", s.ttl[i], s.ttl_share[i]);
    printf("]}\n");
}

static int save(struct trace *t, const char *path)
{
    struct trace_err err;
    int rc = trace_save(t, path, &err);
    if (rc == 0)
        print_stats(t);
    trace_release(t);
    return rc == 0 ? 0 : failed(err.text);
}

static int command_pack(struct arguments *a)
{
    struct trace t;
    struct trace_err err;
    if (a->nrest != 1)
        return wrong_usage("pack needs the file to write");
    if (trace_read_text(stdin, a->shape.key_bytes, &t, &err) != 0)
        return failed(err.text);
    return save(&t, a->rest[0]);
}

static int command_make(struct arguments *a)
{
    struct trace t;
    struct trace_err err;
    if (a->nrest != 1)
        return wrong_usage("make needs the file to write");
    if (a->ttls == NULL || gen_parse_ttls(a->ttls, &a->shape) != 0)
        return wrong_usage("--ttls is seconds:share or low-high:share, separated by commas");
    if (gen_make(&a->shape, &t, &err) != 0)
        return failed(err.text);
    return save(&t, a->rest[0]);
}

static int load(struct arguments *a, struct trace *t)
{
    struct trace_err err;
    if (a->nrest < 1)
        return wrong_usage("which trace?");
    return trace_load(a->rest[0], t, &err) == 0 ? 0 : failed(err.text);
}

static int command_stats(struct arguments *a)
{
    struct trace t;
    int rc = load(a, &t);
    if (rc != 0)
        return rc;
    print_stats(&t);
    trace_release(&t);
    return 0;
}

static int command_bounds(struct arguments *a)
{
    struct trace t;
    uint64_t capacity[CAPACITIES_MAX], least[CAPACITIES_MAX];
    unsigned n = 0;
    for (int i = 1; i < a->nrest && n < CAPACITIES_MAX; i++) {
        char *end;
        capacity[n++] = strtoull(a->rest[i], &end, 10);
        if (*end != 0 || end == a->rest[i])
            return wrong_usage("bounds takes bytes behind the trace");
    }
    int rc = load(a, &t);
    if (rc != 0)
        return rc;
    struct stats s;
    stats_of(&t, &s);
    bound_sized(&t, capacity, n, least);
    printf("{\"unavoidable\": %lu, \"capacities\": [", stats_unavoidable(&s));
    for (unsigned i = 0; i < n; i++) {
        uint64_t objects = (uint64_t)((double)capacity[i] / ((double)s.footprint / (double)s.keys));
        printf("%s{\"bytes\": %lu, \"lru\": %lu, \"belady_objects\": %lu, \"belady\": %lu, \"least\": %lu}",
               i ? ", " : "", capacity[i], bound_lru(&t, capacity[i]), objects, bound_belady(&t, objects),
               least[i]);
    }
    printf("]}\n");
    trace_release(&t);
    return 0;
}

static int command_play(struct arguments *a)
{
    struct trace t;
    struct play_result r;
    struct play_err err;
    if (a->play.port == 0)
        return wrong_usage("play needs --port");
    int rc = load(a, &t);
    if (rc != 0)
        return rc;
    if (play(&t, &a->play, &r, &err) != 0) {
        trace_release(&t);
        return failed(err.text);
    }
    for (char *p = r.first_error; *p != 0; p++) /* a server's words, made safe for JSON */
        if (*p == '"' || *p == '\\' || *p < ' ')
            *p = '\'';
    printf("{\"requests\": %lu, \"hits\": %lu, \"misses\": %lu, \"stored\": %lu, \"refused\": %lu, "
           "\"seconds\": %.3f, \"rss_before\": %lu, \"rss_peak\": %lu, \"rss_after\": %lu, "
           "\"first_error\": \"%s\"}\n",
           t.n, r.hits, r.misses, r.stored, r.refused, r.seconds, r.rss_before, r.rss_peak, r.rss_after,
           r.first_error);
    trace_release(&t);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(struct arguments *a);
    } commands[] = {
        {"pack", command_pack},     {"make", command_make}, {"stats", command_stats},
        {"bounds", command_bounds}, {"play", command_play},
    };
    struct arguments a;
    if (argc < 2)
        return wrong_usage("what shall be done?");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        int rc = parse(argc - 1, argv + 1, &a);
        return rc != 0 ? rc : commands[i].run(&a);
    }
    return wrong_usage(argv[1]);
}
