/* CACHE.PURGE: from a request to a purge, which the replication thread carries on (purge.h). */
#include "base/alloc.h"
#include "cache/cache.h"
#include "cache/note.h"
#include "cmd/cache_options.h"
#include "cmd/effect.h"
#include "server/handlers.h"
#include "server/purge.h"
#include "server/repl.h"
#include "server/server.h"

#include <stdio.h>

struct asked {
    bool here, again, soft;
    struct str id;
    uint32_t from, end; /* of the tags, or of the pattern and what follows it, in argv */
    bool match, dryrun;
    struct str glob;
    uint64_t rate;
};

static bool refuse(struct cmd_ctx *c, const char *text)
{
    reply_error(c->reply, text);
    return false;
}

/* glob [SOFT] [DRYRUN] [RATE n] */
static bool parse_match(struct cmd_ctx *c, struct asked *q)
{
    q->match = true;
    q->glob = c->argv[q->from];
    if (q->glob.n == 0 || q->glob.n > BAN_GLOB_MAX)
        return refuse(c,
                      "ERR MATCH takes a pattern of 1 to 1024 bytes, as KEYS does: CACHE.PURGE MATCH user:*");
    for (uint32_t i = q->from + 1; i < c->argc; i++) {
        int64_t rate;
        bool *flag = cmd_arg_is(c, i, STR("SOFT"))     ? &q->soft
                     : cmd_arg_is(c, i, STR("DRYRUN")) ? &q->dryrun
                                                       : NULL;
        if (flag != NULL ? *flag : q->rate != 0 && cmd_arg_is(c, i, STR("RATE")))
            return cache_refuse_twice(c, flag == &q->soft ? "SOFT" : flag != NULL ? "DRYRUN" : "RATE");
        if (flag != NULL) {
            *flag = true;
            continue;
        }
        if (!cmd_arg_is(c, i, STR("RATE")))
            return cache_refuse_unknown(c, c->argv[i], "MATCH", "SOFT, DRYRUN and RATE keys-per-second");
        if (++i == c->argc || !num_parse_i64(c->argv[i], &rate) || rate < 1 || rate > INT32_MAX)
            return refuse(c, "ERR RATE takes how many keys a node removes (or counts) in a second, from 1 to "
                             "2147483647");
        q->rate = (uint64_t)rate;
    }
    return true;
}

static bool parse_tags(struct cmd_ctx *c, struct asked *q)
{
    size_t bytes = 0;
    q->soft = q->end > q->from + 1 && cmd_arg_is(c, q->end - 1, STR("SOFT"));
    q->end -= q->soft;
    for (uint32_t i = q->from; i < q->end; i++) {
        bytes += c->argv[i].n;
        if (c->argv[i].n == 0)
            return refuse(c, "ERR TAG does not take an empty tag, which no value can have; leave it out");
    }
    if (q->end - q->from > PURGE_TAGS_MAX || bytes > PURGE_BYTES_MAX)
        return refuse(
            c, "ERR cache.purge takes 4096 tags of 1 MB altogether at a time; send the rest in another one");
    return true;
}

static bool is_id(struct str id)
{
    return id.n > 0 && id.n <= PURGE_ID_MAX && memchr(id.p, '\0', id.n) == NULL;
}

static bool refuse_id(struct cmd_ctx *c)
{
    return refuse(
        c, "ERR HERE takes the purge's id, of 1 to 64 bytes; nodes use it, AGAIN and DONE among themselves");
}

/* TAG or MATCH with what belongs to it, or HERE id, or AGAIN id, before the same */
static bool parse(struct cmd_ctx *c, struct asked *q)
{
    *q = (struct asked){.again = cmd_arg_is(c, 1, STR("AGAIN")), .end = c->argc};
    q->here = q->again || cmd_arg_is(c, 1, STR("HERE"));
    uint32_t at = q->here ? 3 : 1;
    q->from = at + 1;
    bool match = q->from < c->argc && cmd_arg_is(c, at, STR("MATCH"));
    if (q->from >= c->argc || (!match && !cmd_arg_is(c, at, STR("TAG"))))
        return refuse(c, "ERR cache.purge purges by TAG or MATCH: CACHE.PURGE TAG tag [tag ...] [SOFT], or "
                         "CACHE.PURGE MATCH pattern [SOFT] [DRYRUN] [RATE n]");
    if (q->here) {
        q->id = c->argv[2];
        if (!is_id(q->id))
            return refuse_id(c);
    }
    return match ? parse_match(c, q) : parse_tags(c, q);
}

