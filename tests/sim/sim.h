/* A cluster in one process: virtual time, a network that does its worst, disks that lose what was not
 * fsynced, and a model of the data. One seed is one history; the same seed gives the same one. */
#ifndef LARDER_TESTS_SIM_H
#define LARDER_TESTS_SIM_H

#include "base/rng.h"
#include "cluster/machine.h"

enum sim_limits {
    SIM_NODES = 15,
    SIM_CONNS = 1024,
    SIM_SEGMENTS = 64,
    SIM_EPOCHS = 4096,
    SIM_TEXT = 256,
    SIM_GROUPS = 64, /* of slots; 64 bits of a word */
    SIM_MOVES = 64,  /* at once, and those whose letters may still be on their way */
};

/* What a node holds: runs of writes, each by one primary in one reign. The first k writes of two nodes are
 * the same if their runs are. */
struct sim_data {
    struct sim_run {
        uint32_t reign;
        uint64_t end;
    } runs[SIM_SEGMENTS];
    unsigned n;
};

/* A write to a group of slots. It is in whoever's data reach so far (groups.c). */
struct sim_write {
    uint32_t reign, value, before; /* value 0: deleted; before: the group's last one, its place + 1 */
    uint64_t end;
};

struct sim_group {
    uint32_t newest;        /* its last write: place + 1 */
    uint32_t acked, holder; /* the value that was acknowledged last; who serves: its number + 1, 0 nobody */
    uint32_t given, giver;  /* these, when it was last taken */
};

/* Slots on their way from one primary to another (moves.c). */
struct sim_move {
    unsigned number; /* rising; letters of another are void */
    bool on, held, said;
    int from, to, step;
    unsigned from_life, to_life;
    uint64_t groups, until, epoch;
    uint8_t slots[SLOT_BYTES];
    uint32_t values[SIM_GROUPS], to_reign;
};

struct sim_conn {
    int a, b; /* a opened it */
    uint32_t a_link, b_link;
    bool used, up;
    uint64_t last_ms[2]; /* of the last delivery towards a, b: order */
    unsigned gen;
};

struct sim_node {
    struct machine m;
    bool alive;
    unsigned life; /* events of an earlier one are void */
    struct rng rng;
    struct node_id id;
    int64_t clock_ms;
    double rate;
    uint64_t paused_until;
    /* disk */
    char *disk, *writing;
    size_t ndisk, nwriting;
    uint64_t writing_seq;
    uint64_t epoch_disk, vote_disk, config_disk, ready_disk; /* what the disk has told so far */
    /* data */
    struct sim_data data, saved;
    uint64_t epoch_data, epoch_saved; /* recorded beside the data */
    uint32_t reign;
    int following; /* index, -1 */
    int replaces;  /* whose place it was elected in last, -1 */
    bool synced, pause;
    uint64_t heard_ms;
    /* votes given: epoch -> candidate + 1 */
    uint8_t voted[SIM_EPOCHS];
    /* The witness's books (watch.c), by node: until when this one has promised it no vote for its replicas
     * (on this one's clock); the epoch of its last vote that came here; when it was last suspected here. */
    uint64_t promised[SIM_NODES], acked[SIM_NODES], suspected[SIM_NODES];
    uint32_t failed; /* bits: held for failed here */
    bool ordered;    /* a failover by order runs */
    /* Groups of slots, as bits: it owns them; it was told to take them and has not got them yet; it was so
     * when it crashed; they are its own by an election, or after a restart, and it has not served them; it
     * has given them away, and still has all of them; it has taken them, and its disk does not say so yet;
     * another was elected in its place, and it has had them all the time since. */
    uint64_t owns, takes, took, inherits, kept, unsaved, stale;
    uint64_t replaces_in; /* the epoch of that election, until it is on the disk; then 0 */
};

struct sim {
    uint64_t seed, now;
    struct rng rng;
    int n;
    struct machine_config config;
    struct sim_node nodes[SIM_NODES];
    struct sim_conn conns[SIM_CONNS];
    bool cut[SIM_NODES][SIM_NODES]; /* from, to */
    double loss, dup, reorder;
    unsigned delay_ms;
    bool calm; /* no more faults */
    bool sharp, equal_epochs, started;
    bool moving; /* slots move in this history */
    struct sim_group groups[SIM_GROUPS];
    struct sim_write *log;
    size_t nlog, log_cap;
    uint32_t values;
    uint64_t replaced; /* groups: another was elected in their holder's place, and does not have them */
    struct sim_move moves[SIM_MOVES];
    unsigned begun, given, kept; /* moves: all; those that were; those that their source has called back */
    uint32_t reigns;
    struct sim_event *heap;
    size_t nheap, heap_cap;
    uint64_t order, steps, elections;
    bool trace;
    char failure[SIM_TEXT]; /* empty: none */
};

