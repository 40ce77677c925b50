/* The command handlers that live in server/, because they are about connections, threads,
 * configuration or statistics. Their rows stand in cmd/commands.def like all others. */
#ifndef LARDER_SERVER_HANDLERS_H
#define LARDER_SERVER_HANDLERS_H

#include "cmd/cmd.h"
#include "cmd/handlers.h"
#include "server/server.h"

/* The connection and the server behind a command's context, wherever it runs. */
static inline struct conn *ctx_conn(struct cmd_ctx *c)
{
    return container_of(c->session, struct conn, session);
}

static inline struct server *ctx_server(struct cmd_ctx *c)
{
    return ctx_conn(c)->worker->server;
}

/* cmd_slots.c: argument i. False after replying. */
bool cluster_arg_slot(struct cmd_ctx *c, uint32_t i, uint32_t *slot);
/* cmd_save.c: DEBUG RELOAD. Under the gate. */
void debug_reload(struct cmd_ctx *c);
/* cmd_save.c: must the SHUTDOWN that `c` is wait until a replica has taken over? On its worker. */
bool shutdown_hands_over(struct cmd_ctx *c);
/* cmd_debug.c: is DEBUG open to this connection (enable-debug-command)? */
bool debug_is_allowed(const struct conn *conn);
#define DEBUG_NOT_ALLOWED                                                                                    \
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it " \
    "from a local connection, otherwise you need to set this option in the configuration file, and then "    \
    "restart the server."

#endif
