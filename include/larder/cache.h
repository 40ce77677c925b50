/* The patterns of caching as single calls: a value that is loaded once however many ask for it, stale
 * values while one refreshes, writes that the cache never contradicts, invalidation.
 *
 *      static int load(void *db, struct larder_bytes key, larder_loaded *out)
 *      {
 *          ...read the row...
 *          return larder_loaded_value(out, row, n);      or LARDER_MISS: there is no such row
 *      }
 *      larder_fetch(cache, larder_text("user:7"), load, db, NULL, &found, &err);
 *
 * Where a node has CACHE.GET, it hands out leases and parks whoever waits. On plain Redis and Valkey the
 * same is done by small scripts, and the value lies in an envelope of LARDER_ENVELOPE_BYTES in front of
 * the value, which is what a plain GET sees there:
 *
 *      larder1:K:VVVVVVVVVVVVVVVVVVVV:GGGGGGGGGGGGGGGG:EEEEEEEEEEEEEEEE:DDDDDDDDDDDDDDDD:UUUUUUUUUUUUUUUU:TTTTTTTTTTTTTTTT\n
 *      NNNNNNNN:                                               only if the value has tags; a + stands behind
 * K then
 *      XXXXXXXXXXXXXXXXLLL:tag                                 each of them
 *
 *      K  v value, n negative, l nothing yet (somebody loads), t a removed version, held
 *      V  version, 0 = none           G  ms of grace: fresh while PTTL is above them
 *      E  ms added to the key's life for a load: stale values are usable while PTTL is above them
 *      D  ms that the last load took  U  server's time in ms when the lease ends    T  its token, 0 = none
 *      N  bytes of tags that follow   X  the tag's token as of before the load      L  bytes of its name
 *
 * A tag's token lies under "larder:tag:<tag>"; a value whose tags have others by now, or none, is a miss.
 *
 * So every deadline is the server's own clock, a DEL or SET by anybody voids the lease, and a plain
 * EXISTS is 1 while somebody loads. A plain value under such a key is taken for a fresh one.
 *
 * Not here yet, with room in the structs, which carry their size: write-behind, invalidation by events
 * of the database, a near cache. */
#ifndef LARDER_CACHE_H
#define LARDER_CACHE_H

#include "larder/larder.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { LARDER_ENVELOPE_BYTES = 116, LARDER_TAGS_MAX = 16, LARDER_TAG_BYTES = 255 };

/* ---- cache-aside ---- */

/* What a loader fills in; lives during its call only. */
typedef struct larder_loaded larder_loaded;

/* Reads the source. LARDER_OK after larder_loaded_value(); LARDER_MISS: there is nothing, which is
 * remembered for negative_ttl_ms; below 0: it failed. Runs in the calling thread, or in one of the
 * library's if a timeout or `behind` asks for that; then `arg` must live until larder_close(), which waits
 * for loaders. */
typedef int (*larder_loader)(void *arg, struct larder_bytes key, larder_loaded *out);

/* Copies. LARDER_OK or LARDER_ERR_MEMORY. */
LARDER_API int larder_loaded_value(larder_loaded *out, const void *p, size_t n);
/* The row's version, above 0: the cache then refuses older ones. */
LARDER_API void larder_loaded_version(larder_loaded *out, uint64_t version);
/* Instead of the options' ttl_ms. */
LARDER_API void larder_loaded_ttl(larder_loaded *out, int64_t ttl_ms);

/* Start from larder_fetch_options_init(). */
struct larder_fetch_options {
    size_t size;             /* of this struct as the program knows it */
    int64_t ttl_ms;          /* LARDER_TTL_DEFAULT: fresh for so long */
    int64_t grace_ms;        /* 0: then usable as a stale value for so long */
    int64_t negative_ttl_ms; /* 10,000: life of "there is nothing"; 0 = not remembered */
    double beta;             /* 1.0: early refresh (XFetch); 0 = none, above 1 earlier */
    unsigned lock_ms;        /* 10,000: life of a lease: longer than any load should take */
    unsigned poll_ms;        /* 100: ask again after so long whether another process has loaded */
    unsigned wait_ms;  /* 0 = deadline_ms: wait for another process so long, then load without storing */
    unsigned soft_ms;  /* 0 = none: a loader that takes longer is not waited for if there is a stale value */
    unsigned hard_ms;  /* 0 = none: nor beyond this if there is none. It runs on and fills the cache */
    unsigned retry_ms; /* 1,000: after a loader failed, nobody tries again for so long */
    int stale;         /* 1: answer with a stale value while another refreshes it */
    int behind;        /* 0: 1 refreshes stale and early values in a thread of the library */
    int fail_safe;     /* 1: answer with a stale value when the loader fails */
    uint64_t min_version;            /* 0: a lower version counts as stale */
    const struct larder_bytes *tags; /* for larder_invalidate_tag(): at most LARDER_TAGS_MAX, each of 1 to */
    size_t ntags; /* LARDER_TAG_BYTES. The same ones in every call for a key save a round trip */
};
LARDER_API void larder_fetch_options_init(struct larder_fetch_options *options); /* the defaults */