struct sim_event {
    uint64_t at, order;
    int kind, node;
    unsigned life, gen;
    int conn, side;
    char *bytes;
    size_t n;
    uint64_t seq;
};

enum sim_event_kind {
    SIM_TICK,
    SIM_STEP_UP,
    SIM_STEP_DOWN,
    SIM_FRAME,
    SIM_DISK,
    SIM_DATA,
    SIM_MOVER,  /* conn, gen: the move and its number */
    SIM_LETTER, /* to its target; seq: what it says */
    SIM_ANSWER, /* to its source; seq: 0 no, 1 yes */
    SIM_FAULT,  /* from here on: no matter who sleeps */
    SIM_RESTART,
    SIM_HEAL_LINK,
    SIM_CRASH, /* seq: back in so many ms */
    SIM_PART,  /* seq: the nodes (bits) that hear each other only, as the others do */
    SIM_MOVE,
    SIM_MOVE_FAULT, /* conn, gen */
};

/* What arrived in a step, and what the receiver had voted before it. */
struct watch {
    int from;
    unsigned type;
    uint64_t vote_seq, vote;
    const char *objection;
};

/* One history, in which slots move or not, told on stderr if `trace`. True: no invariant broke; else
 * sim->failure says which and when. */
bool sim_run(struct sim *s, uint64_t seed, bool moving, bool trace);
void sim_fail(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A line of the history, where it is traced. */
void sim_note(const struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* sim.c, for the others */
void sim_push(struct sim *s, struct sim_event e, uint64_t in_ms);
void sim_step(struct sim *s, int node, const struct machine_event *e);
uint64_t sim_clock(const struct sim *s, int node);
int sim_find(const struct sim *s, const struct node_id *id);
void sim_crash(struct sim *s, int node, uint64_t back_ms);
bool sim_order(struct sim *s, int node, const struct machine_command *c); /* the machine has done it */
/* fault.c */
void fault_strike(struct sim *s);
void fault_last(struct sim *s);
void fault_part(struct sim *s, uint32_t set);
void fault_move(struct sim *s, int from, int to);
bool fault_awake(const struct sim *s, int node);
/* watch.c */
void watch_sent(struct sim *s, int from, uint32_t link, const struct frame *f);
void watch_arrives(struct sim *s, int node, const struct frame *f, struct watch *w);
void watch_step(struct sim *s, int node, const struct watch *w);
void watch_boot(struct sim *s, int node);
void watch_promoted(struct sim *s, int node, bool ordered);
/* net.c */
void net_open(struct sim *s, int from, const struct node *to, uint32_t link);
void net_send(struct sim *s, int from, uint32_t link, struct str bytes);
void net_close(struct sim *s, int from, uint32_t link);
void net_event(struct sim *s, struct sim_event *e);
void net_crash(struct sim *s, int node);
int net_peer(struct sim *s, int node, uint32_t link); /* -1: no such link */
/* data.c */
void data_tick(struct sim *s, int node);
void data_promote(struct sim *s, int node);
void data_crash(struct sim *s, int node);
uint64_t data_offset(const struct sim_data *d);
bool data_write(struct sim_node *n, uint64_t more); /* false: no room */
/* groups.c */
uint32_t groups_value(const struct sim *s, int node, unsigned group);
uint64_t groups_in(const uint8_t *slots);
bool groups_put(struct sim *s, int node, unsigned group, uint32_t value);
void groups_serve(struct sim *s, int node);
void groups_write(struct sim *s, int node);
void groups_step(struct sim *s, int node);
void groups_promote(struct sim *s, int node, int in_place_of);
void groups_renew(struct sim *s, int node);
void groups_disk(struct sim *s, int node);
void groups_take(struct sim *s, int node, uint64_t groups,
                 bool late); /* late: its source has gone on since */
void groups_drop(struct sim *s, int node, const uint8_t *slots);
void groups_crash(struct sim *s, int node);
/* moves.c */
void moves_event(struct sim *s, struct sim_event *e);
void moves_crash(struct sim *s, int node);
void moves_add_held(const struct sim *s, int node, uint8_t *slots);
uint64_t moves_held(const struct sim *s, int node);   /* groups that it holds for a move */
uint64_t moves_wanted(const struct sim *s, int node); /* groups that are to leave it */
/* check.c */
void check_sent(struct sim *s, int from, uint32_t link, struct str bytes);
void check_step(struct sim *s, int node);
void check_disk(struct sim *s, int node);
bool check_whole(struct sim *s, const char **why);
void check_note(const struct sim *s);
void check_agreed(struct sim *s);

#endif
