/* The primary's side: replicas that are fed, each at a place of its own.
 *
 *      PSYNC (worker) ──mail──> arrives ──┬── +CONTINUE ────────────────────────────────┬── stream
 *                                         └── waits ── copy made ── +FULLRESYNC, file ──┘
 *
 * A copy is made once for all who wait (repl_copy.c), as of one place in the log; a reader is opened there in
 * the same breath, so the log keeps what follows until each of them has had it: in memory, then in a file. So
 * a slow replica is never cut off for being slow, and one that is in the middle of its copy does not need
 * another.
 */
#include "server/repl_feed.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"
#include "base/log.h"
#include "os/sock.h"
#include "server/repl.h"
#include "server/repl_wait.h"
#include "server/server.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- life ------------------------------------------------------------------------------ */

void feed_free(struct feed *f)
{
    if (f == NULL)
        return;
    if (f->fd >= 0)
        close(f->fd);
    if (f->copy_fd >= 0)
        close(f->copy_fd);
    buf_release(&f->in);
    buf_release(&f->out);
    mem_free(f);
}

struct feed *feed_new(int fd)
{
    struct feed *f = mem_zalloc(sizeof *f);
    if (f == NULL)
        return NULL;
    f->fd = fd;
    f->copy_fd = -1;
    buf_init(&f->in);
    buf_init(&f->out);
    return f;
}

static void set_state(struct feed *f, enum feed_state state)
{
    atomic_store_explicit(&f->state, (int)state, memory_order_relaxed);
}

static void lose(struct repl *r, struct feed *f, const char *why)
{
    if (feed_state(f) == FEED_GONE)
        return;
    log_warning("Replica %s is disconnected: %s.", f->name, why);
    set_state(f, FEED_GONE);
    if (feed_keeps_up(f))
        repl_hand_remove(r, f);
}

static void say(struct repl *r, struct feed *f, const char *text)
{
    if (buf_puts(&f->out, str_of(text)) != 0)
        lose(r, f, "out of memory");
}

/* In a round: the dead are buried. */
static void sweep(struct repl *r)
{
    for (struct feed **at = &r->feeds; *at != NULL;) {
        struct feed *f = *at;
        if (feed_state(f) != FEED_GONE) {
            at = &f->next;
            continue;
        }
        pthread_mutex_lock(&r->mutex);
        *at = f->next;
        pthread_mutex_unlock(&r->mutex);
        if (f->reading)
            changelog_reader_close(&r->log, &f->reader);
        loop_remove(r->loop, f->fd);
        loop_forget(r->loop, f);
        feed_free(f);
    }
}

void repl_feeds_release(struct repl *r)
{
    struct mpsc_node *n;
    while ((n = mpsc_pop(&r->mailbox)) != NULL) {
        struct repl_letter *l = container_of(n, struct repl_letter, node);
        if (l->kind == LETTER_FEED)
            feed_free(container_of(l, struct feed, letter));
        else if (l->kind == LETTER_PURGE)
            purge_letter_free(l);
        else
            repl_waiter_free(l);
    }
    r->hand = (struct hand){0};
    while (r->feeds != NULL) {
        struct feed *f = r->feeds;
        r->feeds = f->next;
        if (f->reading)
            changelog_reader_close(&r->log, &f->reader);
        feed_free(f);
    }
}

void repl_feeds_cut(struct repl *r, const char *why)
{
    for (struct feed *f = r->feeds; f != NULL; f = f->next)
        lose(r, f, why);
    r->copy.spoilt = true;
}

void repl_feeds_kill(struct repl *r)
{
    for (struct feed *f = r->feeds; f != NULL; f = f->next)
        if (atomic_load(&f->kill))
            lose(r, f, "killed by CLIENT KILL");
}

/* ---- arriving ---------------------------------------------------------------------------- */

/* Take part in the copy at hand. False: there is none, or it is of another history. */
static bool join_copy(struct repl *r, struct feed *f)
{
    const struct full_copy *c = &r->copy;
    char text[160];
    if (repl_copy_state(c) != COPY_GROWING || c->spoilt ||
        changelog_reader_open(&r->log, &f->reader, c->offset) != 0)
        return false;
    f->reading = true;
    f->copy_grows = true;
    f->copy_at = 0;
    f->copy_fd = dup(c->fd);
    if (f->copy_fd < 0) {
        lose(r, f, "no descriptor for its copy");
        return true;
    }
    if (!f->wants_sync_only) {
        snprintf(text, sizeof text, "+FULLRESYNC %s %llu\r\n", c->id, (unsigned long long)c->offset);
        say(r, f, text);
    }
    if (f->joiner.knows_eof) {
        memcpy(f->mark, c->mark, sizeof f->mark);
        snprintf(text, sizeof text, "$EOF:%s\r\n", c->mark);
        say(r, f, text);
    }
    set_state(f, FEED_COPY);
    atomic_fetch_add(&r->shown.full, 1);
    return true;
}

