#include "server/purge.h"

#include "base/alloc.h"
#include "cache/cache.h"
#include "cache/note.h"
#include "cmd/effect.h"
#include "server/handlers.h"
#include "server/repl.h"
#include "server/server.h"

#include <stdio.h>

/* A client that waits, and what it is told. */
struct asker {
    struct mail mail; /* the way home */
    struct conn *conn;
    struct worker *home;
    bool mute;
    const char *error; /* NULL: the numbers */
    uint32_t shards, acked, unsupported;
    uint64_t offset;
};

static void reply_counts(struct reply *r, uint32_t shards, uint32_t acked, uint32_t unsupported)
{
    reply_map(r, 4);
    reply_cstr(r, "shards");
    reply_int(r, shards);
    reply_cstr(r, "acked");
    reply_int(r, acked);
    reply_cstr(r, "pending");
    reply_int(r, shards - acked - unsupported);
    reply_cstr(r, "unsupported");
    reply_int(r, unsupported);
}

static void come_home(struct worker *w, struct mail *m)
{
    struct asker *a = container_of(m, struct asker, mail);
    struct conn *c = a->conn;
    if (c->state != CONN_ZOMBIE) {
        struct reply *r = conn_reply(c);
        r->mute = a->mute;
        if (a->error != NULL)
            reply_error(r, a->error);
        else
            reply_counts(r, a->shards, a->acked, a->unsupported);
        r->mute = false;
        if (a->offset > c->written)
            c->written = a->offset;
    }
    mem_free(a);
    conn_unpark(c);
}

static void send_home(struct purge *p)
{
    struct asker *a = p->asker;
    p->asker = NULL;
    if (a != NULL)
        worker_mail(a->home, &a->mail);
}

