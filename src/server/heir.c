#include "server/heir.h"

#include "base/alloc.h"
#include "base/log.h"
#include "cache/note.h"
#include "cache/state.h"
#include "os/clock.h"
#include "os/sock.h"
#include "os/thread.h"
#include "server/crash.h"
#include "server/handlers.h"
#include "server/talk.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void)
{
    return os_mono_ns() / 1000000;
}

/* ---- CACHE.HELD: what the former owner answers ----------------------------------------------- */

static bool serves(const struct cluster_view *v, uint32_t slot)
{
    return !v->replica && v->me != VIEW_NOBODY && v->owner[slot] == v->me;
}

static bool serves_one(const struct cluster_view *v, const uint8_t *slots, uint32_t *which)
{
    for (*which = 0; v != NULL && *which < SLOT_COUNT; ++*which)
        if (slots_has(slots, *which) && serves(v, *which))
            return true;
    return false;
}

void cmd_cache_held(struct cmd_ctx *c)
{
    int64_t at;
    uint32_t slot, next;
    struct buf piece;
    if (c->argv[1].n != SLOT_BYTES) {
        reply_errorf(c->reply, "ERR cache.held takes a bit for each slot, %d bytes", SLOT_BYTES);
        return;
    }
    if (!cmd_arg_range(c, 2, 0, STATE_HELD_END, &at, "ERR the place to go on at is out of range"))
        return;
    const uint8_t *slots = (const uint8_t *)c->argv[1].p;
    if (serves_one(server_view(ctx_server(c)), slots, &slot)) {
        reply_errorf(c->reply, "TRYAGAIN slot %u is still served here", slot);
        return;
    }
    next = (uint32_t)at;
    buf_init(&piece);
    int rc = cache_put_held(c->cache, slots, &next, &piece);
    if (rc < 0) {
        cmd_reply_err(c, rc);
    } else {
        reply_array(c->reply, 2);
        reply_int(c->reply, rc == 0 ? next : 0);
        reply_bulk(c->reply, buf_str(&piece));
    }
    buf_release(&piece);
}

/* ---- claims: the mutex ---- */

static struct heir_claim *claim_of(struct heir *h, const struct view_node *n)
{
    struct heir_claim *empty = NULL;
    for (unsigned i = 0; i < HEIR_CLAIMS; i++) {
        struct heir_claim *cl = &h->claims[i];
        if (cl->nslots > 0 && strcmp(cl->id, n->id) == 0)
            return cl;
        if (cl->nslots == 0 && empty == NULL)
            empty = cl;
    }
    if (empty == NULL) { /* as if it did not answer */
        empty = &h->claims[HEIR_CLAIMS - 1];
        empty->port = 0;
        return empty;
    }
    *empty = (struct heir_claim){.asked = empty->asked, .since_ms = now_ms(), .port = n->port};
    memcpy(empty->id, n->id, sizeof empty->id);
    memcpy(empty->ip, n->ip, sizeof empty->ip);
    return empty;
}

static void add(struct heir_claim *cl, uint32_t slot)
{
    cl->nslots += !slots_has(cl->slots, slot);
    slots_set(cl->slots, slot, true);
    cl->asked++;
    cl->due_ms = 0;
}

/* Its owner is this node or its primary. */
static bool is_ours(const struct cluster_view *v, uint32_t slot)
{
    uint16_t owner = v->owner[slot];
    return owner != VIEW_NOBODY && (owner == v->me || (v->replica && owner == v->primary));
}

/* Who knows what is held in a slot that is served here, or by our primary, from now on. VIEW_NOBODY: we do. A
 * number of old's. */
static uint16_t knows(const struct cluster_view *old, const struct cluster_view *v, uint32_t slot)
{
    uint16_t owner = old->owner[slot];
    if (!is_ours(v, slot))
        return VIEW_NOBODY;
    if (is_ours(old, slot)) /* called off: it may have served keys that were not here */
        return v->to[slot] == VIEW_NOBODY ? old->to[slot] : VIEW_NOBODY;
    bool same = strcmp(old->nodes[owner].id, v->nodes[v->owner[slot]].id) == 0; /* we have gone over to it */
    return same ? VIEW_NOBODY : owner;
}

void heir_follow(struct heir *h, const struct cluster_view *old, const struct cluster_view *v)
{
    if (h->claims == NULL || old == NULL || v == NULL)
        return;
    pthread_mutex_lock(&h->mutex);
    for (uint32_t i = 0; i < SLOT_COUNT; i++) {
        uint16_t of = knows(old, v, i);
        if (of == VIEW_NOBODY)
            continue;
        add(claim_of(h, &old->nodes[of]), i);
        cache_expect(h->server->cache, i, true);
    }
    pthread_cond_signal(&h->more);
    pthread_mutex_unlock(&h->mutex);
}

