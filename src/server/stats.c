#include "server/stats.h"

#include "base/alloc.h"
#include "os/clock.h"
#include "os/proc.h"
#include "server/server.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

void stats_init(struct stats *s)
{
    memset(s, 0, sizeof *s);
    pthread_mutex_init(&s->mutex, NULL);
}

void stats_sum(const struct server *s, struct metrics_sum *out)
{
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < s->nworkers; i++)
        metrics_add(&s->workers[i].metrics, out);
    metrics_add(&s->lane.metrics, out);
}

void stats_sum_command(const struct server *s, const struct command *cmd, struct command_sum *out)
{
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < s->nworkers; i++)
        metrics_add_command(&s->workers[i].metrics, cmd, out);
    metrics_add_command(&s->lane.metrics, cmd, out);
}

uint64_t stats_command_ticks(const struct server *s)
{
    size_t n;
    const struct command *rows = command_rows(&n);
    uint64_t ticks = 0;
    for (size_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < s->nworkers; k++)
            ticks += counter_read(&s->workers[k].metrics.by_command[rows[i].id].ticks);
        ticks += counter_read(&s->lane.metrics.by_command[rows[i].id].ticks);
    }
    return ticks;
}

uint64_t stats_hits(const struct server *s)
{
    uint64_t n = counter_read(&s->lane.counters.hits);
    for (uint32_t i = 0; i < s->nworkers; i++)
        n += counter_read(&s->workers[i].counters.hits);
    return n;
}

uint64_t stats_misses(const struct server *s)
{
    uint64_t n = counter_read(&s->lane.counters.misses);
    for (uint32_t i = 0; i < s->nworkers; i++)
        n += counter_read(&s->workers[i].counters.misses);
    return n;
}

/* What has come on top of `total` since the last sample; 0 after a reset. */
static uint64_t gained(struct stats_rate *r, uint64_t total)
{
    uint64_t delta = total >= r->last ? total - r->last : 0;
    r->last = total;
    return delta;
}

static void put_sample(struct stats_rate *r, unsigned at, uint64_t value)
{
    r->sample[at % STATS_SAMPLES] = value;
    uint64_t sum = 0;
    for (unsigned i = 0; i < STATS_SAMPLES; i++)
        sum += r->sample[i];
    atomic_store_explicit(&r->per_second, sum / STATS_SAMPLES, memory_order_relaxed);
}

static void sample(struct stats_rate *r, unsigned at, uint64_t total, int64_t ns)
{
    uint64_t delta = gained(r, total);
    put_sample(r, at, ns > 0 ? delta * 1000000000u / (uint64_t)ns : 0);
}

static void sample_rounds(struct stats *st, const struct metrics_sum *sum, int64_t ns)
{
    uint64_t before = st->rounds.last;
    sample(&st->rounds, st->at, sum->rounds, ns);
    uint64_t us = gained(&st->round_us, os_ticks_to_ns(sum->round_ticks) / 1000);
    put_sample(&st->round_us, st->at, sum->rounds > before ? us / (sum->rounds - before) : 0);
}

/* ---- memory ---- */

enum statm { STATM_RESIDENT = 1, STATM_SHARED = 2 };

