#include "cache/move.h"

#include "base/bytes.h"
#include "base/err.h"
#include "base/num.h"
#include "cache/cache_internal.h"

enum { CLOCK = 8 };

/* ---- leaving -------------------------------------------------------------------------------------- */

static enum cache_state judge(const struct access *a, const struct entry *e, struct meta *m, bool *has_meta)
{
    return cache_judge(store_seam_arg(a->store), a, e, m, has_meta);
}

bool cache_may_move(const struct access *a, const struct entry *e)
{
    struct meta m;
    bool has_meta;
    return judge(a, e, &m, &has_meta) == CACHE_FRESH && (!has_meta || m.ntags == 0);
}

bool cache_may_travel(const struct access *a, const struct entry *e)
{
    struct meta m;
    bool has_meta;
    enum cache_state state = judge(a, e, &m, &has_meta);
    return state == CACHE_FRESH || state == CACHE_STALE;
}

uint32_t cache_pack(const struct access *a, const struct entry *e, char out[MOVE_EXTRA_MAX])
{
    struct meta m;
    bool has_meta;
    enum cache_state state = judge(a, e, &m, &has_meta);
    if (!has_meta)
        return 0;
    meta_read_tags(e, &m);
    bool over = m.fresh_ms != 0 && m.fresh_ms <= a->now_ms;
    if (state == CACHE_STALE && !over)
        m.flags |= META_STALE; /* by a purge that only this node counts */
    m.born = 0;
    bytes_put_le(out, (uint64_t)a->now_ms, CLOCK);
    return CLOCK + meta_write(&m, out + CLOCK);
}

uint32_t cache_pack_stored(int64_t now_ms, struct str extra, char out[MOVE_EXTRA_MAX], int64_t *ttl_ms)
{
    enum { END = 8 };
    struct meta m;
    if (extra.n < END || !meta_parse((struct str){extra.p, extra.n - END}, &m) || (m.flags & META_NEGATIVE))
        return 0;
    int64_t end_ms = (int64_t)bytes_get_le(extra.p + extra.n - END, END);
    if (end_ms != 0 && end_ms <= now_ms)
        return 0;
    *ttl_ms = end_ms != 0 ? end_ms - now_ms : 0;
    m.flags |= META_STALE;
    m.born = 0;
    bytes_put_le(out, (uint64_t)now_ms, CLOCK);
    return CLOCK + meta_write(&m, out + CLOCK);
}

/* ---- on the way ----------------------------------------------------------------------------------- */

uint64_t cache_bar(const struct cache *c)
{
    return atomic_load(&c->bar);
}

/* Counted before it looks, as the bar is raised before arrivals are counted: one of the two sees the other.
 */
bool cache_admit(struct cache *c, uint64_t bar)
{
    atomic_fetch_add(&c->arrivals, 1);
    return bar == 0 || bar == atomic_load(&c->bar);
}

uint64_t cache_arrivals(const struct cache *c)
{
    return atomic_load(&c->arrivals);
}

void cache_raise_bar(struct cache *c)
{
    atomic_fetch_add(&c->bar, 1);
}

/* ---- arriving ------------------------------------------------------------------------------------- */

/* The extension in this node's time. */
static int unpack(const struct access *a, const struct cache_arrival *v, struct meta *m, int64_t *expire_ms)
{
    int64_t sent_ms, shift;
    if (v->extra.n <= CLOCK || !meta_parse((struct str){v->extra.p + CLOCK, v->extra.n - CLOCK}, m) ||
        (m->flags & META_NEGATIVE) || (v->ttl_ms != 0) != (m->fresh_ms != 0))
        return ERR_CORRUPT;
    sent_ms = (int64_t)bytes_get_le(v->extra.p, CLOCK);
    if (sent_ms < 0 || v->ttl_ms < 0 || num_add_overflows(a->now_ms, v->ttl_ms, expire_ms))
        return ERR_CORRUPT;
    shift = a->now_ms - sent_ms;
    if (num_add_overflows(m->set_ms, shift, &m->set_ms))
        return ERR_CORRUPT;
    if (v->ttl_ms == 0)
        *expire_ms = 0;
    else if (num_add_overflows(m->fresh_ms, shift, &m->fresh_ms))
        return ERR_CORRUPT;
    if (v->ttl_ms != 0 && m->fresh_ms < 1)
        m->fresh_ms = 1; /* long ago; 0 would be for ever */
    if (v->ttl_ms != 0 && m->fresh_ms > *expire_ms)
        m->fresh_ms = *expire_ms;
    m->flags &= (uint32_t)~EXT_HIDDEN; /* meta_write() knows when */
    return 0;
}

static bool is_older(struct cache *c, const struct access *a, const struct key *k, const struct entry *there,
                     const struct meta *m)
{
    struct meta old;
    uint64_t stored = there != NULL && meta_read(there, &old) && (old.flags & META_VERSION) ? old.version : 0;
    return (m->flags & META_VERSION) && (m->version < stored || m->version < cache_held(c, k, a->now_ms));
}

static int put(struct cache *c, const struct access *a, const struct key *k, const struct cache_arrival *v,
               const struct meta *m, int64_t expire_ms)
{
    struct cache_shard *cs = cache_shard_of(c, k);
    char ext[META_SIZE_MAX];
    cs->keeps_version = (m->flags & META_VERSION) != 0;
    int err = store_put_extended(a, k, v->bytes, v->block, expire_ms, (struct str){ext, meta_write(m, ext)});
    cs->keeps_version = false;
    return err;
}

int cache_arrive(struct cache *c, const struct access *a, const struct key *k, const struct cache_arrival *v,
                 enum cache_arrived *out, struct meta *m, int64_t *expire_ms)
{
    bool has_meta;
    int err = unpack(a, v, m, expire_ms);
    if (err != 0)
        return err;
    const struct entry *there = store_peek_any(a, k);
    bool stale = (m->flags & META_STALE) || (m->fresh_ms != 0 && m->fresh_ms <= a->now_ms);
    *out = ARRIVED_IN_VAIN;
    if (is_older(c, a, k, there, m) || (stale && there != NULL && !v->replace))
        return 0; /* whatever is here came later */
    *out = ARRIVED_BUSY;
    if (!v->replace && store_peek(a, k) != NULL)
        return 0;
    m->born = m->ntags != 0 ? 0 : atomic_load_explicit(&c->seq, memory_order_acquire);
    err = put(c, a, k, v, m, *expire_ms);
    if (err != 0)
        return err;
    struct meta now;
    const struct entry *e = store_peek_any(a, k);
    enum cache_state state = cache_judge(c, a, e, &now, &has_meta);
    *out = state == CACHE_FRESH ? ARRIVED_FRESH : state == CACHE_STALE ? ARRIVED_STALE : ARRIVED_GONE;
    if (state == CACHE_MISS)
        (void)store_delete(a, k);
    return 0;
}
