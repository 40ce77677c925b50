/* Nobody writes, or nobody does anything, for a while: CLIENT PAUSE, and what else needs the data to stand
 * still.
 *
 * Several may hold a pause at once, each for its own reason: it lasts until the last of them has ended, and
 * CLIENT UNPAUSE ends only that of CLIENT PAUSE. Clients that would do what is paused are parked and go on
 * afterwards; while it lasts no expired key is deleted either (enum expired_rule), so that nothing at
 * all is written and the change log stands still, but for what replication adds by itself. */
#ifndef LARDER_SERVER_PAUSE_H
#define LARDER_SERVER_PAUSE_H

#include <stdbool.h>
#include <stdint.h>

struct server;

enum pause_reason { PAUSE_CLIENT, PAUSE_FAILOVER, PAUSE_REASONS };

/* Written under the gate, read in rounds. */
struct pause {
    int64_t until_ms; /* of the wall clock; 0: none */
    uint32_t what;    /* CARE_PAUSE_WRITE, CARE_PAUSE_ALL */
};

#define PAUSE_FOR_EVER INT64_MAX

/* Gate. From now on until until_ms, or pause_end(). A pause that holds for this reason is never shortened or
 * loosened by another. */
void pause_begin(struct server *s, enum pause_reason why, uint32_t what, int64_t now_ms, int64_t until_ms);
/* Gate. Harmless when there is none. */
void pause_end(struct server *s, enum pause_reason why);

/* In a round: ends what is over. */
void pause_tick(struct server *s, int64_t now_ms);
/* In a round. */
bool pause_is_on(const struct server *s, enum pause_reason why);
/* In a round: when the next one ends, or PAUSE_FOR_EVER. */
int64_t pause_next_ms(const struct server *s, int64_t now_ms);

#endif
