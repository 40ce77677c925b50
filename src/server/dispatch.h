/* From bytes to effects: parse, look up, check, hash, prefetch, lock, run.
 *
 *      parse up to BATCH requests      hash their keys
 *      for all: prefetch, a step at a time: table, bucket, entry
 *      for all: lock shard, run, unlock
 *
 * A batch ends at the first command that is not plainly about keys, because it may
 * change what the next ones mean (SELECT, MULTI, HELLO). */
#ifndef LARDER_SERVER_DISPATCH_H
#define LARDER_SERVER_DISPATCH_H

#include "server/lane.h"
#include "server/worker.h"

enum dispatch_limits {
    DISPATCH_BATCH = 32,
    DISPATCH_BIG_ARG = 32 * 1024, /* larger arguments of writes become blocks before the lock */
};

/* Execute what `in` holds, replying to conn_reply(c). Returns the bytes used up; stops early
 * when c is parked or to be closed. c->in_need says how many bytes a cut request still lacks. */
size_t dispatch_input(struct conn *c, struct str in);

/* Hash every key of c's command (c->cmd, argv, argc) into c->keys, in the arena; with `prefetch`,
 * start fetching their buckets. False when memory is short. */
bool dispatch_hash_keys(struct cmd_ctx *c, bool prefetch);

/* Count `calls` of the command that has just run, which took `ticks` together, and note the last where
 * slow ones are noted. Its reply begins at offset `start` of c->reply. */
void dispatch_account(struct cmd_ctx *c, struct conn *conn, struct metrics *m, uint32_t calls, uint64_t ticks,
                      size_t start);

/* Count the error reply that begins there. */
void dispatch_note_error(struct cmd_ctx *c, struct server *s, struct metrics *m, size_t start);

/* The lane runs a job's command, or its session's transaction, under whatever the job's mode holds. */
void dispatch_run_job(struct lane_job *job, struct cmd_ctx *c, struct metrics *m);

/* The job has come home: its reply to the client, the client back to work. */
void dispatch_job_done(struct conn *conn, struct lane_job *job);

#endif
