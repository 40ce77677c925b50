/* DUMP's form of a value, for those who carry values to other nodes, or take them. */
#ifndef LARDER_CMD_DUMP_H
#define LARDER_CMD_DUMP_H

#include "base/buf.h"
#include "cmd/cmd.h"
#include "value/rdb_string.h"

/* Append what DUMP gives for e, whose shard is locked. ERR_OOM: out is as it was. */
int dump_value(const struct entry *e, struct buf *out);
/* The same of values that are in no store. */
int dump_put_string(struct str value, struct buf *out);
int dump_put_object(const struct object *o, struct buf *out);

#define REPLY_BUSYKEY "BUSYKEY Target key name already exists."
#define REPLY_BAD_DUMP "ERR DUMP payload version or checksum are wrong"

enum { DUMP_FOOTER = 10 }; /* bytes of version and checksum */
/* Write them behind n bytes of payload. */
void dump_put_footer(char *dst, size_t n);
/* Are they right? */
bool dump_is_sound(struct str payload);
/* The string in a payload. Its bytes may lie in here: it is not to be copied. */
struct dump_string {
    struct str bytes;    /* in the payload, the block, or `of` */
    struct block *block; /* the caller's; NULL: none */
    struct rdb_string of;
};
/* Of a sound payload. Returns 0, ERR_OOM, or another error if there is none. */
int dump_get_string(struct cmd_ctx *c, struct str payload, struct dump_string *out);
/* Key 0 comes from another node. False after replying: it matches a pattern that is being purged here, of
 * which nobody there may know yet, and is dropped, as it would be if it had been here; or it was read before
 * such a pattern (cache/move.h). */
bool dump_arrives(struct cmd_ctx *c);
/* The effect of a RESTORE whose payload is argument 3: with the deadline in place of the time to live. */
void dump_note_restored(struct cmd_ctx *c, int64_t deadline);

#endif
