/* What changes while running when CONFIG SET changes an option.
 *
 * Each function makes the server do what its group of options says now: at boot, and as a hook on
 * the lane with the gate raised. One that fails leaves the server as it was. */
#include "server/boot.h"

#include "base/log.h"
#include "cache/cache.h"
#include "os/clock.h"
#include "os/sock.h"
#include "server/clients.h"
#include "server/crash.h"
#include "server/repl_feed.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

enum { SPARE_FILES = 64 }; /* descriptors beyond the clients': listeners, epolls, log */

/* As many open files as maxclients asks for, or fewer clients. */
static void adjust_open_files(struct config *cfg)
{
    struct rlimit lim;
    rlim_t want = (rlim_t)cfg->maxclients + SPARE_FILES;
    if (getrlimit(RLIMIT_NOFILE, &lim) != 0 || lim.rlim_cur >= want)
        return;
    rlim_t had = lim.rlim_cur;
    lim.rlim_cur = want;
    if (want > lim.rlim_max)
        lim.rlim_max = want;
    if (setrlimit(RLIMIT_NOFILE, &lim) == 0)
        return;
    getrlimit(RLIMIT_NOFILE, &lim);
    lim.rlim_cur = lim.rlim_max;
    setrlimit(RLIMIT_NOFILE, &lim);
    getrlimit(RLIMIT_NOFILE, &lim);
    if (lim.rlim_cur >= want)
        return;
    int64_t can = (int64_t)lim.rlim_cur - SPARE_FILES;
    log_warning(
        "maxclients is %lld instead of %lld: only %llu files may be open here (had %llu). Raise the limit "
        "(ulimit -n %llu, or LimitNOFILE= in the service).",
        (long long)(can > 0 ? can : 1), (long long)cfg->maxclients, (unsigned long long)lim.rlim_cur,
        (unsigned long long)had, (unsigned long long)want);
    cfg->maxclients = can > 0 ? can : 1;
}

static int follow_clients(void *ctx, struct config *cfg, struct config_error *e)
{
    int64_t asked = cfg->maxclients;
    adjust_open_files(cfg);
    if (cfg->maxclients == asked)
        return 0;
    snprintf(e->text, sizeof e->text,
             "The operating system is not able to handle the specified number of clients, try with %lld",
             (long long)cfg->maxclients);
    return ERR_RANGE;
}

static int follow_limits(void *ctx, struct config *cfg, struct config_error *e)
{
    struct server *s = ctx;
    s->limits = (struct cmd_limits){
        .bulk_max = (uint64_t)cfg->proto_max_bulk_len,
        .databases = (uint32_t)cfg->databases,
        .cluster = cfg->cluster_enabled,
        .objects = {.seed = store_seed(s->store),
                    .set_max_intset_entries = (uint64_t)cfg->set_max_intset_entries,
                    .set_max_listpack_entries = (uint64_t)cfg->set_max_listpack_entries,
                    .set_max_listpack_value = (uint64_t)cfg->set_max_listpack_value,
                    .string_max = (uint64_t)cfg->proto_max_bulk_len},
        .lfu = cfg->maxmemory_policy == POLICY_ALLKEYS_LFU || cfg->maxmemory_policy == POLICY_VOLATILE_LFU};
    return 0;
}

static struct store_eviction eviction_of(const struct config *cfg)
{
    static const struct {
        enum store_policy policy;
        bool volatile_only;
    } table[] = {
        [POLICY_VOLATILE_LRU] = {STORE_LRU, true},       [POLICY_VOLATILE_LFU] = {STORE_LFU, true},
        [POLICY_VOLATILE_RANDOM] = {STORE_RANDOM, true}, [POLICY_VOLATILE_TTL] = {STORE_TTL, true},
        [POLICY_ALLKEYS_LRU] = {STORE_LRU, false},       [POLICY_ALLKEYS_LFU] = {STORE_LFU, false},
        [POLICY_ALLKEYS_RANDOM] = {STORE_RANDOM, false}, [POLICY_NOEVICTION] = {STORE_NOEVICTION, false},
        [POLICY_ALLKEYS_AUTO] = {STORE_AUTO, false},     [POLICY_VOLATILE_AUTO] = {STORE_AUTO, true},
    };
    return (struct store_eviction){.policy = table[cfg->maxmemory_policy].policy,
                                   .volatile_only = table[cfg->maxmemory_policy].volatile_only,
                                   .lfu_log_factor = (uint32_t)cfg->lfu_log_factor,
                                   .lfu_decay_min = (uint32_t)cfg->lfu_decay_time};
}

