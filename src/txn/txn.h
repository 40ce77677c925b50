/* MULTI ... EXEC: the queued commands and the watched keys of one connection.
 *
 * Queued arguments are copied (the read buffer moves on). EXEC takes the locks of
 * every shard that queued commands and watches name, so watches are checked and
 * commands executed in one step; server/exec.c does that. The `dirty` flag is set
 * by any thread that changes a watched key, under that key's shard lock. */
#ifndef LARDER_TXN_TXN_H
#define LARDER_TXN_TXN_H

#include "base/str.h"
#include "store/store.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct command; /* cmd/command.h; only carried here */

enum txn_limits { TXN_COMMANDS_MAX = 1 << 20, TXN_WATCHES_MAX = 1 << 20 };

struct txn_command {
    const struct command *cmd;
    struct str *argv; /* one heap block: the array, then the bytes */
    uint32_t argc;
};

struct txn_watch; /* a struct watch with the key's bytes behind it; txn.c */

struct txn {
    bool open;          /* between MULTI and EXEC/DISCARD */
    bool aborted;       /* a command was refused while queueing: EXEC answers EXECABORT */
    _Atomic bool dirty; /* a watched key changed */
    uint32_t ncommands, commands_cap;
    uint32_t nwatches;
    struct txn_command *commands;
    struct txn_watch *watches;
    size_t bytes;       /* held by queue and watches (CLIENT LIST's multi-mem) */
    size_t queue_bytes; /* of them by the queue */
};

void txn_init(struct txn *t);

/* Copies argv. Returns 0, ERR_OOM or ERR_FULL. */
int txn_queue(struct txn *t, const struct command *cmd, const struct str *argv, uint32_t argc);

/* Forget the queue and the open state, keep the watches. */
void txn_clear_queue(struct txn *t);

/* The key's shard must be locked. Watching twice is once. 0, ERR_OOM, ERR_FULL. */
int txn_watch(struct txn *t, const struct access *a, const struct key *k, uint32_t db);

/* Add the shards of all watches, so that the caller can lock them. */
void txn_watch_shards(const struct txn *t, struct lockset *ls);

/* All watched shards locked: has any watched key changed or expired? */
bool txn_watch_broken(const struct txn *t, const struct access *a);

/* Needs no shard lock: the watch lists have a leaf lock of their own (store.h). */
void txn_unwatch_all(struct txn *t, struct store *s);

/* Everything: for a connection that goes. */
void txn_release(struct txn *t, struct store *s);

#endif
