/* CACHE.RESTORE key ttl payload extra [REPLACE]: a key that comes from another larder with what its cache
 * knows of it (cache/move.h). CACHE.ARRIVE: such keys, and those of RESTORE-ASKING, are read from now on.
 * CACHE.DUMP key: the ttl, payload and extra, or nil. What nodes say to each other; they believe nothing. */
#include "cache/move.h"
#include "cache/note.h"
#include "cmd/cache_options.h"
#include "cmd/cost.h"
#include "cmd/dump.h"
#include "cmd/effect.h"
#include "cmd/handlers.h"

enum { LONG_AGO_MS = 1 };

/* A stale one is sent with its value, since the replicas have none; to those that know nothing of grace its
 * time is over. */
static void propagate(struct cmd_ctx *c, enum cache_arrived arrived, const struct meta *m, int64_t expire_ms)
{
    char note[NOTE_MAX];
    if (arrived == ARRIVED_GONE) {
        effect_del(c);
    } else if (arrived == ARRIVED_IN_VAIN || arrived == ARRIVED_BUSY) {
        effect_none(c);
    } else {
        if (c->unit != NULL)
            cache_send_note(c, note, note_entry(m, expire_ms, note));
        dump_note_restored(c, arrived == ARRIVED_FRESH ? m->fresh_ms : LONG_AGO_MS);
    }
}

void cmd_cache_restore(struct cmd_ctx *c)
{
    struct cache_arrival v = {.extra = c->argv[4], .replace = c->argc == 6};
    struct dump_string s;
    struct meta m;
    enum cache_arrived arrived;
    int64_t expire_ms;
    if (c->argc > 6 || (c->argc == 6 && !cmd_arg_is(c, 5, STR("REPLACE")))) {
        reply_error(c->reply, REPLY_SYNTAX);
        return;
    }
    if (!cmd_arg_i64(c, 2, &v.ttl_ms))
        return;
    if (!dump_is_sound(c->argv[3])) {
        reply_error(c->reply, REPLY_BAD_DUMP);
        return;
    }
    if (!dump_arrives(c))
        return;
    int err = dump_get_string(c, c->argv[3], &s);
    v.bytes = s.bytes;
    v.block = s.block;
    if (err == 0)
        err = cache_arrive(c->cache, &c->a, &c->keys[0], &v, &arrived, &m, &expire_ms);
    if (err == 0)
        propagate(c, arrived, &m, expire_ms);
    if (s.block != NULL)
        block_put(s.block);
    if (err == 0 && arrived == ARRIVED_BUSY)
        reply_error(c->reply, REPLY_BUSYKEY);
    else if (err != 0 && err != ERR_OOM)
        reply_error(c->reply, "ERR Bad data format");
    else
        cmd_reply_status(c, err);
}

uint64_t cost_cache_restore(const struct cmd_ctx *c)
{
    return cost_restore(c);
}

void cmd_cache_arrive(struct cmd_ctx *c)
{
    c->session->arrives = cache_bar(c->cache);
    reply_ok(c->reply);
}

void cmd_cache_dump(struct cmd_ctx *c)
{
    char extra[MOVE_EXTRA_MAX];
    const struct entry *e = store_peek_any(&c->a, &c->keys[0]);
    if (e == NULL || !cache_may_travel(&c->a, e)) {
        reply_null(c->reply);
        return;
    }
    struct buf value;
    buf_init(&value);
    uint32_t n = cache_pack(&c->a, e, extra);
    int64_t end = entry_expire(e), left = end == 0 ? 0 : end - c->a.now_ms;
    int rc = dump_value(e, &value);
    if (rc != 0) {
        cmd_reply_err(c, rc);
    } else {
        reply_array(c->reply, 3);
        reply_int(c->reply, end != 0 && left < 1 ? 1 : left);
        reply_bulk(c->reply, buf_str(&value));
        reply_bulk(c->reply, (struct str){extra, n});
    }
    buf_release(&value);
}

uint64_t cost_cache_dump(const struct cmd_ctx *c)
{
    return cost_dump(c);
}
