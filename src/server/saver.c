#include "server/saver.h"

#include "base/err.h"
#include "base/log.h"
#include "cache/state.h"
#include "os/clock.h"
#include "os/thread.h"
#include "persist/rdb.h"
#include "server/crash.h"
#include "server/server.h"
#include "store/change.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PLACE_FIELDS = 3 }; /* at the end of a file's head: where in which history it stands */

static const char NAME_BACKGROUND[] = "bg-", NAME_ALONE[] = "";

void saver_init(struct saver *v, struct server *s)
{
    memset(v, 0, sizeof *v);
    v->server = s;
    v->index = s->nworkers + 2;
    v->app = store_appender(s->store, v->index);
    v->file.fd = v->file.dir = v->source = -1;
    pthread_mutex_init(&v->mutex, NULL);
    pthread_cond_init(&v->wake, NULL);
    atomic_init(&v->shown.last_save_ms, os_wall_ms());
    atomic_init(&v->shown.last_took_s, -1);
}

void saver_release(struct saver *v)
{
    pthread_cond_destroy(&v->wake);
    pthread_mutex_destroy(&v->mutex);
}

uint64_t saver_dirty(const struct saver *v)
{
    return store_changes(v->server->store) - atomic_load(&v->shown.base);
}

bool saver_is_wanted(const struct saver *v)
{
    return v->server->config.save.n > 0 && !v->unsound && !atomic_load(&v->shown.loading);
}

/* ---- one save ------------------------------------------------------------------------------- */

static bool take_turn(struct saver *v)
{
    pthread_mutex_lock(&v->mutex);
    bool mine = !v->busy;
    v->busy = true;
    pthread_mutex_unlock(&v->mutex);
    return mine;
}

static void end_turn(struct saver *v)
{
    pthread_mutex_lock(&v->mutex);
    v->busy = false;
    pthread_mutex_unlock(&v->mutex);
}

/* AUX fields that Redis's own files have, and tools look for. */
static int open_snapshot(struct saver *v, struct snapshot_file *f, bool on_lane, struct snapshot **out)
{
    struct server *s = v->server;
    char dataset[LINEAGE_TEXT], time_text[NUM_I64_TEXT_MAX], memory[NUM_I64_TEXT_MAX];
    int64_t now_ms = os_wall_ms();
    char offset[NUM_I64_TEXT_MAX], db[NUM_I64_TEXT_MAX];
    struct history_place place = {.offset = 0};
    bool has_place = repl_place(&s->repl, &place);
    const struct snapshot_aux aux[] = {
        {STR("redis-ver"), STR(SERVER_REDIS_VERSION)},
        {STR("redis-bits"), STR("64")},
        {STR("ctime"), {time_text, num_put_i64(time_text, now_ms / 1000)}},
        {STR("used-mem"), {memory, num_put_i64(memory, (int64_t)stats_used_memory(s))}},
        {STR("aof-base"), STR("0")},
        {STR("larder-ver"), STR(LARDER_VERSION)},
        {RDB_DATASET_NAME, {dataset, lineage_put(&s->repl.lineage, dataset)}},
        {STR("repl-id"), str_of(place.id)},
        {STR("repl-offset"), {offset, num_put_u64(offset, place.offset)}},
        {STR("repl-stream-db"), {db, num_put_u64(db, place.db)}},
    };
    struct snapshot_options o = {.sink = &f->sink,
                                 .aux = aux,
                                 .naux = ARRAY_LEN(aux) - (has_place ? 0 : PLACE_FIELDS),
                                 .version = RDB_VERSION_WRITTEN,
                                 .now_ms = has_place ? 0 : now_ms, /* replicas wait for the end of all keys */
                                 .clock_ms = now_ms,
                                 .whole = true,
                                 .lane = on_lane,
                                 .gate = on_lane ? NULL : &s->gate,
                                 .round = v->index,
                                 .put_state = cache_put_state,
                                 .state_arg = s->cache,
                                 .compress = s->config.rdbcompression,
                                 .checksum = s->config.rdbchecksum};
    int err = snapshot_open(out, s->store, &o);
    if (err == 0) {
        atomic_store(&v->shown.began_ms, now_ms);
        atomic_store(&v->shown.saving, !on_lane);
    }
    return err;
}