/* The answer is there, or never will be. */
static void settle(struct heir *h, struct heir_claim *cl)
{
    cl->nslots = 0;
    for (uint32_t i = 0; i < SLOT_COUNT; i++) {
        bool elsewhere = false;
        for (unsigned k = 0; k < HEIR_CLAIMS && slots_has(cl->slots, i); k++)
            elsewhere |= h->claims[k].nslots > 0 && slots_has(h->claims[k].slots, i);
        if (slots_has(cl->slots, i) && !elsewhere)
            cache_expect(h->server->cache, i, false);
    }
}

/* ---- asking ---------------------------------------------------------------------------------- */

enum answer { ANSWER_ALL, ANSWER_LATER, ANSWER_NONE };

struct question {
    struct heir *h;
    struct heir_claim claim; /* a copy */
    struct buf out;
    uint32_t nwords; /* replies before that to the question: to AUTH */
    struct str piece;
    bool taken;
    char why[SOCK_ERR_MAX + 128]; /* an error of a socket, and some of what was said */
};

static void take_state(struct server *s, struct str piece)
{
    struct access *a = &s->lane.ctx.a;
    a->now_ms = os_wall_ms();
    cache_take_state(a, piece);
}

/* Nothing may be added to the stream while the role is handed over, nor by a replica. */
bool heir_take_piece(struct server *s, struct str piece)
{
    struct cmd_ctx *c = &s->lane.ctx;
    if (atomic_load_explicit(&s->care, memory_order_relaxed) & CARE_HELD_STREAM)
        return false;
    if (piece.n == 0)
        return true;
    take_state(s, piece);
    struct buf note;
    buf_init(&note);
    bool taken = note_state(piece, &note) == 0;
    const struct str ping[] = {STR("PING"), buf_str(&note)};
    if (taken && c->unit != NULL)
        unit_add(c->unit, 0, ping, ARRAY_LEN(ping));
    buf_release(&note);
    return taken;
}

/* lane_call_shared. What a replica is told is for itself: its primary asks and tells, and so do others. */
static void take_piece(void *arg)
{
    struct question *q = arg;
    struct server *s = q->h->server;
    bool replica = atomic_load_explicit(&s->care, memory_order_relaxed) & CARE_REPLICA;
    if (replica)
        take_state(s, q->piece);
    q->taken = replica || heir_take_piece(s, q->piece);
}

static enum answer refuse(struct question *q, const char *why, struct str more)
{
    snprintf(q->why, sizeof q->why, "%s%.*s", why, more.n < 100 ? (int)more.n : 100, more.p);
    return ANSWER_NONE;
}

/* [place to go on at, piece] */
static enum answer understand(struct question *q, const struct reader_value *v, int64_t *at)
{
    if (reader_is_error(v) && str_begins(v->text, STR("TRYAGAIN")))
        return ANSWER_LATER;
    if (reader_is_error(v) && str_begins(v->text, STR("ERR unknown command"))) {
        *at = 0; /* it is no larder and holds nothing */
        return ANSWER_ALL;
    }
    if (reader_is_error(v))
        return refuse(q, "it answers ", v->text);
    if (v->kind != READ_ARRAY || v->n != 2 || v->children[0].kind != READ_INT ||
        v->children[1].kind != READ_BULK || (v->children[0].integer != 0 && v->children[0].integer <= *at))
        return refuse(q, "it does not answer as a larder", STR(""));
    *at = v->children[0].integer;
    q->piece = v->children[1].text;
    q->taken = false;
    if (!lane_call_shared(&q->h->server->lane, take_piece, q) || !q->taken)
        return ANSWER_LATER;
    return ANSWER_ALL;
}

static enum answer ask_for(struct question *q, struct talk *t, int64_t *at)
{
    struct reader_value v;
    char text[NUM_I64_TEXT_MAX];
    const struct str held[] = {STR("CACHE.HELD"),
                               {(const char *)q->claim.slots, sizeof q->claim.slots},
                               {text, num_put_i64(text, *at)}};
    if (unit_put_command(&q->out, held, ARRAY_LEN(held)) != 0 || !talk_send(t, buf_str(&q->out)))
        return refuse(q, "it does not listen", STR(""));
    buf_clear(&q->out);
    for (; q->nwords > 0; q->nwords--)
        if (!talk_read(t, HEIR_REPLY_MAX, &v))
            return refuse(q, "it does not answer", STR(""));
    if (!talk_read(t, HEIR_REPLY_MAX, &v))
        return refuse(q, "it does not answer", STR(""));
    return understand(q, &v, at);
}

