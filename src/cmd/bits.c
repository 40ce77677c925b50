/* Strings as rows of bits: SETBIT, GETBIT, BITCOUNT, BITPOS, BITOP. The arithmetic is in
 * ds/bitmap.h; here are Redis's arguments, in the order in which Redis checks them. */
#include "cmd/bits.h"
#include "cmd/cmd.h"
#include "cmd/cost.h"
#include "cmd/handlers.h"
#include "cmd/ranges.h"
#include "cmd/types.h"
#include "ds/bitmap.h"

#include <string.h>

bool bit_offset_parse(const struct cmd_ctx *c, uint32_t i, unsigned field_bits, uint64_t *out)
{
    struct str text = c->argv[i];
    int64_t at;
    bool scaled = field_bits > 0 && text.n > 0 && text.p[0] == '#';
    if (scaled)
        text = (struct str){text.p + 1, text.n - 1};
    if (!num_parse_i64(text, &at) || (scaled && num_mul_overflows(at, (int64_t)field_bits, &at)))
        return false;
    *out = (uint64_t)at;
    return at >= 0 && (uint64_t)at >> 3 < c->limits->bulk_max;
}

bool bit_offset_arg(struct cmd_ctx *c, uint32_t i, unsigned field_bits, uint64_t *out)
{
    if (bit_offset_parse(c, i, field_bits, out))
        return true;
    reply_error(c->reply, "ERR bit offset is not an integer or out of range");
    return false;
}

bool bit_edit_is_idle(const struct entry *e, uint64_t last_bit, struct str *bytes)
{
    struct block *block;
    *bytes = e == NULL ? STR("") : entry_string(e, &block);
    return last_bit >> 3 < bytes->n && string_is_raw(entry_word(e), *bytes);
}

int bit_edit(struct cmd_ctx *c, struct entry *e, uint64_t last_bit, char **data)
{
    struct block *block;
    size_t old = e == NULL ? 0 : entry_string(e, &block).n, n = (size_t)(last_bit >> 3) + 1;
    return store_edit_string(&c->a, &c->keys[0], e, n > old ? n : old, data);
}

void cmd_setbit(struct cmd_ctx *c)
{
    static const char bad_bit[] = "ERR bit is not an integer or out of range";
    uint64_t at;
    int64_t bit;
    struct entry *e;
    char *data;
    if (!bit_offset_arg(c, 2, 0, &at) || !cmd_arg_range(c, 3, 0, 1, &bit, bad_bit) ||
        !cmd_write_string(c, 0, &e))
        return;
    struct str now;
    if (bit_edit_is_idle(e, at, &now) && bitmap_field_get(now.p, now.n, at, 1) == (uint64_t)bit) {
        reply_int(c->reply, bit);
        return;
    }
    int err = bit_edit(c, e, at, &data);
    if (err != 0) {
        cmd_reply_err(c, err);
        return;
    }
    uint8_t mask = (uint8_t)(0x80u >> (at & 7)), was = (uint8_t)data[at >> 3];
    data[at >> 3] = (char)(bit ? was | mask : was & ~mask);
    reply_int(c->reply, (was & mask) != 0);
}

uint64_t cost_setbit(const struct cmd_ctx *c)
{
    uint64_t at;
    return bit_offset_parse(c, 2, 0, &at) ? cost_edit(c, (at >> 3) + 1) : 0;
}

/* The bytes at key k; empty when there is no key. False after replying WRONGTYPE. */
static bool read_bytes(struct cmd_ctx *c, uint32_t k, bool *exists, struct str *out)
{
    struct entry *e;
    struct block *block;
    if (!cmd_find_string(c, k, &e))
        return false;
    *exists = e != NULL;
    *out = e == NULL ? STR("") : entry_string(e, &block);
    return true;
}

void cmd_getbit(struct cmd_ctx *c)
{
    uint64_t at;
    bool exists;
    struct str bytes;
    if (bit_offset_arg(c, 2, 0, &at) && read_bytes(c, 0, &exists, &bytes))
        reply_int(c->reply, (int64_t)bitmap_field_get(bytes.p, bytes.n, at, 1));
}

/* ---- ranges ----------------------------------------------------------------------- */

/* "BIT" or "BYTE" at argument i. */
static bool parse_unit(struct cmd_ctx *c, uint32_t i, bool *in_bits)
{
    *in_bits = cmd_arg_is(c, i, STR("BIT"));
    if (*in_bits || cmd_arg_is(c, i, STR("BYTE")))
        return true;
    reply_error(c->reply, REPLY_SYNTAX);
    return false;
}

/* From what the client counts in to bits, both ends counted in. False: nothing there. */
static bool bit_range(int64_t start, int64_t end, bool in_bits, size_t nbytes, uint64_t *first,
                      uint64_t *last)
{
    if (!range_clamp(start, end, in_bits ? (uint64_t)nbytes * 8 : nbytes, first, last))
        return false;
    if (!in_bits) {
        *first *= 8;
        *last = *last * 8 + 7;
    }
    return true;
}

