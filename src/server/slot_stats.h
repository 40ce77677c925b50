/* What each slot costs: processor time, bytes of requests and of replies (CLUSTER SLOT-STATS).
 *
 * Nothing is counted unless `cluster-slot-stats-enabled` says so: dispatch looks at one bit of server.care,
 * on the way that only nodes of a cluster take. What is counted goes into lines that each thread has for
 * itself:
 *
 *      thread:      0 ... n-1   n (the lane)   base
 *      slot 0       [t, in, out] ...           [t, in, out]
 *      slot 1       ...
 *
 * A slot's figures are the sum over the threads less its base. So they begin anew, when the slot comes or
 * goes, by making the sum the base: any thread may do that while the others count. 384 KB a thread, taken
 * when they are first counted and kept: who reads or resets need not know whether they are still counted.
 *
 * Bytes are a request's in RESP, however it arrived, and its reply's. A transaction is EXEC's: all that was
 * queued, MULTI and EXEC themselves. Not counted: what is refused or redirected, what has no key or keys of
 * several slots (CACHE.MGET), the stream to replicas. */
#ifndef LARDER_SERVER_SLOT_STATS_H
#define LARDER_SERVER_SLOT_STATS_H

#include "base/counter.h"
#include "server/cluster_view.h"

struct cmd_ctx;
struct slot_lines;

enum { SLOT_STATS_NONE = SLOT_COUNT /* in place of a slot: count for none */ };

struct slot_figures {
    uint64_t cpu_us, in, out;
};

struct slot_stats {
    struct slot_lines *_Atomic lines; /* SLOT_COUNT for each thread and the base; NULL: never counted */
    uint32_t nthreads;
};

/* Gate, or boot. 0 or ERR_OOM. */
int slot_stats_begin(struct slot_stats *s, uint32_t nthreads);
void slot_stats_release(struct slot_stats *s);

/* ---- the thread with that number; slot_stats_begin() was called ---- */

/* c's command, or transaction that is still queued, has taken `ticks` and replied `out` bytes. */
void slot_stats_note(struct slot_stats *s, uint32_t thread, uint32_t slot, const struct cmd_ctx *c,
                     uint64_t ticks, size_t out);
/* The same of a request that was noted when it began to wait. */
void slot_stats_note_more(struct slot_stats *s, uint32_t thread, uint32_t slot, uint64_t ticks, size_t out);
/* Of c's command, which is not EXEC. */
uint32_t slot_stats_slot(const struct cmd_ctx *c);

/* ---- any thread ---- */

/* Who executes c's command: a worker by its number, or the lane. */
uint32_t slot_stats_thread(struct cmd_ctx *c);

/* All 0 if nothing was ever counted. */
struct slot_figures slot_stats_of(const struct slot_stats *s, uint32_t slot);
void slot_stats_reset(struct slot_stats *s);
/* Slots that this node begins or ceases to serve begin anew. Either may be NULL. */
void slot_stats_follow(struct slot_stats *s, const struct cluster_view *old, const struct cluster_view *v);

#endif
