/* A full copy of the data for replicas, made while everybody works, by a thread of its own that lives as
 * long.
 *
 *      (gate) cut, offset ──> copier: slices ──> a file without a name ──┬──> replica 1, at its own pace
 *      log from the offset on, kept for whoever joins ───────────────────┴──> replica 2
 *
 * The copier gives way (os_thread_give_way()): the stream, which the replication thread sends, and clients go
 * first. It takes part in the gate, and has nothing else of `struct repl` than what is atomic.
 *
 * One is made at a time, for all who wait; whoever comes while it is made joins it, since the log from its
 * offset on is kept as long. Replicas that take a stream of unknown length get it as it grows, others when it
 * is whole. The file stands between the snapshot and the sockets so that a slow replica slows nobody. */
#include "base/log.h"
#include "cache/state.h"
#include "os/clock.h"
#include "os/random.h"
#include "os/thread.h"
#include "persist/rdb.h"
#include "server/crash.h"
#include "server/repl_feed.h"
#include "server/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int write_file(struct snapshot_sink *sink, const char *p, size_t n)
{
    struct full_copy *c = (struct full_copy *)sink;
    while (n > 0) {
        ssize_t rc = write(c->fd, p, n);
        if (rc < 0 && errno == EINTR)
            continue;
        if (rc < 0) {
            c->error = errno;
            return ERR_IO;
        }
        p += rc;
        n -= (size_t)rc;
        atomic_fetch_add(&c->bytes, (uint64_t)rc);
    }
    return 0;
}

static void open_file(struct full_copy *c)
{
    char name[64];
    snprintf(name, sizeof name, "temp-%d-feed.rdb", (int)getpid());
    c->fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (c->fd >= 0)
        unlink(name); /* nothing is left behind, whatever happens */
    else
        c->error = errno;
}

static int open_snapshot(struct repl *r)
{
    struct full_copy *c = &r->copy;
    struct server *s = r->server;
    char dataset[LINEAGE_TEXT], ctime[NUM_I64_TEXT_MAX], db[NUM_I64_TEXT_MAX], offset[NUM_I64_TEXT_MAX];
    struct snapshot_aux aux[] = {
        {STR("redis-ver"), STR(SERVER_REDIS_VERSION)},
        {STR("redis-bits"), STR("64")},
        {STR("ctime"), {ctime, num_put_i64(ctime, os_wall_ms() / 1000)}},
        {RDB_DATASET_NAME, {dataset, lineage_put(&r->lineage, dataset)}},
        {STR("repl-id"), str_of(c->id)},
        {STR("repl-offset"), {offset, num_put_u64(offset, c->offset)}},
        {STR("repl-stream-db"), {db, num_put_u64(db, r->session.db)}},
    };
    struct snapshot_options o = {.sink = &c->sink,
                                 .aux = aux,
                                 .naux = ARRAY_LEN(aux) - (r->is_replica ? 0 : 1),
                                 .version = RDB_VERSION_WRITTEN,
                                 .now_ms = os_wall_ms(),
                                 .clock_ms = os_wall_ms(),
                                 .gate = &s->gate,
                                 .round = r->index + 2,
                                 .put_state = cache_put_state,
                                 .state_arg = s->cache,
                                 .checksum = true};
    return snapshot_open(&c->sn, s->store, &o);
}

static void log_end(struct full_copy *c, int rc)
{
    if (rc == SNAPSHOT_DONE)
        log_notice("The full copy for replicas is whole: %llu bytes in %.3f s.",
                   (unsigned long long)atomic_load(&c->bytes), (double)(os_mono_ns() - c->began_ns) / 1e9);
    else if (rc != ERR_EXISTS)
        log_warning("The full copy for replicas cannot be written in 'dir': %s.",
                    c->error != 0 ? strerror(c->error) : err_name(rc));
}

/* Whoever feeds replicas is told now and then that there is more. */
static void *copier_main(void *arg)
{
    struct repl *r = arg;
    struct full_copy *c = &r->copy;
    uint64_t told = 0;
    int rc;
    pthread_setname_np(pthread_self(), "copier");
    crash_thread_begin();
    os_thread_give_way();
    while ((rc = snapshot_step(c->sn)) == 0 || rc == ERR_AGAIN) {
        if (atomic_load_explicit(&c->give_up, memory_order_relaxed)) {
            rc = ERR_EXISTS;
            break;
        }
        if (rc == ERR_AGAIN)
            os_nap_us(REPL_COPY_NAP_US);
        else
            os_thread_breathe();
        uint64_t bytes = atomic_load(&c->bytes);
        if (bytes - told >= REPL_READ_SIZE) {
            told = bytes;
            repl_wake(r);
        }
    }
    snapshot_close(c->sn);
    log_end(c, rc);
    crash_thread_end();
    atomic_store_explicit(&c->state, rc == SNAPSHOT_DONE ? COPY_WHOLE : COPY_FAILED, memory_order_release);
    repl_wake(r);
    return NULL;
}

/* Takes the snapshot. */
static int start_copier(struct repl *r)
{
    struct full_copy *c = &r->copy;
    atomic_store(&c->state, COPY_GROWING);
    int rc = pthread_create(&c->thread, NULL, copier_main, r);
    if (rc == 0)
        return 0;
    atomic_store(&c->state, COPY_NONE);
    c->error = rc;
    snapshot_close(c->sn);
    return ERR_IO;
}

int repl_copy_begin(struct repl *r)
{
    struct full_copy *c = &r->copy;
    *c = (struct full_copy){.sink = {write_file}, .offset = repl_offset(r), .began_ns = os_mono_ns()};
    memcpy(c->id, r->history.id, sizeof c->id);
    os_random_hex(c->mark, LINK_MARK);
    open_file(c);
    int rc = c->fd < 0 ? ERR_IO : changelog_reader_open(&r->log, &c->anchor, c->offset);
    if (rc == 0 && ((rc = open_snapshot(r)) != 0 || (rc = start_copier(r)) != 0))
        changelog_reader_close(&r->log, &c->anchor);
    if (rc != 0) {
        log_warning("No full copy for replicas could be begun: %s.",
                    c->error != 0 ? strerror(c->error) : err_name(rc));
        if (c->fd >= 0)
            close(c->fd);
        return rc;
    }
    log_notice("A full copy for replicas has begun, as of offset %llu.", (unsigned long long)c->offset);
    return 0;
}

void repl_copy_give_up(struct repl *r)
{
    atomic_store(&r->copy.give_up, true);
}

void repl_copy_forget(struct repl *r)
{
    struct full_copy *c = &r->copy;
    if (repl_copy_state(c) == COPY_NONE)
        return;
    pthread_join(c->thread, NULL);
    if (!c->over)
        changelog_reader_close(&r->log, &c->anchor);
    close(c->fd);
    atomic_store(&c->state, COPY_NONE);
}
