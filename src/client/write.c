/* Write-through: the source first, and the cache never ahead of it (docs/decisions/015).
 *
 *      invalidate and take the lease ── commit ── store under the lease
 *              │                          ├── failed: give the lease back
 *              │                          └── not known: hold older versions, or the lease, for hold_ms
 *              └── the cache cannot be reached: nothing is written, unless write_anyway
 *
 * While the lease is ours no loader can store what it read before the commit. If this process dies in
 * between, the key is a miss and the lease runs out. */
#include "client/lease.h"

#include "client/calls.h"
#include "client/error.h"
#include "client/loaded.h"
#include "client/tags.h"
#include "os/clock.h"

#include <stddef.h>

enum { OPTIONS_SIZE_MIN = offsetof(struct larder_write_options, tags), TRIES_MAX = 8 };

struct writing {
    larder *l;
    struct str key;
    struct larder_write_options o;
    char token[LEASE_TOKEN_MAX];
    bool by_script; /* the token's, see lease.h */
    struct buf tag_block;
    struct larder_error *err;
};

void larder_write_options_init(struct larder_write_options *o)
{
    *o = (struct larder_write_options){
        .size = sizeof *o,
        .ttl_ms = LARDER_TTL_DEFAULT,
        .lock_ms = 10 * 1000,
        .hold_ms = 60 * 1000,
    };
}

static int take_options(struct writing *w, const struct larder_write_options *given)
{
    larder_write_options_init(&w->o);
    if (given != NULL && !loaded_take_options(&w->o, given, sizeof w->o, OPTIONS_SIZE_MIN))
        return fail(w->err, LARDER_ERR_ARGUMENT, "options: start from larder_write_options_init()");
    if (w->o.grace_ms < 0 || w->o.lock_ms - 1 >= LEASE_MS_MAX || w->o.hold_ms - 1 >= LEASE_MS_MAX)
        return fail(w->err, LARDER_ERR_ARGUMENT,
                    "options: lock_ms, hold_ms: must be from 1 ms to a day; grace_ms: must not be negative");
    if (tags_check(w->o.tags, w->o.ntags, w->err) < 0)
        return LARDER_ERR_ARGUMENT;
    return resolve_ttl(w->l, w->o.ttl_ms, &w->o.ttl_ms, w->err);
}

/* Nothing is stored under the key, and for lock_ms nobody else may store. A loader may be granted the
 * lease between the two steps; then once more. */
static int seize(struct writing *w, int64_t lock_ms, struct larder_error *err)
{
    struct lease_ask ask = {.lock_ms = lock_ms};
    int status = LARDER_OK;
    w->token[0] = '\0';
    for (int i = 0; i < TRIES_MAX && status == LARDER_OK && w->token[0] == '\0'; i++) {
        struct lease_answer a = {.state = LEASE_MISS};
        status = lease_invalidate(w->l, w->key, &(struct lease_invalidation){.soft = false}, err);
        if (status == LARDER_OK || status == LARDER_MISS)
            status = lease_take(w->l, w->key, &ask, &a, err);
        memcpy(w->token, a.token, sizeof w->token);
        w->by_script = a.by_script;
        lease_answer_release(&a);
    }
    flight_forget(&w->l->flights, w->key);
    if (status == LARDER_OK && w->token[0] == '\0')
        status = fail(err, LARDER_ERR_UNAVAILABLE, "others keep taking the lease of this key");
    return status;
}

/* What the value's tags are before the commit. */
static int begin_tags(struct writing *w, struct larder_error *err)
{
    int64_t life_ms = w->o.ttl_ms > 0 ? w->o.ttl_ms + w->o.grace_ms + w->o.lock_ms : 0;
    struct larder_error ignored;
    if (w->o.ntags == 0 || !w->by_script)
        return LARDER_OK;
    int status = tags_begin(w->l, w->key, w->o.tags, w->o.ntags, life_ms, &w->tag_block, err);
    if (status < 0) {
        (void)lease_fail(w->l, w->key, w->token, 0, false, &ignored);
        w->token[0] = '\0';
    }
    return status;
}

static int store(struct writing *w, const struct larder_loaded *put, int64_t cost_ms)
{
    struct larder_error ignored;
    enum lease_fill fill = LEASE_LOST;
    struct lease_value v = {.bytes = buf_str(&put->bytes),
                            .token = w->token,
                            .ttl_ms = w->o.ttl_ms,
                            .grace_ms = w->o.grace_ms,
                            .cost_ms = cost_ms,
                            .version = put->version,
                            .tags = w->o.tags,
                            .ntags = w->o.ntags,
                            .tag_block = buf_str(&w->tag_block)};
    if (put->ttl_ms != LARDER_TTL_DEFAULT)
        v.ttl_ms = put->ttl_ms;
    int status =
        w->token[0] != '\0' && put->there ? lease_fill(w->l, w->key, &v, &fill, &ignored) : LARDER_UNCACHED;
    if (status == LARDER_OK && fill == LEASE_STORED)
        return LARDER_OK;
    /* Without a version nobody can tell whose value is newer, so none is kept; nor if the cache was never
     * asked. With a lease that was lost to another writer or loader, theirs may be older than ours. */
    if (status != LARDER_OK || fill == LEASE_LOST)
        (void)lease_invalidate(w->l, w->key, &(struct lease_invalidation){.soft = false}, &ignored);
    flight_forget(&w->l->flights, w->key);
    return LARDER_UNCACHED;
}

/* The commit may have happened, or may yet: what was read before it must not be stored. */
static void hold(struct writing *w, const struct larder_loaded *put)
{
    struct larder_error ignored;
    struct lease_invalidation i = {.has_version = true, .version = put->version, .hold_ms = w->o.hold_ms};
    if (put->version == 0)
        (void)seize(w, w->o.hold_ms, &ignored);
    else
        (void)lease_invalidate(w->l, w->key, &i, &ignored);
    flight_forget(&w->l->flights, w->key);
}

int larder_write_through(larder *l, struct larder_bytes key, larder_writer writer, void *arg,
                         const struct larder_write_options *options, struct larder_error *err)
{
    struct writing w = {.l = l, .key = str_from(key), .err = err};
    struct larder_loaded put;
    int status = take_options(&w, options);
    if (status < 0)
        return status;
    buf_init(&w.tag_block);
    status = seize(&w, w.o.lock_ms, err);
    if (status == LARDER_OK)
        status = begin_tags(&w, err);
    if (status < 0 && (!w.o.write_anyway || status == LARDER_ERR_ARGUMENT)) {
        buf_release(&w.tag_block);
        return status;
    }
    loaded_init(&put);
    int64_t begun_ns = os_mono_ns();
    status = writer(arg, key, &put);
    if (status == LARDER_OK) {
        status = store(&w, &put, (os_mono_ns() - begun_ns) / 1000000);
    } else {
        bool unknown = status == LARDER_ERR_TIMEOUT || status == LARDER_ERR_CLOSED;
        struct larder_error ignored;
        status = fail(err, status < 0 ? status : LARDER_ERR_LOAD, "the writer failed: %s%s",
                      larder_status_name(status), unknown ? "; it may have committed" : "");
        if (unknown)
            hold(&w, &put);
        else if (w.token[0] != '\0')
            (void)lease_fail(l, w.key, w.token, 0, false, &ignored);
    }
    loaded_release(&put);
    buf_release(&w.tag_block);
    return status;
}
