/* CACHE.PURGE TAG beyond this node: every primary of the cluster, and the replicas of each.
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
 * HERE answers at once with what is so now, and never waits: the one who asks comes back, sooner at first.
 *
 * Owner: the replication thread, in its rounds; it knows how far replicas are, and it may read the map. The
 * rest of this interface says who else. Nothing here knows how the cluster's state machine works: it sees
 * server.view alone. */
#ifndef LARDER_SERVER_PURGE_H
#define LARDER_SERVER_PURGE_H

#include "base/buf.h"
#include "os/loop.h"
#include "server/repl_feed.h"

#include <stdatomic.h>

struct asker;
struct cluster_view;
struct cmd_ctx;
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
};

/* One purge. The worker makes it; then it is the thread's. */
struct purge {
    struct repl_letter letter;
    struct purge *next;
    struct asker *asker; /* the client that waits for it, owned; NULL: nobody does */
    bool soft;
    bool spread; /* to all others; else it came from one of them */
    char id[PURGE_ID_MAX + 1];
    uint64_t serial;
    struct buf command; /* as others are asked */
    uint32_t ntags;
    uint64_t *tags; /* owned: hashes */

    /* Here. */
    bool applied;
    uint64_t turn, offset; /* role and place in the log when it was */
    uint32_t replicas;     /* that there were */
    int64_t until_ms, due_ms, step_ms;
    uint64_t acked[PURGE_WORDS], unsupported[PURGE_WORDS], flying[PURGE_WORDS]; /* bits by peer */
};

struct purge_seen {
    char id[PURGE_ID_MAX + 1];
    uint64_t turn, offset;
    uint32_t replicas;
};

struct purges {
    struct repl *repl;
    struct purge *first;
    uint64_t last_serial;
    struct purge_seen *seen; /* PURGE_SEEN of them, owned; NULL: none yet */
    uint32_t next_seen;
    struct peer *peers; /* PURGE_PEERS_MAX of them, owned; NULL: none yet */
    uint32_t npeers;    /* that have been in use */
    uint32_t unplaced;  /* primaries for which there is no peer */
    bool here_counts;   /* this node has slots, or is alone */
    int64_t follow_ms;  /* the map is looked at again from then on; and before a purge is said to be done */
    /* Any thread. */
    _Atomic uint32_t nopen;
    _Atomic uint64_t open_bytes;
    _Atomic uint64_t next_id;
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

enum peer_answer { PEER_HAS_IT, PEER_NOT_YET, PEER_NEVER };

/* Find out from the map who must be asked. */
void peers_follow(struct purges *ps);
void peers_ask(struct purges *ps,
               struct purge *p); /* everybody who has not said yes and is not being asked */
void peers_flush(struct purges *ps);
void peers_release(struct purges *ps);
uint32_t purge_shards(const struct cluster_view *v);   /* nodes that own slots */
bool peer_counts(const struct purges *ps, uint32_t i); /* it is one of the primaries now */

/* purge.c: the answer of peer i to purge number `serial`; it may be gone. */
void purge_answered(struct purges *ps, uint64_t serial, uint32_t i, enum peer_answer a);
void purge_unanswered(struct purges *ps, uint64_t serial, uint32_t i); /* the link broke */
void purge_forget_peer(struct purges *ps, uint32_t i); /* its place is another node's from now on */
void purge_hurry(struct purges *ps);                   /* somebody can be asked who could not */

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