enum larder_freshness {
    LARDER_FRESH = 0,  /* from the cache */
    LARDER_STALE = 1,  /* from the cache, beyond its time */
    LARDER_LOADED = 2, /* from the source just now, by this call or one that it joined */
};

struct larder_fetched {
    struct larder_value value; /* owned: larder_value_free() */
    enum larder_freshness freshness;
    uint64_t version; /* 0 = none */
};

/* The value of a key, from the cache or from the loader. LARDER_OK; LARDER_MISS: the source has nothing;
 * LARDER_ERR_LOAD: the loader failed, or takes too long. The call lasts for as long as the loader does, and
 * at most 2 x wait_ms beside it.
 *
 * Of all that ask for a cold key, in all threads and processes, one loads. Threads of a process that ask
 * while it loads share what it has stored; if its lease was voided meanwhile, they ask again. If the cache
 * cannot be reached the loader runs all the same, once at a time in each process. options NULL: defaults. */
LARDER_API int larder_fetch(larder *l, struct larder_bytes key, larder_loader loader, void *arg,
                            const struct larder_fetch_options *options, struct larder_fetched *out,
                            struct larder_error *err);

/* ---- write-through ---- */

/* Writes to the source and commits; then puts the new value as a loader does, with its version if rows
 * have one. LARDER_OK: committed. LARDER_ERR_ARGUMENT or any other error: certainly not committed.
 * LARDER_ERR_TIMEOUT or LARDER_ERR_CLOSED: not known. A version should be put before the commit, so that
 * it is known in that case too. */
typedef int (*larder_writer)(void *arg, struct larder_bytes key, larder_loaded *out);

struct larder_write_options {
    size_t size;
    int64_t ttl_ms, grace_ms; /* as above */
    unsigned lock_ms;         /* 10,000: longer than a commit takes */
    unsigned hold_ms;         /* 60,000: after an unknown commit older versions are refused for so long */
    int write_anyway;         /* 0: without the cache nothing is written; 1: the cache may then be behind */
    const struct larder_bytes *tags; /* as above */
    size_t ntags;
};
LARDER_API void larder_write_options_init(struct larder_write_options *options); /* the defaults */

/* Invalidate and take the lease, commit, store (docs/decisions/015 says why in this order). LARDER_OK:
 * committed and cached. LARDER_UNCACHED: committed, and the key is a miss, or holds a newer version. Below 0:
 * the writer's error, or the cache's with nothing written. */
LARDER_API int larder_write_through(larder *l, struct larder_bytes key, larder_writer writer, void *arg,
                                    const struct larder_write_options *options, struct larder_error *err);

/* ---- versions ---- */

/* The value of at least this version; LARDER_MISS if there is none. On plain Redis exactly this version's,
 * under the plain key "KEY:v<version>". */
LARDER_API int larder_get_version(larder *l, struct larder_bytes key, uint64_t version,
                                  struct larder_value *out, struct larder_error *err);
/* LARDER_OK, or LARDER_OLD_VERSION: a newer one is there (never on plain Redis, where versions lie side by
 * side). */
LARDER_API int larder_set_version(larder *l, struct larder_bytes key, uint64_t version,
                                  struct larder_bytes value, int64_t ttl_ms, struct larder_error *err);

/* ---- invalidation ---- */

/* What is loaded under a lease from before is not stored. LARDER_OK or LARDER_MISS. All are idempotent. */
LARDER_API int larder_invalidate(larder *l, struct larder_bytes key, struct larder_error *err);
/* Stale from now on, with what is left of its grace. */
LARDER_API int larder_invalidate_soft(larder *l, struct larder_bytes key, struct larder_error *err);
/* Versions below `version` are gone, and refused for hold_ms. */
LARDER_API int larder_invalidate_version(larder *l, struct larder_bytes key, uint64_t version,
                                         unsigned hold_ms, struct larder_error *err);
/* Every value that was stored with this tag, on all nodes, and every one whose load has begun.
 * LARDER_ERR_UNAVAILABLE when some node has not acknowledged it yet. On plain Redis, where it deletes the
 * tag's token, a failover may lose it, as any write. */
LARDER_API int larder_invalidate_tag(larder *l, struct larder_bytes tag, struct larder_error *err);
/* Every key that matches a glob, on all primaries. Nodes that know CACHE.PURGE MATCH make them invalid at
 * once, on their replicas too, and refuse what is being loaded; LARDER_ERR_UNAVAILABLE when some node has not
 * acknowledged it yet. On others by SCAN and DEL, so a key that is written meanwhile may stay. *count, if not
 * NULL, is how many keys it was: the call waits until they have been taken out then, for as long as that goes
 * on, and counts what was when nothing more happens. */
LARDER_API int larder_invalidate_pattern(larder *l, const char *pattern, uint64_t *count,
                                         struct larder_error *err);

#ifdef __cplusplus
}
#endif

#endif
