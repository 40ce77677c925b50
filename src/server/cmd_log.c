/* SLOWLOG and LATENCY: what took long. */
#include "server/handlers.h"

#include "os/clock.h"

/* ---- SLOWLOG ------------------------------------------------------------------------- */

static void reply_slowlog_entry(struct reply *r, const struct slowlog_entry *e)
{
    reply_array(r, 6);
    reply_int(r, (int64_t)e->id);
    reply_int(r, e->at_s);
    reply_int(r, (int64_t)e->us);
    reply_array(r, e->argc);
    for (uint32_t i = 0; i < e->argc; i++)
        reply_bulk(r, e->argv[i]);
    reply_cstr(r, e->peer);
    reply_cstr(r, e->name);
}

void cmd_slowlog_get(struct cmd_ctx *c)
{
    int64_t count = 10;
    if (c->argc > 3) {
        cmd_reply_unknown_sub(c);
        return;
    }
    if (c->argc == 3 &&
        !cmd_arg_range(c, 2, -1, INT64_MAX, &count, "ERR count should be greater than or equal to -1"))
        return;
    struct slowlog *s = &ctx_server(c)->slowlog;
    pthread_mutex_lock(&s->mutex);
    uint64_t n = count < 0 || (uint64_t)count > s->n ? s->n : (uint64_t)count;
    reply_array(c->reply, n);
    const struct slowlog_entry *e = s->newest;
    for (uint64_t i = 0; i < n; i++, e = e->older)
        reply_slowlog_entry(c->reply, e);
    pthread_mutex_unlock(&s->mutex);
}

void cmd_slowlog_len(struct cmd_ctx *c)
{
    struct slowlog *s = &ctx_server(c)->slowlog;
    pthread_mutex_lock(&s->mutex);
    uint64_t n = s->n;
    pthread_mutex_unlock(&s->mutex);
    reply_int(c->reply, (int64_t)n);
}

void cmd_slowlog_reset(struct cmd_ctx *c)
{
    slowlog_reset(&ctx_server(c)->slowlog);
    reply_ok(c->reply);
}

void cmd_slowlog_help(struct cmd_ctx *c)
{
    static const char *const lines[] = {
        "GET [<count>]",
        "    The latest <count> slow commands, newest first (10 by default, -1 for all): id, time,",
        "    microseconds, arguments, client address, client name.",
        "LEN",
        "    How many entries there are.",
        "RESET",
        "    Forget all entries.",
    };
    cmd_reply_help(c, lines, ARRAY_LEN(lines));
}

/* ---- LATENCY -------------------------------------------------------------------------- */

static uint32_t last_sample(const struct latency_series *s)
{
    return (s->next + LATENCY_SAMPLES - 1) % LATENCY_SAMPLES;
}

void cmd_latency_latest(struct cmd_ctx *c)
{
    struct latency *l = &ctx_server(c)->latency;
    uint32_t n = 0;
    pthread_mutex_lock(&l->mutex);
    for (int i = 0; i < LATENCY_EVENTS; i++)
        n += l->series[i].n > 0;
    reply_array(c->reply, n);
    for (int i = 0; i < LATENCY_EVENTS; i++) {
        const struct latency_series *s = &l->series[i];
        if (s->n == 0)
            continue;
        reply_array(c->reply, 4);
        reply_cstr(c->reply, latency_event_name((enum latency_event)i));
        reply_int(c->reply, s->sample[last_sample(s)].at_s);
        reply_int(c->reply, s->sample[last_sample(s)].ms);
        reply_int(c->reply, s->max_ms);
    }
    pthread_mutex_unlock(&l->mutex);
}

/* LATENCY_EVENTS when there is no such event. */
static int event_by_name(struct str name)
{
    int i = 0;
    while (i < LATENCY_EVENTS && !str_eq_nocase(name, str_of(latency_event_name((enum latency_event)i))))
        i++;
    return i;
}

