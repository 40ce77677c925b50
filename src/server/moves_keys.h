/* Names of keys that are to be sent to another node, each once; and their values as they are when they go.
 *
 * Owner: the thread that moves slots; the lane while that waits for it. */
#ifndef LARDER_SERVER_MOVES_KEYS_H
#define LARDER_SERVER_MOVES_KEYS_H

#include "base/buf.h"
#include "base/hash.h"
#include "store/store.h"

enum moves_keys_limits {
    MOVES_KEYS_MAX = 4096,                 /* then moves_keys_full(); a few more find room */
    MOVES_KEYS_TABLE = 4 * MOVES_KEYS_MAX, /* places to find a name again */
};

struct moves_keys {
    struct buf names; /* one behind the other */
    struct buf refs;  /* struct moves_ref, n of them */
    uint32_t n, at;   /* at: the first that has not been put yet */
    bool again;       /* the target may have older values of them */
    uint64_t sent;    /* bytes put so far */
    struct hash_seed seed;
    uint32_t table[MOVES_KEYS_TABLE]; /* number of a ref, from 1 on */
};

void moves_keys_init(struct moves_keys *k, struct hash_seed seed);
void moves_keys_release(struct moves_keys *k);
void moves_keys_clear(struct moves_keys *k);
int moves_keys_add(struct moves_keys *k, struct str name); /* copies; 0 or ERR_OOM */
static inline bool moves_keys_full(const struct moves_keys *k)
{
    return k->n >= MOVES_KEYS_MAX;
}

/* The lane, nothing locked: commands that make the next keys at the target what they are here, as many as go
 * at a time, `most` or fewer. How many replies they will have; 0: the next one's shard is busy, come again;
 * ERR_OOM. */
int moves_keys_put(struct moves_keys *k, const struct access *a, uint32_t most, struct buf *out);

#endif
