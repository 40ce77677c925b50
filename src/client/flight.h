/* Single flight: of the threads of this process that need the same key loaded, one does it and the others
 * wait for it. A flight is listed under its key while others may join it, and lives until its last member
 * has left.
 *
 * Who joins has found the key missing before. So what was stored after he joined is news to him, and
 * may be shared; therefore a flight leaves the list (flight_close()) before its value is stored.
 *
 * One mutex, a leaf, guards the list and every flight until it is done; then a flight is constant. */
#ifndef LARDER_CLIENT_FLIGHT_H
#define LARDER_CLIENT_FLIGHT_H

#include "base/annotate.h"
#include "base/hash.h"
#include "base/str.h"
#include "larder/larder.h"

#include <pthread.h>
#include <stdbool.h>

enum flight_limits { FLIGHT_LISTS = 256 };

struct flight;

struct flights {
    pthread_mutex_t lock;
    pthread_cond_t quiet; /* rung when `threads` becomes 0 */
    struct flight *lists[FLIGHT_LISTS];
    struct hash_seed seed;
    unsigned threads; /* that load */
};

/* What became of it. */
struct flight_end {
    bool again;                /* nothing to share: look again */
    int status;                /* LARDER_OK, LARDER_MISS or an error */
    struct larder_value value; /* owned by the flight */
    uint64_t version;
    struct larder_error err;
};

void flights_init(struct flights *fs);
/* Waits for the threads that load. Nobody else may be in. */
void flights_release(struct flights *fs);

/* The listed flight of this key, or a new one, which the caller then leads. NULL without memory. */
struct flight *flight_join(struct flights *fs, struct str key, bool *leads) MUST_CHECK;
/* A new one in any case, in place of what is listed. */
struct flight *flight_lead(struct flights *fs, struct str key) MUST_CHECK;
struct str flight_key(const struct flight *f);                   /* lives as long as the flight */
struct flight *flight_get(struct flights *fs, struct flight *f); /* one more member */
void flight_put(struct flights *fs, struct flight *f);           /* NULL is fine */

/* Nobody joins any more. */
void flight_close(struct flights *fs, struct flight *f);
/* The key was invalidated here: whoever comes now begins anew. */
void flight_forget(struct flights *fs, struct str key);
void flight_forget_all(struct flights *fs); /* nobody knows which keys */
/* Takes end->value. Wakes all members. Once. */
void flight_finish(struct flights *fs, struct flight *f, const struct flight_end *end);
/* What became of it, or NULL if nothing did until then. Lives as long as the flight. */
const struct flight_end *flight_wait(struct flights *fs, struct flight *f, int64_t until_ns);

/* A thread of the library runs work(arg), with every signal blocked. 0 or an error number. */
int flight_thread(struct flights *fs, void (*work)(void *arg), void *arg);

#endif
