/* CACHE.PURGE MATCH in this node: the ban at the gate, how far it is swept, and DRYRUN's counting. */
#include "base/alloc.h"
#include "base/err.h"
#include "cache/move.h"
#include "cache/note.h"
#include "os/clock.h"
#include "server/purge.h"
#include "server/repl.h"
#include "server/server.h"

enum {
    COUNT_STEP = 512,        /* keys that a step looks at, about ... */
    COUNT_SLICE_NS = 500000, /* ... and how long steps follow each other in a round */
};

/* One pattern that is counted. The thread's own. */
struct counting {
    char id[PURGE_ID_MAX + 1]; /* "": a free place */
    char glob[BAN_GLOB_MAX];
    uint32_t n, db;
    uint64_t cursor, rate, seen, matched;
    bool over;
    int64_t asked_ms, due_ms;
};

static struct str glob_of(const struct purge *p)
{
    return (struct str){p->glob, p->nglob};
}

/* ---- banning ---- */

bool match_is_confirmed(struct purges *ps, struct purge *p)
{
    if (p->glob == NULL || p->confirmed)
        return true;
    p->confirmed = true; /* a ban from now on finds all that came from where it was not known, ... */
    cache_raise_bar(ps->repl->server->cache); /* ... since nothing comes from there any more */
    return p->applied && cache_arrivals(ps->repl->server->cache) == p->arrivals;
}

static void ban(struct repl *r, struct purge *p)
{
    char note[NOTE_MAX];
    p->wants_gate = false;
    if (!purge_may_write(r))
        return;
    int err = cache_ban(r->server->cache, &r->ctx.a, p->db, glob_of(p), p->soft, p->rate, &p->number);
    if (err != 0) {
        p->error = err == ERR_FULL
                       ? "ERR 128 patterns are being purged already; wait for one of them (CACHE.JOB LIST)"
                       : "ERR out of memory; nothing is purged";
        return;
    }
    const struct str argv[] = {STR("PING"), {note, note_ban(glob_of(p), p->number, p->soft, p->rate, note)}};
    if (changelog_is_on(&r->log))
        unit_add(&r->unit, p->db, argv, ARRAY_LEN(argv));
    p->arrivals = cache_arrivals(r->server->cache);
    p->departed = departures_now(&r->server->departures);
    purge_applied(r, p);
}

/* lane_call: the gate is up, and the thread waits. */
static void ban_all(void *arg)
{
    struct purges *ps = arg;
    for (struct purge *p = ps->first; p != NULL; p = p->next)
        if (p->wants_gate)
            ban(ps->repl, p);
    for (struct purge *p = ps->here; p != NULL; p = p->next)
        if (p->wants_gate)
            ban(ps->repl, p);
}

static bool one_wants(const struct purge *p)
{
    while (p != NULL && !p->wants_gate)
        p = p->next;
    return p != NULL;
}

void purges_outside(struct purges *ps)
{
    if (likely(ps->first == NULL && ps->here == NULL) || (!one_wants(ps->first) && !one_wants(ps->here)))
        return;
    if (!lane_call(&ps->repl->server->lane, ban_all, ps))
        return;
    repl_feeds_ask(ps->repl);
    repl_wake(ps->repl); /* a round that tells of it */
}

bool match_is_swept(struct purges *ps, struct purge *p)
{
    uint64_t removed = 0;
    if (p->dryrun) {
        for (uint32_t i = 0; ps->counts != NULL && i < PURGE_COUNTS_MAX; i++) {
            struct counting *c = &ps->counts[i];
            if (strcmp(c->id, p->id) != 0)
                continue;
            p->matched = c->matched;
            return c->over;
        }
        return false;
    }
    bool in_force = p->applied && store_ban_look(ps->repl->server->store, p->number, &removed);
    if (removed > p->matched)
        p->matched = removed;
    return p->applied && !in_force;
}

/* ---- counting ---- */

static struct counting *place_for(struct purges *ps, const char *id)
{
    struct counting *free_one = NULL;
    if (ps->counts == NULL)
        ps->counts = mem_zalloc(PURGE_COUNTS_MAX * sizeof *ps->counts);
    for (uint32_t i = 0; ps->counts != NULL && i < PURGE_COUNTS_MAX; i++) {
        struct counting *c = &ps->counts[i];
        if (strcmp(c->id, id) == 0)
            return c;
        if (c->id[0] == '\0' || ps->repl->now_ms - c->asked_ms > PURGE_COUNT_IDLE_MS)
            free_one = c;
    }
    return free_one;
}

bool match_count(struct purges *ps, struct purge *p)
{
    struct counting *c = place_for(ps, p->id);
    if (c == NULL)
        return false; /* all places are taken: later */
    if (strcmp(c->id, p->id) != 0) {
        *c = (struct counting){.n = p->nglob, .db = p->db, .rate = p->rate};
        memcpy(c->id, p->id, sizeof c->id);
        memcpy(c->glob, p->glob, p->nglob);
    }
    c->asked_ms = ps->repl->now_ms;
    return true;
}

static bool is_at_work(const struct purges *ps, const struct counting *c)
{
    return c->id[0] != '\0' && !c->over && ps->repl->now_ms - c->asked_ms <= PURGE_COUNT_IDLE_MS;
}

int64_t match_due(const struct purges *ps)
{
    int64_t due = INT64_MAX;
    for (uint32_t i = 0; ps->counts != NULL && i < PURGE_COUNTS_MAX; i++)
        if (is_at_work(ps, &ps->counts[i]) && ps->counts[i].due_ms < due)
            due = ps->counts[i].due_ms;
    return due;
}

static bool count_one(void *arg, const struct entry *e)
{
    struct counting *c = arg;
    c->seen++;
    c->matched += str_glob((struct str){c->glob, c->n}, entry_key(e), false);
    return true;
}

/* Keys that a scan sees twice, as tables change under it, are counted twice: it is an estimate. */
static bool count_step(struct purges *ps, struct counting *c)
{
    struct access a = ps->repl->ctx.a;
    uint32_t busy;
    uint64_t before = c->seen;
    a.now_ms = ps->repl->now_ms;
    a.expired = EXPIRED_HIDE;
    int rc = store_scan(&a, c->db, c->cursor, COUNT_STEP, count_one, c, &c->cursor, &busy);
    if (c->rate != 0)
        c->due_ms = a.now_ms + (int64_t)((c->seen - before) * 1000 / c->rate);
    if (rc != 0)
        return false; /* a shard is busy: in another round */
    c->over = c->cursor == 0;
    return !c->over;
}

void match_step(struct purges *ps)
{
    int64_t until = os_mono_ns() + COUNT_SLICE_NS;
    for (uint32_t i = 0; ps->counts != NULL && i < PURGE_COUNTS_MAX; i++) {
        struct counting *c = &ps->counts[i];
        while (is_at_work(ps, c) && c->due_ms <= ps->repl->now_ms && count_step(ps, c) &&
               os_mono_ns() < until)
            ;
    }
}

void match_release(struct purges *ps)
{
    mem_free(ps->counts);
    ps->counts = NULL;
    jobs_release(ps);
}