static bool go_on(struct repl *r, struct feed *f)
{
    char text[64];
    if (!r->has_history || !joiner_goes_on(&f->wish, &r->history, &r->log, &f->reader))
        return false;
    f->reading = true;
    snprintf(text, sizeof text, f->joiner.knows_psync2 ? "+CONTINUE %s\r\n" : "+CONTINUE\r\n", r->history.id);
    say(r, f, text);
    set_state(f, FEED_STREAM);
    atomic_fetch_add(&r->shown.partial_ok, 1);
    log_notice("Replica %s goes on from offset %lld.", f->name, (long long)f->wish.from - 1);
    return true;
}

static void answer(struct repl *r, struct feed *f)
{
    if (f->hands_over) {
        say(r, f, "-");
        say(r, f, failover_refusal(r, str_of(f->wish.id)));
        say(r, f, "\r\n");
        f->last_words = true;
        return;
    }
    if (go_on(r, f))
        return;
    if (f->wish.has_history)
        atomic_fetch_add(&r->shown.partial_err, 1);
    if (r->is_replica && !atomic_load(&r->link_up)) {
        say(r, f, "-NOMASTERLINK Can't SYNC while not connected with my master\r\n");
        f->last_words = true;
        return;
    }
    set_state(f, FEED_WAIT);
    log_notice("Replica %s needs a full copy.", f->name);
    (void)join_copy(r, f);
}

void repl_feed_comes(struct repl *r, struct feed *f)
{
    if (f->hands_over)
        failover_claimed(r, f);
    else
        repl_feed_arrives(r, f);
}

/* In a round of this thread. */
void repl_feed_arrives(struct repl *r, struct feed *f)
{
    pthread_mutex_lock(&r->mutex);
    f->next = r->feeds;
    r->feeds = f;
    pthread_mutex_unlock(&r->mutex);
    atomic_store(&f->ack_ms, r->now_ms);
    f->heard_ms = f->came_ms = f->moved_ms = r->now_ms;
    if (loop_add(r->loop, f->fd, LOOP_READ, f) != 0) {
        set_state(f, FEED_GONE);
        return;
    }
    f->interest = LOOP_READ;
    answer(r, f);
}

/* ---- a copy for all who wait ------------------------------------------------------------------ */

/* Does somebody wait for a copy, and have others had their time to come, too? */
bool repl_feeds_wait(const struct repl *r)
{
    const struct config *cfg = &r->server->config;
    int64_t since_ms = r->now_ms, waiting = 0;
    for (const struct feed *f = r->feeds; f != NULL; f = f->next) {
        if (feed_state(f) != FEED_WAIT)
            continue;
        waiting++;
        since_ms = f->came_ms < since_ms ? f->came_ms : since_ms;
    }
    bool enough = cfg->repl_diskless_sync_max_replicas > 0 && waiting >= cfg->repl_diskless_sync_max_replicas;
    return waiting > 0 && (!cfg->repl_diskless_sync || enough ||
                           r->now_ms - since_ms >= (int64_t)cfg->repl_diskless_sync_delay * 1000);
}

static void join_waiting(struct repl *r)
{
    for (struct feed *f = r->feeds; f != NULL; f = f->next)
        if (feed_state(f) == FEED_WAIT)
            (void)join_copy(r, f);
}

/* Gate, on the lane's thread. */
void repl_feeds_copy(struct repl *r)
{
    if (r->is_replica && !(r->has_history && atomic_load(&r->link_up)))
        return; /* the role has changed since; they will be told */
    if (!r->is_replica) {
        repl_log_on(r);
        changelog_forget_db(&r->log);
    }
    bool begun = repl_copy_begin(r) == 0;
    for (struct feed *f = r->feeds; f != NULL && !begun; f = f->next)
        if (feed_state(f) == FEED_WAIT)
            lose(r, f, "its full copy cannot be made");
    join_waiting(r);
}

