/* What a thread counts while it serves: its own cache lines, added up by INFO.
 *
 * Plain counters are rows of metrics.def. Latencies go into log-linear histograms of ticks
 * (os/clock.h): four buckets an octave, so a quantile is right within 12 %. A
 * command's histogram is allocated when the command is first called on that thread. */
#ifndef LARDER_SERVER_METRICS_H
#define LARDER_SERVER_METRICS_H

#include "base/counter.h"
#include "cmd/command.h"

#include <stdbool.h>
#include <stdint.h>

enum metrics_sizes { METRICS_HIST_BUCKETS = 48 * 4 };

struct command_metrics {
    struct counter calls, ticks, failed, rejected;
    struct counter *_Atomic hist; /* METRICS_HIST_BUCKETS; the owner sets it once, with release order */
};

struct metrics {
#define METRIC(field, name, help) struct counter field;
#include "server/metrics.def"
#undef METRIC
    struct counter round_ticks, round_ticks_max, round_commands_max; /* of its event loop, asleep or waiting
                                                                        for the gate not counted */
    struct command_metrics *by_command; /* indexed by command id; allocated at boot */
};

/* The same, added up over threads. */
struct metrics_sum {
#define METRIC(field, name, help) uint64_t field;
#include "server/metrics.def"
#undef METRIC
    uint64_t round_ticks, round_ticks_max, round_commands_max;
};

struct command_sum {
    uint64_t calls, ticks, failed, rejected;
    uint64_t hist[METRICS_HIST_BUCKETS];
};

int metrics_init(struct metrics *m);
void metrics_release(struct metrics *m);
void metrics_reset(struct metrics *m); /* gate */

/* Owner: a round of its event loop began at tick `from`, when m->commands was `commands`, and ends now. */
void metrics_end_round(struct metrics *m, uint64_t from, uint64_t commands);

/* Any thread: add m's counters to the sum. */
void metrics_add(const struct metrics *m, struct metrics_sum *sum);
void metrics_add_command(const struct metrics *m, const struct command *cmd, struct command_sum *sum);
/* The row's name in INFO and its value; NULL beyond the last. */
const char *metrics_row(const struct metrics_sum *sum, unsigned i, uint64_t *value);

/* The ticks below which `q` (0 to 1) of the recorded calls lie; 0 when there are none. */
uint64_t metrics_quantile(const struct command_sum *sum, double q);

unsigned metrics_bucket(uint64_t ticks);
uint64_t metrics_bucket_top(unsigned bucket); /* largest ticks that fall into it */

/* `calls` of `cmd` that took `ticks` together, each the mean; the last may have failed. Owner only. */
void metrics_record(struct metrics *m, const struct command *cmd, uint32_t calls, uint64_t ticks,
                    bool failed);

#endif
