/* What a command handler gets, and the few helpers that all of them need.
 *
 *      void cmd_strlen(struct cmd_ctx *c)
 *      {
 *          struct entry *e = cmd_find_string(c, 0);
 *          ...
 *          reply_int(c->reply, n);
 *      }
 *
 * A handler parses its arguments, calls the store, writes exactly one reply, and
 * does nothing else. Before it runs, dispatch has checked arity, permission and
 * memory, hashed every key the command table says the command has (c->keys, in
 * that order) and locked their shards. So a handler never locks, never waits and
 * never does I/O; the exceptions are marked in the table (CMD_SELF_LOCK).
 *
 * It must leave nothing half-applied: check everything and allocate first, then
 * change. A pointer to an entry is good until the next call that writes its key.
 *
 * A handler may run on a worker, on the lane, or inside EXEC; it cannot tell. */
#ifndef LARDER_CMD_CMD_H
#define LARDER_CMD_CMD_H

#include "base/arena.h"
#include "base/counter.h"
#include "base/err.h"
#include "base/num.h"
#include "base/rng.h"
#include "cmd/session.h"
#include "proto/reply.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

struct cache; /* cache/cache.h */
struct command;
struct unit;   /* repl/unit.h */
struct waiter; /* cache/lease.h */

/* Counters of one thread, never shared while hot; INFO adds them up. */
enum cache_read_counter { /* what CACHE.GET and MGET answered: in the order of enum cache_state, and ... */
                          CACHE_READ_WAITED = 4, /* parked */
                          CACHE_READ_RETRIED,    /* told when to come back */
                          CACHE_READ_COUNTERS,
};
struct cmd_counters {
    struct counter hits, misses;
    struct counter cache[CACHE_READ_COUNTERS];
};

/* The part of the configuration that handlers need; read-only in a round. */
struct cmd_limits {
    uint64_t bulk_max; /* proto-max-bulk-len */
    uint32_t databases;
    bool cluster;                  /* only database 0 is in use */
    struct object_options objects; /* how collections are held */
    bool lfu; /* the eviction policy counts accesses: OBJECT FREQ answers, IDLETIME does not */
};

struct cmd_ctx {
    struct str *argv; /* argv[0] is the command's name as sent */
    uint32_t argc;
    uint32_t nkeys;
    struct key *keys; /* hashed; shards locked */
    struct reply *reply;
    struct access a;
    const struct command *cmd;
    struct session *session;
    struct arena *arena; /* for the life of this command */
    struct rng *rng;
    struct cmd_counters *counters;
    const struct cmd_limits *limits;
    /* Arguments that were too large to copy under a lock: already in blocks (borrowed). */
    struct block **blocks;
    uint32_t nblocks;
    bool in_exec;      /* inside MULTI/EXEC: do not block, do not park */
    struct unit *unit; /* where effects are noted; NULL: nobody keeps a log (cmd/effect.h) */
    bool has_effect;   /* the handler has noted its effects itself */
    /* CMD_SELF_LOCK only. Reply nothing; it is run again later, or on the lane. */
    bool again;          /* it met a busy shard */
    uint32_t busy_shard; /* with `again`: which one */
    bool too_long;       /* it has turned out to be more than a worker should do */
    struct cache *cache;
    /* A long command on the lane, or NULL: gives its shards back before it ends. What it has found out about
     * its keys is as of now; it must not look at them, nor change anything, from here on. Unless it takes
     * them back, once: then whatever it has found is to be looked at again. */
    void (*let_go)(struct cmd_ctx *c);
    void (*take_back)(struct cmd_ctx *c);
    /* CACHE.GET only. Parks the client, for so long at most, and gives what stands for it; the command will
     * be run again when it is woken, with `waiter`. NULL: not now. The function is NULL where nobody can
     * wait. */
    struct waiter *(*cache_park)(struct cmd_ctx *c, int64_t wait_ms);
    struct waiter *waiter; /* it has waited; NULL: it is run for the first time */
    /* CACHE.MGET only: may key number i be served here? False: the reply to it is written. NULL: always. */
    bool (*serves_key)(struct cmd_ctx *c, uint32_t i);
    void *host; /* server/: struct worker or lane; handlers in cmd/ leave it alone */
};

