/* larder_fetch(): look, and if what is there will not do, lead a flight or join one.
 *
 *      look ── fresh ─────────────────────────────────────────────> answer
 *        ├── the lease came with it ──> lead ──> load ──> store ──> answer
 *        └── stale or nothing ──> join ── another leads ── wait ──> share, or look again
 *                                  └── lead: take the lease ── got it ──> load
 *                                            └── another process has it: ask again, or answer stale
 *
 * Rejected: sharing what a mere look has found. A thread could then be answered with what was read before
 * an invalidation that it knows of. */
#include "client/load.h"

#include "base/alloc.h"
#include "client/calls.h"
#include "client/error.h"
#include "client/loaded.h"
#include "client/tags.h"
#include "os/clock.h"

#include <math.h>
#include <stddef.h>

enum {
    OPTIONS_SIZE_MIN = offsetof(struct larder_fetch_options, tags),
    ROUNDS_MAX = 8,     /* looks again after leases that were lost, before it takes what it has loaded */
    WAIT_MS_MAX = 1000, /* for which one request is parked at the server */
};

struct fetch {
    larder *l;
    struct str key;
    larder_loader loader;
    void *arg;
    struct larder_fetch_options o;
    struct lease_ask ask;
    struct lease_answer a;         /* of the latest look */
    struct larder_value overtaken; /* tags that were found invalidated */
    int64_t until_ns; /* then whoever leads loads without a lease, and those who joined wait for that as long
                         again */
    struct larder_fetched *out;
    struct larder_error *err;
};

enum { LOOK_AGAIN = 1000 }; /* beside enum larder_status */

void larder_fetch_options_init(struct larder_fetch_options *o)
{
    *o = (struct larder_fetch_options){
        .size = sizeof *o,
        .ttl_ms = LARDER_TTL_DEFAULT,
        .negative_ttl_ms = 10 * 1000,
        .beta = 1.0,
        .lock_ms = 10 * 1000,
        .poll_ms = 100,
        .retry_ms = 1000,
        .stale = 1,
        .fail_safe = 1,
    };
}

static const char *fault(const struct larder_fetch_options *o)
{
    if (o->ttl_ms < LARDER_TTL_NONE || o->grace_ms < 0 || o->negative_ttl_ms < 0)
        return "ttl_ms, grace_ms, negative_ttl_ms: must not be negative";
    if (o->lock_ms - 1 >= LEASE_MS_MAX || o->poll_ms - 1 >= LEASE_MS_MAX || o->wait_ms > LEASE_MS_MAX ||
        o->soft_ms > LEASE_MS_MAX || o->hard_ms > LEASE_MS_MAX || o->retry_ms > LEASE_MS_MAX)
        return "lock_ms, poll_ms: must be from 1 ms to a day; the others at most a day";
    if (!isfinite(o->beta) || o->beta < 0)
        return "beta: must be a number from 0 on";
    if (o->min_version > INT64_MAX)
        return "min_version: too large";
    return NULL;
}

static int take_options(struct fetch *f, const struct larder_fetch_options *given)
{
    larder_fetch_options_init(&f->o);
    if (given != NULL && !loaded_take_options(&f->o, given, sizeof f->o, OPTIONS_SIZE_MIN))
        return fail(f->err, LARDER_ERR_ARGUMENT, "options: start from larder_fetch_options_init()");
    const char *wrong = fault(&f->o);
    if (wrong != NULL)
        return fail(f->err, LARDER_ERR_ARGUMENT, "options: %s", wrong);
    if (f->o.wait_ms == 0)
        f->o.wait_ms = f->l->set.o.deadline_ms;
    f->until_ns = os_mono_ns() + (int64_t)f->o.wait_ms * 1000000;
    f->ask = (struct lease_ask){.lock_ms = f->o.lock_ms, .beta = f->o.beta, .min_version = f->o.min_version};
    f->ask.tags = f->o.tags;
    f->ask.ntags = f->o.ntags;
    f->ask.stand_in = f->o.ntags == 0; /* an invalidation by tag could not find it there */
    int status = tags_check(f->o.tags, f->o.ntags, f->err);
    return status < 0 ? status : resolve_ttl(f->l, f->o.ttl_ms, &f->o.ttl_ms, f->err);
}

