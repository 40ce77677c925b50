#include "server/purge.h"

#include "base/alloc.h"
#include "cache/cache.h"
#include "cache/note.h"
#include "cmd/effect.h"
#include "server/handlers.h"
#include "server/repl.h"
#include "server/server.h"

#include <stdio.h>

static void put(struct reply *r, const char *name, uint64_t n)
{
    reply_cstr(r, name);
    reply_int(r, (int64_t)n);
}

void purge_reply(struct reply *r, const struct purge_tally *t, struct str targets)
{
    static const uint8_t fields[] = {
        [REPLY_TAG] = 4, [REPLY_MATCH] = 5, [REPLY_TAG_HERE] = 4, [REPLY_MATCH_HERE] = 6};
    reply_map(r, fields[t->form] + (targets.n > 0));
    if (t->form == REPLY_MATCH) {
        reply_cstr(r, "job");
        reply_bulk(r, str_of(t->id));
    }
    put(r, "shards", t->shards);
    put(r, "acked", t->acked);
    put(r, "pending", t->shards - t->acked - t->unsupported);
    put(r, "unsupported", t->unsupported);
    if (t->form == REPLY_MATCH_HERE) {
        put(r, "swept", t->swept);
        put(r, "matched", t->matched);
    }
    if (targets.n == 0)
        return;
    reply_cstr(r, "targets");
    reply_array(r, targets.n / VIEW_ID);
    for (size_t at = 0; at < targets.n; at += VIEW_ID)
        reply_bulk(r, (struct str){targets.p + at, VIEW_ID});
}

static void asker_free(struct asker *a)
{
    if (a == NULL)
        return;
    buf_release(&a->targets);
    mem_free(a);
}

void purge_come_home(struct worker *w, struct mail *m)
{
    struct asker *a = container_of(m, struct asker, mail);
    struct conn *c = a->conn;
    if (c->state != CONN_ZOMBIE) {
        struct reply *r = conn_reply(c);
        r->mute = a->mute;
        if (a->error != NULL)
            reply_error(r, a->error);
        else
            purge_reply(r, &a->tally, buf_str(&a->targets));
        r->mute = false;
        if (a->offset > c->written)
            c->written = a->offset;
    }
    asker_free(a);
    conn_unpark(c);
}

static void send_home(struct purge *p)
{
    struct asker *a = p->asker;
    p->asker = NULL;
    if (a != NULL)
        worker_mail(a->home, &a->mail);
}

void purge_free(struct purge *p)
{
    if (p == NULL)
        return;
    buf_release(&p->command);
    buf_release(&p->again);
    mem_free(p->tags);
    mem_free(p->glob);
    mem_free(p->peer_matched);
    asker_free(p->asker);
    mem_free(p);
}

void purge_letter_free(struct repl_letter *l)
{
    purge_free(container_of(l, struct purge, letter));
}

/* ---- here -------------------------------------------------------------------------------------------- */

static uint32_t count_feeds(const struct repl *r, uint64_t offset, uint32_t *acked)
{
    uint32_t n = 0;
    *acked = 0;
    for (const struct feed *f = r->feeds; f != NULL; f = f->next) {
        n += feed_state(f) != FEED_GONE;
        *acked += feed_state(f) == FEED_STREAM && atomic_load(&f->ack) >= offset;
    }
    return n;
}

static uint32_t replicas_in_map(const struct cluster_view *v)
{
    uint32_t n = 0;
    for (uint32_t i = 1; v != NULL && i < v->nnodes; i++)
        n += (v->nodes[i].flags & VIEW_REPLICA) && v->nodes[i].primary == v->me;
    return n;
}

/* A replica that is lost might still take over, without the purge: in a cluster each that the map names must
 * have it, alone each that was there. */
static bool replicas_have(const struct repl *r, uint64_t offset, uint32_t there)
{
    uint32_t acked, feeds = count_feeds(r, offset, &acked), known = replicas_in_map(server_view(r->server));
    return acked == feeds && feeds >= (server_view(r->server) != NULL ? known : there);
}

bool purge_may_write(const struct repl *r)
{
    return !r->is_replica && !server_is_paused(r->server);
}

