/* A replica that this node feeds. Owner: the replication thread, or the gate; what INFO reads is atomic, and
 * repl.mutex guards the list. Of one that keeps up, `reader`, `out` and `sent` belong to whoever holds the
 * lock of repl_hand.h. */
#ifndef LARDER_SERVER_REPL_FEED_H
#define LARDER_SERVER_REPL_FEED_H

#include "base/buf.h"
#include "base/mpsc.h"
#include "os/loop.h"
#include "repl/changelog.h"
#include "repl/joiner.h"
#include "repl/link.h"
#include "server/conn.h"
#include "server/repl_peers.h"

#include <stdatomic.h>

struct repl;
struct repl_todo;

enum feed_limits {
    FEED_READ = 4096,
};

/* FEED_LOAD: it has been sent its copy, and has not said yet that it has loaded it. */
enum feed_state { FEED_GONE, FEED_WAIT, FEED_COPY, FEED_LOAD, FEED_STREAM };

/* What workers send to the replication thread. */
enum letter_kind { LETTER_FEED, LETTER_WAITER, LETTER_PURGE };
struct repl_letter {
    struct mpsc_node node;
    enum letter_kind kind;
};

struct feed {
    struct repl_letter letter;
    struct feed *next;
    int fd;
    _Atomic int state;          /* enum feed_state */
    _Atomic uint64_t ack, fack; /* what it has; what it has on disk, in its append-only file */
    _Atomic int64_t ack_ms;
    _Atomic uint64_t unsent;
    _Atomic bool kill;                          /* somebody wants it gone */
    char ip[JOINER_IP_MAX], name[ADDRESS_TEXT]; /* constant, as are: */
    struct repl_peer peer;
    struct joiner joiner;
    struct joiner_wish wish;
    bool wants_sync_only;   /* SYNC, not PSYNC */
    bool hands_over;        /* wish.failover, which this node has not granted */
    _Atomic bool keeps_up;  /* it is in the list of repl_hand.h, whose lock guards both ... */
    struct feed *hand_next; /* ... but the thread alone puts it in */
    /* The thread's. */
    unsigned interest;
    bool last_words; /* close when `out` is sent */
    bool reading;
    struct changelog_reader reader;
    int copy_fd;
    char mark[LINK_MARK + 1]; /* ends the copy, if it knows_eof */
    bool copy_grows;          /* it is the copy at hand */
    uint64_t copy_at, copy_n; /* copy_n once it is whole */
    int64_t heard_ms, came_ms;
    int64_t moved_ms; /* it took some of what there is, or there was nothing */
    struct buf in, out;
    size_t sent; /* of out */
};

static inline enum feed_state feed_state(const struct feed *f)
{
    return (enum feed_state)atomic_load_explicit(&f->state, memory_order_relaxed);
}

static inline bool feed_keeps_up(const struct feed *f)
{
    return atomic_load_explicit(&f->keeps_up, memory_order_acquire);
}

struct feed *feed_new(int fd); /* takes fd, unless it returns NULL */
void feed_free(struct feed *f);
const char *feed_state_name(const struct feed *f);
/* Send what `out` holds, more: with what follows. 0, and it is empty; ERR_AGAIN, the socket takes no more of
 * it; ERR_IO, errno says why. */
int feed_send(struct repl *r, struct feed *f, bool more);

/* The replication thread, in a round. */
void repl_feed_comes(struct repl *r, struct feed *f);   /* from a worker; takes f */
void repl_feed_arrives(struct repl *r, struct feed *f); /* takes f */
void repl_feed_event(struct repl *r, struct feed *f, const struct loop_event *ev);
void repl_feed_writable(struct repl *r, struct feed *f);
void repl_feeds_push(struct repl *r);
void repl_feeds_cron(struct repl *r);
void repl_feeds_plan(struct repl *r, struct repl_todo *t); /* at its end */
void repl_feeds_outside(struct repl *r);                   /* after it */
bool repl_feeds_wait(const struct repl *r);
bool repl_feeds_any(const struct repl *r);
void repl_feeds_ask(struct repl *r); /* for an acknowledgement, now; also under the gate */
/* Round or gate. The replica that listens there, NULL: none; one that has acknowledged everything, host "":
 * any. */
const struct feed *repl_feed_find(const struct repl *r, struct str host, int64_t port);
const struct feed *repl_feed_in_step(const struct repl *r, const char *host, int port);
/* Gate: begin the copy that some wait for. */
void repl_feeds_copy(struct repl *r);
/* Round or gate: disconnect all, in the next round. */
void repl_feeds_cut(struct repl *r, const char *why);
void repl_feeds_kill(struct repl *r); /* those who are to be killed */
void repl_feeds_release(struct repl *r);
/* Any thread: replicas that have acknowledged `offset`, the last time not before since_ms. */
uint32_t repl_feeds_acked(struct repl *r, uint64_t offset, int64_t since_ms);
/* Round or gate: is what min-replicas-to-write asks for there? CARE_FEW_REPLICAS says so. */
void repl_feeds_check_good(struct repl *r, int64_t now_ms);
uint32_t repl_feeds_fsynced(struct repl *r, uint64_t offset); /* ... that have it on disk */
bool repl_feeds_lag(struct repl *r,
                    uint64_t offset); /* some that are fed, and have their copy, have acknowledged less */

/* repl_copy.c. Gate: 0, or an error that is in the log. */
int repl_copy_begin(struct repl *r);
/* It ends soon, unless it has ended. */
void repl_copy_give_up(struct repl *r);
/* The thread, outside of rounds: waits for the end of the copier. */
void repl_copy_forget(struct repl *r);

#endif
