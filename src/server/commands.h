/* The command table, put together: every row of cmd/commands.def with its handler. */
#ifndef LARDER_SERVER_COMMANDS_H
#define LARDER_SERVER_COMMANDS_H

#include "server/config.h"

/* Boot. Applies rename-command; prints to stderr and returns negative for a bad one. */
int commands_init(const struct config *cfg);

#endif