void purge_tell(struct repl *r, uint64_t tag, uint64_t seq, bool soft)
{
    char note[NOTE_MAX];
    const struct str argv[] = {STR("PING"), {note, note_purge(tag, seq, soft, note)}};
    if (changelog_is_on(&r->log))
        unit_add(&r->unit, 0, argv, ARRAY_LEN(argv));
}

void purge_applied(struct repl *r, struct purge *p)
{
    uint32_t acked;
    p->applied = true;
    p->turn = r->turn;
    p->offset = repl_offset(r);
    p->replicas = count_feeds(r, p->offset, &acked);
}

static void apply(struct repl *r, struct purge *p)
{
    for (uint32_t i = 0; i < p->ntags; i++)
        purge_tell(r, p->tags[i], cache_purge_tag(r->server->cache, p->tags[i], p->soft), p->soft);
    purge_applied(r, p);
    if (p->replicas > 0)
        repl_feeds_ask(r);
}

static bool has_it_here(struct repl *r, struct purge *p)
{
    if (p->dryrun)
        return match_count(&r->purges, p);
    if (p->confirm && !match_is_confirmed(&r->purges, p))
        p->applied = false;
    bool applied = p->applied && p->turn == r->turn;
    if (!applied && p->glob != NULL)
        p->wants_gate = purge_may_write(r);
    else if (!applied && purge_may_write(r))
        apply(r, p);
    return p->applied && p->turn == r->turn && departures_over(&r->server->departures, &p->departed) &&
           replicas_have(r, p->offset, p->replicas);
}

/* ---- for other nodes: HERE ---- */

/* False: it must be banned first, and that at the gate. */
static bool answer_here(struct purges *ps, struct purge *p)
{
    struct repl *r = ps->repl;
    struct asker *a = p->asker;
    bool here = has_it_here(r, p);
    if (p->wants_gate && p->error == NULL)
        return false;
    a->error = r->is_replica ? "READONLY You can't write against a read only replica." : p->error;
    bool swept = p->glob != NULL && match_is_swept(ps, p); /* brings p->matched up to date */
    const struct cluster_view *v = server_view(r->server);
    if (v != NULL && !p->dryrun)
        moves_targets(&r->server->moves, v, &a->targets);
    a->tally = (struct purge_tally){.form = p->glob != NULL ? REPLY_MATCH_HERE : REPLY_TAG_HERE,
                                    .shards = 1,
                                    .acked = here && !a->targets.oom,
                                    .swept = swept,
                                    .matched = p->matched};
    a->offset = p->offset;
    purge_remember(ps, p);
    send_home(p);
    purge_keep(ps, p);
    return true;
}

/* What other nodes have asked for and this one has banned by now. */
static void answer_those_here(struct purges *ps)
{
    for (struct purge **at = &ps->here; *at != NULL;) {
        struct purge *p = *at, *next = p->next;
        if (answer_here(ps, p))
            *at = next;
        else
            at = &p->next;
    }
}

/* ---- everywhere ---- */

void purge_arrives(struct purges *ps, struct repl_letter *l)
{
    struct purge *p = container_of(l, struct purge, letter);
    if (p->over) {
        purge_forget(ps, p->id);
        purge_free(p);
        return;
    }
    if (!p->spread) {
        purge_recall(ps, p);
        p->confirmed &= p->confirm; /* who is asked HERE will be asked AGAIN */
        if (!answer_here(ps, p)) {
            p->next = ps->here;
            ps->here = p;
        }
        return;
    }
    purge_ask_anew(ps, p);
    p->until_ms = ps->repl->now_ms + ps->repl->server->config.cache_purge_timeout;
    p->next = ps->first;
    ps->first = p;
    ps->follow_ms = 0;
}

static struct purge *find_open(struct purges *ps, uint64_t serial)
{
    struct purge *p = ps->first;
    while (p != NULL && p->serial != serial)
        p = p->next;
    return p;
}

void purge_unanswered(struct purges *ps, uint64_t serial, uint32_t i)
{
    struct purge *p = find_open(ps, serial);
    if (p != NULL)
        purge_set_bit(p->flying, i, false);
}

