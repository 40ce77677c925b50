/* SAVE BGSAVE LASTSAVE SHUTDOWN, DEBUG RELOAD, and INFO's section about them. */
#include "server/handlers.h"

#include "base/log.h"
#include "os/clock.h"
#include "server/saver.h"
#include "server/server.h"

#define BUSY "ERR Background save already in progress"

static struct saver *saver_of(struct cmd_ctx *c)
{
    return &ctx_server(c)->saver;
}

/* On the lane, without the gate. */
void cmd_save(struct cmd_ctx *c)
{
    int rc = saver_save(saver_of(c));
    if (rc == ERR_EXISTS)
        reply_error(c->reply, BUSY);
    else if (rc != 0)
        reply_error(c->reply, "ERR The snapshot could not be written. The log says why.");
    else
        reply_ok(c->reply);
}

/* Under the gate. There is nothing that a snapshot would have to wait for, so SCHEDULE asks for nothing more.
 */
void cmd_bgsave(struct cmd_ctx *c)
{
    if (c->argc > 2 || (c->argc == 2 && !cmd_arg_is(c, 1, STR("SCHEDULE")))) {
        reply_error(c->reply, REPLY_SYNTAX);
        return;
    }
    int rc = saver_begin(saver_of(c));
    if (rc == ERR_EXISTS)
        reply_error(c->reply, BUSY);
    else if (rc != 0)
        reply_error(c->reply, "ERR The snapshot could not be begun. The log says why.");
    else
        reply_status(c->reply, "Background saving started");
}

void cmd_lastsave(struct cmd_ctx *c)
{
    reply_int(c->reply, atomic_load(&saver_of(c)->shown.last_save_ms) / 1000);
}

/* ---- SHUTDOWN ------------------------------------------------------------------------------- */

struct how {
    bool save, nosave, abort, now, force;
};

static bool parse_how(struct cmd_ctx *c, struct how *h)
{
    *h = (struct how){.save = false};
    for (uint32_t i = 1; i < c->argc; i++) {
        bool *known = cmd_arg_is(c, i, STR("SAVE"))     ? &h->save
                      : cmd_arg_is(c, i, STR("NOSAVE")) ? &h->nosave
                      : cmd_arg_is(c, i, STR("ABORT"))  ? &h->abort
                      : cmd_arg_is(c, i, STR("NOW"))    ? &h->now
                      : cmd_arg_is(c, i, STR("FORCE"))  ? &h->force
                                                        : NULL;
        if (known == NULL)
            return false;
        *known = true;
    }
    return !(h->save && h->nosave) && !(h->abort && c->argc > 2);
}

/* As after SIGTERM, a primary's slots go to a replica first, if one takes them in time. */
bool shutdown_hands_over(struct cmd_ctx *c)
{
    struct server *s = ctx_server(c);
    uint32_t *turn = &ctx_conn(c)->handing;
    struct how h;
    if (parse_how(c, &h) && !h.abort && !h.now && s->config.shutdown_timeout > 0)
        return cluster_hands_over(&s->cluster, turn);
    *turn = 0;
    return false;
}

/* Under the gate: what is saved is all that was ever acknowledged, since no worker reads another request. */
void cmd_shutdown(struct cmd_ctx *c)
{
    struct server *s = ctx_server(c);
    struct how h;
    if (!parse_how(c, &h)) {
        reply_error(c->reply, REPLY_SYNTAX);
        return;
    }
    if (h.abort) {
        reply_error(c->reply, "ERR No shutdown in progress.");
        return;
    }
    bool save = !h.nosave && (h.save || saver_is_wanted(&s->saver));
    s->repl.parts_at_once = h.now;
    if (!saver_end_with(&s->saver, save, h.force)) {
        reply_error(c->reply, "ERR Errors trying to SHUTDOWN. Check logs.");
        return;
    }
    c->session->close_after_reply = true;
    server_request_stop(s, 0);
}

