#include "server/migrate.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "cache/move.h"
#include "cmd/dump.h"
#include "cmd/effect.h"
#include "os/clock.h"
#include "os/thread.h"
#include "server/crash.h"
#include "server/handlers.h"

#include <stdio.h>

#define MIGRATE_ENDS "ERR The server is shutting down: nothing was moved"

/* ---- the command, on the lane ------------------------------------------------------------------ */

static bool parse_options(struct cmd_ctx *c, struct migration *g)
{
    for (uint32_t i = 6; i < c->argc; i++) {
        uint32_t more = c->argc - 1 - i;
        if (cmd_arg_is(c, i, STR("COPY"))) {
            g->copy = true;
        } else if (cmd_arg_is(c, i, STR("REPLACE"))) {
            g->replace = true;
        } else if (cmd_arg_is(c, i, STR("AUTH")) && more >= 1) {
            g->password = c->argv[++i];
        } else if (cmd_arg_is(c, i, STR("AUTH2")) && more >= 2) {
            g->user = c->argv[++i];
            g->password = c->argv[++i];
        } else if (cmd_arg_is(c, i, STR("KEYS"))) {
            if (c->argv[3].n != 0) {
                reply_error(c->reply, "ERR When using MIGRATE KEYS option, the key argument must be set to "
                                      "the empty string");
                return false;
            }
            return true;
        } else {
            reply_error(c->reply, REPLY_SYNTAX);
            return false;
        }
    }
    return true;
}

static bool parse(struct cmd_ctx *c, struct migration *g)
{
    if (!parse_options(c, g) || !cmd_arg_i64(c, 5, &g->timeout_ms) || !cmd_arg_i64(c, 4, &g->db))
        return false;
    if (g->timeout_ms <= 0)
        g->timeout_ms = 1000;
    if (g->timeout_ms > INT32_MAX)
        g->timeout_ms = INT32_MAX;
    if (!num_parse_i64(c->argv[2], &g->port) || g->port < 1 || g->port > 65535) {
        reply_error(c->reply, "ERR Invalid port: it is a number from 1 to 65535");
        return false;
    }
    if (c->argv[1].n == 0 || c->argv[1].n >= sizeof g->host ||
        memchr(c->argv[1].p, '\0', c->argv[1].n) != NULL) {
        reply_error(c->reply, "ERR Invalid host name");
        return false;
    }
    memcpy(g->host, c->argv[1].p, c->argv[1].n);
    g->host[c->argv[1].n] = '\0';
    g->last = migrate_keys(c->argv, c->argc, &g->first);
    g->last += g->first;
    return true;
}

static bool any_is_here(const struct cmd_ctx *c, struct migration *g)
{
    bool any = false;
    for (uint32_t k = 0; k < c->nkeys; k++) {
        const struct entry *e = store_peek_any(&c->a, &c->keys[k]);
        any |= e != NULL;
        g->meets |= e != NULL && entry_ext(e).p != NULL;
    }
    return any;
}

/* Logs and monitors see the arguments; g has the passwords, whose bytes stay in the job's arena. */
static void hide_passwords(struct cmd_ctx *c)
{
    for (uint32_t i = 6; i < c->argc && !cmd_arg_is(c, i, STR("KEYS")); i++) {
        uint32_t n = cmd_arg_is(c, i, STR("AUTH")) ? 1 : cmd_arg_is(c, i, STR("AUTH2")) ? 2 : 0;
        for (; n > 0 && i + 1 < c->argc; n--)
            c->argv[++i] = CMD_REDACTED;
    }
}

static void release(struct migration *g)
{
    buf_release(&g->out);
    mem_free(g);
}

static void take(struct lane_job *job)
{
    migrator_take(&job->home->server->migrator, job);
}

static void prepare(struct cmd_ctx *c, struct lane_job *job)
{
    struct migration *g = mem_zalloc(sizeof *g);
    if (g == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return;
    }
    buf_init(&g->out);
    g->job = job;
    g->m = &job->home->server->migrator;
    g->meets = g->m->server->config.cluster_enabled;
    if (!parse(c, g)) {
        release(g);
    } else if (!any_is_here(c, g)) {
        reply_status(c->reply, "NOKEY");
        release(g);
    } else {
        job->arg = g;
        job->take = take;
    }
}

