/* What a connection is to the commands: who speaks, in which database, in which
 * protocol, in which transaction. The socket around it is server/conn.h's.
 *
 * Owner: the connection's worker in its rounds; the lane while the connection is
 * parked for it, or under the gate. */
#ifndef LARDER_CMD_SESSION_H
#define LARDER_CMD_SESSION_H

#include "base/str.h"
#include "txn/txn.h"

#include <stdbool.h>
#include <stdint.h>

enum session_reply_mode { SESSION_REPLY_ON, SESSION_REPLY_OFF, SESSION_REPLY_SKIP_NEXT, SESSION_REPLY_SKIP };

struct session {
    uint64_t id;   /* CLIENT ID: unique, rising */
    uint32_t db;   /* SELECT */
    uint8_t proto; /* 2 or 3 */
    uint8_t reply_mode;
    bool authenticated;
    bool no_evict, no_touch;
    bool monitor; /* gets every command; sends only QUIT, RESET, PING-like */
    bool close_after_reply;
    uint64_t arrives;   /* CACHE.ARRIVE: the bar then (cache/move.h); 0: it has not said so */
    uint32_t importing; /* it brings the keys of slots that come here: the import's number (server/moves.h) */
    bool asking;        /* ASKING: the next command may use a slot that is being imported */
    bool readonly;      /* READONLY: a replica may serve its reads */
    char *name, *lib_name, *lib_ver; /* owned, NULL = none */
    size_t names_bytes;              /* of these three */
    struct txn txn;
};

/* Names (CLIENT SETNAME, SETINFO): printable, no spaces. */
bool session_name_ok(struct str s);
/* Replace *slot, one of ss's names, by a copy of s, or by NULL when that is empty. False when memory is
 * short. */
bool session_set_name(struct session *ss, char **slot, struct str s);

/* Frees what the session owns and unlinks its watches; any thread that owns the session. */
void session_release(struct session *s, struct store *store);

#endif
