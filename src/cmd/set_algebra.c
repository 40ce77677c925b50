/* Sets combined: SINTER, SUNION, SDIFF, and what stores or counts their results.
 *
 * A result that is to be stored is built beside the sets and takes the destination's place at the end,
 * so that a failure leaves everything as it was, and the destination may be one of the sources.
 *
 * On the lane the keys are free meanwhile. What is built is of sets that do not change, since we hold
 * references (a writer copies them). If other sets lie under the keys when it is done, it is built anew, and
 * this time the keys stay ours. */
#include "cmd/handlers.h"
#include "cmd/sets.h"

#include "base/assert.h"

#include <string.h>

enum operation { INTERSECTION, UNION, DIFFERENCE };

/* The sets in question: NULL for a key that does not exist. */
struct sets {
    const struct object **of;
    uint32_t n, empty;
    bool kept; /* by references of our own */
};

/* Keys from number `first` on. False after replying. */
static bool sets_find(struct cmd_ctx *c, uint32_t first, bool write, struct sets *s)
{
    s->n = c->nkeys - first;
    s->empty = 0;
    s->kept = false;
    s->of = arena_alloc(c->arena, s->n * sizeof *s->of);
    if (s->of == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return false;
    }
    for (uint32_t i = 0; i < s->n; i++) {
        struct entry *e;
        bool ok = write ? cmd_write_object(c, first + i, OBJECT_SET, &e)
                        : cmd_find_object(c, first + i, OBJECT_SET, &e);
        if (!ok)
            return false;
        s->of[i] = e != NULL ? entry_object(e) : NULL;
        s->empty += e == NULL;
    }
    return true;
}

/* The same for commands that only look: on the lane other clients get the keys back at once. */
static bool sets_take(struct cmd_ctx *c, struct sets *s)
{
    if (!sets_find(c, 0, false, s))
        return false;
    s->kept = sets_keep(c, s->of, s->n);
    return true;
}

static void sets_done(struct cmd_ctx *c, struct sets *s)
{
    if (s->kept)
        sets_drop(c, s->of, s->n);
}

/* ---- each member of the result ----------------------------------------------------------------- */

struct sieve {
    const struct sets *sets;
    uint32_t from; /* the set that is walked */
    bool in_others;
    set_visit_fn *visit;
    void *arg;
};

/* The others have it, all of them; or none of them has. */
static bool sift(void *arg, struct str member)
{
    struct sieve *v = arg;
    for (uint32_t i = 0; i < v->sets->n; i++) {
        const struct object *o = v->sets->of[i];
        if (i != v->from && o != NULL && o != v->sets->of[v->from] && set_has(o, member) != v->in_others)
            return true;
    }
    return v->visit(v->arg, member);
}

static uint32_t smallest(const struct sets *s)
{
    uint32_t at = 0;
    for (uint32_t i = 1; i < s->n; i++)
        if (set_count(s->of[i]) < set_count(s->of[at]))
            at = i;
    return at;
}

static void intersect(const struct sets *s, set_visit_fn *visit, void *arg)
{
    if (s->empty > 0)
        return;
    struct sieve v = {.sets = s, .from = smallest(s), .in_others = true, .visit = visit, .arg = arg};
    (void)set_visit(s->of[v.from], sift, &v);
}

/* A set less itself is nothing, whether it is named twice or shared with a copy. */
static bool subtracts_itself(const struct sets *s)
{
    for (uint32_t i = 1; i < s->n; i++)
        if (s->of[i] == s->of[0])
            return true;
    return false;
}

static void subtract(const struct sets *s, set_visit_fn *visit, void *arg)
{
    if (s->of[0] == NULL || subtracts_itself(s))
        return;
    struct sieve v = {.sets = s, .visit = visit, .arg = arg};
    (void)set_visit(s->of[0], sift, &v);
}

/* Members come once for each set that has them. */
static void unite(const struct sets *s, set_visit_fn *visit, void *arg)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (s->of[i] != NULL && !set_visit(s->of[i], visit, arg))
            return;
}

static void combine(enum operation op, const struct sets *s, set_visit_fn *visit, void *arg)
{
    switch (op) {
    case INTERSECTION: intersect(s, visit, arg); break;
    case UNION: unite(s, visit, arg); break;
    case DIFFERENCE: subtract(s, visit, arg); break;
    }
}

/* ---- results as sets ------------------------------------------------------------------------------ */

