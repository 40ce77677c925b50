#include "server/metrics.h"

#include "base/alloc.h"
#include "base/err.h"
#include "os/clock.h"

#include <string.h>

int metrics_init(struct metrics *m)
{
    size_t n;
    command_rows(&n);
    m->by_command = mem_zalloc(n * sizeof *m->by_command);
    return m->by_command == NULL ? ERR_OOM : 0;
}

void metrics_release(struct metrics *m)
{
    size_t n;
    command_rows(&n);
    for (size_t i = 0; m->by_command != NULL && i < n; i++)
        mem_free(atomic_load(&m->by_command[i].hist));
    mem_free(m->by_command);
    m->by_command = NULL;
}

void metrics_reset(struct metrics *m)
{
#define METRIC(field, name, help) counter_set(&m->field, 0);
#include "server/metrics.def"
#undef METRIC
    counter_set(&m->round_ticks, 0);
    counter_set(&m->round_ticks_max, 0);
    counter_set(&m->round_commands_max, 0);
    size_t n;
    command_rows(&n);
    for (size_t i = 0; i < n; i++) {
        struct command_metrics *cm = &m->by_command[i];
        counter_set(&cm->calls, 0);
        counter_set(&cm->ticks, 0);
        counter_set(&cm->failed, 0);
        counter_set(&cm->rejected, 0);
        struct counter *hist = atomic_load(&cm->hist);
        for (unsigned b = 0; hist != NULL && b < METRICS_HIST_BUCKETS; b++)
            counter_set(&hist[b], 0);
    }
}

static uint64_t larger(uint64_t a, const struct counter *b)
{
    uint64_t v = counter_read(b);
    return a > v ? a : v;
}

void metrics_add(const struct metrics *m, struct metrics_sum *sum)
{
#define METRIC(field, name, help) sum->field += counter_read(&m->field);
#include "server/metrics.def"
#undef METRIC
    sum->round_ticks += counter_read(&m->round_ticks);
    sum->round_ticks_max = larger(sum->round_ticks_max, &m->round_ticks_max);
    sum->round_commands_max = larger(sum->round_commands_max, &m->round_commands_max);
}

static void raise_to(struct counter *c, uint64_t v)
{
    if (v > counter_read(c))
        counter_set(c, v);
}

void metrics_end_round(struct metrics *m, uint64_t from, uint64_t commands)
{
    uint64_t ticks = os_ticks() - from, now = counter_read(&m->commands);
    counter_add(&m->rounds, 1);
    counter_add(&m->round_ticks, ticks);
    raise_to(&m->round_ticks_max, ticks);
    if (now > commands) /* not when it was reset meanwhile */
        raise_to(&m->round_commands_max, now - commands);
}

void metrics_add_command(const struct metrics *m, const struct command *cmd, struct command_sum *sum)
{
    const struct command_metrics *cm = &m->by_command[cmd->id];
    sum->calls += counter_read(&cm->calls);
    sum->ticks += counter_read(&cm->ticks);
    sum->failed += counter_read(&cm->failed);
    sum->rejected += counter_read(&cm->rejected);
    const struct counter *hist = atomic_load_explicit(&cm->hist, memory_order_acquire);
    for (unsigned b = 0; hist != NULL && b < METRICS_HIST_BUCKETS; b++)
        sum->hist[b] += counter_read(&hist[b]);
}

const char *metrics_row(const struct metrics_sum *sum, unsigned i, uint64_t *value)
{
    static const struct {
        const char *name;
        size_t at;
    } rows[] = {
#define METRIC(field, name, help) {name, offsetof(struct metrics_sum, field)},
#include "server/metrics.def"
#undef METRIC
    };
    if (i >= ARRAY_LEN(rows))
        return NULL;
    memcpy(value, (const char *)sum + rows[i].at, sizeof *value);
    return rows[i].name;
}

uint64_t metrics_quantile(const struct command_sum *sum, double q)
{
    uint64_t total = 0, seen = 0;
    for (unsigned b = 0; b < METRICS_HIST_BUCKETS; b++)
        total += sum->hist[b];
    uint64_t rank = (uint64_t)(q * (double)total + 0.5);
    for (unsigned b = 0; b < METRICS_HIST_BUCKETS && total > 0; b++) {
        seen += sum->hist[b];
        if (seen > 0 && seen >= rank)
            return metrics_bucket_top(b);
    }
    return 0;
}

/* 0-3 one by one, then four buckets for each power of two. */
unsigned metrics_bucket(uint64_t ticks)
{
    if (ticks < 4)
        return (unsigned)ticks;
    unsigned e = 63 - (unsigned)__builtin_clzll(ticks);
    unsigned b = (e - 1) * 4 + (unsigned)((ticks >> (e - 2)) & 3);
    return b < METRICS_HIST_BUCKETS ? b : METRICS_HIST_BUCKETS - 1;
}

uint64_t metrics_bucket_top(unsigned bucket)
{
    if (bucket < 4)
        return bucket;
    unsigned e = bucket / 4 + 1, sub = bucket % 4;
    return ((uint64_t)(4 + sub + 1) << (e - 2)) - 1;
}

static struct counter *first_hist(struct command_metrics *cm)
{
    struct counter *hist = mem_zalloc(METRICS_HIST_BUCKETS * sizeof *hist);
    atomic_store_explicit(&cm->hist, hist, memory_order_release);
    return hist;
}

void metrics_record(struct metrics *m, const struct command *cmd, uint32_t calls, uint64_t ticks, bool failed)
{
    struct command_metrics *cm = &m->by_command[cmd->id];
    counter_add(&m->commands, calls);
    counter_add(&cm->calls, calls);
    counter_add(&cm->ticks, ticks);
    if (unlikely(failed))
        counter_add(&cm->failed, 1);
    struct counter *hist = atomic_load_explicit(&cm->hist, memory_order_relaxed);
    if (unlikely(hist == NULL))
        hist = first_hist(cm);
    if (likely(hist != NULL))
        counter_add(&hist[metrics_bucket(calls == 1 ? ticks : ticks / calls)], calls);
}
