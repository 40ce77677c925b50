#include "server/boot.h"

#include "base/alloc.h"
#include "base/log.h"
#include "cache/cache.h"
#include "os/clock.h"
#include "os/random.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { JOIN_STEP_US = 100 * 1000 };

void server_request_stop(struct server *s, int exit_code)
{
    atomic_store(&s->exit_code, exit_code);
    sigqueue(getpid(), SIGTERM, (union sigval){0}); /* the main thread waits for signals */
}

static int make_store(struct server *s)
{
    struct store_options opt = {.maxmemory = s->config.maxmemory,
                                .databases = (uint32_t)s->config.databases,
                                .cluster = s->config.cluster_enabled,
                                .threads = s->nworkers + 3,
                                .writers =
                                    s->nworkers + 1}; /* the lane; a loader or an applier writes alone */
    os_random(&opt.seed, sizeof opt.seed);
    int rc = store_new(&s->store, &opt);
    if (rc != 0)
        log_warning("Cannot set up the store: %s. Is address space limited (ulimit -v)?", err_name(rc));
    return rc == 0 ? cache_new(&s->cache, s->store, s->run_id) : rc;
}

/* ---- life ------------------------------------------------------------------------------- */

int server_init(struct server *s)
{
    os_random_hex(s->run_id, SERVER_RUN_ID);
    s->started_ms = s->stats_since_ms = os_wall_ms();
    s->nworkers = (uint32_t)s->config.workers;
    slowlog_init(&s->slowlog);
    latency_init(&s->latency);
    stats_init(&s->stats);
    pthread_mutex_init(&s->relief, NULL);
    server_listen_init(s);
    /* Places by thread: the lane's stays empty, the last are replication's, the saver's and the copier's. */
    gate_init(&s->gate, s->nworkers + 4);
    int rc = make_store(s);
    if (rc != 0)
        return rc;
    rc = server_follow_config(s);
    if (rc == 0)
        rc = server_listen(s);
    if (rc != 0)
        return rc;
    s->workers = mem_aligned(CACHE_LINE, s->nworkers * sizeof *s->workers);
    if (s->workers == NULL)
        return ERR_OOM;
    memset(s->workers, 0, s->nworkers * sizeof *s->workers);
    rc = repl_init(&s->repl, s);
    migrator_init(&s->migrator, s);
    warm_init(&s->warm, s);
    if (rc == 0)
        rc = heir_init(&s->heir, s);
    if (rc == 0)
        rc = moves_init(&s->moves, s);
    saver_init(&s->saver, s);
    if (rc == 0)
        rc = cluster_init(&s->cluster, s);
    if (rc == 0)
        rc = lane_init(&s->lane, s);
    for (uint32_t i = 0; rc == 0 && i < s->nworkers; i++)
        rc = worker_init(&s->workers[i], s, i);
    if (rc != 0)
        log_warning("Cannot set up %u workers: %s.", s->nworkers,
                    rc == ERR_IO ? strerror(errno) : err_name(rc));
    s->startup_memory = stats_used_memory(s);
    return rc;
}

int server_start(struct server *s)
{
    bool loads = saver_finds_file(&s->saver);
    if (!loads)
        repl_take_role(&s->repl);
    stats_note_empty(s);
    int rc = cluster_take_role(&s->cluster);
    if (rc == 0)
        rc = lane_start(&s->lane);
    if (rc == 0 && s->config.io_uring && !loop_has_ring(s->workers[0].loop))
        log_notice(
            "Clients are read by epoll: this kernel or sandbox does not offer io_uring as it is needed "
            "(Linux 6.1 does).");
    for (uint32_t i = 0; rc == 0 && i < s->nworkers; i++)
        rc = worker_start(&s->workers[i]);
    if (rc == 0)
        rc = saver_start(&s->saver);
    if (rc == 0 && !loads) /* else the saver does it, when the data are there */
        rc = repl_start(&s->repl);
    if (rc == 0)
        rc = migrator_start(&s->migrator);
    if (rc == 0)
        rc = heir_start(&s->heir);
    if (rc == 0)
        rc = warm_start(&s->warm, loads);
    if (rc == 0)
        rc = pages_start(&s->pages, s->store);
    if (rc == 0)
        rc = cluster_start(&s->cluster);
    if (rc == 0)
        rc = moves_start(&s->moves);
    if (rc == 0) {
        server_log_listeners(s);
        return 0;
    }
    log_warning("Cannot start a thread: %s. Is the number of processes limited (ulimit -u)?",
                strerror(errno));
    server_join(s, NULL, NULL); /* those that run already */
    return rc;
}

static void set_stop(struct server *s, enum server_stop stop)
{
    atomic_store_explicit(&s->stop, (int)stop, memory_order_release);
    workers_wake(s);
}

/* False when somebody is in a hurry. */
static bool join(pthread_t thread, bool (*hurry)(void *arg), void *arg)
{
    struct timespec until;
    if (hurry == NULL)
        return pthread_join(thread, NULL) == 0;
    do {
        if (hurry(arg))
            return false;
        int64_t us = os_wall_us() + JOIN_STEP_US;
        until = (struct timespec){.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    } while (pthread_timedjoin_np(thread, NULL, &until) == ETIMEDOUT);
    return true;
}

bool server_join(struct server *s, bool (*hurry)(void *arg), void *arg)
{
    set_stop(s, STOP_BEGUN);
    moves_end(&s->moves);
    cluster_end(&s->cluster);
    saver_end(&s->saver);
    repl_end(&s->repl, hurry, arg);
    migrator_end(&s->migrator);
    heir_end(&s->heir);
    warm_end(&s->warm);
    pages_end(&s->pages);
    bool ended = true;
    if (s->lane.running) {
        lane_end(&s->lane);
        ended = join(s->lane.thread, hurry, arg);
    }
    set_stop(s, STOP_LAST);
    for (uint32_t i = 0; i < s->nworkers; i++)
        if (s->workers[i].running)
            ended = ended && join(s->workers[i].thread, hurry, arg);
    return ended;
}

void server_release(struct server *s)
{
    if (s->workers != NULL) {
        lane_drop_jobs(&s->lane);
        workers_drain(s);
    }
    for (uint32_t i = 0; s->workers != NULL && i < s->nworkers; i++)
        worker_release(&s->workers[i]);
    if (s->workers != NULL)
        lane_release(&s->lane);
    repl_release(&s->repl);
    saver_release(&s->saver);
    migrator_release(&s->migrator);
    heir_release(&s->heir);
    moves_release(&s->moves);
    warm_release(&s->warm);
    cluster_release(&s->cluster);
    server_unlisten(s);
    mem_free(s->workers);
    slowlog_release(&s->slowlog);
    slot_stats_release(&s->slot_stats);
    pthread_mutex_destroy(&s->relief);
    cache_free(s->cache);
    if (s->store != NULL)
        store_free(s->store);
}
