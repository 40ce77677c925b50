/* Snapshots of this node: when they are made, what they came to, and loading one at the start.
 *
 *      start ──> load ──> serve ──> BGSAVE or a save point: cut under the gate, written by this thread, in
 *                                   slices, while everybody works ──> renamed into place
 *      SAVE       the same, on the lane, and the client waits
 *      SHUTDOWN, SIGTERM, DEBUG RELOAD    with the world stopped
 *
 * One thread, which sleeps most of the time. It has a place at the gate and an appender of its own, for
 * loading. In between it writes larder.history, for replication, which must not wait for the disk
 * (repl_record.c).
 *
 * A flush in the middle ends the cut (store/cut.h): the file is begun anew, with what is there then. */
#ifndef LARDER_SERVER_SAVER_H
#define LARDER_SERVER_SAVER_H

#include "persist/file.h"
#include "persist/load.h"
#include "persist/snapshot.h"

#include <pthread.h>
#include <stdatomic.h>

struct server;
struct appender;

enum saver_limits {
    SAVER_TICK_MS = 100,    /* between looks at the save points */
    SAVER_NAP_US = 1000,    /* while a long command has the next shard */
    SAVER_RETRY_MS = 5000,  /* after a failure, before a save point is tried again */
    SAVER_LOAD_SLICE = 256, /* keys loaded in a round */
    SAVER_LOG_MS = 2000,    /* between two lines about the progress of loading */
};

/* What INFO tells: written by whoever saves or loads, read by anybody. */
struct saver_shown {
    _Atomic bool saving, loading, failed; /* failed: the last save */
    _Atomic int64_t last_save_ms, last_took_s, began_ms;
    _Atomic uint64_t base;                    /* store_changes() at the last save */
    _Atomic uint64_t saves, keys, keys_total; /* keys: of the save at hand */
    _Atomic uint64_t held_peak, spilled;      /* of the last save, bytes */
    _Atomic uint64_t load_total, load_done;   /* bytes */
    _Atomic uint64_t loaded, expired;
    _Atomic int64_t load_began_ms;
};

struct saver {
    struct server *server;
    pthread_t thread;
    bool running;   /* boot's and the end's */
    uint32_t index; /* at the gate; among appenders: one more, since the lane has one */
    struct appender *app;
    bool unsound; /* loading has failed: what is in memory is never to be saved. Gate, or the saver before
                     anybody */

    pthread_mutex_t mutex; /* leaf; guards what follows */
    pthread_cond_t wake;
    bool stop;
    bool busy;           /* somebody saves in the background or on the lane */
    struct snapshot *sn; /* opened under the gate, for the thread to write */
    uint64_t base;       /* changes at its cut */
    int source;          /* the file to be loaded at the start; -1: there is none ... */
    bool unopened;       /* ... or it may not be read */

    _Atomic bool cancel;       /* give up the save at hand */
    struct snapshot_file file; /* of whoever made it busy */
    int64_t retry_ms;          /* the thread's */
    struct saver_shown shown;
};

void saver_init(struct saver *v, struct server *s);
/* Before any thread runs: is there a file to be loaded? Then clients have to wait for it, and the thread
 * takes the role and starts replication when it is loaded. */
bool saver_finds_file(struct saver *v);
int saver_start(struct saver *v);
void saver_end(struct saver *v); /* gives up what it does; joins. Before replication and the lane end */
void saver_release(struct saver *v);

/* Gate: open a cut and have the thread write it. 0; ERR_EXISTS: one is being made; ERR_IO, ERR_OOM, ERR_FULL.
 */
int saver_begin(struct saver *v);
/* The lane, without the gate, which is raised for the cut: returns when the file is there. Errors as above,
 * and ERR_NOTFOUND when a flush came in between. */
int saver_save(struct saver *v);
/* Gate: the world waits. A save in the background is given up. 0 or an error, which is in the log. */
int saver_save_alone(struct saver *v);
/* Gate: replaces all keys (flush), or adds to them. 0 or an error, with a sentence in text. */
int saver_load_alone(struct saver *v, const struct access *a, bool flush, char *text, size_t n);

/* Any thread: changes that commands have made since the last snapshot. */
uint64_t saver_dirty(const struct saver *v);
/* Gate: does a shutdown without further words save? (save points, and data that may be saved) */
bool saver_is_wanted(const struct saver *v);
/* Gate: the end begins, with a snapshot or without. What is saved is all that was ever acknowledged: no
 * worker reads another request, and the log ends where the snapshot does. False: it could not be saved, and
 * the node stays. */
bool saver_end_with(struct saver *v, bool save, bool force);
/* The main thread: SIGTERM or SIGINT. Saves as the options say; from then on no client is heard. False: that
 * failed, and the node stays. */
bool saver_part(struct saver *v, bool is_sigint);
/* INFO. */
void saver_put_info(struct server *s, struct buf *b);

/* ---- inside: saver_load.c ---- */

/* The thread, at the start. False: the node must not start; the log says why. */
bool saver_load_at_start(struct saver *v);

#endif