static void show_progress(struct saver *v, const struct snapshot *sn)
{
    struct snapshot_progress p;
    snapshot_progress(sn, &p);
    atomic_store(&v->shown.keys, p.keys);
    atomic_store(&v->shown.keys_total, p.keys_total);
    atomic_store(&v->shown.held_peak, p.held_peak);
    atomic_store(&v->shown.spilled, p.spilled);
}

/* A long command has the next shard. */
static void nap(struct saver *v)
{
    int64_t until_us = os_wall_us() + SAVER_NAP_US;
    struct timespec until = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};
    pthread_mutex_lock(&v->mutex);
    if (!v->stop)
        (void)pthread_cond_timedwait(&v->wake, &v->mutex, &until);
    pthread_mutex_unlock(&v->mutex);
}

static int write_snapshot(struct saver *v, struct snapshot *sn, bool in_background)
{
    int rc;
    while ((rc = snapshot_step(sn)) == 0 || rc == ERR_AGAIN) {
        if (atomic_load_explicit(&v->cancel, memory_order_relaxed))
            return ERR_EXISTS;
        if (rc == ERR_AGAIN)
            nap(v);
        else if (in_background)
            os_thread_breathe();
        if (in_background)
            repl_record_write(&v->server->repl);
        show_progress(v, sn);
    }
    show_progress(v, sn);
    return rc == SNAPSHOT_DONE ? 0 : rc;
}

static void log_failure(const struct saver *v, const struct snapshot_file *f, int rc)
{
    if (rc == ERR_NOTFOUND)
        log_notice("The snapshot was given up: a flush came in between.");
    else if (rc == ERR_EXISTS)
        log_notice("The snapshot was given up.");
    else if (f->what != NULL)
        log_warning("The snapshot failed: cannot %s %s: %s. %s The old file is as it was.", f->what,
                    f->temporary, strerror(f->error),
                    f->error == ENOSPC || f->error == EFBIG || f->error == EDQUOT
                        ? "Make room on that disk, or point 'dir' to another one."
                        : "Check 'dir', 'dbfilename' and the rights on that directory.");
    else
        log_warning(
            "The snapshot failed: %s. The old file is as it was.",
            rc == ERR_OOM ? "not enough memory for what clients change meanwhile"
            : rc == ERR_IO
                ? "cannot write the temporary file of what clients change meanwhile; is the disk full?"
                : err_name(rc));
}

/* stop-writes-on-bgsave-error means only those who rely on snapshots. */
static void follow_status(struct saver *v)
{
    const struct config *cfg = &v->server->config;
    server_care_set(v->server, CARE_DISK,
                    atomic_load(&v->shown.failed) && cfg->save.n > 0 && cfg->stop_writes_on_bgsave_error);
}

static void note_success(struct saver *v, uint64_t base)
{
    int64_t now_ms = os_wall_ms();
    atomic_store(&v->shown.base, base);
    atomic_store(&v->shown.last_save_ms, now_ms);
    atomic_store(&v->shown.last_took_s, (now_ms - atomic_load(&v->shown.began_ms)) / 1000);
    atomic_fetch_add(&v->shown.saves, 1);
}

/* Closes sn, ends f, and the turn if f was the turn's: whoever sees in INFO that a snapshot is over may begin
 * the next one, so both are said under the mutex that a BGSAVE takes. base: changes at the cut. */
static int finish(struct saver *v, struct snapshot *sn, struct snapshot_file *f, int rc, uint64_t base)
{
    snapshot_close(sn);
    if (rc == 0)
        rc = snapshot_file_commit(f);
    else
        snapshot_file_abort(f);
    if (rc == 0)
        log_notice("The snapshot is on disk: %llu keys.", (unsigned long long)atomic_load(&v->shown.keys));
    else
        log_failure(v, f, rc);
    pthread_mutex_lock(&v->mutex);
    if (rc != ERR_NOTFOUND && rc != ERR_EXISTS)
        atomic_store(&v->shown.failed, rc != 0);
    atomic_store(&v->shown.saving, false);
    if (rc == 0)
        note_success(v, base);
    if (f == &v->file)
        v->busy = false;
    pthread_mutex_unlock(&v->mutex);
    return rc;
}

