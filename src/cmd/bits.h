/* What SETBIT and BITFIELD share. */
#ifndef LARDER_CMD_BITS_H
#define LARDER_CMD_BITS_H

#include "cmd/cmd.h"

/* Argument i as a bit's place in a string. With field_bits > 0 "#3" means the place of field
 * 3, counted from 0, of that width. _arg has replied Redis's error when it returns false. */
bool bit_offset_parse(const struct cmd_ctx *c, uint32_t i, unsigned field_bits, uint64_t *out);
bool bit_offset_arg(struct cmd_ctx *c, uint32_t i, unsigned field_bits, uint64_t *out);

/* Would an edit that changes no byte leave the string e (or NULL) as it is: encoding, and length with bit
 * `last_bit` in it? Then it is no write: nobody is told. *bytes are the string's. */
bool bit_edit_is_idle(const struct entry *e, uint64_t last_bit, struct str *bytes);

/* Key 0 (its string e, or NULL) made writable and long enough to hold bit `last_bit`.
 * Returns 0 or ERR_OOM. */
int bit_edit(struct cmd_ctx *c, struct entry *e, uint64_t last_bit, char **data);

#endif
