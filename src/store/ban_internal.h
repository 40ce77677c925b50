/* Bans from inside: what lookups, writes, sweeps and cuts ask. Not for others. */
#ifndef LARDER_STORE_BAN_INTERNAL_H
#define LARDER_STORE_BAN_INTERNAL_H

#include "store/shard.h"

void bans_init(struct bans *bs);
void bans_release(struct bans *bs);

/* There are bans; shard locked. */
enum ban_effect ban_judge(const struct store *s, const struct entry *e);

static inline enum ban_effect store_ban_effect(const struct store *s, const struct entry *e)
{
    return unlikely(atomic_load_explicit(&s->bans.active, memory_order_relaxed) != 0) ? ban_judge(s, e)
                                                                                      : BAN_NONE;
}

/* Nobody at all sees it any more, whatever it is. */
static inline bool entry_is_banned(const struct store *s, const struct entry *e)
{
    return store_ban_effect(s, e) == BAN_HARD;
}

/* Is it this access's to take out what is banned? Not while a pause lasts: a removal is announced. */
static inline bool ban_may_remove(const struct access *a)
{
    return a->expired == EXPIRED_REMOVE || a->store->bans.follower;
}

/* Shard locked: take out an entry that is banned, and count it. */
void ban_remove(const struct access *a, const struct key *k, const struct table_pos *pos, struct entry *e);

/* Without a lock: may an entry with this key in seg be banned? */
bool ban_may_hit(const struct store *s, const struct segment *seg, struct str key, uint32_t id);

/* Any thread that sweeps: shall segments be swept for bans now? */
bool bans_due(const struct access *a);
/* A walk has removed so many: when the next one may begin. */
void bans_pace(const struct access *a, uint64_t removed);
/* The sweep's lock: all segments are clean of what came up to this generation. */
void bans_end(struct store *s, uint32_t clean);

#endif
