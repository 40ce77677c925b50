/* Prototypes, made from the rows: of every handler, and of the optional functions
 * that a row may name after it, cost_<command> and key_flags_<command>. */
#ifndef LARDER_CMD_HANDLERS_H
#define LARDER_CMD_HANDLERS_H

#include "cmd/command.h"

#define COMMAND(ident, ...)                                                                                  \
    cmd_fn cmd_##ident;                                                                                      \
    cmd_cost_fn cost_##ident;                                                                                \
    cmd_key_flags_fn key_flags_##ident;
#define NAMED(ident, ...) COMMAND(ident)
#define CONTAINER(ident, ...)
#define SUBCOMMAND(container, ident, ...)                                                                    \
    cmd_fn cmd_##container##_##ident;                                                                        \
    cmd_cost_fn cost_##container##_##ident;
#include "cmd/commands.def"
#undef COMMAND
#undef NAMED
#undef CONTAINER
#undef SUBCOMMAND

#endif
