/* LCS: Redis's arguments and replies around ds/lcs.h. */
#include "ds/lcs.h"

#include "cmd/cmd.h"
#include "cmd/cost.h"
#include "cmd/handlers.h"

struct options {
    bool length, ranges, with_length;
    int64_t min_length;
};

static bool parse_options(struct cmd_ctx *c, struct options *o)
{
    *o = (struct options){.min_length = 0};
    for (uint32_t i = 3; i < c->argc; i++) {
        if (cmd_arg_is(c, i, STR("IDX"))) {
            o->ranges = true;
        } else if (cmd_arg_is(c, i, STR("LEN"))) {
            o->length = true;
        } else if (cmd_arg_is(c, i, STR("WITHMATCHLEN"))) {
            o->with_length = true;
        } else if (cmd_arg_is(c, i, STR("MINMATCHLEN")) && i + 1 < c->argc) {
            if (!cmd_arg_i64(c, ++i, &o->min_length))
                return false;
        } else {
            reply_error(c->reply, REPLY_SYNTAX);
            return false;
        }
    }
    if (!o->length || !o->ranges)
        return true;
    reply_error(c->reply, "ERR If you want both the length and indexes, please just use IDX.");
    return false;
}

/* Both strings; a missing key is an empty one. */
static bool find_strings(struct cmd_ctx *c, struct str out[2])
{
    struct entry *e[2] = {cmd_find(c, 0), cmd_find(c, 1)};
    for (int i = 0; i < 2; i++) {
        struct block *block;
        if (e[i] != NULL && !entry_is_string(e[i])) {
            reply_error(c->reply, "ERR The specified keys must contain string values");
            return false;
        }
        out[i] = e[i] == NULL ? STR("") : entry_string(e[i], &block);
    }
    return true;
}

/* Redis's table has 4 bytes a cell. Ours needs far less, but what one refuses the other should too. */
static bool check_size(struct cmd_ctx *c, struct str a, struct str b)
{
    uint64_t cells;
    if (a.n >= UINT32_MAX - 1 || b.n >= UINT32_MAX - 1) {
        reply_error(c->reply, "ERR String too long for LCS");
        return false;
    }
    if (!num_mul_overflows((uint64_t)a.n + 1, (uint64_t)b.n + 1, &cells) && cells <= c->limits->bulk_max / 4)
        return true;
    reply_error(c->reply, "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
    return false;
}

struct range_reply {
    struct reply *reply;
    const struct options *options;
    uint32_t n;
};

static void reply_range(void *arg, const struct lcs_range *r)
{
    struct range_reply *to = arg;
    int64_t n = (int64_t)r->a_last - r->a_first + 1;
    if (n < to->options->min_length)
        return;
    reply_array(to->reply, to->options->with_length ? 3 : 2);
    reply_array(to->reply, 2);
    reply_int(to->reply, r->a_first);
    reply_int(to->reply, r->a_last);
    reply_array(to->reply, 2);
    reply_int(to->reply, r->b_first);
    reply_int(to->reply, r->b_last);
    if (to->options->with_length)
        reply_int(to->reply, n);
    to->n++;
}

static void reply_ranges(struct cmd_ctx *c, const struct lcs *l, const struct options *o)
{
    struct range_reply to = {.reply = c->reply, .options = o};
    reply_map(c->reply, 2);
    reply_cstr(c->reply, "matches");
    size_t list = reply_deferred(c->reply);
    lcs_ranges(l, reply_range, &to);
    reply_deferred_end(c->reply, list, '*', to.n);
    reply_cstr(c->reply, "len");
    reply_int(c->reply, l->length);
}

static void reply_text(struct cmd_ctx *c, const struct lcs *l)
{
    struct block *block = block_new(l->length);
    if (block == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return;
    }
    block->n = l->length;
    lcs_text(l, block->data);
    cmd_reply_part(c, block, block_str(block));
    block_put(block);
}

void cmd_lcs(struct cmd_ctx *c)
{
    struct options o;
    struct str s[2];
    struct lcs l;
    if (!find_strings(c, s) || !parse_options(c, &o) || !check_size(c, s[0], s[1]))
        return;
    if (lcs_compute(&l, s[0], s[1], o.length) != 0) {
        reply_error(c->reply, "ERR Insufficient memory, failed allocating transient memory for LCS");
        return;
    }
    if (o.ranges)
        reply_ranges(c, &l, &o);
    else if (o.length)
        reply_int(c->reply, l.length);
    else
        reply_text(c, &l);
    lcs_release(&l);
}

uint64_t cost_lcs(const struct cmd_ctx *c)
{
    return lcs_steps(cost_string_bytes(c, 0), cost_string_bytes(c, 1)) * COST_LCS_STEP_NS;
}
