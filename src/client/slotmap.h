/* Who serves which slot of a cluster: pure, from replies to a table. Nodes are numbers of the
 * caller's, which a callback assigns. The caller holds what guards it. */
#ifndef LARDER_CLIENT_SLOTMAP_H
#define LARDER_CLIENT_SLOTMAP_H

#include "base/annotate.h"
#include "proto/reader.h"
#include "proto/slot.h"

#include <stdbool.h>
#include <stdint.h>

enum slotmap_limits {
    SLOTMAP_REPLICAS_MAX = 8,  /* of a shard; more are not used */
    SLOTMAP_SHARDS_MAX = 2048, /* a cluster has at most 1,000 nodes */
    SLOTMAP_NONE = 0xffff,     /* no shard */
};

struct slotmap_shard {
    uint32_t primary;
    uint32_t nreplicas;
    uint32_t replicas[SLOTMAP_REPLICAS_MAX];
};

struct slotmap {
    uint16_t of_slot[SLOT_COUNT]; /* index into shards or SLOTMAP_NONE */
    struct slotmap_shard *shards; /* owned */
    uint32_t nshards;
};

/* A number for "host:port"; negative when there is no room. An empty host means the node that sent
 * the reply. */
typedef int (*slotmap_intern)(void *arg, struct str host, int64_t port);

int slotmap_init(struct slotmap *m); /* nothing is served */
void slotmap_release(struct slotmap *m);

/* Fill an empty map from a reply to CLUSTER SHARDS or CLUSTER SLOTS, in RESP2 or RESP3. 0,
 * ERR_PROTO for what has another shape, ERR_OOM, ERR_FULL. On an error the map may be half filled. */
int slotmap_from_shards(struct slotmap *m, const struct reader_value *reply, slotmap_intern intern,
                        void *arg) MUST_CHECK;
int slotmap_from_slots(struct slotmap *m, const struct reader_value *reply, slotmap_intern intern,
                       void *arg) MUST_CHECK;

/* MOVED: this slot is served by that primary now. 0, ERR_OOM or ERR_FULL. */
int slotmap_move(struct slotmap *m, uint16_t slot, uint32_t primary);

/* NULL when nobody serves the slot. Borrowed, until the map changes. */
const struct slotmap_shard *slotmap_find(const struct slotmap *m, uint16_t slot);

/* "MOVED 3999 127.0.0.1:6381", "ASK ..." with IPv6 or an empty host. False when it is no such text. */
bool slotmap_parse_redirect(struct str text, bool *ask, uint16_t *slot, struct str *host, int64_t *port);

#endif
