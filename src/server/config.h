/* The configuration: one table of options, one struct of plain fields.
 *
 *      options.def ──┬── the fields of struct config
 *                    ├── defaults, bounds, parsing, CONFIG GET's text
 *                    └── --help and docs/configuration.md
 *
 *      redis.conf ─┐
 *      stdin "-"  ─┼─► config_load_*() ─► struct config ─► config_get(), config_rewrite()
 *      --option v ─┘                          ▲
 *                       CONFIG SET ─► config_set() ─► hooks (listen, memory, log ...)
 *
 * Every option name of Redis 7.2 is a row. A row is implemented; or accepted, which
 * warns once when the value asks for something that does not happen here; or
 * refused, which stops the start (or fails CONFIG SET) with its reason when the
 * value is not the default. Any other name is an error with a suggestion.
 *
 * Threads: the fields are read by every thread in its rounds, without locks. They
 * are written at boot, before the workers exist, and later under the gate only:
 * config_set(), config_rewrite() and config_take_warnings() are the raiser's to call.
 * A string field may be freed by the next config_set(): do not keep the pointer
 * beyond a round.
 *
 * Rejected: CONFIG SET in a copy of the struct that is then swapped in. Every reader
 * would pay an indirection for what the gate gives for free. */
#ifndef LARDER_SERVER_CONFIG_H
#define LARDER_SERVER_CONFIG_H

#include "base/annotate.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_limits {
    CONFIG_BIND_MAX = 16,          /* addresses of `bind` */
    CONFIG_BUDGETS_MAX = 32,       /* prefixes of `cache-origin-budget` ... */
    CONFIG_PREFIX_MAX = 64,        /* ... and bytes of each */
    CONFIG_SAVE_MAX = 32,          /* points of `save` */
    CONFIG_PERCENTILES_MAX = 32,   /* latency-tracking-info-percentiles */
    CONFIG_INCLUDE_DEPTH_MAX = 16, /* files that include files */
    CONFIG_FILE_MAX = 16 << 20,    /* bytes of one file */
    CONFIG_LINE_ARGS_MAX = 1024,   /* words of one line */
    CONFIG_RENAMES_MAX = 1024,     /* rename-command lines */
    CONFIG_ERROR_MAX = 2048,
};

/* ---- values ---------------------------------------------------------------------- */

enum config_policy { /* maxmemory-policy */
                     POLICY_VOLATILE_LRU,
                     POLICY_VOLATILE_LFU,
                     POLICY_VOLATILE_RANDOM,
                     POLICY_VOLATILE_TTL,
                     POLICY_ALLKEYS_LRU,
                     POLICY_ALLKEYS_LFU,
                     POLICY_ALLKEYS_RANDOM,
                     POLICY_NOEVICTION,
                     POLICY_ALLKEYS_AUTO,
                     POLICY_VOLATILE_AUTO,
};

enum config_supervised { SUPERVISED_UPSTART, SUPERVISED_SYSTEMD, SUPERVISED_AUTO, SUPERVISED_NO };

/* Who may use a guarded command: enable-debug-command and its like. */
enum config_guard { GUARD_NO, GUARD_YES, GUARD_LOCAL };

/* shutdown-on-sigint, shutdown-on-sigterm: 0 = default, else a set of these. */
enum config_shutdown { SHUTDOWN_SAVE = 1, SHUTDOWN_NOSAVE = 2, SHUTDOWN_NOW = 4, SHUTDOWN_FORCE = 8 };

/* notify-keyspace-events, in the order in which Redis prints them. */
enum config_events {
    EVENTS_GENERIC = 1 << 0,
    EVENTS_STRING = 1 << 1,
    EVENTS_LIST = 1 << 2,
    EVENTS_SET = 1 << 3,
    EVENTS_HASH = 1 << 4,
    EVENTS_ZSET = 1 << 5,
    EVENTS_EXPIRED = 1 << 6,
    EVENTS_EVICTED = 1 << 7,
    EVENTS_STREAM = 1 << 8,
    EVENTS_MODULE = 1 << 9,
    EVENTS_NEW = 1 << 10,
    EVENTS_KEYSPACE = 1 << 11,
    EVENTS_KEYEVENT = 1 << 12,
    EVENTS_MISS = 1 << 13,
    EVENTS_ALL = (1 << 10) - 1, /* A: every class but n and m */
};