static enum answer ask(struct question *q)
{
    struct sock_err err;
    struct talk t;
    int64_t at = 0;
    if (q->claim.port == 0 || q->claim.ip[0] == '\0')
        return refuse(q, "its address is not known", STR(""));
    int fd = sock_connect_tcp(q->claim.ip, q->claim.port, HEIR_TIMEOUT_MS, true, &err);
    if (fd < 0)
        return refuse(q, err.text, STR(""));
    talk_begin(&t, fd, HEIR_TIMEOUT_MS, &q->h->stop);
    enum answer a = ANSWER_LATER;
    if (talk_put_auth_by_lane(q->h->server, &q->out, &q->nwords)) {
        do {
            a = ask_for(q, &t, &at);
        } while (a == ANSWER_ALL && at != 0);
    }
    talk_end(&t);
    close(fd);
    return a;
}

/* ---- the thread ------------------------------------------------------------------------------ */

/* The mutex. */
static void note_answer(struct heir *h, struct heir_claim *cl, const struct question *q, enum answer a)
{
    if (a == ANSWER_NONE && !cl->complained) {
        log_warning("%s:%u does not say which versions it holds of %u slots that were its own: %s. Until it "
                    "does, values that name a version are refused there.",
                    cl->ip, cl->port, cl->nslots, q->why);
        cl->complained = true;
    }
    bool over = a == ANSWER_NONE && now_ms() - cl->since_ms >= cache_patience_ms(h->server->cache);
    if (over)
        log_warning("%s:%u has not said which versions it holds of %u slots that were its own; older values "
                    "may be stored there now.",
                    cl->ip, cl->port, cl->nslots);
    if ((a == ANSWER_ALL && cl->asked == q->claim.asked) || over)
        settle(h, cl);
    else
        cl->due_ms = now_ms() + (a == ANSWER_NONE ? HEIR_RETRY_MS : HEIR_AGAIN_MS);
}

/* The mutex. The claim that is due first. */
static struct heir_claim *first_due(struct heir *h)
{
    struct heir_claim *first = NULL;
    for (unsigned i = 0; i < HEIR_CLAIMS; i++)
        if (h->claims[i].nslots > 0 && (first == NULL || h->claims[i].due_ms < first->due_ms))
            first = &h->claims[i];
    return first;
}

static void wait_until(struct heir *h, const struct heir_claim *cl)
{
    if (cl == NULL) {
        pthread_cond_wait(&h->more, &h->mutex);
        return;
    }
    int64_t us = os_wall_us() + (cl->due_ms - now_ms()) * 1000;
    const struct timespec until = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    pthread_cond_timedwait(&h->more, &h->mutex, &until);
}

static void *heir_main(void *arg)
{
    struct heir *h = arg;
    struct question q = {.h = h};
    pthread_setname_np(pthread_self(), "heir");
    crash_thread_begin();
    buf_init(&q.out);
    pthread_mutex_lock(&h->mutex);
    while (!atomic_load(&h->stop)) {
        struct heir_claim *cl = first_due(h);
        if (cl == NULL || cl->due_ms > now_ms()) {
            wait_until(h, cl);
            continue;
        }
        q.claim = *cl;
        pthread_mutex_unlock(&h->mutex);
        enum answer a = ask(&q);
        buf_clear(&q.out);
        pthread_mutex_lock(&h->mutex);
        note_answer(h, cl, &q, a); /* only this thread frees places */
    }
    pthread_mutex_unlock(&h->mutex);
    buf_release(&q.out);
    crash_thread_end();
    return NULL;
}

int heir_init(struct heir *h, struct server *s)
{
    h->server = s;
    pthread_mutex_init(&h->mutex, NULL);
    pthread_cond_init(&h->more, NULL);
    if (!s->config.cluster_enabled)
        return 0;
    h->claims = mem_zalloc(HEIR_CLAIMS * sizeof *h->claims);
    return h->claims != NULL ? 0 : ERR_OOM;
}

int heir_start(struct heir *h)
{
    if (h->claims == NULL)
        return 0;
    return os_thread_start(&h->thread, &h->running, heir_main, h);
}

void heir_end(struct heir *h)
{
    if (!h->running)
        return;
    pthread_mutex_lock(&h->mutex);
    atomic_store(&h->stop, true);
    pthread_cond_signal(&h->more);
    pthread_mutex_unlock(&h->mutex);
    pthread_join(h->thread, NULL);
    h->running = false;
}

void heir_release(struct heir *h)
{
    if (h->server == NULL)
        return;
    mem_free(h->claims);
    pthread_mutex_destroy(&h->mutex);
    pthread_cond_destroy(&h->more);
}
