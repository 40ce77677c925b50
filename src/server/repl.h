/* Replication: the thread that moves bytes between nodes, and what this node is in it.
 *
 *      as replica     primary ──socket──> copy into a file ──> load │ stream ──> apply ──> change log
 *      as primary     workers ──> change log ──┬── at once ──> replicas that keep up
 *                                              └── this thread ──> others, each at its own place
 *
 * One thread, in rounds like a worker's, with its own place at the gate, its own appender and its own loop.
 * What replicas that keep up are to have, workers send themselves (repl_hand.h). What needs the world stopped
 * (taking another role, FLUSHALL from the stream, switching the log on) it has the lane do, standing outside
 * of a round meanwhile.
 *
 * Who may touch what:
 *   role fields     written under the gate; read in rounds
 *   replica.*       the thread in its rounds, or under the gate
 *   shown.*         atomics, for INFO and ROLE
 *   feeds           the thread; `mutex` guards what INFO, ROLE and WAIT read of them */
#ifndef LARDER_SERVER_REPL_H
#define LARDER_SERVER_REPL_H

#include "base/arena.h"
#include "base/mpsc.h"
#include "cmd/cmd.h"
#include "os/loop.h"
#include "os/sock.h"
#include "persist/snapshot.h"
#include "proto/slot.h"
#include "repl/changelog.h"
#include "repl/history.h"
#include "repl/lineage.h"
#include "repl/link.h"
#include "repl/stream.h"
#include "repl/unit.h"
#include "server/failover.h"
#include "server/purge.h"
#include "server/repl_hand.h"
#include "server/repl_peers.h"

#include <pthread.h>
#include <stdatomic.h>

struct server;

enum repl_limits {
    REPL_READ_SIZE = 64 * 1024,
    REPL_READ_MAX = 1 << 20, /* read from the primary in a round */
    REPL_SLICE_US = 2000,    /* of applying, then others who want the gate have their turn */
    REPL_CRON_MS = 100,
    REPL_RETRY_MS = 1000, /* between attempts to reach the primary */
    REPL_CONNECT_MS = 2000,
    REPL_ACK_MS = 1000,
    REPL_COMFORT_MS = 1000,
    REPL_TEXT_MAX = 400,
    REPL_HOST_MAX = 256,
    REPL_LOAD_SLICE = 256,       /* keys loaded between two looks at the gate */
    REPL_SEND_MAX = 1 << 20,     /* to one replica in a round */
    REPL_ERRORS_LOGGED = 10,     /* of commands from the stream that fail */
    REPL_UNIT_LONG = 1 << 20,    /* bytes of a cut unit that is not parsed again at every piece */
    REPL_REFUSED_MS = 10 * 1000, /* before a copy that was refused is asked for again */
    REPL_COPY_NAP_US = 1000,     /* of the copier, when a long command has the next shard */
    REPL_PART_US = 20 * 1000,    /* at the end, between two looks at how far replicas are, at the most */
    REPL_TRIM_STEP = 256 * 1024, /* the log is trimmed when it has grown by so much, and at the cron */
};

#define REPL_KEYS_UNKNOWN UINT64_MAX

/* The connection to the primary. */
struct replica {
    struct link link;
    int fd; /* -1: none */
    bool connected;
    bool wants_write;
    struct buf in;
    struct stream stream; /* what reads it; why it could not lives here until the next unit */
    size_t at;            /* of `in`: what is before it has been applied */
    size_t wait_for;  /* of `in`: a long unit is cut; look again when there is so much, or at the next cron */
    size_t sent;      /* of link.out */
    int64_t retry_ms; /* the next attempt */
    int64_t heard_ms, ack_ms;
    int spool; /* the file that a full copy is written to; -1: none */
    uint64_t spooled;
    bool spool_whole;           /* it can be loaded */
    bool loading;               /* it is being loaded: the stream behind it waits */
    bool wants_alone;           /* the unit at the front needs the world stopped */
    bool more;                  /* there is something to apply without anything having come */
    bool ack_asked;             /* the unit at the front asks for an acknowledgement */
    bool blocked;               /* ... but a shard it needs is busy */
    char ended[LINK_TEXT_MAX];  /* why nothing more will come, though what has come is not all applied; "": it
                                   may */
    char failed[LINK_TEXT_MAX]; /* why the last attempt ended, so that the log says it once */
    uint64_t errors;            /* commands that failed here and not there */
};

