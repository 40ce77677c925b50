/* One request of a batch, between parsing (batch.c) and running (dispatch.c). */
#ifndef LARDER_SERVER_BATCH_H
#define LARDER_SERVER_BATCH_H

#include "proto/request.h"
#include "server/worker.h"

struct pending {
    struct request req;
    const struct command *cmd; /* NULL: unknown */
    struct key *keys;          /* in the arena, or &one */
    uint32_t nkeys;
    bool hashed; /* false: out of memory */
    bool more;   /* the next of the batch is of the same command */
    struct key one;
};

/* The clock of a batch. Reading it takes as long as a fifth of a GET, so a run of the same short command is
 * timed as a whole, unless somebody looks for times that small (server.time_in_runs): each call counts
 * with the mean, and when the run as a whole was slow, its last call is shown as slow. */
struct stopwatch {
    uint64_t from;
    uint32_t calls; /* of the run so far */
};

/* What became of a request. */
enum outcome {
    DONE,    /* ran, replied */
    REPLIED, /* refused or queued: replied without running */
    AWAY,    /* its reply will come later; the connection is parked */
    NOT_YET, /* parked before it began: it will be parsed again */
};

/* Run it. *ticks: when the one before ended; moves on. */
enum outcome dispatch_one(struct worker *w, struct conn *conn, struct pending *p, struct stopwatch *sw);

/* Count what the run has had so far: it ends here. */
void dispatch_end_run(struct worker *w, const struct command *cmd, struct stopwatch *sw);

/* What came was no command but an empty line. */
void dispatch_empty(struct session *s);

/* Something about the session makes dispatch look closer, one request at a time. */
static inline bool wants_care(const struct session *s)
{
    return !s->authenticated || s->txn.open || s->reply_mode != SESSION_REPLY_ON;
}

#endif
