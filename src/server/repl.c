#include "server/repl.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "cache/cache.h"
#include "os/clock.h"
#include "os/random.h"
#include "os/thread.h"
#include "server/crash.h"
#include "server/mail.h"
#include "server/repl_feed.h"
#include "server/repl_wait.h"
#include "server/server.h"
#include "store/change.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- roles ------------------------------------------------------------------------------ */

/* A key that expired or was evicted on the thread whose unit this is. */
static void note_removed(void *listener, const struct access *a, uint32_t db, struct str key,
                         enum change_reason why)
{
    const struct str argv[] = {STR("DEL"), key};
    unit_add(listener, db, argv, ARRAY_LEN(argv));
}

static void log_thread(struct cmd_ctx *c, struct unit *u, bool on)
{
    c->unit = on ? u : NULL;
    u->open &= on; /* the command that switches it off has no effect to be logged */
    store_observe(c->a.app, on ? note_removed : NULL, u);
}

/* Do the threads that execute for clients log what they do? */
static void log_threads(struct repl *r, bool on)
{
    struct server *s = r->server;
    for (uint32_t i = 0; i < s->nworkers; i++)
        log_thread(&s->workers[i].ctx, &s->workers[i].unit, on);
    log_thread(&s->lane.ctx, &s->lane.unit, on);
}

static void new_id(char id[HISTORY_ID + 1])
{
    os_random_hex(id, HISTORY_ID);
}

void repl_log_on(struct repl *r)
{
    if (changelog_is_on(&r->log))
        return;
    repl_settle(r);
    if (changelog_is_on(&r->log))
        return;
    changelog_start(&r->log, repl_offset(r));
    r->has_history = true;
    atomic_store(&r->record_now, true);
    if (!r->is_replica)
        log_threads(r, true);
}

void repl_settle(struct repl *r)
{
    char id[HISTORY_ID + 1];
    if (r->is_replica)
        return;
    bool has_place = r->has_place;
    new_id(id);
    repl_resume_as_primary(r, id);
    if (r->from_file)
        repl_doubt(r);
    if (!has_place)
        return;
    atomic_store(&r->record_now, true);
    log_threads(r, true);
    log_notice(
        "The snapshot belongs to the history %s, up to offset %llu. It goes on from there under the id %s.",
        r->place.id, (unsigned long long)r->place.offset, r->history.id);
}

void repl_log_freeze(struct repl *r, bool on)
{
    if (r->is_replica || !changelog_is_on(&r->log) || on == r->log_frozen)
        return;
    if (on)
        repl_feeds_ask(r);
    r->log_frozen = on;
    log_threads(r, !on);
}

/* What is missing in it no replica may go past: as a primary, another history begins. A replica has its data
 * and its offset, and only its own replicas must start anew. */
void repl_log_mend(struct repl *r)
{
    char id[HISTORY_ID + 1];
    if (!changelog_is_broken(&r->log))
        return;
    log_warning("There was no memory to log a write: all replicas get a new full copy.");
    repl_feeds_cut(r, "the change log is broken");
    new_id(id);
    if (!r->is_replica)
        history_init(&r->history, id);
    changelog_start(&r->log, repl_offset(r));
    atomic_store(&r->record_now, true);
}

/* Writes that are not logged make another history. */
void repl_log_off(struct repl *r)
{
    if (!changelog_is_on(&r->log))
        return;
    char id[HISTORY_ID + 1];
    new_id(id);
    history_init(&r->history, id);
    log_threads(r, false);
    changelog_stop(&r->log);
    r->has_history = false;
    log_notice("The change log is off: no replica has asked for it within repl-backlog-ttl.");
}

static void show_primary(struct repl *r, struct str host, int port)
{
    if (config_set_primary(&r->server->config, host, port) != 0)
        log_warning("Out of memory: CONFIG GET replicaof and CONFIG REWRITE do not know the change of role.");
}

