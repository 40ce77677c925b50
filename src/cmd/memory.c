/* MEMORY: where the memory goes.
 *
 * The names of MEMORY STATS are Redis's, since dashboards know them, wherever they mean
 * something here; what has no meaning (a dictionary's overhead) is left out rather than
 * invented. All figures are of the data; buffers of clients are in INFO. */
#include "cmd/cmd.h"
#include "cmd/handlers.h"

#include "base/alloc.h"
#include "base/buf.h"

#include <inttypes.h>

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

/* ---- figures ---------------------------------------------------------------------- */

struct figures {
    struct store_memory data;
    struct mem_stats heap;
    uint64_t values; /* data without what organises it */
};

static void figures_read(const struct cmd_ctx *c, struct figures *f)
{
    store_memory(c->a.store, &f->data);
    mem_stats_read(&f->heap);
    f->values = f->data.live + f->data.blocks;
}

static double ratio(uint64_t a, uint64_t b)
{
    return b == 0 ? 0 : (double)a / (double)b;
}

static int64_t gap(uint64_t a, uint64_t b)
{
    return (int64_t)a - (int64_t)b;
}

static void put_int(struct reply *r, const char *name, int64_t v)
{
    reply_cstr(r, name);
    reply_int(r, v);
}

static void put_double(struct reply *r, const char *name, double v)
{
    reply_cstr(r, name);
    reply_double(r, v);
}

void cmd_memory_stats(struct cmd_ctx *c)
{
    enum { FIGURES = 17 };
    struct figures f;
    struct reply *r = c->reply;
    figures_read(c, &f);
    reply_map(r, FIGURES);
    put_int(r, "total.allocated", (int64_t)f.data.used);
    put_int(r, "overhead.total", gap(f.data.used, f.values));
    put_int(r, "keys.count", (int64_t)f.data.keys);
    put_int(r, "keys.bytes-per-key", f.data.keys == 0 ? 0 : (int64_t)(f.data.used / f.data.keys));
    put_int(r, "dataset.bytes", (int64_t)f.values);
    put_double(r, "dataset.percentage", 100 * ratio(f.values, f.data.used));
    put_int(r, "tables.bytes", (int64_t)f.data.tables);
    put_int(r, "segments.bytes", (int64_t)f.data.segments);
    put_int(r, "segments.dead", (int64_t)f.data.dead);
    put_int(r, "segments.free", (int64_t)f.data.free_segments);
    put_int(r, "blocks.bytes", (int64_t)f.data.blocks);
    put_int(r, "allocator.allocated", (int64_t)f.heap.allocated);
    put_int(r, "allocator.active", (int64_t)f.heap.active);
    put_int(r, "allocator.resident", (int64_t)f.heap.resident);
    put_double(r, "allocator-fragmentation.ratio", ratio(f.heap.active, f.heap.allocated));
    put_int(r, "allocator-fragmentation.bytes", gap(f.heap.active, f.heap.allocated));
    put_double(r, "fragmentation", ratio(f.data.segments, f.data.live));
}

/* ---- in words --------------------------------------------------------------------- */

enum {
    DOCTOR_WORTHWHILE = 5 << 20,
    DOCTOR_GAP = 10 << 20, /* less is no problem, whatever the ratio */
};

static void diagnose(const struct figures *f, struct buf *out)
{
    if (f->data.used < DOCTOR_WORTHWHILE) {
        buf_puts(out, STR("Almost nothing is stored, so there is nothing to judge.\n"));
        return;
    }
    if (f->data.dead > DOCTOR_GAP && f->data.dead > f->data.live)
        buf_printf(out,
                   "* More than half of the segments is dead space (%" PRIu64
                   " bytes). It is being compacted "
                   "in the background; if it stays, values are overwritten faster than that.\n",
                   f->data.dead);
    if (gap(f->heap.active, f->heap.allocated) > DOCTOR_GAP && ratio(f->heap.active, f->heap.allocated) > 1.4)
        buf_printf(out,
                   "* The heap holds %.2f times what is allocated in it, usually because many large values "
                   "of different sizes came and went.\n",
                   ratio(f->heap.active, f->heap.allocated));
    if (gap(f->heap.resident, f->heap.active) > DOCTOR_GAP && ratio(f->heap.resident, f->heap.active) > 1.1)
        buf_puts(out, STR("* The heap keeps pages that it does not need at the moment. They go back to the "
                          "system by themselves; MEMORY PURGE does it now.\n"));
    if (f->data.tables > f->values)
        buf_puts(out, STR("* The tables take more memory than the data: keys and values are very small, or "
                          "many keys were deleted a moment ago.\n"));
    if (out->n == 0)
        buf_puts(out, STR("No problem found.\n"));
}

static void reply_report(struct cmd_ctx *c, struct buf *text)
{
    if (text->oom)
        cmd_reply_err(c, ERR_OOM);
    else
        reply_verbatim(c->reply, "txt", buf_str(text));
    buf_release(text);
}

void cmd_memory_doctor(struct cmd_ctx *c)
{
    struct figures f;
    struct buf text;
    figures_read(c, &f);
    buf_init(&text);
    diagnose(&f, &text);
    reply_report(c, &text);
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
    reply_report(c, &text);
}

void cmd_memory_purge(struct cmd_ctx *c)
{
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