struct builder {
    const struct object_options *opt;
    struct object *o; /* NULL: nothing yet */
    int err;
};

static bool build(void *arg, struct str member)
{
    struct builder *b = arg;
    if (b->o == NULL)
        b->o = set_new(b->opt, member, 1);
    int rc = b->o == NULL ? ERR_OOM : set_add(&b->o, b->opt, member);
    b->err = rc < 0 ? rc : 0;
    return b->err == 0;
}

/* The result, returned owned; NULL and 0 when it is empty. */
static int make(const struct cmd_ctx *c, enum operation op, const struct sets *s, struct object **out)
{
    struct builder b = {.opt = &c->limits->objects};
    combine(op, s, build, &b);
    if (b.err != 0 && b.o != NULL) {
        object_put(b.o);
        b.o = NULL;
    }
    *out = b.o;
    return b.err;
}

/* One large set under another name: the copy shares it. */
static const struct object *only_one(enum operation op, const struct cmd_ctx *c, const struct sets *s)
{
    const struct object *one = NULL;
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->of[i] == NULL || s->of[i] == one)
            continue;
        if (one != NULL)
            return NULL;
        one = s->of[i];
    }
    bool fits = op == UNION || s->n == 1 || (op == INTERSECTION && s->empty == 0);
    return fits && one != NULL && one->large && set_count(one) > c->limits->objects.set_max_intset_entries &&
                   set_count(one) > c->limits->objects.set_max_listpack_entries
               ? one
               : NULL;
}

/* What sets_find() has found from key number `first` on still lies there. */
static bool sets_lie_there(const struct cmd_ctx *c, uint32_t first, const struct sets *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        const struct entry *e = store_peek(&c->a, &c->keys[first + i]);
        if ((e != NULL) != (s->of[i] != NULL) || (e != NULL && entry_object(e) != s->of[i]))
            return false;
    }
    return true;
}

/* As make(), of the sources of a command that stores; the keys are ours again when it returns. False after
 * replying: there is something else under a key now. */
static bool make_aside(struct cmd_ctx *c, enum operation op, struct sets *s, struct object **out, int *err)
{
    s->kept = sets_keep(c, s->of, s->n);
    *err = make(c, op, s, out);
    if (!s->kept)
        return true;
    c->take_back(c);
    bool same = sets_lie_there(c, 1, s);
    sets_done(c, s);
    if (same)
        return true;
    if (*out != NULL)
        store_release_object(c->a.store, *out);
    *out = NULL;
    if (!sets_find(c, 1, true, s))
        return false;
    *err = make(c, op, s, out);
    return true;
}

static void store_result(struct cmd_ctx *c, enum operation op)
{
    struct sets s;
    struct object *o = NULL;
    int err = 0;
    if (!sets_find(c, 1, true, &s))
        return;
    const struct object *one = only_one(op, c, &s);
    if (one != NULL) {
        o = (struct object *)one;
        object_get(o);
    } else if (!make_aside(c, op, &s, &o, &err)) {
        return;
    }
    if (err == 0 && o != NULL) {
        if (one == NULL)
            set_prefer_intset(&o, &c->limits->objects);
        int64_t n = (int64_t)set_count(o);
        err = store_put_object(&c->a, &c->keys[0], o, 0, 0);
        if (err == 0)
            reply_int(c->reply, n);
        else
            store_release_object(c->a.store, o);
    } else if (err == 0) {
        store_delete(&c->a, &c->keys[0]);
        reply_int(c->reply, 0);
    }
    if (err != 0)
        cmd_reply_err(c, err);
}

/* ---- results as replies ------------------------------------------------------------------------------ */

struct teller {
    struct reply *reply;
    uint64_t n;
};

static bool tell(void *arg, struct str member)
{
    struct teller *t = arg;
    t->n++;
    return sets_reply_member(t->reply, member);
}

static void reply_result(struct cmd_ctx *c, enum operation op)
{
    struct sets s;
    struct teller t = {.reply = c->reply};
    if (!sets_take(c, &s))
        return;
    size_t list = reply_deferred(c->reply);
    combine(op, &s, tell, &t);
    reply_deferred_end(c->reply, list, '~', t.n);
    sets_done(c, &s);
}

void cmd_sinter(struct cmd_ctx *c)
{
    reply_result(c, INTERSECTION);
}

void cmd_sdiff(struct cmd_ctx *c)
{
    reply_result(c, DIFFERENCE);
}