static uint64_t statm(enum statm field)
{
    int64_t pages;
    if (proc_number("/proc/self/statm", field, &pages) != 0)
        return 0;
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Without mapped files: parts of the program that are used for the first time are no data. */
static uint64_t rss_of_memory(void)
{
    uint64_t all = statm(STATM_RESIDENT), files = statm(STATM_SHARED);
    return all > files ? all - files : 0;
}

void stats_note_empty(struct server *s)
{
    struct mem_stats ms;
    mem_stats_read(&ms);
    s->stats.beside_heap = (int64_t)rss_of_memory() - (int64_t)ms.resident;
    s->stats.heap_before = ms.allocated;
}

static void sample_memory(struct server *s, int64_t now_ns)
{
    struct stats *st = &s->stats;
    struct mem_stats ms;
    mem_stats_read(&ms);
    uint64_t used = ms.allocated + store_outside_heap(s->store);
    if (used > atomic_load_explicit(&st->peak_memory, memory_order_relaxed))
        atomic_store_explicit(&st->peak_memory, used, memory_order_relaxed);
    struct store_process p = {
        .rss = rss_of_memory(),
        .beside = st->beside_heap,
        .heap_before = st->heap_before,
        .heap_allocated = ms.allocated,
        .heap_active = ms.active,
        .heap_resident = ms.resident,
        .now_ms = now_ns / 1000000,
    };
    if (p.rss != 0 && p.heap_allocated != 0) /* else there is no /proc, or a sanitizer's heap */
        store_note_process(s->store, &p);
}

void stats_sample(struct server *s)
{
    struct stats *st = &s->stats;
    struct metrics_sum sum;
    int64_t now = os_mono_ns(), ns = now - st->last_ns;
    stats_sum(s, &sum);
    st->last_ns = now;
    sample(&st->commands, st->at, sum.commands, ns);
    sample(&st->net_in, st->at, sum.net_in, ns);
    sample(&st->net_out, st->at, sum.net_out, ns);
    store_trim_heap(s->store, UINT64_MAX);
    sample(&st->repl_in, st->at, atomic_load(&s->repl.shown.net_in), ns);
    sample(&st->repl_out, st->at, atomic_load(&s->repl.shown.net_out), ns);
    sample_rounds(st, &sum, ns);
    if (st->at++ % STATS_MEMORY_EVERY == 0)
        sample_memory(s, now);
}

void stats_reset(struct server *s)
{
    for (uint32_t i = 0; i < s->nworkers; i++) {
        metrics_reset(&s->workers[i].metrics);
        counter_set(&s->workers[i].counters.hits, 0);
        counter_set(&s->workers[i].counters.misses, 0);
    }
    metrics_reset(&s->lane.metrics);
    counter_set(&s->lane.counters.hits, 0);
    counter_set(&s->lane.counters.misses, 0);
    store_stats_reset(s->store);
    slot_stats_reset(&s->slot_stats);
    pthread_mutex_lock(&s->stats.mutex);
    s->stats.nerrors = 0;
    pthread_mutex_unlock(&s->stats.mutex);
    atomic_store(&s->stats.auth_failed, 0);
    atomic_store(&s->stats.peak_memory, stats_used_memory(s));
    s->stats_since_ms = os_wall_ms();
}

/* The code is the first word behind '-'. */
static struct str error_code(const struct reply *r, size_t start)
{
    const char *p = r->bytes.p + start, *end = r->bytes.p + r->bytes.n;
    if (start >= r->bytes.n || *p != '-')
        return STR("");
    const char *at = ++p;
    while (at < end && at - p < STATS_ERROR_NAME_MAX - 1 && *at != ' ' && *at != '\r')
        at++;
    return (struct str){p, (size_t)(at - p)};
}

void stats_note_error(struct server *s, const struct reply *r, size_t start)
{
    struct stats *st = &s->stats;
    struct str code = error_code(r, start);
    if (code.n == 0)
        return;
    pthread_mutex_lock(&st->mutex);
    uint32_t i = 0;
    while (i < st->nerrors && !str_eq(code, str_of(st->error[i].name)))
        i++;
    if (i < STATS_ERRORS_MAX) {
        if (i == st->nerrors) {
            st->nerrors++;
            memcpy(st->error[i].name, code.p, code.n);
            st->error[i].name[code.n] = '\0';
            st->error[i].count = 0;
        }
        st->error[i].count++;
    }
    pthread_mutex_unlock(&st->mutex);
}

uint64_t stats_rss(void)
{
    return statm(STATM_RESIDENT);
}

uint64_t stats_machine_memory(void)
{
    uint64_t bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    int64_t allowed;
    if (proc_number("/sys/fs/cgroup/memory.max", 0, &allowed) == 0 && (uint64_t)allowed < bytes)
        bytes = (uint64_t)allowed;
    return bytes;
}

uint64_t stats_used_memory(const struct server *s)
{
    struct mem_stats ms;
    mem_stats_read(&ms);
    return ms.allocated + store_outside_heap(s->store);
}
