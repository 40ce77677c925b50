/* MEMORY USAGE, MALLOC-STATS, PURGE and HELP. What needs to know the whole process, STATS and
 * DOCTOR, is in server/cmd_memory.c. */
#include "cmd/cmd.h"
#include "cmd/handlers.h"

#include "base/alloc.h"
#include "base/buf.h"

void cmd_memory_usage(struct cmd_ctx *c)
{
    for (uint32_t i = 3; i < c->argc; i += 2) {
        int64_t samples = -1;
        bool ok = i + 1 < c->argc && cmd_arg_is(c, i, STR("SAMPLES"));
        if (ok && !cmd_arg_i64(c, i + 1, &samples))
            return;
        if (samples < 0) {
            reply_error(c->reply, REPLY_SYNTAX);
            return;
        }
    }
    const struct entry *e = store_peek(&c->a, &c->keys[0]);
    if (e == NULL)
        reply_null(c->reply);
    else
        reply_int(c->reply, (int64_t)store_entry_bytes(c->a.store, e));
}

static void put_text(void *arg, const char *text)
{
    buf_puts(arg, str_of(text));
}

void cmd_memory_malloc_stats(struct cmd_ctx *c)
{
    struct buf text;
    buf_init(&text);
    mem_report(put_text, &text);
    cmd_reply_text(c, &text);
}

/* On the lane. */
void cmd_memory_purge(struct cmd_ctx *c)
{
    store_purge(c->a.store);
    mem_purge();
    reply_ok(c->reply);
}

void cmd_memory_help(struct cmd_ctx *c)
{
    static const char *const lines[] = {
        "DOCTOR",
        "    Return memory problems reports.",
        "MALLOC-STATS",
        "    Return internal statistics report from the memory allocator.",
        "PURGE",
        "    Attempt to purge dirty pages for reclamation by the allocator.",
        "STATS",
        "    Return information about the memory usage of the server.",
        "USAGE <key> [SAMPLES <count>]",
        "    Return memory in bytes used by <key> and its value. Nested values are",
        "    sampled up to <count> times (default: 5, 0 means sample all).",
    };
    cmd_reply_help(c, lines, ARRAY_LEN(lines));
}
