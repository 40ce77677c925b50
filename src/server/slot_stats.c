#include "server/slot_stats.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/err.h"
#include "base/num.h"
#include "os/clock.h"
#include "server/handlers.h"

enum { MULTI_BYTES = sizeof "*1\r\n$5\r\nMULTI\r\n" - 1 };

struct slot_line {
    struct counter ticks, in, out;
};

struct slot_lines {
    struct slot_line slot[SLOT_COUNT];
};
_Static_assert(sizeof(struct slot_lines) % CACHE_LINE == 0, "threads share no line");

int slot_stats_begin(struct slot_stats *s, uint32_t nthreads)
{
    if (atomic_load(&s->lines) != NULL)
        return 0;
    struct slot_lines *lines = mem_aligned(CACHE_LINE, (nthreads + 1) * sizeof *lines);
    if (lines == NULL)
        return ERR_OOM;
    memset(lines, 0, (nthreads + 1) * sizeof *lines);
    s->nthreads = nthreads;
    atomic_store_explicit(&s->lines, lines, memory_order_release);
    return 0;
}

void slot_stats_release(struct slot_stats *s)
{
    mem_free(atomic_exchange(&s->lines, NULL));
}

static struct slot_lines *lines_of(const struct slot_stats *s)
{
    return atomic_load_explicit(&s->lines, memory_order_acquire);
}

/* ---- counting -------------------------------------------------------------------------------- */

static size_t digits(size_t n)
{
    char text[NUM_I64_TEXT_MAX];
    return num_put_u64(text, n);
}

/* In RESP. */
static size_t request_bytes(const struct str *argv, uint32_t argc)
{
    size_t n = digits(argc) + 3;
    for (uint32_t i = 0; i < argc; i++)
        n += digits(argv[i].n) + argv[i].n + 5;
    return n;
}

uint32_t slot_stats_slot(const struct cmd_ctx *c)
{
    uint32_t slot = c->nkeys > 0 ? c->keys[0].slot : SLOT_STATS_NONE;
    for (uint32_t i = 1; i < c->nkeys; i++)
        if (c->keys[i].slot != slot)
            return SLOT_STATS_NONE;
    return slot;
}

uint32_t slot_stats_thread(struct cmd_ctx *c)
{
    const struct worker *w = ctx_conn(c)->worker;
    return c->a.lane ? w->server->nworkers : w->index;
}

static void add(struct slot_stats *s, uint32_t thread, uint32_t slot, uint64_t ticks, size_t in, size_t out)
{
    ASSERT(thread < s->nthreads);
    if (slot == SLOT_STATS_NONE)
        return;
    struct slot_line *l = &lines_of(s)[thread].slot[slot];
    counter_add(&l->ticks, ticks);
    counter_add(&l->in, in);
    counter_add(&l->out, out);
}

void slot_stats_note(struct slot_stats *s, uint32_t thread, uint32_t slot, const struct cmd_ctx *c,
                     uint64_t ticks, size_t out)
{
    const struct txn *t = &c->session->txn;
    bool exec = c->cmd->fn == cmd_exec;
    size_t in = request_bytes(c->argv, c->argc) + (exec ? MULTI_BYTES : 0);
    for (uint32_t i = 0; exec && i < t->ncommands; i++)
        in += request_bytes(t->commands[i].argv, t->commands[i].argc);
    add(s, thread, slot, ticks, in, out);
}

void slot_stats_note_more(struct slot_stats *s, uint32_t thread, uint32_t slot, uint64_t ticks, size_t out)
{
    add(s, thread, slot, ticks, 0, out);
}

/* ---- reading --------------------------------------------------------------------------------- */

struct sum {
    uint64_t ticks, in, out;
};

static struct sum sum_of(const struct slot_stats *s, const struct slot_lines *lines, uint32_t slot)
{
    struct sum sum = {0};
    for (uint32_t i = 0; i < s->nthreads; i++) {
        const struct slot_line *l = &lines[i].slot[slot];
        sum.ticks += counter_read(&l->ticks);
        sum.in += counter_read(&l->in);
        sum.out += counter_read(&l->out);
    }
    return sum;
}

struct slot_figures slot_stats_of(const struct slot_stats *s, uint32_t slot)
{
    const struct slot_lines *lines = lines_of(s);
    ASSERT(slot < SLOT_COUNT);
    if (lines == NULL)
        return (struct slot_figures){0};
    const struct slot_line *base = &lines[s->nthreads].slot[slot];
    struct sum was = {counter_read(&base->ticks), counter_read(&base->in), counter_read(&base->out)};
    atomic_thread_fence(memory_order_acquire); /* a base is never more than a sum that is taken after it */
    struct sum now = sum_of(s, lines, slot);
    return (struct slot_figures){os_ticks_to_ns(now.ticks - was.ticks) / 1000, now.in - was.in,
                                 now.out - was.out};
}

static void begin_anew(const struct slot_stats *s, struct slot_lines *lines, uint32_t slot)
{
    struct slot_line *base = &lines[s->nthreads].slot[slot];
    struct sum sum = sum_of(s, lines, slot);
    atomic_thread_fence(memory_order_release);
    counter_set(&base->ticks, sum.ticks);
    counter_set(&base->in, sum.in);
    counter_set(&base->out, sum.out);
}

void slot_stats_reset(struct slot_stats *s)
{
    struct slot_lines *lines = lines_of(s);
    for (uint32_t slot = 0; lines != NULL && slot < SLOT_COUNT; slot++)
        begin_anew(s, lines, slot);
}

void slot_stats_follow(struct slot_stats *s, const struct cluster_view *old, const struct cluster_view *v)
{
    struct slot_lines *lines = lines_of(s);
    for (uint32_t slot = 0; lines != NULL && old != NULL && v != NULL && slot < SLOT_COUNT; slot++)
        if (view_serves(old, slot) != view_serves(v, slot))
            begin_anew(s, lines, slot);
}
