/* A full copy of the data for replicas, made while everybody works.
 *
 *      (gate) cut, offset ──> slices between rounds ──> a file without a name ──┬──> replica 1, at its own
 * pace ├──> replica 2 log from the offset on, kept for whoever joins ───────────────────┘
 *
 * One is made at a time, for all who wait; whoever comes while it is made joins it, since the log from its
 * offset on is kept as long. Replicas that take a stream of unknown length get it as it grows, others when it
 * is whole. The file stands between the snapshot and the sockets so that a slow replica slows nobody. */
#include "base/log.h"
#include "cache/state.h"
#include "os/clock.h"
#include "os/random.h"
#include "persist/rdb.h"
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
        c->bytes += (uint64_t)rc;
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
    char ctime[NUM_I64_TEXT_MAX], db[NUM_I64_TEXT_MAX], offset[NUM_I64_TEXT_MAX];
    struct snapshot_aux aux[] = {
        {STR("redis-ver"), STR(SERVER_REDIS_VERSION)},
        {STR("redis-bits"), STR("64")},
        {STR("ctime"), {ctime, num_put_i64(ctime, os_wall_ms() / 1000)}},
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
                                 .round = r->index,
                                 .put_state = cache_put_state,
                                 .state_arg = s->cache,
                                 .checksum = true};
    return snapshot_open(&c->sn, s->store, &o);
}

int repl_copy_begin(struct repl *r)
{
    struct full_copy *c = &r->copy;
    *c = (struct full_copy){.sink = {write_file}, .offset = repl_offset(r), .began_ns = os_mono_ns()};
    memcpy(c->id, r->history.id, sizeof c->id);
    os_random_hex(c->mark, LINK_MARK);
    open_file(c);
    int rc = c->fd < 0 ? ERR_IO : changelog_reader_open(&r->log, &c->anchor, c->offset);
    if (rc == 0 && (rc = open_snapshot(r)) != 0)
        changelog_reader_close(&r->log, &c->anchor);
    if (rc != 0) {
        log_warning("No full copy for replicas could be begun: %s.",
                    c->error != 0 ? strerror(c->error) : err_name(rc));
        if (c->fd >= 0)
            close(c->fd);
        return rc;
    }
    c->state = COPY_GROWING;
    log_notice("A full copy for replicas has begun, as of offset %llu.", (unsigned long long)c->offset);
    return 0;
}

static void close_snapshot(struct full_copy *c, enum copy_state state)
{
    snapshot_close(c->sn);
    c->sn = NULL;
    c->state = state;
}

void repl_copy_step(struct repl *r)
{
    struct full_copy *c = &r->copy;
    int64_t until_ns = os_mono_ns() + (int64_t)REPL_SLICE_US * 1000;
    int rc;
    do {
        rc = snapshot_step(c->sn);
    } while (rc == 0 && os_mono_ns() < until_ns);
    c->busy = rc == ERR_AGAIN;
    if (rc == 0 || rc == ERR_AGAIN)
        return;
    if (rc == SNAPSHOT_DONE)
        log_notice("The full copy for replicas is whole: %llu bytes in %.3f s.", (unsigned long long)c->bytes,
                   (double)(os_mono_ns() - c->began_ns) / 1e9);
    else
        log_warning("The full copy for replicas cannot be written in 'dir': %s.",
                    c->error != 0 ? strerror(c->error) : err_name(rc));
    close_snapshot(c, rc == SNAPSHOT_DONE ? COPY_WHOLE : COPY_FAILED);
}

void repl_copy_give_up(struct repl *r)
{
    if (r->copy.sn != NULL)
        close_snapshot(&r->copy, COPY_FAILED);
}

void repl_copy_forget(struct repl *r)
{
    struct full_copy *c = &r->copy;
    ASSERT(c->sn == NULL);
    if (c->state == COPY_NONE)
        return;
    changelog_reader_close(&r->log, &c->anchor);
    close(c->fd);
    c->state = COPY_NONE;
}
