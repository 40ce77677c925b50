/* Batches of keys on their way to other nodes, so that a pattern's ban (purge.h) can tell whether something
 * that it should have hit was under way when it was placed.
 *
 * There are two kinds of senders, and each has one batch on its way at a time: from its reading of the
 * values, on the lane, until the other node has answered, or nobody waits for that any more. What arrives
 * later still is refused there (cache/move.h), or dropped with the move that it belonged to. The ban is
 * placed on the lane, too. */
#ifndef LARDER_SERVER_DEPARTURES_H
#define LARDER_SERVER_DEPARTURES_H

#include "base/assert.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum departure { BY_MIGRATE, BY_MOVE, DEPARTURES };

struct departures {
    _Atomic uint64_t n[DEPARTURES]; /* begun and ended: odd while one is on its way */
};

/* What was on its way at some moment. */
struct departed {
    uint64_t n[DEPARTURES];
};

static inline void departures_begin(struct departures *d, enum departure by)
{
    uint64_t before = atomic_fetch_add(&d->n[by], 1);
    ASSERT(before % 2 == 0);
}

static inline void departures_end(struct departures *d, enum departure by)
{
    uint64_t before = atomic_fetch_add(&d->n[by], 1);
    ASSERT(before % 2 == 1);
}

static inline struct departed departures_now(const struct departures *d)
{
    struct departed at;
    for (unsigned i = 0; i < DEPARTURES; i++)
        at.n[i] = atomic_load(&d->n[i]);
    return at;
}

/* Has all of it ended? */
static inline bool departures_over(const struct departures *d, const struct departed *at)
{
    for (unsigned i = 0; i < DEPARTURES; i++)
        if (at->n[i] % 2 != 0 && atomic_load(&d->n[i]) == at->n[i])
            return false;
    return true;
}

#endif