static int follow_memory(void *ctx, struct config *cfg, struct config_error *e)
{
    struct server *s = ctx;
    struct store_eviction how = eviction_of(cfg);
    store_set_eviction(s->store, &how);
    store_set_maxmemory(s->store, cfg->maxmemory);
    for (uint32_t i = 0; s->workers != NULL && i < s->nworkers; i++)
        worker_bound_reading(&s->workers[i], cfg->maxmemory);
    server_care_set(s, CARE_MEMORY, store_over_memory(s->store)); /* now, not with the next tick */
    s->clients_max_mem = clients_memory_limit(cfg);
    return follow_limits(ctx, cfg, e); /* the policy says what OBJECT knows */
}

static int follow_cache(void *ctx, struct config *cfg, struct config_error *e)
{
    struct server *s = ctx;
    const struct config_budgets *budgets = &cfg->cache_origin_budget;
    struct cache_settings settings = {
        .leases_max = (uint64_t)cfg->cache_leases_max,
        .hold_ms = cfg->cache_version_hold,
        .negative_ttl_ms = cfg->cache_negative_ttl,
        .negative_max = cfg->cache_negative_max_memory,
        .nbudgets = budgets->n,
    };
    _Static_assert((int)CONFIG_BUDGETS_MAX == BUDGETS_MAX && (int)CONFIG_PREFIX_MAX == BUDGET_PREFIX_MAX,
                   "the same bounds");
    for (uint32_t i = 0; i < budgets->n; i++)
        settings.budgets[i] = (struct cache_budget){budgets->v[i].prefix, (uint64_t)budgets->v[i].leases};
    cache_set(s->cache, &settings);
    return 0;
}

static int follow_thresholds(void *ctx, struct config *cfg, struct config_error *e)
{
    struct server *s = ctx;
    uint64_t ns = UINT64_MAX;
    if (cfg->slowlog_log_slower_than >= 0)
        ns = (uint64_t)cfg->slowlog_log_slower_than * 1000;
    if (cfg->latency_monitor_threshold > 0 && (uint64_t)cfg->latency_monitor_threshold * 1000000 < ns)
        ns = (uint64_t)cfg->latency_monitor_threshold * 1000000;
    s->time_in_runs = ns >= SERVER_RUN_NS;
    s->slow_ticks = ns == UINT64_MAX ? UINT64_MAX : os_ns_to_ticks(ns);
    return 0;
}

static int follow_log(void *ctx, struct config *cfg, struct config_error *e)
{
    log_set_level((enum log_level)cfg->loglevel);
    return 0;
}

static int follow_crash(void *ctx, struct config *cfg, struct config_error *e)
{
    crash_install(cfg->crash_log_enabled);
    return 0;
}

static int follow_title(void *ctx, struct config *cfg, struct config_error *e)
{
    struct server *s = ctx;
    process_set_title(&s->process, cfg);
    return 0;
}

static int follow_dir(void *ctx, struct config *cfg, struct config_error *e)
{
    int rc = config_enter_dir(cfg);
    if (rc != 0)
        snprintf(e->text, sizeof e->text, "%s", rc == ERR_IO ? strerror(errno) : err_name(rc));
    return rc;
}

