/* CACHE.PURGE beyond this node: every primary of the cluster, and the replicas of each.
 *
 *      client ──> worker: parse, park ── letter ──> the replication thread
 *                                          here: purge, note in the change log ──> replicas ──> ACK
 *                                          there: CACHE.PURGE HERE id TAG ... ──> each other primary
 *      client <── mail: shards, acked, pending, unsupported <── all have it, or the time is over
 *
 * A purge stays in the list until every primary that the map of slots names has it with its replicas. What is
 * asked of a node is asked again until it says so, under the same id, so that it purges once however often it
 * is asked. A failover puts another node in the map, which is asked then, too.
 *
 * A pattern (MATCH) is the same with one more step: it is banned by the lane at the gate, outside of the
 * thread's rounds, and stays open until all nodes have swept it, so that CACHE.JOB can say how far it is.
 * With DRYRUN nothing is banned: each node counts, in slices of the thread's rounds.
 *
 * A key may meanwhile have gone from a node that was not banned yet to one that was. So no node says that it
 * has banned while keys that left it before are on their way: they arrive, and are taken back where that is
 * possible. Once all have banned it they are asked AGAIN, and whoever has been sent keys since its ban bans
 * once more: what comes later comes from a node that has banned it, or is refused (cache/move.h).
 *
 * A node may also have been sent keys and be away, without a slot that would make it one of those who must be
 * asked. So a node says with its purge where its slots are going, and is not believed unless those are among
 * the nodes that are asked as well. When one that has not purged yet stops being one of those, all are asked
 * anew.
 *
 * What is pending outlives the node that was asked: each node that has been asked for a purge by another
 * keeps it (purge_known.c) until it hears that all have it (DONE), and after PURGE_ADOPT_MS carries it to all
 * others itself, under the same id.
 *
 * HERE answers at once with what is so now, and never waits: the one who asks comes back, sooner at first.
 *
 * Owner: the replication thread, in its rounds; it knows how far replicas are, and it may read the map. The
 * rest of this interface says who else. Nothing here knows how the cluster's state machine works: it sees
 * server.view alone. */
#ifndef LARDER_SERVER_PURGE_H
#define LARDER_SERVER_PURGE_H

#include "base/buf.h"
#include "cmd/cmd.h"
#include "os/loop.h"
#include "server/departures.h"
#include "server/mail.h"
#include "server/repl_feed.h"

#include <pthread.h>
#include <stdatomic.h>

struct cluster_view;
struct cmd_ctx;
struct counting;
struct job;
struct peer;
struct repl;

enum purge_limits {
    PURGE_TAGS_MAX = 4096,      /* of one command ... */
    PURGE_BYTES_MAX = 1 << 20,  /* ... which is no longer than that */
    PURGE_OPEN_MAX = 1024,      /* that not all nodes have yet ... */
    PURGE_OPEN_BYTES = 1 << 26, /* ... and their bytes */
    PURGE_ID_MAX = 64,
    PURGE_SEEN = 1024, /* of other nodes, that are remembered */
    PURGE_FOLLOW_MS = 20,
    PURGE_AGAIN_MS = 250,  /* a node that does not have it yet is asked again so often; at first sooner */
    PURGE_PEERS_MAX = 512, /* primaries; what lies beyond stays pending */
    PURGE_FLIGHT = 64,     /* questions on their way to one node */
    PURGE_SILENT_MS = 2000,
    PURGE_REPLY_MAX = 64 * 1024,
    PURGE_WORDS = PURGE_PEERS_MAX / 64,
    PURGE_COUNTS_MAX = 16,      /* patterns that a node counts at a time (DRYRUN) */
    PURGE_COUNT_IDLE_MS = 5000, /* and forgets when nobody asks for them any more */
    PURGE_JOBS_MAX = 64,        /* that CACHE.JOB knows */
    PURGE_ADOPT_MS = 5000,
};

enum purge_form { REPLY_TAG, REPLY_MATCH, REPLY_TAG_HERE, REPLY_MATCH_HERE };
/* How far a purge is. */
struct purge_tally {
    enum purge_form form;
    char id[PURGE_ID_MAX + 1];
    uint32_t shards, acked, unsupported;
    bool swept;       /* of a pattern: nothing is left that it matches, or all is counted */
    uint64_t matched; /* that were taken out so far, or counted */
};
/* targets: to where slots go, VIEW_ID bytes each; only other nodes are told. */
void purge_reply(struct reply *r, const struct purge_tally *t, struct str targets);

