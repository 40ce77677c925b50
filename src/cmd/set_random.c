/* SPOP and SRANDMEMBER. Every member is as likely as any other, and of several that must be different
 * every choice is as likely as any other: drawn one by one, or, when it is a large part of the set, by
 * walking through it and taking each member with the probability that is left. */
#include "cmd/edit.h"
#include "cmd/effect.h"
#include "cmd/handlers.h"
#include "cmd/sets.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <string.h>

enum {
    WALK_SHARE = 3, /* walk when a third or more of the set is wanted */
    BULK_MIN = 6,   /* bytes that a member takes in a reply, at least */
};

#define NOT_POSITIVE "ERR value is out of range, must be positive"

/* ---- SPOP ----------------------------------------------------------------------------------- */

/* What was taken, for those who are told of every change: they must not draw lots of their own. */
struct popped {
    struct str *argv; /* SREM key member ...; NULL: nobody listens */
    uint32_t n;
};

static int popped_init(struct cmd_ctx *c, struct popped *p, uint64_t n)
{
    *p = (struct popped){.n = 2};
    if (c->unit == NULL)
        return 0;
    p->argv = n < UINT32_MAX - 2 ? arena_alloc(c->arena, (n + 2) * sizeof *p->argv) : NULL;
    if (p->argv == NULL)
        return ERR_OOM;
    p->argv[0] = STR("SREM");
    p->argv[1] = c->argv[1];
    return 0;
}

static int popped_note(struct cmd_ctx *c, struct popped *p, struct str member)
{
    if (p->argv == NULL)
        return 0;
    p->argv[p->n] = arena_copy(c->arena, member);
    return p->argv[p->n++].p != NULL ? 0 : ERR_OOM;
}

/* Take out one: it is in the reply already when that succeeds. */
static int pop_one(struct cmd_ctx *c, struct object **o, struct popped *p)
{
    char text[NUM_I64_TEXT_MAX];
    struct set_at at = set_random(*o, c->rng);
    struct str member = set_member(*o, at, text);
    reply_bulk(c->reply, member);
    if (popped_note(c, p, member) != 0)
        return ERR_OOM;
    int rc = set_remove_at(o, at);
    return rc < 0 ? rc : 0;
}

static int pop_all_or_none(struct cmd_ctx *c, struct entry *e, uint64_t n)
{
    struct edit ed;
    struct popped p;
    int err = popped_init(c, &p, n);
    /* On a copy when some of it might fail after some of it has been done. */
    bool safe = set_is_plain(entry_object(e)) && (p.argv == NULL || n == 1);
    if (err == 0)
        err = edit_begin(c, e, !safe, &ed);
    if (err != 0)
        return err;
    if (c->argc > 2)
        reply_set(c->reply, n);
    for (uint64_t i = 0; i < n && err == 0; i++)
        err = pop_one(c, &ed.o, &p);
    edit_end(c, &ed, 0, err == 0);
    if (err == 0 && p.argv != NULL)
        effect_add(c, p.argv, p.n);
    return err;
}

static void pop_several(struct cmd_ctx *c, struct entry *e, uint64_t n)
{
    struct reply_mark mark = reply_mark(c->reply);
    int err = pop_all_or_none(c, e, n);
    if (err != 0) {
        reply_rollback(c->reply, mark);
        cmd_reply_err(c, err);
    }
}

static void pop_count(struct cmd_ctx *c)
{
    struct entry *e;
    int64_t count;
    if (!cmd_arg_range(c, 2, 0, INT64_MAX, &count, NOT_POSITIVE) || !cmd_write_object(c, 0, OBJECT_SET, &e))
        return;
    uint64_t all = e == NULL ? 0 : set_count(entry_object(e));
    if (all == 0 || count == 0) {
        reply_set(c->reply, 0);
    } else if ((uint64_t)count >= all) {
        reply_set(c->reply, all);
        (void)set_visit(entry_object(e), sets_reply_member, c->reply);
        if (store_delete(&c->a, &c->keys[0]))
            effect_del(c);
    } else {
        pop_several(c, e, (uint64_t)count);
    }
}

void cmd_spop(struct cmd_ctx *c)
{
    struct entry *e;
    if (c->argc > 3) {
        reply_error(c->reply, REPLY_SYNTAX);
    } else if (c->argc == 3) {
        pop_count(c);
    } else if (cmd_write_object(c, 0, OBJECT_SET, &e)) {
        if (e == NULL)
            reply_null(c->reply);
        else
            pop_several(c, e, 1);
    }
}

/* The count among the arguments, as far as the set has so many (SRANDMEMBER with a negative one: all of it).
 */
