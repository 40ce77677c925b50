/* Who takes a slot over asks its former owner which versions are held there (cache/tomb.h).
 *
 *      the map changes ── heir_follow() ──> versions of these slots are not known: fills that name one are
 *                                           refused as old (cache_expect())
 *      thread ── CACHE.HELD slots at ──> former owner ──> pieces ──> here, and our replicas ──> known
 *
 * Keys themselves come by MIGRATE; a removed key has nothing to come by. While a slot is on its way the one
 * who gives it refuses old versions of keys that it does not have any more (route.c), so what is asked for
 * once the slot is ours is all there is. The former owner answers when it knows that it is none any more. The
 * same after a move that was called off, of the one who would have had the slot.
 *
 * A replica whose primary takes slots over asks, too, for itself alone: it may have to take the primary's
 * place before that has been answered. Beyond that moment a failover needs none of this: the stream has told
 * the replica. One that was given its copy in that moment has not seen whose the slots were; the copy says
 * which they are. A former owner that cannot be reached is asked for a minute, or as long as versions are
 * held by default if that is more (cache_patience_ms()); then the slots count as known, and the log says so.
 *
 * Owner: a thread of its own, in no rounds; what touches the store it has the lane do. */
#ifndef LARDER_SERVER_HEIR_H
#define LARDER_SERVER_HEIR_H

#include "server/cluster_view.h"

#include <pthread.h>
#include <stdatomic.h>

struct server;

enum heir_limits {
    HEIR_CLAIMS = 64, /* former owners at a time; what lies beyond waits as for one that does not answer */
    HEIR_TIMEOUT_MS = 2000,
    HEIR_AGAIN_MS = 20,  /* it serves the slot still */
    HEIR_RETRY_MS = 250, /* it cannot be reached */
    HEIR_REPLY_MAX = 16 << 20,
};

struct heir_claim {
    char id[VIEW_ID + 1]; /* of the former owner */
    char ip[VIEW_IP_MAX];
    uint16_t port;
    uint32_t nslots; /* 0: a free place */
    uint32_t asked;  /* changes with the slots: an answer to an older question is none */
    int64_t since_ms, due_ms;
    bool complained;
    uint8_t slots[SLOT_BYTES];
};

struct heir {
    struct server *server;
    pthread_t thread;
    pthread_mutex_t mutex; /* leaf: the claims */
    pthread_cond_t more;
    bool running;
    _Atomic bool stop;
    struct heir_claim *claims; /* HEIR_CLAIMS, owned; NULL: no cluster */
};

int heir_init(struct heir *h, struct server *s); /* 0 or ERR_OOM */
int heir_start(struct heir *h);
void heir_end(struct heir *h); /* before the lane ends */
void heir_release(struct heir *h);

/* lane_call_shared: a piece of what another node says of held versions (cache/state.h), which goes to
 * replicas, too. False: not now, since nothing may be added to the stream, or memory is short. */
bool heir_take_piece(struct server *s, struct str piece);

/* Before `v` takes the place of `old` (NULL: there is none). Any thread that replaces the map. */
void heir_follow(struct heir *h, const struct cluster_view *old, const struct cluster_view *v);

#endif
