/* Sets: their members one by one. What combines several sets is in set_algebra.c, what draws lots in
 * set_random.c. */
#include "cmd/sets.h"
#include "cmd/cost.h"
#include "cmd/edit.h"
#include "cmd/handlers.h"
#include "cmd/scan.h"

#include "base/assert.h"

enum { SSCAN_MEMBER_NS = 60 };

/* ---- adding ------------------------------------------------------------------------------ */

/* What of arguments 2 and on has been added, so that it can be taken out again. */
struct added {
    uint8_t *is_new; /* by argument; NULL when there is only one */
    int64_t n;
};

static bool added_init(struct cmd_ctx *c, struct added *d)
{
    d->n = 0;
    d->is_new = c->argc > 3 ? arena_alloc(c->arena, c->argc) : NULL;
    return c->argc == 3 || d->is_new != NULL;
}

/* What was added a moment ago lies in memory that is ours alone, so this cannot fail. */
static void take_back(const struct cmd_ctx *c, struct object **o, const struct added *d, uint32_t end)
{
    for (uint32_t i = 2; i < end; i++) {
        int rc = d->is_new[i] ? set_remove(o, c->argv[i]) : 1;
        ASSERT(rc == 1);
    }
}

/* All of them or none. */
static int add_arguments(struct cmd_ctx *c, struct object **o, struct added *d)
{
    for (uint32_t i = 2; i < c->argc; i++) {
        int rc = set_add(o, &c->limits->objects, c->argv[i]);
        if (rc < 0) {
            if (d->is_new != NULL)
                take_back(c, o, d, i);
            return rc;
        }
        if (d->is_new != NULL)
            d->is_new[i] = (uint8_t)rc;
        d->n += rc;
    }
    return 0;
}

static int add_to_new(struct cmd_ctx *c, struct added *d)
{
    struct object *o = set_new(&c->limits->objects, c->argv[2], c->argc - 2);
    if (o == NULL)
        return ERR_OOM;
    int err = add_arguments(c, &o, d);
    if (err == 0)
        err = store_put_object(&c->a, &c->keys[0], o, 0, 0);
    if (err != 0)
        object_put(o);
    return err;
}

static int add_to_old(struct cmd_ctx *c, struct entry *e, struct added *d)
{
    struct edit ed;
    /* A small set is quickly copied, and then not even its encoding changes when the last member fails. */
    int err = edit_begin(c, e, c->argc > 3 && !entry_object(e)->large, &ed);
    if (err != 0)
        return err;
    set_expect(&ed.o, &c->limits->objects, c->argc - 2);
    err = add_arguments(c, &ed.o, d);
    edit_end(c, &ed, 0, err == 0 && d->n > 0);
    return err;
}

void cmd_sadd(struct cmd_ctx *c)
{
    struct entry *e;
    struct added d;
    if (!cmd_write_object(c, 0, OBJECT_SET, &e))
        return;
    int err = !added_init(c, &d) ? ERR_OOM : e == NULL ? add_to_new(c, &d) : add_to_old(c, e, &d);
    if (err == 0)
        reply_int(c->reply, d.n);
    else
        cmd_reply_err(c, err);
}

uint64_t cost_sadd(const struct cmd_ctx *c)
{
    return edit_cost(c, 0) + (uint64_t)c->argc * SET_CHANGE_NS;
}

/* ---- removing ------------------------------------------------------------------------------ */

static bool has_any(const struct cmd_ctx *c, const struct object *o)
{
    for (uint32_t i = 2; i < c->argc; i++)
        if (set_has(o, c->argv[i]))
            return true;
    return false;
}