/* What a round has found to be done outside of it, where nothing else of `struct repl` may be looked at:
 * somebody may hold the gate. The thread's own. */
struct repl_todo {
    bool alone, reach, load;  /* the link: a unit that needs the world; connect; a copy is whole */
    bool failover, take_over; /* failover.h: go on with ours; answer another's */
    bool mend, log_off;       /* the log */
    bool copy, forget;        /* a full copy: begin one, it is over */
    int timeout_ms;           /* of the sleep that follows */
    char host[REPL_HOST_MAX], source[SOCK_ADDR_MAX]; /* bind-source-addr */
    int port;
    uint64_t turn;
    int spool; /* with `load`: the file, taken over */
    uint64_t spooled;
    struct lineage lineage; /* of the copy */
    uint32_t databases;
};

enum copy_state { COPY_NONE, COPY_GROWING, COPY_WHOLE, COPY_FAILED };

/* What replicas are given first (repl_copy.c). The thread's, but for what the copier has while it grows;
 * begun under the gate. */
struct full_copy {
    struct snapshot_sink sink;      /* must be first */
    _Atomic int state;              /* enum copy_state; when it grows no more, the copier has ended */
    _Atomic uint64_t bytes;         /* in the file so far */
    _Atomic bool give_up;           /* nobody wants it any more */
    bool over;                      /* replicas have been told how it ended */
    pthread_t thread;               /* the copier */
    struct snapshot *sn;            /* the copier's, as is: */
    int error;                      /* errno of what failed */
    int fd;                         /* the file */
    uint64_t offset;                /* of the log: the data are as of there, and the stream goes on there */
    struct changelog_reader anchor; /* keeps the log from there on */
    bool spoilt;                    /* gate: another history has begun; nobody may join */
    char id[HISTORY_ID + 1];        /* of the history */
    char mark[LINK_MARK + 1];
    int64_t began_ns;
};

static inline enum copy_state repl_copy_state(const struct full_copy *c)
{
    return (enum copy_state)atomic_load_explicit(&c->state, memory_order_acquire);
}

/* larder.history in `dir`, which the saver writes, or the thread if somebody waits for it (repl_record.c). */
struct repl_record {
    struct record_wish {
        struct history_record now;
        bool keep, forget; /* write this; there is nothing to tell any more. Neither: leave it */
    } wish;                /* the thread's last; replication's mutex */
    int64_t next_ms;       /* the thread's: of the next wish */
    pthread_mutex_t file;  /* held while it is written and flushed; guards: */
    struct history_record said;
    bool is_there;
};

struct repl {
    struct server *server;
    pthread_t thread;
    bool running; /* the thread was started: boot's and the end's */
    _Atomic bool stop;
    struct loop *loop;
    struct mpsc mailbox;
    struct changelog log;
    uint32_t index; /* at the gate, among appenders and writers of the log */

    /* Role: gate. */
    struct history history;
    uint8_t arriving[SLOT_BYTES]; /* a replica's: slots on their way to its primary, by its stream; the
                                     thread's,   or the gate's */
    struct lineage lineage;       /* written by the thread or under the gate, and then under the mutex */
    struct repl_record record;
    _Atomic bool record_now; /* the history is another one: nobody is to get it before it is on disk */
    bool has_past;     /* the record told of data, `lost`, and nobody has decided what becomes of them */
    bool lost_history; /* ... and we know that we have less */
    struct history_record lost;
    bool has_place; /* a snapshot has been loaded that stands at `place`, and the role is not settled yet */
    bool resumed;   /* as a primary, from `place`: who has the same history and more of it is ahead of us */
    bool from_file; /* data are as a snapshot had them: what has happened since nobody has told us yet */
    _Atomic bool log_frozen;    /* the end has begun: the log is as the last snapshot */
    _Atomic bool parts_at_once; /* ... and nobody waits for replicas */
    struct history_place place;
    bool has_history; /* our data are `history` up to the log's head: a primary may go on from there */
    bool is_replica;
    uint64_t turn;   /* counts changes of role and primary */
    bool named_anew; /* an operator has named this primary, and nothing has come from it yet */
    char host[REPL_HOST_MAX];
    int port;
    _Atomic bool loading;
    _Atomic bool link_up; /* the stream flows */