static int follow_listen(void *ctx, struct config *cfg, struct config_error *e)
{
    struct server *s = ctx;
    bool port_changed = cfg->port != s->listen_port;
    int rc = server_relisten(s);
    if (rc != 0)
        snprintf(e->text, sizeof e->text, "%s",
                 port_changed ? "Unable to listen on this port. Check server logs."
                              : "Failed to bind to specified addresses.");
    else
        process_set_title(&s->process, cfg);
    return rc;
}

/* A new password: who was let in stays in. None any more: everybody is in. */
static int follow_password(void *ctx, struct config *cfg, struct config_error *e)
{
    struct server *s = ctx;
    for (uint32_t i = 0; cfg->requirepass.n == 0 && i < s->nworkers; i++)
        for (struct conn *c = s->workers[i].conns; c != NULL; c = c->next)
            c->session.authenticated = true;
    return 0;
}

static int follow_timers(void *ctx, struct config *cfg, struct config_error *e)
{
    struct server *s = ctx;
    workers_wake(s); /* the time they wait for may be too far away now */
    return 0;
}

/* Now, not with the next tick: who has just said what a write needs counts on it. */
static int follow_replicas(void *ctx, struct config *cfg, struct config_error *e)
{
    struct server *s = ctx;
    repl_feeds_check_good(&s->repl, os_wall_ms());
    return 0;
}

/* It is a wish: an address may come later, and a node without its primary is worse than one from elsewhere.
 */
static int follow_source(void *ctx, struct config *cfg, struct config_error *e)
{
    struct server *s = ctx;
    struct sock_err why;
    if (cfg->bind_source_addr[0] != '\0' && sock_check_source(cfg->bind_source_addr, &why) != 0)
        log_warning(
            "'bind-source-addr %s' cannot be had now: %s. As long as that is so the system chooses the "
            "address of connections to other nodes; `ip address` shows what there is.",
            cfg->bind_source_addr, why.text);
    cluster_follow_options(&s->cluster);
    return 0;
}

/* A counter for each thread that executes, the lane among them. */
static int follow_slot_stats(void *ctx, struct config *cfg, struct config_error *e)
{
    struct server *s = ctx;
    bool on = cfg->cluster_enabled && cfg->cluster_slot_stats_enabled;
    int rc = on ? slot_stats_begin(&s->slot_stats, s->nworkers + 1) : 0;
    if (rc == 0)
        server_care_set(s, CARE_SLOT_STATS, on);
    else if (e != NULL)
        snprintf(e->text, sizeof e->text, "%s", err_name(rc));
    return rc;
}

int server_follow_config(struct server *s)
{
    struct config *cfg = &s->config;
    follow_memory(s, cfg, NULL);
    follow_thresholds(s, cfg, NULL);
    adjust_open_files(cfg);
    config_hook(cfg, CONFIG_LISTEN, follow_listen, s);
    config_hook(cfg, CONFIG_LOG, follow_log, s);
    config_hook(cfg, CONFIG_MEMORY, follow_memory, s);
    config_hook(cfg, CONFIG_CLIENTS, follow_clients, s);
    config_hook(cfg, CONFIG_PASSWORD, follow_password, s);
    follow_cache(s, cfg, NULL);
    config_hook(cfg, CONFIG_CACHE, follow_cache, s);
    config_hook(cfg, CONFIG_LIMITS, follow_limits, s);
    config_hook(cfg, CONFIG_SLOWLOG, follow_thresholds, s);
    config_hook(cfg, CONFIG_LATENCY, follow_thresholds, s);
    config_hook(cfg, CONFIG_TIMERS, follow_timers, s);
    config_hook(cfg, CONFIG_TITLE, follow_title, s);
    config_hook(cfg, CONFIG_DIR, follow_dir, s);
    config_hook(cfg, CONFIG_CRASH, follow_crash, s);
    follow_source(s, cfg, NULL);
    config_hook(cfg, CONFIG_SOURCE, follow_source, s);
    config_hook(cfg, CONFIG_REPLICAS, follow_replicas, s);
    config_hook(cfg, CONFIG_SLOT_STATS, follow_slot_stats, s);
    return follow_slot_stats(s, cfg, NULL);
}