static int begin(struct saver *v, struct snapshot_file *f, const char *prefix, bool on_lane,
                 struct snapshot **sn)
{
    const struct config *cfg = &v->server->config;
    *sn = NULL;
    int rc = snapshot_file_begin(f, prefix, cfg->dbfilename, cfg->rdb_save_incremental_fsync);
    if (rc == 0 && (rc = open_snapshot(v, f, on_lane, sn)) != 0)
        snapshot_file_abort(f);
    if (rc != 0) {
        atomic_store(&v->shown.failed, true);
        log_failure(v, f, rc);
    }
    return rc;
}

int saver_begin(struct saver *v)
{
    struct snapshot *sn;
    if (!take_turn(v))
        return ERR_EXISTS;
    atomic_store(&v->cancel, false);
    v->base = store_changes(v->server->store);
    int rc = v->unsound ? ERR_CORRUPT : begin(v, &v->file, NAME_BACKGROUND, false, &sn);
    if (rc != 0) {
        end_turn(v);
        return rc;
    }
    log_notice("A snapshot has begun in the background.");
    pthread_mutex_lock(&v->mutex);
    v->sn = sn;
    pthread_cond_signal(&v->wake);
    pthread_mutex_unlock(&v->mutex);
    return 0;
}

int saver_save(struct saver *v)
{
    struct server *s = v->server;
    struct snapshot *sn;
    if (!take_turn(v))
        return ERR_EXISTS;
    atomic_store(&v->cancel, false);
    gate_raise(&s->gate);
    uint64_t base = store_changes(s->store);
    int rc = v->unsound ? ERR_CORRUPT : begin(v, &v->file, NAME_BACKGROUND, true, &sn);
    gate_lower(&s->gate);
    if (rc == 0)
        return finish(v, sn, &v->file, write_snapshot(v, sn, false), base);
    end_turn(v);
    return rc;
}

int saver_save_alone(struct saver *v)
{
    struct snapshot_file f;
    struct snapshot *sn;
    if (v->unsound)
        return ERR_CORRUPT;
    atomic_store(&v->cancel, true);
    uint64_t base = store_changes(v->server->store);
    int rc = begin(v, &f, NAME_ALONE, true, &sn);
    if (rc != 0)
        return rc;
    while ((rc = snapshot_step(sn)) == 0)
        ;
    show_progress(v, sn);
    return finish(v, sn, &f, rc == SNAPSHOT_DONE ? 0 : rc, base);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void begin_by_itself(void *arg)
{
    (void)saver_begin(arg);
}

/* In the background: what was opened under the gate. */
static void write_in_background(struct saver *v, struct snapshot *sn)
{
    int rc = finish(v, sn, &v->file, write_snapshot(v, sn, true), v->base);
    v->retry_ms = rc == 0 ? 0 : os_wall_ms() + SAVER_RETRY_MS;
    if (rc == ERR_NOTFOUND)
        (void)lane_call(&v->server->lane, begin_by_itself, v);
}

static bool is_due(const struct saver *v)
{
    const struct config_save *save = &v->server->config.save;
    int64_t now_ms = os_wall_ms();
    if (now_ms < v->retry_ms)
        return false;
    uint64_t dirty = saver_dirty(v);
    int64_t age_ms = now_ms - atomic_load(&v->shown.last_save_ms);
    for (uint32_t i = 0; i < save->n; i++)
        if (dirty >= (uint64_t)save->v[i].changes && dirty > 0 && age_ms > save->v[i].seconds * 1000) {
            log_notice("%llu changes in %lld seconds: saving.", (unsigned long long)dirty,
                       (long long)age_ms / 1000);
            return true;
        }
    return false;
}

/* The next thing to write, NULL after a tick without any. False: the end. */
static bool wait_for_work(struct saver *v, struct snapshot **sn)
{
    int64_t until_us = os_wall_us() + SAVER_TICK_MS * 1000;
    struct timespec until = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};
    pthread_mutex_lock(&v->mutex);
    int rc = 0;
    while (v->sn == NULL && !v->stop && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&v->wake, &v->mutex, &until);
    *sn = v->sn;
    v->sn = NULL;
    bool on = !v->stop || *sn != NULL;
    pthread_mutex_unlock(&v->mutex);
    return on;
}