/* In a round: the copy at hand has come to its end, good or bad. */
static void end_copy(struct repl *r)
{
    struct full_copy *c = &r->copy;
    uint64_t bytes = atomic_load(&c->bytes);
    char text[32];
    snprintf(text, sizeof text, "$%llu\r\n", (unsigned long long)bytes);
    for (struct feed *f = r->feeds; f != NULL; f = f->next) {
        if (!f->copy_grows)
            continue;
        f->copy_grows = false;
        f->copy_n = bytes;
        if (repl_copy_state(c) == COPY_FAILED)
            lose(r, f, "its full copy cannot be made");
        else if (!f->joiner.knows_eof)
            say(r, f, text);
    }
    changelog_reader_close(&r->log, &c->anchor);
    c->over = true;
}

static bool copy_is_wanted(const struct repl *r)
{
    bool wanted = false;
    for (const struct feed *f = r->feeds; f != NULL; f = f->next)
        wanted |= f->copy_grows;
    return wanted;
}

/* ---- sending ---------------------------------------------------------------------------------- */

static void set_interest(struct repl *r, struct feed *f, unsigned interest)
{
    if (f->interest != interest)
        loop_change(r->loop, f->fd, interest, f);
    f->interest = interest;
}

int feed_send(struct repl *r, struct feed *f, bool more)
{
    int flags = MSG_NOSIGNAL | (more ? MSG_MORE : 0);
    while (f->sent < f->out.n) {
        ssize_t n = send(f->fd, f->out.p + f->sent, f->out.n - f->sent, flags);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? ERR_AGAIN : ERR_IO;
        f->sent += (size_t)n;
        atomic_fetch_add_explicit(&r->shown.net_out, (uint64_t)n, memory_order_relaxed);
    }
    buf_clear(&f->out);
    f->sent = 0;
    return 0;
}

/* True when all of it is gone. */
static bool send_out(struct repl *r, struct feed *f)
{
    size_t before = f->sent;
    int rc = feed_send(r, f, false);
    if (rc == 0 || f->sent != before)
        f->moved_ms = r->now_ms;
    if (rc == ERR_IO)
        lose(r, f, strerror(errno));
    return rc == 0;
}

static void begin_stream(struct repl *r, struct feed *f)
{
    set_state(f, FEED_STREAM);
    atomic_store(&f->ack_ms, r->now_ms);
    log_notice("Replica %s has its full copy.", f->name);
}

/* All of it is in `out`. Redis looks for the mark at the end of what a read brings, so nothing may follow it
 * before the replica has acknowledged the copy. */
static void copy_is_sent(struct repl *r, struct feed *f)
{
    close(f->copy_fd);
    f->copy_fd = -1;
    f->last_words = f->joiner.rdb_only;
    set_state(f, FEED_LOAD);
    if (f->joiner.knows_eof)
        say(r, f, f->mark);
    else if (!f->last_words)
        begin_stream(r, f);
}

/* The next piece of its copy, into `out`, which has room. False: there is none yet. */
static bool next_of_copy(struct repl *r, struct feed *f)
{
    if (f->copy_grows && !f->joiner.knows_eof)
        return false; /* it wants to know the length first */
    uint64_t left = (f->copy_grows ? atomic_load(&r->copy.bytes) : f->copy_n) - f->copy_at;
    ssize_t n = pread(f->copy_fd, f->out.p, left < REPL_READ_SIZE ? left : REPL_READ_SIZE, (off_t)f->copy_at);
    if (n < 0 || (n == 0 && left > 0)) {
        lose(r, f, "the file with its copy cannot be read");
        return false;
    }
    f->out.n = (size_t)n;
    f->copy_at += (uint64_t)n;
    if ((uint64_t)n == left && !f->copy_grows)
        copy_is_sent(r, f);
    return f->out.n > 0;
}

/* The next piece of the file or of the log, into `out`. False: there is none. */
static bool next_piece(struct repl *r, struct feed *f)
{
    if (buf_reserve(&f->out, REPL_READ_SIZE) != 0) {
        lose(r, f, "out of memory");
        return false;
    }
    if (feed_state(f) == FEED_COPY)
        return next_of_copy(r, f);
    if (feed_state(f) == FEED_LOAD || !f->reading)
        return false;
    int64_t n = changelog_read(&r->log, &f->reader, f->out.p, REPL_READ_SIZE);
    if (n < 0)
        lose(r, f,
             n == ERR_IO ? "the log's file cannot be read"
                         : "the log goes on without it: the disk is full, or a new history began");
    f->out.n = n > 0 ? (size_t)n : 0;
    return n > 0;
}

