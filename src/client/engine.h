/* Commands on their way: routed, sent, answered, tried again, given up in time. The same machine
 * drives a synchronous call (engine_run() waits) and an event loop (engine_turn() never does).
 *
 * An engine has at most one connection to each node and shares nothing but the topo with other
 * engines. A handle keeps a pool of them, so that N of them are N connections a node: a synchronous
 * call borrows one, sends to all nodes at once, and gives it back. One owner thread at a time. */
#ifndef LARDER_CLIENT_ENGINE_H
#define LARDER_CLIENT_ENGINE_H

#include "base/arena.h"
#include "client/conn.h"
#include "client/topo.h"

enum engine_limits {
    ENGINE_REDIRECTS_MAX = 5,  /* MOVED and ASK that a command follows */
    ENGINE_LIVE_MAX = 1 << 20, /* commands under way */
    ENGINE_MERGE_MAX = 64,     /* keys of an MGET: no server is to be busy with it for long */
};

enum cmd_flags {
    CMD_IDEMPOTENT = 1, /* may be repeated though it may have been executed */
    CMD_READ = 2,       /* and a replica may answer */
    CMD_STANDIN = 4,    /* the next node of the ring may answer */
    CMD_INTERNAL = 8,   /* the library's own: not counted, and not what a caller waits for */
    CMD_MERGES = 16,    /* GET key: may travel with others in one MGET, which says nothing of wrong types */
};

enum cmd_state { CMD_IDLE, CMD_DELAYED, CMD_SENT };

struct cmd;

/* What became of it. value is set when the node answered, also with an error (LARDER_ERR_SERVER);
 * both pointers are borrowed for the call. */
struct cmd_result {
    int status;
    const struct reader_value *value;
    const struct larder_error *err; /* NULL when status is LARDER_OK */
    uint32_t node;                  /* that answered */
};

typedef void (*cmd_done)(struct cmd *cmd, const struct cmd_result *r);

/* Zeroed, then filled by whoever submits it; his memory, and argv's, until done() is called. */
struct cmd {
    const struct str *argv;
    uint32_t argc;
    const struct str *standin_argv; /* NULL, or what a stand-in gets instead; the key at the same place */
    uint32_t standin_argc;
    int32_t key;                    /* argv[key] decides the node; negative: any node */
    const struct ring_place *place; /* the key's, or NULL: it is computed */
    int32_t node;                   /* this node, whatever the key; negative: by key */
    unsigned flags;                 /* enum cmd_flags */
    int64_t ttl_ms;                 /* above 0: "PX ttl" goes behind argv */
    int64_t timeout_ns;             /* of one attempt; 0 = the handle's */
    int64_t deadline_ns;            /* when to give up; 0 = by the handle's deadline */
    cmd_done done;
    void *arg;
    /* The engine's from here on. */
    enum cmd_state state;
    struct conn *conn;          /* CMD_SENT */
    struct cmd *next;           /* in the connection's queue, or among the delayed */
    struct cmd *later, *sooner; /* all live ones, by deadline */
    int64_t attempt_ns, due_ns;
    uint64_t wire_at; /* where its bytes begin in what the connection encodes */
    uint16_t slot;
    uint8_t skip;    /* replies before its own: ASKING's */
    uint16_t merged; /* above 1: the reply is for it and as many in all that follow it */
    uint8_t attempts, redirects, ntried;
    bool asking;
    int32_t hop; /* a redirection's node, for one attempt; negative: none */
    uint32_t tried[TOPO_TRIED_MAX];
};

struct engine {
    struct topo *topo;
    bool waits;          /* engine_run() drives it, else an event loop */
    struct conn **conns; /* by 2 * node + readonly; NULL = never needed */
    uint32_t nconns;
    struct conn *active;          /* with something under way */
    struct cmd *delayed;          /* by due_ns */
    struct cmd *delayed_last;     /* of these, if there is any */
    struct cmd *soonest, *latest; /* all live ones, by deadline_ns */
    uint32_t live;
    struct arena scratch;   /* replies being read */
    struct arena calls;     /* for whoever has borrowed it: empty when he gives it back */
    int epoll_fd, timer_fd; /* -1 when it waits */
    bool woken;             /* the timer has been set to ring at once */
    struct engine *next;    /* in the pool */
    struct cmd refresh;     /* the reading of the slot map, when this engine does it */
    bool refreshing, refresh_shards;
    struct str refresh_argv[2];
};

/* For an event loop: `waits` false makes the descriptors. 0 or LARDER_ERR_MEMORY. */
int engine_init(struct engine *e, struct topo *t, bool waits) MUST_CHECK;
/* What is live is told LARDER_ERR_CANCELED. */
void engine_release(struct engine *e);

/* done() is called sooner or later, never from in here. */
void engine_submit(struct engine *e, struct cmd *cmd, int64_t now_ns);
/* Until nothing is live. */
void engine_run(struct engine *e);
/* What can be done now; sets the timer for what must be done later. */
void engine_turn(struct engine *e);
/* Make the descriptor readable: something was submitted. */
void engine_wake(struct engine *e);

/* ---- between engine.c and its parts ---- */

void engine_finish(struct engine *e, struct cmd *cmd, const struct cmd_result *r);
void engine_fail(struct engine *e, struct cmd *cmd, const struct larder_error *err);
/* Route it again at due_ns. */
void engine_delay(struct engine *e, struct cmd *cmd, int64_t due_ns);
/* Something may have come for c. */
void engine_step(struct engine *e, struct conn *c, int64_t now_ns);
/* Everything that needs no waiting, and off the active list whatever has nothing under way. */
void engine_settle(struct engine *e, int64_t now_ns);
/* When something must happen although nothing arrives. */
int64_t engine_next_event(const struct engine *e);
/* c is lost, and c->why says how. What waited on it is tried again or fails. */
void engine_conn_lost(struct engine *e, struct conn *c, int64_t now_ns);
/* A conn_reply, for receiving outside of engine_step(). */
struct engine_delivery {
    struct engine *engine;
    int64_t now_ns;
};
int engine_deliver(void *delivery, struct conn *c, const struct reader_value *v);
/* engine_retry.c: an attempt failed; try again or give up. `sent`: it may have been executed. */
void engine_attempt_failed(struct engine *e, struct cmd *cmd, const struct larder_error *err, bool sent,
                           int64_t now_ns);
/* engine_retry.c: a reply; finish, follow or try again. */
void engine_reply(struct engine *e, struct cmd *cmd, struct conn *c, const struct reader_value *v,
                  int64_t now_ns);
/* engine_refresh.c: read the slot map if that is due. */
void engine_refresh(struct engine *e, int64_t now_ns);
/* engine_encode.c: append its request to the connection. 0 or ERR_OOM. */
int engine_encode(struct conn *c, const struct cmd *cmd, const struct topo_route *route,
                  const struct settings *set);
/* engine_merge.c: may it be held back, to be merged with what follows? */
bool engine_may_merge(const struct engine *e, const struct cmd *cmd, const struct topo_route *route);
/* Instead of encoding it; then it is queued at once. */
void engine_hold(struct conn *c, struct cmd *cmd);
/* Before anything else is encoded or sent. 0 or an error with c->why, which ends the connection. */
int engine_encode_held(struct conn *c) MUST_CHECK;
/* Of a reply to n commands, the part that is for number i; NULL: it is no such reply. */
const struct reader_value *engine_part(const struct reader_value *v, unsigned n, unsigned i);

#endif