/* Addresses as written: "127.0.0.1", "-::1" (may be missing), "*". */
struct config_words {
    char *v[CONFIG_BIND_MAX];
    uint32_t n;
};

/* A password: any bytes, zero among them. Owned; p is never NULL. */
struct config_secret {
    char *p;
    size_t n;
};

/* A snapshot after `seconds` if at least `changes` keys changed. */
struct config_save {
    struct {
        int64_t seconds, changes;
    } v[CONFIG_SAVE_MAX];
    uint32_t n;
};

/* At most `leases` outstanding for keys with the prefix. */
struct config_budgets {
    struct {
        char prefix[CONFIG_PREFIX_MAX + 1];
        int64_t leases;
    } v[CONFIG_BUDGETS_MAX];
    uint32_t n;
};

struct config_percentiles {
    double v[CONFIG_PERCENTILES_MAX]; /* 0 to 100 */
    uint32_t n;
};

enum config_class { CONFIG_CLASS_NORMAL, CONFIG_CLASS_REPLICA, CONFIG_CLASS_PUBSUB, CONFIG_CLASSES };

/* client-output-buffer-limit: 0 = no limit. */
struct config_output {
    struct {
        uint64_t hard, soft;  /* bytes */
        int64_t soft_seconds; /* how long soft may be exceeded */
    } of[CONFIG_CLASSES];
};

struct config_oom_values {
    int v[3]; /* primary, replica, background child */
};

/* ---- the struct ------------------------------------------------------------------ */

#define CONFIG_C_BOOL bool
#define CONFIG_C_INT int64_t
#define CONFIG_C_BYTES uint64_t
#define CONFIG_C_PERCENT_BYTES int64_t /* negative: percent of maxmemory */
#define CONFIG_C_OCTAL int64_t
#define CONFIG_C_ENUM int
#define CONFIG_C_FLAGS int
#define CONFIG_C_EVENTS int
#define CONFIG_C_STRING char * /* never NULL */
#define CONFIG_C_SECRET struct config_secret
#define CONFIG_C_PRIMARY char * /* "host port" or "" */
#define CONFIG_C_WORDS struct config_words
#define CONFIG_C_SAVE struct config_save
#define CONFIG_C_BUDGETS struct config_budgets
#define CONFIG_C_PERCENTILES struct config_percentiles
#define CONFIG_C_OUTPUT struct config_output
#define CONFIG_C_OOM_VALUES struct config_oom_values

/* One field per row of options.def, named like its option with '_' for '-'. */
struct config {
#define SECTION(title)
#define OPTION(type, field, ...) CONFIG_C_##type field;
#include "server/options.def"
#undef OPTION
#undef SECTION
    struct config_own *own; /* config_internal.h: file, renames, hooks, warnings */
};

/* Borrowed, as a string field: not beyond a round. */
static inline struct str config_secret_str(const struct config_secret *s)
{
    return (struct str){s->p, s->n};
}

/* Why something failed, as text for a person or a client. */
struct config_error {
    char text[CONFIG_ERROR_MAX];
};

/* Every option at its default. Returns 0 or ERR_OOM (release is then allowed). */
int config_init(struct config *cfg);
void config_release(struct config *cfg);

/* ---- reading files and arguments (boot only) --------------------------------------- */

/* The loaders return 0 or a negative error. After an error e->text is the whole
 * message for stderr (but the last newline), in Redis's shape:
 *
 *      *** FATAL CONFIG FILE ERROR (larder 0.1.0) ***
 *      Reading the configuration file /etc/larder.conf, at line 3
 *      >>> 'maxmemry 1gb'
 *      Bad directive or wrong number of arguments: did you mean 'maxmemory'?
 *
 * and the configuration is half-loaded: release it and exit with status 1. */

/* "-" reads standard input. A file that is not "-" becomes config_path(). */
int config_load_file(struct config *cfg, const char *path, struct config_error *e);

/* Text as of a file. `where` stands in messages after "Reading", e.g. "the configuration
 * file x.conf". disk false: `include` is refused. */
int config_load_text(struct config *cfg, struct str text, const char *where, bool disk,
                     struct config_error *e);

