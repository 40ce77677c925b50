/* An engine that an event loop drives, and orders that live until they are called back. */
#include "larder/loop.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "client/calls.h"
#include "client/error.h"
#include "client/order.h"
#include "os/clock.h"

struct larder_loop {
    larder *l;
    struct engine engine;
    size_t pending;
    bool freeing;
};

struct callback {
    larder_loop *loop;
    larder_callback call;
    void *arg;
    struct order *order;
};

int larder_loop_new(larder *l, larder_loop **out, struct larder_error *err)
{
    *out = NULL;
    larder_loop *loop = mem_zalloc(sizeof *loop);
    if (loop == NULL || engine_init(&loop->engine, &l->topo, false) < 0) {
        mem_free(loop);
        return fail(err, LARDER_ERR_MEMORY, "out of memory, or of descriptors");
    }
    loop->l = l;
    *out = loop;
    return 0;
}

void larder_loop_free(larder_loop *loop)
{
    if (loop == NULL)
        return;
    loop->freeing = true;
    engine_release(&loop->engine);
    ASSERT(loop->pending == 0);
    mem_free(loop);
}

int larder_loop_fd(const larder_loop *loop)
{
    return loop->engine.epoll_fd;
}

void larder_loop_process(larder_loop *loop)
{
    engine_turn(&loop->engine);
}

size_t larder_loop_pending(const larder_loop *loop)
{
    return loop->pending;
}

static void loop_done(struct cmd *cmd, const struct cmd_result *r)
{
    struct callback *c = cmd->arg;
    struct order *o = c->order;
    order_keep(o, r);
    c->loop->pending--;
    c->call(c->arg, o->status, o->reply, o->status < 0 ? &o->err : NULL);
    order_free(o);
    mem_free(c);
}

/* Takes the order. The loop's descriptor becomes readable, so that the next turn sends it. */
static int start(larder_loop *loop, struct order *o, larder_callback call, void *arg,
                 struct larder_error *err)
{
    struct callback *c = mem_alloc(sizeof *c);
    if (c == NULL || loop->freeing || loop->pending == ENGINE_LIVE_MAX) {
        int status = c == NULL ? LARDER_ERR_MEMORY : loop->freeing ? LARDER_ERR_CANCELED : LARDER_ERR_BUSY;
        order_free(o);
        mem_free(c);
        return fail(err, status, "%s", larder_status_name(status));
    }
    *c = (struct callback){loop, call, arg, o};
    int64_t now_ns = os_mono_ns();
    o->cmd.done = loop_done;
    o->cmd.arg = c;
    o->cmd.deadline_ns = o->cmd.timeout_ns > 0 ? now_ns + o->cmd.timeout_ns : 0;
    loop->pending++;
    engine_submit(&loop->engine, &o->cmd, now_ns);
    engine_wake(&loop->engine);
    return 0;
}

int larder_loop_command(larder_loop *loop, int argc, const struct larder_bytes *argv,
                        const struct larder_call *call, larder_callback callback, void *arg,
                        struct larder_error *err)
{
    struct order *o;
    int status = order_new(loop->l, argc, argv, call, &o, err);
    return status < 0 ? status : start(loop, o, callback, arg, err);
}

int larder_loop_get(larder_loop *loop, struct larder_bytes key, larder_callback callback, void *arg,
                    struct larder_error *err)
{
    struct larder_bytes argv[] = {larder_text("GET"), key};
    return larder_loop_command(loop, 2, argv, NULL, callback, arg, err);
}

int larder_loop_set(larder_loop *loop, struct larder_bytes key, struct larder_bytes value, int64_t ttl_ms,
                    larder_callback callback, void *arg, struct larder_error *err)
{
    struct larder_bytes argv[] = {larder_text("SET"), key, value};
    struct order *o;
    int64_t ttl;
    int status = resolve_ttl(loop->l, ttl_ms, &ttl, err);
    if (status == 0)
        status = order_new(loop->l, 3, argv, NULL, &o, err);
    if (status < 0)
        return status;
    o->cmd.ttl_ms = ttl;
    o->cmd.flags |= CMD_WRITE_FLAGS;
    return start(loop, o, callback, arg, err);
}
