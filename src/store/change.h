/* The store announces changes: one of the two seams through which effects travel upward.
 *
 * What a command changes, the command's own handler knows best; so for that the store only counts
 * (store_changes_here() before and after: did anything change?). What the store changes by itself, with
 * no command asking for it, it tells the observer: a key removed because its time had passed, because
 * its memory was needed, or because its slot belongs to another node now. Replication turns each into a DEL.
 *
 *      handler ── store_put_string() ──> count + 1            (of the thread that did it)
 *      sweep, lookup ── removal ──> removed(...)              (the key's shard is still locked) */
#ifndef LARDER_STORE_CHANGE_H
#define LARDER_STORE_CHANGE_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct access;
struct store;

enum change_reason { CHANGE_EXPIRED, CHANGE_EVICTED, CHANGE_MOVED, CHANGE_PURGED };

struct access;
struct appender;
struct store;

/* The thread of `a` is taking key (borrowed for the call) out of database number `db`; it holds the shard's
 * lock, or the gate. Must not call back into the store, wait or fail. */
typedef void change_removed_fn(void *listener, const struct access *a, uint32_t db, struct str key,
                               enum change_reason why);

/* Gate, or before threads start: who is told what this thread removes. NULL: nobody. */
void store_observe(struct appender *app, change_removed_fn *removed, void *listener);

/* Changes so far that commands asked for: all threads' (any thread may ask; INFO's
 * rdb_changes_since_last_save is a difference of two), and those of a's own thread. */
uint64_t store_changes(const struct store *s);
uint64_t store_changes_here(const struct access *a);

#endif