/* argv without the program's name: [file] [-] [--option value ...] [-]. File, then
 * stdin, then options; the last value wins. */
int config_apply_args(struct config *cfg, int argc, char *const *argv, struct config_error *e);

/* chdir() to cfg->dir and make it absolute. ERR_IO with errno. */
int config_enter_dir(struct config *cfg);

/* The absolute path of the file it was started with, or NULL. */
const char *config_path(const struct config *cfg);

/* rename-command: i from 0; false beyond the last. An empty `to` removes the command. */
struct config_rename {
    char *from, *to;
    char *where; /* "/etc/larder.conf, at line 12" */
};
bool config_rename_at(const struct config *cfg, uint32_t i, struct config_rename *out);

/* What an operator should know, a line each, to be logged: directives that were ignored,
 * and accepted options whose value asks for something, each once. Appends to `out`. */
int config_take_warnings(struct config *cfg, struct buf *out);

/* ---- CONFIG GET, SET, REWRITE ------------------------------------------------------- */

/* What a change touches. A hook makes the running server follow; config_set() calls
 * each touched group's hook once, after every new value is in its field. On failure
 * the hook leaves the server as it was, may write its reason to e->text, and returns
 * negative; config_set() then puts the old values back and calls the hooks that had
 * succeeded once more. A group without a hook needs none: its fields are read where
 * they act. */
enum config_group {
    CONFIG_NONE,
    CONFIG_LISTEN,   /* port, bind */
    CONFIG_LOG,      /* loglevel */
    CONFIG_MEMORY,   /* maxmemory, maxmemory-policy, maxmemory-clients */
    CONFIG_CLIENTS,  /* maxclients */
    CONFIG_PASSWORD, /* requirepass */
    CONFIG_CACHE,    /* cache-* */
    CONFIG_LIMITS,   /* proto-max-bulk-len, buffer limits, timeout, tcp-keepalive */
    CONFIG_SLOWLOG,
    CONFIG_LATENCY,
    CONFIG_TIMERS, /* hz, active-expire-effort */
    CONFIG_TITLE,
    CONFIG_DIR,
    CONFIG_CRASH,
    CONFIG_CLUSTER,
    CONFIG_REPLICAS, /* min-replicas-* */
    CONFIG_SOURCE,   /* bind-source-addr */
    CONFIG_SLOT_STATS,
    CONFIG_GROUPS,
};
typedef int config_hook_fn(void *ctx, struct config *cfg, struct config_error *e);
void config_hook(struct config *cfg, enum config_group group, config_hook_fn *fn, void *ctx);

struct config_pair {
    struct str name, value;
};

/* CONFIG SET: all pairs or none. `trusted`: protected options may be set
 * (enable-protected-configs). On error e->text is Redis's reply without the '-'.
 * Gate held. */
int config_set(struct config *cfg, const struct config_pair *pairs, size_t n, bool trusted,
               struct config_error *e);

/* REPLICAOF: what CONFIG GET and CONFIG REWRITE say from now on. host empty: a primary. Gate held. ERR_OOM.
 */
int config_set_primary(struct config *cfg, struct str host, int port);

/* CONFIG GET: each option that a pattern matches, once, aliases under their own name.
 * Names without glob characters are echoed as given. Returns 0 or ERR_OOM. */
typedef void config_emit_fn(void *ctx, struct str name, struct str value);
int config_get(const struct config *cfg, const struct str *patterns, size_t n, config_emit_fn *emit,
               void *ctx);

/* CONFIG REWRITE: the file, changed as little as makes it load to the present values:
 * comments and order stay, what it did not mention follows at the end. Written beside
 * it, synced, renamed. On error e->text is Redis's reply without the '-'. */
int config_rewrite(struct config *cfg, struct config_error *e);
/* The text of it, from the file's old text. disk as in config_load_text(). */
int config_rewrite_text(const struct config *cfg, struct str old, bool disk, struct buf *out,
                        struct config_error *e);

/* True for options whose value must not reach logs, MONITOR or SLOWLOG. */
bool config_is_sensitive(struct str name);

/* ---- texts from the table ------------------------------------------------------------ */

int config_version_text(struct buf *out); /* --version */
int config_help_text(struct buf *out);    /* --help */
int config_docs_text(struct buf *out);    /* docs/configuration.md */

#endif