/* What lease_take() must know of a value that lease_look() or it has found invalid. */
static void note_overtaken(struct fetch *f)
{
    if (f->a.overtaken.p == NULL)
        return;
    larder_value_free(&f->overtaken);
    f->overtaken = f->a.overtaken;
    f->a.overtaken = (struct larder_value){NULL, 0};
    f->ask.overtaken = (struct str){f->overtaken.p, f->overtaken.n};
}

/* ---- answering ---- */

/* Is there something to answer with while it is refreshed, or if that fails? */
static bool has_value(const struct fetch *f)
{
    return f->a.value.p != NULL;
}

static int answer(struct fetch *f)
{
    if (f->a.state == LEASE_NEGATIVE)
        return LARDER_MISS;
    f->out->value = f->a.value;
    f->a.value = (struct larder_value){NULL, 0};
    f->out->freshness = f->a.state == LEASE_FRESH ? LARDER_FRESH : LARDER_STALE;
    f->out->version = f->a.version;
    return LARDER_OK;
}

static int answer_loaded(struct fetch *f, const struct flight_end *end)
{
    if (end->status < 0 && has_value(f) && f->o.fail_safe)
        return answer(f);
    if (end->status < 0)
        return fail(f->err, end->status, "%s", end->err.text);
    f->out->freshness = LARDER_LOADED;
    f->out->version = end->version;
    if (end->status == LARDER_MISS)
        return LARDER_MISS;
    return lease_copy_value(&f->out->value, larder_bytes(end->value.p, end->value.n), f->err);
}

/* Wait for a flight's load as long as these options say. */
static int await(struct fetch *f, struct flight *flight, int64_t until_ns, bool leads, bool last)
{
    int64_t begun_ns = os_mono_ns();
    if (f->o.hard_ms > 0 && begun_ns + (int64_t)f->o.hard_ms * 1000000 < until_ns)
        until_ns = begun_ns + (int64_t)f->o.hard_ms * 1000000;
    if (f->o.soft_ms > 0 && has_value(f) && begun_ns + (int64_t)f->o.soft_ms * 1000000 < until_ns)
        until_ns = begun_ns + (int64_t)f->o.soft_ms * 1000000;
    const struct flight_end *end = flight_wait(&f->l->flights, flight, until_ns);
    if (end == NULL && has_value(f))
        return answer(f);
    if (end == NULL)
        return fail(f->err, LARDER_ERR_LOAD, "the loader is still at it; what it loads will be cached");
    if (end->again && !leads && !last)
        return LOOK_AGAIN;
    return answer_loaded(f, end);
}

/* ---- leading ---- */

/* Load, here or in a thread of the library. The caller's own member of the flight is given up. */
static int lead(struct fetch *f, struct flight *flight)
{
    struct flights *fs = &f->l->flights;
    bool behind = f->o.behind && has_value(f), timed = f->o.soft_ms > 0 || f->o.hard_ms > 0;
    struct load *ld = load_new(f->l, flight, f->loader, f->arg, &f->a, &f->o);
    if (ld == NULL) {
        flight_finish(fs, flight, &(struct flight_end){.again = true});
        flight_put(fs, flight);
        return fail(f->err, LARDER_ERR_MEMORY, "out of memory");
    }
    if (!(behind || timed) || flight_thread(fs, load_run, ld) != 0) {
        load_run(ld);
        behind = false;
    }
    int status = behind ? answer(f) : await(f, flight, INT64_MAX, true, true);
    flight_put(fs, flight);
    return status;
}

/* The lease came with a look: a flight of its own, whatever else is under way. */
static int lead_new(struct fetch *f)
{
    struct flight *flight = flight_lead(&f->l->flights, f->key);
    return flight != NULL ? lead(f, flight) : fail(f->err, LARDER_ERR_MEMORY, "out of memory");
}

/* Certainly the caller's mistake, or the cache's word; everything else means that it cannot be asked. */
static bool is_answer(int status, const struct larder_error *err)
{
    if (status == LARDER_ERR_SERVER)
        return strstr(err->text, " LOADING ") == NULL && strstr(err->text, " MASTERDOWN ") == NULL &&
               strstr(err->text, ": ERR unknown command") == NULL;
    return status == LARDER_ERR_ARGUMENT || status == LARDER_ERR_MEMORY || status == LARDER_ERR_AUTH ||
           status == LARDER_ERR_UNSUPPORTED || status == LARDER_ERR_PROTOCOL;
}

