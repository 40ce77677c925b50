/* What a connection says about slots, and what it asks about them. */
#include "server/handlers.h"

static bool in_cluster(struct cmd_ctx *c)
{
    if (ctx_server(c)->config.cluster_enabled)
        return true;
    reply_error(c->reply, "ERR This instance has cluster support disabled");
    return false;
}

void cmd_asking(struct cmd_ctx *c)
{
    if (!in_cluster(c))
        return;
    c->session->asking = true;
    reply_ok(c->reply);
}

void cmd_readonly(struct cmd_ctx *c)
{
    if (!in_cluster(c))
        return;
    c->session->readonly = true;
    reply_ok(c->reply);
}

void cmd_readwrite(struct cmd_ctx *c)
{
    if (!in_cluster(c))
        return;
    c->session->readonly = false;
    reply_ok(c->reply);
}
