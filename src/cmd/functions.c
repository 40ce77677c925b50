/* FUNCTION, of a server that has no library and no engine to run one.
 *
 * Tools ask before they do something else: redis-cli's add-node copies the functions of a cluster to the node
 * that joins, test suites begin with FUNCTION FLUSH. So everything that is true without libraries is answered
 * as Redis answers it then, byte for byte, and what needs an engine says that there is none. STATS names no
 * engine, where Redis names LUA. */
#include "cmd/dump.h"
#include "cmd/handlers.h"

#define NO_ENGINE "larder runs no functions yet"

void cmd_function_delete(struct cmd_ctx *c)
{
    reply_error(c->reply, "ERR Library not found");
}

/* No library, version and checksum. */
void cmd_function_dump(struct cmd_ctx *c)
{
    char payload[DUMP_FOOTER];
    dump_put_footer(payload, 0);
    reply_bulk(c->reply, (struct str){payload, sizeof payload});
}

void cmd_function_flush(struct cmd_ctx *c)
{
    if (c->argc > 3)
        cmd_reply_unknown_sub(c);
    else if (c->argc == 2 || cmd_arg_is(c, 2, STR("SYNC")) || cmd_arg_is(c, 2, STR("ASYNC")))
        reply_ok(c->reply);
    else
        reply_error(c->reply, "ERR FUNCTION FLUSH only supports SYNC|ASYNC option");
}

void cmd_function_help(struct cmd_ctx *c)
{
    static const char *const lines[] = {
        "DELETE <library-name>",
        "    Delete a library. There is none yet.",
        "DUMP",
        "    All libraries as bytes, for RESTORE: those of no library.",
        "FLUSH [ASYNC|SYNC]",
        "    Delete all libraries.",
        "KILL",
        "    End the function that is running. None ever is.",
        "LIST [LIBRARYNAME <pattern>] [WITHCODE]",
        "    The libraries: none.",
        "LOAD [REPLACE] <function-code>",
        "    Refused: " NO_ENGINE ".",
        "RESTORE <payload> [FLUSH|APPEND|REPLACE]",
        "    Take what DUMP gave, here or at a Redis, if there is no library in it.",
        "STATS",
        "    The function that is running, and the engines: none.",
    };
    cmd_reply_help(c, lines, ARRAY_LEN(lines));
}

void cmd_function_kill(struct cmd_ctx *c)
{
    reply_error(c->reply, "NOTBUSY No scripts in execution right now.");
}

void cmd_function_list(struct cmd_ctx *c)
{
    bool code = false, name = false;
    for (uint32_t i = 2; i < c->argc; i++) {
        if (!code && cmd_arg_is(c, i, STR("WITHCODE"))) {
            code = true;
        } else if (!name && cmd_arg_is(c, i, STR("LIBRARYNAME"))) {
            name = true;
            if (++i == c->argc) {
                reply_error(c->reply, "ERR library name argument was not given");
                return;
            }
        } else {
            reply_errorf(c->reply, "ERR Unknown argument %.*s", (int)c->argv[i].n, c->argv[i].p);
            return;
        }
    }
    reply_array(c->reply, 0);
}

void cmd_function_load(struct cmd_ctx *c)
{
    reply_error(c->reply,
                "ERR " NO_ENGINE ": send the commands of the function from the client, in MULTI where "
                "they belong together");
}

void cmd_function_restore(struct cmd_ctx *c)
{
    if (c->argc > 4)
        cmd_reply_unknown_sub(c);
    else if (c->argc == 4 && !cmd_arg_is(c, 3, STR("FLUSH")) && !cmd_arg_is(c, 3, STR("APPEND")) &&
             !cmd_arg_is(c, 3, STR("REPLACE")))
        reply_error(c->reply,
                    "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.");
    else if (!dump_is_sound(c->argv[2]))
        reply_error(c->reply, REPLY_BAD_DUMP);
    else if (c->argv[2].n > DUMP_FOOTER)
        reply_error(c->reply, "ERR " NO_ENGINE ", and takes only a payload without libraries");
    else
        reply_ok(c->reply);
}

void cmd_function_stats(struct cmd_ctx *c)
{
    reply_map(c->reply, 2);
    reply_cstr(c->reply, "running_script");
    reply_null(c->reply);
    reply_cstr(c->reply, "engines");
    reply_map(c->reply, 0);
}
