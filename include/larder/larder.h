/* liblarder: the C client of larder, Redis and Valkey, on one node, on a ring of independent nodes
 * and on a cluster, behind one handle.
 *
 *      larder *cache;
 *      struct larder_error err;
 *      if (larder_connect("10.0.0.1:6379,10.0.0.2:6379", &cache, &err) < 0) ...err.text...
 *      larder_set(cache, larder_text("k"), larder_text("v"), LARDER_TTL_DEFAULT, &err);
 *
 * - A handle may be used by any number of threads at once, except that closing it needs it alone.
 * - Calls return enum larder_status: 0 or more is an answer, less is an error. `err` may be NULL.
 * - No call lasts longer than `deadline_ms`. Within it, what timed out or was cut off is tried again
 *   if that cannot do harm: calls marked "idempotent" below, and all calls that were never sent.
 * - The library starts no signal handlers, prints nothing and never exits. It starts a short-lived
 *   thread only to resolve a host name, since the system's resolver cannot be given a deadline. */
#ifndef LARDER_LARDER_H
#define LARDER_LARDER_H

#include "larder/base.h"
#include "larder/ring.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct larder larder;
typedef struct larder_reply larder_reply;
typedef struct larder_pipeline larder_pipeline;

/* ---- options ---- */

enum larder_topology {
    LARDER_TOPOLOGY_AUTO = 0, /* ask the nodes: a cluster; else one address is one node, several are a ring */
    LARDER_TOPOLOGY_SINGLE = 1,
    LARDER_TOPOLOGY_RING = 2,
    LARDER_TOPOLOGY_CLUSTER = 3
};

enum larder_read_from {
    LARDER_READ_PRIMARY = 0, /* the primary; its replicas only if it fails and `failover` allows */
    LARDER_READ_REPLICA = 1, /* a replica, the primary if there is none that works */
    LARDER_READ_ANY = 2      /* any of them, at random */
};

/* An encrypted connection, or any other way to carry bytes (there is room for TLS here, and none in
 * the library yet). The descriptor is connected and non-blocking. Nothing here may raise SIGPIPE, which would
 * end the program when a node hangs up: send(..., MSG_NOSIGNAL). */
enum larder_io { LARDER_IO_READ = -1, LARDER_IO_WRITE = -2, LARDER_IO_FAILED = -3 };
struct larder_transport {
    void *arg;
    void *(*open)(void *arg, int fd, const char *host); /* a session, NULL on failure */
    int (*handshake)(void *session);                /* 0 when done, or enum larder_io: what it waits for */
    long (*read)(void *session, void *p, size_t n); /* bytes, 0 at the end, or enum larder_io */
    long (*write)(void *session, const void *p, size_t n);
    void (*close)(void *session); /* not the descriptor */
};

/* Start from larder_options_init(); texts are borrowed until larder_open() returns. */
struct larder_options {
    size_t size; /* of this struct as the program knows it */
    enum larder_topology topology;
    const char *user, *password; /* NULL: no AUTH */
    const char *client_name;     /* NULL: none */
    int database;                /* 0; others not in a cluster */
    int resp;                    /* 3 with fallback to 2 by default; 2 never asks for 3 */
    unsigned connect_timeout_ms; /* 1,000: resolve, connect, authenticate */
    unsigned command_timeout_ms; /* 1,000: one attempt */
    unsigned deadline_ms;        /* 3,000: the whole call with all its attempts */
    unsigned retries;            /* 3: at most so many attempts after the first */
    unsigned backoff_ms;         /* 20: the first wait is up to so long, doubling each time, at random */
    unsigned backoff_max_ms;     /* 500 */
    unsigned retry_percent;      /* 20: over time, retries are at most this share of calls */
    int retry_unsafe;            /* 0: do not repeat what may count twice (INCR) */
    unsigned connections;        /* 50 a node, at most */
    unsigned keepalive_s;        /* 60; 0 = off */
    int64_t ttl_ms;              /* 3,600,000: LARDER_TTL_DEFAULT means this */
    unsigned breaker_failures;   /* 5 in a row open a node's circuit breaker; 0 = never */
    unsigned breaker_ms;         /* 1,000: then one attempt a so long, doubling up to 32 times */
    int failover;                /* 1: others stand in for a node that fails (ring: next; cluster: replica) */
    int64_t standin_ttl_ms;      /* 10,000: life of what is written to a stand-in of a ring */
    enum larder_read_from read_from;          /* cluster only */
    enum larder_placement placement;          /* ring only */
    unsigned ring_points;                     /* ring only, 150 */
    size_t reply_max;                         /* 512 MB: a longer string in a reply is a protocol error */
    const struct larder_transport *transport; /* NULL: plain TCP. Outlives the handle */
};