void cmd_srem(struct cmd_ctx *c)
{
    struct entry *e;
    struct edit ed;
    int64_t n = 0;
    if (!cmd_write_object(c, 0, OBJECT_SET, &e))
        return;
    bool plain = e == NULL || set_is_plain(entry_object(e));
    if (e == NULL || (!plain && !has_any(c, entry_object(e)))) {
        reply_int(c->reply, 0);
        return;
    }
    int err = edit_begin(c, e, !plain && c->argc > 3, &ed);
    for (uint32_t i = 2; err == 0 && i < c->argc; i++) {
        int rc = set_remove(&ed.o, c->argv[i]);
        n += rc > 0;
        err = rc < 0 ? rc : 0;
    }
    if (ed.o != NULL)
        edit_end(c, &ed, 0, err == 0 && n > 0);
    if (err == 0)
        reply_int(c->reply, n);
    else
        cmd_reply_err(c, err);
}

uint64_t cost_srem(const struct cmd_ctx *c)
{
    return edit_cost(c, 0) + (uint64_t)c->argc * SET_CHANGE_NS;
}

/* ---- moving ---------------------------------------------------------------------------------- */

/* The member goes into key 1, which holds e (or nothing). */
static int put_into(struct cmd_ctx *c, struct entry *e, struct str member)
{
    struct edit ed;
    if (e != NULL) {
        int err = edit_begin(c, e, false, &ed), rc = 0;
        if (err == 0) {
            rc = set_add(&ed.o, &c->limits->objects, member);
            edit_end(c, &ed, 1, rc > 0);
        }
        return err != 0 ? err : rc < 0 ? rc : 0;
    }
    struct object *o = set_new(&c->limits->objects, member, 1);
    int err = o == NULL || set_add(&o, &c->limits->objects, member) < 0 ? ERR_OOM : 0;
    if (err == 0)
        err = store_put_object(&c->a, &c->keys[1], o, 0, 0);
    if (err != 0 && o != NULL)
        object_put(o);
    return err;
}

/* Whatever can fail comes first: an original that is certain to give the member away, then the destination.
 */
static int move_member(struct cmd_ctx *c, struct entry *from, struct entry *to, struct str member)
{
    struct edit ed;
    bool plain = set_is_plain(entry_object(from));
    int err = edit_begin(c, from, !plain, &ed);
    if (err != 0)
        return err;
    int rc = plain ? 1 : set_remove(&ed.o, member);
    err = rc < 0 ? rc : put_into(c, to, member);
    if (err != 0) {
        edit_end(c, &ed, 0, false);
        return err;
    }
    if (plain)
        rc = set_remove(&ed.o, member);
    ASSERT(rc == 1);
    edit_end(c, &ed, 0, true);
    return 0;
}

void cmd_smove(struct cmd_ctx *c)
{
    struct entry *from, *to;
    struct str member = c->argv[3];
    from = store_find(&c->a, &c->keys[0]);
    if (from == NULL) {
        reply_int(c->reply, 0);
        return;
    }
    if (!cmd_write_object(c, 1, OBJECT_SET, &to) || !cmd_write_object(c, 0, OBJECT_SET, &from))
        return;
    bool there = set_has(entry_object(from), member);
    int err = there && from != to ? move_member(c, from, to, member) : 0;
    if (err == 0)
        reply_int(c->reply, there);
    else
        cmd_reply_err(c, err);
}

uint64_t cost_smove(const struct cmd_ctx *c)
{
    return edit_cost(c, 0) + edit_cost(c, 1);
}

/* ---- asking ------------------------------------------------------------------------------------ */

void cmd_scard(struct cmd_ctx *c)
{
    struct entry *e;
    if (cmd_find_object(c, 0, OBJECT_SET, &e))
        reply_int(c->reply, e == NULL ? 0 : (int64_t)set_count(entry_object(e)));
}

void cmd_sismember(struct cmd_ctx *c)
{
    struct entry *e;
    if (cmd_find_object(c, 0, OBJECT_SET, &e))
        reply_int(c->reply, e != NULL && set_has(entry_object(e), c->argv[2]));
}

