/* Any command, and several at once. */
#include "base/alloc.h"
#include "client/error.h"
#include "client/order.h"
#include "os/clock.h"

#include <stdarg.h>

static void command_done(struct cmd *cmd, const struct cmd_result *r)
{
    order_keep(cmd->arg, r);
}

/* A command that says how long it may take brings its own deadline. */
static void prepare(struct order *o)
{
    o->cmd.done = command_done;
    o->cmd.arg = o;
    o->cmd.deadline_ns = o->cmd.timeout_ns > 0 ? os_mono_ns() + o->cmd.timeout_ns : 0;
}

int larder_command(larder *l, int argc, const struct larder_bytes *argv, const struct larder_call *call,
                   larder_reply **reply, struct larder_error *err)
{
    struct order *o;
    *reply = NULL;
    int status = order_new(l, argc, argv, call, &o, err);
    if (status < 0)
        return status;
    prepare(o);
    status = handle_run(l, &o->cmd, err);
    if (status == 0) {
        status = o->status;
        *reply = o->reply;
        o->reply = NULL;
        if (status < 0 && err != NULL)
            *err = o->err;
    }
    order_free(o);
    return status;
}

enum { TEXT_ARGS_MAX = 64 };

int larder_command_text(larder *l, larder_reply **reply, struct larder_error *err, ...)
{
    struct larder_bytes argv[TEXT_ARGS_MAX];
    int argc = 0;
    va_list ap;
    va_start(ap, err);
    for (const char *text = va_arg(ap, const char *); text != NULL; text = va_arg(ap, const char *)) {
        if (argc < TEXT_ARGS_MAX)
            argv[argc] = larder_text(text);
        argc++;
    }
    va_end(ap);
    *reply = NULL;
    if (argc > TEXT_ARGS_MAX)
        return fail(err, LARDER_ERR_ARGUMENT, "at most %d texts: use larder_command()", TEXT_ARGS_MAX);
    return larder_command(l, argc, argv, NULL, reply, err);
}

/* ---- pipelines ---- */

struct larder_pipeline {
    larder *l;
    struct order **orders; /* owned */
    size_t n, cap;
    bool ran; /* results are there; the next add starts anew */
};

larder_pipeline *larder_pipeline_new(larder *l)
{
    larder_pipeline *p = mem_zalloc(sizeof *p);
    if (p != NULL)
        p->l = l;
    return p;
}

static void clear(larder_pipeline *p)
{
    for (size_t i = 0; i < p->n; i++)
        order_free(p->orders[i]);
    p->n = 0;
    p->ran = false;
}

void larder_pipeline_free(larder_pipeline *p)
{
    if (p == NULL)
        return;
    clear(p);
    mem_free(p->orders);
    mem_free(p);
}

int larder_pipeline_add(larder_pipeline *p, int argc, const struct larder_bytes *argv,
                        const struct larder_call *call, struct larder_error *err)
{
    if (p->ran)
        clear(p);
    if (p->n == ENGINE_LIVE_MAX)
        return fail(err, LARDER_ERR_ARGUMENT, "a pipeline holds at most %d commands", ENGINE_LIVE_MAX);
    if (p->n == p->cap) {
        size_t cap = p->cap > 0 ? p->cap * 2 : 16;
        struct order **more = mem_realloc(p->orders, cap * sizeof(struct order *));
        if (more == NULL)
            return fail(err, LARDER_ERR_MEMORY, "out of memory");
        p->orders = more;
        p->cap = cap;
    }
    int status = order_new(p->l, argc, argv, call, &p->orders[p->n], err);
    p->n += status == 0;
    return status;
}

int larder_pipeline_run(larder_pipeline *p, struct larder_error *err)
{
    int status = 0;
    for (size_t i = 0; i < p->n; i++) {
        order_free_results(p->orders[i]);
        prepare(p->orders[i]);
        p->orders[i]->cmd.next = i + 1 < p->n ? &p->orders[i + 1]->cmd : NULL;
    }
    p->ran = true;
    if (p->n > 0)
        status = handle_run(p->l, &p->orders[0]->cmd, err);
    for (size_t i = 0; i < p->n; i++) {
        struct order *o = p->orders[i];
        if (status < 0 && o->status == 0 && o->reply == NULL) /* nothing was sent */
            o->status = fail(&o->err, status, "%s", larder_status_name(status));
        else if (o->status < 0 && status == 0)
            status = fail(err, o->status, "%s", o->err.text);
    }
    return status;
}

size_t larder_pipeline_count(const larder_pipeline *p)
{
    return p->n;
}

int larder_pipeline_result(const larder_pipeline *p, size_t i, const larder_reply **reply,
                           struct larder_error *err)
{
    *reply = NULL;
    if (i >= p->n || !p->ran)
        return fail(err, LARDER_ERR_ARGUMENT, "no such result");
    *reply = p->orders[i]->reply;
    if (p->orders[i]->status < 0 && err != NULL)
        *err = p->orders[i]->err;
    return p->orders[i]->status;
}
