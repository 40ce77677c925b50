/* Whole strings: GET, SET and what grew around them, one key or several. */
#include "cmd/cmd.h"
#include "cmd/effect.h"
#include "cmd/handlers.h"

#include "base/assert.h"

/* ---- options of SET and GETEX ----------------------------------------------------- */

enum option_bits {
    OPT_NX = 1 << 0,
    OPT_XX = 1 << 1,
    OPT_GET = 1 << 2,
    OPT_EX = 1 << 3,
    OPT_PX = 1 << 4,
    OPT_EXAT = 1 << 5,
    OPT_PXAT = 1 << 6,
    OPT_KEEPTTL = 1 << 7,
    OPT_PERSIST = 1 << 8,
    OPT_TIME = OPT_EX | OPT_PX | OPT_EXAT | OPT_PXAT, /* are followed by a number */
    OPT_TTL = OPT_TIME | OPT_KEEPTTL | OPT_PERSIST,   /* of these, only one */
    OPT_OF_SET = OPT_NX | OPT_XX | OPT_GET | OPT_TIME | OPT_KEEPTTL,
    OPT_OF_GETEX = OPT_TIME | OPT_PERSIST,
};

static const struct option {
    struct str word;
    unsigned bit;
} option_words[] = {
    {{"EX", 2}, OPT_EX},     {{"PX", 2}, OPT_PX},           {{"NX", 2}, OPT_NX},
    {{"XX", 2}, OPT_XX},     {{"GET", 3}, OPT_GET},         {{"EXAT", 4}, OPT_EXAT},
    {{"PXAT", 4}, OPT_PXAT}, {{"KEEPTTL", 7}, OPT_KEEPTTL}, {{"PERSIST", 7}, OPT_PERSIST},
};

struct options {
    unsigned bits;
    uint32_t time; /* argument of the last OPT_TIME, 0 = none */
};

static unsigned option_bit(const struct cmd_ctx *c, uint32_t arg)
{
    for (size_t i = 0; i < ARRAY_LEN(option_words); i++)
        if (cmd_arg_is(c, arg, option_words[i].word))
            return option_words[i].bit;
    return 0;
}

/* An option may be repeated, but not stand beside one that contradicts it. */
static unsigned option_excludes(unsigned bit)
{
    if (bit & OPT_TTL)
        return OPT_TTL & ~bit;
    return bit == OPT_NX ? OPT_XX : bit == OPT_XX ? OPT_NX : 0;
}

static bool parse_options(struct cmd_ctx *c, uint32_t first, unsigned allowed, struct options *o)
{
    *o = (struct options){0};
    for (uint32_t i = first; i < c->argc; i++) {
        unsigned bit = option_bit(c, i);
        bool cut = (bit & OPT_TIME) && i + 1 == c->argc;
        if (!(bit & allowed) || (o->bits & option_excludes(bit)) || cut) {
            reply_error(c->reply, REPLY_SYNTAX);
            return false;
        }
        o->bits |= bit;
        if (bit & OPT_TIME)
            o->time = ++i;
    }
    return true;
}

static bool parse_deadline(struct cmd_ctx *c, const struct options *o, int64_t *deadline)
{
    *deadline = 0;
    if (o->time == 0)
        return true;
    int64_t unit = o->bits & (OPT_PX | OPT_PXAT) ? 1 : 1000;
    return cmd_arg_deadline(c, o->time, unit, o->bits & (OPT_EXAT | OPT_PXAT), true, deadline);
}

/* ---- one key ---------------------------------------------------------------------- */

/* Argument i becomes the value of key 0. A deadline that has passed leaves nothing there. */
static int put_argument(struct cmd_ctx *c, uint32_t i, int64_t deadline, unsigned flags)
{
    if (cmd_is_over(c, deadline)) {
        if (store_delete(&c->a, &c->keys[0]))
            effect_del(c);
        return 0;
    }
    struct block *block = c->nblocks > 0 ? cmd_arg_block(c, i) : NULL;
    int err = store_put_string(&c->a, &c->keys[0], c->argv[i], block, deadline, flags);
    if (unlikely(c->unit != NULL) && err == 0)
        effect_set(c, c->argv[i], deadline, flags & PUT_KEEP_TTL);
    return err;
}

/* The string at key 0 or a null. False after replying WRONGTYPE. */
static bool reply_old(struct cmd_ctx *c, struct entry **e)
{
    if (!cmd_find_string(c, 0, e))
        return false;
    if (*e != NULL)
        cmd_reply_value(c, *e);
    else
        reply_null(c->reply);
    return true;
}

/* The reply stands already; if the write that should follow it failed, it was wrong. */
static void finish_after_reply(struct cmd_ctx *c, struct reply_mark mark, int err)
{
    if (likely(err == 0))
        return;
    reply_rollback(c->reply, mark);
    cmd_reply_err(c, err);
}

static void set_with_options(struct cmd_ctx *c)
{
    struct options o;
    int64_t deadline;
    if (!parse_options(c, 3, OPT_OF_SET, &o) || !parse_deadline(c, &o, &deadline))
        return;
    struct reply_mark mark = reply_mark(c->reply);
    struct entry *e = NULL;
    bool get = o.bits & OPT_GET;
    if (get && !reply_old(c, &e))
        return;
    if (!get && (o.bits & (OPT_NX | OPT_XX)))
        e = store_find(&c->a, &c->keys[0]);
    if (((o.bits & OPT_NX) && e != NULL) || ((o.bits & OPT_XX) && e == NULL)) {
        if (!get)
            reply_null(c->reply);
        return;
    }
    int err = put_argument(c, 2, deadline, o.bits & OPT_KEEPTTL ? PUT_KEEP_TTL : 0);
    if (get)
        finish_after_reply(c, mark, err);
    else
        cmd_reply_status(c, err);
}