/* Copies the series, oldest sample first. */
static bool copy_series(struct cmd_ctx *c, struct str name, struct latency_series *out)
{
    struct latency *l = &ctx_server(c)->latency;
    int event = event_by_name(name);
    memset(out, 0, sizeof *out);
    if (event == LATENCY_EVENTS)
        return false;
    pthread_mutex_lock(&l->mutex);
    const struct latency_series *s = &l->series[event];
    out->n = s->n;
    out->max_ms = s->max_ms;
    for (uint32_t i = 0; i < s->n; i++)
        out->sample[i] = s->sample[(s->next + LATENCY_SAMPLES - s->n + i) % LATENCY_SAMPLES];
    pthread_mutex_unlock(&l->mutex);
    return out->n > 0;
}

void cmd_latency_history(struct cmd_ctx *c)
{
    struct latency_series s;
    copy_series(c, c->argv[2], &s);
    reply_array(c->reply, s.n);
    for (uint32_t i = 0; i < s.n; i++) {
        reply_array(c->reply, 2);
        reply_int(c->reply, s.sample[i].at_s);
        reply_int(c->reply, s.sample[i].ms);
    }
}

void cmd_latency_reset(struct cmd_ctx *c)
{
    struct latency *l = &ctx_server(c)->latency;
    int64_t reset = 0;
    pthread_mutex_lock(&l->mutex);
    for (int i = 0; i < LATENCY_EVENTS; i++) {
        bool named = c->argc == 2;
        for (uint32_t k = 2; k < c->argc; k++)
            named |= str_eq_nocase(c->argv[k], str_of(latency_event_name((enum latency_event)i)));
        if (!named || l->series[i].n == 0)
            continue;
        memset(&l->series[i], 0, sizeof l->series[i]);
        reset++;
    }
    pthread_mutex_unlock(&l->mutex);
    reply_int(c->reply, reset);
}

/* One column a sample, eight rows, newest on the right. */
void cmd_latency_graph(struct cmd_ctx *c)
{
    enum { ROWS = 8, COLUMNS = 72 };
    struct latency_series s;
    if (!copy_series(c, c->argv[2], &s)) {
        reply_errorf(c->reply, "ERR No samples available for event '%.*s'", (int)c->argv[2].n, c->argv[2].p);
        return;
    }
    uint32_t first = s.n > COLUMNS ? s.n - COLUMNS : 0, high = 1;
    for (uint32_t i = first; i < s.n; i++)
        high = s.sample[i].ms > high ? s.sample[i].ms : high;
    struct buf b;
    buf_init(&b);
    buf_printf(&b, "%.*s - high %u ms, all time high %u ms\n", (int)c->argv[2].n, c->argv[2].p, high,
               s.max_ms);
    for (int row = ROWS; row > 0; row--) {
        for (uint32_t i = first; i < s.n; i++)
            buf_putc(&b, (uint64_t)s.sample[i].ms * ROWS > (uint64_t)high * (uint32_t)(row - 1) ? '#' : ' ');
        buf_putc(&b, '\n');
    }
    if (b.oom)
        cmd_reply_err(c, ERR_OOM);
    else
        reply_verbatim(c->reply, "txt", buf_str(&b));
    buf_release(&b);
}