/* The cache cannot be reached. */
static int lead_without_cache(struct fetch *f, struct flight *flight, int status,
                              const struct larder_error *err)
{
    if (is_answer(status, err)) {
        flight_finish(&f->l->flights, flight, &(struct flight_end){.again = true});
        flight_put(&f->l->flights, flight);
        return fail(f->err, status, "%s", err->text);
    }
    f->a.token[0] = '\0';
    return lead(f, flight);
}

/* Ask for the lease until it is granted or needless; when it is too late, do without. `flight` is led by
 * the caller. */
static int lead_by_lease(struct fetch *f, struct flight *flight)
{
    struct flights *fs = &f->l->flights;
    for (;;) {
        struct larder_error err;
        bool early = f->a.early, usable = has_value(f) && (f->o.stale || early);
        int64_t left_ms = (f->until_ns - os_mono_ns()) / 1000000;
        f->ask.early = early;
        f->ask.wait_ms = usable || left_ms < 0 ? 0 : left_ms < WAIT_MS_MAX ? left_ms : WAIT_MS_MAX;
        lease_answer_release(&f->a);
        int status = lease_take(f->l, f->key, &f->ask, &f->a, &err);
        note_overtaken(f);
        if (status < 0)
            return lead_without_cache(f, flight, status, &err);
        if (f->a.token[0] != '\0')
            return lead(f, flight);
        bool there = f->a.state == LEASE_FRESH || f->a.state == LEASE_NEGATIVE;
        usable = has_value(f) && f->o.stale;
        int64_t now_ns = os_mono_ns();
        if (!there && !usable && now_ns >= f->until_ns && !(has_value(f) && f->o.fail_safe))
            return lead(f, flight); /* without a lease: the answer is not stored */
        if (there || usable || now_ns >= f->until_ns) {
            flight_finish(fs, flight, &(struct flight_end){.again = true});
            flight_put(fs, flight);
            return answer(f);
        }
        int64_t pause_ms =
            f->a.retry_ms >= 0 && f->a.retry_ms < f->o.poll_ms ? f->a.retry_ms + 1 : f->o.poll_ms;
        (void)flight_wait(fs, flight, now_ns + pause_ms * 1000000); /* nobody else ends it: a sleep */
    }
}

/* ---- the call ---- */

static int join_or_lead(struct fetch *f, int looked, const struct larder_error *err, bool last)
{
    bool leads;
    struct flights *fs = &f->l->flights;
    struct flight *flight = flight_join(fs, f->key, &leads);
    if (flight == NULL)
        return fail(f->err, LARDER_ERR_MEMORY, "out of memory");
    if (leads)
        return looked < 0 ? lead_without_cache(f, flight, looked, err) : lead_by_lease(f, flight);
    int status;
    if (has_value(f) && (f->o.stale || f->a.early))
        status = answer(f);
    else
        status =
            await(f, flight, f->until_ns + (int64_t)f->o.wait_ms * 1000000, false, last); /* see until_ns */
    flight_put(fs, flight);
    return status;
}

static int round_of(struct fetch *f, bool last)
{
    struct larder_error err;
    lease_answer_release(&f->a);
    int status = lease_look(f->l, f->key, &f->ask, &f->a, &err);
    note_overtaken(f);
    if (status < 0)
        return is_answer(status, &err) ? fail(f->err, status, "%s", err.text)
                                       : join_or_lead(f, status, &err, last);
    if (f->a.token[0] != '\0')
        return lead_new(f);
    if ((f->a.state == LEASE_FRESH && !f->a.early) || f->a.state == LEASE_NEGATIVE)
        return answer(f);
    if (f->a.refused && has_value(f) && f->o.stale)
        return answer(f);
    return join_or_lead(f, status, &err, last);
}

int larder_fetch(larder *l, struct larder_bytes key, larder_loader loader, void *arg,
                 const struct larder_fetch_options *options, struct larder_fetched *out,
                 struct larder_error *err)
{
    struct fetch f = {.l = l, .key = str_from(key), .loader = loader, .arg = arg, .out = out, .err = err};
    *out = (struct larder_fetched){.freshness = LARDER_FRESH};
    int status = take_options(&f, options);
    if (status < 0)
        return status;
    status = LOOK_AGAIN;
    for (int i = 1; status == LOOK_AGAIN; i++)
        status = round_of(&f, i == ROUNDS_MAX);
    lease_answer_release(&f.a);
    larder_value_free(&f.overtaken);
    return status;
}
