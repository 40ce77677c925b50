/* What `larder bench` can be told, and the checking of it.
 *
 * Parsing neither prints nor exits: it leaves a sentence for the person. */
#ifndef LARDER_TOOL_BENCH_OPTIONS_H
#define LARDER_TOOL_BENCH_OPTIONS_H

#include "base/annotate.h"
#include "base/arena.h"
#include "base/str.h"
#include "tool/bench/keydist.h"
#include "tool/bench/scan.h"
#include "tool/bench/spread.h"

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum options_limits {
    OPTIONS_CLIENTS_MAX = 100000,
    OPTIONS_THREADS_MAX = 256,
    OPTIONS_PIPELINE_MAX = 10000,
    OPTIONS_ERROR_MAX = 320,
    OPTIONS_MEMCACHED_KEY_MAX = 250,
    OPTIONS_LOGNORMAL_MAX = 1024 * 1024, /* longer values are drawn this long */
};

enum options_arrivals { ARRIVALS_EVEN, ARRIVALS_POISSON };
enum options_output { OUTPUT_TEXT, OUTPUT_CSV, OUTPUT_JSON };

struct options {
    /* the server; texts are borrowed from argv or the environment */
    const char *host, *socket, *user, *password;
    uint64_t port, db;
    bool resp3;
    enum scan_protocol protocol;
    /* how it is driven */
    uint64_t clients, threads, pipeline;
    double rate; /* requests a second, 0: closed loop */
    enum options_arrivals arrivals;
    uint64_t requests; /* UINT64_MAX: not given */
    double seconds;    /* 0: not given, the requests decide */
    double warmup_s;
    bool load;
    /* what it is asked */
    uint64_t gets, sets;
    const char *command;
    struct str *words; /* the command's, in `arena` */
    uint32_t nwords;
    struct spread value_size, ttl_s;
    /* keys */
    uint64_t keys, key_size, seed;
    const char *key_prefix;
    enum keydist_kind distribution;
    double theta;
    /* what is watched and how it is told */
    bool pinned;
    cpu_set_t cpus;
    uint64_t server_pid; /* 0: none */
    enum options_output output;
    bool quiet;
    struct arena arena;
};

struct options_error {
    char text[OPTIONS_ERROR_MAX];
};

enum options_verdict { OPTIONS_OK, OPTIONS_HELP, OPTIONS_WRONG };

/* argv[0] is not looked at. After OPTIONS_WRONG err holds a sentence without a
 * full stop or newline. Call options_release() in any case. */
enum options_verdict options_parse(int argc, char **argv, struct options *o,
                                   struct options_error *err) MUST_CHECK;
void options_release(struct options *o);

void options_help(FILE *to);

/* "127.0.0.1:6379" or the socket's path. */
void options_address(const struct options *o, char *out, size_t n);

#endif
