/* Tags on plain Redis and Valkey: every tag has a token, in a key of its own, and a value carries the tokens
 * that its tags had when its load began. It is current while they are still the same; invalidating a tag
 * deletes its token. A token is random, is put once, and never comes back: so whatever happens to such a key
 * (eviction, expiry, a flush, a command that arrives late) can only invalidate too much. docs/decisions/020
 * says why, and why a counter will not do.
 *
 * The key is "larder:tag:<tag>". On a ring it lies on the node of the value, so that no node depends on
 * another, and a tag is forgotten on all of them; in a cluster wherever its slot is.
 *
 * All functions may be called by any thread and block until the handle's deadline at most. */
#ifndef LARDER_CLIENT_TAGS_H
#define LARDER_CLIENT_TAGS_H

#include "client/batch.h"
#include "client/envelope.h"

/* Names, their keys, and what tokens they turn out to have. On the caller's stack. */
struct tag_lookup {
    struct envelope_tag tags[LARDER_TAGS_MAX];
    char keys[LARDER_TAGS_MAX][sizeof "larder:tag:" + LARDER_TAG_BYTES];
    unsigned n;
    unsigned at; /* the place in the batch of the first one's GET */
};

/* LARDER_ERR_ARGUMENT for what are no tags: too many, too long, empty. */
int tags_check(const struct larder_bytes *tags, size_t n, struct larder_error *err);

/* Adds GETs to a batch; reads their replies once it has run. `key` is the value's. */
void tags_ask(struct tag_lookup *t, struct batch *b, struct str key, const struct larder_bytes *tags,
              size_t n);
void tags_read(struct tag_lookup *t, const struct batch *b);

/* Before a load: sees to it that every tag has a token, and appends what an envelope says of them. */
int tags_begin(larder *l, struct str key, const struct larder_bytes *tags, size_t n, int64_t life_ms,
               struct buf *block, struct larder_error *err);
/* Is the block of an envelope still what its tags have? Asks the nodes for those that `known` (may be NULL)
 * does not hold. */
int tags_are_current(larder *l, struct str key, struct str block, const struct tag_lookup *known,
                     bool *current, struct larder_error *err);
/* On every node that may have it. */
int tags_forget(larder *l, struct larder_bytes tag, struct larder_error *err);

#endif