    struct replica replica;
    struct repl_todo todo;

    /* What applies the stream. */
    struct cmd_ctx ctx;
    struct str note; /* of the cache, for the key of the next command of the unit; p NULL: none */
    struct session session;
    struct arena arena;
    struct reply reply;
    struct rng rng;
    struct cmd_counters counters;
    int64_t now_ms, cron_ms;

    struct {
        _Atomic int state; /* enum link_state */
        _Atomic int64_t heard_ms, down_since_ms;
        _Atomic uint64_t history; /* a number for history.id, 0: the data belong to none */
        _Atomic uint64_t keys;    /* of database 0; REPL_KEYS_UNKNOWN till the thread has looked */
        _Atomic uint64_t spooled, total;
        _Atomic uint64_t net_in, net_out, full, partial_ok, partial_err;
        _Atomic uint64_t
            ahead; /* times that a replica was refused since it has more than we came back with */
    } shown;

    struct failover failover;
    struct feed *feeds;     /* repl_feed.h */
    struct hand hand;       /* those of them that keep up */
    struct full_copy copy;  /* what new ones are given */
    struct waiter *waiters; /* clients in WAIT; the thread's */
    struct purges purges;   /* on their way to other nodes */
    pthread_mutex_t mutex;  /* leaf */
    pthread_cond_t acked;   /* a replica has said how far it is, and the log is frozen */
    struct unit unit;       /* what this thread itself says in the stream, as a primary */
    bool more_to_feed;      /* a replica has not had all there is, and could take more */
    bool owes; /* some of the log could not be handed just now: by a worker, most likely, it is */
    _Atomic uint64_t trim_at; /* of the log: when it is so long, the thread wants to be woken */
    int64_t pinged_ms;        /* the last PING for replicas */
    int64_t comfort_ms;       /* the next word to those who wait for their copy */
    int64_t alone_since_ms;   /* the last time that anybody needed the log */
    int spill_fd;             /* the log's file, -1: none yet */
    /* CLIENT KILL; repl_peers.h. */
    struct repl_peer primary; /* the mutex; id 0: no connection */
    _Atomic bool kill_feeds;
    _Atomic uint64_t kill_primary; /* its id */
};

int repl_init(struct repl *r, struct server *s);
/* Before any thread runs, and when what there is to load has been loaded: what `replicaof` and the record on
 * disk say. */
void repl_take_role(struct repl *r);
int repl_start(struct repl *r);
/* The thread ends; joins it. Before the lane ends. After repl_log_freeze() replicas may take what there is
 * first, for shutdown-timeout seconds or until somebody is in a hurry. */
void repl_end(struct repl *r, bool (*hurry)(void *arg), void *arg);
void repl_release(struct repl *r);

/* Any thread. */
void repl_wake(struct repl *r);
/* The saver, outside of rounds, now and then: what larder.history is to tell goes to the disk. Takes as long
 * as that takes. */
void repl_record_write(struct repl *r);
/* Any thread, now and then, that has published up to `end`: wakes the thread if the log is to be trimmed. */
void repl_tell(struct repl *r, uint64_t end);

/* ---- roles (gate) ---- */

void repl_follow_primary(struct repl *r, struct str host, int port);
void repl_become_primary(struct repl *r);
/* Writes are logged from now on, or not any more; the history is told. */
void repl_log_on(struct repl *r);
void repl_log_off(struct repl *r);
void repl_log_mend(struct repl *r); /* what could not be logged has broken it */
/* The end: nothing goes into a primary's log any more, and replicas are asked how far they are; or not the
 * end after all. */