void purge_answered(struct purges *ps, uint64_t serial, uint32_t i, const struct peer_answer *a)
{
    struct purge *p = find_open(ps, serial);
    purge_unanswered(ps, serial, i);
    if (p == NULL)
        return;
    if (a->said != PEER_NOT_YET)
        purge_set_bit(a->said == PEER_HAS_IT ? p->acked : p->unsupported, i, true);
    if (p->peer_matched == NULL)
        return;
    p->peer_matched[i] = a->matched;
    purge_set_bit(p->swept, i, a->swept);
}

bool purge_asks(const struct purge *p, uint32_t i)
{
    return !purge_bit(p->unsupported, i) && !purge_bit(p->flying, i) &&
           (!purge_bit(p->acked, i) || (p->glob != NULL && !purge_bit(p->swept, i)));
}

void purge_forget_peer(struct purges *ps, uint32_t i)
{
    for (struct purge *p = ps->first; p != NULL; p = p->next) {
        purge_set_bit(p->acked, i, false);
        purge_set_bit(p->unsupported, i, false);
        purge_set_bit(p->flying, i, false);
        purge_set_bit(p->swept, i, false);
        p->confirm = p->confirmed = false; /* it may send keys before it has banned it */
    }
}

void purge_hurry(struct purges *ps)
{
    for (struct purge *p = ps->first; p != NULL; p = p->next)
        p->due_ms = 0;
}

static void go_on(struct purges *ps, struct purge *p)
{
    int64_t now = ps->repl->now_ms;
    if (now < p->due_ms)
        return;
    peers_ask(ps, p);
    p->due_ms = now + p->step_ms;
    p->step_ms = 2 * p->step_ms < PURGE_AGAIN_MS ? 2 * p->step_ms : PURGE_AGAIN_MS;
}

/* Those to whom slots of this node go are asked, too. */
static bool targets_count(struct purges *ps)
{
    struct buf ids;
    const struct cluster_view *v = server_view(ps->repl->server);
    buf_init(&ids);
    if (v != NULL)
        moves_targets(&ps->repl->server->moves, v, &ids);
    bool all = !ids.oom && peers_count(ps, buf_str(&ids));
    buf_release(&ids);
    return all;
}

static struct purge_tally count(struct purges *ps, struct purge *p, bool here)
{
    here = here && (p->dryrun || targets_count(ps));
    struct purge_tally t = {.form = p->glob != NULL ? REPLY_MATCH : REPLY_TAG,
                            .shards = ps->here_counts + ps->unplaced,
                            .acked = ps->here_counts && here};
    bool swept = p->glob == NULL || (match_is_swept(ps, p) && here) || !ps->here_counts;
    memcpy(t.id, p->id, sizeof t.id);
    t.matched = p->matched;
    for (uint32_t i = 0; i < ps->npeers; i++) {
        if (!peer_counts(ps, i))
            continue;
        t.shards++;
        t.acked += purge_bit(p->acked, i);
        t.unsupported += purge_bit(p->unsupported, i);
        if (p->glob == NULL)
            continue;
        t.matched += p->peer_matched[i];
        swept &= purge_bit(p->unsupported, i) || purge_bit(p->swept, i);
    }
    t.swept = swept;
    return t;
}

static bool is_done(const struct purge_tally *t)
{
    return t->acked + t->unsupported == t->shards;
}

void purge_ask_anew(struct purges *ps, struct purge *p)
{
    p->serial = ++ps->last_serial;
    p->due_ms = 0;
    p->step_ms = 1;
}

static void ask_all_anew(struct purges *ps, struct purge *p)
{
    for (unsigned i = 0; i < PURGE_WORDS; i++)
        p->acked[i] = p->flying[i] = p->swept[i] = 0;
    purge_ask_anew(ps, p);
}

/* All have banned it: they are asked whether they have been sent keys since. */
static void confirm(struct purges *ps, struct purge *p)
{
    p->confirm = true;
    p->told = false;
    ask_all_anew(ps, p);
}

void purge_lost_peer(struct purges *ps, uint32_t i)
{
    for (struct purge *p = ps->first; p != NULL; p = p->next)
        if (!purge_bit(p->acked, i) && !p->dryrun)
            ask_all_anew(ps, p);
}

