/* The subcommands of DEBUG that look at keys or make them, and PROTOCOL. Under the gate, as all of DEBUG. */
#ifndef LARDER_SERVER_DEBUG_KEYS_H
#define LARDER_SERVER_DEBUG_KEYS_H

struct cmd_ctx;

void debug_keys_digest(struct cmd_ctx *c);       /* DIGEST */
void debug_keys_digest_value(struct cmd_ctx *c); /* DIGEST-VALUE key ... */
void debug_keys_object(struct cmd_ctx *c);       /* OBJECT key */
void debug_keys_populate(struct cmd_ctx *c);     /* POPULATE count [prefix] [size] */

/* debug_protocol.c */
void debug_protocol(struct cmd_ctx *c); /* PROTOCOL type */

#endif