void repl_follow_primary(struct repl *r, struct str host, int port)
{
    ASSERT(host.n < REPL_HOST_MAX);
    repl_link_drop(r, NULL);
    repl_feeds_cut(r, "this node follows another primary now");
    if (!r->is_replica)
        log_threads(r, false);
    memcpy(r->host, host.p, host.n);
    r->host[host.n] = '\0';
    show_primary(r, str_of(r->host), port);
    r->port = port;
    r->is_replica = r->named_anew = true;
    r->lost_history = r->has_past = false;
    memset(r->arriving, 0, sizeof r->arriving);
    atomic_store(&r->shown.ahead, 0);
    repl_resume_as_replica(r);
    r->turn++;
    r->replica.failed[0] = '\0';
    r->replica.retry_ms = 0;
    atomic_store(&r->shown.down_since_ms, os_wall_ms());
    server_care_set(r->server, CARE_REPLICA, true);
    char address[CACHE_REPLICA_OF];
    snprintf(address, sizeof address, "%s:%d", r->host, port);
    cache_set_primary(r->server->cache, &r->server->lane.ctx.a, address);
    log_notice("This node is a replica of %s:%d from now on.", r->host, port);
    repl_wake(r);
}

void repl_become_primary(struct repl *r)
{
    bool gives_up = r->lost_history || atomic_load(&r->shown.ahead) > 0;
    r->lost_history = r->has_past = r->resumed = false;
    atomic_store(&r->shown.ahead, 0);
    if (!r->is_replica) {
        if (gives_up) /* what others have more of may be replaced */
            repl_lineage_rise(r);
        return;
    }
    show_primary(r, STR(""), 0);
    repl_link_drop(r, NULL);
    repl_feeds_cut(r, "this node is a primary now, under another replication id");
    r->is_replica = r->named_anew = false;
    r->turn++;
    char id[HISTORY_ID + 1];
    new_id(id);
    if (r->has_history && changelog_is_on(&r->log))
        history_branch(&r->history, id, repl_offset(r));
    else
        history_init(&r->history, id);
    atomic_store(&r->record_now, true);
    changelog_forget_db(&r->log);
    repl_lineage_rise(r);
    if (changelog_is_on(&r->log))
        log_threads(r, true);
    if (r->from_file)
        repl_doubt(r);
    server_care_set(r->server, CARE_REPLICA | CARE_KEEP_EXPIRED, false);
    cache_set_primary(r->server->cache, &r->server->lane.ctx.a, NULL);
    log_notice("This node is a primary from now on. Its history goes on from offset %llu under the id %s.",
               (unsigned long long)repl_offset(r), r->history.id);
    repl_wake(r);
}

bool repl_may_serve(const struct repl *r)
{
    return atomic_load_explicit(&r->link_up, memory_order_relaxed) ||
           r->server->config.replica_serve_stale_data;
}

/* ---- the thread -------------------------------------------------------------------------- */

void repl_wake(struct repl *r)
{
    loop_wake(r->loop);
}

void repl_tell(struct repl *r, uint64_t end)
{
    if (end >= atomic_load_explicit(&r->trim_at, memory_order_relaxed))
        loop_wake(r->loop);
}

struct alone {
    struct repl *r;
    void (*fn)(struct repl *r);
};

static void run_alone(void *arg)
{
    struct alone *a = arg;
    a->fn(a->r);
}

bool repl_alone(struct repl *r, void (*fn)(struct repl *r))
{
    struct alone a = {r, fn};
    return lane_call(&r->server->lane, run_alone, &a);
}

void repl_round_begin(struct repl *r)
{
    struct server *s = r->server;
    gate_enter(&s->gate, r->index);
    r->now_ms = os_wall_ms();
    store_round_begin(s->store, r->ctx.a.app);
}

void repl_round_end(struct repl *r)
{
    if (cache_has_debts(&r->ctx.a))
        cache_pay_debts(&r->ctx.a);
    gate_leave(&r->server->gate, r->index);
}

