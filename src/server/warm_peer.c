/* The warming itself: names from the peer, leases here, values from there. */
#include "base/alloc.h"
#include "base/err.h"
#include "base/log.h"
#include "cache/cache.h"
#include "cmd/command.h"
#include "cmd/effect.h"
#include "ds/topk.h"
#include "os/clock.h"
#include "os/sock.h"
#include "os/thread.h"
#include "server/route.h"
#include "server/server.h"
#include "server/talk.h"
#include "server/warm_internal.h"
#include "store/ext.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

struct item {
    size_t at, n;   /* of the name, in `names` */
    uint64_t token; /* 0: nothing is wanted for it */
};

struct walk {
    struct warm *w;
    struct talk t;
    struct buf out, names;
    struct item items[WARM_BATCH];
    uint32_t nitems, nwords;
    int64_t due_ms;
    uint64_t unseen; /* bytes put since memory was looked at */
    /* For the lane, one at a time. */
    struct item *item;
    const struct reader_value *value;
    bool busy, full, failed;
    struct warm_counts add;
};

static bool fail(struct walk *k, const char *fmt, ...) PRINTF_LIKE(2, 3);
static bool fail(struct walk *k, const char *fmt, ...)
{
    va_list ap;
    if (k->failed)
        return false;
    k->failed = true;
    va_start(ap, fmt);
    pthread_mutex_lock(&k->w->mutex);
    vsnprintf(k->w->error, sizeof k->w->error, fmt, ap);
    pthread_mutex_unlock(&k->w->mutex);
    va_end(ap);
    return false;
}

/* What a peer says, as far as it fits. */
static int shown(struct str s)
{
    return s.n < 100 ? (int)s.n : 100;
}

static bool is_over(const struct walk *k)
{
    return k->failed || k->full || atomic_load_explicit(&k->w->halt, memory_order_relaxed);
}

/* ---- on the lane (lane_call_shared) -----------------------------------------------------------------------
 */

static struct cmd_ctx *lane_ctx(struct walk *k)
{
    struct cmd_ctx *c = &k->w->server->lane.ctx;
    c->session = &k->w->session;
    c->reply = &k->w->reply;
    c->arena = &k->w->arena;
    c->a.now_ms = os_wall_ms();
    c->a.no_touch = false;
    c->a.expired = server_expired_rule(k->w->server);
    return c;
}

static void key_of(struct walk *k, struct cmd_ctx *c, const struct item *it, struct key *key)
{
    key_make(c->a.store, key, (struct str){k->names.p + it->at, it->n}, 0);
}

static bool is_full(const struct server *s)
{
    struct store_memory m;
    if (s->config.maxmemory == 0)
        return false;
    store_memory(s->store, &m);
    return m.used >= s->config.maxmemory / 100 * WARM_FULL_PERCENT;
}

static void claim_one(struct walk *k, struct cmd_ctx *c, struct item *it)
{
    const struct cache_ask ask = {.lease_ms = WARM_LEASE_MS};
    const struct cluster_view *v = server_view(k->w->server);
    struct cache_answer answer;
    struct key key;
    key_of(k, c, it, &key);
    if (v != NULL && !view_is_here(v, key.slot)) {
        k->add.elsewhere++;
        return;
    }
    if (!store_lock_one(c->a.store, key_shard(&key))) {
        k->add.present++; /* somebody is at it */
        return;
    }
    cache_read(c->cache, &c->a, &key, &ask, NULL, c->rng, &answer);
    it->token = answer.wrong_type || answer.value != NULL ? 0 : answer.token;
    k->add.present += it->token == 0;
    store_unlock_one(c->a.store, key_shard(&key));
}

static void claim(void *arg)
{
    struct walk *k = arg;
    struct cmd_ctx *c = lane_ctx(k);
    k->full = is_full(k->w->server);
    for (uint32_t i = 0; i < k->nitems && !k->full; i++)
        claim_one(k, c, &k->items[i]);
}

