/* What one command, or one transaction, did: the unit that replicas apply as a whole.
 *
 *      unit_open ── handler: unit_add("SREM", ...) ── unit_reserve ── unlock ── unit_publish
 *                        none added: the request itself, if it changed something
 *
 * Effects, not requests: a handler whose request would do something else elsewhere or later (a relative
 * time to live, a random choice) adds what it really did. One command is logged as it is, several between
 * MULTI and EXEC. Removals by the store (expired, evicted) join the unit that is open, or are one of
 * their own, reserved under the lock that the store holds.
 *
 * One per thread that executes; nobody else touches it, but its thread's log. */
#ifndef LARDER_REPL_UNIT_H
#define LARDER_REPL_UNIT_H

#include "base/buf.h"
#include "repl/changelog.h"

enum { UNIT_KEEP = 64 * 1024 /* bytes of scratch kept from one unit to the next */ };

struct unit {
    struct changelog *log;
    uint32_t writer;
    struct buf bytes;   /* commands, as they go into the log */
    uint32_t ncommands; /* in them */
    uint32_t first_db, db;
    bool open;
    bool lost;     /* no memory for an effect: the log will be broken */
    bool reserved; /* between unit_reserve() and unit_publish() */
    bool verbatim; /* the request alone, written from its arguments */
    const struct str *argv;
    uint32_t argc;
    struct str name;   /* instead of argv[0] */
    uint64_t payload;  /* bytes without the SELECT */
    uint64_t last_end; /* offset behind the last unit */
    bool fresh;        /* something was published since unit_take_fresh() */
    struct changelog_place place;
};

void unit_init(struct unit *u, struct changelog *log, uint32_t writer);
void unit_release(struct unit *u);

/* Locks held, before the command runs. Nothing may be left over. */
void unit_open(struct unit *u);
/* Add a command that has taken effect on database number `db`; copies. Outside of an open unit it is one of
 * its own and is published at once. */
void unit_add(struct unit *u, uint32_t db, const struct str *argv, uint32_t argc);
/* The request itself; borrows argv until unit_publish(). name: what the command
 * is called at home, whatever argv[0] says. */
void unit_add_request(struct unit *u, uint32_t db, struct str name, const struct str *argv, uint32_t argc);
/* Locks still held. Closes the unit; what was done has its place in the log now. */
void unit_reserve(struct unit *u);
/* Locks released. */
void unit_publish(struct unit *u);

/* Has anything been published since it was last asked? Then readers want to be woken. */
static inline bool unit_take_fresh(struct unit *u)
{
    bool fresh = u->fresh;
    u->fresh = false;
    return fresh;
}

/* A command in RESP, as the log and replication links carry it. 0 or ERR_OOM. */
int unit_put_command(struct buf *b, const struct str *argv, uint32_t argc);

#endif