/* Members of several sets must be told once. */
void cmd_sunion(struct cmd_ctx *c)
{
    struct sets s;
    struct object *o;
    if (!sets_take(c, &s))
        return;
    int err = make(c, UNION, &s, &o);
    sets_done(c, &s);
    if (err != 0) {
        cmd_reply_err(c, err);
        return;
    }
    reply_set(c->reply, o == NULL ? 0 : set_count(o));
    if (o == NULL)
        return;
    (void)set_visit(o, sets_reply_member, c->reply);
    store_release_object(c->a.store, o);
}

void cmd_sinterstore(struct cmd_ctx *c)
{
    store_result(c, INTERSECTION);
}

void cmd_sdiffstore(struct cmd_ctx *c)
{
    store_result(c, DIFFERENCE);
}

void cmd_sunionstore(struct cmd_ctx *c)
{
    store_result(c, UNION);
}

/* ---- SINTERCARD ---------------------------------------------------------------------------------------- */

static bool parse_intercard(struct cmd_ctx *c, int64_t *limit)
{
    int64_t numkeys;
    *limit = 0;
    if (!cmd_arg_range(c, 1, 1, INT64_MAX, &numkeys, "ERR numkeys should be greater than 0"))
        return false;
    if (numkeys > (int64_t)c->argc - 2) {
        reply_error(c->reply, "ERR Number of keys can't be greater than number of args");
        return false;
    }
    for (uint32_t i = 2 + (uint32_t)numkeys; i < c->argc; i++) {
        if (i + 1 == c->argc || !cmd_arg_is(c, i, STR("LIMIT"))) {
            reply_error(c->reply, REPLY_SYNTAX);
            return false;
        }
        if (!cmd_arg_range(c, ++i, 0, INT64_MAX, limit, "ERR LIMIT can't be negative"))
            return false;
    }
    return true;
}

struct counter_to {
    uint64_t n, limit;
};

static bool count_to(void *arg, struct str member)
{
    struct counter_to *t = arg;
    return ++t->n != t->limit;
}

void cmd_sintercard(struct cmd_ctx *c)
{
    struct sets s;
    int64_t limit;
    if (!parse_intercard(c, &limit) || !sets_take(c, &s))
        return;
    struct counter_to t = {.limit = (uint64_t)limit};
    intersect(&s, count_to, &t);
    sets_done(c, &s);
    reply_int(c->reply, (int64_t)t.n);
}

/* ---- how long it takes ----------------------------------------------------------------------- */

static uint64_t cost(const struct cmd_ctx *c, enum operation op, uint32_t first, uint64_t ns)
{
    uint64_t least = UINT64_MAX, sum = 0;
    for (uint32_t k = first; k < c->nkeys; k++) {
        uint64_t n = sets_count_at(c, k);
        sum += n;
        least = n < least ? n : least;
    }
    if (c->nkeys <= first)
        return 0;
    uint64_t others = c->nkeys - first - 1;
    switch (op) {
    case INTERSECTION: return least * (ns + others * SET_LOOK_NS);
    case DIFFERENCE: return sets_count_at(c, first) * (ns + others * SET_LOOK_NS);
    case UNION: break;
    }
    return sum * (SET_CHANGE_NS + ns);
}

uint64_t cost_sinter(const struct cmd_ctx *c)
{
    return cost(c, INTERSECTION, 0, SET_READ_NS);
}

uint64_t cost_sintercard(const struct cmd_ctx *c)
{
    return cost(c, INTERSECTION, 0, 0);
}

uint64_t cost_sinterstore(const struct cmd_ctx *c)
{
    return cost(c, INTERSECTION, 1, SET_CHANGE_NS);
}

uint64_t cost_sdiff(const struct cmd_ctx *c)
{
    return cost(c, DIFFERENCE, 0, SET_READ_NS);
}

uint64_t cost_sdiffstore(const struct cmd_ctx *c)
{
    return cost(c, DIFFERENCE, 1, SET_CHANGE_NS);
}

uint64_t cost_sunion(const struct cmd_ctx *c)
{
    return cost(c, UNION, 0, SET_READ_NS);
}

/* One set alone is shared, not copied, unless it is small. */
uint64_t cost_sunionstore(const struct cmd_ctx *c)
{
    return c->nkeys == 2 ? 0 : cost(c, UNION, 1, 0);
}