/* As other nodes are asked for it. */
static bool put_command(struct buf *out, struct str how, const struct purge *p, const struct cmd_ctx *c,
                        const struct asked *q)
{
    uint32_t n = q->end - q->from, argc = 0; /* of a pattern its options are among them */
    struct str *argv = arena_alloc(c->arena, (n + 5) * sizeof *argv);
    if (argv == NULL)
        return false;
    argv[argc++] = STR("CACHE.PURGE");
    argv[argc++] = how;
    argv[argc++] = str_of(p->id);
    argv[argc++] = q->match ? STR("MATCH") : STR("TAG");
    for (uint32_t i = q->from; i < q->end; i++)
        argv[argc++] = c->argv[i];
    if (q->soft && !q->match)
        argv[argc++] = STR("SOFT");
    return unit_put_command(out, argv, argc) == 0;
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

static bool take_tags(struct purge *p, const struct cmd_ctx *c, const struct asked *q)
{
    p->ntags = q->end - q->from;
    p->tags = mem_alloc(p->ntags * sizeof *p->tags);
    for (uint32_t i = 0; p->tags != NULL && i < p->ntags; i++)
        p->tags[i] = meta_tag_hash(c->argv[q->from + i]);
    return p->tags != NULL;
}

static bool take_glob(struct purge *p, uint32_t db, const struct asked *q)
{
    p->dryrun = q->dryrun;
    p->db = db;
    p->rate = q->rate;
    p->nglob = (uint32_t)q->glob.n;
    p->glob = mem_alloc(p->nglob);
    p->peer_matched = mem_zalloc(PURGE_PEERS_MAX * sizeof *p->peer_matched);
    if (p->glob == NULL || p->peer_matched == NULL)
        return false;
    memcpy(p->glob, q->glob.p, p->nglob);
    return true;
}

/* Under the id, and with nothing to do yet. */
static struct purge *purge_blank(struct cmd_ctx *c, const struct asked *q)
{
    struct purge *p = mem_zalloc(sizeof *p);
    if (p == NULL)
        return NULL;
    buf_init(&p->command);
    buf_init(&p->again);
    p->letter.kind = LETTER_PURGE;
    if (set_id(p, ctx_server(c), q))
        return p;
    purge_free(p);
    return NULL;
}

static struct purge *purge_new(struct cmd_ctx *c, const struct asked *q)
{
    struct purge *p = purge_blank(c, q);
    if (p == NULL)
        return NULL;
    p->soft = q->soft;
    p->spread = !q->here;
    p->confirm = q->again;
    bool filled = q->match ? take_glob(p, c->session->db, q) : take_tags(p, c, q);
    if (!filled || !put_command(&p->command, STR("HERE"), p, c, q) ||
        (q->match && !put_command(&p->again, STR("AGAIN"), p, c, q))) {
        purge_free(p);
        return NULL;
    }
    return p;
}

static bool take_room(struct purges *ps, const struct purge *p)
{
    uint32_t n = atomic_fetch_add(&ps->nopen, 1);
    uint64_t bytes = atomic_fetch_add(&ps->open_bytes, p->command.n);
    if (n < PURGE_OPEN_MAX && bytes < PURGE_OPEN_BYTES)
        return true;
    purge_give_room(ps, p);
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
    if (p->spread && q->match && !jobs_add(&r->purges, p)) {
        purge_give_room(&r->purges, p);
        purge_free(p);
        return refuse(
            c, "ERR 64 patterns are being purged or counted by this node already; wait for one of them "
               "(CACHE.JOB LIST)");
    }
    if (wait) {
        *a = (struct asker){
            .mail.deliver = purge_come_home, .conn = conn, .home = conn->worker, .mute = c->reply->mute};
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
    purge_reply(c->reply, &(const struct purge_tally){.shards = v != NULL ? purge_shards(v) : 1},
                (struct str){NULL, 0});
}

/* DONE id: all nodes have it; what nodes say to each other. */
static void purge_is_done(struct cmd_ctx *c)
{
    const struct asked q = {.here = true, .id = c->argv[2]};
    if (!is_id(q.id)) {
        (void)refuse_id(c);
        return;
    }
    struct purge *p = purge_blank(c, &q);
    if (p == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return;
    }
    p->over = true;
    repl_mail(&ctx_server(c)->repl, &p->letter.node);
    reply_ok(c->reply);
}

void cmd_cache_purge(struct cmd_ctx *c)
{
    struct asked q;
    effect_none(c);
    if (c->argc == 3 && cmd_arg_is(c, 1, STR("DONE")) && !c->in_exec) {
        purge_is_done(c);
        return;
    }
    if (!parse(c, &q))
        return;
    if (q.match && c->in_exec) {
        (void)refuse(c,
                     "ERR CACHE.PURGE MATCH cannot be part of a transaction, since it stops all others for a "
                     "moment; send it before MULTI or after EXEC");
    } else if (!q.match && server_view(ctx_server(c)) == NULL && c->unit == NULL && !q.here) {
        purge_now(c, &q);
        purge_reply(c->reply, &(const struct purge_tally){.shards = 1, .acked = 1}, (struct str){NULL, 0});
    } else if (c->in_exec) {
        purge_in_exec(c, &q);
    } else {
        (void)send_off(c, &q, true);
    }
}
