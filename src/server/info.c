/* INFO: what the node says about itself, in the sections and fields that tools know.
 *
 * Fields that only make sense where there are forks, an AOF, modules or scripts are there with the
 * value of "none", since exporters and dashboards look for them. What only larder has begins with
 * "larder_" and is explained in docs/metrics.md. */
#include "server/handlers.h"

#include "base/alloc.h"
#include "os/clock.h"

#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

struct section {
    const char *name, *title;
    void (*put)(struct server *s, struct buf *b);
    bool by_default;
    bool by_name_only; /* not even by "everything" */
};

static void put_bytes(struct buf *b, const char *name, uint64_t bytes)
{
    char human[32];
    unsigned n = num_put_human(human, bytes);
    buf_printf(b, "%s:%llu\r\n%s_human:%.*s\r\n", name, (unsigned long long)bytes, name, (int)n, human);
}

/* As Redis 7.2 tells it: one line for TCP with all addresses, one for the Unix socket. */
static void put_listeners(struct server *s, struct buf *b)
{
    const struct config *cfg = &s->config;
    unsigned n = 0;
    if (cfg->port != 0) {
        buf_printf(b, "listener%u:name=tcp", n++);
        for (uint32_t i = 0; i < cfg->bind.n; i++)
            buf_printf(b, ",bind=%s", cfg->bind.v[i]);
        buf_printf(b, ",port=%lld\r\n", (long long)cfg->port);
    }
    if (cfg->unixsocket[0] != '\0')
        buf_printf(b, "listener%u:name=unix,bind=%s\r\n", n, cfg->unixsocket);
}

static void put_server(struct server *s, struct buf *b)
{
    struct utsname u;
    uname(&u);
    int64_t up = (os_wall_ms() - s->started_ms) / 1000, us = os_wall_us();
    buf_printf(b,
               "redis_version:" SERVER_REDIS_VERSION "\r\nredis_git_sha1:00000000\r\nredis_git_dirty:0\r\n"
               "redis_build_id:0\r\nredis_mode:%s\r\nlarder_version:" LARDER_VERSION "\r\n",
               s->config.cluster_enabled ? "cluster" : "standalone");
    buf_printf(b,
               "os:%s %s %s\r\narch_bits:%u\r\nmonotonic_clock:%s\r\nmultiplexing_api:%s\r\n"
               "atomicvar_api:c11-builtin\r\ngcc_version:" __VERSION__ "\r\n",
               u.sysname, u.release, u.machine, (unsigned)sizeof(void *) * 8, "POSIX clock_gettime",
               loop_has_ring(s->workers[0].loop) ? "io_uring" : "epoll");
    buf_printf(
        b,
        "process_id:%d\r\nprocess_supervised:%s\r\nrun_id:%s\r\ntcp_port:%lld\r\nserver_time_usec:%lld\r\n"
        "uptime_in_seconds:%lld\r\nuptime_in_days:%lld\r\n",
        (int)getpid(), process_supervisor_name(&s->process), s->run_id, (long long)s->config.port,
        (long long)us, (long long)up, (long long)(up / 86400));
    buf_printf(b,
               "hz:%lld\r\nconfigured_hz:%lld\r\nlru_clock:%lld\r\nexecutable:%s\r\nconfig_file:%s\r\n"
               "io_threads_active:0\r\navailability_zone:%s\r\nlarder_workers:%u\r\n",
               (long long)s->config.hz, (long long)s->config.hz, (long long)(us / 1000000) & 0xffffff,
               s->process.executable, config_path(&s->config) != NULL ? config_path(&s->config) : "",
               s->config.availability_zone, s->nworkers);
    put_listeners(s, b);
}

static void put_clients(struct server *s, struct buf *b)
{
    uint64_t in, out;
    clients_recent(s, &in, &out);
    uint32_t paused = 0; /* as in Redis, who waits for the end of a pause is blocked */
    for (uint32_t i = 0; i < s->nworkers; i++)
        paused += atomic_load_explicit(&s->workers[i].npaused, memory_order_relaxed);
    buf_printf(b,
               "connected_clients:%u\r\ncluster_connections:0\r\nmaxclients:%lld\r\n"
               "client_recent_max_input_buffer:%llu\r\nclient_recent_max_output_buffer:%llu\r\nblocked_"
               "clients:%u\r\n"
               "tracking_clients:0\r\nclients_in_timeout_table:0\r\ntotal_blocking_keys:0\r\n"
               "total_blocking_keys_on_nokey:0\r\n",
               atomic_load_explicit(&s->nclients, memory_order_relaxed), (long long)s->config.maxclients,
               (unsigned long long)in, (unsigned long long)out, paused);
    for (uint32_t i = 0; i < s->nworkers; i++)
        buf_printf(b, "larder_worker%u_clients:%u\r\n", i,
                   atomic_load_explicit(&s->workers[i].nconns, memory_order_relaxed));
}

