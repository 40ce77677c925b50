#include "client/order.h"

#include "base/alloc.h"
#include "base/num.h"
#include "client/error.h"
#include "client/known.h"
#include "client/reply.h"

enum { ORDER_ARGS_MAX = 1024 * 1024 };

static bool total_bytes(int argc, const struct larder_bytes *argv, size_t *out)
{
    *out = 0;
    for (int i = 0; i < argc; i++)
        if (num_add_overflows(*out, argv[i].n, out))
            return false;
    return *out < PTRDIFF_MAX / 2;
}

int order_new(larder *l, int argc, const struct larder_bytes *argv, const struct larder_call *call,
              struct order **out, struct larder_error *err)
{
    size_t bytes;
    *out = NULL;
    if (argc <= 0 || argc > ORDER_ARGS_MAX || !total_bytes(argc, argv, &bytes))
        return fail(err, LARDER_ERR_ARGUMENT, "a command has from 1 to %d arguments", ORDER_ARGS_MAX);
    struct order *o = mem_alloc(sizeof *o + (size_t)argc * sizeof o->argv[0] + bytes);
    if (o == NULL)
        return fail(err, LARDER_ERR_MEMORY, "out of memory");
    char *at = (char *)(o->argv + argc);
    for (int i = 0; i < argc; i++) {
        if (argv[i].n > 0)
            memcpy(at, argv[i].p, argv[i].n);
        o->argv[i] = (struct str){at, argv[i].n};
        at += argv[i].n;
    }
    o->cmd = (struct cmd){.argv = o->argv, .argc = (uint32_t)argc};
    o->next = NULL;
    o->status = 0;
    o->reply = NULL;
    o->err = (struct larder_error){0};
    int status = known_fill(&l->topo, &o->cmd, call, err);
    if (status < 0)
        order_free(o);
    else
        *out = o;
    return status;
}

void order_free(struct order *o)
{
    if (o != NULL)
        larder_reply_free(o->reply);
    mem_free(o);
}

void order_free_results(struct order *o)
{
    larder_reply_free(o->reply);
    o->reply = NULL;
    o->status = 0;
    o->cmd.ntried = o->cmd.attempts = o->cmd.redirects = 0;
}

void order_keep(struct order *o, const struct cmd_result *r)
{
    o->status = r->status;
    if (r->err != NULL)
        o->err = *r->err;
    if (r->status < 0)
        return;
    o->reply = reply_copy(r->value);
    if (o->reply == NULL)
        o->status = fail(&o->err, LARDER_ERR_MEMORY, "out of memory");
}