void repl_log_freeze(struct repl *r, bool on);

/* ---- where a snapshot stands (gate, or before threads run; repl_resume.c) ---- */

/* What a snapshot that is cut now is to say. False: the data belong to no history. */
bool repl_place(const struct repl *r, struct history_place *out);
/* A snapshot has been loaded that says this; id, dataset "": nothing. Before repl_take_role(). */
void repl_loaded(struct repl *r, const char *id, int64_t offset, int64_t db, const char *dataset);
/* A primary from the start on: goes on where the snapshot stands, if it says so. */
void repl_settle(struct repl *r);

/* In a round: bytes of history so far, INFO's master_repl_offset. */
static inline uint64_t repl_offset(const struct repl *r)
{
    return changelog_head(&r->log);
}
void repl_put_info(struct server *s, struct buf *b); /* in a round; cmd_repl.c */
bool repl_may_serve(const struct repl *r); /* not a replica that has lost its primary and may not say so */

/* ---- inside: repl_*.c ---- */

struct changelog_spill repl_spill(struct repl *r); /* repl_spill.c */
void repl_record_keep(struct repl *r);             /* repl_record.c; outside of rounds */
void repl_record_recall(struct repl *r);           /* before the thread runs */
void repl_record_now(struct repl *r); /* between rounds, and when it has ended: on disk when it returns */
void repl_resume_as_replica(struct repl *r);
void repl_resume_as_primary(struct repl *r, const char *id); /* the caller logs what threads do */
void repl_doubt(struct repl *r); /* what was loaded from a file is called stale, here and in the stream */
struct mpsc_node;
/* Any thread: a struct repl_letter's node. */
void repl_mail(struct repl *r, struct mpsc_node *n);

/* Under the gate, on the lane's thread; returns when it is done. Outside of rounds. False: the node ends. */
bool repl_alone(struct repl *r, void (*fn)(struct repl *r));
void repl_round_begin(struct repl *r);
void repl_round_end(struct repl *r);
/* repl_link.c */
void repl_link_init(struct repl *r);
void repl_link_release(struct repl *r);
void repl_link_event(struct repl *r, const struct loop_event *ev);
void repl_link_cron(struct repl *r);
void repl_link_plan(struct repl *r, struct repl_todo *t); /* at the end of a round */
void repl_link_outside(struct repl *r);                   /* after it */
void repl_link_drop(struct repl *r, const char *why);
/* repl_apply.c */
enum apply_result { APPLY_DONE, APPLY_MORE, APPLY_ALONE, APPLY_BUSY, APPLY_BROKEN };
void repl_apply_init(struct repl *r);
void repl_apply_release(struct repl *r);
/* What `in` holds, for at most a slice. *why after APPLY_BROKEN. */
enum apply_result repl_apply(struct repl *r, const char **why);
enum apply_result repl_apply_one(struct repl *r, bool alone, const char **why);
/* repl_lineage.c */
void repl_lineage_init(struct repl *r);
void repl_lineage_set(struct repl *r, const struct lineage *l);
void repl_lineage_get(struct repl *r, struct lineage *out); /* any thread */
/* Gate: another epoch begins here, and replicas are told. */
void repl_lineage_rise(struct repl *r);
/* Does a PING of the stream say it? */
bool repl_lineage_take_note(struct repl *r, struct str note);
/* repl_load.c: is this a whole RDB file that we understand? ERR_CORRUPT or ERR_TYPE, with why in text. */
struct repl_copy {
    int fd;
    uint64_t n, at; /* its length; what has been read */
    uint64_t keys;
    uint32_t databases; /* that there may be */
    int64_t stream_db;  /* what the stream has selected; -1: it will say so */
    struct lineage lineage;
    char text[REPL_TEXT_MAX];
};
int repl_copy_check(struct repl_copy *copy, struct repl *r);
/* In rounds of its own; the data set was emptied before. 0, ERR_OOM, or ERR_AGAIN when the role has changed
 * from what it was at `turn`. */
int repl_copy_load(struct repl_copy *copy, struct repl *r, uint64_t turn);

#endif