LARDER_API void larder_options_init(struct larder_options *options); /* the defaults */

/* ---- the handle ---- */

/* Addresses: "host:port,host:port", "host" (port 6379), "[v6]:port". In a cluster they are seeds.
 * `out` is returned owned. With LARDER_TOPOLOGY_AUTO a node must answer; the other topologies are
 * taken at their word, and nodes are met when they are needed. */
LARDER_API int larder_connect(const char *addresses, larder **out, struct larder_error *err);
LARDER_API int larder_open(const char *addresses, const struct larder_options *options, larder **out,
                           struct larder_error *err);
/* No call may be under way, and the handle's loops are freed. NULL is fine. */
LARDER_API void larder_close(larder *l);
LARDER_API enum larder_topology larder_topology_of(const larder *l);

/* Ring only, at run time. Keys of a new node are misses there until they are written again. */
LARDER_API int larder_node_add(larder *l, const char *address, unsigned weight, struct larder_error *err);
LARDER_API int larder_node_remove(larder *l, const char *address, struct larder_error *err);
/* The address of the node that the key belongs to, healthy or not. */
LARDER_API int larder_node_of(larder *l, struct larder_bytes key, char *out, size_t size,
                              struct larder_error *err);

/* What has happened since the handle was opened. */
struct larder_stats {
    uint64_t calls, retries, retries_denied; /* denied: the budget was spent */
    uint64_t connects, failures;             /* attempts to connect; attempts of any kind that failed */
    uint64_t redirects, refreshes;           /* MOVED and ASK followed; slot maps read */
    uint64_t standins;                       /* commands served by a stand-in or a replica after a failure */
};
LARDER_API void larder_stats_read(larder *l, struct larder_stats *out);

/* ---- one key ---- */

enum { LARDER_TTL_DEFAULT = 0, LARDER_TTL_NONE = -1 };

/* Returned owned: larder_value_free(). p is never NULL after LARDER_OK and has a NUL behind it. */
struct larder_value {
    char *p;
    size_t n;
};
LARDER_API void larder_value_free(struct larder_value *v); /* empties it; may be called twice */

/* LARDER_OK, or LARDER_MISS with *out empty. Idempotent. */
LARDER_API int larder_get(larder *l, struct larder_bytes key, struct larder_value *out,
                          struct larder_error *err);
/* ttl_ms: milliseconds, LARDER_TTL_DEFAULT or LARDER_TTL_NONE. Idempotent. */
LARDER_API int larder_set(larder *l, struct larder_bytes key, struct larder_bytes value, int64_t ttl_ms,
                          struct larder_error *err);
/* LARDER_OK when there was one, LARDER_MISS when not; repeated after a timeout it may say LARDER_MISS
 * although this call deleted. Idempotent. */
LARDER_API int larder_delete(larder *l, struct larder_bytes key, struct larder_error *err);
/* LARDER_OK or LARDER_MISS. Idempotent. */
LARDER_API int larder_exists(larder *l, struct larder_bytes key, struct larder_error *err);
/* A new TTL in ms, LARDER_TTL_DEFAULT, or LARDER_TTL_NONE to keep the key for ever. LARDER_MISS when
 * there is no such key (and, with LARDER_TTL_NONE, when it had none). Idempotent. */
LARDER_API int larder_expire(larder *l, struct larder_bytes key, int64_t ttl_ms, struct larder_error *err);
/* Adds `by`, *out is the sum. Not repeated unless `retry_unsafe`. */
LARDER_API int larder_incr(larder *l, struct larder_bytes key, int64_t by, int64_t *out,
                           struct larder_error *err);

/* ---- many keys ---- */

/* One key of many and what became of it. */
struct larder_item {
    struct larder_bytes key;   /* in */
    struct larder_bytes value; /* in, larder_mset() only */
    struct larder_value found; /* out, larder_mget() only: owned, larder_items_release() */
    int status;                /* out: LARDER_OK, LARDER_MISS or an error */
};

/* Grouped by node, sent to all nodes at once. Each key has its own status, and one that fails leaves
 * the others alone. Return LARDER_OK when every key was answered (misses included), else the first
 * error, with err. All three are idempotent. To larder_mget() a key that holds no string is a miss, as to
 * MGET, by which it asks where it may. */
LARDER_API int larder_mget(larder *l, struct larder_item *items, size_t n, struct larder_error *err);
LARDER_API int larder_mset(larder *l, struct larder_item *items, size_t n, int64_t ttl_ms,
                           struct larder_error *err);