static void look_at_points(struct saver *v)
{
    gate_enter(&v->server->gate, v->index);
    follow_status(v);
    bool due = is_due(v);
    gate_leave(&v->server->gate, v->index);
    if (due)
        (void)lane_call(&v->server->lane, begin_by_itself, v);
}

static void take_role(void *arg)
{
    struct saver *v = arg;
    repl_take_role(&v->server->repl);
    atomic_store(&v->shown.loading, false);
    server_care_set(v->server, CARE_LOADING, false);
}

/* False: the node ends. */
static bool load_and_go_on(struct saver *v)
{
    struct server *s = v->server;
    if (!saver_load_at_start(v))
        return false;
    if (atomic_load(&v->cancel) || !lane_call(&s->lane, take_role, v))
        return true; /* it ends anyway */
    if (repl_start(&s->repl) == 0)
        return true;
    log_warning("Cannot start a thread: %s. Is the number of processes limited (ulimit -u)?",
                strerror(errno));
    return false;
}

static void *saver_main(void *arg)
{
    struct saver *v = arg;
    struct snapshot *sn;
    pthread_setname_np(pthread_self(), "saver");
    crash_thread_begin();
    bool sound = !atomic_load(&v->shown.loading) || load_and_go_on(v);
    if (!sound)
        server_request_stop(v->server, 1);
    os_thread_give_way(); /* from now on; nobody waits for what it writes */
    while (wait_for_work(v, &sn)) {
        if (sn != NULL)
            write_in_background(v, sn);
        else if (sound)
            look_at_points(v);
        repl_record_write(&v->server->repl);
    }
    crash_thread_end();
    return NULL;
}

int saver_start(struct saver *v)
{
    return os_thread_start(&v->thread, &v->running, saver_main, v);
}

void saver_end(struct saver *v)
{
    if (!v->running)
        return;
    atomic_store(&v->cancel, true);
    pthread_mutex_lock(&v->mutex);
    v->stop = true;
    pthread_cond_signal(&v->wake);
    pthread_mutex_unlock(&v->mutex);
    pthread_join(v->thread, NULL);
    v->running = false;
}

/* ---- the end ------------------------------------------------------------------------------- */

struct parting {
    struct saver *saver;
    bool is_sigint, ok;
};

bool saver_end_with(struct saver *v, bool save, bool force)
{
    struct server *s = v->server;
    repl_log_freeze(&s->repl, true);
    bool ok = !save || saver_save_alone(v) == 0 || force;
    if (ok)
        atomic_store_explicit(&s->stop, STOP_BEGUN, memory_order_release);
    else
        repl_log_freeze(&s->repl, false);
    return ok;
}

static void save_and_part(void *arg)
{
    struct parting *p = arg;
    struct server *s = p->saver->server;
    int how = p->is_sigint ? s->config.shutdown_on_sigint : s->config.shutdown_on_sigterm;
    bool save = !(how & SHUTDOWN_NOSAVE) && ((how & SHUTDOWN_SAVE) || saver_is_wanted(p->saver));
    s->repl.parts_at_once = (how & SHUTDOWN_NOW) != 0;
    p->ok = saver_end_with(p->saver, save, (how & SHUTDOWN_FORCE) != 0);
}

bool saver_part(struct saver *v, bool is_sigint)
{
    struct parting p = {v, is_sigint, true};
    (void)lane_call(&v->server->lane, save_and_part, &p);
    return p.ok;
}