/* The lane always has it (cost_migrate): here it only looks whether there is anything to do. */
void cmd_migrate(struct cmd_ctx *c)
{
    struct lane *l = c->host;
    ASSERT(c->a.lane && l->job != NULL);
    effect_none(c);
    prepare(c, l->job);
    hide_passwords(c);
}

uint64_t cost_migrate(const struct cmd_ctx *c)
{
    return UINT64_MAX;
}

/* ---- pieces that run on the lane ----------------------------------------------------------------- */

/* The lane's context, aimed at the migration's client. */
static struct cmd_ctx *lane_ctx(struct migration *g)
{
    struct cmd_ctx *c = &g->m->server->lane.ctx;
    c->session = &g->job->conn->session;
    c->a.now_ms = os_wall_ms();
    return c;
}

static void item_key(struct migration *g, const struct migrate_item *it, struct key *k)
{
    key_make(g->m->server->store, k, g->job->argv[it->arg], g->job->conn->session.db);
}

/* The next keys whose shards fit into one batch. */
static void choose(struct migration *g, struct cmd_ctx *c)
{
    g->nitems = 0;
    lockset_init(&g->locks);
    while (g->nitems < MIGRATE_BATCH && g->first < g->last && g->locks.n < MIGRATE_BATCH_SHARDS) {
        struct migrate_item *it = &g->items[g->nitems++];
        *it = (struct migrate_item){.arg = g->first++};
        lockset_add(&g->locks, store_key_shard(c->a.store, g->job->argv[it->arg]));
    }
}

/* To another larder with what the cache knows of it and to its end, to others as it is to plain commands. */
static int put_restore(struct migration *g, struct cmd_ctx *c, const struct migrate_item *it,
                       const struct entry *e)
{
    struct buf value;
    char ttl[NUM_I64_TEXT_MAX], extra[MOVE_EXTRA_MAX];
    uint32_t nextra = g->larder ? cache_pack(&c->a, e, extra) : 0, argc = 4;
    int64_t end = nextra != 0 ? entry_expire(e) : entry_deadline(e), left = end == 0 ? 0 : end - c->a.now_ms;
    if (end != 0 && left < 1)
        left = 1;
    buf_init(&value);
    int rc = dump_value(e, &value);
    struct str argv[6] = {nextra != 0                            ? STR("CACHE.RESTORE")
                          : g->m->server->config.cluster_enabled ? STR("RESTORE-ASKING")
                                                                 : STR("RESTORE"),
                          g->job->argv[it->arg],
                          {ttl, num_put_i64(ttl, left)},
                          buf_str(&value)};
    if (nextra != 0)
        argv[argc++] = (struct str){extra, nextra};
    if (g->replace || it->there)
        argv[argc++] = STR("REPLACE");
    if (rc == 0)
        rc = unit_put_command(&g->out, argv, argc);
    buf_release(&value);
    return rc;
}

static int put_del(struct migration *g, const struct migrate_item *it)
{
    const struct str asking[] = {STR("ASKING")}, del[] = {STR("DEL"), g->job->argv[it->arg]};
    int rc = it->asking ? unit_put_command(&g->out, asking, ARRAY_LEN(asking)) : 0;
    return rc == 0 ? unit_put_command(&g->out, del, ARRAY_LEN(del)) : rc;
}

/* What the target can hold so that nobody is told more than here. */
static bool may_go(const struct migration *g, const struct access *a, const struct entry *e)
{
    return g->larder ? cache_may_travel(a, e) : cache_may_move(a, e);
}

/* Put into `out` what the target is to do about the key. */
static int put_item(struct migration *g, struct cmd_ctx *c, struct migrate_item *it)
{
    struct key k;
    item_key(g, it, &k);
    const struct entry *e = store_peek_any(&c->a, &k);
    it->here = e != NULL && may_go(g, &c->a, e);
    it->sent = it->here || it->there;
    if (!it->sent)
        return 0;
    g->nsent++;
    it->asking = !it->here && g->m->server->config.cluster_enabled;
    if (!it->here)
        return put_del(g, it);
    atomic_store(&it->changed, false);
    it->watch = (struct watch){.flag = &it->changed,
                               .db = c->session->db,
                               .slot = k.slot,
                               .n = k.n,
                               .p = k.p,
                               .expire_ms = entry_expire(e)};
    store_watch(&c->a, &it->watch);
    return put_restore(g, c, it, e);
}