void cmd_get(struct cmd_ctx *c)
{
    struct entry *e;
    reply_old(c, &e);
}

void cmd_set(struct cmd_ctx *c)
{
    if (likely(c->argc == 3)) {
        struct block *block = c->nblocks > 0 ? cmd_arg_block(c, 2) : NULL;
        cmd_reply_status(c, store_put_string(&c->a, &c->keys[0], c->argv[2], block, 0, 0));
    } else {
        set_with_options(c);
    }
}

void cmd_setnx(struct cmd_ctx *c)
{
    if (store_find(&c->a, &c->keys[0]) != NULL) {
        reply_int(c->reply, 0);
        return;
    }
    int err = put_argument(c, 2, 0, 0);
    if (err == 0)
        reply_int(c->reply, 1);
    else
        cmd_reply_err(c, err);
}

static void set_for(struct cmd_ctx *c, int64_t unit_ms)
{
    int64_t deadline;
    if (cmd_arg_deadline(c, 2, unit_ms, false, true, &deadline))
        cmd_reply_status(c, put_argument(c, 3, deadline, 0));
}

void cmd_setex(struct cmd_ctx *c)
{
    set_for(c, 1000);
}

void cmd_psetex(struct cmd_ctx *c)
{
    set_for(c, 1);
}

void cmd_getset(struct cmd_ctx *c)
{
    struct reply_mark mark = reply_mark(c->reply);
    struct entry *e;
    if (reply_old(c, &e))
        finish_after_reply(c, mark, put_argument(c, 2, 0, 0));
}

void cmd_getdel(struct cmd_ctx *c)
{
    struct entry *e;
    if (reply_old(c, &e) && e != NULL && store_delete(&c->a, &c->keys[0]))
        effect_del(c);
}

/* 0: none any more; in the past: the key goes. */
static int set_deadline(struct cmd_ctx *c, int64_t deadline)
{
    if (cmd_is_over(c, deadline)) {
        if (store_delete(&c->a, &c->keys[0]))
            effect_del(c);
        return 0;
    }
    int err = store_set_expire(&c->a, &c->keys[0], deadline);
    if (err == 0)
        effect_deadline(c, deadline);
    return err;
}

void cmd_getex(struct cmd_ctx *c)
{
    struct options o;
    int64_t deadline = 0;
    struct entry *e;
    if (!parse_options(c, 2, OPT_OF_GETEX, &o))
        return;
    /* Redis looks at the number only after it has found a string. */
    if (!cmd_find_string(c, 0, &e) || (e != NULL && !parse_deadline(c, &o, &deadline)))
        return;
    if (e == NULL) {
        reply_null(c->reply);
        return;
    }
    struct reply_mark mark = reply_mark(c->reply);
    cmd_reply_value(c, e);
    bool persist = (o.bits & OPT_PERSIST) && entry_deadline(e) != 0;
    finish_after_reply(c, mark, deadline != 0 || persist ? set_deadline(c, deadline) : 0);
}

void cmd_strlen(struct cmd_ctx *c)
{
    struct entry *e;
    struct block *block;
    if (cmd_find_string(c, 0, &e))
        reply_int(c->reply, e == NULL ? 0 : (int64_t)entry_string(e, &block).n);
}

/* ---- several keys ----------------------------------------------------------------- */

void cmd_mget(struct cmd_ctx *c)
{
    reply_array(c->reply, c->nkeys);
    for (uint32_t k = 0; k < c->nkeys; k++) {
        const struct entry *e = cmd_find(c, k);
        if (e != NULL && entry_is_string(e))
            cmd_reply_value(c, e);
        else
            reply_null(c->reply);
    }
}

static bool check_pairs(struct cmd_ctx *c)
{
    if (c->argc % 2 == 1)
        return true;
    cmd_reply_arity(c);
    return false;
}

static int put_pairs(struct cmd_ctx *c)
{
    struct store_pair *pairs = arena_alloc(c->arena, c->nkeys * sizeof *pairs);
    if (pairs == NULL)
        return ERR_OOM;
    for (uint32_t k = 0; k < c->nkeys; k++) {
        uint32_t i = 2 + 2 * k;
        pairs[k] =
            (struct store_pair){.value = c->argv[i], .block = c->nblocks > 0 ? cmd_arg_block(c, i) : NULL};
    }
    return store_put_pairs(&c->a, c->keys, pairs, c->nkeys);
}

void cmd_mset(struct cmd_ctx *c)
{
    if (check_pairs(c))
        cmd_reply_status(c, put_pairs(c));
}

void cmd_msetnx(struct cmd_ctx *c)
{
    if (!check_pairs(c))
        return;
    for (uint32_t k = 0; k < c->nkeys; k++) {
        if (store_find(&c->a, &c->keys[k]) != NULL) {
            reply_int(c->reply, 0);
            return;
        }
    }
    int err = put_pairs(c);
    if (err == 0)
        reply_int(c->reply, 1);
    else
        cmd_reply_err(c, err);
}
