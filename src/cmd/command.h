/* The command table: one row says everything about a command.
 *
 * Rows are written in commands.def; the server turns them into an array of
 * struct command (server/commands.c), since the handlers live in several layers,
 * and gives it to command_table_init() at boot. From then on the table never
 * changes, and every thread reads it without a lock. It is one of the few
 * process-wide objects: a program speaks one set of commands.
 *
 *      rows   [ get | set | client | client|id | client|list | config | ... ]
 *                             ^subs------------------^
 *      names  open hash of up to 16 folded bytes -> row     (renames live here)
 *
 * A container (CLIENT) is followed by its subcommands. What dispatch touches
 * stands in the first 64 bytes of a row, what only COMMAND prints behind it. */
#ifndef LARDER_CMD_COMMAND_H
#define LARDER_CMD_COMMAND_H

#include "base/annotate.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cmd_ctx; /* cmd/cmd.h */
struct reply;   /* proto/reply.h */

/* Runs the command and writes exactly one reply. */
typedef void cmd_fn(struct cmd_ctx *c);

/* Roughly the nanoseconds of work that the command is about to do. Asked with its
 * shards locked and before any effect; a large answer moves it to the lane. */
typedef uint64_t cmd_cost_fn(const struct cmd_ctx *c);

/* For rows with KEY_VARIABLE_FLAGS: what this call really does to its keys. */
typedef uint32_t cmd_key_flags_fn(const struct str *argv, uint32_t argc);

struct keyref;
/* For rows whose key specs cannot say it all (KEY_INCOMPLETE): command_keys() for them. */
typedef int cmd_find_keys_fn(const struct str *argv, uint32_t argc, struct keyref *out, uint32_t max,
                             uint32_t *n);

enum command_limits {
    COMMAND_ROWS_MAX = 1024, /* rows of the table, subcommands included */
    COMMAND_NAME_MAX = 64,   /* bytes of a name or of a rename */
};

/* What COMMAND INFO reports as flags, in its order; then larder's own. */
#define CMD_WRITE (1ULL << 0)
#define CMD_READONLY (1ULL << 1)
#define CMD_DENYOOM (1ULL << 2) /* may need more memory: refused when there is none */
#define CMD_ADMIN (1ULL << 3)
#define CMD_PUBSUB (1ULL << 4)
#define CMD_NOSCRIPT (1ULL << 5)
#define CMD_BLOCKING (1ULL << 6)
#define CMD_LOADING (1ULL << 7)      /* allowed while the data set is being loaded */
#define CMD_STALE (1ULL << 8)        /* allowed on a replica that has lost its primary */
#define CMD_SKIP_MONITOR (1ULL << 9) /* not shown to MONITOR */
#define CMD_SKIP_SLOWLOG (1ULL << 10)
#define CMD_ASKING (1ULL << 11)
#define CMD_FAST (1ULL << 12)
#define CMD_NO_AUTH (1ULL << 13) /* allowed before authentication */
#define CMD_NO_MANDATORY_KEYS (1ULL << 14)
#define CMD_NO_ASYNC_LOADING (1ULL << 15)
#define CMD_NO_MULTI (1ULL << 16)
#define CMD_MOVABLE_KEYS (1ULL << 17) /* first/last/step do not say it all; set at boot */
#define CMD_ALLOW_BUSY (1ULL << 18)   /* allowed while a script or a lane command holds the server */
#define CMD_PROTECTED (1ULL << 32)    /* guarded by an enable-*-command option; not reported */
#define CMD_EXCLUSIVE (1ULL << 33)    /* needs the world stopped: runs on the lane, under the gate */
#define CMD_SELF_LOCK (1ULL << 34)    /* locks shards by itself, one at a time */
#define CMD_LANE (1ULL << 35)         /* always runs on the lane */
#define CMD_NOT_QUEUED                                                                                       \
    (1ULL << 37) /* like NO_MULTI, but Redis queues it: its reply comes when others have done something */
#define CMD_CLUSTER (1ULL << 38) /* the cluster's thread runs it; in a transaction of its like only */
#define CMD_RELAY (1ULL << 36)   /* visits every worker; inside EXEC it needs the world stopped instead */

/* ACL categories. READ, WRITE, ADMIN + DANGEROUS, PUBSUB, BLOCKING, FAST and SLOW
 * follow from the flags at boot; rows name the others. */