/* A client that waits, and what it is told. */
struct asker {
    struct mail mail; /* the way home */
    struct conn *conn;
    struct worker *home;
    bool mute;
    const char *error; /* NULL: the numbers */
    struct purge_tally tally;
    struct buf targets; /* of slots of this node */
    uint64_t offset;
};
void purge_come_home(struct worker *w, struct mail *m); /* its mail's */

/* One purge. The worker makes it; then it is the thread's. */
struct purge {
    struct repl_letter letter;
    struct purge *next;
    struct asker *asker; /* the client that waits for it, owned; NULL: nobody does */
    bool soft;
    bool spread;  /* to all others; else it came from one of them */
    bool adopted; /* from another, which does not carry it on */
    bool over;    /* it came from one of them: all have it, and there is nothing to do */
    bool told;    /* all have it, and have been told so */
    char id[PURGE_ID_MAX + 1];
    uint64_t serial;
    struct buf command; /* as others are asked ... */
    struct buf again;   /* ... and of a pattern once more, when all have it */
    uint32_t ntags;
    uint64_t *tags; /* owned: hashes */
    /* MATCH. */
    char *glob; /* owned, of nglob bytes; NULL: tags */
    uint32_t nglob, db;
    bool dryrun;
    bool confirm;             /* all have banned it: has a key come here since? ... */
    bool confirmed;           /* ... no, or it has been banned again */
    uint64_t arrivals;        /* that there had been when it was banned here */
    struct departed departed; /* what was on its way to other nodes then */
    uint64_t rate;
    bool wants_gate;        /* it is to be banned when the round is over */
    uint64_t number;        /* of the ban here */
    uint64_t matched;       /* here */
    const char *error;      /* NULL: none; why it could not be banned here */
    uint64_t *peer_matched; /* owned, by peer */

    /* Here. */
    bool applied;
    uint64_t turn, offset; /* role and place in the log when it was */
    uint32_t replicas;     /* that there were */
    int64_t until_ms, due_ms, step_ms;
    uint64_t acked[PURGE_WORDS], unsupported[PURGE_WORDS], flying[PURGE_WORDS],
        swept[PURGE_WORDS]; /* by peer */
};

struct purge_seen {
    char id[PURGE_ID_MAX + 1];
    uint64_t turn, offset;
    uint32_t replicas;
    uint64_t number, arrivals;
    struct departed departed;
    bool confirmed;
};

struct purges {
    struct repl *repl;
    struct purge *first;
    struct purge *here;      /* patterns of other nodes that are being banned */
    struct counting *counts; /* PURGE_COUNTS_MAX of them, owned; NULL: none yet */
    uint64_t last_serial;
    struct purge_seen *seen; /* PURGE_SEEN of them, owned; NULL: none yet */
    uint32_t next_seen;
    struct purge *known; /* of others: not all have them yet, as far as is known here */
    uint32_t nknown;
    size_t known_bytes;
    struct peer *peers; /* PURGE_PEERS_MAX of them, owned; NULL: none yet */
    uint32_t npeers;    /* that have been in use */
    uint32_t unplaced;  /* primaries for which there is no peer */
    bool here_counts;   /* this node has slots, or is alone */
    int64_t follow_ms;  /* the map is looked at again from then on; and before a purge is said to be done */
    /* Any thread. */
    _Atomic uint32_t nopen;
    _Atomic uint64_t open_bytes;
    _Atomic uint64_t next_id;
    pthread_mutex_t jobs_mutex; /* leaf; guards the jobs: the thread and CACHE.JOB */
    struct job *jobs;           /* PURGE_JOBS_MAX of them, owned; NULL: none yet */
    uint64_t last_job;
};

void purges_init(struct purges *ps, struct repl *r);
/* The thread has ended: all clients go home. */
void purges_end(struct purges *ps);
void purges_release(struct purges *ps);

/* The thread, in a round. */
void purge_arrives(struct purges *ps, struct repl_letter *l);
void purge_letter_free(struct repl_letter *l); /* its client is gone with all others */
/* The thread: a purge done here goes into the stream, if there is one. */
void purge_tell(struct repl *r, uint64_t tag, uint64_t seq, bool soft);
bool purges_own(const struct purges *ps, const void *tag);
void purges_event(struct purges *ps, const struct loop_event *ev);
void purges_step(struct purges *ps); /* at its end: whatever is due */
/* When it must be called next, at most `most` from now. */
int purges_timeout(const struct purges *ps, int most);

