#include "server/hot.h"

#include "base/alloc.h"
#include "cmd/cache_options.h"
#include "server/dispatch.h"
#include "server/handlers.h"
#include "server/server.h"

int hot_new(struct hot **out)
{
    *out = mem_zalloc(sizeof **out);
    return *out != NULL ? 0 : ERR_OOM;
}

void hot_free(struct hot *h)
{
    mem_free(h);
}

static bool has_big_argument(const struct cmd_ctx *c)
{
    return c->nblocks > 0 && c->nkeys == 1 && (c->cmd->flags & CMD_WRITE);
}

void hot_sample(struct cmd_ctx *c)
{
    struct worker *w = c->host;
    struct hot *h = w->hot;
    bool counted = w->until_sample <= 0;
    if (!counted && !has_big_argument(c))
        return;
    if (counted)
        w->until_sample = HOT_EVERY / 2 + (int32_t)rng_below(&w->rng, HOT_EVERY);
    const struct key *k = &c->keys[c->nkeys > 1 ? rng_below(&w->rng, c->nkeys) : 0];
    const struct entry *e = store_peek(&c->a, k);
    uint64_t bytes = e != NULL ? store_entry_bytes(c->a.store, e) : 0;
    struct str name = {k->p, k->n};
    lock_hold(&h->lock);
    if (w->now_ms >= h->halve_ms) {
        topk_halve(&h->top);
        h->halve_ms = w->now_ms + HOT_HALVE_MS;
    }
    if (counted)
        topk_note(&h->top, k->hash, c->session->db, name, bytes);
    else
        topk_note_large(&h->top, k->hash, c->session->db, name, bytes);
    lock_release(&h->lock);
}

/* ---- CACHE.HOT [COUNT n] [BIG] ---- */

static void put_number(struct reply *r, const char *name, uint64_t v)
{
    reply_cstr(r, name);
    reply_int(r, (int64_t)v);
}

static void put_name(struct reply *r, const struct topk_item *it)
{
    reply_cstr(r, "key");
    reply_bulk(r, (struct str){it->name, it->n < TOPK_NAME ? it->n : TOPK_NAME});
    put_number(r, "db", it->db);
}

static void reply_hits(struct reply *r, const struct topk *t, uint64_t max)
{
    uint64_t n = t->nhits < max ? t->nhits : max;
    reply_array(r, n);
    for (uint64_t i = 0; i < n; i++) {
        reply_map(r, 5);
        put_name(r, &t->hits[i]);
        put_number(r, "hits", t->hits[i].count * HOT_EVERY);
        put_number(r, "error", t->hits[i].error * HOT_EVERY);
        put_number(r, "bytes", t->hits[i].bytes);
    }
}

/* What it is now. One whose name is too long to look for, or whose shard is busy, stays as it was seen. */
static void look_again(struct cmd_ctx *c, struct topk_item *it)
{
    struct key k;
    if (it->n > TOPK_NAME || it->db >= store_databases(c->a.store))
        return;
    key_make(c->a.store, &k, (struct str){it->name, it->n}, it->db);
    if (!store_lock_one(c->a.store, key_shard(&k)))
        return;
    const struct entry *e = store_peek(&c->a, &k);
    it->bytes = e != NULL ? store_entry_bytes(c->a.store, e) : 0;
    store_unlock_one(c->a.store, key_shard(&k));
}

static void reply_large(struct cmd_ctx *c, struct topk *t, uint64_t max)
{
    for (uint32_t i = 0; i < t->nlarge; i++)
        look_again(c, &t->large[i]);
    topk_sort(t);
    uint64_t n = 0;
    while (n < max && n < t->nlarge && t->large[n].bytes > 0)
        n++;
    reply_array(c->reply, n);
    for (uint64_t i = 0; i < n; i++) {
        reply_map(c->reply, 3);
        put_name(c->reply, &t->large[i]);
        put_number(c->reply, "bytes", t->large[i].bytes);
    }
}

void cmd_cache_hot(struct cmd_ctx *c)
{
    struct server *s = ctx_server(c);
    struct cache_options o;
    if (!cache_parse_options(c, 1, OPT_COUNT | OPT_BIG, &o))
        return;
    struct topk *all = mem_zalloc(sizeof *all);
    if (all == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return;
    }
    for (uint32_t i = 0; i < s->nworkers; i++) {
        struct hot *h = s->workers[i].hot;
        lock_hold(&h->lock);
        topk_merge(all, &h->top);
        lock_release(&h->lock);
    }
    uint64_t max = (o.given & OPT_COUNT) ? (uint64_t)o.count : HOT_SHOWN;
    if (o.given & OPT_BIG) {
        reply_large(c, all, max);
    } else {
        topk_sort(all);
        reply_hits(c->reply, all, max);
    }
    mem_free(all);
}
