/* The primary's stream, cut into units: single commands, and MULTI ... EXEC as one.
 *
 * Nothing of a unit is handed out before all of it is there, so a link that breaks in the middle of a transaction
 * leaves nothing half-applied, and the offset stands before it. Bytes are not copied: commands point into the input,
 * which the caller keeps until the unit is applied. */
#ifndef LARDER_REPL_STREAM_H
#define LARDER_REPL_STREAM_H

#include "base/arena.h"
#include "proto/request.h"

enum stream_limits {
    STREAM_BULK_MAX = 1 << 30,      /* bytes of an argument: more than any primary's proto-max-bulk-len by default */
    STREAM_UNIT_COMMANDS = 1 << 20, /* in a transaction */
};

struct stream_command {
    struct str *argv;
    uint32_t argc;
};

struct stream_unit {
    struct stream_command *commands; /* in the arena; MULTI and EXEC are not among them */
    uint32_t n;                      /* 0: an empty line or transaction */
    bool multi;
    size_t bytes;
};

struct stream {
    const char *error; /* after ERR_PROTO */
    char error_text[64];
};

/* The unit at the front of `in`. 0; ERR_AGAIN when it is not all there; ERR_PROTO: no replica can read this; ERR_OOM. */
int stream_next(struct stream *s, struct str in, struct arena *arena, struct stream_unit *out);

#endif