void cmd_smismember(struct cmd_ctx *c)
{
    struct entry *e;
    if (!cmd_find_object(c, 0, OBJECT_SET, &e))
        return;
    reply_array(c->reply, c->argc - 2);
    for (uint32_t i = 2; i < c->argc; i++)
        reply_int(c->reply, e != NULL && set_has(entry_object(e), c->argv[i]));
}

bool sets_reply_member(void *arg, struct str member)
{
    struct reply *r = arg;
    reply_bulk(r, member);
    return !r->oom;
}

bool sets_keep(struct cmd_ctx *c, const struct object *const *of, uint32_t n)
{
    if (c->let_go == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (of[i] != NULL)
            object_get((struct object *)(uintptr_t)of[i]);
    c->let_go(c);
    return true;
}

void sets_drop(struct cmd_ctx *c, const struct object *const *of, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (of[i] != NULL)
            store_release_object(c->a.store, (struct object *)(uintptr_t)of[i]);
}

void cmd_smembers(struct cmd_ctx *c)
{
    struct entry *e;
    if (!cmd_find_object(c, 0, OBJECT_SET, &e))
        return;
    const struct object *o = e == NULL ? NULL : entry_object(e);
    bool kept = sets_keep(c, &o, 1);
    reply_set(c->reply, o == NULL ? 0 : set_count(o));
    if (o != NULL)
        (void)set_visit(o, sets_reply_member, c->reply);
    if (kept)
        sets_drop(c, &o, 1);
}

uint64_t sets_count_at(const struct cmd_ctx *c, uint32_t k)
{
    const struct entry *e = store_peek(&c->a, &c->keys[k]);
    const struct object *o = e != NULL ? entry_object(e) : NULL;
    return o != NULL && o->kind == OBJECT_SET ? set_count(o) : 0;
}

uint64_t cost_smembers(const struct cmd_ctx *c)
{
    return sets_count_at(c, 0) * SET_READ_NS;
}

/* ---- scanning ------------------------------------------------------------------------------------ */

struct lister {
    struct reply *reply;
    struct str pattern;
    uint64_t n;
};

static bool list_member(void *arg, struct str member)
{
    struct lister *l = arg;
    if (l->pattern.p != NULL && !str_glob(l->pattern, member, false))
        return true;
    reply_bulk(l->reply, member);
    l->n++;
    return !l->reply->oom;
}

/* The cursor comes before the members, and is known after them. */
static void reply_scan(struct cmd_ctx *c, const struct object *o, uint64_t cursor,
                       const struct scan_options *opt)
{
    struct reply members;
    char text[NUM_I64_TEXT_MAX];
    reply_init(&members, c->reply->block_get, c->reply->block_put);
    members.limit = c->reply->limit;
    struct lister l = {.reply = &members, .pattern = opt->pattern};
    set_scan(o, &cursor, (uint64_t)opt->count, list_member, &l);
    if (members.oom) {
        cmd_reply_err(c, ERR_OOM);
    } else {
        reply_array(c->reply, 2);
        reply_bulk(c->reply, (struct str){text, num_put_u64(text, cursor)});
        reply_array(c->reply, l.n);
        reply_append(c->reply, &members);
    }
    reply_release(&members);
}

void cmd_sscan(struct cmd_ctx *c)
{
    struct entry *e;
    uint64_t cursor;
    struct scan_options opt;
    if (!scan_arg_cursor(c, 2, &cursor) || !cmd_find_object(c, 0, OBJECT_SET, &e))
        return;
    if (e == NULL) {
        reply_array(c->reply, 2);
        reply_cstr(c->reply, "0");
        reply_array(c->reply, 0);
        return;
    }
    if (scan_parse_options(c, 3, false, &opt))
        reply_scan(c, entry_object(e), cursor, &opt);
}

uint64_t cost_sscan(const struct cmd_ctx *c)
{
    uint64_t count = scan_cost_count(c, 3), all = sets_count_at(c, 0);
    return (count < all ? count : all) * SSCAN_MEMBER_NS;
}
