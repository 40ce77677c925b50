/* CLUSTER MIGRATESLOTS: slots change their owner with all that is in them, at one moment for all clients, and
 * nobody sees a key in two places or in none (decision 026).
 *
 *      source                                                    target
 *      CLUSTER SYNCSLOTS ESTABLISH ───────────> empties the slots, hides them
 *      each key: RESTORE, CACHE.RESTORE ──────> writes it; its replicas hear of it
 *      keys that the change log names, again ─> writes them
 *      offers an epoch, till a majority of the primaries knows of it (cluster/giving.c)
 *      CLUSTER SYNCSLOTS READY epoch ─────────> has on its disk that it may claim them from now on
 *      holds the slots: who wants them waits
 *      the last keys ─────────────────────────> writes them; its replicas have them
 *      CLUSTER SYNCSLOTS TAKE epoch ──────────> claims them on the bus (cluster/taking.c)
 *      hears the claim: MOVED from now on       hears that: serves
 *
 * What is sent of a key is what it is at that moment, never what was done to it. So a key that changes while
 * it is copied needs no order with the copy, and what the target has evicted or expired meanwhile is wrong
 * for nobody: if the source changes such a key, the target gets all of it again.
 *
 * Until TAKE is sent the source is the owner whatever happens, and the target throws away what it has when
 * the connection ends. After it only the bus decides: the source waits until it has heard the claim. If it
 * hears none in MOVES_DOUBT_MS it takes a greater epoch itself and goes on as the owner; the target has not
 * served.
 *
 * Who owns what:
 *      moves.*             the mutex, a leaf: what is asked for and what has become of it
 *      the thread "mover"  one move at a time, from here to elsewhere; in no rounds. What touches the store
 *                          it has the lane do, what concerns the cluster its thread (cluster_call())
 *      struct moving       the cluster's thread: what arrives here, and which slots are held */
#ifndef LARDER_SERVER_MOVES_H
#define LARDER_SERVER_MOVES_H

#include "base/buf.h"
#include "base/str.h"
#include "server/cluster_view.h"
#include "server/lane.h"

#include <pthread.h>
#include <stdatomic.h>

struct cluster_core;
struct cmd_ctx;
struct server;

enum moves_limits {
    MOVES_RECORDS = 64, /* moves that are shown, those under way among them */
    MOVES_IMPORTS = 8,  /* arrive here at once */
    MOVES_RANGES_MAX = 512,
    MOVES_NAME = 40,
    MOVES_TEXT = 256,
    MOVES_TIMEOUT_MS = 10 * 1000, /* of the target's answers */
    MOVES_DOUBT_MS = 2000,        /* for the claim to be heard, once the target has been told to take them */
    MOVES_CLAIM_MS = 10 * 1000,   /* ... if it has said that it does */
    MOVES_REPLICAS_MS = 1000,     /* for the target's replicas to have everything, while the slots are held */
    MOVES_FEW = 64,               /* keys that may be left when the slots are held ... */
    MOVES_FEW_BYTES =
        64 << 10,       /* ... and of so many bytes: what a local network carries in well under 10 ms */
    MOVES_OFFERS = 5,   /* of an epoch, if others take theirs meanwhile */
    MOVES_ROUNDS = 200, /* of sending again what has changed; then writers are too quick for us */
    MOVES_LOG_BYTES = 256 << 10, /* of the change log, read at a time */
    MOVES_TELL_MS = 1000,        /* from one note to replicas to the next */
};

enum move_state {
    MOVE_WAITS,
    MOVE_CONNECTS,
    MOVE_COPIES,
    MOVE_FOLLOWS,
    MOVE_HOLDS,
    MOVE_GIVES, /* the target was told to take them */
    MOVE_RECEIVES,
    MOVE_TAKES, /* here: claimed, and not served yet */
    MOVE_CLEANS,
    MOVE_DONE,
    MOVE_CANCELLED,
    MOVE_FAILED, /* this and what is above the last three is over */
};

struct move_range {
    uint16_t first, last;
};

