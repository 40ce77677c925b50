/* CACHE.JOB: what has become of the patterns that clients have asked this node to purge, or to count, and of
 * the latest warming (server/warm.h), which comes first.
 *
 * The replication thread tells how far each is, and looks here whether it was cancelled. A job that has ended
 * is remembered until its place is needed. */
#include "base/alloc.h"
#include "os/clock.h"
#include "server/handlers.h"
#include "server/purge.h"
#include "server/repl.h"
#include "server/server.h"
#include "store/ban.h"

enum job_state { JOB_FREE, JOB_RUNNING, JOB_DONE, JOB_CANCELLED, JOB_FAILED };

static const char *const state_names[] = {"", "running", "done", "cancelled", "failed"};

struct job {
    enum job_state state;
    bool soft, dryrun, cancel;
    uint64_t rate, order;
    int64_t began_ms;
    struct purge_tally tally;
    uint32_t n;
    char glob[BAN_GLOB_MAX];
};

static struct job *find(struct purges *ps, struct str id)
{
    for (uint32_t i = 0; ps->jobs != NULL && i < PURGE_JOBS_MAX; i++)
        if (ps->jobs[i].state != JOB_FREE && str_eq(id, str_of(ps->jobs[i].tally.id)))
            return &ps->jobs[i];
    return NULL;
}

/* A free place, or that of the oldest that has ended. */
static struct job *place(struct purges *ps)
{
    struct job *found = NULL;
    if (ps->jobs == NULL)
        ps->jobs = mem_zalloc(PURGE_JOBS_MAX * sizeof *ps->jobs);
    for (uint32_t i = 0; ps->jobs != NULL && i < PURGE_JOBS_MAX; i++) {
        struct job *j = &ps->jobs[i];
        if (j->state != JOB_RUNNING && (found == NULL || j->order < found->order))
            found = j;
    }
    return found;
}

bool jobs_add(struct purges *ps, const struct purge *p)
{
    pthread_mutex_lock(&ps->jobs_mutex);
    struct job *j = place(ps);
    if (j != NULL) {
        *j = (struct job){.state = JOB_RUNNING,
                          .soft = p->soft,
                          .dryrun = p->dryrun,
                          .rate = p->rate,
                          .order = ++ps->last_job,
                          .began_ms = os_wall_ms(),
                          .n = p->nglob};
        memcpy(j->tally.id, p->id, sizeof j->tally.id);
        memcpy(j->glob, p->glob, p->nglob);
    }
    pthread_mutex_unlock(&ps->jobs_mutex);
    return j != NULL;
}

bool jobs_tell(struct purges *ps, const struct purge *p, const struct purge_tally *t, bool over)
{
    pthread_mutex_lock(&ps->jobs_mutex);
    struct job *j = find(ps, str_of(p->id));
    bool cancelled = j != NULL && j->cancel;
    if (j != NULL) {
        j->tally = *t;
        j->state = p->error != NULL ? JOB_FAILED : cancelled ? JOB_CANCELLED : over ? JOB_DONE : JOB_RUNNING;
    }
    pthread_mutex_unlock(&ps->jobs_mutex);
    return cancelled;
}

void jobs_release(struct purges *ps)
{
    mem_free(ps->jobs);
    ps->jobs = NULL;
    pthread_mutex_destroy(&ps->jobs_mutex);
}

/* ---- the command ---- */

static void put_number(struct reply *r, const char *name, uint64_t n)
{
    reply_cstr(r, name);
    reply_int(r, (int64_t)n);
}

/* What is told of a job. */
struct shown {
    const char *id, *kind, *state;
    struct str pattern;
    bool soft;
    uint64_t rate;
    int64_t began_ms;
    struct purge_tally tally;
};

static void reply_shown(struct reply *r, const struct shown *j)
{
    const struct purge_tally *t = &j->tally;
    int64_t age = os_wall_ms() - j->began_ms;
    reply_map(r, 12);
    reply_cstr(r, "job");
    reply_cstr(r, j->id);
    reply_cstr(r, "kind");
    reply_cstr(r, j->kind);
    reply_cstr(r, "pattern");
    reply_bulk(r, j->pattern);
    put_number(r, "soft", j->soft);
    put_number(r, "rate", j->rate);
    reply_cstr(r, "state");
    reply_cstr(r, j->state);
    put_number(r, "age", age > 0 ? (uint64_t)age : 0);
    put_number(r, "shards", t->shards);
    put_number(r, "acked", t->acked);
    put_number(r, "pending", t->shards - t->acked - t->unsupported);
    put_number(r, "unsupported", t->unsupported);
    put_number(r, "matched", t->matched);
}

