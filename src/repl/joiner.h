/* The primary's end of a replication link: what a replica says, taken apart and judged. No socket, no reply.
 *
 *      REPLCONF option value ...    about itself, before it asks            joiner_learn()
 *      PSYNC id from [FAILOVER]     what it has, and what it wants          joiner_wish(), joiner_goes_on()
 *      REPLCONF ACK n [FACK m]      how far it is, all the time after       joiner_acks()
 *
 * A replica may be anybody: what it says of itself is shown to operators and written to logs, so only what
 * can be shown is taken; and nobody has what was never sent. */
#ifndef LARDER_REPL_JOINER_H
#define LARDER_REPL_JOINER_H

#include "base/arena.h"
#include "repl/changelog.h"
#include "repl/history.h"

enum joiner_limits {
    JOINER_IP_MAX = 64,           /* bytes of an address or name, with the end */
    JOINER_INPUT_MAX = 64 * 1024, /* bytes of requests that a replica may pile up */
};

/* What it has said about itself. */
struct joiner {
    uint16_t port;
    bool knows_psync2, knows_eof;
    bool rdb_only;          /* it takes a full copy and goes */
    char ip[JOINER_IP_MAX]; /* "": the socket's */
};

enum joiner_fault {
    JOINER_FINE,
    JOINER_UNKNOWN,    /* no such option */
    JOINER_NOT_NUMBER, /* the value is no number, or out of range */
    JOINER_TOO_LONG,   /* the address */
    JOINER_UNPRINTABLE,
};
/* One option of REPLCONF and its value; nothing is changed unless it is fine. */
enum joiner_fault joiner_learn(struct joiner *a, struct str option, struct str value);

struct joiner_wish {
    bool has_history; /* id is one */
    bool failover;    /* it wants to take this node's place */
    char id[HISTORY_ID + 1];
    int64_t from; /* the byte that it wants, counted from 1 */
};
/* PSYNC's arguments behind its name, two or three. ERR_CORRUPT: `from` is no number. */
int joiner_wish(struct joiner_wish *w, const struct str *argv, uint32_t argc);

/* May it go on from there, and are the bytes still held? Then *reader is open at them. */
bool joiner_goes_on(const struct joiner_wish *w, const struct history *h, struct changelog *log,
                    struct changelog_reader *reader);

struct joiner_ack {
    bool any;
    uint64_t offset, fsynced; /* what it has; what it has on disk, 0: it does not say */
};
/* The requests at the front of `in`, at most all that are whole; *used is their length. The last ACK among
 * them counts, everything else means nothing. 0; ERR_PROTO: these are no requests; ERR_RANGE: it acknowledges
 * more than `head`; ERR_OOM. */
int joiner_acks(struct str in, uint64_t head, struct arena *arena, struct joiner_ack *out, size_t *used);

#endif