/* One move, as CLUSTER GETSLOTMIGRATIONS shows it. */
struct move {
    uint64_t number; /* 0: a free place; rising */
    char name[MOVES_NAME + 1], source[VIEW_ID + 1], target[VIEW_ID + 1];
    bool arrives; /* here; else it leaves */
    enum move_state state;
    uint32_t nranges;
    struct move_range ranges[MOVES_RANGES_MAX];
    int64_t created_s, updated_s, acked_s;
    uint64_t left; /* bytes of the change log that have not been looked at */
    char text[MOVES_TEXT];
};

struct moves {
    struct server *server;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t more;
    bool running;
    _Atomic bool stop, ends;              /* ends: the move at hand is to end: cancelled, or stop */
    _Atomic bool reads_log;               /* it must not be switched off */
    _Atomic uint32_t gone[MOVES_IMPORTS]; /* session.importing of connections that have ended */
    uint64_t last_number;
    struct move *records; /* MOVES_RECORDS, owned; NULL: no cluster */
};

/* What arrives here. */
struct moves_import {
    uint32_t number; /* 0: a free place; session.importing, modulo MOVES_IMPORTS this place */
    uint64_t move;   /* its record */
    char from[VIEW_ID + 1];
    uint8_t slots[SLOT_BYTES];
    uint64_t flushes; /* of the store, at its beginning */
    bool takes, cleans, drops;
};

struct moving {
    uint8_t held[SLOT_BYTES], arriving[SLOT_BYTES];
    uint32_t last_number;
    struct moves_import imports[MOVES_IMPORTS];
    /* The note to this node's replicas: */
    uint8_t told[SLOT_BYTES];
    uint64_t tell_ms; /* again then */
    bool telling;     /* the lane has it */
    bool unsaid;      /* writes were paused when its turn came */
    struct lane_job tell;
};

int moves_init(struct moves *m, struct server *s); /* 0 or ERR_OOM */
int moves_start(struct moves *m);
void moves_end(struct moves *m); /* joins the thread. Before the cluster's thread and the lane end */
void moves_release(struct moves *m);

/* Any thread: a connection that has brought keys is gone. */
void moves_connection_gone(struct moves *m, uint32_t importing);

/* Any thread: is the slot part of a move that is not over? *arrives: to here. */
bool moves_slot(struct moves *m, uint32_t slot, bool *arrives);

/* Any thread: the ids of all nodes to which slots go from here, so that they may have keys of them; each
 * once, VIEW_ID bytes long. Appended to out, whose oom says whether all are there. */
void moves_targets(struct moves *m, const struct cluster_view *v, struct buf *out);

/* ---- inside: moves*.c ---- */

static inline bool move_is_over(enum move_state s)
{
    return s >= MOVE_DONE;
}
void move_slots(const struct move *mv, uint8_t slots[SLOT_BYTES]);

/* moves.c. A copy of mv, with its number, becomes a record: NULL when there are too many. The mutex. */
struct move *moves_add(struct moves *m, const struct move *mv);
/* Any thread. text NULL: as before. */
void moves_note(struct moves *m, uint64_t number, enum move_state state, const char *text);
void moves_note_left(struct moves *m, uint64_t number, uint64_t left);

/* moves_send.c: the whole of it, until it is over. */
void moves_send(struct moves *m, const struct move *mv);

/* moves_take.c: the cluster's thread. */
void moves_establish(struct cmd_ctx *c, struct cluster_core *core, const struct move *mv);
/* Its OK is sent when it is on the disk. */
void moves_ready(struct cmd_ctx *c, struct cluster_core *core, uint64_t epoch);
void moves_take(struct cmd_ctx *c, struct cluster_core *core, uint64_t epoch);
/* In every round: what has become of what arrives here? */
void moves_look(struct cluster_core *core);

/* moves_note.c. The cluster's thread: when this returns, replicas are told which slots arrive here. */
void moves_tell_now(struct cluster_core *core);
/* The replication thread: the argument of a PING. False: it is no such note. */
struct repl;
bool moves_take_note(struct repl *r, struct str note);
/* The cluster's thread, in every round: tells them what has changed. */
void moves_tell_replicas(struct cluster_core *core);

/* cmd_moves.c: the same for the commands. */
void moves_do_migrateslots(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v);
void moves_do_getslotmigrations(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v);
void moves_do_cancelslotmigrations(struct cmd_ctx *c, struct cluster_core *core,
                                   const struct cluster_view *v);
void moves_do_syncslots(struct cmd_ctx *c, struct cluster_core *core, const struct cluster_view *v);

#endif