static void unwatch(struct migration *g)
{
    for (uint32_t i = 0; i < g->nitems; i++)
        if (g->items[i].watch.flag != NULL) {
            store_unwatch(g->m->server->store, &g->items[i].watch);
            g->items[i].watch.flag = NULL;
        }
}

static void let_go(struct migration *g, struct cmd_ctx *c)
{
    unwatch(g);
    store_busy_leave(c->a.store, &g->locks);
    g->locks.n = 0;
    lane_wake_waiters(&g->m->server->lane);
}

static void put_items(struct migration *g, struct cmd_ctx *c, bool again)
{
    g->nsent = 0;
    for (uint32_t i = 0; i < g->nitems && !g->failed; i++) {
        struct migrate_item *it = &g->items[i];
        bool refused = it->refused;
        it->sent = it->refused = false;
        if (again && !refused && !atomic_load(&it->changed))
            continue;
        if (put_item(g, c, it) != 0)
            migrate_fail(g, "%s", REPLY_NOMEM);
        /* Enough at a time: the rest is another batch. */
        if (!again && g->out.n > MIGRATE_BATCH_BYTES && i + 1 < g->nitems) {
            g->first -= g->nitems - (i + 1);
            g->nitems = i + 1;
        }
    }
}

/* What the target could not hold as it is has reached its end: a cache may forget, and a slot must become
 * empty. */
static void drop_unmovable(struct migration *g, struct cmd_ctx *c)
{
    struct str argv[MIGRATE_BATCH + 1] = {STR("DEL")};
    uint32_t n = 1;
    effect_open(c);
    for (uint32_t i = 0; i < g->nitems && !g->copy; i++) {
        struct key k;
        item_key(g, &g->items[i], &k);
        const struct entry *e = store_peek_any(&c->a, &k);
        if (e == NULL || may_go(g, &c->a, e))
            continue;
        (void)store_delete(&c->a, &k);
        argv[n++] = g->job->argv[g->items[i].arg];
    }
    if (n > 1)
        effect_add(c, argv, n);
    effect_reserve(c);
}

/* lane_call_shared: the next batch is busy, and in `out` behind what is there. */
static void begin_batch(void *arg)
{
    struct migration *g = arg;
    struct cmd_ctx *c = lane_ctx(g);
    choose(g, c);
    g->begun = store_lock(c->a.store, &g->locks);
    if (!g->begun) { /* a job behind us has made one of them busy: after it, then */
        g->first -= g->nitems;
        return;
    }
    store_make_busy(c->a.store, &g->locks);
    store_busy_enter(c->a.store, &g->locks);
    drop_unmovable(g, c);
    put_items(g, c, false);
    if (g->failed || g->nsent == 0)
        let_go(g, c);
    else
        store_busy_rest(c->a.store, &g->locks);
    if (g->locks.n > 0)
        departures_begin(&g->m->server->departures, BY_MIGRATE);
    effect_publish(c);
    if (c->unit != NULL) /* what stays behind is gone, and there may be nothing else */
        g->job->written = c->unit->last_end;
}

static void delete_moved(struct migration *g, struct cmd_ctx *c)
{
    struct str argv[MIGRATE_BATCH + 1] = {STR("DEL")};
    uint32_t n = 1;
    effect_open(c);
    for (uint32_t i = 0; i < g->nitems; i++) {
        struct migrate_item *it = &g->items[i];
        struct key k;
        if (!it->here || !it->there || atomic_load(&it->changed))
            continue;
        item_key(g, it, &k);
        if (store_delete(&c->a, &k))
            argv[n++] = g->job->argv[it->arg];
    }
    if (n > 1)
        effect_add(c, argv, n);
    effect_reserve(c);
}

/* The target has another value than we have; or none, and would take ours if we read it now. */
static bool is_due_again(const struct migration *g, const struct migrate_item *it)
{
    return it->refused || (!g->copy && it->there && atomic_load(&it->changed));
}

static bool any_is_due_again(const struct migration *g)
{
    for (uint32_t i = 0; i < g->nitems; i++)
        if (is_due_again(g, &g->items[i]))
            return true;
    return false;
}

