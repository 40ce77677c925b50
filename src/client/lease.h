/* Values with a lease on the key's node: by the cache commands where the node has them, by scripts and
 * envelopes (larder/cache.h) on plain Redis. Which of both is tried once and remembered with the node.
 *
 * All functions may be called by any thread, block until the handle's deadline at most, and return
 * LARDER_OK or an error with err. */
#ifndef LARDER_CLIENT_LEASE_H
#define LARDER_CLIENT_LEASE_H

#include "client/handle.h"
#include "larder/cache.h"

enum lease_limits {
    LEASE_TOKEN_MAX = 128,
    LEASE_MS_MAX = 86400000, /* a day: what the server takes for leases, waits and holds */
};

enum lease_state { LEASE_FRESH, LEASE_STALE, LEASE_NEGATIVE, LEASE_MISS };

/* Zeroed before use, released after. */
struct lease_answer {
    enum lease_state state;
    struct larder_value value;   /* owned; with LEASE_FRESH and LEASE_STALE */
    uint64_t version;            /* 0 = none */
    bool early;                  /* fresh, but now would be the time to load */
    bool refused;                /* the lease was asked for, and somebody else has it */
    char token[LEASE_TOKEN_MAX]; /* empty: no lease was granted */
    int64_t retry_ms;            /* without a lease: when to ask again; negative: not said */
    bool by_script;              /* the token is one of the scripts' */
    int64_t ttl_ms;              /* of a value by the cache commands; -1: none */
    /* Owned: the tags of what is there, of which one was invalidated. It must not be used. */
    struct larder_value overtaken;
};
void lease_answer_release(struct lease_answer *a);

struct lease_ask {
    int64_t lock_ms, wait_ms;
    double beta;
    uint64_t min_version;
    bool early;                      /* lease_take(): although it is fresh */
    bool stand_in;                   /* the next node of a ring may answer for one that fails */
    const struct larder_bytes *tags; /* that the value probably has: they are looked up with it */
    size_t ntags;
    struct str overtaken; /* lease_take(): although it is fresh, if it has exactly these tags */
};

/* What is there. May grant the lease at once where that costs nothing (cache commands). */
int lease_look(larder *l, struct str key, const struct lease_ask *ask, struct lease_answer *out,
               struct larder_error *err);
/* The lease, unless somebody has it or the value is fresh by now. May wait for wait_ms. */
int lease_take(larder *l, struct str key, const struct lease_ask *ask, struct lease_answer *out,
               struct larder_error *err);

struct lease_value {
    struct str bytes;
    const char *token;                 /* "": without a lease */
    int64_t ttl_ms, grace_ms, cost_ms; /* ttl_ms: LARDER_TTL_NONE too; cost_ms -1: not known */
    uint64_t version;                  /* 0 = none */
    bool negative;
    const struct larder_bytes *tags;
    size_t ntags;
    struct str tag_block; /* scripts: the tags as of before the load, by tags_begin() */
    bool stand_in;        /* as above; lives there for standin_ttl_ms at most, and not beyond it by grace */
};

enum lease_fill { LEASE_STORED, LEASE_LOST, LEASE_OLD };

int lease_fill(larder *l, struct str key, const struct lease_value *v, enum lease_fill *out,
               struct larder_error *err);
/* The load failed: nobody gets the lease for retry_ms. */
int lease_fail(larder *l, struct str key, const char *token, int64_t retry_ms, bool stand_in,
               struct larder_error *err);

/* After the load: was none of the value's tags invalidated meanwhile? When in doubt, no. */
bool lease_is_current(larder *l, struct str key, const struct lease_value *v);

struct lease_invalidation {
    bool soft, has_version;
    uint64_t version;
    int64_t hold_ms;
};
/* LARDER_OK, or LARDER_MISS when there was nothing. */
int lease_invalidate(larder *l, struct str key, const struct lease_invalidation *i, struct larder_error *err);

/* Does the key's node have the cache commands? 1, 0, or an error. */
int lease_has_commands(larder *l, struct str key, struct larder_error *err);

/* ---- between lease.c and its two halves ---- */

/* A command of the key argv[at], which its primary answers, and may be told twice. */
struct lease_command {
    const struct str *argv;
    uint32_t argc;
    int32_t at;
    int64_t wait_ms; /* the node may take so long */
    bool stand_in;
    const struct str *standin_argv; /* then NULL, or how a stand-in is told */
    uint32_t standin_argc;
};
/* The reply is returned owned. */
int lease_run(larder *l, const struct lease_command *c, larder_reply **reply, struct larder_error *err);
struct str lease_number(char *text, int64_t v); /* text: NUM_I64_TEXT_MAX bytes */
/* Named is the node that the key belongs to. */
int lease_odd_reply(larder *l, struct str key, const char *what, struct larder_error *err);
int lease_copy_value(struct larder_value *out, struct larder_bytes from, struct larder_error *err);

int lease_larder_get(larder *l, struct str key, const struct lease_ask *ask, struct lease_answer *out,
                     struct larder_error *err);
int lease_larder_fill(larder *l, struct str key, const struct lease_value *v, enum lease_fill *out,
                      struct larder_error *err);
int lease_larder_fail(larder *l, struct str key, const char *token, int64_t retry_ms, bool stand_in,
                      struct larder_error *err);
int lease_larder_invalidate(larder *l, struct str key, const struct lease_invalidation *i,
                            struct larder_error *err);

int lease_redis_look(larder *l, struct str key, const struct lease_ask *ask, struct lease_answer *out,
                     struct larder_error *err);
int lease_redis_take(larder *l, struct str key, const struct lease_ask *ask, struct lease_answer *out,
                     struct larder_error *err);
int lease_redis_fill(larder *l, struct str key, const struct lease_value *v, enum lease_fill *out,
                     struct larder_error *err);
int lease_redis_fail(larder *l, struct str key, const char *token, int64_t retry_ms, bool stand_in,
                     struct larder_error *err);
int lease_redis_invalidate(larder *l, struct str key, const struct lease_invalidation *i,
                           struct larder_error *err);

#endif
