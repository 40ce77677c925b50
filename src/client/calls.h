/* What the calls on one key and on many share. */
#ifndef LARDER_CLIENT_CALLS_H
#define LARDER_CLIENT_CALLS_H

#include "client/handle.h"

enum {
    CMD_GET_FLAGS = CMD_IDEMPOTENT | CMD_READ | CMD_STANDIN,
    CMD_WRITE_FLAGS = CMD_IDEMPOTENT | CMD_STANDIN,
};

/* Copies the text of a reply. LARDER_OK or LARDER_ERR_MEMORY. */
int take_value(struct larder_value *out, const struct reader_value *v);

/* A reply of another type than `command` has: LARDER_ERR_PROTOCOL. node: its number, negative if unknown. */
int odd_reply(larder *l, int64_t node, const char *command, struct larder_error *err);

/* LARDER_TTL_DEFAULT becomes the handle's; LARDER_TTL_NONE stays. 0 or LARDER_ERR_ARGUMENT. */
int resolve_ttl(const larder *l, int64_t ttl_ms, int64_t *out, struct larder_error *err);

#endif