/* The key's shard is ours: as if it came by MIGRATE. False: it was refused. */
static bool put(struct walk *k, struct cmd_ctx *c, struct key *key)
{
    const struct reader_value *v = k->value->children;
    char ttl[NUM_I64_TEXT_MAX];
    bool plain = v[2].text.n == 0;
    struct str argv[] = {plain ? STR("RESTORE") : STR("CACHE.RESTORE"),
                         {key->p, key->n},
                         {ttl, num_put_i64(ttl, v[0].integer)},
                         v[1].text,
                         v[2].text};
    struct str *old_argv = c->argv;
    struct key *old_keys = c->keys;
    c->argv = argv;
    c->argc = plain ? 4 : 5;
    c->keys = key;
    c->nkeys = 1;
    c->nblocks = 0;
    c->in_exec = true;
    c->cmd = command_resolve(argv, c->argc);
    c->reply->errored = false;
    effect_open(c);
    effect_run(c);
    effect_reserve(c);
    c->argv = old_argv;
    c->keys = old_keys;
    c->in_exec = false;
    bool ok = !c->reply->errored;
    reply_clear(c->reply);
    arena_reset(c->arena);
    return ok;
}

static bool is_a_value(const struct reader_value *v)
{
    return v->kind == READ_ARRAY && v->n == 3 && v->children[0].kind == READ_INT &&
           v->children[1].kind == READ_BULK && v->children[2].kind == READ_BULK;
}

/* Before a value is put: looks again now and then, since some are large. */
static bool fills(struct walk *k, const struct server *s)
{
    k->unseen += k->value->children[1].text.n;
    if (k->unseen >= s->config.maxmemory / 100) {
        k->full |= is_full(s);
        k->unseen = 0;
    }
    return k->full;
}

static void install(void *arg)
{
    struct walk *k = arg;
    struct server *s = k->w->server;
    struct cmd_ctx *c = lane_ctx(k);
    const uint32_t not_now = CARE_FAILOVER | CARE_PAUSE | CARE_REPLICA;
    struct key key;
    key_of(k, c, k->item, &key);
    k->busy = atomic_load_explicit(&s->care, memory_order_relaxed) & not_now ||
              !store_lock_one(s->store, key_shard(&key));
    if (k->busy)
        return;
    bool has = k->value != NULL && is_a_value(k->value) && !fills(k, s);
    if (!cache_has_lease(c->cache, &c->a, &key, k->item->token)) {
        k->add.overtaken++;
    } else if (has && put(k, c, &key)) {
        bool is_there = store_peek_any(&c->a, &key) != NULL;
        k->add.installed += is_there;
        k->add.overtaken += !is_there;
    } else {
        k->add.gone++;
    }
    /* Whatever has become of it: who waits is served, or loads. */
    (void)cache_fail(c->cache, &c->a, &key, k->item->token, 0);
    store_unlock_one(s->store, key_shard(&key));
    effect_publish(c);
}

/* lane_call_shared: configuration is read there. */
static void put_auth(void *arg)
{
    struct walk *k = arg;
    k->nwords = talk_put_auth(&k->w->server->config, &k->out);
}

/* ---- the thread -------------------------------------------------------------------------------------------
 */

static bool on_lane(struct walk *k, void (*fn)(void *arg))
{
    return lane_call_shared(&k->w->server->lane, fn, k) || fail(k, "the node ends");
}

static void tell(struct walk *k)
{
    struct warm_counts *to = &k->w->counts, *add = &k->add;
    pthread_mutex_lock(&k->w->mutex);
    to->seen += add->seen;
    to->installed += add->installed;
    to->present += add->present;
    to->elsewhere += add->elsewhere;
    to->overtaken += add->overtaken;
    to->gone += add->gone;
    pthread_mutex_unlock(&k->w->mutex);
    *add = (struct warm_counts){.seen = 0};
}

static bool send_out(struct walk *k)
{
    bool ok = talk_send(&k->t, buf_str(&k->out));
    buf_clear(&k->out);
    return ok || fail(k, "the peer does not listen");
}

static bool read_one(struct walk *k, struct reader_value *v)
{
    return talk_read(&k->t, WARM_REPLY_MAX, v) ||
           fail(k, "the peer does not answer, or not in Redis's protocol");
}