#define ACL_KEYSPACE (1ULL << 0)
#define ACL_READ (1ULL << 1)
#define ACL_WRITE (1ULL << 2)
#define ACL_SET (1ULL << 3)
#define ACL_SORTEDSET (1ULL << 4)
#define ACL_LIST (1ULL << 5)
#define ACL_HASH (1ULL << 6)
#define ACL_STRING (1ULL << 7)
#define ACL_BITMAP (1ULL << 8)
#define ACL_HYPERLOGLOG (1ULL << 9)
#define ACL_GEO (1ULL << 10)
#define ACL_STREAM (1ULL << 11)
#define ACL_PUBSUB (1ULL << 12)
#define ACL_ADMIN (1ULL << 13)
#define ACL_FAST (1ULL << 14)
#define ACL_SLOW (1ULL << 15)
#define ACL_BLOCKING (1ULL << 16)
#define ACL_DANGEROUS (1ULL << 17)
#define ACL_CONNECTION (1ULL << 18)
#define ACL_TRANSACTION (1ULL << 19)
#define ACL_SCRIPTING (1ULL << 20)

/* What a command does to a key. One of the first four, and any of the rest. */
#define KEY_RO (1u << 0)
#define KEY_RW (1u << 1)
#define KEY_OW (1u << 2)     /* overwrites without looking at the old value */
#define KEY_RM (1u << 3)     /* deletes the key */
#define KEY_ACCESS (1u << 4) /* what the value holds gets out, or is used */
#define KEY_UPDATE (1u << 5)
#define KEY_INSERT (1u << 6) /* adds, never changes what was there */
#define KEY_DELETE (1u << 7)
#define KEY_NOT_KEY (1u << 8)         /* routed like a key, but none (PUBLISH's channel) */
#define KEY_INCOMPLETE (1u << 9)      /* there are keys that no spec describes */
#define KEY_VARIABLE_FLAGS (1u << 10) /* an upper bound; key_flags() knows the call */

enum key_begin { KEY_BEGIN_UNKNOWN, KEY_BEGIN_INDEX, KEY_BEGIN_KEYWORD };
enum key_find { KEY_FIND_UNKNOWN, KEY_FIND_RANGE, KEY_FIND_KEYNUM };

struct key_spec {
    uint32_t flags; /* KEY_* */
    uint8_t begin;  /* enum key_begin */
    uint8_t find;   /* enum key_find */
    int16_t index;  /* INDEX: first argument; KEYWORD: where the search starts, negative = from the end */
    const char *keyword;
    int16_t last;  /* RANGE: relative to the first key; negative = from the end of the arguments */
    int16_t step;  /* RANGE, KEYNUM */
    int16_t limit; /* RANGE with last -1: 2 = the first half of what is left, ... ; 0, 1 = all */
    int16_t keynum_at, keynum_first; /* KEYNUM: places of the count and of the first key after `index` */
    const char *notes;
};

/* One change of a command's behaviour: the version and what it brought. */
struct command_change {
    const char *since, *what;
};

enum command_group {
    GROUP_GENERIC,
    GROUP_STRING,
    GROUP_LIST,
    GROUP_SET,
    GROUP_SORTED_SET,
    GROUP_HASH,
    GROUP_PUBSUB,
    GROUP_TRANSACTIONS,
    GROUP_CONNECTION,
    GROUP_SERVER,
    GROUP_SCRIPTING,
    GROUP_HYPERLOGLOG,
    GROUP_CLUSTER,
    GROUP_GEO,
    GROUP_STREAM,
    GROUP_BITMAP,
    GROUP_CACHE,
};

struct command {
    CACHE_ALIGNED cmd_fn *fn;              /* NULL for a container that does nothing by itself */
    cmd_cost_fn *cost;                     /* NULL: always short */
    cmd_key_flags_fn *key_flags;           /* NULL: the specs' flags hold */
    uint64_t flags;                        /* CMD_* */
    uint64_t acl_categories;               /* ACL_*; completed at boot */
    const struct key_spec *key_specs;      /* nkey_specs of them */
    int16_t arity;                         /* the name counts, a subcommand's too; negative = at least */
    uint16_t id;                           /* dense index, for arrays of per-worker metrics; set at boot */
    int16_t key_first, key_last, key_step; /* the keys, when not MOVABLE_KEYS; first 0 = none; set at boot */
    uint16_t nsubs;                        /* set at boot */
    uint16_t nkey_specs;

