/* What the library knows of a command: where its key is, and whether it may be repeated. */
#ifndef LARDER_CLIENT_KNOWN_H
#define LARDER_CLIENT_KNOWN_H

#include "client/engine.h"

/* Fill key, node, flags and timeouts of a command from its argv and what the caller says (call may be
 * NULL). 0, or LARDER_ERR_ARGUMENT or LARDER_ERR_NOT_FOUND with err. */
int known_fill(struct topo *t, struct cmd *cmd, const struct larder_call *call, struct larder_error *err);

#endif
