/* Patterns that are banned: all keys that match and were there before are nothing any more, at once, however
 * many they are. CACHE.PURGE MATCH.
 *
 *      ban      glob | number | generation                  placed under the gate, all open segments sealed
 *      segment  purged: the generation it is clean of       >= the ban's: it was opened later, or swept since
 *
 * An entry is banned if its key matches and its segment is not clean of the ban's generation. So entries
 * carry nothing for this, and what is written after the ban lies in segments that it does not reach: a write
 * to a banned key removes the old entry and appends. Sweeps (maintain/sweep.c) take out what is banned,
 * segment after segment, in their usual slices; nothing that is banned is ever moved. A ban that no segment
 * is left for is over.
 *
 * A soft ban makes entries with a cache extension stale (the seam's judgement); all others it bans.
 *
 * Cost without a ban: none that a reader sees (`look`, which a lookup tests anyway, names two bits of the
 * entry's word then, and else all). With one: a load for each key, and a match for those in old segments.
 *
 * A ban is of one database, by its id: it follows what SWAPDB exchanges, and means nothing to what takes the
 * id later, since that lies in later segments. */
#ifndef LARDER_STORE_BAN_H
#define LARDER_STORE_BAN_H

#include "base/str.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct access;
struct ban;
struct entry;
struct store;

enum ban_limits {
    BAN_GLOB_MAX = 1024, /* bytes */
    BANS_MAX = 128,      /* that clients may have in force; a primary's stream may bring more */
};

enum ban_effect { BAN_NONE, BAN_SOFT, BAN_HARD };

struct bans {
    _Atomic uint32_t look;   /* bits of an entry's word that ask for a closer look */
    _Atomic uint32_t active; /* bans that are not over */
    /* Gate; read in rounds. */
    struct ban **list; /* owned, with what is in it */
    uint32_t n, room;
    uint32_t newest; /* generation of the latest */
    bool follower;   /* what is banned may go without being announced */
    /* How fast sweeps may remove. */
    _Atomic uint64_t rate;  /* keys a second, 0 = as fast as they can */
    _Atomic int64_t due_ms; /* no segment is swept for bans before */
};

/* Gate. Ban what matches glob in the database that SELECT knows as `db`. `number` rises from ban to ban.
 * rate: keys a second that sweeps remove, about; 0 = all they can. One with the same glob that is at least as
 * hard takes the place of the one before. Returns 0, or ERR_OOM with nothing changed. */
int store_ban(const struct access *a, uint32_t db, struct str glob, uint64_t number, bool soft,
              uint64_t rate);

/* In a round, or under the gate. How many are not over. */
uint32_t store_bans(const struct store *s);

/* In a round. False: there is none of this number any more: it is over, or another has taken its place.
 * *removed: keys that have been taken out so far. */
bool store_ban_look(const struct store *s, uint64_t number, uint64_t *removed);

/* In a round: is there one that bans this key, later than `since`? id: its database's (struct key). */
bool store_ban_since(const struct store *s, struct str key, uint32_t id, uint64_t since);

/* Shard locked: what bans have done to a live entry. */
enum ban_effect store_ban_of(const struct store *s, const struct entry *e);

/* Gate: on a replica what is banned goes silently, since its primary bans and tells by itself. */
void store_set_follower(struct store *s, bool on);

#endif
