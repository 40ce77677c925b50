/* The cache extension of an entry, as far as the store knows it, and the seam to those who know the rest.
 *
 *      u32 flags        EXT_HIDDEN; the other bits are src/cache's
 *      u32              src/cache's
 *      i64 fresh_ms     plain commands see the entry until then; 0 = for ever
 *      ...              src/cache's (cache/meta.h)
 *
 * Only cache commands see an entry that is hidden, past its freshness, or found invalid by the seam. To all
 * others it does not exist: they replace it. What they change a part of becomes a plain entry; another
 * deadline is the end of freshness, and copies have the extension, too. Its own deadline (entry_expire) is
 * when even the cache commands lose it.
 *
 * Entries without an extension pay nothing: one test covers both a deadline and an extension. */
#ifndef LARDER_STORE_EXT_H
#define LARDER_STORE_EXT_H

#include "store/ban.h"
#include "store/store.h"

enum ext_layout { EXT_HIDDEN = 1, EXT_FLAGS_AT = 0, EXT_FRESH_AT = 8, EXT_MIN = 16 };

/* What src/cache is asked and told. Shard locked, or the gate up; must not wait or fail. */
struct store_seam {
    void *arg; /* the first argument of each; NULL functions are not called */
    /* An extended entry that is neither hidden nor past its freshness: may plain commands see it? */
    bool (*valid)(void *arg, const struct entry *e);
    /* Can nobody at all read an extended entry any more? The sweep takes it out then. */
    bool (*dead)(void *arg, const struct entry *e);
    /* An extended entry is banned softly (ban.h), and a sweep is there: make it stale. False: it must go. */
    bool (*soften)(void *arg, const struct access *a, const struct key *k, struct entry *e);
    /* Any thread, no lock: has everything of src/cache's been ended that was begun before the ban of this
     * number? */
    bool (*settled)(void *arg, uint64_t number);
    /* A key of a shard with store_notice() has changed, was removed, or was deleted in vain; not when its
     * time was over, and neither when it was dead(). */
    void (*touched)(void *arg, const struct access *a, const struct key *k);
    /* An extended entry is being replaced or removed; k is its key. */
    void (*dying)(void *arg, const struct access *a, const struct key *k, const struct entry *e);
    /* All databases, or one, have been emptied, or two have changed places (gate). */
    void (*flushed)(void *arg, const struct access *a, bool all);
};
void store_set_seam(struct store *s, const struct store_seam *seam); /* before threads start */

/* Any thread: there are entries that are dead(). A pass of the sweep looks at all segments soon. */
void store_sweep_dead(struct store *s);

void *store_seam_arg(const struct store *s); /* NULL: nobody sits there */

/* Shard locked: whether touched() wants to hear of this shard's keys. */
void store_notice(struct store *s, uint32_t shard, bool on);
/* Any thread: as it was a moment ago. */
bool store_is_noticed(const struct store *s, uint32_t shard);

/* What a thread owes others when it holds no lock any more (a list of src/cache's); its thread's only. */
void **store_thread_debts(const struct access *a);

/* Shard locked. The entry that is there, whatever plain commands see, unless its deadline has passed. */
struct entry *store_find_any(const struct access *a, const struct key *k);
/* The same, and no access in the eyes of the eviction policy. */
struct entry *store_peek_any(const struct access *a, const struct key *k);

/* store_put_string() with an extension of ext.n >= EXT_MIN bytes, which are copied. expire_ms: when the entry
 * goes. Returns 0 or ERR_OOM with nothing changed. */
int store_put_extended(const struct access *a, const struct key *k, struct str bytes, struct block *block,
                       int64_t expire_ms, struct str ext);

/* Shard locked: before an extension is changed in place; a snapshot may want it as it was. */
void store_before_change(const struct access *a, const struct key *k);
/* Shard locked: k's extension was changed in place; counts and tells as a write does. */
void store_note_change(const struct access *a, const struct key *k);

/* Shard locked: another end for an extended entry that has one. Tells nobody. */
void store_set_end(const struct access *a, const struct key *k, struct entry *e, int64_t expire_ms);

/* The key of an entry, as for key_make(); borrows the entry's bytes. */
void store_key_of(const struct store *s, const struct entry *e, struct key *out);

/* The extension's bytes, writable in place under the shard's lock; p NULL if there is none. */
struct ext {
    char *p;
    uint32_t n;
};
struct ext entry_ext(const struct entry *e);

#endif