void cmd_bitcount(struct cmd_ctx *c)
{
    bool exists, in_bits = false;
    struct str bytes;
    int64_t start = 0, end = -1;
    uint64_t first, last;
    if (!read_bytes(c, 0, &exists, &bytes))
        return;
    /* Redis 7.2 looks at the other arguments only when there is a key. */
    if (!exists) {
        reply_int(c->reply, 0);
        return;
    }
    if (c->argc == 3 || c->argc > 5) {
        reply_error(c->reply, REPLY_SYNTAX);
        return;
    }
    if (c->argc > 3) {
        if (!cmd_arg_i64(c, 2, &start) || !cmd_arg_i64(c, 3, &end))
            return;
        if (start < 0 && end < 0 && start > end) {
            reply_int(c->reply, 0);
            return;
        }
        if (c->argc == 5 && !parse_unit(c, 4, &in_bits))
            return;
    }
    bool any = bit_range(start, end, in_bits, bytes.n, &first, &last);
    reply_int(c->reply, any ? (int64_t)bitmap_count_range(bytes.p, first, last) : 0);
}

uint64_t cost_bitcount(const struct cmd_ctx *c)
{
    return cost_string_bytes(c, 0) / COST_READ_BYTES_PER_NS;
}

void cmd_bitpos(struct cmd_ctx *c)
{
    bool exists, in_bits = false;
    struct str bytes;
    int64_t bit, start = 0, end = -1;
    uint64_t first, last;
    if (!cmd_arg_i64(c, 2, &bit))
        return;
    if (bit != 0 && bit != 1) {
        reply_error(c->reply, "ERR The bit argument must be 1 or 0.");
        return;
    }
    if (!read_bytes(c, 0, &exists, &bytes))
        return;
    if (!exists) {
        reply_int(c->reply, bit ? -1 : 0);
        return;
    }
    if (c->argc > 6) {
        reply_error(c->reply, REPLY_SYNTAX);
        return;
    }
    if ((c->argc > 3 && !cmd_arg_i64(c, 3, &start)) || (c->argc == 6 && !parse_unit(c, 5, &in_bits)) ||
        (c->argc > 4 && !cmd_arg_i64(c, 4, &end)))
        return;
    int64_t at = -1;
    if (bit_range(start, end, in_bits, bytes.n, &first, &last)) {
        at = bitmap_find(bytes.p, first, last, bit);
        /* A string without a given end is as if zeros followed for ever. */
        if (at < 0 && !bit && c->argc < 5)
            at = (int64_t)bytes.n * 8;
    }
    reply_int(c->reply, at);
}

uint64_t cost_bitpos(const struct cmd_ctx *c)
{
    return cost_string_bytes(c, 0) / COST_READ_BYTES_PER_NS;
}

/* ---- BITOP ------------------------------------------------------------------------ */

static const struct {
    struct str word;
    enum bitmap_op op;
} bitop_words[] = {
    {{"AND", 3}, BITMAP_AND}, {{"OR", 2}, BITMAP_OR}, {{"XOR", 3}, BITMAP_XOR}, {{"NOT", 3}, BITMAP_NOT}};

static bool parse_bitop(struct cmd_ctx *c, enum bitmap_op *op)
{
    for (size_t i = 0; i < ARRAY_LEN(bitop_words); i++) {
        if (!cmd_arg_is(c, 1, bitop_words[i].word))
            continue;
        *op = bitop_words[i].op;
        if (*op != BITMAP_NOT || c->argc == 4)
            return true;
        reply_error(c->reply, "ERR BITOP NOT must be called with a single source key.");
        return false;
    }
    reply_error(c->reply, REPLY_SYNTAX);
    return false;
}

/* The combination becomes the value of key 0, which may be one of the sources. */
static int store_combined(struct cmd_ctx *c, enum bitmap_op op, const struct str *src, uint32_t nsrc,
                          size_t n)
{
    if (n == 0) {
        store_delete(&c->a, &c->keys[0]);
        return 0;
    }
    struct block *block = block_new(n);
    if (block == NULL)
        return ERR_OOM;
    bitmap_combine(op, block->data, n, src, nsrc);
    block->n = n;
    int err = store_put_string(&c->a, &c->keys[0], block_str(block), block, 0, PUT_RAW);
    block_put(block);
    return err;
}

void cmd_bitop(struct cmd_ctx *c)
{
    enum bitmap_op op;
    if (!parse_bitop(c, &op))
        return;
    uint32_t nsrc = c->nkeys - 1;
    struct str *src = arena_alloc(c->arena, nsrc * sizeof(*src));
    if (src == NULL) {
        cmd_reply_err(c, ERR_OOM);
        return;
    }
    size_t n = 0;
    for (uint32_t i = 0; i < nsrc; i++) {
        bool exists;
        if (!read_bytes(c, i + 1, &exists, &src[i]))
            return;
        n = src[i].n > n ? src[i].n : n;
    }
    int err = store_combined(c, op, src, nsrc, n);
    if (err == 0)
        reply_int(c->reply, (int64_t)n);
    else
        cmd_reply_err(c, err);
}

uint64_t cost_bitop(const struct cmd_ctx *c)
{
    uint64_t all = 0, longest = 0;
    for (uint32_t k = 1; k < c->nkeys; k++) {
        uint64_t n = cost_string_bytes(c, k);
        all += n;
        longest = n > longest ? n : longest;
    }
    return (all + longest) / COST_COPY_BYTES_PER_NS;
}