/* ---- purge_peer.c: the other primaries, as clients reach them ---- */

struct peer_answer {
    enum { PEER_HAS_IT, PEER_NOT_YET, PEER_NEVER } said;
    bool swept;
    uint64_t matched;
};

/* Find out from the map who must be asked. */
void peers_follow(struct purges *ps);
void peers_ask(struct purges *ps,
               struct purge *p); /* everybody who has not said yes and is not being asked */
void peers_flush(struct purges *ps);
void peers_release(struct purges *ps);
uint32_t purge_shards(const struct cluster_view *v);   /* nodes that own slots */
bool peer_counts(const struct purges *ps, uint32_t i); /* it is one of the primaries now */
/* Must all of them, VIEW_ID bytes each, have purges? As of the last look. */
bool peers_count(const struct purges *ps, struct str ids);

/* purge.c: the answer of peer i to purge number `serial`; it may be gone. */
void purge_answered(struct purges *ps, uint64_t serial, uint32_t i, const struct peer_answer *a);
bool purge_asks(const struct purge *p, uint32_t i); /* peer i has something to say that is not known yet */
void purge_unanswered(struct purges *ps, uint64_t serial, uint32_t i); /* the link broke */
void purge_forget_peer(struct purges *ps, uint32_t i); /* its place is another node's from now on */
/* Nobody waits for peer i any more: whoever has said that it has a purge may have counted on that. */
void purge_lost_peer(struct purges *ps, uint32_t i);
void purge_hurry(struct purges *ps); /* somebody can be asked who could not */

/* purge.c, for the others */
void purge_free(struct purge *p);
void purge_give_room(struct purges *ps, const struct purge *p);
bool purge_may_write(const struct repl *r);
void purge_applied(struct repl *r, struct purge *p); /* it has taken effect here, at this place in the log */

/* It is to be asked for from now on: what is still to be answered was another question. */
void purge_ask_anew(struct purges *ps, struct purge *p);
void peers_tell_done(struct purges *ps, const struct purge *p); /* whoever can be told now */

/* ---- purge_known.c: purges of others ---- */

/* What is remembered of its id, or of this node's own that is open: p goes on from there. */
void purge_recall(struct purges *ps, struct purge *p);
void purge_remember(struct purges *ps, const struct purge *p);
/* Takes p, which has been answered. */
void purge_keep(struct purges *ps, struct purge *p);
void purge_forget(struct purges *ps, const char *id); /* all have it */
void purges_adopt(struct purges *ps);                 /* those that nobody seems to carry on */
int64_t purges_adopt_due(const struct purges *ps);    /* INT64_MAX: none */
void purges_forget_all(struct purges *ps);

/* ---- purge_match.c: patterns ---- */

/* The thread, outside of a round: what is to be banned. */
void purges_outside(struct purges *ps);
/* Has everything been swept here, or counted? Brings p->matched up to date. */
bool match_is_swept(struct purges *ps, struct purge *p);
/* Has nothing come here, since the ban, from a node that had not banned it yet? Else it is to be banned anew.
 */
bool match_is_confirmed(struct purges *ps, struct purge *p);
bool match_count(struct purges *ps, struct purge *p); /* DRYRUN: true once it counts */
int64_t match_due(const struct purges *ps);           /* when it counts on; INT64_MAX: it does not */
void match_step(struct purges *ps);                   /* a slice of it */
void match_release(struct purges *ps);

/* ---- job.c: what CACHE.JOB knows; any thread ---- */

/* False: no memory, or PURGE_JOBS_MAX of them run. */
bool jobs_add(struct purges *ps, const struct purge *p);
/* True: it has been cancelled. */
bool jobs_tell(struct purges *ps, const struct purge *p, const struct purge_tally *t, bool over);
void jobs_release(struct purges *ps);

static inline bool purge_bit(const uint64_t *bits, uint32_t i)
{
    return (bits[i / 64] >> i % 64) & 1;
}
static inline void purge_set_bit(uint64_t *bits, uint32_t i, bool on)
{
    uint64_t bit = UINT64_C(1) << i % 64;
    bits[i / 64] = on ? bits[i / 64] | bit : bits[i / 64] & ~bit;
}

#endif