static void reply_job(struct reply *r, const struct job *j)
{
    reply_shown(r, &(const struct shown){.id = j->tally.id,
                                         .kind = j->dryrun ? "dryrun" : "purge",
                                         .state = state_names[j->state],
                                         .pattern = {j->glob, j->n},
                                         .soft = j->soft,
                                         .rate = j->rate,
                                         .began_ms = j->began_ms,
                                         .tally = j->tally});
}

/* As if it were a purge of this node alone: what it goes by stands for the pattern. */
static void reply_warming(struct reply *r, const struct warm_job *w)
{
    bool done = strcmp(w->state, state_names[JOB_RUNNING]) != 0;
    reply_shown(r, &(const struct shown){.id = w->id,
                                         .kind = "warm",
                                         .state = w->state,
                                         .pattern = str_of(w->from),
                                         .rate = w->rate,
                                         .began_ms = w->began_ms,
                                         .tally = {.shards = 1, .acked = done, .matched = w->installed}});
}

/* warming: NULL: there was none. */
static void list(struct purges *ps, struct reply *r, const struct warm_job *warming)
{
    uint32_t n = 0;
    for (uint32_t i = 0; ps->jobs != NULL && i < PURGE_JOBS_MAX; i++)
        n += ps->jobs[i].state != JOB_FREE;
    reply_array(r, n + (warming != NULL));
    if (warming != NULL)
        reply_warming(r, warming);
    for (uint64_t order = ps->last_job; order > 0 && n > 0; order--) /* the latest first */
        for (uint32_t i = 0; i < PURGE_JOBS_MAX; i++)
            if (ps->jobs[i].state != JOB_FREE && ps->jobs[i].order == order) {
                reply_job(r, &ps->jobs[i]);
                n--;
            }
}

static void cancel(struct purges *ps, struct reply *r, struct job *j)
{
    if (j->state != JOB_RUNNING) {
        reply_errorf(r, "ERR this job is %s already; there is nothing to cancel", state_names[j->state]);
    } else if (!j->dryrun) {
        reply_error(r,
                    "ERR a purge has taken effect when it answers, and nothing brings its keys back; only a "
                    "DRYRUN can be cancelled. Count with DRYRUN before you purge");
    } else {
        j->cancel = true;
        repl_wake(ps->repl);
        reply_ok(r);
    }
}

static void about_one(struct cmd_ctx *c, struct purges *ps, bool to_cancel)
{
    struct job *j = find(ps, c->argv[2]);
    if (j == NULL)
        reply_error(c->reply,
                    "ERR there is no such job on this node; CACHE.JOB LIST shows those that there are. "
                    "A job is known to the node that was asked for it");
    else if (to_cancel)
        cancel(ps, c->reply, j);
    else
        reply_job(c->reply, j);
}

static void about_warming(struct cmd_ctx *c, const struct warm_job *w, bool to_cancel)
{
    if (!to_cancel)
        reply_warming(c->reply, w);
    else if (warm_cancel(&ctx_server(c)->warm))
        reply_ok(c->reply);
    else
        reply_errorf(c->reply, "ERR this job is %s already; there is nothing to cancel", w->state);
}

void cmd_cache_job(struct cmd_ctx *c)
{
    struct purges *ps = &ctx_server(c)->repl.purges;
    struct warm_job w;
    bool wants_list = cmd_arg_is(c, 1, STR("LIST")), status = cmd_arg_is(c, 1, STR("STATUS")),
         to_cancel = cmd_arg_is(c, 1, STR("CANCEL"));
    if (!(wants_list && c->argc == 2) && !((status || to_cancel) && c->argc == 3)) {
        reply_error(c->reply, "ERR cache.job takes LIST, STATUS id, or CANCEL id");
        return;
    }
    bool warmed = warm_job(&ctx_server(c)->warm, &w);
    if (!wants_list && warmed && str_eq(c->argv[2], str_of(w.id))) {
        about_warming(c, &w, to_cancel);
        return;
    }
    pthread_mutex_lock(&ps->jobs_mutex);
    if (wants_list)
        list(ps, c->reply, warmed ? &w : NULL);
    else
        about_one(c, ps, to_cancel);
    pthread_mutex_unlock(&ps->jobs_mutex);
}
