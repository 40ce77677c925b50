/* BITFIELD: integers of 1 to 64 bits at any bit of a string.
 *
 * A request is a little program (GET, SET, INCRBY, and OVERFLOW, which holds for what
 * follows it). All of it is parsed before any of it runs, so an error changes
 * nothing; and the string is made long enough once, so that running cannot fail. */
#include "cmd/bits.h"
#include "cmd/cmd.h"
#include "cmd/cost.h"
#include "cmd/handlers.h"
#include "ds/bitmap.h"

#include <string.h>

enum op_kind { OP_GET, OP_SET, OP_INCRBY };
enum overflow { OVERFLOW_WRAP, OVERFLOW_SAT, OVERFLOW_FAIL };

struct op {
    uint64_t offset;
    int64_t value; /* to set, or to add */
    uint8_t kind, overflow, bits;
    bool is_signed;
};

struct program {
    struct op *ops;
    uint32_t n;
    bool writes;
    uint64_t last_bit; /* that some op writes */
};

/* ---- parsing ------------------------------------------------------------------------ */

/* "u1" to "u63", "i1" to "i64". */
static bool parse_type(struct str text, struct op *op)
{
    int64_t bits;
    text.n = strnlen(text.p, text.n);
    if (text.n < 2 || (text.p[0] != 'i' && text.p[0] != 'u'))
        return false;
    op->is_signed = text.p[0] == 'i';
    if (!num_parse_i64((struct str){text.p + 1, text.n - 1}, &bits) || bits < 1 ||
        bits > (op->is_signed ? 64 : 63))
        return false;
    op->bits = (uint8_t)bits;
    return true;
}

static bool parse_overflow(struct cmd_ctx *c, uint32_t i, uint8_t *overflow)
{
    if (cmd_arg_is(c, i, STR("WRAP")))
        *overflow = OVERFLOW_WRAP;
    else if (cmd_arg_is(c, i, STR("SAT")))
        *overflow = OVERFLOW_SAT;
    else if (cmd_arg_is(c, i, STR("FAIL")))
        *overflow = OVERFLOW_FAIL;
    else {
        reply_error(c->reply, "ERR Invalid OVERFLOW type specified");
        return false;
    }
    return true;
}

/* Which operation starts at argument i; *args: how many arguments follow its name. */
static bool parse_kind(const struct cmd_ctx *c, uint32_t i, uint8_t *kind, uint32_t *args)
{
    if (cmd_arg_is(c, i, STR("GET")))
        *kind = OP_GET;
    else if (cmd_arg_is(c, i, STR("SET")))
        *kind = OP_SET;
    else if (cmd_arg_is(c, i, STR("INCRBY")))
        *kind = OP_INCRBY;
    else
        return false;
    *args = *kind == OP_GET ? 2 : 3;
    return i + *args < c->argc;
}

static bool parse_op(struct cmd_ctx *c, uint32_t i, struct program *p, struct op *op)
{
    if (!parse_type(c->argv[i + 1], op)) {
        reply_error(c->reply, "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not "
                              "supported but i64 is.");
        return false;
    }
    if (!bit_offset_arg(c, i + 2, op->bits, &op->offset))
        return false;
    if (op->kind == OP_GET)
        return true;
    uint64_t last = op->offset + op->bits - 1;
    p->writes = true;
    p->last_bit = last > p->last_bit ? last : p->last_bit;
    return cmd_arg_i64(c, i + 3, &op->value);
}

