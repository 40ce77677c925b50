/* Who may load a key, and who waits for it: one record a key that somebody is loading or waiting for.
 *
 *      record   key | token, born, until | retry_until | waiters, the oldest first
 *
 * A record belongs to its shard and is guarded by the shard's lock; there is none for a key that nobody
 * misses. Tokens rise within a shard, and so for every key, also over a restart, as they begin with the time:
 *
 *      ms since 1970 : 44 | count : 10 | shard : 10
 *
 * A waiter stands for a client that is parked. It is in a record's list, until somebody takes it out under
 * the shard's lock: then it is `due`, and goes into the list of debts of the thread that did so, which wakes
 * it when it holds no lock (cache_pay_debts()). */
#ifndef LARDER_CACHE_LEASE_H
#define LARDER_CACHE_LEASE_H

#include "base/rng.h"
#include "store/ext.h"

#include <stdbool.h>
#include <stdint.h>

struct cache;
struct lease;

struct waiter {
    struct waiter *next, *prev; /* in its record */
    struct waiter *next_debt;   /* in a thread's debts */
    struct lease *at;           /* NULL: in no record */
    uint32_t shard;
    bool wants;       /* the lease, too */
    int64_t lease_ms; /* for how long, if it wants it */
    int64_t until_ms; /* waits no longer */
    uint64_t order;   /* of arrival in its shard; 0: not yet */
    uint64_t token;   /* the lease it was given while it waited, or 0 */
    /* No lock held. The waiter is its owner's again. */
    void (*wake)(struct waiter *w);
};

struct lease {
    struct lease *next; /* in its bucket */
    uint64_t hash;
    uint64_t token; /* 0: nobody has it */
    uint64_t born;  /* purges counted when it was granted (tag.h) */
    int64_t granted_ms, until_ms;
    int64_t retry_until_ms; /* CACHE.FAIL RETRY: nobody gets it before */
    struct waiter *first, *last;
    uint32_t n;
    uint16_t db;
    uint16_t budget; /* that its token counts in (budget.h) */
    char key[];
};

/* The records of one shard. Its lock. */
struct leases {
    struct lease **buckets; /* owned, a power of two of them; NULL: none yet */
    uint32_t nbuckets, n;
    uint64_t last_token, last_order;
    int64_t sweep_ms; /* nothing runs out before */
};

struct lease *lease_find(const struct leases *ls, const struct key *k);
/* Finds or makes. Returns 0, ERR_FULL beyond `max` records, or ERR_OOM. */
int lease_get(struct leases *ls, const struct key *k, uint32_t max, struct lease **out);
/* Forget a record that has no lease, no waiters and nobody to hold off. */
bool lease_is_idle(const struct lease *l, int64_t now_ms);
void lease_free(struct leases *ls, struct lease *l);
void leases_release(struct leases *ls); /* all of them; waiters are forgotten */

static inline bool lease_is_live(const struct lease *l, int64_t now_ms)
{
    return l->token != 0 && now_ms < l->until_ms;
}

uint64_t lease_next_token(struct leases *ls, uint32_t shard, int64_t now_ms);

/* In the order of arrival: one that has waited before stands where it stood. */
void lease_add_waiter(struct leases *ls, struct lease *l, struct waiter *w);
void lease_take_waiter(struct waiter *w);
/* The oldest one that wants the lease, or NULL. */
struct waiter *lease_oldest_asker(const struct lease *l);

/* Every record of the shard, which may be freed by the visit. */
typedef void lease_visit_fn(void *arg, struct lease *l);
void leases_each(struct leases *ls, lease_visit_fn *visit, void *arg);

#endif
