/* What the files of the warming share. Not for others.
 *
 *      warm.c          the command, the thread
 *      warm_peer.c     names and values from a peer     warm_file.c    from a snapshot; lists of names
 *      warm_take.c     leases and values here, on the lane
 *
 * Everything but what says so is the warm thread's. */
#ifndef LARDER_SERVER_WARM_INTERNAL_H
#define LARDER_SERVER_WARM_INTERNAL_H

#include "server/talk.h"
#include "server/warm.h"

#include <stdio.h>

struct warm_item {
    size_t at, n; /* of the name, in `names` */
    uint32_t db;
    uint64_t token; /* 0: nothing is wanted for it */
};

/* As CACHE.DUMP gives it; borrowed. */
struct warm_value {
    int64_t ttl_ms;
    struct str payload, extra; /* extra empty: a plain one */
};

struct walk {
    struct warm *w;
    struct buf names;
    struct warm_item items[WARM_BATCH];
    uint32_t nitems;
    int64_t due_ms;
    uint32_t unpaced; /* items since it was waited */
    uint64_t unseen;  /* bytes put since memory was looked at */
    struct warm_counts add;
    bool full, failed;
    /* For the lane, one at a time. */
    struct warm_item *item;
    const struct warm_value *value;
    struct str piece;
    bool busy;
};

/* The thread: until all is taken, or something ends it; the warming's error says what. */
void warm_from_peer(struct walk *k);
void warm_from_snapshot(struct walk *k);

/* What a file lists, a name a line. */
struct name_list {
    struct buf text;
    struct str *names; /* owned; they lie in `text` */
    size_t n;
};
bool warm_read_list(struct walk *k, struct name_list *list); /* false: failed, which is noted */
void warm_release_list(struct name_list *list);

/* ---- warm_take.c ---- */

/* The first reason counts. Always false. */
bool warm_fail(struct walk *k, const char *fmt, ...) PRINTF_LIKE(2, 3);
bool warm_is_over(const struct walk *k);
/* Behind the names at hand, of which there are fewer than WARM_BATCH. */
bool warm_add_item(struct walk *k, struct str name, uint32_t db);
/* Leases for the names at hand, where nobody has a value or loads one. False: not now, or not any more. */
bool warm_claim(struct walk *k);
/* One of those with a token: its value, or NULL: there is none, and the lease goes back. */
void warm_settle(struct walk *k, struct warm_item *it, const struct warm_value *v);
/* The names at hand are done with: counts are told, and it waits as the rate demands. */
void warm_end_batch(struct walk *k);
/* A piece of what another node, or a file, says of held versions (cache/state.h). */
void warm_take_held(struct walk *k, struct str piece);

#endif