static bool parse_program(struct cmd_ctx *c, struct program *p)
{
    uint8_t overflow = OVERFLOW_WRAP;
    uint32_t args;
    *p = (struct program){.ops = arena_alloc(c->arena, (c->argc / 3 + 1) * sizeof(*p->ops))};
    if (p->ops == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return false;
    }
    for (uint32_t i = 2; i < c->argc; i += args + 1) {
        struct op *op = &p->ops[p->n];
        args = 1;
        if (cmd_arg_is(c, i, STR("OVERFLOW")) && i + 1 < c->argc) {
            if (!parse_overflow(c, i + 1, &overflow))
                return false;
            continue;
        }
        *op = (struct op){.overflow = overflow};
        if (!parse_kind(c, i, &op->kind, &args)) {
            reply_error(c->reply, REPLY_SYNTAX);
            return false;
        }
        if (!parse_op(c, i, p, op))
            return false;
        p->n++;
    }
    return true;
}

/* ---- arithmetic --------------------------------------------------------------------- */

static int64_t sign_extend(uint64_t v, unsigned bits)
{
    return (int64_t)(v << (64 - bits)) >> (64 - bits);
}

/* Does value + by fit? If not, -1 or 1 says in which direction, and *limit is what to store instead. */
static int check_signed(int64_t value, int64_t by, const struct op *op, int64_t *limit)
{
    int64_t max = op->bits == 64 ? INT64_MAX : ((int64_t)1 << (op->bits - 1)) - 1, min = -max - 1;
    /* For a value outside of [min, max], as only SET has, these wrap around: Redis then
     * takes a far too small number for a too large one, and clients see that when they saturate. */
    int64_t room_up = (int64_t)((uint64_t)max - (uint64_t)value);
    int64_t room_down = (int64_t)((uint64_t)min - (uint64_t)value);
    bool narrow = op->bits != 64;
    int direction = 0;
    if (value > max || (narrow && by > room_up) || (value >= 0 && by > 0 && by > room_up))
        direction = 1;
    else if (value < min || (narrow && by < room_down) || (value < 0 && by < 0 && by < room_down))
        direction = -1;
    if (op->overflow == OVERFLOW_SAT)
        *limit = direction > 0 ? max : min;
    else
        *limit = sign_extend((uint64_t)value + (uint64_t)by, op->bits);
    return direction;
}

static int check_unsigned(uint64_t value, int64_t by, const struct op *op, uint64_t *limit)
{
    uint64_t max = ((uint64_t)1 << op->bits) - 1;
    int direction = 0;
    if (value > max || (by > 0 && (uint64_t)by > max - value))
        direction = 1;
    else if (by < 0 && value < -(uint64_t)by)
        direction = -1;
    if (op->overflow == OVERFLOW_SAT)
        *limit = direction > 0 ? max : 0;
    else
        *limit = (value + (uint64_t)by) & max;
    return direction;
}

/* ---- running ------------------------------------------------------------------------ */

static int64_t read_field(const struct op *op, struct str bytes)
{
    uint64_t v = bitmap_field_get(bytes.p, bytes.n, op->offset, op->bits);
    return op->is_signed ? sign_extend(v, op->bits) : (int64_t)v;
}

/* What SET or INCRBY stores where `old` is. False: it refuses. */
static bool compute(const struct op *op, int64_t old, uint64_t *out)
{
    int64_t base = op->kind == OP_SET ? op->value : old, by = op->kind == OP_SET ? 0 : op->value;
    uint64_t fresh = (uint64_t)base + (uint64_t)by;
    int64_t signed_limit;
    uint64_t limit;
    int direction;
    if (op->is_signed) {
        direction = check_signed(base, by, op, &signed_limit);
        limit = (uint64_t)signed_limit;
    } else {
        direction = check_unsigned((uint64_t)base, by, op, &limit);
    }
    *out = direction != 0 ? limit : fresh;
    return direction == 0 || op->overflow != OVERFLOW_FAIL;
}

/* SET answers the old value, INCRBY the new one, and both a null when they refuse. */
static void run_write(struct cmd_ctx *c, const struct op *op, char *data, size_t n)
{
    int64_t old = read_field(op, (struct str){data, n});
    uint64_t fresh;
    if (!compute(op, old, &fresh)) {
        reply_null(c->reply);
        return;
    }
    bitmap_field_set(data, op->offset, op->bits, fresh);
    reply_int(c->reply, op->kind == OP_SET ? old : (int64_t)fresh);
}

