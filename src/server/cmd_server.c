/* MONITOR SHUTDOWN TIME LOLWUT: small commands about the node. */
#include "server/handlers.h"

#include "os/clock.h"
#include "server/monitor.h"

void cmd_monitor(struct cmd_ctx *c)
{
    monitor_add(ctx_conn(c));
    reply_ok(c->reply);
}

void cmd_time(struct cmd_ctx *c)
{
    int64_t us = os_wall_us();
    reply_array(c->reply, 2);
    reply_bulk_i64(c->reply, us / 1000000);
    reply_bulk_i64(c->reply, us % 1000000);
}

/* LOLWUT [VERSION number] [...]: always this picture. */
void cmd_lolwut(struct cmd_ctx *c)
{
    int64_t ignored;
    if (c->argc > 2 && cmd_arg_is(c, 1, STR("VERSION")) && !cmd_arg_i64(c, 2, &ignored))
        return;
    static const char shelf[] = "   ___________________________\n"
                                "  |  _   _    ___   _   _   _ |\n"
                                "  | (_) (_)  |GET| (_) |_| (_)|\n"
                                "  |===========================|\n"
                                "  |  ___  _   _   _  ___   _  |\n"
                                "  | |SET||_| (_) |_||TTL| (_) |\n"
                                "  |===========================|\n"
                                "  |  Fresh, or not on a shelf |\n"
                                "  |___________________________|\n\n"
                                "Redis ver. " SERVER_REDIS_VERSION " (larder ver. " LARDER_VERSION ")\n";
    reply_verbatim(c->reply, "txt", (struct str){shelf, sizeof shelf - 1});
}
