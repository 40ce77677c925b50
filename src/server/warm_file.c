/* CACHE.WARM SNAPSHOT, and lists of names.
 *
 * A file is read key by key, and what it holds is put as a peer's values are: only where there is nothing and
 * nobody loads. What carries freshness comes stale, since nobody knows what has been invalidated since the
 * file was written; negative entries do not come at all. A key that knows none of this comes as it is. */
#include "base/alloc.h"
#include "base/err.h"
#include "cache/move.h"
#include "cmd/dump.h"
#include "os/clock.h"
#include "persist/rdb_read.h"
#include "server/server.h"
#include "server/warm_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- files ---- */

static int64_t read_some(int fd, char *p, size_t n)
{
    ssize_t rc;
    do {
        rc = read(fd, p, n);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? ERR_IO : rc;
}

/* A plain file; anything else might never end. -1: failed, which is noted. */
static int open_plain(struct walk *k, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return fd;
    warm_fail(k, "cannot read %.150s: %s", path, fd < 0 ? strerror(errno) : "it is no file");
    if (fd >= 0)
        close(fd);
    return -1;
}

/* ---- lists ---- */

static bool read_text(struct walk *k, int fd, struct buf *text)
{
    int64_t n = 1;
    while (n > 0) {
        if (text->n > WARM_LIST_BYTES)
            return warm_fail(k, "the list of keys is longer than %d MB", WARM_LIST_BYTES >> 20);
        if (buf_reserve(text, WARM_READ) != 0)
            return warm_fail(k, "out of memory");
        n = read_some(fd, text->p + text->n, WARM_READ);
        if (n < 0)
            return warm_fail(k, "cannot read the list of keys");
        text->n += (size_t)n;
    }
    return true;
}

/* Empty lines name nothing. */
static bool split(struct walk *k, struct name_list *list)
{
    size_t lines = 1;
    const char *at = list->text.p, *end = at + list->text.n;
    for (const char *p = at; p < end; p++)
        lines += *p == '\n';
    list->names = mem_alloc(lines * sizeof *list->names);
    if (list->names == NULL)
        return warm_fail(k, "out of memory");
    while (at < end) {
        const char *eol = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((eol != NULL ? eol : end) - at), bare = n > 0 && at[n - 1] == '\r' ? n - 1 : n;
        if (bare > 0)
            list->names[list->n++] = (struct str){at, bare};
        at += n + 1;
    }
    return list->n > 0 || warm_fail(k, "the list names no key; it holds one a line");
}

bool warm_read_list(struct walk *k, struct name_list *list)
{
    *list = (struct name_list){.n = 0};
    buf_init(&list->text);
    int fd = open_plain(k, k->w->request.list);
    bool ok = fd >= 0 && read_text(k, fd, &list->text) && split(k, list);
    if (fd >= 0)
        close(fd);
    return ok;
}

void warm_release_list(struct name_list *list)
{
    buf_release(&list->text);
    mem_free(list->names);
}

static int by_name(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* ---- a snapshot ---- */

struct reading {
    struct walk *k;
    int fd;
    struct rdb_reader reader;
    struct object_options objects; /* a copy */
    uint32_t databases;
    struct name_list list; /* sorted; n 0: everything is wanted */
    struct buf payload;
};

static int64_t read_file(void *arg, char *p, size_t n)
{
    struct reading *r = arg;
    return read_some(r->fd, p, n);
}

/* lane_call_shared: configuration is read there. */
static void copy_settings(void *arg)
{
    struct reading *r = arg;
    r->objects = r->k->w->server->limits.objects;
    r->databases = r->k->w->server->limits.databases;
}

static bool is_wanted(const struct reading *r, const struct rdb_item *item)
{
    return r->list.names == NULL ||
           bsearch(&item->key, r->list.names, r->list.n, sizeof *r->list.names, by_name) != NULL;
}

/* False: there is nothing of it that may come. */
static bool make_value(struct reading *r, const struct rdb_item *item, char extra[MOVE_EXTRA_MAX],
                       struct warm_value *v)
{
    int64_t now_ms = os_wall_ms();
    *v = (struct warm_value){.ttl_ms = item->expire_ms != 0 ? item->expire_ms - now_ms : 0};
    if (item->extra.p != NULL && item->object == NULL) {
        uint32_t n = cache_pack_stored(now_ms, item->extra, extra, &v->ttl_ms);
        v->extra = (struct str){extra, n};
        if (n == 0)
            return false;
    } else if (item->hidden || (item->expire_ms != 0 && v->ttl_ms <= 0)) {
        return false;
    }
    buf_clear(&r->payload);
    int err = item->object != NULL ? dump_put_object(item->object, &r->payload)
                                   : dump_put_string(item->value, &r->payload);
    v->payload = buf_str(&r->payload);
    return err == 0 || warm_fail(r->k, "out of memory");
}

static void take_key(struct reading *r, const struct rdb_item *item)
{
    struct walk *k = r->k;
    struct warm_value v;
    char extra[MOVE_EXTRA_MAX];
    if (item->db >= r->databases) {
        warm_fail(k, "it has keys in database %u, but there are only %u: raise 'databases'", item->db,
                  r->databases);
        return;
    }
    if (!warm_add_item(k, item->key, item->db))
        return;
    if (warm_claim(k) && k->items[0].token != 0)
        warm_settle(k, &k->items[0], make_value(r, item, extra, &v) ? &v : NULL);
    warm_end_batch(k);
}

static void take_item(struct reading *r, struct rdb_item *item)
{
    if (item->state.p != NULL) {
        if (item->state.n > 0 && (item->state.p[0] == 'V' || item->state.p[0] == 'F'))
            warm_take_held(r->k, item->state); /* its purges are about what it does not hold */
        return;
    }
    if (is_wanted(r, item))
        take_key(r, item);
    if (item->object != NULL)
        object_put(item->object);
}

static void take_all(struct reading *r)
{
    struct walk *k = r->k;
    struct rdb_item item;
    int rc = 0;
    uint64_t top = k->w->request.top;
    while (!warm_is_over(k) && (top == 0 || k->w->counts.seen < top)) {
        rc = rdb_read(&r->reader, &item);
        if (rc != 0)
            break;
        take_item(r, &item);
    }
    if (rc < 0)
        warm_fail(k, "%s", r->reader.text);
}

static bool take_list(struct reading *r)
{
    if (r->k->w->request.list[0] == '\0')
        return true;
    if (!warm_read_list(r->k, &r->list))
        return false;
    qsort(r->list.names, r->list.n, sizeof *r->list.names, by_name);
    return true;
}

void warm_from_snapshot(struct walk *k)
{
    struct reading *r = mem_zalloc(sizeof *r);
    if (r == NULL) {
        warm_fail(k, "out of memory");
        return;
    }
    r->k = k;
    buf_init(&r->payload);
    buf_init(&r->list.text);
    r->fd = open_plain(k, k->w->request.name);
    if (r->fd >= 0 && take_list(r) &&
        (lane_call_shared(&k->w->server->lane, copy_settings, r) || warm_fail(k, "the node ends"))) {
        rdb_reader_init(&r->reader, read_file, r, &r->objects);
        take_all(r);
        rdb_reader_release(&r->reader);
    }
    if (r->fd >= 0)
        close(r->fd);
    warm_release_list(&r->list);
    buf_release(&r->payload);
    mem_free(r);
}
