/* Prototypes, made from the rows: of every handler, and of the optional functions
 * that a row may name after it, cost_<command>, key_flags_<command> and find_keys_<command>. */
#ifndef LARDER_CMD_HANDLERS_H
#define LARDER_CMD_HANDLERS_H

#include "cmd/command.h"

#define COMMAND(ident, ...)                                                                                  \
    cmd_fn cmd_##ident;                                                                                      \
    cmd_cost_fn cost_##ident;                                                                                \
    cmd_key_flags_fn key_flags_##ident;                                                                      \
    cmd_find_keys_fn find_keys_##ident;
#define COMMAND_AS(ident, ...) COMMAND(ident, )
#define CONTAINER(ident, ...)
#define SUBCOMMAND(container, ident, ...)                                                                    \
    cmd_fn cmd_##container##_##ident;                                                                        \
    cmd_cost_fn cost_##container##_##ident;
#include "cmd/commands.def"
#undef COMMAND
#undef COMMAND_AS
#undef CONTAINER
#undef SUBCOMMAND

#endif