static void purge_free(struct purge *p)
{
    if (p == NULL)
        return;
    buf_release(&p->command);
    mem_free(p->tags);
    mem_free(p->asker);
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

/* While the role is being handed over nothing may be added to the stream. */
static bool may_write(const struct repl *r)
{
    const uint32_t paused = CARE_FAILOVER | CARE_PAUSE;
    return !r->is_replica && !(atomic_load_explicit(&r->server->care, memory_order_relaxed) & paused);
}

void purge_tell(struct repl *r, uint64_t tag, uint64_t seq, bool soft)
{
    char note[NOTE_MAX];
    const struct str argv[] = {STR("PING"), {note, note_purge(tag, seq, soft, note)}};
    if (changelog_is_on(&r->log))
        unit_add(&r->unit, 0, argv, ARRAY_LEN(argv));
}

static void apply(struct repl *r, struct purge *p)
{
    for (uint32_t i = 0; i < p->ntags; i++)
        purge_tell(r, p->tags[i], cache_purge_tag(r->server->cache, p->tags[i], p->soft), p->soft);
    uint32_t acked;
    p->applied = true;
    p->turn = r->turn;
    p->offset = repl_offset(r);
    p->replicas = count_feeds(r, p->offset, &acked);
    if (p->replicas > 0)
        repl_feeds_ask(r);
}

static bool has_it_here(struct repl *r, struct purge *p)
{
    if ((!p->applied || p->turn != r->turn) && may_write(r))
        apply(r, p);
    return p->applied && p->turn == r->turn && replicas_have(r, p->offset, p->replicas);
}

/* ---- for other nodes: HERE ---- */

static struct purge_seen *find_seen(struct purges *ps, const struct purge *p)
{
    for (uint32_t i = 0; ps->seen != NULL && i < PURGE_SEEN; i++)
        if (strcmp(ps->seen[i].id, p->id) == 0)
            return &ps->seen[i];
    return NULL;
}

/* Without memory, or once it is forgotten, it purges again when it is asked again: too much, never too
 * little.
 */
static void remember(struct purges *ps, const struct purge *p)
{
    if (ps->seen == NULL)
        ps->seen = mem_zalloc(PURGE_SEEN * sizeof *ps->seen);
    if (ps->seen == NULL || !p->applied)
        return;
    struct purge_seen *s = find_seen(ps, p);
    if (s == NULL)
        s = &ps->seen[ps->next_seen++ % PURGE_SEEN];
    *s = (struct purge_seen){.turn = p->turn, .offset = p->offset, .replicas = p->replicas};
    memcpy(s->id, p->id, sizeof s->id);
}

static void answer_here(struct purges *ps, struct purge *p)
{
    struct repl *r = ps->repl;
    struct asker *a = p->asker;
    const struct purge_seen *s = find_seen(ps, p);
    if (s != NULL) {
        p->applied = true;
        p->turn = s->turn;
        p->offset = s->offset;
        p->replicas = s->replicas;
    }
    if (r->is_replica)
        a->error = "READONLY You can't write against a read only replica.";
    a->shards = 1;
    a->acked = has_it_here(r, p);
    a->offset = p->offset;
    remember(ps, p);
    send_home(p);
    purge_free(p);
}

/* ---- everywhere ---- */

void purge_arrives(struct purges *ps, struct repl_letter *l)
{
    struct purge *p = container_of(l, struct purge, letter);
    if (!p->spread) {
        answer_here(ps, p);
        return;
    }
    p->serial = ++ps->last_serial;
    p->until_ms = ps->repl->now_ms + ps->repl->server->config.cache_purge_timeout;
    p->step_ms = 1;
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

void purge_answered(struct purges *ps, uint64_t serial, uint32_t i, enum peer_answer a)
{
    struct purge *p = find_open(ps, serial);
    purge_unanswered(ps, serial, i);
    if (p != NULL && a != PEER_NOT_YET)
        purge_set_bit(a == PEER_HAS_IT ? p->acked : p->unsupported, i, true);
}

void purge_forget_peer(struct purges *ps, uint32_t i)
{
    for (struct purge *p = ps->first; p != NULL; p = p->next) {
        purge_set_bit(p->acked, i, false);
        purge_set_bit(p->unsupported, i, false);
        purge_set_bit(p->flying, i, false);
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

struct tally {
    uint32_t shards, acked, unsupported;
};

static struct tally count(struct purges *ps, struct purge *p, bool here)
{
    struct tally t = {.shards = ps->here_counts + ps->unplaced, .acked = ps->here_counts && here};
    for (uint32_t i = 0; i < ps->npeers; i++) {
        if (!peer_counts(ps, i))
            continue;
        t.shards++;
        t.acked += purge_bit(p->acked, i);
        t.unsupported += purge_bit(p->unsupported, i);
    }
    return t;
}

static bool is_done(const struct tally *t)
{
    return t->acked + t->unsupported == t->shards;
}

/* True: it is over, for this node at least. It is done only by the map as it is now. */
static bool settle(struct purges *ps, struct purge *p)
{
    struct repl *r = ps->repl;
    bool here = has_it_here(r, p), late = r->now_ms >= p->until_ms;
    struct tally t = count(ps, p, here);
    if (is_done(&t)) {
        peers_follow(ps);
        t = count(ps, p, here);
    }
    bool done = is_done(&t);
    if (p->asker != NULL && (done || late)) {
        p->asker->shards = t.shards;
        p->asker->acked = t.acked;
        p->asker->unsupported = t.unsupported;
        p->asker->offset = p->offset;
        send_home(p);
    }
    return done || (late && server_view(r->server) == NULL); /* alone, the stream does the rest by itself */
}

static void give_room(struct purges *ps, const struct purge *p)
{
    atomic_fetch_sub(&ps->nopen, 1);
    atomic_fetch_sub(&ps->open_bytes, p->command.n);
}

static void close_purge(struct purges *ps, struct purge *p)
{
    give_room(ps, p);
    purge_free(p);
}

void purges_step(struct purges *ps)
{
    int64_t now = ps->repl->now_ms;
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
        close_purge(ps, p);
    }
}

int purges_timeout(const struct purges *ps, int most)
{
    int64_t now = ps->repl->now_ms, until = now + most;
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
}

void purges_end(struct purges *ps)
{
    for (struct purge *p = ps->first; p != NULL; p = p->next) {
        if (p->asker != NULL)
            p->asker->error = "ERR the server ends; the purge has not reached all nodes";
        send_home(p);
    }
}

void purges_release(struct purges *ps)
{
    while (ps->first != NULL) {
        struct purge *p = ps->first;
        ps->first = p->next;
        close_purge(ps, p);
    }
    peers_release(ps);
    mem_free(ps->seen);
    ps->seen = NULL;
}

/* ---- the command ---- */

struct asked {
    bool here, soft;
    struct str id;
    uint32_t from, end; /* of the tags in argv */
};

static bool refuse(struct cmd_ctx *c, const char *text)
{
    reply_error(c->reply, text);
    return false;
}

/* TAG tag ... [SOFT], or HERE id TAG tag ... [SOFT] */
static bool parse(struct cmd_ctx *c, struct asked *q)
{
    size_t bytes = 0;
    if (cmd_arg_is(c, 1, STR("MATCH")))
        return refuse(c,
                      "ERR CACHE.PURGE MATCH is not in this version yet; give values tags, and purge by TAG");
    *q = (struct asked){.here = cmd_arg_is(c, 1, STR("HERE")), .end = c->argc};
    uint32_t at = q->here ? 3 : 1;
    q->from = at + 1;
    if (q->from >= c->argc || !cmd_arg_is(c, at, STR("TAG")))
        return refuse(c, "ERR cache.purge purges by TAG: CACHE.PURGE TAG tag [tag ...] [SOFT]");
    if (q->here) {
        q->id = c->argv[2];
        if (q->id.n == 0 || q->id.n > PURGE_ID_MAX || memchr(q->id.p, '\0', q->id.n) != NULL)
            return refuse(c,
                          "ERR HERE takes the purge's id, of 1 to 64 bytes; nodes use it among themselves");
    }
    q->soft = q->end > q->from + 1 && cmd_arg_is(c, q->end - 1, STR("SOFT"));
    q->end -= q->soft;
    for (uint32_t i = q->from; i < q->end; i++)
        bytes += c->argv[i].n;
    if (q->end - q->from > PURGE_TAGS_MAX || bytes > PURGE_BYTES_MAX)
        return refuse(
            c, "ERR cache.purge takes 4096 tags of 1 MB altogether at a time; send the rest in another one");
    return true;
}

/* As other nodes are asked for it. */
static bool put_command(struct purge *p, const struct cmd_ctx *c, const struct asked *q)
{
    uint32_t n = q->end - q->from, argc = 0;
    struct str *argv = arena_alloc(c->arena, (n + 5) * sizeof *argv);
    if (argv == NULL)
        return false;
    argv[argc++] = STR("CACHE.PURGE");
    argv[argc++] = STR("HERE");
    argv[argc++] = str_of(p->id);
    argv[argc++] = STR("TAG");
    for (uint32_t i = q->from; i < q->end; i++)
        argv[argc++] = c->argv[i];
    if (q->soft)
        argv[argc++] = STR("SOFT");
    return unit_put_command(&p->command, argv, argc) == 0;
}

static bool set_id(struct purge *p, struct server *s, const struct asked *q)
{
    if (q->here) {
        memcpy(p->id, q->id.p, q->id.n);
        return true;
    }
    uint64_t n = atomic_fetch_add(&s->repl.purges.next_id, 1) + 1;
    return snprintf(p->id, sizeof p->id, "%s:%llu", s->run_id, (unsigned long long)n) < (int)sizeof p->id;
}

static struct purge *purge_new(struct cmd_ctx *c, const struct asked *q)
{
    struct purge *p = mem_zalloc(sizeof *p);
    if (p == NULL)
        return NULL;
    buf_init(&p->command);
    p->letter.kind = LETTER_PURGE;
    p->soft = q->soft;
    p->spread = !q->here;
    p->ntags = q->end - q->from;
    p->tags = mem_alloc(p->ntags * sizeof *p->tags);
    if (p->tags == NULL || !set_id(p, ctx_server(c), q) || (p->spread && !put_command(p, c, q))) {
        purge_free(p);
        return NULL;
    }
    for (uint32_t i = 0; i < p->ntags; i++)
        p->tags[i] = meta_tag_hash(c->argv[q->from + i]);
    return p;
}

static bool take_room(struct purges *ps, const struct purge *p)
{
    uint32_t n = atomic_fetch_add(&ps->nopen, 1);
    uint64_t bytes = atomic_fetch_add(&ps->open_bytes, p->command.n);
    if (n < PURGE_OPEN_MAX && bytes < PURGE_OPEN_BYTES)
        return true;
    give_room(ps, p);
    return false;
}

/* To the replication thread; wait: the client hears when it is done. */
static bool send_off(struct cmd_ctx *c, const struct asked *q, bool wait)
{
    struct repl *r = &ctx_server(c)->repl;
    struct conn *conn = ctx_conn(c);
    struct purge *p = purge_new(c, q);
    struct asker *a = wait && p != NULL ? mem_zalloc(sizeof *a) : NULL;
    if (p == NULL || (wait && a == NULL)) {
        purge_free(p);
        cmd_reply_err(c, ERR_OOM);
        return false;
    }
    p->asker = a;
    if (p->spread && !take_room(&r->purges, p)) {
        purge_free(p);
        return refuse(c,
                      "ERR too many purges wait for nodes that do not answer; nothing is purged by this one. "
                      "See CLUSTER NODES, and try again");
    }
    if (wait) {
        *a = (struct asker){
            .mail.deliver = come_home, .conn = conn, .home = conn->worker, .mute = c->reply->mute};
        conn_park(conn, PARK_RELAY);
    }
    repl_mail(r, &p->letter.node);
    return true;
}

/* Now, by this thread; what it does is part of what its unit says. */
static void purge_now(struct cmd_ctx *c, const struct asked *q)
{
    char note[NOTE_MAX];
    for (uint32_t i = q->from; i < q->end; i++) {
        uint64_t tag = meta_tag_hash(c->argv[i]), seq = cache_purge_tag(c->cache, tag, q->soft);
        const struct str argv[] = {STR("PING"), {note, note_purge(tag, seq, q->soft, note)}};
        effect_add(c, argv, ARRAY_LEN(argv));
    }
}

/* In a transaction nobody can wait: it takes effect here with the rest, and is spread behind it. */
static void purge_in_exec(struct cmd_ctx *c, const struct asked *q)
{
    const struct cluster_view *v = server_view(ctx_server(c));
    if (v != NULL && !q->here && !send_off(c, q, false))
        return;
    purge_now(c, q);
    reply_counts(c->reply, v != NULL ? purge_shards(v) : 1, 0, 0);
}

void cmd_cache_purge(struct cmd_ctx *c)
{
    struct asked q;
    effect_none(c);
    if (!parse(c, &q))
        return;
    if (server_view(ctx_server(c)) == NULL && c->unit == NULL && !q.here) {
        purge_now(c, &q);
        reply_counts(c->reply, 1, 1, 0);
    } else if (c->in_exec) {
        purge_in_exec(c, &q);
    } else {
        (void)send_off(c, &q, true);
    }
}
