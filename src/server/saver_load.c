/* Loading a snapshot: at the start, while clients are told to wait, and for DEBUG RELOAD. */
#include "base/err.h"
#include "base/log.h"
#include "cache/state.h"
#include "os/clock.h"
#include "server/saver.h"
#include "server/server.h"
#include "store/change.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct source {
    struct saver *v;
    int fd;
};

static int64_t read_file(void *arg, char *p, size_t n)
{
    struct source *src = arg;
    ssize_t rc;
    do {
        rc = read(src->fd, p, n);
    } while (rc < 0 && errno == EINTR);
    if (rc > 0)
        atomic_fetch_add(&src->v->shown.load_done, (uint64_t)rc);
    return rc < 0 ? ERR_IO : rc;
}

/* -1 with errno set: there is none, or it cannot be read. */
static int open_file(struct saver *v)
{
    struct stat st;
    int fd = open(v->server->config.dbfilename, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fd;
    atomic_store(&v->shown.load_total, fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0);
    atomic_store(&v->shown.load_done, 0);
    atomic_store(&v->shown.load_began_ms, os_wall_ms());
    return fd;
}

static void show(struct saver *v, const struct load *l)
{
    atomic_store(&v->shown.loaded, l->loaded);
    atomic_store(&v->shown.expired, l->expired);
}

/* ---- at the start ---- */

static void log_progress(struct saver *v, const struct load *l, int64_t *next_ms)
{
    int64_t now_ms = os_wall_ms();
    if (now_ms < *next_ms)
        return;
    *next_ms = now_ms + SAVER_LOG_MS;
    uint64_t total = atomic_load(&v->shown.load_total), done = atomic_load(&v->shown.load_done);
    log_notice("Loading: %llu keys, %llu of %llu MB.", (unsigned long long)l->loaded,
               (unsigned long long)(done >> 20), (unsigned long long)(total >> 20));
}

struct beginning {
    struct server *server;
    struct load *load;
    struct access *a;
    int rc;
};

/* Gate: the head of the file and its first key. What has expired in a file that belongs to a history stays
 * until replicas can be told. */
static void load_beginning(void *arg)
{
    struct beginning *b = arg;
    struct server *s = b->server;
    store_round_begin(s->store, b->a->app);
    b->rc = load_step(b->load, b->a, s->limits.databases, 1);
    if (b->load->reader.repl_id[0] != '\0') {
        b->a->expired = EXPIRED_HIDE;
        server_care_set(s, CARE_KEEP_EXPIRED, true);
    }
}

static int load_in_rounds(struct saver *v, struct load *l)
{
    struct server *s = v->server;
    struct access a = {.store = s->store, .app = v->app, .now_ms = os_wall_ms()};
    int64_t next_ms = a.now_ms + SAVER_LOG_MS;
    struct beginning b = {s, l, &a, ERR_EXISTS};
    if (!lane_call(&s->lane, load_beginning, &b) || b.rc != 0)
        return b.rc;
    int rc;
    do {
        if (atomic_load_explicit(&v->cancel, memory_order_relaxed))
            return ERR_EXISTS;
        gate_enter(&s->gate, v->index);
        store_round_begin(s->store, v->app);
        rc = load_step(l, &a, s->limits.databases, SAVER_LOAD_SLICE);
        gate_leave(&s->gate, v->index);
        show(v, l);
        log_progress(v, l, &next_ms);
    } while (rc == 0 || rc == ERR_AGAIN);
    return rc;
}

static bool load_source(struct saver *v, struct source *src)
{
    struct server *s = v->server;
    struct load l;
    load_init(&l, read_file, src, &s->limits.objects);
    l.put_extra = cache_put_extra;
    l.put_state = cache_take_state;
    l.keep_expired = s->config.replicaof[0] != '\0';
    l.keep_in_history = true;
    int rc = load_in_rounds(v, &l);
    double took_s = (double)(os_wall_ms() - atomic_load(&v->shown.load_began_ms)) / 1000;
    repl_loaded(&s->repl, l.reader.repl_id, l.reader.repl_offset, l.reader.stream_db, l.reader.dataset);
    if (rc == 1)
        log_notice("DB loaded from disk: %.3f seconds, %llu keys, %llu that had expired.", took_s,
                   (unsigned long long)l.loaded, (unsigned long long)l.expired);
    else if (rc != ERR_EXISTS)
        log_warning("Cannot load %s/%s: %s. Nothing is served with a part of the data: repair the file "
                    "(redis-check-rdb looks into it) or move it away to start empty.",
                    s->config.dir, s->config.dbfilename, l.text);
    load_release(&l);
    return rc == 1 || rc == ERR_EXISTS;
}

bool saver_finds_file(struct saver *v)
{
    struct server *s = v->server;
    v->source = open_file(v);
    v->unopened = v->source < 0 && errno != ENOENT;
    if (v->unopened)
        log_warning("Cannot open %s/%s: %s. Check the rights on it.", s->config.dir, s->config.dbfilename,
                    strerror(errno));
    bool found = v->source >= 0 || v->unopened;
    atomic_store(&v->shown.loading, found);
    server_care_set(s, CARE_LOADING, found);
    return found;
}

bool saver_load_at_start(struct saver *v)
{
    struct source src = {v, v->source};
    bool ok = !v->unopened && load_source(v, &src);
    if (v->source >= 0)
        close(v->source);
    v->source = -1;
    v->unsound = !ok || atomic_load(&v->cancel); /* a part is not saved over the whole */
    atomic_store(&v->shown.base, store_changes(v->server->store));
    return ok;
}

/* ---- DEBUG RELOAD ---- */

int saver_load_alone(struct saver *v, const struct access *a, bool flush, char *text, size_t n)
{
    struct server *s = v->server;
    struct source src = {v, open_file(v)};
    struct load l;
    if (src.fd < 0) {
        snprintf(text, n, "%s", strerror(errno));
        return ERR_IO;
    }
    if (flush)
        store_flush_all(a);
    load_init(&l, read_file, &src, &s->limits.objects);
    l.put_extra = cache_put_extra;
    l.put_state = cache_take_state;
    int rc;
    do {
        store_round_begin(s->store, a->app);
        rc = load_step(&l, a, s->limits.databases, SAVER_LOAD_SLICE);
    } while (rc == 0);
    show(v, &l);
    snprintf(text, n, "%s", l.text);
    load_release(&l);
    close(src.fd);
    if (rc != 1)
        return rc;
    atomic_store(&v->shown.base, store_changes(s->store));
    return 0;
}
