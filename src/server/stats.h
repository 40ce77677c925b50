/* The node's figures: sums over all threads, rates, error codes.
 *
 * Sums are computed when somebody asks. Rates are sampled by the main thread ten times a second;
 * the last 16 samples make the "instantaneous" figures of INFO. */
#ifndef LARDER_SERVER_STATS_H
#define LARDER_SERVER_STATS_H

#include "server/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

struct server;
struct reply;

enum stats_sizes {
    STATS_SAMPLES = 16,
    STATS_MEMORY_EVERY = 2, /* ticks: asking the heap takes its locks */
    STATS_ERRORS_MAX = 128,
    STATS_ERROR_NAME_MAX = 32,
};

struct stats_rate {
    uint64_t last, sample[STATS_SAMPLES]; /* main thread only */
    _Atomic uint64_t per_second;          /* mean of the samples */
};

struct stats {
    struct stats_rate commands, net_in, net_out, repl_in, repl_out, rounds;
    struct stats_rate round_us;   /* microseconds a round, not a second */
    _Atomic uint64_t auth_failed; /* names or passwords refused */
    int64_t last_ns;
    unsigned at;
    _Atomic uint64_t peak_memory; /* bytes */
    int64_t beside_heap;   /* resident before the first client, less the heap; boot, then main thread */
    uint64_t heap_before;  /* ... and what was allocated of that */
    pthread_mutex_t mutex; /* leaf: errors */
    uint32_t nerrors;
    struct {
        char name[STATS_ERROR_NAME_MAX];
        uint64_t count;
    } error[STATS_ERRORS_MAX];
};

void stats_init(struct stats *s);
/* Boot, once all is set up and no client is served yet: what an empty node takes. */
void stats_note_empty(struct server *s);
/* The main thread's tick. Also corrects the store's accounts by what is resident (store_note_process). */
void stats_sample(struct server *s);
void stats_reset(struct server *s); /* gate: everything that CONFIG RESETSTAT resets */

void stats_sum(const struct server *s, struct metrics_sum *out);
/* Ticks that commands have taken, all together. */
uint64_t stats_command_ticks(const struct server *s);
void stats_sum_command(const struct server *s, const struct command *cmd, struct command_sum *out);
uint64_t stats_hits(const struct server *s);
uint64_t stats_misses(const struct server *s);

/* Count the error reply that begins at offset `start` of r, by its code. */
void stats_note_error(struct server *s, const struct reply *r, size_t start);

/* Bytes: resident set of this process; data, buffers and everything as used_memory shows it. */
uint64_t stats_rss(void);
uint64_t stats_machine_memory(void); /* or what its control group is allowed, if that is less */
uint64_t stats_used_memory(const struct server *s);

#endif