/* lane_call_shared: what the target has is deleted here; what has changed meanwhile is put into `out` again,
 * and the shards stay busy. After a failure too: what it has acknowledged it has. */
static void end_batch(void *arg)
{
    struct migration *g = arg;
    struct cmd_ctx *c = lane_ctx(g);
    store_busy_enter(c->a.store, &g->locks);
    g->nsent = 0;
    if (!g->failed && any_is_due_again(g)) {
        for (uint32_t i = 0; i < g->nitems; i++)
            if (is_due_again(g, &g->items[i]) && g->items[i].watch.flag != NULL) {
                store_unwatch(c->a.store, &g->items[i].watch);
                g->items[i].watch.flag = NULL;
            }
        put_items(g, c, true);
    }
    if (g->nsent > 0 && !g->failed) {
        store_busy_rest(c->a.store, &g->locks);
        return;
    }
    departures_end(&g->m->server->departures, BY_MIGRATE);
    unwatch(g);
    if (!g->copy)
        delete_moved(g, c);
    let_go(g, c);
    effect_publish(c);
    if (c->unit != NULL)
        g->job->written = c->unit->last_end;
}

/* ---- the thread ---------------------------------------------------------------------------------- */

/* A batch from busy to free. False when that was the last thing to do, for good or ill. */
static bool move_batch(struct migration *g, struct migrate_socket *s)
{
    struct lane *lane = &g->m->server->lane;
    for (g->begun = false; !g->begun;)
        lane_call_shared(lane, begin_batch, g);
    for (unsigned tries = 0; g->locks.n > 0; tries++) {
        if (tries == MIGRATE_TRIES)
            migrate_fail(g, "ERR A key changes faster than it can be moved; try again");
        if (!g->failed)
            migrate_talk(g, s);
        migrate_meet(g, s); /* anew, if it has refused some: what it gets next is read afterwards */
        lane_call_shared(lane, end_batch, g);
    }
    buf_clear(&g->out);
    return !g->failed && g->first < g->last;
}

static void migrate(struct migration *g)
{
    struct migrate_socket *s = migrate_connect(g);
    if (s == NULL)
        return;
    migrate_greet(g, s);
    migrate_meet(g, s);
    if (g->failed)
        return;
    g->larder = s->larder;
    s->used_ms = os_mono_ns() / 1000000;
    while (move_batch(g, s))
        ;
    if (!g->failed)
        reply_ok(&g->job->reply);
}

static void run_job(struct migrator *m, struct lane_job *job)
{
    struct migration *g = job->arg;
    if (atomic_load_explicit(&m->stop, memory_order_acquire))
        migrate_fail(g, MIGRATE_ENDS);
    else
        migrate(g);
    release(g);
    lane_send_home(job);
}

static void *migrator_main(void *arg)
{
    struct migrator *m = arg;
    struct lane_job *job;
    pthread_setname_np(pthread_self(), "migrator");
    crash_thread_begin();
    while ((job = job_queue_take(&m->jobs, true)) != NULL)
        run_job(m, job);
    crash_thread_end();
    return NULL;
}

void migrator_init(struct migrator *m, struct server *s)
{
    m->server = s;
    job_queue_init(&m->jobs);
    for (unsigned i = 0; i < MIGRATE_SOCKETS; i++)
        m->sockets[i].fd = -1;
}

int migrator_start(struct migrator *m)
{
    return os_thread_start(&m->thread, &m->running, migrator_main, m);
}

void migrator_take(struct migrator *m, struct lane_job *job)
{
    if (job_queue_put(&m->jobs, job))
        return;
    reply_error(&job->reply, MIGRATE_ENDS);
    release(job->arg);
    lane_send_home(job);
}

void migrator_end(struct migrator *m)
{
    if (!m->running)
        return;
    atomic_store_explicit(&m->stop, true, memory_order_release);
    job_queue_close(&m->jobs);
    pthread_join(m->thread, NULL);
    m->running = false;
}

void migrator_release(struct migrator *m)
{
    if (m->server == NULL)
        return;
    for (unsigned i = 0; i < MIGRATE_SOCKETS; i++)
        migrate_disconnect(&m->sockets[i]);
    job_queue_release(&m->jobs);
}
