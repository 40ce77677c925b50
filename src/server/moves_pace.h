/* How much a move leaves to others: it rests after each batch, as long as the batch took.
 *
 * Keys go at the cost of both ends' workers and replicas. A batch is small, since on a CPU that
 * all of them share whoever comes in the middle of it may wait for the rest of it; the time is the clock's,
 * from the first key to the target's answers, so that who is busy, here or there, is left more of it. What
 * keeps a move from its end comes before that. It hurries, in large batches and without a rest, while slots
 * are held, as clients wait; while the change log has run far ahead, as it is stored until it is read; and
 * from then on when a round of sending what has changed finds no less of the log than the round before, or a
 * quick writer would never be caught.
 *
 * That is a good deal less than half of a CPU, as most of the time goes by waiting for threads to wake up:
 * 100,000 small keys take 3.7 s with six nodes on one CPU, 0.5 without rests, 7 to 9 where the rests are
 * three times as long, which is longer than key by key (MIGRATE).
 *
 * Owner: the thread that moves slots. */
#ifndef LARDER_SERVER_MOVES_PACE_H
#define LARDER_SERVER_MOVES_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum moves_pace_limits {
    MOVES_PORTION = 16,       /* keys on their way at a time: what a worker does in some 20 us ... */
    MOVES_BATCH = 64,         /* ... and when it hurries; each counts as ... */
    MOVES_KEY_BYTES = 16384,  /* ... so many bytes: no more follow once they are together as large */
    MOVES_REST = 1,           /* times as long as a batch took, ... */
    MOVES_REST_MAX_US = 3000, /* ... but no longer, where it was kept from its CPU */
    MOVES_LAG = 16 << 20,     /* bytes of the change log to be read: beyond, it hurries */
};

struct moves_pace {
    uint64_t left; /* of the log, when the last round began; 0: there was none, or nothing */
    bool behind;   /* a writer is quicker than we are with rests */
};

/* A round of sending what has changed begins, with so much of the log to be read. */
static inline void moves_pace_round(struct moves_pace *p, uint64_t left)
{
    p->behind |= p->left != 0 && left >= p->left;
    p->left = left;
}

/* left: of the log, now. */
static inline bool moves_pace_hurries(const struct moves_pace *p, bool held, uint64_t left)
{
    return held || p->behind || left > MOVES_LAG;
}

/* After a batch that was not in a hurry. */
static inline int64_t moves_pace_rest_us(int64_t took_ns)
{
    int64_t us = took_ns * MOVES_REST / 1000;
    return us < MOVES_REST_MAX_US ? us : MOVES_REST_MAX_US;
}

#endif