void cmd_latency_doctor(struct cmd_ctx *c)
{
    static const char *const advice[LATENCY_EVENTS] = {
        [LATENCY_COMMAND] = "slow commands: see SLOWLOG GET; prefer SCAN to KEYS, and smaller values",
        [LATENCY_FAST_COMMAND] =
            "commands that are O(1) took long: is the machine short of CPU, or swapping?",
        [LATENCY_EXPIRE_CYCLE] = "very many keys expire at the same time: spread their TTLs",
        [LATENCY_GATE] =
            "FLUSHALL, SWAPDB or CONFIG SET waited long for all workers: more workers than CPUs?",
    };
    struct server *s = ctx_server(c);
    struct buf b;
    buf_init(&b);
    if (s->config.latency_monitor_threshold <= 0)
        buf_puts(&b, STR("Latency monitoring is off. Switch it on with CONFIG SET latency-monitor-threshold "
                         "<milliseconds>, let the load run for a while, and ask again.\n"));
    pthread_mutex_lock(&s->latency.mutex);
    uint32_t events = 0;
    for (int i = 0; i < LATENCY_EVENTS; i++) {
        const struct latency_series *series = &s->latency.series[i];
        if (series->n == 0)
            continue;
        events++;
        buf_printf(&b, "%s: %u spikes, worst %u ms. %s.\n", latency_event_name((enum latency_event)i),
                   series->n, series->max_ms, advice[i]);
    }
    pthread_mutex_unlock(&s->latency.mutex);
    if (events == 0 && s->config.latency_monitor_threshold > 0)
        buf_puts(&b, STR("No spike so far: nothing took longer than latency-monitor-threshold.\n"));
    reply_verbatim(c->reply, "txt", buf_str(&b));
    buf_release(&b);
}

/* One command's distribution, cumulative, over powers of two microseconds. */
static void reply_histogram(struct cmd_ctx *c, const struct command *cmd, const struct command_sum *sum)
{
    struct reply *r = c->reply;
    reply_cstr(r, cmd->name);
    reply_map(r, 2);
    reply_cstr(r, "calls");
    reply_int(r, (int64_t)sum->calls);
    reply_cstr(r, "histogram_usec");
    size_t handle = reply_deferred(r);
    uint64_t seen = 0, shown = 0, pairs = 0;
    unsigned b = 0;
    for (uint64_t us = 1; seen < sum->calls && us < (1ull << 40); us *= 2) {
        uint64_t top = os_ns_to_ticks(us * 1000);
        while (b < METRICS_HIST_BUCKETS && metrics_bucket_top(b) <= top)
            seen += sum->hist[b++];
        if (seen == shown)
            continue;
        reply_int(r, (int64_t)us);
        reply_int(r, (int64_t)seen);
        shown = seen;
        pairs++;
    }
    reply_deferred_end(r, handle, '%', pairs);
}

static bool histogram_of(struct cmd_ctx *c, const struct command *cmd)
{
    struct command_sum *sum = arena_alloc(c->arena, sizeof *sum);
    if (sum == NULL)
        return false;
    stats_sum_command(ctx_server(c), cmd, sum);
    if (sum->calls == 0)
        return false;
    reply_histogram(c, cmd, sum);
    return true;
}

void cmd_latency_histogram(struct cmd_ctx *c)
{
    size_t n, handle = reply_deferred(c->reply);
    const struct command *rows = command_rows(&n);
    uint64_t pairs = 0;
    for (size_t i = 0; c->argc == 2 && i < n; i++)
        pairs += histogram_of(c, &rows[i]);
    for (uint32_t i = 2; i < c->argc; i++) {
        const struct command *cmd = command_lookup_full(c->argv[i]);
        if (cmd == NULL)
            continue;
        pairs += histogram_of(c, cmd);
        for (uint16_t k = 0; k < cmd->nsubs; k++)
            pairs += histogram_of(c, &cmd->subs[k]);
    }
    reply_deferred_end(c->reply, handle, '%', pairs);
}

void cmd_latency_help(struct cmd_ctx *c)
{
    static const char *const lines[] = {
        "DOCTOR",
        "    What the spikes mean and what to do about them, in words.",
        "GRAPH <event>",
        "    The event's spikes as a picture.",
        "HISTORY <event>",
        "    Time and milliseconds of the event's spikes.",
        "LATEST",
        "    The latest and the worst spike of every event.",
        "RESET [<event> ...]",
        "    Forget the spikes of these events, or of all.",
        "HISTOGRAM [<command> ...]",
        "    How long calls took: cumulative counts up to each power of two microseconds.",
    };
    cmd_reply_help(c, lines, ARRAY_LEN(lines));
}