static void feed_push(struct repl *r, struct feed *f)
{
    size_t most = REPL_SEND_MAX;
    bool done = send_out(r, f);
    if (done && f->last_words) {
        set_state(f, FEED_GONE);
        return;
    }
    bool more = true;
    while (done && more && most >= REPL_READ_SIZE && feed_state(f) >= FEED_COPY) {
        bool streams = feed_state(f) == FEED_STREAM;
        more = next_piece(r, f) && !(streams && f->out.n < REPL_READ_SIZE); /* that was all of the log */
        done = send_out(r, f);
        most -= REPL_READ_SIZE;
    }
    r->more_to_feed |= done && most < REPL_READ_SIZE;
    atomic_store_explicit(&f->unsent, f->out.n - f->sent, memory_order_relaxed);
    if (feed_state(f) != FEED_GONE)
        set_interest(r, f, LOOP_READ | (done ? 0 : LOOP_WRITE));
    if (done && !more && feed_state(f) == FEED_STREAM)
        repl_hand_add(r, f);
}

/* ---- what replicas say -------------------------------------------------------------------------- */

static void acknowledged(struct repl *r, struct feed *f, const struct joiner_ack *ack)
{
    if (feed_state(f) == FEED_LOAD)
        begin_stream(r, f);
    atomic_store(&f->ack, ack->offset);
    atomic_store(&f->fack, ack->fsynced);
    atomic_store(&f->ack_ms, r->now_ms);
    if (!r->log_frozen)
        return;
    pthread_mutex_lock(&r->mutex);
    pthread_cond_signal(&r->acked);
    pthread_mutex_unlock(&r->mutex);
}

static void read_requests(struct repl *r, struct feed *f)
{
    struct joiner_ack ack;
    size_t used;
    int rc = joiner_acks(buf_str(&f->in), repl_offset(r), &r->arena, &ack, &used);
    if (rc != 0)
        lose(r, f,
             rc == ERR_RANGE ? "it acknowledges what was never sent" : "it does not speak the protocol");
    else if (ack.any)
        acknowledged(r, f, &ack);
    buf_consume(&f->in, used);
}

static void feed_receive(struct repl *r, struct feed *f)
{
    if (f->in.n >= JOINER_INPUT_MAX || buf_reserve(&f->in, FEED_READ) != 0) {
        lose(r, f, "it talks too much");
        return;
    }
    ssize_t n = recv(f->fd, f->in.p + f->in.n, FEED_READ, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        lose(r, f, n == 0 ? "it closed the connection" : strerror(errno));
        return;
    }
    f->heard_ms = r->now_ms;
    f->in.n += (size_t)n;
    read_requests(r, f);
}

void repl_feed_event(struct repl *r, struct feed *f, const struct loop_event *ev)
{
    if (feed_state(f) != FEED_GONE && (ev->readable || ev->hangup))
        feed_receive(r, f);
}

/* ---- every round, and now and then --------------------------------------------------------------- */

void repl_feeds_push(struct repl *r)
{
    r->more_to_feed = false;
    if (repl_copy_state(&r->copy) >= COPY_WHOLE && !r->copy.over)
        end_copy(r);
    else if (repl_copy_state(&r->copy) == COPY_GROWING && (r->copy.spoilt || !copy_is_wanted(r)))
        repl_copy_give_up(r);
    for (struct feed *f = r->feeds; f != NULL; f = f->next)
        if (feed_state(f) != FEED_GONE && !feed_keeps_up(f) && !(f->interest & LOOP_WRITE))
            feed_push(r, f);
    r->owes = !repl_hand(r, changelog_published(&r->log), false) || !repl_push(r);
    sweep(r);
}

void repl_feed_writable(struct repl *r, struct feed *f)
{
    if (feed_state(f) != FEED_GONE && !feed_keeps_up(f))
        feed_push(r, f);
}

static void check_timeouts(struct repl *r)
{
    int64_t timeout_ms = (int64_t)r->server->config.repl_timeout * 1000;
    for (struct feed *f = r->feeds; f != NULL; f = f->next) {
        bool idle = feed_keeps_up(f) || f->out.n == 0;
        if (idle)
            f->moved_ms = r->now_ms; /* there is nothing that it could take */
        if (r->now_ms - f->moved_ms > timeout_ms)
            lose(r, f, "it has taken nothing of what there is for 'repl-timeout' seconds");
        if (feed_state(f) == FEED_STREAM && r->now_ms - atomic_load(&f->ack_ms) > timeout_ms && idle)
            lose(r, f, "it has acknowledged nothing for 'repl-timeout' seconds");
        if (feed_state(f) == FEED_WAIT && r->is_replica && !atomic_load(&r->link_up))
            answer(r, f);
    }
}

