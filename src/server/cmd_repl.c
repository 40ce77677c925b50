/* REPLICAOF ROLE, and INFO's section: what an operator says and sees of replication. */
#include "server/handlers.h"

#include "base/log.h"
#include "os/clock.h"
#include "server/repl.h"
#include "server/repl_feed.h"

static struct repl *repl_of(struct cmd_ctx *c)
{
    return &ctx_server(c)->repl;
}

/* ---- REPLICAOF ------------------------------------------------------------------------------ */

/* Under the gate. */
void cmd_replicaof(struct cmd_ctx *c)
{
    struct repl *r = repl_of(c);
    int64_t port;
    if (c->limits->cluster) {
        reply_error(c->reply, "ERR REPLICAOF not allowed in cluster mode.");
        return;
    }
    if (failover_state(&r->failover) != FAILOVER_NONE) {
        reply_error(c->reply, "ERR REPLICAOF not allowed while failing over.");
        return;
    }
    if (cmd_arg_is(c, 1, STR("NO")) && cmd_arg_is(c, 2, STR("ONE"))) {
        repl_become_primary(r);
        reply_ok(c->reply);
        return;
    }
    if (!cmd_arg_range(c, 2, 0, 65535, &port, "ERR Invalid master port"))
        return;
    struct str host = c->argv[1];
    if (host.n == 0 || host.n >= REPL_HOST_MAX || memchr(host.p, '\0', host.n) != NULL) {
        reply_error(c->reply, "ERR Invalid master host");
        return;
    }
    if (r->is_replica && port == r->port && str_eq_nocase(host, str_of(r->host))) {
        r->named_anew = true; /* whatever it has, the operator wants it here */
        r->replica.retry_ms = 0;
        repl_wake(r);
        reply_status(c->reply, "OK Already connected to specified master");
        return;
    }
    repl_follow_primary(r, host, (int)port);
    reply_ok(c->reply);
}

void cmd_slaveof(struct cmd_ctx *c)
{
    cmd_replicaof(c);
}

/* ---- ROLE, INFO ------------------------------------------------------------------------------ */

/* As Redis calls the stages. */
static const char *stage_name(const struct repl *r)
{
    if (atomic_load(&r->loading))
        return "sync";
    int state = atomic_load(&r->shown.state);
    if (state == LINK_STREAM)
        return atomic_load(&r->link_up) ? "connected" : "sync";
    if (state == LINK_HEADER || state == LINK_PAYLOAD)
        return "sync";
    return state == LINK_IDLE ? "connect" : "connecting";
}

static void reply_feeds(struct cmd_ctx *c, struct repl *r)
{
    uint64_t n = 0;
    size_t list = reply_deferred(c->reply);
    pthread_mutex_lock(&r->mutex);
    for (const struct feed *f = r->feeds; f != NULL; f = f->next) {
        if (atomic_load(&f->state) != FEED_STREAM)
            continue;
        reply_array(c->reply, 3);
        reply_cstr(c->reply, f->ip);
        reply_bulk_i64(c->reply, f->joiner.port);
        reply_bulk_i64(c->reply, (int64_t)atomic_load(&f->ack));
        n++;
    }
    pthread_mutex_unlock(&r->mutex);
    reply_deferred_end(c->reply, list, '*', n);
}

void cmd_role(struct cmd_ctx *c)
{
    struct repl *r = repl_of(c);
    if (!r->is_replica) {
        reply_array(c->reply, 3);
        reply_cstr(c->reply, "master");
        reply_int(c->reply, (int64_t)repl_offset(r));
        reply_feeds(c, r);
        return;
    }
    reply_array(c->reply, 5);
    reply_cstr(c->reply, "slave");
    reply_cstr(c->reply, r->host);
    reply_int(c->reply, r->port);
    reply_cstr(c->reply, stage_name(r));
    reply_int(c->reply, atomic_load(&r->link_up) ? (int64_t)repl_offset(r) : -1);
}

