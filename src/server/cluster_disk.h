/* The thread that writes nodes.conf and its journal, one text at a time: a disk that takes seconds must not
 * keep the cluster's thread from answering pings, or the others would take the node for dead.
 *
 * The owner, who is one thread, puts a text and waits for a moment, in which nearly every disk is done; if
 * this one is not, it goes on, and its loop is woken at the end. While the thread does not run the owner
 * writes by itself. */
#ifndef LARDER_SERVER_CLUSTER_DISK_H
#define LARDER_SERVER_CLUSTER_DISK_H

#include "os/loop.h"
#include "server/cluster_file.h"

#include <pthread.h>

enum cluster_disk_how {
    DISK_KEEP, /* cluster_file_keep() */
    DISK_PUT,  /* cluster_file_write(), without and with `sync` */
    DISK_SYNC,
};

enum cluster_disk_state { DISK_RESTS, DISK_WRITES, DISK_HAS_WRITTEN };

struct cluster_disk {
    struct cluster_file file; /* the thread's while it writes */
    struct loop *loop;        /* the owner's */
    pthread_t thread;
    bool runs, stop;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    /* What is being written, or was: the thread's while it writes. */
    enum cluster_disk_state state;
    struct buf text;
    enum cluster_disk_how how;
    uint64_t seq; /* the owner's name for it */
    bool ok;
    int error;  /* errno */
    bool wakes; /* the owner does not wait any more */
};

void cluster_disk_init(struct cluster_disk *d, struct loop *loop);
/* 0, or ERR_IO with errno. Till then, and if it fails, the owner writes. */
int cluster_disk_start(struct cluster_disk *d) MUST_CHECK;
/* With nothing on its way. The text is copied. False: out of memory, errno says so. */
bool cluster_disk_put(struct cluster_disk *d, struct str text, enum cluster_disk_how how, uint64_t seq);
/* Waits for at most `ms`. True: what was put has been written, or not, as d->ok and d->error say; it rests
 * from now on. False: it is on its way still. Not if it rests already. */
bool cluster_disk_done(struct cluster_disk *d, int ms);
/* Ends the thread, when it has written what it writes. */
void cluster_disk_end(struct cluster_disk *d);
void cluster_disk_release(struct cluster_disk *d); /* ended */

#endif