void repl_feeds_check_good(struct repl *r, int64_t now_ms)
{
    const struct config *cfg = &r->server->config;
    int64_t want = cfg->min_replicas_to_write, lag = cfg->min_replicas_max_lag;
    bool few = want > 0 && lag > 0 && !r->is_replica &&
               (int64_t)repl_feeds_acked(r, 0, now_ms - (lag + 1) * 1000 + 1) < want;
    bool now = (atomic_load(&r->server->care) & CARE_FEW_REPLICAS) != 0;
    if (few != now)
        server_care_set(r->server, CARE_FEW_REPLICAS, few);
}

/* Who waits for its copy hears that we are there: an empty line, which means nothing in this place. */
static void comfort(struct repl *r)
{
    for (struct feed *f = r->feeds; f != NULL; f = f->next)
        if ((feed_state(f) == FEED_WAIT ||
             (feed_state(f) == FEED_COPY && f->copy_grows && !f->joiner.knows_eof)) &&
            f->out.n == 0)
            say(r, f, "\n");
}

/* A Redis that is to take over in a cluster waits for the very offset that it was told. */
static bool is_final(const struct repl *r)
{
    return r->log_frozen || pause_is_on(r->server, PAUSE_FAILOVER);
}

/* The stream is kept alive, which also tells replicas that we are. */
static void ping(struct repl *r)
{
    const struct str argv[] = {STR("PING")};
    bool quiet = is_final(r) || (failover_state(&r->failover) != FAILOVER_NONE && r->failover.until_ms != 0);
    int64_t period_ms = (int64_t)r->server->config.repl_ping_replica_period * 1000;
    if (r->is_replica || r->feeds == NULL || !changelog_is_on(&r->log) ||
        r->now_ms - r->pinged_ms < period_ms || quiet)
        return; /* quiet: the target is to have everything before the time is over */
    r->pinged_ms = r->now_ms;
    unit_add(&r->unit, 0, argv, 1);
}

void repl_feeds_ask(struct repl *r)
{
    const struct str ask[] = {STR("REPLCONF"), STR("GETACK"), STR("*")};
    if (!r->is_replica && changelog_is_on(&r->log) && r->feeds != NULL && !is_final(r))
        unit_add(&r->unit, 0, ask, ARRAY_LEN(ask));
}

void repl_feeds_cron(struct repl *r)
{
    check_timeouts(r);
    repl_feeds_check_good(r, r->now_ms);
    ping(r);
    if (r->now_ms >= r->comfort_ms) {
        r->comfort_ms = r->now_ms + REPL_COMFORT_MS;
        comfort(r);
    }
    if (r->feeds != NULL || r->is_replica || !changelog_is_on(&r->log) ||
        atomic_load(&r->server->moves.reads_log))
        r->alone_since_ms = r->now_ms;
}

/* Gate: the role may have changed since the round. */
static void log_off_if_unused(struct repl *r)
{
    if (!r->is_replica && r->feeds == NULL && !atomic_load(&r->server->moves.reads_log))
        repl_log_off(r);
}

void repl_feeds_plan(struct repl *r, struct repl_todo *t)
{
    int64_t ttl = r->server->config.repl_backlog_ttl;
    t->mend = changelog_is_broken(&r->log);
    t->copy = repl_copy_state(&r->copy) == COPY_NONE && repl_feeds_wait(r);
    t->forget = repl_copy_state(&r->copy) >= COPY_WHOLE && r->copy.over;
    if (t->copy || t->forget)
        t->timeout_ms = 0;
    t->log_off = ttl > 0 && changelog_is_on(&r->log) && r->now_ms - r->alone_since_ms > ttl * 1000;
}

void repl_feeds_outside(struct repl *r)
{
    if (r->todo.mend)
        (void)repl_alone(r, repl_log_mend);
    else if (r->todo.copy)
        (void)repl_alone(r, repl_feeds_copy);
    else if (r->todo.log_off)
        (void)repl_alone(r, log_off_if_unused);
    if (r->todo.forget)
        repl_copy_forget(r);
}