LARDER_API int larder_mdel(larder *l, struct larder_item *items, size_t n, struct larder_error *err);
LARDER_API void larder_items_release(struct larder_item *items, size_t n);

/* ---- any command ---- */

enum larder_command_flags {
    LARDER_COMMAND_IDEMPOTENT = 1, /* may be repeated */
    LARDER_COMMAND_READ = 2,       /* changes nothing: may go to a replica, and be repeated */
    LARDER_COMMAND_NO_KEY = 4,     /* goes to any node */
    LARDER_COMMAND_KEY_AT = 8,     /* key_index below counts */
    LARDER_COMMAND_NODE = 16       /* goes to `node` below */
};

/* How to treat a command that the library does not know, or differently from what it knows. The
 * usual commands need none: their key and whether they may be repeated is known; of an unknown one
 * the first argument is taken for the key, and it is not repeated. */
struct larder_call {
    unsigned flags;
    unsigned key_index;  /* argv[key_index] decides the node */
    const char *node;    /* "host:port" of a node of this handle */
    unsigned timeout_ms; /* instead of command_timeout_ms and deadline_ms: for commands that wait */
};

/* Runs argv on its key's node. LARDER_OK with *reply returned owned, also when the reply is a null;
 * an error reply is LARDER_ERR_SERVER with the server's text in err, and no reply. */
LARDER_API int larder_command(larder *l, int argc, const struct larder_bytes *argv,
                              const struct larder_call *call, larder_reply **reply, struct larder_error *err);
/* The same for texts: larder_command_text(l, &reply, &err, "HGET", "k", "f", (char *)NULL). */
LARDER_API int larder_command_text(larder *l, larder_reply **reply, struct larder_error *err, ...);

enum larder_kind {
    LARDER_NULL = 0,
    LARDER_STATUS,
    LARDER_STRING, /* bulk and verbatim strings, big numbers */
    LARDER_INTEGER,
    LARDER_DOUBLE,
    LARDER_BOOLEAN,
    LARDER_ARRAY, /* sets and pushes too */
    LARDER_MAP,   /* 2k children: key, value, ... */
    LARDER_ERROR  /* within an array: EXEC */
};
/* Replies are read through these; NULL is read as LARDER_NULL. Children live as long as the whole. */
LARDER_API enum larder_kind larder_reply_kind(const larder_reply *r);
LARDER_API struct larder_bytes larder_reply_text(const larder_reply *r); /* empty for what has none */
LARDER_API int64_t larder_reply_integer(const larder_reply *r);          /* INTEGER, BOOLEAN, else 0 */
LARDER_API double larder_reply_double(const larder_reply *r);            /* DOUBLE, INTEGER, else 0 */
LARDER_API size_t larder_reply_count(const larder_reply *r);
LARDER_API const larder_reply *larder_reply_child(const larder_reply *r, size_t i); /* NULL beyond the end */
LARDER_API void larder_reply_free(larder_reply *r);                                 /* roots only */

/* ---- pipelines ---- */

/* Commands that are sent together. Those for one node keep their order, unless one is redirected or
 * repeated. One thread at a time. */
LARDER_API larder_pipeline *larder_pipeline_new(larder *l); /* returned owned; NULL without memory */
LARDER_API void larder_pipeline_free(larder_pipeline *p);
/* Copies argv. */
LARDER_API int larder_pipeline_add(larder_pipeline *p, int argc, const struct larder_bytes *argv,
                                   const struct larder_call *call, struct larder_error *err);
/* Runs what was added. Returns LARDER_OK when every command was answered without an error, else the
 * first error, with err. Results stay until the next add, run or free. */
LARDER_API int larder_pipeline_run(larder_pipeline *p, struct larder_error *err);
LARDER_API size_t larder_pipeline_count(const larder_pipeline *p);
/* Status, reply (borrowed) and message of the i-th command. */
LARDER_API int larder_pipeline_result(const larder_pipeline *p, size_t i, const larder_reply **reply,
                                      struct larder_error *err);

/* ---- all keys ---- */

/* Calls `each` for every key that matches (NULL: all), node after node, primaries only. A key that
 * is there from beginning to end is seen at least once, perhaps more often. Stops early when `each`
 * returns non-zero, which is then returned; else LARDER_OK or an error. Each step has a deadline of
 * its own. `each` may call the library. */
LARDER_API int larder_scan(larder *l, const char *pattern, int (*each)(void *arg, struct larder_bytes key),
                           void *arg, struct larder_error *err);

#ifdef __cplusplus
}
#endif

#endif
