/* CACHE.SET, CACHE.FAIL, CACHE.INVALIDATE: writing. */
#include "cache/note.h"
#include "cmd/cache_options.h"
#include "cmd/effect.h"
#include "cmd/handlers.h"

enum {
    SET_OPTIONS = OPT_TOKEN | OPT_EX | OPT_PX | OPT_GRACE | OPT_VERSION | OPT_COST | OPT_NEGATIVE | OPT_TAGS,
};

/* ---- CACHE.SET ----------------------------------------------------------------------------------- */

static bool agree(struct cmd_ctx *c, const struct cache_options *o)
{
    if ((o->given & OPT_EX) && (o->given & OPT_PX))
        return cache_refuse(c, "ERR EX and PX both say how long; give one of them");
    if ((o->given & OPT_GRACE) && !(o->given & (OPT_EX | OPT_PX)))
        return cache_refuse(c,
                            "ERR GRACE begins when freshness ends; say when: EX seconds or PX milliseconds");
    if ((o->given & OPT_GRACE) && (o->given & OPT_NEGATIVE))
        return cache_refuse(c, "ERR NEGATIVE entries are never served stale; leave GRACE out");
    return true;
}

void cache_send_note(struct cmd_ctx *c, const char *note, uint32_t n)
{
    const struct str argv[] = {STR("PING"), {note, n}};
    effect_add(c, argv, ARRAY_LEN(argv));
}

static void propagate(struct cmd_ctx *c, const struct cache_value *v, enum cache_fill fill,
                      const struct meta *m, int64_t expire_ms)
{
    char note[NOTE_MAX];
    if (fill == FILL_OK && !v->negative) {
        if (c->unit != NULL)
            cache_send_note(c, note, note_entry(m, expire_ms, note));
        effect_set(c, v->bytes, m->fresh_ms, false);
    } else if (fill == FILL_OK || fill == FILL_DROPPED) {
        const struct note_hold hold = {v->version, c->a.now_ms + cache_hold_ms(c->cache, NULL)};
        if (c->unit != NULL && fill == FILL_OK)
            cache_send_note(c, note, note_entry(m, expire_ms, note));
        else if (c->unit != NULL && v->has_version)
            cache_send_note(c, note, note_version(&hold, note));
        effect_del(c); /* for who knows nothing of negative entries there is none */
    }
}

void cmd_cache_set(struct cmd_ctx *c)
{
    struct cache_options o;
    enum cache_fill fill;
    struct meta m;
    int64_t expire_ms;
    if (!cache_parse_options(c, 3, SET_OPTIONS, &o) || !agree(c, &o))
        return;
    struct cache_value v = {
        .bytes = c->argv[2],
        .block = cmd_arg_block(c, 2),
        .has_lease = (o.given & OPT_TOKEN) != 0,
        .token = cache_parse_token(c->cache, o.token),
        .ttl_ms = o.ttl_ms,
        .grace_ms = o.grace_ms,
        .has_version = (o.given & OPT_VERSION) != 0,
        .version = o.version,
        .cost_ms = (o.given & OPT_COST) ? o.cost_ms : -1,
        .negative = (o.given & OPT_NEGATIVE) != 0,
        .ntags = o.ntags,
        .tags = o.tags,
    };
    int err = cache_fill(c->cache, &c->a, &c->keys[0], &v, &fill, &m, &expire_ms);
    if (err != 0) {
        cmd_reply_err(c, err);
        return;
    }
    propagate(c, &v, fill, &m, expire_ms);
    if (fill == FILL_LEASE_LOST)
        reply_status(c->reply, "LEASELOST");
    else if (fill == FILL_OLD_VERSION)
        reply_status(c->reply, "OLDVERSION");
    else
        reply_ok(c->reply);
}

bool cache_set_is_old(struct cmd_ctx *c, const struct key *k)
{
    struct cache_options o;
    struct cache_view v;
    bool mute = c->reply->mute, errored = c->reply->errored;
    c->reply->mute = true; /* bad options are for the other node to refuse */
    bool ok = cache_parse_options(c, 3, SET_OPTIONS, &o);
    c->reply->mute = mute;
    c->reply->errored = errored;
    if (!ok || !(o.given & OPT_VERSION))
        return false;
    cache_view(c->cache, &c->a, k, &v);
    return o.version < v.held_version;
}

/* ---- CACHE.FAIL ------------------------------------------------------------------------------------ */

void cmd_cache_fail(struct cmd_ctx *c)
{
    struct cache_options o;
    if (!cache_parse_options(c, 3, OPT_RETRY, &o))
        return;
    uint64_t token = cache_parse_token(c->cache, c->argv[2]);
    effect_none(c);
    if (cache_fail(c->cache, &c->a, &c->keys[0], token, o.retry_ms))
        reply_ok(c->reply);
    else
        reply_status(c->reply, "LEASELOST");
}

/* hold NULL: nothing is held. */
static void tell(struct cmd_ctx *c, bool softened, const struct note_hold *hold)
{
    char note[NOTE_MAX];
    struct meta m;
    const struct entry *e = softened ? store_find_any(&c->a, &c->keys[0]) : NULL;
    if (e != NULL && meta_read(e, &m))
        cache_send_note(c, note, note_stale(m.fresh_ms, entry_expire(e), hold, note));
    else if (hold != NULL)
        cache_send_note(c, note, note_version(hold, note));
}

/* ---- CACHE.INVALIDATE ------------------------------------------------------------------------------- */

void cmd_cache_invalidate(struct cmd_ctx *c)
{
    struct cache_options o;
    bool softened;
    if (!cache_parse_options(c, 2, OPT_SOFT | OPT_VERSION | OPT_HOLD, &o))
        return;
    if ((o.given & OPT_HOLD) && !(o.given & OPT_VERSION)) {
        cache_refuse(c, "ERR HOLD keeps older versions out; say older than which: VERSION version");
        return;
    }
    const struct cache_invalidation i = {
        .soft = (o.given & OPT_SOFT) != 0,
        .has_version = (o.given & OPT_VERSION) != 0,
        .version = o.version,
        .hold_ms = (o.given & OPT_HOLD) ? o.hold_ms : -1,
    };
    bool found = cache_invalidate(c->cache, &c->a, &c->keys[0], &i, &softened);
    bool newer = !found && store_find_any(&c->a, &c->keys[0]) != NULL; /* it stays, and holds more itself */
    bool holds = i.has_version && !newer;
    const struct note_hold hold = {i.version, c->a.now_ms + cache_hold_ms(c->cache, &i)};
    if (c->unit != NULL)
        tell(c, softened, holds ? &hold : NULL);
    if (found || holds)
        effect_del(c); /* names the key that the note is about, too */
    else
        effect_none(c);
    reply_int(c->reply, found);
}
