/* Leases and values of a warming: what is done here, on the lane. */
#include "base/err.h"
#include "cache/cache.h"
#include "cache/state.h"
#include "cmd/command.h"
#include "cmd/effect.h"
#include "os/clock.h"
#include "os/thread.h"
#include "server/heir.h"
#include "server/route.h"
#include "server/server.h"
#include "server/warm_internal.h"
#include "store/change.h"
#include "store/ext.h"

#include <stdarg.h>
#include <time.h>

bool warm_fail(struct walk *k, const char *fmt, ...)
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

bool warm_is_over(const struct walk *k)
{
    return k->failed || k->full || atomic_load_explicit(&k->w->halt, memory_order_relaxed);
}

/* ---- on the lane (lane_call_shared) ---------------------------------------------------------- */

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

static void key_of(struct walk *k, struct cmd_ctx *c, const struct warm_item *it, struct key *key)
{
    k->w->session.db = it->db;
    key_make(c->a.store, key, (struct str){k->names.p + it->at, it->n}, it->db);
}

static bool is_full(const struct server *s)
{
    struct store_memory m;
    if (s->config.maxmemory == 0)
        return false;
    store_memory(s->store, &m);
    return m.used >= s->config.maxmemory / 100 * WARM_FULL_PERCENT;
}

static void claim_one(struct walk *k, struct cmd_ctx *c, struct warm_item *it)
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
    it->token = answer.wrong_type || answer.value.p != NULL ? 0 : answer.token;
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

/* The key's shard is ours: as if it came by MIGRATE, so that what is banned here is not put. False: it was
 * refused. */
static bool put(struct walk *k, struct cmd_ctx *c, struct key *key)
{
    const struct warm_value *v = k->value;
    char ttl[NUM_I64_TEXT_MAX];
    bool plain = v->extra.n == 0;
    struct str argv[] = {plain ? STR("RESTORE-ASKING") : STR("CACHE.RESTORE"),
                         {key->p, key->n},
                         {ttl, num_put_i64(ttl, v->ttl_ms)},
                         v->payload,
                         v->extra};
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

/* Before a value is put: looks again now and then, since some are large. */
static bool fills(struct walk *k, const struct server *s)
{
    k->unseen += k->value->payload.n;
    if (k->unseen >= s->config.maxmemory / 100) {
        k->full |= is_full(s);
        k->unseen = 0;
    }
    return k->full;
}

/* A stale entry leaves one that is here; what is banned or was purged here leaves nothing. */
static void count(struct walk *k, bool is_there, bool has_changed)
{
    if (!is_there)
        k->add.overtaken++;
    else if (has_changed)
        k->add.installed++;
    else
        k->add.present++;
}

static void install(void *arg)
{
    struct walk *k = arg;
    struct server *s = k->w->server;
    struct cmd_ctx *c = lane_ctx(k);
    struct key key;
    key_of(k, c, k->item, &key);
    k->busy = atomic_load_explicit(&s->care, memory_order_relaxed) & CARE_HELD_STREAM ||
              !store_lock_one(s->store, key_shard(&key));
    if (k->busy)
        return;
    bool has = k->value != NULL && !fills(k, s);
    uint64_t before = store_changes_here(&c->a);
    if (!cache_has_lease(c->cache, &c->a, &key, k->item->token)) {
        k->add.overtaken++;
    } else if (has && put(k, c, &key)) {
        count(k, store_peek_any(&c->a, &key) != NULL, store_changes_here(&c->a) != before);
    } else {
        k->add.gone++;
    }
    /* Whatever has become of it: who waits is served, or loads. */
    (void)cache_fail(c->cache, &c->a, &key, k->item->token, 0);
    store_unlock_one(s->store, key_shard(&key));
    effect_publish(c);
}

static void take_held(void *arg)
{
    struct walk *k = arg;
    k->busy = !heir_take_piece(k->w->server, k->piece);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static bool on_lane(struct walk *k, void (*fn)(void *arg))
{
    return lane_call_shared(&k->w->server->lane, fn, k) || warm_fail(k, "the node ends");
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

/* Until what fn asks for is done; it says by k->busy that it was not. */
static void insist(struct walk *k, void (*fn)(void *arg))
{
    k->busy = true;
    for (unsigned i = 0; i < WARM_BUSY_TRIES && k->busy; i++) {
        if (!on_lane(k, fn))
            return;
        if (k->busy)
            os_nap_us(WARM_BUSY_US);
    }
    if (k->busy)
        warm_fail(k, "this node takes no writes");
}

void warm_settle(struct walk *k, struct warm_item *it, const struct warm_value *v)
{
    k->item = it;
    k->value = v;
    insist(k, install);
}

void warm_take_held(struct walk *k, struct str piece)
{
    k->piece = piece;
    insist(k, take_held);
}

bool warm_add_item(struct walk *k, struct str name, uint32_t db)
{
    k->items[k->nitems] = (struct warm_item){.at = k->names.n, .n = name.n, .db = db};
    if (buf_append(&k->names, name.p, name.n) != 0)
        return warm_fail(k, "out of memory");
    k->nitems++;
    return true;
}

bool warm_claim(struct walk *k)
{
    k->add.seen += k->nitems;
    return k->nitems > 0 && on_lane(k, claim) && !k->full;
}

/* A few at a time, so that sleeping costs little. */
static void wait_for_turn(struct walk *k)
{
    struct warm *w = k->w;
    k->unpaced += k->nitems;
    int64_t now = os_wall_ms(), step_ms = (int64_t)(k->unpaced * UINT64_C(1000) / w->request.rate);
    if (step_ms < WARM_PACE_MS && k->unpaced < WARM_BATCH)
        return;
    k->unpaced = 0;
    k->due_ms = (k->due_ms > now ? k->due_ms : now) + step_ms;
    pthread_mutex_lock(&w->mutex);
    while (!atomic_load(&w->halt) && os_wall_ms() < k->due_ms) {
        const struct timespec until = {.tv_sec = k->due_ms / 1000, .tv_nsec = k->due_ms % 1000 * 1000000};
        pthread_cond_timedwait(&w->more, &w->mutex, &until);
    }
    pthread_mutex_unlock(&w->mutex);
}

void warm_end_batch(struct walk *k)
{
    if (k->nitems > 0)
        wait_for_turn(k);
    tell(k);
    k->nitems = 0;
    buf_clear(&k->names);
}