/* With NULL: there is no value, and the lease goes back. */
static void settle(struct walk *k, struct item *it, const struct reader_value *v)
{
    k->item = it;
    k->value = v;
    k->busy = true;
    for (unsigned i = 0; i < WARM_BUSY_TRIES && k->busy; i++) {
        if (!on_lane(k, install))
            return;
        if (k->busy)
            os_nap_us(WARM_BUSY_US);
    }
    if (k->busy)
        fail(k, "this node takes no writes");
}

static bool fetch(struct walk *k)
{
    for (uint32_t i = 0; i < k->nitems; i++) {
        const struct str dump[] = {STR("CACHE.DUMP"), {k->names.p + k->items[i].at, k->items[i].n}};
        if (k->items[i].token != 0 && unit_put_command(&k->out, dump, ARRAY_LEN(dump)) != 0)
            return fail(k, "out of memory");
    }
    return k->out.n == 0 || send_out(k);
}

static void wait_for_turn(struct walk *k)
{
    struct warm *w = k->w;
    int64_t now = os_wall_ms(), step_ms = (int64_t)(k->nitems * 1000 / w->rate);
    k->due_ms = (k->due_ms > now ? k->due_ms : now) + step_ms;
    pthread_mutex_lock(&w->mutex);
    while (!atomic_load(&w->halt) && os_wall_ms() < k->due_ms) {
        const struct timespec until = {.tv_sec = k->due_ms / 1000, .tv_nsec = k->due_ms % 1000 * 1000000};
        pthread_cond_timedwait(&w->more, &w->mutex, &until);
    }
    pthread_mutex_unlock(&w->mutex);
}

/* The names at hand. */
static void run_batch(struct walk *k)
{
    k->add.seen += k->nitems;
    bool open = k->nitems > 0 && on_lane(k, claim) && !k->full;
    bool talks = open && fetch(k);
    for (uint32_t i = 0; i < k->nitems && open; i++) {
        struct reader_value v;
        if (k->items[i].token == 0)
            continue;
        talks = talks && read_one(k, &v);
        bool refused = talks && reader_is_error(&v) && str_begins(v.text, STR("ERR unknown command"));
        settle(k, &k->items[i], talks ? &v : NULL);
        if (refused)
            fail(k, "the peer is no larder");
    }
    if (k->nitems > 0)
        wait_for_turn(k);
    tell(k);
    k->nitems = 0;
    buf_clear(&k->names);
}

/* False: that was enough. */
static bool add_name(struct walk *k, struct str name)
{
    uint64_t top = k->w->top;
    if (top != 0 && k->w->counts.seen + k->nitems >= top)
        return false;
    struct item *it = &k->items[k->nitems];
    *it = (struct item){.at = k->names.n, .n = name.n};
    if (buf_append(&k->names, name.p, name.n) != 0)
        return fail(k, "out of memory");
    if (++k->nitems == WARM_BATCH)
        run_batch(k);
    return !is_over(k);
}

/* Names are copied first: run_batch() reads other replies. */
static bool add_names(struct walk *k, struct buf *list)
{
    bool more = true;
    for (size_t at = 0; at < list->n && more;) {
        uint32_t n;
        memcpy(&n, list->p + at, sizeof n);
        more = add_name(k, (struct str){list->p + at + sizeof n, n});
        at += sizeof n + n;
    }
    if (!is_over(k))
        run_batch(k);
    return more && !is_over(k);
}

static bool keep_name(struct walk *k, struct buf *list, const struct reader_value *v)
{
    uint32_t n = (uint32_t)v->text.n;
    if (v->kind != READ_BULK)
        return fail(k, "the peer lists keys as no larder does");
    return (buf_append(list, (const char *)&n, sizeof n) == 0 && buf_append(list, v->text.p, n) == 0) ||
           fail(k, "out of memory");
}

/* [[key, name, db, number, ...], ...]; long names may be cut, and come with the rest. */
static bool read_hot(struct walk *k, struct buf *list)
{
    struct reader_value v;
    if (!read_one(k, &v))
        return false;
    if (reader_is_error(&v))
        return fail(k, "the peer answers %.*s", shown(v.text), v.text.p);
    if (v.kind != READ_ARRAY)
        return fail(k, "the peer lists keys as no larder does");
    for (uint64_t i = 0; i < v.n; i++) {
        const struct reader_value *it = &v.children[i];
        if (it->kind != READ_ARRAY || it->n < 4 || it->children[3].kind != READ_INT)
            return fail(k, "the peer lists keys as no larder does");
        if (it->children[3].integer == 0 && it->children[1].text.n < TOPK_NAME &&
            !keep_name(k, list, &it->children[1]))
            return false;
    }
    return true;
}