/* ---- DEBUG RELOAD --------------------------------------------------------------------------- */

/* Under the gate. */
void debug_reload(struct cmd_ctx *c)
{
    bool save = true, flush = true;
    char text[RDB_TEXT_MAX] = "";
    for (uint32_t i = 2; i < c->argc; i++) {
        if (cmd_arg_is(c, i, STR("NOSAVE"))) {
            save = false;
        } else if (cmd_arg_is(c, i, STR("NOFLUSH"))) {
            flush = false;
        } else if (!cmd_arg_is(c, i, STR("MERGE"))) { /* a key that is there is replaced, asked or not */
            reply_error(c->reply, "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.");
            return;
        }
    }
    if (save && saver_save_alone(saver_of(c)) != 0) {
        reply_error(c->reply, "ERR The snapshot could not be written. The log says why.");
        return;
    }
    if (saver_load_alone(saver_of(c), &c->a, flush, text, sizeof text) != 0) {
        log_warning("DEBUG RELOAD: cannot load the file: %s.", text);
        reply_errorf(c->reply, "ERR Error trying to load the RDB dump: %s", text);
        return;
    }
    if (!save)
        repl_doubt(&ctx_server(c)->repl);
    reply_ok(c->reply);
}

/* ---- INFO ----------------------------------------------------------------------------------- */

#define SHOWN(field) ((long long)atomic_load(&v->shown.field))

static void put_loading(const struct saver *v, struct buf *b)
{
    long long total = SHOWN(load_total), done = SHOWN(load_done),
              age_s = (os_wall_ms() - SHOWN(load_began_ms)) / 1000;
    buf_printf(b,
               "loading_start_time:%lld\r\nloading_total_bytes:%lld\r\nloading_rdb_used_mem:0\r\n"
               "loading_loaded_bytes:%lld\r\nloading_loaded_perc:%.2f\r\nloading_eta_seconds:%lld\r\n",
               SHOWN(load_began_ms) / 1000, total, done,
               total > 0 ? 100.0 * (double)done / (double)total : 0.0,
               done > 0 ? (total - done) * age_s / done : 1);
}

void saver_put_info(struct server *s, struct buf *b)
{
    const struct saver *v = &s->saver;
    bool saving = atomic_load(&v->shown.saving),
         loading = atomic_load(&v->shown.loading) && SHOWN(load_total) > 0;
    buf_printf(b,
               "loading:%d\r\nasync_loading:0\r\ncurrent_cow_peak:0\r\ncurrent_cow_size:0\r\n"
               "current_cow_size_age:0\r\ncurrent_fork_perc:0.00\r\n",
               loading);
    buf_printf(
        b,
        "current_save_keys_processed:%lld\r\ncurrent_save_keys_total:%lld\r\n"
        "rdb_changes_since_last_save:%llu\r\nrdb_bgsave_in_progress:%d\r\nrdb_last_save_time:%lld\r\n"
        "rdb_last_bgsave_status:%s\r\nrdb_last_bgsave_time_sec:%lld\r\nrdb_current_bgsave_time_sec:%lld\r\n",
        saving ? SHOWN(keys) : 0, saving ? SHOWN(keys_total) : 0, (unsigned long long)saver_dirty(v), saving,
        SHOWN(last_save_ms) / 1000, atomic_load(&v->shown.failed) ? "err" : "ok", SHOWN(last_took_s),
        saving ? (os_wall_ms() - SHOWN(began_ms)) / 1000 : -1);
    buf_printf(b,
               "rdb_saves:%lld\r\nrdb_last_cow_size:%lld\r\nrdb_last_load_keys_expired:%lld\r\n"
               "rdb_last_load_keys_loaded:%lld\r\nlarder_rdb_last_spilled_bytes:%lld\r\n",
               SHOWN(saves), SHOWN(held_peak), SHOWN(expired), SHOWN(loaded), SHOWN(spilled));
    if (loading)
        put_loading(v, b);
}