static int timeout_ms(const struct repl *r)
{
    if (r->more_to_feed)
        return 0;
    if (r->replica.more)
        return r->replica.blocked ? 1 : 0;
    int64_t left = r->cron_ms - os_wall_ms();
    int64_t most = r->owes ? 1 : REPL_CRON_MS;
    return left < 0 ? 0 : left > most ? (int)most : (int)left;
}

void repl_mail(struct repl *r, struct mpsc_node *n)
{
    mpsc_push(&r->mailbox, n);
    loop_wake(r->loop);
}

static void open_letters(struct repl *r)
{
    struct mpsc_node *n;
    while ((n = mpsc_pop(&r->mailbox)) != NULL) {
        struct repl_letter *l = container_of(n, struct repl_letter, node);
        if (l->kind == LETTER_FEED)
            repl_feed_comes(r, container_of(l, struct feed, letter));
        else if (l->kind == LETTER_PURGE)
            purge_arrives(&r->purges, l);
        else
            repl_waiter_arrives(r, l);
    }
    repl_peers_kill(r);
}

/* What the cluster's thread is to know of the data. */
static void show_data(struct repl *r)
{
    char half[17] = "";
    memcpy(half, r->history.id, 16);
    uint64_t id = r->has_history ? strtoull(half, NULL, 16) | 1 : 0;
    atomic_store(&r->shown.history, id);
    atomic_store(&r->shown.keys, store_db_keys(r->server->store, 0));
}

static void trim(struct repl *r)
{
    changelog_trim(&r->log);
    atomic_store_explicit(&r->trim_at, repl_offset(r) + REPL_TRIM_STEP, memory_order_relaxed);
}

static void round_of(struct repl *r, int nevents)
{
    repl_round_begin(r);
    while (atomic_load(&r->record_now)) { /* by somebody at the gate */
        repl_round_end(r);
        repl_record_now(r);
        repl_round_begin(r);
    }
    open_letters(r);
    for (int i = 0; i < nevents; i++) {
        struct loop_event ev = loop_event(r->loop, i);
        if (ev.tag == &r->replica) {
            repl_link_event(r, &ev);
        } else if (purges_own(&r->purges, ev.tag)) {
            purges_event(&r->purges, &ev);
        } else if (ev.tag != NULL) {
            repl_feed_event(r, ev.tag, &ev);
            if (ev.writable)
                repl_feed_writable(r, ev.tag);
        }
    }
    if (r->replica.more)
        repl_link_event(r, NULL);
    if (r->now_ms >= r->cron_ms) {
        r->cron_ms = r->now_ms + REPL_CRON_MS;
        repl_link_cron(r);
        repl_feeds_cron(r);
        show_data(r);
        changelog_set_backlog(&r->log, (uint64_t)r->server->config.repl_backlog_size);
    }
    purges_step(&r->purges);
    repl_feeds_push(r);
    trim(r);
    repl_waiters_check(r);
    r->todo = (struct repl_todo){.timeout_ms = purges_timeout(&r->purges, timeout_ms(r))};
    repl_link_plan(r, &r->todo);
    repl_feeds_plan(r, &r->todo);
    failover_plan(r, &r->todo);
    repl_round_end(r);
    failover_outside(r);
    purges_outside(&r->purges);
    repl_link_outside(r);
    repl_feeds_outside(r);
    repl_record_keep(r);
}

static void *repl_main(void *arg)
{
    struct repl *r = arg;
    pthread_setname_np(pthread_self(), "replication");
    crash_thread_begin();
    while (!atomic_load_explicit(&r->stop, memory_order_acquire)) {
        int n = loop_wait(r->loop, r->todo.timeout_ms * 1000LL);
        round_of(r, n);
    }
    crash_thread_end();
    return NULL;
}