static bool hottest(struct walk *k, struct buf *list)
{
    char count[NUM_I64_TEXT_MAX];
    const struct str hot[] = {STR("CACHE.HOT"), STR("COUNT"), {count, num_put_i64(count, WARM_HOT)}};
    struct reader_value v;
    if (!on_lane(k, put_auth))
        return false;
    const struct str readonly[] = {STR("READONLY")}; /* the peer may be a replica */
    if (unit_put_command(&k->out, readonly, 1) != 0 || unit_put_command(&k->out, hot, ARRAY_LEN(hot)) != 0)
        return fail(k, "out of memory");
    if (!send_out(k))
        return false;
    for (k->nwords++; k->nwords > 0; k->nwords--)
        if (!read_one(k, &v)) /* that it asks for no password, or knows no cluster, is no matter */
            return false;
    return read_hot(k, list) && add_names(k, list);
}

static bool read_scan(struct walk *k, struct buf *list, uint64_t *cursor)
{
    struct reader_value v;
    uint64_t next;
    if (!read_one(k, &v))
        return false;
    if (reader_is_error(&v))
        return fail(k, "the peer answers %.*s", shown(v.text), v.text.p);
    if (v.kind != READ_ARRAY || v.n != 2 || v.children[0].kind != READ_BULK ||
        !num_parse_u64(v.children[0].text, &next) || v.children[1].kind != READ_ARRAY)
        return fail(k, "the peer lists keys as no larder does");
    if (next != 0 && next == *cursor)
        return fail(k, "the peer's SCAN does not go on");
    *cursor = next;
    for (uint64_t i = 0; i < v.children[1].n; i++)
        if (!keep_name(k, list, &v.children[1].children[i]))
            return false;
    return true;
}

static bool the_rest(struct walk *k, struct buf *list)
{
    uint64_t cursor = 0;
    do {
        char text[NUM_I64_TEXT_MAX], count[NUM_I64_TEXT_MAX];
        const struct str scan[] = {STR("SCAN"),
                                   {text, num_put_u64(text, cursor)},
                                   STR("COUNT"),
                                   {count, num_put_i64(count, WARM_BATCH)}};
        buf_clear(list);
        if (unit_put_command(&k->out, scan, ARRAY_LEN(scan)) != 0)
            return fail(k, "out of memory");
        if (!send_out(k) || !read_scan(k, list, &cursor) || !add_names(k, list))
            return false;
    } while (cursor != 0);
    return true;
}

static void take_all(struct walk *k, int fd)
{
    struct buf list;
    buf_init(&k->out);
    buf_init(&k->names);
    buf_init(&list);
    talk_begin(&k->t, fd, WARM_TIMEOUT_MS, &k->w->halt);
    if (hottest(k, &list))
        (void)the_rest(k, &list);
    talk_end(&k->t);
    buf_release(&list);
    buf_release(&k->names);
    buf_release(&k->out);
}

enum warm_state warm_from_peer(struct warm *w)
{
    struct walk *k = mem_zalloc(sizeof *k);
    struct sock_err err;
    enum warm_state end = WARM_FAILED;
    if (k == NULL)
        return end;
    k->w = w;
    log_notice("Warming from %s:%u.", w->host, w->port);
    int fd = sock_connect_tcp(w->host, w->port, WARM_TIMEOUT_MS, true, &err);
    if (fd < 0)
        fail(k, "cannot connect: %s", err.text);
    else
        take_all(k, fd);
    if (fd >= 0)
        close(fd);
    end = atomic_load(&w->halt) ? WARM_CANCELLED : k->failed ? WARM_FAILED : k->full ? WARM_FULL : WARM_WARM;
    log_notice("Warming from %s:%u has ended: %llu keys are here because of it%s%s.", w->host, w->port,
               (unsigned long long)w->counts.installed, k->failed ? "; " : "", k->failed ? w->error : "");
    mem_free(k);
    return end;
}