/* SETs of what is there already, or that refuse, change nothing. INCRBY counts as a change even by 0. */
static bool changes_bytes(const struct program *p, struct str bytes)
{
    for (uint32_t i = 0; i < p->n; i++) {
        const struct op *op = &p->ops[i];
        uint64_t fresh, mask = UINT64_MAX >> (64 - op->bits);
        if (op->kind == OP_INCRBY || (op->kind == OP_SET && compute(op, read_field(op, bytes), &fresh) &&
                                      ((fresh ^ (uint64_t)read_field(op, bytes)) & mask) != 0))
            return true;
    }
    return false;
}

/* As run() would, when nothing changes: a SET that is not refused answers what is there. */
static void run_idle(struct cmd_ctx *c, const struct program *p, struct str bytes)
{
    reply_array(c->reply, p->n);
    for (uint32_t i = 0; i < p->n; i++) {
        const struct op *op = &p->ops[i];
        int64_t old = read_field(op, bytes);
        uint64_t fresh;
        if (op->kind == OP_SET && !compute(op, old, &fresh))
            reply_null(c->reply);
        else
            reply_int(c->reply, old);
    }
}

static void run_reads(struct cmd_ctx *c, const struct program *p)
{
    struct entry *e;
    struct block *block;
    struct str bytes = {"", 0};
    if (!cmd_find_string(c, 0, &e))
        return;
    if (e != NULL)
        bytes = entry_string(e, &block);
    reply_array(c->reply, p->n);
    for (uint32_t i = 0; i < p->n; i++)
        reply_int(c->reply, read_field(&p->ops[i], bytes));
}

static void run(struct cmd_ctx *c, const struct program *p)
{
    struct entry *e;
    char *data;
    if (!p->writes) {
        run_reads(c, p);
        return;
    }
    if (!cmd_write_string(c, 0, &e))
        return;
    struct str bytes;
    if (bit_edit_is_idle(e, p->last_bit, &bytes) && !changes_bytes(p, bytes)) {
        run_idle(c, p, bytes);
        return;
    }
    size_t n = (size_t)(p->last_bit >> 3) + 1;
    if (bytes.n > n)
        n = bytes.n;
    int err = bit_edit(c, e, p->last_bit, &data);
    if (err != 0) {
        cmd_reply_err(c, err);
        return;
    }
    reply_array(c->reply, p->n);
    for (uint32_t i = 0; i < p->n; i++) {
        const struct op *op = &p->ops[i];
        if (op->kind == OP_GET)
            reply_int(c->reply, read_field(op, (struct str){data, n}));
        else
            run_write(c, op, data, n);
    }
}

void cmd_bitfield(struct cmd_ctx *c)
{
    struct program p;
    if (parse_program(c, &p))
        run(c, &p);
}

void cmd_bitfield_ro(struct cmd_ctx *c)
{
    struct program p;
    if (!parse_program(c, &p))
        return;
    if (p.writes)
        reply_error(c->reply, "ERR BITFIELD_RO only supports the GET subcommand");
    else
        run(c, &p);
}

/* Only growth takes long: how far does the furthest write reach? */
uint64_t cost_bitfield(const struct cmd_ctx *c)
{
    uint64_t n = 0, at;
    uint32_t args;
    for (uint32_t i = 2; i < c->argc; i += args + 1) {
        struct op op = {0};
        args = 1;
        if (cmd_arg_is(c, i, STR("OVERFLOW")))
            continue;
        if (!parse_kind(c, i, &op.kind, &args) || !parse_type(c->argv[i + 1], &op) ||
            !bit_offset_parse(c, i + 2, op.bits, &at))
            return 0;
        if (op.kind != OP_GET && at >> 3 > n)
            n = at >> 3;
    }
    return n == 0 ? 0 : cost_edit(c, n);
}
