/* One load: the loader runs, what it gives is stored under its lease, the flight is told. */
#ifndef LARDER_CLIENT_LOAD_H
#define LARDER_CLIENT_LOAD_H

#include "client/lease.h"

struct load {
    larder *l;
    struct flight *flight; /* a member of its own */
    larder_loader loader;
    void *arg;
    char token[LEASE_TOKEN_MAX]; /* empty: the cache cannot be reached, nothing is stored */
    bool by_script;              /* the token's, see lease.h */
    int64_t ttl_ms, grace_ms, negative_ttl_ms, retry_ms;
    unsigned lock_ms;
    struct larder_bytes *tags; /* owned, in one block with their bytes */
    size_t ntags;
    struct buf tag_block; /* as of before the load, on plain Redis */
};

/* Takes the flight's member; returned owned by load_run(). NULL without memory, when the member is left. */
struct load *load_new(larder *l, struct flight *f, larder_loader loader, void *arg,
                      const struct lease_answer *lease, const struct larder_fetch_options *o) MUST_CHECK;
/* To its end, here. Frees it. */
void load_run(void *load);

#endif
