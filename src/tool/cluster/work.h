/* What the subcommands share: the options, the links to all nodes, waiting until they agree, moving slots. */
#ifndef LARDER_TOOL_CLUSTER_WORK_H
#define LARDER_TOOL_CLUSTER_WORK_H

#include "tool/cluster/map.h"
#include "tool/cluster/plan.h"

#include <signal.h>

enum work_limits {
    WORK_WORDS_MAX = 256, /* of a command line, without options */
    WORK_AGREE_MS = 60 * 1000,
    WORK_LOOK_MS = 100,
    WORK_BATCH = 100, /* keys in one MIGRATE */
    WORK_PIECE = 256, /* slots in one MIGRATESLOTS */
    WORK_WEIGHTS_MAX = 256,
    WORK_WEIGHT_MAX = 1000, /* of one node ... */
    WORK_WEIGHT_ONE = 1000, /* ... in thousandths */
};

struct work {
    /* The command line. */
    const char *words[WORK_WORDS_MAX];
    uint32_t nwords;
    uint32_t replicas;
    const char *replica_of;
    bool dry_run, yes;
    int64_t since; /* rolling-restart: nodes that were started then, or later, are done; 0 = now */
    const char *weights[WORK_WEIGHTS_MAX]; /* rebalance: "NODE=1.5" */
    uint32_t nweights;
    const char *command; /* rolling-restart: what restarts a node; NULL: SHUTDOWN, and its supervisor */
    struct link_secret secret;

    struct map map;                /* in the eyes of the node that was named */
    struct map other;              /* in those of another, while they are compared */
    char last[LINK_HOST_MAX + 16]; /* address of the last that did not agree */
    struct plan plan;
    struct plan half;                  /* slots that were half moved, and where they go */
    uint32_t open;                     /* how often a node shows one as half open */
    uint32_t weight[MAP_NODES_MAX];    /* by number in map, in thousandths */
    struct link *links[MAP_NODES_MAX]; /* by number in map; NULL: not open */
};

/* Print "larder cluster: ..." to stderr; returns 1, the exit code of a run that failed. */
int work_fail(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* A node has failed, and nobody has taken over its slots. Returns 1, too. */
int work_fail_of_slots(const struct map_node *n);

/* Read the map from words[i]. False after saying why. */
bool work_look(struct work *w, uint32_t i);
/* Of a node that is to join: no keys, no slots, no acquaintances. `m` is its own view. False after saying
 * what it has. */
bool work_is_empty(const struct map *m, struct link *l);
/* The link to a node, opened when first asked for. NULL after saying why. */
struct link *work_link(struct work *w, uint32_t node);
/* The next work_link() opens a new one. */
void work_unlink(struct work *w, uint32_t node);
void work_release(struct work *w);

/* Until every node that lives says the same about who owns what, knows `nodes` nodes, and waits for nobody.
 */
bool work_agree(struct work *w, uint32_t nodes);

/* Carry out a plan with a progress bar, `singly` one by one; SIGINT ends it between two slots, and running it
 * again goes on. Returns the exit code. */
int work_move(struct work *w, struct plan *p, bool singly);

/* open.c: what an earlier run has left half open. Found before anything is planned: from then on w->map is as
 * it will be when that has ended. False after saying why that is not known. Ended once the run has been
 * confirmed. */
bool work_find_open(struct work *w);
int work_end_open(struct work *w);

/* move_whole.c: between larder nodes. */
enum whole {
    WHOLE_DONE,
    WHOLE_LAST,      /* done, and SIGINT has come */
    WHOLE_CANCELLED, /* SIGINT has come, and nothing has moved */
    WHOLE_NOT,       /* they must move one by one; why has been said, if it is not plain */
    WHOLE_UNKNOWN,   /* nothing more may be done; why has been said */
};
/* How many of the plan's moves from number `at` on may go as one. */
uint32_t work_piece(const struct plan *p, uint32_t at);
enum whole work_move_whole(struct work *w, const struct plan_move *mv, uint32_t n,
                           const sigset_t *interrupts);
/* What an earlier run has begun and left alone ends first. False after saying why that is not known. */
bool work_await_moves(struct work *w);

/* Has SIGINT come? It is blocked, as `set` says, while something is under way that must not be cut. */
bool work_interrupted(const sigset_t *set);

/* The value of a line "name:value" of INFO, or "" and 0. */
struct str work_field(struct str text, const char *name);
int64_t work_number(struct str text, const char *name);

/* "Do it? (yes/no)"; --yes answers, --dry-run says no. */
bool work_confirmed(const struct work *w);

int cluster_create(struct work *w);
int cluster_status(struct work *w);
int cluster_add(struct work *w);
int cluster_remove(struct work *w);
int cluster_rebalance(struct work *w);
int cluster_rolling_restart(struct work *w);

#endif