/* True: it is over, for this node at least. It is done only by the map as it is now. */
static bool settle(struct purges *ps, struct purge *p)
{
    struct repl *r = ps->repl;
    bool here = has_it_here(r, p), late = r->now_ms >= p->until_ms;
    struct purge_tally t = count(ps, p, here);
    if (is_done(&t)) {
        peers_follow(ps);
        t = count(ps, p, here);
    }
    bool done = is_done(&t), alone = server_view(r->server) == NULL;
    if (done && !alone && p->glob != NULL && !p->dryrun && !p->confirm) {
        confirm(ps, p);
        return false;
    }
    if (done && !alone && !p->dryrun && !p->told) {
        purge_remember(ps, p);
        peers_tell_done(ps, p);
        p->told = true;
    }
    if (p->asker != NULL && (done || late || p->error != NULL)) {
        p->asker->tally = t;
        p->asker->offset = p->offset;
        p->asker->error = p->error;
        send_home(p);
    }
    bool over = (done || (late && alone)) && t.swept; /* alone, the stream does the rest by itself */
    return (p->glob != NULL && jobs_tell(ps, p, &t, over)) || p->error != NULL || over;
}

void purge_give_room(struct purges *ps, const struct purge *p)
{
    atomic_fetch_sub(&ps->nopen, 1);
    atomic_fetch_sub(&ps->open_bytes, p->command.n);
}

static void close_purge(struct purges *ps, struct purge *p)
{
    purge_give_room(ps, p);
    purge_free(p);
}

void purges_step(struct purges *ps)
{
    int64_t now = ps->repl->now_ms;
    answer_those_here(ps);
    match_step(ps);
    purges_adopt(ps);
    if (ps->first == NULL && ps->npeers == 0)
        return;
    if (ps->first != NULL && (now >= ps->follow_ms || ps->follow_ms - now > PURGE_FOLLOW_MS)) {
        peers_follow(ps);
        ps->follow_ms = now + PURGE_FOLLOW_MS;
    }
    for (struct purge *p = ps->first; p != NULL; p = p->next) {
        (void)has_it_here(ps->repl, p);
        go_on(ps, p);
    }
    peers_flush(ps);
    for (struct purge **at = &ps->first; *at != NULL;) {
        struct purge *p = *at;
        if (!settle(ps, p)) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        if (p->told && p->glob != NULL)
            peers_tell_done(ps, p); /* once more: they have been asked since how far they are */
        close_purge(ps, p);
    }
}

int purges_timeout(const struct purges *ps, int most)
{
    int64_t now = ps->repl->now_ms, until = now + most;
    int64_t counts_ms = match_due(ps);
    if (counts_ms < until)
        until = counts_ms > now ? counts_ms : now + 1; /* others have their turn in between */
    if (purges_adopt_due(ps) < until)
        until = purges_adopt_due(ps);
    for (const struct purge *p = ps->first; p != NULL; p = p->next) {
        until = p->due_ms < until ? p->due_ms : until;
        if (p->asker != NULL && p->until_ms < until)
            until = p->until_ms;
    }
    return until <= now ? 0 : (int)(until - now);
}

void purges_init(struct purges *ps, struct repl *r)
{
    ps->repl = r;
    pthread_mutex_init(&ps->jobs_mutex, NULL);
}

void purges_end(struct purges *ps)
{
    for (struct purge *p = ps->first; p != NULL; p = p->next) {
        if (p->asker != NULL)
            p->asker->error = "ERR the server ends; the purge has not reached all nodes";
        send_home(p);
    }
    for (struct purge *p = ps->here; p != NULL; p = p->next)
        send_home(p);
}

void purges_release(struct purges *ps)
{
    while (ps->here != NULL) {
        struct purge *p = ps->here;
        ps->here = p->next;
        purge_free(p);
    }
    while (ps->first != NULL) {
        struct purge *p = ps->first;
        ps->first = p->next;
        close_purge(ps, p);
    }
    peers_release(ps);
    match_release(ps);
    purges_forget_all(ps);
}
