/* A full copy of the data as an RDB file, for replicas.
 *
 * Written while the world stands still, which takes about a second for a gigabyte: the snapshot that walks
 * while clients write (layer persist) takes its place when it is there; what it must promise is the same: all
 * keys as of one offset of the log. Version 10 of the format, which every replica of interest reads. */
#include "base/hash.h"
#include "base/log.h"
#include "os/clock.h"
#include "server/repl_feed.h"
#include "server/server.h"
#include "value/object.h"
#include "value/rdb_string.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { COPY_RDB_VERSION = 10, COPY_PIECE = 1 << 20, COPY_SCAN = 1000, COPY_BUCKETS = 1 << 20 };

struct writer {
    struct repl *r;
    int fd;
    struct buf out;
    uint64_t crc, bytes;
    int err; /* errno */
};

static void flush(struct writer *w)
{
    w->crc = hash_crc64(w->crc, w->out.p, w->out.n);
    for (size_t at = 0; at < w->out.n && w->err == 0;) {
        ssize_t n = write(w->fd, w->out.p + at, w->out.n - at);
        if (n < 0 && errno != EINTR)
            w->err = errno;
        at += n > 0 ? (size_t)n : 0;
    }
    w->bytes += w->out.n;
    if (w->out.oom)
        w->err = ENOMEM;
    buf_clear(&w->out);
}

static void put_byte(struct writer *w, unsigned b)
{
    buf_putc(&w->out, (char)b);
}

static void put_len(struct writer *w, uint64_t n)
{
    char text[RDB_LEN_BYTES_MAX];
    buf_append(&w->out, text, rdb_len_put(text, n));
}

static void put_string(struct writer *w, struct str s)
{
    if (buf_reserve(&w->out, rdb_string_room(s.n)) == 0)
        w->out.n += rdb_string_put(w->out.p + w->out.n, s, false);
}

static void put_number(struct writer *w, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        put_byte(w, (unsigned)(v >> (8 * i)) & 0xff);
}

static void put_aux(struct writer *w, const char *name, struct str value)
{
    put_byte(w, 0xfa);
    put_string(w, str_of(name));
    put_string(w, value);
}

static void put_aux_number(struct writer *w, const char *name, uint64_t v)
{
    char text[NUM_I64_TEXT_MAX];
    put_aux(w, name, (struct str){text, num_put_u64(text, v)});
}

static void put_object(struct writer *w, const struct object *o)
{
    struct object_walk at = {0};
    int rc;
    do {
        rc = object_type(o)->dump(o, COPY_RDB_VERSION, &at, COPY_PIECE, &w->out);
        if (w->out.n >= COPY_PIECE)
            flush(w);
    } while (rc > 0 && w->err == 0);
    if (rc < 0)
        w->err = ENOMEM;
}

static bool put_key(void *arg, const struct entry *e)
{
    struct writer *w = arg;
    struct block *block;
    const struct object *o = entry_is_string(e) ? NULL : entry_object(e);
    int64_t expire_ms = entry_expire(e);
    if (expire_ms != 0) {
        put_byte(w, 0xfc);
        put_number(w, (uint64_t)expire_ms, 8);
    }
    put_byte(w, o != NULL ? object_type(o)->rdb_type(o, COPY_RDB_VERSION) : 0);
    put_string(w, entry_key(e));
    if (o != NULL)
        put_object(w, o);
    else
        put_string(w, entry_string(e, &block));
    if (w->out.n >= COPY_PIECE)
        flush(w);
    return w->err == 0;
}

static void put_db(struct writer *w, uint32_t db)
{
    struct store *s = w->r->server->store;
    struct access a = w->r->server->lane.ctx.a;
    uint64_t cursor = 0;
    uint32_t busy;
    if (store_db_keys(s, db) == 0)
        return;
    put_byte(w, 0xfe);
    put_len(w, db);
    put_byte(w, 0xfb);
    put_len(w, store_db_keys(s, db));
    put_len(w, store_db_expires(s, db));
    do {
        (void)store_scan(&a, db, cursor, COPY_SCAN, put_key, w, &cursor, &busy);
    } while (cursor != 0 && w->err == 0);
}

static void put_all(struct writer *w)
{
    struct repl *r = w->r;
    buf_puts(&w->out, STR("REDIS0010"));
    put_aux(w, "redis-ver", STR(SERVER_REDIS_VERSION));
    put_aux_number(w, "redis-bits", 64);
    put_aux_number(w, "ctime", (uint64_t)os_wall_ms() / 1000);
    if (r->is_replica)
        put_aux_number(w, "repl-stream-db", r->session.db);
    put_aux(w, "repl-id", str_of(r->history.id));
    put_aux_number(w, "repl-offset", repl_offset(r));
    for (uint32_t db = 0; db < r->server->limits.databases; db++)
        put_db(w, db);
    put_byte(w, 0xff);
    flush(w);
    put_number(w, w->crc, 8);
    flush(w);
}

int repl_copy_write(struct repl *r, uint64_t *bytes)
{
    char name[64];
    int64_t t0 = os_mono_ns();
    snprintf(name, sizeof name, "temp-%d-feed.rdb", (int)getpid());
    struct writer w = {.r = r, .fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
    if (w.fd >= 0) {
        unlink(name);
        buf_init(&w.out);
        put_all(&w);
        buf_release(&w.out);
    } else {
        w.err = errno;
    }
    if (w.err != 0) {
        log_warning("No full copy for replicas could be made in 'dir': %s.", strerror(w.err));
        if (w.fd >= 0)
            close(w.fd);
        return -1;
    }
    *bytes = w.bytes;
    log_notice("A full copy for replicas: %llu bytes in %.3f s, as of offset %llu.",
               (unsigned long long)w.bytes, (double)(os_mono_ns() - t0) / 1e9,
               (unsigned long long)repl_offset(r));
    return w.fd;
}
