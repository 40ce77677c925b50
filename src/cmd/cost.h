/* How much work a command is about to do, so that dispatch can take long ones to the
 * lane (command.h, cmd_cost_fn). Rough on purpose: being wrong by a factor of two
 * moves a command of a few hundred microseconds, nothing else.
 *
 * The bytes of inline values are too few to matter; what counts are blocks. */
#ifndef LARDER_CMD_COST_H
#define LARDER_CMD_COST_H

#include "cmd/cmd.h"

enum cost_rates {
    COST_READ_BYTES_PER_NS = 5, /* counting and searching bits */
    COST_COPY_BYTES_PER_NS = 1, /* to fresh memory: page faults are most of it */
    COST_LCS_STEP_NS = 3,
    COST_DUMP_NS_PER_BYTE = 5, /* LZF, then a checksum */
    COST_SCAN_KEY_NS = 150,    /* out of the cache */
    COST_SCAN_BUCKET_NS = 20,
};

/* Bytes of the string at key k, 0 when there is none. */
static inline size_t cost_string_bytes(const struct cmd_ctx *c, uint32_t k)
{
    const struct entry *e = store_peek(&c->a, &c->keys[k]);
    if (e == NULL || !entry_is_string(e))
        return 0;
    struct block *block;
    return entry_string(e, &block).n;
}

/* Making the string at key 0 n bytes long: what is new is zeroed, and what was there
 * copied unless it can grow where it is. */
static inline uint64_t cost_edit(const struct cmd_ctx *c, uint64_t n)
{
    const struct entry *e = store_peek(&c->a, &c->keys[0]);
    uint64_t old = 0;
    bool in_place = true;
    if (e != NULL && entry_is_string(e)) {
        struct block *block;
        old = entry_string(e, &block).n;
        in_place = block != NULL && block_is_private(block) && n <= block->cap;
    }
    return ((n > old ? n - old : 0) + (in_place ? 0 : old)) / COST_COPY_BYTES_PER_NS;
}

#endif
