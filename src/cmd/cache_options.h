/* The options of cache commands: what was said, or an error that names the option and the fix. */
#ifndef LARDER_CMD_CACHE_OPTIONS_H
#define LARDER_CMD_CACHE_OPTIONS_H

#include "cmd/cmd.h"

/* Bits of what a command takes, and of what was given. */
enum cache_option {
    OPT_LEASE = 1 << 0,     /* ms */
    OPT_WAIT = 1 << 1,      /* ms */
    OPT_STALE = 1 << 2,     /* */
    OPT_EARLY = 1 << 3,     /* beta */
    OPT_MINVER = 1 << 4,    /* version */
    OPT_TOKEN = 1 << 5,     /* LEASE token */
    OPT_EX = 1 << 6,        /* s */
    OPT_PX = 1 << 7,        /* ms */
    OPT_GRACE = 1 << 8,     /* ms */
    OPT_VERSION = 1 << 9,   /* version */
    OPT_COST = 1 << 10,     /* ms */
    OPT_NEGATIVE = 1 << 11, /* */
    OPT_TAGS = 1 << 12,     /* n tag ... */
    OPT_SOFT = 1 << 13,     /* */
    OPT_HOLD = 1 << 14,     /* ms */
    OPT_RETRY = 1 << 15,    /* ms */
    OPT_COUNT = 1 << 16,    /* n */
    OPT_BIG = 1 << 17,      /* */
};

struct cache_options {
    uint32_t given;
    int64_t lease_ms, wait_ms, ttl_ms, grace_ms, cost_ms, hold_ms, retry_ms, count; /* 0: not given */
    uint64_t minver, version;
    double early;
    struct str token;
    const struct str *tags; /* in argv */
    uint32_t ntags;
};

/* Arguments from `from` on; `taken`: the options that the command has. False after replying. */
bool cache_parse_options(struct cmd_ctx *c, uint32_t from, uint32_t taken, struct cache_options *out);

/* The effect of what replicas that are larder are to know beside the next one (cache/note.h). */
void cache_send_note(struct cmd_ctx *c, const char *note, uint32_t n);

/* May argument 0 be a CACHE.SET that key k refuses, whatever else there is: is a later version held? For a
 * node that is about to send the client elsewhere. Shard locked. */
bool cache_set_is_old(struct cmd_ctx *c, const struct key *k);

/* Replies that `x` goes not with `y`, and what to do. Always false, like those below. */
bool cache_refuse(struct cmd_ctx *c, const char *text);
bool cache_refuse_twice(struct cmd_ctx *c, const char *option);
/* by: what takes the options of the list. */
bool cache_refuse_unknown(struct cmd_ctx *c, struct str arg, const char *by, const char *list);

#endif