static uint64_t count_wanted(const struct cmd_ctx *c)
{
    int64_t count;
    uint64_t all = sets_count_at(c, 0);
    if (c->argc != 3 || all == 0 || !num_parse_i64(c->argv[2], &count))
        return 0;
    if (count < 0)
        return -(uint64_t)count;
    return (uint64_t)count < all ? (uint64_t)count : all;
}

static uint64_t times(uint64_t n, uint64_t ns)
{
    return n < UINT32_MAX ? n * ns : UINT64_MAX / 2;
}

uint64_t cost_spop(const struct cmd_ctx *c)
{
    return edit_cost(c, 0) + times(count_wanted(c), SET_CHANGE_NS);
}

/* ---- SRANDMEMBER ------------------------------------------------------------------------------ */

static void reply_at(struct cmd_ctx *c, const struct object *o, struct set_at at)
{
    char text[NUM_I64_TEXT_MAX];
    reply_bulk(c->reply, set_member(o, at, text));
}

/* The only reply that a few bytes can make as large as they like: like a string, it may not be larger than
 * proto-max-bulk-len. */
static void draw_with_repetition(struct cmd_ctx *c, const struct object *o, uint64_t n)
{
    struct reply_mark mark = reply_mark(c->reply);
    size_t start = reply_size(c->reply);
    bool fits = n <= c->limits->bulk_max / BULK_MIN;
    if (fits)
        reply_array(c->reply, n);
    for (uint64_t i = 0; i < n && fits && !c->reply->oom; i++) {
        reply_at(c, o, set_random(o, c->rng));
        fits = reply_size(c->reply) - start <= c->limits->bulk_max;
    }
    if (!fits) {
        reply_rollback(c->reply, mark);
        reply_error(c->reply, "ERR value is out of range: so many members exceed proto-max-bulk-len");
    }
}

struct walk {
    struct reply *reply;
    struct rng *rng;
    uint64_t wanted, left;
};

static bool take_some(void *arg, struct str member)
{
    struct walk *w = arg;
    if (rng_below(w->rng, w->left--) < w->wanted) {
        reply_bulk(w->reply, member);
        w->wanted--;
    }
    return w->wanted > 0 && !w->reply->oom;
}

/* Places that were drawn: an open hash of page and index, each plus one. */
struct drawn {
    uint64_t *places, mask;
};

static bool is_drawn(struct drawn *d, struct set_at at)
{
    uint64_t place = ((uint64_t)at.page << 32 | at.index) + 1, i = hash_mix64(place) & d->mask;
    while (d->places[i] != 0) {
        if (d->places[i] == place)
            return true;
        i = (i + 1) & d->mask;
    }
    d->places[i] = place;
    return false;
}

static void draw_different(struct cmd_ctx *c, const struct object *o, uint64_t n)
{
    uint64_t size = 4;
    while (size < 2 * n)
        size *= 2;
    struct drawn d = {mem_zalloc(size * sizeof *d.places), size - 1};
    if (d.places == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return;
    }
    reply_array(c->reply, n);
    while (n > 0 && !c->reply->oom) {
        struct set_at at = set_random(o, c->rng);
        if (is_drawn(&d, at))
            continue;
        reply_at(c, o, at);
        n--;
    }
    mem_free(d.places);
}

static void random_count(struct cmd_ctx *c)
{
    struct entry *e;
    int64_t count;
    if (!cmd_arg_range(c, 2, -INT64_MAX, INT64_MAX, &count, NULL) || !cmd_find_object(c, 0, OBJECT_SET, &e))
        return;
    if (e == NULL || count == 0) {
        reply_array(c->reply, 0);
        return;
    }
    const struct object *o = entry_object(e);
    uint64_t all = set_count(o), n = count > 0 && (uint64_t)count > all ? all : (uint64_t)count;
    if (count < 0) {
        draw_with_repetition(c, o, -(uint64_t)count);
    } else if (n > all / WALK_SHARE) {
        struct walk w = {.reply = c->reply, .rng = c->rng, .wanted = n, .left = all};
        reply_array(c->reply, n);
        (void)set_visit(o, take_some, &w);
    } else {
        draw_different(c, o, n);
    }
}

void cmd_srandmember(struct cmd_ctx *c)
{
    struct entry *e;
    if (c->argc > 3) {
        reply_error(c->reply, REPLY_SYNTAX);
    } else if (c->argc == 3) {
        random_count(c);
    } else if (cmd_find_object(c, 0, OBJECT_SET, &e)) {
        if (e == NULL)
            reply_null(c->reply);
        else
            reply_at(c, entry_object(e), set_random(entry_object(e), c->rng));
    }
}

uint64_t cost_srandmember(const struct cmd_ctx *c)
{
    return times(count_wanted(c), SET_LOOK_NS);
}