static double ratio(uint64_t a, uint64_t b)
{
    return b == 0 ? 1.0 : (double)a / (double)b;
}

static void put_memory_totals(struct server *s, struct buf *b, uint64_t used, uint64_t rss)
{
    uint64_t peak = atomic_load_explicit(&s->stats.peak_memory, memory_order_relaxed);
    if (used > peak)
        peak = used;
    put_bytes(b, "used_memory", used);
    put_bytes(b, "used_memory_rss", rss);
    put_bytes(b, "used_memory_peak", peak);
    buf_printf(b, "used_memory_peak_perc:%.2f%%\r\n", 100.0 * ratio(used, peak));
}

static void put_memory_store(struct server *s, struct buf *b, uint64_t used)
{
    struct store_memory m;
    store_memory(s->store, &m);
    uint64_t data = m.live + m.blocks < used ? m.live + m.blocks : used;
    buf_printf(b,
               "used_memory_overhead:%llu\r\nused_memory_startup:%llu\r\nused_memory_dataset:%llu\r\n"
               "used_memory_dataset_perc:%.2f%%\r\nmem_not_counted_for_evict:%llu\r\n",
               (unsigned long long)(used - data), (unsigned long long)s->startup_memory,
               (unsigned long long)data,
               used > s->startup_memory ? 100.0 * ratio(data, used - s->startup_memory) : 0.0,
               (unsigned long long)(used > m.used ? used - m.used : 0));
    const struct {
        const char *name;
        uint64_t bytes;
    } rows[] = {
        {"used", m.used},
        {"keys", m.names},
        {"values", m.values},
        {"headers", m.headers},
        {"segments", m.segments},
        {"segments_live", m.live},
        {"segments_dead", m.dead},
        {"segments_free", m.free_segments},
        {"segment_size", m.segment_size},
        {"tables", m.tables},
        {"blocks", m.blocks},
        {"blocks_slack", m.heap_slack},
        {"flushed", m.doomed},
        {"ghosts", m.ghosts},
        {"expired_resident", m.expired},
        {"rss_counted", m.rss_excess},
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        buf_printf(b, "larder_%s:%llu\r\n", rows[i].name, (unsigned long long)rows[i].bytes);
    buf_printf(b, "larder_rss_gap:%lld\r\nlarder_bytes_per_key:%.1f\r\n", (long long)m.rss_gap,
               m.keys == 0 ? 0.0 : (double)m.used / (double)m.keys);
}

static void put_policy(void *b, struct str name, struct str value)
{
    buf_printf(b, "maxmemory_policy:%.*s\r\n", (int)value.n, value.p);
}

static void put_memory(struct server *s, struct buf *b)
{
    struct mem_stats h;
    uint64_t used = stats_used_memory(s), rss = stats_rss();
    unsigned long long log = changelog_memory(&s->repl.log); /* readers share it with the backlog */
    mem_stats_read(&h);
    put_memory_totals(s, b, used, rss);
    put_memory_store(s, b, used);
    buf_printf(b, "allocator_allocated:%llu\r\nallocator_active:%llu\r\nallocator_resident:%llu\r\n",
               (unsigned long long)h.allocated, (unsigned long long)h.active, (unsigned long long)h.resident);
    put_bytes(b, "total_system_memory", (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
    put_bytes(b, "used_memory_lua", 0);
    buf_puts(b, STR("used_memory_vm_eval:0\r\nused_memory_scripts_eval:0\r\nnumber_of_cached_scripts:0\r\n"
                    "number_of_functions:0\r\nnumber_of_libraries:0\r\nused_memory_vm_functions:0\r\n"));
    put_bytes(b, "used_memory_vm_total", 0);
    buf_puts(b, STR("used_memory_functions:0\r\n"));
    put_bytes(b, "used_memory_scripts", 0);
    put_bytes(b, "maxmemory", s->config.maxmemory);
    struct str policy = STR("maxmemory-policy");
    config_get(&s->config, &policy, 1, put_policy, b);
    buf_printf(b,
               "allocator_frag_ratio:%.2f\r\nallocator_frag_bytes:%llu\r\nallocator_rss_ratio:%.2f\r\n"
               "allocator_rss_bytes:%lld\r\nrss_overhead_ratio:%.2f\r\nrss_overhead_bytes:%lld\r\n",
               ratio(h.active, h.allocated), (unsigned long long)(h.active - h.allocated),
               ratio(h.resident, h.active), (long long)(h.resident - h.active), ratio(rss, h.resident),
               (long long)(rss - h.resident));
    buf_printf(b, "mem_fragmentation_ratio:%.2f\r\nmem_fragmentation_bytes:%lld\r\n", ratio(rss, used),
               (long long)(rss - used));
    buf_printf(
        b,
        "mem_replication_backlog:%llu\r\nmem_total_replication_buffers:%llu\r\n"
        "mem_clients_slaves:0\r\nmem_clients_normal:%llu\r\nmem_cluster_links:0\r\nmem_aof_buffer:0\r\n"
        "mem_allocator:%s\r\nactive_defrag_running:0\r\nlazyfree_pending_objects:0\r\n"
        "lazyfreed_objects:0\r\n",
        log, log, (unsigned long long)clients_memory(s), mem_allocator_name());
}

static void put_persistence(struct server *s, struct buf *b)
{
    buf_printf(b, "larder_warmth:%s\r\n", warm_state_name(&s->warm));
    saver_put_info(s, b);
    buf_puts(b,
             STR("aof_enabled:0\r\naof_rewrite_in_progress:0\r\naof_rewrite_scheduled:0\r\n"
                 "aof_last_rewrite_time_sec:-1\r\naof_current_rewrite_time_sec:-1\r\n"
                 "aof_last_bgrewrite_status:ok\r\naof_rewrites:0\r\naof_rewrites_consecutive_failures:0\r\n"
                 "aof_last_write_status:ok\r\naof_last_cow_size:0\r\nmodule_fork_in_progress:0\r\n"
                 "module_fork_last_cow_size:0\r\n"));
}

static void put_evicted(const struct store_stats *st, struct buf *b)
{
    buf_printf(b,
               "larder_ghost_hits:%llu\r\nlarder_small_queue_percent:%llu\r\nlarder_evicted_age_ms:%llu\r\n"
               "larder_evicted_by_size:",
               (unsigned long long)st->ghost_hits, (unsigned long long)st->small_percent,
               (unsigned long long)st->evicted_age_ms);
    for (unsigned n = 0; n + 1 < STORE_CLASSES; n++)
        buf_printf(b, "%u=%llu,", 64u << n, (unsigned long long)st->evicted_class[n]);
    buf_printf(b, "larger=%llu\r\n", (unsigned long long)st->evicted_class[STORE_CLASSES - 1]);
}

static uint64_t upkeep_us(const struct server *s)
{
    uint64_t ns = 0;
    for (uint32_t i = 0; i < s->nworkers; i++)
        ns += counter_read(&s->workers[i].upkeep_ns);
    return ns / 1000;
}

static unsigned long long ticks_us(uint64_t ticks)
{
    return os_ticks_to_ns(ticks) / 1000;
}

/* Of all workers together: with N of them a second has N seconds of rounds. */
static void put_rounds(struct server *s, const struct metrics_sum *sum, struct buf *b)
{
    buf_printf(b,
               "eventloop_duration_sum:%llu\r\neventloop_duration_cmd_sum:%llu\r\n"
               "instantaneous_eventloop_cycles_per_sec:%llu\r\n"
               "instantaneous_eventloop_duration_usec:%llu\r\n",
               ticks_us(sum->round_ticks), ticks_us(stats_command_ticks(s)),
               (unsigned long long)atomic_load(&s->stats.rounds.per_second),
               (unsigned long long)atomic_load(&s->stats.round_us.per_second));
}

static void put_debug(struct server *s, struct buf *b)
{
    struct metrics_sum sum;
    stats_sum(s, &sum);
    buf_printf(b,
               "eventloop_duration_aof_sum:0\r\neventloop_duration_cron_sum:%llu\r\n"
               "eventloop_duration_max:%llu\r\neventloop_cmd_per_cycle_max:%llu\r\n",
               (unsigned long long)upkeep_us(s), ticks_us(sum.round_ticks_max),
               (unsigned long long)sum.round_commands_max);
}

static void put_stats(struct server *s, struct buf *b)
{
    struct metrics_sum sum;
    struct store_stats st;
    const char *name;
    uint64_t v;
    stats_sum(s, &sum);
    store_stats(s->store, &st);
    for (unsigned i = 0; (name = metrics_row(&sum, i, &v)) != NULL; i++)
        buf_printf(b, "%s:%llu\r\n", name, (unsigned long long)v);
    buf_printf(b,
               "instantaneous_ops_per_sec:%llu\r\ninstantaneous_input_kbps:%.2f\r\n"
               "instantaneous_output_kbps:%.2f\r\n",
               (unsigned long long)atomic_load(&s->stats.commands.per_second),
               (double)atomic_load(&s->stats.net_in.per_second) / 1024,
               (double)atomic_load(&s->stats.net_out.per_second) / 1024);
    buf_printf(b,
               "expired_keys:%llu\r\nevicted_keys:%llu\r\nkeyspace_hits:%llu\r\nkeyspace_misses:%llu\r\n"
               "larder_compacted_keys:%llu\r\nlarder_segments_freed:%llu\r\nlarder_bucket_splits:%llu\r\n"
               "larder_bucket_merges:%llu\r\n",
               (unsigned long long)st.expired, (unsigned long long)st.evicted,
               (unsigned long long)stats_hits(s), (unsigned long long)stats_misses(s),
               (unsigned long long)st.compacted, (unsigned long long)st.segments_freed,
               (unsigned long long)st.splits, (unsigned long long)st.merges);
    put_evicted(&st, b);
    buf_printf(b, "expire_cycle_cpu_milliseconds:%llu\r\n", (unsigned long long)(upkeep_us(s) / 1000));
    buf_printf(b, "acl_access_denied_auth:%llu\r\n", (unsigned long long)atomic_load(&s->stats.auth_failed));
    put_rounds(s, &sum, b);
    struct repl *r = &s->repl;
    buf_printf(
        b,
        "total_net_repl_input_bytes:%llu\r\ntotal_net_repl_output_bytes:%llu\r\n"
        "instantaneous_input_repl_kbps:%.2f\r\ninstantaneous_output_repl_kbps:%.2f\r\nsync_full:%llu\r\n"
        "sync_partial_ok:%llu\r\nsync_partial_err:%llu\r\n",
        (unsigned long long)atomic_load(&r->shown.net_in), (unsigned long long)atomic_load(&r->shown.net_out),
        (double)atomic_load(&s->stats.repl_in.per_second) / 1024,
        (double)atomic_load(&s->stats.repl_out.per_second) / 1024,
        (unsigned long long)atomic_load(&r->shown.full),
        (unsigned long long)atomic_load(&r->shown.partial_ok),
        (unsigned long long)atomic_load(&r->shown.partial_err));
    buf_puts(b,
             STR("expired_stale_perc:0.00\r\n"
                 "expired_time_cap_reached_count:0\r\n"
                 "total_eviction_exceeded_time:0\r\ncurrent_eviction_exceeded_time:0\r\npubsub_channels:0\r\n"
                 "pubsub_patterns:0\r\npubsubshard_channels:0\r\nlatest_fork_usec:0\r\ntotal_forks:0\r\n"
                 "migrate_cached_sockets:0\r\nslave_expires_tracked_keys:0\r\nactive_defrag_hits:0\r\n"
                 "active_defrag_misses:0\r\nactive_defrag_key_hits:0\r\nactive_defrag_key_misses:0\r\n"
                 "total_active_defrag_time:0\r\ncurrent_active_defrag_time:0\r\ntracking_total_keys:0\r\n"
                 "tracking_total_items:0\r\ntracking_total_prefixes:0\r\nunexpected_error_replies:0\r\n"
                 "dump_payload_sanitizations:0\r\nio_threaded_reads_processed:0\r\n"
                 "io_threaded_writes_processed:0\r\nreply_buffer_shrinks:0\r\nreply_buffer_expands:0\r\n"
                 "acl_access_denied_cmd:0\r\nacl_access_denied_key:0\r\n"
                 "acl_access_denied_channel:0\r\n"));
}

static void put_usage(struct buf *b, const char *suffix, int who)
{
    struct rusage u;
    getrusage(who, &u);
    buf_printf(b, "used_cpu_sys%s:%lld.%06lld\r\nused_cpu_user%s:%lld.%06lld\r\n", suffix,
               (long long)u.ru_stime.tv_sec, (long long)u.ru_stime.tv_usec, suffix,
               (long long)u.ru_utime.tv_sec, (long long)u.ru_utime.tv_usec);
}

static void put_cpu(struct server *s, struct buf *b)
{
    put_usage(b, "", RUSAGE_SELF);
    put_usage(b, "_children", RUSAGE_CHILDREN);
    put_usage(b, "_main_thread", RUSAGE_THREAD);
}

static void put_commandstats(struct server *s, struct buf *b)
{
    size_t n;
    const struct command *rows = command_rows(&n);
    struct command_sum sum;
    for (size_t i = 0; i < n; i++) {
        stats_sum_command(s, &rows[i], &sum);
        if (sum.calls == 0 && sum.rejected == 0)
            continue;
        double us = (double)os_ticks_to_ns(sum.ticks) / 1000;
        buf_printf(
            b, "cmdstat_%s:calls=%llu,usec=%llu,usec_per_call=%.2f,rejected_calls=%llu,failed_calls=%llu\r\n",
            rows[i].name, (unsigned long long)sum.calls, (unsigned long long)us,
            sum.calls == 0 ? 0.0 : us / (double)sum.calls, (unsigned long long)sum.rejected,
            (unsigned long long)sum.failed);
    }
}

static void put_errorstats(struct server *s, struct buf *b)
{
    struct stats *st = &s->stats;
    pthread_mutex_lock(&st->mutex);
    for (uint32_t i = 0; i < st->nerrors; i++)
        buf_printf(b, "errorstat_%s:count=%llu\r\n", st->error[i].name,
                   (unsigned long long)st->error[i].count);
    pthread_mutex_unlock(&st->mutex);
}

static void put_latencystats(struct server *s, struct buf *b)
{
    const struct config_percentiles *p = &s->config.latency_tracking_info_percentiles;
    size_t n;
    const struct command *rows = command_rows(&n);
    struct command_sum sum;
    for (size_t i = 0; s->config.latency_tracking && i < n; i++) {
        stats_sum_command(s, &rows[i], &sum);
        if (sum.calls == 0)
            continue;
        buf_printf(b, "latency_percentiles_usec_%s:", rows[i].name);
        for (uint32_t k = 0; k < p->n; k++)
            buf_printf(b, "%sp%.10g=%.3f", k > 0 ? "," : "", p->v[k],
                       (double)os_ticks_to_ns(metrics_quantile(&sum, p->v[k] / 100)) / 1000);
        buf_puts(b, STR("\r\n"));
    }
}

static void put_cluster(struct server *s, struct buf *b)
{
    buf_printf(b, "cluster_enabled:%d\r\n", s->config.cluster_enabled);
}

static void put_nothing(struct server *s, struct buf *b)
{
}

static void put_keyspace(struct server *s, struct buf *b)
{
    for (uint32_t db = 0; db < s->limits.databases; db++) {
        uint64_t keys = store_db_keys(s->store, db);
        if (keys > 0)
            buf_printf(b, "db%u:keys=%llu,expires=%llu,avg_ttl=%lld\r\n", db, (unsigned long long)keys,
                       (unsigned long long)store_db_expires(s->store, db),
                       (long long)store_db_avg_ttl_ms(s->store, db));
    }
}

static const struct section sections[] = {
    {"server", "Server", put_server, true, false},
    {"clients", "Clients", put_clients, true, false},
    {"memory", "Memory", put_memory, true, false},
    {"persistence", "Persistence", put_persistence, true, false},
    {"stats", "Stats", put_stats, true, false},
    {"replication", "Replication", repl_put_info, true, false},
    {"cpu", "CPU", put_cpu, true, false},
    {"modules", "Modules", put_nothing, true, false},
    {"commandstats", "Commandstats", put_commandstats, false, false},
    {"errorstats", "Errorstats", put_errorstats, true, false},
    {"latencystats", "Latencystats", put_latencystats, false, false},
    {"cluster", "Cluster", put_cluster, true, false},
    {"keyspace", "Keyspace", put_keyspace, true, false},
    {"debug", "Debug", put_debug, false, true},
};

static bool asked_for(const struct cmd_ctx *c, const struct section *s)
{
    bool asked = c->argc == 1 && s->by_default;
    for (uint32_t i = 1; i < c->argc; i++)
        asked |= str_eq_nocase(c->argv[i], str_of(s->name)) ||
                 (cmd_arg_is(c, i, STR("everything")) && !s->by_name_only) ||
                 (cmd_arg_is(c, i, STR("all")) && !s->by_name_only && s->put != put_nothing) ||
                 (cmd_arg_is(c, i, STR("default")) && s->by_default);
    return asked;
}

void cmd_info(struct cmd_ctx *c)
{
    struct buf b;
    buf_init(&b);
    for (unsigned i = 0; i < ARRAY_LEN(sections); i++) {
        if (!asked_for(c, &sections[i]))
            continue;
        buf_printf(&b, "%s# %s\r\n", b.n > 0 ? "\r\n" : "", sections[i].title);
        sections[i].put(ctx_server(c), &b);
    }
    cmd_reply_text(c, &b);
}