static void put_as_replica(const struct repl *r, struct buf *b)
{
    bool up = atomic_load(&r->link_up);
    int state = atomic_load(&r->shown.state);
    bool copying = atomic_load(&r->loading) || state == LINK_HEADER || state == LINK_PAYLOAD;
    int64_t now = os_wall_ms(), offset = (int64_t)repl_offset(r);
    buf_printf(b,
               "master_host:%s\r\nmaster_port:%d\r\nmaster_link_status:%s\r\n"
               "master_last_io_seconds_ago:%lld\r\nmaster_sync_in_progress:%d\r\n"
               "slave_read_repl_offset:%lld\r\nslave_repl_offset:%lld\r\n",
               r->host, r->port, up ? "up" : "down",
               up ? (long long)(now - atomic_load(&r->shown.heard_ms)) / 1000 : -1LL, copying,
               (long long)offset, (long long)offset);
    if (copying)
        buf_printf(b, "master_sync_total_bytes:%llu\r\nmaster_sync_read_bytes:%llu\r\n",
                   (unsigned long long)atomic_load(&r->shown.total),
                   (unsigned long long)atomic_load(&r->shown.spooled));
    if (!up)
        buf_printf(b, "master_link_down_since_seconds:%lld\r\nlarder_master_link_stage:%s\r\n",
                   (long long)(now - atomic_load(&r->shown.down_since_ms)) / 1000,
                   link_state_name((enum link_state)state));
    const struct config *cfg = &r->server->config;
    buf_printf(b, "slave_priority:%lld\r\nslave_read_only:%d\r\nreplica_announced:%d\r\n",
               (long long)cfg->replica_priority, cfg->replica_read_only, cfg->replica_announced);
}

static void put_feeds(struct repl *r, struct buf *b)
{
    struct config *cfg = &r->server->config;
    unsigned n = 0;
    int64_t now = os_wall_ms();
    struct buf lines;
    buf_init(&lines);
    pthread_mutex_lock(&r->mutex);
    for (const struct feed *f = r->feeds; f != NULL; f = f->next, n++) {
        bool online = atomic_load(&f->state) == FEED_STREAM;
        buf_printf(&lines, "slave%u:ip=%s,port=%u,state=%s,offset=%llu,lag=%lld\r\n", n, f->ip,
                   f->joiner.port, feed_state_name(f), (unsigned long long)atomic_load(&f->ack),
                   online ? (long long)(now - atomic_load(&f->ack_ms)) / 1000 : 0LL);
    }
    pthread_mutex_unlock(&r->mutex);
    buf_printf(b, "connected_slaves:%u\r\n", n);
    if (cfg->min_replicas_to_write > 0)
        buf_printf(b, "min_slaves_good_slaves:%u\r\n",
                   repl_feeds_acked(r, 0, now - (cfg->min_replicas_max_lag + 1) * 1000));
    buf_puts(b, buf_str(&lines));
    buf_release(&lines);
}

/* In a round. */
void repl_put_info(struct server *s, struct buf *b)
{
    struct repl *r = &s->repl;
    struct changelog *log = &r->log;
    bool on = changelog_is_on(log);
    uint64_t begin = changelog_begin(log), head = changelog_head(log);
    buf_printf(b, "role:%s\r\n", r->is_replica ? "slave" : "master");
    if (r->is_replica)
        put_as_replica(r, b);
    else
        buf_printf(b, "larder_restarted_behind:%d\r\nlarder_replicas_ahead_refused:%llu\r\n", r->lost_history,
                   (unsigned long long)atomic_load(&r->shown.ahead));
    put_feeds(r, b);
    struct lineage l;
    repl_lineage_get(r, &l);
    buf_printf(b, "larder_dataset_id:%s\r\nlarder_epoch:%llu\r\n", l.dataset, (unsigned long long)l.epoch);
    buf_printf(b,
               "master_failover_state:%s\r\nmaster_replid:%s\r\n"
               "master_replid2:%s\r\nmaster_repl_offset:%llu\r\nsecond_repl_offset:%lld\r\n"
               "repl_backlog_active:%d\r\nrepl_backlog_size:%lld\r\nrepl_backlog_first_byte_offset:%llu\r\n"
               "repl_backlog_histlen:%llu\r\n",
               failover_state_name(&r->failover), r->history.id, r->history.id2, (unsigned long long)head,
               (long long)r->history.second, on, (long long)s->config.repl_backlog_size,
               (unsigned long long)(on ? begin + 1 : 0), (unsigned long long)(on ? head - begin : 0));
}
