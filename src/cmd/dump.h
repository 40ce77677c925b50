/* DUMP's form of a value, for those who carry values to other nodes. */
#ifndef LARDER_CMD_DUMP_H
#define LARDER_CMD_DUMP_H

#include "base/buf.h"
#include "cmd/cmd.h"

/* Append what DUMP gives for e, whose shard is locked. ERR_OOM: out is as it was. */
int dump_value(const struct entry *e, struct buf *out);

#endif