    const char *name; /* "get", "client|list": what INFO, ACL and metrics call it, whatever its rename */
    const char *sub;  /* "list" of "client|list", NULL for a command */
    const struct command *subs;   /* nsubs rows; set at boot */
    const struct command *parent; /* the container, NULL for a command; set at boot */

    /* What only COMMAND INFO and COMMAND DOCS tell. */
    cmd_find_keys_fn *find_keys; /* NULL: the key specs do */
    uint8_t group;               /* enum command_group */
    bool syscmd;                 /* not for users */
    uint16_t nhistory;
    const char *summary, *since, *complexity;
    const char *deprecated_since, *replaced_by;
    const char *tips;   /* separated by single spaces */
    const char *syntax; /* the arguments, in the notation of cmd/syntax.h */
    const struct command_change *history;
};

struct command_rename {
    struct str from, to; /* an empty `to` removes the command */
};

/* Boot, once per process before other threads start (tests may call it again):
 * completes `rows` in place, builds the lookup. Borrows rows for ever, renames for
 * the call. Returns 0; ERR_NOTFOUND, ERR_EXISTS or ERR_RANGE for a bad rename,
 * whose index is then in *bad. A malformed row fails an assertion. */
int command_table_init(struct command *rows, size_t n, const struct command_rename *renames, size_t nrenames,
                       size_t *bad);

/* All rows, subcommands included; a row's index is its id. Renamed and removed
 * commands are still there. */
const struct command *command_rows(size_t *n);

/* How many commands a client can call by name, subcommands not counted. */
size_t command_count(void);
/* The commands that a client can call, in the table's order: the first at or
 * after row `from`, NULL at the end. for (c = command_next(0); c; c = command_next(c->id + 1)) */
const struct command *command_next(size_t from);

/* By the name that a client sends, in any case. NULL if there is none. Hot. */
const struct command *command_lookup(struct str name);
const struct command *command_lookup_sub(const struct command *container, struct str sub);
/* By "get" or "client|list". */
const struct command *command_lookup_full(struct str name);

/* The row that a request means: the command's, or the subcommand's where there are
 * subcommands and argc > 1. NULL: unknown; command_reply_unknown() says so. */
const struct command *command_resolve(const struct str *argv, uint32_t argc);
void command_reply_unknown(struct reply *r, const struct str *argv, uint32_t argc);

static inline bool command_arity_ok(const struct command *cmd, uint32_t argc)
{
    return cmd->arity >= 0 ? argc == (uint32_t)cmd->arity : argc >= (uint32_t)-cmd->arity;
}
void command_reply_arity(struct reply *r, const struct command *cmd);

struct keyref {
    uint32_t index; /* in argv */
    uint32_t flags; /* KEY_* */
};

/* The arguments of a request that are keys, in the order of the specs; arity has
 * been checked. Returns 0 with *n of them in `out`; ERR_FULL when there are more than
 * `max`, with *n the number needed; ERR_SYNTAX when the arguments contradict
 * themselves (a key count beyond argc): *n is 0, and the handler will refuse too. */
int command_keys(const struct command *cmd, const struct str *argv, uint32_t argc, struct keyref *out,
                 uint32_t max, uint32_t *n);
/* MIGRATE's: how many, and where the first one is. */
uint32_t migrate_keys(const struct str *argv, uint32_t argc, uint32_t *first);
/* Whether the command can have keys at all. */
bool command_has_keys(const struct command *cmd);

/* ACL category by name without '@' ("string"), 0 if there is none; and back:
 * category i's name, NULL beyond the last. */
uint64_t command_category(struct str name);
const char *command_category_name(unsigned i);

/* COMMAND INFO's and COMMAND DOCS's element for one row. info: NULL gives a null. */
void command_reply_info(struct reply *r, const struct command *cmd);
void command_reply_docs(struct reply *r, const struct command *cmd);
/* The flags of a key as GETKEYSANDFLAGS shows them. */
void command_reply_key_flags(struct reply *r, uint32_t flags);

#endif
