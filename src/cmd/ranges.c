/* Parts of strings: APPEND, GETRANGE, SETRANGE. */
#include "cmd/ranges.h"
#include "cmd/cmd.h"
#include "cmd/cost.h"
#include "cmd/handlers.h"

#include <string.h>

bool range_clamp(int64_t start, int64_t end, uint64_t n, uint64_t *first, uint64_t *last)
{
    int64_t size = (int64_t)n;
    if (start < 0)
        start = start + size < 0 ? 0 : start + size;
    if (end < 0)
        end = end + size < 0 ? 0 : end + size;
    if (end >= size)
        end = size - 1;
    *first = (uint64_t)start;
    *last = (uint64_t)end;
    return start <= end && size > 0;
}

/* May a string of this length plus so many bytes more be stored? */
static bool check_length(struct cmd_ctx *c, uint64_t n, uint64_t more)
{
    uint64_t total;
    if (!num_add_overflows(n, more, &total) && total <= c->limits->bulk_max)
        return true;
    reply_error(c->reply, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    return false;
}

static size_t string_bytes(const struct entry *e)
{
    struct block *block;
    return e == NULL ? 0 : entry_string(e, &block).n;
}

void cmd_append(struct cmd_ctx *c)
{
    struct entry *e;
    struct str more = c->argv[2];
    if (!cmd_write_string(c, 0, &e))
        return;
    size_t old = string_bytes(e), n = old + more.n;
    if (e != NULL && !check_length(c, old, more.n))
        return;
    int err;
    if (e == NULL) {
        err = store_put_string(&c->a, &c->keys[0], more, cmd_arg_block(c, 2), 0, 0);
    } else {
        char *data;
        err = store_edit_string(&c->a, &c->keys[0], e, n, &data);
        if (err == 0 && more.n > 0)
            memcpy(data + old, more.p, more.n);
    }
    if (err == 0)
        reply_int(c->reply, (int64_t)n);
    else
        cmd_reply_err(c, err);
}

uint64_t cost_append(const struct cmd_ctx *c)
{
    return cost_edit(c, cost_string_bytes(c, 0) + c->argv[2].n);
}

void cmd_getrange(struct cmd_ctx *c)
{
    int64_t start, end;
    struct entry *e;
    if (!cmd_arg_i64(c, 2, &start) || !cmd_arg_i64(c, 3, &end) || !cmd_find_string(c, 0, &e))
        return;
    struct block *block = NULL;
    struct str value = {"", 0};
    if (e != NULL)
        value = entry_string(e, &block);
    uint64_t first, last;
    /* Both counted from the end and the wrong way round: empty, even if clamping made them equal. */
    bool backwards = start < 0 && end < 0 && start > end;
    if (!backwards && range_clamp(start, end, value.n, &first, &last))
        value = (struct str){value.p + first, last - first + 1};
    else
        value.n = 0;
    cmd_reply_part(c, block, value);
}

void cmd_substr(struct cmd_ctx *c)
{
    cmd_getrange(c);
}

void cmd_setrange(struct cmd_ctx *c)
{
    int64_t offset;
    struct entry *e;
    struct str part = c->argv[3];
    if (!cmd_arg_i64(c, 2, &offset))
        return;
    if (offset < 0) {
        reply_error(c->reply, "ERR offset is out of range");
        return;
    }
    if (!cmd_write_string(c, 0, &e))
        return;
    size_t old = string_bytes(e);
    if (part.n == 0) {
        reply_int(c->reply, (int64_t)old);
        return;
    }
    if (!check_length(c, (uint64_t)offset, part.n))
        return;
    size_t end = (size_t)offset + part.n, n = end > old ? end : old;
    char *data;
    int err = store_edit_string(&c->a, &c->keys[0], e, n, &data);
    if (err != 0) {
        cmd_reply_err(c, err);
        return;
    }
    memcpy(data + offset, part.p, part.n);
    reply_int(c->reply, (int64_t)n);
}

uint64_t cost_setrange(const struct cmd_ctx *c)
{
    int64_t offset;
    if (!num_parse_i64(c->argv[2], &offset) || offset < 0 || (uint64_t)offset > c->limits->bulk_max)
        return 0;
    return cost_edit(c, (uint64_t)offset + c->argv[3].n);
}
