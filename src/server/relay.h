/* A relay looks at every connection of every worker, each on its own worker's thread: CLIENT LIST,
 * CLIENT KILL and their like.
 *
 *      asker parked ──> worker 0 ──> worker 1 ──> ... ──> worker N-1 ──> home: reply, unpark
 *
 * At a worker it does RELAY_STEP connections in a round, so that ten thousand of them hold nobody
 * up. Connections that come while it is there are not seen, those that go are not missed:
 * closing one moves the relay on. Under the gate (inside EXEC) the same happens at once, on the lane. */
#ifndef LARDER_SERVER_RELAY_H
#define LARDER_SERVER_RELAY_H

#include "base/arena.h"
#include "server/mail.h"

#include <stdbool.h>
#include <stdint.h>

struct cmd_ctx;
struct command;
struct conn;
struct reply;
struct worker;

enum { RELAY_STEP = 256 };

struct relay {
    /* The command's part. */
    void (*each)(struct relay *r, struct conn *c); /* may close c */
    void (*finish)(struct relay *r, struct conn *asker,
                   struct reply *reply); /* at home; frees r. asker NULL: it has gone */
    /* relay.c's. */
    struct conn *asker;
    struct mail mail;
    struct worker *home;
    const struct command *cmd;
    struct arena arena; /* of argv */
    struct str *argv;   /* the request, for those who note what was slow; argc 0 when memory was short */
    uint32_t argc;
    uint64_t ticks;          /* spent so far */
    uint32_t next;           /* worker */
    struct conn *at;         /* where it goes on there */
    struct relay *next_here; /* in that worker's list */
};

/* From a handler of c's command; parks its connection unless alone. r is taken. */
void relay_start(struct relay *r, struct cmd_ctx *c);

/* In w's round: a step of every relay that is here. True when any of them moved. */
bool relay_step_all(struct worker *w);
/* c is being closed: no relay may stand on it. */
void relay_move_on(struct worker *w, const struct conn *c);

#endif