int repl_init(struct repl *r, struct server *s)
{
    char id[HISTORY_ID + 1];
    r->server = s;
    r->index = s->nworkers + 1;
    mpsc_init(&r->mailbox);
    pthread_mutex_init(&r->mutex, NULL);
    pthread_mutex_init(&r->record.file, NULL);
    pthread_cond_init(&r->acked, NULL);
    new_id(id);
    history_init(&r->history, id);
    repl_lineage_init(r);
    atomic_store(&r->shown.keys, REPL_KEYS_UNKNOWN);
    struct changelog_spill spill = repl_spill(r);
    changelog_init(&r->log, r->index + 1, (uint64_t)s->config.repl_backlog_size, &spill);
    unit_init(&r->unit, &r->log, r->index);
    purges_init(&r->purges, r);
    repl_apply_init(r);
    repl_link_init(r);
    return loop_new(&r->loop, false);
}

/* `replicaof host port`, before the threads run. */
static void follow_option(struct repl *r)
{
    struct str words = str_of(r->server->config.replicaof);
    const char *space = memchr(words.p, ' ', words.n);
    int64_t port;
    if (space == NULL ||
        !num_parse_i64((struct str){space + 1, words.n - (size_t)(space + 1 - words.p)}, &port))
        return;
    repl_follow_primary(r, (struct str){words.p, (size_t)(space - words.p)}, (int)port);
    r->named_anew &= !r->from_file; /* by the configuration, long ago: it may not take newer data away */
}

void repl_take_role(struct repl *r)
{
    repl_record_recall(r);
    follow_option(r);
    if (!r->server->config.cluster_enabled) /* else the cluster settles it, when it knows what this node is */
        repl_settle(r);
    if (!r->is_replica && !r->has_place)
        server_care_set(r->server, CARE_KEEP_EXPIRED, false); /* there is nobody to be told */
}

int repl_start(struct repl *r)
{
    return os_thread_start(&r->thread, &r->running, repl_main, r);
}

static bool somebody_lags(struct repl *r)
{
    return repl_feeds_lag(r, repl_offset(r));
}

/* Of some replica, or a moment: one may go, and somebody be in a hurry. */
static void wait_for_word(struct repl *r)
{
    int64_t until_us = os_wall_us() + REPL_PART_US;
    struct timespec until = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};
    pthread_mutex_lock(&r->mutex);
    (void)pthread_cond_timedwait(&r->acked, &r->mutex, &until);
    pthread_mutex_unlock(&r->mutex);
}

/* Whoever is about to lose this primary shall have all of it. */
static void let_them_take(struct repl *r, bool (*hurry)(void *arg), void *arg)
{
    int64_t until_ms = os_wall_ms() + (int64_t)r->server->config.shutdown_timeout * 1000;
    if (!r->log_frozen || r->parts_at_once)
        return;
    repl_wake(r); /* the question how far they are is in the log */
    while (somebody_lags(r) && os_wall_ms() < until_ms && (hurry == NULL || !hurry(arg)))
        wait_for_word(r);
    if (somebody_lags(r))
        log_warning("This node ends although some replica has not acknowledged all of its data.");
}

void repl_end(struct repl *r, bool (*hurry)(void *arg), void *arg)
{
    if (!r->running)
        return;
    let_them_take(r, hurry, arg);
    atomic_store_explicit(&r->stop, true, memory_order_release);
    repl_wake(r);
    pthread_join(r->thread, NULL);
    r->running = false;
    repl_copy_give_up(r);
    repl_copy_forget(r);
    repl_record_now(r);
    repl_waiters_release(r);
    purges_end(&r->purges);
}

void repl_release(struct repl *r)
{
    if (r->loop == NULL)
        return;
    failover_release(r);
    repl_feeds_release(r);
    purges_release(&r->purges);
    repl_link_release(r);
    unit_release(&r->unit);
    if (r->spill_fd >= 0)
        close(r->spill_fd);
    repl_apply_release(r);
    changelog_release(&r->log);
    loop_free(r->loop);
    pthread_cond_destroy(&r->acked);
    pthread_mutex_destroy(&r->record.file);
    pthread_mutex_destroy(&r->mutex);
}