/* What logs and monitors see instead of a secret argument: the handler puts it there before it returns. */
#define CMD_REDACTED STR("(redacted)")

/* ---- arguments ------------------------------------------------------------------ */

/* On failure these have replied with Redis's text, and return false. */
bool cmd_arg_i64(struct cmd_ctx *c, uint32_t i, int64_t *out);
bool cmd_arg_range(struct cmd_ctx *c, uint32_t i, int64_t min, int64_t max, int64_t *out, const char *error);
bool cmd_arg_ldouble(struct cmd_ctx *c, uint32_t i, long double *out);

/* Is argument i this word, in any case? As in Redis, which compares C strings, what follows a NUL
 * does not count. */
static inline bool cmd_arg_is(const struct cmd_ctx *c, uint32_t i, struct str word)
{
    struct str arg = c->argv[i];
    if (unlikely(arg.n > word.n && arg.p[word.n] == '\0'))
        arg.n = word.n;
    return str_eq_nocase(arg, word);
}

/* A number that SELECT would accept. */
bool cmd_arg_database(struct cmd_ctx *c, uint32_t i, uint32_t *out);

/* The block that holds argument i already, or NULL. */
struct block *cmd_arg_block(const struct cmd_ctx *c, uint32_t i);

/* A deadline from an EXPIRE-like argument: unit_ms 1000 or 1, relative to now unless absolute.
 * Redis's rules for overflow; replies "ERR invalid expire time in '<cmd>' command" and returns false. */
bool cmd_arg_deadline(struct cmd_ctx *c, uint32_t i, int64_t unit_ms, bool absolute, bool must_be_positive,
                      int64_t *deadline_ms);

/* A deadline (0: none) that leaves nothing of its key. On a replica no deadline does: the primary will send a
 * DEL, and until then what it has set stays, unseen. */
static inline bool cmd_is_over(const struct cmd_ctx *c, int64_t deadline_ms)
{
    return unlikely(deadline_ms != 0 && deadline_ms <= c->a.now_ms && c->a.expired == EXPIRED_REMOVE);
}

/* ---- lookups -------------------------------------------------------------------- */

/* Key number k for reading: counts a hit or a miss. NULL when absent. */
struct entry *cmd_find(struct cmd_ctx *c, uint32_t k);

/* The same for commands that look at a key without using it (EXISTS, TTL): counted, but no
 * access in the eyes of the eviction policy. */
struct entry *cmd_peek(struct cmd_ctx *c, uint32_t k);

/* A string for reading. False after replying WRONGTYPE; *e NULL when absent. */
bool cmd_find_string(struct cmd_ctx *c, uint32_t k, struct entry **e);

/* The same for writing: no hit or miss is counted. */
bool cmd_write_string(struct cmd_ctx *c, uint32_t k, struct entry **e);

/* A collection of this kind for reading, or for writing (no hit or miss is counted). False after replying
 * WRONGTYPE; *e NULL when absent. */
bool cmd_find_object(struct cmd_ctx *c, uint32_t k, enum object_kind kind, struct entry **e);
bool cmd_write_object(struct cmd_ctx *c, uint32_t k, enum object_kind kind, struct entry **e);

/* ---- replies -------------------------------------------------------------------- */

/* A string entry's bytes, or a part of them (block: what entry_string() gave); by reference if large. */
void cmd_reply_value(struct cmd_ctx *c, const struct entry *e);
void cmd_reply_part(struct cmd_ctx *c, struct block *block, struct str part);
void cmd_reply_err(struct cmd_ctx *c, int err); /* ERR_OOM and the like, in the field's words */
void cmd_reply_arity(struct cmd_ctx *c);        /* wrong number of arguments for 'x' command */
void cmd_reply_help(struct cmd_ctx *c, const char *const *lines, uint32_t n); /* X HELP, the frame included */
void cmd_reply_unknown_sub(struct cmd_ctx *c);
void cmd_reply_text(struct cmd_ctx *c, struct buf *text); /* a report as it stands; releases it */

/* After a write that needs no further reply: 0 -> +OK, else the error. */
void cmd_reply_status(struct cmd_ctx *c, int err);

#endif
